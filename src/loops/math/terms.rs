//! Short ways to write expressions.

use crate::loops::{Binary, Expr, Unary};

/// The value of a constant, also of one in all lanes.
pub(super) fn constant(expr: &Expr) -> Option<f32> {
    match expr {
        Expr::Float(x) => Some(*x),
        Expr::Splat(x, _) => constant(x),
        _ => None,
    }
}

pub(super) fn boxed(x: Expr) -> Box<Expr> {
    Box::new(x)
}

pub(super) fn unary(op: Unary, x: Expr) -> Expr {
    Expr::Unary(op, boxed(x))
}

pub(super) fn binary(op: Binary, x: Expr, y: Expr) -> Expr {
    Expr::Binary(op, boxed(x), boxed(y))
}

pub(super) fn add(x: Expr, y: Expr) -> Expr {
    binary(Binary::Add, x, y)
}

pub(super) fn sub(x: Expr, y: Expr) -> Expr {
    binary(Binary::Sub, x, y)
}

pub(super) fn mul(x: Expr, y: Expr) -> Expr {
    binary(Binary::Mul, x, y)
}

pub(super) fn div(x: Expr, y: Expr) -> Expr {
    binary(Binary::Div, x, y)
}

pub(super) fn and(x: Expr, y: Expr) -> Expr {
    binary(Binary::And, x, y)
}

pub(super) fn or(x: Expr, y: Expr) -> Expr {
    binary(Binary::Or, x, y)
}

pub(super) fn compare(op: Binary, x: Expr, y: Expr) -> Expr {
    binary(op, x, y)
}

pub(super) fn select(condition: Expr, x: Expr, y: Expr) -> Expr {
    Expr::Select(boxed(condition), boxed(x), boxed(y))
}
