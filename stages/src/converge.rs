//! Stage `converge`: gives every exchange names of low cardinality, under which it may be counted.
//!
//! What the endpoint is made from, the protocol's [`Traits`] say. A route: a pattern of the
//! user's if one matches, else a template made of the path (module `routes`); query, fragment and path parameters are
//! dropped. Or the summary of a statement (module `query`), and never a literal. Or the method, and never a key. Or nothing,
//! and by configuration the last labels of a domain name. Methods and codes come out of tables (module `names`). All names of
//! exchanges seen lately are remembered together, by all that they are made from.
//!
//! Routes are learned for each service apart. A service is, before identities are known, a cgroup, a thread name, a side
//! and the port of the answering end. Each has a budget of endpoints; past it the endpoint is `_overflow`, and
//! [`Converge::overflowed`] counts the exchanges. Patterns of the user's are outside of the budget. Databases have a budget of
//! their own, so that a client who makes up their names spoils no other's.
//!
//! Absent: identities, any text of a query, a key or a body; time except for forgetting idle services.

mod cache;
mod names;
mod query;
mod routes;
mod rules;
mod segment;

pub use rules::{ConvergeRules, HTTP_METHODS, MAX_RULES, Pattern, PatternError};

use crate::flow::conn::Role;
use crate::flow::converged::{Converged, Names};
use crate::flow::exchange::Exchange;
use crate::limits;
use crate::protocols::traits::Endpoint;
use crate::protocols::traits::Traits;
use crate::recent::Recent;
use crate::stage::{Ledger, Stage};
use crate::symbol::{Interner, Symbol, SymbolKey};
use crate::time::Nanos;
use cache::Cache;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use names::Words;
use query::Query;
use routes::{Routes, Shared};
use std::sync::Arc;

/// A service without an exchange for this long is forgotten.
const SERVICE_IDLE: Nanos = Nanos::from_secs(3_600);
/// How often idle services are looked for.
const SWEEP_INTERVAL: Nanos = Nanos::from_secs(60);

