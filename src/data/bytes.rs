//! Shared bytes that nobody copies: owned, or a memory-mapped file.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::base::files;

/// A range of bytes; a clone or a slice shares the storage.
#[derive(Clone)]
pub struct Bytes {
    storage: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// The whole of a file, read on demand by the operating system.
    pub fn map(path: &Path) -> io::Result<Bytes> {
        let file = files::open(path)?;
        if file.metadata()?.len() == 0 {
            // Some systems refuse to map nothing.
            return Ok(Bytes::from(Vec::new()));
        }
        let map = map_read_only(&file)?;
        Ok(Bytes { range: 0..map.len(), storage: Arc::new(map) })
    }

    /// The part `range` of these bytes, which must lie in them.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.range.len());
        let start = self.range.start;
        Bytes { storage: self.storage.clone(), range: start + range.start..start + range.end }
    }
}

fn map_read_only(file: &File) -> io::Result<Mmap> {
    #[cfg(target_os = "linux")]
    end_where_files_shrink();
    // SAFETY: the map is read only and private to `Bytes`, and a `u8` may have any value, so the one thing that the
    // type system does not see is another process that shortens the file meanwhile. Data sets and our own cache,
    // whose files are renamed into place, are not written to during a run; where one is, the process ends.
    unsafe { Mmap::map(file) }
}

/// Ends the process in one line where a mapped file has become shorter: the system says so by a signal only, and to
/// whoever reads at that moment.
#[cfg(target_os = "linux")]
fn end_where_files_shrink() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: all zero is a valid `sigaction`, and the handler calls nothing but what a handler may.
    ONCE.call_once(|| unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    });
}

#[cfg(target_os = "linux")]
extern "C" fn end(_signal: libc::c_int) {
    const MESSAGE: &[u8] = b"error: a file of the data has become shorter while it was read\n";
    // SAFETY: the message is as long as it says, and the process ends whatever comes of writing it.
    unsafe {
        libc::write(2, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::_exit(1)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes { range: 0..bytes.len(), storage: Arc::new(bytes) }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.storage).as_ref()[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_slices() {
        let bytes = Bytes::from(vec![0, 1, 2, 3, 4, 5]);
        assert_eq!(&*bytes.slice(1..5).slice(1..3), [2, 3]);
    }

    #[test]
    fn maps_files_even_empty_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"").unwrap();
        assert!(Bytes::map(&path).unwrap().is_empty());
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(&*Bytes::map(&path).unwrap(), b"abc");
    }
}
