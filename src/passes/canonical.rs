//! Canonical form: equations that compute the same by other names become the same expression.
//!
//! The axes of every piece are replaced by shared ones, one for each position and extent, first those of the piece,
//! then those of its reduction. As expressions are hash-consed, pieces that differ in names only then have one body.
//! Constants are folded and `detach`, which has done its work, is removed, but for that of a tensor's element: it says
//! something to [`linear`](super::linear), which removes it.

use crate::base::hash::HashMap;

use crate::te::{Axis, Binary, Expr, ExprId, Exprs, Index, Piece, Program, Unary};

/// Brings all equations to canonical form.
pub fn run(program: &mut Program) {
    let mut pool = Pool::default();
    for at in 0..program.equations.len() {
        let pieces = program.equations[at].pieces.clone();
        program.equations[at].pieces = pieces.into_iter().map(|piece| pool.piece(program, piece)).collect();
    }
}

/// The shared axes.
#[derive(Default)]
struct Pool {
    axes: HashMap<(usize, i64), Axis>,
}

impl Pool {
    fn axis(&mut self, program: &mut Program, position: usize, like: Axis) -> Axis {
        let extent = program.axes[like].extent;
        *self.axes.entry((position, extent)).or_insert_with(|| program.copy_axis(like))
    }

    fn piece(&mut self, program: &mut Program, piece: Piece) -> Piece {
        let mut replace = HashMap::default();
        let mut rename = |program: &mut Program, axes: &[Axis]| -> Vec<Axis> {
            let shared = axes.iter().map(|axis| {
                let shared = self.axis(program, replace.len(), *axis);
                replace.insert(*axis, Index::from(shared));
                shared
            });
            shared.collect()
        };
        let axes = rename(program, &piece.axes);
        let body = match program.exprs[piece.body].clone() {
            Expr::Reduce { op, axes, body } => {
                let axes = rename(program, &axes);
                let body = program.substitute(body, &replace);
                let body = fold(program, body);
                program.exprs.reduce(op, axes, body)
            }
            _ => {
                let body = program.substitute(piece.body, &replace);
                fold(program, body)
            }
        };
        let at = piece.at.iter().map(|at| at.substitute(&|axis| replace.get(&axis).cloned(), &program.axes));
        Piece { at: at.collect(), axes, body }
    }
}

fn fold(program: &mut Program, root: ExprId) -> ExprId {
    program.rewrite(root, &mut |program, expr| {
        let exprs = &mut program.exprs;
        let is_zero = |exprs: &Exprs, x: ExprId| exprs.as_constant(x) == Some(0.0);
        match expr {
            Expr::Detach(x) if !matches!(exprs[x], Expr::Read { .. }) => x,
            Expr::Binary(Binary::Mul, x, y) => exprs.exact_product(x, y),
            Expr::Binary(Binary::Div, x, y) if !is_zero(exprs, x) => exprs.quotient(x, y),
            Expr::Binary(Binary::Add, x, y) => exprs.sum(x, y),
            Expr::Binary(Binary::And, x, y) => program.both(x, y),
            Expr::Unary(Unary::Neg, x) => exprs.negation(x),
            Expr::Select(condition, x, y) => {
                let condition = strict(exprs, condition, x, y);
                exprs.choice(condition, x, y)
            }
            expr => exprs.add(expr),
        }
    })
}

/// The condition of a choice between the two sides of its comparison, with the sides in the order of the branches and
/// without equality: `if x <= 0 { 0 } else { x }` takes 0 where `0 > x`. Where both are equal it does not matter which
/// is taken. So every rectifier is `if a > b { a } else { b }`, which is one instruction, with NaN where `b` is.
fn strict(exprs: &mut Exprs, condition: ExprId, x: ExprId, y: ExprId) -> ExprId {
    let Expr::Binary(op, a, b) = exprs[condition] else { return condition };
    let (same, turned) = match op {
        Binary::Lt | Binary::Le => (Binary::Lt, Binary::Gt),
        Binary::Gt | Binary::Ge => (Binary::Gt, Binary::Lt),
        _ => return condition,
    };
    match (x, y) == (a, b) {
        true => exprs.binary(same, x, y),
        false if (x, y) == (b, a) => exprs.binary(turned, x, y),
        false => condition,
    }
}
