//! The mistakes that people make in this language, each a rule that knows one.
//!
//! Where a token is not taken, the first rule that fits says what is wrong.

use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;

use super::explain::{Explanation, Repair, describe_found};
use super::site::{Inside, Site};
use super::token::Kind;

/// A rule says what an error is, if it is of its kind.
type Rule = fn(&Site) -> Option<Explanation>;

/// In order: the more particular before the more general.
pub const RULES: &[Rule] = &[
    foreign_word,
    foreign_sign,
    compound_assignment,
    equals_for_comparison,
    update_for_comparison,
    chained_comparison,
    point_of_a_number,
    typed_let,
    other_sign_for_equals,
    empty_brackets,
    unknown_element_type,
    unparenthesised,
    bare_reduction,
    step_without_call,
    statement_among_settings,
    reserved_word,
    stray_semicolon,
    value_with_semicolon,
    value_not_last,
    missing_semicolon,
    missing_comma,
    branch_without_braces,
    loop_without_range,
    assert_without_message,
    module_of_a_layer,
    call_of_a_value,
    parameter_without_type,
    head_without_parameters,
    train_without_data,
    op_without_results,
    trained_tensor_in_op,
];

fn error(site: &Site, message: impl Into<String>, label: impl Into<String>) -> Diagnostic {
    Diagnostic::error(message).primary(site.span(0), label)
}

fn skip(diagnostic: Diagnostic) -> Option<Explanation> {
    Some(Explanation { diagnostic, repair: Repair::Skip })
}

fn remove(diagnostic: Diagnostic) -> Option<Explanation> {
    Some(Explanation { diagnostic, repair: Repair::Remove })
}

/// Words that other languages have: `and`, `return`, `elif`, ... They are names here, and may be what comes before.
fn foreign_word(site: &Site) -> Option<Explanation> {
    let (word, place) = match (foreign(site.word(-1)), foreign(site.word(0))) {
        (Some(_), _) if site.kind(-1) == Some(Kind::Name) && begins_value(site.found()) => {
            (site.word(-1), site.span(-1))
        }
        (_, Some(_)) => (site.word(0), site.span(0)),
        _ => return None,
    };
    let error = Diagnostic::error(format!("there is no `{word}`")).primary(place, "");
    skip(error.help(foreign(word)?))
}

fn foreign(word: &str) -> Option<&'static str> {
    match word {
        "and" => Some("write `&&`"),
        "or" => Some("write `||`"),
        "not" => Some("write `!`"),
        "elif" | "elseif" | "elsif" => Some("write `else if`"),
        "return" => Some("the last expression of a block is its value"),
        "while" => Some("loops are `for i in 0..n { ... }`, with bounds known at compile time"),
        "const" | "var" | "mut" => Some("a value is named by `let name = value;`"),
        _ => None,
    }
}

/// Whether a value may begin with a token, so that the name before it is none.
fn begins_value(kind: Option<Kind>) -> bool {
    use Kind::*;
    matches!(kind, Some(Name | Reduce | Number | String | True | False | Infinity | If | OpenParen))
}

