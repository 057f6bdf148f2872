//! Loop IR: what runs. Loops over constant ranges, vector and scalar registers, loads and stores.
//!
//! A [`Function`] is one kernel. Statements have effects and run in order; expressions are pure. Every value is a
//! scalar or a vector of `lanes` elements; a vector may be wider than the machine's registers, the back end then uses
//! several. Addresses are element offsets into a buffer, [`Index`]es of the loops' axes. There is no aliasing: two
//! buffers that a function uses never overlap.
//!
//! All `f32` arithmetic is IEEE single precision in the order written; `Fma` rounds once. The interpreter and native
//! code agree bit for bit.

mod bounds;
pub mod cost;
pub mod interpreter;
pub mod math;
#[cfg(test)]
mod math_tests;
pub mod motion;
pub mod parser;
pub mod pointers;
pub mod printer;
mod races;
mod text;
pub mod types;
pub mod unroll;
pub mod verifier;
pub mod visit;

use cranelift_entity::{PrimaryMap, entity_impl};

pub use crate::te::{Atom, Axes, Axis, AxisData, DType, Index};

/// A buffer that a function is given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Buffer(u32);
entity_impl!(Buffer, "b");

/// A register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Local(u32);
entity_impl!(Local, "r");

/// What a function may do with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessMode {
    Read,
    Write,
    ReadWrite,
}

/// What is known of a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BufferData {
    pub name: String,
    pub dtype: DType,
    /// In elements.
    pub len: usize,
    pub access: AccessMode,
}

/// The type of one element of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    F32,
    I32,
    Bool,
}

/// The type of a value: `lanes` is 1 for a scalar, else a power of two from 4 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub scalar: Scalar,
    pub lanes: u32,
}

/// What is known of a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalData {
    pub name: String,
    pub ty: Type,
}

/// How the iterations of a loop run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForKind {
    Serial,
    /// In any order and at once; only as the whole function, or as the whole body of another such loop
    /// ([`Function::grid`]). No point of these loops reads or writes what another one writes.
    Parallel,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `body` for every value of `axis` from 0 up to its extent.
    For { axis: Axis, kind: ForKind, body: Vec<Stmt> },
    /// Sets a register. The first one in scope declares it; a later one inside a loop or branch changes it.
    Set { local: Local, value: Expr },
    /// Element `k` of `value` goes to element `index + k * stride`. `stride` is 1 for a scalar.
    Store { buffer: Buffer, index: Index, stride: i64, value: Expr },
    /// `condition` is a scalar truth value.
    If { condition: Expr, then: Vec<Stmt>, otherwise: Vec<Stmt> },
}

/// A function of one value. Those on `f32` unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    Neg,
    Abs,
    Sqrt,
    Floor,
    /// Of a truth value.
    Not,
    /// `i32` to the nearest `f32`.
    ToFloat,
    /// `f32` to `i32`, towards zero; saturates, and NaN gives 0.
    ToInt,
    /// The bits of an `f32` as `i32`; those of a NaN are not defined beyond being a NaN's.
    ToBits,
    /// The `f32` of these bits.
    FromBits,
    /// The same `f32`; what compiles the code must not see through it: sums that are computed to be rounded stay sums.
    Fence,
}

/// A function of two values of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `f32`, or `i32` wrapping.
    Add,
    /// `f32`, or `i32` wrapping.
    Sub,
    /// `f32`, or `i32` wrapping.
    Mul,
    Div,
    /// The smaller one; NaN if either is; `min(-0, 0) = -0`.
    Min,
    /// The larger one; NaN if either is.
    Max,
    /// Comparisons of `f32` or `i32` give truth values; those with NaN are false, but for `Ne`.
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Of truth values, or the bits of `i32`.
    And,
    /// Of truth values, or the bits of `i32`.
    Or,
    /// Of `i32`, by a number from 0 to 31 that stands in the text or that axes lead to.
    Shl,
    /// The same, arithmetic.
    Shr,
}

/// How a vector's lanes are joined: pairwise by halves (lane `k` with lane `k + lanes/2`, then again).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    Sum,
    Prod,
    Max,
    Min,
}

/// A pure expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Float(f32),
    Int(i32),
    Bool(bool),
    Local(Local),
    /// `i32`: lane `k` is `index + k * stride`. `stride` is 0 for a scalar.
    Number {
        index: Index,
        stride: i64,
        lanes: u32,
    },
    /// Lane `k` is element `index + k * stride`. `u8` and `bool` buffers load as `i32`.
    Load {
        buffer: Buffer,
        index: Index,
        stride: i64,
        lanes: u32,
    },
    /// A scalar in every lane.
    Splat(Box<Expr>, u32),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `a * b + c`, rounded once.
    Fma(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Lane by lane the second where the first is true, else the third. All are evaluated.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// The lanes of a vector joined to a scalar.
    Fold(Fold, Box<Expr>),
    /// `base::philox::uniform` of the run's state, this stream and this `i32` element, lane by lane.
    Uniform {
        stream: u32,
        element: Box<Expr>,
    },
}

/// A kernel.
#[derive(Clone, Debug, Default)]
pub struct Function {
    pub name: String,
    /// The loops' axes; each is bound by one `For` at a time.
    pub axes: Axes,
    pub buffers: PrimaryMap<Buffer, BufferData>,
    pub locals: PrimaryMap<Local, LocalData>,
    pub body: Vec<Stmt>,
}

impl Function {
    /// The axes of the parallel loops, outermost first: each is the whole body of the one before.
    pub fn grid(&self) -> Vec<Axis> {
        let (mut axes, mut body) = (Vec::new(), self.body.as_slice());
        while let [Stmt::For { axis, kind: ForKind::Parallel, body: inside }] = body {
            axes.push(*axis);
            body = inside;
        }
        axes
    }

    /// Drops all names, so that functions that are equal up to names print the same text.
    pub fn forget_names(&mut self) {
        self.name.clear();
        self.axes.values_mut().for_each(|axis| axis.name = "a".into());
        self.buffers.values_mut().for_each(|buffer| buffer.name = "b".into());
        self.locals.values_mut().for_each(|local| local.name = "r".into());
    }
}

impl Expr {
    /// Visits the expressions that this one is made of, in order.
    pub fn for_each_operand<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Expr::Float(_)
            | Expr::Int(_)
            | Expr::Bool(_)
            | Expr::Local(_)
            | Expr::Number { .. }
            | Expr::Load { .. } => {}
            Expr::Splat(x, _) | Expr::Unary(_, x) | Expr::Fold(_, x) | Expr::Uniform { element: x, .. } => {
                visit(x);
            }
            Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| visit(x)),
            Expr::Fma(x, y, z) | Expr::Select(x, y, z) => [x, y, z].into_iter().for_each(|x| visit(x)),
        }
    }
    /// The same, to change them.
    pub fn for_each_operand_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        match self {
            Expr::Float(_)
            | Expr::Int(_)
            | Expr::Bool(_)
            | Expr::Local(_)
            | Expr::Number { .. }
            | Expr::Load { .. } => {}
            Expr::Splat(x, _) | Expr::Unary(_, x) | Expr::Fold(_, x) | Expr::Uniform { element: x, .. } => {
                visit(x);
            }
            Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| visit(x)),
            Expr::Fma(x, y, z) | Expr::Select(x, y, z) => [x, y, z].into_iter().for_each(|x| visit(x)),
        }
    }
}