crate::reasons! {
    /// Why an exchange does not go on.
    pub enum ConvergeReject {
        /// Nothing is known of its protocol.
        Protocol => "protocol",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ServiceKey {
    cgroup_id: u64,
    comm: [u8; 16],
    side: Role,
    port: u16,
}

#[derive(Debug)]
struct Service {
    routes: Routes,
    /// Names used as endpoints that are no routes.
    names: HashSet<Box<str>, RandomState>,
    databases: HashSet<Box<str>, RandomState>,
    era: u64,
    last: Nanos,
}

/// The stage.
#[derive(Debug)]
pub struct Converge {
    patterns: Vec<(Pattern, Symbol)>,
    dns_labels: usize,
    words: Words,
    symbols: Interner,
    services: HashMap<ServiceKey, Service, RandomState>,
    /// What is shared by the services for which there was no room.
    crowd: Service,
    /// Endpoints by path.
    cache: Cache<Symbol, { limits::ROUTE_CACHE }>,
    /// Names by everything that they are made from.
    seen: Cache<Arc<Names>, { limits::NAMES_CACHE }>,
    /// Names by what they are. Each holds the symbols that its key stands for.
    made: Recent<[SymbolKey; 5], Arc<Names>>,
    /// Of the exchanges of the batch at hand; empty between two.
    found: Vec<Arc<Names>>,
    shared: Shared,
    eras: u64,
    overflowed: u64,
    swept_at: Nanos,
    ledger: Ledger,
}

impl Converge {
    /// A stage that has learned nothing yet.
    #[must_use]
    pub fn new(mut rules: ConvergeRules) -> Self {
        rules.patterns.truncate(MAX_RULES);
        rules.methods.truncate(MAX_RULES);
        let mut symbols = Interner::default();
        let patterns = rules.patterns.into_iter().map(|pattern| {
            let symbol = symbols.intern(pattern.as_str());
            (pattern, symbol)
        });
        let patterns = patterns.collect();
        let mut shared = Shared::new(rules.learned, rules.endpoints);
        Self {
            patterns,
            dns_labels: rules.dns_labels,
            words: Words::new(&rules.methods),
            crowd: Service::new(&mut shared, 0),
            symbols,
            services: HashMap::default(),
            cache: Cache::new(),
            seen: Cache::new(),
            made: Recent::new(limits::MAX_NAMES),
            found: Vec::new(),
            shared,
            eras: 1,
            overflowed: 0,
            swept_at: Nanos::ZERO,
            ledger: Ledger::new::<ConvergeReject>(),
        }
    }

    /// Exchanges whose endpoint is the overflow symbol because a bound was reached.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Services whose routes are known apart.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// Nodes in all route tables; at most [`limits::MAX_ROUTE_NODES_TOTAL`], and one for each service.
    #[must_use]
    pub fn route_nodes(&self) -> usize {
        self.shared.nodes
    }

    /// The names of an exchange. Most are like one that was seen lately, and all of its names are found at once.
    fn names(&mut self, now: Nanos, exchange: &Exchange) -> Option<Arc<Names>> {
        let traits = exchange.protocol.traits()?;
        let Some(text) = self.named_by(traits, exchange) else { return Some(self.find_names(now, traits, exchange).0) };
        let namespace = exchange.session.as_ref().map_or(&[][..], |session| session.namespace.as_bytes());
        let answer = u64::from(names::is_silent(exchange)) | u64::from(names::is_unread(exchange)) << 1;
        let number = answer | (exchange.protocol as u64) << 2;
        let texts = [exchange.method.as_bytes(), exchange.code.as_bytes(), text, namespace];
        let hash = self.seen.hash(texts, number);
        let Self { services, crowd, shared, seen, eras, .. } = self;
        // Without a text and a database nothing of the service is asked for.
        let service =
            (!text.is_empty() || !namespace.is_empty()).then(|| service(services, crowd, shared, eras, exchange));
        let era = service.as_ref().map_or(0, |service| service.era);
        if let Some((names, leaf)) = seen.find(hash, era) {
            if let Some(service) = service {
                service.last = now;
                service.routes.hit(leaf);
            }
            return Some(Arc::clone(names));
        }
        let (overflowed, eras) = (self.overflowed, self.eras);
        let (names, leaf) = self.find_names(now, traits, exchange);
        // What overflowed is counted each time; what pruned routes has another era now.
        if self.overflowed == overflowed && self.eras == eras {
            self.seen.put(hash, era, leaf, Arc::clone(&names));
        }
        Some(names)
    }

    /// The part of the target that names are made from; `None` where it is not told at a glance, or (statements) new each time.
    fn named_by<'a>(&self, traits: &Traits, exchange: &'a Exchange) -> Option<&'a [u8]> {
        let target = exchange.target.as_bytes();
        match traits.endpoint {
            Endpoint::Route if target.first() == Some(&b'/') => {
                let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
                target.get(..end)
            }
            Endpoint::Target => Some(target),
            Endpoint::Suffix if self.dns_labels > 0 => Some(target),
            Endpoint::Suffix | Endpoint::Method => Some(&[]),
            Endpoint::Route | Endpoint::Query(_) => None,
        }
    }

    /// The names of an exchange, and the place of its route.
    fn find_names(&mut self, now: Nanos, traits: &Traits, exchange: &Exchange) -> (Arc<Names>, usize) {
        let code = self.words.code(traits, exchange);
        let namespace = self.namespace(now, exchange);
        if let Endpoint::Query(dialect) = traits.endpoint {
            let Query { method, endpoint, collection } = self.query(now, traits, exchange, dialect);
            return (self.made(Names { endpoint, collection, namespace, method, code }), usize::MAX);
        }
        let method = self.words.method(traits, &exchange.method);
        let (endpoint, leaf) = match traits.endpoint {
            Endpoint::Route => self.route(now, exchange),
            Endpoint::Method | Endpoint::Query(_) => (method.clone(), usize::MAX),
            Endpoint::Suffix => (self.suffix(now, exchange), usize::MAX),
            Endpoint::Target => (self.named(now, exchange), usize::MAX),
        };
        let collection = self.words.none();
        (self.made(Names { endpoint, collection, namespace, method, code }), leaf)
    }

    /// The same names as made before, if they are still known.
    fn made(&mut self, names: Names) -> Arc<Names> {
        let Names { endpoint, collection, namespace, method, code } = &names;
        let key = [endpoint, collection, namespace, method, code].map(Symbol::key);
        Arc::clone(self.made.get_or_put(key, || Arc::new(names)))
    }

    /// The database of the session.
    fn namespace(&mut self, now: Nanos, exchange: &Exchange) -> Symbol {
        let name = exchange.session.as_ref().map_or("", |session| session.namespace.as_str());
        if name.is_empty() {
            return self.words.none();
        }
        self.within(now, exchange, name, limits::DATABASES_PER_SERVICE, |service| &mut service.databases)
    }

    /// The route of an exchange, and its place.
    fn route(&mut self, now: Nanos, exchange: &Exchange) -> (Symbol, usize) {
        let Some(path) = path(exchange.target.as_str()) else { return (self.words.none(), usize::MAX) };
        if path == "*" {
            return (self.symbols.intern(path), usize::MAX);
        }
        let hash = self.cache.hash([path.as_bytes()], 0);
        let Self { services, crowd, shared, cache, patterns, symbols, eras, .. } = self;
        let service = service(services, crowd, shared, eras, exchange);
        service.last = now;
        if let Some((endpoint, leaf)) = cache.find(hash, service.era) {
            service.routes.hit(leaf);
            return (endpoint.clone(), leaf);
        }
        if let Some((_, symbol)) = patterns.iter().find(|(pattern, _)| pattern.matches(path)) {
            cache.put(hash, service.era, usize::MAX, symbol.clone());
            return (symbol.clone(), usize::MAX);
        }
        let found = service.routes.find(path, shared, symbols);
        if found.pruned {
            service.era = next(eras);
        }
        let Some(endpoint) = found.endpoint else {
            self.overflowed += 1;
            return (self.symbols.overflow(), usize::MAX);
        };
        cache.put(hash, service.era, found.leaf, endpoint.clone());
        (endpoint, found.leaf)
    }

    fn suffix(&mut self, now: Nanos, exchange: &Exchange) -> Symbol {
        let name = exchange.target.as_str().trim_end_matches('.');
        if self.dns_labels == 0 || name.is_empty() {
            return self.words.none();
        }
        let from = name.rmatch_indices('.').nth(self.dns_labels - 1).map_or(0, |(at, _)| at + 1);
        let suffix = name.get(from..).unwrap_or(name); // the parser has written it in lower case
        self.budgeted(now, exchange, suffix)
    }

    /// The symbol of `name`, which counts against the budget of the service.
    fn budgeted(&mut self, now: Nanos, exchange: &Exchange, name: &str) -> Symbol {
        self.within(now, exchange, name, self.shared.budget, |service| &mut service.names)
    }

    /// The symbol of `name` while `set` of the service holds no more than `budget`.
    fn within(
        &mut self,
        now: Nanos,
        exchange: &Exchange,
        name: &str,
        budget: usize,
        set: impl Fn(&mut Service) -> &mut HashSet<Box<str>, RandomState>,
    ) -> Symbol {
        let Self { services, crowd, shared, eras, .. } = self;
        let service = service(services, crowd, shared, eras, exchange);
        service.last = now;
        let set = set(service);
        if !set.contains(name) {
            if set.len() >= budget {
                self.overflowed += 1;
                return self.symbols.overflow();
            }
            set.insert(name.into());
        }
        let symbol = self.symbols.intern(name);
        self.overflowed += u64::from(symbol.key() == self.symbols.overflow().key());
        symbol
    }

    /// The target as it is, within the budget of its service.
    fn named(&mut self, now: Nanos, exchange: &Exchange) -> Symbol {
        let name = exchange.target.as_str();
        if name.is_empty() { self.words.none() } else { self.budgeted(now, exchange, name) }
    }

    fn sweep(&mut self, now: Nanos) {
        self.swept_at = now;
        let shared = &mut self.shared;
        self.services.retain(|_, service| {
            let keep = now.since(service.last) < SERVICE_IDLE;
            if !keep {
                shared.nodes -= service.routes.len();
            }
            keep
        });
        // What these hold is used as far as the symbols know. They are filled again in no time.
        self.seen.clear();
        self.made.clear();
        self.symbols.release_unused();
    }
}

