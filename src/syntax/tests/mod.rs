//! Tests of the front end: samples, exact diagnostics, formatting, round trips.

mod errors;
mod formatting;
mod round_trip;
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

/// A tree as text in which all spans are the same.
fn plain(tree: &File) -> String {
    let text = format!("{tree:?}");
    let mut parts = text.split("Span { ");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// So many random cases.
fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases: count, failure_persistence: None, ..Default::default() }
}
