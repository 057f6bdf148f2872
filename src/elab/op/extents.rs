//! The extents of axes that have no bound: the largest for which the reads stay inside.
//!
//! Every read gives, for each of its dimensions, the inequality `sum of coefficient * axis + constant < extent`.
//! One with a single unknown axis bounds it; the rounds go on until nothing new is known. Reads with `else` count
//! only where no other read says anything.

use std::collections::HashMap;

use super::{Equations, Symbol};
use crate::base::span::Span;
use crate::elab::Outcome;
use crate::elab::evaluate::{at, evaluate};
use crate::elab::value::Value;
use crate::syntax::ast::{BinaryOp, Binder, Block, Else, Expr, ExprKind, IfExpr, UnaryOp};

/// `sum of coefficient * axis + constant`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Linear<A> {
    pub terms: Vec<(A, i64)>,
    pub constant: i64,
}

impl<A: PartialEq + Clone> Linear<A> {
    fn constant(constant: i64) -> Linear<A> {
        Linear { terms: Vec::new(), constant }
    }

    fn add_scaled(mut self, other: &Linear<A>, k: i64) -> Option<Linear<A>> {
        self.constant = self.constant.checked_add(other.constant.checked_mul(k)?)?;
        for (axis, coefficient) in &other.terms {
            let scaled = coefficient.checked_mul(k)?;
            match self.terms.iter_mut().find(|(known, _)| known == axis) {
                Some((_, sum)) => *sum = sum.checked_add(scaled)?,
                None => self.terms.push((axis.clone(), scaled)),
            }
        }
        self.terms.retain(|(_, coefficient)| *coefficient != 0);
        Some(self)
    }
}

/// An axis by the place that binds it.
struct Variable {
    span: Span,
    extent: Option<i64>,
}

struct Inequality {
    form: Linear<usize>,
    extent: i64,
    filled: bool,
}

/// The inequalities of one equation.
struct Collector<'e, 'm> {
    equations: &'e mut Equations<'m>,
    variables: Vec<Variable>,
    scope: Vec<(String, usize)>,
    inequalities: Vec<Inequality>,
}

impl<'m> Equations<'m> {
    /// Finds the extents of the binders of an equation and of its reductions that have no bound; those that it
    /// cannot find stay unknown.
    pub(super) fn infer_extents(&mut self, binders: &[Binder], body: &Expr) {
        let known: HashMap<Span, i64> = self.left_extents(binders);
        let mut collector =
            Collector { equations: self, variables: Vec::new(), scope: Vec::new(), inequalities: Vec::new() };
        collector.bind(binders);
        for variable in &mut collector.variables {
            variable.extent = variable.extent.or(known.get(&variable.span).copied());
        }
        collector.visit(body);
        collector.solve();
        let found: Vec<(Span, i64)> = collector
            .variables
            .iter()
            .filter_map(|variable| variable.extent.map(|extent| (variable.span, extent)))
            .collect();
        self.extents.extend(found);
    }

    /// The extents of axes of the left side that are already in scope.
    fn left_extents(&self, binders: &[Binder]) -> HashMap<Span, i64> {
        let mut extents = HashMap::new();
        for binder in binders {
            let ExprKind::Name(name) = &binder.index.kind else { continue };
            let axis =
                self.axes.iter().find(|(known, _)| known == name).and_then(|(_, index)| index.as_axis());
            if let Some(axis) = axis {
                extents.insert(binder.index.span, self.program.axes[axis].extent);
            }
        }
        extents
    }

    /// The index of a left side over new axes. A plain name is always an axis; in a sum, a name that is known is its
    /// value.
    pub(super) fn linear_left(&mut self, expr: &Expr) -> Outcome<Linear<String>> {
        if let ExprKind::Name(name) = &expr.kind {
            return Ok(Linear { terms: vec![(name.clone(), 1)], constant: 0 });
        }
        let known: Vec<String> = self
            .names
            .iter()
            .filter(|(_, symbol)| matches!(symbol, Symbol::Const(_)))
            .map(|(name, _)| name.clone())
            .collect();
        let mut axis = |name: &str| (!known.iter().any(|other| other == name)).then(|| name.to_owned());
        linear(self, expr, &mut axis)
            .ok_or_else(|| at("the left side has an index that is no sum of multiples of axes", expr.span))
    }
}

/// The linear form of an index; `axis` says which names are axes. None where it is not linear, or a constant is not
/// known.
fn linear<A: PartialEq + Clone>(
    equations: &mut Equations<'_>,
    expr: &Expr,
    axis: &mut dyn FnMut(&str) -> Option<A>,
) -> Option<Linear<A>> {
    match &expr.kind {
        ExprKind::Name(name) => match axis(name) {
            Some(axis) => Some(Linear { terms: vec![(axis, 1)], constant: 0 }),
            None => known_integer(equations, expr),
        },
        ExprKind::Unary { op: UnaryOp::Neg, operand } => {
            Linear::constant(0).add_scaled(&linear(equations, operand, axis)?, -1)
        }
        ExprKind::Binary { op: op @ (BinaryOp::Add | BinaryOp::Sub), left, right } => {
            let (x, y) = (linear(equations, left, axis)?, linear(equations, right, axis)?);
            x.add_scaled(&y, if *op == BinaryOp::Add { 1 } else { -1 })
        }
        ExprKind::Binary { op: BinaryOp::Mul, left, right } => {
            let (x, y) = (linear(equations, left, axis)?, linear(equations, right, axis)?);
            match (x.terms.as_slice(), y.terms.as_slice()) {
                ([], _) => Linear::constant(0).add_scaled(&y, x.constant),
                (_, []) => Linear::constant(0).add_scaled(&x, y.constant),
                _ => None,
            }
        }
        _ => known_integer(equations, expr),
    }
}

