//! Train sections.

use std::path::{Path, PathBuf};

use super::data::{DataSpec, Source};
use super::metrics::{Metrics, watched};
use super::overrides::Overrides;
use super::phase::{self, PHASE, Phase, Watch};
use super::pictures::Augment;
use super::settings::{Section, Settings, as_call, call_values, check_range, constant, not_yet};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::elab::evaluate::{Argument, at};
use crate::elab::selection::Selection;
use crate::elab::{InitRule, ModelCall, Module, Outcome, Scheme, Value};
use crate::syntax::ast::{Arg, Call, Expr, ExprKind, Name, Setting, SettingKind, Train};

pub(super) const TRAIN: Section = Section {
    word: "train",
    keys: &[
        "loss",
        "optim",
        "batch",
        "epochs",
        "seed",
        "init",
        "metrics",
        "schedule",
        "groups",
        "decay",
        "clip",
        "freeze",
        "stop",
        "weights",
        "save",
        "checkpoint",
        "log",
        "fast_math",
    ],
};

/// Trained weights to begin with.
#[derive(Clone, Debug)]
pub struct Pretrained {
    pub file: PathBuf,
    /// What the file need not hold, and what is not taken from it.
    pub except: Option<Selection>,
    pub span: Span,
}

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    Steps(u64),
    Minutes(f64),
}

/// A train section.
#[derive(Clone, Debug)]
pub struct TrainSpec {
    /// The name after `as`, or that of the model.
    pub name: String,
    pub model: ModelCall,
    /// The name of the data section.
    pub data: Name,
    pub loss: Expr,
    pub seed: u64,
    /// Initialisers that replace those of the layers.
    pub init: Vec<InitRule>,
    pub metrics: Metrics,
    /// Whether the norm of every gradient is written down in every step.
    pub log_gradients: bool,
    /// Whether convolutions may be computed in ways that round otherwise than their sums.
    pub fast_math: bool,
    /// Whether the data mixes training images, so that each has two labels.
    pub mixed: bool,
    pub weights: Option<Pretrained>,
    /// The figure whose best epoch gives the run's weights; without it the last epoch does.
    pub save: Option<Watch>,
    /// When the run is saved beside the ends of its epochs.
    pub checkpoint: Option<Every>,
    /// At least one.
    pub phases: Vec<Phase>,
    pub span: Span,
}

impl TrainSpec {
    /// The first place of a rule that watches the accuracy.
    pub fn watched_accuracy(&self) -> Option<Span> {
        watched(self.save, &self.phases).next()
    }
}

impl Module {
    /// The settings of a train section.
    ///
    /// # Errors
    ///
    /// Unknown keys, and values of the wrong kind; all of them.
    pub fn train_spec(&self, train: &Train, overrides: &Overrides) -> Result<TrainSpec, Vec<Diagnostic>> {
        let mut settings = Settings::new(&TRAIN, &train.settings, &overrides.train);
        let loss = settings.required("loss", train.model.span, loss);
        let seed = settings.integer("seed", 0, i64::MAX, 0) as u64;
        let init = settings.read("init", init).unwrap_or_default();
        let metrics = settings.read("metrics", Metrics::parse).unwrap_or_default();
        let weights = settings.read("weights", |expr| weights(expr, self.directory()));
        let save = settings.read("save", save);
        let checkpoint = settings.read("checkpoint", every);
        let log_gradients = settings.read("log", log).unwrap_or(false);
        let fast_math = settings.truth("fast_math", true);
        let mut errors = std::mem::take(&mut settings.errors);
        let phases = self.phases(train, overrides, &mut errors);
        errors.extend(metrics.check_watched(save, &phases));
        errors.extend(self.check_validation(&train.data, overrides, save, &phases));
        errors.extend(self.model(&train.model).err());
        errors.extend(self.data(&train.data).err());
        match loss {
            Some(loss) if errors.is_empty() => Ok(TrainSpec {
                name: train.alias.as_ref().unwrap_or(&train.model).text.clone(),
                model: model_call(train, overrides),
                data: train.data.clone(),
                loss,
                seed,
                init,
                metrics,
                log_gradients,
                fast_math,
                mixed: self.mixes(&train.data, overrides),
                weights,
                save,
                checkpoint,
                phases,
                span: train.span,
            }),
            _ => Err(errors),
        }
    }

    /// Errors where a rule watches figures of the validation split, and there is none. What is wrong with the data section
    /// is said where it is read; whether a folder has such pictures of its own shows only there.
    fn check_validation(
        &self,
        data: &Name,
        overrides: &Overrides,
        save: Option<Watch>,
        phases: &[Phase],
    ) -> Vec<Diagnostic> {
        let spec = self.data(data).ok().and_then(|section| self.data_spec(section, overrides).ok());
        let spec = spec.filter(|spec| spec.holdout.is_none() && !matches!(spec.source, Source::Folder(_)));
        spec.map_or(Vec::new(), |spec| without_validation(&spec, save, phases))
    }

