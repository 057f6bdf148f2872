//! `cnnc bench --tune`: which register tiles are the fastest on this machine.
//!
//! The scheduler ranks the tiles of every kernel by a model of their cost. Here the best of each rank are compiled
//! together, one program a rank, and run by turns, so that each kernel is measured in its place and what else the
//! machine does meets all ranks alike. What wins is measured once more against the cost model's tile, because of many
//! noisy times the smallest is a lucky one. Tiles change no bit of a result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::base::philox::RandomState;
use crate::elab::config::TrainSpec;
use crate::graph::Graph;
use crate::lower::{CompileOptions, Lowered, TunedTiles, lower_tuned};
use crate::runtime::{Device, Instance, Mismatch, Store};
use crate::sched::Launch;
use crate::train::programs::{compile_lowered, initialise};

use super::arguments::{BenchArguments, Mode};
use super::measured::{check_whole, set_inputs, short};
use super::project::{Execution, Project, execution};
use super::tuned::{self, Subject, Tuned};
use super::{Failure, Outcome, print, print_json};

/// So many kernels are measured, the slowest.
const KERNELS: usize = 12;
/// How often each program has its turn, by turns forwards and backwards; of all times the middle one counts.
const TURNS: usize = 10;
/// Seconds of a turn, as far as the runs of one allow.
const TURN_SECONDS: f64 = 0.1;
/// Runs of a turn.
const RUNS: [f64; 2] = [2.0, 50.0];
/// A tile is kept where it takes less than this share of the time of the cost model's.
const WORTH: f64 = 0.98;

/// A kernel that runs with another tile than the cost model's.
#[derive(Debug, Serialize)]
struct Changed {
    kernel: String,
    /// What it is called among the tiles.
    key: String,
    default_tile: String,
    tile: String,
    default_ms: f64,
    tuned_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    subject: Subject,
    threads: usize,
    /// How many kernels were measured with several tiles.
    measured: usize,
    kernels: Vec<Changed>,
    /// The whole step without and with the tiles.
    default_ms: f64,
    tuned_ms: f64,
    ratio: f64,
    file: String,
}

/// Measures, prints and writes the tiles.
pub fn run(arguments: &BenchArguments) -> Outcome {
    let flags: Vec<String> = arguments.batch.iter().map(|batch| format!("train.batch={batch}")).collect();
    let project = Project::load(&arguments.model, &flags)?;
    let spec = project.train()?;
    let Execution { options, device, .. } = execution(&arguments.machine, spec.fast_math)?;
    let mode = arguments.mode.unwrap_or(Mode::Train);
    let mut store = Store::on(&device);
    let graph = graph(&project, &spec, mode, &mut store)?;
    let mut tuner = Tuner { graph: &graph, options: &options, device: &device, store: &mut store, step: 0 };
    let Outcomes { measured, kernels, tiles, default_ms, tuned_ms } = tuner.tune()?;
    let beside = || arguments.model.file.with_extension("tune.json");
    let file = arguments.tune_file.clone().unwrap_or_else(beside);
    let subject = Subject::new(&spec.name, spec.phases[0].batch, tuned::mode(mode), options.machine);
    let tuned = Tuned {
        format: crate::train::tuned::FORMAT,
        subject: subject.clone(),
        threads: device.threads(),
        tiles,
    };
    tuned.save(&file).map_err(|error| Failure::Run(error.to_string()))?;
    let report = Report {
        subject,
        threads: device.threads(),
        measured,
        kernels,
        default_ms,
        tuned_ms,
        ratio: default_ms / tuned_ms,
        file: file.display().to_string(),
    };
    if arguments.json { print_json(&report) } else { print(&text(&report)) }
}

/// The graph of a mode, and the values that it needs.
fn graph(project: &Project<'_>, spec: &TrainSpec, mode: Mode, store: &mut Store) -> Result<Graph, Failure> {
    let (recipe, phase) = (project.recipe(spec, None), &spec.phases[0]);
    let graph = match mode {
        Mode::Train => recipe.step(phase.batch, phase),
        Mode::Infer => recipe.inference(phase.batch),
    };
    let graph = graph.map_err(|errors| project.failure(errors))?;
    initialise(&graph, spec.seed, store).map_err(|error| Failure::Run(error.to_string()))?;
    Ok(graph)
}

