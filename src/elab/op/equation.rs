//! Equations: the left sides, their axes, and the tensors that they define.

use std::collections::HashMap;

use super::pieces::{self, Progression};
use super::term::{Kind, Term, flat, no_extent};
use super::{Equations, Symbol, index};
use crate::base::span::Span;
use crate::elab::evaluate::at;
use crate::elab::types::{self, element_type};
use crate::elab::value::{TensorValue, Value, show_type};
use crate::elab::{Outcome, block};
use crate::syntax::ast::{Binder, Call, Expr, ExprKind, Name, OpItem, OpStmt, OpStmtKind};
use crate::te::{Axis, DType, Equation, Index, Piece};

/// The left side of an equation and its axes.
struct LeftSide {
    axes: Vec<Axis>,
    at: Vec<Index>,
    /// Which positions of each dimension it defines.
    covered: Vec<Progression>,
}

impl Equations<'_> {
    /// Defines a tensor by its equations. `declared` is the type of a result; an intermediate has none.
    pub(super) fn define(
        &mut self,
        name: &Name,
        group: &[OpStmt],
        declared: Option<&(DType, Vec<i64>)>,
    ) -> Outcome<()> {
        if self.names.contains_key(&name.text) {
            return Err(at(format!("`{}` is already defined", name.text), name.span)
                .note("the equations of one tensor stand side by side"));
        }
        let parts: Vec<Part<'_>> = group.iter().filter_map(parts_of).collect();
        match declared {
            Some((dtype, shape)) => self.define_result(name, &parts, *dtype, shape),
            None => self.define_intermediate(name, &parts),
        }
    }

    fn define_result(&mut self, name: &Name, parts: &[Part<'_>], dtype: DType, shape: &[i64]) -> Outcome<()> {
        let (mut made, mut covered, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for Part { start, binders, body } in parts {
            let left = self.left_side(name, binders, shape)?;
            let (piece, kind) = self.piece(&left, binders, body, shape)?;
            check_kind(name, kind, dtype, body)?;
            made.push(piece);
            covered.push(left.covered);
            spans.push(binders.last().map_or(*start, |binder| start.to(binder.index.span)));
        }
        pieces::check(&name.text, &covered, &spans, shape)?;
        self.finish(name, dtype, shape.to_vec(), made);
        Ok(())
    }

    fn define_intermediate(&mut self, name: &Name, parts: &[Part<'_>]) -> Outcome<()> {
        let [Part { binders, body, .. }] = parts else {
            return Err(at(format!("`{}` is no result, so it has one equation", name.text), name.span)
                .help("only results, whose shapes are declared, are given in pieces"));
        };
        self.infer_extents(binders, body);
        let mut shape = Vec::new();
        for binder in *binders {
            let ExprKind::Name(axis) = &binder.index.kind else {
                return Err(at("the axes of an intermediate are plain names", binder.index.span));
            };
            if binder.bound.is_none() && !self.extents.contains_key(&binder.index.span) {
                return Err(no_extent(axis, binder.index.span));
            }
            shape.push(self.bound(binder)?.1);
        }
        if types::elements(&shape).is_none() {
            return Err(types::too_large(&shape, name.span));
        }
        let left = self.left_side(name, binders, &shape)?;
        let (piece, kind) = self.piece(&left, binders, body, &shape)?;
        self.finish(name, kind.dtype(), shape, vec![piece]);
        Ok(())
    }

    fn finish(&mut self, name: &Name, dtype: DType, shape: Vec<i64>, pieces: Vec<Piece>) {
        let result = self.program.tensor(&name.text, dtype, shape);
        self.program.equations.push(Equation { result, pieces });
        self.names.insert(name.text.clone(), Symbol::Tensor(result));
    }

    /// The axes and positions of a left side. Brings its axes into scope; [`Equations::piece`] removes them.
    fn left_side(&mut self, name: &Name, binders: &[Binder], shape: &[i64]) -> Outcome<LeftSide> {
        if binders.len() != shape.len() {
            let shown = show_type(DType::F32, shape);
            let message = format!("`{}` is {shown}, but has {} indices here", name.text, binders.len());
            return Err(at(message, name.span));
        }
        let mut left = LeftSide { axes: Vec::new(), at: Vec::new(), covered: Vec::new() };
        for (binder, extent) in binders.iter().zip(shape) {
            self.bind_dimension(binder, *extent, &mut left)?;
        }
        Ok(left)
    }

    /// One index of a left side: `h`, `2*h + 1`, `g*Q + o`, `3`.
    fn bind_dimension(&mut self, binder: &Binder, extent: i64, left: &mut LeftSide) -> Outcome<()> {
        let span = binder.index.span;
        let end = match &binder.bound {
            Some(bound) => types::evaluate_extent(self, bound)?.min(extent),
            None => extent,
        };
        let form = self.linear_left(&binder.index)?;
        let radices =
            pieces::radices(&form.terms, form.constant, end).map_err(|message| at(message, span))?;
        let mut index = Index::from(form.constant);
        for ((axis_name, coefficient), count) in form.terms.iter().zip(&radices) {
            if self.axes.iter().any(|(bound, _)| bound == axis_name) {
                return Err(at(format!("axis `{axis_name}` is bound twice"), span));
            }
            if *count == 1 && form.terms.len() > 1 {
                self.axes.push((axis_name.clone(), Index::from(0)));
                continue;
            }
            let axis = self.program.axis(axis_name, *count);
            left.axes.push(axis);
            index = index::add_scaled(&index, &Index::from(axis), *coefficient, &self.program.axes)
                .map_err(|message| at(message, span))?;
            self.axes.push((axis_name.clone(), Index::from(axis)));
        }
        left.at.push(index);
        let step = form.terms.iter().map(|(_, coefficient)| *coefficient).min().unwrap_or(1);
        left.covered.push(Progression { start: form.constant, step, count: radices.iter().product::<i64>() });
        Ok(())
    }

    /// The body of a left side, whose axes leave the scope.
    fn piece(
        &mut self,
        left: &LeftSide,
        binders: &[Binder],
        body: &Expr,
        shape: &[i64],
    ) -> Outcome<(Piece, Kind)> {
        self.infer_extents(binders, body);
        self.element = flat(&left.at, shape, &self.program.axes).map_err(|message| at(message, body.span))?;
        let result = self.expression(body);
        self.axes.clear();
        let (body, kind) = result?;
        Ok((Piece { axes: left.axes.clone(), at: left.at.clone(), body }, kind))
    }

    /// Maps a scalar op over tensors, broadcasting along axes of extent 1.
    pub(super) fn map_elements(
        &mut self,
        item: &OpItem,
        callee: &Name,
        tensors: &[TensorValue],
    ) -> Outcome<()> {
        let shapes: Vec<&[i64]> = tensors.iter().map(|tensor| tensor.shape.as_slice()).collect();
        let shape = crate::elab::tensors::broadcast(&shapes).ok_or_else(|| mismatch(callee, tensors))?;
        let axes = crate::elab::tensors::shape_axes(&mut self.program, &shape);
        for param in &item.params {
            if let Some(Symbol::Tensor(tensor)) = self.names.get(&param.name.text) {
                let tensor = *tensor;
                let data = &self.program.tensors[tensor];
                let kind = Kind::of(data.dtype);
                let read = crate::elab::tensors::broadcast_index(&data.shape, &axes);
                let id = self.program.exprs.read(tensor, read);
                self.names.insert(param.name.text.clone(), Symbol::Term(Term::Scalar(id, kind)));
            }
        }
        let at_axes: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        self.element =
            flat(&at_axes, &shape, &self.program.axes).map_err(|message| at(message, callee.span))?;
        self.run_scalar(item)?;
        for (name, ty) in &item.results {
            let Some(Symbol::Term(term)) = self.names.get(&name.text).cloned() else {
                return Err(at(format!("the result `{}` has no equation", name.text), name.span));
            };
            let (body, kind) = super::operators::expression(&mut self.program, &term)
                .map_err(|message| at(message, name.span))?;
            let dtype = super::element_dtype(ty).unwrap_or(kind.dtype());
            let result = self.program.tensor(&name.text, dtype, shape.clone());
            self.program.define(result, axes.clone(), body);
            self.program.outputs.push(result);
        }
        Ok(())
    }

    /// The equations of an op on single numbers: each makes a term.
    fn run_scalar(&mut self, item: &OpItem) -> Outcome<()> {
        for stmt in &item.body {
            match &stmt.kind {
                OpStmtKind::Let { name, value } => self.run_let(name, value)?,
                OpStmtKind::Assert(assertion) => block::check_assertion(self, assertion)?,
                OpStmtKind::Equation { name, binders, body } => {
                    if let Some(binder) = binders.first() {
                        return Err(at(format!("`{}` has no axes", name.text), binder.index.span));
                    }
                    if matches!(self.names.get(&name.text), Some(Symbol::Tensor(_) | Symbol::Term(_))) {
                        return Err(at(format!("`{}` is already defined", name.text), name.span));
                    }
                    self.infer_extents(&[], body);
                    let term = self.scalar_result(item, name, body)?;
                    self.names.insert(name.text.clone(), Symbol::Term(term));
                }
            }
        }
        Ok(())
    }

    fn scalar_result(&mut self, item: &OpItem, name: &Name, body: &Expr) -> Outcome<Term> {
        let term = self.term(body)?;
        let Some((_, ty)) = item.results.iter().find(|(result, _)| result.text == name.text) else {
            return Ok(term);
        };
        let (id, kind) = super::operators::expression(&mut self.program, &term)
            .map_err(|message| at(message, body.span))?;
        let dtype = super::element_dtype(ty).unwrap_or(kind.dtype());
        check_kind(name, kind, dtype, body)?;
        let constant = matches!(term, Term::Const(_) | Term::Index(_));
        Ok(if constant { term } else { Term::Scalar(id, Kind::of(dtype)) })
    }

    /// A call of an op on single numbers within an equation: its equations, written in place.
    pub(super) fn inline(
        &mut self,
        item: &OpItem,
        call: &Call,
        terms: Vec<(Option<Name>, Term)>,
    ) -> Outcome<Term> {
        if self.depth > 20 {
            return Err(at(format!("`{}` calls itself without end", item.name.text), call.callee.span));
        }
        let [(result, _)] = item.results.as_slice() else {
            return Err(at(format!("`{}` has several results", item.name.text), call.callee.span));
        };
        let symbols = bind_terms(item, call, &terms)?;
        let names = std::mem::replace(&mut self.names, symbols);
        let axes = std::mem::take(&mut self.axes);
        let library = std::mem::replace(&mut self.library, self.module.in_library(item.span.file));
        self.depth += 1;
        let done = self.bind_defaults(item, &call.callee).and_then(|()| self.run_scalar(item));
        self.depth -= 1;
        self.library = library;
        self.axes = axes;
        let inner = std::mem::replace(&mut self.names, names);
        done?;
        match inner.get(&result.text) {
            Some(Symbol::Term(term)) => Ok(term.clone()),
            _ => Err(at(format!("the result `{}` has no equation", result.text), result.span)),
        }
    }

    fn bind_defaults(&mut self, item: &OpItem, callee: &Name) -> Outcome<()> {
        for param in &item.params {
            if self.names.contains_key(&param.name.text) {
                continue;
            }
            let Some(default) = &param.default else {
                return Err(crate::elab::arguments::missing(callee, &param.name.text));
            };
            let value = crate::elab::evaluate::evaluate(self, default)?;
            let value = types::accept(self, &item.name.text, param, value, default.span)?;
            self.names.insert(param.name.text.clone(), Symbol::Const(value));
        }
        Ok(())
    }
}

/// The arguments of an inlined call by the names of their parameters.
fn bind_terms(
    item: &OpItem,
    call: &Call,
    terms: &[(Option<Name>, Term)],
) -> Outcome<HashMap<String, Symbol>> {
    let arguments: Vec<crate::elab::evaluate::Argument> = terms
        .iter()
        .zip(&call.args)
        .map(|((name, _), arg)| crate::elab::evaluate::Argument {
            name: name.clone(),
            value: Value::None,
            span: Some(arg.value.span),
        })
        .collect();
    let names: Vec<&str> = item.params.iter().map(|param| param.name.text.as_str()).collect();
    let places = crate::elab::arguments::match_arguments(&call.callee, &names, &arguments)?;
    let mut symbols = HashMap::new();
    for (param, place) in item.params.iter().zip(places) {
        let Some(place) = place else { continue };
        let term = terms[place].1.clone();
        let symbol = match term {
            Term::Const(value) => Symbol::Const(value),
            term if element_type(&param.ty).is_some() => Symbol::Term(term),
            Term::Index(_) | Term::Scalar(..) => {
                let message = format!("`{}` is known at compile time", param.name.text);
                return Err(at(message, call.args[place].value.span));
            }
        };
        symbols.insert(param.name.text.clone(), symbol);
    }
    Ok(symbols)
}

/// One of the equations of a tensor.
struct Part<'a> {
    start: Span,
    binders: &'a [Binder],
    body: &'a Expr,
}

fn parts_of(stmt: &OpStmt) -> Option<Part<'_>> {
    match &stmt.kind {
        OpStmtKind::Equation { name, binders, body } => Some(Part { start: name.span, binders, body }),
        OpStmtKind::Let { .. } | OpStmtKind::Assert(_) => None,
    }
}

fn check_kind(name: &Name, kind: Kind, dtype: DType, body: &Expr) -> Outcome<()> {
    let fits = match dtype {
        DType::F32 => kind != Kind::Bool,
        DType::I32 | DType::U8 => kind == Kind::Int,
        DType::Bool => kind == Kind::Bool,
    };
    if fits {
        return Ok(());
    }
    Err(at(format!("`{}` is {dtype}, but this is {}", name.text, kind.describe()), body.span))
}

fn mismatch(callee: &Name, tensors: &[TensorValue]) -> crate::base::diagnostic::Diagnostic {
    let shown: Vec<String> = tensors.iter().map(TensorValue::to_string).collect();
    at(format!("`{}` of tensors whose shapes do not fit: {}", callee.text, shown.join(" and ")), callee.span)
        .note("shapes are equal, or an axis has extent 1")
}
