//! Archives as NumPy writes them, and broken ones.

use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::data::Targets;

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
        assert_eq!((data.train.classes(), data.test.classes()), (&[1, 0][..], &[1][..]));
    }
}

/// The shape of a picture and the bytes of all.
fn read(file: Vec<u8>) -> Result<([usize; 3], Vec<u8>), String> {
    pictures::read(file).map(|pictures| (pictures.shape, pictures.pixels.to_vec()))
}

/// Today pictures of other than 1 or 3 channels are refused.
#[test]
fn channels_come_first_or_last() {
    let read = |shape: &str, pixels: &[u8]| read(array("|u1", shape, pixels));
    let pixels: Vec<u8> = (0..12).collect();
    assert_eq!(read("1, 3, 2, 2", &pixels), Ok(([3, 2, 2], pixels.clone())));
    let first = vec![0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11];
    assert_eq!(read("1, 2, 2, 3", &pixels), Ok(([3, 2, 2], first)));
    assert_eq!(read("3, 2, 2, 1", &pixels), Ok(([1, 2, 2], pixels.clone())));
    // What is neither 1 nor 3: the smaller extent, or the second.
    assert_eq!(read("1, 2, 3, 2", &pixels), Ok(([2, 3, 2], pixels.clone())));
    assert_eq!(read("1, 2, 1, 6", &pixels), Ok(([2, 1, 6], pixels.clone())));
    let first = vec![0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11];
    assert_eq!(read("1, 6, 1, 2", &pixels), Ok(([2, 6, 1], first)));
    assert!(read("1, 12", &pixels).unwrap_err().contains("not [1, 12]"));
    assert!(read("12,", &pixels).unwrap_err().contains("have no pixels"));
    assert!(read("1, 4097, 1, 4098", &[0; 4097 * 4098]).unwrap_err().contains("4097 channels; at most 4096"));
}

/// An archive of 4 GiB takes no more than these.
#[test]
fn pixels_stay_where_they_were_inflated() {
    for (element, size) in [("|u1", 1), ("<f4", 4), (">f4", 4)] {
        for shape in ["4, 1, 3", "1, 3, 2, 2", "1, 2, 2, 3", "3, 2, 2, 1"] {
            let file = array(element, shape, &vec![0; 12 * size]);
            let first = file[file.len() - 12 * size..].as_ptr();
            assert_eq!(pictures::read(file).unwrap().pixels.as_ptr(), first, "{element} {shape}");
        }
    }
}

/// The `.npy` file of an array in Fortran order.
fn fortran(element: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let file = array(element, shape, data);
    let text = b"'fortran_order': False";
    let at = file.windows(text.len()).position(|window| window == text).unwrap() + text.len() - 5;
    [&file[..at], &b"True "[..], &file[at + 5..]].concat()
}

/// Today Fortran order is refused for pictures and labels.
#[test]
fn fortran_order_is_the_same_pictures() {
    // [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]], the first index fastest.
    let turned = [0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11];
    let pixels: Vec<u8> = (0..12).collect();
    assert_eq!(read(fortran("|u1", "2, 2, 3", &turned)), Ok(([1, 2, 3], pixels.clone())));
    assert_eq!(
        read(fortran("|u1", "1, 4, 3, 1", &[0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11])).unwrap().1,
        pixels
    );
    let file = fortran("<i4", "2, 1", &[[5, 0, 0, 0], [6, 0, 0, 0]].concat());
    assert_eq!(targets::read(&file), Ok(vec![5, 6].into()));
    let file = fortran("<i4", "2, 2", &[[5, 0, 0, 0], [6, 0, 0, 0], [7, 0, 0, 0], [8, 0, 0, 0]].concat());
    assert_eq!(targets::read(&file), Ok(Targets::Labels { labels: vec![5, 7, 6, 8], shape: vec![2] }));
}

