//! Which launches run at once, on a machine that is started anew for each of them.
//!
//! Starting a kernel costs such a machine as much as a small one takes, and waiting for the one before as much again. So
//! launches that do not need each other run as one: the gradients of a layer's weights, bias and input, or all updates
//! of an optimiser. In: launches in their order. Out: the same, those that run at once beside each other and with a
//! group of their own. Only tensors count, as there are no addresses yet; what shares memory is decided with the
//! groups in sight.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::{OWN_BYTES, SHARED_BYTES};
use super::slices::Unit;
use super::{Persistent, run_once};
use crate::base::hash::HashMap;
use crate::loops::{AccessMode, Stmt};
use crate::sched::{Grid, Launch};
use crate::te::Tensor;

/// A launch is started this many places earlier at most: what it stores is kept for longer.
const FARTHEST: usize = 16;

/// Statements of launches that run as one, at most: more make a kernel that takes long to compile.
const MOST_STATEMENTS: usize = 4000;

/// Blocks of the arena that a kernel may bind beside those of tensors which outlive runs.
const ARENA_BLOCKS: usize = 4;

/// Puts launches that run at once beside each other, in groups. None of a group stores what another one touches; all
/// or none of them run once, and all come before the verdict is known or all after that.
pub fn run(
    launches: Vec<Launch>,
    persistent: &[Persistent],
    verdict: Option<Tensor>,
    grid: Grid,
) -> Vec<Launch> {
    let run_once = run_once::launches(&launches, persistent);
    let known = verdict.map_or(0, |verdict| super::known_after(&launches, verdict));
    let search = Search { needs: needs(&launches), launches: &launches, run_once, known, persistent, grid };
    let groups = search.groups();
    let mut launches: Vec<Option<Launch>> = launches.into_iter().map(Some).collect();
    let numbered =
        groups.iter().enumerate().flat_map(|(group, members)| members.iter().map(move |at| (group, *at)));
    numbered.filter_map(|(group, at)| Some(Launch { group: Some(group), ..launches[at].take()? })).collect()
}

/// The groups as units.
pub fn units(launches: &[Launch]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (at, launch) in launches.iter().enumerate() {
        match units.last_mut() {
            Some(unit) if launch.group.is_some() && launches[unit.launches.start].group == launch.group => {
                unit.launches.end = at + 1;
            }
            _ => units.push(Unit { launches: at..at + 1, slices: 1, scratch: BTreeMap::new() }),
        }
    }
    units
}

struct Search<'a> {
    launches: &'a [Launch],
    /// The launches that each one has to wait for.
    needs: Vec<BTreeSet<usize>>,
    run_once: Vec<bool>,
    /// The first launches, after which the verdict is known.
    known: usize,
    persistent: &'a [Persistent],
    grid: Grid,
}

impl Search<'_> {
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut open: BTreeSet<usize> = (0..self.launches.len()).collect();
        let mut groups = Vec::new();
        while let Some(first) = open.first().copied() {
            let mut group = vec![first];
            for at in open.range(first + 1..).take(FARTHEST) {
                let is_ready = self.needs[*at].iter().all(|needed| !open.contains(needed));
                if is_ready && self.is_like(first, *at) && self.fits(&group, *at) {
                    group.push(*at);
                }
            }
            group.iter().for_each(|at| {
                open.remove(at);
            });
            groups.push(group);
        }
        groups
    }

    fn is_like(&self, one: usize, other: usize) -> bool {
        self.run_once[one] == self.run_once[other] && (one < self.known) == (other < self.known)
    }

    /// Whether a kernel can be made of a group and one more.
    fn fits(&self, group: &[usize], other: usize) -> bool {
        let all = || group.iter().chain([&other]).map(|at| &self.launches[*at]);
        let size: usize = all().map(|launch| statements(&launch.function.body)).sum();
        let tensors = all().flat_map(|launch| launch.buffers.iter().zip(launch.function.buffers.values()));
        let outlives = |tensor: Tensor| {
            self.persistent.iter().any(|known| known.present == tensor || known.next == Some(tensor))
        };
        let kept = tensors.filter(|(tensor, _)| outlives(**tensor));
        let kept: BTreeMap<Tensor, u64> =
            kept.map(|(tensor, data)| (*tensor, (data.len * data.dtype.size()) as u64)).collect();
        let large = kept.values().filter(|bytes| **bytes >= OWN_BYTES).count();
        let small: u64 = kept.values().filter(|bytes| **bytes < OWN_BYTES).sum();
        // Small ones may lie in one more block than they fill, as each block has others too.
        let shared = usize::from(small > 0) + small.div_ceil(SHARED_BYTES) as usize;
        size <= MOST_STATEMENTS && large + shared + ARENA_BLOCKS <= self.grid.blocks
    }
}

/// For each launch those before it that store what it loads, or load what it stores. Those that only store parts of
/// one tensor store different parts.
fn needs(launches: &[Launch]) -> Vec<BTreeSet<usize>> {
    let (mut writers, mut readers): (HashMap<Tensor, Vec<usize>>, HashMap<Tensor, Vec<usize>>) =
        Default::default();
    let mut needs = Vec::new();
    for (at, launch) in launches.iter().enumerate() {
        let mut needed = BTreeSet::new();
        for (tensor, data) in launch.buffers.iter().zip(launch.function.buffers.values()) {
            if data.access != AccessMode::Write {
                needed.extend(writers.get(tensor).into_iter().flatten().copied());
            }
            if data.access != AccessMode::Read {
                needed.extend(readers.get(tensor).into_iter().flatten().copied());
            }
        }
        for (tensor, data) in launch.buffers.iter().zip(launch.function.buffers.values()) {
            if data.access != AccessMode::Write {
                readers.entry(*tensor).or_default().push(at);
            }
            if data.access != AccessMode::Read {
                writers.entry(*tensor).or_default().push(at);
            }
        }
        needs.push(needed);
    }
    needs
}

fn statements(body: &[Stmt]) -> usize {
    let inside = |stmt: &Stmt| match stmt {
        Stmt::For { body, .. } => 1 + statements(body),
        Stmt::If { then, otherwise, .. } => 1 + statements(then) + statements(otherwise),
        Stmt::Set { .. } | Stmt::Store { .. } => 1,
    };
    body.iter().map(inside).sum()
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;
