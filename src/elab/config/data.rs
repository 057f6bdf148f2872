//! Data sections.

use std::path::{Path, PathBuf};

use super::call::Values;
use super::overrides::Overrides;
use super::pictures::{Augment, Prepare, augment, prepare};
use super::settings::{Section, Settings, as_call, constant};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::base::visible;
use crate::elab::evaluate::at;
use crate::elab::foreign;
use crate::elab::model::listed;
use crate::elab::{Module, Outcome, Value};
use crate::syntax::ast::{Call, Data, Expr, ExprKind, Name};

pub(super) const DATA: Section = Section {
    word: "data",
    keys: &[
        "source",
        "test",
        "holdout",
        "seed",
        "validate",
        "shuffle",
        "drop_last",
        "prepare",
        "augment",
        "classes",
        "background",
    ],
};

const SOURCES: [&str; 7] = ["digits", "idx", "cifar10", "cifar100", "folder", "npz", "synthetic"];
/// Bounds of counts.
const COUNT: [i64; 2] = [1, u32::MAX as i64];

/// Where the samples come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedded handwritten digits, 8×8.
    Digits,
    /// A directory of IDX files, as MNIST comes.
    Idx(PathBuf),
    /// A directory of the binary version.
    Cifar10(PathBuf),
    Cifar100(PathBuf),
    /// A directory of picture files, a directory a class.
    Folder(PathBuf),
    /// A file of NumPy arrays.
    Npz(PathBuf),
    /// Made up: so many classes of pictures `[C, H, W]`.
    Synthetic {
        classes: usize,
        size: [usize; 3],
        train: usize,
        test: usize,
        seed: u64,
    },
}

/// How many samples are set apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// At least 1.
    Count(u32),
    /// Of all, above 0 and below 1.
    Share(f64),
}

/// A data section.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    pub name: String,
    pub source: Source,
    /// Samples that become the test split, of a source that has none of its own.
    pub test: Option<Amount>,
    /// Samples of the training split that are used for validation; with none there is no validation split, and the figures
    /// of an epoch are those of the test split.
    pub holdout: Option<Amount>,
    /// Numbers the draws of these.
    pub seed: u64,
    /// Whether rules may choose by the figures of the test split, where nothing is held out.
    pub validates_on_test: bool,
    pub shuffle: bool,
    /// Whether the last, smaller batch of an epoch is left out of training.
    pub drop_last: bool,
    /// In the order in which it is done.
    pub prepare: Vec<Prepare>,
    /// In the order in which it is done, to training samples alone.
    pub augment: Vec<Augment>,
    /// The names of the classes.
    pub classes: Option<Vec<String>>,
    /// What transparent pictures lie over: red, green and blue.
    pub background: [u8; 3],
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
        sections.iter().find(|data| data.name.text == name.text).copied().ok_or_else(|| {
            let known: Vec<&str> = sections.iter().map(|data| data.name.text.as_str()).collect();
            let error = at(format!("unknown data section `{}`", name.text), name.span);
            listed(error, "data sections", name, &known)
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
        let test = settings.read("test", |expr| amount("test", expr));
        let holdout = settings.read("holdout", holdout).flatten();
        let seed = settings.integer("seed", 0, i64::MAX, 0) as u64;
        let validates_on_test = settings.read("validate", validate).unwrap_or(false);
        if validates_on_test && holdout.is_some() {
            let span = settings.get("validate").map_or(data.span, |expr| expr.span);
            let error = at("images are held out, so `validate = test` says nothing", span);
            settings.errors.push(error.help("leave out `validate` or `holdout`"));
        }
        let (shuffle, drop_last) = (settings.truth("shuffle", true), settings.truth("drop_last", false));
        let prepare = settings.read("prepare", prepare).unwrap_or_default();
        let augment = settings.read("augment", augment).unwrap_or_default();
        let classes = settings.read("classes", classes);
        let background = settings.read("background", background).unwrap_or([u8::MAX; 3]);
        match (source, settings.errors.is_empty()) {
            (Some(source), true) => Ok(DataSpec {
                name: data.name.text.clone(),
                source,
                test,
                holdout,
                seed,
                validates_on_test,
                shuffle,
                drop_last,
                prepare,
                augment,
                classes,
                background,
                span: data.span,
            }),
            _ => Err(settings.errors),
        }
    }
}

/// A count or a share; with 0, nothing is held out.
fn holdout(expr: &Expr) -> Outcome<Option<Amount>> {
    match constant(expr)? {
        Value::Int(0) => Ok(None),
        _ => amount("holdout", expr).map(Some),
    }
}

