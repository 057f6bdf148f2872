//! The machine's peak: what `bench` compares with.

use std::time::Instant;

use rayon::prelude::*;

use crate::base::philox::RandomState;
use crate::codegen::{Error, Module};
use crate::loops::verifier::Verified;
use crate::loops::{
    AccessMode, AxisData, Binary, BufferData, DType, Expr, ForKind, Function, Index, LocalData, Scalar, Stmt,
    Type,
};
use crate::sched::Machine;

use super::memory::Memory;
use super::pool::{Addresses, KernelCall, Pool, Progress, Scratch, Task, Tasks};

/// Independent chains of multiply-adds: enough to hide their latency.
const CHAINS: usize = 10;
const ROUNDS: i64 = 10_000;
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

fn chains(machine: &Machine, threads: i64, lanes: u32) -> Function {
    let mut function = Function { name: "peak".into(), ..Function::default() };
    let ty = Type { scalar: Scalar::F32, lanes };
    let (thread, round) = (
        function.axes.push(AxisData { name: "thread".into(), extent: threads }),
        function.axes.push(AxisData { name: "round".into(), extent: ROUNDS }),
    );
    let len = threads as usize * CHAINS * lanes as usize;
    let data = BufferData { name: "out".into(), dtype: DType::F32, len, access: AccessMode::Write };
    let buffer = function.buffers.push(data);
    let (mut before, mut inside, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let scale = function.locals.push(LocalData { name: "scale".into(), ty });
    before.push(Stmt::Set { local: scale, value: Expr::Splat(Box::new(Expr::Float(0.999)), lanes) });
    for chain in 0..CHAINS {
        let local = function.locals.push(LocalData { name: "chain".into(), ty });
        let start = Expr::Splat(Box::new(Expr::Float(chain as f32)), lanes);
        before.push(Stmt::Set { local, value: start });
        let (x, y) = (Box::new(Expr::Local(local)), Box::new(Expr::Local(scale)));
        let value = if machine.target.fma() {
            Expr::Fma(x, y.clone(), y)
        } else {
            Expr::Binary(Binary::Add, Box::new(Expr::Binary(Binary::Mul, x, y.clone())), y)
        };
        inside.push(Stmt::Set { local, value });
        let width = i64::from(lanes);
        let index = Index::from(thread).scale(CHAINS as i64 * width).offset(chain as i64 * width);
        after.push(Stmt::Store { buffer, index, stride: 1, value: Expr::Local(local) });
    }
    before.push(Stmt::For { axis: round, kind: ForKind::Serial, body: inside });
    before.extend(after);
    function.body = vec![Stmt::For { axis: thread, kind: ForKind::Parallel, body: before }];
    function
}
