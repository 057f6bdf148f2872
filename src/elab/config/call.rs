//! The arguments of a call in a section, as typed values with errors at their places.

use super::settings::call_values;
use crate::base::diagnostic::Diagnostic;
use crate::elab::evaluate::{Argument, at};
use crate::elab::{Outcome, Value, arguments};
use crate::syntax::ast::Call;

/// A call whose arguments are matched with its parameters.
pub(super) struct Values<'a> {
    call: &'a Call,
    parameters: &'static [&'static str],
    values: Vec<Option<Argument>>,
}

impl<'a> Values<'a> {
    /// # Errors
    ///
    /// Arguments that no parameter takes.
    pub fn new(call: &'a Call, parameters: &'static [&'static str]) -> Outcome<Values<'a>> {
        Ok(Values { call, parameters, values: call_values(call, parameters)? })
    }

    fn get(&self, parameter: &str) -> Option<&Argument> {
        let place = self.parameters.iter().position(|known| *known == parameter);
        self.values[place.expect("a parameter of the call")].as_ref()
    }

    /// What `read` makes of an argument; none without one.
    ///
    /// # Errors
    ///
    /// Where `read` makes nothing of it; `wanted` says what would be right: "an integer from 1 to 3".
    fn read<T>(
        &self,
        parameter: &str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let Some(argument) = self.get(parameter) else { return Ok(None) };
        let found = read(&argument.value).map(Some);
        found.ok_or_else(|| self.error(parameter, &format!("is {wanted}, not {}", shown(&argument.value))))
    }

    /// An error about an argument.
    pub fn error(&self, parameter: &str, problem: &str) -> Diagnostic {
        let span = self.get(parameter).and_then(|argument| argument.span);
        at(format!("`{parameter}` {problem}"), span.unwrap_or(self.call.callee.span))
    }

    /// The value of an argument that must be there.
    pub fn required<T>(&self, parameter: &str, value: Option<T>) -> Outcome<T> {
        value.ok_or_else(|| arguments::missing(&self.call.callee, parameter))
    }

    /// A text.
    pub fn string(&self, parameter: &str) -> Outcome<Option<String>> {
        self.read(parameter, "a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// An integer between two bounds.
    pub fn integer(&self, parameter: &str, [least, most]: [i64; 2]) -> Outcome<Option<i64>> {
        let is_fine = |value: &i64| (least..=most).contains(value);
        let wanted = format!("an integer from {least} to {most}");
        self.read(parameter, &wanted, |value| value.as_int().filter(is_fine))
    }

    /// Several integers between two bounds; one stands for `COUNT` equal ones where `one_for_all`.
    pub fn integers<const COUNT: usize>(
        &self,
        parameter: &str,
        [least, most]: [i64; 2],
        one_for_all: bool,
    ) -> Outcome<Option<[usize; COUNT]>> {
        let number = |value: &Value| value.as_int().filter(|value| (least..=most).contains(value));
        let alone = if one_for_all { "an integer or " } else { "" };
        let wanted = format!("{alone}a list of {COUNT} integers, from {least} to {most}");
        let numbers = self.read(parameter, &wanted, |value| list(value, one_for_all, number))?;
        Ok(numbers.map(|numbers| numbers.map(|number| number as usize)))
    }

    /// A number between two bounds.
    pub fn number(&self, parameter: &str, [least, most]: [f64; 2]) -> Outcome<Option<f64>> {
        let is_fine = |value: &f64| (least..=most).contains(value);
        self.read(parameter, &number_wanted([least, most]), |value| value.as_real().filter(is_fine))
    }

    /// An interval `[low, high]` between two bounds, or one number that `widen` makes one of.
    pub fn interval(
        &self,
        parameter: &str,
        [least, most]: [f64; 2],
        widen: fn(f64) -> [f64; 2],
    ) -> Outcome<Option<[f64; 2]>> {
        let is_fine = |x: f64| (least..=most).contains(&x);
        let number = number_wanted([least.max(0.0), most]);
        let wanted = format!("{number}, or [low, high] from {least} to {most}");
        self.read(parameter, &wanted, |value| {
            let interval = match value.as_real() {
                Some(number) if number >= 0.0 => widen(number),
                Some(_) => return None,
                None => list::<2, f64>(value, false, Value::as_real)?,
            };
            (interval[0] <= interval[1] && interval.iter().all(|end| is_fine(*end))).then_some(interval)
        })
    }

    /// Two numbers between two bounds, or one for both.
    pub fn pair(&self, parameter: &str, [least, most]: [f64; 2]) -> Outcome<Option<[f64; 2]>> {
        let number = |value: &Value| value.as_real().filter(|value| (least..=most).contains(value));
        let wanted = format!("{} or a list of two", number_wanted([least, most]));
        self.read(parameter, &wanted, |value| list(value, true, number))
    }

    /// A number, or a list of numbers, all finite and at least one.
    pub fn numbers(&self, parameter: &str) -> Outcome<Option<Vec<f64>>> {
        self.read(parameter, "a number or a list of numbers", |value| {
            let values = match value {
                Value::List(values) => &values[..],
                value => std::slice::from_ref(value),
            };
            let numbers: Option<Vec<f64>> = values.iter().map(Value::as_real).collect();
            numbers.filter(|numbers| !numbers.is_empty() && numbers.iter().all(|x| x.is_finite()))
        })
    }
}

fn number_wanted([least, most]: [f64; 2]) -> String {
    format!("a number from {least} to {most}")
}

/// `COUNT` values of a list; one alone stands for all where `one_for_all`.
fn list<const COUNT: usize, T: Copy>(
    value: &Value,
    one_for_all: bool,
    read: impl Fn(&Value) -> Option<T>,
) -> Option<[T; COUNT]> {
    match value {
        Value::List(values) => {
            let values: Option<Vec<T>> = values.iter().map(read).collect();
            <[T; COUNT]>::try_from(values?).ok()
        }
        value if one_for_all => read(value).map(|value| [value; COUNT]),
        _ => None,
    }
}

/// A value as messages show it: numbers and lists themselves, others by their kind.
fn shown(value: &Value) -> String {
    match value {
        Value::Int(_) | Value::Real(_) | Value::List(_) => value.to_string(),
        _ => value.kind(),
    }
}
