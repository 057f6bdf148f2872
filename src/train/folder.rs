//! The folder of a run: made whole, claimed by one process, and rid of what killed ones left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::files;

use super::claim::{Claim, claim};
use super::manifest::{MANIFEST, Manifest, SOURCE};
use super::records::RecordsError;

/// The checkpoint in a run's folder.
pub const CHECKPOINT: &str = "checkpoint";

/// The folder of a run in which this process may train.
pub struct Folder {
    path: PathBuf,
    claim: Claim,
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether other processes are kept out.
    pub fn is_claimed(&self) -> bool {
        self.claim.holds()
    }

    /// Makes a folder that says which run it is for. One of that name is an error, so that no run overwrites another.
    ///
    /// # Errors
    ///
    /// Where it is there, or cannot be made.
    pub fn create(
        path: &Path,
        manifest: &Manifest,
        texts: &[(PathBuf, String)],
    ) -> Result<Folder, RecordsError> {
        let around = path.parent().unwrap_or(Path::new(""));
        files::make_folders(around).map_err(|source| failed(around, source))?;
        remove_drafts_of_folders(around);
        let filled = files::make_filled_folder(path, |draft| {
            let claim = claim(draft).map_err(io::Error::other)?;
            manifest.save(draft, texts)?;
            Ok(claim)
        });
        match filled {
            Ok(claim) => Ok(Folder { path: path.to_owned(), claim }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(RecordsError::Exists { path: path.to_owned() })
            }
            Err(source) => Err(failed(path, source)),
        }
    }

    /// Makes the next folder `<root>/<model>-<n>`, n counted from 1.
    ///
    /// # Errors
    ///
    /// Where none can be made.
    pub fn create_next(
        root: &Path,
        model: &str,
        manifest: &Manifest,
        texts: &[(PathBuf, String)],
    ) -> Result<Folder, RecordsError> {
        let mut number = newest_number(root, model).unwrap_or(0) + 1;
        loop {
            match Folder::create(&root.join(format!("{model}-{number}")), manifest, texts) {
                // Another run took it in the meantime.
                Err(RecordsError::Exists { .. }) => number += 1,
                created => return created,
            }
        }
    }

    /// Claims a folder that is there, and removes the drafts that killed processes left in it.
    ///
    /// # Errors
    ///
    /// Where another process has claimed it, or something cannot be removed.
    pub fn open(path: &Path) -> Result<Folder, RecordsError> {
        let claim = claim(path)?;
        for folder in [path.to_owned(), path.join(CHECKPOINT), path.join(SOURCE)] {
            if folder.is_dir() {
                files::remove_drafts(&folder).map_err(|source| failed(&folder, source))?;
            }
        }
        Ok(Folder { path: path.to_owned(), claim })
    }
}

fn failed(path: &Path, source: io::Error) -> RecordsError {
    RecordsError::Io { path: path.to_owned(), source }
}

/// Removes the folders that killed processes were about to fill. What cannot be removed, is being filled, or holds
/// anything that is not filled in here, stays.
fn remove_drafts_of_folders(around: &Path) {
    let around = if around.as_os_str().is_empty() { Path::new(".") } else { around };
    let is_ours = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            name == MANIFEST || name == SOURCE || name.to_string_lossy().starts_with(&format!(".{MANIFEST}."))
        })
    };
    for draft in files::folder_drafts(around).unwrap_or_default() {
        let is_ours = fs::read_dir(&draft).is_ok_and(|mut entries| entries.all(is_ours));
        if is_ours && claim(&draft).is_ok_and(|claim| claim.holds()) {
            let _ = files::remove_folder(&draft);
        }
    }
}

/// The folder of the model's last run under `root`, if there is one.
pub fn newest(root: &Path, model: &str) -> Option<PathBuf> {
    newest_number(root, model).map(|number| root.join(format!("{model}-{number}")))
}

fn newest_number(root: &Path, model: &str) -> Option<u64> {
    let number = |name: &str| name.strip_prefix(model)?.strip_prefix('-')?.parse::<u32>().ok().map(u64::from);
    let entries = fs::read_dir(root).ok()?.flatten();
    let numbers = entries.filter_map(|entry| number(entry.file_name().to_str()?));
    if planted!("train.folder.newest") { numbers.min() } else { numbers.max() }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Asked;
    use super::*;

    fn manifest() -> Manifest {
        Manifest::new("LeNet".into(), Asked::default())
    }

    #[test]
    fn folders_are_numbered_and_never_reused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs");
        let next = |model: &str| {
            Folder::create_next(&root, model, &manifest(), &[])
                .map(|folder| folder.path().to_owned())
                .unwrap()
        };
        assert_eq!(newest(&root, "LeNet"), None);
        assert_eq!(next("LeNet"), root.join("LeNet-1"));
        assert_eq!(Manifest::load(&root.join("LeNet-1")).unwrap(), Some(manifest()));
        fs::create_dir(root.join("LeNet-9")).unwrap();
        fs::create_dir(root.join("LeNet-big-20")).unwrap();
        assert_eq!(next("LeNet"), root.join("LeNet-10"));
        assert_eq!(newest(&root, "LeNet"), Some(root.join("LeNet-10")));
        assert_eq!(next("Le"), root.join("Le-1"));
        // An empty folder, a full one, a file, and a link that leads nowhere.
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        for taken in ["LeNet-9", "LeNet-10", "file", "link"] {
            let error = Folder::create(&root.join(taken), &manifest(), &[]).err().unwrap().to_string();
            // Only where a run lies can one go on.
            let end = if taken == "LeNet-10" { "/LeNet-10" } else { "name a new folder" };
            assert!(error.contains(&format!("{taken} already exists; name a new folder")), "{error}");
            assert!(error.ends_with(end), "{error}");
        }
        let mut names: Vec<_> =
            fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["Le-1", "LeNet-1", "LeNet-10", "LeNet-9", "LeNet-big-20", "file", "link"]);
    }

    /// What killed processes left goes; what may be somebody else's stays.
    #[test]
    #[cfg(target_os = "linux")]
    fn drafts_are_removed() {
        let around = tempfile::tempdir().unwrap();
        // No process has the largest number.
        let gone = around.path().join(format!(".run.{}-0.draft", u32::MAX));
        let others = [
            around.path().join(format!(".run.{}-0.draft", std::process::id())),
            around.path().join(".run.draft"),
            around.path().join(format!(".mine.{}-0.draft", u32::MAX)),
        ];
        for folder in others.iter().chain([&gone]) {
            fs::create_dir_all(folder.join(SOURCE)).unwrap();
        }
        fs::write(others[2].join("thesis.tex"), "").unwrap();
        let run = Folder::create(&around.path().join("run"), &manifest(), &[]).unwrap();
        assert!(!gone.exists() && others.iter().all(|other| other.is_dir()));
        let draft = run.path().join(format!(".metrics.jsonl.{}-3.draft", u32::MAX));
        let checkpoint = run.path().join(CHECKPOINT);
        let inner = checkpoint.join(".progress.json.7-0.draft");
        fs::create_dir(&checkpoint).unwrap();
        for path in [&draft, &inner, &run.path().join(".hidden"), &run.path().join("a.draft")] {
            fs::write(path, "").unwrap();
        }
        let path = run.path().to_owned();
        assert!(matches!(Folder::open(&path), Err(RecordsError::Busy { .. })));
        assert!(draft.exists(), "another process may be writing it");
        drop(run);
        let run = Folder::open(&path).unwrap();
        assert!(run.is_claimed() && !draft.exists() && !inner.exists());
        assert!(path.join(".hidden").exists() && path.join("a.draft").exists());
    }
}
