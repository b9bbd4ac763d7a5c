//! The table of all configuration keys: name, kind, default, one sentence.
//!
//! Everything else is derived from it: what is unknown, the names of the environment variables, the defaults, the
//! output of `redtap config` and the list in `docs/configuration.md` (a test compares them).

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value, written as text, number or truth value.
    One,
    /// A list of values; in the environment separated by commas.
    List,
    /// A table of names and values.
    Table,
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

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
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
    one("calls.keep", "2000", "Single calls kept in memory for /api/v1/calls, the newest: 0 to 100000."),
    one("history.memory", "32MiB", "Memory for the history of the last hour and the last day: 1MiB to 4GiB."),
    one("history.path", "", "A file that the history is saved to, and read from at start; empty: none."),
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
    one("log.level", "info", "What goes to standard error: off, error, warn, info, debug or trace."),
];

/// The key with this path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// True if the value is nobody's business: it is shown neither by `redtap config` nor in an error.
#[must_use]
pub fn is_secret(path: &str) -> bool {
    matches!(path.rsplit('.').next(), Some("token" | "password" | "secret"))
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
    fn no_key_is_listed_twice_or_is_a_section_of_another() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(at + 1).all(|other| other.path != key.path), "{}", key.path);
            assert!(!is_section(key.path), "{}", key.path);
        }
    }
}
