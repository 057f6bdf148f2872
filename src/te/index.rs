//! Index algebra: integer expressions of axes, kept in a normal form.
//!
//! An [`Index`] is a sum of integer multiples of atoms plus a constant. An atom is an axis, or one of the four forms
//! that are not affine (`/`, `%`, `min`, `max`), whose operands are indices again. The constructors simplify as far
//! as the extents of the axes allow, so equal indices of the usual kinds compare equal: `(8*c + u) / 8` is `c` where
//! `u < 8`, and `x / k * k + x % k` is `x`. Division rounds down, as everywhere in the language.

use cranelift_entity::entity_impl;
use smallvec::{SmallVec, smallvec};

use super::arena::Arena;
use super::range;

/// An axis of iteration: a name and an extent, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(u32);
entity_impl!(Axis, "axis");

/// What is known of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisData {
    /// The name the user or the compiler gave; not unique.
    pub name: String,
    /// The axis runs over `0..extent`.
    pub extent: i64,
}

/// The axes that an index may mention.
pub type Axes = Arena<Axis, AxisData>;

/// A part of an index that sums do not open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// The value of an axis.
    Axis(Axis),
    /// Floor division by a positive constant.
    Div(Box<Index>, i64),
    /// The remainder of that division, never negative.
    Rem(Box<Index>, i64),
    /// The smaller of two.
    Min(Box<Index>, Box<Index>),
    /// The larger of two.
    Max(Box<Index>, Box<Index>),
}

/// A sum of multiples of atoms and a constant. Terms are sorted by atom and no coefficient is 0.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Index {
    terms: Terms,
    constant: i64,
}

/// Most indices have one term or two, and lowering makes millions: these lie in the index itself.
type Terms = SmallVec<[(Atom, i64); 2]>;

impl Clone for Index {
    /// Lowering does this most of all; a small vector would clone its elements one by one into room that it asks for.
    fn clone(&self) -> Index {
        let terms = match self.terms.as_slice() {
            [] => Terms::new(),
            [one] => smallvec![one.clone()],
            [one, other] => Terms::from_buf([one.clone(), other.clone()]),
            more => more.to_vec().into(),
        };
        Index { terms, constant: self.constant }
    }
}

impl From<i64> for Index {
    fn from(constant: i64) -> Index {
        Index { terms: Terms::new(), constant }
    }
}

impl From<Axis> for Index {
    fn from(axis: Axis) -> Index {
        Index::atom(Atom::Axis(axis))
    }
}

impl Atom {
    /// Calls `visit` for every mention of an axis, also inside.
    pub fn for_each_axis(&self, visit: &mut dyn FnMut(Axis)) {
        match self {
            Atom::Axis(axis) => visit(*axis),
            Atom::Div(x, _) | Atom::Rem(x, _) => x.for_each_axis(visit),
            Atom::Min(x, y) | Atom::Max(x, y) => {
                x.for_each_axis(visit);
                y.for_each_axis(visit);
            }
        }
    }
}

impl Index {
    fn atom(atom: Atom) -> Index {
        Index { terms: smallvec![(atom, 1)], constant: 0 }
    }

    /// A sum as given: equal atoms are joined, but nothing is simplified.
    pub fn from_terms(terms: Vec<(Atom, i64)>, constant: i64) -> Index {
        let mut index = Index::from(constant);
        for (atom, coefficient) in &terms {
            index.add_term(atom, *coefficient);
        }
        index
    }

    /// The terms, sorted by atom.
    pub fn terms(&self) -> &[(Atom, i64)] {
        &self.terms
    }

    /// The constant summand.
    pub fn constant(&self) -> i64 {
        self.constant
    }

    /// The value, where it depends on no axis.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// The axis, where the index is nothing else.
    pub fn as_axis(&self) -> Option<Axis> {
        match self.terms.as_slice() {
            [(Atom::Axis(axis), 1)] if self.constant == 0 => Some(*axis),
            _ => None,
        }
    }

