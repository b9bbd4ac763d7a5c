//! What people are shown is what `/metrics` says: services, endpoints, codes, percentiles and edges of the reports, held
//! against the counters and buckets of the same moment; also after a stop and a new start with a history on disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{Sandbox, get};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const HTTP_SERVER: &str = "http_server_request_duration_seconds";
const SERVED: [&str; 5] = [
    "http_server_request",
    "db_server_operation",
    "dns_server_lookup",
    "rpc_server_call",
    "messaging_server_operation",
];
const CALLED: [&str; 5] =
    ["http_client_request", "db_client_operation", "dns_lookup", "rpc_client_call", "messaging_client_operation"];
const GRAPH: &str = "traces_service_graph_request_total";

fn report(agent: &Agent, path: &str) -> Value {
    let (status, body) = get(agent.port(), &format!("/api/v1/{path}"), "application/json").unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Requests by service and side, as `/metrics` counts them.
fn counted(metrics: &Metrics) -> BTreeMap<(String, &'static str), u64> {
    let mut counts = BTreeMap::new();
    for (side, kinds) in [("served", SERVED), ("called", CALLED)] {
        for kind in kinds {
            for (key, count) in metrics.by(&format!("{kind}_duration_seconds_count"), &[], &["service_name"]) {
                *counts.entry((key[0].clone(), side)).or_default() += count;
            }
        }
    }
    counts
}

/// The same of `/api/v1/services`.
fn shown(services: &Value) -> BTreeMap<(String, &'static str), u64> {
    let mut counts = BTreeMap::new();
    for row in services["services"].as_array().unwrap() {
        for side in ["served", "called"] {
            if let Some(requests) = row[side]["requests"].as_f64() {
                counts.insert((row["service"].as_str().unwrap().to_owned(), side), whole(requests));
            }
        }
    }
    counts
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a test are small whole numbers")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Waits until the history has recorded what the counters say: a step is 5 s.
fn settled(agent: &Agent) -> (Metrics, Value) {
    for _ in 0..100 {
        let metrics = agent.metrics().unwrap();
        let services = report(agent, "services?last=15m");
        if shown(&services) == counted(&metrics) {
            return (metrics, services);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let (metrics, services) = (agent.metrics().unwrap(), report(agent, "services?last=15m"));
    panic!("after 20 s the reports say {:?} and the metrics {:?}", shown(&services), counted(&metrics));
}

/// As Prometheus computes it from the buckets.
fn quantile(metrics: &Metrics, service: &str, share: f64) -> f64 {
    let mut buckets: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for sample in metrics.matching(&format!("{HTTP_SERVER}_bucket"), &[("service_name", service)]) {
        let bound: f64 = sample.label("le").parse().unwrap();
        let bucket = buckets.entry(bound.to_bits()).or_insert((bound, 0.0));
        bucket.1 += sample.value;
    }
    let buckets: Vec<(f64, f64)> = buckets.into_values().collect();
    let rank = share * buckets.last().unwrap().1;
    let at = buckets.iter().position(|bucket| bucket.1 >= rank).unwrap();
    let (lower, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (upper, count) = buckets[at];
    if upper.is_infinite() { lower } else { lower + (upper - lower) * (rank - below) / (count - below) }
}

fn list(value: &Value) -> impl Iterator<Item = f64> {
    value.as_array().unwrap().iter().filter_map(Value::as_f64)
}

/// Every part of one service's page adds up to its whole.
fn whole_of(agent: &Agent, metrics: &Metrics, service: &str) {
    let page = report(agent, &format!("services/{service}?last=15m"));
    let steps = page["range"]["to"].as_i64().unwrap() - page["range"]["from"].as_i64().unwrap();
    let steps = steps / page["range"]["step"].as_i64().unwrap();
    for side in ["served", "called"] {
        let Some(requests) = page[side]["red"]["requests"].as_f64() else { continue };
        let requests = whole(requests);
        let endpoints = page[side]["endpoints"].as_array().unwrap();
        let of_endpoints = endpoints.iter().map(|row| row["red"]["requests"].as_f64().unwrap()).sum::<f64>();
        let rows = page[side]["heat_map"]["requests"].as_array().unwrap();
        assert_eq!(rows.len(), page[side]["heat_map"]["bounds_seconds"].as_array().unwrap().len() + 1);
        let of_map = rows.iter().map(|row| list(row).sum::<f64>()).sum::<f64>();
        let codes = page["codes"].as_array().unwrap().iter().filter(|row| row["side"] == side);
        let of_codes = codes.map(|row| row["requests"].as_f64().unwrap()).sum::<f64>();
        assert_eq!([of_endpoints, of_map, of_codes].map(whole), [requests; 3], "{service}, {side}");
        let over_time = &page[side]["over_time"];
        for values in over_time.as_object().unwrap().values() {
            assert_eq!(i64::try_from(values.as_array().unwrap().len()).unwrap(), steps);
        }
    }
    if service == "nginx" {
        let red = &page["served"]["red"];
        for (field, share) in [("p50_seconds", 0.5), ("p90_seconds", 0.9), ("p99_seconds", 0.99)] {
            let (said, wanted) = (red[field].as_f64().unwrap(), quantile(metrics, service, share));
            assert!((said - wanted).abs() < 1e-9, "{field}: {said}, and of the buckets {wanted}");
        }
        let mut routes: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for row in page["served"]["endpoints"].as_array().unwrap() {
            let key = ["method", "endpoint"].map(|field| row[field].as_str().unwrap().to_owned()).to_vec();
            routes.insert(key, whole(row["red"]["requests"].as_f64().unwrap()));
        }
        let labels = ["http_request_method", "http_route"];
        assert_eq!(routes, metrics.by(&format!("{HTTP_SERVER}_count"), &[("service_name", service)], &labels));
    }
}

fn edges_are_those_of(metrics: &Metrics, topology: &Value) {
    let mut edges: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for edge in topology["edges"].as_array().unwrap() {
        let key = ["client", "server", "connection_type"].map(|field| edge[field].as_str().unwrap().to_owned());
        edges.insert(key.to_vec(), whole(edge["red"]["requests"].as_f64().unwrap()));
    }
    assert_eq!(edges, metrics.by(GRAPH, &[], &["client", "server", "connection_type"]));
    let kind = |name: &str| {
        let node = topology["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name);
        node.map(|node| node["kind"].as_str().unwrap().to_owned())
    };
    assert_eq!(kind("nginx").as_deref(), Some("service"));
    assert_eq!(kind("redis-server").as_deref(), Some("service"), "a database that is watched is a service");
}

#[test]
fn the_reports_are_what_the_metrics_say_also_after_a_new_start() {
    if !can_run(&["nginx", "wrk", "curl", "redis-server", "redis-benchmark"]) {
        return;
    }
    let sandbox = Sandbox::new("reports").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    let config = sandbox.write("redtap.toml", "[history]\npath = \"history\"\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let agent = Agent::start(&sandbox, &config).unwrap();
    sandbox.run("wrk", &["-t", "1", "-c", "4", "-d", "2s", &nginx.url("/static/a.html")]).unwrap();
    for path in ["/broken", "/missing", "/users/1", "/users/2", "/big"] {
        sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url(path)]).unwrap();
    }
    let port = redis.port.to_string();
    sandbox.run("redis-benchmark", &["-p", &port, "-q", "-c", "4", "-n", "2000", "-t", "set,get"]).unwrap();
    let requests = nginx.answered().unwrap().values().sum::<u64>();
    agent.metrics_until(|metrics| metrics.sum(&format!("{HTTP_SERVER}_count"), &[]) >= requests).unwrap();

    let (metrics, services) = settled(&agent);
    assert!(counted(&metrics)[&("nginx".to_owned(), "served")] >= requests);
    let names: Vec<&str> =
        services["services"].as_array().unwrap().iter().map(|row| row["service"].as_str().unwrap()).collect();
    assert_eq!(names[0], "nginx", "the only one that answers with errors is the worst: {names:?}");
    let errors = metrics.sum(&format!("{HTTP_SERVER}_count"), &[("error_type", "500")]);
    let ratio = services["services"][0]["served"]["error_ratio"].as_f64().unwrap();
    let served = services["services"][0]["served"]["requests"].as_f64().unwrap();
    assert_eq!((errors, whole(ratio * served)), (1, 1));
    for name in &names {
        whole_of(&agent, &metrics, name);
    }
    edges_are_those_of(&metrics, &report(&agent, "topology?last=15m"));
    assert!(metrics.sum("redtap_history_bytes", &[]) < 1 << 20, "some series for some seconds take little");

    // A history on disk: what a new agent shows is what the last one did.
    let before = shown(&services);
    agent.stop().unwrap();
    let agent = Agent::start(&sandbox, &config).unwrap();
    assert!(agent.log().contains("the history goes on"), "{}", agent.log());
    assert_eq!(shown(&report(&agent, "services?last=15m")), before);
    sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url("/users/3")]).unwrap();
    let key = ("nginx".to_owned(), "served");
    let more = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        shown(&report(&agent, "services?last=15m"))[&key] == before[&key] + 1
    });
    assert!(more, "{:?} after {before:?}", shown(&report(&agent, "services?last=15m")));
    agent.stop().unwrap();
}
