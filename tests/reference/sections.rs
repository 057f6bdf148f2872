//! Optimisers, schedules, clipping, phases and groups, step by step.

use std::f64::consts::PI;

use crate::place::Place;

use crate::reference::network::Sample;
use crate::reference::program::{HELD_OUT, IN_FILES, TRAIN, check, lines, losses, sample, training, with};
use crate::reference::trainer::{Clip, Kind, Optim, Phase, Training, Watch, adam, adamw, sgd};

const BIASES: [&str; 2] = ["a.bias", "ab.bias"];

/// What is left out is as the pages of the language say.
#[test]
fn defaults() {
    let text = "model M(x: f32[N, 1, 8, 8]) -> f32[N, 10] { x |> flatten |> linear(10) as fc }
data D { source = digits(); validate = test; }
train M on D { loss = cross_entropy;  optim = sgd; }";
    let place = Place::with("m.cnn", text);
    let run = |out: &str, settings: &[&str]| -> Vec<serde_json::Value> {
        let settings: Vec<String> = settings.iter().map(|setting| format!("train.{setting}")).collect();
        let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        place.good(&[&["run", "m.cnn", "--out", out], &flags[..]].concat());
        lines(&place, &format!("{out}/metrics.jsonl"))
    };
    let plain = run("plain", &[]);
    // 1,438 pictures are 23 batches of 64.
    assert_eq!((plain.len(), losses(&place, "plain", "train").len()), (10, 10 * 23));
    assert!(plain.iter().all(|epoch| epoch["learning_rate"] == 0.001 && epoch["test_accuracy"].is_number()));
    assert!(!place.path("plain/gradients.jsonl").exists() && !place.path("plain/confusion.txt").exists());
    assert!(
        plain.iter().all(|epoch| epoch.as_object().expect("figures").keys().all(|key| !key.contains("top")))
    );
    let same = ["seed=0", "decay=all", "batch=64", "epochs=10", "fast_math=true", "metrics=[accuracy]"];
    run("same", &same);
    assert_eq!(place.read("plain/model.safetensors"), place.read("same/model.safetensors"));
    assert_eq!(run("stop", &["optim=sgd(0)", "stop=early(val.loss)"]).len(), 6);
    assert!(run("once", &["epochs=3", "stop=early(val.loss)"]).len() == 3, "any gain counts");
    for (schedule, last) in [("step(1)", 1e-5), ("cosine", 0.0), ("linear", 0.0), ("onecycle", 1e-3 / 25e4)] {
        let epochs = run(&schedule[..4], &["epochs=3", &format!("schedule={schedule}")]);
        let found = epochs[2]["learning_rate"].as_f64().expect("a rate");
        // The last step of `cosine` and `linear` is one before their end.
        let (step, steps) = (68.0, 69.0);
        let wanted = match schedule {
            "cosine" => 1e-3 * (1.0 + (PI * step / steps).cos()) / 2.0,
            "linear" => 1e-3 * (1.0 - step / steps),
            _ => last,
        };
        assert!((found / wanted - 1.0).abs() < 1e-9, "{schedule}: {found}, not {wanted}");
    }
}

/// The last batch of an epoch has one picture, and counts for one.
#[test]
fn momentum_decay_of_weights_and_norms_that_are_clipped() {
    let phase = Phase {
        spared_of_decay: BIASES.to_vec(),
        clip: Some(Clip::Norm(1.2)),
        ..Phase::new(3, 4, sgd(0.3, 0.9, 0.1))
    };
    let settings = "optim = sgd(0.3, momentum=0.9, weight_decay=0.1);  decay = weights;  clip = norm(1.2);
        batch = 4;  epochs = 3;";
    let (_, trained) = check("holdout = 6;", settings, &with(vec![phase]));
    assert_eq!(trained.losses.len(), 15);
    assert!((3..=12).contains(&trained.clipped), "{} of 15 steps are clipped", trained.clipped);
}

/// A rest is left out, so an epoch has fewer steps, and the test split validates.
#[test]
fn adam_decay_of_all_and_values_that_are_clipped() {
    let phase = Phase {
        clip: Some(Clip::Value(0.05)),
        factor: |step, _, epoch_steps| 0.5_f64.powi((step / epoch_steps) as i32),
        ..Phase::new(3, 6, adam(0.05, 0.1))
    };
    let settings = "optim = adam(0.05, weight_decay=0.1);  clip = value(0.05);  schedule = exponential(0.5);
        batch = 6;  epochs = 3;";
    let all = training();
    let training = Training {
        // As they lie in their files.
        train: IN_FILES.map(sample).to_vec(),
        val: all.test.clone(),
        test: all.test,
        drop_last: true,
        phases: vec![phase],
        ..training()
    };
    let (_, trained) = check("drop_last = true;", settings, &training);
    assert_eq!((trained.losses.len(), trained.clipped), (3 * (TRAIN / 6), 9));
}

