//! What holds of compiled programs whatever they compute: dropout draws as it should, names mean nothing, and fused
//! parts stay fused.

mod model;

use std::ops::Range;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::elab::Library;
use cnnc::graph::{Graph, Role, Sink};
use cnnc::loops::{AccessMode, BufferData};
use cnnc::lower::{CompileOptions, Lowered, lower, lower_tuned};
use cnnc::plan::Placement;
use cnnc::runtime::agreement::{self, Native, Outputs, Tensors};
use cnnc::runtime::devices;
use cnnc::sched::TunedTiles;
use cnnc::te::Tensor;
use model::Model;

fn options() -> CompileOptions {
    CompileOptions::of(Target::of(Level::Fma))
}

// ---- dropout

const BATCH: usize = 50;
const PIXELS: usize = 4 * 10 * 10;

/// A graph of layers on pictures, whose loss is the sum of the prediction's elements.
fn summed(layers: &str) -> Model {
    Model::new(&format!(
        "op total(prediction: f32[A, B, C, D], target: f32[A, B, C, D]) -> loss: f32 {{
           loss = sum[a < A, b < B, c < C, d < D] prediction[a, b, c, d];
         }}
         model M(x: f32[N, 4, 10, 10]) {{
           param shift: f32[{BATCH}, 4, 10, 10] = 0;
           let x = x + shift;
           {layers}
         }}
         data D {{ source = digits(); }}
         train M on D {{ loss = total; }}"
    ))
}

/// Runs a graph on pictures of ones.
fn run(graph: &Graph, state: RandomState) -> Outputs {
    let inputs = graph.inputs.iter().map(|(value, role)| {
        let len = graph.values[*value].shape.iter().product::<i64>() as usize;
        vec![if matches!(role, Role::Data) { 1.0 } else { 0.0 }; len]
    });
    let inputs: Tensors = inputs.collect();
    let mut native = Native::compile(graph, lower(graph, &options())).expect("it compiles");
    let found = native.run(&inputs, &devices::host(2).expect("threads"), state);
    let oracle = agreement::oracle(graph, &agreement::doubles(&inputs), state);
    assert_eq!(agreement::within_bound(graph, &found, &oracle), Ok(0));
    found
}

fn output<'a>(graph: &Graph, outputs: &'a Outputs, wanted: impl Fn(&Sink) -> bool) -> &'a [f32] {
    let at = graph.outputs.iter().position(|(_, sink)| wanted(sink)).expect("an output");
    outputs[at].floats().expect("numbers of f32")
}

fn prediction<'a>(graph: &Graph, outputs: &'a Outputs) -> &'a [f32] {
    output(graph, outputs, |sink| *sink == Sink::Prediction)
}

/// The number kept of `count` lies within five standard deviations of what the probability says.
fn check_rate(kept: usize, count: usize, p: f64) {
    let (mean, deviation) = ((1.0 - p) * count as f64, (p * (1.0 - p) * count as f64).sqrt());
    assert!((kept as f64 - mean).abs() <= 5.0 * deviation, "{kept} of {count} kept at p = {p}");
}

#[test]
fn dropout_keeps_its_rate_and_the_mean() {
    for p in [0.1, 0.3, 0.5, 0.9] {
        let graph = summed(&format!("x |> dropout({p})")).gradients(BATCH as i64, true);
        let outputs = run(&graph, RandomState { seed: 3, step: 4 });
        let (y, scale) = (prediction(&graph, &outputs), (1.0 / (1.0 - p)) as f32);
        assert!(y.iter().all(|y| *y == 0.0 || (y - scale).abs() <= 1e-6 * scale), "p = {p}");
        check_rate(y.iter().filter(|y| **y != 0.0).count(), BATCH * PIXELS, p);
        let gradient = output(&graph, &outputs, |sink| matches!(sink, Sink::Gradient(_)));
        assert_eq!(gradient, y, "the backward pass has the mask of the forward pass");
    }
}

#[test]
fn every_step_and_every_instance_draws_anew() {
    let graph =
        summed("concat(x |> dropout(0.5) as a, x |> dropout(0.5) as b)").forward(BATCH as i64, true).unwrap();
    let masks = |seed, step| {
        let outputs = run(&graph, RandomState { seed, step });
        let y = prediction(&graph, &outputs);
        let half = |at: usize| {
            let pictures =
                y.chunks(2 * PIXELS).flat_map(move |two| two[at * PIXELS..(at + 1) * PIXELS].iter());
            pictures.map(|y| *y != 0.0).collect::<Vec<bool>>()
        };
        [half(0), half(1)]
    };
    let differ = |a: &[bool], b: &[bool]| {
        let count = a.iter().zip(b).filter(|(a, b)| a != b).count();
        check_rate(count, BATCH * PIXELS, 0.5); // Independent masks differ in half of the places.
    };
    let [[a, b], [next, _], [other, _]] = [masks(3, 4), masks(3, 5), masks(4, 4)];
    differ(&a, &b);
    differ(&a, &next);
    differ(&a, &other);
    assert_eq!([a, b], masks(3, 4), "the same seed and step draw the same");
}

