//! Reading of a section: its keys, their values, and all errors at once.

use std::collections::HashMap;

use super::data::DATA;
use super::train::TRAIN;
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::elab::arguments::match_arguments;
use crate::elab::evaluate::{Argument, arguments, at, evaluate};
use crate::elab::foreign;
use crate::elab::no_names::NoNames;
use crate::elab::{Outcome, Value, types};
use crate::syntax::ast::{Call, Expr, ExprKind, Name, Param, Setting, SettingKind};

/// A kind of section and its keys.
pub(super) struct Section {
    /// "data", "train", "phase".
    pub word: &'static str,
    pub keys: &'static [&'static str],
}

/// The values of a section under evaluation, and the errors so far.
pub(super) struct Settings<'a> {
    section: &'static Section,
    values: HashMap<&'a str, (&'a Expr, Span)>,
    pub errors: Vec<Diagnostic>,
}

impl<'a> Settings<'a> {
    /// The settings of a section; `overrides` replace them.
    pub fn new(
        section: &'static Section,
        settings: &'a [Setting],
        overrides: &'a [(Name, Expr)],
    ) -> Settings<'a> {
        let mut read = Settings { section, values: HashMap::new(), errors: Vec::new() };
        for setting in settings {
            if let SettingKind::Key { name, value } = &setting.kind {
                read.add(name, value);
            }
        }
        for (name, value) in overrides {
            read.values.remove(name.text.as_str());
            read.add(name, value);
        }
        read
    }

    /// The settings of a part, those of the whole where the part has none, and overrides of both.
    pub fn with_defaults(
        section: &'static Section,
        own: &'a [Setting],
        common: &'a [Setting],
        overrides: &'a [(Name, Expr)],
    ) -> Settings<'a> {
        let (own, common) = if planted!("elab.config.own_settings") { (common, own) } else { (own, common) };
        let mut read = Settings::new(section, own, &[]);
        for setting in common {
            if let SettingKind::Key { name, value } = &setting.kind
                && !read.values.contains_key(name.text.as_str())
            {
                read.add(name, value);
            }
        }
        for (name, value) in overrides {
            read.values.remove(name.text.as_str());
            read.add(name, value);
        }
        read
    }

    fn add(&mut self, name: &'a Name, value: &'a Expr) {
        let key = name.text.as_str();
        if !self.section.keys.contains(&key) {
            self.errors.push(self.unknown_key(name));
        } else if let Some((_, first)) = self.values.insert(key, (value, name.span)) {
            let error = at(format!("`{key}` is given twice"), name.span);
            self.errors.push(error.secondary(first, "first here"));
        }
    }

    /// The error of a key that is none of this section, with that of another framework's name, or the section that
    /// has it.
    fn unknown_key(&self, name: &Name) -> Diagnostic {
        let (key, Section { word, keys }) = (name.text.as_str(), self.section);
        let error = at(format!("unknown key `{key}` of a {word} section"), name.span)
            .note(format!("the keys are {}", keys.join(", ")));
        let near = nearest(key, keys.iter().copied());
        let here = foreign::find(foreign::KEYS, key).unwrap_or(key);
        let section = [&TRAIN, &DATA].into_iter().find(|section| section.keys.contains(&here));
        match section {
            Some(section) if !keys.contains(&here) => {
                let own = if here == key { String::new() } else { format!(" is called `{here}` here and") };
                error.help(format!("`{key}`{own} belongs in the {} section", section.word))
            }
            _ => foreign::suggest(error, foreign::KEYS, key, near),
        }
    }

    /// The expression of a key.
    pub fn get(&self, key: &str) -> Option<&'a Expr> {
        debug_assert!(self.section.keys.contains(&key), "{key}");
        self.values.get(key).map(|(value, _)| *value)
    }

    /// The value that `read` makes of a key; none where the key is missing or wrong.
    pub fn read<T>(&mut self, key: &str, read: impl FnOnce(&Expr) -> Outcome<T>) -> Option<T> {
        match read(self.get(key)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// Like [`Settings::read`], for a key that must be there.
    pub fn required<T>(
        &mut self,
        key: &str,
        section: Span,
        read: impl FnOnce(&Expr) -> Outcome<T>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            let message = format!("this {} section needs the key `{key}`", self.section.word);
            self.errors.push(at(message, section));
        }
        self.read(key, read)
    }

    /// An integer between two bounds.
    pub fn integer(&mut self, key: &str, least: i64, most: i64, default: i64) -> i64 {
        let read = |expr: &Expr| match constant(expr)? {
            Value::Int(value) if (least..=most).contains(&value) => Ok(value),
            Value::Int(value) if value < least => {
                Err(at(format!("`{key}` is at least {least}, not {value}"), expr.span))
            }
            Value::Int(value) => Err(at(format!("`{key}` is at most {most}, not {value}"), expr.span)),
            value => Err(at(format!("`{key}` is an integer, not {}", value.kind()), expr.span)),
        };
        self.read(key, read).unwrap_or(default)
    }

    /// A truth value.
    pub fn truth(&mut self, key: &str, default: bool) -> bool {
        let read = |expr: &Expr| match constant(expr)? {
            Value::Bool(value) => Ok(value),
            value => Err(at(format!("`{key}` is a truth value, not {}", value.kind()), expr.span)),
        };
        self.read(key, read).unwrap_or(default)
    }
}

