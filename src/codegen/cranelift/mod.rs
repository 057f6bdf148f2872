//! The Cranelift back end: verified loop functions to machine code, on every machine that Cranelift knows.
//!
//! Loops become counted loops over running pointers (`address`), a vector of more than four lanes becomes several
//! 128-bit values (`expression`), and Cranelift's own optimiser is switched off: it would reorder the pure operations
//! of a tile, whose order was chosen for its registers.

mod address;
mod expression;
mod function;
mod isa;
mod statement;
mod tie;
mod unroll;
mod vector;

pub use function::clif;
pub(super) use function::compile;
pub use isa::build as isa;
pub use statement::signature;
