//! What the kernel says of a process: processor time, memory, and how often it slept and was woken.
//!
//! Read from `/proc` (proc(5)). Absent: sampling; each call reads once.

use anyhow::{Context as _, Result};
use rustix::param::clock_ticks_per_second;
use std::ops::Sub;
use std::path::PathBuf;

/// What a process used up to some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all threads, in nanoseconds; the kernel tells it in ticks (10 ms as a rule).
    pub cpu_ns: u64,
    /// Times that one of its present threads gave up the processor to wait.
    pub sleeps: u64,
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns), sleeps: self.sleeps.saturating_sub(earlier.sleeps) }
    }
}

impl Usage {
    /// Of a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let mut sleeps = 0;
        for thread in std::fs::read_dir(folder(pid).join("task"))? {
            // One that ended meanwhile is not counted.
            let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            sleeps += number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(Self { cpu_ns: ticks(pid, OWN)?, sleeps })
    }

    /// Of a process and its children, those included that ended and that it waited for (a session of a database may be a
    /// process).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of_family(pid: u32) -> Result<Self> {
        let mut sum = Self { cpu_ns: ticks(pid, CHILDREN)?, sleeps: 0 };
        for process in family(pid)? {
            match Self::of(process) {
                Ok(of) => sum = Self { cpu_ns: sum.cpu_ns + of.cpu_ns, sleeps: sum.sleeps + of.sleeps },
                // A child that ended between being named and being looked at.
                Err(_) if process != pid => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }
}

/// Numbers of the first of two fields of `/proc/PID/stat`, user and system time: of the process, and of children waited for.
const OWN: usize = 14;
const CHILDREN: usize = 16;

/// Nanoseconds of two fields.
fn ticks(pid: u32, first: usize) -> Result<u64> {
    let stat = read(pid, "stat")?;
    // The name may hold anything; fields are counted from the last parenthesis. The first after it is field 3.
    let fields = stat.rsplit_once(')').context("a stat without a name")?.1;
    let both = fields.split_ascii_whitespace().skip(first - 3).take(2);
    let ticks: u64 = both.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks * (1_000_000_000 / clock_ticks_per_second().max(1)))
}

/// A process and its children.
///
/// # Errors
/// When the process is gone.
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut family = vec![pid];
    for thread in std::fs::read_dir(folder(pid).join("task")).with_context(|| format!("process {pid} is gone"))? {
        let children = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        family.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(family)
}

/// Resident memory of a process, KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// Its own: heap and stacks.
    pub anonymous: u64,
    /// Backed by files: the program, libraries, and the maps shared with the kernel (a ring is mapped twice and so counted
    /// twice).
    pub file: u64,
    /// The most it ever was.
    pub peak: u64,
}

impl Memory {
    /// Of a process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let of = |key| number(&status, key).with_context(|| format!("no {key} of {pid}"));
        Ok(Self { resident: of("VmRSS:")?, anonymous: of("RssAnon:")?, file: of("RssFile:")?, peak: of("VmHWM:")? })
    }
}

fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    std::fs::read_to_string(folder(pid).join(file)).with_context(|| format!("process {pid} is gone"))
}

/// The first number of the line that begins with `key`.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let before = Usage::of(std::process::id()).unwrap();
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.peak >= memory.resident, "{memory:?}");
        // Enough work for several ticks, however the clock runs.
        let mut after = before;
        while after.cpu_ns < before.cpu_ns + 20_000_000 {
            after = Usage::of(std::process::id()).unwrap();
        }
        assert!((after - before).cpu_ns >= 20_000_000);
    }

    #[test]
    fn takes_the_line_and_not_one_that_ends_like_it() {
        let status = "nonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(number(status, "voluntary_ctxt_switches:"), Some(7));
    }
}
