//! `emit` and `summary`: a model at every stage.

use cnnc::lower::stages::{Form, PIPELINE};

use crate::place::Place;

#[test]
fn every_stage_is_printed() {
    let place = Place::tiny();
    for (stage, part) in [
        ("tokens", "1:1      Model        model\n"),
        ("ast", "model Tiny(x: f32[N, 1, 8, 8]) -> f32[N, 10] {\n  x"),
        ("graph", "= conv2d@conv1.conv2d("),
        ("grad", "= conv2d.wrt_w@conv1.conv2d("),
        ("fused", "program(\n    x: f32[100, 1, 8, 8],"),
        ("kernels", "kernels(\n    x: f32[100, 1, 8, 8],"),
        ("sched", "vectorize "),
        ("loops", "fn "),
        ("plan", "arena: "),
        ("clif", "function u0:0("),
        ("asm", "ret"),
        ("dot", "digraph {\n"),
    ] {
        let text = place.good(&["emit", "tiny.cnn", "--stage", stage, "--cpu", "sse4"]);
        assert!(text.contains(part), "no `{part}` in stage {stage}:\n{text}");
    }
}

#[test]
fn a_mode_and_an_op_choose_what_is_printed() {
    let place = Place::tiny();
    let infer = place.good(&["emit", "tiny.cnn", "--mode", "infer", "--batch", "2"]);
    assert!(infer.contains("input v0 x: f32[2, 1, 8, 8] data;"), "{infer}");
    assert!(!infer.contains("loss") && !infer.contains("dropout"), "{infer}");
    let conv = place.good(&["emit", "tiny.cnn", "--op", "conv1"]);
    assert!(conv.contains("conv2d@") && !conv.contains("relu"), "{conv}");
    for stage in ["fused", "kernels", "sched", "loops", "plan", "clif", "asm"] {
        let all = place.good(&["emit", "tiny.cnn", "--mode", "infer", "--stage", stage]);
        let one = place.good(&["emit", "tiny.cnn", "--mode", "infer", "--stage", stage, "--op", "fc"]);
        assert!(!one.is_empty() && one.len() < all.len() * 2 / 3, "{stage}:\n{one}");
    }
}

#[test]
fn every_pass_is_printed() {
    let place = Place::tiny();
    let emit = ["emit", "tiny.cnn", "--mode", "infer", "--batch", "16", "--print-after-all", "--stage"];
    let printed = |stage: &'static str| place.good(&[&emit[..], &[stage]].concat());
    let (fused, kernels, plan) = (printed("fused"), printed("kernels"), printed("plan"));
    for stage in PIPELINE {
        let (name, description) = (stage.name, stage.description);
        let said = match name {
            "channels" => "// channels is left out: lanes are over the batch\n".to_owned(),
            "together" => "// together is left out: the machine is no grid\n".to_owned(),
            _ => format!("// after {name}: {description}\n"),
        };
        assert_eq!(fused.contains(&said), stage.form == Form::Equations, "{name}");
        assert_eq!(kernels.contains(&said), stage.form <= Form::Layouts, "{name}");
        assert!(plan.contains(&said), "{name}");
    }
    // The last one is what the stage shows.
    let shown = place.good(&["emit", "tiny.cnn", "--mode", "infer", "--batch", "16", "--stage", "fused"]);
    assert!(fused.ends_with(&format!("form\n{shown}\n{shown}")), "{fused}");
}

/// A model without a train section is shown as a prediction of one sample.
#[test]
fn a_model_alone_is_shown_as_a_prediction() {
    let place = Place::with("a.cnn", "model Blur(x: f32[N, 1, H, W]) { x |> avgpool(3, 1, pad=1) }\n");
    let said = place.run(&["emit", "a.cnn"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("input v0 x: f32[1, 1, 64, 64] data;"), "{}", said.out);
    assert_eq!(said.err, "note: `Blur` takes inputs of several sizes; this is for [1, 64, 64]\n");
    place.bad(
        &["emit", "a.cnn", "--mode", "train"],
        2,
        "note: `Blur` takes inputs of several sizes; this is for [1, 64, 64]\n\
         error: a.cnn has no train section, so there is no --mode train",
    );
}

#[test]
fn the_summary_counts() {
    let place = Place::tiny();
    let json = place.good(&["summary", "tiny.cnn", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    // conv1: 4·9 + 4; bn: 2·4; fc: 36·10 + 10.
    assert_eq!((value["model"].as_str(), value["parameters"].as_u64()), (Some("Tiny"), Some(40 + 8 + 370)));
    assert_eq!(value["macs"].as_u64(), Some(4 * 9 * 36 + 360));
    let layers = value["layers"].as_array().expect("layers");
    let names: Vec<&str> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
    assert_eq!(names, ["conv1", "bn", "relu", "maxpool1", "flatten1", "fc"]);
    assert_eq!(layers[3]["shape"], serde_json::json!([1, 4, 3, 3]));
    assert_eq!(layers[3]["receptive_field"], serde_json::json!([4, 4]));
    let sum: u64 = layers.iter().filter_map(|layer| layer["activation_bytes"].as_u64()).sum();
    assert_eq!(value["activation_bytes"].as_u64(), Some(sum));
    let text = place.good(&["summary", "tiny.cnn"]);
    assert!(text.starts_with("layer      output  parameters    MACs  sees"), "{text}");
    assert!(text.contains("\nTiny: 418 parameters (1.63 KiB); for one input "), "{text}");
}
