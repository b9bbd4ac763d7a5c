//! What waits to be sent, in memory or on disk: in order, within a bound, each batch handed out to one sender at a time.
//!
//! A batch is handed out only when no earlier one of its shard is waiting or on its way. Batches of an agent that had
//! another number of shards are barriers: they wait for all before them, and all after them wait for them.
//!
//! **Invariant:** what the account calls pending is what is in here: each batch is counted as gathered when it comes, and as
//! delivered or not when it goes. A batch that is on its way is not dropped, whatever the bound.
//!
//! Bound: `most` bytes; then the oldest goes (on disk a whole segment, a sixteenth of the bound), counted as `overflow`. Absent:
//! threads, time, sending.

use super::collect::Batch;
use super::encode::newest_ms;
use super::spool::{Found, MAX_RECORD, Place, Spool, SpoolError, WINDOW};
use crate::export::{Account, Reason};
use bytes::Bytes;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// A batch on its way.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) samples: u32,
    pub(super) packed: Bytes,
    /// Of its samples.
    at_ms: i64,
}

/// Batches of another agent that are tried for the time of its newest.
const MAX_UNREADABLE: usize = 16;

/// What waits.
#[derive(Debug)]
pub(super) struct Queue {
    account: Arc<Account>,
    entries: VecDeque<Entry>,
    next: u64,
    shards: u16,
    most: u64,
    /// Of batches in memory.
    bytes: u64,
    spool: Option<Spool>,
    /// Told once, until it works again.
    broken: bool,
    /// Time of the newest batch of which the receiver took anything, as far as it says so: one of 1.0 that takes a part and refuses the rest
    /// (400) says nothing.
    taken_ms: i64,
    /// Nothing more is sent: what comes now is not kept in memory.
    over: bool,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    samples: u32,
    shard: u16,
    of: u16,
    /// Milliseconds since the epoch; of what another agent left, that of the newest of it.
    at_ms: i64,
    kept: Kept,
    out: bool,
}

#[derive(Debug)]
enum Kept {
    Memory(Bytes),
    Disk(Place),
    /// Only its sender has it.
    Nowhere,
}

impl Queue {
    /// One in memory.
    pub(super) fn in_memory(account: Arc<Account>, shards: u16, most: usize) -> Self {
        let most = most as u64;
        let entries = VecDeque::new();
        Self { account, entries, next: 1, shards, most, bytes: 0, spool: None, broken: false, taken_ms: 0, over: false }
    }

