//! Scheduling: how each kernel's loops run on the machine.
//!
//! In: kernels and layouts. Out: [`Launch`]es, loop functions with the tensors of their buffers and the steps of their
//! schedule. [`cpu`] is the policy: which steps, and why; [`nest`] holds the steps; [`emit`] writes the loops. What was
//! measured on a machine comes in as [`Choices`].

pub mod choices;
pub mod cpu;
pub mod emit;
pub mod nest;
pub mod printer;
pub mod value;

use std::collections::HashMap;

use crate::base::target::Target;
use crate::kernels::slices::Group;
use crate::kernels::{Kernels, Layouts};
use crate::loops::Function;
use crate::te::Tensor;

pub use choices::Choices;

/// The machine as the scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub target: Target,
    /// Lanes of a vector in the loops: those of a register, but at least eight, so that a block of pictures fills half
    /// of a cache line.
    pub lanes: i64,
    pub over: Over,
    /// Whether sums may be computed in ways that round otherwise than their equations.
    pub fast_math: bool,
}

/// What the lanes of vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// What is expected to be faster.
    #[default]
    Best,
    /// The pictures of a batch.
    Batch,
    /// The channels of a picture.
    Channels,
}

impl Machine {
    /// The machine of a target.
    pub fn of(target: Target) -> Machine {
        Machine { target, lanes: (target.lanes as i64).max(8), over: Over::Best, fast_math: true }
    }

    /// Vector registers that one value of `lanes` lanes takes.
    pub fn registers_per_value(&self) -> usize {
        self.lanes as usize / self.target.lanes
    }
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Over::Best => "what is faster",
            Over::Batch => "the batch",
            Over::Channels => "channels",
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
    /// What it is called in [`Choices`].
    pub key: String,
    /// The register tiles that it may have with the same sums: the one it has, then the cheapest by the cost model. None
    /// for what is no contraction.
    pub tiles: Vec<String>,
}

/// Schedules all kernels, in order, with the register tiles that were chosen. Those of a group count through the slices
/// with their parallel loops.
pub fn schedule(
    kernels: &mut Kernels,
    layouts: &Layouts,
    machine: &Machine,
    groups: &[Group],
    choices: &Choices,
) -> Vec<Launch> {
    let mut launches: Vec<Launch> = Vec::new();
    // Nothing keeps two kernels from having one name.
    let mut named: HashMap<String, usize> = HashMap::new();
    let mut group_of: Vec<Option<usize>> = vec![None; kernels.kernels.len()];
    for (at, group) in groups.iter().enumerate() {
        group_of[group.kernels.clone()].fill(Some(at));
    }
    for (at, kernel) in kernels.kernels.clone().into_iter().enumerate() {
        let group = group_of[at];
        let cuts = group.map_or(&[] as &[_], |group| {
            let group = &groups[group];
            &group.cuts[at - group.kernels.start]
        });
        for nest in &kernel.nests {
            let known = kernels.program.exprs.len();
            let first = named.get(&kernel.name).copied().unwrap_or(0);
            let key = |part: usize| choices::key(&kernel.name, first + part);
            let wanted = |part: usize| choices.tile(&key(part));
            let plans = cpu::plan(kernels, layouts, machine, nest, cuts, &wanted);
            named.insert(kernel.name.clone(), first + plans.len());
            for (part, plan) in plans.into_iter().enumerate() {
                let launch = emit::emit(kernels, layouts, machine, &kernel.name, nest, &plan, key(part));
                launches.push(Launch { group, ..launch });
            }
            // Each point of a register tile had expressions of its own, which no one needs again.
            kernels.program.exprs.truncate(known);
        }
    }
    launches
}
