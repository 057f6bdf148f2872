//! A nest under scheduling: its loops, its register tile, its vector axis, and the steps that made it so.
//!
//! A schedule is the list of steps, in the order in which they were applied. Each step checks that it is legal, in
//! every build, changes the nest and writes itself down; none changes which elements are computed, and none but those
//! that say so changes the order of a sum. That no two iterations of the parallel loop meet, and that every access is
//! inside its buffer, is for the verifier of the function that comes out.

use crate::base::hash::HashMap;
use std::fmt;

use crate::kernels::Nest;
use crate::te::{Axis, Index, Program};

/// The vector axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub axis: Axis,
    /// Whether a reduction runs over it: its lanes are summed apart and folded at the end.
    pub reduced: bool,
}

/// So many summands hide the cost of saving a register tile's totals.
pub const LONG_SUM: i64 = 64;

/// A scheduled nest.
#[derive(Clone, Debug, Default)]
pub struct LoopNest {
    /// Loops over free axes, outermost first. The first one is parallel.
    pub outer: Vec<Axis>,
    /// So many of the outermost loops count slices: they stay outside and become one.
    pub slices: usize,
    /// Whether the points of the tile share parts, which choices by the tile's axes have left.
    pub shares: bool,
    /// Unrolled loops over free axes: the register tile.
    pub tile: Vec<Axis>,
    /// Loops over reduction axes.
    pub reduce: Vec<Axis>,
    /// Reduction axes that are unrolled, inside those loops.
    pub unrolled: Vec<Axis>,
    /// Unrolled axes over which later statements reduce what each point of the tile left.
    pub windows: Vec<Axis>,
    pub lane: Option<Lane>,
    /// The nest's axes as indices of the axes above.
    pub replace: HashMap<Axis, Index>,
    /// A reduced index counts only below this bound: the batch, where it does not fill its last vector.
    pub mask: Option<(Index, i64)>,
    /// Whether digits come before time: sums have short blocks, where that costs a little.
    pub digits: bool,
    /// A register tile's sums begin again where so many summands are inside.
    pub long_sum: i64,
    /// The register tiles that it may have with the same sums, its own one first; none for what is no contraction.
    pub tiles: Vec<String>,
    steps: Vec<String>,
}

impl LoopNest {
    /// The nest as written: all loops serial, in order.
    pub fn new(program: &Program, nest: &Nest) -> LoopNest {
        let Nest { axes: free, reduce, windows, .. } = nest;
        let wide = |axis: &&Axis| program.axes[**axis].extent != 1;
        let index = |axis: &Axis| if wide(&axis) { Index::from(*axis) } else { Index::from(0) };
        LoopNest {
            outer: free.iter().filter(wide).copied().collect(),
            reduce: reduce.iter().filter(wide).copied().collect(),
            windows: windows.iter().filter(wide).copied().collect(),
            replace: free.iter().chain(reduce).chain(windows).map(|axis| (*axis, index(axis))).collect(),
            steps: windows.iter().map(|axis| format!("window {}", program.axes[*axis].name)).collect(),
            long_sum: LONG_SUM,
            ..LoopNest::default()
        }
    }

