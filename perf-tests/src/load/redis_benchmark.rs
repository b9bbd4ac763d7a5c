//! redis-benchmark: GET, so many commands sent at once a connection. Closed loop; it takes a number of requests, not a time.

use super::{Load, requests};
use crate::case::{LoadPlan, Tool};
use anyhow::{Context as _, Result};

/// Requests a second to begin with, for each command sent at once up to 16.
const GUESS: f64 = 30_000.0;

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    let port = load.server.port(Tool::RedisBenchmark).to_string();
    let count = requests(load, GUESS * f64::from(plan.pipeline.min(16)), seconds).to_string();
    let (connections, pipeline) = (plan.connections.to_string(), plan.pipeline.to_string());
    let arguments = ["-p", &port, "-c", &connections, "-P", &pipeline, "-n", &count, "-t", "get", "--csv"];
    rate(&load.run("redis-benchmark", &arguments)?)
}

/// Of a line such as `"GET","135135.14","0.193",...`.
fn rate(text: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("\"GET\",\""));
    let rate = line.and_then(|rest| rest.split('"').next()?.parse().ok());
    rate.with_context(|| format!("redis-benchmark says no rate:\n{text}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_rate() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"135135.14\",\"0.193\"\n";
        assert_eq!(super::rate(text).unwrap(), 135_135.14);
        assert!(super::rate("WARNING").is_err());
    }
}
