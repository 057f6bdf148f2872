//! The policy for CPUs.
//!
//! Vectors run over the axis that the layouts put across the lanes. With the batch there, any channel count, kernel or
//! stride runs at full width; with the channels there, any batch. Nests without such an axis (the optimiser) run over
//! their flattened elements. Contractions get a register tile (`tile`).

mod choice;
mod slices;
#[cfg(test)]
mod tests;
mod tile;

use crate::kernels::layout::lane_axis;
use crate::kernels::slices::Cut;
use crate::kernels::{Kernels, Layouts, Nest, Statement};
use crate::te::whole::is_beyond;
use crate::te::{Axis, Expr, Index, Program, Reduction};

use crate::sched::cost_model::CostModel;
use crate::sched::emit::SHORT_SUM;
use crate::sched::nest::{LONG_SUM, LoopNest};
use crate::sched::step::{Illegal, Step};
use crate::sched::{Machine, ScheduleInput};

/// So many summands of a register tile's sum are added one after the other, at most, where that can be; of one that has
/// a part in each lane, so many times as many.
const LONGEST_SUM: i64 = 128;

/// A reduction loop over more than this is split into blocks, where time comes before digits too.
const LONGEST_LOOP: i64 = 256;

/// Where so many times as many lanes are as pictures, lanes are wasted and time matters less than digits.
const FEW_IN_LANES: i64 = 4;

/// The same of a single sum, whose loops cost little.
const LONGEST_SINGLE_SUM: i64 = 16;

/// Blocks of fewer summands do not pay.
const LEAST_BLOCK: i64 = 4;

/// The scheduled loops of a nest: one, or two where a vector axis leaves a rest; and each of them in two parts where no
/// tile divides an extent. `cuts` count through the slices in which the nest's group runs, and `wanted` says which
/// register tile was chosen for which part.
///
/// # Errors
///
/// Where the policy takes a step that is not legal: that is a bug of it.
pub fn schedule_nest<'c>(
    input: ScheduleInput<'_>,
    nest: &Nest,
    cuts: &[Cut],
    wanted: &dyn Fn(usize) -> Option<&'c str>,
) -> Result<Vec<LoopNest>, Illegal> {
    let ScheduleInput { kernels, layouts, machine, accurate_sums } = input;
    let program = &kernels.program;
    let mut plain = LoopNest::new(program, nest);
    plain.accurate_sums = accurate_sums;
    let scheduler = NestScheduler { kernels, layouts, machine, program, nest, cuts };
    scheduler.unroll_selects(&mut plain)?;
    let scheds = match scheduler.lane_axis() {
        Some(axis) => scheduler.over_lanes(&plain, axis)?,
        None => scheduler.over_elements(&plain)?,
    };
    let mut parts = Vec::new();
    for sched in scheds.unwrap_or_else(|| vec![plain]) {
        parts.extend(scheduler.parts(sched)?);
    }
    for (part, sched) in parts.iter_mut().enumerate() {
        scheduler.tile(sched, wanted(part))?;
        scheduler.join(sched)?;
        scheduler.block(sched)?;
        scheduler.unroll(sched)?;
        scheduler.collapse_parallel_loops(sched)?;
    }
    Ok(parts)
}

struct NestScheduler<'a> {
    kernels: &'a Kernels,
    layouts: &'a Layouts,
    machine: &'a Machine,
    program: &'a Program,
    nest: &'a Nest,
    cuts: &'a [Cut],
}

