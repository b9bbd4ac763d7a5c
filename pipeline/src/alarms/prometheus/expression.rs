//! Conditions as `PromQL`. [`crate::alarms::evaluate`] decides the same in code; the unit tests of [`super::proof`] compare.

use super::Record;
use crate::alarms::evaluate::{DECIDED, NOT_REPORTED};
use crate::alarms::rule::{Condition, Per, Rule};
use crate::alarms::subject::{ERROR, Subject, subjects, underscored};
use crate::settings::duration::show;
use std::time::Duration;

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Requests a second.
    Requests(Duration),
    /// Failed ones.
    Errors(Duration),
    /// By bucket of their duration.
    Durations(Duration),
    /// Requests in all.
    RequestsInAll,
    /// Failed ones in all, by kind of error.
    ErrorsInAll,
}

/// The condition of a rule.
pub(super) fn condition(rule: &Rule) -> String {
    let name = |what| format!("{}{}", recorded(rule, what), selector(rule));
    let enough =
        |window: Duration| format!("({} * {} >= {})", name(What::Requests(window)), seconds(window), rule.min_requests);
    let ratio = |window: Duration| format!("{} / {}", name(What::Errors(window)), name(What::Requests(window)));
    match rule.condition {
        Condition::ErrorRatio { threshold, window } => {
            format!("({} > {threshold}) and {}", ratio(window), enough(window))
        }
        Condition::Latency { quantile, threshold, window } => {
            let durations = name(What::Durations(window));
            format!("(histogram_quantile({quantile}, {durations}) > {threshold}) and {}", enough(window))
        }
        Condition::Silence { window, over } => {
            format!("{} unless ({} > 0)", enough(over), name(What::Requests(window)))
        }
        Condition::NewError { over } => {
            let (errors, requests, over) = (name(What::ErrorsInAll), name(What::RequestsInAll), show(over));
            let least = rule.min_requests;
            format!(
                "(({errors} >= {least}) unless ({errors} offset {over})) and on (service_name, kind) ({requests} offset {over})"
            )
        }
        Condition::Burn { objective, factor, window, short } => {
            let burnt = format!("({factor} * (1 - {objective}))");
            format!("(({} > {burnt}) and ({} > {burnt})) and {}", ratio(short), ratio(window), enough(window))
        }
        Condition::Capture { threshold, window } => {
            let sum = |names: &[&str]| {
                let parts: Vec<String> =
                    names.iter().map(|name| format!("increase({name}[{}])", show(window))).collect();
                format!("({})", parts.join(" + "))
            };
            let (decided, lost) = (sum(&DECIDED), sum(&NOT_REPORTED));
            format!("({lost} / {decided} > {threshold}) and ({decided} >= {})", rule.min_requests)
        }
    }
}

/// What must be recorded for a rule.
pub(super) fn records(rule: &Rule) -> Vec<Record> {
    let mut wanted = Vec::new();
    match rule.condition {
        Condition::ErrorRatio { window, .. } => wanted.extend([What::Requests(window), What::Errors(window)]),
        Condition::Latency { window, .. } => wanted.extend([What::Requests(window), What::Durations(window)]),
        Condition::Silence { window, over } => wanted.extend([What::Requests(window), What::Requests(over)]),
        Condition::NewError { .. } => wanted.extend([What::RequestsInAll, What::ErrorsInAll]),
        Condition::Burn { window, short, .. } => {
            for window in [window, short] {
                wanted.extend([What::Requests(window), What::Errors(window)]);
            }
        }
        Condition::Capture { .. } => {}
    }
    let of = |what: What| {
        let subjects = subjects().filter(|subject| subject.side == rule.side);
        subjects.map(move |subject| Record {
            name: recorded(rule, what),
            kind: subject.kind,
            expression: expression(rule.per, what, &subject),
        })
    };
    wanted.into_iter().flat_map(of).collect()
}

/// The name under which it is recorded: level, metric, operation.
fn recorded(rule: &Rule, what: What) -> String {
    let (per, side) = (rule.per.name(), rule.side.name());
    match what {
        What::Requests(window) => format!("{per}:redtap_{side}_requests:rate{}", show(window)),
        What::Errors(window) => format!("{per}:redtap_{side}_errors:rate{}", show(window)),
        What::Durations(window) => format!("{per}:redtap_{side}_duration_seconds_bucket:rate{}", show(window)),
        What::RequestsInAll => format!("service:redtap_{side}_requests:sum"),
        What::ErrorsInAll => format!("service_error_type:redtap_{side}_errors:sum"),
    }
}

fn expression(per: Per, what: What, subject: &Subject) -> String {
    let metric = subject.entry.prometheus;
    let error = underscored(ERROR);
    let (inner, extra) = match what {
        What::Requests(window) => (format!("rate({metric}_count[{}])", show(window)), None),
        What::Errors(window) => (format!("rate({metric}_count{{{error}!=\"\"}}[{}])", show(window)), None),
        What::Durations(window) => (format!("rate({metric}_bucket[{}])", show(window)), Some("le")),
        What::RequestsInAll => return format!("sum by (service_name) ({metric}_count)"),
        What::ErrorsInAll => return format!("sum by (service_name, {error}) ({metric}_count{{{error}!=\"\"}})"),
    };
    let extra = extra.map(|label| format!(", {label}")).unwrap_or_default();
    match per {
        Per::Service => format!("sum by (service_name{extra}) ({inner})"),
        Per::Endpoint => {
            // First by the labels of the metric: there are fewer series to rename then.
            let own: Vec<(&str, String)> = [("method", subject.method), ("endpoint", subject.endpoint)]
                .into_iter()
                .filter_map(|(name, label)| Some((name, underscored(label?))))
                .collect();
            let by: String = own.iter().map(|(_, label)| format!(", {label}")).collect();
            let summed = format!("sum by (service_name{by}{extra}) ({inner})");
            let renamed = own.iter().fold(summed, |inner, (name, label)| {
                format!("label_replace({inner}, \"{name}\", \"$1\", \"{label}\", \"(.*)\")")
            });
            format!("sum by (service_name, method, endpoint{extra}) ({renamed})")
        }
    }
}

/// The services that the rule is about.
fn selector(rule: &Rule) -> String {
    if rule.service == "*" {
        return String::new();
    }
    let mut pattern = String::new();
    for letter in rule.service.chars() {
        match letter {
            '*' => pattern.push_str(".*"),
            letter if "\\.+?()|[]{}^$".contains(letter) => pattern.extend(['\\', letter]),
            letter => pattern.push(letter),
        }
    }
    format!("{{service_name=~{}}}", serde_json::Value::from(pattern))
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
