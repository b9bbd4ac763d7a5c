//! The tables that the kernel programs and user space share: what the kernel knows of a connection when it emits no
//! record (slots), which slots have news (dirty bits), and what user space asks for (verdicts).
//!
//! Life cycle: [`Slots::map`] maps the three tables of a loaded probe; the drain takes dirty slots now and then, any
//! thread sets verdicts. All methods take `&self`: the tables are words that are swapped, loaded and stored atomically.
//!
//! Ordering against a ring: take the slots first, then the ring's producer position P, drain to P, and only then use
//! what was taken. What the kernel emitted before it wrote the slot is then ahead of it.
//!
//! Absent: system calls after mapping, allocation other than growing the caller's vector to `max`, waiting, time.

use std::io;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use redtap_stages::abi::{EventHeader, MAX_SHARDS, Slot, VERSION, Verdict, flag, kind};
use zerocopy::FromZeros;

use crate::ring::region::{Access, Region};

/// Most slots of one table: 64 MiB of kernel memory.
pub const MAX_SLOTS: usize = 1 << 20;

const WORD: usize = size_of::<u64>();
const SLOT_WORDS: usize = size_of::<Slot>() / WORD;
/// Place of the shard in the slot's last word.
const SHARD_BYTE: usize = offset_of!(Slot, shard) - offset_of!(Slot, closed);
const _: () = assert!(offset_of!(Slot, closed) % WORD == 0);

/// Why the shared tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// The number of slots is not one that the programs can mask with.
    #[error("{slots} slots: must be a power of two, at least 64 and at most {MAX_SLOTS}")]
    Count {
        /// What was asked for.
        slots: usize,
    },
    /// A table could not be mapped.
    #[error("cannot map the table of {table}")]
    Map {
        /// Which table.
        table: &'static str,
        /// What mmap(2) said.
        #[source]
        source: io::Error,
    },
}

/// One shard among all: the connections whose records go to ring `index`. The programs choose it by a hash of both ends
/// that is the same at either, so that both ends of a local connection are in one shard, and say so in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// All connections.
    pub const ONLY: Self = Self { index: 0, count: 1 };

    /// Shard `index` of `count`; `None` unless `index < count <= MAX_SHARDS`.
    #[must_use]
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (index < count && count <= MAX_SHARDS).then_some(Self { index, count })
    }

    fn owns(self, shard: u8) -> bool {
        self.count == 1 || usize::from(shard) == self.index
    }
}

/// What was seen of the slots, since they were mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Dirty slots read.
    pub taken: u64,
    /// Dirty slots that changed hands while they were read: what the former owner did last is not known, and the kernel
    /// may or may not have counted it (`RT_C_SLOT_LOST`).
    pub torn: u64,
    /// Calls that left dirty slots for the next one because `max` was reached.
    pub left_over: u64,
}

/// The mapped tables.
#[derive(Debug)]
pub struct Slots {
    slots: Region,
    dirty: Region,
    verdicts: Region,
    count: usize,
    /// By shard, the dirty word to begin with: where the last call came to its bound.
    next_words: [AtomicUsize; MAX_SHARDS],
    taken: AtomicU64,
    torn: AtomicU64,
    left_over: AtomicU64,
}

impl Slots {
    /// Maps the tables of `count` slots: `rt_slots`, `rt_dirty` and `rt_verdict`, arrays with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// [`SlotsError::Count`] if `count` is not a power of two in `64..=MAX_SLOTS`; otherwise what the kernel says.
    pub fn map(
        slots: BorrowedFd<'_>,
        dirty: BorrowedFd<'_>,
        verdicts: BorrowedFd<'_>,
        count: usize,
    ) -> Result<Self, SlotsError> {
        if !count.is_power_of_two() || !(64..=MAX_SLOTS).contains(&count) {
            return Err(SlotsError::Count { slots: count });
        }
        let page = rustix::param::page_size();
        let table = |table, fd, bytes: usize, access| {
            Region::map(fd, 0, bytes.next_multiple_of(page), access).map_err(|source| SlotsError::Map { table, source })
        };
        Ok(Self {
            slots: table("slots", slots, count.saturating_mul(size_of::<Slot>()), Access::Read)?,
            dirty: table("dirty slots", dirty, count / 64 * WORD, Access::ReadWrite)?,
            verdicts: table("verdicts", verdicts, count.saturating_mul(WORD), Access::ReadWrite)?,
            count,
            next_words: std::array::from_fn(|_| AtomicUsize::new(0)),
            taken: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            left_over: AtomicU64::new(0),
        })
    }

