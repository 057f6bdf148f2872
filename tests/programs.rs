//! Native code agrees with the oracle on programs of equations, random ones and some that are hard for lanes.

use cnnc::base::target::{Level, Target};
use cnnc::graph::{Graph, Init, Op, Role, Sink, Value};
use cnnc::lower::CompileOptions;
use cnnc::passes;
use cnnc::runtime::agreement;
use cnnc::te::parser::parse;
use cnnc::te::{DType, Program};
use cnnc::testing::programs::program;

/// Random programs that are tried.
const SEEDS: u64 = 60;

/// A graph of one node: the first input is the batch, labels are the target, all others are parameters. A scalar
/// output is the loss, the first other one the prediction; gradients are added.
fn graph(program: Program) -> Graph {
    let mut graph = Graph::default();
    let mut inputs = Vec::new();
    for (at, tensor) in program.inputs.iter().enumerate() {
        let data = program.tensors[*tensor].clone();
        let role = match (at, data.dtype) {
            (0, _) => Role::Data,
            (_, DType::I32) => Role::Target,
            _ => Role::Param { path: data.name.clone(), init: Init::Constant(0.0) },
        };
        inputs.push(graph.input(data.name, data.dtype, data.shape, role));
    }
    let op = graph.ops.push(Op { name: "random".into(), program });
    let results = graph.call(op, inputs, "random", None);
    let is_float = |value: &Value| graph.values[*value].dtype == DType::F32;
    let floats = results.into_iter().filter(is_float);
    let (scalars, tensors): (Vec<Value>, Vec<Value>) =
        floats.partition(|value| graph.values[*value].shape.is_empty());
    graph.outputs.extend(scalars.first().map(|value| (*value, Sink::Loss)));
    graph.outputs.extend(tensors.first().map(|value| (*value, Sink::Prediction)));
    passes::autodiff::run(&mut graph).expect("it is small");
    graph
}

fn check(program: Program, what: &str) {
    let text = program.to_string();
    let graph = graph(program);
    for level in [Level::Sse4, Level::Fma] {
        let options = CompileOptions::of(Target::of(level));
        let result = agreement::check(&graph, &options);
        assert_eq!(result, Ok(()), "{what} at {level:?}:\n{text}");
    }
}

#[test]
fn random_programs_and_their_gradients() {
    for seed in 0..SEEDS {
        let (program, used) = program(seed);
        check(program, &format!("seed {seed} {used:?}"));
    }
}

#[test]
fn programs_that_mix_pictures() {
    for (name, body) in [
        ("the next picture", "y[n < 11, c < 3] = (x[n + 1, c] else 0) * x[n, c];"),
        ("pictures around", "y[n < 11, c < 3] = sum[u < 3] (x[n + u - 1, c] else 0);"),
        ("reversed", "y[n < 11, c < 3] = x[10 - n, c] * x[n, c];"),
        ("by condition", "y[n < 11, c < 3] = if int(n) < 10 { x[n + 1, c] } else { 0.5 };"),
        ("the first picture", "y[n < 11, c < 3] = x[n, c] - x[0, c];"),
        ("half of them", "y[n < 11, c < 3] = x[n / 2, c];"),
        (
            "a matrix of pictures",
            "m: f32[11, 11]; m[a < 11, b < 11] = sum[k < 3] x[a, k] * x[b, k];
            y[n < 11, c < 3] = sum[b < 11] m[n, b] * x[b, c];",
        ),
        ("running sums", "y[n < 11, c < 3] = sum[k < 11] if int(k) <= int(n) { x[k, c] } else { 0 };"),
        (
            "in two pieces",
            "y[2*n, c] for n < 6, c < 3 = x[n, c]; y[2*n + 1, c] for n < 5, c < 3 = x[n, c] * 2;",
        ),
    ] {
        let text = format!(
            "program(x: f32[11, 3], w: f32) -> (y: f32[11, 3], loss: f32) {{ {body}
                loss = sum[n < 11, c < 3] y[n, c] * y[n, c] * w; }}"
        );
        let program = parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(program, name);
    }
}
