//! How long to wait before a request is sent again: exponential, with full jitter, within bounds.
//!
//! Pure: neither clock nor randomness is read here but by [`dice`]. Life cycle: [`Backoff::new`], [`Backoff::next`] after
//! each failure, [`Backoff::reset`] after a success. Absent: sleeping, counting of retries.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// Longest that a receiver is obeyed when it says when to come back.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Doubles the ceiling with each failure and draws from what is below it, so that many agents do not come back together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Waits from `least` to `most`, first at most twice `least`.
    #[must_use]
    pub fn new(least: Duration, most: Duration) -> Self {
        let most = most.max(least);
        Self { least, most, ceiling: least.saturating_mul(2).min(most) }
    }

    /// The next wait. `told` is what the receiver asked for (`Retry-After`): it is waited for in full, up to
    /// [`MAX_RETRY_AFTER`], and the jitter comes on top. `random` is any number, drawn evenly.
    #[must_use]
    pub fn next(&mut self, told: Option<Duration>, random: u64) -> Duration {
        let drawn = draw(self.least, self.ceiling, random);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.most);
        match told {
            Some(told) => told.min(MAX_RETRY_AFTER).saturating_add(drawn),
            None => drawn,
        }
    }

    /// The receiver answers again.
    pub fn reset(&mut self) {
        self.ceiling = self.least.saturating_mul(2).min(self.most);
    }
}

/// Evenly between two stretches of time, to the microsecond.
fn draw(from: Duration, to: Duration, random: u64) -> Duration {
    let span = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
    from.saturating_add(Duration::from_micros(random % span.saturating_add(1).max(1)))
}

/// A number that differs from agent to agent and from call to call. Good for jitter, not for secrets.
#[must_use]
pub fn dice() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(30);

    #[test]
    fn the_ceiling_doubles_up_to_the_bound_and_falls_after_a_success() {
        let mut backoff = Backoff::new(LEAST, MOST);
        // The largest draw of each ceiling, which is `ceiling - least` in microseconds.
        let mut longest = |ceiling: u64| backoff.next(None, (ceiling - 100) * 1_000).as_millis();
        let waits: Vec<_> =
            [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000].map(&mut longest).into();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.next(None, 100_000).as_millis(), 200);
    }

    #[test]
    fn a_receiver_is_waited_for_in_full_but_not_for_ever() {
        let mut backoff = Backoff::new(LEAST, MOST);
        assert_eq!(backoff.next(Some(Duration::from_secs(7)), 0), Duration::from_millis(7_100));
        assert_eq!(backoff.next(Some(Duration::from_secs(86_400)), 0), MAX_RETRY_AFTER + LEAST);
    }

    #[test]
    fn dice_do_not_repeat() {
        assert_ne!(dice(), dice());
    }

    proptest! {
        #[test]
        fn no_wait_is_out_of_bounds(randoms: Vec<u64>, least in 0_u64..10_000, most in 0_u64..100_000) {
            let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
            let mut backoff = Backoff::new(least, most);
            for random in randoms {
                let wait = backoff.next(None, random);
                prop_assert!(wait >= least && wait <= most.max(least));
            }
        }
    }
}
