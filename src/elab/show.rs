//! Types and short expressions as messages and documentation show them.

use crate::syntax::ast::{Arg, BinaryOp, Call, Expr, ExprKind, TypeExpr, TypeKind};

/// A type as it was declared: `f32[N, C, H, W]`.
pub fn show_declared(ty: &TypeExpr) -> String {
    match &ty.kind {
        TypeKind::Named(name) => name.clone(),
        TypeKind::Tensor { dtype, dims: None } => dtype.to_string(),
        TypeKind::Tensor { dtype, dims: Some(dims) } => format!("{dtype}[{}]", show_all(dims)),
    }
}

/// An expression in one line; what is never part of a type or a default is shortened to `...`.
pub fn show_expr(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number { value, .. } => value.to_string(),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Infinity => "inf".into(),
        ExprKind::String(text) => format!("\"{text}\""),
        ExprKind::Name(name) => name.clone(),
        ExprKind::List(items) => format!("[{}]", show_args(items)),
        ExprKind::Call(call) => show_call(call),
        ExprKind::Index { base, indices } => format!("{}[{}]", show_expr(base), show_all(indices)),
        ExprKind::Field { base, name } => format!("{}.{}", show_expr(base), name.text),
        ExprKind::Unary { op, operand } => format!("{}{}", op.sign(), show_operand(operand, 9)),
        ExprKind::Binary { op, left, right } => {
            let level = precedence(*op);
            format!("{} {} {}", show_operand(left, level), op.sign(), show_operand(right, level + 1))
        }
        ExprKind::Pipe { .. }
        | ExprKind::As { .. }
        | ExprKind::Fill { .. }
        | ExprKind::Reduce { .. }
        | ExprKind::If(_) => "...".into(),
    }
}

fn show_call(call: &Call) -> String {
    format!("{}({})", call.callee.text, show_args(&call.args))
}

fn show_args(args: &[Arg]) -> String {
    let texts = args.iter().map(|arg| match &arg.name {
        Some(name) => format!("{}={}", name.text, show_expr(&arg.value)),
        None => show_expr(&arg.value),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn show_all(exprs: &[Expr]) -> String {
    exprs.iter().map(show_expr).collect::<Vec<_>>().join(", ")
}

/// An operand, in parentheses where it binds less than its place needs.
fn show_operand(expr: &Expr, level: u8) -> String {
    match &expr.kind {
        ExprKind::Binary { op, .. } if precedence(*op) < level => format!("({})", show_expr(expr)),
        _ => show_expr(expr),
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
