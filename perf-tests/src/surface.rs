//! What the ways out cost: the agent with each of them on and off, under the same load, and with all of them stuck.
//!
//! Each column is a fresh agent with a configuration of its own, beside nginx under a fixed number of requests a second; columns take turns,
//! every other round backwards. Receivers are real and not watched; in the column `stuck` they are frozen, so that the kernel takes connections
//! and nobody answers, and somebody follows calls without reading them.
//!
//! Processor time is of threads, from `/proc/PID/task/*/schedstat`, in nanoseconds: what other processes do does not count, but
//! what they do to caches does, so columns are compared within a round.
//!
//! **Invariant:** no time decides whether this fails; what fails is a request or a sample that is not accounted for.

use crate::generator::{Order, Outcome, Speech};
use crate::measure::process::Memory;
use crate::statistics::Spread;
use anyhow::{Context as _, Result, ensure};
use redtap_e2e::agent::{Agent, binary};
use redtap_e2e::clients::Kit;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::otel_collector::OtelCollector;
use redtap_e2e::servers::store::{Product, Store};
use redtap_e2e::stopwatch::now;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

/// What is measured, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of all columns.
    pub rounds: u32,
    /// Seconds of load a column.
    pub seconds: u32,
    /// Requests a second.
    pub rate: u32,
    /// Starts with nothing on and as many with all on.
    pub starts: u32,
}

/// Connections of the load.
const CONNECTIONS: u32 = 32;
/// Requests that nginx answered, as the agent counts them.
const SERVED: &str = "http_server_request_duration_seconds_count";
/// The threads that every event passes.
const PIPELINE: [&str; 2] = ["redtap-drain-0", "redtap-stages"];

/// A way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    History,
    Calls,
    Alarms,
    RemoteWrite,
    OtlpMetrics,
    OtlpTraces,
}

/// Which ways are on, by name.
const COLUMNS: [(&str, &[Way]); 9] = [
    ("nothing", &[]),
    ("history", &[Way::History]),
    ("calls", &[Way::Calls]),
    ("alarms", &[Way::Alarms]),
    ("remote write", &[Way::RemoteWrite]),
    ("OTLP metrics", &[Way::OtlpMetrics]),
    ("OTLP spans", &[Way::OtlpTraces]),
    ("all", ALL),
    (STUCK, ALL),
];
const ALL: &[Way] = &[Way::History, Way::Calls, Way::Alarms, Way::RemoteWrite, Way::OtlpMetrics, Way::OtlpTraces];
const STUCK: &str = "all, stuck";

/// What one column of one round was.
#[derive(Debug, Clone, Default)]
struct Measured {
    /// Processor time of the agent a request, of the threads that every event passes, and of all, us.
    pipeline: f64,
    all: f64,
    /// Processor time a second of the others, by name, ms.
    threads: BTreeMap<String, f64>,
    resident: f64,
    anonymous: f64,
    series: f64,
}

/// Where everything is.
struct Ground {
    watched: Sandbox,
    beside: Sandbox,
    nginx: Nginx,
    store: Store,
    collector: OtelCollector,
}

/// Measures and prints.
///
/// # Errors
/// When something does not start, or something is not accounted for.
pub fn run(plan: Plan) -> Result<()> {
    if !redtap_e2e::can_run_with(&["nginx"], &[Kit::Prometheus, Kit::OtelCollector]) {
        return Ok(());
    }
    let beside = Sandbox::new("surface-beside")?;
    let watched = Sandbox::new("surface")?;
    let ground = Ground {
        nginx: Nginx::start(&watched, 1)?,
        store: Store::start(&beside, Product::Prometheus)?,
        collector: OtelCollector::start(&beside)?,
        watched,
        beside,
    };
    let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); COLUMNS.len()];
    for round in 0..plan.rounds {
        let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        for column in order {
            let Some((name, ways)) = COLUMNS.get(column) else { continue };
            eprintln!("round {} of {}: {name}", round + 1, plan.rounds);
            let measured = ground.measure(name, ways, plan).with_context(|| format!("column {name}"))?;
            if let Some(rounds) = rounds.get_mut(column) {
                rounds.push(measured);
            }
        }
    }
    print(plan, &rounds);
    starts(&ground, plan.starts)
}

