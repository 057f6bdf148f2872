//! No text makes the parser panic, hang or overflow the stack.

use proptest::prelude::*;

use super::parse_text;
use super::samples::SAMPLES;

const PIECES: &[&str] = &[
    "model", "inline", "block", "op", "data", "train", "use", "on", "as", "phase", "let", "param", "state",
    "for", "in", "if", "else", "assert", "true", "false", "inf", "f32", "bool", "x", "y", "sum", "mean", "1",
    "2.5e3", "\"s\"", "(", ")", "[", "]", "{", "}", ",", ";", ":", "->", "<-", "|>", "..", ".", "=", "==",
    "<", "+", "-", "*", "!", "&&", "||", "\n", "\n", "// c\n", "\"", "#", "ö", "3x", "\\", "return", "and",
    "\u{feff}", "1e999",
];

fn soup() -> impl Strategy<Value = String> {
    let word = prop::sample::select(PIECES);
    let words = prop::collection::vec((word, prop::bool::weighted(0.8)), 0..60);
    words.prop_map(|words| {
        words.iter().map(|(word, space)| word.to_string() + if *space { " " } else { "" }).collect()
    })
}

/// A sample in which some places have been cut out, doubled or exchanged for something else.
pub fn mutant() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0usize..12, prop::sample::select(PIECES));
    let sample = prop::sample::select(SAMPLES).prop_map(|(text, _)| text.to_owned());
    (sample, prop::collection::vec(edit, 1..6)).prop_map(|(mut text, edits)| {
        for (place, length, piece) in edits {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.floor_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(super::cases(1500))]

    #[test]
    fn token_soup(text in soup()) {
        parse_text(&text);
    }

    #[test]
    fn mutated_samples(text in mutant()) {
        parse_text(&text);
    }

    #[test]
    fn any_text(text in any::<String>()) {
        parse_text(&text);
    }
}

#[test]
fn no_depth_overflows_the_stack() {
    let openings = [
        "(",
        "[",
        "-",
        "!",
        "f(",
        "x[",
        "x + ",
        "x |> f(",
        "if x { ",
        "if x { } else ",
        "sum[i] ",
        "x else ",
        "x.y",
        "x as f32[",
        "{",
        "x < ",
        "for i in 0..1 {",
        "phase x {",
        "f32[",
    ];
    for opening in openings {
        for head in ["model M(x: f32) { ", "data D { x = ", "op f(x: f32) -> y: f32 { y = ", ""] {
            let (_, errors) = parse_text(&(head.to_owned() + &opening.repeat(100_000)));
            assert!(!errors.is_empty(), "{head}{opening}");
        }
    }
}

#[test]
fn long_is_not_deep() {
    let statement = "if a { y = f(y, 1 + 2) as \"n\"; } for i in 0..1 { }";
    let (_, errors) = parse_text(&format!("model M(x: f32) {{ {} }}", statement.repeat(2000)));
    assert_eq!(errors, "");
    let (_, errors) = parse_text(&format!("model M(x: f32) {{ x {} }}", "|> f(1, 2)".repeat(400)));
    assert_eq!(errors, "");
}
