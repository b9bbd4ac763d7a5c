//! What rules look at: series added up to services, endpoints and kinds of errors, each with its windows.
//!
//! A series is followed by the address of its labels, which is kept from being used again; what it gained since the last
//! look is added to the groups that it belongs to. A series that is new gained all of its value, because the registry
//! counts from the agent's start. Groups in which nothing happened for the longest window, and that no alarm is about, go.
//!
//! Bounds: [`MAX_GROUPS`]; what belongs to further ones is counted ([`Groups::refused`]) and not watched. A group takes
//! 0.26 kB for each count window and 1.9 kB for each window of durations: with the built-in rules 3.2 kB.
//! Absent: rules' conditions, clocks.

use super::rule::{Condition, Per, Rule};
use super::subject::{ERROR, Subject, subject};
use super::window::{Buckets, Counts, Window};
use crate::registry::{Sample, Snapshot, Value};
use hashbrown::HashMap;
use redtap_stages::flow::delta::Series;
use redtap_stages::metric::{MAX_BUCKETS, TABLE};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Most groups.
pub const MAX_GROUPS: usize = 4_096;
/// Groups that one series belongs to, at most.
const OF_SERIES: usize = 3;

/// What is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// One protocol family of a service.
    Service,
    /// One endpoint of it.
    Endpoint,
    /// One kind of errors of it.
    Error,
    /// The agent's own exchanges.
    Capture,
}

/// Which group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What is added up.
    pub level: Level,
    /// OpenTelemetry name of the metric; empty for the agent's own.
    pub metric: String,
    /// The service.
    pub service: String,
    /// Method or operation, of an endpoint.
    pub method: String,
    /// Endpoint.
    pub endpoint: String,
    /// Kind of error.
    pub error_type: String,
}

impl Key {
    /// The one group of the agent's own exchanges.
    #[must_use]
    pub fn capture() -> Self {
        let none = String::new;
        Self {
            level: Level::Capture,
            metric: none(),
            service: none(),
            method: none(),
            endpoint: none(),
            error_type: none(),
        }
    }

    /// What its metric is to rules.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        subject(TABLE.iter().find(|entry| entry.otel == self.metric)?)
    }
}

/// Since when, and until when before, there was something of a group. Milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Presence {
    since: Option<u64>,
    before: Option<(u64, u64)>,
}

impl Presence {
    fn see(&mut self, there: bool, now: u64) {
        match (self.since, there) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.before = Some((since, now));
                self.since = None;
            }
            _ => {}
        }
    }

    fn was_at(&self, at: u64) -> bool {
        self.since.is_some_and(|since| since <= at) || self.before.is_some_and(|(from, to)| from <= at && at < to)
    }
}

/// One group.
#[derive(Debug)]
pub struct Group {
    /// Which.
    pub key: Key,
    /// What its metric is to rules; none for the agent's own exchanges.
    pub subject: Option<Subject>,
    counts: Vec<(Duration, Window<Counts>)>,
    durations: Vec<(Duration, Window<Buckets>)>,
    /// Requests of its series as they stand now.
    pub total: u64,
    presence: Presence,
    seen: u32,
    /// When something last happened.
    active_ms: u64,
}

impl Group {
    /// Requests and errors of the last so long; nothing for a window that no rule has.
    #[must_use]
    pub fn counts(&self, window: Duration) -> Counts {
        self.counts.iter().find(|(length, _)| *length == window).map_or_else(Counts::default, |(_, sums)| *sums.sum())
    }

    /// Durations of the last so long, likewise.
    #[must_use]
    pub fn durations(&self, window: Duration) -> Buckets {
        self.durations
            .iter()
            .find(|(length, _)| *length == window)
            .map_or_else(Buckets::default, |(_, sums)| *sums.sum())
    }

    /// True if there was something of it then.
    #[must_use]
    pub fn was_there(&self, at_ms: u64) -> bool {
        self.presence.was_at(at_ms)
    }

    fn gain(&mut self, counts: &Counts, durations: &Buckets, now: u64) {
        for (_, window) in &mut self.counts {
            window.gain(counts);
        }
        for (_, window) in &mut self.durations {
            window.gain(durations);
        }
        self.active_ms = now;
    }
}

