//! Register tiles that were measured on a machine: the scheduler takes them in place of those of its cost model.
//!
//! A choice says which elements of a launch are computed side by side. It changes the order of no sum, so results have
//! the same bits with any choices or none. Keys and tiles are text, because they come from files: a key that no launch
//! has is not asked for, and a tile that a launch may not have is not taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Launch;

/// A tile for each of some launches, by their keys; tiles are written like `o 4, j 7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, String>);

impl Choices {
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

    /// How many of the choices none of these launches has taken: their kernel is another one now.
    pub fn misfits(&self, launches: &[Launch]) -> usize {
        let has = |launch: &&Launch| {
            self.tile(&launch.key).is_some_and(|tile| launch.tiles.first().is_some_and(|own| own == tile))
        };
        self.len() - launches.iter().filter(has).count()
    }
}

/// What stands for a launch in every lowering of the same program: its kernel, and which of the kernel's launches it
/// is.
pub fn key(kernel: &str, number: usize) -> String {
    format!("{kernel} {number}")
}
