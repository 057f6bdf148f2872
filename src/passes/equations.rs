//! Lowering: the graph becomes one program of equations.
//!
//! In: a graph. Out: a program in normal form whose inputs and outputs match the graph's by position. Ops are copied
//! in, so from here on there are no layers, only equations. What is left of a layer is the origin of each tensor, the
//! number of the node whose op has defined it, and its name, which no other tensor has: the path of the node before that
//! of the op's own. Where one path is that of several calls (`relu` twice), they are `relu`, `relu_2` and so on, in the
//! order of the graph.

use cranelift_entity::EntityRef;

use crate::base::hash::{HashMap, HashSet};

use crate::base::span::Span;
use crate::graph::{Graph, Node, Value};
use crate::te::import::Import;
use crate::te::normalise::normalise;
use crate::te::program::free_name;
use crate::te::{Expr, Origin, Program, Tensor};

/// The program of a graph.
pub fn run(graph: &Graph) -> Program {
    let mut step = Program::default();
    let mut tensors: HashMap<Value, Tensor> = HashMap::default();
    let mut names = Names::default();
    for (value, _) in &graph.inputs {
        let data = &graph.values[*value];
        tensors.insert(*value, step.input(names.free(&data.name), data.dtype, data.shape.clone()));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
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
        let path = names.of_call(node);
        for data in step.tensors.values_mut().skip(before) {
            data.name = names.free(&format!("{path}.{}", data.name));
            data.origin = Some(Origin::new(at));
        }
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

/// The names that are given out.
#[derive(Default)]
struct Names<'g> {
    taken: HashSet<String>,
    /// The calls of each path, which the user's places tell apart: an op and its gradient are of one.
    calls: HashMap<&'g str, Vec<Option<Span>>>,
}

impl<'g> Names<'g> {
    fn free(&mut self, wanted: &str) -> String {
        let name = free_name(wanted.into(), |name| self.taken.contains(name));
        self.taken.insert(name.clone());
        name
    }

    /// The path of a node, with a number from the second call on.
    fn of_call(&mut self, node: &'g Node) -> String {
        let calls = self.calls.entry(&node.path).or_default();
        let at = calls.iter().position(|span| *span == node.span).unwrap_or_else(|| {
            calls.push(node.span);
            calls.len() - 1
        });
        if at == 0 { node.path.clone() } else { format!("{}_{}", node.path, at + 1) }
    }
}
