//! What holds of every program of equations:
//!
//! 1. Extents of axes and tensors are not negative, and a tensor's size fits an `i64`.
//! 2. Inputs are given once and have no equation. Every other tensor that is read or asked for has exactly one
//!    equation, which stands before its readers.
//! 3. The axes of a piece are distinct. The pieces of an equation are disjoint and cover the result.
//! 4. An axis is used only where the piece or a reduction around it binds it, and no reduction binds it again.
//! 5. Reads and stores have one index a dimension.
//! 6. Every read is in bounds: by the extents of its axes, by the conditions of the selects around it, or because it
//!    says what lies outside.
//!
//! Programs in normal form (after lowering) have more invariants: reductions at the root of a body only.

use std::collections::{BTreeMap, BTreeSet};

use super::cover::{self, Region};
use super::expr::{Expr, ExprId};
use super::facts::Facts;
use super::index::{Axis, Index};
use super::program::{Equation, Piece, Program, Tensor};

/// Nodes that are looked at under conditions, at most, in one piece.
const MOST_VISITS: usize = 1 << 20;

/// Checks all invariants.
///
/// # Errors
///
/// Everything that does not hold, a sentence each.
pub fn verify(program: &Program) -> Result<(), Vec<String>> {
    let mut verifier = Verifier { program, findings: Vec::new() };
    verifier.extents();
    if verifier.findings.is_empty() {
        verifier.definitions();
        for equation in &program.equations {
            verifier.equation(equation);
        }
    }
    verifier.result()
}

/// Checks that a program is in normal form: no reduction inside an expression.
///
/// # Errors
///
/// The tensors whose equation has one.
pub fn verify_normal_form(program: &Program) -> Result<(), Vec<String>> {
    let mut findings = Vec::new();
    for equation in &program.equations {
        let nested = |piece: &Piece| match &program.exprs[piece.body] {
            Expr::Reduce { body, .. } => has_reduction(program, *body),
            _ => has_reduction(program, piece.body),
        };
        if equation.pieces.iter().any(nested) {
            let name = &program.tensors[equation.result].name;
            findings.push(format!("{name}: a reduction stands inside an expression"));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// Whether a reduction is part of an expression.
pub fn has_reduction(program: &Program, root: ExprId) -> bool {
    let mut found = false;
    program.for_each_expr(root, &mut |id| found |= matches!(program.exprs[id], Expr::Reduce { .. }));
    found
}

struct Verifier<'a> {
    program: &'a Program,
    findings: Vec<String>,
}

impl Verifier<'_> {
    fn result(self) -> Result<(), Vec<String>> {
        if self.findings.is_empty() { Ok(()) } else { Err(self.findings) }
    }

    fn report(&mut self, tensor: Tensor, finding: impl std::fmt::Display) {
        self.findings.push(format!("{} ({tensor}): {finding}", self.program.tensors[tensor].name));
    }

    fn extents(&mut self) {
        for (axis, data) in self.program.axes.iter() {
            if data.extent < 0 {
                self.findings.push(format!("axis {} ({axis}) has extent {}", data.name, data.extent));
            }
        }
        for (tensor, data) in self.program.tensors.iter() {
            let negative = data.shape.iter().any(|extent| *extent < 0);
            if negative || data.shape.iter().copied().try_fold(1_i64, i64::checked_mul).is_none() {
                self.report(tensor, format!("its shape {:?} is none", data.shape));
            }
        }
    }

    fn definitions(&mut self) {
        let mut known = BTreeSet::new();
        for input in &self.program.inputs {
            if !known.insert(*input) {
                self.report(*input, "it is an input twice");
            }
        }
        for equation in &self.program.equations {
            for tensor in equation.pieces.iter().flat_map(|piece| self.program.reads(piece.body)) {
                if !known.contains(&tensor) {
                    let name = &self.program.tensors[tensor].name;
                    self.report(equation.result, format!("it reads {name} ({tensor}) before its definition"));
                }
            }
            if !known.insert(equation.result) {
                self.report(equation.result, "it has a second definition");
            }
        }
        for output in &self.program.outputs {
            if !known.contains(output) {
                self.report(*output, "it is asked for but has no definition");
            }
        }
    }

    fn equation(&mut self, equation: &Equation) {
        let shape = &self.program.tensors[equation.result].shape;
        let before = self.findings.len();
        for piece in &equation.pieces {
            if piece.at.len() != shape.len() {
                let (given, rank) = (piece.at.len(), shape.len());
                self.report(equation.result, format!("it is stored with {given} indices of {rank}"));
            }
            self.piece(equation.result, piece);
        }
        if self.findings.len() > before {
            return;
        }
        let regions: Vec<Region<'_>> =
            equation.pieces.iter().map(|piece| Region { axes: &piece.axes, at: &piece.at }).collect();
        if let Err(finding) = cover::check(&self.program.axes, shape, &regions) {
            self.report(equation.result, finding);
        }
    }

    fn piece(&mut self, result: Tensor, piece: &Piece) {
        let program = self.program;
        let mut scope: BTreeSet<Axis> = BTreeSet::new();
        for axis in &piece.axes {
            if !scope.insert(*axis) {
                self.report(result, format!("a piece has axis {} twice", program.axes[*axis].name));
            }
        }
        self.indices_in_scope(result, &piece.at, &scope);
        let mut outside = false;
        self.expr(result, piece.body, &scope, &mut BTreeSet::new(), &mut outside);
        if outside && piece.axes.iter().all(|axis| program.axes[*axis].extent > 0) {
            let mut guards = Guards { program, visits: 0, findings: BTreeMap::new() };
            guards.expr(piece.body, &Facts::default(), &mut BTreeSet::new());
            guards.findings.into_values().for_each(|finding| self.report(result, finding));
        }
    }

    /// Checks scopes and ranks; `outside` says whether a read may leave its tensor.
    fn expr(
        &mut self,
        result: Tensor,
        id: ExprId,
        scope: &BTreeSet<Axis>,
        seen: &mut BTreeSet<ExprId>,
        outside: &mut bool,
    ) {
        if !seen.insert(id) {
            return;
        }
        let program = self.program;
        match &program.exprs[id] {
            Expr::Number(index) | Expr::Uniform { element: index, .. } => {
                self.indices_in_scope(result, std::slice::from_ref(index), scope);
            }
            Expr::Read { tensor, index, fill } => {
                self.indices_in_scope(result, index, scope);
                let data = &program.tensors[*tensor];
                if index.len() != data.shape.len() {
                    let (given, rank) = (index.len(), data.shape.len());
                    self.report(result, format!("it reads {} with {given} indices of {rank}", data.name));
                }
                *outside |= fill.is_none() && !program.in_bounds(*tensor, index);
            }
            Expr::Reduce { axes, body, .. } => {
                let mut inner = scope.clone();
                for axis in axes {
                    if !inner.insert(*axis) {
                        self.report(result, format!("axis {} is bound twice", program.axes[*axis].name));
                    }
                }
                self.expr(result, *body, &inner, &mut BTreeSet::new(), outside);
            }
            expr => expr.for_each_operand(&mut |x| self.expr(result, x, scope, seen, outside)),
        }
    }

    fn indices_in_scope(&mut self, result: Tensor, indices: &[Index], scope: &BTreeSet<Axis>) {
        let mut missing = BTreeSet::new();
        for index in indices {
            index.for_each_axis(&mut |axis| {
                if !scope.contains(&axis) {
                    missing.insert(axis);
                }
            });
        }
        for axis in missing {
            let name = &self.program.axes[axis].name;
            self.report(result, format!("axis {name} ({axis}) is used where nothing binds it"));
        }
    }
}

/// Looks for reads that leave their tensor although the conditions around them hold.
struct Guards<'a> {
    program: &'a Program,
    visits: usize,
    findings: BTreeMap<ExprId, String>,
}

