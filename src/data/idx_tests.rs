//! The reader against good, broken and hostile files.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

fn file(shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, UNSIGNED_BYTE, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with two training images, one test image, of 2×3 pixels; the training files are compressed.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..12).collect();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    put("train-images-idx3-ubyte.gz", &gzip(&file(&[2, 2, 3], &pixels)));
    put("train-labels-idx1-ubyte.gz", &gzip(&file(&[2], &[1, 0])));
    put("t10k-images-idx3-ubyte", &file(&[1, 2, 3], &pixels[6..]));
    put("t10k-labels.idx1-ubyte", &file(&[1], &[1]));
    folder
}

fn check_folder(folder: &Path, cache: Option<&Path>) {
    let dataset = load_with_cache(folder, cache).unwrap();
    assert_eq!((dataset.shape, dataset.classes), ([1, 2, 3], 2));
    assert_eq!((dataset.train.len(), dataset.test.len()), (2, 1));
    assert_eq!(dataset.train.image(1).unwrap()[..], [6, 7, 8, 9, 10, 11]);
    assert_eq!(dataset.test.image(0).unwrap()[..], [6, 7, 8, 9, 10, 11]);
    assert_eq!((dataset.train.classes(), dataset.test.classes()), (&[1, 0][..], &[1][..]));
}

#[test]
fn reads_raw_and_compressed_files() {
    check_folder(folder().path(), None);
}

#[test]
fn compressed_files_are_inflated_once() {
    let (folder, cache) = (folder(), tempfile::tempdir().unwrap());
    let place = cache.path().join("cnnc");
    check_folder(folder.path(), Some(&place));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
    // An entry that is read shows in the result; one that is damaged is made anew.
    let path = folder.path().join("train-images-idx3-ubyte.gz");
    let entry = cache::entry(&place, &path, &fs::read(&path).unwrap());
    let kept = fs::read(&entry).unwrap();
    cache::store(&entry, &mut [&[0; cache::HEAD][..], &file(&[1, 1, 1], &[42])].concat()).unwrap();
    assert_eq!(&*read(&path, Some(&place)).unwrap().elements, [42]);
    let mut damaged = kept.clone();
    damaged[cache::HEAD + 16 + 5] ^= 1;
    for wrong in [damaged, kept[..kept.len() - 1].to_vec(), b"half a fi".to_vec()] {
        fs::write(&entry, wrong).unwrap();
        check_folder(folder.path(), Some(&place));
        assert_eq!(fs::read(&entry).unwrap(), kept);
    }
}

/// Today, of a file with other contents of the same length, written within the same tick of the clock or with the time of
/// the old one, the old contents are read.
#[test]
fn other_contents_under_the_name_size_and_time_of_the_old() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("x.gz");
    let gzip = |pixel| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(&file(&[1, 1, 1], &[pixel])).unwrap();
        encoder.finish().unwrap()
    };
    let time = std::time::SystemTime::now();
    for pixel in [1, 2] {
        fs::write(&path, gzip(pixel)).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(&*read(&path, Some(place.path())).unwrap().elements, [pixel]);
    }
    assert_eq!(gzip(1).len(), gzip(2).len());
}

/// Today what the name says is believed, and both are errors.
#[test]
fn names_do_not_say_what_is_compressed() {
    let folder = folder();
    let swap = |one: &str, other: &str, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let contents = fs::read(folder.path().join(one)).unwrap();
        fs::remove_file(folder.path().join(one)).unwrap();
        fs::write(folder.path().join(other), change(&contents)).unwrap();
    };
    swap(RAW, "t10k-images-idx3-ubyte.gz", &|plain| plain.to_vec());
    swap("train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte", &|compressed| compressed.to_vec());
    check_folder(folder.path(), None);
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let folder = folder();
    let no_folder = folder.path().join("t10k-images-idx3-ubyte");
    check_folder(folder.path(), Some(&no_folder));
}

#[test]
fn missing_files_are_named_with_their_folder() {
    let error = load_with_cache(Path::new("no/such"), None).unwrap_err().to_string();
    let names =
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte";
    assert_eq!(
        error,
        format!(
            "there is no folder no/such, which should hold {names}, each as it is or with .gz; \
             --data DIR names another one"
        )
    );
    let folder = folder();
    fs::remove_file(folder.path().join("t10k-images-idx3-ubyte")).unwrap();
    let error = load_with_cache(folder.path(), None).unwrap_err().to_string();
    assert!(error.starts_with("no t10k-images-idx3-ubyte in the folder"), "{error}");
}

/// Replaces one file and expects this error.
fn check_error(name: &str, contents: &[u8], expect: &str) {
    let folder = folder();
    fs::write(folder.path().join(name), contents).unwrap();
    let error = load_with_cache(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains(name) || error.contains("/"), "{error}");
    assert!(error.contains(expect), "{error}\nexpected: {expect}");
}

