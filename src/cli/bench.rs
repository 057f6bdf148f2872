//! `cnnc bench`: how fast a model trains and predicts on this machine.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::base::numbers;
use crate::base::philox::RandomState;
use crate::graph::Graph;
use crate::lower::{CompileOptions, TunedTiles, lower_tuned};
use crate::runtime::{Device, Executable, Instance, Mismatch, Store};
use crate::train::TrainError;
use crate::train::programs::{advised, compile_lowered, initialise};

use super::arguments::{BenchArguments, Mode};
use super::measured::{check_whole, set_inputs};
use super::project::{Execution, Project, execution};
use super::{Failure, Outcome, print, print_json, tuned};

/// Rounds of which the smallest and the middle time are given.
const ROUNDS: usize = 5;
/// Seconds of a round.
const ROUND_SECONDS: f64 = 0.4;

#[derive(Debug, Serialize)]
struct Milliseconds {
    min: f64,
    median: f64,
}

/// What is printed; what belongs to a mode that was not asked for is null.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    batch: i64,
    threads: usize,
    device: String,
    train_step_ms: Option<Milliseconds>,
    infer_ms: Option<Milliseconds>,
    train_gflop: Option<f64>,
    train_gflops: Option<f64>,
    infer_gflop: Option<f64>,
    infer_gflops: Option<f64>,
    peak_gflops: f64,
    compile_ms: f64,
    arena_bytes: usize,
}

/// Measures and prints.
pub fn run(arguments: &BenchArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let Execution { options, device, .. } = execution(&arguments.machine, spec.fast_math)?;
    let recipe = project.recipe(&spec, None);
    let phase = &spec.phases[0];
    let asked = |mode: &Mode| arguments.mode.is_none_or(|asked| asked == *mode);
    let modes = [Mode::Train, Mode::Infer].into_iter().filter(asked);
    let subject = |mode| tuned::Subject::new(&spec.name, phase.batch, tuned::mode(mode), options.machine);
    let tuned = tuned::read(&arguments.tuned, &modes.map(subject).collect::<Vec<_>>())?;
    let mut store = Store::on(&device);
    let mut measured = |mode: Mode| {
        if !asked(&mode) {
            return Ok(None);
        }
        let graph_of = |batch| match mode {
            Mode::Train => recipe.step(batch, phase),
            Mode::Infer => recipe.inference(batch),
        };
        let graph = graph_of(phase.batch).map_err(|errors| project.failure(errors))?;
        if store.entries().is_empty() {
            initialise(&graph, spec.seed, &mut store).map_err(|error| Failure::Run(error.to_string()))?;
        }
        let tiles = tuned::tiles(tuned.as_ref(), tuned::mode(mode));
        let made = compiled(&graph, &options, &tiles, &*device);
        let bound = made.and_then(|made| {
            let program = Instance::bind(made.executable.clone(), &device, &mut store)?;
            Ok((made, program))
        });
        let (made, program) = bound.map_err(|error| {
            let error = advised(error, phase.batch, &options, &mut |batch| graph_of(batch).ok());
            project.train_failure(error)
        })?;
        measure(&graph, &made, program, &mut store).map(Some)
    };
    let peak_gflops = peak_gflops(&options, &*device)?;
    let train = measured(Mode::Train)?;
    let infer = measured(Mode::Infer)?;
    let made = train.as_ref().or(infer.as_ref()).expect("one of the modes");
    let (compile_ms, arena_bytes) = (made.compile_ms, made.arena_bytes);
    let report = Report {
        model: spec.name.clone(),
        batch: phase.batch,
        threads: device.threads(),
        device: device.described(),
        train_gflop: train.as_ref().map(|made| made.gflop),
        train_gflops: train.as_ref().map(Measured::gflops),
        train_step_ms: train.map(|made| made.times),
        infer_gflop: infer.as_ref().map(|made| made.gflop),
        infer_gflops: infer.as_ref().map(Measured::gflops),
        infer_ms: infer.map(|made| made.times),
        peak_gflops,
        compile_ms,
        arena_bytes,
    };
    if arguments.json { print_json(&report) } else { print(&text(&report)) }
}

