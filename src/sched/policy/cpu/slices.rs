//! Loops that stay outside because a group runs slice by slice, and loops that are unrolled because they decide which
//! of several expressions an element is.

use crate::te::{Axis, Expr, Index};

use super::NestScheduler;
use crate::sched::nest::LoopNest;
use crate::sched::step::{Illegal, Step};

/// The points of a tile that unrolled choices may make.
const LARGEST_TILE: i64 = 64;

impl NestScheduler<'_> {
    /// Makes the loops that count through the slices the outermost ones. Where the cuts are no loops of the nest, it
    /// has none, and the plan finds that the group has no common slices.
    pub(super) fn slice(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        let count = |(axis, by): &(Axis, i64)| sched.replace[axis].div(*by, &sched.axes);
        let counts = self.cuts.iter().flatten().map(count);
        let counts: Vec<Index> = counts.collect();
        let several = counts.iter().filter(|index| index.as_constant().is_none());
        let loops: Option<Vec<Axis>> = several.map(Index::as_axis).collect();
        let Some(loops) = loops.filter(|loops| loops.iter().all(|axis| sched.outer.contains(axis))) else {
            return Ok(());
        };
        match loops.is_empty() {
            true => Ok(()),
            false => Step::Slice { loops }.apply(sched),
        }
    }

    /// Unrolls the loops that decide choices, as far as a tile has room, so that each of its points has one expression.
    pub(super) fn unroll_selects(&self, sched: &mut LoopNest) -> Result<(), Illegal> {
        if self.factors().is_some() {
            return Ok(());
        }
        for index in self.select_indices() {
            let mut open = Vec::new();
            replaced(sched, &index).for_each_axis(&mut |axis| open.push(axis));
            for axis in open.into_iter().filter(|axis| sched.outer.contains(axis)).collect::<Vec<_>>() {
                self.unroll_select(sched, &index, axis)?;
            }
        }
        Ok(())
    }

    /// The indices that are compared with numbers to choose an expression, the outermost choice first: what the points
    /// of an inner one share is then at hand for a short while only.
    fn select_indices(&self) -> Vec<Index> {
        let program = self.program;
        let mut found: Vec<Index> = Vec::new();
        for statement in &self.nest.statements {
            program.for_each_expr(statement.body, &mut |id| {
                if let Expr::Select(condition, ..) = &program.exprs[id]
                    && let Some((index, _)) = program.as_choice(*condition)
                    && !found.contains(index)
                {
                    found.push(index.clone());
                }
            });
        }
        found.reverse();
        found
    }

    /// Tiles a loop by the least number whose blocks do not change the index.
    fn unroll_select(&self, sched: &mut LoopNest, index: &Index, axis: Axis) -> Result<(), Illegal> {
        let extent = sched.extent(axis);
        let points: i64 = sched.tile.iter().chain(&sched.windows).map(|axis| sched.extent(*axis)).product();
        for factor in (2..=extent.min(LARGEST_TILE / points)).filter(|factor| extent % factor == 0) {
            let mut tiled = sched.clone();
            Step::Tile { axis, factor }.apply(&mut tiled)?;
            let blocks: Vec<Axis> =
                tiled.outer.iter().copied().filter(|axis| !sched.outer.contains(axis)).collect();
            let index = replaced(&tiled, index);
            if !blocks.iter().any(|block| index.mentions(*block)) {
                tiled.shares = true;
                *sched = tiled;
                return Ok(());
            }
        }
        Ok(())
    }
}

fn replaced(sched: &LoopNest, index: &Index) -> Index {
    index.substitute(&|axis| sched.replace.get(&axis).cloned(), &sched.axes)
}
