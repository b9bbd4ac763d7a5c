//! The registry of traffic series: what all shards published, cumulated, for many readers.
//!
//! `flush` of each shard publishes what its series gained ([`Registry::publish`]); readers take a consistent
//! [`Snapshot`] and render it without holding anything up. Series of different shards with the same content are one
//! series: they are found by text, because symbols of different shards have different numbers. A series that gains
//! nothing for [`RegistrySettings::expiry`] is forgotten.
//!
//! **Invariant:** a snapshot holds each publication wholly or not at all. Rendering never happens under the lock.
//!
//! Single calls are attached to the buckets that they were counted in ([`exemplar`]).
//!
//! Bounds: [`MAX_SERIES`] series, [`MAX_TARGETS`] identities, [`MAX_EXEMPLARS`] exemplars; what comes after is counted in [`RegistryStats`].
//! Absent: clocks (time is an argument), the agent's own metrics ([`crate::self_metrics`]).

pub mod exemplar;
mod negotiate;
mod render;
mod text;

pub use exemplar::{Exemplar, MAX_EXEMPLARS};
pub use negotiate::{Format, negotiate};
pub use text::escape_label;
pub(crate) use text::parse_labels;

use hashbrown::HashMap;
use parking_lot::Mutex;
use redtap_stages::flow::delta::{Gain, Publication, Series};
use redtap_stages::flow::joined::Identity;
use redtap_stages::metric::{MAX_BUCKETS, Metric, TABLE};
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most series kept; deltas of new ones are refused after that, and counted.
pub const MAX_SERIES: usize = 200_000;
/// Most identities shown as `target_info`; after that, new ones are not shown, and counted.
pub const MAX_TARGETS: usize = 4_096;

/// How the registry is to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrySettings {
    /// A series that gains nothing for this long is forgotten.
    pub expiry: Nanos,
    /// What to add to a monotonic time to get nanoseconds since the epoch; for `_created`.
    pub wall_offset: u64,
    /// When the registry was made, monotonic.
    pub started: Nanos,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { expiry: Nanos::from_secs(900), wall_offset: 0, started: Nanos::ZERO }
    }
}

/// Cumulated value of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a histogram: observations by bucket (not cumulative over buckets), sum in nanoseconds, count.
    Histogram {
        /// By bucket; the last used one is +Inf.
        buckets: [u64; MAX_BUCKETS + 1],
        /// Nanoseconds.
        sum: u128,
        /// Observations.
        count: u64,
    },
}

/// One series as readers see it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it is.
    pub series: Arc<Series>,
    /// Labels as they are rendered, escaped, without braces.
    pub labels: Arc<str>,
    /// When it began to count, monotonic.
    pub created: Nanos,
    /// What it counted.
    pub value: Value,
    /// Calls among that, at most one a bucket, by bucket.
    pub exemplars: Vec<Exemplar>,
}

/// A consistent view of all series.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// One list a metric, in the order of the table; each ordered by labels.
    pub families: Vec<Vec<Sample>>,
    /// Labels of `target_info`, one entry a target, ordered.
    pub targets: Vec<Arc<str>>,
    /// What they say, for exporters that do not send text; in the same order.
    pub identities: Vec<Arc<Identity>>,
    /// As in [`RegistrySettings::wall_offset`].
    pub wall_offset: u64,
}

/// What the registry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegistryStats {
    /// Series now.
    pub series: u64,
    /// Series forgotten because they gained nothing.
    pub expired: u64,
    /// Observations refused because [`MAX_SERIES`] was reached.
    pub refused: u64,
    /// Exchanges among them.
    pub exchanges_refused: u64,
    /// Identities not shown because [`MAX_TARGETS`] was reached.
    pub targets_refused: u64,
    /// Publications taken.
    pub publications: u64,
    /// Exemplars.
    pub exemplars: exemplar::ExemplarCounts,
}

#[derive(Debug)]
struct Entry {
    sample: Sample,
    key: Box<str>,
    last: Nanos,
}

