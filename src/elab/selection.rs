//! Parts of a model by their paths: what a phase freezes, what a file of weights need not hold.
//!
//! `head`, `"layer1.0"`, `[stem, head.fc]`: everything under these instances. `!head`: everything else. `bn.stats`: the
//! running statistics under `bn` and not its parameters; `stats` alone: all of them.

use super::Outcome;
use super::evaluate::at;
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::syntax::ast::{Expr, ExprKind, UnaryOp};

/// The last component of a path that stands for the running statistics.
const STATISTICS: &str = "stats";

/// Some of a model's tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    parts: Vec<Part>,
    /// Whether it is all but the parts.
    inverted: bool,
}

/// An instance.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    path: String,
    /// Whether it is about the statistics only.
    statistics: bool,
    span: Span,
}

impl Part {
    fn holds(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&self.path);
        let inside =
            |rest: &str| planted!("elab.selection.prefix") || rest.is_empty() || rest.starts_with('.');
        self.path.is_empty() || rest.is_some_and(inside)
    }
}

impl Selection {
    /// The selection that an expression names.
    ///
    /// # Errors
    ///
    /// Where it is neither names of instances nor `!` before them.
    pub(super) fn parse(expr: &Expr) -> Outcome<Selection> {
        let (inverted, named) = match &expr.kind {
            ExprKind::Unary { op: UnaryOp::Not, operand } => (true, operand.as_ref()),
            _ => (false, expr),
        };
        let parts = match &named.kind {
            ExprKind::List(items) => {
                let key = items.iter().find_map(|item| item.name.as_ref());
                if let Some(key) = key {
                    return Err(at("names of instances are needed here, without keys", key.span));
                }
                items.iter().map(|item| part(&item.value)).collect::<Outcome<Vec<_>>>()?
            }
            _ => vec![part(named)?],
        };
        if let Some(part) = parts.iter().find(|part| part.statistics && inverted) {
            return Err(at("`!` is for instances, not for statistics", part.span));
        }
        Ok(Selection { parts, inverted: inverted && !planted!("elab.selection.inverted") })
    }

    /// Whether a parameter or state of this path is among them.
    pub fn holds(&self, path: &str) -> bool {
        self.parts.iter().any(|part| !part.statistics && part.holds(path)) != self.inverted
    }

    /// Whether the states that the instance of this path keeps are among them.
    pub fn holds_statistics(&self, instance: &str) -> bool {
        self.parts.iter().any(|part| part.holds(instance)) != self.inverted
    }

    /// An error where a part holds none of a model's tensors; `what` is the key that names it.
    ///
    /// # Errors
    ///
    /// A part of the selection that is none of the model, with the nearest one that is.
    pub fn check(&self, what: &str, paths: &[String]) -> Result<(), Diagnostic> {
        let unused = self.parts.iter().find(|part| !paths.iter().any(|path| part.holds(path)));
        let Some(part) = unused else { return Ok(()) };
        let mut instances: Vec<&str> = paths.iter().flat_map(|path| ancestors(path)).collect();
        instances.sort_unstable();
        instances.dedup();
        let known = instances.iter().copied();
        let error = at(format!("`{what}` names `{}`, but the model has no such part", part.path), part.span);
        let error = error.did_you_mean(nearest(&part.path, known));
        Err(error.note(format!("its parts are {}", outermost(&instances).join(", "))))
    }
}

/// The paths of the instances around a tensor: `a.b.weight` gives `a` and `a.b`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(at, _)| &path[..at])
}

/// The instances that are in no other one.
fn outermost<'a>(instances: &[&'a str]) -> Vec<&'a str> {
    instances.iter().copied().filter(|path| !path.contains('.')).collect()
}

fn part(expr: &Expr) -> Result<Part, Diagnostic> {
    let text = path_text(expr).ok_or_else(|| {
        at("the name of an instance is needed here", expr.span)
            .help("such as `head`, `head.fc` or \"layer1.0\"")
    })?;
    let (path, statistics) = match text.strip_suffix(STATISTICS) {
        Some("") => ("", true),
        Some(path) if path.ends_with('.') => (path.trim_end_matches('.'), true),
        _ => (text.as_str(), false),
    };
    Ok(Part { path: path.to_owned(), statistics, span: expr.span })
}

fn path_text(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(text) | ExprKind::String(text) if !text.is_empty() => Some(text.clone()),
        ExprKind::Field { base, name } => Some(format!("{}.{}", path_text(base)?, name.text)),
        _ => None,
    }
}