impl Ground {
    fn config(&self, ways: &[Way]) -> String {
        let on = |way| ways.contains(&way);
        let mut text = format!(
            "[history]\nmemory = \"{}\"\n[calls]\nkeep = {}\n[alarms]\nenabled = {}\ninterval = \"1s\"\n",
            if on(Way::History) { "32MiB" } else { "1MiB" },
            if on(Way::Calls) { 2_000 } else { 0 },
            on(Way::Alarms),
        );
        if on(Way::RemoteWrite) {
            text += &format!("[remote_write]\nurl = \"{}\"\ninterval = \"1s\"\n", self.store.write_url());
        }
        if on(Way::OtlpMetrics) || on(Way::OtlpTraces) {
            text += "[otlp]\ninterval = \"1s\"\n";
        }
        for (way, key) in [(Way::OtlpMetrics, "metrics"), (Way::OtlpTraces, "traces")] {
            if on(way) {
                text += &format!("{key}_endpoint = \"{}/v1/{key}\"\n", self.collector.endpoint());
            }
        }
        text
    }

    fn agent(&self, ways: &[Way]) -> Result<Agent> {
        self.watched.write("redtap.toml", &self.config(ways))?;
        Agent::start(&self.watched, &[])
    }

    /// Receivers take connections and answer nothing, or go on.
    fn freeze(&self, frozen: bool) -> Result<()> {
        Ok(std::fs::write(self.beside.cgroup().join("cgroup.freeze"), if frozen { "1" } else { "0" })?)
    }

    fn measure(&self, name: &str, ways: &[Way], plan: Plan) -> Result<Measured> {
        self.freeze(name == STUCK)?;
        let agent = self.agent(ways)?;
        let mut reader = None;
        if name == STUCK {
            let mut one = TcpStream::connect(("127.0.0.1", agent.port()))?;
            one.write_all(b"GET /api/v1/calls?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            reader = Some(one);
        }
        let mut requests = self.load(1, plan.rate)?;
        let (began, before) = (now(), threads(agent.pid())?);
        let answered = self.load(plan.seconds, plan.rate)?;
        let (after, seconds) = (threads(agent.pid())?, (now() - began) as f64 / 1e9);
        requests += answered;
        let memory = Memory::of(agent.pid())?;
        let metrics = agent.metrics_until(|metrics| metrics.sum(SERVED, &[]) >= requests)?;
        account(&metrics, requests, name == STUCK, ways)?;
        drop(reader);
        agent.stop()?;
        self.freeze(false)?;
        let mut measured = Measured {
            resident: memory.resident as f64,
            anonymous: memory.anonymous as f64,
            series: value(&metrics, "redtap_series"),
            ..Measured::default()
        };
        for (thread, ns) in after {
            let spent = ns.saturating_sub(before.get(&thread).copied().unwrap_or(0)) as f64;
            measured.all += spent / answered as f64 / 1e3;
            if PIPELINE.contains(&thread.1.as_str()) {
                measured.pipeline += spent / answered as f64 / 1e3;
            } else {
                *measured.threads.entry(thread.1).or_default() += spent / seconds / 1e6;
            }
        }
        Ok(measured)
    }

    /// So many seconds; how many requests were answered.
    fn load(&self, seconds: u32, rate: u32) -> Result<u64> {
        let port = self.nginx.url("").rsplit(':').next().and_then(|port| port.parse().ok()).context("a port")?;
        let order = Order {
            speech: Speech::Http { path: "/users/1".to_owned() },
            port,
            connections: CONNECTIONS,
            rate: Some(f64::from(rate)),
            seconds: f64::from(seconds),
            seed: 1,
        };
        let own = std::env::current_exe()?;
        let own = own.to_str().context("a path that is not text")?;
        let said = self.watched.run(own, &["generate", &serde_json::to_string(&order)?])?;
        let outcome: Outcome = serde_json::from_str(&said)?;
        ensure!(outcome.latency.unanswered == 0, "{} requests were not answered", outcome.latency.unanswered);
        Ok(outcome.latency.requests)
    }
}

/// The sum of all series of a name.
fn value(metrics: &Metrics, name: &str) -> f64 {
    metrics.samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
}

/// Nothing is missing in the pipeline, and what exporters could not deliver is counted.
fn account(metrics: &Metrics, requests: u64, stuck: bool, ways: &[Way]) -> Result<()> {
    let served = metrics.sum(SERVED, &[]);
    ensure!(served == requests, "nginx answered {requests} requests, the agent counts {served}");
    let of = |what: &str| metrics.sum(&format!("redtap_exchanges_{what}"), &[]);
    let (seen, reported) = (of("seen_total"), of("reported_total"));
    let lost = of("missed_total") + of("dropped_total") + of("lost_total") + of("undelivered_total");
    ensure!(seen == reported + of("pending") && lost == 0, "{seen} seen, {reported} reported, {lost} lost");
    for (way, exporter) in
        [(Way::RemoteWrite, "remote_write"), (Way::OtlpMetrics, "otlp_metrics"), (Way::OtlpTraces, "otlp_traces")]
    {
        if !ways.contains(&way) {
            continue;
        }
        let of = |what: &str| metrics.sum(&format!("redtap_export_{what}"), &[("exporter", exporter)]);
        let (gathered, delivered) = (of("gathered_total"), of("delivered_total"));
        let rest = of("undelivered_total") + of("pending");
        ensure!(gathered > 0, "{exporter} took nothing up");
        ensure!(gathered == delivered + rest, "{exporter}: {gathered} taken up, {delivered} delivered, {rest} not");
        ensure!(!stuck || delivered == 0, "{exporter} delivered {delivered} to nobody");
    }
    Ok(())
}

/// A thread, by id and name.
type Thread = (u32, String);

/// Processor time of a process's threads, ns.
fn threads(pid: u32) -> Result<BTreeMap<Thread, u64>> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // One that ended meanwhile is not counted.
        let Ok(spent) = std::fs::read_to_string(task.join("schedstat")) else { continue };
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned();
        let tid = task.file_name().and_then(|name| name.to_str()?.parse().ok()).context("a thread without a number")?;
        let ns = spent.split(' ').next().and_then(|ns| ns.parse().ok()).context("no processor time")?;
        all.insert((tid, name), ns);
    }
    Ok(all)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(&values.collect::<Vec<_>>()).map_or(0.0, |spread| spread.median)
}

