//! Endpoints of paths seen lately, so that a path is not walked again.
//!
//! A table of a fixed size, each place used by the path that came last: no list to keep, nothing to evict, no allocation
//! after the first. A path is known by a keyed 64-bit hash of its bytes and the *era* of its service: a number that no two
//! services share and that moves when routes of the service were pruned.

use crate::limits;
use crate::symbol::Symbol;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;

#[derive(Debug)]
struct Entry {
    hash: u64,
    era: u64,
    leaf: usize,
    endpoint: Symbol,
}

/// The table.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Vec<Option<Entry>>,
    state: RandomState,
}

impl Cache {
    pub(super) fn new() -> Self {
        let entries = std::iter::repeat_with(|| None).take(limits::ROUTE_CACHE).collect();
        Self { entries, state: RandomState::default() }
    }

    pub(super) fn hash(&self, path: &str) -> u64 {
        self.state.hash_one(path)
    }

    /// The endpoint of the path with that hash, and the place of its route in the tree of the service.
    pub(super) fn find(&self, hash: u64, era: u64) -> Option<(Symbol, usize)> {
        let entry = self.entries.get(place(hash, era))?.as_ref()?;
        (entry.hash == hash && entry.era == era).then(|| (entry.endpoint.clone(), entry.leaf))
    }

    pub(super) fn put(&mut self, hash: u64, era: u64, leaf: usize, endpoint: Symbol) {
        if let Some(entry) = self.entries.get_mut(place(hash, era)) {
            *entry = Some(Entry { hash, era, leaf, endpoint });
        }
    }
}

fn place(hash: u64, era: u64) -> usize {
    const { assert!(limits::ROUTE_CACHE.is_power_of_two()) };
    let mixed = hash ^ era.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 32).unwrap_or(0) & (limits::ROUTE_CACHE - 1)
}
