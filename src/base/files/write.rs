//! Files that are written: whole or not there, and in an order that a power failure cannot turn round.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk;

/// The end of a draft's name.
const DRAFT: &str = ".draft";

/// Writes `contents` to `path`: another process, or one after a crash or a power failure, sees the old file or the new
/// one, never a part; after a return, the new one.
///
/// The contents go to a new file beside it, reach the disk, and are then renamed. The folder must exist.
///
/// # Errors
///
/// Where that fails; the old file is still there.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(path, |draft| fs::write(draft, contents))
}

/// The same for what `write` puts in the file it is given, which is there and empty; it may put another in its place.
///
/// # Errors
///
/// Where that fails; the old file is still there.
pub fn replace<E: From<io::Error>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let draft = draft_of(path)?;
    let replaced = written(&draft, write).and_then(|()| Ok(disk::rename(&draft, path)?));
    if replaced.is_err() {
        // The first error is the one to report; a draft that was never made cannot be removed.
        let _ = disk::remove(&draft);
        return replaced;
    }
    if planted!("base.files.sync_folder") {
        return Ok(());
    }
    Ok(disk::sync_folder(folder_of(path))?)
}

fn written<E: From<io::Error>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let usual = disk::create(path)?.metadata()?.permissions();
    disk::put(path, write)?;
    fs::set_permissions(path, usual)?;
    if planted!("base.files.sync") {
        return Ok(());
    }
    Ok(disk::sync(path)?)
}

/// A name beside `path` that no other writer has, in this process or another.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    loop {
        let count = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = format!(".{}.{}-{count}{DRAFT}", name.to_string_lossy(), std::process::id());
        let draft = path.with_file_name(draft);
        // A process of this number may have been killed before.
        if draft.symlink_metadata().is_err() {
            return Ok(draft);
        }
    }
}

/// Removes the drafts of files in a folder that nobody else writes to: killed processes left them.
///
/// # Errors
///
/// Where the folder cannot be read, or a draft not be removed.
pub fn remove_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_draft = process_of(&name.to_string_lossy()).is_some() || is_temporary(&name.to_string_lossy());
        if is_draft && !planted!("base.files.drafts") && entry.file_type()?.is_file() {
            disk::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes a folder that is not there; it is, after a power failure too.
///
/// # Errors
///
/// Where it is there, or the one around it is not.
pub fn make_folder(path: &Path) -> io::Result<()> {
    disk::make_folder(path)?;
    disk::sync_folder(folder_of(path))
}

/// Makes a folder and those around it, as far as they are not there.
///
/// # Errors
///
/// Where that fails.
pub fn make_folders(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), make_folders)?;
    match make_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a folder that `fill` fills before anybody sees it under its name. Where one has the name by then, it stays as it
/// is, and the error is [`io::ErrorKind::AlreadyExists`].
///
/// # Errors
///
/// Where that fails; nothing is left.
pub fn make_filled_folder<T>(path: &Path, fill: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let draft = draft_of(path)?;
    disk::make_folder(&draft)?;
    let filled = fill(&draft).and_then(|filled| {
        disk::sync_folder(&draft)?;
        // An empty folder would be replaced.
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match disk::rename(&draft, path) {
            Err(_) if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            renamed => renamed.map(|()| filled),
        }
    });
    if filled.is_err() {
        let _ = disk::remove_folder(&draft);
        return filled;
    }
    disk::sync_folder(folder_of(path))?;
    filled
}

/// The drafts of folders that processes left in `folder` which no longer run, where the system tells that.
///
/// # Errors
///
/// Where the folder cannot be read.
pub fn folder_drafts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_draft = |entry: &fs::DirEntry| {
        let process = process_of(&entry.file_name().to_string_lossy());
        let runs = |process: u32| Path::new("/proc").join(process.to_string()).exists();
        process.is_some_and(|process| !runs(process)) && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    let entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    Ok(entries.iter().filter(|entry| is_draft(entry)).map(fs::DirEntry::path).collect())
}

