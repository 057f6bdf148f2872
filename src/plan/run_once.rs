//! Which launches follow from persistent tensors alone.
//!
//! Where no step changes these, as in prediction, such launches need to run once only: the weights in another layout,
//! the factor of a batch normalisation.

use crate::base::hash::{HashMap, HashSet};

use super::Persistent;
use crate::loops::visit::for_each_expr;
use crate::loops::{AccessMode, Expr, Stmt};
use crate::sched::Launch;
use crate::te::Tensor;

/// For each launch, whether all it touches follows from persistent tensors that are not updated.
pub fn launches(launches: &[Launch], persistent: &[Persistent]) -> Vec<bool> {
    let unchanged =
        persistent.iter().filter(|persistent| persistent.next.is_none()).map(|persistent| persistent.present);
    let computed = launches.iter().flat_map(written);
    let nexts: HashSet<Tensor> = persistent.iter().filter_map(|persistent| persistent.next).collect();
    let known: HashSet<Tensor> = unchanged.chain(computed).filter(|tensor| !nexts.contains(tensor)).collect();
    let mut users: HashMap<Tensor, Vec<usize>> = HashMap::default();
    for (at, launch) in launches.iter().enumerate() {
        launch.buffers.iter().for_each(|tensor| users.entry(*tensor).or_default().push(at));
    }
    let begins = |launch: &Launch| {
        (planted!("plan.run_once.draws") || !draws(&launch.function.body))
            && launch.buffers.iter().all(|tensor| known.contains(tensor))
    };
    let mut run_once: Vec<bool> = launches.iter().map(begins).collect();
    // What varies makes all launches vary that touch what it writes.
    let mut open: Vec<usize> = (0..launches.len()).filter(|at| !run_once[*at]).collect();
    while let Some(at) = open.pop() {
        for user in written(&launches[at]).flat_map(|tensor| &users[&tensor]) {
            if std::mem::replace(&mut run_once[*user], false) {
                open.push(*user);
            }
        }
    }
    run_once
}

fn written(launch: &Launch) -> impl Iterator<Item = Tensor> + '_ {
    let buffers = launch.function.buffers.values().zip(&launch.buffers);
    buffers.filter(|(buffer, _)| buffer.access != AccessMode::Read).map(|(_, tensor)| *tensor)
}

/// Whether statements draw random numbers, which differ from run to run.
fn draws(statements: &[Stmt]) -> bool {
    let mut found = false;
    for_each_expr(statements, &mut |expr| found |= matches!(expr, Expr::Uniform { .. }));
    found
}
