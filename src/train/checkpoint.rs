//! What a run needs to go on: all persistent tensors, its position, and how far its records had come.
//!
//! `checkpoint/progress.json` is a sealed file ([`super::sealed`]) that names the other files and holds their hashes,
//! and is written last. So every changed byte is noticed, and a crash or a power failure leaves this checkpoint or the
//! one before, whole.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::files;
use crate::runtime::{Mismatch, Store};

use super::error::TrainError;
use super::folder::CHECKPOINT;
use super::records::Lengths;
use super::sealed;
use super::trainer::Position;
use super::weights::{self, Named};

/// What is written here; another one is of another version.
const FORMAT: u32 = 2;
const PROGRESS: &str = "progress.json";

/// The last checkpoint of a run.
pub struct Checkpoint {
    pub position: Position,
    /// All parameters and states.
    pub tensors: weights::Tensors,
    /// None in one of an earlier version.
    pub records: Option<Lengths>,
    /// The file of the best epoch's weights, where there is one.
    pub best: Option<Saved>,
}

/// A file of tensors beside `progress.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    pub file: String,
    pub hash: String,
}

#[derive(Serialize, Deserialize)]
struct Progress {
    format: u32,
    position: Position,
    tensors: Saved,
    best: Option<Saved>,
    records: Lengths,
}

/// `progress.json` as versions before 0.2 wrote it.
#[derive(Deserialize)]
struct Earlier {
    #[serde(flatten)]
    position: Position,
    tensors: String,
}

impl Checkpoint {
    /// Writes the checkpoint of a run's folder: its tensors, and what refers to the records and the best weights, which
    /// have reached the disk.
    ///
    /// # Errors
    ///
    /// Where the files cannot be written; the checkpoint before is still there.
    pub fn save(
        folder: &Path,
        store: &Store,
        position: Position,
        best: Option<&Saved>,
        records: Lengths,
    ) -> Result<(), TrainError> {
        let folder = folder.join(CHECKPOINT);
        let failed = |error: std::io::Error| TrainError::Other(format!("{}: {error}", folder.display()));
        files::make_folders(&folder).map_err(failed)?;
        let entries: Vec<_> = store
            .entries()
            .iter()
            .map(|entry| (entry.path.as_str(), entry.shape.as_slice(), entry.values()))
            .collect();
        // What a device gave that was lost is nothing to keep.
        store.device().check().map_err(Mismatch::from)?;
        let tensors = write(&folder, &format!("state-{}.safetensors", position.steps), &entries)?;
        let progress = Progress { format: FORMAT, position, tensors, best: best.cloned(), records };
        files::write_atomically(&folder.join(PROGRESS), &sealed::seal(&progress)).map_err(failed)?;
        remove_others(&folder, Some(&progress)).map_err(failed)
    }

    /// Reads the checkpoint of a run's folder; none where the run has not come to one.
    ///
    /// # Errors
    ///
    /// Where it is damaged, or of a later version.
    pub fn load(folder: &Path) -> Result<Option<Checkpoint>, TrainError> {
        let Some(Stand { position, tensors, best, records }) = Stand::read(folder)? else { return Ok(None) };
        let tensors = read(&folder.join(CHECKPOINT), &tensors)?;
        Ok(Some(Checkpoint { position, tensors, records, best }))
    }
}

/// Where a run stands, by its folder alone; none where it has not come to a checkpoint.
///
/// # Errors
///
/// Where `progress.json` is damaged, or of a later version.
pub fn position(folder: &Path) -> Result<Option<Position>, TrainError> {
    Ok(Stand::read(folder)?.map(|stand| stand.position))
}

/// What `progress.json` says, whichever version wrote it.
struct Stand {
    position: Position,
    tensors: Saved,
    best: Option<Saved>,
    records: Option<Lengths>,
}

