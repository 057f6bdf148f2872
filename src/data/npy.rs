//! NumPy's `.npy` files of one array.
//!
//! Reads versions 1 and 2, little-endian, C order, as `f32`: element types `f4`, `f8`, `b1` and integers of any width
//! (others are converted in NumPy). `f8` is rounded; a whole number that `f32` does not hold exactly is an error.
//! Writes version 1, in the element type of what is written: `<f4`, `<i4`, `|u1` or `|b1`. The format:
//! numpy.org/doc/stable/reference/generated/numpy.lib.format.html.

use std::path::Path;

use super::DataError;
use crate::base::files::{self, write_atomically};
use crate::base::visible;

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy pads a header so that the elements begin at a multiple of it.
const ALIGNMENT: usize = 64;

/// An array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The extents; empty for one number.
    pub shape: Vec<usize>,
    pub elements: Vec<f32>,
}

/// The array in a file.
pub fn read(path: &Path) -> Result<Array, DataError> {
    let bytes = files::read(path).map_err(|error| DataError::io(path, error))?;
    parse(&bytes).map_err(|problem| DataError::format(path, problem))
}

/// A type of elements that can be written.
pub trait Element: Copy {
    /// NumPy's name of the type.
    const NAME: &'static str;

    /// Appends the bytes of an element as NumPy stores it.
    fn append_to(self, bytes: &mut Vec<u8>);
}

impl Element for f32 {
    const NAME: &'static str = "<f4";

    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Element for i32 {
    const NAME: &'static str = "<i4";

    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Element for u8 {
    const NAME: &'static str = "|u1";

    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.push(self);
    }
}

impl Element for bool {
    const NAME: &'static str = "|b1";

    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self));
    }
}

/// Writes `elements`, row-major of this shape.
pub fn write<T: Element>(path: &Path, shape: &[usize], elements: &[T]) -> Result<(), DataError> {
    assert_eq!(shape.iter().product::<usize>(), elements.len());
    let mut bytes = header(T::NAME, shape);
    elements.iter().for_each(|element| element.append_to(&mut bytes));
    write_atomically(path, &bytes).map_err(|error| DataError::io(path, error))
}

fn header(element: &str, shape: &[usize]) -> Vec<u8> {
    let mut tuple = shape.iter().map(|extent| format!("{extent},")).collect::<Vec<_>>().join(" ");
    if shape.len() > 1 {
        tuple.pop();
    }
    let mut text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({tuple}), }}");
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    text.push('\n');
    let len = u16::try_from(text.len()).expect("a shape is a few numbers");
    [MAGIC, &[1, 0], &len.to_le_bytes(), text.as_bytes()].concat()
}

fn parse(bytes: &[u8]) -> Result<Array, String> {
    let raw = raw(bytes)?;
    Ok(Array { elements: raw.floats()?, shape: raw.shape })
}

/// An array as it lies in its file.
pub(super) struct Raw<'a> {
    pub shape: Vec<usize>,
    /// NumPy's name of the element type, such as `<f4`.
    pub element: &'a str,
    /// Exactly the elements.
    pub data: &'a [u8],
}

/// Takes a file apart.
pub(super) fn raw(bytes: &[u8]) -> Result<Raw<'_>, String> {
    let (header, data) = split_header(bytes)?;
    let shape = shape(header)?;
    if field(header, "fortran_order")?.starts_with("True") {
        return Err("the array is in Fortran order; save numpy.ascontiguousarray(x)".into());
    }
    let quoted = field(header, "descr")?.trim_start_matches(['\'', '"']);
    let element = quoted.split(['\'', '"']).next().unwrap_or_default();
    let count = shape.iter().try_fold(1_usize, |count, extent| count.checked_mul(*extent));
    // Of types that nothing here reads, the size is not known.
    let fits = |count: usize| size(element).is_none_or(|size| count.checked_mul(size) == Some(data.len()));
    if !count.is_some_and(fits) {
        let have = data.len();
        return Err(format!("the header claims the shape {shape:?}, but {have} bytes of elements follow"));
    }
    Ok(Raw { shape, element, data })
}

/// Bytes of an element; none of types that nothing here reads.
fn size(element: &str) -> Option<usize> {
    let digits = element.strip_prefix(['<', '|'])?.strip_prefix(['u', 'i', 'f', 'b'])?;
    digits.parse().ok().filter(|size| [1, 2, 4, 8].contains(size))
}

