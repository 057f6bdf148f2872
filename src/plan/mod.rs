//! The memory plan: where every stored tensor lies while a program runs.
//!
//! In: launches in order, layouts, and which tensors are kept between runs. Out: a place for each stored tensor and
//! the exact size of the arena. Two tensors share memory where their live ranges do not meet. A tensor with a halo
//! has memory of its own, because its halo is filled once and must stay; so has one that follows from parameters alone,
//! as it is computed once for all runs until they change.

mod fixed;
pub mod printer;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::kernels::{Kernels, Layouts};
use crate::sched::Launch;
use crate::te::Tensor;

/// Every tensor starts at a multiple of this many bytes: a cache line.
const ALIGNMENT: usize = 64;

/// A tensor that lives longer than a run: a parameter or a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The input that holds its present value.
    pub present: Tensor,
    /// The output that is its next value, if the program computes one.
    pub next: Option<Tensor>,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this byte of the arena.
    Arena(usize),
    /// In the present value of this kept tensor.
    Present(usize),
    /// In the next value of this kept tensor.
    Next(usize),
}

/// Launches that run in order, once for every slice of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// How many slices the batch is cut into; 1 is the whole batch.
    pub slices: usize,
    pub launches: Range<usize>,
}

/// The plan of a program.
#[derive(Clone, Debug)]
pub struct Plan {
    pub places: HashMap<Tensor, Place>,
    pub arena_bytes: usize,
    pub segments: Vec<Segment>,
    /// Whether each launch only needs to run where a kept tensor has changed.
    pub fixed: Vec<bool>,
}

/// Places all stored tensors.
pub fn plan(kernels: &Kernels, layouts: &Layouts, launches: &[Launch], kept: &[Kept]) -> Plan {
    let mut places = HashMap::new();
    for (at, kept) in kept.iter().enumerate() {
        places.insert(kept.present, Place::Present(at));
        if let Some(next) = kept.next {
            places.insert(next, Place::Next(at));
        }
    }
    let free: BTreeSet<Tensor> =
        kernels.stored.iter().copied().filter(|tensor| !places.contains_key(tensor)).collect();
    let fixed = fixed::launches(launches, kept);
    let ranges = live_ranges(kernels, layouts, launches, &fixed);
    let mut blocks: Vec<Block> =
        free.iter().map(|tensor| block(kernels, layouts, &ranges, *tensor)).collect();
    blocks.sort_by_key(|block| (std::cmp::Reverse(block.bytes), block.tensor));
    let mut arena_bytes = 0;
    let mut placed: Vec<(Block, usize)> = Vec::new();
    for block in blocks {
        let offset = first_fit(&placed, &block);
        arena_bytes = arena_bytes.max(offset + block.bytes);
        places.insert(block.tensor, Place::Arena(offset));
        placed.push((block, offset));
    }
    let segments = vec![Segment { slices: 1, launches: 0..launches.len() }];
    Plan { places, arena_bytes, segments, fixed }
}

/// Memory that a tensor needs, and when.
struct Block {
    tensor: Tensor,
    bytes: usize,
    /// The launches from the first that writes it to the last that uses it.
    live: Range<usize>,
}

fn block(
    kernels: &Kernels,
    layouts: &Layouts,
    ranges: &HashMap<Tensor, Range<usize>>,
    tensor: Tensor,
) -> Block {
    let bytes = layouts[&tensor].len() * kernels.program.tensors[tensor].dtype.size();
    let live = ranges.get(&tensor).cloned().unwrap_or(0..1);
    Block { tensor, bytes: bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT), live }
}

fn live_ranges(
    kernels: &Kernels,
    layouts: &Layouts,
    launches: &[Launch],
    fixed: &[bool],
) -> HashMap<Tensor, Range<usize>> {
    let mut ranges: HashMap<Tensor, Range<usize>> = HashMap::new();
    for (at, launch) in launches.iter().enumerate() {
        for tensor in &launch.buffers {
            let range = ranges.entry(*tensor).or_insert(at..at + 1);
            range.end = at + 1;
        }
    }
    let always = 0..launches.len() + 1;
    for (launch, _) in launches.iter().zip(fixed).filter(|(_, fixed)| **fixed) {
        for tensor in &launch.buffers {
            ranges.insert(*tensor, always.clone());
        }
    }
    for tensor in kernels.program.inputs.iter() {
        ranges.insert(*tensor, always.clone());
    }
    for output in &kernels.program.outputs {
        if let Some(range) = ranges.get_mut(output) {
            range.end = always.end;
        }
    }
    for (tensor, layout) in layouts {
        if layout.fill.is_some() {
            ranges.insert(*tensor, always.clone());
        }
    }
    ranges
}

/// The lowest offset at which a block meets no other that is live at the same time.
fn first_fit(placed: &[(Block, usize)], block: &Block) -> usize {
    let mut taken: Vec<Range<usize>> = placed
        .iter()
        .filter(|(other, _)| other.live.start < block.live.end && block.live.start < other.live.end)
        .map(|(other, offset)| *offset..offset + other.bytes)
        .collect();
    taken.sort_by_key(|range| range.start);
    let mut offset = 0;
    for range in taken {
        if offset + block.bytes <= range.start {
            break;
        }
        offset = offset.max(range.end);
    }
    offset
}