    /// Whether sums have a part in each lane, and most lanes something to add: such a sum is one of short sums already.
    pub fn has_parts_in_lanes(&self) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.reduced) && self.long_sum == LONG_SUM
    }

    /// Writes down why something was chosen.
    pub fn note(&mut self, step: String) {
        self.steps.push(step);
    }

    /// Writes down a step.
    ///
    /// # Panics
    ///
    /// Where an axis stands at two places after it.
    fn did(&mut self, step: String) {
        let Self { outer, tile, reduce, unrolled, windows, lane, .. } = &*self;
        let lane = lane.as_ref().map(|lane| &lane.axis);
        let mut places: Vec<&Axis> =
            [outer, tile, reduce, unrolled, windows].into_iter().flatten().chain(lane).collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count, "{step}: an axis has two places");
        self.note(step);
    }

    /// Replaces an axis everywhere by an index of new axes.
    fn substitute(&mut self, program: &Program, axis: Axis, index: &Index) {
        let replace =
            |other: &Index| other.substitute(&|found| (found == axis).then(|| index.clone()), &program.axes);
        self.replace.values_mut().for_each(|other| *other = replace(other));
        if let Some((masked, _)) = &mut self.mask {
            *masked = replace(masked);
        }
    }

    /// Whether an axis of the nest depends on this one.
    pub fn mentions(&self, axis: Axis) -> bool {
        self.replace.values().any(|index| index.mentions(axis))
    }

    /// Splits a loop into blocks: `axis = factor * block + rest`. The rest is not placed yet. The blocks cover the
    /// extent; where it is not a multiple, the caller sees to the points beyond.
    ///
    /// # Panics
    ///
    /// Where the factor is no positive number, or the nest has no such axis.
    pub fn split(&mut self, program: &mut Program, axis: Axis, factor: i64) -> (Axis, Axis) {
        let data = program.axes[axis].clone();
        assert!(factor > 0 && self.mentions(axis), "split {} by {factor}", data.name);
        let block = program.axis(format!("{}b", data.name), (data.extent + factor - 1) / factor);
        let rest = program.axis(format!("{}l", data.name), factor);
        let single = program.axes[block].extent == 1;
        let outer = if single { Index::from(0) } else { Index::from(block).scale(factor) };
        let index = outer.add(&Index::from(rest), &program.axes);
        self.substitute(program, axis, &index);
        for loops in [&mut self.outer, &mut self.reduce] {
            if let Some(at) = loops.iter().position(|other| *other == axis) {
                if single {
                    loops.remove(at);
                } else {
                    loops[at] = block;
                }
            }
        }
        self.did(format!("split {} by {factor}", data.name));
        (block, rest)
    }

    /// Runs a free loop over `start..start + count` only.
    ///
    /// # Panics
    ///
    /// Where that is no part of an outer loop.
    pub fn restrict(&mut self, program: &mut Program, axis: Axis, start: i64, count: i64) {
        let data = program.axes[axis].clone();
        if start == 0 && count == data.extent {
            return;
        }
        let is_part = start >= 0 && count > 0 && start <= data.extent - count;
        assert!(is_part && self.outer.contains(&axis), "restrict {} to {start} and {count} more", data.name);
        let part = program.axis(data.name.clone(), count);
        self.substitute(program, axis, &Index::from(part).offset(start));
        self.outer.iter_mut().filter(|other| **other == axis).for_each(|other| *other = part);
        self.did(format!("restrict {} to {start}..{}", data.name, start + count));
    }

    /// Makes the elements of an axis the lanes of vectors.
    ///
    /// # Panics
    ///
    /// Where there are lanes already, or the axis is a loop.
    pub fn vectorize(&mut self, program: &Program, axis: Axis, reduced: bool) {
        assert!(self.lane.is_none(), "vectorize {} beside other lanes", program.axes[axis].name);
        self.lane = Some(Lane { axis, reduced });
        let how = if reduced { " (lanes are summed apart, then pairwise)" } else { "" };
        self.did(format!("vectorize {} × {}{how}", program.axes[axis].name, program.axes[axis].extent));
    }

    /// Joins several loops, each the next one inside the other, into one that runs over all their points in the same
    /// order.
    ///
    /// # Panics
    ///
    /// Where that is not how they stand.
    pub fn flatten(&mut self, program: &mut Program, axes: &[Axis]) -> Axis {
        let total = axes.iter().map(|axis| program.axes[*axis].extent).product();
        let names: Vec<&str> = axes.iter().map(|axis| program.axes[*axis].name.as_str()).collect();
        let name = names.concat();
        let step = format!("flatten {}", names.join(" "));
        let at = self.outer.windows(axes.len().max(1)).position(|loops| loops == axes);
        let at = at.unwrap_or_else(|| panic!("{step}: they are not so in each other"));
        let flat = program.axis(name, total);
        let mut weight = total;
        for axis in axes {
            let extent = program.axes[*axis].extent;
            weight /= extent;
            let digit = Index::from(flat).div(weight, &program.axes).rem(extent, &program.axes);
            self.substitute(program, *axis, &digit);
        }
        self.outer.splice(at..at + axes.len(), [flat]);
        self.did(step);
        flat
    }

    /// Joins two reduction loops, of which the second is the next one inside the first: one that runs over all their
    /// points, in the same order.
    pub fn join(&mut self, program: &mut Program, first: Axis) -> Option<Axis> {
        let at = self.reduce.iter().position(|axis| *axis == first)?;
        let second = *self.reduce.get(at + 1)?;
        let [one, other] = [first, second].map(|axis| program.axes[axis].clone());
        let axis = program.axis(format!("{}{}", one.name, other.name), one.extent * other.extent);
        let index = Index::from(axis);
        self.substitute(program, first, &index.div(other.extent, &program.axes));
        self.substitute(program, second, &index.rem(other.extent, &program.axes));
        self.reduce.splice(at..at + 2, [axis]);
        self.did(format!("join {} {}", one.name, other.name));
        Some(axis)
    }

    /// Unrolls a block of a free axis into the register tile; the factor divides the extent.
    ///
    /// # Panics
    ///
    /// Where it does not, or the axis is no outer loop.
    pub fn tile(&mut self, program: &mut Program, axis: Axis, factor: i64) {
        assert_eq!(program.axes[axis].extent % factor, 0, "{factor} does not divide a loop");
        if factor == 1 {
            return;
        }
        assert!(self.outer.contains(&axis), "tile of no outer loop");
        let (_, rest) = self.split(program, axis, factor);
        self.tile.push(rest);
        self.steps.pop();
        self.did(format!("tile {} by {factor}", program.axes[axis].name));
    }

    /// Splits a reduction loop into blocks of `factor`, which divides its extent. The order of the sum stays.
    ///
    /// # Panics
    ///
    /// Where it does not, or the axis is no reduction loop.
    pub fn block(&mut self, program: &mut Program, axis: Axis, factor: i64) {
        assert_eq!(program.axes[axis].extent % factor, 0, "{factor} does not divide a loop");
        assert!(self.reduce.contains(&axis), "block of no reduction loop");
        let (block, rest) = self.split(program, axis, factor);
        let at = self.reduce.iter().position(|other| *other == block).map_or(0, |at| at + 1);
        self.reduce.insert(at, rest);
        self.steps.pop();
        self.did(format!("block {} by {factor}", program.axes[axis].name));
    }

    /// Makes the loops of some indices, which are theirs alone, the outermost ones: they count slices.
    ///
    /// # Panics
    ///
    /// Where they are no outer loops.
    pub fn slice(&mut self, program: &Program, loops: Vec<Axis>) {
        assert!(loops.iter().all(|axis| self.outer.contains(axis)), "slice of other loops");
        let rest = self.outer.iter().copied().filter(|axis| !loops.contains(axis)).collect();
        let names: Vec<&str> = loops.iter().map(|axis| program.axes[*axis].name.as_str()).collect();
        self.did(format!("slice {}", names.join(" ")));
        self.slices = loops.len();
        self.outer = [loops, rest].concat();
    }

    /// Unrolls the innermost reduction loop.
    pub fn unroll(&mut self, program: &Program) {
        if let Some(axis) = self.reduce.pop() {
            self.unrolled.insert(0, axis);
            self.did(format!("unroll {}", program.axes[axis].name));
        }
    }

    /// Puts the outer loops in another order.
    ///
    /// # Panics
    ///
    /// Where these are others.
    pub fn reorder(&mut self, program: &Program, order: Vec<Axis>) {
        let are_same = order.len() == self.outer.len() && self.outer.iter().all(|axis| order.contains(axis));
        assert!(are_same, "reorder of other loops");
        if order != self.outer {
            let names: Vec<&str> = order.iter().map(|axis| program.axes[*axis].name.as_str()).collect();
            self.did(format!("reorder {}", names.join(" ")));
            self.outer = order;
        }
    }
}

