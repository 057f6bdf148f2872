//! What a run says of itself where it goes on, ends, or cannot: lines that were missing, or said something else.

use crate::place::{Place, Said, TINY};

/// A net of which a first phase trains the head alone.
const PHASES: &str = "model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> conv(4, 3) as stem |> relu |> flatten |> linear(10) as head
}
data D { source = digits(); }
train Net on D {
  loss = cross_entropy;  batch = 100;  optim = sgd(0.1);
  phase warm { epochs = 1;  freeze = !head; }
  phase all { epochs = 2; }
}";

/// The trained parameters of the first phase stood for all of them, and those of the last one where a run went on.
#[test]
fn all_parameters_are_counted_and_those_that_a_phase_trains() {
    let place = Place::with("net.cnn", PHASES);
    let (stem, head) = (4 * 9 + 4, 4 * 36 * 10 + 10);
    assert_eq!((stem + head, head), (1_490, 1_450));
    let line = "Net, 1,490 parameters, on D: ";
    let out = place.good(&["run", "net.cnn", "--out", "run", "--steps", "7"]);
    assert!(out.starts_with(line), "{out}");
    let warm = "phase warm: 1 epoch of 15 steps, batch 100, 1,450 of the parameters trained";
    assert_eq!(out.lines().nth(2), Some(warm));
    for steps in ["10", "20"] {
        let out = place.good(&["run", "--resume", "run", "--steps", steps]);
        assert!(out.starts_with(line) && out.contains(warm), "{out}");
    }
    let out = place.good(&["run", "--resume", "run"]);
    assert!(out.starts_with(line) && !out.contains("of the parameters trained"), "{out}");
    // With `--epochs`, phases that have ended would be others.
    let said = place.run(&["run", "--resume", "run"]);
    let note =
        "note: the run in run is done; a model file with more epochs in the phase `all` asks for more\n";
    assert!(
        said.code == Some(0) && said.err == note && !said.out.contains("goes on"),
        "{}{}",
        said.err,
        said.out
    );
    place.write("net.cnn", PHASES.replace("epochs = 2", "epochs = 3"));
    place.good(&["run", "net.cnn", "--resume", "run"]);
    assert_eq!(place.text("run/metrics.jsonl").lines().count(), 4);
}

/// Lines for programs were lost on a full disk, with the code of success.
#[cfg(target_os = "linux")]
#[test]
fn lines_that_cannot_be_written_are_an_error_in_the_end() {
    let place = Place::tiny();
    for flags in [&["--json"][..], &[], &["--quiet"]] {
        let out = format!("run{}", flags.concat());
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
        let mut command =
            place.command(&[&["run", "tiny.cnn", "--out", &out, "--epochs", "2"], flags].concat());
        let said = Said::of(command.stdout(full).output().expect("it ends"));
        let error = said.err.lines().find(|line| line.starts_with("error: standard output: "));
        let is_quiet = flags == ["--quiet"];
        assert_eq!((said.code, error.is_some()), (Some(i32::from(!is_quiet)), !is_quiet), "{}", said.err);
        // Nothing else is lost.
        assert!(place.path(&format!("{out}/final.json")).is_file());
        assert_eq!(place.text(&format!("{out}/metrics.jsonl")).lines().count(), 2);
    }
}

/// The signal of a file beyond its limit ended the process without a word.
#[cfg(target_os = "linux")]
#[test]
fn a_file_beyond_the_limit_of_the_system_is_an_error() {
    let place = Place::tiny();
    let mut command = std::process::Command::new("sh");
    command.current_dir(place.path("")).env("XDG_CACHE_HOME", place.path(".cache"));
    // Of blocks of 512 bytes, or of 1024.
    command.args(["-c", "ulimit -f 2; exec \"$0\" run tiny.cnn --out run", env!("CARGO_BIN_EXE_cnnc")]);
    let said = Said::of(command.output().expect("it ends"));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("error: ") && said.err.contains("File too large"), "{}", said.err);
}

/// Who asked for fewer steps than are done saw a test once more, and not why.
#[test]
fn steps_that_are_done_are_told() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "run", "--steps", "9"]);
    let note = "note: the run has done 9 steps, and --steps counts all of them: none is left\n";
    for (steps, said) in [("9", true), ("3", true), ("10", false)] {
        let Said { code, err, .. } = place.run(&["run", "--resume", "run", "--steps", steps]);
        assert_eq!((code, err.contains(note)), (Some(0), said), "{steps}: {err}");
    }
}

/// A run that was changed says so in the list; names are shown without what acts on a terminal.
#[test]
fn changes_are_listed() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "runs/a\nb", "--steps", "4"]);
    assert!(!place.good(&["runs"]).contains("changed"));
    place.good(&["run", "--resume", "runs/a\nb", "--set", "train.seed=4", "--allow-changes"]);
    let text = place.good(&["runs"]);
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[2].starts_with("a\\nb  done"), "{text}");
    assert_eq!(rows[3..], ["  changed after step 4: train.seed: 3 -> 4"], "{text}");
    let json: serde_json::Value = serde_json::from_str(&place.good(&["runs", "--json"])).expect("JSON");
    let change = serde_json::json!([{ "step": 4, "what": ["train.seed: 3 -> 4"] }]);
    assert_eq!((json["run"].as_str(), &json["changes"]), (Some("a\nb"), &change));
}

/// Counts of two kinds were one figure in the epoch of the change.
#[test]
fn metrics_change_between_epochs_only() {
    let place =
        Place::with("tiny.cnn", &TINY.replace("seed = 3", "seed = 3; metrics = [accuracy, confusion]"));
    place.good(&["run", "tiny.cnn", "--out", "run", "--steps", "4"]);
    assert!(place.path("run/confusion.txt").is_file());
    let change = ["run", "--resume", "run", "--set", "train.metrics=[accuracy, top(2)]", "--allow-changes"];
    let error =
        "error: `metrics` can only change where an epoch begins, and the run in run stands within epoch 1";
    place.bad(&change, 1, error);
    place.good(&["run", "--resume", "run", "--steps", "15"]);
    place.good(&change);
    let lines = place.text("run/metrics.jsonl");
    let has_top: Vec<bool> = lines.lines().map(|line| line.contains("train_top2_accuracy")).collect();
    assert_eq!(has_top, [false, true]);
    // What nobody asks for any more is not left as if it were of the last weights.
    assert!(!place.path("run/confusion.txt").exists());
}

/// A folder that is damaged, data that are nowhere or have no place, a file that is not there.
#[test]
fn what_is_missing_is_told_with_a_way_out() {
    let place = Place::tiny();
    place.good(&["run", "tiny.cnn", "--out", "run", "--steps", "4"]);
    place.write("run/run.json", "{}");
    let said = place.run(&["run", "--resume", "run"]);
    let way = "; without the file, `cnnc run FILE --resume DIR` goes on with a model file\n";
    assert!(said.code == Some(1) && said.err.ends_with(way), "{}", said.err);
    std::fs::remove_file(place.path("run/run.json")).expect("it goes");
    place.good(&["run", "tiny.cnn", "--resume", "run"]);
    let said = place.run(&["eval", "tiny.cnn", "--weights", "run", "--data", "nowhere"]);
    let error = "error: the data are those of digits(), which has no place for --data\n";
    // Today the code of a file that is wrong.
    assert_eq!((said.code, said.err.as_str()), (Some(2), error));
    // An empty line stands between errors with sources, not behind one without.
    let said = place.run(&["run", "no.cnn"]);
    assert!(said.err.ends_with("(os error 2)\n") && said.err.lines().count() == 1, "{:?}", said.err);
}
