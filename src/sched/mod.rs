//! Scheduling: how each kernel's loops run on the machine.
//!
//! In: kernels and layouts. Out: [`Launch`]es, loop functions with the tensors of their buffers and the steps of their
//! schedule. [`policy`] chooses: which steps, and why; a [`step`] changes a [`nest`]; [`emit`] writes the loops. What
//! was measured on a machine comes in as [`TunedTiles`].

pub mod cost_model;
pub mod emit;
pub mod nest;
pub mod policy;
pub mod printer;
pub mod step;
pub mod tuned;
pub mod value;

#[cfg(test)]
mod emit_tests;

use crate::base::hash::IndexSet;
use crate::base::parallel;
use crate::base::target::{Level, Target};
use crate::kernels::slices::Group;
use crate::kernels::{Kernels, Layouts, Nest};
use crate::loops::Function;
use crate::loops::interpreter::Fma;
use crate::loops::math::Arithmetic;
use crate::te::{Origin, Tensor};

pub use step::Illegal;
pub use tuned::TunedTiles;

/// The machine as the scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub target: Target,
    /// Lanes of a vector in the loops: those of a register, but at least eight, so that a block of pictures fills half
    /// of a cache line.
    pub lanes: i64,
    /// How the loops are shared out, where that is not by a few threads.
    pub grid: Option<Grid>,
}

/// A machine of very many small threads: all loops over free axes are one grid, each point of which is computed by a
/// group of invocations, one for each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Whether `a * b + c` rounds once.
    pub fuses: bool,
    /// Bytes of one block of its memory; no tensor lies in two of them.
    pub block_bytes: usize,
    /// Blocks that a kernel may bind.
    pub blocks: usize,
}

impl Grid {
    /// So many points keep one busy, on the machines that there are: it decides how sums are cut, so it is no fact of the
    /// one at hand.
    pub const FILL: i64 = 4096;
}

/// What the lanes of vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneAxis {
    /// The pictures of a batch.
    Batch,
    /// The channels of a picture.
    Channels,
}

impl Machine {
    /// The machine of a target.
    pub fn of(target: Target) -> Machine {
        Machine { target, lanes: (target.lanes as i64).max(8), grid: None }
    }

    /// A machine whose vectors are so many invocations, with room for so many values in each of them.
    pub fn of_grid(lanes: usize, registers: usize, grid: Grid) -> Machine {
        let target = Target { level: Level::Fma, lanes, registers };
        Machine { target, lanes: lanes as i64, grid: Some(grid) }
    }

    /// What elementary functions may rely on. The code for a grid goes through a compiler that is not ours.
    pub fn arithmetic(&self) -> Arithmetic {
        match self.grid {
            None => Arithmetic::as_written(self.target.fma()),
            Some(_) => Arithmetic { fma: self.target.fma(), ..Arithmetic::OF_GRID },
        }
    }

    /// How it rounds `a * b + c`.
    pub fn fma(&self) -> Fma {
        match self.grid.is_none_or(|grid| grid.fuses) {
            true => Fma::Fused,
            false => Fma::Twice,
        }
    }

    /// The registers that the running sums of a register tile may take, beside what one summand reads: so many registers of
    /// the smaller factor and of the larger one, at so many points of a window.
    pub fn accumulators(&self, smaller: i64, larger: i64, windows: i64) -> i64 {
        match self.grid {
            Some(_) => {
                (self.target.registers as i64 - smaller - larger).min(self.target.registers as i64 / 2)
            }
            None => self.target.accumulators(smaller, larger, windows),
        }
    }

    /// Vector registers that one value of `lanes` lanes takes.
    pub fn registers_per_value(&self) -> usize {
        self.lanes as usize / self.target.lanes
    }
}

impl std::fmt::Display for Machine {
    /// What its tiles depend on: the vector level, or the lanes of a grid.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.grid {
            Some(_) => write!(f, "grid of {} lanes", self.lanes),
            None => write!(f, "{}", self.target.level),
        }
    }
}

impl std::fmt::Display for LaneAxis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LaneAxis::Batch => "the batch",
            LaneAxis::Channels => "channels",
        })
    }
}

