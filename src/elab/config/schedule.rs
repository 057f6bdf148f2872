//! Schedules: the learning rate of a step.
//!
//! `warmup(200) |> cosine(to=1e-5)`: stages one after the other. A stage with a length of its own is followed by the
//! next one; the last lasts until the phase ends. Rates are those of the phase's main optimiser; the optimisers of
//! groups are scaled by the same factor. Where PyTorch has a schedule of the name, this is its formula, per step for
//! `cosine`, `linear` and `onecycle`, per epoch for `step`, `milestones` and `exponential`.

use std::f64::consts::PI;

use super::settings::{as_call, call_values};
use crate::elab::evaluate::{Argument, at};
use crate::elab::foreign;
use crate::elab::{Outcome, Value};
use crate::syntax::ast::{Call, Expr, ExprKind};

const NAMES: [&str; 7] = ["warmup", "cosine", "linear", "step", "milestones", "exponential", "onecycle"];

/// How the learning rate moves; without stages it stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// From near 0 to the learning rate in so many steps.
    Warmup { steps: u64 },
    /// Down to a rate along half a cosine (Loshchilov and Hutter, 2017).
    Cosine { to: f64 },
    /// Down to a rate in a straight line.
    Linear { to: f64 },
    /// By a factor every so many epochs.
    Step { epochs: u64, factor: f64 },
    /// By a factor at each of these epochs.
    Milestones { epochs: Vec<u64>, factor: f64 },
    /// By a factor every epoch.
    Exponential { factor: f64 },
    /// Up from `1/div` of the rate in the share `warm` of the steps, then down to `1/(div*final_div)` (Smith, 2018).
    OneCycle { warm: f64, div: f64, final_div: f64 },
}

/// Where a phase of a training stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Steps of the phase before this one.
    pub step: u64,
    /// Steps of the phase in all.
    pub steps: u64,
    /// Steps of an epoch.
    pub epoch_steps: u64,
}

impl Schedule {
    /// The schedule that an expression names.
    ///
    /// # Errors
    ///
    /// Unknown stages, wrong arguments, and a stage behind one without an end.
    pub(super) fn parse(expr: &Expr) -> Outcome<Schedule> {
        let (mut calls, mut rest) = (Vec::new(), expr);
        while let ExprKind::Pipe { value, call } = &rest.kind {
            calls.push(call.clone());
            rest = value;
        }
        calls.push(as_call(rest, "a schedule such as cosine() or warmup(100) |> cosine()")?);
        calls.reverse();
        let stages = calls.iter().map(stage).collect::<Outcome<Vec<_>>>()?;
        for (stage, next) in stages.iter().zip(calls.iter().skip(1)) {
            if !matches!(stage, Stage::Warmup { .. }) {
                let message = format!("`{}` comes behind a stage that lasts to the end", next.callee.text);
                return Err(
                    at(message, next.callee.span).note("only warmup(steps) can be followed by another stage")
                );
            }
        }
        Ok(Schedule { stages })
    }

    /// The first step of the last stage: factors move one way before it, and one way behind it.
    pub fn turn(&self) -> u64 {
        let steps = |stage: &Stage| match stage {
            Stage::Warmup { steps } => *steps,
            _ => 0,
        };
        self.stages.iter().map(steps).fold(0, u64::saturating_add)
    }

    /// What the learning rate, `base` in the phase's optimiser, is multiplied with.
    pub fn factor(&self, base: f64, moment: Moment) -> f64 {
        let mut rest = moment;
        for stage in &self.stages {
            match stage {
                Stage::Warmup { steps } if rest.step >= *steps => {
                    rest.step -= steps;
                    if !planted!("elab.config.warmup_rest") {
                        rest.steps = rest.steps.saturating_sub(*steps);
                    }
                }
                stage => return stage.factor(base, rest),
            }
        }
        1.0
    }
}

