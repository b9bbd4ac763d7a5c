//! The dashboards.

use super::panel::{Layout, Look, Query};
use super::{Dashboard, Traffic, dashboard, own};
use crate::alarms::subject::{ERROR, Side, subjects, underscored};
use redtap_stages::metric::Metric;
use serde_json::{Value, json};

/// The window of rates.
const WINDOW: &str = "$__rate_interval";
/// Only of the services that are chosen.
const CHOSEN: &str = "service_name=~\"$service\"";

/// All metrics of one side.
fn side(side: Side) -> Vec<Traffic> {
    subjects().filter(|subject| subject.side == side).map(|subject| Traffic(subject.entry)).collect()
}

/// A sum over several metrics, each added up first: what one lacks does not hide the others.
fn any(metrics: &[Traffic], by: &str, inner: impl Fn(Traffic) -> String) -> String {
    let each: Vec<String> = metrics
        .iter()
        .map(|metric| {
            let kind = metric.0.otel.split('.').next().unwrap_or("");
            format!("label_replace(sum by ({by}) ({}), \"kind\", \"{kind}\", \"\", \"\")", inner(*metric))
        })
        .collect();
    format!("sum by ({by}) ({})", each.join(" or "))
}

fn rate(metric: Traffic, part: &str, labels: &str) -> String {
    format!("rate({}{{{labels}}}[{WINDOW}])", metric.part(part))
}

fn failed() -> String {
    format!("{CHOSEN},{}!=\"\"", underscored(ERROR))
}

/// A quantile; where several protocol families are added up, that of the slowest: their buckets have other bounds.
fn quantile(share: &str, metrics: &[Traffic], by: &str) -> String {
    let inner = match by {
        "" => "kind".to_owned(),
        by if by.contains("kind") => by.to_owned(),
        by => format!("{by}, kind"),
    };
    let buckets = any(metrics, &format!("{inner}, le"), |metric| rate(metric, "bucket", CHOSEN));
    format!("max by ({by}) (histogram_quantile({share}, {buckets}))")
}

/// Errors over requests; none is 0.
fn error_ratio(metrics: &[Traffic], by: &str) -> String {
    let requests = any(metrics, by, |metric| rate(metric, "count", CHOSEN));
    let errors = any(metrics, by, |metric| rate(metric, "count", &failed()));
    format!("({errors} or 0 * {requests}) / {requests}")
}

/// Services that serve or call anything.
fn services() -> Value {
    let names: Vec<&str> = subjects().map(|subject| subject.entry.prometheus).collect();
    let query = format!("label_values({{__name__=~\"({})_count\"}}, service_name)", names.join("|"));
    json!({
        "name": "service", "label": "Service", "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "definition": query, "query": {"query": query, "refId": "services"},
        "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        "includeAll": true, "allValue": ".+", "multi": true, "hide": 0, "options": [], "refresh": 2, "regex": "", "sort": 1
    })
}

fn red(layout: &mut Layout, metrics: &[Traffic], by: &str, legend: &str) {
    let requests = any(metrics, by, |metric| rate(metric, "count", CHOSEN));
    layout.panel(
        (8, 8),
        Look::Lines,
        "Rate",
        "Requests a second.",
        "reqps",
        &[Query::new(requests, legend).with_exemplars()],
    );
    let about = "Share of the requests that failed.";
    layout.panel((8, 8), Look::Lines, "Errors", about, "percentunit", &[Query::new(error_ratio(metrics, by), legend)]);
    let about = "99 of 100 requests were no slower.";
    let query = Query::new(quantile("0.99", metrics, by), legend).with_exemplars();
    layout.panel((8, 8), Look::Lines, "Duration, p99", about, "s", &[query]);
}

pub(super) fn overview() -> Dashboard {
    let (served, called) = (side(Side::Served), side(Side::Called));
    let mut layout = Layout::default();
    let stat = |layout: &mut Layout, title: &str, about: &str, unit: &str, expression: String| {
        layout.panel((6, 4), Look::Stat, title, about, unit, &[Query::new(expression, "")]);
    };
    let requests = any(&served, "kind", |metric| rate(metric, "count", CHOSEN));
    stat(&mut layout, "Requests", "Answered by all services.", "reqps", format!("sum({requests})"));
    stat(&mut layout, "Errors", "Share of these that failed.", "percentunit", {
        let errors = any(&served, "kind", |metric| rate(metric, "count", &failed()));
        format!("(sum({errors}) or vector(0)) / sum({requests})")
    });
    stat(&mut layout, "Duration, p99", "Of the slowest protocol among these.", "s", quantile("0.99", &served, ""));
    let about = "Share of the exchanges that the agents reported; the least of all agents.";
    stat(&mut layout, "Seen", about, "percentunit", format!("min({})", own("redtap_capture_ratio")));
    layout.row("What services answer");
    red(&mut layout, &served, "service_name", "{{service_name}}");
    layout.row("What services ask of others");
    red(&mut layout, &called, "service_name", "{{service_name}}");
    dashboard("overview.json", "redtap-overview", "redtap / Overview", vec![services()], layout.done())
}

