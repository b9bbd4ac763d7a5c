//! The agent's own metrics: what every part says it did, through the `metrics` crate and its Prometheus exporter.
//!
//! A [`SelfMetrics`] owns a recorder of its own (none is installed for the process). Nothing on the data path touches it:
//! the parts count for themselves, and [`SelfMetrics::update`] sets the counters to what they say, before each scrape and
//! every five seconds, which is also when the exporter's upkeep is due. Handles are made once a label set; the label sets
//! are those of shards, stages and reasons, all closed lists.
//!
//! Names and meanings: `docs/metrics.md`. Absent: labels that come from the network.

mod process;
mod translate;

pub use process::Usage;

use crate::alarms::Board;
use crate::conservation::{Conservation, ShardReport};
use crate::export::{AccountTotals, OwnSample, Reason};
use crate::governor;
use crate::history::HistoryStats;
use crate::http::HttpCounters;
use crate::metadata::ResolverStats;
use crate::registry::{Format, RegistryStats};
use metrics::{Counter, Gauge, Label};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use redtap_kernel::losses::Losses;
use redtap_kernel::probe::RunStats;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// What all parts say, at one moment.
#[derive(Debug, Default)]
pub struct Observed<'a> {
    /// Of each shard.
    pub shards: &'a [ShardReport],
    /// The sums.
    pub conservation: Option<&'a Conservation>,
    /// What the kernel programs counted.
    pub losses: Option<Losses>,
    /// What the kernel programs cost; only when kernel statistics are on.
    pub runs: Option<RunStats>,
    /// The registry.
    pub registry: RegistryStats,
    /// What stages count besides their ledgers.
    pub counts: StageCounts,
    /// Process look-ups.
    pub resolver: ResolverStats,
    /// The endpoint.
    pub http: Option<&'a HttpCounters>,
    /// The history.
    pub history: HistoryStats,
    /// The agent's own cost.
    pub usage: Usage,
    /// Where the governor stands.
    pub governor: governor::State,
    /// Alarms, if there are rules.
    pub alarms: Option<&'a Board>,
    /// Of each exporter.
    pub exporters: Vec<(&'static str, AccountTotals)>,
}

/// What stages count besides their ledgers; summed over shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageCounts {
    /// Connections followed now.
    pub connections: u64,
    /// Connections forgotten because they were idle.
    pub connections_idle: u64,
    /// Connections forgotten to make room.
    pub connections_evicted: u64,
    /// Connections whose protocol was found.
    pub identified: u64,
    /// Connections that speak TLS from the beginning.
    pub tls: u64,
    /// Connections of no protocol that is known.
    pub foreign: u64,
    /// Of no protocol that is known, given up after their first turn because the governor asked for it.
    pub hurried: u64,
    /// Connections that went on encrypted after an upgrade.
    pub upgraded_to_tls: u64,
    /// Connections that went on in another known protocol after an upgrade.
    pub upgraded_to_known: u64,
    /// Times the kernel was asked to capture more of a connection than before.
    pub captures_raised: u64,
    /// The same, less: less was enough.
    pub captures_spared: u64,
    /// The same again, because it had captured less.
    pub captures_recalled: u64,
    /// Exchanges that `converge` gave the overflow endpoint.
    pub endpoints_overflowed: u64,
    /// Exchanges that `join` let go before their time, because too many waited.
    pub join_hurried: u64,
    /// Connections whose exchanges waited in `join` in vain.
    pub join_expired: u64,
    /// Entries that `join` forgot, or did not take, because of a bound.
    pub join_overflowed: u64,
    /// Exchanges counted in an overflow series.
    pub series_overflowed: u64,
}

impl std::iter::Sum for StageCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            connections: a.connections + b.connections,
            connections_idle: a.connections_idle + b.connections_idle,
            connections_evicted: a.connections_evicted + b.connections_evicted,
            identified: a.identified + b.identified,
            tls: a.tls + b.tls,
            foreign: a.foreign + b.foreign,
            hurried: a.hurried + b.hurried,
            upgraded_to_tls: a.upgraded_to_tls + b.upgraded_to_tls,
            upgraded_to_known: a.upgraded_to_known + b.upgraded_to_known,
            captures_raised: a.captures_raised + b.captures_raised,
            captures_spared: a.captures_spared + b.captures_spared,
            captures_recalled: a.captures_recalled + b.captures_recalled,
            endpoints_overflowed: a.endpoints_overflowed + b.endpoints_overflowed,
            join_hurried: a.join_hurried + b.join_hurried,
            join_expired: a.join_expired + b.join_expired,
            join_overflowed: a.join_overflowed + b.join_overflowed,
            series_overflowed: a.series_overflowed + b.series_overflowed,
        })
    }
}

