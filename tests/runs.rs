//! Programs that run more than once: what they keep from one run to the next is what they may keep.

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab::config::Overrides;
use cnnc::elab::{ModelCall, Module, Request};
use cnnc::graph::{Graph, Sink};
use cnnc::lower::CompileOptions;
use cnnc::runtime::{Device, Executable, Instance, Mismatch, Store, Turns, devices};
use cnnc::train::programs::{self, StageTimes, initialise};
use cnnc::train::recipe::Recipe;
use std::sync::{Arc, LazyLock};

fn module(text: &str) -> Module {
    let module = Module::from_text(&mut SourceMap::default(), "model.cnn", text);
    module.unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// The graph of the only model, in training or not.
fn forward(text: &str, batch: i64, training: bool) -> Graph {
    let module = module(text);
    let request = Request { training, ..Request::inference(batch) };
    let graph = module.graph(&ModelCall::new(module.models()[0]), &request);
    graph.unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// A step of the only training, and the graph that evaluates it, of their sizes of the batch.
fn training(text: &str, batch: i64, evaluated: i64) -> [Graph; 2] {
    let module = module(text);
    let spec = module.train_spec(module.train_sections()[0], &Overrides::default()).expect("it is right");
    let recipe = Recipe::of(&module, &spec);
    let step = recipe.step(batch, &spec.phases[0]).expect("a step");
    [step, recipe.evaluation(evaluated).expect("an evaluation")]
}

/// The device of all runs, so that its memory goes from one program to the next.
fn device() -> &'static Arc<dyn Device> {
    static DEVICE: LazyLock<Arc<dyn Device>> = LazyLock::new(|| devices::host(1).expect("a thread"));
    &DEVICE
}

/// A store with the initial values of a graph.
fn initial(graph: &Graph) -> Store {
    let mut store = Store::on(device());
    initialise(graph, 1, &mut store).expect("memory");
    store
}

fn compiled(graph: &Graph) -> Arc<Executable> {
    let options = CompileOptions::of(Target::host());
    programs::compile(graph, &options, &**device(), &mut StageTimes::default()).expect("it compiles")
}

fn bound(graph: &Graph, store: &mut Store) -> Instance {
    Instance::bind(compiled(graph), device(), store).expect("its own store")
}

/// Changes the present values of a persistent tensor.
fn change(store: &mut Store, at: usize, change: impl Fn(f32) -> f32) {
    let values: Vec<f32> = store.entries()[at].values().iter().map(|value| change(*value)).collect();
    store.entries_mut()[at].set(&values);
}

/// One run on a thread, and whether its updates take place.
fn run(program: &mut Instance, store: &mut Store, step: u64) -> bool {
    let run = program.run(store, RandomState { seed: 7, step });
    run.expect("a store and memory of its own");
    program.commit(store);
    program.is_accepted()
}

/// The same, and what it gives.
fn result(program: &mut Instance, store: &mut Store, sink: &Sink, step: u64) -> Vec<f64> {
    run(program, store, step);
    program.output(sink, store).expect("an output of the graph").numbers()
}

/// What a program gives that has never run before.
fn afresh(graph: &Graph, data: &[f32], store: &mut Store, sink: &Sink) -> Vec<f64> {
    let mut program = bound(graph, store);
    program.set_data(data);
    result(&mut program, store, sink, 0)
}

/// The present values of a persistent tensor.
fn values(store: &Store, path: &str) -> Vec<f32> {
    let at = store.position(path).unwrap_or_else(|| panic!("there is no {path}"));
    store.entries()[at].values().to_vec()
}

/// Pixels that differ.
fn pixels(len: usize) -> Vec<f32> {
    (0..len).map(|at| (at * 7 % 31) as f32 / 16.0 - 1.0).collect()
}

/// The factors are computed before the pictures are looked at, from nothing that changes but the step.
#[test]
fn random_numbers_are_drawn_for_every_run() {
    let text = "model M(x: f32[N, 40, 6, 6]) { x |> dropout2d(0.5) }";
    for batch in [1, 5] {
        let graph = forward(text, batch, true);
        let mut store = initial(&graph);
        let mut program = bound(&graph, &mut store);
        program.set_data(&vec![1.0; 40 * 36 * batch as usize]);
        let drawn: Vec<Vec<f64>> =
            [0, 1, 0].map(|step| result(&mut program, &mut store, &Sink::Prediction, step)).into();
        assert_ne!(drawn[0], drawn[1], "batch {batch}: another step draws other numbers");
        assert_eq!(drawn[0], drawn[2], "batch {batch}: the same step draws the same");
    }
}

/// A network of which much follows from its weights alone: transformed filters, factors of a normalisation.
const NET: &str = "
    model M(x: f32[N, 16, 8, 8]) -> f32[N, 3] {
      x |> conv(16, 3, pad=1) as c |> batchnorm |> relu |> conv(16, 3, pad=1) |> globalavgpool |> flatten |> linear(3, bias=false) as head
    }
    data D { source = synthetic(3, [16, 8, 8], 8, 8); }
    train M on D { loss = cross_entropy; optim = sgd(0.1); batch = 8; }";

#[test]
fn what_is_computed_once_follows_the_values_that_the_host_gives() {
    for batch in [1, 8] {
        let (graph, data) = (forward(NET, batch, false), pixels(batch as usize * 16 * 64));
        let mut store = initial(&graph);
        let mut program = bound(&graph, &mut store);
        program.set_data(&data);
        let mut seen = vec![result(&mut program, &mut store, &Sink::Prediction, 0)];
        assert_eq!(result(&mut program, &mut store, &Sink::Prediction, 1), seen[0], "nothing has changed");
        for at in 0..store.entries().len() {
            let path = store.entries()[at].path.clone();
            change(&mut store, at, |value| value * 1.125 + 0.03125);
            let found = result(&mut program, &mut store, &Sink::Prediction, 2);
            assert_eq!(found, afresh(&graph, &data, &mut store, &Sink::Prediction), "batch {batch}: {path}");
            assert!(!seen.contains(&found), "batch {batch}: {path} takes part");
            seen.push(found);
        }
    }
}

#[test]
fn what_is_computed_once_follows_the_steps() {
    // Without running statistics a step stores over the weights and changes nothing else.
    for (optimiser, others, batch) in [
        ("sgd(0.1)", "", 1),
        ("sgd(0.1)", "", 8),
        ("sgd(0.1, momentum=0.9)", "", 1),
        ("adam(0.01)", "", 1),
        ("sgd(0.1)", " |> batchnorm", 1),
        ("sgd(0.1)", " |> batchnorm", 8),
    ] {
        let text = NET.replace(" |> batchnorm", others).replace("sgd(0.1)", optimiser);
        let ([step, evaluation], data) = (training(&text, 8, batch), pixels(8 * 16 * 64));
        let mut store = initial(&step);
        let (mut training, mut evaluating) = (bound(&step, &mut store), bound(&evaluation, &mut store));
        training.set_data(&data); // All labels are class 0, as new memory is.
        let data = &data[..batch as usize * 16 * 64];
        evaluating.set_data(data);
        for (name, value) in
            [("lr", 0.1), ("first", 1.0), ("step_size", 0.001), ("bias_correction2_sqrt", 0.1)]
        {
            training.set_scalar(name, value);
        }
        let mut before = result(&mut evaluating, &mut store, &Sink::Loss, 0);
        for at in 0..3 {
            let what = format!("{optimiser}{others}, batch {batch}, step {at}");
            assert!(run(&mut training, &mut store, at), "{what}");
            let after = result(&mut evaluating, &mut store, &Sink::Loss, 0);
            assert_eq!(after, afresh(&evaluation, data, &mut store, &Sink::Loss), "{what}");
            assert_ne!(after, before, "{what} changes something");
            before = after;
        }
    }
}

/// The updates of a step whose loss is infinite are no longer there when the host asks for them, nor those of a state
/// that was finite.
#[test]
fn the_updates_of_a_step_that_is_not_accepted_do_not_count() {
    let text = "
        op burst(s: f32[N, C], w: f32[1]) -> y: f32[N, C] { y[n, c] = s[n, c] + 1 / (w[0] - 1); }
        block last(s: f32[N, C]) { param w: f32[1] = 0;  burst(s, w) }
        model M(x: f32[N, 4, 6, 6]) -> f32[N, 3] {
          x |> conv(8, 3) |> batchnorm as bn |> relu |> flatten |> linear(3) |> last as last
        }
        data D { source = synthetic(3, [4, 6, 6], 8, 8); }
        train M on D { loss = cross_entropy; optim = adam(0.1); batch = 8; }";
    let [step, _] = training(text, 8, 8);
    let mut store = initial(&step);
    let mut program = bound(&step, &mut store);
    program.set_data(&pixels(8 * 4 * 36));
    for (name, value) in [("first", 1.0), ("step_size", 0.001), ("bias_correction2_sqrt", 0.1)] {
        program.set_scalar(name, value);
    }
    let all = |store: &Store| store.entries().iter().map(|entry| entry.values().to_vec()).collect::<Vec<_>>();
    assert!(run(&mut program, &mut store, 0));
    let at = store.position("last.w").expect("the parameter");
    change(&mut store, at, |_| 1.0);
    let before = all(&store);
    assert!(!run(&mut program, &mut store, 1), "1 / 0 is no score");
    assert_eq!(all(&store), before);
    change(&mut store, at, |_| 0.5);
    assert!(run(&mut program, &mut store, 1));
    let mean = values(&store, "bn.running_mean");
    assert!(
        mean.iter().zip(&before[store.position("bn.running_mean").expect("a state")]).any(|(a, b)| a != b)
    );
}

/// States that hand their values on, that are swapped, that take the same one, and one that takes the input.
#[test]
fn every_update_has_a_value_of_its_own() {
    let text = "
        op mean(x: f32[N, C]) -> y: f32[C] { y[c] = (sum[n] x[n, c]) / real(N); }
        block kept(x: f32[N, C]) {
          state a: f32[C] = 1;
          state b: f32[C] = 2;
          state c: f32[C] = 3;
          state d: f32[C] = 4;
          state e: f32[C] = 5;
          state seen: f32[N, C] = 0;
          if training {
            let m = mean(x);
            let old = a;
            a <- b;
            b <- old;
            c <- m;
            d <- m;
            e <- c;
            seen <- x;
          }
          x
        }
        model M(x: f32[N, 5]) { kept(x) as k }";
    for batch in [1, 3, 9] {
        let graph = forward(text, batch, true);
        let mut store = initial(&graph);
        let mut program = bound(&graph, &mut store);
        let mut wanted = [1.0_f32, 2.0, 3.0, 4.0, 5.0].map(|value| vec![value; 5]);
        for step in 0..4 {
            let value = step as f32 + 0.5;
            program.set_data(&vec![value; 5 * batch as usize]);
            run(&mut program, &mut store, step);
            wanted.swap(0, 1);
            wanted[4] = wanted[2].clone();
            wanted[2] = vec![value; 5];
            wanted[3] = vec![value; 5];
            for (name, wanted) in ["a", "b", "c", "d", "e"].iter().zip(&wanted) {
                let found = values(&store, &format!("k.{name}"));
                assert_eq!(found, *wanted, "batch {batch}, step {step}: {name}");
            }
            assert_eq!(
                values(&store, "k.seen"),
                vec![value; 5 * batch as usize],
                "batch {batch}, step {step}"
            );
        }
    }
}

/// A network on so many features, whose only layer is always called the same.
fn features(count: i64) -> Graph {
    forward(&format!("model M(x: f32[N, {count}]) {{ x |> linear(3) as head }}"), 2, false)
}

#[test]
fn a_program_runs_on_its_own_tensors_only() {
    let (few, many) = (features(4), features(9));
    let (small, large) = (compiled(&few), compiled(&many));
    let bind = |executable: &Arc<Executable>, store: &mut Store| {
        Instance::bind(executable.clone(), device(), store).map(|_| ())
    };
    let mut store = Store::on(device());
    assert_eq!(bind(&small, &mut store), Err(Mismatch::Missing("head.weight".into())));
    initialise(&few, 1, &mut store).expect("memory");
    initialise(&many, 1, &mut store).expect("memory"); // Adds nothing, as all paths are there.
    let shape = |found: i64, needed: i64| {
        let (found, needed) = (vec![3, found], vec![3, needed]);
        Err(Mismatch::Shape { path: "head.weight".into(), found, needed })
    };
    assert_eq!(bind(&large, &mut store), shape(4, 9));
    let mut program = Instance::bind(small, device(), &mut store).expect("its own store");
    assert_eq!(program.run(&mut store, RandomState::default()), Ok(()));
    // What it is bound to is looked up again where the store is another one, or has other tensors.
    let mut other = initial(&many);
    assert_eq!(program.run(&mut other, RandomState::default()), shape(9, 4));
    assert_eq!(program.run_timed(&mut other, RandomState::default()).map(|_| ()), shape(9, 4));
    assert_eq!(program.output(&Sink::Prediction, &store).map(|values| values.len()), Some(6));
    assert_eq!(program.run(&mut store, RandomState::default()), Ok(()));
    store.drop_all("head.weight");
    let missing = Err(Mismatch::Missing("head.weight".into()));
    assert_eq!(program.run(&mut store, RandomState::default()), missing);
    initialise(&few, 1, &mut store).expect("memory"); // Now at another place.
    assert_eq!(program.run(&mut store, RandomState::default()), Ok(()));
    let mut foreign = Store::on(&devices::interpreter());
    initialise(&few, 1, &mut foreign).expect("memory");
    let kind = Err(Mismatch::Kind { found: "interpreter", needed: "cpu" });
    assert_eq!(bind(&compiled(&few), &mut foreign), kind);
    assert_eq!(program.run(&mut foreign, RandomState::default()), kind);
}

#[test]
fn a_program_without_memory_does_not_run() {
    for graph in [features(4), training(NET, 8, 8)[0].clone()] {
        let mut store = initial(&graph);
        let mut program = bound(&graph, &mut store);
        assert_eq!(program.run(&mut store, RandomState::default()), Ok(()));
        for _ in 0..2 {
            program.release();
            program.release();
            assert_eq!(program.run(&mut store, RandomState::default()), Err(Mismatch::NoMemory));
            assert_eq!(program.output(&Sink::Prediction, &store), None);
            program.lease().expect("memory");
            assert_eq!(program.run(&mut store, RandomState::default()), Ok(()));
        }
    }
}

/// Programs that run by turns find what others have left in their memory, and give what they give alone.
#[test]
fn programs_by_turns_give_what_they_give_alone() {
    let data = pixels(16 * 16 * 64);
    let graphs = [forward(NET, 8, false), forward(NET, 16, false), training(NET, 8, 1)[1].clone()];
    let sinks = [Sink::Prediction, Sink::Prediction, Sink::Loss];
    let data_of = |at: usize| &data[..[8, 16, 1][at] * 16 * 64];
    let mut store = initial(&graphs[2]);
    let alone: Vec<Vec<f64>> =
        (0..3).map(|at| afresh(&graphs[at], data_of(at), &mut store, &sinks[at])).collect();
    let mut turns: Turns<usize> = Turns::new();
    for at in [0, 1, 2, 0, 0, 2, 1, 0, 2] {
        let program = turns.get(at, || Ok::<_, Mismatch>(bound(&graphs[at], &mut store)));
        let program = program.expect("memory");
        program.set_data(data_of(at));
        assert_eq!(result(program, &mut store, &sinks[at], 0), alone[at], "program {at}");
    }
}

/// What is under way when memory or tensors go is not made to count.
#[test]
fn only_what_has_run_here_is_committed() {
    let [step, _] = training(NET, 8, 8);
    let mut store = initial(&step);
    let mut program = bound(&step, &mut store);
    program.set_data(&pixels(8 * 16 * 64));
    program.set_scalar("lr", 0.1);
    let before = values(&store, "head.weight");
    program.run(&mut store, RandomState::default()).expect("its own store");
    program.release();
    assert!(!program.is_accepted(), "nothing is known of it");
    program.lease().expect("memory");
    // In place or not, a run is one of its own again.
    program.set_data(&pixels(8 * 16 * 64));
    program.set_scalar("lr", 0.1);
    assert!(run(&mut program, &mut store, 1));
    assert_ne!(values(&store, "head.weight"), before);
    let mut other = initial(&step);
    let foreign = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| program.commit(&mut other)));
    assert!(foreign.is_err());
}

/// Inputs that nobody gives are 0, whatever has lain there.
#[test]
fn inputs_begin_with_zeros() {
    let graph = forward(NET, 8, false);
    let mut store = initial(&graph);
    let mut program = bound(&graph, &mut store);
    let zeros = result(&mut program, &mut store, &Sink::Prediction, 0);
    program.set_data(&pixels(8 * 16 * 64));
    assert_ne!(result(&mut program, &mut store, &Sink::Prediction, 0), zeros);
    program.release();
    program.lease().expect("memory");
    assert_eq!(result(&mut program, &mut store, &Sink::Prediction, 0), zeros);
}
