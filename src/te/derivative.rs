//! Derivatives of scalar expressions: how the value changes with each read.

use std::collections::HashMap;

use super::expr::{Binary, Expr, ExprId, Unary};
use super::program::Program;

/// The partial derivative of an expression without reductions with respect to each of its reads, by the chain rule
/// from the root down. Reads without a derivative are absent.
pub fn derivatives(program: &mut Program, root: ExprId) -> HashMap<ExprId, ExprId> {
    let mut order = Vec::new();
    program.for_each_expr(root, &mut |id| order.push(id));
    let one = program.exprs.constant(1.0);
    let mut slopes = HashMap::from([(root, one)]);
    for id in order.into_iter().rev() {
        let Some(slope) = slopes.get(&id).copied() else { continue };
        for (operand, local) in local_derivatives(program, id) {
            let term = local.apply(program, slope);
            let zero = program.exprs.constant(0.0);
            let old = slopes.get(&operand).copied().unwrap_or(zero);
            let sum = program.exprs.sum(old, term);
            slopes.insert(operand, sum);
        }
    }
    let exprs = &program.exprs;
    slopes.retain(|id, slope| {
        matches!(exprs[*id], Expr::Read { .. }) && exprs.as_constant(*slope) != Some(0.0)
    });
    slopes
}

/// What an operation does to the slope that reaches it.
enum Local {
    /// Multiplies it.
    Times(ExprId),
    /// Lets it pass where a condition holds.
    Where(ExprId),
    /// Lets it pass where a condition does not hold.
    Unless(ExprId),
}

impl Local {
    fn apply(self, program: &mut Program, slope: ExprId) -> ExprId {
        let exprs = &mut program.exprs;
        let zero = exprs.constant(0.0);
        match self {
            Local::Times(factor) => exprs.product(slope, factor),
            Local::Where(condition) => exprs.choice(condition, slope, zero),
            Local::Unless(condition) => exprs.choice(condition, zero, slope),
        }
    }
}

fn local_derivatives(program: &mut Program, id: ExprId) -> Vec<(ExprId, Local)> {
    match program.exprs[id].clone() {
        Expr::Const(_) | Expr::Number(_) | Expr::Read { .. } | Expr::Uniform { .. } | Expr::Detach(_) => {
            Vec::new()
        }
        Expr::Reduce { .. } => unreachable!("an expression in normal form has no reduction inside"),
        Expr::Unary(op, x) => {
            unary(program, op, x, id).map(|slope| (x, Local::Times(slope))).into_iter().collect()
        }
        Expr::Binary(op, x, y) => binary(program, op, x, y, id),
        Expr::Select(condition, x, y) => vec![(x, Local::Where(condition)), (y, Local::Unless(condition))],
    }
}

fn unary(program: &mut Program, op: Unary, x: ExprId, value: ExprId) -> Option<ExprId> {
    let exprs = &mut program.exprs;
    let one = exprs.constant(1.0);
    Some(match op {
        Unary::Neg => exprs.constant(-1.0),
        Unary::Exp => value,
        Unary::Log => exprs.quotient(one, x),
        Unary::Sqrt => {
            let half = exprs.constant(0.5);
            exprs.quotient(half, value)
        }
        Unary::Rsqrt => {
            let half = exprs.constant(-0.5);
            let square = exprs.product(value, value);
            let cube = exprs.product(square, value);
            exprs.product(half, cube)
        }
        Unary::Tanh => {
            let square = exprs.product(value, value);
            exprs.binary(Binary::Sub, one, square)
        }
        Unary::Sigmoid => {
            let rest = exprs.binary(Binary::Sub, one, value);
            exprs.product(value, rest)
        }
        Unary::Erf => {
            let scale = exprs.constant(std::f64::consts::FRAC_2_SQRT_PI);
            let square = exprs.product(x, x);
            let power = exprs.negation(square);
            let bell = exprs.unary(Unary::Exp, power);
            exprs.product(scale, bell)
        }
        Unary::Abs => {
            let (zero, minus) = (exprs.constant(0.0), exprs.constant(-1.0));
            let negative = exprs.binary(Binary::Lt, x, zero);
            let positive = exprs.binary(Binary::Gt, x, zero);
            let rest = exprs.select(negative, minus, zero);
            exprs.select(positive, one, rest)
        }
        Unary::Floor | Unary::Not => return None,
    })
}

fn binary(program: &mut Program, op: Binary, x: ExprId, y: ExprId, value: ExprId) -> Vec<(ExprId, Local)> {
    let exprs = &mut program.exprs;
    let (one, minus) = (exprs.constant(1.0), exprs.constant(-1.0));
    match op {
        Binary::Add => vec![(x, Local::Times(one)), (y, Local::Times(one))],
        Binary::Sub => vec![(x, Local::Times(one)), (y, Local::Times(minus))],
        Binary::Mul => vec![(x, Local::Times(y)), (y, Local::Times(x))],
        Binary::Div => {
            let by_x = exprs.quotient(one, y);
            let ratio = exprs.quotient(value, y);
            let by_y = exprs.negation(ratio);
            vec![(x, Local::Times(by_x)), (y, Local::Times(by_y))]
        }
        Binary::Pow => power(program, x, y, value),
        Binary::Min => {
            let first = exprs.binary(Binary::Le, x, y);
            vec![(x, Local::Where(first)), (y, Local::Unless(first))]
        }
        Binary::Max => {
            let first = exprs.binary(Binary::Ge, x, y);
            vec![(x, Local::Where(first)), (y, Local::Unless(first))]
        }
        Binary::Eq
        | Binary::Ne
        | Binary::Lt
        | Binary::Le
        | Binary::Gt
        | Binary::Ge
        | Binary::And
        | Binary::Or => Vec::new(),
    }
}

fn power(program: &mut Program, x: ExprId, y: ExprId, value: ExprId) -> Vec<(ExprId, Local)> {
    let exprs = &mut program.exprs;
    let minus = exprs.constant(-1.0);
    let lower = exprs.sum(y, minus);
    let lowered = exprs.binary(Binary::Pow, x, lower);
    let by_x = exprs.product(y, lowered);
    if exprs.as_constant(y).is_some() {
        return vec![(x, Local::Times(by_x))];
    }
    let logarithm = exprs.unary(Unary::Log, x);
    let by_y = exprs.product(value, logarithm);
    vec![(x, Local::Times(by_x)), (y, Local::Times(by_y))]
}
