//! What was gathered, as batches ready to be kept: labels ordered, unique and not empty, series hashed to shards, markers
//! for series that ended.
//!
//! Pure: the time is that of what was gathered, and no series is given a time that is not newer than what the receiver has of it
//! (remote write 1.0 and 2.0, "Ordering"): when the wall clock was set back, nothing is made until it has caught up. A clock that was [`FAR_MS`] or
//! more ahead is the exception: then the caller says that what was sent counts no longer ([`super::queue::Queue::believe`]).
//!
//! Bound: what it remembers of series is one entry each, so at most the registry's ([`crate::registry::MAX_SERIES`], [`crate::registry::MAX_TARGETS`]) and the agent's own.

use super::encode::pack;
use super::wire::{MetricKind, STALE, Symbols, v2};
use crate::export::Gathered;
use crate::registry::{Exemplar, Value, parse_labels};
use crate::self_metrics;
use bytes::Bytes;
use redtap_stages::metric::{Kind, TABLE, Unit};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Schema of native histograms with bounds of one's own.
const CUSTOM_BUCKETS: i32 = -53;
/// How far, in milliseconds, the clock may be behind what was sent for samples to be moved ahead of it: two rounds in one moment (the last
/// follows its predecessor at once), a clock that is slewed.
const NEAR_MS: i64 = 1_000;
/// From so many milliseconds on, what was sent was so far ahead that most receivers refused it (Prometheus: what is ten minutes ahead), and
/// waiting for the clock to catch up would take too long: samples go with their own times, and the receiver is the judge.
pub(super) const FAR_MS: i64 = 15 * 60 * 1_000;
/// Between names and values of packed labels; in no UTF-8 text.
const END: u8 = 0xff;

/// Samples on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Which of the queues.
    pub(super) shard: u16,
    /// How many samples.
    pub(super) samples: u32,
    /// Of all of them, milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// Made by [`pack`].
    pub(super) packed: Bytes,
}

/// What came of a round.
#[derive(Debug)]
pub(super) enum Collected {
    /// In order of time.
    Batches(Vec<Batch>),
    /// The clock is behind what the receiver has: nothing can be sent in order.
    Behind {
        /// So many samples.
        samples: u64,
        /// How far it is behind, milliseconds.
        by_ms: i64,
    },
}

/// How series are made.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) external: BTreeMap<String, String>,
    /// A histogram counts as one sample, else as many as it has classic series.
    pub(super) native: bool,
    pub(super) max_samples: usize,
    pub(super) shards: u16,
    /// When the agent began to count, milliseconds since the epoch.
    pub(super) began_ms: i64,
}

impl Shape {
    /// So many samples is one of a metric with these bounds: a bucket for each and for +Inf, sum and count.
    fn weight(&self, bounds: Option<&[f64]>) -> usize {
        bounds.filter(|_| !self.native).map_or(1, |bounds| bounds.len() + 3)
    }
}

/// Makes batches; remembers which series there are.
#[derive(Debug)]
pub(super) struct Collector {
    shape: Arc<Shape>,
    known: HashMap<Box<[u8]>, Known>,
    round: u64,
    last_ms: i64,
}

/// A series that was sent.
#[derive(Debug, Clone)]
struct Known {
    round: u64,
    about: About,
    /// Time of the newest exemplar of each bucket, which is a series: receivers refuse what is older. A native histogram is one series
    /// and has one. Empty until there is an exemplar.
    exemplars_ms: Vec<u64>,
}

/// What is the same for all series of a metric.
#[derive(Debug, Clone, Copy)]
struct About {
    kind: MetricKind,
    help: &'static str,
    unit: &'static str,
    bounds: Option<&'static [f64]>,
}

/// The value of a series.
#[derive(Debug, Clone, Copy)]
enum Point<'a> {
    Number(f64),
    Histogram { buckets: &'a [u64], sum: f64, count: u64, exemplars: &'a [Exemplar] },
    Ended,
}

