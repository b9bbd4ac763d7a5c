//! The dynamic table (RFC 7541, sections 2.3 and 4), and what is known of it.
//!
//! An index counts from the newest entry, so entries that were seen are found whatever came before them: a table that was
//! joined late, or of which something was missed, begins empty, and what lies behind its known entries is unknown. To hold
//! an entry longer than the peer does is harmless, because nothing refers to it any more; to drop one that the peer holds
//! makes it unknown. So an entry is never wrong, only absent.
//!
//! Life cycle: entries come at the front with what is kept of their value in one row of bytes, and leave at the back.
//! Absent: names and values that nobody asks for; they are counted, not kept.

use super::names::Name;
use std::collections::VecDeque;

/// Size that a table begins with (RFC 9113, section 6.5.2).
pub(super) const INITIAL: u32 = 4_096;
/// Size, as the specification counts it, up to which entries are kept. A peer may allow more; what is behind is unknown.
pub const MAX_TABLE: u32 = 65_536;
/// What each entry counts besides its texts (RFC 7541, section 4.1).
const OVERHEAD: u32 = 32;

/// An entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) name_len: u32,
    size: u32,
    /// Bytes of the value that are kept.
    kept: u16,
    /// They are all of it.
    whole: bool,
    /// Where they begin, counted from the first byte ever kept.
    at: u64,
}

impl Entry {
    /// True if all of its value is kept.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }
}

/// The table of one direction.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest at the back.
    entries: VecDeque<Entry>,
    values: VecDeque<u8>,
    /// Bytes that have left `values`.
    gone: u64,
    size: u32,
    limit: u32,
}

impl Default for Table {
    /// One of which nothing is known.
    fn default() -> Self {
        Self { entries: VecDeque::new(), values: VecDeque::new(), gone: 0, size: 0, limit: MAX_TABLE }
    }
}

impl Table {
    /// Forgets everything: what the peer holds is unknown, and so is its size.
    pub(super) fn forget(&mut self) {
        self.limit = 0;
        self.evict();
        self.limit = MAX_TABLE;
    }

    /// The connection begins: the table is empty, and of the usual size.
    pub(super) fn begin(&mut self) {
        self.forget();
        self.limit = INITIAL;
    }

    /// The encoder's word on the size (section 6.3).
    pub(super) fn resize(&mut self, size: u32) {
        self.limit = size.min(MAX_TABLE);
        self.evict();
    }

    /// The peer allows that much: the encoder may use it.
    pub(super) fn allow(&mut self, size: u32) {
        self.limit = self.limit.max(size.min(MAX_TABLE));
    }

    /// Puts a field in front. It is kept even if larger than the whole table, where the specification (section 4.4) keeps
    /// none: the entry is then older than all others the peer has, or the limit known here is not the true one.
    pub(super) fn insert(&mut self, name: Name, name_len: u32, value: &[u8], value_len: u32) {
        let size = name_len.saturating_add(value_len).saturating_add(OVERHEAD);
        let at = self.gone.saturating_add(self.values.len() as u64);
        self.values.extend(value);
        let kept = u16::try_from(value.len()).unwrap_or(0);
        let whole = value.len() as u64 == u64::from(value_len) && name != Name::Unknown;
        self.entries.push_back(Entry { name, name_len, size, kept, whole, at });
        self.size = self.size.saturating_add(size);
        self.evict();
    }

    /// The entry that `index` names, counted from the newest, which is 0.
    pub(super) fn entry(&self, index: u32) -> Option<Entry> {
        let last = self.entries.len().checked_sub(1)?;
        self.entries.get(last.checked_sub(usize::try_from(index).ok()?)?).copied()
    }

    /// What is kept of its value.
    pub(super) fn value(&self, entry: Entry) -> impl Iterator<Item = u8> {
        let from = entry.at.checked_sub(self.gone).and_then(|from| usize::try_from(from).ok());
        let from = from.unwrap_or(usize::MAX);
        self.values.iter().skip(from).take(usize::from(entry.kept)).copied()
    }

    fn evict(&mut self) {
        while self.size > self.limit && (self.entries.len() > 1 || self.limit == 0 || self.size > MAX_TABLE) {
            let Some(entry) = self.entries.pop_front() else {
                self.size = 0;
                return;
            };
            self.size = self.size.saturating_sub(entry.size);
            let kept = usize::from(entry.kept).min(self.values.len());
            self.values.drain(..kept);
            self.gone += kept as u64;
        }
    }

    #[cfg(test)]
    pub(super) fn shape(&self) -> (usize, u32) {
        (self.entries.len(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(table: &Table, index: u32) -> Option<String> {
        let entry = table.entry(index)?;
        Some(String::from_utf8(table.value(entry).collect()).unwrap())
    }

    #[test]
    fn counts_from_the_newest_and_drops_the_oldest() {
        let mut table = Table::default();
        table.begin();
        for n in 0..200 {
            table.insert(Name::Path, 5, format!("/{n:04}").as_bytes(), 5);
        }
        assert_eq!(table.shape(), (97, 97 * 42), "what fits into 4096");
        assert_eq!(value(&table, 0).unwrap(), "/0199");
        assert_eq!(value(&table, 96).unwrap(), "/0103");
        assert_eq!(value(&table, 97), None);
        table.resize(84);
        assert_eq!((table.shape(), value(&table, 1).unwrap()), ((2, 84), "/0198".into()));
        table.resize(0);
        assert_eq!(table.shape(), (0, 0));
    }

    #[test]
    fn holds_a_field_of_unknown_size_no_longer_than_the_bound() {
        let mut table = Table::default();
        for _ in 0..10_000 {
            table.insert(Name::Other, 0, b"", 0);
        }
        assert_eq!(table.shape().0, (MAX_TABLE / OVERHEAD) as usize);
        table.insert(Name::Other, 1, b"", u32::MAX - 1);
        assert!(table.shape().0 <= 1);
        table.insert(Name::Other, 1, b"", 1);
        assert_eq!(table.entry(0).unwrap().name_len, 1);
    }
}