impl Guards<'_> {
    fn expr(&mut self, id: ExprId, facts: &Facts, seen: &mut BTreeSet<ExprId>) {
        self.visits += 1;
        if facts.impossible() || !seen.insert(id) {
            return;
        }
        if self.visits > MOST_VISITS {
            self.findings.insert(id, "its conditions are too many to check".into());
            return;
        }
        let program = self.program;
        match &program.exprs[id] {
            Expr::Read { tensor, index, fill: None } => self.read(id, *tensor, index, facts),
            Expr::Select(condition, x, y) => {
                self.expr(*condition, facts, seen);
                self.expr(*x, &facts.given(program, *condition, true), &mut BTreeSet::new());
                self.expr(*y, &facts.given(program, *condition, false), &mut BTreeSet::new());
            }
            Expr::Reduce { axes, .. } if axes.iter().any(|axis| program.axes[*axis].extent == 0) => {}
            expr => expr.for_each_operand(&mut |operand| self.expr(operand, facts, seen)),
        }
    }

    fn read(&mut self, id: ExprId, tensor: Tensor, index: &[Index], facts: &Facts) {
        let data = &self.program.tensors[tensor];
        for (dimension, (index, extent)) in index.iter().zip(&data.shape).enumerate() {
            if !facts.inside(self.program, index, *extent) {
                let (low, high) = facts.range(self.program, index);
                let name = &data.name;
                let finding =
                    format!("it reads {name} at {low} to {high} of {extent} in dimension {dimension}");
                self.findings.insert(id, finding);
            }
        }
    }
}
