//! The schedule as text: what `cnnc emit --stage sched` prints.
//!
//! ```text
//! conv1+relu
//!   nb 4 (parallel) { o 8 { i 28 { c 3 } } }
//!     split n by 16
//!     vectorize nl × 16
//! ```

use crate::loops::{ForKind, Function, Stmt};

use super::Launch;

/// A launch: its kernel, its loops with their extents, and the steps that made them so.
pub fn print(launch: &Launch) -> String {
    let name = &launch.function.name;
    let loops = loops(&launch.function, &launch.function.body);
    let loops = if loops.is_empty() { "no loops".to_string() } else { loops.join(", ") };
    format!("{name}\n  {loops}\n{}", launch.schedule)
}

/// The loops of a block; those inside stand in braces.
fn loops(function: &Function, body: &[Stmt]) -> Vec<String> {
    let mut found = Vec::new();
    for statement in body {
        match statement {
            Stmt::For { axis, kind, body } => {
                let data = &function.axes[*axis];
                let kind = if *kind == ForKind::Parallel { " (parallel)" } else { "" };
                let inside = loops(function, body);
                let inside =
                    if inside.is_empty() { String::new() } else { format!(" {{ {} }}", inside.join(", ")) };
                found.push(format!("{} {}{kind}{inside}", data.name, data.extent));
            }
            Stmt::If { then, otherwise, .. } => {
                found.extend(loops(function, then));
                found.extend(loops(function, otherwise));
            }
            Stmt::Set { .. } | Stmt::Store { .. } => {}
        }
    }
    found.dedup();
    found
}
