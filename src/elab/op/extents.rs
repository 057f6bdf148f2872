//! The extents of axes that have no bound, from the reads that they index.
//!
//! A read without `else` stays inside, so each of its dimensions says how far an axis can go:
//! `0 <= sum of coefficient * axis + constant < extent`. An axis that is the only one of an index gets its extent
//! there; others get it from an index whose other axes are known, in rounds. What determines an axis in the same round
//! must agree. A smaller extent would silently leave out what the other read has, so it is written: `k < ...`. A read
//! with `else` determines nothing, because every extent is fine for it.

use std::collections::HashMap;

use super::equation::bound_twice;
use super::linear::{Linear, linear};
use super::{Equations, Symbol};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::Outcome;
use crate::elab::evaluate::{at, evaluate};
use crate::elab::types;
use crate::elab::value::Value;
use crate::syntax::ast::{Binder, Block, Else, Expr, ExprKind, IfExpr};
use crate::te::size::MOST_ELEMENTS;

/// What is known of an axis without a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Known(i64),
    /// Only reads with `else` have it.
    Filled,
    Unknown,
}

/// An axis by the place that binds it.
struct Variable {
    name: String,
    span: Span,
    extent: Option<i64>,
    /// Whether a read with `else` has it.
    filled: bool,
}

/// What one dimension of a read says: its index lies from 0 to below the extent.
struct Limit {
    form: Linear<usize>,
    extent: i64,
    read: Span,
    index: Span,
}

/// The limits of one equation.
struct Collector<'e, 'm> {
    equations: &'e mut Equations<'m>,
    variables: Vec<Variable>,
    scope: Vec<(String, usize)>,
    limits: Vec<Limit>,
}

impl<'m> Equations<'m> {
    /// Finds the extents of the binders of an equation and of its reductions that have no bound. The axes of a left
    /// side that are in scope have theirs.
    pub(super) fn infer_extents(&mut self, binders: &[Binder], body: &Expr) -> Outcome<()> {
        let bound: Vec<(String, i64)> = self
            .axes
            .iter()
            .map(|(name, index)| {
                (name.clone(), index.as_axis().map_or(1, |axis| self.program.axes[axis].extent))
            })
            .collect();
        let mut collector =
            Collector { equations: self, variables: Vec::new(), scope: Vec::new(), limits: Vec::new() };
        for (name, extent) in &bound {
            collector.add(name, body.span, Some(*extent));
        }
        if bound.is_empty() {
            collector.bind(binders)?;
        }
        collector.visit(body)?;
        collector.solve()?;
        let found = collector.variables.into_iter().skip(bound.len()).map(|variable| {
            let unknown = if variable.filled { Extent::Filled } else { Extent::Unknown };
            (variable.span, variable.extent.map_or(unknown, Extent::Known))
        });
        self.extents.extend(found);
        Ok(())
    }

    /// The names and extents of binders: their bounds, or what their reads say.
    pub(super) fn bounds(&mut self, binders: &[Binder]) -> Outcome<Vec<(String, i64)>> {
        self.check_known(binders)?;
        binders.iter().map(|binder| self.bound(binder)).collect()
    }

    /// One error for all binders whose extents nothing says.
    fn check_known(&self, binders: &[Binder]) -> Outcome<()> {
        let (mut unknown, mut is_filled) = (Vec::new(), false);
        for binder in binders.iter().filter(|binder| binder.bound.is_none()) {
            let ExprKind::Name(name) = &binder.index.kind else { continue };
            match self.extents.get(&binder.index.span) {
                Some(Extent::Known(_)) => continue,
                Some(Extent::Filled) => is_filled = true,
                Some(Extent::Unknown) | None => {}
            }
            unknown.push((name, binder.index.span));
        }
        let named = |show: &dyn Fn(&str) -> String| {
            let names: Vec<String> = unknown.iter().map(|(name, _)| show(name)).collect();
            names.join(" and ")
        };
        let (names, bounds) = (named(&|name| format!("`{name}`")), named(&|name| format!("`{name} < ...`")));
        let (message, help) = match unknown.len() {
            0 => return Ok(()),
            1 => (format!("the extent of axis {names} is not known"), format!("give a bound: {bounds}")),
            _ => (format!("the extents of axes {names} are not known"), format!("give bounds: {bounds}")),
        };
        let error = Diagnostic::error(message).help(help);
        let error = unknown.iter().fold(error, |error, (_, span)| error.primary(*span, ""));
        Err(if is_filled {
            error.note("a read with `else` does not say how far an axis goes")
        } else {
            error
        })
    }