impl Raw<'_> {
    /// The elements as `f32`.
    fn floats(&self) -> Result<Vec<f32>, String> {
        match self.element {
            "<f4" => Ok(self.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            "<f8" => {
                let elements = self.data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
                elements.map(rounded).collect()
            }
            "|b1" => Ok(self.data.iter().map(|byte| f32::from(u8::from(*byte != 0))).collect()),
            other => {
                let unknown =
                    || format!("elements of type `{}`; save x.astype(\"float32\")", visible::excerpt(other));
                self.integers().ok_or_else(unknown)?.map(exact).collect()
            }
        }
    }

    /// The elements of an array of little-endian integers of any width; none of any other.
    pub fn integers(&self) -> Option<impl Iterator<Item = i128>> {
        let is_signed = match self.element.strip_prefix(['<', '|'])?.chars().next()? {
            'i' => true,
            'u' => false,
            _ => return None,
        };
        let elements = self.data.chunks_exact(size(self.element)?);
        Some(elements.map(move |bytes| integer(bytes, is_signed)))
    }
}

/// A little-endian integer of at most eight bytes.
fn integer(bytes: &[u8], is_signed: bool) -> i128 {
    let unsigned = bytes.iter().rev().fold(0_i128, |value, byte| value << 8 | i128::from(*byte));
    let range = 1_i128 << (8 * bytes.len());
    if is_signed && unsigned >= range / 2 { unsigned - range } else { unsigned }
}

/// The nearest `f32` of a number that is within its range.
fn rounded(value: f64) -> Result<f32, String> {
    let nearest = value as f32;
    if nearest.is_infinite() && value.is_finite() {
        return Err(format!("an element is {value:e}, which is beyond f32"));
    }
    Ok(nearest)
}

/// A whole number as the `f32` that is equal to it.
fn exact(value: i128) -> Result<f32, String> {
    let nearest = value as f32;
    if nearest as i128 == value {
        return Ok(nearest);
    }
    Err(format!(
        "an element is {value}, which f32 does not hold exactly; save x.astype(\"float32\") to round it"
    ))
}

fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let cut = || "the file is cut off within its header".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or("not a .npy file")?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let (len, rest) = match version[0] {
        1 => rest
            .split_at_checked(2)
            .map(|(len, rest)| (u32::from(u16::from_le_bytes([len[0], len[1]])), rest)),
        2 => rest
            .split_at_checked(4)
            .map(|(len, rest)| (u32::from_le_bytes([len[0], len[1], len[2], len[3]]), rest)),
        version => return Err(format!("a .npy file of version {version}; 1 and 2 are read")),
    }
    .ok_or_else(cut)?;
    let (header, data) = rest.split_at_checked(len as usize).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    Ok((header, data))
}

/// What follows a key of the header, which is a Python dictionary.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let value = quoted.iter().find_map(|quoted| Some(header.split_once(quoted)?.1));
    let value = value.and_then(|value| value.trim_start().strip_prefix(':')).map(str::trim_start);
    value.ok_or_else(|| format!("the header has no `{key}`"))
}

