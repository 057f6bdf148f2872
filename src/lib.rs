//! The tour, in the order of the data.

pub mod base;
pub mod cli;
pub mod codegen;
pub mod data;
pub mod elab;
pub mod graph;
pub mod kernels;
pub mod loops;
pub mod passes;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod sched;
pub mod syntax;
pub mod te;
pub mod train;
