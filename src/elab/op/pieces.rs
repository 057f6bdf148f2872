//! Pieces of a result: which positions a left side defines, and the proof that all pieces together define each
//! position once.

use crate::base::span::Span;
use crate::elab::Outcome;
use crate::elab::evaluate::at;
use crate::elab::value::show_type;
use crate::te::DType;
use crate::te::size::MOST_ELEMENTS;

/// The positions `start + step * k` for `k < count` of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progression {
    pub start: i64,
    pub step: i64,
    pub count: i64,
}

impl Progression {
    fn last(self) -> i64 {
        self.start + self.step * (self.count - 1)
    }

    /// Whether no position is in both.
    fn disjoint(self, other: Progression) -> bool {
        let (gcd, inverse) = bezout(self.step, other.step);
        let distance = other.start - self.start;
        if distance % gcd != 0 {
            return true;
        }
        // The common positions are `first + lcm * k`, where `first` solves both congruences.
        let lcm = i128::from(self.step / gcd) * i128::from(other.step);
        let turns = i128::from(distance / gcd) * i128::from(inverse);
        let first =
            i128::from(self.start) + i128::from(self.step) * turns.rem_euclid(i128::from(other.step / gcd));
        let low = i128::from(self.start.max(other.start));
        let high = i128::from(self.last().min(other.last()));
        let at = low + (first - low).rem_euclid(lcm);
        at > high
    }
}

/// The greatest common divisor of two positive numbers, and `x` with `a * x = gcd` modulo `b`.
fn bezout(a: i64, b: i64) -> (i64, i64) {
    let (mut r, mut next_r, mut x, mut next_x) = (a, b, 1, 0);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (x, next_x) = (next_x, x - quotient * next_x);
    }
    (r, x)
}

/// The extents of the axes of `constant + sum of coefficient * axis`, such that it takes every value of its residue
/// class below `end` once: digits of a number in mixed radix.
pub(super) fn radices(terms: &[(String, i64)], constant: i64, end: i64) -> Result<Vec<i64>, String> {
    if constant < 0 || constant >= end {
        return Err(format!("this begins at {constant}, but the axis ends at {end}"));
    }
    if let Some((name, coefficient)) = terms.iter().find(|(_, factor)| !(1..=MOST_ELEMENTS).contains(factor))
    {
        return Err(format!(
            "axis `{name}` has the factor {coefficient}; it must be positive and not too large"
        ));
    }
    let mut order: Vec<usize> = (0..terms.len()).collect();
    // Of equal factors the later one is the inner digit: in `g*Q + o` with `Q = 1` it has one value.
    order.sort_by_key(|at| (terms[*at].1, std::cmp::Reverse(*at)));
    let mut counts = vec![0; terms.len()];
    let mut left = match order.first() {
        Some(first) => (end - constant + terms[*first].1 - 1) / terms[*first].1,
        None => return Ok(counts),
    };
    for (place, at) in order.iter().enumerate() {
        let count = match order.get(place + 1) {
            Some(next) if terms[*next].1 % terms[*at].1 == 0 => terms[*next].1 / terms[*at].1,
            Some(_) => return Err("the factors of the axes do not divide one another".into()),
            None => left,
        };
        if count == 0 || left % count != 0 {
            return Err(format!("{left} positions do not divide into groups of {count}"));
        }
        counts[*at] = count;
        left /= count;
    }
    Ok(counts)
}

/// Checks that the pieces of a result are disjoint and cover it.
pub(super) fn check(name: &str, pieces: &[Vec<Progression>], spans: &[Span], shape: &[i64]) -> Outcome<()> {
    for (at_piece, piece) in pieces.iter().enumerate() {
        for (other, before) in pieces[..at_piece].iter().enumerate() {
            let apart = piece.iter().zip(before).any(|(a, b)| a.disjoint(*b));
            if !apart {
                return Err(at(format!("two pieces of `{name}` define the same element"), spans[at_piece])
                    .secondary(spans[other], "the other one"));
            }
        }
    }
    let defined: i64 = pieces.iter().map(|piece| piece.iter().map(|part| part.count).product::<i64>()).sum();
    let needed: i64 = shape.iter().product();
    if defined != needed {
        let shown = show_type(DType::F32, shape);
        let first = spans[0];
        return Err(at(format!("the equations of `{name}` do not define all of it"), first)
            .note(format!("`{name}` is {shown} with {needed} elements, {defined} of them are defined")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disjointness_is_exact() {
        for (start_a, step_a, count_a) in [(0, 1, 5), (1, 2, 4), (0, 3, 4), (7, 5, 3)] {
            for (start_b, step_b, count_b) in [(5, 1, 3), (0, 2, 9), (2, 3, 3), (4, 6, 2), (3, 4, 1)] {
                let a = Progression { start: start_a, step: step_a, count: count_a };
                let b = Progression { start: start_b, step: step_b, count: count_b };
                let members = |p: Progression| (0..p.count).map(move |k| p.start + p.step * k);
                let common = members(a).any(|x| members(b).any(|y| x == y));
                assert_eq!(a.disjoint(b), !common, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn mixed_radix() {
        let terms =
            |list: &[(&str, i64)]| list.iter().map(|(n, k)| ((*n).to_owned(), *k)).collect::<Vec<_>>();
        assert_eq!(radices(&terms(&[("g", 4), ("o", 1)]), 0, 12), Ok(vec![3, 4]));
        assert_eq!(radices(&terms(&[("g", 1), ("o", 1)]), 0, 3), Ok(vec![3, 1]));
        assert_eq!(radices(&terms(&[("h", 2)]), 1, 5), Ok(vec![2]));
        assert_eq!(radices(&terms(&[("h", 2)]), 0, 5), Ok(vec![3]));
        assert_eq!(radices(&[], 3, 5), Ok(vec![]));
        assert!(radices(&terms(&[("g", 4), ("o", 1)]), 0, 10).is_err());
        assert!(radices(&terms(&[("g", 4), ("o", 3)]), 0, 12).is_err());
    }
}
