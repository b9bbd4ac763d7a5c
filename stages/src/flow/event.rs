//! A batch of raw events: a lease on a stretch of memory and where the records lie in it.

use crate::abi::Verdict;
use crate::stage::Batch;

/// Where bytes lie in the memory of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes in `memory`; empty if the span lies outside.
    #[must_use]
    pub fn of(self, memory: &[u8]) -> &[u8] {
        let Some(start) = usize::try_from(self.start).ok() else {
            return &[];
        };
        let Some(len) = usize::try_from(self.len).ok() else {
            return &[];
        };
        memory.get(start..).and_then(|rest| rest.get(..len)).unwrap_or(&[])
    }
}

/// The memory that a batch of events lies in: ring memory under lease, or a recording. Dropping it releases the lease.
pub trait Memory: AsRef<[u8]> + Send + 'static {}

impl<T: AsRef<[u8]> + Send + 'static> Memory for T {}

/// Raw events as the drain hands them over. Each record is an [`crate::abi::EventHeader`] and its payload.
#[derive(Debug)]
pub struct EventBatch<M> {
    /// What the spans point into; `None` in an empty batch.
    pub memory: Option<M>,
    /// One span a record.
    pub records: Vec<Span>,
}

impl<M> Default for EventBatch<M> {
    fn default() -> Self {
        Self { memory: None, records: Vec::new() }
    }
}

impl<M: Memory> Batch for EventBatch<M> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn recycle(&mut self) {
        self.records.clear();
        self.memory = None;
    }

    fn verdicts(&self) -> &[Verdict] {
        &[]
    }
}
