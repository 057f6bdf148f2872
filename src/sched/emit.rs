//! From a scheduled nest to loop IR.
//!
//! In: a nest of a kernel and its [`LoopNest`]. Out: a function in a [`Launch`]. The shape is always the same: the
//! outer loops, of which the first is parallel, or all on a grid; one accumulator for every reduction and point of the
//! register tile; the reduction loops around straight-line code for all points of the tile; then the element-wise
//! statements and the stores of every point. Where the nest has windows, the tile has each of their points, and what
//! these leave is reduced at the end. Equal loads and sub-expressions of the tile's points are computed once, which is
//! what a register tile is for.

mod grid;

use crate::base::hash::HashMap;

use super::nest::LoopNest;
use super::value::{Scope, TypedExpr, Writer};
use super::{Launch, ScheduleInput};
use crate::kernels::{Nest, Statement};
use crate::loops::verifier;
use crate::loops::{Binary, Expr, Fold, ForKind, Scalar, Stmt, Type};
use crate::te::whole::is_beyond;
use crate::te::{self, Axis, Index, Reduction};

/// Writes the function of a nest, whose launch has neither group nor origins yet.
pub fn emit(input: ScheduleInput<'_>, name: &str, nest: &Nest, sched: &LoopNest) -> Launch {
    let mut writer = Writer::new(input, sched);
    let mut body = Emitter { writer: &mut writer, nest, sched }.body();
    for (depth, axis) in sched.outer.iter().enumerate().rev() {
        let kind = if depth == 0 { ForKind::Parallel } else { ForKind::Serial };
        let axis = writer.axis(*axis);
        body = vec![Stmt::For { axis, kind, body }];
    }
    let (mut function, buffers) = writer.finish(body);
    function.name = name.to_string();
    if input.machine.grid.is_some() {
        grid::widen(&mut function, sched.outer.len());
    }
    if cfg!(debug_assertions)
        && let Err(findings) = verifier::verify(&function)
    {
        panic!("schedule of {name}:\n{}\n{function}", findings.join("\n"));
    }
    let (schedule, tiles) = (sched.to_string(), sched.tiles.clone());
    Launch { function, buffers, schedule, group: None, origins: Vec::new(), key: None, tiles }
}

/// So many summands of a single sum are added one after the other: more lose digits, and wait for each other.
pub(super) const SHORT_SUM: i64 = 8;

struct Emitter<'a, 'b> {
    writer: &'a mut Writer<'b>,
    nest: &'a Nest,
    sched: &'a LoopNest,
}

/// The axes that are constant at one point of the unrolled loops.
type Point = HashMap<Axis, Index>;

/// A running reduction.
#[derive(Clone)]
struct Accumulator {
    op: Reduction,
    body: te::ExprId,
    axes: Vec<Axis>,
    /// The total, or the best so far of an arg-reduction.
    total: TypedExpr,
    /// The position of the best, where it is wanted.
    position: Option<TypedExpr>,
    /// Whether an earlier one finds both.
    follows: bool,
    /// Whether it is one of integers that `f32` may not hold.
    whole: bool,
}

impl Emitter<'_, '_> {
    fn body(&mut self) -> Vec<Stmt> {
        let tile = self.points(&self.sched.tile);
        let points = self.points(&[self.sched.tile.as_slice(), &self.sched.windows].concat());
        let windows = points.len() / tile.len();
        let (inner, outer) = self.nest.levels(self.writer.program());
        let mut scope = Scope::default();
        let accumulators: Vec<_> = points.iter().map(|_| self.start_all(&mut scope, inner)).collect();
        if accumulators.iter().any(|reductions| !reductions.is_empty()) {
            let statements = self.reduction_loops(&points, &accumulators);
            scope.statements.extend(statements);
        }
        for (at, point) in tile.iter().enumerate() {
            let joined = self.start_all(&mut scope, outer);
            for at in at * windows..(at + 1) * windows {
                let replace = self.replacement(&[&points[at]]);
                if self.sched.shares {
                    scope.next_point()
                } else {
                    scope.forget()
                }
                self.finish_point(&mut scope, inner, &accumulators[at], &replace);
                for accumulator in &joined {
                    self.accumulate(&mut scope, accumulator, &replace);
                }
            }
            if !outer.is_empty() {
                if self.sched.shares {
                    scope.next_point()
                } else {
                    scope.forget()
                }
                let replace = self.replacement(&[point]);
                self.finish_point(&mut scope, outer, &joined, &replace);
            }
        }
        scope.statements
    }

