//! The table of all configuration keys: name, kind, default, one sentence.
//!
//! Everything else is derived from it: what is unknown, the names of the environment variables, the defaults, the
//! output of `redtap config` and the list in `docs/configuration.md` (a test compares them).

/// Shown instead of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value, written as text, number or truth value.
    One,
    /// A list of values; in the environment separated by commas.
    List,
    /// A table of names and values.
    Table,
    /// Tables by name, each with these fields; a field with the name of a table and a dot before belongs to that table.
    Tables(&'static [&'static str]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path in `redtap.toml`.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// The default as it would be written; empty for an empty list or table.
    pub default: &'static str,
    /// One sentence for people.
    pub help: &'static str,
}

const fn one(path: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { path, kind: Kind::One, default, help }
}

const fn list(path: &'static str, help: &'static str) -> Key {
    Key { path, kind: Kind::List, default: "", help }
}

const fn table(path: &'static str, help: &'static str) -> Key {
    Key { path, kind: Kind::Table, default: "", help }
}

/// The keys that say how receivers are reached, which every section of an exporter has, in one table: what comes before their names, and
/// what the receiver is called. [`super::client`] reads them.
macro_rules! receiver {
    ($before:literal, $who:literal) => {
        receiver!($before, $who, "10s", "100ms to 5m")
    };
    ($before:literal, $who:literal, $timeout:literal, $range:literal) => {
        &[
            one(
                concat!($before, "timeout"),
                $timeout,
                concat!("How long one request to the ", $who, " may take, until the end of the answer: ", $range, "."),
            ),
            one(concat!($before, "basic_user"), "", "User for basic authentication."),
            one(concat!($before, "basic_password"), "", "Its password; never shown."),
            one(concat!($before, "basic_password_file"), "", "File that holds the password, read for each request."),
            one(concat!($before, "bearer_token"), "", "Token for authentication by bearer token; never shown."),
            one(concat!($before, "bearer_token_file"), "", "File that holds the token, read for each request."),
            one(concat!($before, "tls_ca_file"), "", "Certificates (PEM) to trust instead of the system's."),
            one(concat!($before, "tls_cert_file"), "", "The agent's own certificate (PEM), for mutual TLS."),
            one(concat!($before, "tls_key_file"), "", "Its key (PEM)."),
            one(
                concat!($before, "tls_server_name"),
                "",
                concat!("Name that the certificate of the ", $who, " must bear; empty: the host of the URL."),
            ),
            one(
                concat!($before, "tls_insecure"),
                "false",
                concat!("Take any certificate of the ", $who, ": true or false."),
            ),
            one(concat!($before, "proxy"), "", "HTTP proxy to go through, such as http://proxy:3128."),
        ]
    };
}

