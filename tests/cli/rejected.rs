//! A step that is not accepted leaves everything as it was: all that a broken run keeps is, bit for bit, what the same
//! run keeps that stops one step before.
//!
//! The nets break at a step of the test's choice, in their last op: the running statistics of that step are finite, and
//! other than those before. A broken run goes on once its text is mended, so one run breaks several times.

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab::Module;
use cnnc::elab::config::Overrides;
use cnnc::graph::{Graph, Role, Sink};
use cnnc::lower::{self, CompileOptions, Lowered};
use cnnc::runtime::{Store, agreement, devices};
use cnnc::train::programs::initialise;
use cnnc::train::recipe::Recipe;
use safetensors::SafeTensors;

use crate::place::{Place, idx, names_in};

/// A way to go wrong: what a score has added to it in the broken step, and what is said of it. `total` is a sum over
/// the parameter `gain`, which is 0 until then, as its gradient is.
struct Break {
    term: &'static str,
    message: &'static str,
}

const NAN_LOSS: Break = Break { term: "log(total[c] - 1)", message: "the loss is NaN" };
const INFINITE_LOSS: Break =
    Break { term: "total[c] + (if c == 1 { 3e38 } else { -3e38 })", message: "the loss is inf" };
/// 0 * inf, at the value 0.
const NAN_GRADIENT: Break = Break { term: "sqrt(total[c] * total[c])", message: NOT_FINITE };
const INFINITE_GRADIENT: Break =
    Break { term: "(if n == 0 && c == 0 { sqrt(total[c]) } else { 0 })", message: NOT_FINITE };
const NOT_FINITE: &str = "the gradient of `end.gain` of layer `end` is not finite";
const LARGE_GRADIENT: Break = Break {
    term: "(if n == 0 && c == 0 { 1e30 * total[c] } else { 0 })",
    message: "the gradient of `end.gain` of layer `end` is so large that its square is not finite",
};
/// Each element has a finite square; their sum has none.
const LARGE_NORM: Break = Break {
    term: "(if n == 0 && c == 0 { 4e19 * total[c] } else { 0 })",
    message: "the norm of all gradients is not finite",
};

/// No step of the tests.
const NEVER: u64 = 1000;

/// A net that goes wrong in some steps, counted from 1, and its training. States of its own: `done` counts the accepted
/// steps, and `odd` is -0 after the first of them and infinite after the second, which is its own affair.
fn net(breaks: &[(u64, &Break)], data: &str, training: &str) -> String {
    let term = breaks.iter().rev().fold("0".to_owned(), |rest, (step, Break { term, .. })| {
        format!("if done[0] == {} {{ {term} }} else {{ {rest} }}", step - 1)
    });
    format!(
        "op spoil(s: f32[N, C], gain: f32[G], done: f32[1]) -> y: f32[N, C] {{
  total[c < C] = sum[g < G] gain[g];
  y[n, c] = s[n, c] + ({term});
}}
block spoiled(s: f32[N, C]) {{
  state done: f32[1] = 0;
  state odd: f32[1] = 0;
  param gain: f32[2048] = 0;
  let y = s;
  if training {{
    done <- done + 1;
    odd <- done / (done - 1);
    y = spoil(s, gain, done);
  }}
  y
}}
model Net(x: f32[N, 1, 4, 4]) -> f32[N, 3] {{
  let h = x |> conv(4, 3, pad=1) as stem |> batchnorm as bn |> relu |> dropout(0.2) |> flatten;
  h |> linear(3) as head |> spoiled as end
}}
data Noise {{ source = synthetic(3, [1, 4, 4], 10, 3);  {data} }}
train Net on Noise {{ loss = cross_entropy;  batch = 4;  epochs = 2;  {training} }}
"
    )
}

/// A tensor of a file, as it is there.
type Stored = (String, Vec<usize>, Vec<u8>);

/// All tensors of a file, by their names.
fn tensors(place: &Place, path: &str) -> Vec<Stored> {
    let bytes = place.read(path);
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut all: Vec<Stored> =
        file.iter().map(|(name, view)| (name.into(), view.shape().into(), view.data().into())).collect();
    all.sort();
    all
}

/// The weights file of a run, and its checkpoint after so many steps.
fn kept(place: &Place, folder: &str, steps: u64) -> [Vec<Stored>; 2] {
    let state = format!("state-{steps}.safetensors");
    assert_eq!(names_in(&place.path(&format!("{folder}/checkpoint"))), ["progress.json", &state]);
    let files = ["model.safetensors".into(), format!("checkpoint/{state}")];
    files.map(|file| tensors(place, &format!("{folder}/{file}")))
}