impl Collector {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape: Arc::new(shape), known: HashMap::new(), round: 0, last_ms: 0 }
    }

    /// All series as of now, and markers for those that are gone. `newest_ms`: the newest time that the receiver has, or will have.
    pub(super) fn collect(&mut self, gathered: &Gathered, newest_ms: i64) -> Collected {
        let by_ms = newest_ms.saturating_sub(gathered.at_ms);
        if by_ms >= NEAR_MS {
            // What is known stays: series that end meanwhile are marked afterwards.
            return Collected::Behind { samples: self.count(gathered), by_ms };
        }
        self.round += 1;
        self.last_ms = gathered.at_ms.max(newest_ms.saturating_add(1));
        let mut makers = Makers::new(Arc::clone(&self.shape), self.last_ms);
        self.traffic(gathered, &mut makers);
        self.targets(gathered, &mut makers);
        self.own(gathered, &mut makers);
        let round = self.round;
        self.known.retain(|labels, known| {
            if known.round != round {
                makers.add(labels, known.about, Point::Ended, 0);
            }
            known.round == round
        });
        Collected::Batches(makers.finish())
    }

    /// Markers for all series: nothing more comes of this agent. They follow what the receiver has, also if the clock is behind it.
    pub(super) fn end(&mut self, newest_ms: i64) -> Vec<Batch> {
        self.last_ms = self.last_ms.max(newest_ms).saturating_add(1);
        let mut makers = Makers::new(Arc::clone(&self.shape), self.last_ms);
        for (labels, known) in self.known.drain() {
            makers.add(&labels, known.about, Point::Ended, 0);
        }
        makers.finish()
    }

    /// Samples in what was gathered.
    fn count(&self, gathered: &Gathered) -> u64 {
        let families = TABLE.iter().zip(&gathered.traffic.families).map(|(entry, family)| {
            let bounds = if let Kind::Histogram(bounds) = entry.kind { Some(bounds) } else { None };
            family.len() * self.shape.weight(bounds)
        });
        (families.sum::<usize>() + gathered.traffic.targets.len() + gathered.own.len()) as u64
    }

    fn traffic(&mut self, gathered: &Gathered, makers: &mut Makers) {
        for (entry, family) in TABLE.iter().zip(&gathered.traffic.families) {
            let (kind, bounds) = match entry.kind {
                Kind::Counter => (MetricKind::Counter, None),
                Kind::Histogram(bounds) => (MetricKind::Histogram, Some(bounds)),
            };
            let unit = if entry.unit == Unit::Seconds { "seconds" } else { "" };
            let about = About { kind, help: entry.help, unit, bounds };
            for sample in family {
                let start = u128::from(sample.created.0) + u128::from(gathered.traffic.wall_offset);
                let start = i64::try_from(start / 1_000_000).unwrap_or(0);
                let point = match &sample.value {
                    Value::Count(count) => Point::Number(float(u128::from(*count))),
                    Value::Histogram { buckets, sum, count } => {
                        let scale = if entry.unit == Unit::Seconds { 1e9 } else { 1.0 };
                        let exemplars = sample.exemplars.as_slice();
                        Point::Histogram { buckets, sum: float(*sum) / scale, count: *count, exemplars }
                    }
                };
                let labels = parse_labels(&sample.labels);
                let labels = labels.iter().map(|(name, value)| (*name, value.as_ref()));
                self.series(entry.prometheus, labels, about, point, start, makers);
            }
        }
    }

    fn targets(&mut self, gathered: &Gathered, makers: &mut Makers) {
        let help = "Attributes of the services that are watched.";
        let about = About { kind: MetricKind::Gauge, help, unit: "", bounds: None };
        for target in &gathered.traffic.targets {
            let labels = parse_labels(target);
            let labels = labels.iter().map(|(name, value)| (*name, value.as_ref()));
            self.series("target_info", labels, about, Point::Number(1.0), 0, makers);
        }
    }

    fn own(&mut self, gathered: &Gathered, makers: &mut Makers) {
        for sample in &gathered.own {
            let help = self_metrics::help(&sample.name);
            let kind = if sample.counter { MetricKind::Counter } else { MetricKind::Gauge };
            let about = About { kind, help, unit: "", bounds: None };
            let labels = sample.labels.iter().map(|(name, value)| (*name, value.as_str()));
            let start = if sample.counter { self.shape.began_ms } else { 0 };
            self.series(&sample.name, labels, about, Point::Number(sample.value), start, makers);
        }
    }

    fn series<'a>(
        &mut self,
        name: &str,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        about: About,
        point: Point<'_>,
        start_ms: i64,
        makers: &mut Makers,
    ) {
        let labels = packed_labels(name, labels, &self.shape.external);
        let round = self.round;
        let known = self.known.entry(labels.clone()).or_insert(Known { round: 0, about, exemplars_ms: Vec::new() });
        // A series that is there twice would be refused as a whole request.
        if known.round != round {
            known.round = round;
            let Point::Histogram { buckets, sum, count, exemplars } = point else {
                makers.add(&labels, about, point, start_ms);
                return;
            };
            let exemplars = newer(exemplars, &mut known.exemplars_ms, self.shape.native);
            makers.add(&labels, about, Point::Histogram { buckets, sum, count, exemplars: &exemplars }, start_ms);
        }
    }
}

