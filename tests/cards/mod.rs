//! Programs as shaders for the graphics card that is taken for granted, and the graphs of files, for tests.
#![allow(dead_code)] // Every test that includes this module uses a part of it.

use std::path::{Path, PathBuf};

use cnnc::base::source::SourceMap;
use cnnc::codegen::wgsl::{self, Condition, Dispatch, Driver, Part, Rounding, Shader};
use cnnc::elab::config::{Metrics, Overrides};
use cnnc::elab::{self, ModelCall, Module, Request};
use cnnc::graph::{Graph, Sink};
use cnnc::loops::verifier::Verified;
use cnnc::lower::{CompileOptions, Lowered, lower};
use cnnc::plan::blocks::{bind, likely};
use cnnc::runtime::devices;
use cnnc::train::recipe::Recipe;

/// A graph for the card.
pub fn lowered(graph: &Graph) -> Lowered {
    lower(graph, &CompileOptions { machine: devices::assumed_card(), over: None, fast_math: true })
}

/// The shaders of a program, one for each unit of its plan.
pub fn shaders(lowered: &Lowered, rounding: Rounding) -> Vec<Shader> {
    let block_bytes = lowered.machine.grid.expect("a grid").block_bytes;
    let launches = lowered.native_launches();
    let verified = |function| Verified::new(function).unwrap_or_else(|invalid| panic!("{invalid}"));
    let functions: Vec<Verified> = launches.iter().map(|launch| verified(launch.function.clone())).collect();
    let shader = |(at, unit): (usize, &cnnc::plan::slices::Unit)| {
        let own = || unit.launches.clone().map(|at| (&launches[at], &functions[at]));
        let buffers =
            own().flat_map(|(launch, _)| launch.buffers.iter().zip(launch.function.buffers.values()));
        let places = buffers
            .map(|(tensor, data)| (lowered.plan.places[tensor], (data.len * data.dtype.size()) as u64));
        let is_guarded = lowered.plan.guarded.is_some_and(|first| at >= first);
        let verdict = lowered.verdict_place().filter(|_| is_guarded);
        let bound = bind(places, verdict, &|place, bytes| likely(place, bytes, block_bytes));
        let mut blocks = bound.blocks.into_iter();
        let parts = own().map(|(launch, function)| Part {
            function,
            blocks: blocks.by_ref().take(launch.buffers.len()).collect(),
            notes: Vec::new(),
        });
        let parts = parts.collect();
        let condition = bound.verdict.map(|block| Condition { block, is_finite: !lowered.accepts });
        let name = &launches[unit.launches.start].function.name;
        let written =
            wgsl::write(&Dispatch { parts, condition, driver: Driver { rounding, ..Driver::EXACT } });
        written.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    lowered.plan.units.iter().enumerate().map(shader).collect()
}

/// The files of a folder of examples.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "cnn")).collect();
    files.sort();
    files
}

/// A graph of a file.
pub struct Example {
    /// The file, the model, and what is done with it.
    pub name: String,
    pub graph: Graph,
}

/// The training steps of a file's train sections, at the batch given or their own.
pub fn steps(path: &Path, batch: Option<i64>) -> Vec<Example> {
    let (module, overrides) = load(path);
    let sections = module.train_sections();
    let step = |section: &&cnnc::syntax::ast::Train| {
        let spec = module.train_spec(section, &overrides).expect("the section is right");
        let phase = &spec.phases[0];
        let batch = batch.unwrap_or(phase.batch);
        let graph = Recipe::of(&module, &spec).step(batch, phase).expect("it elaborates");
        Example {
            name: name(path, &section.alias.as_ref().unwrap_or(&section.model).text, "step", batch),
            graph,
        }
    };
    sections.iter().map(step).collect()
}

/// The predictions of a file's models: of those with a train section as that calls them, else of all.
pub fn predictions(path: &Path, batch: i64) -> Vec<Example> {
    let (module, overrides) = load(path);
    let sections = module.train_sections();
    let of_section = |section: &&cnnc::syntax::ast::Train| {
        let spec = module.train_spec(section, &overrides).expect("the section is right");
        let graph = Recipe::of(&module, &spec).inference(batch).expect("it elaborates");
        let model = &section.alias.as_ref().unwrap_or(&section.model).text;
        Example { name: name(path, model, "prediction", batch), graph }
    };
    let found: Vec<Example> = sections.iter().map(of_section).collect();
    if !found.is_empty() {
        return found;
    }
    let of_model = |model: &&cnnc::syntax::ast::FnItem| {
        let mut graph = untrained(&module, &model.name.text, batch);
        graph.outputs.retain(|(_, sink)| *sink == Sink::Prediction);
        Example { name: name(path, &model.name.text, "prediction", batch), graph }
    };
    module.models().iter().map(of_model).collect()
}

/// The graph of a model that no section trains, of pictures of any size that it takes.
fn untrained(module: &Module, model: &str, batch: i64) -> Graph {
    let models = module.models();
    let item = models.iter().find(|item| item.name.text == model).expect("the model");
    let sizes = (1..16).map(|channels| Some([channels, 12, 12])).chain([None]);
    let graph = |size: Option<[i64; 3]>| {
        let request = Request {
            batch,
            training: false,
            loss: None,
            sample: size.as_ref().map(|size| size.as_slice()),
            init: &[],
            freeze: None,
            mixed: false,
            metrics: Metrics::default(),
        };
        module.graph(&ModelCall::new(item), &request).ok()
    };
    sizes.into_iter().find_map(graph).unwrap_or_else(|| panic!("{model} takes no pictures"))
}

fn load(path: &Path) -> (Module, Overrides) {
    let mut sources = SourceMap::default();
    let module = elab::load(&mut sources, path).expect("the file is right");
    let overrides = Overrides::parse(&mut sources, &[]).expect("no settings");
    (module, overrides)
}

fn name(path: &Path, model: &str, what: &str, batch: i64) -> String {
    let file = path.file_stem().expect("a name").to_string_lossy();
    format!("{file}: {model}, {what} of {batch}")
}