/// The same tensors, to the last bit.
#[track_caller]
fn assert_same(found: &[Stored], wanted: &[Stored], what: &str) {
    let names = |all: &[Stored]| all.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    for ((name, shape, data), (_, wanted_shape, wanted)) in found.iter().zip(wanted) {
        assert_eq!(shape, wanted_shape, "{what}: the shape of {name}");
        let element = data.chunks(4).zip(wanted.chunks(4)).position(|(found, wanted)| found != wanted);
        assert_eq!((data.len(), element), (wanted.len(), None), "{what}: {name} differs at an element");
    }
}

/// The lines of a run's records that are about its steps.
fn records(place: &Place, folder: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        place.text(&format!("{folder}/steps.jsonl")).lines().map(Into::into).collect();
    lines.retain(|line| line.contains("\"train\""));
    if place.path(&format!("{folder}/gradients.jsonl")).exists() {
        lines.extend(place.text(&format!("{folder}/gradients.jsonl")).lines().map(Into::into));
    }
    lines
}

/// Two runs have learnt the same in so many steps.
#[track_caller]
fn assert_as_learnt(place: &Place, found: &str, wanted: &str, steps: u64, what: &str) {
    let pairs = kept(place, found, steps).into_iter().zip(kept(place, wanted, steps));
    for ((found, wanted), file) in pairs.zip(["the weights", "the checkpoint"]) {
        assert_same(&found, &wanted, &format!("{what}: {file}"));
    }
    // Without what the clock says.
    let progress = |folder: &str| {
        let text = place.text(&format!("{folder}/checkpoint/progress.json"));
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for place in ["/position/seconds", "/records/metrics", "/sum"] {
            *value.pointer_mut(place).expect("it is there") = 0.into();
        }
        value
    };
    assert_eq!(progress(found), progress(wanted), "{what}");
    assert_eq!(records(place, found), records(place, wanted), "{what}");
}

/// The training graph of a text, of one size of the batch.
fn graph(text: &str, batch: i64) -> Graph {
    let module = Module::from_text(&mut SourceMap::default(), "net.cnn", text).expect("it is right");
    let spec = module.train_spec(module.train_sections()[0], &Overrides::default()).expect("it is right");
    Recipe::of(&module, &spec).step(batch, &spec.phases[0]).expect("it elaborates")
}

/// What a training begins with.
fn initial(text: &str) -> Vec<Stored> {
    let mut store = Store::on(&devices::interpreter());
    initialise(&graph(text, 4), 0, &mut store).expect("memory");
    let stored = store.entries().iter().map(|entry| {
        let shape = entry.shape.iter().map(|extent| *extent as usize).collect();
        (entry.path.clone(), shape, entry.values().iter().flat_map(|value| value.to_le_bytes()).collect())
    });
    let mut stored: Vec<Stored> = stored.collect();
    stored.sort();
    stored
}

/// A run that is to break.
struct Case {
    /// In the data section.
    data: &'static str,
    training: &'static str,
    /// For the machine: of the broken run and of the other.
    flags: [&'static [&'static str]; 2],
    breaks: &'static [(u64, &'static Break)],
}

/// Steps of an epoch: of four, four and two samples.
const EPOCH: u64 = 3;

/// Runs `net.cnn` in a folder, which is there if the run has begun.
fn arguments<'a>(place: &Place, folder: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let folder = match place.path(folder).exists() {
        true => &["--resume", folder, "--allow-changes"][..],
        false => &["--out", folder],
    };
    [&["run", "net.cnn"], folder, flags].concat()
}

/// Breaks a run that has come so far, and says what it says.
#[track_caller]
fn breaks(place: &Place, folder: &str, flags: &[&str], message: &str, step: u64) -> String {
    let said = place.run(&arguments(place, folder, flags));
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let epoch = (step - 1) / EPOCH + 1;
    assert!(said.err.contains(&format!("error: {message} in step {step} (epoch {epoch})")), "{}", said.err);
    let kept = format!("The weights before this step are kept; they are in {folder}\n");
    assert!(said.err.ends_with(&kept), "{}", said.err);
    said.err
}

