//! Instances that run by turns: one of them has the memory at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::instance::Instance;
use super::store::Mismatch;

/// Instances by their keys.
pub struct Turns<K> {
    instances: HashMap<K, Instance>,
    /// The one that has the memory.
    current: Option<K>,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// None yet.
    pub fn new() -> Turns<K> {
        Turns { instances: HashMap::new(), current: None }
    }

    /// Adds one that has its memory, and has the turn now.
    pub fn with(mut self, key: K, instance: Instance) -> Turns<K> {
        self.release();
        self.instances.insert(key, instance);
        self.current = Some(key);
        self
    }

    /// Whether there is one of a key.
    pub fn has(&self, key: K) -> bool {
        self.instances.contains_key(&key)
    }

    /// The instance of a key, which `make` binds if there is none; it has the memory. What the one before it computed is
    /// lost.
    ///
    /// # Errors
    ///
    /// Those of `make`, and where there is not enough memory.
    pub fn get<E: From<Mismatch>>(
        &mut self,
        key: K,
        make: impl FnOnce() -> Result<Instance, E>,
    ) -> Result<&mut Instance, E> {
        if self.current != Some(key) {
            self.release();
        }
        let instance = match self.instances.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(make()?),
        };
        instance.lease().map_err(Mismatch::from)?;
        self.current = Some(key);
        Ok(instance)
    }

    /// Gives back the memory of the one that has it.
    pub fn release(&mut self) {
        if let Some(instance) = self.current.take().and_then(|key| self.instances.get_mut(&key)) {
            instance.release();
        }
    }
}

impl<K: Copy + Eq + Hash> Default for Turns<K> {
    fn default() -> Turns<K> {
        Turns::new()
    }
}
