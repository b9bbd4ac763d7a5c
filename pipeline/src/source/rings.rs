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
//! A round takes what one wait has let come together: without that, each would find the few records that came while the
//! one before it was handed on, and the cost of a batch would be paid for each of them. Only a ring that holds a
//! [`HURRY`]th part of its capacity is read again at once.
//!
//! A lease goes into a batch as it is: payloads are not copied. What the stages do not give back stays in the ring, and
//! when the ring is full the kernel counts what it refuses.
//!
//! Absent: blocking, except in [`RingSource::wait`], which sleeps until the kernel wakes it or the time is up.

use super::stream_time::stamp;
use super::{BATCH_BYTES, BATCH_RECORDS, Filled, Lease, Source, SourceTotals};
use crate::clock;
use crate::runner::VerdictSink;
use crossbeam_channel::{Receiver, Sender};
use redtap_kernel::probe::Probe;
use redtap_kernel::ring::{Ring, RingError, Wake};
use redtap_kernel::slots::{Shard, Slots, SlotsError, progress_event};
use redtap_stages::abi::{Slot, Verdict};
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::time::Nanos;
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes;

/// Slots taken in one round; what is left stays dirty until the next. The last round takes all.
pub const SLOTS_PER_ROUND: usize = 4_096;

/// The next round does not wait while the ring holds this part of its capacity, unread.
pub const HURRY: usize = 16;
/// Least time between two looks at the dirty slots.
const SNAPSHOT_EVERY: Nanos = Nanos::from_millis(1);
/// Buffers of progress records that wait to be filled again; more are freed.
const SPARE_BUFFERS: usize = 8;

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
    /// Waited since the last round.
    due: bool,
    /// When the dirty slots were last looked at.
    looked: Nanos,
    buffers: Buffers,
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
            due: true,
            looked: Nanos::ZERO,
            buffers: Buffers::new(),
            last_round: None,
            progress: 0,
        }
    }

    /// True when a round has begun.
    fn begin_round(&mut self) -> bool {
        match self.last_round {
            Some(true) => return false,
            Some(false) => self.last_round = Some(true),
            None if !self.due && !self.hurries() => return false,
            None => {}
        }
        self.due = false;
        // First the time, then the slots, then the position: see the head of this file.
        self.began = clock::monotonic();
        if self.last_round.is_some() {
            self.slots.take_dirty_of(self.shard, &mut self.dirty, self.slots.count());
        } else if self.began.since(self.looked) >= SNAPSHOT_EVERY {
            self.looked = self.began;
            self.slots.take_dirty_of(self.shard, &mut self.dirty, SLOTS_PER_ROUND);
        }
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

    /// More has come than should wait.
    fn hurries(&self) -> bool {
        self.ring.pending() >= self.ring.capacity() / HURRY
    }

    fn give_progress(&mut self, batch: &mut EventBatch<Lease>) {
        let count = self.dirty.len().min(BATCH_RECORDS);
        let mut memory = self.buffers.blank();
        for slot in self.dirty.drain(..count) {
            let start = u32::try_from(memory.bytes.len()).unwrap_or(u32::MAX);
            let event = progress_event(&slot);
            memory.bytes.extend_from_slice(event.as_bytes());
            batch.records.push(Span { start, len: size_of_val(&event) as u32 });
        }
        self.progress += count as u64;
        batch.memory = Some(Lease::Recycled(memory));
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
        let until = clock::monotonic() + nanos(at_most);
        let waited = self.ring.wait(at_most);
        // Woken for what others have under lease: most of it was read, and each further record would wake again. So the
        // rest of the time is slept. Also should the call ever fail: the drain must not spin.
        let woken = !matches!(waited, Ok(Wake::TimeUp));
        if woken && !self.hurries() {
            let rest = until.since(clock::monotonic());
            std::thread::park_timeout(Duration::from_nanos(rest.0));
        }
        self.due = true;
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

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Buffers that come back when their batch is done with.
#[derive(Debug)]
struct Buffers {
    home: Sender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

impl Buffers {
    fn new() -> Self {
        let (home, spare) = crossbeam_channel::bounded(SPARE_BUFFERS);
        Self { home, spare }
    }

    /// An empty one.
    fn blank(&self) -> Recycled {
        Recycled { bytes: self.spare.try_recv().unwrap_or_default(), home: self.home.clone() }
    }
}

/// Memory of a batch that is used again. Dropping it sends it home, if there is room.
#[derive(Debug)]
pub struct Recycled {
    bytes: Vec<u8>,
    home: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Recycled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // Full, or the source is gone: the memory is freed.
        drop(self.home.try_send(bytes));
    }
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

    #[test]
    fn buffers_of_progress_come_back_empty_and_only_so_many_are_kept() {
        let buffers = Buffers::new();
        let mut first = buffers.blank();
        first.bytes.extend_from_slice(&[1; 1_000]);
        drop(first);
        let again = buffers.blank();
        assert_eq!((again.bytes.len(), again.bytes.capacity()), (0, 1_000));
        let many: Vec<_> = (0..2 * SPARE_BUFFERS).map(|_| buffers.blank()).collect();
        drop((again, many));
        assert_eq!(buffers.spare.len(), SPARE_BUFFERS);
    }
}
