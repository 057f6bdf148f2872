//! Picture files, sorted into folders: `train/CLASS/*.png` and `test/CLASS/*.png`, also of the other formats.
//!
//! Without `test`, a test split is drawn of every class; without both, the classes are in the folder itself. Beside `train`
//! there may be `val`, a validation split, which others call `valid` or `validation`.
//!
//! The classes are the names of the folders in `train`, sorted; the pictures of a class, those of folders inside it among
//! them, are in the order of their paths, one class after the other. Every picture is read as three channels. Files with
//! other endings and files beside the folders of classes are left out, and a note says how many; names that begin with a
//! dot are left out in silence.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{numbers, visible};

use super::apart::TestSplit;
use super::formats::ENDINGS;
use super::images::{Files, Images};
use super::{DataError, Dataset, Split, picture};

/// What a validation split is called.
const VAL: [&str; 3] = ["val", "valid", "validation"];
/// The most folders inside each other of a class.
const DEEPEST: usize = 32;
/// The most folders of a class, so that links from many places to one have an end.
const MOST_FOLDERS: usize = 100_000;
/// So many endings are named in a note.
const MOST_NAMED: usize = 8;

/// The data set in `folder`, whose pictures are as large as the first one unless they are prepared, and lie over
/// `background` where they are transparent.
///
/// # Errors
///
/// Folders that are missing or hold no pictures, or that nest without an end; classes that have test pictures only; a first
/// picture that is none; and another test split than the folder's own.
pub fn load(folder: &Path, test_split: &TestSplit, background: [u8; 3]) -> Result<Dataset, DataError> {
    let Parts { train, val, test } = parts(folder)?;
    let mut left = LeftOut::default();
    let train = Part::find(train, &mut left)?;
    let [val, test] = [val, test].map(|part| part.map(|part| Part::find(part, &mut left)).transpose());
    let (val, test) = (val?, test?);
    let names: Vec<String> = train.classes.iter().map(|(name, _)| name.clone()).collect();
    let size = picture::size(&train.classes[0].1[0])?;
    let split = |part: Part| {
        part.split(&names, size, background).map_err(|problem| DataError::format(folder, problem))
    };
    let place = folder.display().to_string();
    for part in val.iter().chain(&test) {
        check_classes(folder, &names, part)?;
    }
    let data = match test {
        None => Dataset::divided(&place, split(train)?, test_split, 255.0, names.clone())?,
        Some(test) => {
            test_split.check_none(&place)?;
            Dataset::with_classes(&place, split(train)?, split(test)?, 255.0, names.clone())?
        }
    };
    let data = match val {
        None => data,
        Some(val) => data.validated(&place, split(val)?)?,
    };
    Ok(Dataset { notes: left.note().map(|note| format!("{place}: {note}")).into_iter().collect(), ..data })
}

/// All picture files of a folder and of those inside it, sorted by their paths.
///
/// # Errors
///
/// A folder that cannot be read, that nests without an end, or that has no pictures.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Class::default().pictures(folder.to_owned(), &mut LeftOut::default())
}

/// Where the classes of each split are.
struct Parts {
    train: PathBuf,
    val: Option<PathBuf>,
    test: Option<PathBuf>,
}

/// Where the splits are. A folder with neither `train` nor `test` has the classes themselves.
fn parts(folder: &Path) -> Result<Parts, DataError> {
    let [train, test] = ["train", "test"].map(|name| folder.join(name));
    match (train.is_dir(), test.is_dir()) {
        (true, has_test) => Ok(Parts { train, val: val(folder)?, test: has_test.then_some(test) }),
        (false, false) if !folder.is_dir() || entries(folder)?.0.is_empty() => {
            Err(missing(folder, &["train", "test"]))
        }
        (false, false) => Ok(Parts { train: folder.to_owned(), val: None, test: None }),
        (false, true) => Err(missing(folder, &["train"])),
    }
}

/// The validation split beside `train`, whatever it is called.
fn val(folder: &Path) -> Result<Option<PathBuf>, DataError> {
    let mut found = VAL.map(|name| folder.join(name)).into_iter().filter(|path| path.is_dir());
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => {
            let [one, other] =
                [one, other].map(|path| path.file_name().unwrap_or_default().display().to_string());
            let problem = format!("it has both {one} and {other}; a data set has one validation split");
            Err(DataError::format(folder, problem))
        }
        (found, _) => Ok(found),
    }
}

fn missing(folder: &Path, names: &[&str]) -> DataError {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let note = ", each with a folder of pictures for every class, or these folders themselves";
    DataError::missing(folder, owned(names), owned(&["train", "test"]), note)
}

/// What is not read.
#[derive(Default)]
struct LeftOut {
    /// Files in classes, by their endings in small letters.
    endings: BTreeMap<String, usize>,
    /// Files beside the folders of classes.
    loose: usize,
}

impl LeftOut {
    fn add(&mut self, path: &Path) {
        *self.endings.entry(ending(path)).or_default() += 1;
    }

    /// What is left out and why, in a line.
    fn note(&self) -> Option<String> {
        let files = |count: usize| {
            format!("{} file{}", numbers::grouped(count as u64), if count == 1 { "" } else { "s" })
        };
        let (mut said, others) = (Vec::new(), self.endings.values().sum());
        if others > 0 {
            said.push(format!("{} with other endings than pictures ({})", files(others), self.listed()));
        }
        if self.loose > 0 {
            said.push(format!("{} beside the folders of classes", files(self.loose)));
        }
        let what = said.join(", and ");
        (!said.is_empty()).then(|| format!("left out: {what}"))
    }

