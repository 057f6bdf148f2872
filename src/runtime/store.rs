//! Tensors that outlive a step: parameters, running statistics, the optimiser's moments.
//!
//! Each has room for two values: the present one, which a step reads, and the next one, which it writes.
//! [`Store::commit`] swaps them, so a step that is not accepted leaves no trace, and nothing is ever copied. A step
//! that knows the verdict before it updates anything writes over the present value; then there is no other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::memory::Shortage;

use super::device::{Device, DeviceBuffer, Fault, PersistentBlocks, elements};

/// A persistent tensor, row-major.
pub struct Entry {
    pub path: String,
    pub shape: Vec<i64>,
    present: Box<dyn DeviceBuffer>,
    /// None until a program is bound that stores it.
    next: Option<Box<dyn DeviceBuffer>>,
}

/// All persistent tensors of a model, in the order of its graph, in the memory of a device.
pub struct Store {
    device: Arc<dyn Device>,
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    version: u64,
    structure: u64,
}

/// Why a program cannot run on what it is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("there is no tensor `{0}` for this program")]
    Missing(String),
    #[error("the tensor `{path}` has the shape {found:?}, and this program needs {needed:?}")]
    Shape { path: String, found: Vec<i64>, needed: Vec<i64> },
    #[error("this program has given its memory back")]
    NoMemory,
    #[error("code or memory of the device `{found}` on `{needed}`")]
    Kind { found: &'static str, needed: &'static str },
    #[error("{0}")]
    Shortage(#[from] Shortage),
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// A number that there was not before.
fn new_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    1 + NUMBERS.fetch_add(1, Ordering::Relaxed)
}

impl Entry {
    /// The present values.
    pub fn values(&self) -> Cow<'_, [f32]> {
        elements(self.present.read(0..self.present.bytes()))
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.present.bytes() / size_of::<f32>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the present values to be written, all of them: what is there before is anything.
    pub fn write(&mut self, fill: impl FnOnce(&mut [f32])) {
        let (all, mut fill) = (0..self.present.bytes(), Some(fill));
        self.present.write(all, &mut |bytes| {
            if let Some(fill) = fill.take() {
                fill(bytemuck::cast_slice_mut(bytes));
            }
        });
    }

    /// Replaces the present values.
    ///
    /// # Panics
    ///
    /// Where there are not so many.
    pub fn set(&mut self, values: &[f32]) {
        self.write(|own| own.copy_from_slice(values));
    }
}

impl Store {
    /// No tensors yet, in the memory of a device.
    pub fn on(device: &Arc<dyn Device>) -> Store {
        let (device, structure) = (device.clone(), new_number());
        Store { device, entries: Vec::new(), places: HashMap::new(), version: 0, structure }
    }

    /// Whose memory it is.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

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
        let present = self.device.allocate(bytes_of(shape))?;
        self.restructure();
        self.places.insert(path.into(), self.entries.len());
        self.entries.push(Entry { path: path.into(), shape: shape.to_vec(), present, next: None });
        Ok(self.entries.last_mut().expect("one was just added"))
    }

    /// Makes room for the next values of some tensors.
    pub(super) fn prepare(&mut self, places: impl Iterator<Item = usize>) -> Result<(), Shortage> {
        for at in places {
            let Entry { present, next, .. } = &mut self.entries[at];
            if next.is_none() {
                *next = Some(self.device.allocate(present.bytes())?);
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
        self.restructure();
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

    /// A number that no other store has, nor this one with other tensors: places hold as long as it stays.
    pub(super) fn structure(&self) -> u64 {
        self.structure
    }

    fn change(&mut self) {
        self.version = new_number();
    }

    fn restructure(&mut self) {
        self.structure = new_number();
        self.change();
    }

    pub(super) fn present(&self, at: usize) -> &dyn DeviceBuffer {
        &*self.entries[at].present
    }

    /// The memory of some tensors, for a run.
    pub(super) fn blocks(&mut self, places: &[usize]) -> Vec<PersistentBlocks<'_>> {
        let mut all: Vec<Option<&mut Entry>> = self.entries.iter_mut().map(Some).collect();
        let entries = places.iter().map(|at| all[*at].take().expect("a program has a tensor once"));
        let blocks = entries
            .map(|entry| PersistentBlocks { present: &mut *entry.present, next: entry.next.as_deref_mut() });
        blocks.collect()
    }
}

/// Bytes of a persistent tensor; more than any machine has where they cannot be counted.
pub(super) fn bytes_of(shape: &[i64]) -> usize {
    let extents = shape.iter().map(|extent| usize::try_from(*extent).unwrap_or(usize::MAX));
    extents.fold(size_of::<f32>(), usize::saturating_mul)
}
