//! Alarms: rules over the registry, evaluated by the agent itself, and told to people.
//!
//! Life cycle: [`rule::Rule`]s from the configuration -> an [`evaluate::Evaluator`], which is handed what there is every few
//! seconds and answers with [`Notice`]s -> the receivers ([`send`]), which deliver them. What it knows is kept on disk
//! ([`keep`]) so that a restart neither forgets nor repeats. The same rules as text for Prometheus: [`prometheus`].
//!
//! **Invariant:** nothing here is on the data path; all of it runs on the exporters' thread, over copies, and what takes long (copying,
//! evaluating, files) beside it.
//!
//! Metrics: `redtap_alarms`, `redtap_alarm_*`, and `redtap_export_*` of each receiver. Absent: silences, routing, grouping:
//! that is what Alertmanager is for.

pub mod body;
pub mod desk;
pub mod drive;
pub mod evaluate;
pub mod groups;
pub mod keep;
pub mod phase;
pub mod prometheus;
pub mod rule;
pub mod send;
pub mod subject;
pub mod text;
pub mod window;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most alarms, pending and firing together.
pub const MAX_ALARMS: usize = 2_000;
/// Most alarms that are over and still shown.
pub const MAX_HISTORY: usize = 500;

/// What an alarm's value is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A share from 0 to 1.
    Ratio,
    /// A duration.
    Seconds,
}

/// One alarm as people see it. Times: milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Name of its rule.
    pub name: String,
    /// `critical`, `warning` or `info`.
    pub severity: String,
    /// The service that it is about; empty: the agent itself.
    pub service: String,
    /// All labels; together they tell alarms apart.
    pub labels: BTreeMap<String, String>,
    /// Texts, filled in.
    pub annotations: BTreeMap<String, String>,
    /// What was compared with the threshold, as of the last evaluation in which the condition held; none: nothing is.
    pub value: Option<f64>,
    /// Of `value`. None: nothing is compared, or a version that did not say it wrote the file ([`keep`]).
    #[serde(default)]
    pub unit: Option<Unit>,
    /// Pending: since when the condition holds. Firing: since when it is an alarm.
    pub since_ms: u64,
    /// When it was over.
    pub until_ms: Option<u64>,
}

impl Alarm {
    /// The same on a clock that shows so much more, milliseconds.
    #[must_use]
    pub(crate) fn moved(&self, by_ms: i64) -> Self {
        let moved = |ms: u64| ms.saturating_add_signed(by_ms);
        Self { since_ms: moved(self.since_ms), until_ms: self.until_ms.map(moved), ..self.clone() }
    }
}

/// Something that receivers are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// It is over, rather than it began.
    pub resolved: bool,
    /// Which.
    pub alarm: Alarm,
}

impl Notice {
    /// As [`Alarm::moved`].
    #[must_use]
    pub(crate) fn moved(&self, by_ms: i64) -> Self {
        Self { resolved: self.resolved, alarm: self.alarm.moved(by_ms) }
    }
}

/// What is shown of all alarms, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// Alarms, oldest first.
    pub firing: Vec<Alarm>,
    /// Conditions that hold, but not for long enough.
    pub pending: Vec<Alarm>,
    /// What is over, newest first.
    pub history: Vec<Alarm>,
    /// What the evaluator did.
    pub stats: Stats,
}

/// What the evaluator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Evaluations of all rules.
    pub evaluations: u64,
    /// Alarms that began.
    pub fired: u64,
    /// Alarms that were over.
    pub resolved: u64,
    /// Services, endpoints and kinds of errors that are watched.
    pub groups: u64,
    /// Series that are not watched because there are too many of these.
    pub groups_refused: u64,
    /// Alarms not kept because [`MAX_ALARMS`] was reached; counted at each evaluation.
    pub alarms_refused: u64,
    /// Times that the state could not be written or read.
    pub state_failures: u64,
}
