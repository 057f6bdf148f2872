//! NumPy's `.npz` files: a zip archive of the arrays `x_train y_train x_test y_test`.
//!
//! Pictures are `[N, H, W]`, `[N, C, H, W]` or `[N, H, W, C]`, as bytes (`u8`, or other integers from 0 to 255) or as floats,
//! which a model reads as they are; targets are classes, integers of any width `[N]` or `[N, 1]`, classes of pixels,
//! integers of other shapes, or floats of any shape. Both come in either order of bytes
//! and of elements. Archives of `numpy.savez` and `numpy.savez_compressed` are read. An array may not claim more bytes than
//! its part of the archive can hold, or than there is memory for.

mod pictures;
mod targets;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::base::{files, visible};

use super::images::Images;
use super::{DataError, Dataset, Split};
use pictures::Pictures;

const NAMES: [&str; 4] = ["x_train", "y_train", "x_test", "y_test"];
/// The most bytes of an array, with its header.
const MOST_BYTES: u64 = 1 << 32;
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
    if train.has_numbers() != test.has_numbers() {
        let of = |split: &Split| if split.has_numbers() { "floats" } else { "integers" };
        let (train, test) = (of(&train), of(&test));
        let problem = format!("x_train holds {train} and x_test {test}; save both in one type");
        return Err(DataError::format(path, problem));
    }
    let full_scale = if train.has_numbers() { 1.0 } else { 255.0 };
    Dataset::new(&path.display().to_string(), train, test, full_scale)
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
    let images = entry(archive, x).and_then(pictures::read).map_err(named(x))?;
    let bytes = entry(archive, y).map_err(named(y))?;
    let targets = targets::read(&bytes).map_err(named(y))?;
    let Pictures { shape, pixels, are_numbers } = images;
    let len = shape.iter().product::<usize>() * if are_numbers { size_of::<f32>() } else { 1 };
    let count = pixels.len() / len;
    if targets.len() != count {
        return Err(format!("{y}: targets of {} samples for the {count} images of {x}", targets.len()));
    }
    match are_numbers {
        true => Ok(Split::of(Images::numbers(pixels, shape)?, targets)),
        false => Split::new(pixels, targets, shape),
    }
}

/// The bytes of an array's `.npy` file in the archive.
fn entry(archive: &mut Archive, name: &str) -> Result<Vec<u8>, String> {
    let corrupt = |error: &dyn std::fmt::Display| format!("corrupt or cut off ({error})");
    check_method(archive, name)?;
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

/// Whether an array is compressed in a way that is read.
fn check_method(archive: &mut Archive, name: &str) -> Result<(), String> {
    let Some(index) = archive.index_for_name(&format!("{name}.npy")) else {
        return Err(format!("the archive has `{name}` under another name than `{name}.npy`"));
    };
    let entry = archive.by_index_raw(index).map_err(|error| format!("corrupt or cut off ({error})"))?;
    if entry.encrypted() {
        return Err("encrypted; numpy.savez writes arrays without a password".into());
    }
    let method = entry.compression();
    if [CompressionMethod::STORE, CompressionMethod::DEFLATE].contains(&method) {
        return Ok(());
    }
    let names = [
        (CompressionMethod::DEFLATE64, "deflate64"),
        (CompressionMethod::BZIP2, "bzip2"),
        (CompressionMethod::LZMA, "LZMA"),
        (CompressionMethod::ZSTD, "zstd"),
        (CompressionMethod::XZ, "XZ"),
        (CompressionMethod::PPMD, "PPMd"),
    ];
    let known = names.iter().find(|(known, _)| *known == method);
    let how = known.map_or_else(|| format!("in an unknown way ({method})"), |(_, name)| format!("by {name}"));
    Err(format!("compressed {how}; numpy.savez_compressed writes deflate, which is read"))
}

#[cfg(test)]
#[path = "npz_tests.rs"]
mod tests;