    /// The name and extent of an axis.
    fn bound(&mut self, binder: &Binder) -> Outcome<(String, i64)> {
        let ExprKind::Name(name) = &binder.index.kind else {
            return Err(at("a reduction binds plain names", binder.index.span));
        };
        let inferred = match self.extents.get(&binder.index.span) {
            Some(Extent::Known(extent)) => *extent,
            Some(Extent::Filled | Extent::Unknown) | None => 0,
        };
        let extent = match &binder.bound {
            Some(bound) => types::evaluate_extent(self, bound)?,
            None => inferred,
        };
        if (1..=MOST_ELEMENTS).contains(&extent) {
            return Ok((name.clone(), extent));
        }
        let span = binder.bound.as_ref().map_or(binder.index.span, |bound| bound.span);
        Err(at(format!("axis `{name}` would have {extent} elements"), span))
    }
}

impl Collector<'_, '_> {
    fn add(&mut self, name: &str, span: Span, extent: Option<i64>) {
        self.variables.push(Variable { name: name.to_owned(), span, extent, filled: false });
        self.scope.push((name.to_owned(), self.variables.len() - 1));
    }

    /// Brings binders into scope; gives the scope's length before.
    fn bind(&mut self, binders: &[Binder]) -> Outcome<usize> {
        let before = self.scope.len();
        for binder in binders {
            let ExprKind::Name(name) = &binder.index.kind else { continue };
            let extent = binder.bound.as_ref().and_then(|bound| match evaluate(self.equations, bound) {
                Ok(Value::Int(extent)) => Some(extent),
                Ok(_) | Err(_) => None,
            });
            if self.scope.iter().any(|(known, _)| known == name) {
                return Err(bound_twice(name, binder.index.span));
            }
            self.equations.check_hidden(name, binder.index.span)?;
            self.equations.note_axis(name, binder.index.span);
            self.add(name, binder.index.span, extent);
        }
        Ok(before)
    }

    fn visit(&mut self, expr: &Expr) -> Outcome<()> {
        match &expr.kind {
            ExprKind::Index { base, indices } => self.read(base, indices, expr.span, false),
            ExprKind::Fill { read, .. } => {
                if let ExprKind::Index { base, indices } = &read.kind {
                    self.read(base, indices, read.span, true);
                }
            }
            ExprKind::Reduce { binders, body, .. } => {
                let before = self.bind(binders)?;
                self.visit(body)?;
                self.scope.truncate(before);
            }
            ExprKind::Call(call) => call.args.iter().try_for_each(|arg| self.visit(&arg.value))?,
            ExprKind::Unary { operand, .. } => self.visit(operand)?,
            ExprKind::Binary { left, right, .. } => {
                self.visit(left)?;
                self.visit(right)?;
            }
            ExprKind::If(choice) => self.visit_if(choice)?,
            ExprKind::Number { .. }
            | ExprKind::Bool(_)
            | ExprKind::Infinity
            | ExprKind::String(_)
            | ExprKind::Name(_)
            | ExprKind::List(_)
            | ExprKind::Pipe { .. }
            | ExprKind::As { .. }
            | ExprKind::Field { .. } => {}
        }
        Ok(())
    }

    /// A branch that is never taken says nothing.
    fn visit_if(&mut self, choice: &IfExpr) -> Outcome<()> {
        let known = match evaluate(self.equations, &choice.condition) {
            Ok(Value::Bool(truth)) => Some(truth),
            Ok(_) | Err(_) => None,
        };
        self.visit(&choice.condition)?;
        if known != Some(false) {
            self.visit_block(&choice.then)?;
        }
        match &choice.otherwise {
            Some(_) if known == Some(true) => Ok(()),
            Some(Else::Block(block)) => self.visit_block(block),
            Some(Else::If(next)) => self.visit_if(next),
            None => Ok(()),
        }
    }

    fn visit_block(&mut self, block: &Block) -> Outcome<()> {
        block.tail.as_ref().map_or(Ok(()), |tail| self.visit(tail))
    }

