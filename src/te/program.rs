//! Programs of equations: tensors, and the equations that define them in order.

use cranelift_entity::entity_impl;

use super::arena::Arena;
use super::expr::{ExprId, Exprs};
use super::index::{Axes, Axis, AxisData, Index};

/// A tensor of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tensor(u32);
entity_impl!(Tensor, "t");

/// What a tensor comes from. What that is, is known to who made the program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(u32);
entity_impl!(Origin, "origin");

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    I32,
    U8,
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::U8 | DType::Bool => 1,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        })
    }
}

/// The tensors of a program.
pub type Tensors = Arena<Tensor, TensorData>;

/// What is known of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorData {
    /// The name in texts; not unique in ops, but in the program of a graph.
    pub name: String,
    pub dtype: DType,
    /// The extents; empty for a scalar.
    pub shape: Vec<i64>,
    /// Where that is known.
    pub origin: Option<Origin>,
}

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One box or residue class of a result: for every point of `axes`, element `at` is `body`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The axes of iteration; every one is mentioned by `at`, unless its extent is 1.
    pub axes: Vec<Axis>,
    /// Where the result is stored: one index a dimension.
    pub at: Vec<Index>,
    pub body: ExprId,
}

/// The definition of a tensor. Its pieces are disjoint and cover it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equation {
    pub result: Tensor,
    pub pieces: Vec<Piece>,
}

/// A tensor program: given the inputs, the equations define every other tensor, each after those that it reads.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub axes: Axes,
    pub exprs: Exprs,
    pub tensors: Tensors,
    /// The tensors that are given.
    pub inputs: Vec<Tensor>,
    /// In an order in which every tensor is defined before it is read.
    pub equations: Vec<Equation>,
    /// The tensors that are asked for.
    pub outputs: Vec<Tensor>,
}

impl Program {
    /// Makes all that there is common to this program and its clones to come: such a clone costs little, and what is
    /// added to one of them is not in the others.
    pub fn freeze(&mut self) {
        self.axes.freeze();
        self.exprs.freeze();
        self.tensors.freeze();
    }

    /// The same expressions and tensors without the equations, for whoever adds expressions over these axes; they begin
    /// with those of this program.
    pub fn workspace(&self, axes: Axes) -> Program {
        let (exprs, tensors) = (self.exprs.clone(), self.tensors.clone());
        Program { axes, exprs, tensors, ..Program::default() }
    }

    /// A new axis.
    pub fn axis(&mut self, name: impl Into<String>, extent: i64) -> Axis {
        self.axes.push(AxisData { name: name.into(), extent })
    }

    /// A new tensor without a definition.
    pub fn tensor(&mut self, name: impl Into<String>, dtype: DType, shape: Vec<i64>) -> Tensor {
        self.tensors.push(TensorData { name: name.into(), dtype, shape, origin: None })
    }

    /// A new tensor that is part of the way to another one: of its origin, and with a name of its own that begins with
    /// that of the other.
    pub fn derived(&mut self, of: Tensor, part: &str, dtype: DType, shape: Vec<i64>) -> Tensor {
        let TensorData { name, origin, .. } = &self.tensors[of];
        let (origin, wanted) = (*origin, format!("{name}.{part}"));
        let name = free_name(wanted, |name| self.tensors.values().any(|data| data.name == name));
        self.tensors.push(TensorData { name, dtype, shape, origin })
    }

    /// A new input.
    pub fn input(&mut self, name: impl Into<String>, dtype: DType, shape: Vec<i64>) -> Tensor {
        let tensor = self.tensor(name, dtype, shape);
        self.inputs.push(tensor);
        tensor
    }

    /// Defines a tensor by one piece whose axes are its dimensions in order.
    pub fn define(&mut self, result: Tensor, axes: Vec<Axis>, body: ExprId) {
        let at = axes.iter().map(|axis| Index::from(*axis)).collect();
        self.equations.push(Equation { result, pieces: vec![Piece { axes, at, body }] });
    }

    /// The equation that defines a tensor; none for an input.
    pub fn definition(&self, tensor: Tensor) -> Option<&Equation> {
        self.equations.iter().find(|equation| equation.result == tensor)
    }
}

/// A name that is not taken: the one that is wanted, or that with a number behind.
pub fn free_name(wanted: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&wanted) {
        return wanted;
    }
    let numbered = (2_u64..).map(|number| format!("{wanted}_{number}"));
    numbered.into_iter().find(|name| !is_taken(name)).expect("numbers do not end")
}
