//! Question: what does the agent cost the machine it watches?
//!
//! Claim: on nginx under wrk, socket rung: at most 2 us of the agent's processor time a request, at most 5 % fewer requests a
//! second, at most 40 MB resident.
//!
//! Rounds without and with the agent take turns (A B B A ...), so that a machine that grows slower or faster meets both alike;
//! medians, and the spread from the least to the most. The server has one worker and wrk one thread: on a machine with two
//! processors both are busy, and every cycle of the agent is taken from them. Once wrk is in the watched cgroup (every request is
//! seen at both ends) and once outside of it. What the kernel programs cost is measured in a round of its own, because
//! measuring them costs time itself.
//!
//! Needs root, nginx and wrk, and an agent built before: `cargo build --release`, or `REDTAP_BIN`.
//!
//! `cargo run --release -p redtap-benches --bin overhead -- [--rung socket|syscall] [--rounds N] [--seconds S] [--quick]`

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use redtap_benches::process::{Memory, Usage};
use redtap_benches::stopwatch;
use redtap_benches::web::{Client, Web};
use redtap_e2e::agent::{self, Agent};
use redtap_e2e::can_run;
use redtap_e2e::prometheus::{Metrics, Sample};
use redtap_e2e::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds of load before a round is measured.
const WARM: u32 = 1;
/// Where the kernel is told to measure programs.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
const SERVER: &str = "http_server_request_duration_seconds_count";

#[derive(Debug, Clone, Parser)]
struct Options {
    /// What watches: `socket` or `syscall`.
    #[arg(long, default_value = "socket")]
    rung: String,
    /// Rounds without the agent, and as many with it.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load a round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Connections of wrk.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    connections: u16,
    /// Requests before memory is looked at again.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    memory_requests: u64,
    /// Less than a minute: two rounds of 2 s, memory after 100 000 requests.
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.seconds, options.memory_requests) = (2, 2, 100_000);
    }
    ensure!(can_run(&["nginx", "wrk"]), "cannot run here");
    ensure!(agent::binary().is_file(), "no {}: run `cargo build --release` first", agent::binary().display());
    say_where(&options);
    let bench = Bench { options };
    for client in [Client::Watched, Client::Outside] {
        let rounds = bench.rounds(client)?;
        bench.report(client, &rounds);
    }
    bench.programs()?;
    bench.alone()
}

fn say_where(options: &Options) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "kernel {}, {processors} processors, load before {}",
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg")
    );
    println!(
        "{} rung; nginx: 1 worker, 1 kB, no access log; wrk -t 1 -c {}; {} rounds each way of {} s\n",
        options.rung, options.connections, options.rounds, options.seconds
    );
    println!("{:34} {:>9} {:>9} {:>9}", "", "median", "least", "most");
}

/// One round of load.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// As wrk counts.
    rate: f64,
    /// Processor time of nginx a request, us.
    server_us: f64,
    /// Processor time of the agent a request, us; without one 0.
    agent_us: f64,
}

/// Rounds that were measured one after the other.
#[derive(Debug, Default)]
struct Rounds {
    without: Vec<Round>,
    with: Vec<Round>,
    /// Requests that nginx counted while the agent ran, and those that the agent counted.
    counted: (u64, u64),
    /// What the agents said of the difference, if there was one: rounds in which a counter of losses stood above zero, and sum.
    losses: BTreeMap<String, (u32, f64)>,
}

impl Rounds {
    fn count(&mut self, answered: u64, metrics: &Metrics) {
        let reported = metrics.sum(SERVER, &[]);
        self.counted.0 += answered;
        self.counted.1 += reported;
        if answered != reported {
            let difference = ("nginx counted more".to_owned(), answered as f64 - reported as f64);
            for (name, value) in metrics.samples.iter().filter_map(loss).chain([difference]) {
                let sum = self.losses.entry(name).or_default();
                *sum = (sum.0 + 1, sum.1 + value);
            }
        }
    }
}

/// A counter of the agent that says that something was not counted, and why.
fn loss(sample: &Sample) -> Option<(String, f64)> {
    let told = ["missed", "refused", "lost", "dropped", "rejected", "unreadable", "pending"];
    let tells = sample.name.starts_with("redtap_") && told.iter().any(|word| sample.name.contains(word));
    let labels = ["stage", "reason"].map(|key| sample.label(key)).join(" ");
    (tells && sample.value > 0.0).then(|| (format!("{} {labels}", sample.name), sample.value))
}

