//! Fusion: which equations share a loop nest.
//!
//! Two rules, applied until neither changes anything:
//! - *Epilogue.* An element-wise equation joins the kernel that defines what it reads, at the same element, also when
//!   that kernel has several pieces (the backward pass of pooling) or ends in a reduction (conv + bias + relu).
//! - *Siblings.* Nests over the same axes that read a common tensor join, unless one is a contraction that will be
//!   tiled for reuse: several statistics of a batch become one pass over it, and so do a maximum and its position.
//!
//! A join is legal where no third kernel stands between the two.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Kernel, Kernels, Nest, Statement};
use crate::te::{Axis, Binary, Equation, Expr, ExprId, Index, Program, Reduction, Tensor};

/// Groups the equations of a canonical program into kernels.
pub fn run(mut program: Program) -> Kernels {
    let equations = std::mem::take(&mut program.equations);
    let kernels = equations.iter().map(|equation| single(&program, equation)).collect();
    let mut fusion = Fusion { program, kernels };
    while fusion.join_some() {}
    fusion.sort();
    fusion.finish()
}

fn single(program: &Program, equation: &Equation) -> Kernel {
    let nests = equation.pieces.iter().map(|piece| {
        let reduce = match &program.exprs[piece.body] {
            Expr::Reduce { axes, .. } => axes.clone(),
            _ => Vec::new(),
        };
        let statement = Statement { result: equation.result, at: piece.at.clone(), body: piece.body };
        Nest { axes: piece.axes.clone(), reduce, statements: vec![statement] }
    });
    Kernel { name: program.tensors[equation.result].name.clone(), nests: nests.collect() }
}

struct Fusion {
    program: Program,
    kernels: Vec<Kernel>,
}

impl Fusion {
    /// Joins the first two kernels that can be; false if there are none.
    fn join_some(&mut self) -> bool {
        let order = Order::of(&self.program, &self.kernels);
        for later in 0..self.kernels.len() {
            for earlier in order.neighbours(later) {
                let (first, second) = if earlier < later { (earlier, later) } else { (later, earlier) };
                if let Some(joined) = self.joined(&order, first, second) {
                    self.kernels[first] = joined;
                    self.kernels.remove(second);
                    self.sort();
                    return true;
                }
            }
        }
        false
    }

    /// The kernel that does the work of both, if they can be joined.
    fn joined(&mut self, order: &Order, first: usize, second: usize) -> Option<Kernel> {
        if order.has_path_through_others(first, second) {
            return None;
        }
        let (a, b) = (self.kernels[first].clone(), self.kernels[second].clone());
        match order.successors[first].contains(&second) {
            true => self.with_epilogue(&a, &b),
            false => self.with_sibling(&a, &b),
        }
    }

    fn with_epilogue(&mut self, producer: &Kernel, consumer: &Kernel) -> Option<Kernel> {
        let [nest] = consumer.nests.as_slice() else { return None };
        if !nest.reduce.is_empty() {
            return None;
        }
        let mut joined = producer.clone();
        for target in &mut joined.nests {
            let replace = self.matching(target, nest, &producer.results())?;
            for statement in &nest.statements {
                let body = self.program.substitute(statement.body, &replace);
                let at = statement.at.iter().map(|at| self.replaced(at, &replace)).collect();
                target.statements.push(Statement { result: statement.result, at, body });
            }
            self.reads_match(target, &producer.results())?;
        }
        joined.name = format!("{}+{}", producer.name, consumer.name);
        Some(joined)
    }

    fn replaced(&self, index: &Index, replace: &HashMap<Axis, Index>) -> Index {
        index.substitute(&|axis| replace.get(&axis).cloned(), &self.program.axes)
    }

