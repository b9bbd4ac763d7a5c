//! The history: what every series gained in each step of the last hour (5 s) and of the last day (1 min), in memory.
//!
//! [`Recorder`] has a thread of its own that copies the registry at each multiple of 5 s of the wall clock; a minute is
//! made of its twelve steps. Who looks back ([`crate::reports::Reports`], which [`History`] implements) copies pointers to
//! the steps under the lock, and reads them outside of it. Life cycle: [`History::new`], what a file holds
//! ([`History::load`]), [`Recorder::start`], [`Recorder::stop`], which records and saves once more.
//!
//! A step that nobody recorded is not there, which is not the same as nothing gained. What was gained while the agent did
//! not record is in the first step after. When the wall clock is set back, the steps that lie in the future then are
//! dropped.
//!
//! **Invariant:** for each series, what its kept and dropped steps hold is what its counter gained, but for what was
//! refused.
//!
//! Bounds: `history.memory`; past it the oldest steps go first, and names of series take [`NAMES_SHARE`] of it at most, past
//! which new series are not recorded. Both are counted in [`HistoryStats`] (`redtap_history_*`). The copy of the registry
//! that a recording makes is not in it, nor what a report takes while it is made.
//! Absent: sums of durations, the agent's own metrics.

mod block;
mod durations;
mod file;
mod recorder;
mod report;
mod series;
mod service;
mod services;
mod topology;
mod view;

pub use block::BlockError;
pub use file::FileError;
pub use recorder::{Recorder, SAVE_EVERY};
pub use view::MAX_STEPS;

// What reports of a fleet are made with as well.
pub(crate) use block::{BUCKETS, Gain, add};
pub(crate) use durations::{Bounds, Durations};
pub(crate) use series::Named;
pub(crate) use service::service;
pub(crate) use services::services;
pub(crate) use topology::{Edges, Sums, assemble};
pub(crate) use view::{Recorded, View};

use crate::registry::Snapshot;
use block::Block;
use parking_lot::Mutex;
use series::Dictionary;
use std::collections::VecDeque;
use std::path::Path;

/// Seconds of a fine step.
pub const FINE: u32 = 5;
/// Seconds of a coarse step: a multiple of [`FINE`].
pub const COARSE: u32 = 60;
/// Seconds that fine steps are kept: an hour that ends at a multiple of a minute is whole at any time.
pub const FINE_KEPT: u32 = 3_660;
/// Seconds that coarse steps are kept.
pub const COARSE_KEPT: u32 = 86_400;
/// The names of series take at most one part in so many of the memory.
pub const NAMES_SHARE: usize = 2;
/// Least and most memory that can be asked for, bytes.
pub const MEMORY: std::ops::RangeInclusive<usize> = (1 << 20)..=(4 << 30);

/// What the history did, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryStats {
    /// Recordings made.
    pub recordings: u64,
    /// Steps of 5 s that passed without a recording, between the first and the last.
    pub missed: u64,
    /// Steps dropped before their time because the memory was full, or because the clock was set back.
    pub dropped: u64,
    /// Times that a series was left out of a recording because there was no room for its name.
    pub refused: u64,
    /// Series that it has names of.
    pub series: u64,
    /// Steps that it holds, of both kinds.
    pub steps: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Times that it was saved.
    pub saved: u64,
    /// Times that it could not be saved.
    pub save_errors: u64,
}

/// Steps of one length, oldest first.
#[derive(Debug)]
struct Tier {
    step: u32,
    kept: u32,
    blocks: VecDeque<Block>,
    /// Bytes of the blocks.
    cost: usize,
}

impl Tier {
    fn new(step: u32, kept: u32) -> Self {
        Self { step, kept, blocks: VecDeque::new(), cost: 0 }
    }

    fn oldest(&self) -> Option<i64> {
        self.blocks.front().map(|block| block.start)
    }

    fn last(&self) -> Option<i64> {
        self.blocks.back().map(|block| block.start)
    }

