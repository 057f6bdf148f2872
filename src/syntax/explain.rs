//! What a syntax error is, in the words of somebody who teaches the language.
//!
//! The grammar knows only which token it does not take and which it would. The rules below know what people write
//! who come from other languages, or forget things; the first rule that fits speaks. The last one always fits.

use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::{FileId, Span};

use super::site::{Inside, Site};
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

/// A rule says what an error is, if it is of its kind.
type Rule = fn(&Site) -> Option<Explanation>;

/// In order: the more particular before the more general.
const RULES: &[Rule] = &[
    foreign_word,
    doubled_sign,
    compound_assignment,
    equals_for_comparison,
    chained_comparison,
    point_of_a_number,
    typed_let,
    colon_for_equals,
    bare_reduction,
    reserved_word,
    stray_semicolon,
    value_with_semicolon,
    value_not_last,
    missing_semicolon,
    missing_comma,
    branch_without_braces,
    op_without_results,
    trained_tensor_in_op,
];

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

fn error(site: &Site, message: impl Into<String>, label: impl Into<String>) -> Diagnostic {
    Diagnostic::error(message).primary(site.span(0), label)
}

fn skip(diagnostic: Diagnostic) -> Option<Explanation> {
    Some(Explanation { diagnostic, repair: Repair::Skip })
}

fn remove(diagnostic: Diagnostic) -> Option<Explanation> {
    Some(Explanation { diagnostic, repair: Repair::Remove })
}

/// Words that other languages have: `and`, `return`, `elif`, ...
fn foreign_word(site: &Site) -> Option<Explanation> {
    let before = site.word(-1);
    if matches!(before, "return" | "while" | "const" | "var")
        && site.kind(-1) == Some(Kind::Name)
        && !site.expects("NAME")
    {
        let help = match before {
            "return" => "the last expression of a block is its value",
            "while" => "loops are `for i in 0..n { ... }`, with bounds known at compile time",
            _ => "a value is named by `let name = value;`",
        };
        let error = Diagnostic::error(format!("there is no `{before}`")).primary(site.span(-1), "");
        return skip(error.help(help));
    }
    let help = match site.word(0) {
        "and" => "write `&&`",
        "or" => "write `||`",
        "not" => "write `!`",
        "elif" | "elseif" | "elsif" => "write `else if`",
        _ => return None,
    };
    skip(error(site, format!("there is no `{}`", site.word(0)), "").help(help))
}

/// `**`, `//` is a comment, `++`.
fn doubled_sign(site: &Site) -> Option<Explanation> {
    if site.found() == Some(Kind::Star) && site.kind(-1) == Some(Kind::Star) && site.adjoins(0) {
        let place = site.span(-1).to(site.span(0));
        let error = Diagnostic::error("there is no `**`").primary(place, "");
        return skip(error.help("a power is written `pow(a, b)`"));
    }
    None
}

/// `y += 1`
fn compound_assignment(site: &Site) -> Option<Explanation> {
    let arithmetic =
        matches!(site.kind(-1)?, Kind::Plus | Kind::Minus | Kind::Star | Kind::Slash | Kind::Percent);
    if site.found() == Some(Kind::Equals) && arithmetic && site.adjoins(0) {
        let sign = site.word(-1);
        let place = site.span(-1).to(site.span(0));
        let target = if site.kind(-2) == Some(Kind::Name) { site.word(-2) } else { "y" };
        let error = Diagnostic::error(format!("there is no `{sign}=`")).primary(place, "");
        return skip(error.help(format!("write `{target} = {target} {sign} ...;`")));
    }
    None
}

/// `if a = b`
fn equals_for_comparison(site: &Site) -> Option<Explanation> {
    if site.found() == Some(Kind::Equals) && site.expects("==") && !site.expects("=") {
        let error = error(site, "expected an operator, found `=`", "this assigns");
        return skip(error.help("equality is written `==`"));
    }
    None
}

/// `a < b < c`
fn chained_comparison(site: &Site) -> Option<Explanation> {
    let comparison = matches!(site.found()?, Kind::Eq | Kind::Ne | Kind::Le | Kind::Ge | Kind::Lt | Kind::Gt);
    if comparison && site.expects("&&") {
        let error = error(site, "comparisons cannot be chained", "a second comparison");
        return skip(error.help("join two by `&&`, as in `a < b && b < c`"));
    }
    None
}

