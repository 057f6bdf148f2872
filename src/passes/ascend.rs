//! Ascending sums: a sum walks forwards through what it reads most of.
//!
//! The gradient of a convolution reads `dy[h + p - u] * w[u]`, backwards through the pictures; machines fetch ahead
//! better when addresses grow. Running the axis from its end, `dy[h + p - (K - 1) + u] * w[K - 1 - u]`, is the same
//! sum in the opposite order.

use crate::base::hash::HashMap;

use crate::te::{Axis, Expr, ExprId, Index, Program, Reduction};

/// Turns the axes of all sums round that run backwards.
pub fn run(program: &mut Program) {
    for mut equation in std::mem::take(&mut program.equations) {
        for piece in &mut equation.pieces {
            piece.body = ascending(program, piece.body);
        }
        program.equations.push(equation);
    }
}

fn ascending(program: &mut Program, id: ExprId) -> ExprId {
    let Expr::Reduce { op: Reduction::Sum, axes, body } = program.exprs[id].clone() else { return id };
    let turned = axes.iter().filter(|axis| runs_backwards(program, body, **axis));
    let from_end = |axis: &Axis| {
        let last = program.axes[*axis].extent - 1;
        (*axis, Index::from(last).sub(&Index::from(*axis), &program.axes))
    };
    let replace: HashMap<Axis, Index> = turned.map(from_end).collect();
    if replace.is_empty() {
        return id;
    }
    let body = program.substitute(body, &replace);
    program.exprs.reduce(Reduction::Sum, axes, body)
}

/// Whether an axis walks backwards through more elements than it walks forwards through.
fn runs_backwards(program: &Program, body: ExprId, axis: Axis) -> bool {
    let mut balance = 0;
    program.for_each_expr(body, &mut |id| {
        if let Expr::Read { tensor, index, .. } = &program.exprs[id] {
            let elements = program.tensors[*tensor].len() as i64;
            balance += index.iter().map(|index| index.coefficient(axis).signum() * elements).sum::<i64>();
        }
    });
    balance < 0
}
