//! Equations: the left sides, their axes, and the tensors that they define.

use super::pieces::{self, Progression};
use super::term::{Kind, flat};
use super::{Equations, Symbol, index, integers, operators};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::Outcome;
use crate::elab::evaluate::at;
use crate::elab::types;
use crate::elab::value::{Value, show_type};
use crate::syntax::ast::{Binder, Expr, ExprKind, Name, OpStmt, OpStmtKind};
use crate::te::{Axis, DType, Equation, ExprId, Index, Piece, Program, size};

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
            self.check_bounds(name, binders, parts.len() == 1, (dtype, shape))?;
            let left = self.left_side(name, binders, shape)?;
            let (mut piece, kind) = self.piece(name, &left, binders, body, shape)?;
            check_kind(&self.program, name, (piece.body, kind), dtype, body)?;
            if dtype == DType::U8 {
                piece.body = operators::byte(&mut self.program, piece.body);
            }
            made.push(piece);
            covered.push(left.covered);
            spans.push(binders.last().map_or(*start, |binder| start.to(binder.index.span)));
        }
        pieces::check(&name.text, &covered, &spans, shape)?;
        self.check_no_axis(name)?;
        self.finish(name, dtype, shape.to_vec(), made);
        Ok(())
    }

    /// A bound may end a piece before the declared extent, never the only equation, and none goes beyond it.
    fn check_bounds(
        &mut self,
        name: &Name,
        binders: &[Binder],
        is_only: bool,
        (dtype, shape): (DType, &[i64]),
    ) -> Outcome<()> {
        for (binder, extent) in binders.iter().zip(shape) {
            let Some(bound) = &binder.bound else { continue };
            let end = types::evaluate_extent(self, bound)?;
            if end > *extent || is_only && end != *extent {
                let (name, declared) = (&name.text, show_type(dtype, shape));
                let message =
                    format!("the bound is {end}, but `{name}` has {extent} elements along this axis");
                let error = at(message, bound.span).note(format!("`{name}` is {declared}"));
                return Err(match is_only {
                    true => error
                        .help("leave the bound out: the declared type says how far the axes of a result go"),
                    false => error,
                });
            }
        }
        Ok(())
    }

    /// An error where the name of an axis already means something else.
    pub(super) fn check_hidden(&self, axis: &str, span: Span) -> Outcome<()> {
        let meaning = match self.names.get(axis) {
            None => return Ok(()),
            Some(Symbol::Const(value @ (Value::Int(_) | Value::Real(_) | Value::Bool(_)))) => {
                value.to_string()
            }
            Some(Symbol::Const(value)) => value.kind(),
            Some(Symbol::Tensor(_)) => "a tensor".into(),
            Some(Symbol::Term(_)) => "a number".into(),
        };
        Err(at(format!("axis `{axis}` hides `{axis}`, which is {meaning}"), span)
            .help("give the axis another name"))
    }

    fn define_intermediate(&mut self, name: &Name, parts: &[Part<'_>]) -> Outcome<()> {
        let [Part { binders, body, .. }] = parts else {
            return Err(at(format!("`{}` is no result, so it has one equation", name.text), name.span)
                .help("only results, whose shapes are declared, are given in pieces"));
        };
        if let Some(binder) = binders.iter().find(|binder| !matches!(binder.index.kind, ExprKind::Name(_))) {
            return Err(at("the axes of an intermediate are plain names", binder.index.span));
        }
        self.infer_extents(binders, body)?;
        let shape: Vec<i64> = self.bounds(binders)?.into_iter().map(|(_, extent)| extent).collect();
        if types::elements(&shape).is_none() {
            return Err(types::too_large(&shape, name.span));
        }
        let left = self.left_side(name, binders, &shape)?;
        let (piece, kind) = self.piece(name, &left, binders, body, &shape)?;
        integers::check_stored(&self.program, piece.body, kind.dtype(), body.span)?;
        self.check_no_axis(name)?;
        self.finish(name, kind.dtype(), shape, vec![piece]);
        Ok(())
    }

    /// Takes note of an axis of the op itself, not of those that are written in place.
    pub(super) fn note_axis(&mut self, axis: &str, span: Span) {
        if self.within.len() == 1 {
            self.axis_names.entry(axis.to_owned()).or_insert(span);
        }
    }

    /// An error where the name of what is defined has been that of an axis.
    pub(super) fn check_no_axis(&self, name: &Name) -> Outcome<()> {
        match self.axis_names.get(&name.text).filter(|_| self.within.len() == 1) {
            Some(axis) => Err(at(format!("`{}` is the name of an axis as well", name.text), name.span)
                .secondary(*axis, "the axis")
                .help("give one of them another name")),
            None => Ok(()),
        }
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
            Some(bound) => types::evaluate_extent(self, bound)?,
            None => extent,
        };
        let form = self.linear_left(&binder.index)?;
        let radices =
            pieces::radices(&form.terms, form.constant, end).map_err(|message| at(message, span))?;
        let mut index = Index::from(form.constant);
        for ((axis_name, coefficient), count) in form.terms.iter().zip(&radices) {
            if self.axes.iter().any(|(bound, _)| bound == axis_name) {
                return Err(bound_twice(axis_name, span));
            }
            self.check_hidden(axis_name, span)?;
            self.note_axis(axis_name, span);
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
        name: &Name,
        left: &LeftSide,
        binders: &[Binder],
        body: &Expr,
        shape: &[i64],
    ) -> Outcome<(Piece, Kind)> {
        self.infer_extents(binders, body)?;
        self.element = flat(&left.at, shape, &self.program.axes).map_err(|message| at(message, body.span))?;
        let result = self.expression(body);
        self.axes.clear();
        let (id, kind) = result?;
        let piece = Piece { axes: left.axes.clone(), at: left.at.clone(), body: id };
        check_size(&self.program, name, &piece, body.span)?;
        Ok((piece, kind))
    }
}

/// An error where an equation comes to more than can be.
pub(super) fn check_size(program: &Program, name: &Name, piece: &Piece, span: Span) -> Outcome<()> {
    size::of(program, piece)
        .map_err(|excess| at(format!("`{}` {excess}", name.text), span).note(excess.limit()))
}

/// The error of two axes of one name.
pub(super) fn bound_twice(axis: &str, span: Span) -> Diagnostic {
    at(format!("axis `{axis}` is bound twice"), span)
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

/// Whether the body of an equation may define a tensor of this type.
pub(super) fn check_kind(
    program: &Program,
    name: &Name,
    (id, kind): (ExprId, Kind),
    dtype: DType,
    body: &Expr,
) -> Outcome<()> {
    let fits = match dtype {
        DType::F32 => kind != Kind::Bool,
        DType::I32 | DType::U8 => kind == Kind::Int,
        DType::Bool => kind == Kind::Bool,
    };
    if fits {
        return integers::check_stored(program, id, dtype, body.span);
    }
    Err(at(format!("`{}` is {dtype}, but this is {}", name.text, kind.describe()), body.span))
}