/// The error of what the language has and this version does not.
pub(super) fn not_yet(what: &str, span: Span) -> Diagnostic {
    at(format!("`{what}` is not supported yet"), span)
}

/// The value of an expression without names.
pub(in crate::elab) fn constant(expr: &Expr) -> Outcome<Value> {
    evaluate(&mut NoNames::default(), expr)
}

/// The value as a parameter takes it.
pub(in crate::elab) fn accept_constant(
    callee: &str,
    param: &Param,
    value: Value,
    span: Span,
) -> Outcome<Value> {
    types::accept(&mut NoNames::default(), callee, param, value, span)
}

/// `name` or `name(arguments)`.
pub(in crate::elab) fn as_call(expr: &Expr, wanted: &str) -> Outcome<Call> {
    match &expr.kind {
        ExprKind::Name(text) => {
            let callee = Name { text: text.clone(), span: expr.span };
            Ok(Call { callee, args: Vec::new() })
        }
        ExprKind::Call(call) => Ok(call.clone()),
        _ => Err(at(format!("{wanted} is needed here"), expr.span)),
    }
}

/// The arguments of a call in the order of its parameters; all numbers are within the range of `f32`.
pub(in crate::elab) fn call_values(call: &Call, parameters: &[&str]) -> Outcome<Vec<Option<Argument>>> {
    let given = arguments(&mut NoNames::default(), call, None)?;
    let places = match_arguments(&call.callee, parameters, &given)?;
    for (name, place) in parameters.iter().zip(&places) {
        let Some(Argument { value, span, .. }) = place.map(|place| &given[place]) else { continue };
        let what = format!("`{name}` of `{}`", call.callee.text);
        check_range(&what, value, span.unwrap_or(call.callee.span))?;
    }
    Ok(places.into_iter().map(|place| place.map(|place| given[place].clone())).collect())
}

/// Checks the numbers of a setting, which become numbers of `f32`: one beyond them would be infinite there, and a step
/// with it would update nothing. What is infinite already is looked at where it is read.
pub(in crate::elab) fn check_range(what: &str, value: &Value, span: Span) -> Outcome<()> {
    let Some(number) = beyond_range(value) else { return Ok(()) };
    let is_part = !matches!(value, Value::Real(_));
    let verb = if is_part { "has" } else { "is" };
    Err(at(format!("{what} {verb} {number:e}, which is beyond the range of f32"), span))
}

/// The first number of a value that is finite, but not in `f32`.
fn beyond_range(value: &Value) -> Option<f64> {
    let is_beyond = |number: &f64| number.is_finite() && !(*number as f32).is_finite();
    match value {
        Value::Real(number) => Some(*number).filter(is_beyond),
        Value::List(values) => values.iter().find_map(beyond_range),
        Value::Scheme(scheme) => scheme.numbers().into_iter().find(is_beyond),
        Value::None
        | Value::Bool(_)
        | Value::Int(_)
        | Value::String(_)
        | Value::Tensor(_)
        | Value::Results(_) => None,
    }
}
