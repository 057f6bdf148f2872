//! From an array of targets to classes, classes of pixels, or numbers: its type says which.

use super::super::npy::{self, Kind, Raw};
use super::super::targets::Targets;

/// Classes are counted from 0, and each has a name.
const MOST_CLASSES: i32 = 1_000_000;

/// The targets in a `.npy` file: integers `[N]` or `[N, 1]` are classes, integers and truth values of other shapes classes
/// of what their axes count, floats numbers.
///
/// # Errors
///
/// What is wrong with them, in words.
pub fn read(file: &[u8]) -> Result<Targets, String> {
    let raw = npy::raw(file)?;
    let Some((_, shape)) = raw.shape.split_first() else {
        return Err("one number; targets have an axis for the samples".into());
    };
    if shape.contains(&0) {
        return Err(format!("targets of the shape {:?} have no elements", raw.shape));
    }
    match (raw.element.kind, shape) {
        (Kind::Float, _) => Ok(Targets::Numbers { numbers: numbers(&raw)?, shape: shape.to_vec() }),
        (Kind::Signed | Kind::Unsigned, [] | [1]) => labels(&raw).map(Targets::Classes),
        (Kind::Signed | Kind::Unsigned, _) => {
            Ok(Targets::Labels { labels: labels(&raw)?, shape: shape.to_vec() })
        }
        (Kind::Truth, _) => {
            let bytes = raw.row_major()?;
            let labels = bytes.iter().map(|byte| i32::from(*byte != 0)).collect();
            Ok(match shape {
                [] | [1] => Targets::Classes(labels),
                _ => Targets::Labels { labels, shape: shape.to_vec() },
            })
        }
    }
}

/// Numbers that are finite: of others, no loss would be.
fn numbers(raw: &Raw<'_>) -> Result<Vec<f32>, String> {
    let numbers = raw.numbers()?;
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(numbers),
        Some(at) => Err(format!("the element {} is {}", place(at, &raw.shape), numbers[at])),
    }
}

fn labels(raw: &Raw<'_>) -> Result<Vec<i32>, String> {
    let data = raw.row_major()?;
    let integers = data.chunks_exact(raw.element.size).filter_map(|bytes| raw.element.integer(bytes));
    let label = |(at, value): (usize, i128)| {
        let wrong = |what: String| format!("label {} is {value}; {what}", place(at, &raw.shape));
        match i32::try_from(value) {
            Ok(label @ 0..MOST_CLASSES) => Ok(label),
            _ if value < 0 => Err(wrong("classes are counted from 0".into())),
            _ => Err(wrong(format!("there are at most {MOST_CLASSES} classes"))),
        }
    };
    integers.enumerate().map(label).collect()
}

/// The indices of an element, or its number where there is one axis.
fn place(at: usize, shape: &[usize]) -> String {
    if shape[1..].iter().all(|extent| *extent == 1) {
        return at.to_string();
    }
    let mut rest = at;
    let mut indices: Vec<usize> = Vec::new();
    for extent in shape.iter().rev() {
        indices.push(rest % extent);
        rest /= extent;
    }
    indices.reverse();
    format!("{indices:?}")
}
