//! Units: what the threads run in one go, a launch, or the launches of a group slice by slice.
//!
//! A group may run so where its launches have parallel loops of one length, and what one of them stores is read by the
//! others in the same iteration only. A tensor that only the group uses then needs the memory of one slice, for each
//! thread: its *scratch*. This is a question about the loops alone: each address in such a tensor is a multiple of the
//! parallel axis and a rest below that multiple.

use crate::base::hash::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::kernels::{Kernels, Layouts};
use crate::loops::visit::{Access, for_each_access};
use crate::loops::{AccessMode, Axis, Buffer, ForKind, Function, Index, Stmt};
use crate::sched::Launch;
use crate::te::Tensor;

/// Launches that run as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub launches: Range<usize>,
    /// In how many slices they run; one for a lone launch.
    pub slices: i64,
    /// The tensors of which a thread holds one slice at a time, and the bytes of that.
    pub scratch: BTreeMap<Tensor, usize>,
}

/// Cuts a list of launches into units. `live_out` tensors are needed beyond their group, and launches of which some are
/// `run_once` do not run together.
pub fn units(
    kernels: &Kernels,
    layouts: &Layouts,
    launches: &[Launch],
    live_out: &BTreeSet<Tensor>,
    run_once: &[bool],
) -> Vec<Unit> {
    let mut units = Vec::new();
    let spans = spans(launches);
    let mut start = 0;
    while start < launches.len() {
        let group = launches[start].group;
        let same = launches[start..].iter().take_while(|launch| group.is_some() && launch.group == group);
        let range = start..start + same.count().max(1);
        let alike = run_once[range.clone()].iter().all(|is_run_once| *is_run_once == run_once[start]);
        let alone = |at: usize| Unit { launches: at..at + 1, slices: 1, scratch: BTreeMap::new() };
        let is_inside = |tensor: Tensor| {
            let span = &spans[&tensor];
            range.start <= span.start && span.end <= range.end && !live_out.contains(&tensor)
        };
        let sliced = || sliced(kernels, layouts, launches, range.clone(), &is_inside);
        match (alike && range.len() > 1).then(sliced).flatten() {
            Some(unit) => units.push(unit),
            None => units.extend(range.clone().map(alone)),
        }
        start = range.end;
    }
    units
}

/// The launches from the first to the last that uses a tensor.
fn spans(launches: &[Launch]) -> HashMap<Tensor, Range<usize>> {
    let mut spans: HashMap<Tensor, Range<usize>> = HashMap::default();
    for (at, launch) in launches.iter().enumerate() {
        for tensor in &launch.buffers {
            spans.entry(*tensor).or_insert(at..at + 1).end = at + 1;
        }
    }
    spans
}

/// A group as a unit, if it may run slice by slice. `is_inside` says which tensors nothing else needs.
fn sliced(
    kernels: &Kernels,
    layouts: &Layouts,
    launches: &[Launch],
    range: Range<usize>,
    is_inside: &dyn Fn(Tensor) -> bool,
) -> Option<Unit> {
    let group = &launches[range.clone()];
    let loops: Vec<Axis> =
        group.iter().map(|launch| parallel_axis(&launch.function)).collect::<Option<_>>()?;
    let slices = group[0].function.axes[loops[0]].extent;
    if slices < 2
        || group.iter().zip(&loops).any(|(launch, axis)| launch.function.axes[*axis].extent != slices)
    {
        return None;
    }
    let mut users: BTreeMap<Tensor, Vec<(&Launch, Axis, Buffer)>> = BTreeMap::new();
    for (launch, axis) in group.iter().zip(&loops) {
        for (at, tensor) in launch.buffers.iter().enumerate() {
            users.entry(*tensor).or_default().push((launch, *axis, Buffer::from_u32(at as u32)));
        }
    }
    let mut scratch = BTreeMap::new();
    for (tensor, users) in users {
        let is_written = users
            .iter()
            .any(|(launch, _, buffer)| launch.function.buffers[*buffer].access != AccessMode::Read);
        if !is_written || users.len() < 2 {
            continue;
        }
        let layout = &layouts[&tensor];
        let slice_len = layout.len() as i64 / slices;
        let stays = |(launch, axis, buffer): &(&Launch, Axis, Buffer)| {
            let accesses = accesses(&launch.function, *buffer);
            accesses.iter().all(|access| in_slice(&launch.function, *axis, slice_len, access))
        };
        if slice_len * slices != layout.len() as i64 || !users.iter().all(stays) {
            return None;
        }
        if is_inside(tensor) && layout.fill.is_none() {
            scratch.insert(tensor, slice_len as usize * kernels.program.tensors[tensor].dtype.size());
        }
    }
    Some(Unit { launches: range, slices, scratch })
}

/// The loop that threads share, where a function is nothing else.
fn parallel_axis(function: &Function) -> Option<Axis> {
    match function.body.as_slice() {
        [Stmt::For { axis, kind: ForKind::Parallel, .. }] => Some(*axis),
        _ => None,
    }
}

/// Whether an access stays in the slice of its iteration.
fn in_slice(function: &Function, axis: Axis, slice_len: i64, access: &Access<'_>) -> bool {
    let rest = access.index.add_scaled(&Index::from(axis), -slice_len, &function.axes);
    let (low, high) = rest.range(&function.axes);
    let (first, last) = access.spread();
    !rest.mentions(axis)
        && low.saturating_add(first) >= 0
        && (planted!("plan.slices.next") || high.saturating_add(last) < slice_len)
}

fn accesses(function: &Function, wanted: Buffer) -> Vec<Access<'_>> {
    let mut found = Vec::new();
    for_each_access(function, &mut |access, _| {
        if access.buffer == wanted {
            found.push(access);
        }
    });
    found
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
