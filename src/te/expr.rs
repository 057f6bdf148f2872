//! Scalar expressions: what an equation computes for one element of its result.
//!
//! Expressions are pure and live in one hash-consed arena a program, so two that are equal have one id, and a part
//! that is used twice is written once. An expression is evaluated at a point: a value for every axis in scope. A
//! `Reduce` brings its own axes into scope for its body.

use cranelift_entity::{EntityRef, entity_impl};

use super::arena::Pool;
use super::index::{Axis, Index};
use super::program::Tensor;

/// An expression in the arena of its program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(u32);
entity_impl!(ExprId, "e");

/// A number that compares and hashes by its bits, so that it can stand in the arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Real(u64);

impl From<f64> for Real {
    fn from(value: f64) -> Real {
        Real(value.to_bits())
    }
}

impl Real {
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl std::fmt::Debug for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Sine and cosine are NaN from here on, where neighbouring `f32` are half a radian apart.
pub const LARGEST_ANGLE: f64 = 4_194_304.0;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unary {
    Neg,
    Exp,
    /// `e^x - 1`, which keeps the digits of small numbers.
    Expm1,
    Log,
    /// `log(1 + x)`, which keeps the digits of small numbers.
    Log1p,
    Sqrt,
    Rsqrt,
    Tanh,
    Sigmoid,
    Erf,
    /// Of radians; NaN from [`LARGEST_ANGLE`] on.
    Sin,
    /// Of radians; NaN from [`LARGEST_ANGLE`] on.
    Cos,
    Abs,
    Floor,
    /// Logical not of a truth value.
    Not,
}

impl Unary {
    /// Those that have a name as functions of real numbers.
    pub const FUNCTIONS: [Unary; 13] = [
        Unary::Exp,
        Unary::Expm1,
        Unary::Log,
        Unary::Log1p,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Erf,
        Unary::Sin,
        Unary::Cos,
        Unary::Abs,
        Unary::Floor,
    ];
}

/// A function of two numbers. Comparisons and connectives give truth values: 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    /// The smaller one; NaN if either is.
    Min,
    /// The larger one; NaN if either is.
    Max,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

/// How a reduction joins its elements, in row-major order of its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reduction {
    Sum,
    Prod,
    Max,
    Min,
    /// The row-major position of the first largest element, or of the first NaN.
    ArgMax,
    /// The row-major position of the first smallest element, or of the first NaN.
    ArgMin,
}

/// A scalar expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// A constant.
    Const(Real),
    /// An index as a number.
    Number(Index),
    /// An element of a tensor; `fill` where an index lies outside, and out of bounds is an error without it.
    Read {
        tensor: Tensor,
        index: Vec<Index>,
        fill: Option<Real>,
    },
    Unary(Unary, ExprId),
    Binary(Binary, ExprId, ExprId),
    /// The second where the first is true, else the third; the other one is not evaluated.
    Select(ExprId, ExprId, ExprId),
    /// A reduction over the box of its axes.
    Reduce {
        op: Reduction,
        axes: Vec<Axis>,
        body: ExprId,
    },
    /// A number in `[0, 1)`, drawn for this element of this stream in this step.
    Uniform {
        stream: u32,
        element: Index,
    },
    /// The value, through which no gradient passes.
    Detach(ExprId),
}

impl Expr {
    /// Calls `visit` for every operand.
    pub fn for_each_operand(&self, visit: &mut dyn FnMut(ExprId)) {
        match self {
            Expr::Const(_) | Expr::Number(_) | Expr::Read { .. } | Expr::Uniform { .. } => {}
            Expr::Unary(_, x) | Expr::Detach(x) | Expr::Reduce { body: x, .. } => visit(*x),
            Expr::Binary(_, x, y) => {
                visit(*x);
                visit(*y);
            }
            Expr::Select(c, x, y) => {
                visit(*c);
                visit(*x);
                visit(*y);
            }
        }
    }

    /// The same expression over other operands.
    pub fn map_operands(&self, map: &mut dyn FnMut(ExprId) -> ExprId) -> Expr {
        match self {
            Expr::Const(_) | Expr::Number(_) | Expr::Read { .. } | Expr::Uniform { .. } => self.clone(),
            Expr::Unary(op, x) => Expr::Unary(*op, map(*x)),
            Expr::Detach(x) => Expr::Detach(map(*x)),
            Expr::Reduce { op, axes, body } => Expr::Reduce { op: *op, axes: axes.clone(), body: map(*body) },
            Expr::Binary(op, x, y) => Expr::Binary(*op, map(*x), map(*y)),
            Expr::Select(c, x, y) => Expr::Select(map(*c), map(*x), map(*y)),
        }
    }
}

/// The hash-consed arena: the id of an expression is its place in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Exprs(Pool<Expr>);

impl std::ops::Index<ExprId> for Exprs {
    type Output = Expr;

    fn index(&self, id: ExprId) -> &Expr {
        &self.0[id.index()]
    }
}

impl Exprs {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of an expression, which is added if it is new.
    pub fn add(&mut self, expr: Expr) -> ExprId {
        ExprId::new(self.0.add(expr))
    }

    /// Makes all that there is common to these and their clones to come.
    pub fn freeze(&mut self) {
        self.0.freeze();
    }

    /// A constant.
    pub fn constant(&mut self, value: f64) -> ExprId {
        self.add(Expr::Const(value.into()))
    }

    /// A read that is in bounds.
    pub fn read(&mut self, tensor: Tensor, index: Vec<Index>) -> ExprId {
        self.add(Expr::Read { tensor, index, fill: None })
    }

    /// A function of one number.
    pub fn unary(&mut self, op: Unary, x: ExprId) -> ExprId {
        self.add(Expr::Unary(op, x))
    }

    /// A function of two numbers.
    pub fn binary(&mut self, op: Binary, x: ExprId, y: ExprId) -> ExprId {
        self.add(Expr::Binary(op, x, y))
    }

    /// A choice.
    pub fn select(&mut self, condition: ExprId, then: ExprId, otherwise: ExprId) -> ExprId {
        self.add(Expr::Select(condition, then, otherwise))
    }

    /// A reduction; over no axes it is its body.
    pub fn reduce(&mut self, op: Reduction, axes: Vec<Axis>, body: ExprId) -> ExprId {
        self.add(Expr::Reduce { op, axes, body })
    }
}
