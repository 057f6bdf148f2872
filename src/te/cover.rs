//! Whether the pieces of a result are disjoint and cover it.
//!
//! Usually every dimension of a piece has axes of its own, so the piece is a product of sets, one a dimension: two
//! such pieces are disjoint exactly where they are in some dimension, and disjoint pieces cover exactly where their
//! sizes add up. A set is an arithmetic progression where the index is a mixed radix number, else its points are
//! listed. What has no such form is proved by marking every element, up to a size.

use std::collections::BTreeSet;

use super::index::{Atom, Axes, Axis, Index};

/// Results with more elements are not proved by marking them one by one, nor sets by listing them.
const MOST_POINTS: i64 = 1 << 20;

/// The axes of a piece and its element.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    pub axes: &'a [Axis],
    pub at: &'a [Index],
}

/// Proves that regions are disjoint and cover all elements of a shape.
///
/// # Errors
///
/// What is wrong, or that it cannot be proved, in words.
pub fn check(axes: &Axes, shape: &[i64], regions: &[Region<'_>]) -> Result<(), String> {
    let size = product(shape.iter().copied()).ok_or("it has too many elements")?;
    let mut boxes = Vec::new();
    let mut points = 0_i64;
    for (number, region) in regions.iter().enumerate() {
        let count = product(region.axes.iter().map(|axis| axes[*axis].extent));
        let count = count.ok_or_else(|| format!("piece {number} has too many points"))?;
        points = points.saturating_add(count);
        if count > 0 {
            let found = as_box(axes, shape, region).map_err(|error| format!("piece {number}: {error}"))?;
            boxes.push((number, found));
        }
    }
    let all: Option<Vec<(usize, &Vec<Set>)>> =
        boxes.iter().map(|(number, found)| Some((*number, found.as_ref()?))).collect();
    if let Some(all) = all
        && let Some(result) = disjoint(&all)
    {
        result?;
        return same_size(points, size);
    }
    if size > MOST_POINTS || points > MOST_POINTS {
        return Err("its pieces cannot be proved to be disjoint and to cover it".into());
    }
    mark(axes, shape, regions)?;
    same_size(points, size)
}

fn same_size(points: i64, size: i64) -> Result<(), String> {
    if points == size { Ok(()) } else { Err(format!("its pieces cover {points} of {size} elements")) }
}

fn product(factors: impl Iterator<Item = i64>) -> Option<i64> {
    factors.map(|factor| factor.max(0)).try_fold(1_i64, i64::checked_mul)
}

/// A set of numbers.
enum Set {
    /// `start`, `start + step`, and so on.
    Run { start: i64, step: i64, count: i64 },
    /// In order.
    Points(Vec<i64>),
}

/// The set of each dimension; none where dimensions share axes, or a set is too large to list.
fn as_box(axes: &Axes, shape: &[i64], region: &Region<'_>) -> Result<Option<Vec<Set>>, String> {
    let mut seen = BTreeSet::new();
    let mut owned = Vec::new();
    for index in region.at {
        let mut own = BTreeSet::new();
        index.for_each_axis(&mut |axis| {
            own.insert(axis);
        });
        if own.iter().any(|axis| !seen.insert(*axis)) {
            return Ok(None);
        }
        owned.push(own);
    }
    let mut sets = Vec::new();
    for (dimension, (index, extent)) in region.at.iter().zip(shape).enumerate() {
        let Some(set) = set_of(axes, index, &owned[dimension])? else { return Ok(None) };
        let (low, high) = set.ends();
        if low < 0 || high >= *extent {
            return Err(format!("it stores at {low} to {high} of {extent} in dimension {dimension}"));
        }
        sets.push(set);
    }
    let idle = region.axes.iter().find(|axis| axes[**axis].extent > 1 && !seen.contains(axis));
    if let Some(axis) = idle {
        return Err(format!("its axis {} is not part of the element", axes[*axis].name));
    }
    Ok(Some(sets))
}

/// The values of an index over all points of its axes; an error where two points give one value.
fn set_of(axes: &Axes, index: &Index, own: &BTreeSet<Axis>) -> Result<Option<Set>, String> {
    if let Some(run) = as_run(axes, index) {
        return Ok(Some(run));
    }
    let own: Vec<Axis> = own.iter().copied().collect();
    let Some(count) = product(own.iter().map(|axis| axes[*axis].extent)).filter(|n| *n <= MOST_POINTS) else {
        return Ok(None);
    };
    let mut values = Vec::new();
    for point in 0..count {
        values.push(index.evaluate(&|axis| coordinate(axes, &own, point, axis)));
    }
    values.sort_unstable();
    match values.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("it stores at {} twice", twice[0])),
        None => Ok(Some(Set::Points(values))),
    }
}

