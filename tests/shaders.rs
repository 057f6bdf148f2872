//! The shaders of programs: a compiler of WGSL that is not ours takes all of them, and there are few. No graphics card
//! is needed.

mod cards;
mod model;
mod random;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cards::{Example, files, lowered, predictions, shaders, steps};
use cnnc::base::parallel;
use cnnc::codegen::wgsl::{self, Dispatch, Driver, MOST_GROUPS, Part, Rounding, Shader};
use cnnc::loops::verifier::Verified;
use cnnc::lower::Lowered;
use cnnc::sched::Launch;
use model::Model;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Random programs of the normal run, of which each is written in one of both ways.
const PROGRAMS: u64 = 300;

/// Dispatches of a training step, at most. Each costs a card as much as a small kernel takes.
const LENET: usize = 24;
const EFFICIENTNET: usize = 590;

/// The texts that have been looked at: equal layers share them.
#[derive(Default)]
struct Seen(Mutex<HashSet<String>>);

impl Seen {
    fn is_new(&self, text: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned())
    }
}

/// Whether naga takes a text.
fn validate(text: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::default());
    validator.validate(&module).map(drop).map_err(|error| error.emit_to_string(text))
}

/// What naga says against the shaders of a program.
fn refused(name: &str, lowered: &Lowered, rounding: Rounding, seen: &Seen) -> Vec<String> {
    let shaders = shaders(lowered, rounding);
    let new = shaders.iter().enumerate().filter(|(_, shader)| seen.is_new(&shader.text));
    let refused = new.filter_map(|(at, shader)| {
        let error = validate(&shader.text).err()?;
        Some(format!("{name}, {rounding:?}, dispatch {at}: {error}\n{}", shader.text))
    });
    refused.collect()
}

fn check(refused: Vec<Vec<String>>) {
    let refused: Vec<String> = refused.into_iter().flatten().collect();
    assert!(refused.is_empty(), "{} shaders are refused, the first:\n{}", refused.len(), refused[0]);
}

/// Steps and predictions of examples, those of one picture and of a few vectors.
fn all_graphs(folder: &str, batch: Option<i64>) -> Vec<Example> {
    let of_file = |path: &std::path::PathBuf| {
        let mut found = steps(path, batch);
        found.extend(predictions(path, 1));
        found.extend(predictions(path, batch.unwrap_or(64)));
        found
    };
    files(folder).iter().flat_map(of_file).collect()
}

fn check_examples(examples: &[Example]) {
    let seen = Seen::default();
    check(parallel::map(examples, |example| {
        let lowered = lowered(&example.graph);
        let ways = [Rounding::Kept, Rounding::Fenced];
        ways.iter().flat_map(|rounding| refused(&example.name, &lowered, *rounding, &seen)).collect()
    }));
}

#[test]
fn those_of_the_examples_are_valid() {
    let examples: Vec<Example> = ["", "notes"].iter().flat_map(|folder| all_graphs(folder, None)).collect();
    assert!(examples.len() > 60, "{}", examples.len());
    check_examples(&examples);
}

#[test]
#[ignore = "all networks, minutes"]
fn those_of_the_zoo_are_valid() {
    check_examples(&all_graphs("zoo", Some(2)));
}

#[test]
fn those_of_random_programs_are_valid() {
    let seen = Seen::default();
    check(parallel::map(&(0..PROGRAMS).collect::<Vec<u64>>(), |seed| {
        let program = random::program(*seed);
        let lowered = lowered(&Model::new(&program.text).gradients(program.batch, true));
        let rounding = if seed % 2 == 0 { Rounding::Kept } else { Rounding::Fenced };
        refused(&format!("seed {seed}"), &lowered, rounding, &seen)
    }));
}

/// The check itself: what is no shader is refused.
#[test]
fn wrong_texts_are_refused() {
    let text = "@compute @workgroup_size(64)\nfn main() { let x = 1i; }\n";
    assert_eq!(validate(text), Ok(()));
    assert!(validate(&text.replace("1i", "1i + 1u")).is_err());
    assert!(validate(&text.replace("1i", "3e38f * 2f")).is_err());
}

