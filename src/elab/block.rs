//! Blocks: inlining of calls, and the statements of bodies.

use std::collections::HashMap;

use super::Outcome;
use super::elaborator::{Elaborator, Frame};
use super::evaluate::{Argument, Context, at, calls_itself, condition, evaluate, evaluate_if, interpolated};
use super::types;
use super::value::Value;
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::syntax::ast::{Assert, Block, DeclareKind, Expr, FnItem, Label, Name, Stmt, StmtKind};

/// Blocks may call blocks this deep.
const DEEPEST_CALLS: usize = 60;

impl<'m> Elaborator<'m> {
    /// The value of a block or model called with arguments.
    pub fn call_fn(
        &mut self,
        item: &'m FnItem,
        callee: &Name,
        arguments: &[Argument],
        label: Option<&Label>,
    ) -> Outcome<Value> {
        if self.frames.len() >= DEEPEST_CALLS {
            return Err(self.calls_too_deeply(item, callee));
        }
        let names: Vec<&str> = item.params.iter().map(|param| param.name.text.as_str()).collect();
        let places = super::arguments::match_arguments(callee, &names, arguments)?;
        let instance = self.enter(item, label, callee.span)?;
        self.frames.push(Frame { item, instance, scopes: vec![HashMap::new()] });
        let result = self.run_fn(item, callee, arguments, &places);
        self.frames.pop();
        let result = result?;
        self.note_ratio(item, arguments, &places, &result);
        Ok(result)
    }

    /// The error of a call below too many others: of a block that comes by itself again, or of a chain of blocks.
    fn calls_too_deeply(&self, item: &FnItem, callee: &Name) -> Diagnostic {
        let again = self.frames.iter().any(|frame| std::ptr::eq(frame.item, item));
        let error = match again {
            true => calls_itself(&item.name, callee.span),
            false => at(format!("the call of `{}` is nested too deeply", item.name.text), callee.span),
        };
        error.note(format!("blocks call each other at most {DEEPEST_CALLS} deep"))
    }

    pub(super) fn run_fn(
        &mut self,
        item: &'m FnItem,
        callee: &Name,
        arguments: &[Argument],
        places: &[Option<usize>],
    ) -> Outcome<Value> {
        bind_parameters(self, &item.params, callee, arguments, places)?;
        let value = self.evaluate_block(&item.body)?;
        if let Some(ty) = &item.result {
            let end = item.body.tail.as_ref().map_or(item.body.span, |tail| tail.span);
            super::declare::check_result(self, ty, &value, end)?;
        }
        Ok(value)
    }

    /// The value of the last expression, in a scope of its own.
    pub fn evaluate_block(&mut self, block: &Block) -> Outcome<Value> {
        self.push_scope();
        let result = self.run_block(block);
        self.pop_scope();
        result
    }

    fn run_block(&mut self, block: &Block) -> Outcome<Value> {
        for stmt in &block.stmts {
            self.run_stmt(stmt)?;
        }
        match &block.tail {
            Some(tail) => evaluate(self, tail),
            None => Ok(Value::None),
        }
    }

    fn run_stmt(&mut self, stmt: &Stmt) -> Outcome<()> {
        self.tick(1, stmt.span)?;
        match &stmt.kind {
            StmtKind::Let { targets, value } => self.run_let(targets, value),
            StmtKind::Declare { kind, name, ty, init } => self.declare(*kind, name, ty, init),
            StmtKind::Assign { name, value } => self.assign(name, value),
            StmtKind::Update { name, value } => self.update(name, value),
            StmtKind::For { var, lo, hi, body } => self.run_for(var, lo, hi, body),
            StmtKind::Assert(assertion) => check_assertion(self, assertion),
            StmtKind::If(choice) => evaluate_if(self, choice).map(|_| ()),
        }
    }

    fn run_let(&mut self, targets: &[Name], value: &Expr) -> Outcome<()> {
        let result = evaluate(self, value)?;
        if let [target] = targets {
            let result = single(result, value.span)?;
            self.bind(&target.text, result);
            return Ok(());
        }
        let values = match result {
            Value::Results(values) if values.len() == targets.len() => values,
            other => {
                let message = format!("{} names for {}", targets.len(), other.kind());
                return Err(at(message, value.span));
            }
        };
        for (target, value) in targets.iter().zip(values) {
            self.bind(&target.text, value);
        }
        Ok(())
    }

    fn assign(&mut self, name: &Name, value: &Expr) -> Outcome<()> {
        let result = single(evaluate(self, value)?, value.span)?;
        match self.variable_mut(&name.text) {
            Some(variable) => {
                *variable = result;
                Ok(())
            }
            None => Err(at(format!("no variable is named `{}`", name.text), name.span)
                .help(format!("write `let {} = ...;`", name.text))),
        }
    }

