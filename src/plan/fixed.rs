//! Which launches follow from kept tensors alone.
//!
//! Where no step changes these, as in prediction, such launches need to run once only: the weights in another layout,
//! the factor of a batch normalisation.

use std::collections::HashSet;

use super::Kept;
use crate::loops::{Access, Expr, Stmt};
use crate::sched::Launch;
use crate::te::Tensor;

/// For each launch, whether all it touches follows from kept tensors that are not updated.
pub fn launches(launches: &[Launch], kept: &[Kept]) -> Vec<bool> {
    let unchanged = kept.iter().filter(|kept| kept.next.is_none()).map(|kept| kept.present);
    let computed = launches.iter().flat_map(written);
    let nexts: HashSet<Tensor> = kept.iter().filter_map(|kept| kept.next).collect();
    let known: HashSet<Tensor> = unchanged.chain(computed).filter(|tensor| !nexts.contains(tensor)).collect();
    let mut fixed: Vec<bool> =
        launches.iter().map(|launch| planted!("plan.fixed.draws") || !draws(&launch.function.body)).collect();
    loop {
        let varies = launches.iter().zip(&fixed).filter(|(_, fixed)| !**fixed);
        let varying: HashSet<Tensor> = varies.flat_map(|(launch, _)| written(launch)).collect();
        let is_fixed = |tensor: &Tensor| known.contains(tensor) && !varying.contains(tensor);
        let stays = |(launch, fixed): (&Launch, &bool)| *fixed && launch.buffers.iter().all(is_fixed);
        let next: Vec<bool> = launches.iter().zip(&fixed).map(stays).collect();
        if next == fixed {
            return fixed;
        }
        fixed = next;
    }
}

fn written(launch: &Launch) -> impl Iterator<Item = Tensor> + '_ {
    let buffers = launch.function.buffers.values().zip(&launch.buffers);
    buffers.filter(|(buffer, _)| buffer.access != Access::Read).map(|(_, tensor)| *tensor)
}

/// Whether statements draw random numbers, which differ from run to run.
fn draws(statements: &[Stmt]) -> bool {
    statements.iter().any(|statement| match statement {
        Stmt::For { body, .. } => draws(body),
        Stmt::Set { value, .. } | Stmt::Store { value, .. } => is_drawn(value),
        Stmt::If { condition, then, otherwise } => is_drawn(condition) || draws(then) || draws(otherwise),
    })
}

fn is_drawn(expr: &Expr) -> bool {
    let mut found = matches!(expr, Expr::Uniform { .. });
    expr.for_each_operand(&mut |operand| found |= is_drawn(operand));
    found
}