    /// Whether every atom is an axis.
    pub fn is_affine(&self) -> bool {
        self.terms.iter().all(|(atom, _)| matches!(atom, Atom::Axis(_)))
    }

    /// The coefficient of an axis among the affine terms; 0 where it has none.
    pub fn coefficient(&self, axis: Axis) -> i64 {
        let found = self.terms.iter().find(|(atom, _)| *atom == Atom::Axis(axis));
        found.map_or(0, |(_, coefficient)| *coefficient)
    }

    /// Calls `visit` for every mention of an axis, also inside atoms.
    pub fn for_each_axis(&self, visit: &mut dyn FnMut(Axis)) {
        self.terms.iter().for_each(|(atom, _)| atom.for_each_axis(visit));
    }

    /// Whether the axis is mentioned anywhere.
    pub fn mentions(&self, axis: Axis) -> bool {
        let mut found = false;
        self.for_each_axis(&mut |other| found |= other == axis);
        found
    }

    /// `self + other`.
    pub fn add(&self, other: &Index, axes: &Axes) -> Index {
        self.add_scaled(other, 1, axes)
    }

    /// `self - other`.
    pub fn sub(&self, other: &Index, axes: &Axes) -> Index {
        self.add_scaled(other, -1, axes)
    }

    /// `self + k * other`.
    pub fn add_scaled(&self, other: &Index, k: i64, axes: &Axes) -> Index {
        let mut sum = self.clone();
        sum.accumulate(other, k, axes);
        sum
    }

    /// Adds `k * other`.
    fn accumulate(&mut self, other: &Index, k: i64, axes: &Axes) {
        self.constant += k * other.constant;
        for (atom, coefficient) in &other.terms {
            self.add_term(atom, k * coefficient);
        }
        self.join_quotients(axes);
    }

    /// `k * self`.
    pub fn scale(&self, k: i64) -> Index {
        if k == 0 {
            return Index::from(0);
        }
        let terms = self.terms.iter().map(|(atom, coefficient)| (atom.clone(), k * coefficient)).collect();
        Index { terms, constant: k * self.constant }
    }

    /// `self + k`.
    pub fn offset(&self, k: i64) -> Index {
        let mut moved = self.clone();
        moved.constant += k;
        moved
    }

    /// Floor division by a positive constant.
    pub fn div(&self, k: i64, axes: &Axes) -> Index {
        assert!(k > 0, "division of an index by {k}");
        let (quotient, rest) = self.split_multiples(k);
        if let Some(constant) = rest.only_quotient(k, axes) {
            return quotient.offset(constant);
        }
        let (more, near) = rest.split_remainders(k);
        if let Some(constant) = near.only_quotient(k, axes) {
            return quotient.add(&more, axes).offset(constant);
        }
        let atom = match rest.terms.as_slice() {
            [(Atom::Div(inner, by), 1)] if rest.constant == 0 && by.checked_mul(k).is_some() => {
                return quotient.add(&inner.div(by * k, axes), axes);
            }
            _ => Atom::Div(Box::new(rest), k),
        };
        quotient.add(&Index::atom(atom), axes)
    }

    /// The remainder of the floor division by a positive constant.
    pub fn rem(&self, k: i64, axes: &Axes) -> Index {
        assert!(k > 0, "remainder of an index by {k}");
        let (_, rest) = self.split_multiples(k);
        let (_, near) = rest.split_remainders(k);
        for same in [&rest, &near] {
            let moved = same.only_quotient(k, axes).and_then(|quotient| quotient.checked_mul(k));
            if let Some(constant) = moved.and_then(|moved| same.constant.checked_sub(moved)) {
                return Index { terms: same.terms.clone(), constant };
            }
        }
        match rest.terms.as_slice() {
            [(Atom::Rem(inner, by), 1)] if rest.constant == 0 && by % k == 0 => inner.rem(k, axes),
            _ => Index::atom(Atom::Rem(Box::new(rest), k)),
        }
    }

