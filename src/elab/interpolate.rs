//! Values in strings: `"layer{i}.{j}"`, `"output height {(H - k)/s + 1}"`.

use super::Outcome;
use super::evaluate::at;
use crate::base::source::SourceMap;
use crate::base::span::Span;
use crate::syntax::ast::{Expr, Item, SettingKind};

/// A part of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Text(&'a str),
    /// What stands between braces.
    Expr(&'a str),
}

/// Splits a string at its braces; an open brace without its partner is text.
pub fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((expr, tail)) = after.split_once('}') else { break };
        parts.push(Part::Text(before));
        parts.push(Part::Expr(expr));
        rest = tail;
    }
    parts.push(Part::Text(rest));
    parts
}

/// Parses an expression that stands alone; `span` is the place that errors point at.
pub fn parse(source: &str, span: Span) -> Outcome<Expr> {
    let text = format!("data it {{ it = {source}; }}");
    let file = SourceMap::default().add("expression", text.as_str());
    let (parsed, diagnostics) = crate::syntax::parse(file, &text);
    let wrong = || at(format!("`{source}` is not an expression"), span);
    if !diagnostics.is_empty() {
        return Err(wrong());
    }
    let [Item::Data(data)] = parsed.items.as_slice() else { return Err(wrong()) };
    let [setting] = data.settings.as_slice() else { return Err(wrong()) };
    match &setting.kind {
        SettingKind::Key { value, .. } => Ok(value.clone()),
        SettingKind::Phase { .. } => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_split() {
        assert_eq!(
            split("a{i}b{j + 1}"),
            [Part::Text("a"), Part::Expr("i"), Part::Text("b"), Part::Expr("j + 1"), Part::Text("")]
        );
        assert_eq!(split("a{"), [Part::Text("a{")]);
    }
}