/// Where a series of a shard lies; keeps the series alive, so that its address is not used again.
#[derive(Debug)]
struct Known {
    series: Arc<Series>,
    slot: usize,
    last: Nanos,
}

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_text: Vec<BTreeMap<Box<str>, usize>>,
    by_address: HashMap<usize, Known, foldhash::fast::RandomState>,
    targets: BTreeMap<Arc<str>, Arc<Identity>>,
    namespaces: BTreeMap<Box<str>, Box<str>>,
    last_publication: Nanos,
    last_sweep: Nanos,
    stats: RegistryStats,
}

/// The registry. Share it in an `Arc`.
#[derive(Debug)]
pub struct Registry {
    settings: RegistrySettings,
    inner: Mutex<Inner>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        let inner = Inner {
            by_text: TABLE.iter().map(|_| BTreeMap::new()).collect(),
            last_publication: settings.started,
            last_sweep: settings.started,
            ..Inner::default()
        };
        Self { settings, inner: Mutex::new(inner) }
    }

    /// Adds what one shard published.
    pub fn publish(&self, publication: &Publication) {
        let mut inner = self.inner.lock();
        let created = inner.last_publication.min(publication.at);
        for delta in &publication.deltas {
            match inner.slot_of(&delta.series, publication.at, created) {
                Some(slot) => inner.gain(slot, &delta.gain, publication.at),
                None => {
                    inner.stats.exchanges_refused += crate::topology::exchanges(delta);
                    inner.stats.refused += match &delta.gain {
                        Gain::Count(n) => *n,
                        Gain::Histogram(gain) => gain.count,
                    }
                }
            }
        }
        inner.stats.publications += 1;
        inner.last_publication = inner.last_publication.max(publication.at);
    }

    /// Shows a call with the series that it was counted in, unless something speaks against it; either is counted.
    pub fn exemplify(&self, now: Nanos, series: &Series, exemplar: Exemplar) {
        let key = text::series_key(series);
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let slot = inner.by_text.get(series.metric as usize).and_then(|family| family.get(key.as_str()));
        let entry = slot.and_then(|&slot| inner.slots.get_mut(slot)?.as_mut());
        inner.stats.exemplars.attach(entry.map(|entry| &mut entry.sample.exemplars), now, exemplar);
    }

    /// Counts exemplars that there was no room to wait for.
    pub fn exemplars_crowded_out(&self, count: u64) {
        self.inner.lock().stats.exemplars.crowded += count;
    }

    /// Forgets series that gained nothing for long, and exemplars that are old. Call it now and then; more than once a second does nothing.
    pub fn expire(&self, now: Nanos) {
        let mut inner = self.inner.lock();
        if now.since(inner.last_sweep) < Nanos::SECOND {
            return;
        }
        inner.last_sweep = now;
        inner.sweep(now, self.settings.expiry);
    }

    /// Shows an identity as `target_info`, and its namespace on the series of its service made from now on.
    pub fn introduce(&self, identity: &Identity) {
        let labels = text::target_labels(identity);
        let mut inner = self.inner.lock();
        if !identity.namespace.is_empty() && inner.namespaces.len() < MAX_TARGETS {
            inner.namespaces.insert(identity.service.clone(), identity.namespace.clone());
        }
        if inner.targets.contains_key(labels.as_str()) {
            return;
        }
        if inner.targets.len() >= MAX_TARGETS {
            inner.stats.targets_refused += 1;
            return;
        }
        inner.targets.insert(labels.into(), Arc::new(identity.clone()));
    }

    /// No longer shows an identity.
    pub fn dismiss(&self, identity: &Identity) {
        let labels = text::target_labels(identity);
        self.inner.lock().targets.remove(labels.as_str());
    }

    /// All series as they are now: a copy, made under the lock; nothing is rendered under it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner.lock();
        let families = inner
            .by_text
            .iter()
            .map(|family| {
                family
                    .values()
                    .filter_map(|&slot| inner.slots.get(slot)?.as_ref().map(|entry| entry.sample.clone()))
                    .collect()
            })
            .collect();
        let targets = inner.targets.keys().cloned().collect();
        let identities = inner.targets.values().cloned().collect();
        Snapshot { families, targets, identities, wall_offset: self.settings.wall_offset }
    }

    /// Who is shown as `target_info` now.
    #[must_use]
    pub fn identities(&self) -> Vec<Arc<Identity>> {
        self.inner.lock().targets.values().cloned().collect()
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> RegistryStats {
        let inner = self.inner.lock();
        let series = inner.slots.len().saturating_sub(inner.free.len());
        RegistryStats { series: series as u64, ..inner.stats }
    }
}