impl Stand {
    fn read(folder: &Path) -> Result<Option<Stand>, TrainError> {
        let path = folder.join(CHECKPOINT).join(PROGRESS);
        let damaged = |what: &str| TrainError::Other(format!("{}: {what}", path.display()));
        let text = match files::read_text(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| damaged(&error.to_string()))?,
        };
        let stand = Stand::of_text(&text).map_err(|problem| damaged(&problem))?;
        stand.check().map_err(damaged)?;
        Ok(Some(stand))
    }

    fn of_text(text: &str) -> Result<Stand, String> {
        if let Some(Earlier { position, tensors }) = earlier(text) {
            let tensors = Saved { file: tensors, hash: String::new() };
            return Ok(Stand { position, tensors, best: None, records: None });
        }
        let Progress { format, position, tensors, best, records } = sealed::unseal(text)?;
        match format {
            FORMAT => Ok(Stand { position, tensors, best, records: Some(records) }),
            _ => Err(format!("it is of format {format}; this version reads {FORMAT}")),
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        if !self.position.is_countable() {
            return Err("the position is no place in a training");
        }
        if !is_numbered(&self.tensors.file, "state-") {
            return Err("`tensors` is no name of a file beside it");
        }
        match &self.best {
            Some(best) if !is_numbered(&best.file, "best-") => Err("`best` is no name of a file beside it"),
            _ => Ok(()),
        }
    }
}

/// Removes what a killed run left beside its checkpoint: files that no longer count, or did not yet.
///
/// # Errors
///
/// Where one cannot be removed.
pub fn clean(folder: &Path) -> std::io::Result<()> {
    let folder = folder.join(CHECKPOINT);
    match files::read_text(&folder.join(PROGRESS)) {
        // Of a file that is damaged or of an earlier version, nothing is known.
        _ if planted!("train.checkpoint.clean") => Ok(()),
        Ok(text) => sealed::unseal(&text).map_or(Ok(()), |progress| remove_others(&folder, Some(&progress))),
        Err(_) if folder.is_dir() => remove_others(&folder, None),
        Err(_) => Ok(()),
    }
}

/// Writes the weights of the best epoch so far, which ends at this step, where the next checkpoint will find them.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn save_best(folder: &Path, steps: u64, tensors: &[Named<'_>]) -> Result<Saved, TrainError> {
    let folder = folder.join(CHECKPOINT);
    files::make_folders(&folder)
        .map_err(|error| TrainError::Other(format!("{}: {error}", folder.display())))?;
    write(&folder, &format!("best-{steps}.safetensors"), tensors)
}

/// The weights of the best epoch.
///
/// # Errors
///
/// Where they cannot be read, or are others.
pub fn read_best(folder: &Path, saved: &Saved) -> Result<weights::Tensors, TrainError> {
    read(&folder.join(CHECKPOINT), saved)
}

fn write(folder: &Path, file: &str, tensors: &[Named<'_>]) -> Result<Saved, TrainError> {
    let path = folder.join(file);
    weights::save(&path, tensors, None)?;
    let hash = files::hash(&path).map_err(|source| weights::WeightsError::Io { path, source })?;
    Ok(Saved { file: file.into(), hash })
}

fn read(folder: &Path, saved: &Saved) -> Result<weights::Tensors, TrainError> {
    let path = folder.join(&saved.file);
    let bytes =
        files::read(&path).map_err(|source| weights::WeightsError::Io { path: path.clone(), source })?;
    if !saved.hash.is_empty() && !planted!("train.checkpoint.hash") && files::hash_of(&bytes) != saved.hash {
        return Err(TrainError::Other(format!(
            "{}: the file is damaged: its hash is another one",
            path.display()
        )));
    }
    let contents =
        weights::read(&bytes).map_err(|problem| weights::WeightsError::Format { path, problem })?;
    Ok(contents.tensors)
}

/// The contents of a file of an earlier version, which nothing seals.
fn earlier(text: &str) -> Option<Earlier> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let known = ["epochs", "steps", "phase_steps", "begun", "best", "stopping", "tensors"];
    let is_earlier = value.as_object()?.keys().all(|key| known.contains(&key.as_str()));
    is_earlier.then(|| serde_json::from_value(value).ok()).flatten()
}

/// Removes the files of earlier checkpoints.
fn remove_others(folder: &Path, progress: Option<&Progress>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_old = |prefix: &str, kept: Option<&Saved>| {
            is_numbered(&name, prefix) && kept.is_none_or(|kept| kept.file != *name)
        };
        if is_old("state-", progress.map(|progress| &progress.tensors))
            || is_old("best-", progress.and_then(|progress| progress.best.as_ref()))
        {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name is one that is given here: a plain one, which leads to no other folder.
fn is_numbered(name: &str, prefix: &str) -> bool {
    let steps = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".safetensors"));
    steps.is_some_and(|steps| !steps.is_empty() && steps.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
