//! What a run leaves behind: its folder, a line of JSON a step and an epoch, and the final figures.
//!
//! Every line is appended by one write, so a crash leaves whole lines; one that a full disk tore is dropped on resume.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::base::files::{self, write_atomically};
use crate::base::visible;
use crate::elab::config::Metrics;

use super::confusion::Confusion;
use super::evaluate::Figures;

const GRADIENTS: &str = "gradients.jsonl";

/// Bytes of a line that is read, at most: a hundred thousand gradients with their names fit.
const LONGEST_LINE: u64 = 1 << 24;

/// Why a run's files cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} already exists; name a new folder, or go on with --resume {}", path.display(), path.display())]
    Exists { path: PathBuf },
    #[error("another process trains in {}", path.display())]
    Busy { path: PathBuf },
}

/// The shares of labels among the best scores, by keys such as `val_top5_accuracy`: one a split where the metrics have
/// `top(5)`, else none.
pub type TopFigures = IndexMap<String, Option<f64>>;

/// A line of `metrics.jsonl`. Training figures are means over the epoch; JSON has null for a figure
/// that is not finite, and for an accuracy that is not among the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: u64,
    #[serde(deserialize_with = "nan_for_null")]
    pub train_loss: f64,
    /// The share of images, 0 to 1.
    #[serde(deserialize_with = "nan_for_null")]
    pub train_accuracy: f64,
    /// None where there is no validation set.
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
    pub seconds: f64,
    pub images_per_second: f64,
    pub learning_rate: f64,
    #[serde(flatten)]
    pub top: TopFigures,
}

impl EpochRecord {
    /// The share of labels among the best scores on `train` or `val`, where it is counted.
    pub fn top(&self, split: &str) -> Option<f64> {
        self.top.iter().find(|(key, _)| key.starts_with(split)).and_then(|(_, share)| *share)
    }
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

/// Makes the folder that `--out` names. One that exists is an error, so that no run overwrites another.
pub fn create_folder(path: &Path) -> Result<(), RecordsError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
    }
    fs::create_dir(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => RecordsError::Exists { path: path.to_owned() },
        _ => failed(path, source),
    })
}

/// Makes the next folder `<root>/<model>-<n>`, n counted from 1.
pub fn create_next_folder(root: &Path, model: &str) -> Result<PathBuf, RecordsError> {
    let mut number = newest_number(root, model).unwrap_or(0) + 1;
    loop {
        let path = root.join(format!("{model}-{number}"));
        match create_folder(&path) {
            // Another run took it in the meantime.
            Err(RecordsError::Exists { .. }) => number += 1,
            Err(error) => return Err(error),
            Ok(()) => return Ok(path),
        }
    }
}

/// The folder of the model's last run under `root`, if there is one.
pub fn newest_folder(root: &Path, model: &str) -> Option<PathBuf> {
    newest_number(root, model).map(|number| root.join(format!("{model}-{number}")))
}

fn newest_number(root: &Path, model: &str) -> Option<u64> {
    let number = |name: &str| name.strip_prefix(model)?.strip_prefix('-')?.parse::<u32>().ok().map(u64::from);
    let entries = fs::read_dir(root).ok()?.flatten();
    let numbers = entries.filter_map(|entry| number(entry.file_name().to_str()?));
    if planted!("train.records.newest") { numbers.min() } else { numbers.max() }
}

fn failed(path: &Path, source: io::Error) -> RecordsError {
    RecordsError::Io { path: path.to_owned(), source }
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
    /// Begins the files in a folder that has none.
    pub fn create(folder: &Path) -> Result<Records, RecordsError> {
        let metrics = Lines::open(folder.join("metrics.jsonl"))?;
        let steps = Lines::open(folder.join("steps.jsonl"))?;
        Ok(Records { folder: folder.to_owned(), metrics, steps, gradients: None })
    }

    /// Goes on after the first `epochs` epochs and the first `steps` steps: lines of later ones, and lines that a
    /// crash tore, are dropped.
    pub fn resume(folder: &Path, epochs: u64, steps: u64) -> Result<Records, RecordsError> {
        keep_lines(&folder.join("metrics.jsonl"), epochs, steps)?;
        keep_lines(&folder.join("steps.jsonl"), epochs, steps)?;
        keep_lines(&folder.join(GRADIENTS), epochs, steps)?;
        Records::create(folder)
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
            none => none.insert(Lines::open(self.folder.join(GRADIENTS))?),
        };
        lines.append(record)
    }

    /// Writes `final.json`.
    pub fn finish(&self, record: &FinalRecord) -> Result<(), RecordsError> {
        let path = self.folder.join("final.json");
        write_atomically(&path, &line_of(record)).map_err(|source| failed(&path, source))
    }
}

