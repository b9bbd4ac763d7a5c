//! Medians, spreads, and how sure a difference between neighbouring rounds is.
//!
//! Rounds on a machine that others use too are not normally distributed: only order is used. The interval of a median is
//! that of the sign test, made of order statistics: it covers the true median with at least the confidence that is told with
//! it, whatever the distribution. With fewer than six values no interval reaches 95 %; the widest is given, with its confidence.

use serde::{Deserialize, Serialize};

/// Confidence that is asked of an interval, if there are values enough.
const CONFIDENCE: f64 = 0.95;

/// The middle and the ends of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// How many.
    pub values: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Self { values: sorted.len(), median: middle(&sorted)?, least, most })
    }
}

/// Where the true median lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Median of the values.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// At least this probability.
    pub confidence: f64,
    /// Values it is made of.
    pub values: usize,
}

impl Interval {
    /// The narrowest interval of the sign test with 95 % confidence, else the widest.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let count = sorted.len();
        let mut best = (*sorted.first()?, *sorted.last()?, covered(count, 0));
        for cut in 1..count.div_ceil(2) {
            let confidence = covered(count, cut);
            let (Some(low), Some(high)) = (sorted.get(cut), sorted.get(count - 1 - cut)) else { break };
            if confidence < CONFIDENCE {
                break;
            }
            best = (*low, *high, confidence);
        }
        let (low, high, confidence) = best;
        Some(Self { median: middle(&sorted)?, low, high, confidence, values: count })
    }

    /// True if it has the confidence that is asked for.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.confidence >= CONFIDENCE
    }

    /// True if no difference cannot be told from this one.
    #[must_use]
    pub fn includes_zero(&self) -> bool {
        self.low <= 0.0 && self.high >= 0.0
    }
}

/// Probability that the median lies between the values number `cut` from below and from above, counted from 0:
/// 1 - 2 P(B <= cut) with B binomial (`count`, 1/2).
fn covered(count: usize, cut: usize) -> f64 {
    let mut term = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = term;
    for successes in 1..=cut {
        term *= (count + 1 - successes) as f64 / successes as f64;
        below += term;
    }
    (1.0 - 2.0 * below).max(0.0)
}

/// Slope of the least squares through points (x, y); none of fewer than two, or at one place.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |values: fn(&(f64, f64)) -> f64| points.iter().map(values).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (points.len() > 1 && below > 0.0).then(|| above / below)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len().is_multiple_of(2) { Some(f64::midpoint(*sorted.get(half - 1)?, upper)) } else { Some(upper) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_seven_is_from_least_to_most_and_of_eight_the_same() {
        let seven = Interval::of(&[3.0, 1.0, 7.0, 5.0, 2.0, 6.0, 4.0]).unwrap();
        // 1 - 2 / 2^7; without the outermost it would be 1 - 2 (1 + 7) / 2^7 = 0.875.
        assert_eq!((seven.low, seven.median, seven.high, seven.confidence), (1.0, 4.0, 7.0, 0.984_375));
        let nine = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
        // 1 - 2 (1 + 9) / 2^9 = 0.961.
        assert_eq!((nine.low, nine.high), (2.0, 8.0));
        assert!((nine.confidence - 0.960_937_5).abs() < 1e-12);
    }

    #[test]
    fn few_values_give_a_wide_interval_that_says_how_sure_it_is() {
        let two = Interval::of(&[2.0, -1.0]).unwrap();
        assert_eq!((two.low, two.high, two.confidence), (-1.0, 2.0, 0.5));
        assert!(two.includes_zero());
        assert_eq!(Interval::of(&[5.0]).unwrap().confidence, 0.0);
        assert!(Interval::of(&[]).is_none());
    }

    #[test]
    fn a_line_has_its_slope() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(1.0, 1.0)]), None);
    }

    #[test]
    fn the_middle_of_an_even_number_is_between() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most, spread.values), (2.5, 1.0, 4.0, 4));
    }
}
