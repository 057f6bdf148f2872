//! `run` and `eval`: what a run leaves, and that it is the same however it is run.

use cnnc::train::weights;

use crate::place::{Place, Said, names_in};

/// A line of `metrics.jsonl` without what depends on the clock.
fn figures(line: &str) -> String {
    line.split(",\"seconds\"").next().unwrap_or_default().to_owned()
}

fn number(json: &str, key: &str) -> f64 {
    let value: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {json}"))
}

#[test]
fn a_run_learns_and_leaves_its_files() {
    let place = Place::tiny();
    let out = place.good(&["run", "tiny.cnn", "--epochs", "3"]);
    assert!(
        out.contains("\n\nepoch  train loss  train acc  test loss  test acc      time   images/s\n──"),
        "{out}"
    );
    assert!(out.contains("\ntest accuracy "), "{out}");
    assert!(out.ends_with("weights, curves and records are in runs/Tiny-1\n"), "{out}");
    let folder = place.path("runs/Tiny-1");
    assert_eq!(
        names_in(&folder),
        [
            "checkpoint",
            "curves.svg",
            "final.json",
            "metrics.jsonl",
            "model.safetensors",
            "run.json",
            "source",
            "steps.jsonl"
        ]
    );
    assert!(number(&place.text("runs/Tiny-1/final.json"), "test_accuracy") > 0.8);
    assert_eq!(place.text("runs/Tiny-1/metrics.jsonl").lines().count(), 3);
    let steps = place.text("runs/Tiny-1/steps.jsonl");
    // 1,438 training images are 15 batches of 100, 359 test images are 4, and are run once more at the end.
    let count = |split: &str| steps.matches(&format!("{{\"split\":\"{split}\"")).count();
    assert_eq!((count("train"), count("val"), count("test")), (45, 0, 16));
    assert!(place.text("runs/Tiny-1/curves.svg").starts_with("<svg"));
    place.good(&["run", "tiny.cnn", "--steps", "1"]);
    assert_eq!(names_in(&place.path("runs")), ["Tiny-1", "Tiny-2"]);
}

#[test]
fn threads_change_no_bit() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "one", "--threads", "1"]);
    place.good(&["run", "tiny.cnn", "--out", "two", "--threads", "2"]);
    assert_eq!(place.read("one/model.safetensors"), place.read("two/model.safetensors"));
    assert_eq!(place.text("one/steps.jsonl"), place.text("two/steps.jsonl"));
}

/// A run that stops in the middle of an epoch goes on as if it had not: weights, records and figures.
#[test]
fn resuming_changes_no_bit() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "whole"]);
    for steps in ["6", "15"] {
        let part = format!("part{steps}");
        place.good(&["run", "tiny.cnn", "--out", &part, "--steps", steps]);
        assert_ne!(place.read("whole/model.safetensors"), place.read(&format!("{part}/model.safetensors")));
        place.good(&["run", "tiny.cnn", "--resume", &part]);
        assert_eq!(place.read("whole/model.safetensors"), place.read(&format!("{part}/model.safetensors")));
        let same = |name: &str| {
            let text = |folder: &str| place.text(&format!("{folder}/{name}"));
            let lines = |folder: &str| text(folder).lines().map(figures).collect::<Vec<_>>();
            // The figures of the test split at the stop are not doubled.
            assert_eq!(lines("whole"), lines(&part), "{name} after {steps} steps");
        };
        same("metrics.jsonl");
        same("steps.jsonl");
        assert_eq!(place.text("whole/final.json"), place.text(&format!("{part}/final.json")));
    }
}

#[test]
fn phases_are_resumed_with_their_own_optimiser() {
    let phases =
        "phase a { epochs = 1; optim = sgd(0.1, momentum=0.9); } phase b { epochs = 2; optim = adam(1e-3); }";
    let text = crate::place::TINY.replace("optim = adam(1e-2);  batch = 100;  epochs = 2;", "batch = 100;");
    let text = text.replace("seed = 3;", &format!("seed = 3; {phases}"));
    let place = Place::with("tiny.cnn", &text);
    place.good(&["run", "tiny.cnn", "--out", "whole"]);
    for steps in ["15", "20"] {
        place.good(&["run", "tiny.cnn", "--out", steps, "--steps", steps]);
        place.good(&["run", "tiny.cnn", "--resume", steps]);
        assert_eq!(place.read("whole/model.safetensors"), place.read(&format!("{steps}/model.safetensors")));
    }
}

