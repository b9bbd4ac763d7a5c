//! An exchange as one line of JSON, for people and scripts: `replay --records`, the live tail.
//!
//! Times are wall-clock nanoseconds since the epoch. Raw targets are shown here and nowhere else: `replay` shows them as they were
//! sent; who watches live traffic asks for [masked](Targets::Masked) ones.

mod target;

use crate::calls::tie::Call;
use redtap_stages::flow::conn::Role;
use redtap_stages::flow::joined::Joined;
use redtap_stages::flow::message::Status;
use redtap_stages::time::Nanos;
use serde::Serialize;
pub use target::Targets;

/// One line. Field order is the order in the line; names as in `docs/metrics.md`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    start_ns: i64,
    duration_ns: Option<u64>,
    protocol: &'a str,
    client: String,
    server: String,
    method: &'a str,
    target: &'a str,
    status: &'a str,
    code: &'a str,
    one_way: bool,
    role: &'a str,
    pid: u32,
    comm: &'a str,
    service: &'a str,
    peer: &'a str,
    endpoint: &'a str,
    request_bytes: u64,
    response_bytes: u64,
    ttfb_ns: Option<u64>,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "is_unknown")]
    request_messages: u32,
    #[serde(skip_serializing_if = "is_unknown")]
    response_messages: u32,
    #[serde(flatten)]
    names: Option<CallNames>,
}

