//! What every stage needs and no stage owns: source spans, diagnostics, random numbers, files, memory, the target.
//!
//! Nothing here knows about compilers, tensors or networks.

pub mod diagnostic;
#[macro_use]
pub mod fault;
pub mod files;
pub mod half;
pub mod hash;
pub mod memory;
pub mod nearest;
pub mod numbers;
pub mod parallel;
pub mod philox;
pub mod source;
pub mod span;
pub mod target;
pub mod visible;
