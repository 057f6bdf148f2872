//! The verifier of memory plans. It holds what native code takes on trust beside its own loops:
//!
//! 1. A buffer of a function has the type of its tensor, and as many elements as the tensor's layout.
//! 2. A tensor lies inside the memory that its place names, at a multiple of its element: in the arena; or, row-major, in
//!    a persistent tensor of its shape; or one slice of it in the scratch of a thread, where the launch runs slice by slice.

use super::slices::Unit;
use super::{MemoryPlan, Persistent, Placement};
use crate::kernels::{Kernels, Layout, Layouts};
use crate::loops::verifier::Invalid;
use crate::sched::Launch;
use crate::te::{Tensor, TensorData};

/// Everything that is wrong with where the buffers of some launches lie.
///
/// # Errors
///
/// What of the above does not hold, with the names of launches and tensors.
pub fn verify(
    kernels: &Kernels,
    layouts: &Layouts,
    launches: &[Launch],
    persistent: &[Persistent],
    plan: &MemoryPlan,
) -> Result<(), Invalid> {
    let verifier = Verifier { kernels, layouts, persistent, plan };
    let of_launch = |(unit, launch)| verifier.launch(unit, launch);
    let units = plan.units.iter().flat_map(|unit| unit.launches.clone().map(move |_| unit));
    let findings: Vec<String> = units.zip(launches).flat_map(of_launch).collect();
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Invalid { name: "the memory plan".into(), findings }),
    }
}

struct Verifier<'a> {
    kernels: &'a Kernels,
    layouts: &'a Layouts,
    persistent: &'a [Persistent],
    plan: &'a MemoryPlan,
}

impl Verifier<'_> {
    fn launch(&self, unit: &Unit, launch: &Launch) -> Vec<String> {
        let (function, tensors) = (&launch.function, &launch.buffers);
        if function.buffers.len() != tensors.len() {
            let (buffers, tensors) = (function.buffers.len(), tensors.len());
            return vec![format!("`{}` has {buffers} buffers for {tensors} tensors", function.name)];
        }
        let mut findings = Vec::new();
        for (data, tensor) in function.buffers.values().zip(tensors) {
            let TensorData { name, dtype, .. } = &self.kernels.program.tensors[*tensor];
            let finding = match self.layouts.get(tensor) {
                None => Some("has no layout".into()),
                Some(layout) if (data.dtype, data.len) != (*dtype, layout.len()) => Some(format!(
                    "is {} elements {}, and the buffer {} elements {}",
                    layout.len(),
                    dtype,
                    data.len,
                    data.dtype
                )),
                Some(layout) => self.place(unit, *tensor, layout, dtype.size()),
            };
            findings
                .extend(finding.map(|finding| format!("`{}`: `{name}` ({tensor}) {finding}", function.name)));
        }
        findings
    }

    /// What is wrong with the place of a tensor that a unit uses.
    fn place(&self, unit: &Unit, tensor: Tensor, layout: &Layout, size: usize) -> Option<String> {
        let Some(bytes) = layout.len().checked_mul(size) else {
            return Some("has more bytes than numbers say".into());
        };
        let inside = |offset: usize, bytes: usize, of: usize| {
            let end = offset.checked_add(bytes);
            let fits = end.is_some_and(|end| end <= of) && offset.is_multiple_of(size);
            (!fits).then(|| format!("lies at {offset}, with {bytes} bytes, in memory of {of}"))
        };
        match self.plan.places.get(&tensor) {
            None => Some("has no place".into()),
            Some(Placement::Arena(offset)) => inside(*offset, bytes, self.plan.arena_bytes),
            Some(Placement::Scratch { offset, slice }) => {
                let slices = if unit.scratch.contains_key(&tensor) { unit.slices } else { 0 };
                match slice.checked_mul(slices as usize) {
                    Some(all) if all == bytes => inside(*offset, *slice, self.plan.scratch_bytes),
                    _ => Some(format!("has {bytes} bytes, and {slices} slices of {slice}")),
                }
            }
            Some(Placement::Present(at) | Placement::Next(at)) => {
                let Some(persistent) = self.persistent.get(*at) else {
                    return Some("is no persistent tensor".into());
                };
                let shape = &self.kernels.program.tensors[persistent.present].shape;
                let is_plain = *layout == Layout::new(shape, None, 1) && size == 4;
                (!is_plain).then(|| format!("lies in a persistent tensor of another layout, {shape:?}"))
            }
        }
    }
}
