//! What a program must satisfy, whoever wrote it.
//!
//! - The derived gradients are the slopes of the loss (central differences of the oracle).
//! - The loop interpreter and native code agree bit for bit, on one thread and on two.
//! - Native code agrees with the oracle within the bound of the summed magnitudes, element by element; NaN and
//!   infinities stand at the same places.
//!
//! Each program is checked at two of the CPU levels that the machine has, every other one with lanes over channels in
//! the second.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cnnc::base::philox::RandomState;
use cnnc::base::target::{Level, Target};
use cnnc::graph::{Graph, Role, Sink};
use cnnc::loops::verifier;
use cnnc::lower::{CompileOptions, Observed, lower_observed};
use cnnc::runtime::agreement::{self, Native, Tensors};
use cnnc::runtime::{Device, Values, devices};
use cnnc::sched::{LaneAxis, TunedTiles};
use cnnc::te::interpreter::Number;

use super::faults::{Fault, Site};
use super::{Pictures, Program};
use crate::model::{Model, gradients};

/// Half the distance of the two points of a difference quotient.
const STEP: f64 = 1e-6;

/// The largest distance of a slope from its quotient, in units of the sum of what the parameters contribute.
const SLOPE: f64 = 1e-5;

/// A slope that is infinite where the loss is not differentiable: its difference quotient is at least this.
const STEEP: f64 = 100.0;

/// So many gradients that are not finite are looked at alone.
const LOOKED_AT: usize = 8;

/// A program's graphs and the values of their inputs.
pub struct Case {
    forward: Graph,
    pub step: Graph,
    inputs: Tensors,
    /// The inputs that slopes are taken at: all of them numbers.
    numbers: Tensors,
    state: RandomState,
}

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the fault found a place in the program.
    pub planted: bool,
    /// The elements that nothing is known of, as they leave the range of single precision.
    pub unknown: usize,
    /// All elements.
    pub elements: usize,
}

impl Case {
    /// Elaborates and differentiates a program.
    pub fn new(program: &Program, seed: u64) -> Case {
        let model = Model::new(&program.text);
        let has_labels = program.options.iter().any(|option| option.starts_with("cross_entropy"));
        let model = if has_labels { model.counting_top() } else { model };
        // Of so many pixels, the two best scores of some are too near to each other to be told apart in single
        // precision.
        let has_pixels = program.options.iter().any(|option| option.starts_with("labels of pixels"));
        let model = if has_pixels { model.counting_nothing() } else { model };
        let forward =
            model.forward(program.batch, program.training).unwrap_or_else(|error| panic!("{error}"));
        let step = match program.training {
            true => model.step(program.batch),
            false => model.gradients(program.batch, false),
        };
        let state = RandomState { seed, step: seed % 3 };
        let mut step = step;
        if program.pictures != Pictures::Numbers {
            // A step stops where its loss is no number; it goes on where that is one metric of many.
            let losses = step.outputs.iter_mut().filter(|(_, sink)| *sink == Sink::Loss);
            losses.for_each(|(_, sink)| *sink = Sink::Metric("loss".into()));
        }
        let numbers = agreement::inputs(&step, state);
        let mut inputs = numbers.clone();
        for ((value, role), values) in step.inputs.iter().zip(&mut inputs) {
            if *role == Role::Data {
                spoil(program.pictures, &step.values[*value].shape, values);
            }
        }
        Case { forward, step, inputs, numbers, state }
    }

    /// The names of the ops that the step calls.
    pub fn ops(&self) -> impl Iterator<Item = &str> {
        self.step.nodes.iter().map(|node| self.step.ops[node.op].name.as_str())
    }
}

