//! Stage `flush`: one publication a second out of whatever gained since the last one.
//!
//! Coalesces deltas by series (by the identity of the `Arc` that aggregate made once), publishes when the interval has
//! passed since the last publication, and everything held on drain. A second in which nothing was gained publishes
//! nothing. Never rejects. Absent: cumulative numbers (the registry keeps those) and any rendering.

use crate::flow::delta::{Delta, Gain, HistogramGain, Publication};
use crate::limits;
use crate::stage::{Ledger, Reason, Stage};
use crate::time::Nanos;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::Arc;

/// How often to publish.
#[derive(Debug, Clone)]
pub struct FlushSettings {
    /// Least time between two publications.
    pub interval: Nanos,
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self { interval: Nanos::SECOND }
    }
}

/// `flush` rejects nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushReject {}

impl Reason for FlushReject {
    const LABELS: &'static [&'static str] = &[];
    fn index(self) -> usize {
        match self {}
    }
}

/// The stage.
#[derive(Debug)]
pub struct Flush {
    settings: FlushSettings,
    pending: Vec<Delta>,
    by_series: HashMap<usize, usize, RandomState>,
    last: Nanos,
    early: u64,
    ledger: Ledger,
}

impl Flush {
    /// A stage that has published nothing yet.
    #[must_use]
    pub fn new(settings: FlushSettings) -> Self {
        Self {
            settings,
            pending: Vec::new(),
            by_series: HashMap::default(),
            last: Nanos::ZERO,
            early: 0,
            ledger: Ledger::new::<FlushReject>(),
        }
    }

    /// Publications made before their time because [`limits::MAX_SERIES`] series were waiting.
    #[must_use]
    pub fn early(&self) -> u64 {
        self.early
    }

    fn take(&mut self, delta: Delta) {
        self.ledger.taken += 1;
        self.ledger.held += 1;
        let key = Arc::as_ptr(&delta.series).addr();
        match self.by_series.get(&key).and_then(|&at| self.pending.get_mut(at)) {
            Some(waiting) => add(&mut waiting.gain, delta.gain),
            None => {
                self.by_series.insert(key, self.pending.len());
                self.pending.push(delta);
            }
        }
    }

    fn publish(&mut self, now: Nanos, out: &mut Vec<Publication>) {
        self.last = now;
        if self.pending.is_empty() {
            return;
        }
        self.by_series.clear();
        self.ledger.passed += self.ledger.held;
        self.ledger.held = 0;
        self.ledger.emitted += 1;
        out.push(Publication { at: now, deltas: std::mem::take(&mut self.pending) });
    }
}

impl Stage for Flush {
    type In = Vec<Delta>;
    type Out = Vec<Publication>;
    const NAME: &'static str = "flush";

    fn process(&mut self, now: Nanos, input: &mut Vec<Delta>, out: &mut Vec<Publication>) {
        for delta in input.drain(..) {
            self.take(delta);
            if self.pending.len() >= limits::MAX_SERIES {
                self.early += 1;
                self.publish(now, out);
            }
        }
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<Publication>) {
        if now.since(self.last) >= self.settings.interval {
            self.publish(now, out);
        }
    }

    fn drain(&mut self, now: Nanos, out: &mut Vec<Publication>) {
        self.publish(now, out);
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}

/// Adds `more` to `gain`. Both are of one series, so of one kind; a second kind could only be a fault of ours and would
/// replace nothing.
fn add(gain: &mut Gain, more: Gain) {
    match (gain, more) {
        (Gain::Count(count), Gain::Count(more)) => *count += more,
        (Gain::Histogram(histogram), Gain::Histogram(more)) => add_histogram(histogram, &more),
        (Gain::Count(_), Gain::Histogram(_)) | (Gain::Histogram(_), Gain::Count(_)) => {
            debug_assert!(false, "one series, two kinds");
        }
    }
}

fn add_histogram(gain: &mut HistogramGain, more: &HistogramGain) {
    for (bucket, more) in gain.buckets.iter_mut().zip(more.buckets) {
        *bucket += more;
    }
    gain.sum += more.sum;
    gain.count += more.count;
    gain.seen += more.seen;
    gain.scaled += more.scaled;
}
