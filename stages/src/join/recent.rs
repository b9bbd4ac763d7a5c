//! A map that keeps what was used lately.
//!
//! Two generations: what is used is in the young one (or comes back to it); when the young one is half of the bound, the old
//! one is forgotten and the young one becomes old. So at most `bound` entries are held, whatever was used among the last
//! `bound / 2` different keys is still there, and nothing is ever moved but by use.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::hash::Hash;

/// The map.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    half: usize,
    forgotten: u64,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// An empty map for at most `bound` (at least 2) entries.
    pub(super) fn new(bound: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: (bound / 2).max(1), forgotten: 0 }
    }

    /// Entries forgotten because of the bound.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The entry of `key`, used.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            return Some(self.put(*key, value));
        }
        self.young.get_mut(key)
    }

    /// The entry of `key`, not counted as used.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Sets the entry of `key`.
    pub(super) fn put(&mut self, key: K, value: V) -> &mut V {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old.remove(&key);
            self.forgotten += u64::try_from(self.old.len()).unwrap_or(0);
            self.old.clear();
            std::mem::swap(&mut self.young, &mut self.old);
        }
        self.old.remove(&key);
        self.young.entry(key).insert(value).into_mut()
    }

    /// The entry of `key`, made if need be.
    pub(super) fn get_or_put(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.young.contains_key(&key) || self.old.contains_key(&key) {
            if let Some(value) = self.old.remove(&key) {
                return self.put(key, value);
            }
            return self.young.entry(key).or_insert_with(make);
        }
        self.put(key, make())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_no_more_than_its_bound_and_keeps_what_is_used() {
        let mut map = Recent::new(8);
        map.put(1000, "used");
        for key in 0..100 {
            map.put(key, "new");
            assert!(map.len() <= 8);
            assert_eq!(map.get(&1000), Some(&mut "used"), "used all the time");
        }
        assert!(map.get(&0).is_none());
        assert!(map.peek(&99).is_some());
        assert!(map.forgotten() > 80);
    }

    #[test]
    fn replaces_an_old_entry_instead_of_keeping_two() {
        let mut map = Recent::new(4);
        for key in 0..3 {
            map.put(key, 1);
        }
        map.put(0, 2);
        assert_eq!(map.len(), 3);
        assert_eq!(map.get(&0), Some(&mut 2));
    }
}
