//! Reads a rule from the fields of its table; all that is wrong with it at once.

use super::{Condition, Fixed, MAX_WINDOW, MIN_WINDOW, Per, Rule, Severity};
use crate::alarms::subject::{Side, subjects};
use crate::alarms::text::{FIELDS as TEMPLATE_FIELDS, unknown_field};
use std::collections::BTreeMap;
use std::time::Duration;

/// The fields of a rule as they were written; those of `labels` and `annotations` with the table's name and a dot before.
pub type Text = BTreeMap<String, String>;

/// Every field that a rule may have.
pub const FIELDS: &[&str] = &[
    "kind",
    "enabled",
    "side",
    "per",
    "service",
    "threshold",
    "quantile",
    "objective",
    "factor",
    "window",
    "short_window",
    "over",
    "min_requests",
    "for",
    "keep_firing_for",
    "severity",
    "labels",
    "annotations",
];

/// Longest label or annotation, bytes.
const MAX_TEXT: usize = 1_024;
/// Labels that a rule gives by itself.
const OWN_LABELS: &[&str] =
    &["alertname", "severity", "service_name", "kind", "method", "endpoint", "error_type", "host"];

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// Which.
    pub field: String,
    /// As it was written.
    pub value: String,
    /// What is wrong.
    pub what: &'static str,
    /// What to do.
    pub remedy: String,
}

struct Fields<'a> {
    text: &'a Text,
    kind: &'static str,
    used: Vec<&'static str>,
    problems: Vec<RuleProblem>,
}

impl Rule {
    /// Reads it; `None` if it is switched off.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(name: &str, text: &Text) -> Result<Option<Self>, Vec<RuleProblem>> {
        let mut fields = Fields { text, kind: "", used: vec!["labels", "annotations"], problems: Vec::new() };
        let enabled = fields.word("enabled", &[("true", true), ("false", false)]);
        let Some(kind) = fields.kind() else { return Err(fields.problems) };
        fields.kind = kind;
        let condition = fields.condition();
        let severity = [("warning", Severity::Warning), ("critical", Severity::Critical), ("info", Severity::Info)];
        let rule = Self {
            name: fields.name(name),
            condition,
            side: fields.word("side", &[("served", Side::Served), ("called", Side::Called)]),
            per: fields.word("per", &[("service", Per::Service), ("endpoint", Per::Endpoint)]),
            service: fields.service(),
            min_requests: fields.count("min_requests", if kind == "new_error" { 5 } else { 20 }),
            hold: fields.time("for", Duration::from_secs(300), Duration::ZERO..=MAX_WINDOW),
            keep: fields.time("keep_firing_for", Duration::from_secs(300), Duration::ZERO..=MAX_WINDOW),
            severity: fields.word("severity", &severity),
            labels: fields.sub_table("labels."),
            annotations: BTreeMap::new(),
        };
        let rule = Self { annotations: fields.annotations(&rule), ..rule };
        fields.unused();
        if !fields.problems.is_empty() {
            return Err(fields.problems);
        }
        Ok(enabled.then_some(rule))
    }
}

