//! What steps make of a nest, and what they say where they are not legal.

use super::*;

/// Loops over `a` (6) and `b` (4), and sums over `k` (8) and `l` (2).
fn nest() -> (Program, LoopNest, [Axis; 4]) {
    let mut program = Program::default();
    let axes = [("a", 6), ("b", 4), ("k", 8), ("l", 2)].map(|(name, extent)| program.axis(name, extent));
    let [a, b, k, l] = axes;
    let nest = LoopNest {
        outer: vec![a, b],
        reduce: vec![k, l],
        replace: axes.iter().map(|axis| (*axis, Index::from(*axis))).collect(),
        ..LoopNest::default()
    };
    (program, nest, axes)
}

/// The loops of a nest and what became of its axes: `for a6 b4, sum k8; a = a`.
fn text(program: &Program, nest: &LoopNest, axes: [Axis; 4]) -> String {
    let loops = |what: &str, axes: &[Axis]| {
        let data = axes.iter().map(|axis| &program.axes[*axis]);
        let loops: String = data.map(|data| format!(" {}{}", data.name, data.extent)).collect();
        if loops.is_empty() { String::new() } else { format!("{what}{loops}, ") }
    };
    let lane: Vec<Axis> = nest.lane.iter().map(|lane| lane.axis).collect();
    let [slices, outer] = [&nest.outer[..nest.slices], &nest.outer[nest.slices..]];
    let parts = [
        loops("slices", slices),
        loops("for", outer),
        loops("tile", &nest.tile),
        loops("sum", &nest.reduce),
        loops("unrolled", &nest.unrolled),
        loops("lanes", &lane),
    ];
    // The values of an axis at three points say what it is.
    let value = |axis: Axis, at: i64| {
        let point = |axis: Axis| Some(Index::from(at % program.axes[axis].extent));
        let index = nest.replace[&axis].substitute(&point, &program.axes);
        index.as_constant().map_or("?".to_owned(), |value| value.to_string())
    };
    let values = axes.map(|axis| [1, 2, 3].map(|at| value(axis, at)).join(""));
    format!("{}{}", parts.concat(), values.join(" "))
}

type Step = fn(&mut Program, &mut LoopNest, [Axis; 4]) -> Result<(), Illegal>;

/// What each step makes of the nest: its loops, and the values of its axes where all loops are at 1, 2 and 3 (or what
/// is left of that beyond their ends).
#[test]
fn steps_before_and_after() {
    let cases: [(Step, &str); 13] = [
        (|_, _, _| Ok(()), "for a6 b4, sum k8 l2, 123 123 123 101"),
        (|p, n, [a, ..]| n.split(p, a, 2).map(drop), "for ab3 b4, sum k8 l2, 341 123 123 101"),
        (|p, n, [a, ..]| n.split(p, a, 4).map(drop), "for ab2 b4, sum k8 l2, 527 123 123 101"),
        (|p, n, [a, ..]| n.split(p, a, 6).map(drop), "for b4, sum k8 l2, 123 123 123 101"),
        (|p, n, [a, ..]| n.restrict(p, a, 4, 2), "for a2 b4, sum k8 l2, 545 123 123 101"),
        (|p, n, [a, ..]| n.restrict(p, a, 0, 6), "for a6 b4, sum k8 l2, 123 123 123 101"),
        (|p, n, [a, b, ..]| n.flatten(p, &[a, b]).map(drop), "for ab24, sum k8 l2, 000 123 123 101"),
        (|p, n, [.., k, _]| n.join(p, k).map(drop), "for a6 b4, sum kl16, 123 123 011 101"),
        (|p, n, [_, b, ..]| n.tile(p, b, 2), "for a6 bb2, tile bl2, sum k8 l2, 123 303 123 101"),
        (|p, n, [.., k, _]| n.block(p, k, 4), "for a6 b4, sum kb2 kl4 l2, 123 123 527 101"),
        (|p, n, [_, b, ..]| n.slice(p, vec![b]), "slices b4, for a6, sum k8 l2, 123 123 123 101"),
        (|p, n, _| n.unroll(p), "for a6 b4, sum k8, unrolled l2, 123 123 123 101"),
        (|p, n, [a, b, ..]| n.reorder(p, vec![b, a]), "for b4 a6, sum k8 l2, 123 123 123 101"),
    ];
    for (step, wanted) in cases {
        let (mut program, mut nest, axes) = nest();
        step(&mut program, &mut nest, axes).unwrap();
        assert_eq!(text(&program, &nest, axes), wanted, "{nest}");
    }
}

