//! Tests of the front end: samples, exact diagnostics, formatting, round trips.

mod samples;
mod soup;

use crate::base::source::SourceMap;

use super::ast::File;

/// Parses a text and renders what is wrong with it.
fn parse_text(text: &str) -> (File, String) {
    let mut sources = SourceMap::default();
    let file = sources.add("model.cnn", text);
    let (tree, diagnostics) = super::parse(file, text);
    let rendered: Vec<String> =
        diagnostics.iter().map(|diagnostic| diagnostic.render(&sources, false)).collect();
    (tree, rendered.join("\n\n"))
}
