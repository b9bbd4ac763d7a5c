//! A map that keeps what was used lately.
//!
//! Two generations: what is used is in the young one (or comes back to it); when the young one is half of the bound, the old
//! one is forgotten and the young one becomes old. So at most `bound` entries are held, whatever was used among the last
//! `bound / 2` different keys is still there, and nothing is ever moved but by use. What was used lately is found with one
//! look.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::{BuildHasher, Hash};

/// The map.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashTable<(K, V)>,
    old: HashTable<(K, V)>,
    state: RandomState,
    half: usize,
    forgotten: u64,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// An empty map for at most `bound` (at least 2) entries.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            state: RandomState::default(),
            half: (bound / 2).max(1),
            forgotten: 0,
        }
    }

    /// Entries forgotten because of the bound.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Forgets all, not because of the bound.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// The entry of `key`, used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.state.hash_one(key);
        if let Some(at) = self.young.find_bucket_index(hash, |(other, _)| other == key) {
            return self.young.get_bucket_mut(at).map(|(_, value)| value);
        }
        let value = take(&mut self.old, hash, key)?;
        Some(self.put(*key, value))
    }

    /// The entry of `key`, not counted as used.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        let hash = self.state.hash_one(key);
        let is = |(other, _): &(K, V)| other == key;
        self.young.find(hash, is).or_else(|| self.old.find(hash, is)).map(|(_, value)| value)
    }

    /// Sets the entry of `key`.
    pub(crate) fn put(&mut self, key: K, value: V) -> &mut V {
        let hash = self.state.hash_one(key);
        take(&mut self.old, hash, &key);
        self.make_room(hash, &key);
        let state = &self.state;
        match self.young.entry(hash, |(other, _)| *other == key, |(other, _)| state.hash_one(other)) {
            Entry::Occupied(entry) => {
                let (_, place) = entry.into_mut();
                *place = value;
                place
            }
            Entry::Vacant(place) => &mut place.insert((key, value)).into_mut().1,
        }
    }

    /// The entry of `key`, made if need be.
    pub(crate) fn get_or_put(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.state.hash_one(key);
        if self.young.find(hash, |(other, _)| *other == key).is_none() {
            let value = take(&mut self.old, hash, &key).unwrap_or_else(make);
            return self.put(key, value);
        }
        let state = &self.state;
        match self.young.entry(hash, |(other, _)| *other == key, |(other, _)| state.hash_one(other)) {
            Entry::Occupied(entry) => &mut entry.into_mut().1,
            // Not reached: it was found right now.
            Entry::Vacant(place) => &mut place.insert((key, make())).into_mut().1,
        }
    }

    /// Lets a generation go if the young one is full and does not hold `key`.
    fn make_room(&mut self, hash: u64, key: &K) {
        if self.young.len() >= self.half && self.young.find(hash, |(other, _)| other == key).is_none() {
            self.forgotten += u64::try_from(self.old.len()).unwrap_or(0);
            self.old.clear();
            std::mem::swap(&mut self.young, &mut self.old);
        }
    }
}

fn take<K: Eq, V>(table: &mut HashTable<(K, V)>, hash: u64, key: &K) -> Option<V> {
    let entry = table.find_entry(hash, |(other, _)| other == key).ok()?;
    let ((_, value), _) = entry.remove();
    Some(value)
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
