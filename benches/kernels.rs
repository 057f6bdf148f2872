//! Convolutions alone: GFLOP/s of the forward pass and of both gradients, on one core, and their share of the
//! machine's multiply-add peak at the same vector level. Those of 3×3 also by Winograd's tiles, where the multiply-adds
//! of the direct way count, so that a share may be more than the whole.
//!
//! `cargo bench --bench kernels` measures all shapes at the best level; further words name levels (`avx2`) or shapes
//! (`256x32-64@28`: batch × channels in - channels out @ pixels a side).

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::{Level, Target};
use cnnc::elab::config::Overrides;
use cnnc::elab::{Library, Module};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::{Device, Executable, Instance, Store, devices};
use cnnc::train::programs::initialise;
use cnnc::train::recipe::Recipe;
use std::sync::Arc;

/// A convolution in a net that needs the gradients of its input and of its weights.
const MODEL: &str = "
model Shape(x: f32[N, inputs, size, size], inputs: int, outputs: int, size: int, kernel: int, groups: int) {
  x |> batchnorm |> conv(outputs, kernel, pad=(kernel - 1) / 2, groups=groups, bias=false) as conv
    |> relu |> globalavgpool |> flatten |> linear(2)
}
data Noise { source = synthetic(classes=2); }
train Shape on Noise { loss = cross_entropy; optim = sgd(0.01); batch = 16; }
";

/// Batch, channels in and out, pixels a side, kernel, groups.
const SHAPES: [(i64, i64, i64, i64, i64, i64); 9] = [
    (64, 8, 8, 28, 3, 1),
    (64, 16, 16, 14, 3, 1),
    (64, 32, 32, 7, 3, 1),
    (256, 32, 64, 28, 3, 1),
    (16, 64, 64, 56, 3, 1),
    (16, 256, 256, 14, 3, 1),
    (16, 512, 512, 7, 3, 1),
    (16, 64, 256, 56, 1, 1),
    (16, 96, 96, 112, 3, 96),
];
/// What the equations of the forward pass and of both gradients are called.
const DIRECTIONS: [&str; 3] = ["y", "d_x", "d_w"];
const ROUNDS: u64 = 9;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let levels = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512];
    let named: Vec<Level> = levels.into_iter().filter(|level| words.contains(&level.to_string())).collect();
    let levels = if named.is_empty() { vec![Target::host().level] } else { named };
    let shapes: Vec<_> = SHAPES.iter().filter(|shape| words.contains(&label(shape))).collect();
    let shapes = if shapes.is_empty() { SHAPES.iter().collect() } else { shapes };
    let device = devices::host(1).expect("a thread");
    for level in levels {
        println!("{level}, one thread{:24}forward         to the input    to the weights", "");
        for shape in &shapes {
            for fast_math in if shape.4 == 3 && shape.5 == 1 { vec![false, true] } else { vec![false] } {
                let options = CompileOptions { fast_math, ..CompileOptions::of(Target::of(level)) };
                let peak = device.peak_gflops(&options.machine).expect("the peak is measured");
                let rates = measure(shape, &options, &device)
                    .map(|rate| format!("{rate:6.1} ({:3.0} %)", 100.0 * rate / peak));
                let name = format!("{}{}", label(shape), if fast_math { " tiles" } else { "" });
                println!("{name:18} peak {peak:6.1} GFLOP/s   {}", rates.join("   "));
            }
        }
    }
}

fn label((batch, inputs, outputs, size, kernel, groups): &(i64, i64, i64, i64, i64, i64)) -> String {
    let kind = match (kernel, groups) {
        (1, _) => "1x1:",
        (_, 1) => "",
        _ => "depthwise:",
    };
    format!("{kind}{batch}x{inputs}-{outputs}@{size}")
}

/// GFLOP/s of each direction: its multiply-adds over the time of all its kernels.
fn measure(
    shape: &(i64, i64, i64, i64, i64, i64),
    options: &CompileOptions,
    device: &Arc<dyn Device>,
) -> [f64; 3] {
    let (batch, inputs, outputs, size, kernel, groups) = *shape;
    let settings = [
        format!("args.inputs={inputs}"),
        format!("args.outputs={outputs}"),
        format!("args.size={size}"),
        format!("args.kernel={kernel}"),
        format!("args.groups={groups}"),
        format!("train.batch={batch}"),
    ];
    let mut sources = SourceMap::default();
    let overrides = Overrides::parse(&mut sources, &settings).expect("the settings are right");
    let module =
        Module::with_library(&mut sources, "shape.cnn", MODEL, &Library::embedded()).expect("it parses");
    let spec = module.train_spec(module.train_sections()[0], &overrides).expect("its section is right");
    let graph = Recipe::of(&module, &spec).step(batch, &spec.phases[0]).expect("it elaborates");
    let mut store = Store::on(device);
    initialise(&graph, spec.seed, &mut store).expect("memory");
    let lowered = lower(&graph, options);
    let names: Vec<String> = lowered
        .plan
        .units
        .iter()
        .map(|unit| lowered.launches[unit.launches.start].function.name.clone())
        .collect();
    let executable = Executable::compile(&graph, lowered, &**device).expect("it compiles");
    let mut program = Instance::bind(executable.into(), device, &mut store).expect("memory");
    let mut best = vec![f64::INFINITY; names.len()];
    for step in 0..ROUNDS {
        let times = program.run_timed(&mut store, RandomState { seed: 0, step }).expect("its own store");
        best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
        program.commit(&mut store);
    }
    let points = batch * outputs * size * size * inputs / groups * kernel * kernel;
    DIRECTIONS.map(|equation| {
        let mine =
            names.iter().zip(&best).filter(|(name, _)| name.starts_with(&format!("conv.conv2d.{equation}")));
        2.0 * points as f64 / mine.map(|(_, seconds)| seconds).sum::<f64>() * 1e-9
    })
}
