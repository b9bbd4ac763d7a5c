//! Time as it passes and processor time as it is spent, of this process.
//!
//! Processor time is the number to compare: it does not depend on what else the machine does.

use rustix::time::{ClockId, clock_gettime};

/// Both times, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Time that passed.
    pub wall: u64,
    /// Processor time of all threads.
    pub cpu: u64,
}

/// Measures `work`.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    let (wall, cpu) = (read(ClockId::Monotonic), read(ClockId::ProcessCPUTime));
    let done = work();
    let spent = Spent { wall: read(ClockId::Monotonic) - wall, cpu: read(ClockId::ProcessCPUTime) - cpu };
    (done, spent)
}

/// The middle one of `values`; zero without any.
#[must_use]
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// The time that passes, for short stretches.
#[must_use]
pub fn now() -> u64 {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
