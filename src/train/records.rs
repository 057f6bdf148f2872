//! What a run leaves behind: its folder, a line of JSON a step and an epoch, and the final figures.
//!
//! Every line is appended by one write. A checkpoint says how long the files were, so what came later, whole or torn, is
//! dropped when a run goes on.

mod reading;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::base::files::{self, Log, write_atomically};
use crate::base::visible;
use crate::elab::config::Metrics;

use super::confusion::Confusion;
use super::evaluate::Figures;

pub use reading::{read_epochs, read_final, read_gradients, read_steps};

const METRICS: &str = "metrics.jsonl";
const STEPS: &str = "steps.jsonl";
const GRADIENTS: &str = "gradients.jsonl";
const FINAL: &str = "final.json";

/// Bytes of a line that is read, at most: a hundred thousand gradients with their names fit.
const LONGEST_LINE: u64 = 1 << 24;

/// Why a run's files cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} already exists; {}", path.display(), way_out(path))]
    Exists { path: PathBuf },
    #[error("another process trains in {}", path.display())]
    Busy { path: PathBuf },
    #[error("{0}")]
    Data(String),
}

/// The shares of labels among the best scores, by keys such as `val_top5_accuracy`: one a split where the metrics have
/// `top(5)`, else none.
pub type TopFigures = IndexMap<String, Option<f64>>;

/// What to do where the folder of a new run is there.
fn way_out(path: &Path) -> String {
    match path.join(super::manifest::MANIFEST).is_file() {
        true => format!("name a new folder, or go on with --resume {}", visible::word(path)),
        false => "name a new folder".into(),
    }
}

/// What an epoch is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluated {
    /// Images that were held out.
    Validation,
    /// The test split, where none are.
    Test,
}

impl Evaluated {
    /// In keys and columns.
    pub fn name(self) -> &'static str {
        match self {
            Evaluated::Validation => "val",
            Evaluated::Test => "test",
        }
    }
}

/// A line of `metrics.jsonl`. Training figures are means over the epoch; JSON has null for a figure
/// that is not finite, and for an accuracy that is not among the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "EpochLine", into = "EpochLine")]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: u64,
    pub train_loss: f64,
    /// The share of images, 0 to 1.
    pub train_accuracy: f64,
    pub split: Evaluated,
    /// Of that split.
    pub loss: Option<f64>,
    pub accuracy: Option<f64>,
    pub seconds: f64,
    pub images_per_second: f64,
    pub learning_rate: f64,
    /// The name of its phase, where the train section has phases.
    pub phase: Option<String>,
    pub top: TopFigures,
}

/// The keys of a line: those of the other split are left out.
#[derive(Clone, Serialize, Deserialize)]
struct EpochLine {
    epoch: u64,
    #[serde(deserialize_with = "nan_for_null")]
    train_loss: f64,
    #[serde(deserialize_with = "nan_for_null")]
    train_accuracy: f64,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_for_null")]
    val_loss: Option<Option<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_for_null")]
    val_accuracy: Option<Option<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_for_null")]
    test_loss: Option<Option<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_for_null")]
    test_accuracy: Option<Option<f64>>,
    seconds: f64,
    images_per_second: f64,
    learning_rate: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    #[serde(flatten)]
    top: TopFigures,
}

impl From<EpochLine> for EpochRecord {
    fn from(line: EpochLine) -> EpochRecord {
        let EpochLine {
            epoch,
            train_loss,
            train_accuracy,
            seconds,
            images_per_second,
            learning_rate,
            phase,
            top,
            ..
        } = line;
        let (split, loss, accuracy) = match line.test_loss {
            Some(loss) => (Evaluated::Test, loss, line.test_accuracy.flatten()),
            None => (Evaluated::Validation, line.val_loss.flatten(), line.val_accuracy.flatten()),
        };
        EpochRecord {
            epoch,
            train_loss,
            train_accuracy,
            split,
            loss,
            accuracy,
            seconds,
            images_per_second,
            learning_rate,
            phase,
            top,
        }
    }
}

impl From<EpochRecord> for EpochLine {
    fn from(record: EpochRecord) -> EpochLine {
        let on = |split: Evaluated, figure: Option<f64>| (record.split == split).then_some(figure);
        EpochLine {
            epoch: record.epoch,
            train_loss: record.train_loss,
            train_accuracy: record.train_accuracy,
            val_loss: on(Evaluated::Validation, record.loss),
            val_accuracy: on(Evaluated::Validation, record.accuracy),
            test_loss: on(Evaluated::Test, record.loss),
            test_accuracy: on(Evaluated::Test, record.accuracy),
            seconds: record.seconds,
            images_per_second: record.images_per_second,
            learning_rate: record.learning_rate,
            phase: record.phase,
            top: record.top,
        }
    }
}

