//! The queries: text made of the table of metrics, and of label values that are escaped.
//!
//! What a counter gained in a step is what it stands at less what it stood at a step before. A series that was not there
//! a step before, or stood higher, began anew: then all of it was gained, which `increase()` would not count, and which matters
//! most for errors that happen once. That is only so where its agent was known before, or began just now: of an agent that
//! is new to the engine, but not new, nothing is known of when its counts came about.
//!
//! Absent: anything that a person wrote, but for values of labels.

use crate::registry::escape_label;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How far is looked back for what a series stood at, seconds: gaps that are shorter lose nothing.
pub(super) const LOOK_BACK: u32 = 900;
/// An agent that began at most so long before it was seen first is new, seconds.
const NEW: u32 = 300;
/// Of every agent, at any time.
const PRESENT: &str = "redtap_build_info";
/// When it began, seconds since the epoch.
const STARTED: &str = "redtap_start_time_seconds";

/// What all queries select by.
#[derive(Debug, Clone, Default)]
pub(super) struct Matchers {
    /// Names and values, as PromQL.
    text: String,
}

impl Matchers {
    /// Of these labels, which must have these values.
    pub(super) fn new(labels: &BTreeMap<String, String>) -> Self {
        let mut matchers = Self::default();
        for (name, value) in labels {
            matchers.text.push(',');
            matchers.text.push_str(&equal(name, value));
        }
        matchers
    }

    /// `name{...}`: series of that name, with these matchers besides.
    fn select(&self, name: &str, besides: &str) -> String {
        let comma = if besides.is_empty() { self.text.strip_prefix(',').unwrap_or("") } else { &self.text };
        format!("{name}{{{besides}{comma}}}")
    }

    /// What traffic series gained, added up by some labels: those whose service is named, and that match `besides`.
    pub(super) fn gained(&self, name: &str, besides: &str, by: &[&str], window: Window) -> String {
        let Window { step, shift } = window;
        let comma = if besides.is_empty() { "" } else { "," };
        let series = self.select(name, &format!("service_name!=\"\"{comma}{besides}"));
        let now = offset(shift);
        let before = offset(shift.saturating_add(step));
        let (present, started) = (self.select(PRESENT, ""), self.select(STARTED, ""));
        let new = u64::from(step) + u64::from(shift) + u64::from(NEW);
        let last = format!("last_over_time({series}[{step}s]{now})");
        format!(
            "sum by ({by}) (({last} - last_over_time({series}[{LOOK_BACK}s]{before})) >= 0 \
             or {last} and on (job, instance) (last_over_time({present}[{LOOK_BACK}s]{before}) \
             or last_over_time({started}[{step}s]{now}) > time() - {new})) > 0",
            by = by.join(", ")
        )
    }

    /// The same for a whole range: gains of its steps, added up.
    pub(super) fn gained_in_all(&self, name: &str, besides: &str, by: &[&str], whole: Whole) -> String {
        let window = Window { step: whole.step, shift: whole.shift() };
        // One second less, so that the step that ends where the range begins is not in it, whichever end an engine includes.
        let seconds = whole.seconds.saturating_sub(1);
        format!("sum_over_time(({})[{seconds}s:{}s])", self.gained(name, besides, by, window), whole.step)
    }

    /// How many agents there are.
    pub(super) fn agents(&self, seconds: u32) -> String {
        format!("count(last_over_time({}[{seconds}s]))", self.select(PRESENT, ""))
    }

    /// Services that are watched within so many seconds, with their hosts.
    pub(super) fn targets(&self, seconds: u32) -> String {
        let targets = self.select("target_info", "service_name!=\"\"");
        format!(
            "count by (job, instance, service_name, service_namespace, host_name) (last_over_time({targets}[{seconds}s]))"
        )
    }
}

/// A step, and how far back from the time of the query it ends; seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) step: u32,
    pub(super) shift: u32,
}

/// A whole range. Engines evaluate subqueries at multiples of their step, whatever the range: so the query is asked as of the
/// next multiple, and everything in it is shifted back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) to: i64,
    pub(super) seconds: u32,
    pub(super) step: u32,
}

impl Whole {
    fn shift(self) -> u32 {
        let past = self.to.rem_euclid(i64::from(self.step.max(1)));
        u32::try_from(past).map_or(0, |past| if past == 0 { 0 } else { self.step - past })
    }

    /// When to ask, seconds since the epoch.
    pub(super) fn at(self) -> i64 {
        self.to.saturating_add(i64::from(self.shift()))
    }
}

/// A matcher of one value.
pub(super) fn equal(name: &str, value: &str) -> String {
    let mut text = String::with_capacity(name.len() + value.len() + 4);
    let _ = write!(text, "{name}=\"");
    escape_label(&mut text, value);
    text.push('"');
    text
}

/// An OpenTelemetry name as Prometheus writes it.
pub(super) fn spelled(name: &str) -> String {
    name.replace('.', "_")
}

fn offset(seconds: u32) -> String {
    if seconds == 0 { String::new() } else { format!(" offset {seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(equal("service_name", "a\"} or vector(1) #\\\n"), "service_name=\"a\\\"} or vector(1) #\\\\\\n\"");
        let labels = BTreeMap::from([("cluster".to_owned(), "a\"b".to_owned())]);
        let matchers = Matchers::new(&labels);
        assert_eq!(matchers.select("up", ""), "up{cluster=\"a\\\"b\"}");
        assert_eq!(matchers.select("up", "x=\"y\""), "up{x=\"y\",cluster=\"a\\\"b\"}");
        assert_eq!(Matchers::default().select("up", ""), "up{}");
    }

    #[test]
    fn a_whole_range_is_asked_for_at_a_multiple_of_its_step() {
        let whole = |to| Whole { to, seconds: 900, step: 15 };
        assert_eq!((whole(1_500).at(), whole(1_500).shift()), (1_500, 0));
        assert_eq!((whole(1_501).at(), whole(1_501).shift()), (1_515, 14));
        let query = Matchers::default().gained_in_all("x_count", "", &["le"], whole(1_501));
        assert!(query.contains("[15s] offset 14s)") && query.contains("[900s] offset 29s)"), "{query}");
        assert!(query.ends_with("[899s:15s])"), "{query}");
    }
}
