//! Native code, the loop interpreter and the oracle agree: on the examples and on a thousand random programs, and
//! planted faults are found by the same checks.

mod model;
mod random;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::elab::Callable;
use cnnc::graph::Graph;
use cnnc::kernels::Kernels;
use cnnc::lower::stages::{Form, PIPELINE, common};
use cnnc::lower::{CompileOptions, lower, lower_observed};
use cnnc::runtime::agreement::{self, Native};
use cnnc::runtime::devices;
use cnnc::sched::{LaneAxis, TunedTiles};
use model::Model;
use random::checks::{Case, Checker};
use random::faults::FAULTS;
use random::{Program, program, wide_program};

/// Random programs of the normal run; beside them there are wide ones.
const PROGRAMS: u64 = 1000;

/// More of them, of which only those with rare ops are checked.
const MORE_PROGRAMS: u64 = 4000;
const WIDE_PROGRAMS: u64 = 20;

/// In so many programs every op, option and pass is to be seen.
const COVERAGE: usize = 20;

/// The training graph of an example's model, with gradients.
fn graph(text: &str, batch: i64) -> Graph {
    Model::new(text).gradients(batch, true)
}

fn check(text: &str, batch: i64) {
    let options = CompileOptions::of(Target::host());
    if let Err(error) = agreement::check(&graph(text, batch), &options) {
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

/// Dropout between two reshapes: its gradient takes digits of the matrix behind it, and is itself taken apart.
#[test]
fn reshapes_within_reshapes() {
    let text = "
model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  let h = x |> conv(4, 3) |> tanh;
  (h as f32[size(h, 0), 4, 36]) |> dropout(0.5) |> flatten |> linear(10)
}
data D { source = digits(); }
train M on D { loss = cross_entropy; optim = sgd(0.1); }
";
    check(text, 3);
}

/// Each of them has memory of its own, whatever its next value is.
#[test]
fn states_with_one_next_value() {
    let text = "
op column_sum(x: f32[N, C]) -> y: f32[C] { y[c] = sum[n] x[n, c]; }
block follow(x: f32[N, C]) {
  state first: f32[C] = 0;
  state second: f32[C] = 0;
  state third: f32[C] = 0;
  let now = column_sum(x);
  first <- now;
  second <- now;
  third <- first;
  x + first + third
}
model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> flatten |> linear(10) |> follow }
data D { source = digits(); }
train M on D { loss = cross_entropy; optim = sgd(0.1); }
";
    check(text, 5);
}

/// Labels of pixels lie across the lanes as the pictures do, and so do targets of other shapes than the prediction's.
#[test]
fn targets_of_pixels_and_of_other_shapes() {
    for batch in [1, 3, 17] {
        for loss in
            ["cross_entropy2d", "cross_entropy2d(weight=[1, 0.5, 2], label_smoothing=0.1)", "mse", "own"]
        {
            let text = format!(
                "op own(p: f32[N, C, H, W], t: f32[N, C]) -> y: f32 {{
                   y = mean[n < N, c < C, h < H, w < W] (p[n, c, h, w] - t[n, c]) * (p[n, c, h, w] - t[n, c]);
                 }}
                 model M(x: f32[N, 1, 6, 5]) {{ x |> conv(4, 3, pad=1) |> relu |> conv(3, 3, pad=1) }}
                 data D {{ source = digits(); }}
                 train M on D {{ loss = {loss}; optim = sgd(0.1); }}"
            );
            check(&text, batch);
        }
    }
}

