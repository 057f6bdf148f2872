//! The register tile of a contraction: a block of an axis that only one factor has, times a block of an axis that only
//! the other has.
//!
//! A tile divides its extents. Where no good one does (13 columns, say), the loop is cut in two parts that have good
//! tiles each (5 and 8).

use crate::te::{Axis, Binary, Expr, ExprId, Reduction};

use super::NestScheduler;
use crate::sched::cost_model::{TileCost, TileLoad};
use crate::sched::nest::LoopNest;
use crate::sched::step::{Illegal, Step};

/// So many elements of an axis.
pub(super) type TileFactor = (Axis, i64);

/// A block of each factor; None is a single element.
pub(super) type Tile = [Option<TileFactor>; 2];

/// One factor of a contraction.
struct Factor {
    body: ExprId,
    /// The loops that it depends on and the other does not.
    own: Vec<Axis>,
    /// Whether it varies from lane to lane.
    vector: bool,
    /// Its elements at the points of a window.
    points: i64,
    /// The loops along which its elements are those of the next summands: a block of them is read once.
    sliding: Vec<Axis>,
}

impl Factor {
    /// The vectors that a summand of a tile with a block of this side brings from beyond the first cache.
    fn far(&self, block: Option<TileFactor>, wide: i64) -> i64 {
        match block {
            _ if !self.vector => 0,
            Some((axis, factor)) if !self.sliding.contains(&axis) => factor * wide,
            _ => wide,
        }
    }
}

/// A sum of products under scheduling.
pub(super) struct Contraction {
    sides: [Factor; 2],
    /// Whether its results are vectors.
    vector: bool,
    /// Points of a window.
    pub(super) windows: i64,
    /// The other loops.
    others: Vec<Axis>,
}

