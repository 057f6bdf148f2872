//! Inflated files, kept between runs.
//!
//! An entry is named after the contents of the compressed file (BLAKE3), so whatever happens to that file, an entry is
//! either of these contents or not looked at. It begins with a mark, the length and the CRC-32 of the inflated bytes, and
//! counts only where these hold. The cache only saves time: where it cannot be read or written, the file is inflated
//! again. It has at most [`MOST_BYTES`]; of more, those go first that were written first.
//!
//! To hash the one and sum up the other takes longer than to compile a small network. So a [`stamp`] says of a compressed
//! file which entry it led to, as long as by the system's own records neither has changed since.

pub mod stamp;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::Crc;

use crate::base::files::{self, write_atomically};

use super::bytes::Bytes;

/// The most bytes of all entries: MNIST and its kin take 55 MB each. A larger file is not kept.
const MOST_BYTES: u64 = 1 << 30;
/// How an entry begins.
const MARK: [u8; 4] = *b"cnn1";
/// The mark, the checksum, and the length.
pub const HEAD: usize = 16;
/// Digits of the hash in a name.
const DIGITS: usize = 32;
const SUFFIX: &str = ".inflated";
/// Digits of the hash in the names of earlier versions, which had no suffix.
const EARLIER_DIGITS: usize = 16;

/// The user's cache folder of this program: `$XDG_CACHE_HOME/cnnc` or `~/.cache/cnnc`. It may not exist yet.
pub fn folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("cnnc"))
}

/// Where the inflated contents of a compressed file are kept in the cache `folder`. The name of the file is for people.
pub fn entry(folder: &Path, path: &Path, compressed: &[u8]) -> PathBuf {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let hash = files::hash_of(compressed);
    folder.join(format!("{name}-{}{SUFFIX}", &hash[..DIGITS]))
}

/// What an entry keeps; nothing where it is not there, or damaged.
pub fn load(entry: &Path) -> Option<Bytes> {
    let bytes = Bytes::read(entry).ok()?;
    let (head, contents) = bytes.split_at_checked(HEAD)?;
    (head == head_of(contents)).then(|| bytes.slice(HEAD..bytes.len()))
}

/// Keeps the bytes behind the first [`HEAD`], which are overwritten, as `entry`. Older entries make room.
///
/// # Errors
///
/// Where that fails.
pub fn store(entry: &Path, bytes: &mut [u8]) -> io::Result<()> {
    let (head, contents) = bytes.split_at_mut(HEAD);
    head.copy_from_slice(&head_of(contents));
    if bytes.len() as u64 > MOST_BYTES {
        return Ok(());
    }
    if let Some(folder) = entry.parent() {
        fs::create_dir_all(folder)?;
        make_room(folder, MOST_BYTES - bytes.len() as u64)?;
    }
    write_atomically(entry, bytes)
}

fn head_of(contents: &[u8]) -> [u8; HEAD] {
    let mut crc = Crc::new();
    crc.update(contents);
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&MARK);
    head[4..8].copy_from_slice(&crc.sum().to_le_bytes());
    head[8..].copy_from_slice(&(contents.len() as u64).to_le_bytes());
    head
}

/// Removes the entries that were written first until the others have at most so many bytes, and all of earlier versions.
fn make_room(folder: &Path, most: u64) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may have removed or renamed it.
        let Ok(data) = entry.metadata() else { continue };
        match kind(&entry.file_name().to_string_lossy()).filter(|_| data.is_file()) {
            None => {}
            Some(Kind::Earlier) => files::remove(&entry.path())?,
            Some(Kind::Entry) => {
                entries.push((data.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path(), data.len()));
            }
        }
    }
    entries.sort();
    let mut bytes: u64 = entries.iter().map(|(_, _, len)| len).sum();
    for (_, path, len) in entries {
        if bytes <= most {
            break;
        }
        files::remove(&path)?;
        bytes -= len;
    }
    Ok(())
}

/// What a file of the folder is.
enum Kind {
    /// An entry or a stamp.
    Entry,
    /// One that nobody reads any more.
    Earlier,
}

/// What a file is that this program or an earlier version of it has put there; none of any other.
fn kind(name: &str) -> Option<Kind> {
    let has_hash = |name: &str, digits: usize| {
        let is_digit = |digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let hash = name.rsplit_once('-').map(|(_, hash)| hash);
        hash.is_some_and(|hash| hash.len() == digits && hash.bytes().all(is_digit))
    };
    match name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(stamp::SUFFIX)) {
        Some(name) => has_hash(name, DIGITS).then_some(Kind::Entry),
        None => has_hash(name, EARLIER_DIGITS).then_some(Kind::Earlier),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn kept(contents: &[u8]) -> Vec<u8> {
        [&[0; HEAD], contents].concat()
    }

    /// Today an entry is taken whatever its bytes are.
    #[test]
    fn damaged_entries_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = entry(&folder.path().join("new"), Path::new("a/b.gz"), b"compressed");
        assert!(load(&path).is_none());
        store(&path, &mut kept(b"hello")).unwrap();
        assert_eq!(&*load(&path).unwrap(), b"hello");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(load(&path).is_none(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(load(&path).is_none(), "{at} bytes");
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert!(load(&path).is_none());
    }

    /// Today entries are never removed.
    #[test]
    fn the_first_entries_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, age: u64| {
            let path = folder.path().join(name);
            fs::write(&path, [0; 10]).unwrap();
            let written = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        };
        let hash = "0123456789abcdef".repeat(2);
        put(&format!("old-{hash}.inflated"), 30);
        put(&format!("new-{hash}.inflated"), 10);
        put(&format!("older-{hash}.stamp"), 40);
        put("mine-0123456789abcdef.txt", 50);
        put("mine-hash", 50);
        put("earlier-version-0123456789abcdef", 1);
        let names = |most: u64| {
            make_room(folder.path(), most).unwrap();
            let names = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<String> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let mine = ["mine-0123456789abcdef.txt", "mine-hash"].map(str::to_owned);
        let [old, new] = ["old", "new"].map(|name| format!("{name}-{hash}.inflated"));
        let stamp = format!("older-{hash}.stamp");
        assert_eq!(names(30), [&mine[..], &[new.clone(), old.clone(), stamp]].concat());
        assert_eq!(names(20), [&mine[..], &[new.clone(), old]].concat());
        assert_eq!(names(19), [&mine[..], &[new]].concat());
        assert_eq!(names(0), mine);
    }
}
