//! Which launches follow from kept tensors alone.
//!
//! Where no step changes these, as in prediction, such launches need to run once only: the weights in another layout,
//! the factor of a batch normalisation.

use crate::base::hash::{HashMap, HashSet};

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
    let mut users: HashMap<Tensor, Vec<usize>> = HashMap::default();
    for (at, launch) in launches.iter().enumerate() {
        launch.buffers.iter().for_each(|tensor| users.entry(*tensor).or_default().push(at));
    }
    let begins = |launch: &Launch| {
        (planted!("plan.fixed.draws") || !draws(&launch.function.body))
            && launch.buffers.iter().all(|tensor| known.contains(tensor))
    };
    let mut fixed: Vec<bool> = launches.iter().map(begins).collect();
    // What varies makes all launches vary that touch what it writes.
    let mut open: Vec<usize> = (0..launches.len()).filter(|at| !fixed[*at]).collect();
    while let Some(at) = open.pop() {
        for user in written(&launches[at]).flat_map(|tensor| &users[&tensor]) {
            if std::mem::replace(&mut fixed[*user], false) {
                open.push(*user);
            }
        }
    }
    fixed
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
