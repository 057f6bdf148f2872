//! The lexer: text to tokens, with the comments beside them.
//!
//! Tokens hold no text, only where they stand. What is no token of the language (an unknown character, a string
//! without its end) is reported here and does not reach the parser.

use logos::Logos;

use crate::base::diagnostic::Diagnostic;
use crate::base::span::{FileId, Span};

use super::literal;

/// What a token is.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[logos(skip r"[ \t\r\n\u{feff}]+")]
pub enum Kind {
    #[regex("[A-Za-z_][A-Za-z0-9_]*")]
    Name,
    /// `sum prod max min mean` directly before `[` or `(`; elsewhere they are names.
    #[token("sum")]
    #[token("prod")]
    #[token("max")]
    #[token("min")]
    #[token("mean")]
    Reduce,
    #[regex(r"[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]+)?", priority = 10)]
    Number,
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    String,
    /// The type of an element.
    #[token("f32")]
    #[token("i32")]
    #[token("u8")]
    #[token("bool")]
    DType,

    #[token("model")]
    Model,
    #[token("inline")]
    Inline,
    #[token("block")]
    Block,
    #[token("op")]
    Op,
    #[token("data")]
    Data,
    #[token("train")]
    Train,
    #[token("use")]
    Use,
    #[token("on")]
    On,
    #[token("as")]
    As,
    #[token("phase")]
    Phase,
    #[token("let")]
    Let,
    #[token("param")]
    Param,
    #[token("state")]
    State,
    #[token("for")]
    For,
    #[token("in")]
    In,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("assert")]
    Assert,
    #[token("true")]
    True,
    #[token("false")]
    False,
    #[token("inf")]
    Infinity,

    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(":")]
    Colon,
    #[token("->")]
    Arrow,
    #[token("<-")]
    Update,
    #[token("|>")]
    Pipe,
    #[token("..")]
    Range,
    #[token(".")]
    Dot,
    #[token("=")]
    Equals,
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("<=")]
    Le,
    #[token(">=")]
    Ge,
    #[token("<")]
    Lt,
    #[token(">")]
    Gt,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("!")]
    Not,
    #[token("&&")]
    And,
    #[token("||")]
    Or,

    #[regex(r"//[^\n]*", allow_greedy = true)]
    Comment,
    /// A comment of other languages.
    #[regex(r"#[^\n]*", allow_greedy = true)]
    HashComment,
    /// Digits that run into letters.
    #[regex(r"[0-9][0-9_]*(\.[0-9]+)?[A-Za-z_][A-Za-z0-9_]*", priority = 5)]
    BadNumber,
    #[regex(r#""([^"\\\n]|\\[^\n])*\\?"#)]
    OpenString,
}

/// A token and where it stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

impl Token {
    /// The token's place in a file.
    pub fn span(self, file: FileId) -> Span {
        Span { file, start: self.start, end: self.end }
    }

    /// The token as it was written.
    pub fn text(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

/// The tokens of a file, and its comments in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub tokens: Vec<Token>,
    /// From `//` to the end of the line.
    pub comments: Vec<Token>,
}

/// The tokens of a text, and what is no token.
pub fn lex(file: FileId, text: &str) -> (Tokens, Vec<Diagnostic>) {
    let mut found = Tokens::default();
    let mut diagnostics = Vec::new();
    for (kind, range) in Kind::lexer(text).spanned() {
        let span = Span { file, start: range.start as u32, end: range.end as u32 };
        let token = |kind| Token { kind, start: span.start, end: span.end };
        match kind {
            Ok(Kind::Comment) => found.comments.push(token(Kind::Comment)),
            Ok(Kind::HashComment) => diagnostics.push(literal::hash_comment(span)),
            Ok(kind) => {
                let (kind, diagnostic) = literal::check(kind, &text[range], span);
                diagnostics.extend(diagnostic);
                found.tokens.push(token(kind));
            }
            Err(()) => literal::unknown_characters(text, span, &mut diagnostics),
        }
    }
    name_bare_reductions(&mut found.tokens);
    (found, diagnostics)
}

/// Turns reductions that do not stand directly before `[` or `(` into names.
fn name_bare_reductions(tokens: &mut [Token]) {
    for at in 0..tokens.len() {
        let next = tokens.get(at + 1).map(|token| token.kind);
        if tokens[at].kind == Kind::Reduce && !matches!(next, Some(Kind::OpenBracket | Kind::OpenParen)) {
            tokens[at].kind = Kind::Name;
        }
    }
}
