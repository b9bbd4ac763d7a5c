//! The newest calls, kept in memory for who looks later.
//!
//! Bounds: the number that the configuration says, and [`MAX_BYTES`]; the oldest goes first.

use super::filter::CallFilter;
use super::tie::Call;
use redtap_stages::flow::trace::SpanId;
use std::collections::VecDeque;
use std::sync::Arc;

/// Memory of all kept calls.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Calls shown of one trace.
pub const MAX_TREE: usize = 1_000;

/// The calls.
#[derive(Debug)]
pub struct Kept {
    calls: VecDeque<Arc<Call>>,
    bytes: usize,
    most: usize,
}

impl Kept {
    /// Room for so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { calls: VecDeque::new(), bytes: 0, most }
    }

    /// One more.
    pub fn push(&mut self, call: Arc<Call>) {
        if self.most == 0 {
            return;
        }
        self.bytes += bytes(&call);
        self.calls.push_back(call);
        while self.calls.len() > self.most || self.bytes > MAX_BYTES {
            let Some(oldest) = self.calls.pop_front() else { break };
            self.bytes -= bytes(&oldest).min(self.bytes);
        }
    }

    /// How many there are, and the memory that they take.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.calls.len(), self.bytes)
    }

    /// The newest that are wanted, newest last.
    #[must_use]
    pub fn newest(&self, filter: &CallFilter, limit: usize) -> Vec<Arc<Call>> {
        let mut found: Vec<_> =
            self.calls.iter().rev().filter(|call| filter.wants(call)).take(limit).cloned().collect();
        found.reverse();
        found
    }

    /// A call and the others of its trace, by start; at most [`MAX_TREE`].
    #[must_use]
    pub fn tree(&self, span: SpanId) -> Option<(Arc<Call>, Vec<Arc<Call>>)> {
        let call = self.calls.iter().rev().find(|call| call.ids.span == span)?;
        let others = self.calls.iter().filter(|other| other.ids.trace == call.ids.trace);
        let mut trace: Vec<_> = others.take(MAX_TREE).cloned().collect();
        trace.sort_by_key(|call| call.joined.converged.exchange.start);
        Some((Arc::clone(call), trace))
    }
}

/// What a call takes, nearly: names that many share do not count.
fn bytes(call: &Call) -> usize {
    let exchange = &call.joined.converged.exchange;
    let spilled = |len: usize, inline: usize| if len > inline { len } else { 0 };
    size_of::<Call>() + 16 + 40 * usize::from(exchange.trace.is_some()) + spilled(exchange.target.as_str().len(), 64)
}
