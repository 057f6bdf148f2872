//! Indices as addresses and as numbers: native code against what they say, element by element.

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab::{ModelCall, Module, Request};
use cnnc::graph::Graph;
use cnnc::lower::{CompileOptions, lower};
use cnnc::passes::autodiff;
use cnnc::runtime::agreement::{self, Native};
use cnnc::runtime::devices;

const STATE: RandomState = RandomState { seed: 3, step: 1 };

fn module(text: &str) -> Module {
    let mut sources = SourceMap::default();
    Module::from_text(&mut sources, "model.cnn", text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn inference(text: &str, batch: i64) -> Graph {
    let module = module(text);
    let graph = module.graph(&ModelCall::new(module.models()[0]), &Request::inference(batch));
    graph.unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// The outputs of native code, which are those of the oracle and of the loop interpreter.
fn run(graph: &Graph) -> (agreement::Tensors, Vec<Vec<f64>>) {
    let options = CompileOptions::of(Target::host());
    let inputs = agreement::inputs(graph, STATE);
    let lowered = lower(graph, &options);
    let interpreted = agreement::interpreted(&lowered, &inputs, STATE).expect("it is valid");
    let device = devices::host(1).expect("a thread");
    let native = Native::compile(graph, lowered).expect("it compiles").run(&inputs, &device, STATE);
    agreement::same_bits(graph, &native, &interpreted).expect("the interpreter's bits");
    let oracle = agreement::oracle(graph, &agreement::doubles(&inputs), STATE);
    agreement::within_bound(graph, &native, &oracle).expect("the oracle's values");
    (inputs, agreement::numbers(&native))
}

/// An index and its value at `i < 8` and `u < 5`.
type Proved = (&'static str, fn(i64, i64) -> i64);

/// Indices of reads of nine elements.
const PROVED: &[Proved] = &[
    ("i - i % 4", |i, _| i - i % 4),
    ("i + 1 - 2 * (i % 2)", |i, _| i + 1 - 2 * (i % 2)),
    ("i - i / 2 + u % 2", |i, u| i - i / 2 + u % 2),
    ("u - min(i, u)", |i, u| u - i.min(u)),
    ("max(i, u) - min(i, u)", |i, u| i.max(u) - i.min(u)),
    ("min(i, 2 * (K - 4) - i) + 1", |i, _| i.min(10 - i) + 1),
    ("max(i - 3, 3 - i)", |i, _| (i - 3).abs()),
    ("min(max(i - 2, 2 - i), 8 - max(i - 2, 2 - i))", |i, _| (i - 2).abs().min(8 - (i - 2).abs())),
    ("(i * 4294967297) % 4294967296", |i, _| i),
    ("(4 * i + 2) % 8 + u % 3", |i, u| (4 * i + 2) % 8 + u % 3),
];

#[test]
fn what_is_proved_to_be_inside_is_read_there() {
    for (index, value) in PROVED {
        let text = format!(
            "op f(x: f32[N, K]) -> y: f32[N, 8, 5] {{ y[n, i, u] = x[n, {index}]; }}
             model M(x: f32[N, 9]) {{ f(x) }}"
        );
        for batch in [1, 9] {
            let (inputs, outputs) = run(&inference(&text, batch));
            for (at, found) in outputs[0].iter().enumerate() {
                let (n, i, u) = (at / 40, (at / 5 % 8) as i64, (at % 5) as i64);
                let expected = f64::from(inputs[0][9 * n + value(i, u) as usize]);
                assert!(*found == expected, "x[{n}, {index}] at {i}, {u}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn what_is_proved_to_be_inside_has_a_gradient() {
    let sum: Vec<String> =
        PROVED.iter().map(|(index, _)| format!("(x[n, {index}] * real(i + 2*u))")).collect();
    let text = format!(
        "op f(x: f32[N, K]) -> y: f32[N, 8, 5] {{ y[n, i, u] = {}; }}
         op total(p: f32[N, A, B], t: f32[N, A, B]) -> y: f32 {{ y = sum[n, a, b] p[n, a, b] * t[n, a, b]; }}
         model M(x: f32[N, 9]) {{ param w: f32[9] = 1;  f(x * w) }}
         data D {{ source = digits(); }}
         train M on D {{ loss = total;  optim = sgd(0.1); }}",
        sum.join(" + ")
    );
    let module = module(&text);
    let spec = module.train_spec(module.train_sections()[0], &Default::default()).expect("a section");
    let mut graph = cnnc::train::recipe::Recipe::of(&module, &spec).forward(3, None).expect("a graph");
    autodiff::run(&mut graph).expect("it is small");
    run(&graph);
}

/// What an op of one result gives at three by six points.
fn numbers(body: &str) -> Vec<f64> {
    let text = format!(
        "op f(x: f32[N, K]) -> y: f32[N, 6] {{ {body} }}
         model M(x: f32[N, 3]) {{ f(x) }}"
    );
    run(&inference(&text, 3)).1.swap_remove(0)
}

#[test]
fn a_number_of_an_index_is_the_nearest() {
    for factor in [1_i64, 16_777_217, 400_000_001, -429_496_729] {
        let found = numbers(&format!("y[n, k] = real(k * {factor}) + 0 * x[n, 0];"));
        let expected = (0..18).map(|at| f64::from((at % 6 * factor) as f32));
        assert!(found.iter().copied().eq(expected), "{factor}: {found:?}");
    }
}

/// 16,777,217 is no `f32`: what is compared or kept as an integer must not become one.
#[test]
fn integers_are_exact_beyond_the_floats() {
    for (body, expected) in [
        ("y[n, k] = if k * 16777216 + 1 == 16777217 { 1 } else { 0 };", [0, 1, 0, 0, 0, 0]),
        ("y[n, k] = if k * 16777217 > 16777216 { 1 } else { 0 };", [0, 1, 1, 1, 1, 1]),
        ("y[n, k] = if k * 400000000 + 1 == 1200000001 { 1 } else { 0 };", [0, 0, 0, 1, 0, 0]),
        ("m[a < 6] = a * 16777217;  y[n, k] = if m[k] == k * 16777217 { 1 } else { 0 };", [1, 1, 1, 1, 1, 1]),
        (
            "m[a < 6] = if x[0, 0] < 9 { 16777217 } else { a };
             y[n, k] = if m[k] == k + 16777212 { 1 } else { 0 };",
            [0, 0, 0, 0, 0, 1],
        ),
        (
            "m[a < 6] = if x[0, 0] > 9 { 3 } else { a * 16777217 };
             y[n, k] = if m[k] == 2 * k + 16777215 { 1 } else { 0 };",
            [0, 1, 0, 0, 0, 0],
        ),
        (
            "m[a < 6] = a * 400000000;  y[n, k] = if m[k] < 2147483648 && m[k] >= -2147483649 { 1 } else { 0 };",
            [1, 1, 1, 1, 1, 1],
        ),
        (
            "m[a < 6] = a - 3;
             y[n, k] = if (if x[n, 0] < 9 { m[k] } else { 16777217 }) == k - 3 { 1 } else { 0 };",
            [1, 1, 1, 1, 1, 1],
        ),
    ] {
        let found = numbers(body);
        assert!(found.iter().copied().eq((0..18).map(|at| expected[at % 6] as f64)), "{body} {found:?}");
    }
}

/// A sum over the pictures, which lie side by side in vectors: as floats it is 16 less for sixteen of them.
#[test]
fn sums_over_the_batch_are_exact_too() {
    for batch in [1, 7, 8, 15, 16, 17, 32, 33] {
        for (kind, body, factor) in [
            (
                "f32",
                "total[a < 6] = sum[b < N] (if x[b, 0] < 9 { 16777217 + a } else { 1 });
                 y[n, k] = if total[k] == N * (16777217 + k) { 1 } else { 0 };",
                1,
            ),
            (
                "f32",
                "least[a < 6] = min[b < N] (if x[b, 0] < 9 { 16777217 + a + b } else { 1 });
                 y[n, k] = if least[k] == 16777217 + k { 1 } else { 0 };",
                1,
            ),
            ("i32", "y[n, k] = sum[b < N] (if x[b, 1] < 9 { 16777217 } else { 1 });", 16_777_217 * batch),
        ] {
            let text = format!(
                "op f(x: f32[N, K]) -> y: {kind}[N, 6] {{ {body} }}
                 model M(x: f32[N, 3]) {{ f(x) }}"
            );
            let found = run(&inference(&text, batch)).1.swap_remove(0);
            assert_eq!(found, vec![factor as f64; 6 * batch as usize], "batch {batch}: {body}");
        }
    }
}

/// What is said about an op.
fn refused(body: &str, kind: &str) -> String {
    let text = format!(
        "op f(x: f32[N, K]) -> y: {kind}[N, 6] {{ {body} }}
         model M(x: f32[N, 3]) {{ f(x) }}"
    );
    let module = module(&text);
    match module.graph(&ModelCall::new(module.models()[0]), &Request::inference(2)) {
        Ok(_) => "nothing".into(),
        Err(errors) => errors[0].message.clone(),
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let number = "an index used as a number has 32 bits, and this one runs from";
    for (body, kind, expected) in [
        ("y[n, k] = real(k * 4294967296);", "f32", format!("{number} 0 to 21474836480")),
        ("y[n, k] = x[n, 0] * (k * 429496730);", "f32", format!("{number} 0 to 2147483650")),
        ("y[n, k] = -k * 429496730;", "i32", format!("{number} -2147483650 to 0")),
        ("y[n, k] = if k * 4294967296 > k { 1 } else { 0 };", "f32", format!("{number} 0 to 21474836480")),
        ("y[n, k] = exp(k * 4294967296);", "f32", format!("{number} 0 to 21474836480")),
        ("y[n, k] = sum[u < 2] u * 2147483648;", "f32", format!("{number} 0 to 2147483648")),
        (
            "y[n, k] = x[n, k * 4294967296] else 0;",
            "f32",
            "the index of a read has 32 bits, and this one runs from 0 to 21474836480".into(),
        ),
        ("y[n, k] = 2147483648;", "i32", "2147483648 is no value of i32".into()),
        (
            "y[n, k] = if x[n, 0] > 0 { k } else { -3000000000 };",
            "i32",
            "-3000000000 is no value of i32".into(),
        ),
        ("y[n, k] = 52 * k;", "u8", "260 is no value of u8".into()),
        ("y[n, k] = k - 1;", "u8", "-1 is no value of u8".into()),
        ("m[a < 6] = 3000000000;  y[n, k] = m[k];", "f32", "3000000000 is no value of i32".into()),
        ("m[a < 6] = a;  y[n, k] = m[k + 1] else 0.5;", "f32", "0.5 is no value of i32".into()),
        ("y[n, k] = 51 * k;", "u8", "nothing".into()),
        ("y[n, k] = real(k) * 4294967296;", "f32", "nothing".into()),
        ("y[n, k] = k * 429496729;", "i32", "nothing".into()),
    ] {
        let said = refused(body, kind);
        assert!(said.ends_with(&expected), "{body}: {said}");
    }
}

/// The parts of a result stay in their places, whichever is written first, also where none fills its vectors.
#[test]
fn parts_of_a_result_keep_to_their_places() {
    for cut in [12, 20] {
        let below = format!("y[n, c < {cut}, h, w] = 2 * x[n, c, h, w];");
        let above = format!("y[n, c + {cut}, h, w] = x[n, c, h, w] - 1;");
        for parts in [format!("{below} {above}"), format!("{above} {below}")] {
            for last in ["", "|> conv(3, 1)"] {
                let text = format!(
                    "op parts(x: f32[N, C, H, W]) -> y: f32[N, 32, H, W] {{ {parts} }}
                     model M(x: f32[N, 2, 3, 3]) {{ x |> conv(32, 1) |> parts {last} }}"
                );
                run(&inference(&text, 1));
                run(&inference(&text, 17));
            }
        }
    }
}
