//! Metrics: what was gathered, as OTLP's metrics.
//!
//! One resource a service; the edges of the service graph and the agent's own metrics are of the agent
//! ([`super::resources`]). Names, units, bounds and attributes are those of [`redtap_stages::metric::TABLE`]. Histograms have explicit
//! bounds: observations are counted in buckets when they are made, and what lies inside of a bucket is not known, so
//! exponential ones could only be invented.
//!
//! Temporality: cumulative says what a series has counted since it began; delta says what it gained since the last time, and
//! nothing where that is nothing. A series that the registry forgot is not sent any more; it had gained nothing since long
//! before (`otlp.interval` is at most half of `series.expiry`), so in delta nothing of it is lost.
//!
//! Bounds: [`MAX_POINTS`] a request; the state of delta is that of the registry's series. Absent: clocks, sending.

mod point;

use super::resources::Resources;
use super::wire::{
    Data, ExportMetricsServiceRequest, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Resource,
    ResourceMetrics, SCHEMA_URL, ScopeMetrics, Sum, scope,
};
use crate::export::Gathered;
use crate::export::OwnSample;
use crate::registry::{Sample, Value};
use point::{Span, histogram, number, own};
use redtap_stages::metric::{Entry, Kind, TABLE, Unit};
use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

pub(super) use super::wire::AggregationTemporality as Temporality;

/// Most data points of one request: about 2 MB before compression.
pub(super) const MAX_POINTS: usize = 4_096;

/// A request, ready to be encoded, and how many data points it holds.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) message: ExportMetricsServiceRequest,
    pub(super) points: u64,
}

/// Makes requests of what is gathered from time to time.
#[derive(Debug)]
pub(super) struct Mapping {
    temporality: Temporality,
    resources: Resources,
    /// Namespaces of services as they were first said.
    namespaces: HashMap<String, Box<str>>,
    /// When the agent began to count, nanoseconds since the epoch.
    started: u64,
    /// When it was last gathered.
    last: Option<u64>,
    /// What series had counted by then (delta only), by the address of their labels.
    series: HashMap<usize, Before>,
    /// The same of the agent's own counters.
    own: HashMap<String, f64>,
}

/// What a series had counted. Keeps its labels alive, so that their address is not used again.
#[derive(Debug)]
struct Before {
    labels: Arc<str>,
    value: Value,
}

/// One data point and where it belongs.
#[derive(Debug)]
enum Point {
    Count(NumberDataPoint),
    Gauge(NumberDataPoint),
    Histogram(HistogramDataPoint),
}

/// What tells metrics apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Family {
    name: String,
    unit: &'static str,
    help: &'static str,
}

impl Mapping {
    /// `started` is when the agent began to count, nanoseconds since the epoch.
    pub(super) fn new(temporality: Temporality, resources: Resources, started: u64) -> Self {
        let (series, own, namespaces) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { temporality, resources, namespaces, started, last: None, series, own }
    }

    /// Hands the requests for what was gathered to `take`, one after the other, so that never more than one is in memory.
    pub(super) fn map(&mut self, gathered: &Gathered, mut take: impl FnMut(Request)) {
        let at = u64::try_from(gathered.at_ms).unwrap_or(0).saturating_mul(1_000_000);
        // A clock that was set back must not make a stretch of time end before it begins.
        let at = at.max(self.last.map_or(0, |last| last.saturating_add(1)));
        let mut seen = HashMap::new();
        let mut requests = Requests::new(self.temporality, &mut take);
        let by_service = by_service(gathered);
        // No more are remembered than there are: a service that has no series any more may begin anew.
        let there: HashSet<&str> = by_service.iter().filter_map(|(service, _)| *service).collect();
        self.namespaces.retain(|service, _| there.contains(service.as_str()));
        for (service, samples) in by_service {
            let resource = match service {
                Some(service) => self.resources.of_metrics(service, &gathered.traffic.identities, &mut self.namespaces),
                None => self.resources.agent(),
            };
            for (entry, sample) in samples {
                let point = self.point(entry, sample, at, gathered.traffic.wall_offset, service.is_none());
                if self.temporality == Temporality::Delta {
                    let before = Before { labels: Arc::clone(&sample.labels), value: sample.value.clone() };
                    seen.insert(address(&before.labels), before);
                }
                if let Some(point) = point {
                    requests.add(&resource, family(entry), point);
                }
            }
        }
        let agent = self.resources.agent();
        for sample in &gathered.own {
            if let Some(point) = self.own_point(sample, at) {
                requests.add(&agent, own::family(sample), point);
            }
        }
        requests.end();
        self.series = seen;
        self.last = Some(at);
    }

    /// The point of a series; `None`: it has nothing to say.
    fn point(&self, entry: &Entry, sample: &Sample, at: u64, wall_offset: u64, of_agent: bool) -> Option<Point> {
        let created = sample.created.0.saturating_add(wall_offset);
        let before = self.series.get(&address(&sample.labels)).map(|before| &before.value);
        let begin = match (self.temporality, self.last) {
            (Temporality::Delta, Some(last)) => last.max(created),
            _ => created,
        };
        let span = Span { begin: begin.min(at), end: at };
        match (&sample.value, before) {
            (Value::Count(count), before) => {
                let before = if let Some(Value::Count(before)) = before { *before } else { 0 };
                let gained = count.saturating_sub(before);
                let nothing = self.temporality == Temporality::Delta && gained == 0;
                (!nothing).then(|| Point::Count(number(&sample.series, gained, span, of_agent)))
            }
            (value @ Value::Histogram { .. }, before) => {
                let Kind::Histogram(bounds) = entry.kind else { return None };
                let point = histogram(&sample.series, bounds, value, before, span, of_agent)?;
                let nothing = self.temporality == Temporality::Delta && point.count == 0;
                (!nothing).then_some(Point::Histogram(point))
            }
        }
    }

