//! Maps and sets of the compiler: keys are numbers and small trees of its own making, so the fastest hash will do, and
//! the same in every run.

use rustc_hash::FxBuildHasher;

pub type HashMap<K, V> = std::collections::HashMap<K, V, FxBuildHasher>;
pub type HashSet<K> = std::collections::HashSet<K, FxBuildHasher>;
pub type IndexSet<K> = indexmap::IndexSet<K, FxBuildHasher>;
