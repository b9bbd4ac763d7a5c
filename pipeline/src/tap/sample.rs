//! A part of the exchanges, when there are many and nobody asked for all.
//!
//! Of each second the first [`PLAIN`] exchanges, and behind them at most [`SPECIAL`] that failed or were slow (took at least half as
//! long as the slowest of the second before). What is left out is counted. Cost: a look at three fields.

use redtap_stages::flow::joined::Joined;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Exchanges of a second, whatever they are.
pub const PLAIN: u32 = 200;
/// Further exchanges of a second, that failed or were slow.
pub const SPECIAL: u32 = 100;

/// What who samples and who watches agree on.
#[derive(Debug, Default)]
pub struct Sampling {
    /// So many want all exchanges: nothing is left out while there is one.
    pub all: AtomicUsize,
    /// Exchanges that were left out.
    pub left_out: AtomicU64,
}

/// The sampler of one subscriber.
#[derive(Debug)]
pub(super) struct Sample {
    shared: Arc<Sampling>,
    second: u64,
    plain: u32,
    special: u32,
    slowest: u64,
    slow: u64,
}

impl Sample {
    /// Nothing taken yet.
    #[must_use]
    pub(super) fn new(shared: Arc<Sampling>) -> Self {
        Self { shared, second: 0, plain: PLAIN, special: SPECIAL, slowest: 0, slow: 0 }
    }

    /// Clones of those that are taken.
    pub(super) fn pick(&mut self, batch: &[Joined]) -> Vec<Joined> {
        if self.shared.all.load(Ordering::Relaxed) > 0 {
            return batch.to_vec();
        }
        let mut picked = Vec::new();
        for joined in batch {
            if self.takes(joined) {
                picked.push(joined.clone());
            }
        }
        let left_out = batch.len().saturating_sub(picked.len()) as u64;
        if left_out > 0 {
            self.shared.left_out.fetch_add(left_out, Ordering::Relaxed);
        }
        picked
    }

    fn takes(&mut self, joined: &Joined) -> bool {
        let exchange = &joined.converged.exchange;
        let end = exchange.end.unwrap_or(exchange.start);
        let second = end.0 / 1_000_000_000;
        if second > self.second {
            (self.second, self.plain, self.special) = (second, PLAIN, SPECIAL);
            (self.slow, self.slowest) = (self.slowest / 2, 0);
        }
        let took = end.since(exchange.start).0;
        self.slowest = self.slowest.max(took);
        let room = if self.plain > 0 {
            &mut self.plain
        } else if self.special > 0 && (took > self.slow || exchange.is_error()) {
            &mut self.special
        } else {
            return false;
        };
        *room -= 1;
        true
    }
}
