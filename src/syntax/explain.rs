//! What a syntax error is, in the words of somebody who teaches the language.
//!
//! The grammar knows only which token it does not take and which it would. The rules in `mistakes` know what people
//! write who forget something or come from other languages. Where none fits, found and expected are put in words.

use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::FileId;

use super::mistakes::RULES;
use super::site::Site;
use super::token::{Kind, Token};

/// An error, and how the parser goes on.
pub struct Explanation {
    pub diagnostic: Diagnostic,
    pub repair: Repair,
}

/// How the tokens are mended so that the rest of the item can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Put a token before the one that is not taken.
    Insert(Kind),
    /// Take out the token that is not taken.
    Remove,
    /// Take out the statement around it.
    Skip,
}

/// Explains an error.
pub fn explain(site: &Site) -> Explanation {
    RULES.iter().find_map(|rule| rule(site)).unwrap_or_else(|| unexpected(site))
}

/// What stands where an item should.
pub fn not_an_item(tokens: &[Token], text: &str, file: FileId) -> Diagnostic {
    const WORDS: [&str; 6] = ["model", "block", "op", "data", "train", "use"];
    let first = tokens[0];
    let word = first.text(text);
    let span = first.span(file);
    if first.kind == Kind::CloseBrace {
        let error = Diagnostic::error("this `}` closes nothing").primary(span, "no `{` is open here");
        return error.help("the item before it is already closed");
    }
    if text[first.start as usize..].starts_with("/*") {
        let error = Diagnostic::error("there is no `/*`").primary(span, "");
        return error.help("a comment begins with `//` and runs to the end of its line");
    }
    let error = Diagnostic::error(format!("expected an item, found {}", describe(first, text)))
        .primary(span, "not the beginning of an item");
    let is_function = ["fn", "def", "func", "function", "layer", "class", "module", "struct"].contains(&word);
    match nearest(word, WORDS).or(["import", "include", "from"].contains(&word).then_some("use")) {
        Some(meant) => error.help(format!("did you mean `{meant}`?")),
        None if is_function => {
            error.help("a part of a network is a `block`, a function given by equations an `op`")
        }
        None => error.help("items begin with `model`, `block`, `op`, `data`, `train` or `use`"),
    }
}

/// Everything else: what was found and what would be taken.
fn unexpected(site: &Site) -> Explanation {
    let wanted = wanted(site);
    let found = describe_found(site);
    let diagnostic = Diagnostic::error(format!("expected {wanted}, found {found}"))
        .primary(site.span(0), format!("expected {wanted}"));
    Explanation { diagnostic, repair: Repair::Skip }
}

/// The terminals that would be taken, in words.
fn wanted(site: &Site) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut covered: Vec<&str> = Vec::new();
    for (group, name, members) in GROUPS {
        if group.iter().all(|terminal| site.expects(terminal)) && !covered.contains(&group[0]) {
            words.push((*name).to_owned());
            covered.extend(*members);
        }
    }
    let rest = site.expected().iter().filter(|terminal| !covered.contains(terminal));
    words.extend(rest.map(|terminal| word_of(terminal)));
    join(&words)
}

/// Terminals that say something together: when the first all are expected, the name stands for all the last.
const GROUPS: &[(&[&str], &str, &[&str])] = &[
    (&["let", "for"], "a statement", STATEMENT),
    (&["phase"], "a setting", &["phase", "NAME"]),
    (&["let", "assert"], "an equation", STATEMENT),
    (&["NUMBER"], "an expression", EXPRESSION),
    (&["DTYPE", "STRING"], "a name, a string or a type", &["DTYPE", "STRING", "NAME"]),
    (&["DTYPE"], "a type", &["DTYPE", "NAME"]),
    (&["*"], "an operator", OPERATOR),
];

const STATEMENT: &[&str] = &[
    "let", "for", "assert", "param", "state", "if", "NAME", "REDUCE", "NUMBER", "STRING", "(", "[", "-", "!",
    "true", "false", "inf",
];
const EXPRESSION: &[&str] =
    &["NUMBER", "NAME", "REDUCE", "STRING", "(", "[", "-", "!", "true", "false", "inf", "if"];
const OPERATOR: &[&str] = &[
    "*", "/", "%", "+", "-", "==", "!=", "<=", ">=", "<", ">", "&&", "||", "|>", "as", "else", "[", "(", ".",
    "<-", "=",
];

fn word_of(terminal: &str) -> String {
    match terminal {
        "NAME" | "REDUCE" => "a name".to_owned(),
        "STRING" => "a string".to_owned(),
        "NUMBER" => "a number".to_owned(),
        "DTYPE" => "a type".to_owned(),
        sign => format!("`{sign}`"),
    }
}

/// "a, b or c"
fn join(words: &[String]) -> String {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.dedup();
    match words.split_last() {
        None => "nothing more".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
    }
}

pub fn describe_found(site: &Site) -> String {
    site.token(0).map_or("the end of the item".to_owned(), |token| describe(token, site.text))
}

fn describe(token: Token, text: &str) -> String {
    let word = token.text(text);
    match token.kind {
        Kind::String => "a string".to_owned(),
        _ if word.chars().count() > 40 => "a long name".to_owned(),
        Kind::Name => format!("the name `{word}`"),
        Kind::Number => format!("the number `{word}`"),
        _ => format!("`{word}`"),
    }
}
