//! Running kernels on several threads.
//!
//! The threads meet once for a whole list of kernels. Each goes through it in order, takes parts of a kernel while
//! there are any, and waits in front of one whose operands are not there yet. Waiting is a short spin: a kernel of a
//! small net takes less time than it takes the system to wake a thread. Kernels that form one task run one after the
//! other for each iteration, with memory of the thread between them.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::{IndexedParallelIterator, ParallelIterator, ParallelSliceMut};

use crate::base::memory::Shortage;
use crate::base::philox::RandomState;
use crate::codegen::NativeFunction;

use super::memory::Memory;
use crate::runtime::device::FillPart;

/// A kernel that does less than this many operations is not worth sharing.
const SMALLEST_SHARED_WORK: u64 = 40_000;

/// So many bytes that the host writes count as one operation. Threads are woken for them alone, which is
/// worth it from somewhat more than a megabyte on.
const BYTES_OF_WORK: usize = 32;

/// A thread that has spun so often in vain lets others have its processor.
const SPINS: u32 = 2000;

/// The threads of a run.
pub struct Pool {
    threads: rayon::ThreadPool,
    smallest_shared_work: u64,
}

/// What is to be run.
pub trait Tasks: Sync {
    /// A task by its number; none where there is nothing to do.
    fn task(&self, at: usize) -> Option<Task>;

    /// A step of a task.
    fn step(&self, at: usize, step: usize) -> KernelCall<'_>;
}

/// Kernels that run together: all of them for one iteration, then for the next.
#[derive(Clone, Copy)]
pub struct Task {
    /// How many these are.
    pub steps: usize,
    /// The iterations of each of their parallel loops.
    pub extent: i64,
    /// About how many operations they do.
    pub work: u64,
    /// How many of the first tasks must be done before it begins.
    pub dependences: usize,
}

/// A kernel to run.
#[derive(Clone, Copy)]
pub struct KernelCall<'a> {
    pub kernel: NativeFunction<'a>,
    /// The addresses of its buffers.
    pub buffers: &'a [*mut u8],
    /// Those of them of which a thread holds the slice of one iteration.
    pub scratch: &'a [Slot],
}

/// A buffer in a thread's scratch.
#[derive(Clone, Copy)]
pub struct Slot {
    pub buffer: usize,
    /// The byte of the scratch where it begins.
    pub offset: usize,
    /// The bytes of a slice.
    pub slice: usize,
}

/// What each thread needs for itself.
#[derive(Default)]
pub struct Scratch {
    workers: Vec<Mutex<Worker>>,
    bytes: usize,
}

struct Worker {
    memory: Memory,
    /// The addresses of a kernel's buffers.
    table: Vec<*mut u8>,
}

// SAFETY: addresses alone do nothing; who runs a kernel answers for what lies there.
unsafe impl Send for Worker {}

impl Scratch {
    /// So many bytes for each thread.
    pub fn new(bytes: usize) -> Scratch {
        Scratch { workers: Vec::new(), bytes }
    }

    /// Bytes for each thread.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gets memory for so many threads, where there is none yet.
    ///
    /// # Errors
    ///
    /// Where there is not so much.
    pub fn prepare(&mut self, threads: usize) -> Result<(), Shortage> {
        while self.bytes > 0 && self.workers.len() < threads {
            self.workers.push(Mutex::new(Worker { memory: Memory::zeroed(self.bytes)?, table: Vec::new() }));
        }
        Ok(())
    }

    /// Bytes that it lacks for so many threads.
    pub fn missing(&self, threads: usize) -> usize {
        self.bytes * threads.saturating_sub(self.workers.len())
    }

    /// Whether so many threads have so many bytes each.
    pub fn fits(&self, bytes: usize, threads: usize) -> bool {
        self.bytes >= bytes && self.missing(threads) == 0
    }

