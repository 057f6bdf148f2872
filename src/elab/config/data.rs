//! Data sections.

use std::path::{Path, PathBuf};

use super::overrides::Overrides;
use super::settings::{Section, Settings, as_call, call_values, constant, not_yet};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::elab::evaluate::{Argument, at};
use crate::elab::{Module, Outcome, Value};
use crate::syntax::ast::{Call, Data, Expr, ExprKind, Name};

const DATA: Section = Section {
    word: "data",
    keys: &["source", "holdout", "shuffle", "drop_last", "prepare", "classes"],
    later: &["augment"],
};

/// Where the samples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The embedded handwritten digits, 8×8.
    Digits,
    /// A directory of IDX files, as MNIST comes.
    Idx(PathBuf),
}

/// What is done to every sample, whose pixels arrive as 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepare {
    /// `(x - mean) / std`, by channel, or with one number for all.
    Normalize { mean: Vec<f64>, std: Vec<f64> },
}

/// A data section.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    pub name: String,
    pub source: Source,
    /// Samples of the training split that are used for validation; 0 validates on the test split.
    pub holdout: usize,
    pub shuffle: bool,
    /// Whether the last, smaller batch of an epoch is left out of training.
    pub drop_last: bool,
    /// In the order in which it is done.
    pub prepare: Vec<Prepare>,
    /// The names of the classes.
    pub classes: Option<Vec<String>>,
    pub span: Span,
}

impl Module {
    /// The data section of a name.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn data(&self, name: &Name) -> Result<&Data, Diagnostic> {
        let sections = self.data_sections();
        let known = sections.iter().map(|data| data.name.text.as_str());
        sections.iter().find(|data| data.name.text == name.text).copied().ok_or_else(|| {
            at(format!("unknown data section `{}`", name.text), name.span)
                .did_you_mean(nearest(&name.text, known))
        })
    }

    /// The settings of a data section.
    ///
    /// # Errors
    ///
    /// Unknown keys, and values of the wrong kind; all of them.
    pub fn data_spec(&self, data: &Data, overrides: &Overrides) -> Result<DataSpec, Vec<Diagnostic>> {
        let mut settings = Settings::new(&DATA, &data.settings, &overrides.data);
        let source = settings.required("source", data.name.span, |expr| source(expr, self.directory()));
        let holdout = settings.integer("holdout", 0, i64::from(u32::MAX), 0) as usize;
        let (shuffle, drop_last) = (settings.truth("shuffle", true), settings.truth("drop_last", false));
        let prepare = settings.read("prepare", prepare).unwrap_or_default();
        let classes = settings.read("classes", classes);
        match (source, settings.errors.is_empty()) {
            (Some(source), true) => Ok(DataSpec {
                name: data.name.text.clone(),
                source,
                holdout,
                shuffle,
                drop_last,
                prepare,
                classes,
                span: data.span,
            }),
            _ => Err(settings.errors),
        }
    }
}

/// What a key's value may call, and what a later version will.
fn unknown(call: &Call, what: &str, known: &[&str], later: &[&str]) -> Diagnostic {
    let name = call.callee.text.as_str();
    if later.contains(&name) {
        return not_yet(name, call.callee.span);
    }
    at(format!("unknown {what} `{name}`"), call.callee.span)
        .did_you_mean(nearest(name, known.iter().chain(later).copied()))
}

fn source(expr: &Expr, directory: &Path) -> Outcome<Source> {
    let call = as_call(expr, "a source such as digits() or idx(\"dir\")")?;
    match call.callee.text.as_str() {
        "digits" => call_values(&call, &[]).map(|_| Source::Digits),
        "idx" => {
            let values = call_values(&call, &["dir"])?;
            match values.into_iter().next().flatten() {
                Some(Argument { value: Value::String(path), .. }) => Ok(Source::Idx(directory.join(path))),
                Some(argument) => {
                    let span = argument.span.unwrap_or(expr.span);
                    Err(at(format!("`dir` is a string, not {}", argument.value.kind()), span))
                }
                None => Err(crate::elab::arguments::missing(&call.callee, "dir")),
            }
        }
        _ => {
            let later = ["cifar10", "cifar100", "folder", "npz", "synthetic"];
            Err(unknown(&call, "source", &["digits", "idx"], &later))
        }
    }
}

/// `a(...) |> b(...)`, in the order in which it is done.
fn prepare(expr: &Expr) -> Outcome<Vec<Prepare>> {
    let (mut steps, mut rest) = (Vec::new(), expr);
    while let ExprKind::Pipe { value, call } = &rest.kind {
        steps.push(prepare_step(call)?);
        rest = value;
    }
    steps.push(prepare_step(&as_call(rest, "a step such as normalize(0.5, 0.5)")?)?);
    steps.reverse();
    Ok(steps)
}

fn prepare_step(call: &Call) -> Outcome<Prepare> {
    if call.callee.text != "normalize" {
        let later = ["resize", "centercrop", "grayscale", "scale"];
        return Err(unknown(call, "step", &["normalize"], &later));
    }
    let mut values = call_values(call, &["mean", "std"])?.into_iter();
    let mean = numbers(call, "mean", values.next().flatten())?;
    let std = numbers(call, "std", values.next().flatten())?;
    if mean.len() != std.len() {
        let message = format!("`normalize` has {} means and {} deviations", mean.len(), std.len());
        return Err(at(message, call.callee.span));
    }
    if std.contains(&0.0) {
        return Err(at("`normalize` divides by a deviation of 0", call.callee.span));
    }
    Ok(Prepare::Normalize { mean, std })
}

/// A number, or a list of numbers.
fn numbers(call: &Call, name: &str, argument: Option<Argument>) -> Outcome<Vec<f64>> {
    let argument = argument.ok_or_else(|| crate::elab::arguments::missing(&call.callee, name))?;
    let list = match &argument.value {
        Value::List(values) => values.clone(),
        value => vec![value.clone()],
    };
    let numbers: Option<Vec<f64>> = list.iter().map(Value::as_real).collect();
    numbers.filter(|numbers| !numbers.is_empty() && numbers.iter().all(|x| x.is_finite())).ok_or_else(|| {
        let message = format!("`{name}` is a number or a list of numbers, not {}", argument.value);
        at(message, argument.span.unwrap_or(call.callee.span))
    })
}

fn classes(expr: &Expr) -> Outcome<Vec<String>> {
    let wrong = || at("`classes` is a list of strings", expr.span);
    let Value::List(values) = constant(expr)? else { return Err(wrong()) };
    let name = |value: Value| match value {
        Value::String(name) => Ok(name),
        _ => Err(wrong()),
    };
    values.into_iter().map(name).collect()
}
