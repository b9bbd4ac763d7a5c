//! The live source: one ring of a probe and the slots of its connections.
//!
//! In rounds: take a snapshot of the dirty slots, read the producer position P, lease records up to P, then give the
//! snapshot as progress records. A slot was written after every record of its connection that the snapshot knows of, so
//! what it says is never ahead of records that are still to come.
//!
//! The stamp of a batch is the time up to which everything was given: while records of the round are left, that of its last
//! record; at the end of the round, that of its beginning. A backlog in the ring thus makes no stage time out what waits
//! in it.
//!
//! A lease goes into a batch as it is: payloads are not copied. What the stages do not give back stays in the ring, and
//! when the ring is full the kernel counts what it refuses.
//!
//! Absent: blocking, except in [`RingSource::wait`], which sleeps until the kernel wakes it or the time is up.

use super::stream_time::stamp;
use super::{BATCH_BYTES, BATCH_RECORDS, Filled, Lease, Source, SourceTotals};
use crate::clock;
use crate::runner::VerdictSink;
use redtap_kernel::probe::Probe;
use redtap_kernel::ring::{Ring, RingError};
use redtap_kernel::slots::{Shard, Slots, SlotsError, progress_event};
use redtap_stages::abi::{Slot, Verdict};
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::time::Nanos;
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes;

/// Slots taken in one round; what is left stays dirty until the next. The last round takes all.
pub const SLOTS_PER_ROUND: usize = 4_096;

/// Why the memory of a probe could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The ring.
    #[error("ring of shard {shard}")]
    Ring {
        /// Which shard.
        shard: usize,
        /// What was wrong.
        #[source]
        source: RingError,
    },
    /// The slots.
    #[error("connection slots")]
    Slots(#[from] SlotsError),
    /// The probe has no such shard.
    #[error("the probe has no shard {shard}")]
    NoShard {
        /// Which shard.
        shard: usize,
    },
}

/// One ring and its connections' slots.
#[derive(Debug)]
pub struct RingSource {
    ring: Ring,
    slots: Arc<Slots>,
    shard: Shard,
    /// The snapshot of this round, given after the records up to `until`.
    dirty: Vec<Slot>,
    until: u64,
    /// When this round began: at its end, everything up to then is given.
    began: Nanos,
    /// The last stamp given.
    now: Nanos,
    /// Records to ask for, going by the size of the last ones.
    most: usize,
    /// Set by `stop`: no round begins once the ring is read this far.
    last_round: Option<bool>,
    progress: u64,
}

impl RingSource {
    /// The sources of all shards of `probe`, and where verdicts go.
    ///
    /// # Errors
    /// When the kernel does not let the memory be mapped.
    pub fn of(probe: &Probe) -> Result<(Vec<Self>, Arc<SlotVerdicts>), SourceError> {
        let slots = Arc::new(Slots::map(probe.slots_fd(), probe.dirty_fd(), probe.verdict_fd(), probe.slot_count())?);
        let count = probe.shards();
        let mut sources = Vec::with_capacity(count);
        for shard in 0..count {
            let fd = probe.ring_fd(shard).ok_or(SourceError::NoShard { shard })?;
            let ring = Ring::map(fd, probe.ring_bytes()).map_err(|source| SourceError::Ring { shard, source })?;
            let place = Shard::new(shard, count).ok_or(SourceError::NoShard { shard })?;
            sources.push(Self::new(ring, Arc::clone(&slots), place));
        }
        Ok((sources, Arc::new(SlotVerdicts(slots))))
    }

    /// The source of one ring.
    #[must_use]
    pub fn new(ring: Ring, slots: Arc<Slots>, shard: Shard) -> Self {
        let until = ring.position();
        let now = clock::monotonic();
        Self {
            ring,
            slots,
            shard,
            dirty: Vec::new(),
            until,
            began: now,
            now,
            most: BATCH_RECORDS,
            last_round: None,
            progress: 0,
        }
    }

