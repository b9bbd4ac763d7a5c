//! Where events come from: rings of a probe, a recording, or any iterator of records.
//!
//! A [`Source`] fills batches and says what time it is; [`crate::drain`] asks it and feeds the first edge. A source is
//! owned by one thread and may block only in [`Source::wait`].
//!
//! Absent: knowledge of stages and edges.

use redtap_stages::flow::event::EventBatch;
use redtap_stages::time::Nanos;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub mod rings;
pub mod stream_time;
pub use rings::RingSource;
pub use stream_time::StreamTime;

/// Most records that a source puts into one batch.
pub const BATCH_RECORDS: usize = 256;
/// Bytes of records that a source aims at for one batch: with deep pipelining a record holds many messages, and what a
/// batch becomes downstream must stay small.
pub const BATCH_BYTES: usize = 64 * 1024;

/// The memory of a batch of events. Dropping it lets go of a stretch of the ring.
pub enum Lease {
    /// Ring memory, as the kernel wrote it.
    Ring(redtap_kernel::ring::Lease),
    /// Made for this batch.
    Owned(Vec<u8>),
    /// Made for this batch, and used again after it.
    Recycled(rings::Recycled),
    /// Shared with other batches.
    Shared(Arc<[u8]>),
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Ring(lease) => lease.as_ref(),
            Self::Owned(bytes) => bytes,
            Self::Recycled(memory) => memory.as_ref(),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Ring(_) => "Ring",
            Self::Owned(_) => "Owned",
            Self::Recycled(_) => "Recycled",
            Self::Shared(_) => "Shared",
        };
        write!(f, "Lease::{kind}({} bytes)", self.as_ref().len())
    }
}

/// What a source did when it was asked to fill a batch. The time is that up to which everything has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Records are in the batch. Ask again at once.
    Records(Nanos),
    /// None, but time went on and the stages must hear of it before the next record. Ask again at once.
    Time(Nanos),
    /// None now. [Wait](Source::wait) before asking again.
    Nothing(Nanos),
    /// None, and none will come.
    End(Nanos),
}

/// Gives events in batches.
pub trait Source: Send + 'static {
    /// Puts at most [`BATCH_RECORDS`] records into `batch`, which is empty, or says why not.
    fn fill(&mut self, batch: &mut EventBatch<Lease>) -> Filled;

    /// Returns when there may be something, at the latest after `at_most`.
    fn wait(&mut self, at_most: Duration);

    /// Asks for the end: what has happened so far is still given, what happens from now on is not.
    fn stop(&mut self);

    /// What it did so far.
    fn totals(&self) -> SourceTotals;
}

/// The numbers of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceTotals {
    /// Records read as the kernel wrote them.
    pub records: u64,
    /// Records made from dirty slots (ring sources only).
    pub progress: u64,
    /// Bytes in the ring that are not given back to the kernel yet.
    pub ring_fill: u64,
    /// Of these, bytes that were not read yet.
    pub ring_unread: u64,
    /// Bytes of the ring; 0 without one.
    pub ring_capacity: u64,
    /// Times that no stretch could be leased, because too many were out.
    pub lease_table_full: u64,
    /// Bytes of the ring that made no sense and were passed over.
    pub corrupt_bytes: u64,
}
