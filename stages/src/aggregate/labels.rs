//! From an exchange to the labels it is counted under: which metric, which values, what `error.type`.

use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::joined::Joined;
use crate::flow::{conn::Role, message::Status};
use crate::metric::Metric;
use crate::protocols::Protocol;
use crate::symbol::{Symbol, SymbolKey};
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
    pub(super) fault: Fault,
    pub(super) port: u16,
    pub(super) service: SymbolKey,
    pub(super) method: SymbolKey,
    pub(super) endpoint: SymbolKey,
    pub(super) code: SymbolKey,
    pub(super) peer: SymbolKey,
}

impl SeriesKey {
    /// The key of the overflow series of `metric` and `service`.
    pub(super) fn overflow(metric: Metric, service: SymbolKey) -> Self {
        let all = SymbolKey::OVERFLOW;
        Self { metric, fault: Fault::None, port: 0, service, method: all, endpoint: all, code: all, peer: all }
    }

    /// The key of the series in which `joined` is counted.
    pub(super) fn of(metric: Metric, joined: &Joined) -> Self {
        let converged = &joined.converged;
        let client = converged.exchange.side == Role::Client;
        Self {
            metric,
            fault: fault(&converged.exchange),
            port: port(metric, &converged.exchange),
            service: joined.service.key(),
            method: key(&converged.method),
            endpoint: if has_endpoint(metric) { key(&converged.endpoint) } else { SymbolKey::NONE },
            code: key(&converged.code),
            peer: if client { key(&joined.peer) } else { SymbolKey::NONE },
        }
    }
}

/// The duration metric of an exchange; `None` where there is none to count it under.
pub(super) fn metric(exchange: &Exchange) -> Option<Metric> {
    let server = exchange.side == Role::Server;
    match exchange.protocol {
        Protocol::Http1 if server => Some(Metric::HttpServerRequestDuration),
        Protocol::Http1 => Some(Metric::HttpClientRequestDuration),
        Protocol::Redis if server => Some(Metric::DbServerOperationDuration),
        Protocol::Redis => Some(Metric::DbClientOperationDuration),
        Protocol::Dns if server => Some(Metric::DnsServerLookupDuration),
        Protocol::Dns => Some(Metric::DnsLookupDuration),
        Protocol::Unknown | Protocol::Foreign => None,
    }
}

/// How long it took. An exchange without an answer took until that was known (`now`); one without an answer due, nothing.
pub(super) fn duration(exchange: &Exchange, now: Nanos) -> Nanos {
    match exchange.duration() {
        Some(duration) => duration,
        None if exchange.one_way => Nanos::ZERO,
        None => now.since(exchange.start),
    }
}

/// The values that are not symbols of the exchange itself.
pub(super) struct Extras<'a> {
    pub(super) scheme: &'a Symbol,
    pub(super) system: &'a Symbol,
    pub(super) port: Option<Symbol>,
    pub(super) fault: Option<Symbol>,
}

/// Label names and values of the series of `joined`, in the order of the table, without the empty ones.
pub(super) fn labels(metric: Metric, joined: &Joined, extras: &Extras<'_>) -> Vec<(&'static str, Symbol)> {
    let converged = &joined.converged;
    let client = converged.exchange.side == Role::Client;
    let value = |name: &str| -> Option<Symbol> {
        match name {
            "http.request.method" | "db.operation.name" | "dns.question.type" => Some(converged.method.clone()),
            "http.route" | "dns.question.name" => Some(converged.endpoint.clone()),
            "http.response.status_code" | "db.response.status_code" | "dns.response.code" => {
                Some(converged.code.clone())
            }
            "url.scheme" => Some(extras.scheme.clone()),
            "db.system.name" => Some(extras.system.clone()),
            "server.address" if client => Some(joined.peer.clone()),
            "server.port" => extras.port.clone(),
            "error.type" => extras.fault.clone(),
            _ => None,
        }
    };
    let names = metric.entry().labels.iter().copied();
    names.filter_map(|name| value(name).filter(|symbol| !symbol.is_empty()).map(|symbol| (name, symbol))).collect()
}

/// The port of the end that answers, for the metrics that have it as a label; else 0.
fn port(metric: Metric, exchange: &Exchange) -> u16 {
    match metric {
        Metric::HttpClientRequestDuration | Metric::DbClientOperationDuration => exchange.conn.remote.port(),
        Metric::DbServerOperationDuration => exchange.conn.local.port(),
        _ => 0,
    }
}

fn has_endpoint(metric: Metric) -> bool {
    !matches!(metric, Metric::DbClientOperationDuration | Metric::DbServerOperationDuration)
}

fn key(symbol: &Symbol) -> SymbolKey {
    if symbol.is_empty() { SymbolKey::NONE } else { symbol.key() }
}

fn fault(exchange: &Exchange) -> Fault {
    if !exchange.is_error() {
        return Fault::None;
    }
    match exchange.no_answer {
        Some(why) if why.error_type().is_some() => Fault::Silence(why),
        _ if exchange.status == Status::Error && !exchange.code.is_empty() => Fault::Code,
        _ => Fault::Other,
    }
}
