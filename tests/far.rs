//! Models with tensors beyond 2^31 bytes: whole programs run, and what they give is what a formula says, at every
//! level.
//!
//! All numbers are small integers, so that sums are exact and any order gives the same.

use cnnc::base::philox::RandomState;
use cnnc::base::source::SourceMap;
use cnnc::base::target::{Level, Target};
use cnnc::elab::config::Overrides;
use cnnc::elab::{ModelCall, Module, Request};
use cnnc::graph::{Graph, Role, Sink};
use cnnc::lower::{CompileOptions, lower};
use cnnc::runtime::{Executable, Instance, Store, devices};
use cnnc::train::programs::initialise;
use cnnc::train::recipe::Recipe;

/// A batch with as many pictures as a vector has lanes.
const BATCH: usize = 16;

/// One that leaves lanes empty at every level.
const RAGGED: usize = 13;

/// Elements of a picture: with the batch 2.3 * 10^9 bytes of `f32`.
const LONG: usize = 36_000_000;

fn module(text: &str) -> Module {
    let text = text.replace("LONG", &LONG.to_string());
    let module = Module::from_text(&mut SourceMap::default(), "model.cnn", &text);
    module.unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// The machines of all levels that this one has.
fn machines() -> impl Iterator<Item = CompileOptions> {
    let levels = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    levels.filter(|level| *level <= Target::host().level).map(|level| CompileOptions::of(Target::of(level)))
}

fn data(batch: usize) -> Vec<f32> {
    (0..batch).map(|n| (n * 5 % 16) as f32).collect()
}

/// One run of a graph whose memory goes beyond what 31 bits can address.
fn run(graph: &Graph, batch: usize, options: &CompileOptions, store: &mut Store) -> Instance {
    let lowered = lower(graph, options);
    let kept = graph.inputs.iter().filter(|(_, role)| matches!(role, Role::Param { .. }));
    let elements = kept.map(|(value, _)| graph.values[*value].shape.iter().product::<i64>() as usize);
    assert!(lowered.plan.arena_bytes.max(4 * elements.sum::<usize>()) > 1 << 31, "nothing is far");
    let device = store.device().clone();
    let executable = Executable::compile(graph, lowered, &*device).expect("it compiles");
    let mut program = Instance::bind(executable.into(), &device, store).expect("memory");
    program.set_data(&data(batch));
    program.set_scalar("lr", 1.0);
    program.run(store, RandomState { seed: 7, step: 0 }).expect("memory");
    program.commit(store);
    program
}

/// Runs a model that takes and gives one number for each picture; `wanted` takes the picture's number as well.
fn check(batch: usize, text: &str, wanted: impl Fn(usize, f64) -> f64) {
    let module = module(text);
    let graph = module.graph(&ModelCall::new(module.models()[0]), &Request::inference(batch as i64));
    let graph = graph.unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let wanted: Vec<f64> = data(batch).into_iter().enumerate().map(|(n, x)| wanted(n, x.into())).collect();
    for options in machines() {
        let mut store = Store::on(&devices::host(2).expect("threads"));
        initialise(&graph, 1, &mut store).expect("memory");
        let program = run(&graph, batch, &options, &mut store);
        let found = program.output(&Sink::Prediction, &store).expect("a prediction").numbers();
        // Transforms of convolutions have factors that are no integers.
        let close = found.iter().zip(&wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-3);
        assert!(
            close && found.len() == batch,
            "{}: {found:?}, {wanted:?}{text}",
            options.machine.target.level
        );
    }
}

/// Runs a step of a training at every level and gives what is kept of `path` to `look`.
fn check_step(text: &str, path: &str, look: impl Fn(&[f32])) {
    let module = module(text);
    let spec = module.train_spec(module.train_sections()[0], &Overrides::default()).expect("it is right");
    let step = Recipe::of(&module, &spec).step(BATCH as i64, &spec.phases[0]).expect("a step");
    for options in machines() {
        let mut store = Store::on(&devices::host(2).expect("threads"));
        initialise(&step, 1, &mut store).expect("memory");
        let program = run(&step, BATCH, &options, &mut store);
        assert!(program.is_accepted(), "{}", options.machine.target.level);
        let at = store.position(path).unwrap_or_else(|| panic!("there is no {path}"));
        look(&store.entries()[at].values());
    }
}

#[test]
#[ignore = "3 GiB, half a minute"]
fn pieces_far_apart() {
    check(
        BATCH,
        "op far(x: f32[N, B]) -> y: f32[N, B, LONG] { y[n, b, 0] = x[n, b];  y[n, b, k+1] = 0.5; }
         op pick(y: f32[N, B, L]) -> z: f32[N, B] { z[n, b] = y[n, b, 0] + y[n, B-1-b, L-1]; }
         model M(x: f32[N, 1]) -> f32[N, 1] { x |> far |> pick }",
        |_, x| x + 0.5,
    );
}

#[test]
#[ignore = "3 GiB, half a minute"]
fn strides_that_walk_backwards() {
    check(
        RAGGED,
        "op far(x: f32[N, B]) -> y: f32[N, LONG] { y[n, k] = x[n, 0] + k % 7; }
         op sample(y: f32[N, L]) -> z: f32[N, 1] { z[n, o] = sum[j < 1000] y[n, L-1 - 35999*j]; }
         model M(x: f32[N, 1]) -> f32[N, 1] { x |> far |> sample }",
        |_, x| (0..1000).map(|j| x + ((LONG - 1 - 35999 * j) % 7) as f64).sum(),
    );
}

/// The most elements that a tensor may have, in bytes: with what lies between blocks, offsets have 32 bits.
#[test]
#[ignore = "3 GiB, half a minute"]
fn bytes() {
    check(
        BATCH,
        "op far(x: f32[N, B]) -> y: u8[N, 134217728] { y[n, k] = if x[n, 0] > 3.5 { k % 251 } else { k % 13 }; }
         op pick(y: u8[N, L]) -> z: f32[N, 1] { z[n, o] = y[n, L-1] + y[n, L-2] + (sum[j < 7] y[n, 19173961*j + o]); }
         model M(x: f32[N, 1]) -> f32[N, 1] { x |> far |> pick }",
        |_, x| {
            let digit = |k: usize| (k % if x > 3.5 { 251 } else { 13 }) as f64;
            let last = (1 << 27) - 1;
            digit(last) + digit(last - 1) + (0..7).map(|j| digit(19_173_961 * j)).sum::<f64>()
        },
    );
}

#[test]
#[ignore = "3 GiB, half a minute"]
fn integers_and_the_largest_of_all() {
    check(
        BATCH,
        "op far(x: f32[N, B]) -> y: i32[N, LONG] {
           y[n, k] = if k == LONG - 2 { 1000 } else { if x[n, 0] > 3.5 { k % 7 } else { k % 5 } };
         }
         op most(y: i32[N, L]) -> z: f32[N, 1] { z[n, o] = (max[k < L] y[n, k]) + y[n, L-1] + y[n, L-3]; }
         model M(x: f32[N, 1]) -> f32[N, 1] { x |> far |> most }",
        |_, x| {
            let digit = |k: usize| (k % if x > 3.5 { 7 } else { 5 }) as f64;
            1000.0 + digit(LONG - 1) + digit(LONG - 3)
        },
    );
}