/// Outputs that are no `f32`, of every rank: native code, the loop interpreter and the oracle agree in each element.
#[test]
fn outputs_of_every_type() {
    let ops = "
op best(x: f32[N, C, H, W]) -> y: i32[N, H, W] {
  m[n, i, j] = max[c < C] x[n, c, i, j];
  y[n, i, j] = min[c < C] if x[n, c, i, j] == m[n, i, j] { c } else { C };
}
op signs(x: f32[N, C, H, W]) -> y: i32[N, C, H, W] {
  y[n, c, i, j] = if x[n, c, i, j] > 0 { 16777217 + c } else { -16777219 };
}
op quotients(a: i32[N, H, W]) -> y: i32[N, H, W, 2] {
  y[n, i, j, k] = (a[n, i, j] - 3) * 98765431 / (7 - 10*k) % 1000003;
}
op sums(x: f32[N, C, H, W]) -> y: i32[N, C] {
  y[n, c] = (sum[i < H, j < W] if x[n, c, i, j] > 0 { 16777217 } else { 1 }) - 33554433;
}
op lowest(x: f32[N, C, H, W]) -> y: i32[N, C] {
  y[n, c] = min[i < H, j < W] if x[n, c, i, j] > 0 { 16777219 - i } else { 16777221 };
}
op bytes(x: f32[N, C, H, W]) -> y: u8[N, C, H, W] {
  y[n, c, i, j] = if x[n, c, i, j] > 0 { 44 + c } else { 255 - j };
}
op wrapped(a: i32[N, H, W]) -> y: u8[N, H, W] { y[n, i, j] = a[n, i, j] * 300 - 1; }
op thousands(x: u8[N, C, H, W]) -> y: i32[N, C, H, W] { y[n, c, i, j] = 1000 * x[n, c, i, j]; }
op above(x: f32[N, C, H, W]) -> y: i32 { y = sum[n < N, c < C, i < H, j < W] if x[n, c, i, j] > 0 { 1 } else { 0 }; }
op any(x: f32[N, C, H, W]) -> y: bool { y = (sum[n < N, c < C, i < H, j < W] x[n, c, i, j]) > 1; }
";
    let bodies = [
        "best(x)",
        "x |> conv(16, 3, pad=1) |> best",
        "x |> conv(16, 3, pad=1) |> signs",
        "x |> best |> quotients",
        "sums(x)",
        "lowest(x)",
        "x |> conv(16, 1) |> bytes",
        "x |> best |> wrapped",
        "x |> bytes |> thousands",
        "(x |> conv(16, 3)) > 0.25",
        "((x > 0) == (x < 0.5)) as bool[size(x, 0), count(x) / size(x, 0)]",
        "above(x)",
        "any(x)",
    ];
    let (device, state) = (devices::host(1).expect("a thread"), RandomState { seed: 3, step: 0 });
    for body in bodies {
        let model = Model::new(&format!("{ops} model M(x: f32[N, 3, 5, 4]) {{ {body} }}"));
        for (batch, level) in
            [(1, Level::Sse4), (3, Level::Fma), (17, Level::Sse4), (17, Target::host().level)]
        {
            let graph = model.forward(batch, false).expect("it elaborates");
            let inputs = agreement::inputs(&graph, state);
            let oracle = agreement::oracle(&graph, &agreement::doubles(&inputs), state);
            for over in [Some(LaneAxis::Batch), Some(LaneAxis::Channels)] {
                let options = CompileOptions { over, ..CompileOptions::of(Target::of(level)) };
                let lowered = lower(&graph, &options);
                let interpreted = agreement::interpreted(&lowered, &inputs, state).expect("it runs");
                let mut native = Native::compile(&graph, lowered).expect("it compiles");
                let found = native.run(&inputs, &device, state);
                let same = agreement::same_bits(&graph, &interpreted, &found);
                let near = agreement::within_bound(&graph, &found, &oracle).map(|_| ());
                let way = format!("{body}, batch {batch}, {level}, lanes over {over:?}");
                assert_eq!((same, near), (Ok(()), Ok(())), "{way}");
            }
        }
    }
}

/// Channels that fill no vector, read backwards: the lanes beyond the last one must not reach before the first.
#[test]
fn reversed_channels() {
    for channels in [2, 3, 7, 8, 9, 17] {
        let model = Model::new(&format!(
            "op turned(x: f32[N, O], w: f32[O]) -> y: f32[N, O] {{ y[n, o] = x[n, O-1-o] * w[O-1-o]; }}
             block turn(x: f32[N, O]) {{ param weight: f32[O] = uniform(-1, 1); turned(x, weight) }}
             model M(x: f32[N, {channels}]) {{ x |> turn }}"
        ));
        let [across, along] = [LaneAxis::Channels, LaneAxis::Batch].map(Some);
        for (batch, over) in [(1, across), (1, along), (3, across), (9, None)] {
            let graph = model.forward(batch, false).expect("it elaborates");
            for level in [Level::Sse4, Target::host().level] {
                let options = CompileOptions { over, ..CompileOptions::of(Target::of(level)) };
                let checked = agreement::check(&graph, &options);
                assert_eq!(
                    checked,
                    Ok(()),
                    "{channels} channels, batch {batch}, {level}, lanes over {over:?}"
                );
            }
        }
    }
}