/// The table of headers that goes with [`receiver`]; it stands behind all keys of a section, as TOML wants tables to.
macro_rules! headers {
    ($before:literal) => {
        table(
            concat!($before, "headers"),
            "Headers sent with each request, such as X-Scope-OrgID; values are never shown.",
        )
    };
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &all::<{ count() }>();

const fn count() -> usize {
    let (mut groups, mut count) = (GROUPS, 0);
    while let Some((group, rest)) = groups.split_first() {
        count += group.len();
        groups = rest;
    }
    count
}

#[expect(clippy::indexing_slicing, reason = "when it is compiled, and of as many as were counted")]
const fn all<const N: usize>() -> [Key; N] {
    let mut all = [one("", "", ""); N];
    let (mut groups, mut at) = (GROUPS, 0);
    while let Some((group, rest)) = groups.split_first() {
        let mut group = *group;
        while let Some((key, others)) = group.split_first() {
            all[at] = *key;
            at += 1;
            group = others;
        }
        groups = rest;
    }
    all
}

const GROUPS: &[&[Key]] = &[
    PIPELINE,
    OTLP,
    receiver!("otlp.", "receiver"),
    OTLP_MORE,
    ALARMS,
    receiver!("alarms.alertmanager_", "Alertmanager"),
    receiver!("alarms.webhook_", "webhook"),
    receiver!("alarms.slack_", "webhook of Slack"),
    ALARMS_TABLES,
    REMOTE_WRITE,
    receiver!("remote_write.", "receiver"),
    REMOTE_WRITE_TABLES,
    OTLP_TABLES,
    UI,
    receiver!("ui.query_", "engine", "8s", "100ms to 9s, as long as all of a report may"),
    UI_TABLES,
    LOG,
];

const PIPELINE: &[Key] = &[
    one("probe.rung", "auto", "Which hooks to use: auto (the best that loads), socket or syscall."),
    one("probe.shards", "1", "Rings, each with a pipeline of its own: 1 to 8."),
    one("probe.ring_bytes", "4MiB", "Size of one ring, a power of two from 4KiB to 1GiB."),
    one(
        "probe.ingress_budget",
        "4KiB",
        "Bytes captured of a turn that the process receives, until the protocol is known (of requests, 16 times as many): 0, or a power of two to 64KiB.",
    ),
    one(
        "probe.egress_budget",
        "4KiB",
        "Bytes captured of a turn that the process sends, likewise: 0, or a power of two to 64KiB.",
    ),
    list("probe.allow.cgroup", "Watch only these cgroups and what is below them (path or id)."),
    list("probe.allow.pidns", "Watch only these pid namespaces (inode number or /proc/PID/ns/pid)."),
    list("probe.allow.process", "Watch only these processes (name as in /proc/PID/comm, or pid)."),
    list("probe.allow.port", "Watch only connections with one of these ports at either end."),
    list("probe.deny.cgroup", "Never watch these cgroups and what is below them."),
    list("probe.deny.pidns", "Never watch these pid namespaces."),
    list("probe.deny.process", "Never watch these processes."),
    list("probe.deny.port", "Never watch connections with one of these ports."),
    one("http.listen", "127.0.0.1:9464", "Address of /metrics, the API and the web interface."),
    one("http.allow_remote", "false", "Listen on an address that is not of this machine alone: true or false."),
    list(
        "http.hosts",
        "Names that the agent answers to, besides addresses, localhost and the machine's own; *.NAME stands for all below.",
    ),
    one(
        "http.token",
        "",
        "What requests must show, but for /healthz and /readyz: 16 to 256 letters, digits, - . _ or ~.",
    ),
    one("http.token_file", "", "A file that holds the token, instead of http.token."),
    one("http.tls_cert", "", "A PEM file with the certificate chain of the endpoint, which then speaks TLS alone."),
    one("http.tls_key", "", "A PEM file with the key that goes with it."),
    one(
        "pipeline.threads",
        "one",
        "Threads of a shard's stages: one (all together) or split (up to parse, from pair on).",
    ),
    one("pipeline.edge_batches", "8", "Batches between two stages: 2 to 1024."),
    one("match.timeout", "30s", "A request without an answer for this long is reported as timed out: 100ms to 1h."),
    one("match.dns_timeout", "5s", "The same for DNS: 100ms to 1h."),
    list("filter.allow.process", "Report only exchanges of processes with these names."),
    list("filter.allow.port", "Report only exchanges with these server ports."),
    list(
        "filter.allow.protocol",
        "Report only these protocols: http, http2, grpc, redis, dns, mysql, postgresql, kafka.",
    ),
    list("filter.allow.route", "Report only requests whose target matches one of these globs."),
    list("filter.deny.process", "Do not report exchanges of processes with these names."),
    list("filter.deny.port", "Do not report exchanges with these server ports."),
    list("filter.deny.protocol", "Do not report these protocols."),
    list("filter.deny.route", "Do not report requests whose target matches one of these globs."),
    list("filter.health_checks", "Paths of health checks that are not to be reported, such as /healthz."),
    list("converge.routes", "Route templates that come before the inferred ones, such as /users/{id}, in order."),
    one("converge.learned_limit", "20", "Distinct values of a path segment before it becomes {var}: 2 to 256."),
    one("converge.dns_labels", "0", "Last labels of a DNS name kept as dns.question.name: 0 (none) to 8."),
    list("converge.methods", "HTTP methods reported by name; empty: those of the standards."),
    one(
        "series.per_service",
        "500",
        "Series of one service; what comes after goes to an overflow series: 10 to 100000.",
    ),
    one("series.expiry", "15m", "A series that gained nothing for this long is forgotten: 10s to 7d."),
    one("history.memory", "32MiB", "Memory for the history of the last hour and the last day: 1MiB to 4GiB."),
    one("history.path", "", "A file that the history is saved to, and read from at start; empty: none."),
    one("calls.keep", "2000", "Single calls kept in memory for /api/v1/calls, the newest: 0 to 100000."),
    one(
        "calls.exemplars",
        "all",
        "Calls shown as exemplars of duration histograms: all, said (only those whose request named its trace) or off; none where calls.keep is 0.",
    ),
    one(
        "governor.cpu",
        "2%",
        "Processor time that the agent and its kernel programs may use, in percent of one processor; above it the agent does less, in the end by sampling: 0.1% to 10000%, or 0 (or off) for no such bound.",
    ),
    Key {
        path: "join.services",
        kind: Kind::Table,
        default: "",
        help: "Service names by process name, before everything else that names a service.",
    },
];

const OTLP: &[Key] = &[
    one("otlp.protocol", "http/protobuf", "What the receiver of OTLP speaks: http/protobuf or grpc."),
    one(
        "otlp.endpoint",
        "",
        "Where OTLP goes: a base such as http://127.0.0.1:4318 (gRPC: http://127.0.0.1:4317), to which v1/metrics and v1/traces, or the names of the calls, are added; empty: nowhere.",
    ),
    one("otlp.metrics_endpoint", "", "The whole URL for metrics (gRPC: their base), instead."),
    one("otlp.traces_endpoint", "", "The whole URL for traces (gRPC: their base), instead."),
    one("otlp.compression", "gzip", "How OTLP requests are compressed: gzip or none."),
];

const OTLP_MORE: &[Key] = &[
    one(
        "otlp.queue_bytes",
        "16MiB",
        "Bytes of OTLP requests that may wait, of metrics and of traces: 64KiB to 1GiB; then the oldest are dropped.",
    ),
    one("otlp.metrics", "true", "Send metrics by OTLP: true or false."),
    one("otlp.interval", "15s", "How often metrics are sent by OTLP: 1s to 1h, at most half of series.expiry."),
    one(
        "otlp.temporality",
        "cumulative",
        "What OTLP metrics say: cumulative (since they began) or delta (since the last time).",
    ),
    one("otlp.traces", "true", "Send traces by OTLP: true or false."),
    one(
        "otlp.traces_ratio",
        "10%",
        "Share of the traces that are sent by OTLP, by trace id: 0% to 100%. Errors are sent besides.",
    ),
    one("otlp.slowest_per_window", "10", "So many of the slowest exchanges of every 10 s are sent besides: 0 to 1000."),
    one("otlp.spans_per_second", "500", "Most spans sent in a second by OTLP: 1 to 100000."),
];

const ALARMS: &[Key] = &[
    one("alarms.enabled", "true", "Evaluate the rules below: true or false."),
    one("alarms.interval", "10s", "How often: 1s to 5m."),
    one("alarms.state", "", "File that keeps alarms over a restart; empty: none."),
    list("alarms.off", "Rules that are switched off, by name."),
    list("alarms.alertmanagers", "URLs of Alertmanagers; each is told everything."),
    one("alarms.resend", "1m", "How often Alertmanagers are told again of what still fires: 10s to 1h."),
    list("alarms.webhooks", "URLs that are sent each alarm that begins or ends."),
    one(
        "alarms.webhook_template",
        "",
        "Body of these with {{ field }} for what is filled in; empty: JSON with everything.",
    ),
    list("alarms.slack", "URLs of incoming webhooks of Slack, or of what speaks like it."),
];

const ALARMS_TABLES: &[Key] = &[
    table("alarms.labels", "Labels of all alarms; host is the name of this host if it is not given here."),
    headers!("alarms.alertmanager_"),
    headers!("alarms.webhook_"),
    headers!("alarms.slack_"),
    Key {
        path: "alarms.rules",
        kind: Kind::Tables(crate::alarms::rule::FIELDS),
        default: "",
        help: "Rules by name; those that are built in can be changed field by field.",
    },
];

const REMOTE_WRITE: &[Key] = &[
    one(
        "remote_write.url",
        "",
        "Where to send samples by Prometheus remote write, such as https://host:9090/api/v1/write; empty: nowhere.",
    ),
    one("remote_write.interval", "15s", "Time between two samples of a series: 1s to 1h."),
    one(
        "remote_write.protocol",
        "auto",
        "Version of the protocol: auto (2.0 where the receiver knows it, else 1.0), 1.0 or 2.0.",
    ),
    one(
        "remote_write.native_histograms",
        "false",
        "Send each histogram as one native histogram with custom buckets (2.0 only): true or false.",
    ),
    one("remote_write.max_samples", "2000", "Most samples of a request: 100 to 50000."),
    one("remote_write.shards", "1", "Requests at a time, each for series of its own: 1 to 16."),
    one(
        "remote_write.spool",
        "",
        "Folder that keeps what could not be sent yet, also over a restart; empty: it is kept in memory.",
    ),
    one(
        "remote_write.spool_bytes",
        "64MiB",
        "Most bytes kept of what could not be sent yet; then the oldest goes: 1MiB to 16GiB.",
    ),
    one("remote_write.job", "redtap", "Label job of all series."),
    one("remote_write.instance", "", "Label instance of all series; empty: the name of the host."),
];

const REMOTE_WRITE_TABLES: &[Key] = &[
    table("remote_write.external_labels", "Labels added to each series that has none of that name, such as cluster."),
    headers!("remote_write."),
];

const OTLP_TABLES: &[Key] = &[
    headers!("otlp."),
    table(
        "otlp.resource_attributes",
        "Attributes of the agent's own OTLP resource; those of no single service are on all resources.",
    ),
];

const UI: &[Key] = &[
    one(
        "ui.query_url",
        "",
        "An engine with Prometheus' HTTP API, such as http://prometheus:9090, that reports of all agents come from; empty: this agent's own history.",
    ),
    one(
        "ui.query_interval",
        "15s",
        "How often agents are scraped, or write to it: 1s to 10m; steps of reports are no shorter.",
    ),
];

const UI_TABLES: &[Key] =
    &[table("ui.query_labels", "Labels that series must have to be shown, such as cluster."), headers!("ui.query_")];

const LOG: &[Key] = &[one("log.level", "info", "What goes to standard error: off, error, warn, info, debug or trace.")];

/// Names of keys whose values are never shown, in whatever section; of a table, all entries.
const SECRETS: &[&str] = &["slack", "token", "webhooks"];
/// Ends of such names: those of [`receiver`], whatever stands before them.
const SECRET_ENDS: &[&str] = &["basic_password", "bearer_token", "headers"];
/// Ends of names of keys that hold addresses.
const ADDRESS_ENDS: &[&str] = &["url", "endpoint", "proxy", "alertmanagers"];

/// True if the value of this key, or of this entry of a table, must not be shown: neither by `redtap config` nor in an error.
#[must_use]
pub fn is_secret(path: &str) -> bool {
    let secret = |name: &str| SECRETS.contains(&name) || SECRET_ENDS.iter().any(|end| name.ends_with(end));
    path.split('.').skip(1).any(secret)
}

/// True if the value of this key is an address, or several: of one, only [`shown_address`] is shown.
#[must_use]
pub fn is_address(path: &str) -> bool {
    find(path).is_some_and(|key| ADDRESS_ENDS.iter().any(|end| key.path.ends_with(end)))
}

/// An address with what may be secret in it replaced: user and password, query and fragment. `None`: there is nothing like that in it.
#[must_use]
pub fn shown_address(text: &str) -> Option<String> {
    if !text.contains(['@', '?', '#']) {
        return None;
    }
    // What does not read as an address may hold a password in any place.
    let url = reqwest::Url::parse(text).ok().filter(|url| url.has_host());
    Some(url.map_or_else(|| HIDDEN.to_owned(), |url| format!("{}?{HIDDEN}", crate::export::client::shown(&url))))
}

/// The key with this path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// True if some key lies in the section `path`.
#[must_use]
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The environment variable of a path.
#[must_use]
pub fn variable(path: &str) -> String {
    format!("{}__{}", super::PREFIX, path.replace('.', "__").to_uppercase())
}

/// The known path closest to an unknown one, if any is close.
#[must_use]
pub fn closest(path: &str) -> Option<&'static str> {
    let last = path.rsplit('.').next().unwrap_or(path);
    KEYS.iter()
        .map(|key| {
            let whole = distance(path, key.path);
            let moved = distance(last, key.path.rsplit('.').next().unwrap_or(key.path)).saturating_mul(2);
            (whole.min(moved + 1), key.path)
        })
        .filter(|&(distance, _)| distance <= 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, path)| path)
}

