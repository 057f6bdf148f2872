//! Functions of single numbers where they are delicate, natively at every level: small numbers, zeros, infinities, NaN.
//!
//! A call is applied to points; its values and its slopes are held against formulas in `f64`.

mod model;

use std::f32::consts::{FRAC_PI_2, PI, TAU};

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::{Role, Sink};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native, doubles, oracle, within_bound};
use cnnc::runtime::devices;
use model::Model;

/// The levels that this machine has.
fn levels() -> impl Iterator<Item = Level> {
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    known.filter(|level| *level <= Target::host().level)
}

/// The lowest level, which goes through one back end alone, and the highest.
fn both_ends() -> Vec<Level> {
    let levels: Vec<Level> = levels().collect();
    if levels.len() == 1 { levels } else { vec![levels[0], levels[levels.len() - 1]] }
}

/// What `call` makes of the points, and the slopes there. The points are a parameter, to which -0 is added, which
/// changes none.
fn run(ops: &str, call: &str, points: &[f32], level: Level) -> [Vec<f32>; 2] {
    let count = points.len();
    let text = format!(
        "{ops}
         op total(prediction: f32[N, F], target: f32[N, F]) -> loss: f32 {{
           loss = sum[n < N, f < F] prediction[n, f] * target[n, f];
         }}
         model M(x: f32[N, 1]) {{ param point: f32[{count}, 1] = 0; x + point |> {call} }}
         data D {{ source = digits(); }}
         train M on D {{ loss = total; }}"
    );
    let graph = Model::new(&text).gradients(count as i64, false);
    let inputs = graph.inputs.iter().map(|(_, role)| match role {
        Role::Data => vec![-0.0; count],
        Role::Param { .. } => points.to_vec(),
        Role::Target | Role::Partner | Role::State { .. } | Role::Scalar(_) => vec![1.0; count],
    });
    let inputs = inputs.collect();
    let options = CompileOptions::of(Target::of(level));
    let lowered = lower(&graph, &options);
    let mut native = Native::compile(&graph, lowered).expect("native code");
    let outputs = native.run(&inputs, &devices::host(1).expect("a thread"), RandomState::default());
    let output = |wanted: &dyn Fn(&Sink) -> bool| {
        let found = graph.outputs.iter().position(|(_, sink)| wanted(sink));
        outputs[found.expect("an output")].floats().expect("numbers of f32").to_vec()
    };
    [output(&|sink| *sink == Sink::Prediction), output(&|sink| matches!(sink, Sink::Gradient(_)))]
}