    fn of(&self, worker: usize) -> Option<std::sync::MutexGuard<'_, Worker>> {
        // A worker holds no invariant that a panic could break.
        self.workers.get(worker).map(|worker| worker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Worker {
    /// The addresses for one iteration. Kernels add the place of their slice to that of a buffer.
    fn addresses(&mut self, step: &KernelCall<'_>, iteration: i64) -> &[*mut u8] {
        self.table.clear();
        self.table.extend_from_slice(step.buffers);
        for slot in step.scratch {
            let slice = self.memory.at(slot.offset);
            self.table[slot.buffer] = slice.wrapping_sub(iteration as usize * slot.slice);
        }
        &self.table
    }
}

/// The addresses of the buffers of a list of tasks.
#[derive(Default)]
pub struct Addresses(Vec<*mut u8>);

// SAFETY: addresses alone do nothing; who runs a task answers for what lies there.
unsafe impl Send for Addresses {}
// SAFETY: as above.
unsafe impl Sync for Addresses {}

impl Addresses {
    /// Replaces them all.
    pub fn set(&mut self, addresses: impl Iterator<Item = *mut u8>) {
        self.0.clear();
        self.0.extend(addresses);
    }

    /// Those of one task.
    pub fn of(&self, range: Range<usize>) -> &[*mut u8] {
        &self.0[range]
    }
}

/// How far a task is.
#[derive(Default)]
pub struct Progress {
    /// The first iteration that nobody has taken.
    next: AtomicI64,
    /// The iterations that are done.
    done: AtomicI64,
}

impl Pool {
    /// A pool of so many threads, at least one.
    ///
    /// # Errors
    ///
    /// Where the system gives no threads.
    pub fn new(threads: usize) -> Result<Pool, rayon::ThreadPoolBuildError> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build()?;
        Ok(Pool { threads, smallest_shared_work: SMALLEST_SHARED_WORK })
    }

    /// The same threads, which share every kernel, however small.
    pub fn sharing_all(self) -> Pool {
        Pool { smallest_shared_work: 0, ..self }
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs something with the pool's threads at hand.
    pub fn install<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        self.threads.install(run)
    }

    /// Runs the tasks of a range in order, all their iterations. `progress` has a place for each task.
    ///
    /// # Safety
    ///
    /// `scratch` is prepared for the threads of the pool. As for [`NativeFunction::call`], for all steps and whole
    /// ranges, where a buffer in scratch counts as one of its own; the steps of a task have nothing in common that one
    /// of them writes in another iteration; and tasks that do not wait for each other have no memory in common that one
    /// of them writes.
    pub unsafe fn run(
        &self,
        range: Range<usize>,
        tasks: &impl Tasks,
        random: &RandomState,
        progress: &mut [Progress],
        scratch: &mut Scratch,
    ) {
        progress.iter_mut().for_each(|progress| *progress = Progress::default());
        let is_shared = |at: usize| tasks.task(at).is_some_and(|task| self.parts(&task) > 1);
        let run = Run { pool: self, range, tasks, random, progress, scratch };
        if self.threads() == 1 || !run.range.clone().any(is_shared) {
            return run.work_off(0);
        }
        self.threads.install(|| {
            rayon::scope(|scope| {
                let run = &run;
                (1..self.threads()).for_each(|worker| scope.spawn(move |_| run.work_off(worker)));
                run.work_off(0);
            });
        });
    }

    /// Gives bytes to be written, cut into parts at multiples of `unit` where they are worth sharing.
    pub fn write_parts(&self, bytes: &mut [u8], unit: usize, fill: FillPart<'_>) {
        let (extent, work) = (bytes.len().div_ceil(unit) as i64, (bytes.len() / BYTES_OF_WORK) as u64);
        let parts = self.parts(&Task { steps: 1, extent, work, dependences: 0 });
        if parts == 1 {
            return fill(0, bytes);
        }
        let part = (extent / parts).max(1) as usize * unit;
        let parts = bytes.par_chunks_mut(part).enumerate();
        self.threads.install(|| parts.for_each(|(at, bytes)| fill(at * part, bytes)));
    }

    /// How many parts a task is cut into: some for each thread, as these do not get on equally fast.
    fn parts(&self, task: &Task) -> i64 {
        let threads = (self.threads() as i64).min(task.extent);
        if threads <= 1 || task.work < self.smallest_shared_work { 1 } else { threads * 4 }
    }
}

/// A range of tasks on their way.
struct Run<'r, T> {
    pool: &'r Pool,
    range: Range<usize>,
    tasks: &'r T,
    random: &'r RandomState,
    progress: &'r [Progress],
    scratch: &'r Scratch,
}

impl<T: Tasks> Run<'_, T> {
    /// What each thread does. A thread that comes late finds less to do.
    fn work_off(&self, worker: usize) {
        let mut worker = self.scratch.of(worker);
        let mut known = self.range.start;
        for at in self.range.clone() {
            let Some(task) = self.tasks.task(at) else { continue };
            self.wait(
                &mut known,
                task.dependences.saturating_sub(usize::from(planted!("runtime.pool.wait"))),
            );
            self.take_parts(at, &task, worker.as_deref_mut());
        }
        self.wait(&mut known, self.range.end);
    }

    /// Waits until all tasks before `end` are done; those before `known` are known to be.
    fn wait(&self, known: &mut usize, end: usize) {
        while *known < end {
            if let Some(task) = self.tasks.task(*known) {
                let mut spins = 0;
                while self.progress[*known].done.load(Ordering::Acquire) < task.extent {
                    spins += 1;
                    if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
                }
            }
            *known += 1;
        }
    }

    fn take_parts(&self, at: usize, task: &Task, mut worker: Option<&mut Worker>) {
        let Progress { next, done } = &self.progress[at];
        let parts = self.pool.parts(task);
        let part = if parts == 1 { task.extent } else { (task.extent / parts).max(1) };
        while next.load(Ordering::Relaxed) < task.extent {
            let start = next.fetch_add(part, Ordering::Relaxed);
            let end = (start + part).min(task.extent);
            if start >= end {
                return;
            }
            // SAFETY: `Pool::run`'s caller answers for the buffers; ranges do not overlap, and what the task waits for
            // is done.
            unsafe { self.call(at, task.steps, start..end, worker.as_deref_mut()) };
            done.fetch_add(end - start, Ordering::Release);
        }
    }

    /// Runs iterations of a task: a lone kernel all at once.
    ///
    /// # Safety
    ///
    /// As for [`Pool::run`], in this range.
    unsafe fn call(&self, at: usize, steps: usize, range: Range<i64>, worker: Option<&mut Worker>) {
        let Some(worker) = worker.filter(|_| steps > 1) else {
            for step in (0..steps).map(|step| self.tasks.step(at, step)) {
                // SAFETY: by the caller.
                unsafe { step.kernel.call(step.buffers, self.random, range.clone()) };
            }
            return;
        };
        for iteration in range {
            for step in (0..steps).map(|step| self.tasks.step(at, step)) {
                let buffers = worker.addresses(&step, iteration);
                // SAFETY: by the caller; a slice in scratch lies where the kernel looks for it in this iteration.
                unsafe { step.kernel.call(buffers, self.random, iteration..iteration + 1) };
            }
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
