//! The memory plan: where every stored tensor lies while a program runs.
//!
//! In: launches in order, layouts, and which tensors are kept between runs. Out: a place for each stored tensor and
//! the exact size of the arena. Two tensors share memory where their live ranges do not meet. One with a halo shares it
//! with others of the same layout only, because the halo is filled once and must stay; one that follows from parameters
//! alone with none, as it is computed once for all runs until they change. A result that is computed element by element
//! from a tensor that nothing needs any more takes its memory ([`in_place`]); so do the next values of parameters, if
//! they are stored after the verdict on the step is known: one that goes wrong must leave no trace.

pub mod blocks;
mod dependences;
pub mod in_place;
pub mod printer;
mod run_once;
pub mod slices;
pub mod together;
pub mod verifier;

use crate::base::hash::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::kernels::{Kernels, Layouts};
use crate::loops::{AccessMode, Buffer};
use crate::sched::{Grid, Launch};
use crate::te::Tensor;

use in_place::{Aliases, Search};
use slices::Unit;

/// Every tensor starts at a multiple of this many bytes: a cache line.
const ALIGNMENT: usize = 64;

/// A tensor that lives longer than a run: a parameter or a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistent {
    /// The input that holds its present value.
    pub present: Tensor,
    /// The output that is its next value, if the program computes one.
    pub next: Option<Tensor>,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At this byte of the arena.
    Arena(usize),
    /// In the present value of this persistent tensor.
    Present(usize),
    /// In the next value of this persistent tensor.
    Next(usize),
    /// At this byte of each thread's scratch: the slice at hand.
    Scratch { offset: usize, slice: usize },
}

/// The plan of a program.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    pub places: HashMap<Tensor, Placement>,
    pub arena_bytes: usize,
    /// Bytes of scratch a thread.
    pub scratch_bytes: usize,
    /// What runs as one, in order.
    pub units: Vec<Unit>,
    /// Whether each launch only needs to run where a persistent tensor has changed.
    pub run_once: Vec<bool>,
    /// What is stored over something else.
    pub aliases: Aliases,
    /// For each unit, how many of the first ones must be done before it begins.
    pub dependences: Vec<usize>,
    /// The first unit that stores over a persistent tensor, where there is a verdict on the step that must be known
    /// before.
    pub guarded: Option<usize>,
}

/// What bounds a plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The tensor that is the verdict on the step, if there is one.
    pub verdict: Option<Tensor>,
    /// Where the machine is a grid, that one: no tensor lies in two blocks of its memory, and launches of a group run at
    /// once.
    pub grid: Option<Grid>,
}

