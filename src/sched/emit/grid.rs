//! The outer loops of a function as a grid.
//!
//! In: a function of which the outermost loop is parallel. Out: the same with as many parallel loops as the verifier
//! proves to have no race.

use crate::loops::verifier::verify;
use crate::loops::{ForKind, Function, Stmt};

/// Makes the outermost of the first `loops` loops parallel, as deep as can be proved.
pub fn widen(function: &mut Function, loops: usize) {
    for parallel in (1..=loops).rev() {
        set_kinds(&mut function.body, loops, parallel);
        // One loop is parallel in any case.
        if parallel == 1 || verify(function).is_ok() {
            return;
        }
    }
}

/// Makes the outermost of some loops parallel and the others serial.
fn set_kinds(body: &mut [Stmt], loops: usize, parallel: usize) {
    if let ([Stmt::For { kind, body, .. }], 1..) = (body, loops) {
        *kind = if parallel > 0 { ForKind::Parallel } else { ForKind::Serial };
        set_kinds(body, loops - 1, parallel.saturating_sub(1));
    }
}
