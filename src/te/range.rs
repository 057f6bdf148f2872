//! The range of an index: intervals, made narrow by what the terms of a sum have in common.
//!
//! The interval of a sum is the sum of its terms' intervals. That forgets how terms depend on each other: `i - i % 4`
//! is never negative, though `i` can be 0 and `i % 4` can be 3. So where terms share axes, sums that are equal to it,
//! or that bound it, are looked at as well. All of their intervals hold, so the narrowest ends do:
//!
//! - `x = k*(x / k) + x % k`: a multiple of the difference of both sides is added, such that a term falls away.
//! - `min(x, y)` is `x` or `y`, and no more than either of them or a weighted mean of both; `max` likewise.
//!
//! Each step is an identity or an inequality of whole numbers, in checked arithmetic of 128 bits, so neither the order
//! of the steps nor the limit on their number can make a range too narrow.

use std::cell::Cell;

use super::index::{Atom, Axes, Axis, Index};

/// Sums that are looked at for one range. Beyond that, intervals are added up, which takes no longer than reading them.
const MOST_SUMS: usize = 256;

/// The smallest and the largest value, or less and more.
type Interval = (i128, i128);

/// What is known of the axes.
pub(super) trait Known {
    /// The smallest and the largest value of an axis.
    fn axis(&self, axis: Axis) -> (i64, i64);

    /// Indices of which more is known than of their terms.
    fn bounds(&self) -> &[IndexBound];
}

/// An index and the interval in which it lies.
#[derive(Clone, Debug)]
pub(super) struct IndexBound {
    pub index: Index,
    pub low: i64,
    pub high: i64,
}

impl Known for Axes {
    fn axis(&self, axis: Axis) -> (i64, i64) {
        (0, (self[axis].extent - 1).max(0))
    }

    fn bounds(&self) -> &[IndexBound] {
        &[]
    }
}

/// The range of an index; all of `i64` where its values may not fit. In reverse order if what is known contradicts
/// itself.
pub(super) fn range(index: &Index, known: &dyn Known) -> (i64, i64) {
    let search = Search { known, left: Cell::new(MOST_SUMS) };
    let fits = |(low, high)| Some((i64::try_from(low).ok()?, i64::try_from(high).ok()?));
    search.sum(&Sum::of(index), &[]).and_then(fits).unwrap_or((i64::MIN, i64::MAX))
}

/// A sum of multiples of atoms, sorted by atom, and a constant.
#[derive(Clone)]
struct Sum<'a> {
    terms: Vec<(&'a Atom, i128)>,
    constant: i128,
}

/// A dividend and a divisor.
type Division<'a> = (&'a Index, i64);

impl<'a> Sum<'a> {
    fn of(index: &'a Index) -> Sum<'a> {
        let terms = index.terms().iter().map(|(atom, coefficient)| (atom, i128::from(*coefficient)));
        Sum { terms: terms.collect(), constant: i128::from(index.constant()) }
    }

    fn atom(atom: &'a Atom) -> Sum<'a> {
        Sum { terms: vec![(atom, 1)], constant: 0 }
    }

    /// `j * self + k * other`; none where a number does not fit.
    fn combined(&self, j: i128, other: &Sum<'a>, k: i128) -> Option<Sum<'a>> {
        let constant = j.checked_mul(self.constant)?.checked_add(k.checked_mul(other.constant)?)?;
        let mut terms = Vec::with_capacity(self.terms.len() + other.terms.len());
        let (mut left, mut right) = (self.terms.iter().peekable(), other.terms.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Some(Sum { terms, constant }),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((x, _)), Some((y, _))) => x.cmp(y),
            };
            let one = left.next_if(|_| order.is_le());
            let two = right.next_if(|_| order.is_ge());
            let scaled =
                |term: Option<&(&Atom, i128)>, by: i128| term.map_or(Some(0), |(_, c)| c.checked_mul(by));
            let coefficient = scaled(one, j)?.checked_add(scaled(two, k)?)?;
            if let Some((atom, _)) = one.or(two)
                && coefficient != 0
            {
                terms.push((*atom, coefficient));
            }
        }
    }

    fn coefficient(&self, atom: &Atom) -> i128 {
        let found = self.terms.binary_search_by(|(other, _)| (*other).cmp(atom));
        found.map_or(0, |at| self.terms[at].1)
    }

    fn without(&self, at: usize) -> Sum<'a> {
        let mut rest = self.clone();
        rest.terms.remove(at);
        rest
    }

