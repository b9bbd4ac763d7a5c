//! What the stages want to know of HTTP/2.

use super::Http2;
use crate::metric::Metric;
use crate::protocols::traits::{EdgeKind, Endpoint, Growth, Methods, Patience, Traits};
use crate::protocols::{Budget, Pairing, Protocol, Wire};

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Http2,
    over: None,
    name: "http2",
    probe: Http2::probe,
    ports: &[50051, 8080, 80, 8443],
    // A header block is needed to read all later ones.
    budget: Budget::FULL,
    growth: Growth::Never,
    pairing: Pairing::ById,
    patience: Patience::Usual,
    asks_again_unanswered: true,
    // Of a connection that was joined late, or of a stream that was reset, answers come that nobody waits for.
    orphans_tell: false,
    methods: Methods::Configured,
    is_code: is_status,
    endpoint: Endpoint::Route,
    server_metric: Metric::HttpServerRequestDuration,
    client_metric: Metric::HttpClientRequestDuration,
    system: None,
    edge: EdgeKind::Call,
    // OpenTelemetry, HTTP metrics: a server's 4xx is the caller's fault.
    is_server_error: |code| code.first() == Some(&b'5'),
};

/// Three digits (RFC 9110, section 15).
fn is_status(code: &[u8]) -> bool {
    matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
}
