//! What was found lately, so that it is not looked for again: endpoints of paths, names of exchanges.
//!
//! A table of a fixed size, each place used by what came last: no list to keep, nothing to evict, no allocation after the
//! first. What was looked for is known by a keyed 64-bit hash of its bytes and the *era* of its service: a number that no two
//! services share and that moves when routes of the service were pruned.

use foldhash::fast::{FoldHasher, RandomState};
use std::hash::{BuildHasher, Hasher as _};

#[derive(Debug)]
struct Entry<T> {
    hash: u64,
    era: u64,
    leaf: usize,
    found: T,
}

/// The table, of `N` (a power of two) entries.
#[derive(Debug)]
pub(super) struct Cache<T, const N: usize> {
    entries: Vec<Option<Entry<T>>>,
    state: RandomState,
}

impl<T, const N: usize> Cache<T, N> {
    pub(super) fn new() -> Self {
        Self { entries: std::iter::repeat_with(|| None).take(N).collect(), state: RandomState::default() }
    }

    /// The hash of some texts and a number.
    pub(super) fn hash<const TEXTS: usize>(&self, texts: [&[u8]; TEXTS], number: u64) -> u64 {
        let mut hasher: FoldHasher<'_> = self.state.build_hasher();
        hasher.write_u64(number);
        for text in texts {
            // With its length, so that no two rows of texts are the same bytes.
            hasher.write_usize(text.len());
            hasher.write(text);
        }
        hasher.finish()
    }

    /// What was found for that hash, and the place of its route in the tree of the service.
    pub(super) fn find(&self, hash: u64, era: u64) -> Option<(&T, usize)> {
        let entry = self.entries.get(place::<N>(hash, era))?.as_ref()?;
        (entry.hash == hash && entry.era == era).then_some((&entry.found, entry.leaf))
    }

    pub(super) fn put(&mut self, hash: u64, era: u64, leaf: usize, found: T) {
        if let Some(entry) = self.entries.get_mut(place::<N>(hash, era)) {
            *entry = Some(Entry { hash, era, leaf, found });
        }
    }

    /// Forgets all, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.entries.iter_mut().for_each(|entry| *entry = None);
    }
}

fn place<const N: usize>(hash: u64, era: u64) -> usize {
    const { assert!(N.is_power_of_two()) };
    let mixed = hash ^ era.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 32).unwrap_or(0) & (N - 1)
}