/// A pixel of the picture of a number.
fn pixel(x: f64, i: i64, j: i64) -> f64 {
    if (0..6000).contains(&i) && (0..6000).contains(&j) { x + (i * 3 + j) as f64 % 7.0 } else { 0.0 }
}

const PICTURE: &str = "
    op picture(x: f32[N, B]) -> y: f32[N, 1, 6000, 6000] { y[n, c, i, j] = x[n, c] + (3*i + j) % 7; }
    op corners(y: f32[N, 1, H, W]) -> z: f32[N, 1] {
      z[n, o] = y[n, o, 0, 0] + 2*y[n, o, H-1, W-1] + 3*y[n, o, H-1, 0] + 4*y[n, o, H-2, W-2];
    }";

#[test]
#[ignore = "6 GiB, a minute"]
fn convolutions() {
    let text = "
        op shifted(x: f32[N, 1, H, W], w: f32[1, 1, 3, 3]) -> y: f32[N, 1, H, W] {
          y[n, o, i, j] = sum[c < 1, u < 3, v < 3] (x[n, c, i+u-1, j+v-1] else 0) * w[o, c, u, v];
        }
        block filter(x: f32[N, 1, H, W]) { param w: f32[1, 1, 3, 3] = 1;  shifted(x, w) }
        model M(x: f32[N, 1]) -> f32[N, 1] { x |> picture |> filter |> corners }";
    let around = |x: f64, i: i64, j: i64| -> f64 {
        let taps = (-1..=1).flat_map(|u| (-1..=1).map(move |v| (u, v)));
        taps.map(|(u, v)| pixel(x, i + u, j + v)).sum()
    };
    check(BATCH, &format!("{PICTURE}{text}"), |_, x| {
        around(x, 0, 0) + 2.0 * around(x, 5999, 5999) + 3.0 * around(x, 5999, 0) + 4.0 * around(x, 5998, 5998)
    });
}