/// Today every type but `u8` is refused.
#[test]
fn integers_are_bytes_and_floats_are_numbers() {
    for (element, data) in [
        ("<i2", [0, 0, 255, 0].to_vec()),
        (">i2", vec![0, 0, 0, 255]),
        ("<u4", vec![0, 0, 0, 0, 255, 0, 0, 0]),
        (">i8", [0_i64.to_be_bytes(), 255_i64.to_be_bytes()].concat()),
    ] {
        assert_eq!(read(array(element, "1, 1, 2", &data)), Ok(([1, 1, 2], vec![0, 255])), "{element}");
    }
    let numbers = [-1.5_f32, 1.0].map(f32::to_le_bytes).concat();
    for (element, data) in [
        ("<f2", [0x00, 0xbe, 0x00, 0x3c].to_vec()),
        (">f2", vec![0xbe, 0x00, 0x3c, 0x00]),
        ("<f4", numbers.clone()),
        (">f4", [-1.5_f32, 1.0].map(f32::to_be_bytes).concat()),
        ("<f8", [-1.5_f64, 1.0].map(f64::to_le_bytes).concat()),
        (">f8", [-1.5_f64, 1.0].map(f64::to_be_bytes).concat()),
    ] {
        let pictures = pictures::read(array(element, "1, 1, 2", &data)).unwrap();
        assert_eq!((pictures.are_numbers, &*pictures.pixels), (true, &numbers[..]), "{element}");
    }
    let last: Vec<u8> = [1_f32, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat();
    let first: Vec<u8> = [1_f32, 4.0, 2.0, 5.0, 3.0, 6.0].map(f32::to_le_bytes).concat();
    assert_eq!(read(array("<f4", "1, 2, 1, 3", &last)), Ok(([3, 2, 1], first)));
}

#[test]
fn pixels_that_are_none() {
    let error = |element: &str, data: &[u8]| read(array(element, "1, 2, 1", data)).unwrap_err();
    let bytes =
        "and pixels of integers are 0 to 255; save x.astype(\"float32\"), which a model reads as it is";
    assert_eq!(error("<i2", &[0, 0, 0, 1]), format!("the element [0, 1, 0] is 256, {bytes}"));
    assert_eq!(error("|i1", &[0, 255]), format!("the element [0, 1, 0] is -1, {bytes}"));
    let floats = [f32::NAN, 0.0, f32::INFINITY];
    let numbers = |a: usize, b: usize| [floats[a].to_le_bytes(), floats[b].to_le_bytes()].concat();
    assert_eq!(error("<f4", &numbers(1, 0)), "the element [0, 1, 0] is NaN; pixels are finite numbers");
    assert_eq!(error("<f4", &numbers(2, 1)), "the element [0, 0, 0] is inf; pixels are finite numbers");
    assert_eq!(error("<f2", &[0, 0x7c, 0, 0]), "the element [0, 0, 0] is inf; pixels are finite numbers");
    let large = [1e39_f64, 0.0].map(f64::to_le_bytes).concat();
    assert_eq!(error("<f8", &large), "the element [0, 0, 0] is 1e39, which is beyond f32");
    assert!(error("|b1", &[0, 1]).starts_with("pixels are bytes or floats, not truth values; save "));
    assert!(error("<c8", &[0; 16]).starts_with("elements of type `<c8`, complex numbers; save "));
}

/// Floats as a data set: what a model reads, also after the steps that work on them.
#[test]
fn pictures_of_floats() {
    use super::super::geometry::Geometry;
    use super::super::pixels::Pixels;
    let numbers = |from: f32, count: usize| -> Vec<u8> {
        (0..count).flat_map(|at| (from + at as f32).to_le_bytes()).collect()
    };
    let mut arrays = with("x_train", array("<f4", "2, 3, 3", &numbers(-4.0, 18)));
    let (_folder, path) = write(&arrays, CompressionMethod::Stored);
    let error = load(&path).unwrap_err().to_string();
    assert!(error.ends_with("x_train holds floats and x_test integers; save both in one type"), "{error}");
    arrays[2].1 =
        array(">f8", "1, 3, 3", &(0..9).flat_map(|at| f64::from(at).to_be_bytes()).collect::<Vec<_>>());
    let (_folder, path) = write(&arrays, CompressionMethod::Deflated);
    let mut data = load(&path).unwrap();
    assert_eq!((data.full_scale, data.train.has_numbers(), data.train.is_plain()), (1.0, true, true));
    let values = |split: &Split, at| match split.pixels(at).unwrap() {
        Pixels::Numbers(numbers) => {
            numbers.iter().map(|number| f32::from_le_bytes(*number)).collect::<Vec<_>>()
        }
        Pixels::Bytes(_) => panic!("bytes"),
    };
    assert_eq!(values(&data.train, 1), [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0]);
    assert!(data.train.image(0).is_err());
    let error = data.prepare(&[Geometry::Resize { height: 3, width: 3 }]).unwrap_err().to_string();
    assert!(error.starts_with("`resize` is for pictures of bytes, and these are floats"), "{error}");
    data.prepare(&[Geometry::CenterCrop { height: 1, width: 2 }]).unwrap();
    assert_eq!((data.shape, values(&data.test, 0)), ([1, 1, 2], vec![3.0, 4.0]));
}

/// Today the archive is `corrupt or cut off`.
#[test]
fn other_compressions_are_named() {
    let (_folder, path) = write(&good(), CompressionMethod::Stored);
    let whole = std::fs::read(&path).unwrap();
    for (method, said) in [(93, "by zstd"), (14, "by LZMA"), (12, "by bzip2"), (250, "in an unknown way")] {
        let mut changed = whole.clone();
        for (mark, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
            for start in (0..whole.len() - 4).filter(|start| whole[*start..].starts_with(mark)) {
                changed[start + at] = method;
            }
        }
        std::fs::write(&path, changed).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("x_train: compressed {said}")), "{error}");
        assert!(error.ends_with("; numpy.savez_compressed writes deflate, which is read"), "{error}");
    }
}