impl fmt::Display for LoopNest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loops over `a` (6) and `b` (4), and a sum over `k` (8).
    fn nest() -> (Program, LoopNest, [Axis; 3]) {
        let mut program = Program::default();
        let axes = [("a", 6), ("b", 4), ("k", 8)].map(|(name, extent)| program.axis(name, extent));
        let [a, b, k] = axes;
        let nest = LoopNest {
            outer: vec![a, b],
            reduce: vec![k],
            replace: axes.iter().map(|axis| (*axis, Index::from(*axis))).collect(),
            ..LoopNest::default()
        };
        (program, nest, axes)
    }

    /// What a wrong step says, that of each line.
    #[test]
    fn steps_check_what_they_need() {
        type Wrong = fn(&mut Program, &mut LoopNest, [Axis; 3]);
        let wrong: [(&str, Wrong); 14] = [
            ("split a by 0", |p, n, [a, ..]| _ = n.split(p, a, 0)),
            ("split of a loop that is gone", |p, n, [a, ..]| _ = (n.split(p, a, 2), n.split(p, a, 3))),
            ("restrict beyond the end", |p, n, [a, ..]| n.restrict(p, a, 1, 6)),
            ("restrict before the start", |p, n, [a, ..]| n.restrict(p, a, -1, 6)),
            ("restrict to nothing", |p, n, [a, ..]| n.restrict(p, a, 3, 0)),
            ("restrict a sum", |p, n, [.., k]| n.restrict(p, k, 0, 4)),
            ("lanes of a loop", |p, n, [a, ..]| n.vectorize(p, a, false)),
            ("lanes twice", |p, n, [a, b, _]| {
                for axis in [a, b] {
                    let (_, lane) = n.split(p, axis, 2);
                    n.vectorize(p, lane, false);
                }
            }),
            ("flatten in another order", |p, n, [a, b, _]| _ = n.flatten(p, &[b, a])),
            ("flatten with a sum", |p, n, [a, b, k]| _ = n.flatten(p, &[a, b, k])),
            ("tile a sum", |p, n, [.., k]| n.tile(p, k, 4)),
            ("block a free loop", |p, n, [a, ..]| n.block(p, a, 2)),
            ("slice of a sum", |p, n, [.., k]| n.slice(p, vec![k])),
            ("reorder to the same twice", |p, n, [a, ..]| n.reorder(p, vec![a, a])),
        ];
        for (what, step) in wrong {
            let (mut program, mut nest, axes) = nest();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                step(&mut program, &mut nest, axes);
            }));
            assert!(result.is_err(), "{what}:\n{nest}");
        }
    }

    #[test]
    fn right_steps_are_written_down() {
        let (mut program, mut nest, [a, b, k]) = nest();
        nest.reorder(&program, vec![b, a]);
        nest.tile(&mut program, b, 2);
        nest.block(&mut program, k, 4);
        nest.unroll(&program);
        let rows = nest.outer[0];
        let flat = nest.flatten(&mut program, &[rows, a]);
        nest.restrict(&mut program, flat, 0, 8);
        let part = nest.outer[0];
        let (_, lane) = nest.split(&mut program, part, 4);
        nest.vectorize(&program, lane, false);
        let steps: Vec<String> = nest.to_string().lines().map(|line| line.trim().to_owned()).collect();
        let wanted = "reorder b a, tile b by 2, block k by 4, unroll kl, flatten bb a, restrict bba to 0..8, \
                      split bba by 4, vectorize bbal × 4";
        assert_eq!(steps.join(", "), wanted);
    }
}
