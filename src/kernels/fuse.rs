//! Fusion: which equations share a loop nest.
//!
//! Three rules, applied until none changes anything:
//! - *Epilogue.* An element-wise equation joins the kernel that defines what it reads, at the same element, also when
//!   that kernel has several pieces (the backward pass of pooling) or ends in a reduction (conv + bias + relu).
//! - *Siblings.* Nests over the same axes that read a common tensor join, unless one is a contraction that will be
//!   tiled for reuse: several statistics of a batch become one pass over it, and so do a maximum and its position.
//! - *Windows.* A reduction over small windows that partition what a kernel defines joins that kernel: conv + bias +
//!   relu + pooling. It comes last, so that a maximum and its position, siblings by then, join as one.
//!
//! A join is legal where no third kernel stands between the two.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Kernel, Kernels, Nest, Statement};
use crate::te::{Axis, Binary, Equation, Expr, ExprId, Index, Program, Reduction, Tensor};

/// The points of a window, at most: each needs registers for a sum of its own.
const LARGEST_WINDOW: i64 = 4;

/// Groups the equations of a canonical program into kernels.
pub fn run(mut program: Program) -> Kernels {
    let equations = std::mem::take(&mut program.equations);
    let kernels: Vec<Kernel> = equations.iter().map(|equation| single(&program, equation)).collect();
    let order = Order::of(&program, &kernels);
    let kernels = kernels.into_iter().map(Some).collect();
    let mut fusion = Fusion { program, kernels, order, windows: false };
    fusion.join_all();
    fusion.windows = true;
    fusion.join_all();
    fusion.finish()
}

fn single(program: &Program, equation: &Equation) -> Kernel {
    let nests = equation.pieces.iter().map(|piece| {
        let reduce = match &program.exprs[piece.body] {
            Expr::Reduce { axes, .. } => axes.clone(),
            _ => Vec::new(),
        };
        let statement = Statement { result: equation.result, at: piece.at.clone(), body: piece.body };
        Nest { axes: piece.axes.clone(), reduce, windows: Vec::new(), statements: vec![statement] }
    });
    Kernel { name: program.tensors[equation.result].name.clone(), nests: nests.collect() }
}

struct Fusion {
    program: Program,
    /// None where a kernel has joined another.
    kernels: Vec<Option<Kernel>>,
    order: Order,
    /// Whether the rule of windows applies already.
    windows: bool,
}

impl Fusion {
    /// Joins kernels until none can be joined. What a join changes is looked at again.
    fn join_all(&mut self) {
        let mut open: BTreeSet<usize> = (0..self.kernels.len()).collect();
        while let Some(at) = open.pop_first() {
            let neighbours = if self.kernels[at].is_some() { self.order.neighbours(at) } else { Vec::new() };
            let joined = neighbours.into_iter().find_map(|other| Some((other, self.joined(at, other)?)));
            if let Some((other, kernel)) = joined {
                let (stays, goes) = (at.min(other), at.max(other));
                self.kernels[stays] = Some(kernel);
                self.kernels[goes] = None;
                self.order.merge(stays, goes);
                open.extend(self.order.neighbours(stays));
                open.insert(stays);
            }
        }
    }

    /// The kernel that does the work of both, if they can be joined.
    fn joined(&mut self, one: usize, other: usize) -> Option<Kernel> {
        let follows = |from: usize, to: usize| self.order.successors[from].contains(&to);
        let (first, second, siblings) = match (follows(one, other), follows(other, one)) {
            (true, _) => (one, other, false),
            (_, true) => (other, one, false),
            _ => (one.min(other), one.max(other), true),
        };
        let fits = if siblings { self.are_siblings(first, second) } else { self.may_follow(second) };
        let mut apart = |from, to| self.order.reaches_through_others(from, to);
        if !fits || apart(first, second) || (siblings && apart(second, first)) {
            return None;
        }
        let (a, b) = (self.kernels[first].clone()?, self.kernels[second].clone()?);
        match siblings {
            true => Some(self.with_sibling(&a, &b)),
            false => self.with_epilogue(&a, &b).or_else(|| self.with_windows(&a, &b)),
        }
    }

    /// Whether a kernel has the form of one that joins what it reads: the cheap part of the rules.
    fn may_follow(&self, consumer: usize) -> bool {
        match self.kernels[consumer].as_ref().map(|kernel| kernel.nests.as_slice()) {
            Some([nest]) => nest.reduce.is_empty() || self.windows,
            _ => false,
        }
    }

