//! Guards: under which choices of an expression a part of it counts.
//!
//! `if c { exp(x) } else { x }` evaluates `exp(x)` only where `c` holds. What is derived from the branch not taken must
//! not meet the rest of a gradient, not even times 0: its slope may be infinite there, and `0 * inf` is no number. So a
//! slope goes with its guard, and the choice is made last: after all products, around the whole term.

use super::expr::{Binary, ExprId, Unary};
use super::program::Program;

/// A branch of a choice: the one for a condition that holds, or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    pub condition: ExprId,
    pub holds: bool,
}

/// The branches that must all be taken, from the outermost choice to the innermost. Empty: always.
pub type Guard = Vec<Branch>;

/// A derivative, which means something where its guard's branches are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slope {
    pub guard: Guard,
    pub value: ExprId,
}

impl Branch {
    /// Whether two branches are those of one choice.
    fn is_other_of(self, branch: Branch) -> bool {
        self.condition == branch.condition && self.holds != branch.holds
    }
}

impl Program {
    /// A value where all branches are taken, else 0.
    pub fn guarded(&mut self, guard: &[Branch], value: ExprId) -> ExprId {
        let zero = self.exprs.constant(0.0);
        guard.iter().rev().fold(value, |value, Branch { condition, holds }| match holds {
            true => self.exprs.choice(*condition, value, zero),
            false => self.exprs.choice(*condition, zero, value),
        })
    }

    /// Whether all branches are taken, as a truth value.
    pub fn is_taken(&mut self, guard: &[Branch]) -> ExprId {
        let always = self.exprs.constant(1.0);
        guard.iter().fold(always, |all, Branch { condition, holds }| {
            let taken = if *holds { *condition } else { self.exprs.unary(Unary::Not, *condition) };
            self.both(all, taken)
        })
    }

    /// The sum of several slopes, whose guard holds where that of any of them does.
    pub fn sum_of_slopes(&mut self, mut slopes: Vec<Slope>) -> Option<Slope> {
        loop {
            self.join_branches(&mut slopes);
            if slopes.len() < 2 {
                return slopes.pop();
            }
            let other = slopes.remove(1);
            let one = slopes.remove(0);
            let sum = self.sum_under_either(one, other);
            slopes.insert(0, sum);
        }
    }

    /// Adds slopes of one guard, and makes one of those of both branches of a choice, until there are none.
    fn join_branches(&mut self, slopes: &mut Vec<Slope>) {
        let pairs = |len: usize| (0..len).flat_map(move |i| (i + 1..len).map(move |j| (i, j)));
        while let Some((i, j, joined)) =
            pairs(slopes.len()).find_map(|(i, j)| Some((i, j, self.joined(&slopes[i], &slopes[j])?)))
        {
            slopes[i] = joined;
            slopes.remove(j);
        }
    }

    fn joined(&mut self, one: &Slope, other: &Slope) -> Option<Slope> {
        if one.guard == other.guard {
            return Some(Slope { value: self.exprs.sum(one.value, other.value), guard: one.guard.clone() });
        }
        let (last, outer) = one.guard.split_last()?;
        let (other_last, other_outer) = other.guard.split_last()?;
        if outer != other_outer || !last.is_other_of(*other_last) {
            return None;
        }
        let (then, otherwise) = if last.holds { (one, other) } else { (other, one) };
        let value = self.exprs.choice(last.condition, then.value, otherwise.value);
        Some(Slope { value, guard: outer.to_vec() })
    }

    /// The sum of two slopes whose guards are no two branches of one choice.
    fn sum_under_either(&mut self, one: Slope, other: Slope) -> Slope {
        let common = one.guard.iter().zip(&other.guard).take_while(|(a, b)| a == b).count();
        let (outer, rest) = one.guard.split_at(common);
        let other_rest = &other.guard[common..];
        let (a, b) = (self.guarded(rest, one.value), self.guarded(other_rest, other.value));
        let mut guard = outer.to_vec();
        if !rest.is_empty() && !other_rest.is_empty() {
            let (a, b) = (self.is_taken(rest), self.is_taken(other_rest));
            guard.push(Branch { condition: self.exprs.binary(Binary::Or, a, b), holds: true });
        }
        Slope { guard, value: self.exprs.sum(a, b) }
    }
}