    /// The accumulators of those statements that reduce. A maximum is the best that its position is known of, where
    /// both are asked for.
    fn start_all(&mut self, scope: &mut Scope, statements: &[Statement]) -> Vec<Accumulator> {
        let mut all: Vec<Accumulator> = Vec::new();
        for statement in statements {
            let te::Expr::Reduce { op, axes, body } = self.writer.program().exprs[statement.body].clone()
            else {
                continue;
            };
            let is_twin = |other: &Accumulator| {
                best_of(op) == best_of(other.op) && (&other.axes, other.body) == (&axes, body)
            };
            let started = match all.iter().position(is_twin).filter(|_| best_of(op).is_some()) {
                Some(twin) => {
                    let position = all[twin].position.clone().or_else(|| self.position(scope, op, &axes));
                    // The first of the two does the work of both.
                    all[twin].position = position.clone();
                    Accumulator { op, axes, position, follows: true, ..all[twin].clone() }
                }
                None => {
                    let whole = is_beyond(self.writer.program(), statement.result, statement.body);
                    self.start(scope, op, axes, body, whole)
                }
            };
            all.push(started);
        }
        all
    }

    /// All points of unrolled axes, in row-major order.
    fn points(&self, axes: &[Axis]) -> Vec<Point> {
        let mut points = vec![Point::default()];
        for axis in axes {
            let extent = self.writer.extent(*axis);
            points = points
                .into_iter()
                .flat_map(|point| {
                    (0..extent).map(move |value| {
                        let mut point = point.clone();
                        point.insert(*axis, Index::from(value));
                        point
                    })
                })
                .collect();
        }
        points
    }

    fn is_reduction(&self, statement: &Statement) -> bool {
        matches!(self.writer.program().exprs[statement.body], te::Expr::Reduce { .. })
    }

    fn start(
        &mut self,
        scope: &mut Scope,
        op: Reduction,
        axes: Vec<Axis>,
        body: te::ExprId,
        whole: bool,
    ) -> Accumulator {
        let neutral = self.neutral(op, self.accumulator_lanes(&axes), whole);
        let total = self.writer.variable(scope, "total", neutral);
        let position = self.position(scope, op, &axes);
        Accumulator { op, body, axes, total, position, follows: false, whole }
    }

    /// What a reduction begins with. As an integer, an infinity is the integer at that end.
    fn neutral(&mut self, op: Reduction, lanes: u32, whole: bool) -> TypedExpr {
        match whole {
            true => self.writer.whole_constant(neutral(op) as i32, lanes),
            false => self.writer.constant(neutral(op), lanes),
        }
    }

    /// A variable for the position of the best, where a reduction asks for it.
    fn position(&mut self, scope: &mut Scope, op: Reduction, axes: &[Axis]) -> Option<TypedExpr> {
        matches!(op, Reduction::ArgMax | Reduction::ArgMin).then(|| {
            let zero = TypedExpr { expr: Expr::Int(0), ty: Type { scalar: Scalar::I32, lanes: 1 } };
            let zero = self.writer.splat(zero, self.accumulator_lanes(axes));
            self.writer.variable(scope, "position", zero)
        })
    }

    fn accumulator_lanes(&self, axes: &[Axis]) -> u32 {
        if self.varies_by_lane(axes) { self.writer.lanes() } else { 1 }
    }

    /// Whether the accumulator of a reduction is a vector: the lane axis is a free one or one of its own.
    fn varies_by_lane(&self, axes: &[Axis]) -> bool {
        self.sched.lane.as_ref().is_some_and(|lane| !lane.reduced || axes == self.nest.reduce)
    }

    /// Whether a reduction runs over the lanes.
    fn reduces_lanes(&self, accumulator: &Accumulator) -> bool {
        self.sched.lane.as_ref().is_some_and(|lane| lane.reduced) && accumulator.axes == self.nest.reduce
    }