fn shape(header: &str) -> Result<Vec<usize>, String> {
    let value = field(header, "shape")?;
    let tuple = value.strip_prefix('(').and_then(|rest| Some(rest.split_once(')')?.0));
    let extents = tuple.ok_or("the `shape` in the header is not a tuple")?.split(',').map(str::trim);
    let extent = |text: &str| {
        text.parse().map_err(|_| format!("`{}` in the header's `shape` is no extent", visible::excerpt(text)))
    };
    extents.filter(|text| !text.is_empty()).map(extent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_round_trip(shape: &[usize]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let elements: Vec<f32> = (0..shape.iter().product()).map(|element| element as f32 / 3.0).collect();
        write(&path, shape, &elements).unwrap();
        assert_eq!(read(&path).unwrap(), Array { shape: shape.to_vec(), elements });
    }

    #[test]
    fn reads_what_it_writes() {
        check_round_trip(&[]);
        check_round_trip(&[5]);
        check_round_trip(&[2, 3]);
        check_round_trip(&[2, 0, 3]);
        check_round_trip(&[1, 2, 3, 4]);
    }

    /// What `numpy.save` writes for `numpy.zeros((2, 3), "float32")`.
    #[test]
    fn headers_are_those_of_numpy() {
        let header = header("<f4", &[2, 3]);
        assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&header[10..]).unwrap();
        assert_eq!(text.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
        assert_eq!((header.len(), text.ends_with('\n')), (128, true));
    }

    fn file(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
        let len = (dictionary.len() as u32).to_le_bytes();
        let len = if version == 1 { &len[..2] } else { &len[..] };
        [MAGIC, &[version, 0], len, dictionary.as_bytes(), data].concat()
    }

    fn dictionary(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn other_types_are_converted() {
        let check = |descr: &str, data: &[u8]| {
            let array = parse(&file(2, &dictionary(descr, "False", "(2,)"), data)).unwrap();
            assert_eq!(array, Array { shape: vec![2], elements: vec![1.0, 2.0] });
        };
        check("<f8", &[1.0_f64.to_le_bytes(), 2.0_f64.to_le_bytes()].concat());
        check("<i4", &[1_i32.to_le_bytes(), 2_i32.to_le_bytes()].concat());
        check("<i8", &[1_i64.to_le_bytes(), 2_i64.to_le_bytes()].concat());
        check("<u2", &[1, 0, 2, 0]);
        check("|i1", &[1, 2]);
        check("|u1", &[1, 2]);
        let truth = parse(&file(2, &dictionary("|b1", "False", "(2,)"), &[0, 1])).unwrap();
        assert_eq!(truth.elements, [0.0, 1.0]);
    }

    /// The largest whole numbers that are read, and the smallest that `f32` would change.
    #[test]
    fn whole_numbers_are_read_exactly() {
        let read = |value: i32| parse(&file(1, &dictionary("<i4", "False", "(1,)"), &value.to_le_bytes()));
        for value in [1 << 24, -(1 << 24), i32::MIN, (1 << 24) + 2] {
            assert_eq!(read(value).unwrap().elements, [value as f32]);
        }
        for value in [(1 << 24) + 1, -(1 << 24) - 1, i32::MAX] {
            let error = read(value).unwrap_err();
            assert!(
                error.contains(&format!("an element is {value}, which f32 does not hold exactly")),
                "{error}"
            );
        }
    }

    /// The header and the bytes of every type that is written.
    #[test]
    fn elements_keep_their_type() {
        fn check<T: Element>(elements: &[T], name: &str, data: &[u8]) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.npy");
            write(&path, &[elements.len()], elements).unwrap();
            let bytes = std::fs::read(path).unwrap();
            let raw = raw(&bytes).unwrap();
            assert_eq!((raw.element, raw.data), (name, data));
        }
        check(&[1.0_f32], "<f4", &1.0_f32.to_le_bytes());
        check(&[i32::MIN, 7], "<i4", &[0, 0, 0, 0x80, 7, 0, 0, 0]);
        check(&[7_u8, 255], "|u1", &[7, 255]);
        check(&[true, false], "|b1", &[1, 0]);
    }

    #[test]
    fn broken_files_are_errors() {
        let check = |bytes: &[u8], expect: &str| {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        let good = file(1, &dictionary("<f4", "False", "(2,)"), &[0; 8]);
        check(b"PK\x03\x04", "not a .npy file");
        check(&good[..9], "cut off within its header");
        check(&good[..30], "cut off within its header");
        check(&good[..good.len() - 1], "the shape [2], but 7 bytes of elements follow");
        check(&file(3, "", b""), "version 3; 1 and 2 are read");
        check(&file(1, "{}", b""), "the header has no `shape`");
        check(&file(1, &dictionary("<f4", "True", "(2,)"), &[0; 8]), "numpy.ascontiguousarray");
        check(&file(1, &dictionary(">f4", "False", "(2,)"), &[0; 8]), "elements of type `>f4`");
        check(&file(1, &dictionary("<f4", "False", "(-2,)"), &[0; 8]), "`-2` in the header's `shape`");
        check(&file(1, &dictionary("<f4", "False", "2"), &[0; 8]), "not a tuple");
        let long = "\u{1b}".repeat(1 << 20);
        for dictionary in
            [dictionary("<f4", "False", &format!("({long},)")), dictionary(&long, "False", "(1,)")]
        {
            let error = parse(&file(2, &dictionary, &[])).unwrap_err();
            assert!(error.len() < 2000 && error.contains("\\u{1b}"), "{error}");
        }
        check(&file(1, &dictionary("<f2", "False", "(2,)"), &[0; 4]), "elements of type `<f2`");
        check(
            &file(1, &dictionary("<f8", "False", "(1,)"), &1e39_f64.to_le_bytes()),
            "1e39, which is beyond f32",
        );
        let huge = "(4294967296, 4294967296, 16)";
        check(&file(1, &dictionary("<f4", "False", huge), &[]), "bytes of elements follow");
        let many = "(4611686018427387904,)";
        check(&file(1, &dictionary("<f4", "False", many), &[]), "bytes of elements follow");
    }
}
