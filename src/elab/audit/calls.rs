//! Calls: whether there is what they call, and whether the arguments are those that it takes.

use super::{Audit, Known, Place};
use crate::elab::call::hidden;
use crate::elab::evaluate::{Argument, at, call_known, function_with_name, is_function, unknown_function};
use crate::elab::module::Callable;
use crate::elab::no_names::NoNames;
use crate::elab::value::Value;
use crate::elab::{arguments, functions, joins, op, types};
use crate::syntax::ast::{Arg, Call, Label, Name};

/// An argument as far as it is known.
pub(super) struct Given {
    pub argument: Argument,
    pub known: Known,
}

impl Given {
    pub fn of(arg: &Arg, known: Known) -> Given {
        Given {
            argument: Argument {
                name: arg.name.clone(),
                value: value_of(&known),
                span: Some(arg.value.span),
            },
            known,
        }
    }

    /// The value before `|>`.
    pub fn piped(known: Known) -> Given {
        Given { argument: Argument { name: None, value: value_of(&known), span: None }, known }
    }
}

fn value_of(known: &Known) -> Value {
    match known {
        Known::Value(value) => value.clone(),
        Known::Tensor(_) | Known::Element | Known::Param | Known::Results(_) | Known::Unknown => Value::None,
    }
}

impl Audit<'_> {
    /// A call in a block, or of a function where only constants stand.
    pub(super) fn call(
        &mut self,
        call: &Call,
        piped: Option<Known>,
        label: Option<&Label>,
        place: Place,
    ) -> Known {
        let mut given: Vec<Given> = piped.map(Given::piped).into_iter().collect();
        for arg in &call.args {
            let known = self.expr(&arg.value, place);
            given.push(Given::of(arg, known));
        }
        if let Some(Label::String(text)) = label {
            self.text(text, place);
        }
        if place == Place::Constant {
            return self.function_call(&call.callee, given, false);
        }
        match self.module.find(&call.callee.text, false) {
            Some(callable) => self.item_call(callable, &call.callee, &given),
            None => self.builtin(&call.callee, given, label),
        }
    }

    /// A call of a block, model or op.
    pub(super) fn item_call(&mut self, callable: Callable<'_>, callee: &Name, given: &[Given]) -> Known {
        let params = callable.params();
        let names: Vec<&str> = params.iter().map(|param| param.name.text.as_str()).collect();
        let plain: Vec<Argument> = given.iter().map(|given| given.argument.clone()).collect();
        let places = match arguments::match_arguments(callee, &names, &plain) {
            Ok(places) => places,
            Err(error) => {
                self.report(hidden(self.module, callable, callee, error));
                return Known::Unknown;
            }
        };
        for (param, place) in params.iter().zip(places) {
            match place.map(|place| &given[place]) {
                None if param.default.is_none() => {
                    let error = arguments::missing(callee, &param.name.text);
                    self.report(hidden(self.module, callable, callee, error));
                    return Known::Unknown;
                }
                Some(Given { argument, known: Known::Value(value) }) if *value != Value::None => {
                    let span = argument.span.unwrap_or(callee.span);
                    let accepted =
                        types::accept(&mut NoNames::default(), &callee.text, param, value.clone(), span);
                    self.computed(accepted);
                }
                _ => {}
            }
        }
        match callable {
            Callable::Op(item) if item.results.len() > 1 => Known::Results(item.results.len()),
            Callable::Op(_) | Callable::Fn(_) => Known::Unknown,
        }
    }

    fn builtin(&mut self, callee: &Name, given: Vec<Given>, label: Option<&Label>) -> Known {
        if joins::JOINS.iter().any(|join| join.name == callee.text) {
            self.join(callee, &given);
            return Known::Unknown;
        }
        let known = given.iter().all(|given| matches!(given.known, Known::Value(_)));
        if label.is_some() && is_function(&callee.text) && (known || !op::is_elementwise(&callee.text)) {
            self.report(function_with_name(callee));
        }
        self.function_call(callee, given, true)
    }

    fn join(&mut self, callee: &Name, given: &[Given]) {
        if given.is_empty() {
            self.report(at(format!("`{}` needs tensors", callee.text), callee.span));
        }
        for Given { argument, .. } in given {
            if let Some(name) = argument.name.as_ref().filter(|name| name.text != "axis") {
                let message = format!("`{}` takes tensors and the argument `axis`", callee.text);
                self.report(at(message, name.span));
            }
        }
    }

    /// A call of a function of compile-time values, or of a scalar function.
    pub(super) fn function_call(&mut self, callee: &Name, given: Vec<Given>, joins: bool) -> Known {
        let known = given.iter().all(|given| matches!(given.known, Known::Value(_)));
        let plain: Vec<Argument> = given.into_iter().map(|given| given.argument).collect();
        let scalar = op::elementwise_function(&callee.text);
        if known && let Some(result) = call_known(callee, &plain) {
            return self.computed(result);
        }
        let matched = match (functions::find(&callee.text), scalar) {
            (Some(function), _) => {
                let names: Vec<&str> = function.parameters.iter().map(|parameter| parameter.name).collect();
                arguments::match_arguments(callee, &names, &plain).and_then(|places| {
                    let mut pairs = function.parameters.iter().zip(places);
                    let missing =
                        pairs.find(|(parameter, place)| place.is_none() && parameter.default.is_none());
                    match missing {
                        Some((parameter, _)) => Err(arguments::missing(callee, parameter.name)),
                        None => Ok(()),
                    }
                })
            }
            (None, Some(function)) => arguments::match_all(callee, function.parameters(), &plain).map(|_| ()),
            (None, None) => Err(unknown_function(callee, Some(self.module), joins)),
        };
        if let Err(error) = matched {
            self.report(error);
        }
        Known::Unknown
    }
}