/// Whether a name is one that writers of tensors give a file on its way.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(".tmp")
        .is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The process that made a draft of this name; none where it is no such name.
fn process_of(name: &str) -> Option<u32> {
    let (_, number) = name.strip_prefix('.')?.strip_suffix(DRAFT)?.rsplit_once('.')?;
    let (process, count) = number.split_once('-')?;
    count.parse::<u64>().ok()?;
    process.parse().ok()
}

/// Removes a file that may not be there; what is no regular file is not ours, and stays.
///
/// # Errors
///
/// Where it stays.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        found => super::regular(&found?).and_then(|()| disk::remove(path)),
    }
}

/// Removes a folder with all that is in it.
///
/// # Errors
///
/// Where something stays.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    disk::remove_folder(path)
}

/// The folder that a path's name stands in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file that grows.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Log {
    /// Opens a file to go on behind its first `len` bytes; what lies behind them is dropped. One that is not there is
    /// made.
    ///
    /// # Errors
    ///
    /// Where that fails, and where the file has fewer bytes.
    pub fn open(path: PathBuf, len: u64) -> io::Result<Log> {
        let file = disk::open_log(&path)?;
        let found = file.metadata()?.len();
        if found < len {
            return Err(io::Error::other(format!("it has {found} bytes, and there were {len}")));
        }
        if found > len && !planted!("base.files.cut") {
            disk::cut(&path, len)?;
        }
        Ok(Log { path, file, len })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes, by one write.
    ///
    /// # Errors
    ///
    /// Where that fails; a part of them may be there.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        disk::append(&self.path, &mut self.file, bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Waits until all that was added has reached the disk.
    ///
    /// # Errors
    ///
    /// Where that fails.
    pub fn sync(&self) -> io::Result<()> {
        disk::sync(&self.path)
    }
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

    #[test]
    fn logs_go_on_where_they_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::open(path.clone(), 0).unwrap();
        assert!(log.is_empty());
        log.append(b"one\n").unwrap();
        log.append(b"two\n").unwrap();
        log.sync().unwrap();
        assert_eq!((log.len(), fs::read(&path).unwrap()), (8, b"one\ntwo\n".to_vec()));
        let mut log = Log::open(path.clone(), 4).unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!((log.len(), fs::read(&path).unwrap()), (10, b"one\nthree\n".to_vec()));
        assert_eq!(
            Log::open(path.clone(), 11).unwrap_err().to_string(),
            "it has 10 bytes, and there were 11"
        );
        assert_eq!(fs::read(&path).unwrap().len(), 10);
    }

    /// Processes have numbers that others had before them.
    #[test]
    fn drafts_that_are_there_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let draft = draft_of(&path).unwrap().to_string_lossy().into_owned();
        let first: u64 = draft.rsplit_once('-').unwrap().1.trim_end_matches(DRAFT).parse().unwrap();
        // Other tests draw numbers, too.
        for count in first + 1..first + 200 {
            fs::write(folder.path().join(format!(".a.{}-{count}{DRAFT}", std::process::id())), "x").unwrap();
        }
        write_atomically(&path, b"new").unwrap();
        make_filled_folder(&folder.path().join("b"), |_| Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 201);
    }

    #[test]
    fn folders_are_filled_before_they_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let failed = make_filled_folder(&path, |draft| -> io::Result<()> {
            fs::write(draft.join("a"), "")?;
            assert!(!path.exists());
            Err(io::Error::other("no"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        make_filled_folder(&path, |draft| fs::write(draft.join("a"), "1")).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"1");
        let taken = make_filled_folder(&path, |draft| fs::write(draft.join("a"), "2"));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"1");
        // Somebody else was faster.
        let other = folder.path().join("other");
        let taken = make_filled_folder(&other, |_| fs::create_dir(&other));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        make_folders(&folder.path().join("a/b/c")).unwrap();
        make_folders(&folder.path().join("a/b/c")).unwrap();
        assert!(make_folders(&path.join("a/b")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
