//! Which equations join: programs as texts, one equation a line, and the names of the kernels that they become.

use std::collections::BTreeSet;

use super::*;
use crate::kernels::verifier::verify;
use crate::te::parser::parse;

/// What the programs may read.
const INPUTS: &str = "x: f32[8, 12], v: f32[8, 12], w: f32[12, 6], a: f32[12, 6], b: f32[6], d: f32[12], \
                      rate: f32, e: f32[8, 32], g: f32[8, 32], q: f32[32, 32], p: f32[8, 4, 4]";

/// Lanes of a vector.
const LANES: i64 = 8;

/// The declaration of what an equation defines, by its left side: `s: f32[8]` for `s[n < 8]`.
fn declaration(left: &str) -> String {
    let Some((name, axes)) = left.split_once('[') else { return format!("{left}: f32") };
    let extents = axes.trim_end_matches(']').split(',');
    let extents: Vec<&str> =
        extents.map(|axis| axis.split_once("< ").expect("an axis and its extent").1).collect();
    format!("{name}: f32[{}]", extents.join(", "))
}

/// The program of some lines; all that it defines is asked for. A line without `=` declares a tensor of another type,
/// or one of several pieces.
fn program(lines: &[&str]) -> Program {
    let (mut outputs, mut equations, mut known) = (Vec::new(), String::new(), BTreeSet::new());
    for line in lines {
        match line.split_once(" = ") {
            None => {
                known.insert(line.split(':').next().expect("a name"));
                outputs.push((*line).to_owned());
            }
            Some((left, _)) => {
                if known.insert(left.split('[').next().expect("a name")) {
                    outputs.push(declaration(left));
                }
                equations += &format!("  {line};\n");
            }
        }
    }
    let text = format!("program({INPUTS}) -> ({}) {{\n{equations}}}\n", outputs.join(", "));
    let program = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(crate::te::verifier::verify(&program), Ok(()), "{text}");
    program
}

/// The names of the kernels of a program, of which some inputs have their first dimension across the lanes.
fn names(lines: &[&str], across: &[&str]) -> String {
    let program = program(lines);
    let is_across = |tensor: &&Tensor| across.contains(&program.tensors[**tensor].name.as_str());
    let lane_dims = program.inputs.iter().filter(is_across).map(|tensor| (*tensor, 0)).collect();
    let kernels = run(program, &lane_dims, LANES);
    assert_eq!(verify(&kernels, None), Ok(()), "{lines:#?}");
    for nest in kernels.kernels.iter().flat_map(|kernel| &kernel.nests) {
        let axes = [nest.free().as_slice(), &nest.reduce].concat();
        let apart: BTreeSet<Axis> = axes.iter().copied().collect();
        assert_eq!(apart.len(), axes.len(), "a loop is in another one over its axis: {lines:#?}");
    }
    let names: Vec<&str> = kernels.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    names.join(", ")
}

fn check(cases: &[(&[&str], &str)]) {
    for (lines, wanted) in cases {
        assert_eq!(names(lines, &[]), *wanted, "{lines:#?}");
    }
}

const CONVOLUTION: &str = "c[n < 8, o < 6] = sum[k < 12] x[n, k] * w[k, o]";
const MEAN: &str = "s[n < 8] = sum[k < 12] x[n, k]";
/// What windows run over.
const ROWS: &str = "z[n < 8, i < 12] = x[n, i] + v[n, i]";

#[test]
fn what_is_read_at_the_same_element_is_an_epilogue() {
    check(&[
        (&[CONVOLUTION, "z[n < 8, o < 6] = c[n, o] + b[o]", "y[n < 8, o < 6] = max(z[n, o], 0)"], "c+z+y"),
        (&[MEAN, "m[n < 8] = s[n] / 12"], "s+m"),
        (&["t = sum[k < 12] d[k] * d[k]", "y = sqrt(t)"], "t+y"),
        (&["z[i < 12, j < 12] = d[i] * d[j]", "y[i < 12, j < 12] = exp(z[j, i])"], "z+y"),
        (&["s[n < 8, j < 1] = sum[k < 12] x[n, k]", "y[n < 8, j < 1] = s[n, 0] * 2"], "s+y"),
        (
            &[
                "z: f32[8, 12]",
                "z[n, 2*i] for n < 8, i < 6 = x[n, 2*i]",
                "z[n, 2*i + 1] for n < 8, i < 6 = 0",
                "y[n < 8, k < 12] = z[n, k] * v[n, k]",
            ],
            "z+y",
        ),
    ]);
}

