//! What holds of every list of kernels and their layouts:
//!
//! 1. Inputs and outputs are stored. A tensor is defined by one kernel; the pieces of its nests are disjoint and cover
//!    it. It is stored by an earlier kernel than those that read it from memory.
//! 2. In a nest, reductions come first, run over the nest's reduction axes, stand at the root of a body and read
//!    nothing that the nest defines. Later statements read what earlier ones defined from a register: at the same
//!    element only.
//!    In a nest with windows this holds of the first level, at the points of axes and windows. The second level begins
//!    with reductions over the windows, which may read registers of the first; the rest reads those of its own level.
//! 3. A statement mentions the axes of its nest and reduction only, each bound once.
//! 4. A read from memory is in bounds or says what lies outside; a condition around it does not help, because vectors
//!    compute both branches. In the dimension that is stored in lanes it is always in bounds.
//! 5. Every stored tensor has a layout of its shape. A halo holds a fill value and never widens the dimension that is
//!    stored in lanes.

use std::collections::{BTreeMap, BTreeSet};

use crate::te::cover::{self, Region};
use crate::te::verifier::has_reduction;
use crate::te::{Axis, Expr, ExprId, Index, Tensor};

use super::{Kernel, Kernels, Layout, Layouts, Nest, Statement};

/// Checks all invariants; those of layouts where they have been chosen.
///
/// # Errors
///
/// Everything that does not hold, a sentence each.
pub fn verify(kernels: &Kernels, layouts: Option<&Layouts>) -> Result<(), Vec<String>> {
    let mut verifier = Verifier { kernels, layouts, findings: Vec::new(), kernel: "" };
    verifier.storage();
    let mut known: BTreeSet<Tensor> = kernels.program.inputs.iter().copied().collect();
    for kernel in &kernels.kernels {
        verifier.kernel = &kernel.name;
        verifier.kernel(kernel, &known);
        for tensor in kernel.results() {
            if !known.insert(tensor) {
                verifier.report(tensor, "it is defined already");
            }
        }
    }
    verifier.kernel = "";
    for output in kernels.program.outputs.iter().filter(|output| !known.contains(output)) {
        verifier.report(*output, "it is an output that no kernel defines");
    }
    if verifier.findings.is_empty() { Ok(()) } else { Err(verifier.findings) }
}

struct Verifier<'a> {
    kernels: &'a Kernels,
    layouts: Option<&'a Layouts>,
    findings: Vec<String>,
    /// The name of the kernel that is looked at.
    kernel: &'a str,
}

