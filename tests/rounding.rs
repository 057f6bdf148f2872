//! Rounding: long sums, and normalisations of what has a large mean, are as close to double precision as sums in blocks
//! and compensated means get them. `benches/peers/rounding.py` compares all layers with PyTorch.

mod model;

use cnnc::base::philox::{RandomState, uniform};
use cnnc::base::target::Target;
use cnnc::graph::{Graph, Role, Sink, Value};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native, Tensors};
use cnnc::runtime::{Values, devices};
use cnnc::te::interpreter::Number;
use model::Model;

const STATE: RandomState = RandomState { seed: 11, step: 3 };

/// The inputs of agreement tests, with `mean` added to the data, but off the grid on which sums are exact.
fn inputs(graph: &Graph, mean: f32) -> Tensors {
    let mut inputs = agreement::inputs(graph, STATE);
    for (stream, ((_, role), values)) in graph.inputs.iter().zip(&mut inputs).enumerate() {
        for (at, value) in values.iter_mut().enumerate() {
            match role {
                Role::Data => *value += mean + uniform(STATE, 1000 + stream as u32, at as u32),
                Role::Param { .. } => *value *= 0.5 + uniform(STATE, 1000 + stream as u32, at as u32),
                Role::Target | Role::Partner | Role::State { .. } | Role::Scalar(_) => {}
            }
        }
    }
    inputs
}

/// The largest error of each output, in units of its largest element.
fn errors(graph: &Graph, mean: f32) -> Vec<(Sink, f64)> {
    let options = CompileOptions { fast_math: false, ..CompileOptions::of(Target::host()) };
    let lowered = lower(graph, &options);
    let inputs = inputs(graph, mean);
    let oracle = agreement::oracle(graph, &agreement::doubles(&inputs), STATE);
    let device = devices::host(1).expect("a thread");
    let found = Native::compile(graph, lowered).expect("it compiles").run(&inputs, &device, STATE);
    let outputs = found.iter().zip(&oracle).zip(&graph.outputs);
    let error = |((found, oracle), (_, sink)): ((&Values, &Vec<Number>), &(Value, Sink))| {
        let (mut error, mut largest) = (0.0, 0.0);
        for (found, exact) in found.numbers().iter().zip(oracle) {
            let distance = (found - exact.value).abs();
            assert!(distance.is_finite(), "{sink:?}: {found} and {}", exact.value);
            error = f64::max(error, distance);
            largest = f64::max(largest, exact.value.abs());
        }
        (sink.clone(), error / f64::max(largest, f64::MIN_POSITIVE))
    };
    outputs.map(error).collect()
}

fn check(what: &str, graph: &Graph, mean: f32, bound: f64) {
    for (sink, error) in errors(graph, mean) {
        println!("{what}, mean {mean}: {sink:?} is off by {error:.1e} of its largest element");
        assert!(error <= bound, "{what}, mean {mean}: {sink:?} is off by {error:e} of its largest element");
    }
}

fn prediction(shape: &str, layer: &str, batch: i64) -> Graph {
    Model::new(&format!("model M(x: f32[N, {shape}]) {{ x |> {layer} }}"))
        .forward(batch, false)
        .expect("it elaborates")
}

/// One long chain of additions loses four times as many digits.
#[test]
fn long_sums_are_sums_of_sums() {
    for batch in [1, 8] {
        check("256 channels", &prediction("256, 3, 3", "conv(16, 3, pad=1)", batch), 0.0, 2.5e-7);
        check("1×1", &prediction("1000, 2, 2", "conv(16, 1)", batch), 0.0, 2.5e-7);
        check("a matrix", &prediction("3000", "linear(24)", batch), 0.0, 2.5e-7);
        check("a mean", &prediction("8, 40, 40", "globalavgpool", batch), 100.0, 2.5e-7);
    }
}

/// A mean of 1000 that is rounded once is off by 3e-5; its own rounding is made good.
#[test]
fn a_large_mean_costs_a_normalisation_nothing() {
    let layers =
        [("40", "layernorm"), ("768", "layernorm"), ("6, 5, 7", "groupnorm(2)"), ("3, 6, 6", "instancenorm")];
    for (shape, layer) in layers {
        for mean in [0.0, 100.0, 1000.0] {
            check(layer, &prediction(shape, layer, 3), mean, 6e-7);
        }
    }
}

/// The statistics of a batch, and all gradients behind them.
#[test]
fn a_large_mean_costs_a_training_step_nothing() {
    for (shape, layer) in [("3, 6, 6", "batchnorm"), ("24", "batchnorm"), ("4, 3, 3", "groupnorm(2)")] {
        let model = Model::new(&format!(
            "model M(x: f32[N, {shape}]) {{ x |> {layer} |> tanh |> flatten |> linear(3) }}
             data D {{ source = digits(); }}
             train M on D {{ loss = cross_entropy; }}"
        ));
        for batch in [2, 17] {
            let mut graph = model.gradients(batch, true);
            // The running mean is as large as the data.
            graph.outputs.retain(|(_, sink)| !matches!(sink, Sink::Update(_)));
            for mean in [0.0, 1000.0] {
                check(layer, &graph, mean, 2e-6);
            }
        }
    }
}