/// A function to run and what it runs on.
#[derive(Clone, Debug)]
pub struct Launch {
    pub function: Function,
    /// The tensor of each buffer.
    pub buffers: Vec<Tensor>,
    /// The steps of its schedule, one a line.
    pub schedule: String,
    /// The group of kernels that it belongs to, by its number.
    pub group: Option<usize>,
    /// What its statements come from.
    pub origins: Vec<Origin>,
    /// What it is called in [`TunedTiles`], where its tile is a chosen one.
    pub key: Option<String>,
    /// The register tiles that it may have with the same sums: the one it has, then the cheapest by the cost model.
    /// None for what is no contraction.
    pub tiles: Vec<String>,
}

impl Launch {
    /// What it is called in [`TunedTiles`], whatever its tile; of a launch as it was scheduled, before anything was
    /// stored in place.
    pub fn key(&self) -> String {
        self.key.clone().unwrap_or_else(|| tuned::key(&self.function))
    }
}

/// What is scheduled, and for what.
#[derive(Clone, Copy)]
pub struct ScheduleInput<'a> {
    pub kernels: &'a Kernels,
    pub layouts: &'a Layouts,
    pub machine: &'a Machine,
    /// Whether digits come before time: sums have short blocks, where that costs a little.
    pub accurate_sums: bool,
}

/// Schedules all kernels, in order, with the register tiles that were chosen. Those of a group count through the slices
/// with their parallel loops.
///
/// # Errors
///
/// Where the policy takes a step that is not legal: that is a bug of it.
pub fn schedule(
    input: ScheduleInput<'_>,
    groups: &[Group],
    tuned: &TunedTiles,
) -> Result<Vec<Launch>, Illegal> {
    let kernels = &input.kernels.kernels;
    let mut group_of: Vec<Option<usize>> = vec![None; kernels.len()];
    for (at, group) in groups.iter().enumerate() {
        group_of[group.kernels.clone()].fill(Some(at));
    }
    let of_kernel = |at: &usize| {
        let group = group_of[*at].map(|group| (group, &groups[group]));
        let mut launches = schedule_kernel(input, *at, group, &|_| None)?;
        if !tuned.is_empty() {
            // Keys are those of the tiles that the cost model takes.
            let keys: Vec<String> = launches.iter().map(Launch::key).collect();
            launches = schedule_kernel(input, *at, group, &|number| tuned.tile(keys.get(number)?))?;
            launches.iter_mut().zip(keys).for_each(|(launch, key)| launch.key = Some(key));
        }
        Ok(launches)
    };
    let scheduled: Result<Vec<Vec<Launch>>, Illegal> =
        parallel::map(&(0..kernels.len()).collect::<Vec<_>>(), of_kernel).into_iter().collect();
    Ok(scheduled?.into_iter().flatten().collect())
}

/// The launches of a kernel, which may belong to a group. `wanted` says which tile was chosen for which of them.
fn schedule_kernel<'c>(
    input: ScheduleInput<'_>,
    at: usize,
    group: Option<(usize, &Group)>,
    wanted: &dyn Fn(usize) -> Option<&'c str>,
) -> Result<Vec<Launch>, Illegal> {
    let kernel = &input.kernels.kernels[at];
    let cuts = group.map_or(&[] as &[_], |(_, group)| &group.cuts[at - group.kernels.start]);
    let mut launches: Vec<Launch> = Vec::new();
    for nest in &kernel.nests {
        let first = launches.len();
        let scheds = policy::cpu::schedule_nest(input, nest, cuts, &|part| wanted(first + part))?;
        for sched in &scheds {
            // One name for each launch, as there is one for each kernel.
            let name = match launches.len() {
                0 => kernel.name.clone(),
                before => format!("{}#{}", kernel.name, before + 1),
            };
            let launch = emit::emit(input, &name, nest, sched);
            let (group, origins) = (group.map(|(group, _)| group), origins(input.kernels, nest));
            launches.push(Launch { group, origins, ..launch });
        }
    }
    Ok(launches)
}

/// What the statements of a nest come from, each once.
fn origins(kernels: &Kernels, nest: &Nest) -> Vec<Origin> {
    let origins = nest.statements.iter().filter_map(|s| kernels.program.tensors[s.result].origin);
    origins.collect::<IndexSet<Origin>>().into_iter().collect()
}