#[test]
fn labels_are_integers_of_any_width() {
    let read = |element: &str, data: &[u8]| {
        targets::read(&array(element, "1,", data)).map(|targets| targets.labels().unwrap().to_vec())
    };
    for element in ["|u1", "|i1"] {
        assert_eq!(read(element, &[7]), Ok(vec![7]));
    }
    for (element, data) in [("<u2", [7, 1].to_vec()), ("<i4", vec![7, 1, 0, 0])] {
        assert_eq!(read(element, &data), Ok(vec![263]));
    }
    assert_eq!(read("<u8", &[7, 1, 0, 0, 0, 0, 0, 0]), Ok(vec![263]));
    assert_eq!(read("|i1", &[255]).unwrap_err(), "label 0 is -1; classes are counted from 0");
    assert!(read("<u8", &[255; 8]).unwrap_err().starts_with("label 0 is 18446744073709551615"));
    // Today those of another machine's order of bytes are refused.
    assert_eq!(read(">u2", &[1, 7]), Ok(vec![263]));
    assert_eq!((read(">i4", &[0; 4]), read("|b1", &[2])), (Ok(vec![0]), Ok(vec![1])));
}

/// Before, everything but integers `[N]` and `[N, 1]` was refused.
#[test]
fn targets_have_any_shape() {
    let floats = [0.5_f32, -1.0, 2.0, 4.0].map(f32::to_le_bytes).concat();
    let numbers =
        |shape: &[usize]| Targets::Numbers { numbers: vec![0.5, -1.0, 2.0, 4.0], shape: shape.to_vec() };
    for (text, shape) in
        [("4,", &[][..]), ("4, 1", &[1]), ("2, 2", &[2]), ("1, 2, 2", &[2, 2]), ("1, 1, 2, 2", &[1, 2, 2])]
    {
        assert_eq!(targets::read(&array("<f4", text, &floats)), Ok(numbers(shape)), "{text}");
    }
    let doubles = [0.5_f64, -1.0, 2.0, 4.0].map(f64::to_be_bytes).concat();
    assert_eq!(targets::read(&array(">f8", "2, 2", &doubles)), Ok(numbers(&[2])));
    let labels = |shape: &[usize]| Targets::Labels { labels: vec![3, 0, 1, 0], shape: shape.to_vec() };
    assert_eq!(targets::read(&array("|u1", "2, 2", &[3, 0, 1, 0])), Ok(labels(&[2])));
    assert_eq!(targets::read(&array("|u1", "1, 2, 2", &[3, 0, 1, 0])), Ok(labels(&[2, 2])));
    let masks = Targets::Labels { labels: vec![1, 0], shape: vec![2] };
    assert_eq!(targets::read(&array("|b1", "1, 2", &[7, 0])), Ok(masks));
    for (element, shape, data, expect) in [
        ("<f4", "1, 2", &[0, 0, 0, 0, 0, 0, 0xc0, 0x7f][..], "the element [0, 1] is NaN"),
        ("<f4", "2,", &[0, 0, 0, 0, 0, 0, 0x80, 0xff], "the element 1 is -inf"),
        ("|i1", "1, 2, 2", &[0, 1, 2, 255], "label [0, 1, 1] is -1; classes are counted from 0"),
        ("<i4", "1, 1", &[0x40, 0x42, 0x0f, 0], "label 0 is 1000000; there are at most 1000000 classes"),
        ("|u1", "", &[1], "one number; targets have an axis for the samples"),
        ("|u1", "2, 0", &[], "targets of the shape [2, 0] have no elements"),
    ] {
        assert_eq!(targets::read(&array(element, shape, data)), Err(expect.into()));
    }
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
        &with("y_train", array("|u1", "3,", &[0; 3])),
        "y_train: targets of 3 samples for the 2 images of x_train",
    );
    check_error(
        &with("y_train", array("|u1", "2, 2", &[0; 4])),
        "training images have 2 classes each, and test images a class each",
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
