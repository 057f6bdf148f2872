//! What a program runs: its launches with the places of their buffers, in the units that the pool shares out.

use std::ops::Range;

use crate::codegen::Module;
use crate::plan::{MemoryPlan, Placement};
use crate::runtime::device::Call;

use super::pool::{Addresses, KernelCall, Slot, Task, Tasks};

/// A launch of a compiled program.
pub struct CompiledLaunch {
    /// In the module.
    pub function: usize,
    /// Those of its buffers.
    pub places: Vec<Placement>,
    /// Where their addresses stand.
    pub buffers: Range<usize>,
    /// Those that lie in scratch.
    pub scratch: Vec<Slot>,
    /// Its amount of work, for the pool.
    pub work: u64,
}

impl CompiledLaunch {
    pub fn new(Call { function, places, work }: Call, start: usize) -> CompiledLaunch {
        let slot = |(buffer, place): (usize, &Placement)| match *place {
            Placement::Scratch { offset, slice } => Some(Slot { buffer, offset, slice }),
            _ => None,
        };
        let scratch = places.iter().enumerate().filter_map(slot).collect();
        CompiledLaunch { function, buffers: start..start + places.len(), scratch, work, places }
    }
}

/// The units of a program, for the pool.
pub struct Units<'a> {
    pub module: &'a Module,
    pub launches: &'a [CompiledLaunch],
    pub addresses: &'a Addresses,
    pub plan: &'a MemoryPlan,
    /// Whether the results of launches that run once are not there yet.
    pub with_run_once: bool,
}

impl Units<'_> {
    pub fn has_to_run(&self, unit: usize) -> bool {
        self.with_run_once || !self.plan.run_once[self.plan.units[unit].launches.start]
    }

    fn launches(&self, unit: usize) -> &[CompiledLaunch] {
        &self.launches[self.plan.units[unit].launches.clone()]
    }
}

impl Tasks for Units<'_> {
    fn task(&self, at: usize) -> Option<Task> {
        let launches = self.launches(at);
        self.has_to_run(at).then(|| Task {
            steps: launches.len(),
            extent: self.module.kernel(launches[0].function).parallel_extent.unwrap_or(1),
            work: launches.iter().map(|launch| launch.work).sum(),
            dependences: self.plan.dependences[at],
        })
    }

    fn step(&self, at: usize, step: usize) -> KernelCall<'_> {
        let launch = &self.launches(at)[step];
        KernelCall {
            kernel: self.module.kernel(launch.function),
            buffers: self.addresses.of(launch.buffers.clone()),
            scratch: &launch.scratch,
        }
    }
}