/// A phase counts its own steps, has a fresh optimiser, and takes what the section gives where it says nothing. What is
/// frozen is called `a`, not all that begins so.
#[test]
fn phases() {
    let settings = "batch = 5;  epochs = 2;  optim = sgd(0.2, momentum=0.9);
        phase one { schedule = warmup(3) |> linear(to=0.02);  freeze = a; }
        phase two { batch = 3;  optim = adamw(0.03);  schedule = cosine(to=0.003);  epochs = 3; }
        phase three { schedule = milestones([1, 2], factor=0.5);  epochs = 3;  freeze = !a; }
        phase four { epochs = 2;  optim = adamw(0.02); }";
    let first = Phase {
        frozen: vec!["a.bias", "a.weight"],
        factor: |step, steps, _| match step {
            0..3 => (step + 1) as f64 / 3.0,
            _ => 1.0 - 0.9 * (step - 3) as f64 / (steps - 3) as f64,
        },
        ..Phase::new(2, 5, sgd(0.2, 0.9, 0.0))
    };
    let second = Phase {
        factor: |step, steps, _| 0.1 + 0.9 * (1.0 + (PI * step as f64 / steps as f64).cos()) / 2.0,
        ..Phase::new(3, 3, adamw(0.03, 0.01))
    };
    let third = Phase {
        frozen: vec!["ab.bias", "ab.weight"],
        factor: |step, _, epoch_steps| [1.0, 0.5, 0.25][step / epoch_steps],
        ..Phase::new(3, 5, sgd(0.2, 0.9, 0.0))
    };
    let fourth = Phase::new(2, 5, adamw(0.02, 0.01));
    let (_, trained) = check("holdout = 6;", settings, &with(vec![first, second, third, fourth]));
    assert_eq!(trained.lasted, [2, 3, 3, 2]);
}

/// The name of an instance stands for what is inside, and not for one whose name begins so; the first group that holds a
/// parameter has it. The schedule moves the rates of all.
#[test]
fn groups() {
    let settings = "batch = 5;  epochs = 3;  optim = adamw(0.01, weight_decay=0.2);  decay = weights;
        groups = [a = sgd(0.2, momentum=0.5, weight_decay=0.1), bias = adam(0.05)];  schedule = step(1, factor=0.4);";
    let phase = Phase {
        groups: vec![(vec!["a.bias", "a.weight"], sgd(0.2, 0.5, 0.1)), (vec!["ab.bias"], adam(0.05, 0.0))],
        spared_of_decay: BIASES.to_vec(),
        factor: |step, _, epoch_steps| 0.4_f64.powi((step / epoch_steps) as i32),
        ..Phase::new(3, 5, adamw(0.01, 0.2))
    };
    check("holdout = 6;", settings, &with(vec![phase]));
}

/// Classes have weights: the mean of a batch, and of an epoch, divides by those of its labels.
#[test]
fn a_loss_with_weights() {
    let weighted = |samples: Vec<Sample>| -> Vec<Sample> {
        let weight = |sample: &Sample| [2.0, 0.5, 1.25][sample.labels[0].0];
        samples.into_iter().map(|sample| Sample { weight: weight(&sample), ..sample }).collect()
    };
    let all = with(vec![Phase::new(3, 4, sgd(0.3, 0.0, 0.0))]);
    let (train, val, test) = (weighted(all.train), weighted(all.val), weighted(all.test));
    let training = Training { train, val, test, ..with(all.phases) };
    let settings = "optim = sgd(0.3);  batch = 4;  epochs = 3;  save = best(val.loss);
        loss = cross_entropy(weight=[2, 0.5, 1.25]);";
    let training = Training { save: Some(Watch::ValLoss), ..training };
    check("holdout = 6;", settings, &training);
}

/// Two groups with the same optimiser but for their rates, and a third that is written like the main one.
#[test]
fn groups_with_rates_of_their_own() {
    let settings = "batch = 20;  epochs = 4;  optim = adam(0.01);
        groups = [ab = adam(0.1, beta1=0.5, beta2=0.9), weight = adam(0.03)];  schedule = onecycle(0.5, div=10, final_div=100);";
    let factor = |step: usize, steps: usize, _: usize| {
        let between = |from: f64, to: f64, share: f64| to + (from - to) * (1.0 + (PI * share).cos()) / 2.0;
        let (top, last) = (0.5 * steps as f64 - 1.0, steps as f64 - 1.0);
        match step as f64 {
            step if step <= top => between(0.1, 1.0, step / top),
            step => between(1.0, 0.001, (step - top) / (last - top)),
        }
    };
    let quick = Optim { kind: Kind::Adam { decoupled: false, betas: [0.5, 0.9] }, rate: 0.1, decay: 0.0 };
    let phase = Phase {
        groups: vec![(vec!["ab.bias", "ab.weight"], quick), (vec!["a.weight"], adam(0.03, 0.0))],
        factor,
        // The batch is larger than what is left to train on.
        ..Phase::new(4, TRAIN - HELD_OUT, adam(0.01, 0.0))
    };
    check("holdout = 6;", settings, &with(vec![phase]));
}
