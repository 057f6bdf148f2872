//! What is drawn: the order of an epoch, what a step drops, the weights of a seed. At a rate of 0 nothing moves, so the
//! loss of a step says which picture it was.

use std::collections::BTreeMap;

use crate::place::Place;
use crate::reference::network::{CLASSES, HIDDEN, MODEL, PIXELS, Sample, evaluate, start};
use crate::reference::program::{
    HELD_OUT, TRAIN, all_close, lines, losses, place, run, samples, tensors, write_pictures,
};

const LEFT: usize = TRAIN - HELD_OUT;

/// The loss of one picture.
fn loss(sample: &Sample) -> f64 {
    evaluate(&start(), std::slice::from_ref(sample)).0.loss
}

/// The pictures of the steps of each epoch of a run with one picture a step.
fn orders(place: &Place, out: &str, epochs: usize) -> Vec<Vec<usize>> {
    let known: Vec<f64> = samples(0..LEFT).iter().map(loss).collect();
    let mut sorted = known.clone();
    sorted.sort_by(f64::total_cmp);
    assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] > 1e-4), "pictures have losses of their own");
    let picture = |found: &f64| {
        let near = |known: &f64| (known - found).abs() < 2e-5;
        known.iter().position(near).unwrap_or_else(|| panic!("no picture has the loss {found}"))
    };
    let steps: Vec<usize> = losses(place, out, "train").iter().map(picture).collect();
    assert_eq!(steps.len(), epochs * LEFT, "steps");
    steps.chunks(LEFT).map(<[usize]>::to_vec).collect()
}

/// Every epoch has all pictures that are not held out, each once, in an order of its own; seeds have theirs.
#[test]
fn every_epoch_has_an_order_of_its_own() {
    let place = place("holdout = 6;", "optim = sgd(0);  batch = 1;  epochs = 4;  seed = 1;");
    run(&place, "one", &[]);
    run(&place, "again", &["--seed", "1"]);
    run(&place, "two", &["--seed", "2"]);
    run(&place, "set", &["--set", "train.seed=2"]);
    run(&place, "plain", &["--set", "data.shuffle=false"]);
    let (one, two) = (orders(&place, "one", 4), orders(&place, "two", 4));
    let plain: Vec<usize> = (0..LEFT).collect();
    assert_eq!(orders(&place, "plain", 4), vec![plain.clone(); 4]);
    assert_eq!((orders(&place, "again", 4), orders(&place, "set", 4)), (one.clone(), two.clone()));
    let mut all = [vec![plain.clone()], one, two].concat();
    for order in &all {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, plain, "{order:?}");
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 9, "orders are repeated: {all:?}");
}

/// Of the pictures that an order puts last, those that fill no batch are left out.
#[test]
fn what_fills_no_batch_is_left_out() {
    let place = place("holdout = 6;  shuffle = false;", "optim = sgd(0);  batch = 5;  epochs = 2;");
    run(&place, "all", &[]);
    run(&place, "whole", &["--set", "data.drop_last=true"]);
    let batches: Vec<f64> =
        samples(0..LEFT).chunks(5).map(|batch| evaluate(&start(), batch).0.mean_loss()).collect();
    all_close("a loss", &losses(&place, "all", "train"), &batches.repeat(2));
    all_close("a loss", &losses(&place, "whole", "train"), &batches[..3].repeat(2));
    // What validates and what tests is whole in any case.
    for split in ["val", "test"] {
        let epochs = if split == "val" { 2 } else { 1 };
        let of = |from: std::ops::Range<usize>| {
            let batches: Vec<f64> =
                samples(from).chunks(5).map(|batch| evaluate(&start(), batch).0.mean_loss()).collect();
            batches.repeat(epochs)
        };
        let wanted = if split == "val" { of(LEFT..TRAIN) } else { of(TRAIN..TRAIN + 8) };
        for out in ["all", "whole"] {
            all_close(split, &losses(&place, out, split), &wanted);
        }
    }
}

