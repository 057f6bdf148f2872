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
//! A join is legal where no third kernel stands between the two. Two are not worth it. More statements than registers
//! can serve stay apart. And a sum over the lanes gives single numbers, so an optimiser's roots and quotients stay
//! apart from the gradient of a large weight, in a kernel that has lanes for them.

use crate::base::hash::HashMap;
use std::collections::{BTreeMap, BTreeSet};

use super::layout::{LaneDims, follow, nest_axis};
use super::order::DependenceGraph;
use super::{Kernel, Kernels, Nest, Statement};
use crate::te::{Axis, Binary, Equation, Expr, ExprId, Index, Program, Reduction, Tensor, Unary};

/// The points of a window, at most: each needs registers for a sum of its own.
const LARGEST_WINDOW: i64 = 4;

/// The statements of a nest, at most. What one more would save is the same for each, but registers are few, and what
/// looks at a kernel as a whole takes longer.
const MOST_STATEMENTS: usize = 64;

/// From so many elements on, slow functions of the elements of a sum over the lanes have a kernel of their own.
const LARGE_SUM: i64 = 1024;

/// Groups the equations of a canonical program into kernels. `lane_dims` are the dimensions of inputs that will lie
/// across so many lanes.
pub fn run(mut program: Program, lane_dims: &LaneDims, lanes: i64) -> Kernels {
    let equations = std::mem::take(&mut program.equations);
    let kernels: Vec<Kernel> = equations.iter().map(|equation| single(&program, equation)).collect();
    let order = DependenceGraph::of(&program, &kernels);
    let lane_dims = follow(&program, &kernels, lane_dims, lanes);
    let mut alike: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (at, kernel) in kernels.iter().enumerate() {
        alike.entry(kernel.nests.len()).or_default().insert(at);
    }
    let kernels = kernels.into_iter().map(Some).collect();
    let mut fusion = Fusion { program, kernels, alike, order, windows: false, lane_dims, lanes };
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
    /// The kernels of so many nests.
    alike: BTreeMap<usize, BTreeSet<usize>>,
    order: DependenceGraph,
    /// Whether the rule of windows applies already.
    windows: bool,
    /// The dimension of each tensor that lies across the lanes, and how many these are.
    lane_dims: LaneDims,
    lanes: i64,
}

impl Fusion {
    /// Joins kernels until none can be joined. What a join changes is looked at again.
    fn join_all(&mut self) {
        let mut open: BTreeSet<usize> = (0..self.kernels.len()).collect();
        while let Some(at) = open.pop_first() {
            let joined =
                self.candidates(at).into_iter().find_map(|other| Some((other, self.joined(at, other)?)));
            if let Some((other, kernel)) = joined {
                let (stays, goes) = (at.min(other), at.max(other));
                self.replace(stays, Some(kernel));
                self.replace(goes, None);
                self.order.merge(stays, goes);
                open.extend(self.order.neighbours(stays));
                open.insert(stays);
            }
        }
    }

    fn replace(&mut self, at: usize, kernel: Option<Kernel>) {
        if let Some(old) = &self.kernels[at] {
            self.alike.entry(old.nests.len()).or_default().remove(&at);
        }
        if let Some(new) = &kernel {
            self.alike.entry(new.nests.len()).or_default().insert(at);
        }
        self.kernels[at] = kernel;
    }

    /// The neighbours of a kernel that it might join. One of several nests joins nothing that it reads, only siblings
    /// of as many nests, and what reads its results. Where it reads more than there are of these, as that does which
    /// searches all gradients, they are looked at one by one: its neighbours would be all kernels, again after each
    /// join of one of them.
    fn candidates(&self, at: usize) -> Vec<usize> {
        let Some(kernel) = &self.kernels[at] else { return Vec::new() };
        let alike = &self.alike[&kernel.nests.len()];
        let readers = &self.order.successors[at];
        if kernel.nests.len() == 1 || self.order.reads[at].len() < alike.len() + readers.len() {
            return self.order.neighbours(at);
        }
        let others: BTreeSet<usize> = alike.union(readers).copied().filter(|other| *other != at).collect();
        others.into_iter().filter(|other| self.order.share_wide(at, *other)).collect()
    }

