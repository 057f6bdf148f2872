//! The back end for wide vectors of x86-64: AVX2 and AVX-512.
//!
//! Cranelift has no vectors of more than 128 bits on this machine, so functions are assembled here: [`lower`] turns
//! loop IR into instructions on virtual registers ([`code`]), [`registers`] gives out machine registers, and [`encode`]
//! writes the bytes. What has no instructions here (`lower::Unsupported`) is compiled by Cranelift, which gives the
//! same bits in narrower steps. The results are those of the loop interpreter, bit for bit.

mod code;
mod encode;
mod lower;
mod registers;

pub use lower::Unsupported;

use crate::base::target::{Level, Target};
use crate::codegen::module::{CODE_ALIGNMENT, Code};
use crate::loops::verifier::Verified;

/// The machine code of a function.
///
/// # Errors
///
/// Where the target has no wide vectors, or the function needs an instruction that is not here.
pub fn compile(function: &Verified, target: Target) -> Result<Code, Unsupported> {
    let (widest, evex) = match target.level {
        Level::Sse4 | Level::Fma => return Err(Unsupported("a CPU level of 128-bit vectors")),
        Level::Avx2 => (code::Width::W256, false),
        Level::Avx512 => (code::Width::W512, true),
    };
    let code = lower::lower(function, widest, evex)?;
    let encode::Encoded { bytes, instructions } =
        encode::encode(&code, target.registers as u8, evex).expect("the assembler takes what is lowered");
    Ok(Code { bytes, instructions, alignment: CODE_ALIGNMENT, relocations: Vec::new() })
}
