//! Figures of a split: means over all of its pictures, however they are cut into batches.

use std::collections::HashMap;
use std::sync::Arc;

use cnnc::base::source::SourceMap;
use cnnc::base::target::Target;
use cnnc::data::{Prepare, Split, digits};
use cnnc::elab::Module;
use cnnc::elab::config::Overrides;
use cnnc::lower::CompileOptions;
use cnnc::runtime::{Executable, Instance, Store, devices};
use cnnc::train::evaluate::{Evaluation, Figures};
use cnnc::train::programs::{StageTimes, compile};
use cnnc::train::recipe::Recipe;
use serde_json::Value;

use crate::place::Place;

/// The weights of the classes: one is never counted.
const WEIGHTS: [f64; 10] = [1.0, 2.0, 0.5, 0.0, 1.0, 3.0, 1.0, 1.0, 0.125, 7.0];

/// A model without parameters, and losses of a user.
const TEXT: &str = "\
op scores(x: f32[N, 1, H, W]) -> y: f32[N, 10] {
  y[n, c] = sum[i < H, j < W] x[n, 0, i, j] * real((7*i + 3*j + 5*c) % 11 - 5) / 8;
}
op onehot(t: i32[N], classes: int) -> y: f32[N, classes] {
  y[n, c] = if c == t[n] { 1 } else { 0 };
}
op own(p: f32[N, C], t: i32[N]) -> (total: f32, weight: f32) {
  total = sum[n < N] real(t[n]) * (sum[c < C] if c == t[n] { p[n, c] } else { 0 });
  weight = sum[n < N] real(t[n]);
}
block doubled(p: f32[N, C], t: i32[N]) {
  let (total, weight) = own(p, t);
  ratio(2 * total, weight)
}
block half(p: f32[N, C], t: i32[N]) { 0.5 * cross_entropy(p, t, weight=WEIGHTS) }
block as_mse(p: f32[N, C], t: i32[N]) { mse(p, onehot(t, C)) }
block as_l1(p: f32[N, C], t: i32[N]) { l1(p, onehot(t, C)) }
block as_huber(p: f32[N, C], t: i32[N]) { huber(p, onehot(t, C), delta=0.5) }
block as_bce(p: f32[N, C], t: i32[N]) { bce(sigmoid(0.125 * p), onehot(t, C)) }
block as_bce_with_logits(p: f32[N, C], t: i32[N]) { bce_with_logits(p, onehot(t, C)) }
model Scores(x: f32[N, 1, 8, 8]) -> f32[N, 10] { scores(x) }
data Digits { source = digits(); }
train Scores on Digits { loss = LOSS;  optim = sgd(0.1); }
";

fn text(loss: &str) -> String {
    TEXT.replace("LOSS", loss).replace("WEIGHTS", &format!("{WEIGHTS:?}"))
}

/// The scores of a picture, and its label.
type Sample = (Vec<f64>, usize);

fn samples(split: &Split) -> Vec<Sample> {
    let scores = |at: usize| {
        let pixels = split.image(at).expect("a picture").into_owned();
        let term = |(place, pixel): (usize, &u8), class: usize| {
            let weight = ((7 * (place / 8) + 3 * (place % 8) + 5 * class) % 11) as f64 - 5.0;
            f64::from(*pixel) / 16.0 * weight / 8.0
        };
        (0..10).map(|class| pixels.iter().enumerate().map(|pixel| term(pixel, class)).sum()).collect()
    };
    split.classes().iter().enumerate().map(|(at, label)| (scores(at), *label as usize)).collect()
}

/// The loss of a sample and what it counts for.
type Formula = fn(&Sample) -> (f64, f64);

fn log_sum(scores: &[f64]) -> f64 {
    scores.iter().map(|score| score.exp()).sum::<f64>().ln()
}

/// PyTorch's: the weights of all classes in the smoothed part, that of the label in the denominator.
fn weighted((scores, label): &Sample, smoothing: f64) -> (f64, f64) {
    let rest = |class: usize| WEIGHTS[class] * (log_sum(scores) - scores[class]);
    let all = (0..10).map(rest).sum::<f64>() / 10.0;
    ((1.0 - smoothing) * rest(*label) + smoothing * all, WEIGHTS[*label])
}

/// The mean of a loss of each element, over a target of one 1.
fn mean((scores, label): &Sample, loss: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    let element = |(class, score): (usize, &f64)| loss(*score, f64::from(u8::from(class == *label)));
    (scores.iter().enumerate().map(element).sum::<f64>() / 10.0, 1.0)
}

fn huber(score: f64, target: f64) -> f64 {
    let far = (score - target).abs();
    if far < 0.5 { 0.5 * far * far } else { 0.5 * (far - 0.25) }
}

