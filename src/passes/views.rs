//! Inlining what only renames elements: reshapes, permutations, constants.
//!
//! A tensor defined as `y[i] = x[f(i)]`, or as a constant, is read through: its readers read `x` at `f` of their
//! index. What is left unread is dropped by [`prune`](super::prune).

use crate::base::hash::HashMap;

use crate::te::{Atom, Axis, Equation, Expr, ExprId, Index, Piece, Program, Tensor};

/// A tensor that can be read through: its axes and what it is at them.
struct View {
    axes: Vec<Axis>,
    body: ExprId,
    /// Whether an index outside stays outside: the view is the identity.
    keeps_bounds: bool,
}

/// Reads through all views.
pub fn run(program: &mut Program) {
    let mut views: HashMap<Tensor, View> = HashMap::default();
    for at in 0..program.equations.len() {
        let mut equation = program.equations[at].clone();
        for piece in &mut equation.pieces {
            piece.body =
                program.rewrite(piece.body, &mut |program, expr| read_through(program, &views, expr));
        }
        if let Some(view) = as_view(program, &equation) {
            views.insert(equation.result, view);
        }
        program.equations[at] = equation;
    }
    crate::te::normalise::normalise(program);
}

fn read_through(program: &mut Program, views: &HashMap<Tensor, View>, expr: Expr) -> ExprId {
    let Expr::Read { tensor, index, fill } = &expr else { return program.exprs.add(expr) };
    let Some(view) = views.get(tensor) else { return program.exprs.add(expr) };
    if !planted!("passes.views.bounds")
        && fill.is_some()
        && !view.keeps_bounds
        && !program.in_bounds(*tensor, index)
    {
        return program.exprs.add(expr);
    }
    let replace: HashMap<Axis, Index> = view.axes.iter().copied().zip(index.iter().cloned()).collect();
    let body = program.substitute(view.body, &replace);
    match program.exprs[body].clone() {
        Expr::Read { tensor, index, .. } => program.exprs.add(Expr::Read { tensor, index, fill: *fill }),
        _ => body,
    }
}

fn as_view(program: &mut Program, equation: &Equation) -> Option<View> {
    let [piece] = equation.pieces.as_slice() else { return None };
    let renames = matches!(&program.exprs[piece.body], Expr::Read { fill: None, .. } | Expr::Const(_));
    if !renames {
        return None;
    }
    let Piece { axes, body, .. } = by_dimension(program, equation.result, piece)?;
    let keeps_bounds = match &program.exprs[body] {
        Expr::Read { tensor, index, .. } => {
            let same_shape = program.tensors[*tensor].shape == program.tensors[equation.result].shape;
            same_shape && index.iter().zip(&axes).all(|(index, axis)| index.as_axis() == Some(*axis))
        }
        _ => false,
    };
    Some(View { axes, body, keeps_bounds })
}

/// The piece with one axis a dimension, where its axes are the digits of the dimensions.
fn by_dimension(program: &mut Program, result: Tensor, piece: &Piece) -> Option<Piece> {
    let shape = program.tensors[result].shape.clone();
    let mut replace = HashMap::default();
    let mut axes = Vec::new();
    for (at, extent) in piece.at.iter().zip(shape) {
        let whole = program.axis("j", extent);
        let mut weight = 1;
        let mut terms = at.terms().to_vec();
        terms.sort_by_key(|(_, coefficient)| *coefficient);
        for (atom, coefficient) in terms {
            let Atom::Axis(axis) = atom else { return None };
            if coefficient != weight {
                return None;
            }
            let digits = program.axes[axis].extent;
            let digit = Index::from(whole).div(weight, &program.axes).rem(digits, &program.axes);
            replace.insert(axis, digit);
            weight *= digits;
        }
        if at.constant() != 0 || weight != extent {
            return None;
        }
        axes.push(whole);
    }
    let single = piece.axes.iter().filter(|axis| !replace.contains_key(axis)).copied().collect::<Vec<_>>();
    replace.extend(single.into_iter().map(|axis| (axis, Index::from(0))));
    let body = program.substitute(piece.body, &replace);
    let at = axes.iter().map(|axis| Index::from(*axis)).collect();
    Some(Piece { axes, at, body })
}
