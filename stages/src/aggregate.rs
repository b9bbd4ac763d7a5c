//! Stage `aggregate`: counts exchanges in series, and says once a second what each gained.
//!
//! Every exchange increments the count of exactly one duration histogram; edges of the service graph are counted beside
//! it. A series is found by numbers (`labels::SeriesKey`), or remembered (`places`); its labels are made once. Series have two bounds, of one
//! service and of the shard; past them an exchange is counted in the overflow series of its metric and service (all labels
//! `_overflow`), and [`Aggregate::overflowed`] says how many were.
//!
//! An exchange of a connection that sampling lets stand for others is counted as many times
//! ([`crate::flow::exchange::Exchange::weight`]); what a gain was made of is said beside it.
//!
//! An exchange is *held* from when it is counted until the gain is emitted. Series that gain nothing for
//! [`limits::SERIES_IDLE`] leave the table after their gain was emitted, so that nothing is lost.
//!
//! Labels: an HTTP status that could not be read is the code `unknown`; an exchange without an answer has no code but an
//! `error.type` (`reset`, `closed`, `timeout`). Its duration is the time until redtap knew. Absent: cumulative values,
//! rendering, and time of its own.

mod edges;
mod histogram;
mod labels;
mod places;

use crate::flow::delta::{Delta, Gain, Series};
use crate::flow::joined::Joined;
use crate::limits;
use crate::metric::{Metric, Source};
use crate::stage::{Ledger, Stage};
use crate::symbol::{Interner, Symbol, SymbolKey};
use crate::time::Nanos;
use edges::Edges;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use histogram::Histogram;
use labels::SeriesKey;
use places::{Place, Places};
use std::sync::Arc;

/// Least time between two emissions. Half of flush's, so that what it publishes is never two seconds old.
const EMIT_INTERVAL: Nanos = Nanos::from_millis(500);
/// How often idle series are looked for.
const SWEEP_INTERVAL: Nanos = Nanos::from_secs(60);
/// Words that aggregate adds: ports and fixed values.
const MAX_WORDS: usize = 65_536 + 64;

/// Bounds of the series table.
#[derive(Debug, Clone)]
pub struct AggregateSettings {
    /// Series of one service.
    pub series_per_service: usize,
    /// Series in all.
    pub max_series: usize,
    /// Also count edges from a service to itself.
    pub self_edges: bool,
}

impl Default for AggregateSettings {
    fn default() -> Self {
        Self { series_per_service: limits::SERIES_PER_SERVICE, max_series: limits::MAX_SERIES, self_edges: false }
    }
}

crate::reasons! {
    /// Why an exchange is not counted.
    pub enum AggregateReject {
        /// There is no metric for its protocol.
        Protocol => "protocol",
    }
}

/// What an exchange was observed as.
#[derive(Debug)]
pub struct Observation {
    /// In which series, unless a bound had it counted in an overflow series.
    pub series: Series,
    /// What was observed.
    pub duration: Nanos,
    /// In which bucket of that series.
    pub bucket: usize,
}

impl Observation {
    /// Of an exchange that was known to be over at `known`; `None` where there is no metric for it. Words that are no symbols of the exchange
    /// are kept in `words`. Allocates: not for the data path.
    #[must_use]
    pub fn of(joined: &Joined, known: Nanos, words: &mut Interner) -> Option<Self> {
        let exchange = &joined.converged.exchange;
        let metric = labels::metric(exchange)?;
        let key = SeriesKey::of(metric, joined);
        let labels = labels::labels(joined, &key, words);
        let duration = labels::duration(exchange, known);
        let series = Series { metric, service: joined.parties.service.clone(), labels };
        Some(Self { series, duration, bucket: histogram::bucket(histogram::bounds(metric), duration) })
    }
}

#[derive(Debug)]
struct Slot {
    key: SeriesKey,
    series: Arc<Series>,
    histogram: Histogram,
    last: Nanos,
    dirty: bool,
}

/// The stage.
#[derive(Debug)]
pub struct Aggregate {
    settings: AggregateSettings,
    by_key: HashMap<SeriesKey, usize, RandomState>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    dirty: Vec<usize>,
    of_service: HashMap<SymbolKey, usize, RandomState>,
    overflow_series: usize,
    overflowed: u64,
    edges: Edges,
    places: Places,
    words: Interner,
    emitted_at: Nanos,
    swept_at: Nanos,
    ledger: Ledger,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self::new()
    }
}

