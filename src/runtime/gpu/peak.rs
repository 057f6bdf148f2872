//! The most that a card reaches: what `bench` and `profile` compare with.

use super::alone::Alone;
use super::context::{Buffer, Context};
use crate::codegen::wgsl::{self, Dispatch, Part, RUN_WORDS};
use crate::loops::parser::parse;
use crate::loops::verifier::Verified;
use crate::runtime::chains::{CHAINS, ROUNDS, chains};
use crate::runtime::device::{Error, Fault};
use crate::sched::Machine;

/// Points of the grid: enough for all that a card runs at once, so many times over that its start does not show.
const POINTS: i64 = 4096;

/// Bytes that are read, where a block may be so large: more than caches hold.
const STREAM: u64 = 1 << 28;

/// Vectors that an invocation adds up.
const VECTORS: u64 = 64;

/// Tries, of which the best one counts.
const TRIES: usize = 5;

/// GFLOP/s of multiply-adds in registers.
///
/// # Errors
///
/// Where the device fails.
pub(super) fn gflops(context: &Context, machine: &Machine) -> Result<f64, Error> {
    let lanes = machine.lanes as u32;
    let function = Verified::new(chains(machine, POINTS, lanes))?;
    let bytes = 4 * POINTS as u64 * CHAINS as u64 * u64::from(lanes);
    let seconds = best(context, &function, &[bytes])?;
    Ok(2.0 * (POINTS * ROUNDS) as f64 * CHAINS as f64 * f64::from(lanes) / seconds * 1e-9)
}

/// Billions of bytes a second that are read from memory.
///
/// # Errors
///
/// Where the device fails.
pub(super) fn bandwidth(context: &Context, machine: &Machine) -> Result<f64, Error> {
    let lanes = machine.lanes as u64;
    let points = STREAM.min(context.block_bytes()) / (4 * lanes * VECTORS);
    let (read, vector) = (points * lanes * VECTORS, points * lanes);
    let text = format!(
        "fn read(x: read f32[{read}], y: write f32[{vector}]) {{
           parallel for n in 0..{points} {{
             total: f32x{lanes} = splat(0.0, {lanes})
             for k in 0..{VECTORS} {{ total = total + x[{lanes}*n + {vector}*k; {lanes}] }}
             y[{lanes}*n] = total
           }}
         }}"
    );
    let function = parse(&text).map_err(|error| Error::Unsupported(error.to_string()))?;
    let seconds = best(context, &Verified::new(function)?, &[4 * read, 4 * vector])?;
    Ok(4.0 * read as f64 / seconds * 1e-9)
}

/// The least seconds of a function on buffers of its own.
fn best(context: &Context, function: &Verified, bytes: &[u64]) -> Result<f64, Error> {
    let failed = |fault: Fault| Error::Unsupported(fault.to_string());
    let parts = vec![Part { function, blocks: (0..bytes.len()).collect(), notes: Vec::new() }];
    let shader = wgsl::write(&Dispatch { parts, condition: None, driver: context.arithmetic })?;
    let blocks: Option<Vec<Buffer>> = bytes.iter().map(|bytes| context.memory(*bytes)).collect();
    let blocks = blocks.ok_or_else(|| Error::Unsupported("there is no memory to measure with".into()))?;
    let blocks: Vec<&Buffer> = blocks.iter().collect();
    let alone = Alone::new(context, shader, &blocks, &[0; RUN_WORDS]).map_err(failed)?;
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        least = least.min(alone.run().map_err(failed)?);
    }
    Ok(least)
}
