//! The normal form that adjoints and kernels start from.
//!
//! In normal form, a piece's body is either one reduction over a body without reductions, or has none at all, and an
//! axis that is only used through its digits (`j / 9`, `j / 3 % 3`, `j % 3`) is replaced by one axis a digit, which
//! makes reshapes affine. Neither changes a value or the order of a reduction.

use crate::base::hash::HashMap;
use std::collections::BTreeSet;

use super::expr::{Expr, ExprId};
use super::index::{Atom, Axis, Index};
use super::program::{Equation, Piece, Program, Tensor};
use super::whole::type_within;

/// Brings a program to normal form.
pub fn normalise(program: &mut Program) {
    let equations = std::mem::take(&mut program.equations);
    for equation in equations {
        let pieces =
            equation.pieces.into_iter().map(|piece| normalise_piece(program, equation.result, piece));
        let pieces = pieces.collect();
        program.equations.push(Equation { result: equation.result, pieces });
    }
}

fn normalise_piece(program: &mut Program, result: Tensor, piece: Piece) -> Piece {
    let piece = split_digits(program, piece);
    let body = match program.exprs[piece.body].clone() {
        Expr::Reduce { op, axes, body } => {
            let body = hoist(program, result, &piece.axes, body);
            program.exprs.reduce(op, axes, body)
        }
        _ => hoist(program, result, &piece.axes, piece.body),
    };
    Piece { body, ..piece }
}

/// Gives every reduction inside an expression an equation of its own.
fn hoist(program: &mut Program, result: Tensor, order: &[Axis], root: ExprId) -> ExprId {
    program.rewrite(root, &mut |program, expr| {
        let id = program.exprs.add(expr.clone());
        if !matches!(expr, Expr::Reduce { .. }) {
            return id;
        }
        let mut axes: Vec<Axis> = program.free_axes(id).into_iter().collect();
        axes.sort_by_key(|axis| (order.iter().position(|other| other == axis).unwrap_or(usize::MAX), *axis));
        let shape = axes.iter().map(|axis| program.axes[*axis].extent).collect();
        let dtype = type_within(program, result, id);
        let part = program.derived(result, "part", dtype, shape);
        let own: Vec<Axis> = axes.iter().map(|axis| program.copy_axis(*axis)).collect();
        let replace: HashMap<Axis, Index> =
            axes.iter().zip(&own).map(|(old, new)| (*old, Index::from(*new))).collect();
        let body = program.substitute(id, &replace);
        program.define(part, own, body);
        program.exprs.read(part, axes.into_iter().map(Index::from).collect())
    })
}

fn split_digits(program: &mut Program, mut piece: Piece) -> Piece {
    let mut replace = HashMap::default();
    for axis in std::mem::take(&mut piece.axes) {
        piece.axes.extend(split_axis(program, axis, &piece.at, piece.body, &mut replace));
    }
    let mut body = piece.body;
    if let Expr::Reduce { op, axes, body: inner } = program.exprs[body].clone() {
        let axes =
            axes.iter().flat_map(|axis| split_axis(program, *axis, &[], inner, &mut replace)).collect();
        body = program.exprs.reduce(op, axes, inner);
    }
    if replace.is_empty() {
        return Piece { body, ..piece };
    }
    let at = piece.at.iter().map(|at| at.substitute(&|axis| replace.get(&axis).cloned(), &program.axes));
    piece.at = at.collect();
    piece.body = match program.exprs[body].clone() {
        Expr::Reduce { op, axes, body } => {
            let body = program.substitute(body, &replace);
            program.exprs.reduce(op, axes, body)
        }
        _ => program.substitute(body, &replace),
    };
    piece
}

/// The digit axes of an axis, most significant first; the axis itself where it has none.
fn split_axis(
    program: &mut Program,
    axis: Axis,
    at: &[Index],
    body: ExprId,
    replace: &mut HashMap<Axis, Index>,
) -> Vec<Axis> {
    let Some(weights) = digit_weights(program, axis, at, body) else { return vec![axis] };
    let mut sum = Index::from(0);
    let mut digits = Vec::new();
    let mut above = program.axes[axis].extent;
    for (position, weight) in weights.iter().enumerate() {
        let name = format!("{}{position}", program.axes[axis].name);
        let digit = program.axis(name, above / weight);
        sum = sum.add_scaled(&Index::from(digit), *weight, &program.axes);
        digits.push(digit);
        above = *weight;
    }
    replace.insert(axis, sum);
    digits
}

/// The weights of the digits through which an axis is used, descending to 1, where they are a chain of divisors.
fn digit_weights(program: &Program, axis: Axis, at: &[Index], body: ExprId) -> Option<Vec<i64>> {
    let mut cuts = BTreeSet::new();
    let mut collect =
        |index: &Index| index.terms().iter().for_each(|(atom, _)| collect_cuts(atom, axis, &mut cuts));
    at.iter().for_each(&mut collect);
    program.for_each_expr(body, &mut |id| match &program.exprs[id] {
        Expr::Number(index) | Expr::Uniform { element: index, .. } => collect(index),
        Expr::Read { index, .. } => index.iter().for_each(&mut collect),
        _ => {}
    });
    let extent = program.axes[axis].extent;
    let mut weights: Vec<i64> = cuts.into_iter().rev().filter(|cut| *cut > 1 && *cut < extent).collect();
    let chain =
        std::iter::once(&extent).chain(&weights).zip(&weights).all(|(above, below)| above % below == 0);
    weights.push(1);
    (weights.len() > 1 && chain).then_some(weights)
}

/// Adds the places at which an atom cuts the axis into digits, if it does so directly.
fn collect_cuts(atom: &Atom, axis: Axis, cuts: &mut BTreeSet<i64>) {
    match atom {
        Atom::Div(x, k) | Atom::Rem(x, k) if x.as_axis() == Some(axis) => {
            cuts.insert(*k);
        }
        Atom::Rem(x, k) => {
            if let [(Atom::Div(y, below), 1)] = x.terms()
                && x.constant() == 0
                && y.as_axis() == Some(axis)
            {
                cuts.extend([*below, below * k]);
            }
        }
        Atom::Axis(_) | Atom::Div(..) | Atom::Min(..) | Atom::Max(..) => {}
    }
}
