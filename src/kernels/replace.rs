//! What could be computed in the memory of what it is computed from.
//!
//! A result that reads a tensor at its own element only may take that tensor's memory, if it is the last to read it:
//! then the order of kernels and the layouts should let it. The plan decides, when it sees the loops.

use crate::base::hash::{HashMap, HashSet};
use std::collections::BTreeSet;
use std::ops::Range;

use super::order::DependenceGraph;
use super::slices::Group;
use super::{Kernel, Kernels, Layouts};
use crate::te::{Expr, Program, Tensor};

/// A tensor, and the result that could replace it.
pub type Pair = (Tensor, Tensor);

/// Puts kernels in an order in which results come after all other readers of what they could replace, as far as that
/// can be; the largest tensors come first where two of them exclude each other. What replaces persistent tensors
/// (present and next value) then comes as soon as it can: its gradient need not wait. The kernels of a group stay
/// together. Gives the pairs of tensors that are not kept.
pub fn order(kernels: &mut Kernels, persistent: &[Pair], groups: &mut [Group]) -> Vec<Pair> {
    let program = &kernels.program;
    let mut order = DependenceGraph::of(program, &kernels.kernels);
    let mut ranges: Vec<Range<usize>> = (0..kernels.kernels.len()).map(|at| at..at + 1).collect();
    for group in groups.iter() {
        ranges[group.kernels.clone()].fill(group.kernels.clone());
    }
    let members = |at: usize| ranges[at].clone();
    // The last kernel of a group stands for all of it.
    let stands = |at: usize| members(at).end - 1;
    for group in groups.iter() {
        let last = group.kernels.end - 1;
        group.kernels.clone().take_while(|at| *at < last).for_each(|at| order.merge(last, at));
    }
    let results: Vec<BTreeSet<Tensor>> = kernels.kernels.iter().map(Kernel::results).collect();
    let outside: HashSet<Tensor> = program.inputs.iter().chain(&program.outputs).copied().collect();
    let updates: HashMap<Tensor, Pair> = persistent.iter().map(|pair| (pair.1, *pair)).collect();
    let mut candidates: Vec<(usize, Pair)> = Vec::new();
    for (at, kernel) in kernels.kernels.iter().enumerate() {
        let others = members(at).filter(|other| *other != at);
        let needed: BTreeSet<Tensor> =
            others.flat_map(|other| kernels.kernels[other].reads(program)).collect();
        let pairs = pairs(kernels, kernel, &outside).into_iter().filter(|(old, _)| !needed.contains(old));
        candidates.extend(pairs.map(|pair| (stands(at), pair)));
        let updates = results[at].iter().filter_map(|result| updates.get(result));
        candidates.extend(updates.map(|pair| (stands(at), *pair)));
    }
    candidates.sort_by_key(|(at, (old, _))| (std::cmp::Reverse(program.tensors[*old].len()), *at));
    let (mut taken, mut found) = (BTreeSet::new(), Vec::new());
    for (writer, (old, new)) in candidates {
        if !taken.contains(&old) && !taken.contains(&new) && order.comes_last(writer, old) {
            taken.extend([old, new]);
            found.push((old, new));
        }
    }
    let nexts: BTreeSet<Tensor> = persistent.iter().map(|(_, next)| *next).collect();
    let sorted = order.sorted(|at| stands(at) == at, |at| results[at].is_subset(&nexts));
    let sorted: Vec<usize> = sorted.into_iter().flat_map(members).collect();
    let places: HashMap<usize, usize> = sorted.iter().enumerate().map(|(place, at)| (*at, place)).collect();
    for group in groups {
        let start = places[&group.kernels.start];
        group.kernels = start..start + group.kernels.len();
    }
    let mut old: Vec<Option<Kernel>> = std::mem::take(&mut kernels.kernels).into_iter().map(Some).collect();
    kernels.kernels = sorted.into_iter().filter_map(|at| old[at].take()).collect();
    found.retain(|(_, new)| !nexts.contains(new));
    found
}

/// The stored tensors that a kernel reads only where it stores a result, with that result, but for inputs and outputs.
fn pairs(kernels: &Kernels, kernel: &Kernel, outside: &HashSet<Tensor>) -> Vec<Pair> {
    let program = &kernels.program;
    let own = kernel.results();
    let is_free = |tensor: &Tensor| kernels.stored.contains(tensor) && !outside.contains(tensor);
    let results: Vec<Tensor> = own.iter().copied().filter(&is_free).collect();
    let reads = kernel.reads(program);
    let olds: Vec<Tensor> =
        reads.into_iter().filter(|tensor| is_free(tensor) && !own.contains(tensor)).collect();
    let mut found = Vec::new();
    for old in olds {
        let alike = |new: &&Tensor| {
            let (old, new) = (&program.tensors[old], &program.tensors[**new]);
            old.shape == new.shape && old.dtype == new.dtype && old.len() > 1
        };
        let new = results.iter().filter(alike).find(|new| reads_only_at(program, kernel, old, **new));
        found.extend(new.map(|new| (old, *new)));
    }
    found
}

/// Whether a kernel reads a tensor nowhere but at the element of a result that the same nest computes.
fn reads_only_at(program: &Program, kernel: &Kernel, old: Tensor, new: Tensor) -> bool {
    kernel.nests.iter().all(|nest| {
        let result = nest.statements.iter().find(|statement| statement.result == new);
        let mut fits = true;
        for statement in &nest.statements {
            program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &program.exprs[id]
                    && *tensor == old
                {
                    fits &= result.is_some_and(|result| program.is_same_element(index, &result.at));
                }
            });
        }
        fits
    })
}

/// Gives tensors that could share memory one layout: the wider halo of the two.
pub fn share_halos(layouts: &mut Layouts, pairs: &[Pair]) {
    // Twice, as a tensor may stand in two pairs.
    for (old, new) in pairs.iter().chain(pairs.iter().rev()) {
        let (Some(one), Some(other)) = (layouts.get(old), layouts.get(new)) else { continue };
        let same_fill = one.fill.is_none() || other.fill.is_none() || one.fill == other.fill;
        if !same_fill || (one.lane_dim, one.lanes) != (other.lane_dim, other.lanes) {
            continue;
        }
        let mut shared = one.clone();
        shared.fill = one.fill.or(other.fill);
        shared.halo = one.halo.iter().zip(&other.halo).map(|(x, y)| (x.0.max(y.0), x.1.max(y.1))).collect();
        layouts.insert(*old, shared.clone());
        layouts.insert(*new, shared);
    }
}
