//! What lives longer than a run, and what changes with each.

use crate::base::hash::{HashMap, HashSet};

use crate::graph::{Graph, Role, Sink, Value};
use crate::plan::Persistent;
use crate::te::{Axis, Index, Program, Tensor, TensorData};

/// The tensors with a sample for each element of their first dimension.
pub fn batched_inputs(graph: &Graph, program: &Program) -> Vec<Tensor> {
    let inputs = graph.inputs.iter().zip(&program.inputs);
    let batched = inputs.filter(|((_, role), tensor)| {
        matches!(role, Role::Data | Role::Target | Role::Partner)
            && !program.tensors[**tensor].shape.is_empty()
    });
    batched.map(|(_, tensor)| *tensor).collect()
}

/// Gives every update a tensor of its own: one that is an input, or another output as well, is copied.
pub fn separate(graph: &Graph, program: &mut Program) {
    let others = graph.outputs.iter().zip(&program.outputs);
    let others = others.filter(|((_, sink), _)| !matches!(sink, Sink::Update(_))).map(|(_, tensor)| tensor);
    let mut taken: HashSet<Tensor> = program.inputs.iter().chain(others).copied().collect();
    for (at, (_, sink)) in graph.outputs.iter().enumerate() {
        let tensor = program.outputs[at];
        if matches!(sink, Sink::Update(_)) && !taken.insert(tensor) && !planted!("lower.updates.own") {
            let TensorData { dtype, shape, .. } = program.tensors[tensor].clone();
            let axes: Vec<Axis> = shape.iter().map(|extent| program.axis("i", *extent)).collect();
            let body = program.exprs.read(tensor, axes.iter().map(|axis| Index::from(*axis)).collect());
            let own = program.derived(tensor, "copy", dtype, shape);
            program.define(own, axes, body);
            program.outputs[at] = own;
        }
    }
}

/// The parameters and states, with their next values.
pub fn persistent(graph: &Graph, program: &Program) -> Vec<Persistent> {
    let mut nexts: HashMap<Value, Tensor> = HashMap::default();
    for ((_, sink), tensor) in graph.outputs.iter().zip(&program.outputs) {
        if let Sink::Update(persistent) = sink {
            nexts.entry(*persistent).or_insert(*tensor);
        }
    }
    let inputs = graph.inputs.iter().zip(&program.inputs);
    inputs
        .filter(|((_, role), _)| matches!(role, Role::Param { .. } | Role::State { .. }))
        .map(|((value, _), tensor)| Persistent { present: *tensor, next: nexts.get(value).copied() })
        .collect()
}
