//! The register tile of a contraction: a block of an axis that only one factor has, times a block of an axis that only
//! the other has.
//!
//! A tile divides its extents. Where no good one does (13 columns, say), the loop is cut in two parts that have good
//! tiles each (5 and 8).

use crate::te::{Axis, Binary, Expr, ExprId, Reduction};

use super::super::nest::{Illegal, LoopNest};
use super::Planner;

/// Multiply-adds under way at once that hide their latency: two a cycle, four cycles each.
const LATENCY: f64 = 8.0;

/// Cycles a vector that comes from afar takes, at least.
const STREAMED: f64 = 3.0;

/// The largest block of one axis.
const LARGEST_BLOCK: i64 = 8;

/// Blocks of fewer elements than this leave much to gain.
const SMALL_BLOCK: i64 = 4;

/// Two parts must cost less than this share of the whole: they are two launches.
const WORTH_PARTS: f64 = 0.92;

/// Bytes of the larger factor that are walked again for each block of the smaller one, at most: they stay in a core's
/// own cache, beside what else is there.
const LARGEST_ROW: i64 = 1 << 18;

/// So many elements of an axis.
type Block = (Axis, i64);

/// A block of each factor; None is a single element.
pub(super) type Tile = [Option<Block>; 2];

/// One factor of a contraction.
struct Side {
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

impl Side {
    /// The vectors that a summand of a tile with a block of this side brings from beyond the first cache.
    fn far(&self, block: Option<Block>, wide: i64) -> i64 {
        match block {
            _ if !self.vector => 0,
            Some((axis, factor)) if !self.sliding.contains(&axis) => factor * wide,
            _ => wide,
        }
    }
}

/// A sum of products under scheduling.
pub(super) struct Contraction {
    sides: [Side; 2],
    /// Whether its results are vectors.
    vector: bool,
    /// Points of a window.
    pub(super) windows: i64,
}

impl Planner<'_> {
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
    fn contraction(&self, plan: &LoopNest) -> Option<Contraction> {
        let (x, y) = self.factors()?;
        let (x_axes, y_axes) = (self.loop_axes(plan, x), self.loop_axes(plan, y));
        let side = |body: ExprId, these: &[Axis], those: &[Axis]| {
            let loops = &plan.outer[plan.slices..];
            let own = loops.iter().filter(|axis| these.contains(axis) && !those.contains(axis));
            let windows = plan.windows.iter().filter(|axis| these.contains(axis));
            Side {
                body,
                own: own.copied().collect(),
                vector: plan.lane.as_ref().is_some_and(|lane| these.contains(&lane.axis)),
                points: windows.map(|axis| self.extent(*axis)).product(),
                sliding: self.sliding(plan, body),
            }
        };
        let sides = [side(x, &x_axes, &y_axes), side(y, &y_axes, &x_axes)];
        if sides.iter().all(|side| side.own.is_empty()) {
            return None;
        }
        let windows = plan.windows.iter().map(|axis| self.extent(*axis)).product();
        Some(Contraction { sides, vector: plan.lane.is_some(), windows })
    }

    /// The loops that are added to a reduction in an index of a factor.
    fn sliding(&self, plan: &LoopNest, factor: ExprId) -> Vec<Axis> {
        let Expr::Read { index, .. } = &self.program.exprs[factor] else { return Vec::new() };
        let mut found = Vec::new();
        for index in index {
            let mut axes = Vec::new();
            index.for_each_axis(&mut |axis| {
                if let Some(index) = plan.replace.get(&axis) {
                    index.for_each_axis(&mut |axis| axes.push(axis));
                }
            });
            if axes.iter().any(|axis| plan.reduce.contains(axis)) {
                found.extend(axes.into_iter().filter(|axis| plan.outer.contains(axis)));
            }
        }
        found
    }

    /// The plan, or two for parts of a loop, where these have better tiles than the whole.
    pub(super) fn parts(&mut self, plan: LoopNest) -> Result<Vec<LoopNest>, Illegal> {
        let Some((axis, first)) = self.cut(&plan) else { return Ok(vec![plan]) };
        let extent = self.extent(axis);
        let mut halves = [plan.clone(), plan];
        halves[0].restrict(self.program, axis, 0, first)?;
        let rest = extent - first - i64::from(planted!("sched.tile.part"));
        halves[1].restrict(self.program, axis, first, rest)?;
        Ok(halves.into())
    }

