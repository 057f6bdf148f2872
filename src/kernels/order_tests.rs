//! Orders of random kernels against a look at all ways.

use super::*;
use crate::base::philox;

const KERNELS: usize = 24;

/// An order of kernels of which some follow each other at random.
fn random(seed: u32) -> DependenceGraph {
    let none = || vec![BTreeSet::new(); KERNELS];
    let mut order = DependenceGraph {
        predecessors: none(),
        successors: none(),
        readers: BTreeMap::new(),
        wide: HashSet::default(),
        reads: vec![BTreeSet::new(); KERNELS],
        rank: (0..KERNELS).collect(),
        seen: vec![0; KERNELS],
        met: vec![0; KERNELS],
        searches: 0,
    };
    for to in 0..KERNELS {
        for from in 0..to {
            let [draw, ..] = philox::philox4x32([seed, 0], [from as u32, to as u32, 0, 0]);
            if draw % 8 == 0 {
                order.successors[from].insert(to);
                order.predecessors[to].insert(from);
            }
        }
    }
    order
}

/// Whether a way leads from one to the other, over a third one or by any way: by looking at all of them.
fn has_path(order: &DependenceGraph, from: usize, to: usize, over_others: bool) -> bool {
    order.successors[from].iter().any(|next| match *next == to {
        true => !over_others,
        false => has_path(order, *next, to, false),
    })
}

fn assert_ranked(order: &DependenceGraph, is_left: &dyn Fn(usize) -> bool) {
    for at in (0..KERNELS).filter(|at| is_left(*at)) {
        assert!(order.successors[at].iter().all(|next| order.rank[at] < order.rank[*next]), "{at}");
    }
}

#[test]
fn ways_are_found_where_there_are_any() {
    for seed in 0..50 {
        let mut order = random(seed);
        for (from, to) in (0..KERNELS).flat_map(|from| (0..KERNELS).map(move |to| (from, to))) {
            if from != to {
                let expected = has_path(&order, from, to, true);
                assert_eq!(order.reaches_through_others(from, to), expected, "{seed}: {from} to {to}");
            }
        }
    }
}

#[test]
fn what_is_put_behind_keeps_the_order() {
    for seed in 0..50 {
        let mut order = random(seed);
        for at in 0..40_u32 {
            let [first, last, ..] = philox::philox4x32([seed, 1], [at, 0, 0, 0]);
            let (first, last) = (first as usize % KERNELS, last as usize % KERNELS);
            if first == last {
                continue;
            }
            let reaches = order.reaches(last, first);
            assert_eq!(reaches, has_path(&order, last, first, false), "{seed}: {last} to {first}");
            if !reaches {
                order.put_behind(first, last);
                assert_ranked(&order, &|_| true);
            }
        }
        assert_eq!(order.sorted(|_| true, |_| false).len(), KERNELS);
    }
}

#[test]
fn joins_keep_the_order() {
    for seed in 0..50 {
        let (mut order, mut gone) = (random(seed), BTreeSet::new());
        for (stays, goes) in (0..KERNELS).flat_map(|one| (one + 1..KERNELS).map(move |other| (one, other))) {
            let is_left = |at: &usize| !gone.contains(at);
            let apart = |order: &mut DependenceGraph| {
                order.reaches_through_others(stays, goes) || order.reaches_through_others(goes, stays)
            };
            if is_left(&stays) && is_left(&goes) && !apart(&mut order) {
                order.merge(stays, goes);
                gone.insert(goes);
                assert_ranked(&order, &|at| !gone.contains(&at));
            }
        }
        assert!(gone.len() > KERNELS / 3, "{seed}: {} joins", gone.len());
    }
}
