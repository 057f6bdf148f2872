//! Kernels: equations grouped to be computed together, and where their tensors lie in memory.
//!
//! In: a program in canonical form. A [`Kernel`] is one or more loop nests; at every point of a nest's axes its
//! statements run in order, first those that reduce, then those that finish. A statement reads what an earlier one of
//! the nest defined at the same element from a register; a tensor that nobody else reads is never stored.
//!
//! A nest with windows (conv + relu + pooling) does this at every point of its axes and windows; then come statements
//! that reduce what they left over the windows, and those that finish that, at the points of the axes.

pub mod fuse;
pub mod layout;
mod order;
pub mod parser;
pub mod printer;
pub mod replace;
pub mod slices;
pub mod verifier;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::te::{Axis, Binary, Expr, ExprId, Index, Program, Reduction, Tensor};

pub use layout::{Layout, Layouts};

/// One equation's piece inside a nest: element `at` of `result` is `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub result: Tensor,
    pub at: Vec<Index>,
    /// If it is a reduction, it is one over the nest's `reduce` axes or over its `windows`.
    pub body: ExprId,
}

/// Statements that run at every point of the same axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nest {
    pub axes: Vec<Axis>,
    /// The axes of the nest's reductions; empty if it has none.
    pub reduce: Vec<Axis>,
    /// Axes that are free in the first statements, and over which later ones reduce.
    pub windows: Vec<Axis>,
    pub statements: Vec<Statement>,
}

impl Nest {
    /// The statements at the points of axes and windows, and those at the points of the axes.
    pub fn levels(&self, program: &Program) -> (&[Statement], &[Statement]) {
        let over_windows = |statement: &Statement| match &program.exprs[statement.body] {
            Expr::Reduce { axes, .. } => !self.windows.is_empty() && *axes == self.windows,
            _ => false,
        };
        let inner = self.statements.iter().position(over_windows).unwrap_or(self.statements.len());
        self.statements.split_at(inner)
    }

    /// The axes that are free in the first statements.
    pub fn free(&self) -> Vec<Axis> {
        [self.axes.as_slice(), &self.windows].concat()
    }
}

/// What is launched at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: String,
    pub nests: Vec<Nest>,
}

/// A program as kernels.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    /// Tensors, axes and expressions; its equations have become statements.
    pub program: Program,
    /// In an order in which every tensor is stored before it is read.
    pub kernels: Vec<Kernel>,
    /// The tensors that have memory: inputs, outputs, and what one kernel stores for another.
    pub stored: BTreeSet<Tensor>,
}

impl Kernel {
    /// The tensors it defines.
    pub fn results(&self) -> BTreeSet<Tensor> {
        self.nests.iter().flat_map(|nest| &nest.statements).map(|statement| statement.result).collect()
    }

    /// The tensors it reads, its own results included.
    pub fn reads(&self, program: &Program) -> BTreeSet<Tensor> {
        let statements = self.nests.iter().flat_map(|nest| &nest.statements);
        statements.flat_map(|statement| program.reads(statement.body)).collect()
    }
}

impl Kernels {
    /// Multiply-adds of all sums of products.
    pub fn multiplications(&self) -> f64 {
        let nests = self.kernels.iter().flat_map(|kernel| &kernel.nests);
        nests.map(|nest| nest.statements.iter().map(|s| self.products(nest, s)).sum::<f64>()).sum()
    }

    fn products(&self, nest: &Nest, statement: &Statement) -> f64 {
        let Expr::Reduce { op: Reduction::Sum, body, .. } = &self.program.exprs[statement.body] else {
            return 0.0;
        };
        let points =
            |axes: &[Axis]| axes.iter().map(|axis| self.program.axes[*axis].extent as f64).product::<f64>();
        match &self.program.exprs[*body] {
            Expr::Binary(Binary::Mul, ..) => points(&nest.free()) * points(&nest.reduce),
            _ => 0.0,
        }
    }
}