    /// The loops of the reductions. Sums begin again inside the loops that [`Self::restarts`] names, and the loop adds
    /// up their totals, so that long sums lose few digits.
    fn reduction_loops(&mut self, points: &[Point], accumulators: &[Vec<Accumulator>]) -> Vec<Stmt> {
        let mut levels = vec![(accumulators.to_vec(), Vec::new())];
        for depth in 0..self.sched.reduce.len() {
            let mut scope = Scope::default();
            let outer = levels[depth].0.clone();
            let inner = match self.restarts(depth, points.len()) {
                true => outer.into_iter().map(|point| self.partials(&mut scope, point)).collect(),
                false => outer,
            };
            levels.push((inner, scope.statements));
        }
        let mut body = self.reduction_body(points, &levels[levels.len() - 1].0);
        for (depth, axis) in self.sched.reduce.clone().into_iter().enumerate().rev() {
            let mut scope = Scope::default();
            scope.statements.append(&mut levels[depth + 1].1);
            scope.statements.append(&mut body);
            self.join_all(&mut scope, &levels[depth].0, &levels[depth + 1].0);
            let axis = self.writer.axis(axis);
            body = vec![Stmt::For { axis, kind: ForKind::Serial, body: scope.statements }];
        }
        body
    }

    /// Whether sums begin again in every iteration of a reduction loop. A register tile has no registers for a second
    /// set of totals: it begins again only where the sum inside is long enough that saving them does not show.
    fn restarts(&self, depth: usize, points: usize) -> bool {
        let inside = |depth: usize| -> i64 {
            let axes = self.sched.reduce[depth + 1..].iter().chain(&self.sched.unrolled);
            axes.map(|axis| self.writer.extent(*axis)).product()
        };
        match points {
            1 => inside(depth) > 1,
            _ => {
                inside(depth) >= self.sched.long_sum
                    && (depth + 1..self.sched.reduce.len()).all(|next| inside(next) < self.sched.long_sum)
            }
        }
    }

    /// Accumulators of the next loop inside: sums begin again there, others go on.
    fn partials(&mut self, scope: &mut Scope, accumulators: Vec<Accumulator>) -> Vec<Accumulator> {
        let part = |mut accumulator: Accumulator| {
            if accumulator.op == Reduction::Sum {
                let zero = self.neutral(Reduction::Sum, accumulator.total.ty.lanes, accumulator.whole);
                accumulator.total = self.writer.variable(scope, "part", zero);
            }
            accumulator
        };
        accumulators.into_iter().map(part).collect()
    }

    /// Adds the sums of an inner loop to those of the loop around it.
    fn join_all(&mut self, scope: &mut Scope, totals: &[Vec<Accumulator>], parts: &[Vec<Accumulator>]) {
        for (total, part) in totals.iter().flatten().zip(parts.iter().flatten()) {
            if total.total != part.total {
                let sum = self.writer.joined(Binary::Add, total.total.clone(), part.total.clone());
                self.writer.assign(scope, &total.total, sum);
            }
        }
    }

    fn reduction_body(&mut self, points: &[Point], accumulators: &[Vec<Accumulator>]) -> Vec<Stmt> {
        let steps = self.points(&self.sched.unrolled);
        let short = steps.len() <= 2 * SHORT_SUM as usize || self.sched.has_parts_in_lanes();
        if points.len() > 1 || short || !self.sched.accurate_sums {
            return self.reduction_steps(points, accumulators, &steps);
        }
        let mut statements = Vec::new();
        for steps in steps.chunks(SHORT_SUM as usize) {
            let mut scope = Scope::default();
            let parts: Vec<Vec<Accumulator>> =
                accumulators.iter().map(|point| self.partials(&mut scope, point.clone())).collect();
            scope.statements.extend(self.reduction_steps(points, &parts, steps));
            self.join_all(&mut scope, accumulators, &parts);
            statements.extend(scope.statements);
        }
        statements
    }

    /// The straight-line code of some steps of the unrolled loops.
    fn reduction_steps(
        &mut self,
        points: &[Point],
        accumulators: &[Vec<Accumulator>],
        steps: &[Point],
    ) -> Vec<Stmt> {
        let mut statements = Vec::new();
        let order = self.order(points, accumulators);
        for step in steps {
            let mut scope = Scope::default();
            for at in &order {
                let replace = self.replacement(&[&points[*at], step]);
                for accumulator in &accumulators[*at] {
                    self.accumulate(&mut scope, accumulator, &replace);
                }
            }
            statements.extend(scope.statements);
        }
        statements
    }

