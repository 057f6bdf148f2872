//! The check that an item's brackets match, which comes before its grammar.
//!
//! Indentation tells which of several braces was forgotten.

use crate::base::diagnostic::Diagnostic;
use crate::base::span::FileId;

use super::token::{Kind, Token};

/// What is wrong with the brackets of an item.
#[derive(Default)]
pub struct Findings {
    pub diagnostics: Vec<Diagnostic>,
    /// Whether a brace is open at the item's end.
    pub unclosed: bool,
}

/// Checks the brackets of an item. The token behind it is the next item's first.
pub fn check(tokens: &[Token], next: Option<Token>, text: &str, file: FileId) -> Findings {
    let mut check = Brackets { file, text, open: Vec::new(), doubtful: None, diagnostics: Vec::new() };
    let mut line = Line::default();
    let mut before = 0;
    for token in tokens {
        line.move_to(&text[before..token.start as usize]);
        check.token(*token, line);
        before = token.end as usize;
    }
    let unclosed = check.finish(next);
    Findings { diagnostics: check.diagnostics, unclosed }
}

/// What is known of the line of a token.
#[derive(Clone, Copy, Debug, Default)]
struct Line<'a> {
    /// The white space before its first token.
    indentation: &'a str,
    /// Whether the token is the first.
    first: bool,
}

impl<'a> Line<'a> {
    /// Goes on to the next token over the space (and comments) before it.
    fn move_to(&mut self, space: &'a str) {
        self.first = false;
        if let Some((_, indentation)) = space.rsplit_once('\n') {
            *self = Line { indentation, first: true };
        }
    }
}

struct Brackets<'a> {
    file: FileId,
    text: &'a str,
    open: Vec<(Token, Line<'a>)>,
    /// A brace whose partner is indented as if for another.
    doubtful: Option<(Token, Token)>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Brackets<'a> {
    fn token(&mut self, token: Token, line: Line<'a>) {
        match token.kind {
            Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => self.open.push((token, line)),
            Kind::Semicolon => self.close_round(token, "the statement ends here"),
            Kind::CloseBrace => {
                self.close_round(token, "the block ends here");
                self.close(token, line, Kind::OpenBrace);
            }
            Kind::CloseParen => self.close(token, line, Kind::OpenParen),
            Kind::CloseBracket => self.close(token, line, Kind::OpenBracket),
            _ => {}
        }
    }

    /// Reports a parenthesis or bracket that is open where its statement ends.
    fn close_round(&mut self, end: Token, why: &str) {
        let mut first = true;
        while let Some((open, _)) = self.open.pop_if(|(open, _)| open.kind != Kind::OpenBrace) {
            if std::mem::take(&mut first) {
                self.diagnostics.push(self.not_closed(open).secondary(end.span(self.file), why));
            }
        }
    }

    fn close(&mut self, close: Token, line: Line, kind: Kind) {
        match self.open.last().copied() {
            Some((open, opening_line)) if open.kind == kind => {
                let odd = line.first && line.indentation != opening_line.indentation;
                let inner = kind == Kind::OpenBrace && self.open.len() > 1;
                if odd && inner && self.doubtful.is_none() {
                    self.doubtful = Some((open, close));
                }
                self.open.pop();
            }
            Some((open, _)) if open.kind != Kind::OpenBrace => {
                self.diagnostics.push(self.mismatch(open, close));
                self.open.pop();
            }
            _ => self.diagnostics.push(self.closes_nothing(close, kind)),
        }
    }

    /// Reports a bracket that is open at the end; whether it is a brace.
    fn finish(&mut self, next: Option<Token>) -> bool {
        let Some((open, _)) = self.open.pop() else { return false };
        let is_brace = open.kind == Kind::OpenBrace;
        let error = match (self.doubtful, next) {
            (Some((inner, close)), _) if is_brace => self
                .not_closed(inner)
                .secondary(close.span(self.file), "closes it, but is indented as if for another")
                .secondary(open.span(self.file), "so that this one stays open"),
            (_, Some(next)) => {
                self.not_closed(open).secondary(next.span(self.file), "the next item begins here")
            }
            (_, None) => self.not_closed(open),
        };
        self.diagnostics.push(error);
        is_brace
    }

    fn not_closed(&self, open: Token) -> Diagnostic {
        Diagnostic::error(format!("this `{}` is not closed", open.text(self.text)))
            .primary(open.span(self.file), format!("lacks its `{}`", partner(open.kind)))
    }

    fn mismatch(&self, open: Token, close: Token) -> Diagnostic {
        let [opening, closing] = [open, close].map(|token| token.text(self.text));
        Diagnostic::error(format!("`{opening}` is closed by `{closing}`"))
            .primary(close.span(self.file), format!("expected `{}`", partner(open.kind)))
            .secondary(open.span(self.file), "opened here")
    }

    fn closes_nothing(&self, close: Token, kind: Kind) -> Diagnostic {
        Diagnostic::error(format!("this `{}` closes nothing", close.text(self.text)))
            .primary(close.span(self.file), format!("no `{}` is open here", opening_of(kind)))
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
