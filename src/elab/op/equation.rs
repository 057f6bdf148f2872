//! Equations: the left sides, their axes, and the tensors that they define.

use super::pieces::{self, Progression};
use super::term::{Kind, flat, no_extent};
use super::{Equations, Symbol, index};
use crate::base::span::Span;
use crate::elab::Outcome;
use crate::elab::evaluate::at;
use crate::elab::types;
use crate::elab::value::show_type;
use crate::syntax::ast::{Binder, Expr, ExprKind, Name, OpStmt, OpStmtKind};
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
pub(super) fn check_kind(name: &Name, kind: Kind, dtype: DType, body: &Expr) -> Outcome<()> {
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