#[test]
fn steps_say_what_they_need() {
    let cases: [(Step, &str); 18] = [
        (|p, n, [a, ..]| n.split(p, a, 0).map(drop), "split a by 0: the factor is not positive"),
        (|p, n, [a, ..]| n.split(p, a, -2).map(drop), "split a by -2: the factor is not positive"),
        (
            |p, n, [a, ..]| n.split(p, a, 2).and_then(|_| n.split(p, a, 3)).map(drop),
            "split a by 3: the nest has no such axis",
        ),
        (|p, n, [a, ..]| n.restrict(p, a, 1, 6), "restrict a to 1..7: that is no part of the loop"),
        (|p, n, [a, ..]| n.restrict(p, a, -1, 6), "restrict a to -1..5: that is no part of the loop"),
        (|p, n, [a, ..]| n.restrict(p, a, 3, 0), "restrict a to 3..3: that is no part of the loop"),
        (|p, n, [.., k, _]| n.restrict(p, k, 0, 4), "restrict k to 0..4: it is no outer loop"),
        (|p, n, [a, ..]| n.vectorize(p, a, false), "vectorize a × 6: the axis is a loop"),
        (
            |p, n, [a, b, ..]| {
                for axis in [a, b] {
                    let (_, lane) = n.split(p, axis, 2)?;
                    n.vectorize(p, lane, false)?;
                }
                Ok(())
            },
            "vectorize bl × 2: there are lanes already",
        ),
        (|p, n, [a, b, ..]| n.flatten(p, &[b, a]).map(drop), "flatten b a: they are not so in each other"),
        (
            |p, n, [a, b, k, _]| n.flatten(p, &[a, b, k]).map(drop),
            "flatten a b k: they are not so in each other",
        ),
        (|p, n, [.., l]| n.join(p, l).map(drop), "join l: no reduction loop is inside it"),
        (|p, n, [a, ..]| n.join(p, a).map(drop), "join a: no reduction loop is inside it"),
        (|p, n, [.., k, _]| n.tile(p, k, 4), "tile k by 4: it is no outer loop"),
        (|p, n, [a, ..]| n.tile(p, a, 4), "tile a by 4: that does not divide the loop"),
        (|p, n, [a, ..]| n.block(p, a, 2), "block a by 2: it is no reduction loop"),
        (|p, n, [.., k, _]| n.slice(p, vec![k]), "slice k: they are no outer loops"),
        (|p, n, [a, ..]| n.reorder(p, vec![a, a]), "reorder a a: these are other loops"),
    ];
    for (step, wanted) in cases {
        let (mut program, mut nest, axes) = nest();
        let illegal = step(&mut program, &mut nest, axes).unwrap_err();
        assert_eq!(illegal.to_string(), wanted, "{nest}");
    }
    let (program, mut nest, _) = nest();
    nest.reduce.clear();
    assert_eq!(nest.unroll(&program).unwrap_err().to_string(), "unroll: there is no reduction loop");
}

#[test]
fn steps_are_written_down() {
    let (mut program, mut nest, [a, b, k, _]) = nest();
    let mut steps = || -> Result<(), Illegal> {
        nest.reorder(&program, vec![b, a])?;
        nest.tile(&mut program, b, 2)?;
        nest.block(&mut program, k, 4)?;
        nest.unroll(&program)?;
        let rows = nest.outer[0];
        let flat = nest.flatten(&mut program, &[rows, a])?;
        nest.restrict(&mut program, flat, 0, 8)?;
        let part = nest.outer[0];
        let (_, lane) = nest.split(&mut program, part, 4)?;
        nest.vectorize(&program, lane, false)
    };
    steps().unwrap();
    let steps: Vec<String> = nest.to_string().lines().map(|line| line.trim().to_owned()).collect();
    let wanted = "reorder b a, tile b by 2, block k by 4, unroll l, flatten bb a, restrict bba to 0..8, \
                  split bba by 4, vectorize bbal × 4";
    assert_eq!(steps.join(", "), wanted);
}