/// A run has learnt nothing.
fn assert_not_begun(place: &Place, folder: &str, text: &str, what: &str) {
    let [weights, states] = kept(place, folder, 0);
    assert_same(&states, &initial(text), what);
    let of_model = |(name, ..): &&Stored| !name.starts_with("optim.");
    assert_same(&weights, &states.iter().filter(of_model).cloned().collect::<Vec<_>>(), what);
}

/// Breaks a run again and again, mends it each time, and lets it end; holds it against one that never breaks.
fn check(Case { data, training, flags: [flags, others], breaks: all }: &Case) {
    let place = Place::new();
    for (step, kind) in *all {
        let text = net(&[(*step, kind)], data, training);
        place.write("net.cnn", &text);
        let what = format!("{training} {} in step {step}", kind.term);
        breaks(&place, "broken", flags, kind.message, *step);
        if *step == 1 {
            assert_not_begun(&place, "broken", &text, &what);
            continue;
        }
        let before = (step - 1).to_string();
        place.good(&arguments(&place, "whole", &[others, &["--steps", &before][..]].concat()));
        assert_as_learnt(&place, "broken", "whole", step - 1, &what);
    }
    place.write("net.cnn", net(&[(NEVER, &NAN_LOSS)], data, training));
    for (folder, flags) in [("broken", flags), ("whole", others)] {
        place.good(&arguments(&place, folder, flags));
    }
    assert_as_learnt(&place, "broken", "whole", 2 * EPOCH, &format!("{training}: at the end"));
    assert_eq!(place.text("broken/final.json"), place.text("whole/final.json"), "{training}");
}

const ONE_AND_TWO: [&[&str]; 2] = [&["--threads", "1"], &["--threads", "2"]];
const TWO_AND_ONE: [&[&str]; 2] = [&["--threads", "2"], &["--threads", "1"]];
const LOWEST: [&[&str]; 2] = [&["--cpu", "sse4", "--threads", "2"], &["--cpu", "sse4", "--threads", "1"]];

#[test]
fn plain_descent() {
    check(&Case {
        data: "augment = mixup(0.5);",
        training: "optim = sgd(0.1);  schedule = step(1, factor=0.5);",
        flags: TWO_AND_ONE,
        breaks: &[(1, &NAN_LOSS), (2, &INFINITE_LOSS), (6, &NAN_GRADIENT)],
    });
}

#[test]
fn descent_with_momentum() {
    check(&Case {
        data: "",
        training: "optim = sgd(0.05, momentum=0.9, nesterov=true, weight_decay=0.01);  \
                   schedule = warmup(2) |> cosine;  log = [gradients];",
        flags: ONE_AND_TWO,
        breaks: &[(1, &INFINITE_GRADIENT), (2, &NAN_LOSS), (3, &INFINITE_LOSS), (4, &LARGE_GRADIENT)],
    });
}

#[test]
fn adam_with_a_norm_that_clips() {
    check(&Case {
        data: "",
        training: "optim = adam(1e-2);  clip = norm(1.0);",
        flags: LOWEST,
        breaks: &[(1, &LARGE_NORM), (3, &NAN_GRADIENT), (4, &INFINITE_LOSS), (5, &LARGE_NORM)],
    });
}

#[test]
fn adamw_with_clipped_elements() {
    check(&Case {
        data: "",
        training: "optim = adamw(1e-2);  clip = value(0.01);  decay = weights;  schedule = onecycle;",
        flags: TWO_AND_ONE,
        breaks: &[(2, &LARGE_GRADIENT), (3, &INFINITE_GRADIENT), (4, &NAN_GRADIENT), (6, &INFINITE_LOSS)],
    });
}

#[test]
fn rmsprop_without_fast_math() {
    check(&Case {
        data: "shuffle = false;",
        training: "optim = rmsprop(1e-2);  fast_math = false;",
        flags: ONE_AND_TWO,
        breaks: &[(1, &LARGE_GRADIENT), (3, &NAN_LOSS), (5, &INFINITE_GRADIENT)],
    });
}

#[test]
fn optimisers_in_groups() {
    check(&Case {
        data: "",
        training: "optim = rmsprop(1e-2, momentum=0.9);  \
                   groups = [stem = adam(1e-3), bias = sgd(0.1, momentum=0.5)];",
        flags: TWO_AND_ONE,
        breaks: &[(1, &NAN_GRADIENT), (2, &INFINITE_GRADIENT), (4, &NAN_LOSS), (6, &LARGE_GRADIENT)],
    });
}

