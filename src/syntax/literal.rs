//! Literals: which numbers and strings the language has, and what is no token at all.

use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;

use super::token::Kind;

/// The largest whole number: every one up to it is exact as a 64-bit float.
const LARGEST_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The kind under which the parser sees a token, and what is wrong with it.
pub fn check(kind: Kind, text: &str, span: Span) -> (Kind, Option<Diagnostic>) {
    match kind {
        Kind::Number => (kind, check_number(text, span)),
        Kind::BadNumber => (Kind::Number, Some(bad_number(text, span))),
        Kind::String => (kind, check_escapes(text, span)),
        Kind::OpenString => (Kind::String, Some(open_string(span))),
        _ => (kind, None),
    }
}

/// The value of a number, and whether it is whole. What [`check`] has refused is 0.
pub fn number(text: &str) -> (f64, bool) {
    let integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    (text.replace('_', "").parse().unwrap_or(0.0), integer)
}

/// The value of a string literal, which stands with its quotes. What [`check`] has refused is taken as it stands.
pub fn string(text: &str) -> String {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|escape| escaped(escape).unwrap_or(escape))),
            _ => value.push(character),
        }
    }
    value
}

/// A string as a literal, with its quotes.
pub fn quote(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            _ => text.push(character),
        }
    }
    text + "\""
}

/// What `\` and a character mean.
fn escaped(character: char) -> Option<char> {
    match character {
        '"' | '\\' => Some(character),
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        _ => None,
    }
}

fn check_number(text: &str, span: Span) -> Option<Diagnostic> {
    let (value, integer) = number(text);
    if integer && value > LARGEST_INTEGER {
        let error = Diagnostic::error("this whole number is too large").primary(span, "");
        return Some(
            error
                .note("whole numbers go up to 9007199254740992")
                .help("with a point, as in `1e20`, it is a real number"),
        );
    }
    if !value.is_finite() {
        return Some(
            Diagnostic::error("this number is too large").primary(span, "").help("infinity is written `inf`"),
        );
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or("");
    if value == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        return Some(
            Diagnostic::error("this number is too small").primary(span, "").help("zero is written `0`"),
        );
    }
    None
}

fn bad_number(text: &str, span: Span) -> Diagnostic {
    let error = Diagnostic::error(format!("`{text}` is not a number")).primary(span, "");
    if text.starts_with("0x") || text.starts_with("0b") {
        return error.help("numbers are decimal");
    }
    if text.ends_with(['e', 'E']) {
        return error.help("an exponent needs digits, as in `1e-3`");
    }
    error.help("a name cannot begin with a digit; a product is written with `*`, as in `2*x`")
}

fn check_escapes(text: &str, span: Span) -> Option<Diagnostic> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let next = if character == '\\' { characters.next() } else { continue };
        if let Some((end, escape)) = next.filter(|(_, escape)| escaped(*escape).is_none()) {
            let end = end + escape.len_utf8();
            let place = Span { start: span.start + at as u32, end: span.start + end as u32, ..span };
            let error = Diagnostic::error(format!("a string has no escape `\\{escape}`")).primary(place, "");
            return Some(
                error.help(r#"known are `\"`, `\\`, `\n`, `\r` and `\t`; paths are written with `/`"#),
            );
        }
    }
    None
}

fn open_string(span: Span) -> Diagnostic {
    let error = Diagnostic::error("this string has no end").primary(span, "begins here");
    error.help("a string ends with `\"` on the line where it begins")
}

/// The error of `# text`.
pub fn hash_comment(span: Span) -> Diagnostic {
    let sign = Span { end: span.start + 1, ..span };
    Diagnostic::error("`#` is not part of the language")
        .primary(sign, UNKNOWN)
        .help("a comment begins with `//`")
}

/// Reports a part of a text that is no token; once for what most likely is one mistake.
pub fn unknown_characters(text: &str, span: Span, diagnostics: &mut Vec<Diagnostic>) {
    let Some(character) = text[span.start as usize..span.end as usize].chars().next() else { return };
    if diagnostics.last().is_some_and(|before| is_same_mistake(text, before, span, character)) {
        return;
    }
    let end = span.start + character.len_utf8() as u32;
    let shown =
        if character.is_control() { character.escape_debug().to_string() } else { character.to_string() };
    let error = Diagnostic::error(format!("`{shown}` is not part of the language"));
    let error = error.primary(Span { end, ..span }, UNKNOWN);
    diagnostics.push(match meant(character) {
        Some(help) => error.help(help),
        None => error,
    });
}

/// Whether an unknown character directly follows one that is reported, or is the other quote of a pair.
fn is_same_mistake(text: &str, before: &Diagnostic, span: Span, character: char) -> bool {
    let Some(label) = before.labels.first().filter(|label| label.text == UNKNOWN) else { return false };
    let [first, between] = [label.span.start..label.span.end, label.span.end..span.start]
        .map(|range| &text[range.start as usize..range.end as usize]);
    let is_quote = |character| matches!(character, '\'' | '“' | '”' | '‘' | '’' | '`');
    let both_quotes = is_quote(character) && first.chars().all(is_quote);
    between.is_empty() || (both_quotes && !between.contains('\n'))
}

/// The label of an unknown character.
const UNKNOWN: &str = "unknown character";

/// What the writer of an unknown character should write.
fn meant(character: char) -> Option<&'static str> {
    match character {
        '\'' | '“' | '”' | '‘' | '’' | '`' => Some("strings stand between double quotes, `\"`"),
        '&' => Some("\"and\" is written `&&`"),
        '|' => Some("a pipe is written `|>`, \"or\" `||`"),
        '^' => Some("a power is written `pow(a, b)`"),
        '@' => Some("a matrix product is an equation, or the block `linear`"),
        '\\' => Some("a line needs no sign to go on in the next"),
        '×' | '·' => Some("a product is written `*`"),
        '−' | '–' => Some("minus is written `-`"),
        '≤' => Some("less or equal is written `<=`"),
        '≥' => Some("greater or equal is written `>=`"),
        '≠' => Some("not equal is written `!=`"),
        '→' => Some("an arrow is written `->`"),
        '←' => Some("an update is written `<-`"),
        _ if character.is_alphabetic() => Some("names are made of the letters a to z, digits and `_`"),
        _ => None,
    }
}

/// Whether a word begins a reduction before `[`.
pub fn is_reduction(word: &str) -> bool {
    matches!(word, "sum" | "prod" | "max" | "min" | "mean")
}
