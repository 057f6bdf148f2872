//! Stamps: which entry of the cache a file led to when it was last read as a whole.
//!
//! A stamp holds what the system records of both files: their numbers on their disk, lengths, and the times of the last
//! change of contents and of anything at all. The last one is set by the system alone, so no program can give it back to a
//! file after writing to it. It counts in ticks, so a file is trusted only if it had been left alone for [`SETTLED`] when
//! it was read. A stamp that is missing, damaged, or not of both files as they are counts for nothing; systems that do
//! not record the change have none.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::files;
use crate::data::bytes::Bytes;

use super::DIGITS;

pub const SUFFIX: &str = ".stamp";
/// The version of the format.
const VERSION: u32 = 1;
/// Ticks of file systems are up to two seconds long.
const SETTLED: Duration = Duration::from_secs(3);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    version: u32,
    source: Record,
    /// The name of the entry, which lies beside the stamp.
    entry: String,
    kept: Record,
}

/// What the system records of a file; times in seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Record {
    #[cfg(unix)]
    fn of(data: &Metadata) -> Option<Record> {
        use std::os::unix::fs::MetadataExt;
        Some(Record {
            device: data.dev(),
            inode: data.ino(),
            len: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<Record> {
        None
    }

    fn at(path: &Path) -> Option<Record> {
        Record::of(&fs::metadata(path).ok()?)
    }

    /// Whether nothing had changed for [`SETTLED`] at the time `now`. A file from the future never is.
    fn was_left_alone(&self, now: SystemTime) -> bool {
        let since =
            now.checked_sub(SETTLED).and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.is_some_and(|since| self.changed < (since.as_secs() as i64, i64::from(since.subsec_nanos())))
    }
}

/// A file that is about to be read as a whole.
pub struct Source<'a> {
    path: &'a Path,
    record: Record,
}

impl Source<'_> {
    /// What to remember of `path` for a stamp; none where it was changed just now.
    pub fn new(path: &Path) -> Option<Source<'_>> {
        let record = Record::at(path)?;
        record.was_left_alone(SystemTime::now()).then_some(Source { path, record })
    }

    /// Writes that it leads to `entry`, which was found whole or written just now. Nothing is written where the file is
    /// another one by now, and nobody misses a stamp that cannot be.
    pub fn leads_to(&self, entry: &Path) {
        let place = entry.parent().and_then(|folder| place(folder, self.path));
        let name = entry.file_name().and_then(|name| name.to_str());
        let (Some(place), Some(name), Some(kept)) = (place, name, Record::at(entry)) else { return };
        if Record::at(self.path) != Some(self.record) {
            return;
        }
        let stamp = Stamp { version: VERSION, source: self.record, entry: name.to_owned(), kept };
        let text = serde_json::to_string(&stamp).expect("a stamp has no maps");
        let _ = files::write_atomically(&place, text.as_bytes());
    }
}

/// What the entry holds that `path` led to, behind its head; none where there is no stamp of the two as they are.
pub fn follow(folder: &Path, path: &Path) -> Option<Bytes> {
    let stamp: Stamp = serde_json::from_str(&files::read_text(&place(folder, path)?).ok()?).ok()?;
    let entry = folder.join(&stamp.entry);
    let is_beside = Path::new(&stamp.entry).file_name() == Some(stamp.entry.as_ref());
    let holds = stamp.version == VERSION
        && is_beside
        && Record::at(path) == Some(stamp.source)
        && Record::at(&entry) == Some(stamp.kept);
    let bytes = holds.then(|| Bytes::read(&entry).ok()).flatten()?;
    (bytes.len() >= super::HEAD).then(|| bytes.slice(super::HEAD..bytes.len()))
}

