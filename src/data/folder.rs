//! Picture files, sorted into folders: `train/CLASS/*.png` and `test/CLASS/*.png`, also `.jpg` and `.jpeg`.
//!
//! The classes are the names of the folders in `train`, sorted; the pictures of a class are in the order of their names,
//! one class after the other. Every picture is read as three channels. Files with other endings, folders inside a
//! class, and names that begin with a dot are left out.

use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use crate::base::visible;

use super::images::Images;
use super::{DataError, Dataset, Split, picture};

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// The data set in `folder`, whose pictures are as large as the first one unless they are prepared.
///
/// # Errors
///
/// Folders that are missing or hold no pictures, classes that have test pictures only, and a first picture that is
/// none.
pub fn load(folder: &Path) -> Result<Dataset, DataError> {
    find(folder)?;
    let (train, test) = (classes(&folder.join("train"))?, classes(&folder.join("test"))?);
    let names: Vec<String> = train.iter().map(|(name, _)| name.clone()).collect();
    check_classes(folder, &names, &test)?;
    let size = picture::size(&train[0].1[0])?;
    let split = |classes: Vec<(String, Vec<PathBuf>)>| {
        split(classes, &names, size).map_err(|problem| DataError::format(folder, problem))
    };
    let (train, test) = (split(train)?, split(test)?);
    Dataset::with_classes(&folder.display().to_string(), train, test, 255.0, names.clone())
}

fn find(folder: &Path) -> Result<(), DataError> {
    let all = ["train", "test"];
    let missing = all.iter().filter(|name| !folder.join(name).is_dir());
    let missing: Vec<String> = missing.map(|name| (*name).to_owned()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (all, note) = (all.map(str::to_owned).to_vec(), ", each with a folder of pictures for every class");
    Err(DataError::missing(folder, missing, all, note))
}

/// The classes of a part, by name, with their pictures. Each has at least one.
fn classes(part: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let folders = entries(part, FileType::is_dir)?;
    if folders.is_empty() {
        let problem = "the folder has no folders; each class needs one with its pictures";
        return Err(DataError::format(part, problem));
    }
    folders.into_iter().map(|folder| Ok((class_name(&folder)?, pictures(&folder)?))).collect()
}

/// The picture files of a class.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = entries(folder, FileType::is_file)?;
    found.retain(|path| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
    });
    if found.is_empty() {
        return Err(DataError::format(folder, "the folder has no pictures (.png, .jpg or .jpeg)"));
    }
    Ok(found)
}

/// What is of a type in a folder, sorted, but for hidden names.
fn entries(folder: &Path, is_wanted: fn(&FileType) -> bool) -> Result<Vec<PathBuf>, DataError> {
    let io = |error| DataError::io(folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (path, mut kind) = (entry.path(), entry.file_type().map_err(io)?);
        if kind.is_symlink() {
            // One that leads nowhere is an error that names it.
            kind = fs::metadata(&path).map_err(|error| DataError::io(&path, error))?.file_type();
        }
        if is_wanted(&kind) && !name(&path).starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The name of a folder as that of a class, which is printed and compared as text.
fn class_name(folder: &Path) -> Result<String, DataError> {
    let name = folder.file_name().unwrap_or_default().to_str();
    let name = name.filter(|name| visible::name(name) == **name);
    let name =
        name.ok_or_else(|| DataError::format(folder, "the name has characters that cannot be printed"));
    name.map(str::to_owned)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// An error if a class has test pictures only.
fn check_classes(folder: &Path, names: &[String], test: &[(String, Vec<PathBuf>)]) -> Result<(), DataError> {
    let unknown = test.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
    let unknown: Vec<&str> = unknown.map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "test/{} has no folder of its name in train; every class needs training pictures",
        unknown.join(", test/")
    );
    Err(DataError::format(folder, problem))
}

fn split(classes: Vec<(String, Vec<PathBuf>)>, names: &[String], size: [usize; 2]) -> Result<Split, String> {
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (at, (name, pictures)) in classes.into_iter().enumerate() {
        let class = names.iter().position(|known| *known == name).expect("it was checked");
        let class = if planted!("data.folder.classes") { at } else { class };
        labels.resize(labels.len() + pictures.len(), class as i32);
        paths.extend(pictures);
    }
    Ok(Split::of(Images::files(paths, size)?, labels))
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
