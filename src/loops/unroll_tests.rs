//! Bodies as text before and after; random functions by the interpreter.

use super::*;
use crate::base::philox::RandomState;
use crate::loops::interpreter;
use crate::loops::parser::parse;
use crate::loops::verifier::verify;
use crate::testing::functions;
use crate::testing::samples::fill;

const HEAD: &str = "fn f(x: read f32[64], y: write f32[64])";

/// The body of a function whose loops are unrolled; loops of one iteration are blocks.
fn unrolled(body: &str, choose: &dyn Fn(i64, &[Stmt]) -> Unroll) -> String {
    let function = parse(&format!("{HEAD} {{ {body} }}")).unwrap_or_else(|error| panic!("{error}"));
    let text = unroll(&function, choose).to_string();
    let line = |line: &str| if is_block(line) { "{".to_owned() } else { line.trim().to_owned() };
    let lines: Vec<String> = text.lines().map(line).collect();
    lines[1..lines.len() - 1].join(" ")
}

fn is_block(line: &str) -> bool {
    line.ends_with(" in 0..1 {")
}

fn full(_: i64, _: &[Stmt]) -> Unroll {
    Unroll::Full
}

fn by_two(_: i64, _: &[Stmt]) -> Unroll {
    Unroll::By(2)
}

#[test]
fn a_full_loop_is_its_iterations() {
    assert_eq!(
        unrolled("for i in 0..3 { y[2*i] = x[i + 1] }", &full),
        "{ y[0] = x[1] } { y[2] = x[2] } { y[4] = x[3] }"
    );
    assert_eq!(
        unrolled("for i in 0..2 { for j in 0..2 { y[2*i + j] = 1.0 } }", &full),
        "{ { y[0] = 1.0 } { y[1] = 1.0 } } { { y[2] = 1.0 } { y[3] = 1.0 } }"
    );
}

#[test]
fn a_round_has_as_many_iterations_and_the_rest_follows() {
    assert_eq!(
        unrolled("for i in 0..5 { y[i] = x[(i / 2)] }", &by_two),
        "for iu in 0..2 { { y[2*iu] = x[iu] } { y[2*iu + 1] = x[iu] } } { y[4] = x[2] }"
    );
    assert_eq!(
        unrolled("for i in 0..4 { y[i] = 1.0 }", &by_two),
        "for iu in 0..2 { { y[2*iu] = 1.0 } { y[2*iu + 1] = 1.0 } }"
    );
    // One round is no loop.
    assert_eq!(
        unrolled("for i in 0..3 { y[i] = 1.0 }", &by_two),
        "{ y[0] = 1.0 } { y[1] = 1.0 } { y[2] = 1.0 }"
    );
}

/// A register that a body declares is another one in each copy; one from outside stays.
#[test]
fn each_copy_has_registers_of_its_own() {
    assert_eq!(
        unrolled("s: f32 = 0.0  for i in 0..2 { a: f32 = x[i]  s = s + a }  y[0] = s", &full),
        "s: f32 = 0.0 { a: f32 = x[0] s = s + a } { a_1: f32 = x[1] s = s + a_1 } y[0] = s"
    );
}

#[test]
fn other_loops_stay() {
    let by_extent = |extent, _: &[Stmt]| if extent == 2 { Unroll::Full } else { Unroll::By(1) };
    assert_eq!(
        unrolled("parallel for p in 0..4 { for i in 0..2 { y[p] = x[i] } }", &by_extent),
        "parallel for p in 0..4 { { y[p] = x[0] } { y[p] = x[1] } }"
    );
    assert_eq!(
        unrolled("for i in 0..2 { for j in 0..3 { y[3*i + j] = 1.0 } }", &by_extent),
        "{ for j in 0..3 { y[j] = 1.0 } } { for j in 0..3 { y[j + 3] = 1.0 } }"
    );
    assert!(unrolled("for i in 0..0 { y[i] = 1.0 }", &full).is_empty());
}

/// Random functions stay valid and compute the same bits, however their loops are unrolled.
#[test]
fn random_functions_stay_what_they_are() {
    let mut loops = 0;
    for seed in 0..300 {
        let function = functions::function(seed);
        let run = |function: &Function| {
            let mut buffers = fill(function);
            interpreter::run(function, &mut buffers, RandomState { seed: 7, step: 3 })
                .expect("a valid function");
            buffers
        };
        let wanted = run(&function);
        for factor in 1..4 {
            let choose = |extent: i64, _: &[Stmt]| match factor {
                1 => Unroll::Full,
                _ => Unroll::By(factor.min(extent)),
            };
            let copy = unroll(&function, &choose);
            assert_eq!(verify(&copy), Ok(()), "{function}\n{copy}");
            let is_same = run(&copy).iter().zip(&wanted).all(|(found, wanted)| found.same_bits(wanted));
            assert!(is_same, "by {factor}\n{function}\n{copy}");
            let text = copy.to_string();
            let mut stay = text.lines().filter(|line| line.contains("for ") && !is_block(line));
            loops += usize::from(stay.next().is_some() && factor > 1);
        }
    }
    assert!(loops > 100, "{loops} functions have loops that stay");
}
