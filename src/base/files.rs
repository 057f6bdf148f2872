//! Files that are either whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `contents` to `path`: another process, or one after a crash, sees the old file or the new one, never a part.
///
/// The contents go to a new file beside it, reach the disk, and are then renamed. The folder must exist.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(path, |draft| fs::write(draft, contents))
}

/// The same for what `write` puts in the file it is given, which is there and empty; it may put another in its place.
pub fn replace<E: From<io::Error>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let draft = draft_of(path)?;
    let replaced = written(&draft, write).and_then(|()| Ok(fs::rename(&draft, path)?));
    if replaced.is_err() {
        // The first error is the one to report; a draft that was never made cannot be removed.
        let _ = fs::remove_file(&draft);
    }
    replaced
}

fn written<E: From<io::Error>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let usual = File::create_new(path)?.metadata()?.permissions();
    write(path)?;
    fs::set_permissions(path, usual)?;
    Ok(File::options().write(true).open(path)?.sync_all()?)
}

/// A name beside `path` that no other writer has, in this process or another.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let count = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = format!(".{}.{}-{count}.draft", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(draft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_atomically(&folder.path().join("no/a.bin"), b"x").is_err());
    }

    #[test]
    fn a_failed_rename_removes_the_draft() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(write_atomically(&taken, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
