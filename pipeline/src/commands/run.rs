//! `redtap run`: settings -> endpoint -> probe -> topology -> ready, until a signal; then everything is drained.
//!
//! The endpoint comes first, so that a port that is taken is known before anything is attached, and so that `/readyz` can
//! say that the probe is not there yet.

use super::Run;
use super::exporters;
use super::plan::{attach, nanos, plan};
use super::signals::Signals;
use super::status::{Live, Shown};
use crate::live::Table;
use anyhow::{Context as _, Result, anyhow};
use parking_lot::Mutex;
use redtap::calls::Calls;
use redtap::calls::exemplars::Exemplars;
use redtap::calls::opened::Shards;
use redtap::clock;
use redtap::export::Exporters;
use redtap::fleet::Fleet;
use redtap::governor::Governor;
use redtap::history::{History, Recorder};
use redtap::http::{Access, HttpServer, Surface, Tls};
use redtap::metadata::feed::{Feed, FeedSettings};
use redtap::metadata::{Resolver, ResolverSettings};
use redtap::registry::{Registry, RegistrySettings};
use redtap::settings::Settings;
use redtap::source::{RingSource, Source};
use redtap::topology::{Running, Sinks, Topology};
use redtap_kernel::probe::Probe;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How long exporters may take, after that, to send the rest.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// How often the table is drawn.
const DRAW: Duration = Duration::from_secs(1);
/// Every how many draws the upkeep of the metrics is due.
const UPKEEP: u32 = 5;

/// What a command that runs an agent within does around it.
pub(super) trait Around {
    /// The agent watches, and shows what it sees at `address`.
    fn begun(&mut self, address: SocketAddr) -> Result<()>;
    /// Asked once a second: an error ends the agent in order.
    fn goes_on(&mut self) -> Result<()>;
    /// The agent is about to end: what it watches may end first.
    fn ending(&mut self);
}

/// Nothing.
struct Alone;

impl Around for Alone {
    fn begun(&mut self, _address: SocketAddr) -> Result<()> {
        Ok(())
    }

    fn goes_on(&mut self) -> Result<()> {
        Ok(())
    }

    fn ending(&mut self) {}
}

pub(super) fn run(options: &Run) -> Result<ExitCode> {
    run_within(&options.probing.load()?.settings, !options.no_table, &mut Alone)
}

/// Runs an agent until a signal, or until what is around it fails.
pub(super) fn run_within(settings: &Settings, table: bool, around: &mut dyn Around) -> Result<ExitCode> {
    redtap_kernel::memory::map_large_blocks_apart();
    // Signals first: one that comes while the probe is attached must not end the process half way.
    let mut signals = Signals::listen()?;
    log(settings);
    let registry = Arc::new(Registry::new(RegistrySettings {
        expiry: nanos(settings.series_expiry),
        wall_offset: u64::try_from(clock::wall_offset_ns()).unwrap_or(0),
        started: clock::monotonic(),
    }));
    let history = history(settings);
    let shown = Arc::new(Shown::new(Arc::clone(&registry), Arc::clone(&history)));
    // Certificates are read before anything is attached.
    if let Some(fleet) = fleet(settings)? {
        shown.report_from(Arc::new(fleet));
    }
    let planned = exporters::planned(settings, &shown)?;
    let server = HttpServer::start(settings.http.listen, surface(settings)?, shown.clone())?;
    shown.count_http(Arc::clone(server.counters()));
    shown.attach(start(settings, &registry)?);
    let rung = shown.live().map_or("none", |live| live.probe.rung().name());
    let scheme = if settings.http.tls.is_some() { "https" } else { "http" };
    tracing::info!(rung, "watching; metrics at {scheme}://{}/metrics", server.address());
    announce(settings);
    let exporters = Exporters::start(planned.complete(&shown)?).context("cannot start the exporters")?;
    shown.count_exporters(exporters.accounts());
    let recorder = Recorder::start(history, Arc::clone(&registry), settings.history_path.clone())
        .context("cannot start the thread of the history")?;
    let table = (table && std::io::stdout().is_terminal()).then(Table::new);
    let ended = around.begun(server.address()).and_then(|()| watch(&mut signals, &shown, table, around));
    around.ending();
    let clean = stop(&shown);
    // Only now have the last exchanges been counted.
    recorder.stop();
    exporters.stop(EXPORT_WITHIN);
    server.stop();
    ended?;
    if clean { Ok(ExitCode::SUCCESS) } else { Err(anyhow!("not everything could be drained within {STOP_WITHIN:?}")) }
}

