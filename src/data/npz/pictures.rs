//! From an array of pictures to bytes or numbers, `[C, H, W]` each, as far as that goes in the memory of its file.

use super::super::bytes::Bytes;
use super::super::npy::{self, Kind, Type};
use super::super::pixels::Number;

/// The most channels of a picture: each has a table of what its pixels mean.
const MOST_CHANNELS: usize = 4096;

/// All pictures of an array.
#[derive(Debug)]
pub struct Pictures {
    /// `[C, H, W]` of each.
    pub shape: [usize; 3],
    /// One after the other.
    pub pixels: Bytes,
    /// Whether a pixel is an `f32` of four little-endian bytes, and not one byte.
    pub are_numbers: bool,
}

/// The pictures in a `.npy` file.
///
/// # Errors
///
/// What is wrong with them, in words.
pub fn read(mut file: Vec<u8>) -> Result<Pictures, String> {
    let raw = npy::raw(&file)?;
    let (extents, element) = (raw.shape.clone(), raw.element);
    let (shape, is_last) = shape_and_order(&extents)?;
    let mut start = file.len() - raw.data.len();
    if raw.is_fortran {
        (file, start) = (raw.row_major()?.into_owned(), 0);
    }
    let are_numbers = element.kind == Kind::Float;
    match (element.kind, element.size) {
        (Kind::Unsigned, 1) => {}
        (Kind::Signed | Kind::Unsigned, _) => narrow(&mut file, start, element, &extents)?,
        (Kind::Float, 2) => (file, start) = (widened(&file[start..], element, &extents)?, 0),
        (Kind::Float, _) => round(&mut file, start, element, &extents)?,
        (Kind::Truth, _) => {
            let problem = "pixels are bytes or floats, not truth values";
            return Err(format!("{problem}; save (x * 255).astype(\"uint8\") or x.astype(\"float32\")"));
        }
    }
    match (is_last, are_numbers) {
        (false, _) => {}
        (true, false) => channels_first(&mut file[start..], shape),
        (true, true) => channels_first::<Number>(file[start..].as_chunks_mut().0, shape),
    }
    let end = file.len();
    Ok(Pictures { shape, pixels: Bytes::from(file).slice(start..end), are_numbers })
}

/// The shape of a picture, `[C, H, W]`, and whether its channels come last in the array: where the second extent is not
/// 1 or 3, but the last one is, or it is smaller than the second.
fn shape_and_order(extents: &[usize]) -> Result<([usize; 3], bool), String> {
    if extents.len() < 2 || extents.contains(&0) {
        return Err(format!("images of the shape {extents:?} have no pixels"));
    }
    let found = match *extents {
        [_, height, width] => ([1, height, width], false),
        [_, second, third, last] => {
            let is_last = match (second, last) {
                (1 | 3, _) => false,
                (_, 1 | 3) => true,
                _ => last < second,
            };
            (if is_last { [last, second, third] } else { [second, third, last] }, is_last)
        }
        _ => return Err(format!("images are [N, H, W], [N, C, H, W] or [N, H, W, C], not {extents:?}")),
    };
    match found.0[0] {
        ..=MOST_CHANNELS => Ok(found),
        channels => Err(format!("images of {channels} channels; at most {MOST_CHANNELS} are read")),
    }
}

/// Integers from 0 to 255 become bytes, behind `start` in the same memory.
fn narrow(file: &mut Vec<u8>, start: usize, element: Type, extents: &[usize]) -> Result<(), String> {
    let count = (file.len() - start) / element.size;
    for at in 0..count {
        let value = element.integer(&file[start + at * element.size..]).unwrap_or_default();
        file[start + at] = u8::try_from(value).map_err(|_| {
            format!(
                "the element {:?} is {value}, and pixels of integers are 0 to 255; save x.astype(\"float32\"), \
                 which a model reads as it is",
                place(at, extents)
            )
        })?;
    }
    file.truncate(start + count);
    file.shrink_to_fit();
    Ok(())
}

/// Floats of 32 and 64 bits become `f32` of little-endian bytes, behind `start` in the same memory.
fn round(file: &mut Vec<u8>, start: usize, element: Type, extents: &[usize]) -> Result<(), String> {
    let count = (file.len() - start) / element.size;
    for at in 0..count {
        let value = number(&file[start + at * element.size..], at, element, extents)?;
        file[start + at * size_of::<f32>()..][..size_of::<f32>()].copy_from_slice(&value);
    }
    file.truncate(start + count * size_of::<f32>());
    file.shrink_to_fit();
    Ok(())
}

/// Floats of 16 bits as `f32` of little-endian bytes, which need more memory.
fn widened(data: &[u8], element: Type, extents: &[usize]) -> Result<Vec<u8>, String> {
    let mut wide = npy::reserve(data.len() * 2)?;
    for (at, bytes) in data.chunks_exact(element.size).enumerate() {
        wide.extend(number(bytes, at, element, extents)?);
    }
    Ok(wide)
}

fn number(bytes: &[u8], at: usize, element: Type, extents: &[usize]) -> Result<Number, String> {
    let wrong = |problem: String| format!("the element {:?} {problem}", place(at, extents));
    let value = element.number(bytes).map_err(wrong)?;
    match value.is_finite() {
        true => Ok(value.to_le_bytes()),
        false => Err(wrong(format!("is {value}; pixels are finite numbers"))),
    }
}

/// The indices of an element in row-major order.
fn place(at: usize, extents: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut indices: Vec<usize> = extents
        .iter()
        .rev()
        .map(|extent| {
            let index = rest % extent;
            rest /= extent;
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// Pixels `[N, H, W, C]` become `[N, C, H, W]`, by a copy of one picture at a time.
fn channels_first<T: Copy + Default>(pixels: &mut [T], [channels, height, width]: [usize; 3]) {
    let plane = height * width;
    let mut copy = vec![T::default(); channels * plane];
    for image in pixels.chunks_exact_mut(copy.len()) {
        copy.copy_from_slice(image);
        for (at, pixel) in copy.chunks_exact(channels).enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                image[channel * plane + at] = *value;
            }
        }
    }
}
