//! Graphics cards: what a driver of software computes has the bits of the loop interpreter, where it takes code as it
//! is, and is within the oracle's bound where it does not.
//!
//! The tests run on Mesa's software adapter, `llvmpipe`, as its arithmetic is known. Where it is not installed they say
//! so and pass, unless `CNNC_GPU_TESTS` is `required`.

mod formula;
mod model;
mod place;
mod random;

use std::sync::{Arc, LazyLock};

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::{Graph, Role, Sink};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native, Outputs, Tensors};
use cnnc::runtime::devices::CardOptions;
use cnnc::runtime::{Device, Executable, Instance, Store, devices};
use cnnc::train::programs::initialise;
use formula::cases;
use model::{Model, set_inputs};
use place::{Place, Said};

/// The adapter that all tests run on.
const ADAPTER: &str = "llvmpipe";

/// Random programs of the normal run, and of the long one.
const PROGRAMS: u64 = 20;
const MORE_PROGRAMS: u64 = 200;

type Opened = Option<Arc<dyn Device>>;

/// The adapter, used like one that differs from it.
fn open(options: CardOptions) -> Opened {
    match devices::gpu_like(Some(ADAPTER), options) {
        Ok(device) => Some(device),
        Err(fault) if std::env::var("CNNC_GPU_TESTS").is_ok_and(|value| value == "required") => {
            panic!("{fault}")
        }
        Err(fault) => {
            eprintln!("skipped: {fault}");
            None
        }
    }
}

/// The adapter, whose driver takes code as it is.
fn exact() -> Opened {
    static DEVICE: LazyLock<Opened> = LazyLock::new(|| open(CardOptions::default()));
    DEVICE.clone()
}

/// The same, used like one whose driver does not.
fn fenced() -> Opened {
    static DEVICE: LazyLock<Opened> =
        LazyLock::new(|| open(CardOptions { fenced: true, ..CardOptions::default() }));
    DEVICE.clone()
}

/// What a graph gives on a device and by the interpreter of its loops, for the same inputs.
fn both(device: &Arc<dyn Device>, graph: &Graph, inputs: &Tensors) -> Result<(Outputs, Outputs), String> {
    let state = RandomState { seed: 7, step: 1 };
    let options = CompileOptions { machine: device.machine(), over: None, fast_math: true };
    let lowered = lower(graph, &options);
    let expected = agreement::interpreted(&lowered, inputs, state)?;
    let mut native = Native::on(device, graph, lowered)?;
    let found = native.run(inputs, device, state);
    agreement::same_bits(graph, &found, &native.run(inputs, device, state))
        .map_err(|e| format!("again: {e}"))?;
    Ok((found, expected))
}

/// Whether a graph has the bits of the interpreter on the adapter.
fn check_bits(device: &Arc<dyn Device>, graph: &Graph) -> Result<(), String> {
    let inputs = agreement::inputs(graph, RandomState { seed: 7, step: 1 });
    let (found, expected) = both(device, graph, &inputs)?;
    agreement::same_bits(graph, &found, &expected).map_err(|error| format!("{}: {error}", device.described()))
}

/// Whether a graph is within the oracle's bound on the adapter.
fn check_bound(device: &Arc<dyn Device>, graph: &Graph) -> Result<(), String> {
    let state = RandomState { seed: 7, step: 1 };
    let inputs = agreement::inputs(graph, state);
    let (found, _) = both(device, graph, &inputs)?;
    let oracle = agreement::oracle(graph, &agreement::doubles(&inputs), state);
    agreement::within_bound(graph, &found, &oracle).map(drop)
}

