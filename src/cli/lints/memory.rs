//! A warning where a training step needs more memory than there is.
//!
//! How much a step needs says its plan. That is made only where the tensors of its graph, all of them together, come
//! near what there is.

use crate::base::diagnostic::Diagnostic;
use crate::base::memory::Room;
use crate::base::numbers;
use crate::graph::Graph;
use crate::lower::{CompileOptions, lower};
use crate::runtime::need::{Need, largest_batch};

/// What a step has beside the tensors of its graph (copies in other layouts, transformed tiles) is at most so many
/// times as large.
const MARGIN: u64 = 4;

/// The warning for a step of a section, if it does not fit. `graph` is the same for another batch.
pub fn run(
    section: &str,
    step: &Graph,
    room: Room,
    options: &CompileOptions,
    graph: &dyn Fn(i64) -> Option<Graph>,
) -> Option<Diagnostic> {
    if room.holds(MARGIN.saturating_mul(tensors(step))) {
        return None;
    }
    let need = |graph: &Graph| Need::of(graph, &lower(graph, options));
    let all = |need: Need| need.persistent.saturating_add(need.run);
    let this = need(step);
    if room.holds(all(this)) {
        return None;
    }
    let fits = largest_batch(room, (this.batch, all(this)), &mut |batch| Some(all(need(&graph(batch)?))));
    let (needed, batch) = (numbers::bytes(all(this)), this.batch);
    let message = format!("a step of `{section}` with batch {batch} needs {needed} of memory, and {room}");
    let parts = format!(
        "{} for weights and states, {} for what a step computes",
        numbers::bytes(this.persistent),
        numbers::bytes(this.run)
    );
    let help =
        fits.map_or("no smaller batch is known to fit".into(), |batch| format!("batch {batch} would fit"));
    Some(Diagnostic::warning(message).note(parts).help(help))
}

/// Bytes of all tensors of a graph.
fn tensors(graph: &Graph) -> u64 {
    let bytes =
        |shape: &[i64]| shape.iter().fold(4_u64, |bytes, extent| bytes.saturating_mul(*extent as u64));
    graph.values.iter().fold(0_u64, |sum, (_, value)| sum.saturating_add(bytes(&value.shape)))
}