/// Those that were not sent yet, in order of time. Of a native histogram, which is one series, the newest: a request that is sent again would
/// be refused for the others.
fn newer(exemplars: &[Exemplar], than_ms: &mut Vec<u64>, native: bool) -> Vec<Exemplar> {
    let place = |one: &Exemplar| if native { 0 } else { one.bucket };
    let is_newer = |one: &&Exemplar| one.at_ms > than_ms.get(place(one)).copied().unwrap_or(0);
    let mut newer: Vec<Exemplar> = exemplars.iter().filter(is_newer).copied().collect();
    newer.sort_by_key(|one| one.at_ms);
    if native {
        newer.drain(..newer.len().saturating_sub(1));
    }
    for one in &newer {
        let place = place(one);
        if than_ms.len() <= place {
            than_ms.resize(place + 1, 0);
        }
        if let Some(mark) = than_ms.get_mut(place) {
            *mark = one.at_ms;
        }
    }
    newer
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn float(value: u128) -> f64 {
    value as f64
}

/// Ordered by name, each name once, none empty: name, [`END`], value, [`END`], and so on.
fn packed_labels<'a>(
    name: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    external: &BTreeMap<String, String>,
) -> Box<[u8]> {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([("__name__", name)]);
    for (name, value) in labels.filter(|(name, value)| !name.is_empty() && !value.is_empty()) {
        all.entry(name).or_insert(value);
    }
    for (name, value) in external.iter().filter(|(_, value)| !value.is_empty()) {
        all.entry(name).or_insert(value);
    }
    let mut packed = Vec::with_capacity(256);
    for (name, value) in all {
        packed.extend_from_slice(name.as_bytes());
        packed.push(END);
        packed.extend_from_slice(value.as_bytes());
        packed.push(END);
    }
    packed.into_boxed_slice()
}

/// A maker of batches for each shard.
struct Makers {
    shape: Arc<Shape>,
    at_ms: i64,
    open: Vec<Maker>,
    done: Vec<Batch>,
}

#[derive(Default)]
struct Maker {
    symbols: Symbols,
    timeseries: Vec<v2::TimeSeries>,
    samples: usize,
}

impl Makers {
    fn new(shape: Arc<Shape>, at_ms: i64) -> Self {
        let open = (0..shape.shards.max(1)).map(|_| Maker::default()).collect();
        Self { shape, at_ms, open, done: Vec::new() }
    }

