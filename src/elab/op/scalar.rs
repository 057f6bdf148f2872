//! Ops on single numbers: mapped over tensors, or written in place in other equations.

use std::collections::HashMap;

use super::calls::TermArgument;
use super::equation::{check_kind, check_size};
use super::term::{Kind, Term, check_single, flat};
use super::{Equations, Symbol, operators};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::evaluate::{self, at, count_steps, evaluate};
use crate::elab::types::{self, element_type};
use crate::elab::value::{TensorValue, Value};
use crate::elab::{Outcome, arguments, block, tensors};
use crate::syntax::ast::{Binder, Call, Expr, Name, OpItem, OpStmtKind, Param, TypeExpr};
use crate::te::{Axis, DType, Index};

/// Ops may write ops in place this deep.
const DEEPEST_CALLS: usize = 64;

/// So many nested expressions take as much of the stack as a call.
const DEPTH_OF_CALL: usize = 2;

/// What a call written in place costs beside its expressions.
const COST_OF_CALL: usize = 8;

impl Equations<'_> {
    /// Maps a scalar op over tensors, broadcasting along axes of extent 1.
    pub(super) fn map_elements(
        &mut self,
        item: &OpItem,
        callee: &Name,
        given: &[TensorValue],
    ) -> Outcome<()> {
        let shapes: Vec<&[i64]> = given.iter().map(|tensor| tensor.shape.as_slice()).collect();
        let shape = tensors::broadcast(&shapes).ok_or_else(|| mismatch(callee, given))?;
        let axes = tensors::shape_axes(&mut self.program, &shape);
        for param in &item.params {
            self.read_element(param, &axes);
        }
        let element: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        self.element =
            flat(&element, &shape, &self.program.axes).map_err(|message| at(message, callee.span))?;
        self.run_scalar(item)?;
        item.results.iter().try_for_each(|(name, ty)| self.element_result(name, ty, &axes, &shape))
    }

    /// Makes the parameter's name stand for the element that the present one reads.
    fn read_element(&mut self, param: &Param, axes: &[Axis]) {
        let Some(Symbol::Tensor(tensor)) = self.names.get(&param.name.text) else { return };
        let tensor = *tensor;
        let data = &self.program.tensors[tensor];
        let (kind, read) = (Kind::of(data.dtype), tensors::broadcast_index(&data.shape, axes));
        let id = self.program.exprs.read(tensor, read);
        self.names.insert(param.name.text.clone(), Symbol::Term(Term::Scalar(id, kind)));
    }

    /// The tensor of a result whose elements the equations have given.
    fn element_result(&mut self, name: &Name, ty: &TypeExpr, axes: &[Axis], shape: &[i64]) -> Outcome<()> {
        let Some(Symbol::Term(term)) = self.names.get(&name.text).cloned() else {
            return Err(no_equation(name));
        };
        let (body, kind) =
            operators::expression(&mut self.program, &term).map_err(|message| at(message, name.span))?;
        let dtype = super::element_dtype(ty).unwrap_or(kind.dtype());
        let result = self.program.tensor(&name.text, dtype, shape.to_vec());
        self.program.define(result, axes.to_vec(), body);
        let defined = self.program.equations.last().expect("just defined");
        check_size(&self.program, name, &defined.pieces[0], name.span)?;
        self.program.outputs.push(result);
        Ok(())
    }

    /// The equations of an op on single numbers: each makes a term.
    fn run_scalar(&mut self, item: &OpItem) -> Outcome<()> {
        for stmt in &item.body {
            match &stmt.kind {
                OpStmtKind::Let { name, value } => self.run_let(name, value)?,
                OpStmtKind::Assert(assertion) => block::check_assertion(self, assertion)?,
                OpStmtKind::Equation { name, binders, body } => {
                    self.scalar_equation(item, name, binders, body)?;
                }
            }
        }
        Ok(())
    }

    fn scalar_equation(
        &mut self,
        item: &OpItem,
        name: &Name,
        binders: &[Binder],
        body: &Expr,
    ) -> Outcome<()> {
        if let Some(binder) = binders.first() {
            return Err(at(format!("`{}` has no axes", name.text), binder.index.span));
        }
        if self.names.contains_key(&name.text) {
            return Err(at(format!("`{}` is already defined", name.text), name.span));
        }
        self.infer_extents(&[], body)?;
        let mut term = self.term(body)?;
        if let Some((_, ty)) = item.results.iter().find(|(result, _)| result.text == name.text) {
            term = self.converted(name, super::element_dtype(ty), term, body)?;
        }
        self.names.insert(name.text.clone(), Symbol::Term(term));
        Ok(())
    }

    /// The term of a result as its declared type says.
    fn converted(&mut self, name: &Name, dtype: Option<DType>, term: Term, body: &Expr) -> Outcome<Term> {
        let (id, kind) =
            operators::expression(&mut self.program, &term).map_err(|message| at(message, body.span))?;
        let dtype = dtype.unwrap_or(kind.dtype());
        check_kind(&self.program, name, (id, kind), dtype, body)?;
        check_single(&term, body.span)?;
        let byte = if dtype == DType::U8 { operators::byte(&mut self.program, id) } else { id };
        Ok(match (term, dtype) {
            _ if byte != id => Term::Scalar(byte, kind),
            (Term::Const(Value::Int(value)), DType::F32) => Term::Const(Value::Real(value as f64)),
            (Term::Const(value), _) => Term::Const(value),
            (Term::Index(index), DType::I32 | DType::U8) => Term::Index(index),
            (Term::Index(_) | Term::Scalar(..), _) => Term::Scalar(id, Kind::of(dtype)),
        })
    }

    /// A call of an op on single numbers within an equation: its equations, written in place.
    pub(super) fn inline(&mut self, item: &OpItem, call: &Call, terms: &[TermArgument]) -> Outcome<Term> {
        if self.within.len() > DEEPEST_CALLS {
            return Err(self.calls_too_deeply(item, call));
        }
        count_steps(&mut self.steps, COST_OF_CALL, call.callee.span)?;
        let [(result, _)] = item.results.as_slice() else {
            return Err(at(format!("`{}` has several results", item.name.text), call.callee.span));
        };
        let symbols = self.bind_terms(item, call, terms)?;
        let names = std::mem::replace(&mut self.names, symbols);
        let axes = std::mem::take(&mut self.axes);
        let extents = std::mem::take(&mut self.extents);
        let library = std::mem::replace(&mut self.library, self.module.in_library(item.span.file));
        self.nesting += DEPTH_OF_CALL;
        self.within.push((item.name.clone(), item.span));
        let done = self.bind_defaults(item, &call.callee).and_then(|()| self.run_scalar(item));
        self.within.pop();
        self.nesting -= DEPTH_OF_CALL;
        self.library = library;
        self.axes = axes;
        self.extents = extents;
        let inner = std::mem::replace(&mut self.names, names);
        done?;
        match inner.get(&result.text) {
            Some(Symbol::Term(term)) => Ok(term.clone()),
            Some(Symbol::Const(_) | Symbol::Tensor(_)) | None => Err(no_equation(result)),
        }
    }

    /// The error of a call below too many others: of an op that comes by itself again, or of a chain of ops.
    fn calls_too_deeply(&self, item: &OpItem, call: &Call) -> Diagnostic {
        let error = match self.is_within(item.span) {
            true => evaluate::calls_itself(&item.name, call.callee.span),
            false => at(format!("the call of `{}` is nested too deeply", item.name.text), call.callee.span),
        };
        error.note(format!("ops call each other at most {DEEPEST_CALLS} deep"))
    }

    /// Whether the op of this place is among those that are written in place here.
    pub(super) fn is_within(&self, item: Span) -> bool {
        self.within.iter().any(|(_, place)| *place == item)
    }

    /// The arguments of an inlined call by the names of their parameters.
    fn bind_terms(
        &mut self,
        item: &OpItem,
        call: &Call,
        terms: &[TermArgument],
    ) -> Outcome<HashMap<String, Symbol>> {
        let given = super::calls::placeholders(call, terms);
        let names: Vec<&str> = item.params.iter().map(|param| param.name.text.as_str()).collect();
        let places = arguments::match_arguments(&call.callee, &names, &given)?;
        let mut symbols = HashMap::new();
        for (param, place) in item.params.iter().zip(places) {
            let Some(place) = place else { continue };
            let symbol = self.bind_term(item, param, &terms[place].1, &call.args[place].value)?;
            symbols.insert(param.name.text.clone(), symbol);
        }
        Ok(symbols)
    }

    fn bind_term(&mut self, item: &OpItem, param: &Param, term: &Term, arg: &Expr) -> Outcome<Symbol> {
        match (term, element_type(&param.ty)) {
            (Term::Const(value), _) => {
                let value = types::accept(self, &item.name.text, param, value.clone(), arg.span)?;
                Ok(Symbol::Const(value))
            }
            (term, dtype @ Some(_)) => {
                self.converted(&param.name, dtype, term.clone(), arg).map(Symbol::Term)
            }
            (Term::Index(_) | Term::Scalar(..), None) => {
                let message = format!("`{}` must be known at compile time", param.name.text);
                Err(at(message, arg.span))
            }
        }
    }

    fn bind_defaults(&mut self, item: &OpItem, callee: &Name) -> Outcome<()> {
        for param in &item.params {
            if self.names.contains_key(&param.name.text) {
                continue;
            }
            let Some(default) = &param.default else {
                return Err(arguments::missing(callee, &param.name.text));
            };
            let value = evaluate(self, default)?;
            let value = types::accept(self, &item.name.text, param, value, default.span)?;
            self.names.insert(param.name.text.clone(), Symbol::Const(value));
        }
        Ok(())
    }
}

fn no_equation(name: &Name) -> Diagnostic {
    at(format!("the result `{}` has no equation", name.text), name.span)
}

fn mismatch(callee: &Name, given: &[TensorValue]) -> Diagnostic {
    let shown: Vec<String> = given.iter().map(TensorValue::to_string).collect();
    let message = format!("`{}` of tensors whose shapes do not fit: {}", callee.text, shown.join(" and "));
    at(message, callee.span).note("shapes are equal, or an axis has extent 1")
}