struct Bench {
    options: Options,
}

impl Bench {
    fn rounds(&self, client: Client) -> Result<Rounds> {
        let sandbox = Sandbox::new("overhead")?;
        let web = Web::start(&sandbox)?;
        let mut rounds = Rounds::default();
        for pair in 0..self.options.rounds {
            // A B, B A, A B, ...
            let first = !pair.is_multiple_of(2);
            for with in [first, !first] {
                if with {
                    let round = self.watched(&sandbox, &web, client, &mut rounds)?;
                    rounds.with.push(round);
                } else {
                    rounds.without.push(self.round(&sandbox, &web, client, None)?);
                }
            }
        }
        Ok(rounds)
    }

    fn watched(&self, sandbox: &Sandbox, web: &Web, client: Client, rounds: &mut Rounds) -> Result<Round> {
        let before = web.requests()?;
        let agent = Agent::start(sandbox, &["--rung", &self.options.rung])?;
        let round = self.round(sandbox, web, client, Some(&agent))?;
        let requests = web.requests()? - before;
        rounds.count(requests, &settled(&agent, requests)?);
        agent.stop()?;
        Ok(round)
    }

    fn round(&self, sandbox: &Sandbox, web: &Web, client: Client, agent: Option<&Agent>) -> Result<Round> {
        let Options { connections, seconds, .. } = self.options;
        let used = || agent.map_or(Ok(Usage::default()), |agent| Usage::of(agent.pid()));
        web.load(sandbox, client, connections, WARM)?;
        let (requests, server, own) = (web.requests()?, Usage::of_family(web.pid())?, used()?);
        let rate = web.load(sandbox, client, connections, seconds)?;
        let (requests, server) = (web.requests()? - requests, Usage::of_family(web.pid())? - server);
        // What the agent has not worked off yet counts as well: at most a few ms.
        std::thread::sleep(Duration::from_millis(100));
        let own = used()? - own;
        ensure!(requests > 0, "no request");
        let each = |usage: Usage| usage.cpu_ns as f64 / 1e3 / requests as f64;
        Ok(Round { rate, server_us: each(server), agent_us: each(own) })
    }

    fn report(&self, client: Client, rounds: &Rounds) {
        match client {
            Client::Watched => println!("both ends watched"),
            Client::Outside => println!("server watched, wrk outside"),
        }
        let of = |rounds: &[Round], what: fn(&Round) -> f64| rounds.iter().map(what).collect::<Vec<_>>();
        line("requests/s without", "", &of(&rounds.without, |round| round.rate));
        line("requests/s with", "", &of(&rounds.with, |round| round.rate));
        let pairs = rounds.without.iter().zip(&rounds.with);
        let lost: Vec<f64> = pairs.map(|(without, with)| 100.0 * (1.0 - with.rate / without.rate)).collect();
        line("fewer with, by pairs", "%", &lost);
        line("server CPU a request without", "us", &of(&rounds.without, |round| round.server_us));
        line("server CPU a request with", "us", &of(&rounds.with, |round| round.server_us));
        line("agent CPU a request", "us", &of(&rounds.with, |round| round.agent_us));
        let (answered, reported) = rounds.counted;
        println!("  nginx counted {answered}, the agent {reported}");
        for (what, (times, sum)) in &rounds.losses {
            println!("    {what}: {sum} in {times} rounds");
        }
        println!();
    }