impl Stage {
    fn factor(&self, base: f64, Moment { step, steps, epoch_steps }: Moment) -> f64 {
        let epoch = if planted!("elab.config.per_step") { step } else { step / epoch_steps.max(1) };
        let done = (step as f64 / steps.max(1) as f64).min(1.0);
        let whole = if planted!("elab.config.rate_to") { 1.0 } else { base };
        let lowest = |to: f64| if base > 0.0 { to / whole } else { 1.0 };
        match self {
            Stage::Warmup { steps } => {
                (step + u64::from(!planted!("elab.config.warmup"))) as f64 / *steps as f64
            }
            Stage::Cosine { to } => lowest(*to) + (1.0 - lowest(*to)) * (1.0 + (PI * done).cos()) / 2.0,
            Stage::Linear { to } => lowest(*to) + (1.0 - lowest(*to)) * (1.0 - done),
            Stage::Step { epochs, factor } => factor.powi(times(epoch / epochs)),
            Stage::Milestones { epochs, factor } => {
                let late = u64::from(planted!("elab.config.milestone"));
                factor.powi(epochs.iter().filter(|milestone| epoch >= **milestone + late).count() as i32)
            }
            Stage::Exponential { factor } => factor.powi(times(epoch)),
            Stage::OneCycle { warm, div, final_div } => one_cycle(*warm, *div, *final_div, step, steps),
        }
    }
}

