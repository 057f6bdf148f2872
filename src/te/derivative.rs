//! Derivatives of scalar expressions: how the value changes with each read, and where.

use crate::base::hash::HashMap;

use super::expr::{Binary, Expr, ExprId, Unary};
use super::guard::{Branch, Slope};
use super::program::Program;

/// The partial derivative of an expression without reductions with respect to each of its reads, by the chain rule
/// from the root down. Reads without a derivative are absent. Each comes with the guard under which the read counts, and
/// no factor of a branch that is not taken is in its value there.
pub fn derivatives(program: &mut Program, root: ExprId) -> HashMap<ExprId, Slope> {
    let mut order = Vec::new();
    program.for_each_expr(root, &mut |id| order.push(id));
    let one = program.exprs.constant(1.0);
    let mut reaching = HashMap::from_iter([(root, vec![Slope { guard: Vec::new(), value: one }])]);
    let mut found = HashMap::default();
    for id in order.into_iter().rev() {
        let Some(slope) = reaching.remove(&id).and_then(|slopes| program.sum_of_slopes(slopes)) else {
            continue;
        };
        for (operand, local) in local_derivatives(program, id) {
            if let Some(slope) = local.apply(program, &slope) {
                reaching.entry(operand).or_default().push(slope);
            }
        }
        if matches!(program.exprs[id], Expr::Read { .. }) {
            found.insert(id, slope);
        }
    }
    found
}

/// What an operation does to the slope that reaches it.
enum Local {
    /// Multiplies it.
    Times(ExprId),
    /// Lets it pass where a branch is taken.
    Where(Branch),
}

impl Local {
    /// The slope behind the operation; none where it is 0.
    fn apply(self, program: &mut Program, slope: &Slope) -> Option<Slope> {
        let mut slope = slope.clone();
        match self {
            Local::Times(factor) => slope.value = program.exprs.product(slope.value, factor),
            Local::Where(branch) => match program.exprs.as_constant(branch.condition) {
                Some(known) if (known != 0.0) != branch.holds => return None,
                Some(_) => {}
                None if slope.guard.contains(&branch) => {}
                None => slope.guard.push(branch),
            },
        }
        (program.exprs.as_constant(slope.value) != Some(0.0)).then_some(slope)
    }
}

/// The slopes by the operands of a choice between two.
fn choice(condition: ExprId, x: ExprId, y: ExprId) -> Vec<(ExprId, Local)> {
    let branch = |holds| Local::Where(Branch { condition, holds });
    vec![(x, branch(true)), (y, branch(false))]
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
        Expr::Select(condition, x, y) => choice(condition, x, y),
    }
}

fn unary(program: &mut Program, op: Unary, x: ExprId, value: ExprId) -> Option<ExprId> {
    let exprs = &mut program.exprs;
    let one = exprs.constant(1.0);
    Some(match op {
        Unary::Neg => exprs.constant(-1.0),
        Unary::Exp => value,
        Unary::Expm1 => exprs.unary(Unary::Exp, x),
        Unary::Log => exprs.quotient(one, x),
        Unary::Log1p => {
            let inner = exprs.sum(one, x);
            exprs.quotient(one, inner)
        }
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
        Unary::Sin => exprs.unary(Unary::Cos, x),
        Unary::Cos => {
            let sine = exprs.unary(Unary::Sin, x);
            exprs.negation(sine)
        }
        Unary::Abs => {
            let (zero, minus) = (exprs.constant(0.0), exprs.constant(-1.0));
            let negative = exprs.binary(Binary::Lt, x, zero);
            let positive = exprs.binary(Binary::Gt, x, zero);
            // 0 at 0, and no number where x is none.
            let rest = exprs.select(negative, minus, x);
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
            choice(first, x, y)
        }
        Binary::Max => {
            let wins = if planted!("te.derivative.tie") { Binary::Gt } else { Binary::Ge };
            let first = exprs.binary(wins, x, y);
            choice(first, x, y)
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

/// `y * x^(y - 1)` and `x^y * log(x)`, of which the first is 0 where `y` is and the second where `x` is 0 and `y` is not
/// negative, as in PyTorch: the limits, where the formulas give 0 times infinity.
fn power(program: &mut Program, x: ExprId, y: ExprId, value: ExprId) -> Vec<(ExprId, Local)> {
    let exprs = &mut program.exprs;
    let (minus, zero) = (exprs.constant(-1.0), exprs.constant(0.0));
    let lower = exprs.sum(y, minus);
    let lowered = exprs.binary(Binary::Pow, x, lower);
    let by_x = exprs.product(y, lowered);
    if exprs.as_constant(y).is_some() {
        return vec![(x, Local::Times(by_x))];
    }
    let is_flat = exprs.binary(Binary::Eq, y, zero);
    let by_x = exprs.select(is_flat, zero, by_x);
    let logarithm = exprs.unary(Unary::Log, x);
    let by_y = exprs.product(value, logarithm);
    let (from_zero, upwards) = (exprs.binary(Binary::Eq, x, zero), exprs.binary(Binary::Ge, y, zero));
    let stays = program.both(from_zero, upwards);
    let by_y = if planted!("te.derivative.power") { by_y } else { program.exprs.select(stays, zero, by_y) };
    vec![(x, Local::Times(by_x)), (y, Local::Times(by_y))]
}

/// Whether an expression is finite wherever its reads are.
pub fn is_polynomial(program: &Program, root: ExprId) -> bool {
    let mut polynomial = true;
    program.for_each_expr(root, &mut |id| {
        polynomial &= match &program.exprs[id] {
            Expr::Const(value) => value.get().is_finite(),
            Expr::Read { fill, .. } => fill.is_none_or(|fill| fill.get().is_finite()),
            Expr::Binary(Binary::Add | Binary::Sub | Binary::Mul, ..) | Expr::Number(_) => true,
            Expr::Unary(op, _) => *op == Unary::Neg,
            Expr::Binary(..)
            | Expr::Select(..)
            | Expr::Reduce { .. }
            | Expr::Uniform { .. }
            | Expr::Detach(_) => false,
        }
    });
    polynomial
}
