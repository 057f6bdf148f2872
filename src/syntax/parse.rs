//! Text to AST, with as many true errors as one run can give.
//!
//! The file is cut into items, and each is parsed alone by the LALRPOP grammar. Where one fails, the error is
//! explained and the tokens are repaired: a forgotten `;` or `,` is put in, or the statement is taken out as far as
//! its `;` or `}`. Then the item is parsed again.

use std::cell::Cell;

use lalrpop_util::ParseError;

use crate::base::diagnostic::Diagnostic;
use crate::base::span::{FileId, Span};

use super::ast::{File, Item};
use super::brackets;
use super::build::Build;
use super::cut;
use super::explain::{self, Explanation, Repair};
use super::grammar::ItemParser;
use super::site::Site;
use super::token::{Kind, Token, lex};

/// Longer files are refused.
const LONGEST_FILE: usize = 4 << 20;
/// After so many errors in one item the rest is not worth reading.
const MOST_REPAIRS: usize = 16;
/// After so many errors the rest of the file is not read.
const MOST_ERRORS: usize = 64;

/// Parses a file. With errors, the tree holds the items, and in them the statements, that could be saved.
pub fn parse(file: FileId, text: &str) -> (File, Vec<Diagnostic>) {
    if text.len() > LONGEST_FILE {
        let start = Span { file, start: 0, end: 0 };
        let error = Diagnostic::error("this file is too long for a model").primary(start, "");
        return (File::default(), vec![error.note("files may have up to 4 MiB")]);
    }
    let (tokens, diagnostics) = lex(file, text);
    let mut parser = Parser {
        file,
        text,
        build: Build::new(file, text),
        unclosed: false,
        lexical: places(&diagnostics),
        diagnostics,
    };
    let mut items = Vec::new();
    for piece in cut::items(&tokens.tokens, text) {
        if parser.diagnostics.len() >= MOST_ERRORS {
            break;
        }
        let next = tokens.tokens.get(piece.end).copied();
        items.extend(parser.piece(&tokens.tokens[piece], next));
    }
    parser.diagnostics.sort_by_key(|diagnostic| diagnostic.span().map(|span| span.start));
    parser.diagnostics.truncate(MOST_ERRORS);
    (File { items }, parser.diagnostics)
}

/// Where the errors are.
fn places(diagnostics: &[Diagnostic]) -> Vec<u32> {
    diagnostics.iter().filter_map(|diagnostic| Some(diagnostic.span()?.start)).collect()
}

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    build: Build<'a>,
    /// Where the lexer has reported something. What the grammar says near these places is not new.
    lexical: Vec<u32>,
    /// Whether an item was left open, so that what follows may be its rest.
    unclosed: bool,
    diagnostics: Vec<Diagnostic>,
}

impl Parser<'_> {
    /// Parses one item, if it is one. The token behind it is the next item's first.
    fn piece(&mut self, tokens: &[Token], next: Option<Token>) -> Option<Item> {
        if !cut::is_item_word(tokens.first()?.kind) {
            if !self.is_known_to_be_wrong(tokens) && !self.unclosed {
                self.diagnostics.push(explain::not_an_item(tokens, self.text, self.file));
            }
            return None;
        }
        let before = self.diagnostics.len();
        let found = brackets::check(tokens, next, self.text, self.file);
        self.unclosed |= found.unclosed;
        self.diagnostics.extend(found.diagnostics);
        self.diagnostics.extend(cut::check_depth(tokens, self.file));
        if self.diagnostics.len() > before { None } else { self.item(tokens.to_vec()) }
    }

    /// Parses and repairs an item until it is one or cannot be saved.
    fn item(&mut self, mut tokens: Vec<Token>) -> Option<Item> {
        for repairs in 0..MOST_REPAIRS {
            self.build.repaired.set(repairs > 0);
            match self.attempt(&tokens) {
                Ok(item) => {
                    self.diagnostics.extend(self.build.take_diagnostics());
                    return Some(item);
                }
                Err((at, expected)) => self.recover(&mut tokens, at, &expected)?,
            }
        }
        None
    }

    /// Parses the tokens, or says which one the grammar does not take (their number: the end) and what it would.
    fn attempt(&self, tokens: &[Token]) -> Result<Item, (usize, Vec<String>)> {
        let taken = Cell::new(0);
        let stream = tokens.iter().map(|token| {
            taken.set(taken.get() + 1);
            Ok((token.start, token.kind, token.end))
        });
        self.build.take_diagnostics();
        ItemParser::new().parse(&self.build, stream).map_err(|error| match error {
            ParseError::UnrecognizedEof { expected, .. } => (tokens.len(), expected),
            ParseError::UnrecognizedToken { expected, .. } => (taken.get() - 1, expected),
            ParseError::ExtraToken { .. } | ParseError::InvalidToken { .. } | ParseError::User { .. } => {
                (taken.get() - 1, Vec::new())
            }
        })
    }

    /// Reports an error and repairs the tokens, or gives up the item.
    fn recover(&mut self, tokens: &mut Vec<Token>, at: usize, expected: &[String]) -> Option<()> {
        let site = Site::new(self.file, self.text, tokens, at, expected);
        let Explanation { diagnostic, repair } = explain::explain(&site);
        let statement = site.statement();
        let affected = statement.clone().unwrap_or(0..tokens.len());
        if !self.is_known_to_be_wrong(&tokens[affected]) {
            self.diagnostics.push(diagnostic);
        }
        match repair {
            Repair::Insert(kind) => tokens.insert(at, missing(kind, tokens[at - 1])),
            Repair::Remove => drop(tokens.remove(at)),
            Repair::Skip => drop(tokens.drain(statement?)),
        }
        Some(())
    }

    /// Whether the lexer has reported something on the lines of these tokens.
    fn is_known_to_be_wrong(&self, tokens: &[Token]) -> bool {
        let [Some(first), Some(last)] = [tokens.first(), tokens.last()] else { return false };
        let start = self.text[..first.start as usize].rfind('\n').unwrap_or(0);
        let end = self.text[last.end as usize..]
            .find('\n')
            .map_or(self.text.len(), |line| last.end as usize + line);
        self.lexical.iter().any(|place| (start..=end).contains(&(*place as usize)))
    }
}

/// A token that is not there, behind one that is.
fn missing(kind: Kind, before: Token) -> Token {
    Token { kind, start: before.end, end: before.end }
}
