//! What can be wrong with data.

use std::io;
use std::path::{Path, PathBuf};

/// Why data cannot be used. Every message names the file or option and what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Files of a data set that are not where they are looked for.
    #[error(
        "no {} in the folder {}; it should hold {}{note}",
        missing.join(", "), folder.display(), all.join(", ")
    )]
    Missing { folder: PathBuf, missing: Vec<String>, all: Vec<String>, note: &'static str },
    /// A folder that is not there.
    #[error("there is no folder {}, which should hold {}{note}; --data DIR names another one", folder.display(), all.join(", "))]
    NoFolder { folder: PathBuf, all: Vec<String>, note: &'static str },
    /// A file whose contents are not what they should be.
    #[error("{}: {problem}", path.display())]
    Format { path: PathBuf, problem: String },
    /// The system gives no threads.
    #[error("threads that make batches cannot be started: {0}")]
    Threads(String),
    /// An option that does not fit the data.
    #[error("{0}")]
    Option(String),
}

impl DataError {
    /// A file that cannot be read or written.
    pub(super) fn io(path: &Path, source: io::Error) -> DataError {
        DataError::Io { path: path.to_owned(), source }
    }

    /// What a folder lacks of `all`; it may not be there itself.
    pub(super) fn missing(
        folder: &Path,
        missing: Vec<String>,
        all: Vec<String>,
        note: &'static str,
    ) -> DataError {
        let folder = folder.to_owned();
        match folder.is_dir() {
            true => DataError::Missing { folder, missing, all, note },
            false => DataError::NoFolder { folder, all, note },
        }
    }

    /// A file with wrong contents.
    pub(super) fn format(path: &Path, problem: impl Into<String>) -> DataError {
        DataError::Format { path: path.to_owned(), problem: problem.into() }
    }
}
