//! An exchange as one line of JSON, for people and scripts: `replay --records`, the live tail.
//!
//! Times are wall-clock nanoseconds since the epoch. Raw targets are shown here and nowhere else.

use redtap_stages::flow::conn::Role;
use redtap_stages::flow::joined::Joined;
use redtap_stages::flow::message::Status;
use redtap_stages::time::Nanos;
use serde::Serialize;

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
}

/// The line of an exchange, without a line feed. `wall_offset` is what to add to its times to get nanoseconds since the
/// epoch.
#[must_use]
pub fn line(joined: &Joined, wall_offset: i64) -> String {
    let exchange = &joined.converged.exchange;
    let (client, server) = match exchange.side {
        Role::Server => (exchange.conn.remote, exchange.conn.local),
        Role::Client | Role::Unknown => (exchange.conn.local, exchange.conn.remote),
    };
    let line = Line {
        start_ns: wall(exchange.start, wall_offset),
        duration_ns: exchange.duration().map(|duration| duration.0),
        protocol: exchange.protocol.name(),
        client: client.to_string(),
        server: server.to_string(),
        method: exchange.method.as_str(),
        target: exchange.target.as_str(),
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
        service: joined.service.as_str(),
        peer: joined.peer.as_str(),
        endpoint: joined.converged.endpoint.as_str(),
        request_bytes: exchange.request_bytes,
        response_bytes: exchange.response_bytes,
        ttfb_ns: exchange.answered.map(|answered| answered.since(exchange.start).0),
        error: exchange.no_answer.and_then(redtap_stages::flow::exchange::NoAnswer::error_type),
    };
    // Strings and numbers only: it cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// `none` without an answer; `unknown` if the bytes that tell were not captured.
fn status(joined: &Joined) -> &'static str {
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
    use redtap_stages::flow::converged::Converged;
    use redtap_stages::flow::exchange::{Exchange, NoAnswer};
    use redtap_stages::flow::message::Addresses;
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
            request_messages: 0,
            response_messages: 0,
            request_bytes: 80,
            response_bytes: 900,
            one_way: false,
        };
        let converged = Converged {
            exchange,
            endpoint: interner.intern("/a"),
            method: interner.intern("GET"),
            code: interner.intern("200"),
        };
        Joined {
            converged,
            service: interner.intern("web"),
            identity: 0,
            peer: interner.intern(""),
            peer_watched: false,
        }
    }

    #[test]
    fn writes_one_escaped_line_with_wall_clock_times() {
        let line = line(&joined(Role::Server), 1_700_000_000_000_000_000);
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
        let unread = line(&record, 0);
        assert!(unread.contains("\"client\":\"[::1]:8080\",\"server\":\"10.0.0.1:40000\""), "{unread}");
        assert!(unread.contains("\"status\":\"unknown\""), "{unread}");
        let exchange = &mut record.converged.exchange;
        (exchange.answered, exchange.end, exchange.no_answer) = (None, None, Some(NoAnswer::Reset));
        let none = line(&record, 0);
        assert!(none.contains("\"duration_ns\":null"), "{none}");
        assert!(none.contains("\"status\":\"none\""), "{none}");
        assert!(none.ends_with("\"ttfb_ns\":null,\"error\":\"reset\"}"), "{none}");
    }
}
