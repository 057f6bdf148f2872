//! Operations: scalar functions, arithmetic, comparisons and choices of an equation as loop expressions.
//!
//! Operands of different kinds meet here: truth values and integers become what the operation takes, scalars get the
//! lanes of the other operand.

use super::{Scope, TypedExpr, Writer};
use crate::loops::math::Emitter;
use crate::loops::{Binary, DType, Expr, Scalar, Type, Unary};
use crate::te::{self, ExprId, Index, Tensor};

impl Writer<'_> {
    pub(super) fn unary(&mut self, scope: &mut Scope, op: te::Unary, x: ExprId) -> TypedExpr {
        let value = self.value(scope, x);
        if op == te::Unary::Not {
            let value = self.as_truth(value);
            return TypedExpr { ty: value.ty, expr: Expr::Unary(Unary::Not, Box::new(value.expr)) };
        }
        let value = self.as_float(value);
        let value = self.bind(scope, "x", value);
        let ty = value.ty;
        let simple = |op: Unary| Expr::Unary(op, Box::new(value.expr.clone()));
        let arithmetic = self.machine.arithmetic();
        let mut emitter = Emitter::new(&mut self.function, &mut scope.statements, arithmetic);
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
        TypedExpr { expr, ty }
    }

    pub(super) fn binary(&mut self, scope: &mut Scope, op: te::Binary, x: ExprId, y: ExprId) -> TypedExpr {
        let ids = (x, y);
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
            if let Some(known) = self.compared_far(op, (ids.0, &x), (ids.1, &y)) {
                return known;
            }
            let (x, y) = self.comparable((ids.0, x), (ids.1, y));
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

    fn arithmetic(&mut self, scope: &mut Scope, op: te::Binary, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        let op = match op {
            te::Binary::Add => Binary::Add,
            te::Binary::Sub => Binary::Sub,
            te::Binary::Mul => Binary::Mul,
            te::Binary::Div => Binary::Div,
            te::Binary::Min => Binary::Min,
            te::Binary::Max => Binary::Max,
            _ => {
                let (x, y) = (self.bind(scope, "x", x), self.bind(scope, "y", y));
                let arithmetic = self.machine.arithmetic();
                let mut emitter = Emitter::new(&mut self.function, &mut scope.statements, arithmetic);
                return TypedExpr { expr: emitter.pow(x.expr, y.expr, x.ty.lanes), ty: x.ty };
            }
        };
        self.joined(op, x, y)
    }

    /// What a comparison of an integer with a whole number of more than 32 bits gives.
    fn compared_far(
        &self,
        op: Binary,
        x: (ExprId, &TypedExpr),
        y: (ExprId, &TypedExpr),
    ) -> Option<TypedExpr> {
        let far = |(id, _): (ExprId, &TypedExpr), (_, other): (ExprId, &TypedExpr)| {
            let value = self.program().exprs.as_constant(id)?;
            let beyond = value < f64::from(i32::MIN) || value > f64::from(i32::MAX);
            (other.ty.scalar == Scalar::I32 && beyond).then_some(value > 0.0)
        };
        let is_less = match (far(x, y), far(y, x)) {
            (Some(above), None) => !above,
            (None, Some(above)) => above,
            _ => return None,
        };
        let truth = match op {
            Binary::Lt | Binary::Le => is_less,
            Binary::Gt | Binary::Ge => !is_less,
            _ => op == Binary::Ne,
        };
        Some(TypedExpr { expr: Expr::Bool(truth), ty: Type::BOOL })
    }

    /// Two values of one kind: both integers where they can be, as truth values are, else both floats.
    fn comparable(
        &mut self,
        (a, x): (ExprId, TypedExpr),
        (b, y): (ExprId, TypedExpr),
    ) -> (TypedExpr, TypedExpr) {
        let number = |writer: &mut Self, value: TypedExpr| match value.ty.scalar {
            Scalar::Bool => writer.as_integer(value),
            Scalar::F32 | Scalar::I32 => value,
        };
        let (x, y) = (number(self, x), number(self, y));
        let (x, y) = (self.integral(a, x, &y), y);
        let (y, x) = (self.integral(b, y, &x), x);
        if x.ty.scalar == y.ty.scalar { (x, y) } else { (self.as_float(x), self.as_float(y)) }
    }

    pub(super) fn same_lanes(
        &mut self,
        scope: &mut Scope,
        x: TypedExpr,
        y: TypedExpr,
    ) -> (TypedExpr, TypedExpr) {
        let lanes = x.ty.lanes.max(y.ty.lanes);
        let (x, y) = (self.bind(scope, "x", x), self.bind(scope, "y", y));
        (self.shared_splat(scope, x, lanes), self.shared_splat(scope, y, lanes))
    }

    pub(super) fn select(&mut self, scope: &mut Scope, condition: ExprId, x: ExprId, y: ExprId) -> TypedExpr {
        if let te::Expr::Binary(op @ (te::Binary::Lt | te::Binary::Gt), a, b) =
            self.program().exprs[condition]
            && (a, b) == (x, y)
            && let Some(extreme) = self.extreme(scope, op, x, y)
        {
            return extreme;
        }
        let condition = self.value(scope, condition);
        let (a, b) = (self.value(scope, x), self.value(scope, y));
        let (x, y) = if a.ty.scalar == b.ty.scalar { (a, b) } else { self.comparable((x, a), (y, b)) };
        self.select_values(scope, condition, x, y)
    }

    /// A choice between two values.
    pub(super) fn select_values(
        &mut self,
        scope: &mut Scope,
        condition: TypedExpr,
        x: TypedExpr,
        y: TypedExpr,
    ) -> TypedExpr {
        let condition = self.as_truth(condition);
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
    fn extreme(&mut self, scope: &mut Scope, op: te::Binary, x: ExprId, y: ExprId) -> Option<TypedExpr> {
        let (x, y) = (self.value(scope, x), self.value(scope, y));
        if (x.ty.scalar, y.ty.scalar) != (Scalar::F32, Scalar::F32) {
            return None;
        }
        let (x, y) = self.same_lanes(scope, x, y);
        let op = if op == te::Binary::Lt { Binary::Lt } else { Binary::Gt };
        let condition = self.compared(op, x.clone(), y.clone());
        Some(self.chosen(condition, x, y))
    }

    /// The value that an equation gives an element of its result: an integer where the result holds integers, which
    /// never goes through a float if it is made of indices and constants.
    pub(super) fn result(&mut self, scope: &mut Scope, result: Tensor, body: ExprId) -> TypedExpr {
        match self.program().tensors[result].dtype {
            DType::I32 | DType::U8 => self.integer_element(scope, body),
            DType::F32 | DType::Bool => self.value(scope, body),
        }
    }

    fn integer_element(&mut self, scope: &mut Scope, id: ExprId) -> TypedExpr {
        if let Some(value) = self.constant_integer(id) {
            return TypedExpr { expr: Expr::Int(value), ty: Type::I32 };
        }
        match self.program().exprs[id] {
            te::Expr::Select(condition, x, y) if self.program().decided(condition).is_none() => {
                let condition = self.value(scope, condition);
                let (x, y) = (self.integer_element(scope, x), self.integer_element(scope, y));
                self.select_values(scope, condition, x, y)
            }
            _ => {
                let value = self.value(scope, id);
                self.as_integer(value)
            }
        }
    }

    /// A constant that is an integer of 32 bits; -0 is none.
    fn constant_integer(&self, id: ExprId) -> Option<i32> {
        let value = self.program().exprs.as_constant(id)?;
        let whole = f64::from(value as i32);
        (whole.to_bits() == value.to_bits()).then_some(value as i32)
    }

    /// A whole constant as an integer where it meets one.
    fn integral(&self, id: ExprId, value: TypedExpr, other: &TypedExpr) -> TypedExpr {
        match self.constant_integer(id) {
            Some(whole) if other.ty.scalar == Scalar::I32 => {
                TypedExpr { expr: Expr::Int(whole), ty: Type::I32 }
            }
            _ => value,
        }
    }

    /// Tests that say whether an index lies in `0..extent`, exact for any index.
    pub(super) fn inside(&mut self, index: &Index, extent: i64) -> [Expr; 2] {
        let axes = &self.program().axes;
        let (low, high) = index.range(axes);
        if let (Ok(_), Ok(_), Ok(bound)) = (i32::try_from(low), i32::try_from(high), i32::try_from(extent)) {
            let number = self.number(index, 1).expr;
            let low = Expr::Binary(Binary::Ge, Box::new(number.clone()), Box::new(Expr::Int(0)));
            let high = Expr::Binary(Binary::Lt, Box::new(number), Box::new(Expr::Int(bound)));
            return [low, high];
        }
        let sign = |x: &Index| x.max_with(&Index::from(-1), axes).min_with(&Index::from(0), axes);
        let (low, high) = (sign(index), sign(&index.offset(-extent)));
        let (low, high) = (self.number(&low, 1).expr, self.number(&high, 1).expr);
        let test = |op, number| Expr::Binary(op, Box::new(number), Box::new(Expr::Int(0)));
        [test(Binary::Ge, low), test(Binary::Lt, high)]
    }
}