/// `.5` and `5.`
fn point_of_a_number(site: &Site) -> Option<Explanation> {
    if site.found() == Some(Kind::Dot) && site.kind(1) == Some(Kind::Number) && site.adjoins(1) {
        let place = site.span(0).to(site.span(1));
        let error = Diagnostic::error("a number needs a digit before its point").primary(place, "");
        return skip(error.help(format!("write `0.{}`", site.word(1))));
    }
    if site.kind(-1) == Some(Kind::Dot) && site.kind(-2) == Some(Kind::Number) && site.adjoins(-1) {
        let place = site.span(-2).to(site.span(-1));
        let error = Diagnostic::error("a number needs a digit behind its point").primary(place, "");
        return skip(error.help(format!("write `{}.0`", site.word(-2))));
    }
    None
}

/// `let y: f32[N] = ...`
fn typed_let(site: &Site) -> Option<Explanation> {
    if site.found() == Some(Kind::Colon) && site.kind(-2) == Some(Kind::Let) {
        let error = error(site, "`let` takes no type", "a type follows");
        return skip(error.help("the type follows from the value; to reshape, write `value as f32[...]`"));
    }
    None
}

/// `conv(k: 3)`, `loss: mse;`
fn colon_for_equals(site: &Site) -> Option<Explanation> {
    if site.found() == Some(Kind::Colon) && site.kind(-1) == Some(Kind::Name) && site.expects("=") {
        let message = match site.inside() {
            Inside::Settings => "a setting is written with `=`",
            Inside::Parentheses | Inside::Brackets => "an argument by name is written with `=`",
            Inside::Head | Inside::Equations | Inside::Statements => "a value is assigned with `=`",
        };
        let name = site.word(-1);
        return skip(error(site, message, "expected `=`").help(format!("write `{name} = ...`")));
    }
    None
}

/// `mean[c]` read as a reduction that has no body.
fn bare_reduction(site: &Site) -> Option<Explanation> {
    if !site.expects_expression() || site.kind(-1) != Some(Kind::CloseBracket) {
        return None;
    }
    let open = site.open_bracket(site.at - 1)?;
    let word = site.tokens[..open].last().filter(|token| token.kind == Kind::Reduce)?;
    let name = word.text(site.text);
    let error = Diagnostic::error(format!("this `{name}[...]` reduces nothing"))
        .primary(site.behind(), "expected an expression")
        .secondary(word.span(site.file), "a reduction, since `[` follows");
    skip(error.help(format!("to read a tensor, call it by another name than `{name}`")))
}

/// A reserved word where a name belongs.
fn reserved_word(site: &Site) -> Option<Explanation> {
    let word = site.word(0);
    let is_word =
        word.starts_with(|first: char| first.is_ascii_lowercase()) && site.found() != Some(Kind::Name);
    let begins_statement =
        matches!(site.found()?, Kind::Let | Kind::For | Kind::If | Kind::Assert | Kind::Param);
    if !is_word || !site.expects("NAME") || (site.begins_line() && begins_statement) {
        return None;
    }
    let names_only = !site.expects_expression() && !site.expects("let");
    let used_as_name = names_only
        || matches!(
            site.kind(1),
            Some(
                Kind::Equals
                    | Kind::Comma
                    | Kind::CloseParen
                    | Kind::Semicolon
                    | Kind::Colon
                    | Kind::Dot
                    | Kind::Pipe
                    | Kind::CloseBracket
            )
        );
    if !used_as_name {
        return None;
    }
    let error = error(site, format!("`{word}` is a reserved word"), "cannot be a name");
    skip(error.help(format!("use another name, such as `{word}_`")))
}

/// `};` and `;;`
fn stray_semicolon(site: &Site) -> Option<Explanation> {
    let ended = matches!(site.kind(-1)?, Kind::CloseBrace | Kind::Semicolon | Kind::OpenBrace);
    if site.found() == Some(Kind::Semicolon) && ended {
        return remove(error(site, "this `;` ends nothing", "not needed"));
    }
    None
}

/// `x |> f;` in a block.
fn value_with_semicolon(site: &Site) -> Option<Explanation> {
    if site.found() != Some(Kind::Semicolon) || !site.expects("}") || site.inside() != Inside::Statements {
        return None;
    }
    if site.kind(1) == Some(Kind::CloseBrace) {
        let error = error(site, "the value of a block stands without `;`", "remove this");
        return remove(error.help("the last expression of a block is its value"));
    }
    let error = Diagnostic::error("this value is not used")
        .primary(statement_span(site), "")
        .help("name it by `let name = ...;`, or make it the input of what follows with `|>`");
    skip(error)
}

