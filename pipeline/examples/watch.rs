//! Embeds redtap: watches one cgroup for some seconds and prints what was counted; or records its events to a file.
//!
//! `cargo run --example watch -- /sys/fs/cgroup/unified/NAME 10 [FILE]` (as root)

use anyhow::{Context, Result, bail};
use redtap::blueprint::Blueprint;
use redtap::clock;
use redtap::conservation::KernelCounts;
use redtap::recording::RecordingWriter;
use redtap::registry::{Registry, RegistrySettings};
use redtap::source::{RingSource, Source};
use redtap::topology::{PublicationSink, Sinks, Topology};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::{Probe, ProbeOptions};
use redtap_stages::flow::delta::Publication;
use redtap_stages::time::Nanos;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::time::Duration;

struct IntoRegistry(Registry);

impl PublicationSink for IntoRegistry {
    fn publish(&self, _: usize, publication: Publication) {
        self.0.publish(&publication);
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (cgroup, seconds, file) = match arguments.as_slice() {
        [cgroup, seconds] => (cgroup, seconds.parse()?, None),
        [cgroup, seconds, file] => (cgroup, seconds.parse()?, Some(file)),
        _ => bail!("give a cgroup directory, a number of seconds, and a file to record to if you want"),
    };
    let filters = Filters::default().with(Verb::Allow, Filter::cgroup(cgroup)?)?;
    let probe = Probe::attach(&ProbeOptions { filters, ..ProbeOptions::default() })?;
    eprintln!("watching by the {:?} rung", probe.rung());
    let (sources, verdicts) = RingSource::of(&probe)?;
    let until = clock::monotonic() + Nanos::from_secs(seconds);
    if let Some(file) = file {
        let mut source = sources.into_iter().next().context("no shard")?;
        let mut writer = RecordingWriter::new(BufWriter::new(File::create(file)?), clock::wall_offset_ns())?;
        writer.copy(&mut source, || clock::monotonic() >= until)?;
        eprintln!("{} records", writer.records());
        writer.finish()?;
        return Ok(());
    }
    let registry = Arc::new(IntoRegistry(Registry::new(RegistrySettings::default())));
    let sinks =
        Sinks { publications: Arc::clone(&registry) as Arc<dyn PublicationSink>, verdicts, tap: Arc::default() };
    let plan = Blueprint { shards: probe.shards(), ..Blueprint::default() }
        .check()
        .map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let sources = sources.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect();
    let running = Topology::start(plan, sources, sinks)?;
    while clock::monotonic() < until {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let stopped = running.stop(Duration::from_secs(10));
    let losses = probe.losses();
    let kernel =
        KernelCounts { attempted: losses.attempted, refused: losses.refused_full, refused_turns: losses.refused_turns };
    println!("{:#?}", stopped.conservation(Some(kernel)));
    for stage in stopped.shards.iter().flat_map(|shard| &shard.stages) {
        let rejected: Vec<_> = stage.rejected.iter().filter(|(_, count)| *count > 0).collect();
        let totals = &stage.totals;
        println!(
            "{:10} took {} passed {} sent {} faults {} rejected {rejected:?} turns {} batches made {}",
            stage.name, totals.taken, totals.passed, totals.sent, totals.faults, totals.turns, stage.inlet.batches_made
        );
    }
    for sample in registry.0.snapshot().families.iter().flatten() {
        println!("{}{{{}}} {:?}", sample.series.metric.entry().prometheus, sample.labels, sample.value);
    }
    Ok(())
}
