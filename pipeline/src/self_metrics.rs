//! The agent's own metrics: what every part says it did, through the `metrics` crate and its Prometheus exporter.
//!
//! A [`SelfMetrics`] owns a recorder of its own (none is installed for the process). Nothing on the data path touches it:
//! the parts count for themselves, and [`SelfMetrics::update`] sets the counters to what they say, before each scrape and
//! every five seconds, which is also when the exporter's upkeep is due. Handles are made once a label set; the label sets
//! are those of shards, stages and reasons, all closed lists.
//!
//! Names and meanings: `docs/metrics.md`. Absent: labels that come from the network.

mod help;
mod observed;
mod process;
mod translate;

use help::{CPU, RUN};
pub use help::{HELP, help};
pub use observed::{Observed, StageCounts};
pub use process::Usage;

use crate::alarms::Board;
use crate::conservation::{Conservation, ShardReport};
use crate::export::{AccountTotals, OwnSample, Reason};
use crate::history::HistoryStats;
use crate::registry::Format;
use metrics::{Counter, Gauge, Label};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

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

#[cfg(test)]
mod tests;