/// The same step breaks again, with the same words, from the checkpoint of the broken run and from one that stopped.
#[test]
fn a_step_that_stays_broken() {
    let place = Place::with("net.cnn", net(&[(3, &NAN_GRADIENT)], "", "optim = adam(1e-2);").as_str());
    let message = NAN_GRADIENT.message;
    let first = breaks(&place, "run", &[], message, 3);
    assert_eq!(breaks(&place, "run", &["--threads", "1"], message, 3), first);
    place.good(&["run", "net.cnn", "--out", "other", "--steps", "2"]);
    assert_as_learnt(&place, "run", "other", 2, "broken twice");
    let other = breaks(&place, "other", &[], message, 3);
    assert_eq!(other.replace("other", "run"), first);
    assert_as_learnt(&place, "run", "other", 2, "broken after a stop");
}

/// A phase that breaks in its first step has a fresh optimiser, and goes on as if it began.
#[test]
fn the_first_step_of_a_phase() {
    let phases = "phase one { epochs = 1;  optim = sgd(0.1, momentum=0.9); }  \
                  phase two { epochs = 1;  optim = adam(1e-2);  freeze = stem; }";
    let text = |step: u64| net(&[(step, &NAN_GRADIENT)], "", phases).replace("epochs = 2;  phase", "phase");
    let place = Place::with("net.cnn", text(4).as_str());
    breaks(&place, "broken", &[], NAN_GRADIENT.message, 4);
    place.good(&["run", "net.cnn", "--out", "whole", "--steps", "3"]);
    let [weights, states] = kept(&place, "broken", 3);
    let [wanted, _] = kept(&place, "whole", 3);
    assert_same(&weights, &wanted, "the weights");
    let is_state = |(name, ..): &&Stored| name.starts_with("optim.");
    let mut optimiser = states.iter().filter(is_state);
    assert!(optimiser.all(|(_, _, data)| data.iter().all(|byte| *byte == 0)), "the optimiser is fresh");
    place.write("net.cnn", text(NEVER));
    for folder in ["broken", "whole"] {
        place.good(&["run", "net.cnn", "--resume", folder, "--allow-changes"]);
    }
    assert_same(&kept(&place, "broken", 6)[0], &kept(&place, "whole", 6)[0], "at the end");
}

