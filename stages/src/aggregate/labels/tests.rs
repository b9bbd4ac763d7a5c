//! Labels of metrics whose protocols have names of their own for things. Whose exchange it is does not matter here, but for
//! what the table asks of its protocol.

use super::*;
use crate::flow::conn::{Address, ConnInfo, Owner, Transport};
use crate::flow::message::Addresses;
use crate::text::{Text, Token};
use std::net::Ipv4Addr;

/// The labels of an answered exchange that a client saw.
fn labels_of(
    metric: Metric,
    [method, endpoint, collection, namespace, code]: [&str; 5],
) -> Vec<(&'static str, String)> {
    let address = |port| Address::Inet(Ipv4Addr::LOCALHOST.into(), port);
    let conn = ConnInfo {
        id: 1,
        transport: Transport::Tcp,
        role: Role::Client,
        local: address(40_000),
        remote: address(5432),
        owner: Owner { pid: 1, cgroup_id: 1, comm: [0; 16] },
        netns: 1,
        sock_ino: 1,
        late: false,
    };
    let exchange = Exchange {
        conn: conn.into(),
        protocol: Protocol::Redis,
        side: Role::Client,
        start: Nanos::ZERO,
        answered: Some(Nanos(1)),
        end: Some(Nanos(2)),
        method: Token::from(method),
        target: Text::new(),
        status: if code.is_empty() { Status::Ok } else { Status::Error },
        code: Token::from(code),
        addresses: Addresses::new(),
        no_answer: None,
        session: None,
        request_messages: 0,
        response_messages: 0,
        request_bytes: 0,
        response_bytes: 0,
        one_way: false,
    };
    let mut symbols = Interner::default();
    let mut symbol = |text| symbols.intern(text);
    let converged = Converged {
        exchange,
        endpoint: symbol(endpoint),
        collection: symbol(collection),
        namespace: symbol(namespace),
        method: symbol(method),
        code: symbol(code),
    };
    let joined = Joined { converged, service: symbol("shop"), identity: 0, peer: symbol("db"), peer_watched: false };
    let series = SeriesKey::of(metric, &joined);
    let labels = labels(&joined, &series, &mut Interner::default());
    labels.into_iter().map(|(name, value)| (name, value.as_str().to_owned())).collect()
}

fn assert_labels(metric: Metric, names: [&str; 5], expected: &[(&str, &str)]) {
    let got = labels_of(metric, names);
    let got: Vec<_> = got.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_query_has_its_summary_table_and_database() {
    assert_labels(
        Metric::DbClientOperationDuration,
        ["SELECT", "SELECT t", "t", "orders", "42P01"],
        &[
            ("db.system.name", "redis"),
            ("db.namespace", "orders"),
            ("db.query.summary", "SELECT t"),
            ("db.collection.name", "t"),
            ("db.operation.name", "SELECT"),
            ("db.response.status_code", "42P01"),
            ("server.address", "db"),
            ("server.port", "5432"),
            ("error.type", "42P01"),
        ],
    );
}

#[test]
fn a_command_that_is_no_query_has_no_summary() {
    assert_labels(
        Metric::DbClientOperationDuration,
        ["GET", "GET", "", "", ""],
        &[("db.system.name", "redis"), ("db.operation.name", "GET"), ("server.address", "db"), ("server.port", "5432")],
    );
}

#[test]
fn a_remote_call_has_its_whole_name() {
    assert_labels(
        Metric::RpcClientCallDuration,
        ["POST", "shop.Cart/Add", "", "", "UNAVAILABLE"],
        &[
            ("rpc.system.name", "redis"),
            ("rpc.method", "shop.Cart/Add"),
            ("rpc.status_code", "UNAVAILABLE"),
            ("server.address", "db"),
            ("server.port", "5432"),
            ("error.type", "UNAVAILABLE"),
        ],
    );
}

#[test]
fn an_operation_of_a_broker_has_its_type_if_there_is_one() {
    assert_labels(
        Metric::MessagingClientOperationDuration,
        ["Produce", "orders", "", "", ""],
        &[
            ("messaging.system", "redis"),
            ("messaging.operation.name", "Produce"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "orders"),
            ("server.address", "db"),
            ("server.port", "5432"),
        ],
    );
    let other = labels_of(Metric::MessagingClientOperationDuration, ["Metadata", "", "", "", ""]);
    assert!(other.iter().all(|(name, _)| !name.contains("type") && !name.contains("destination")), "{other:?}");
}
