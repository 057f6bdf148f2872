//! Splitting large sums, so that a part of both factors stays in the cache while it is used.
//!
//! `y[i] = sum[k] a[i, k] * b[i, k]` over more data than a cache holds becomes `p[g, i] = sum[k in group g] ...` and
//! `y[i] = sum[g] p[g, i]`. This changes the order of the sum, so it depends on shapes and the vector width alone,
//! never on the machine's caches or threads.
//!
//! A machine that computes thousands of elements at once (a grid) needs more of them than a bias has: there, sums with few
//! results are split until the parts keep it busy.

use crate::base::hash::{HashMap, HashSet};

use crate::te::{Axis, Binary, DType, Equation, Expr, ExprId, Index, Piece, Program, Reduction, Tensor};

/// Bytes of both factors that one group may touch: about what a core's own cache holds everywhere.
const GROUP_BYTES: i64 = 1 << 20;

/// The partial results are written and read again, so they must be small beside the factors: at most one part in three.
const LARGEST_PART: i64 = 3;

/// Fewer groups than one part of the wanted ones in so many are few.
const FEW_GROUPS: i64 = 8;

/// Elements of a product's sum that are computed together, at least.
const TILE: i64 = 16;

/// Vectors that a part of a sum adds up, at least: fewer do not pay for the second sum.
const LEAST_VECTORS: i64 = 128;

/// Fewer groups do not pay for the second sum either.
const LEAST_GROUPS: i64 = 8;

/// Splits the sums that are worth it. `lanes` pictures that stand side by side stay in one group. `fill` is the number of
/// parts that keep a grid busy, where the machine is one.
pub fn run(program: &mut Program, lanes: i64, fill: Option<i64>) {
    for equation in std::mem::take(&mut program.equations) {
        match split_of(program, &equation, (lanes, fill)) {
            Some((axis, groups)) => split(program, equation, axis, groups),
            None => program.equations.push(equation),
        }
    }
}

/// The axis to split and the number of groups.
fn split_of(
    program: &Program,
    equation: &Equation,
    (lanes, fill): (i64, Option<i64>),
) -> Option<(Axis, i64)> {
    let [piece] = equation.pieces.as_slice() else { return None };
    let Expr::Reduce { op: Reduction::Sum, axes, body } = &program.exprs[piece.body] else { return None };
    // Parts are floats, which hold no more than 24 bits of an integer.
    if program.tensors[equation.result].dtype != DType::F32 {
        return None;
    }
    let is_product = matches!(&program.exprs[*body], Expr::Binary(Binary::Mul, ..));
    let factors = if is_product { program.exprs.factors(*body) } else { vec![*body] };
    if fill.is_none() && !(is_product && reuses(program, piece, &factors)) {
        return None;
    }
    let read: HashSet<Tensor> = factors.iter().flat_map(|factor| program.reads(*factor)).collect();
    let bytes = 4 * read.iter().map(|tensor| program.tensors[*tensor].len() as i64).sum::<i64>();
    let result = 4 * program.tensors[equation.result].len() as i64;
    let wanted = match fill {
        None => bytes / GROUP_BYTES,
        Some(fill) => {
            let together = if is_product && reuses(program, piece, &factors) { TILE } else { 1 };
            let summands: i64 = axes.iter().map(|axis| program.axes[*axis].extent).product();
            let wanted = (fill * together / (result / 4).max(1)).min(summands / (lanes * LEAST_VECTORS));
            if wanted < LEAST_GROUPS { 0 } else { wanted }
        }
    };
    let long = axes.iter().copied().filter(|axis| program.axes[*axis].extent >= 16);
    let groups = |axis: Axis| {
        let extent = program.axes[axis].extent;
        let unit = if is_leading(program, *body, axis) { lanes } else { 1 };
        let fits = |groups: &i64| {
            (planted!("passes.split.rest") || extent % groups == 0)
                && extent / groups % unit == 0
                && groups * result <= bytes / LARGEST_PART
        };
        (2..=wanted.min(extent)).rev().find(fits)
    };
    let found: Vec<(Axis, i64)> = long.filter_map(|axis| Some((axis, groups(axis)?))).collect();
    // Few groups do not help: the data of one is far from the size that a cache holds.
    let enough = found.first().filter(|(_, groups)| *groups >= wanted / FEW_GROUPS);
    enough.or(found.iter().rev().max_by_key(|(_, groups)| *groups)).copied()
}

/// Whether some factor is the same for several elements of the result: only then does a cache help.
fn reuses(program: &Program, piece: &Piece, factors: &[ExprId]) -> bool {
    factors.iter().any(|factor| {
        let free = program.free_axes(*factor);
        piece.axes.iter().any(|axis| program.axes[*axis].extent > 1 && !free.contains(axis))
    })
}

/// Whether an axis indexes the first dimension of a read: it may be the batch.
fn is_leading(program: &Program, body: ExprId, axis: Axis) -> bool {
    let mut leading = false;
    program.for_each_expr(body, &mut |id| {
        if let Expr::Read { index, .. } = &program.exprs[id] {
            leading |= index.first().is_some_and(|index| index.mentions(axis));
        }
    });
    leading
}

fn split(program: &mut Program, equation: Equation, axis: Axis, groups: i64) {
    let Equation { result, mut pieces } = equation;
    let piece = pieces.remove(0);
    let Expr::Reduce { axes, body, .. } = program.exprs[piece.body].clone() else { return };
    let data = program.axes[axis].clone();
    let (group, member) = (program.axis("g", groups), program.axis(data.name, data.extent / groups));
    let value = Index::from(group).scale(data.extent / groups).add(&Index::from(member), &program.axes);
    let body = program.substitute(body, &HashMap::from_iter([(axis, value)]));
    let axes = axes.into_iter().map(|other| if other == axis { member } else { other }).collect();
    let partial_body = program.exprs.reduce(Reduction::Sum, axes, body);
    let whole = program.tensors[result].clone();
    let partial = program.derived(result, "part", DType::F32, [vec![groups], whole.shape].concat());
    let at = std::iter::once(Index::from(group)).chain(piece.at.iter().cloned()).collect();
    let axes = std::iter::once(group).chain(piece.axes.iter().copied()).collect();
    program
        .equations
        .push(Equation { result: partial, pieces: vec![Piece { axes, at, body: partial_body }] });
    let combine = program.copy_axis(group);
    let index = std::iter::once(Index::from(combine)).chain(piece.at.iter().cloned()).collect();
    let read = program.exprs.read(partial, index);
    let body = program.exprs.reduce(Reduction::Sum, vec![combine], read);
    program.equations.push(Equation { result, pieces: vec![Piece { body, ..piece }] });
}
