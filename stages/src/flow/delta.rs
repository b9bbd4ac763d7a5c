//! Deltas: what changed in which series.

use crate::metric::{MAX_BUCKETS, Metric};
use crate::symbol::Symbol;
use crate::time::Nanos;
use std::sync::Arc;

/// One series: a metric and its label values. Made once; deltas refer to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    /// The service it belongs to (becomes `job`, and joins `target_info`).
    pub service: Symbol,
    /// Label names and values, in the order of the metric's table entry; without the ones that are empty.
    pub labels: Vec<(&'static str, Symbol)>,
}

/// What a series gained since the last delta.
#[derive(Debug, Clone)]
pub struct Delta {
    /// Which series.
    pub series: Arc<Series>,
    /// What it gained.
    pub gain: Gain,
}

/// Gain of a series.
#[derive(Debug, Clone)]
pub enum Gain {
    /// Of a counter.
    Count(u64),
    /// Of a histogram. Boxed: deltas are made once a second, not once an event.
    Histogram(Box<HistogramGain>),
}

/// Gain of a histogram: not cumulative over buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramGain {
    /// Observations by bucket; the last used one is +Inf.
    pub buckets: [u64; MAX_BUCKETS + 1],
    /// Sum of what was observed, in nanoseconds or bytes by the metric's unit.
    pub sum: u128,
    /// Number of observations, each counted as many times as it stands for; without sampling that is `seen`.
    pub count: u64,
    /// Observations that were made.
    pub seen: u64,
    /// Of these, made on connections that stood for others as well.
    pub scaled: u64,
}

/// What `flush` hands to the registry: everything gained since the last publication.
#[derive(Debug, Clone)]
pub struct Publication {
    /// When it was published.
    pub at: Nanos,
    /// One entry a series that gained something.
    pub deltas: Vec<Delta>,
}
