//! The service graph: who called whom, how often, how badly, how long.
//!
//! An exchange is counted where its client is watched; where only the server is, there. The duration is kept as each side
//! saw it. What is no edge ([`EdgeKind::None`]) is not counted, nor (by default) is a service that calls itself.

use super::histogram::{Histogram, bounds};
use crate::flow::conn::Role;
use crate::flow::delta::{Delta, Gain, Series};
use crate::flow::joined::Joined;
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
    table: HashMap<EdgeKey, Edge, RandomState>,
    capacity: usize,
    self_edges: bool,
    dirty: Vec<EdgeKey>,
    user: Symbol,
    database: Symbol,
    messaging: Symbol,
    overflow: Symbol,
    overflowed: u64,
}

impl Edges {
    pub(super) fn new(names: &mut Interner, self_edges: bool) -> Self {
        Self {
            table: HashMap::default(),
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
        self.table.len()
    }

    pub(super) fn count(&mut self, now: Nanos, joined: &Joined, duration: Nanos) {
        let exchange = &joined.converged.exchange;
        let kind = exchange.protocol.traits().map_or(EdgeKind::None, |traits| traits.edge);
        if kind == EdgeKind::None {
            return;
        }
        let at_server = exchange.side == Role::Server;
        let (client, server) = if at_server {
            (if joined.peer.is_empty() { &self.user } else { &joined.peer }, &joined.service)
        } else {
            (&joined.service, &joined.peer)
        };
        if server.is_empty() || (!self.self_edges && client == server) {
            return;
        }
        let key = EdgeKey { client: client.key(), server: server.key(), kind, at_server };
        let failed = exchange.is_error();
        let counted = !(at_server && joined.peer_watched);
        let weight = exchange.conn.weight();
        let key = self.make_room(key, joined, at_server);
        let Some(edge) = self.table.get_mut(&key) else { return };
        edge.last = now;
        edge.requests.1 += if counted { weight } else { 0 };
        edge.failed.1 += if counted && failed { weight } else { 0 };
        edge.duration.1.observe(bounds(edge.duration.0.metric), duration, weight);
        if !edge.dirty {
            edge.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Makes the edge if need be, and says under which key it lies: the overflow edge's when there was no room.
    fn make_room(&mut self, key: EdgeKey, joined: &Joined, at_server: bool) -> EdgeKey {
        if self.table.contains_key(&key) {
            return key;
        }
        let all = SymbolKey::OVERFLOW;
        let full = self.table.len() >= self.capacity;
        let key = if full { EdgeKey { client: all, server: all, ..key } } else { key };
        self.overflowed += u64::from(full);
        if !self.table.contains_key(&key) {
            let (client, server) = match (full, at_server) {
                (true, _) => (&self.overflow, &self.overflow),
                (false, true) if joined.peer.is_empty() => (&self.user, &joined.service),
                (false, true) => (&joined.peer, &joined.service),
                (false, false) => (&joined.service, &joined.peer),
            };
            let service = if full { &self.overflow } else { &joined.service };
            let edge = self.edge(service, client, server, key);
            self.table.insert(key, edge);
        }
        key
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
        for key in self.dirty.drain(..) {
            let Some(edge) = self.table.get_mut(&key) else { continue };
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

    /// Forgets edges that gained nothing since `limit` before `now`. After [`Edges::emit`] only.
    pub(super) fn expire(&mut self, now: Nanos, limit: Nanos) {
        self.table.retain(|_, edge| edge.dirty || now.since(edge.last) < limit);
    }
}
