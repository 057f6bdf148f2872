//! Running a kernel on several threads.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::philox::RandomState;
use crate::codegen::Kernel;

/// A kernel that does less than this many operations is not worth waking another thread for.
const SMALLEST_SHARED_WORK: u64 = 40_000;

/// The threads of a run.
pub struct Pool {
    threads: rayon::ThreadPool,
    smallest_shared_work: u64,
}

/// The addresses of a launch's buffers, which threads share.
struct Shared<'a>(&'a [*mut u8]);

// SAFETY: kernels write disjoint elements in different iterations of their parallel loop, which the verifier proves.
unsafe impl Sync for Shared<'_> {}

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

    /// Runs all iterations of a kernel. Called inside [`install`](Pool::install).
    ///
    /// # Safety
    ///
    /// As for [`Kernel::call`], for the whole range.
    pub unsafe fn run(&self, kernel: Kernel<'_>, buffers: &[*mut u8], random: &RandomState, work: u64) {
        let extent = kernel.parallel_extent.unwrap_or(1);
        let threads = (self.threads() as i64).min(extent);
        if threads == 1 || work < self.smallest_shared_work {
            // SAFETY: by the caller.
            return unsafe { kernel.call(buffers, random, 0..extent) };
        }
        let chunk = (extent / (threads * 4)).max(1);
        let next = AtomicI64::new(0);
        let shared = Shared(buffers);
        rayon::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| work_off(kernel, &shared, random, &next, chunk, extent));
            }
            work_off(kernel, &shared, random, &next, chunk, extent);
        });
    }
}

fn work_off(
    kernel: Kernel<'_>,
    buffers: &Shared<'_>,
    random: &RandomState,
    next: &AtomicI64,
    chunk: i64,
    extent: i64,
) {
    loop {
        let start = next.fetch_add(chunk, Ordering::Relaxed);
        if start >= extent {
            return;
        }
        // SAFETY: `Pool::run`'s caller answers for the buffers; ranges do not overlap.
        unsafe { kernel.call(buffers.0, random, start..(start + chunk).min(extent)) };
    }
}