    /// Whether two kernels have the same axes and read a common tensor, so that one pass over it can serve both. A
    /// single number, such as the learning rate, is worth no pass.
    fn are_siblings(&self, one: usize, other: usize) -> bool {
        let (Some(a), Some(b)) = (&self.kernels[one], &self.kernels[other]) else { return false };
        let alike = |(a, b): (&Nest, &Nest)| {
            a.axes == b.axes && a.reduce == b.reduce && a.windows.is_empty() && b.windows.is_empty()
        };
        let same = a.nests.len() == b.nests.len() && a.nests.iter().zip(&b.nests).all(alike);
        let mut common = self.order.reads[one].intersection(&self.order.reads[other]);
        same && common.any(|tensor| self.order.readers.contains_key(tensor))
            && !a.nests.iter().chain(&b.nests).any(|nest| has_reuse(&self.program, nest))
    }

    fn with_epilogue(&mut self, producer: &Kernel, consumer: &Kernel) -> Option<Kernel> {
        let [nest] = consumer.nests.as_slice() else { return None };
        if !nest.reduce.is_empty() {
            return None;
        }
        let mut joined = producer.clone();
        for target in &mut joined.nests {
            let (from, replace) = self.matching(target, nest, &producer.results())?;
            let inner = target.levels(&self.program).0.len();
            let end = if from < inner { inner } else { target.statements.len() };
            let new = self.substituted(&nest.statements, &replace);
            target.statements.splice(end..end, new);
            self.reads_match(target, &producer.results())?;
        }
        joined.name = format!("{}+{}", producer.name, consumer.name);
        Some(joined)
    }

    fn with_windows(&mut self, producer: &Kernel, consumer: &Kernel) -> Option<Kernel> {
        let ([target], [nest]) = (producer.nests.as_slice(), consumer.nests.as_slice()) else { return None };
        let points: i64 = nest.reduce.iter().map(|axis| self.program.axes[*axis].extent).product();
        let plain = target.windows.is_empty() && nest.windows.is_empty() && !nest.reduce.is_empty();
        if !self.windows || !plain || !(2..=LARGEST_WINDOW).contains(&points) {
            return None;
        }
        let mut replace = self.partition(target, nest, &producer.results())?;
        // Canonical equations share axes: the producer's reductions must not run over the consumer's.
        let reduce: Vec<Axis> = target.reduce.iter().map(|axis| self.program.copy_axis(*axis)).collect();
        replace.extend(target.reduce.iter().zip(&reduce).map(|(old, new)| (*old, Index::from(*new))));
        let mut statements = self.substituted(&target.statements, &replace);
        statements.extend(nest.statements.iter().cloned());
        let joined = Nest { axes: nest.axes.clone(), reduce, windows: nest.reduce.clone(), statements };
        self.reads_match(&joined, &producer.results())?;
        Some(Kernel { name: format!("{}+{}", producer.name, consumer.name), nests: vec![joined] })
    }

    /// The producer's axes in terms of the consumer's, where the consumer's windows are a partition of what the
    /// producer defines: by the first read of one of its results, in every dimension an axis, or `s*i + u` with a
    /// window axis `u` of extent `s`, from end to end. A window axis alone is none: the parts of a split sum stay
    /// apart, because they are there to run in parallel.
    fn partition(
        &self,
        producer: &Nest,
        consumer: &Nest,
        results: &BTreeSet<Tensor>,
    ) -> Option<HashMap<Axis, Index>> {
        let (tensor, index) = self.first_read(&consumer.statements, results)?;
        let at = &producer.statements.iter().find(|statement| statement.result == tensor)?.at;
        let extent = |axis: Axis| self.program.axes[axis].extent;
        let mut unused: BTreeSet<Axis> = consumer.axes.iter().chain(&consumer.reduce).copied().collect();
        let mut replace = HashMap::new();
        for (index, at) in index.iter().zip(at) {
            let Some(axis) = at.as_axis() else {
                (at.as_constant() == Some(0) && index.as_constant() == Some(0)).then_some(())?;
                continue;
            };
            let mut points = 1;
            let mut used = Vec::new();
            index.for_each_axis(&mut |axis| used.push(axis));
            // The digits of a number in mixed radix, the last window axis least.
            used.sort_by_key(|axis| index.coefficient(*axis));
            used.last().is_none_or(|axis| consumer.axes.contains(axis)).then_some(())?;
            for axis in used {
                let digit = index.coefficient(axis) == points && unused.remove(&axis);
                digit.then_some(())?;
                points *= extent(axis);
            }
            let whole = points == extent(axis) && index.is_affine() && index.constant() == 0;
            (whole && replace.insert(axis, index.clone()).is_none()).then_some(())?;
        }
        let complete = producer.axes.iter().all(|axis| replace.contains_key(axis) || extent(*axis) == 1);
        let single = producer.axes.iter().filter(|axis| !replace.contains_key(axis));
        let single: Vec<(Axis, Index)> = single.map(|axis| (*axis, Index::from(0))).collect();
        replace.extend(single);
        (complete && unused.iter().all(|axis| extent(*axis) == 1)).then_some(replace)
    }

