//! Evaluates all rules over what there is, and keeps the state of each alarm. Pure: time and samples are arguments.
//!
//! Cost: one look-up in a table a series, and for each rule one look at each group.
//! Bounds: [`MAX_ALARMS`], [`MAX_HISTORY`], those of [`Groups`].

mod condition;

pub use condition::{DECIDED, NOT_REPORTED};

use super::groups::{Groups, Key, Level};
use super::keep::{Kept, KeptAlarm};
use super::phase::{Change, Phase, step};
use super::rule::{Condition, Per, Rule};
use super::window::Counts;
use super::{Alarm, Board, MAX_ALARMS, MAX_HISTORY, Notice, Stats, Unit, text};
use crate::alarms::subject::Subject;
use crate::export::Gathered;
use crate::export::OwnSample;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Which alarm: number of the rule, number of the group.
type Id = (usize, u32);

/// One alarm that is pending or firing.
#[derive(Debug, Clone)]
struct Active {
    phase: Phase,
    alarm: Alarm,
    /// It was known before the agent started.
    kept: bool,
}

/// All rules and all alarms.
#[derive(Debug)]
pub struct Evaluator {
    rules: Vec<Rule>,
    extra: BTreeMap<String, String>,
    groups: Groups,
    active: BTreeMap<Id, Active>,
    history: VecDeque<Alarm>,
    /// Exchanges decided and not reported, as of the last evaluation.
    capture: Counts,
    started_ms: Option<u64>,
    stats: Stats,
}

impl Evaluator {
    /// Without any alarm. `extra`: labels of all alarms, after those of their rules.
    #[must_use]
    pub fn new(rules: Vec<Rule>, extra: BTreeMap<String, String>) -> Self {
        let groups = Groups::new(&rules);
        Self {
            rules,
            extra,
            groups,
            active: BTreeMap::new(),
            history: VecDeque::new(),
            capture: Counts::default(),
            started_ms: None,
            stats: Stats::default(),
        }
    }

