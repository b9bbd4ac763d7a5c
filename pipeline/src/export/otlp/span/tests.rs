//! Spans of exchanges of every family.

use super::*;
use crate::export::otlp::wire::as_text;
use redtap_stages::flow::conn::{Address, ConnInfo, Owner, Transport};
use redtap_stages::flow::converged::{Converged, Names};
use redtap_stages::flow::joined::Parties;
use redtap_stages::flow::message::{Addresses, Status as Went};
use redtap_stages::flow::trace::{SpanId, TraceFormat, TraceId};
use redtap_stages::protocols::Protocol;
use redtap_stages::symbol::Interner;
use redtap_stages::text::{Text, Token};
use std::net::Ipv4Addr;

/// A call with the ids 7 and 8.
pub(in crate::export::otlp) fn call(joined: Joined) -> Call {
    let (trace, span) = (TraceId::new(7).unwrap(), SpanId::new(8).unwrap());
    Call { joined, ids: Ids { trace, span, parent: None, link: Link::None }, known: Nanos(9_000) }
}

/// Method, target, endpoint and code of an exchange.
pub(in crate::export::otlp) fn joined(
    protocol: Protocol,
    side: Role,
    [method, target, endpoint, code]: [&str; 4],
) -> Joined {
    let mut symbols = Interner::default();
    let conn = ConnInfo {
        id: 1,
        transport: Transport::Tcp,
        role: side,
        local: Address::Inet(Ipv4Addr::new(10, 0, 0, 1).into(), if side == Role::Server { 80 } else { 40_000 }),
        remote: Address::Inet(Ipv4Addr::new(10, 0, 0, 2).into(), if side == Role::Server { 40_000 } else { 80 }),
        owner: Owner { pid: 7, ..Owner::default() },
        netns: 0,
        sock_ino: 0,
        late: false,
        sampling: 0,
    };
    let bad = !(code.is_empty() || code.starts_with('2') || code == "OK" || code == "NoError");
    let exchange = Exchange {
        conn: conn.into(),
        protocol,
        side,
        start: Nanos(1_000),
        answered: Some(Nanos(2_000)),
        end: Some(Nanos(3_000)),
        method: Token::from(method),
        target: Text::from(target),
        status: if bad { Went::Error } else { Went::Ok },
        code: Token::from(code),
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
        request_bytes: 100,
        response_bytes: 200,
        one_way: false,
        sampling: 0,
    };
    let names = Names {
        endpoint: symbols.intern(endpoint),
        collection: symbols.intern(""),
        namespace: symbols.intern(""),
        method: symbols.intern(method),
        code: symbols.intern(code),
    };
    let parties = Parties {
        service: symbols.intern("shop"),
        identity: 0,
        peer: symbols.intern(if side == Role::Client { "backend" } else { "" }),
        peer_watched: false,
    };
    Joined { converged: Converged { exchange, names: names.into() }, parties: parties.into() }
}

fn made(joined: &Joined) -> Span {
    span(&call(joined.clone()), 1_000_000)
}

/// Name, kind and status.
fn head(span: &Span) -> (&str, SpanKind, StatusCode) {
    (&span.name, span.kind(), span.status.as_ref().unwrap().code())
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|one| one.key == key).and_then(as_text)
}

fn assert_attributes(span: &Span, wanted: &[(&str, &str)]) {
    let got: Vec<(String, String)> =
        span.attributes.iter().map(|one| (one.key.clone(), as_text(one).unwrap())).collect();
    let wanted: Vec<_> = wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(got, wanted);
}

#[test]
fn a_served_request_has_its_route_and_not_its_query() {
    let span = made(&joined(Protocol::Http1, Role::Server, ["GET", "/users/7?token=secret", "/users/{id}", "200"]));
    assert_eq!(head(&span), ("GET /users/{id}", SpanKind::Server, StatusCode::Unset));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_001_000, 1_003_000));
    assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 0));
    assert_eq!(span.flags, 0x101);
    assert_attributes(
        &span,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.route", "/users/{id}"),
            ("url.path", "/users/7"),
            ("url.scheme", "http"),
            ("http.request.size", "100"),
            ("http.response.size", "200"),
            ("client.address", "10.0.0.2"),
            ("server.address", "10.0.0.1"),
            ("server.port", "80"),
            ("network.peer.address", "10.0.0.2"),
            ("network.peer.port", "40000"),
            ("network.transport", "tcp"),
            ("process.pid", "7"),
        ],
    );
}

