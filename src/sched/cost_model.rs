//! What decides speed where a policy chooses: named figures, one table for each back end that may compile a nest.
//!
//! A figure says what it counts and how it was found. What a choice came to is written into the schedule, which `cnnc
//! emit --stage sched` prints. Figures differ by back end and not by processor: the loops must not depend on the machine
//! at hand, and those of one vector level are served by one table (measured on Zen 4 and Sapphire Rapids).

use crate::base::target::BackEnd;
use crate::sched::{Grid, Machine};

/// The figures of a back end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// Multiply-adds under way at once that hide their latency: two a cycle, four cycles each.
    pub latency: f64,
    /// Cycles that a vector which comes from afar takes, at least: what memory gives a core.
    pub streamed: f64,
    /// What a load costs beside the multiply-adds that wait for it, in cycles a multiply-add: among tiles that are equally
    /// fast by the rest, the one with fewer loads was faster.
    pub load: f64,
    /// The share of the time that is lost where a tile takes iterations from other threads of a loop that memory paces.
    pub shared: f64,
    /// What walking the smaller factor again costs, in cycles a vector: only tells tiles apart that are equal otherwise.
    pub again: f64,
    /// The largest block of one axis.
    pub largest_block: i64,
    /// Blocks of fewer elements than this leave much to gain.
    pub small_block: i64,
    /// Two parts of a loop must cost less than this share of the whole: they are two launches.
    pub worth_parts: f64,
    /// Bytes of the larger factor that are walked again for each block of the smaller one, at most: they stay in a core's
    /// own cache, beside what else is there.
    pub largest_row: i64,
    /// Straight-line copies of a reduction's body, at most: beyond, code grows and time does not shrink.
    pub largest_unroll: i64,
    /// Tiles that keep the machine busy: with fewer of them a part of it waits.
    pub fill: i64,
}

/// Whole functions by our own assembler, with vectors of 256 and 512 bits.
const ASSEMBLER: CostModel = CostModel {
    latency: 8.0,
    streamed: 3.0,
    load: 0.1,
    shared: 0.5,
    again: 1e-3,
    largest_block: 8,
    small_block: 4,
    worth_parts: 0.92,
    largest_row: 1 << 18,
    largest_unroll: 64,
    fill: 1,
};

/// Cranelift, with vectors of 128 bits. It takes longer over long code.
const CRANELIFT: CostModel = CostModel { largest_unroll: 32, ..ASSEMBLER };

/// A grid. Vectors beside the running one hide latency, and so do few chains in each; what tiles are for is to load less:
/// a machine of this kind adds four products in the time of a load (arithmetic of the makers' papers, not measured).
const GRID: CostModel = CostModel {
    latency: 2.0,
    streamed: 1.0,
    load: 4.0,
    shared: 0.0,
    largest_unroll: 128,
    fill: Grid::FILL,
    ..ASSEMBLER
};

impl CostModel {
    /// That of what compiles for a machine.
    pub fn of(machine: &Machine) -> &'static CostModel {
        match (machine.grid, machine.target.level.back_end()) {
            (Some(_), _) => &GRID,
            (None, BackEnd::Assembler) => &ASSEMBLER,
            (None, BackEnd::Cranelift) => &CRANELIFT,
        }
    }

    /// What a tile costs.
    pub fn tile(&self, load: &TileLoad) -> TileCost {
        let a = |count: i64| count as f64 / load.accumulators as f64;
        let loads = a(load.loads);
        let mut cycles = (self.latency / load.accumulators as f64).max(loads).max(1.0);
        cycles += self.load * (loads + a(load.far));
        if let Some(iterations) = load.streamed {
            let share = load.elements as f64 / iterations as f64;
            cycles = cycles.max(self.streamed) * (1.0 + self.shared * share);
        }
        let idle = (self.fill as f64 / load.points as f64).max(1.0);
        TileCost { loads, cycles: (cycles + self.again * a(load.again)) * idle }
    }
}

/// What a register tile does for each summand.
#[derive(Clone, Copy, Debug)]
pub struct TileLoad {
    /// Registers of running sums, which is how many multiply-adds there are.
    pub accumulators: i64,
    /// Elements of the result.
    pub elements: i64,
    /// The tiles that there are of all elements.
    pub points: i64,
    /// Vectors that are loaded, or scalars that are spread over one.
    pub loads: i64,
    /// Those of them that come from beyond the first cache.
    pub far: i64,
    /// Those that are walked again for every block of the larger factor.
    pub again: i64,
    /// The iterations of the loops, where memory sets the pace.
    pub streamed: Option<i64>,
}

/// What a tile costs: loads and cycles, each for a multiply-add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileCost {
    pub loads: f64,
    pub cycles: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::{Level, Target};

    fn cycles(accumulators: i64, loads: i64, streamed: Option<i64>) -> f64 {
        let load =
            TileLoad { accumulators, elements: accumulators, points: 1, loads, far: 0, again: 0, streamed };
        CostModel::of(&Machine::of(Target::of(Level::Avx512))).tile(&load).cycles
    }

    #[test]
    fn latency_loads_or_arithmetic_set_the_pace() {
        assert_eq!(cycles(1, 0, None), 8.0, "one sum waits for itself");
        assert_eq!(cycles(8, 0, None), 1.0);
        assert_eq!(cycles(24, 0, None), 1.0, "no tile is faster than its arithmetic");
        assert_eq!(cycles(8, 16, None), 2.0 + 0.2, "two loads each");
        assert_eq!(cycles(8, 0, Some(100)), 3.0 * (1.0 + 0.5 * 0.08), "memory");
        assert!(cycles(24, 10, None) < cycles(16, 8, None), "a larger tile needs fewer loads");
    }

    #[test]
    fn each_back_end_has_a_table() {
        let unroll = |level| CostModel::of(&Machine::of(Target::of(level))).largest_unroll;
        assert_eq!([Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].map(unroll), [32, 32, 64, 64]);
    }
}
