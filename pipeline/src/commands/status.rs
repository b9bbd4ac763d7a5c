//! What the endpoint of a running agent shows: `/metrics`, `/readyz`, `/api/v1/status`.
//!
//! Before the probe is attached there is only the registry to show, and the agent is not ready.

mod sight;

use parking_lot::Mutex;
use redtap::alarms::Board;
use redtap::alarms::desk::Desk;
use redtap::calls::Calls;
use redtap::clock;
use redtap::conservation::{Conservation, KernelCounts, ShardReport};
use redtap::export::{Account, Gather, Gathered};
use redtap::fleet::Fleet;
use redtap::governor::{self, Governor};
use redtap::history::History;
use redtap::http::{Backend, HttpCounters};
use redtap::metadata::feed::Feed;
use redtap::registry::{Format, Registry};
use redtap::reports::Reports;
use redtap::self_metrics::{Observed, SelfMetrics, StageCounts, Usage};
use redtap::topology::{Running, ShardControls};
use redtap_kernel::losses::Losses;
use redtap_kernel::probe::Probe;
use redtap_stages::time::Nanos;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What runs once the probe is attached.
pub(super) struct Live {
    pub(super) probe: Arc<Probe>,
    /// None without a budget, and once everything is being stopped.
    pub(super) governor: Mutex<Option<Governor>>,
    /// How it stood when it was stopped.
    pub(super) governed: Mutex<governor::State>,
    pub(super) running: Mutex<Option<Running>>,
    pub(super) feed: Mutex<Option<Feed>>,
    pub(super) calls: Arc<Calls>,
    /// The last reports, for when the topology has ended.
    pub(super) ended: Mutex<Vec<ShardReport>>,
    /// What the stages of each shard count besides their ledgers, as of the last upkeep.
    pub(super) counts: Vec<Arc<Mutex<StageCounts>>>,
}

/// The agent as the endpoint sees it.
pub(super) struct Shown {
    registry: Arc<Registry>,
    history: Arc<History>,
    /// Reports come from there, instead of from the history.
    fleet: OnceLock<Arc<Fleet>>,
    own: Mutex<SelfMetrics>,
    live: OnceLock<Live>,
    http: OnceLock<Arc<HttpCounters>>,
    exporters: OnceLock<Vec<Arc<Account>>>,
    desk: OnceLock<Arc<Desk>>,
    ready: AtomicBool,
    started: Nanos,
}

impl Shown {
    pub(super) fn new(registry: Arc<Registry>, history: Arc<History>) -> Self {
        Self {
            registry,
            history,
            fleet: OnceLock::new(),
            own: Mutex::new(SelfMetrics::new()),
            live: OnceLock::new(),
            http: OnceLock::new(),
            exporters: OnceLock::new(),
            desk: OnceLock::new(),
            ready: AtomicBool::new(false),
            started: clock::monotonic(),
        }
    }

    /// From now on reports come from an engine.
    pub(super) fn report_from(&self, fleet: Arc<Fleet>) {
        let _ = self.fleet.set(fleet);
    }

    /// The endpoint's counters, once it runs.
    pub(super) fn count_http(&self, counters: Arc<HttpCounters>) {
        let _ = self.http.set(counters);
    }

    /// What the exporters count, once they run.
    pub(super) fn count_exporters(&self, accounts: &[Arc<Account>]) {
        let _ = self.exporters.set(accounts.to_vec());
    }

    /// Where alarms are, once there are rules.
    pub(super) fn show_alarms(&self, desk: Arc<Desk>) {
        let _ = self.desk.set(desk);
    }

    fn board(&self) -> Option<Arc<Board>> {
        self.desk.get().map(|desk| desk.board())
    }

    /// From now on it is ready.
    pub(super) fn attach(&self, live: Live) {
        let _ = self.live.set(live);
        self.ready.store(true, Ordering::Release);
    }