#[test]
fn steps_stop_a_run_which_still_writes_its_files() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "run", "--steps", "3"]);
    let steps = place.text("run/steps.jsonl");
    assert_eq!(steps.matches("\"split\":\"train\"").count(), 3);
    assert_eq!(place.text("run/metrics.jsonl").lines().count(), 1);
    assert!(number(&place.text("run/final.json"), "test_loss").is_finite());
    assert!(place.path("run/model.safetensors").is_file());
}

#[test]
fn weights_of_another_run_are_a_beginning() {
    let place = Place::trained();
    place.good(&["run", "tiny.cnn", "--out", "more", "--steps", "1", "--init", "run/model.safetensors"]);
    let first = place.text("more/steps.jsonl");
    let fresh = place.text("run/steps.jsonl");
    let loss = |steps: &str| number(steps.lines().next().expect("a step"), "loss");
    assert!(loss(&first) < 0.7 * loss(&fresh), "{} {}", loss(&first), loss(&fresh));
}

#[test]
fn eval_finds_what_the_run_found() {
    let place = Place::trained();
    let json =
        place.good(&["eval", "tiny.cnn", "--weights", "run/model.safetensors", "--json", "--confusion"]);
    let last = place.text("run/final.json");
    for key in ["test_loss", "test_accuracy"] {
        assert_eq!(number(&json, key), number(&last, key), "{key}");
    }
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rows = value["confusion"].as_array().expect("rows").iter();
    let sum: u64 =
        rows.flat_map(|row| row.as_array().expect("a row")).map(|cell| cell.as_u64().expect("a count")).sum();
    assert_eq!((sum, number(&json, "images")), (359, 359.0));
    // Another batch size only rounds differently.
    let other =
        place.good(&["eval", "tiny.cnn", "--weights", "run/model.safetensors", "--json", "--batch", "7"]);
    assert!((number(&other, "test_loss") - number(&json, "test_loss")).abs() < 1e-5);
    let text = place.good(&["eval", "tiny.cnn", "--weights", "run/model.safetensors", "--confusion"]);
    assert!(text.starts_with("Tiny on 359 test images\nloss ") && text.contains("is \\ taken for"), "{text}");
}

