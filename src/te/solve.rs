//! Turning a read around: which points of an iteration reach a given element.
//!
//! An equation reads `x[f(axes)]`. Its adjoint is indexed by the element of `x` and sums over all points with
//! `f(axes) = element`. [`invert`] enumerates them: it splits the elements of `x` into pieces, and for each gives
//! the axes of the iteration in terms of the element and of axes that remain to be summed.
//!
//! Per dimension of `x`, in order of preference:
//! 1. the terms are digits (`4*i + u` with `u < 4`): every element is reached once, by its digits;
//! 2. an axis of the result has coefficient 1: it is the element minus the rest;
//! 3. it has coefficient `s > 1`: the elements split into `s` phases; in each, the taps that reach it are known and
//!    the division is exact;
//! 4. the same with a reduction axis;
//! 5. otherwise: all points, guarded by `f(axes) == element`. Always right, never fast.

use crate::base::hash::HashMap;
use std::collections::BTreeSet;

use super::index::{Atom, Axis, Index};
use super::program::Program;

/// Pieces of a tensor, at most: where strides would make more, all points are tried.
const MOST_PIECES: i64 = 1 << 12;

/// One piece of the elements of `x`, and the points that reach each of them.
#[derive(Clone, Debug, Default)]
pub struct Inverse {
    /// The axes of the piece.
    pub axes: Vec<Axis>,
    /// The element, one index a dimension of `x`.
    pub at: Vec<Index>,
    /// The axes of the iteration that are determined, as indices of `axes` and `remaining`.
    pub solved: HashMap<Axis, Index>,
    /// The axes over which all points are summed.
    pub remaining: Vec<Axis>,
    /// Axes whose solution may lie outside their extent: such a point does not exist.
    pub guarded: Vec<Axis>,
    /// Pairs that must be equal for the point to count.
    pub equal: Vec<(Index, Index)>,
    /// Whether no point reaches this piece.
    pub unreached: bool,
}

/// Inverts a read: `index` are its indices, `shape` the shape of the tensor, `outer` the axes of the piece that
/// reads, `inner` those of its reduction.
pub fn invert(
    program: &mut Program,
    index: &[Index],
    shape: &[i64],
    outer: &[Axis],
    inner: &[Axis],
) -> Vec<Inverse> {
    let mut start = Inverse { remaining: [outer, inner].concat(), ..Inverse::default() };
    drop_single_points(program, &mut start);
    let mut pieces = vec![start];
    for (index, extent) in index.iter().zip(shape) {
        let beside = pieces.len() as i64;
        pieces = pieces
            .iter()
            .flat_map(|piece| Solver { program, outer, piece, beside }.dimension(index, *extent))
            .collect();
    }
    pieces
}

/// Axes of extent 1 are 0 everywhere and stand in no one's way.
fn drop_single_points(program: &Program, piece: &mut Inverse) {
    let single = |axis: &Axis| program.axes[*axis].extent == 1;
    piece
        .solved
        .extend(piece.remaining.iter().filter(|axis| single(axis)).map(|axis| (*axis, Index::from(0))));
    piece.remaining.retain(|axis| !single(axis));
}

struct Solver<'a> {
    program: &'a mut Program,
    outer: &'a [Axis],
    piece: &'a Inverse,
    /// How many pieces there are, this one included.
    beside: i64,
}

