//! What an agent's kernel programs cost, as the kernel measures it (`kernel.bpf_stats_enabled`).
//!
//! Read from `/proc/PID/fdinfo`: of each program that the agent holds the kernel tells how often it ran and how long
//! (`bpf_prog_show_fdinfo` in `kernel/bpf/syscall.c`). So it is the same for every agent, and nobody else's programs count.
//! Measuring takes time itself, part of which falls into what is measured: [`measuring_ns`] says how much.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::ops::Sub;

/// Where the kernel is told to measure programs.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Time in kernel programs up to some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Programs {
    /// Nanoseconds, all processors together.
    pub ns: u64,
    /// How often any of them ran.
    pub runs: u64,
}

impl Sub for Programs {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { ns: self.ns.saturating_sub(earlier.ns), runs: self.runs.saturating_sub(earlier.runs) }
    }
}

impl Programs {
    /// Of all programs that a process holds.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut programs = BTreeMap::new();
        for file in std::fs::read_dir(&folder).with_context(|| format!("process {pid} is gone"))? {
            // One that was closed meanwhile is none of its programs.
            let text = std::fs::read_to_string(file?.path()).unwrap_or_default();
            if let Some((id, one)) = program(&text) {
                programs.insert(id, one);
            }
        }
        let sum = |sum: Self, one: &Self| Self { ns: sum.ns + one.ns, runs: sum.runs + one.runs };
        Ok(programs.values().fold(Self::default(), sum))
    }
}

/// Number of the program and what it took, if the descriptor is a program. (A link tells a number too, but no time.)
fn program(text: &str) -> Option<(u64, Programs)> {
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok();
    Some((of("prog_id:")?, Programs { ns: of("run_time_ns:")?, runs: of("run_cnt:")? }))
}

/// The kernel measures its programs as long as this lives; then it is as it was.
#[derive(Debug)]
pub struct Statistics {
    before: String,
}

impl Statistics {
    /// Begins.
    ///
    /// # Errors
    /// When the kernel cannot, or this process may not tell it to.
    pub fn on() -> Result<Self> {
        let before = std::fs::read_to_string(SWITCH).context("the kernel does not measure programs")?;
        if before.trim().parse::<u8>().is_err() {
            bail!("{SWITCH} says {before:?}");
        }
        std::fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }

    /// False if somebody else has told the kernel to stop meanwhile.
    #[must_use]
    pub fn are_on(&self) -> bool {
        std::fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "1")
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(SWITCH, self.before.trim()) {
            eprintln!("{SWITCH} stays on: {error}");
        }
    }
}

/// [`redtap_kernel::probe::measuring_ns`], which needs what `Statistics` keeps on.
///
/// # Errors
/// As there.
pub fn measuring_ns(_: &Statistics) -> Result<f64> {
    redtap_kernel::probe::measuring_ns().context("what measuring adds to a run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_number_and_times_and_a_link_does_not() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_id:\t74\nrun_time_ns:\t1234\nrun_cnt:\t10\n";
        assert_eq!(program(text), Some((74, Programs { ns: 1_234, runs: 10 })));
        assert_eq!(program("link_type:\ttracing\nlink_id:\t5\nprog_id:\t74\n"), None);
    }
}
