//! Unit tests of the rules for `promtool test rules`: for each rule a history in which its condition comes and goes. When
//! it has to fire, and with what text, is what our own evaluator says of the same history; so they hold only if both agree.
//!
//! The two may differ by one slot of a window and two evaluations, and are not asked in between.

use super::quoted;
use crate::alarms::evaluate::Evaluator;
use crate::alarms::rule::{Condition, Rule};
use crate::alarms::subject::{Subject, subjects, underscored};
use crate::alarms::window::SLOTS;
use crate::alarms::{Alarm, Board};
use crate::export::Gathered;
use crate::export::OwnSample;
use crate::registry::{Sample, Snapshot, Value};
use redtap_stages::flow::delta::Series;
use redtap_stages::metric::{MAX_BUCKETS, TABLE};
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Requests a minute.
const RATE: u64 = 60;
const MINUTE_MS: u64 = 60_000;

/// The tests, about the rules in the file of that name.
#[must_use]
pub fn unit_tests(rules: &[Rule], rule_file: &str) -> String {
    let mut text = format!(
        "# Made by `redtap rules --format promtool-test`.\nrule_files:\n  - {}\nevaluation_interval: 1m\ntests:\n",
        quoted(rule_file)
    );
    for rule in rules {
        if let Some(history) = History::of(rule) {
            history.test(&mut text);
        }
    }
    text
}

/// Minutes of one history: all is well, then the condition holds, then all is well again.
struct History<'a> {
    rule: &'a Rule,
    subject: Subject,
    service: String,
    /// First minute in which it holds.
    from: u64,
    /// First in which it does not any more.
    to: u64,
    end: u64,
    /// How far the two may differ, minutes.
    margin: u64,
}

/// One series of a history: its labels, and what it gains a minute in the three parts.
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    gains: [u64; 3],
    /// It is not there in the first part.
    late: bool,
}

impl<'a> History<'a> {
    /// None for a rule whose condition can never hold.
    fn of(rule: &'a Rule) -> Option<Self> {
        let subject = subjects().find(|subject| subject.side == rule.side)?;
        let minutes = |time: Duration| time.as_secs().div_ceil(60);
        let (before, during) = match rule.condition {
            Condition::NewError { over } => (over, over),
            Condition::Silence { window, over } => (over, window),
            Condition::Burn { short, .. } => (short, short),
            Condition::ErrorRatio { window, .. }
            | Condition::Latency { window, .. }
            | Condition::Capture { window, .. } => (window, window),
        };
        let longest = rule.windows().last().copied().unwrap_or_default();
        let margin = minutes(longest / u32::try_from(SLOTS).unwrap_or(1)) + 2;
        let from = minutes(before) + 10;
        let to = from + 2 * minutes(during) + minutes(rule.hold) + 2 * margin + 5;
        let end = to + 2 * minutes(during) + minutes(rule.keep) + 2 * margin + 5;
        if let Condition::Latency { threshold, .. } = rule.condition {
            slow_bucket(&subject, threshold.get())?;
        }
        Some(Self { rule, subject, service: rule.service.replace('*', "test"), from, to, end, margin })
    }

