//! When the cost of operations is measured: arithmetic on times and counts, without clock or probe.
//!
//! What is watched and what is excluded each have a time from which on they are measured, if enough of them happens. After a
//! measurement that told of them that is [`AGAIN`] later. One that did not tell (nothing ran in that moment, or what is
//! watched was lost among what is excluded) is repeated after [`FIRST_WAIT`], and then after twice as long each time, up to
//! [`AGAIN`]: measuring has a price for every BPF program of the machine.

use super::Operations;
use redtap_stages::time::Nanos;

/// How old a measured cost gets.
pub const AGAIN: Nanos = Nanos::from_secs(60);
/// How long the first measurement that told nothing is not repeated.
pub const FIRST_WAIT: Nanos = Nanos::from_secs(2);
/// Operations between two readings below which there is nothing to measure.
pub(super) const FEW: u64 = 100;

/// When what is to be measured.
#[derive(Debug, Default)]
pub(super) struct Due {
    watched: Next,
    excluded: Next,
}

/// What a measurement told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// What is watched. With the cost of the excluded known or assumed, that is all that can be told.
    Watched,
    /// What is excluded.
    Excluded,
    /// Nothing.
    Nothing,
}

impl Due {
    /// Whether to measure, where `more` happened since the last reading.
    pub(super) fn is_due(&self, now: Nanos, more: Operations) -> bool {
        (more.watched >= FEW && self.watched.has_come(now)) || (more.excluded >= FEW && self.excluded.has_come(now))
    }

    /// A measurement was made, because of `more`.
    pub(super) fn measured(&mut self, now: Nanos, more: Operations, told: Told) {
        if told == Told::Watched {
            self.watched.told(now);
        } else if more.watched >= FEW {
            self.watched.told_nothing(now);
        }
        if told != Told::Nothing {
            // A moment with both tells of the watched only; that the other is old is no reason to look again at once.
            self.excluded.told(now);
        } else if more.excluded >= FEW {
            self.excluded.told_nothing(now);
        }
    }

    /// What a watched operation costs has changed.
    pub(super) fn forget_watched(&mut self) {
        self.watched = Next::default();
    }
}

#[derive(Debug)]
struct Next {
    at: Nanos,
    /// If the next measurement tells nothing.
    wait: Nanos,
}

impl Default for Next {
    fn default() -> Self {
        Self { at: Nanos::ZERO, wait: FIRST_WAIT }
    }
}

impl Next {
    fn has_come(&self, now: Nanos) -> bool {
        now >= self.at
    }

    fn told(&mut self, now: Nanos) {
        *self = Self { at: now + AGAIN, wait: FIRST_WAIT };
    }

    fn told_nothing(&mut self, now: Nanos) {
        self.at = now + self.wait;
        self.wait = Nanos(self.wait.0.saturating_mul(2)).min(AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000;

    /// The seconds of `seconds` in which is measured, where in each `more` happens and a measurement tells `told`.
    fn measured(due: &mut Due, seconds: std::ops::Range<u64>, more: Operations, told: Told) -> Vec<u64> {
        let is_measured = |second: &u64| {
            let now = Nanos::from_secs(START + second);
            let is_due = due.is_due(now, more);
            if is_due {
                due.measured(now, more, told);
            }
            is_due
        };
        seconds.filter(is_measured).collect()
    }

    fn operations(watched: u64, excluded: u64) -> Operations {
        Operations { watched, excluded }
    }

    #[test]
    fn what_is_watched_is_measured_when_first_seen_and_every_minute() {
        let mut due = Due::default();
        assert_eq!(measured(&mut due, 0..5, operations(99, 0), Told::Watched), [0; 0], "too few");
        assert_eq!(measured(&mut due, 5..200, operations(500, 0), Told::Watched), [5, 65, 125, 185]);
    }

    #[test]
    fn the_few_that_are_watched_on_a_busy_node_are_not_looked_for_each_second() {
        let mut due = Due::default();
        let seconds = measured(&mut due, 0..300, operations(500, 100_000), Told::Excluded);
        assert_eq!(seconds, [0, 2, 6, 14, 30, 62, 122, 182, 242]);
    }

    #[test]
    fn a_moment_in_which_nothing_ran_is_not_repeated_each_second() {
        for more in [operations(500, 0), operations(0, 500), operations(500, 500)] {
            let seconds = measured(&mut Due::default(), 0..200, more, Told::Nothing);
            assert_eq!(seconds, [0, 2, 6, 14, 30, 62, 122, 182], "{more:?}");
        }
    }

    #[test]
    fn what_is_watched_is_measured_when_first_seen_though_what_is_excluded_just_was() {
        let mut due = Due::default();
        assert_eq!(measured(&mut due, 0..10, operations(0, 100_000), Told::Excluded), [0]);
        assert_eq!(measured(&mut due, 10..20, operations(50_000, 100_000), Told::Watched), [10]);
    }

    #[test]
    fn a_step_has_it_measured_at_once_and_once() {
        let mut due = Due::default();
        assert_eq!(measured(&mut due, 0..10, operations(500, 0), Told::Watched), [0]);
        due.forget_watched();
        assert_eq!(measured(&mut due, 10..60, operations(500, 0), Told::Watched), [10]);
        due.forget_watched();
        assert_eq!(measured(&mut due, 60..63, operations(500, 100_000), Told::Excluded), [60, 62]);
        assert_eq!(measured(&mut due, 63..200, operations(500, 100_000), Told::Excluded), [66, 74, 90, 122, 182]);
        due.forget_watched();
        assert_eq!(
            measured(&mut due, 200..210, operations(500, 100_000), Told::Excluded),
            [200, 202, 206],
            "not after a minute"
        );
    }
}
