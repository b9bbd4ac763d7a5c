//! What the kernel says of a running program, from its descriptor's fdinfo (kernel/bpf/syscall.c
//! `bpf_prog_show_fdinfo`): run time and count while statistics are on, and skipped runs always.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use super::Probe;

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

    /// Time spent in the probe's programs since the beginning, ns.
    #[must_use]
    pub fn run_ns(&self) -> u64 {
        let now = RunStats { programs: self.probe.program_stats() };
        now.run_ns().saturating_sub(self.before.run_ns())
    }
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
    fn reads_the_three_numbers_and_takes_missing_ones_for_zero() {
        let text = "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1500\nrun_cnt:\t3\nrecursion_misses:\t2\n";
        let stats = parse("p", text);
        assert_eq!((stats.run_ns, stats.run_count, stats.missed), (1500, 3, 2));
        assert_eq!(parse("p", "pos:\t0\n").missed, 0);
    }
}
