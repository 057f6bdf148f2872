//! What lanes over channels need.
//!
//! With the channels across (see `kernels::layout`), the same pixel of many channels is one vector, so a convolution
//! has its weights' first dimension across as well. A parameter keeps its own layout, which is PyTorch's and the one
//! of weights files: it is read through a copy. And a sum over the numbers of a flattened tensor, whose channel is a
//! digit of the number, becomes one over its digits, so that addresses are linear again.

use crate::base::hash::HashMap;
use std::collections::BTreeSet;

use crate::te::{Atom, Axis, Expr, ExprId, Index, Piece, Program, Tensor};

/// Prepares a program; gives the copies of the parameters, whose first dimension is to lie across.
pub fn run(program: &mut Program, parameters: &[Tensor]) -> Vec<Tensor> {
    let equations = std::mem::take(&mut program.equations);
    let mut copies = HashMap::default();
    for parameter in parameters {
        if !program.tensors[*parameter].shape.is_empty() {
            copies.insert(*parameter, copy(program, *parameter));
        }
    }
    for mut equation in equations {
        for piece in &mut equation.pieces {
            piece.body = reading(program, piece.body, &copies);
            piece.body = over_digits(program, piece.body);
        }
        program.equations.push(equation);
    }
    parameters.iter().filter_map(|parameter| copies.get(parameter).copied()).collect()
}

/// Defines a tensor equal to a parameter.
fn copy(program: &mut Program, parameter: Tensor) -> Tensor {
    let data = program.tensors[parameter].clone();
    let axes: Vec<Axis> = data.shape.iter().map(|extent| program.axis("i", *extent)).collect();
    let at: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
    let body = program.exprs.read(parameter, at.clone());
    let copy = program.derived(parameter, "across", data.dtype, data.shape);
    let equation = crate::te::Equation { result: copy, pieces: vec![Piece { axes, at, body }] };
    program.equations.push(equation);
    copy
}

/// An expression that reads the copies.
fn reading(program: &mut Program, id: ExprId, copies: &HashMap<Tensor, Tensor>) -> ExprId {
    program.rewrite(id, &mut |program, expr| {
        program.exprs.add(match expr {
            Expr::Read { tensor, index, fill } => {
                Expr::Read { tensor: copies.get(&tensor).copied().unwrap_or(tensor), index, fill }
            }
            expr => expr,
        })
    })
}

/// A reduction whose axes are split where an index takes digits of them. The order of the points stays.
fn over_digits(program: &mut Program, id: ExprId) -> ExprId {
    let Expr::Reduce { op, axes, body } = program.exprs[id].clone() else { return id };
    let mut split = Vec::new();
    let mut replace = HashMap::default();
    for axis in axes {
        let weights = weights(program, body, axis);
        if weights.is_empty() {
            split.push(axis);
            continue;
        }
        let data = program.axes[axis].clone();
        let mut value = Index::from(0);
        let mut rest = data.extent;
        for weight in weights.into_iter().chain([1]) {
            let digit = program.axis(data.name.clone(), rest / weight);
            rest = weight;
            value = value.add(&Index::from(digit).scale(weight), &program.axes);
            split.push(digit);
        }
        replace.insert(axis, value);
    }
    if replace.is_empty() {
        return id;
    }
    let body = program.substitute(body, &replace);
    program.exprs.reduce(op, split, body)
}

/// What the digits of an axis count, that of the lowest left out: none where no index takes digits, or where they do
/// not divide each other.
fn weights(program: &Program, body: ExprId, axis: Axis) -> Vec<i64> {
    let mut found = BTreeSet::new();
    program.for_each_expr(body, &mut |id| {
        if let Expr::Read { index, .. } = &program.exprs[id] {
            index.iter().for_each(|index| {
                collect(index, axis, &mut found);
            });
        }
    });
    let extent = program.axes[axis].extent;
    let weights: Vec<i64> = found.into_iter().rev().filter(|weight| (2..extent).contains(weight)).collect();
    let above = std::iter::once(extent).chain(weights.iter().copied());
    let divide = above.zip(&weights).all(|(above, weight)| above % weight == 0);
    if divide { weights } else { Vec::new() }
}

/// Adds the weights at which an index cuts an axis. Gives what one step of the index counts, where it is a number made
/// of digits of this axis alone.
fn collect(index: &Index, axis: Axis, found: &mut BTreeSet<i64>) -> Option<i64> {
    let mut whole = None;
    for (atom, coefficient) in index.terms() {
        let step = match atom {
            Atom::Axis(other) => (*other == axis).then_some(1),
            Atom::Div(x, by) => collect(x, axis, found).map(|step| {
                found.insert(step * by);
                step * by
            }),
            Atom::Rem(x, by) => collect(x, axis, found).inspect(|step| {
                found.insert(step * by);
            }),
            Atom::Min(..) | Atom::Max(..) => None,
        };
        whole = step.filter(|_| index.terms().len() == 1 && *coefficient == 1 && index.constant() == 0);
    }
    whole
}