impl EpochRecord {
    /// The share of labels among the best scores on `train` or the split of the evaluation, where it is counted.
    pub fn top(&self, split: &str) -> Option<f64> {
        self.top.iter().find(|(key, _)| key.starts_with(split)).and_then(|(_, share)| *share)
    }
}

/// A number or null, which is not the same as nothing.
fn some_for_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What the metrics ask for of splits with these figures.
pub fn top_figures(metrics: &Metrics, splits: &[(&str, &Figures)]) -> TopFigures {
    let Some(k) = metrics.top_k() else { return TopFigures::new() };
    let share = |figures: &Figures| Some(figures.top_accuracy()).filter(|share| share.is_finite());
    let of = |figures| if planted!("train.records.top") { splits[0].1 } else { figures };
    splits.iter().map(|(split, figures)| (format!("{split}_top{k}_accuracy"), share(of(figures)))).collect()
}

/// A number that JSON has null for where it is not finite.
pub(super) fn nan_for_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// The same of a number that may be left out.
pub(super) fn some_nan_for_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    nan_for_null(deserializer).map(Some)
}

/// A line of `steps.jsonl`: the mean loss of one batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord<'a> {
    /// `train`, `val` or `test`.
    pub split: &'a str,
    /// Counted from 1.
    pub epoch: u64,
    /// Counted from 1, over all epochs.
    pub step: u64,
    pub loss: f32,
}

/// A line of `gradients.jsonl`: the norm of the gradient of every trained parameter in one step, by its path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientRecord {
    /// Counted from 1.
    pub epoch: u64,
    /// Counted from 1, over all epochs.
    pub step: u64,
    /// In the order of the model; None where the norm is not finite.
    pub norms: IndexMap<String, Option<f32>>,
}

/// Mean norms in each epoch, by the parameters' paths in the order of the model.
pub type GradientNorms = BTreeMap<u64, IndexMap<String, f64>>;

/// The contents of `final.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalRecord {
    #[serde(deserialize_with = "nan_for_null")]
    pub test_loss: f64,
    /// The share of images, 0 to 1.
    #[serde(deserialize_with = "nan_for_null")]
    pub test_accuracy: f64,
    /// Where it is among the metrics.
    #[serde(flatten)]
    pub confusion: Option<Confusion>,
    #[serde(flatten)]
    pub top: TopFigures,
}

/// What is written here; a line without a number is of an earlier version, and has the same keys.
const FORMAT: u32 = 1;

/// A record as a file or a line of JSON has it: with the number of its format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Versioned<T> {
    #[serde(flatten)]
    record: T,
    #[serde(default = "current")]
    format: u32,
}

fn current() -> u32 {
    FORMAT
}

impl<T> Versioned<T> {
    /// A record of this version.
    pub fn new(record: T) -> Versioned<T> {
        Versioned { format: FORMAT, record }
    }

    /// The record, where this version reads its format.
    fn open(self) -> io::Result<T> {
        match self.format {
            FORMAT => Ok(self.record),
            other => Err(io::Error::other(format!("it is of format {other}; this version reads {FORMAT}"))),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> RecordsError {
    RecordsError::Io { path: path.to_owned(), source }
}

/// Bytes of a run's files of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    metrics: u64,
    steps: u64,
    gradients: u64,
}

/// Removes a file of records that may not be there.
fn remove(path: &Path) -> Result<(), RecordsError> {
    files::remove(path).map_err(|source| failed(path, source))
}

/// The open files of a run.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    metrics: Lines,
    steps: Lines,
    /// Begun by the first record.
    gradients: Option<Lines>,
}

impl Records {
    /// Begins the files anew.
    pub fn create(folder: &Path) -> Result<Records, RecordsError> {
        Records::resume(folder, Lengths::default())
    }

    /// Goes on behind what was there at a checkpoint: what came later is dropped, as far as it got to the disk.
    ///
    /// # Errors
    ///
    /// Where the files cannot be written, or are shorter than they were.
    pub fn resume(folder: &Path, lengths: Lengths) -> Result<Records, RecordsError> {
        let metrics = Lines::open(folder.join(METRICS), lengths.metrics)?;
        let steps = Lines::open(folder.join(STEPS), lengths.steps)?;
        let path = folder.join(GRADIENTS);
        let gradients = match lengths.gradients {
            0 => {
                remove(&path)?;
                None
            }
            len => Some(Lines::open(path, len)?),
        };
        remove(&folder.join(FINAL))?;
        files::sync_folder(folder).map_err(|source| failed(folder, source))?;
        Ok(Records { folder: folder.to_owned(), metrics, steps, gradients })
    }