impl Solver<'_> {
    fn dimension(&mut self, index: &Index, extent: i64) -> Vec<Inverse> {
        let index = index.substitute(&|axis| self.piece.solved.get(&axis).cloned(), &self.program.axes);
        let Some((mut unknown, known)) = self.unknown_terms(&index) else {
            return vec![self.guarded_by_equality(&index, extent)];
        };
        unknown.sort_by_key(|(_, coefficient)| -coefficient.abs());
        if let Some(pieces) = self.digits(&index, &unknown, &known, extent) {
            return pieces;
        }
        if let Some(target) = self.target(&unknown)
            && let Some(pieces) = self.residue_classes(&unknown, &known, target, extent)
        {
            return pieces;
        }
        vec![self.guarded_by_equality(&index, extent)]
    }

    /// The affine terms over axes not yet solved, and the rest; none where such an axis is inside another atom.
    fn unknown_terms(&self, index: &Index) -> Option<(Vec<(Axis, i64)>, Index)> {
        let remaining: BTreeSet<Axis> = self.piece.remaining.iter().copied().collect();
        let mut unknown = Vec::new();
        let mut known = index.clone();
        for (atom, coefficient) in index.terms() {
            match atom {
                Atom::Axis(axis) if remaining.contains(axis) => {
                    unknown.push((*axis, *coefficient));
                    known = known.add_scaled(&Index::from(*axis), -coefficient, &self.program.axes);
                }
                _ => {}
            }
        }
        let hidden = remaining.iter().any(|axis| known.mentions(*axis));
        (!hidden).then_some((unknown, known))
    }

    /// Case 1. Elements below and above the digits' range are reached by nothing.
    fn digits(
        &mut self,
        index: &Index,
        unknown: &[(Axis, i64)],
        known: &Index,
        extent: i64,
    ) -> Option<Vec<Inverse>> {
        let start = known.as_constant()?;
        let mut weight = 1;
        for (axis, coefficient) in unknown.iter().rev() {
            if *coefficient != weight {
                return None;
            }
            weight *= self.program.axes[*axis].extent;
        }
        if start < 0 || start + weight > extent {
            return None;
        }
        let mut reached = self.piece.clone();
        let mut renamed = HashMap::default();
        for (axis, _) in unknown {
            let copy = self.program.copy_axis(*axis);
            renamed.insert(*axis, Index::from(copy));
            reached.axes.push(copy);
            reached.remaining.retain(|other| other != axis);
        }
        reached.at.push(index.substitute(&|axis| renamed.get(&axis).cloned(), &self.program.axes));
        self.solve(&mut reached, renamed);
        let mut pieces = vec![reached];
        pieces.extend(self.unreached(0, start));
        pieces.extend(self.unreached(start + weight, extent));
        Some(pieces)
    }

    fn unreached(&mut self, low: i64, high: i64) -> Option<Inverse> {
        (low < high).then(|| {
            let mut piece = self.piece.clone();
            let axis = self.program.axis("rest", high - low);
            piece.axes.push(axis);
            piece.at.push(Index::from(axis).offset(low));
            piece.unreached = true;
            piece
        })
    }

    /// The axis to solve for: of the result before of the reduction, the smallest coefficient first.
    fn target(&self, unknown: &[(Axis, i64)]) -> Option<(Axis, i64)> {
        let candidates = unknown.iter().filter(|(_, coefficient)| *coefficient > 0 || *coefficient == -1);
        candidates.copied().min_by_key(|(axis, coefficient)| (!self.outer.contains(axis), coefficient.abs()))
    }

    /// Cases 2 to 4; none where more than one other axis moves between the phases.
    fn residue_classes(
        &mut self,
        unknown: &[(Axis, i64)],
        known: &Index,
        (target, stride): (Axis, i64),
        extent: i64,
    ) -> Option<Vec<Inverse>> {
        let step = stride.abs();
        let others: Vec<(Axis, i64)> = unknown.iter().copied().filter(|(axis, _)| *axis != target).collect();
        let moving: Vec<(Axis, i64)> = others.iter().copied().filter(|(_, k)| k % step != 0).collect();
        if moving.len() > 1 || (step > 1 && known.as_constant().is_none()) {
            return None;
        }
        if step.min(extent).saturating_mul(self.beside) > MOST_PIECES {
            return None;
        }
        let pieces = (0..step.min(extent)).map(|phase| {
            let mut piece = self.piece.clone();
            let count = (extent - phase + step - 1) / step;
            let name = self.program.axes[target].name.clone();
            let axis = self.program.axis(name, count);
            piece.axes.push(axis);
            let element = Index::from(axis).scale(step).offset(phase);
            piece.at.push(element.clone());
            let residue = phase - known.as_constant().unwrap_or(0);
            match moving.first() {
                Some(tap) => self.solve_tap(&mut piece, *tap, residue, step),
                None => piece.unreached |= step > 1 && residue % step != 0,
            }
            if !piece.unreached {
                self.solve_target(&mut piece, &others, known, (target, stride), &element);
            }
            piece
        });
        Some(pieces.collect())
    }

    /// Restricts the tap `u` with coefficient `d` to those with `d*u = residue` modulo the stride.
    fn solve_tap(&mut self, piece: &mut Inverse, (tap, coefficient): (Axis, i64), residue: i64, step: i64) {
        let extent = self.program.axes[tap].extent;
        let first = smallest_solution(coefficient, residue, step);
        let period = step / greatest_common_divisor(step, coefficient.abs());
        piece.remaining.retain(|axis| *axis != tap);
        match first {
            Some(first) if first < extent => {
                let up = if planted!("te.solve.last_tap") { 0 } else { period - 1 };
                let count = ((extent - first + up) / period).max(1);
                let name = self.program.axes[tap].name.clone();
                let turn = self.program.axis(name, count);
                let value = if count == 1 { Index::from(0) } else { Index::from(turn).scale(period) };
                if count > 1 {
                    piece.remaining.push(turn);
                }
                self.solve(piece, HashMap::from_iter([(tap, value.offset(first))]));
            }
            _ => piece.unreached = true,
        }
    }

    fn solve_target(
        &mut self,
        piece: &mut Inverse,
        others: &[(Axis, i64)],
        known: &Index,
        (target, stride): (Axis, i64),
        element: &Index,
    ) {
        let axes = &self.program.axes;
        let mut rest = element.sub(known, axes);
        for (axis, coefficient) in others {
            let value = piece.solved.get(axis).cloned().unwrap_or_else(|| Index::from(*axis));
            rest = rest.add_scaled(&value, -coefficient, axes);
        }
        let value = if stride < 0 { rest.scale(-1) } else { rest.div(stride, axes) };
        let (low, high) = value.range(axes);
        if low < 0 || high >= axes[target].extent {
            piece.guarded.push(target);
        }
        piece.remaining.retain(|axis| *axis != target);
        self.solve(piece, HashMap::from_iter([(target, value)]));
    }

    /// Case 5.
    fn guarded_by_equality(&mut self, index: &Index, extent: i64) -> Inverse {
        let mut piece = self.piece.clone();
        if extent == 1 && index.as_constant() == Some(0) {
            piece.at.push(Index::from(0));
            return piece;
        }
        let axis = self.program.axis("p", extent);
        piece.axes.push(axis);
        piece.at.push(Index::from(axis));
        piece.equal.push((index.clone(), Index::from(axis)));
        piece
    }

    /// Records solutions, also inside those found before.
    fn solve(&self, piece: &mut Inverse, found: HashMap<Axis, Index>) {
        let axes = &self.program.axes;
        let replace = |index: &Index| index.substitute(&|axis| found.get(&axis).cloned(), axes);
        piece.solved.values_mut().for_each(|index| *index = replace(index));
        for (left, right) in &mut piece.equal {
            *left = replace(left);
            *right = replace(right);
        }
        piece.solved.extend(found);
    }
}

