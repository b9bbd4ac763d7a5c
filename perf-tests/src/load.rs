//! What asks the server: one type over the tools, each in a file of its own with how it is called and what it says.
//!
//! At saturation a tool sends as fast as answers come (a closed loop) and tells requests a second. At a constant rate
//! requests are due at fixed times, and a latency counts from when the request was due: a server that stalls does not
//! slow the questions down and so hide that it stalled (coordinated omission). What a tool does differently is said in
//! its file and in the report.

mod churn;
mod dnsperf;
mod h2load;
mod own;
mod pgbench;
mod redis_benchmark;
mod sysbench;
mod wrk;

pub(crate) use own::speech;

use crate::case::{LoadPlan, SteadyPlan, Tool};
use crate::latency::Latency;
use crate::pin::Cpus;
use crate::server::Server;
use anyhow::{Context as _, Result, bail};
use redtap_e2e::sandbox::Sandbox;
use std::cell::Cell;

/// Where a load comes from and whom it asks.
#[derive(Debug)]
pub struct Load<'a> {
    /// Whom.
    pub server: &'a Server,
    /// Whose folder holds the tools' files, and whose cgroup they are born in.
    pub sandbox: &'a Sandbox,
    /// Where the tools run.
    pub cpus: Option<&'a Cpus>,
    /// Of what is random.
    pub seed: u64,
    /// Requests a second that were reached last: tools that take a number of requests and not a time need it.
    pub reached: Cell<Option<f64>>,
}

impl Load<'_> {
    /// Requests a second, as fast as they are answered, for about so many seconds.
    ///
    /// # Errors
    /// When the tool fails or saw errors.
    pub fn saturate(&self, plan: &LoadPlan, seconds: u32) -> Result<f64> {
        let rate = match plan.kind {
            Tool::Wrk => wrk::saturate(self, plan, seconds),
            Tool::H2load => h2load::saturate(self, plan, seconds),
            Tool::RedisBenchmark => redis_benchmark::saturate(self, plan, seconds),
            Tool::Sysbench => sysbench::saturate(self, plan, seconds),
            Tool::Pgbench => pgbench::saturate(self, plan, seconds),
            Tool::Dnsperf => dnsperf::saturate(self, plan, seconds),
            Tool::Own => own::saturate(self, plan, seconds),
            Tool::Churn => churn::saturate(self, plan),
        };
        let rate = rate.with_context(|| format!("{:?} at saturation", plan.kind))?;
        self.reached.set(Some(rate));
        Ok(rate)
    }

    /// Latencies at `rate` requests a second, for so many seconds.
    ///
    /// # Errors
    /// When the tool fails or saw errors.
    pub fn keep(&self, steady: &SteadyPlan, plan: &LoadPlan, rate: f64, seconds: u32) -> Result<Latency> {
        let latency = match steady.kind {
            Tool::H2load => h2load::keep(self, steady, plan, rate, seconds),
            Tool::Sysbench => sysbench::keep(self, steady, rate, seconds),
            Tool::Pgbench => pgbench::keep(self, steady, rate, seconds),
            Tool::Own => own::keep(self, steady, plan, rate, seconds),
            other => bail!("{other:?} keeps no rate"),
        };
        latency.with_context(|| format!("{:?} at {rate:.0} a second", steady.kind))
    }

    /// Gets the server ready for a tool: tables, first requests. Once, before anything is measured.
    ///
    /// # Errors
    /// When that fails.
    pub fn prepare(&self, plan: &LoadPlan) -> Result<()> {
        match plan.kind {
            Tool::Sysbench => sysbench::prepare(self),
            _ => Ok(()),
        }
    }

    /// Runs a tool to its end where it belongs; what it printed.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let pinned: Vec<&str>;
        let cpus = self.cpus.map(ToString::to_string);
        let (program, arguments) = match &cpus {
            Some(cpus) => {
                pinned = ["-c", cpus, program].iter().chain(arguments).copied().collect();
                ("taskset", pinned.as_slice())
            }
            None => (program, arguments),
        };
        self.sandbox.run(program, arguments)
    }

    /// This program itself, as a tool.
    fn run_self(&self, arguments: &[&str]) -> Result<String> {
        let program = std::env::current_exe()?;
        self.run(program.to_str().context("a path that is not text")?, arguments)
    }
}

/// The number behind `key` on the first line that has it.
fn number_after(text: &str, key: &str) -> Result<f64> {
    let rest = text.lines().find_map(|line| line.split_once(key)).map(|(_, rest)| rest.trim());
    let number = rest.map(|rest| rest.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next());
    number
        .flatten()
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no number behind {key:?}:\n{text}"))
}

/// Requests in so many seconds, for tools that take a number: from the rate reached last, else from `guess`.
fn requests(load: &Load<'_>, guess: f64, seconds: u32) -> u64 {
    let rate = load.reached.get().unwrap_or(guess);
    crate::latency::whole(rate * f64::from(seconds)).max(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_number_behind_a_word() {
        assert_eq!(number_after("a: 1\nRequests/sec:  53.25\n", "Requests/sec:").unwrap(), 53.25);
        assert_eq!(number_after("tps = 7.5 (without)", "tps =").unwrap(), 7.5);
        assert!(number_after("nothing", "tps").is_err());
    }
}
