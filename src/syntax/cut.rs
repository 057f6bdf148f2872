//! Cutting a file into items, and the checks of an item's tokens that come before its grammar.
//!
//! The words that begin an item are reserved, so a place where one begins a line is where the next item begins, even
//! if a brace was forgotten before it. Each piece is then parsed alone, and an error in one hides none in another.

use std::ops::Range;

use crate::base::diagnostic::Diagnostic;
use crate::base::span::FileId;

use super::token::{Kind, Token};

/// How deep expressions, blocks and their operators may nest: the bound of every recursion over an AST.
const DEEPEST: usize = 500;

/// The tokens of each item, in order; text between items makes pieces of its own.
pub fn items(tokens: &[Token], text: &str) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        if at > start && begins_item(tokens, at, depth, text) {
            pieces.push(start..at);
            (start, depth) = (at, 0);
        }
        match token.kind {
            Kind::OpenBrace => depth += 1,
            Kind::CloseBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && ends_item(tokens[start].kind, token.kind) {
            pieces.push(start..at + 1);
            start = at + 1;
        }
    }
    if start < tokens.len() {
        pieces.push(start..tokens.len());
    }
    pieces
}

/// Whether an item may begin with this token.
pub fn is_item_word(kind: Kind) -> bool {
    use Kind::*;
    matches!(kind, Model | Inline | Block | Op | Data | Train | Use)
}

fn ends_item(first: Kind, last: Kind) -> bool {
    match first {
        Kind::Use => last == Kind::Semicolon,
        first => is_item_word(first) && last == Kind::CloseBrace,
    }
}

/// Whether an item begins here. Inside braces it must look like one as far as its name.
fn begins_item(tokens: &[Token], at: usize, depth: usize, text: &str) -> bool {
    let before = tokens[at - 1];
    let kind = tokens[at].kind;
    if !is_item_word(kind) || before.kind == Kind::Inline {
        return false;
    }
    let first_on_line = text[before.end as usize..tokens[at].start as usize].contains('\n');
    if depth == 0 {
        return first_on_line || matches!(before.kind, Kind::CloseBrace | Kind::Semicolon);
    }
    let next = tokens.get(at + 1).map(|token| token.kind);
    first_on_line
        && match kind {
            Kind::Use => next == Some(Kind::String),
            Kind::Inline => next == Some(Kind::Block),
            _ => next == Some(Kind::Name),
        }
}

/// What is wrong with the brackets of an item.
pub fn check_brackets(tokens: &[Token], text: &str, file: FileId) -> Vec<Diagnostic> {
    let mut check = Brackets { file, text, open: Vec::new(), doubtful: None, diagnostics: Vec::new() };
    for token in tokens {
        check.token(*token);
    }
    check.finish();
    check.diagnostics
}

struct Brackets<'a> {
    file: FileId,
    text: &'a str,
    open: Vec<Token>,
    /// A brace whose partner is indented as if for another.
    doubtful: Option<(Token, Token)>,
    diagnostics: Vec<Diagnostic>,
}

