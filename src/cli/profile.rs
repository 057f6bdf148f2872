//! `cnnc profile`: where the time of a step goes, against what the machine can do.

use serde::Serialize;

use crate::base::numbers;
use crate::base::philox::RandomState;
use crate::loops::cost::{Cost, cost, traffic};
use crate::lower::lower_chosen;
use crate::plan::slices::Unit;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::runtime::{Mismatch, Pool, Program, Store, peak};
use crate::sched::Launch;
use crate::train::programs::{advised, initialise};

use super::arguments::{Mode, ProfileArguments};
use super::measured::{check_whole, set_inputs, short};
use super::project::{Project, execution};
use super::{Failure, Outcome, print, print_json, tuned};

/// Runs of which each kernel's middle time is given.
const ROUNDS: usize = 15;

/// One kernel of a step.
#[derive(Debug, Serialize)]
struct Line {
    kernel: String,
    milliseconds: f64,
    /// Of the whole step, 0 to 1.
    share: f64,
    gflop: f64,
    gflops: f64,
    /// The sizes of its buffers.
    megabytes: f64,
    /// What these would be a second: more than memory gives where the caches keep them.
    gigabytes_per_second: f64,
    /// The time that the machine's peaks allow, as a part of the time it took.
    of_roofline: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    batch: i64,
    threads: usize,
    level: String,
    step_ms: f64,
    peak_gflops: f64,
    memory_gigabytes_per_second: f64,
    /// In the order in which they run.
    kernels: Vec<Line>,
}

/// Measures and prints.
pub fn run(arguments: &ProfileArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let (goal, pool) = execution(&arguments.machine, spec.fast_math)?;
    let (recipe, phase) = (project.recipe(&spec, None), &spec.phases[0]);
    let fail = |errors| project.failure(errors);
    let mut store = Store::default();
    let step = recipe.step(phase.batch, phase).map_err(fail)?;
    initialise(&step, spec.seed, &mut store).map_err(|error| Failure::Run(error.to_string()))?;
    let graph = match arguments.mode {
        Mode::Train => step,
        Mode::Infer => recipe.inference(phase.batch).map_err(fail)?,
    };
    let mode = tuned::mode(arguments.mode);
    let subject = tuned::Subject::new(&spec.name, phase.batch, mode, goal.machine.target.level);
    let choices = tuned::choices(tuned::read(&arguments.tuned, &[subject])?.as_ref(), mode);
    let lowered = lower_chosen(&graph, &goal, &choices);
    tuned::warn_of_misfits(&choices, &lowered);
    let costs: Vec<_> = lowered.plan.units.iter().map(|unit| cost_of(&lowered.launches, unit)).collect();
    let code = |error: crate::codegen::Error| Failure::Run(error.to_string());
    let peak_gflops = peak::measure(&goal.machine, &pool).map_err(code)?;
    let bandwidth = peak::bandwidth(&pool);
    let program = Program::compile(&graph, lowered).map_err(|error| {
        let graph_of = &mut |batch| match arguments.mode {
            Mode::Train => recipe.step(batch, phase).ok(),
            Mode::Infer => recipe.inference(batch).ok(),
        };
        project.train_failure(advised(error.into(), phase.batch, &goal, graph_of))
    });
    let mut program = program?;
    set_inputs(&mut program, &graph);
    let seconds = middle_times(&mut program, &mut store, &pool);
    let seconds = seconds.map_err(|error| Failure::Run(error.to_string()))?;
    check_whole(&program, &store)?;
    let total: f64 = seconds.iter().sum();
    let line = |((kernel, cost), seconds): ((String, Cost), &f64)| {
        let (gflop, gigabytes) = (cost.flop as f64 * 1e-9, cost.bytes as f64 * 1e-9);
        let (compute, memory) = (gflop / peak_gflops, gigabytes / bandwidth);
        let least = if planted!("cli.profile.roofline") { compute.min(memory) } else { compute.max(memory) };
        Line {
            kernel,
            milliseconds: seconds * 1e3,
            share: seconds / total,
            gflop,
            gflops: gflop / seconds,
            megabytes: gigabytes * 1e3,
            gigabytes_per_second: gigabytes / seconds,
            of_roofline: least / seconds,
        }
    };
    // What runs once for all steps is not part of one.
    let runs = costs.into_iter().zip(&seconds).filter(|(_, seconds)| **seconds > 0.0);
    let report = Report {
        model: spec.name.clone(),
        batch: phase.batch,
        threads: pool.threads(),
        level: goal.machine.target.level.to_string(),
        step_ms: total * 1e3,
        peak_gflops,
        memory_gigabytes_per_second: bandwidth,
        kernels: runs.map(line).collect(),
    };
    if arguments.json { print_json(&report) } else { print(&text(&report, arguments.top)) }
}

/// The middle time of each unit. The first run counts for none: it also computes what stays for all others.
fn middle_times(program: &mut Program, store: &mut Store, pool: &Pool) -> Result<Vec<f64>, Mismatch> {
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for step in 0..=ROUNDS as u64 {
        rounds.push(program.run_timed(store, pool, RandomState { seed: 0, step })?);
        program.commit(store);
    }
    let median = |unit: usize| {
        let mut times: Vec<f64> = rounds[1..].iter().map(|times| times[unit]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((0..program.units().len()).map(median).collect())
}

/// The name of a unit and its work. What it holds in scratch goes through no memory.
fn cost_of(launches: &[Launch], unit: &Unit) -> (String, Cost) {
    let launches = &launches[unit.launches.clone()];
    let mut names: Vec<&str> = launches.iter().map(|launch| launch.function.name.as_str()).collect();
    names.dedup();
    let mut total = Cost::default();
    for launch in launches {
        let Cost { flop, bytes } = cost(&launch.function);
        let buffers = launch.buffers.iter().zip(launch.function.buffers.values());
        let own: u64 = buffers
            .filter(|(tensor, _)| unit.scratch.contains_key(tensor))
            .map(|(_, data)| traffic(data))
            .sum();
        total = Cost { flop: total.flop + flop, bytes: total.bytes + bytes - own };
    }
    (names.join("+"), total)
}

fn text(report: &Report, top: usize) -> String {
    let mut kernels: Vec<&Line> = report.kernels.iter().collect();
    kernels.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("ms", Align::Right),
        ("share", Align::Right),
        ("GFLOP/s", Align::Right),
        ("MB", Align::Right),
        ("GB/s", Align::Right),
        ("of roofline", Align::Right),
    ])
    .within(output::width());
    for line in kernels.iter().take(top + usize::from(planted!("cli.profile.top"))) {
        table.row(vec![
            short(&line.kernel),
            format!("{:.3}", line.milliseconds),
            numbers::percent(line.share),
            format!("{:.1}", line.gflops),
            format!("{:.2}", line.megabytes),
            format!("{:.1}", line.gigabytes_per_second),
            numbers::percent(line.of_roofline),
        ]);
    }
    let rest = kernels.len().saturating_sub(top);
    let shown = if rest > 0 {
        format!("\nand {rest} kernels that take less; --top N shows more\n")
    } else {
        String::new()
    };
    format!(
        "{}, batch {}, {} threads, {}: {:.3} ms a step in {} kernels\npeaks: {:.1} GFLOP/s, {:.1} GB/s from memory\n\n{table}{shown}",
        report.model,
        report.batch,
        report.threads,
        report.level,
        report.step_ms,
        report.kernels.len(),
        report.peak_gflops,
        report.memory_gigabytes_per_second,
    )
}
