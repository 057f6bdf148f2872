//! Lists of tasks as data, with kernels that write down what ran before them, and how often they ran.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{BYTES_OF_WORK, KernelCall, Pool, Progress, SMALLEST_SHARED_WORK, Scratch, Slot, Task, Tasks};
use crate::base::philox::RandomState;
use crate::base::target::Target;
use crate::codegen::{Module, NativeFunction};
use crate::loops::parser::parse;
use crate::loops::verifier::Verified;

/// The elements of a slice in scratch.
const SLICE: usize = 5;

/// A task of a list.
#[derive(Clone, Copy, Debug)]
struct Listed {
    extent: usize,
    work: u64,
    dependences: usize,
    /// Whether a first kernel leaves a slice in scratch for the second.
    in_steps: bool,
    /// Whether there is nothing to do.
    is_skipped: bool,
    /// Whether those who run its first kernel sleep a little: before all parts, and between two steps.
    is_slow: bool,
}

const fn task(extent: usize) -> Listed {
    Listed { extent, work: 1, dependences: 0, in_steps: false, is_skipped: false, is_slow: false }
}

impl Listed {
    const fn after(self, dependences: usize) -> Listed {
        Listed { dependences, ..self }
    }

    const fn in_steps(self) -> Listed {
        Listed { in_steps: true, ..self }
    }

    const fn skipped(self) -> Listed {
        Listed { is_skipped: true, ..self }
    }

    const fn slow(self) -> Listed {
        Listed { is_slow: true, ..self }
    }

    /// What it adds to the counts.
    fn iterations(&self) -> usize {
        if self.is_skipped { 0 } else { self.extent }
    }

    /// Its kernels: the last one counts the iteration, and adds all counts of the tasks that must be done to
    /// what the first one has left, the iteration's number `SLICE` times. All have the same buffers.
    fn texts(&self, before: &[Listed]) -> Vec<String> {
        let Listed { extent, in_steps, .. } = *self;
        let len = extent.max(1);
        let counts = before.iter().enumerate().take(self.dependences);
        let mut buffers: String =
            counts.clone().map(|(at, task)| format!(", c{at}: read f32[{}]", task.extent.max(1))).collect();
        let mut terms: Vec<String> =
            counts.flat_map(|(at, task)| (0..task.extent).map(move |k| format!("c{at}[{k}]"))).collect();
        terms.push("0.0".into());
        let mut texts = Vec::new();
        let own = format!("numbers: read f32[{len}], counts: readwrite f32[{len}], seen: write f32[{len}]");
        if in_steps {
            let store = format!("slice[{SLICE}*i + k] = numbers[i]");
            let body = format!(
                "parallel for i in 0..{extent} {{\n    for k in 0..{SLICE} {{\n      {store}\n    }}\n  }}"
            );
            texts.push(format!(
                "fn first({own}, slice: write f32[{}]{buffers}) {{\n  {body}\n}}\n",
                SLICE * len
            ));
            terms.extend((0..SLICE).map(|k| format!("slice[{SLICE}*i + {k}]")));
            buffers = format!(", slice: read f32[{}]{buffers}", SLICE * len);
        }
        let body = format!("counts[i] = counts[i] + 1.0\n    seen[i] = {}", terms.join(" + "));
        texts.push(format!(
            "fn last({own}{buffers}) {{\n  parallel for i in 0..{extent} {{\n    {body}\n  }}\n}}\n"
        ));
        texts
    }
}

/// A list with its kernels, and where these write.
struct List<'a> {
    tasks: &'a [Listed],
    module: &'a Module,
    /// The first kernel of each task.
    kernels: Vec<usize>,
    buffers: Vec<Vec<*mut u8>>,
    slots: Vec<Vec<Slot>>,
    /// How often the first kernel of each task was called.
    calls: Vec<AtomicUsize>,
}

// SAFETY: the addresses are those of buffers that outlive the run.
unsafe impl Sync for List<'_> {}

impl Tasks for List<'_> {
    fn task(&self, at: usize) -> Option<Task> {
        let Listed { extent, work, dependences, in_steps, is_skipped, .. } = self.tasks[at];
        let steps = 1 + usize::from(in_steps);
        (!is_skipped).then_some(Task { steps, extent: extent as i64, work, dependences })
    }

    fn step(&self, at: usize, step: usize) -> KernelCall<'_> {
        let calls = if step == 0 { self.calls[at].fetch_add(1, Ordering::Relaxed) } else { 0 };
        if self.tasks[at].is_slow && calls == 0 {
            std::thread::sleep(Duration::from_millis(if step == 0 { 10 } else { 1 }));
        }
        let kernel: NativeFunction<'_> = self.module.kernel(self.kernels[at] + step);
        KernelCall { kernel, buffers: &self.buffers[at], scratch: &self.slots[at] }
    }
}

