//! One process at a time trains in a run's folder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::records::RecordsError;

/// The right to write to a run's folder. It is a lock on the folder itself, so it ends with the process however that
/// ends, and leaves nothing behind.
pub struct Claim {
    /// None where nothing can be locked.
    folder: Option<File>,
}

impl Claim {
    /// Whether other processes are kept out.
    pub fn holds(&self) -> bool {
        self.folder.is_some()
    }
}

/// Claims a folder that is there. On systems that open no folders, and on file systems without locks, the claim does not
/// hold ([`Claim::holds`]), which is no reason not to train there.
///
/// # Errors
///
/// Where another process has claimed it, or it cannot be locked.
pub fn claim(folder: &Path) -> Result<Claim, RecordsError> {
    if cfg!(not(unix)) {
        return Ok(Claim { folder: None });
    }
    let failed = |source| RecordsError::Io { path: folder.to_owned(), source };
    let file = File::open(folder).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Claim { folder: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(RecordsError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) if has_no_locks(&source) => Ok(Claim { folder: None }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Whether another process trains in a folder, as far as that can be told.
pub fn is_claimed(folder: &Path) -> bool {
    let shared = || File::open(folder).ok()?.try_lock_shared().err();
    cfg!(unix) && matches!(shared(), Some(TryLockError::WouldBlock))
}

/// What file systems say that lock nothing: network ones without a lock service among them.
fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOLCK) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_claim_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = claim(folder.path()).unwrap();
        assert!(first.holds() && is_claimed(folder.path()));
        let said = claim(folder.path()).err().map(|error| error.to_string());
        assert_eq!(said, Some(format!("another process trains in {}", folder.path().display())));
        drop(first);
        assert!(!is_claimed(folder.path()) && !is_claimed(&folder.path().join("none")));
        assert!(claim(folder.path()).is_ok());
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "something is left behind");
        assert!(matches!(claim(&folder.path().join("none")), Err(RecordsError::Io { .. })));
    }
    #[test]
    fn some_file_systems_have_no_locks() {
        let without = [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP];
        let fails = [libc::EACCES, libc::EIO, libc::EINTR];
        assert_eq!(without.map(|code| has_no_locks(&io::Error::from_raw_os_error(code))), [true; 3]);
        assert_eq!(fails.map(|code| has_no_locks(&io::Error::from_raw_os_error(code))), [false; 3]);
    }
}
