//! `bench --tune` and `--tuned`: tiles that were measured change the time of a step and nothing else.

use cnnc::base::target::Target;
use serde_json::{Value, json};

use crate::place::Place;

fn parsed(json: &str) -> Value {
    serde_json::from_str(json.trim()).expect("JSON")
}

/// A file for steps of `tiny.cnn` with a tile for each of some kernels.
fn file(choices: &Value) -> Value {
    let level = Target::host().level.to_string();
    json!({
        "format": 2, "model": "Tiny", "batch": 100, "mode": "train", "level": level, "threads": 2,
        "choices": choices
    })
}

/// A choice that the first convolution can take, and the text of its kernel's schedule.
fn choice(place: &Place) -> (String, String) {
    let emit = |tuned: &[&str]| {
        let arguments = ["emit", "tiny.cnn", "--stage", "sched", "--op", "conv1.conv2d.d_w"];
        place.good(&[&arguments, tuned].concat())
    };
    let default = emit(&[]);
    let key = default.lines().find_map(|line| line.strip_prefix("key ")).expect("a key").to_owned();
    for tile in ["c 2, i 3", "c 4", "c 2", "i 3"] {
        place.write("try.json", file(&json!({ &key: tile })).to_string());
        let text = emit(&["--tuned", "try.json"]);
        if text.contains(&format!("measured: tile {tile}, where the cost model has ")) && text != default {
            return (key, tile.into());
        }
    }
    panic!("no tile fits:\n{default}");
}

