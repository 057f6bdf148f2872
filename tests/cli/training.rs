//! Schedules, groups, clipping, freezing, pretrained weights, early stopping: what a train section can ask for.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use crate::place::Place;

/// A net with all kinds of parameters, and a train section with these settings.
fn net(settings: &str) -> String {
    format!(
        "model Net(x: f32[N, 1, 8, 8], classes: int = 10) -> f32[N, classes] {{
  x |> conv(4, 3, bias=false) as stem |> batchnorm as bn |> relu |> maxpool(2) |> dropout(0.1)
    |> flatten |> linear(16) as hidden |> relu |> linear(classes) as head
}}
data Digits {{ source = digits(); }}
train Net on Digits {{
  loss = cross_entropy;
  batch = 100;
  {settings}
}}
"
    )
}

const ALL: &str = "optim = adamw(2e-2, weight_decay=0.1); epochs = 3; decay = weights; clip = norm(0.5);
  groups = [head = sgd(0.1, momentum=0.9), bias = adam(1e-2)]; schedule = warmup(5) |> cosine(to=1e-4);
  save = best(training.accuracy); stop = early(training.loss, patience=3);";

/// The bytes of every tensor of a file.
fn tensors(place: &Place, file: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = place.read(file);
    let tensors = SafeTensors::deserialize(&bytes).expect("a file of weights");
    tensors.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
}

