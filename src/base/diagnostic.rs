//! Errors and warnings that point into source files, and their rendering.
//!
//! A diagnostic is data; every stage makes them, and only [`Diagnostic::render`] needs the texts. Spans may come from
//! anywhere: rendering never panics on one.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{SourceMap, floor_boundary};
use super::span::{FileId, Span};
use super::visible;

/// Whether the compilation can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// A place that matters and what is to be said about it, perhaps nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
    /// Whether this is the place of the error, not one that explains it.
    pub primary: bool,
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub labels: Vec<Label>,
    /// What else is known.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, message.into())
    }

    /// A warning without a place yet.
    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Diagnostic {
        Diagnostic { severity, message, labels: Vec::new(), notes: Vec::new(), help: None }
    }

    /// Adds the place of the error; an empty text only underlines it.
    pub fn primary(self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.with_label(span, text.into(), true)
    }

    /// Adds a place that explains the error.
    pub fn secondary(self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.with_label(span, text.into(), false)
    }

    fn with_label(mut self, span: Span, text: String, primary: bool) -> Diagnostic {
        self.labels.push(Label { span, text, primary });
        self
    }

    /// Adds a sentence of background.
    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// "did you mean `lr`?", where there is a near name.
    pub fn did_you_mean(self, nearest: Option<&str>) -> Diagnostic {
        match nearest {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The place of the error: the first primary label, or the first label.
    pub fn span(&self) -> Option<Span> {
        let primary = self.labels.iter().find(|label| label.primary);
        primary.or(self.labels.first()).map(|label| label.span)
    }

    /// The diagnostic as text for people, without a line break at its end.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(visible::lines(&self.message)));
        for file in self.files() {
            group = group.element(self.snippet(sources, file));
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(visible::lines(note)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(visible::lines(help)));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }

    /// The files of the labels, that of the error first.
    fn files(&self) -> Vec<FileId> {
        let mut files: Vec<FileId> = self.span().iter().map(|span| span.file).collect();
        for label in &self.labels {
            if !files.contains(&label.span.file) {
                files.push(label.span.file);
            }
        }
        files
    }

    /// The lines of one file with its labels.
    fn snippet<'a>(&'a self, sources: &'a SourceMap, file: FileId) -> Snippet<'a, Annotation<'a>> {
        let source = sources.file(file);
        let labels = self.labels.iter().filter(|label| label.span.file == file);
        Snippet::source(visible::in_place(&source.text)).path(visible::name(&source.name)).annotations(
            labels.map(|label| label.annotation(range_in(&source.text, label.span))).collect::<Vec<_>>(),
        )
    }
}

impl Label {
    fn annotation(&self, range: Range<usize>) -> Annotation<'_> {
        let kind = if self.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
        let text = (!self.text.is_empty()).then(|| visible::lines(&self.text));
        kind.span(range).label(text)
    }
}

/// A span as a range that lies within the text and between characters.
fn range_in(text: &str, span: Span) -> Range<usize> {
    let start = floor_boundary(text, span.start);
    start..floor_boundary(text, span.end).max(start)
}

/// What a stage found, in the order in which it found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Whether any is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(Diagnostic::is_error)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of diagnostics.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// All, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// All as text for people, an empty line between two.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let texts: Vec<String> = self.iter().map(|diagnostic| diagnostic.render(sources, color)).collect();
        texts.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Diagnostics {
        Diagnostics { list: vec![diagnostic] }
    }
}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(list: Vec<Diagnostic>) -> Diagnostics {
        Diagnostics { list }
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.list.extend(diagnostics);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> (SourceMap, FileId, FileId) {
        let mut sources = SourceMap::default();
        let model = sources.add("model.cnn", "model M(x: f32[N, 4]) {\n  x |> conv(8, k=7)\n}\n");
        let library = sources.add("std/layers.cnn", "block conv(x: f32[N, C, H, W]) {\n}\n");
        (sources, model, library)
    }

    fn at(file: FileId, start: u32, end: u32) -> Span {
        Span { file, start, end }
    }

    #[test]
    fn rendering() {
        let (sources, model, library) = sources();
        let diagnostic = Diagnostic::error("`conv` takes a tensor with 4 axes")
            .primary(at(model, 31, 35), "called here")
            .secondary(at(model, 11, 20), "this one has 2")
            .secondary(at(library, 14, 29), "")
            .note("the axes are batch, channels, height and width")
            .help("use `linear`");
        insta::assert_snapshot!(diagnostic.render(&sources, false), @r"
        error: `conv` takes a tensor with 4 axes
         --> model.cnn:2:8
          |
        1 | model M(x: f32[N, 4]) {
          |            --------- this one has 2
        2 |   x |> conv(8, k=7)
          |        ^^^^ called here
          |
         ::: std/layers.cnn:1:15
          |
        1 | block conv(x: f32[N, C, H, W]) {
          |               ---------------
          |
          = note: the axes are batch, channels, height and width
          = help: use `linear`
        ");
    }

    /// What would move the cursor does not, and the marks stay below what they are about.
    #[test]
    fn lines_of_a_source_are_safe_to_show() {
        let mut sources = SourceMap::default();
        let text = "let a\u{1b}\u{9b}\u{85} = \u{2028}\u{202e}\u{200f}\u{61c}x;\n";
        let file = sources.add("m\u{9b}.cnn", text);
        let start = text.find("x;").unwrap() as u32;
        let diagnostic = Diagnostic::error("`a\u{9b}`").primary(at(file, start, start + 1), "this\u{85}");
        insta::assert_snapshot!(diagnostic.render(&sources, false), @r"
        error: `a\u{9b}`
         --> m\u{9b}.cnn:1:16
          |
        1 | let a␛·· = ���·x;
          |                ^ this\u{85}
        ");
    }

    #[test]
    fn no_span_panics() {
        let (sources, model, _) = sources();
        for start in 0..70 {
            for end in 0..70 {
                let diagnostic = Diagnostic::warning("w").primary(at(model, start, end), "here");
                assert!(diagnostic.render(&sources, true).contains("here"));
            }
        }
        assert_eq!(Diagnostic::warning("w").render(&sources, false), "warning: w");
    }
}
