//! Lowering: the graph becomes one program of equations.
//!
//! In: a graph. Out: a program in normal form whose inputs and outputs match the graph's by position. Ops are copied
//! in, so from here on there are no layers, only equations.

use std::collections::HashMap;

use crate::graph::{Graph, Value};
use crate::te::import::Import;
use crate::te::normalise::normalise;
use crate::te::{Program, Tensor};

/// The program of a graph.
pub fn run(graph: &Graph) -> Program {
    let mut step = Program::default();
    let mut tensors: HashMap<Value, Tensor> = HashMap::new();
    for (value, _) in &graph.inputs {
        let data = &graph.values[*value];
        tensors.insert(*value, step.input(data.name.clone(), data.dtype, data.shape.clone()));
    }
    for node in &graph.nodes {
        let op = &graph.ops[node.op];
        let mut import = Import::new(&op.program, &mut step);
        for (input, value) in op.program.inputs.iter().zip(&node.inputs) {
            import.bind(*input, tensors[value]);
        }
        for equation in &op.program.equations {
            import.equation(equation);
        }
        for (output, value) in op.program.outputs.iter().zip(&node.results) {
            tensors.insert(*value, import.tensor(*output));
        }
    }
    step.outputs = graph.outputs.iter().map(|(value, _)| tensors[value]).collect();
    normalise(&mut step);
    step
}