/// `**` and `/*`.
fn foreign_sign(site: &Site) -> Option<Explanation> {
    if site.found() == Some(Kind::Star) && site.kind(-1) == Some(Kind::Star) && site.adjoins(0) {
        let place = site.span(-1).to(site.span(0));
        let error = Diagnostic::error("there is no `**`").primary(place, "");
        return skip(error.help("a power is written `pow(a, b)`"));
    }
    let first = if site.kind(-1) == Some(Kind::Slash) { -1 } else { 0 };
    if site.kind(first) == Some(Kind::Slash)
        && site.kind(first + 1) == Some(Kind::Star)
        && site.adjoins(first + 1)
    {
        let place = site.span(first).to(site.span(first + 1));
        let error = Diagnostic::error("there is no `/*`").primary(place, "");
        return skip(error.help("a comment begins with `//` and runs to the end of its line"));
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
    let behind_name = site.kind(-1) == Some(Kind::Name) && site.expected() == ["("];
    if site.found() == Some(Kind::Equals) && (site.expects("==") || behind_name) && !site.expects("=") {
        let error = error(site, "expected an operator, found `=`", "this assigns");
        return skip(error.help("equality is written `==`"));
    }
    None
}

/// `x<-1`
fn update_for_comparison(site: &Site) -> Option<Explanation> {
    let behind_name = site.kind(-1) == Some(Kind::Name) && site.expected() == ["("];
    if site.found() == Some(Kind::Update) && (site.expects("<") || behind_name) {
        let error = error(site, "expected an operator, found `<-`", "this updates a state");
        return skip(error.help("a comparison with a negative value is written `< -`"));
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

/// `conv(k: 3)`, `loss: mse;`, `seed == 1;`
fn other_sign_for_equals(site: &Site) -> Option<Explanation> {
    let other = matches!(site.found()?, Kind::Colon | Kind::Eq | Kind::Update);
    if !other || site.kind(-1) != Some(Kind::Name) || !site.expects("=") {
        return None;
    }
    let message = match site.inside() {
        Inside::Settings => "a setting is written with `=`",
        Inside::Parentheses | Inside::Brackets => "an argument by name is written with `=`",
        Inside::Equations => "an equation is written with `=`",
        Inside::Head | Inside::Statements => "a value is assigned with `=`",
    };
    let name = site.word(-1);
    skip(error(site, message, "expected `=`").help(format!("write `{name} = ...`")))
}

/// `y[] = ...`, `f32[]`
fn empty_brackets(site: &Site) -> Option<Explanation> {
    if site.found() != Some(Kind::CloseBracket) || site.kind(-1) != Some(Kind::OpenBracket) {
        return None;
    }
    let place = site.span(-1).to(site.span(0));
    let error = Diagnostic::error("these brackets are empty").primary(place, "");
    skip(error.help(format!("a scalar has no brackets: write `{}`", site.word(-2))))
}

/// `f64[N]`
fn unknown_element_type(site: &Site) -> Option<Explanation> {
    let is_type =
        site.kind(-1) == Some(Kind::Name) && matches!(site.kind(-2)?, Kind::Colon | Kind::Arrow | Kind::As);
    if site.found() != Some(Kind::OpenBracket) || !is_type || site.expects("[") {
        return None;
    }
    let error = Diagnostic::error(format!("there are no tensors of `{}`", site.word(-1)));
    skip(
        error.primary(site.span(-1), "not an element type").help("elements are `f32`, `i32`, `u8` or `bool`"),
    )
}

/// `2 * sum[i] x[i]`, `x + if c { a } else { b }`
fn unparenthesised(site: &Site) -> Option<Explanation> {
    let (what, place) = match (site.kind(-1)?, site.found()?) {
        (Kind::Reduce, Kind::OpenBracket) => ("reduction", site.span(-1)),
        (_, Kind::If) if site.expects_expression() && !site.expects("if") => ("choice", site.span(0)),
        _ => return None,
    };
    let form = if what == "choice" {
        "(if c { a } else { b })".to_owned()
    } else {
        format!("({}[...] ...)", site.word(-1))
    };
    let error = Diagnostic::error(format!("a {what} inside arithmetic needs parentheses")).primary(place, "");
    skip(error.help(format!("write `{form}`")))
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

/// `x |>` and nothing to call.
fn step_without_call(site: &Site) -> Option<Explanation> {
    if site.kind(-1) != Some(Kind::Pipe) || is_word(site) {
        return None;
    }
    let message = format!("expected a call after `|>`, found {}", describe_found(site));
    let error = Diagnostic::error(message).primary(site.span(-1), "leads nowhere");
    skip(error.help("as in `x |> relu` or `x |> conv(16, 3)`"))
}

/// `let`, `if` and alike in a section.
fn statement_among_settings(site: &Site) -> Option<Explanation> {
    use Kind::{Assert, For, If, Let, Param, State};
    if site.inside() != Inside::Settings || !matches!(site.found()?, Let | If | For | Assert | Param | State)
    {
        return None;
    }
    if !site.expects("phase") || site.kind(1) == Some(Kind::Equals) {
        return None;
    }
    let error = error(site, format!("expected a setting, found `{}`", site.word(0)), "not a setting");
    skip(error.help("a section has settings only, `name = value;`"))
}

fn is_word(site: &Site) -> bool {
    site.word(0).starts_with(|first: char| first.is_ascii_alphabetic())
}

/// A reserved word where a name belongs.
fn reserved_word(site: &Site) -> Option<Explanation> {
    use Kind::{Assert, For, If, Let, Name, Param, Phase};
    let found = site.found()?;
    let begins_statement = site.begins_line() && matches!(found, Let | For | If | Assert | Param | Phase);
    if !is_word(site) || found == Name || !site.expects("NAME") || begins_statement {
        return None;
    }
    let word = site.word(0);
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

/// `for i in 4`
fn loop_without_range(site: &Site) -> Option<Explanation> {
    if site.found() != Some(Kind::OpenBrace) || !site.expects("..") {
        return None;
    }
    let error = error(site, "expected `..`, found `{`", "the range has no end");
    skip(error.help("a loop runs over a range, as in `for i in 0..4 { ... }`"))
}

/// `assert c;`
fn assert_without_message(site: &Site) -> Option<Explanation> {
    let statement = site.statement()?;
    if site.found() != Some(Kind::Semicolon)
        || site.tokens[statement.start].kind != Kind::Assert
        || !site.expects(",")
    {
        return None;
    }
    let error = error(site, "expected `,` and a message, found `;`", "what is wrong otherwise?");
    skip(error.help("as in `assert k > 0, \"the kernel is empty\";`"))
}

/// `x |> nn.Conv2d(8, 3)`, `F.relu(x)`, `x.view(8)`
fn module_of_a_layer(site: &Site) -> Option<Explanation> {
    use Kind::{Dot, Name, OpenParen};
    let name = match (site.kind(-2), site.kind(-1), site.found()?, site.kind(1)) {
        (_, Some(Name), Dot, Some(Name)) => 1,
        (Some(Dot), Some(Name), OpenParen, _) => -1,
        _ => return None,
    };
    let (dot, name) = (site.span(name - 1), site.word(name));
    let error = Diagnostic::error("a call has no `.` before its name").primary(dot, "");
    skip(error.help(format!("write the name alone: `{name}(...)`, or `x |> {name}(...)` for a layer")))
}

/// `x[0](3)`
fn call_of_a_value(site: &Site) -> Option<Explanation> {
    if site.found() != Some(Kind::OpenParen)
        || !matches!(site.kind(-1)?, Kind::CloseParen | Kind::CloseBracket)
    {
        return None;
    }
    let error = error(site, "only a name can be called", "a call of what is before it");
    skip(error.help("a product is written with `*`"))
}

/// `model M(x)`
fn parameter_without_type(site: &Site) -> Option<Explanation> {
    let ends = matches!(site.found()?, Kind::CloseParen | Kind::Comma | Kind::Equals);
    if !ends || site.expected() != [":"] || site.inside() != Inside::Parentheses {
        return None;
    }
    let name = site.word(-1);
    let error = Diagnostic::error(format!("the parameter `{name}` has no type")).primary(site.span(-1), "");
    skip(error.help(format!("write `{name}: f32[N, C, H, W]` for pictures, `{name}: int` for a number")))
}

/// `model M { ... }`
fn head_without_parameters(site: &Site) -> Option<Explanation> {
    if site.at != 2
        || !site.expects("(")
        || !matches!(site.tokens[0].kind, Kind::Model | Kind::Block | Kind::Op)
    {
        return None;
    }
    let error = error(site, format!("expected `(`, found {}", describe_found(site)), "parameters come first");
    let head = format!("{} {}", site.word(-2), site.word(-1));
    skip(error.help(format!("write `{head}(x: f32[N, C, H, W])`, where `x` is the input")))
}

/// `train M { ... }`
fn train_without_data(site: &Site) -> Option<Explanation> {
    if site.tokens[0].kind != Kind::Train || !site.expects("on") {
        return None;
    }
    let error = error(site, format!("expected `on`, found {}", describe_found(site)), "on which data?");
    skip(error.help(format!("as in `train {} on Digits {{ ... }}`", site.tokens[1].text(site.text))))
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
