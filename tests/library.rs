//! The library as other programs use it: a model from a text, steps, predictions, probes, weights.

use cnnc::{Model, Targets, Values, devices};

const TEXT: &str = "
    model Tiny(x: f32[N, 1, 6, 6]) -> f32[N, 3] {
      x |> conv(4, 3, pad=1) as c1 |> batchnorm |> relu |> maxpool(2) |> flatten |> linear(3) as head
    }
    data Digits { source = digits(); }
    train Tiny on Digits { loss = cross_entropy; optim = adam(0.02); batch = 6; }";

/// Pictures of three kinds: dark, bright, and both.
fn pictures(count: usize) -> (Vec<f32>, Vec<i32>) {
    let pixel = |n: usize, at: usize| match n % 3 {
        0 => 0.1,
        1 => 0.9,
        _ => (at % 2) as f32,
    };
    let pixels = (0..count).flat_map(|n| (0..36).map(move |at| pixel(n, at))).collect();
    (pixels, (0..count).map(|n| (n % 3) as i32).collect())
}

fn floats(values: &Values) -> Vec<f32> {
    values.floats().expect("numbers").to_vec()
}

#[test]
fn a_model_is_trained_and_predicts() {
    let model = Model::from_text("tiny.cnn", TEXT).expect("it is right");
    let mut training = model.training(&devices::host(2).expect("threads")).expect("it compiles");
    let (pixels, labels) = pictures(6);
    let mut losses = Vec::new();
    for _ in 0..40 {
        losses.push(training.step(6, &pixels, Targets::Classes(&labels)).expect("a step"));
    }
    assert!(losses[39] < 0.1 * losses[0], "{losses:?}");
    assert_eq!(training.steps(), 40);
    // Other numbers of samples, by turns.
    for count in [1, 7, 6, 1] {
        let (pixels, labels) = pictures(count);
        let scores = training.predict(count, &pixels).expect("a prediction");
        assert_eq!(scores.shape, [count, 3]);
        for (scores, label) in floats(&scores.values).chunks(3).zip(&labels) {
            let best = (0..3).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            assert_eq!(best, Some(*label as usize), "{scores:?}");
        }
    }
    training.step(3, &pixels[..108], Targets::Classes(&labels[..3])).expect("a smaller step");
}

#[test]
fn layers_can_be_asked_for() {
    let model = Model::from_text("tiny.cnn", TEXT).expect("it is right");
    let mut training = model.training(&devices::host(1).expect("a thread")).expect("it compiles");
    let (pixels, _) = pictures(2);
    let before = training.predict(2, &pixels).expect("a prediction");
    let maps = training.probe("c1", 2, &pixels).expect("a probe");
    assert_eq!(maps.shape, [2, 4, 6, 6]);
    assert!(floats(&maps.values).windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(
        training.probe("head", 2, &pixels).expect("a probe"),
        before,
        "the last layer is the prediction"
    );
    assert_eq!(training.predict(2, &pixels).expect("a prediction"), before);
    let error = training.probe("c2", 2, &pixels).expect_err("there is none").to_string();
    assert_eq!(error, "no layer is called `c2`");
}

#[test]
fn weights_go_out_and_come_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.safetensors");
    let model = Model::from_text("tiny.cnn", TEXT).expect("it is right");
    let device = devices::host(1).expect("a thread");
    let (mut one, mut other) =
        (model.training(&device).expect("one"), model.training(&device).expect("another"));
    let (pixels, labels) = pictures(6);
    for _ in 0..5 {
        one.step(6, &pixels, Targets::Classes(&labels)).expect("a step");
    }
    one.save(&path).expect("a file");
    assert_ne!(one.predict(6, &pixels).expect("one"), other.predict(6, &pixels).expect("another"));
    other.load(&path).expect("what was written");
    assert_eq!(one.predict(6, &pixels).expect("one"), other.predict(6, &pixels).expect("another"));
    let wrong = Model::from_text("wide.cnn", &TEXT.replace("conv(4,", "conv(5,")).expect("it is right");
    let error =
        wrong.training(&device).expect("it compiles").load(&path).expect_err("other shapes").to_string();
    assert!(error.contains("c1.weight") && error.contains("[4, 1, 3, 3]"), "{error}");
    assert!(other.load(&folder.path().join("no")).is_err() && other.save(folder.path()).is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let said = |text: &str| Model::from_text("m.cnn", text).err().expect("an error").to_string();
    let error = said("model M(x: f32[N, 4]) { x |> }");
    assert!(error.contains("m.cnn:1:") && error.starts_with("error"), "{error}");
    let device = devices::host(1).expect("a thread");
    let none = Model::from_text("m.cnn", "model M(x: f32[N, 4]) { x }").expect("it is right");
    let error = none.training(&device).err().expect("no section").to_string();
    assert_eq!(error, "a training takes one train section, and there are 0");
    let wrong = Model::from_text("m.cnn", &TEXT.replace("linear(3)", "linear(3, 4, 5)"));
    let error =
        wrong.and_then(|model| model.training(&device).map(|_| ())).expect_err("too many").to_string();
    assert!(error.contains("m.cnn:3:"), "{error}");
    let model = Model::from_text("tiny.cnn", TEXT).expect("it is right");
    let mut training = model.training(&device).expect("it compiles");
    let (pixels, labels) = pictures(6);
    let mut fails = |samples, pixels: &[f32], targets| {
        training.step(samples, pixels, targets).expect_err("sizes").to_string()
    };
    assert_eq!(
        fails(6, &pixels[1..], Targets::Classes(&labels)),
        "6 samples have 216 pixels ([6, 1, 6, 6]), and 215 are given"
    );
    assert_eq!(
        fails(6, &pixels, Targets::Classes(&labels[1..])),
        "6 samples have 6 labels ([6]), and 5 are given"
    );
    assert_eq!(fails(6, &pixels, Targets::Numbers(&pixels)), "the loss takes targets of i32");
    let nan: Vec<f32> = pixels.iter().map(|_| f32::NAN).collect();
    let before = training.predict(6, &pixels).expect("a prediction");
    let error = training.step(6, &nan, Targets::Classes(&labels)).expect_err("not finite").to_string();
    assert_eq!(error, "the loss is NaN in step 1; the weights before it are kept");
    assert_eq!(training.predict(6, &pixels).expect("a prediction"), before);
    assert!(training.step(0, &[], Targets::Classes(&[])).is_err(), "no samples");
}
