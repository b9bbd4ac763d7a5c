//! OTLP, as a real Collector writes it down: metrics equal to the agent's own, each exchange one span, an outage without loss.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::{Agent, binary};
use redtap_e2e::can_run_with;
use redtap_e2e::certificates::Certificates;
use redtap_e2e::clients::Kit;
use redtap_e2e::prometheus::{Metrics, Sample};
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::otel_collector::{Counted, OtelCollector, Span};
use redtap_e2e::servers::redis::Redis;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const NEEDS: &[&str] = &["nginx", "redis-server", "redis-cli", "curl"];
const SERVED: &str = "http_server_request_duration_seconds_count";
const QUERIED: &str = "db_client_operation_duration_seconds_count";

/// What is planted in the traffic and must come out nowhere.
const SECRET: &str = "hunter2";

/// Histograms of the traffic: as `/metrics` names them, and as OpenTelemetry names them.
const HISTOGRAMS: [(&str, &str); 4] = [
    ("http_server_request_duration_seconds", "http.server.request.duration"),
    ("http_client_request_duration_seconds", "http.client.request.duration"),
    ("db_server_operation_duration_seconds", "db.server.operation.duration"),
    ("db_client_operation_duration_seconds", "db.client.operation.duration"),
];

struct Ground {
    watched: Sandbox,
    /// Of the collector: not watched.
    beside: Sandbox,
    nginx: Nginx,
    redis: Redis,
}

impl Ground {
    fn new() -> Self {
        let watched = Sandbox::new("otlp").unwrap();
        let (nginx, redis) = (Nginx::start(&watched, 1).unwrap(), Redis::start(&watched).unwrap());
        Self { beside: Sandbox::new("otlp-beside").unwrap(), watched, nginx, redis }
    }

    /// The agent, with further lines of the section `otlp`.
    fn agent(&self, collector: &OtelCollector, more: &str) -> Agent {
        self.agent_to(&collector.endpoint(), more)
    }

    fn agent_to(&self, endpoint: &str, more: &str) -> Agent {
        let text = format!(
            "[otlp]\nendpoint = \"{endpoint}\"\ninterval = \"1s\"\ntraces_ratio = \"100%\"\nspans_per_second = 100000\n{more}\n"
        );
        self.watched.write("redtap.toml", &text).unwrap();
        Agent::start(&self.watched, &[]).unwrap()
    }

    /// Six requests to nginx by one curl, and `commands` to redis by one redis-cli.
    fn traffic(&self) {
        let url = |path| self.nginx.url(path);
        let urls = ["/users/1", &format!("/users/2?token={SECRET}"), "/static/a.html", "/missing", "/broken", "/"];
        let urls: Vec<String> = urls.iter().map(|path| url(path)).collect();
        let mut arguments = vec!["-s", "-H", "Authorization: Bearer hunter2"];
        for url in &urls {
            arguments.extend(["-o", "/dev/null", url.as_str()]);
        }
        self.watched.run("curl", &arguments).unwrap();
        let port = self.redis.port.to_string();
        for command in [
            &["SET", "session:hunter2", "hunter2"][..],
            &["GET", "session:hunter2"],
            &["LPUSH", "session:hunter2", "x"],
        ] {
            let mut arguments = vec!["-p", port.as_str()];
            arguments.extend(command);
            self.watched.run("redis-cli", &arguments).unwrap();
        }
    }
}

/// A trace that a request says it is part of, and the span that it is below.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Exchanges of one [`Ground::traffic`] of each protocol, as one side sees them.
const REQUESTS: u64 = 6;
const COMMANDS: u64 = 3;

