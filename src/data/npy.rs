//! NumPy's `.npy` files of one array, as `f32`.
//!
//! Reads versions 1 and 2, little-endian, C order, element types `f4 f8 u1 i4` (others are converted in NumPy);
//! writes version 1, `f4`. The format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html.

use std::path::Path;

use super::DataError;
use crate::base::files::write_atomically;

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
    let bytes = std::fs::read(path).map_err(|error| DataError::io(path, error))?;
    parse(&bytes).map_err(|problem| DataError::format(path, problem))
}

/// Writes `elements`, row-major of this shape.
pub fn write(path: &Path, shape: &[usize], elements: &[f32]) -> Result<(), DataError> {
    assert_eq!(shape.iter().product::<usize>(), elements.len());
    let mut bytes = header(shape);
    bytes.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
    write_atomically(path, &bytes).map_err(|error| DataError::io(path, error))
}

fn header(shape: &[usize]) -> Vec<u8> {
    let mut tuple = shape.iter().map(|extent| format!("{extent},")).collect::<Vec<_>>().join(" ");
    if shape.len() > 1 {
        tuple.pop();
    }
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({tuple}), }}");
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    text.push('\n');
    let len = u16::try_from(text.len()).expect("a shape is a few numbers");
    [MAGIC, &[1, 0], &len.to_le_bytes(), text.as_bytes()].concat()
}

fn parse(bytes: &[u8]) -> Result<Array, String> {
    let raw = raw(bytes)?;
    let element = element_type(raw.element)?;
    Ok(Array { elements: element.convert(raw.data), shape: raw.shape })
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
    let expected = count.and_then(|count| count.checked_mul(size(element)?));
    if expected.is_some_and(|expected| expected != data.len()) || count.is_none() {
        let have = data.len();
        return Err(format!("the header claims the shape {shape:?}, but {have} bytes of elements follow"));
    }
    Ok(Raw { shape, element, data })
}

/// Bytes of an element; none of types that nothing here reads.
fn size(element: &str) -> Option<usize> {
    let digits = element.strip_prefix(['<', '|'])?.strip_prefix(['u', 'i', 'f'])?;
    digits.parse().ok().filter(|size| [1, 2, 4, 8].contains(size))
}

impl Raw<'_> {
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
    let extent =
        |text: &str| text.parse().map_err(|_| format!("`{text}` in the header's `shape` is no extent"));
    extents.filter(|text| !text.is_empty()).map(extent).collect()
}

#[derive(Clone, Copy)]
enum Element {
    F32,
    F64,
    U8,
    I32,
}

fn element_type(name: &str) -> Result<Element, String> {
    match name {
        "<f4" => Ok(Element::F32),
        "<f8" => Ok(Element::F64),
        "|u1" => Ok(Element::U8),
        "<i4" => Ok(Element::I32),
        _ => Err(format!("elements of type `{name}`; save x.astype(\"float32\")")),
    }
}

impl Element {
    /// `data` holds whole elements.
    fn convert(self, data: &[u8]) -> Vec<f32> {
        match self {
            Element::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Element::F64 => {
                data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()
            }
            Element::U8 => data.iter().map(|byte| f32::from(*byte)).collect(),
            Element::I32 => {
                data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes) as f32).collect()
            }
        }
    }
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
        let header = header(&[2, 3]);
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
        check("|u1", &[1, 2]);
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
        let huge = "(4294967296, 4294967296, 16)";
        check(&file(1, &dictionary("<f4", "False", huge), &[]), "bytes of elements follow");
    }
}
