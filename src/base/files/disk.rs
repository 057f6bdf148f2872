//! The disk as those see it who write files whole: one function for each way to change it, and nothing else in the
//! program changes a file of a run.
//!
//! What a power failure leaves is decided by `sync` and `sync_folder` alone: bytes of a file are safe once the file is
//! synced, and names (made, renamed, removed) once their folder is. In test builds two variables of the environment let
//! tests look here: [`END`] ends the process as a kill would before its n-th change, and [`LOG`] names a file that gets
//! a line of JSON for each, from which `tests/disk.rs` makes what any power failure could leave.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::base::fault;

/// Ends the process before the change of this number, counted from 1.
pub const END: &str = "CNNC_DISK_END";
/// The file that gets a line for each change.
pub const LOG: &str = "CNNC_DISK_LOG";

/// A change that is about to be made.
#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    MakeFolder(&'a Path),
    /// A new file.
    Create(&'a Path),
    /// All of a file anew.
    Put(&'a Path),
    /// Bytes at a file's end.
    Append(&'a Path, &'a [u8]),
    /// What lies behind so many bytes goes.
    Cut(&'a Path, u64),
    Sync(&'a Path),
    SyncFolder(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    RemoveFolder(&'a Path),
}

/// Makes a folder in one that is there.
pub fn make_folder(path: &Path) -> io::Result<()> {
    change(Change::MakeFolder(path));
    fs::create_dir(path)
}

/// Makes an empty file; one that is there is an error.
pub fn create(path: &Path) -> io::Result<File> {
    change(Change::Create(path));
    File::create_new(path)
}

/// Lets `write` fill a file.
pub fn put<E>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    change(Change::Put(path));
    write(path)
}

/// Opens a file that is to grow; one that is not there is made.
pub fn open_log(path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        // One that waits for a reader, or has no end, is not even opened.
        Ok(data) if !data.is_file() => return Err(io::Error::other("it is no regular file")),
        Ok(_) => {}
        Err(_) => change(Change::Create(path)),
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Adds bytes to a file of [`open_log`].
pub fn append(path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
    change(Change::Append(path, bytes));
    file.write_all(bytes)
}

/// Drops what lies behind the first `len` bytes of a file.
pub fn cut(path: &Path, len: u64) -> io::Result<()> {
    change(Change::Cut(path, len));
    File::options().write(true).open(path)?.set_len(len)
}

/// Waits until a file's bytes have reached the disk.
pub fn sync(path: &Path) -> io::Result<()> {
    change(Change::Sync(path));
    File::options().write(true).open(path)?.sync_all()
}

/// Waits until the names in a folder have reached the disk, where the system can do that.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    change(Change::SyncFolder(path));
    match cfg!(unix) {
        true => match File::open(path)?.sync_all() {
            // Some file systems have nothing to wait for.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            synced => synced,
        },
        false => Ok(()),
    }
}

/// Gives a file or folder another name, in place of what has it.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    change(Change::Rename(from, to));
    fs::rename(from, to)
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    change(Change::Remove(path));
    fs::remove_file(path)
}

/// Removes a folder with all that is in it.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    change(Change::RemoveFolder(path));
    fs::remove_dir_all(path)
}

/// Lets tests see a change before it is made.
fn change(change: Change<'_>) {
    if fault::HAS_SWITCH {
        watched::change(change);
    }
}

mod watched {
    use std::io::Write;
    use std::path::Path;
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::{Change, END, LOG};

    /// Changes so far.
    static COUNT: Mutex<u64> = Mutex::new(0);

    /// Notes a change before it is made, or ends the process.
    pub fn change(change: Change<'_>) {
        let mut count = COUNT.lock().unwrap();
        *count += 1;
        if std::env::var(END).is_ok_and(|end| end == count.to_string()) {
            // A kill leaves nothing to run: no destructor, no handler.
            #[cfg(unix)]
            let _ = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
            std::process::abort();
        }
        let Some(path) = std::env::var_os(LOG) else { return };
        let mut log = std::fs::File::options().append(true).create(true).open(path).expect("a log");
        log.write_all(format!("{}\n", line(change)).as_bytes()).expect("a line of the log");
    }

    fn line(change: Change<'_>) -> Value {
        let name = |path: &Path| path.to_string_lossy().into_owned();
        let one = |what: &str, path: &Path| json!({ "change": what, "path": name(path) });
        match change {
            Change::MakeFolder(path) => one("make_folder", path),
            Change::Create(path) => one("create", path),
            Change::Put(path) => one("put", path),
            Change::Append(path, bytes) => json!({ "change": "append", "path": name(path), "bytes": bytes }),
            Change::Cut(path, len) => json!({ "change": "cut", "path": name(path), "len": len }),
            // What a file holds is known when it is synced; who reads the log sees it there.
            Change::Sync(path) => {
                let bytes = std::fs::read(path).unwrap_or_default();
                json!({ "change": "sync", "path": name(path), "bytes": bytes })
            }
            Change::SyncFolder(path) => one("sync_folder", path),
            Change::Rename(from, to) => json!({ "change": "rename", "path": name(from), "to": name(to) }),
            Change::Remove(path) => one("remove", path),
            Change::RemoveFolder(path) => one("remove_folder", path),
        }
    }
}
