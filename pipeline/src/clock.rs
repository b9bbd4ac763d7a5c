//! The one place that reads a clock.
//!
//! Everything else is handed the time: stages as an argument, runners as the stamp of a batch (see [`crate::edge`]).
//!
//! Absent: any use of the wall clock on the data path. It is read once, to relate `CLOCK_MONOTONIC`, which the kernel
//! programs stamp events with, to the calendar.

use redtap_stages::time::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Now, on `CLOCK_MONOTONIC`: the clock of the events.
#[must_use]
pub fn monotonic() -> Nanos {
    read(ClockId::Monotonic)
}

/// Nanoseconds to add to a `CLOCK_MONOTONIC` time to get nanoseconds since the Unix epoch, as it is at this moment.
#[must_use]
pub fn wall_offset_ns() -> i64 {
    let before = monotonic().0;
    let wall = read(ClockId::Realtime).0;
    let after = monotonic().0;
    let middle = before + after.saturating_sub(before) / 2;
    i64::try_from(i128::from(wall) - i128::from(middle)).unwrap_or(0)
}

/// Processor time of the calling thread so far.
#[must_use]
pub fn thread_cpu() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

/// Processor time of all threads of this process so far, user and system.
#[must_use]
pub fn process_cpu() -> Nanos {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_and_its_offset_give_a_year_of_our_time() {
        let now = monotonic();
        assert!(monotonic() >= now, "it never goes back");
        let epoch_ns = i128::from(now.0) + i128::from(wall_offset_ns());
        let years = epoch_ns / 1_000_000_000 / 31_556_952;
        assert!((50..200).contains(&years), "{years} years since 1970");
    }
}
