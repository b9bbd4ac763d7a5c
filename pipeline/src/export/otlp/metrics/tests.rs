//! Mapping of what real publications left in a registry.

use super::*;
use crate::export::otlp::wire::{KeyValue, Number, as_text, whole};
use crate::registry::{Registry, RegistrySettings};
use redtap_stages::flow::delta::{Delta, Gain, HistogramGain, Publication, Series};
use redtap_stages::metric::{MAX_BUCKETS, Metric as Traffic};
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;

const WALL: u64 = 1_700_000_000_000_000_000;

struct Bench {
    registry: Registry,
    symbols: Interner,
}

impl Bench {
    fn new() -> Self {
        let settings =
            RegistrySettings { expiry: Nanos::from_secs(10), wall_offset: WALL, started: Nanos::from_secs(1) };
        Self { registry: Registry::new(settings), symbols: Interner::default() }
    }

    fn series(&mut self, metric: Traffic, service: &str, labels: &[(&'static str, &str)]) -> Arc<Series> {
        let service = self.symbols.intern(service);
        let labels = labels.iter().map(|(name, value)| (*name, self.symbols.intern(value))).collect();
        Arc::new(Series { metric, service, labels })
    }

    /// So many observations of 20 ms each, at that second.
    fn observe(&self, series: &Arc<Series>, second: u64, count: u64) {
        let mut buckets = [0; MAX_BUCKETS + 1];
        buckets[2] = count;
        let sum = u128::from(count) * 20_000_000;
        let gain = HistogramGain { buckets, sum, count, seen: count, scaled: 0 };
        self.publish(series, second, Gain::Histogram(Box::new(gain)));
    }

    fn publish(&self, series: &Arc<Series>, second: u64, gain: Gain) {
        let deltas = vec![Delta { series: Arc::clone(series), gain }];
        self.registry.publish(&Publication { at: Nanos::from_secs(second), deltas });
    }

    fn gathered(&self, second: u64) -> Gathered {
        let at_ms = i64::try_from(WALL / 1_000_000 + second * 1_000).unwrap();
        Gathered { at_ms, traffic: self.registry.snapshot(), own: Vec::new() }
    }
}

fn mapping(temporality: Temporality) -> Mapping {
    Mapping::new(temporality, Resources::new("node-1", &BTreeMap::new()), WALL)
}

fn requests(mapping: &mut Mapping, gathered: &Gathered) -> Vec<Request> {
    let mut all = Vec::new();
    mapping.map(gathered, |request| all.push(request));
    all
}

fn histograms(requests: &[Request]) -> Vec<&HistogramDataPoint> {
    let metrics = requests.iter().flat_map(|request| &request.message.resource_metrics);
    let metrics = metrics.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    let data = metrics.filter_map(|metric| metric.data.as_ref());
    data.filter_map(|data| if let Data::Histogram(all) = data { Some(&all.data_points) } else { None })
        .flatten()
        .collect()
}

fn attributes(all: &[KeyValue]) -> Vec<(String, String)> {
    all.iter().map(|one| (one.key.clone(), as_text(one).unwrap())).collect()
}

fn times(point: &HistogramDataPoint) -> (u64, u64) {
    let second = |at: u64| (at - WALL) / 1_000_000_000;
    (second(point.start_time_unix_nano), second(point.time_unix_nano))
}

#[test]
fn a_cumulative_histogram_says_all_since_it_began() {
    let mut bench = Bench::new();
    let labels = [("http.request.method", "GET"), ("http.response.status_code", "200")];
    let series = bench.series(Traffic::HttpServerRequestDuration, "web", &labels);
    let mut mapping = mapping(Temporality::Cumulative);
    bench.observe(&series, 3, 5);
    assert_eq!(histograms(&requests(&mut mapping, &bench.gathered(4)))[0].count, 5);
    bench.observe(&series, 5, 2);
    let sent = requests(&mut mapping, &bench.gathered(6));
    let point = histograms(&sent)[0];
    assert_eq!((point.count, point.sum, times(point)), (7, Some(0.14), (1, 6)));
    assert_eq!(point.bucket_counts, [0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(point.explicit_bounds, redtap_stages::metric::BOUNDS_REQUEST);
    let wanted = [("http.request.method", "GET"), ("http.response.status_code", "200")];
    assert_eq!(attributes(&point.attributes), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let number = point.attributes.iter().find(|one| one.key == "http.response.status_code").unwrap();
    assert_eq!(*number, whole("http.response.status_code", 200), "a number, not a text");
    let metric = &sent[0].message.resource_metrics[0].scope_metrics[0].metrics[0];
    assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("http.server.request.duration", "s"));
    // The registry forgets it: it ends.
    bench.registry.expire(Nanos::from_secs(60));
    assert!(requests(&mut mapping, &bench.gathered(60)).is_empty());
}

#[test]
fn deltas_add_up_to_what_was_counted_and_do_not_overlap() {
    let mut bench = Bench::new();
    let series = bench.series(Traffic::HttpServerRequestDuration, "web", &[("http.request.method", "GET")]);
    let mut mapping = mapping(Temporality::Delta);
    let mut seen = Vec::new();
    for (second, count) in [(2, 5), (4, 0), (6, 7), (8, 1)] {
        if count > 0 {
            bench.observe(&series, second, count);
        }
        let sent = requests(&mut mapping, &bench.gathered(second + 1));
        seen.extend(histograms(&sent).iter().map(|point| (point.count, times(point))));
    }
    assert_eq!(seen, [(5, (1, 3)), (7, (5, 7)), (1, (7, 9))], "nothing is sent of a stretch without gain");
    // Forgotten and begun anew: what it counts now is all new, from its new beginning on.
    bench.registry.expire(Nanos::from_secs(60));
    assert!(requests(&mut mapping, &bench.gathered(60)).is_empty());
    bench.observe(&series, 70, 4);
    let sent = requests(&mut mapping, &bench.gathered(71));
    assert_eq!(histograms(&sent).iter().map(|point| point.count).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_clock_that_is_set_back_makes_no_stretch_that_ends_before_it_begins() {
    let mut bench = Bench::new();
    let series = bench.series(Traffic::HttpServerRequestDuration, "web", &[]);
    let mut mapping = mapping(Temporality::Delta);
    bench.observe(&series, 20, 1);
    requests(&mut mapping, &bench.gathered(21));
    bench.observe(&series, 22, 1);
    let sent = requests(&mut mapping, &bench.gathered(5));
    let point = histograms(&sent)[0];
    assert!(point.start_time_unix_nano <= point.time_unix_nano, "{point:?}");
}

#[test]
fn each_service_is_a_resource_and_edges_are_of_the_agent() {
    let mut bench = Bench::new();
    for service in ["web", "api"] {
        let series = bench.series(Traffic::HttpServerRequestDuration, service, &[("http.request.method", "GET")]);
        bench.observe(&series, 2, 1);
    }
    let edge = bench.series(Traffic::ServiceGraphRequests, "web", &[("client", "web"), ("server", "api")]);
    bench.publish(&edge, 2, Gain::Count(3));
    let mut gathered = bench.gathered(3);
    let own = |name: &'static str, counter, value| OwnSample { name: name.into(), labels: Vec::new(), counter, value };
    gathered.own = vec![own("redtap_records_total", true, 9.0), own("redtap_ring_fill_bytes", false, 4.5)];
    let sent = requests(&mut mapping(Temporality::Cumulative), &gathered);
    assert_eq!(sent.iter().map(|request| request.points).collect::<Vec<_>>(), [5]);
    let shown: Vec<(String, Vec<(&str, &str)>)> = sent[0]
        .message
        .resource_metrics
        .iter()
        .map(|one| {
            let resource = attributes(&one.resource.as_ref().unwrap().attributes);
            let service = resource.into_iter().find(|(name, _)| name == "service.name").unwrap().1;
            let metrics = one.scope_metrics.iter().flat_map(|scope| &scope.metrics);
            (service, metrics.map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect())
        })
        .collect();
    let duration = ("http.server.request.duration", "s");
    assert_eq!(
        shown,
        [
            ("api".to_owned(), vec![duration]),
            ("web".to_owned(), vec![duration]),
            (
                "redtap".to_owned(),
                vec![
                    ("traces_service_graph_request", "{request}"),
                    ("redtap_records", ""),
                    ("redtap_ring_fill_bytes", "By")
                ]
            ),
        ]
    );
    let edge = &sent[0].message.resource_metrics[2].scope_metrics[0].metrics[0];
    let Some(Data::Sum(sum)) = &edge.data else { panic!("a counter is a sum: {edge:?}") };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points[0].value, Some(Number::AsInt(3)));
    let wanted = [("service.name", "web"), ("client", "web"), ("server", "api")];
    assert_eq!(attributes(&sum.data_points[0].attributes), wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn own_counters_are_told_as_gains_in_delta_and_gauges_as_they_are() {
    let mut gathered = Gathered { at_ms: 1, ..Gathered::default() };
    let own = |name: &'static str, counter, value| OwnSample { name: name.into(), labels: Vec::new(), counter, value };
    let mut mapping = mapping(Temporality::Delta);
    let mut values = Vec::new();
    for (count, gauge) in [(5.0, 1.0), (5.0, 1.0), (8.0, 0.5)] {
        gathered.own = vec![own("redtap_a_total", true, count), own("redtap_b", false, gauge)];
        gathered.at_ms += 1_000;
        for request in requests(&mut mapping, &gathered) {
            for metric in &request.message.resource_metrics[0].scope_metrics[0].metrics {
                let (Some(Data::Sum(Sum { data_points, .. })) | Some(Data::Gauge(Gauge { data_points }))) =
                    &metric.data
                else {
                    panic!("{metric:?}")
                };
                values.push((metric.name.clone(), data_points[0].value));
            }
        }
    }
    let wanted = [("redtap_a", 5.0), ("redtap_b", 1.0), ("redtap_b", 1.0), ("redtap_a", 3.0), ("redtap_b", 0.5)];
    assert_eq!(values, wanted.map(|(name, value)| (name.to_owned(), Some(Number::AsDouble(value)))));
}

#[test]
fn what_does_not_fit_in_a_request_goes_into_the_next() {
    let mut bench = Bench::new();
    let all = MAX_POINTS + 10;
    for number in 0..all {
        let route = format!("/{number}");
        let series = bench.series(Traffic::HttpServerRequestDuration, "web", &[("http.route", &route)]);
        bench.observe(&series, 2, 1);
    }
    let sent = requests(&mut mapping(Temporality::Cumulative), &bench.gathered(3));
    assert_eq!(sent.iter().map(|request| request.points).collect::<Vec<_>>(), [MAX_POINTS as u64, 10]);
    assert_eq!(histograms(&sent).len(), all);
    assert_eq!(histograms(&sent).iter().map(|point| point.count).sum::<u64>(), all as u64);
}