    /// The value at a point; none where a number does not fit.
    fn value(&self, point: &dyn Fn(Axis) -> i64) -> Option<i128> {
        self.terms.iter().try_fold(self.constant, |total, (atom, coefficient)| {
            let of = |index: &Index| Sum::of(index).value(point);
            let value = match atom {
                Atom::Axis(axis) => i128::from(point(*axis)),
                Atom::Div(x, k) => of(x)?.div_euclid((*k).into()),
                Atom::Rem(x, k) => of(x)?.rem_euclid((*k).into()),
                Atom::Min(x, y) => of(x)?.min(of(y)?),
                Atom::Max(x, y) => of(x)?.max(of(y)?),
            };
            total.checked_add(coefficient.checked_mul(value)?)
        })
    }

    /// Whether another term mentions an axis of these indices.
    fn shares(&self, at: usize, operands: &[&Index]) -> bool {
        let mut others = self.terms.iter().enumerate().filter(|(other, _)| *other != at);
        others.any(|(_, (atom, _))| mentions(atom, operands))
    }
}

/// Whether an atom and some indices have an axis in common.
fn mentions(atom: &Atom, operands: &[&Index]) -> bool {
    let mut found = false;
    atom.for_each_axis(&mut |axis| found |= operands.iter().any(|operand| operand.mentions(axis)));
    found
}

struct Search<'k> {
    known: &'k dyn Known,
    /// Sums that may still be looked at.
    left: Cell<usize>,
}

