//! Operations: scalar functions, arithmetic, comparisons and choices of an equation as loop expressions.
//!
//! Operands of different kinds meet here: truth values and integers become what the operation takes, scalars get the
//! lanes of the other operand.

use super::{Scope, Value, Writer};
use crate::loops::math::Emitter;
use crate::loops::{Binary, Expr, Scalar, Type, Unary};
use crate::te::{self, ExprId};

impl Writer<'_> {
    pub(super) fn unary(&mut self, scope: &mut Scope, op: te::Unary, x: ExprId) -> Value {
        let value = self.value(scope, x);
        if op == te::Unary::Not {
            let value = self.as_truth(value);
            return Value { ty: value.ty, expr: Expr::Unary(Unary::Not, Box::new(value.expr)) };
        }
        let value = self.as_float(value);
        let value = self.bind(scope, "x", value);
        let ty = value.ty;
        let simple = |op: Unary| Expr::Unary(op, Box::new(value.expr.clone()));
        let fma = self.machine.target.fma();
        let mut emitter = Emitter::new(&mut self.function, &mut scope.statements, fma);
        let expr = match op {
            te::Unary::Neg => simple(Unary::Neg),
            te::Unary::Abs => simple(Unary::Abs),
            te::Unary::Sqrt => simple(Unary::Sqrt),
            te::Unary::Floor => simple(Unary::Floor),
            te::Unary::Exp => emitter.exp(value.expr, ty.lanes),
            te::Unary::Expm1 => emitter.expm1(value.expr, ty.lanes),
            te::Unary::Log => emitter.log(value.expr, ty.lanes),
            te::Unary::Log1p => emitter.log1p(value.expr, ty.lanes),
            te::Unary::Rsqrt => emitter.rsqrt(value.expr, ty.lanes),
            te::Unary::Tanh => emitter.tanh(value.expr, ty.lanes),
            te::Unary::Sigmoid => emitter.sigmoid(value.expr, ty.lanes),
            te::Unary::Erf => emitter.erf(value.expr, ty.lanes),
            te::Unary::Sin => emitter.sin(value.expr, ty.lanes),
            te::Unary::Cos => emitter.cos(value.expr, ty.lanes),
            te::Unary::Not => unreachable!("handled above"),
        };
        Value { expr, ty }
    }

    pub(super) fn binary(&mut self, scope: &mut Scope, op: te::Binary, x: ExprId, y: ExprId) -> Value {
        let (x, y) = (self.value(scope, x), self.value(scope, y));
        let comparison = match op {
            te::Binary::Eq => Some(Binary::Eq),
            te::Binary::Ne => Some(Binary::Ne),
            te::Binary::Lt => Some(Binary::Lt),
            te::Binary::Le => Some(Binary::Le),
            te::Binary::Gt => Some(Binary::Gt),
            te::Binary::Ge => Some(Binary::Ge),
            _ => None,
        };
        if let Some(op) = comparison {
            let (x, y) = self.comparable(x, y);
            let (x, y) = self.same_lanes(scope, x, y);
            return self.compared(op, x, y);
        }
        if let te::Binary::And | te::Binary::Or = op {
            let (x, y) = (self.as_truth(x), self.as_truth(y));
            let (x, y) = self.same_lanes(scope, x, y);
            return self.compared_bool(if op == te::Binary::And { Binary::And } else { Binary::Or }, x, y);
        }
        let (x, y) = (self.as_float(x), self.as_float(y));
        let (x, y) = self.same_lanes(scope, x, y);
        self.arithmetic(scope, op, x, y)
    }

    fn arithmetic(&mut self, scope: &mut Scope, op: te::Binary, x: Value, y: Value) -> Value {
        let op = match op {
            te::Binary::Add => Binary::Add,
            te::Binary::Sub => Binary::Sub,
            te::Binary::Mul => Binary::Mul,
            te::Binary::Div => Binary::Div,
            te::Binary::Min => Binary::Min,
            te::Binary::Max => Binary::Max,
            _ => {
                let (x, y) = (self.bind(scope, "x", x), self.bind(scope, "y", y));
                let fma = self.machine.target.fma();
                let mut emitter = Emitter::new(&mut self.function, &mut scope.statements, fma);
                return Value { expr: emitter.pow(x.expr, y.expr, x.ty.lanes), ty: x.ty };
            }
        };
        self.joined(op, x, y)
    }

    /// Two values of one kind: both integers where they can be, else both floats.
    fn comparable(&mut self, x: Value, y: Value) -> (Value, Value) {
        let (x, y) = (integral(x, &y), y);
        let (y, x) = (integral(y, &x), x);
        if x.ty.scalar == y.ty.scalar { (x, y) } else { (self.as_float(x), self.as_float(y)) }
    }

    fn same_lanes(&mut self, scope: &mut Scope, x: Value, y: Value) -> (Value, Value) {
        let lanes = x.ty.lanes.max(y.ty.lanes);
        let (x, y) = (self.bind(scope, "x", x), self.bind(scope, "y", y));
        (self.shared_splat(scope, x, lanes), self.shared_splat(scope, y, lanes))
    }

    pub(super) fn select(&mut self, scope: &mut Scope, condition: ExprId, x: ExprId, y: ExprId) -> Value {
        if let te::Expr::Binary(op @ (te::Binary::Lt | te::Binary::Gt), a, b) =
            self.program().exprs[condition]
            && (a, b) == (x, y)
            && let Some(extreme) = self.extreme(scope, op, x, y)
        {
            return extreme;
        }
        let condition = self.value(scope, condition);
        let condition = self.as_truth(condition);
        let (x, y) = (self.value(scope, x), self.value(scope, y));
        let (x, y) = if x.ty.scalar == y.ty.scalar { (x, y) } else { (self.as_float(x), self.as_float(y)) };
        let lanes = condition.ty.lanes.max(x.ty.lanes).max(y.ty.lanes);
        let condition = self.bind(scope, "c", condition);
        let condition = self.shared_splat(scope, condition, lanes);
        let (x, y) = (self.bind(scope, "x", x), self.bind(scope, "y", y));
        let (x, y) = (self.shared_splat(scope, x, lanes), self.shared_splat(scope, y, lanes));
        self.chosen(condition, x, y)
    }

    /// `if x < y { x } else { y }` of `f32`, or the same with `>`. The comparison stays inside the choice: together they
    /// are one instruction.
    fn extreme(&mut self, scope: &mut Scope, op: te::Binary, x: ExprId, y: ExprId) -> Option<Value> {
        let (x, y) = (self.value(scope, x), self.value(scope, y));
        if (x.ty.scalar, y.ty.scalar) != (Scalar::F32, Scalar::F32) {
            return None;
        }
        let (x, y) = self.same_lanes(scope, x, y);
        let op = if op == te::Binary::Lt { Binary::Lt } else { Binary::Gt };
        let condition = self.compared(op, x.clone(), y.clone());
        Some(self.chosen(condition, x, y))
    }
}

/// A whole constant as an integer where it meets one.
fn integral(value: Value, other: &Value) -> Value {
    match value.expr {
        Expr::Float(number)
            if other.ty.scalar == Scalar::I32 && number.fract() == 0.0 && number.abs() < 1e9 =>
        {
            Value { expr: Expr::Int(number as i32), ty: Type { scalar: Scalar::I32, lanes: 1 } }
        }
        _ => value,
    }
}