/// What a call is called, where that is known.
#[derive(Debug, Serialize)]
struct CallNames {
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    link: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_unknown(count: &u32) -> bool {
    *count == 0
}

/// The line of an exchange, without a line feed. `wall_offset` is what to add to its times to get nanoseconds since the
/// epoch.
#[must_use]
pub fn line(joined: &Joined, wall_offset: i64, targets: Targets) -> String {
    written(joined, wall_offset, targets, None)
}

/// The line of a call: that of its exchange with [masked](Targets::Masked) target, and its names.
#[must_use]
pub fn call_line(call: &Call, wall_offset: i64) -> String {
    let names = CallNames {
        trace_id: call.ids.trace.to_string(),
        span_id: call.ids.span.to_string(),
        parent_span_id: call.ids.parent.map(|parent| parent.to_string()),
        link: call.ids.link.name(),
    };
    written(&call.joined, wall_offset, Targets::Masked, Some(names))
}

fn written(joined: &Joined, wall_offset: i64, targets: Targets, names: Option<CallNames>) -> String {
    let exchange = &joined.converged.exchange;
    let (client, server) = match exchange.side {
        Role::Server => (exchange.conn.remote, exchange.conn.local),
        Role::Client | Role::Unknown => (exchange.conn.local, exchange.conn.remote),
    };
    let session = exchange.session.as_deref();
    let line = Line {
        start_ns: wall(exchange.start, wall_offset),
        duration_ns: exchange.duration().map(|duration| duration.0),
        protocol: exchange.protocol.name(),
        client: client.to_string(),
        server: server.to_string(),
        method: exchange.method.as_str(),
        target: &targets.of(exchange),
        status: status(joined),
        code: exchange.code.as_str(),
        one_way: exchange.one_way,
        role: match exchange.side {
            Role::Server => "server",
            Role::Client => "client",
            Role::Unknown => "unknown",
        },
        pid: exchange.conn.owner.pid,
        comm: exchange.conn.owner.name(),
        service: joined.parties.service.as_str(),
        peer: joined.parties.peer.as_str(),
        endpoint: joined.converged.names.endpoint.as_str(),
        request_bytes: exchange.request_bytes,
        response_bytes: exchange.response_bytes,
        ttfb_ns: exchange.answered.map(|answered| answered.since(exchange.start).0),
        error: exchange.no_answer.and_then(redtap_stages::flow::exchange::NoAnswer::error_type),
        user: session.map_or("", |session| session.user.as_str()),
        namespace: session.map_or("", |session| session.namespace.as_str()),
        request_messages: exchange.request_messages,
        response_messages: exchange.response_messages,
        names,
    };
    // Strings and numbers only: it cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// `none` without an answer; `unknown` if the bytes that tell were not captured.
pub(crate) fn status(joined: &Joined) -> &'static str {
    let exchange = &joined.converged.exchange;
    match exchange.status {
        Status::Ok => "ok",
        Status::Error => "error",
        Status::Unknown if exchange.end.is_none() && exchange.answered.is_none() => "none",
        Status::Unknown => "unknown",
    }
}

fn wall(at: Nanos, offset: i64) -> i64 {
    i64::try_from(i128::from(at.0) + i128::from(offset)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redtap_stages::flow::conn::{Address, ConnInfo, Owner, Transport};
    use redtap_stages::flow::converged::{Converged, Names};
    use redtap_stages::flow::exchange::{Exchange, NoAnswer};
    use redtap_stages::flow::joined::Parties;
    use redtap_stages::flow::message::{Addresses, Session};
    use redtap_stages::protocols::Protocol;
    use redtap_stages::symbol::Interner;
    use redtap_stages::text::{Text, Token};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::Arc;

    fn joined(side: Role) -> Joined {
        let mut interner = Interner::default();
        let conn = ConnInfo {
            id: 1,
            transport: Transport::Tcp,
            role: side,
            local: Address::Inet(Ipv6Addr::LOCALHOST.into(), 8080),
            remote: Address::Inet(Ipv4Addr::new(10, 0, 0, 1).into(), 40_000),
            owner: Owner { pid: 7, cgroup_id: 0, comm: *b"web\0\0\0\0\0\0\0\0\0\0\0\0\0" },
            netns: 0,
            sock_ino: 0,
            late: false,
            sampling: 0,
        };
        let exchange = Exchange {
            conn: Arc::new(conn),
            protocol: Protocol::Http1,
            side,
            start: Nanos(1_000),
            answered: Some(Nanos(1_500)),
            end: Some(Nanos(3_000)),
            method: Token::from("GET"),
            target: Text::from("/a\"b\\c\n\u{1}?q=ü"),
            status: Status::Ok,
            code: Token::from("200"),
            addresses: Addresses::new(),
            no_answer: None,
            session: None,
            trace: None,
            number: 1,
            id: 0,
            asked_by: 0,
            answered_by: 0,
            request_messages: 0,
            response_messages: 0,
            request_bytes: 80,
            response_bytes: 900,
            one_way: false,
            sampling: 0,
        };
        let names = Names {
            endpoint: interner.intern("/a"),
            collection: interner.intern(""),
            namespace: interner.intern(""),
            method: interner.intern("GET"),
            code: interner.intern("200"),
        };
        let parties =
            Parties { service: interner.intern("web"), identity: 0, peer: interner.intern(""), peer_watched: false };
        Joined { converged: Converged { exchange, names: Arc::new(names) }, parties: Arc::new(parties) }
    }

    #[test]
    fn writes_one_escaped_line_with_wall_clock_times() {
        let line = line(&joined(Role::Server), 1_700_000_000_000_000_000, Targets::Raw);
        assert_eq!(
            line,
            "{\"start_ns\":1700000000000001000,\"duration_ns\":2000,\"protocol\":\"http\",\"client\":\"10.0.0.1:40000\",\
             \"server\":\"[::1]:8080\",\"method\":\"GET\",\"target\":\"/a\\\"b\\\\c\\n\\u0001?q=ü\",\"status\":\"ok\",\
             \"code\":\"200\",\"one_way\":false,\"role\":\"server\",\"pid\":7,\"comm\":\"web\",\"service\":\"web\",\"peer\":\"\",\
             \"endpoint\":\"/a\",\"request_bytes\":80,\"response_bytes\":900,\"ttfb_ns\":500,\"error\":null}"
        );
    }

    #[test]
    fn tells_no_answer_from_an_answer_that_was_not_read() {
        let mut record = joined(Role::Client);
        let exchange = &mut record.converged.exchange;
        exchange.status = Status::Unknown;
        let unread = line(&record, 0, Targets::Raw);
        assert!(unread.contains("\"client\":\"[::1]:8080\",\"server\":\"10.0.0.1:40000\""), "{unread}");
        assert!(unread.contains("\"status\":\"unknown\""), "{unread}");
        let exchange = &mut record.converged.exchange;
        (exchange.answered, exchange.end, exchange.no_answer) = (None, None, Some(NoAnswer::Reset));
        let none = line(&record, 0, Targets::Raw);
        assert!(none.contains("\"duration_ns\":null"), "{none}");
        assert!(none.contains("\"status\":\"none\""), "{none}");
        assert!(none.ends_with("\"ttfb_ns\":null,\"error\":\"reset\"}"), "{none}");
    }

    #[test]
    fn says_what_is_known_of_the_session_and_of_the_messages() {
        let mut record = joined(Role::Client);
        let exchange = &mut record.converged.exchange;
        exchange.session = Some(Arc::new(Session { user: Text::from("ann"), namespace: Text::from("shop") }));
        exchange.response_messages = 3;
        let line = line(&record, 0, Targets::Raw);
        let end = "\"error\":null,\"user\":\"ann\",\"namespace\":\"shop\",\"response_messages\":3}";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn a_masked_line_has_no_query_of_a_path() {
        let line = line(&joined(Role::Server), 0, Targets::Masked);
        assert!(line.contains("\"target\":\"/a\\\"b\\\\c\\n\\u0001\","), "{line}");
    }
}
