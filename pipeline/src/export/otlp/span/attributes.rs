//! The attributes of a span.

use super::Family;
use crate::calls::tie::Call;
use crate::export::otlp::wire::{KeyValue, text, texts, whole};
use crate::records::Targets;
use redtap_stages::flow::conn::{Address, Role, Transport};
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::joined::Joined;
use redtap_stages::metric::values;
use redtap_stages::symbol::OVERFLOW;
use std::borrow::Cow;

/// Attributes in the making.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// All of an exchange.
    pub(super) fn of(call: &Call, error: Option<&str>) -> Vec<KeyValue> {
        let joined = &call.joined;
        let exchange = &joined.converged.exchange;
        let mut all = Self(Vec::with_capacity(16));
        match super::family(exchange) {
            Some(Family::Http) => all.http(joined),
            Some(Family::Rpc) => all.rpc(joined),
            Some(Family::Database) => all.database(joined),
            Some(Family::Messaging) => all.messaging(joined),
            Some(Family::Dns) => all.dns(joined),
            None => {}
        }
        all.ends(joined);
        all.known("error.type", error.unwrap_or_default());
        all.answer(exchange);
        all.known("redtap.link", call.ids.link.name());
        if exchange.weight() > 1 {
            all.whole("redtap.weight", exchange.weight());
        }
        all.whole("process.pid", u64::from(exchange.conn.owner.pid));
        all.0
    }

    fn known(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(text(key, value));
        }
    }

    fn whole(&mut self, key: &str, value: u64) {
        if value > 0 {
            self.0.push(whole(key, i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    /// A name of which there is a bounded number; not the one that stands for all others.
    fn name(&mut self, key: &str, value: &str) {
        if value != OVERFLOW {
            self.known(key, value);
        }
    }

    fn http(&mut self, joined: &Joined) {
        let (exchange, names) = (&joined.converged.exchange, &joined.converged.names);
        let server = exchange.side == Role::Server;
        self.known("http.request.method", names.method.as_str());
        if names.method.as_str() == "_OTHER" {
            self.known("http.request.method_original", exchange.method.as_str());
        }
        if let Ok(status) = names.code.as_str().parse() {
            self.whole("http.response.status_code", status);
        }
        self.name(if server { "http.route" } else { "url.template" }, names.endpoint.as_str());
        let target = Targets::Masked.of(exchange);
        let path = path(&target);
        if server {
            self.known("url.path", path);
        } else if let Some(url) = url(joined, path) {
            self.known("url.full", &url);
        }
        self.known("url.scheme", "http"); // nothing encrypted is read
        self.known("network.protocol.version", values::version(exchange.protocol.name()).unwrap_or_default());
        self.whole("http.request.size", exchange.request_bytes);
        self.whole("http.response.size", exchange.response_bytes);
    }

    fn rpc(&mut self, joined: &Joined) {
        let names = &joined.converged.names;
        self.known("rpc.system.name", system(&joined.converged.exchange));
        self.name("rpc.method", names.endpoint.as_str());
        self.known("rpc.status_code", names.code.as_str());
    }

    fn database(&mut self, joined: &Joined) {
        let (exchange, names) = (&joined.converged.exchange, &joined.converged.names);
        self.known("db.system.name", system(exchange));
        self.name("db.namespace", names.namespace.as_str());
        self.known("db.operation.name", names.method.as_str());
        if names.endpoint != names.method {
            self.name("db.query.summary", names.endpoint.as_str());
        }
        self.name("db.collection.name", names.collection.as_str());
        self.known("db.query.text", &Targets::Masked.of(exchange));
        self.known("db.response.status_code", names.code.as_str());
    }

    fn messaging(&mut self, joined: &Joined) {
        let (exchange, names) = (&joined.converged.exchange, &joined.converged.names);
        let operation = names.method.as_str();
        self.known("messaging.system", system(exchange));
        self.known("messaging.operation.name", operation);
        self.known("messaging.operation.type", values::operation_type(operation).unwrap_or_default());
        self.name("messaging.destination.name", names.endpoint.as_str());
        self.known("messaging.response.status_code", names.code.as_str());
    }

    fn dns(&mut self, joined: &Joined) {
        let (exchange, names) = (&joined.converged.exchange, &joined.converged.names);
        self.known("dns.question.name", &Targets::Masked.of(exchange));
        self.known("dns.question.type", names.method.as_str());
        self.known("dns.response.code", names.code.as_str());
        if !exchange.addresses.is_empty() {
            self.0.push(texts("dns.answers", exchange.addresses.iter().map(ToString::to_string)));
        }
        self.known("network.protocol.name", "dns");
    }

    /// Who asked whom, over what.
    fn ends(&mut self, joined: &Joined) {
        let conn = &joined.converged.exchange.conn;
        let server = joined.converged.exchange.side == Role::Server;
        let (local, remote) = (ip(&conn.local), ip(&conn.remote));
        let peer = peer(joined);
        if server {
            self.known("client.address", &peer);
            self.known("server.address", &local);
            self.whole("server.port", u64::from(conn.local.port()));
        } else {
            self.known("server.address", &peer);
            self.whole("server.port", u64::from(conn.remote.port()));
        }
        if !remote.is_empty() {
            self.known("network.peer.address", &remote);
            self.whole("network.peer.port", u64::from(conn.remote.port()));
        }
        let transport = match conn.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::UnixStream | Transport::UnixDatagram => "unix",
        };
        self.known("network.transport", transport);
    }

    /// Why nothing is known of an answer, where nothing went wrong that we know of.
    fn answer(&mut self, exchange: &Exchange) {
        let why = match exchange.no_answer {
            Some(NoAnswer::Lost) => "lost",
            Some(NoAnswer::Shutdown) => "shutdown",
            Some(NoAnswer::Reset | NoAnswer::Closed | NoAnswer::Timeout) | None => "",
        };
        self.known("redtap.answer", why);
    }
}

fn system(exchange: &Exchange) -> &'static str {
    exchange.protocol.traits().and_then(|traits| traits.system).unwrap_or_default()
}

/// The other end: its name, else its address.
fn peer(joined: &Joined) -> Cow<'_, str> {
    match joined.parties.peer.as_str() {
        "" | OVERFLOW => ip(&joined.converged.exchange.conn.remote).into(),
        name => name.into(),
    }
}

/// Empty where there is none, or it is not known.
fn ip(address: &Address) -> String {
    let known = address.ip().filter(|_| *address != Address::UNKNOWN);
    known.map(|ip| ip.to_string()).unwrap_or_default()
}

/// The path, of a target that is one: without what may be a secret it comes from [`Targets`] already.
fn path(target: &str) -> &str {
    if target.starts_with('/') { target } else { "" }
}

/// The URL that was asked, as far as it is known: made of the address that was asked, not of the `Host` header.
fn url(joined: &Joined, path: &str) -> Option<String> {
    let conn = &joined.converged.exchange.conn;
    let peer = peer(joined);
    if peer.is_empty() || path.is_empty() {
        return None;
    }
    let host = if peer.contains(':') { format!("[{peer}]") } else { peer.into_owned() };
    Some(format!("http://{host}:{}{path}", conn.remote.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_follows_the_authority_and_nothing_of_it() {
        assert_eq!(path("/a/b"), "/a/b");
        assert_eq!(path("example.org:443"), "");
        assert_eq!(path("*"), "");
    }
}