    /// Goes on after the first `epochs` epochs and the first `steps` steps of a run of an earlier version, whose
    /// checkpoints do not say how long its files were: lines of later ones, and torn lines, are dropped.
    ///
    /// # Errors
    ///
    /// Where the files cannot be written.
    pub fn resume_earlier(folder: &Path, epochs: u64, steps: u64) -> Result<Records, RecordsError> {
        let keep = |name: &str| keep_lines(&folder.join(name), epochs, steps);
        let lengths = Lengths { metrics: keep(METRICS)?, steps: keep(STEPS)?, gradients: keep(GRADIENTS)? };
        Records::resume(folder, lengths)
    }

    /// How long the files are.
    pub fn lengths(&self) -> Lengths {
        Lengths {
            metrics: self.metrics.0.len(),
            steps: self.steps.0.len(),
            gradients: self.gradients.as_ref().map_or(0, |lines| lines.0.len()),
        }
    }

    /// Waits until all records have reached the disk.
    ///
    /// # Errors
    ///
    /// Where that fails.
    pub fn sync(&self) -> Result<(), RecordsError> {
        self.gradients.iter().chain([&self.metrics, &self.steps]).try_for_each(Lines::sync)
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends to `metrics.jsonl`.
    pub fn epoch(&mut self, record: &EpochRecord) -> Result<(), RecordsError> {
        self.metrics.append(record)
    }

    /// Appends to `steps.jsonl`.
    pub fn step(&mut self, record: &StepRecord) -> Result<(), RecordsError> {
        self.steps.append(record)
    }

    /// Appends to `gradients.jsonl`.
    pub fn gradients(&mut self, record: &GradientRecord) -> Result<(), RecordsError> {
        let lines = match &mut self.gradients {
            Some(lines) => lines,
            none => {
                let lines = none.insert(Lines::open(self.folder.join(GRADIENTS), 0)?);
                files::sync_folder(&self.folder).map_err(|source| failed(&self.folder, source))?;
                lines
            }
        };
        lines.append(record)
    }

    /// Writes `final.json`.
    pub fn finish(&self, record: &FinalRecord) -> Result<(), RecordsError> {
        let path = self.folder.join(FINAL);
        write_atomically(&path, &line_of(record)).map_err(|source| failed(&path, source))
    }
}

/// Gives the lines of a file in turn, each with its end, as many as there are now: another run may add to it.
fn each_line(path: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let file = files::open(path)?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::new(file.take(len));
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line)? as u64;
        match read {
            0 => break,
            1..=LONGEST_LINE => each(&line)?,
            _ => return Err(io::Error::other(format!("line {number} has more than {LONGEST_LINE} bytes"))),
        }
    }
    Ok(())
}

/// A file that grows by whole lines.
#[derive(Debug)]
struct Lines(Log);

impl Lines {
    fn open(path: PathBuf, len: u64) -> Result<Lines, RecordsError> {
        Log::open(path.clone(), len).map(Lines).map_err(|source| failed(&path, source))
    }

    fn append(&mut self, record: &impl Serialize) -> Result<(), RecordsError> {
        self.0.append(&line_of(record)).map_err(|source| failed(self.0.path(), source))
    }

    fn sync(&self) -> Result<(), RecordsError> {
        self.0.sync().map_err(|source| failed(self.0.path(), source))
    }
}

fn line_of(record: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(&Versioned::new(record)).expect("records are numbers and strings");
    (visible::json(&text) + "\n").into_bytes()
}

/// Drops the lines of later epochs from a file, but for those of training steps that are done, and gives its length; a
/// file that does not exist stays so.
fn keep_lines(path: &Path, epochs: u64, steps: u64) -> Result<u64, RecordsError> {
    #[derive(Deserialize)]
    struct Line {
        epoch: u64,
        split: Option<String>,
        step: Option<u64>,
    }
    let is_done = |line: Line| {
        let trained = line.split.is_none_or(|split| split == "train");
        line.epoch <= epochs || (trained && line.step.is_some_and(|step| step <= steps))
    };
    let stays = |line: &[u8]| line.ends_with(b"\n") && serde_json::from_slice(line).is_ok_and(is_done);
    let mut len = 0;
    let kept = files::replace(path, |draft| {
        let mut kept = BufWriter::new(File::create(draft)?);
        each_line(path, |line| {
            if stays(line) {
                len += line.len() as u64;
                kept.write_all(line)?;
            }
            Ok(())
        })?;
        kept.flush()
    });
    match kept {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(path, source)),
        _ => Ok(len),
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