/// One series, as far as it was counted.
#[derive(Debug)]
struct Followed {
    /// Keeps the address from being used again.
    _labels: Arc<str>,
    groups: [Option<u32>; OF_SERIES],
    count: u64,
    buckets: [u64; MAX_BUCKETS + 1],
    seen: u32,
}

/// Which windows the groups of a level need.
#[derive(Debug, Default)]
struct Needs {
    counts: BTreeSet<Duration>,
    durations: BTreeSet<Duration>,
}

/// All groups.
#[derive(Debug)]
pub struct Groups {
    service: Needs,
    endpoint: Needs,
    capture: Needs,
    errors: bool,
    longest_ms: u64,
    series: HashMap<usize, Followed, foldhash::fast::RandomState>,
    index: HashMap<Key, u32, foldhash::fast::RandomState>,
    slots: Vec<Option<Group>>,
    free: Vec<u32>,
    round: u32,
    refused: u64,
}

impl Groups {
    /// None yet; with the windows that these rules need.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let (mut service, mut endpoint, mut capture) = (Needs::default(), Needs::default(), Needs::default());
        let (mut errors, mut longest) = (false, Duration::ZERO);
        for rule in rules {
            let needs = match (rule.condition, rule.per) {
                (Condition::Capture { .. }, _) => &mut capture,
                (_, Per::Service) => &mut service,
                (_, Per::Endpoint) => &mut endpoint,
            };
            needs.counts.extend(rule.windows());
            longest = longest.max(rule.windows().last().copied().unwrap_or_default());
            match rule.condition {
                Condition::Latency { window, .. } => drop(needs.durations.insert(window)),
                Condition::NewError { over } => {
                    errors = true;
                    longest = longest.max(over);
                }
                _ => {}
            }
        }
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Self {
            service,
            endpoint,
            capture,
            errors,
            longest_ms,
            series: HashMap::default(),
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            round: 0,
            refused: 0,
        }
    }

    /// Takes up what the series gained.
    pub fn take(&mut self, traffic: &Snapshot, now_ms: u64) {
        self.round = self.round.wrapping_add(1);
        for group in self.slots.iter_mut().flatten() {
            group.total = 0;
            group.counts.iter_mut().for_each(|(_, window)| window.advance(now_ms));
            group.durations.iter_mut().for_each(|(_, window)| window.advance(now_ms));
        }
        for (entry, family) in TABLE.iter().zip(&traffic.families) {
            let Some(subject) = subject(entry) else { continue };
            for sample in family {
                self.sample(&subject, sample, now_ms);
            }
        }
        let round = self.round;
        self.series.retain(|_, series| series.seen == round);
        for group in self.slots.iter_mut().flatten() {
            group.presence.see(group.seen == round, now_ms);
        }
    }

    /// Adds to the agent's own exchanges: decided, and of these not reported.
    pub fn take_capture(&mut self, gain: &Counts, now_ms: u64) {
        if self.capture.counts.is_empty() {
            return;
        }
        if let Some(id) = self.intern(Key::capture(), now_ms)
            && let Some(Some(group)) = self.slots.get_mut(id as usize)
        {
            group.gain(gain, &Buckets::default(), now_ms);
        }
    }

    /// The group's number; made, if it is new and there is room.
    pub fn intern(&mut self, key: Key, now_ms: u64) -> Option<u32> {
        if let Some(&id) = self.index.get(&key) {
            return Some(id);
        }
        if self.index.len() >= MAX_GROUPS {
            self.refused += 1;
            return None;
        }
        let needs = match key.level {
            Level::Service => &self.service,
            Level::Endpoint => &self.endpoint,
            Level::Capture => &self.capture,
            Level::Error => &Needs::default(),
        };
        let length = |window: &Duration| u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let mut counts: Vec<_> = needs.counts.iter().map(|window| (*window, Window::new(length(window)))).collect();
        let mut durations: Vec<_> =
            needs.durations.iter().map(|window| (*window, Window::new(length(window)))).collect();
        counts.iter_mut().for_each(|(_, window): &mut (_, Window<Counts>)| window.advance(now_ms));
        durations.iter_mut().for_each(|(_, window): &mut (_, Window<Buckets>)| window.advance(now_ms));
        let group = Group {
            subject: key.subject(),
            key: key.clone(),
            counts,
            durations,
            total: 0,
            presence: Presence::default(),
            seen: self.round.wrapping_sub(1),
            active_ms: now_ms,
        };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        *self.slots.get_mut(id as usize)? = Some(group);
        self.index.insert(key, id);
        Some(id)
    }

    /// Forgets what nothing happened in for the longest window, unless `needed`.
    pub fn forget(&mut self, now_ms: u64, needed: impl Fn(u32) -> bool) {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let Ok(id) = u32::try_from(number) else { continue };
            let old = |group: &mut Group| {
                group.seen != self.round && now_ms.saturating_sub(group.active_ms) > self.longest_ms && !needed(id)
            };
            if let Some(group) = slot.take_if(old) {
                self.index.remove(&group.key);
                self.free.push(id);
            }
        }
    }

    /// All, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Group)> {
        let numbered = (0_u32..).zip(&self.slots);
        numbered.filter_map(|(id, group)| Some((id, group.as_ref()?)))
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Group> {
        self.slots.get(id as usize)?.as_ref()
    }

    /// The group of the service that an error group belongs to.
    #[must_use]
    pub fn service_of(&self, key: &Key) -> Option<&Group> {
        let key = Key { level: Level::Service, error_type: String::new(), ..key.clone() };
        self.get(*self.index.get(&key)?)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Series whose group had no room, once a look each.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn sample(&mut self, subject: &Subject, sample: &Sample, now: u64) {
        let Value::Histogram { buckets, count, .. } = &sample.value else { return };
        let address = Arc::as_ptr(&sample.labels).cast::<u8>().addr();
        if !self.series.contains_key(&address) {
            let groups = self.groups_of(subject, &sample.series, now);
            let labels = Arc::clone(&sample.labels);
            let new = Followed { _labels: labels, groups, count: 0, buckets: [0; MAX_BUCKETS + 1], seen: 0 };
            self.series.insert(address, new);
        }
        let Some(series) = self.series.get_mut(&address) else { return };
        series.seen = self.round;
        let requests = count.saturating_sub(series.count);
        let mut durations = Buckets::default();
        if requests > 0 {
            for ((gain, now), then) in durations.0.iter_mut().zip(buckets).zip(series.buckets) {
                *gain = u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
            }
            series.count = *count;
            series.buckets = *buckets;
        }
        let failed = sample.series.labels.iter().any(|(name, _)| *name == ERROR);
        let counts = Counts { requests, errors: if failed { requests } else { 0 } };
        for id in series.groups.into_iter().flatten() {
            let Some(Some(group)) = self.slots.get_mut(id as usize) else { continue };
            group.seen = self.round;
            group.total = group.total.saturating_add(*count);
            if requests > 0 {
                group.gain(&counts, &durations, now);
            }
        }
    }

    fn groups_of(&mut self, subject: &Subject, series: &Series, now: u64) -> [Option<u32>; OF_SERIES] {
        let value = |wanted: Option<&str>| {
            let found = series.labels.iter().find(|(name, _)| Some(*name) == wanted);
            found.map(|(_, value)| value.as_str().to_owned()).unwrap_or_default()
        };
        let error_type = value(Some(ERROR));
        let service = Key {
            level: Level::Service,
            metric: subject.entry.otel.to_owned(),
            service: series.service.as_str().to_owned(),
            method: String::new(),
            endpoint: String::new(),
            error_type: String::new(),
        };
        // That of the service first: where room is short, there are more of the others.
        let wanted = !self.service.counts.is_empty() || self.errors;
        let whole = wanted.then(|| self.intern(service.clone(), now)).flatten();
        let error = (self.errors && !error_type.is_empty())
            .then(|| self.intern(Key { level: Level::Error, error_type, ..service.clone() }, now))
            .flatten();
        let endpoint = (!self.endpoint.counts.is_empty())
            .then(|| {
                let (method, endpoint) = (value(subject.method), value(subject.endpoint));
                self.intern(Key { level: Level::Endpoint, method, endpoint, ..service.clone() }, now)
            })
            .flatten();
        [whole, endpoint, error]
    }
}
