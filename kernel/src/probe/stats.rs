//! What the kernel says of a running program, from its descriptor's fdinfo (kernel/bpf/syscall.c
//! `bpf_prog_show_fdinfo`): run time and count while statistics are on, and skipped runs always.
//!
//! The kernel reads the clock before and after a run, and part of that falls into the time of the run: some 50 ns, which for
//! programs that take 100 or 200 is no detail. [`RunTimes::measuring_ns`] says how much it is on this machine.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use super::Probe;
use crate::features;

/// Batches, and runs of each, in which the empty program is measured: some milliseconds.
const EMPTY_BATCHES: usize = 21;
const EMPTY_RUNS: u32 = 250;

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramStats {
    /// Its name.
    pub name: String,
    /// Time spent in it, ns; 0 while statistics are off.
    pub run_ns: u64,
    /// Runs; 0 while statistics are off.
    pub run_count: u64,
    /// Runs skipped because it was already running on that processor.
    pub missed: u64,
}

/// All programs of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunStats {
    /// One each.
    pub programs: Vec<ProgramStats>,
}

impl RunStats {
    /// Time spent in all programs, ns.
    #[must_use]
    pub fn run_ns(&self) -> u64 {
        self.programs.iter().map(|program| program.run_ns).sum()
    }

    /// Runs of all programs.
    #[must_use]
    pub fn run_count(&self) -> u64 {
        self.programs.iter().map(|program| program.run_count).sum()
    }
}

/// While this lives the kernel keeps run times; see [`Probe::time_runs`].
#[derive(Debug)]
pub struct RunTimes<'a> {
    probe: &'a Probe,
    before: RunStats,
    _statistics: OwnedFd,
}

impl<'a> RunTimes<'a> {
    pub(super) fn start(probe: &'a Probe) -> io::Result<Self> {
        let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(|error| error.io_error)?;
        let before = RunStats { programs: probe.program_stats() };
        Ok(Self { probe, before, _statistics: statistics })
    }

    /// What the probe's programs did since the beginning.
    #[must_use]
    pub fn so_far(&self) -> Runs {
        let now = RunStats { programs: self.probe.program_stats() };
        Runs {
            ns: now.run_ns().saturating_sub(self.before.run_ns()),
            count: now.run_count().saturating_sub(self.before.run_count()),
        }
    }

    /// [`measuring_ns`], which needs what this keeps on.
    ///
    /// # Errors
    /// As there.
    pub fn measuring_ns(&self) -> io::Result<f64> {
        measuring_ns()
    }
}

/// What measuring adds to the measured time of a run, ns, while run times are kept: what an empty program takes, put as a filter
/// before a unix socket of this process, where it runs once for each datagram. Its two instructions take about a nanosecond of it.
/// The median of batches, because one run that was interrupted would be the mean of many.
///
/// # Errors
/// When the kernel refuses the program or does not measure it.
pub fn measuring_ns() -> io::Result<f64> {
    let (sender, receiver) = UnixDatagram::pair()?;
    let filter = features::drop_all(receiver.as_fd()).map_err(|refusal| io::Error::other(refusal.to_string()))?;
    let mut means = Vec::with_capacity(EMPTY_BATCHES);
    let mut before = of_program("", filter.as_fd());
    for _ in 0..EMPTY_BATCHES {
        for _ in 0..EMPTY_RUNS {
            sender.send(b"x")?;
        }
        let after = of_program("", filter.as_fd());
        let count = after.run_count.saturating_sub(before.run_count);
        if count == 0 {
            return Err(io::Error::other("the empty program did not run, or is not measured"));
        }
        means.push(float(after.run_ns.saturating_sub(before.run_ns)) / float(count));
        before = after;
    }
    means.sort_unstable_by(f64::total_cmp);
    means.get(EMPTY_BATCHES / 2).copied().ok_or_else(|| io::Error::other("no batches"))
}

/// What programs did while they were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs {
    /// Time spent in them, ns, part of what measuring takes included.
    pub ns: u64,
    /// How often they ran.
    pub count: u64,
}

impl Runs {
    /// Time spent in them, ns, without the `measuring_ns` that measuring added to each run.
    #[must_use]
    pub fn without(self, measuring_ns: f64) -> f64 {
        (float(self.ns) - float(self.count) * measuring_ns).max(0.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Whether `kernel.bpf_stats_enabled` is on.
pub(super) fn enabled() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() == "1")
}

/// What fdinfo says; what it does not say is 0.
pub(super) fn of_program(name: &str, fd: BorrowedFd<'_>) -> ProgramStats {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap_or_default();
    parse(name, &text)
}

fn parse(name: &str, text: &str) -> ProgramStats {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok()).unwrap_or(0)
    };
    ProgramStats {
        name: name.to_owned(),
        run_ns: value("run_time_ns"),
        run_count: value("run_cnt"),
        missed: value("recursion_misses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_measuring_adds_is_taken_off_each_run_and_never_more_than_there_is() {
        let runs = Runs { ns: 20_000, count: 100 };
        assert_eq!(runs.without(0.0), 20_000.0);
        assert_eq!(runs.without(55.0), 14_500.0);
        assert_eq!(runs.without(250.0), 0.0);
    }

    #[test]
    fn reads_the_three_numbers_and_takes_missing_ones_for_zero() {
        let text = "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1500\nrun_cnt:\t3\nrecursion_misses:\t2\n";
        let stats = parse("p", text);
        assert_eq!((stats.run_ns, stats.run_count, stats.missed), (1500, 3, 2));
        assert_eq!(parse("p", "pos:\t0\n").missed, 0);
    }
}