    /// The kernel that does the work of both, if they can be joined.
    fn joined(&mut self, one: usize, other: usize) -> Option<Kernel> {
        let follows = |from: usize, to: usize| self.order.successors[from].contains(&to);
        let (first, second, siblings) = match (follows(one, other), follows(other, one)) {
            (true, _) => (one, other, false),
            (_, true) => (other, one, false),
            _ => (one.min(other), one.max(other), true),
        };
        let fits = if siblings { self.are_siblings(first, second) } else { self.may_follow(first, second) };
        let fits = fits && self.longest_nest(first) + self.longest_nest(second) <= MOST_STATEMENTS;
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

    /// The statements of the nest that has most.
    fn longest_nest(&self, kernel: usize) -> usize {
        let nests = self.kernels[kernel].iter().flat_map(|kernel| &kernel.nests);
        nests.map(|nest| nest.statements.len()).max().unwrap_or(0)
    }

    /// Whether a kernel has the form of one that joins what it reads, and reads it so: the cheap part of the rules.
    fn may_follow(&self, producer: usize, consumer: usize) -> bool {
        let (Some(producer), Some(consumer)) = (&self.kernels[producer], &self.kernels[consumer]) else {
            return false;
        };
        match consumer.nests.as_slice() {
            [nest] if nest.reduce.is_empty() => {
                let results = producer.results();
                producer.nests.iter().all(|target| self.matching(target, nest, &results).is_some())
            }
            [_] => self.windows && producer.nests.len() == 1,
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
        same && self.order.share_wide(one, other)
            && !a.nests.iter().chain(&b.nests).any(|nest| has_reuse(&self.program, nest))
    }

    fn with_epilogue(&mut self, producer: &Kernel, consumer: &Kernel) -> Option<Kernel> {
        let [nest] = consumer.nests.as_slice() else { return None };
        if !nest.reduce.is_empty() {
            return None;
        }
        if self.is_slow(&nest.statements) && producer.nests.iter().any(|nest| self.sums_lanes(nest)) {
            return None;
        }
        let (mut joined, results) = (producer.clone(), producer.results());
        for target in &mut joined.nests {
            let (from, replace) = self.matching(target, nest, &results)?;
            let inner = target.levels(&self.program).0.len();
            let end = if from < inner { inner } else { target.statements.len() };
            let new = self.substituted(&nest.statements, &replace);
            target.statements.splice(end..end, new);
            self.reads_match(target, &results)?;
        }
        joined.name = format!("{}+{}", producer.name, consumer.name);
        Some(joined)
    }

    /// Whether statements have functions that take many cycles for each element.
    fn is_slow(&self, statements: &[Statement]) -> bool {
        let mut slow = false;
        for statement in statements {
            self.program.for_each_expr(statement.body, &mut |id| {
                slow |= match &self.program.exprs[id] {
                    Expr::Binary(op, ..) => matches!(op, Binary::Div | Binary::Pow),
                    Expr::Unary(op, _) => !matches!(op, Unary::Neg | Unary::Abs | Unary::Not),
                    _ => false,
                };
            });
        }
        slow
    }

    /// Whether a nest gives many elements, each a sum over the lanes.
    fn sums_lanes(&self, nest: &Nest) -> bool {
        let elements: i64 = nest.free().iter().map(|axis| self.program.axes[*axis].extent).product();
        let axis = nest_axis(&self.program, nest, &self.lane_dims, self.lanes);
        elements >= LARGE_SUM && axis.is_some_and(|axis| nest.reduce.contains(&axis))
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
        let copy = |axis: &Axis| {
            if planted!("kernels.fuse.window_axes") { *axis } else { self.program.copy_axis(*axis) }
        };
        let reduce: Vec<Axis> = target.reduce.iter().map(copy).collect();
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
        let mut replace = HashMap::default();
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
        let first_of = |statement: &Statement| {
            let mut found = None;
            self.program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &self.program.exprs[id]
                    && found.is_none()
                    && of.contains(tensor)
                {
                    found = Some((*tensor, index.clone()));
                }
            });
            found
        };
        statements.iter().find_map(first_of)
    }

    fn replaced(&self, index: &Index, replace: &HashMap<Axis, Index>) -> Index {
        index.substitute(&|axis| replace.get(&axis).cloned(), &self.program.axes)
    }

    /// The place of the producer's statement that the consumer reads first, and by this read the consumer's axes in
    /// terms of the producer's. What reads a diagonal has one axis for two of them; its reads will not match.
    fn matching(
        &self,
        producer: &Nest,
        consumer: &Nest,
        results: &BTreeSet<Tensor>,
    ) -> Option<(usize, HashMap<Axis, Index>)> {
        let (tensor, index) = self.first_read(&consumer.statements, results)?;
        let from = producer.statements.iter().position(|statement| statement.result == tensor)?;
        let at = &producer.statements[from].at;
        let (mut replace, mut ones) = (HashMap::default(), Vec::new());
        for ((index, extent), at) in index.iter().zip(&self.program.tensors[tensor].shape).zip(at) {
            match index.as_axis() {
                Some(axis) if planted!("kernels.fuse.whole") || self.program.axes[axis].extent == *extent => {
                    replace.insert(axis, at.clone());
                }
                _ if *extent == 1 && index.as_constant() == Some(0) => ones.push(at.clone()),
                _ => return None,
            }
        }
        let single = consumer.axes.iter().filter(|axis| self.program.axes[**axis].extent == 1);
        let single: Vec<Axis> = single.filter(|axis| !replace.contains_key(axis)).copied().collect();
        // The axes of a single element are the producer's as well, where it is clear which is which: they may have
        // lanes.
        if ones.len() != single.len() {
            ones.iter().all(|index| index.as_constant() == Some(0)).then_some(())?;
            ones = vec![Index::from(0); single.len()];
        }
        replace.extend(single.into_iter().zip(ones));
        consumer.axes.iter().all(|axis| replace.contains_key(axis)).then_some((from, replace))
    }

    /// Whether every read of the kernel's own results is at the element that its nest defines.
    fn reads_match(&self, nest: &Nest, results: &BTreeSet<Tensor>) -> Option<()> {
        let mut at: HashMap<Tensor, &Vec<Index>> = HashMap::default();
        let mut matches = true;
        for statement in &nest.statements {
            self.program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &self.program.exprs[id]
                    && (results.contains(tensor) || at.contains_key(tensor))
                {
                    matches &= at.get(tensor).is_some_and(|at| self.program.is_same_element(at, index));
                }
            });
            at.insert(statement.result, &statement.at);
        }
        (matches || planted!("kernels.fuse.same_element")).then_some(())
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
        for at in order.sorted(|at| kernels[at].is_some(), |_| false) {
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

#[cfg(test)]
#[path = "fuse_tests.rs"]
mod tests;
