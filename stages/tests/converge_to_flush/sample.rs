//! Exchanges to feed to the stages, as `pair` would give them, and what to read from what comes out.

use proptest::test_runner::Config as ProptestConfig;
use redtap_stages::flow::conn::{Address, ConnInfo, Owner, Role, Transport};
use redtap_stages::flow::delta::{Delta, Gain};
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::message::{Addresses, Status};
use redtap_stages::metric::Metric;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::text::{Text, Token};
use redtap_stages::time::Nanos;
use std::net::IpAddr;
use std::sync::Arc;

/// How many cases a law is tried on. Failures are printed whole, so none is kept in a file.
pub(crate) fn laws() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

/// A time well after zero.
pub(crate) const NOW: Nanos = Nanos::from_secs(1_000);

pub(crate) fn owner(pid: u32, comm: &str) -> Owner {
    let mut bytes = [0; 16];
    bytes[..comm.len()].copy_from_slice(comm.as_bytes());
    Owner { pid, cgroup_id: 7, comm: bytes }
}

pub(crate) fn inet(text: &str) -> Address {
    let address: std::net::SocketAddr = text.parse().unwrap();
    Address::Inet(address.ip(), address.port())
}

/// A connection: its number, who runs it, which end it is, from where to where.
pub(crate) fn conn(id: u64, owner: Owner, role: Role, local: &str, remote: &str) -> Arc<ConnInfo> {
    Arc::new(ConnInfo {
        id,
        transport: Transport::Tcp,
        role,
        local: inet(local),
        remote: inet(remote),
        owner,
        netns: 1,
        sock_ino: id,
        late: false,
        sampling: 0,
    })
}

/// An answered exchange that took 3 ms.
pub(crate) fn exchange(conn: &Arc<ConnInfo>, protocol: Protocol, method: &str, target: &str, code: &str) -> Exchange {
    let failed = match protocol {
        Protocol::Http1 | Protocol::Http2 => code >= "400",
        Protocol::Grpc => code != "0",
        _ => !code.is_empty(),
    };
    Exchange {
        conn: Arc::clone(conn),
        protocol,
        side: conn.role,
        start: NOW,
        answered: Some(NOW + Nanos::from_millis(2)),
        end: Some(NOW + Nanos::from_millis(3)),
        method: Token::from(method),
        target: Text::from(target),
        status: if failed { Status::Error } else { Status::Ok },
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
    }
}

pub(crate) fn get(conn: &Arc<ConnInfo>, target: &str, code: &str) -> Exchange {
    exchange(conn, Protocol::Http1, "GET", target, code)
}

/// One that was not answered.
pub(crate) fn unanswered(conn: &Arc<ConnInfo>, why: NoAnswer) -> Exchange {
    let mut exchange = get(conn, "/", "");
    (exchange.answered, exchange.end, exchange.status) = (None, None, Status::Unknown);
    exchange.no_answer = Some(why);
    exchange
}

/// A look-up of `name` that gave `addresses`.
pub(crate) fn lookup(conn: &Arc<ConnInfo>, name: &str, addresses: &[&str]) -> Exchange {
    let mut exchange = exchange(conn, Protocol::Dns, "A", name, "");
    exchange.addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
    exchange
}

/// Runs one batch through a stage.
pub(crate) fn run<S: Stage<In = Vec<I>, Out = Vec<O>>, I, O>(stage: &mut S, now: Nanos, mut input: Vec<I>) -> Vec<O> {
    let mut out = Vec::new();
    stage.process(now, &mut input, &mut out);
    assert!(stage.ledger().balances());
    out
}

/// Its tick.
pub(crate) fn tick<S: Stage<Out = Vec<O>>, O>(stage: &mut S, now: Nanos) -> Vec<O> {
    let mut out = Vec::new();
    stage.tick(now, &mut out);
    assert!(stage.ledger().balances());
    out
}

/// Its drain.
pub(crate) fn drain<S: Stage<Out = Vec<O>>, O>(stage: &mut S, now: Nanos) -> Vec<O> {
    let mut out = Vec::new();
    stage.drain(now, &mut out);
    assert!(stage.ledger().balances());
    assert_eq!(stage.ledger().held, 0);
    out
}

/// `name{service|label=value,...}` and how often.
pub(crate) fn rendered(delta: &Delta) -> (String, u64) {
    let labels = delta.series.labels.iter().map(|(name, value)| format!(",{name}={}", value.as_str()));
    let metric = delta.series.metric.entry().prometheus;
    (format!("{metric}{{{}{}}}", delta.series.service.as_str(), labels.collect::<String>()), count(delta))
}

/// All of them, sorted.
pub(crate) fn all(deltas: &[Delta]) -> Vec<(String, u64)> {
    let mut all: Vec<_> = deltas.iter().map(rendered).collect();
    all.sort();
    all
}

pub(crate) fn count(delta: &Delta) -> u64 {
    match &delta.gain {
        Gain::Count(count) => *count,
        Gain::Histogram(gain) => gain.count,
    }
}

/// Observations in duration histograms: one for each exchange.
pub(crate) fn exchanges(deltas: &[Delta]) -> u64 {
    deltas.iter().filter(|delta| delta.series.metric < Metric::ServiceGraphRequests).map(count).sum()
}