#[test]
fn steps_have_few_dispatches() {
    let files = files("").into_iter().chain([Path::new("examples/zoo/efficientnet.cnn").into()]);
    let examples: Vec<Example> = files.flat_map(|path| steps(&path, Some(32))).collect();
    let is_looked_at = |example: &&Example| {
        !example.name.starts_with("efficientnet") || example.name.contains(" efficientnet_b0,")
    };
    let mut examples: Vec<&Example> = examples.iter().filter(is_looked_at).collect();
    let own = steps(Path::new("examples/lenet.cnn"), None);
    examples.extend(&own);
    let counts = parallel::map(&examples, |example| lowered(&example.graph).plan.units.len());
    let named = || examples.iter().map(|example| example.name.as_str()).zip(counts.iter().copied());
    let all: Vec<String> = named().map(|(name, count)| format!("{count:5} {name}")).collect();
    let all = all.join("\n");
    println!("{all}");
    for (wanted, most) in [("lenet", LENET), ("efficientnet", EFFICIENTNET)] {
        let mut found = named().filter(|(name, _)| name.starts_with(wanted)).peekable();
        assert!(found.peek().is_some(), "no {wanted} in\n{all}");
        found.for_each(|(name, count)| {
            assert!(count <= most, "{name} has more than {most} dispatches\n{all}")
        });
    }
}

/// What is equal up to names is one shader for the driver. Where buffers lie is in a table beside the text.
#[test]
fn equal_functions_have_equal_shaders() {
    let layers = "x |> conv(4, 3, pad=1) |> relu |> conv(4, 3, pad=1) |> relu |> conv(4, 3, pad=1) |> relu";
    let text = format!("model M(x: f32[N, 4, 8, 8]) -> f32[N, 4, 8, 8] {{ {layers} }}");
    let graph = Model::new(&text).forward(64, false).expect("the model is right");
    let lowered = lowered(&graph);
    let text = |launch: &Launch| {
        let mut function = launch.function.clone();
        function.forget_names();
        let function = Verified::new(function).expect("it is valid");
        let blocks = (0..function.buffers.len()).collect();
        let part = Part { function: &function, blocks, notes: Vec::new() };
        let dispatch = Dispatch { parts: vec![part], condition: None, driver: Driver::EXACT };
        wgsl::write(&dispatch).expect("it is written").text
    };
    let launches = lowered.native_launches();
    let texts: HashSet<String> = launches.iter().map(text).collect();
    assert_eq!(texts.len(), lowered.unique_functions());
    assert!(texts.len() < launches.len(), "{} shaders of {} launches", texts.len(), launches.len());
}

/// A dispatch has at most so many workgroups in one dimension.
#[test]
fn many_workgroups_have_two_dimensions() {
    let of = |groups| Shader { text: String::new(), groups, written: vec![], places: 1 }.dimensions();
    let most = MOST_GROUPS as u32;
    assert_eq!(of(0), [0, 1]);
    assert_eq!(of(1), [1, 1]);
    assert_eq!(of(MOST_GROUPS - 1), [most - 1, 1]);
    assert_eq!(of(MOST_GROUPS), [most, 1]);
    assert_eq!(of(MOST_GROUPS + 1), [32_768, 2]);
    assert_eq!(of(2 * MOST_GROUPS), [most, 2]);
    assert_eq!(of(2 * MOST_GROUPS + 1), [43_691, 3]);
    for groups in [1, 2, 3, 5, 7, 1000]
        .into_iter()
        .flat_map(|rows| [rows * MOST_GROUPS - 1, rows * MOST_GROUPS, rows * MOST_GROUPS + 1, rows * 77_777])
    {
        let [x, y] = of(groups).map(u64::from);
        assert!(x <= MOST_GROUPS && y <= MOST_GROUPS, "{groups}: {x} by {y}");
        // They cover all, and no row is left without one.
        assert!(x * y >= groups && x * (y - 1) < groups, "{groups}: {x} by {y}");
    }
}