/// The lines of a run's `metrics.jsonl`; one that a crash tore is left out.
pub fn read_epochs(folder: &Path) -> Result<Vec<EpochRecord>, RecordsError> {
    let path = folder.join("metrics.jsonl");
    let mut epochs = Vec::new();
    let read = each_line(&path, |line| {
        epochs.extend(serde_json::from_slice::<EpochRecord>(line));
        Ok(())
    });
    read.map(|()| epochs).map_err(|source| failed(&path, source))
}

/// The mean of every gradient's norm in each epoch of a run, by the parameters' paths; none where they were not
/// written down. Steps with a norm that is not finite are left out.
pub fn read_gradients(folder: &Path) -> Result<GradientNorms, RecordsError> {
    let path = folder.join(GRADIENTS);
    let mut sums: BTreeMap<u64, IndexMap<String, (f64, u64)>> = BTreeMap::new();
    let read = each_line(&path, |line| {
        let Ok(record) = serde_json::from_slice::<GradientRecord>(line) else { return Ok(()) };
        let epoch = sums.entry(record.epoch).or_default();
        for (param, norm) in record.norms {
            let Some(norm) = norm else { continue };
            let (sum, steps) = epoch.entry(param).or_default();
            if *steps == 0 || !planted!("train.records.means") {
                *sum += f64::from(norm);
                *steps += 1;
            }
        }
        Ok(())
    });
    if let Err(source) = read
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(&path, source));
    }
    let mean = |(param, (sum, steps)): (String, (f64, u64))| (param, sum / steps as f64);
    Ok(sums.into_iter().map(|(epoch, sums)| (epoch, sums.into_iter().map(mean).collect())).collect())
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
struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Lines, RecordsError> {
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => Ok(Lines { path, file }),
            Err(source) => Err(failed(&path, source)),
        }
    }

    fn append(&mut self, record: &impl Serialize) -> Result<(), RecordsError> {
        self.file.write_all(&line_of(record)).map_err(|source| failed(&self.path, source))
    }
}

fn line_of(record: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(record).expect("records are numbers and strings");
    (visible::json(&text) + "\n").into_bytes()
}

