//! What steps make of a nest, and what they say where they are not legal.

use super::*;

/// Loops over `a` (6) and `b` (4), and sums over `k` (8) and `l` (2).
fn nest() -> (LoopNest, [Axis; 4]) {
    let mut program = Program::default();
    let axes = [("a", 6), ("b", 4), ("k", 8), ("l", 2)].map(|(name, extent)| program.axis(name, extent));
    let [a, b, k, l] = axes;
    let nest = Nest { axes: vec![a, b], reduce: vec![k, l], windows: Vec::new(), statements: Vec::new() };
    (LoopNest::new(&program, &nest), axes)
}

/// The loops of a nest and what became of its axes: `for a6 b4, sum k8; a = a`.
fn text(nest: &LoopNest, axes: [Axis; 4]) -> String {
    let loops = |what: &str, axes: &[Axis]| {
        let data = axes.iter().map(|axis| &nest.axes[*axis]);
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
        let point = |axis: Axis| Some(Index::from(at % nest.extent(axis)));
        let index = nest.replace[&axis].substitute(&point, &nest.axes);
        index.as_constant().map_or("?".to_owned(), |value| value.to_string())
    };
    let values = axes.map(|axis| [1, 2, 3].map(|at| value(axis, at)).join(""));
    format!("{}{}", parts.concat(), values.join(" "))
}

/// Steps by the axes of the nest.
type Steps = fn([Axis; 4]) -> Vec<Step>;

fn split(axis: Axis, factor: i64) -> Vec<Step> {
    vec![Step::Split { axis, factor }]
}

fn restrict(axis: Axis, start: i64, count: i64) -> Vec<Step> {
    vec![Step::Restrict { axis, start, count }]
}

fn flatten(axes: &[Axis]) -> Vec<Step> {
    vec![Step::Flatten { axes: axes.to_vec() }]
}

fn join(first: Axis, second: Axis) -> Vec<Step> {
    vec![Step::Join { first, second }]
}

fn tile(axis: Axis, factor: i64) -> Vec<Step> {
    vec![Step::Tile { axis, factor }]
}

fn block(axis: Axis, factor: i64) -> Vec<Step> {
    vec![Step::Block { axis, factor }]
}

fn slice(loops: &[Axis]) -> Vec<Step> {
    vec![Step::Slice { loops: loops.to_vec() }]
}

fn unroll(axis: Axis) -> Vec<Step> {
    vec![Step::Unroll { axis }]
}

fn reorder(order: &[Axis]) -> Vec<Step> {
    vec![Step::Reorder { order: order.to_vec() }]
}

fn vectorize(axis: Axis) -> Vec<Step> {
    vec![Step::Vectorize { axis, reduced: false }]
}

/// The axis that steps make as the first, second and so on.
fn made(number: usize) -> Axis {
    Axis::new(4 + number)
}

fn take(nest: &mut LoopNest, steps: Vec<Step>) -> Result<(), Illegal> {
    steps.into_iter().try_for_each(|step| step.apply(nest))
}

/// What each step makes of the nest: its loops, and the values of its axes where all loops are at 1, 2 and 3 (or what
/// is left of that beyond their ends).
#[test]
fn steps_before_and_after() {
    let cases: [(Steps, &str); 16] = [
        (|_| Vec::new(), "for a6 b4, sum k8 l2, 123 123 123 101"),
        (|[a, ..]| split(a, 2), "for ab3 b4, sum k8 l2, 341 123 123 101"),
        (|[a, ..]| split(a, 4), "for ab2 b4, sum k8 l2, 527 123 123 101"),
        (|[a, ..]| split(a, 6), "for b4, sum k8 l2, 123 123 123 101"),
        (|[a, ..]| restrict(a, 4, 2), "for a2 b4, sum k8 l2, 545 123 123 101"),
        (|[a, ..]| restrict(a, 0, 6), "for a6 b4, sum k8 l2, 123 123 123 101"),
        (|[a, b, ..]| flatten(&[a, b]), "for ab24, sum k8 l2, 000 123 123 101"),
        (|[.., k, l]| join(k, l), "for a6 b4, sum kl16, 123 123 011 101"),
        (|[_, b, ..]| tile(b, 2), "for a6 bb2, tile bl2, sum k8 l2, 123 303 123 101"),
        (|[_, b, ..]| tile(b, 1), "for a6 b4, sum k8 l2, 123 123 123 101"),
        (|[.., k, _]| block(k, 4), "for a6 b4, sum kb2 kl4 l2, 123 123 527 101"),
        (|[.., l]| block(l, 2), "for a6 b4, sum k8 ll2, 123 123 123 101"),
        (|[_, b, ..]| slice(&[b]), "slices b4, for a6, sum k8 l2, 123 123 123 101"),
        (|[.., l]| unroll(l), "for a6 b4, sum k8, unrolled l2, 123 123 123 101"),
        (|[a, b, ..]| reorder(&[b, a]), "for b4 a6, sum k8 l2, 123 123 123 101"),
        (
            |[a, ..]| [split(a, 2), vectorize(made(1))].concat(),
            "for ab3 b4, sum k8 l2, lanes al2, 341 123 123 101",
        ),
    ];
    for (steps, wanted) in cases {
        let (mut nest, axes) = nest();
        take(&mut nest, steps(axes)).unwrap();
        assert_eq!(text(&nest, axes), wanted, "{nest}");
    }
}

