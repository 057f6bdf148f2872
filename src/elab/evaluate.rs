//! Evaluation of expressions at compile time.
//!
//! [`evaluate`] is one walk for blocks, types, sections and the constants of ops. What differs between them (which
//! names are in scope, whether there are tensors) is behind [`Context`]; its defaults are those of a place without
//! tensors.

use super::module::Module;
use super::value::{TensorValue, Value};
use super::{Outcome, arithmetic, foreign, functions, interpolate, joins, op};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::syntax::ast::{
    Arg, BinaryOp, Block, Call, Else, Expr, ExprKind, IfExpr, Label, Name, TypeExpr, UnaryOp,
};

/// Expressions may nest this deep, blocks in blocks included.
const DEEPEST: usize = 400;

/// How many expressions and loop rounds one elaboration may evaluate.
const MOST_STEPS: usize = 4_000_000;

/// A value is at most so large, as [`Value::size`] counts.
const MOST_VALUES: usize = 1 << 16;

/// Names and messages have at most so many bytes.
const LONGEST_TEXT: usize = 1 << 14;

/// A value of this size costs a step more to evaluate: its readers go through it.
const SIZE_OF_STEP: usize = 4;

/// Counts steps of an elaboration; too many are an error.
pub fn count_steps(steps: &mut usize, count: usize, span: Span) -> Outcome<()> {
    *steps = steps.saturating_add(count);
    if *steps > MOST_STEPS {
        return Err(at("this takes too long to elaborate", span)
            .note(format!("more than {MOST_STEPS} expressions were evaluated")));
    }
    Ok(())
}

/// A place where expressions are evaluated.
pub trait Context {
    /// The value of a name in scope.
    fn lookup(&self, name: &str) -> Option<Value>;

    /// All names in scope, for suggestions.
    fn names(&self) -> Vec<String>;

