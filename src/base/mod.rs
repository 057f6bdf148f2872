//! What every stage needs and no stage owns: files, source spans, diagnostics, random numbers, the target.
//!
//! Nothing here knows about compilers, tensors or networks.

pub mod files;
pub mod philox;
pub mod span;
pub mod target;
