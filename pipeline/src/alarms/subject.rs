//! What rules are about: which metric counts which side of which protocol family, and which of its labels say what.
//!
//! All of it is read out of the table of metrics, so that a metric that is added to the table is watched as well.
//! The evaluator and the rules for Prometheus both ask here. Absent: values.

use redtap_stages::metric::{Entry, Kind, Source, TABLE};

/// Which side of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// What a service answers.
    Served,
    /// What it asks of others.
    Called,
}

impl Side {
    /// As configuration and metrics say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Called => "called",
        }
    }
}

/// One metric as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Its entry in the table.
    pub entry: &'static Entry,
    /// Which side it counts.
    pub side: Side,
    /// Protocol family: `http`, `rpc`, `db`, `messaging`, `dns`.
    pub kind: &'static str,
    /// Bounds of its buckets, seconds.
    pub bounds: &'static [f64],
    /// The label that names the method or operation.
    pub method: Option<&'static str>,
    /// The label that names the endpoint.
    pub endpoint: Option<&'static str>,
}

/// The label that tells errors, and what kind they are: it is not there where there was none.
pub const ERROR: &str = "error.type";

/// All of them, in the order of the table. Edges of the service graph are none.
pub fn subjects() -> impl Iterator<Item = Subject> {
    TABLE.iter().filter_map(subject)
}

/// What a metric of the table is to rules.
#[must_use]
pub fn subject(entry: &'static Entry) -> Option<Subject> {
    let Kind::Histogram(bounds) = entry.kind else { return None };
    if entry.has(Source::Edge) {
        return None;
    }
    let (kind, rest) = entry.otel.split_once('.')?;
    let side = if rest.starts_with("server.") { Side::Served } else { Side::Called };
    let named = |wanted: &[Source]| {
        let label = entry.labels.iter().find(|label| wanted.contains(&label.source));
        label.map(|label| label.name)
    };
    Some(Subject {
        entry,
        side,
        kind,
        bounds,
        method: named(&[Source::Method]),
        endpoint: named(&[Source::Endpoint, Source::Summary]),
    })
}

/// A label's name in Prometheus.
#[must_use]
pub fn underscored(label: &str) -> String {
    label.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_both_sides_and_the_graph_none() {
        let found: Vec<(&str, &str, Option<&str>)> =
            subjects().map(|one| (one.kind, one.side.name(), one.endpoint)).collect();
        assert_eq!(
            found,
            [
                ("http", "served", Some("http.route")),
                ("http", "called", Some("http.route")),
                ("db", "served", Some("db.query.summary")),
                ("db", "called", Some("db.query.summary")),
                ("dns", "served", Some("dns.question.name")),
                ("dns", "called", Some("dns.question.name")),
                ("rpc", "served", Some("rpc.method")),
                ("rpc", "called", Some("rpc.method")),
                ("messaging", "served", Some("messaging.destination.name")),
                ("messaging", "called", Some("messaging.destination.name")),
            ]
        );
    }
}