impl Brackets<'_> {
    fn token(&mut self, token: Token) {
        match token.kind {
            Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => self.open.push(token),
            Kind::Semicolon => self.close_round(token, "the statement ends here"),
            Kind::CloseBrace => {
                self.close_round(token, "the block ends here");
                self.close(token, Kind::OpenBrace);
            }
            Kind::CloseParen => self.close(token, Kind::OpenParen),
            Kind::CloseBracket => self.close(token, Kind::OpenBracket),
            _ => {}
        }
    }

    /// Reports a parenthesis or bracket that is open where its statement ends.
    fn close_round(&mut self, end: Token, why: &str) {
        let mut first = true;
        while let Some(open) = self.open.pop_if(|open| open.kind != Kind::OpenBrace) {
            if std::mem::take(&mut first) {
                let error = Diagnostic::error(format!("this `{}` is not closed", open.text(self.text)));
                self.diagnostics.push(
                    error
                        .primary(open.span(self.file), format!("lacks its `{}`", partner(open.kind)))
                        .secondary(end.span(self.file), why),
                );
            }
        }
    }

    fn close(&mut self, close: Token, kind: Kind) {
        let written = close.text(self.text);
        let place = close.span(self.file);
        match self.open.last().copied() {
            Some(open) if open.kind == kind => {
                self.note_indentation(open, close);
                self.open.pop();
            }
            Some(open) if open.kind != Kind::OpenBrace => {
                let opening = open.text(self.text);
                let error = Diagnostic::error(format!("`{opening}` is closed by `{written}`"));
                self.diagnostics.push(
                    error
                        .primary(place, format!("expected `{}`", partner(open.kind)))
                        .secondary(open.span(self.file), "opened here"),
                );
                self.open.pop();
            }
            _ => self.diagnostics.push(
                Diagnostic::error(format!("this `{written}` closes nothing"))
                    .primary(place, format!("no `{}` is open here", opening_of(kind))),
            ),
        }
    }

    fn note_indentation(&mut self, open: Token, close: Token) {
        let odd = indentation(self.text, close.start) != indentation(self.text, open.start);
        let alone = first_on_line(self.text, close.start);
        if open.kind == Kind::OpenBrace && alone && odd && self.doubtful.is_none() {
            self.doubtful = Some((open, close));
        }
    }

    fn finish(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let file = self.file;
        let error =
            |token: Token| Diagnostic::error(format!("this `{}` is not closed", token.text(self.text)));
        let lacks = |token: Token| format!("lacks its `{}`", partner(token.kind));
        self.diagnostics.push(match self.doubtful {
            Some((inner, close)) if open.kind == Kind::OpenBrace => error(inner)
                .primary(inner.span(file), lacks(inner))
                .secondary(close.span(file), "closes it, but is indented as if for another")
                .secondary(open.span(file), "so that this one stays open"),
            _ => error(open).primary(open.span(file), lacks(open)),
        });
    }
}

fn partner(open: Kind) -> &'static str {
    match open {
        Kind::OpenParen => ")",
        Kind::OpenBracket => "]",
        _ => "}",
    }
}

fn opening_of(open: Kind) -> &'static str {
    match open {
        Kind::OpenParen => "(",
        Kind::OpenBracket => "[",
        _ => "{",
    }
}

/// The white space before the first word of the line of a byte.
fn indentation(text: &str, offset: u32) -> &str {
    let line = line_start(text, offset);
    &text[line..text.len().min(line + leading_space(&text[line..]))]
}

fn first_on_line(text: &str, offset: u32) -> bool {
    let line = line_start(text, offset);
    line + leading_space(&text[line..]) == offset as usize
}

fn line_start(text: &str, offset: u32) -> usize {
    text[..offset as usize].rfind('\n').map_or(0, |newline| newline + 1)
}

fn leading_space(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Reports the first place of an item that nests too deep.
///
/// A tree over the tokens is at most as deep as the brackets around a token, and the operators before it at every
/// level of brackets since the last comma, semicolon or last branch of an `if` there.
pub fn check_depth(tokens: &[Token], file: FileId) -> Option<Diagnostic> {
    let mut levels = vec![0usize];
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        depth += deepens(token.kind);
        if let Some(level) = levels.last_mut() {
            *level += deepens(token.kind);
        }
        match token.kind {
            Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => levels.push(0),
            Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => depth -= levels.pop().unwrap_or(0),
            _ => {}
        }
        let next = tokens.get(at + 1).map(|token| token.kind);
        let ends_branches = token.kind == Kind::CloseBrace && next != Some(Kind::Else);
        if ends_branches || matches!(token.kind, Kind::Comma | Kind::Semicolon) {
            depth -= levels.last_mut().map_or(0, std::mem::take);
        }
        if depth > DEEPEST {
            return Some(too_deep(*token, file));
        }
    }
    None
}

fn too_deep(token: Token, file: FileId) -> Diagnostic {
    Diagnostic::error("this is nested too deeply")
        .primary(token.span(file), format!("more than {DEEPEST} operators, calls and brackets around this"))
        .help("name parts of it with `let`, or make blocks of them")
}

/// The levels of the tree that a token may add.
fn deepens(kind: Kind) -> usize {
    use Kind::*;
    match kind {
        OpenParen | OpenBracket | OpenBrace | As | Reduce | If | Else | For | Pipe | Dot | Eq | Ne | Le
        | Ge | Lt | Gt | Plus | Minus | Star | Slash | Percent | Not | And | Or => 1,
        _ => 0,
    }
}
