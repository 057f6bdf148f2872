//! A nest under scheduling: its loops, its register tile, its vector axis, and the steps that made it so.
//!
//! A schedule is the list of steps, in the order in which they were applied. Each step checks that it is legal, in
//! every build, changes the nest and writes itself down, or says what does not hold and changes nothing; none changes which elements are computed, and none but those
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
    pub accurate_sums: bool,
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
    fn did(&mut self, step: String) {
        debug_assert!(self.places_are_apart(), "{step}: an axis has two places");
        self.note(step);
    }

    /// The axes of all loops, and the lanes.
    fn placed(&self) -> impl Iterator<Item = &Axis> {
        let Self { outer, tile, reduce, unrolled, windows, lane, .. } = self;
        let lane = lane.as_ref().map(|lane| &lane.axis);
        [outer, tile, reduce, unrolled, windows].into_iter().flatten().chain(lane)
    }

    fn places_are_apart(&self) -> bool {
        let mut places: Vec<&Axis> = self.placed().collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        places.len() == count
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
    /// ```text
    /// for a < 6: y[a]   split a by 2   for ab < 3: y[2 * ab + al]
    /// ```
    ///
    /// # Errors
    ///
    /// Where the factor is no positive number, or the nest has no such axis.
    pub fn split(&mut self, program: &mut Program, axis: Axis, factor: i64) -> Result<(Axis, Axis), Illegal> {
        let data = program.axes[axis].clone();
        let step = format!("split {} by {factor}", data.name);
        require(&step, factor > 0, "the factor is not positive")?;
        require(&step, self.mentions(axis), "the nest has no such axis")?;
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
        self.did(step);
        Ok((block, rest))
    }

    /// Runs a free loop over `start..start + count` only.
    ///
    /// ```text
    /// for a < 6: y[a]   restrict a to 4..6   for a < 2: y[a + 4]
    /// ```
    ///
    /// # Errors
    ///
    /// Where that is no part of an outer loop.
    pub fn restrict(
        &mut self,
        program: &mut Program,
        axis: Axis,
        start: i64,
        count: i64,
    ) -> Result<(), Illegal> {
        let data = program.axes[axis].clone();
        if start == 0 && count == data.extent {
            return Ok(());
        }
        let step = format!("restrict {} to {start}..{}", data.name, start + count);
        require(&step, self.outer.contains(&axis), "it is no outer loop")?;
        let is_part = start >= 0 && count > 0 && start <= data.extent - count;
        require(&step, is_part, "that is no part of the loop")?;
        let part = program.axis(data.name.clone(), count);
        self.substitute(program, axis, &Index::from(part).offset(start));
        self.outer.iter_mut().filter(|other| **other == axis).for_each(|other| *other = part);
        self.did(step);
        Ok(())
    }

    /// Makes the elements of an axis that has no place yet the lanes of vectors.
    ///
    /// ```text
    /// for ab < 3: y[2 * ab + al]   vectorize al × 2   for ab < 3: y[2 * ab + (0, 1)]
    /// ```
    ///
    /// # Errors
    ///
    /// Where there are lanes already, or the axis is a loop.
    pub fn vectorize(&mut self, program: &Program, axis: Axis, reduced: bool) -> Result<(), Illegal> {
        let step = format!("vectorize {} × {}", program.axes[axis].name, program.axes[axis].extent);
        require(&step, self.lane.is_none(), "there are lanes already")?;
        require(&step, !self.placed().any(|placed| *placed == axis), "the axis is a loop")?;
        self.lane = Some(Lane { axis, reduced });
        self.did(step + if reduced { " (lanes are summed apart, then pairwise)" } else { "" });
        Ok(())
    }

    /// Joins several loops, each the next one inside the other, into one that runs over all their points in the same
    /// order.
    ///
    /// ```text
    /// for a < 6: for b < 4: y[a, b]   flatten a b   for ab < 24: y[ab / 4, ab % 4]
    /// ```
    ///
    /// # Errors
    ///
    /// Where that is not how they stand.
    pub fn flatten(&mut self, program: &mut Program, axes: &[Axis]) -> Result<Axis, Illegal> {
        let total = axes.iter().map(|axis| program.axes[*axis].extent).product();
        let names: Vec<&str> = axes.iter().map(|axis| program.axes[*axis].name.as_str()).collect();
        let name = names.concat();
        let step = format!("flatten {}", names.join(" "));
        let at = self.outer.windows(axes.len().max(1)).position(|loops| loops == axes);
        let at = at.ok_or_else(|| Illegal::new(&step, "they are not so in each other"))?;
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
        Ok(flat)
    }

    /// Joins two reduction loops, of which the second is the next one inside the first, into one that runs over all
    /// their points, in the same order.
    ///
    /// ```text
    /// sum k < 2: sum l < 8: x[k, l]   join k l   sum kl < 16: x[kl / 8, kl % 8]
    /// ```
    ///
    /// # Errors
    ///
    /// Where the first is no reduction loop, or none is inside it.
    pub fn join(&mut self, program: &mut Program, first: Axis) -> Result<Axis, Illegal> {
        let one = program.axes[first].clone();
        let at = self.reduce.iter().position(|axis| *axis == first);
        let second = at.and_then(|at| self.reduce.get(at + 1).copied());
        let (Some(at), Some(second)) = (at, second) else {
            return Err(Illegal::new(&format!("join {}", one.name), "no reduction loop is inside it"));
        };
        let other = program.axes[second].clone();
        let axis = program.axis(format!("{}{}", one.name, other.name), one.extent * other.extent);
        let index = Index::from(axis);
        self.substitute(program, first, &index.div(other.extent, &program.axes));
        self.substitute(program, second, &index.rem(other.extent, &program.axes));
        self.reduce.splice(at..at + 2, [axis]);
        self.did(format!("join {} {}", one.name, other.name));
        Ok(axis)
    }

    /// Unrolls a block of a free axis into the register tile.
    ///
    /// ```text
    /// for a < 6: y[a]   tile a by 2   for ab < 3: y[2 * ab], y[2 * ab + 1]
    /// ```
    ///
    /// # Errors
    ///
    /// Where the factor does not divide the extent, or the axis is no outer loop.
    pub fn tile(&mut self, program: &mut Program, axis: Axis, factor: i64) -> Result<(), Illegal> {
        let step = format!("tile {} by {factor}", program.axes[axis].name);
        require(
            &step,
            factor > 0 && program.axes[axis].extent % factor == 0,
            "that does not divide the loop",
        )?;
        if factor == 1 {
            return Ok(());
        }
        require(&step, self.outer.contains(&axis), "it is no outer loop")?;
        let (_, rest) = self.split(program, axis, factor)?;
        self.tile.push(rest);
        self.steps.pop();
        self.did(step);
        Ok(())
    }

    /// Splits a reduction loop into blocks. The order of the sum stays.
    ///
    /// ```text
    /// sum k < 8: x[k]   block k by 4   sum kb < 2: sum kl < 4: x[4 * kb + kl]
    /// ```
    ///
    /// # Errors
    ///
    /// Where the factor does not divide the extent, or the axis is no reduction loop.
    pub fn block(&mut self, program: &mut Program, axis: Axis, factor: i64) -> Result<(), Illegal> {
        let step = format!("block {} by {factor}", program.axes[axis].name);
        require(
            &step,
            factor > 0 && program.axes[axis].extent % factor == 0,
            "that does not divide the loop",
        )?;
        require(&step, self.reduce.contains(&axis), "it is no reduction loop")?;
        let (block, rest) = self.split(program, axis, factor)?;
        let at = self.reduce.iter().position(|other| *other == block).map_or(0, |at| at + 1);
        self.reduce.insert(at, rest);
        self.steps.pop();
        self.did(step);
        Ok(())
    }

    /// Makes the loops of some indices, which are theirs alone, the outermost ones: they count slices.
    ///
    /// ```text
    /// for a < 6: for b < 4: y[a, b]   slice b   for b < 4 (slices): for a < 6: y[a, b]
    /// ```
    ///
    /// # Errors
    ///
    /// Where they are no outer loops.
    pub fn slice(&mut self, program: &Program, loops: Vec<Axis>) -> Result<(), Illegal> {
        let names: Vec<&str> = loops.iter().map(|axis| program.axes[*axis].name.as_str()).collect();
        let step = format!("slice {}", names.join(" "));
        require(&step, loops.iter().all(|axis| self.outer.contains(axis)), "they are no outer loops")?;
        let rest = self.outer.iter().copied().filter(|axis| !loops.contains(axis)).collect();
        self.did(step);
        self.slices = loops.len();
        self.outer = [loops, rest].concat();
        Ok(())
    }

    /// Unrolls the innermost reduction loop.
    ///
    /// ```text
    /// sum k < 2: x[k]   unroll k   x[0] + x[1]
    /// ```
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn unroll(&mut self, program: &Program) -> Result<(), Illegal> {
        let axis = self.reduce.pop().ok_or_else(|| Illegal::new("unroll", "there is no reduction loop"))?;
        self.unrolled.insert(0, axis);
        self.did(format!("unroll {}", program.axes[axis].name));
        Ok(())
    }

    /// Puts the outer loops in another order.
    ///
    /// ```text
    /// for a < 6: for b < 4: y[a, b]   reorder b a   for b < 4: for a < 6: y[a, b]
    /// ```
    ///
    /// # Errors
    ///
    /// Where these are others.
    pub fn reorder(&mut self, program: &Program, order: Vec<Axis>) -> Result<(), Illegal> {
        let names: Vec<&str> = order.iter().map(|axis| program.axes[*axis].name.as_str()).collect();
        let step = format!("reorder {}", names.join(" "));
        let are_same = order.len() == self.outer.len() && self.outer.iter().all(|axis| order.contains(axis));
        require(&step, are_same, "these are other loops")?;
        if order != self.outer {
            self.did(step);
            self.outer = order;
        }
        Ok(())
    }
}

/// A step that may not be taken. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {rule}")]
pub struct Illegal {
    /// As it would have been written down.
    pub step: String,
    /// What does not hold.
    pub rule: &'static str,
}

impl Illegal {
    fn new(step: &str, rule: &'static str) -> Illegal {
        Illegal { step: step.to_owned(), rule }
    }
}

/// An error where a rule of a step does not hold.
fn require(step: &str, holds: bool, rule: &'static str) -> Result<(), Illegal> {
    if holds { Ok(()) } else { Err(Illegal::new(step, rule)) }
}

impl fmt::Display for LoopNest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

#[cfg(test)]
#[path = "nest_tests.rs"]
mod tests;
