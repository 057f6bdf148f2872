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

use super::emit::SHORT_SUM;
use super::nest::{Illegal, LONG_SUM, LoopNest};
use super::{Machine, Subject};

/// Straight-line copies of a reduction's body, at most: with wide vectors, and with those of 128 bits, whose back end
/// takes longer over long code.
const LARGEST_UNROLL: [i64; 2] = [64, 32];

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
/// tile divides an extent. Their axes are added to the `program`. `cuts` count through the slices in which the nest's group runs, and `wanted` says which
/// register tile was chosen for which part.
///
/// # Errors
///
/// Where the policy takes a step that is not legal: that is a bug of it.
pub fn plan<'c>(
    subject: Subject<'_>,
    program: &mut Program,
    nest: &Nest,
    cuts: &[Cut],
    wanted: &dyn Fn(usize) -> Option<&'c str>,
) -> Result<Vec<LoopNest>, Illegal> {
    let Subject { kernels, layouts, machine, keeps_digits } = subject;
    let mut plain = LoopNest::new(program, nest);
    plain.digits = keeps_digits;
    let mut planner = Planner { kernels, layouts, machine, program, nest, cuts };
    planner.settle(&mut plain)?;
    let plans = match planner.lane_axis() {
        Some(axis) => planner.over_lanes(&plain, axis)?,
        None => planner.over_elements(&plain)?,
    };
    let mut parts = Vec::new();
    for plan in plans.unwrap_or_else(|| vec![plain]) {
        parts.extend(planner.parts(plan)?);
    }
    for (part, plan) in parts.iter_mut().enumerate() {
        planner.tile(plan, wanted(part))?;
        planner.join(plan)?;
        planner.block(plan)?;
        planner.unroll(plan)?;
        planner.spread(plan)?;
    }
    Ok(parts)
}

struct Planner<'a> {
    kernels: &'a Kernels,
    layouts: &'a Layouts,
    machine: &'a Machine,
    /// The axes of the loops are added to it.
    program: &'a mut Program,
    nest: &'a Nest,
    cuts: &'a [Cut],
}