pub(super) fn service() -> Dashboard {
    let http = Traffic::of(Metric::HttpServerRequestDuration);
    let (served, called) = (side(Side::Served), side(Side::Called));
    let mut layout = Layout::default();
    layout.row("Served");
    red(&mut layout, &served, "service_name, kind", "{{service_name}} {{kind}}");
    let quantiles: Vec<Query> = ["0.5", "0.9", "0.99"]
        .iter()
        .map(|share| {
            Query::new(quantile(share, &served, ""), format!("p{}", share.trim_start_matches("0."))).with_exemplars()
        })
        .collect();
    let about = "Of the requests served; of the slowest protocol, if there are several.";
    layout.panel((24, 8), Look::Lines, "Durations", about, "s", &quantiles);
    layout.row("HTTP");
    let heat = format!("sum by (le) ({})", rate(http, "bucket", CHOSEN));
    let query = Query::new(heat, "{{le}}").with_exemplars();
    layout.panel((12, 8), Look::HeatMap, "Durations, heat map", "How many requests took how long.", "s", &[query]);
    let code = http.label("http.response.status_code");
    let codes = format!("sum by ({code}) ({})", rate(http, "count", CHOSEN));
    layout.panel(
        (12, 8),
        Look::Stacked,
        "Status codes",
        "Answers a second.",
        "reqps",
        &[Query::new(codes, format!("{{{{{code}}}}}"))],
    );
    let (method, route) = (http.label("http.request.method"), http.label("http.route"));
    let by = format!("{method}, {route}");
    let endpoints = format!("topk(20, sum by ({by}) ({}))", rate(http, "count", CHOSEN));
    let legend = format!("{{{{{method}}}}} {{{{{route}}}}}");
    layout.panel(
        (12, 8),
        Look::Lines,
        "Endpoints",
        "The busiest 20.",
        "reqps",
        &[Query::new(endpoints, legend.clone())],
    );
    let slow = format!("topk(20, histogram_quantile(0.99, sum by ({by}, le) ({})))", rate(http, "bucket", CHOSEN));
    layout.panel(
        (12, 8),
        Look::Lines,
        "Slowest endpoints, p99",
        "The slowest 20.",
        "s",
        &[Query::new(slow, legend.clone()).with_exemplars()],
    );
    let bad = format!("topk(20, sum by ({by}) ({}))", rate(http, "count", &failed()));
    layout.panel(
        (12, 8),
        Look::Lines,
        "Failing endpoints",
        "Failed requests a second.",
        "reqps",
        &[Query::new(bad, legend)],
    );
    layout.row("Errors");
    let error = underscored(ERROR);
    let errors = any(&served, &format!("service_name, {error}"), |metric| rate(metric, "count", &failed()));
    let legend = format!("{{{{service_name}}}} {{{{{error}}}}}");
    layout.panel(
        (12, 8),
        Look::Stacked,
        "Served, by kind of error",
        "Failed requests a second.",
        "reqps",
        &[Query::new(errors, legend.clone())],
    );
    let errors = any(&called, &format!("service_name, {error}"), |metric| rate(metric, "count", &failed()));
    layout.panel(
        (12, 8),
        Look::Stacked,
        "Called, by kind of error",
        "Failed calls a second.",
        "reqps",
        &[Query::new(errors, legend)],
    );
    layout.row("Called");
    red(&mut layout, &called, "service_name, kind", "{{service_name}} {{kind}}");
    dashboard("service.json", "redtap-service", "redtap / Service", vec![services()], layout.done())
}