type Labels = Vec<(&'static str, String)>;

/// The metrics. Share it behind a lock: it is used once a scrape.
pub struct SelfMetrics {
    recorder: PrometheusRecorder,
    counters: HashMap<(&'static str, Labels), (Counter, u64)>,
    gauges: HashMap<(&'static str, Labels), (Gauge, f64)>,
    /// Counters of seconds: the exporter's are integers.
    seconds: Vec<(&'static str, &'static str, f64)>,
}

impl std::fmt::Debug for SelfMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfMetrics").field("counters", &self.counters.len()).finish_non_exhaustive()
    }
}

impl Default for SelfMetrics {
    fn default() -> Self {
        Self::new()
    }
}

const METADATA: metrics::Metadata<'static> = metrics::Metadata::new(module_path!(), metrics::Level::INFO, None);

impl SelfMetrics {
    /// Metrics that say nothing yet but what this binary is.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut all = Self { recorder, counters: HashMap::new(), gauges: HashMap::new(), seconds: Vec::new() };
        for (name, help) in HELP {
            all.describe(name, help);
        }
        all.gauge("redtap_build_info", vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
        let started = i128::from(crate::clock::monotonic().0) + i128::from(crate::clock::wall_offset_ns());
        let started = u64::try_from(started / 1_000_000_000).unwrap_or(0);
        all.gauge("redtap_start_time_seconds", Vec::new(), float(started));
        all
    }

    /// Sets everything to what the parts say.
    pub fn update(&mut self, observed: &Observed<'_>) {
        for (number, shard) in observed.shards.iter().enumerate() {
            self.shard(&number.to_string(), shard);
        }
        if let Some(conservation) = observed.conservation {
            self.sums(conservation);
        }
        self.losses(observed);
        self.parts(observed);
        self.governor(observed);
        self.exporters(&observed.exporters);
        if let Some(board) = observed.alarms {
            self.alarms(board);
        }
        let usage = &observed.usage;
        self.gauge("redtap_process_resident_bytes", Vec::new(), float(usage.resident_bytes));
        self.gauge("redtap_process_threads", Vec::new(), float(usage.threads));
        self.seconds.clear();
        let cpu = usage.cpu.as_secs_f64();
        self.seconds.push((CPU.0, CPU.1, cpu));
        if let Some(runs) = &observed.runs {
            self.seconds.push((RUN.0, RUN.1, float(runs.run_ns()) / 1e9));
            self.counter("redtap_bpf_runs_total", Vec::new(), runs.run_count());
        }
    }

    /// The exporter's upkeep: call it every few seconds.
    pub fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }

    /// Appends everything in `format`, without `# EOF`.
    pub fn render(&self, format: Format, out: &mut String) {
        let text = self.recorder.handle().render();
        match format {
            Format::Text => out.push_str(&text),
            Format::OpenMetrics => translate::to_open_metrics(&text, out),
        }
        for (name, help, value) in &self.seconds {
            let family = match format {
                Format::Text => "_total",
                Format::OpenMetrics => "",
            };
            let _ = write!(out, "# HELP {name}{family} {help}\n# TYPE {name}{family} counter\n{name}_total {value}\n");
        }
    }

    /// What [`Self::update`] was told last, by name and labels.
    #[must_use]
    pub fn samples(&self) -> Vec<OwnSample> {
        let sample = |name: Cow<'static, str>, labels: &Labels, counter, value| OwnSample {
            name,
            labels: labels.clone(),
            counter,
            value,
        };
        let counters = self.counters.iter().map(|((name, labels), (_, value))| {
            let value = float(*value);
            sample(Cow::Borrowed(*name), labels, true, value)
        });
        let gauges =
            self.gauges.iter().map(|((name, labels), (_, value))| sample(Cow::Borrowed(*name), labels, false, *value));
        let seconds = self
            .seconds
            .iter()
            .map(|(name, _, value)| sample(Cow::Owned(format!("{name}_total")), &Labels::new(), true, *value));
        let mut all: Vec<OwnSample> = counters.chain(gauges).chain(seconds).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.labels.cmp(&b.labels)));
        all
    }

    fn shard(&mut self, number: &str, report: &ShardReport) {
        let shard = || vec![("shard", number.to_owned())];
        let drain = &report.drain;
        self.gauge("redtap_ring_fill_bytes", shard(), float(drain.source.ring_fill));
        self.gauge("redtap_ring_capacity_bytes", shard(), float(drain.source.ring_capacity));
        self.counter("redtap_drain_records_total", shard(), drain.source.records);
        self.counter("redtap_drain_progress_total", shard(), drain.source.progress);
        self.counter("redtap_drain_blocked_total", shard(), drain.blocked);
        self.counter("redtap_drain_waits_total", shard(), drain.waits);
        for stage in &report.stages {
            let labels = || vec![("shard", number.to_owned()), ("stage", stage.name.to_owned())];
            let totals = &stage.totals;
            self.counter("redtap_stage_taken_total", labels(), totals.taken);
            self.counter("redtap_stage_passed_total", labels(), totals.passed);
            self.counter("redtap_stage_emitted_total", labels(), totals.emitted);
            self.counter("redtap_stage_lost_total", labels(), totals.lost + totals.unsendable);
            self.counter("redtap_stage_faults_total", labels(), totals.faults);
            self.counter("redtap_stage_turns_total", labels(), totals.turns);
            self.counter("redtap_stage_blocked_total", labels(), totals.blocked);
            self.gauge("redtap_stage_held", labels(), float(totals.held));
            self.gauge("redtap_edge_depth", labels(), float(stage.inlet.depth));
            self.gauge("redtap_edge_records", labels(), float(stage.inlet.records_in_flight));
            for (reason, count) in &stage.rejected {
                let mut labels = labels();
                labels.push(("reason", (*reason).to_owned()));
                self.counter("redtap_stage_rejected_total", labels, *count);
            }
        }
    }

    fn sums(&mut self, sums: &Conservation) {
        let exchanges = &sums.exchanges;
        self.counter("redtap_exchanges_seen_total", Vec::new(), exchanges.seen);
        self.counter("redtap_exchanges_reported_total", Vec::new(), exchanges.reported);
        self.counter("redtap_exchanges_missed_total", Vec::new(), exchanges.missed);
        self.counter("redtap_exchanges_missed_unidentified_total", Vec::new(), exchanges.missed_unidentified);
        self.counter("redtap_exchanges_dropped_total", Vec::new(), exchanges.dropped);
        self.counter("redtap_exchanges_lost_total", Vec::new(), exchanges.lost);
        self.counter("redtap_exchanges_undelivered_total", Vec::new(), sums.undelivered);
        self.counter("redtap_records_unread_total", Vec::new(), sums.unread);
        self.gauge("redtap_exchanges_pending", Vec::new(), float(exchanges.pending));
        self.gauge("redtap_capture_ratio", Vec::new(), sums.capture_ratio);
        self.gauge("redtap_balanced", Vec::new(), if sums.balanced { 1.0 } else { 0.0 });
        self.lost("stage", sums.lost);
    }

    fn losses(&mut self, observed: &Observed<'_>) {
        let Some(losses) = &observed.losses else { return };
        self.counter("redtap_kernel_attempted_total", Vec::new(), losses.attempted);
        self.counter("redtap_kernel_refused_total", vec![("reason", "ring_full".to_owned())], losses.refused_full);
        self.counter("redtap_kernel_refused_turns_total", Vec::new(), losses.refused_turns);
        self.counter("redtap_kernel_turns_total", Vec::new(), losses.turns);
        self.counter("redtap_kernel_operations_total", Vec::new(), losses.operations);
        self.counter("redtap_kernel_connections_total", Vec::new(), losses.connections);
        self.counter("redtap_kernel_not_selected_total", Vec::new(), losses.not_selected);
        self.counter("redtap_kernel_muted_total", Vec::new(), losses.muted);
        self.counter("redtap_kernel_unreadable_total", Vec::new(), losses.fault);
        self.counter("redtap_kernel_evicted_total", Vec::new(), losses.evicted);
        self.counter("redtap_kernel_sampled_turns_total", Vec::new(), losses.sampled_turns);
        self.counter("redtap_kernel_slots_lost_total", Vec::new(), losses.slot_lost);
        self.counter("redtap_kernel_slots_lost_turns_total", Vec::new(), losses.slot_lost_turns);
        self.lost("ring_full", losses.refused_full);
        self.lost("no_storage", losses.no_storage);
        self.lost("recursion", losses.missed);
    }

    fn governor(&mut self, observed: &Observed<'_>) {
        let state = &observed.governor;
        self.gauge("redtap_governor_budget_ratio", Vec::new(), state.budget);
        for (of, share) in
            [("agent", state.used.agent), ("kernel", state.used.kernel), ("excluded", state.used.excluded)]
        {
            self.gauge("redtap_governor_used_ratio", vec![("of", of.to_owned())], share);
        }
        self.gauge("redtap_governor_step", Vec::new(), f64::from(state.step.number()));
        for (direction, count) in [("down", state.downs), ("up", state.ups)] {
            self.counter("redtap_governor_steps_total", vec![("direction", direction.to_owned())], count);
        }
        self.gauge("redtap_sampling_ratio", Vec::new(), state.step.sampling_ratio());
        let delivered = || observed.shards.iter().map(|shard| &shard.delivered);
        self.counter("redtap_scaled_exchanges_total", Vec::new(), delivered().map(|one| one.scaled).sum());
        self.counter("redtap_extrapolated_exchanges_total", Vec::new(), delivered().map(|one| one.extrapolated).sum());
        self.counter("redtap_connections_hurried_total", Vec::new(), observed.counts.hurried);
    }

    fn exporters(&mut self, exporters: &[(&'static str, AccountTotals)]) {
        for (name, totals) in exporters {
            let labels = || vec![("exporter", (*name).to_owned())];
            self.counter("redtap_export_gathered_total", labels(), totals.gathered);
            self.counter("redtap_export_delivered_total", labels(), totals.delivered);
            self.counter("redtap_export_retries_total", labels(), totals.retries);
            self.counter("redtap_export_faults_total", labels(), totals.faults);
            self.gauge("redtap_export_pending", labels(), float(totals.pending));
            for (reason, count) in Reason::ALL.iter().zip(totals.undelivered) {
                let mut labels = labels();
                labels.push(("reason", reason.name().to_owned()));
                self.counter("redtap_export_undelivered_total", labels, count);
            }
        }
    }

    fn alarms(&mut self, board: &Board) {
        let count = |alarms: &[crate::alarms::Alarm], severity| {
            float(alarms.iter().filter(|alarm| alarm.severity == severity).count() as u64)
        };
        for severity in ["critical", "warning", "info"] {
            for (state, alarms) in [("firing", &board.firing), ("pending", &board.pending)] {
                let labels = vec![("severity", severity.to_owned()), ("state", state.to_owned())];
                self.gauge("redtap_alarms", labels, count(alarms, severity));
            }
        }
        let stats = &board.stats;
        self.counter("redtap_alarm_evaluations_total", Vec::new(), stats.evaluations);
        for (to, total) in [("firing", stats.fired), ("resolved", stats.resolved)] {
            self.counter("redtap_alarm_changes_total", vec![("to", to.to_owned())], total);
        }
        self.gauge("redtap_alarm_groups", Vec::new(), float(stats.groups));
        for (what, total) in [("group", stats.groups_refused), ("alarm", stats.alarms_refused)] {
            self.counter("redtap_alarm_refused_total", vec![("what", what.to_owned())], total);
        }
        self.counter("redtap_alarm_state_failures_total", Vec::new(), stats.state_failures);
    }

    fn lost(&mut self, reason: &str, count: u64) {
        self.counter("redtap_events_lost_total", vec![("reason", reason.to_owned())], count);
    }

    fn parts(&mut self, observed: &Observed<'_>) {
        let registry = &observed.registry;
        self.gauge("redtap_series", Vec::new(), float(registry.series));
        self.counter("redtap_series_expired_total", Vec::new(), registry.expired);
        let counts = &observed.counts;
        self.counter("redtap_series_overflow_total", Vec::new(), counts.series_overflowed);
        self.counter("redtap_endpoints_overflow_total", Vec::new(), counts.endpoints_overflowed);
        self.counter("redtap_join_hurried_total", Vec::new(), counts.join_hurried);
        self.counter("redtap_join_expired_total", Vec::new(), counts.join_expired);
        self.counter("redtap_join_overflow_total", Vec::new(), counts.join_overflowed);
        self.gauge("redtap_connections", Vec::new(), float(counts.connections));
        for (reason, count) in [("idle", counts.connections_idle), ("table_full", counts.connections_evicted)] {
            self.counter("redtap_connections_forgotten_total", vec![("reason", reason.to_owned())], count);
        }
        for (fate, count) in [("known", counts.identified), ("tls", counts.tls), ("foreign", counts.foreign)] {
            self.counter("redtap_connections_identified_total", vec![("as", fate.to_owned())], count);
        }
        for (to, count) in [("tls", counts.upgraded_to_tls), ("known", counts.upgraded_to_known)] {
            self.counter("redtap_connections_upgraded_total", vec![("to", to.to_owned())], count);
        }
        for (change, count) in
            [("more", counts.captures_raised), ("less", counts.captures_spared), ("again", counts.captures_recalled)]
        {
            self.counter("redtap_capture_budget_changes_total", vec![("change", change.to_owned())], count);
        }
        self.counter("redtap_series_refused_total", Vec::new(), registry.refused);
        self.counter("redtap_targets_refused_total", Vec::new(), registry.targets_refused);
        self.counter("redtap_publications_total", Vec::new(), registry.publications);
        let exemplars = &registry.exemplars;
        self.gauge("redtap_exemplars_held", Vec::new(), float(exemplars.kept));
        for (fate, count) in [
            ("shown", exemplars.shown),
            ("no_series", exemplars.no_series),
            ("late", exemplars.late),
            ("inferred", exemplars.inferred),
            ("full", exemplars.full),
            ("crowded", exemplars.crowded),
        ] {
            self.counter("redtap_exemplars_total", vec![("fate", fate.to_owned())], count);
        }
        self.history(&observed.history);
        let resolver = &observed.resolver;
        self.gauge("redtap_processes_known", Vec::new(), float(resolver.known));
        self.counter("redtap_process_lookups_total", Vec::new(), resolver.looked_up);
        self.counter("redtap_process_lookups_missed_total", Vec::new(), resolver.missed);
        self.counter("redtap_processes_evicted_total", Vec::new(), resolver.evicted);
        if let Some(http) = observed.http {
            let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
            self.counter("redtap_http_requests_total", Vec::new(), load(&http.requests));
            self.counter("redtap_http_errors_total", Vec::new(), load(&http.errors));
            self.counter("redtap_http_connections_total", Vec::new(), load(&http.connections.accepted));
            self.gauge("redtap_http_connections_open", Vec::new(), float(load(&http.connections.open)));
            for (reason, count) in [
                ("timeout", &http.connections.timed_out),
                ("oversized", &http.connections.oversized),
                ("slow", &http.connections.slow),
                ("crowded", &http.connections.crowded),
            ] {
                self.counter("redtap_http_connections_closed_total", vec![("reason", reason.to_owned())], load(count));
            }
        }
    }

    fn history(&mut self, history: &HistoryStats) {
        for (name, count) in [
            ("redtap_history_recordings_total", history.recordings),
            ("redtap_history_missed_steps_total", history.missed),
            ("redtap_history_dropped_steps_total", history.dropped),
            ("redtap_history_refused_total", history.refused),
            ("redtap_history_saves_total", history.saved),
            ("redtap_history_save_errors_total", history.save_errors),
        ] {
            self.counter(name, Vec::new(), count);
        }
        self.gauge("redtap_history_series", Vec::new(), float(history.series));
        self.gauge("redtap_history_steps", Vec::new(), float(history.steps));
        self.gauge("redtap_history_bytes", Vec::new(), float(history.bytes));
    }

    fn describe(&self, name: &'static str, help: &'static str) {
        use metrics::Recorder as _;
        if name.ends_with("_total") {
            self.recorder.describe_counter(name.into(), None, help.into());
        } else {
            self.recorder.describe_gauge(name.into(), None, help.into());
        }
    }

    fn counter(&mut self, name: &'static str, labels: Labels, value: u64) {
        use metrics::Recorder as _;
        let Self { recorder, counters, .. } = self;
        let (handle, last) = counters
            .entry((name, labels))
            .or_insert_with_key(|(name, labels)| (recorder.register_counter(&key(name, labels), &METADATA), 0));
        handle.absolute(value);
        // As the exporter does it: a counter never goes back.
        *last = value.max(*last);
    }

    fn gauge(&mut self, name: &'static str, labels: Labels, value: f64) {
        use metrics::Recorder as _;
        let Self { recorder, gauges, .. } = self;
        let (handle, last) = gauges
            .entry((name, labels))
            .or_insert_with_key(|(name, labels)| (recorder.register_gauge(&key(name, labels), &METADATA), 0.0));
        handle.set(value);
        *last = value;
    }
}

fn key(name: &'static str, labels: &Labels) -> metrics::Key {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
    metrics::Key::from_parts(name, labels)
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Counters of seconds, which [`HELP`] cannot describe to a recorder that counts in whole numbers. Their names go on with `_total`.
const CPU: (&str, &str) = ("redtap_process_cpu_seconds", "Processor time that the agent used.");
const RUN: (&str, &str) = ("redtap_bpf_run_seconds", "Time that the kernel programs ran (kernel.bpf_stats_enabled).");

/// What one of the agent's own metrics means, by its name; nothing of others.
#[must_use]
pub fn help(name: &str) -> &'static str {
    let seconds = || [CPU, RUN].into_iter().find(|(family, _)| name.strip_suffix("_total") == Some(*family));
    HELP.iter().copied().find(|(known, _)| *known == name).or_else(seconds).map_or("", |(_, help)| help)
}

/// One sentence a metric; `docs/metrics.md` has the same (a test compares).
pub const HELP: &[(&str, &str)] = &[
    ("redtap_build_info", "Version of the agent; always 1."),
    ("redtap_start_time_seconds", "When the agent began, seconds since the epoch."),
    ("redtap_ring_fill_bytes", "Bytes in the ring that are not given back to the kernel yet."),
    ("redtap_ring_capacity_bytes", "Bytes of the ring."),
    ("redtap_drain_records_total", "Records read as the kernel wrote them."),
    ("redtap_drain_progress_total", "Records made from connection slots."),
    ("redtap_drain_blocked_total", "Batches that found the first edge full."),
    ("redtap_drain_waits_total", "Times that the drain waited for the ring."),
    ("redtap_stage_taken_total", "Records that a stage took."),
    ("redtap_stage_passed_total", "Records whose content a stage passed on."),
    ("redtap_stage_emitted_total", "Records that a stage put out."),
    ("redtap_stage_rejected_total", "Records that a stage did not pass on, by reason."),
    ("redtap_stage_lost_total", "Records lost by a fault of a stage or of what follows it."),
    ("redtap_stage_faults_total", "Panics of a stage that were caught; it was started again."),
    ("redtap_stage_turns_total", "Batches that a stage took."),
    ("redtap_stage_blocked_total", "Batches that found the next edge full."),
    ("redtap_stage_held", "Records that a stage holds."),
    ("redtap_edge_depth", "Batches waiting before a stage."),
    ("redtap_edge_records", "Records waiting before a stage."),
    ("redtap_exchanges_seen_total", "Exchanges begun."),
    ("redtap_exchanges_reported_total", "Exchanges put out, with or without an answer."),
    ("redtap_exchanges_missed_total", "Exchanges whose request the kernel refused a record for."),
    (
        "redtap_exchanges_missed_unidentified_total",
        "Refused turns on connections whose protocol never became known; not among those seen.",
    ),
    ("redtap_exchanges_dropped_total", "Exchanges not followed because a bound was reached."),
    ("redtap_exchanges_lost_total", "Exchanges lost with a faulted stage."),
    ("redtap_exchanges_undelivered_total", "Exchanges put out and lost before they were shown."),
    ("redtap_records_unread_total", "Records lost by faults before they could become exchanges."),
    ("redtap_exchanges_pending", "Exchanges waiting for their answer."),
    ("redtap_capture_ratio", "Share of the decided exchanges that were reported."),
    ("redtap_balanced", "1 if all sums that must be equal are."),
    ("redtap_events_lost_total", "Events lost anywhere, by reason."),
    ("redtap_kernel_attempted_total", "Records that the kernel programs tried to put into a ring."),
    ("redtap_kernel_refused_total", "Of these, refused, by reason."),
    ("redtap_kernel_refused_turns_total", "Of the refused, first records of a turn."),
    ("redtap_kernel_turns_total", "Turns begun on selected connections."),
    ("redtap_kernel_operations_total", "Operations of selected connections that moved data."),
    ("redtap_kernel_connections_total", "Connections given an id."),
    ("redtap_kernel_not_selected_total", "Operations of sockets that the filters exclude."),
    ("redtap_kernel_muted_total", "Operations of connections of no interest."),
    ("redtap_kernel_unreadable_total", "User buffers that could not be read."),
    ("redtap_kernel_evicted_total", "Connections that others pushed out of the full table of the syscall rung."),
    ("redtap_kernel_slots_lost_total", "Connection slots taken over before they were read."),
    ("redtap_kernel_slots_lost_turns_total", "Turns whose fate is unknown because of that."),
    ("redtap_bpf_runs_total", "Runs of the kernel programs (kernel.bpf_stats_enabled)."),
    ("redtap_connections", "Connections followed now."),
    ("redtap_connections_forgotten_total", "Connections forgotten before they were closed, by reason."),
    (
        "redtap_connections_identified_total",
        "Connections by what they were found to speak: a known protocol, TLS, or nothing known (a datagram socket each time).",
    ),
    (
        "redtap_connections_upgraded_total",
        "Connections that went on in TLS, or in another known protocol, after an upgrade.",
    ),
    (
        "redtap_capture_budget_changes_total",
        "Times the kernel was told to capture more of a connection's turns, less of its responses (256 bytes had been enough), or the same again.",
    ),
    (
        "redtap_endpoints_overflow_total",
        "Exchanges given the overflow endpoint because the routes of their service were too many.",
    ),
    ("redtap_join_hurried_total", "Exchanges that went on without a name because too many waited for one."),
    ("redtap_join_expired_total", "Connections whose exchanges waited for a name in vain."),
    ("redtap_join_overflow_total", "Entries of the tables of names forgotten or not taken because of a bound."),
    ("redtap_series", "Traffic series shown."),
    ("redtap_series_expired_total", "Series forgotten because they gained nothing for long."),
    (
        "redtap_series_overflow_total",
        "Exchanges counted in an overflow series because the budget of their service was spent.",
    ),
    ("redtap_series_refused_total", "Observations refused because the registry was full."),
    ("redtap_targets_refused_total", "Identities not shown as target_info because there were too many."),
    ("redtap_publications_total", "Publications taken by the registry."),
    ("redtap_exemplars_held", "Calls shown as exemplars now."),
    ("redtap_exemplars_total", "Calls offered as exemplars, by what became of them."),
    ("redtap_processes_known", "Processes whose identity is remembered."),
    ("redtap_process_lookups_total", "Processes looked at."),
    ("redtap_process_lookups_missed_total", "Processes that were gone before they could be looked at."),
    ("redtap_processes_evicted_total", "Processes forgotten to make room for others."),
    ("redtap_process_resident_bytes", "Resident memory of the agent."),
    ("redtap_process_threads", "Threads of the agent."),
    ("redtap_governor_budget_ratio", "Processor time that may be used, as a share of one processor; 0: no bound."),
    (
        "redtap_governor_used_ratio",
        "Processor time used in the last seconds, likewise: by the agent, and (estimated) by its kernel programs for what is watched and for what the filters exclude, which is not governed.",
    ),
    ("redtap_governor_step", "Steps down that the governor is at; 0: nothing is left out."),
    ("redtap_governor_steps_total", "Steps that the governor took, by direction."),
    ("redtap_sampling_ratio", "Share of the connections that are followed; below 1 the counts are scaled."),
    ("redtap_scaled_exchanges_total", "Exchanges that were counted for more than themselves because of sampling."),
    (
        "redtap_extrapolated_exchanges_total",
        "What they were counted for besides themselves: the part of all counts that nobody saw.",
    ),
    (
        "redtap_connections_hurried_total",
        "Connections of nothing known, given up after their first turn because the governor asked for it.",
    ),
    ("redtap_kernel_sampled_turns_total", "Turns begun on connections that sampling leaves out."),
    ("redtap_export_gathered_total", "Samples, spans or notifications that an exporter took up for sending."),
    ("redtap_export_delivered_total", "Of these, taken by the receiver."),
    ("redtap_export_undelivered_total", "Of these, given up, by reason."),
    ("redtap_export_pending", "Of these, waiting to be sent."),
    ("redtap_export_retries_total", "Requests of an exporter that were sent again."),
    ("redtap_export_faults_total", "Exporters that ended by a fault."),
    ("redtap_history_recordings_total", "Steps of 5 s that the history recorded."),
    ("redtap_history_missed_steps_total", "Steps that passed without a recording."),
    (
        "redtap_history_dropped_steps_total",
        "Steps dropped before their time because the memory was full, or because the clock was set back.",
    ),
    (
        "redtap_history_refused_total",
        "Times that a series was left out of a recording because there was no room for its name.",
    ),
    ("redtap_history_saves_total", "Times that the history was saved to its file."),
    ("redtap_history_save_errors_total", "Times that it could not be saved."),
    ("redtap_history_series", "Series that the history has names of."),
    ("redtap_history_steps", "Steps that it holds."),
    ("redtap_history_bytes", "Memory that it takes."),
    ("redtap_alarms", "Alarms, by severity and whether they fire or may soon."),
    ("redtap_alarm_evaluations_total", "Evaluations of all rules."),
    ("redtap_alarm_changes_total", "Alarms that began to fire, or were over."),
    ("redtap_alarm_groups", "Services, endpoints and kinds of errors that rules look at."),
    ("redtap_alarm_refused_total", "Series and alarms that rules could not take in because of a bound, each time."),
    ("redtap_alarm_state_failures_total", "Times that the state of alarms could not be read or written."),
    ("redtap_http_requests_total", "Answers of the HTTP endpoint."),
    ("redtap_http_errors_total", "Of these, with a status of 400 or more."),
    ("redtap_http_connections_total", "Connections accepted by the HTTP endpoint."),
    ("redtap_http_connections_open", "Connections open now."),
    ("redtap_http_connections_closed_total", "Connections closed by the endpoint because of a bound."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_metric_it_sets_with_its_help() {
        let mut metrics = SelfMetrics::new();
        let shard = crate::conservation::ShardReport {
            drain: crate::drain::DrainTotals::default(),
            stages: vec![crate::conservation::StageReport {
                name: "decode",
                totals: crate::runner::StageTotals { taken: 7, ..Default::default() },
                rejected: vec![("stale", 3)],
                inlet: crate::edge::EdgeTotals::default(),
            }],
            exchanges: crate::conservation::Exchanges::default(),
            delivered: crate::conservation::Delivered::default(),
        };
        let shards = [shard];
        let conservation = Conservation::of(None, &shards);
        let http = HttpCounters::default();
        metrics.update(&Observed {
            shards: &shards,
            conservation: Some(&conservation),
            losses: Some(Losses { attempted: 5, ..Losses::default() }),
            http: Some(&http),
            alarms: Some(&Board::default()),
            exporters: vec![("remote_write", AccountTotals { gathered: 9, ..AccountTotals::default() })],
            usage: Usage { cpu: std::time::Duration::from_millis(1_250), resident_bytes: 4_096, threads: 3 },
            ..Observed::default()
        });
        let mut text = String::new();
        metrics.render(Format::Text, &mut text);
        for line in [
            "redtap_stage_taken_total{shard=\"0\",stage=\"decode\"} 7\n",
            "redtap_stage_rejected_total{shard=\"0\",stage=\"decode\",reason=\"stale\"} 3\n",
            "redtap_kernel_attempted_total 5\n",
            "# TYPE redtap_process_cpu_seconds_total counter\nredtap_process_cpu_seconds_total 1.25\n",
            "redtap_process_resident_bytes 4096\n",
        ] {
            assert!(text.contains(line), "lacks {line}in\n{text}");
        }
        for (name, help) in HELP.iter().filter(|(name, _)| !name.starts_with("redtap_bpf")) {
            assert!(text.contains(&format!("# HELP {name} {help}\n")), "lacks {name} in\n{text}");
        }
        let own = metrics.samples();
        let found = |name: &str| own.iter().filter(|one| one.name == name).map(|one| one.value).collect::<Vec<_>>();
        assert_eq!(found("redtap_stage_taken_total"), [7.0]);
        assert_eq!(found("redtap_process_resident_bytes"), [4_096.0]);
        assert_eq!(found("redtap_process_cpu_seconds_total"), [1.25]);
        let bare: Vec<_> = own.iter().filter(|one| help(&one.name).is_empty()).map(|one| &one.name).collect();
        assert!(bare.is_empty(), "nothing says what these mean: {bare:?}");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(own.len(), lines, "every line of the text is a sample");
        let mut open = String::new();
        metrics.render(Format::OpenMetrics, &mut open);
        assert!(open.contains("# TYPE redtap_stage_taken counter\nredtap_stage_taken_total{"), "{open}");
        assert!(
            open.contains("# TYPE redtap_process_cpu_seconds counter\nredtap_process_cpu_seconds_total 1.25\n"),
            "{open}"
        );
        assert!(!open.contains("\n\n"), "no empty lines in OpenMetrics");
    }

    #[test]
    fn every_metric_is_documented() {
        let text = include_str!("../../docs/metrics.md");
        for (name, help) in HELP {
            assert!(text.contains(&format!("| `{name}`")), "docs/metrics.md lacks {name}");
            assert!(text.contains(help), "docs/metrics.md says something else of {name} than: {help}");
        }
        for entry in redtap_stages::metric::TABLE {
            assert!(text.contains(&format!("| `{}`", entry.prometheus)), "docs/metrics.md lacks {}", entry.prometheus);
            for label in entry.labels {
                let name = label.name.replace('.', "_");
                assert!(text.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
            }
        }
    }
}