    fn add(&mut self, labels: &[u8], about: About, point: Point<'_>, start_ms: i64) {
        let weight = self.shape.weight(about.bounds);
        let shard = crc32fast::hash(labels) % u32::from(self.shape.shards.max(1));
        let Some(maker) = self.open.get_mut(shard as usize) else { return };
        let shard = u16::try_from(shard).unwrap_or(0);
        if maker.samples + weight > self.shape.max_samples {
            self.done.extend(std::mem::take(maker).batch(shard, self.at_ms));
        }
        maker.add(labels, about, point, self.at_ms, start_ms);
        maker.samples += weight;
    }

    fn finish(self) -> Vec<Batch> {
        let mut done = self.done;
        for (shard, maker) in self.open.into_iter().enumerate() {
            done.extend(maker.batch(u16::try_from(shard).unwrap_or(0), self.at_ms));
        }
        done
    }
}

impl Maker {
    fn add(&mut self, labels: &[u8], about: About, point: Point<'_>, timestamp: i64, start_timestamp: i64) {
        let texts = labels.split(|&byte| byte == END).filter_map(|text| std::str::from_utf8(text).ok());
        // The last is the nothing after the last END.
        let mut labels_refs: Vec<u32> = texts.map(|text| self.symbols.number(text)).collect();
        labels_refs.pop();
        let metadata = v2::Metadata {
            kind: about.kind.into(),
            help_ref: self.symbols.number(about.help),
            unit_ref: self.symbols.number(about.unit),
        };
        let (mut samples, mut histograms, mut told) = (Vec::new(), Vec::new(), Vec::new());
        match (point, about.bounds) {
            (Point::Number(value), _) => samples.push(v2::Sample { value, timestamp, start_timestamp }),
            (Point::Ended, None) => samples.push(v2::Sample { value: STALE, timestamp, start_timestamp }),
            (Point::Ended, Some(bounds)) => {
                histograms.push(histogram(bounds, &[], STALE, 0, timestamp, start_timestamp));
            }
            (Point::Histogram { buckets, sum, count, exemplars }, bounds) => {
                told.extend(exemplars.iter().map(|one| self.exemplar(one)));
                histograms.push(histogram(bounds.unwrap_or_default(), buckets, sum, count, timestamp, start_timestamp));
            }
        }
        let metadata = Some(metadata);
        self.timeseries.push(v2::TimeSeries { labels_refs, samples, histograms, exemplars: told, metadata });
    }

    fn exemplar(&mut self, one: &Exemplar) -> v2::Exemplar {
        let labels = [("span_id", one.span.to_string()), ("trace_id", one.trace.to_string())];
        let numbers = labels.iter().flat_map(|(name, value)| [self.symbols.number(name), self.symbols.number(value)]);
        let labels_refs = numbers.collect();
        let timestamp = i64::try_from(one.at_ms).unwrap_or(i64::MAX);
        v2::Exemplar { labels_refs, value: float(u128::from(one.value.0)) / 1e9, timestamp }
    }

    fn batch(self, shard: u16, at_ms: i64) -> Option<Batch> {
        if self.timeseries.is_empty() {
            return None;
        }
        let samples = u32::try_from(self.samples).unwrap_or(u32::MAX);
        let request = v2::Request { symbols: self.symbols.into_list(), timeseries: self.timeseries };
        Some(Batch { shard, samples, at_ms, packed: pack(&request) })
    }
}

fn histogram(
    bounds: &[f64],
    buckets: &[u64],
    sum: f64,
    count: u64,
    timestamp: i64,
    start_timestamp: i64,
) -> v2::Histogram {
    let mut before = 0_i64;
    let deltas: Vec<i64> = buckets
        .iter()
        .take(bounds.len() + 1)
        .map(|&count| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            count - std::mem::replace(&mut before, count)
        })
        .collect();
    let length = u32::try_from(deltas.len()).unwrap_or(0);
    let spans = if length == 0 { Vec::new() } else { vec![v2::Span { offset: 0, length }] };
    v2::Histogram {
        count: Some(count),
        sum,
        schema: CUSTOM_BUCKETS,
        spans,
        deltas,
        timestamp,
        bounds: bounds.to_vec(),
        start_timestamp,
    }
}

#[cfg(test)]
mod tests;
