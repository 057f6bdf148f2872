//! Files: read only where they are regular ones, written so that they are either whole or not there, and in one place.

pub mod disk;
mod write;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::memory;

pub use disk::sync_folder;
pub use write::{
    Log, folder_drafts, make_filled_folder, make_folder, make_folders, remove, remove_drafts, remove_folder,
    replace, write_atomically,
};

/// Bytes of a text that is read whole.
const LARGEST_TEXT: u64 = 1 << 26;

/// Opens a file to read it.
///
/// # Errors
///
/// Where that fails, and where it is a pipe, a device, a folder or anything else but a regular file: such a one may never
/// end, or answer to being opened.
pub fn open(path: &Path) -> io::Result<File> {
    regular(&fs::metadata(path)?)?;
    let mut options = File::options();
    options.read(true);
    // It may be another one by now; that must not wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(data: &fs::Metadata) -> io::Result<()> {
    match data.is_file() {
        true => Ok(()),
        false if data.is_dir() => Err(io::Error::other("it is a folder")),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// The bytes of a regular file.
///
/// # Errors
///
/// Those of [`open`] and of reading, memory that does not suffice among them; and where it has more bytes than it says,
/// as one that grows meanwhile.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata()?.len();
    let bytes = claimed(file, len)?;
    match bytes.len() as u64 <= len {
        true => Ok(bytes),
        false => Err(too_long(len)),
    }
}

/// The hash of some bytes, as [`hash`] gives it.
pub fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_string()
}

/// The hash of a regular file's bytes (BLAKE3, in hexadecimal).
///
/// # Errors
///
/// Those of [`open`] and of reading.
pub fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?)?;
    Ok(hasher.finalize().to_string())
}

/// The bytes of a reader that claims to have `len` of them; one byte more where it has more, so that this shows.
///
/// # Errors
///
/// Those of reading, and where there is no memory for so many. What is taken follows the bytes that come, not the claim.
pub fn claimed(reader: impl Read, len: u64) -> io::Result<Vec<u8>> {
    memory::check("it", len)?;
    let (mut bytes, most) = (Vec::new(), len.saturating_add(1));
    // Room that nothing is written to costs addresses only; growing by halves would copy what is there.
    bytes.try_reserve_exact(usize::try_from(most).unwrap_or(usize::MAX))?;
    reader.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a regular file.
///
/// # Errors
///
/// Those of [`open`] and of reading, and where it is no text or larger than any model or record.
pub fn read_text(path: &Path) -> io::Result<String> {
    let file = open(path)?;
    if file.metadata()?.len() > LARGEST_TEXT {
        return Err(too_long(LARGEST_TEXT));
    }
    // It may grow meanwhile.
    text(file)
}

/// The text that a reader gives up to its end.
///
/// # Errors
///
/// Those of reading, and where it is no text or larger than any model or record.
pub fn text(reader: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(LARGEST_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(too_long(LARGEST_TEXT));
    }
    let wrong = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem);
    match is_utf16(&bytes) {
        true => Err(wrong("it is UTF-16; save it as UTF-8")),
        false => String::from_utf8(bytes).map_err(|_| wrong("it is no text (UTF-8)")),
    }
}

/// Whether bytes begin with the mark of UTF-16, or with a letter of ASCII in two bytes.
fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, letter, 0, _, ..] | [letter, 0, _, 0, ..] => *letter != 0,
        _ => false,
    }
}

fn too_long(most: u64) -> io::Error {
    io::Error::other(format!("it has more than {most} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, text) = (folder.path().join("pipe"), folder.path().join("text"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::write(&text, "one").unwrap();
        let other = "it is no regular file";
        // Today a folder is no regular file either.
        let all = [(&*pipe, other), (folder.path(), "it is a folder"), (Path::new("/dev/zero"), other)];
        for (path, problem) in all {
            for error in [open(path).err(), read(path).err(), read_text(path).err()] {
                assert_eq!(error.unwrap().to_string(), problem, "{path:?}");
            }
        }
        assert_eq!(read(&text).unwrap(), b"one");
        assert_eq!(read_text(&text).unwrap(), "one");
        fs::write(&text, [0xff]).unwrap();
        assert_eq!(read_text(&text).unwrap_err().kind(), io::ErrorKind::InvalidData);
        File::create(&text).unwrap().set_len(LARGEST_TEXT + 1).unwrap();
        assert_eq!(read_text(&text).unwrap_err().to_string(), "it has more than 67108864 bytes");
    }

    /// Today these are "no text (UTF-8)", or texts with zeros between their letters.
    #[test]
    fn texts_of_another_encoding() {
        let bytes = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}model").encode_utf16().flat_map(order).collect()
        };
        for mark in ["\u{feff}", ""] {
            for order in [u16::to_le_bytes, u16::to_be_bytes] {
                let error = text(&bytes(order, mark)[..]).unwrap_err();
                assert_eq!(error.to_string(), "it is UTF-16; save it as UTF-8", "{mark:?}");
            }
        }
        assert_eq!(text(&b"mod\xffel"[..]).unwrap_err().to_string(), "it is no text (UTF-8)");
        assert_eq!(text(&b"\0\0\0\0"[..]).unwrap(), "\0\0\0\0");
    }

    /// Such files say that they are empty.
    #[test]
    #[cfg(target_os = "linux")]
    fn files_that_say_less_than_they_have() {
        let error = read(Path::new("/proc/self/status")).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 0 bytes");
        assert!(read_text(Path::new("/proc/self/status")).unwrap().contains("VmSize"));
    }

    /// A claim takes no memory, and what it leaves out is not read.
    #[test]
    fn readers_are_held_to_their_claims() {
        assert_eq!(claimed(&b"one"[..], 3).unwrap(), b"one");
        assert_eq!(claimed(&b"one"[..], 1 << 30).unwrap(), b"one");
        assert_eq!(claimed(io::repeat(b'a'), 2).unwrap(), b"aaa");
        assert_eq!(claimed(io::empty(), u64::MAX).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn texts_have_an_end() {
        assert_eq!(text(&b"one"[..]).unwrap(), "one");
        assert_eq!(text(io::repeat(b'a')).unwrap_err().to_string(), "it has more than 67108864 bytes");
        let most = vec![b'a'; LARGEST_TEXT as usize];
        assert_eq!(text(&most[..]).unwrap().len(), most.len());
    }

    /// A file with holes is not even begun to be read.
    #[test]
    fn more_than_there_is_memory_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        File::create(&path).unwrap().set_len(1 << 42).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().starts_with("it needs 4.00 TiB of memory, and there are "), "{error}");
    }
}
