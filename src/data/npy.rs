//! NumPy's `.npy` files of one array.
//!
//! Reads versions 1 to 3 as `f32`, in either order of bytes and of elements: element types `f2`, `f4`, `f8`, `b1` and
//! integers of any width (others are converted in NumPy). `f8` is rounded; a whole number that `f32` does not hold
//! exactly is an error. Writes version 1, in the element type of what is written: `<f4`, `<i4`, `|u1` or `|b1`. The format:
//! numpy.org/doc/stable/reference/generated/numpy.lib.format.html.

mod element;
mod header;
mod order;

use std::borrow::Cow;
use std::path::Path;

use super::DataError;
use crate::base::files::{self, write_atomically};
use crate::base::memory;

pub(super) use element::{Kind, Type};

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
///
/// # Errors
///
/// A file that cannot be read, and what [`parse`] says of its bytes.
pub fn read(path: &Path) -> Result<Array, DataError> {
    let bytes = files::read(path).map_err(|error| DataError::io(path, error))?;
    parse(&bytes).map_err(|problem| DataError::format(path, problem))
}

/// The array in the bytes of a file.
///
/// # Errors
///
/// What is wrong with it, in words: bytes that are no such file, a type that is not read, a number that `f32` does not
/// hold.
pub fn parse(bytes: &[u8]) -> Result<Array, String> {
    let raw = raw(bytes)?;
    Ok(Array { elements: raw.numbers()?, shape: raw.shape })
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

/// An array as it lies in its file.
pub(super) struct Raw<'a> {
    pub shape: Vec<usize>,
    pub element: Type,
    /// Whether the first index varies fastest.
    pub is_fortran: bool,
    /// Exactly the elements.
    pub data: &'a [u8],
}

/// Takes a file apart.
pub(super) fn raw(bytes: &[u8]) -> Result<Raw<'_>, String> {
    let (header, data) = header::split(bytes)?;
    let (shape, element) = (header.shape, Type::of(&header.element)?);
    // An array without elements may have the largest extents beside its 0.
    let product = |size: usize, extent: &usize| size.checked_mul(*extent);
    let claim = if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(element.size, product) };
    if claim != Some(data.len()) {
        let have = data.len();
        return Err(format!("the header claims the shape {shape:?}, but {have} bytes of elements follow"));
    }
    Ok(Raw { shape, element, is_fortran: header.is_fortran, data })
}

impl<'a> Raw<'a> {
    /// The bytes of the elements in row-major order.
    ///
    /// # Errors
    ///
    /// Where they lie in another order and there is no memory for a copy.
    pub fn row_major(&self) -> Result<Cow<'a, [u8]>, String> {
        // Without elements, the extents may be any.
        if !self.is_fortran || self.shape.len() < 2 || self.data.is_empty() {
            return Ok(Cow::Borrowed(self.data));
        }
        let mut copy = reserve(self.data.len())?;
        copy.resize(self.data.len(), 0);
        order::row_major(self.data, self.element.size, &self.shape, &mut copy);
        Ok(Cow::Owned(copy))
    }

    /// The elements as `f32`, in row-major order.
    ///
    /// # Errors
    ///
    /// A number that `f32` does not hold, and too little memory.
    pub fn numbers(&self) -> Result<Vec<f32>, String> {
        let data = self.row_major()?;
        let mut numbers = reserve(data.len() / self.element.size)?;
        for bytes in data.chunks_exact(self.element.size) {
            numbers.push(self.element.number(bytes).map_err(|problem| format!("an element {problem}"))?);
        }
        Ok(numbers)
    }
}

/// Room for so many elements, which is held against what memory there is.
pub(super) fn reserve<T>(count: usize) -> Result<Vec<T>, String> {
    let bytes = count.saturating_mul(size_of::<T>());
    memory::check("it", bytes as u64).map_err(|shortage| shortage.to_string())?;
    let mut room = Vec::new();
    room.try_reserve_exact(count).map_err(|error| error.to_string())?;
    Ok(room)
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
