//! Devices: what is lowered for one of them gives the same bits on another, through everything that they share.

mod model;

use std::sync::Arc;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::{Graph, Sink};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::{Device, Executable, Instance, Mismatch, Store, devices};
use cnnc::sched::{Grid, LaneAxis, Machine};
use cnnc::train::programs::initialise;
use model::{Model, set_inputs};

/// Convolutions that run slice by slice, halos that are not zero, that of the input among them, random numbers, states,
/// and updates in place and beside.
const NET: &str = "
    model M(x: f32[N, 8, 8, 8]) -> f32[N, 5] {
      x |> maxpool(3, stride=1, pad=1) |> conv(16, 3, pad=1) |> batchnorm |> relu |> conv(16, 3, pad=1)
        |> maxpool(3, pad=1) |> dropout(0.5)
        |> flatten |> linear(5)
    }
    data D { source = digits(); }
    train M on D { loss = cross_entropy; optim = OPTIM; }";

/// What some steps leave, and the loss of each.
fn steps(
    graph: &Graph,
    options: &CompileOptions,
    device: &Arc<dyn Device>,
    count: u64,
) -> (Vec<Vec<f32>>, Vec<f64>) {
    let executable = Executable::compile(graph, lower(graph, options), &**device).expect("it compiles");
    let mut store = Store::on(device);
    initialise(graph, 3, &mut store).expect("memory");
    let mut program = Instance::bind(Arc::new(executable), device, &mut store).expect("its own store");
    let mut losses = Vec::new();
    for step in 0..count {
        set_inputs(&mut program, graph, step);
        program.run(&mut store, RandomState { seed: 5, step }).expect("its own store");
        program.commit(&mut store);
        losses.extend(program.scalar(&Sink::Loss, &store));
        // Whoever comes back has lost its inputs and nothing else.
        program.release();
        program.lease().expect("memory");
    }
    (store.entries().iter().map(|entry| entry.values().to_vec()).collect(), losses)
}

fn check(graph: &Graph, options: &CompileOptions, count: u64) {
    let cpu = devices::host(2).expect("threads");
    let native = steps(graph, options, &cpu, count);
    let interpreted = steps(graph, options, &devices::interpreter_like(options.machine), count);
    let what = format!("{} {:?}", options.machine.target.level, options.over);
    assert_eq!(native.1, interpreted.1, "{what}: the losses");
    for (at, (native, interpreted)) in native.0.iter().zip(&interpreted.0).enumerate() {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(native), bits(interpreted), "{what}: persistent tensor {at}");
    }
    assert!(native.0.iter().flatten().all(|value| value.is_finite()), "{what}");
}

#[test]
fn steps_are_those_of_the_interpreter() {
    for optimiser in ["sgd(0.1)", "adam(0.01)"] {
        let text = NET.replace("OPTIM", optimiser);
        for (level, batch) in [(Level::Sse4, 5), (Level::Avx2, 8), (Level::Avx512, 21)] {
            if level <= Target::host().level {
                check(&Model::new(&text).step(batch), &CompileOptions::of(Target::of(level)), 3);
            }
        }
    }
}

#[test]
fn predictions_are_those_of_the_interpreter() {
    let text = NET.replace("OPTIM", "sgd(0.1)");
    for (batch, over) in [(1, LaneAxis::Channels), (3, LaneAxis::Batch), (17, LaneAxis::Batch)] {
        let graph = Model::new(&text).forward(batch, false).expect("it elaborates");
        let options = CompileOptions { over: Some(over), ..CompileOptions::of(Target::host()) };
        check(&graph, &options, 2);
    }
}

/// A loss that is no number: both leave what they had.
#[test]
fn steps_that_are_not_accepted_leave_no_trace() {
    let text = NET.replace("OPTIM", "adam(0.01)").replace("|> linear(5)", "|> linear(5) |> spoil");
    let text = format!("op spoil(s: f32[N, C]) -> y: f32[N, C] {{ y[n, c] = log(s[n, c] - 100); }}\n{text}");
    let (graph, options) = (Model::new(&text).step(8), CompileOptions::of(Target::host()));
    for device in [devices::host(2).expect("threads"), devices::interpreter_like(options.machine)] {
        let mut fresh = Store::on(&device);
        initialise(&graph, 3, &mut fresh).expect("memory");
        let before: Vec<Vec<f32>> = fresh.entries().iter().map(|entry| entry.values().to_vec()).collect();
        let (after, losses) = steps(&graph, &options, &device, 2);
        assert!(losses.iter().all(|loss| loss.is_nan()), "{losses:?}");
        assert_eq!(after, before, "{}", device.described());
    }
}

/// What is lowered for vectors that no processor here has, and for grids.
#[test]
fn a_device_may_have_other_vectors() {
    let device = devices::interpreter();
    assert_eq!(device.machine().lanes, 32);
    let graph = Model::new(&NET.replace("OPTIM", "sgd(0.1)")).step(40);
    let (narrow, others) =
        steps(&graph, &CompileOptions::of(Target::host()), &devices::host(1).expect("a thread"), 2);
    let grids =
        [true, false].map(|fuses| Machine::of_grid(32, 32, Grid { fuses, block_bytes: 1 << 30, blocks: 8 }));
    for device in [device].into_iter().chain(grids.map(devices::interpreter_like)) {
        let options = CompileOptions { machine: device.machine(), over: None, fast_math: true };
        let (wide, losses) = steps(&graph, &options, &device, 2);
        for (one, other) in losses.iter().zip(&others) {
            assert!((one - other).abs() < 1e-5 * one.abs(), "{losses:?} {others:?}");
        }
        for (one, other) in wide.iter().flatten().zip(narrow.iter().flatten()) {
            assert!((one - other).abs() <= 1e-4 * (1.0 + one.abs()), "{one} {other}");
        }
    }
}

#[test]
fn code_and_memory_of_other_devices_are_refused() {
    let graph = Model::new(&NET.replace("OPTIM", "sgd(0.1)")).step(4);
    let (cpu, interpreter) = (devices::host(1).expect("a thread"), devices::interpreter());
    let options = CompileOptions::of(Target::host());
    let native = Arc::new(Executable::compile(&graph, lower(&graph, &options), &*cpu).expect("it compiles"));
    let mut stores = [Store::on(&cpu), Store::on(&interpreter)];
    stores.iter_mut().for_each(|store| initialise(&graph, 3, store).expect("memory"));
    let [own, other] = &mut stores;
    let kind = |found, needed| Some(Mismatch::Kind { found, needed });
    let bind = |device, store: &mut Store| Instance::bind(native.clone(), device, store).err();
    assert_eq!(bind(&cpu, own), None);
    assert_eq!(bind(&cpu, other), kind("interpreter", "cpu"));
    assert_eq!(bind(&interpreter, other), kind("cpu", "interpreter"));
    // Two of one kind share both.
    assert_eq!(bind(&devices::host(2).expect("threads"), own), None);
}
