//! Gradients through choices: the branch that is taken decides, whatever the other one's slope is.
//!
//! Each case is an expression with a choice between something safe and a function that is infinite, or none, elsewhere.
//! It is written in the language and evaluated here as a dual number, a value with its derivative, of the branch taken
//! alone: an oracle that shares nothing with the compiler.

mod model;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::{Graph, Role, Sink};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native, Tensors};
use cnnc::runtime::devices;
use model::Model;

/// Where every expression is tried.
const POINTS: [f64; 9] = [0.0, 1e-30, -1e-30, 1.0, -1.0, 100.0, -100.0, 1e30, -1e30];

/// Some arithmetic in single precision: a few roundings.
const RELATIVE: f64 = 2e-6;

/// A function, its name in texts, and where it may be taken: it and its slope are numbers there.
struct Dangerous {
    text: fn(&str) -> String,
    dual: fn(f64) -> Dual,
    low: f64,
    high: f64,
}

/// A value and its derivative.
#[derive(Clone, Copy)]
struct Dual {
    value: f64,
    slope: f64,
}

fn dual(value: f64, slope: f64) -> Dual {
    Dual { value, slope }
}

fn call(name: &str, x: &str) -> String {
    format!("{name}({x})")
}

const FUNCTIONS: [Dangerous; 8] = [
    Dangerous { text: |x| call("exp", x), dual: |x| dual(x.exp(), x.exp()), low: -1e31, high: 50.0 },
    Dangerous { text: |x| call("log", x), dual: |x| dual(x.ln(), 1.0 / x), low: 1e-10, high: 1e31 },
    Dangerous { text: |x| call("sqrt", x), dual: |x| dual(x.sqrt(), 0.5 / x.sqrt()), low: 1e-10, high: 1e31 },
    Dangerous {
        text: |x| call("rsqrt", x),
        dual: |x| dual(x.powf(-0.5), -0.5 * x.powf(-1.5)),
        low: 1e-10,
        high: 1e31,
    },
    Dangerous {
        text: |x| format!("pow({x}, 0.5)"),
        dual: |x| dual(x.sqrt(), 0.5 / x.sqrt()),
        low: 1e-10,
        high: 1e31,
    },
    Dangerous {
        text: |x| format!("pow({x}, -2)"),
        dual: |x| dual(x.powf(-2.0), -2.0 * x.powf(-3.0)),
        low: 1e-10,
        high: 1e31,
    },
    Dangerous {
        text: |x| format!("1 / {x}"),
        dual: |x| dual(1.0 / x, -1.0 / (x * x)),
        low: 1e-10,
        high: 1e31,
    },
    Dangerous {
        text: |x| format!("log(0.5 - {x})"),
        dual: |x| dual((0.5 - x).ln(), -1.0 / (0.5 - x)),
        low: -1e31,
        high: 0.4,
    },
];

impl Dangerous {
    fn is_taken(&self, x: f64) -> bool {
        x > self.low && x < self.high
    }
}

/// A way to write the choice: its text, given that of the function, of the element and of where it is taken; and its
/// value, given that of the function where it is taken.
struct Form {
    name: &'static str,
    text: fn(f: &str, x: &str, taken: &str, not: &str) -> String,
    dual: fn(f: Option<Dual>, x: f64) -> Dual,
}