impl NestScheduler<'_> {
    /// What things cost in the code of the back end that will compile it.
    fn costs(&self) -> &'static CostModel {
        CostModel::of(self.machine)
    }

    /// The axis that indexes the lanes of a stored tensor, a free one before one that is reduced.
    fn lane_axis(&self) -> Option<Axis> {
        let mut found: Vec<Axis> = Vec::new();
        for (tensor, index) in self.accesses() {
            if let Some(layout) = self.layouts.get(&tensor)
                && let Some(at) = layout.lane_dim
                && let Some(axis) = lane_axis(&index[at], self.machine.lanes, &self.program.axes)
            {
                found.push(axis);
            }
        }
        let in_order = [&self.nest.axes, &self.nest.reduce];
        in_order.into_iter().find_map(|axes| found.iter().find(|axis| axes.contains(axis)).copied())
    }

    /// Every stored tensor that the nest reads or writes, and where.
    fn accesses(&self) -> Vec<(crate::te::Tensor, Vec<Index>)> {
        let mut found = Vec::new();
        for statement in &self.nest.statements {
            if self.kernels.stored.contains(&statement.result) {
                found.push((statement.result, statement.at.clone()));
            }
            self.program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, .. } = &self.program.exprs[id]
                    && self.layouts.contains_key(tensor)
                {
                    found.push((*tensor, index.clone()));
                }
            });
        }
        found
    }

    fn over_lanes(&self, plain: &LoopNest, axis: Axis) -> Result<Option<Vec<LoopNest>>, Illegal> {
        let (extent, lanes) = (plain.extent(axis), self.machine.lanes);
        let reduced = self.nest.reduce.contains(&axis);
        let ragged = extent % lanes != 0;
        if ragged && !self.padded_everywhere(axis) {
            return Ok(None);
        }
        let mut sched = plain.clone();
        // Its loop has been unrolled for a choice, and no other way has lanes along it.
        if extent != 1 && !sched.mentions(axis) {
            return Ok(None);
        }
        let (_, lane) = sched.split(axis, lanes)?;
        if ragged && reduced {
            sched.mask = Some((Index::from(axis), extent));
        }
        if !self.vectorizes(&sched, lane, reduced) {
            return Ok(None);
        }
        Step::Vectorize { axis: lane, reduced }.apply(&mut sched)?;
        if sched.accurate_sums && extent * FEW_IN_LANES <= lanes {
            sched.long_sum /= 2;
        }
        self.slice(&mut sched)?;
        self.flatten_outer(&mut sched)?;
        Ok(Some(vec![sched]))
    }

    /// Whether an axis that does not fill its last vector is only used where the layout has room for lanes beyond the
    /// last element; one that walks backwards reaches before the first.
    fn padded_everywhere(&self, axis: Axis) -> bool {
        self.accesses().iter().all(|(tensor, index)| {
            let layout = &self.layouts[tensor];
            let ends = |at: usize| {
                layout.lane_dim == Some(at)
                    && index[at].coefficient(axis) >= 0
                    && (planted!("sched.cpu.ends") || layout.shape[at] == self.program.axes[axis].extent)
            };
            index.iter().enumerate().all(|(at, index)| !index.mentions(axis) || ends(at))
        })
    }

    /// Whether every address moves by a constant from lane to lane, and no condition depends on the lane.
    fn vectorizes(&self, sched: &LoopNest, lane: Axis, reduced: bool) -> bool {
        let axes = &sched.axes;
        let regular = |index: &Index| {
            let step = index.coefficient(lane);
            !index.add_scaled(&Index::from(lane), -step, axes).mentions(lane)
        };
        let replaced = |index: &Index| index.substitute(&|axis| sched.replace.get(&axis).cloned(), axes);
        let address = |tensor: &crate::te::Tensor, index: &[Index]| {
            let index: Vec<Index> = index.iter().map(&replaced).collect();
            self.layouts.get(tensor).is_none_or(|layout| regular(&layout.address(&index, axes)))
        };
        let mut fits = self.nest.statements.iter().all(|statement| address(&statement.result, &statement.at));
        for statement in &self.nest.statements {
            // Lanes are folded as floats.
            fits &= !reduced
                || planted!("sched.cpu.whole")
                || !is_beyond(self.program, statement.result, statement.body);
            self.program.for_each_expr(statement.body, &mut |id| {
                fits &= match &self.program.exprs[id] {
                    Expr::Read { tensor, index, fill } => {
                        let fixed = |index: &Index| !replaced(index).mentions(lane);
                        let lane_dim = self.layouts.get(tensor).and_then(|layout| layout.lane_dim);
                        let guarded = fill.is_some() && !self.program.in_bounds(*tensor, index);
                        let guards =
                            index.iter().enumerate().all(|(at, index)| Some(at) == lane_dim || fixed(index));
                        address(tensor, index) && (!guarded || guards)
                    }
                    Expr::Number(index) | Expr::Uniform { element: index, .. } => regular(&replaced(index)),
                    Expr::Reduce { op: Reduction::ArgMax | Reduction::ArgMin, .. } => !reduced,
                    _ => true,
                };
            });
        }
        fits
    }

    /// Joins the loops that every tensor stores contiguously.
    fn flatten_outer(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        if self.factors().is_some() || sched.outer.len() < 2 {
            return Ok(());
        }
        for first in sched.slices..sched.outer.len() - 1 {
            let axes = sched.outer[first..].to_vec();
            let mut flat = sched.clone();
            let axis = flat.flatten(&axes)?;
            if self.vectorizes(&flat, axis, false) {
                *sched = flat;
                return Ok(());
            }
        }
        Ok(())
    }

    fn over_elements(&self, plain: &LoopNest) -> Result<Option<Vec<LoopNest>>, Illegal> {
        let mut flat = plain.clone();
        self.flatten_outer(&mut flat)?;
        match self.over_last(flat)? {
            None => self.over_last(plain.clone()),
            scheds => Ok(scheds),
        }
    }

    /// Vectors over the last loop, and what does not fill one.
    fn over_last(&self, mut whole: LoopNest) -> Result<Option<Vec<LoopNest>>, Illegal> {
        let lanes = self.machine.lanes;
        let Some(axis) = whole.outer.last().copied() else { return Ok(None) };
        let extent = whole.extent(axis);
        if extent < lanes || !self.vectorizes(&whole, axis, false) {
            return Ok(None);
        }
        let tail = extent % lanes;
        let mut main = whole.clone();
        Step::Restrict { axis, start: 0, count: extent - tail }.apply(&mut main)?;
        let Some(main_axis) = main.outer.last().copied() else { return Ok(None) };
        let (_, lane) = main.split(main_axis, lanes)?;
        // An address that is linear in the loop may lose that form when the loop is split.
        if !self.vectorizes(&main, lane, false) {
            return Ok(None);
        }
        Step::Vectorize { axis: lane, reduced: false }.apply(&mut main)?;
        let mut scheds = vec![main];
        if tail > i64::from(planted!("sched.cpu.rest")) {
            Step::Restrict { axis, start: extent - tail, count: tail }.apply(&mut whole)?;
            scheds.push(whole);
        }
        Ok(Some(scheds))
    }

    /// Joins the loops of a contraction's sum that all factors walk through as through one, but for those that will be
    /// unrolled.
    fn join(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        let (mut at, limit) = (0, self.costs().largest_unroll);
        let mut copies = self.copies(sched);
        let unrolled = sched.reduce.iter().rev().take_while(|axis| {
            copies *= sched.extent(**axis);
            copies <= limit
        });
        let mut end = sched.reduce.len() - unrolled.count();
        while self.factors().is_some() && at + 1 < end {
            let mut joined = sched.clone();
            let axis = joined.join(sched.reduce[at], sched.reduce[at + 1])?;
            match self.vectorizes(&joined, axis, false) {
                true => {
                    *sched = joined;
                    end -= 1;
                }
                false => at += 1,
            }
        }
        Ok(())
    }

    /// Blocks long reduction loops, so that a long sum is one of sums: it loses fewer digits. And those that walk
    /// through lanes, one vector after the other.
    fn block(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        for axis in sched.reduce.clone() {
            if !self.walks_lanes(sched, axis) {
                continue;
            }
            let (lanes, extent) = (self.machine.lanes, sched.extent(axis));
            let vectors = (2..=lanes).rev().find(|part| lanes % part == 0 && extent % part == 0);
            if let Some(part) = vectors {
                Step::Block { axis, factor: part }.apply(sched)?;
            }
        }
        let mut points = sched.tile.iter().chain(&sched.windows).map(|axis| sched.extent(*axis));
        let single = points.all(|extent| extent == 1);
        match single {
            _ if !sched.accurate_sums => self.block_longest_loops(sched),
            true if sched.has_parts_in_lanes() => self.block_longest_loops(sched),
            true => self.block_single_sums(sched),
            false => self.block_tile(sched),
        }
    }

    /// Blocks what is longer than any sum shall be: a register tile whose sum begins again more often is up to a fifth
    /// slower in some shapes.
    fn block_longest_loops(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        for axis in sched.reduce.clone() {
            let extent = sched.extent(axis);
            let divides = |factor: &i64| extent % factor == 0 && extent / factor > 1;
            if extent > LONGEST_LOOP
                && let Some(factor) = (LONGEST_LOOP / 4..=LONGEST_LOOP).rev().find(divides)
            {
                Step::Block { axis, factor }.apply(sched)?;
            }
        }
        Ok(())
    }

    /// Blocks the loops of sums that begin again in each loop.
    fn block_single_sums(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        let mut at = 0;
        while let Some(axis) = sched.reduce.get(at).copied() {
            let extent = sched.extent(axis);
            let block = (LEAST_BLOCK..=SHORT_SUM).rev().find(|factor| extent % factor == 0);
            match block.filter(|_| extent > LONGEST_SINGLE_SUM) {
                Some(factor) => Step::Block { axis, factor }.apply(sched)?,
                None => at += 1,
            }
        }
        Ok(())
    }

    /// Blocks one loop of a register tile's sum, which begins again only in the innermost loop that has a long sum
    /// inside: that sum and the one of such sums shall be short.
    fn block_tile(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        let all: i64 = sched.reduce.iter().map(|axis| sched.extent(*axis)).product();
        let longest = match sched.has_parts_in_lanes() {
            _ if sched.long_sum < LONG_SUM => 2 * sched.long_sum,
            true => LONGEST_SUM * self.machine.lanes,
            false => LONGEST_SUM,
        };
        let mut inside = 1;
        for axis in sched.reduce.clone().into_iter().rev() {
            let extent = sched.extent(axis);
            if inside >= sched.long_sum {
                return Ok(());
            }
            if inside * extent > longest {
                let long = sched.long_sum;
                let blocks = (2..extent).filter(|factor| extent % factor == 0 && inside * factor >= long);
                if let Some(factor) = blocks.min_by_key(|factor| inside * factor + all / (inside * factor)) {
                    return Step::Block { axis, factor }.apply(sched);
                }
            }
            inside *= extent;
        }
        Ok(())
    }

    /// Whether a reduction loop of more than one vector indexes the lanes of a tensor, element by element.
    fn walks_lanes(&self, sched: &LoopNest, axis: Axis) -> bool {
        let indexes = |(tensor, index): &(crate::te::Tensor, Vec<Index>)| {
            let lane_dim = self.layouts.get(tensor).and_then(|layout| layout.lane_dim);
            lane_dim.and_then(|at| index[at].as_axis()).and_then(|own| sched.replace[&own].as_axis())
                == Some(axis)
        };
        sched.extent(axis) > self.machine.lanes && self.accesses().iter().any(indexes)
    }

    fn unroll(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        let mut copies = self.copies(sched);
        while let Some(axis) = sched.reduce.last().copied() {
            copies *= sched.extent(axis);
            if copies > self.costs().largest_unroll {
                break;
            }
            Step::Unroll { axis }.apply(sched)?;
        }
        Ok(())
    }

    /// How often the body of a reduction is written, before its own loops are unrolled.
    fn copies(&self, sched: &LoopNest) -> i64 {
        let extent = |axis: &Axis| sched.extent(*axis);
        let is_reduction = |s: &&Statement| matches!(self.program.exprs[s.body], Expr::Reduce { .. });
        let inner = self.nest.levels(self.program).0;
        let reductions = inner.iter().filter(is_reduction).count() as i64;
        sched.tile.iter().chain(&sched.windows).map(extent).product::<i64>() * reductions
    }

    /// Gives the parallel loop enough iterations to share; on a grid, all outer loops are parallel. A nest that tests its indices keeps its loops: the verifier
    /// follows a test of an axis to the address, but not one of a digit.
    fn collapse_parallel_loops(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        if sched.slices > 0 {
            let axes = sched.outer[..sched.slices].to_vec();
            if axes.len() > 1 {
                sched.flatten(&axes)?;
            }
            return Ok(());
        }
        if self.machine.grid.is_some() {
            return Ok(());
        }
        while sched.outer.len() > 1 && sched.extent(sched.outer[0]) < 8 && !self.tests_indices() {
            let axes = sched.outer[..2].to_vec();
            sched.flatten(&axes)?;
        }
        Ok(())
    }

    /// Whether a read may lie outside its tensor and the halo that holds its fill value.
    fn tests_indices(&self) -> bool {
        let program = self.program;
        let mut found = false;
        for statement in &self.nest.statements {
            program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Read { tensor, index, fill: Some(fill) } = &program.exprs[id]
                    && let Some(layout) = self.layouts.get(tensor)
                    && !program.in_bounds(*tensor, index)
                {
                    let held = |(at, index): (usize, &Index)| layout.holds(at, index.range(&program.axes));
                    found |= layout.fill != Some(*fill) || !index.iter().enumerate().all(held);
                }
            });
        }
        found
    }
}