/// How many programs show each thing.
#[derive(Default)]
struct Coverage(BTreeMap<String, usize>);

impl Coverage {
    fn add(&mut self, things: impl IntoIterator<Item = String>) {
        let things: std::collections::BTreeSet<String> = things.into_iter().collect();
        things.into_iter().for_each(|thing| *self.0.entry(thing).or_default() += 1);
    }

    /// Whether one of these ops of the library has been in too few programs.
    fn is_short_of<'a>(&self, mut ops: impl Iterator<Item = &'a str>) -> bool {
        ops.any(|op| !op.contains('.') && self.count(&format!("op {op}")) < COVERAGE)
    }

    fn count(&self, thing: &str) -> usize {
        self.0.get(thing).copied().unwrap_or(0)
    }
}

/// Runs `work` on all seeds below `count` on two threads.
fn for_each_seed(count: u64, work: impl Fn(u64, &Checker) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let checker = Checker::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    work(seed, &checker);
                }
            });
        }
    });
}

/// The passes that changed something in a program, and what the stages after them did.
fn stages(graph: &Graph) -> Vec<String> {
    let options = CompileOptions::of(Target::of(Level::Fma));
    let mut seen_passes = Vec::new();
    let mut before = String::new();
    let mut kernels: Option<Kernels> = None;
    let lowered = lower_observed(graph, &options, &TunedTiles::default(), &mut |seen| {
        if seen.stage.form == Form::Equations {
            let after = format!("{:?}", seen.state.program);
            if after != before {
                seen_passes.push(format!("pass {}", seen.stage.name));
            }
            before = after;
        }
        if seen.stage.name == "order" {
            kernels = Some(seen.state.kernels.clone());
        }
    });
    let mut seen = seen_passes;
    let kernels = kernels.expect("there are kernels");
    if kernels.program.tensors.values().any(|tensor| tensor.name.ends_with(".part")) {
        seen.push("pass split".into());
    }
    let fused = |kernel: &cnnc::kernels::Kernel| kernel.nests.iter().any(|nest| nest.statements.len() > 1);
    if kernels.kernels.iter().any(fused) {
        seen.push("pass fuse".into());
    }
    if lowered.layouts.values().any(|layout| layout.fill.is_some()) {
        seen.push("layout halo".into());
    }
    for word in ["window", "vectorize", "tile", "unroll", "flatten", "restrict", "summed apart"] {
        if lowered.launches.iter().any(|launch| launch.schedule.contains(word)) {
            seen.push(format!("schedule {word}"));
        }
    }
    seen
}

/// What every program of the library's ops, the generator's options and the compiler's passes is called.
fn wanted() -> Vec<String> {
    let model = Model::new("model M(x: f32[N, 1]) { x }");
    let ops = model.module.documented().into_iter().filter_map(|(callable, _)| match callable {
        Callable::Op(item) => Some(format!("op {}", item.name.text)),
        Callable::Fn(_) => None,
    });
    let passes = PIPELINE[..common()].iter().map(|pass| pass.name).chain(["split", "fuse"]);
    let schedule = ["vectorize", "tile", "unroll", "flatten", "restrict", "summed apart"];
    // The last one: see `Case::new`; `targets_of_pixels_and_of_other_shapes` has it.
    ops.filter(|op| op != "op correct2d")
        .chain(["op concat", "op stack", "op reshape"].map(str::to_owned))
        .chain(passes.map(|pass| format!("pass {pass}")))
        .chain(schedule.map(|step| format!("schedule {step}")))
        .chain(["layout halo".to_owned()])
        .chain(random::OPTIONS.map(|option| format!("option {option}")))
        .collect()
}

