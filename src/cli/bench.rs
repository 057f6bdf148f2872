//! `cnnc bench`: how fast a model trains and predicts on this machine.

use std::time::Instant;

use serde::Serialize;

use crate::base::philox::RandomState;
use crate::graph::Graph;
use crate::report::numbers;
use crate::runtime::program::lower;
use crate::runtime::{Pool, Program, Store};
use crate::sched::Machine;
use crate::train::programs::initialise;

use super::arguments::BenchArguments;
use super::project::{Project, execution, stem};
use super::{Failure, Outcome, print, print_json};

/// Rounds of which the smallest and the middle time are given.
const ROUNDS: usize = 5;
/// Seconds of a round.
const ROUND_SECONDS: f64 = 0.4;

#[derive(Debug, Serialize)]
struct Milliseconds {
    min: f64,
    median: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    batch: i64,
    threads: usize,
    train_step_ms: Milliseconds,
    infer_ms: Milliseconds,
    train_gflop: f64,
    train_gflops: f64,
    peak_gflops: f64,
    compile_ms: f64,
    arena_bytes: usize,
}

/// Measures and prints.
pub fn run(arguments: &BenchArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let (machine, pool) = execution(&arguments.machine)?;
    let recipe = project.recipe(&spec, None);
    let phase = &spec.phases[0];
    let fail = |errors| project.failure(errors);
    let step = recipe.step(phase.batch, phase).map_err(fail)?;
    let inference = recipe.inference(phase.batch).map_err(fail)?;
    let mut store = Store::default();
    initialise(&step, spec.seed, &mut store);
    let (train, step) = measure(&step, &machine, &pool, &mut store)?;
    let (infer, _) = measure(&inference, &machine, &pool, &mut store)?;
    let peak = peak_gflops(&machine, &pool)?;
    let report = Report {
        model: stem(&arguments.model.file),
        batch: phase.batch,
        threads: pool.threads(),
        train_gflop: step.gflop,
        train_gflops: step.gflop / train.min * 1e3,
        train_step_ms: train,
        infer_ms: infer,
        peak_gflops: peak,
        compile_ms: step.compile_ms,
        arena_bytes: step.arena_bytes,
    };
    if arguments.json { print_json(&report) } else { print(&text(&report)) }
}

fn text(report: &Report) -> String {
    let share = numbers::percent(report.train_gflops / report.peak_gflops);
    [
        format!("{}, batch {}, {} threads", report.model, report.batch, report.threads),
        format!(
            "training step  {:9.3} ms (median {:.3})",
            report.train_step_ms.min, report.train_step_ms.median
        ),
        format!("inference      {:9.3} ms (median {:.3})", report.infer_ms.min, report.infer_ms.median),
        format!(
            "arithmetic     {:9.3} GFLOP a step, {:.1} GFLOP/s, {share} of the measured peak of {:.1}",
            report.train_gflop, report.train_gflops, report.peak_gflops
        ),
        format!("compiled in    {:9.3} ms", report.compile_ms),
        format!("memory         {} in the arena", numbers::bytes(report.arena_bytes as u64)),
        String::new(),
    ]
    .join("\n")
}

struct Made {
    gflop: f64,
    compile_ms: f64,
    arena_bytes: usize,
}

fn measure(
    graph: &Graph,
    machine: &Machine,
    pool: &Pool,
    store: &mut Store,
) -> Result<(Milliseconds, Made), Failure> {
    let start = Instant::now();
    let lowered = lower(graph, machine, &mut |_, _| {});
    let gflop = lowered.kernels.multiplications() as f64 * 2e-9;
    let mut program =
        Program::compile(graph, lowered, machine).map_err(|error| Failure::Run(error.to_string()))?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    for (name, value) in [("lr", 1e-6), ("first", 0.0), ("step_size", 1e-6), ("bias_correction2_sqrt", 1.0)] {
        program.set_scalar(name, value);
    }
    let mut step = 0;
    let mut once = || {
        let start = Instant::now();
        program.run(store, pool, RandomState { seed: 0, step });
        program.commit(store);
        step += 1;
        start.elapsed().as_secs_f64()
    };
    let mut one = once();
    one = one.min(once()).min(once());
    let count = (ROUND_SECONDS / one).clamp(1.0, 10_000.0) as usize;
    let mut rounds: Vec<f64> =
        (0..ROUNDS).map(|_| (0..count).map(|_| once()).sum::<f64>() / count as f64).collect();
    rounds.sort_by(f64::total_cmp);
    let times = Milliseconds { min: rounds[0] * 1e3, median: rounds[ROUNDS / 2] * 1e3 };
    Ok((times, Made { gflop, compile_ms, arena_bytes: program.arena_bytes() }))
}

/// The most multiply-adds a second that independent chains in registers reach, times two, on all threads.
fn peak_gflops(machine: &Machine, pool: &Pool) -> Result<f64, Failure> {
    crate::runtime::peak::measure(machine, pool).map_err(|error| Failure::Run(error.to_string()))
}
