//! Which register tile a launch gets: the one that was measured to be the fastest, or else that of the cost model.
//!
//! Every tile leaves the sums as they are but for one thing: a single accumulator begins again in each reduction loop,
//! the accumulators of a tile do not. So a single accumulator stays one, and a tile a tile.

use super::super::nest::LoopNest;
use super::Planner;
use super::tile::{Contraction, Tile};

/// So many tiles are worth to be measured.
const MEASURED: usize = 6;

/// Characters of a tile that cannot be had, as far as it is shown.
const LONGEST_SHOWN: usize = 40;

impl Planner<'_> {
    /// The tile of a contraction. Notes on the plan which tiles it may have, and what became of a wish.
    pub(super) fn choose(
        &self,
        plan: &mut LoopNest,
        contraction: &Contraction,
        wanted: Option<&str>,
    ) -> Tile {
        let mut tiles = self.tiles(contraction);
        if let Some(wanted) = wanted {
            match tiles.iter().position(|tile| self.text(tile) == wanted) {
                Some(at) => {
                    let default = self.text(&tiles[0]);
                    plan.note(format!("measured: tile {wanted}, where the cost model has {default}"));
                    tiles[..=at].rotate_right(1);
                }
                None => {
                    // It may come from a file of anything.
                    let wanted: String = wanted.chars().take(LONGEST_SHOWN).collect();
                    plan.note(format!("not taken: tile {wanted:?}, which these loops cannot have"));
                }
            }
        }
        for tile in &tiles {
            let text = self.text(tile);
            // Loops of one name cannot be told apart: the cheaper tile stands for both.
            if !plan.tiles.contains(&text) {
                plan.tiles.push(text);
            }
            if plan.tiles.len() == MEASURED {
                break;
            }
        }
        tiles[0]
    }

    /// All tiles with the same sums as the cost model's, which comes first; then the cheapest.
    fn tiles(&self, contraction: &Contraction) -> Vec<Tile> {
        let extent = |axis| self.extent(axis);
        let default = self.best_tile(contraction, &extent).0;
        let is_single = |tile: &Tile| {
            let points: i64 = tile.iter().flatten().map(|(_, factor)| factor).product();
            points * contraction.windows == 1
        };
        let mut others: Vec<(Tile, f64)> = Vec::new();
        self.for_each_tile(contraction, &extent, &mut |tile, cost| {
            if tile != default && is_single(&tile) == is_single(&default) {
                others.push((tile, cost));
            }
        });
        others.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        std::iter::once(default).chain(others.into_iter().map(|(tile, _)| tile)).collect()
    }

    fn text(&self, tile: &Tile) -> String {
        let name = |axis| &self.program.axes[axis].name;
        let blocks: Vec<String> =
            tile.iter().flatten().map(|(axis, factor)| format!("{} {factor}", name(*axis))).collect();
        if blocks.is_empty() { "of one element".into() } else { blocks.join(", ") }
    }
}
