//! What an agent's kernel programs cost, as the kernel measures it (`kernel.bpf_stats_enabled`).
//!
//! Read from `/proc/PID/fdinfo`: of each program that the agent holds the kernel tells how often it ran and how long
//! (`bpf_prog_show_fdinfo` in `kernel/bpf/syscall.c`). So it is the same for every agent, and nobody else's programs count.
//! Measuring takes time itself, part of which falls into what is measured: [`measuring_ns`] says how much.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::ops::Sub;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// Where the kernel is told to measure programs.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Datagrams sent to an empty program, and how many must meet it: on a busy machine some are dropped before.
const EMPTY_RUNS: u32 = 50_000;
const LEAST_EMPTY_RUNS: u64 = 1_000;

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

/// What measuring adds to the measured time of a run, nanoseconds: the mean of an empty program, which as a filter drops
/// what arrives at a socket of this process. Its two instructions take about a nanosecond of it.
///
/// # Errors
/// When the program cannot be loaded, or did not run.
pub fn measuring_ns(_: &Statistics) -> Result<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let filter = redtap_kernel::features::drop_all(socket.as_fd());
    let filter = filter.map_err(|refusal| anyhow::anyhow!("no empty program: {refusal}"))?;
    let (sender, to) = (UdpSocket::bind("127.0.0.1:0")?, socket.local_addr()?);
    let read = || {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", filter.as_raw_fd()))?;
        program(&text).map(|(_, taken)| taken).context("a program without times")
    };
    let before = read()?;
    for _ in 0..EMPTY_RUNS {
        // A full queue is no matter: it does not fill, and runs are counted by the kernel.
        drop(sender.send_to(b"x", to));
    }
    let taken = read()? - before;
    ensure!(taken.runs >= LEAST_EMPTY_RUNS, "the empty program ran {} times", taken.runs);
    Ok(taken.ns as f64 / taken.runs as f64)
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
