//! How long it takes from the text of a model to its compiled training step, and how that grows with the model.
//!
//! The networks of `examples/zoo` at full size, batch 8; then one network of more and more equal blocks, which have
//! the same kernels: time grows with the graph, and native code is made once for what is equal.

use std::path::Path;
use std::time::Instant;

use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab;
use cnnc::elab::config::Overrides;
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::{Executable, devices};
use cnnc::train::recipe::Recipe;

const ROUNDS: usize = 5;

/// What was measured of one model.
struct Measured {
    milliseconds: f64,
    launches: usize,
    functions: usize,
}

fn main() {
    println!("{:32} {:>10} {:>9} {:>10}", "model", "ms", "launches", "functions");
    for (file, model) in [
        ("lenet", "lenet5"),
        ("alexnet", "alexnet"),
        ("vgg", "vgg16"),
        ("googlenet", "googlenet"),
        ("resnet", "resnet18"),
        ("resnet", "resnet50"),
        ("densenet", "densenet121"),
        ("efficientnet", "efficientnet_b0"),
    ] {
        let settings = ["train.batch=8".into()];
        print(model, &measure(&format!("zoo/{file}.cnn"), model, &settings));
    }
    for pairs in [8, 16, 32, 64] {
        let settings = [format!("args.pairs={pairs}")];
        print(&format!("{pairs} residual blocks"), &measure("notes/plain_vs_res.cnn", "Deep", &settings));
    }
}

fn print(name: &str, measured: &Measured) {
    let Measured { milliseconds, launches, functions } = measured;
    println!("{name:32} {milliseconds:10.1} {launches:9} {functions:10}");
}

/// The middle of several rounds.
fn measure(file: &str, model: &str, settings: &[String]) -> Measured {
    let mut rounds: Vec<Measured> = (0..ROUNDS).map(|_| once(file, model, settings)).collect();
    rounds.sort_by(|a, b| a.milliseconds.total_cmp(&b.milliseconds));
    rounds.swap_remove(ROUNDS / 2)
}

fn once(file: &str, model: &str, settings: &[String]) -> Measured {
    let start = Instant::now();
    let mut sources = SourceMap::default();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let module = elab::load(&mut sources, &path).expect("the file is right");
    let overrides = Overrides::parse(&mut sources, settings).expect("the settings are right");
    let sections = module.train_sections();
    let section = sections.iter().rev().find(|section| section.model.text == model).expect("a train section");
    let spec = module.train_spec(section, &overrides).expect("the section is right");
    let phase = &spec.phases[0];
    let graph = Recipe::of(&module, &spec).step(phase.batch, phase).expect("it elaborates");
    let options = CompileOptions::of(Target::host());
    let lowered = lower(&graph, &options);
    let (launches, functions) = (lowered.launches.len(), lowered.unique_functions());
    let device = devices::host(1).expect("a thread");
    let program = Executable::compile(&graph, lowered, &*device).expect("it compiles");
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    drop(program);
    Measured { milliseconds, launches, functions }
}
