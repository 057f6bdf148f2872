//! The state of one elaboration: the graph under construction, the stack of blocks, names and paths.

use std::collections::HashMap;

use super::evaluate::{Argument, Context, at, calls_itself, count_steps, interpolated};
use super::module::Module;
use super::selection::Selection;
use super::value::{TensorValue, Value};
use super::{Outcome, op, tensors};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::base::visible;
use crate::graph::{self, Graph, OpId};
use crate::syntax::ast::{
    self, BinaryOp, Call, DeclareKind, FnItem, Label, Name, StmtKind, TypeExpr, UnaryOp,
};

/// How the label of a call begins whose block has the error.
const TRACE: &str = "in this call of";

/// How many ops and parameters a graph may have.
const MOST_NODES: usize = 100_000;

/// Looking through so many scopes costs a step more.
const SCOPES_OF_STEP: usize = 16;

/// So many bytes of a path cost a step.
const BYTES_OF_STEP: usize = 4;

/// What a call costs beside its expressions.
const COST_OF_CALL: usize = 16;

/// Names of parts have at most so many bytes.
const LONGEST_NAME: usize = 1000;

/// An initialiser that a train section gives in place of those of the layers.
#[derive(Clone, Debug)]
pub struct InitRule {
    /// The name of the block that declares the parameter, or of the parameter.
    pub target: String,
    pub scheme: super::scheme::Scheme,
    pub span: Span,
}

/// A block that is being evaluated.
pub(super) struct Frame<'m> {
    pub item: &'m FnItem,
    /// The place of its parameters among the instances.
    pub instance: usize,
    /// The names in scope, the innermost scope last.
    pub scopes: Vec<HashMap<String, Value>>,
}

/// A component of the parameters' paths.
#[derive(Default)]
pub(super) struct Instance {
    /// With a dot at its end, where it is not empty.
    pub prefix: String,
    /// How many parts without a name of their own have been made of each block.
    counts: HashMap<String, usize>,
    /// The parts' names.
    parts: HashMap<String, Span>,
}

/// One elaboration.
pub(super) struct Elaborator<'m> {
    pub module: &'m Module,
    pub graph: Graph,
    pub training: bool,
    pub freeze: Option<&'m Selection>,
    pub rules: &'m [InitRule],
    /// Which of the rules have been used.
    pub used_rules: Vec<bool>,
    pub frames: Vec<Frame<'m>>,
    pub instances: Vec<Instance>,
    /// The paths of parameters and states, and where they were declared.
    pub paths: HashMap<String, Span>,
    /// The states that are updated, the values, and the places.
    pub updates: Vec<(graph::Value, graph::Value, Span)>,
    /// The op table by everything that tells two ops apart.
    pub ops: HashMap<String, OpId>,
    /// What a quotient of the library's `ratio` divides, and by what.
    pub ratios: HashMap<graph::Value, [graph::Value; 2]>,
    /// Whether an op draws random numbers, by its place.
    pub draws: HashMap<Span, bool>,
    /// The inputs of ops that their equations compare with the positions of axes.
    pub compared: HashMap<OpId, Vec<op::Compared>>,
    /// The labels that a loss is given.
    pub labels: Vec<graph::Value>,
    /// The extents of the axes that labels are compared with.
    pub label_axes: Vec<i64>,
    /// The innermost call in a file of the user.
    pub site: Option<Span>,
    depth: usize,
    pub steps: usize,
}

impl<'m> Elaborator<'m> {
    /// Continues a graph; an empty one for a new model.
    pub fn new(module: &'m Module, graph: Graph, training: bool) -> Elaborator<'m> {
        Elaborator {
            module,
            graph,
            training,
            freeze: None,
            rules: &[],
            used_rules: Vec::new(),
            frames: Vec::new(),
            instances: vec![Instance::default()],
            paths: HashMap::new(),
            updates: Vec::new(),
            ops: HashMap::new(),
            ratios: HashMap::new(),
            draws: HashMap::new(),
            compared: HashMap::new(),
            labels: Vec::new(),
            label_axes: Vec::new(),
            site: None,
            depth: 0,
            steps: 0,
        }
    }

    /// Whether the code under evaluation is the library's.
    pub fn in_library(&self) -> bool {
        self.frames.last().is_some_and(|frame| self.module.in_library(frame.item.span.file))
    }

    /// The instance that parameters and calls now belong to.
    pub fn instance(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.instance)
    }

