//! Calls in equations: scalar functions, compile-time functions, random numbers, and ops written in place.

use super::term::{Kind, Term};
use super::{Equations, operators};
use crate::base::philox;
use crate::elab::evaluate::{Argument, at, call_function, unknown_function};
use crate::elab::functions::{self, Function};
use crate::elab::module::Callable;
use crate::elab::{Outcome, Value};
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
        let known = terms.iter().all(|(_, term)| matches!(term, Term::Const(_)));
        if let (true, Some(function)) = (known, functions::find(name)) {
            return constant_call(function, call, terms);
        }
        let plain: Vec<Term> = terms.iter().map(|(_, term)| term.clone()).collect();
        match self.scalar_function(name, &plain) {
            Some(term) => term.map_err(|message| at(format!("`{name}`: {message}"), call.callee.span)),
            None => self.call_op_term(call, terms),
        }
    }

    /// A function that only equations have; none where there is none of this name.
    fn scalar_function(&mut self, name: &str, terms: &[Term]) -> Option<Result<Term, String>> {
        if let Some(function) = operators::elementwise_function(name) {
            return Some(operators::function(&mut self.program, function, terms));
        }
        let [term] = terms else { return None };
        let expression = |equations: &mut Self| operators::expression(&mut equations.program, term);
        match name {
            "real" => Some(expression(self).map(|(id, _)| Term::Scalar(id, Kind::Float))),
            "detach" => Some(expression(self).map(|(id, kind)| {
                let detached = self.program.exprs.add(te::Expr::Detach(id));
                Term::Scalar(detached, kind)
            })),
            _ => None,
        }
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
            Some(_) => {
                let error = at(format!("`{}` is not an op on single numbers", name.text), name.span);
                Err(error.note(
                    "an equation calls scalar functions, and ops whose parameters and results have no axes",
                ))
            }
            None => {
                let mut others = self.module.callable_names();
                others.extend(operators::FUNCTIONS.iter().map(|(name, _)| (*name).to_owned()));
                others.push("detach".into());
                others.sort_unstable();
                Err(unknown_function(name, others))
            }
        }
    }
}

/// A compile-time function of constants.
fn constant_call(function: &Function, call: &Call, terms: Vec<TermArgument>) -> Outcome<Term> {
    let argument = |((name, term), span)| {
        let value = match term {
            Term::Const(value) => value,
            Term::Index(_) | Term::Scalar(..) => Value::None,
        };
        Argument { name, value, span: Some(span) }
    };
    let spans = call.args.iter().map(|arg| arg.value.span);
    let arguments: Vec<Argument> = terms.into_iter().zip(spans).map(argument).collect();
    call_function(function, call, &arguments).map(Term::Const)
}