#[test]
fn what_is_read_at_another_element_is_none() {
    check(&[
        (&[CONVOLUTION, "y[n < 8, o < 6] = c[n, -o + 5]"], "c, y"),
        (&[CONVOLUTION, "y[n < 8, o < 6] = c[n, o + 1] else 0"], "c, y"),
        (&[CONVOLUTION, "y[n < 8, o < 6] = c[n, o] - c[n, 0]"], "c, y"),
        (&[CONVOLUTION, "y[n < 8, o < 5] = c[n, o]"], "c, y"),
        (&[CONVOLUTION, "y[n < 8] = c[n, 0]"], "c, y"),
        (&[MEAN, "y[n < 8, k < 12] = x[n, k] - s[n]"], "s, y"),
        (&["t = sum[k < 12] d[k]", "y[k < 12] = d[k] / t"], "t, y"),
        (&["z[i < 12, j < 12] = d[i] * d[j]", "y[i < 12, j < 12] = z[i, j] - z[j, i]"], "z, y"),
        (&["z[i < 12, j < 12] = d[i] * d[j]", "y[i < 12] = z[i, i]"], "z, y"),
        (
            &[
                "z: f32[8, 12]",
                "z[n, 2*i] for n < 8, i < 6 = x[n, 2*i]",
                "z[n, 2*i + 1] for n < 8, i < 6 = 0",
                "y[n < 8, k < 12] = z[n, k] * z[n, -k + 11]",
            ],
            "z, y",
        ),
    ]);
}

#[test]
fn passes_over_one_tensor_are_siblings() {
    let squares = "r[n < 8] = sum[k < 12] x[n, k] * x[n, k]";
    check(&[
        (&[MEAN, squares], "s+r"),
        (&[MEAN, "m[n < 8] = s[n] / 12", squares], "s+r+m"),
        (&["m[n < 8] = max[k < 12] x[n, k]", "i: i32[8]", "i[n < 8] = argmax[k < 12] x[n, k]"], "m+i"),
        (&["z[n < 8, k < 12] = x[n, k] * d[k]", "y[n < 8, k < 12] = v[n, k] * d[k]"], "z+y"),
        // A single number is worth no pass, and no tensor is none.
        (&["z[n < 8, k < 12] = x[n, k] * rate", "y[n < 8, k < 12] = v[n, k] * rate"], "z, y"),
        (&[MEAN, "r[n < 8] = sum[k < 12] v[n, k]"], "s, r"),
        // Other axes.
        (&[MEAN, "r[k < 12] = sum[n < 8] x[n, k]"], "s, r"),
        (&[MEAN, "r[n < 8] = sum[k < 11] x[n, k]"], "s, r"),
        // Contractions that will be tiled.
        (&[CONVOLUTION, "y[n < 8, o < 6] = sum[k < 12] x[n, k] * a[k, o]"], "c, y"),
        // The second pass needs what the first one gives.
        (&[MEAN, "r[n < 8] = sum[k < 12] (x[n, k] - s[n]) * x[n, k]"], "s, r"),
    ]);
}

#[test]
fn windows_that_partition_what_is_read_join_it() {
    check(&[
        (&[ROWS, "y[n < 8, i < 6] = max[u < 2] z[n, 2*i + u]"], "z+y"),
        (&[ROWS, "y[n < 8, i < 4] = max[u < 3] z[n, 3*i + u]"], "z+y"),
        (&[ROWS, "y[n < 8, i < 3] = sum[u < 4] z[n, 4*i + u]"], "z+y"),
        (&[ROWS, "y[n < 8, i < 6] = sum[u < 2] z[n, 2*i + u]", "h[n < 8, i < 6] = y[n, i] / 2"], "z+y+h"),
        // A sum over the axis that the window has as well.
        (
            &["c[n < 8, i < 12] = sum[u < 2] x[n, i] * b[u]", "y[n < 8, i < 6] = max[u < 2] c[n, 2*i + u]"],
            "c+y",
        ),
        (
            &[
                "z[n < 8, i < 4, j < 4] = p[n, i, j] * rate",
                "y[n < 8, i < 2, j < 2] = max[u < 2, r < 2] z[n, 2*i + u, 2*j + r]",
            ],
            "z+y",
        ),
        (
            &[
                ROWS,
                "y[n < 8, i < 6] = max[u < 2] z[n, 2*i + u]",
                "m: i32[8, 6]",
                "m[n < 8, i < 6] = argmax[u < 2] z[n, 2*i + u]",
            ],
            "z+y+m",
        ),
        (
            &[
                "c[n < 8, i < 12] = sum[k < 12] x[n, k] * v[k % 8, i]",
                "z[n < 8, i < 12] = max(c[n, i], 0)",
                "y[n < 8, i < 6] = max[u < 2] z[n, 2*i + u]",
            ],
            "c+z+y",
        ),
    ]);
}

