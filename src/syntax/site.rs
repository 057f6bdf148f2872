//! The place of a syntax error: the tokens around it and what the grammar would take there.

use std::ops::Range;

use crate::base::span::{FileId, Span};

use super::token::{Kind, Token};

/// A place where the grammar does not take a token of an item, or the item's end.
pub struct Site<'a> {
    pub file: FileId,
    pub text: &'a str,
    /// The item's tokens. Their brackets match.
    pub tokens: &'a [Token],
    /// The token that is not taken; the number of tokens for the end.
    pub at: usize,
    /// The terminals of the grammar that would be taken.
    expected: Vec<&'a str>,
}

/// What a brace, parenthesis or bracket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// No bracket is open: between the item's first word and its body.
    Head,
    /// The settings of a data or train section, or of a phase.
    Settings,
    /// The equations of an op.
    Equations,
    /// The statements of a model, a block, a branch or a loop.
    Statements,
    /// `(`: arguments or parameters, also a parenthesised expression.
    Parentheses,
    /// `[`: a list, indices, axes or dims.
    Brackets,
}

impl<'a> Site<'a> {
    /// A place, with the names that LALRPOP gives to the terminals it expects.
    pub fn new(
        file: FileId,
        text: &'a str,
        tokens: &'a [Token],
        at: usize,
        expected: &'a [String],
    ) -> Site<'a> {
        let expected = expected.iter().map(|terminal| terminal.trim_matches('"')).collect();
        Site { file, text, tokens, at, expected }
    }

    /// Whether the grammar would take a terminal, named as in the grammar but without quotes.
    pub fn expects(&self, terminal: &str) -> bool {
        self.expected.contains(&terminal)
    }

    /// Whether an expression may begin here.
    pub fn expects_expression(&self) -> bool {
        self.expects("NUMBER")
    }

    /// Every terminal that would be taken.
    pub fn expected(&self) -> &[&'a str] {
        &self.expected
    }

    /// The kind of the token that is not taken, if it is not the end.
    pub fn found(&self) -> Option<Kind> {
        self.kind(0)
    }

    /// The kind of the token so many after the one that is not taken; those before are negative.
    pub fn kind(&self, offset: isize) -> Option<Kind> {
        self.token(offset).map(|token| token.kind)
    }

    /// The word or sign of a token, empty behind the ends.
    pub fn word(&self, offset: isize) -> &'a str {
        self.token(offset).map_or("", |token| token.text(self.text))
    }

    pub fn token(&self, offset: isize) -> Option<Token> {
        self.at.checked_add_signed(offset).and_then(|at| self.tokens.get(at)).copied()
    }

    /// Where a token stands; behind the end, the end of the last one.
    pub fn span(&self, offset: isize) -> Span {
        match self.token(offset) {
            Some(token) => token.span(self.file),
            None => self.behind(),
        }
    }

    /// The place behind the token before this one.
    pub fn behind(&self) -> Span {
        let end = self.tokens[..self.at].last().map_or(0, |token| token.end);
        Span { file: self.file, start: end, end }
    }

    /// Whether the token that is not taken is the first of its line, or the end.
    pub fn begins_line(&self) -> bool {
        match self.token(0) {
            Some(token) => self.text[self.behind().end as usize..token.start as usize].contains('\n'),
            None => true,
        }
    }

    /// Whether nothing stands between a token and the one before it.
    pub fn adjoins(&self, offset: isize) -> bool {
        match (self.token(offset - 1), self.token(offset)) {
            (Some(before), Some(token)) => before.end == token.start,
            _ => false,
        }
    }

    /// What the innermost open bracket holds.
    pub fn inside(&self) -> Inside {
        let Some(open) = self.open_bracket(self.at) else { return Inside::Head };
        match self.tokens[open].kind {
            Kind::OpenParen => Inside::Parentheses,
            Kind::OpenBracket => Inside::Brackets,
            _ => self.body(open),
        }
    }

    fn body(&self, open: usize) -> Inside {
        let outermost = self.open_bracket(open).is_none();
        match self.tokens[0].kind {
            Kind::Data | Kind::Train => Inside::Settings,
            Kind::Op if outermost => Inside::Equations,
            _ => Inside::Statements,
        }
    }

    /// The innermost bracket that is open before a token.
    pub fn open_bracket(&self, at: usize) -> Option<usize> {
        let mut closed = 0usize;
        for (place, token) in self.tokens[..at].iter().enumerate().rev() {
            match token.kind {
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => closed += 1,
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace if closed == 0 => return Some(place),
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => closed -= 1,
                _ => {}
            }
        }
        None
    }

    /// The statement, equation or setting around this place; `None` in the item's head, and where there is nothing.
    pub fn statement(&self) -> Option<Range<usize>> {
        let mut brace = self.open_bracket(self.at)?;
        while self.tokens[brace].kind != Kind::OpenBrace {
            brace = self.open_bracket(brace)?;
        }
        let mut start = brace + 1;
        while start < self.at {
            let end = self.statement_end(start);
            if end > self.at {
                break;
            }
            start = end;
        }
        let end = self.statement_end(start);
        (start < end).then_some(start..end)
    }

    /// The end of the statement that begins at a token, with its `;` or, for a compound one, its last `}`.
    fn statement_end(&self, start: usize) -> usize {
        let compound = matches!(self.tokens[start].kind, Kind::If | Kind::For | Kind::Phase);
        let mut depth = 0usize;
        for (at, token) in self.tokens.iter().enumerate().skip(start) {
            match token.kind {
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => depth += 1,
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace if depth == 0 => return at,
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => depth -= 1,
                _ => {}
            }
            let goes_on = self.tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Else);
            let ends_branches = compound && token.kind == Kind::CloseBrace && !goes_on;
            if depth == 0 && (token.kind == Kind::Semicolon || ends_branches) {
                return at + 1;
            }
        }
        self.tokens.len()
    }
}
