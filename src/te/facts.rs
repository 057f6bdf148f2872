//! What conditions say about indices: ranges that are narrower than the extents of the axes.
//!
//! In a branch of a `select`, its condition is known. Conjunctions of comparisons between indices and whole numbers
//! narrow the axes that they mention and bound the very index that they compare.

use crate::base::hash::HashMap;

use super::expr::{Binary, Expr, ExprId, Unary};
use super::index::{Atom, Axis, Index};
use super::program::Program;
use super::range::{self, IndexBound, Known};

/// Rounds of narrowing: each fact can help the others that often.
const ROUNDS: usize = 3;

/// What is known at a point.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Indices of which more is known than of their axes.
    bounds: Vec<IndexBound>,
    /// The axes whose interval is narrower than their extent.
    axes: HashMap<Axis, (i64, i64)>,
    impossible: bool,
}

impl Facts {
    /// Whether no point fulfils all conditions.
    pub fn impossible(&self) -> bool {
        self.impossible
    }

    /// The same, and that a condition is true, or that it is not.
    pub fn given(&self, program: &Program, condition: ExprId, truth: bool) -> Facts {
        let mut facts = self.clone();
        facts.learn(program, condition, truth);
        for _ in 0..ROUNDS {
            facts.narrow_axes(program);
        }
        facts
    }

    fn learn(&mut self, program: &Program, condition: ExprId, truth: bool) {
        match &program.exprs[condition] {
            Expr::Const(value) => self.impossible |= (value.get() != 0.0) != truth,
            Expr::Unary(Unary::Not, x) => self.learn(program, *x, !truth),
            Expr::Binary(Binary::And, x, y) if truth => {
                self.learn(program, *x, true);
                self.learn(program, *y, true);
            }
            Expr::Binary(Binary::Or, x, y) if !truth => {
                self.learn(program, *x, false);
                self.learn(program, *y, false);
            }
            Expr::Binary(op, x, y) => {
                let (left, right) = (as_index(program, *x), as_index(program, *y));
                if let (Some(left), Some(right)) = (left, right) {
                    self.compare(program, *op, left.sub(&right, &program.axes), truth);
                }
            }
            Expr::Number(_)
            | Expr::Read { .. }
            | Expr::Unary(..)
            | Expr::Select(..)
            | Expr::Reduce { .. }
            | Expr::Uniform { .. }
            | Expr::Detach(_) => {}
        }
    }

    /// Records that `difference op 0` is true or not.
    fn compare(&mut self, program: &Program, op: Binary, difference: Index, truth: bool) {
        let (low, high) = self.range(program, &difference);
        let (low, high) = match (op, truth) {
            (Binary::Lt, true) | (Binary::Ge, false) => (low, high.min(-1)),
            (Binary::Le, true) if planted!("te.facts.less_equal") => (low, high.min(-1)),
            (Binary::Le, true) | (Binary::Gt, false) => (low, high.min(0)),
            (Binary::Gt, true) | (Binary::Le, false) => (low.max(1), high),
            (Binary::Ge, true) | (Binary::Lt, false) => (low.max(0), high),
            (Binary::Eq, true) | (Binary::Ne, false) => (low.max(0), high.min(0)),
            // Another value than 0 is less than the range where 0 is at its end.
            (Binary::Ne, true) | (Binary::Eq, false) => {
                (low + i64::from(low == 0), high - i64::from(high == 0))
            }
            _ => return,
        };
        self.impossible |= low > high;
        self.bounds.push(IndexBound { index: difference, low, high });
    }

    /// Narrows every axis to the values that the bounds leave it.
    fn narrow_axes(&mut self, program: &Program) {
        for IndexBound { index, low, high } in self.bounds.clone() {
            for (atom, coefficient) in index.terms() {
                let Atom::Axis(axis) = atom else { continue };
                let rest = index.add_scaled(&Index::from(*axis), -coefficient, &program.axes);
                let (rest_low, rest_high) = self.range(program, &rest);
                let (low, high) =
                    (i128::from(low) - i128::from(rest_high), i128::from(high) - i128::from(rest_low));
                let by = i128::from(*coefficient);
                let (least, most) = match by > 0 {
                    true => (divide_up(low, by), high.div_euclid(by)),
                    false => (divide_up(-high, -by), (-low).div_euclid(-by)),
                };
                self.narrow(program, *axis, least, most);
            }
        }
    }

    fn narrow(&mut self, program: &Program, axis: Axis, least: i128, most: i128) {
        let (old_least, old_most) = self.axis_range(program, axis);
        self.impossible |= least.max(old_least.into()) > most.min(old_most.into());
        let nearest = |end: i128| end.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.axes.insert(axis, (nearest(least).max(old_least), nearest(most).min(old_most)));
    }

    fn axis_range(&self, program: &Program, axis: Axis) -> (i64, i64) {
        let whole = (0, (program.axes[axis].extent - 1).max(0));
        self.axes.get(&axis).copied().unwrap_or(whole)
    }

    /// The smallest and the largest value of an index, or a wider interval.
    pub fn range(&self, program: &Program, index: &Index) -> (i64, i64) {
        range::range(index, &Here { facts: self, program })
    }

    /// Whether an index lies in `0..extent`.
    pub fn inside(&self, program: &Program, index: &Index, extent: i64) -> bool {
        let (low, high) = self.range(program, index);
        self.impossible || (low >= 0 && high < extent)
    }
}

/// What is known at a place of a program.
struct Here<'a> {
    facts: &'a Facts,
    program: &'a Program,
}

impl Known for Here<'_> {
    fn axis(&self, axis: Axis) -> (i64, i64) {
        self.facts.axis_range(self.program, axis)
    }

    fn bounds(&self) -> &[IndexBound] {
        &self.facts.bounds
    }
}

fn divide_up(x: i128, k: i128) -> i128 {
    -(-x).div_euclid(k)
}

/// An index, or a whole number as one.
fn as_index(program: &Program, id: ExprId) -> Option<Index> {
    match &program.exprs[id] {
        Expr::Number(index) => Some(index.clone()),
        Expr::Const(value) => {
            let value = value.get();
            (value.fract() == 0.0 && value.abs() < 1e12).then(|| Index::from(value as i64))
        }
        _ => None,
    }
}
