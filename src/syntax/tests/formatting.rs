//! Canonical text: what it looks like, that it is stable, and that no comment is lost.

use cranelift_entity::EntityRef;
use proptest::prelude::*;

use crate::base::span::FileId;
use crate::syntax::token::{Kind, lex};

use super::samples::SAMPLES;
use super::{plain, soup};

fn file() -> FileId {
    FileId::new(0)
}

fn format(text: &str) -> Option<String> {
    crate::syntax::format(file(), text).ok()
}

/// The canonical text of a text, which must be stable.
#[track_caller]
fn check(text: &str, expected: &str) {
    let formatted = format(text).expect("the text parses");
    assert_eq!(formatted, expected.trim_start_matches('\n'), "\n{formatted}");
    check_stable(text, &formatted);
}

/// Formatting again changes nothing; tree and comments are those of the text.
#[track_caller]
fn check_stable(text: &str, formatted: &str) {
    assert_eq!(format(formatted).as_deref(), Some(formatted), "formatted again\n{text}");
    assert_eq!(tree(formatted), tree(text), "the tree of\n{text}\nas\n{formatted}");
    assert_eq!(comments(formatted), comments(text), "the comments of\n{text}\nin\n{formatted}");
}

fn tree(text: &str) -> String {
    plain(&crate::syntax::parse(file(), text).0)
}

fn comments(text: &str) -> Vec<String> {
    let (tokens, _) = lex(file(), text);
    tokens.comments.iter().map(|comment| comment.text(text).trim_end().to_owned()).collect()
}

#[test]
fn samples_are_stable() {
    for (text, _) in SAMPLES {
        let formatted = format(text).expect("a sample parses");
        check_stable(text, &formatted);
        let widest = formatted.lines().map(|line| line.split("//").next().map_or(0, str::len)).max();
        assert!(widest <= Some(100), "{formatted}");
    }
}

#[test]
fn the_first_sample() {
    let (text, _) = SAMPLES[0];
    let expected = text
        .replace("    //", "//")
        .replace("  source  =", "  source =")
        .replace("(16, 5)       as", "(16, 5) as")
        .replace("5000;                                            //", "5000;                           //");
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let formatted = format(text).expect("the sample parses");
    assert_eq!(squeeze(&formatted), squeeze(&expected));
    assert_eq!(formatted.lines().count(), text.lines().count());
}

#[test]
fn every_comment_stays_at_its_place() {
    check(
        "// first\n\n// second\nmodel M(x: f32[N, 4], // the pictures\n // how many\n k: int) { // body\n\n\n
         // before y\n let y = f(x, // one\n 2); // behind y\n // before the end\n // of it\n y // value\n |> g // step
         // own line\n |> h(1 // argument\n ) }  // behind M\n\n// last",
        "
// first

// second
model M(
  x: f32[N, 4],  // the pictures
  // how many
  k: int
) {  // body
  // before y
  let y = f(
    x,  // one
    2
  );  // behind y
  // before the end
  // of it
  y       // value
    |> g  // step
    // own line
    |> h(
      1  // argument
    )
}  // behind M

// last
",
    );
}

#[test]
fn comments_in_odd_places() {
    check(
        "data // a\n D // b\n { // c\n a // d\n = // e\n (1 // f\n ) // g\n + // h\n\n 2 // i\n ; // j\n } // k",
        "
data  // a
D {   // b
  // c
  a =  // d
  // e
  1  // f
    // g
    // h
    + 2;  // i
  // j
}  // k
",
    );
    check(
        "data D { // a\n // b\n } // c\ndata E { a = f( // d\n ); b = [ // e\n ]; }",
        "
data D {  // a
  // b
}  // c
data E {
  a = f(  // d
  );
  b = [  // e
  ];
}
",
    );
}

#[test]
fn blank_lines() {
    check(
        "\n\nuse \"a.cnn\";\n\n\n\nuse \"b.cnn\";\ndata D {\n\n a = 1;\n\n\n b = 2;\n\n}\n\n\n",
        "
use \"a.cnn\";

use \"b.cnn\";
data D {
  a = 1;

  b = 2;
}
",
    );
}

#[test]
fn nothing() {
    check("", "");
    check(" \n\n", "");
    check("  // only this", "// only this\n");
}

proptest! {
    #![proptest_config(super::cases(1500))]

    #[test]
    fn whatever_parses_is_stable(text in soup::mutant(), comments in prop::bool::ANY) {
        let text = if comments { text.replace(", ", ", // c\n").replace("= ", "=\n// d\n\n") } else { text };
        if let Some(formatted) = format(&text) {
            check_stable(&text, &formatted);
        }
    }

    /// A comment between any two tokens stays, and changes nothing else.
    #[test]
    fn comments_anywhere((text, _) in prop::sample::select(SAMPLES), places in prop::collection::vec(any::<prop::sample::Index>(), 1..8), alone in prop::bool::ANY) {
        let (tokens, _) = lex(file(), text);
        let mut starts: Vec<u32> = places.iter().map(|place| place.get(&tokens.tokens).start).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut commented = text.to_owned();
        for start in starts.into_iter().rev() {
            let comment = if alone { format!("\n\n// c{start}\n") } else { format!(" // c{start}\n") };
            commented.insert_str(start as usize, &comment);
        }
        let formatted = format(&commented).expect("comments change no syntax");
        check_stable(&commented, &formatted);
    }
}

#[test]
fn tokens() {
    let text = "use \"a.cnn\"; // b\n\n  mean[c] é= mean;";
    insta::assert_snapshot!(crate::syntax::tokens_text(file(), text), @r#"
    1:1      Use          use
    1:5      String       "a.cnn"
    1:12     Semicolon    ;
    3:3      Reduce       mean
    3:7      OpenBracket  [
    3:8      Name         c
    3:9      CloseBracket ]
    3:12     Equals       =
    3:14     Name         mean
    3:18     Semicolon    ;
    "#);
    assert!(lex(file(), text).0.tokens.iter().all(|token| token.kind != Kind::Comment));
}

#[test]
fn deep_trees_are_formatted() {
    let pairs = [
        ("[", "]"),
        ("-", ""),
        ("f(", ")"),
        ("x[", "]"),
        ("1 - (", ")"),
        ("if x { ", " }"),
        ("x |> f(", ")"),
    ];
    for (open, close) in pairs {
        let text = format!("data D {{ a = {}1{}; }}", open.repeat(160), close.repeat(160));
        let formatted = format(&text).expect("deep, but not too deep");
        check_stable(&text, &formatted);
    }
}
