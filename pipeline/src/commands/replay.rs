//! `redtap replay FILE`: a packet capture or a recording through the same stages, as fast as they go, in the time of the file.

mod outcome;
mod records;

use super::Probing;
use super::plan::plan;
use super::signals::Signals;
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use outcome::Outcome;
use redtap::input;
use redtap::recording::RecordingReader;
use redtap::registry::{Format, Registry, RegistrySettings};
use redtap::runner::NoVerdicts;
use redtap::source::{Source, StreamTime};
use redtap::tap::{Fullness, Tap};
use redtap::topology::{Sinks, Topology};
use redtap_captures::Capture;
use redtap_captures::modes::Mode;
use redtap_stages::time::Nanos;
use std::borrow::Cow;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Batches that wait to be written.
const QUEUE: usize = 64;

/// What `replay` takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Replay {
    /// A packet capture (pcap or pcapng) or a recording, compressed with gzip or not; `-`: standard input.
    file: PathBuf,
    /// Write one JSON object a request to this file; `-`: standard output.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Also those of which only the answer is in the file.
    #[arg(long, requires = "records")]
    unasked: bool,
    /// Print what /metrics would show (the default without --records).
    #[arg(long)]
    metrics: bool,
    /// How the streams of a capture are cut: packets, rechunk, rechunk:SEED, glue or head:BYTES.
    #[arg(long, value_name = "MODE", default_value = "packets")]
    mode: Mode,
    /// Wait for more at the end of the file, until Ctrl-C; records are written as they complete.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    probing: Probing,
}

impl Replay {
    fn name(&self) -> Cow<'_, str> {
        if self.file == Path::new(input::STDIN) { "standard input".into() } else { self.file.to_string_lossy() }
    }

    /// Opens the file; where it is known how far there is to go, with a bar that says so.
    fn open(&self) -> Result<(input::Bytes, ProgressBar)> {
        if self.follow {
            // From here on a signal ends the following, not the process.
            let stop = Signals::listen()?.into_flag(None)?;
            return Ok((input::follow(&self.file, stop)?, ProgressBar::hidden()));
        }
        let (bytes, size) = input::open(&self.file)?;
        let listed = self.records.as_deref() == Some(Path::new(records::STDOUT)) && std::io::stdout().is_terminal();
        match size.filter(|_| std::io::stderr().is_terminal() && !listed) {
            Some(size) => {
                let bar = ProgressBar::new(size).with_style(style());
                Ok((Box::new(bar.wrap_read(bytes)), bar))
            }
            None => Ok((bytes, ProgressBar::hidden())),
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A source, the offset of its clock, and how to ask what became of it.
struct Opened {
    source: Box<dyn Source>,
    wall_offset_ns: i64,
    outcome: Outcome,
}

impl Opened {
    /// Finds out what `bytes` are.
    fn new(bytes: input::Bytes, mode: Mode) -> Result<Self> {
        let (bytes, format) = input::sniff(bytes)?;
        match format {
            input::Format::Recording => {
                let reader = RecordingReader::new(BufReader::new(bytes))?;
                let outcome = Outcome::Recording(reader.failure());
                Ok(Self { wall_offset_ns: reader.wall_offset_ns(), source: Box::new(reader.into_source()), outcome })
            }
            input::Format::Capture => {
                let capture = Capture::new(bytes, mode);
                let outcome = Outcome::Capture(capture.outcome());
                Ok(Self { source: Box::new(StreamTime::new(capture)), wall_offset_ns: 0, outcome })
            }
        }
    }
}

pub(super) fn replay(options: &Replay) -> Result<ExitCode> {
    let settings = options.probing.load()?.settings;
    let name = options.name();
    let (bytes, bar) = options.open().with_context(|| format!("cannot read {name}"))?;
    let Opened { source, wall_offset_ns, outcome } =
        Opened::new(bytes, options.mode).with_context(|| format!("cannot replay {name}"))?;
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
        (Some(subscription), Some(target)) => {
            let listing = records::Listing { wall_offset_ns, unasked: options.unasked, at_once: options.follow };
            listing.write(subscription, target)
        }
        _ => Ok(0),
    };
    // Before anything can return: nobody may wait for a subscriber that takes no more.
    drop(subscription);
    let unasked = written?;
    let stopped = running.wait();
    bar.finish_and_clear();
    if options.metrics || options.records.is_none() {
        let mut text = String::new();
        registry.snapshot().render(Format::Text, &mut text);
        std::io::stdout().write_all(text.as_bytes())?;
    }
    let sums = stopped.conservation(None);
    let exchanges = &sums.exchanges;
    eprintln!("{} records, {} exchanges seen, {} reported", sums.received, exchanges.seen, exchanges.reported);
    if unasked > 0 {
        eprintln!("{unasked} exchanges whose request is not in the file are not listed; --unasked lists them");
    }
    for imbalance in &sums.imbalances {
        eprintln!("sums differ: {imbalance:?}");
    }
    let whole = outcome.tell(&name);
    Ok(if whole && sums.balanced && stopped.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
