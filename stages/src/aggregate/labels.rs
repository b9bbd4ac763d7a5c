//! From an exchange to the labels it is counted under: which metric, which values, what `error.type`.

use crate::flow::converged::{Converged, Names};
use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::joined::Joined;
use crate::flow::{conn::Role, message::Status};
use crate::metric::{Entry, Metric, Source, values};
use crate::protocols::Protocol;
use crate::symbol::{Interner, Symbol, SymbolKey};
use crate::time::Nanos;

/// Why an exchange is an error, as far as a label says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// It is none.
    None,
    /// The code says it.
    Code,
    /// An error without a code.
    Other,
    /// No answer: one word of [`NoAnswer::error_type`].
    Silence(NoAnswer),
}

/// What tells one series from another: numbers only. Labels that the metric does not have, and empty ones, are `NONE`, so
/// that every symbol named here is held by the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    pub(super) metric: Metric,
    /// Databases share a metric; `Unknown` in the key of an overflow series.
    pub(super) protocol: Protocol,
    pub(super) fault: Fault,
    pub(super) port: u16,
    pub(super) service: SymbolKey,
    pub(super) method: SymbolKey,
    pub(super) endpoint: SymbolKey,
    pub(super) collection: SymbolKey,
    pub(super) namespace: SymbolKey,
    pub(super) code: SymbolKey,
    pub(super) peer: SymbolKey,
}

impl SeriesKey {
    /// The key of the overflow series of `metric` and `service`.
    pub(super) fn overflow(metric: Metric, service: SymbolKey) -> Self {
        let all = SymbolKey::OVERFLOW;
        Self {
            metric,
            protocol: Protocol::Unknown,
            fault: Fault::None,
            port: 0,
            service,
            method: all,
            endpoint: all,
            collection: all,
            namespace: all,
            code: all,
            peer: all,
        }
    }

    /// The key of the series in which `joined` is counted.
    pub(super) fn of(metric: Metric, joined: &Joined) -> Self {
        let Converged { exchange, names } = &joined.converged;
        let client = exchange.side == Role::Client;
        let entry = metric.entry();
        Self {
            metric,
            protocol: exchange.protocol,
            fault: fault(exchange),
            port: if entry.has(Source::Port) { port(exchange) } else { 0 },
            service: joined.parties.service.key(),
            method: key(&names.method),
            endpoint: endpoint(entry, names),
            collection: if entry.has(Source::Collection) { key(&names.collection) } else { SymbolKey::NONE },
            namespace: if entry.has(Source::Namespace) { key(&names.namespace) } else { SymbolKey::NONE },
            code: key(&names.code),
            peer: if client { key(&joined.parties.peer) } else { SymbolKey::NONE },
        }
    }
}

/// The duration metric of an exchange; `None` where there is none to count it under.
pub(super) fn metric(exchange: &Exchange) -> Option<Metric> {
    let traits = exchange.protocol.traits()?;
    Some(if exchange.side == Role::Server { traits.server_metric } else { traits.client_metric })
}

/// How long it took. An exchange without an answer took until that was known (`now`); one without an answer due, nothing.
pub(super) fn duration(exchange: &Exchange, now: Nanos) -> Nanos {
    match exchange.duration() {
        Some(duration) => duration,
        None if exchange.one_way => Nanos::ZERO,
        None => now.since(exchange.start),
    }
}

/// Label names and values of the series of `joined` (whose key is `key`), in the order of the table, without the empty ones.
/// Words that are not symbols of the exchange itself are kept in `words`.
pub(super) fn labels(joined: &Joined, key: &SeriesKey, words: &mut Interner) -> Vec<(&'static str, Symbol)> {
    let Converged { exchange, names } = &joined.converged;
    let client = exchange.side == Role::Client;
    let mut value = |source: Source| -> Option<Symbol> {
        match source {
            Source::Method => Some(names.method.clone()),
            Source::Endpoint => Some(names.endpoint.clone()),
            Source::Summary => (key.endpoint != SymbolKey::NONE).then(|| names.endpoint.clone()),
            Source::Collection => Some(names.collection.clone()),
            Source::Namespace => Some(names.namespace.clone()),
            Source::OperationType => values::operation_type(names.method.as_str()).map(|kind| words.intern(kind)),
            Source::Version => values::version(exchange.protocol.name()).map(|version| words.intern(version)),
            Source::Code => Some(names.code.clone()),
            Source::System => exchange.protocol.traits()?.system.map(|system| words.intern(system)),
            Source::Peer => client.then(|| joined.parties.peer.clone()),
            Source::Port => (key.port != 0).then(|| words.intern(&key.port.to_string())),
            Source::Fixed(text) => Some(words.intern(text)),
            Source::Fault => match key.fault {
                Fault::None => None,
                Fault::Code => Some(names.code.clone()),
                Fault::Other => Some(words.intern("_OTHER")),
                Fault::Silence(why) => why.error_type().map(|word| words.intern(word)),
            },
            Source::Edge => None,
        }
    };
    let labels = key.metric.entry().labels.iter();
    labels.filter_map(|label| Some((label.name, value(label.source).filter(|symbol| !symbol.is_empty())?))).collect()
}

/// The port of the end that answers.
pub(super) fn port(exchange: &Exchange) -> u16 {
    if exchange.side == Role::Server { exchange.conn.local.port() } else { exchange.conn.remote.port() }
}

/// An endpoint that is only the method again is no summary.
fn endpoint(entry: &Entry, names: &Names) -> SymbolKey {
    let summary = entry.has(Source::Summary) && names.endpoint.key() != names.method.key();
    if summary || entry.has(Source::Endpoint) { key(&names.endpoint) } else { SymbolKey::NONE }
}

fn key(symbol: &Symbol) -> SymbolKey {
    if symbol.is_empty() { SymbolKey::NONE } else { symbol.key() }
}

pub(super) fn fault(exchange: &Exchange) -> Fault {
    if !exchange.is_error() {
        return Fault::None;
    }
    match exchange.no_answer {
        Some(why) if why.error_type().is_some() => Fault::Silence(why),
        _ if exchange.status == Status::Error && !exchange.code.is_empty() => Fault::Code,
        _ => Fault::Other,
    }
}

#[cfg(test)]
mod tests {
    //! Labels of metrics whose protocols have names of their own for things. Whose exchange it is does not matter here, but for
    //! what the table asks of its protocol.

    use super::*;
    use crate::flow::conn::{Address, ConnInfo, Owner, Transport};
    use crate::flow::joined::Parties;
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
            sampling: 0,
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
            trace: None,
            number: 1,
            id: 0,
            asked_by: 0,
            answered_by: 0,
            request_messages: 0,
            response_messages: 0,
            request_bytes: 0,
            response_bytes: 0,
            one_way: false,
            sampling: 0,
        };
        let mut symbols = Interner::default();
        let mut symbol = |text| symbols.intern(text);
        let names = Names {
            endpoint: symbol(endpoint),
            collection: symbol(collection),
            namespace: symbol(namespace),
            method: symbol(method),
            code: symbol(code),
        };
        let parties = Parties { service: symbol("shop"), identity: 0, peer: symbol("db"), peer_watched: false };
        let converged = Converged { exchange, names: names.into() };
        let joined = Joined { converged, parties: parties.into() };
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
            &[
                ("db.system.name", "redis"),
                ("db.operation.name", "GET"),
                ("server.address", "db"),
                ("server.port", "5432"),
            ],
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
}