/// What is pooled is stored, since it is looked at as well.
#[test]
#[ignore = "4 GiB, half a minute"]
fn windows() {
    let text = "model M(x: f32[N, 1]) -> f32[N, 1] {
          let y = x |> picture;
          let pooled = y |> maxpool(2) |> corners;
          let own = y |> corners;
          own + pooled
        }";
    let corners = |at: &dyn Fn(i64, i64) -> f64, last: i64| {
        at(0, 0) + 2.0 * at(last, last) + 3.0 * at(last, 0) + 4.0 * at(last - 1, last - 1)
    };
    check(RAGGED, &format!("{PICTURE}{text}"), |_, x| {
        let pooled = |i: i64, j: i64| {
            let window = (0..2).flat_map(|u| (0..2).map(move |v| pixel(x, 2 * i + u, 2 * j + v)));
            window.fold(f64::NEG_INFINITY, f64::max)
        };
        corners(&|i, j| pixel(x, i, j), 5999) + corners(&pooled, 2999)
    });
}

const TRAINED: &str = "
    op total(y: f32[N, K], t: f32[N, K]) -> l: f32 { l = sum[n < N, k < K] y[n, k]; }
    data D { source = digits(); }
    train M on D { loss = total; optim = sgd(1); batch = 16; }";

/// A parameter of 2.3 * 10^9 bytes, of which one number a picture has a gradient.
#[test]
#[ignore = "10 GiB, a minute"]
fn parameters() {
    let text = "
        op last(x: f32[N, 1], w: f32[N, L]) -> y: f32[N, 1] { y[n, o] = x[n, o] * w[n, L-1-o] + w[n, o]; }
        block table(x: f32[N, 1]) { param w: f32[N, LONG] = 1;  last(x, w) }
        model M(x: f32[N, 1]) -> f32[N, 1] { x |> table as table }";
    check_step(&format!("{TRAINED}{text}"), "table.w", |w| {
        for (row, x) in w.chunks(LONG).zip(data(BATCH)) {
            assert_eq!((row[0], row[LONG - 1]), (0.0, 1.0 - x));
            assert!(row[1..LONG - 1].iter().all(|w| *w == 1.0), "another number has changed");
        }
        assert_eq!(w.len(), BATCH * LONG);
    });
}

/// The gradient of all pixels, and the winners of all windows, of which four have one.
#[test]
#[ignore = "8 GiB, a minute"]
fn gradients() {
    let text = "
        op scaled(y: f32[N, 1, H, W], w: f32[1]) -> z: f32[N, 1, H, W] { z[n, c, i, j] = y[n, c, i, j] * w[0]; }
        block scale(y: f32[N, 1, H, W]) { param w: f32[1] = 1;  scaled(y, w) }
        model M(x: f32[N, 1]) -> f32[N, 1] { x |> picture |> scale as scale |> maxpool(2) |> corners }";
    let pooled = |x: f64, i: i64, j: i64| {
        let window = (0..2).flat_map(|u| (0..2).map(move |v| pixel(x, 2 * i + u, 2 * j + v)));
        window.fold(f64::NEG_INFINITY, f64::max)
    };
    let slope = |x: f64| {
        pooled(x, 0, 0) + 2.0 * pooled(x, 2999, 2999) + 3.0 * pooled(x, 2999, 0) + 4.0 * pooled(x, 2998, 2998)
    };
    let wanted = 1.0 - data(BATCH).into_iter().map(|x| slope(x.into())).sum::<f64>();
    check_step(&format!("{PICTURE}{TRAINED}{text}"), "scale.w", |w| assert_eq!(f64::from(w[0]), wanted));
}