const RAW: &str = "t10k-images-idx3-ubyte";
const LABELS: &str = "t10k-labels.idx1-ubyte";
const COMPRESSED: &str = "train-images-idx3-ubyte.gz";

#[test]
fn broken_raw_files() {
    check_error(RAW, b"", "too short for an IDX file");
    check_error(RAW, b"<!DOCTYPE html>", "not an IDX file: it begins with 3c 21 44 4f");
    check_error(RAW, &[0, 0, 0x0d, 3, 0, 0, 0, 1], "element type 0x0d; only unsigned bytes (0x08) are read");
    check_error(RAW, &[0, 0, 8, 0], "an IDX file of 0 dimensions");
    check_error(RAW, &[0, 0, 8, 200], "an IDX file of 200 dimensions");
    check_error(RAW, &[0, 0, 8, 3, 0, 0], "cut off within its header");
    check_error(RAW, &file(&[1, 2, 3], &[0; 5]), "is cut off: its header claims 22 bytes, but it has 21");
    check_error(RAW, &file(&[1, 2, 3], &[0; 7]), "has bytes beyond its end");
    check_error(RAW, &file(&[u32::MAX; 3], &[]), "more than 4 GiB");
    check_error(RAW, &file(&[1, 0, 3], &[]), "have no pixels");
    check_error(RAW, &file(&[6], &[0; 6]), "images have 3 or 4 dimensions, not 1");
    check_error(RAW, &file(&[1, 3, 2], &[0; 6]), "training images are [1, 2, 3] and test images [1, 3, 2]");
}

#[test]
fn labels_that_do_not_fit() {
    check_error(LABELS, &file(&[2], &[0, 0]), "2 labels for the 1 images of");
    check_error(LABELS, &file(&[1, 1], &[0]), "labels have 1 dimension, not 2");
    check_error(LABELS, &file(&[1], &[9]), "label 9 of test image 0 is out of range");
}

#[test]
fn broken_compressed_files() {
    let good = gzip(&file(&[2, 2, 3], &[7; 12]));
    check_error(COMPRESSED, b"", "too short for an IDX file");
    check_error(COMPRESSED, b"not gzip at all", "not an IDX file: it begins with 6e 6f 74 20");
    check_error(COMPRESSED, &good[..2], "corrupt or cut off");
    check_error(COMPRESSED, &good[..good.len() - 9], "corrupt or cut off");
    let mut checksum = good.clone();
    checksum[good.len() - 6] ^= 1;
    check_error(COMPRESSED, &checksum, "corrupt or cut off");
    check_error(COMPRESSED, &gzip(&file(&[2, 2, 3], &[7; 11])), "corrupt or cut off");
    check_error(
        COMPRESSED,
        &gzip(&file(&[2, 2, 3], &[7; 13])),
        "more than the 28 bytes that the header claims",
    );
}

#[test]
fn decompression_bombs() {
    check_error(COMPRESSED, &gzip(&file(&[2, 2, 3], &vec![0; 50_000_000])), "more than the 28 bytes");
    check_error(COMPRESSED, &gzip(&file(&[60_000, 200, 200], &[])), "more than the compressed file can hold");
    check_error(COMPRESSED, &gzip(&file(&[u32::MAX, 1, 2], &[])), "more than 4 GiB");
}

#[test]
fn images_may_have_channels() {
    let images = parse(Bytes::from(file(&[1, 3, 1, 1], &[1, 2, 3])), Path::new("i")).unwrap();
    let labels = parse(Bytes::from(file(&[1], &[0])), Path::new("l")).unwrap();
    let split = split((Path::new("i"), images), (Path::new("l"), labels)).unwrap();
    assert_eq!(split.shape, [3, 1, 1]);
}

#[test]
fn files_without_images_and_with_too_many_channels() {
    let error = |images: &[u32], pixels: &[u8]| {
        let array =
            |shape, elements: &[u8]| parse(Bytes::from(file(shape, elements)), Path::new("f")).unwrap();
        let labels = vec![0; images[0] as usize];
        let (images, labels) = (array(images, pixels), array(&[images[0]], &labels));
        split((Path::new("x"), images), (Path::new("y"), labels)).unwrap_err().to_string()
    };
    assert!(error(&[0, 2, 3], &[]).ends_with("the file has no images"));
    assert!(error(&[0, 1 << 31, 1 << 31, 4], &[]).ends_with("the file has no images"));
    assert!(error(&[1, 4097, 1, 1], &[0; 4097]).ends_with("images of 4097 channels; at most 4096 are read"));
}
