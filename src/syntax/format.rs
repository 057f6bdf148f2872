//! Canonical text: `cnnc fmt`, and the text forms of tokens and AST.

use std::fmt::Write;

use crate::base::diagnostic::Diagnostic;
use crate::base::span::FileId;

use super::ast::{Expr, File};
use super::layout::render;
use super::print::{self, Source};
use super::token::lex;

/// The canonical text of a file, with its comments.
///
/// Formatting it again changes nothing. A single empty line between statements stays, and so does the author's
/// choice to write a block, a phase or several settings on one line, and to begin a line at a step of a long pipe, as
/// long as they fit.
pub fn format(file: FileId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let (tree, diagnostics) = super::parse(file, text);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let (tokens, _) = lex(file, text);
    Ok(render(&print::file(&tree, Some(Source { text, comments: &tokens.comments }))))
}

/// An AST as text that parses to it again: the canonical text without comments.
pub fn ast_text(tree: &File) -> String {
    render(&print::file(tree, None))
}

/// An expression as the canonical text has it, in one line.
pub fn expr_text(expr: &Expr) -> String {
    render(&print::expression(expr)).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The tokens of a file as text, one a line: place, kind and what is written.
pub fn tokens_text(file: FileId, text: &str) -> String {
    let mut lines = String::new();
    let (mut line, mut column, mut end) = (1, 1, 0);
    for token in lex(file, text).0.tokens {
        let between = &text[end..token.start as usize];
        match between.rsplit_once('\n') {
            Some((before, space)) => {
                line += before.matches('\n').count() + 1;
                column = space.chars().count() + 1;
            }
            None => column += between.chars().count(),
        }
        let word = token.text(text);
        let _ =
            writeln!(lines, "{:<8} {:<12} {word}", format!("{line}:{column}"), format!("{:?}", token.kind));
        column += word.chars().count();
        end = token.end as usize;
    }
    lines
}
