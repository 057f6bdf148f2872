//! Runs that are killed, by time and before a change of the disk, and computers that lose their power: what was kept goes
//! on, and in the end nothing tells such a run from another one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use cnnc::base::files::disk;
use cnnc::train::checkpoint::Checkpoint;
use cnnc::train::manifest::Manifest;
use cnnc::train::records::Records;

use super::power;
use crate::place::{self, Place, Said};

/// A training with all that a run has to keep: phases with optimisers of their own, dropout, mixed pictures, a rule that
/// stops a phase, the best epoch, gradients, and checkpoints within epochs.
const NET: &str = "\
model Net(x: f32[N, 1, 8, 8]) -> f32[N, 10] {
  x |> conv(4, 3) |> batchnorm |> relu |> maxpool(2) |> flatten |> dropout(0.2) |> linear(10)
}

data Digits { source = digits(); holdout = 200; augment = mixup(0.2); }

train Net on Digits {
  loss = cross_entropy;
  batch = 130;
  seed = 5;
  save = best(val.loss);
  log = [gradients];
  metrics = [accuracy, confusion];
  checkpoint = every(4);
  phase warm { epochs = 3; optim = sgd(0.02, momentum=0.9); stop = early(val.loss, patience=1, min_delta=9); }
  phase main { epochs = 2; optim = adam(1e-2); schedule = cosine(); }
}
";

const RUN: [&str; 6] = ["run", "net.cnn", "--out", "run", "--threads", "1"];
const RESUME: [&str; 5] = ["run", "--resume", "run", "--threads", "1"];

/// What a run leaves, by names, without what the clock says.
fn left(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn add(found: &mut BTreeMap<String, Vec<u8>>, folder: &Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type().expect("a type").is_dir() {
                true => add(found, &entry.path(), &format!("{name}/")),
                false => _ = found.insert(name, std::fs::read(entry.path()).expect("a file")),
            }
        }
    }
    let mut found = BTreeMap::new();
    add(&mut found, folder, "");
    if let Some(metrics) = found.get_mut("metrics.jsonl") {
        *metrics = without_times(&String::from_utf8_lossy(metrics)).into_bytes();
    }
    // How long the records are depends on their times.
    if let Some(progress) = found.get_mut("checkpoint/progress.json") {
        let mut value: serde_json::Value = serde_json::from_slice(progress).expect("JSON");
        value["records"]["metrics"] = 0.into();
        value["sum"] = 0.into();
        *progress = value.to_string().into_bytes();
    }
    found
}

fn without_times(metrics: &str) -> String {
    let timeless = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for key in ["seconds", "images_per_second"] {
            assert!(value.as_object_mut().expect("an object").remove(key).is_some(), "{line}");
        }
        format!("{value}\n")
    };
    metrics.lines().map(timeless).collect()
}

/// Goes on with a run that was killed, or begins it anew where it left nothing.
fn finish(place: &Place) {
    match place.path("run").exists() {
        true => _ = place.good(&RESUME),
        false => _ = place.good(&RUN),
    }
}

/// A finished run, what it left, and its changes of the disk.
fn whole() -> (Place, BTreeMap<String, Vec<u8>>, Vec<serde_json::Value>) {
    let place = Place::with("net.cnn", NET);
    let log = place.path("log");
    let run = place.command(&RUN).env(disk::LOG, &log).output().expect("it starts");
    assert!(run.status.success(), "{}", Said::of(run).err);
    let changes = std::fs::read_to_string(&log).expect("a log");
    let changes = changes.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    std::fs::remove_file(log).expect("it was there");
    let found = left(&place.path("run"));
    assert!(
        found.contains_key("best.safetensors") && found.contains_key("gradients.svg"),
        "{:?}",
        found.keys()
    );
    (place, found, changes)
}

/// Compares what a run left with what another one did.
#[track_caller]
fn same(place: &Place, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    let mut found = left(&place.path("run"));
    let mut expected = expected.clone();
    // The folder of the model is another one.
    for run in [&mut found, &mut expected] {
        let text = String::from_utf8(run.remove("run.json").expect("a run")).expect("text");
        let end = text.find("\"settings\"").expect("settings");
        let rest = text[end..].split("\"sum\"").next().expect("a beginning").to_owned();
        run.insert("run.json".into(), rest.into_bytes());
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in &expected {
        assert_eq!(
            String::from_utf8_lossy(&found[name]),
            String::from_utf8_lossy(bytes),
            "{name} after {what}"
        );
    }
    assert_eq!(place.names(), ["net.cnn", "run"], "after {what}");
}

/// A long validation after two steps.
const SLOW: &str = "\
model Slow(x: f32[N, 1, 16, 16]) -> f32[N, 2] {
  x |> conv(64, 3, pad=1) |> conv(64, 3, pad=1) |> globalavgpool |> flatten |> linear(2)
}

data Made { source = synthetic(classes=2, size=[1, 16, 16], images=4, test=2000); }

train Slow on Made { loss = cross_entropy; batch = 2; epochs = 2; optim = sgd(0.1); }
";

/// What an interrupted validation has recorded goes where the run goes on, as it is done again. No kill by time found it on
/// a quick machine.
#[test]
fn an_interrupted_validation_leaves_no_lines() {
    let place = Place::with("net.cnn", SLOW);
    let mut command = place.command(&RUN);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let steps = || std::fs::read_to_string(place.path("run/steps.jsonl")).unwrap_or_default();
    let started = Instant::now();
    while !steps().contains("\"test\"") {
        assert!(started.elapsed().as_secs() < 60, "no validation in a minute");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.expect("there is kill").success());
    let said = Said::of(child.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(130), "{}", said.err);
    place.good(&RESUME);
    // Two epochs and the end.
    let count = |split: &str| steps().lines().filter(|line| line.contains(split)).count();
    assert_eq!((count("\"train\""), count("\"test\"")), (4, 3 * 2000 / 2));
}

