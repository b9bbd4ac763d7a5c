//! What is remembered of connections that left the table: that they closed, or where a forgotten one stood.
//!
//! Bounded at [`MAX_PAST`] entries, found by the kernel's sequential number: the entry of a connection gives way to one
//! whose number is congruent. A connection that has lost its entry, closed or forgotten, is opened anew by its next record
//! and stands there: nothing before it is said twice.

use super::turns::Progress;

/// Connections remembered after they left the table. A power of two.
pub const MAX_PAST: usize = 16_384;

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u64,
    /// `None`: closed.
    stood: Option<Progress>,
}

/// What became of a connection that is not in the table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Past {
    /// Nothing known: a new one, or one whose entry gave way.
    Unknown,
    /// Closed: nothing more can come.
    Closed,
    /// Forgotten at this point.
    Forgotten(Progress),
}

/// The memory of what left the table.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Grows to its bound as numbers come.
    entries: Vec<Option<Entry>>,
    /// Entries that gave way to others.
    displaced: u64,
}

impl Memory {
    pub(super) fn of(&self, id: u64) -> Past {
        match self.entries.get(place(id)).copied().flatten() {
            Some(entry) if entry.id == id => entry.stood.map_or(Past::Closed, Past::Forgotten),
            _ => Past::Unknown,
        }
    }

    pub(super) fn closed(&mut self, id: u64) {
        self.put(Entry { id, stood: None });
    }

    pub(super) fn forgotten(&mut self, id: u64, at: Progress) {
        self.put(Entry { id, stood: Some(at) });
    }

    /// Entries that gave way to others.
    pub(super) fn displaced(&self) -> u64 {
        self.displaced
    }

    fn put(&mut self, entry: Entry) {
        let place = place(entry.id);
        if self.entries.len() <= place {
            self.entries.resize(place + 1, None);
        }
        if let Some(slot) = self.entries.get_mut(place) {
            let former = slot.replace(entry);
            self.displaced += u64::from(former.is_some_and(|former| former.id != entry.id));
        }
    }
}

fn place(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX) & (MAX_PAST - 1)
}