impl Search<'_> {
    /// The range of a sum; none where it does not fit. `done` are the divisions that need not be looked at again.
    fn sum(&self, sum: &Sum<'_>, done: &[Division<'_>]) -> Option<Interval> {
        let mut range = self.added(sum)?;
        for bound in self.known.bounds() {
            if let Some(known) = by_bound(sum, bound) {
                range = narrowed(range, known);
            }
        }
        for divisions in [false, true] {
            for (at, (atom, _)) in sum.terms.iter().enumerate() {
                let relates = match atom {
                    Atom::Axis(_) => false,
                    Atom::Div(x, k) | Atom::Rem(x, k) => {
                        divisions && sum.shares(at, &[x]) && !done.contains(&(x, *k))
                    }
                    Atom::Min(x, y) | Atom::Max(x, y) => {
                        !divisions && (sum.shares(at, &[x, y]) || meet(x, y))
                    }
                };
                if relates && (self.left.get() == 0 || self.is_attained(sum, range)) {
                    return Some(range);
                }
                if relates && let Some(found) = self.by_relation(sum, at, done) {
                    range = narrowed(range, found);
                }
            }
        }
        Some(range)
    }

    fn by_relation(&self, sum: &Sum<'_>, at: usize, done: &[Division<'_>]) -> Option<Interval> {
        match sum.terms[at].0 {
            Atom::Div(x, k) | Atom::Rem(x, k) => self.by_division(sum, (x, *k), done),
            Atom::Axis(_) | Atom::Min(..) | Atom::Max(..) => self.by_choice(sum, at, done),
        }
    }

    /// Whether a range cannot be narrower, because both of its ends are values: those where each axis is at the end to
    /// which its first term points.
    fn is_attained(&self, sum: &Sum<'_>, range: Interval) -> bool {
        let value = |upwards: bool| {
            sum.value(&|axis| {
                let first = sum.terms.iter().find(|(atom, _)| mentions(atom, &[&Index::from(axis)]));
                let (low, high) = self.known.axis(axis);
                if first.is_some_and(|(_, coefficient)| (*coefficient > 0) == upwards) { high } else { low }
            })
        };
        self.known.bounds().is_empty() && value(false) == Some(range.0) && value(true) == Some(range.1)
    }

    /// The terms' intervals added up.
    fn added(&self, sum: &Sum<'_>) -> Option<Interval> {
        let (mut low, mut high) = (sum.constant, sum.constant);
        for (atom, coefficient) in &sum.terms {
            let (least, most) = self.atom(atom)?;
            let (a, b) = (coefficient.checked_mul(least)?, coefficient.checked_mul(most)?);
            low = low.checked_add(a.min(b))?;
            high = high.checked_add(a.max(b))?;
        }
        Some((low, high))
    }

    fn atom(&self, atom: &Atom) -> Option<Interval> {
        let of = |index: &Index| self.sum(&Sum::of(index), &[]);
        Some(match atom {
            Atom::Axis(axis) => {
                let (low, high) = self.known.axis(*axis);
                (i128::from(low), i128::from(high))
            }
            Atom::Div(x, k) => {
                let ((low, high), k) = (of(x)?, i128::from(*k));
                (low.div_euclid(k), high.div_euclid(k))
            }
            Atom::Rem(x, k) => match (of(x), i128::from(*k)) {
                (Some((low, high)), k) if low.div_euclid(k) == high.div_euclid(k) => {
                    (low.rem_euclid(k), high.rem_euclid(k))
                }
                (_, k) => residues(x, k),
            },
            Atom::Min(x, y) => {
                let (x, y) = (of(x)?, of(y)?);
                (x.0.min(y.0), x.1.min(y.1))
            }
            Atom::Max(x, y) => {
                let (x, y) = (of(x)?, of(y)?);
                (x.0.max(y.0), x.1.max(y.1))
            }
        })
    }

    /// The range by one more sum, if it may be looked at: of a sum that is `scale` times as large.
    fn divided(&self, sum: Option<Sum<'_>>, scale: i128, done: &[Division<'_>]) -> Option<Interval> {
        self.left.set(self.left.get().checked_sub(1)?);
        let (low, high) = self.sum(&sum?, done)?;
        Some((-(-low).div_euclid(scale), high.div_euclid(scale)))
    }

    /// The range of a sum by multiples of `x - k*(x / k) - x % k`, which is 0, that make a term fall away.
    fn by_division(&self, sum: &Sum<'_>, (x, k): Division<'_>, done: &[Division<'_>]) -> Option<Interval> {
        let (quotient, remainder) = (quotient(x, k), remainder(x, k));
        let dividend = Sum::of(x);
        let parts = Sum::atom(&quotient).combined(-i128::from(k), &Sum::atom(&remainder), -1)?;
        let zero = dividend.combined(1, &parts, 1)?;
        let done = [done, &[(x, k)]].concat();
        let mut range: Option<Interval> = None;
        let mut tried = Vec::new();
        for (atom, own) in &zero.terms {
            let coefficient = sum.coefficient(atom);
            if coefficient == 0 {
                continue;
            }
            // `scale * coefficient + times * own` is 0.
            let common = greatest_common_divisor(coefficient, *own);
            let (scale, times) = ((own / common).abs(), -(coefficient / common) * own.signum());
            if tried.contains(&(scale, times)) {
                continue;
            }
            tried.push((scale, times));
            if let Some(found) = self.divided(sum.combined(scale, &zero, times), scale, &done) {
                range = Some(range.map_or(found, |range| narrowed(range, found)));
            }
        }
        range
    }

    /// The range of a sum in which a `min` or `max` is either of its operands.
    fn by_choice(&self, sum: &Sum<'_>, at: usize, done: &[Division<'_>]) -> Option<Interval> {
        let (atom, coefficient) = sum.terms[at];
        let (x, y, smaller) = match atom {
            Atom::Min(x, y) => (x, y, coefficient > 0),
            Atom::Max(x, y) => (x, y, coefficient < 0),
            Atom::Axis(_) | Atom::Div(..) | Atom::Rem(..) => return None,
        };
        let rest = sum.without(at);
        let (one, other) =
            (rest.combined(1, &Sum::of(x), coefficient)?, rest.combined(1, &Sum::of(y), coefficient)?);
        let a = self.divided(Some(one.clone()), 1, done)?;
        let b = self.divided(Some(other.clone()), 1, done)?;
        let mut range = if smaller { (a.0.min(b.0), a.1.min(b.1)) } else { (a.0.max(b.0), a.1.max(b.1)) };
        for (j, k) in weights(&one, &other) {
            let mean = self.divided(one.combined(j, &other, k), j + k, done);
            match mean {
                Some((_, high)) if smaller => range.1 = range.1.min(high),
                Some((low, _)) if !smaller => range.0 = range.0.max(low),
                _ => {}
            }
        }
        Some(range)
    }
}

