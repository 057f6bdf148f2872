//! The CPU as a device: memory of the process, native code, a pool of threads.
//!
//! It keeps the largest block that was given back for whoever leases next. All `unsafe` of what runs programs is here.

mod memory;
mod peak;
mod pool;
mod units;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::base::memory::{self as room, Shortage};
use crate::base::philox::RandomState;
use crate::codegen::Module;
use crate::plan::{MemoryPlan, Placement};
use crate::sched::Machine;

use super::device::{
    Code, Device, DeviceBuffer, Error, Fault, FillPart, Leased, Parts, PersistentBlocks, RunMemory,
    RunRequest, Runner, UpdateGuard, own, own_mut,
};
use memory::Memory;
use pool::{Addresses, Progress, Scratch};
use units::{CompiledLaunch, Units};

pub use pool::Pool;

/// The kind of this device.
const KIND: &str = "cpu";

/// The processors of this machine.
pub struct Cpu {
    machine: Machine,
    pool: Arc<Pool>,
    idle: Mutex<Option<Workspace>>,
}

/// What a run needs: an arena, and scratch for each thread.
struct Workspace {
    arena: Memory,
    scratch: Scratch,
}

/// Native code, and what is run of it.
struct Native {
    module: Module,
    launches: Vec<CompiledLaunch>,
    plan: Arc<MemoryPlan>,
    guard: Option<UpdateGuard>,
}

impl Cpu {
    /// A CPU with vectors as a machine has them, and the threads of a pool.
    pub fn new(machine: Machine, pool: Pool) -> Cpu {
        Cpu { machine, pool: Arc::new(pool), idle: Mutex::new(None) }
    }
}

impl Device for Cpu {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn described(&self) -> String {
        let (threads, level) = (self.pool.threads(), self.machine.target.level);
        format!("{threads} thread{}, {level}", if threads == 1 { "" } else { "s" })
    }

    fn identity(&self) -> String {
        self.machine.target.level.to_string()
    }

    fn machine(&self) -> Machine {
        self.machine
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn compile(&self, parts: Parts) -> Result<Code, Error> {
        let Parts { machine, functions, calls, plan, guard, results: _ } = parts;
        let module = Module::compile(&functions, machine.target)?;
        let mut buffers = 0;
        let launches = calls.into_iter().map(|call| {
            let start = buffers;
            buffers += call.places.len();
            CompiledLaunch::new(call, start)
        });
        Ok(Arc::new(Native { launches: launches.collect(), module, plan, guard }))
    }

    fn runner(&self, code: &Code) -> Box<dyn Runner> {
        let code: Arc<Native> = code.clone().downcast().expect("native code");
        let progress = code.plan.units.iter().map(|_| Progress::default()).collect();
        Box::new(CpuRunner { pool: self.pool.clone(), addresses: Addresses::default(), progress, code })
    }

    fn allocate(&self, bytes: usize) -> Result<Box<dyn DeviceBuffer>, Shortage> {
        let block = Memory::zeroed(bytes).or_else(|_| {
            self.trim();
            Memory::zeroed(bytes)
        });
        Ok(Box::new(block?))
    }

    fn lease(&self, plan: &MemoryPlan) -> Result<Leased, Shortage> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let idle = idle.unwrap_or_else(|| Workspace { arena: Memory::none(), scratch: Scratch::new(0) });
        let Workspace { mut arena, mut scratch } = idle;
        let is_zero = arena.bytes() < plan.arena_bytes;
        if is_zero {
            arena = Memory::none(); // Or both would be there at once.
        }
        if scratch.bytes() < plan.scratch_bytes {
            scratch = Scratch::new(plan.scratch_bytes);
        }
        let missing = if is_zero { plan.arena_bytes } else { 0 } + scratch.missing(self.pool.threads());
        if missing > 0 {
            room::check("the next run", missing as u64)?;
        }
        if is_zero {
            arena = Memory::zeroed(plan.arena_bytes)?;
        }
        scratch.prepare(self.pool.threads())?;
        Ok(Leased { block: Box::new(Workspace { arena, scratch }), is_zero })
    }

    fn write_parts(
        &self,
        block: &mut dyn DeviceBuffer,
        range: Range<usize>,
        unit: usize,
        fill: FillPart<'_>,
    ) {
        let Workspace { arena, .. } = own_mut(block);
        self.pool.write_parts(arena.slice_mut(range), unit, fill);
    }

    fn give_back(&self, mut block: Box<dyn DeviceBuffer>) {
        let given: &mut Workspace = own_mut(&mut *block);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let known = idle.as_ref().map_or(0, |idle| idle.arena.bytes());
        if idle.is_none() || given.arena.bytes() > known {
            let none = Workspace { arena: Memory::none(), scratch: Scratch::new(0) };
            *idle = Some(std::mem::replace(given, none));
        }
    }