fn labels(sample: &Sample) -> BTreeMap<String, String> {
    let rest = sample.labels.iter().filter(|(name, _)| !name.starts_with("service_") && *name != "le");
    rest.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Asserts that the collector has what `/metrics` says, and nothing else.
fn assert_same_counts(metrics: &Metrics, collector: &OtelCollector) {
    let counts = collector.counts().unwrap();
    for (prometheus, otel) in HISTOGRAMS {
        let of = |suffix: &str| {
            let name = format!("{prometheus}{suffix}");
            let all = metrics.samples.iter().filter(|sample| sample.name == name);
            all.map(|sample| ((sample.label("service_name").to_owned(), labels(sample)), sample.value))
                .collect::<Vec<_>>()
        };
        let mut here: BTreeMap<_, Counted> = BTreeMap::new();
        of("_count").into_iter().for_each(|(key, count)| here.entry(key).or_default().count = count);
        of("_sum").into_iter().for_each(|(key, sum)| here.entry(key).or_default().sum = sum);
        for (key, upto) in of("_bucket") {
            let buckets = &mut here.entry(key).or_default().buckets;
            let below: f64 = buckets.iter().sum();
            buckets.push(upto - below);
        }
        let there = counts.iter().filter(|((_, metric, _), _)| metric == otel);
        let mut there: BTreeMap<_, Counted> = there
            .map(|((service, _, attributes), counted)| {
                let attributes = attributes.iter().map(|(name, value)| (name.replace('.', "_"), value.clone()));
                ((service.clone(), attributes.collect()), counted.clone())
            })
            .collect();
        assert!(!here.is_empty(), "{prometheus}");
        // Gains are added up as floating point numbers.
        for (key, counted) in &mut there {
            let sum = here.get(key).map_or(0.0, |here| here.sum);
            assert!((counted.sum - sum).abs() < 1e-9, "{otel}: {} and {sum}", counted.sum);
            counted.sum = sum;
        }
        assert_eq!(there, here, "{otel}");
    }
    let edges = |client: &str, server: &str| {
        let edge = counts.iter().filter(|((service, metric, attributes), _)| {
            service == "redtap"
                && metric == "traces_service_graph_request"
                && attributes["client"] == client
                && attributes["server"] == server
        });
        edge.map(|(_, counted)| counted.count).sum::<f64>()
    };
    let edge = [("client", "curl"), ("server", "nginx")];
    assert_eq!(edges("curl", "nginx"), metrics.sum("traces_service_graph_request_total", &edge) as f64);
    let seen = counts.iter().find(|((service, metric, _), _)| service == "redtap" && metric == "redtap_exchanges_seen");
    assert!(seen.is_some_and(|(_, seen)| seen.count > 0.0), "the agent's own metrics");
}

/// So many spans by service, name, kind and status.
fn tally(spans: &[Span]) -> BTreeMap<(String, String, u64, u64), usize> {
    let mut tally = BTreeMap::new();
    for span in spans {
        *tally.entry((span.service.clone(), span.name.clone(), span.kind, span.status)).or_default() += 1;
    }
    tally
}

/// What [`Ground::traffic`] is, `times` over, as spans: server 2, client 3; unset 0, error 2.
fn expected(times: usize) -> BTreeMap<(String, String, u64, u64), usize> {
    let http = [
        ("GET /users/{id}", 2, 0, 0),
        ("GET /static/a.html", 1, 0, 0),
        ("GET /missing", 1, 0, 2), // a 4xx is the caller's error alone
        ("GET /broken", 1, 2, 2),
        ("GET /", 1, 0, 0),
    ];
    let mut all = BTreeMap::new();
    for (name, count, served, called) in http {
        all.insert(("nginx".to_owned(), name.to_owned(), 2, served), count * times);
        all.insert(("curl".to_owned(), name.to_owned(), 3, called), count * times);
    }
    // The third command is of the wrong type the first time round, and ever after.
    for (name, status) in [("SET", 0), ("GET", 0), ("LPUSH", 2)] {
        all.insert(("redis-server".to_owned(), name.to_owned(), 2, status), times);
        all.insert(("redis-cli".to_owned(), name.to_owned(), 3, status), times);
    }
    all
}

/// The account of an exporter: gathered, delivered, pending, and what was given up.
fn account(metrics: &Metrics, exporter: &str) -> [u64; 4] {
    let sum = |what: &str| metrics.sum(&format!("redtap_export_{what}"), &[("exporter", exporter)]);
    [sum("gathered_total"), sum("delivered_total"), sum("pending"), sum("undelivered_total")]
}

#[test]
fn a_collector_has_what_metrics_say_and_a_span_of_each_exchange() {
    if !can_run_with(NEEDS, &[Kit::OtelCollector]) {
        return;
    }
    for more in ["temporality = \"cumulative\"", "temporality = \"delta\"\ncompression = \"none\""] {
        let ground = Ground::new();
        let mut collector = OtelCollector::start(&ground.beside).unwrap();
        let agent = ground.agent(&collector, more);
        (0..3).for_each(|_| ground.traffic());
        let header = format!("traceparent: 00-{TRACE}-{PARENT}-01");
        ground.watched.run("curl", &["-s", "-o", "/dev/null", "-H", &header, &ground.nginx.url("/moved")]).unwrap();
        let all =
            |metrics: &Metrics| metrics.sum(SERVED, &[]) > 3 * REQUESTS && metrics.sum(QUERIED, &[]) >= 3 * COMMANDS;
        let metrics = agent.metrics_until(all).unwrap();
        let spans = collector.wait_spans(3 * 18 + 2).unwrap();
        agent.stop().unwrap();
        collector.stop().unwrap();
        assert_same_counts(&metrics, &collector);
        let spans = if spans.len() < collector.spans().unwrap().len() { collector.spans().unwrap() } else { spans };
        let (traced, spans): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.name == "GET /moved");
        assert_traced(&traced);
        assert_eq!(tally(&spans), expected(3), "{more}");
        assert_spans(&ground, &spans);
        let written = std::fs::read_to_string(&collector.file).unwrap();
        assert!(!written.contains(SECRET), "a secret of the traffic came out");
    }
}