#[test]
fn json_is_all_that_is_printed() {
    let place = Place::tiny();
    let out = place.good(&["run", "tiny.cnn", "--json"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((number(lines[0], "epoch"), number(lines[1], "epoch")), (1.0, 2.0));
    assert_eq!(lines[..2].join("\n") + "\n", place.text("runs/Tiny-1/metrics.jsonl"));
    assert_eq!(format!("{}\n", lines[2]), place.text("runs/Tiny-1/final.json"));
}

#[test]
fn the_time_until_the_first_step_is_told_by_parts() {
    let place = Place::tiny();
    let said = place.run(&["run", "tiny.cnn", "--steps", "1", "--time"]);
    let parts: Vec<&str> =
        said.err.lines().filter_map(|line| line.split_once(" ms  ")).map(|(_, part)| part).collect();
    let wanted = [
        "read and parse",
        "open data",
        "elaborate, differentiate",
        "native code",
        "first step",
        "until the first step is done",
    ];
    assert!(wanted.iter().all(|part| parts.contains(part)), "{parts:?}");
    assert!(!said.out.contains(" ms  read"), "{}", said.out);
}

#[test]
fn bench_measures() {
    let place = Place::tiny();
    let json = place.good(&["bench", "tiny.cnn", "--batch", "16", "--json", "--threads", "1"]);
    let keys =
        ["batch", "threads", "train_gflop", "train_gflops", "peak_gflops", "compile_ms", "arena_bytes"];
    assert!(keys.iter().all(|key| number(&json, key) > 0.0), "{json}");
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for times in ["train_step_ms", "infer_ms"] {
        let (min, median) = (value[times]["min"].as_f64(), value[times]["median"].as_f64());
        assert!(min > Some(0.0) && median >= min, "{json}");
    }
    assert_eq!(value["model"], "Tiny", "{json}");
    let json = place.good(&["bench", "tiny.cnn", "--mode", "infer", "--batch", "1", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(value["train_step_ms"].is_null() && value["infer_gflops"].as_f64() > Some(0.0), "{json}");
    let text = place.good(&["bench", "tiny.cnn", "--mode", "infer"]);
    assert!(text.contains("inference") && !text.contains("training step"), "{text}");
}

#[test]
fn profile_measures_every_kernel() {
    let place = Place::tiny();
    let json = place.good(&["profile", "tiny.cnn", "--batch", "16", "--json", "--threads", "1"]);
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let kernels = value["kernels"].as_array().expect("kernels");
    let sum = |key: &str| kernels.iter().map(|kernel| kernel[key].as_f64().expect("a number")).sum::<f64>();
    assert!((sum("milliseconds") / value["step_ms"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{json}");
    assert!((sum("share") - 1.0).abs() < 1e-6 && sum("gflop") > 0.0 && sum("megabytes") > 0.0, "{json}");
    assert!(value["memory_gigabytes_per_second"].as_f64() > Some(0.1), "{json}");
    let text = place.good(&["profile", "tiny.cnn", "--mode", "infer", "--top", "1"]);
    assert!(text.contains("of roofline") && text.contains("--top N shows more"), "{text}");
}

/// A run without an end, begun by another program, once it has kept an epoch.
#[cfg(unix)]
fn begun(place: &Place, starter: &[&str]) -> std::process::Child {
    let run = place.command(&["run", "tiny.cnn", "--out", "run", "--epochs", "100000"]);
    let mut command = std::process::Command::new(starter[0]);
    command.args(&starter[1..]).arg(run.get_program()).args(run.get_args()).current_dir(place.path("."));
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("it starts");
    let started = std::time::Instant::now();
    while !place.path("run/checkpoint/progress.json").is_file() {
        assert!(started.elapsed().as_secs() < 60, "no epoch in a minute");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child
}

#[cfg(unix)]
fn send(signal: &str, child: &std::process::Child) {
    let kill = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.expect("there is kill").success());
}

/// Whether these tests run in the background of a script, or under `nohup`: what they start ignores signals then, too.
#[cfg(unix)]
fn is_ignored(signal: &str) -> bool {
    let number = match signal {
        "-HUP" => 1,
        "-INT" => 2,
        _ => return false,
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

/// An interrupt ends a run after its step, with a checkpoint to go on from; so do the requests to end and the end of
/// the terminal, which ended it at once.
#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_was_done() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        if is_ignored(signal) {
            continue;
        }
        let place = Place::tiny();
        let child = begun(&place, &["env"]);
        send(signal, &child);
        let said = Said::of(child.wait_with_output().expect("it ends"));
        assert_eq!(said.code, Some(130), "{signal} {}", said.err);
        let last = said.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("interrupted in epoch "), "{}", said.err);
        assert!(last.ends_with("go on with: cnnc run --resume run"), "{}", said.err);
        assert!(place.path("run/model.safetensors").is_file() && !place.path("run/final.json").exists());
        place.good(&["run", "tiny.cnn", "--resume", "run", "--steps", "1"]);
    }
}

/// Two processes wrote their checkpoints and records over each other's. The claim of one that is killed ends with it.
#[cfg(unix)]
#[test]
fn a_folder_is_trained_in_by_one_process_at_a_time() {
    let place = Place::tiny();
    let mut child = begun(&place, &["env"]);
    let refused = "error: another process trains in run";
    for _ in 0..2 {
        let said = place.run(&["run", "tiny.cnn", "--resume", "run", "--steps", "1"]);
        assert_eq!((said.code, said.err.trim_end()), (Some(1), refused));
    }
    assert!(child.try_wait().expect("it can be asked").is_none(), "the first one ended");
    send("-KILL", &child);
    child.wait().expect("it ends");
    place.good(&["run", "tiny.cnn", "--resume", "run", "--steps", "1"]);
}

/// A run that was told to outlive its terminal does.
#[cfg(target_os = "linux")]
#[test]
fn what_is_ignored_stays_ignored() {
    let place = Place::tiny();
    let mut child = begun(&place, &["nohup"]);
    send("-HUP", &child);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(child.try_wait().expect("it can be asked").is_none(), "it ended");
    send("-TERM", &child);
    assert_eq!(Said::of(child.wait_with_output().expect("it ends")).code, Some(130));
}

/// Whether a line is what a run says of its layers.
fn is_note(line: &str) -> bool {
    line.starts_with("note: tiny.cnn:2:8: the bias before a batch normalisation ")
}

/// A run goes on where nobody reads what it says, whichever stream that is: notes and errors ended in a panic.
#[cfg(target_os = "linux")]
#[test]
fn streams_that_nobody_reads_end_nothing() {
    let place = Place::tiny();
    for closed in ["1", "2", "1 and 2"] {
        let mut command =
            place.command(&["run", "tiny.cnn", "--out", &format!("run {closed}"), "--epochs", "2"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        if closed.contains('1') {
            drop(child.stdout.take());
        }
        if closed.contains('2') {
            drop(child.stderr.take());
        }
        let said = Said::of(child.wait_with_output().expect("it ends"));
        // What is odd about the layers, and nothing else.
        assert!(said.code == Some(0) && said.err.lines().all(is_note), "{closed}: {}", said.err);
        assert!(place.path(&format!("run {closed}/final.json")).is_file(), "{closed}");
    }
    // An error that cannot be told is one all the same.
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    for stream in [std::process::Stdio::from(full()), std::process::Stdio::null()] {
        let mut command = place.command(&["run", "nothing.cnn"]);
        assert_eq!(command.stderr(stream).status().expect("it ends").code(), Some(1));
    }
    let mut command = place.command(&["emit", "tiny.cnn"]);
    let said = Said::of(command.stdout(full()).output().expect("it ends"));
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: standard output: "), "{}", said.err);
}

/// Output that nobody reads ends a command quietly.
#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::tiny();
    let mut command = place.command(&["emit", "tiny.cnn", "--stage", "loops"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take());
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

/// A broken network does not look alive: NaN in the first layer comes out at the end, and the file is named.
#[test]
fn weights_that_are_not_finite_are_named() {
    let place = Place::trained();
    let broken = |name: &str, spoilt: &[(&str, f32)]| {
        let mut tensors = weights::load(&place.path("run/model.safetensors")).expect("weights").tensors;
        for (path, value) in spoilt {
            tensors.get_mut(*path).expect("a tensor").elements[1] = *value;
        }
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice(), tensor.elements.as_slice().into()))
            .collect();
        weights::save(&place.path(name), &tensors, None).expect("a file");
    };
    broken("a.safetensors", &[("conv1.weight", f32::NAN)]);
    let said = place.run(&["eval", "tiny.cnn", "--weights", "a.safetensors"]);
    let warning = "warning: a.safetensors: 1 of the 36 values of `conv1.weight` are not finite\n";
    assert_eq!((said.code, said.err.as_str()), (Some(0), warning));
    assert!(said.out.contains("loss      NaN\n") && said.out.contains("accuracy  0.00 %\n"), "{}", said.out);

    broken(
        "b.safetensors",
        &[("bn.running_var", f32::INFINITY), ("fc.bias", f32::NAN), ("fc.weight", f32::NAN)],
    );
    let said = place.run(&["eval", "tiny.cnn", "--weights", "b.safetensors", "--json"]);
    let warning = "warning: b.safetensors: 1 of the 4 values of `bn.running_var` are not finite, \
                   nor are those of 2 other tensors\n";
    assert_eq!((said.code, said.err.as_str()), (Some(0), warning));
    assert!(said.out.contains("\"test_loss\":null"), "{}", said.out);

    let said = place.run(&["predict", "tiny.cnn", "test:0", "--weights", "a.safetensors"]);
    assert!(said.err.starts_with("warning: a.safetensors: 1 of the 36 values"), "{}", said.err);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("no class: 10 of the 10 scores are NaN") && !said.out.contains('%'));

    // A run that begins with them says so too.
    let load = ["--set", "train.weights=load(\"b.safetensors\")"];
    for begin in [&["--init", "b.safetensors"], &load] {
        let said = place.run(&[&["run", "tiny.cnn", "--out", "begun"], &begin[..]].concat());
        assert!(said.err.starts_with(warning), "{begin:?}: {}", said.err);
        std::fs::remove_dir_all(place.path("begun")).expect("a folder");
    }
    broken("c.safetensors", &[("bn.running_var", f32::INFINITY)]);
    let said = place.run(&["run", "tiny.cnn", "--out", "begun", "--init", "c.safetensors", "--steps", "1"]);
    let what = "1 of the 4 values of `bn.running_var` are not finite\n";
    assert!(said.err.starts_with(&format!("warning: c.safetensors: {what}")), "{}", said.err);
    let sound = ["run", "tiny.cnn", "--out", "sound", "--init", "run/model.safetensors", "--steps", "1"];
    assert!(place.run(&sound).err.lines().all(is_note));
}

/// What is left of an epoch is no batch that was planned for.
#[test]
fn an_epoch_goes_on_with_another_batch() {
    let place = Place::tiny();
    for (batch, steps) in [("100", "1"), ("70", "3"), ("33", "2")] {
        let out = format!("run-{batch}");
        place.good(&["run", "tiny.cnn", "--out", &out, "--epochs", "1", "--steps", steps]);
        place.good(&["run", "tiny.cnn", "--resume", &out, "--batch", batch, "--allow-changes"]);
    }
}

/// The runs of a folder with their figures, and what tells one from the one before.
#[test]
fn runs_are_listed() {
    let place = Place::tiny();
    let said = place.run(&["runs"]);
    assert!(said.code == Some(1) && said.err.starts_with("error: runs: "), "{}", said.err);
    std::fs::create_dir(place.path("runs")).expect("a folder");
    assert_eq!(place.good(&["runs"]), "no runs in runs\n");
    place.good(&["run", "tiny.cnn"]);
    place.good(&["run", "tiny.cnn", "--seed", "4", "--set", "data.holdout=100", "--steps", "15"]);
    place.good(&["run", "tiny.cnn", "--out", "runs/Tiny-10", "--seed", "4", "--set", "data.holdout=100"]);
    std::fs::create_dir(place.path("runs/other")).expect("a folder");
    let lines: Vec<serde_json::Value> = place
        .good(&["runs", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let column = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("run"), ["Tiny-1", "Tiny-2", "Tiny-10"]);
    assert_eq!(column("state"), ["done", "stopped", "done"]);
    assert_eq!((column("epochs"), column("of")), (vec![2.into(), 1.into(), 2.into()], vec![2.into(); 3]));
    let mut last: serde_json::Value =
        serde_json::from_str(&place.text("runs/Tiny-1/final.json")).expect("JSON");
    last.as_object_mut().expect("an object").remove("format");
    assert_eq!(lines[0]["final"], last);
    assert_eq!(lines[1]["differences"], serde_json::json!(["data.holdout: 0 -> 100", "train.seed: 3 -> 4"]));
    assert_eq!(lines[2]["differences"], serde_json::json!([]));
    place.write("runs/Tiny-2/run.json", "{}");
    let text = place.good(&["runs"]);
    let rows: Vec<&str> = text.lines().collect();
    assert!(
        rows[0].starts_with("run      state    epochs  train loss  val loss   val acc  test loss  test acc"),
        "{text}"
    );
    assert!(rows[2].starts_with("Tiny-1   done        2/2 ") && rows[2].ends_with(" %"), "{text}");
    assert!(rows[4].contains("runs/Tiny-2/run.json: the file is damaged"), "{text}");
    assert!(rows[6].contains("data.holdout: 0 -> 100"), "{text}");
}

/// What is trained, held out and tested, each under its name.
#[test]
fn every_split_is_evaluated() {
    let place = Place::tiny();
    let holdout = ["--set", "data.holdout=100"];
    place.good(&[&["run", "tiny.cnn", "--out", "run"], &holdout[..]].concat());
    let line = place.text("run/metrics.jsonl").lines().last().expect("an epoch").to_owned();
    let eval = |split: &str| {
        let eval = ["eval", "tiny.cnn", "--weights", "run", "--split", split];
        (
            place.good(&[&eval[..], &holdout, &["--json"]].concat()),
            place.good(&[&eval[..], &holdout].concat()),
        )
    };
    let (json, text) = eval("val");
    assert!(text.starts_with("Tiny on 100 val images\n"), "{text}");
    for key in ["val_loss", "val_accuracy"] {
        assert_eq!(number(&json, key), number(&line, key), "{key}");
    }
    assert!(!json.contains("test_"), "{json}");
    let (json, text) = eval("train");
    assert!(text.starts_with("Tiny on 1,338 train images\n"), "{text}");
    // Without dropout, and with the last weights, training images do better than they did on the way.
    assert!(number(&json, "train_loss") < number(&line, "train_loss"), "{json} {line}");
    let (json, _) = eval("test");
    assert_eq!(number(&json, "test_loss"), number(&place.text("run/final.json"), "test_loss"));
    let of = |split: &str| number(&eval(split).0, &format!("{split}_loss"));
    let mean = (1338.0 * of("train") + 100.0 * of("val") + 359.0 * of("test")) / 1797.0;
    assert!(
        (of("all") - mean).abs() < 1e-6 * mean && eval("all").1.starts_with("Tiny on all 1,797 images\n")
    );
    place.bad(
        &["eval", "tiny.cnn", "--weights", "run", "--split", "val"],
        2,
        "note: the settings are not those of the run in run: data.holdout: 100 -> 0\n\
         error: nothing is held out for validation; `holdout = N` in the data section does that",
    );
}