/// Where the stamp of a file is. The name of the file is for people.
fn place(folder: &Path, path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let name = path.file_stem()?.to_string_lossy().into_owned();
    let hash = files::hash_of(path.as_os_str().as_encoded_bytes());
    Some(folder.join(format!("{name}-{}{SUFFIX}", &hash[..DIGITS])))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A file, and an entry that it is said to lead to.
    struct Fixture {
        folder: TempDir,
        path: PathBuf,
        entry: PathBuf,
    }

    impl Fixture {
        fn new() -> Fixture {
            let folder = tempfile::tempdir().unwrap();
            let [path, entry] = ["x.gz", "x.inflated"].map(|name| folder.path().join(name));
            fs::write(&path, "compressed").unwrap();
            fs::write(&entry, [&[0; super::super::HEAD][..], b"inflated"].concat()).unwrap();
            Fixture { folder, path, entry }
        }

        /// As if the file had been left alone.
        fn stamp(&self) {
            let source = Source { path: &self.path, record: Record::at(&self.path).unwrap() };
            source.leads_to(&self.entry);
        }

        fn follow(&self) -> Option<Vec<u8>> {
            follow(self.folder.path(), &self.path).map(|bytes| bytes.to_vec())
        }
    }

    #[test]
    fn a_file_that_is_as_it_was_leads_to_its_entry() {
        let fixture = Fixture::new();
        assert_eq!(fixture.follow(), None);
        fixture.stamp();
        assert_eq!(fixture.follow().unwrap(), b"inflated");
        let link = fixture.folder.path().join("link.gz");
        std::os::unix::fs::symlink(&fixture.path, &link).unwrap();
        assert_eq!(&*follow(fixture.folder.path(), &link).unwrap(), b"inflated");
    }

    /// Each with the length and the time of the old one, which any program can give to a file.
    #[test]
    fn changed_files_lead_nowhere() {
        let changes: [fn(&Fixture); 6] = [
            |fixture| fs::write(&fixture.path, "compresseD").unwrap(),
            |fixture| fs::write(&fixture.entry, vec![1; super::super::HEAD + 8]).unwrap(),
            |fixture| {
                let other = fixture.folder.path().join("other");
                fs::write(&other, "compresseD").unwrap();
                fs::rename(other, &fixture.path).unwrap();
            },
            |fixture| fs::remove_file(&fixture.path).unwrap(),
            |fixture| fs::remove_file(&fixture.entry).unwrap(),
            |fixture| fs::write(place(fixture.folder.path(), &fixture.path).unwrap(), "{}").unwrap(),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let fixture = Fixture::new();
            fixture.stamp();
            let times =
                [&fixture.path, &fixture.entry].map(|path| fs::metadata(path).unwrap().modified().unwrap());
            // Longer than a tick of the clock that stamps files.
            std::thread::sleep(Duration::from_millis(20));
            change(&fixture);
            for (path, time) in [&fixture.path, &fixture.entry].into_iter().zip(times) {
                if let Ok(file) = fs::File::options().write(true).open(path) {
                    file.set_modified(time).unwrap();
                }
            }
            assert_eq!(fixture.follow(), None, "change {at}");
        }
    }

    #[test]
    fn a_stamp_names_an_entry_beside_it() {
        let fixture = Fixture::new();
        let record = |path: &Path| Record::at(path).unwrap();
        for (version, entry) in [(VERSION, "../x.inflated"), (VERSION, ""), (VERSION + 1, "x.inflated")] {
            let kept =
                record(&fixture.folder.path().join(entry).canonicalize().unwrap_or(fixture.entry.clone()));
            let stamp = Stamp { version, source: record(&fixture.path), entry: entry.to_owned(), kept };
            let place = place(fixture.folder.path(), &fixture.path).unwrap();
            fs::write(place, serde_json::to_string(&stamp).unwrap()).unwrap();
            assert_eq!(fixture.follow(), None, "{entry}");
        }
    }

    #[test]
    fn what_was_changed_just_now_is_not_trusted() {
        let fixture = Fixture::new();
        assert!(Source::new(&fixture.path).is_none());
        let record = Record::at(&fixture.path).unwrap();
        let (seconds, nanoseconds) = record.changed;
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds as u64, nanoseconds as u32);
        assert!(!record.was_left_alone(changed + SETTLED));
        assert!(record.was_left_alone(changed + SETTLED + Duration::from_millis(1)));
        assert!(!record.was_left_alone(changed - Duration::from_secs(5)));
    }

    /// The file changes while it is read.
    #[test]
    fn a_file_that_changes_meanwhile_gets_no_stamp() {
        let fixture = Fixture::new();
        let source = Source { path: &fixture.path, record: Record::at(&fixture.path).unwrap() };
        fs::write(&fixture.path, "something else").unwrap();
        source.leads_to(&fixture.entry);
        assert_eq!(fixture.follow(), None);
        assert!(!place(fixture.folder.path(), &fixture.path).unwrap().exists());
    }
}