/// All that fail, in one message.
fn all(results: impl Iterator<Item = (String, Result<(), String>)>) {
    let failed: Vec<String> =
        results.filter_map(|(what, result)| result.err().map(|error| format!("{what}: {error}"))).collect();
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

/// The graphs of all ops, layers and losses that are held against PyTorch, with their gradients.
fn ops() -> impl Iterator<Item = (String, Graph)> {
    let cases = cases::ops().into_iter().filter(|case| !case.inputs.is_empty());
    cases.map(|case| {
        let batch = case.inputs[0].shape[0] as i64;
        (case.name.clone(), Model::new(&case.text()).gradients(batch, case.mode == "train"))
    })
}

#[test]
fn ops_have_the_bits_of_the_interpreter() {
    let Some(device) = exact() else { return };
    all(ops().map(|(name, graph)| (name, check_bits(&device, &graph))));
}

#[test]
fn ops_are_within_the_bound_where_sums_are_rearranged() {
    let Some(device) = fenced() else { return };
    all(ops().map(|(name, graph)| (name, check_bound(&device, &graph))));
}

fn random_programs(count: u64) {
    let Some(device) = exact() else { return };
    let graphs = (0..count).map(|seed| {
        let program = random::program(seed);
        (format!("seed {seed}"), Model::new(&program.text).gradients(program.batch, true))
    });
    all(graphs.map(|(what, graph)| (what, check_bits(&device, &graph))));
}

#[test]
fn random_programs_have_the_bits_of_the_interpreter() {
    random_programs(PROGRAMS);
}

#[test]
#[ignore = "many programs, 20 min"]
fn many_random_programs_have_the_bits_of_the_interpreter() {
    random_programs(MORE_PROGRAMS);
}

/// What some steps of a train section leave on a device, and the loss of each.
fn steps(device: &Arc<dyn Device>, graph: &Graph, count: u64) -> (Vec<Vec<f32>>, Vec<f64>) {
    let options = CompileOptions { machine: device.machine(), over: None, fast_math: true };
    let executable = Executable::compile(graph, lower(graph, &options), &**device).expect("it compiles");
    let mut store = Store::on(device);
    initialise(graph, 3, &mut store).expect("memory");
    let mut program = Instance::bind(Arc::new(executable), device, &mut store).expect("its own store");
    let mut losses = Vec::new();
    for step in 0..count {
        set_inputs(&mut program, graph, step);
        program.run(&mut store, RandomState { seed: 5, step }).expect("it runs");
        program.commit(&mut store);
        losses.extend(program.scalar(&Sink::Loss, &store));
        if step == 1 {
            // Whoever comes back has lost its inputs and nothing else.
            program.release();
            program.lease().expect("memory");
        }
    }
    (store.entries().iter().map(|entry| entry.values().to_vec()).collect(), losses)
}

/// Holds the steps of a train section against those of the interpreter.
fn check_steps(text: &str, batch: i64, count: u64) {
    let Some(device) = exact() else { return };
    let graph = Model::new(text).step(batch);
    let (found, losses) = steps(&device, &graph, count);
    let (expected, wanted) = steps(&devices::interpreter_like(device.machine()), &graph, count);
    assert_eq!(losses, wanted, "the losses");
    let paths: Vec<&str> = graph
        .inputs
        .iter()
        .filter_map(|(_, role)| match role {
            Role::Param { path, .. } | Role::State { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    for ((found, expected), path) in found.iter().zip(&expected).zip(paths) {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(bits(found) == bits(expected), "{path}");
    }
}

#[test]
fn steps_of_digits() {
    check_steps(include_str!("../examples/digits.cnn"), 8, 4);
}

#[test]
fn steps_of_lenet() {
    check_steps(include_str!("../examples/lenet.cnn"), 8, 3);
}

#[test]
fn steps_of_convnet_gap() {
    check_steps(include_str!("../examples/convnet_gap.cnn"), 8, 2);
}

/// All notes' models in batches that fit.
#[test]
#[ignore = "long steps, 15 min"]
fn steps_of_the_notes_models() {
    check_steps(include_str!("../examples/digits.cnn"), 32, 10);
    check_steps(include_str!("../examples/lenet.cnn"), 40, 10);
    check_steps(include_str!("../examples/convnet_gap.cnn"), 8, 10);
    check_steps(include_str!("../examples/convnet_gmp.cnn"), 8, 10);
    check_steps(include_str!("../examples/mnist_cnn.cnn"), 8, 10);
    check_steps(include_str!("../examples/mnist_cnn_all.cnn"), 8, 10);
}

/// The losses of a card and of the processor part by rounding alone: by no more than 1e-4, or three times as much as
/// those of two vector levels of the processor do, whose sums have other orders too.
#[test]
#[ignore = "steps of all notes' models, 5 min"]
fn losses_are_those_of_the_processor() {
    let Some(card) = exact() else { return };
    let levels = [Target::host(), Target::of(Level::Fma)];
    let [best, other] = levels.map(|target| devices::cpu(target, 2).expect("threads"));
    for (name, text, batch) in [
        ("digits", include_str!("../examples/digits.cnn"), 32),
        ("lenet", include_str!("../examples/lenet.cnn"), 40),
        ("convnet_gap", include_str!("../examples/convnet_gap.cnn"), 32),
        ("convnet_gmp", include_str!("../examples/convnet_gmp.cnn"), 32),
        ("mnist_cnn", include_str!("../examples/mnist_cnn.cnn"), 32),
        ("mnist_cnn_all", include_str!("../examples/mnist_cnn_all.cnn"), 32),
    ] {
        let graph = Model::new(text).step(batch);
        let [found, wanted, beside] = [&card, &best, &other].map(|device| steps(device, &graph, 20).1);
        let apart = |one: f64, other: f64| (one - other).abs() / other.abs();
        let mut allowed = 1e-4_f64;
        for step in 0..wanted.len() {
            allowed = allowed.max(3.0 * apart(beside[step], wanted[step]));
            let far = apart(found[step], wanted[step]);
            println!("{name} step {step}: {far:.1e} of {allowed:.1e}");
            assert!(far <= allowed, "{name} step {step}: {} {}", found[step], wanted[step]);
        }
    }
}

/// Where the driver is not told to keep operations as they are, bits differ: so the other tests would see it.
#[test]
fn bits_differ_where_operations_are_not_marked() {
    let Some(device) = open(CardOptions { unmarked: true, ..CardOptions::default() }) else { return };
    let graph = Model::new(include_str!("../examples/lenet.cnn")).gradients(8, true);
    let error = check_bits(&device, &graph).expect_err("the driver rearranges sums");
    assert!(error.contains(" and "), "{error}");
}

/// A model of one op on pictures of a shape.
fn op(shape: &str, equations: &str) -> Model {
    Model::new(&format!(
        "op it(x: f32[N, C, H, W]) -> y: f32[N, C, H, W] {{ {equations} }}
         model M(x: f32[N, {shape}]) {{ x |> it }}"
    ))
}

/// NaN and zeros of both signs through what drivers take to be free of them.
#[test]
fn nan_and_signs_of_zeros_stay() {
    let Some(device) = exact() else { return };
    let values = [f32::NAN, -0.0, 0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 3e38, -f32::NAN];
    for body in [
        "max(x[n, c, h, w], 0)",
        "min(x[n, c, h, w], 0 - 0.5)",
        "max(0 * x[n, c, h, w], x[n, c, h, 0])",
        "if x[n, c, h, w] != x[n, c, h, w] { 1 } else { 2 }",
        "if x[n, c, h, w] == x[n, c, h, w] { 1 } else { 2 }",
        "if x[n, c, h, w] != x[n, c, h, 0] { 1 } else { 2 }",
        "if !(x[n, c, h, w] < 1) { 1 } else { 2 }",
        "if x[n, c, h, w] >= 0 { 1 } else { 2 }",
        "exp(x[n, c, h, w])",
        "log(x[n, c, h, w])",
        "sigmoid(x[n, c, h, w])",
        "tanh(x[n, c, h, w])",
        "sqrt(x[n, c, h, w])",
        "floor(x[n, c, h, w])",
        "x[n, c, h, w] * 0 + 0",
        "1 / x[n, c, h, w]",
        "max[k < W] x[n, c, h, k]",
    ] {
        let graph = op("1, 1, 10", &format!("y[n, c, h, w] = {body};")).forward(3, false).expect(body);
        let inputs: Tensors = vec![(0..3).flat_map(|_| values).collect()];
        let (found, expected) =
            both(&device, &graph, &inputs).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(agreement::same_bits(&graph, &found, &expected), Ok(()), "{body}");
    }
}

/// More workgroups than one dimension of a dispatch has.
#[test]
fn large_grids_have_two_dimensions() {
    let Some(device) = exact() else { return };
    let graph = op("2, 300, 301", "y[n, c, h, w] = x[n, c, h, w] * 2 + x[n, c, 0, w];")
        .forward(2, false)
        .expect("it elaborates");
    assert_eq!(check_bits(&device, &graph), Ok(()));
}

/// Several blocks of memory for the arena, and a tensor that lies in none.
#[test]
fn memory_in_blocks() {
    let graph = Model::new(include_str!("../examples/lenet.cnn")).step(8);
    let small = |block_bytes| open(CardOptions { block_bytes: Some(block_bytes), ..CardOptions::default() });
    let Some(device) = small(768 << 10) else { return };
    assert_eq!(check_bits(&device, &graph), Ok(()));
    let Some(device) = small(512 << 10) else { return };
    let error = check_bits(&device, &graph).expect_err("sigmoid_2.d_x is larger");
    assert!(
        error.contains("needs 648 KiB of memory, and there are 512 KiB in a block of the device's memory"),
        "{error}"
    );
}

#[test]
fn kernels_bind_no_more_blocks_than_there_are() {
    let Some(device) = open(CardOptions { blocks: Some(1), ..CardOptions::default() }) else { return };
    let graph = Model::new(include_str!("../examples/digits.cnn")).step(8);
    let error = check_bits(&device, &graph).expect_err("a kernel needs arena and weights");
    assert!(error.contains("2 blocks of memory, and llvmpipe") && error.ends_with("binds 1"), "{error}");
}

#[test]
fn a_shader_that_the_driver_refuses_is_an_error() {
    let Some(device) = open(CardOptions { refuses: true, ..CardOptions::default() }) else { return };
    let graph = Model::new(include_str!("../examples/digits.cnn")).step(8);
    let error = check_bits(&device, &graph).expect_err("it is no shader");
    assert!(error.contains("cannot be compiled: a shader is not valid"), "{error}");
}

/// A device that is lost: the run that sees it ends, and so do all after that.
#[test]
fn a_lost_device_ends_runs() {
    let Some(device) = open(CardOptions { lost_after: Some(2), ..CardOptions::default() }) else { return };
    let graph = Model::new(include_str!("../examples/digits.cnn")).step(8);
    let options = CompileOptions { machine: device.machine(), over: None, fast_math: true };
    let executable = Executable::compile(&graph, lower(&graph, &options), &*device).expect("it compiles");
    let mut store = Store::on(&device);
    initialise(&graph, 3, &mut store).expect("memory");
    let mut program = Instance::bind(Arc::new(executable), &device, &mut store).expect("its own store");
    let mut results = Vec::new();
    for step in 0..4 {
        set_inputs(&mut program, &graph, step);
        results
            .push(program.run(&mut store, RandomState { seed: 5, step }).map_err(|error| error.to_string()));
    }
    assert_eq!(results[..2], [Ok(()), Ok(())]);
    for result in &results[2..] {
        let error = result.as_ref().expect_err("the device is lost");
        assert!(error.starts_with("llvmpipe") && !error.contains('\n'), "{error}");
    }
}

/// A loss that is no number leaves what was there.
#[test]
fn steps_that_are_not_accepted_leave_no_trace() {
    let Some(device) = exact() else { return };
    let text = "
        op spoil(s: f32[N, C]) -> y: f32[N, C] { y[n, c] = log(s[n, c] - 100); }
        model M(x: f32[N, 1, 8, 8]) -> f32[N, 5] {
          x |> conv(4, 3, pad=1) |> batchnorm |> relu |> flatten |> linear(5) |> spoil
        }
        data D { source = digits(); }
        train M on D { loss = cross_entropy; optim = adam(0.01); }";
    let graph = Model::new(text).step(8);
    let mut fresh = Store::on(&device);
    initialise(&graph, 3, &mut fresh).expect("memory");
    let before: Vec<Vec<f32>> = fresh.entries().iter().map(|entry| entry.values().to_vec()).collect();
    let (after, losses) = steps(&device, &graph, 2);
    assert!(losses.iter().all(|loss| loss.is_nan()), "{losses:?}");
    assert_eq!(after, before);
}

const ON_CARD: &str = "gpu:llvmpipe";

/// A training by the command, twice on the card and once on the processor; what one has begun the other goes on with.
#[test]
fn a_run_of_digits() {
    if exact().is_none() {
        return;
    }
    let place = Place::with("digits.cnn", include_str!("../examples/digits.cnn"));
    let run = |out: &str, device: &str| {
        place.good(&["run", "digits.cnn", "--epochs", "2", "--out", out, "--device", device]);
    };
    run("card", ON_CARD);
    run("again", ON_CARD);
    run("processor", "cpu");
    let weights = |run: &str| std::fs::read(place.path(run).join("model.safetensors")).expect("weights");
    assert!(weights("card") == weights("again"), "the same device gives the same bits");
    let losses = |run: &str| -> Vec<f64> {
        let steps = place.text(&format!("{run}/steps.jsonl"));
        let steps =
            steps.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line"));
        steps.map(|step| step["loss"].as_f64().expect("a loss")).collect()
    };
    for (one, other) in losses("card").iter().zip(losses("processor")).take(20) {
        assert!((one - other).abs() <= 1e-4 * other.abs(), "{one} {other}");
    }
    // The one goes on with what the other has begun.
    for (run, device) in [("card", "cpu"), ("processor", ON_CARD)] {
        let refused = place.run(&["run", "--resume", run, "--epochs", "3", "--device", device]);
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(
            refused.err.contains("--allow-changes") && refused.err.contains("device: "),
            "{}",
            refused.err
        );
        assert!(!refused.err.contains("level: "), "{}", refused.err);
        let flags = ["run", "--resume", run, "--epochs", "3", "--device", device, "--allow-changes"];
        let said = place.run(&flags);
        assert_eq!(said.code, Some(0), "{}", said.err);
    }
    let evaluated =
        |device: &str| place.good(&["eval", "digits.cnn", "--weights", "card", "--device", device]);
    assert_eq!(evaluated("cpu"), evaluated(ON_CARD));
}

/// What a person reads who names what is not there.
#[test]
fn devices_that_are_not_there_are_named() {
    if exact().is_none() {
        return;
    }
    let place = Place::with("digits.cnn", include_str!("../examples/digits.cnn"));
    let bad = |flags: &[&str]| {
        let said = place.run(&[&["run", "digits.cnn", "--out", "run", "--device"], flags].concat());
        assert!(!place.path("run").exists(), "{}", said.err);
        said
    };
    let Said { code, err, .. } = bad(&["gpu:none"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("error: no graphics adapter has `none` in its name; there are `llvmpipe"), "{err}");
    let Said { code, err, .. } = bad(&["gpu:"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("known are cpu, gpu and gpu:NAME"), "{err}");
    let Said { code, err, .. } = bad(&[ON_CARD, "--cpu", "fma"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("--cpu is for the device cpu"), "{err}");
    assert!(place.good(&["devices"]).contains("gpu:llvmpipe"));
}
