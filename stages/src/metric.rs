//! The one table of traffic metrics: names, units, buckets and labels, for Prometheus and OTLP alike.
//!
//! Names follow the OpenTelemetry semantic conventions (v1.44) and, for the service graph, Grafana's. The Prometheus name
//! is made from the OpenTelemetry name by the specification's rules (dots to underscores, unit suffix, `_total`).

pub mod values;

/// Most bucket bounds a histogram of the table has.
pub const MAX_BUCKETS: usize = 14;

/// Bounds for HTTP, RPC, messaging and DNS durations, seconds.
pub const BOUNDS_REQUEST: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds for database operations, seconds.
pub const BOUNDS_DATABASE: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Unit of what is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Observed in nanoseconds, rendered in seconds.
    Seconds,
    /// A count of things named in the metric.
    Count,
}

/// Kind of metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Explicit bounds, in rendered units, ascending; +Inf not listed.
    Histogram(&'static [f64]),
}

/// The traffic metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Requests that an HTTP service answered.
    HttpServerRequestDuration,
    /// HTTP requests that a service made.
    HttpClientRequestDuration,
    /// Operations that a database answered (no convention has this side).
    DbServerOperationDuration,
    /// Database operations that a service made.
    DbClientOperationDuration,
    /// Questions that a DNS server answered (no convention has this side).
    DnsServerLookupDuration,
    /// DNS look-ups that a service made.
    DnsLookupDuration,
    /// Remote procedures that a service answered.
    RpcServerCallDuration,
    /// Remote procedures that a service called.
    RpcClientCallDuration,
    /// Operations that a message broker answered (no convention has this side).
    MessagingServerOperationDuration,
    /// Operations that a service asked of a message broker.
    MessagingClientOperationDuration,
    /// Edges of the service graph.
    ServiceGraphRequests,
    /// Failed requests on the edges.
    ServiceGraphFailed,
    /// Edge durations as the server saw them.
    ServiceGraphServer,
    /// Edge durations as the client saw them.
    ServiceGraphClient,
}

/// What the table says of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// The metric.
    pub metric: Metric,
    /// OpenTelemetry name.
    pub otel: &'static str,
    /// Prometheus name.
    pub prometheus: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Kind.
    pub kind: Kind,
    /// In the order of the labels of a series. In Prometheus the dots of their names become underscores.
    pub labels: &'static [Label],
}

impl Entry {
    /// True if it has a label of that source.
    #[must_use]
    pub fn has(&self, source: Source) -> bool {
        self.labels.iter().any(|label| label.source == source)
    }
}

/// A label of a metric and where its value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// OpenTelemetry attribute name.
    pub name: &'static str,
    /// Where its value comes from.
    pub source: Source,
}

/// Where the value of a label comes from. A value that is empty makes no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The exchange's method.
    Method,
    /// Its endpoint.
    Endpoint,
    /// Its endpoint, if that is the summary of a query.
    Summary,
    /// The only table of a query.
    Collection,
    /// The database of the session.
    Namespace,
    /// The kind of operation, where the conventions have one for the method: [`values::operation_type`].
    OperationType,
    /// The version of the protocol, where it is known: [`values::version`].
    Version,
    /// Its code.
    Code,
    /// The product: [`system`](crate::protocols::traits::Traits::system).
    System,
    /// The other end's name, on the side that asks.
    Peer,
    /// The port of the end that answers.
    Port,
    /// Why it is an error.
    Fault,
    /// Always this.
    Fixed(&'static str),
    /// Of an edge of the service graph, and made there.
    Edge,
}

const fn label(name: &'static str, source: Source) -> Label {
    Label { name, source }
}

const PEER: Label = label("server.address", Source::Peer);
const PORT: Label = label("server.port", Source::Port);
const VERSION: Label = label("network.protocol.version", Source::Version);
const FAULT: Label = label("error.type", Source::Fault);

const HTTP_SERVER: &[Label] = &[
    label("http.request.method", Source::Method),
    label("http.route", Source::Endpoint),
    label("http.response.status_code", Source::Code),
    label("url.scheme", Source::Fixed("http")), // nothing encrypted is read
    VERSION,
    FAULT,
];
const HTTP_CLIENT: &[Label] = &[
    label("http.request.method", Source::Method),
    label("http.route", Source::Endpoint),
    label("http.response.status_code", Source::Code),
    VERSION,
    PEER,
    PORT,
    FAULT,
];
const DB: &[Label] = &[
    label("db.system.name", Source::System),
    label("db.namespace", Source::Namespace),
    label("db.query.summary", Source::Summary),
    label("db.collection.name", Source::Collection),
    label("db.operation.name", Source::Method),
    label("db.response.status_code", Source::Code),
    PEER,
    PORT,
    FAULT,
];
const DNS: &[Label] = &[
    label("dns.question.type", Source::Method),
    label("dns.question.name", Source::Endpoint),
    label("dns.response.code", Source::Code),
    PEER,
    FAULT,
];
const RPC_SERVER: &[Label] = &[
    label("rpc.system.name", Source::System),
    label("rpc.method", Source::Endpoint),
    label("rpc.status_code", Source::Code),
    FAULT,
];
const RPC_CLIENT: &[Label] = &[
    label("rpc.system.name", Source::System),
    label("rpc.method", Source::Endpoint),
    label("rpc.status_code", Source::Code),
    PEER,
    PORT,
    FAULT,
];
const MESSAGING: &[Label] = &[
    label("messaging.system", Source::System),
    label("messaging.operation.name", Source::Method),
    label("messaging.operation.type", Source::OperationType),
    label("messaging.destination.name", Source::Endpoint),
    label("messaging.response.status_code", Source::Code),
    PEER,
    PORT,
    FAULT,
];
const EDGE: &[Label] =
    &[label("client", Source::Edge), label("server", Source::Edge), label("connection_type", Source::Edge)];

