//! Weights in files: safetensors, with the names and layouts of PyTorch.
//!
//! [`save`] and [`load`] move tensors, [`matching`] holds them against what a model expects. A file of another
//! precision is converted to `f32`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView, View};
use safetensors::{SafeTensorError, SafeTensors};

use crate::base::files::{self, replace};
use crate::base::memory;
use crate::base::nearest::nearest;
use crate::base::visible;

/// Of every kind of mismatch, so many tensors are named in an error: the file of another network has hundreds.
const MOST_NAMED: usize = 12;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The extents; empty for a scalar.
    pub shape: Vec<i64>,
    /// Row-major.
    pub elements: Vec<f32>,
}

/// The tensors of a file by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: not a usable safetensors file: {problem}", path.display())]
    Format { path: PathBuf, problem: String },
    #[error("{}: the tensor `{name}` is of type {dtype:?}; F32, F64, F16 and BF16 are read", path.display())]
    Type { path: PathBuf, name: String, dtype: Dtype },
    #[error("{}", mismatch(missing, unknown, shapes))]
    Mismatch { missing: Vec<String>, unknown: Vec<String>, shapes: Vec<ShapeMismatch> },
}

/// A tensor whose shape in the file is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    pub name: String,
    pub expected: Vec<i64>,
    pub found: Vec<i64>,
}

/// A tensor on its way to a file.
struct Outgoing<'a> {
    shape: Vec<usize>,
    elements: &'a [f32],
}

impl View for Outgoing<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match cfg!(target_endian = "little") {
            true => Cow::Borrowed(bytemuck::cast_slice(self.elements)),
            false => self.elements.iter().flat_map(|element| element.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        4 * self.elements.len()
    }
}

/// Writes tensors, each a name, a shape and that many elements, row-major. The file is whole or as it was before.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn save(path: &Path, tensors: &[(&str, &[i64], &[f32])]) -> Result<(), WeightsError> {
    let outgoing = tensors.iter().map(|(name, shape, elements)| {
        (*name, Outgoing { shape: shape.iter().map(|extent| *extent as usize).collect(), elements })
    });
    let written = replace(path, |draft| safetensors::serialize_to_file(outgoing, None, draft));
    written.map_err(|error| match error {
        SafeTensorError::IoError(source) => WeightsError::Io { path: path.to_owned(), source },
        error => format_error(path, &error),
    })
}

/// The tensors of a file, but for PyTorch's counters `num_batches_tracked`, which nothing here needs.
pub fn load(path: &Path) -> Result<Tensors, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    of_bytes(path, &files::read(path).map_err(failed)?)
}

/// The same of a file's bytes; `path` names it in errors.
pub fn of_bytes(path: &Path, file: &[u8]) -> Result<Tensors, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let tensors = SafeTensors::deserialize(file).map_err(|error| format_error(path, &error))?;
    let kept: Vec<_> = tensors.iter().filter(|(name, _)| !is_counter(name)).collect();
    // Elements of a file may be smaller than those that are made of them.
    let elements: usize = kept.iter().map(|(_, view)| view.shape().iter().product::<usize>()).sum();
    memory::check("it", (elements * size_of::<f32>()) as u64).map_err(|shortage| failed(shortage.into()))?;
    kept.into_iter().map(|(name, view)| Ok((name.to_owned(), convert(path, name, &view)?))).collect()
}

fn format_error(path: &Path, error: &SafeTensorError) -> WeightsError {
    WeightsError::Format { path: path.to_owned(), problem: visible::excerpt(&error.to_string()) }
}

fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

fn convert(path: &Path, name: &str, view: &TensorView) -> Result<Tensor, WeightsError> {
    let data = view.data();
    let elements = match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|bytes| half(u16::from_le_bytes(*bytes))).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|bytes| brain(u16::from_le_bytes(*bytes))).collect(),
        dtype => {
            return Err(WeightsError::Type { path: path.to_owned(), name: visible::excerpt(name), dtype });
        }
    };
    let extent = |extent: &usize| i64::try_from(*extent).unwrap_or(i64::MAX);
    Ok(Tensor { shape: view.shape().iter().map(extent).collect(), elements })
}

/// The value of an IEEE half-precision number: 1 bit sign, 5 bits exponent, 10 bits fraction.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// The value of a bfloat16, the upper half of an `f32`.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Tensors in the order in which a model expects them.
#[derive(Debug)]
pub struct Matched {
    /// None for one that was excepted.
    pub tensors: Vec<Option<Tensor>>,
    /// Auxiliary heads of the file that were left out.
    pub skipped: Vec<String>,
}

/// Holds the tensors of a file against those that a model expects, by name and shape.
///
/// Names for which `except` holds are neither expected nor unknown. Auxiliary classifiers of torchvision (`aux1.…`,
/// `AuxLogits.…`) that the model lacks are skipped. All else must agree: the error holds every tensor that is missing,
/// unknown or of another shape.
pub fn matching(
    expected: &[(&str, &[i64])],
    mut tensors: Tensors,
    except: &dyn Fn(&str) -> bool,
) -> Result<Matched, WeightsError> {
    let (mut missing, mut shapes) = (Vec::new(), Vec::new());
    let mut matched = Vec::with_capacity(expected.len());
    for (name, shape) in expected {
        let found = tensors.remove(*name).filter(|_| !except(name));
        match &found {
            Some(tensor) if tensor.shape != *shape => shapes.push(ShapeMismatch {
                name: (*name).to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            }),
            None if !except(name) => missing.push((*name).to_owned()),
            Some(_) | None => {}
        }
        matched.push(found);
    }
    let rest = tensors.into_keys().filter(|name| !except(name));
    let (skipped, unknown): (Vec<_>, Vec<_>) = rest.partition(|name| is_auxiliary(name));
    if missing.is_empty() && unknown.is_empty() && shapes.is_empty() {
        Ok(Matched { tensors: matched, skipped })
    } else {
        Err(WeightsError::Mismatch { missing, unknown, shapes })
    }
}

/// Whether a tensor belongs to an auxiliary classifier of GoogLeNet or Inception.
fn is_auxiliary(name: &str) -> bool {
    matches!(name.split('.').next(), Some("aux1" | "aux2" | "AuxLogits"))
}

fn mismatch(missing: &[String], unknown: &[String], shapes: &[ShapeMismatch]) -> String {
    let mut lines = vec!["the weights do not fit the model".to_owned()];
    list(&mut lines, shapes, |ShapeMismatch { name, expected, found }| {
        format!("`{}` is {found:?} in the file and {expected:?} in the model", visible::excerpt(name))
    });
    list(&mut lines, missing, |name| format!("`{}` is not in the file", visible::excerpt(name)));
    list(&mut lines, unknown, |name| {
        let meant = nearest(name, missing.iter().map(String::as_str));
        let hint = meant.map(|meant| format!("; is it `{meant}`?")).unwrap_or_default();
        format!("`{}` of the file is not in the model{hint}", visible::excerpt(name))
    });
    lines.join("\n")
}

/// Appends a line for each of the first few.
fn list<T>(lines: &mut Vec<String>, items: &[T], line: impl Fn(&T) -> String) {
    lines.extend(items.iter().take(MOST_NAMED).map(|item| format!("  {}", line(item))));
    if items.len() > MOST_NAMED {
        lines.push(format!("  and {} more like it", items.len() - MOST_NAMED));
    }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
