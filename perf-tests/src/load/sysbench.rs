//! sysbench's `oltp_point_select` on MariaDB: one prepared select by primary key. Closed loop, or open at a rate (arrivals
//! are random there, as many a second in the mean): a latency includes the time in its queue of due events.

use super::{Load, number_after};
use crate::case::{LoadPlan, SteadyPlan, Tool};
use crate::latency::Latency;
use crate::server::SYSBENCH_USER;
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use redtap_e2e::clients::sql::PASSWORD;

pub(super) fn prepare(load: &Load<'_>) -> Result<()> {
    call(load, 1, "prepare", &[]).map(drop)
}

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    let text = call(load, plan.connections, "run", &[&format!("--time={seconds}"), "--percentile=0"])?;
    // transactions:  12345  (4115.00 per sec.)
    number_after(&text, "transactions:").and_then(|_| {
        let line = text.lines().find(|line| line.contains("transactions:")).unwrap_or_default();
        number_after(line, "(")
    })
}

pub(super) fn keep(load: &Load<'_>, steady: &SteadyPlan, rate: f64, seconds: u32) -> Result<Latency> {
    let (rate, time) = (format!("--rate={rate:.0}"), format!("--time={seconds}"));
    let text = call(load, steady.connections, "run", &[&rate, &time, "--histogram=on"])?;
    let mut histogram = Histogram::<u64>::new(3)?;
    for (ms, count) in text.lines().filter_map(bucket) {
        histogram.record_n(crate::latency::whole(ms * 1e6), count)?;
    }
    ensure!(!histogram.is_empty(), "sysbench shows no histogram:\n{text}");
    // total time:                          10.0010s
    Ok(Latency::of(&histogram, number_after(&text, "total time:")?, 0))
}

/// Of a line such as `       0.062 |*****             123`: milliseconds and how many. Buckets are 1 % to 2 % apart.
fn bucket(line: &str) -> Option<(f64, u64)> {
    let (value, rest) = line.split_once('|')?;
    Some((value.trim().parse().ok()?, rest.split_ascii_whitespace().last()?.parse().ok()?))
}

fn call(load: &Load<'_>, threads: u32, command: &str, more: &[&str]) -> Result<String> {
    let (port, threads) =
        (format!("--mysql-port={}", load.server.port(Tool::Sysbench)), format!("--threads={threads}"));
    let (user, password) = (format!("--mysql-user={SYSBENCH_USER}"), format!("--mysql-password={PASSWORD}"));
    let seed = format!("--rand-seed={}", load.seed.max(1));
    let mut arguments = vec!["oltp_point_select", "--mysql-host=127.0.0.1", "--mysql-db=sbtest", "--table-size=10000"];
    arguments.extend([port.as_str(), &threads, &user, &password, &seed]);
    arguments.extend(more);
    arguments.push(command);
    load.run("sysbench", &arguments)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_a_line_of_the_histogram() {
        assert_eq!(super::bucket("       0.062 |*****                         123"), Some((0.062, 123)));
        assert_eq!(super::bucket("       value  ------------- distribution ------------- count"), None);
    }
}