/// Median, least and most of what `of` is in each round, times what it is in the column `against`.
fn ratio(rounds: &[Vec<Measured>], column: usize, against: usize, of: fn(&Measured) -> f64) -> Option<Spread> {
    let (these, those) = (rounds.get(column)?, rounds.get(against)?);
    Spread::of(&these.iter().zip(those).map(|(this, that)| of(this) / of(that)).collect::<Vec<_>>())
}

fn print(plan: Plan, rounds: &[Vec<Measured>]) {
    let Plan { rounds: n, seconds, rate, .. } = plan;
    println!("{n} rounds of {seconds} s at {rate} requests a second, both ends watched; medians (least to most)\n");
    println!(
        "| column | agent, us a request | times nothing | pipeline, us a request | times nothing | export, ms/s | calls, ms/s | history, ms/s | resident, KiB | anonymous, KiB |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    let shown = |spread: Option<Spread>| {
        spread.map_or_else(String::new, |one| format!("{:.2} ({:.2} to {:.2})", one.median, one.least, one.most))
    };
    for (column, ((name, _), measured)) in COLUMNS.iter().zip(rounds).enumerate() {
        let thread = |name: &str| median(measured.iter().map(|one| one.threads.get(name).copied().unwrap_or(0.0)));
        println!(
            "| {name} | {:.2} | {} | {:.2} | {} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
            median(measured.iter().map(|one| one.all)),
            shown(ratio(rounds, column, 0, |one| one.all)),
            median(measured.iter().map(|one| one.pipeline)),
            shown(ratio(rounds, column, 0, |one| one.pipeline)),
            thread("redtap-export"),
            thread("redtap-calls"),
            thread("redtap-history"),
            median(measured.iter().map(|one| one.resident)),
            median(measured.iter().map(|one| one.anonymous)),
        );
    }
    let last = COLUMNS.len() - 1;
    println!("\nseries: {:.0}", median(rounds.iter().flatten().map(|one| one.series)));
    println!("pipeline, all stuck, times all delivered: {}", shown(ratio(rounds, last, last - 1, |one| one.pipeline)));
}

/// From the start until ready, and the size of the program.
fn starts(ground: &Ground, starts: u32) -> Result<()> {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..starts {
        for (ways, took) in [&[][..], ALL].into_iter().zip(&mut took) {
            let began = now();
            let agent = ground.agent(ways)?;
            took.push((now() - began) as f64 / 1e6);
            agent.stop()?;
        }
    }
    for (name, took) in ["nothing", "all"].into_iter().zip(&took) {
        if let Some(spread) = Spread::of(took) {
            println!(
                "ready after a start, {name} on: {:.0} ms ({:.0} to {:.0}; {starts} starts)",
                spread.median, spread.least, spread.most
            );
        }
    }
    println!("the program: {} bytes", std::fs::metadata(binary())?.len());
    Ok(())
}
