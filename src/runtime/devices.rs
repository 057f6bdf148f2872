//! The devices there are: the one place that knows them.

use std::sync::Arc;

use rayon::ThreadPoolBuildError;

use crate::base::target::Target;
use crate::sched::{Grid, Machine};

use super::cpu::{Cpu, Pool};
use super::device::{Device, Fault};
#[cfg(feature = "gpu")]
use super::gpu;
use super::interpreter::Interpreter;
#[cfg(feature = "gpu")]
pub use gpu::CardOptions;

/// The lanes of a graphics card's vectors: as many invocations run in step on most cards.
pub(super) const CARD_LANES: usize = 32;

/// Values that an invocation of a graphics card keeps at hand.
pub(super) const CARD_REGISTERS: usize = 64;

/// The processors of this machine, with vectors of a level that it has.
///
/// # Errors
///
/// Where the system gives no threads.
pub fn cpu(target: Target, threads: usize) -> Result<Arc<dyn Device>, ThreadPoolBuildError> {
    Ok(Arc::new(Cpu::new(Machine::of(target), Pool::new(threads)?)))
}

/// The processors of this machine, with the vectors of its best level.
///
/// # Errors
///
/// Where the system gives no threads.
pub fn host(threads: usize) -> Result<Arc<dyn Device>, ThreadPoolBuildError> {
    cpu(Target::host(), threads)
}

/// The processors of this machine, where the threads share every function, however small: for tests.
///
/// # Errors
///
/// Where the system gives no threads.
pub fn cpu_sharing_all(target: Target, threads: usize) -> Result<Arc<dyn Device>, ThreadPoolBuildError> {
    Ok(Arc::new(Cpu::new(Machine::of(target), Pool::new(threads)?.sharing_all())))
}

/// The interpreter of loops, with vectors of 32 lanes.
pub fn interpreter() -> Arc<dyn Device> {
    Arc::new(Interpreter::new())
}

/// The interpreter of loops with the vectors of another device, whose bits it gives.
pub fn interpreter_like(machine: Machine) -> Arc<dyn Device> {
    Arc::new(Interpreter::like(machine))
}

/// The graphics card that a name is a part of, or the best one; software that stands for one by its name only.
///
/// # Errors
///
/// Where there is none, its driver refuses, or the build has no graphics cards.
#[cfg(feature = "gpu")]
pub fn gpu(name: Option<&str>) -> Result<Arc<dyn Device>, Fault> {
    gpu_like(name, CardOptions::default())
}

/// The same, used like one that differs from it: for tests.
///
/// # Errors
///
/// Those of [`gpu`].
#[cfg(feature = "gpu")]
pub fn gpu_like(name: Option<&str>, options: CardOptions) -> Result<Arc<dyn Device>, Fault> {
    Ok(Arc::new(gpu::Gpu::open(name, options)?))
}

/// All graphics adapters, what they are and can do, a line each.
///
/// # Errors
///
/// Where the build has no graphics cards.
#[cfg(feature = "gpu")]
pub fn adapters() -> Result<Vec<String>, Fault> {
    Ok(gpu::adapters())
}

/// How to get what a build has not.
#[cfg(not(feature = "gpu"))]
fn no_cards() -> Fault {
    Fault("this build has no graphics cards; build it with `--features gpu`".into())
}

/// A build without graphics cards has none.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "gpu"))]
pub fn gpu(_: Option<&str>) -> Result<Arc<dyn Device>, Fault> {
    Err(no_cards())
}

/// A build without graphics cards knows none.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "gpu"))]
pub fn adapters() -> Result<Vec<String>, Fault> {
    Err(no_cards())
}

/// What graphs are lowered for where no graphics card is asked what it can do.
pub fn assumed_card() -> Machine {
    Machine::of_grid(CARD_LANES, CARD_REGISTERS, Grid { fuses: true, block_bytes: 1 << 30, blocks: 32 })
}
