//! Elaboration: from the syntax tree to the graph.
//!
//! [`load`] reads a model file with what it uses; [`Module::graph`] inlines the blocks of a model, evaluates what is
//! known at compile time, and turns ops into equations with concrete extents. The library (`src/std`) goes the same
//! way as a user's own blocks and ops: nothing here knows a layer, but for the texts of help about foreign names.

mod arguments;
mod arithmetic;
mod audit;
mod block;
mod call;
pub mod config;
mod declare;
mod elaborator;
mod evaluate;
pub mod foreign;
pub mod functions;
pub mod gradients;
mod input;
mod interpolate;
pub mod joins;
mod library;
mod model;
mod module;
mod no_names;
mod op;
pub mod optimiser;
mod ratio;
mod scheme;
pub mod selection;
mod show;
mod tensors;
mod types;
mod value;

use crate::base::diagnostic::Diagnostic;

pub use elaborator::InitRule;
pub use library::Library;
pub use model::{CORRECT, IN_TOP, ModelCall, Request, SHARE};
pub use module::{Callable, Module, lexical, load, load_texts};
pub use ratio::{TOTAL, WEIGHT};
pub use scheme::Scheme;
pub use show::{show_declared, show_expr};
pub use value::Value;

/// A result, or the first error of one evaluation.
type Outcome<T> = Result<T, Diagnostic>;

#[cfg(test)]
mod tests;