    /// True when a round has begun.
    fn begin_round(&mut self) -> bool {
        match &mut self.last_round {
            Some(begun) if *begun => return false,
            Some(begun) => *begun = true,
            None => {}
        }
        // First the time, then the slots, then the position: see the head of this file.
        self.began = clock::monotonic();
        let most = if self.last_round.is_some() { self.slots.count() } else { SLOTS_PER_ROUND };
        self.slots.take_dirty_of(self.shard, &mut self.dirty, most);
        self.until = self.ring.producer_position();
        self.until > self.ring.position() || !self.dirty.is_empty()
    }

    /// The stamp after a batch whose last record is of `last`.
    fn advance(&mut self, last: Nanos) -> Nanos {
        let over = self.ring.position() >= self.until && self.dirty.is_empty();
        let seen = if over { last.max(self.began) } else { last };
        self.now = self.now.max(seen);
        self.now
    }

    fn give_progress(&mut self, batch: &mut EventBatch<Lease>) {
        let count = self.dirty.len().min(BATCH_RECORDS);
        let mut memory = Vec::with_capacity(count * redtap_stages::abi::HEADER_LEN);
        for slot in self.dirty.drain(..count) {
            let start = u32::try_from(memory.len()).unwrap_or(u32::MAX);
            let event = progress_event(&slot);
            memory.extend_from_slice(event.as_bytes());
            batch.records.push(Span { start, len: size_of_val(&event) as u32 });
        }
        self.progress += count as u64;
        batch.memory = Some(Lease::Owned(memory));
    }
}

impl Source for RingSource {
    fn fill(&mut self, batch: &mut EventBatch<Lease>) -> Filled {
        loop {
            if self.ring.position() < self.until {
                if let Some(lease) = self.ring.lease(self.most, &mut batch.records) {
                    self.most = aim(batch.records.len(), lease.as_ref().len());
                    let last = batch.records.last().map_or(Nanos::ZERO, |span| stamp(span.of(lease.as_ref())));
                    batch.memory = Some(Lease::Ring(lease));
                    return Filled::Records(self.advance(last));
                }
                if self.ring.position() < self.until {
                    // A record is being written, or all leases are out: the round goes on later, and time waits.
                    return Filled::Nothing(self.now);
                }
            }
            if !self.dirty.is_empty() {
                self.give_progress(batch);
                return Filled::Records(self.advance(Nanos::ZERO));
            }
            if !self.begin_round() {
                let now = self.advance(Nanos::ZERO);
                return if self.last_round.is_some() { Filled::End(now) } else { Filled::Nothing(now) };
            }
        }
    }

    fn wait(&mut self, at_most: Duration) {
        // The descriptor is ours and valid; should the call ever fail, the drain must still not spin.
        if self.ring.wait(at_most).is_err() {
            std::thread::park_timeout(at_most);
        }
    }

    fn stop(&mut self) {
        self.last_round.get_or_insert(false);
    }

    fn totals(&self) -> SourceTotals {
        let counts = self.ring.counts();
        SourceTotals {
            records: counts.records,
            progress: self.progress,
            ring_fill: self.ring.fill() as u64,
            ring_unread: self.ring.pending() as u64,
            ring_capacity: self.ring.capacity() as u64,
            lease_table_full: counts.table_full,
            corrupt_bytes: counts.corrupt_bytes,
        }
    }
}

/// How many records of the size of the last `records` come to [`BATCH_BYTES`].
fn aim(records: usize, bytes: usize) -> usize {
    let each = bytes / records.max(1);
    (BATCH_BYTES / each.max(1)).clamp(BATCH_RECORDS / 16, BATCH_RECORDS)
}

/// Verdicts go to the slots of the connections, where the kernel programs read them.
#[derive(Debug)]
pub struct SlotVerdicts(Arc<Slots>);

impl VerdictSink for SlotVerdicts {
    fn set(&self, verdict: Verdict) {
        self.0.set_verdict(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_fewer_records_when_they_are_large() {
        assert_eq!(aim(256, 256 * 200), BATCH_RECORDS, "small ones come to less than the aim");
        assert_eq!(aim(10, 10 * 2_048), 32);
        assert_eq!(aim(1, 4_240), 16, "never so few that a batch is not worth its way");
        assert_eq!(aim(0, 0), BATCH_RECORDS);
    }
}
