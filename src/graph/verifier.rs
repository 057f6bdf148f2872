//! What holds of every graph:
//!
//! 1. Every op's program is one (see [`te::verifier`](crate::te::verifier)).
//! 2. Every value is defined once, as an input or a result, and before it is used; every id is that of a value.
//! 3. A node's inputs and results match its op's by number and type.
//! 4. There is at most one loss, one prediction, one batch of data and one target. A loss and a metric are `f32`
//!    scalars, and so is a number of the host.
//! 5. Parameters and states have paths of their own. An update is of a parameter or state, a gradient of a parameter,
//!    each of its type and once.

use std::collections::BTreeSet;

use crate::te::{DType, Tensor, verifier as equations};

use super::printer::{RoleText, SinkText, op_labels};
use super::{Graph, Node, Op, Role, Sink, Value, ValueData};

/// Checks all invariants.
///
/// # Errors
///
/// Everything that does not hold, a sentence each.
pub fn verify(graph: &Graph) -> Result<(), Vec<String>> {
    let mut verifier = Verifier { graph, findings: Vec::new(), defined: BTreeSet::new() };
    verifier.ops();
    verifier.inputs();
    for node in &graph.nodes {
        verifier.node(node);
    }
    verifier.outputs();
    if verifier.findings.is_empty() { Ok(()) } else { Err(verifier.findings) }
}

struct Verifier<'a> {
    graph: &'a Graph,
    findings: Vec<String>,
    defined: BTreeSet<Value>,
}

impl Verifier<'_> {
    fn ops(&mut self) {
        for (op, label) in self.graph.ops.values().zip(op_labels(self.graph)) {
            if let Err(findings) = equations::verify(&op.program) {
                self.findings.extend(findings.into_iter().map(|finding| format!("op {label}: {finding}")));
            }
        }
    }

    fn define(&mut self, value: Value) {
        if !self.graph.values.is_valid(value) {
            self.findings.push(format!("{value} is no value of the graph"));
        } else if !self.defined.insert(value) {
            self.findings.push(format!("{value} is defined twice"));
        }
    }

    fn inputs(&mut self) {
        let mut paths = BTreeSet::new();
        let (mut data, mut targets, mut partners) = (0, 0, 0);
        for (value, role) in &self.graph.inputs {
            self.define(*value);
            match role {
                Role::Data => data += 1,
                Role::Target => targets += 1,
                Role::Partner => partners += 1,
                Role::Param { path, .. } | Role::State { path, .. } => {
                    if !paths.insert(path) {
                        self.findings.push(format!("two tensors have the path {path}"));
                    }
                }
                Role::Scalar(_) => self.scalar(*value, &RoleText(role).to_string()),
            }
        }
        for (count, what) in [(data, "batches of data"), (targets, "targets"), (partners, "targets mixed in")]
        {
            if count > 1 {
                self.findings.push(format!("there are {count} {what}"));
            }
        }
    }

    fn scalar(&mut self, value: Value, what: &str) {
        if let Some(data) = self.graph.values.get(value)
            && (data.dtype != DType::F32 || !data.shape.is_empty())
        {
            self.findings.push(format!("{value} is a {what} but no f32 scalar"));
        }
    }

    fn used(&mut self, value: Value, user: &str) {
        if !self.defined.contains(&value) {
            self.findings.push(format!("{user} uses {value} before its definition"));
        }
    }

    fn node(&mut self, node: &Node) {
        let Some(op) = self.graph.ops.get(node.op) else {
            self.findings.push(format!("a node at {} calls {}, which is no op", node.path, node.op));
            return;
        };
        let user = format!("{}@{}", op.name, node.path);
        node.inputs.iter().for_each(|input| self.used(*input, &user));
        node.results.iter().for_each(|result| self.define(*result));
        self.matches(&user, "input", op, &node.inputs, &op.program.inputs);
        self.matches(&user, "result", op, &node.results, &op.program.outputs);
    }

    fn matches(&mut self, user: &str, what: &str, op: &Op, values: &[Value], tensors: &[Tensor]) {
        if values.len() != tensors.len() {
            let (given, wanted) = (values.len(), tensors.len());
            self.findings.push(format!("{user} has {given} {what}s, its op {wanted}"));
        }
        for (value, tensor) in values.iter().zip(tensors) {
            let (data, declared) = (self.graph.values.get(*value), &op.program.tensors[*tensor]);
            let fits = |data: &ValueData| data.dtype == declared.dtype && data.shape == declared.shape;
            if !data.is_some_and(fits) {
                let name = &declared.name;
                self.findings.push(format!("{user}: {what} {value} has not the type of the op's {name}"));
            }
        }
    }

    fn outputs(&mut self) {
        let mut seen: Vec<&Sink> = Vec::new();
        for (value, sink) in &self.graph.outputs {
            let text = SinkText(sink).to_string();
            self.used(*value, &format!("output {text}"));
            if seen.contains(&sink) {
                self.findings.push(format!("there are two outputs {text}"));
            }
            seen.push(sink);
            match sink {
                Sink::Loss | Sink::Metric(_) | Sink::Accepted => self.scalar(*value, &text),
                Sink::Prediction | Sink::Probe(_) => {}
                Sink::Update(of) | Sink::Gradient(of) => self.next(*value, *of, sink, &text),
                Sink::GradientNorm(of) => {
                    self.scalar(*value, &text);
                    self.of_params(&[*of], &text);
                }
                Sink::Health(of) => {
                    if self.graph.values.get(*value).is_some_and(|data| data.shape != [of.len() as i64]) {
                        self.findings.push(format!("{text} has not an element for each parameter"));
                    }
                    self.of_params(of, &text);
                }
            }
        }
    }

    fn of_params(&mut self, of: &[Value], text: &str) {
        let is_param = |of: &Value| {
            self.graph.inputs.iter().any(|(value, role)| value == of && matches!(role, Role::Param { .. }))
        };
        if !of.iter().all(is_param) {
            self.findings.push(format!("{text} is of no parameter"));
        }
    }

    fn next(&mut self, value: Value, of: Value, sink: &Sink, text: &str) {
        let role = self.graph.inputs.iter().find(|(input, _)| *input == of).map(|(_, role)| role);
        let fits = match role {
            Some(Role::Param { .. }) => true,
            Some(Role::State { .. }) => matches!(sink, Sink::Update(_)),
            Some(Role::Data | Role::Target | Role::Partner | Role::Scalar(_)) | None => false,
        };
        if !fits {
            self.findings.push(format!("{text} is of no parameter or state"));
        }
        let same = |a: &ValueData, b: &ValueData| a.dtype == b.dtype && a.shape == b.shape;
        if let (Some(a), Some(b)) = (self.graph.values.get(value), self.graph.values.get(of))
            && !same(a, b)
        {
            self.findings.push(format!("{text}: {value} has another type than {of}"));
        }
    }
}