    /// Number of slots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends at most `max` slots that have news to `taken`, marks them read, and says how many. What is left over keeps
    /// its mark, and the next call begins with what this one did not come to.
    ///
    /// A slot may be read while the kernel writes it, and then mix an older and a newer state of the same connection:
    /// every field is a value that the kernel wrote, offsets and turns only grow, and the mark that the kernel sets after
    /// its last write brings the whole state with a later call. A slot that changed hands is skipped and counted.
    pub fn take_dirty(&self, taken: &mut Vec<Slot>, max: usize) -> usize {
        self.take_dirty_of(Shard::ONLY, taken, max)
    }

    /// As [`Slots::take_dirty`], of the connections of one shard only; the others keep their marks for theirs. Each shard
    /// orders its own slots against its own ring.
    pub fn take_dirty_of(&self, shard: Shard, taken: &mut Vec<Slot>, max: usize) -> usize {
        let before = taken.len();
        let words = self.count / 64;
        let next_word = self.next_words.get(shard.index);
        let first = next_word.map_or(0, |word| word.load(Ordering::Relaxed));
        for round in 0..words {
            let word = first.wrapping_add(round) % words;
            let room = max.saturating_sub(taken.len().saturating_sub(before));
            if !self.take_word(shard, word, room, taken) {
                // Behind a word that had its share, even if it was not emptied: busy slots do not starve the others.
                let next = if room == 0 { word } else { word.wrapping_add(1) % words };
                if let Some(next_word) = next_word {
                    next_word.store(next, Ordering::Relaxed);
                }
                self.left_over.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        let count = taken.len().saturating_sub(before);
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        count
    }

    /// Takes the shard's slots of one dirty word; false if there were more than `room`.
    fn take_word(&self, shard: Shard, word: usize, room: usize, taken: &mut Vec<Slot>) -> bool {
        let Some(marks) = self.dirty.word(word.saturating_mul(WORD)) else { return true };
        // Almost every word is zero: look before writing.
        let ours = self.marks_of(shard, word, marks.load(Ordering::Relaxed));
        if ours == 0 {
            return true;
        }
        if room == 0 {
            return false;
        }
        // Acquire: pairs with the programs' atomic or, which comes after their writes to the slot.
        let mut marked = marks.fetch_and(!ours, Ordering::Acquire) & ours;
        let limit = taken.len().saturating_add(room);
        let mut back = 0_u64;
        while marked != 0 && taken.len() < limit {
            let mark = marked & marked.wrapping_neg();
            marked &= !mark;
            match self.read(slot_index(word, mark)) {
                Some(slot) if shard.owns(slot.shard) => taken.push(slot),
                // It went to a connection of another shard since the look above.
                Some(_) => back |= mark,
                None => {
                    self.torn.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if marked | back != 0 {
            marks.fetch_or(marked | back, Ordering::Relaxed);
        }
        marked == 0
    }

    /// Which of `marks` are of slots that belong to the shard now.
    fn marks_of(&self, shard: Shard, word: usize, marks: u64) -> u64 {
        if shard.count == 1 {
            return marks;
        }
        let (mut left, mut ours) = (marks, 0);
        while left != 0 {
            let mark = left & left.wrapping_neg();
            left &= !mark;
            let at = slot_index(word, mark).saturating_mul(size_of::<Slot>());
            let owner = self.slots.load_relaxed(at);
            let tail = self.slots.load_relaxed(at.saturating_add(offset_of!(Slot, closed)));
            let whose = tail.and_then(|tail| tail.to_ne_bytes().get(SHARD_BYTE).copied());
            // Nobody's: the kernel is handing it over and marks it again when it is done.
            if owner.is_some_and(|owner| owner != 0) && whose.is_some_and(|whose| shard.owns(whose)) {
                ours |= mark;
            }
        }
        ours
    }

    /// The slot at `index`; `None` if it belongs to nobody or changed hands meanwhile.
    fn read(&self, index: usize) -> Option<Slot> {
        let at = index.checked_mul(size_of::<Slot>())?;
        let mut words = [0_u64; SLOT_WORDS];
        for (position, word) in words.iter_mut().enumerate() {
            *word = self.slots.load_relaxed(at.checked_add(position.checked_mul(WORD)?)?)?;
        }
        // The loads above stay above the one below.
        fence(Ordering::Acquire);
        let slot: Slot = zerocopy::transmute!(words);
        let owner = self.slots.load_relaxed(at)?;
        let whole = slot.conn_id != 0 && owner == slot.conn_id && self.index(owner) == index;
        whole.then_some(slot)
    }

    /// Asks the kernel programs for `verdict` from the connection's next operation on. If the slot belongs to a newer
    /// connection by now, its verdict is overwritten and it goes on with the defaults: the programs compare the id, and keep for
    /// the connection what they have once seen.
    pub fn set_verdict(&self, verdict: Verdict) {
        let at = self.index(verdict.conn_id).saturating_mul(WORD);
        if let Some(word) = self.verdicts.word(at) {
            // One word, and nothing else that would have to be seen with it.
            word.store(verdict.word(), Ordering::Relaxed);
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> SlotCounts {
        SlotCounts {
            taken: self.taken.load(Ordering::Relaxed),
            torn: self.torn.load(Ordering::Relaxed),
            left_over: self.left_over.load(Ordering::Relaxed),
        }
    }

    fn index(&self, conn_id: u64) -> usize {
        let mask = (self.count as u64).wrapping_sub(1);
        usize::try_from(conn_id & mask).unwrap_or(0)
    }
}

/// The slot that a single mark in a dirty word stands for.
fn slot_index(word: usize, mark: u64) -> usize {
    word.saturating_mul(64).saturating_add(mark.trailing_zeros() as usize)
}

/// The event that stands for what a slot says: PROGRESS, or CLOSE once the connection is closed. Without payload,
/// addresses and process: these came with the connection's records.
#[must_use]
pub fn progress_event(slot: &Slot) -> EventHeader {
    let [ingress, egress] = [0, 1].map(|dir: usize| {
        let offset = slot.offset.get(dir).copied().unwrap_or(0);
        (offset, slot.ts_ns.get(dir).copied().unwrap_or(0))
    });
    let (this, other) = if slot.turn & 1 == 0 { (ingress, egress) } else { (egress, ingress) };
    let mut event = EventHeader::new_zeroed();
    event.version = VERSION;
    event.kind = if slot.closed == 0 { kind::PROGRESS } else { kind::CLOSE };
    event.detail = slot.closed;
    event.dir = u8::from(slot.turn & 1 != 0);
    event.flags = if slot.first == 0 { 0 } else { flag::FIRST };
    event.role = slot.role;
    event.transport = slot.transport;
    event.conn_id = slot.conn_id;
    (event.offset, event.ts_ns) = this;
    (event.other_offset, event.other_ts_ns) = other;
    event.unseen = slot.unseen;
    event.turn = u32::try_from(slot.turn >> 1).unwrap_or(u32::MAX);
    event
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use redtap_stages::abi::reason;

    use super::*;

    fn slot() -> Slot {
        Slot {
            conn_id: 7,
            offset: [100, 2000],
            ts_ns: [11, 22],
            turn: 3 << 1 | 1,
            unseen: 5,
            told: 4,
            closed: 0,
            role: 2,
            transport: 1,
            shard: 0,
            first: 0,
            pad: [0; 3],
        }
    }

    #[test]
    fn progress_tells_the_turns_direction_first_and_the_other_beside_it() {
        let event = progress_event(&slot());
        assert_eq!((event.version, event.kind, event.dir, event.detail), (VERSION, kind::PROGRESS, 1, 0));
        assert_eq!((event.offset, event.ts_ns), (2000, 22));
        assert_eq!((event.other_offset, event.other_ts_ns), (100, 11));
        assert_eq!((event.conn_id, event.unseen, event.turn, event.role, event.transport), (7, 5, 3, 2, 1));
        assert_eq!((event.len, event.cap_len, event.pid), (0, 0, 0));
        assert_eq!(event.flags, 0);
        assert_eq!(progress_event(&Slot { first: 1, ..slot() }).flags, flag::FIRST);
        let ingress = progress_event(&Slot { turn: 3 << 1, ..slot() });
        assert_eq!((ingress.dir, ingress.offset, ingress.other_offset), (0, 100, 2000));
    }

    #[test]
    fn a_closed_slot_is_a_close_with_its_reason() {
        let event = progress_event(&Slot { closed: reason::RESET, ..slot() });
        assert_eq!((event.kind, event.detail), (kind::CLOSE, reason::RESET));
    }
}