#[test]
fn dropout2d_drops_whole_channels() {
    let graph = summed("x |> dropout2d(0.3)").gradients(BATCH as i64, true);
    let outputs = run(&graph, RandomState { seed: 3, step: 4 });
    let y = prediction(&graph, &outputs);
    let channels: Vec<&[f32]> = y.chunks(100).collect();
    assert!(channels.iter().all(|channel| channel.iter().all(|y| *y == channel[0])));
    check_rate(channels.iter().filter(|channel| channel[0] != 0.0).count(), 4 * BATCH, 0.3);
    assert_eq!(output(&graph, &outputs, |sink| matches!(sink, Sink::Gradient(_))), y);
}

#[test]
fn dropout_does_nothing_in_evaluation() {
    let graph = summed("x |> dropout(0.5) |> dropout2d(0.5)").forward(BATCH as i64, false).unwrap();
    let outputs = run(&graph, RandomState { seed: 3, step: 4 });
    assert!(prediction(&graph, &outputs).iter().all(|y| *y == 1.0));
}

// ---- no special cases

/// Functions of the language itself: a call of one inside an equation is not one of the op with its name.
const SCALAR_FUNCTIONS: [&str; 2] = ["sigmoid", "tanh"];

/// The metrics that the compiler asks for by their names.
const KEPT: [&str; 2] = ["correct", "in_top"];

/// The library with another name for every block and op.
fn renamed_library() -> Library {
    let module = Model::new("model M(x: f32[N, 1]) { x }").module;
    let mut names: Vec<String> =
        module.documented().into_iter().map(|(item, _)| item.name().text.clone()).collect();
    names.retain(|name| name != "M" && !KEPT.contains(&name.as_str()));
    let mut library = Library::embedded();
    for (_, text) in &mut library.files {
        for name in &names {
            *text = renamed(text, name);
        }
    }
    library
}

/// Renames a declaration, and calls: `NAME(` and `|> NAME`.
fn renamed(text: &str, name: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let alone = !before.ends_with(word) && !after.starts_with(word);
        let declared = before.ends_with("op ") || before.ends_with("block ");
        let called = after.starts_with('(') && !SCALAR_FUNCTIONS.contains(&name);
        result += before;
        if alone && (declared || called || before.ends_with("|> ")) {
            result += "zz_";
        }
        result += name;
        rest = after;
    }
    result + rest
}