    /// The quotient by `k`, where it is the same everywhere.
    fn only_quotient(&self, k: i64, axes: &Axes) -> Option<i64> {
        let (low, high) = self.range(axes);
        let quotient = low.div_euclid(k);
        (quotient == high.div_euclid(k)).then_some(quotient)
    }

    /// The smaller of two.
    pub fn min_with(&self, other: &Index, axes: &Axes) -> Index {
        match self.sub(other, axes).range(axes) {
            (_, high) if high <= 0 => self.clone(),
            (low, _) if low >= 0 => other.clone(),
            _ => Index::atom(Atom::Min(Box::new(self.clone()), Box::new(other.clone()))),
        }
    }

    /// The larger of two.
    pub fn max_with(&self, other: &Index, axes: &Axes) -> Index {
        match self.sub(other, axes).range(axes) {
            (_, high) if high <= 0 => other.clone(),
            (low, _) if low >= 0 => self.clone(),
            _ => Index::atom(Atom::Max(Box::new(self.clone()), Box::new(other.clone()))),
        }
    }

    /// The smallest and the largest value, or a wider interval; exact for affine indices. All of `i64` where values may
    /// not fit.
    pub fn range(&self, axes: &Axes) -> (i64, i64) {
        range::range(self, axes)
    }

    /// The index with axes replaced; an axis for which `replace` gives `None` stays.
    pub fn substitute(&self, replace: &dyn Fn(Axis) -> Option<Index>, axes: &Axes) -> Index {
        let mut result = Index::from(self.constant);
        for (atom, coefficient) in &self.terms {
            result.accumulate(&atom.substitute(replace, axes), *coefficient, axes);
        }
        result
    }

    /// The value at a point.
    pub fn evaluate(&self, value: &dyn Fn(Axis) -> i64) -> i64 {
        let terms = self.terms.iter().map(|(atom, coefficient)| coefficient * atom.evaluate(value));
        self.constant + terms.sum::<i64>()
    }

    fn add_term(&mut self, atom: &Atom, coefficient: i64) {
        match self.terms.binary_search_by(|(other, _)| other.cmp(atom)) {
            Ok(at) => {
                self.terms[at].1 += coefficient;
                if self.terms[at].1 == 0 {
                    self.terms.remove(at);
                }
            }
            Err(_) if coefficient == 0 => {}
            Err(at) => self.terms.insert(at, (atom.clone(), coefficient)),
        }
    }

    /// Writes the index as `k * quotient + rest`, where `rest` holds what is not divisible term by term.
    fn split_multiples(&self, k: i64) -> (Index, Index) {
        let mut quotient = Index::from(self.constant.div_euclid(k));
        let mut rest = Index::from(self.constant.rem_euclid(k));
        for (atom, coefficient) in &self.terms {
            if coefficient % k == 0 {
                quotient.terms.push((atom.clone(), coefficient / k));
            } else {
                rest.terms.push((atom.clone(), *coefficient));
            }
        }
        (quotient, rest)
    }

    /// Writes the index as `k * more + near`, where no coefficient of `near` reaches `k` and none has another sign.
    fn split_remainders(&self, k: i64) -> (Index, Index) {
        let (mut more, mut near) = (Index::from(0), Index::from(self.constant));
        for (atom, coefficient) in &self.terms {
            more.add_term(atom, coefficient / k);
            near.add_term(atom, coefficient % k);
        }
        (more, near)
    }

    /// Rewrites `c*k*(x / k) + c*(x % k)` to `c*x` until nothing is left to join.
    fn join_quotients(&mut self, axes: &Axes) {
        while let Some((joined, coefficient, quotient, remainder)) = self.find_join(axes) {
            let scale = self.terms[remainder].1;
            debug_assert_eq!(scale, coefficient);
            let removed = [quotient.max(remainder), quotient.min(remainder)];
            for at in removed {
                self.terms.remove(at);
            }
            self.constant += scale * joined.constant;
            for (atom, inner) in &joined.terms {
                self.add_term(atom, scale * inner);
            }
        }
    }

