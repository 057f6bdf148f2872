//! Code generation: loop IR to what a machine runs. Imports `base` and `loops` only.
//!
//! [`Module::compile`] compiles all functions of a program in parallel and places them in one block of executable
//! memory, which is freed with the module. Two back ends make the code: `wide` has the vectors of AVX2 and AVX-512,
//! [`cranelift`] all machines and vectors of 128 bits. Both give the bits of the loop interpreter.

pub mod cranelift;
mod disassemble;
mod module;
pub mod wgsl;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use module::{Error, Module, NativeFunction, needs_cranelift};

#[cfg(test)]
mod bench_tests;
#[cfg(test)]
mod tests;