impl Service {
    fn new(shared: &mut Shared, era: u64) -> Self {
        Self {
            routes: Routes::new(shared),
            names: HashSet::default(),
            databases: HashSet::default(),
            era,
            last: Nanos::ZERO,
        }
    }
}

impl Stage for Converge {
    type In = Vec<Exchange>;
    type Out = Vec<Converged>;
    const NAME: &'static str = "converge";

    fn process(&mut self, now: Nanos, input: &mut Vec<Exchange>, out: &mut Vec<Converged>) {
        // First all names, then all exchanges: these are large, and so they are moved once.
        let mut found = std::mem::take(&mut self.found);
        input.retain(|exchange| {
            self.ledger.taken += 1;
            let names = self.names(now, exchange);
            let known = names.is_some();
            found.extend(names);
            if known {
                self.ledger.passed += 1;
                self.ledger.emitted += 1;
            } else {
                self.ledger.reject(ConvergeReject::Protocol, 1);
            }
            known
        });
        let named = input.drain(..).zip(found.drain(..));
        out.extend(named.map(|(exchange, names)| Converged { exchange, names }));
        self.found = found;
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, now: Nanos, _out: &mut Vec<Converged>) {
        if now.since(self.swept_at) >= SWEEP_INTERVAL {
            self.sweep(now);
        }
    }