    fn find_join(&self, axes: &Axes) -> Option<(Index, i64, usize, usize)> {
        if self.terms.len() < 2 {
            return None;
        }
        for (at, (atom, coefficient)) in self.terms.iter().enumerate() {
            let Atom::Rem(inner, k) = atom else { continue };
            let quotient = inner.div(*k, axes);
            let [(wanted, 1)] = quotient.terms.as_slice() else { continue };
            if quotient.constant != 0 {
                continue;
            }
            let scaled = coefficient.checked_mul(*k);
            let found =
                self.terms.iter().position(|(other, scale)| other == wanted && Some(*scale) == scaled);
            if let Some(other) = found {
                return Some(((**inner).clone(), *coefficient, other, at));
            }
        }
        None
    }
}

impl Atom {
    fn substitute(&self, replace: &dyn Fn(Axis) -> Option<Index>, axes: &Axes) -> Index {
        match self {
            Atom::Axis(axis) => replace(*axis).unwrap_or_else(|| Index::from(*axis)),
            Atom::Div(x, k) => x.substitute(replace, axes).div(*k, axes),
            Atom::Rem(x, k) => x.substitute(replace, axes).rem(*k, axes),
            Atom::Min(x, y) => x.substitute(replace, axes).min_with(&y.substitute(replace, axes), axes),
            Atom::Max(x, y) => x.substitute(replace, axes).max_with(&y.substitute(replace, axes), axes),
        }
    }

    fn evaluate(&self, value: &dyn Fn(Axis) -> i64) -> i64 {
        match self {
            Atom::Axis(axis) => value(*axis),
            Atom::Div(x, k) => x.evaluate(value).div_euclid(*k),
            Atom::Rem(x, k) => x.evaluate(value).rem_euclid(*k),
            Atom::Min(x, y) => x.evaluate(value).min(y.evaluate(value)),
            Atom::Max(x, y) => x.evaluate(value).max(y.evaluate(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> (Axes, Axis, Axis, Axis) {
        let mut axes = Axes::new();
        let mut axis = |name: &str, extent| axes.push(AxisData { name: name.into(), extent });
        let (j, c, u) = (axis("j", 24), axis("c", 3), axis("u", 8));
        (axes, j, c, u)
    }

    #[test]
    fn digits_join_to_the_number() {
        let (axes, j, _, _) = axes();
        let j = Index::from(j);
        let (w, h) = (j.rem(2, &axes), j.div(2, &axes).rem(3, &axes));
        let c = j.div(6, &axes);
        let sum = c.scale(6).add(&h.scale(2), &axes).add(&w, &axes);
        assert_eq!(sum, j);
    }

    #[test]
    fn division_drops_what_is_too_small() {
        let (axes, _, c, u) = axes();
        let sum = Index::from(c).scale(8).add(&Index::from(u), &axes);
        assert_eq!(sum.div(8, &axes), Index::from(c));
        assert_eq!(sum.rem(8, &axes), Index::from(u));
    }

    #[test]
    fn simplified_forms_keep_their_value() {
        let (axes, j, c, u) = axes();
        let base = Index::from(j).scale(3).add(&Index::from(c).scale(-4), &axes).add(&Index::from(u), &axes);
        for k in 1..9 {
            let (quotient, rest) = (base.div(k, &axes), base.rem(k, &axes));
            for point in 0..(24 * 3 * 8) {
                let value = |axis| {
                    if axis == j {
                        point % 24
                    } else if axis == c {
                        point / 24 % 3
                    } else {
                        point / 72
                    }
                };
                let x = base.evaluate(&value);
                assert_eq!(quotient.evaluate(&value), x.div_euclid(k));
                assert_eq!(rest.evaluate(&value), x.rem_euclid(k));
            }
        }
    }
}
