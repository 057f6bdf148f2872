//! Passes keep what a program computes, tried on random ones.

use crate::base::philox::{RandomState, uniform};
use crate::lower::simplify;
use crate::lower::stages::{PIPELINE, common};
use crate::te::interpreter::{Number, Values, run};
use crate::te::parser::parse;
use crate::te::verifier::verify;
use crate::te::{DType, Program};
use crate::testing::programs::{DIFFERENTIATED, program, program_within};

use super::split;

const STATE: RandomState = RandomState { seed: 5, step: 1 };
/// Of the magnitude: sums in another order.
const TOLERANCE: f64 = 1e-9;

fn outputs(program: &Program) -> Vec<Vec<Number>> {
    let mut values = Values::new();
    for (number, input) in program.inputs.iter().enumerate() {
        let data = &program.tensors[*input];
        let draw = |element: usize| f64::from(uniform(STATE, number as u32, element as u32));
        let value = |element: usize| match data.dtype {
            DType::F32 => draw(element) * 2.0 - 1.0,
            DType::I32 | DType::U8 | DType::Bool => (draw(element) * 3.0).floor(),
        };
        values[*input] = (0..data.len()).map(|element| value(element).into()).collect();
    }
    run(program, &mut values, STATE);
    program.outputs.iter().map(|output| values[*output].clone()).collect()
}

fn assert_same(what: &str, before: &[Vec<Number>], after: &[Vec<Number>]) {
    for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
        let (x, y) = (before.value, after.value);
        assert_eq!(before.agrees(y, TOLERANCE, 0.0), Some(true), "{what}: {x} became {y}");
    }
}

#[test]
fn every_pass_keeps_values() {
    for seed in 0..150 {
        let (mut program, used) = program(seed);
        crate::te::normalise::normalise(&mut program);
        let expected = outputs(&program);
        for pass in &PIPELINE[..common()] {
            let before = program.clone();
            pass.rewrite(&mut program);
            let what = format!("seed {seed} {used:?}: {}\n{before}\n{program}", pass.name);
            assert_eq!(verify(&program), Ok(()), "{what}");
            assert_same(&what, &expected, &outputs(&program));
        }
    }
}

#[test]
fn passes_keep_values_of_gradients() {
    for seed in 0..60 {
        let (program, used) = program_within(seed, DIFFERENTIATED);
        for mut derived in gradients(&program) {
            let (before, expected) = (derived.to_string(), outputs(&derived));
            simplify(&mut derived);
            let what = format!("seed {seed} {used:?}:\n{before}\n{derived}");
            assert_same(&what, &expected, &outputs(&derived));
            split::run(&mut derived, 4, None);
            assert_eq!(verify(&derived), Ok(()), "{what}");
            assert_same(&what, &expected, &outputs(&derived));
        }
    }
}

/// What many elements share is computed once, but not where a condition keeps its reads inside.
#[test]
fn nothing_leaves_the_condition_that_guards_it() {
    for (body, hoists) in [
        ("if int(j) >= 1 { sqrt(x[j - 1]) } else { 0 }", false),
        ("if int(j) < 1 { 0 } else { x[j] * exp(x[j - 1]) }", false),
        ("if int(j) < 15 && int(i) > 3 { 1 / x[j + 1] } else { x[j] }", false),
        ("if int(j) >= 1 { sqrt(x[j]) } else { 0 }", true),
        ("if int(j) >= 1 { sqrt(x[max(j - 1, 0)]) } else { 0 }", true),
    ] {
        let text = format!("program(x: f32[16]) -> (y: f32[32, 16]) {{\n  y[i < 32, j < 16] = {body};\n}}\n");
        let mut program = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(verify(&program), Ok(()), "{text}");
        let expected = outputs(&program);
        simplify(&mut program);
        assert_same(body, &expected, &outputs(&program));
        assert_eq!(program.equations.len() > 1, hoists, "{program}");
    }
}

/// Deviations sum to 0 where they are from the mean of what is summed, and nowhere else.
#[test]
fn only_deviations_from_their_own_mean_sum_to_nothing() {
    for (sum, mean, deviations, vanish) in [
        ("sum[k < 8] x[n, k]", "s[n] / 8", "sum[k < 8] (x[n, k] - m[n])", true),
        ("sum[k < 8] x[n, k]", "s[n] * 0.125", "sum[k < 8] (x[n, k] - m[n])", true),
        ("sum[k < 8] x[n, k]", "s[n] / 7", "sum[k < 8] (x[n, k] - m[n])", false),
        ("sum[k < 8] x[n, k]", "s[n] / 16", "sum[k < 8] (x[n, k] - m[n])", false),
        ("sum[k < 7] x[n, k]", "s[n] / 8", "sum[k < 8] (x[n, k] - m[n])", false),
        ("sum[k < 7] x[n, k]", "s[n] / 7", "sum[k < 8] (x[n, k] - m[n])", false),
        ("sum[k < 8] x[n, k]", "s[n] / 8", "sum[k < 7] (x[n, k] - m[n])", false),
        ("sum[k < 8] x[n, k] * x[n, k]", "s[n] / 8", "sum[k < 8] (x[n, k] - m[n])", false),
        ("sum[k < 8] x[n, k]", "s[n] / 8", "sum[k < 8] (x[n, k] - m[-n + 3])", false),
    ] {
        let text = format!(
            "program(x: f32[4, 8]) -> (y: f32[4]) {{\n  s: f32[4];\n  m: f32[4];\n  s[n < 4] = {sum};\n  \
             m[n < 4] = {mean};\n  y[n < 4] = {deviations};\n}}\n"
        );
        let mut program = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let expected = outputs(&program);
        simplify(&mut program);
        let is_zero = outputs(&program).iter().flatten().all(|number| number.value == 0.0);
        assert_eq!(is_zero, vanish, "{text}{program}");
        if !vanish {
            assert_same(&text, &expected, &outputs(&program));
        }
    }
}

/// The programs of the gradients by all inputs.
fn gradients(program: &Program) -> Vec<Program> {
    let mut forward = program.clone();
    crate::te::normalise::normalise(&mut forward);
    let winners = crate::te::adjoint::with_winners(&mut forward);
    let float = |tensor: &crate::te::Tensor| forward.tensors[*tensor].dtype == DType::F32;
    let given: Vec<_> = forward.outputs.iter().copied().filter(float).collect();
    let inputs = forward.inputs.iter().copied().filter(float);
    let derived = inputs.filter_map(|input| crate::te::adjoint::adjoint(&forward, &winners, &given, input));
    derived.map(|derived| derived.program).collect()
}
