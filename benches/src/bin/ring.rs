//! Question: what does it cost to drain a record from the kernel's ring?
//!
//! Claim: under 50 ns a record with payloads of 16 bytes, and no more than twice that with payloads of 4 kB: what a payload
//! holds is not looked at, so a byte costs nothing. (Copying each record out is measured beside it, as what is saved.)
//!
//! The ring is the real one: a probe on this machine's kernel, confined to a cgroup of the bench's own, and records of the
//! socket operations of a process in it. Filling and draining take turns: the process works while nobody reads, until the
//! ring is nearly full; then it waits, and the drain's own source ([`RingSource`]) empties the ring in batches, whose leases go
//! back at once. Only that is measured: processor time over records, medians over the rounds, the ways in turn. Not part of
//! it: what the kernel programs take (`operation`), waiting for the ring, and the edge behind the drain (`edge`).
//!
//! How to read it: "leased" is what redtap does. "touched" also reads one byte of each 64 of a record, as a parser would have to:
//! what it takes more is the way of the bytes from memory, which somebody pays in the end. "copied out" moves each record into a
//! buffer, as a consumer without leases would.
//!
//! Needs root.
//!
//! `cargo run --release -p redtap-benches --bin ring -- [--rung socket|syscall] [--rounds N] [--ring-kib N]`

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use redtap::source::{Filled, Lease, RingSource, Source as _};
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::stopwatch::{measure, median};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::{Probe, ProbeOptions, RungChoice};
use redtap_stages::flow::event::EventBatch;
use redtap_stages::stage::Batch as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Bytes of one operation: the least worth a message, and the most that a record holds.
const SIZES: [usize; 2] = [16, 4_096];
/// Questions and answers between two looks at the ring.
const STEP: u64 = 64;
/// Fills the mapping's page tables, and whatever else a first time costs.
const WARM_UPS: u32 = 3;
/// Bytes of a cache line.
const LINE: usize = 64;

#[derive(Debug, Clone, Parser)]
struct Options {
    /// What watches: `socket` or `syscall`.
    #[arg(long, default_value = "socket")]
    rung: String,
    /// Full rings a way and size.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Size of the ring; the default is the agent's.
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(2_048..=65_536))]
    ring_kib: u32,
    /// Does the socket operations that it is told to.
    #[arg(long, hide = true)]
    work: bool,
}