/// One picture of a batch has an infinite pixel: what its batch does to the net is not kept.
#[test]
fn an_infinite_picture() {
    // A white pixel is infinite, and none that is darker by a tenth.
    let huge = ["scale(1e6)"; 6].join(" |> ");
    let text = format!(
        "
model Net(x: f32[N, 1, 4, 4]) -> f32[N, 3] {{
  x |> conv(4, 3, pad=1) as stem |> batchnorm as bn |> relu |> flatten |> linear(3) as head
}}
data Pictures {{
  source = idx(\".\");
  shuffle = false;
  prepare = {huge} |> scale(374) |> scale(1e-38);
}}
train Net on Pictures {{ loss = cross_entropy;  batch = 4;  epochs = 2;  optim = adam(1e-2); }}
"
    );
    let place = Place::with("net.cnn", &text);
    let pixels = |count: usize| (0..16 * count).map(|at| (at * 37 % 200) as u8).collect::<Vec<u8>>();
    let labels = |count: usize| (0..count).map(|at| (at % 3) as u8).collect::<Vec<u8>>();
    for (part, count) in [("train", 10), ("t10k", 3)] {
        place.write(&format!("{part}-images-idx3-ubyte"), idx(&[count, 4, 4], &pixels(count as usize)));
        place.write(&format!("{part}-labels-idx1-ubyte"), idx(&[count], &labels(count as usize)));
    }
    let whole = pixels(10);
    // In the middle of an epoch, and in its ragged last batch.
    for (picture, step) in [(5, 2), (9, 3)] {
        let mut broken = whole.clone();
        broken[16 * picture + 6] = 255;
        place.write("train-images-idx3-ubyte", idx(&[10, 4, 4], &broken));
        breaks(&place, "broken", &[], "the loss is NaN", step);
        let before = (step - 1).to_string();
        place.good(&arguments(&place, "whole", &["--steps", &before]));
        assert_as_learnt(&place, "broken", "whole", step - 1, "an infinite picture");
    }
    place.write("train-images-idx3-ubyte", idx(&[10, 4, 4], &whole));
    for folder in ["broken", "whole"] {
        place.good(&["run", "net.cnn", "--resume", folder, "--allow-changes"]);
    }
    assert_as_learnt(&place, "broken", "whole", 2 * EPOCH, "at the end");
}

/// Where a decay makes a second moment infinite, but not what follows from it, the elements and their states keep their
/// values; all others move (biases that begin at 0), and the step counts.
#[test]
fn an_element_without_a_second_moment() {
    for (optimiser, states) in [("adam(1e-2", 2), ("rmsprop(1e-2", 1), ("rmsprop(1e-2, momentum=0.9", 2)] {
        let text = net(&[(NEVER, &NAN_LOSS)], "", &format!("optim = {optimiser}, weight_decay=1e30);"));
        let place = Place::with("net.cnn", &text);
        place.good(&["run", "net.cnn", "--out", "run", "--steps", "1"]);
        let [_, found] = kept(&place, "run", 1);
        let before = initial(&text);
        let count = |wanted: &str| {
            let all = before.iter().filter(|(name, ..)| name.ends_with(wanted));
            let stay = all.clone().filter(|old| found.contains(old));
            (all.count(), stay.count())
        };
        for name in ["stem.weight", "head.weight"] {
            assert_eq!(count(name), (1 + states, 1 + states), "{optimiser}: {name}");
        }
        for (name, of_it) in [("bn.bias", 1 + states), ("running_mean", 1), ("running_var", 1), ("done", 1)] {
            assert_eq!(count(name), (of_it, 0), "{optimiser}: {name}");
        }
    }
}

/// The inputs of a step in which the model has done so many: random ones, but for what says whether it breaks.
fn inputs(graph: &Graph, done: usize) -> agreement::Tensors {
    let mut inputs = agreement::inputs(graph, RandomState::default());
    for ((_, role), values) in graph.inputs.iter().zip(&mut inputs) {
        match role {
            Role::Target => *values = vec![0.0, 1.0, 2.0, 0.0],
            Role::Param { path, .. } if path == "end.gain" => values.fill(0.0),
            Role::State { path, .. } if path == "end.done" => values.fill(done as f32),
            _ => {}
        }
    }
    inputs
}

/// Whether each persistent tensor of a step, by its path, has the value that it had. Every tensor has memory of its own
/// here, and all loops run to their end.
fn stays(graph: &Graph, lowered: &Lowered, inputs: &agreement::Tensors) -> Vec<(String, bool)> {
    let outputs = agreement::interpreted(lowered, inputs, RandomState::default()).expect("it runs");
    let updates = graph.outputs.iter().zip(&outputs).filter_map(|((_, sink), next)| {
        let Sink::Update(kept) = sink else { return None };
        let at = graph.inputs.iter().position(|(input, _)| input == kept)?;
        let (Role::Param { path, .. } | Role::State { path, .. }) = &graph.inputs[at].1 else { return None };
        let next = next.floats().expect("numbers of f32");
        Some((
            path.clone(),
            inputs[at].iter().map(|old| old.to_bits()).eq(next.iter().map(|new| new.to_bits())),
        ))
    });
    updates.collect()
}

/// The equations of a step say so themselves, wherever they run: each next value is the present one where the step is
/// not accepted.
#[test]
fn the_equations_of_a_step_keep_what_is() {
    let kinds = [&NAN_LOSS, &INFINITE_LOSS, &NAN_GRADIENT, &INFINITE_GRADIENT, &LARGE_GRADIENT, &LARGE_NORM];
    let steps: Vec<(u64, &Break)> = (1..).zip(kinds).collect();
    for optimiser in [
        "sgd(0.1)",
        "sgd(0.1, momentum=0.9)",
        "adam(1e-2)",
        "adamw(1e-2)",
        "rmsprop(1e-2)",
        "rmsprop(1e-2, momentum=0.9)",
    ] {
        let graph = graph(&net(&steps, "", &format!("optim = {optimiser};  clip = norm(1.0);")), 4);
        let lowered = lower::lower(&graph, &CompileOptions::of(Target::host()));
        for (done, kind) in kinds.iter().enumerate() {
            for (path, stays) in stays(&graph, &lowered, &inputs(&graph, done)) {
                assert!(stays, "{optimiser}: {path} does not stay as it is with {}", kind.term);
            }
        }
        let sound = stays(&graph, &lowered, &inputs(&graph, kinds.len()));
        for moving in ["running_mean", "running_var", "end.done", "head.weight"] {
            let mut all = sound.iter().filter(|(path, _)| path.contains(moving));
            assert!(all.all(|(_, stays)| !stays), "{optimiser}: {moving} stays as it is");
        }
    }
}
