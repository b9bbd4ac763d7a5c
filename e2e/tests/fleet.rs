//! Claim: what `redtap ui` shows of two agents that one real Prometheus scrapes is what both count together; a request whose
//! ends different agents watch is one; an engine that is down is an error that says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use redtap_e2e::agent::{Agent, binary};
use redtap_e2e::can_run;
use redtap_e2e::cli::redtap;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{Proc, Sandbox, free_port, get};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";
const GRAPH: &str = "traces_service_graph_request_total";
const KINDS: [(&str, &str); 10] = [
    ("served", "http_server_request"),
    ("served", "db_server_operation"),
    ("served", "dns_server_lookup"),
    ("served", "rpc_server_call"),
    ("served", "messaging_server_operation"),
    ("called", "http_client_request"),
    ("called", "db_client_operation"),
    ("called", "dns_lookup"),
    ("called", "rpc_client_call"),
    ("called", "messaging_client_operation"),
];

/// Requests by service and side.
type Counts = BTreeMap<(String, &'static str), u64>;

struct Ui {
    port: u16,
    process: Proc,
}

impl Ui {
    fn start(apart: &Sandbox, config: &str, arguments: &[&str]) -> Self {
        let port = free_port().unwrap();
        let config = apart.write("ui.toml", config).unwrap();
        let listen = format!("127.0.0.1:{port}");
        let config = config.display().to_string();
        let all = [&["ui", "--listen", &listen, "--config", &config][..], arguments].concat();
        let process = apart.start("ui", &binary().display().to_string(), &all).unwrap().wait_port(port).unwrap();
        Self { port, process }
    }

    fn ask(&self, path: &str) -> (u16, Value) {
        let (status, body) = get(self.port, &format!("/api/v1/{path}"), "application/json").unwrap();
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    fn report(&self, path: &str) -> Value {
        let (status, value) = self.ask(path);
        assert_eq!(status, 200, "{path}: {value}\n{}", self.process.log());
        value
    }
}

fn prometheus(apart: &Sandbox, agents: &[&Agent]) -> (u16, Proc) {
    let port = free_port().unwrap();
    let targets: Vec<String> = agents.iter().map(|agent| format!("'127.0.0.1:{}'", agent.port())).collect();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: redtap, static_configs: [{{targets: [{}]}}]}}]\n",
        targets.join(", ")
    );
    let config = apart.write("prometheus.yml", &config).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", apart.folder().join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let process = apart.start("prometheus", "prometheus", &arguments.each_ref().map(String::as_str)).unwrap();
    (port, process.wait_port(port).unwrap())
}

/// As both agents count them.
fn counted(all: &[&Metrics]) -> Counts {
    let mut counts = Counts::new();
    for metrics in all {
        for (side, kind) in KINDS {
            for (key, count) in metrics.by(&format!("{kind}_duration_seconds_count"), &[], &["service_name"]) {
                *counts.entry((key[0].clone(), side)).or_default() += count;
            }
        }
    }
    counts
}

