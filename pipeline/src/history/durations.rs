//! How long requests took, as counts by bucket; percentiles of them, as Prometheus' `histogram_quantile` has them.
//!
//! A service may have histograms with two kinds of bounds (databases have finer ones). They are kept apart, which costs
//! nothing of their precision. For a percentile of both, what lies in a bucket is spread evenly over the buckets of all
//! bounds taken together, which is what interpolating within it means.

use super::block::{BUCKETS, Gain, add};
use super::series::total;
use redtap_stages::metric::{BOUNDS_DATABASE, BOUNDS_REQUEST, Kind, Metric};

/// Which bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// [`BOUNDS_REQUEST`].
    Request,
    /// [`BOUNDS_DATABASE`].
    Database,
}

impl Bounds {
    /// Those of a metric; `None`: it is a counter.
    pub(crate) fn of(metric: Metric) -> Option<Self> {
        match metric.entry().kind {
            Kind::Counter => None,
            Kind::Histogram(bounds) if bounds == BOUNDS_DATABASE => Some(Self::Database),
            Kind::Histogram(_) => Some(Self::Request),
        }
    }
}

/// Counts of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    request: Gain,
    database: Gain,
}

impl Durations {
    pub(crate) fn add(&mut self, bounds: Bounds, gain: &Gain) {
        match bounds {
            Bounds::Request => add(&mut self.request, gain),
            Bounds::Database => add(&mut self.database, gain),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        add(&mut self.request, &other.request);
        add(&mut self.database, &other.database);
    }

    pub(crate) fn count(&self) -> u64 {
        total(&self.request).saturating_add(total(&self.database))
    }

    /// The duration, in seconds, that a share of the requests did not exceed; `None` without requests. Where it lies in the last
    /// bucket, which has no upper bound, the last bound.
    pub(crate) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [Option<f64>; N] {
        let grid = match (total(&self.request), total(&self.database)) {
            (0, 0) => return [None; N],
            (_, 0) => BOUNDS_REQUEST.to_vec(),
            (0, _) => BOUNDS_DATABASE.to_vec(),
            _ => both(),
        };
        let mut cells = vec![0.0; grid.len() + 1];
        spread(&mut cells, &grid, BOUNDS_REQUEST, &self.request);
        spread(&mut cells, &grid, BOUNDS_DATABASE, &self.database);
        shares.map(|share| quantile(&cells, &grid, share))
    }
}

/// All bounds, ascending.
fn both() -> Vec<f64> {
    let mut grid = [BOUNDS_REQUEST, BOUNDS_DATABASE].concat();
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    grid
}

/// The bounds that both have, ascending.
fn common() -> Vec<f64> {
    BOUNDS_REQUEST.iter().copied().filter(|bound| BOUNDS_DATABASE.contains(bound)).collect()
}

/// Lower bounds and upper bounds of buckets but the last.
fn buckets(bounds: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    std::iter::once(0.0).chain(bounds.iter().copied()).zip(bounds.iter().copied())
}

fn spread(cells: &mut [f64], grid: &[f64], bounds: &[f64], gain: &Gain) {
    for ((lower, upper), &n) in buckets(bounds).zip(gain).filter(|(_, n)| **n > 0) {
        for ((from, to), cell) in buckets(grid).zip(cells.iter_mut()) {
            if from >= lower && to <= upper {
                *cell += float(n) * (to - from) / (upper - lower);
            }
        }
    }
    if let (Some(last), Some(&n)) = (cells.last_mut(), gain.get(bounds.len())) {
        *last += float(n);
    }
}

fn quantile(cells: &[f64], grid: &[f64], share: f64) -> Option<f64> {
    let rank = share * cells.iter().sum::<f64>();
    let mut below = 0.0;
    for ((lower, upper), &n) in buckets(grid).zip(cells) {
        if n > 0.0 && below + n >= rank {
            return Some(lower + (upper - lower) * ((rank - below) / n).clamp(0.0, 1.0));
        }
        below += n;
    }
    grid.last().copied()
}

/// The rows of a heat map: durations of several steps by common buckets.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) bounds: Vec<f64>,
}