#[test]
fn tune_writes_what_it_finds() {
    let place = Place::tiny();
    let found = parsed(&place.good(&["bench", "tiny.cnn", "--tune", "--batch", "32", "--json"]));
    let written = parsed(&place.text("tiny.tune.json"));
    for key in ["model", "batch", "mode", "level", "threads"] {
        assert_eq!(found[key], written[key], "{key}");
    }
    assert_eq!((&written["model"], &written["batch"]), (&json!("Tiny"), &json!(32)));
    let choices = written["choices"].as_object().expect("choices");
    let kernels = found["kernels"].as_array().expect("kernels");
    assert_eq!(kernels.len(), choices.len());
    for kernel in kernels {
        assert_eq!(choices[kernel["key"].as_str().expect("a key")], kernel["tile"]);
    }
    assert!(found["measured"].as_u64() > Some(2) && found["ratio"].as_f64() > Some(0.1), "{found}");
    let said =
        place.run(&["bench", "tiny.cnn", "--mode", "train", "--batch", "32", "--tuned", "tiny.tune.json"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let text = place.good(&["bench", "tiny.cnn", "--tune", "--mode", "infer", "--tune-file", "i.json"]);
    assert!(text.starts_with("a prediction of `Tiny`, batch 100, "), "{text}");
    assert!(text.ends_with(" times as fast\nthe tiles are in i.json\n"), "{text}");
    assert_eq!(parsed(&place.text("i.json"))["mode"], "infer");
}

#[test]
fn tuned_runs_have_the_same_bits() {
    let place = Place::tiny();
    let (key, tile) = choice(&place);
    let text = file(&json!({ key: tile }));
    place.write("t.json", text.to_string());
    place.good(&["run", "tiny.cnn", "--out", "plain"]);
    place.good(&["run", "tiny.cnn", "--out", "tuned", "--tuned", "t.json"]);
    assert_eq!(place.read("plain/model.safetensors"), place.read("tuned/model.safetensors"));
    assert_eq!(place.text("plain/steps.jsonl"), place.text("tuned/steps.jsonl"));
    assert!(!place.path("plain/tune.json").exists());
    assert_eq!(parsed(&place.text("tuned/tune.json")), text);
    for command in ["bench", "profile"] {
        place.good(&[command, "tiny.cnn", "--mode", "train", "--tuned", "t.json"]);
    }
}

/// The tiles go on with their run; one that cannot use them says so and goes on without.
#[test]
fn a_resumed_run_takes_the_tiles_of_its_folder() {
    let place = Place::tiny();
    let (key, tile) = choice(&place);
    place.write("t.json", file(&json!({ key: tile })).to_string());
    place.good(&["run", "tiny.cnn", "--out", "whole"]);
    place.good(&["run", "tiny.cnn", "--out", "part", "--steps", "6", "--tuned", "t.json"]);
    let said = place.run(&["run", "tiny.cnn", "--resume", "part"]);
    assert!(said.code == Some(0) && !said.err.contains("tune.json"), "{}", said.err);
    place.write("part/tune.json", "{}");
    place.bad(
        &["run", "tiny.cnn", "--resume", "part"],
        1,
        "error: part/tune.json is no file of `cnnc bench --tune`: missing field `threads` at line 1 column 2",
    );
    place.good(&["run", "tiny.cnn", "--resume", "part", "--tuned", "t.json", "--steps", "1"]);
    assert_eq!(place.text("part/tune.json").lines().next(), Some("{"));
    let said = place.run(&["run", "--resume", "part", "--cpu", "sse4", "--allow-changes", "--epochs", "3"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.starts_with("note: part/tune.json is for a training step of `Tiny`"), "{}", said.err);
}

#[test]
fn tiles_that_fit_no_kernel_are_left_out() {
    let place = Place::tiny();
    place.write(
        "t.json",
        file(&json!({"nothing 0": "o 4", "\u{7}": "\n", "conv1 9999999999999": ""})).to_string(),
    );
    let emit = ["emit", "tiny.cnn", "--stage", "sched"];
    let plain = place.good(&emit);
    let said = place.run(&[&emit[..], &["--tuned", "t.json"]].concat());
    assert_eq!(said.err, "note: 3 of the 3 tiles of --tuned fit no kernel; the model is another one now\n");
    assert_eq!((said.code, said.out), (Some(0), plain));
}

#[test]
fn files_without_tiles_are_one_error() {
    let place = Place::tiny();
    let commands: [&[&str]; 4] = [&["run"], &["bench"], &["profile"], &["emit", "--stage", "sched"]];
    let fails = |contents: &[u8], message: &str| {
        place.write("t.json", contents);
        for command in commands {
            let arguments = [&command[..1], &["tiny.cnn", "--tuned", "t.json"], &command[1..]].concat();
            place.bad(&arguments, 1, &format!("error: {message}"));
        }
    };
    let no = "t.json is no file of `cnnc bench --tune`:";
    fails(b"", &format!("{no} EOF while parsing a value at line 1 column 0"));
    fails(b"\xff", &format!("{no} expected value at line 1 column 1"));
    fails(&vec![b' '; 5_000_000], &format!("{no} it has more than 4194304 bytes"));
    let missing = r#"{"model":"Tiny","batch":100,"mode":"train","level":"avx2","threads":2}"#;
    fails(missing.as_bytes(), &format!("{no} missing field `choices` at line 1 column 70"));
    // The keys of earlier versions were names of kernels.
    for format in ["", r#""format":1,"#] {
        let earlier = format!("{{{format}{},\"choices\":{{}}}}", &missing[1..missing.len() - 1]);
        fails(earlier.as_bytes(), &format!("{no} it is of format 1; this version reads 2"));
    }
    std::fs::remove_file(place.path("t.json")).expect("it is there");
    place.bad(
        &["run", "tiny.cnn", "--tuned", "t.json"],
        1,
        "error: cannot read t.json: No such file or directory (os error 2)",
    );
}

#[test]
fn tiles_for_another_program_are_refused() {
    let place = Place::tiny();
    let level = Target::host().level;
    let refused = |key: &str, value: Value, found: &str| {
        let mut other = file(&json!({}));
        other[key] = value;
        place.write("t.json", other.to_string());
        for command in ["run", "profile"] {
            let wanted = format!("a training step of `Tiny`, batch 100, {level}");
            let message =
                format!("error: t.json is for {found}, not for {wanted}; `cnnc bench --tune` measures anew");
            place.bad(&[command, "tiny.cnn", "--tuned", "t.json"], 1, &message);
        }
    };
    refused("model", json!("Other"), &format!("a training step of `Other`, batch 100, {level}"));
    refused("model", json!("a\nb"), &format!("a training step of `a\\nb`, batch 100, {level}"));
    refused("batch", json!(-1), &format!("a training step of `Tiny`, batch -1, {level}"));
    refused("level", json!("mmx"), "a training step of `Tiny`, batch 100, mmx");
    refused("mode", json!("infer"), &format!("a prediction of `Tiny`, batch 100, {level}"));
}