    fn trim(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn peak_gflops(&self, machine: &Machine) -> Result<f64, Error> {
        peak::measure(machine, &self.pool)
    }

    fn bandwidth(&self) -> Result<f64, Error> {
        Ok(peak::bandwidth(&self.pool))
    }
}

impl DeviceBuffer for Memory {
    fn bytes(&self) -> usize {
        Memory::bytes(self)
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.slice(range).into()
    }

    fn write(&mut self, range: Range<usize>, fill: &mut dyn FnMut(&mut [u8])) {
        fill(self.slice_mut(range));
    }
}

impl DeviceBuffer for Workspace {
    fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.arena.slice(range).into()
    }

    fn write(&mut self, range: Range<usize>, fill: &mut dyn FnMut(&mut [u8])) {
        fill(self.arena.slice_mut(range));
    }
}

/// Runs native code on the threads of a pool.
struct CpuRunner {
    pool: Arc<Pool>,
    code: Arc<Native>,
    /// The addresses of all launches' buffers in the run at hand.
    addresses: Addresses,
    progress: Vec<Progress>,
}

impl CpuRunner {
    /// Looks up where the buffers of all launches lie now. Persistent tensors have the sizes of the plan: the
    /// instance has found them by path and shape.
    fn find_addresses(
        &mut self,
        Workspace { arena, scratch }: &Workspace,
        persistent: &[PersistentBlocks<'_>],
    ) {
        let plan = &self.code.plan;
        let fits = arena.bytes() >= plan.arena_bytes && scratch.fits(plan.scratch_bytes, self.pool.threads());
        assert!(fits, "a lease for another plan");
        let address = |place: &Placement| match *place {
            Placement::Arena(offset) => arena.at(offset),
            Placement::Present(at) => own::<Memory>(persistent[at].present).at(0),
            Placement::Next(at) => {
                own::<Memory>(persistent[at].next.as_deref().expect("room for a next value")).at(0)
            }
            Placement::Scratch { .. } => std::ptr::null_mut(), // Each thread has its own.
        };
        self.addresses.set(self.code.launches.iter().flat_map(|launch| &launch.places).map(address));
    }

    /// Runs the units of a range that have to run. Says whether any had to.
    fn run_range(&mut self, units: Range<usize>, scratch: &mut Scratch, request: &RunRequest) -> bool {
        let Native { module, launches, plan, .. } = &*self.code;
        let with_run_once = request.with_run_once;
        let tasks = Units { module, launches, addresses: &self.addresses, plan, with_run_once };
        let random: &RandomState = &request.random;
        // SAFETY: each function is a verified one, which stays inside its buffers; these lie inside the memory that was
        // looked up when the run began (`plan::verifier`, `find_addresses`). The plan says which units have none in
        // common, and which launches may run slice by slice.
        unsafe { self.pool.run(units.clone(), &tasks, random, &mut self.progress, scratch) };
        units.into_iter().any(|unit| tasks.has_to_run(unit))
    }

    /// The guarded unit, where it is one of these.
    fn guarded(&self, units: &Range<usize>) -> Option<(usize, UpdateGuard)> {
        let guard = self.code.guard?;
        guard.unit.filter(|unit| units.contains(unit)).map(|unit| (unit, guard))
    }
}

impl Runner for CpuRunner {
    fn run(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<(), Fault> {
        let workspace: &mut Workspace = own_mut(memory.lease);
        self.find_addresses(workspace, &memory.persistent);
        let mut units = request.units.clone();
        if let Some((unit, guard)) = self.guarded(&units) {
            self.run_range(units.start..unit, &mut workspace.scratch, request);
            if !guard.holds(workspace) {
                return Ok(());
            }
            units.start = unit;
        }
        self.run_range(units, &mut workspace.scratch, request);
        Ok(())
    }

    fn run_timed(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<Vec<f64>, Fault> {
        let workspace: &mut Workspace = own_mut(memory.lease);
        self.find_addresses(workspace, &memory.persistent);
        let guarded = self.guarded(&request.units);
        let mut seconds = Vec::new();
        for unit in request.units.clone() {
            if guarded.is_some_and(|(at, guard)| at == unit && !guard.holds(workspace)) {
                seconds.resize(request.units.len(), 0.0);
                return Ok(seconds);
            }
            let start = Instant::now();
            let has_run = self.run_range(unit..unit + 1, &mut workspace.scratch, request);
            seconds.push(if has_run { start.elapsed().as_secs_f64() } else { 0.0 });
        }
        Ok(seconds)
    }
}
