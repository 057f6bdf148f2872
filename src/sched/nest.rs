//! A nest under scheduling: its loops, its register tile, its vector axis, and the steps that made it so.
//!
//! A schedule is the list of [`Step`]s, in the order in which they were taken, with notes of why between them. Its axes
//! are its own: they begin with those of the kernels, and each step adds what it makes, so the kernels' program is only
//! read, and schedules that are tried side by side or dropped leave no trace in each other.

use std::fmt;

use cranelift_entity::EntityRef;

use super::step::{Illegal, Step};
use crate::base::hash::HashMap;
use crate::kernels::Nest;
use crate::te::{Axes, Axis, AxisData, Index, Program};

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
    /// The axes of the kernels and those that steps have made.
    pub axes: Axes,
    /// Loops over free axes, outermost first. The first one is parallel; of a grid, all.
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
    lines: Vec<Line>,
}

/// A line of a schedule.
#[derive(Clone, Debug)]
enum Line {
    Step(Step),
    /// Why something was chosen, or what was so from the beginning.
    Note(String),
}

impl LoopNest {
    /// The nest as written: all loops serial, in order.
    pub fn new(program: &Program, nest: &Nest) -> LoopNest {
        let Nest { axes: free, reduce, windows, .. } = nest;
        let axes = program.axes.clone();
        let wide = |axis: &&Axis| axes[**axis].extent != 1;
        let index = |axis: &Axis| if wide(&axis) { Index::from(*axis) } else { Index::from(0) };
        let window = |axis: &Axis| Line::Note(format!("window {}", axes[*axis].name));
        LoopNest {
            outer: free.iter().filter(wide).copied().collect(),
            reduce: reduce.iter().filter(wide).copied().collect(),
            windows: windows.iter().filter(wide).copied().collect(),
            replace: free.iter().chain(reduce).chain(windows).map(|axis| (*axis, index(axis))).collect(),
            lines: windows.iter().map(window).collect(),
            long_sum: LONG_SUM,
            axes,
            ..LoopNest::default()
        }
    }

    pub fn extent(&self, axis: Axis) -> i64 {
        self.axes[axis].extent
    }

    /// Whether sums have a part in each lane, and most lanes something to add: such a sum is one of short sums already.
    pub fn has_parts_in_lanes(&self) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.reduced) && self.long_sum == LONG_SUM
    }

    /// The steps that were taken.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.lines.iter().filter_map(|line| match line {
            Line::Step(step) => Some(step),
            Line::Note(_) => None,
        })
    }

    /// Splits a loop; gives the axes of the blocks and of the rest.
    ///
    /// # Errors
    ///
    /// Where [`Step::Split`] is not legal.
    pub fn split(&mut self, axis: Axis, factor: i64) -> Result<(Axis, Axis), Illegal> {
        let [block, rest] = self.next_axes();
        Step::Split { axis, factor }.apply(self)?;
        Ok((block, rest))
    }

    /// Joins free loops; gives the axis of the one that they become.
    ///
    /// # Errors
    ///
    /// Where [`Step::Flatten`] is not legal.
    pub fn flatten(&mut self, axes: &[Axis]) -> Result<Axis, Illegal> {
        let [flat] = self.next_axes();
        Step::Flatten { axes: axes.to_vec() }.apply(self)?;
        Ok(flat)
    }

    /// Joins two reduction loops; gives the axis of the one that they become.
    ///
    /// # Errors
    ///
    /// Where [`Step::Join`] is not legal.
    pub fn join(&mut self, first: Axis, second: Axis) -> Result<Axis, Illegal> {
        let [joined] = self.next_axes();
        Step::Join { first, second }.apply(self)?;
        Ok(joined)
    }

    /// The axes that the next step makes first.
    fn next_axes<const COUNT: usize>(&self) -> [Axis; COUNT] {
        std::array::from_fn(|number| Axis::new(self.axes.len() + number))
    }

    /// Writes down why something was chosen.
    pub fn note(&mut self, why: String) {
        self.lines.push(Line::Note(why));
    }

    /// Writes down a step that was taken.
    pub(super) fn took(&mut self, step: Step) {
        debug_assert!(self.places_are_apart(), "{step:?}: an axis has two places");
        self.lines.push(Line::Step(step));
    }

    /// A new axis.
    pub(super) fn axis(&mut self, name: String, extent: i64) -> Axis {
        self.axes.push(AxisData { name, extent })
    }

    /// The axes of all loops, and the lanes.
    pub(super) fn placed(&self) -> impl Iterator<Item = &Axis> {
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
    pub(super) fn substitute(&mut self, axis: Axis, index: &Index) {
        let Self { replace, mask, axes, .. } = self;
        let other = |found: Axis| (found == axis).then(|| index.clone());
        let masked = mask.iter_mut().map(|(masked, _)| masked);
        replace.values_mut().chain(masked).for_each(|index| *index = index.substitute(&other, axes));
    }

    /// Whether an axis of the nest depends on this one.
    pub fn mentions(&self, axis: Axis) -> bool {
        self.replace.values().any(|index| index.mentions(axis))
    }

    /// Whether its points are written one after the other, or are lanes.
    pub(super) fn is_unrolled(&self, axis: Axis) -> bool {
        self.placed().any(|placed| *placed == axis)
            && !self.outer.contains(&axis)
            && !self.reduce.contains(&axis)
    }

    /// Whether it is an axis of the nest that has no loop, because it is that of one element.
    pub(super) fn is_single(&self, axis: Axis) -> bool {
        self.extent(axis) == 1 && self.replace.get(&axis).is_some_and(|index| index.as_constant().is_some())
    }
}

impl fmt::Display for LoopNest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Step(step) => writeln!(f, "    {}", step.text(&self.axes)),
            Line::Note(why) => writeln!(f, "    {why}"),
        })
    }
}

#[cfg(test)]
#[path = "nest_tests.rs"]
mod tests;
