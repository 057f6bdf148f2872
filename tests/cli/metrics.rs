//! The metrics of a train section: what `run` and `eval` show and write down.

use serde_json::Value;

use crate::place::Place;

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).expect("JSON")
}

fn keys(record: &Value) -> Vec<&str> {
    let keys = record.as_object().expect("an object").keys().map(String::as_str);
    keys.filter(|key| *key != "format").collect()
}

/// The table's titles, the line of test figures, and the names in it.
fn run(place: &Place, metrics: &str, more: &[&str]) -> (String, String) {
    let set = format!("train.metrics={metrics}");
    let out = place.good(&[&["run", "tiny.cnn", "--set", &set][..], more].concat());
    let test = out.lines().find(|line| line.starts_with("test ")).expect("test figures");
    let titles = out.lines().find(|line| line.starts_with("epoch "));
    (titles.expect("titles").to_owned(), test.split(';').next().unwrap_or_default().to_owned())
}

/// The numbers of a record, without what depends on the clock.
fn epochs(place: &Place, folder: &str) -> Vec<Value> {
    let text = place.text(&format!("{folder}/metrics.jsonl"));
    let without_clock = |line: &str| {
        let mut record = json(line);
        let fields = record.as_object_mut().expect("an object");
        fields.retain(|key, _| key != "seconds" && key != "images_per_second");
        record
    };
    text.lines().map(without_clock).collect()
}

#[test]
fn all_of_them() {
    let place = Place::tiny();
    let metrics = "[accuracy, top(3), confusion]";
    let (titles, test) = run(&place, metrics, &["--out", "all"]);
    let wanted =
        "epoch  train loss  train acc  train top3  test loss  test acc  test top3      time   images/s";
    assert_eq!(titles, wanted);
    let last = json(&place.text("all/final.json"));
    let share = |key: &str| last[key].as_f64().expect("a share");
    let (accuracy, top) = (share("test_accuracy"), share("test_top3_accuracy"));
    assert!(0.5 < accuracy && accuracy < top && top < 1.0, "{last}");
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let shown =
        format!("test accuracy {}, test top3 accuracy {}, test loss ", percent(accuracy), percent(top));
    assert!(test.starts_with(&shown), "{test}");
    let record = &epochs(&place, "all")[1];
    for split in ["train", "test"] {
        let [accuracy, top] =
            ["accuracy", "top3_accuracy"].map(|key| record[format!("{split}_{key}")].as_f64());
        assert!(accuracy < top && top < Some(1.0), "{record}");
    }
    assert!(place.text("all/curves.svg").contains("top-k accuracy (%)"));

    let rows = last["confusion"].as_array().expect("rows");
    let row = |row: &Value| -> Vec<u64> { serde_json::from_value(row.clone()).expect("a row") };
    let rows: Vec<Vec<u64>> = rows.iter().map(row).collect();
    let right: u64 = rows.iter().enumerate().map(|(class, row)| row[class]).sum();
    assert_eq!(rows.iter().flatten().sum::<u64>(), 359);
    assert_eq!(right as f64 / 359.0, accuracy);

    let set = format!("train.metrics={metrics}");
    let eval = ["eval", "tiny.cnn", "--weights", "all/model.safetensors", "--set", &set];
    let said = json(&place.good(&[&eval[..], &["--json"]].concat()));
    for key in keys(&last) {
        assert_eq!(said[key], last[key], "{key}");
    }
    let said = place.good(&eval);
    assert!(said.contains(&format!("\naccuracy  {}\ntop 3     {}\n\n", percent(accuracy), percent(top))));
    assert!(said.ends_with(&format!("\n\n{}", place.text("all/confusion.txt"))), "{said}");
}

#[test]
fn none_of_them() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "default"]);
    let (titles, test) = run(&place, "[]", &["--out", "none"]);
    assert_eq!(titles, "epoch  train loss  test loss      time   images/s");
    assert!(test.starts_with("test loss "), "{test}");
    let last = json(&place.text("none/final.json"));
    assert_eq!(keys(&last), ["test_accuracy", "test_loss"]);
    assert!(last["test_accuracy"].is_null() && last["test_loss"].is_number());
    assert!(!place.text("none/curves.svg").contains("accuracy"));
    assert_eq!(place.read("default/model.safetensors"), place.read("none/model.safetensors"));
    for (mut with, without) in epochs(&place, "default").into_iter().zip(epochs(&place, "none")) {
        for key in ["train_accuracy", "test_accuracy"] {
            assert!(with[key].is_number());
            with[key] = Value::Null;
        }
        assert_eq!(with, without);
    }
    let eval = ["eval", "tiny.cnn", "--weights", "none/model.safetensors", "--set", "train.metrics=[]"];
    let said = place.good(&eval);
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// A run that stops in the middle of an epoch goes on with the counts of its first part.
#[test]
fn counts_are_resumed() {
    let place = Place::tiny();
    let metrics = "[top(2), confusion]";
    let augmented = ["--set", "data.augment=mixup(0.4)"];
    run(&place, metrics, &[&["--out", "whole"], &augmented[..]].concat());
    run(&place, metrics, &[&["--out", "part", "--steps", "20"], &augmented[..]].concat());
    run(&place, metrics, &[&["--resume", "part"], &augmented[..]].concat());
    assert_eq!(epochs(&place, "whole"), epochs(&place, "part"));
    for file in ["final.json", "confusion.txt"] {
        assert_eq!(place.text(&format!("whole/{file}")), place.text(&format!("part/{file}")));
    }
    let share = epochs(&place, "whole")[1]["train_top2_accuracy"].as_f64().expect("a share");
    assert!(0.3 < share && share < 1.0, "{share}");
}

