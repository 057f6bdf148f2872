//! Origins: tensors, kernels and launches have names of their own, and know the calls and the user's lines that they
//! come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab;
use cnnc::elab::config::Overrides;
use cnnc::graph::Graph;
use cnnc::lower::{CompileOptions, Lowered, TunedTiles, lower_observed};
use cnnc::train::recipe::Recipe;

struct Example {
    sources: SourceMap,
    text: String,
    lowered: Lowered,
    /// The names that occur more than once, by the stage that leaves them so.
    doubled: BTreeMap<&'static str, BTreeSet<String>>,
}

fn graphs(file: &str) -> (SourceMap, String, [Graph; 2]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let mut sources = SourceMap::default();
    let module = elab::load(&mut sources, &path).expect("the example parses");
    let spec = module.train_spec(module.train_sections()[0], &Overrides::default()).expect("it is right");
    let (recipe, phase) = (Recipe::of(&module, &spec), &spec.phases[0]);
    let step = recipe.step(phase.batch, phase).expect("it elaborates");
    let prediction = recipe.inference(1).expect("it elaborates");
    (sources, std::fs::read_to_string(path).expect("text"), [step, prediction])
}

/// The names that are there more than once.
fn doubled<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).map(str::to_owned).collect()
}

fn lowered(file: &str) -> [Example; 2] {
    let (sources, text, graphs) = graphs(file);
    graphs.map(|graph| {
        let mut found: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        let options = CompileOptions::of(Target::host());
        let lowered = lower_observed(&graph, &options, &TunedTiles::default(), &mut |seen| {
            let program = if seen.state.kernels.kernels.is_empty() {
                &seen.state.program
            } else {
                &seen.state.kernels.program
            };
            let tensors = program.tensors.values().map(|data| data.name.as_str());
            let kernels = seen.state.kernels.kernels.iter().map(|kernel| kernel.name.as_str());
            let launches = seen.state.launches.iter().map(|launch| launch.function.name.as_str());
            let all = [doubled(tensors), doubled(kernels), doubled(launches)];
            found.insert(seen.stage.name, all.into_iter().flatten().collect());
        });
        Example { sources: sources.clone(), text: text.clone(), lowered, doubled: found }
    })
}

#[test]
fn names_are_unique_at_every_stage() {
    for file in ["lenet.cnn", "digits.cnn", "mnist_cnn.cnn", "zoo/cifar_resnet20.cnn"] {
        for example in lowered(file) {
            for (stage, names) in &example.doubled {
                assert!(names.is_empty(), "{file}, after {stage}: {names:?}");
            }
            assert!(example.doubled.len() > 20, "{} stages", example.doubled.len());
        }
    }
}

/// What computes a layer comes from the line of that layer, forwards and backwards.
#[test]
fn launches_know_their_lines() {
    let [step, prediction] = lowered("lenet.cnn");
    for example in [step, prediction] {
        let Example { sources, text, lowered, .. } = example;
        let mut layers = BTreeSet::new();
        for launch in &lowered.launches {
            let found = lowered.sources(std::slice::from_ref(launch));
            // A parameter in another layout is of no call.
            let name = &launch.function.name;
            assert!(!found.is_empty() || name.ends_with(".across"), "{name} comes from nothing");
            for source in found.iter().filter(|source| source.op.starts_with("conv2d")) {
                let line = sources.position(source.span.expect("a line of the user's")).line;
                let line = text.lines().nth(line - 1).expect("a line of the file");
                assert!(line.contains("conv("), "{} of {}: {line}", source.op, source.path);
                layers.insert(source.path.clone());
            }
        }
        assert_eq!(layers.len(), 2, "{layers:?}");
    }
}
