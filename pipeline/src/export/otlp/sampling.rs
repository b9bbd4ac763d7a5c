//! Which exchanges become spans: a share of the traces, all errors, and the slowest of each stretch of time.
//!
//! The share is decided by the trace id, so that all agents that see one trace decide alike (consistent probability sampling: of the
//! last 56 bits of the id, what is at least the threshold is kept). The slowest are known only when their window
//! ([`WINDOW`]) ends; until then they are held. Of what may be sent in a second, errors and the slowest may use all, the
//! rest no more than three quarters: a flood of ordinary requests must not hide errors.
//!
//! Bounds: as many exchanges are held as may be the slowest of a window. Absent: clocks, counting; the caller is told what becomes of each.

use redtap_stages::time::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Of how long a stretch the slowest are sent.
pub(super) const WINDOW: Nanos = Nanos::from_secs(10);

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Share of the traces, in millionths.
    pub millionths: u32,
    /// The slowest of a window, besides those.
    pub slowest: usize,
    /// Most spans in a second.
    pub per_second: u64,
}

/// What decides on one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// [`super::span::randomness`].
    pub(super) randomness: u64,
    /// It is an error.
    pub(super) error: bool,
    /// How long it took.
    pub(super) duration: Nanos,
}

/// What becomes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is sent.
    Sent,
    /// It was not chosen.
    NotSampled,
    /// It was chosen, but the second is full.
    Rate,
}

/// Chooses among exchanges, of which it keeps what the caller gives (`T`).
#[derive(Debug)]
pub(super) struct Sampler<T> {
    sampling: Sampling,
    threshold: u64,
    slowest: BinaryHeap<Reverse<Slow<T>>>,
    /// Tells equally slow ones apart.
    serial: u64,
    window_end: Nanos,
    second_end: Nanos,
    in_second: u64,
}

#[derive(Debug)]
struct Slow<T> {
    duration: Nanos,
    serial: u64,
    kept: T,
}

impl<T> Sampler<T> {
    pub(super) fn new(sampling: Sampling, now: Nanos) -> Self {
        Self {
            sampling,
            threshold: threshold(sampling.millionths),
            slowest: BinaryHeap::new(),
            serial: 0,
            window_end: Nanos(now.0.saturating_add(WINDOW.0)),
            second_end: Nanos(now.0.saturating_add(Nanos::SECOND.0)),
            in_second: 0,
        }
    }

    /// Decides on an exchange; `tell` hears the fate of this one, or of one that was held until now, or of none.
    pub(super) fn offer(&mut self, now: Nanos, facts: Facts, kept: T, tell: &mut impl FnMut(Fate, T)) {
        self.turn(now, tell);
        if facts.error || facts.randomness >= self.threshold {
            let all = self.sampling.per_second;
            let most = if facts.error { all } else { all - all / 4 };
            let fate = self.spend(most);
            return tell(fate, kept);
        }
        if self.sampling.slowest == 0 {
            return tell(Fate::NotSampled, kept);
        }
        self.serial += 1;
        let slow = Slow { duration: facts.duration, serial: self.serial, kept };
        if self.slowest.len() < self.sampling.slowest {
            self.slowest.push(Reverse(slow));
        } else if self.slowest.peek().is_some_and(|Reverse(least)| *least < slow) {
            let least = self.slowest.pop();
            self.slowest.push(Reverse(slow));
            if let Some(Reverse(least)) = least {
                tell(Fate::NotSampled, least.kept);
            }
        } else {
            tell(Fate::NotSampled, slow.kept);
        }
    }

    /// Ends the window if it is over. Call it now and then.
    pub(super) fn turn(&mut self, now: Nanos, tell: &mut impl FnMut(Fate, T)) {
        if now >= self.second_end {
            self.second_end = Nanos(now.0.saturating_add(Nanos::SECOND.0));
            self.in_second = 0;
        }
        if now >= self.window_end {
            self.end(tell);
            self.window_end = Nanos(now.0.saturating_add(WINDOW.0));
        }
    }

    /// Ends the window.
    pub(super) fn end(&mut self, tell: &mut impl FnMut(Fate, T)) {
        // Slowest first: the least slow are the ones to go without, should the second be full.
        let mut slowest = std::mem::take(&mut self.slowest).into_vec();
        slowest.sort();
        for Reverse(slow) in slowest {
            let fate = self.spend(self.sampling.per_second);
            tell(fate, slow.kept);
        }
    }