    fn read(&mut self, base: &Expr, indices: &[Expr], read: Span, filled: bool) {
        if let ExprKind::Name(name) = &base.kind
            && let Some(Symbol::Tensor(tensor)) = self.equations.names.get(name)
        {
            let shape = self.equations.program.tensors[*tensor].shape.clone();
            if shape.len() == indices.len() {
                for (index, extent) in indices.iter().zip(shape) {
                    self.limit(index, extent, read, filled);
                }
            }
            return;
        }
        let (mut list, mut positions) = (base, indices.iter().collect::<Vec<_>>());
        while let ExprKind::Index { base, indices } = &list.kind {
            positions = indices.iter().chain(positions).collect();
            list = base;
        }
        if let Ok(list) = evaluate(self.equations, list) {
            self.positions(&list, &positions, read);
        }
    }

    /// The positions of a read of a list. Lists in it count where all have one length.
    fn positions(&mut self, list: &Value, positions: &[&Expr], read: Span) {
        let (Value::List(values), Some((first, rest))) = (list, positions.split_first()) else { return };
        self.limit(first, values.len() as i64, read, false);
        let length = |value: &Value| match value {
            Value::List(values) => values.len(),
            _ => 0,
        };
        if let Some(value) = values.first()
            && values.iter().all(|other| length(other) == length(value))
        {
            self.positions(value, rest, read);
        }
    }

    fn limit(&mut self, index: &Expr, extent: i64, read: Span, filled: bool) {
        let scope = &self.scope;
        let find = |name: &str| scope.iter().rev().find(|(known, _)| known == name).map(|(_, at)| *at);
        let Some(form) = linear(self.equations, index, &mut |name| find(name)) else { return };
        if filled {
            form.terms.iter().for_each(|(variable, _)| self.variables[*variable].filled = true);
        } else {
            self.limits.push(Limit { form, extent, read, index: index.span });
        }
    }

    /// Solves for the unknown extents: first from indices of one axis, then from those of several.
    fn solve(&mut self) -> Outcome<()> {
        self.round(|limit| limit.form.terms.len() == 1)?;
        while self.round(|_| true)? {}
        Ok(())
    }

    /// Gives extents to the axes that limits determine now; whether there were any.
    fn round(&mut self, counts: fn(&Limit) -> bool) -> Outcome<bool> {
        let mut found: HashMap<usize, (i64, &Limit)> = HashMap::new();
        for limit in self.limits.iter().filter(|limit| counts(limit)) {
            let Some((variable, extent)) = self.determined(limit) else { continue };
            let (first, other) = *found.entry(variable).or_insert((extent, limit));
            if first != extent {
                return Err(self.contradiction(variable, (first, other), (extent, limit)));
            }
        }
        let found: Vec<(usize, i64)> =
            found.into_iter().map(|(variable, (extent, _))| (variable, extent)).collect();
        for (variable, extent) in &found {
            self.variables[*variable].extent = Some(*extent);
        }
        Ok(!found.is_empty())
    }

    /// The only unknown axis of a limit, and the largest extent with which it is kept.
    fn determined(&self, limit: &Limit) -> Option<(usize, i64)> {
        let mut unknown = None;
        let constant = i128::from(limit.form.constant);
        let (mut low, mut high) = (constant, constant);
        for (variable, coefficient) in &limit.form.terms {
            match self.variables[*variable].extent {
                Some(extent) => {
                    let last = i128::from(*coefficient) * i128::from(extent.max(1) - 1);
                    (low, high) = (low.saturating_add(last.min(0)), high.saturating_add(last.max(0)));
                }
                None if unknown.is_some() => return None,
                None => unknown = Some((*variable, i128::from(*coefficient))),
            }
        }
        let (variable, coefficient) = unknown?;
        let room = if coefficient > 0 { (i128::from(limit.extent) - 1).saturating_sub(high) } else { low };
        let extent = if room < 0 { 0 } else { (room / coefficient.abs()).saturating_add(1) };
        Some((variable, i64::try_from(extent).ok()?))
    }

    fn contradiction(&self, variable: usize, first: (i64, &Limit), second: (i64, &Limit)) -> Diagnostic {
        let name = &self.variables[variable].name;
        let ((one, here), (other, there)) = (first, second);
        // Two dimensions of one read are told apart by their indices.
        let place = |limit: &Limit| if here.read == there.read { limit.index } else { limit.read };
        Diagnostic::error(format!("the reads of axis `{name}` give it {one} and {other} elements"))
            .primary(place(there), format!("{other} here"))
            .secondary(place(here), format!("{one} here"))
            .help(format!("say how far it goes: `{name} < ...`"))
    }
}
