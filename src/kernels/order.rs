//! The order of kernels while they join: who reads whose results, and whether a way leads from one to another.

use crate::base::hash::{HashMap, HashSet};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::Kernel;
use crate::te::{Program, Tensor};

/// Who reads whose results, kept up to date while kernels join.
///
/// `rank` is an order in which every kernel stands before its readers. A search for a way between two kernels looks
/// only at those between them in this order, and a join repairs the order only there (Pearce and Kelly, 2006).
pub struct DependenceGraph {
    predecessors: Vec<BTreeSet<usize>>,
    pub successors: Vec<BTreeSet<usize>>,
    /// The kernels that read a tensor.
    readers: BTreeMap<Tensor, BTreeSet<usize>>,
    /// The tensors of more than one element: kernels that read one of them might be siblings.
    wide: HashSet<Tensor>,
    pub reads: Vec<BTreeSet<Tensor>>,
    rank: Vec<usize>,
    /// The search that has seen a kernel last, and the number of searches. One for a way looks from both of its ends.
    seen: Vec<usize>,
    met: Vec<usize>,
    searches: usize,
}

impl DependenceGraph {
    /// The order of kernels as they stand.
    pub fn of(program: &Program, kernels: &[Kernel]) -> DependenceGraph {
        let mut owner = HashMap::default();
        for (at, kernel) in kernels.iter().enumerate() {
            owner.extend(kernel.results().into_iter().map(|tensor| (tensor, at)));
        }
        let mut order = DependenceGraph {
            predecessors: vec![BTreeSet::new(); kernels.len()],
            successors: vec![BTreeSet::new(); kernels.len()],
            readers: BTreeMap::new(),
            wide: HashSet::default(),
            reads: kernels.iter().map(|kernel| kernel.reads(program)).collect(),
            rank: (0..kernels.len()).collect(),
            seen: vec![0; kernels.len()],
            met: vec![0; kernels.len()],
            searches: 0,
        };
        for at in 0..kernels.len() {
            for tensor in order.reads[at].clone() {
                order.readers.entry(tensor).or_default().insert(at);
                if program.tensors[tensor].len() > 1 {
                    order.wide.insert(tensor);
                }
                if let Some(from) = owner.get(&tensor).filter(|from| **from != at) {
                    order.predecessors[at].insert(*from);
                    order.successors[*from].insert(at);
                }
            }
        }
        order
    }

    /// The kernels worth joining with this one: those it reads from, and those that read what it reads.
    pub fn neighbours(&self, at: usize) -> Vec<usize> {
        let wide = self.reads[at].iter().filter(|tensor| self.wide.contains(tensor));
        let siblings = wide.filter_map(|tensor| self.readers.get(tensor)).flatten();
        let found: BTreeSet<usize> = siblings.chain(&self.predecessors[at]).copied().collect();
        found.into_iter().filter(|other| *other != at).collect()
    }