    /// One on disk, with what another agent left there.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(super) fn on_disk(account: Arc<Account>, shards: u16, most: usize, folder: &Path) -> Result<Self, SpoolError> {
        let (spool, Found { batches, next, unreadable }) = Spool::open(folder, most)?;
        // Nobody knows how many samples they held.
        account.gathered(unreadable);
        account.undelivered(Reason::Unreadable, unreadable);
        let mut queue = Self::in_memory(account, shards, most);
        // Batches wait in order of time. One that cannot be read is found out when it is its turn.
        let time = |place: &Place| newest_ms(&spool.read(*place).ok().flatten()?);
        let newest = batches.iter().rev().take(MAX_UNREADABLE).find_map(|(_, place)| time(place));
        if newest.is_none() && !batches.is_empty() {
            tracing::warn!(
                "the newest batches in remote_write.spool cannot be read: what follows may be older than they are"
            );
        }
        let at_ms = newest.unwrap_or(0);
        for (head, place) in batches {
            queue.account.gathered(u64::from(head.samples));
            queue.entries.push_back(Entry {
                number: head.number,
                samples: head.samples,
                shard: head.shard,
                of: head.of,
                at_ms,
                kept: Kept::Disk(place),
                out: false,
            });
        }
        queue.next = next;
        queue.spool = Some(spool);
        Ok(queue)
    }

    /// Samples that wait or are on their way.
    pub(super) fn pending(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.samples)).sum()
    }

    /// The newest time that the receiver has samples of, or will have when it takes what waits; 0: of none. What comes must be newer.
    pub(super) fn newest_ms(&self) -> i64 {
        self.entries.iter().map(|entry| entry.at_ms).fold(self.taken_ms, i64::max)
    }

    /// What was sent had times that were wrong, or the receiver would not have been asked to take them: from now on it is as if the newest had
    /// been of `now_ms`.
    pub(super) fn believe(&mut self, now_ms: i64) {
        self.taken_ms = self.taken_ms.min(now_ms);
        self.entries.iter_mut().for_each(|entry| entry.at_ms = entry.at_ms.min(now_ms));
    }

    /// So many samples were gathered and cannot be sent, being older than what the receiver has.
    pub(super) fn out_of_order(&self, samples: u64) {
        self.account.gathered(samples);
        self.account.undelivered(Reason::OutOfOrder, samples);
    }

    /// Takes a batch.
    pub(super) fn push(&mut self, batch: Batch) {
        let samples = u64::from(batch.samples);
        self.account.gathered(samples);
        if self.over && self.spool.is_none() {
            self.account.undelivered(Reason::Ended, samples);
            return;
        }
        let cost = Spool::cost(batch.packed.len());
        if cost > self.most || batch.packed.len() > MAX_RECORD || !self.make_room(cost) {
            self.account.undelivered(Reason::Overflow, samples);
            return;
        }
        let (samples, shard, at_ms) = (batch.samples, batch.shard, batch.at_ms);
        let kept = match &mut self.spool {
            None => {
                self.bytes += cost;
                Kept::Memory(batch.packed)
            }
            Some(spool) => match spool.append(self.next, self.shards, &batch) {
                Ok(place) => {
                    self.broken = false;
                    Kept::Disk(place)
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.broken, true) {
                        tracing::error!("remote write cannot write to its spool and loses samples: {error}");
                    }
                    self.account.undelivered(Reason::Overflow, u64::from(samples));
                    return;
                }
            },
        };
        self.entries.push_back(Entry { number: self.next, samples, shard, of: self.shards, at_ms, kept, out: false });
        self.next += 1;
    }

    /// The next batch of a shard that may be sent now.
    pub(super) fn take(&mut self, shard: u16) -> Option<Job> {
        loop {
            let at = self.eligible(shard)?;
            let entry = self.entries.get_mut(at)?;
            let packed = match (&entry.kept, &self.spool) {
                (Kept::Memory(packed), _) => Some(packed.clone()),
                (Kept::Disk(place), Some(spool)) => match spool.read(*place) {
                    Ok(packed) => packed,
                    Err(error) => {
                        // It is still there: it is tried again when there is more to send.
                        tracing::warn!("remote_write.spool cannot be read now: {error}");
                        return None;
                    }
                },
                (Kept::Disk(_), None) | (Kept::Nowhere, _) => None,
            };
            if let Some(packed) = packed {
                entry.out = true;
                return Some(Job { number: entry.number, samples: entry.samples, packed, at_ms: entry.at_ms });
            }
            let (number, samples) = (entry.number, entry.samples);
            self.account.undelivered(Reason::Unreadable, u64::from(samples));
            self.forget(number);
        }
    }

    fn eligible(&self, shard: u16) -> Option<usize> {
        let first = self.entries.front()?.number;
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.number - first >= WINDOW {
                return None;
            }
            if entry.of != self.shards {
                return (at == 0 && shard == 0 && !entry.out).then_some(0);
            }
            if entry.shard == shard {
                return (!entry.out).then_some(at);
            }
        }
        None
    }

    /// It is decided what becomes of a batch on its way: so many delivered, the rest for this reason not. One that [`Self::end`] counted
    /// already is not counted again.
    pub(super) fn done(&mut self, job: &Job, delivered: u32, otherwise: Reason) {
        if self.entries.binary_search_by_key(&job.number, |entry| entry.number).is_err() {
            return;
        }
        let delivered = delivered.min(job.samples);
        if delivered > 0 {
            self.taken_ms = self.taken_ms.max(job.at_ms);
        }
        self.account.delivered(u64::from(delivered));
        self.account.undelivered(otherwise, u64::from(job.samples - delivered));
        self.forget(job.number);
    }

    /// A batch on its way is not sent after all: it waits again.
    pub(super) fn put_back(&mut self, job: &Job) {
        if let Ok(at) = self.entries.binary_search_by_key(&job.number, |entry| entry.number)
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.out = false;
            if matches!(entry.kept, Kept::Nowhere) {
                self.bytes += Spool::cost(job.packed.len());
                entry.kept = Kept::Memory(job.packed.clone());
            }
        }
    }

    /// Nothing more is sent by this agent: what is only in memory is lost.
    pub(super) fn end(&mut self) {
        let disk = |entry: &Entry| matches!(entry.kept, Kept::Disk(_));
        let lost = self.entries.iter().filter(|entry| !disk(entry)).map(|entry| u64::from(entry.samples)).sum();
        self.account.undelivered(Reason::Ended, lost);
        self.entries.retain(disk);
        self.over = true;
    }

    fn forget(&mut self, number: u64) {
        let Ok(at) = self.entries.binary_search_by_key(&number, |entry| entry.number) else { return };
        let Some(entry) = self.entries.remove(at) else { return };
        match entry.kept {
            Kept::Memory(packed) => self.bytes = self.bytes.saturating_sub(Spool::cost(packed.len())),
            Kept::Disk(place) => self.settle(place.segment),
            Kept::Nowhere => {}
        }
    }

    /// Writes down what is done, and removes a segment of which nothing is left.
    fn settle(&mut self, segment: u64) {
        let Some(spool) = &mut self.spool else { return };
        let base = self.entries.front().map_or(self.next, |entry| entry.number);
        let waits = |number: u64| self.entries.binary_search_by_key(&number, |entry| entry.number).is_ok();
        if let Err(error) = spool.settle(base, |number| number < self.next && !waits(number))
            && !std::mem::replace(&mut self.broken, true)
        {
            tracing::error!("remote write cannot write down what is delivered and may send it again: {error}");
        }
        let used = self.entries.iter().any(|entry| matches!(entry.kept, Kept::Disk(place) if place.segment == segment));
        if !used && spool.is_closed(segment) {
            spool.remove(segment);
        }
    }

    /// False if there is no room even when all that may go has gone.
    fn make_room(&mut self, cost: u64) -> bool {
        if self.spool.is_some() { self.make_room_on_disk(cost) } else { self.make_room_in_memory(cost) }
    }

    fn make_room_in_memory(&mut self, cost: u64) -> bool {
        while self.bytes + cost > self.most {
            let Some(oldest) = self.entries.iter().find(|entry| !entry.out) else { return false };
            let (number, samples) = (oldest.number, oldest.samples);
            self.account.undelivered(Reason::Overflow, u64::from(samples));
            self.forget(number);
        }
        true
    }

    fn make_room_on_disk(&mut self, cost: u64) -> bool {
        loop {
            let Some(spool) = &mut self.spool else { return false };
            if spool.bytes() + cost <= self.most {
                return true;
            }
            let Some(segment) = spool.oldest() else { return false };
            spool.remove(segment);
            let mut dropped = 0;
            self.entries.retain_mut(|entry| {
                let gone = matches!(entry.kept, Kept::Disk(place) if place.segment == segment);
                if gone && entry.out {
                    entry.kept = Kept::Nowhere;
                } else if gone {
                    dropped += u64::from(entry.samples);
                }
                !gone || entry.out
            });
            self.account.undelivered(Reason::Overflow, dropped);
        }
    }
}

#[cfg(test)]
mod tests;
