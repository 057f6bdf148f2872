//! Convolutions by Winograd's tiles: at every level the bits of the loop interpreter, for any number of threads, close
//! to the oracle, and slice by slice where the intermediate tensors are large.

mod distance;
mod model;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::Graph;
use cnnc::lower::{CompileOptions, Lowered, lower};
use cnnc::runtime::agreement::{self, Native, Outputs};
use cnnc::runtime::{Values, devices};
use cnnc::te::interpreter::Number;
use model::Model;

const STATE: RandomState = RandomState { seed: 7, step: 1 };

/// The largest error, in units of the largest element of an output.
const BOUND: f64 = 2e-6;

/// Tiles of four and of two, a pooling whose windows lie in the tiles, and gradients by both inputs.
const TEXT: &str = "
model M(x: f32[N, 2, 16, 16]) -> f32[N, 4] {
  x |> conv(16, 1) |> conv(16, 3, pad=1) |> relu |> maxpool(2) |> conv(32, 3, pad=1) |> tanh
    |> conv(32, 3) |> relu |> globalavgpool |> flatten |> linear(4)
}
data D { source = digits(); }
train M on D { loss = cross_entropy; optim = sgd(0.1); batch = 48; }
";

fn lowered(graph: &Graph, options: &CompileOptions) -> Lowered {
    lower(graph, options)
}

fn names(lowered: &Lowered) -> Vec<&str> {
    lowered.launches.iter().map(|launch| launch.function.name.as_str()).collect()
}

/// The largest error of each output, in units of its largest element.
fn errors(found: &Outputs, oracle: &[Vec<Number>]) -> Vec<f64> {
    let error = |(found, oracle): (&Values, &Vec<Number>)| {
        assert_eq!(found.len(), oracle.len());
        let largest = distance::largest(oracle.iter().map(|number| number.value.abs()));
        assert!(largest.is_finite(), "the oracle gives {largest}");
        let differences = found.numbers().into_iter().zip(oracle).map(|(x, y)| (x - y.value).abs());
        distance::largest(differences) / largest.max(f64::MIN_POSITIVE)
    };
    assert_eq!(found.len(), oracle.len());
    found.iter().zip(oracle).map(error).collect()
}

/// The check itself: one element that is no number is an error beyond all bounds.
#[test]
fn wrong_elements_are_noticed() {
    let oracle = vec![[1.0, -2.0, 0.5].map(Number::from).to_vec()];
    assert_eq!(errors(&vec![Values::F32(vec![1.0, -2.0, 0.5])], &oracle), [0.0]);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in 0..3 {
            let mut found = vec![1.0, -2.0, 0.5];
            found[at] = wrong;
            assert_eq!(errors(&vec![Values::F32(found)], &oracle), [f64::INFINITY], "{wrong} at {at}");
        }
    }
}

#[test]
fn all_levels_agree() {
    let graph = Model::new(TEXT).gradients(48, true);
    let inputs = agreement::inputs(&graph, STATE);
    let oracle = agreement::oracle(&graph, &agreement::doubles(&inputs), STATE);
    let [one, two] =
        [1, 2].map(|threads| devices::cpu_sharing_all(Target::host(), threads).expect("threads"));
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512];
    for level in known.into_iter().filter(|level| *level <= Target::host().level) {
        let options = CompileOptions::of(Target::of(level));
        let lowered = lowered(&graph, &options);
        let transformed = names(&lowered).iter().filter(|name| name.contains(".tiles")).count();
        assert!(transformed >= 4, "{level}: {transformed} of six convolutions are transformed");
        let interpreted = agreement::interpreted(&lowered, &inputs, STATE).expect("it runs");
        let mut native = Native::compile(&graph, lowered).expect("it compiles");
        let alone = native.run(&inputs, &one, STATE);
        let shared = native.run(&inputs, &two, STATE);
        let same = |one: &Outputs, other: &Outputs| agreement::same_bits(&graph, one, other);
        same(&interpreted, &alone).unwrap_or_else(|error| panic!("{level}, interpreter and native: {error}"));
        same(&alone, &shared).unwrap_or_else(|error| panic!("{level}, one thread and two: {error}"));
        for (error, (_, sink)) in errors(&alone, &oracle).into_iter().zip(&graph.outputs) {
            println!("{level}: {sink:?} is off by {error:.1e} of its largest element");
            assert!(error < BOUND, "{level}: {sink:?} is off by {error:e} of its largest element");
        }
    }
}

