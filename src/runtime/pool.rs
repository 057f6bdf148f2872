//! Running kernels on several threads.
//!
//! The threads meet once for a whole list of kernels. Each goes through it in order, takes parts of a kernel while there
//! are any, and waits in front of one whose operands are not there yet. Waiting is a short spin: a kernel of a small net
//! takes less time than it takes the system to wake a thread.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::philox::RandomState;
use crate::codegen::Kernel;

/// A kernel that does less than this many operations is not worth sharing.
const SMALLEST_SHARED_WORK: u64 = 40_000;

/// A thread that has spun so often in vain lets others have its processor.
const SPINS: u32 = 2000;

/// The threads of a run.
pub struct Pool {
    threads: rayon::ThreadPool,
    smallest_shared_work: u64,
}

/// A kernel to run.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub kernel: Kernel<'a>,
    /// The addresses of its buffers.
    pub buffers: &'a [*mut u8],
    /// About how many operations it does.
    pub work: u64,
    /// How many of the first tasks must be done before it begins.
    pub waits: usize,
}

// SAFETY: kernels write disjoint elements in different iterations of their parallel loop, which the verifier proves;
// between kernels, threads wait for each other.
unsafe impl Sync for Task<'_> {}

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

    /// Runs the tasks of a range in order, all their iterations; `task` gives none where there is nothing to do.
    /// `progress` has a place for each task.
    ///
    /// # Safety
    ///
    /// As for [`Kernel::call`], for all tasks and whole ranges; and tasks that do not wait for each other have no memory
    /// in common that one of them writes.
    pub unsafe fn run<'a>(
        &self,
        range: Range<usize>,
        task: &(impl Fn(usize) -> Option<Task<'a>> + Sync),
        random: &RandomState,
        progress: &mut [Progress],
    ) {
        let is_shared = |at: usize| task(at).is_some_and(|task| self.parts(&task) > 1);
        if self.threads() == 1 || !range.clone().any(is_shared) {
            for Task { kernel, buffers, .. } in range.filter_map(task) {
                // SAFETY: by the caller.
                unsafe { kernel.call(buffers, random, 0..extent(&kernel)) };
            }
            return;
        }
        progress.iter_mut().for_each(|progress| *progress = Progress::default());
        let run = Run { pool: self, range, task, random, progress };
        self.threads.install(|| {
            rayon::scope(|scope| {
                (1..self.threads()).for_each(|_| scope.spawn(|_| run.work_off()));
                run.work_off();
            });
        });
    }

    /// How many parts a task is cut into: some for each thread, as these do not get on equally fast.
    fn parts(&self, task: &Task<'_>) -> i64 {
        let threads = (self.threads() as i64).min(extent(&task.kernel));
        if threads <= 1 || task.work < self.smallest_shared_work { 1 } else { threads * 4 }
    }
}

/// The iterations of a kernel.
fn extent(kernel: &Kernel<'_>) -> i64 {
    kernel.parallel_extent.unwrap_or(1)
}

/// A range of tasks on their way.
struct Run<'r, T> {
    pool: &'r Pool,
    range: Range<usize>,
    task: &'r T,
    random: &'r RandomState,
    progress: &'r [Progress],
}

impl<'a, T: Fn(usize) -> Option<Task<'a>> + Sync> Run<'_, T> {
    /// What each thread does. A thread that comes late finds less to do.
    fn work_off(&self) {
        let mut known = self.range.start;
        for at in self.range.clone() {
            let Some(task) = (self.task)(at) else { continue };
            self.wait(&mut known, task.waits);
            self.take_parts(at, &task);
        }
        self.wait(&mut known, self.range.end);
    }

    /// Waits until all tasks before `end` are done; those before `known` are known to be.
    fn wait(&self, known: &mut usize, end: usize) {
        while *known < end {
            if let Some(task) = (self.task)(*known) {
                let extent = extent(&task.kernel);
                let mut spins = 0;
                while self.progress[*known].done.load(Ordering::Acquire) < extent {
                    spins += 1;
                    if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
                }
            }
            *known += 1;
        }
    }

    fn take_parts(&self, at: usize, task: &Task<'a>) {
        let Progress { next, done } = &self.progress[at];
        let extent = extent(&task.kernel);
        let part = (extent / self.pool.parts(task)).max(1);
        let part = if self.pool.parts(task) == 1 { extent } else { part };
        while next.load(Ordering::Relaxed) < extent {
            let start = next.fetch_add(part, Ordering::Relaxed);
            let end = (start + part).min(extent);
            if start >= end {
                return;
            }
            // SAFETY: `Pool::run`'s caller answers for the buffers; ranges do not overlap, and what the task waits for is
            // done.
            unsafe { task.kernel.call(task.buffers, self.random, start..end) };
            done.fetch_add(end - start, Ordering::Release);
        }
    }
}
