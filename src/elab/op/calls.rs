//! Calls in equations: scalar functions, compile-time functions, random numbers, and ops written in place.

use super::Equations;
use super::operators::{self, Function as Scalar};
use super::term::{Kind, Term, check_single};
use crate::base::diagnostic::Diagnostic;
use crate::base::philox;
use crate::elab::evaluate::{Argument, at, call_known, refused, unknown_function};
use crate::elab::module::Callable;
use crate::elab::{Outcome, Value, arguments, functions};
use crate::syntax::ast::{Call, Name};
use crate::te;

/// An argument of a call in an equation: its name, where one is written, and its term.
pub(super) type TermArgument = (Option<Name>, Term);

impl Equations<'_> {
    /// The term of a call.
    pub(super) fn call_term(&mut self, call: &Call) -> Outcome<Term> {
        let mut terms: Vec<TermArgument> = Vec::new();
        for arg in &call.args {
            terms.push((arg.name.clone(), self.term(&arg.value)?));
        }
        let name = call.callee.text.as_str();
        if name == "uniform" && terms.is_empty() {
            return Ok(self.draw());
        }
        if self.own_op(name) {
            return self.call_op_term(call, terms);
        }
        let known = terms.iter().all(|(_, term)| matches!(term, Term::Const(_)));
        if known && functions::find(name).is_some() {
            return constant_call(call, terms);
        }
        match operators::elementwise_function(name) {
            Some(function) => self.scalar_function(function, call, &terms),
            None => self.call_op_term(call, terms),
        }
    }

    /// Whether an op of the user has the name of a function, which it hides everywhere but in its own equations.
    fn own_op(&self, name: &str) -> bool {
        if self.library {
            return false;
        }
        let found = self.module.find(name, false);
        found.is_some_and(|item| {
            let span = item.span();
            !self.module.in_library(span.file) && !self.is_within(span)
        })
    }

    fn scalar_function(&mut self, function: Scalar, call: &Call, terms: &[TermArgument]) -> Outcome<Term> {
        let given = placeholders(call, terms);
        let places = arguments::match_all(&call.callee, function.parameters(), &given)?;
        for ((_, term), arg) in terms.iter().zip(&call.args) {
            check_single(term, arg.value.span)?;
        }
        let terms: Vec<Term> = places.into_iter().map(|place| terms[place].1.clone()).collect();
        operators::function(&mut self.program, function, &terms)
            .map_err(|message| refused(&call.callee, message))
    }

    /// A random number: the next stream of this op, at the present element.
    fn draw(&mut self) -> Term {
        self.draws += 1;
        let stream = philox::stream(&format!("{}.{}", self.stream, self.draws));
        let element = self.element.clone();
        Term::Scalar(self.program.exprs.add(te::Expr::Uniform { stream, element }), Kind::Float)
    }

    fn call_op_term(&mut self, call: &Call, terms: Vec<TermArgument>) -> Outcome<Term> {
        let name = &call.callee;
        match self.module.find(&name.text, self.library) {
            Some(Callable::Op(item)) if super::is_scalar(item) => self.inline(item, call, &terms),
            Some(_) => Err(no_scalar_op(name)),
            None => Err(unknown_function(name, Some(self.module), false)),
        }
    }
}

/// The error of a call of what is no op on single numbers.
pub fn no_scalar_op(name: &Name) -> Diagnostic {
    at(format!("`{}` is not an op on single numbers", name.text), name.span)
        .note("an equation calls scalar functions, and ops whose parameters and results have no axes")
}

/// The arguments of a call by their names and places alone.
pub(super) fn placeholders(call: &Call, terms: &[TermArgument]) -> Vec<Argument> {
    let spans = call.args.iter().map(|arg| Some(arg.value.span));
    let given = terms.iter().zip(spans);
    given.map(|((name, _), span)| Argument { name: name.clone(), value: Value::None, span }).collect()
}

/// A compile-time function of constants.
fn constant_call(call: &Call, terms: Vec<TermArgument>) -> Outcome<Term> {
    let argument = |((name, term), span)| {
        let value = match term {
            Term::Const(value) => value,
            Term::Index(_) | Term::Scalar(..) => Value::None,
        };
        Argument { name, value, span: Some(span) }
    };
    let spans = call.args.iter().map(|arg| arg.value.span);
    let arguments: Vec<Argument> = terms.into_iter().zip(spans).map(argument).collect();
    let value = call_known(&call.callee, &arguments);
    value.unwrap_or_else(|| Err(unknown_function(&call.callee, None, false))).map(Term::Const)
}
