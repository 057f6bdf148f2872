//! Graphics cards as a device, through wgpu: memory of theirs, shaders, and runs that are recorded and submitted as one.
//!
//! The lanes of the loops are invocations ([`codegen::wgsl`](crate::codegen::wgsl)). The guard of a step is a number
//! in memory that the kernels of the updates look at, so nothing is read back in between. What is read after each run
//! comes back with it. All that goes wrong on the device is kept ([`context`]) and ends the run that sees it.

mod adapters;
mod alone;
mod context;
mod memory;
mod peak;
mod probe;
mod program;
mod runner;
mod spirv;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::memory::Shortage;
use crate::plan::MemoryPlan;
use crate::sched::{Grid, Machine};

use super::device::{Code, Device, DeviceBuffer, Error, Fault, FillPart, Leased, Parts, Runner, own_mut};
use super::devices::{CARD_LANES, CARD_REGISTERS};
use context::Context;
use memory::{Arena, Slabs};
use program::Program;
use runner::GpuRunner;

/// The kind of this device.
const KIND: &str = "gpu";

/// In what a card is treated as another one than it is: for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct CardOptions {
    /// Its driver takes no code as it is.
    pub fenced: bool,
    /// Its driver is not told to keep operations as they are.
    pub unmarked: bool,
    /// Bytes of a block of memory.
    pub block_bytes: Option<usize>,
    /// Blocks that a kernel binds.
    pub blocks: Option<usize>,
    /// The driver refuses all shaders from the first program on.
    pub refuses: bool,
    /// The device is lost after so many runs.
    pub lost_after: Option<u64>,
}

/// A graphics card.
pub struct Gpu {
    context: Arc<Context>,
    slabs: Arc<Slabs>,
    grid: Grid,
    idle: Mutex<Option<Arena>>,
}

/// All adapters, what they are and can do, a line each.
pub fn adapters() -> Vec<String> {
    adapters::all().iter().flat_map(adapters::Adapter::described).collect()
}

impl Gpu {
    /// Opens the adapter that a name is a part of, or the best one.
    ///
    /// # Errors
    ///
    /// Where there is none, or its driver refuses.
    pub fn open(name: Option<&str>, options: CardOptions) -> Result<Gpu, Fault> {
        let mut context = Context::open(adapters::find(name)?, options)?;
        probe::run(&mut context)?;
        let context = Arc::new(context);
        let blocks = context.adapter.limits.max_storage_buffers_per_shader_stage as usize;
        let grid = Grid {
            fuses: context.arithmetic.fuses,
            block_bytes: context.block_bytes() as usize,
            blocks: options.blocks.unwrap_or(blocks),
        };
        Ok(Gpu { context, slabs: Arc::default(), grid, idle: Mutex::new(None) })
    }

    fn shortage(&self, what: &str, bytes: usize) -> Shortage {
        Shortage {
            what: format!("{what} on {}", self.context.adapter.name),
            needed: bytes as u64,
            room: None,
        }
    }
}

impl Device for Gpu {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn described(&self) -> String {
        self.context.adapter.name.clone()
    }

    fn identity(&self) -> String {
        format!("{}; {}", self.context.adapter.name, self.context.adapter.driver)
    }

    fn machine(&self) -> Machine {
        Machine::of_grid(CARD_LANES, CARD_REGISTERS, self.grid)
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, parts: Parts) -> Result<Code, Error> {
        Ok(Arc::new(Program::compile(&self.context, parts)?))
    }

    fn runner(&self, code: &Code) -> Box<dyn Runner> {
        Box::new(GpuRunner::new(code.clone().downcast().expect("shaders")))
    }

    fn allocate(&self, bytes: usize) -> Result<Box<dyn DeviceBuffer>, Shortage> {
        let block = self.slabs.allocate(&self.context, bytes).or_else(|| {
            self.trim();
            self.slabs.allocate(&self.context, bytes)
        });
        Ok(Box::new(block.ok_or_else(|| self.shortage("a tensor", bytes))?))
    }

    fn lease(&self, plan: &MemoryPlan) -> Result<Leased, Shortage> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut arena) = idle.filter(|arena| arena.bytes() >= plan.arena_bytes) {
            arena.forget();
            return Ok(Leased { block: Box::new(arena), is_zero: false });
        }
        let arena = Arena::new(&self.context, plan.arena_bytes, self.grid.block_bytes as u64);
        let arena = arena.ok_or_else(|| self.shortage("the next run", plan.arena_bytes))?;
        Ok(Leased { block: Box::new(arena), is_zero: true })
    }

    fn write_parts(&self, block: &mut dyn DeviceBuffer, range: Range<usize>, _: usize, fill: FillPart<'_>) {
        own_mut::<Arena>(block).write_input(range, fill);
    }

    fn give_back(&self, mut block: Box<dyn DeviceBuffer>) {
        let given: &mut Arena = own_mut(&mut *block);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.as_ref().is_none_or(|idle| idle.bytes() < given.bytes()) {
            *idle = Some(given.take());
        }
    }

    fn trim(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn check(&self) -> Result<(), Fault> {
        self.context.check()
    }

    fn peak_gflops(&self, machine: &Machine) -> Result<f64, Error> {
        peak::gflops(&self.context, machine)
    }

    fn bandwidth(&self) -> Result<f64, Error> {
        peak::bandwidth(&self.context, &self.machine())
    }
}