    fn push(&mut self, block: Block) {
        debug_assert!(self.last().is_none_or(|last| last < block.start), "steps ascend");
        self.cost += block.cost();
        let end = block.start;
        self.blocks.push_back(block);
        // What is too old is not dropped before its time.
        while self.oldest().is_some_and(|oldest| oldest <= end - i64::from(self.kept)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(block) = self.blocks.pop_front() {
            self.cost -= block.cost();
        }
    }

    /// Drops what begins at `start` or later; how many.
    fn drop_from(&mut self, start: i64) -> u64 {
        let mut dropped = 0;
        while self.last().is_some_and(|last| last >= start) {
            if let Some(block) = self.blocks.pop_back() {
                self.cost -= block.cost();
                dropped += 1;
            }
        }
        dropped
    }
}

#[derive(Debug)]
struct Inner {
    memory: usize,
    dictionary: Dictionary,
    fine: Tier,
    coarse: Tier,
    stats: HistoryStats,
}

/// The history. Share it in an `Arc`.
#[derive(Debug)]
pub struct History {
    inner: Mutex<Inner>,
}

impl History {
    /// An empty one that takes at most so many bytes (brought into [`MEMORY`]).
    #[must_use]
    pub fn new(memory: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                memory: memory.clamp(*MEMORY.start(), *MEMORY.end()),
                dictionary: Dictionary::default(),
                fine: Tier::new(FINE, FINE_KEPT),
                coarse: Tier::new(COARSE, COARSE_KEPT),
                stats: HistoryStats::default(),
            }),
        }
    }

    /// Adds the step that ends at `end` (seconds since the epoch; brought down to a multiple of [`FINE`]): what each series
    /// gained since the last recording. Does nothing if that step is there already: its gains will be in the next.
    pub fn record(&self, end: i64, snapshot: &Snapshot) {
        self.inner.lock().record(end, snapshot);
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> HistoryStats {
        let inner = self.inner.lock();
        HistoryStats {
            series: inner.dictionary.len() as u64,
            steps: (inner.fine.blocks.len() + inner.coarse.blocks.len()) as u64,
            bytes: inner.cost() as u64,
            ..inner.stats
        }
    }

    /// Takes what a file holds, if there is one. Call it before anything is recorded. True: there was one.
    ///
    /// # Errors
    /// The file is there, and cannot be read or is none of ours; the history stays as it was.
    pub fn load(&self, path: &Path) -> Result<bool, FileError> {
        let mut inner = self.inner.lock();
        let Some(kept) = file::read(path, inner.memory)? else { return Ok(false) };
        inner.restore(kept);
        Ok(true)
    }

    /// Writes all of it to a file, which is whole at any moment: the old one or the new one.
    ///
    /// # Errors
    /// The file cannot be written; the old one stays.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let kept = self.inner.lock().keep();
        let saved = file::write(path, &kept);
        let mut inner = self.inner.lock();
        match saved {
            Ok(()) => inner.stats.saved += 1,
            Err(_) => inner.stats.save_errors += 1,
        }
        saved
    }
}

impl Inner {
    fn cost(&self) -> usize {
        self.dictionary.cost() + self.fine.cost + self.coarse.cost
    }

    fn record(&mut self, end: i64, snapshot: &Snapshot) {
        let start = floor(end, FINE) - i64::from(FINE);
        if self.fine.last() == Some(start) {
            return;
        }
        if self.fine.last().is_some_and(|last| last > start) {
            // The clock was set back. The minute that this step is in begins anew as well.
            self.stats.dropped += self.fine.drop_from(start) + self.coarse.drop_from(floor(start, COARSE));
        }
        if let Some(last) = self.fine.last() {
            let steps = (start - last) / i64::from(FINE);
            self.stats.missed += u64::try_from(steps).unwrap_or(0).saturating_sub(1);
            self.finish_minute_before(start);
        }
        let block = self.gains(start, snapshot);
        self.make_room_for(&block);
        self.fine.push(block);
        self.stats.recordings += 1;
        if (start + i64::from(FINE)) % i64::from(COARSE) == 0 {
            self.finish_minute_before(start + i64::from(FINE));
        }
    }

    fn gains(&mut self, start: i64, snapshot: &Snapshot) -> Block {
        let most = self.memory / NAMES_SHARE;
        self.dictionary.begin_round();
        let mut gains: Vec<(u32, Gain)> = Vec::new();
        for sample in snapshot.families.iter().flatten() {
            match self.dictionary.gained(sample, most) {
                Some((id, gain)) if gain.iter().any(|&n| n > 0) => gains.push((id, gain)),
                Some(_) => {}
                None => self.stats.refused += 1,
            }
        }
        self.dictionary.end_round();
        // One that began anew under the same name may be there twice.
        let gains = ordered(gains);
        for &(id, _) in &gains {
            self.dictionary.named_at(id, start);
        }
        Block::of(start, gains)
    }