/// Kills before the changes of these numbers, and each third time the run that goes on, too.
fn kill_before(numbers: impl Iterator<Item = usize>, expected: &BTreeMap<String, Vec<u8>>) {
    for number in numbers {
        let place = Place::with("net.cnn", NET);
        let killed = |arguments: &[&str], number: usize| {
            let mut command = place.command(arguments);
            let status = command.env(disk::END, number.to_string()).output().expect("it starts").status;
            assert!(!status.success(), "nothing killed it before change {number}");
        };
        killed(&RUN, number);
        if number.is_multiple_of(3) && place.path("run").exists() {
            killed(&RESUME, 1 + number % 7);
        }
        finish(&place);
        same(&place, expected, &format!("a kill before change {number}"));
    }
}

/// Numbers from 1 to `last`, `count` of them, that have no common step with anything in a run.
fn spread(count: usize, last: usize) -> impl Iterator<Item = usize> {
    let count = count.min(last);
    (0..count).map(move |at| 1 + (at * 2 + 1) * (last - 1) / (2 * count))
}

/// Test lines were doubled, dead states of the first phase's optimiser stayed, and runs without an epoch were lost.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "this build has no switch")]
fn kills_before_changes_of_the_disk() {
    let (_place, expected, changes) = whole();
    kill_before(spread(5, changes.len()), &expected);
}

#[test]
#[ignore = "all of them, 2 minutes"]
fn kills_before_every_change_of_the_disk() {
    let (_place, expected, changes) = whole();
    assert!(changes.len() >= 50, "{} changes", changes.len());
    kill_before(1..=changes.len(), &expected);
}

fn kill_by_time(count: u32) {
    let started = Instant::now();
    let (_place, expected, _) = whole();
    let takes = started.elapsed();
    for number in 0..count {
        let place = Place::with("net.cnn", NET);
        // A run that is killed, one that goes on and is killed, and one that ends.
        for arguments in [&RUN[..], &RESUME] {
            if arguments[1] == "--resume" && !place.path("run").exists() {
                continue;
            }
            let mut command = place.command(arguments);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            std::thread::sleep(takes.mul_f64(f64::from(2 * number + 1) / f64::from(2 * count)));
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
        finish(&place);
        same(&place, &expected, &format!("kill {number} of {count} in {takes:?}"));
    }
}

#[test]
fn kills_by_time() {
    kill_by_time(5);
}

#[test]
#[ignore = "fifty kills, half a minute"]
fn many_kills_by_time() {
    kill_by_time(50);
}

/// Whatever a loss of power leaves of what was not synced, the last whole checkpoint is found, with its records.
fn lose_power(places: usize, subsets: u64) {
    let (place, expected, changes) = whole();
    let (mut found, mut resumed) = (0, 0);
    for crash in spread(places, changes.len()) {
        for subset in 0..subsets {
            let folder = place.path("crashed");
            let kept = power::after(&place.path("."), &changes[..crash], subset);
            kept.write_to("run", &folder);
            let what = format!("change {crash}, subset {subset}");
            let last = power::last_checkpoint(&changes[..crash]);
            if !folder.exists() {
                assert_eq!(last, None, "{what}");
                continue;
            }
            assert!(Manifest::load(&folder).expect(&what).is_some(), "{what}");
            let checkpoint = Checkpoint::load(&folder).unwrap_or_else(|error| panic!("{what}: {error}"));
            let steps = checkpoint.as_ref().map(|checkpoint| checkpoint.position.steps);
            assert!(steps >= last, "{what}: {steps:?}, and {last:?} was whole");
            found += u64::from(steps.is_some());
            // Some go on to the end; of all others the records are there.
            if (crash as u64 + subset).is_multiple_of(9) {
                let other = Place::with("net.cnn", NET);
                std::fs::rename(&folder, other.path("run")).expect("it moves");
                other.good(&RESUME);
                same(&other, &expected, &what);
                resumed += 1;
            } else {
                let lengths = checkpoint.and_then(|checkpoint| checkpoint.records).unwrap_or_default();
                Records::resume(&folder, lengths).expect(&what);
                std::fs::remove_dir_all(&folder).expect("it goes");
            }
        }
    }
    assert!(found > 10 && resumed > 0, "{found} checkpoints, {resumed} ends");
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "this build has no switch")]
fn losses_of_power() {
    lose_power(25, 4);
}

#[test]
#[ignore = "at every change, 2 minutes"]
fn many_losses_of_power() {
    lose_power(usize::MAX, 20);
}

/// A flipped bit was loaded silently.
#[test]
fn every_flipped_bit_of_a_checkpoint_is_noticed() {
    let place = Place::with("net.cnn", NET);
    place.good(&[&RUN[..], &["--steps", "13"]].concat());
    let folder = place.path("run");
    let mut random = 12345_u64;
    let names = place::names_in(&folder.join("checkpoint"));
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names {
        let path = folder.join("checkpoint").join(name);
        let bytes = std::fs::read(&path).expect("a file");
        for _ in 0..64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bit = (random >> 20) as usize % (8 * bytes.len());
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, changed).expect("a file");
            let load = || {
                let checkpoint = Checkpoint::load(&folder)?.expect("it is there");
                let best = checkpoint.best.expect("there is a best epoch");
                cnnc::train::checkpoint::read_best(&folder, &best)
            };
            let error = load().expect_err(&format!("bit {bit} of {name}")).to_string();
            assert!(error.contains(name.as_str()) && !error.contains('\n'), "bit {bit} of {name}: {error}");
        }
        std::fs::write(&path, &bytes).expect("a file");
    }
    place.good(&RESUME);
}
