//! Sharing: what is computed twice is computed once.
//!
//! Works on canonical equations. An equation equal to an earlier one is replaced by it. A part of an equation that is
//! the whole of an earlier element-wise one over the same axes is read from there, and a test `x <= c` is answered by
//! `max(x, c)`-like results (`y = if c > x { c } else { x }` is at most `c` exactly where `x` is), so that the
//! backward pass of a rectifier needs its result only.

use crate::base::hash::{HashMap, HashSet};

use crate::te::{Axis, Binary, Equation, Expr, ExprId, Exprs, Index, Piece, Program, Tensor};

/// Shares equations and parts of them.
pub fn run(program: &mut Program) {
    let mut sharing = Sharing::default();
    let outputs: HashSet<Tensor> = program.outputs.iter().copied().collect();
    let mut kept = Vec::new();
    for mut equation in std::mem::take(&mut program.equations) {
        for piece in &mut equation.pieces {
            piece.body = sharing.rewrite(program, piece);
        }
        let dtype = program.tensors[equation.result].dtype;
        let key = (format!("{dtype}{:?}", program.tensors[equation.result].shape), equation.pieces.clone());
        if let Some(earlier) = sharing.equations.get(&key)
            && !outputs.contains(&equation.result)
        {
            sharing.same.insert(equation.result, *earlier);
            continue;
        }
        if let Some(earlier) = copied(program, &equation)
            && !outputs.contains(&equation.result)
        {
            sharing.same.insert(equation.result, earlier);
            continue;
        }
        sharing.equations.insert(key, equation.result);
        sharing.remember_parts(program, &equation);
        kept.push(equation);
    }
    program.equations = kept;
}

/// The tensor that an equation copies element by element.
fn copied(program: &Program, equation: &Equation) -> Option<Tensor> {
    let [piece] = equation.pieces.as_slice() else { return None };
    let Expr::Read { tensor, index, fill: None } = &program.exprs[piece.body] else { return None };
    let (from, to) = (&program.tensors[*tensor], &program.tensors[equation.result]);
    let same = *index == piece.at && (from.dtype, &from.shape) == (to.dtype, &to.shape);
    same.then_some(*tensor)
}

#[derive(Default)]
struct Sharing {
    equations: HashMap<(String, Vec<Piece>), Tensor>,
    /// Tensors that equal an earlier one.
    same: HashMap<Tensor, Tensor>,
    /// For an expression over these axes, what to write instead.
    parts: HashMap<(Vec<Axis>, ExprId), ExprId>,
}

impl Sharing {
    fn rewrite(&self, program: &mut Program, piece: &Piece) -> ExprId {
        program.rewrite(piece.body, &mut |program, expr| {
            let expr = match expr {
                Expr::Read { tensor, index, fill } => {
                    let tensor = self.same.get(&tensor).copied().unwrap_or(tensor);
                    Expr::Read { tensor, index, fill }
                }
                expr => expr,
            };
            let id = program.exprs.add(expr);
            self.parts.get(&(piece.axes.clone(), id)).copied().unwrap_or(id)
        })
    }

    fn remember_parts(&mut self, program: &mut Program, equation: &Equation) {
        let [piece] = equation.pieces.as_slice() else { return };
        let identity = piece.at.len() == piece.axes.len()
            && piece.at.iter().zip(&piece.axes).all(|(at, axis)| at.as_axis() == Some(*axis));
        let body = program.exprs[piece.body].clone();
        if !identity || matches!(body, Expr::Reduce { .. } | Expr::Read { .. } | Expr::Const(_)) {
            return;
        }
        let read =
            program.exprs.read(equation.result, piece.axes.iter().map(|axis| Index::from(*axis)).collect());
        self.parts.insert((piece.axes.clone(), piece.body), read);
        if let Some((op, x, bound)) = rectifier(&program.exprs, &body) {
            let (of_x, of_result) =
                (program.exprs.binary(op, x, bound), program.exprs.binary(op, read, bound));
            self.parts.insert((piece.axes.clone(), of_x), of_result);
        }
    }
}

/// The test of `x` against a constant that the result of `if a > b { a } else { b }`, or of the same with `<`, answers as
/// well as `x` does, NaN included; the constant is one side, `x` the other.
fn rectifier(exprs: &Exprs, body: &Expr) -> Option<(Binary, ExprId, ExprId)> {
    let Expr::Select(condition, then, otherwise) = *body else { return None };
    let Expr::Binary(op, a, b) = exprs[condition] else { return None };
    let reversed = match op {
        Binary::Gt => Binary::Le,
        Binary::Lt => Binary::Ge,
        _ => return None,
    };
    let is_constant = |side: ExprId| exprs.as_constant(side).is_some();
    match (then, if planted!("passes.share.rectifier") { b } else { otherwise }) == (a, b) {
        true if is_constant(b) => Some((op, a, b)),
        true if is_constant(a) => Some((reversed, b, a)),
        _ => None,
    }
}