    /// `state <- value;`: the next value of a state, in training.
    fn update(&mut self, name: &Name, value: &Expr) -> Outcome<()> {
        let tensor = match self.lookup(&name.text) {
            Some(Value::Tensor(tensor)) => tensor,
            _ => return Err(self.no_state(name)),
        };
        if !self.is_state(tensor.id) {
            return Err(self.no_state(name));
        }
        let next = match evaluate(self, value)? {
            Value::Tensor(next) if (next.dtype, &next.shape) == (tensor.dtype, &tensor.shape) => next,
            other => {
                let message = format!("`{}` is {tensor}, its next value is {}", name.text, other.kind());
                return Err(at(message, value.span));
            }
        };
        if let Some((_, _, first)) = self.updates.iter().find(|(state, _, _)| *state == tensor.id) {
            let error = at(format!("`{}` is updated twice", name.text), name.span);
            return Err(error.secondary(*first, "first here"));
        }
        self.updates.push((tensor.id, next.id, name.span));
        Ok(())
    }

    fn is_state(&self, id: crate::graph::Value) -> bool {
        let mut inputs = self.graph.inputs.iter();
        inputs.any(|(input, role)| *input == id && matches!(role, crate::graph::Role::State { .. }))
    }

    fn states_in_scope(&self) -> Vec<String> {
        let mut names = self.names();
        names.retain(|name| match self.lookup(name) {
            Some(Value::Tensor(tensor)) => self.is_state(tensor.id),
            _ => false,
        });
        names
    }

    fn no_state(&self, name: &Name) -> crate::base::diagnostic::Diagnostic {
        let known = self.states_in_scope();
        at(format!("no state is named `{}`", name.text), name.span)
            .did_you_mean(nearest(&name.text, known.iter().map(String::as_str)))
            .note("`<-` gives the next value of what `state` declares in the same block")
    }

    fn run_for(&mut self, var: &Name, lo: &Expr, hi: &Expr, body: &[Stmt]) -> Outcome<()> {
        let (first, end) = (types::evaluate_extent(self, lo)?, types::evaluate_extent(self, hi)?);
        for value in first..end {
            self.tick(1, var.span)?;
            self.push_scope();
            self.bind(&var.text, Value::Int(value));
            let result = body.iter().try_for_each(|stmt| self.run_stmt(stmt));
            self.pop_scope();
            result?;
        }
        Ok(())
    }

    fn push_scope(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.scopes.push(HashMap::new());
        }
    }

    fn pop_scope(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.scopes.pop();
        }
    }

    /// `param` or `state`: a new input of the graph.
    fn declare(
        &mut self,
        kind: DeclareKind,
        name: &Name,
        ty: &crate::syntax::ast::TypeExpr,
        init: &Expr,
    ) -> Outcome<()> {
        let value = super::declare::declare(self, kind, name, ty, init)?;
        self.bind(&name.text, value);
        Ok(())
    }
}

/// One value, not the results of an op with several.
pub(super) fn single(value: Value, span: Span) -> Outcome<Value> {
    match value {
        Value::Results(values) => Err(at(format!("this op has {} results", values.len()), span)
            .help("name all of them: `let (a, b) = ...;`")),
        Value::None => Err(at("this has no value", span)),
        value => Ok(value),
    }
}

/// Brings the parameters into scope: those without axes first, because the shapes of the others may mention them.
pub(super) fn bind_parameters(
    context: &mut dyn Context,
    params: &[crate::syntax::ast::Param],
    callee: &Name,
    arguments: &[Argument],
    places: &[Option<usize>],
) -> Outcome<()> {
    let given = |place: Option<usize>| place.map(|place| &arguments[place]);
    for (param, place) in params.iter().zip(places) {
        if let (Some(argument), false) = (given(*place), types::has_axes(&param.ty)) {
            let span = argument.span.unwrap_or(callee.span);
            bind_parameter(context, callee, param, argument.value.clone(), span)?;
        }
    }
    for (param, place) in params.iter().zip(places) {
        match (given(*place), &param.default) {
            (Some(argument), _) => {
                if types::has_axes(&param.ty) {
                    let span = argument.span.unwrap_or(callee.span);
                    bind_parameter(context, callee, param, argument.value.clone(), span)?;
                }
            }
            (None, Some(default)) => {
                let value = evaluate(context, default)?;
                bind_parameter(context, callee, param, value, default.span)?;
            }
            (None, None) => return Err(super::arguments::missing(callee, &param.name.text)),
        }
    }
    Ok(())
}

fn bind_parameter(
    context: &mut dyn Context,
    callee: &Name,
    param: &crate::syntax::ast::Param,
    value: Value,
    span: Span,
) -> Outcome<()> {
    let value = match value {
        Value::None => value,
        value => single(value, span)?,
    };
    let value = types::accept(context, &callee.text, param, value, span)?;
    context.bind(&param.name.text, value);
    Ok(())
}

/// `assert condition, "message";`: the message, with its values, is the error.
pub(super) fn check_assertion(context: &mut dyn Context, assertion: &Assert) -> Outcome<()> {
    if condition(context, &assertion.condition)? {
        return Ok(());
    }
    Err(at(interpolated(context, &assertion.message)?, assertion.condition.span))
}