    fn test(&self, text: &mut String) {
        let lines = self.lines();
        let boards = self.boards(&lines);
        let firing = |minute: u64| boards.get(usize::try_from(minute).unwrap_or(0)).and_then(|board| self.alarm(board));
        let Some(began) = (0..self.end).find(|&minute| firing(minute).is_some()) else { return };
        let over = (began..self.end).find(|&minute| firing(minute).is_none()).unwrap_or(self.end);
        let _ = writeln!(text, "  - interval: 1m\n    name: {}\n    input_series:", quoted(&self.rule.name));
        for line in &lines {
            let _ = writeln!(
                text,
                "      - series: {}\n        values: {}",
                quoted(&line.series()),
                quoted(&self.values(line))
            );
        }
        let _ = writeln!(text, "    promql_expr_test:");
        for (minute, expected) in [
            (began.saturating_sub(self.margin), false),
            (began + self.margin, true),
            (over.saturating_sub(self.margin), true),
            (over + self.margin, false),
        ] {
            let known = expected == firing(minute).is_some();
            let (Some(alarm), true) = (firing(began), known) else { continue };
            let name = quoted(&format!("ALERTS{{alertname=\"{}\",alertstate=\"firing\"}}", self.rule.name));
            let _ = writeln!(text, "      - expr: {name}\n        eval_time: {minute}m");
            if expected {
                let mut labels = self.labels(&alarm);
                labels.insert("alertname".to_owned(), self.rule.name.clone());
                labels.insert("alertstate".to_owned(), "firing".to_owned());
                let labels = labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect::<Vec<_>>();
                let sample = quoted(&format!("ALERTS{{{}}}", labels.join(",")));
                let _ = writeln!(text, "        exp_samples:\n          - labels: {sample}\n            value: 1");
            }
        }
        // When nothing changes any more: now the texts must be the same.
        let minute = self.to.min(over) - 1;
        if let Some(alarm) = firing(minute) {
            let _ = writeln!(
                text,
                "    alert_rule_test:\n      - alertname: {}\n        eval_time: {minute}m",
                self.rule.name
            );
            let _ = writeln!(text, "        exp_alerts:\n          - exp_labels:");
            for (name, value) in self.labels(&alarm) {
                let _ = writeln!(text, "              {name}: {}", quoted(&value));
            }
            let _ = writeln!(text, "            exp_annotations:");
            for (name, value) in &alarm.annotations {
                let _ = writeln!(text, "              {name}: {}", quoted(value));
            }
        }
    }

    /// The rule's alarm, if it fires.
    fn alarm(&self, board: &Board) -> Option<Alarm> {
        board.firing.iter().find(|alarm| alarm.name == self.rule.name).cloned()
    }

    /// As Prometheus labels it.
    fn labels(&self, alarm: &Alarm) -> BTreeMap<String, String> {
        let mut labels = alarm.labels.clone();
        labels.remove("alertname");
        if matches!(self.rule.condition, Condition::Capture { .. }) {
            labels.insert("instance".to_owned(), "agent:9464".to_owned());
        }
        labels
    }

    fn lines(&self) -> Vec<Line> {
        let label = |name: &str, value: &str| (underscored(name), value.to_owned());
        if let Condition::Capture { .. } = self.rule.condition {
            let line = |name: &str, gains| Line {
                name: name.to_owned(),
                labels: vec![label("instance", "agent:9464")],
                gains,
                late: false,
            };
            let none = crate::alarms::evaluate::NOT_REPORTED.iter().skip(1).map(|name| line(name, [0; 3]));
            let some = [
                line("redtap_exchanges_reported_total", [RATE, 0, RATE]),
                line("redtap_exchanges_missed_total", [0, RATE, 0]),
            ];
            return some.into_iter().chain(none).collect();
        }
        let mut good = vec![label("service.name", &self.service)];
        good.extend(self.subject.method.map(|name| label(name, "GET")));
        good.extend(self.subject.endpoint.map(|name| label(name, "/a")));
        let bad: Vec<(String, String)> = good.iter().cloned().chain([label("error.type", "500")]).collect();
        let name = format!("{}_count", self.subject.entry.prometheus);
        let line = |labels: &Vec<_>, gains, late| Line { name: name.clone(), labels: labels.clone(), gains, late };
        match self.rule.condition {
            Condition::Silence { .. } => vec![line(&good, [RATE, 0, RATE], false)],
            Condition::NewError { .. } => vec![line(&good, [RATE; 3], false), line(&bad, [RATE, RATE, RATE], true)],
            Condition::Latency { threshold, .. } => {
                let mut lines = vec![line(&good, [RATE; 3], false)];
                let slow = slow_bucket(&self.subject, threshold.get()).unwrap_or(0);
                let bounds = self.subject.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
                for (at, bound) in bounds.enumerate() {
                    let labels = good.iter().cloned().chain([label("le", &bound)]).collect();
                    let name = format!("{}_bucket", self.subject.entry.prometheus);
                    lines.push(Line {
                        name,
                        labels,
                        gains: [RATE, if at < slow { 0 } else { RATE }, RATE],
                        late: false,
                    });
                }
                lines
            }
            _ => vec![line(&good, [RATE, 0, RATE], false), line(&bad, [0, RATE, 0], false)],
        }
    }

