//! From the registry to the messages of both versions.

use super::super::encode::{Version, body, is_stale, unpack};
use super::super::wire::v1;
use super::*;
use crate::export::OwnSample;
use crate::registry::{Sample, Snapshot};
use prost::Message as _;
use redtap_stages::flow::delta::Series;
use redtap_stages::metric::{MAX_BUCKETS, Metric};
use std::sync::Arc;

fn shape(native: bool) -> Shape {
    let external = BTreeMap::from(
        [("cluster", "a"), ("service_name", "not this"), ("empty", "")].map(|(n, v)| (n.to_owned(), v.to_owned())),
    );
    Shape { external, native, max_samples: 1_000, shards: 1, began_ms: 500 }
}

fn symbol(text: &str) -> redtap_stages::symbol::Symbol {
    redtap_stages::symbol::Interner::with_capacity(8).intern(text)
}

fn histogram_sample(labels: &str, counts: &[u64]) -> Sample {
    let mut buckets = [0; MAX_BUCKETS + 1];
    buckets.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket = *count);
    let series = Series { metric: Metric::DbClientOperationDuration, service: symbol("shop"), labels: Vec::new() };
    let value = Value::Histogram { buckets, sum: 2_500_000_000, count: counts.iter().sum() };
    Sample {
        series: Arc::new(series),
        labels: labels.into(),
        created: redtap_stages::time::Nanos(1_000_000),
        value,
        exemplars: Vec::new(),
    }
}

fn counter_sample(labels: &str, count: u64) -> Sample {
    let series = Series { metric: Metric::ServiceGraphRequests, service: symbol("shop"), labels: Vec::new() };
    let created = redtap_stages::time::Nanos(2_000_000);
    Sample {
        series: Arc::new(series),
        labels: labels.into(),
        created,
        value: Value::Count(count),
        exemplars: Vec::new(),
    }
}

fn gathered(at_ms: i64, samples: Vec<Sample>) -> Gathered {
    let mut families: Vec<Vec<Sample>> = TABLE.iter().map(|_| Vec::new()).collect();
    for sample in samples {
        families[sample.series.metric as usize].push(sample);
    }
    Gathered { at_ms, traffic: Snapshot { families, wall_offset: 7_000_000, ..Snapshot::default() }, own: Vec::new() }
}

/// A round whose clock is not behind.
fn collected(collector: &mut Collector, gathered: &Gathered) -> Vec<Batch> {
    let Collected::Batches(batches) = collector.collect(gathered, 0) else { panic!("behind") };
    batches
}

/// Labels of a series as text.
fn labels(request: &v2::Request, series: &v2::TimeSeries) -> String {
    let text = |at: &u32| request.symbols[*at as usize].as_str();
    let pairs = series.labels_refs.chunks(2).map(|pair| format!("{}={}", text(&pair[0]), text(&pair[1])));
    pairs.collect::<Vec<_>>().join(",")
}

fn decoded(batch: &Batch, native: bool) -> v2::Request {
    unpack(&body(&batch.packed, Version::V2, native).unwrap()).unwrap()
}

/// Labels and values of plain samples.
fn lines(request: &v2::Request) -> Vec<(String, f64)> {
    request.timeseries.iter().map(|series| (labels(request, series), series.samples[0].value)).collect()
}

#[test]
fn labels_are_ordered_and_each_is_there_once_and_none_is_empty() {
    let mut collector = Collector::new(shape(false));
    let sample = counter_sample("service_name=\"shop\",client=\"a\\\"b\",server=\"\"", 3);
    let batches = collected(&mut collector, &gathered(1_000, vec![sample]));
    assert_eq!(batches.len(), 1);
    let request = decoded(&batches[0], false);
    let name = "__name__=traces_service_graph_request_total";
    assert_eq!(lines(&request), [(format!("{name},client=a\"b,cluster=a,service_name=shop"), 3.0)]);
    assert_eq!(request.symbols[0], "");
    let series = &request.timeseries[0];
    // Created 2 ms after the start of the clock, which was 7 ms after the epoch.
    assert_eq!(series.samples[0], v2::Sample { value: 3.0, timestamp: 1_000, start_timestamp: 9 });
    let metadata = series.metadata.unwrap();
    assert_eq!(metadata.kind, i32::from(MetricKind::Counter));
    let help = TABLE[Metric::ServiceGraphRequests as usize].help;
    assert_eq!(request.symbols[metadata.help_ref as usize], help);
}

