//! Ranges of indices, narrowed by what the branches around a place say.
//!
//! A fact is a range of a sum of terms, from comparisons of index numbers with constants. The range of an index is
//! that of a multiple of a fact plus that of the remainder, wherever this is narrower than the plain range.
//!
//! All indices must be *moderate* ([`is_moderate`]): then nothing here leaves 64 bits, and nothing in a back end does
//! that adds up terms in an order of its own, in bytes.

use super::{Atom, Axes, Binary, Expr, Index, Unary};

/// What is known at a place.
#[derive(Default)]
pub struct Facts {
    /// The newest narrows those before it.
    facts: Vec<Fact>,
}

/// The range of a sum without a constant.
struct Fact {
    terms: Vec<(Atom, i64)>,
    low: i64,
    high: i64,
}

/// The largest sum of the absolute values of an index's terms, of a buffer's bytes, and of an access's lanes: so far from
/// the ends of `i64` that a few of them can be added up in any order.
pub const MODERATE: i64 = 1 << 56;

/// Whether an index and all that it is made of are sums of terms that never add up to more than [`MODERATE`].
pub fn is_moderate(index: &Index, axes: &Axes) -> bool {
    magnitude(index.terms(), index.constant(), axes).is_some()
}

/// The largest sum of the absolute values of terms and a constant, if it and all parts are moderate.
fn magnitude(terms: &[(Atom, i64)], constant: i64, axes: &Axes) -> Option<i64> {
    let of = |index: &Index| magnitude(index.terms(), index.constant(), axes);
    let sum = terms.iter().try_fold(constant.checked_abs()?, |sum, (atom, coefficient)| {
        let largest = match atom {
            Atom::Axis(axis) => (axes[*axis].extent - 1).max(0),
            // Rounded down, which for a negative one is away from 0.
            Atom::Div(x, k) => of(x).filter(|_| *k <= MODERATE)? / k + 1,
            Atom::Rem(x, k) => of(x).map(|_| *k)?,
            Atom::Min(x, y) | Atom::Max(x, y) => of(x)?.max(of(y)?),
        };
        // A back end steps by the coefficient also where the atom is always 0.
        sum.checked_add(coefficient.checked_abs()?.checked_mul(largest.max(1))?)
    });
    sum.filter(|sum| *sum <= MODERATE)
}

