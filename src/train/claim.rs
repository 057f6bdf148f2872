//! One process at a time trains in a run's folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::records::RecordsError;

/// The right to write to a run's folder. It is a lock on the folder itself, so it ends with the process however that
/// ends, and leaves nothing behind.
pub struct Claim {
    /// None on systems that open no folders.
    _folder: Option<File>,
}

/// Claims a folder that is there.
///
/// # Errors
///
/// Where another process has claimed it, or it cannot be locked.
pub fn claim(folder: &Path) -> Result<Claim, RecordsError> {
    if cfg!(not(unix)) {
        return Ok(Claim { _folder: None });
    }
    let failed = |source| RecordsError::Io { path: folder.to_owned(), source };
    let file = File::open(folder).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Claim { _folder: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(RecordsError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_claim_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path()).unwrap();
        let said = claim(folder.path()).err().map(|error| error.to_string());
        assert_eq!(said, Some(format!("another process trains in {}", folder.path().display())));
        drop(first);
        assert!(claim(folder.path()).is_ok());
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "something is left behind");
        assert!(matches!(claim(&folder.path().join("none")), Err(RecordsError::Io { .. })));
    }
}
