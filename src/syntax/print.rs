//! The AST as canonical text: what all parts share, and the bodies in braces.
//!
//! Documents are made in the order of the text, and comments are woven in as their places come by. Without a source
//! there are no comments, and literals are printed from their values. Items are printed in `print_item`, expressions
//! in `print_expr`.

use crate::base::span::Span;

use super::ast::{Block, Expr, File, Name, Text};
use super::layout::{Comment, Doc, group, nest, text};
use super::literal;
use super::token::Token;

/// The text that an AST comes from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub text: &'a str,
    /// In order; the printer takes off those that it has printed.
    pub comments: &'a [Token],
}

/// Makes documents of an AST.
pub struct Printer<'a> {
    source: Option<Source<'a>>,
    /// Whether arithmetic is written without spaces, as in indices.
    pub(super) tight: bool,
}

/// How the entries of a body are separated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// By so many spaces, on one line if it fits.
    Inline(&'static str),
    /// Each begins a line.
    Lines,
    /// Each begins a line, unless it shared one in the source and fits there.
    SharedLines,
}

/// The document of a whole file.
pub fn file(file: &File, source: Option<Source>) -> Doc {
    let mut printer = Printer { source, tight: false };
    let mut parts = Vec::new();
    for (at, item) in file.items.iter().enumerate() {
        parts.extend(printer.entry(item.span(), Body::Lines, at == 0, |printer| {
            let apart = if printer.source.is_none() { Doc::Blank } else { nothing() };
            Doc::Concat(vec![apart, printer.item(item)])
        }));
    }
    parts.extend(printer.comments_before(u32::MAX));
    Doc::Concat(parts)
}

/// The document of an expression, without a source.
pub fn expression(expr: &Expr) -> Doc {
    Printer { source: None, tight: false }.expr(expr)
}

/// An empty document.
pub(super) fn nothing() -> Doc {
    Doc::Concat(Vec::new())
}

// What the source knows.
impl Printer<'_> {
    /// The comments that come before a place and are not printed yet.
    pub(super) fn comments_before(&mut self, place: u32) -> Vec<Doc> {
        let Some(source) = &mut self.source else { return Vec::new() };
        let count = source.comments.partition_point(|comment| comment.start < place);
        let (before, after) = source.comments.split_at(count);
        source.comments = after;
        let text = source.text;
        before.iter().map(|comment| Doc::Comment(woven(*comment, text))).collect()
    }

    fn slice(&self, span: Span) -> Option<&str> {
        self.source.as_ref()?.text.get(span.start as usize..span.end as usize)
    }

    /// The text before a byte.
    fn before(&self, place: u32) -> Option<&str> {
        self.source.as_ref()?.text.get(..place as usize)
    }

    /// Whether a place is the first of its line in the source; `None` without one.
    fn begins_line(&self, place: u32) -> Option<bool> {
        self.before(place).map(|before| space_behind(before).contains('\n'))
    }

    /// Whether the step that begins at a place begins a line, or the pipe sign before it does.
    pub(super) fn step_begins_line(&self, place: u32) -> bool {
        let Some(before) = self.before(place) else { return false };
        let before_sign = before.trim_end().strip_suffix("|>").unwrap_or(before);
        space_behind(before).contains('\n') || space_behind(before_sign).contains('\n')
    }

    /// Whether the source has a span on one line; `otherwise` without a source.
    pub(super) fn on_one_line(&self, span: Span, otherwise: bool) -> bool {
        self.slice(span).map_or(otherwise, |text| !text.contains('\n'))
    }

    /// A literal as the source has it, else as its value says.
    pub(super) fn literal(&mut self, span: Span, value: impl FnOnce() -> String) -> Doc {
        let text = self.slice(span).map_or_else(value, str::to_owned);
        self.leaf(span, &text)
    }
}

