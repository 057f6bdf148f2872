//! Runs a graph node by node with the interpreter of equations: the oracle of everything that a graph becomes.

use cranelift_entity::SecondaryMap;

use super::{Graph, Value};
use crate::base::philox::RandomState;
use crate::te::interpreter as te;

pub use crate::te::interpreter::Number;

/// The elements of every value, in row-major order; empty where a value was neither given nor computed.
pub type Values = SecondaryMap<Value, Vec<Number>>;

/// Runs all nodes in order. `values` holds the graph's inputs and receives the results of nodes. Updates are not
/// committed: the outputs say which values are the next ones.
///
/// # Panics
///
/// Where an input is missing or has the wrong number of elements.
pub fn run(graph: &Graph, values: &mut Values, random: RandomState) {
    for node in &graph.nodes {
        let program = &graph.ops[node.op].program;
        let mut tensors = te::Values::new();
        for (input, value) in program.inputs.iter().zip(&node.inputs) {
            assert_eq!(values[*value].len(), program.tensors[*input].len(), "{}: {value}", node.path);
            tensors[*input].clone_from(&values[*value]);
        }
        te::run(program, &mut tensors, random);
        for (output, value) in program.outputs.iter().zip(&node.results) {
            values[*value] = std::mem::take(&mut tensors[*output]);
        }
    }
}