/// What the kernels of a task read and write.
struct Data {
    numbers: Vec<f32>,
    counts: Vec<f32>,
    seen: Vec<f32>,
}

fn compiled(tasks: &[Listed]) -> Module {
    let texts = tasks.iter().enumerate().flat_map(|(at, task)| task.texts(&tasks[..at]));
    let functions = texts.map(|text| {
        let function = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Verified::new(function).expect("it is valid")
    });
    Module::compile(&functions.collect::<Vec<_>>(), Target::host()).expect("it compiles")
}

/// Runs a list in ranges that end at these places, and checks what its kernels wrote down. Gives the calls of
/// each task.
fn check(tasks: &[Listed], module: &Module, pool: &Pool, ends: &[usize]) -> Vec<usize> {
    let mut data: Vec<Data> = tasks.iter().map(|task| Data::of(task.extent)).collect();
    let addresses: Vec<[*mut u8; 3]> = data.iter_mut().map(Data::addresses).collect();
    let (mut list, mut kernels) = (List::of(tasks, module), 0);
    for (at, task) in tasks.iter().enumerate() {
        let slice = task.in_steps.then_some(std::ptr::null_mut()); // Each thread has its own.
        let counts = addresses[..task.dependences].iter().map(|[_, counts, _]| *counts);
        list.buffers.push(addresses[at].into_iter().chain(slice).chain(counts).collect());
        // Those of two tasks that follow each other lie side by side.
        let slot = Slot { buffer: 3, offset: at % 2 * SLICE * 4, slice: SLICE * 4 };
        list.slots.push(task.in_steps.then_some(slot).into_iter().collect());
        list.kernels.push(kernels);
        kernels += 1 + usize::from(task.in_steps);
    }
    let mut progress: Vec<Progress> = tasks.iter().map(|_| Progress::default()).collect();
    let mut scratch = Scratch::new(2 * SLICE * 4);
    scratch.prepare(pool.threads()).expect("memory");
    let mut start = 0;
    for end in ends {
        // SAFETY: the buffers have the declared lengths and outlive the run; a task reads only its own, and
        // the counts of those that it waits for or that an earlier run has done.
        unsafe { pool.run(start..*end, &list, &RandomState::default(), &mut progress, &mut scratch) };
        start = *end;
    }
    let what =
        |at: usize| format!("{:?}, task {at} of {tasks:?}, {} threads, {ends:?}", tasks[at], pool.threads());
    for (at, (task, data)) in tasks.iter().zip(&data).enumerate() {
        let has_run = !task.is_skipped && at < start;
        let before: usize = tasks[..task.dependences].iter().map(Listed::iterations).sum();
        for number in 0..task.extent {
            let slice = if task.in_steps { number * SLICE } else { 0 };
            let wanted = if has_run { (1.0, (before + slice) as f32) } else { (0.0, -1.0) };
            assert_eq!(
                (data.counts[number], data.seen[number]),
                wanted,
                "iteration {number} of {}",
                what(at)
            );
        }
    }
    list.calls.into_iter().map(AtomicUsize::into_inner).collect()
}

impl Data {
    fn of(extent: usize) -> Data {
        let len = extent.max(1);
        let numbers = (0..len).map(|number| number as f32).collect();
        Data { numbers, counts: vec![0.0; len], seen: vec![-1.0; len] }
    }

    fn addresses(&mut self) -> [*mut u8; 3] {
        [&mut self.numbers, &mut self.counts, &mut self.seen].map(|buffer| buffer.as_mut_ptr().cast())
    }
}

impl<'a> List<'a> {
    fn of(tasks: &'a [Listed], module: &'a Module) -> List<'a> {
        let calls = tasks.iter().map(|_| AtomicUsize::new(0)).collect();
        List { tasks, module, kernels: Vec::new(), buffers: Vec::new(), slots: Vec::new(), calls }
    }
}