/// An axis of one element has no loop, and lanes where it is split.
#[test]
fn an_axis_of_one_element_is_split_once() {
    let mut program = Program::default();
    let axis = program.axis("a", 1);
    let plain = Nest { axes: vec![axis], reduce: Vec::new(), windows: Vec::new(), statements: Vec::new() };
    let mut nest = LoopNest::new(&program, &plain);
    assert_eq!((nest.outer.as_slice(), nest.replace[&axis].clone()), (&[] as &[Axis], Index::from(0)));
    let (_, lanes) = nest.split(axis, 8).unwrap();
    assert_eq!((nest.outer.as_slice(), nest.replace[&axis].clone()), (&[] as &[Axis], Index::from(lanes)));
    assert_eq!(nest.split(axis, 8).unwrap_err().to_string(), "split a by 8: the nest has no such axis");
}

#[test]
fn steps_say_what_they_need() {
    let cases: [(Steps, &str); 23] = [
        (|[a, ..]| split(a, 0), "split a by 0: the factor is not positive"),
        (|[a, ..]| split(a, -2), "split a by -2: the factor is not positive"),
        (|[a, ..]| [split(a, 2), split(a, 3)].concat(), "split a by 3: the nest has no such axis"),
        (|[a, ..]| restrict(a, 1, 6), "restrict a to 1..7: that is no part of the loop"),
        (|[a, ..]| restrict(a, -1, 6), "restrict a to -1..5: that is no part of the loop"),
        (|[a, ..]| restrict(a, 3, 0), "restrict a to 3..3: that is no part of the loop"),
        (|[.., k, _]| restrict(k, 0, 4), "restrict k to 0..4: it is no outer loop"),
        (|[a, ..]| vectorize(a), "vectorize a × 6: the axis is a loop"),
        (
            |[a, b, ..]| [split(a, 2), vectorize(made(1)), split(b, 2), vectorize(made(3))].concat(),
            "vectorize bl × 2: there are lanes already",
        ),
        (|[_, b, ..]| [tile(b, 2), split(made(1), 2)].concat(), "split bl by 2: it is unrolled"),
        (|[a, b, ..]| flatten(&[b, a]), "flatten b a: they are not so in each other"),
        (|[a, b, k, _]| flatten(&[a, b, k]), "flatten a b k: they are not so in each other"),
        (|_| flatten(&[]), "flatten : they are not so in each other"),
        (|[.., k, l]| join(l, k), "join l k: they are no reduction loops in each other"),
        (|[a, b, ..]| join(a, b), "join a b: they are no reduction loops in each other"),
        (|[.., k, _]| tile(k, 4), "tile k by 4: it is no outer loop"),
        (|[a, ..]| tile(a, 4), "tile a by 4: that does not divide the loop"),
        (|[a, ..]| tile(a, 0), "tile a by 0: that does not divide the loop"),
        (|[a, ..]| block(a, 2), "block a by 2: it is no reduction loop"),
        (|[.., k, _]| block(k, 3), "block k by 3: that does not divide the loop"),
        (|[.., k, _]| slice(&[k]), "slice k: they are no outer loops"),
        (|[.., k, _]| unroll(k), "unroll k: it is not the innermost reduction loop"),
        (|[a, ..]| reorder(&[a, a]), "reorder a a: these are other loops"),
    ];
    for (steps, wanted) in cases {
        let (mut nest, axes) = nest();
        let mut steps = steps(axes);
        let last = steps.pop().unwrap();
        take(&mut nest, steps).unwrap();
        let before = (text(&nest, axes), nest.to_string(), nest.axes.len());
        assert_eq!(last.apply(&mut nest).unwrap_err().to_string(), wanted, "{nest}");
        assert_eq!((text(&nest, axes), nest.to_string(), nest.axes.len()), before, "{wanted}");
    }
}

#[test]
fn steps_are_written_down() {
    let (mut nest, [a, b, k, l]) = nest();
    let mut steps = || -> Result<(), Illegal> {
        take(&mut nest, [reorder(&[b, a]), tile(b, 2), block(k, 4), unroll(l)].concat())?;
        nest.note("a reason".to_owned());
        let flat = nest.flatten(&[nest.outer[0], a])?;
        take(&mut nest, [restrict(flat, 0, 12), restrict(flat, 0, 8)].concat())?;
        let (_, lane) = nest.split(nest.outer[0], 4)?;
        take(&mut nest, vectorize(lane))
    };
    steps().unwrap();
    let lines: Vec<String> = nest.to_string().lines().map(|line| line.trim().to_owned()).collect();
    let wanted = "reorder b a, tile b by 2, block k by 4, unroll l, a reason, flatten bb a, \
                  restrict bba to 0..8, split bba by 4, vectorize bbal × 4";
    assert_eq!(lines.join(", "), wanted);
}

/// The steps that were written down make the same of a nest as is.
#[test]
fn steps_can_be_taken_again() {
    let (mut nest, axes) = nest();
    let [a, b, k, l] = axes;
    let steps = [reorder(&[b, a]), tile(b, 2), join(k, l), split(a, 4), vectorize(made(4))];
    take(&mut nest, steps.concat()).unwrap();
    let (mut again, _) = self::nest();
    take(&mut again, nest.steps().cloned().collect()).unwrap();
    assert_eq!((text(&again, axes), again.to_string()), (text(&nest, axes), nest.to_string()));
}
