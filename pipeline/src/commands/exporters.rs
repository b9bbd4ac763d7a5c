//! Which exporters the configuration asks for.

use super::status::Shown;
use anyhow::{Context as _, Result};
use redtap::clock;
use redtap::export::Exporter;
use redtap::export::client::{Client, shown as without_secrets};
use redtap::export::otlp::{self, Common, MetricsPlan, TracesPlan};
use redtap::settings::{OtlpSettings, Settings};
use std::sync::Arc;

/// All of them, ready to start. They read `shown` and, for single exchanges, the tap of the running pipeline.
///
/// # Errors
/// A certificate or key cannot be used.
pub(super) fn planned(settings: &Settings, shown: &Arc<Shown>) -> Result<Vec<Exporter>> {
    let mut all = Vec::new();
    all.extend(otlp_metrics(&settings.otlp, shown)?);
    all.extend(otlp_traces(&settings.otlp, shown)?);
    Ok(all)
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

fn otlp_traces(settings: &OtlpSettings, shown: &Arc<Shown>) -> Result<Option<Exporter>> {
    let Some(to) = settings.traces.clone() else { return Ok(None) };
    let Some(calls) = shown.live().map(|live| Arc::clone(&live.calls)) else { return Ok(None) };
    tracing::info!(to = without_secrets(&to.url), "sends traces by OTLP");
    let client = Client::new(to).context("otlp")?;
    let plan = TracesPlan { common: common(settings), sampling: settings.sampling };
    Ok(Some(otlp::traces(plan, client, calls, shown.shared_registry()).context("cannot send traces")?))
}

fn common(settings: &OtlpSettings) -> Common {
    Common {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        resource_attributes: settings.resource_attributes.clone(),
        encoding: settings.encoding,
        queue_bytes: settings.queue_bytes,
    }
}