    fn drain(&mut self, _now: Nanos, _out: &mut Vec<Converged>) {}

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}

/// The service of an exchange, made if need be; the crowd when there is no room.
fn service<'a>(
    services: &'a mut HashMap<ServiceKey, Service, RandomState>,
    crowd: &'a mut Service,
    shared: &mut Shared,
    eras: &mut u64,
    exchange: &Exchange,
) -> &'a mut Service {
    let conn = &exchange.conn;
    let answering = if exchange.side == Role::Server { conn.local } else { conn.remote };
    let key = ServiceKey {
        cgroup_id: conn.owner.cgroup_id,
        comm: conn.owner.comm,
        side: exchange.side,
        port: answering.port(),
    };
    if services.len() >= limits::MAX_ROUTED_SERVICES && !services.contains_key(&key) {
        return crowd;
    }
    services.entry(key).or_insert_with(|| Service::new(shared, next(eras)))
}

fn next(eras: &mut u64) -> u64 {
    *eras += 1;
    *eras
}

/// The path of a request target (RFC 9112, section 3.2): origin form and absolute form have one, the asterisk stands for
/// itself, the authority form of CONNECT has none.
fn path(target: &str) -> Option<&str> {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let target = target.get(..end)?;
    if target.starts_with('/') || target == "*" {
        return Some(target);
    }
    let (_, rest) = target.split_once("://")?;
    Some(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_path_out_of_every_form_of_target() {
        assert_eq!(path("/a/b?c=/d#e"), Some("/a/b"));
        assert_eq!(path("http://example.org/a?b"), Some("/a"));
        assert_eq!(path("http://example.org?a=/b"), Some("/"));
        assert_eq!(path("*"), Some("*"));
        assert_eq!(path("example.org:443"), None);
        assert_eq!(path(""), None);
    }
}