impl Fields<'_> {
    fn problem(&mut self, field: &str, what: &'static str, remedy: impl Into<String>) {
        let value = self.text.get(field).cloned().unwrap_or_default();
        self.problems.push(RuleProblem { field: field.to_owned(), value, what, remedy: remedy.into() });
    }

    fn take(&mut self, field: &'static str) -> Option<String> {
        self.used.push(field);
        self.text.get(field).map(|text| text.trim().to_owned())
    }

    /// One of a closed list of words; the first by default.
    fn word<T: Copy>(&mut self, field: &'static str, words: &[(&'static str, T)]) -> T {
        #[expect(clippy::indexing_slicing, reason = "no list of words is empty")]
        let default = words[0].1;
        let Some(text) = self.take(field) else { return default };
        match words.iter().find(|(word, _)| *word == text) {
            Some(&(_, value)) => value,
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.problem(field, "is not one of the words known here", format!("write {}", known.join(", ")));
                default
            }
        }
    }

    fn kind(&mut self) -> Option<&'static str> {
        const KINDS: [&str; 6] = ["error_ratio", "latency", "silence", "new_error", "burn", "capture"];
        let text = self.take("kind").unwrap_or_default();
        let found = KINDS.iter().copied().find(|kind| *kind == text);
        if found.is_none() {
            self.problem("kind", "says not what the rule is about", format!("write {}", KINDS.join(", ")));
        }
        found
    }

    fn condition(&mut self) -> Condition {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        match self.kind {
            "latency" => Condition::Latency {
                quantile: self.share("quantile", 990_000),
                threshold: self.latency(),
                window: self.window("window", minutes(5)),
            },
            "silence" => {
                let (window, over) = (self.window("window", minutes(5)), self.window("over", minutes(60)));
                if over <= window {
                    self.problem("over", "is not longer than the window", "write a longer time");
                }
                Condition::Silence { window, over }
            }
            "new_error" => Condition::NewError { over: self.window("over", minutes(60)) },
            "burn" => {
                let condition = Condition::Burn {
                    objective: self.share("objective", 999_000),
                    factor: self.fixed("factor", 14_400_000, 1..=1_000_000_000),
                    window: self.window("window", minutes(60)),
                    short: self.window("short_window", minutes(5)),
                };
                if let Condition::Burn { window, short, .. } = condition
                    && short >= window
                {
                    self.problem("short_window", "is not shorter than the window", "write a shorter time");
                }
                condition
            }
            "capture" => Condition::Capture {
                threshold: self.share("threshold", 10_000),
                window: self.window("window", minutes(10)),
            },
            _ => Condition::ErrorRatio {
                threshold: self.share("threshold", 50_000),
                window: self.window("window", minutes(5)),
            },
        }
    }

    fn fixed(&mut self, field: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> Fixed {
        let default = Fixed::millionths(default);
        let Some(text) = self.take(field) else { return default };
        match text.parse::<Fixed>() {
            Ok(value) if value >= Fixed::millionths(*range.start()) && value <= Fixed::millionths(*range.end()) => {
                value
            }
            _ => {
                let (from, to) = (Fixed::millionths(*range.start()), Fixed::millionths(*range.end()));
                self.problem(field, "is not such a number", format!("write one from {from} to {to}, or in percent"));
                default
            }
        }
    }

    fn share(&mut self, field: &'static str, default: u64) -> Fixed {
        self.fixed(field, default, 0..=999_999)
    }

    /// Seconds, written as a stretch of time. Quantiles are no longer than the last bound of the histograms.
    fn latency(&mut self) -> Fixed {
        const USUAL: Duration = Duration::from_secs(1);
        let range = Duration::from_millis(1)..=Duration::from_secs(3_600);
        let mut time = self.time("threshold", USUAL, range);
        if time >= longest() {
            let remedy = format!("write one below {}", crate::settings::duration::show(longest()));
            self.problem(
                "threshold",
                "is not below the last bucket of durations, so that no quantile could exceed it",
                remedy,
            );
            time = USUAL;
        }
        Fixed::millionths(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    fn window(&mut self, field: &'static str, default: Duration) -> Duration {
        self.time(field, default, MIN_WINDOW..=MAX_WINDOW)
    }

    fn time(&mut self, field: &'static str, default: Duration, range: std::ops::RangeInclusive<Duration>) -> Duration {
        use crate::settings::duration::{parse, show};
        let Some(text) = self.take(field) else { return default };
        match parse(&text) {
            Some(time) if range.contains(&time) => time,
            _ => {
                let remedy = format!("write one from {} to {}, such as 5m", show(*range.start()), show(*range.end()));
                self.problem(field, "is not such a stretch of time", remedy);
                default
            }
        }
    }

    fn count(&mut self, field: &'static str, default: u64) -> u64 {
        let Some(text) = self.take(field) else { return default };
        match text.parse::<u64>() {
            Ok(count) if (1..=1_000_000_000).contains(&count) => count,
            _ => {
                self.problem(field, "is not such a number", "write a whole number from 1 to 1000000000");
                default
            }
        }
    }

    fn service(&mut self) -> String {
        let text = self.take("service").unwrap_or_else(|| "*".to_owned());
        if text.is_empty() || text.len() > 128 {
            self.problem("service", "is empty or too long", "write a name, or one with * for anything");
        }
        text
    }

    /// Rules are named as Prometheus wants its alerts named.
    fn name(&mut self, name: &str) -> String {
        let fine = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            self.problem("", "is not a name for a rule", "use letters, digits and _, at most 64");
        }
        name.to_owned()
    }

    fn sub_table(&mut self, prefix: &'static str) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        for (field, value) in self.text {
            let Some(name) = field.strip_prefix(prefix) else { continue };
            let word = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
                && name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
            if !word || name.len() > 64 {
                self.problem(field, "is not a name for a label", "use letters, digits and _");
            } else if prefix == "labels." && OWN_LABELS.contains(&name) {
                self.problem(field, "is a label that the rule gives by itself", "use another name");
            } else if value.len() > MAX_TEXT || value.chars().any(|letter| letter.is_control() && letter != '\n') {
                self.problem(field, "is too long or not a text", "at most 1024 bytes fit");
            } else {
                table.insert(name.to_owned(), value.clone());
            }
        }
        if table.len() > 16 {
            self.problem(prefix.trim_end_matches('.'), "has too many entries", "at most 16 fit");
        }
        table
    }

    fn annotations(&mut self, rule: &Rule) -> BTreeMap<String, String> {
        let mut annotations = self.sub_table("annotations.");
        for (name, text) in annotations.clone() {
            if let Some(field) = unknown_field(&text) {
                let remedy = format!("{{{{ {field} }}}} is not known; there are {}", TEMPLATE_FIELDS.join(", "));
                self.problem(&format!("annotations.{name}"), "has a field that there is not", remedy);
            }
        }
        let (summary, description) = texts(rule);
        annotations.entry("summary".to_owned()).or_insert_with(|| summary.to_owned());
        annotations.entry("description".to_owned()).or_insert(description);
        annotations
    }

    fn unused(&mut self) {
        let used = std::mem::take(&mut self.used);
        let written: Vec<String> = self.text.keys().cloned().collect();
        for field in written {
            let first = field.split('.').next().unwrap_or("");
            // What no rule has is refused where it is read.
            if FIELDS.contains(&first) && !used.contains(&first) {
                self.problem(&field, "means nothing in a rule of this kind", "remove it");
            }
        }
    }
}

