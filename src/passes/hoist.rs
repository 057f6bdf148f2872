//! Hoisting: what is dear and the same for many elements is computed once, in an equation of its own.
//!
//! `(x[n, c] - mean[c]) * rsqrt(variance[c] + eps)` takes a square root and a division for every element, and all
//! elements of a channel take the same one. A part with such an operation that varies over few of its equation's axes
//! becomes a small tensor. Its operations and their order stay, so no bit of a result changes.

use crate::base::hash::HashMap;

use crate::te::{Axis, Binary, DType, Expr, ExprId, Index, Program, Tensor, Unary};

/// A part of its own must serve at least so many elements: reading it back is not free.
const FEWEST_READERS: i64 = 8;

/// Hoists out of all equations.
pub fn run(program: &mut Program) {
    for mut equation in std::mem::take(&mut program.equations) {
        for piece in &mut equation.pieces {
            let points = points(program, &piece.axes);
            let touched = program.reads(piece.body).into_iter().chain([equation.result]);
            let most = touched.map(|tensor| program.tensors[tensor].len()).max().unwrap_or(0) as i64;
            let mut hoisting = Hoisting { program, of: equation.result, most, done: HashMap::default() };
            piece.body = hoisting.rewritten(piece.body, points);
        }
        program.equations.push(equation);
    }
}

struct Hoisting<'a> {
    program: &'a mut Program,
    /// What the equations that are made are parts of.
    of: Tensor,
    /// A part with more elements than the largest tensor that the equation touches anyhow is computed in place: it
    /// would take more memory than the model asks for.
    most: i64,
    done: HashMap<ExprId, ExprId>,
}

impl Hoisting<'_> {
    /// An expression that is evaluated at so many points, with its fixed parts read from elsewhere.
    fn rewritten(&mut self, id: ExprId, evaluated: i64) -> ExprId {
        if let Some(done) = self.done.get(&id) {
            return *done;
        }
        let new = match self.is_worth_it(id, evaluated) {
            true => self.equation(id),
            false => {
                let expr = self.program.exprs[id].clone();
                let evaluated = match &expr {
                    Expr::Reduce { axes, .. } => evaluated * points(self.program, axes),
                    _ => evaluated,
                };
                let expr = expr.map_operands(&mut |operand| self.rewritten(operand, evaluated));
                self.program.exprs.add(expr)
            }
        };
        self.done.insert(id, new);
        new
    }

    fn is_worth_it(&self, id: ExprId, evaluated: i64) -> bool {
        let is_small = || {
            let axes: Vec<Axis> = self.program.free_axes(id).into_iter().collect();
            let elements = points(self.program, &axes);
            elements <= self.most && elements * FEWEST_READERS <= evaluated
        };
        is_number(&self.program.exprs[id])
            && is_small()
            && self.is_expensive(id)
            && (planted!("passes.hoist.defined") || self.is_defined_everywhere(id))
    }

    /// Whether an operation of many instructions is among its parts, and no reduction, which is hoisted whole if at all.
    fn is_expensive(&self, id: ExprId) -> bool {
        let (mut expensive, mut reduces) = (false, false);
        self.program.for_each_expr(id, &mut |part| match &self.program.exprs[part] {
            Expr::Unary(op, _) => {
                expensive |= !matches!(op, Unary::Neg | Unary::Abs | Unary::Floor | Unary::Not)
            }
            Expr::Binary(op, ..) => expensive |= matches!(op, Binary::Div | Binary::Pow),
            Expr::Uniform { .. } => expensive = true,
            Expr::Reduce { .. } => reduces = true,
            Expr::Const(_) | Expr::Number(_) | Expr::Read { .. } | Expr::Select(..) | Expr::Detach(_) => {}
        });
        expensive && !reduces
    }

    /// Whether all reads are in bounds at every point: a condition around the part may have seen to that.
    fn is_defined_everywhere(&self, id: ExprId) -> bool {
        let mut inside = true;
        self.program.for_each_expr(id, &mut |part| {
            if let Expr::Read { tensor, index, fill: None } = &self.program.exprs[part] {
                inside &= self.program.in_bounds(*tensor, index);
            }
        });
        inside
    }

    /// Defines a tensor of an expression's values and reads it.
    fn equation(&mut self, id: ExprId) -> ExprId {
        let program = &mut *self.program;
        let axes: Vec<Axis> = program.free_axes(id).into_iter().collect();
        let shape = axes.iter().map(|axis| program.axes[*axis].extent).collect();
        let tensor = program.derived(self.of, "fixed", DType::F32, shape);
        let own: Vec<Axis> = axes.iter().map(|axis| program.copy_axis(*axis)).collect();
        let replace = axes.iter().copied().zip(own.iter().map(|axis| Index::from(*axis))).collect();
        let body = program.substitute(id, &replace);
        program.define(tensor, own, body);
        program.exprs.read(tensor, axes.into_iter().map(Index::from).collect())
    }
}

/// Whether an expression is a number and no truth value.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Unary(op, _) => *op != Unary::Not,
        Expr::Binary(op, ..) => {
            use Binary::*;
            matches!(op, Add | Sub | Mul | Div | Pow | Min | Max)
        }
        Expr::Uniform { .. } => true,
        _ => false,
    }
}

fn points(program: &Program, axes: &[Axis]) -> i64 {
    axes.iter().map(|axis| program.axes[*axis].extent).product()
}