/// The client's span is below the one that the request named, the server's below the client's.
fn assert_traced(spans: &[Span]) {
    let of = |kind| spans.iter().find(|span| span.kind == kind).unwrap();
    let (server, client) = (of(2), of(3));
    assert_eq!((spans.len(), client.ids[0].as_str(), client.ids[2].as_str()), (2, TRACE, PARENT));
    assert_eq!((&server.ids[0], &server.ids[2]), (&client.ids[0], &client.ids[1]));
    assert_eq!(client.attributes["redtap.link"], "traceparent");
}

/// Attributes and ids of the spans of [`Ground::traffic`].
fn assert_spans(ground: &Ground, spans: &[Span]) {
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.ids[1]).collect();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    // Each call was seen at both ends: what was answered lies below what was asked, in one trace; nobody named another parent.
    let asked: BTreeMap<_, _> = spans.iter().filter(|span| span.kind == 3).map(|span| (&span.ids[1], span)).collect();
    for span in spans.iter().filter(|span| span.kind == 2) {
        let parent = asked.get(&span.ids[2]).unwrap_or_else(|| panic!("no parent: {span:?}"));
        assert_eq!((&span.name, &span.ids[0]), (&parent.name, &parent.ids[0]));
        assert_eq!(span.attributes["redtap.link"], "socket");
    }
    assert!(asked.values().all(|span| span.ids[2].is_empty()));
    assert!(spans.iter().all(|span| span.times.0 > 1_600_000_000_000_000_000 && span.times.0 <= span.times.1));
    let of = |service: &str, name: &str| {
        let mut all = spans.iter().filter(|span| span.service == service && span.name == name);
        all.next().map(|span| span.attributes.clone()).unwrap()
    };
    let attributes = |all: BTreeMap<String, String>, names: &[&str]| {
        names.iter().map(|name| all.get(*name).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    let (web, cache) = (ground.nginx.port.to_string(), ground.redis.port.to_string());
    let names = ["http.request.method", "http.response.status_code", "http.route", "server.port", "error.type"];
    assert_eq!(attributes(of("nginx", "GET /broken"), &names), ["GET", "500", "/broken", &web, "500"]);
    assert_eq!(attributes(of("nginx", "GET /missing"), &names), ["GET", "404", "/missing", &web, ""]);
    let names = ["url.full", "url.template", "network.peer.address", "network.peer.port", "network.transport"];
    let url = ground.nginx.url("/missing").replace("127.0.0.1", "nginx");
    let got = attributes(of("curl", "GET /missing"), &names);
    assert!(got[0] == url || got[0] == ground.nginx.url("/missing"), "{got:?}");
    assert_eq!(got[1..], ["/missing", "127.0.0.1", &web, "tcp"]);
    let names = ["db.system.name", "db.operation.name", "db.query.text", "server.port", "error.type"];
    assert_eq!(attributes(of("redis-cli", "LPUSH"), &names), ["redis", "LPUSH", "", &cache, "WRONGTYPE"]);
    let paths: BTreeSet<_> = spans
        .iter()
        .filter(|span| span.service == "nginx")
        .filter_map(|span| span.attributes.get("url.path"))
        .collect();
    assert!(paths.contains(&"/users/2".to_owned()), "a path ends before its query: {paths:?}");
}

#[test]
fn an_outage_of_the_collector_loses_nothing_and_doubles_nothing() {
    if !can_run_with(NEEDS, &[Kit::OtelCollector]) {
        return;
    }
    // What a killed collector had acknowledged, but not yet written, it has lost: cumulative metrics make up for that.
    outage("temporality = \"cumulative\"", OtelCollector::kill);
    outage("temporality = \"delta\"", OtelCollector::stop);
}

#[test]
fn over_grpc_a_collector_has_the_same_and_wants_tls_of_both_sides() {
    if !can_run_with(&[NEEDS, &["openssl"]].concat(), &[Kit::OtelCollector]) {
        return;
    }
    let ground = Ground::new();
    let tls = Certificates::make(&ground.beside).unwrap();
    let mut collector = OtelCollector::start_with(&ground.beside, Some(&tls)).unwrap();
    let more = format!(
        "protocol = \"grpc\"\ntls_ca_file = \"{}\"\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\nheaders = {{x-key = \"{SECRET}\"}}",
        tls.ca.display(),
        tls.certificate.display(),
        tls.key.display()
    );
    let agent = ground.agent_to(&format!("https://localhost:{}", collector.grpc_port), &more);
    ground.traffic();
    collector.wait_spans(18).unwrap();
    collector.stop().unwrap();
    ground.traffic();
    let retried = |metrics: &Metrics| {
        let retries = |exporter| metrics.sum("redtap_export_retries_total", &[("exporter", exporter)]);
        retries("otlp_traces") > 0 && retries("otlp_metrics") > 0
    };
    agent.metrics_until(retried).unwrap();
    collector.again(&ground.beside).unwrap();
    let done = |metrics: &Metrics| account(metrics, "otlp_traces") == [36, 36, 0, 0];
    let metrics = agent.metrics_until(done).unwrap();
    assert_eq!(account(&metrics, "otlp_traces"), [36, 36, 0, 0], "gathered, delivered, pending, given up");
    let log = agent.stop().unwrap();
    collector.stop().unwrap();
    assert_eq!(tally(&collector.spans().unwrap()), expected(2));
    assert_same_counts(&metrics, &collector);
    // Processes came and went: of a service there is one resource all the same.
    let resources = collector.metric_resources().unwrap();
    for service in ["nginx", "curl", "redis-server", "redis-cli"] {
        let all = resources[service].iter().map(|one| one.keys().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(all.collect::<Vec<_>>(), [["host.name", "service.instance.id", "service.name"]], "{service}");
    }
    let written = std::fs::read_to_string(&collector.file).unwrap();
    assert!(!written.contains(SECRET) && !log.contains(SECRET), "a secret came out");
}

fn outage(more: &str, end: fn(&mut OtelCollector) -> anyhow::Result<()>) {
    let ground = Ground::new();
    let mut collector = OtelCollector::start(&ground.beside).unwrap();
    let agent = ground.agent(&collector, more);
    ground.traffic();
    collector.wait_spans(18).unwrap();
    end(&mut collector).unwrap();
    ground.traffic();
    // Until it has tried in vain.
    let down = agent.metrics_until(|metrics| {
        let retries = |exporter| metrics.sum("redtap_export_retries_total", &[("exporter", exporter)]);
        retries("otlp_traces") > 0 && retries("otlp_metrics") > 0
    });
    let down = down.unwrap();
    assert!(account(&down, "otlp_traces")[2] > 0, "spans wait: {:?}", account(&down, "otlp_traces"));
    collector.again(&ground.beside).unwrap();
    ground.traffic();
    let spans = collector.wait_spans(3 * 18).unwrap();
    assert_eq!(spans.len(), 3 * 18);
    let done = |metrics: &Metrics| account(metrics, "otlp_traces") == [54, 54, 0, 0];
    let metrics = agent.metrics_until(done).unwrap();
    assert_eq!(account(&metrics, "otlp_traces"), [54, 54, 0, 0], "gathered, delivered, pending, given up");
    let [gathered, delivered, pending, given_up] = account(&metrics, "otlp_metrics");
    assert_eq!((gathered, given_up), (delivered + pending, 0));
    agent.stop().unwrap();
    collector.stop().unwrap();
    assert_eq!(tally(&collector.spans().unwrap()), expected(3));
    assert_same_counts(&metrics, &collector);
}

#[test]
fn what_holds_is_shown_with_the_standard_variable_that_says_so() {
    let output = Command::new(binary())
        .arg("config")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("(OTEL_EXPORTER_OTLP_ENDPOINT)\nendpoint = \"http://127.0.0.1:4318\"\n"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
}
