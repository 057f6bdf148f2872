//! Which serial loops are unrolled, and by how much; and what a loop's body changes.
//!
//! Small innermost loops (the taps of a filter) are opened fully, so that
//! their addresses become displacements and no accumulator moves between registers on the way round; long loops with
//! a short body are opened by a factor.

use crate::loops::unroll::Unroll;
use crate::loops::verifier::{Invalid, Verified};
use crate::loops::{Expr, Function, Local, Stmt, Unary};

/// Operations (of four lanes) that a fully opened loop may have.
const FULL_BUDGET: usize = 224;
/// Operations that the body of a partly opened loop may have.
const PARTIAL_BUDGET: usize = 64;
/// Iterations that a partly opened loop does at once, at most.
const LARGEST_FACTOR: i64 = 4;

/// A function as it is lowered.
///
/// # Errors
///
/// Those of [`Verified::unrolled`].
pub fn unrolled(function: &Verified) -> Result<Verified, Invalid> {
    function.unrolled(&|extent, body| choose(function, extent, body))
}

/// The choice for a serial loop.
fn choose(function: &Function, extent: i64, body: &[Stmt]) -> Unroll {
    let cost = straight_cost(function, body);
    if extent == 1 || cost.is_some_and(|cost| is_small(extent, cost)) {
        return Unroll::Full;
    }
    let Some(cost) = cost else { return Unroll::By(1) };
    let fits = |factor: &i64| cost * *factor as usize <= PARTIAL_BUDGET && *factor <= extent;
    let candidates = (1..=LARGEST_FACTOR).filter(fits);
    // The rest of a loop is opened behind it, so a factor that leaves none is worth a smaller one.
    let best = candidates.max_by_key(|factor| (extent / factor * factor - extent, *factor));
    Unroll::By(best.unwrap_or(1))
}

/// Whether a loop is opened fully, by the cost of one iteration.
fn is_small(extent: i64, cost: usize) -> bool {
    cost.saturating_mul(extent as usize) <= FULL_BUDGET
}

/// The operations of a body whose loops, if any, are all opened fully; none otherwise.
fn straight_cost(function: &Function, body: &[Stmt]) -> Option<usize> {
    let mut total = 0;
    for stmt in body {
        total += match stmt {
            Stmt::For { axis, body, .. } => {
                let (extent, cost) = (function.axes[*axis].extent.max(0), straight_cost(function, body)?);
                (extent <= 1 || is_small(extent, cost)).then_some(cost * extent as usize)?
            }
            Stmt::Set { local, value } => cost(value) * parts(function.locals[*local].ty.lanes),
            Stmt::Store { value, .. } => (1 + cost(value)) * parts(lanes(function, value)),
            Stmt::If { .. } => return None,
        }
    }
    Some(total)
}

/// The 128-bit values that a value of so many lanes takes.
pub fn parts(lanes: u32) -> usize {
    (lanes as usize).div_ceil(4)
}

/// The lanes of a well-typed expression.
pub fn lanes(function: &Function, expr: &Expr) -> u32 {
    match expr {
        Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Fold(..) => 1,
        Expr::Local(local) => function.locals[*local].ty.lanes,
        Expr::Number { lanes, .. } | Expr::Load { lanes, .. } | Expr::Splat(_, lanes) => *lanes,
        Expr::Unary(_, x) | Expr::Binary(_, x, _) | Expr::Fma(x, _, _) | Expr::Select(x, _, _) => {
            lanes(function, x)
        }
        Expr::Uniform { element, .. } => lanes(function, element),
    }
}

/// Operations of an expression, roughly in instructions.
fn cost(expr: &Expr) -> usize {
    match expr {
        Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Local(_) => 0,
        Expr::Load { stride: 0 | 1, .. } => 1,
        Expr::Load { .. } | Expr::Number { .. } => 4,
        Expr::Splat(x, _) => match &**x {
            Expr::Load { .. } => 1,
            _ => 1 + cost(x),
        },
        Expr::Unary(Unary::Fence, x) => cost(x),
        Expr::Unary(_, x) => 1 + cost(x),
        Expr::Binary(_, x, y) => 1 + cost(x) + cost(y),
        Expr::Fma(x, y, z) | Expr::Select(x, y, z) => 1 + cost(x) + cost(y) + cost(z),
        Expr::Fold(_, x) => 8 + cost(x),
        Expr::Uniform { element, .. } => 40 + cost(element),
    }
}

/// The registers that statements set, each once, in order of their first setting.
pub fn assigned(body: &[Stmt]) -> Vec<Local> {
    let mut found = Vec::new();
    collect_assigned(body, &mut found);
    let mut seen = cranelift_entity::EntitySet::new();
    found.retain(|local| seen.insert(*local));
    found
}

fn collect_assigned(body: &[Stmt], found: &mut Vec<Local>) {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => collect_assigned(body, found),
            Stmt::Set { local, .. } => found.push(*local),
            Stmt::Store { .. } => {}
            Stmt::If { then, otherwise, .. } => {
                collect_assigned(then, found);
                collect_assigned(otherwise, found);
            }
        }
    }
}
