//! `cnnc runs`: the runs of a folder, with their figures and what tells each from the one before.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::{numbers, visible};
use crate::report::output;
use crate::report::table::{Align, Columns};
use crate::train::claim::is_claimed;
use crate::train::manifest::Manifest;
use crate::train::records::{self, EpochRecord, FinalRecord};
use crate::train::{TrainError, checkpoint};

use super::arguments::RunsArguments;
use super::{Failure, Outcome, print, print_json};

/// A run.
#[derive(Serialize)]
struct Run {
    run: String,
    /// The train section.
    model: Option<String>,
    state: &'static str,
    /// Epochs that are done, and those that were asked for.
    epochs: u64,
    of: Option<u64>,
    /// The line of the last epoch.
    last: Option<EpochRecord>,
    #[serde(rename = "final")]
    result: Option<FinalRecord>,
    /// What was changed on the way, and after which step.
    changes: Vec<Changed>,
    /// What is not as in the run before.
    differences: Vec<String>,
    /// Why the folder cannot be read.
    problem: Option<String>,
    #[serde(skip)]
    manifest: Option<Manifest>,
}

/// A change of a run that was allowed.
#[derive(Serialize)]
struct Changed {
    step: u64,
    what: Vec<String>,
}

/// Prints a line a run, and what it differs in.
pub fn run(arguments: &RunsArguments) -> Outcome {
    let folders = folders(&arguments.folder)?;
    let mut runs: Vec<Run> = folders.iter().map(|folder| read(folder)).collect();
    for at in 1..runs.len() {
        // One that says nothing of itself tells nothing of others.
        let before = runs[..at].iter().rev().find_map(|run| run.manifest.as_ref());
        let found = before.zip(runs[at].manifest.as_ref()).map(|(before, now)| before.differences(now));
        runs[at].differences =
            found.unwrap_or_default().iter().map(|difference| difference.to_string()).collect();
    }
    if arguments.json {
        return runs.iter().try_for_each(print_json);
    }
    match runs.is_empty() {
        true => print(&format!("no runs in {}\n", arguments.folder.display())),
        false => print(&text(&runs)),
    }
}

/// The folders of runs in a folder, in the order of their names and numbers.
fn folders(around: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::Run(format!("{}: {error}", around.display()));
    if around.is_file() {
        return Err(Failure::Run(format!("{} is a file, not a folder with runs", around.display())));
    }
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(around).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Those of earlier versions have records, but do not say what they are.
        let is_run = path.join("run.json").is_file() || path.join("metrics.jsonl").is_file();
        if is_run {
            folders.push(path);
        }
    }
    folders.sort_by_cached_key(|path| numbered(&name(path)));
    Ok(folders)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A name and the number at its end, by which names are in order.
fn numbered(name: &str) -> (String, u64) {
    let split =
        name.rsplit_once('-').and_then(|(name, number)| Some((name.to_owned(), number.parse().ok()?)));
    split.unwrap_or_else(|| (name.to_owned(), 0))
}

fn read(folder: &Path) -> Run {
    let mut run = Run {
        run: name(folder),
        model: None,
        state: "stopped",
        epochs: 0,
        of: None,
        last: None,
        result: None,
        changes: Vec::new(),
        differences: Vec::new(),
        problem: None,
        manifest: None,
    };
    run.problem = fill(folder, &mut run).err().map(|error| error.to_string());
    run
}

fn fill(folder: &Path, run: &mut Run) -> Result<(), TrainError> {
    run.manifest = Manifest::load(folder)?;
    run.model = run.manifest.as_ref().map(|manifest| manifest.name.clone());
    run.of = run.manifest.as_ref().map(Manifest::epochs);
    let changes = run.manifest.iter().flat_map(|manifest| &manifest.changes);
    run.changes = changes.map(|change| Changed { step: change.step, what: change.what.clone() }).collect();
    run.last = records::read_epochs(folder)?.pop();
    run.epochs = checkpoint::position(folder)?.map_or(0, |position| position.epochs);
    run.result = records::read_final(folder)?;
    let is_whole = run.of.is_none_or(|of| run.epochs >= of);
    run.state = match (is_claimed(folder), &run.result) {
        (true, _) => "running",
        (false, Some(_)) if is_whole => "done",
        (false, _) => "stopped",
    };
    Ok(())
}

fn text(runs: &[Run]) -> String {
    let width = runs.iter().map(|run| visible::name(&run.run).chars().count()).max().unwrap_or_default();
    let columns = Columns::new(&[
        ("run", Align::Left, width),
        ("state", Align::Left, 7),
        ("epochs", Align::Right, 6),
        ("train loss", Align::Right, 8),
        ("val loss", Align::Right, 8),
        ("val acc", Align::Right, 8),
        ("test loss", Align::Right, 9),
        ("test acc", Align::Right, 8),
    ])
    .within(output::width());
    let mut text = format!("{}\n{}\n", columns.header(), columns.rule());
    for run in runs {
        text += &columns.line(&cells(run));
        text.push('\n');
        for line in run.problem.iter().chain(&run.differences) {
            text += &format!("  {line}\n");
        }
        for Changed { step, what } in &run.changes {
            text += &format!("  changed after step {}: {}\n", numbers::grouped(*step), what.join("; "));
        }
    }
    text
}

fn cells(run: &Run) -> Vec<String> {
    let dash = || "-".to_owned();
    let loss = |loss: Option<f64>| loss.map_or_else(dash, numbers::loss);
    let share =
        |share: Option<f64>| share.filter(|share| !share.is_nan()).map_or_else(dash, numbers::percent);
    let last = run.last.as_ref();
    let on = |split: &str| last.filter(|last| last.split.name() == split);
    let of = run.of.map_or(String::new(), |of| format!("/{of}"));
    // Where the run has not come to its end, what the last epoch said.
    let result = run.result.as_ref();
    let test_loss = result.map(|result| result.test_loss).or_else(|| on("test")?.loss);
    let test_accuracy = result.map(|result| result.test_accuracy).or_else(|| on("test")?.accuracy);
    vec![
        visible::name(&run.run),
        run.state.into(),
        format!("{}{of}", run.epochs),
        loss(last.map(|last| last.train_loss)),
        loss(on("val").and_then(|last| last.loss)),
        share(on("val").and_then(|last| last.accuracy)),
        loss(test_loss),
        share(test_accuracy),
    ]
}
