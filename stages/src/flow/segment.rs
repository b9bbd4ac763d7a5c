//! Segments: bytes of one direction at one stream offset, or the news that bytes moved unseen.

use super::conn::{About, Direction};
use super::event::{Memory, Span};
use crate::abi::Verdict;
use crate::protocols::Protocol;
use crate::stage::{Batch, clear};

/// Bytes of one direction. First comes what was captured, then what was not: `captured.len + gap` bytes from `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which way.
    pub direction: Direction,
    /// Stream offset of the first byte.
    pub offset: u64,
    /// The captured bytes, in the memory of the batch.
    pub captured: Span,
    /// Bytes behind the captured ones that moved but were not captured (budget spent, record refused, no buffer).
    pub gap: u64,
    /// Begins a turn.
    pub turn_start: bool,
    /// Number of the turn on the connection.
    pub turn: u32,
    /// The thread that moved the bytes; 0: not known.
    pub tid: u32,
    /// This direction has ended (no bytes follow it).
    pub end: bool,
    /// The protocol, from `identify` on; `Unknown` before.
    pub protocol: Protocol,
}

/// Segments and what their spans point into.
#[derive(Debug)]
pub struct SegmentBatch<M> {
    /// The lease taken over from the batch of events; dropped by `parse`.
    pub memory: Option<M>,
    /// In the order of the events.
    pub items: Vec<About<Segment>>,
    /// What the kernel should know. The runner hands them on after each turn.
    pub verdicts: Vec<Verdict>,
}

impl<M> Default for SegmentBatch<M> {
    fn default() -> Self {
        Self { memory: None, items: Vec::new(), verdicts: Vec::new() }
    }
}

impl<M: Memory> Batch for SegmentBatch<M> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn recycle(&mut self) {
        clear(&mut self.items);
        clear(&mut self.verdicts);
        self.memory = None;
    }

    fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }
}
