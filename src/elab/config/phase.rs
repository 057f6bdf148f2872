//! A phase of a training: its optimisers, their schedule, what is frozen, when it ends.

use super::schedule::{Moment, Schedule};
use super::settings::{Section, Settings, as_call, call_values};
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::elab::evaluate::at;
use crate::elab::optimiser::OptimSpec;
use crate::elab::selection::Selection;
use crate::elab::{Module, Outcome};
use crate::syntax::ast::{Call, Expr, ExprKind, Name};

/// The keys that a phase may give for itself; those of the train section stand for all phases.
pub(super) const KEYS: &[&str] =
    &["optim", "batch", "epochs", "schedule", "groups", "decay", "clip", "freeze", "stop"];

/// Samples a step and epochs where nobody says how many.
pub(super) const BATCH: i64 = 64;
pub(super) const EPOCHS: i64 = 10;

pub(super) const PHASE: Section = Section { word: "phase", keys: KEYS };

/// A part of a training with settings of its own. Each begins with a fresh optimiser.
#[derive(Clone, Debug)]
pub struct Phase {
    /// None where the section has no phases and this is all of it.
    pub name: Option<String>,
    /// The optimiser of what no group takes.
    pub optim: OptimSpec,
    pub groups: Vec<Group>,
    /// Whether tensors with one axis, biases and the parameters of norms, have no weight decay.
    pub spare_vectors: bool,
    pub schedule: Schedule,
    pub clip: Option<Clip>,
    pub freeze: Option<Selection>,
    pub stop: Option<Early>,
    /// Samples a step.
    pub batch: i64,
    pub epochs: u32,
}

/// Parameters with an optimiser of their own.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name of the parameters, or the path of an instance.
    pub target: String,
    pub optim: OptimSpec,
    pub span: Span,
}

impl Group {
    /// Whether the parameter of a path belongs to it.
    pub fn holds(&self, path: &str) -> bool {
        let inside =
            |rest: &str| planted!("elab.config.group_prefix") || rest.is_empty() || rest.starts_with('.');
        let inside = path.strip_prefix(&self.target).is_some_and(inside);
        inside || path.rsplit('.').next() == Some(self.target.as_str())
    }
}

/// What keeps gradients small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// All are scaled so that the norm of all together is at most this.
    Norm(f64),
    /// Each element is at most this far from 0.
    Value(f64),
}

/// A figure of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// On the validation images, else on the training images.
    pub validation: bool,
    /// The accuracy, which is to grow, else the loss.
    pub accuracy: bool,
    pub span: Span,
}

/// Ends a phase that no longer improves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Early {
    pub watch: Watch,
    /// Epochs without a better figure than the best so far.
    pub patience: u64,
    /// What counts as better.
    pub min_delta: f64,
}

impl Phase {
    /// The runtime scalars of a step.
    pub fn scalars(&self, moment: Moment) -> Vec<(String, f64)> {
        let factor = self.schedule.factor(self.optim.learning_rate, moment);
        let optims = std::iter::once(&self.optim).chain(self.groups.iter().map(|group| &group.optim));
        let stays = |optim: &OptimSpec| planted!("elab.config.group_factor") && !optim.group.is_empty();
        let factor_of = |optim: &OptimSpec| if stays(optim) { 1.0 } else { factor };
        optims.flat_map(|optim| optim.scalars(moment.step, factor_of(optim))).collect()
    }

    /// Checks that the runtime scalars of a phase of so many steps are within the range of `f32`; beyond it, no step would
    /// update anything.
    ///
    /// # Errors
    ///
    /// Names the first scalar that is not.
    pub fn check_scalars(&self, steps: u64, epoch_steps: u64) -> Outcome<()> {
        let last = steps.saturating_sub(1);
        let turn = self.schedule.turn().min(last);
        for step in [0, turn.saturating_sub(1), turn, last] {
            for (name, value) in self.scalars(Moment { step, steps, epoch_steps }) {
                if !(value as f32).is_finite() {
                    let message = format!(
                        "`{name}` would be {value:e} in step {} of {steps}, which is beyond the range of f32",
                        step + 1
                    );
                    return Err(at(message, self.optim.span).note("the schedule moves the learning rate"));
                }
            }
        }
        Ok(())
    }

    /// The learning rate of the main optimiser in a step.
    pub fn learning_rate(&self, moment: Moment) -> f64 {
        self.optim.learning_rate * self.schedule.factor(self.optim.learning_rate, moment)
    }

    /// The optimiser of the parameter of a path and with so many axes.
    pub fn optimiser_of(&self, path: &str, axes: usize) -> OptimSpec {
        let group = self.groups.iter().find(|group| group.holds(path));
        let optim = group.map_or(&self.optim, |group| &group.optim);
        if self.spare_vectors && axes < 2 && !planted!("elab.config.spare_vectors") {
            optim.without_decay()
        } else {
            optim.clone()
        }
    }

