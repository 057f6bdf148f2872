//! Register tiles that were measured on a machine: the scheduler takes them in place of those of its cost model.
//!
//! A tile says which elements of a launch are computed side by side. It changes the order of no sum, so results have
//! the same bits with any tuned tiles or none. Keys and tiles are text, because they come from files: a key that no
//! launch has is not asked for, and a tile that a launch may not have is not taken.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Launch;
use crate::base::files;
use crate::loops::Function;

/// A tile for each of some launches, by their keys; tiles are written like `o 4, j 7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TunedTiles(BTreeMap<String, String>);

impl TunedTiles {
    /// Chooses a tile for a launch.
    pub fn choose(&mut self, key: &str, tile: &str) {
        self.0.insert(key.into(), tile.into());
    }

    /// The tile that was chosen for a launch.
    pub fn tile(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of the tiles none of these launches has taken: their function is another one now.
    pub fn misfits(&self, launches: &[Launch]) -> usize {
        let taken: HashSet<(&str, &str)> = launches
            .iter()
            .filter_map(|launch| Some((launch.key.as_deref()?, &**launch.tiles.first()?)))
            .collect();
        self.0.iter().filter(|(key, tile)| !taken.contains(&(key.as_str(), tile.as_str()))).count()
    }
}

/// What stands for a launch: a hash of its function, with the tile that the cost model takes, but without names. So
/// what was measured holds wherever there is such a function, whatever its layer is called.
pub fn key(function: &Function) -> String {
    let mut function = function.clone();
    function.forget_names();
    files::hash_of(function.to_string().as_bytes()).chars().take(LETTERS).collect()
}

/// Letters of a key: enough for one in a million programs of a thousand functions to have two of one key by chance.
const LETTERS: usize = 16;
