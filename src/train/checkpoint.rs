//! What a run needs to go on: all kept tensors and its position, written after every epoch and where it stops.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::files::{self, write_atomically};
use crate::base::visible;
use crate::runtime::Store;

use super::error::TrainError;
use super::trainer::Position;
use super::weights;

/// The last checkpoint of a run.
pub struct Checkpoint {
    pub position: Position,
    /// All parameters and states.
    pub tensors: weights::Tensors,
}

#[derive(Serialize, Deserialize)]
struct Progress {
    #[serde(flatten)]
    position: Position,
    tensors: String,
}

impl Checkpoint {
    /// Writes `checkpoint/` in a run's folder. The position names the file of its tensors and is written last, so a
    /// crash leaves the last checkpoint whole.
    ///
    /// # Errors
    ///
    /// Where the files cannot be written.
    pub fn save(folder: &Path, store: &Store, position: Position) -> Result<(), TrainError> {
        let folder = folder.join("checkpoint");
        let failed = |error: std::io::Error| TrainError::Other(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let name = format!("state-{}.safetensors", position.steps);
        let entries: Vec<_> = store
            .entries()
            .iter()
            .map(|entry| (entry.path.as_str(), entry.shape.as_slice(), entry.values()))
            .collect();
        weights::save(&folder.join(&name), &entries, None)?;
        let progress = Progress { position, tensors: name.clone() };
        let text = serde_json::to_string(&progress).expect("numbers and a name");
        write_atomically(&folder.join("progress.json"), text.as_bytes()).map_err(failed)?;
        for entry in std::fs::read_dir(&folder).map_err(failed)?.flatten() {
            let other = entry.file_name();
            let other = other.to_string_lossy();
            if other.starts_with("state-") && *other != name {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Reads the checkpoint of a run's folder.
    ///
    /// # Errors
    ///
    /// Where there is none, or it is damaged.
    pub fn load(folder: &Path) -> Result<Checkpoint, TrainError> {
        let folder = folder.join("checkpoint");
        let path = folder.join("progress.json");
        let text = files::read_text(&path).map_err(|error| {
            TrainError::Other(format!("no checkpoint to go on from: {}: {error}", path.display()))
        })?;
        let damaged = |what: &str| TrainError::Other(format!("{}: {what}", path.display()));
        let progress: Progress =
            serde_json::from_str(&text).map_err(|error| damaged(&visible::excerpt(&error.to_string())))?;
        if !progress.position.is_countable() {
            return Err(damaged("the position is no place in a training"));
        }
        if !is_name_of_tensors(&progress.tensors) {
            return Err(damaged("`tensors` is no name of a file beside it"));
        }
        let tensors = weights::load(&folder.join(&progress.tensors))?.tensors;
        Ok(Checkpoint { position: progress.position, tensors })
    }
}

/// Whether a name is one that [`Checkpoint::save`] gives: a plain one, which leads to no other folder.
fn is_name_of_tensors(name: &str) -> bool {
    let steps = name.strip_prefix("state-").and_then(|rest| rest.strip_suffix(".safetensors"));
    steps.is_some_and(|steps| !steps.is_empty() && steps.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What loading says of a `progress.json`.
    fn said(progress: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("checkpoint")).unwrap();
        std::fs::write(folder.path().join("checkpoint/progress.json"), progress).unwrap();
        Checkpoint::load(folder.path()).err().expect("it is refused").to_string()
    }

    fn progress(epochs: u64, steps: u64, images: u64, tensors: &str) -> String {
        let begun = format!(r#"{{"images":{images},"loss":0.0,"correct":0.0}}"#);
        format!(
            r#"{{"epochs":{epochs},"steps":{steps},"phase_steps":{steps},"begun":{begun},"tensors":"{tensors}"}}"#
        )
    }

    /// The error of the JSON reader repeats the whole text that stands in place of a number.
    #[test]
    fn little_of_a_wrong_file_is_repeated() {
        let said = said(&format!("{{\"epochs\":\"{}\",\"tensors\":\"\"}}", "no\\n".repeat(1 << 20)));
        assert!(said.contains("invalid type: string") && said.len() < 1000 && !said.contains('\n'), "{said}");
    }

    #[test]
    fn other_files_are_not_read() {
        for name in
            ["../../x", "/etc/passwd", "state-1.safetensors/../x", "state-.safetensors", "x.safetensors", ""]
        {
            let error = said(&progress(1, 2, 0, name));
            assert!(error.ends_with("`tensors` is no name of a file beside it"), "{name}: {error}");
        }
        assert!(said(&progress(1, 2, 0, "state-2.safetensors")).contains("state-2.safetensors: "));
    }

    #[test]
    fn positions_that_no_training_reaches_are_refused() {
        let name = "state-2.safetensors";
        for text in
            [progress(u64::MAX, 0, 0, name), progress(0, u64::MAX, 0, name), progress(0, 0, 1 << 54, name)]
        {
            assert!(said(&text).ends_with("the position is no place in a training"), "{text}");
        }
    }
}
