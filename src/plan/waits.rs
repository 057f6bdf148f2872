//! What each launch has to wait for.
//!
//! Threads go through the launches in order. Those beside each other often have nothing to do with one another (the
//! gradient of a bias and that of its weights), and a thread need not wait at the end of the first for the others.

use std::collections::HashMap;
use std::ops::Range;

use super::Place;
use crate::kernels::{Kernels, Layouts};
use crate::loops::Access;
use crate::sched::Launch;
use crate::te::Tensor;

/// A launch waits at least for all that stand so far before it.
const FARTHEST: usize = 6;

/// Memory that a launch touches.
struct Touch {
    /// The arena, or one value of a kept tensor.
    block: (u8, usize),
    bytes: Range<usize>,
    writes: bool,
}

/// For each launch, how many of the first launches must be done before it begins.
pub fn launches(
    launches: &[Launch],
    places: &HashMap<Tensor, Place>,
    kernels: &Kernels,
    layouts: &Layouts,
) -> Vec<usize> {
    let touched: Vec<Vec<Touch>> =
        launches.iter().map(|launch| touches(launch, places, kernels, layouts)).collect();
    let wait = |at: usize| {
        let near = at.saturating_sub(FARTHEST)..at;
        near.clone()
            .rev()
            .find(|before| conflict(&touched[*before], &touched[at]))
            .map_or(near.start, |before| before + 1)
    };
    (0..launches.len()).map(wait).collect()
}

fn touches(
    launch: &Launch,
    places: &HashMap<Tensor, Place>,
    kernels: &Kernels,
    layouts: &Layouts,
) -> Vec<Touch> {
    let buffers = launch.function.buffers.values().zip(&launch.buffers);
    let touch = |(buffer, tensor): (&crate::loops::BufferData, &Tensor)| {
        let len = layouts[tensor].len() * kernels.program.tensors[*tensor].dtype.size();
        let (block, start) = match places[tensor] {
            Place::Arena(offset) => ((0, 0), offset),
            Place::Present(at) => ((1, at), 0),
            Place::Next(at) => ((2, at), 0),
        };
        Touch { block, bytes: start..start + len, writes: buffer.access != Access::Read }
    };
    buffers.map(touch).collect()
}

fn conflict(one: &[Touch], other: &[Touch]) -> bool {
    let meets = |x: &Touch, y: &Touch| {
        (x.writes || y.writes)
            && x.block == y.block
            && x.bytes.start < y.bytes.end
            && y.bytes.start < x.bytes.end
    };
    one.iter().any(|x| other.iter().any(|y| meets(x, y)))
}
