//! A look at every sample of a data set: what cannot be read, and what is odd about the rest.

use std::collections::HashMap;
use std::path::Path;

use super::pixels::Pixels;
use super::{DataError, Dataset, Split};
use crate::base::{parallel, visible};

/// Files of a data set that come to at most so many bytes are all read before a run begins.
const MOST_READ: u64 = 1 << 25;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    pub images: usize,
    /// Samples that cannot be used.
    pub errors: Vec<String>,
    /// The same picture twice where it should not be, and classes that a split has none of.
    pub warnings: Vec<String>,
}

/// A sample: the number of its split, and its own.
type Sample = (usize, usize);

/// Reads every sample, on all cores; `done` is called after each.
pub fn run(data: &Dataset, done: &(dyn Fn() + Sync)) -> Inspection {
    let splits = splits(data);
    let split_of = |at: usize| (0..splits[at].1.len()).map(move |index| (at, index));
    let samples: Vec<Sample> = (0..splits.len()).flat_map(split_of).collect();
    let read = |(split, index): &Sample| {
        let pixels = splits[*split].1.pixels(*index);
        let hash = pixels.map(|pixels| match &pixels {
            Pixels::Bytes(bytes) => *blake3::hash(bytes).as_bytes(),
            Pixels::Numbers(numbers) => *blake3::hash(numbers.as_flattened()).as_bytes(),
        });
        done();
        hash
    };
    let mut found = Inspection { images: samples.len(), ..Inspection::default() };
    let mut first = HashMap::new();
    for (sample, hash) in samples.iter().zip(parallel::map(&samples, read)) {
        match hash {
            Err(error) => found.errors.push(error.to_string()),
            Ok(hash) => match first.get(&hash) {
                None => _ = first.insert(hash, *sample),
                Some(other) => found.warnings.extend(repeated(&splits, *other, *sample)),
            },
        }
    }
    found.warnings.extend(splits.iter().flat_map(|(name, split)| missing_classes(data, name, split)));
    found
}

/// Reads the pictures of all splits before a run begins, where their files are small, so that one that cannot be read is
/// found before it is needed. What was decoded is kept for the run. Returns whether all were read.
///
/// # Errors
///
/// The first picture that cannot be read, and how many there are.
pub fn read_small(data: &Dataset) -> Result<bool, DataError> {
    let splits = splits(data);
    let samples = splits.iter().flat_map(|(_, split)| (0..split.len()).map(move |index| (*split, index)));
    let samples: Vec<(&Split, usize)> =
        samples.filter(|(split, index)| split.file(*index).is_some()).collect();
    let mut bytes = 0;
    for (split, index) in &samples {
        let data = split.file(*index).map(std::fs::metadata);
        bytes += data.and_then(Result::ok).map_or(0, |data| data.len());
        if bytes > MOST_READ {
            return Ok(false);
        }
    }
    let read = parallel::map(&samples, |(split, index)| split.pixels(*index).err());
    let mut errors = read.into_iter().flatten();
    match (errors.next(), errors.count()) {
        (None, _) => Ok(true),
        (Some(error), 0) => Err(error),
        (Some(error), others) => Err(DataError::Option(format!(
            "{error}\n  and {others} more that cannot be read; `cnnc check --data` lists them all"
        ))),
    }
}

/// The splits and what they are called.
fn splits(data: &Dataset) -> Vec<(&'static str, &Split)> {
    let held_out = data.holdout.iter().map(|split| ("validation", split));
    std::iter::once(("training", &data.train)).chain(held_out).chain([("test", &data.test)]).collect()
}

/// What to say of a sample whose picture an earlier one has.
fn repeated(splits: &[(&str, &Split)], first: Sample, second: Sample) -> Option<String> {
    let class = |(split, index): Sample| splits[split].1.classes().get(index);
    let name = |sample: Sample| name(splits, sample);
    if first.0 != second.0 {
        return Some(format!("{} is the same picture as {}, in another split", name(second), name(first)));
    }
    (class(first) != class(second))
        .then(|| format!("{} is the same picture as {}, of another class", name(second), name(first)))
}

/// A sample as messages name it.
fn name(splits: &[(&str, &Split)], (split, index): Sample) -> String {
    let (kind, split) = splits[split];
    match split.file(index) {
        Some(file) => shown(file),
        None => format!("{kind} image {}", split.place(index)),
    }
}

fn shown(file: &Path) -> String {
    visible::excerpt(&file.display().to_string())
}

/// The classes of which a split has no sample.
fn missing_classes(data: &Dataset, name: &str, split: &Split) -> Option<String> {
    if split.classes().is_empty() {
        return None;
    }
    let mut seen = vec![false; data.classes];
    split.classes().iter().for_each(|class| seen[*class as usize] = true);
    let missing = seen.iter().zip(&data.class_names).filter(|(seen, _)| !**seen);
    let missing: Vec<String> = missing.map(|(_, name)| format!("`{}`", visible::excerpt(name))).collect();
    (!missing.is_empty()).then(|| format!("the {name} split has no image of {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::bytes::Bytes;
    use super::super::images::Images;
    use super::*;

    fn split(pixels: &[u8], labels: &[i32]) -> Split {
        Split::new(Bytes::from(pixels.to_vec()), labels.to_vec(), [1, 1, 1]).unwrap()
    }

    #[test]
    fn repeated_pictures_and_missing_classes_are_told() {
        let (train, test) = (split(&[1, 2, 2, 1, 5], &[0, 1, 1, 2, 2]), split(&[7, 2], &[0, 2]));
        let data = Dataset::new("toy", train, test, 255.0).unwrap();
        let count = AtomicUsize::new(0);
        let found = run(&data, &|| _ = count.fetch_add(1, Ordering::Relaxed));
        assert_eq!((found.images, count.into_inner()), (7, 7));
        let warnings = [
            "training image 3 is the same picture as training image 0, of another class",
            "test image 1 is the same picture as training image 1, in another split",
            "the test split has no image of `1`",
        ];
        assert_eq!((found.errors, found.warnings), (vec![], warnings.map(String::from).to_vec()));
        assert!(read_small(&data).unwrap());
    }

    /// Pictures of floats were errors, all of them.
    #[test]
    fn pictures_of_floats_are_read() {
        let split = |numbers: &[f32], labels: &[i32]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            Split::of(Images::numbers(Bytes::from(bytes), [1, 1, 1]).unwrap(), labels.to_vec())
        };
        let data =
            Dataset::new("toy", split(&[0.5, 2.5], &[0, 1]), split(&[-1.0, 2.5], &[0, 1]), 1.0).unwrap();
        let found = run(&data, &|| ());
        let repeated = "test image 1 is the same picture as training image 1, in another split";
        assert_eq!((found.images, found.errors, found.warnings), (4, vec![], vec![repeated.to_owned()]));
    }
}