/// Whether a number is the exact one but for so many units in the last place; NaN and infinities are what they are.
fn is_close(found: f32, exact: f64, units: f64) -> bool {
    let rounded = exact as f32;
    if exact.is_nan() || !rounded.is_finite() {
        return found == rounded || (found.is_nan() && exact.is_nan());
    }
    let unit = f64::from(rounded.abs().max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
    (f64::from(found) - exact).abs() <= units * unit
}

/// Values within `units` and slopes within twice that.
#[track_caller]
fn check(ops: &str, call: &str, points: &[f32], units: f64, exact: fn(f64) -> f64, slope: fn(f64) -> f64) {
    for level in levels() {
        let [values, slopes] = run(ops, call, points, level);
        for (x, (value, found)) in points.iter().zip(values.into_iter().zip(slopes)) {
            let (y, dy) = (exact(f64::from(*x)), slope(f64::from(*x)));
            assert!(is_close(value, y, units), "{level}: {call}({x:?}) is {value:?}, not {y:?}");
            assert!(is_close(found, dy, 2.0 * units), "{level}: {call}'({x:?}) is {found:?}, not {dy:?}");
        }
    }
}

/// Both signs of numbers of all sizes, and of zero.
fn points(magnitudes: &[f32]) -> Vec<f32> {
    magnitudes.iter().flat_map(|x| [*x, -x]).collect()
}

const SMALL: [f32; 12] = [0.0, 1e-45, 1e-38, 1e-30, 1e-20, 1e-10, 1e-8, 3e-7, 1e-5, 0.01, 0.3, 0.7];

#[test]
fn expm1_and_log1p_keep_small_numbers() {
    let ops = "op f(x: f32) -> y: f32 { y = expm1(x); } op g(x: f32) -> y: f32 { y = log1p(x); }";
    let wide = [&SMALL[..], &[1.0, 5.0, 17.0, 50.0, 80.0]].concat();
    check(ops, "f", &points(&wide), 2.0, f64::exp_m1, f64::exp);
    let up = [points(&SMALL), vec![1.0, 1e5, 1e30, f32::MAX, -0.9, -0.999_999]].concat();
    check(ops, "g", &up, 2.0, f64::ln_1p, |x| 1.0 / (1.0 + x));
}

#[test]
fn sine_and_cosine() {
    let ops = "op f(x: f32) -> y: f32 { y = sin(x); } op g(x: f32) -> y: f32 { y = cos(x); }";
    let turns = [0.8, FRAC_PI_2, PI, TAU, 355.0, 710.0, 12_345.6, 99_999.9];
    let limits = [f32::INFINITY, f32::NAN];
    let points = points(&[&SMALL[..], &turns, &limits].concat());
    check(ops, "f", &points, 2.0, f64::sin, f64::cos);
    check(ops, "g", &points, 2.0, f64::cos, |x| -x.sin());
}

#[test]
fn activations_keep_small_numbers() {
    let points = points(&[&SMALL[..], &[1.0, 3.0, 20.0, 60.0, 80.0]].concat());
    check("", "elu", &points, 2.0, |x| if x > 0.0 { x } else { x.exp_m1() }, |x| x.min(0.0).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    check("", "softplus", &points, 3.0, softplus, |x| 1.0 / (1.0 + (-x).exp()));
}

/// For the targets 0 and 1 the loss is `softplus` of one sign or the other.
#[test]
fn bce_with_logits_keeps_small_losses() {
    let points = points(&[0.0, 1e-8, 0.3, 3.0, 20.0, 60.0, 80.0]);
    let ops = "op f(x: f32) -> y: f32 { y = bce_with_logits_element(x, 0); }
               op g(x: f32) -> y: f32 { y = bce_with_logits_element(x, 1); }";
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    check(ops, "f", &points, 3.0, softplus, |x| 1.0 / (1.0 + (-x).exp()));
    check(ops, "g", &points, 3.0, |x| (-x).max(0.0) + (-x.abs()).exp().ln_1p(), |x| -1.0 / (1.0 + x.exp()));
}

/// Values and slopes at the corners are PyTorch's, down to the sign of zero, and NaN is NaN, whatever the slope there.
#[test]
fn rectifiers_are_those_of_pytorch() {
    let nan = f32::NAN;
    let infinity = f32::INFINITY;
    type Row = (f32, f32, f32);
    let relu: [Row; 7] = [
        (nan, nan, 1.0),
        (-0.0, -0.0, 0.0),
        (0.0, 0.0, 0.0),
        (-infinity, 0.0, 0.0),
        (infinity, infinity, 1.0),
        (-2.0, 0.0, 0.0),
        (2.0, 2.0, 1.0),
    ];
    let relu6: [Row; 6] = [
        (nan, nan, nan),
        (0.0, 0.0, 0.0),
        (6.0, 6.0, 0.0),
        (7.0, 6.0, 0.0),
        (infinity, 6.0, 0.0),
        (2.0, 2.0, 1.0),
    ];
    let hardswish: [Row; 6] = [
        (nan, nan, nan),
        (-3.0, 0.0, 0.0),
        (3.0, 3.0, 1.0),
        (infinity, infinity, 1.0),
        (-4.0, 0.0, 0.0),
        (0.0, 0.0, 0.5),
    ];
    let hardsigmoid: [Row; 6] = [
        (nan, nan, nan),
        (-3.0, 0.0, 0.0),
        (3.0, 1.0, 0.0),
        (-infinity, 0.0, 0.0),
        (infinity, 1.0, 0.0),
        (0.0, 0.5, 1.0 / 6.0),
    ];
    let calls: [(&str, &[Row]); 4] =
        [("relu", &relu), ("relu6", &relu6), ("hardswish", &hardswish), ("hardsigmoid", &hardsigmoid)];
    for level in levels() {
        for (call, rows) in calls {
            // Once more than the lanes of any level, so that vectors and what is left over are both used.
            let rows: Vec<Row> = rows.iter().copied().cycle().take(37).collect();
            let points: Vec<f32> = rows.iter().map(|(x, ..)| *x).collect();
            let [values, slopes] = run("", call, &points, level);
            for ((x, y, dy), (value, slope)) in rows.into_iter().zip(values.into_iter().zip(slopes)) {
                let same = if y.is_nan() { value.is_nan() } else { value == y };
                let sign = call != "relu" || y.is_nan() || value.to_bits() == y.to_bits();
                assert!(same && sign, "{level}: {call}({x:?}) is {value:?}, not {y:?}");
                let close = x.is_nan() && dy.is_nan() || is_close(slope, f64::from(dy), 1.0);
                assert!(close, "{level}: {call}'({x:?}) is {slope:?}, not {dy:?}");
            }
        }
    }
}

#[test]
fn no_activation_hides_nan() {
    let points: Vec<f32> = (0..19).map(|at| if at % 5 == 2 { f32::NAN } else { at as f32 - 9.0 }).collect();
    for call in [
        "relu",
        "relu6",
        "leakyrelu",
        "leakyrelu(slope=0)",
        "elu",
        "gelu",
        "silu",
        "hardswish",
        "hardsigmoid",
        "softplus",
        "sigmoid",
        "tanh",
        "prelu_elements(0.25)",
        "clipped(1.0)",
        "huber_element(0.5, 1.0)",
        "bce_element(0.5)",
        "bce_with_logits_element(0.5)",
        "absolute_difference(0.5)",
        "dropout(0.0)",
    ] {
        for level in both_ends() {
            let [values, _] = run("", call, &points, level);
            for (x, value) in points.iter().zip(values) {
                // Not every loss of a number that is no probability is one.
                let same = x.is_nan() == value.is_nan() || (!x.is_nan() && call.starts_with("bce_element"));
                assert!(same, "{level}: {call}({x:?}) is {value:?}");
            }
        }
    }
}

/// Layers of windows and channels, forward and backward, alone and fused, with NaN in one place: it is where the oracle
/// has it and nowhere else.
#[test]
fn nan_stays_where_it_belongs() {
    for call in [
        "maxpool(2)",
        "maxpool(3, stride=1, pad=1)",
        "minpool(2)",
        "avgpool(2)",
        "lppool(2)",
        "lppool(3, stride=2, pad=1)",
        "softmaxpool(2)",
        "depthmaxpool(2)",
        "adaptivemaxpool([3, 2])",
        "globalmaxpool",
        "relu |> maxpool(2)",
        "conv(3, 3, pad=1) |> relu |> maxpool(2)",
        "conv(3, 3, pad=1) |> relu6",
        "conv(3, 1) |> hardswish |> avgpool(2)",
        "relu |> conv(2, 3) |> relu",
        "batchnorm |> relu |> maxpool(2)",
    ] {
        let text = format!(
            "model M(x: f32[N, 4, 6, 6]) {{ param shift: f32[1, 4, 6, 6] = 0; x + shift |> {call} }}
             data D {{ source = digits(); }}
             train M on D {{ loss = mse; }}"
        );
        for batch in [1, 9] {
            let graph = Model::new(&text).gradients(batch, false);
            let state = RandomState { seed: 3, step: 0 };
            let mut inputs = agreement::inputs(&graph, state);
            let data = graph.inputs.iter().position(|(_, role)| *role == Role::Data).expect("data");
            inputs[data][8] = f32::NAN;
            let expected = oracle(&graph, &doubles(&inputs), state);
            let at = graph.outputs.iter().position(|(_, sink)| *sink == Sink::Prediction).expect("one");
            let count = expected[at].iter().filter(|number| number.value.is_nan()).count();
            assert!(count > 0 && count < expected[at].len(), "{call}: {count}");
            for level in both_ends() {
                let options = CompileOptions::of(Target::of(level));
                let lowered = lower(&graph, &options);
                let mut native = Native::compile(&graph, lowered).expect("native code");
                let found = native.run(&inputs, &devices::host(1).expect("a thread"), state);
                let same = within_bound(&graph, &found, &expected).map(|_| ());
                assert_eq!(same, Ok(()), "{call} on {batch} pictures at {level}");
            }
        }
    }
}

/// The winner of a window is kept as a byte where there are few points, else as an integer.
#[test]
fn winners_of_large_windows_are_found() {
    for op in ["max", "min"] {
        let sign = if op == "max" { 1.0 } else { -1.0 };
        let text =
            format!("op extreme(x: f32[N, F]) -> y: f32[N, F] {{ y[n < N, f < F] = {op}[m < N] x[m, f]; }}");
        for (count, winner) in
            [(255, 254), (256, 0), (256, 255), (257, 256), (300, 44), (300, 299), (700, 530)]
        {
            let mut points: Vec<f32> = (0..count).map(|at| sign * (at as f32 * 1e-3 - 1.0)).collect();
            points[winner] = sign * 2.0;
            for level in both_ends() {
                let [values, slopes] = run(&text, "extreme", &points, level);
                assert!(values.iter().all(|value| *value == sign * 2.0), "{level}: {op} of {count}");
                let expected = |at: usize| if at == winner { count as f32 } else { 0.0 };
                let wrong = (0..count).find(|at| slopes[*at] != expected(*at));
                assert_eq!(wrong, None, "{level}: {op} of {count}, the winner is {winner}");
            }
        }
    }
}

/// Of two equal numbers the first is taken, and it alone has the slope.
#[test]
fn ties_go_to_the_first() {
    let points = [-1.0, 0.0, 0.5, 2.0];
    for (body, taken) in [
        ("max(x, 0.5)", [0.0, 0.0, 1.0, 1.0]),
        ("max(0.5, x)", [0.0, 0.0, 0.0, 1.0]),
        ("min(x, 0.5)", [1.0, 1.0, 1.0, 0.0]),
        ("min(0.5, x)", [1.0, 1.0, 0.0, 0.0]),
        ("max(3 * x, x)", [1.0, 3.0, 3.0, 3.0]),
        ("max(x, 3 * x)", [1.0, 1.0, 3.0, 3.0]),
        ("min(x, 3 * x)", [3.0, 1.0, 1.0, 1.0]),
        ("min(3 * x, x)", [3.0, 3.0, 1.0, 1.0]),
    ] {
        let op = format!("op f(x: f32) -> y: f32 {{ y = {body}; }}");
        for level in both_ends() {
            assert_eq!(run(&op, "f", &points, level)[1], taken, "{level}: {body}");
        }
    }
}

/// The slopes of a power where the formula is 0 times infinity are the limits, as in PyTorch.
#[test]
fn powers_of_zero_have_slopes() {
    let infinity = f32::INFINITY;
    for (body, points, values, slopes) in [
        ("pow(0, x)", [0.0, 0.5, 3.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ("pow(x, x)", [0.0, 1.0, 2.0], [1.0, 1.0, 4.0], [0.0, 1.0, 4.0 * (1.0 + std::f32::consts::LN_2)]),
        ("pow(x, 0 * x)", [0.0, 1.0, 5.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]),
        ("pow(x, x + 1)", [0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 2.0, 2.0]),
        ("pow(0, x - 4)", [4.0, 5.0, 3.0], [1.0, 0.0, infinity], [0.0, 0.0, -infinity]),
    ] {
        let op = format!("op f(x: f32) -> y: f32 {{ y = {body}; }}");
        for level in both_ends() {
            let found = run(&op, "f", &points, level);
            for (found, exact) in found.iter().zip([values, slopes]) {
                let is_right =
                    found.iter().zip(exact).all(|(found, exact)| is_close(*found, exact.into(), 8.0));
                assert!(is_right, "{level}: {body} at {points:?}: {found:?}, not {exact:?}");
            }
        }
    }
}
