//! The registry: what several shards publish becomes one text, exactly.
#![expect(clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use redtap::registry::{Format, Registry, RegistrySettings};
use redtap_stages::flow::delta::{Delta, Gain, HistogramGain, Publication, Series};
use redtap_stages::flow::joined::Identity;
use redtap_stages::metric::{MAX_BUCKETS, Metric};
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::sync::Arc;

fn series(interner: &mut Interner, metric: Metric, service: &str, labels: &[(&'static str, &str)]) -> Arc<Series> {
    let labels = labels.iter().map(|(name, value)| (*name, interner.intern(value))).collect();
    Arc::new(Series { metric, service: interner.intern(service), labels })
}

fn observed(series: &Arc<Series>, buckets: &[(usize, u64)], sum: u128) -> Delta {
    let mut gain = HistogramGain { buckets: [0; MAX_BUCKETS + 1], sum, count: 0, seen: 0, scaled: 0 };
    for &(at, n) in buckets {
        gain.buckets[at] += n;
        gain.count += n;
    }
    Delta { series: Arc::clone(series), gain: Gain::Histogram(Box::new(gain)) }
}

fn counted(series: &Arc<Series>, n: u64) -> Delta {
    Delta { series: Arc::clone(series), gain: Gain::Count(n) }
}

fn publication(at: u64, deltas: Vec<Delta>) -> Publication {
    Publication { at: Nanos::from_secs(at), deltas }
}

fn text(registry: &Registry, format: Format) -> String {
    let mut out = String::new();
    registry.snapshot().render(format, &mut out);
    out
}

const EXPECTED_TEXT: &str = "\
# HELP db_client_operation_duration_seconds Duration of database operations that the service made.
# TYPE db_client_operation_duration_seconds histogram
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"0.001\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"0.005\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"0.01\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"0.05\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"0.1\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"0.5\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"1\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"5\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"10\"} 3
db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"+Inf\"} 4
db_client_operation_duration_seconds_sum{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\"} 12.000000003
db_client_operation_duration_seconds_count{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\"} 4
# HELP traces_service_graph_request_total Requests between two services.
# TYPE traces_service_graph_request_total counter
traces_service_graph_request_total{service_name=\"redtap\",client=\"a \\\"b\\\"\",server=\"c\\\\d\\ne\"} 7
# HELP target_info Attributes of the services that are watched.
# TYPE target_info gauge
target_info{service_name=\"shop\",container_id=\"c0ffee\",process_executable_name=\"python3\",host_name=\"h1\"} 1
";

fn filled() -> Registry {
    let settings =
        RegistrySettings { wall_offset: 1_000_500_000_000, started: Nanos::from_secs(1), ..Default::default() };
    let registry = Registry::new(settings);
    let (mut one, mut two) = (Interner::default(), Interner::default());
    two.intern("so that the numbers of the symbols differ");
    let labels = [("db.system.name", "redis"), ("db.operation.name", "GET")];
    let get_one = series(&mut one, Metric::DbClientOperationDuration, "shop", &labels);
    let get_two = series(&mut two, Metric::DbClientOperationDuration, "shop", &labels);
    let edge =
        series(&mut one, Metric::ServiceGraphRequests, "redtap", &[("client", "a \"b\""), ("server", "c\\d\ne")]);
    registry.publish(&publication(2, vec![observed(&get_one, &[(0, 1)], 1), counted(&edge, 3)]));
    registry.publish(&publication(2, vec![observed(&get_two, &[(0, 1), (9, 1)], 12_000_000_001)]));
    registry.publish(&publication(3, vec![observed(&get_one, &[(0, 1)], 1), counted(&edge, 4)]));
    registry.introduce(&Identity {
        service: "shop".into(),
        container: "c0ffee".into(),
        process: "python3".into(),
        host: "h1".into(),
        ..Identity::default()
    });
    registry
}

#[test]
fn renders_text_with_shards_merged_by_content() {
    assert_eq!(text(&filled(), Format::Text), EXPECTED_TEXT);
}

#[test]
fn renders_open_metrics_with_units_created_times_and_family_names() {
    let open = text(&filled(), Format::OpenMetrics);
    for line in [
        "# UNIT db_client_operation_duration_seconds seconds\n",
        "db_client_operation_duration_seconds_bucket{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\",le=\"5.0\"} 3\n",
        "db_client_operation_duration_seconds_created{service_name=\"shop\",db_system_name=\"redis\",db_operation_name=\"GET\"} 1001.5\n",
        "# TYPE traces_service_graph_request counter\n",
        "traces_service_graph_request_total{service_name=\"redtap\",client=\"a \\\"b\\\"\",server=\"c\\\\d\\ne\"} 7\n",
        "traces_service_graph_request_created{service_name=\"redtap\",client=\"a \\\"b\\\"\",server=\"c\\\\d\\ne\"} 1001.5\n",
        "# TYPE target info\ntarget_info{service_name=\"shop\"",
    ] {
        assert!(open.contains(line), "lacks {line}in\n{open}");
    }
    assert!(!open.contains("# UNIT traces_service_graph_request "), "a count has no unit");
}

#[test]
fn families_come_in_the_order_of_the_table_and_series_in_the_order_of_their_labels() {
    let registry = Registry::new(RegistrySettings::default());
    let mut interner = Interner::default();
    let failed = series(&mut interner, Metric::ServiceGraphFailed, "b", &[]);
    let later = series(&mut interner, Metric::ServiceGraphRequests, "b", &[]);
    let first = series(&mut interner, Metric::ServiceGraphRequests, "a", &[]);
    registry.publish(&publication(1, vec![counted(&failed, 1), counted(&later, 1), counted(&first, 1)]));
    let text = text(&registry, Format::Text);
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        samples,
        [
            "traces_service_graph_request_total{service_name=\"a\"} 1",
            "traces_service_graph_request_total{service_name=\"b\"} 1",
            "traces_service_graph_request_failed_total{service_name=\"b\"} 1",
        ]
    );
}

#[test]
fn a_namespace_is_shown_on_series_made_after_it_is_known() {
    let registry = Registry::new(RegistrySettings::default());
    let identity = Identity { service: "a".into(), namespace: "ns".into(), ..Identity::default() };
    registry.introduce(&identity);
    let mut interner = Interner::default();
    let edge = series(&mut interner, Metric::ServiceGraphRequests, "a", &[("client", "x")]);
    registry.publish(&publication(1, vec![counted(&edge, 1)]));
    let shown = text(&registry, Format::Text);
    assert!(shown.contains("request_total{service_name=\"a\",service_namespace=\"ns\",client=\"x\"} 1\n"), "{shown}");
    assert!(shown.contains("target_info{service_name=\"a\",service_namespace=\"ns\"} 1\n"), "{shown}");
    registry.dismiss(&identity);
    assert!(!text(&registry, Format::Text).contains("target_info"));
}

#[test]
fn a_series_that_gains_nothing_is_forgotten_and_starts_anew() {
    let settings = RegistrySettings { expiry: Nanos::from_secs(60), ..Default::default() };
    let registry = Registry::new(settings);
    let mut interner = Interner::default();
    let idle = series(&mut interner, Metric::ServiceGraphRequests, "idle", &[]);
    let busy = series(&mut interner, Metric::ServiceGraphRequests, "busy", &[]);
    registry.publish(&publication(10, vec![counted(&idle, 5), counted(&busy, 1)]));
    registry.publish(&publication(60, vec![counted(&busy, 1)]));
    registry.expire(Nanos::from_secs(70));
    assert_eq!(registry.stats().series, 2, "just 60 s is not long enough");
    registry.expire(Nanos::from_secs(72));
    let shown = text(&registry, Format::Text);
    assert!(!shown.contains("idle"), "{shown}");
    assert!(shown.contains("{service_name=\"busy\"} 2\n"), "{shown}");
    assert_eq!((registry.stats().series, registry.stats().expired), (1, 1));
    registry.publish(&publication(80, vec![counted(&idle, 1)]));
    assert!(text(&registry, Format::Text).contains("{service_name=\"idle\"} 1\n"), "begins at zero again");
}

#[test]
fn publications_of_many_shards_at_once_lose_nothing() {
    let registry = Arc::new(Registry::new(RegistrySettings::default()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let registry = Arc::clone(&registry);
            std::thread::spawn(move || {
                let mut interner = Interner::default();
                let edge = series(&mut interner, Metric::ServiceGraphRequests, "s", &[]);
                for at in 1..=500 {
                    registry.publish(&publication(at, vec![counted(&edge, 2)]));
                    if at % 100 == 0 {
                        assert_eq!(registry.snapshot().families[Metric::ServiceGraphRequests as usize].len(), 1);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(text(&registry, Format::Text).contains("{service_name=\"s\"} 4000\n"));
}