fn bce(score: f64, target: f64) -> f64 {
    score.max(0.0) - score * target + (-score.abs()).exp().ln_1p()
}

const FORMULAS: &[(&str, Formula)] = &[
    ("cross_entropy", |(scores, label)| (log_sum(scores) - scores[*label], 1.0)),
    ("cross_entropy(label_smoothing=0.25)", |(scores, label)| {
        let smooth = scores.iter().sum::<f64>() / 10.0;
        (log_sum(scores) - 0.75 * scores[*label] - 0.25 * smooth, 1.0)
    }),
    ("cross_entropy(weight=WEIGHTS)", |sample| weighted(sample, 0.0)),
    ("cross_entropy(weight=WEIGHTS, label_smoothing=0.25)", |sample| weighted(sample, 0.25)),
    ("weighted_cross_entropy(0.25, WEIGHTS)", |sample| weighted(sample, 0.25)),
    ("nll", |(scores, label)| (-scores[*label], 1.0)),
    ("as_mse", |sample| mean(sample, |score, target| (score - target) * (score - target))),
    ("as_l1", |sample| mean(sample, |score, target| (score - target).abs())),
    ("as_huber", |sample| mean(sample, huber)),
    ("as_bce", |sample| mean(sample, |score, target| bce(0.125 * score, target))),
    ("as_bce_with_logits", |sample| mean(sample, bce)),
    ("own", |(scores, label)| (*label as f64 * scores[*label], *label as f64)),
    ("doubled", |(scores, label)| (2.0 * *label as f64 * scores[*label], *label as f64)),
];

/// The figures of the test split at several sizes of the batch.
fn figures<const B: usize>(loss: &str, split: &Split, batches: [usize; B]) -> [Figures; B] {
    let module =
        Module::from_text(&mut SourceMap::default(), "figures.cnn", &text(loss)).expect("it is right");
    let spec = module.train_spec(module.train_sections()[0], &Overrides::default()).expect("it is right");
    let recipe = Recipe::of(&module, &spec);
    let (options, device) = (CompileOptions::of(Target::host()), devices::host(1).expect("a thread"));
    let prepare = Prepare::new(1, 16.0, &[]).expect("no steps");
    let mut executables: HashMap<i64, Arc<Executable>> = HashMap::new();
    batches.map(|batch| {
        let (prepare, store) = (&prepare, &mut Store::on(&device));
        let evaluation = Evaluation { split, prepare, batch, store, threads: 1, confusion: None };
        let run = evaluation.run(
            &mut |(_, images), store, run| {
                let compiled = || {
                    let graph = recipe.evaluation(images).expect("it elaborates");
                    compile(&graph, &options, &*device, &mut StageTimes::default()).expect("it compiles")
                };
                let executable = executables.entry(images).or_insert_with(compiled).clone();
                let mut program = Instance::bind(executable, &device, store).expect("its own store");
                run(&mut program, store).expect("its own store");
                Ok(())
            },
            &mut |_| Ok(()),
        );
        run.expect("it runs")
    })
}

fn check(what: &str, found: f64, expected: f64) {
    let far = (found - expected).abs();
    assert!(far <= 5e-6 * (1.0 + expected.abs()), "{what}: {found}, by the formula {expected}");
}

#[test]
fn every_loss_is_the_mean_of_the_whole_split() {
    let split = digits::load().expect("embedded").test;
    let samples = samples(&split);
    for (loss, formula) in FORMULAS {
        let (total, weight) =
            samples.iter().map(formula).fold((0.0, 0.0), |(a, b), (loss, weight)| (a + loss, b + weight));
        let batches = [1, 2, 7, 64, split.len()];
        for (batch, figures) in batches.iter().zip(figures(loss, &split, batches)) {
            check(&format!("{loss} in batches of {batch}"), figures.loss(), total / weight);
        }
    }
}

/// A loss that does not say what it divides by is averaged by pictures: its figure is that of the batches.
#[test]
fn a_loss_without_a_weight_is_averaged_by_pictures() {
    let split = digits::load().expect("embedded").test;
    let samples = samples(&split);
    for (batch, figures) in [60, 64].into_iter().zip(figures("half", &split, [60, 64])) {
        let of_batch = |samples: &[Sample]| {
            let parts = samples.iter().map(|sample| weighted(sample, 0.0));
            let (total, weight) = parts.fold((0.0, 0.0), |(a, b), (loss, weight)| (a + loss, b + weight));
            0.5 * total / weight * samples.len() as f64
        };
        let expected = samples.chunks(batch).map(of_batch).sum::<f64>() / samples.len() as f64;
        check(&format!("batches of {batch}"), figures.loss(), expected);
    }
}