impl Verifier<'_> {
    fn report(&mut self, tensor: Tensor, finding: impl std::fmt::Display) {
        let name = &self.kernels.program.tensors[tensor].name;
        let place = if self.kernel.is_empty() { String::new() } else { format!("kernel {}: ", self.kernel) };
        self.findings.push(format!("{place}{name} ({tensor}): {finding}"));
    }

    fn storage(&mut self) {
        let program = &self.kernels.program;
        for tensor in program.inputs.iter().chain(&program.outputs) {
            if !self.kernels.stored.contains(tensor) {
                self.report(*tensor, "it is given or asked for, but not stored");
            }
        }
        let Some(layouts) = self.layouts else { return };
        for tensor in &self.kernels.stored {
            match layouts.get(tensor) {
                None => self.report(*tensor, "it is stored but has no layout"),
                Some(layout) => {
                    let findings = layout_findings(layout, &program.tensors[*tensor].shape);
                    findings.into_iter().for_each(|finding| self.report(*tensor, finding));
                }
            }
        }
    }

    fn kernel(&mut self, kernel: &Kernel, known: &BTreeSet<Tensor>) {
        let results = kernel.results();
        for nest in &kernel.nests {
            self.nest(nest, &results, known);
        }
        let mut regions: BTreeMap<Tensor, Vec<Region<'_>>> = BTreeMap::new();
        let free: Vec<Vec<Axis>> = kernel.nests.iter().map(Nest::free).collect();
        for (nest, free) in kernel.nests.iter().zip(&free) {
            let (inner, outer) = nest.levels(&self.kernels.program);
            for (statements, axes) in [(inner, free), (outer, &nest.axes)] {
                for statement in statements {
                    let region = Region { axes, at: &statement.at };
                    regions.entry(statement.result).or_default().push(region);
                }
            }
        }
        for (tensor, regions) in regions {
            let program = &self.kernels.program;
            if let Err(finding) = cover::check(&program.axes, &program.tensors[tensor].shape, &regions) {
                self.report(tensor, finding);
            }
        }
    }

    fn nest(&mut self, nest: &Nest, results: &BTreeSet<Tensor>, known: &BTreeSet<Tensor>) {
        let mut axes = BTreeSet::new();
        for axis in nest.axes.iter().chain(&nest.reduce).chain(&nest.windows) {
            if !axes.insert(*axis)
                && let Some(statement) = nest.statements.first()
            {
                let name = &self.kernels.program.axes[*axis].name;
                self.report(statement.result, format!("its nest has axis {name} twice"));
            }
        }
        let (inner, outer) = nest.levels(&self.kernels.program);
        let free = nest.free();
        let first = self.level(inner, (&free, &nest.reduce), &BTreeMap::new(), results, known);
        self.level(outer, (&nest.axes, &nest.windows), &first, results, known);
    }

    /// Checks the statements at the points of some axes; their reductions, over others, may read from the registers
    /// `below`. Gives what the statements leave in registers.
    fn level<'s>(
        &mut self,
        statements: &'s [Statement],
        (free, reduce): (&[Axis], &[Axis]),
        below: &BTreeMap<Tensor, &'s [Index]>,
        results: &BTreeSet<Tensor>,
        known: &BTreeSet<Tensor>,
    ) -> BTreeMap<Tensor, &'s [Index]> {
        let mut registers: BTreeMap<Tensor, &[Index]> = BTreeMap::new();
        let mut finishing = false;
        for statement in statements {
            let reduces = self.reduces(reduce, statement);
            if reduces && finishing {
                self.report(statement.result, "a reduction stands behind statements that finish");
            }
            finishing |= !reduces;
            self.scope((free, reduce), statement, reduces);
            self.reads(statement, if reduces { below } else { &registers }, results, known);
            let again = registers.insert(statement.result, &statement.at).is_some();
            if again || below.contains_key(&statement.result) {
                self.report(statement.result, "a nest defines it twice");
            }
        }
        registers
    }

    /// Whether a statement is a reduction; checks where reductions stand and what they run over.
    fn reduces(&mut self, reduce: &[Axis], statement: &Statement) -> bool {
        let program = &self.kernels.program;
        let (reduces, inner) = match &program.exprs[statement.body] {
            Expr::Reduce { axes, body, .. } => {
                if axes != reduce {
                    self.report(statement.result, "it reduces over other axes than its nest");
                }
                (true, *body)
            }
            _ => (false, statement.body),
        };
        if has_reduction(program, inner) {
            self.report(statement.result, "a reduction stands inside an expression");
        }
        reduces
    }

    fn scope(&mut self, (free, reduce): (&[Axis], &[Axis]), statement: &Statement, reduces: bool) {
        let mut used: BTreeSet<Axis> = BTreeSet::new();
        let mut add = |axis: Axis| {
            used.insert(axis);
        };
        statement.at.iter().for_each(|index| index.for_each_axis(&mut add));
        let mut body: Vec<ExprId> = Vec::new();
        self.kernels.program.for_each_expr(statement.body, &mut |id| body.push(id));
        for id in body {
            match &self.kernels.program.exprs[id] {
                Expr::Number(index) | Expr::Uniform { element: index, .. } => index.for_each_axis(&mut add),
                Expr::Read { index, .. } => index.iter().for_each(|index| index.for_each_axis(&mut add)),
                _ => {}
            }
        }
        let bound = |axis: &Axis| free.contains(axis) || (reduces && reduce.contains(axis));
        for axis in used.into_iter().filter(|axis| !bound(axis)) {
            let name = &self.kernels.program.axes[axis].name;
            self.report(statement.result, format!("axis {name} ({axis}) is used where nothing binds it"));
        }
    }

    /// Checks the reads of a statement; `registers` are the elements that it may read from a register.
    fn reads(
        &mut self,
        statement: &Statement,
        registers: &BTreeMap<Tensor, &[Index]>,
        results: &BTreeSet<Tensor>,
        known: &BTreeSet<Tensor>,
    ) {
        let mut reads = Vec::new();
        self.kernels.program.for_each_expr(statement.body, &mut |id| {
            if let Expr::Read { tensor, index, fill } = &self.kernels.program.exprs[id] {
                reads.push((*tensor, index, fill.is_some()));
            }
        });
        for (tensor, index, filled) in reads {
            let name = &self.kernels.program.tensors[tensor].name;
            match registers.get(&tensor) {
                Some(at) if self.kernels.program.is_same_element(at, index) => {}
                Some(_) => self.report(statement.result, format!("it reads another element of {name}")),
                None if results.contains(&tensor) => {
                    self.report(statement.result, format!("it reads {name} before this point defines it"));
                }
                None if !known.contains(&tensor) || !self.kernels.stored.contains(&tensor) => {
                    self.report(statement.result, format!("it reads {name}, which nobody has stored"));
                }
                None => self.memory_read(statement.result, tensor, index, filled),
            }
        }
    }

    fn memory_read(&mut self, result: Tensor, tensor: Tensor, index: &[Index], filled: bool) {
        let program = &self.kernels.program;
        let data = &program.tensors[tensor];
        if index.len() != data.shape.len() {
            let (given, rank) = (index.len(), data.shape.len());
            return self.report(result, format!("it reads {} with {given} indices of {rank}", data.name));
        }
        let lane_dim =
            self.layouts.and_then(|layouts| layouts.get(&tensor)).and_then(|layout| layout.lane_dim);
        for (dimension, (index, extent)) in index.iter().zip(&data.shape).enumerate() {
            let (low, high) = index.range(&program.axes);
            let inside = low >= 0 && high < *extent;
            if !inside && (!filled || Some(dimension) == lane_dim) {
                let name = &data.name;
                let finding =
                    format!("it reads {name} at {low} to {high} of {extent} in dimension {dimension}");
                self.report(result, finding);
            }
        }
    }
}

fn layout_findings(layout: &Layout, shape: &[i64]) -> Vec<String> {
    let mut findings = Vec::new();
    if layout.shape != shape || layout.halo.len() != shape.len() {
        findings.push("its layout is of another shape".into());
    }
    if layout.lanes < 1 || (layout.lane_dim.is_none() && layout.lanes != 1) {
        findings.push(format!("its layout has {} lanes", layout.lanes));
    }
    if layout.lane_dim.is_some_and(|lane_dim| lane_dim >= shape.len()) {
        findings.push("its layout has lanes in a dimension that it has not".into());
    }
    if layout.halo.iter().any(|(before, after)| *before < 0 || *after < 0) {
        findings.push("its halo is negative".into());
    }
    if layout.lane_dim.is_some_and(|lane_dim| layout.halo.get(lane_dim).is_some_and(|halo| *halo != (0, 0))) {
        findings.push("its halo widens the dimension in lanes".into());
    }
    if layout.fill.is_none() && layout.halo.iter().any(|halo| *halo != (0, 0)) {
        findings.push("its halo holds no value".into());
    }
    findings
}
