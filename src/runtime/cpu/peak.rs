//! The machine's peak: what `bench` compares with.

use std::time::Instant;

use rayon::prelude::*;

use crate::base::philox::RandomState;
use crate::codegen::{Error, Module};
use crate::loops::verifier::Verified;
use crate::runtime::chains::{CHAINS, ROUNDS, chains};
use crate::sched::Machine;

use super::memory::Memory;
use super::pool::{Addresses, KernelCall, Pool, Progress, Scratch, Task, Tasks};

/// Pieces for each thread, so that all have work from the start to the end.
const PIECES: i64 = 16;

/// GFLOP/s of multiply-adds in registers on all threads of a pool: the best of several tries.
///
/// # Errors
///
/// Where the code generator fails.
pub fn measure(machine: &Machine, pool: &Pool) -> Result<f64, Error> {
    let threads = PIECES * pool.threads() as i64;
    let lanes = machine.target.lanes as u32;
    let module = Module::compile(&[Verified::new(chains(machine, threads, lanes))?], machine.target)?;
    let memory = Memory::zeroed(4 * threads as usize * CHAINS * lanes as usize)?;
    let flop = 2.0 * (threads * ROUNDS) as f64 * CHAINS as f64 * f64::from(lanes);
    let mut best = f64::INFINITY;
    let (mut progress, mut scratch) = ([Progress::default()], Scratch::default());
    let mut task = Chains { module, threads, addresses: Addresses::default() };
    task.addresses.set([memory.at(0)].into_iter());
    for _ in 0..10 {
        let start = Instant::now();
        // SAFETY: the memory has room for one vector a chain and thread, which is all that the function touches.
        unsafe { pool.run(0..1, &task, &RandomState::default(), &mut progress, &mut scratch) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(flop / best * 1e-9)
}

/// The kernel that measures the peak.
struct Chains {
    module: Module,
    threads: i64,
    addresses: Addresses,
}

impl Tasks for Chains {
    fn task(&self, _: usize) -> Option<Task> {
        Some(Task { steps: 1, extent: self.threads, work: u64::MAX, dependences: 0 })
    }

    fn step(&self, _: usize, _: usize) -> KernelCall<'_> {
        KernelCall { kernel: self.module.kernel(0), buffers: self.addresses.of(0..1), scratch: &[] }
    }
}

/// Bytes of memory that the bandwidth is measured on: more than caches hold.
const STREAM: usize = 1 << 28;

/// Billions of bytes a second that all threads of a pool read from memory: the best of several tries.
pub fn bandwidth(pool: &Pool) -> f64 {
    let memory = vec![1_u64; STREAM / size_of::<u64>()];
    let part = memory.len() / pool.threads();
    let read = || pool.install(|| memory.par_chunks(part).map(|part| part.iter().sum::<u64>()).sum::<u64>());
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        std::hint::black_box(read());
        best = best.min(start.elapsed().as_secs_f64());
    }
    STREAM as f64 / best * 1e-9
}
