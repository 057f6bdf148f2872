//! What a training step is made of: launches on the processor, dispatches for the graphics card that is taken for
//! granted, and the memory of both.
//!
//! The networks of `examples/zoo` and the examples, at the batches of their files. `cargo bench --bench launches -- resnet18`
//! picks models by name, and `-- 8` takes another batch for all.

use std::path::{Path, PathBuf};

use cnnc::base::numbers;
use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab;
use cnnc::elab::config::Overrides;
use cnnc::loops::cost::cost;
use cnnc::lower::{CompileOptions, Lowered, lower};
use cnnc::runtime::devices;
use cnnc::train::recipe::Recipe;

/// Folders below `examples`.
const FOLDERS: [&str; 3] = ["", "notes", "zoo"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let batch = arguments.iter().find_map(|word| word.parse().ok());
    let names: Vec<&String> = arguments.iter().filter(|word| word.parse::<i64>().is_err()).collect();
    println!("{:34} {:>5} {:^30}   {:^41}", "", "", "processor", "graphics card");
    println!(
        "{:34} {:>5} {:>8} {:>10} {:>10}   {:>10} {:>8} {:>10} {:>10}",
        "model", "batch", "units", "moved", "arena", "dispatches", "functions", "moved", "arena"
    );
    for path in FOLDERS.iter().flat_map(|folder| files(folder)) {
        print(&path, batch, &|name| names.is_empty() || names.iter().any(|wanted| name.contains(*wanted)));
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "cnn")).collect();
    files.sort();
    files
}

/// A line for each train section of a file that is wanted.
fn print(path: &Path, batch: Option<i64>, is_wanted: &dyn Fn(&str) -> bool) {
    let mut sources = SourceMap::default();
    let module = elab::load(&mut sources, path).expect("the file is right");
    let overrides = Overrides::parse(&mut sources, &[]).expect("no settings");
    for section in module.train_sections() {
        let name = &section.alias.as_ref().unwrap_or(&section.model).text;
        if !is_wanted(name) {
            continue;
        }
        let spec = module.train_spec(section, &overrides).expect("the section is right");
        let phase = &spec.phases[0];
        let batch = batch.unwrap_or(phase.batch);
        let graph = Recipe::of(&module, &spec).step(batch, phase).expect("it elaborates");
        let cpu = lower(&graph, &CompileOptions::of(Target::host()));
        let options =
            CompileOptions { machine: devices::assumed_card(), ..CompileOptions::of(Target::host()) };
        let card = lower(&graph, &options);
        let [(cpu_moved, cpu_arena), (moved, arena)] = [&cpu, &card].map(memory);
        println!(
            "{name:34} {batch:>5} {:>8} {cpu_moved:>10} {cpu_arena:>10}   {:>10} {:>9} {moved:>10} {arena:>10}",
            cpu.plan.units.len(),
            card.plan.units.len(),
            card.unique_functions()
        );
    }
}

/// The bytes that a step moves, as the loops have it, and those of its arena.
fn memory(lowered: &Lowered) -> (String, String) {
    let moved: u64 = lowered.native_launches().iter().map(|launch| cost(&launch.function).bytes).sum();
    (numbers::bytes(moved), numbers::bytes(lowered.plan.arena_bytes as u64))
}
