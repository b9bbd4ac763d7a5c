//! An exchange as a span: its name, kind, status and attributes by the semantic conventions (v1.44). `docs/otlp.md` has the table.
//!
//! **Invariant:** no body, no query string, no key and no literal is in a span: paths end before their query, statements are
//! masked, what is no name does not show ([`Targets::Masked`]).
//!
//! Absent: ids ([`crate::calls`] gives them, and finds the parent), resources, what is sampled.

mod attributes;

use super::wire::{Span, SpanKind, Status, StatusCode};
use crate::calls::ids::{Ids, Link};
use crate::calls::tie::Call;
use attributes::Attributes;
use redtap_stages::flow::conn::Role;
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::joined::Joined;
use redtap_stages::metric::{Metric, values};
use redtap_stages::symbol::OVERFLOW;
use redtap_stages::time::Nanos;

/// The low bits of W3C trace flags: sampled.
const SAMPLED: u32 = 1;
/// It is known whether the parent is remote (OTLP, `SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
/// It is.
const IS_REMOTE: u32 = 0x200;

/// Which conventions hold for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Http,
    Rpc,
    Database,
    Messaging,
    Dns,
}

/// `None`: there are no conventions for its protocol.
fn family(exchange: &Exchange) -> Option<Family> {
    Some(match exchange.protocol.traits()?.server_metric {
        Metric::HttpServerRequestDuration => Family::Http,
        Metric::RpcServerCallDuration => Family::Rpc,
        Metric::DbServerOperationDuration => Family::Database,
        Metric::MessagingServerOperationDuration => Family::Messaging,
        Metric::DnsServerLookupDuration => Family::Dns,
        _ => return None,
    })
}

/// The kind of an exchange's span. What asks a broker to take messages is a producer. A broker is asked for messages by a client:
/// consumers are what works on them, which does not show on the wire.
pub(super) fn kind(joined: &Joined) -> SpanKind {
    let exchange = &joined.converged.exchange;
    if exchange.side == Role::Server {
        return SpanKind::Server;
    }
    let sends = family(exchange) == Some(Family::Messaging)
        && values::operation_type(joined.converged.names.method.as_str()) == Some("send");
    if sends { SpanKind::Producer } else { SpanKind::Client }
}

/// `error.type`: as on the metrics. `None`: it is no error.
pub(super) fn error_type(joined: &Joined) -> Option<&str> {
    let exchange = &joined.converged.exchange;
    if !exchange.is_error() {
        return None;
    }
    let silence = exchange.no_answer.and_then(NoAnswer::error_type);
    let code = joined.converged.names.code.as_str();
    Some(silence.unwrap_or(if code.is_empty() { "_OTHER" } else { code }))
}

/// When it ended, or when it was known that it has no answer.
pub(super) fn end(exchange: &Exchange, known: Nanos) -> Nanos {
    match exchange.end {
        Some(end) => end,
        None if exchange.one_way => exchange.start,
        None => known,
    }
}

/// The number that decides on sampling: the last 56 bits of the trace id, which W3C Trace Context, level 2, wants random.
pub(super) fn randomness(ids: &Ids) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are asked for")]
    let low = ids.trace.get() as u64;
    low & ((1 << 56) - 1)
}

/// The span of a call. `wall_offset` is what to add to its times to get nanoseconds since the epoch.
pub(super) fn span(call: &Call, wall_offset: i64) -> Span {
    let Call { joined, ids, known } = call;
    let exchange = &joined.converged.exchange;
    let error = error_type(joined);
    let remote = match ids.link {
        Link::Said(_) | Link::Socket => IS_REMOTE,
        Link::Thread | Link::None => 0,
    };
    let code = if error.is_some() { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_id: ids.trace.get().to_be_bytes().to_vec(),
        span_id: ids.span.get().to_be_bytes().to_vec(),
        parent_span_id: ids.parent.map(|parent| parent.get().to_be_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED | HAS_IS_REMOTE | remote,
        name: name(joined),
        kind: kind(joined).into(),
        start_time_unix_nano: exchange.start.0.saturating_add_signed(wall_offset),
        end_time_unix_nano: end(exchange, *known).max(exchange.start).0.saturating_add_signed(wall_offset),
        attributes: Attributes::of(call, error),
        status: Some(Status { code: code.into(), ..Status::default() }),
        ..Span::default()
    }
}

/// Of low cardinality: what the metrics tell apart.
fn name(joined: &Joined) -> String {
    let exchange = &joined.converged.exchange;
    let names = &joined.converged.names;
    let known = |text: &'_ str| !text.is_empty() && text != OVERFLOW;
    let (method, endpoint) = (names.method.as_str(), names.endpoint.as_str());
    let method = if known(method) { method } else { "_OTHER" };
    let two = |first: &str, second: &str| {
        if known(second) { format!("{first} {second}") } else { first.to_owned() }
    };
    match family(exchange) {
        // HTTP spans, "Name": a method that is not known is `HTTP` there.
        Some(Family::Http) => two(if method == "_OTHER" { "HTTP" } else { method }, endpoint),
        Some(Family::Rpc) if known(endpoint) => endpoint.to_owned(),
        Some(Family::Rpc) => exchange.protocol.name().to_owned(),
        Some(Family::Database) if known(endpoint) && endpoint != method => endpoint.to_owned(),
        Some(Family::Database) => {
            let target = [&names.collection, &names.namespace].into_iter().find(|target| known(target.as_str()));
            two(method, target.map_or("", |target| target.as_str()))
        }
        Some(Family::Messaging) => two(method, endpoint),
        Some(Family::Dns) => two("DNS", method),
        None => exchange.protocol.name().to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
