//! Inflated files, kept between runs.
//!
//! An entry is named after the compressed file's path, size and time of change, so a changed file gets a new one.
//! The cache only saves time: where it cannot be read or written, the file is inflated again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::base::files::write_atomically;

/// The user's cache folder of this program: `$XDG_CACHE_HOME/cnnc` or `~/.cache/cnnc`. It may not exist yet.
pub fn folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("cnnc"))
}

/// Where the inflated contents of `path` are kept in the cache `folder`.
pub fn entry(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let metadata = fs::metadata(path)?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let key = format!("{} {} {changed}", fs::canonicalize(path)?.display(), metadata.len());
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(folder.join(format!("{name}-{:016x}", hash(key.as_bytes()))))
}

/// Keeps `contents` as `entry`.
pub fn store(entry: &Path, contents: &[u8]) -> io::Result<()> {
    if let Some(folder) = entry.parent() {
        fs::create_dir_all(folder)?;
    }
    write_atomically(entry, contents)
}

/// FNV-1a, 64 bits: stable between versions of the compiler, unlike the standard library's hasher.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
