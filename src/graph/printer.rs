//! The text of a graph: its op table, then inputs, nodes and outputs.
//!
//! ```text
//! op relu(x: f32[8, 4]) -> (y: f32[8, 4]) {
//!   y[n < 8, c < 4] = if x[n, c] > 0 { x[n, c] } else { 0 };
//! }
//! graph {
//!   input v0 x: f32[8, 4] data;
//!   v1 y: f32[8, 4] = relu@act(v0);
//!   output v1 prediction;
//! }
//! ```
//!
//! Ops of the same name are told apart by a number (`relu#1`). Spans are not written.

use std::fmt;

use crate::te::printer::{Printer, number, type_text};
use crate::te::text::labels::Labels;
use crate::te::text::token::{is_name, quote};

use super::{Graph, Init, Node, OpId, Role, Sink, Value};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = op_labels(self);
        for (op, label) in self.ops.values().zip(&labels) {
            write!(f, "op {label}{}", Printer::new(&op.program).signed())?;
        }
        writeln!(f, "graph {{")?;
        for (value, role) in &self.inputs {
            writeln!(f, "  input {} {};", declaration(self, *value), RoleText(role))?;
        }
        for node in &self.nodes {
            writeln!(f, "  {}", node_text(self, node, &labels))?;
        }
        for (value, sink) in &self.outputs {
            writeln!(f, "  output {value} {};", SinkText(sink))?;
        }
        writeln!(f, "}}")
    }
}

/// The ops' names made unique, in the order of the table.
pub fn op_labels(graph: &Graph) -> Vec<String> {
    let mut labels = Labels::default();
    graph.ops.values().map(|op| labels.next(&op.name)).collect()
}

fn node_text(graph: &Graph, node: &Node, labels: &[String]) -> String {
    let results: Vec<String> = node.results.iter().map(|value| declaration(graph, *value)).collect();
    let inputs: Vec<String> = node.inputs.iter().map(Value::to_string).collect();
    let path = if node.path.is_empty() { String::new() } else { format!("@{}", word(&node.path)) };
    format!("{} = {}{path}({});", results.join(", "), label(labels, node.op), inputs.join(", "))
}

fn label(labels: &[String], op: OpId) -> String {
    labels.get(op.as_u32() as usize).cloned().unwrap_or_else(|| op.to_string())
}

/// `v1 y: f32[8, 4]`.
fn declaration(graph: &Graph, value: Value) -> String {
    match graph.values.get(value) {
        Some(data) => format!("{value} {}: {}", word(&data.name), type_text(data.dtype, &data.shape)),
        None => format!("{value} unknown: f32"),
    }
}

/// A name as it is, anything else in quotes.
fn word(text: &str) -> String {
    if is_name(text) { text.to_string() } else { quote(text) }
}

/// The text of a role.
pub struct RoleText<'a>(pub &'a Role);

impl fmt::Display for RoleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Role::Data => f.write_str("data"),
            Role::Target => f.write_str("target"),
            Role::Partner => f.write_str("partner"),
            Role::Param { path, init } => write!(f, "param({}, {})", quote(path), init_text(*init)),
            Role::State { path, init } => write!(f, "state({}, {})", quote(path), init_text(*init)),
            Role::Scalar(name) => write!(f, "scalar({})", quote(name)),
        }
    }
}

fn init_text(init: Init) -> String {
    match init {
        Init::Constant(value) => format!("constant({})", number(value)),
        Init::Uniform { low, high } => format!("uniform({}, {})", number(low), number(high)),
        Init::Normal { mean, std } => format!("normal({}, {})", number(mean), number(std)),
    }
}

/// The text of a sink.
pub struct SinkText<'a>(pub &'a Sink);

impl fmt::Display for SinkText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Sink::Loss => f.write_str("loss"),
            Sink::Prediction => f.write_str("prediction"),
            Sink::Metric(name) => write!(f, "metric({})", quote(name)),
            Sink::Update(value) => write!(f, "update({value})"),
            Sink::Gradient(value) => write!(f, "gradient({value})"),
            Sink::GradientNorm(value) => write!(f, "gradient_norm({value})"),
            Sink::Health(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "health({})", values.join(", "))
            }
            Sink::Accepted => f.write_str("accepted"),
            Sink::Probe(name) => write!(f, "probe({})", quote(name)),
        }
    }
}