fn text(report: &Report) -> String {
    let timed = |what: &str, times: &Option<Milliseconds>| {
        let times = times.as_ref()?;
        Some(format!("{what:<14} {:9.3} ms (median {:.3})", times.min, times.median))
    };
    let worked = |what: &str, gflop: Option<f64>, gflops: Option<f64>| {
        let (gflop, gflops) = (gflop?, gflops?);
        let share = numbers::percent(gflops / report.peak_gflops);
        let peak = report.peak_gflops;
        Some(format!(
            "arithmetic     {gflop:9.3} GFLOP {what}, {gflops:.1} GFLOP/s, {share} of the measured peak of {peak:.1}"
        ))
    };
    let arithmetic = worked("a step", report.train_gflop, report.train_gflops);
    let lines = [
        Some(format!("{}, batch {}, {}", report.model, report.batch, report.device)),
        timed("training step", &report.train_step_ms),
        timed("inference", &report.infer_ms),
        arithmetic.or_else(|| worked("a prediction", report.infer_gflop, report.infer_gflops)),
        Some(format!("compiled in    {:9.3} ms", report.compile_ms)),
        Some(format!("memory         {} in the arena", numbers::bytes(report.arena_bytes as u64))),
    ];
    lines.into_iter().flatten().map(|line| line + "\n").collect()
}

/// What a program took.
struct Measured {
    times: Milliseconds,
    gflop: f64,
    compile_ms: f64,
    arena_bytes: usize,
}

impl Measured {
    fn gflops(&self) -> f64 {
        self.gflop / self.times.min * 1e3
    }
}

/// A program, and what is known of it before it runs.
struct Made {
    executable: Arc<Executable>,
    gflop: f64,
    compile_ms: f64,
}

fn compiled(
    graph: &Graph,
    options: &CompileOptions,
    tiles: &TunedTiles,
    device: &dyn Device,
) -> Result<Made, TrainError> {
    let start = Instant::now();
    let lowered = lower_tuned(graph, options, tiles);
    tuned::warn_of_misfits(tiles, &lowered);
    let gflop =
        lowered.kernels.multiplications() * if planted!("cli.bench.arithmetic") { 1e-9 } else { 2e-9 };
    let executable = compile_lowered(graph, lowered, device)?;
    Ok(Made { executable, gflop, compile_ms: start.elapsed().as_secs_f64() * 1e3 })
}

fn measure(
    graph: &Graph,
    made: &Made,
    mut program: Instance,
    store: &mut Store,
) -> Result<Measured, Failure> {
    let Made { executable, gflop, compile_ms } = made;
    set_inputs(&mut program, graph);
    let mut step = 0;
    let mut once = || {
        let start = Instant::now();
        program.run(store, RandomState { seed: 0, step })?;
        program.commit(store);
        step += 1;
        Ok(start.elapsed().as_secs_f64())
    };
    let failed = |error: Mismatch| Failure::Run(error.to_string());
    let mut one = once().map_err(failed)?;
    one = one.min(once().map_err(failed)?).min(once().map_err(failed)?);
    let count = (ROUND_SECONDS / one).clamp(1.0, 10_000.0) as usize;
    let mut round = || Ok((0..count).map(|_| once()).sum::<Result<f64, Mismatch>>()? / count as f64);
    let rounds: Result<Vec<f64>, Mismatch> = (0..ROUNDS).map(|_| round()).collect();
    let mut rounds = rounds.map_err(failed)?;
    rounds.sort_by(f64::total_cmp);
    check_whole(&program, store)?;
    let times = Milliseconds { min: rounds[0] * 1e3, median: rounds[ROUNDS / 2] * 1e3 };
    Ok(Measured { times, gflop: *gflop, compile_ms: *compile_ms, arena_bytes: executable.arena_bytes() })
}

/// The most multiply-adds a second that independent chains in registers reach, times two, on all threads.
fn peak_gflops(options: &CompileOptions, device: &dyn Device) -> Result<f64, Failure> {
    device.peak_gflops(&options.machine).map_err(|error| Failure::Run(error.to_string()))
}
