//! Passes: graph to graph, then equations to equations. Each is a name, a line of description and a function.

pub mod autodiff;
pub mod canonical;
pub mod linear;
pub mod lower;
pub mod prune;
pub mod share;
pub mod split;
pub mod views;

use crate::te::Program;

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
    Pass {
        name: "canonical",
        description: "gives equal equations equal form, folds constants",
        run: canonical::run,
    },
    // Sees equal bodies as equal, and makes more of them equal.
    Pass { name: "linear", description: "moves fixed factors out of sums", run: linear::run },
    // Once more: a sum may have become a constant, a product may have lost its factors.
    Pass { name: "views again", description: "reads through what became a constant", run: views::run },
    Pass {
        name: "canonical again",
        description: "gives what is new its canonical form",
        run: canonical::run,
    },
    // Works on canonical bodies only.
    Pass { name: "share", description: "computes common equations and parts once", run: share::run },
    Pass { name: "prune", description: "drops what no output needs", run: prune::run },
];

/// Runs the pipeline; `after` sees the program after each pass.
pub fn simplify(program: &mut Program, after: &mut dyn FnMut(&Pass, &Program)) {
    for pass in PIPELINE {
        (pass.run)(program);
        after(pass, program);
    }
}
