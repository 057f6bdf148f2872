//! Texts as trees, before their names are resolved.

use crate::te::{Binary, DType, Reduction};

/// `(x: f32[2, 3]) -> (y: f32[2]) { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    pub items: Vec<Item>,
}

/// `y: f32[2, 3]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Where it stands in the text, in bytes.
    pub offset: usize,
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<i64>,
}

/// A line of a program.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `y: f32[2, 3];`
    Declare(Tensor),
    Piece(Piece),
}

/// `y[n < 2, c < 3] = body;`, `y[n, 2*h + 1] for n < 2, h < 3 = body;` or, in a nest, `y[n, 2*h + 1] = body;`.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub offset: usize,
    pub result: String,
    pub at: Vec<At>,
    pub axes: Option<Vec<Binder>>,
    pub body: Term,
}

/// An index on the left side, with the extent of the axis that it binds, if it does.
#[derive(Clone, Debug, PartialEq)]
pub struct At {
    pub index: Index,
    pub extent: Option<i64>,
}

/// `u < 3`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binder {
    pub name: String,
    pub extent: i64,
}

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    Integer(i64),
    Axis(String),
    /// The first plus so many times the second.
    Add(Box<Index>, i64, Box<Index>),
    Scale(i64, Box<Index>),
    Div(Box<Index>, i64),
    Rem(Box<Index>, i64),
    Min(Box<Index>, Box<Index>),
    Max(Box<Index>, Box<Index>),
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    Number(f64),
    /// A minus sign before anything but a bare number.
    Negative(Box<Term>),
    Not(Box<Term>),
    Binary(Binary, Box<Term>, Box<Term>),
    Select(Box<Term>, Box<Term>, Box<Term>),
    Read {
        tensor: String,
        index: Vec<Index>,
        fill: Option<f64>,
    },
    Call {
        function: String,
        arguments: Vec<Term>,
    },
    Local(u32),
    /// `int(index)`.
    Int(Index),
    Uniform {
        stream: i64,
        element: Index,
    },
    Reduce {
        op: Reduction,
        axes: Vec<Binder>,
        body: Box<Term>,
    },
    /// `{ let $1 = a; b }`.
    Block {
        lets: Vec<(u32, Term)>,
        body: Box<Term>,
    },
    /// In parentheses.
    Group(Box<Term>),
}

impl Term {
    /// An infix operation, or a function of two numbers.
    pub fn binary(op: Binary, x: Term, y: Term) -> Term {
        Term::Binary(op, Box::new(x), Box::new(y))
    }

    /// A minus sign: part of a bare number, an operation on everything else.
    pub fn negative(self) -> Term {
        match self {
            Term::Number(value) => Term::Number(-value),
            other => Term::Negative(Box::new(other)),
        }
    }
}

/// `op` items and the graph that calls them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub ops: Vec<(String, Program)>,
    pub inputs: Vec<GraphInput>,
    pub nodes: Vec<Node>,
    pub outputs: Vec<GraphOutput>,
}

/// `v0 x: f32[8, 1, 28, 28]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// `v0`.
    pub id: String,
    pub data: Tensor,
}

/// `input v0 x: f32[8, 1, 28, 28] data;`
#[derive(Clone, Debug, PartialEq)]
pub struct GraphInput {
    pub value: Value,
    pub role: Property,
}

/// `v7 y: f32[8, 10] = linear@head(v5, v6);`
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub offset: usize,
    pub results: Vec<Value>,
    pub op: String,
    pub path: String,
    pub inputs: Vec<String>,
}

/// `output v7 prediction;`
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOutput {
    pub offset: usize,
    pub value: String,
    pub sink: Property,
}

/// A word and its arguments: `param("conv1.weight", uniform(-0.1, 0.1))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    pub offset: usize,
    pub name: String,
    pub arguments: Vec<Argument>,
}

/// An argument of a property.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    Number(f64),
    String(String),
    Property(Property),
}

/// Kernels and the layouts of their tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernels {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    pub tensors: Vec<Tensor>,
    pub stored: Vec<Stored>,
    pub kernels: Vec<Kernel>,
}

/// `stored x lanes(0, 16) halo(0, 0, 1, 1) fill(0);`
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub offset: usize,
    pub tensor: String,
    pub layout: Vec<Property>,
}

/// `kernel "y+z" { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    pub name: String,
    pub nests: Vec<Nest>,
}

/// `nest [n < 8] reduce [c < 3] windows [u < 2] { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    pub offset: usize,
    pub axes: Vec<Binder>,
    pub reduce: Vec<Binder>,
    pub windows: Vec<Binder>,
    pub statements: Vec<Piece>,
}