/// As the overview has them.
fn shown(services: &Value) -> Counts {
    let mut counts = Counts::new();
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

/// Waits until the engine has everything, at most 60 s; the overview.
fn settled(ui: &Ui, wanted: &Counts) -> Value {
    let mut services = Value::Null;
    for _ in 0..60 {
        services = ui.report("services?last=5m");
        if shown(&services) == *wanted {
            return services;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("after a minute the reports say {:?}, and the agents {wanted:?}", shown(&services));
}

/// Every part of one service's page adds up to its whole, which is `requests`.
fn adds_up(ui: &Ui, service: &str, side: &'static str, requests: u64) {
    let page = ui.report(&format!("services/{service}?last=5m"));
    let sum = |value: &Value| value.as_array().unwrap().iter().filter_map(Value::as_f64).sum::<f64>();
    let part = &page[side];
    let endpoints: f64 =
        part["endpoints"].as_array().unwrap().iter().map(|row| row["red"]["requests"].as_f64().unwrap()).sum();
    let map: f64 = part["heat_map"]["requests"].as_array().unwrap().iter().map(sum).sum();
    let codes = page["codes"].as_array().unwrap().iter().filter(|row| row["side"] == side);
    let codes: f64 = codes.map(|row| row["requests"].as_f64().unwrap()).sum();
    let red = part["red"]["requests"].as_f64().unwrap();
    assert_eq!([red, endpoints, map, codes].map(whole), [requests; 4], "{service}, {side}: {page}");
    let steps = (page["range"]["to"].as_i64().unwrap() - page["range"]["from"].as_i64().unwrap())
        / page["range"]["step"].as_i64().unwrap();
    for values in part["over_time"].as_object().unwrap().values() {
        assert_eq!(i64::try_from(values.as_array().unwrap().len()).unwrap(), steps);
    }
}

fn edges(topology: &Value) -> BTreeMap<(String, String), u64> {
    let text = |edge: &Value, field: &str| edge[field].as_str().unwrap().to_owned();
    let edges = topology["edges"].as_array().unwrap().iter();
    edges
        .map(|edge| ((text(edge, "client"), text(edge, "server")), whole(edge["red"]["requests"].as_f64().unwrap())))
        .collect()
}

#[test]
fn a_fleet_is_the_sum_of_its_agents() {
    if !can_run(&["nginx", "curl", "redis-server", "redis-benchmark", "prometheus"]) {
        return;
    }
    let (callers, servers) = (Sandbox::new("fleet-a").unwrap(), Sandbox::new("fleet-b").unwrap());
    let apart = Sandbox::new("fleet-engine").unwrap();
    let (nginx, redis) = (Nginx::start(&servers, 1).unwrap(), Redis::start(&callers).unwrap());
    let first = Agent::start(&callers, &[]).unwrap();
    let second = Agent::start(&servers, &[]).unwrap();
    let (port, engine) = prometheus(&apart, &[&first, &second]);
    let url = format!("http://127.0.0.1:{port}");
    let ui = Ui::start(&apart, "[ui]\nquery_interval = \"1s\"\n", &["--query-url", &url]);

    let status = ui.report("status");
    assert_eq!((&status["reports"], &status["engine"]), (&"engine".into(), &format!("{url}/").into()));
    assert_eq!(first.status().unwrap()["reports"], "history");

    // 300 calls whose ends different agents watch, 3 of them failed; 40 of strangers; 2000 within the first agent's sight.
    for path in ["/users/[1-297]", "/broken?[1-3]"] {
        callers.run("curl", &["-s", "-o", "/dev/null", &nginx.url(path)]).unwrap();
    }
    servers.run_outside("curl", &["-s", "-o", "/dev/null", &nginx.url("/users/[1-40]")]).unwrap();
    let redis_port = redis.port.to_string();
    callers.run("redis-benchmark", &["-p", &redis_port, "-q", "-c", "2", "-n", "1000", "-t", "set,get"]).unwrap();
    let at_first = first.metrics_until(|metrics| metrics.sum(HTTP_CLIENT, &[]) >= 300).unwrap();
    let at_second = second.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= 340).unwrap();
    assert_eq!((at_first.sum(HTTP_CLIENT, &[]), at_second.sum(HTTP_SERVER, &[])), (300, 340));

    let wanted = counted(&[&at_first, &at_second]);
    let services = settled(&ui, &wanted);
    assert_eq!(services["services"][0]["service"], "nginx", "the worst: {services}");
    assert_eq!(whole(services["services"][0]["served"]["error_ratio"].as_f64().unwrap() * 340.0), 3);
    for ((service, side), requests) in &wanted {
        adds_up(&ui, service, side, *requests);
    }
    assert_eq!(ui.ask("services/nobody?last=5m").0, 404);

    // Both agents count the 300; the topology does once.
    let of = |metrics: &Metrics, server: &str| metrics.sum(GRAPH, &[("server", server)]);
    // What is fresher than a sample is not told from what another agent has not shown yet: wait until there is no such.
    std::thread::sleep(Duration::from_secs(6));
    let topology = ui.report("topology?last=5m");
    let all = edges(&topology);
    let of_nginx: BTreeMap<_, _> = all.iter().filter(|((_, server), _)| server == "nginx").collect();
    let both = [&at_first, &at_second].map(|metrics| metrics.by(GRAPH, &[], &["client", "server"]));
    assert_eq!(of(&at_second, "nginx"), 340, "{both:?}");
    assert_eq!(of_nginx.values().copied().sum::<u64>(), 340, "{all:?} of {both:?}");
    assert_eq!(all[&("curl".to_owned(), "nginx".to_owned())], 300, "{all:?} of {both:?}");
    let crossing = topology["edges"].as_array().unwrap().iter().find(|edge| edge["client"] == "curl").unwrap();
    let red = &crossing["red"];
    assert_eq!(whole(red["error_ratio"].as_f64().unwrap() * 300.0), 3, "{red}");
    assert!(red["p50_seconds"].as_f64() > Some(0.0), "{red}");
    assert_eq!(of_nginx.len(), 2, "{all:?} of {both:?}");
    let redis_edge = all[&("redis-benchmark".to_owned(), "redis-server".to_owned())];
    assert_eq!(redis_edge, of(&at_first, "redis-server"), "{all:?}");
    assert_eq!(all.len(), 3, "{all:?} of {both:?}");

    // An agent that is gone leaves what it counted.
    first.stop().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(shown(&ui.report("services?last=5m")), wanted);

    // An agent may show the same.
    let config =
        callers.write("redtap.toml", &format!("[ui]\nquery_url = \"{url}\"\nquery_interval = \"1s\"\n")).unwrap();
    let third = Agent::start(&callers, &["--config", config.to_str().unwrap()]).unwrap();
    assert_eq!(third.status().unwrap()["reports"], "engine");
    let (status, body) = get(third.port(), "/api/v1/services?last=5m", "application/json").unwrap();
    assert_eq!((status, shown(&serde_json::from_str(&body).unwrap())), (200, wanted));

    // Without the engine there is a clear error, and soon.
    engine.stop().unwrap();
    std::thread::sleep(Duration::from_secs(11));
    for path in ["services?last=5m", "services/nginx?last=5m", "topology?last=5m"] {
        let (status, said) = ui.ask(path);
        let wanted = format!("no answer from {url}/: cannot connect; is it up, and is ui.query_url right?");
        assert_eq!((status, &said["error"]), (502, &wanted.into()), "{path}");
    }
    assert_eq!(get(ui.port, "/", "text/html").unwrap().0, 200, "the pages are there");
    let said = redtap(apart.folder(), &["ui", "--listen", "127.0.0.1:0"]).unwrap();
    assert!(said.code == Some(1) && said.err.contains("--query-url"), "{said:?}");
}