fn known_integer<A: PartialEq + Clone>(equations: &mut Equations<'_>, expr: &Expr) -> Option<Linear<A>> {
    match evaluate(equations, expr) {
        Ok(Value::Int(value)) => Some(Linear::constant(value)),
        Ok(_) | Err(_) => None,
    }
}

impl Collector<'_, '_> {
    /// Brings binders into scope; gives the scope's length before.
    fn bind(&mut self, binders: &[Binder]) -> usize {
        let before = self.scope.len();
        for binder in binders {
            let ExprKind::Name(name) = &binder.index.kind else { continue };
            let extent = binder.bound.as_ref().and_then(|bound| match evaluate(self.equations, bound) {
                Ok(Value::Int(extent)) => Some(extent),
                Ok(_) | Err(_) => None,
            });
            self.variables.push(Variable { span: binder.index.span, extent });
            self.scope.push((name.clone(), self.variables.len() - 1));
        }
        before
    }

    fn visit(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Index { base, indices } => self.read(base, indices, false),
            ExprKind::Fill { read, .. } => {
                if let ExprKind::Index { base, indices } = &read.kind {
                    self.read(base, indices, true);
                }
            }
            ExprKind::Reduce { binders, body, .. } => {
                let before = self.bind(binders);
                self.visit(body);
                self.scope.truncate(before);
            }
            ExprKind::Call(call) => call.args.iter().for_each(|arg| self.visit(&arg.value)),
            ExprKind::Unary { operand, .. } => self.visit(operand),
            ExprKind::Binary { left, right, .. } => {
                self.visit(left);
                self.visit(right);
            }
            ExprKind::If(choice) => self.visit_if(choice),
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
    }

    fn visit_if(&mut self, choice: &IfExpr) {
        self.visit(&choice.condition);
        self.visit_block(&choice.then);
        match &choice.otherwise {
            Some(Else::Block(block)) => self.visit_block(block),
            Some(Else::If(next)) => self.visit_if(next),
            None => {}
        }
    }

    fn visit_block(&mut self, block: &Block) {
        if let Some(tail) = &block.tail {
            self.visit(tail);
        }
    }

    fn read(&mut self, base: &Expr, indices: &[Expr], filled: bool) {
        let ExprKind::Name(name) = &base.kind else { return };
        let Some(Symbol::Tensor(tensor)) = self.equations.names.get(name) else { return };
        let shape = self.equations.program.tensors[*tensor].shape.clone();
        let scope = self.scope.clone();
        let find = |name: &str| scope.iter().rev().find(|(known, _)| known == name).map(|(_, at)| *at);
        for (index, extent) in indices.iter().zip(shape) {
            if let Some(form) = linear(self.equations, index, &mut |name| find(name)) {
                self.inequalities.push(Inequality { form, extent, filled });
            }
        }
    }

    /// Solves for the unknown extents, first without the reads that have an `else`.
    fn solve(&mut self) {
        for filled in [false, true] {
            loop {
                let mut found: HashMap<usize, i64> = HashMap::new();
                for inequality in self.inequalities.iter().filter(|one| filled || !one.filled) {
                    if let Some((variable, extent)) = self.bound_of(inequality) {
                        found
                            .entry(variable)
                            .and_modify(|least| *least = extent.min(*least))
                            .or_insert(extent);
                    }
                }
                if found.is_empty() {
                    break;
                }
                for (variable, extent) in found {
                    self.variables[variable].extent = Some(extent);
                }
            }
        }
    }

    /// The extent that an inequality gives to its only unknown axis.
    fn bound_of(&self, inequality: &Inequality) -> Option<(usize, i64)> {
        let mut unknown = None;
        let mut rest = i128::from(inequality.form.constant);
        for (variable, coefficient) in &inequality.form.terms {
            match self.variables[*variable].extent {
                Some(extent) => rest += i128::from((*coefficient).max(0)) * i128::from(extent - 1),
                None if unknown.is_some() => return None,
                None => unknown = Some((*variable, *coefficient)),
            }
        }
        let (variable, coefficient) = unknown.filter(|(_, coefficient)| *coefficient > 0)?;
        let room = i128::from(inequality.extent) - 1 - rest;
        let extent = if room < 0 { 0 } else { room / i128::from(coefficient) + 1 };
        Some((variable, i64::try_from(extent).ok()?))
    }
}
