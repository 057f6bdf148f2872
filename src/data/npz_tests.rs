//! Archives as NumPy writes them, and broken ones.

use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// The `.npy` file of an array.
fn array(element: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

type Arrays = Vec<(&'static str, Vec<u8>)>;

fn write(arrays: &Arrays, method: CompressionMethod) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.npz");
    let mut archive = ZipWriter::new(File::create(&path).unwrap());
    for (name, contents) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).unwrap();
        archive.write_all(contents).unwrap();
    }
    archive.finish().unwrap();
    (folder, path)
}

/// Two training pictures and a test picture of 2×2 pixels.
fn good() -> Arrays {
    let pixels: Vec<u8> = (1..13).collect();
    vec![
        ("x_train", array("|u1", "2, 2, 2", &pixels[..8])),
        ("y_train", array("<i8", "2,", &[1_i64.to_le_bytes(), 0_i64.to_le_bytes()].concat())),
        ("x_test", array("|u1", "1, 2, 2", &pixels[8..])),
        ("y_test", array("|u1", "1, 1", &[1])),
    ]
}

fn with(name: &str, contents: Vec<u8>) -> Arrays {
    let replace =
        |(old, kept): (&'static str, Vec<u8>)| (old, if old == name { contents.clone() } else { kept });
    good().into_iter().map(replace).collect()
}

#[test]
fn archives_without_pictures_and_with_too_many_classes() {
    let error = |arrays: &Arrays| {
        let (_folder, path) = write(arrays, CompressionMethod::Stored);
        load(&path).unwrap_err().to_string()
    };
    for shape in ["0, 2, 2", "0, 4294967296, 4294967296", "0, 2, 2, 3", "2, 0, 2"] {
        let said = error(&with("x_train", array("|u1", shape, &[])));
        assert!(said.contains("have no pixels"), "{shape}: {said}");
    }
    for (label, problem) in
        [(1_000_000, "there are at most 1000000 classes"), (-1, "classes are counted from 0")]
    {
        let said = error(&with("y_test", array("<i4", "1,", &i32::to_le_bytes(label))));
        assert!(said.contains(problem), "{label}: {said}");
    }
}

#[test]
fn reads_what_numpy_writes() {
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let (_folder, path) = write(&good(), method);
        let data = load(&path).unwrap();
        assert_eq!((data.shape, data.classes), ([1, 2, 2], 2));
        assert_eq!(data.train.image(1).unwrap()[..], [5, 6, 7, 8]);
        assert_eq!((&data.train.labels[..], &data.test.labels[..]), (&[1, 0][..], &[1][..]));
    }
}

#[test]
fn channels_come_first_or_last() {
    let read = |shape: &str, pixels: &[u8]| {
        pictures(array("|u1", shape, pixels)).map(|(shape, pixels)| (shape, pixels.to_vec()))
    };
    let pixels: Vec<u8> = (0..12).collect();
    assert_eq!(read("1, 3, 2, 2", &pixels), Ok(([3, 2, 2], pixels.clone())));
    let first = vec![0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11];
    assert_eq!(read("1, 2, 2, 3", &pixels), Ok(([3, 2, 2], first)));
    assert_eq!(read("3, 2, 2, 1", &pixels), Ok(([1, 2, 2], pixels.clone())));
    assert!(read("1, 2, 3, 2", &pixels).unwrap_err().contains("not [1, 2, 3, 2]"));
    assert!(read("1, 12", &pixels).unwrap_err().contains("not [1, 12]"));
    assert!(read("12,", &pixels).unwrap_err().contains("have no pixels"));
}

/// An archive of 4 GiB takes no more than these.
#[test]
fn pixels_stay_where_they_were_inflated() {
    for shape in ["4, 1, 3", "1, 3, 2, 2", "1, 2, 2, 3", "3, 2, 2, 1"] {
        let file = array("|u1", shape, &[7; 12]);
        let first = file[file.len() - 12..].as_ptr();
        let (_, pixels) = pictures(file).unwrap();
        assert_eq!(pixels.as_ptr(), first, "{shape}");
    }
}

#[test]
fn labels_are_integers_of_any_width() {
    let read = |element: &str, data: &[u8]| labels(&npy::raw(&array(element, "1,", data)).unwrap());
    for element in ["|u1", "|i1"] {
        assert_eq!(read(element, &[7]), Ok(vec![7]));
    }
    for (element, data) in [("<u2", [7, 1].to_vec()), ("<i4", vec![7, 1, 0, 0])] {
        assert_eq!(read(element, &data), Ok(vec![263]));
    }
    assert_eq!(read("<u8", &[7, 1, 0, 0, 0, 0, 0, 0]), Ok(vec![263]));
    assert_eq!(read("|i1", &[255]).unwrap_err(), "label 0 is -1; classes are counted from 0");
    assert!(read("<u8", &[255; 8]).unwrap_err().starts_with("label 0 is 18446744073709551615"));
    assert_eq!(read("<f4", &[0; 4]).unwrap_err(), "labels are integers, not `<f4`");
}

fn check_error(arrays: &Arrays, expect: &str) {
    let (_folder, path) = write(arrays, CompressionMethod::Deflated);
    let error = load(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}: {expect}", path.display()));
}

#[test]
fn wrong_arrays() {
    check_error(
        &good()[..3].to_vec(),
        "no array y_test in it; it holds x_test, x_train, y_train, but should hold x_train, y_train, x_test, y_test",
    );
    check_error(
        &with("x_test", array("<f4", "1, 2, 2", &[0; 16])),
        "x_test: pixels are bytes (uint8), not `<f4`; save (x * 255).astype(\"uint8\") of numbers from 0 to 1",
    );
    check_error(
        &with("y_train", array("|u1", "3,", &[0; 3])),
        "y_train: 3 labels for the 2 images of x_train",
    );
    check_error(
        &with("y_train", array("|u1", "1, 2", &[0; 2])),
        "y_train: labels are [N] or [N, 1], not [1, 2]",
    );
    check_error(&with("x_train", b"hello".to_vec()), "x_train: not a .npy file");
    check_error(
        &with("x_train", array("|u1", "9, 2, 2", &[0; 8])),
        "x_train: the header claims the shape [9, 2, 2], but 8 bytes of elements follow",
    );
}

#[test]
fn broken_archives() {
    let (_folder, path) = write(&good(), CompressionMethod::Deflated);
    let whole = std::fs::read(&path).unwrap();
    for len in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
    // No damaged byte makes it panic; most are noticed.
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, damaged).unwrap();
        let _ = load(&path);
    }
}
