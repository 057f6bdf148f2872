//! Train sections.

use super::overrides::Overrides;
use super::settings::{Section, Settings, as_call, constant, not_yet};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::elab::evaluate::at;
use crate::elab::optimiser::OptimSpec;
use crate::elab::{InitRule, ModelCall, Module, Outcome, Scheme, Value};
use crate::syntax::ast::{Arg, Expr, ExprKind, Name, SettingKind, Train};

const LATER: &[&str] = &["schedule", "clip", "stop", "save", "log", "fast_math", "weights", "freeze"];

const TRAIN: Section = Section {
    word: "train",
    keys: &["loss", "optim", "batch", "epochs", "seed", "init", "metrics"],
    later: LATER,
};

const PHASE: Section = Section { word: "phase", keys: &["optim", "batch", "epochs"], later: LATER };

/// A part of a training with settings of its own. Each begins with a fresh optimiser.
#[derive(Clone, Debug)]
pub struct Phase {
    /// None where the section has no phases and this is all of it.
    pub name: Option<String>,
    pub optim: OptimSpec,
    /// Samples a step.
    pub batch: i64,
    pub epochs: u32,
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
    /// Whether the accuracy is reported.
    pub accuracy: bool,
    /// At least one.
    pub phases: Vec<Phase>,
    pub span: Span,
}

impl Module {
    /// The settings of a train section.
    ///
    /// # Errors
    ///
    /// Unknown keys, and values of the wrong kind; all of them.
    pub fn train_spec(&self, train: &Train, overrides: &Overrides) -> Result<TrainSpec, Vec<Diagnostic>> {
        let mut settings = Settings::new(&TRAIN, &train.settings, &overrides.train);
        let loss = settings.required("loss", train.model.span, |expr| Ok(expr.clone()));
        let phases = self.phases(train, overrides, &mut settings);
        let seed = settings.integer("seed", 0, i64::MAX, 0) as u64;
        let init = settings.read("init", init).unwrap_or_default();
        let accuracy = settings.read("metrics", metrics).unwrap_or(true);
        let mut errors = settings.errors;
        errors.extend(self.model(&train.model).err());
        errors.extend(self.data(&train.data).err());
        match (loss, phases) {
            (Some(loss), Some(phases)) if errors.is_empty() => Ok(TrainSpec {
                name: train.alias.as_ref().unwrap_or(&train.model).text.clone(),
                model: model_call(train, overrides),
                data: train.data.clone(),
                loss,
                seed,
                init,
                accuracy,
                phases,
                span: train.span,
            }),
            _ => Err(errors),
        }
    }

    /// The phases of a section, or the section as its only phase.
    fn phases(
        &self,
        train: &Train,
        overrides: &Overrides,
        settings: &mut Settings<'_>,
    ) -> Option<Vec<Phase>> {
        let mut overrides = overrides.train.clone();
        overrides.retain(|(name, _)| PHASE.keys.contains(&name.text.as_str()));
        let named: Vec<(&Name, Settings<'_>)> = train
            .settings
            .iter()
            .filter_map(|setting| match &setting.kind {
                SettingKind::Phase { name, settings } => {
                    Some((name, Settings::new(&PHASE, settings, &overrides)))
                }
                SettingKind::Key { .. } => None,
            })
            .collect();
        let batch = settings.integer("batch", 1, 1 << 20, 64);
        let epochs = settings.integer("epochs", 1, i64::from(u32::MAX), 10);
        if named.is_empty() {
            let read = |expr: &Expr| OptimSpec::resolve(self, expr);
            let optim = settings.required("optim", train.model.span, read)?;
            return Some(vec![Phase { name: None, optim, batch, epochs: epochs as u32 }]);
        }
        let common = settings.get("optim").cloned();
        let mut phases = Vec::new();
        for (name, own) in named {
            phases.extend(self.phase(name, own, common.as_ref(), (batch, epochs), settings));
        }
        Some(phases)
    }

    fn phase(
        &self,
        name: &Name,
        mut own: Settings<'_>,
        common: Option<&Expr>,
        (batch, epochs): (i64, i64),
        all: &mut Settings<'_>,
    ) -> Option<Phase> {
        let batch = own.integer("batch", 1, 1 << 20, batch);
        let epochs = own.integer("epochs", 1, i64::from(u32::MAX), epochs) as u32;
        let optim = match own.get("optim").or(common) {
            Some(expr) => OptimSpec::resolve(self, expr),
            None => Err(at(format!("the phase `{}` needs the key `optim`", name.text), name.span)),
        };
        all.errors.append(&mut own.errors);
        match optim {
            Ok(optim) => Some(Phase { name: Some(name.text.clone()), optim, batch, epochs }),
            Err(error) => {
                all.errors.push(error);
                None
            }
        }
    }
}

/// The model with its arguments; an override replaces the argument of its name, or is a new one.
fn model_call(train: &Train, overrides: &Overrides) -> ModelCall {
    let name_of = |arg: &Arg| arg.name.as_ref().map(|name| name.text.clone());
    let replaced = |arg: &&Arg| !overrides.args.iter().any(|new| name_of(new) == name_of(arg));
    let kept = train.args.iter().filter(|arg| arg.name.is_none() || replaced(arg)).cloned();
    ModelCall { name: train.model.clone(), args: kept.chain(overrides.args.iter().cloned()).collect() }
}

/// `[conv = xavier_uniform, bias = 0.01]`
fn init(expr: &Expr) -> Outcome<Vec<InitRule>> {
    let wrong =
        |span| at("`init` is a list with keys", span).help("such as `[conv = xavier_uniform, bias = 0.01]`");
    let ExprKind::List(items) = &expr.kind else { return Err(wrong(expr.span)) };
    let mut rules: Vec<InitRule> = Vec::new();
    for item in items {
        let Some(name) = &item.name else { return Err(wrong(item.value.span)) };
        let scheme = match constant(&item.value)? {
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

/// `[accuracy]`: whether the accuracy is among them.
fn metrics(expr: &Expr) -> Outcome<bool> {
    let ExprKind::List(items) = &expr.kind else {
        return Err(at("`metrics` is a list", expr.span).help("such as `[accuracy]`"));
    };
    let mut accuracy = false;
    for item in items {
        let call = as_call(&item.value, "a metric such as accuracy")?;
        match call.callee.text.as_str() {
            "accuracy" => accuracy = true,
            "top" | "confusion" => return Err(not_yet(&call.callee.text, call.callee.span)),
            name => {
                return Err(at(format!("unknown metric `{name}`"), call.callee.span)
                    .did_you_mean(nearest(name, ["accuracy", "top", "confusion"])));
            }
        }
    }
    Ok(accuracy)
}