    /// What a name in scope stands for that has no value at compile time: "an axis".
    fn without_value(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// Brings a name into scope; types bind the names that they see first.
    fn bind(&mut self, name: &str, value: Value);

    /// How deep the evaluation is nested.
    fn depth(&mut self) -> &mut usize;

    /// The error where expressions nest too deep.
    fn too_deep(&self, span: Span) -> Diagnostic {
        at("this nests too deeply", span)
    }

    /// Called for every expression with what it costs, so that a place can limit the work.
    fn tick(&mut self, _cost: usize, _span: Span) -> Outcome<()> {
        Ok(())
    }

    /// The value of a call. `piped` is the value before `|>`.
    fn call(&mut self, call: &Call, piped: Option<Value>, label: Option<&Label>) -> Outcome<Value> {
        if let Some(label) = label {
            return Err(misplaced_label(label));
        }
        let arguments = arguments(self.as_context(), call, piped)?;
        call_known(&call.callee, &arguments)
            .unwrap_or_else(|| Err(unknown_function(&call.callee, None, false)))
    }

    /// Arithmetic where at least one side is a tensor.
    fn tensor_binary(&mut self, op: BinaryOp, left: Value, right: Value, span: Span) -> Outcome<Value> {
        let _ = (left, right);
        Err(Diagnostic::error(format!("`{}` of tensors does not stand here", op.sign())).primary(span, ""))
    }

    /// Arithmetic of one tensor.
    fn tensor_unary(&mut self, op: UnaryOp, operand: TensorValue, span: Span) -> Outcome<Value> {
        let _ = operand;
        Err(Diagnostic::error(format!("`{}` of a tensor does not stand here", op.sign())).primary(span, ""))
    }

    /// `value as f32[N, C]`.
    fn reshape(&mut self, value: Value, ty: &TypeExpr) -> Outcome<Value> {
        let _ = value;
        Err(Diagnostic::error("a reshape does not stand here").primary(ty.span, ""))
    }

    /// The value of a block.
    fn block(&mut self, block: &Block) -> Outcome<Value> {
        if let Some(stmt) = block.stmts.first() {
            return Err(Diagnostic::error("statements do not stand here").primary(stmt.span, ""));
        }
        match &block.tail {
            Some(tail) => evaluate(self.as_context(), tail),
            None => Ok(Value::None),
        }
    }

    /// This place as a trait object.
    fn as_context(&mut self) -> &mut dyn Context;
}

/// An evaluated argument.
#[derive(Clone, Debug)]
pub struct Argument {
    pub name: Option<Name>,
    pub value: Value,
    /// None for the value before `|>`.
    pub span: Option<Span>,
}

/// The value of an expression.
pub fn evaluate(context: &mut dyn Context, expr: &Expr) -> Outcome<Value> {
    context.tick(1, expr.span)?;
    if *context.depth() > DEEPEST {
        return Err(nests_too_deeply(context, expr.span));
    }
    *context.depth() += 1;
    let result = evaluate_kind(context, expr);
    *context.depth() -= 1;
    if let Ok(value) = &result {
        context.tick(value.size() / SIZE_OF_STEP, expr.span)?;
    }
    result
}

fn nests_too_deeply(context: &mut dyn Context, span: Span) -> Diagnostic {
    let note = format!("expressions nest at most {DEEPEST} deep, with those of the calls around them");
    context.too_deep(span).note(note)
}

fn evaluate_kind(context: &mut dyn Context, expr: &Expr) -> Outcome<Value> {
    let span = expr.span;
    match &expr.kind {
        ExprKind::Number { value, integer } => number(*value, *integer, span),
        ExprKind::Bool(value) => Ok(Value::Bool(*value)),
        ExprKind::Infinity => Ok(Value::Real(f64::INFINITY)),
        ExprKind::String(text) => bounded(Value::String(text.clone()), span),
        ExprKind::Name(name) => evaluate_name(context, name, span),
        ExprKind::List(items) => evaluate_list(context, items).and_then(|list| bounded(list, span)),
        ExprKind::Call(call) => context.call(call, None, None),
        ExprKind::Pipe { .. } | ExprKind::As { .. } => evaluate_pipe(context, expr),
        ExprKind::Index { base, indices } => evaluate_index(context, base, indices, span),
        ExprKind::Unary { op, operand } => evaluate_unary(context, *op, operand, span),
        ExprKind::Binary { op, left, right } => evaluate_binary(context, *op, left, right, span),
        ExprKind::If(choice) => evaluate_if(context, choice),
        ExprKind::Field { .. } | ExprKind::Fill { .. } | ExprKind::Reduce { .. } => Err(misplaced(expr)),
    }
}

/// The error of an expression that stands nowhere at compile time.
fn misplaced(expr: &Expr) -> Diagnostic {
    match &expr.kind {
        ExprKind::Fill { .. } => at("`else` after a read stands only in the equations of an op", expr.span),
        ExprKind::Reduce { op, .. } => {
            at(format!("`{}[...]` stands only in the equations of an op", op.word()), expr.span)
        }
        _ => at("`.` does not stand here", expr.span),
    }
}

fn evaluate_unary(context: &mut dyn Context, op: UnaryOp, operand: &Expr, span: Span) -> Outcome<Value> {
    match evaluate(context, operand)? {
        Value::Tensor(tensor) => context.tensor_unary(op, tensor, span),
        value => arithmetic::unary(op, &value).map_err(|message| at(message, span)),
    }
}

/// The error of a block or op that is reached from itself again and again.
pub fn calls_itself(name: &Name, span: Span) -> Diagnostic {
    at(format!("`{}` calls itself without end", name.text), span)
}

/// An error with a place.
pub fn at(message: impl Into<String>, span: Span) -> Diagnostic {
    Diagnostic::error(message).primary(span, "")
}

/// A number as it was written.
pub fn number(value: f64, integer: bool, span: Span) -> Outcome<Value> {
    if !integer {
        return Ok(Value::Real(value));
    }
    if value >= 9_007_199_254_740_992.0 {
        return Err(at("this integer is too large", span));
    }
    Ok(Value::Int(value as i64))
}

fn evaluate_name(context: &mut dyn Context, name: &str, span: Span) -> Outcome<Value> {
    if let Some(value) = context.lookup(name) {
        return Ok(value);
    }
    if name == "none" {
        return Ok(Value::None);
    }
    let without_arguments = functions::find(name)
        .filter(|function| function.parameters.iter().all(|parameter| parameter.default.is_some()));
    if let Some(function) = without_arguments {
        let defaults: Vec<Value> =
            function.parameters.iter().filter_map(|parameter| parameter.default.map(Value::Real)).collect();
        return (function.run)(&defaults).map_err(|message| at(message, span));
    }
    if let Some(what) = context.without_value(name) {
        return Err(at(format!("`{name}` is {what}, and what stands here is known at compile time"), span));
    }
    let known = context.names();
    Err(unknown_name(name, span, known.iter().map(String::as_str)))
}

fn evaluate_list(context: &mut dyn Context, items: &[Arg]) -> Outcome<Value> {
    let mut values = Vec::new();
    for item in items {
        if let Some(name) = &item.name {
            return Err(at("this list has no keys", name.span));
        }
        values.push(evaluate(context, &item.value)?);
    }
    Ok(Value::list(values))
}

/// The value, where it is not too large.
fn bounded(value: Value, span: Span) -> Outcome<Value> {
    if value.size() <= MOST_VALUES {
        return Ok(value);
    }
    let error = at(format!("{} is too large", value.kind().replacen("a ", "this ", 1)), span);
    Err(match value {
        Value::String(_) => error.note(format!("a string has at most {} bytes", MOST_VALUES * 8)),
        _ => error.note(format!("a list has at most {MOST_VALUES} values, with those of the lists in it")),
    })
}

/// Pipes lean to the left, so a network of a hundred layers would be an expression a hundred deep: one loop walks it.
fn evaluate_pipe(context: &mut dyn Context, expr: &Expr) -> Outcome<Value> {
    let (mut steps, mut base, mut label) = (Vec::new(), expr, None);
    loop {
        match &base.kind {
            ExprKind::As { expr, label: Label::Type(ty) } => {
                steps.push(PipeStage::Reshape(ty));
                base = expr;
            }
            ExprKind::As { expr, label: name } => {
                label = Some(name);
                base = expr;
            }
            ExprKind::Pipe { value, call } => {
                steps.push(PipeStage::Call(call, label.take()));
                base = value;
            }
            _ => break,
        }
    }
    let mut value = match (&base.kind, label) {
        (ExprKind::Call(call), Some(label)) => context.call(call, None, Some(label))?,
        (_, Some(label)) => return Err(misplaced_label(label)),
        (_, None) => evaluate(context, base)?,
    };
    for step in steps.into_iter().rev() {
        value = match step {
            PipeStage::Call(call, label) => context.call(call, Some(value), label)?,
            PipeStage::Reshape(ty) => context.reshape(value, ty)?,
        };
    }
    Ok(value)
}

enum PipeStage<'a> {
    Call(&'a Call, Option<&'a Label>),
    Reshape(&'a TypeExpr),
}

fn misplaced_label(label: &Label) -> Diagnostic {
    let span = match label {
        Label::Name(name) => name.span,
        Label::String(text) => text.span,
        Label::Type(ty) => ty.span,
    };
    at("only a call of a block or an op has a name", span)
}

fn evaluate_index(context: &mut dyn Context, base: &Expr, indices: &[Expr], span: Span) -> Outcome<Value> {
    let mut value = evaluate(context, base)?;
    for index in indices {
        let position = evaluate(context, index)?;
        value = element(&value, &position).map_err(|message| at(message, span))?;
    }
    Ok(value)
}

/// `list[position]`.
pub fn element(list: &Value, position: &Value) -> Result<Value, String> {
    match (list, position) {
        (Value::List(values), Value::Int(at)) => functions::position(*at, values.len())
            .map(|at| values[at].clone())
            .ok_or_else(|| format!("element {at} of a list with {} elements", values.len())),
        (Value::Tensor(_), _) => Err("elements of tensors are read only in the equations of an op".into()),
        _ => Err(format!("{} is not indexed by {}", list.kind(), position.kind())),
    }
}

fn evaluate_binary(
    context: &mut dyn Context,
    op: BinaryOp,
    left: &Expr,
    right: &Expr,
    span: Span,
) -> Outcome<Value> {
    let x = evaluate(context, left)?;
    match (op, &x) {
        (BinaryOp::And, Value::Bool(false)) | (BinaryOp::Or, Value::Bool(true)) => return Ok(x),
        _ => {}
    }
    let y = evaluate(context, right)?;
    if matches!(x, Value::Tensor(_)) || matches!(y, Value::Tensor(_)) {
        for (value, side) in [(&x, left), (&y, right)] {
            check_single(value, side.span)?;
        }
        return context.tensor_binary(op, x, y, span);
    }
    arithmetic::binary(op, &x, &y).map_err(|message| at(message, span))
}

/// An error where a number that meets tensors is none of `f32`.
pub fn check_single(value: &Value, span: Span) -> Outcome<()> {
    match value {
        Value::Real(value) => arithmetic::check_single(*value).map_err(|message| at(message, span)),
        _ => Ok(()),
    }
}

/// The branch that a compile-time condition chooses; the other one is not looked at.
pub fn evaluate_if(context: &mut dyn Context, choice: &IfExpr) -> Outcome<Value> {
    let mut choice = choice;
    loop {
        if condition(context, &choice.condition)? {
            return context.block(&choice.then);
        }
        match &choice.otherwise {
            None => return Ok(Value::None),
            Some(Else::Block(block)) => return context.block(block),
            Some(Else::If(next)) => choice = next,
        }
    }
}

/// A compile-time truth value.
pub fn condition(context: &mut dyn Context, expr: &Expr) -> Outcome<bool> {
    match evaluate(context, expr)? {
        Value::Bool(value) => Ok(value),
        Value::Tensor(tensor) => {
            Err(at(format!("a condition is known at compile time, not {tensor}"), expr.span)
                .help("write an op: in its equations `if` chooses for every element"))
        }
        value => Err(at(format!("a condition is a truth value, not {}", value.kind()), expr.span)),
    }
}

/// Evaluates the arguments of a call in the order in which they stand.
pub fn arguments(context: &mut dyn Context, call: &Call, piped: Option<Value>) -> Outcome<Vec<Argument>> {
    let mut list = Vec::new();
    if let Some(value) = piped {
        list.push(Argument { name: None, value, span: None });
    }
    for arg in &call.args {
        let value = evaluate(context, &arg.value)?;
        list.push(Argument { name: arg.name.clone(), value, span: Some(arg.value.span) });
    }
    Ok(list)
}

/// Calls a function of compile-time values: one of their table, or a scalar function of numbers. None where no function
/// has the name.
pub fn call_known(callee: &Name, arguments: &[Argument]) -> Option<Outcome<Value>> {
    if let Some(function) = functions::find(&callee.text) {
        return Some(call_function(function, callee, arguments));
    }
    op::elementwise_function(&callee.text).map(|function| call_scalar(function, callee, arguments))
}

fn call_function(function: &functions::Function, callee: &Name, arguments: &[Argument]) -> Outcome<Value> {
    let names: Vec<&str> = function.parameters.iter().map(|parameter| parameter.name).collect();
    let places = super::arguments::match_arguments(callee, &names, arguments)?;
    let mut values = Vec::new();
    for (parameter, place) in function.parameters.iter().zip(places) {
        match (place, parameter.default) {
            (Some(place), _) => values.push(arguments[place].value.clone()),
            (None, Some(default)) => values.push(Value::Real(default)),
            (None, None) => return Err(super::arguments::missing(callee, parameter.name)),
        }
    }
    (function.run)(&values).map_err(|message| refused(callee, message))
}

fn call_scalar(function: op::Function, callee: &Name, arguments: &[Argument]) -> Outcome<Value> {
    let places = super::arguments::match_all(callee, function.parameters(), arguments)?;
    let values: Vec<Value> = places.into_iter().map(|place| arguments[place].value.clone()).collect();
    op::constant(function, &values).map_err(|message| refused(callee, message))
}

/// The error of a function that does not take its arguments.
pub fn refused(callee: &Name, message: String) -> Diagnostic {
    let named = match message.strip_prefix("this takes") {
        Some(rest) => format!("`{}` takes{rest}", callee.text),
        None => message,
    };
    at(named, callee.span)
}

/// Whether a function, of compile-time values or of numbers, has the name.
pub fn is_function(name: &str) -> bool {
    functions::find(name).is_some() || op::is_elementwise(name)
}

/// The error of a function with `as`.
pub fn function_with_name(callee: &Name) -> Diagnostic {
    at(format!("`{}` is a function and has no name", callee.text), callee.span)
        .help("leave out `as`: names are for what has parameters or states")
}

/// "unknown name", with the nearest of those that are known.
pub fn unknown_name<'a>(name: &str, span: Span, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let error = at(format!("unknown name `{name}`"), span);
    let near = nearest(name, known);
    let table = if foreign::find(foreign::NAMES, name).is_some() { foreign::NAMES } else { foreign::CALLS };
    foreign::suggest(error, table, name, near)
}