    /// Statements with axes replaced; a reduction runs over those that replace its own.
    fn substituted(&mut self, statements: &[Statement], replace: &HashMap<Axis, Index>) -> Vec<Statement> {
        let mut new = Vec::new();
        for statement in statements {
            let body = match self.program.exprs[statement.body].clone() {
                Expr::Reduce { op, axes, body } => {
                    let axes = axes.iter().filter_map(|axis| replace.get(axis)?.as_axis()).collect();
                    let body = self.program.substitute(body, replace);
                    self.program.exprs.reduce(op, axes, body)
                }
                _ => self.program.substitute(statement.body, replace),
            };
            let at = statement.at.iter().map(|at| self.replaced(at, replace)).collect();
            new.push(Statement { result: statement.result, at, body });
        }
        new
    }

    /// The first of some tensors that statements read, and where.
    fn first_read(&self, statements: &[Statement], of: &BTreeSet<Tensor>) -> Option<(Tensor, Vec<Index>)> {
        let mut found = None;
        for statement in statements {
            self.program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &self.program.exprs[id]
                    && of.contains(tensor)
                    && found.is_none()
                {
                    found = Some((*tensor, index.clone()));
                }
            });
        }
        found
    }

    fn replaced(&self, index: &Index, replace: &HashMap<Axis, Index>) -> Index {
        index.substitute(&|axis| replace.get(&axis).cloned(), &self.program.axes)
    }

    /// The place of the producer's statement that the consumer reads first, and by this read the consumer's axes in
    /// terms of the producer's.
    fn matching(
        &self,
        producer: &Nest,
        consumer: &Nest,
        results: &BTreeSet<Tensor>,
    ) -> Option<(usize, HashMap<Axis, Index>)> {
        let (tensor, index) = self.first_read(&consumer.statements, results)?;
        let from = producer.statements.iter().position(|statement| statement.result == tensor)?;
        let at = &producer.statements[from].at;
        let mut replace = HashMap::new();
        for ((index, extent), at) in index.iter().zip(&self.program.tensors[tensor].shape).zip(at) {
            match index.as_axis() {
                Some(axis) if self.program.axes[axis].extent == *extent => {
                    if replace.insert(axis, at.clone()).is_some_and(|other| other != *at) {
                        return None;
                    }
                }
                _ if *extent == 1 && index.as_constant() == Some(0) => {}
                _ => return None,
            }
        }
        let single = consumer.axes.iter().filter(|axis| self.program.axes[**axis].extent == 1);
        let single: Vec<Axis> = single.filter(|axis| !replace.contains_key(axis)).copied().collect();
        replace.extend(single.into_iter().map(|axis| (axis, Index::from(0))));
        consumer.axes.iter().all(|axis| replace.contains_key(axis)).then_some((from, replace))
    }

    /// Whether every read of the kernel's own results is at the element that its nest defines.
    fn reads_match(&self, nest: &Nest, results: &BTreeSet<Tensor>) -> Option<()> {
        let mut at: HashMap<Tensor, &Vec<Index>> = HashMap::new();
        let mut matches = true;
        for statement in &nest.statements {
            self.program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &self.program.exprs[id]
                    && (results.contains(tensor) || at.contains_key(tensor))
                {
                    matches &= at.get(tensor) == Some(&index);
                }
            });
            at.insert(statement.result, &statement.at);
        }
        matches.then_some(())
    }

    fn with_sibling(&self, a: &Kernel, b: &Kernel) -> Kernel {
        let mut joined = a.clone();
        for (nest, other) in joined.nests.iter_mut().zip(&b.nests) {
            nest.statements.extend(other.statements.iter().cloned());
            nest.statements.sort_by_key(|statement| !is_reduction(&self.program, statement.body));
        }
        joined.name = format!("{}+{}", a.name, b.name);
        joined
    }

    /// The kernels, each after those whose results it reads, otherwise in the order of definition.
    fn finish(self) -> Kernels {
        let Fusion { program, mut kernels, order, .. } = self;
        let mut sorted = Vec::new();
        for at in order.sorted(|at| kernels[at].is_some()) {
            sorted.extend(kernels[at].take());
        }
        let mut stored: BTreeSet<Tensor> = program.inputs.iter().chain(&program.outputs).copied().collect();
        for kernel in &sorted {
            let own = kernel.results();
            stored.extend(kernel.reads(&program).into_iter().filter(|tensor| !own.contains(tensor)));
        }
        Kernels { program, kernels: sorted, stored }
    }
}

