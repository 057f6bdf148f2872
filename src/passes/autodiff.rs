//! Reverse-mode differentiation on the graph.
//!
//! In: a graph with a `Loss` output. Out: the same graph with derived nodes appended (`conv2d.wrt_weight`) and a
//! `Gradient` output for every parameter that the loss depends on. What a derived op computes comes from
//! [`te::adjoint`](crate::te::adjoint) alone; this pass decides which derivatives are needed, calls them in reverse
//! order and adds up what reaches the same value. Intermediates that a derivative reads (a winner's position, a
//! batch's mean) become further results of the forward op.

use crate::base::hash::HashMap;
use std::collections::BTreeSet;

use crate::graph::{Graph, Node, Op, OpId, Role, Sink, Value};
use crate::te::adjoint::{Adjoint, Source, adjoint, with_winners};
use crate::te::normalise::normalise;
use crate::te::size::Excess;
use crate::te::{Binary, DType, Index, Program, Tensor, size};

/// A gradient that is larger than a program may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The derived op (`matmul.wrt_x`).
    pub op: String,
    /// The place in the graph of the node that it is derived from.
    pub node: usize,
    pub excess: Excess,
}

/// Adds the gradients of all parameters.
///
/// # Errors
///
/// The first gradient that is too large: one whose points no equation can name is looked for among all of them.
pub fn run(graph: &mut Graph) -> Result<(), TooLarge> {
    let Some(loss) = graph.outputs.iter().find(|(_, sink)| *sink == Sink::Loss).map(|(value, _)| *value)
    else {
        return Ok(());
    };
    let mut pass = Autodiff {
        active: active_values(graph),
        graph,
        prepared: HashMap::default(),
        derived: HashMap::default(),
        contributions: HashMap::default(),
    };
    pass.seed(loss);
    for position in (0..pass.graph.nodes.len()).rev() {
        pass.node(position)?;
    }
    pass.finish();
    Ok(())
}

/// A derived op and what its inputs are.
type Derived = (OpId, Vec<Source>);

struct Autodiff<'a> {
    graph: &'a mut Graph,
    /// The values that depend on a parameter.
    active: BTreeSet<Value>,
    /// The winners of each op that is in normal form already.
    prepared: HashMap<OpId, HashMap<Tensor, Tensor>>,
    /// The derived op, if there is one, for an op, the outputs whose gradients are given, and an input's position.
    derived: HashMap<(OpId, Vec<Tensor>, usize), Option<Derived>>,
    /// What has reached each value so far.
    contributions: HashMap<Value, Vec<Value>>,
}

fn active_values(graph: &Graph) -> BTreeSet<Value> {
    let is_param = |role: &Role| matches!(role, Role::Param { .. });
    let mut active: BTreeSet<Value> =
        graph.inputs.iter().filter(|(_, role)| is_param(role)).map(|(value, _)| *value).collect();
    for node in &graph.nodes {
        if node.inputs.iter().any(|input| active.contains(input)) {
            let float = |value: &&Value| graph.values[**value].dtype == DType::F32;
            active.extend(node.results.iter().filter(float).copied());
        }
    }
    active
}

