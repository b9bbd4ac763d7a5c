//! Which exporters the configuration asks for.

mod alarms;

use super::status::Shown;
use redtap::export::Exporter;
use redtap::settings::Settings;
use std::sync::Arc;

/// All of them, ready to start. They read `shown` and, for single exchanges, the tap of the running pipeline.
pub(super) fn planned(settings: &Settings, shown: &Arc<Shown>) -> Vec<Exporter> {
    alarms::planned(&settings.alarms, shown)
}
