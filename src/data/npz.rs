//! NumPy's `.npz` files: a zip archive of the arrays `x_train y_train x_test y_test`.
//!
//! Pictures are `u8`, `[N, H, W]`, `[N, C, H, W]` or `[N, H, W, C]` with 1 or 3 channels (the second where both fit);
//! labels are integers of any width, `[N]` or `[N, 1]`. Archives of `numpy.savez` and `numpy.savez_compressed` are read.
//! An array may not claim more bytes than its part of the archive can hold, or than there is memory for.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use zip::ZipArchive;

use crate::base::{files, visible};

use super::bytes::Bytes;
use super::npy::{self, Raw};
use super::{DataError, Dataset, Split};

const NAMES: [&str; 4] = ["x_train", "y_train", "x_test", "y_test"];
/// The most bytes of an array, with its header.
const MOST_BYTES: u64 = 1 << 32;
/// Classes are counted from 0, and each has a name.
const MOST_CLASSES: i32 = 1_000_000;
/// So many arrays of an archive are named in an error.
const MOST_NAMED: usize = 12;
/// DEFLATE writes at least two bits for 258 bytes.
const MOST_RATIO: u64 = 1032;

type Archive = ZipArchive<BufReader<File>>;

/// The data set in a file.
///
/// # Errors
///
/// A file that cannot be read, is no such archive, or whose arrays are not as above.
pub fn load(path: &Path) -> Result<Dataset, DataError> {
    let file = files::open(path).map_err(|error| DataError::io(path, error))?;
    let wrong = |problem: String| DataError::format(path, problem);
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| wrong(format!("not a .npz file, which is a zip archive ({error})")))?;
    check_names(&archive).map_err(wrong)?;
    let mut split = |x: &str, y: &str| split(&mut archive, x, y).map_err(wrong);
    let train = split(NAMES[0], NAMES[1])?;
    let test = split(NAMES[2], NAMES[3])?;
    Dataset::new(&path.display().to_string(), train, test, 255.0)
}

fn check_names(archive: &Archive) -> Result<(), String> {
    let names = archive.file_names().map(|name| name.map(Cow::into_owned).map_err(|error| error.to_string()));
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    let mut held: Vec<&str> = names.iter().map(|name| name.strip_suffix(".npy").unwrap_or(name)).collect();
    held.sort_unstable();
    let missing: Vec<&str> = NAMES.into_iter().filter(|name| !held.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = held.iter().take(MOST_NAMED).map(|name| visible::excerpt(name)).collect();
    let others = if held.len() > MOST_NAMED { ", ..." } else { "" };
    let held = if held.is_empty() { "nothing".into() } else { named.join(", ") + others };
    Err(format!(
        "no array {} in it; it holds {held}, but should hold {}",
        missing.join(", "),
        NAMES.join(", ")
    ))
}

fn split(archive: &mut Archive, x: &str, y: &str) -> Result<Split, String> {
    let named = |name: &str| {
        let name = name.to_owned();
        move |problem: String| format!("{name}: {problem}")
    };
    let images = entry(archive, x).map_err(named(x))?;
    let (shape, pixels) = pictures(images).map_err(named(x))?;
    let bytes = entry(archive, y).map_err(named(y))?;
    let labels = npy::raw(&bytes).and_then(|raw| labels(&raw)).map_err(named(y))?;
    let count = pixels.len() / shape.iter().product::<usize>();
    if labels.len() != count {
        return Err(format!("{y}: {} labels for the {count} images of {x}", labels.len()));
    }
    Split::new(pixels, labels, shape)
}

/// The bytes of an array's `.npy` file in the archive.
fn entry(archive: &mut Archive, name: &str) -> Result<Vec<u8>, String> {
    let corrupt = |error: &dyn std::fmt::Display| format!("corrupt or cut off ({error})");
    let entry = archive.by_name(&format!("{name}.npy")).map_err(|error| corrupt(&error))?;
    let (claim, compressed) = (entry.size(), entry.compressed_size());
    if claim > MOST_BYTES {
        return Err(format!("{claim} bytes, more than 4 GiB"));
    }
    if claim > compressed.saturating_mul(MOST_RATIO).saturating_add(MOST_RATIO) {
        return Err(format!("the archive claims {claim} bytes, more than it can hold"));
    }
    let bytes = files::claimed(entry, claim).map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => error.to_string(),
        _ => corrupt(&error),
    })?;
    match bytes.len() as u64 == claim {
        true => Ok(bytes),
        false => Err(format!("{} bytes, but the archive claims {claim}", bytes.len())),
    }
}

/// The shape of a picture, `[C, H, W]`, and the pixels of all in that order, in the memory of their `.npy` file.
fn pictures(mut file: Vec<u8>) -> Result<([usize; 3], Bytes), String> {
    let raw = npy::raw(&file)?;
    let (shape, is_last) = shape_and_order(&raw)?;
    let (start, end) = (file.len() - raw.data.len(), file.len());
    if is_last {
        channels_first(&mut file[start..], shape);
    }
    Ok((shape, Bytes::from(file).slice(start..end)))
}

/// The shape of a picture, `[C, H, W]`, and whether its channels come last.
fn shape_and_order(raw: &Raw<'_>) -> Result<([usize; 3], bool), String> {
    if raw.element != "|u1" {
        let problem = format!("pixels are bytes (uint8), not `{}`", visible::excerpt(raw.element));
        return Err(format!("{problem}; save (x * 255).astype(\"uint8\") of numbers from 0 to 1"));
    }
    let has_pixels = raw.shape.len() > 1 && raw.shape[1..].iter().all(|extent| *extent > 0);
    match raw.shape[..] {
        _ if raw.data.is_empty() || !has_pixels => {
            Err(format!("images of the shape {:?} have no pixels", raw.shape))
        }
        [_, height, width] => Ok(([1, height, width], false)),
        [_, channels @ (1 | 3), height, width] => Ok(([channels, height, width], false)),
        [_, height, width, channels @ (1 | 3)] => Ok(([channels, height, width], channels > 1)),
        _ => Err(format!(
            "images are [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, not {:?}",
            raw.shape
        )),
    }
}

/// Pixels `[N, H, W, C]` become `[N, C, H, W]`, by a copy of one picture at a time.
fn channels_first(pixels: &mut [u8], [channels, height, width]: [usize; 3]) {
    let plane = height * width;
    let mut copy = vec![0; channels * plane];
    for image in pixels.chunks_exact_mut(copy.len()) {
        copy.copy_from_slice(image);
        for (at, pixel) in copy.chunks_exact(channels).enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                image[channel * plane + at] = *value;
            }
        }
    }
}

fn labels(raw: &Raw<'_>) -> Result<Vec<i32>, String> {
    let ([_] | [_, 1]) = raw.shape[..] else {
        return Err(format!("labels are [N] or [N, 1], not {:?}", raw.shape));
    };
    let integers = raw
        .integers()
        .ok_or_else(|| format!("labels are integers, not `{}`", visible::excerpt(raw.element)))?;
    let label = |(at, value): (usize, i128)| {
        let wrong = |_| format!("label {at} is {value}; classes are counted from 0");
        match i32::try_from(value).map_err(wrong)? {
            ..0 => Err(format!("label {at} is {value}; classes are counted from 0")),
            label if label >= MOST_CLASSES => {
                Err(format!("label {at} is {value}; there are at most {MOST_CLASSES} classes"))
            }
            label => Ok(label),
        }
    };
    integers.enumerate().map(label).collect()
}

#[cfg(test)]
#[path = "npz_tests.rs"]
mod tests;