/// What is done with a batch before its lease goes back; a number that depends on it.
type Way = (&'static str, fn(&EventBatch<Lease>, &mut Vec<u8>) -> u64);

const WAYS: [Way; 3] = [("leased", |_, _| 0), ("touched", touch), ("copied out", copy)];

fn touch(batch: &EventBatch<Lease>, _: &mut Vec<u8>) -> u64 {
    let memory = batch.memory.as_ref().map_or(&[][..], AsRef::as_ref);
    let lines = batch.records.iter().flat_map(|span| span.of(memory).iter().step_by(LINE));
    lines.map(|byte| u64::from(*byte)).sum()
}

fn copy(batch: &EventBatch<Lease>, buffer: &mut Vec<u8>) -> u64 {
    let memory = batch.memory.as_ref().map_or(&[][..], AsRef::as_ref);
    for span in &batch.records {
        buffer.clear();
        buffer.extend_from_slice(span.of(memory));
        std::hint::black_box(&buffer);
    }
    0
}

/// What one full ring took.
#[derive(Debug, Clone, Copy, Default)]
struct Drained {
    records: u64,
    bytes: u64,
    cpu: u64,
    wall: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.work {
        return work();
    }
    let rung = match options.rung.as_str() {
        "socket" => RungChoice::Socket,
        "syscall" => RungChoice::Syscall,
        other => bail!("no rung {other}"),
    };
    let sandbox = Sandbox::new("ring")?;
    let cgroup = Filter::Cgroup(std::fs::metadata(sandbox.cgroup())?.ino());
    let filters = Filters::default().with(Verb::Allow, cgroup)?;
    let ring_bytes = options.ring_kib << 10;
    // Nobody waits for the ring, so nobody is to be woken.
    let probing = ProbeOptions { rung, filters, ring_bytes, wake_bytes: ring_bytes, ..ProbeOptions::default() };
    let probe = Probe::attach(&probing)?;
    let (sources, _) = RingSource::of(&probe)?;
    let mut source = sources.into_iter().next().context("the probe has no ring")?;
    let mut worker = Worker::start(&sandbox)?;
    println!("{} rung, a ring of {} KiB, {} full rings each", options.rung, options.ring_kib, options.rounds);
    println!(
        "\n{:14} {:12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>10}",
        "payload", "", "bytes/record", "records", "cpu ns/rec", "wall ns/rec", "M records/s", "x leased"
    );
    for size in SIZES {
        let mut drained: [Vec<Drained>; 3] = Default::default();
        for round in 0..options.rounds + WARM_UPS {
            for ((_, way), drained) in WAYS.iter().zip(&mut drained) {
                worker.fill(&source, size)?;
                let one = drain(&mut source, *way)?;
                if round >= WARM_UPS {
                    drained.push(one);
                }
            }
        }
        report(size, &drained);
    }
    worker.end()?;
    let losses = probe.losses();
    ensure!(losses.refused_full == 0, "{} records found the ring full", losses.refused_full);
    Ok(())
}

/// Empties the ring.
fn drain(source: &mut RingSource, way: fn(&EventBatch<Lease>, &mut Vec<u8>) -> u64) -> Result<Drained> {
    let (mut batch, mut buffer) = (EventBatch::default(), Vec::with_capacity(2 * 4_096));
    let before = source.totals();
    let ((), spent) = measure(|| {
        while let Filled::Records(_) = source.fill(&mut batch) {
            std::hint::black_box(way(&batch, &mut buffer));
            batch.recycle();
        }
    });
    let after = source.totals();
    ensure!(after.ring_fill == 0 && after.corrupt_bytes == 0, "the ring is not empty: {after:?}");
    let records = after.records - before.records;
    ensure!(records > 0, "nothing was in the ring");
    Ok(Drained { records, bytes: before.ring_unread, cpu: spent.cpu, wall: spent.wall })
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn report(size: usize, drained: &[Vec<Drained>; 3]) {
    let mut leased = None;
    for ((name, _), drained) in WAYS.iter().zip(drained) {
        // A hundredth of a nanosecond: the middle is taken of whole numbers.
        let each = |ns: fn(&Drained) -> u64| {
            median(drained.iter().map(|one| 100 * ns(one) / one.records).collect()) as f64 / 100.0
        };
        let (cpu, wall, bytes) = (each(|one| one.cpu), each(|one| one.wall), each(|one| one.bytes));
        let records = median(drained.iter().map(|one| one.records).collect());
        let times = cpu / *leased.get_or_insert(cpu);
        println!(
            "{:14} {name:12} {bytes:>12.0} {records:>12} {cpu:>12.1} {wall:>12.1} {:>12.1} {times:>10.2}",
            format!("{size} bytes"),
            1e3 / wall
        );
    }
}

/// The process whose socket operations are recorded: another one, since a probe leaves out who attached it.
struct Worker {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Worker {
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = sandbox.command(own.to_str().context("a path that is not text")?, &["--work"])?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let told = child.stdin.take().context("no pipe")?;
        let says = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, told, says })
    }

    /// Has it work until the ring is nearly full.
    fn fill(&mut self, source: &RingSource, size: usize) -> Result<()> {
        // Four records a question and answer, each with a header and what the ring adds.
        let step = STEP * 4 * (size as u64 + 256);
        loop {
            let totals = source.totals();
            if totals.ring_unread + step >= totals.ring_capacity {
                return Ok(());
            }
            writeln!(self.told, "{size}")?;
            let mut line = String::new();
            ensure!(self.says.read_line(&mut line)? > 0, "the worker is gone");
            ensure!(source.totals().ring_unread > totals.ring_unread, "its operations leave no records");
        }
    }

    fn end(mut self) -> Result<()> {
        drop(self.told);
        ensure!(self.child.wait()?.success(), "the worker failed");
        Ok(())
    }
}

/// Asks itself over loopback, and answers, as often as it is told to and with so many bytes.
fn work() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    let mut buffer = Vec::new();
    for line in std::io::stdin().lines() {
        buffer.resize(line?.parse()?, b'x');
        for _ in 0..STEP {
            client.write_all(&buffer)?;
            server.read_exact(&mut buffer)?;
            server.write_all(&buffer)?;
            client.read_exact(&mut buffer)?;
        }
        println!("done");
    }
    Ok(())
}
