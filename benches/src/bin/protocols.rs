//! Question: what does one message cost in the parser of each protocol?
//!
//! Claim: under a microsecond a message (request or answer), parsing and pairing together, for every protocol but MySQL, which takes three (five
//! where it is compressed) in a recording of 23 messages that begins with a log-in.
//!
//! Each row is a recorded conversation of real programs, read again and again as a new connection: first by parse alone, then
//! by parse and pair. Processor time; medians over the rounds. What it takes to make the batch is in the numbers.
//!
//! `cargo run --release -p redtap-benches --bin protocols [ROUNDS]`

use anyhow::{Result, ensure};
use redtap_benches::recordings::{Memory, Recording};
use redtap_e2e::stopwatch::{measure, median};
use redtap_stages::flow::conn::Transport;
use redtap_stages::flow::conn::What;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::{Batch as _, Stage as _};
use redtap_stages::time::Nanos;
use std::path::Path;

/// Measured rounds, unless told.
const ROUNDS: usize = 7;
/// Bytes read in one round, about.
const ROUND_BYTES: u64 = 32 << 20;

/// Protocol, recording, what it holds.
const RECORDINGS: &[(Protocol, &str, &str)] = &[
    (Protocol::Http1, "http1/nginx_keepalive.bin", "curl, nginx"),
    (Protocol::Http1, "http1/nginx_pipeline.bin", "a pipeline, nginx"),
    (Protocol::Redis, "redis/benchmark_get.rec", "redis-benchmark GET"),
    (Protocol::Redis, "redis/pipeline.rec", "a pipeline"),
    (Protocol::Mysql, "mysql/node.rec", "queries and prepared statements"),
    (Protocol::Mysql, "mysql/node_compressed.rec", "the same, compressed"),
    (Protocol::Postgres, "postgres/pgbench_extended.rec", "pgbench, extended queries"),
    (Protocol::Postgres, "postgres/pgbench_pipeline.rec", "pgbench, pipelined"),
    (Protocol::Kafka, "kafka/produce.rec", "a producer"),
    (Protocol::Kafka, "kafka/fetch_by_id.rec", "a consumer, topics by id"),
    (Protocol::Http2, "http2/h2load.rec", "h2load, nghttpd"),
    (Protocol::Http2, "http2/grpc_unary.rec", "gRPC, unary calls"),
    (Protocol::Dns, "dns/udp.rec", "dig, dnsmasq, UDP"),
];

struct Cost {
    messages: u64,
    exchanges: u64,
    parse: u64,
    both: u64,
}

/// Reads a recording `copies` times; messages and exchanges, and what parse alone and both stages took.
fn round(recording: &Recording, copies: u32) -> Cost {
    let mut batch = SegmentBatch::<Memory>::default();
    let mut messages = MessageBatch::default();
    let mut cost = Cost { messages: 0, exchanges: 0, parse: 0, both: 0 };
    let mut parse = Parse::new();
    let (count, spent) = measure(|| {
        let (mut count, mut now) = (0, Nanos::ZERO);
        for copy in 0..copies {
            batch.recycle();
            messages.recycle();
            now = recording.fill(copy, now, &mut batch);
            parse.process(now, &mut batch, &mut messages);
            count += messages.items.iter().filter(|about| matches!(about.what, What::Item(_))).count() as u64;
        }
        count
    });
    (cost.messages, cost.parse) = (count, spent.cpu);
    let mut parse = Parse::new();
    let mut pair = Pair::new(PairSettings::default());
    let mut exchanges = Vec::new();
    let (count, spent) = measure(|| {
        let (mut count, mut now) = (0, Nanos::ZERO);
        for copy in 0..copies {
            batch.recycle();
            messages.recycle();
            exchanges.clear();
            now = recording.fill(copy, now, &mut batch);
            parse.process(now, &mut batch, &mut messages);
            pair.process(now, &mut messages, &mut exchanges);
            count += exchanges.len() as u64;
        }
        count
    });
    (cost.exchanges, cost.both) = (count, spent.cpu);
    cost
}

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stages/tests/fixtures");
    println!(
        "{:11} {:32} {:>9} {:>10} {:>12} {:>12} {:>9}",
        "protocol", "recording", "messages", "bytes/msg", "parse ns/msg", "+pair ns/msg", "MB/s"
    );
    for (protocol, file, what) in RECORDINGS {
        let transport = if file.contains("udp") { Transport::Udp } else { Transport::Tcp };
        let recording = Recording::load(&fixtures.join(file), *protocol, transport)?;
        let copies = u32::try_from(ROUND_BYTES / recording.bytes().max(1))?.clamp(1, 100_000);
        let costs: Vec<_> = (0..=rounds).map(|_| round(&recording, copies)).skip(1).collect();
        let first = costs.first().map_or(0, |cost| cost.messages);
        ensure!(first > 0 && costs.iter().all(|cost| cost.messages == first && cost.exchanges > 0), "{file}");
        let each = |ns: Vec<u64>| median(ns) as f64 / first as f64;
        let parse = each(costs.iter().map(|cost| cost.parse).collect());
        let both = each(costs.iter().map(|cost| cost.both).collect());
        let bytes = recording.bytes() as f64 * f64::from(copies) / first as f64;
        println!(
            "{:11} {what:32} {:>9} {bytes:>10.0} {parse:>12.1} {both:>12.1} {:>9.0}",
            protocol.name(),
            first / u64::from(copies),
            1e3 * bytes / parse
        );
    }
    Ok(())
}
