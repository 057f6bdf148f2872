//! Weights in files: safetensors, with the names and layouts of PyTorch, and PyTorch's own files of a state dict.
//!
//! [`save`] and [`load`] move tensors, [`matching`] holds them against what a model expects, [`Provenance`] says whose
//! they are. A file of another precision is converted to `f32`.

mod elements;
mod matching;
mod pickle;
mod provenance;
mod safetensors;
mod torch;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ::safetensors::SafeTensorError;
use ::safetensors::tensor::{Dtype, View};

use crate::base::files::{self, replace};
use crate::base::memory::Shortage;
use crate::base::nearest::nearest;
use crate::base::visible;
use crate::runtime::Fault;

pub use matching::{Matched, matching};
pub use provenance::Provenance;

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

/// What a file of weights holds, but for PyTorch's counters `num_batches_tracked`, which nothing here needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    pub tensors: Tensors,
    /// The types of tensors whose elements are no floating-point numbers.
    pub others: BTreeMap<String, String>,
    pub provenance: Provenance,
}

/// Why bytes are no weights.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("not a usable safetensors file: {0}")]
    Safetensors(String),
    #[error("not a usable file of PyTorch: {0}")]
    Torch(String),
    #[error("{0}")]
    Memory(#[from] Shortage),
}

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Format { path: PathBuf, problem: Problem },
    #[error("the tensor `{name}` is of type {kind}; F32, F64, F16 and BF16 are read")]
    Type { name: String, kind: String },
    #[error("{}", mismatch(missing, unknown, shapes))]
    Mismatch { missing: Vec<String>, unknown: Vec<String>, shapes: Vec<ShapeMismatch> },
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// A tensor whose shape in the file is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    pub name: String,
    pub expected: Vec<i64>,
    pub found: Vec<i64>,
}

/// A tensor to be written: its name, its extents, its elements.
pub type Named<'a> = (&'a str, &'a [i64], Cow<'a, [f32]>);

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
pub fn save(path: &Path, tensors: &[Named<'_>], provenance: Option<&Provenance>) -> Result<(), WeightsError> {
    let outgoing = tensors.iter().map(|(name, shape, elements)| {
        (*name, Outgoing { shape: shape.iter().map(|extent| *extent as usize).collect(), elements })
    });
    let metadata = provenance.map(Provenance::metadata);
    let written = replace(path, |draft| ::safetensors::serialize_to_file(outgoing, metadata, draft));
    written.map_err(|error| match error {
        SafeTensorError::IoError(source) => WeightsError::Io { path: path.to_owned(), source },
        error => {
            let problem = Problem::Safetensors(visible::excerpt(&error.to_string()));
            WeightsError::Format { path: path.to_owned(), problem }
        }
    })
}

/// What a file holds.
///
/// # Errors
///
/// A file that cannot be read, and those of [`read`].
pub fn load(path: &Path) -> Result<Contents, WeightsError> {
    let file = files::read(path).map_err(|source| WeightsError::Io { path: path.to_owned(), source })?;
    read(&file).map_err(|problem| WeightsError::Format { path: path.to_owned(), problem })
}

/// What a file of these bytes holds, whichever format they begin with.
///
/// # Errors
///
/// Bytes of neither format, and where there is no memory for the elements.
pub fn read(file: &[u8]) -> Result<Contents, Problem> {
    if torch::is_one(file) { torch::read(file) } else { safetensors::read(file) }
}

fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
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
