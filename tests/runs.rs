//! Programs that run more than once: what they keep from one run to the next is what they may keep.

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab::config::Overrides;
use cnnc::elab::{ModelCall, Module, Request};
use cnnc::graph::{Graph, Sink};
use cnnc::lower::Goal;
use cnnc::runtime::{Mismatch, Pool, Program, Store};
use cnnc::train::programs::{self, Phases, initialise};
use cnnc::train::recipe::Recipe;

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

fn compiled(graph: &Graph) -> Program {
    programs::compile(graph, &Goal::of(Target::host()), &mut Phases::default()).expect("it compiles")
}

/// One run on a thread, and whether its updates take place.
fn run(program: &mut Program, store: &mut Store, step: u64) -> bool {
    let run = program.run(store, &Pool::new(1).expect("a thread"), RandomState { seed: 7, step });
    run.expect("a store and memory of its own");
    program.commit(store);
    program.is_accepted()
}

/// The same, and what it gives.
fn result(program: &mut Program, store: &mut Store, sink: &Sink, step: u64) -> Vec<f64> {
    run(program, store, step);
    program.output(sink, store).expect("an output of the graph").numbers()
}

/// What a program gives that has never run before.
fn afresh(graph: &Graph, data: &[f32], store: &mut Store, sink: &Sink) -> Vec<f64> {
    let mut program = compiled(graph);
    program.set_data(data);
    result(&mut program, store, sink, 0)
}

/// The present values of a kept tensor.
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
        let (mut program, mut store) = (compiled(&graph), Store::default());
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
        let (mut program, mut store) = (compiled(&graph), Store::default());
        initialise(&graph, 1, &mut store).expect("memory");
        program.set_data(&data);
        let mut seen = vec![result(&mut program, &mut store, &Sink::Prediction, 0)];
        assert_eq!(result(&mut program, &mut store, &Sink::Prediction, 1), seen[0], "nothing has changed");
        for at in 0..store.entries().len() {
            let path = store.entries()[at].path.clone();
            store.entries_mut()[at]
                .values_mut()
                .iter_mut()
                .for_each(|value| *value = *value * 1.125 + 0.03125);
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
        let (mut training, mut evaluating) = (compiled(&step), compiled(&evaluation));
        let mut store = Store::default();
        initialise(&step, 1, &mut store).expect("memory");
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
    let ([step, _], mut store) = (training(text, 8, 8), Store::default());
    initialise(&step, 1, &mut store).expect("memory");
    let mut program = compiled(&step);
    program.set_data(&pixels(8 * 4 * 36));
    for (name, value) in [("first", 1.0), ("step_size", 0.001), ("bias_correction2_sqrt", 0.1)] {
        program.set_scalar(name, value);
    }
    let all = |store: &Store| store.entries().iter().map(|entry| entry.values().to_vec()).collect::<Vec<_>>();
    assert!(run(&mut program, &mut store, 0));
    let at = store.position("last.w").expect("the parameter");
    store.entries_mut()[at].values_mut()[0] = 1.0;
    let before = all(&store);
    assert!(!run(&mut program, &mut store, 1), "1 / 0 is no score");
    assert_eq!(all(&store), before);
    store.entries_mut()[at].values_mut()[0] = 0.5;
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
        let (graph, mut store) = (forward(text, batch, true), Store::default());
        initialise(&graph, 1, &mut store).expect("memory");
        let mut program = compiled(&graph);
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
    let pool = Pool::new(1).expect("a thread");
    let (few, many) = (features(4), features(9));
    let (mut small, mut large) = (compiled(&few), compiled(&many));
    let mut store = Store::default();
    let missing = Err(Mismatch::Missing("head.weight".into()));
    assert_eq!(small.run(&mut store, &pool, RandomState::default()), missing);
    initialise(&few, 1, &mut store).expect("memory");
    initialise(&many, 1, &mut store).expect("memory"); // Adds nothing, as all paths are there.
    let shape = |found: i64, needed: i64| {
        let (found, needed) = (vec![3, found], vec![3, needed]);
        Err(Mismatch::Shape { path: "head.weight".into(), found, needed })
    };
    assert_eq!(large.run(&mut store, &pool, RandomState::default()), shape(4, 9));
    assert_eq!(large.run_timed(&mut store, &pool, RandomState::default()).map(|_| ()), shape(4, 9));
    assert_eq!(small.run(&mut store, &pool, RandomState::default()), Ok(()));
    let mut other = Store::default();
    initialise(&many, 1, &mut other).expect("memory");
    assert_eq!(small.run(&mut other, &pool, RandomState::default()), shape(9, 4));
    assert_eq!(large.run(&mut other, &pool, RandomState::default()), Ok(()));
}

#[test]
fn a_program_without_memory_does_not_run() {
    let pool = Pool::new(1).expect("a thread");
    for graph in [features(4), training(NET, 8, 8)[0].clone()] {
        let mut store = Store::default();
        initialise(&graph, 1, &mut store).expect("memory");
        let mut programs = [compiled(&graph), compiled(&graph), compiled(&graph)];
        // Round in a circle: only the last one that has got memory runs.
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
            let [giver, taker] = programs.get_disjoint_mut([from, to]).expect("two of them");
            taker.take_memory(giver).expect("memory");
            for (at, program) in programs.iter_mut().enumerate() {
                let wanted = if at == from { Err(Mismatch::NoMemory) } else { Ok(()) };
                if at == from || at == to {
                    assert_eq!(
                        program.run(&mut store, &pool, RandomState::default()),
                        wanted,
                        "{from} to {to}"
                    );
                }
            }
        }
    }
}