const LISTS: &[&[Listed]] = &[
    &[],
    &[task(1)],
    &[task(0)],
    &[task(64)],
    // One behind the other.
    &[task(64).slow(), task(64).after(1)],
    &[task(7).slow(), task(5).after(1).slow(), task(1).after(2).slow(), task(9).after(3)],
    // Two side by side, and one that needs the first of them alone.
    &[task(6).slow(), task(8).slow(), task(5).after(1), task(3).after(2), task(4).after(4)],
    // Nothing to do: at the beginning, between two that need each other, and for a reason of extent.
    &[task(4).skipped(), task(6).after(1).slow(), task(5).after(2).skipped(), task(7).after(3)],
    &[task(3).slow(), task(0).after(1), task(3).after(2), task(0).skipped(), task(2).after(4)],
    &[task(9).skipped()],
    // Slices in scratch.
    &[task(16).in_steps().slow()],
    &[task(12).in_steps().slow(), task(12).in_steps().slow(), task(1).in_steps().after(2)],
    &[task(6).slow(), task(8).after(1).in_steps().slow(), task(8).after(2), task(0).after(3).in_steps()],
];

#[test]
fn every_iteration_runs_once_when_what_it_needs_is_done() {
    for tasks in LISTS {
        let module = compiled(tasks);
        for threads in [1, 2, 3, 9] {
            let pool = Pool::new(threads).expect("threads").sharing_all();
            check(tasks, &module, &pool, &[tasks.len()]);
        }
    }
}

/// What runs later finds done what ran before.
#[test]
fn a_list_may_be_run_in_ranges() {
    for tasks in LISTS {
        let module = compiled(tasks);
        for threads in [1, 3] {
            let pool = Pool::new(threads).expect("threads").sharing_all();
            check(tasks, &module, &pool, &[]);
            for middle in 0..tasks.len() {
                check(tasks, &module, &pool, &[middle]);
                check(tasks, &module, &pool, &[middle, tasks.len()]);
            }
        }
    }
}

/// Threads that come late find nothing to do, however often they meet.
#[test]
fn short_lists_run_again_and_again() {
    let tasks = [task(3), task(2).after(1), task(3).in_steps().after(2), task(1).after(3), task(4).after(4)];
    let (module, pool) = (compiled(&tasks), Pool::new(3).expect("threads").sharing_all());
    for _ in 0..200 {
        check(&tasks, &module, &pool, &[tasks.len()]);
    }
}

#[test]
fn work_is_cut_where_it_is_worth_it() {
    let enough = SMALLEST_SHARED_WORK;
    for (threads, extent, work, calls) in [
        (1, 64, enough, 1),
        (2, 64, enough - 1, 1),
        (2, 64, enough, 8),
        (3, 64, enough, 13),
        (3, 2, enough, 2),
        (3, 1, enough, 1),
        (3, 0, enough, 0),
        (9, 3, enough, 3),
    ] {
        let tasks = [Listed { work, ..task(extent) }];
        let pool = Pool::new(threads).expect("threads");
        let found = check(&tasks, &compiled(&tasks), &pool, &[1]);
        assert_eq!(found, [calls], "{threads} threads, {extent} iterations, {work} operations");
    }
}

/// Bytes that are written by parts: each of them once, and few of them by one thread.
#[test]
fn bytes_are_cut_between_units() {
    let enough = SMALLEST_SHARED_WORK as usize * BYTES_OF_WORK;
    for (threads, bytes, unit, parts) in
        [(1, enough, 64, 1), (2, enough - 1, 4, 1), (2, enough, 64, 8), (3, enough, 12, 13), (9, 0, 4, 1)]
    {
        let found = written(&Pool::new(threads).expect("threads"), bytes, unit);
        assert_eq!(found, parts, "{threads} threads, {bytes} bytes");
    }
    for (threads, units, parts) in [(3, 0, 1), (3, 1, 1), (3, 2, 2), (3, 12, 12), (3, 13, 13), (3, 40, 14)] {
        let found = written(&Pool::new(threads).expect("threads").sharing_all(), units * 16, 16);
        assert_eq!(found, parts, "{threads} threads, {units} units");
    }
}

/// Writes bytes and checks that each is written once. Gives the number of parts.
fn written(pool: &Pool, bytes: usize, unit: usize) -> usize {
    let (mut memory, parts) = (vec![0_u8; bytes], Mutex::new(Vec::new()));
    pool.write_parts(&mut memory, unit, &|start, part| {
        part.iter_mut().for_each(|byte| *byte += 1);
        parts.lock().unwrap_or_else(PoisonError::into_inner).push((start, part.len()));
    });
    assert!(memory.iter().all(|byte| *byte == 1));
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    parts.sort_unstable();
    let mut end = 0;
    for (start, len) in &parts {
        assert_eq!((*start, start % unit), (end, 0), "{parts:?}");
        end += len;
    }
    assert_eq!(end, bytes);
    parts.len()
}