fn text(report: &Report) -> String {
    let Report { subject, threads, measured, kernels, default_ms, tuned_ms, ratio, file } = report;
    let mut text = format!("{subject}, {threads} threads: {measured} kernels measured\n");
    for Changed { kernel, default_tile, tile, default_ms, tuned_ms, .. } in kernels {
        text += &format!(
            "{default_ms:9.3} ms → {tuned_ms:9.3} ms  {}: tile {tile} in place of {default_tile}\n",
            short(kernel)
        );
    }
    if kernels.is_empty() {
        text += "no tile is faster than that of the cost model\n";
    }
    text += &format!("{default_ms:9.3} ms → {tuned_ms:9.3} ms  the whole, {ratio:.3} times as fast\n");
    text + &format!("the tiles are in {file}\n")
}

/// What came out.
struct Outcomes {
    measured: usize,
    kernels: Vec<Changed>,
    tiles: TunedTiles,
    default_ms: f64,
    tuned_ms: f64,
}

/// A launch and the rank of its tile; the cost model's has rank 0.
type Pick = (usize, usize);

/// Runs a program once and gives seconds, of each launch or of the whole.
type Timed = fn(&mut Instance, &mut Store, RandomState) -> Result<Vec<f64>, Mismatch>;

struct Tuner<'a> {
    graph: &'a Graph,
    options: &'a CompileOptions,
    device: &'a Arc<dyn Device>,
    store: &'a mut Store,
    step: u64,
}

impl Tuner<'_> {
    fn tune(&mut self) -> Result<Outcomes, Failure> {
        let default = lower_tuned(self.graph, self.options, &TunedTiles::default());
        let launches = default.launches.clone();
        let mut programs = vec![self.compile(default)?];
        let times = self.by_turns(&mut programs, run_launches)?;
        let slow = slowest(&launches, &times[0]);
        let most = slow.iter().map(|at| launches[*at].tiles.len()).max().unwrap_or(1);
        for rank in 1..most {
            let has_it = slow.iter().filter(|at| launches[**at].tiles.len() > rank);
            let picks: Vec<Pick> = has_it.map(|at| (*at, rank)).collect();
            self.add(&mut programs, &tiles(&launches, &picks))?;
        }
        let times = self.by_turns(&mut programs, run_launches)?;
        let mut picks: Vec<Pick> =
            slow.iter().map(|at| (*at, fastest(&launches[*at], *at, &times))).collect();
        picks.retain(|(at, rank)| is_worth(times[0][*at], times[*rank][*at]));
        programs.truncate(1);
        self.add(&mut programs, &tiles(&launches, &picks))?;
        let times = self.by_turns(&mut programs, run_launches)?;
        picks.retain(|(at, _)| is_worth(times[0][*at], times[1][*at]));
        programs.truncate(1);
        let tiles = tiles(&launches, &picks);
        if !tiles.is_empty() {
            self.add(&mut programs, &tiles)?;
        }
        let whole = self.by_turns(&mut programs, run_whole)?;
        Ok(Outcomes {
            measured: slow.len(),
            kernels: picks.iter().map(|pick| changed(&launches, *pick, &times)).collect(),
            tiles,
            default_ms: whole[0][0] * 1e3,
            tuned_ms: whole[whole.len() - 1][0] * 1e3,
        })
    }

    /// Compiles a program and binds it, without memory.
    fn compile(&mut self, lowered: Lowered) -> Result<Instance, Failure> {
        let executable = compile_lowered(self.graph, lowered, &**self.device);
        let executable = executable.map_err(|error| Failure::Run(error.to_string()))?;
        let mut program = Instance::bind(executable, self.device, self.store).map_err(failed)?;
        program.release();
        Ok(program)
    }

    /// Adds the program of some tiles. One arena serves all, so none has the better place.
    fn add(&mut self, programs: &mut Vec<Instance>, tiles: &TunedTiles) -> Result<(), Failure> {
        let lowered = lower_tuned(self.graph, self.options, tiles);
        programs.push(self.compile(lowered)?);
        Ok(())
    }

    /// The middle times of programs that run by turns.
    fn by_turns(&mut self, programs: &mut [Instance], run: Timed) -> Result<Vec<Vec<f64>>, Failure> {
        let mut runs: Vec<Vec<Vec<f64>>> = vec![Vec::new(); programs.len()];
        for turn in 0..TURNS {
            for place in 0..programs.len() {
                let at = if turn % 2 == 0 { place } else { programs.len() - 1 - place };
                runs[at].extend(self.turn(&mut programs[at], run)?);
            }
        }
        Ok(runs.iter().map(|runs| middle(runs)).collect())
    }

    /// Runs a program for a while. The first run counts for none: it also computes what stays for all others.
    fn turn(&mut self, program: &mut Instance, run: Timed) -> Result<Vec<Vec<f64>>, Failure> {
        program.lease().map_err(|shortage| failed(shortage.into()))?;
        set_inputs(program, self.graph);
        let mut once = || {
            let times = run(program, self.store, RandomState { seed: 0, step: self.step });
            program.commit(self.store);
            self.step += 1;
            times.map_err(failed)
        };
        let seconds: f64 = once()?.iter().sum();
        let count = (TURN_SECONDS / seconds).clamp(RUNS[0], RUNS[1]) as usize;
        let times = (0..count).map(|_| once()).collect::<Result<_, Failure>>()?;
        check_whole(program, self.store)?;
        program.release();
        Ok(times)
    }
}