/// A count or a share.
fn amount(key: &str, expr: &Expr) -> Outcome<Amount> {
    let most = i64::from(u32::MAX);
    let wrong = |what: &str| at(format!("`{key}` is {what}"), expr.span);
    match constant(expr)? {
        Value::Int(count) if count < 1 => Err(wrong(&format!("at least 1, not {count}"))),
        Value::Int(count) if count > most => Err(wrong(&format!("at most {most}, not {count}"))),
        Value::Int(count) => Ok(Amount::Count(count as u32)),
        Value::Real(share) if share > 0.0 && share < 1.0 => Ok(Amount::Share(share)),
        Value::Real(number) => {
            let error = wrong(&format!("a count, or a share between 0 and 1, not {number:?}"));
            Err(error.help("a count is an integer, such as 500; a share is a number, such as 0.1"))
        }
        value => Err(wrong(&format!("a count, or a share between 0 and 1, not {}", value.kind()))),
    }
}

/// `test`
fn validate(expr: &Expr) -> Outcome<bool> {
    match &expr.kind {
        ExprKind::Name(name) if name == "test" => Ok(true),
        _ => Err(at("`validate` is `test`, or left out", expr.span)
            .note("with `holdout = N`, so many training images validate, drawn of every class")),
    }
}

fn source(expr: &Expr, directory: &Path) -> Outcome<Source> {
    let call = as_call(expr, "a source such as digits() or idx(\"dir\")")?;
    match call.callee.text.as_str() {
        "digits" => Values::new(&call, &[]).map(|_| Source::Digits),
        "idx" => path(&call, &["dir"], directory).map(Source::Idx),
        "cifar10" => path(&call, &["dir"], directory).map(Source::Cifar10),
        "cifar100" => path(&call, &["dir"], directory).map(Source::Cifar100),
        "folder" => path(&call, &["dir"], directory).map(Source::Folder),
        "npz" => path(&call, &["file"], directory).map(Source::Npz),
        "synthetic" => synthetic(&call),
        name => {
            let error = at(format!("unknown source `{name}`"), call.callee.span);
            let error = error.note(format!("the sources are {}", SOURCES.join(", ")));
            Err(foreign::suggest(error, foreign::SOURCES, name, SOURCES))
        }
    }
}

/// The only argument of a call: a path from the model file's directory.
fn path(call: &Call, parameter: &'static [&'static str; 1], directory: &Path) -> Outcome<PathBuf> {
    let values = Values::new(call, parameter)?;
    let path = values.string(parameter[0])?;
    let directory = if planted!("elab.config.directory") { Path::new("") } else { directory };
    Ok(directory.join(values.required(parameter[0], path)?))
}

fn synthetic(call: &Call) -> Outcome<Source> {
    let values = Values::new(call, &["classes", "size", "images", "test", "seed"])?;
    let count = |name, default| Ok(values.integer(name, COUNT)?.unwrap_or(default) as usize);
    let seed = values.integer("seed", [0, i64::MAX])?.unwrap_or(0);
    Ok(Source::Synthetic {
        classes: values.integer("classes", [1, 1_000_000])?.unwrap_or(10) as usize,
        size: values.integers("size", [1, 1 << 16], false)?.unwrap_or([3, 32, 32]),
        train: count(if planted!("elab.config.synthetic") { "test" } else { "images" }, 1000)?,
        test: count("test", 200)?,
        seed: seed as u64,
    })
}

fn classes(expr: &Expr) -> Outcome<Vec<String>> {
    let wrong = || at("`classes` is a list of strings", expr.span);
    let Value::List(values) = constant(expr)? else { return Err(wrong()) };
    let name = |value: &Value| match value {
        Value::String(name) if visible::name(name) == *name => Ok(name.clone()),
        Value::String(_) => Err(at("a name of a class has characters that cannot be printed", expr.span)),
        _ => Err(wrong()),
    };
    values.iter().map(name).collect()
}

/// A colour in hexadecimal, `"#rrggbb"`.
fn background(expr: &Expr) -> Outcome<[u8; 3]> {
    let wrong = || {
        let error = at("`background` is a colour such as \"#ffffff\"", expr.span);
        error.note("two hexadecimal digits each say how much red, green and blue there is")
    };
    let Value::String(text) = constant(expr)? else { return Err(wrong()) };
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or_else(wrong)?;
    let digit = |at: usize| char::from(digits.as_bytes()[at]).to_digit(16).ok_or_else(wrong);
    let part = |at: usize| Ok((16 * digit(at)? + digit(at + 1)?) as u8);
    Ok([part(0)?, part(2)?, part(4)?])
}