/// "unknown layer", with what it is called here, or the nearest of the functions, of what the module has and, where
/// tensors are joined, of what does that. An item of the user's that is nearest goes before a foreign name.
pub fn unknown_function(name: &Name, module: Option<&Module>, joins: bool) -> Diagnostic {
    let error = at(format!("unknown layer, op or function `{}`", name.text), name.span);
    let (own, mut library) = module.map(Module::callable_names).unwrap_or_default();
    library.extend(joins::JOINS.iter().filter(|_| joins).map(|join| join.name.to_owned()));
    library.sort_unstable();
    let functions = functions::FUNCTIONS.iter().map(|function| function.name);
    let scalar = op::FUNCTIONS.iter().map(|(name, _)| *name);
    let items = own.iter().chain(&library).map(String::as_str);
    match nearest(&name.text, items.chain(functions).chain(scalar)) {
        Some(near) if own.iter().any(|own| own == near) => error.did_you_mean(Some(near)),
        near => foreign::suggest(error, foreign::CALLS, &name.text, near),
    }
}

/// A string with its compile-time values in braces put in.
pub fn interpolated(context: &mut dyn Context, text: &crate::syntax::ast::Text) -> Outcome<String> {
    context.tick(text.value.len() / SIZE_OF_STEP, text.span)?;
    let mut result = String::new();
    for part in interpolate::split(&text.value) {
        match part {
            interpolate::Part::Text(text) => result.push_str(text),
            interpolate::Part::Expr(source) => {
                let expr = interpolate::parse(source, text.span)?;
                let value = evaluate(context, &expr).map_err(|error| at(error.message, text.span))?;
                result.push_str(&value.to_string());
            }
        }
        if result.len() > LONGEST_TEXT {
            return Err(at("this text is too long", text.span)
                .note(format!("a name or a message has at most {LONGEST_TEXT} bytes")));
        }
    }
    Ok(result)
}
