//! The register tiles that `cnnc bench --tune` found to be the fastest, as a file, and which program they are for.
//!
//! They change no bit of a result, so a file that does not fit costs time only. It is refused all the same: whoever
//! names a file wants its tiles.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::files::{self, write_atomically};
use crate::base::visible;
use crate::lower::TunedTiles;

use super::records::RecordsError;

/// The file's name in a run's folder.
pub const TUNED: &str = "tune.json";

/// Bytes of a file, at most: some hundred times those of a large network.
const LARGEST: u64 = 1 << 22;

/// Which program of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Train,
    Infer,
}

/// What a program is called, as far as tiles depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub model: String,
    pub batch: i64,
    pub mode: Mode,
    /// The vector level.
    pub level: String,
}

impl Subject {
    pub fn new(model: &str, batch: i64, mode: Mode, level: impl fmt::Display) -> Subject {
        Subject { model: model.into(), batch, mode, level: level.to_string() }
    }
}

/// What is written here; another one is of another version.
pub const FORMAT: u32 = 2;

/// That of files that do not say it.
fn first() -> u32 {
    1
}

/// Tiles and what they were measured for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// That of the file; those of earlier versions have none.
    #[serde(default = "first")]
    pub format: u32,
    #[serde(flatten)]
    pub subject: Subject,
    /// Those that it was measured with; the tiles serve any number.
    pub threads: usize,
    /// By the keys of launches; the file has called them so from the beginning.
    #[serde(rename = "choices")]
    pub tiles: TunedTiles,
}

/// Why there are no tiles.
#[derive(Debug, thiserror::Error)]
pub enum TunedError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no file of `cnnc bench --tune`: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{} is for {found}, not for {wanted}; `cnnc bench --tune` measures anew", path.display())]
    Other { path: PathBuf, found: String, wanted: String },
}

impl Tuned {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, is too large, or is something else.
    pub fn load(path: &Path) -> Result<Tuned, TunedError> {
        let failed = |source| TunedError::Io { path: path.to_owned(), source };
        let malformed = |reason| TunedError::Malformed { path: path.to_owned(), reason };
        let mut bytes = Vec::new();
        files::open(path).map_err(failed)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(malformed(format!("it has more than {LARGEST} bytes")));
        }
        let read = serde_json::from_slice::<Tuned>(&bytes);
        let tuned = read.map_err(|error| malformed(visible::excerpt(&error.to_string())))?;
        match tuned.format {
            FORMAT => Ok(tuned),
            other => Err(malformed(format!("it is of format {other}; this version reads {FORMAT}"))),
        }
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RecordsError> {
        let text = serde_json::to_string_pretty(self).expect("numbers and strings");
        write_atomically(path, (visible::json(&text) + "\n").as_bytes())
            .map_err(|source| RecordsError::Io { path: path.to_owned(), source })
    }

    /// Whether the tiles of a file are for one of some programs.
    ///
    /// # Errors
    ///
    /// Where they are for another one.
    pub fn check(&self, path: &Path, wanted: &[Subject]) -> Result<(), TunedError> {
        if wanted.contains(&self.subject) {
            return Ok(());
        }
        let wanted: Vec<String> = wanted.iter().map(Subject::to_string).collect();
        let (found, wanted) = (self.subject.to_string(), wanted.join(" or "));
        Err(TunedError::Other { path: path.to_owned(), found, wanted })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.mode {
            Mode::Train => "a training step",
            Mode::Infer => "a prediction",
        };
        write!(
            f,
            "{what} of `{}`, batch {}, {}",
            visible::excerpt(&self.model),
            self.batch,
            visible::excerpt(&self.level)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Level;

    fn tuned() -> Tuned {
        let mut tiles = TunedTiles::default();
        tiles.choose("conv1+relu 0", "o 4, j 7");
        Tuned { format: FORMAT, subject: Subject::new("M", 64, Mode::Train, Level::Avx2), threads: 2, tiles }
    }

    fn fails(contents: &[u8], reason: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        std::fs::write(&path, contents).unwrap();
        let error = Tuned::load(&path).unwrap_err().to_string();
        let expected = format!("{} is no file of `cnnc bench --tune`: {reason}", path.display());
        assert!(error.starts_with(&expected) && !error.contains('\n'), "{error}");
    }

    #[test]
    fn files_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        tuned().save(&path).unwrap();
        assert_eq!(Tuned::load(&path).unwrap(), tuned());
        assert!(Tuned::load(&folder.path().join("no")).is_err() && Tuned::load(folder.path()).is_err());
    }

    #[test]
    fn other_files_are_refused() {
        let text = serde_json::to_string(&tuned()).unwrap();
        fails(b"", "EOF");
        fails(b"\xff\xfe\x00", "expected value");
        fails(&text.as_bytes()[..text.len() - 1], "EOF");
        fails(text.replace("\"batch\":64", "\"batch\":1e99").as_bytes(), "invalid type: floating point");
        fails(text.replace("\"o 4, j 7\"", "4").as_bytes(), "invalid type: integer");
        for (format, found) in [("\"format\":3,", 3), ("\"format\":1,", 1), ("", 1)] {
            let other = text.replace("\"format\":2,", format);
            fails(other.as_bytes(), &format!("it is of format {found}; this version reads 2"));
        }
        fails(text.replace("\"train\"", &format!("{:?}", "\n".repeat(9999))).as_bytes(), "unknown variant");
        fails("[".repeat(9999).as_bytes(), "");
        fails(&[b' '; LARGEST as usize + 1], "it has more than 4194304 bytes");
    }

    #[test]
    fn tiles_are_for_one_program() {
        let (tuned, path) = (tuned(), Path::new("t.json"));
        let other = Subject { batch: 32, ..tuned.subject.clone() };
        assert!(tuned.check(path, &[other.clone(), tuned.subject.clone()]).is_ok());
        let error = tuned.check(path, &[other]).unwrap_err().to_string();
        let expected = "t.json is for a training step of `M`, batch 64, avx2, not for a training step of `M`, batch 32, avx2; \
                        `cnnc bench --tune` measures anew";
        assert_eq!(error, expected);
    }
}