    /// Whether a data section mixes images; what is wrong with it is said where it is read.
    fn mixes(&self, data: &Name, overrides: &Overrides) -> bool {
        let spec = self.data(data).ok().and_then(|section| self.data_spec(section, overrides).ok());
        spec.is_some_and(|spec| spec.augment.iter().any(Augment::mixes))
    }

    /// The phases of a section, or the section as its only phase. What the section gives stands for what a phase
    /// leaves out; what the command line gives stands for all.
    fn phases(&self, train: &Train, overrides: &Overrides, errors: &mut Vec<Diagnostic>) -> Vec<Phase> {
        let mut overrides = overrides.train.clone();
        overrides.retain(|(name, _)| phase::KEYS.contains(&name.text.as_str()));
        let is_common = |setting: &&Setting| match &setting.kind {
            SettingKind::Key { name, .. } => phase::KEYS.contains(&name.text.as_str()),
            SettingKind::Phase { .. } => false,
        };
        let common: Vec<Setting> = train.settings.iter().filter(is_common).cloned().collect();
        let named = train.settings.iter().filter_map(|setting| match &setting.kind {
            SettingKind::Phase { name, settings } => Some((name, settings)),
            SettingKind::Key { .. } => None,
        });
        let mut named = named.peekable();
        if named.peek().is_none() {
            let mut settings = Settings::new(&PHASE, &common, &overrides);
            let phase = Phase::read(self, None, train.model.span, &mut settings);
            errors.append(&mut settings.errors);
            return phase.into_iter().collect();
        }
        let mut phases = Vec::new();
        for (name, own) in named {
            let flags = if planted!("elab.config.phase_flags") { &[] } else { overrides.as_slice() };
            let mut settings = Settings::with_defaults(&PHASE, own, &common, flags);
            phases.extend(Phase::read(self, Some(name), name.span, &mut settings));
            // What is wrong in the section itself is wrong in every phase, and said once.
            for error in settings.errors {
                if !errors.contains(&error) {
                    errors.push(error);
                }
            }
        }
        phases
    }
}

impl TrainSpec {
    /// Errors where a rule watches figures of the validation split, of data that have none.
    pub fn check_without_validation(&self, data: &DataSpec) -> Vec<Diagnostic> {
        without_validation(data, self.save, &self.phases)
    }
}

/// Errors where a rule watches figures of a split that is not there.
fn without_validation(data: &DataSpec, save: Option<Watch>, phases: &[Phase]) -> Vec<Diagnostic> {
    if data.validates_on_test {
        return Vec::new();
    }
    let stops = phases.iter().filter_map(|phase| phase.stop).map(|stop| stop.watch);
    let mut spans: Vec<Span> =
        save.into_iter().chain(stops).filter(|watch| watch.validation).map(|watch| watch.span).collect();
    // A rule of the section is that of several phases.
    spans.dedup();
    let error = |span| {
        at(format!("there are no validation images: nothing is held out in `{}`", data.name), span).help(
            "`holdout = 0.1` in the data section holds out a tenth of the training images; `validate = test` chooses by the \
             test split, whose figures then say nothing of images that nobody has seen",
        )
    };
    spans.into_iter().map(error).collect()
}

/// `load("file.safetensors", except=head)`
fn weights(expr: &Expr, directory: &Path) -> Outcome<Pretrained> {
    let call = as_call(expr, "load(\"weights.safetensors\")")?;
    if call.callee.text != "load" {
        let message = format!("unknown source of weights `{}`", call.callee.text);
        return Err(at(message, call.callee.span).did_you_mean(Some("load")));
    }
    let is_except = |arg: &&Arg| arg.name.as_ref().is_some_and(|name| name.text == "except");
    let except = call.args.iter().find(is_except).map(|arg| Selection::parse(&arg.value)).transpose()?;
    let args = call.args.iter().filter(|arg| !is_except(arg)).cloned().collect();
    let values = call_values(&Call { callee: call.callee.clone(), args }, &["file"])?;
    match values.into_iter().next().flatten() {
        Some(Argument { value: Value::String(file), .. }) => {
            let directory = if planted!("elab.config.weights") { Path::new("") } else { directory };
            Ok(Pretrained { file: directory.join(file), except, span: call.callee.span })
        }
        Some(argument) => {
            let message = format!("`file` is a string, not {}", argument.value.kind());
            Err(at(message, argument.span.unwrap_or(expr.span)))
        }
        None => Err(crate::elab::arguments::missing(&call.callee, "file")),
    }
}

/// `best(val.accuracy)`
fn save(expr: &Expr) -> Outcome<Watch> {
    let call = as_call(expr, "best(val.accuracy)")?;
    if call.callee.text != "best" {
        let message = format!("unknown rule for saving `{}`", call.callee.text);
        return Err(at(message, call.callee.span).did_you_mean(Some("best")));
    }
    let (watch, rest) = phase::split_watch(&call)?;
    call_values(&rest, &[])?;
    Ok(watch)
}