impl Aggregate {
    /// An empty table with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::with(AggregateSettings::default())
    }

    /// An empty table.
    #[must_use]
    pub fn with(settings: AggregateSettings) -> Self {
        let mut words = Interner::with_capacity(MAX_WORDS);
        Self {
            edges: Edges::new(&mut words, settings.self_edges),
            places: Places::new(),
            words,
            settings,
            by_key: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            of_service: HashMap::default(),
            overflow_series: 0,
            overflowed: 0,
            emitted_at: Nanos::ZERO,
            swept_at: Nanos::ZERO,
            ledger: Ledger::new::<AggregateReject>(),
        }
    }

    /// Series in the table, the overflow ones and the three of each edge included.
    #[must_use]
    pub fn series(&self) -> usize {
        self.by_key.len() + 3 * self.edges.len()
    }

    /// Exchanges that were counted in an overflow series or on the overflow edge because a bound was reached.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed + self.edges.overflowed()
    }

    fn count(&mut self, now: Nanos, joined: &Joined) {
        let exchange = &joined.converged.exchange;
        let Some(metric) = labels::metric(exchange) else {
            self.ledger.reject(AggregateReject::Protocol, 1);
            return;
        };
        let duration = labels::duration(exchange, now);
        let place = self.places.find(joined).unwrap_or_else(|| self.place(metric, joined));
        let at = place.series;
        let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut) else {
            debug_assert!(false, "an index of the table without a slot");
            return;
        };
        slot.histogram.observe(histogram::bounds(metric), duration, exchange.weight());
        slot.last = now;
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(at);
        }
        self.ledger.held += 1;
        if let Some(edge) = place.edge {
            self.edges.count(now, edge, joined, duration);
        }
    }

    /// Where `joined` is counted; remembered, unless a bound was reached.
    fn place(&mut self, metric: Metric, joined: &Joined) -> Place {
        let overflowed = self.overflowed();
        let place = Place { series: self.find(metric, joined), edge: self.edges.find(joined) };
        if self.overflowed() == overflowed {
            self.places.put(joined, place);
        }
        place
    }

    /// Index of the slot in which `joined` is counted.
    fn find(&mut self, metric: Metric, joined: &Joined) -> usize {
        let key = SeriesKey::of(metric, joined);
        if let Some(&at) = self.by_key.get(&key) {
            return at;
        }
        let used = self.by_key.len() - self.overflow_series;
        let of_service = self.of_service.get(&key.service).copied().unwrap_or(0);
        if used < self.settings.max_series && of_service < self.settings.series_per_service {
            let labels = labels::labels(joined, &key, &mut self.words);
            *self.of_service.entry(key.service).or_insert(0) += 1;
            return self.insert(key, joined.parties.service.clone(), labels);
        }
        self.overflowed += 1;
        self.find_overflow(metric, joined)
    }

    fn find_overflow(&mut self, metric: Metric, joined: &Joined) -> usize {
        let own = SeriesKey::overflow(metric, joined.parties.service.key());
        if let Some(&at) = self.by_key.get(&own) {
            return at;
        }
        let room = self.overflow_series < limits::MAX_OVERFLOW_SERIES;
        let (key, service) = if room {
            (own, joined.parties.service.clone())
        } else {
            (SeriesKey::overflow(metric, SymbolKey::OVERFLOW), self.words.overflow())
        };
        if let Some(&at) = self.by_key.get(&key) {
            return at;
        }
        let all = self.words.overflow();
        // Not what other series may do without.
        let named = metric.entry().labels.iter();
        let named = named.filter(|label| !matches!(label.source, Source::Fault | Source::Version));
        let labels = named.map(|label| (label.name, all.clone())).collect();
        self.overflow_series += 1;
        self.insert(key, service, labels)
    }

    fn insert(&mut self, key: SeriesKey, service: Symbol, labels: Vec<(&'static str, Symbol)>) -> usize {
        let series = Arc::new(Series { metric: key.metric, service, labels });
        let slot = Slot { key, series, histogram: Histogram::EMPTY, last: Nanos::ZERO, dirty: false };
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(place) = self.slots.get_mut(at) {
            *place = Some(slot);
        }
        self.by_key.insert(key, at);
        at
    }

    fn emit(&mut self, now: Nanos, out: &mut Vec<Delta>) {
        self.emitted_at = now;
        let before = out.len();
        for at in self.dirty.drain(..) {
            let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut) else { continue };
            slot.dirty = false;
            if let Some(gain) = slot.histogram.take() {
                out.push(Delta { series: Arc::clone(&slot.series), gain: Gain::Histogram(gain) });
            }
        }
        self.edges.emit(out);
        self.ledger.passed += self.ledger.held;
        self.ledger.held = 0;
        self.ledger.emitted += u64::try_from(out.len() - before).unwrap_or(0);
        debug_assert!(self.ledger.balances());
    }

    /// Takes series out that gained nothing for long. Called after `emit`, so none of them has a gain.
    fn sweep(&mut self, now: Nanos) {
        self.swept_at = now;
        self.places.clear();
        for (at, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place else { continue };
            if slot.dirty || now.since(slot.last) < limits::SERIES_IDLE {
                continue;
            }
            self.by_key.remove(&slot.key);
            self.free.push(at);
            if slot.key.method == SymbolKey::OVERFLOW {
                self.overflow_series -= 1;
            } else if let Entry::Occupied(mut count) = self.of_service.entry(slot.key.service) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            *place = None;
        }
        self.edges.expire(now, limits::SERIES_IDLE);
    }
}

impl Stage for Aggregate {
    type In = Vec<Joined>;
    type Out = Vec<Delta>;
    const NAME: &'static str = "aggregate";

    fn process(&mut self, now: Nanos, input: &mut Vec<Joined>, _out: &mut Vec<Delta>) {
        for joined in input.drain(..) {
            self.ledger.taken += 1;
            self.count(now, &joined);
        }
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<Delta>) {
        if now.since(self.emitted_at) >= EMIT_INTERVAL {
            self.emit(now, out);
        }
        if now.since(self.swept_at) >= SWEEP_INTERVAL && self.dirty.is_empty() {
            self.sweep(now);
        }
    }

    fn drain(&mut self, now: Nanos, out: &mut Vec<Delta>) {
        self.emit(now, out);
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}
