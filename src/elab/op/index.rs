//! Checked index arithmetic: no sum or product of what a user writes overflows.

use crate::te::{Atom, Axes, Index};

/// How many parts an index has at most. One that is given to ops written in place may double with each of them.
const MOST_PARTS: usize = 256;

/// Indices and their partial sums stay below this.
const LARGEST: i64 = 1 << 48;

/// The terms of an address, in elements, stay below this: no layout makes them overflow.
const FARTHEST: i64 = 1 << 48;

/// A bound of every number that an index is made of.
fn magnitude(index: &Index, axes: &Axes) -> i64 {
    let terms = index.terms().iter().map(|(atom, coefficient)| {
        let (low, high) = range_of(atom, axes);
        coefficient.saturating_abs().saturating_mul(low.saturating_abs().max(high.saturating_abs()).max(1))
    });
    terms.fold(index.constant().saturating_abs(), i64::saturating_add)
}

fn range_of(atom: &Atom, axes: &Axes) -> (i64, i64) {
    match atom {
        Atom::Axis(axis) => (0, axes[*axis].extent),
        Atom::Div(x, _) => (0, magnitude(x, axes)),
        Atom::Rem(x, k) => (0, magnitude(x, axes).max(*k)),
        Atom::Min(x, y) | Atom::Max(x, y) => (0, magnitude(x, axes).max(magnitude(y, axes))),
    }
}

fn checked(result: Index, axes: &Axes) -> Result<Index, String> {
    let result = simple(result)?;
    if magnitude(&result, axes) > LARGEST { Err(too_large()) } else { Ok(result) }
}

/// The index, where it does not have too many parts.
fn simple(index: Index) -> Result<Index, String> {
    if parts(&index) > MOST_PARTS { Err("this index is too long".into()) } else { Ok(index) }
}

fn parts(index: &Index) -> usize {
    let parts_of = |(atom, _): &(Atom, i64)| match atom {
        Atom::Axis(_) => 1,
        Atom::Div(x, _) | Atom::Rem(x, _) => 1 + parts(x),
        Atom::Min(x, y) | Atom::Max(x, y) => 1 + parts(x) + parts(y),
    };
    index.terms().iter().map(parts_of).sum()
}

fn too_large() -> String {
    "this index is too large".into()
}

/// A constant as an index.
pub fn constant(value: i64) -> Result<Index, String> {
    if value.saturating_abs() > LARGEST { Err(too_large()) } else { Ok(Index::from(value)) }
}

/// `x + k * y`.
pub fn add_scaled(x: &Index, y: &Index, k: i64, axes: &Axes) -> Result<Index, String> {
    let scaled = scale(y, k, axes)?;
    checked(x.add(&scaled, axes), axes)
}

/// `k * x`.
pub fn scale(x: &Index, k: i64, axes: &Axes) -> Result<Index, String> {
    if magnitude(x, axes).saturating_mul(k.saturating_abs()) > LARGEST {
        return Err(too_large());
    }
    Ok(x.scale(k))
}

/// `x / k`, rounded down.
pub fn div(x: &Index, k: i64, axes: &Axes) -> Result<Index, String> {
    divisor(k)?;
    let joined = |(atom, _): &(Atom, i64)| matches!(atom, Atom::Div(_, by) if by.saturating_mul(k) > LARGEST);
    if x.terms().iter().any(joined) {
        return Err(too_large());
    }
    simple(x.div(k, axes))
}

/// `x % k`.
pub fn rem(x: &Index, k: i64, axes: &Axes) -> Result<Index, String> {
    divisor(k)?;
    simple(x.rem(k, axes))
}

/// The smaller of two.
pub fn min(x: &Index, y: &Index, axes: &Axes) -> Result<Index, String> {
    simple(x.min_with(y, axes))
}

/// The larger of two.
pub fn max(x: &Index, y: &Index, axes: &Axes) -> Result<Index, String> {
    simple(x.max_with(y, axes))
}

/// Checks that the indices of a read are numbers of 32 bits, and that its address can be computed.
pub fn check_reach(indices: &[Index], shape: &[i64], axes: &Axes) -> Result<(), String> {
    let mut distance = 1_i64;
    for (index, extent) in indices.iter().zip(shape).rev() {
        let (low, high) = index.range(axes);
        if low < i64::from(i32::MIN) || high > i64::from(i32::MAX) {
            return Err(format!("the index of a read has 32 bits, and this one runs from {low} to {high}"));
        }
        if span(index, axes).saturating_mul(distance) > FARTHEST {
            return Err(too_large());
        }
        distance = distance.saturating_mul(*extent);
    }
    Ok(())
}

/// The largest values of the terms of an index, added up.
fn span(index: &Index, axes: &Axes) -> i64 {
    let terms = index.terms().iter().map(|(atom, coefficient)| {
        let (low, high) = Index::from_terms(vec![(atom.clone(), 1)], 0).range(axes);
        coefficient.saturating_abs().saturating_mul(low.saturating_abs().max(high.saturating_abs()))
    });
    terms.fold(index.constant().saturating_abs(), i64::saturating_add)
}

fn divisor(k: i64) -> Result<(), String> {
    match k {
        0 => Err("division by zero".into()),
        1..=LARGEST => Ok(()),
        _ => Err(format!("an index is divided by a positive integer, not by {k}")),
    }
}
