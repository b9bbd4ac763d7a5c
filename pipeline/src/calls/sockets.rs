//! Both ends of connections: which exchange at one end is which at the other.
//!
//! Where answers find their requests by id, the ids are the same at both ends. Elsewhere requests of one connection come one after the
//! other, and the number on the connection decides, if both ends were seen from their beginning and the two overlap in time. Where
//! no number says it, it is the only one with which most of the time is common. What is still doubtful is not paired.
//!
//! On one host who receives is woken while the sender is still in the call that sends, and the sender may have to wait for a processor
//! before that returns and is noted. So a server's end may seem to be over long after its client's, and a client's to begin when its
//! server's is over already: the first request of a connection is the same at both ends then too ([`SKEW`]).
//!
//! Bounds: [`MAX_PAIRS`] connections, the one heard of longest ago makes room; [`MAX_ENDS`] exchanges an end.

use hashbrown::HashMap;
use redtap_stages::flow::conn::{Address, Role};
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::trace::SpanId;
use redtap_stages::protocols::Pairing;
use redtap_stages::time::Nanos;
use std::collections::VecDeque;
use std::hash::BuildHasher as _;

/// Connections that are remembered.
pub const MAX_PAIRS: usize = 4_096;
/// Exchanges remembered of a client's end.
pub const MAX_ENDS: usize = 512;
/// How far apart the ends of the first request of a connection may seem to be.
pub const SKEW: Nanos = Nanos::from_millis(50);

/// A connection, the same from both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pair {
    client: Address,
    server: Address,
    /// Where addresses mean something else in each: on loopback.
    netns: u32,
}

impl Pair {
    fn of(exchange: &Exchange) -> Self {
        let conn = &exchange.conn;
        let (client, server) = match exchange.side {
            Role::Server => (conn.remote, conn.local),
            Role::Client | Role::Unknown => (conn.local, conn.remote),
        };
        let local = server.ip().is_some_and(|ip| ip.is_loopback());
        // The hash of the path is known at one end only.
        let bare = |address| match address {
            Address::Unix(inode, _) => Address::Unix(inode, 0),
            inet @ Address::Inet(..) => inet,
        };
        Self { client: bare(client), server: bare(server), netns: if local { conn.netns } else { 0 } }
    }
}

/// A number of the connection, the same from both ends; two connections share one once in 2^64.
#[must_use]
pub(super) fn place(exchange: &Exchange) -> u64 {
    foldhash::fast::FixedState::default().hash_one(Pair::of(exchange))
}

/// An exchange at the client's end.
#[derive(Debug, Clone, Copy)]
struct End {
    span: SpanId,
    start: Nanos,
    end: Nanos,
    id: u32,
    number: u32,
    late: bool,
}

impl End {
    fn of(exchange: &Exchange, span: SpanId) -> Self {
        Self {
            span,
            start: exchange.start,
            end: exchange.end.or(exchange.answered).unwrap_or(exchange.start),
            id: exchange.id,
            number: exchange.number,
            late: exchange.conn.late,
        }
    }

    fn overlaps(&self, served: &Self) -> bool {
        self.start < served.end && served.start < self.end
    }

    /// It overlaps with most of `served`.
    fn contains(&self, served: &Self) -> bool {
        let common = self.end.min(served.end).since(self.start.max(served.start));
        self.overlaps(served) && common.0.saturating_mul(2) > served.end.since(served.start).0
    }

    /// Both are the first on their connection, and near enough.
    fn first(&self, served: &Self) -> bool {
        let apart = self.start.since(served.end).max(served.start.since(self.end));
        self.number == 1 && self.numbered(served) && apart <= SKEW
    }

    /// The number says that it is the same.
    fn numbered(&self, served: &Self) -> bool {
        !self.late && !served.late && self.number == served.number
    }
}

/// What is remembered of a connection.
#[derive(Debug, Default)]
struct Ends {
    clients: VecDeque<End>,
    last: Nanos,
}

/// Client ends of connections.
#[derive(Debug, Default)]
pub struct Sockets {
    pairs: HashMap<Pair, Ends>,
}

impl Sockets {
    /// A client's exchange.
    pub fn asked(&mut self, exchange: &Exchange, span: SpanId, now: Nanos) {
        let pair = Pair::of(exchange);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&pair) {
            self.make_room();
        }
        let ends = self.pairs.entry(pair).or_default();
        ends.last = now;
        if ends.clients.len() >= MAX_ENDS {
            ends.clients.pop_front();
        }
        ends.clients.push_back(End::of(exchange, span));
    }

    /// The same exchange at the client's end, as far as that has been seen.
    pub fn client_of(&mut self, exchange: &Exchange, span: SpanId) -> Option<SpanId> {
        let served = End::of(exchange, span);
        let ends = self.pairs.get_mut(&Pair::of(exchange))?;
        let by_id = exchange.protocol.carrier().pairing() == Pairing::ById && served.id != 0;
        let same = |end: &End| if by_id { end.id == served.id } else { end.numbered(&served) };
        let may_be = |end: &End| (end.overlaps(&served) || end.first(&served)) && (!by_id || end.id == served.id);
        let only = |fits: &dyn Fn(&End) -> bool| {
            let mut found = ends.clients.iter().enumerate().filter(|(_, end)| may_be(end) && fits(end));
            let first = found.next().map(|(at, _)| at);
            (first, found.next().is_some())
        };
        let at = match (only(&same), only(&|end| end.contains(&served))) {
            // Both say one, and not the same: an end has missed something.
            ((Some(said), false), (Some(near), false)) if said != near => return None,
            ((Some(said), false), _) => said,
            // Ids may be used again.
            (_, (Some(near), false)) => near,
            _ => return None,
        };
        // Each is the other end of one.
        ends.clients.remove(at).map(|client| client.span)
    }

    /// The client's end of this connection is seen as well.
    #[must_use]
    pub fn knows(&self, exchange: &Exchange) -> bool {
        self.pairs.contains_key(&Pair::of(exchange))
    }

    /// Forgets what was not heard of since.
    pub fn forget(&mut self, before: Nanos) {
        self.pairs.retain(|_, ends| ends.last >= before);
    }

    fn make_room(&mut self) {
        let mut ages: Vec<Nanos> = self.pairs.values().map(|ends| ends.last).collect();
        let middle = ages.len() / 8;
        if middle < ages.len() {
            // An eighth at a time: it is a look at all of them.
            let (_, age, _) = ages.select_nth_unstable(middle);
            let age = *age;
            self.pairs.retain(|_, ends| ends.last > age);
        }
    }
}