/// Places all stored tensors.
pub fn plan(
    kernels: &Kernels,
    layouts: &Layouts,
    launches: &[Launch],
    persistent: &[Persistent],
    bounds: Bounds,
) -> MemoryPlan {
    let Bounds { verdict, grid } = bounds;
    let block_bytes = grid.map(|grid| grid.block_bytes);
    let run_once = run_once::launches(launches, persistent);
    let live_out = live_out(kernels, launches, persistent, &run_once);
    let units = match grid {
        Some(_) => together::units(launches),
        None => slices::units(kernels, layouts, launches, &live_out, &run_once),
    };
    let search = Search::new(layouts, launches, &units);
    let known = verdict.map_or(0, |verdict| known_after(launches, verdict));
    let updates = search.updates(persistent, known);
    let is_update = |launch: &Launch| launch.buffers.iter().any(|tensor| updates.contains_key(tensor));
    let guarded = units.iter().position(|unit| launches[unit.launches.clone()].iter().any(is_update));
    let guarded = guarded.filter(|_| verdict.is_some());
    let scratch: BTreeSet<Tensor> = units.iter().flat_map(|unit| unit.scratch.keys().copied()).collect();
    let mut aliases =
        search.results(kernels, &|tensor| !live_out.contains(&tensor) && !scratch.contains(&tensor));
    aliases.extend(updates);

    let (mut places, scratch_bytes) = scratch_places(&units);
    for (at, persistent) in persistent.iter().enumerate() {
        places.insert(persistent.present, Placement::Present(at));
        if let Some(next) = persistent.next {
            let place =
                if aliases.contains_key(&next) { Placement::Present(at) } else { Placement::Next(at) };
            places.insert(next, place);
        }
    }
    let ranges = live_ranges(kernels, launches, &run_once, &units);
    let mut blocks: BTreeMap<Tensor, Allocation> = BTreeMap::new();
    let mut firsts = aliases.clone();
    for tensor in kernels.stored.iter().filter(|tensor| !places.contains_key(tensor)) {
        let block = block(kernels, layouts, &ranges, *tensor);
        blocks.entry(first_in(&mut firsts, *tensor)).and_modify(|first| first.take(&block)).or_insert(block);
    }
    let (haloed, mut blocks): (Vec<Allocation>, Vec<Allocation>) =
        blocks.into_values().partition(|block| layouts[&block.tensors[0]].fill.is_some());
    blocks.extend(by_turns(haloed, kernels, layouts, 0..launches.len() + 1));
    blocks.sort_by_key(|block| (std::cmp::Reverse(block.bytes), block.tensors[0]));
    let mut arena_bytes = 0;
    let mut placed = Placed::new();
    for (at, block) in blocks.into_iter().enumerate() {
        let offset = first_fit(&placed, &block, block_bytes);
        arena_bytes = arena_bytes.max(offset + block.bytes);
        places.extend(block.tensors.iter().map(|tensor| (*tensor, Placement::Arena(offset))));
        placed.insert((offset, at), block);
    }
    let dependences = dependences::units(&units, launches, &places, kernels, layouts);
    MemoryPlan { places, arena_bytes, scratch_bytes, units, run_once, aliases, dependences, guarded }
}

/// The first launches, after which a verdict is known.
fn known_after(launches: &[Launch], verdict: Tensor) -> usize {
    let writes = |launch: &Launch| {
        let at = launch.buffers.iter().position(|tensor| *tensor == verdict);
        at.is_some_and(|at| launch.function.buffers[Buffer::from_u32(at as u32)].access != AccessMode::Read)
    };
    launches.iter().rposition(writes).unwrap_or(0) + 1
}

/// The scratch of each unit from its beginning, and the most that a unit needs.
fn scratch_places(units: &[Unit]) -> (HashMap<Tensor, Placement>, usize) {
    let (mut places, mut most) = (HashMap::default(), 0);
    for unit in units {
        let mut offset = 0;
        for (tensor, slice) in &unit.scratch {
            places.insert(*tensor, Placement::Scratch { offset, slice: *slice });
            offset += slice.next_multiple_of(ALIGNMENT);
        }
        most = most.max(offset);
    }
    (places, most)
}

/// Blocks with a halo, joined where they have one layout and are not live at once. The halo is filled once and stays,
/// so no others may use their memory.
fn by_turns(
    mut blocks: Vec<Allocation>,
    kernels: &Kernels,
    layouts: &Layouts,
    always: Range<usize>,
) -> Vec<Allocation> {
    let kind = |block: &Allocation| {
        let first = block.tensors[0];
        (&layouts[&first], kernels.program.tensors[first].dtype)
    };
    blocks.sort_by_key(|block| (block.live.start, block.tensors[0]));
    let mut joined: Vec<Allocation> = Vec::new();
    for block in blocks {
        let free = joined.iter_mut().find(|other| {
            let end = other.live.end - usize::from(planted!("plan.turns.last"));
            end <= block.live.start && kind(other) == kind(&block)
        });
        match free {
            Some(other) => other.take(&block),
            None => joined.push(block),
        }
    }
    if !planted!("plan.turns.always") {
        joined.iter_mut().for_each(|block| block.live = always.clone());
    }
    joined
}

