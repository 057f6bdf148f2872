//! What a data set is, in a few lines: so that a run that goes on notices when its pictures are others.
//!
//! A part is a split, or a class of a split whose pictures are files. Its hash is over the labels, the names of files, and
//! the bytes as they are stored, before any preparation; a compressed file and what is in it are the same. Of parts that
//! are large all together ([`MOST_HASHED`]), some pictures at equal distances are hashed, and all sizes.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::base::files;

use super::{DataError, Dataset, Split, Targets};

/// Bytes of a split that are hashed.
pub const MOST_HASHED: u64 = 1 << 30;
/// Bytes that are hashed at once: many small pictures one by one would take several times as long.
const BLOCK: usize = 1 << 17;

/// A part of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub images: u64,
    /// Stored bytes of the pictures.
    pub bytes: u64,
    /// BLAKE3, in hexadecimal.
    pub hash: String,
}

/// The parts by their names: `train`, `test`, or `train/cat` where each class has a folder.
pub type Fingerprint = indexmap::IndexMap<String, Part>;

/// The fingerprint of a data set. What is held out counts as training pictures; a validation split that lies in a folder of
/// its own is a part.
///
/// # Errors
///
/// A picture file that cannot be read.
pub fn of(data: &Dataset) -> Result<Fingerprint, DataError> {
    data.ready()?;
    let mut parts = Fingerprint::new();
    let (of_training, own): (Vec<&Split>, Vec<&Split>) =
        data.holdout.iter().partition(|holdout| holdout.root() == data.train.root());
    let training: Vec<&Split> = std::iter::once(&data.train).chain(of_training).collect();
    add(&mut parts, "train", &training)?;
    if !own.is_empty() {
        add(&mut parts, "val", &own)?;
    }
    add(&mut parts, "test", &[&data.test])?;
    Ok(parts)
}

/// Adds the images of some splits, in the order of their source.
fn add(parts: &mut Fingerprint, name: &str, splits: &[&Split]) -> Result<(), DataError> {
    let mut images: Vec<(&Split, usize)> =
        splits.iter().flat_map(|split| (0..split.len()).map(|at| (*split, at))).collect();
    images.sort_by_key(|(split, at)| split.place(*at));
    let paths: Vec<&PathBuf> = images.iter().filter_map(|(split, at)| split.file(*at)).collect();
    let Some(root) = splits[0].root() else {
        let stored: Vec<&[u8]> = images.iter().filter_map(|(split, at)| split.stored(*at)).collect();
        let targets = images.iter().map(|(split, at)| split.targets.of(&[*at as u32]));
        parts.insert(name.into(), of_records(targets, &stored));
        return Ok(());
    };
    let labels: Vec<i32> =
        images.iter().filter_map(|(split, at)| split.classes().get(*at).copied()).collect();
    let mut at = 0;
    let sizes = sizes(&paths)?;
    let stride = stride(sizes.iter().sum());
    while at < paths.len() {
        let end = at + labels[at..].iter().take_while(|label| **label == labels[at]).count();
        let names: Vec<Vec<String>> = paths[at..end].iter().map(|path| within(root, path)).collect();
        let class = format!("{name}/{}", names[0].first().map_or("", String::as_str));
        parts.insert(class, of_files(&paths[at..end], &names, &sizes[at..end], stride)?);
        at = end;
    }
    Ok(())
}

/// Every how many-th picture is hashed.
fn stride(bytes: u64) -> usize {
    bytes.div_ceil(MOST_HASHED).max(1) as usize
}

fn of_records(targets: impl Iterator<Item = Targets>, images: &[&[u8]]) -> Part {
    let bytes: u64 = images.iter().map(|image| image.len() as u64).sum();
    let mut hasher = blake3::Hasher::new();
    let mut block = Vec::with_capacity(BLOCK);
    for target in targets.filter(|_| !planted!("data.fingerprint.labels")) {
        target.bytes(|bytes| block.extend_from_slice(bytes));
    }
    for image in images.iter().step_by(stride(bytes)) {
        block.extend_from_slice(image);
        if block.len() >= BLOCK {
            hasher.update(&block);
            block.clear();
        }
    }
    hasher.update(&block);
    Part { images: images.len() as u64, bytes, hash: hasher.finalize().to_string() }
}

fn sizes(paths: &[&PathBuf]) -> Result<Vec<u64>, DataError> {
    let size = |path: &&PathBuf| {
        std::fs::metadata(path).map(|data| data.len()).map_err(|error| DataError::io(path, error))
    };
    paths.par_iter().map(size).collect()
}