    /// Whether two kernels read a common tensor of more than one element.
    pub fn share_wide(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.reads[one], &self.reads[other]);
        let (few, many) = if one.len() < other.len() { (one, other) } else { (other, one) };
        few.iter().any(|tensor| self.wide.contains(tensor) && many.contains(tensor))
    }

    /// Lets one kernel stand for two, between which no way passes a third one.
    pub fn merge(&mut self, stays: usize, goes: usize) {
        self.rank_as_one(stays, goes);
        let (before, after) =
            (std::mem::take(&mut self.predecessors[goes]), std::mem::take(&mut self.successors[goes]));
        for other in before {
            self.successors[other].remove(&goes);
            if other != stays {
                self.successors[other].insert(stays);
                self.predecessors[stays].insert(other);
            }
        }
        for other in after {
            self.predecessors[other].remove(&goes);
            if other != stays {
                self.predecessors[other].insert(stays);
                self.successors[stays].insert(other);
            }
        }
        for tensor in std::mem::take(&mut self.reads[goes]) {
            if let Some(readers) = self.readers.get_mut(&tensor) {
                readers.remove(&goes);
                readers.insert(stays);
            }
            self.reads[stays].insert(tensor);
        }
    }

    /// Gives two kernels one rank: what leads to one of them stands before it, what follows from one behind it.
    fn rank_as_one(&mut self, stays: usize, goes: usize) {
        let (first, last) = if self.rank[stays] < self.rank[goes] { (stays, goes) } else { (goes, stays) };
        let (low, high) = (self.rank[first], self.rank[last]);
        // Often one of the two can move over to the other, without a search for what is between them.
        let moves_up = self.predecessors[last].iter().all(|at| self.rank[*at] <= low);
        if moves_up || self.successors[first].iter().all(|at| self.rank[*at] >= high) {
            let rank = if moves_up { low } else { high };
            (self.rank[first], self.rank[last]) = (rank, rank);
            return;
        }
        let mut after = self.search(first, |order, at| (&order.successors[at], order.rank[at] < high));
        let mut before = self.search(last, |order, at| (&order.predecessors[at], order.rank[at] > low));
        let moved = before.iter().chain(&after);
        let mut ranks: Vec<usize> = moved.map(|at| self.rank[*at]).chain([low, high]).collect();
        ranks.sort_unstable();
        before.sort_by_key(|at| self.rank[*at]);
        after.sort_by_key(|at| self.rank[*at]);
        for (at, rank) in before.iter().zip(&ranks) {
            self.rank[*at] = *rank;
        }
        self.rank[stays] = ranks[before.len()];
        self.rank[goes] = ranks[before.len()];
        for (at, rank) in after.iter().rev().zip(ranks.iter().rev()) {
            self.rank[*at] = *rank;
        }
    }

    /// The kernels beyond one, each once: `next` gives the neighbours of a kernel, and whether it is to be entered.
    fn search(
        &mut self,
        from: usize,
        next: impl Fn(&DependenceGraph, usize) -> (&BTreeSet<usize>, bool),
    ) -> Vec<usize> {
        self.searches += 1;
        let (mut found, mut open) = (Vec::new(), vec![from]);
        while let Some(at) = open.pop() {
            for neighbour in next(self, at).0.clone() {
                if next(self, neighbour).1 && self.seen[neighbour] != self.searches {
                    self.seen[neighbour] = self.searches;
                    found.push(neighbour);
                    open.push(neighbour);
                }
            }
        }
        found
    }

    /// Whether a way leads from one to the other that passes a third kernel.
    pub fn reaches_through_others(&mut self, from: usize, to: usize) -> bool {
        let DependenceGraph { predecessors, successors, rank, seen, met, searches, .. } = self;
        *searches += 1;
        let (start, end) = (rank[from], rank[to]);
        let is_between = |at: &usize| (start + 1..end).contains(&rank[*at]);
        // From both ends by turns, so the search is over when the shorter side is.
        let mut after: BinaryHeap<(usize, usize)> = BinaryHeap::new();
        let mut before: BinaryHeap<(Reverse<usize>, usize)> = BinaryHeap::new();
        let (mut forwards, mut backwards) = (from, to);
        loop {
            for next in successors[forwards].iter().copied().filter(is_between) {
                if met[next] == *searches {
                    return true;
                }
                if std::mem::replace(&mut seen[next], *searches) != *searches {
                    after.push((rank[next], next));
                }
            }
            for next in predecessors[backwards].iter().copied().filter(is_between) {
                if seen[next] == *searches {
                    return true;
                }
                if std::mem::replace(&mut met[next], *searches) != *searches {
                    before.push((Reverse(rank[next]), next));
                }
            }
            // The kernels next to the other end are the likeliest.
            let (Some((_, last)), Some((_, first))) = (after.pop(), before.pop()) else { return false };
            (forwards, backwards) = (last, first);
        }
    }

    /// Lets a kernel come after all others that read a tensor. Says whether that can be; if not, nothing changes.
    pub fn comes_last(&mut self, kernel: usize, tensor: Tensor) -> bool {
        let readers = self.readers.get(&tensor).into_iter().flatten().copied();
        let readers: Vec<usize> = readers.filter(|at| *at != kernel).collect();
        if readers.iter().any(|reader| self.reaches(kernel, *reader)) {
            return false;
        }
        for reader in readers {
            self.put_behind(reader, kernel);
        }
        true
    }

    /// Whether a way leads from one to the other.
    fn reaches(&mut self, from: usize, to: usize) -> bool {
        self.successors[from].contains(&to) || self.reaches_through_others(from, to)
    }

    /// Lets a kernel, from which no way leads to another one, come after that.
    fn put_behind(&mut self, first: usize, last: usize) {
        self.successors[first].insert(last);
        self.predecessors[last].insert(first);
        let (low, high) = (self.rank[last], self.rank[first]);
        if high < low {
            return;
        }
        let mut after = self.search(last, |order, at| (&order.successors[at], order.rank[at] < high));
        let mut before = self.search(first, |order, at| (&order.predecessors[at], order.rank[at] > low));
        after.push(last);
        before.push(first);
        after.sort_by_key(|at| self.rank[*at]);
        before.sort_by_key(|at| self.rank[*at]);
        let moved = before.iter().chain(&after);
        let mut ranks: Vec<usize> = moved.clone().map(|at| self.rank[*at]).collect();
        ranks.sort_unstable();
        for (at, rank) in moved.zip(ranks) {
            self.rank[*at] = rank;
        }
    }

    /// The kernels that are left in an order of dependence; where there is a choice, those that hurry first, then the
    /// earliest.
    pub fn sorted(&self, is_left: impl Fn(usize) -> bool, hurries: impl Fn(usize) -> bool) -> Vec<usize> {
        let left: Vec<usize> = (0..self.reads.len()).filter(|at| is_left(*at)).collect();
        let mut waiting: Vec<usize> = self.predecessors.iter().map(BTreeSet::len).collect();
        let key = |at: usize| (!hurries(at), at);
        let first = left.iter().copied().filter(|at| waiting[*at] == 0);
        let mut ready: BTreeSet<(bool, usize)> = first.map(key).collect();
        let mut sorted = Vec::new();
        while let Some((_, at)) = ready.pop_first() {
            sorted.push(at);
            for next in &self.successors[at] {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    ready.insert(key(*next));
                }
            }
        }
        assert_eq!(sorted.len(), left.len(), "kernels have no cycle");
        sorted
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