/// Drops the lines of later epochs from a file, but for those of training steps that are done; a file that does not
/// exist stays so.
fn keep_lines(path: &Path, epochs: u64, steps: u64) -> Result<(), RecordsError> {
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
    let kept = files::replace(path, |draft| {
        let mut kept = BufWriter::new(File::create(draft)?);
        each_line(path, |line| if stays(line) { kept.write_all(line) } else { Ok(()) })?;
        kept.flush()
    });
    match kept {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(path, source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: u64) -> EpochRecord {
        EpochRecord {
            epoch,
            train_loss: 0.5,
            train_accuracy: 0.75,
            val_loss: Some(0.25),
            val_accuracy: None,
            seconds: 1.5,
            images_per_second: 1000.0,
            learning_rate: 0.001,
            top: TopFigures::new(),
        }
    }

    fn step(epoch: u64, loss: f32) -> StepRecord<'static> {
        StepRecord { split: "train", epoch, step: 1, loss }
    }

    fn text(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn the_files_have_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::create(folder.path()).unwrap();
        records.epoch(&epoch(1)).unwrap();
        records.step(&step(1, 2.25)).unwrap();
        records.step(&step(1, f32::NAN)).unwrap();
        let top = TopFigures::new();
        records.finish(&FinalRecord { test_loss: 0.5, test_accuracy: 0.875, top, confusion: None }).unwrap();
        assert_eq!(
            text(folder.path(), "metrics.jsonl"),
            "{\"epoch\":1,\"train_loss\":0.5,\"train_accuracy\":0.75,\"val_loss\":0.25,\"val_accuracy\":null,\
             \"seconds\":1.5,\"images_per_second\":1000.0,\"learning_rate\":0.001}\n"
        );
        assert_eq!(
            text(folder.path(), "steps.jsonl"),
            "{\"split\":\"train\",\"epoch\":1,\"step\":1,\"loss\":2.25}\n\
             {\"split\":\"train\",\"epoch\":1,\"step\":1,\"loss\":null}\n"
        );
        assert_eq!(text(folder.path(), "final.json"), "{\"test_loss\":0.5,\"test_accuracy\":0.875}\n");
        assert_eq!(read_epochs(folder.path()).unwrap(), [epoch(1)]);
    }

    #[test]
    fn figures_that_are_not_finite_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::create(folder.path()).unwrap();
        let top =
            TopFigures::from([("train_top3_accuracy".into(), Some(0.5)), ("val_top3_accuracy".into(), None)]);
        records.epoch(&EpochRecord { train_loss: f64::INFINITY, top, ..epoch(1) }).unwrap();
        let read = &read_epochs(folder.path()).unwrap()[0];
        assert!(read.train_loss.is_nan());
        assert_eq!((read.top("train"), read.top("val")), (Some(0.5), None));
    }

    /// A line without an end is not read to it, and a file that is refused stays as it is.
    #[test]
    fn lines_have_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let record = "{\"epoch\":1,\"step\":1,\"norms\":{\"a\":2.0}}";
        let put = |len: u64| {
            let rest = " ".repeat(len as usize - record.len() - 1);
            for name in ["metrics.jsonl", "steps.jsonl", GRADIENTS] {
                fs::write(folder.path().join(name), format!("\n{record}{rest}\n")).unwrap();
            }
        };
        put(LONGEST_LINE);
        assert_eq!(read_gradients(folder.path()).unwrap()[&1]["a"], 2.0);
        Records::resume(folder.path(), 1, 1).unwrap();
        assert_eq!(text(folder.path(), GRADIENTS).trim_end(), record);
        put(LONGEST_LINE + 1);
        let said = [
            read_epochs(folder.path()).unwrap_err(),
            read_gradients(folder.path()).unwrap_err(),
            Records::resume(folder.path(), 1, 1).unwrap_err(),
        ];
        for error in said {
            assert!(error.to_string().ends_with(".jsonl: line 2 has more than 16777216 bytes"), "{error}");
        }
        assert_eq!(fs::metadata(folder.path().join("metrics.jsonl")).unwrap().len(), LONGEST_LINE + 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn names_are_written_as_codes() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::create(folder.path()).unwrap();
        let norms = IndexMap::from([("a\u{9b}2J\u{7f}".to_owned(), Some(1.0))]);
        records.gradients(&GradientRecord { epoch: 1, step: 1, norms }).unwrap();
        let text = text(folder.path(), GRADIENTS);
        assert!(text.contains("\"a\\u009b2J\\u007f\""), "{text}");
        assert_eq!(read_gradients(folder.path()).unwrap()[&1]["a\u{9b}2J\u{7f}"], 1.0);
    }

    #[test]
    fn resuming_drops_later_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::create(folder.path()).unwrap();
        for number in 1..=3 {
            records.epoch(&epoch(number)).unwrap();
            records.step(&step(number, 1.0)).unwrap();
        }
        records.steps.file.write_all(b"{\"split\":\"train\",\"epoch\":1,\"st").unwrap();
        records.steps.file.write_all(b"\n").unwrap();
        records.step(&StepRecord { step: 4, ..step(3, 1.0) }).unwrap();
        records.step(&StepRecord { split: "val", ..step(3, 1.0) }).unwrap();
        let mut resumed = Records::resume(folder.path(), 2, 3).unwrap();
        resumed.step(&step(3, 9.0)).unwrap();
        assert_eq!(read_epochs(folder.path()).unwrap(), [epoch(1), epoch(2)]);
        let steps = text(folder.path(), "steps.jsonl");
        assert_eq!(steps.lines().count(), 4, "{steps}");
        assert!(!steps.contains("val") && !steps.contains("\"step\":4"), "{steps}");
        assert!(steps.ends_with("\"loss\":9.0}\n"));
    }

    #[test]
    fn gradients_are_averaged_over_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_gradients(folder.path()).unwrap().is_empty());
        let mut records = Records::create(folder.path()).unwrap();
        let add = |records: &mut Records, epoch, step, first: f32, second: f32| {
            let norms = [("b", first), ("a", second)]
                .map(|(name, norm)| (name.to_owned(), norm.is_finite().then_some(norm)));
            records.gradients(&GradientRecord { epoch, step, norms: IndexMap::from(norms) }).unwrap();
        };
        add(&mut records, 1, 1, 1.0, 2.0);
        add(&mut records, 1, 2, 3.0, f32::NAN);
        add(&mut records, 2, 3, 5.0, 6.0);
        add(&mut records, 2, 4, 9.0, 9.0);
        let found = read_gradients(Records::resume(folder.path(), 1, 3).unwrap().folder()).unwrap();
        let epochs: Vec<Vec<(&str, f64)>> = found
            .values()
            .map(|norms| norms.iter().map(|(name, norm)| (name.as_str(), *norm)).collect())
            .collect();
        assert_eq!(epochs, [[("b", 2.0), ("a", 2.0)], [("b", 5.0), ("a", 6.0)]]);
    }

    #[test]
    fn folders_are_numbered_and_never_reused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs");
        assert_eq!(newest_folder(&root, "LeNet"), None);
        assert_eq!(create_next_folder(&root, "LeNet").unwrap(), root.join("LeNet-1"));
        fs::create_dir(root.join("LeNet-9")).unwrap();
        fs::create_dir(root.join("LeNet-big-20")).unwrap();
        assert_eq!(create_next_folder(&root, "LeNet").unwrap(), root.join("LeNet-10"));
        assert_eq!(newest_folder(&root, "LeNet"), Some(root.join("LeNet-10")));
        assert_eq!(create_next_folder(&root, "Le").unwrap(), root.join("Le-1"));
        let error = create_folder(&root.join("LeNet-9")).unwrap_err().to_string();
        assert!(
            error.contains("LeNet-9 already exists; name a new folder, or go on with --resume"),
            "{error}"
        );
    }
}