/// Each step drops other numbers, those of its seed, also where it has the same pictures; validation drops none.
#[test]
fn every_step_draws_its_own() {
    let dropping = MODEL.replace("|> tanh", "|> tanh |> dropout(0.5)");
    let place = place("shuffle = false;", "optim = sgd(0);  batch = 9;  epochs = 3;");
    let twice: Vec<usize> = (0..9).chain(0..9).collect();
    write_pictures(&place, "data", &twice, &(LEFT..TRAIN).collect::<Vec<_>>());
    place.write("net.cnn", place.text("net.cnn").replace(MODEL, &dropping));
    run(&place, "one", &[]);
    run(&place, "two", &["--seed", "2"]);
    let mut seen = [losses(&place, "one", "train"), losses(&place, "two", "train")].concat();
    seen.push(evaluate(&start(), &samples(0..9)).0.mean_loss());
    seen.sort_by(f64::total_cmp);
    assert!(seen.len() == 13 && seen.windows(2).all(|pair| pair[1] - pair[0] > 1e-5), "{seen:?}");
    let val = evaluate(&start(), &samples(LEFT..TRAIN)).0.mean_loss();
    for out in ["one", "two"] {
        all_close("test", &losses(&place, out, "test"), &[val; 4]);
    }
}

/// Runs a step at a rate of 0; the weights that it began with.
fn initial(place: &Place, out: &str, more: &[&str]) -> BTreeMap<String, Vec<f64>> {
    place.good(&[&["run", "net.cnn", "--out", out, "--steps", "1"], more].concat());
    tensors(place, &format!("{out}/model.safetensors"))
}

/// `linear` draws weights from `kaiming_uniform(a=sqrt(5))`, which is within `1/sqrt(fan_in)`, and so are its biases.
#[test]
fn weights_to_begin_with() {
    let place = place("", "optim = sgd(0);  batch = 17;  seed = 4;");
    let drawn = initial(&place, "drawn", &[]);
    for (name, fan_in, count) in [
        ("a.weight", PIXELS, HIDDEN * PIXELS),
        ("a.bias", PIXELS, HIDDEN),
        ("ab.weight", HIDDEN, CLASSES * HIDDEN),
        ("ab.bias", HIDDEN, CLASSES),
    ] {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let values = &drawn[name];
        assert_eq!(values.len(), count);
        assert!(name.ends_with("bias") || values.iter().any(|value| *value < 0.0));
        let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        assert!(largest <= bound && largest > 0.4 * bound, "{name}: {largest} of {bound}");
        let mut others = values.clone();
        others.sort_by(f64::total_cmp);
        others.dedup();
        assert!(others.len() == count, "{name}: {values:?}");
    }
    assert_eq!(initial(&place, "again", &["--seed", "4"]), drawn);
    let other = initial(&place, "other", &["--seed", "5"]);
    assert!(drawn.iter().all(|(name, values)| *values != other[name]));

    // A block's initialiser is for its weights and not for its biases.
    let block = initial(&place, "block", &["--set", "train.init=[linear = 0.5]"]);
    assert_eq!((&block["a.bias"], &block["ab.bias"]), (&drawn["a.bias"], &drawn["ab.bias"]));
    assert!(block["a.weight"].iter().chain(&block["ab.weight"]).all(|value| *value == 0.5));

    // The name of a parameter goes before that of a block; a constant is one, and a deviation is one.
    let init = initial(&place, "init", &["--set", "train.init=[linear = normal(3, 0.5), bias = -0.25]"]);
    assert!(init["a.bias"].iter().chain(&init["ab.bias"]).all(|value| *value == -0.25));
    let weights: Vec<f64> = init["a.weight"].iter().chain(&init["ab.weight"]).copied().collect();
    let count = weights.len() as f64;
    let mean = weights.iter().sum::<f64>() / count;
    let deviation = (weights.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!((mean - 3.0).abs() < 0.25 && (0.35..0.65).contains(&deviation), "{mean} {deviation}");

    // What `except` names begins as without a file, the rest as in the file.
    let set = "train.weights=load(\"start.safetensors\", except=a)";
    let loaded = initial(&place, "loaded", &["--set", set]);
    for (name, values) in &loaded {
        let wanted = if name.starts_with("a.") { &drawn[name] } else { &start()[name.as_str()] };
        assert_eq!(values, wanted, "{name}");
    }
    assert_eq!(lines(&place, "loaded/metrics.jsonl").len(), 1);
}