    /// Takes up where another left off. What is of a rule that there is no more is over.
    pub fn restore(&mut self, kept: Kept, now_ms: u64) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.history.extend(kept.history.into_iter().take(MAX_HISTORY));
        for KeptAlarm { key, phase, alarm } in kept.alarms.into_iter().take(MAX_ALARMS) {
            let rule = self.rules.iter().position(|rule| rule.name == alarm.name);
            let group = rule.and_then(|_| self.groups.intern(key, now_ms));
            // Whether the condition held while nobody looked is not known: what was pending begins to be so.
            let phase = match phase {
                Phase::Pending { .. } => Phase::Pending { since_ms: now_ms },
                firing @ Phase::Firing { .. } => firing,
            };
            if let (Some(rule), Some(group)) = (rule, group) {
                self.active.insert((rule, group), Active { phase, alarm, kept: true });
            } else if matches!(phase, Phase::Firing { .. }) {
                notices.push(self.end(alarm, now_ms));
            }
        }
        notices
    }

    /// Evaluates everything. `now_ms` never goes back (milliseconds since the epoch).
    pub fn evaluate(&mut self, now_ms: u64, gathered: &Gathered) -> Vec<Notice> {
        self.started_ms.get_or_insert(now_ms);
        self.stats.evaluations += 1;
        self.groups.take(&gathered.traffic, now_ms);
        let capture = condition::capture(&gathered.own);
        let gain = Counts {
            requests: capture.requests.saturating_sub(self.capture.requests),
            errors: capture.errors.saturating_sub(self.capture.errors),
        };
        self.capture = capture;
        self.groups.take_capture(&gain, now_ms);
        let held = self.held(now_ms);
        let notices = self.step_all(held, now_ms);
        let active = &self.active;
        self.groups.forget(now_ms, |id| active.keys().any(|(_, group)| *group == id));
        notices
    }

    /// What is shown.
    #[must_use]
    pub fn board(&self) -> Board {
        let some = |wanted: fn(&Phase) -> bool| {
            let mut alarms: Vec<Alarm> = self
                .active
                .values()
                .filter(|active| wanted(&active.phase))
                .map(|active| active.alarm.clone())
                .collect();
            alarms.sort_by(|a, b| a.since_ms.cmp(&b.since_ms).then_with(|| a.labels.cmp(&b.labels)));
            alarms
        };
        Board {
            firing: some(|phase| matches!(phase, Phase::Firing { .. })),
            pending: some(|phase| matches!(phase, Phase::Pending { .. })),
            history: self.history.iter().cloned().collect(),
            stats: self.stats(),
        }
    }

    /// What another needs to take up from here.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let alarms = self.active.iter().filter_map(|((_, group), active)| {
            let key = self.groups.get(*group)?.key.clone();
            Some(KeptAlarm { key, phase: active.phase, alarm: active.alarm.clone() })
        });
        Kept { alarms: alarms.collect(), history: self.history.iter().cloned().collect(), ..Kept::default() }
    }

    /// What it did.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { groups: self.groups.len() as u64, groups_refused: self.groups.refused(), ..self.stats }
    }

    /// Conditions that hold, and their values.
    fn held(&self, now_ms: u64) -> BTreeMap<Id, Option<f64>> {
        let mut held = BTreeMap::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let level = level(rule);
            for (id, group) in self.groups.iter().filter(|(_, group)| group.key.level == level) {
                let about = match &group.subject {
                    Some(subject) => rule.is_about(subject, &group.key.service),
                    None => true,
                };
                if about && let Some(value) = condition::holds(rule, group, &self.groups, now_ms) {
                    held.insert((number, id), value);
                }
            }
        }
        held
    }

    fn step_all(&mut self, held: BTreeMap<Id, Option<f64>>, now_ms: u64) -> Vec<Notice> {
        let mut notices = Vec::new();
        let over: Vec<Id> = self.active.keys().filter(|id| !held.contains_key(id)).copied().collect();
        for id in over {
            if let Some(active) = self.active.remove(&id) {
                notices.extend(self.clear(id, active, now_ms));
            }
        }
        for (id, value) in held {
            notices.extend(self.hold(id, value, now_ms));
        }
        notices
    }

    /// The condition does not hold.
    fn clear(&mut self, id: Id, active: Active, now_ms: u64) -> Option<Notice> {
        let rule = self.rules.get(id.0)?;
        let running = now_ms.saturating_sub(self.started_ms.unwrap_or(now_ms));
        if active.kept && running < milliseconds(rule.blind()) {
            // Too early to know better than before the restart.
            self.active.insert(id, active);
            return None;
        }
        let (next, change) = step(Some(active.phase), false, now_ms, milliseconds(rule.hold), milliseconds(rule.keep));
        if change == Change::Resolved {
            return Some(self.end(active.alarm, now_ms));
        }
        if let Some(phase) = next {
            self.active.insert(id, Active { phase, ..active });
        }
        None
    }

    /// The condition holds.
    fn hold(&mut self, id: Id, value: Option<f64>, now_ms: u64) -> Option<Notice> {
        let rule = self.rules.get(id.0)?;
        let group = self.groups.get(id.1)?;
        let before = self.active.get(&id);
        if before.is_none() && self.active.len() >= MAX_ALARMS {
            self.stats.alarms_refused += 1;
            return None;
        }
        let phase = before.map(|active| active.phase);
        let (next, change) = step(phase, true, now_ms, milliseconds(rule.hold), milliseconds(rule.keep));
        let (Some(next), kept) = (next, before.is_some_and(|active| active.kept)) else { return None };
        let since_ms = match next {
            Phase::Pending { since_ms } | Phase::Firing { since_ms, .. } => since_ms,
        };
        let alarm = alarm(rule, &group.key, group.subject.as_ref(), value, since_ms, &self.extra);
        let notice = (change == Change::Fired).then(|| Notice { resolved: false, alarm: alarm.clone() });
        self.stats.fired += u64::from(notice.is_some());
        self.active.insert(id, Active { phase: next, alarm, kept });
        notice
    }

    fn end(&mut self, alarm: Alarm, now_ms: u64) -> Notice {
        let alarm = Alarm { until_ms: Some(now_ms), ..alarm };
        self.stats.resolved += 1;
        self.history.truncate(MAX_HISTORY - 1);
        self.history.push_front(alarm.clone());
        Notice { resolved: true, alarm }
    }
}

