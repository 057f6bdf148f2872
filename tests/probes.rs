//! Probes: any value of a graph can be asked for, beside a training or a prediction, which it does not change.

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use cnnc::base::philox::RandomState;
use cnnc::base::target::Target;
use cnnc::graph::{Graph, Sink, Value};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::agreement::{self, Native};
use cnnc::runtime::{Device, Executable, Instance, Store, Values, devices};
use cnnc::train::programs::initialise;
use model::{Model, set_inputs};

const NET: &str = "
    block residual(x: f32[N, C, H, W]) { relu(x + (x |> conv(C, 3, pad=1) |> batchnorm)) }
    model M(x: f32[N, 2, 8, 8]) -> f32[N, 5] {
      x |> conv(8, 3, pad=1) as stem |> residual as a |> maxpool(2) |> residual as b |> dropout(0.5) |> flatten
        |> linear(5) as head
    }
    data D { source = digits(); }
    train M on D { loss = cross_entropy; optim = adam(0.01); }";

/// All values that the nodes of a graph compute, forwards and backwards.
fn all(graph: &Graph) -> Vec<(Value, String)> {
    let values = graph.nodes.iter().flat_map(|node| &node.results);
    values.map(|value| (*value, value.to_string())).collect()
}

/// Each value alone, and all at once, are those of the oracle.
#[test]
fn every_value_of_a_step_is_that_of_the_oracle() {
    let options = CompileOptions::of(Target::host());
    for graph in [Model::new(NET).step(9), Model::new(NET).forward(3, false).expect("it elaborates")] {
        let state = RandomState { seed: 3, step: 1 };
        let inputs = agreement::inputs(&graph, state);
        let device = devices::host(2).expect("threads");
        let every = all(&graph);
        let alone = every.iter().step_by(3).map(|probe| vec![probe.clone()]);
        for probes in alone.chain([every.clone()]) {
            let probing = graph.probing(probes);
            let oracle = agreement::oracle(&probing, &agreement::doubles(&inputs), state);
            let native = Native::compile(&probing, lower(&probing, &options)).expect("it compiles");
            let found = { native }.run(&inputs, &device, state);
            let bound = agreement::within_bound(&probing, &found, &oracle);
            let unknown = bound.unwrap_or_else(|error| panic!("{error}"));
            let all: usize = found.iter().map(Values::len).sum();
            assert!(unknown * 20 < all, "nothing is known of {unknown} of {all} elements");
        }
    }
}

/// Steps of a training, with probes of every layer between them or without: the weights and the losses after them, and
/// what the probes gave.
fn trained(graph: &Graph, device: &Arc<dyn Device>, asks: bool) -> (Vec<Vec<u32>>, Vec<f64>, usize) {
    let options = CompileOptions::of(Target::host());
    let bind = |graph: &Graph, store: &mut Store| {
        let executable = Executable::compile(graph, lower(graph, &options), &**device).expect("it compiles");
        Instance::bind(Arc::new(executable), device, store).expect("its own store")
    };
    let mut store = Store::on(device);
    initialise(graph, 3, &mut store).expect("memory");
    let mut program = bind(graph, &mut store);
    // What a step has of the forward pass are the values of that.
    let forward = Model::new(NET).forward(9, true).expect("it elaborates");
    let probes: BTreeMap<&str, Value> = ["stem", "a", "b", "head"]
        .map(|path| (path, forward.result_of(path).expect("a layer")))
        .into_iter()
        .collect();
    let mut probe = asks.then(|| {
        program.release();
        bind(&graph.probing(probes.iter().map(|(path, value)| (*value, (*path).into()))), &mut store)
    });
    let (mut losses, mut seen) = (Vec::new(), 0);
    for step in 0..5 {
        let random = RandomState { seed: 1, step };
        if let Some(probe) = &mut probe {
            program.release();
            probe.lease().expect("memory");
            set_inputs(probe, graph, step);
            probe.run(&mut store, random).expect("its own store");
            for path in probes.keys() {
                let values = probe.output(&Sink::Probe((*path).into()), &store).expect("a probe").numbers();
                assert!(values.iter().all(|value| value.is_finite()), "{path}");
                assert!(values.iter().any(|value| *value != values[0]), "{path}: {values:?}");
                seen += values.len();
            }
            probe.commit(&mut store);
            probe.release();
        }
        program.lease().expect("memory");
        set_inputs(&mut program, graph, step);
        program.run(&mut store, random).expect("its own store");
        program.commit(&mut store);
        losses.push(program.scalar(&Sink::Loss, &store).expect("a loss"));
    }
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (store.entries().iter().map(|entry| bits(&entry.values())).collect(), losses, seen)
}

#[test]
fn a_training_is_the_same_with_probes() {
    let graph = Model::new(NET).step(9);
    let device = devices::host(2).expect("threads");
    let (alone, probed) = (trained(&graph, &device, false), trained(&graph, &device, true));
    assert_eq!((alone.0, alone.1), (probed.0, probed.1));
    assert_eq!(probed.2, 5 * 9 * (2 * 8 * 64 + 8 * 16 + 5));
    assert_eq!(alone.2, 0);
}

#[test]
fn layers_have_results_by_their_paths() {
    let graph = Model::new(NET).forward(2, false).expect("it elaborates");
    let shape = |path: &str| graph.result_of(path).map(|value| graph.values[value].shape.clone());
    assert_eq!(shape("stem"), Some(vec![2, 8, 8, 8]));
    assert_eq!(shape("b"), Some(vec![2, 8, 4, 4]));
    assert_eq!(shape("head"), Some(vec![2, 5]));
    assert_eq!(shape("hea"), None);
    assert_eq!(shape(""), None);
}