/// How often a factor is taken, as an exponent.
fn times(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Two halves of a cosine, as in PyTorch's `OneCycleLR`.
fn one_cycle(warm: f64, div: f64, final_div: f64, step: u64, steps: u64) -> f64 {
    let between = |from: f64, to: f64, share: f64| to + (from - to) * (1.0 + (PI * share).cos()) / 2.0;
    let (step, last) = (step as f64, steps as f64 - 1.0);
    let top = warm * steps as f64 - 1.0;
    if step <= top {
        between(1.0 / div, 1.0, if top > 0.0 { step / top } else { 1.0 })
    } else {
        between(1.0, 1.0 / (div * final_div), ((step - top) / (last - top).max(1.0)).min(1.0))
    }
}

fn stage(call: &Call) -> Outcome<Stage> {
    let number =
        |name: &str, argument: &Option<Argument>, default: Option<f64>, wrong: &dyn Fn(f64) -> bool| {
            let Some(argument) = argument else {
                return default.ok_or_else(|| crate::elab::arguments::missing(&call.callee, name));
            };
            let span = argument.span.unwrap_or(call.callee.span);
            let value = argument.value.as_real().filter(|value| value.is_finite() && !wrong(*value));
            value.ok_or_else(|| {
                at(format!("`{name}` of `{}` cannot be {}", call.callee.text, argument.value), span)
            })
        };
    let negative = |value: f64| value < 0.0;
    let count = |value: f64| value < 1.0 || value.fract() != 0.0;
    match call.callee.text.as_str() {
        "warmup" => {
            let values = call_values(call, &["steps"])?;
            Ok(Stage::Warmup { steps: number("steps", &values[0], None, &count)? as u64 })
        }
        "cosine" | "linear" => {
            let values = call_values(call, &["to"])?;
            let to = number("to", &values[0], Some(0.0), &negative)?;
            Ok(if call.callee.text == "cosine" { Stage::Cosine { to } } else { Stage::Linear { to } })
        }
        "step" => {
            let values = call_values(call, &["epochs", "factor"])?;
            let epochs = number("epochs", &values[0], None, &count)? as u64;
            Ok(Stage::Step { epochs, factor: number("factor", &values[1], Some(0.1), &negative)? })
        }
        "milestones" => {
            let values = call_values(call, &["epochs", "factor"])?;
            let epochs = milestones(call, values[0].as_ref())?;
            Ok(Stage::Milestones { epochs, factor: number("factor", &values[1], Some(0.1), &negative)? })
        }
        "exponential" => {
            let values = call_values(call, &["factor"])?;
            Ok(Stage::Exponential { factor: number("factor", &values[0], None, &negative)? })
        }
        "onecycle" => {
            let values = call_values(call, &["warm", "div", "final_div"])?;
            let below_one = |value: f64| value < 1.0;
            Ok(Stage::OneCycle {
                warm: number("warm", &values[0], Some(0.3), &|value| !(0.0..=1.0).contains(&value))?,
                div: number("div", &values[1], Some(25.0), &below_one)?,
                final_div: number("final_div", &values[2], Some(1e4), &below_one)?,
            })
        }
        name => {
            let error = at(format!("unknown schedule `{name}`"), call.callee.span)
                .note(format!("the schedules are {}", NAMES.join(", ")));
            Err(foreign::suggest(error, foreign::SCHEDULES, name, NAMES))
        }
    }
}

fn milestones(call: &Call, argument: Option<&Argument>) -> Outcome<Vec<u64>> {
    let argument = argument.ok_or_else(|| crate::elab::arguments::missing(&call.callee, "epochs"))?;
    let epoch = |value: &Value| match value {
        Value::Int(epoch) if *epoch > 0 => Some(*epoch as u64),
        _ => None,
    };
    let epochs = match &argument.value {
        Value::List(values) => values.iter().map(epoch).collect(),
        _ => None,
    };
    let span = argument.span.unwrap_or(call.callee.span);
    epochs.ok_or_else(|| at("`epochs` of `milestones` is a list of epochs, such as [30, 60]", span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(stages: Vec<Stage>, steps: u64, epoch_steps: u64, base: f64) -> Vec<f64> {
        let schedule = Schedule { stages };
        (0..steps).map(|step| schedule.factor(base, Moment { step, steps, epoch_steps })).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near, "{found:?} are not {expected:?}");
    }

    #[test]
    fn without_stages_the_rate_stays() {
        close(&factors(Vec::new(), 3, 1, 0.1), &[1.0; 3]);
    }

    #[test]
    fn warmup_ends_at_the_rate_and_the_next_stage_begins_there() {
        let stages = vec![Stage::Warmup { steps: 2 }, Stage::Linear { to: 0.0 }];
        close(&factors(stages, 6, 2, 0.1), &[0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
    }

    /// `torch.optim.lr_scheduler.CosineAnnealingLR(optim, T_max=4, eta_min=0.02)` from 0.1.
    #[test]
    fn cosine_is_that_of_pytorch() {
        let rates = [0.1, 0.088284271247462, 0.06, 0.031715728752538].map(|rate| rate / 0.1);
        close(&factors(vec![Stage::Cosine { to: 0.02 }], 4, 1, 0.1), &rates);
    }

    #[test]
    fn factors_of_epochs_hold_for_all_their_steps() {
        close(
            &factors(vec![Stage::Step { epochs: 2, factor: 0.5 }], 8, 2, 1.0),
            &[1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5],
        );
        close(
            &factors(vec![Stage::Milestones { epochs: vec![1, 3], factor: 0.5 }], 8, 2, 1.0),
            &[1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25],
        );
        close(&factors(vec![Stage::Exponential { factor: 0.5 }], 3, 1, 1.0), &[1.0, 0.5, 0.25]);
    }

    /// `torch.optim.lr_scheduler.OneCycleLR(optim, max_lr=1.0, total_steps=10)`.
    #[test]
    fn one_cycle_is_that_of_pytorch() {
        let stage = Stage::OneCycle { warm: 0.3, div: 25.0, final_div: 1e4 };
        close(
            &factors(vec![stage], 10, 5, 1.0),
            &[
                0.04,
                0.52,
                1.0,
                0.950484632013,
                0.811745653950,
                0.611262021936,
                0.388741978063,
                0.188258346050,
                0.049519367987,
                4e-6,
            ],
        );
    }
}