    /// Whether the block under evaluation keeps states that are frozen: then it works as outside of training.
    fn rests(&self) -> bool {
        let (Some(freeze), Some(frame)) = (self.freeze, self.frames.last()) else { return false };
        let prefix = &self.instances[frame.instance].prefix;
        keeps_state(&frame.item.body) && freeze.holds_statistics(prefix.trim_end_matches('.'))
    }

    /// The value of the innermost variable of a name.
    pub fn variable_mut(&mut self, name: &str) -> Option<&mut Value> {
        let scopes = &mut self.frames.last_mut()?.scopes;
        scopes.iter_mut().rev().find_map(|scope| scope.get_mut(name))
    }

    /// Adds a call to the graph.
    pub fn add_call(
        &mut self,
        op: OpId,
        inputs: Vec<graph::Value>,
        path: String,
        span: Span,
    ) -> Outcome<Vec<TensorValue>> {
        self.check_room(&path, span)?;
        let results = self.graph.call(op, inputs, path, self.site.or(Some(span)));
        Ok(results.into_iter().map(|id| self.tensor(id)).collect())
    }

    /// An error where the graph has no room for another op or parameter; its path is counted.
    pub fn check_room(&mut self, path: &str, span: Span) -> Outcome<()> {
        if self.graph.nodes.len() + self.graph.inputs.len() >= MOST_NODES {
            return Err(at(format!("the model has more than {MOST_NODES} ops and parameters"), span));
        }
        self.tick(COST_OF_CALL + path.len() / BYTES_OF_STEP, span)
    }

    /// A value of the graph with its type.
    pub fn tensor(&self, id: graph::Value) -> TensorValue {
        let data = &self.graph.values[id];
        TensorValue { id, dtype: data.dtype, shape: data.shape.clone() }
    }

    /// The id of an op: that of an equal one, or a new one.
    pub fn op_of(&mut self, key: String, make: impl FnOnce() -> graph::Op) -> OpId {
        if let Some(id) = self.ops.get(&key) {
            return *id;
        }
        let id = self.graph.ops.push(make());
        self.ops.insert(key, id);
        id
    }

    /// Makes the instance of a block within the present one: named by a label, or by the block and a count.
    pub fn enter(&mut self, item: &FnItem, label: Option<&Label>, span: Span) -> Outcome<usize> {
        let parent = self.instance();
        if item.inline && label.is_none() {
            return Ok(parent);
        }
        let component = self.component(&item.name.text, label, span)?;
        let prefix = format!("{}{component}.", self.instances[parent].prefix);
        self.tick(COST_OF_CALL + prefix.len() / BYTES_OF_STEP, span)?;
        self.instances.push(Instance { prefix, ..Instance::default() });
        Ok(self.instances.len() - 1)
    }

    /// The name of a part of the present instance.
    pub fn component(&mut self, name: &str, label: Option<&Label>, span: Span) -> Outcome<String> {
        let (component, span) = match label {
            Some(label) => self.label_text(label)?,
            None => (self.counted(name), span),
        };
        check_length(&component, span)?;
        let parent = self.instance();
        match self.instances[parent].parts.insert(component.clone(), span) {
            Some(first) => Err(at(format!("two parts are named `{component}`"), span)
                .secondary(first, "the first one")
                .help("give one of them another name after `as`")),
            None => Ok(component),
        }
    }

    /// The name and the next number that it has not had.
    fn counted(&mut self, name: &str) -> String {
        let parent = self.instance();
        let count = self.instances[parent].counts.entry(name.to_owned()).or_default();
        *count += 1;
        format!("{name}{count}")
    }

    fn label_text(&mut self, label: &Label) -> Outcome<(String, Span)> {
        match label {
            Label::Name(name) => Ok((name.text.clone(), name.span)),
            Label::Type(ty) => Err(at("this is not a name", ty.span)),
            Label::String(text) => {
                let name = interpolated(self, text)?;
                check_length(&name, text.span)?;
                let empty = name.split('.').any(str::is_empty);
                if empty || name.chars().any(char::is_whitespace) || visible::name(&name) != name {
                    return Err(at(format!("`{name}` is not a name of a part"), text.span));
                }
                Ok((name, text.span))
            }
        }
    }