pub(super) fn stores() -> Dashboard {
    let mut layout = Layout::default();
    let parts = [
        ("Databases", Metric::DbClientOperationDuration, "db.system.name", "db.operation.name", "db.query.summary"),
        (
            "Messaging",
            Metric::MessagingClientOperationDuration,
            "messaging.system",
            "messaging.operation.name",
            "messaging.destination.name",
        ),
    ];
    for (title, metric, system, operation, what) in parts {
        let metric = Traffic::of(metric);
        let (system, operation, what) = (metric.label(system), metric.label(operation), metric.label(what));
        let server = metric.label("server.address");
        layout.row(title);
        let systems = format!("{system}, {server}");
        let legend = format!("{{{{{system}}}}} {{{{{server}}}}}");
        let rates = format!("sum by ({systems}) ({})", rate(metric, "count", CHOSEN));
        layout.panel(
            (8, 8),
            Look::Lines,
            "Rate",
            "Operations a second.",
            "ops",
            &[Query::new(rates.clone(), legend.clone()).with_exemplars()],
        );
        let errors = format!("(sum by ({systems}) ({}) or 0 * {rates}) / {rates}", rate(metric, "count", &failed()));
        layout.panel(
            (8, 8),
            Look::Lines,
            "Errors",
            "Share of the operations that failed.",
            "percentunit",
            &[Query::new(errors, legend.clone())],
        );
        let slow = format!("histogram_quantile(0.99, sum by ({systems}, le) ({}))", rate(metric, "bucket", CHOSEN));
        layout.panel((8, 8), Look::Lines, "Duration, p99", "", "s", &[Query::new(slow, legend).with_exemplars()]);
        let operations = format!("sum by ({system}, {operation}) ({})", rate(metric, "count", CHOSEN));
        let legend = format!("{{{{{system}}}}} {{{{{operation}}}}}");
        layout.panel((12, 8), Look::Stacked, "Operations", "A second.", "ops", &[Query::new(operations, legend)]);
        let busiest =
            format!("topk(20, sum by ({what}) (rate({}{{{CHOSEN},{what}!=\"\"}}[{WINDOW}])))", metric.part("count"));
        let about = "The busiest 20, by what they are about.";
        layout.panel((12, 8), Look::Lines, "Subjects", about, "ops", &[Query::new(busiest, format!("{{{{{what}}}}}"))]);
    }
    dashboard("stores.json", "redtap-stores", "redtap / Databases and messaging", vec![services()], layout.done())
}

pub(super) fn topology() -> Dashboard {
    let (requests, failed) = (Traffic::of(Metric::ServiceGraphRequests), Traffic::of(Metric::ServiceGraphFailed));
    let (server, client) = (Traffic::of(Metric::ServiceGraphServer), Traffic::of(Metric::ServiceGraphClient));
    let window = "$__range";
    let total = |metric: Traffic| format!("rate({}[{window}])", metric.0.prometheus);
    let mut layout = Layout::default();
    let nodes = format!(
        "label_replace(sum by (server) ({0}), \"id\", \"$1\", \"server\", \"(.*)\") or label_replace(sum by (client) ({0}) * 0, \"id\", \"$1\", \"client\", \"(.*)\")",
        total(requests)
    );
    let nodes = format!("label_replace(sum by (id) ({nodes}), \"title\", \"$1\", \"id\", \"(.*)\")");
    let edges = format!(
        "label_join(label_replace(label_replace(sum by (client, server) ({}), \"source\", \"$1\", \"client\", \"(.*)\"), \"target\", \"$1\", \"server\", \"(.*)\"), \"id\", \" > \", \"client\", \"server\")",
        total(requests)
    );
    let about = "Who calls whom, requests a second over the range.";
    layout.panel(
        (24, 16),
        Look::NodeGraph,
        "Topology",
        about,
        "reqps",
        &[Query::instant(nodes), Query::instant(edges)],
    );
    let edge = "client, server, connection_type";
    let rows = [
        Query::instant(format!("sum by ({edge}) ({})", total(requests))),
        Query::instant(format!("sum by ({edge}) ({})", total(failed))),
        Query::instant(format!(
            "histogram_quantile(0.99, sum by ({edge}, le) (rate({}[{window}])))",
            client.part("bucket")
        )),
        Query::instant(format!(
            "histogram_quantile(0.99, sum by ({edge}, le) (rate({}[{window}])))",
            server.part("bucket")
        )),
    ];
    let about =
        "A: requests a second. B: failed ones. C: p99 in seconds as the client saw it. D: as the server saw it.";
    layout.panel((24, 10), Look::Table, "Edges", about, "short", &rows);
    let legend = "{{client}} > {{server}}";
    let busiest = format!("topk(20, sum by (client, server) (rate({}[{WINDOW}])))", requests.0.prometheus);
    layout.panel((12, 8), Look::Lines, "Busiest edges", "Requests a second.", "reqps", &[Query::new(busiest, legend)]);
    let failing = format!("topk(20, sum by (client, server) (rate({}[{WINDOW}])))", failed.0.prometheus);
    layout.panel(
        (12, 8),
        Look::Lines,
        "Failing edges",
        "Failed requests a second.",
        "reqps",
        &[Query::new(failing, legend)],
    );
    dashboard("topology.json", "redtap-topology", "redtap / Topology", Vec::new(), layout.done())
}

