//! How much a function does.

use crate::loops::{Function, Stmt};

/// Statements that a function runs on registers of so many lanes: a measure of its time.
pub fn work(statements: &[Stmt], function: &Function, lanes: u32) -> u64 {
    let cost = |statement: &Stmt| match statement {
        Stmt::For { axis, body, .. } => {
            work(body, function, lanes).saturating_mul(function.axes[*axis].extent as u64)
        }
        Stmt::Set { local, .. } => u64::from(function.locals[*local].ty.lanes.div_ceil(lanes)),
        Stmt::Store { .. } => 2,
        Stmt::If { then, otherwise, .. } => {
            let branches = work(then, function, lanes).saturating_add(work(otherwise, function, lanes));
            branches.saturating_add(1)
        }
    };
    statements.iter().map(cost).fold(0, u64::saturating_add)
}