    /// Exchanges held.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.slowest.len()
    }

    fn spend(&mut self, most: u64) -> Fate {
        if self.in_second >= most {
            return Fate::Rate;
        }
        self.in_second += 1;
        Fate::Sent
    }
}

/// The least randomness that is kept (OpenTelemetry, "TraceState: Probability Sampling").
fn threshold(millionths: u32) -> u64 {
    const ALL: u64 = 1 << 56;
    let share = u128::from(ALL) * u128::from(millionths.min(1_000_000)) / 1_000_000;
    ALL - u64::try_from(share).unwrap_or(ALL)
}

impl<T> PartialEq for Slow<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.duration, self.serial) == (other.duration, other.serial)
    }
}

impl<T> Eq for Slow<T> {}

impl<T> PartialOrd for Slow<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slow<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Of two that took equally long, the earlier one counts as slower.
        self.duration.cmp(&other.duration).then_with(|| other.serial.cmp(&self.serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(millionths: u32, slowest: usize, per_second: u64) -> Sampler<u64> {
        Sampler::new(Sampling { millionths, slowest, per_second }, Nanos::ZERO)
    }

    fn facts(randomness: u64, error: bool, millis: u64) -> Facts {
        Facts { randomness, error, duration: Nanos::from_millis(millis) }
    }

    /// What became of exchanges that took so many milliseconds, numbered by them, in one window.
    fn fates(sampler: &mut Sampler<u64>, millis: &[u64]) -> Vec<(Fate, u64)> {
        let mut fates = Vec::new();
        let mut tell = |fate, kept| fates.push((fate, kept));
        for &millis in millis {
            sampler.offer(Nanos(1), facts(0, false, millis), millis, &mut tell);
        }
        sampler.turn(WINDOW, &mut tell);
        fates
    }

    #[test]
    fn the_slowest_of_a_window_are_sent_slowest_first() {
        let mut sampler = sampler(0, 2, 100);
        let fates = fates(&mut sampler, &[5, 30, 10, 20, 1]);
        use Fate::{NotSampled, Sent};
        assert_eq!(fates, [(NotSampled, 5), (NotSampled, 10), (NotSampled, 1), (Sent, 30), (Sent, 20)]);
        assert_eq!(sampler.held(), 0);
    }

    #[test]
    fn ordinary_ones_leave_room_for_errors() {
        let mut sampler = sampler(1_000_000, 0, 8);
        let mut fates = Vec::new();
        let mut tell = |fate, error: u64| fates.push((fate, error));
        for error in [false; 10].into_iter().chain([true; 3]) {
            sampler.offer(Nanos(1), facts(0, error, 1), u64::from(error), &mut tell);
        }
        let count = |wanted| fates.iter().filter(|fate| **fate == wanted).count();
        assert_eq!((count((Fate::Sent, 0)), count((Fate::Rate, 0))), (6, 4));
        assert_eq!((count((Fate::Sent, 1)), count((Fate::Rate, 1))), (2, 1));
        let mut after = Vec::new();
        sampler.offer(Nanos::SECOND, facts(0, false, 1), 9, &mut |fate, kept| after.push((fate, kept)));
        assert_eq!(after, [(Fate::Sent, 9)], "a new second");
    }

    #[test]
    fn a_share_of_all_ids_is_kept() {
        assert_eq!(threshold(0), 1 << 56);
        assert_eq!(threshold(1_000_000), 0);
        assert_eq!(threshold(500_000), 1 << 55);
        assert_eq!(threshold(u32::MAX), 0);
    }

    proptest! {
        #[test]
        fn each_has_one_fate_and_the_bound_of_a_second_holds(
            all in prop::collection::vec((0_u64..1 << 56, any::<bool>(), 0_u64..1_000), 0..300),
            millionths in 0_u32..=1_000_000,
            slowest in 0_usize..20,
            per_second in 1_u64..50,
        ) {
            let mut sampler = sampler(millionths, slowest, per_second);
            let mut fates = std::collections::BTreeMap::new();
            let mut sent = 0;
            let mut tell = |fate, number: u64| {
                assert!(fates.insert(number, fate).is_none(), "told once");
                sent += u64::from(fate == Fate::Sent);
            };
            for (number, (randomness, error, millis)) in (0_u64..).zip(&all) {
                sampler.offer(Nanos(1), facts(*randomness, *error, *millis), number, &mut tell);
                assert!(sampler.held() <= slowest);
            }
            sampler.end(&mut tell);
            prop_assert!(sent <= per_second);
            prop_assert_eq!(fates.len(), all.len());
        }
    }
}
