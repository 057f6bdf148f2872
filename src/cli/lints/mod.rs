//! What is allowed but probably not meant.
//!
//! [`names`] looks at the text: names that nothing uses. [`layers`] looks at a model's graph: combinations of layers
//! that waste work or do not learn. [`divisions`] looks at what another text would come to: remainders that are lost.
//! [`memory`] looks at the machine: steps that need more than it has.
//! A warning of `layers` and `divisions` has a name, and a comment `// allow(NAME)` on its line or on the one above
//! silences it.

pub mod divisions;
pub mod layers;
pub mod memory;
pub mod names;

use crate::base::diagnostic::Diagnostic;
use crate::base::source::SourceMap;
use crate::base::span::Span;

/// A warning with a name, unless a comment allows it.
fn named_warning(
    sources: &SourceMap,
    name: &str,
    span: Span,
    message: String,
    fix: &str,
) -> Option<Diagnostic> {
    let warning = Diagnostic::warning(message).primary(span, "").help(fix);
    let warning = warning.note(format!("`// allow({name})` on this line or the one above silences this"));
    (!is_allowed(sources, span, name)).then_some(warning)
}

/// Whether a comment on the line of a span, or on the one above, allows a warning.
fn is_allowed(sources: &SourceMap, span: Span, name: &str) -> bool {
    let line = sources.position(span).line;
    let mut lines = sources.text(span.file).lines().skip(line.saturating_sub(2));
    let allowed = format!("allow({name})");
    let near = if line > 1 { 2 } else { 1 };
    lines
        .by_ref()
        .take(near)
        .any(|text| text.split_once("//").is_some_and(|(_, comment)| comment.contains(&allowed)))
}
