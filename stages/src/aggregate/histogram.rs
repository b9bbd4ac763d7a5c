//! Bucket bounds in nanoseconds, worked out at compile time, and the histogram of one series between two emissions.

use crate::flow::delta::HistogramGain;
use crate::metric::{Kind, MAX_BUCKETS, Metric, TABLE};
use crate::time::Nanos;

/// Upper bounds (inclusive, as Prometheus has them), nanoseconds, ascending; unused ones are `u64::MAX`, which nothing
/// exceeds, so that the search is one loop of a fixed length without a branch.
pub(super) type Bounds = [u64; MAX_BUCKETS];

/// The bounds of every metric, in the order of the table.
static BOUNDS: [Bounds; TABLE.len()] = all();

/// The bounds of a metric; none of one that is no histogram.
#[expect(clippy::indexing_slicing, reason = "one entry a variant, as in the table")]
pub(super) fn bounds(metric: Metric) -> &'static Bounds {
    &BOUNDS[metric as usize]
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn all() -> [Bounds; TABLE.len()] {
    let mut all = [[u64::MAX; MAX_BUCKETS]; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        if let Kind::Histogram(bounds) = TABLE[at].kind {
            all[at] = nanoseconds(bounds);
        }
        at += 1;
    }
    all
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds are small and positive")]
const fn nanoseconds(seconds: &[f64]) -> Bounds {
    let mut bounds = [u64::MAX; MAX_BUCKETS];
    let mut at = 0;
    while at < seconds.len() {
        // Half a nanosecond more, so that a bound which is no exact binary fraction is not cut below itself.
        bounds[at] = (seconds[at] * 1e9 + 0.5) as u64;
        at += 1;
    }
    bounds
}

/// The bucket that a value falls in.
#[inline]
pub(super) fn bucket(bounds: &Bounds, value: Nanos) -> usize {
    bounds.iter().map(|&bound| usize::from(value.0 > bound)).sum()
}

/// What a series gained since its last emission.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    buckets: [u64; MAX_BUCKETS + 1],
    sum: u128,
    count: u64,
    seen: u64,
    scaled: u64,
}

impl Histogram {
    pub(super) const EMPTY: Self = Self { buckets: [0; MAX_BUCKETS + 1], sum: 0, count: 0, seen: 0, scaled: 0 };

    /// Counts one observation, as many times as it stands for (`weight`, 1 without sampling).
    pub(super) fn observe(&mut self, bounds: &Bounds, value: Nanos, weight: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket(bounds, value)) {
            *bucket += weight;
        }
        self.sum += u128::from(value.0) * u128::from(weight);
        self.count += weight;
        self.seen += 1;
        self.scaled += u64::from(weight > 1);
    }

    /// Hands out the gain and starts again; `None` without one.
    pub(super) fn take(&mut self) -> Option<Box<HistogramGain>> {
        if self.count == 0 {
            return None;
        }
        let Self { buckets, sum, count, seen, scaled } = std::mem::replace(self, Self::EMPTY);
        Some(Box::new(HistogramGain { buckets, sum, count, seen, scaled }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::BOUNDS_DATABASE;

    #[test]
    fn a_value_on_a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::EMPTY;
        for value in [5_000_000, 5_000_001, 10_000_000, 10_000_000_000, 10_000_000_001] {
            histogram.observe(bounds(Metric::DnsLookupDuration), Nanos(value), 1);
        }
        let gain = histogram.take().unwrap();
        assert_eq!(gain.buckets[..3], [1, 2, 0]);
        assert_eq!(gain.buckets[13..], [1, 1]);
        assert_eq!((gain.count, gain.sum), (5, 20_020_000_002));
        assert!(histogram.take().is_none());
    }

    #[test]
    fn an_observation_counts_for_as_many_as_it_stands_for_and_says_so() {
        let mut histogram = Histogram::EMPTY;
        histogram.observe(bounds(Metric::DnsLookupDuration), Nanos(1_000), 1);
        histogram.observe(bounds(Metric::DnsLookupDuration), Nanos(6_000_000), 16);
        let gain = histogram.take().unwrap();
        assert_eq!(gain.buckets[..3], [1, 16, 0]);
        assert_eq!((gain.count, gain.sum), (17, 96_001_000));
        assert_eq!((gain.seen, gain.scaled), (2, 1));
    }

    #[test]
    fn what_exceeds_the_last_database_bound_is_in_the_bucket_behind_it() {
        let mut histogram = Histogram::EMPTY;
        histogram.observe(bounds(Metric::DbClientOperationDuration), Nanos::from_secs(11), 1);
        assert_eq!(histogram.take().unwrap().buckets[BOUNDS_DATABASE.len()], 1);
    }
}
