//! h2load: HTTP/2 by prior knowledge, so many streams at once a connection; gRPC as HTTP/2 with its headers and one message.
//!
//! Closed loop at saturation. At a rate it sends so many requests a second and connection, as long as streams are free; it
//! logs when each began and ended, so a latency counts from when the request was sent. With a hundred streams free on each
//! connection none waits to be sent unless the server stalls for long: only then is the omission not corrected.

use super::{Load, number_after, requests};
use crate::case::{LoadPlan, ServerKind, SteadyPlan, Tool};
use crate::latency::{Latency, whole};
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

/// Requests a second to begin with.
const GUESS: f64 = 10_000.0;

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    let count = requests(load, GUESS, seconds);
    let text = call(load, plan.connections, plan, count, &[])?;
    // finished in 1.01s, 98765.43 req/s, 12.3MB/s
    let line = text.lines().find(|line| line.starts_with("finished in"));
    let rate = line.and_then(|line| line.split(", ").nth(1)?.strip_suffix(" req/s")?.parse().ok());
    rate.with_context(|| format!("h2load says no rate:\n{text}"))
}

pub(super) fn keep(load: &Load<'_>, steady: &SteadyPlan, plan: &LoadPlan, rate: f64, seconds: u32) -> Result<Latency> {
    let log = load.sandbox.folder().join("h2load.log");
    drop(std::fs::remove_file(&log));
    let file = format!("--log-file={}", log.display());
    let each = (rate / f64::from(steady.connections)).floor().max(1.0);
    let count = whole(each * f64::from(steady.connections) * f64::from(seconds)).max(1);
    call(load, steady.connections, plan, count, &[&format!("--rps={each}"), &file])?;
    let mut histogram = Histogram::<u64>::new(3)?;
    let (mut first, mut last) = (u64::MAX, 0);
    for line in std::fs::read_to_string(&log)?.lines() {
        // Start (us), status, us until the end.
        let mut fields = line.split('\t');
        let (start, status, taken) = (fields.next(), fields.next(), fields.next());
        ensure!(status == Some("200"), "a request failed: {line}");
        let start: u64 = start.and_then(|start| start.parse().ok()).context("no start in h2load's log")?;
        let taken: u64 = taken.and_then(|taken| taken.parse().ok()).context("no time in h2load's log")?;
        (first, last) = (first.min(start), last.max(start + taken));
        histogram.record(taken * 1_000)?;
    }
    ensure!(histogram.len() == count, "h2load logged {} of {count} requests", histogram.len());
    Ok(Latency::of(&histogram, (last - first) as f64 / 1e6, 0))
}

fn call(load: &Load<'_>, connections: u32, plan: &LoadPlan, count: u64, more: &[&str]) -> Result<String> {
    let grpc = load.server.kind() == ServerKind::Grpc;
    let path = if grpc { "/perf.v1.Echo/Say" } else { &plan.path };
    let url = format!("http://127.0.0.1:{}{path}", load.server.port(Tool::H2load));
    let (connections, streams, count_text) = (connections.to_string(), plan.streams.to_string(), count.to_string());
    let mut arguments = vec!["-t", "1", "-c", &connections, "-m", &streams, "-n", &count_text];
    arguments.extend(more);
    let message;
    if grpc {
        let body = load.sandbox.folder().join("message");
        // A message of 32 bytes behind its prefix.
        std::fs::write(&body, [&[0, 0, 0, 0, 32][..], &[7; 32]].concat())?;
        message = body.display().to_string();
        arguments.extend(["-d", &message, "-H", "content-type: application/grpc", "-H", "te: trailers"]);
    }
    arguments.push(&url);
    let text = load.run("h2load", &arguments)?;
    // requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
    let line = text.lines().find(|line| line.starts_with("requests:")).unwrap_or_default();
    let fine = format!("{count} succeeded, 0 failed, 0 errored");
    ensure!(line.contains(&fine), "the load met errors:\n{text}");
    ensure!(number_after(&text, "status codes:")? == count as f64, "not all were answered with 200:\n{text}");
    Ok(text)
}