/// The value of an axis at the so-manieth point of a list of axes, in row-major order.
fn coordinate(axes: &Axes, list: &[Axis], point: i64, axis: Axis) -> i64 {
    let mut rest = point;
    for other in list.iter().rev() {
        let extent = axes[*other].extent.max(1);
        if *other == axis {
            return rest % extent;
        }
        rest /= extent;
    }
    0
}

/// The progression that a mixed radix number runs through: `g*(a*b)` weights on a base step.
fn as_run(axes: &Axes, index: &Index) -> Option<Set> {
    let mut start = index.constant();
    let mut digits = Vec::new();
    for (atom, coefficient) in index.terms() {
        let Atom::Axis(axis) = atom else { return None };
        let extent = axes[*axis].extent;
        if extent > 1 {
            start += coefficient.min(&0) * (extent - 1);
            digits.push((coefficient.abs(), extent));
        }
    }
    digits.sort_unstable();
    let step = digits.first().map_or(1, |(weight, _)| *weight);
    let mut count = 1_i64;
    for (weight, extent) in digits {
        if Some(weight) != step.checked_mul(count) {
            return None;
        }
        count = count.checked_mul(extent)?;
    }
    Some(Set::Run { start, step, count })
}

impl Set {
    fn ends(&self) -> (i64, i64) {
        match self {
            Set::Run { start, step, count } => (*start, start + step * (count - 1)),
            Set::Points(values) => {
                (values.first().copied().unwrap_or(0), values.last().copied().unwrap_or(-1))
            }
        }
    }

    fn count(&self) -> i64 {
        match self {
            Set::Run { count, .. } => *count,
            Set::Points(values) => values.len() as i64,
        }
    }

    fn contains(&self, value: i64) -> bool {
        match self {
            Set::Run { start, step, count } => {
                let offset = value - start;
                offset >= 0 && offset % step == 0 && offset / step < *count
            }
            Set::Points(values) => values.binary_search(&value).is_ok(),
        }
    }

    fn get(&self, at: i64) -> i64 {
        match self {
            Set::Run { start, step, .. } => start + step * at,
            Set::Points(values) => values[at as usize],
        }
    }
}