impl Facts {
    /// The number of facts, to return to by [`Facts::truncate`].
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Forgets the facts after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.facts.truncate(len);
    }

    /// Learns that a condition is true, or false.
    pub fn assume(&mut self, condition: &Expr, truth: bool, axes: &Axes) {
        match (condition, truth) {
            (Expr::Unary(Unary::Not, x), _) => self.assume(x, !truth, axes),
            (Expr::Binary(Binary::And, x, y), true) | (Expr::Binary(Binary::Or, x, y), false) => {
                self.assume(x, truth, axes);
                self.assume(y, truth, axes);
            }
            (Expr::Binary(op, x, y), _) => {
                if let (Some(op), Some(x), Some(y)) = (assumed(*op, truth), number(x, axes), number(y, axes))
                {
                    self.compare(op, &x.sub(&y, axes), axes);
                }
            }
            _ => {}
        }
    }

    /// Learns how a difference compares with 0.
    fn compare(&mut self, op: Binary, difference: &Index, axes: &Axes) {
        let (low, high) = self.range(&difference.offset(-difference.constant()), axes);
        let edge = -difference.constant();
        let (low, high) = match op {
            Binary::Lt => (low, high.min(edge - 1)),
            Binary::Le => (low, high.min(edge)),
            Binary::Gt => (low.max(edge + 1), high),
            Binary::Ge => (low.max(edge), high),
            Binary::Eq => (low.max(edge), high.min(edge)),
            Binary::Ne if low == edge => (low + 1, high),
            Binary::Ne if high == edge => (low, high - 1),
            _ => return,
        };
        if !difference.terms().is_empty() {
            self.facts.push(Fact { terms: difference.terms().to_vec(), low, high });
            self.recombine(difference.terms(), axes);
        }
    }

    /// Learns about `x` from what is known of its quotient and its remainder: `x = k * (x / k) + x % k`.
    fn recombine(&mut self, terms: &[(Atom, i64)], axes: &Axes) {
        let [(Atom::Div(x, k) | Atom::Rem(x, k), _)] = terms else { return };
        let quotient = self.range(&x.div(*k, axes), axes);
        let remainder = self.range(&x.rem(*k, axes), axes);
        let (low, high) = (k * quotient.0 + remainder.0, k * quotient.1 + remainder.1);
        if !x.terms().is_empty() {
            let (low, high) = (low - x.constant(), high - x.constant());
            self.facts.push(Fact { terms: x.terms().to_vec(), low, high });
        }
    }

    /// The smallest and the largest value of an index; in reverse order if the facts contradict each other.
    pub fn range(&self, index: &Index, axes: &Axes) -> (i64, i64) {
        self.range_with(index, axes, self.facts.len(), 3)
    }

    /// The range by the first `count` facts, up to `depth` of them at once.
    fn range_with(&self, index: &Index, axes: &Axes, count: usize, depth: usize) -> (i64, i64) {
        let mut range = index.range(axes);
        if depth == 0 {
            return range;
        }
        for (at, Fact { terms, low, high }) in self.facts[..count].iter().enumerate().rev() {
            let Some(multiple) = multiple(index, terms) else { continue };
            let reach =
                magnitude(terms, 0, axes).and_then(|reach| reach.checked_mul(multiple.checked_abs()?));
            if reach.is_none_or(|reach| reach > MODERATE) {
                continue; // The remainder might leave 64 bits.
            }
            let fact = terms.iter().fold(index.clone(), |rest, term| subtract(&rest, term, multiple, axes));
            let rest = self.range_with(&fact, axes, at, depth - 1);
            // Facts that contradict each other may lie anywhere; all others lie in the range of their terms.
            let (a, b) = (multiple.saturating_mul(*low), multiple.saturating_mul(*high));
            let (low, high) = (rest.0.saturating_add(a.min(b)), rest.1.saturating_add(a.max(b)));
            range = (range.0.max(low), range.1.min(high));
        }
        range
    }
}

/// How often a sum of terms goes into an index, by its first term.
fn multiple(index: &Index, terms: &[(Atom, i64)]) -> Option<i64> {
    let (atom, coefficient) = terms.first()?;
    let (_, found) = index.terms().iter().find(|(other, _)| other == atom)?;
    (found % coefficient == 0).then(|| found / coefficient)
}

fn subtract(index: &Index, (atom, coefficient): &(Atom, i64), multiple: i64, axes: &Axes) -> Index {
    index.add_scaled(&atom_index(atom, axes), -multiple * coefficient, axes)
}

/// An atom as an index.
pub fn atom_index(atom: &Atom, axes: &Axes) -> Index {
    match atom {
        Atom::Axis(axis) => Index::from(*axis),
        Atom::Div(x, k) => x.div(*k, axes),
        Atom::Rem(x, k) => x.rem(*k, axes),
        Atom::Min(x, y) => x.min_with(y, axes),
        Atom::Max(x, y) => x.max_with(y, axes),
    }
}

/// The index behind an `i32` scalar, unless it may wrap.
fn number(expr: &Expr, axes: &Axes) -> Option<Index> {
    match expr {
        Expr::Int(x) => Some(Index::from(i64::from(*x))),
        Expr::Number { index, lanes: 1, .. } if is_moderate(index, axes) => {
            let (low, high) = index.range(axes);
            let fits = low >= i64::from(i32::MIN) && high <= i64::from(i32::MAX);
            fits.then(|| index.clone())
        }
        _ => None,
    }
}

/// The comparison that holds if `op` has this truth value.
fn assumed(op: Binary, truth: bool) -> Option<Binary> {
    let (same, opposite) = match op {
        Binary::Eq => (op, Binary::Ne),
        Binary::Ne => (op, Binary::Eq),
        Binary::Lt => (op, Binary::Ge),
        Binary::Le => (op, Binary::Gt),
        Binary::Gt => (op, Binary::Le),
        Binary::Ge => (op, Binary::Lt),
        _ => return None,
    };
    Some(if truth { same } else { opposite })
}
