//! Threads wait for what they need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{KernelCall, Pool, Progress, Scratch, Task, Tasks};
use crate::base::philox::RandomState;
use crate::base::target::Target;
use crate::codegen::Module;
use crate::loops::parser::parse;
use crate::loops::verifier::Verified;

const EXTENT: usize = 64;

/// A task that stores ones, and one that reads all of them the other way round. Who takes the first part of the former
/// sleeps in front of it, while others come by.
struct OneBehindTheOther {
    module: Module,
    buffers: [Vec<*mut u8>; 2],
    parts: AtomicUsize,
}

// SAFETY: the addresses are those of buffers that outlive the run.
unsafe impl Sync for OneBehindTheOther {}

impl Tasks for OneBehindTheOther {
    fn task(&self, at: usize) -> Option<Task> {
        Some(Task { steps: 1, extent: EXTENT as i64, work: 1, dependences: at })
    }

    fn step(&self, at: usize, _: usize) -> KernelCall<'_> {
        if at == 0 && self.parts.fetch_add(1, Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
        KernelCall { kernel: self.module.kernel(at), buffers: &self.buffers[at], scratch: &[] }
    }
}

#[test]
fn a_task_waits_for_all_parts_of_the_one_before() {
    let texts = [
        "fn ones(x: write f32[64]) {\n  parallel for i in 0..64 {\n    x[i] = 1.0\n  }\n}\n",
        "fn turned(x: read f32[64], y: write f32[64]) {\n  parallel for i in 0..64 {\n    y[i] = x[-i + 63]\n  }\n}\n",
    ];
    let functions = texts.map(|text| parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")));
    let functions = functions.map(|function| Verified::new(function).expect("it is valid"));
    for threads in [2, 3] {
        let (mut x, mut y) = (vec![0.0_f32; EXTENT], vec![0.0_f32; EXTENT]);
        let (to, from) = (y.as_mut_ptr().cast::<u8>(), x.as_mut_ptr().cast::<u8>());
        let module = Module::compile(&functions, Target::host()).expect("it compiles");
        let tasks =
            OneBehindTheOther { module, buffers: [vec![from], vec![from, to]], parts: AtomicUsize::new(0) };
        let mut progress = [Progress::default(), Progress::default()];
        let pool = Pool::new(threads).expect("threads").sharing_all();
        let (random, mut scratch) = (RandomState::default(), Scratch::new(0));
        // SAFETY: the buffers have the declared lengths and outlive the run; the second task waits for the first one.
        unsafe { pool.run(0..2, &tasks, &random, &mut progress, &mut scratch) };
        assert_eq!(y, vec![1.0; EXTENT], "{threads} threads");
    }
}
