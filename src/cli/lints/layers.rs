//! Warnings about layers, from the graph of a training step.
//!
//! Layers are known here by the names of the library's ops, because advice is about layers. What a window reads comes
//! from the equations.

use std::collections::HashMap;

use super::named_warning;
use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::base::span::Span;
use crate::graph::{Graph, Node, Role, Sink, Value};
use crate::te::{Axis, Expr, Index, Program, Tensor};

const SOFTMAX: [&str; 4] = ["softmax1d", "softmax2d", "logsoftmax1d", "logsoftmax2d"];
const BOUNDED: [&str; 5] = ["sigmoid", "hardsigmoid", "tanh", "relu", "relu6"];
const NORMS: [&str; 2] = ["batchnorm1d", "batchnorm2d"];
const BIASES: [&str; 2] = ["add_channels", "add_features"];
const DROPOUTS: [&str; 2] = ["dropout_elements", "dropout_channels"];

/// A window of so many rows is large behind the first layer.
const LARGE_KERNEL: i64 = 5;

/// The warnings for a graph of a training step.
pub fn run(graph: &Graph, sources: &SourceMap) -> Vec<Diagnostic> {
    let makers = graph.nodes.iter().flat_map(|node| node.results.iter().map(move |value| (*value, node)));
    let mut lints = Lints { graph, sources, makers: makers.collect(), found: Vec::new() };
    for node in forward(graph) {
        lints.loss(node);
        lints.norm(node);
        lints.windows(node);
    }
    lints.untrained();
    lints.found
}

/// The nodes before the gradients.
fn forward(graph: &Graph) -> impl Iterator<Item = &Node> {
    graph.nodes.iter().take_while(|node| graph.ops[node.op].name != "one")
}

struct Lints<'a> {
    graph: &'a Graph,
    sources: &'a SourceMap,
    /// The node that computes a value.
    makers: HashMap<Value, &'a Node>,
    found: Vec<Diagnostic>,
}