    /// The endings with the most files.
    fn listed(&self) -> String {
        let mut endings: Vec<(&String, &usize)> = self.endings.iter().collect();
        endings.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let one = |(ending, count): &(&String, &usize)| match ending.as_str() {
            "" => format!("{count} without one"),
            ending => format!("{count} .{}", visible::excerpt(ending)),
        };
        let mut listed: Vec<String> = endings.iter().take(MOST_NAMED).map(one).collect();
        if endings.len() > MOST_NAMED {
            listed.push("others".into());
        }
        listed.join(", ")
    }
}

/// The ending of a name, in small letters.
fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// A split: `train`, `val`, `test`, or what has no such folders.
struct Part {
    root: PathBuf,
    /// By name, with their pictures. Each has at least one.
    classes: Vec<(String, Vec<PathBuf>)>,
}

impl Part {
    fn find(root: PathBuf, left: &mut LeftOut) -> Result<Part, DataError> {
        let (folders, files) = entries(&root)?;
        if folders.is_empty() {
            let problem = "the folder has no folders; each class needs one with its pictures";
            return Err(DataError::format(&root, problem));
        }
        left.loose += files.len();
        let class = |folder: PathBuf| Ok((class_name(&folder)?, Class::default().pictures(folder, left)?));
        let classes = folders.into_iter().map(class).collect::<Result<_, DataError>>()?;
        Ok(Part { root, classes })
    }

    fn split(self, names: &[String], size: [usize; 2], background: [u8; 3]) -> Result<Split, String> {
        let (mut paths, mut labels) = (Vec::new(), Vec::new());
        for (at, (name, pictures)) in self.classes.into_iter().enumerate() {
            let class = names.iter().position(|known| *known == name).expect("it was checked");
            let class = if planted!("data.folder.classes") { at } else { class };
            labels.resize(labels.len() + pictures.len(), class as i32);
            paths.extend(pictures);
        }
        let files = Files { root: self.root, paths, background };
        Ok(Split::of(Images::files(files, size)?, labels))
    }
}

/// A walk through the folders of a class.
#[derive(Default)]
struct Class {
    found: Vec<PathBuf>,
    folders: usize,
    /// The folders that we are in, without links.
    inside: Vec<PathBuf>,
}

impl Class {
    /// The picture files, sorted by their paths.
    fn pictures(mut self, folder: PathBuf, left: &mut LeftOut) -> Result<Vec<PathBuf>, DataError> {
        self.walk(&folder, left)?;
        if self.found.is_empty() {
            let problem = format!("the folder has no pictures (.{})", ENDINGS.join(", ."));
            return Err(DataError::format(&folder, problem));
        }
        self.found.sort();
        Ok(self.found)
    }

    fn walk(&mut self, folder: &Path, left: &mut LeftOut) -> Result<(), DataError> {
        let place = fs::canonicalize(folder).map_err(|error| DataError::io(folder, error))?;
        if self.inside.contains(&place) {
            return Err(DataError::format(folder, "the link leads back to a folder that it is in"));
        }
        self.folders += 1;
        if self.inside.len() > DEEPEST || self.folders > MOST_FOLDERS {
            let problem = format!(
                "a class has at most {} folders, at most {DEEPEST} inside each other",
                numbers::grouped(MOST_FOLDERS as u64)
            );
            return Err(DataError::format(folder, problem));
        }
        self.inside.push(place);
        let (folders, files) = entries(folder)?;
        let (pictures, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|path| ENDINGS.contains(&ending(path).as_str()));
        self.found.extend(pictures);
        others.iter().for_each(|path| left.add(path));
        folders.iter().try_for_each(|folder| self.walk(folder, left))?;
        self.inside.pop();
        Ok(())
    }
}

/// The folders in a folder and what else is there, both sorted, but for hidden names.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let io = |error| DataError::io(folder, error);
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (path, mut kind) = (entry.path(), entry.file_type().map_err(io)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_symlink() {
            // One that leads nowhere is an error that names it.
            kind = fs::metadata(&path).map_err(|error| DataError::io(&path, error))?.file_type();
        }
        if kind.is_dir() { folders.push(path) } else { files.push(path) }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

/// The name of a folder as that of a class, which is printed and compared as text.
fn class_name(folder: &Path) -> Result<String, DataError> {
    let name = folder.file_name().unwrap_or_default().to_str();
    let name = name.filter(|name| visible::name(name) == **name);
    let name =
        name.ok_or_else(|| DataError::format(folder, "the name has characters that cannot be printed"));
    name.map(str::to_owned)
}

/// An error if a class of another split has no training pictures.
fn check_classes(folder: &Path, names: &[String], part: &Part) -> Result<(), DataError> {
    let unknown = part.classes.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
    let unknown: Vec<&str> = unknown.map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let part = part.root.file_name().unwrap_or_default().display();
    let problem = format!(
        "{part}/{} has no folder of its name in train; every class needs training pictures",
        unknown.join(&format!(", {part}/"))
    );
    Err(DataError::format(folder, problem))
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
