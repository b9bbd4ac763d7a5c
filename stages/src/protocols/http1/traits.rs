//! What the stages want to know of HTTP/1.

use super::Http1;
use crate::metric::Metric;
use crate::protocols::traits::{EdgeKind, Endpoint, Growth, Methods, Patience, Traits};
use crate::protocols::{Budget, Pairing, Protocol, Wire};

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Http1,
    over: None,
    name: "http",
    probe: Http1::probe,
    ports: &[80, 8080, 8000, 8888, 3000, 5000, 9090],
    // Heads carry cookies, tokens and policies. Where a head does not fit, the end of its message is seen only by the
    // silence behind it, so both sides get room for what is usual.
    budget: Budget::head(12, 12),
    // The heads of a pipeline's answers lie all over their turn.
    growth: Growth::Responses,
    pairing: Pairing::Fifo,
    patience: Patience::Usual,
    // Few clients pipeline (RFC 9112, section 9.3.2).
    asks_again_unanswered: false,
    orphans_tell: true,
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

/// Three digits, the first from 1 to 5 (RFC 9110, section 15), or up to 9 as some servers send.
fn is_status(code: &[u8]) -> bool {
    matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
}