pub(super) fn agent() -> Dashboard {
    let mut layout = Layout::default();
    let rate = |name: &'static str| format!("rate({}[{WINDOW}])", own(name));
    layout.row("What it sees");
    let share = Query::new(own("redtap_capture_ratio"), "{{instance}}");
    layout.panel((6, 8), Look::Lines, "Reported", "Share of the exchanges that was reported.", "percentunit", &[share]);
    let sampling = Query::new(own("redtap_sampling_ratio"), "{{instance}}");
    layout.panel(
        (6, 8),
        Look::Lines,
        "Followed",
        "Share of the connections; below 1 counts are estimates.",
        "percentunit",
        &[sampling],
    );
    let fates = [
        ("redtap_exchanges_reported_total", "reported"),
        ("redtap_exchanges_missed_total", "missed"),
        ("redtap_exchanges_dropped_total", "dropped"),
        ("redtap_exchanges_lost_total", "lost"),
        ("redtap_exchanges_undelivered_total", "undelivered"),
    ];
    let fates: Vec<Query> =
        fates.iter().map(|(name, fate)| Query::new(format!("sum({})", rate(name)), *fate)).collect();
    layout.panel((12, 8), Look::Stacked, "Exchanges", "A second, by what became of them.", "ops", &fates);
    let lost = Query::new(format!("sum by (reason) ({})", rate("redtap_events_lost_total")), "{{reason}}");
    layout.panel((8, 8), Look::Lines, "Events lost", "A second, by reason.", "ops", &[lost]);
    let found = Query::new(format!("sum by (as) ({})", rate("redtap_connections_identified_total")), "{{as}}");
    layout.panel((8, 8), Look::Lines, "Connections identified", "A second, by what they speak.", "ops", &[found]);
    let held = [
        Query::new(own("redtap_connections"), "{{instance}} connections"),
        Query::new(own("redtap_series"), "{{instance}} series"),
    ];
    layout.panel((8, 8), Look::Lines, "Connections and series", "Held now.", "short", &held);
    layout.row("What it costs");
    let cpu = [
        Query::new(rate("redtap_process_cpu_seconds_total"), "{{instance}} threads"),
        Query::new(own("redtap_governor_used_ratio"), "{{instance}} {{of}}"),
        Query::new(own("redtap_governor_budget_ratio"), "{{instance}} budget"),
    ];
    layout.panel((8, 8), Look::Lines, "Processor", "Share of one processor.", "percentunit", &cpu);
    let memory = Query::new(own("redtap_process_resident_bytes"), "{{instance}}");
    layout.panel((8, 8), Look::Lines, "Memory", "Resident.", "bytes", &[memory]);
    let ring = format!("{} / {}", own("redtap_ring_fill_bytes"), own("redtap_ring_capacity_bytes"));
    layout.panel(
        (8, 8),
        Look::Lines,
        "Ring",
        "How full.",
        "percentunit",
        &[Query::new(ring, "{{instance}} {{shard}}")],
    );
    layout.row("What it sends");
    let alarms = Query::new(format!("sum by (severity, state) ({})", own("redtap_alarms")), "{{severity}} {{state}}");
    layout.panel((8, 8), Look::Lines, "Alarms", "By severity.", "short", &[alarms]);
    let sent = Query::new(format!("sum by (exporter) ({})", rate("redtap_export_delivered_total")), "{{exporter}}");
    layout.panel((8, 8), Look::Lines, "Delivered", "Samples, spans, notifications a second.", "ops", &[sent]);
    let stuck = [
        Query::new(format!("sum by (exporter) ({})", own("redtap_export_pending")), "{{exporter}} pending"),
        Query::new(
            format!("sum by (exporter, reason) ({})", rate("redtap_export_undelivered_total")),
            "{{exporter}} {{reason}}",
        ),
    ];
    layout.panel((8, 8), Look::Lines, "Not delivered", "Waiting; given up a second.", "short", &stuck);
    dashboard("agent.json", "redtap-agent", "redtap / Agent", Vec::new(), layout.done())
}