    /// Makes the coarse step of the last minute that has fine steps, if it ended by `now` and is not there yet.
    fn finish_minute_before(&mut self, now: i64) {
        let Some(last) = self.fine.last() else { return };
        let minute = floor(last, COARSE);
        if minute + i64::from(COARSE) > now || self.coarse.last().is_some_and(|last| last >= minute) {
            return;
        }
        let first = self.fine.blocks.partition_point(|block| block.start < minute);
        let blocks: Vec<Block> = self.fine.blocks.iter().skip(first).cloned().collect();
        let merged = Block::merged(minute, &blocks);
        self.make_room_for(&merged);
        self.coarse.push(merged);
        self.dictionary.forget_before(self.oldest().unwrap_or(i64::MAX));
    }

    /// Beginning of the oldest step.
    fn oldest(&self) -> Option<i64> {
        self.fine.oldest().into_iter().chain(self.coarse.oldest()).min()
    }

    fn make_room_for(&mut self, block: &Block) {
        self.make_room(block.cost(), block.start);
    }

    /// Drops the oldest steps until so many bytes fit. Names that a step from `named_from` on uses are kept.
    fn make_room(&mut self, bytes: usize, named_from: i64) {
        let mut dropped = 0;
        while self.cost().saturating_add(bytes) > self.memory {
            match (self.fine.oldest(), self.coarse.oldest()) {
                (None, None) => break,
                (Some(fine), Some(coarse)) if coarse <= fine => self.coarse.drop_oldest(),
                (None, Some(_)) => self.coarse.drop_oldest(),
                (Some(_), _) => self.fine.drop_oldest(),
            }
            dropped += 1;
        }
        if dropped > 0 {
            self.stats.dropped += dropped;
            self.dictionary.forget_before(self.oldest().unwrap_or(i64::MAX).min(named_from));
        }
    }

    fn keep(&self) -> file::Kept {
        file::Kept {
            names: self.dictionary.names(),
            fine: self.fine.blocks.iter().cloned().collect(),
            coarse: self.coarse.blocks.iter().cloned().collect(),
        }
    }

    fn restore(&mut self, kept: file::Kept) {
        let most = self.memory / NAMES_SHARE;
        let mut dictionary = Dictionary::default();
        // New numbers: those of the file may have holes. One without a name, or without room, is left out of the steps.
        let numbers: Vec<Option<u32>> = kept
            .names
            .into_iter()
            .map(|named| dictionary.number(named.map(std::sync::Arc::unwrap_or_clone)?, most))
            .collect();
        let mut tiers = [Tier::new(FINE, FINE_KEPT), Tier::new(COARSE, COARSE_KEPT)];
        for (tier, blocks) in tiers.iter_mut().zip([kept.fine, kept.coarse]) {
            for block in blocks {
                let numbered = |(id, gain)| Some(((*numbers.get(usize::try_from(id).ok()?)?)?, gain));
                let entries = ordered(block.entries().filter_map(numbered).collect());
                entries.iter().for_each(|&(id, _)| dictionary.named_at(id, block.start));
                tier.push(Block::of(block.start, entries));
            }
        }
        let [fine, coarse] = tiers;
        self.dictionary = dictionary;
        self.fine = fine;
        self.coarse = coarse;
        self.make_room(0, i64::MAX);
    }
}

/// In ascending order, each series once.
fn ordered(mut gains: Vec<(u32, Gain)>) -> Vec<(u32, Gain)> {
    gains.sort_unstable_by_key(|&(id, _)| id);
    gains.dedup_by(|next, first| {
        let same = next.0 == first.0;
        if same {
            block::add(&mut first.1, &next.1);
        }
        same
    });
    gains
}

/// Now, seconds since the epoch.
pub(crate) fn wall_seconds() -> i64 {
    let wall = i128::from(crate::clock::monotonic().0) + i128::from(crate::clock::wall_offset_ns());
    i64::try_from(wall / 1_000_000_000).unwrap_or(0)
}

/// The multiple of `step` at or before a time.
pub(crate) fn floor(at: i64, step: u32) -> i64 {
    at - at.rem_euclid(i64::from(step))
}

#[cfg(test)]
mod tests;