const FORMS: [Form; 10] = [
    Form {
        name: "danger first",
        text: |f, x, taken, _| format!("(if {taken} {{ {f} }} else {{ 2 * {x} }})"),
        dual: |f, x| f.unwrap_or(dual(2.0 * x, 2.0)),
    },
    Form {
        name: "danger second",
        text: |f, x, _, not| format!("(if {not} {{ 2 * {x} }} else {{ {f} }})"),
        dual: |f, x| f.unwrap_or(dual(2.0 * x, 2.0)),
    },
    Form {
        name: "a constant otherwise",
        text: |f, _, _, not| format!("(if {not} {{ 3 }} else {{ {f} }})"),
        dual: |f, _| f.unwrap_or(dual(3.0, 0.0)),
    },
    Form {
        name: "nested, danger inside",
        text: |f, x, taken, _| {
            format!("(if {taken} {{ if {x} < 10 {{ {f} }} else {{ 0.5 * {x} }} }} else {{ {x} }})")
        },
        dual: |f, x| match f {
            Some(f) if x < 10.0 => f,
            Some(_) => dual(0.5 * x, 0.5),
            None => dual(x, 1.0),
        },
    },
    Form {
        name: "a chain, danger last",
        text: |f, x, _, not| format!("(if {not} {{ {x} }} else if {x} > 10 {{ 0.5 * {x} }} else {{ {f} }})"),
        dual: |f, x| match f {
            None => dual(x, 1.0),
            Some(_) if x > 10.0 => dual(0.5 * x, 0.5),
            Some(f) => f,
        },
    },
    Form {
        name: "in two branches of three",
        text: |f, x, taken, _| {
            format!("(if {taken} {{ if {x} < 10 {{ {f} }} else {{ 2 * {f} }} }} else {{ {x} }})")
        },
        dual: |f, x| match f {
            Some(f) if x < 10.0 => f,
            Some(f) => dual(2.0 * f.value, 2.0 * f.slope),
            None => dual(x, 1.0),
        },
    },
    Form {
        name: "times factors",
        text: |f, x, _, not| format!("(3 * -(if {not} {{ {x} }} else {{ {f} }}) / 4)"),
        dual: |f, x| {
            let chosen = f.unwrap_or(dual(x, 1.0));
            dual(-0.75 * chosen.value, -0.75 * chosen.slope)
        },
    },
    Form {
        name: "a choice in a choice's factor",
        text: |f, x, taken, not| {
            format!(
                "((if {taken} {{ {f} }} else {{ 1 }}) * (if {not} {{ 0.5 }} else {{ 2 }}) + (if {x} > 0 {{ 1 }} else {{ {x} }}))"
            )
        },
        dual: |f, x| {
            let scaled = f.map_or(dual(0.5, 0.0), |f| dual(2.0 * f.value, 2.0 * f.slope));
            let rest = if x > 0.0 { dual(1.0, 0.0) } else { dual(x, 1.0) };
            dual(scaled.value + rest.value, scaled.slope + rest.slope)
        },
    },
    Form {
        name: "under functions",
        text: |f, x, taken, _| format!("tanh(0.01 * (if {taken} {{ {f} }} else {{ 0.25 * {x} }}))"),
        dual: |f, x| {
            let chosen = f.unwrap_or(dual(0.25 * x, 0.25));
            let value = (0.01 * chosen.value).tanh();
            dual(value, 0.01 * (1.0 - value * value) * chosen.slope)
        },
    },
    Form {
        name: "the larger of both",
        text: |f, x, taken, _| format!("(if {taken} {{ max({f}, {f} - 1) }} else {{ min({x}, {x} + 1) }})"),
        dual: |f, x| f.unwrap_or(dual(x, 1.0)),
    },
];

/// How an expression becomes the result of an op: its equations, and the gradient of each element of a row, given those
/// of the row's results.
struct Context {
    name: &'static str,
    /// Given the expression at `x[n, c]`.
    equations: fn(&str) -> String,
    /// Of the slopes at a row's points, and the gradients of its results.
    gradient: fn(row: &[Dual], results: &[f64]) -> Vec<f64>,
}

fn winner(row: &[Dual], better: fn(f64, f64) -> bool) -> usize {
    (0..row.len())
        .reduce(|best, at| if better(row[at].value, row[best].value) { at } else { best })
        .expect("a row")
}

const CONTEXTS: [Context; 6] = [
    Context {
        name: "element by element",
        equations: |e| format!("y[n, c] = {e};"),
        gradient: |row, results| row.iter().zip(results).map(|(dual, dy)| dual.slope * dy).collect(),
    },
    Context {
        name: "in a sum",
        equations: |e| format!("s[n < N] = sum[c < C] {e}; y[n, c] = s[n] + 0 * x[n, c];"),
        gradient: |row, results| row.iter().map(|dual| dual.slope * results.iter().sum::<f64>()).collect(),
    },
    Context {
        name: "in a weighted sum",
        equations: |e| format!("s[n < N] = sum[c < C] {e} * real(c + 1); y[n, c] = s[n] + 0 * x[n, c];"),
        gradient: |row, results| {
            let dy: f64 = results.iter().sum();
            row.iter().enumerate().map(|(c, dual)| dual.slope * (c as f64 + 1.0) * dy).collect()
        },
    },
    Context {
        name: "in a maximum",
        equations: |e| format!("s[n < N] = max[c < C] {e}; y[n, c] = s[n] + 0 * x[n, c];"),
        gradient: |row, results| {
            let (dy, best) = (results.iter().sum::<f64>(), winner(row, |a, b| a > b));
            row.iter().enumerate().map(|(c, dual)| if c == best { dual.slope * dy } else { 0.0 }).collect()
        },
    },
    Context {
        name: "of an intermediate result",
        equations: |e| {
            format!("e[n < N, c < C] = {e}; y[n, c] = if c % 2 == 0 {{ e[n, c] }} else {{ 0.5 }};")
        },
        gradient: |row, results| {
            let even = |c: usize| if c.is_multiple_of(2) { 1.0 } else { 0.0 };
            row.iter().zip(results).enumerate().map(|(c, (dual, dy))| even(c) * dual.slope * dy).collect()
        },
    },
    Context {
        name: "in two results",
        equations: |e| format!("e[n < N, c < C] = {e}; y[n, c] = e[n, c] + (sum[k < C] e[n, k]);"),
        gradient: |row, results| {
            let all: f64 = results.iter().sum();
            row.iter().zip(results).map(|(dual, dy)| dual.slope * (dy + all)).collect()
        },
    },
];