/// A model with most of the library, and every instance named; `@` stands before the library's names.
const EVERYTHING: &str = "
model M(x: f32[N, 3, 12, 12]) {
  let y = x |> @conv(8, 3, pad=1, stride=2) as a |> @batchnorm as b |> @relu as c |> @dropout(0.3) as d;
  let z = y |> @conv(8, 3, pad=\"same\", groups=4, bias=false) as e |> @groupnorm(2) as f |> @gelu as g;
  concat(y, z) |> @maxpool(3, stride=2, pad=1) as h |> @avgpool(2, ceil_mode=true, count_include_pad=false) as i
    |> @lrn(3) as j |> @upsample(2, mode=\"bilinear\") as k |> @softmaxpool(2) as l |> @dropout2d(0.2) as m
    |> @flatten as n |> @linear(6) as o |> @tanh as p |> @layernorm as q |> @linear(3) as r
}
data D { source = digits(); }
train M on D { loss = @cross_entropy(label_smoothing=0.1); optim = @adam(1e-3); }
";

/// The loops of a training step, names forgotten. Streams of random numbers are numbered in the order in which they
/// occur: they are drawn from the names of instances.
fn kernels(library: &Library, prefix: &str) -> Vec<String> {
    let graph = Model::with_library(&EVERYTHING.replace('@', prefix), library).step(10);
    let lowered = lower(&graph, &options());
    let texts = lowered.launches.into_iter().map(|mut launch| {
        launch.function.forget_names();
        launch.function.to_string()
    });
    let mut streams = Vec::new();
    texts.map(|text| numbered_streams(&text, &mut streams)).collect()
}

/// Writes the place of a stream's first occurrence in its stead.
fn numbered_streams(text: &str, streams: &mut Vec<String>) -> String {
    let mut parts = text.split("uniform(");
    let mut result = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (stream, rest) = part.split_once(',').expect("a stream and an element");
        let place = streams.iter().position(|known| known == stream).unwrap_or_else(|| {
            streams.push(stream.into());
            streams.len() - 1
        });
        result += &format!("uniform({place},{rest}");
    }
    result
}

#[test]
fn a_library_under_other_names_gives_the_same_kernels() {
    let library = renamed_library();
    let text: String = library.files.iter().map(|(_, text)| text.as_str()).collect();
    for name in [
        "op conv2d(",
        "block conv(",
        "op sigmoid(",
        "op adam(",
        "block maxpool(",
        "inline block cross_entropy(",
    ] {
        assert!(!text.contains(name), "{name} is still there");
    }
    let (plain, other) = (kernels(&Library::embedded(), ""), kernels(&library, "zz_"));
    assert_eq!(plain.len(), other.len());
    for (plain, other) in plain.iter().zip(&other) {
        assert_eq!(plain, other);
    }
}

// ---- counts

/// A training step, with or without what changes the weights.
fn step(layers: &str, optimiser: &str) -> Lowered {
    let model = Model::new(&format!(
        "model M(x: f32[N, 3, 8, 8]) {{ {layers} |> flatten |> linear(3) as head }}
         data D {{ source = digits(); }}
         train M on D {{ loss = cross_entropy; optim = {optimiser}; }}"
    ));
    let graph = if optimiser == "none" { model.gradients(16, true) } else { model.step(16) };
    lower(&graph, &options())
}

fn names(lowered: &Lowered) -> Vec<&str> {
    lowered.kernels.kernels.iter().map(|kernel| kernel.name.as_str()).collect()
}

#[test]
fn adam_is_one_kernel_a_parameter() {
    let lowered = step("x |> conv(4, 3) as conv1", "adam(1e-3)");
    let updates: Vec<usize> = lowered
        .kernels
        .kernels
        .iter()
        .map(|kernel| {
            let defined = kernel.results();
            let next = |tensor: &&cnnc::te::Tensor| {
                let name = &lowered.kernels.program.tensors[**tensor].name;
                name.rsplit('.').next().is_some_and(|last| last.starts_with("next"))
            };
            defined.iter().filter(next).count()
        })
        .filter(|count| *count > 0)
        .collect();
    assert_eq!(updates, [3, 3, 3, 3], "weight and bias of two layers: {:?}", names(&lowered));
}

/// The largest of a window and its place come from one pass over the input.
#[test]
fn max_pooling_finds_its_winner_in_the_same_pass() {
    let lowered = step("x |> conv(4, 3) as conv1 |> relu |> maxpool(2)", "none");
    let winners = lowered.kernels.kernels.iter().filter(|kernel| {
        let defined = kernel.results();
        defined.iter().any(|tensor| lowered.kernels.program.tensors[*tensor].name.ends_with(".winner"))
    });
    let winners: Vec<_> = winners.collect();
    let [kernel] = winners[..] else { panic!("{:?}", names(&lowered)) };
    assert!(kernel.nests.iter().all(|nest| nest.statements.len() >= 2), "{:?}", names(&lowered));
}

/// Batch normalisation reads its input and the output's gradient once for all sums of its backward pass, and once for
/// the input's gradient.
#[test]
fn batchnorm_backward_is_two_passes() {
    let lowered = step("x |> conv(4, 3) as conv1 |> batchnorm as bn", "none");
    let program = &lowered.kernels.program;
    let large = |kernel: &&cnnc::kernels::Kernel| {
        let touched: Vec<_> = kernel.reads(program).into_iter().chain(kernel.results()).collect();
        touched.iter().any(|tensor| program.tensors[*tensor].shape == [16, 4, 6, 6])
    };
    let passes: Vec<&str> =
        lowered.kernels.kernels.iter().filter(large).map(|kernel| kernel.name.as_str()).collect();
    let backward = passes.iter().filter(|name| name.starts_with("bn.") && name.contains(".d_")).count();
    assert_eq!(backward, 2, "one pass of sums, one of elements: {passes:#?}");
}

// ---- register tiles

/// Sums of every kind of length: a single accumulator begins again in each loop of its sum, a tile does not.
const SUMS: &str = "
model M(x: f32[N, 3, 11, 11]) -> f32[N, 5] {
  x |> conv(8, 3, pad=1) as a |> relu |> maxpool(2) |> conv(70, 3, stride=2) as b |> tanh |> conv(1, 1) as c
    |> flatten |> linear(300) as d |> relu |> linear(5) as e
}
data D { source = digits(); }
train M on D { loss = cross_entropy; optim = adam(1e-3); }
";

/// Every tile that may be measured gives the same bits.
#[test]
fn tiles_change_no_bit() {
    let device = devices::host(2).expect("threads");
    let (mut several, state) = (0, RandomState::default());
    for level in [Level::Fma, Target::host().level] {
        let options = CompileOptions::of(Target::of(level));
        let model = Model::new(SUMS);
        for graph in [model.step(20), model.forward(2, false).expect("the model is right")] {
            let inputs = agreement::inputs(&graph, state);
            let run = |tuned: &TunedTiles| {
                let lowered = lower_tuned(&graph, &options, tuned);
                assert_eq!(tuned.misfits(&lowered.launches), 0);
                Native::compile(&graph, lowered).expect("it compiles").run(&inputs, &device, state)
            };
            let default = lower(&graph, &options);
            let expected = run(&TunedTiles::default());
            let ranks = default.launches.iter().map(|launch| launch.tiles.len()).max().expect("a launch");
            for rank in 1..ranks {
                let mut tuned = TunedTiles::default();
                for launch in default.launches.iter().filter(|launch| launch.tiles.len() > rank) {
                    tuned.choose(&launch.key(), &launch.tiles[rank]);
                    several += 1;
                }
                let found = run(&tuned);
                agreement::same_bits(&graph, &found, &expected).unwrap_or_else(|e| panic!("{rank}: {e}"));
            }
        }
    }
    assert!(several > 50, "{several} tiles");
}

// ---- waiting

/// The memory that a unit touches: the block, its bytes, and whether the unit writes there.
fn touched(lowered: &Lowered, unit: usize) -> Vec<(String, Range<usize>, bool)> {
    let launches = &lowered.launches[lowered.plan.units[unit].launches.clone()];
    let buffers =
        launches.iter().flat_map(|launch| launch.buffers.iter().zip(launch.function.buffers.values()));
    let touch = |(tensor, data): (&Tensor, &BufferData)| {
        let bytes = lowered.layouts[tensor].len() * lowered.kernels.program.tensors[*tensor].dtype.size();
        let (block, start) = match lowered.plan.places[tensor] {
            Placement::Arena(start) => ("arena".to_owned(), start),
            Placement::Scratch { .. } => return None,
            place => (format!("{place:?}"), 0),
        };
        Some((block, start..start + bytes, data.access != AccessMode::Read))
    };
    buffers.filter_map(touch).collect()
}

/// A unit begins only when all that it may not run beside is done: who writes what it reads, who reads or writes what
/// it writes.
#[test]
fn units_that_run_beside_each_other_touch_different_memory() {
    let (mut beside, mut behind_readers) = (0, 0);
    for body in [
        "x |> conv(8, 3, pad=1) |> batchnorm |> relu |> maxpool(2) |> conv(8, 3, pad=1) |> relu |> flatten |> linear(10)",
        "let a = x |> conv(4, 3, pad=1) |> relu; a + (a |> conv(4, 1) |> batchnorm) |> dropout(0.2) |> flatten |> linear(10)",
        "x |> conv(20, 3, pad=1) |> relu |> conv(20, 3, pad=1) |> tanh |> globalavgpool |> flatten |> linear(10)",
    ] {
        let graph = Model::new(&format!(
            "model M(x: f32[N, 1, 8, 8]) {{ {body} }}
             data D {{ source = digits(); }}
             train M on D {{ loss = cross_entropy; optim = adam(0.01); }}"
        ))
        .step(16);
        let lowered = lower(&graph, &options());
        let touched: Vec<_> = (0..lowered.plan.units.len()).map(|unit| touched(&lowered, unit)).collect();
        for (at, dependences) in lowered.plan.dependences.iter().enumerate() {
            let meets = |before: usize, wanted: fn(bool, bool) -> bool| {
                touched[before].iter().any(|(block, bytes, writes)| {
                    touched[at].iter().any(|(own_block, own, own_writes)| {
                        let overlap = bytes.start < own.end && own.start < bytes.end;
                        block == own_block && overlap && wanted(*writes, *own_writes)
                    })
                })
            };
            let free = (*dependences..at).find(|before| meets(*before, |writes, own| writes || own));
            assert_eq!(free, None, "unit {at} waits for {dependences} units only: {body}");
            beside += at - dependences;
            let last = dependences.checked_sub(1);
            behind_readers += usize::from(last.is_some_and(|last| {
                meets(last, |writes, own| !writes && own) && !meets(last, |writes, _| writes)
            }));
        }
    }
    assert!(beside > 10 && behind_readers > 3, "{beside} {behind_readers}");
}