    /// The phase of settings in which those of the whole section stand for missing ones.
    pub(super) fn read(
        module: &Module,
        name: Option<&Name>,
        place: Span,
        settings: &mut Settings<'_>,
    ) -> Option<Phase> {
        let batch = settings.integer("batch", 1, 1 << 20, BATCH);
        let default = EPOCHS + i64::from(planted!("elab.config.epochs"));
        let epochs = settings.integer("epochs", 1, i64::from(u32::MAX), default) as u32;
        let schedule = settings.read("schedule", Schedule::parse).unwrap_or_default();
        let clip = settings.read("clip", clip);
        let freeze = settings.read("freeze", Selection::parse);
        let stop = settings.read("stop", early);
        let groups = settings.read("groups", |expr| groups(module, expr)).unwrap_or_default();
        let spare_vectors = settings.read("decay", decay).unwrap_or(false);
        if settings.get("optim").is_none() {
            let message = match name {
                Some(name) => format!("the phase `{}` needs the key `optim`", name.text),
                None => "this train section needs the key `optim`".into(),
            };
            settings.errors.push(at(message, place));
        }
        let optim = settings.read("optim", |expr| OptimSpec::resolve(module, expr))?;
        let name = name.map(|name| name.text.clone());
        Some(Phase { name, optim, groups, spare_vectors, schedule, clip, freeze, stop, batch, epochs })
    }
}

/// `norm(1.0)`, `value(0.5)`
fn clip(expr: &Expr) -> Outcome<Clip> {
    let call = as_call(expr, "norm(1.0) or value(0.5)")?;
    let most = || positive(&call, "most");
    match call.callee.text.as_str() {
        "norm" => Ok(Clip::Norm(most()?)),
        "value" => Ok(Clip::Value(most()?)),
        name => Err(at(format!("unknown kind of clipping `{name}`"), call.callee.span)
            .did_you_mean(nearest(name, ["norm", "value"]))
            .note("gradients are clipped by norm(most), all together, or by value(most), each element")),
    }
}

/// The only argument of a call, a number above 0.
fn positive(call: &Call, name: &str) -> Outcome<f64> {
    let values = call_values(call, &[name])?;
    let Some(argument) = &values[0] else { return Err(crate::elab::arguments::missing(&call.callee, name)) };
    let value = argument.value.as_real().filter(|value| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| {
        let message = format!("`{name}` is a number above 0, not {}", argument.value);
        at(message, argument.span.unwrap_or(call.callee.span))
    })
}

/// `weights`: only tensors with two axes and more decay; `all`: all of them.
fn decay(expr: &Expr) -> Outcome<bool> {
    match &expr.kind {
        ExprKind::Name(name) if name == "all" => Ok(false),
        ExprKind::Name(name) if name == "weights" => Ok(true),
        _ => Err(at("`decay` is `all` or `weights`", expr.span)
            .note("with `weights`, biases and the parameters of norms have no weight decay")),
    }
}

/// `[head = adam(1e-2), bias = sgd(0.1)]`
fn groups(module: &Module, expr: &Expr) -> Outcome<Vec<Group>> {
    let wrong = |span| {
        at("`groups` is a list with keys", span).help("such as `[head = adam(1e-2), bias = adam(1e-3)]`")
    };
    let ExprKind::List(items) = &expr.kind else { return Err(wrong(expr.span)) };
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let Some(name) = &item.name else { return Err(wrong(item.value.span)) };
        if groups.iter().any(|group| group.target == name.text) {
            return Err(at(format!("`{}` is given twice", name.text), name.span));
        }
        let optim = OptimSpec::resolve(module, &item.value)?.of_group(&name.text);
        groups.push(Group { target: name.text.clone(), optim, span: name.span });
    }
    Ok(groups)
}

/// `early(val.loss, patience=4, min_delta=0.001)`
fn early(expr: &Expr) -> Outcome<Early> {
    let call = as_call(expr, "early(val.loss, patience=4)")?;
    if call.callee.text != "early" {
        let message = format!("unknown way to stop `{}`", call.callee.text);
        return Err(at(message, call.callee.span).did_you_mean(Some("early")));
    }
    let (watched, numbers) = split_watch(&call)?;
    let values = call_values(&numbers, &["patience", "min_delta"])?;
    let number = |place: usize, default: f64| match &values[place] {
        None => Ok(default),
        Some(argument) => {
            let value = argument.value.as_real().filter(|value| value.is_finite() && *value >= 0.0);
            let span = argument.span.unwrap_or(call.callee.span);
            value.ok_or_else(|| at(format!("a number from 0 on is needed, not {}", argument.value), span))
        }
    };
    let patience = number(0, 5.0)?;
    let min_delta = number(1, 0.0)? * f64::from(!planted!("elab.config.min_delta"));
    if patience < 1.0 || patience.fract() != 0.0 {
        return Err(at(format!("`patience` is a number of epochs, not {patience}"), expr.span));
    }
    Ok(Early { watch: watched, patience: patience as u64, min_delta })
}

/// The figure that a call names first, and the call without it.
pub(super) fn split_watch(call: &Call) -> Outcome<(Watch, Call)> {
    let Some((first, rest)) = call.args.split_first().filter(|(first, _)| first.name.is_none()) else {
        let message = format!("`{}` needs a figure such as val.loss", call.callee.text);
        return Err(at(message, call.callee.span));
    };
    Ok((watch(&first.value)?, Call { callee: call.callee.clone(), args: rest.to_vec() }))
}

/// `val.loss`, `val.accuracy`, `training.loss`, `training.accuracy`
fn watch(expr: &Expr) -> Outcome<Watch> {
    let wrong = || {
        at("no figure of an epoch", expr.span)
            .help("there are val.loss, val.accuracy, training.loss, training.accuracy")
    };
    let ExprKind::Field { base, name } = &expr.kind else { return Err(wrong()) };
    let ExprKind::Name(split) = &base.kind else { return Err(wrong()) };
    match (split.as_str(), name.text.as_str()) {
        ("val" | "training", "loss" | "accuracy") => Ok(Watch {
            validation: (split == "val") != planted!("elab.config.watch_split"),
            accuracy: name.text == "accuracy",
            span: expr.span,
        }),
        _ => Err(wrong()),
    }
}
