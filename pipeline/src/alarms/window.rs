//! Sums over the last so many seconds, in a fixed number of slots: what a rule looks at costs the same memory whether it
//! looks back five minutes or six hours.
//!
//! A window of length `w` covers between `w` and `w + w/`[`SLOTS`]. Time is an argument; time that goes back counts into
//! the newest slot. Absent: series, rules.

use redtap_stages::metric::MAX_BUCKETS;

/// Whole slots of a window; one more is being filled.
pub const SLOTS: usize = 30;

/// What can be added up and taken off again.
pub trait Sum: Copy + Default {
    /// Adds.
    fn add(&mut self, other: &Self);
    /// Takes off what was added before.
    fn take_off(&mut self, other: &Self);
}

/// Requests and how many of them failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Of these, failed.
    pub errors: u64,
}

impl Sum for Counts {
    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
    }

    fn take_off(&mut self, other: &Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.errors = self.errors.saturating_sub(other.errors);
    }
}

/// Requests by bucket of their duration. 32 bits: of one slot and of one window alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets(pub [u32; MAX_BUCKETS + 1]);

impl Sum for Buckets {
    fn add(&mut self, other: &Self) {
        for (sum, n) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(n);
        }
    }

    fn take_off(&mut self, other: &Self) {
        for (sum, n) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_sub(n);
        }
    }
}

impl Buckets {
    /// The duration that a share of the requests did not exceed, interpolated within its bucket as Prometheus does it; the
    /// last bound where it lies above; `None` without requests.
    #[must_use]
    pub fn quantile(&self, bounds: &[f64], share: f64) -> Option<f64> {
        let total: u64 = self.0.iter().map(|&n| u64::from(n)).sum();
        if total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of a window")]
        let rank = share * total as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (&bound, &n) in bounds.iter().zip(&self.0) {
            let n = f64::from(n);
            if below + n >= rank && n > 0.0 {
                return Some(lower + (bound - lower) * (rank - below) / n);
            }
            below += n;
            lower = bound;
        }
        bounds.last().copied()
    }
}

/// A sliding sum.
#[derive(Debug, Clone)]
pub struct Window<T> {
    slots: Box<[T]>,
    sum: T,
    /// Number of the newest slot, counted from time 0.
    newest: u64,
    slot_ms: u64,
}

impl<T: Sum> Window<T> {
    /// An empty one over the last `length_ms`, at least [`SLOTS`] milliseconds.
    #[must_use]
    pub fn new(length_ms: u64) -> Self {
        let slot_ms = (length_ms / SLOTS as u64).max(1);
        Self { slots: vec![T::default(); SLOTS + 1].into_boxed_slice(), sum: T::default(), newest: 0, slot_ms }
    }

    /// Moves on to `now_ms`: what has become too old goes.
    pub fn advance(&mut self, now_ms: u64) {
        let number = now_ms / self.slot_ms;
        let steps = number.saturating_sub(self.newest);
        if steps > SLOTS as u64 {
            self.slots.fill(T::default());
            self.sum = T::default();
            self.newest = number;
            return;
        }
        for _ in 0..steps {
            self.newest += 1;
            if let Some(slot) = self.slots.get_mut(place(self.newest)) {
                self.sum.take_off(slot);
                *slot = T::default();
            }
        }
    }

    /// Adds to the newest slot.
    pub fn gain(&mut self, gain: &T) {
        if let Some(slot) = self.slots.get_mut(place(self.newest)) {
            slot.add(gain);
            self.sum.add(gain);
        }
    }

    /// All of it.
    #[must_use]
    pub fn sum(&self) -> &T {
        &self.sum
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % (SLOTS as u64 + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_interpolated_and_end_at_the_last_bound() {
        let bounds = [0.1, 0.5, 1.0];
        let mut buckets = Buckets::default();
        assert_eq!(buckets.quantile(&bounds, 0.99), None);
        buckets.0[1] = 100;
        assert_eq!(buckets.quantile(&bounds, 0.5), Some(0.1 + 0.4 * 0.5));
        buckets.0[3] = 100;
        assert_eq!(buckets.quantile(&bounds, 0.99), Some(1.0));
        assert_eq!(buckets.quantile(&bounds, 0.0), Some(0.1), "nothing lies below the first bound");
    }

    proptest! {
        /// Whatever comes when: the sum holds all of the last `w`, and nothing older than `w` and one slot.
        #[test]
        fn holds_the_last_stretch_and_little_more(gains in proptest::collection::vec((0_u64..4_000, 0_u64..9), 1..200)) {
            let length = 3_000;
            let mut window: Window<Counts> = Window::new(length);
            let (mut now, mut all) = (0, Vec::new());
            for (step, requests) in gains {
                now += step;
                window.advance(now);
                window.gain(&Counts { requests, errors: requests / 2 });
                all.push((now, requests));
                let since = |ms: u64| -> u64 { all.iter().filter(|(at, _)| at + ms > now).map(|(_, n)| n).sum() };
                let sum = window.sum().requests;
                prop_assert!(sum >= since(length) && sum <= since(length + 101), "{sum} at {now}");
            }
        }
    }
}
