//! What must hold of every program, tried on random ones.

use super::interpreter::run;
use super::normalise::normalise;
use super::parser::parse;
use super::verifier::{verify, verify_normal_form};
use super::{DType, Program};
use crate::base::philox::{RandomState, uniform};
use crate::testing::gradients;
use crate::testing::programs::{DIFFERENTIATED, program, program_within};

const STATE: RandomState = RandomState { seed: 11, step: 2 };

/// The values of the outputs on inputs from the seed.
pub fn outputs(program: &Program) -> Vec<Vec<f64>> {
    let mut values = gradients::inputs(program, |dtype, number, element| {
        let draw = f64::from(uniform(STATE, number, element));
        match dtype {
            DType::F32 => draw * 2.0 - 1.0,
            DType::I32 | DType::U8 | DType::Bool => (draw * 3.0).floor(),
        }
    });
    run(program, &mut values, STATE);
    let numbers = |tensor: &super::Tensor| values[*tensor].iter().map(|number| number.value).collect();
    program.outputs.iter().map(numbers).collect()
}

fn assert_same(seed: u64, before: &[Vec<f64>], after: &[Vec<f64>], tolerance: f64) {
    assert_eq!(before.len(), after.len(), "seed {seed}");
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.len(), after.len(), "seed {seed}");
        for (x, y) in before.iter().zip(after) {
            let close = x == y
                || (x.is_nan() && y.is_nan())
                || x.is_finite() && (x - y).abs() <= tolerance * (1.0 + x.abs());
            assert!(close, "seed {seed}: {x} became {y}");
        }
    }
}

#[test]
fn a_text_is_read_back() {
    for seed in 0..300 {
        let (program, used) = program(seed);
        let text = program.to_string();
        let read = parse(&text).unwrap_or_else(|error| panic!("seed {seed} {used:?}: {error}\n{text}"));
        assert_eq!(read.to_string(), text, "seed {seed}");
        assert_eq!(verify(&read), Ok(()), "seed {seed}");
        if seed < 100 {
            assert_same(seed, &outputs(&program), &outputs(&read), 0.0);
        }
    }
}

#[test]
fn the_normal_form_keeps_values() {
    for seed in 0..200 {
        let (program, _) = program(seed);
        let mut normal = program.clone();
        normalise(&mut normal);
        assert_eq!(verify(&normal), Ok(()), "seed {seed}:\n{normal}");
        assert_eq!(verify_normal_form(&normal), Ok(()), "seed {seed}:\n{normal}");
        assert_same(seed, &outputs(&program), &outputs(&normal), 0.0);
        let text = normal.to_string();
        assert_eq!(parse(&text).map(|read| read.to_string()), Ok(text), "seed {seed}");
    }
}

#[test]
fn pruning_keeps_values() {
    for seed in 0..100 {
        let (program, _) = program(seed);
        let (pruned, kept) = program.pruned(false);
        assert_eq!(kept.len(), program.inputs.len());
        assert_eq!(verify(&pruned), Ok(()), "seed {seed}");
        assert_same(seed, &outputs(&program), &outputs(&pruned), 0.0);
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for seed in 0..150 {
        let (program, used) = program_within(seed, DIFFERENTIATED);
        let verified = &mut |derived: &mut Program| {
            assert_eq!(verify(derived), Ok(()), "seed {seed} {used:?}:\n{program}\n{derived}");
            let text = derived.to_string();
            assert_eq!(parse(&text).map(|read| read.to_string()), Ok(text), "seed {seed}");
        };
        let result = gradients::check_with(&program, verified);
        assert_eq!(result, Ok(()), "seed {seed} {used:?}:\n{program}");
    }
}