/// `every(500)`, `every(minutes=10)`
fn every(expr: &Expr) -> Outcome<Every> {
    let call = as_call(expr, "every(500) or every(minutes=10)")?;
    if call.callee.text != "every" {
        let message = format!("unknown rule for checkpoints `{}`", call.callee.text);
        return Err(at(message, call.callee.span).did_you_mean(Some("every")));
    }
    let values = call_values(&call, &["steps", "minutes"])?;
    match values.as_slice() {
        [Some(steps), None] => match steps.value {
            Value::Int(count) if count >= 1 => Ok(Every::Steps(count as u64)),
            _ => Err(at(format!("`steps` is an integer above 0, not {}", steps.value), expr.span)),
        },
        [None, Some(minutes)] => match minutes.value.as_real() {
            Some(number) if number > 0.0 && number.is_finite() => Ok(Every::Minutes(number)),
            _ => Err(at(format!("`minutes` is a number above 0, not {}", minutes.value), expr.span)),
        },
        _ => Err(at("`every` takes a number of steps, or minutes=", expr.span)
            .help("such as `every(500)` or `every(minutes=10)`")),
    }
}

/// The model with its arguments; an override replaces the argument of its name, or is a new one.
pub(super) fn model_call(train: &Train, overrides: &Overrides) -> ModelCall {
    let name_of = |arg: &Arg| arg.name.as_ref().map(|name| name.text.clone());
    let replaced = |arg: &&Arg| {
        planted!("elab.config.arguments") || !overrides.args.iter().any(|new| name_of(new) == name_of(arg))
    };
    let kept = train.args.iter().filter(|arg| arg.name.is_none() || replaced(arg)).cloned();
    ModelCall { name: train.model.clone(), args: kept.chain(overrides.args.iter().cloned()).collect() }
}

/// `cross_entropy(label_smoothing=0.1)`: the numbers of its arguments; what else it is says its call.
fn loss(expr: &Expr) -> Outcome<Expr> {
    let ExprKind::Call(call) = &expr.kind else { return Ok(expr.clone()) };
    for arg in &call.args {
        let name = arg.name.as_ref().map_or("an argument".into(), |name| format!("`{}`", name.text));
        if let Ok(value) = constant(&arg.value) {
            check_range(&format!("{name} of `{}`", call.callee.text), &value, arg.value.span)?;
        }
    }
    Ok(expr.clone())
}

/// `[conv = xavier_uniform, bias = 0.01]`
fn init(expr: &Expr) -> Outcome<Vec<InitRule>> {
    let wrong =
        |span| at("`init` is a list with keys", span).help("such as `[conv = xavier_uniform, bias = 0.01]`");
    let ExprKind::List(items) = &expr.kind else { return Err(wrong(expr.span)) };
    let mut rules: Vec<InitRule> = Vec::new();
    for item in items {
        let Some(name) = &item.name else { return Err(wrong(item.value.span)) };
        let value = constant(&item.value)?;
        check_range(&format!("`{}` of `init`", name.text), &value, item.value.span)?;
        let scheme = match value {
            Value::Scheme(scheme) => scheme,
            value => match value.as_real() {
                Some(number) => Scheme::Constant(number),
                None => {
                    let message = format!("an initialiser is needed, not {}", value.kind());
                    return Err(at(message, item.value.span));
                }
            },
        };
        if rules.iter().any(|rule| rule.target == name.text) {
            return Err(at(format!("`{}` is given twice", name.text), name.span));
        }
        rules.push(InitRule { target: name.text.clone(), scheme, span: name.span });
    }
    Ok(rules)
}

/// `[gradients]`: whether gradients are among them.
fn log(expr: &Expr) -> Outcome<bool> {
    listed(expr, "log", "log", "gradients", &["csv", "tensorboard", "html"])
}

/// Whether the list of a key has `known`. What is to come later is an error like what is unknown.
fn listed(expr: &Expr, key: &str, what: &str, known: &'static str, later: &[&'static str]) -> Outcome<bool> {
    let ExprKind::List(items) = &expr.kind else {
        return Err(at(format!("`{key}` is a list"), expr.span).help(format!("such as `[{known}]`")));
    };
    for item in items {
        let Call { callee, .. } = as_call(&item.value, &format!("a {what} such as {known}"))?;
        let name = callee.text.as_str();
        if later.contains(&name) {
            return Err(not_yet(name, callee.span));
        }
        if name != known {
            let all = later.iter().copied().chain([known]);
            return Err(at(format!("unknown {what} `{name}`"), callee.span).did_you_mean(nearest(name, all)));
        }
    }
    Ok(!items.is_empty())
}
