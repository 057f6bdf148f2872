//! Writing expressions: from scalar expressions at a point to values in registers.
//!
//! Every load and operation is bound to a register once a scope, so what several points of a tile share is computed
//! once. A value that does not vary by lane stays a scalar until it meets a vector.

mod operations;
mod whole;

use crate::base::hash::HashMap;

use super::nest::LoopNest;
use super::{Machine, ScheduleInput};
use crate::kernels::{Kernels, Layouts};
use crate::loops::{
    AccessMode, Axis as LoopAxis, Binary, Buffer, BufferData, DType, Expr, Function, Local, LocalData,
    Scalar, Stmt, Type, Unary,
};
use crate::te::{self, Axis, ExprId, Index, Program, Real, Tensor};

/// An expression and its type; a register or a literal once it is bound.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedExpr {
    pub expr: Expr,
    pub ty: Type,
}

/// Statements in the making, and what their registers hold.
#[derive(Default)]
pub struct Scope {
    pub statements: Vec<Stmt>,
    memo: HashMap<ExprId, TypedExpr>,
    /// The same of those that are computed in `i32`.
    whole: HashMap<ExprId, TypedExpr>,
    splats: HashMap<Local, TypedExpr>,
    /// Results that this point has defined.
    defined: HashMap<Tensor, TypedExpr>,
    /// Random numbers, which take long to draw: points that share one draw it once.
    drawn: HashMap<ExprId, TypedExpr>,
}

impl Scope {
    /// Starts the next point: results of the last one are no longer at hand.
    pub fn next_point(&mut self) {
        self.defined.clear();
    }

    /// Starts the next point, which shares nothing with the last one that is worth a register.
    pub fn forget(&mut self) {
        self.next_point();
        self.memo.clear();
        self.whole.clear();
        self.splats.clear();
    }
}

/// Writes one function.
pub struct Writer<'a> {
    kernels: &'a Kernels,
    layouts: &'a Layouts,
    machine: &'a Machine,
    /// The kernels' expressions over the axes of the schedule. Those of the points of a register tile are added.
    program: Program,
    lane: Option<Axis>,
    function: Function,
    axes: HashMap<Axis, LoopAxis>,
    buffers: HashMap<Tensor, Buffer>,
    order: Vec<Tensor>,
}