/// All metrics, in the order in which they are rendered.
pub const TABLE: &[Entry] = &[
    Entry {
        metric: Metric::HttpServerRequestDuration,
        otel: "http.server.request.duration",
        prometheus: "http_server_request_duration_seconds",
        help: "Duration of HTTP requests that the service answered.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: HTTP_SERVER,
    },
    Entry {
        metric: Metric::HttpClientRequestDuration,
        otel: "http.client.request.duration",
        prometheus: "http_client_request_duration_seconds",
        help: "Duration of HTTP requests that the service made.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: HTTP_CLIENT,
    },
    Entry {
        metric: Metric::DbServerOperationDuration,
        otel: "db.server.operation.duration",
        prometheus: "db_server_operation_duration_seconds",
        help: "Duration of database operations that the service answered.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_DATABASE),
        labels: DB,
    },
    Entry {
        metric: Metric::DbClientOperationDuration,
        otel: "db.client.operation.duration",
        prometheus: "db_client_operation_duration_seconds",
        help: "Duration of database operations that the service made.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_DATABASE),
        labels: DB,
    },
    Entry {
        metric: Metric::DnsServerLookupDuration,
        otel: "dns.server.lookup.duration",
        prometheus: "dns_server_lookup_duration_seconds",
        help: "Duration of DNS look-ups that the service answered.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: DNS,
    },
    Entry {
        metric: Metric::DnsLookupDuration,
        otel: "dns.lookup.duration",
        prometheus: "dns_lookup_duration_seconds",
        help: "Duration of DNS look-ups that the service made.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: DNS,
    },
    Entry {
        metric: Metric::RpcServerCallDuration,
        otel: "rpc.server.call.duration",
        prometheus: "rpc_server_call_duration_seconds",
        help: "Duration of remote procedure calls that the service answered.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: RPC_SERVER,
    },
    Entry {
        metric: Metric::RpcClientCallDuration,
        otel: "rpc.client.call.duration",
        prometheus: "rpc_client_call_duration_seconds",
        help: "Duration of remote procedure calls that the service made.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: RPC_CLIENT,
    },
    Entry {
        metric: Metric::MessagingServerOperationDuration,
        otel: "messaging.server.operation.duration",
        prometheus: "messaging_server_operation_duration_seconds",
        help: "Duration of operations that the message broker answered.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: MESSAGING,
    },
    Entry {
        metric: Metric::MessagingClientOperationDuration,
        otel: "messaging.client.operation.duration",
        prometheus: "messaging_client_operation_duration_seconds",
        help: "Duration of operations that the service asked of a message broker.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: MESSAGING,
    },
    Entry {
        metric: Metric::ServiceGraphRequests,
        otel: "traces_service_graph_request",
        prometheus: "traces_service_graph_request_total",
        help: "Requests between two services.",
        unit: Unit::Count,
        kind: Kind::Counter,
        labels: EDGE,
    },
    Entry {
        metric: Metric::ServiceGraphFailed,
        otel: "traces_service_graph_request_failed",
        prometheus: "traces_service_graph_request_failed_total",
        help: "Failed requests between two services.",
        unit: Unit::Count,
        kind: Kind::Counter,
        labels: EDGE,
    },
    Entry {
        metric: Metric::ServiceGraphServer,
        otel: "traces_service_graph_request_server",
        prometheus: "traces_service_graph_request_server_seconds",
        help: "Duration of requests between two services, as the server saw it.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: EDGE,
    },
    Entry {
        metric: Metric::ServiceGraphClient,
        otel: "traces_service_graph_request_client",
        prometheus: "traces_service_graph_request_client_seconds",
        help: "Duration of requests between two services, as the client saw it.",
        unit: Unit::Seconds,
        kind: Kind::Histogram(BOUNDS_REQUEST),
        labels: EDGE,
    },
];

impl Metric {
    /// The metric's entry in [`TABLE`].
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "the table has one entry a variant, in the order of the variants: asserted below"
    )]
    pub fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const _: () = {
    let mut at = 0;
    while at < TABLE.len() {
        assert!(TABLE[at].metric as usize == at, "the table is in the order of the variants");
        at += 1;
    }
    assert!(TABLE.len() == Metric::ServiceGraphClient as usize + 1);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_own_entry_and_its_bounds_ascend() {
        for entry in TABLE {
            assert_eq!(entry.metric.entry().otel, entry.otel);
            if let Kind::Histogram(bounds) = entry.kind {
                assert!(bounds.len() <= MAX_BUCKETS);
                assert!(bounds.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