/// The names on the way from a folder to a file: its class, and what is in there.
fn within(root: &Path, path: &Path) -> Vec<String> {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A class, of whose files `names` are those of [`within`].
fn of_files(
    paths: &[&PathBuf],
    names: &[Vec<String>],
    sizes: &[u64],
    stride: usize,
) -> Result<Part, DataError> {
    let hash = |path: &Path| -> Result<[u8; 32], DataError> {
        let bytes = files::read(path).map_err(|error| DataError::io(path, error))?;
        Ok(*blake3::hash(&bytes).as_bytes())
    };
    let hashed: Vec<&PathBuf> = paths.iter().step_by(stride).copied().collect();
    let hashes: Vec<[u8; 32]> = hashed.par_iter().map(|path| hash(path)).collect::<Result<_, _>>()?;
    let mut hasher = blake3::Hasher::new();
    for (names, size) in names.iter().zip(sizes) {
        let name = names[1..].join("/");
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&size.to_le_bytes());
    }
    let hashes = hashes.iter().filter(|_| !planted!("data.fingerprint.files"));
    hashes.for_each(|hash| _ = hasher.update(hash));
    Ok(Part { images: paths.len() as u64, bytes: sizes.iter().sum(), hash: hasher.finalize().to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::apart::{Amount, StratifiedSplit, TestSplit};
    use super::super::digits;
    use super::super::folder;
    use super::super::picture::WHITE;
    use super::*;

    /// The names of the parts that are not the same.
    fn changed(one: &Fingerprint, other: &Fingerprint) -> Vec<String> {
        let names = one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name));
        let mut names: Vec<String> = names.cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn labels_and_pixels_count_and_what_is_held_out_does_not() {
        let data = digits::load().unwrap();
        let whole = of(&data).unwrap();
        assert_eq!((whole["train"].images, whole["train"].bytes), (1438, 1438 * 64));
        let mut held_out = data.clone();
        let apart = StratifiedSplit { key: "holdout", amount: Amount::Count(100), seed: 5 };
        held_out.hold_out(&apart).unwrap();
        assert_eq!(of(&held_out).unwrap(), whole);
        let mut relabelled = data.clone();
        relabelled.test.targets.labels_mut().unwrap()[358] ^= 1;
        assert_eq!(changed(&whole, &of(&relabelled).unwrap()), ["test"]);
        let mut swapped = data.clone();
        std::mem::swap(&mut swapped.train, &mut swapped.test);
        assert_eq!(changed(&whole, &of(&swapped).unwrap()), ["test", "train"]);
    }

    #[test]
    fn every_file_of_a_folder_counts() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let picture = |pixel: u8| {
            let mut bytes = b"P6 1 1 255\n".to_vec();
            bytes.extend([pixel; 3]);
            image::load_from_memory(&bytes).unwrap()
        };
        for part in ["train/a", "train/b", "test/a", "test/b"] {
            std::fs::create_dir_all(path(part)).unwrap();
            for number in 0..2 {
                picture(number).save(path(&format!("{part}/{number}.png"))).unwrap();
            }
        }
        let load = || of(&folder::load(place.path(), &TestSplit::default(), WHITE).unwrap()).unwrap();
        let first = load();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["train/a", "train/b", "test/a", "test/b"]);
        assert_eq!(first["train/a"], first["test/b"], "the same pictures under the same names");
        picture(9).save(path("train/b/1.png")).unwrap();
        assert_eq!(changed(&first, &load()), ["train/b"]);
        picture(1).save(path("train/b/1.png")).unwrap();
        assert_eq!(changed(&first, &load()), [""; 0]);
        std::fs::rename(path("test/a/0.png"), path("test/a/00.png")).unwrap();
        assert_eq!(changed(&first, &load()), ["test/a"]);
        std::fs::rename(path("test/a/00.png"), path("test/a/0.png")).unwrap();
        std::fs::remove_file(path("train/a/1.png")).unwrap();
        assert_eq!(changed(&first, &load()), ["train/a"]);
        std::fs::rename(path("train/b"), path("train/c")).unwrap();
        std::fs::rename(path("test/b"), path("test/c")).unwrap();
        assert_eq!(changed(&first, &load()), ["test/b", "test/c", "train/a", "train/b", "train/c"]);
    }

    /// Runs of before have these hashes.
    #[test]
    fn records_are_hashed_as_if_one_by_one() {
        let images: Vec<Vec<u8>> = (0..400_u32).map(|at| vec![at as u8; 1000 + at as usize]).collect();
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        let labels: Vec<i32> = (0..400).collect();
        let mut hasher = blake3::Hasher::new();
        labels.iter().for_each(|label| _ = hasher.update(&label.to_le_bytes()));
        images.iter().for_each(|image| _ = hasher.update(image));
        let targets = labels.iter().map(|label| Targets::from(vec![*label]));
        assert_eq!(of_records(targets, &images).hash, hasher.finalize().to_string());
    }

    /// Today the part has the name of the folder in the class, and a picture may move to another one unseen.
    #[test]
    fn folders_in_a_class_count_by_their_names() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for (part, shade) in [("train/a/one", 1), ("train/a/two", 2), ("test/a/one", 3)] {
            std::fs::create_dir_all(path(part)).unwrap();
            image::GrayImage::from_pixel(1, 1, image::Luma([shade]))
                .save(path(&format!("{part}/0.png")))
                .unwrap();
        }
        let load = || of(&folder::load(place.path(), &TestSplit::default(), WHITE).unwrap()).unwrap();
        let first = load();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["train/a", "test/a"]);
        assert_eq!(first["train/a"].images, 2);
        std::fs::rename(path("train/a/one"), path("train/a/on")).unwrap();
        assert_eq!(changed(&first, &load()), ["train/a"]);
    }

    /// Hashes that runs of earlier versions have written down.
    #[test]
    fn the_hash_of_a_flat_folder_is_that_of_earlier_versions() {
        let place = tempfile::tempdir().unwrap();
        for part in ["train/a", "test/a"] {
            std::fs::create_dir_all(place.path().join(part)).unwrap();
            std::fs::write(place.path().join(part).join("0.pgm"), b"P5 1 1 255\n\x07").unwrap();
        }
        std::fs::rename(place.path().join("train/a/0.pgm"), place.path().join("train/a/0.png")).unwrap();
        let part =
            &of(&folder::load(place.path(), &TestSplit::default(), WHITE).unwrap()).unwrap()["train/a"];
        let contents = blake3::hash(b"P5 1 1 255\n\x07");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&5_u64.to_le_bytes()).update(b"0.png").update(&12_u64.to_le_bytes());
        assert_eq!(part.hash, hasher.update(contents.as_bytes()).finalize().to_string());
    }

    #[test]
    fn of_large_parts_some_pictures_are_hashed() {
        assert_eq!([0, 1, MOST_HASHED, MOST_HASHED + 1, 5 * MOST_HASHED].map(stride), [1, 1, 1, 2, 5]);
    }
}