#[test]
fn what_cannot_be_counted_is_said_before_anything_runs() {
    let place = Place::tiny();
    for (command, more) in [("run", &[][..]), ("check", &[]), ("eval", &["--weights", "none"])] {
        let said =
            place.run(&[&[command, "tiny.cnn", "--set", "train.metrics=[top(11)]"][..], more].concat());
        assert_eq!(said.code, Some(2), "{command}");
        let first = said.err.lines().next();
        assert_eq!(first, Some("error: `top(11)` is of more classes than the model's 10"), "{command}");
    }
    assert_eq!(place.names(), ["tiny.cnn"]);
}

/// With many classes, `eval` adds the best five; a list without the accuracy does not.
#[test]
fn eval_adds_the_best_five_of_many_classes() {
    let text = "model Wide(x: f32[N, 1, 8, 8]) -> f32[N, 20] { x |> flatten |> linear(20) }
data Digits { source = digits(); }
train Wide on Digits { loss = cross_entropy; optim = adam(1e-2); epochs = 1; }";
    let place = Place::with("wide.cnn", text);
    place.good(&["run", "wide.cnn", "--out", "run"]);
    assert_eq!(keys(&json(&place.text("run/final.json"))), ["test_accuracy", "test_loss"]);
    let eval = |metrics: &str| {
        let set = format!("train.metrics={metrics}");
        place.good(&["eval", "wide.cnn", "--weights", "run/model.safetensors", "--set", &set])
    };
    assert!(eval("[accuracy]").contains("\ntop 5 "));
    assert!(eval("[accuracy, top(2)]").contains("\ntop 2 "));
    assert!(!eval("[]").contains("\ntop "));
}

/// Ten classes and a prediction of two numbers that are no scores of classes: pictures of one class are drawn together.
const EMBEDDING: &str = "\
model Two(x: f32[N, 1, 8, 8]) -> f32[N, 2] { x |> flatten |> linear(2) as fc }

op pairs(p: f32[N, K], label: i32[N]) -> loss: f32 {
  near[n, m < N] = sum[k < K] (p[n, k] - p[m, k]) * (p[n, k] - p[m, k]);
  loss = mean[n < N, m < N] if label[n] == label[m] { near[n, m] } else { max(0, 1 - near[n, m]) };
}

data Digits { source = digits(); }

train Two on Digits { loss = pairs;  optim = adam(1e-2);  batch = 100;  epochs = 1; }
";

#[test]
fn what_has_no_classes_has_no_accuracy() {
    let place = Place::with("two.cnn", EMBEDDING);
    place.good(&["check", "two.cnn"]);
    let out = place.good(&["run", "two.cnn", "--out", "run"]);
    assert_eq!(out.lines().nth(4), Some("epoch  train loss  test loss      time   images/s"));
    assert!(!out.contains("accuracy"), "{out}");
    let last = json(&place.text("run/final.json"));
    assert!(last["test_accuracy"].is_null() && last["test_loss"].is_number(), "{last}");
    let record = &epochs(&place, "run")[0];
    assert!(record["train_accuracy"].is_null() && record["test_accuracy"].is_null(), "{record}");
    let weights = ["--weights", "run/model.safetensors"];
    let said = place.good(&[&["eval", "two.cnn"][..], &weights].concat());
    assert_eq!(said.lines().count(), 2, "{said}");
    let predict = [&["predict", "two.cnn", "test:0"][..], &weights].concat();
    let said = place.good(&predict);
    assert!(!said.contains('%') && said.split(", ").count() == 2, "{said}");
    let said = json(&place.good(&[&predict[..], &["--json"]].concat()));
    assert!(
        said["classes"].is_null() && said["output"].as_array().is_some_and(|all| all.len() == 2),
        "{said}"
    );
    for (key, value, problem) in [
        ("metrics", "[top(1)]", "`top` needs a prediction of one score a class, and a loss for labels"),
        (
            "save",
            "best(training.accuracy)",
            "the accuracy is watched here, but the prediction is not one score a class",
        ),
        (
            "stop",
            "early(training.accuracy, patience=2)",
            "the accuracy is watched here, but the prediction is not one score a class",
        ),
        ("loss", "cross_entropy", "label 2 of training image 2 is out of range: there are 2 classes, from 0"),
    ] {
        let set = format!("train.{key}={value}");
        for command in ["run", "check"] {
            let said = place.run(&[command, "two.cnn", "--set", &set]);
            assert_eq!(
                said.err.lines().next(),
                Some(format!("error: {problem}").as_str()),
                "{command} {set}"
            );
            // The labels are those of a file.
            assert_eq!(said.code, Some(if key == "loss" { 1 } else { 2 }));
        }
    }
}
