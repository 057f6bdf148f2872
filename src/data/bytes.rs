//! Shared bytes that nobody copies, and whole files in memory, which another thread may read meanwhile.
//!
//! Files are read and not mapped: one that another process cuts off is an error where it is read, and no signal in the
//! middle of a run.

use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use memmap2::MmapMut;

use super::DataError;

use crate::base::{files, memory};

/// Bytes from which on memory comes in large pages, where the system has them: to be given small ones takes several
/// times as long as to read the file.
const LARGE: usize = 1 << 22;

/// A range of bytes; a clone or a slice shares the storage.
#[derive(Clone)]
pub struct Bytes {
    storage: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    /// The same, where they may not be there yet.
    later: Option<Arc<Later>>,
}

/// Bytes that a thread reads.
struct Later {
    len: usize,
    thread: Mutex<Option<JoinHandle<Result<Bytes, DataError>>>>,
    read: OnceLock<Result<Bytes, String>>,
}

impl Later {
    fn wait(&self) -> &Result<Bytes, String> {
        self.read.get_or_init(|| {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            let read =
                thread.expect("it is waited for once").join().unwrap_or_else(|panic| resume_unwind(panic));
            match read {
                Ok(bytes) if bytes.len() == self.len => Ok(bytes),
                Ok(_) => Err("a file of the data has changed while it was read".into()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

impl AsRef<[u8]> for Later {
    fn as_ref(&self) -> &[u8] {
        self.wait().as_ref().expect("`Bytes::ready` said so")
    }
}

impl Bytes {
    /// So many bytes that `read` gives, which another thread calls meanwhile. They may be looked at once
    /// [`Bytes::ready`] says that they are there.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn later(
        len: usize,
        read: impl FnOnce() -> Result<Bytes, DataError> + Send + 'static,
    ) -> io::Result<Bytes> {
        let thread = std::thread::Builder::new().name("read".into()).spawn(read)?;
        let later = Arc::new(Later { len, thread: Mutex::new(Some(thread)), read: OnceLock::new() });
        Ok(Bytes { range: 0..len, storage: later.clone(), later: Some(later) })
    }

    /// Waits for bytes that another thread reads.
    ///
    /// # Errors
    ///
    /// Where they could not be read, each time that one asks.
    pub fn ready(&self) -> Result<(), DataError> {
        match self.later.as_ref().map(|later| later.wait()) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(DataError::Option(error.clone())),
        }
    }

    /// How many there are, whether they are there or not.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The whole of a regular file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or that there is no memory for, and one whose length changes meanwhile.
    pub fn read(path: &Path) -> io::Result<Bytes> {
        let mut file = files::open(path)?;
        let claim = file.metadata()?.len();
        memory::check("it", claim)?;
        let len = usize::try_from(claim).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let bytes = match len {
            ..LARGE => Bytes::from(exactly(&mut file, len)?),
            _ => Bytes::in_large_pages(&mut file, len)?,
        };
        match file.read(&mut [0])? {
            0 => Ok(bytes),
            _ => Err(io::Error::other(format!("it has more than the {len} bytes that it had before"))),
        }
    }

    fn in_large_pages(file: &mut impl Read, len: usize) -> io::Result<Bytes> {
        let mut pages = MmapMut::map_anon(len)?;
        // Only a hint: a system without large pages, or without any left, gives small ones.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        fill(file, &mut pages)?;
        Ok(Bytes { range: 0..len, storage: Arc::new(pages), later: None })
    }

    /// The part `range` of these bytes, which must lie in them.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.range.len());
        let start = self.range.start;
        let range = start + range.start..start + range.end;
        Bytes { storage: self.storage.clone(), range, later: self.later.clone() }
    }
}

fn exactly(file: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    fill(file, &mut bytes)?;
    Ok(bytes)
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<()> {
    let len = bytes.len();
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::other(format!("it has less than the {len} bytes that it had before"))
        }
        _ => error,
    })
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes { range: 0..bytes.len(), storage: Arc::new(bytes), later: None }
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
    fn bytes_may_come_later() {
        let wait = std::sync::Arc::new(std::sync::Barrier::new(2));
        let theirs = wait.clone();
        let bytes = Bytes::later(3, move || {
            theirs.wait();
            Ok(Bytes::from(vec![1, 2, 3]))
        });
        let part = bytes.unwrap().slice(1..3);
        assert_eq!(part.len(), 2);
        wait.wait();
        part.ready().unwrap();
        assert_eq!(*part, [2, 3]);
        for (read, expect) in [
            (Ok(Bytes::from(vec![1])), "a file of the data has changed while it was read"),
            (Err(DataError::Option("cut off".into())), "cut off"),
        ] {
            let bytes = Bytes::later(3, move || read).unwrap();
            let said = [bytes.ready(), bytes.slice(0..1).ready()].map(|ready| ready.unwrap_err().to_string());
            assert_eq!(said, [expect, expect]);
        }
    }

    #[test]
    fn slices_of_slices() {
        let bytes = Bytes::from(vec![0, 1, 2, 3, 4, 5]);
        assert_eq!(&*bytes.slice(1..5).slice(1..3), [2, 3]);
    }

    /// Small files and those in large pages, of no whole number of them.
    #[test]
    fn reads_files_of_all_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for len in [0, 3, LARGE - 1, LARGE, LARGE + 4097] {
            let contents: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            std::fs::write(&path, &contents).unwrap();
            assert!(*Bytes::read(&path).unwrap() == contents[..], "{len}");
        }
    }

    /// Files of the system claim a page and hold less, as one that is cut off meanwhile; others claim nothing. Today the
    /// first such file ends the process by a signal.
    #[test]
    #[cfg(target_os = "linux")]
    fn files_that_change_while_they_are_read() {
        let said = |path: &str| Bytes::read(Path::new(path)).unwrap_err().to_string();
        assert_eq!(
            said("/sys/kernel/mm/transparent_hugepage/enabled"),
            "it has less than the 4096 bytes that it had before"
        );
        assert_eq!(said("/proc/self/status"), "it has more than the 0 bytes that it had before");
        for len in [LARGE, LARGE / 2] {
            let cut = fill(&mut io::repeat(7).take(len as u64 - 1), &mut vec![0; len]);
            assert_eq!(
                cut.unwrap_err().to_string(),
                format!("it has less than the {len} bytes that it had before")
            );
        }
    }
}
