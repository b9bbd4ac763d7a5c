//! Which processors a process may run on (sched_setaffinity(2)).

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fmt;
use std::str::FromStr;

/// A set of processors, as taskset(1) writes it: `0`, `2,3`, `4-7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus {
    numbers: Vec<usize>,
    text: String,
}

impl FromStr for Cpus {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<usize>().with_context(|| format!("{text:?} is no processor"));
            numbers.extend(number(first)?..=number(last)?);
        }
        let most = CpuSet::MAX_CPU;
        ensure!(!numbers.is_empty() && numbers.iter().all(|number| *number < most), "{text:?} is not below {most}");
        Ok(Self { numbers, text: text.to_owned() })
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Where server and load run; nothing is said of the agent, which runs where the kernel puts it, as at a user's.
#[derive(Debug, Clone, Default)]
pub struct Pinning {
    /// The server.
    pub server: Option<Cpus>,
    /// What asks it.
    pub load: Option<Cpus>,
}

impl Pinning {
    /// One processor each, if there are two.
    ///
    /// # Errors
    /// Never: the texts are right.
    pub fn usual(processors: usize) -> Result<Self> {
        if processors < 2 {
            return Ok(Self::default());
        }
        Ok(Self { server: Some("0".parse()?), load: Some("1".parse()?) })
    }
}

/// Pins a process and its children, all threads of each; those that come later inherit it.
///
/// # Errors
/// When the process is gone, or there is no such processor.
pub fn family(pid: u32, cpus: &Cpus) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.numbers.iter().for_each(|number| set.set(*number));
    for process in crate::measure::process::family(pid)? {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            // One that ended meanwhile needs no place.
            match sched_setaffinity(thread, &set) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot pin {process} to {cpus}")),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_and_ranges_and_refuses_what_is_none() {
        assert_eq!("0,2-4".parse::<Cpus>().unwrap().numbers, [0, 2, 3, 4]);
        assert!("".parse::<Cpus>().is_err());
        assert!("x".parse::<Cpus>().is_err());
        assert!("99999".parse::<Cpus>().is_err());
    }
}
