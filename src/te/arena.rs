//! Numbered things: lists that only grow, and sets that know each thing once. What is there when one is
//! [frozen](Arena::freeze) is held by all its clones together, so a clone costs no more than what came after, and whoever
//! works on a clone adds to it without a trace in the others. A clone numbers what it adds as the original would.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::base::hash::IndexSet;
use cranelift_entity::EntityRef;

/// A list whose places are keys.
#[derive(Clone)]
pub struct Arena<K, V> {
    shared: Arc<Vec<V>>,
    own: Vec<V>,
    key: PhantomData<K>,
}

impl<K, V> Default for Arena<K, V> {
    fn default() -> Arena<K, V> {
        Arena { shared: Arc::default(), own: Vec::new(), key: PhantomData }
    }
}

impl<K: EntityRef, V: Clone> Arena<K, V> {
    /// An empty one.
    pub fn new() -> Arena<K, V> {
        Arena::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one at the end.
    pub fn push(&mut self, value: V) -> K {
        let key = K::new(self.len());
        self.own.push(value);
        key
    }

    /// The one of a key, where there is one.
    pub fn get(&self, key: K) -> Option<&V> {
        match key.index().checked_sub(self.shared.len()) {
            None => self.shared.get(key.index()),
            Some(at) => self.own.get(at),
        }
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        match key.index().checked_sub(self.shared.len()) {
            None => Arc::make_mut(&mut self.shared).get_mut(key.index()),
            Some(at) => self.own.get_mut(at),
        }
    }

    /// All in order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.shared.iter().chain(&self.own)
    }

    /// All in order, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        Arc::make_mut(&mut self.shared).iter_mut().chain(&mut self.own)
    }

    /// The keys of all.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator + use<K, V> {
        (0..self.len()).map(K::new)
    }

    /// All with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> + Clone {
        self.values().enumerate().map(|(at, value)| (K::new(at), value))
    }

    /// Makes all that there is common to this list and its clones to come. What it has in common with others already is
    /// copied.
    pub fn freeze(&mut self) {
        if !self.own.is_empty() {
            Arc::make_mut(&mut self.shared).append(&mut self.own);
        }
    }
}

impl<K: EntityRef, V: Clone> Index<K> for Arena<K, V> {
    type Output = V;

    fn index(&self, key: K) -> &V {
        match key.index().checked_sub(self.shared.len()) {
            None => &self.shared[key.index()],
            Some(at) => &self.own[at],
        }
    }
}

impl<K: EntityRef, V: Clone> IndexMut<K> for Arena<K, V> {
    fn index_mut(&mut self, key: K) -> &mut V {
        self.get_mut(key).expect("a key of this list")
    }
}

impl<K: EntityRef + Debug, V: Clone + Debug> Debug for Arena<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A set whose members have numbers, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Pool<V> {
    shared: Arc<IndexSet<V>>,
    own: IndexSet<V>,
}

impl<V> Default for Pool<V> {
    fn default() -> Pool<V> {
        Pool { shared: Arc::default(), own: IndexSet::default() }
    }
}

impl<V: Clone + Eq + Hash> Pool<V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a member, which is added if it is new.
    pub fn add(&mut self, value: V) -> usize {
        match self.shared.get_index_of(&value) {
            Some(number) => number,
            None => self.shared.len() + self.own.insert_full(value).0,
        }
    }

    /// Makes all that there is common to this set and its clones to come.
    pub fn freeze(&mut self) {
        if !self.own.is_empty() {
            Arc::make_mut(&mut self.shared).extend(self.own.drain(..));
        }
    }
}

impl<V> Index<usize> for Pool<V> {
    type Output = V;

    fn index(&self, number: usize) -> &V {
        match number.checked_sub(self.shared.len()) {
            None => &self.shared[number],
            Some(at) => &self.own[at],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::Axis;

    #[test]
    fn clones_of_a_shared_list_grow_apart() {
        let mut list: Arena<Axis, &str> = Arena::new();
        list.push("a");
        let mut before = list.clone();
        before.push("x");
        let b = list.push("b");
        list.freeze();
        let mut one = list.clone();
        let (mut other, c) = (list.clone(), one.push("c"));
        assert_eq!((other.push("d"), one[c], other[c]), (c, "c", "d"));
        one[b] = "changed";
        assert_eq!((one[b], other[b], list[b], list.get(c)), ("changed", "b", "b", None));
        other.freeze();
        assert_eq!(other.values().copied().collect::<String>(), "abd");
        assert_eq!(before.values().copied().collect::<String>(), "ax");
        assert_eq!((list.len(), list.keys().len(), list.iter().last()), (2, 2, Some((b, &"b"))));
        other.values_mut().for_each(|value| *value = "z");
        assert_eq!((list[b], other[c], other.get(Axis::new(3))), ("b", "z", None));
    }

    #[test]
    fn clones_of_a_shared_set_know_its_members() {
        let mut set: Pool<&str> = Pool::default();
        assert_eq!((set.add("a"), set.add("b"), set.add("a")), (0, 1, 0));
        set.freeze();
        let (mut one, mut other) = (set.clone(), set.clone());
        assert_eq!((one.add("c"), one.add("b"), other.add("d"), other.add("c")), (2, 1, 2, 3));
        other.freeze();
        assert_eq!((set.len(), other.len(), one[2], other[2], other.add("c")), (2, 4, "c", "d", 3));
    }
}
