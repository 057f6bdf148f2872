//! What each unit has to wait for.
//!
//! Threads go through the units in order. Those beside each other often have nothing to do with one another (the
//! gradient of a bias and that of its weights), and a thread need not wait at the end of the first for the others.

use crate::base::hash::HashMap;
use std::ops::Range;

use super::Placement;
use super::slices::Unit;
use crate::kernels::{Kernels, Layouts};
use crate::loops::AccessMode;
use crate::sched::Launch;
use crate::te::Tensor;

/// A unit waits at least for all that stand so far before it.
const FARTHEST: usize = 6;

/// Memory that a unit touches.
struct BlockAccess {
    /// The arena, or one value of a persistent tensor.
    block: (u8, usize),
    bytes: Range<usize>,
    writes: bool,
}

/// For each unit, how many of the first units must be done before it begins.
pub fn units(
    units: &[Unit],
    launches: &[Launch],
    places: &HashMap<Tensor, Placement>,
    kernels: &Kernels,
    layouts: &Layouts,
) -> Vec<usize> {
    let of_unit = |unit: &Unit| {
        let launches = launches[unit.launches.clone()].iter();
        launches.flat_map(|launch| accesses_of(launch, places, kernels, layouts)).collect()
    };
    let accesses: Vec<Vec<BlockAccess>> = units.iter().map(of_unit).collect();
    let wait = |at: usize| {
        let near = at.saturating_sub(FARTHEST)..at;
        near.clone()
            .rev()
            .find(|before| conflict(&accesses[*before], &accesses[at]))
            .map_or(near.start, |before| before + 1)
    };
    (0..units.len()).map(wait).collect()
}

fn accesses_of(
    launch: &Launch,
    places: &HashMap<Tensor, Placement>,
    kernels: &Kernels,
    layouts: &Layouts,
) -> Vec<BlockAccess> {
    let buffers = launch.function.buffers.values().zip(&launch.buffers);
    let access = |(buffer, tensor): (&crate::loops::BufferData, &Tensor)| {
        let len = layouts[tensor].len() * kernels.program.tensors[*tensor].dtype.size();
        let (block, start) = match places[tensor] {
            Placement::Arena(offset) => ((0, 0), offset),
            Placement::Present(at) => ((1, at), 0),
            Placement::Next(at) => ((2, at), 0),
            Placement::Scratch { .. } => return None, // A thread's own.
        };
        Some(BlockAccess { block, bytes: start..start + len, writes: buffer.access != AccessMode::Read })
    };
    buffers.filter_map(access).collect()
}

fn conflict(one: &[BlockAccess], other: &[BlockAccess]) -> bool {
    let meets = |x: &BlockAccess, y: &BlockAccess| {
        (x.writes || (y.writes && !planted!("plan.dependences.after_read")))
            && x.block == y.block
            && x.bytes.start < y.bytes.end
            && y.bytes.start < x.bytes.end
    };
    one.iter().any(|x| other.iter().any(|y| meets(x, y)))
}
