//! The same rules as text: recording and alerting rules for Prometheus, as a rule file, as a Kubernetes `PrometheusRule`,
//! and as unit tests of them for `promtool test rules`.
//!
//! One source for both: conditions, thresholds, windows and texts are those of [`super::rule::Rule`]. Where a condition is
//! about several metrics (one for each protocol family), recording rules bring them under one name with the label `kind`.
//! Absent: the labels `host` and those of `alarms.labels`, which say who sends; Prometheus has external labels for that.

mod expression;
mod proof;

pub use proof::unit_tests;

use super::evaluate::parameter;
use super::rule::{Condition, Rule};
use super::text::{Piece, pieces};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A recording rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    name: String,
    kind: &'static str,
    expression: String,
}

/// Rules as a file that `rule_files` of Prometheus names.
#[must_use]
pub fn rule_file(rules: &[Rule]) -> String {
    let mut text = "# Made by `redtap rules --format prometheus`.\n".to_owned();
    groups(rules, "", &mut text);
    text
}

/// The same as an object of Kubernetes, for the Prometheus operator.
#[must_use]
pub fn kubernetes(rules: &[Rule]) -> String {
    let mut text = "# Made by `redtap rules --format prometheusrule`.\n\
        apiVersion: monitoring.coreos.com/v1\n\
        kind: PrometheusRule\n\
        metadata:\n  name: redtap\n  labels:\n    app.kubernetes.io/name: redtap\n\
        spec:\n"
        .to_owned();
    groups(rules, "  ", &mut text);
    text
}

/// One group: its rules are evaluated in order, so that alerts see what was just recorded.
fn groups(rules: &[Rule], indent: &str, text: &mut String) {
    let mut records: Vec<Record> = rules.iter().flat_map(expression::records).collect();
    records.sort();
    records.dedup();
    if records.is_empty() && rules.is_empty() {
        let _ = writeln!(text, "{indent}groups: []");
        return;
    }
    let _ = writeln!(text, "{indent}groups:\n{indent}  - name: redtap\n{indent}    rules:");
    let inner = format!("{indent}      ");
    for record in &records {
        let _ = writeln!(text, "{inner}- record: {}", record.name);
        let _ = writeln!(text, "{inner}  expr: {}", quoted(&record.expression));
        let _ = writeln!(text, "{inner}  labels:\n{inner}    kind: {}", quoted(record.kind));
    }
    for rule in rules {
        alert(rule, &inner, text);
    }
}

fn alert(rule: &Rule, indent: &str, text: &mut String) {
    let _ = writeln!(text, "{indent}- alert: {}", rule.name);
    let _ = writeln!(text, "{indent}  expr: {}", quoted(&expression::condition(rule)));
    for (name, time) in [("for", rule.hold), ("keep_firing_for", rule.keep)] {
        if time > Duration::ZERO {
            let _ = writeln!(text, "{indent}  {name}: {}", crate::settings::duration::show(time));
        }
    }
    table("labels", &labels(rule), indent, text);
    let annotations = rule.annotations.iter().map(|(name, template)| (name.clone(), translated(rule, template)));
    table("annotations", &annotations.collect(), indent, text);
}

fn labels(rule: &Rule) -> BTreeMap<String, String> {
    let mut labels = rule.labels.clone();
    labels.insert("severity".to_owned(), rule.severity.name().to_owned());
    labels
}

fn table(name: &str, entries: &BTreeMap<String, String>, indent: &str, text: &mut String) {
    let _ = writeln!(text, "{indent}  {name}:");
    for (key, value) in entries {
        let _ = writeln!(text, "{indent}    {key}: {}", quoted(value));
    }
}

/// A text with our fields as a template of Prometheus.
fn translated(rule: &Rule, template: &str) -> String {
    let mut text = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Plain(plain) => text.push_str(&plain.replace("{{", "{{ \"{{\" }}")),
            Piece::Field("service") => text.push_str("{{ $labels.service_name }}"),
            Piece::Field(name @ ("kind" | "method" | "endpoint" | "error_type")) => {
                let _ = write!(text, "{{{{ $labels.{name} }}}}");
            }
            Piece::Field("value") => text.push_str(match rule.condition {
                Condition::Latency { .. } => "{{ $value | humanizeDuration }}",
                Condition::ErrorRatio { .. } | Condition::Burn { .. } | Condition::Capture { .. } => {
                    "{{ $value | humanizePercentage }}"
                }
                Condition::Silence { .. } | Condition::NewError { .. } => "",
            }),
            Piece::Field(name) => text.push_str(&parameter(rule, name)),
        }
    }
    text
}

/// A string of YAML in double quotes, which are JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