    /// In promtool's notation: `first+gain x times`.
    fn values(&self, line: &Line) -> String {
        let [a, b, c] = line.gains;
        let (one, two, three) = (self.from, self.to - self.from, self.end - self.to);
        if line.late {
            return format!("_x{} {b}+{b}x{}", one, two + three);
        }
        let at_to = a * one + b * two;
        // Each part ends with the value at the beginning of the next.
        format!("0+{a}x{one} {}+{b}x{} {}+{c}x{three}", a * one + b, two - 1, at_to + c)
    }

    /// What the line counts at a minute; none before it is there.
    fn at(&self, line: &Line, minute: u64) -> Option<u64> {
        let [a, b, c] = line.gains;
        if line.late {
            return minute.checked_sub(self.from).map(|since| b * (since + 1));
        }
        let (one, two) = (minute.min(self.from), minute.clamp(self.from, self.to) - self.from);
        Some(a * one + b * two + c * minute.saturating_sub(self.to))
    }

    /// What our own evaluator says, minute by minute.
    fn boards(&self, lines: &[Line]) -> Vec<Board> {
        let mut evaluator = Evaluator::new(vec![self.rule.clone()], BTreeMap::new());
        let series: Vec<(Arc<Series>, Arc<str>)> = lines.iter().map(|line| self.series(line)).collect();
        let minutes = 0..=self.end;
        let boards = minutes.map(|minute| {
            let at_ms = minute * MINUTE_MS;
            evaluator.evaluate(at_ms, &self.gathered(lines, &series, minute));
            evaluator.board()
        });
        boards.collect()
    }

    fn series(&self, line: &Line) -> (Arc<Series>, Arc<str>) {
        let mut interner = Interner::default();
        let metric = self.subject.entry.metric;
        let labels = self.subject.entry.labels.iter().filter_map(|label| {
            let (_, value) = line.labels.iter().find(|(name, _)| *name == underscored(label.name))?;
            Some((label.name, interner.intern(value)))
        });
        let labels = labels.collect();
        (Arc::new(Series { metric, service: interner.intern(&self.service), labels }), line.series().into())
    }

    fn gathered(&self, lines: &[Line], series: &[(Arc<Series>, Arc<str>)], minute: u64) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.traffic = Snapshot { families: TABLE.iter().map(|_| Vec::new()).collect(), ..gathered.traffic };
        // Cumulative over the bounds, as the lines have them.
        let bucket_lines = lines.iter().filter(|line| line.name.ends_with("_bucket"));
        let cumulative: Vec<u64> = bucket_lines.filter_map(|line| self.at(line, minute)).collect();
        for (line, (series, labels)) in lines.iter().zip(series) {
            let Some(count) = self.at(line, minute) else { continue };
            if line.name.starts_with("redtap_") {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let value = count as f64;
                gathered.own.push(OwnSample {
                    name: line.name.clone().into(),
                    labels: Vec::new(),
                    counter: true,
                    value,
                });
            } else if line.name.ends_with("_count") {
                let mut buckets = [0; MAX_BUCKETS + 1];
                let mut below = 0;
                for (bucket, total) in buckets.iter_mut().zip(&cumulative) {
                    *bucket = total - below;
                    below = *total;
                }
                let value = Value::Histogram { buckets, sum: 0, count };
                let sample = Sample {
                    series: Arc::clone(series),
                    labels: Arc::clone(labels),
                    created: Nanos::ZERO,
                    value,
                    exemplars: Vec::new(),
                };
                if let Some(family) = gathered.traffic.families.get_mut(series.metric as usize) {
                    family.push(sample);
                }
            }
        }
        gathered
    }
}

impl Line {
    fn series(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}

/// The first bucket all of which lies above a threshold.
fn slow_bucket(subject: &Subject, threshold: f64) -> Option<usize> {
    let lower = subject.bounds.iter().position(|bound| *bound >= threshold)?;
    // The one above that bound; it must have an upper bound.
    (lower + 1 < subject.bounds.len()).then_some(lower + 1)
}
