//! Lowering: the graph becomes one program of equations.
//!
//! In: a graph. Out: a program in normal form whose inputs and outputs match the graph's by position. Ops are copied
//! in, so from here on there are no layers, only equations.

use crate::base::hash::HashMap;

use crate::graph::{Graph, Value};
use crate::te::import::Import;
use crate::te::normalise::normalise;
use crate::te::{Expr, Program, Tensor};

/// The program of a graph.
pub fn run(graph: &Graph) -> Program {
    let mut step = Program::default();
    let mut tensors: HashMap<Value, Tensor> = HashMap::default();
    for (value, _) in &graph.inputs {
        let data = &graph.values[*value];
        tensors.insert(*value, step.input(data.name.clone(), data.dtype, data.shape.clone()));
    }
    for node in &graph.nodes {
        let op = &graph.ops[node.op];
        let before = step.tensors.len();
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
        name_by_path(&mut step, before, &node.path);
    }
    step.outputs = graph.outputs.iter().map(|(value, _)| tensors[value]).collect();
    normalise(&mut step);
    fill_guarded_reads(&mut step);
    step
}

/// Lets every read that only a condition keeps inside its tensor give 0 outside. The condition still decides the
/// value, but vectors compute both branches of a choice, so the read must be harmless by itself.
fn fill_guarded_reads(step: &mut Program) {
    for at in 0..step.equations.len() {
        for piece in 0..step.equations[at].pieces.len() {
            let body = step.equations[at].pieces[piece].body;
            step.equations[at].pieces[piece].body = step.rewrite(body, &mut |program, expr| match expr {
                Expr::Read { tensor, index, fill: None } if !program.in_bounds(tensor, &index) => {
                    program.exprs.add(Expr::Read { tensor, index, fill: Some(0.0.into()) })
                }
                expr => program.exprs.add(expr),
            });
        }
    }
}

/// Puts the path of a node before the names of its tensors, so that later stages say where an equation comes from.
fn name_by_path(step: &mut Program, first: usize, path: &str) {
    for data in step.tensors.values_mut().skip(first) {
        data.name = format!("{path}.{}", data.name);
    }
}