    pub(super) fn live(&self) -> Option<&Live> {
        self.live.get()
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn shared_registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// When it was made, monotonic.
    pub(super) fn started(&self) -> Nanos {
        self.started
    }

    /// No longer ready: it is being stopped.
    pub(super) fn leave(&self) {
        self.ready.store(false, Ordering::Release);
    }

    /// What is due every few seconds.
    pub(super) fn upkeep(&self) {
        self.registry.expire(clock::monotonic());
        self.refresh();
        self.own.lock().upkeep();
        let Some(live) = self.live() else { return };
        let running = live.running.lock();
        let Some(running) = running.as_ref() else { return };
        for (shard, counts) in live.counts.iter().enumerate() {
            if let Some(controls) = running.controls(shard) {
                ask(&controls, counts);
            }
        }
    }

    fn governor(&self) -> governor::State {
        let Some(live) = self.live() else { return governor::State::default() };
        live.governor.lock().as_ref().map_or_else(|| *live.governed.lock(), Governor::state)
    }

    fn reports(&self) -> Vec<ShardReport> {
        self.live().map_or_else(Vec::new, |live| match live.running.lock().as_ref() {
            Some(running) => running.report(),
            None => live.ended.lock().clone(),
        })
    }

    /// The sums, and what the kernel counted. The kernel is asked last, so that nothing seems to come from nowhere.
    pub(super) fn sums(&self) -> (Vec<ShardReport>, Option<Losses>, Conservation) {
        let reports = self.reports();
        let losses = self.live().map(|live| live.probe.losses());
        let sums = Conservation::of(losses.as_ref().map(kernel), &reports);
        let sums = sums.with_refused(self.registry.stats().exchanges_refused);
        (reports, losses, sums)
    }

    /// What the stages of all shards count besides their ledgers, as of the last upkeep.
    fn counts(&self) -> StageCounts {
        self.live().map(|live| live.counts.iter().map(|counts| *counts.lock()).sum()).unwrap_or_default()
    }

    fn refresh(&self) {
        let (reports, losses, sums) = self.sums();
        let board = self.board();
        let observed = Observed {
            shards: &reports,
            conservation: Some(&sums),
            losses,
            runs: self.live().and_then(|live| live.probe.run_stats()),
            registry: self.registry.stats(),
            counts: self.counts(),
            resolver: self.live().and_then(|live| Some(live.feed.lock().as_ref()?.stats())).unwrap_or_default(),
            http: self.http.get().map(Arc::as_ref),
            history: self.history.stats(),
            usage: Usage::now(),
            governor: self.governor(),
            alarms: board.as_deref(),
            exporters: self.exporters.get().map_or_else(Vec::new, |accounts| {
                accounts.iter().map(|account| (account.name(), account.totals())).collect()
            }),
        };
        self.own.lock().update(&observed);
    }
}

/// Has the stages tell what they count. One that has much to do refuses; the next upkeep asks again.
fn ask(controls: &ShardControls, counts: &Arc<Mutex<StageCounts>>) {
    let told = Arc::clone(counts);
    let _ = controls.decode.apply(move |decode| {
        let connections = decode.connections();
        let mut told = told.lock();
        told.connections = connections.open;
        told.connections_idle = connections.idle;
        told.connections_evicted = connections.crowded_out;
    });
    let told = Arc::clone(counts);
    let _ = controls.identify.apply(move |identify| {
        let counts = identify.counts();
        let mut told = told.lock();
        told.identified = counts.identified;
        told.tls = counts.tls;
        told.foreign = counts.foreign - counts.tls;
        told.hurried = counts.hurried;
    });
    let told = Arc::clone(counts);
    let _ = controls.parse.apply(move |parse| {
        let counts = parse.counts();
        let mut told = told.lock();
        told.upgraded_to_tls = counts.handed_to_tls;
        told.upgraded_to_known = counts.succeeded;
        told.captures_raised = counts.raised;
        told.captures_spared = counts.spared;
        told.captures_recalled = counts.recalled;
    });
    let told = Arc::clone(counts);
    let _ = controls.converge.apply(move |converge| told.lock().endpoints_overflowed = converge.overflowed());
    let told = Arc::clone(counts);
    let _ = controls.join.apply(move |join| {
        let mut told = told.lock();
        told.join_hurried = join.hurried();
        told.join_expired = join.expired();
        told.join_overflowed = join.overflowed();
    });
    let told = Arc::clone(counts);
    let _ = controls.aggregate.apply(move |aggregate| told.lock().series_overflowed = aggregate.overflowed());
}

pub(super) fn kernel(losses: &Losses) -> KernelCounts {
    KernelCounts { attempted: losses.attempted, refused: losses.refused_full, refused_turns: losses.refused_turns }
}

impl Gather for Shown {
    fn gather(&self) -> Gathered {
        self.refresh();
        let at_ns = i128::from(clock::monotonic().0) + i128::from(clock::wall_offset_ns());
        Gathered {
            at_ms: i64::try_from(at_ns / 1_000_000).unwrap_or(i64::MAX),
            traffic: self.registry.snapshot(),
            own: self.own.lock().samples(),
        }
    }
}

impl Backend for Shown {
    fn metrics(&self, format: Format, out: &mut String) {
        self.refresh();
        self.registry.snapshot().render(format, out);
        self.own.lock().render(format, out);
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn reports(&self) -> Option<Arc<dyn Reports>> {
        Some(match self.fleet.get() {
            Some(fleet) => Arc::<Fleet>::clone(fleet),
            None => Arc::<History>::clone(&self.history),
        })
    }

    fn calls(&self) -> Option<Arc<Calls>> {
        self.live().map(|live| Arc::clone(&live.calls))
    }

    fn alarms(&self) -> Option<Arc<Board>> {
        self.board()
    }

    fn status(&self) -> Value {
        let (reports, losses, sums) = self.sums();
        let probe = self.live().map(|live| &live.probe);
        let skipped: Vec<Value> = probe
            .map(|probe| probe.skipped())
            .unwrap_or_default()
            .iter()
            .map(|failure| json!({ "rung": failure.rung.name(), "reason": failure.step.to_string() }))
            .collect();
        let counts = self.counts();
        let shards: Vec<Value> = reports.iter().enumerate().map(|(number, report)| shard(number, report)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "reports": self.fleet.get().map_or_else(|| self.history.source(), |fleet| fleet.source()),
            "engine": self.fleet.get().map(|fleet| fleet.engine()),
            "ready": self.ready(),
            "uptime_seconds": clock::monotonic().since(self.started).as_secs_f64(),
            "rung": probe.map(|probe| probe.rung().name()),
            "rungs_skipped": skipped,
            "governor": governed(&self.governor()),
            "scaled": scaled(&reports),
            "conservation": sums,
            "kernel": losses.map(|losses| loss_object(&losses)),
            "shards": shards,
            "series": self.registry.stats().series,
            "connections": sight::connections(&counts),
            "overflows": sight::overflows(&counts),
            "usage": sight::usage(&Usage::now()),
            "exporters": sight::exporters(self.exporters.get().map_or(&[], Vec::as_slice)),
            "calls": self.live().map(|live| live.calls.counts()),
        })
    }
}

fn governed(state: &governor::State) -> Value {
    if state.budget == 0.0 {
        return json!({ "enabled": false, "step": state.step.number(), "sampling_ratio": state.step.sampling_ratio() });
    }
    json!({
        "enabled": true,
        "budget_ratio": state.budget,
        "used_ratio": state.used.share(),
        "used_agent_ratio": state.used.agent,
        "used_kernel_ratio": state.used.kernel,
        "used_kernel_excluded_ratio": state.used.excluded,
        "kernel_ns_per_operation": state.costs.watched_ns,
        "kernel_ns_per_excluded_operation": state.costs.excluded_ns,
        "kernel_cost": state.costs.source.name(),
        "operations_per_second": state.used.rate,
        "step": state.step.number(),
        "step_name": state.step.name(),
        "steps": governor::Step::all().map(governor::Step::name).collect::<Vec<_>>(),
        "sampling_ratio": state.step.sampling_ratio(),
        "seconds_at_step": clock::monotonic().since(state.since).as_secs_f64(),
        "steps_down": state.downs,
        "steps_up": state.ups,
    })
}

/// Of what the series hold, the part that was seen and the part that stands for what sampling left out.
fn scaled(reports: &[ShardReport]) -> Value {
    let sum = |part: fn(&ShardReport) -> u64| reports.iter().map(part).sum::<u64>();
    json!({
        "delivered": sum(|report| report.delivered.exchanges),
        "of_these_scaled": sum(|report| report.delivered.scaled),
        "extrapolated": sum(|report| report.delivered.extrapolated),
    })
}

fn shard(number: usize, report: &ShardReport) -> Value {
    let stages: Vec<Value> = report
        .stages
        .iter()
        .map(|stage| {
            let rejected: serde_json::Map<String, Value> =
                stage.rejected.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count))).collect();
            json!({
                "stage": stage.name,
                "taken": stage.totals.taken,
                "passed": stage.totals.passed,
                "held": stage.totals.held,
                "rejected": rejected,
                "lost": stage.totals.lost,
                "emitted": stage.totals.emitted,
                "faults": stage.totals.faults,
                "waiting": stage.inlet.records_in_flight,
            })
        })
        .collect();
    json!({
        "shard": number,
        "ring_fill_bytes": report.drain.source.ring_fill,
        "ring_capacity_bytes": report.drain.source.ring_capacity,
        "exchanges": report.exchanges,
        "stages": stages,
    })
}

fn loss_object(losses: &Losses) -> Value {
    json!({
        "attempted": losses.attempted,
        "refused_full": losses.refused_full,
        "refused_turns": losses.refused_turns,
        "turns": losses.turns,
        "connections": losses.connections,
        "operations": losses.operations,
        "no_storage": losses.no_storage,
        "evicted": losses.evicted,
        "sampled_turns": losses.sampled_turns,
        "slot_lost": losses.slot_lost,
        "slot_lost_turns": losses.slot_lost_turns,
        "not_selected": losses.not_selected,
        "muted": losses.muted,
        "unreadable": losses.fault,
        "skipped_runs": losses.missed,
    })
}
