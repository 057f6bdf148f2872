//! The text language that equations, graphs and kernels share: tokens, grammar, and the tree before names are resolved.
//!
//! One grammar (`grammar/graph.lalrpop`) reads all three forms, because a graph and kernels are made of equations.
//! The tree knows names only; [`te::parser`](super::parser) and the parsers of the other two turn it into data.

pub mod labels;
pub mod token;
pub mod tree;

use logos::Logos;

use token::Token;

lalrpop_util::lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused_parens, unused_imports, dead_code)]
    grammar,
    "/graph.rs"
);

/// Brackets nest no deeper than this in any text that a printer writes.
const DEEPEST_NESTING: usize = 256;

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

impl ParseError {
    /// An error at a byte of the text.
    pub fn at(text: &str, offset: usize, message: impl Into<String>) -> ParseError {
        let line = 1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
        ParseError { line, message: message.into() }
    }
}

/// The tree of a text that holds one program.
///
/// # Errors
///
/// Where the text does not follow the grammar.
pub fn program(text: &str) -> Result<tree::Program, ParseError> {
    let tokens = tokens(text)?;
    grammar::ProgramParser::new().parse(tokens.into_iter().map(Ok)).map_err(|error| describe(text, error))
}

/// The tree of a text that holds a graph.
///
/// # Errors
///
/// Where the text does not follow the grammar.
pub fn graph(text: &str) -> Result<tree::Graph, ParseError> {
    let tokens = tokens(text)?;
    grammar::GraphParser::new().parse(tokens.into_iter().map(Ok)).map_err(|error| describe(text, error))
}

/// The tree of a text that holds kernels.
///
/// # Errors
///
/// Where the text does not follow the grammar.
pub fn kernels(text: &str) -> Result<tree::Kernels, ParseError> {
    let tokens = tokens(text)?;
    grammar::KernelsParser::new().parse(tokens.into_iter().map(Ok)).map_err(|error| describe(text, error))
}

fn tokens(text: &str) -> Result<Vec<(usize, Token, usize)>, ParseError> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (token, place) in Token::lexer(text).spanned() {
        let Ok(token) = token else {
            return Err(ParseError::at(
                text,
                place.start,
                format!("`{}` is no token", text.get(place.clone()).unwrap_or("")),
            ));
        };
        match token {
            Token::OpenParen | Token::OpenBracket | Token::OpenBrace => depth += 1,
            Token::CloseParen | Token::CloseBracket | Token::CloseBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_NESTING {
            return Err(ParseError::at(text, place.start, "brackets nest too deeply"));
        }
        found.push((place.start, token, place.end));
    }
    Ok(found)
}

fn describe(text: &str, error: lalrpop_util::ParseError<usize, Token, String>) -> ParseError {
    use lalrpop_util::ParseError as Lalr;
    let slice = |start: usize, end: usize| text.get(start..end).unwrap_or("").to_string();
    match error {
        Lalr::InvalidToken { location } => ParseError::at(text, location, "no token"),
        Lalr::UnrecognizedEof { .. } => ParseError::at(text, text.len(), "the text ends early"),
        Lalr::UnrecognizedToken { token: (start, _, end), expected } => {
            let message = format!("`{}`, where {} may stand", slice(start, end), expected.join(" "));
            ParseError::at(text, start, message)
        }
        Lalr::ExtraToken { token: (start, _, end) } => {
            ParseError::at(text, start, format!("`{}` after the end", slice(start, end)))
        }
        Lalr::User { error } => ParseError::at(text, 0, error),
    }
}
