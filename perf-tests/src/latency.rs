//! A distribution of latencies as reports keep it: quantiles out of an HdrHistogram of nanoseconds.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The quantiles that are kept. The last is the most.
pub const QUANTILES: [f64; 11] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0];

/// A distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Requests in it.
    pub requests: u64,
    /// Seconds from when the first was due (or sent) until the last answer: longer than they were sent for if answers are late.
    pub seconds: f64,
    /// Requests that were never answered; they are in it, with the time that they were waited for.
    pub unanswered: u64,
    /// Pairs of a quantile (one of [`QUANTILES`]) and microseconds.
    pub quantiles: Vec<(f64, f64)>,
}

impl Latency {
    /// Of nanoseconds.
    #[must_use]
    pub fn of(nanoseconds: &Histogram<u64>, seconds: f64, unanswered: u64) -> Self {
        let at = |quantile: f64| (quantile, nanoseconds.value_at_quantile(quantile) as f64 / 1e3);
        Self { requests: nanoseconds.len(), seconds, unanswered, quantiles: QUANTILES.map(at).to_vec() }
    }

    /// Requests answered a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        (self.requests - self.unanswered.min(self.requests)) as f64 / self.seconds
    }

    /// Microseconds at one of [`QUANTILES`].
    #[must_use]
    pub fn at(&self, quantile: f64) -> Option<f64> {
        self.quantiles.iter().find(|(kept, _)| (kept - quantile).abs() < 1e-9).map(|(_, us)| *us)
    }
}

/// A number that is not negative as a whole one; 0 for what is none.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates, as wanted")]
pub fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_microseconds() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=1_000).for_each(|value| histogram.record(value * 1_000).unwrap());
        let latency = Latency::of(&histogram, 1.0, 0);
        assert_eq!((latency.requests, latency.at(0.5).unwrap().round()), (1_000, 500.0));
        assert!((latency.at(0.99).unwrap() - 990.0).abs() < 1.0, "{latency:?}");
        assert_eq!(latency.at(0.3), None);
    }

    #[test]
    fn a_rate_is_of_what_was_answered_until_the_last_answer() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.record_n(1_000, 100).unwrap();
        assert_eq!(Latency::of(&histogram, 2.0, 10).rate(), 45.0);
    }
}