    /// The consumer's axes in terms of the producer's, by the first read of one of its results.
    fn matching(
        &self,
        producer: &Nest,
        consumer: &Nest,
        results: &BTreeSet<Tensor>,
    ) -> Option<HashMap<Axis, Index>> {
        let mut found = None;
        for statement in &consumer.statements {
            self.program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &self.program.exprs[id]
                    && results.contains(tensor)
                    && found.is_none()
                {
                    found = Some((*tensor, index.clone()));
                }
            });
        }
        let (tensor, index) = found?;
        let at = &producer.statements.iter().find(|statement| statement.result == tensor)?.at;
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
        consumer.axes.iter().all(|axis| replace.contains_key(axis)).then_some(replace)
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

    fn with_sibling(&mut self, a: &Kernel, b: &Kernel) -> Option<Kernel> {
        let same = a.nests.len() == b.nests.len()
            && a.nests.iter().zip(&b.nests).all(|(a, b)| a.axes == b.axes && a.reduce == b.reduce);
        let common = a.reads(&self.program).intersection(&b.reads(&self.program)).next().is_some();
        let tiled = a.nests.iter().chain(&b.nests).any(|nest| has_reuse(&self.program, nest));
        if !same || !common || tiled {
            return None;
        }
        let mut joined = a.clone();
        for (nest, other) in joined.nests.iter_mut().zip(&b.nests) {
            nest.statements.extend(other.statements.iter().cloned());
            nest.statements.sort_by_key(|statement| !is_reduction(&self.program, statement.body));
        }
        joined.name = format!("{}+{}", a.name, b.name);
        Some(joined)
    }

    /// Puts every kernel after those whose results it reads, otherwise in the order of definition.
    fn sort(&mut self) {
        let order = Order::of(&self.program, &self.kernels);
        let mut placed = BTreeSet::new();
        let mut sorted = Vec::new();
        while sorted.len() < self.kernels.len() {
            let ready = |at: &usize| !placed.contains(at) && order.predecessors[*at].is_subset(&placed);
            let next = (0..self.kernels.len()).find(ready).expect("kernels have no cycle");
            placed.insert(next);
            sorted.push(self.kernels[next].clone());
        }
        self.kernels = sorted;
    }

    fn finish(self) -> Kernels {
        let Fusion { program, kernels } = self;
        let mut stored: BTreeSet<Tensor> = program.inputs.iter().chain(&program.outputs).copied().collect();
        for kernel in &kernels {
            let own = kernel.results();
            stored.extend(kernel.reads(&program).into_iter().filter(|tensor| !own.contains(tensor)));
        }
        Kernels { program, kernels, stored }
    }
}

fn is_reduction(program: &Program, body: ExprId) -> bool {
    matches!(program.exprs[body], Expr::Reduce { .. })
}

/// Whether a nest sums products of which a factor is the same for several points: it will be tiled.
pub fn has_reuse(program: &Program, nest: &Nest) -> bool {
    nest.statements.iter().any(|statement| match &program.exprs[statement.body] {
        Expr::Reduce { op: Reduction::Sum, body, .. } => sums_products_with_reuse(program, &nest.axes, *body),
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

/// Who reads whose results.
struct Order {
    predecessors: Vec<BTreeSet<usize>>,
    successors: Vec<BTreeSet<usize>>,
    /// The kernels that read a common tensor, by tensor.
    readers: BTreeMap<Tensor, Vec<usize>>,
    reads: Vec<BTreeSet<Tensor>>,
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
            reads: Vec::new(),
        };
        for (at, kernel) in kernels.iter().enumerate() {
            let reads = kernel.reads(program);
            for tensor in &reads {
                order.readers.entry(*tensor).or_default().push(at);
                if let Some(from) = owner.get(tensor).filter(|from| **from != at) {
                    order.predecessors[at].insert(*from);
                    order.successors[*from].insert(at);
                }
            }
            order.reads.push(reads);
        }
        order
    }

    /// The kernels worth joining with this one: those it reads from, and earlier ones that read what it reads.
    fn neighbours(&self, at: usize) -> Vec<usize> {
        let siblings = self.reads[at].iter().flat_map(|tensor| &self.readers[tensor]).copied();
        let found: BTreeSet<usize> =
            siblings.filter(|other| *other < at).chain(self.predecessors[at].iter().copied()).collect();
        found.into_iter().collect()
    }

    /// Whether a way leads from one to the other, either way, that passes another kernel.
    fn has_path_through_others(&self, first: usize, second: usize) -> bool {
        self.reaches(first, second) || self.reaches(second, first)
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut open: Vec<usize> = self.successors[from].iter().copied().filter(|next| *next != to).collect();
        let mut seen: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            open.extend(self.successors[at].iter().filter(|next| seen.insert(**next)));
        }
        false
    }
}
