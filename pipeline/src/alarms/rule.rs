//! Rules: what is an alarm, for whom, and since how long it must be.
//!
//! Life cycle: text by name ([`BUILT_IN`] under what the configuration says) -> [`Rule::read`] -> a [`Rule`] that cannot be
//! wrong, read by the evaluator and by the text for Prometheus alike. Absent: values, time.

mod fixed;
mod read;

pub use fixed::Fixed;
pub use read::{FIELDS, RuleProblem, Text};

use super::subject::{Side, Subject};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most rules, built-in ones included.
pub const MAX_RULES: usize = 64;
/// Longest stretch of time that a rule may look back over.
pub const MAX_WINDOW: Duration = Duration::from_secs(6 * 3_600);
/// Shortest.
pub const MIN_WINDOW: Duration = Duration::from_secs(10);

/// What makes it one alarm or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Per {
    /// One for each service and protocol family.
    Service,
    /// One for each endpoint of these.
    Endpoint,
}

impl Per {
    /// As configuration and recorded names say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Endpoint => "endpoint",
        }
    }
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// More than this share of the requests failed.
    ErrorRatio {
        /// From 0 to 1.
        threshold: Fixed,
        /// Looked back over.
        window: Duration,
    },
    /// This share of the requests was not answered within that time.
    Latency {
        /// Which quantile, from 0 to 1.
        quantile: Fixed,
        /// Seconds.
        threshold: Fixed,
        /// Looked back over.
        window: Duration,
    },
    /// No request any more, where there were some.
    Silence {
        /// Without any.
        window: Duration,
        /// In which there were some.
        over: Duration,
    },
    /// Errors of a kind that a service did not have that long ago, while the service itself was there.
    NewError {
        /// How long ago.
        over: Duration,
    },
    /// The error budget of an objective is spent this many times too fast, over both windows (Google, The Site Reliability
    /// Workbook, chapter 5: multiwindow, multi-burn-rate alerts).
    Burn {
        /// Share of the requests that must succeed.
        objective: Fixed,
        /// How many times too fast.
        factor: Fixed,
        /// Long window: enough of the budget is gone.
        window: Duration,
        /// Short window: it is still going on.
        short: Duration,
    },
    /// More than this share of the exchanges was not reported: the part that `redtap_capture_ratio` lacks, within the window.
    Capture {
        /// From 0 to 1.
        threshold: Fixed,
        /// Looked back over.
        window: Duration,
    },
}

/// How urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Someone must act now.
    Critical,
    /// Someone must act soon.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// As the label says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name of its alarms.
    pub name: String,
    /// What must hold.
    pub condition: Condition,
    /// On which side.
    pub side: Side,
    /// Of whom.
    pub per: Per,
    /// Services that it is about: a name in which `*` stands for anything.
    pub service: String,
    /// Fewer requests in the window (of a new error: errors in all) than this are no reason for an alarm.
    pub min_requests: u64,
    /// How long the condition must hold before it is an alarm.
    pub hold: Duration,
    /// How long the condition must not hold before it is none any more.
    pub keep: Duration,
    /// How urgent.
    pub severity: Severity,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Texts for people, with `{{ field }}` in them; always a `summary` and a `description`.
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// Every window that it looks at, shortest first.
    #[must_use]
    pub fn windows(&self) -> Vec<Duration> {
        let mut windows = match self.condition {
            Condition::ErrorRatio { window, .. }
            | Condition::Latency { window, .. }
            | Condition::Capture { window, .. } => vec![window],
            Condition::Silence { window, over } => vec![window, over],
            Condition::NewError { .. } => Vec::new(),
            Condition::Burn { window, short, .. } => vec![short, window],
        };
        windows.sort_unstable();
        windows
    }

    /// True if it is about this metric of this service.
    #[must_use]
    pub fn is_about(&self, subject: &Subject, service: &str) -> bool {
        self.side == subject.side && fits(&self.service, service)
    }

    /// How long after a start nothing can be said yet: what held before is then taken to hold still.
    #[must_use]
    pub fn blind(&self) -> Duration {
        match self.condition {
            // What was there before the start is what these are about.
            Condition::Silence { over, .. } | Condition::NewError { over, .. } => over,
            Condition::ErrorRatio { .. }
            | Condition::Latency { .. }
            | Condition::Burn { .. }
            | Condition::Capture { .. } => self.windows().first().copied().unwrap_or_default(),
        }
    }
}

/// True if a text fits a pattern in which `*` stands for anything.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match text.find(part).and_then(|at| text.get(at + part.len()..)) {
            Some(after) => text = after,
            None => return false,
        }
    }
    text.ends_with(last)
}

/// The rules that there are without a word of configuration, as they would be written.
pub const BUILT_IN: &[(&str, &[(&str, &str)])] = &[
    (
        "RedtapHighErrorRate",
        &[("kind", "error_ratio"), ("threshold", "5%"), ("window", "5m"), ("for", "5m"), ("severity", "warning")],
    ),
    (
        "RedtapHighLatency",
        &[
            ("kind", "latency"),
            ("quantile", "0.99"),
            ("threshold", "1s"),
            ("window", "5m"),
            ("for", "10m"),
            ("severity", "warning"),
        ],
    ),
    (
        "RedtapRequestsStopped",
        &[
            ("kind", "silence"),
            ("window", "5m"),
            ("over", "1h"),
            ("min_requests", "60"),
            ("for", "1m"),
            ("keep_firing_for", "0s"),
            ("severity", "warning"),
        ],
    ),
    (
        "RedtapNewError",
        &[
            ("kind", "new_error"),
            ("over", "1h"),
            ("min_requests", "5"),
            ("for", "0s"),
            ("keep_firing_for", "0s"),
            ("severity", "info"),
        ],
    ),
    (
        "RedtapErrorBudgetBurnFast",
        &[
            ("kind", "burn"),
            ("factor", "14.4"),
            ("window", "1h"),
            ("short_window", "5m"),
            ("for", "2m"),
            ("severity", "critical"),
        ],
    ),
    (
        "RedtapErrorBudgetBurnSlow",
        &[
            ("kind", "burn"),
            ("factor", "6"),
            ("window", "6h"),
            ("short_window", "30m"),
            ("for", "15m"),
            ("severity", "warning"),
        ],
    ),
    (
        "RedtapCaptureLoss",
        &[("kind", "capture"), ("threshold", "1%"), ("window", "10m"), ("for", "5m"), ("severity", "warning")],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in
            [("*", ""), ("*", "shop"), ("shop", "shop"), ("sh*", "shop"), ("*op", "shop"), ("s*o*p", "shop")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("shop", "shops"), ("sh*", "ash"), ("*op", "shops"), ("a*b*c", "acb"), ("s*sh", "sh")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn the_built_in_rules_are_rules() {
        for (name, fields) in BUILT_IN {
            let text: Text = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let rule = Rule::read(name, &text).unwrap().unwrap();
            assert!(rule.annotations["summary"].ends_with('.'), "{name}");
            assert!(rule.hold >= Duration::ZERO && rule.windows().iter().all(|window| *window <= MAX_WINDOW));
        }
    }
}