/// A native run on this machine has small errors, and this many kernels of tiles at least.
#[track_caller]
fn check_errors(text: &str, batch: i64, tiles: usize) {
    let graph = Model::new(text).gradients(batch, true);
    let options = CompileOptions::of(Target::host());
    let inputs = agreement::inputs(&graph, STATE);
    let oracle = agreement::oracle(&graph, &agreement::doubles(&inputs), STATE);
    let lowered = lowered(&graph, &options);
    let transformed = names(&lowered).iter().filter(|name| name.contains(".tiles")).count();
    assert!(transformed >= tiles, "{transformed} are transformed");
    let device = devices::cpu_sharing_all(Target::host(), 2).expect("threads");
    let found = Native::compile(&graph, lowered).expect("it compiles").run(&inputs, &device, STATE);
    for (error, (_, sink)) in errors(&found, &oracle).into_iter().zip(&graph.outputs) {
        println!("{sink:?} is off by {error:.1e} of its largest element");
        assert!(error < BOUND, "{sink:?} is off by {error:e} of its largest element");
    }
}

/// The lanes beyond the last picture count for nothing.
#[test]
fn ragged_batches_agree() {
    check_errors(TEXT, 21, 1);
}

/// Taps that run backwards, in both directions and in one, forward and in both gradients.
#[test]
fn mirrored_taps_agree() {
    for index in
        ["h - u + 1, w - v + 1", "h - u + 1, w + v - 1", "h + u - 1, w - v + 1", "h + u - 1, w + v - 1"]
    {
        let text = format!(
            "op turned(x: f32[N, C, H, W], k: f32[O, C, U, V]) -> y: f32[N, O, H, W] {{
               y[n, o, h < H, w < W] = sum[c, u, v] (x[n, c, {index}] else 0) * k[o, c, u, v];
             }}
             model M(x: f32[N, 2, 16, 16]) -> f32[N, 4] {{
               param k: f32[16, 16, 3, 3] = normal(0.0, 0.1);
               x |> conv(16, 1) |> turned(k) |> tanh |> globalavgpool |> flatten |> linear(4)
             }}
             data D {{ source = digits(); }}
             train M on D {{ loss = cross_entropy; optim = sgd(0.1); batch = 48; }}"
        );
        check_errors(&text, 16, 2);
    }
}

#[test]
fn large_ones_run_slice_by_slice() {
    let lowered = lowered(&Model::new(TEXT).gradients(48, true), &CompileOptions::of(Target::host()));
    let slices: Vec<_> = lowered.plan.units.iter().filter(|unit| !unit.scratch.is_empty()).collect();
    assert!(!slices.is_empty());
    for unit in slices {
        assert!(unit.launches.len() > 1);
        for (tensor, bytes) in &unit.scratch {
            let whole = 4 * lowered.kernels.program.tensors[*tensor].len();
            assert!(2 * bytes <= whole, "a slice of {bytes} bytes of {whole}");
        }
    }
    assert!(lowered.plan.scratch_bytes < 2 << 20);
}

#[test]
fn without_fast_math_none_is_transformed() {
    let graph = Model::new(TEXT).gradients(48, true);
    let options = CompileOptions { fast_math: false, ..CompileOptions::of(Target::host()) };
    let lowered = lowered(&graph, &options);
    assert!(names(&lowered).iter().all(|name| !name.contains(".tiles")));
}