/// The smallest `u` from 0 on with `coefficient * u = residue` modulo `step`.
fn smallest_solution(coefficient: i64, residue: i64, step: i64) -> Option<i64> {
    let common = greatest_common_divisor(step, coefficient.abs());
    if residue % common != 0 {
        return None;
    }
    let period = i128::from(step / common);
    // By Euclid's algorithm, `inverse * coefficient / common` is 1 modulo the period.
    let (mut rest, mut next) = (period, i128::from(coefficient / common).rem_euclid(period));
    let (mut factor, mut inverse) = (0, 1);
    while next > 1 {
        (factor, inverse) = (inverse, factor - rest / next * inverse);
        (rest, next) = (next, rest % next);
    }
    let solution = i128::from(residue / common).rem_euclid(period) * inverse.rem_euclid(period);
    Some((solution % period) as i64)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_are_the_smallest() {
        for step in 1_i64..13 {
            for coefficient in (-14_i64..15).filter(|coefficient| *coefficient != 0) {
                for residue in -15_i64..16 {
                    let first = (0..step).find(|u| (coefficient * u - residue).rem_euclid(step) == 0);
                    assert_eq!(
                        smallest_solution(coefficient, residue, step),
                        first,
                        "{coefficient} {residue} {step}"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "solve_tests.rs"]
mod inverse_tests;
