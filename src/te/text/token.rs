//! The tokens of the text forms of equations, graphs and kernels.

use logos::Logos;

use crate::te::DType;

/// A token.
#[derive(Logos, Clone, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
pub enum Token {
    #[token("program")]
    Program,
    #[token("op")]
    Op,
    #[token("graph")]
    Graph,
    #[token("input")]
    Input,
    #[token("output")]
    Output,
    #[token("kernels")]
    Kernels,
    #[token("kernel")]
    Kernel,
    #[token("nest")]
    Nest,
    #[token("reduce")]
    Reduce,
    #[token("windows")]
    Windows,
    #[token("stored")]
    Stored,
    #[token("for")]
    For,
    #[token("let")]
    Let,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("int")]
    Int,
    #[token("uniform")]
    Uniform,
    #[token("sum")]
    Sum,
    #[token("prod")]
    Prod,
    #[token("max")]
    Max,
    #[token("min")]
    Min,
    #[token("argmax")]
    ArgMax,
    #[token("argmin")]
    ArgMin,

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
    #[token("->")]
    Arrow,
    #[token(":")]
    Colon,
    #[token(";")]
    Semicolon,
    #[token(",")]
    Comma,
    #[token("@")]
    At,
    #[token("=")]
    Equals,
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
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("<")]
    Lt,
    #[token("<=")]
    Le,
    #[token(">")]
    Gt,
    #[token(">=")]
    Ge,

    #[token("f32", |_| DType::F32)]
    #[token("i32", |_| DType::I32)]
    #[token("u8", |_| DType::U8)]
    #[token("bool", |_| DType::Bool)]
    DType(DType),
    /// A name and, behind `#`, a number that tells it from others of the same name.
    #[regex(r"[A-Za-z_][A-Za-z0-9_.]*(#[0-9]+)?", |token| token.slice().to_owned())]
    Name(String),
    /// An expression that is written once and used several times.
    #[regex(r"\$[0-9]+", |token| token.slice()[1..].parse().ok())]
    Local(u32),
    #[regex(r"[0-9]+", |token| token.slice().parse().ok())]
    Integer(i64),
    #[regex(r"[0-9]+\.[0-9]+(e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+", |token| token.slice().parse().ok())]
    #[token("inf", |_| f64::INFINITY)]
    #[token("nan", |_| f64::NAN)]
    Float(f64),
    #[regex(r#""([^"\\\n]|\\[^\n])*""#, |token| unquote(token.slice()))]
    String(String),
}

/// Whether a text is one name token.
pub fn is_name(text: &str) -> bool {
    let mut lexer = Token::lexer(text);
    matches!(lexer.next(), Some(Ok(Token::Name(_)))) && lexer.next().is_none() && !text.contains('#')
}

/// A text in quotes, as a token.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The text inside the quotes; none where a backslash stands before another character than `quote` writes.
fn unquote(token: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = token[1..token.len() - 1].chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                other @ ('"' | '\\') => other,
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strings() {
        assert!(is_name("layer1.0.conv1") && is_name("d_x.winner"));
        assert!(
            !is_name("sum") && !is_name("0.weight") && !is_name("a b") && !is_name("f32") && !is_name("")
        );
        for text in ["", "a\"b", "back\\slash", "two\nlines", "ünïcode"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
    }
}