#[test]
fn windows_that_are_no_partition_or_too_large_do_not() {
    check(&[
        // More points than registers serve.
        (&[ROWS, "y[n < 8, i < 2] = max[u < 6] z[n, 6*i + u]"], "z, y"),
        // They overlap, have gaps, or do not reach the end.
        (&[ROWS, "y[n < 8, i < 11] = max[u < 2] z[n, i + u]"], "z, y"),
        (&[ROWS, "y[n < 8, i < 4] = max[u < 2] z[n, 3*i + u]"], "z, y"),
        (&[ROWS, "y[n < 8, i < 5] = max[u < 2] z[n, 2*i + u]"], "z, y"),
        (&[ROWS, "y[n < 8, i < 5] = max[u < 2] z[n, 2*i + u + 1]"], "z, y"),
        // The window is read again, outside of its point.
        (&[ROWS, "y[n < 8, i < 6] = max[u < 2] z[n, 2*i + u] * z[n, 2*i]"], "z, y"),
        // The parts of a split sum.
        (&["z[n < 8, u < 2] = sum[k < 6] x[n, k + 6*u]", "y[n < 8] = sum[u < 2] z[n, u]"], "z, y"),
    ]);
}

/// Without the third kernel, the first and the last of each case join.
#[test]
fn nothing_joins_around_a_third_kernel() {
    let deviations = "h[n < 8, k < 12] = x[n, k] - s[n]";
    let part = "h[n < 8, i < 6] = z[n, i]";
    check(&[
        (&[MEAN, deviations, "y[n < 8] = s[n] * x[n, 0]"], "s+y, h"),
        (&[MEAN, deviations, "y[n < 8] = s[n] * h[n, 0]"], "s, h, y"),
        (&[MEAN, deviations, "r[n < 8] = sum[k < 12] x[n, k] * v[n, k]"], "s+r, h"),
        (&[MEAN, deviations, "r[n < 8] = sum[k < 12] x[n, k] * h[n, k]"], "s, h, r"),
        (&[ROWS, part, "y[n < 8, i < 6] = max[u < 2] z[n, 2*i + u]"], "z+y, h"),
        (&[ROWS, part, "y[n < 8, i < 6] = max[u < 2] z[n, 2*i + u] * h[n, i]"], "z, h, y"),
    ]);
}

#[test]
fn a_large_sum_over_the_lanes_has_no_slow_epilogue() {
    let gradient = |extent: i64| format!("c[i < {extent}, j < 32] = sum[n < 8] e[n, i] * g[n, j]");
    let update =
        |extent: i64, step: &str| format!("y[i < {extent}, j < 32] = q[i, j] - rate * c[i, j]{step}");
    let cases: [(i64, &str, &[&str], &str); 6] = [
        (32, " / (abs(c[i, j]) + 1)", &["e", "g"], "c, y"),
        (32, " * sqrt(abs(c[i, j]))", &["e", "g"], "c, y"),
        // Each of these is only half of that: no slow function, no lanes, few elements.
        (32, "", &["e", "g"], "c+y"),
        (32, " * abs(c[i, j])", &["e", "g"], "c+y"),
        (32, " / (abs(c[i, j]) + 1)", &[], "c+y"),
        (31, " / (abs(c[i, j]) + 1)", &["e", "g"], "c+y"),
    ];
    for (extent, step, across, wanted) in cases {
        let lines = [gradient(extent), update(extent, step)];
        let lines = [lines[0].as_str(), lines[1].as_str()];
        assert_eq!(names(&lines, across), wanted, "{lines:#?} {across:?}");
    }
}

#[test]
fn a_nest_has_so_many_statements_and_no_more() {
    let lengths = |count: usize| {
        let line = |at: usize| match at {
            0 => "y0[k < 12] = d[k]".to_owned(),
            _ => format!("y{at}[k < 12] = y{}[k] + 1", at - 1),
        };
        let lines: Vec<String> = (0..count).map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let kernels = run(program(&lines), &LaneDims::default(), LANES);
        assert_eq!(verify(&kernels, None), Ok(()));
        kernels.kernels.iter().map(|kernel| kernel.nests[0].statements.len()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(MOST_STATEMENTS - 1), [MOST_STATEMENTS - 1]);
    assert_eq!(lengths(MOST_STATEMENTS), [MOST_STATEMENTS]);
    assert_eq!(lengths(MOST_STATEMENTS + 6), [MOST_STATEMENTS, 6]);
}