    /// An order of the points in which few values are alive at once. Of a sum of products, the elements of the factor
    /// that has more of them come one after the other, each with all of the other factor, which stay in registers.
    fn order(&mut self, points: &[Point], accumulators: &[Vec<Accumulator>]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..points.len()).collect();
        let first = self.sched.unrolled.iter().map(|axis| (*axis, Index::from(0))).collect();
        let mut factors = Vec::new();
        for (point, accumulators) in points.iter().zip(accumulators) {
            let [Accumulator { op: Reduction::Sum, body, .. }] = accumulators.as_slice() else {
                return order;
            };
            let replace = self.replacement(&[point, &first]);
            let body = self.writer.at_point(*body, &replace);
            let Some((x, y)) = self.writer.as_product(body) else { return order };
            factors.push([x, y]);
        }
        let [(xs, x_count), (ys, y_count)] =
            [0, 1].map(|side| numbered(factors.iter().map(|pair| pair[side])));
        let (more, fewer) = if x_count > y_count { (xs, ys) } else { (ys, xs) };
        order.sort_by_key(|at| (more[*at], fewer[*at]));
        order
    }

    /// The nest's axes as indices of the loops at a point.
    fn replacement(&self, points: &[&Point]) -> HashMap<Axis, Index> {
        let axes = &self.writer.program().axes;
        let constant = |axis: Axis| points.iter().find_map(|point| point.get(&axis).cloned());
        self.sched.replace.iter().map(|(axis, index)| (*axis, index.substitute(&constant, axes))).collect()
    }

    fn accumulate(&mut self, scope: &mut Scope, accumulator: &Accumulator, replace: &HashMap<Axis, Index>) {
        if accumulator.follows {
            return;
        }
        let body = self.writer.at_point(accumulator.body, replace);
        let lanes = accumulator.total.ty.lanes;
        let mask = self.sched.mask.as_ref().filter(|_| self.reduces_lanes(accumulator));
        if accumulator.op == Reduction::Sum
            && (mask.is_none() || planted!("sched.emit.mask"))
            && !accumulator.whole
            && let Some((x, y)) = self.writer.as_product(body)
        {
            let (x, y) = (self.writer.float(scope, x, lanes), self.writer.float(scope, y, lanes));
            let sum = self.writer.multiply_add(x, y, accumulator.total.clone());
            return self.writer.assign(scope, &accumulator.total, sum);
        }
        let mut value = match accumulator.whole {
            true => self.writer.whole_lanes(scope, body, lanes),
            false => self.writer.float(scope, body, lanes),
        };
        if let Some((index, extent)) = mask {
            let index = index.substitute(&|axis| replace.get(&axis).cloned(), &self.writer.program().axes);
            value = self.writer.masked(scope, &index, *extent, value, neutral(accumulator.op));
        }
        match &accumulator.position {
            Some(position) => self.challenge(scope, accumulator, position, value, replace),
            None => {
                let op = match accumulator.op {
                    Reduction::Sum => Binary::Add,
                    Reduction::Prod => Binary::Mul,
                    Reduction::Max | Reduction::ArgMax => Binary::Max,
                    Reduction::Min | Reduction::ArgMin => Binary::Min,
                };
                let joined = self.writer.joined(op, accumulator.total.clone(), value);
                self.writer.assign(scope, &accumulator.total, joined);
            }
        }
    }

    /// An arg-reduction's step: the element wins if it is better, or the first NaN.
    fn challenge(
        &mut self,
        scope: &mut Scope,
        accumulator: &Accumulator,
        position: &TypedExpr,
        value: TypedExpr,
        replace: &HashMap<Axis, Index>,
    ) {
        let writer = &mut *self.writer;
        let value = writer.bind(scope, "candidate", value);
        let best = accumulator.total.clone();
        let op = if best_of(accumulator.op) == Some(Reduction::Max) { Binary::Le } else { Binary::Ge };
        let is_no_better = writer.compared(op, value.clone(), best.clone());
        let judged = if planted!("sched.emit.nan_position") { &value } else { &best };
        let is_nan = writer.compared(Binary::Ne, judged.clone(), judged.clone());
        let loses = writer.compared_bool(Binary::Or, is_no_better, is_nan);
        let loses = writer.bind(scope, "loses", loses);
        let mut place = Index::from(0);
        for axis in &accumulator.axes {
            let axes = &writer.program().axes;
            place = place.scale(axes[*axis].extent).add(&Index::from(*axis), axes);
        }
        let place = place.substitute(&|axis| replace.get(&axis).cloned(), &writer.program().axes);
        let place = writer.number(&place, position.ty.lanes);
        let chosen = writer.chosen(loses.clone(), position.clone(), place);
        writer.assign(scope, position, chosen);
        let chosen = writer.chosen(loses, best, value);
        writer.assign(scope, &accumulator.total, chosen);
    }

    /// Stores totals and runs the statements that finish them.
    fn finish_point(
        &mut self,
        scope: &mut Scope,
        statements: &[Statement],
        totals: &[Accumulator],
        replace: &HashMap<Axis, Index>,
    ) {
        let mut totals = totals.iter();
        for statement in statements {
            let value = match self.is_reduction(statement) {
                true => totals.next().map(|accumulator| self.total(scope, accumulator)),
                false => {
                    let body = self.writer.at_point(statement.body, replace);
                    Some(self.writer.value_of_result(scope, statement.result, body))
                }
            };
            if let Some(value) = value {
                self.store(scope, statement, value, replace);
            }
        }
    }

    /// The result of a reduction: lanes are folded where the reduction ran over them.
    fn total(&mut self, scope: &mut Scope, accumulator: &Accumulator) -> TypedExpr {
        if let (Reduction::ArgMax | Reduction::ArgMin, Some(position)) =
            (accumulator.op, &accumulator.position)
        {
            return position.clone();
        }
        let total = accumulator.total.clone();
        if !self.reduces_lanes(accumulator) {
            return total;
        }
        let fold = match accumulator.op {
            Reduction::Sum => Fold::Sum,
            Reduction::Prod => Fold::Prod,
            Reduction::Max | Reduction::ArgMax => Fold::Max,
            Reduction::Min | Reduction::ArgMin => Fold::Min,
        };
        let folded = Expr::Fold(fold, Box::new(total.expr));
        let folded = TypedExpr { expr: folded, ty: Type { scalar: total.ty.scalar, lanes: 1 } };
        self.writer.bind(scope, "folded", folded)
    }

    fn store(
        &mut self,
        scope: &mut Scope,
        statement: &Statement,
        value: TypedExpr,
        replace: &HashMap<Axis, Index>,
    ) {
        let axes = &self.writer.program().axes;
        let substituted = |at: &Index| at.substitute(&|axis| replace.get(&axis).cloned(), axes);
        let at: Vec<Index> = statement.at.iter().map(substituted).collect();
        self.writer.define(scope, statement.result, &at, value);
    }
}

fn neutral(op: Reduction) -> f64 {
    match op {
        Reduction::Sum => 0.0,
        Reduction::Prod => 1.0,
        Reduction::Max | Reduction::ArgMax if planted!("sched.emit.neutral") => f64::from(f32::MIN),
        Reduction::Max | Reduction::ArgMax => f64::NEG_INFINITY,
        Reduction::Min | Reduction::ArgMin => f64::INFINITY,
    }
}

/// What an extreme and its position have in common.
fn best_of(op: Reduction) -> Option<Reduction> {
    match op {
        Reduction::Max | Reduction::ArgMax => Some(Reduction::Max),
        Reduction::Min | Reduction::ArgMin => Some(Reduction::Min),
        Reduction::Sum | Reduction::Prod => None,
    }
}

/// The numbers of expressions in the order in which they first come, and how many there are.
fn numbered(exprs: impl Iterator<Item = te::ExprId>) -> (Vec<usize>, usize) {
    let mut known = HashMap::default();
    let numbers = exprs.map(|expr| {
        let next = known.len();
        *known.entry(expr).or_insert(next)
    });
    (numbers.collect(), known.len())
}
