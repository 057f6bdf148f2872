//! How much memory a program needs, before it takes any.

use crate::base::memory::{Room, Shortage};
use crate::graph::{Graph, Role};
use crate::lower::Lowered;

use super::store::bytes_of;

/// Batches that are in memory beside the one in the arena: one that a step takes, one that waits, one that is read.
const BATCHES: u64 = 3;

/// Bytes that a program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// For parameters and states, the optimiser's among them.
    pub persistent: u64,
    /// For all that lies in memory while it runs, and batches on their way there.
    pub run: u64,
    /// Samples of a run.
    pub batch: i64,
}

impl Need {
    /// That of a graph, which has been lowered.
    pub fn of(graph: &Graph, lowered: &Lowered) -> Need {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let inputs = graph.inputs.iter().filter(|(_, role)| matches!(role, Role::Data | Role::Target));
        let inputs = inputs.map(|(value, _)| bytes_of(&graph.values[*value].shape) as u64);
        let data = graph.inputs.iter().find(|(_, role)| *role == Role::Data);
        let plan = &lowered.plan;
        Need {
            persistent: persistent(graph) + lowered.next_bytes(),
            run: plan.arena_bytes as u64
                + (plan.scratch_bytes * threads) as u64
                + BATCHES * inputs.sum::<u64>(),
            batch: data.and_then(|(value, _)| graph.values[*value].shape.first().copied()).unwrap_or(1),
        }
    }

    /// An error where a run needs more than there is; the parameters and states have theirs already.
    ///
    /// # Errors
    ///
    /// The shortage. Where the system does not say what is left, there is none.
    pub fn check_run(&self) -> Result<(), Shortage> {
        let what = format!("a run with batch {}", self.batch);
        Room::now().map_or(Ok(()), |room| room.check(&what, self.run))
    }
}

/// Bytes of the largest tensor of a program.
pub fn largest(lowered: &Lowered) -> u64 {
    let buffers = lowered.launches.iter().flat_map(|launch| launch.function.buffers.values());
    buffers.map(|data| (data.len * data.dtype.size()) as u64).max().unwrap_or(0)
}

/// Bytes of the parameters and states of a graph.
pub fn persistent(graph: &Graph) -> u64 {
    let persistent =
        graph.inputs.iter().filter(|(_, role)| matches!(role, Role::Param { .. } | Role::State { .. }));
    persistent.map(|(value, _)| bytes_of(&graph.values[*value].shape) as u64).sum()
}

/// The largest batch below one with its need that leaves enough of a room, as far as a few tries tell; none where not
/// even one sample does. `at` says what another batch needs, or nothing where the model does not take it.
pub fn largest_batch(
    room: Room,
    (most, all): (i64, u64),
    at: &mut dyn FnMut(i64) -> Option<u64>,
) -> Option<i64> {
    // A model that takes no single sample may take others.
    let single = at(1);
    let one = single.unwrap_or(0);
    if !room.holds(one) || most < 2 {
        return None;
    }
    let a_sample = (all.saturating_sub(one) / (most - 1) as u64).max(1);
    let mut batch = 1 + (room.usable().saturating_sub(one) / a_sample).min(most as u64 - 1) as i64;
    while batch > 1 {
        batch = rounded(batch);
        if at(batch).is_some_and(|needed| room.holds(needed)) {
            return Some(batch);
        }
        batch = batch * 3 / 4;
    }
    single.map(|_| 1)
}

/// The largest number of two binary digits that is not larger: people take such batches.
fn rounded(batch: i64) -> i64 {
    let power = 1 << batch.ilog2();
    if power > 1 && batch >= power + power / 2 { power + power / 2 } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::memory::MemoryLimit;

    const ROOM: Room = Room { bytes: 16 << 20, bound: MemoryLimit::Machine };

    /// The batch for a program that needs so much, and so much a sample.
    fn found(fixed: u64, sample: u64, batch: i64) -> Option<i64> {
        let need = |batch: i64| fixed + sample * batch as u64;
        largest_batch(ROOM, (batch, need(batch)), &mut |batch| Some(need(batch)))
    }

    #[test]
    fn a_batch_that_fits_is_found() {
        assert_eq!(found(0, 1 << 20, 1000), Some(12));
        assert_eq!(found(0, 1 << 20, 16), Some(12));
        assert_eq!(found(10 << 20, 1 << 20, 1_000_000), Some(4));
        assert_eq!(found(0, 1000, 1 << 20), Some(12 << 10));
        assert_eq!(found(15 << 20, 1 << 20, 64), None);
        assert_eq!(found(0, 16 << 20, 2), None);
    }

    #[test]
    fn a_batch_that_fits_by_no_rule_is_tried() {
        // It needs twice as much a sample as the two ends tell.
        let mut tried = Vec::new();
        let mut at = |batch: i64| {
            tried.push(batch);
            Some(if batch == 1 { 1 << 20 } else { (batch as u64) << 21 })
        };
        let all = (100, 100 << 20);
        let batch = largest_batch(ROOM, all, &mut at).unwrap();
        assert!(batch << 21 <= 15 << 20 && batch >= 4, "{batch} of {tried:?}");
        // Some batches are none of the model's.
        let pairs = largest_batch(ROOM, all, &mut |batch| (batch % 2 == 0).then_some((batch as u64) << 20));
        assert_eq!(pairs, Some(12));
        let odd = largest_batch(ROOM, all, &mut |batch| (batch != 12).then_some((batch as u64) << 20));
        assert_eq!(odd, Some(8));
        assert_eq!(largest_batch(ROOM, all, &mut |_| None), None);
    }
}
