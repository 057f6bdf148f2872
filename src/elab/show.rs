//! Types and short expressions as messages and documentation show them.

use super::value::Value;
use crate::syntax::ast::{Arg, BinaryOp, Expr, ExprKind, TypeExpr, TypeKind};

/// A type as it was declared: `f32[N, C, H, W]`.
pub fn show_declared(ty: &TypeExpr) -> String {
    match &ty.kind {
        TypeKind::Named(name) => name.clone(),
        TypeKind::Tensor { dtype, dims: None } => dtype.to_string(),
        TypeKind::Tensor { dtype, dims: Some(dims) } => {
            format!("{dtype}[{}]", Shown { value: &|_| None }.all(dims))
        }
    }
}

/// An expression in one line; what is never part of a type or a default is shortened to `...`.
pub fn show_expr(expr: &Expr) -> String {
    Shown { value: &|_| None }.expr(expr)
}

/// Like [`show_expr`], with their values in place of the names that have one.
pub fn show_values(expr: &Expr, value: &dyn Fn(&str) -> Option<Value>) -> String {
    Shown { value }.expr(expr)
}

struct Shown<'a> {
    value: &'a dyn Fn(&str) -> Option<Value>,
}

impl Shown<'_> {
    fn expr(&self, expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Number { value, .. } => value.to_string(),
            ExprKind::Bool(value) => value.to_string(),
            ExprKind::Infinity => "inf".into(),
            ExprKind::String(text) => format!("\"{text}\""),
            ExprKind::Name(name) => (self.value)(name).map_or(name.clone(), |value| value.to_string()),
            ExprKind::List(items) => format!("[{}]", self.args(items)),
            ExprKind::Call(call) => format!("{}({})", call.callee.text, self.args(&call.args)),
            ExprKind::Index { base, indices } => format!("{}[{}]", self.expr(base), self.all(indices)),
            ExprKind::Field { base, name } => format!("{}.{}", self.expr(base), name.text),
            ExprKind::Unary { op, operand } => format!("{}{}", op.sign(), self.operand(operand, 9)),
            ExprKind::Binary { op, left, right } => {
                let (level, gap) = (precedence(*op), if precedence(*op) == 5 { "" } else { " " });
                let (left, right) = (self.operand(left, level), self.operand(right, level + 1));
                format!("{left}{gap}{}{gap}{right}", op.sign())
            }
            ExprKind::Pipe { .. }
            | ExprKind::As { .. }
            | ExprKind::Fill { .. }
            | ExprKind::Reduce { .. }
            | ExprKind::If(_) => "...".into(),
        }
    }

    fn args(&self, args: &[Arg]) -> String {
        let texts = args.iter().map(|arg| match &arg.name {
            Some(name) => format!("{}={}", name.text, self.expr(&arg.value)),
            None => self.expr(&arg.value),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    fn all(&self, exprs: &[Expr]) -> String {
        exprs.iter().map(|expr| self.expr(expr)).collect::<Vec<_>>().join(", ")
    }

    /// An operand, in parentheses where it binds less than its place needs.
    fn operand(&self, expr: &Expr, level: u8) -> String {
        match &expr.kind {
            ExprKind::Binary { op, .. } if precedence(*op) < level => format!("({})", self.expr(expr)),
            _ => self.expr(expr),
        }
    }
}

fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And => 2,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 5,
    }
}
