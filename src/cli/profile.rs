//! `cnnc profile`: where the time of a step goes, against what the machine can do.

use serde::Serialize;

use crate::base::numbers;
use crate::base::philox::RandomState;
use crate::loops::cost::{Cost, cost, traffic};
use crate::lower::{Lowered, lower_tuned};
use crate::plan::slices::Unit;
use crate::report::output;
use crate::report::table::{Align, Table};
use crate::runtime::{Instance, Mismatch, Store};
use crate::train::programs::{advised, compile_lowered, initialise};

use super::arguments::{Mode, ProfileArguments};
use super::measured::{check_whole, set_inputs, short};
use super::project::{Execution, Project, execution};
use super::{Failure, Outcome, print, print_json, tuned};

/// Runs of which each kernel's middle time is given.
const ROUNDS: usize = 15;

/// One kernel of a step.
#[derive(Debug, Serialize)]
struct Line {
    kernel: String,
    /// The lines of the model that it comes from, as `file:line`.
    lines: Vec<String>,
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
    device: String,
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
    let Execution { options, device, .. } = execution(&arguments.machine, spec.fast_math)?;
    let (recipe, phase) = (project.recipe(&spec, None), &spec.phases[0]);
    let fail = |errors| project.failure(errors);
    let mut store = Store::on(&device);
    let step = recipe.step(phase.batch, phase).map_err(fail)?;
    initialise(&step, spec.seed, &mut store).map_err(|error| Failure::Run(error.to_string()))?;
    let graph = match arguments.mode {
        Mode::Train => step,
        Mode::Infer => recipe.inference(phase.batch).map_err(fail)?,
    };
    let mode = tuned::mode(arguments.mode);
    let subject = tuned::Subject::new(&spec.name, phase.batch, mode, options.machine);
    let tiles = tuned::tiles(tuned::read(&arguments.tuned, &[subject])?.as_ref(), mode);
    let lowered = lower_tuned(&graph, &options, &tiles);
    tuned::warn_of_misfits(&tiles, &lowered);
    let units = lowered.plan.units.iter();
    let works: Vec<Work> = units.map(|unit| Work::of(&project, &lowered, unit)).collect();
    let failed = |error: crate::runtime::Error| Failure::Run(error.to_string());
    let peak_gflops = device.peak_gflops(&options.machine).map_err(failed)?;
    let bandwidth = device.bandwidth().map_err(failed)?;
    let executable = compile_lowered(&graph, lowered, &*device);
    let bound = executable.and_then(|executable| Ok(Instance::bind(executable, &device, &mut store)?));
    let mut program = bound.map_err(|error| {
        let graph_of = &mut |batch| match arguments.mode {
            Mode::Train => recipe.step(batch, phase).ok(),
            Mode::Infer => recipe.inference(batch).ok(),
        };
        project.train_failure(advised(error, phase.batch, &options, graph_of))
    })?;
    set_inputs(&mut program, &graph);
    let seconds = middle_times(&mut program, &mut store);
    let seconds = seconds.map_err(|error| Failure::Run(error.to_string()))?;
    check_whole(&program, &store)?;
    let total: f64 = seconds.iter().sum();
    let peaks = Peaks { gflops: peak_gflops, gigabytes_per_second: bandwidth };
    let line = |(work, seconds): (Work, &f64)| peaks.line(work, *seconds, total);
    // What runs once for all steps is not part of one.
    let runs = works.into_iter().zip(&seconds).filter(|(_, seconds)| **seconds > 0.0);
    let report = Report {
        model: spec.name.clone(),
        batch: phase.batch,
        threads: device.threads(),
        device: device.described(),
        level: options.machine.to_string(),
        step_ms: total * 1e3,
        peak_gflops,
        memory_gigabytes_per_second: bandwidth,
        kernels: runs.map(line).collect(),
    };
    if arguments.json { print_json(&report) } else { print(&text(&report, arguments.top)) }
}

/// The middle time of each unit. The first run counts for none: it also computes what stays for all others.
fn middle_times(program: &mut Instance, store: &mut Store) -> Result<Vec<f64>, Mismatch> {
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for step in 0..=ROUNDS as u64 {
        rounds.push(program.run_timed(store, RandomState { seed: 0, step })?);
        program.commit(store);
    }
    let median = |unit: usize| {
        let mut times: Vec<f64> = rounds[1..].iter().map(|times| times[unit]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((0..program.executable().units().len()).map(median).collect())
}

/// What a unit does, before it is measured.
struct Work {
    kernel: String,
    /// The lines of the user's files that it comes from.
    lines: Vec<String>,
    cost: Cost,
}

impl Work {
    /// That of a unit. What it holds in scratch goes through no memory.
    fn of(project: &Project<'_>, lowered: &Lowered, unit: &Unit) -> Work {
        let launches = &lowered.launches[unit.launches.clone()];
        let mut names: Vec<&str> = launches.iter().map(|launch| launch.function.name.as_str()).collect();
        names.dedup();
        let sources = lowered.sources(launches);
        let spans = sources.iter().filter_map(|source| source.span);
        let mut lines: Vec<String> = spans.map(|span| project.line(span)).collect();
        lines.dedup();
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
        Work { kernel: names.join("+"), lines, cost: total }
    }
}

/// What the machine can do.
struct Peaks {
    gflops: f64,
    gigabytes_per_second: f64,
}

impl Peaks {
    /// The line of a unit that took so many seconds of all.
    fn line(&self, Work { kernel, lines, cost }: Work, seconds: f64, total: f64) -> Line {
        let (gflop, gigabytes) = (cost.flop as f64 * 1e-9, cost.bytes as f64 * 1e-9);
        let (compute, memory) = (gflop / self.gflops, gigabytes / self.gigabytes_per_second);
        let least = if planted!("cli.profile.roofline") { compute.min(memory) } else { compute.max(memory) };
        Line {
            kernel,
            lines,
            milliseconds: seconds * 1e3,
            share: seconds / total,
            gflop,
            gflops: gflop / seconds,
            megabytes: gigabytes * 1e3,
            gigabytes_per_second: gigabytes / seconds,
            of_roofline: least / seconds,
        }
    }
}

/// The first line, and that there are others.
fn short_lines(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        [line] => line.clone(),
        [line, ..] => format!("{line} …"),
    }
}

fn text(report: &Report, top: usize) -> String {
    let mut kernels: Vec<&Line> = report.kernels.iter().collect();
    kernels.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    let mut table = Table::new(&[
        ("kernel", Align::Left),
        ("line", Align::Left),
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
            short_lines(&line.lines),
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
        "{}, batch {}, {}: {:.3} ms a step in {} kernels\npeaks: {:.1} GFLOP/s, {:.1} GB/s from memory\n\n{table}{shown}",
        report.model,
        report.batch,
        report.device,
        report.step_ms,
        report.kernels.len(),
        report.peak_gflops,
        report.memory_gigabytes_per_second,
    )
}