/// A model whose parameters, one for each op, are what the ops' elements are computed from.
fn model(ops: &[String], batch: i64) -> Graph {
    let mut text = String::from(
        "op total(prediction: f32[N, C], target: f32[N, C]) -> loss: f32 {
           loss = sum[n < N, c < C] prediction[n, c] * target[n, c];
         }\n",
    );
    let mut body = String::new();
    for (at, op) in ops.iter().enumerate() {
        text += &format!("op user{at}(x: f32[N, C]) -> y: f32[N, C] {{ {op} }}\n");
        body += &format!("  param v{at}: f32[{batch}, 9] = 0;\n  let y{at} = user{at}(x + v{at});\n");
    }
    let sum: Vec<String> = (0..ops.len()).map(|at| format!("y{at}")).collect();
    text += &format!("model M(x: f32[N, 9]) {{\n{body}  {}\n}}\n", sum.join(" + "));
    text += "data D { source = digits(); }\ntrain M on D { loss = total; }\n";
    Model::new(&text).gradients(batch, true)
}

/// The points of a row: every lane has others.
fn row(n: usize) -> Vec<f64> {
    (0..POINTS.len()).map(|c| POINTS[(c + 2 * n) % POINTS.len()]).collect()
}

/// The gradient of an element of the result, as the loss has it.
fn coefficient(n: usize, c: usize) -> f64 {
    ((n * 7 + c * 3) % 5) as f64 + 0.5
}

fn inputs(graph: &Graph, batch: usize) -> Tensors {
    let rows = |value: fn(usize, usize) -> f64| -> Vec<f32> {
        (0..batch).flat_map(|n| (0..POINTS.len()).map(move |c| value(n, c) as f32)).collect()
    };
    let of = |role: &Role| match role {
        Role::Param { .. } => rows(|n, c| row(n)[c]),
        Role::Target => rows(coefficient),
        _ => rows(|_, _| 0.0),
    };
    graph.inputs.iter().map(|(_, role)| of(role)).collect()
}

/// Compares the gradients of all parameters at some levels with what they must be; `expected` is that of a parameter,
/// row by row.
fn check(
    what: &str,
    ops: &[String],
    batch: usize,
    levels: &[Level],
    expected: &dyn Fn(usize, usize) -> Vec<f64>,
) {
    let graph = model(ops, batch as i64);
    let inputs = inputs(&graph, batch);
    let state = RandomState { seed: 1, step: 1 };
    let wanted: Vec<Vec<f64>> =
        (0..ops.len()).map(|op| (0..batch).flat_map(|n| expected(op, n)).collect()).collect();
    let oracle = agreement::oracle(&graph, &agreement::doubles(&inputs), state);
    let oracle: Vec<Vec<f64>> =
        oracle.iter().map(|o| o.iter().map(|number| number.value).collect()).collect();
    compare(&format!("{what}, oracle"), ops, &graph, &oracle, &wanted);
    for level in levels.iter().filter(|level| **level <= Target::host().level) {
        let options = CompileOptions::of(Target::of(*level));
        let lowered = lower(&graph, &options);
        let mut native = Native::compile(&graph, lowered).expect("native code");
        let found = native.run(&inputs, &devices::host(1).expect("a thread"), state);
        compare(&format!("{what}, {level}"), ops, &graph, &agreement::numbers(&found), &wanted);
    }
}

fn compare(what: &str, ops: &[String], graph: &Graph, found: &[Vec<f64>], wanted: &[Vec<f64>]) {
    for (op, wanted) in wanted.iter().enumerate() {
        let name = format!("v{op}");
        let of_param =
            |sink: &Sink| matches!(sink, Sink::Gradient(param) if graph.values[*param].name == name);
        let at = graph.outputs.iter().position(|(_, sink)| of_param(sink)).expect("a gradient");
        for (k, (found, wanted)) in found[at].iter().zip(wanted).enumerate() {
            let close = (found - wanted).abs() <= RELATIVE * wanted.abs() + 1e-37;
            let x = row(k / POINTS.len())[k % POINTS.len()];
            assert!(close, "{what}: at {x} the slope is {wanted}, not {found}:\n{}", ops[op]);
        }
    }
}

const LEVELS: [Level; 4] = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512];

/// The expression of a form around a function at `x[n, c]`.
fn expression(form: &Form, function: &Dangerous) -> String {
    let x = "x[n, c]";
    let (taken, not) = match (function.low > -1e31, function.high < 1e31) {
        (true, _) => (format!("{x} > {:e}", function.low), format!("{x} <= {:e}", function.low)),
        _ => (format!("{x} < {}", function.high), format!("{x} >= {}", function.high)),
    };
    (form.text)(&(function.text)(x), x, &taken, &not)
}

