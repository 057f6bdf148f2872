//! What is NaN passes for nothing else: a row of scores with a NaN is never right and has no class.

use cnnc::data::{Split, digits};
use serde_json::{Value, json};

use crate::place::Place;

/// The score of a class is NaN where a pixel is bright, and the loss does not see it.
const TEXT: &str = "\
op spoiled(x: f32[N, 1, H, W], bias: f32[C], at: int) -> y: f32[N, C] {
  s[n, c < C] = sum[i < H, j < W] x[n, 0, i, j] * real((7*i + 3*j + 5*c) % 11 - 5) / 8;
  y[n, c] = if c == at && x[n, 0, 3, 4] > 0.5 { log(bias[c] - 1) } else { s[n, c] };
}
block scores(x: f32[N, 1, H, W], at: int) {
  param bias: f32[10] = 0;
  spoiled(x, bias, at)
}
op own(p: f32[N, C], t: i32[N]) -> loss: f32 {
  loss = mean[n < N] (sum[c < C] if c == t[n] && p[n, c] > -1e9 { p[n, c] } else { 0 });
}
model Spoiled(x: f32[N, 1, 8, 8], at: int = AT) -> f32[N, 10] { scores(x, at) as head }
data Digits { source = digits(); }
train Spoiled on Digits {
  loss = own;  optim = sgd(0.0);  batch = 100;  epochs = 1;  metrics = [accuracy, top(K), confusion];
}
";

fn text(at: usize, k: usize) -> String {
    TEXT.replace("AT", &at.to_string()).replace("top(K)", &format!("top({k})"))
}

/// The scores of a picture, and its label; none where one is NaN.
fn samples(split: &Split) -> Vec<(Option<Vec<f64>>, usize)> {
    let scores = |at: usize| {
        let pixels = split.image(at).expect("a picture").into_owned();
        let term = |(place, pixel): (usize, &u8), class: usize| {
            let weight = ((7 * (place / 8) + 3 * (place % 8) + 5 * class) % 11) as f64 - 5.0;
            f64::from(*pixel) / 16.0 * weight / 8.0
        };
        let score = |class: usize| pixels.iter().enumerate().map(|pixel| term(pixel, class)).sum();
        (pixels[3 * 8 + 4] <= 8).then(|| (0..10).map(score).collect())
    };
    split.classes().iter().enumerate().map(|(at, label)| (scores(at), *label as usize)).collect()
}

/// The share of samples whose label is among the best.
fn share(samples: &[(Option<Vec<f64>>, usize)], k: usize) -> f64 {
    let is_in = |(scores, label): &&(Option<Vec<f64>>, usize)| {
        let Some(scores) = scores else { return false };
        let before = |class: usize| {
            scores[class] > scores[*label] || (scores[class] == scores[*label] && class < *label)
        };
        (0..10).filter(|class| before(*class)).count() < k
    };
    samples.iter().filter(is_in).count() as f64 / samples.len() as f64
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text.trim()).expect("JSON")
}

fn assert_near(record: &Value, key: &str, wanted: f64) {
    let found = record[key].as_f64().expect("a share");
    assert!((found - wanted).abs() < 1e-9, "{key} is {found}, not {wanted}");
}

/// For the first, the last and a class between, in training, validation and test; with all classes, a row without NaN is
/// always right.
#[test]
fn rows_with_nan_are_wrong_and_have_no_class() {
    let data = digits::load().expect("embedded");
    let [train, test] = [&data.train, &data.test].map(samples);
    let without = test.iter().filter(|(scores, _)| scores.is_none()).count();
    assert!(without > 50 && without < 300);
    let place = Place::new();
    for (at, k) in [(0, 1), (4, 3), (9, 10)] {
        place.write("spoiled.cnn", text(at, k));
        let folder = format!("run{at}");
        place.good(&["run", "spoiled.cnn", "--out", &folder]);
        let epoch = json_of(&place.text(&format!("{folder}/metrics.jsonl")));
        for (split, samples) in [("train", &train), ("test", &test)] {
            assert_near(&epoch, &format!("{split}_accuracy"), share(samples, 1));
            assert_near(&epoch, &format!("{split}_top{k}_accuracy"), share(samples, k));
        }
        let last = json_of(&place.text(&format!("{folder}/final.json")));
        assert_near(&last, "test_accuracy", share(&test, 1));
        assert_near(&last, &format!("test_top{k}_accuracy"), share(&test, k));
        assert_eq!(last["unclassified"], json!(without));
        let rows: Vec<Vec<u64>> = serde_json::from_value(last["confusion"].clone()).expect("rows");
        assert_eq!(rows.iter().flatten().sum::<u64>() as usize, test.len() - without);
        let right: u64 = rows.iter().enumerate().map(|(class, row)| row[class]).sum();
        assert!((right as f64 / test.len() as f64 - share(&test, 1)).abs() < 1e-9);
        let line = format!("\n{without} images have no class: a score of each is NaN\n");
        assert!(place.text(&format!("{folder}/confusion.txt")).contains(&line));
    }
    let eval = ["eval", "spoiled.cnn", "--weights", "run9/model.safetensors"];
    let said = json_of(&place.good(&[&eval[..], &["--json"]].concat()));
    assert_eq!(said["unclassified"], json!(without));
    assert!(place.good(&eval).ends_with(&place.text("run9/confusion.txt")));
}

/// `predict` says why it names none, and nothing of it where no score is NaN.
#[test]
fn pictures_with_nan_scores_have_no_class() {
    let test = samples(&digits::load().expect("embedded").test);
    let [bad, good] = [true, false].map(|is_bad| {
        let at = test.iter().position(|(scores, _)| scores.is_none() == is_bad).expect("one");
        format!("test:{at}")
    });
    let place = Place::with("spoiled.cnn", &text(2, 1));
    place.good(&["run", "spoiled.cnn", "--out", "run", "--steps", "1"]);
    let predict = |picture: &str, more: &[&str]| {
        let predict = ["predict", "spoiled.cnn", picture, "--weights", "run/model.safetensors"];
        place.good(&[&predict[..], more].concat())
    };
    assert!(predict(&good, &[]).contains(" %, "));
    assert!(predict(&bad, &[]).contains(" no class: 1 of the 10 scores are NaN "));
    let said = json_of(&predict(&bad, &["--json"]));
    assert_eq!((&said["classes"], &said["unclassified"]), (&json!([]), &json!("1 of the 10 scores are NaN")));
    let said = json_of(&predict(&good, &["--json"]));
    assert!(said.get("unclassified").is_none() && said["classes"][0]["probability"].is_number(), "{said}");
}