fn epochs(place: &Place, folder: &str) -> Vec<serde_json::Value> {
    let text = place.text(&format!("{folder}/metrics.jsonl"));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn everything_together_learns_and_resumes_to_the_bit() {
    let place = Place::with("net.cnn", &net(ALL));
    place.good(&["run", "net.cnn", "--out", "whole"]);
    place.good(&["run", "net.cnn", "--out", "part", "--steps", "21"]);
    place.good(&["run", "net.cnn", "--resume", "part"]);
    assert_eq!(place.read("whole/model.safetensors"), place.read("part/model.safetensors"));
    assert_eq!(place.text("whole/final.json"), place.text("part/final.json"));
    let last = epochs(&place, "whole").pop().expect("three epochs");
    assert!(last["test_accuracy"].as_f64().unwrap() > 0.8, "{last}");
    let rates: Vec<f64> =
        epochs(&place, "whole").iter().map(|epoch| epoch["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates[0] > rates[1] && rates[1] > rates[2] && rates[2] < 2e-3, "{rates:?}");
}

/// The figures of the test split are those of the best epoch, and so are the weights.
#[test]
fn the_best_epoch_is_kept() {
    let place = Place::with("net.cnn", &net("optim = sgd(0.5); epochs = 6; save = best(val.accuracy);"));
    let out = place.good(&["run", "net.cnn", "--out", "run", "--set", "data.validate=test"]);
    let best = epochs(&place, "run")
        .iter()
        .map(|epoch| epoch["test_accuracy"].as_f64().unwrap())
        .fold(0.0, f64::max);
    let last: serde_json::Value = serde_json::from_str(&place.text("run/final.json")).unwrap();
    // The line names the one whose figure the weights have.
    let number = epochs(&place, "run").iter().position(|epoch| epoch["test_accuracy"].as_f64() == Some(best));
    let said = format!(
        "the weights are those of epoch {}, the best val.accuracy on the test split: ",
        number.unwrap() + 1
    );
    assert!(out.contains(&said), "{out}");
    assert_eq!(last["test_accuracy"].as_f64(), Some(best));
    assert_eq!(place.read("run/best.safetensors"), place.read("run/model.safetensors"));
}

#[test]
fn a_phase_that_no_longer_improves_ends() {
    // Nothing improves at a learning rate of 0.
    let place = Place::with(
        "net.cnn",
        &net("optim = sgd(0); epochs = 9; stop = early(training.accuracy, patience=2, min_delta=0.5);"),
    );
    place.good(&["run", "net.cnn", "--out", "run"]);
    assert_eq!(epochs(&place, "run").len(), 3);
    place.good(&["run", "net.cnn", "--resume", "run"]);
    assert_eq!(epochs(&place, "run").len(), 3);
}

/// What is frozen keeps its bits, and so do the statistics of a frozen batch normalisation.
#[test]
fn frozen_parts_do_not_move() {
    let place = Place::with("net.cnn", &net("optim = sgd(0.1); epochs = 1;"));
    place.good(&["run", "net.cnn", "--out", "base"]);
    let base = tensors(&place, "base/model.safetensors");
    let cases: [(&str, &[&str]); 3] = [
        ("!head", &["head.bias", "head.weight"]),
        (
            "[stem, bn.stats]",
            &["bn.bias", "bn.weight", "head.bias", "head.weight", "hidden.bias", "hidden.weight"],
        ),
        ("[stem, bn, \"hidden\"]", &["head.bias", "head.weight"]),
    ];
    for (at, (freeze, moving)) in cases.into_iter().enumerate() {
        let settings = format!(
            "optim = sgd(0.1, weight_decay=0.1); epochs = 1; weights = load(\"base/model.safetensors\"); freeze = {freeze};"
        );
        place.write("frozen.cnn", net(&settings));
        let out = format!("frozen{at}");
        place.good(&["run", "frozen.cnn", "--out", &out]);
        let tuned = tensors(&place, &format!("{out}/model.safetensors"));
        let moved: Vec<&str> =
            base.keys().filter(|name| base[*name] != tuned[*name]).map(String::as_str).collect();
        assert_eq!(moved, moving, "{freeze}");
    }
    let grad = place.good(&["emit", "frozen.cnn", "--stage", "grad"]);
    assert!(grad.contains("matmul.wrt_w@head") && !grad.contains("conv2d.wrt_w"), "{grad}");
}

#[test]
fn another_head_begins_anew() {
    let place = Place::with("net.cnn", &net("optim = sgd(0.1); epochs = 1;"));
    place.good(&["run", "net.cnn", "--out", "base"]);
    let load = "optim = sgd(0.0); epochs = 1; weights = load(\"base/model.safetensors\", except=head);";
    place.write("new.cnn", net(load));
    place.good(&["run", "new.cnn", "--set", "args.classes=12", "--steps", "1", "--out", "new"]);
    let (base, new) = (tensors(&place, "base/model.safetensors"), tensors(&place, "new/model.safetensors"));
    assert_eq!(base["hidden.weight"], new["hidden.weight"]);
    assert_eq!(new["head.bias"].len(), 12 * 4);
    place.bad(
        &[
            "run",
            "new.cnn",
            "--set",
            "train.weights=load(\"base/model.safetensors\")",
            "--set",
            "args.classes=12",
        ],
        1,
        "error: base/model.safetensors: the weights do not fit the model
  `head.weight` is [10, 16] in the file and [12, 16] in the model
  `head.bias` is [10] in the file and [12] in the model
  `except=...` of load leaves parts out that another task needs anew",
    );
}

/// Without momentum, a step at a learning rate of 1 moves a parameter by its gradient.
#[test]
fn norms_of_gradients_are_written_down() {
    let settings = "optim = sgd(1.0); epochs = 1; log = [gradients]; clip = norm(1e6); freeze = stem;";
    let place = Place::with("net.cnn", &net(settings));
    place.good(&["run", "net.cnn", "--steps", "1", "--out", "one", "--seed", "3"]);
    place.good(&["run", "net.cnn", "--steps", "2", "--out", "two", "--seed", "3"]);
    let lines = place.text("two/gradients.jsonl");
    let records: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 2);
    let norms = records[1]["norms"].as_object().expect("norms");
    let names: Vec<&String> = norms.keys().collect();
    assert_eq!(names, ["bn.bias", "bn.weight", "head.bias", "head.weight", "hidden.bias", "hidden.weight"]);
    let (one, two) = (tensors(&place, "one/model.safetensors"), tensors(&place, "two/model.safetensors"));
    for (name, norm) in norms {
        let moved = numbers(&one[name]).into_iter().zip(numbers(&two[name])).map(|(a, b)| f64::from(b - a));
        let moved = moved.map(|moved| moved * moved).sum::<f64>().sqrt();
        let norm = norm.as_f64().expect("a number");
        assert!(norm > 0.0 && (moved / norm - 1.0).abs() < 1e-3, "{name}: {norm}, moved by {moved}");
    }
    assert!(place.text("two/gradients.svg").contains("epoch 1"));
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Mixing trains, is never done to what validates, and is the same in a run that is resumed.
#[test]
fn mixed_pictures_train() {
    for mix in ["mixup(0.4)", "cutmix(1)", "hflip(0) |> erase(0.1) |> cutmix(0.5)"] {
        let place = Place::with("net.cnn", &net("optim = adam(1e-2); epochs = 8;"));
        let set = format!("data.augment={mix}");
        let run = |more: &[&str]| place.good(&[&["run", "net.cnn", "--set", &set][..], more].concat());
        run(&["--out", "whole"]);
        run(&["--out", "part", "--steps", "20"]);
        run(&["--resume", "part"]);
        assert_eq!(place.read("whole/model.safetensors"), place.read("part/model.safetensors"), "{mix}");
        let last = epochs(&place, "whole").pop().expect("epochs");
        let (train, val) =
            (last["train_accuracy"].as_f64().unwrap(), last["test_accuracy"].as_f64().unwrap());
        assert!(val > 0.85 && train < val, "{mix}: {last}");
    }
}

/// A step on gradients that are clipped to almost nothing moves a parameter by at most the learning rate times that.
#[test]
fn clipped_gradients_are_small() {
    for (clip, most) in [("norm(1e-3)", 1e-3), ("value(1e-4)", 1e-4)] {
        let settings = format!("optim = sgd(1.0); epochs = 1; clip = {clip};");
        let place = Place::with("net.cnn", &net(&settings));
        place.good(&["run", "net.cnn", "--steps", "1", "--out", "one", "--seed", "3"]);
        place.good(&["run", "net.cnn", "--steps", "2", "--out", "two", "--seed", "3"]);
        let (one, two) = (tensors(&place, "one/model.safetensors"), tensors(&place, "two/model.safetensors"));
        let mut squares = 0.0;
        for name in one.keys().filter(|name| !name.contains("running")) {
            for (a, b) in numbers(&one[name]).iter().zip(numbers(&two[name])) {
                let moved = f64::from(b - a);
                assert!(clip.starts_with("norm") || moved.abs() <= most * 1.01, "{name} by {moved}");
                squares += moved * moved;
            }
        }
        let norm = squares.sqrt();
        assert!(
            norm > 0.0 && (clip.starts_with("value") || (norm / most - 1.0).abs() < 0.02),
            "{clip}: {norm}"
        );
    }
}

/// The message of a wrong setting, without the place.
fn message(setting: &str) -> String {
    let place = Place::with("net.cnn", &net("optim = sgd(0.1); epochs = 1;"));
    let said = place.run(&["run", "net.cnn", "--set", &format!("train.{setting}")]);
    assert_eq!(place.names(), ["net.cnn"], "{setting}");
    let kept = said.err.lines().filter(|line| line.starts_with("error") || line.starts_with("  = "));
    kept.map(|line| line.trim_start_matches("  = ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn wrong_settings_say_what_is_right() {
    let stages = "note: the schedules are warmup, cosine, linear, step, milestones, exponential, onecycle";
    let figures = "help: there are val.loss, val.accuracy, training.loss, training.accuracy";
    let cases: [(&str, String); 16] = [
        (
            "freeze=hed",
            "error: `freeze` names `hed`, but the model has no such part\nnote: its parts are bn, head, \
            hidden, stem\nhelp: did you mean `head`?"
                .into(),
        ),
        ("freeze=!bn.stats", "error: `!` is for instances, not for statistics".into()),
        (
            "freeze=[stem,bn,hidden,head]",
            "error: nothing is trained: all parameters that the loss depends on are \
            frozen"
                .into(),
        ),
        (
            "freeze=1",
            "error: the name of an instance is needed here\nhelp: such as `head`, `head.fc` or \
            \"layer1.0\""
                .into(),
        ),
        (
            "schedule=cosin()",
            format!("error: unknown schedule `cosin`\n{stages}\nhelp: did you mean `cosine`?"),
        ),
        (
            "schedule=\"x\"",
            "error: a schedule such as cosine() or warmup(100) |> cosine() is needed here".into(),
        ),
        ("schedule=warmup(0)", "error: `steps` of `warmup` cannot be 0".into()),
        (
            "schedule=cosine|>step(3)",
            "error: `step` comes behind a stage that lasts to the end\nnote: only \
            warmup(steps) can be followed by another stage"
                .into(),
        ),
        (
            "schedule=milestones(3)",
            "error: `epochs` of `milestones` is a list of epochs, such as [30, 60]".into(),
        ),
        ("clip=norm(0)", "error: `most` is a number above 0, not 0".into()),
        (
            "clip=nrm(1)",
            "error: unknown kind of clipping `nrm`\nnote: gradients are clipped by norm(most), all \
            together, or by value(most), each element\nhelp: did you mean `norm`?"
                .into(),
        ),
        ("stop=early(val.los)", format!("error: no figure of an epoch\n{figures}")),
        ("stop=early(val.loss, patience=0)", "error: `patience` is a number of epochs, not 0".into()),
        (
            "groups=[hed=sgd(0.1)]",
            "error: `groups` names `hed`, but no trained parameter is called so\nhelp: did \
            you mean `head`?"
                .into(),
        ),
        (
            "decay=none",
            "error: `decay` is `all` or `weights`\nnote: with `weights`, biases and the parameters of \
            norms have no weight decay"
                .into(),
        ),
        ("weights=load(\"nope\", except=head)", "error: nope: No such file or directory (os error 2)".into()),
    ];
    for (setting, expected) in cases {
        assert_eq!(message(setting), expected, "{setting}");
    }
}

#[test]
fn wrong_rules_for_checkpoints_say_what_is_right() {
    let cases: [(&str, String); 5] = [
        ("checkpoint=every(0)", "error: `steps` is an integer above 0, not 0".into()),
        ("checkpoint=every(1.5)", "error: `steps` is an integer above 0, not 1.5".into()),
        ("checkpoint=every(minutes=0)", "error: `minutes` is a number above 0, not 0".into()),
        (
            "checkpoint=every(5, minutes=1)",
            "error: `every` takes a number of steps, or minutes=\nhelp: such as `every(500)` or \
            `every(minutes=10)`"
                .into(),
        ),
        (
            "checkpoint=evry(5)",
            "error: unknown rule for checkpoints `evry`\nhelp: did you mean `every`?".into(),
        ),
    ];
    for (setting, expected) in cases {
        assert_eq!(message(setting), expected, "{setting}");
    }
}

/// Rates that a schedule or the optimiser's own correction drives beyond `f32` are refused before anything runs, whatever
/// part of the training they belong to.
#[test]
fn rates_that_grow_beyond_the_range() {
    let place = Place::new();
    for (settings, scalar, step) in [
        ("optim = sgd(0.1); schedule = exponential(1e30); epochs = 3;", "lr", 45),
        ("optim = sgd(1e38); schedule = step(2, factor=10); epochs = 3;", "lr", 45),
        ("optim = sgd(1e30); schedule = milestones([1, 2], factor=1e5); epochs = 3;", "lr", 45),
        ("optim = adam(1e38); epochs = 3;", "step_size", 1),
        (
            "optim = sgd(0.1); schedule = warmup(40) |> cosine(to=1e38); groups = [bias = sgd(1e5)]; epochs = 4;",
            "lr.bias",
            60,
        ),
        (
            "optim = sgd(0.1); epochs = 1; phase one {} phase two { epochs = 9; schedule = exponential(1e5); }",
            "lr",
            135,
        ),
    ] {
        place.write("net.cnn", net(settings));
        let said = place.run(&["run", "net.cnn", "--out", "run"]);
        let first = said.err.lines().next().unwrap_or_default();
        let (start, end) = (format!("error: `{scalar}` would be "), "which is beyond the range of f32");
        assert!(first.starts_with(&start) && first.ends_with(end), "{settings}: {first}");
        assert!(first.contains(&format!(" in step {step} of ")), "{settings}: {first}");
        assert_eq!((said.code, place.names()), (Some(1), vec!["net.cnn".to_owned()]));
    }
    place.write("net.cnn", net("optim = sgd(1e-30); schedule = exponential(1e30); epochs = 2;"));
    place.good(&["run", "net.cnn", "--out", "run", "--steps", "1"]);
}

/// The test split was called validation, and rules chose by it in silence.
#[test]
fn rules_do_not_choose_by_the_test_split_unless_they_are_told() {
    let place = Place::with("net.cnn", &net("optim = sgd(0.1); epochs = 1;"));
    let rules = ["train.save=best(val.accuracy)", "train.stop=early(val.loss)"];
    for rule in rules {
        for command in ["run", "check"] {
            let said = place.run(&[command, "net.cnn", "--set", rule]);
            assert_eq!(said.code, Some(2), "{command} {rule}");
            assert!(
                said.err
                    .starts_with("error: there are no validation images: nothing is held out in `Digits`\n")
                    && said.err.contains("help: `holdout = 0.1` in the data section")
                    && said.err.contains("`validate = test` chooses by the test"),
                "{}",
                said.err
            );
        }
        for (number, data) in ["data.validate=test", "data.holdout=100"].into_iter().enumerate() {
            let out = format!("{}{number}", &rule[6..10]);
            place.good(&["run", "net.cnn", "--set", rule, "--set", data, "--out", &out]);
            let epoch = &epochs(&place, &out)[0];
            let (named, other) =
                if number == 0 { ("test_loss", "val_loss") } else { ("val_loss", "test_loss") };
            assert!(epoch[named].is_number() && epoch.get(other).is_none(), "{epoch}");
            let steps = place.text(&format!("{out}/steps.jsonl"));
            assert_eq!(steps.contains("\"split\":\"val\""), number == 1);
            let curves = place.text(&format!("{out}/curves.svg"));
            assert_eq!(curves.contains("validation"), number == 1);
        }
    }
    for (data, problem) in [
        (
            &["data.validate=test", "data.holdout=9"][..],
            "images are held out, so `validate = test` says nothing",
        ),
        (&["data.validate=7"], "`validate` is `test`, or left out"),
    ] {
        let sets: Vec<&str> = data.iter().flat_map(|set| ["--set", set]).collect();
        let said = place.run(&[&["check", "net.cnn"], &sets[..]].concat());
        assert!(said.code == Some(2) && said.err.starts_with(&format!("error: {problem}")), "{}", said.err);
    }
}

/// A phase that ended early, and the rule, were not told.
#[test]
fn the_end_of_a_phase_is_told() {
    let settings =
        "phase a { epochs = 9; optim = sgd(0); stop = early(training.accuracy, patience=2, min_delta=0.5); }
      phase b { epochs = 1; optim = adam(1e-3); batch = 50; }";
    let place = Place::with("net.cnn", &net(settings));
    let out = place.good(&["run", "net.cnn", "--out", "run", "--threads", "1", "--cpu", "sse4"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "Net, 806 parameters, on Digits: 1,438 training images, 359 test images, 1×8×8, 10 classes"
    );
    assert!(lines[1].starts_with("seed 0; 1 thread, sse4, ") && lines[1].ends_with("KiB of memory"), "{out}");
    assert_eq!(lines[2], "phase a: 9 epochs of 15 steps, batch 100");
    assert_eq!(lines[9], "stopped after epoch 3: training.accuracy has not improved for 2 epochs");
    assert_eq!(lines[10], "phase b: 1 epoch of 29 steps, batch 50");
    assert_eq!(place.good(&["run", "net.cnn", "--out", "quiet", "--quiet"]), "");
    assert!(place.path("quiet/final.json").is_file());
    place.good(&["run", "net.cnn", "--out", "part", "--steps", "20"]);
    let out = place.good(&["run", "--resume", "part"]);
    assert_eq!(out.lines().nth(2), Some("goes on in epoch 2, after step 20"));
}

/// What `cnnc check` warns of is a line here.
#[test]
fn a_run_tells_what_is_odd_about_its_layers() {
    let text = net("optim = sgd(0.1); epochs = 1;").replace("as head\n", "as head |> softmax\n");
    let place = Place::with("net.cnn", &text);
    let said = place.run(&["run", "net.cnn", "--out", "run"]);
    let line = said.err.lines().find(|line| line.starts_with("note: net.cnn:")).unwrap_or_default();
    assert!(said.code == Some(0) && line.contains("softmax"), "{}", said.err);
    let said = place.run(&["run", "net.cnn", "--out", "quiet", "--quiet"]);
    assert_eq!((said.code, said.err.as_str(), said.out.as_str()), (Some(0), "", ""));
}