impl Planner<'_> {
    fn extent(&self, axis: Axis) -> i64 {
        self.program.axes[axis].extent
    }

    /// The axis that indexes the lanes of a stored tensor, a free one before one that is reduced.
    fn lane_axis(&self) -> Option<Axis> {
        let mut found: Vec<Axis> = Vec::new();
        for (tensor, index) in self.accesses() {
            if let Some(layout) = self.layouts.get(&tensor)
                && let Some(at) = layout.across
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

    fn over_lanes(&mut self, plain: &LoopNest, axis: Axis) -> Result<Option<Vec<LoopNest>>, Illegal> {
        let (extent, lanes) = (self.extent(axis), self.machine.lanes);
        let reduced = self.nest.reduce.contains(&axis);
        let ragged = extent % lanes != 0;
        if ragged && !self.padded_everywhere(axis) {
            return Ok(None);
        }
        let mut plan = plain.clone();
        if extent == 1 {
            plan.replace.insert(axis, Index::from(axis));
        }
        // Its loop has been unrolled for a choice, and no other way has lanes along it.
        if !plan.mentions(axis) {
            return Ok(None);
        }
        let (_, lane) = plan.split(self.program, axis, lanes)?;
        if ragged && reduced {
            plan.mask = Some((Index::from(axis), extent));
        }
        if !self.vectorizes(&plan, lane, reduced) {
            return Ok(None);
        }
        plan.vectorize(self.program, lane, reduced)?;
        if plan.digits && extent * FEW_IN_LANES <= lanes {
            plan.long_sum /= 2;
        }
        self.slice(&mut plan)?;
        self.flatten_rest(&mut plan)?;
        Ok(Some(vec![plan]))
    }

    /// Whether an axis that does not fill its last vector is only used where the layout has room for lanes beyond the
    /// last element; one that walks backwards reaches before the first.
    fn padded_everywhere(&self, axis: Axis) -> bool {
        self.accesses().iter().all(|(tensor, index)| {
            let layout = &self.layouts[tensor];
            let ends = |at: usize| {
                layout.across == Some(at)
                    && index[at].coefficient(axis) >= 0
                    && (planted!("sched.cpu.ends") || layout.shape[at] == self.extent(axis))
            };
            index.iter().enumerate().all(|(at, index)| !index.mentions(axis) || ends(at))
        })
    }

    /// Whether every address moves by a constant from lane to lane, and no condition depends on the lane.
    fn vectorizes(&self, plan: &LoopNest, lane: Axis, reduced: bool) -> bool {
        let axes = &self.program.axes;
        let regular = |index: &Index| {
            let step = index.coefficient(lane);
            !index.add_scaled(&Index::from(lane), -step, axes).mentions(lane)
        };
        let replaced = |index: &Index| index.substitute(&|axis| plan.replace.get(&axis).cloned(), axes);
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
                        let across = self.layouts.get(tensor).and_then(|layout| layout.across);
                        let guarded = fill.is_some() && !self.program.in_bounds(*tensor, index);
                        let guards =
                            index.iter().enumerate().all(|(at, index)| Some(at) == across || fixed(index));
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
    fn flatten_rest(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        if self.factors().is_some() || plan.outer.len() < 2 {
            return Ok(());
        }
        for first in plan.slices..plan.outer.len() - 1 {
            let axes = plan.outer[first..].to_vec();
            let mut flat = plan.clone();
            let axis = flat.flatten(self.program, &axes)?;
            if self.vectorizes(&flat, axis, false) {
                *plan = flat;
                return Ok(());
            }
        }
        Ok(())
    }

    fn over_elements(&mut self, plain: &LoopNest) -> Result<Option<Vec<LoopNest>>, Illegal> {
        let mut flat = plain.clone();
        self.flatten_rest(&mut flat)?;
        match self.over_last(flat)? {
            None => self.over_last(plain.clone()),
            plans => Ok(plans),
        }
    }

    /// Vectors over the last loop, and what does not fill one.
    fn over_last(&mut self, mut whole: LoopNest) -> Result<Option<Vec<LoopNest>>, Illegal> {
        let lanes = self.machine.lanes;
        let Some(axis) = whole.outer.last().copied() else { return Ok(None) };
        let extent = self.extent(axis);
        if extent < lanes || !self.vectorizes(&whole, axis, false) {
            return Ok(None);
        }
        let rest = extent % lanes;
        let mut main = whole.clone();
        main.restrict(self.program, axis, 0, extent - rest)?;
        let Some(main_axis) = main.outer.last().copied() else { return Ok(None) };
        let (_, lane) = main.split(self.program, main_axis, lanes)?;
        // An address that is linear in the loop may lose that form when the loop is split.
        if !self.vectorizes(&main, lane, false) {
            return Ok(None);
        }
        main.vectorize(self.program, lane, false)?;
        let mut plans = vec![main];
        if rest > i64::from(planted!("sched.cpu.rest")) {
            whole.restrict(self.program, axis, extent - rest, rest)?;
            plans.push(whole);
        }
        Ok(Some(plans))
    }

    /// Joins the loops of a contraction's sum that all factors walk through as through one, but for those that will be
    /// unrolled.
    fn join(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        let (mut at, limit) = (0, LARGEST_UNROLL[usize::from(self.machine.target.lanes == 4)]);
        let mut copies = self.copies(plan);
        let unrolled = plan.reduce.iter().rev().take_while(|axis| {
            copies *= self.extent(**axis);
            copies <= limit
        });
        let mut end = plan.reduce.len() - unrolled.count();
        while self.factors().is_some() && at + 1 < end {
            let mut joined = plan.clone();
            let axis = joined.join(self.program, plan.reduce[at])?;
            match self.vectorizes(&joined, axis, false) {
                true => {
                    *plan = joined;
                    end -= 1;
                }
                false => at += 1,
            }
        }
        Ok(())
    }

    /// Blocks long reduction loops, so that a long sum is one of sums: it loses fewer digits. And those that walk through
    /// lanes, one vector after the other.
    fn block(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        for axis in plan.reduce.clone() {
            if !self.walks_lanes(plan, axis) {
                continue;
            }
            let (lanes, extent) = (self.machine.lanes, self.extent(axis));
            let vectors = (2..=lanes).rev().find(|part| lanes % part == 0 && extent % part == 0);
            if let Some(part) = vectors {
                plan.block(self.program, axis, part)?;
            }
        }
        let mut points = plan.tile.iter().chain(&plan.windows).map(|axis| self.extent(*axis));
        let single = points.all(|extent| extent == 1);
        match single {
            _ if !plan.digits => self.block_longest_loops(plan),
            true if plan.has_parts_in_lanes() => self.block_longest_loops(plan),
            true => self.block_single_sums(plan),
            false => self.block_tile(plan),
        }
    }

    /// Blocks what is longer than any sum shall be: a register tile whose sum begins again more often is up to a fifth
    /// slower in some shapes.
    fn block_longest_loops(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        for axis in plan.reduce.clone() {
            let extent = self.extent(axis);
            let divides = |factor: &i64| extent % factor == 0 && extent / factor > 1;
            if extent > LONGEST_LOOP
                && let Some(factor) = (LONGEST_LOOP / 4..=LONGEST_LOOP).rev().find(divides)
            {
                plan.block(self.program, axis, factor)?;
            }
        }
        Ok(())
    }

    /// Blocks the loops of sums that begin again in each loop.
    fn block_single_sums(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        let mut at = 0;
        while let Some(axis) = plan.reduce.get(at).copied() {
            let extent = self.extent(axis);
            let block = (LEAST_BLOCK..=SHORT_SUM).rev().find(|factor| extent % factor == 0);
            match block.filter(|_| extent > LONGEST_SINGLE_SUM) {
                Some(factor) => plan.block(self.program, axis, factor)?,
                None => at += 1,
            }
        }
        Ok(())
    }

    /// Blocks one loop of a register tile's sum, which begins again only in the innermost loop that has a long sum inside:
    /// that sum and the one of such sums shall be short.
    fn block_tile(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        let all: i64 = plan.reduce.iter().map(|axis| self.extent(*axis)).product();
        let longest = match plan.has_parts_in_lanes() {
            _ if plan.long_sum < LONG_SUM => 2 * plan.long_sum,
            true => LONGEST_SUM * self.machine.lanes,
            false => LONGEST_SUM,
        };
        let mut inside = 1;
        for axis in plan.reduce.clone().into_iter().rev() {
            let extent = self.extent(axis);
            if inside >= plan.long_sum {
                return Ok(());
            }
            if inside * extent > longest {
                let long = plan.long_sum;
                let blocks = (2..extent).filter(|factor| extent % factor == 0 && inside * factor >= long);
                if let Some(factor) = blocks.min_by_key(|factor| inside * factor + all / (inside * factor)) {
                    return plan.block(self.program, axis, factor);
                }
            }
            inside *= extent;
        }
        Ok(())
    }

    /// Whether a reduction loop of more than one vector indexes the lanes of a tensor, element by element.
    fn walks_lanes(&self, plan: &LoopNest, axis: Axis) -> bool {
        let indexes = |(tensor, index): &(crate::te::Tensor, Vec<Index>)| {
            let across = self.layouts.get(tensor).and_then(|layout| layout.across);
            across.and_then(|at| index[at].as_axis()).and_then(|own| plan.replace[&own].as_axis())
                == Some(axis)
        };
        self.extent(axis) > self.machine.lanes && self.accesses().iter().any(indexes)
    }

    fn unroll(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        let mut copies = self.copies(plan);
        while let Some(axis) = plan.reduce.last().copied() {
            copies *= self.extent(axis);
            if copies > LARGEST_UNROLL[usize::from(self.machine.target.lanes == 4)] {
                break;
            }
            plan.unroll(self.program)?;
        }
        Ok(())
    }

    /// How often the body of a reduction is written, before its own loops are unrolled.
    fn copies(&self, plan: &LoopNest) -> i64 {
        let extent = |axis: &Axis| self.program.axes[*axis].extent;
        let is_reduction = |s: &&Statement| matches!(self.program.exprs[s.body], Expr::Reduce { .. });
        let inner = self.nest.levels(self.program).0;
        let reductions = inner.iter().filter(is_reduction).count() as i64;
        plan.tile.iter().chain(&plan.windows).map(extent).product::<i64>() * reductions
    }

    /// Gives the parallel loop enough iterations to share. A nest that tests its indices keeps its loops: the verifier
    /// follows a test of an axis to the address, but not one of a digit.
    fn spread(&mut self, plan: &mut LoopNest) -> Result<(), Illegal> {
        if plan.slices > 0 {
            let axes = plan.outer[..plan.slices].to_vec();
            if axes.len() > 1 {
                plan.flatten(self.program, &axes)?;
            }
            return Ok(());
        }
        while plan.outer.len() > 1 && self.extent(plan.outer[0]) < 8 && !self.tests_indices() {
            let axes = plan.outer[..2].to_vec();
            plan.flatten(self.program, &axes)?;
        }
        Ok(())
    }

    /// Whether a read may lie outside its tensor and the halo that holds its fill value.
    fn tests_indices(&self) -> bool {
        let program = &*self.program;
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
