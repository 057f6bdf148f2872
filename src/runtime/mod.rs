//! Running compiled programs: memory, threads, and what goes in and comes out.
//!
//! A [`Program`] is compiled for one batch size. Several of them (training, the smaller last batch,
//! evaluation) share a [`Store`] of parameters and states.

pub mod agreement;
pub mod allocator;
mod broken;
pub mod memory;
pub mod need;
pub mod peak;
pub mod pool;
pub mod program;
mod rows;
pub mod store;
mod units;
pub mod values;

pub use pool::Pool;
pub use program::Program;
pub use store::{Mismatch, Store};
pub use values::Values;