impl<'a> Writer<'a> {
    /// A writer of the function of a scheduled nest.
    pub fn new(input: ScheduleInput<'a>, sched: &LoopNest) -> Writer<'a> {
        let ScheduleInput { kernels, layouts, machine, .. } = input;
        Writer {
            kernels,
            layouts,
            machine,
            program: kernels.program.workspace(sched.axes.clone()),
            lane: sched.lane.as_ref().map(|lane| lane.axis),
            function: Function::default(),
            axes: HashMap::default(),
            buffers: HashMap::default(),
            order: Vec::new(),
        }
    }

    /// The function and its buffers' tensors.
    pub fn finish(mut self, body: Vec<Stmt>) -> (Function, Vec<Tensor>) {
        self.function.body = body;
        (self.function, self.order)
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    pub fn extent(&self, axis: Axis) -> i64 {
        self.program().axes[axis].extent
    }

    pub fn lanes(&self) -> u32 {
        self.lane.map_or(1, |lane| self.extent(lane) as u32)
    }

    /// An expression at a point.
    pub fn at_point(&mut self, body: ExprId, replace: &HashMap<Axis, Index>) -> ExprId {
        self.program.substitute_and_decide(body, replace)
    }

    /// The function's axis for one of the program.
    pub fn axis(&mut self, axis: Axis) -> LoopAxis {
        let data = &self.program.axes[axis];
        let function = &mut self.function;
        *self.axes.entry(axis).or_insert_with(|| function.axes.push(data.clone()))
    }

    /// An index in the function's axes, at lane 0, and its step from lane to lane.
    fn index(&mut self, index: &Index) -> (Index, i64) {
        let stride = self.lane.map_or(0, |lane| index.coefficient(lane));
        index.for_each_axis(&mut |axis| {
            if Some(axis) != self.lane {
                self.axis(axis);
            }
        });
        let at_first = |axis: Axis| {
            if Some(axis) == self.lane { Some(Index::from(0)) } else { Some(Index::from(self.axes[&axis])) }
        };
        let first = index.substitute(&|axis| at_first(axis), &self.function.axes);
        if let Some(lane) = self.lane {
            let axes = &self.program().axes;
            let rest = index.add_scaled(&Index::from(lane), -stride, axes);
            assert!(!rest.mentions(lane), "{index:?} does not move by a constant from lane to lane");
        }
        (first, stride)
    }

    fn buffer(&mut self, tensor: Tensor, access: AccessMode) -> Buffer {
        if let Some(buffer) = self.buffers.get(&tensor) {
            let data = &mut self.function.buffers[*buffer];
            if data.access != access {
                data.access = AccessMode::ReadWrite;
            }
            return *buffer;
        }
        let data = &self.program.tensors[tensor];
        let len = self.layouts[&tensor].len();
        let buffer = self.function.buffers.push(BufferData {
            name: data.name.clone(),
            dtype: data.dtype,
            len,
            access,
        });
        self.buffers.insert(tensor, buffer);
        self.order.push(tensor);
        buffer
    }

    /// A register that is set once.
    pub fn bind(&mut self, scope: &mut Scope, name: &str, value: TypedExpr) -> TypedExpr {
        match value.expr {
            Expr::Local(_) | Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) => value,
            _ => self.variable(scope, name, value),
        }
    }

    /// A register that may be set again.
    pub fn variable(&mut self, scope: &mut Scope, name: &str, value: TypedExpr) -> TypedExpr {
        let local = self.function.locals.push(LocalData { name: name.into(), ty: value.ty });
        scope.statements.push(Stmt::Set { local, value: value.expr });
        TypedExpr { expr: Expr::Local(local), ty: value.ty }
    }

    /// Sets a register again.
    pub fn assign(&mut self, scope: &mut Scope, variable: &TypedExpr, value: TypedExpr) {
        if let Expr::Local(local) = variable.expr {
            scope.statements.push(Stmt::Set { local, value: value.expr });
        }
    }

    /// An `f32` constant in every lane.
    pub fn constant(&mut self, value: f64, lanes: u32) -> TypedExpr {
        let scalar =
            TypedExpr { expr: Expr::Float(value as f32), ty: Type { scalar: Scalar::F32, lanes: 1 } };
        self.splat(scalar, lanes)
    }

    /// A scalar in every lane; a vector stays.
    pub fn splat(&mut self, value: TypedExpr, lanes: u32) -> TypedExpr {
        if value.ty.lanes == lanes {
            return value;
        }
        let expr = Expr::Splat(Box::new(value.expr), lanes);
        TypedExpr { expr, ty: Type { scalar: value.ty.scalar, lanes } }
    }

    /// A scalar in every lane, bound once a scope.
    fn shared_splat(&mut self, scope: &mut Scope, value: TypedExpr, lanes: u32) -> TypedExpr {
        let Expr::Local(local) = value.expr else { return self.splat(value, lanes) };
        if value.ty.lanes == lanes {
            return value;
        }
        if let Some(done) = scope.splats.get(&local) {
            return done.clone();
        }
        let splat = self.splat(value, lanes);
        let splat = self.bind(scope, "s", splat);
        scope.splats.insert(local, splat.clone());
        splat
    }

    /// The factors, where an expression is a product.
    pub fn as_product(&self, body: ExprId) -> Option<(ExprId, ExprId)> {
        match &self.program().exprs[body] {
            te::Expr::Binary(te::Binary::Mul, x, y) => Some((*x, *y)),
            _ => None,
        }
    }

    /// `x * y + z`, fused where the machine can.
    pub fn multiply_add(&mut self, x: TypedExpr, y: TypedExpr, z: TypedExpr) -> TypedExpr {
        let ty = z.ty;
        let (x, y, z) = (Box::new(x.expr), Box::new(y.expr), Box::new(z.expr));
        let expr = if self.machine.target.fma() {
            Expr::Fma(x, y, z)
        } else {
            Expr::Binary(Binary::Add, z, Box::new(Expr::Binary(Binary::Mul, x, y)))
        };
        TypedExpr { expr, ty }
    }

    /// A function of two values of one type.
    pub fn joined(&mut self, op: Binary, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        let ty = x.ty;
        TypedExpr { expr: Expr::Binary(op, Box::new(x.expr), Box::new(y.expr)), ty }
    }

    /// A comparison of two values of one type.
    pub fn compared(&mut self, op: Binary, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        let ty = Type { scalar: Scalar::Bool, lanes: x.ty.lanes };
        TypedExpr { expr: Expr::Binary(op, Box::new(x.expr), Box::new(y.expr)), ty }
    }

    /// A connective of two truth values.
    pub fn compared_bool(&mut self, op: Binary, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        self.joined(op, x, y)
    }

    /// A choice between two values of one type; the condition has as many lanes.
    pub fn chosen(&mut self, condition: TypedExpr, x: TypedExpr, y: TypedExpr) -> TypedExpr {
        let ty = x.ty;
        let expr = Expr::Select(Box::new(condition.expr), Box::new(x.expr), Box::new(y.expr));
        TypedExpr { expr, ty }
    }

    /// An index as an `i32` value of so many lanes.
    pub fn number(&mut self, index: &Index, lanes: u32) -> TypedExpr {
        let (index, stride) = self.index(index);
        let own = if stride == 0 { 1 } else { self.lanes() };
        let expr = Expr::Number { index, stride, lanes: own };
        let value = TypedExpr { expr, ty: Type { scalar: Scalar::I32, lanes: own } };
        self.splat(value, lanes.max(own))
    }

    /// The value where `index < extent`, else the neutral one.
    pub fn masked(
        &mut self,
        scope: &mut Scope,
        index: &Index,
        extent: i64,
        value: TypedExpr,
        neutral: f64,
    ) -> TypedExpr {
        let lanes = value.ty.lanes;
        let index = self.number(index, lanes);
        let bound = TypedExpr { expr: Expr::Int(extent as i32), ty: Type { scalar: Scalar::I32, lanes: 1 } };
        let bound = self.splat(bound, lanes);
        let exists = self.compared(Binary::Lt, index, bound);
        let exists = self.bind(scope, "exists", exists);
        let neutral = self.constant(neutral, lanes);
        self.chosen(exists, value, neutral)
    }

    /// An expression as `f32` in so many lanes.
    pub fn float(&mut self, scope: &mut Scope, id: ExprId, lanes: u32) -> TypedExpr {
        let value = self.value(scope, id);
        let value = self.as_float(value);
        let value = self.bind(scope, "x", value);
        self.shared_splat(scope, value, lanes)
    }

    fn as_float(&mut self, value: TypedExpr) -> TypedExpr {
        let lanes = value.ty.lanes;
        let ty = Type { scalar: Scalar::F32, lanes };
        match value.ty.scalar {
            Scalar::F32 => value,
            Scalar::I32 => match value.expr {
                Expr::Int(number) => TypedExpr { expr: Expr::Float(number as f32), ty },
                expr => TypedExpr { expr: Expr::Unary(Unary::ToFloat, Box::new(expr)), ty },
            },
            Scalar::Bool => {
                let (one, zero) = (self.constant(1.0, lanes), self.constant(0.0, lanes));
                self.chosen(value, one, zero)
            }
        }
    }

    fn as_integer(&mut self, value: TypedExpr) -> TypedExpr {
        let ty = Type { scalar: Scalar::I32, lanes: value.ty.lanes };
        match value.ty.scalar {
            Scalar::I32 => value,
            Scalar::F32 => TypedExpr { expr: Expr::Unary(Unary::ToInt, Box::new(value.expr)), ty },
            Scalar::Bool => {
                let number =
                    |value| TypedExpr { expr: Expr::Int(value), ty: Type { scalar: Scalar::I32, lanes: 1 } };
                let (one, zero) = (self.splat(number(1), ty.lanes), self.splat(number(0), ty.lanes));
                self.chosen(value, one, zero)
            }
        }
    }

    fn as_truth(&mut self, value: TypedExpr) -> TypedExpr {
        let ty = Type { scalar: Scalar::Bool, lanes: value.ty.lanes };
        let zero = match value.ty.scalar {
            Scalar::Bool => return value,
            Scalar::F32 => Expr::Float(0.0),
            Scalar::I32 => Expr::Int(0),
        };
        let zero =
            self.splat(TypedExpr { expr: zero, ty: Type { scalar: value.ty.scalar, lanes: 1 } }, ty.lanes);
        TypedExpr { expr: Expr::Binary(Binary::Ne, Box::new(value.expr), Box::new(zero.expr)), ty }
    }

    /// The value of an expression, computed in this scope at most once.
    pub fn value(&mut self, scope: &mut Scope, id: ExprId) -> TypedExpr {
        if let Some(done) = scope.memo.get(&id).or_else(|| scope.drawn.get(&id)) {
            return done.clone();
        }
        let value = self.computed(scope, id);
        let value = self.bind(scope, "x", value);
        let memo = match self.program().exprs[id] {
            te::Expr::Uniform { .. } => &mut scope.drawn,
            _ => &mut scope.memo,
        };
        memo.insert(id, value.clone());
        value
    }

    fn computed(&mut self, scope: &mut Scope, id: ExprId) -> TypedExpr {
        match self.program().exprs[id].clone() {
            te::Expr::Const(value) => self.constant(value.get(), 1),
            te::Expr::Number(index) => self.number(&index, 1),
            te::Expr::Read { tensor, index, fill } => match scope.defined.get(&tensor) {
                Some(value) => value.clone(),
                None => self.load(scope, tensor, &index, fill),
            },
            te::Expr::Unary(op, x) => self.unary(scope, op, x),
            te::Expr::Binary(op, x, y) => self.binary(scope, op, x, y),
            te::Expr::Select(condition, x, y) => match self.program().decided(condition) {
                Some(known) => self.value(scope, if known { x } else { y }),
                None => self.select(scope, condition, x, y),
            },
            te::Expr::Uniform { stream, element } => {
                let element = self.number(&element, 1);
                let ty = Type { scalar: Scalar::F32, lanes: element.ty.lanes };
                TypedExpr { expr: Expr::Uniform { stream, element: Box::new(element.expr) }, ty }
            }
            te::Expr::Detach(x) => self.value(scope, x),
            te::Expr::Reduce { .. } => unreachable!("normal form has reductions at the root only"),
        }
    }

    /// What a read gives outside of its tensor.
    fn filled(&mut self, tensor: Tensor, fill: Real) -> TypedExpr {
        match self.program().tensors[tensor].dtype {
            DType::F32 => self.constant(fill.get(), 1),
            DType::I32 | DType::U8 | DType::Bool => {
                let ty = Type { scalar: Scalar::I32, lanes: 1 };
                TypedExpr { expr: Expr::Int(fill.get() as i32), ty }
            }
        }
    }

    fn load(&mut self, scope: &mut Scope, tensor: Tensor, index: &[Index], fill: Option<Real>) -> TypedExpr {
        let layout = &self.layouts[&tensor];
        let axes = &self.program().axes;
        let address = layout.address(index, axes);
        let mut outside = Vec::new();
        for (at, index) in index.iter().enumerate() {
            let filled = fill.is_some()
                && (layout.fill == fill || planted!("sched.value.fill"))
                && layout.holds(at, index.range(axes));
            let (low, high) = index.range(axes);
            if let Some(fill) = fill.filter(|_| high < 0 || low >= layout.shape[at]) {
                return self.filled(tensor, fill); // No point of the loops is inside.
            }
            let inside = Some(at) == layout.lane_dim || (low >= 0 && high < layout.shape[at]);
            if fill.is_some() && !inside && !filled {
                outside.push((index.clone(), layout.shape[at]));
            }
        }
        let (address, stride) = self.index(&address);
        let lanes = if stride == 0 { 1 } else { self.lanes() };
        let buffer = self.buffer(tensor, AccessMode::Read);
        let scalar = match self.program().tensors[tensor].dtype {
            DType::F32 => Scalar::F32,
            DType::I32 | DType::U8 | DType::Bool => Scalar::I32,
        };
        let expr = Expr::Load { buffer, index: address, stride: if lanes == 1 { 0 } else { stride }, lanes };
        let value = TypedExpr { expr, ty: Type { scalar, lanes } };
        match fill {
            Some(fill) if !outside.is_empty() => self.guarded(scope, value, fill.get(), &outside),
            _ => value,
        }
    }

    /// A load only where all indices are inside, else the fill value.
    fn guarded(
        &mut self,
        scope: &mut Scope,
        value: TypedExpr,
        fill: f64,
        outside: &[(Index, i64)],
    ) -> TypedExpr {
        let scalar = match value.ty.scalar {
            Scalar::F32 => Expr::Float(fill as f32),
            Scalar::I32 | Scalar::Bool => Expr::Int(fill as i32),
        };
        let fill = TypedExpr { expr: scalar, ty: Type { scalar: value.ty.scalar, lanes: 1 } };
        let fill = self.splat(fill, value.ty.lanes);
        let result = self.variable(scope, "x", fill);
        let mut condition: Option<Expr> = None;
        for (index, extent) in outside {
            for test in self.inside(index, *extent) {
                condition = Some(match condition {
                    Some(other) => Expr::Binary(Binary::And, Box::new(other), Box::new(test)),
                    None => test,
                });
            }
        }
        if let (Some(condition), Expr::Local(local)) = (condition, &result.expr) {
            let then = vec![Stmt::Set { local: *local, value: value.expr }];
            scope.statements.push(Stmt::If { condition, then, otherwise: Vec::new() });
        }
        result
    }

    /// Gives an element of a result its value: in memory if it is stored, and for later statements of the point.
    pub fn define(&mut self, scope: &mut Scope, result: Tensor, at: &[Index], value: TypedExpr) {
        let (value, truth) = match self.program().tensors[result].dtype {
            DType::F32 => (self.as_float(value), None),
            DType::I32 | DType::U8 => (self.as_integer(value), None),
            DType::Bool => {
                let value = self.bind(scope, "y", value);
                (self.as_integer(value.clone()), Some(self.as_truth(value)))
            }
        };
        let value = self.bind(scope, "y", value);
        scope.defined.insert(result, value.clone());
        if !self.kernels.stored.contains(&result) {
            return;
        }
        // A truth value is stored as one, but whoever reads it gets an integer.
        let value = truth.unwrap_or(value);
        let address = self.layouts[&result].address(at, &self.program().axes);
        let (index, stride) = self.index(&address);
        let lanes = if stride == 0 { 1 } else { self.lanes() };
        let value = self.shared_splat(scope, value, lanes);
        let buffer = self.buffer(result, AccessMode::Write);
        let stride = if lanes == 1 { 1 } else { stride };
        scope.statements.push(Stmt::Store { buffer, index, stride, value: value.expr });
    }
}

#[cfg(test)]
mod tests;
