//! The fixtures are whole, and the formula makes the numbers here that it made in Python.

mod formula;

use formula::cases::{self, Case, Made};

#[test]
fn the_formula_is_that_of_python() {
    for example in cases::EXAMPLES {
        let steps = cases::steps(example);
        for tensor in &steps.parameters {
            let values = formula::values(&tensor.name, &tensor.shape, &tensor.rule);
            let count = tensor.first.len();
            assert_eq!(values[..count], tensor.first, "{example} {}", tensor.name);
        }
        let images = formula::values("input 0", &steps.input.shape, &steps.input.rule);
        assert_eq!(images[..8], steps.input.first, "{example}");
        assert_eq!(formula::labels("label 0", steps.batch, 10), steps.labels, "{example}");
    }
}

#[test]
fn values_are_exact_in_single_precision() {
    for rule in ["grid", "weight", "wide", "coarse", "pixel", "unit", "near_one", "small", "zero", "one"] {
        let values = formula::values("x", &[16, 300], rule);
        assert!(values.iter().all(|value| f64::from(*value as f32) == *value), "{rule}");
    }
}

#[test]
fn steps_are_complete() {
    for example in cases::EXAMPLES {
        let steps = cases::steps(example);
        assert_eq!(steps.example, example);
        assert_eq!(steps.loss_f64.len(), steps.steps);
        assert!(steps.loss_f32.iter().all(|losses| losses.len() == steps.steps));
        assert_eq!(steps.loss_f32.len(), steps.evaluation_loss_f32.len());
        assert_eq!(steps.trained_f64.len(), steps.parameters.len());
    }
}

#[test]
fn ops_are_complete() {
    let cases = cases::ops();
    assert!(cases.len() > 70);
    for case in &cases {
        if case.op == "optimiser" {
            assert_eq!(case.after.len(), 3, "{}", case.name);
        } else {
            check_gradients(case);
        }
    }
}

/// Every input and parameter has a gradient of its size, and the output has its size.
fn check_gradients(case: &Case) {
    for Made { name, shape, .. } in case.inputs.iter().chain(&case.params) {
        assert_eq!(case.gradients[name].len(), shape.iter().product::<usize>(), "{} {name}", case.name);
    }
    match &case.y {
        Some(y) => assert_eq!(y.values.len(), case.output_gradient().len(), "{}", case.name),
        None => assert!(case.loss.is_some() && case.target.is_some(), "{}", case.name),
    }
}

/// The targets of losses over classes are the formula's labels.
#[test]
fn labels_of_losses_are_the_formula_s() {
    for case in cases::ops() {
        if let Some(labels) = case.target.as_ref().and_then(|target| target.values.clone()) {
            let classes = case.inputs[0].shape[1] as u32;
            assert_eq!(labels, formula::labels(&format!("{} target", case.name), labels.len(), classes));
        }
    }
}