impl Rows {
    /// Those that suit everything in `all`: the bounds that it has, or those that both kinds have, so that counts stay whole.
    pub(crate) fn suiting(all: &Durations) -> Self {
        let bounds = match (total(&all.request), total(&all.database)) {
            (_, 0) => BOUNDS_REQUEST.to_vec(),
            (0, _) => BOUNDS_DATABASE.to_vec(),
            _ => common(),
        };
        Self { bounds }
    }

    /// Counts by row, the last without an upper bound.
    pub(crate) fn counts(&self, of: &Durations) -> Vec<f64> {
        let mut rows = vec![0.0; self.bounds.len() + 1];
        for (bounds, gain) in [(BOUNDS_REQUEST, &of.request), (BOUNDS_DATABASE, &of.database)] {
            for (at, &n) in gain.iter().enumerate().filter(|(_, n)| **n > 0) {
                // The first row that holds the whole bucket.
                let upper = bounds.get(at).copied().unwrap_or(f64::INFINITY);
                let row = self.bounds.partition_point(|&bound| bound < upper);
                if let Some(row) = rows.get_mut(row) {
                    *row += float(n);
                }
            }
        }
        rows
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests within a day are below 2^53")]
pub(crate) fn float(n: u64) -> f64 {
    n as f64
}

const _: () = assert!(BOUNDS_REQUEST.len() < BUCKETS && BOUNDS_DATABASE.len() < BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gain(counts: &[(usize, u64)]) -> Gain {
        let mut gain: Gain = [0; BUCKETS];
        counts.iter().for_each(|&(at, n)| gain[at] = n);
        gain
    }

    #[test]
    fn interpolates_within_a_bucket() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantiles([0.5]), [None]);
        // 100 requests of 5 to 10 ms, 100 of 50 to 75 ms.
        durations.add(Bounds::Request, &gain(&[(1, 100), (4, 100)]));
        let [p25, p50, p75, p100] = durations.quantiles([0.25, 0.5, 0.75, 1.0]).map(Option::unwrap);
        assert!((p25 - 0.0075).abs() < 1e-12 && (p50 - 0.01).abs() < 1e-12, "{p25} {p50}");
        assert!((p75 - 0.0625).abs() < 1e-12 && (p100 - 0.075).abs() < 1e-12, "{p75} {p100}");
    }

    #[test]
    fn beyond_the_last_bound_it_is_the_last_bound() {
        let mut durations = Durations::default();
        durations.add(Bounds::Database, &gain(&[(9, 1)]));
        assert_eq!(durations.quantiles([0.5]), [Some(10.0)]);
    }

    #[test]
    fn two_kinds_of_bounds_are_one_distribution() {
        let mut durations = Durations::default();
        // 40 evenly in 10 to 50 ms, as 15 in 10 to 25 ms and 25 in 25 to 50 ms would be.
        durations.add(Bounds::Database, &gain(&[(3, 40)]));
        durations.add(Bounds::Request, &gain(&[(4, 40)]));
        let [p25] = durations.quantiles([0.25]).map(Option::unwrap);
        assert!((p25 - 0.03).abs() < 1e-12, "{p25}");
        let rows = Rows::suiting(&durations);
        assert_eq!(rows.bounds, [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
        assert_eq!(rows.counts(&durations), [0.0, 0.0, 40.0, 40.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn percentiles_ascend_and_rows_hold_all(
            request in prop::array::uniform15(0..1_000_u64),
            database in prop::collection::vec(0..1_000_u64, 10),
        ) {
            let mut durations = Durations::default();
            durations.add(Bounds::Request, &request);
            let database: Vec<_> = database.into_iter().enumerate().collect();
            durations.add(Bounds::Database, &gain(&database));
            let [a, b, c] = durations.quantiles([0.5, 0.9, 0.99]);
            prop_assert!(a <= b && b <= c && c <= Some(10.0));
            let rows = Rows::suiting(&durations).counts(&durations);
            prop_assert!((rows.iter().sum::<f64>() - float(durations.count())).abs() < 1e-6);
        }
    }
}
