//! What takes long to make and much memory to keep: the last few that were used.

/// Values by their keys, at most so many; the one that was used longest ago makes room.
pub struct Recent<K, V> {
    most: usize,
    /// The last one used last.
    kept: Vec<(K, V)>,
}

impl<K, V> Recent<K, V> {
    /// Nothing yet, and never more than `most`, which is not 0.
    pub fn new(most: usize) -> Recent<K, V> {
        Recent { most, kept: Vec::new() }
    }

    /// The value of a key, if it is there; it is the last one used now.
    pub fn get<Q: PartialEq<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        let at = self.kept.iter().position(|(kept, _)| key == kept)?;
        self.kept[at..].rotate_left(1);
        self.kept.last_mut().map(|(_, value)| value)
    }

    /// Drops a value if there is no room for another one, so that its memory is free before that is made.
    pub fn make_room(&mut self) {
        self.kept.drain(..(self.kept.len() + 1).saturating_sub(self.most));
    }

    /// Keeps the value of a key that is not there.
    pub fn put(&mut self, key: K, value: V) {
        self.make_room();
        self.kept.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_kept() {
        let (mut recent, mut made) = (Recent::new(2), Vec::new());
        for key in [1, 2, 1, 3, 1, 2, 2, 3] {
            if recent.get(&key).is_none() {
                made.push(key);
                recent.put(key, 10 * key);
            }
            assert_eq!(recent.get(&key), Some(&mut (10 * key)));
            assert!(recent.kept.len() <= 2);
        }
        assert_eq!(made, [1, 2, 3, 2, 3]);
        recent.make_room();
        assert!(recent.get(&2).is_none() && recent.kept.len() == 1);
        recent.make_room();
        assert_eq!(recent.get(&3), Some(&mut 30));
    }
}