/// A batch without weight counts for nothing, and a split without any has no figure.
#[test]
fn batches_without_weight() {
    let last: Vec<u32> = (340..359).collect();
    let (_, last) = digits::load().expect("embedded").test.set_apart(&last);
    let only = |class: i32| {
        let weights: Vec<u8> = (0..10).map(|other| u8::from(class == other)).collect();
        format!("cross_entropy(weight={weights:?})")
    };
    assert!(last.classes().contains(&2) && !last.classes().contains(&10));
    let [single, whole] = figures(&only(2), &last, [1, last.len()]).map(|figures| figures.loss());
    check("one class, picture by picture", single, whole);
    assert!(whole > 0.0, "{whole}");
    let none = format!("cross_entropy(weight={:?})", [0; 10]);
    assert!(figures(&none, &last, [3])[0].loss().is_nan());
}

fn lines(place: &Place, file: &str) -> Vec<Value> {
    place.text(file).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A train section with weights whose rate is 0, so that all batches have the same parameters.
fn weighted_place() -> Place {
    let loss = format!("loss = cross_entropy(weight={WEIGHTS:?});");
    let text = crate::place::TINY
        .replace("loss = cross_entropy;", &loss)
        .replace("|> dropout(0.2) ", "")
        .replace("|> batchnorm as bn ", "");
    Place::with("tiny.cnn", &text)
}

/// What is validated, tested and evaluated with the same weights has one loss, and so has an epoch that learns nothing.
#[test]
fn runs_do_not_depend_on_the_batch() {
    let place = weighted_place();
    let still = ["--set", "train.optim=sgd(0.0)", "--epochs", "1"];
    let epochs = ["9", "100", "1438"].map(|batch| {
        let out = format!("run{batch}");
        place.good(&[&["run", "tiny.cnn", "--out", &out, "--batch", batch], &still[..]].concat());
        let last = lines(&place, &format!("{out}/final.json")).remove(0);
        let epoch = lines(&place, &format!("{out}/metrics.jsonl")).remove(0);
        assert_eq!(epoch["test_loss"], last["test_loss"]);
        [&epoch["train_loss"], &epoch["test_loss"]].map(|loss| loss.as_f64().expect("a number"))
    });
    for epoch in &epochs[1..] {
        check("train_loss", epoch[0], epochs[0][0]);
        check("test_loss", epoch[1], epochs[0][1]);
    }
    for batch in ["1", "359"] {
        let eval = ["eval", "tiny.cnn", "--json", "--weights", "run9/model.safetensors", "--batch", batch];
        let said: Value = serde_json::from_str(&place.good(&eval)).expect("JSON");
        check("eval", said["test_loss"].as_f64().expect("a number"), epochs[0][1]);
    }
}

/// A run that stops within an epoch goes on with both sums, of mixed pictures too; a checkpoint of a version that kept
/// one of them has no figure for the epoch, and trains on.
#[test]
fn sums_are_resumed() {
    let place = weighted_place();
    let mixed = ["--set", "data.augment=mixup(0.4)"];
    let run = |more: &[&str]| place.good(&[&["run", "tiny.cnn"], more, &mixed].concat());
    let losses = |folder: &str| {
        let epochs = lines(&place, &format!("{folder}/metrics.jsonl")).into_iter();
        epochs.map(|epoch| (epoch["train_loss"].clone(), epoch["test_loss"].clone())).collect::<Vec<_>>()
    };
    run(&["--out", "whole"]);
    run(&["--out", "part", "--steps", "20"]);
    let progress = place.text("part/checkpoint/progress.json");
    run(&["--resume", "part"]);
    assert_eq!(losses("whole"), losses("part"));
    assert!(losses("whole").iter().all(|(train, _)| train.is_number()));

    run(&["--out", "old", "--steps", "20"]);
    let mut old: Value = serde_json::from_str(&progress).expect("JSON");
    // As a version wrote it that had neither weights of losses nor sums of files, nor said what a run is.
    let mut position = old["position"].take();
    position["tensors"] = old["tensors"]["file"].take();
    assert!(position["begun"].as_object_mut().expect("an object").remove("weight").is_some());
    for key in ["seconds", "best_epoch"] {
        assert!(position.as_object_mut().expect("an object").remove(key).is_some());
    }
    place.write("old/checkpoint/progress.json", position.to_string());
    std::fs::remove_file(place.path("old/run.json")).expect("a file");
    std::fs::remove_dir_all(place.path("old/source")).expect("a folder");
    let said = place.run(&["run", "--resume", "old"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.ends_with("name the model file: cnnc run FILE --resume old\n"), "{}", said.err);
    run(&["--resume", "old"]);
    assert_eq!(losses("old")[1].0, Value::Null);
    assert_eq!(losses("old")[1].1, losses("whole")[1].1);
    assert_eq!(place.read("old/model.safetensors"), place.read("whole/model.safetensors"));
}
