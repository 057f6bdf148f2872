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

use indexmap::IndexMap;

use crate::base::parallel;
use crate::base::target::Target;
use crate::kernels::slices::Group;
use crate::kernels::{Kernels, Layouts};
use crate::loops::Function;
use crate::te::Tensor;

pub use choices::Choices;
pub use nest::Illegal;

/// The machine as the scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub target: Target,
    /// Lanes of a vector in the loops: those of a register, but at least eight, so that a block of pictures fills half
    /// of a cache line.
    pub lanes: i64,
}

/// What the lanes of vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The pictures of a batch.
    Batch,
    /// The channels of a picture.
    Channels,
}

impl Machine {
    /// The machine of a target.
    pub fn of(target: Target) -> Machine {
        Machine { target, lanes: (target.lanes as i64).max(8) }
    }

    /// Vector registers that one value of `lanes` lanes takes.
    pub fn registers_per_value(&self) -> usize {
        self.lanes as usize / self.target.lanes
    }
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
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

/// What is scheduled, and for what.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub kernels: &'a Kernels,
    pub layouts: &'a Layouts,
    pub machine: &'a Machine,
    /// Whether digits come before time: sums have short blocks, where that costs a little.
    pub keeps_digits: bool,
}

/// Schedules all kernels, in order, with the register tiles that were chosen. Those of a group count through the slices
/// with their parallel loops.
///
/// # Errors
///
/// Where the policy takes a step that is not legal: that is a bug of it.
pub fn schedule(subject: Subject<'_>, groups: &[Group], choices: &Choices) -> Result<Vec<Launch>, Illegal> {
    let kernels = &subject.kernels.kernels;
    let mut group_of: Vec<Option<usize>> = vec![None; kernels.len()];
    for (at, group) in groups.iter().enumerate() {
        group_of[group.kernels.clone()].fill(Some(at));
    }
    // Launches of one name are numbered, so kernels of one name are scheduled in order.
    let mut named: IndexMap<&str, Vec<usize>> = IndexMap::new();
    for (at, kernel) in kernels.iter().enumerate() {
        named.entry(&kernel.name).or_default().push(at);
    }
    let of_name = |(name, kernels): &(&str, Vec<usize>)| {
        let mut launches: Vec<(usize, Launch)> = Vec::new();
        for at in kernels {
            let group = group_of[*at].map(|group| (group, &groups[group]));
            let first = launches.len();
            let wanted = |number: usize| choices.tile(&choices::key(name, first + number));
            let of_kernel = schedule_kernel(subject, *at, group, &wanted)?;
            launches.extend(of_kernel.into_iter().map(|launch| (*at, launch)));
        }
        for (number, (_, launch)) in launches.iter_mut().enumerate() {
            launch.key = choices::key(name, number);
        }
        Ok(launches)
    };
    let named: Vec<(&str, Vec<usize>)> = named.into_iter().collect();
    let scheduled: Result<Vec<Vec<(usize, Launch)>>, Illegal> =
        parallel::map(&named, of_name).into_iter().collect();
    let mut launches = scheduled?.concat();
    launches.sort_by_key(|(kernel, _)| *kernel);
    Ok(launches.into_iter().map(|(_, launch)| launch).collect())
}

/// The launches of a kernel, which may belong to a group. `wanted` says which tile was chosen for which of them.
fn schedule_kernel<'c>(
    subject: Subject<'_>,
    at: usize,
    group: Option<(usize, &Group)>,
    wanted: &dyn Fn(usize) -> Option<&'c str>,
) -> Result<Vec<Launch>, Illegal> {
    let kernel = &subject.kernels.kernels[at];
    let cuts = group.map_or(&[] as &[_], |(_, group)| &group.cuts[at - group.kernels.start]);
    let mut launches: Vec<Launch> = Vec::new();
    for nest in &kernel.nests {
        let mut program = subject.kernels.program.workspace();
        let first = launches.len();
        let plans = cpu::plan(subject, &mut program, nest, cuts, &|part| wanted(first + part))?;
        for plan in &plans {
            let launch = emit::emit(subject, program.clone(), &kernel.name, nest, plan);
            launches.push(Launch { group: group.map(|(group, _)| group), ..launch });
        }
    }
    Ok(launches)
}
