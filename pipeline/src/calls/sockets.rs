//! Both ends of connections: which exchange at one end is which at the other.
//!
//! Where answers find their requests by id, the ids are the same at both ends. Elsewhere requests of one connection come one after the
//! other, so the two that overlap in time are the same one; in a pipeline more than one does, and then the number on the
//! connection decides, if both ends were seen from their beginning. What is still doubtful is not paired.
//!
//! Bounds: [`MAX_PAIRS`] connections, the one heard of longest ago makes room; [`MAX_ENDS`] exchanges an end.

use hashbrown::HashMap;
use redtap_stages::flow::conn::{Address, Role};
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::trace::SpanId;
use redtap_stages::protocols::Pairing;
use redtap_stages::time::Nanos;
use std::collections::VecDeque;

/// Connections that are remembered.
pub const MAX_PAIRS: usize = 4_096;
/// Exchanges remembered of a client's end.
pub const MAX_ENDS: usize = 512;

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

    /// It overlaps with most of `served`.
    fn contains(&self, served: &Self) -> bool {
        let common = self.end.min(served.end).since(self.start.max(served.start));
        self.start < served.end
            && served.start < self.end
            && common.0.saturating_mul(2) > served.end.since(served.start).0
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
        let fits = |(_, end): &(usize, &End)| end.contains(&served) && (!by_id || end.id == served.id);
        let mut found = ends.clients.iter().enumerate().filter(fits);
        let first = found.next()?;
        let (at, _) = match found.next() {
            None => first,
            Some(_) if by_id || served.late => return None,
            Some(second) => {
                let numbered = |(_, end): &(usize, &End)| !end.late && end.number == served.number;
                [first, second].into_iter().chain(found).find(numbered)?
            }
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
