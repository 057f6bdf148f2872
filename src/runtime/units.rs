//! What a program runs: its launches with the places of their buffers, in the units that the pool shares out.

use std::ops::Range;

use crate::codegen::Module;
use crate::loops::Access;
use crate::plan::{Place, Plan};
use crate::sched::Launch;
use crate::te::Tensor;

use super::pool::{Addresses, Slot, Step, Task, Tasks};
use crate::lower::work;

/// The pool counts the work of a launch in instructions of 128 bits, whatever the machine has.
const POOL_LANES: u32 = 4;

/// A launch of a compiled program.
pub struct Compiled {
    /// In the module.
    pub function: usize,
    /// Those of its buffers.
    pub places: Vec<Place>,
    /// Where their addresses stand.
    pub buffers: Range<usize>,
    /// Those that lie in scratch.
    pub scratch: Vec<Slot>,
    /// Its amount of work, for the pool.
    pub work: u64,
    /// The tensors that it stores.
    pub results: Vec<Tensor>,
}

impl Compiled {
    pub fn new(launch: &Launch, function: usize, start: usize, plan: &Plan) -> Compiled {
        let places: Vec<Place> = launch.buffers.iter().map(|tensor| plan.places[tensor]).collect();
        let slot = |(buffer, place): (usize, &Place)| match *place {
            Place::Scratch { offset, slice } => Some(Slot { buffer, offset, slice }),
            _ => None,
        };
        Compiled {
            function,
            buffers: start..start + places.len(),
            scratch: places.iter().enumerate().filter_map(slot).collect(),
            work: work(&launch.function.body, &launch.function, POOL_LANES),
            results: results(launch),
            places,
        }
    }
}

/// The units of a program, for the pool.
pub struct Units<'a> {
    pub module: &'a Module,
    pub launches: &'a [Compiled],
    pub addresses: &'a Addresses,
    pub plan: &'a Plan,
    /// Whether the results of fixed launches are there.
    pub is_prepared: bool,
}

impl Units<'_> {
    pub fn has_to_run(&self, unit: usize) -> bool {
        !self.is_prepared || !self.plan.fixed[self.plan.units[unit].launches.start]
    }

    fn launches(&self, unit: usize) -> &[Compiled] {
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
            waits: self.plan.waits[at],
        })
    }

    fn step(&self, at: usize, step: usize) -> Step<'_> {
        let launch = &self.launches(at)[step];
        Step {
            kernel: self.module.kernel(launch.function),
            buffers: self.addresses.of(launch.buffers.clone()),
            scratch: &launch.scratch,
        }
    }
}

/// The tensors that a launch stores.
fn results(launch: &Launch) -> Vec<Tensor> {
    let buffers = launch.buffers.iter().zip(launch.function.buffers.values());
    buffers.filter(|(_, data)| data.access != Access::Read).map(|(tensor, _)| *tensor).collect()
}