pub(super) fn log(settings: &Settings) {
    // A subscriber that is there already (in tests) stays.
    let _ = tracing_subscriber::fmt()
        .with_max_level(settings.log_level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// With what was saved, if anything was.
fn history(settings: &Settings) -> Arc<History> {
    let history = History::new(settings.history_memory);
    if let Some(path) = &settings.history_path {
        match history.load(path) {
            Ok(true) => tracing::info!(path = %path.display(), steps = history.stats().steps, "the history goes on"),
            Ok(false) => {}
            Err(error) => tracing::warn!("the history begins empty: {error}"),
        }
    }
    Arc::new(history)
}

/// The engine that reports come from.
pub(super) fn fleet(settings: &Settings) -> Result<Option<Fleet>> {
    let Some(wanted) = settings.fleet.clone() else { return Ok(None) };
    let fleet = Fleet::new(wanted).context("ui.query_url")?;
    tracing::info!(engine = fleet.engine(), "reports come from an engine");
    Ok(Some(fleet))
}

/// Who may ask, and how.
pub(super) fn surface(settings: &Settings) -> Result<Surface> {
    let http = &settings.http;
    let token = http.token.read()?;
    if token.is_none() && !http.listen.ip().to_canonical().is_loopback() {
        tracing::warn!("whoever reaches {} may read everything there: no http.token is set", http.listen);
    }
    let tls = http.tls.as_ref().map(|(certificate, key)| Tls::read(certificate, key)).transpose()?;
    Ok(Surface { access: Access::new(&http.hosts, token.as_deref(), tls.is_some()), tls })
}

pub(super) fn start(settings: &Settings, registry: &Arc<Registry>) -> Result<Live> {
    // Before anything is attached: on a large host this takes longer than an exchange may wait for a name.
    let mut resolver =
        Resolver::new(ResolverSettings { services: settings.services.clone(), ..ResolverSettings::default() });
    resolver.know_listeners();
    let probe = Arc::new(attach(settings)?);
    for failure in probe.skipped() {
        tracing::warn!("{failure}");
    }
    // Reading the kernel's types left three quarters of the heap free; nothing else of the start is as large.
    redtap_kernel::memory::give_back_free();
    let running = topology(settings, &probe, registry)?;
    let calls = calls(settings, &probe, &running, registry).context("cannot start the thread of calls")?;
    let feed = Feed::start(
        &running,
        resolver,
        Arc::clone(registry),
        FeedSettings {
            proc: PathBuf::from("/proc"),
            hosts: PathBuf::from("/etc/hosts"),
            expiry: nanos(settings.series_expiry),
        },
    )
    .context("cannot start the metadata thread")?;
    let governor = govern(settings, &probe, &running).context("cannot start the governor's thread")?;
    Ok(Live {
        governor: Mutex::new(governor),
        governed: Mutex::default(),
        counts: (0..running.shards()).map(|_| Arc::default()).collect(),
        probe,
        running: Mutex::new(Some(running)),
        feed: Mutex::new(Some(feed)),
        calls: Arc::new(calls),
        ended: Mutex::default(),
    })
}

fn calls(
    settings: &Settings,
    probe: &Arc<Probe>,
    running: &Running,
    registry: &Arc<Registry>,
) -> std::io::Result<Calls> {
    let shards = (0..running.shards()).filter_map(|shard| running.controls(shard)).collect();
    let probe = Arc::clone(probe);
    let lost = move || {
        let losses = probe.losses();
        losses.refused_full + losses.no_storage + losses.slot_lost_turns + losses.evicted + losses.missed
    };
    let opened = Box::new(Shards::new(shards, Box::new(lost)));
    // Where no calls are kept, nothing is to be spent on them.
    let offered = settings.calls_exemplars.filter(|_| settings.calls_keep > 0);
    let exemplars = offered.map(|offered| Exemplars::new(Arc::clone(registry), offered));
    Calls::start(&running.tap(), settings.calls_keep, Some(opened), exemplars)
}

fn govern(settings: &Settings, probe: &Arc<Probe>, running: &Running) -> std::io::Result<Option<Governor>> {
    let Some(budget) = settings.governor_cpu else { return Ok(None) };
    let identify = (0..running.shards()).filter_map(|shard| running.controls(shard)).map(|controls| controls.identify);
    Governor::start(budget.share(), Arc::clone(probe), identify.collect()).map(Some)
}

/// What nobody should learn from a surprise: that counts may become estimates, and how to have them exact.
fn announce(settings: &Settings) {
    match settings.governor_cpu {
        Some(budget) => tracing::info!(
            "governor.cpu = {}% of one processor: above that it does less, step by step, down to one connection of 16 whose \
             counts are scaled; every step is logged, and redtap_sampling_ratio tells. For exact counts under any load: \
             governor.cpu = 0",
            budget.share() * 100.0
        ),
        None => tracing::info!("governor.cpu = 0: uses the processor time that it needs"),
    }
}

fn topology(settings: &Settings, probe: &Probe, registry: &Arc<Registry>) -> Result<Running> {
    let (sources, verdicts) = RingSource::of(probe).context("cannot map the memory of the probe")?;
    let plan = plan(settings, probe.shards(), true)?;
    let sinks = Sinks { publications: registry.clone(), verdicts, tap: Arc::default() };
    let sources = sources.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect();
    Topology::start(plan, sources, sinks).context("cannot start the pipeline")
}

fn watch(signals: &mut Signals, shown: &Shown, mut table: Option<Table>, around: &mut dyn Around) -> Result<()> {
    let mut draws = 0_u32;
    while !signals.wait(DRAW) {
        around.goes_on()?;
        draws = draws.wrapping_add(1);
        if draws.is_multiple_of(UPKEEP) {
            shown.upkeep();
        }
        if let Some(table) = &mut table {
            table.draw(&shown.registry().snapshot(), clock::monotonic());
        }
    }
    if let Some(table) = table {
        table.leave();
    }
    Ok(())
}

/// Drains everything in order; true if nothing was left.
fn stop(shown: &Shown) -> bool {
    shown.leave();
    let Some(live) = shown.live() else { return true };
    if let Some(governor) = live.governor.lock().take() {
        *live.governed.lock() = governor.state();
        governor.stop();
    }
    let Some(running) = live.running.lock().take() else { return true };
    // What happens from here on is not told any more, so that what was told can be read to its end, and adds up.
    live.probe.detach();
    // What is shown while the rest is drained.
    *live.ended.lock() = running.report();
    let stopped = running.stop(STOP_WITHIN);
    *live.ended.lock() = stopped.shards;
    if let Some(feed) = live.feed.lock().take() {
        feed.stop();
    }
    live.calls.stop();
    let (_, _, sums) = shown.sums();
    let exchanges = &sums.exchanges;
    tracing::info!(
        seen = exchanges.seen,
        reported = exchanges.reported,
        missed = exchanges.missed,
        dropped = exchanges.dropped,
        balanced = sums.balanced,
        "stopped"
    );
    for imbalance in &sums.imbalances {
        tracing::error!("sums differ: {imbalance:?}");
    }
    if let Some(unfinished) = &stopped.unfinished {
        tracing::error!("{unfinished}");
    }
    stopped.unfinished.is_none() && stopped.clean
}

/// Ends what [`start`] began, where nobody asks for its numbers.
pub(super) fn end(live: &Live) {
    if let Some(governor) = live.governor.lock().take() {
        governor.stop();
    }
    live.probe.detach();
    if let Some(running) = live.running.lock().take() {
        let _ = running.stop(STOP_WITHIN);
    }
    if let Some(feed) = live.feed.lock().take() {
        feed.stop();
    }
    live.calls.stop();
}
