//! What the agent itself costs, out of `/proc/self/stat`.

use std::time::Duration;

/// Cost of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Now; zeros where the system does not tell.
    #[must_use]
    pub fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second();
        let page = rustix::param::page_size() as u64;
        Self::parse(&stat, ticks, page).unwrap_or_default()
    }

    /// Fields 14, 15 (ticks), 20 (threads) and 24 (pages), counted behind the last parenthesis, where field 3 is the first.
    fn parse(stat: &str, ticks: u64, page: u64) -> Option<Self> {
        let fields: Vec<u64> = stat
            .get(stat.rfind(')')? + 1..)?
            .split_ascii_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        let millis = (field(14)? + field(15)?).saturating_mul(1_000).checked_div(ticks)?;
        Some(Self {
            cpu: Duration::from_millis(millis),
            threads: field(20)?,
            resident_bytes: field(24)?.saturating_mul(page),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_right_fields_whatever_the_name_holds() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194560 9 9 9 9 150 25 9 9 20 0 6 0 999 88888 300 18446744073709551615 1";
        let usage = Usage::parse(stat, 100, 4_096).unwrap();
        assert_eq!(usage, Usage { cpu: Duration::from_millis(1_750), resident_bytes: 300 * 4_096, threads: 6 });
        assert_eq!(Usage::parse("", 100, 4_096), None);
        assert_eq!(Usage::parse(stat, 0, 4_096), None);
    }

    #[test]
    fn finds_this_process() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 0 && usage.threads > 0, "{usage:?}");
    }
}