/// The word closest to another, if any is close.
#[must_use]
pub fn closest_of<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let distances = words.iter().map(|known| (distance(word, known), *known));
    distances.filter(|&(distance, _)| distance <= 4).min_by_key(|&(distance, _)| distance).map(|(_, known)| known)
}

/// Edit distance, of at most the first 64 bytes.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let here = (diagonal + usize::from(x != *y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_edit_distance() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn suggests_only_what_is_close() {
        assert_eq!(closest("http.lisen"), Some("http.listen"));
        assert_eq!(closest("probe.ring_byte"), Some("probe.ring_bytes"));
        assert_eq!(closest("http.ring_bytes"), Some("probe.ring_bytes"), "the right name in the wrong section");
        assert_eq!(closest("kafka.brokers"), None);
    }

    #[test]
    fn what_is_secret_is_so_whatever_stands_before_its_name() {
        for path in [
            "otlp.headers.x",
            "alarms.slack_basic_password",
            "alarms.webhooks",
            "ui.query_bearer_token",
            "http.token",
            "alarms.alertmanager_headers",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in ["otlp.basic_password_file", "alarms.webhook_template", "alarms.slack_timeout", "http.token_file"] {
            assert!(!is_secret(path), "{path}");
        }
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (text, shown) in [
            ("http://a:1/b?c=d", Some("http://a:1/b?(hidden)")),
            ("http://u:p@a/b#c", Some("http://a/b?(hidden)")),
            ("u:p@a", Some(HIDDEN)),
            ("http://a:1/b", None),
        ] {
            assert_eq!(shown_address(text).as_deref(), shown);
        }
        let addresses: Vec<&str> = KEYS.iter().map(|key| key.path).filter(|path| is_address(path)).collect();
        assert_eq!(addresses.len(), 12, "{addresses:?}");
    }

    #[test]
    fn no_key_is_listed_twice_or_is_a_section_of_another() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(at + 1).all(|other| other.path != key.path), "{}", key.path);
            assert!(!is_section(key.path), "{}", key.path);
        }
    }
}
