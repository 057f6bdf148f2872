//! Tests through the public door: text in, graph out, values by the interpreter.

mod classes;
mod config;
mod depth;
mod errors;
mod extents;
mod functions;
mod more_layers;
mod mutations;
mod proofs;
mod samples;
mod targets;
mod values;

use super::{Library, ModelCall, Module, Request};
use crate::base::diagnostic::Diagnostic;
use crate::base::philox::RandomState;
use crate::base::source::SourceMap;
use crate::graph::interpreter::{self, Number, Values};
use crate::graph::{Graph, Init, Role, Sink, Value};
use crate::syntax::ast::{Expr, SettingKind};

/// The rendered errors of something.
fn rendered(sources: &SourceMap, errors: &[Diagnostic]) -> String {
    errors.iter().map(|error| error.render(sources, false)).collect::<Vec<_>>().join("\n\n")
}

/// The graph of the only model of a text; its loss is that of the train section.
fn graph(text: &str, batch: i64, training: bool) -> Graph {
    graph_for(text, Request { training, ..Request::inference(batch) })
}

/// The graph of the only model of a text for a request, with the loss of the train section.
fn graph_for(text: &str, request: Request<'_>) -> Graph {
    let mut sources = SourceMap::default();
    let module = Module::from_text(&mut sources, "model.cnn", text)
        .unwrap_or_else(|errors| panic!("{}", rendered(&sources, &errors)));
    let loss = loss_of(&module);
    let request = Request { loss: loss.as_ref(), ..request };
    let call = ModelCall::new(module.models()[0]);
    let graph =
        module.graph(&call, &request).unwrap_or_else(|errors| panic!("{}", rendered(&sources, &errors)));
    assert_eq!(crate::graph::verifier::verify(&graph), Ok(()));
    graph
}

fn loss_of(module: &Module) -> Option<Expr> {
    let train = *module.train_sections().first()?;
    train.settings.iter().find_map(|setting| match &setting.kind {
        SettingKind::Key { name, value } if name.text == "loss" => Some(value.clone()),
        _ => None,
    })
}

/// Small numbers that differ from element to element.
fn pattern(len: usize, salt: usize) -> Vec<f64> {
    (0..len).map(|at| ((at * 7 + salt * 3 + at * at % 5) % 11) as f64 / 4.0 - 1.25).collect()
}

/// Runs a graph. Data is given; parameters and states are given by path, or constant, or patterns.
fn run(graph: &Graph, data: &[f64], target: &[f64], given: &[(&str, Vec<f64>)]) -> Values {
    let mut values = Values::new();
    for (salt, (value, role)) in graph.inputs.iter().enumerate() {
        let len = graph.values[*value].shape.iter().product::<i64>() as usize;
        let numbers = match role {
            Role::Data => data.to_vec(),
            Role::Target => target.to_vec(),
            Role::Partner => {
                given.iter().find(|(known, _)| *known == "partner").expect("a partner").1.clone()
            }
            Role::Param { path, init } | Role::State { path, init } => {
                match (given.iter().find(|(known, _)| known == path), init) {
                    (Some((_, numbers)), _) => numbers.clone(),
                    (None, Init::Constant(value)) => vec![*value; len],
                    (None, Init::Uniform { .. } | Init::Normal { .. }) => pattern(len, salt),
                }
            }
            Role::Scalar(name) => given.iter().find(|(known, _)| known == name).expect("a scalar").1.clone(),
        };
        assert_eq!(numbers.len(), len, "{role:?}");
        values[*value] = numbers.into_iter().map(Number::from).collect();
    }
    interpreter::run(graph, &mut values, RandomState { seed: 5, step: 2 });
    values
}

fn output(graph: &Graph, wanted: &Sink) -> Value {
    graph.outputs.iter().find(|(_, sink)| sink == wanted).expect("an output").0
}

fn numbers(values: &Values, value: Value) -> Vec<f64> {
    values[value].iter().map(|number| number.value).collect()
}

/// The prediction of a model without a loss.
fn predict(text: &str, batch: i64, data: &[f64], given: &[(&str, Vec<f64>)]) -> Vec<f64> {
    let graph = graph(text, batch, false);
    let values = run(&graph, data, &[], given);
    numbers(&values, output(&graph, &Sink::Prediction))
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?}\n{expected:?}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{found:?}\n{expected:?}");
    }
}

fn paths(graph: &Graph) -> Vec<String> {
    let named = graph.inputs.iter().filter_map(|(_, role)| match role {
        Role::Param { path, .. } | Role::State { path, .. } => Some(path.clone()),
        Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => None,
    });
    named.collect()
}

fn op_names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| graph.ops[node.op].name.as_str()).collect()
}

#[test]
fn another_library_takes_the_place_of_the_embedded_one() {
    let mut library = Library::embedded();
    for (_, text) in &mut library.files {
        *text = text.replace("block conv(", "block blob(");
    }
    let text = "model M(x: f32[N, 1, 4, 4]) { x |> blob(2, 3) }";
    let mut sources = SourceMap::default();
    let module = Module::with_library(&mut sources, "model.cnn", text, &library).expect("it loads");
    let graph = module.graph(&ModelCall::new(module.models()[0]), &Request::inference(2)).expect("a graph");
    assert_eq!(paths(&graph), ["blob1.weight", "blob1.bias"]);
}
