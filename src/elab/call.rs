//! Calls in blocks: of blocks, ops and functions, and of what the language itself has (`concat`, `stack`).

use super::Outcome;
use super::elaborator::Elaborator;
use super::evaluate::{Argument, at, function_with_name, is_function, unknown_function};
use super::module::{Callable, Module};
use super::value::{TensorValue, Value};
use super::{block, joins, op, tensors};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::graph;
use crate::syntax::ast::{Label, Name, OpItem};

impl<'m> Elaborator<'m> {
    /// The value of a call with evaluated arguments. Items come before functions, the user's before the library's.
    pub fn call_with(
        &mut self,
        callee: &Name,
        arguments: Vec<Argument>,
        label: Option<&Label>,
    ) -> Outcome<Value> {
        match self.module.find(&callee.text, self.in_library()) {
            Some(Callable::Fn(item)) => self
                .call_fn(item, callee, &arguments, label)
                .map_err(|error| hidden(self.module, Callable::Fn(item), callee, error)),
            Some(Callable::Op(item)) => self
                .call_op(item, callee, &arguments, label)
                .map_err(|error| hidden(self.module, Callable::Op(item), callee, error)),
            None => self.call_builtin(callee, arguments, label),
        }
    }

    /// The tensor that a block of the library makes of tensors and a number; `span` is for errors.
    pub fn call_library(
        &mut self,
        name: &str,
        tensors: &[&TensorValue],
        number: Option<f64>,
        span: Span,
    ) -> Outcome<TensorValue> {
        let callee = Name { text: name.to_owned(), span };
        let tensors = tensors.iter().map(|tensor| Value::Tensor((*tensor).clone()));
        let values = tensors.chain(number.map(Value::Real));
        let arguments: Vec<Argument> =
            values.map(|value| Argument { name: None, value, span: None }).collect();
        let Some(Callable::Fn(item)) = self.module.find(name, true) else {
            return Err(at(format!("the library has no block `{name}`"), span));
        };
        match block::single(self.call_fn(item, &callee, &arguments, None)?, span)? {
            Value::Tensor(tensor) => Ok(tensor),
            value => Err(at(format!("`{name}` gives {}", value.kind()), span)),
        }
    }

    fn call_builtin(
        &mut self,
        callee: &Name,
        arguments: Vec<Argument>,
        label: Option<&Label>,
    ) -> Outcome<Value> {
        if let Some(result) = joins::call(self, callee, &arguments, label) {
            return result;
        }
        if tensors::is_elementwise(&callee.text)
            && arguments.iter().any(|argument| matches!(argument.value, Value::Tensor(_)))
        {
            return tensors::function(self, callee, &arguments, label);
        }
        if label.is_some() && is_function(&callee.text) {
            return Err(function_with_name(callee));
        }
        let known = super::evaluate::call_known(callee, &arguments);
        known.unwrap_or_else(|| Err(unknown_function(callee, Some(self.module), true)))
    }

    /// The results of an op.
    pub fn call_op(
        &mut self,
        item: &'m OpItem,
        callee: &Name,
        arguments: &[Argument],
        label: Option<&Label>,
    ) -> Outcome<Value> {
        let names: Vec<&str> = item.params.iter().map(|param| param.name.text.as_str()).collect();
        let places = super::arguments::match_arguments(callee, &names, arguments)?;
        let module = self.module;
        let random = *self.draws.entry(item.span).or_insert_with(|| op::draws(module, item));
        let path = self.op_path(&item.name.text, label, callee, random)?;
        let inputs: Vec<TensorValue> = op::tensor_arguments(item, arguments, &places);
        let key = if random { path.clone() } else { op::key(item, arguments, &places) };
        let id = match self.ops.get(&key) {
            Some(id) => *id,
            None => {
                let call = op::Matched { callee, arguments, places: &places };
                let (made, compared) = op::instantiate(self.module, item, call, &path, &mut self.steps)?;
                let id = self.op_of(key, || made);
                self.compared.insert(id, compared);
                id
            }
        };
        let inputs: Vec<graph::Value> = inputs.into_iter().map(|tensor| tensor.id).collect();
        self.note_classes(id, &inputs);
        let results = self.add_call(id, inputs, path, callee.span)?;
        Ok(pack(results))
    }

    /// Takes note of the axes that an op compares labels with.
    fn note_classes(&mut self, op: graph::OpId, inputs: &[graph::Value]) {
        let compared = self.compared.get(&op).into_iter().flatten();
        let axes = compared.filter(|(input, _)| self.labels.contains(&inputs[*input]));
        self.label_axes.extend(axes.map(|(_, extent)| *extent));
    }

    /// The path of a call: that of the instance and the label or the op's name, which is counted where the op draws
    /// random numbers, because their streams are named by it.
    pub fn op_path(
        &mut self,
        name: &str,
        label: Option<&Label>,
        callee: &Name,
        counted: bool,
    ) -> Outcome<String> {
        let part = if counted || label.is_some() {
            self.component(name, label, callee.span)?
        } else {
            name.to_owned()
        };
        let instance = self.instance();
        Ok(format!("{}{part}", self.instances[instance].prefix))
    }
}

/// The error of a call of a user's item; where the library has one of its name, that one may be meant.
pub(super) fn hidden(module: &Module, item: Callable<'_>, callee: &Name, error: Diagnostic) -> Diagnostic {
    let name = &callee.text;
    let is_own = !module.in_library(item.span().file);
    // What is wrong inside of the item begins otherwise.
    let rest = error.message.strip_prefix(&format!("`{name}` "));
    let verbs = ["takes ", "gets ", "needs ", "has no argument ", "calls itself "];
    let is_of_call = rest.is_some_and(|rest| verbs.iter().any(|verb| rest.starts_with(verb)));
    if !(is_own && is_of_call && module.find(name, true).is_some()) {
        return error;
    }
    let note = format!("`{name}` is a {} of yours, which hides the library's", item.word());
    if error.notes.contains(&note) { error } else { error.note(note).help("give it another name") }
}

/// One result as a tensor, several as a list of them.
fn pack(results: Vec<TensorValue>) -> Value {
    let mut values: Vec<Value> = results.into_iter().map(Value::Tensor).collect();
    match values.len() {
        1 => values.remove(0),
        _ => Value::Results(values),
    }
}