/// `x |> f` and then more statements.
fn value_not_last(site: &Site) -> Option<Explanation> {
    if site.inside() != Inside::Statements || !site.expects("}") || !site.begins_line() || site.expects("let")
    {
        return None;
    }
    let value = Span { end: site.behind().end, ..statement_span(site) };
    let error = Diagnostic::error("a value that is not named must come last in its block")
        .primary(value, "this would be the value of the block")
        .secondary(site.span(0), "but more follows");
    skip(error.help("name it by `let name = ...;`, or go on with `|>`"))
}

fn statement_span(site: &Site) -> Span {
    let Some(statement) = site.statement() else { return site.span(0) };
    let tokens = &site.tokens[statement];
    tokens[0].span(site.file).to(tokens[tokens.len() - 1].span(site.file))
}

/// A statement that ends without its `;`.
fn missing_semicolon(site: &Site) -> Option<Explanation> {
    let ends = site.begins_line()
        || matches!(
            site.found()?,
            Kind::CloseBrace | Kind::Let | Kind::For | Kind::Assert | Kind::Param | Kind::State
        );
    if !site.expects(";") || !ends {
        return None;
    }
    let what = match site.inside() {
        Inside::Settings => "this setting",
        Inside::Equations => "this equation",
        Inside::Head => "this path",
        Inside::Statements | Inside::Parentheses | Inside::Brackets => "this statement",
    };
    let error =
        Diagnostic::error(format!("expected `;` after {what}")).primary(site.behind(), "`;` is missing here");
    Some(Explanation { diagnostic: error, repair: Repair::Insert(Kind::Semicolon) })
}

/// Two arguments, parameters or items of a list without a comma between.
fn missing_comma(site: &Site) -> Option<Explanation> {
    let begins = matches!(
        site.found()?,
        Kind::Name
            | Kind::Number
            | Kind::String
            | Kind::Reduce
            | Kind::DType
            | Kind::True
            | Kind::False
            | Kind::Infinity
    );
    if !begins || !site.expects(",") || !matches!(site.inside(), Inside::Parentheses | Inside::Brackets) {
        return None;
    }
    let error = Diagnostic::error(format!("expected `,` before {}", describe_found(site)))
        .primary(site.behind(), "`,` is missing here");
    Some(Explanation { diagnostic: error, repair: Repair::Insert(Kind::Comma) })
}

/// `if c a else b`
fn branch_without_braces(site: &Site) -> Option<Explanation> {
    let statement = site.statement()?;
    let has_if = site.tokens[statement.start..site.at].iter().any(|token| token.kind == Kind::If);
    let only_brace = site.expects("{") && !site.expects(";");
    if !has_if || !only_brace {
        return None;
    }
    let error = error(site, format!("expected `{{`, found {}", describe_found(site)), "a branch begins here");
    skip(error.help("branches stand in braces, as in `if c { a } else { b }`"))
}

/// `op f(x: f32[N]) { ... }`
fn op_without_results(site: &Site) -> Option<Explanation> {
    if site.inside() != Inside::Head || site.tokens[0].kind != Kind::Op || !site.expects("->") {
        return None;
    }
    let error = error(
        site,
        format!("expected `->`, found {}", describe_found(site)),
        "an op names its results first",
    );
    skip(error.help("as in `op double(x: f32[N]) -> y: f32[N] { y[n] = 2 * x[n]; }`"))
}

/// `param` and `state` among equations.
fn trained_tensor_in_op(site: &Site) -> Option<Explanation> {
    if site.inside() == Inside::Equations && matches!(site.found()?, Kind::Param | Kind::State) {
        let error = error(site, format!("an op has no `{}`", site.word(0)), "not among equations");
        return skip(error.help("declare it in a block, and give it to the op as an argument"));
    }
    None
}

/// Everything else: what was found and what would be taken.
fn unexpected(site: &Site) -> Explanation {
    let wanted = wanted(site);
    let found = describe_found(site);
    let diagnostic = error(site, format!("expected {wanted}, found {found}"), format!("expected {wanted}"));
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
    (&["let", "for"], "a statement or a value", STATEMENT),
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

fn describe_found(site: &Site) -> String {
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