/// Last bound of the histograms that rules look at, of the widest.
fn longest() -> Duration {
    let last = subjects().filter_map(|subject| subject.bounds.last().copied());
    Duration::from_secs_f64(last.fold(0.0, f64::max))
}

/// What is said of an alarm where nobody wrote something better.
fn texts(rule: &Rule) -> (&'static str, String) {
    let of = match rule.per {
        Per::Service => "{{ kind }} requests that {{ service }}",
        Per::Endpoint => "{{ kind }} requests {{ method }} {{ endpoint }} that {{ service }}",
    };
    let of = match rule.side {
        Side::Served => format!("{of} answered"),
        Side::Called => format!("{of} made"),
    };
    match rule.condition {
        Condition::ErrorRatio { .. } => (
            "Too many requests fail.",
            format!("{{{{ value }}}} of the {of} in the last {{{{ window }}}} failed (threshold {{{{ threshold }}}})."),
        ),
        Condition::Latency { .. } => (
            "Requests take too long.",
            format!(
                "Quantile {{{{ quantile }}}} of the duration of the {of} in the last {{{{ window }}}} is {{{{ value }}}} \
                 (threshold {{{{ threshold }}}})."
            ),
        ),
        Condition::Silence { .. } => (
            "Requests have stopped.",
            format!("There were {of} in the last {{{{ over }}}}, and none in the last {{{{ window }}}}."),
        ),
        Condition::NewError { .. } => (
            "Requests fail in a new way.",
            format!("Some {of} failed with {{{{ error_type }}}}, which was not so {{{{ over }}}} ago."),
        ),
        Condition::Burn { .. } => (
            "The error budget is spent too fast.",
            format!(
                "{{{{ value }}}} of the {of} in the last {{{{ short_window }}}} failed; with the objective {{{{ objective }}}} \
                 that spends the error budget more than {{{{ factor }}}} times too fast, and has done so over {{{{ window }}}}."
            ),
        ),
        Condition::Capture { .. } => (
            "redtap does not see all requests.",
            "{{ value }} of the exchanges in the last {{ window }} could not be reported (threshold {{ threshold }}): rates \
             are too low by as much."
                .to_owned(),
        ),
    }
}
