//! The Cranelift back end: verified loop functions to native code in memory.
//!
//! [`Module::compile`] lowers and compiles all functions of a program in parallel and places them in one block of
//! executable memory, which is freed with the module. Loops become counted loops over running pointers
//! (`address`), a vector of more than four lanes becomes several 128-bit values (`expression`), and Cranelift's own
//! optimiser is switched off: it would reorder the pure operations of a tile, whose order was chosen for its
//! registers.

mod address;
mod disassemble;
mod expression;
mod isa;
mod module;
mod statement;
mod tie;
mod unroll;
mod vector;

pub use disassemble::disassemble;
pub use module::{Error, Kernel, Module, clif};

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