    /// Moves an error that arose in the library to the call in the user's file; one of a user's block gets the call
    /// as a second place.
    pub fn relocate(&self, mut error: Diagnostic, callee: &Name) -> Diagnostic {
        if self.module.in_library(callee.span.file) {
            return error;
        }
        error.labels.retain(|label| !self.module.in_library(label.span.file));
        if !error.labels.iter().any(|label| label.primary) {
            if !error.message.contains(&callee.text) {
                error.message = format!("`{}`: {}", callee.text, error.message);
            }
            return error.primary(callee.span, "");
        }
        let traced = error.labels.iter().any(|label| label.text.starts_with(TRACE));
        if !traced && self.arose_inside(&error, callee) {
            return error.secondary(callee.span, format!("{TRACE} `{}`", callee.text));
        }
        error
    }

    fn arose_inside(&self, error: &Diagnostic, callee: &Name) -> bool {
        let Some((item, place)) = self.module.find(&callee.text, false).zip(error.span()) else {
            return false;
        };
        let whole = item.span();
        whole.file == place.file && (whole.start..whole.end).contains(&place.start)
    }
}

/// An error where the name of a part is too long.
fn check_length(name: &str, span: Span) -> Outcome<()> {
    if name.len() <= LONGEST_NAME {
        return Ok(());
    }
    Err(at("the name of this part is too long", span).note(format!("it has at most {LONGEST_NAME} bytes")))
}

/// Whether a block declares a state, outside of the blocks that it calls.
fn keeps_state(body: &ast::Block) -> bool {
    body.stmts.iter().any(|stmt| matches!(&stmt.kind, StmtKind::Declare { kind: DeclareKind::State, .. }))
}

impl Context for Elaborator<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        let scopes = self.frames.last().map_or(&[][..], |frame| &frame.scopes);
        let found = scopes.iter().rev().find_map(|scope| scope.get(name)).cloned();
        found.or_else(|| (name == "training").then(|| Value::Bool(self.training && !self.rests())))
    }

    fn names(&self) -> Vec<String> {
        let scopes = self.frames.last().map_or(&[][..], |frame| &frame.scopes);
        let mut names: Vec<String> = scopes.iter().flat_map(|scope| scope.keys().cloned()).collect();
        names.push("training".into());
        names.sort_unstable();
        names
    }

    fn bind(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.frames.last_mut().and_then(|frame| frame.scopes.last_mut()) {
            scope.insert(name.to_owned(), value);
        }
    }

    fn depth(&mut self) -> &mut usize {
        &mut self.depth
    }

    fn too_deep(&self, span: Span) -> Diagnostic {
        let again = self
            .frames
            .split_last()
            .filter(|(last, around)| around.iter().any(|frame| std::ptr::eq(frame.item, last.item)));
        match again {
            Some((last, _)) => calls_itself(&last.item.name, span),
            None => at("this nests too deeply", span),
        }
    }

    fn tick(&mut self, cost: usize, span: Span) -> Outcome<()> {
        // A name may be looked for in every scope.
        let scopes = self.frames.last().map_or(0, |frame| frame.scopes.len());
        count_steps(&mut self.steps, cost + scopes / SCOPES_OF_STEP, span)
    }

    fn call(&mut self, call: &Call, piped: Option<Value>, label: Option<&Label>) -> Outcome<Value> {
        let span = call.callee.span;
        let arguments: Vec<Argument> = super::evaluate::arguments(self, call, piped)?;
        let outer = self.site;
        if !self.in_library() {
            self.site = Some(span);
        }
        let result = self.call_with(&call.callee, arguments, label);
        self.site = outer;
        result.map_err(|error| self.relocate(error, &call.callee))
    }

    fn tensor_binary(&mut self, op: BinaryOp, left: Value, right: Value, span: Span) -> Outcome<Value> {
        tensors::binary(self, op, left, right, span)
    }

    fn tensor_unary(&mut self, op: UnaryOp, operand: TensorValue, span: Span) -> Outcome<Value> {
        tensors::unary(self, op, operand, span)
    }

    fn reshape(&mut self, value: Value, ty: &TypeExpr) -> Outcome<Value> {
        tensors::reshape(self, value, ty)
    }

    fn block(&mut self, block: &ast::Block) -> Outcome<Value> {
        self.evaluate_block(block)
    }

    fn as_context(&mut self) -> &mut dyn Context {
        self
    }
}
