//! `redtap replay FILE`: a recording through the same stages, as fast as they go, in the time of the recording.

use super::Probing;
use super::plan::plan;
use anyhow::{Context as _, Result};
use crossbeam_channel::RecvTimeoutError;
use redtap::recording::RecordingReader;
use redtap::records::{self, Targets};
use redtap::registry::{Format, Registry, RegistrySettings};
use redtap::runner::NoVerdicts;
use redtap::tap::{Fullness, Subscription, Tap};
use redtap::topology::{Sinks, Topology};
use redtap_stages::time::Nanos;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Lines kept for putting them in order; past that, the older half is written.
const MAX_LINES: usize = 500_000;
/// Batches that wait to be written.
const QUEUE: usize = 64;

/// What `replay` takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Replay {
    /// The recording.
    file: PathBuf,
    /// Write one JSON object an exchange to this file; `-`: standard output.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Print what /metrics would show (the default without --records).
    #[arg(long)]
    metrics: bool,
    #[command(flatten)]
    probing: Probing,
}

pub(super) fn replay(options: &Replay) -> Result<ExitCode> {
    let settings = options.probing.load()?.settings;
    let path = options.file.display();
    let file = File::open(&options.file).with_context(|| format!("cannot read {path}"))?;
    let reader = RecordingReader::new(BufReader::new(file)).with_context(|| format!("cannot replay {path}"))?;
    let (failure, wall_offset) = (reader.failure(), reader.wall_offset_ns());
    // Nothing expires while it is replayed.
    let registry = Arc::new(Registry::new(RegistrySettings {
        expiry: Nanos(u64::MAX),
        wall_offset: u64::try_from(wall_offset).unwrap_or(0),
        started: Nanos::ZERO,
    }));
    let tap = Arc::new(Tap::default());
    // Before the start, so that the first exchange is seen as well.
    let subscription = options.records.as_ref().map(|_| tap.subscribe(QUEUE, Fullness::Wait)).transpose()?;
    let sinks = Sinks { publications: registry.clone(), verdicts: Arc::new(NoVerdicts), tap };
    let running = Topology::start(plan(&settings, 1, false)?, vec![Box::new(reader.into_source())], sinks)?;
    let written = match (&subscription, &options.records) {
        (Some(subscription), Some(target)) => write_records(subscription, target, wall_offset),
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
    if let Some(error) = failure.get() {
        eprintln!("redtap: {path} could only be read up to here: {error}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if sums.balanced && stopped.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
                lines.extend(
                    batch
                        .iter()
                        .map(|one| (one.converged.exchange.start, records::line(one, wall_offset, Targets::Raw))),
                );
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
