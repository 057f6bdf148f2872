//! The text form of loop IR between the tokens and a function: what the grammar builds, with names as they stand.

use logos::Logos;

use super::Binary;

/// A token.
#[derive(Logos, Clone, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n]+")]
pub enum Token {
    #[token("fn")]
    Fn,
    #[token("parallel")]
    Parallel,
    #[token("for")]
    For,
    #[token("in")]
    In,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("by")]
    By,
    #[token("int")]
    IntOf,
    #[token("min")]
    Min,
    #[token("max")]
    Max,
    #[token("true")]
    True,
    #[token("false")]
    False,
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
    #[token(":")]
    Colon,
    #[token(";")]
    Semicolon,
    #[token(",")]
    Comma,
    #[token("..")]
    DotDot,
    #[token("=")]
    Assign,
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
    #[token("&")]
    And,
    #[token("|")]
    Or,
    #[token("<<")]
    Shl,
    #[token(">>")]
    Shr,
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
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", |token| token.slice().to_owned())]
    Name(String),
    #[regex(r"[0-9]+", |token| token.slice().parse().ok())]
    Integer(i64),
    #[regex(r"[0-9]+\.[0-9]+(e-?[0-9]+)?|[0-9]+e-?[0-9]+|inf|nan", |token| number(token.slice()), priority = 5)]
    Float(f32),
}

fn number(text: &str) -> Option<f32> {
    match text {
        "nan" => Some(f32::NAN),
        "inf" => Some(f32::INFINITY),
        digits => digits.parse().ok(),
    }
}

/// A function whose names are not resolved.
pub struct FunctionText {
    pub name: String,
    pub buffers: Vec<BufferText>,
    pub body: Vec<Node>,
}

/// The declaration of a buffer.
pub struct BufferText {
    pub name: String,
    pub access: String,
    pub dtype: String,
    pub len: i64,
}

/// A statement whose names are not resolved.
pub enum Node {
    For { parallel: bool, axis: String, low: i64, extent: i64, body: Vec<Node> },
    Set { local: String, ty: Option<String>, value: Term },
    Store { buffer: String, index: IndexText, stride: i64, value: Term },
    If { condition: Term, then: Vec<Node>, otherwise: Vec<Node> },
}

/// The lanes of a load or number that is a vector.
pub struct Lanes {
    pub lanes: i64,
    pub stride: Option<i64>,
}

/// An expression whose names are not resolved.
pub enum Term {
    Float(f32),
    Int(i64),
    Bool(bool),
    Local(String),
    Load { buffer: String, index: IndexText, lanes: Option<Lanes> },
    Number { index: IndexText, lanes: Option<Lanes> },
    Binary(Binary, Box<Term>, Box<Term>),
    Call { function: String, arguments: Vec<Term> },
}

impl Term {
    /// An infix operation.
    pub fn binary(op: Binary, x: Term, y: Term) -> Term {
        Term::Binary(op, Box::new(x), Box::new(y))
    }
}

/// An index whose names are not resolved: terms, and a constant where there is no atom.
pub struct IndexText(pub Vec<(i64, Option<Atom>)>);

impl IndexText {
    /// One term.
    pub fn from_term(negative: bool, (k, atom): (i64, Option<Atom>)) -> IndexText {
        IndexText(vec![(if negative { -k } else { k }, atom)])
    }

    /// Another term.
    pub fn plus(mut self, sign: i64, (k, atom): (i64, Option<Atom>)) -> IndexText {
        self.0.push((sign * k, atom));
        self
    }
}

/// A part of an index.
pub enum Atom {
    Axis(String),
    Div(IndexText, i64),
    Rem(IndexText, i64),
    Min(IndexText, IndexText),
    Max(IndexText, IndexText),
}