/// Whether two sets have no common element; none where that takes too long to say.
fn apart(a: &Set, b: &Set) -> Option<bool> {
    let ((a_low, a_high), (b_low, b_high)) = (a.ends(), b.ends());
    if a_high < b_low || b_high < a_low {
        return Some(true);
    }
    if let (Set::Run { start, step, .. }, Set::Run { start: other, step: other_step, .. }) = (a, b) {
        if (start - other) % greatest_common_divisor(*step, *other_step) != 0 {
            return Some(true);
        }
        if step == other_step {
            return Some(false);
        }
    }
    let (few, many) = if a.count() <= b.count() { (a, b) } else { (b, a) };
    (few.count() <= MOST_POINTS).then(|| (0..few.count()).all(|at| !many.contains(few.get(at))))
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Whether boxes are pairwise disjoint; none where that cannot be said.
fn disjoint(boxes: &[(usize, &Vec<Set>)]) -> Option<Result<(), String>> {
    for (at, (number, a)) in boxes.iter().enumerate() {
        for (other, b) in &boxes[..at] {
            let mut known = true;
            let found = a.iter().zip(*b).any(|(a, b)| {
                let apart = apart(a, b);
                known &= apart.is_some();
                apart == Some(true)
            });
            match (found, known) {
                (true, _) => {}
                (false, true) => return Some(Err(format!("pieces {other} and {number} overlap"))),
                (false, false) => return None,
            }
        }
    }
    Some(Ok(()))
}

/// Marks every element that a region stores.
fn mark(axes: &Axes, shape: &[i64], regions: &[Region<'_>]) -> Result<(), String> {
    let size = product(shape.iter().copied()).unwrap_or(0);
    let mut owner = vec![None; size as usize];
    for (number, region) in regions.iter().enumerate() {
        let count = product(region.axes.iter().map(|axis| axes[*axis].extent)).unwrap_or(0);
        for point in 0..count {
            let mut offset = 0;
            for (index, extent) in region.at.iter().zip(shape) {
                let value = index.evaluate(&|axis| coordinate(axes, region.axes, point, axis));
                if value < 0 || value >= *extent {
                    return Err(format!("piece {number} stores at {value} of {extent}"));
                }
                offset = offset * extent + value;
            }
            match owner[offset as usize].replace(number) {
                Some(other) if other == number => {
                    return Err(format!("piece {number} stores an element twice"));
                }
                Some(other) => return Err(format!("pieces {other} and {number} overlap")),
                None => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::AxisData;

    /// A piece: a constant and terms for each dimension.
    type Terms<'a> = [(i64, &'a [(i64, i64)])];

    /// Regions from `(constant, [(coefficient, extent)])`, one list a dimension.
    fn run(shape: &[i64], pieces: &[&Terms<'_>]) -> Result<(), String> {
        let mut axes = Axes::new();
        let mut built: Vec<(Vec<Axis>, Vec<Index>)> = Vec::new();
        for piece in pieces {
            let (mut own, mut at) = (Vec::new(), Vec::new());
            for (constant, terms) in *piece {
                let mut index = Index::from(*constant);
                for (coefficient, extent) in *terms {
                    let axis = axes.push(AxisData { name: "a".into(), extent: *extent });
                    index = index.add_scaled(&Index::from(axis), *coefficient, &axes);
                    own.push(axis);
                }
                at.push(index);
            }
            built.push((own, at));
        }
        let regions: Vec<Region<'_>> = built.iter().map(|(axes, at)| Region { axes, at }).collect();
        check(&axes, shape, &regions)
    }

    #[test]
    fn boxes_phases_and_digits() {
        assert_eq!(run(&[6, 4], &[&[(0, &[(1, 6)]), (0, &[(1, 4)])]]), Ok(()));
        assert_eq!(run(&[7], &[&[(0, &[(2, 4)])], &[(1, &[(2, 3)])]]), Ok(()));
        assert_eq!(run(&[24], &[&[(0, &[(8, 3), (1, 8)])]]), Ok(()));
        assert_eq!(run(&[24], &[&[(23, &[(-8, 3), (-1, 8)])]]), Ok(()));
        assert_eq!(run(&[10], &[&[(0, &[(1, 4)])], &[(4, &[(1, 6)])]]), Ok(()));
        assert_eq!(run(&[], &[&[]]), Ok(()));
        // Phases 0 and 2 modulo 4, then the odd ones: different steps.
        assert_eq!(run(&[8], &[&[(0, &[(4, 2)])], &[(2, &[(4, 2)])], &[(1, &[(2, 4)])]]), Ok(()));
        let large = 1 << 24;
        assert_eq!(run(&[large, 2], &[&[(0, &[(1, large)]), (0, &[(1, 2)])]]), Ok(()));
    }

    #[test]
    fn gaps_and_overlaps() {
        let failure = |shape: &[i64], pieces: &[&Terms<'_>]| run(shape, pieces).unwrap_err();
        assert_eq!(failure(&[7], &[&[(0, &[(1, 6)])]]), "its pieces cover 6 of 7 elements");
        assert_eq!(failure(&[7], &[&[(0, &[(2, 4)])], &[(0, &[(1, 3)])]]), "pieces 0 and 1 overlap");
        assert_eq!(failure(&[5], &[&[(0, &[(1, 6)])]]), "piece 0: it stores at 0 to 5 of 5 in dimension 0");
        assert_eq!(failure(&[5], &[&[(0, &[(1, 3), (1, 3)])]]), "piece 0: it stores at 1 twice");
        assert_eq!(failure(&[2, 2], &[&[(0, &[(1, 2)]), (0, &[(0, 2)])]]), {
            "piece 0: its axis a is not part of the element"
        });
    }

    #[test]
    fn shared_axes_are_marked() {
        let mut axes = Axes::new();
        let i = axes.push(AxisData { name: "i".into(), extent: 3 });
        let j = axes.push(AxisData { name: "j".into(), extent: 3 });
        let turned = Index::from(i).add(&Index::from(j), &axes).rem(3, &axes);
        let at = [Index::from(i), turned];
        assert_eq!(check(&axes, &[3, 3], &[Region { axes: &[i, j], at: &at }]), Ok(()));
        let diagonal = [Index::from(i), Index::from(i)];
        assert!(check(&axes, &[3, 3], &[Region { axes: &[i], at: &diagonal }]).is_err());
    }
}