    fn own_point(&mut self, sample: &OwnSample, at: u64) -> Option<Point> {
        if !sample.counter {
            return Some(Point::Gauge(own::point(sample, sample.value, Span { begin: 0, end: at })));
        }
        if self.temporality != Temporality::Delta {
            let span = Span { begin: self.started.min(at), end: at };
            return Some(Point::Count(own::point(sample, sample.value, span)));
        }
        let before = self.own.insert(own::key(sample), sample.value).unwrap_or(0.0);
        let gained = sample.value - before;
        let span = Span { begin: self.last.unwrap_or(self.started).min(at), end: at };
        (gained > 0.0).then(|| Point::Count(own::point(sample, gained, span)))
    }
}

fn address(labels: &Arc<str>) -> usize {
    labels.as_ptr().addr()
}

/// Series of one service in the order of the table; `None` is the agent.
type OfService<'a> = (Option<&'a str>, Vec<(&'static Entry, &'a Sample)>);

/// All series by the service that they are of. Edges are of no service alone, so they are the agent's, which comes last.
fn by_service(gathered: &Gathered) -> Vec<OfService<'_>> {
    let mut all: Vec<(Option<&str>, usize, &Sample)> = Vec::new();
    for (place, (entry, family)) in TABLE.iter().zip(&gathered.traffic.families).enumerate() {
        let edge = entry.has(redtap_stages::metric::Source::Edge);
        all.extend(family.iter().map(|sample| ((!edge).then(|| sample.series.service.as_str()), place, sample)));
    }
    // Stable: within a family the order of the snapshot stays.
    all.sort_by_key(|&(service, place, _)| (service.is_none(), service, place));
    let mut grouped: Vec<OfService<'_>> = Vec::new();
    for (service, place, sample) in all {
        let Some(entry) = TABLE.get(place) else { continue };
        match grouped.last_mut() {
            Some((last, samples)) if *last == service => samples.push((entry, sample)),
            _ => grouped.push((service, vec![(entry, sample)])),
        }
    }
    grouped
}

fn family(entry: &Entry) -> Family {
    let unit = match entry.unit {
        Unit::Seconds => "s",
        Unit::Count => "{request}",
    };
    Family { name: entry.otel.to_owned(), unit, help: entry.help }
}

/// Requests in the making: what belongs to one resource and one metric comes one after the other.
struct Requests<'a, F> {
    temporality: Temporality,
    take: &'a mut F,
    resources: Vec<ResourceMetrics>,
    metrics: Vec<Metric>,
    open: Option<(Resource, Family)>,
    points: Vec<Point>,
    count: usize,
}

impl<'a, F: FnMut(Request)> Requests<'a, F> {
    fn new(temporality: Temporality, take: &'a mut F) -> Self {
        let (resources, metrics, points) = (Vec::new(), Vec::new(), Vec::new());
        Self { temporality, take, resources, metrics, open: None, points, count: 0 }
    }

    fn add(&mut self, resource: &Resource, family: Family, point: Point) {
        if self.count >= MAX_POINTS {
            self.end();
        }
        let (same_resource, same_family) = match &self.open {
            Some((open, metric)) => (open == resource, *metric == family),
            None => (true, true),
        };
        if !same_family || !same_resource {
            self.close_metric();
        }
        if !same_resource {
            self.close_resource();
        }
        if !same_family || !same_resource || self.open.is_none() {
            self.open = Some((resource.clone(), family));
        }
        self.points.push(point);
        self.count += 1;
    }

    fn close_metric(&mut self) {
        let points = mem::take(&mut self.points);
        let Some((_, family)) = &self.open else { return };
        if points.is_empty() {
            return;
        }
        self.metrics.push(Metric {
            name: family.name.clone(),
            description: family.help.to_owned(),
            unit: family.unit.to_owned(),
            data: Some(data(points, self.temporality)),
            ..Metric::default()
        });
    }

    fn close_resource(&mut self) {
        let metrics = mem::take(&mut self.metrics);
        let Some((resource, _)) = &self.open else { return };
        if metrics.is_empty() {
            return;
        }
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA_URL.to_owned() }];
        let schema_url = SCHEMA_URL.to_owned();
        self.resources.push(ResourceMetrics { resource: Some(resource.clone()), scope_metrics, schema_url });
    }

    /// Hands over what there is.
    fn end(&mut self) {
        self.close_metric();
        self.close_resource();
        self.open = None;
        let points = mem::take(&mut self.count) as u64;
        let resource_metrics = mem::take(&mut self.resources);
        if points > 0 {
            (self.take)(Request { message: ExportMetricsServiceRequest { resource_metrics }, points });
        }
    }
}

/// The points of one metric, which are all of one kind.
fn data(points: Vec<Point>, temporality: Temporality) -> Data {
    let (mut counts, mut gauges, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
    for point in points {
        match point {
            Point::Count(point) => counts.push(point),
            Point::Gauge(point) => gauges.push(point),
            Point::Histogram(point) => histograms.push(point),
        }
    }
    let aggregation_temporality = temporality.into();
    if !histograms.is_empty() {
        Data::Histogram(Histogram { data_points: histograms, aggregation_temporality })
    } else if gauges.is_empty() {
        Data::Sum(Sum { data_points: counts, aggregation_temporality, is_monotonic: true })
    } else {
        Data::Gauge(Gauge { data_points: gauges })
    }
}

#[cfg(test)]
mod tests;