impl NestScheduler<'_> {
    /// The two factors of the nest's only contraction.
    pub(super) fn factors(&self) -> Option<(ExprId, ExprId)> {
        let statements = self.nest.levels(self.program).0;
        let bodies = statements.iter().filter_map(|s| match &self.program.exprs[s.body] {
            Expr::Reduce { op, body, .. } => Some((*op, *body)),
            _ => None,
        });
        let bodies: Vec<(Reduction, ExprId)> = bodies.collect();
        let [(Reduction::Sum, body)] = bodies.as_slice() else { return None };
        match &self.program.exprs[*body] {
            Expr::Binary(Binary::Mul, x, y) => Some((*x, *y)),
            _ => None,
        }
    }

    /// The nest's contraction, if a tile serves it.
    fn contraction(&self, sched: &LoopNest) -> Option<Contraction> {
        let (x, y) = self.factors()?;
        let (x_axes, y_axes) = (self.loop_axes(sched, x), self.loop_axes(sched, y));
        let side = |body: ExprId, these: &[Axis], those: &[Axis]| {
            let loops = &sched.outer[sched.slices..];
            let own = loops.iter().filter(|axis| these.contains(axis) && !those.contains(axis));
            let windows = sched.windows.iter().filter(|axis| these.contains(axis));
            Factor {
                body,
                own: own.copied().collect(),
                vector: sched.lane.as_ref().is_some_and(|lane| these.contains(&lane.axis)),
                points: windows.map(|axis| sched.extent(*axis)).product(),
                sliding: self.sliding(sched, body),
            }
        };
        let sides = [side(x, &x_axes, &y_axes), side(y, &y_axes, &x_axes)];
        if sides.iter().all(|side| side.own.is_empty()) {
            return None;
        }
        let windows = sched.windows.iter().map(|axis| sched.extent(*axis)).product();
        let is_other = |axis: &&Axis| !sides.iter().any(|side| side.own.contains(axis));
        let others = sched.outer.iter().filter(is_other).copied().collect();
        Some(Contraction { sides, vector: sched.lane.is_some(), windows, others })
    }

    /// The loops that are added to a reduction in an index of a factor.
    fn sliding(&self, sched: &LoopNest, factor: ExprId) -> Vec<Axis> {
        let Expr::Read { index, .. } = &self.program.exprs[factor] else { return Vec::new() };
        let mut found = Vec::new();
        for index in index {
            let mut axes = Vec::new();
            index.for_each_axis(&mut |axis| {
                if let Some(index) = sched.replace.get(&axis) {
                    index.for_each_axis(&mut |axis| axes.push(axis));
                }
            });
            if axes.iter().any(|axis| sched.reduce.contains(axis)) {
                found.extend(axes.into_iter().filter(|axis| sched.outer.contains(axis)));
            }
        }
        found
    }

    /// The plan, or two for parts of a loop, where these have better tiles than the whole.
    pub(super) fn parts(&self, sched: LoopNest) -> Result<Vec<LoopNest>, Illegal> {
        let Some((axis, first)) = self.cut(&sched) else { return Ok(vec![sched]) };
        let extent = sched.extent(axis);
        let mut halves = [sched.clone(), sched];
        Step::Restrict { axis, start: 0, count: first }.apply(&mut halves[0])?;
        let rest = extent - first - i64::from(planted!("sched.tile.part"));
        Step::Restrict { axis, start: first, count: rest }.apply(&mut halves[1])?;
        Ok(halves.into())
    }

    /// The loop to cut in two and the length of its first part, where that is worth it.
    fn cut(&self, sched: &LoopNest) -> Option<(Axis, i64)> {
        let (contraction, costs) = (self.contraction(sched)?, self.costs());
        let divides =
            |extent: i64| (costs.small_block..=costs.largest_block).any(|block| extent % block == 0);
        let whole = self.best_tile(&contraction, &|axis| sched.extent(axis)).1.cycles;
        let mut best = (None, whole * costs.worth_parts);
        let own = contraction.sides.iter().flat_map(|side| side.own.iter().rev().copied());
        for axis in
            own.filter(|axis| sched.extent(*axis) > costs.largest_block && !divides(sched.extent(*axis)))
        {
            let extent = sched.extent(axis);
            let cost_of = |part: i64| {
                let extent_of = |other: Axis| if other == axis { part } else { sched.extent(other) };
                part as f64 * self.best_tile(&contraction, &extent_of).1.cycles
            };
            for first in
                (costs.small_block..extent).filter(|first| divides(*first) && divides(extent - first))
            {
                let cost = (cost_of(first) + cost_of(extent - first)) / extent as f64;
                if cost < best.1 - 1e-9 {
                    best = (Some((axis, first)), cost);
                }
            }
        }
        best.0
    }

    /// Chooses the register tile of a contraction, the wanted one if it may have that, and the order of its loops.
    pub(super) fn tile(&self, sched: &mut LoopNest, wanted: Option<&str>) -> Result<(), Illegal> {
        let Some(contraction) = self.contraction(sched) else { return Ok(()) };
        let tile = self.choose(sched, &contraction, wanted);
        self.order(sched, &contraction)?;
        tile.into_iter().flatten().try_for_each(|(axis, factor)| Step::Tile { axis, factor }.apply(sched))
    }

    /// The loop axes that an expression depends on.
    fn loop_axes(&self, sched: &LoopNest, id: ExprId) -> Vec<Axis> {
        let mut found = Vec::new();
        for axis in self.program.free_axes(id) {
            if let Some(index) = sched.replace.get(&axis) {
                index.for_each_axis(&mut |axis| found.push(axis));
            }
        }
        found
    }

    /// The tile with the lowest cost, and that.
    pub(super) fn best_tile(
        &self,
        contraction: &Contraction,
        extent: &dyn Fn(Axis) -> i64,
    ) -> (Tile, TileCost) {
        let mut best = ([None, None], TileCost { loads: f64::INFINITY, cycles: f64::INFINITY });
        self.for_each_tile(contraction, extent, &mut |tile, cost| {
            if cost.cycles < best.1.cycles - 1e-9 {
                best = (tile, cost);
            }
        });
        best
    }

    /// Calls `visit` with every tile that fits in registers and its cost.
    pub(super) fn for_each_tile(
        &self,
        contraction: &Contraction,
        extent: &dyn Fn(Axis) -> i64,
        visit: &mut dyn FnMut(Tile, TileCost),
    ) {
        let Contraction { sides: [x, y], vector, windows, others } = contraction;
        let wide = if *vector { self.machine.registers_per_value() as i64 } else { 1 };
        let cost_of = |side: &Factor| side.points * if side.vector { wide } else { 1 };
        let (x_cost, y_cost, largest) = (cost_of(x), cost_of(y), self.costs().largest_block);
        let (x_blocks, y_blocks) = (blocks(&x.own, largest, extent), blocks(&y.own, largest, extent));
        let (x_is_larger, streamed) = (self.is_larger(x, y), self.streamed(contraction, extent));
        let elements: i64 =
            [others, &x.own, &y.own].into_iter().flatten().map(|axis| extent(*axis)).product();
        for a in &x_blocks {
            for b in &y_blocks {
                let (m, n) = (a.map_or(1, |(_, f)| f), b.map_or(1, |(_, f)| f));
                let accumulators = m * n * wide * windows;
                let (one, other) = (m * x.points * wide, n * y.points * wide);
                let most = self.machine.accumulators(one.min(other), one.max(other), *windows);
                if accumulators > most {
                    continue;
                }
                // The smaller factor is walked again for every block of the larger one: of two vectors from farther
                // away.
                let again = match (x.vector && y.vector, x_is_larger) {
                    (false, _) => 0,
                    (true, true) => n * y_cost,
                    (true, false) => m * x_cost,
                };
                let (loads, far) = (m * x_cost + n * y_cost, x.far(*a, wide) + y.far(*b, wide));
                let points = elements / (m * n);
                let load = TileLoad { accumulators, elements: m * n, points, loads, far, again, streamed };
                visit([*a, *b], self.costs().tile(&load));
            }
        }
    }

    /// The iterations of the loops, where each vector of a large factor is used once (a matrix times a vector): memory
    /// sets the pace, and what a tile must do is to leave iterations for several threads.
    fn streamed(&self, contraction: &Contraction, extent: &dyn Fn(Axis) -> i64) -> Option<i64> {
        let points = |side: &Factor| side.own.iter().map(|axis| extent(*axis)).product::<i64>() * side.points;
        let [x, y] = &contraction.sides;
        let is_streamed = |side: &Factor, other: &Factor| {
            side.vector
                && points(other) == 1
                && 4 * self.footprint(side.body) as i64 > self.costs().largest_row
        };
        (is_streamed(x, y) || is_streamed(y, x)).then(|| points(x) * points(y))
    }

    /// Walks the larger factor once: its own axes outside, those of the other inside. Its last axis goes inside these,
    /// so that a block of the smaller factor serves a whole row; unless a row is more than a core's own cache holds.
    fn order(&self, sched: &mut LoopNest, contraction: &Contraction) -> Result<(), Illegal> {
        let [x, y] = &contraction.sides;
        let (outer, inner) = if self.is_larger(x, y) { (&x.own, &y.own) } else { (&y.own, &x.own) };
        let Some((last, rest)) = outer.split_last() else { return Ok(()) };
        let rows: i64 = rest.iter().map(|axis| sched.extent(*axis)).product();
        let larger = self.footprint(x.body).max(self.footprint(y.body)) as i64;
        let keep_last = rest.is_empty() || 4 * larger / rows > self.costs().largest_row;
        let place = |axis: &Axis| match () {
            () if inner.contains(axis) => 2,
            () if axis == last && !keep_last => 3,
            () if outer.contains(axis) => 1,
            () => 0,
        };
        let mut order = sched.outer.clone();
        order[sched.slices..].sort_by_key(place);
        Step::Reorder { order }.apply(sched)
    }

    fn is_larger(&self, x: &Factor, y: &Factor) -> bool {
        self.footprint(x.body) >= self.footprint(y.body)
    }

    /// Elements of the tensor behind a factor.
    fn footprint(&self, id: ExprId) -> usize {
        let tensors = self.program.reads(id);
        tensors.into_iter().map(|tensor| self.program.tensors[tensor].len()).max().unwrap_or(0)
    }
}

/// The blocks one side can have: for each axis, the divisors of its extent; None is a single element.
fn blocks(axes: &[Axis], largest: i64, extent: &dyn Fn(Axis) -> i64) -> Vec<Option<TileFactor>> {
    let mut blocks = vec![None];
    for axis in axes.iter().rev() {
        let factors = (2..=largest).filter(|factor| extent(*axis) % factor == 0);
        blocks.extend(factors.map(|factor| Some((*axis, factor))));
    }
    blocks
}
