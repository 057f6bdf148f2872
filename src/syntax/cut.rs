//! Cutting a file into items, and the bound on their depth.
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
    // Open parentheses and brackets: a default value in the item's head may have braces.
    let mut round = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        if at > start && begins_item(tokens, at, depth, text) {
            pieces.push(start..at);
            (start, depth, round) = (at, 0, 0);
        }
        match token.kind {
            Kind::OpenBrace => depth += 1,
            Kind::CloseBrace => depth = depth.saturating_sub(1),
            Kind::OpenParen | Kind::OpenBracket => round += 1,
            Kind::CloseParen | Kind::CloseBracket => round = round.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && round == 0 && ends_item(tokens[start].kind, token.kind) {
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

/// Reports the first place of an item that nests too deep.
///
/// A tree over the tokens is at most as deep as the brackets around a token, and the operators before it at every
/// level of brackets since the last comma, semicolon or last branch of an `if` there.
pub fn check_depth(tokens: &[Token], file: FileId) -> Option<Diagnostic> {
    let mut levels = vec![0usize];
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        let level = levels.last_mut()?;
        *level += chains(token.kind);
        depth += chains(token.kind);
        match token.kind {
            Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => {
                levels.push(1);
                depth += 1;
            }
            Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => depth -= levels.pop()?,
            _ => {}
        }
        if ends_chain(token.kind, tokens.get(at + 1)) {
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
        .primary(token.span(file), format!("more than {DEEPEST} operators and brackets around this"))
        .help("name parts of it with `let`, or make blocks of them")
}

/// The levels of the tree that a token may add to all that follows it on its level of brackets.
fn chains(kind: Kind) -> usize {
    use Kind::*;
    match kind {
        OpenBracket | As | Reduce | If | Else | For | Pipe | Dot | Eq | Ne | Le | Ge | Lt | Gt | Plus
        | Minus | Star | Slash | Percent | Not | And | Or => 1,
        _ => 0,
    }
}

/// Whether what follows is no part of the expression or statement before.
fn ends_chain(kind: Kind, next: Option<&Token>) -> bool {
    match kind {
        Kind::Comma | Kind::Semicolon => true,
        Kind::CloseBrace => next.is_none_or(|next| next.kind != Kind::Else),
        _ => false,
    }
}
