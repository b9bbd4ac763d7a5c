//! `redtap replay FILE`: a packet capture or a recording through the same stages, as fast as they go, in the time of the file.

use super::Probing;
use super::plan::plan;
use anyhow::{Context as _, Result};
use crossbeam_channel::RecvTimeoutError;
use parking_lot::Mutex;
use redtap::capture::file::CaptureError;
use redtap::capture::modes::Mode;
use redtap::capture::{self, Capture};
use redtap::input;
use redtap::recording::{RecordingError, RecordingReader};
use redtap::records;
use redtap::registry::{Format, Registry, RegistrySettings};
use redtap::runner::NoVerdicts;
use redtap::source::{Source, StreamTime};
use redtap::tap::{Fullness, Subscription, Tap};
use redtap::topology::{Sinks, Topology};
use redtap_stages::time::Nanos;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Lines kept for putting them in order; past that, the older half is written.
const MAX_LINES: usize = 500_000;
/// Batches that wait to be written.
const QUEUE: usize = 64;

/// What `replay` takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Replay {
    /// A packet capture (pcap or pcapng) or a recording, compressed with gzip or not; `-`: standard input.
    file: PathBuf,
    /// How the streams of a capture are cut: packets, rechunk, rechunk:SEED, glue or head:BYTES.
    #[arg(long, value_name = "MODE", default_value = "packets")]
    mode: Mode,
    /// Write one JSON object an exchange to this file; `-`: standard output.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Print what /metrics would show (the default without --records).
    #[arg(long)]
    metrics: bool,
    #[command(flatten)]
    probing: Probing,
}

/// A source, the offset of its clock, and how to ask what became of it.
struct Opened {
    source: Box<dyn Source>,
    wall_offset_ns: i64,
    outcome: Outcome,
}

/// What became of a file.
enum Outcome {
    Recording(Arc<OnceLock<RecordingError>>),
    Capture(Arc<Mutex<capture::Outcome>>),
}

pub(super) fn replay(options: &Replay) -> Result<ExitCode> {
    let settings = options.probing.load()?.settings;
    let name = if options.file == Path::new("-") { "standard input".into() } else { options.file.to_string_lossy() };
    let (bytes, _size) = input::open(&options.file).with_context(|| format!("cannot read {name}"))?;
    let Opened { source, wall_offset_ns, outcome } =
        open(bytes, options.mode).with_context(|| format!("cannot replay {name}"))?;
    // Nothing expires while it is replayed.
    let registry = Arc::new(Registry::new(RegistrySettings {
        expiry: Nanos(u64::MAX),
        wall_offset: u64::try_from(wall_offset_ns).unwrap_or(0),
        started: Nanos::ZERO,
    }));
    let tap = Arc::new(Tap::default());
    // Before the start, so that the first exchange is seen as well.
    let subscription = options.records.as_ref().map(|_| tap.subscribe(QUEUE, Fullness::Wait)).transpose()?;
    let sinks = Sinks { publications: registry.clone(), verdicts: Arc::new(NoVerdicts), tap };
    let running = Topology::start(plan(&settings, 1, false)?, vec![source], sinks)?;
    let written = match (&subscription, &options.records) {
        (Some(subscription), Some(target)) => write_records(subscription, target, wall_offset_ns),
        _ => Ok(()),
    };
    // Before anything can return: nobody may wait for a subscriber that takes no more.
    drop(subscription);
    written?;
    let stopped = running.wait();
    if options.metrics || options.records.is_none() {
        let mut text = String::new();
        registry.snapshot().render(Format::Text, &mut text);
        std::io::stdout().write_all(text.as_bytes())?;
    }
    let sums = stopped.conservation(None);
    let exchanges = &sums.exchanges;
    eprintln!("{} records, {} exchanges seen, {} reported", sums.received, exchanges.seen, exchanges.reported);
    for imbalance in &sums.imbalances {
        eprintln!("sums differ: {imbalance:?}");
    }
    let whole = outcome.tell(&name);
    Ok(if whole && sums.balanced && stopped.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open(bytes: input::Bytes, mode: Mode) -> Result<Opened> {
    let (bytes, format) = input::sniff(bytes)?;
    match format {
        input::Format::Recording => {
            let reader = RecordingReader::new(BufReader::new(bytes))?;
            let outcome = Outcome::Recording(reader.failure());
            Ok(Opened { wall_offset_ns: reader.wall_offset_ns(), source: Box::new(reader.into_source()), outcome })
        }
        input::Format::Capture => {
            let capture = Capture::new(bytes, mode);
            let outcome = Outcome::Capture(capture.outcome());
            Ok(Opened { source: Box::new(StreamTime::new(capture)), wall_offset_ns: 0, outcome })
        }
    }
}

impl Outcome {
    /// Says how far the file could be read; false if it is damaged.
    fn tell(&self, name: &str) -> bool {
        let failure: &dyn Error = match self {
            Self::Recording(failure) => match failure.get() {
                Some(error) => error,
                None => return true,
            },
            Self::Capture(outcome) => return tell_capture(&outcome.lock(), name),
        };
        eprintln!("redtap: {name} could only be read up to here: {failure}");
        false
    }
}

fn tell_capture(outcome: &capture::Outcome, name: &str) -> bool {
    let Some(failure) = &outcome.failure else { return true };
    eprintln!("redtap: {name} could only be read up to here: {failure}");
    // A capture that ends in the middle of a packet is what is left when the tool that wrote it is ended.
    matches!(failure, CaptureError::Truncated { .. })
}

/// Writes what the tap shows, in the order in which the requests start.
fn write_records(subscription: &Subscription, target: &Path, wall_offset: i64) -> Result<()> {
    let mut out: Box<dyn Write> = if target == Path::new("-") {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(File::create(target).with_context(|| format!("cannot write {}", target.display()))?)
    };
    let mut out = BufWriter::new(&mut out);
    let mut lines: Vec<(Nanos, String)> = Vec::new();
    loop {
        match subscription.next(Duration::from_secs(1)) {
            Ok(batch) => {
                lines.extend(batch.iter().map(|one| (one.converged.exchange.start, records::line(one, wall_offset))));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if lines.len() >= MAX_LINES {
            write_first(&mut lines, MAX_LINES / 2, &mut out)?;
        }
    }
    let all = lines.len();
    write_first(&mut lines, all, &mut out)?;
    Ok(out.flush()?)
}

fn write_first(lines: &mut Vec<(Nanos, String)>, count: usize, out: &mut impl Write) -> Result<()> {
    // Stable: requests of one moment stay in the order in which they were answered.
    lines.sort_by_key(|(start, _)| *start);
    for (_, line) in lines.drain(..count.min(lines.len())) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
