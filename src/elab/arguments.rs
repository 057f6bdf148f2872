//! Matching of arguments with parameters: by position, then by name.

use super::Outcome;
use super::evaluate::{Argument, at};
use super::foreign;
use crate::base::diagnostic::Diagnostic;
use crate::syntax::ast::Name;

/// For every parameter the place of its argument, where it has one.
pub fn match_arguments(
    callee: &Name,
    parameters: &[&str],
    arguments: &[Argument],
) -> Outcome<Vec<Option<usize>>> {
    let mut places = vec![None; parameters.len()];
    let mut next = 0;
    for (place, argument) in arguments.iter().enumerate() {
        let parameter = match &argument.name {
            Some(name) => by_name(callee, parameters, name)?,
            None => {
                next += 1;
                next - 1
            }
        };
        if parameter >= parameters.len() {
            return Err(too_many(callee, parameters, argument));
        }
        if places[parameter].replace(place).is_some() {
            let error = format!("`{}` gets `{}` twice", callee.text, parameters[parameter]);
            return Err(at(error, argument.span.unwrap_or(callee.span)));
        }
    }
    Ok(places)
}

/// The place of the argument of every parameter, none of which has a default.
pub fn match_all(callee: &Name, parameters: &[&str], arguments: &[Argument]) -> Outcome<Vec<usize>> {
    let places = match_arguments(callee, parameters, arguments)?;
    let found = parameters.iter().zip(places);
    found.map(|(parameter, place)| place.ok_or_else(|| missing(callee, parameter))).collect()
}

fn by_name(callee: &Name, parameters: &[&str], name: &Name) -> Outcome<usize> {
    parameters.iter().position(|parameter| *parameter == name.text).ok_or_else(|| {
        let error = at(format!("`{}` has no argument `{}`", callee.text, name.text), name.span);
        foreign::suggest_argument(error.note(takes(callee, parameters)), &name.text, parameters)
    })
}

fn too_many(callee: &Name, parameters: &[&str], argument: &Argument) -> Diagnostic {
    let error = format!("`{}` gets too many arguments", callee.text);
    at(error, argument.span.unwrap_or(callee.span)).note(takes(callee, parameters))
}

fn takes(callee: &Name, parameters: &[&str]) -> String {
    match parameters {
        [] => format!("`{}` takes no arguments", callee.text),
        _ => format!("`{}` takes ({})", callee.text, parameters.join(", ")),
    }
}

/// A parameter without an argument and without a default.
pub fn missing(callee: &Name, parameter: &str) -> Diagnostic {
    at(format!("`{}` needs the argument `{parameter}`", callee.text), callee.span)
}