#[test]
fn a_missing_page_is_the_callers_error_alone() {
    let of = |side| made(&joined(Protocol::Http1, side, ["GET", "/x", "/x", "404"]));
    let (server, client) = (of(Role::Server), of(Role::Client));
    assert_eq!(head(&server), ("GET /x", SpanKind::Server, StatusCode::Unset));
    assert_eq!(attribute(&server, "error.type"), None);
    assert_eq!(head(&client), ("GET /x", SpanKind::Client, StatusCode::Error));
    assert_eq!(attribute(&client, "error.type").as_deref(), Some("404"));
    assert_eq!(attribute(&client, "url.full").as_deref(), Some("http://backend:80/x"));
    assert_eq!(attribute(&client, "server.address").as_deref(), Some("backend"));
    assert_eq!(head(&made(&joined(Protocol::Http1, Role::Server, ["GET", "/x", "/x", "500"]))).2, StatusCode::Error);
}

#[test]
fn names_that_did_not_fit_are_not_names() {
    let span = made(&joined(Protocol::Http1, Role::Server, ["_OTHER", "/x", OVERFLOW, "200"]));
    assert_eq!(span.name, "HTTP");
    assert_eq!(attribute(&span, "http.route"), None);
}

#[test]
fn a_query_has_its_summary_and_no_literal() {
    let target = "SELECT * FROM cards WHERE number = '4111'";
    let mut select = joined(Protocol::Postgres, Role::Client, ["SELECT", target, "SELECT cards", ""]);
    let span = made(&select);
    assert_eq!(head(&span), ("SELECT cards", SpanKind::Client, StatusCode::Unset));
    assert_eq!(attribute(&span, "db.query.text").as_deref(), Some("SELECT * FROM cards WHERE number = ?"));
    assert_eq!(attribute(&span, "db.system.name").as_deref(), Some("postgresql"));
    select.converged.exchange.no_answer = Some(NoAnswer::Timeout);
    (select.converged.exchange.end, select.converged.exchange.answered) = (None, None);
    assert_eq!(end(&select.converged.exchange, Nanos(9_000)), Nanos(9_000), "it took until that was known");
    assert_eq!(made(&select).end_time_unix_nano, 1_009_000);
    assert_eq!(attribute(&made(&select), "error.type").as_deref(), Some("timeout"));
}

#[test]
fn a_command_shows_neither_key_nor_value() {
    let span = made(&joined(Protocol::Redis, Role::Client, ["SET", "session:secret", "SET", ""]));
    assert_eq!(span.name, "SET");
    let all = format!("{span:?}");
    assert!(!all.contains("secret"), "{all}");
    assert_eq!(attribute(&span, "db.query.summary"), None);
}

#[test]
fn a_remote_call_has_its_whole_name() {
    let span = made(&joined(Protocol::Grpc, Role::Server, ["POST", "shop.Cart/Add", "shop.Cart/Add", "OK"]));
    assert_eq!(head(&span), ("shop.Cart/Add", SpanKind::Server, StatusCode::Unset));
    assert_eq!(attribute(&span, "rpc.method").as_deref(), Some("shop.Cart/Add"));
    assert_eq!(attribute(&span, "rpc.status_code").as_deref(), Some("OK"));
}

#[test]
fn who_sends_messages_is_a_producer_and_who_asks_for_them_a_client() {
    let of = |side, method| made(&joined(Protocol::Kafka, side, [method, "orders", "orders", ""]));
    assert_eq!(head(&of(Role::Client, "Produce")), ("Produce orders", SpanKind::Producer, StatusCode::Unset));
    assert_eq!(head(&of(Role::Client, "Fetch")).1, SpanKind::Client);
    assert_eq!(head(&of(Role::Server, "Produce")).1, SpanKind::Server);
    assert_eq!(attribute(&of(Role::Client, "Produce"), "messaging.operation.type").as_deref(), Some("send"));
}

#[test]
fn a_question_has_its_name_and_its_answers() {
    let mut question = joined(Protocol::Dns, Role::Client, ["A", "example.org", "", "NoError"]);
    question.converged.exchange.addresses.push(Ipv4Addr::LOCALHOST.into());
    let span = made(&question);
    assert_eq!(head(&span), ("DNS A", SpanKind::Client, StatusCode::Unset));
    assert_eq!(attribute(&span, "dns.question.name").as_deref(), Some("example.org"));
    assert_eq!(attribute(&span, "dns.answers").as_deref(), Some("1 values"));
}

#[test]
fn a_span_is_below_the_one_that_its_request_names() {
    let mut call = call(joined(Protocol::Http1, Role::Server, ["GET", "/", "/", "200"]));
    (call.ids.parent, call.ids.link) = (SpanId::new(9), Link::Said(TraceFormat::B3));
    call.joined.converged.exchange.end = Some(Nanos(1));
    let span = span(&call, 0);
    assert_eq!(span.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(span.flags, 0x301);
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000, 1_000), "no span ends before it begins");
    assert_eq!(attribute(&span, "redtap.link").as_deref(), Some("b3"));
    call.ids.link = Link::Thread;
    assert_eq!(super::span(&call, 0).flags, 0x101, "in the same process");
    call.ids.trace = TraceId::new(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff).unwrap();
    assert_eq!(randomness(&call.ids), 0x0099_aabb_ccdd_eeff);
}
