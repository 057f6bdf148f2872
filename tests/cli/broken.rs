//! Steps that go wrong: a loss or a gradient that is not finite stops a run before anything is updated.

use safetensors::SafeTensors;

use crate::place::Place;

/// A net whose bias `shift` goes through an op, with a finite loss and a gradient that the op spoils.
fn net(op: &str, start: &str, settings: &str) -> String {
    format!(
        "op spoil(x: f32) -> y: f32 {{ y = {op}; }}
block shifted(x: f32[N, C, H, W]) {{ param shift: f32[1, C, 1, 1] = {start}; x + spoil(shift) }}
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {{
  x |> conv(4, 3) as stem |> shifted as moved |> batchnorm as bn |> relu |> maxpool(2) |> flatten |> linear(10) as head
}}
data Digits {{ source = digits(); }}
train Net on Digits {{ loss = cross_entropy; batch = 100; epochs = 1; {settings} }}
"
    )
}

/// Everything that a run has learnt: its weights, and the states of its checkpoint.
fn kept(place: &Place, folder: &str) -> Vec<(String, Vec<f32>)> {
    let mut found = Vec::new();
    for file in ["model.safetensors", "checkpoint/state-0.safetensors"] {
        let path = format!("{folder}/{file}");
        if !place.path(&path).exists() {
            continue;
        }
        let bytes = place.read(&path);
        for (name, view) in SafeTensors::deserialize(&bytes).expect("tensors").tensors() {
            let floats =
                view.data().chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four")));
            found.push((name, floats.collect()));
        }
    }
    assert!(!found.is_empty(), "nothing is kept in {folder}");
    found
}

/// Runs a net and gives the message; all that is kept is finite.
fn stopped(text: &str) -> String {
    let place = Place::with("net.cnn", text);
    let said = place.run(&["run", "net.cnn", "--out", "run"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for (name, values) in kept(&place, "run") {
        assert!(values.iter().all(|value| value.is_finite()), "{name} is not finite");
    }
    said.err
}

const OPTIMISERS: [&str; 4] =
    ["optim = sgd(0.1);", "optim = sgd(0.1, momentum=0.9);", "optim = adam(1e-2);", "optim = rmsprop(1e-2);"];

#[test]
fn a_gradient_that_is_no_number_updates_nothing() {
    // 0 * inf at 0, where the value is 0.
    for settings in OPTIMISERS {
        let said = stopped(&net("sqrt(x * x)", "0", settings));
        let wanted = "the gradient of `moved.shift` of layer `moved` is not finite in step 1 (epoch 1)";
        assert!(said.contains(wanted), "{settings}: {said}");
        assert!(said.contains("the first such result is `moved.spoil.d_x`"), "{settings}: {said}");
        assert!(said.contains("The weights before this step are kept"), "{settings}: {said}");
    }
}

#[test]
fn clipping_hides_no_broken_gradient() {
    for clip in ["clip = norm(1.0);", "clip = value(1.0);"] {
        let said = stopped(&net("sqrt(x * x)", "0", &format!("{clip} optim = adam(1e-2);")));
        assert!(said.contains("the gradient of `moved.shift`"), "{clip}: {said}");
    }
}

#[test]
fn a_gradient_without_a_square_updates_nothing() {
    let said = stopped(&net("1e30 * x", "0", "optim = adam(1e-2);"));
    assert!(said.contains("is so large that its square is not finite"), "{said}");
}

#[test]
fn a_loss_that_is_no_number_updates_nothing() {
    let said = stopped(&net("log(x)", "-1", "optim = sgd(0.1);"));
    assert!(said.contains("the loss is NaN in step 1 (epoch 1)"), "{said}");
    let first =
        "the first such result is `moved.spoil.y` at net.cnn:2, computed from `moved.shift`, which is -1. ";
    assert!(said.contains(first), "{said}");
}

/// What is fused with others is named all the same, with what it was computed from.
#[test]
fn a_broken_value_is_told_with_its_operands() {
    let text = "op far(x: f32) -> y: f32 { y = exp(x * 1000); }
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> flatten |> linear(10) as a
    |> far as b
    |> sigmoid |> linear(10) as c
}
data Digits { source = digits(); }
train Net on Digits { loss = cross_entropy; optim = sgd(0.1); batch = 50; epochs = 1; }
";
    let said = stopped(text);
    // 1 / (1 + exp(-inf)) is finite, and so is all behind it, but for the slope of `far`.
    assert!(said.contains("net.cnn:") && said.contains(", computed from `"), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() <= 2 && !said.contains("a line of the model"), "{said}");
}

/// Finite gradients with an update beyond the range: the elements keep their values.
#[test]
fn what_an_update_cannot_hold_keeps_its_value() {
    let place = Place::with("net.cnn", &net("x", "0", "optim = sgd(1e38, momentum=0.9);"));
    let said = place.run(&["run", "net.cnn", "--out", "run", "--steps", "1"]);
    for (name, values) in kept(&place, "run") {
        assert!(values.iter().all(|value| value.is_finite()), "{name} is not finite: {}", said.err);
    }
}

/// The first result is the first in the order of the step, forward before backward, in whatever order kernels run.
#[test]
fn the_first_result_is_that_of_the_step() {
    let model = "model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> flatten |> linear(10) as head }
data Digits { source = digits(); }
train Net on Digits { loss = LOSS; optim = sgd(0.1); batch = 8; epochs = 1; }
";
    for (op, loss, wanted) in [
        // The sum overflows; so does the slope of each square.
        ("loss = sum[n < N] p[n, 0] * p[n, 0] * 3e38 * 1000;", "own", "own.loss"),
        // 0 / 0, whose slopes are infinite or NaN.
        ("a[n] = real(t[n]) * 0; loss = mean[n < N] (p[n, 0] * a[n]) / a[n];", "own", "own.loss"),
        // A part of a loss before its end.
        ("a[n] = log(p[n, 0] * p[n, 0] * -1); loss = mean[n < N, c < C] a[n] * p[n, c];", "own", "own.a"),
        ("loss = 0;", "cross_entropy(weight=[0, 0, 0, 0, 0, 0, 0, 0, 0, 0])", "div.y"),
    ] {
        let text = format!("op own(p: f32[N, C], t: i32[N]) -> loss: f32 {{ {op} }}\n{model}");
        let said = stopped(&text.replace("LOSS", loss));
        assert!(said.contains("error: the loss is "), "{op} {said}");
        assert!(said.contains(&format!("the first such result is `{wanted}`")), "{op} {loss}: {said}");
    }
}
