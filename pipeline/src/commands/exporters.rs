//! Which exporters the configuration asks for.

use super::status::Shown;
use anyhow::{Context as _, Result};
use redtap::export::{Exporter, remote_write};
use redtap::settings::Settings;
use std::sync::Arc;

/// All of them, ready to start. They read `shown` and, for single exchanges, the tap of the running pipeline.
pub(super) fn planned(settings: &Settings, shown: &Arc<Shown>) -> Result<Vec<Exporter>> {
    let mut exporters = Vec::new();
    if let Some(wanted) = &settings.remote_write {
        exporters.push(remote_write::exporter(wanted, shown.clone()).context("remote_write")?);
    }
    Ok(exporters)
}
