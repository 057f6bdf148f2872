//! Passes: graph to graph, then equations to equations. Each is a name, a line of description and a function.

pub mod accept;
pub mod ascend;
pub mod autodiff;
pub mod canonical;
pub mod channels;
pub mod digits;
pub mod hoist;
pub mod linear;
pub mod lower;
pub mod prune;
pub mod share;
pub mod split;
pub mod views;
pub mod winograd;

use crate::te::Program;
use crate::te::verifier::{verify, verify_normal_form};

/// A pass over equations.
pub struct Pass {
    /// Its name in messages and in `--print-after-all`.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    pub run: fn(&mut Program),
}

/// The passes between lowering and kernels, in order.
pub const PIPELINE: &[Pass] = &[
    // Before canonical, which needs bodies that no longer go through reshapes.
    Pass {
        name: "views",
        description: "reads through reshapes, permutations and constants",
        run: views::run,
    },
    Pass { name: "ascend", description: "turns sums round that run backwards", run: ascend::run },
    Pass {
        name: "canonical",
        description: "gives equal equations equal form, folds constants",
        run: canonical::run,
    },
    // Sees equal bodies as equal, and makes more of them equal.
    Pass { name: "linear", description: "moves fixed factors out of sums", run: linear::run },
    // After linear, which may move a factor out of the way; before share, as equations have the same parts.
    Pass { name: "hoist", description: "computes dear parts that many elements share once", run: hoist::run },
    // Once more: a sum may have become a constant, a product may have lost its factors.
    Pass { name: "views again", description: "reads through what became a constant", run: views::run },
    Pass {
        name: "canonical again",
        description: "gives what is new its canonical form",
        run: canonical::run,
    },
    // After views, which leaves reads through reshapes where no view can go.
    Pass {
        name: "digits",
        description: "gives tensors the dimensions that their readers index",
        run: digits::run,
    },
    // Works on canonical bodies only.
    Pass { name: "share", description: "computes common equations and parts once", run: share::run },
    Pass { name: "prune", description: "drops what no output needs", run: prune::run },
];

/// Runs the pipeline; `after` sees the program after each pass. With debug assertions, the verifier does as well.
///
/// # Panics
///
/// With debug assertions, where a pass leaves a program that does not hold the invariants: that is a bug.
pub fn simplify(program: &mut Program, after: &mut dyn FnMut(&Pass, &Program)) {
    for pass in PIPELINE {
        (pass.run)(program);
        after(pass, program);
        verify_after(pass.name, program);
    }
}

/// Verifies a lowered program, where debug assertions are on.
///
/// # Panics
///
/// Where an invariant does not hold, with the name of the pass and the program.
pub fn verify_after(pass: &str, program: &Program) {
    if cfg!(debug_assertions)
        && let Err(findings) = verify(program).and_then(|()| verify_normal_form(program))
    {
        panic!("after {pass}:\n{}\n{program}", findings.join("\n"));
    }
}

#[cfg(test)]
mod tests;