    /// The loop to cut in two and the length of its first part, where that is worth it.
    fn cut(&self, plan: &LoopNest) -> Option<(Axis, i64)> {
        let contraction = self.contraction(plan)?;
        let divides = |extent: i64| (SMALL_BLOCK..=LARGEST_BLOCK).any(|block| extent % block == 0);
        let whole = self.best_tile(&contraction, &|axis| self.extent(axis)).1;
        let mut best = (None, whole * WORTH_PARTS);
        let own = contraction.sides.iter().flat_map(|side| side.own.iter().rev().copied());
        for axis in own.filter(|axis| self.extent(*axis) > LARGEST_BLOCK && !divides(self.extent(*axis))) {
            let extent = self.extent(axis);
            let cost_of = |part: i64| {
                let extent_of = |other: Axis| if other == axis { part } else { self.extent(other) };
                part as f64 * self.best_tile(&contraction, &extent_of).1
            };
            for first in (SMALL_BLOCK..extent).filter(|first| divides(*first) && divides(extent - first)) {
                let cost = (cost_of(first) + cost_of(extent - first)) / extent as f64;
                if cost < best.1 - 1e-9 {
                    best = (Some((axis, first)), cost);
                }
            }
        }
        best.0
    }

    /// Chooses the register tile of a contraction, the wanted one if it may have that, and the order of its loops.
    pub(super) fn tile(&mut self, plan: &mut LoopNest, wanted: Option<&str>) -> Result<(), Illegal> {
        let Some(contraction) = self.contraction(plan) else { return Ok(()) };
        let tile = self.choose(plan, &contraction, wanted);
        self.order(plan, &contraction)?;
        tile.into_iter().flatten().try_for_each(|(axis, factor)| plan.tile(self.program, axis, factor))
    }

    /// The loop axes that an expression depends on.
    fn loop_axes(&self, plan: &LoopNest, id: ExprId) -> Vec<Axis> {
        let mut found = Vec::new();
        for axis in self.program.free_axes(id) {
            if let Some(index) = plan.replace.get(&axis) {
                index.for_each_axis(&mut |axis| found.push(axis));
            }
        }
        found
    }

    /// The tile with the lowest cost, and that.
    pub(super) fn best_tile(&self, contraction: &Contraction, extent: &dyn Fn(Axis) -> i64) -> (Tile, f64) {
        let mut best = ([None, None], f64::INFINITY);
        self.for_each_tile(contraction, extent, &mut |tile, cost| {
            if cost < best.1 - 1e-9 {
                best = (tile, cost);
            }
        });
        best
    }

    /// Calls `visit` with every tile that fits in registers and its cost: cycles of latency, loads or arithmetic a
    /// multiply-add, whichever is most.
    pub(super) fn for_each_tile(
        &self,
        contraction: &Contraction,
        extent: &dyn Fn(Axis) -> i64,
        visit: &mut dyn FnMut(Tile, f64),
    ) {
        let Contraction { sides: [x, y], vector, windows } = contraction;
        let wide = if *vector { self.machine.registers_per_value() as i64 } else { 1 };
        let cost_of = |side: &Side| side.points * if side.vector { wide } else { 1 };
        let (x_cost, y_cost) = (cost_of(x), cost_of(y));
        let (x_blocks, y_blocks) = (blocks(&x.own, extent), blocks(&y.own, extent));
        let (x_is_larger, streamed) = (self.is_larger(x, y), self.streamed(contraction, extent));
        for a in &x_blocks {
            for b in &y_blocks {
                let (m, n) = (a.map_or(1, |(_, f)| f), b.map_or(1, |(_, f)| f));
                let chains = m * n * wide * windows;
                if chains > self.most_chains(m * x.points * wide, n * y.points * wide, *windows) {
                    continue;
                }
                let loads = (m * x_cost + n * y_cost) as f64 / chains as f64;
                let far = (x.far(*a, wide) + y.far(*b, wide)) as f64 / chains as f64;
                let mut cost = (LATENCY / chains as f64).max(loads).max(1.0) + 0.1 * (loads + far);
                if let Some(iterations) = streamed {
                    cost = cost.max(STREAMED) * (1.0 + 0.5 * (m * n) as f64 / iterations as f64);
                }
                // The smaller factor is walked again for every block of the larger one: of two vectors from farther away.
                let again = match (x.vector && y.vector, x_is_larger) {
                    (false, _) => 0,
                    (true, true) => n * y_cost,
                    (true, false) => m * x_cost,
                };
                visit([*a, *b], cost + 1e-3 * again as f64 / chains as f64);
            }
        }
    }

