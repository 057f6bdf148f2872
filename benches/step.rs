//! Milliseconds of a training step (forward, loss, backward, update) of the five models of the course notes.
//!
//! `cargo bench --bench step` uses all cores; `cargo bench --bench step -- 1` uses one thread, and further words pick
//! models by name.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab;
use cnnc::elab::config::{Moment, Overrides};
use cnnc::graph::Role;
use cnnc::lower::CompileOptions;
use cnnc::runtime::{Device, Instance, Store, devices};
use cnnc::train::programs::{StageTimes, compile, initialise};
use cnnc::train::recipe::Recipe;

const MODELS: [&str; 5] = ["convnet_gap", "convnet_gmp", "lenet", "mnist_cnn", "mnist_cnn_all"];
/// Seconds of steps that are measured of each model, and their least number.
const SECONDS: f64 = 3.0;
const STEPS: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(cores);
    let device = devices::host(threads).expect("threads");
    let named = |model: &&str| arguments.iter().any(|word| word == model);
    let all = !MODELS.iter().any(named);
    println!("{:<14} {:>6} {:>12} {:>12}   {threads} threads", "model", "batch", "median", "min");
    for model in MODELS.iter().filter(|model| all || named(model)) {
        let (batch, mut times) = measure(model, &device);
        times.sort_by(f64::total_cmp);
        let (median, min) = (times[times.len() / 2] * 1e3, times[0] * 1e3);
        println!("{model:<14} {batch:>6} {median:>9.3} ms {min:>9.3} ms");
    }
}

/// The batch size, and the seconds of each step.
fn measure(model: &str, device: &Arc<dyn Device>) -> (i64, Vec<f64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{model}.cnn"));
    let module = elab::load(&mut SourceMap::default(), &path).expect("the example parses");
    let section = module.train_sections()[0];
    let spec = module.train_spec(section, &Overrides::default()).expect("its section is right");
    let phase = &spec.phases[0];
    let recipe = Recipe::of(&module, &spec);
    let graph = recipe.step(phase.batch, phase).expect("it elaborates");
    let mut store = Store::on(device);
    initialise(&graph, spec.seed, &mut store).expect("memory");
    let options = CompileOptions::of(Target::host());
    let executable = compile(&graph, &options, &**device, &mut StageTimes::default()).expect("it compiles");
    let mut program = Instance::bind(executable, device, &mut store).expect("memory");
    let pixels = (0..phase.batch * 784).map(|at| (at * 37 % 101) as f32 / 101.0);
    program.set_data(&pixels.collect::<Vec<_>>());
    program.set_labels(&Role::Target, &(0..phase.batch).map(|at| (at * 7 % 10) as i32).collect::<Vec<_>>());
    let mut times = Vec::new();
    let mut step = 0;
    let moment = |step| Moment { step, steps: u64::MAX, epoch_steps: u64::MAX };
    while times.len() < STEPS || times.iter().sum::<f64>() < SECONDS {
        for (name, value) in phase.scalars(moment(step)) {
            program.set_scalar(&name, value as f32);
        }
        times.push(timed(&mut program, &mut store, RandomState { seed: spec.seed, step }));
        step += 1;
    }
    (phase.batch, times.split_off(2))
}

fn timed(program: &mut Instance, store: &mut Store, random: RandomState) -> f64 {
    let start = Instant::now();
    program.run(store, random).expect("its own store");
    program.commit(store);
    start.elapsed().as_secs_f64()
}
