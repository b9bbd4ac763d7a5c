//! `redtap record FILE`: the events that `run` would see, as they come out of the ring.

use super::Probing;
use super::plan::attach;
use super::signals::Signals;
use anyhow::{Context as _, Result};
use redtap::clock;
use redtap::recording::RecordingWriter;
use redtap::source::RingSource;
use std::fs::OpenOptions;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What `record` takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Record {
    /// The file; it is made readable for its owner only.
    file: PathBuf,
    /// End after this many seconds; otherwise with Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    #[command(flatten)]
    probing: Probing,
}

pub(super) fn record(options: &Record) -> Result<ExitCode> {
    let mut settings = options.probing.load()?.settings;
    // One file is one stream of events, in their order.
    settings.probe.shards = 1;
    let signals = Signals::listen()?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&options.file)
        .with_context(|| format!("cannot write {}", options.file.display()))?;
    let probe = attach(&settings)?;
    let (sources, _) = RingSource::of(&probe).context("cannot map the memory of the probe")?;
    let mut source = sources.into_iter().next().context("the probe has no ring")?;
    let stop = signals.into_flag(options.seconds.map(Duration::from_secs))?;
    eprintln!("recording on rung {} to {}", probe.rung().name(), options.file.display());
    let mut writer = RecordingWriter::new(BufWriter::new(file), clock::wall_offset_ns())?;
    writer.copy(&mut source, || stop.load(Ordering::Acquire))?;
    let records = writer.records();
    writer.finish()?;
    let losses = probe.losses();
    eprintln!("{records} records; {} refused because the ring was full", losses.refused_full);
    Ok(ExitCode::SUCCESS)
}
