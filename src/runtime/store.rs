//! Tensors that outlive a step: parameters, running statistics, the optimiser's moments.
//!
//! Each has room for two values: the present one, which a step reads, and the next one, which it writes.
//! [`Store::commit`] swaps them, so a step that is not accepted leaves no trace, and nothing is ever copied. A step
//! that knows the verdict before it updates anything writes over the present value; then there is no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::memory::Shortage;

use super::memory::Memory;

/// A kept tensor, row-major.
pub struct Entry {
    pub path: String,
    pub shape: Vec<i64>,
    present: Memory,
    /// None until a program stores it.
    next: Option<Memory>,
}

/// All kept tensors of a model, in the order of its graph.
#[derive(Default)]
pub struct Store {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    version: u64,
}

/// Why a program cannot run on what it is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("there is no tensor `{0}` for this program")]
    Missing(String),
    #[error("the tensor `{path}` has the shape {found:?}, and this program needs {needed:?}")]
    Shape { path: String, found: Vec<i64>, needed: Vec<i64> },
    #[error("the memory of this program was given to another one")]
    NoMemory,
    #[error("{0}")]
    Shortage(#[from] Shortage),
}

/// The versions of all stores so far.
static VERSIONS: AtomicU64 = AtomicU64::new(0);

impl Entry {
    fn len(&self) -> usize {
        self.present.bytes() / size_of::<f32>()
    }

    /// The present values.
    pub fn values(&self) -> &[f32] {
        self.present.floats(0, self.len())
    }

    /// The present values, to change.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let len = self.len();
        self.present.floats_mut(0, len)
    }
}

impl Store {
    /// Adds a tensor of zeros.
    ///
    /// # Errors
    ///
    /// Where there is no memory for it.
    ///
    /// # Panics
    ///
    /// Where there is one of that path.
    pub fn add(&mut self, path: &str, shape: &[i64]) -> Result<&mut Entry, Shortage> {
        assert!(self.position(path).is_none(), "two tensors `{path}`");
        self.change();
        let present = Memory::zeroed(bytes_of(shape))?;
        self.places.insert(path.into(), self.entries.len());
        self.entries.push(Entry { path: path.into(), shape: shape.to_vec(), present, next: None });
        Ok(self.entries.last_mut().expect("one was just added"))
    }

    /// Makes room for the next values of some tensors.
    pub(super) fn prepare(&mut self, places: impl Iterator<Item = usize>) -> Result<(), Shortage> {
        for at in places {
            let Entry { present, next, .. } = &mut self.entries[at];
            if next.is_none() {
                *next = Some(Memory::zeroed(present.bytes())?);
            }
        }
        Ok(())
    }

    /// All tensors.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All tensors, to change.
    pub fn entries_mut(&mut self) -> &mut [Entry] {
        if !planted!("runtime.store.given") {
            self.change();
        }
        &mut self.entries
    }

    /// The place of a tensor by its path.
    pub fn position(&self, path: &str) -> Option<usize> {
        self.places.get(path).copied()
    }

    /// The place of a tensor of this path and shape.
    ///
    /// # Errors
    ///
    /// Where there is none, or one of another shape.
    pub fn find(&self, path: &str, shape: &[i64]) -> Result<usize, Mismatch> {
        let at = self.position(path).ok_or_else(|| Mismatch::Missing(path.into()))?;
        let found = &self.entries[at].shape;
        match found == shape {
            true => Ok(at),
            false => Err(Mismatch::Shape { path: path.into(), found: found.clone(), needed: shape.into() }),
        }
    }

    /// Drops the tensors whose paths begin so: a new phase begins with a fresh optimiser, and knows nothing of another.
    pub fn drop_all(&mut self, prefix: &str) {
        self.change();
        self.entries.retain(|entry| !entry.path.starts_with(prefix));
        let places = self.entries.iter().enumerate().map(|(at, entry)| (entry.path.clone(), at));
        self.places = places.collect();
    }

    /// Makes the next values of some tensors the present ones; those `in_place` have been stored over already.
    pub fn commit(&mut self, next: &[usize], in_place: bool) {
        if (in_place && !planted!("runtime.store.in_place")) || !next.is_empty() {
            self.change();
        }
        for at in next {
            let Entry { present, next, .. } = &mut self.entries[*at];
            std::mem::swap(present, next.as_mut().expect("a step has stored it"));
        }
    }

    /// A number that no other store has, nor this one with other present values.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn change(&mut self) {
        self.version = 1 + VERSIONS.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn memory(&self, at: usize) -> &Memory {
        &self.entries[at].present
    }

    pub(super) fn present(&self, at: usize) -> *mut u8 {
        self.entries[at].present.at(0)
    }

    pub(super) fn next(&self, at: usize) -> *mut u8 {
        self.entries[at].next.as_ref().map_or(std::ptr::null_mut(), |next| next.at(0))
    }
}

/// Bytes of a kept tensor; more than any machine has where they cannot be counted.
pub(super) fn bytes_of(shape: &[i64]) -> usize {
    let extents = shape.iter().map(|extent| usize::try_from(*extent).unwrap_or(usize::MAX));
    extents.fold(size_of::<f32>(), usize::saturating_mul)
}