/// Tensors that are needed beyond the launches that use them: inputs, outputs, what is kept or computed once.
fn live_out(
    kernels: &Kernels,
    launches: &[Launch],
    persistent: &[Persistent],
    run_once: &[bool],
) -> BTreeSet<Tensor> {
    let program = &kernels.program;
    let once = launches
        .iter()
        .zip(run_once)
        .filter(|(_, run_once)| **run_once)
        .flat_map(|(launch, _)| &launch.buffers);
    let persistent =
        persistent.iter().flat_map(|persistent| [Some(persistent.present), persistent.next]).flatten();
    once.chain(&program.inputs).chain(&program.outputs).copied().chain(persistent).collect()
}

/// The tensor that was first in the memory of this one, given those that were right before others or first in the
/// memory of others. What is found is remembered: each tensor of a long chain is stored over the one before it.
fn first_in(firsts: &mut Aliases, tensor: Tensor) -> Tensor {
    let mut first = tensor;
    while let Some(old) = firsts.get(&first) {
        first = *old;
    }
    let mut at = tensor;
    while at != first {
        at = firsts.insert(at, first).unwrap_or(first);
    }
    first
}

/// Memory that tensors need one after the other, and when.
struct Allocation {
    tensors: Vec<Tensor>,
    bytes: usize,
    /// The launches from the first that writes it to the last that uses it.
    live: Range<usize>,
}

impl Allocation {
    /// Takes in the tensors of another one.
    fn take(&mut self, other: &Allocation) {
        self.tensors.extend(&other.tensors);
        self.bytes = self.bytes.max(other.bytes);
        self.live = self.live.start.min(other.live.start)..self.live.end.max(other.live.end);
    }
}

fn block(
    kernels: &Kernels,
    layouts: &Layouts,
    ranges: &HashMap<Tensor, Range<usize>>,
    tensor: Tensor,
) -> Allocation {
    let bytes = layouts[&tensor].len() * kernels.program.tensors[tensor].dtype.size();
    let live = ranges.get(&tensor).cloned().unwrap_or(0..1);
    Allocation { tensors: vec![tensor], bytes: bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT), live }
}

/// When each tensor is needed, in launches. What a unit uses is needed in all of its launches.
fn live_ranges(
    kernels: &Kernels,
    launches: &[Launch],
    run_once: &[bool],
    units: &[Unit],
) -> HashMap<Tensor, Range<usize>> {
    let mut ranges: HashMap<Tensor, Range<usize>> = HashMap::default();
    for unit in units {
        for tensor in launches[unit.launches.clone()].iter().flat_map(|launch| &launch.buffers) {
            let range = ranges.entry(*tensor).or_insert(unit.launches.clone());
            let early = planted!("plan.live.last") && range.start < unit.launches.start;
            range.end = unit.launches.end - usize::from(early);
        }
    }
    let always = 0..launches.len() + 1;
    for (launch, _) in
        launches.iter().zip(run_once).filter(|(_, run_once)| **run_once && !planted!("plan.live.fixed"))
    {
        for tensor in &launch.buffers {
            ranges.insert(*tensor, always.clone());
        }
    }
    for tensor in kernels.program.inputs.iter() {
        ranges.insert(*tensor, always.clone());
    }
    for output in &kernels.program.outputs {
        if let Some(range) = ranges.get_mut(output)
            && !planted!("plan.live.output")
        {
            range.end = always.end;
        }
    }
    ranges
}

/// Blocks by their offsets, and by the order in which they were placed there.
type Placed = BTreeMap<(usize, usize), Allocation>;

/// The lowest offset at which a block meets no other that is live at the same time, and lies in one block of the
/// machine's memory.
fn first_fit(placed: &Placed, block: &Allocation, block_bytes: Option<usize>) -> usize {
    let whole = |offset: usize| match block_bytes {
        Some(bytes) if offset % bytes + block.bytes > bytes => offset.next_multiple_of(bytes),
        _ => offset,
    };
    let mut offset = 0;
    for ((start, _), other) in placed {
        if offset + block.bytes <= *start {
            break;
        }
        if other.live.start < block.live.end && block.live.start < other.live.end {
            offset = offset.max(whole(start + other.bytes));
        }
    }
    offset
}

#[cfg(test)]
mod plan_tests;
