//! The service graph: who called whom, how often, how badly, how long.
//!
//! An exchange is counted where its client is watched; where only the server is, there. The duration is kept as each side
//! saw it. What is no edge ([`EdgeKind::None`]) is not counted, nor (by default) is a service that calls itself.

use super::histogram::{Histogram, bounds};
use crate::flow::conn::Role;
use crate::flow::delta::{Delta, Gain, Series};
use crate::flow::joined::{Joined, Parties};
use crate::limits;
use crate::metric::Metric;
use crate::protocols::traits::EdgeKind;
use crate::symbol::{Interner, Symbol, SymbolKey};
use crate::time::Nanos;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::Arc;

/// Name of a caller of which nothing is known.
const UNKNOWN_CLIENT: &str = "user";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct EdgeKey {
    client: SymbolKey,
    server: SymbolKey,
    kind: EdgeKind,
    at_server: bool,
}

#[derive(Debug)]
struct Edge {
    requests: (Arc<Series>, u64),
    failed: (Arc<Series>, u64),
    duration: (Arc<Series>, Histogram),
    last: Nanos,
    dirty: bool,
}

/// The edges seen from one shard.
#[derive(Debug)]
pub(super) struct Edges {
    by_key: HashMap<EdgeKey, usize, RandomState>,
    slots: Vec<Option<Edge>>,
    free: Vec<usize>,
    capacity: usize,
    self_edges: bool,
    dirty: Vec<usize>,
    user: Symbol,
    database: Symbol,
    messaging: Symbol,
    overflow: Symbol,
    overflowed: u64,
}

impl Edges {
    pub(super) fn new(names: &mut Interner, self_edges: bool) -> Self {
        Self {
            by_key: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            capacity: limits::MAX_EDGES,
            self_edges,
            dirty: Vec::new(),
            user: names.intern(UNKNOWN_CLIENT),
            database: names.intern("database"),
            messaging: names.intern("messaging_system"),
            overflow: names.overflow(),
            overflowed: 0,
        }
    }

    /// Exchanges counted on the overflow edge because the table was full.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Index of the edge of `joined`, made if need be; the overflow edge's where there is no room. `None`: it is no edge.
    pub(super) fn find(&mut self, joined: &Joined) -> Option<usize> {
        let exchange = &joined.converged.exchange;
        let kind = exchange.protocol.traits().map_or(EdgeKind::None, |traits| traits.edge);
        if kind == EdgeKind::None {
            return None;
        }
        let at_server = exchange.side == Role::Server;
        let Parties { service, peer, .. } = &*joined.parties;
        let (client, server) = match (at_server, peer.is_empty()) {
            (true, true) => (self.user.clone(), service),
            (true, false) => (peer.clone(), service),
            (false, _) => (service.clone(), peer),
        };
        if server.is_empty() || (!self.self_edges && client == *server) {
            return None;
        }
        let key = EdgeKey { client: client.key(), server: server.key(), kind, at_server };
        if let Some(&at) = self.by_key.get(&key) {
            return Some(at);
        }
        if self.by_key.len() < self.capacity {
            return Some(self.insert(key, service, &client, server));
        }
        self.overflowed += 1;
        let all = SymbolKey::OVERFLOW;
        let key = EdgeKey { client: all, server: all, ..key };
        if let Some(&at) = self.by_key.get(&key) {
            return Some(at);
        }
        let overflow = self.overflow.clone();
        Some(self.insert(key, &overflow, &overflow, &overflow))
    }

    /// Counts `joined` on the edge that [`Edges::find`] gave.
    pub(super) fn count(&mut self, now: Nanos, at: usize, joined: &Joined, duration: Nanos) {
        let Some(edge) = self.slots.get_mut(at).and_then(Option::as_mut) else {
            debug_assert!(false, "an index of the table without a slot");
            return;
        };
        let exchange = &joined.converged.exchange;
        let counted = !(exchange.side == Role::Server && joined.parties.peer_watched);
        let weight = if counted { exchange.weight() } else { 0 };
        edge.last = now;
        edge.requests.1 += weight;
        edge.failed.1 += if exchange.is_error() { weight } else { 0 };
        edge.duration.1.observe(bounds(edge.duration.0.metric), duration, exchange.weight());
        if !edge.dirty {
            edge.dirty = true;
            self.dirty.push(at);
        }
    }

    fn insert(&mut self, key: EdgeKey, service: &Symbol, client: &Symbol, server: &Symbol) -> usize {
        let edge = self.edge(service, client, server, key);
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(place) = self.slots.get_mut(at) {
            *place = Some(edge);
        }
        self.by_key.insert(key, at);
        at
    }

    fn edge(&self, service: &Symbol, client: &Symbol, server: &Symbol, key: EdgeKey) -> Edge {
        let series = |metric| {
            let mut labels = vec![("client", client.clone()), ("server", server.clone())];
            match key.kind {
                EdgeKind::Database => labels.push(("connection_type", self.database.clone())),
                EdgeKind::Messaging => labels.push(("connection_type", self.messaging.clone())),
                EdgeKind::None | EdgeKind::Call => {}
            }
            Arc::new(Series { metric, service: service.clone(), labels })
        };
        let duration = if key.at_server { Metric::ServiceGraphServer } else { Metric::ServiceGraphClient };
        Edge {
            requests: (series(Metric::ServiceGraphRequests), 0),
            failed: (series(Metric::ServiceGraphFailed), 0),
            duration: (series(duration), Histogram::EMPTY),
            last: Nanos::ZERO,
            dirty: false,
        }
    }

    /// Appends what was gained.
    pub(super) fn emit(&mut self, out: &mut Vec<Delta>) {
        for at in self.dirty.drain(..) {
            let Some(edge) = self.slots.get_mut(at).and_then(Option::as_mut) else { continue };
            edge.dirty = false;
            for (series, count) in [&mut edge.requests, &mut edge.failed] {
                let count = std::mem::take(count);
                if count > 0 {
                    out.push(Delta { series: Arc::clone(series), gain: Gain::Count(count) });
                }
            }
            if let Some(gain) = edge.duration.1.take() {
                out.push(Delta { series: Arc::clone(&edge.duration.0), gain: Gain::Histogram(gain) });
            }
        }
    }

    /// Forgets edges that gained nothing since `limit` before `now`. After [`Edges::emit`] only. Their indices are given to
    /// others.
    pub(super) fn expire(&mut self, now: Nanos, limit: Nanos) {
        let Self { by_key, slots, free, .. } = self;
        by_key.retain(|_, &mut at| {
            let Some(place) = slots.get_mut(at) else { return false };
            let keep = place.as_ref().is_some_and(|edge| edge.dirty || now.since(edge.last) < limit);
            if !keep {
                *place = None;
                free.push(at);
            }
            keep
        });
    }
}
