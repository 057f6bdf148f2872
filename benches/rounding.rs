//! Results and gradients of single layers, computed natively for `benches/peers/rounding.py`, which compares them with
//! PyTorch's in single and double precision.
//!
//! In: a folder with `cases.json` (a list of [`Case`]) and arrays `VALUES.NAME.npy` for the inputs of each, where the
//! name is `x`, `target` or the path of a parameter or state; a parameter without an array is 0. Out: an array
//! `CASE.NAME.npy` for each output, where the name is `y`, `loss` or `d_PATH`.

#[path = "../tests/model/mod.rs"]
mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::data::npy;
use cnnc::graph::{Graph, Role, Sink, Value};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{Native, Tensors};
use cnnc::runtime::{Device, devices};
use cnnc::sched::LaneAxis;
use model::Model;
use serde::Deserialize;

/// A program to run once for each draw of its inputs.
#[derive(Deserialize)]
struct Case {
    name: String,
    /// A model file; where it has a train section, the case is the step of its gradients.
    text: String,
    batch: i64,
    fast_math: bool,
    /// What the arrays of the inputs of each draw are called.
    values: Vec<String>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let Some(folder) = words.first().map(PathBuf::from) else {
        return println!("python benches/peers/rounding.py makes the cases and calls this");
    };
    let levels = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512];
    let named = levels.into_iter().find(|level| words.contains(&level.to_string()));
    let target = named.map_or_else(Target::host, Target::of);
    let cases = std::fs::read(folder.join("cases.json")).expect("the cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("a list of cases");
    let device = devices::host(1).expect("a thread");
    for case in &cases {
        compute(&folder, case, target, &device);
    }
}

fn compute(folder: &Path, case: &Case, target: Target, device: &Arc<dyn Device>) {
    let model = Model::new(&case.text);
    let trains = model.setting("loss").is_some();
    let graph = match trains {
        true => model.gradients(case.batch, true),
        false => model.forward(case.batch, false).unwrap_or_else(|error| panic!("{}: {error}", case.name)),
    };
    // A training step has its lanes over the batch.
    let over = trains.then_some(LaneAxis::Batch);
    let options = CompileOptions { fast_math: case.fast_math, over, ..CompileOptions::of(target) };
    let lowered = lower(&graph, &options);
    let mut native = Native::compile(&graph, lowered).expect("it compiles");
    for (draw, values) in case.values.iter().enumerate() {
        let outputs = native.run(&inputs(folder, values, &graph), device, RandomState::default());
        for ((value, sink), elements) in graph.outputs.iter().zip(&outputs) {
            if let Some(name) = name(&graph, sink) {
                let shape: Vec<usize> =
                    graph.values[*value].shape.iter().map(|extent| *extent as usize).collect();
                let path = folder.join(format!("{}.{draw}.{name}.npy", case.name));
                npy::write(&path, &shape, elements.floats().expect("floats")).expect("an array is written");
            }
        }
    }
}

fn inputs(folder: &Path, values: &str, graph: &Graph) -> Tensors {
    let array = |(value, role): &(Value, Role)| {
        let name = match role {
            Role::Data => "x",
            Role::Target | Role::Partner => "target",
            Role::Param { path, .. } | Role::State { path, .. } => path,
            Role::Scalar(name) => name,
        };
        let path = folder.join(format!("{values}.{name}.npy"));
        let len = graph.values[*value].shape.iter().product::<i64>() as usize;
        if matches!(role, Role::Param { .. }) && !path.exists() {
            return vec![0.0; len];
        }
        let elements = npy::read(&path).expect("an array of the input").elements;
        assert_eq!(elements.len(), len, "{}", path.display());
        elements
    };
    graph.inputs.iter().map(array).collect()
}

/// What an output is called, if it is compared.
fn name(graph: &Graph, sink: &Sink) -> Option<String> {
    match sink {
        Sink::Prediction => Some("y".into()),
        Sink::Loss => Some("loss".into()),
        Sink::Gradient(of) => {
            graph.inputs.iter().find(|(value, _)| value == of).and_then(|(_, role)| match role {
                Role::Param { path, .. } => Some(format!("d_{path}")),
                _ => None,
            })
        }
        _ => None,
    }
}
