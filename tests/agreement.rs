//! Native code agrees with the oracle, on the examples.

use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::elab::{ModelCall, Module, Request};
use cnnc::graph::Graph;
use cnnc::passes;
use cnnc::runtime::agreement;
use cnnc::sched::Machine;
use cnnc::syntax::ast::SettingKind;

/// The training graph of an example's model, with gradients.
fn graph(text: &str, batch: i64) -> Graph {
    let mut sources = SourceMap::default();
    let show = |sources: &SourceMap, errors: Vec<cnnc::base::diagnostic::Diagnostic>| -> String {
        errors.iter().map(|error| error.render(sources, false)).collect()
    };
    let module = Module::from_text(&mut sources, "model.cnn", text)
        .unwrap_or_else(|e| panic!("{}", show(&sources, e)));
    let loss = module.train_sections()[0].settings.iter().find_map(|setting| match &setting.kind {
        SettingKind::Key { name, value } if name.text == "loss" => Some(value.clone()),
        _ => None,
    });
    let request = Request { batch, training: true, loss: loss.as_ref(), sample: None, init: &[] };
    let call = ModelCall::new(module.models()[0]);
    let mut graph = module.graph(&call, &request).unwrap_or_else(|e| panic!("{}", show(&sources, e)));
    passes::autodiff::run(&mut graph);
    graph
}

fn check(text: &str, batch: i64) {
    let machine = Machine::of(Target::host());
    if let Err(error) = agreement::check(&graph(text, batch), &machine) {
        panic!("{error}");
    }
}

#[test]
fn digits() {
    check(include_str!("../examples/digits.cnn"), 9);
}

#[test]
fn lenet() {
    check(include_str!("../examples/lenet.cnn"), 3);
}

#[test]
fn convnet_gap() {
    check(include_str!("../examples/convnet_gap.cnn"), 2);
}

#[test]
fn convnet_gmp() {
    check(include_str!("../examples/convnet_gmp.cnn"), 2);
}

#[test]
#[ignore = "a measurement, 1 minute"]
fn speed() {
    use cnnc::base::philox::RandomState;
    use cnnc::runtime::{Pool, Program, Store, program::lower};
    let name = std::env::var("EXAMPLE").unwrap_or("convnet_gap".into());
    let batch = std::env::var("BATCH").unwrap_or("64".into()).parse().unwrap();
    let threads: usize = std::env::var("THREADS").unwrap_or("1".into()).parse().unwrap();
    let text = std::fs::read_to_string(format!("examples/{name}.cnn")).unwrap();
    let start = std::time::Instant::now();
    let graph = graph(&text, batch);
    println!("graph {:?}", start.elapsed());
    let machine = Machine::of(Target::host());
    let start = std::time::Instant::now();
    let lowered = lower(&graph, &machine, &mut |_, _| {});
    println!("lower {:?}, arena {} MB", start.elapsed(), lowered.plan.arena_bytes >> 20);
    let launches = lowered.launches.clone();
    let start = std::time::Instant::now();
    let mut program = Program::compile(&graph, lowered, &machine).unwrap();
    println!("compile {:?}", start.elapsed());
    let mut store = Store::default();
    for (value, role) in &graph.inputs {
        if let cnnc::graph::Role::Param { path, .. } | cnnc::graph::Role::State { path, .. } = role {
            store.add(path, &graph.values[*value].shape, true).values_mut().fill(0.01);
        }
    }
    let pool = Pool::new(threads).unwrap();
    let mut best = vec![f64::INFINITY; launches.len()];
    let mut total = f64::INFINITY;
    for _ in 0..8 {
        let times = program.run_timed(&store, &pool, RandomState::default());
        total = total.min(times.iter().sum());
        for (at, time) in times.into_iter().enumerate() {
            best[at] = best[at].min(time);
        }
    }
    let mut order: Vec<usize> = (0..launches.len()).collect();
    order.sort_by(|a, b| best[*b].total_cmp(&best[*a]));
    println!("total {:.3} ms, {} launches", total * 1e3, launches.len());
    for at in order.into_iter().take(14) {
        println!("{:8.1} us {}\n{}", best[at] * 1e6, launches[at].function.name, launches[at].schedule);
    }
    if let Ok(wanted) = std::env::var("SHOW") {
        for launch in launches.iter().filter(|launch| launch.function.name == wanted) {
            println!("{}", launch.function);
        }
    }
}

#[test]
#[ignore = "prints"]
fn show() {
    use cnnc::runtime::program::lower;
    let name = std::env::var("EXAMPLE").unwrap_or("convnet_gap".into());
    let text = std::fs::read_to_string(format!("examples/{name}.cnn")).unwrap();
    let graph = graph(&text, 16);
    lower(&graph, &Machine::of(Target::host()), &mut |pass, program| {
        if pass.name == "prune" {
            println!("{program}");
        }
    });
}