impl<'a> Lints<'a> {
    fn name(&self, node: &Node) -> &'a str {
        &self.graph.ops[node.op].name
    }

    fn producer(&self, value: Value) -> Option<&'a Node> {
        self.makers.get(&value).copied()
    }

    /// Adds a warning, unless a comment allows it.
    fn warn(&mut self, name: &str, span: Option<Span>, message: String, fix: &str) {
        let warning = span.and_then(|span| named_warning(self.sources, name, span, message, fix));
        if let Some(warning) = warning.filter(|warning| !self.found.contains(warning)) {
            self.found.push(warning);
        }
    }

    /// What comes right before a cross-entropy.
    fn loss(&mut self, node: &Node) {
        if !self.name(node).ends_with("cross_entropy") {
            return;
        }
        let Some(last) = node.inputs.first().and_then(|value| self.producer(*value)) else { return };
        let name = self.name(last);
        if SOFTMAX.contains(&name) {
            let message = "a softmax before cross_entropy, which applies one itself".into();
            self.warn(
                "softmax-before-loss",
                last.span,
                message,
                "leave it out; or use `nll` behind `logsoftmax`",
            );
        } else if BOUNDED.contains(&name) {
            let message =
                format!("`{name}` bounds what cross_entropy takes as logits, so the loss cannot come near 0");
            self.warn("bounded-logits", last.span, message, "leave it out: logits are any numbers");
        }
    }

    /// What comes right before a batch normalisation.
    fn norm(&mut self, node: &Node) {
        if !NORMS.contains(&self.name(node)) {
            return;
        }
        let Some(before) = self.producer(node.inputs[0]) else { return };
        if BIASES.contains(&self.name(before)) {
            let message =
                "the bias before a batch normalisation does nothing: the mean is taken off again".into();
            self.warn("bias-before-norm", before.span, message, "give the layer `bias=false`");
        }
        let mut at = before;
        while !DROPOUTS.contains(&self.name(at)) {
            let only_passes = at.inputs.len() == 1 && self.graph.ops[at.op].program.inputs.len() == 1;
            match self.producer(at.inputs[0]).filter(|_| only_passes) {
                Some(next) => at = next,
                None => return,
            }
        }
        let message =
            "dropout before a batch normalisation: its statistics in training are not those of inference";
        self.warn(
            "dropout-before-norm",
            at.span,
            message.into(),
            "put dropout behind the last batch normalisation",
        );
    }

    /// What the windows of a node read of its first input.
    fn windows(&mut self, node: &Node) {
        let program = &self.graph.ops[node.op].program;
        let weighs = program.inputs.len() == 2 && program.tensors[program.inputs[1]].shape.len() == 4;
        let [_, channels, height, width] =
            program.inputs.first().map_or(&[][..], |x| &program.tensors[*x].shape[..])
        else {
            return;
        };
        let windows: Vec<Window> =
            [2, 3].iter().filter_map(|at| Window::of(program, program.inputs[0], *at)).collect();
        let [rows, columns] = windows[..] else { return };
        let lines: Vec<String> = [(rows.unread(*height), "row"), (columns.unread(*width), "column")]
            .into_iter()
            .filter(|(unread, _)| *unread > 0)
            .map(|(unread, what)| if unread == 1 { what.to_owned() } else { format!("{unread} {what}s") })
            .collect();
        if !lines.is_empty() {
            let verb = if lines == ["row"] || lines == ["column"] { "is" } else { "are" };
            let lines = lines.join(" and ");
            let message = format!(
                "the last {lines} {verb} never read: the stride does not come out even on {height}×{width}"
            );
            let fix =
                "change the padding or the input's size, or use `ceil_mode=true` where a pooling has it";
            self.warn("dropped-pixels", node.span, message, fix);
        }
        if !weighs {
            return;
        }
        if rows.span > *height && columns.span > *width {
            let message = format!(
                "a window of {}×{} on a {height}×{width} input mostly sees padding",
                rows.span, columns.span
            );
            self.warn(
                "field-beyond-input",
                node.span,
                message,
                "pool less before it, or use a smaller kernel",
            );
        }
        let dense = program.tensors[program.inputs[1]].shape[1] == *channels && *channels > 1;
        let is_first =
            self.graph.inputs.iter().any(|(value, role)| *value == node.inputs[0] && *role == Role::Data);
        if dense && !is_first && rows.taps.min(columns.taps) >= LARGE_KERNEL && rows.taps < *height {
            let message = format!("a {}×{} kernel behind the first layer", rows.taps, columns.taps);
            let fix =
                "two 3×3 kernels see as much as one 5×5 with 18 weights for 25, and have an activation more";
            self.warn("large-kernel", node.span, message, fix);
        }
    }

    /// Parameters that no update reaches, although something else is trained.
    fn untrained(&mut self) {
        let updated = |value: Value| self.graph.outputs.iter().any(|(_, sink)| *sink == Sink::Update(value));
        let mut missed = Vec::new();
        for (value, role) in &self.graph.inputs {
            if let Role::Param { path, .. } = role
                && !updated(*value)
            {
                let reader = self.graph.nodes.iter().find(|node| node.inputs.contains(value));
                missed.push((path.clone(), reader.and_then(|node| node.span)));
            }
        }
        for (path, span) in missed {
            let message = format!("the parameter `{path}` gets no gradient");
            self.warn(
                "no-gradient",
                span,
                message,
                "nothing that the loss depends on reads it but through `detach`, \
                or comparisons; use `state` for what is not trained",
            );
        }
    }
}

/// How an op reads one axis of its input: `step * i + taps`.
#[derive(Clone, Copy)]
struct Window {
    /// The largest index read.
    last: i64,
    step: i64,
    taps: i64,
    /// From the first tap to the last one.
    span: i64,
}

impl Window {
    /// The window of the first read of a tensor that moves by an axis and runs over others.
    fn of(program: &Program, tensor: Tensor, dimension: usize) -> Option<Window> {
        let mut found = None;
        for piece in program.equations.iter().flat_map(|equation| &equation.pieces) {
            program.for_each_expr(piece.body, &mut |id| {
                if let Expr::Read { tensor: read, index, .. } = &program.exprs[id]
                    && *read == tensor
                    && found.is_none()
                {
                    found =
                        index.get(dimension).and_then(|index| Window::of_index(program, &piece.axes, index));
                }
            });
        }
        found
    }

    fn of_index(program: &Program, free: &[Axis], index: &Index) -> Option<Window> {
        let mut window = Window { last: index.range(&program.axes).1, step: 0, taps: 1, span: 1 };
        let mut axes = Vec::new();
        index.for_each_axis(&mut |axis| axes.push(axis));
        for axis in axes {
            let (step, extent) = (index.coefficient(axis), program.axes[axis].extent);
            if free.contains(&axis) {
                window.step = step;
            } else {
                window.taps *= extent;
                window.span += step * (extent - 1);
            }
        }
        (index.is_affine() && window.step > 0).then_some(window)
    }

    /// The lines at the end of so many that no window reads, although windows touch each other.
    fn unread(&self, extent: i64) -> i64 {
        if self.span >= self.step { (extent - 1 - self.last).max(0) } else { 0 }
    }
}