fn value(form: &Form, function: &Dangerous, x: f64) -> Dual {
    (form.dual)(function.is_taken(x).then(|| (function.dual)(x)), x)
}

#[test]
fn the_branch_that_is_taken_decides() {
    for context in &CONTEXTS {
        for form in &FORMS {
            let ops: Vec<String> =
                FUNCTIONS.iter().map(|function| (context.equations)(&expression(form, function))).collect();
            let what = format!("{}, {}", form.name, context.name);
            let expected = |op: usize, n: usize| {
                let row: Vec<Dual> = row(n).iter().map(|x| value(form, &FUNCTIONS[op], *x)).collect();
                let results: Vec<f64> = (0..POINTS.len()).map(|c| coefficient(n, c)).collect();
                (context.gradient)(&row, &results)
            };
            let host = [Target::host().level];
            for (batch, levels) in [(1, &LEVELS[..1]), (2, &host), (8, &host), (17, &LEVELS)] {
                check(&format!("{what}, batch {batch}"), &ops, batch, levels, &expected);
            }
        }
    }
}

/// A choice around a reduction: its gradient takes no part of a reduction that is not taken.
#[test]
fn around_a_reduction() {
    for (name, text, slope) in [
        (
            "a sum of roots, in either order",
            "y[n, c] = if c < 20 { x[n, c] } else { sum[k < C] sqrt(x[n, k]) };",
            1.0,
        ),
        ("in the first branch", "y[n, c] = if c > 20 { sum[k < C] log(x[n, k]) } else { x[n, c] };", 1.0),
        (
            "by an element of its own",
            "s[n < N] = sum[k < C] 1 / x[n, k]; y[n, c] = if c > 20 { s[n] * x[n, c] } else { 3 * x[n, c] };",
            3.0,
        ),
        (
            "two reductions deep",
            "y[n, c] = if c > 20 { sum[k < C] exp(max[l < C] x[n, l] * real(k + 1)) } else { 5 * x[n, c] };",
            5.0,
        ),
        ("a product", "y[n, c] = if c > 20 { prod[k < C] rsqrt(x[n, k]) } else { 5 * x[n, c] };", 5.0),
    ] {
        for batch in [1, 8, 17] {
            let expected = |_: usize, n: usize| {
                (0..POINTS.len()).map(|c| slope * coefficient(n, c)).collect::<Vec<f64>>()
            };
            // The condition is decided by the element, so that no constant folds it.
            let text = text.replace("c > 20", "x[n, c] > 1e35").replace("c < 20", "x[n, c] < 1e35");
            check(&format!("{name}, batch {batch}"), &[text], batch, &LEVELS, &expected);
        }
    }
}

/// Rows of which some take the reduction and some do not.
#[test]
fn a_reduction_that_some_rows_take() {
    let text = "y[n, c] = if x[n, 0] > 50 { x[n, c] } else { sum[k < C] 0.5 * exp(min(x[n, k], 1)) };";
    let expected = |_: usize, n: usize| {
        let row = row(n);
        let all: f64 = (0..POINTS.len()).map(|c| coefficient(n, c)).sum();
        let slope = |(c, x): (usize, &f64)| match row[0] > 50.0 {
            true => coefficient(n, c),
            false if *x <= 1.0 => 0.5 * x.exp() * all,
            false => 0.0,
        };
        row.iter().enumerate().map(slope).collect()
    };
    check("some rows", &[text.into()], 17, &LEVELS, &expected);
}

/// The library's own choices, far out: PyTorch's slopes.
#[test]
fn layers_far_out() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let layers: [(&str, &dyn Fn(f64) -> f64); 5] = [
        ("elu(x)", &|x| if x > 0.0 { 1.0 } else { x.exp() }),
        ("softplus(x)", &sigmoid),
        ("leakyrelu(x)", &|x| if x > 0.0 { 1.0 } else { 0.01 }),
        ("relu6(x)", &|x| if x > 0.0 && x < 6.0 { 1.0 } else { 0.0 }),
        ("bce_with_logits_element(x, 0.25)", &|x| sigmoid(x) - 0.25),
    ];
    let ops: Vec<String> =
        layers.iter().map(|(text, _)| format!("y[n, c] = {};", text.replace('x', "x[n, c]"))).collect();
    let ops: Vec<String> = ops.iter().map(|text| text.replace("ex[n, c]", "ex")).collect();
    let expected = |op: usize, n: usize| {
        row(n).iter().enumerate().map(|(c, x)| layers[op].1(*x) * coefficient(n, c)).collect()
    };
    for batch in [1, 2, 8, 17] {
        check("layers", &ops, batch, &LEVELS, &expected);
    }
}