    /// What the kernel programs cost.
    fn programs(&self) -> Result<()> {
        let statistics = Statistics::on()?;
        let sandbox = Sandbox::new("overhead")?;
        let web = Web::start(&sandbox)?;
        let agent = Agent::start(&sandbox, &["--rung", &self.options.rung])?;
        web.load(&sandbox, Client::Watched, self.options.connections, WARM)?;
        let (requests, before) = (web.requests()?, agent.metrics()?);
        web.load(&sandbox, Client::Watched, self.options.connections, self.options.seconds)?;
        let (requests, after) = (web.requests()? - requests, agent.metrics()?);
        drop(statistics);
        let gained = |name: &str| value(&after, name) - value(&before, name);
        let (ns, runs) = (gained("redtap_bpf_run_seconds_total") * 1e9, gained("redtap_bpf_runs_total"));
        let operations = gained("redtap_kernel_operations_total");
        ensure!(runs > 0.0 && operations > 0.0 && requests > 0, "the kernel programs did not run");
        println!("kernel programs, both ends watched (measuring adds some)");
        println!("  {:32} {:>9.0} ns", "a run", ns / runs);
        println!("  {:32} {:>9.0} ns", "an operation that moved data", ns / operations);
        println!("  {:32} {:>9.2}", "operations a request", operations / requests as f64);
        println!("  {:32} {:>9.2} us\n", "a request, in the applications", ns / 1e3 / requests as f64);
        agent.stop()?;
        Ok(())
    }

    /// What it costs while nothing happens, and its memory.
    fn alone(&self) -> Result<()> {
        let sandbox = Sandbox::new("overhead")?;
        let web = Web::start(&sandbox)?;
        let agent = Agent::start(&sandbox, &["--rung", &self.options.rung])?;
        // Past the half second after which a source counts as quiet.
        std::thread::sleep(Duration::from_secs(2));
        println!("memory, KiB {:>23} {:>10} {:>10} {:>10}", "resident", "anonymous", "file", "peak");
        memory("after start", Memory::of(agent.pid())?);
        let (began, before) = (stopwatch::now(), Usage::of(agent.pid())?);
        std::thread::sleep(Duration::from_secs(if self.options.quick { 5 } else { 20 }));
        let (idle, passed) = (Usage::of(agent.pid())? - before, stopwatch::now() - began);
        let first = web.requests()?;
        // At most ten minutes, on the slowest machine.
        for _ in 0..60 {
            if web.requests()? - first >= self.options.memory_requests {
                break;
            }
            web.load(&sandbox, Client::Watched, self.options.connections, if self.options.quick { 3 } else { 10 })?;
        }
        let requests = web.requests()? - first;
        std::thread::sleep(Duration::from_secs(2));
        memory(&format!("after {requests} requests"), Memory::of(agent.pid())?);
        let seconds = passed as f64 / 1e9;
        println!("idle, watching a server that nobody asks");
        println!("  {:32} {:>9.1} a second", "sleeps (and wake-ups)", idle.sleeps as f64 / seconds);
        println!("  {:32} {:>9.2} % of a processor", "CPU", idle.cpu_ns as f64 / passed as f64 * 100.0);
        agent.stop()?;
        Ok(())
    }
}

/// Scrapes until the agent has counted so many requests, at most 5 s; the last scrape.
fn settled(agent: &Agent, requests: u64) -> Result<Metrics> {
    let mut metrics = agent.metrics()?;
    for _ in 0..50 {
        if metrics.sum(SERVER, &[]) >= requests {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        metrics = agent.metrics()?;
    }
    Ok(metrics)
}

fn value(metrics: &Metrics, name: &str) -> f64 {
    metrics.matching(name, &[]).map(|sample| sample.value).sum()
}

/// Prints the middle, the least and the most of some values.
fn line(what: &str, unit: &str, values: &[f64]) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    let (half, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
    let middle =
        if sorted.len().is_multiple_of(2) { f64::midpoint(at(half.saturating_sub(1)), at(half)) } else { at(half) };
    println!("  {what:32} {middle:>9.2} {:>9.2} {:>9.2} {unit}", at(0), at(last));
}

fn memory(when: &str, memory: Memory) {
    let Memory { resident, anonymous, file, peak } = memory;
    println!("  {when:32} {resident:>10} {anonymous:>10} {file:>10} {peak:>10}");
}

/// The kernel measures its programs as long as this lives; then it is as it was.
struct Statistics {
    before: String,
}

impl Statistics {
    fn on() -> Result<Self> {
        let before = std::fs::read_to_string(STATISTICS).context("the kernel does not measure programs")?;
        if before.trim().parse::<u8>().is_err() {
            bail!("{STATISTICS} says {before:?}");
        }
        std::fs::write(STATISTICS, "1").with_context(|| format!("cannot write {STATISTICS}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(STATISTICS, self.before.trim()) {
            eprintln!("{STATISTICS} stays on: {error}");
        }
    }
}
