//! Equations: tensor programs as lists of `y[i, j] = reduce[k < K] body`.
//!
//! This is the middle of the compiler. A library op is a small [`Program`]; so is a whole training step. Everything
//! that computes (adjoints, fusion, layouts, loops) reads and writes this form, and [`interpreter`] says what it means.

pub mod adjoint;
pub mod arena;
pub mod cover;
pub mod derivative;
pub mod expr;
pub mod facts;
pub mod guard;
pub mod import;
pub mod index;
pub mod interpreter;
pub mod normalise;
pub mod parser;
pub mod printer;
pub mod program;
mod range;
pub mod simplify;
pub mod size;
pub mod solve;
mod substitute;
pub mod text;
pub mod verifier;
pub mod whole;

pub use expr::{Binary, Expr, ExprId, Exprs, Real, Reduction, Unary};
pub use index::{Atom, Axes, Axis, AxisData, Index};
pub use program::{DType, Equation, Origin, Piece, Program, Tensor, TensorData};

#[cfg(test)]
mod properties_tests;
#[cfg(test)]
mod tests;
