//! Graphics cards: what a driver of software computes has the bits of the loop interpreter, where it takes code as it
//! is, and is within the oracle's bound where it does not.
//!
//! The tests run on Mesa's software adapter, `llvmpipe`, as its arithmetic is known. Where it is not installed they say
//! so and pass, unless `CNNC_GPU_TESTS` is `required`.

mod formula;
mod model;
mod random;

use std::sync::{Arc, LazyLock};

use cnnc::base::philox::RandomState;
use cnnc::graph::{Graph, Role, Sink};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native, Outputs, Tensors};
use cnnc::runtime::{Device, Executable, Instance, Store, devices};
use cnnc::train::programs::initialise;
use formula::cases;
use model::{Model, set_inputs};

/// The adapter that all tests run on.
const ADAPTER: &str = "llvmpipe";

/// Random programs of the normal run, and of the long one.
const PROGRAMS: u64 = 20;
const MORE_PROGRAMS: u64 = 200;

type Opened = Option<Arc<dyn Device>>;

fn open(fenced: bool) -> Opened {
    let opened = if fenced { devices::gpu_fenced(Some(ADAPTER)) } else { devices::gpu(Some(ADAPTER)) };
    match opened {
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
    static DEVICE: LazyLock<Opened> = LazyLock::new(|| open(false));
    DEVICE.clone()
}

/// The same, used like one whose driver does not.
fn fenced() -> Opened {
    static DEVICE: LazyLock<Opened> = LazyLock::new(|| open(true));
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