/// Weights of two sums: those with which a term of the mean falls away.
fn weights(one: &Sum<'_>, other: &Sum<'_>) -> Vec<(i128, i128)> {
    let mut found = Vec::new();
    for (atom, a) in &one.terms {
        let b = other.coefficient(atom);
        if b != 0 && a.signum() != b.signum() {
            let common = greatest_common_divisor(*a, b);
            let pair = ((b / common).abs(), (a / common).abs());
            if !found.contains(&pair) {
                found.push(pair);
            }
        }
    }
    found
}

/// The interval of a sum that differs from a bounded index, or from its negative, by a constant.
fn by_bound(sum: &Sum<'_>, bound: &IndexBound) -> Option<Interval> {
    let same = |sign: i128| {
        let terms = bound.index.terms();
        terms.len() == sum.terms.len()
            && terms.iter().zip(&sum.terms).all(|((x, a), (y, b))| sign * i128::from(*a) == *b && x == *y)
    };
    let (low, high, constant) =
        (i128::from(bound.low), i128::from(bound.high), i128::from(bound.index.constant()));
    if same(1) {
        let offset = sum.constant - constant;
        return Some((low + offset, high + offset));
    }
    if same(-1) {
        let total = sum.constant + constant;
        return Some((total - high, total - low));
    }
    None
}

fn narrowed(one: Interval, other: Interval) -> Interval {
    (one.0.max(other.0), one.1.min(other.1))
}

/// Whether two indices have an axis in common.
fn meet(x: &Index, y: &Index) -> bool {
    let mut found = false;
    x.for_each_axis(&mut |axis| found |= y.mentions(axis));
    found
}

/// The remainders that an index can leave: those of its constant modulo what divides all else.
fn residues(x: &Index, k: i128) -> Interval {
    let step = x.terms().iter().fold(k, |step, (_, c)| greatest_common_divisor(step, i128::from(*c)));
    let first = i128::from(x.constant()).rem_euclid(step);
    (first, k - step + first)
}

/// `x / k` as the algebra writes it.
fn quotient(x: &Index, k: i64) -> Atom {
    match x.terms() {
        [(Atom::Div(inner, by), 1)] if x.constant() == 0 && by.checked_mul(k).is_some() => {
            Atom::Div(inner.clone(), by * k)
        }
        _ => Atom::Div(Box::new(x.clone()), k),
    }
}

/// `x % k` as the algebra writes it.
fn remainder(x: &Index, k: i64) -> Atom {
    match x.terms() {
        [(Atom::Rem(inner, by), 1)] if x.constant() == 0 && by % k == 0 => Atom::Rem(inner.clone(), k),
        _ => Atom::Rem(Box::new(x.clone()), k),
    }
}

/// The greatest common divisor of two numbers that are not both 0, positive.
fn greatest_common_divisor(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