    /// The iterations of the loops, where each vector of a large factor is used once (a matrix times a vector): memory sets
    /// the pace, and what a tile must do is to leave iterations for several threads.
    fn streamed(&self, contraction: &Contraction, extent: &dyn Fn(Axis) -> i64) -> Option<i64> {
        let points = |side: &Side| side.own.iter().map(|axis| extent(*axis)).product::<i64>() * side.points;
        let [x, y] = &contraction.sides;
        let is_streamed = |side: &Side, other: &Side| {
            side.vector && points(other) == 1 && 4 * self.footprint(side.body) as i64 > LARGEST_ROW
        };
        (is_streamed(x, y) || is_streamed(y, x)).then(|| points(x) * points(y))
    }

    /// The most accumulators of a tile whose sides have so many registers at once. Where this project's own back end gives
    /// out registers, the smaller side stays in registers, and the elements of the other come one after the other; those of
    /// windows stay too, as the next tap needs most of them again, where the machine cannot read the other side in all
    /// lanes from memory. Cranelift's keeps to half of the registers, measured: with more of them it spills.
    fn most_chains(&self, one: i64, other: i64, windows: i64) -> i64 {
        let registers = self.machine.target.registers as i64;
        let (smaller, larger) = (one.min(other), one.max(other));
        match self.machine.target.lanes {
            4 => (registers / 2).min(16),
            8 if windows > 1 => registers - smaller - larger,
            _ => registers - smaller - 1,
        }
    }

    /// Walks the larger factor once: its own axes outside, those of the other inside. Its last axis goes inside these,
    /// so that a block of the smaller factor serves a whole row; unless a row is more than a core's own cache holds.
    fn order(&self, plan: &mut LoopNest, contraction: &Contraction) -> Result<(), Illegal> {
        let [x, y] = &contraction.sides;
        let (outer, inner) = if self.is_larger(x, y) { (&x.own, &y.own) } else { (&y.own, &x.own) };
        let Some((last, rest)) = outer.split_last() else { return Ok(()) };
        let rows: i64 = rest.iter().map(|axis| self.extent(*axis)).product();
        let larger = self.footprint(x.body).max(self.footprint(y.body)) as i64;
        let keep_last = rest.is_empty() || 4 * larger / rows > LARGEST_ROW;
        let place = |axis: &Axis| match () {
            () if inner.contains(axis) => 2,
            () if axis == last && !keep_last => 3,
            () if outer.contains(axis) => 1,
            () => 0,
        };
        let mut order = plan.outer.clone();
        order[plan.slices..].sort_by_key(place);
        plan.reorder(self.program, order)
    }

    fn is_larger(&self, x: &Side, y: &Side) -> bool {
        self.footprint(x.body) >= self.footprint(y.body)
    }

    /// Elements of the tensor behind a factor.
    fn footprint(&self, id: ExprId) -> usize {
        let tensors = self.program.reads(id);
        tensors.into_iter().map(|tensor| self.program.tensors[tensor].len()).max().unwrap_or(0)
    }
}

/// The blocks one side can have: for each axis, the divisors of its extent; None is a single element.
fn blocks(axes: &[Axis], extent: &dyn Fn(Axis) -> i64) -> Vec<Option<Block>> {
    let mut blocks = vec![None];
    for axis in axes.iter().rev() {
        let factors = (2..=LARGEST_BLOCK).filter(|factor| extent(*axis) % factor == 0);
        blocks.extend(factors.map(|factor| Some((*axis, factor))));
    }
    blocks
}
