//! Which exporters the configuration asks for.
//!
//! In two steps: what may be wrong with files and receivers shows before anything is attached ([`planned`]); exporters of single
//! exchanges need the running pipeline ([`Planned::complete`]).

mod alarms;

use super::status::Shown;
use anyhow::{Context as _, Result};
use redtap::clock;
use redtap::export::client::{Client, shown as without_secrets};
use redtap::export::otlp::{self, Common, MetricsPlan, TracesPlan};
use redtap::export::{Exporter, remote_write};
use redtap::settings::{OtlpSettings, Settings};
use std::sync::Arc;

/// All of them, but those of single exchanges.
#[derive(Debug)]
pub(super) struct Planned {
    exporters: Vec<Exporter>,
    traces: Option<(Client, TracesPlan)>,
}

/// What `settings` asks for.
///
/// # Errors
/// A certificate, a key or the spool cannot be used.
pub(super) fn planned(settings: &Settings, shown: &Arc<Shown>) -> Result<Planned> {
    let mut exporters = Vec::new();
    if let Some(wanted) = &settings.remote_write {
        exporters.push(remote_write::exporter(wanted, shown.clone()).context("remote_write")?);
    }
    exporters.extend(otlp_metrics(&settings.otlp, shown)?);
    exporters.extend(alarms::planned(&settings.alarms, shown)?);
    Ok(Planned { exporters, traces: otlp_traces(&settings.otlp)? })
}

impl Planned {
    /// With those of single exchanges, which need what runs now.
    ///
    /// # Errors
    /// There is no thread, or no place at the tap, for them.
    pub(super) fn complete(mut self, shown: &Arc<Shown>) -> Result<Vec<Exporter>> {
        if let (Some((client, plan)), Some(live)) = (self.traces, shown.live()) {
            let calls = Arc::clone(&live.calls);
            let traces = otlp::traces(plan, client, calls, shown.shared_registry()).context("cannot send traces")?;
            self.exporters.push(traces);
        }
        Ok(self.exporters)
    }
}

fn otlp_metrics(settings: &OtlpSettings, shown: &Arc<Shown>) -> Result<Option<Exporter>> {
    let Some(to) = settings.metrics.clone() else { return Ok(None) };
    tracing::info!(to = without_secrets(&to.url), "sends metrics by OTLP every {:?}", settings.interval);
    let client = Client::new(to).context("otlp")?;
    let plan = MetricsPlan {
        common: common(settings),
        interval: settings.interval,
        delta: settings.delta,
        started: shown.started().0.saturating_add_signed(clock::wall_offset_ns()),
    };
    Ok(Some(otlp::metrics(plan, client, Arc::<Shown>::clone(shown))))
}

fn otlp_traces(settings: &OtlpSettings) -> Result<Option<(Client, TracesPlan)>> {
    let Some(to) = settings.traces.clone() else { return Ok(None) };
    tracing::info!(to = without_secrets(&to.url), "sends traces by OTLP");
    let client = Client::new(to).context("otlp")?;
    Ok(Some((client, TracesPlan { common: common(settings), sampling: settings.sampling })))
}

fn common(settings: &OtlpSettings) -> Common {
    Common {
        protocol: settings.protocol,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        resource_attributes: settings.resource_attributes.clone(),
        encoding: settings.encoding,
        queue_bytes: settings.queue_bytes,
    }
}