// Words and lists.
impl Printer<'_> {
    /// A word, behind the comments before it.
    pub(super) fn leaf(&mut self, span: Span, word: &str) -> Doc {
        let mut parts = self.comments_before(span.start);
        parts.push(text(word));
        if parts.len() == 1 { text(word) } else { Doc::Concat(parts) }
    }

    pub(super) fn name(&mut self, name: &Name) -> Doc {
        self.leaf(name.span, &name.text)
    }

    pub(super) fn text(&mut self, text: &Text) -> Doc {
        self.literal(text.span, || literal::quote(&text.value))
    }

    /// `(a, b)` on one line, or one item a line. The comments come last.
    pub(super) fn list(&mut self, open: &str, items: Vec<Doc>, comments: Vec<Doc>, close: &str) -> Doc {
        if items.is_empty() && comments.is_empty() {
            return text(format!("{open}{close}"));
        }
        let mut parts = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            parts.extend(if at == 0 { vec![Doc::Line("")] } else { vec![text(","), Doc::Line(" ")] });
            parts.push(item);
        }
        parts.extend(comments);
        group(vec![text(open), nest(parts), Doc::Line(""), text(close)])
    }
}

// Bodies.
impl Printer<'_> {
    /// One entry of a body, with what separates it from the one before.
    pub(super) fn entry(
        &mut self,
        span: Span,
        body: Body,
        first: bool,
        print: impl FnOnce(&mut Self) -> Doc,
    ) -> Vec<Doc> {
        let mut parts = self.comments_before(span.start);
        let shares = !first && self.begins_line(span.start) == Some(false);
        match body {
            Body::Inline(space) => parts.push(Doc::Line(if first { " " } else { space })),
            Body::SharedLines if shares => {
                parts.push(Doc::Fill(Box::new(print(self))));
                return parts;
            }
            Body::Lines | Body::SharedLines => {
                let before = self.before(span.start).unwrap_or("");
                parts.extend([
                    Doc::Break,
                    if is_blank(space_behind(before)) { Doc::Blank } else { nothing() },
                ]);
            }
        }
        parts.push(print(self));
        parts
    }

    /// `{ entries }`, where the closing brace is the last byte of the span. It belongs into a group.
    pub(super) fn braces(&mut self, mut entries: Vec<Doc>, body: Body, span: Span) -> Doc {
        entries.extend(self.comments_before(span.end.saturating_sub(1)));
        if entries.is_empty() {
            return text("{}");
        }
        let end = if matches!(body, Body::Inline(_)) { Doc::Line(" ") } else { Doc::Break };
        Doc::Concat(vec![text("{"), nest(entries), end, text("}")])
    }

    /// A body of entries that all are of one kind.
    pub(super) fn entries<T>(
        &mut self,
        items: &[T],
        body: Body,
        place: impl Fn(&T) -> Span,
        mut print: impl FnMut(&mut Self, &T) -> Doc,
    ) -> Vec<Doc> {
        let entry = |(at, item)| self.entry(place(item), body, at == 0, |printer| print(printer, item));
        items.iter().enumerate().flat_map(entry).collect()
    }

    pub(super) fn block(&mut self, block: &Block, body: Body) -> Doc {
        let mut entries =
            self.entries(&block.stmts, body, |stmt| stmt.span, |printer, stmt| printer.stmt(stmt));
        if let Some(tail) = &block.tail {
            let first = block.stmts.is_empty();
            entries.extend(self.entry(tail.span, body, first, |printer| printer.expr(tail)));
        }
        self.braces(entries, body, block.span)
    }
}

/// A comment of a text, as the layout wants it.
fn woven(comment: Token, text: &str) -> Comment {
    let before = &text[..comment.start as usize];
    let space = space_behind(before);
    let alone = space.contains('\n') || space.len() == before.len();
    Comment { text: comment.text(text).trim_end().to_owned(), alone, blank: is_blank(space) }
}

/// The white space at the end of a text.
fn space_behind(text: &str) -> &str {
    &text[text.trim_end().len()..]
}

/// Whether white space has an empty line.
fn is_blank(space: &str) -> bool {
    space.matches('\n').count() > 1
}