#[test]
fn a_histogram_is_the_same_as_classic_series_in_both_versions_and_as_a_native_one() {
    let counts = [1, 0, 2, 0, 0, 0, 0, 0, 4, 8];
    let sample = || histogram_sample("service_name=\"shop\"", &counts);
    let batches = collected(&mut Collector::new(shape(false)), &gathered(1_000, vec![sample()]));
    assert_eq!(batches[0].samples, 12);
    let request = decoded(&batches[0], false);
    let rest = "cluster=a,service_name=shop";
    let bucket = |le: &str, value: f64| {
        (format!("__name__=db_client_operation_duration_seconds_bucket,cluster=a,le={le},service_name=shop"), value)
    };
    let wanted = vec![
        bucket("0.001", 1.0),
        bucket("0.005", 1.0),
        bucket("0.01", 3.0),
        bucket("0.05", 3.0),
        bucket("0.1", 3.0),
        bucket("0.5", 3.0),
        bucket("1.0", 3.0),
        bucket("5.0", 3.0),
        bucket("10.0", 7.0),
        bucket("+Inf", 15.0),
        (format!("__name__=db_client_operation_duration_seconds_sum,{rest}"), 2.5),
        (format!("__name__=db_client_operation_duration_seconds_count,{rest}"), 15.0),
    ];
    assert_eq!(lines(&request), wanted);
    let old = body(&batches[0].packed, Version::V1, true).unwrap();
    let old = snap::raw::Decoder::new().decompress_vec(&old).unwrap();
    let old = v1::WriteRequest::decode(old.as_slice()).unwrap();
    let old_lines: Vec<(String, f64)> = old
        .timeseries
        .iter()
        .map(|series| {
            let labels: Vec<_> = series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
            (labels.join(","), series.samples[0].value)
        })
        .collect();
    assert_eq!(old_lines, wanted);
    assert_eq!(old.metadata.len(), 1);
    assert_eq!(
        (old.metadata[0].family.as_str(), old.metadata[0].unit.as_str()),
        ("db_client_operation_duration_seconds", "seconds")
    );
    let batches = collected(&mut Collector::new(shape(true)), &gathered(1_000, vec![sample()]));
    assert_eq!(batches[0].samples, 1);
    let request = decoded(&batches[0], true);
    let native = &request.timeseries[0].histograms[0];
    assert_eq!((native.schema, native.count, native.sum), (-53, Some(15), 2.5));
    assert_eq!(native.bounds, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
    assert_eq!(native.spans, [v2::Span { offset: 0, length: 10 }]);
    assert_eq!(native.deltas, [1, -1, 2, -2, 0, 0, 0, 0, 4, 4]);
    assert_eq!(native.start_timestamp, 8);
}

#[test]
fn a_series_that_ends_is_marked_once_and_all_are_at_the_end() {
    for native in [false, true] {
        let mut collector = Collector::new(shape(native));
        let both = || vec![histogram_sample("a=\"1\"", &[1]), counter_sample("b=\"1\"", 1)];
        collected(&mut collector, &gathered(1_000, both()));
        let batches = collected(&mut collector, &gathered(2_000, vec![counter_sample("b=\"1\"", 2)]));
        let request = decoded(&batches[0], false);
        let stale: Vec<bool> = lines(&request).iter().map(|(_, value)| is_stale(*value)).collect();
        assert_eq!(stale, [vec![false], vec![true; 12]].concat());
        assert!(request.timeseries.iter().all(|series| series.samples[0].timestamp == 2_000));
        let batches = collected(&mut collector, &gathered(3_000, vec![counter_sample("b=\"1\"", 2)]));
        assert_eq!(batches[0].samples, 1, "once");
        let batches = collector.end(0);
        let request = decoded(&batches[0], false);
        assert_eq!(request.timeseries.len(), 1);
        assert!(is_stale(request.timeseries[0].samples[0].value));
        assert_eq!(request.timeseries[0].samples[0].timestamp, 3_001);
        assert!(collector.end(0).is_empty());
    }
}

#[test]
fn a_series_is_never_there_twice() {
    let twice = vec![counter_sample("b=\"1\"", 2), counter_sample("b=\"1\"", 3)];
    let batches = collected(&mut Collector::new(shape(false)), &gathered(4_000, twice));
    assert_eq!(decoded(&batches[0], false).timeseries.len(), 1);
}

#[test]
fn a_clock_that_was_set_back_makes_no_sample_that_is_older_than_what_the_receiver_has() {
    let mut collector = Collector::new(shape(false));
    let two = |at_ms| gathered(at_ms, vec![counter_sample("b=\"1\"", 1), histogram_sample("a=\"1\"", &[1])]);
    let at = |collected: Collected| match collected {
        Collected::Batches(batches) => batches[0].at_ms,
        Collected::Behind { samples, by_ms } => panic!("{samples} {by_ms}"),
    };
    assert_eq!(at(collector.collect(&two(9_000_000), 0)), 9_000_000);
    // Half a minute back: the counter, and nine bounds, +Inf, sum and count.
    let behind = collector.collect(&two(8_970_000), 9_000_000);
    assert!(matches!(behind, Collected::Behind { samples: 13, by_ms: 30_000 }), "{behind:?}");
    // A series that ended meanwhile is marked as soon as there is a time for that, once, and one that went on is not.
    let one = |at_ms| gathered(at_ms, vec![counter_sample("b=\"1\"", 2)]);
    assert!(matches!(collector.collect(&one(8_985_000), 9_000_000), Collected::Behind { samples: 1, .. }));
    let Collected::Batches(batches) = collector.collect(&one(9_000_001), 9_000_000) else { panic!("behind") };
    let request = decoded(&batches[0], false);
    let stale: Vec<bool> = lines(&request).iter().map(|(_, value)| is_stale(*value)).collect();
    assert_eq!(stale, [vec![false], vec![true; 12]].concat());
    // What the receiver did not take is no reason: it never had it.
    assert_eq!(at(collector.collect(&one(1_000), 0)), 1_000);
    // By less than a second it goes on, and so do markers at the end, however far it is behind.
    assert_eq!(at(collector.collect(&one(1_000), 1_000)), 1_001);
    assert_eq!(at(collector.collect(&one(1_000), 1_999)), 2_000);
    assert!(matches!(collector.collect(&one(1_000), 2_000), Collected::Behind { by_ms: 1_000, .. }));
    assert_eq!(collector.end(77_000)[0].at_ms, 77_001);
}

#[test]
fn batches_are_bounded_and_a_series_stays_in_its_shard() {
    let mut collector = Collector::new(Shape { max_samples: 100, shards: 4, ..shape(false) });
    let samples = || (0..100).map(|at| histogram_sample(&format!("a=\"{at}\""), &[1])).collect::<Vec<_>>();
    let where_each = |batches: &[Batch]| {
        let mut places = BTreeMap::new();
        for batch in batches {
            assert!(batch.samples <= 100 && batch.shard < 4);
            let request = decoded(batch, false);
            assert_eq!(request.timeseries.len(), batch.samples as usize);
            for series in &request.timeseries {
                assert!(places.insert(labels(&request, series), batch.shard).is_none(), "twice");
            }
        }
        places
    };
    let first = where_each(&collected(&mut collector, &gathered(1_000, samples())));
    assert_eq!(first.len(), 1_200);
    assert_eq!(first.values().collect::<std::collections::BTreeSet<_>>().len(), 4);
    assert_eq!(where_each(&collected(&mut collector, &gathered(2_000, samples()))), first);
}

#[test]
fn the_agents_own_metrics_and_targets_come_along() {
    let own = OwnSample { name: "redtap_http_requests_total".into(), labels: Vec::new(), counter: true, value: 4.0 };
    let mut all = gathered(1_000, Vec::new());
    all.own.push(own);
    all.traffic.targets.push("service_name=\"shop\",host_name=\"h\"".into());
    let batches = collected(&mut Collector::new(shape(false)), &all);
    let request = decoded(&batches[0], false);
    let wanted = [
        ("__name__=target_info,cluster=a,host_name=h,service_name=shop".to_owned(), 1.0),
        ("__name__=redtap_http_requests_total,cluster=a,service_name=not this".to_owned(), 4.0),
    ];
    assert_eq!(lines(&request), wanted);
    assert_eq!(request.timeseries[1].samples[0].start_timestamp, 500);
}

#[test]
fn what_was_never_packed_is_unreadable() {
    for bad in [&b""[..], b"\xff\xff\xff\xff\xff\xff", b"\x05hello", &[0xff; 64]] {
        assert!(body(bad, Version::V1, false).is_err() || bad.is_empty(), "{bad:?}");
    }
    // References to symbols that are not there.
    let series = v2::TimeSeries { labels_refs: vec![1, 2], ..v2::TimeSeries::default() };
    let packed = pack(&v2::Request { symbols: vec![String::new()], timeseries: vec![series] });
    assert!(body(&packed, Version::V2, false).is_err() && body(&packed, Version::V1, false).is_err());
    // A claim of more than fits.
    assert!(unpack(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).is_err());
}

#[test]
fn exemplars_go_once_in_order_of_time_with_the_bucket_they_are_in() {
    use crate::registry::Exemplar;
    use redtap_stages::flow::trace::{SpanId, TraceId};
    use redtap_stages::time::Nanos;
    let exemplar = |bucket, millis: u64, at_ms| Exemplar {
        trace: TraceId::ONE,
        span: SpanId::new(at_ms).unwrap(),
        said: true,
        bucket,
        value: Nanos::from_millis(millis),
        ended: Nanos::ZERO,
        at_ms,
    };
    // Buckets up to 1, 5 and 10 ms.
    let with = |exemplars| {
        let mut sample = histogram_sample("service_name=\"shop\"", &[1, 1, 1]);
        sample.exemplars = exemplars;
        sample
    };
    let told = |batches: &[Batch]| -> Vec<(String, f64, i64)> {
        let request = decoded(&batches[0], false);
        let of = |series: &v2::TimeSeries| {
            let le = labels(&request, series).split(',').find(|label| label.starts_with("le=")).map(str::to_owned);
            series.exemplars.iter().map(|one| (le.clone().unwrap(), one.value, one.timestamp)).collect::<Vec<_>>()
        };
        request.timeseries.iter().flat_map(of).collect()
    };
    let mut collector = Collector::new(shape(false));
    let both = vec![exemplar(0, 1, 70), exemplar(2, 7, 60)];
    let first = collected(&mut collector, &gathered(1_000, vec![with(both.clone())]));
    assert_eq!(told(&first), [("le=0.001".to_owned(), 0.001, 70), ("le=0.01".to_owned(), 0.007, 60)]);
    let older = v1::WriteRequest::decode(
        snap::raw::Decoder::new()
            .decompress_vec(&body(&first[0].packed, Version::V1, false).unwrap())
            .unwrap()
            .as_slice(),
    )
    .unwrap();
    let in_v1: Vec<_> = older.timeseries.iter().flat_map(|series| &series.exemplars).collect();
    let pairs: Vec<_> = in_v1[0].labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
    assert_eq!(pairs, [("span_id", "0000000000000046"), ("trace_id", "00000000000000000000000000000001")]);
    assert_eq!(in_v1.len(), 2);
    let again = collected(&mut collector, &gathered(2_000, vec![with(both)]));
    assert_eq!(told(&again), []);
    // One that is older than what was sent of its bucket, which is a series, is left out; what other buckets had does not matter.
    let third = collected(&mut collector, &gathered(3_000, vec![with(vec![exemplar(1, 4, 65), exemplar(2, 8, 55)])]));
    assert_eq!(told(&third), [("le=0.005".to_owned(), 0.004, 65)]);
}
