//! Question: what does one socket operation cost the application, with the kernel programs in its way?
//!
//! Claim: at most 100 ns of kernel programs an operation (median), less than a twentieth of what the operation costs itself.
//!
//! One thread asks itself over loopback, an HTTP request of 100 bytes and an answer of 1.2 kB: four operations a round (send,
//! receive, send, receive), and nothing but them. Rounds without and with the agent take turns. The difference is what the
//! application feels, wake-ups of the agent included; what the kernel says of its programs is measured in rounds of its own, and less
//! what it says of a program that does nothing, because reading the clock costs as much as much of the programs.
//!
//! Needs root, and an agent built before: `cargo build --release`, or `REDTAP_BIN`.
//!
//! `cargo run --release -p redtap-benches --bin operation -- [--rung socket|syscall] [--rounds N] [--answer BYTES]`

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use redtap_e2e::agent::Agent;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::stopwatch::{median, now};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Where the kernel is told to measure programs.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Questions before the clock is read.
const BATCH: u64 = 500;
const REQUEST: &[u8] = b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: operation\r\nAccept: */*\r\nX-Padding: 1234567890123\r\n\r\n";

#[derive(Debug, Clone, Parser)]
struct Options {
    /// What watches: `socket` or `syscall`.
    #[arg(long, default_value = "socket")]
    rung: String,
    /// Rounds without the agent, and as many with it.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Bytes of an answer's body.
    #[arg(long, default_value_t = 1_024)]
    answer: usize,
    /// Batches a round.
    #[arg(long, default_value_t = 100)]
    batches: u32,
    /// Does the work, and prints the nanoseconds of each batch.
    #[arg(long, hide = true)]
    work: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.work {
        return work(&options);
    }
    let (mut without, mut with, mut runs, mut felt) = (vec![], vec![], vec![], vec![]);
    let sandbox = Sandbox::new("operation")?;
    for round in 0..options.rounds {
        let first = !round.is_multiple_of(2);
        let mut pair = [0, 0];
        for watched in [first, !first] {
            let agent = if watched { Some(Agent::start(&sandbox, &["--rung", &options.rung])?) } else { None };
            let batch = operation(&sandbox, &options)?;
            if let Some(agent) = agent {
                with.push(batch);
                pair[1] = batch;
                runs.push(programs(&sandbox, &agent, &options)?);
                agent.stop()?;
            } else {
                without.push(batch);
                pair[0] = batch;
            }
        }
        let [before, after] = pair;
        felt.push(after.saturating_sub(before));
        eprintln!("{before} {after} {:?}", runs.last());
    }
    println!(
        "{} rung, answers of {} bytes, {} rounds of {} operations each way",
        options.rung,
        options.answer,
        options.rounds,
        u64::from(options.batches) * BATCH * 4
    );
    println!("an operation without: {} ns, with: {} ns, felt: {} ns", median(without), median(with), median(felt));
    println!("kernel programs an operation, as the kernel measures: {} ns", median(runs));
    Ok(())
}

/// The median of the batches, ns an operation.
fn operation(sandbox: &Sandbox, options: &Options) -> Result<u64> {
    let own = std::env::current_exe()?;
    let (answer, batches) = (options.answer.to_string(), options.batches.to_string());
    let own = own.to_str().context("a path that is not text")?;
    let text = sandbox.run(own, &["--work", "--answer", &answer, "--batches", &batches])?;
    Ok(median(text.lines().filter_map(|line| line.parse().ok()).collect()))
}

/// ns of the kernel programs an operation.
fn programs(sandbox: &Sandbox, agent: &Agent, options: &Options) -> Result<u64> {
    std::fs::write(STATISTICS, "1")?;
    let measured = measured(sandbox, agent, options);
    std::fs::write(STATISTICS, "0")?;
    measured
}

fn measured(sandbox: &Sandbox, agent: &Agent, options: &Options) -> Result<u64> {
    let before = agent.metrics()?;
    operation(sandbox, options)?;
    let after = agent.metrics()?;
    let gained = |name: &str| total(&after, name) - total(&before, name);
    let (ns, operations) = (gained("redtap_bpf_run_seconds_total") * 1e9, gained("redtap_kernel_operations_total"));
    ensure!(operations > 0.0, "the kernel programs did not run");
    Ok((ns / operations) as u64)
}

fn total(metrics: &Metrics, name: &str) -> f64 {
    metrics.samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
}

fn work(options: &Options) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: operation\r\nDate: Thu, 26 Nov 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n{}",
        options.answer,
        "x".repeat(options.answer)
    );
    let mut buffer = vec![0; answer.len()];
    let mut batch = || -> Result<u64> {
        let began = now();
        for _ in 0..BATCH {
            client.write_all(REQUEST)?;
            server.read_exact(buffer.get_mut(..REQUEST.len()).context("short")?)?;
            server.write_all(answer.as_bytes())?;
            client.read_exact(&mut buffer)?;
        }
        Ok((now() - began) / (4 * BATCH))
    };
    for _ in 0..20 {
        batch()?;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for _ in 0..options.batches {
        println!("{}", batch()?);
    }
    Ok(())
}