fn is_reduction(program: &Program, body: ExprId) -> bool {
    matches!(program.exprs[body], Expr::Reduce { .. })
}

/// Whether a nest sums products of which a factor is the same for several points: it will be tiled.
pub fn has_reuse(program: &Program, nest: &Nest) -> bool {
    nest.statements.iter().any(|statement| match &program.exprs[statement.body] {
        Expr::Reduce { op: Reduction::Sum, body, .. } => {
            sums_products_with_reuse(program, &nest.free(), *body)
        }
        _ => false,
    })
}

fn sums_products_with_reuse(program: &Program, axes: &[Axis], body: ExprId) -> bool {
    if !matches!(program.exprs[body], Expr::Binary(Binary::Mul, ..)) {
        return false;
    }
    program.exprs.factors(body).iter().any(|factor| {
        let free = program.free_axes(*factor);
        let reads = matches!(program.exprs[*factor], Expr::Read { .. });
        reads && axes.iter().any(|axis| program.axes[*axis].extent > 1 && !free.contains(axis))
    })
}

/// Who reads whose results, kept up to date while kernels join.
///
/// `rank` is an order in which every kernel stands before its readers. A search for a way between two kernels looks
/// only at those between them in this order, and a join repairs the order only there (Pearce and Kelly, 2006).
struct Order {
    predecessors: Vec<BTreeSet<usize>>,
    successors: Vec<BTreeSet<usize>>,
    /// The kernels that read a tensor of more than one element: those that might be siblings.
    readers: BTreeMap<Tensor, BTreeSet<usize>>,
    reads: Vec<BTreeSet<Tensor>>,
    rank: Vec<usize>,
    /// The search that has seen a kernel last, and the number of searches.
    seen: Vec<usize>,
    searches: usize,
}

impl Order {
    fn of(program: &Program, kernels: &[Kernel]) -> Order {
        let mut owner = HashMap::new();
        for (at, kernel) in kernels.iter().enumerate() {
            owner.extend(kernel.results().into_iter().map(|tensor| (tensor, at)));
        }
        let mut order = Order {
            predecessors: vec![BTreeSet::new(); kernels.len()],
            successors: vec![BTreeSet::new(); kernels.len()],
            readers: BTreeMap::new(),
            reads: kernels.iter().map(|kernel| kernel.reads(program)).collect(),
            rank: (0..kernels.len()).collect(),
            seen: vec![0; kernels.len()],
            searches: 0,
        };
        for at in 0..kernels.len() {
            for tensor in order.reads[at].clone() {
                if program.tensors[tensor].len() > 1 {
                    order.readers.entry(tensor).or_default().insert(at);
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
    fn neighbours(&self, at: usize) -> Vec<usize> {
        let siblings = self.reads[at].iter().filter_map(|tensor| self.readers.get(tensor)).flatten();
        let found: BTreeSet<usize> = siblings.chain(&self.predecessors[at]).copied().collect();
        found.into_iter().filter(|other| *other != at).collect()
    }

    /// Lets one kernel stand for two, between which no way passes a third one.
    fn merge(&mut self, stays: usize, goes: usize) {
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
        next: impl Fn(&Order, usize) -> (&BTreeSet<usize>, bool),
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
    fn reaches_through_others(&mut self, from: usize, to: usize) -> bool {
        let end = self.rank[to];
        self.searches += 1;
        let mut open: Vec<usize> = self.successors[from].iter().copied().filter(|next| *next != to).collect();
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            for next in &self.successors[at] {
                if self.rank[*next] <= end && self.seen[*next] != self.searches {
                    self.seen[*next] = self.searches;
                    open.push(*next);
                }
            }
        }
        false
    }

    /// The kernels that are left in an order of dependence, the earliest first where there is a choice.
    fn sorted(&self, is_left: impl Fn(usize) -> bool) -> Vec<usize> {
        let left: Vec<usize> = (0..self.reads.len()).filter(|at| is_left(*at)).collect();
        let mut waiting: Vec<usize> = self.predecessors.iter().map(BTreeSet::len).collect();
        let mut ready: BTreeSet<usize> = left.iter().copied().filter(|at| waiting[*at] == 0).collect();
        let mut sorted = Vec::new();
        while let Some(at) = ready.pop_first() {
            sorted.push(at);
            for next in &self.successors[at] {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    ready.insert(*next);
                }
            }
        }
        assert_eq!(sorted.len(), left.len(), "kernels have no cycle");
        sorted
    }
}
