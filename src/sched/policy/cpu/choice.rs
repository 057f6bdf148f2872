//! Which register tile a launch gets: the one that was measured to be the fastest, or else that of the cost model.
//!
//! Every tile leaves the sums as they are but for one thing: a single accumulator begins again in each reduction loop,
//! the accumulators of a tile do not. So a single accumulator stays one, and a tile a tile.

use super::NestScheduler;
use super::tile::{Contraction, Tile, TileFactor};
use crate::sched::cost_model::TileCost;
use crate::sched::nest::LoopNest;
use crate::te::Axes;

/// So many tiles are worth to be measured.
const MEASURED: usize = 6;

/// Characters of a tile that cannot be had, as far as it is shown.
const LONGEST_SHOWN: usize = 40;

impl NestScheduler<'_> {
    /// The tile of a contraction. Notes on the plan which tiles it may have, and what became of a wish.
    pub(super) fn choose(
        &self,
        sched: &mut LoopNest,
        contraction: &Contraction,
        wanted: Option<&str>,
    ) -> Tile {
        let (mut tiles, TileCost { loads, cycles }) = self.tiles(sched, contraction);
        let default = text(&sched.axes, &tiles[0]);
        sched.note(format!(
            "cost model: tile {default} at {cycles:.2} cycles and {loads:.2} loads a multiply-add"
        ));
        if let Some(wanted) = wanted {
            match tiles.iter().position(|tile| text(&sched.axes, tile) == wanted) {
                Some(at) => {
                    sched.note(format!("measured: tile {wanted}, where the cost model has {default}"));
                    tiles[..=at].rotate_right(1);
                }
                None => {
                    // It may come from a file of anything.
                    let wanted: String = wanted.chars().take(LONGEST_SHOWN).collect();
                    sched.note(format!("not taken: tile {wanted:?}, which these loops cannot have"));
                }
            }
        }
        for tile in &tiles {
            let text = text(&sched.axes, tile);
            // Loops of one name cannot be told apart: the cheaper tile stands for both.
            if !sched.tiles.contains(&text) {
                sched.tiles.push(text);
            }
            if sched.tiles.len() == MEASURED {
                break;
            }
        }
        tiles[0]
    }

    /// All tiles with the same sums as the cost model's, which comes first; then the cheapest. And what the first
    /// costs.
    fn tiles(&self, sched: &LoopNest, contraction: &Contraction) -> (Vec<Tile>, TileCost) {
        let extent = |axis| sched.extent(axis);
        let (default, least) = self.best_tile(contraction, &extent);
        let is_single = |tile: &Tile| {
            let points: i64 = tile.iter().flatten().map(|(_, factor)| factor).product();
            points * contraction.windows == 1
        };
        let mut others: Vec<(Tile, f64)> = Vec::new();
        self.for_each_tile(contraction, &extent, &mut |tile, cost| {
            if tile != default && is_single(&tile) == is_single(&default) {
                others.push((tile, cost.cycles));
            }
        });
        others.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let tiles = std::iter::once(default).chain(others.into_iter().map(|(tile, _)| tile));
        (tiles.collect(), least)
    }
}

/// A tile as it is written down.
fn text(axes: &Axes, tile: &Tile) -> String {
    let block = |(axis, factor): &TileFactor| format!("{} {factor}", axes[*axis].name);
    let blocks: Vec<String> = tile.iter().flatten().map(block).collect();
    if blocks.is_empty() { "of one element".into() } else { blocks.join(", ") }
}