fn level(rule: &Rule) -> Level {
    match (rule.condition, rule.per) {
        (Condition::Capture { .. }, _) => Level::Capture,
        (Condition::NewError { .. }, _) => Level::Error,
        (_, Per::Service) => Level::Service,
        (_, Per::Endpoint) => Level::Endpoint,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The alarm as people see it.
fn alarm(
    rule: &Rule,
    key: &Key,
    subject: Option<&Subject>,
    value: Option<f64>,
    since_ms: u64,
    extra: &BTreeMap<String, String>,
) -> Alarm {
    let kind = subject.map_or("", |subject| subject.kind);
    let own = [
        ("alertname", rule.name.as_str()),
        ("severity", rule.severity.name()),
        ("service_name", &key.service),
        ("kind", kind),
        ("method", &key.method),
        ("endpoint", &key.endpoint),
        ("error_type", &key.error_type),
    ];
    let mut labels = extra.clone();
    labels.extend(rule.labels.clone());
    labels.extend(
        own.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let field = |name: &str| -> Cow<'_, str> {
        match name {
            "service" => Cow::Borrowed(key.service.as_str()),
            "kind" => Cow::Borrowed(kind),
            "method" => Cow::Borrowed(key.method.as_str()),
            "endpoint" => Cow::Borrowed(key.endpoint.as_str()),
            "error_type" => Cow::Borrowed(key.error_type.as_str()),
            "value" => Cow::Owned(value.map_or_else(String::new, |value| shown(rule, value))),
            other => Cow::Owned(parameter(rule, other)),
        }
    };
    let annotations = rule.annotations.iter().map(|(name, template)| (name.clone(), text::fill(template, field)));
    Alarm {
        name: rule.name.clone(),
        severity: rule.severity.name().to_owned(),
        service: key.service.clone(),
        annotations: annotations.collect(),
        labels,
        value,
        unit: value.and(unit(rule)),
        since_ms,
        until_ms: None,
    }
}

/// The value as people read it.
fn shown(rule: &Rule, value: f64) -> String {
    match unit(rule) {
        Some(Unit::Seconds) => text::duration(value),
        Some(Unit::Ratio) => text::percentage(value),
        None => format!("{value}"),
    }
}

/// Of what the rule compares with its threshold.
const fn unit(rule: &Rule) -> Option<Unit> {
    match rule.condition {
        Condition::Latency { .. } => Some(Unit::Seconds),
        Condition::ErrorRatio { .. } | Condition::Burn { .. } | Condition::Capture { .. } => Some(Unit::Ratio),
        Condition::Silence { .. } | Condition::NewError { .. } => None,
    }
}

/// A number of the rule, as people read it; empty if it has none of that name.
#[must_use]
pub fn parameter(rule: &Rule, name: &str) -> String {
    use crate::settings::duration::show;
    let share = |value: super::rule::Fixed| text::percentage(value.get());
    match (rule.condition, name) {
        (Condition::ErrorRatio { threshold, .. } | Condition::Capture { threshold, .. }, "threshold") => {
            share(threshold)
        }
        (Condition::Latency { threshold, .. }, "threshold") => text::duration(threshold.get()),
        (Condition::Latency { quantile, .. }, "quantile") => quantile.to_string(),
        (Condition::Burn { objective, .. }, "objective") => share(objective),
        (Condition::Burn { factor, .. }, "factor") => factor.to_string(),
        (Condition::Burn { short, .. }, "short_window") => show(short),
        (Condition::Silence { over, .. } | Condition::NewError { over }, "over") => show(over),
        (
            Condition::ErrorRatio { window, .. }
            | Condition::Latency { window, .. }
            | Condition::Silence { window, .. }
            | Condition::Burn { window, .. }
            | Condition::Capture { window, .. },
            "window",
        ) => show(window),
        _ => String::new(),
    }
}

/// The agent's own sums of that name.
fn own_sum(own: &[OwnSample], name: &str) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole numbers from 0 up")]
    own.iter().filter(|sample| sample.name == name).map(|sample| sample.value as u64).sum()
}

#[cfg(test)]
mod tests;