impl Inner {
    /// The slot of a series: by address when this shard published it before, else by text, else a new one.
    fn slot_of(&mut self, series: &Arc<Series>, at: Nanos, created: Nanos) -> Option<usize> {
        let address = Arc::as_ptr(series).addr();
        if let Some(known) = self.by_address.get_mut(&address) {
            known.last = at;
            return Some(known.slot);
        }
        let family = series.metric as usize;
        let key = text::series_key(series);
        let slot = match self.by_text.get(family)?.get(key.as_str()) {
            Some(&slot) => slot,
            None => self.add(series, key.into_boxed_str(), at, created)?,
        };
        if self.by_address.len() < MAX_SERIES * 2 {
            self.by_address.insert(address, Known { series: Arc::clone(series), slot, last: at });
        }
        Some(slot)
    }

    fn add(&mut self, series: &Arc<Series>, key: Box<str>, at: Nanos, created: Nanos) -> Option<usize> {
        if self.slots.len() - self.free.len() >= MAX_SERIES {
            return None;
        }
        let namespace = self.namespaces.get(series.service.as_str()).map_or("", |name| name);
        let labels = text::series_labels(series, namespace).into();
        let value = zero(series.metric);
        let sample = Sample { series: Arc::clone(series), labels, created, value, exemplars: Vec::new() };
        let entry = Some(Entry { sample, key: key.clone(), last: at });
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.slots.get_mut(slot)? = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() - 1
            }
        };
        self.by_text.get_mut(series.metric as usize)?.insert(key, slot);
        Some(slot)
    }

    fn gain(&mut self, slot: usize, gain: &Gain, at: Nanos) {
        let Some(Some(entry)) = self.slots.get_mut(slot) else { return };
        entry.last = entry.last.max(at);
        match (&mut entry.sample.value, gain) {
            (Value::Count(total), Gain::Count(n)) => *total = total.saturating_add(*n),
            (Value::Histogram { buckets, sum, count }, Gain::Histogram(gain)) => {
                for (total, n) in buckets.iter_mut().zip(gain.buckets) {
                    *total = total.saturating_add(n);
                }
                *sum = sum.saturating_add(gain.sum);
                *count = count.saturating_add(gain.count);
            }
            (Value::Count(_), Gain::Histogram(_)) | (Value::Histogram { .. }, Gain::Count(_)) => {
                debug_assert!(false, "a gain of the other kind than its metric");
            }
        }
    }

    fn sweep(&mut self, now: Nanos, expiry: Nanos) {
        for slot in 0..self.slots.len() {
            let Some(place) = self.slots.get_mut(slot) else { continue };
            if let Some(entry) = place {
                self.stats.exemplars.kept -= exemplar::forget_old(&mut entry.sample.exemplars, now);
            }
            let old = |entry: &mut Entry| now.since(entry.last) > expiry;
            let Some(entry) = place.take_if(old) else { continue };
            self.stats.exemplars.kept -= entry.sample.exemplars.len() as u64;
            if let Some(family) = self.by_text.get_mut(entry.sample.series.metric as usize) {
                family.remove(&entry.key);
            }
            self.free.push(slot);
            self.stats.expired += 1;
        }
        // An address is forgotten no later than its series: `last` of a series is the newest of its addresses.
        self.by_address.retain(|_, known| {
            debug_assert!(Arc::strong_count(&known.series) > 0);
            now.since(known.last) <= expiry
        });
    }
}

fn zero(metric: Metric) -> Value {
    match metric.entry().kind {
        redtap_stages::metric::Kind::Counter => Value::Count(0),
        redtap_stages::metric::Kind::Histogram(_) => {
            Value::Histogram { buckets: [0; MAX_BUCKETS + 1], sum: 0, count: 0 }
        }
    }
}

impl crate::topology::PublicationSink for Registry {
    fn publish(&self, _shard: usize, publication: Publication) {
        Self::publish(self, &publication);
    }
}