impl Autodiff<'_> {
    fn seed(&mut self, loss: Value) {
        let mut program = Program::default();
        let output = program.tensor("d_loss", DType::F32, Vec::new());
        let one = program.exprs.constant(1.0);
        program.define(output, Vec::new(), one);
        program.outputs.push(output);
        let op = self.graph.ops.push(Op { name: "one".into(), program });
        let seed = self.graph.call(op, Vec::new(), "loss", None)[0];
        self.contributions.insert(loss, vec![seed]);
    }

    fn node(&mut self, position: usize) -> Result<(), TooLarge> {
        let node = self.graph.nodes[position].clone();
        let given: Vec<(usize, Value)> = (0..node.results.len())
            .filter_map(|result| Some((result, self.total(node.results[result])?)))
            .collect();
        if given.is_empty() {
            return Ok(());
        }
        self.prepare(node.op);
        let inputs = (0..node.inputs.len()).filter(|input| self.active.contains(&node.inputs[*input]));
        let inputs: Vec<usize> = inputs.collect();
        inputs.into_iter().try_for_each(|input| self.derive(&node, position, &given, input))
    }

    /// Brings an op to normal form and lets it keep its winners.
    fn prepare(&mut self, op: OpId) {
        let program = &mut self.graph.ops[op].program;
        self.prepared.entry(op).or_insert_with(|| {
            normalise(program);
            with_winners(program)
        });
    }

    fn derive(
        &mut self,
        node: &Node,
        position: usize,
        given: &[(usize, Value)],
        input: usize,
    ) -> Result<(), TooLarge> {
        let outputs: Vec<Tensor> =
            given.iter().map(|(result, _)| self.graph.ops[node.op].program.outputs[*result]).collect();
        let key = (node.op, outputs.clone(), input);
        if !self.derived.contains_key(&key) {
            let derived = self.derived_op(position, &outputs, input)?;
            self.derived.insert(key.clone(), derived);
        }
        let Some((op, sources)) = self.derived[&key].clone() else { return Ok(()) };
        let inputs =
            sources.iter().map(|source| self.source(node.op, position, *source, given, &outputs)).collect();
        let gradient = self.graph.call(op, inputs, node.path.clone(), node.span)[0];
        self.contributions.entry(node.inputs[input]).or_default().push(gradient);
        Ok(())
    }

    fn derived_op(
        &mut self,
        node: usize,
        outputs: &[Tensor],
        input: usize,
    ) -> Result<Option<Derived>, TooLarge> {
        let op = self.graph.nodes[node].op;
        let Op { name, program: forward } = &self.graph.ops[op];
        let tensor = forward.inputs[input];
        let Some(Adjoint { program, sources }) = adjoint(forward, &self.prepared[&op], outputs, tensor)
        else {
            return Ok(None);
        };
        let name = format!("{name}.wrt_{}", forward.tensors[tensor].name);
        match size::check(&program) {
            Ok(()) => Ok(Some((self.graph.ops.push(Op { name, program }), sources))),
            Err(excess) => Err(TooLarge { op: name, node, excess }),
        }
    }

    /// The value that a derived op reads: an input or result of the forward node, or a given gradient.
    fn source(
        &mut self,
        op: OpId,
        position: usize,
        source: Source,
        given: &[(usize, Value)],
        outputs: &[Tensor],
    ) -> Value {
        let tensor = match source {
            Source::Gradient(of) => {
                let found = outputs.iter().position(|output| *output == of);
                return given[found.expect("a gradient is of a given output")].1;
            }
            Source::Forward(tensor) => tensor,
        };
        let program = &self.graph.ops[op].program;
        if let Some(input) = program.inputs.iter().position(|input| *input == tensor) {
            return self.graph.nodes[position].inputs[input];
        }
        let result = program.outputs.iter().position(|output| *output == tensor);
        let result = result.unwrap_or_else(|| self.expose(op, tensor));
        self.graph.nodes[position].results[result]
    }

    /// Makes an intermediate of an op a further result, also of the nodes that call it.
    fn expose(&mut self, op: OpId, tensor: Tensor) -> usize {
        let program = &mut self.graph.ops[op].program;
        program.outputs.push(tensor);
        let data = program.tensors[tensor].clone();
        let result = program.outputs.len() - 1;
        for node in self.graph.nodes.iter_mut().filter(|node| node.op == op) {
            let (name, shape) = (data.name.clone(), data.shape.clone());
            node.results.push(self.graph.values.push(crate::graph::ValueData {
                name,
                dtype: data.dtype,
                shape,
            }));
        }
        result
    }

    /// The sum of what has reached a value.
    fn total(&mut self, value: Value) -> Option<Value> {
        let parts = self.contributions.get(&value)?.clone();
        let mut total = parts[0];
        let others = if planted!("passes.autodiff.total") { &[] } else { &parts[1..] };
        for part in others {
            let op = self.add_op(value);
            total = self.graph.call(op, vec![total, *part], "sum", None)[0];
        }
        self.contributions.insert(value, vec![total]);
        Some(total)
    }

    fn add_op(&mut self, like: Value) -> OpId {
        let shape = self.graph.values[like].shape.clone();
        let mut program = Program::default();
        let x = program.input("x", DType::F32, shape.clone());
        let y = program.input("y", DType::F32, shape.clone());
        let axes: Vec<_> = shape.iter().map(|extent| program.axis("i", *extent)).collect();
        let index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        let (a, b) = (program.exprs.read(x, index.clone()), program.exprs.read(y, index));
        let body = program.exprs.binary(Binary::Add, a, b);
        let sum = program.tensor("sum", DType::F32, shape);
        program.define(sum, axes, body);
        program.outputs.push(sum);
        self.graph.ops.push(Op { name: "add".into(), program })
    }

    fn finish(mut self) {
        let is_param = |(_, role): &&(Value, Role)| matches!(role, Role::Param { .. });
        let params: Vec<Value> = self.graph.inputs.iter().filter(is_param).map(|(value, _)| *value).collect();
        for param in params {
            if let Some(gradient) = self.total(param) {
                self.graph.outputs.push((gradient, Sink::Gradient(param)));
            }
        }
        for op in self.prepared.keys() {
            let program = &self.graph.ops[*op].program;
            let (pruned, _) = program.pruned(false);
            self.graph.ops[*op].program = pruned;
        }
    }
}