fn failed(error: Mismatch) -> Failure {
    Failure::Run(error.to_string())
}

/// Each launch takes the time of its unit: what runs slice by slice is measured together.
fn run_launches(
    program: &mut Instance,
    store: &mut Store,
    random: RandomState,
) -> Result<Vec<f64>, Mismatch> {
    let times = program.run_timed(store, random)?;
    let units = program.executable().units().iter().zip(times);
    Ok(units.flat_map(|(unit, seconds)| unit.launches.clone().map(move |_| seconds)).collect())
}

fn run_whole(program: &mut Instance, store: &mut Store, random: RandomState) -> Result<Vec<f64>, Mismatch> {
    let start = Instant::now();
    program.run(store, random)?;
    Ok(vec![start.elapsed().as_secs_f64()])
}

/// The middle time of each launch.
fn middle(runs: &[Vec<f64>]) -> Vec<f64> {
    let middle = |launch: usize| {
        let mut times: Vec<f64> = runs.iter().map(|times| times[launch]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    (0..runs[0].len()).map(middle).collect()
}

/// The launches that are to be measured, the slowest first.
fn slowest(launches: &[Launch], times: &[f64]) -> Vec<usize> {
    let has_several = |at: &usize| launches[*at].tiles.len() > 1 && times[*at] > 0.0;
    let mut found: Vec<usize> = (0..launches.len()).filter(has_several).collect();
    found.sort_by(|a, b| times[*b].total_cmp(&times[*a]));
    // What is chosen for a function holds for all that are equal to it.
    let mut seen = BTreeSet::new();
    found.retain(|at| seen.insert(launches[*at].key()));
    found.truncate(KERNELS);
    found
}

/// The rank of the tile with which a launch took the least time.
fn fastest(launch: &Launch, at: usize, times: &[Vec<f64>]) -> usize {
    let ranks = 0..launch.tiles.len();
    ranks.min_by(|a, b| times[*a][at].total_cmp(&times[*b][at])).unwrap_or(0)
}

fn is_worth(default: f64, tuned: f64) -> bool {
    tuned < WORTH * default
}

fn tiles(launches: &[Launch], picks: &[Pick]) -> TunedTiles {
    let mut tiles = TunedTiles::default();
    for (at, rank) in picks {
        tiles.choose(&launches[*at].key(), &launches[*at].tiles[*rank]);
    }
    tiles
}

fn changed(launches: &[Launch], (at, rank): Pick, times: &[Vec<f64>]) -> Changed {
    let Launch { function, tiles, .. } = &launches[at];
    Changed {
        kernel: function.name.clone(),
        key: launches[at].key(),
        default_tile: tiles[0].clone(),
        tile: tiles[rank].clone(),
        default_ms: times[0][at] * 1e3,
        tuned_ms: times[1][at] * 1e3,
    }
}