#[test]
fn a_thousand_random_programs() {
    let coverage = Mutex::new(Coverage::default());
    let failures = Mutex::new(Vec::new());
    let (unknown, elements) = (AtomicU64::new(0), AtomicU64::new(0));
    for_each_seed(PROGRAMS + WIDE_PROGRAMS + MORE_PROGRAMS, |seed, checker| {
        let is_wide = (PROGRAMS..PROGRAMS + WIDE_PROGRAMS).contains(&seed);
        let program = if is_wide { wide_program(seed) } else { program(seed) };
        let case = Case::new(&program, seed);
        // Beyond the first thousand only programs with an op that has been rare so far are worth their time.
        if seed >= PROGRAMS + WIDE_PROGRAMS && !coverage.lock().unwrap().is_short_of(case.ops()) {
            return;
        }
        let checked = checker.check(&case, None);
        let stages =
            if checked.is_ok() && (seed % 4 == 0 || is_wide) { stages(&case.step) } else { Vec::new() };
        match checked {
            Ok(seen) => {
                unknown.fetch_add(seen.unknown as u64, Ordering::Relaxed);
                elements.fetch_add(seen.elements as u64, Ordering::Relaxed);
            }
            Err(error) => failures.lock().unwrap().push(report(seed, &program, &error)),
        }
        let mut seen: Vec<String> = case.ops().map(|op| format!("op {op}")).collect();
        seen.extend(program.options.iter().map(|option| format!("option {option}")));
        seen.extend(stages);
        coverage.lock().unwrap().add(seen);
    });
    let (coverage, failures) = (coverage.into_inner().unwrap(), failures.into_inner().unwrap());
    let rare: Vec<String> = wanted().into_iter().filter(|thing| coverage.count(thing) < COVERAGE).collect();
    for (thing, count) in &coverage.0 {
        println!("{count:5} {thing}");
    }
    let (unknown, elements) = (unknown.into_inner(), elements.into_inner());
    println!("{unknown} of {elements} elements leave the range of single precision");
    for failure in failures.iter().take(20) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} programs fail", failures.len());
    assert!(rare.is_empty(), "seen in fewer than {COVERAGE} programs: {rare:?}");
    assert!(unknown * 100 < elements, "{unknown} of {elements} elements leave the range of single precision");
}

fn report(seed: u64, program: &Program, error: &str) -> String {
    format!("seed {seed}, batch {}, training {}: {error}\n{}", program.batch, program.training, program.text)
}

/// Checks one program by its seed: `SEED=17 cargo test --test agreement one_program -- --ignored --nocapture`.
#[test]
#[ignore = "for one seed"]
fn one_program() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let program = program(seed);
    println!("{}", report(seed, &program, ""));
    let case = Case::new(&program, seed);
    println!("{:?}", Checker::new().check(&case, None));
}

#[test]
fn planted_faults_are_found() {
    std::panic::set_hook(Box::new(|_| {})); // A fault may make the compiler panic, which is one way to be found.
    let found = Mutex::new(BTreeMap::<&str, (usize, usize)>::new());
    for_each_seed(60, |seed, checker| {
        let program = program(5000 + seed);
        let case = Case::new(&program, seed);
        assert!(checker.check(&case, None).is_ok(), "the control of seed {seed} fails");
        for fault in &FAULTS {
            let (planted, noticed) = match checker.check(&case, Some(fault)) {
                Ok(seen) => (seen.planted, false),
                Err(_) => (true, true),
            };
            let mut found = found.lock().unwrap();
            let counts = found.entry(fault.name).or_default();
            counts.0 += usize::from(planted);
            counts.1 += usize::from(noticed);
        }
    });
    _ = std::panic::take_hook();
    let found = found.into_inner().unwrap();
    for (name, (planted, noticed)) in &found {
        println!("{noticed:3} of {planted:3} found: {name}");
    }
    for fault in &FAULTS {
        let (planted, noticed) = found[fault.name];
        assert!(planted >= 3, "only {planted} programs have a place for: {}", fault.name);
        // Many places a fault lands in compute nothing that matters: a stride along an axis of one element, the last of
        // equal elements where none are equal.
        assert!(noticed >= 1, "{noticed} of {planted} found: {}", fault.name);
    }
}

#[test]
#[ignore = "prints"]
fn show() {
    let name = std::env::var("EXAMPLE").unwrap_or("convnet_gap".into());
    let text = std::fs::read_to_string(format!("examples/{name}.cnn")).unwrap();
    let graph = graph(&text, 16);
    lower_observed(&graph, &CompileOptions::of(Target::host()), &TunedTiles::default(), &mut |seen| {
        if seen.stage.name == "prune" {
            println!("{}", seen.state.program);
        }
    });
}
