//! The devices there are: the one place that knows them.

use std::sync::Arc;

use rayon::ThreadPoolBuildError;

use crate::base::target::Target;
use crate::sched::Machine;

use super::cpu::{Cpu, Pool};
use super::device::Device;
use super::interpreter::Interpreter;

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
