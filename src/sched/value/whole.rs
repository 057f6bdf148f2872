//! Whole numbers that `f32` may not hold: an integer result whose expression may go beyond them is computed in `i32`,
//! which wraps around at its ends, and so are its sums; all others stay as they are.

use super::{Scope, TypedExpr, Writer};
use crate::loops::{Binary, Expr, Scalar, Type, Unary};
use crate::te::whole::is_beyond;
use crate::te::{self, ExprId, Tensor};

impl Writer<'_> {
    /// The value of a result's expression: exact where the result holds integers.
    pub fn value_of_result(&mut self, scope: &mut Scope, result: Tensor, id: ExprId) -> TypedExpr {
        match is_beyond(self.program(), result, id) {
            true => self.whole(scope, id),
            false => self.result(scope, result, id),
        }
    }

    /// An `i32` constant in every lane.
    pub fn whole_constant(&mut self, value: i32, lanes: u32) -> TypedExpr {
        let value = self.integer(value);
        self.splat(value, lanes)
    }

    /// An expression as `i32` in so many lanes.
    pub fn whole_lanes(&mut self, scope: &mut Scope, id: ExprId, lanes: u32) -> TypedExpr {
        let value = self.whole(scope, id);
        self.shared_splat(scope, value, lanes)
    }

    /// The value as `i32`, computed so where it is arithmetic of integers.
    fn whole(&mut self, scope: &mut Scope, id: ExprId) -> TypedExpr {
        if let Some(done) = scope.whole.get(&id) {
            return done.clone();
        }
        let value = self.computed_whole(scope, id);
        let value = self.as_integer(value);
        let value = self.bind(scope, "w", value);
        scope.whole.insert(id, value.clone());
        value
    }

    fn computed_whole(&mut self, scope: &mut Scope, id: ExprId) -> TypedExpr {
        match self.program().exprs[id].clone() {
            te::Expr::Const(value) => self.integer(value.get() as i64 as i32),
            te::Expr::Unary(te::Unary::Neg, x) => {
                let (zero, x) = (self.integer(0), self.whole(scope, x));
                self.of_whole(scope, Binary::Sub, zero, x)
            }
            te::Expr::Unary(te::Unary::Abs, x) => {
                let (zero, x) = (self.integer(0), self.whole(scope, x));
                let negative = self.of_whole(scope, Binary::Sub, zero, x.clone());
                self.of_whole(scope, Binary::Max, x, negative)
            }
            te::Expr::Unary(te::Unary::Floor, x) => match self.program().exprs[x] {
                te::Expr::Binary(te::Binary::Div, x, y) => {
                    let (x, y) = (self.whole(scope, x), self.whole(scope, y));
                    self.floor_quotient(scope, x, y)
                }
                _ => self.whole(scope, x),
            },
            te::Expr::Binary(op, x, y) if arithmetic(op).is_some() => {
                let op = arithmetic(op).expect("it was looked up");
                let (x, y) = (self.whole(scope, x), self.whole(scope, y));
                self.of_whole(scope, op, x, y)
            }
            te::Expr::Select(condition, x, y) => {
                let condition = self.value(scope, condition);
                let (x, y) = (self.whole(scope, x), self.whole(scope, y));
                self.select_values(scope, condition, x, y)
            }
            te::Expr::Number(_)
            | te::Expr::Read { .. }
            | te::Expr::Unary(..)
            | te::Expr::Binary(..)
            | te::Expr::Reduce { .. }
            | te::Expr::Uniform { .. }
            | te::Expr::Detach(_) => self.value(scope, id),
        }
    }

    fn integer(&self, value: i32) -> TypedExpr {
        TypedExpr { expr: Expr::Int(value), ty: Type { scalar: Scalar::I32, lanes: 1 } }
    }

    fn of_whole(&mut self, scope: &mut Scope, op: Binary, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        let (x, y) = self.same_lanes(scope, x, y);
        let value = self.joined(op, x, y);
        self.bind(scope, "w", value)
    }

    /// The quotient, rounded down. A quotient of `f32` is near; what is left over says by how much it is off.
    fn floor_quotient(&mut self, scope: &mut Scope, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        let mut quotient = self.integer(0);
        let mut rest = x;
        for _ in 0..if planted!("sched.whole.quotient") { 1 } else { 3 } {
            let (a, b) = (self.as_float(rest.clone()), self.as_float(y.clone()));
            let near = self.of_whole(scope, Binary::Div, a, b);
            let near = TypedExpr { expr: Expr::Unary(Unary::Floor, Box::new(near.expr)), ty: near.ty };
            let near = self.as_integer(near);
            let near = self.bind(scope, "w", near);
            let multiple = self.of_whole(scope, Binary::Mul, near.clone(), y.clone());
            rest = self.of_whole(scope, Binary::Sub, rest, multiple);
            quotient = self.of_whole(scope, Binary::Add, quotient, near);
        }
        quotient
    }
}

/// What arithmetic of integers is in the loops.
fn arithmetic(op: te::Binary) -> Option<Binary> {
    match op {
        te::Binary::Add => Some(Binary::Add),
        te::Binary::Sub => Some(Binary::Sub),
        te::Binary::Mul => Some(Binary::Mul),
        te::Binary::Min => Some(Binary::Min),
        te::Binary::Max => Some(Binary::Max),
        _ => None,
    }
}
