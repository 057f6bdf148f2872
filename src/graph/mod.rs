//! The graph: a network, or a whole training step, as typed nodes in SSA form.
//!
//! A [`Node`] calls an [`Op`]. An op is data: a name and a program of equations with concrete extents, whose inputs
//! and outputs match the node's inputs and results by position. So the printer, the parser, the verifier and every
//! pass are written once for all ops, those of the library, those of the user and those that autodiff derives.

pub mod dot;
pub mod interpreter;
pub mod parser;
pub mod printer;
pub mod samples;
pub mod verifier;

#[cfg(test)]
mod tests;

use cranelift_entity::{PrimaryMap, entity_impl};

use crate::base::span::Span;
use crate::te::{DType, Program};

/// An op of the graph's op table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(u32);
entity_impl!(OpId, "op");

/// A value: an input of the graph or a result of one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(u32);
entity_impl!(Value, "v");

/// A function on tensors, given by equations.
#[derive(Clone, Debug)]
pub struct Op {
    /// The library's or the user's name (`conv2d`), or the derived one (`conv2d.wrt_weight`). Not unique: every
    /// combination of types and attributes is an op of its own.
    pub name: String,
    /// `inputs` and `outputs` are the op's signature; other tensors are intermediates.
    pub program: Program,
}

/// The type and name of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueData {
    /// The name in texts; not unique.
    pub name: String,
    pub dtype: DType,
    /// The extents; empty for a scalar.
    pub shape: Vec<i64>,
}

/// A call of an op.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: OpId,
    pub inputs: Vec<Value>,
    pub results: Vec<Value>,
    /// The path of the instance that the call belongs to (`layer1.0.conv1`), also the root of random streams.
    pub path: String,
    /// The user's line.
    pub span: Option<Span>,
}

/// How a tensor is filled before the first step. Random ones draw from the stream of the tensor's path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Constant(f64),
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, std: f64 },
}

/// What an input of the graph is.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// The batch of pictures: `[N, ...]`.
    Data,
    /// The labels: `[N]`, or targets of the prediction's shape.
    Target,
    /// The targets of the pictures that are mixed into those of the batch, like [`Role::Target`].
    Partner,
    /// A trained tensor.
    Param { path: String, init: Init },
    /// A persistent tensor that is not trained: running statistics, the optimiser's moments.
    State { path: String, init: Init },
    /// A number that the host computes for every step (the learning rate, bias corrections).
    Scalar(String),
}

/// What an output of the graph is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The scalar that is minimised.
    Loss,
    /// The model's result.
    Prediction,
    /// A scalar that is reported under a name.
    Metric(String),
    /// The next value of this parameter or state (an input of the graph).
    Update(Value),
    /// The gradient of this parameter (an input of the graph), where a command asks for it.
    Gradient(Value),
    /// The norm of the gradient of this parameter (an input of the graph), before any clipping.
    GradientNorm(Value),
    /// The health of these parameters (inputs of the graph) in the step, an element each, as `passes::accept` says.
    Health(Vec<Value>),
    /// 1 if the updates take place, 0 if all persistent tensors stay as they are.
    Accepted,
    /// A value that is asked for under a name, as [`Graph::probing`] does.
    Probe(String),
}

/// A network or a training step.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub ops: PrimaryMap<OpId, Op>,
    pub values: PrimaryMap<Value, ValueData>,
    pub inputs: Vec<(Value, Role)>,
    /// In an order in which every value is defined before it is used.
    pub nodes: Vec<Node>,
    pub outputs: Vec<(Value, Sink)>,
    /// The classes that the prediction has scores for: none where it is something else, as the loss says.
    pub scores: Option<Scores>,
}

/// What a prediction has a score a class for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// `[N, K]`: each sample.
    Samples(i64),
    /// `[N, K, H, W]`: each pixel of a sample.
    Pixels(i64),
}

impl Scores {
    /// The number of classes.
    pub fn classes(self) -> i64 {
        match self {
            Scores::Samples(classes) | Scores::Pixels(classes) => classes,
        }
    }

    /// The number of classes of samples.
    pub fn of_samples(self) -> Option<i64> {
        match self {
            Scores::Samples(classes) => Some(classes),
            Scores::Pixels(_) => None,
        }
    }
}

impl Graph {
    /// A new input.
    pub fn input(&mut self, name: impl Into<String>, dtype: DType, shape: Vec<i64>, role: Role) -> Value {
        let value = self.values.push(ValueData { name: name.into(), dtype, shape });
        self.inputs.push((value, role));
        value
    }

    /// Elements of all trained parameters.
    pub fn parameters(&self) -> u64 {
        let trained = self.inputs.iter().filter(|(_, role)| matches!(role, Role::Param { .. }));
        trained.map(|(value, _)| self.values[*value].shape.iter().product::<i64>() as u64).sum()
    }

    /// The graph that computes some values and nothing else, each an output under a name. It has the same inputs, so a
    /// program of it can run beside that of the graph, with the same store and the same random numbers, and changes
    /// nothing there: what is asked for has a say in what is fused, and so in the last bits of other values.
    pub fn probing(&self, values: impl IntoIterator<Item = (Value, String)>) -> Graph {
        let outputs = values.into_iter().map(|(value, name)| (value, Sink::Probe(name)));
        Graph { outputs: outputs.collect(), scores: None, ..self.clone() }
    }

    /// What a layer gives: the last value that a call of its path, or of a part of it, computes. In a graph with
    /// gradients that is one of them.
    pub fn result_of(&self, path: &str) -> Option<Value> {
        let is_part = |node: &&Node| {
            let rest = node.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.nodes.iter().rfind(is_part).and_then(|node| node.results.first().copied())
    }

    /// Appends a call; the types of its results are those of the op's outputs.
    pub fn call(
        &mut self,
        op: OpId,
        inputs: Vec<Value>,
        path: impl Into<String>,
        span: Option<Span>,
    ) -> Vec<Value> {
        let program = &self.ops[op].program;
        let results: Vec<Value> = program
            .outputs
            .iter()
            .map(|output| {
                let data = &program.tensors[*output];
                self.values.push(ValueData {
                    name: data.name.clone(),
                    dtype: data.dtype,
                    shape: data.shape.clone(),
                })
            })
            .collect();
        self.nodes.push(Node { op, inputs, results: results.clone(), path: path.into(), span });
        results
    }
}
