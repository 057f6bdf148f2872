//! CIFAR-10 and CIFAR-100 in their binary versions (<https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! A file is records of a label byte, or a coarse and a fine one in CIFAR-100, and the 3×32×32 bytes of a picture. The
//! labels of CIFAR-100 are the fine ones.

use std::path::{Path, PathBuf};

use crate::base::{files, parallel};

use super::bytes::Bytes;
use super::images::{self, Images, Records};
use super::{DataError, Dataset, Split};

const SHAPE: [usize; 3] = [3, 32, 32];

/// One of the two data sets.
struct Kind {
    train: &'static [&'static str],
    test: &'static str,
    /// Bytes before the pixels; the last of them is the label.
    labels: usize,
    /// The folder that its archive unpacks to.
    folder: &'static str,
    classes: &'static [&'static str],
}

const CIFAR10: Kind = Kind {
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    labels: 1,
    folder: "cifar-10-batches-bin",
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

const CIFAR100: Kind = Kind {
    train: &["train.bin"],
    test: "test.bin",
    labels: 2,
    folder: "cifar-100-binary",
    classes: &[
        "apple",
        "aquarium_fish",
        "baby",
        "bear",
        "beaver",
        "bed",
        "bee",
        "beetle",
        "bicycle",
        "bottle",
        "bowl",
        "boy",
        "bridge",
        "bus",
        "butterfly",
        "camel",
        "can",
        "castle",
        "caterpillar",
        "cattle",
        "chair",
        "chimpanzee",
        "clock",
        "cloud",
        "cockroach",
        "couch",
        "crab",
        "crocodile",
        "cup",
        "dinosaur",
        "dolphin",
        "elephant",
        "flatfish",
        "forest",
        "fox",
        "girl",
        "hamster",
        "house",
        "kangaroo",
        "keyboard",
        "lamp",
        "lawn_mower",
        "leopard",
        "lion",
        "lizard",
        "lobster",
        "man",
        "maple_tree",
        "motorcycle",
        "mountain",
        "mouse",
        "mushroom",
        "oak_tree",
        "orange",
        "orchid",
        "otter",
        "palm_tree",
        "pear",
        "pickup_truck",
        "pine_tree",
        "plain",
        "plate",
        "poppy",
        "porcupine",
        "possum",
        "rabbit",
        "raccoon",
        "ray",
        "road",
        "rocket",
        "rose",
        "sea",
        "seal",
        "shark",
        "shrew",
        "skunk",
        "skyscraper",
        "snail",
        "snake",
        "spider",
        "squirrel",
        "streetcar",
        "sunflower",
        "sweet_pepper",
        "table",
        "tank",
        "telephone",
        "television",
        "tiger",
        "tractor",
        "train",
        "trout",
        "tulip",
        "turtle",
        "wardrobe",
        "whale",
        "willow_tree",
        "wolf",
        "woman",
        "worm",
    ],
};

/// CIFAR-10 in `folder`, or in the folder `cifar-10-batches-bin` inside it.
///
/// # Errors
///
/// Files that are missing, or are not what they should be.
pub fn load10(folder: &Path) -> Result<Dataset, DataError> {
    load(&CIFAR10, folder)
}

/// CIFAR-100 in `folder`, or in the folder `cifar-100-binary` inside it.
///
/// # Errors
///
/// As [`load10`].
pub fn load100(folder: &Path) -> Result<Dataset, DataError> {
    load(&CIFAR100, folder)
}

fn load(kind: &Kind, folder: &Path) -> Result<Dataset, DataError> {
    let unpacked = folder.join(kind.folder);
    let folder = if unpacked.is_dir() { &unpacked } else { folder };
    find(kind, folder)?;
    let train = split(kind, folder, kind.train)?;
    let test = split(kind, folder, &[kind.test])?;
    let names = kind.classes.iter().map(|name| (*name).to_owned()).collect();
    Dataset::with_classes(&folder.display().to_string(), train, test, 255.0, names)
}

/// An error that names the files which are not in the folder.
fn find(kind: &Kind, folder: &Path) -> Result<(), DataError> {
    let all: Vec<String> = kind.train.iter().chain([&kind.test]).map(|name| (*name).to_owned()).collect();
    let missing: Vec<String> = all.iter().filter(|name| !folder.join(name).is_file()).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let note = ", the files of the binary version";
    Err(DataError::missing(folder, missing, all, note))
}

fn split(kind: &Kind, folder: &Path, names: &[&str]) -> Result<Split, DataError> {
    let len = kind.labels + SHAPE.iter().product::<usize>();
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let wrong = |problem| DataError::format(folder, problem);
    // A file with holes may claim any number of records, so they are counted before one is read.
    let counts = paths.iter().map(|path| count(path, len)).collect::<Result<Vec<_>, _>>()?;
    images::check_count(counts.iter().fold(0, |sum, count| sum.saturating_add(*count))).map_err(wrong)?;
    let read = |path: &PathBuf| Bytes::read(path).map_err(|error| DataError::io(path, error));
    let files = parallel::map(&paths, read).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut labels = Vec::new();
    for (bytes, path) in files.iter().zip(&paths) {
        whole_records(bytes.len() as u64, len, path)?;
        for (at, record) in bytes.chunks_exact(len).enumerate() {
            let byte = if planted!("data.cifar.coarse") { 0 } else { kind.labels - 1 };
            labels.push(label(kind, record[byte], at, path)?);
        }
    }
    let parts = files.into_iter().map(|bytes| Records::new(bytes, kind.labels, len)).collect();
    Ok(Split::of(Images::records(parts, SHAPE).map_err(wrong)?, labels))
}

/// The number of records in a file, at least one, by its length.
fn count(path: &Path, len: usize) -> Result<usize, DataError> {
    let file = files::open(path).and_then(|file| file.metadata());
    let bytes = file.map_err(|error| DataError::io(path, error))?.len();
    whole_records(bytes, len, path)
}

/// The number of records of so many bytes, at least one.
fn whole_records(bytes: u64, len: usize, path: &Path) -> Result<usize, DataError> {
    if bytes == 0 || !bytes.is_multiple_of(len as u64) {
        let problem =
            format!("the file is not whole records of {len} bytes: it has {bytes} bytes; fetch it again");
        return Err(DataError::format(path, problem));
    }
    Ok(usize::try_from(bytes / len as u64).unwrap_or(usize::MAX))
}

fn label(kind: &Kind, label: u8, at: usize, path: &Path) -> Result<i32, DataError> {
    if usize::from(label) < kind.classes.len() {
        return Ok(i32::from(label));
    }
    let classes = kind.classes.len();
    Err(DataError::format(
        path,
        format!("record {at} has the label {label}, but there are {classes} classes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
        [labels, &[pixel; 3072]].concat()
    }

    /// Two records a file; the pixels count the records.
    fn write(kind: &Kind, folder: &Path, labels: [&[u8]; 2]) {
        for (at, name) in kind.train.iter().chain([&kind.test]).enumerate() {
            let pixel = 2 * at as u8;
            fs::write(folder.join(name), [record(labels[0], pixel), record(labels[1], pixel + 1)].concat())
                .unwrap();
        }
    }

    #[test]
    fn reads_all_files() {
        let folder = tempfile::tempdir().unwrap();
        write(&CIFAR10, folder.path(), [&[3], &[9]]);
        let data = load10(folder.path()).unwrap();
        assert_eq!((data.train.len(), data.test.len(), data.classes), (10, 2, 10));
        assert_eq!(data.train.classes()[..4], [3, 9, 3, 9]);
        for image in 0..10 {
            assert_eq!(data.train.image(image).unwrap()[..], [image as u8; 3072]);
        }
        assert_eq!(data.test.image(1).unwrap()[..], [11; 3072]);
        assert_eq!(data.class_names[3], "cat");
        let (others, apart) = data.train.set_apart(&[3, 7]);
        assert_eq!([apart.image(1).unwrap()[0], others.image(3).unwrap()[0]], [7, 4]);
    }

    #[test]
    fn fine_labels_and_the_folder_of_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-100-binary");
        fs::create_dir(&inner).unwrap();
        write(&CIFAR100, &inner, [&[4, 0], &[14, 99]]);
        let data = load100(folder.path()).unwrap();
        assert_eq!((data.train.len(), data.classes), (2, 100));
        assert_eq!(data.test.classes(), [0, 99]);
        assert_eq!((&*data.class_names[0], &*data.class_names[99]), ("apple", "worm"));
        assert_eq!(data.test.image(1).unwrap()[..], [3; 3072]);
        assert!(CIFAR100.classes.is_sorted() && CIFAR10.classes.is_sorted());
    }

    fn check_error(name: &str, contents: &[u8], expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        write(&CIFAR10, folder.path(), [&[3], &[9]]);
        fs::write(folder.path().join(name), contents).unwrap();
        let error = load10(folder.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expect}", folder.path().join(name).display()));
    }

    #[test]
    fn broken_files() {
        let cut = |bytes| {
            format!("the file is not whole records of 3073 bytes: it has {bytes} bytes; fetch it again")
        };
        check_error("data_batch_2.bin", &[], &cut(0));
        check_error("test_batch.bin", &record(&[1], 0)[..3000], &cut(3000));
        let wrong = [record(&[1], 0), record(&[10], 0)].concat();
        check_error("data_batch_5.bin", &wrong, "record 1 has the label 10, but there are 10 classes");
    }

    /// It has holes for pictures, so nothing of it may be read.
    #[test]
    fn more_pictures_than_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        write(&CIFAR10, folder.path(), [&[3], &[9]]);
        for name in [CIFAR10.train[1], CIFAR10.train[3]] {
            fs::File::create(folder.path().join(name)).unwrap().set_len(3073 << 31).unwrap();
        }
        let error = load10(folder.path()).unwrap_err().to_string();
        let problem = "4294967302 images in one split; at most 4294967295 are read";
        assert_eq!(error, format!("{}: {problem}", folder.path().display()));
    }

    #[test]
    fn missing_files() {
        let folder = tempfile::tempdir().unwrap();
        write(&CIFAR100, folder.path(), [&[0, 1], &[0, 2]]);
        fs::remove_file(folder.path().join("test.bin")).unwrap();
        let error = load100(folder.path()).unwrap_err().to_string();
        let place = folder.path().display();
        let expect = "it should hold train.bin, test.bin, the files of the binary version";
        assert_eq!(error, format!("no test.bin in the folder {place}; {expect}"));
    }
}