/// Puts what is no number, or infinite, in the place of some elements: every 23rd, or the first four rows and columns
/// of all pictures of odd number, in which windows of three by three and more lie.
fn spoil(pictures: Pictures, shape: &[i64], values: &mut [f32]) {
    match pictures {
        Pictures::Numbers => {}
        Pictures::Nan => values.iter_mut().skip(4).step_by(23).for_each(|value| *value = f32::NAN),
        Pictures::Holes => {
            let (width, height) = (shape[shape.len() - 1] as usize, shape[shape.len() - 2] as usize);
            let picture = shape[1..].iter().product::<i64>() as usize;
            for (at, value) in values.iter_mut().enumerate() {
                let is_square = shape.len() < 4 || at / width % height < 4;
                if at / picture % 2 == 1 && is_square && at % width < 4 {
                    *value = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// The thread pools of the checks, which share every kernel among their threads.
pub struct Checker {
    one: Arc<dyn Device>,
    two: Arc<dyn Device>,
}

impl Checker {
    pub fn new() -> Checker {
        let pool = |threads| devices::cpu_sharing_all(Target::host(), threads).expect("threads");
        Checker { one: pool(1), two: pool(2) }
    }

    /// Makes all checks, with a fault planted where one is given.
    ///
    /// # Errors
    ///
    /// The first disagreement in words; a panic of the compiler is one.
    pub fn check(&self, case: &Case, fault: Option<&Fault>) -> Result<Seen, String> {
        let checked = catch_unwind(AssertUnwindSafe(|| self.check_all(case, fault)));
        checked.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!("panic: {}", text.unwrap_or_else(|| "without words".into())))
        })
    }

    fn check_all(&self, case: &Case, fault: Option<&Fault>) -> Result<Seen, String> {
        let mut step = case.step.clone();
        let mut seen = Seen::default();
        if let Some(Fault { site: Site::Graph(plant), .. }) = fault {
            seen.planted = plant(&mut step);
            if !seen.planted {
                return Ok(seen);
            }
        }
        seen.unknown = check_slope(case, &step)?;
        let oracle = agreement::oracle(&step, &agreement::doubles(&case.inputs), case.state);
        for options in machines(case.state.seed) {
            let on_this = self.check_on(case, &step, &oracle, &options, fault)?;
            seen.planted |= on_this.planted;
            seen.unknown += on_this.unknown;
            seen.elements += on_this.elements;
        }
        Ok(seen)
    }

    fn check_on(
        &self,
        case: &Case,
        step: &Graph,
        oracle: &[Vec<Number>],
        options: &CompileOptions,
        fault: Option<&Fault>,
    ) -> Result<Seen, String> {
        let over = options.over.map_or(String::new(), |over| format!(", lanes over {over}"));
        let way = format!("{}{over}", options.machine.target.level);
        let mut planted = false;
        let mut spoil = |seen: Observed<'_, '_>| match (seen.stage.name, fault.map(|fault| &fault.site)) {
            ("canonical for the lanes", Some(Site::Equations(plant))) => {
                planted = plant(&mut seen.state.program);
            }
            ("order", Some(Site::Kernels(plant))) => planted = plant(&mut seen.state.kernels),
            _ => {}
        };
        let mut lowered = lower_observed(step, options, &TunedTiles::default(), &mut spoil);
        if let Some(Fault { site: Site::Lowered(plant), .. }) = fault {
            planted = plant(&mut lowered);
        }
        let mut compiled = lowered.clone();
        if let Some(Fault { site: Site::Native(plant), .. }) = fault {
            planted = plant(&mut compiled);
        }
        if fault.is_some_and(|fault| !matches!(fault.site, Site::Graph(_))) && !planted {
            return Ok(Seen::default());
        }
        let said = |error: String| format!("{way}: {error}");
        let interpreted = agreement::interpreted(&lowered, &case.inputs, case.state).map_err(said)?;
        for launch in &compiled.launches {
            verifier::verify(&launch.function).map_err(|errors| said(errors.join("; ")))?;
        }
        let mut native = Native::compile(step, compiled)?;
        let one = native.run(&case.inputs, &self.one, case.state);
        let two = native.run(&case.inputs, &self.two, case.state);
        let compared = |what: &str, error: String| format!("{way}: {what}: {error}");
        agreement::same_bits(step, &one, &two).map_err(|error| compared("one thread and two", error))?;
        agreement::same_bits(step, &interpreted, &one)
            .map_err(|error| compared("interpreter and native", error))?;
        let unknown =
            agreement::within_bound(step, &one, oracle).map_err(|error| compared("oracle", error))?;
        Ok(Seen { planted, unknown, elements: one.iter().map(Values::len).sum() })
    }
}

/// Where a program of this number is checked.
fn machines(seed: u64) -> [CompileOptions; 2] {
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512];
    let levels: Vec<Level> = known.into_iter().filter(|level| *level <= Target::host().level).collect();
    let of = |at: u64| CompileOptions::of(Target::of(levels[at as usize % levels.len()]));
    let over = if seed.is_multiple_of(2) { LaneAxis::Channels } else { LaneAxis::Batch };
    [
        CompileOptions { over: Some(LaneAxis::Batch), ..of(seed) },
        CompileOptions { over: Some(over), ..of(seed / 2 + 1) },
    ]
}

/// The slope of the loss in a random direction of all parameters is the sum of the gradients in it. Parameters and
/// data lie off the grid here, where no comparison is between equal numbers. Elements whose gradient is not finite stay
/// where they are, and the first of them are looked at alone; gives how many there are.
///
/// # Errors
///
/// Slope and quotient, where they differ, or where one alone is no number.
pub fn check_slope(case: &Case, step: &Graph) -> Result<usize, String> {
    let inputs = off_the_grid(case);
    let results = agreement::oracle(step, &inputs, case.state);
    let (mut slope, mut size) = (0.0, 0.0);
    let mut direction: Vec<Vec<f64>> = vec![Vec::new(); case.forward.inputs.len()];
    let mut apart = Vec::new();
    for (param, _) in gradients(step) {
        let at = step.inputs.iter().position(|(value, _)| *value == param).expect("an input");
        let sink =
            step.outputs.iter().position(|(_, sink)| *sink == Sink::Gradient(param)).expect("a gradient");
        let gradient = &results[sink];
        let state = RandomState { seed: case.state.seed, step: 99 };
        let towards = agreement::grid(state, at as u32, gradient.len());
        direction[at] = towards.into_iter().map(f64::from).collect();
        for (k, (number, towards)) in gradient.iter().zip(&mut direction[at]).enumerate() {
            if number.value.is_finite() {
                slope += number.value * *towards;
                size += (number.value * *towards).abs();
            } else {
                apart.push((at, k, *number));
                *towards = 0.0;
            }
        }
    }
    let (quotient, rounding) = quotient(case, &inputs, &direction);
    let is_close = (quotient - slope).abs() <= SLOPE * (size + quotient.abs()) + rounding;
    // Where the loss itself is no number, neither is its slope: none of the gradients is looked at.
    if !quotient.is_finite() {
        return Ok(direction.iter().map(Vec::len).sum());
    }
    if !is_close {
        return Err(format!("slope: derived {slope}, difference quotient {quotient}, summed sizes {size}"));
    }
    apart
        .iter()
        .take(LOOKED_AT)
        .try_for_each(|(at, k, found)| check_alone(case, &inputs, *at, *k, *found))?;
    Ok(apart.len())
}

/// A gradient that is not finite is right where the loss is as steep, or no number beside it.
fn check_alone(case: &Case, inputs: &[Vec<f64>], at: usize, k: usize, found: Number) -> Result<(), String> {
    let mut direction = vec![Vec::new(); inputs.len()];
    direction[at] = vec![0.0; inputs[at].len()];
    direction[at][k] = 1.0;
    let (quotient, _) = quotient(case, inputs, &direction);
    let is_steep = found.value.is_infinite() && quotient * found.value.signum() > STEEP;
    if quotient.is_finite() && !is_steep {
        let path = &case.step.inputs[at].1;
        return Err(format!(
            "slope of element {k} of {path:?}: derived {}, quotient {quotient}",
            found.value
        ));
    }
    Ok(())
}

/// The inputs that slopes are taken at.
fn off_the_grid(case: &Case) -> Vec<Vec<f64>> {
    let mut inputs = agreement::doubles(&case.numbers);
    for (at, values) in inputs.iter_mut().enumerate() {
        if matches!(case.step.inputs[at].1, Role::Param { .. } | Role::Data) {
            let small = |k: usize| ((k * 37 + at * 11) % 101) as f64 / 101.0;
            values.iter_mut().enumerate().for_each(|(k, value)| *value += 1e-2 * (small(k) - 0.5) + 1e-4);
        }
    }
    inputs
}

/// The difference quotient of the loss in a direction, given for each input, and how much of it may be rounding.
fn quotient(case: &Case, inputs: &[Vec<f64>], direction: &[Vec<f64>]) -> (f64, f64) {
    let loss_at = |offset: f64| {
        let mut moved = inputs[..case.forward.inputs.len()].to_vec();
        for (values, towards) in moved.iter_mut().zip(direction) {
            values.iter_mut().zip(towards).for_each(|(value, towards)| *value += offset * towards);
        }
        let found = case.forward.outputs.iter().position(|(_, sink)| *sink == Sink::Loss).expect("a loss");
        agreement::oracle(&case.forward, &moved, case.state)[found][0]
    };
    let (above, below) = (loss_at(STEP), loss_at(-STEP));
    let quotient = (above.value - below.value) / (2.0 * STEP);
    // A magnitude grows with every layer, and beyond all bounds in a deep program: rounding does not.
    let rounding = (1e-15 * above.magnitude).min(1e-12 * (1.0 + above.value.abs()));
    (quotient, rounding / STEP)
}
