//! Protocols: the contract that each keeps, and the closed list of them.
//!
//! A protocol is one room: two pure functions on bytes, [`Wire::probe`] and [`Wire::parse`], a small state for each
//! connection, one table entry with what the stages want to know of it ([`Traits`]), and fixtures that it feeds to the shared
//! tests. It never buffers: the caller ([`crate::parse`]) keeps what is unfinished, and hands gaps in as such.
//!
//! Adding one: a room here; a variant of [`Protocol`], with its lines in [`Protocol::ALL`] and [`Protocol::traits`]; its name
//! in the list of `parse::state`. Compiler and tests say what was forgotten. No other module names a protocol (a test holds
//! that); what a stage does differently for one is a field of [`Traits`].

use crate::abi::{Capture, Verdict};
use crate::flow::conn::{Direction, Role, Transport};
use crate::flow::message::Message;
use crate::time::Nanos;
use std::num::NonZeroU64;

pub mod dns;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod kafka;
#[cfg(test)]
#[allow(dead_code, reason = "not every protocol needs every law")]
pub(crate) mod laws;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod trace;
pub mod traits;
pub mod wire;

use traits::{Over, Traits};

/// The protocols that redtap knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Protocol {
    /// Not identified yet.
    #[default]
    Unknown,
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// Redis: RESP2, RESP3 and inline commands.
    Redis,
    /// DNS over UDP and TCP.
    Dns,
    /// HTTP/2 in the clear.
    Http2,
    /// gRPC, in HTTP/2; and gRPC-Web, in any HTTP.
    Grpc,
    /// Apache Kafka.
    Kafka,
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL: frontend/backend protocol 3.
    Postgres,
    /// Something else; identification gave up.
    Foreign,
}

impl Protocol {
    /// All that can be identified, in the order of the variants.
    pub const ALL: &[Self] =
        &[Self::Http1, Self::Redis, Self::Dns, Self::Http2, Self::Grpc, Self::Kafka, Self::Mysql, Self::Postgres];

    /// What the stages want to know of it; `None` where identification has not settled on a protocol.
    #[must_use]
    pub fn traits(self) -> Option<&'static Traits> {
        match self {
            Self::Http1 => Some(&<http1::Http1 as Wire>::TRAITS),
            Self::Redis => Some(&<redis::Redis as Wire>::TRAITS),
            Self::Dns => Some(&<dns::Dns as Wire>::TRAITS),
            Self::Http2 => Some(&<http2::Http2 as Wire>::TRAITS),
            Self::Grpc => Some(&grpc::Grpc::TRAITS),
            Self::Kafka => Some(&<kafka::Kafka as Wire>::TRAITS),
            Self::Mysql => Some(&<mysql::Mysql as Wire>::TRAITS),
            Self::Postgres => Some(&<postgres::Postgres as Wire>::TRAITS),
            Self::Unknown | Self::Foreign => None,
        }
    }

    /// Name in records and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self, self.traits()) {
            (_, Some(traits)) => traits.name,
            (Self::Foreign, None) => "foreign",
            (_, None) => "unknown",
        }
    }

    /// The protocol whose parser reads it: itself, or the one that it is spoken inside of ([`Traits::over`]).
    #[must_use]
    pub fn carrier(self) -> Self {
        self.traits().and_then(|traits| traits.over).map_or(self, |over| over.carrier)
    }

    /// What this protocol is to `carrier`, if it is another one that is spoken inside of that.
    #[must_use]
    pub fn inside(self, carrier: Self) -> Option<Over> {
        self.traits().and_then(|traits| traits.over).filter(|over| over.carrier == carrier)
    }

    /// How its answers find their requests.
    #[must_use]
    pub fn pairing(self) -> Pairing {
        self.traits().map_or(Pairing::Fifo, |traits| traits.pairing)
    }

    /// [`Traits::asks_again_unanswered`].
    #[must_use]
    pub fn asks_again_unanswered(self) -> bool {
        self.traits().is_some_and(|traits| traits.asks_again_unanswered)
    }

    /// What is worth capturing of each turn of it; `None` where identification has not settled on a protocol.
    #[must_use]
    pub fn budget(self) -> Option<Budget> {
        self.traits().map(|traits| traits.budget)
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const _: () = {
    let mut at = 0;
    while at < Protocol::ALL.len() {
        assert!(Protocol::ALL[at] as usize == at + 1, "the list is in the order of the variants");
        at += 1;
    }
    assert!(Protocol::ALL.len() + 1 == Protocol::Foreign as usize, "the list is whole");
};

/// Bytes to capture of a turn, as powers of two (at most [`Budget::MAX`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of a turn of requests.
    pub requests: u8,
    /// Of a turn of responses.
    pub responses: u8,
    /// Everything that carries state, whatever it takes (HTTP/2, where a header block is needed to read all later ones). The
    /// classes do not count then.
    pub full: bool,
}

impl Budget {
    /// The largest class the kernel knows: 64 KiB a turn.
    pub const MAX: u8 = 16;
    /// Everything.
    pub const FULL: Self = Self { requests: Self::MAX, responses: Self::MAX, full: true };

    /// So much of each turn, as powers of two.
    #[must_use]
    pub const fn head(requests: u8, responses: u8) -> Self {
        Self { requests, responses, full: false }
    }

    /// The verdict that asks the kernel for it; `role` says which direction the requests take (unknown: ingress).
    #[must_use]
    pub fn verdict(self, conn_id: u64, role: Role) -> Verdict {
        let (ingress_class, egress_class) = match role {
            Role::Client => (self.responses, self.requests),
            Role::Server | Role::Unknown => (self.requests, self.responses),
        };
        let capture = if self.full { Capture::Full } else { Capture::Head };
        Verdict { conn_id, capture, ingress_class, egress_class, role: role.code() }
    }

    /// The verdict for a connection of no interest.
    #[must_use]
    pub fn mute(conn_id: u64) -> Verdict {
        Verdict { conn_id, capture: Capture::Mute, ingress_class: 0, egress_class: 0, role: 0 }
    }
}

/// How answers find their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// In order.
    Fifo,
    /// By [`Message::id`].
    ById,
}

/// Who speaks in a prefix, as far as the content tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Only a client sends this.
    Client,
    /// Only a server sends this.
    Server,
    /// Either may.
    Either,
}

/// Answer of [`Wire::probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It is this protocol.
    Match(Speaker),
    /// It is not.
    NoMatch,
    /// More bytes of the same direction decide.
    NeedMore,
}

/// What [`Wire::probe`] may know besides the bytes. Ports break ties; they never decide.
#[derive(Debug, Clone, Copy)]
pub struct ProbeContext {
    /// What carries the bytes.
    pub transport: Transport,
    /// Port of the end that was connected to, as far as that is known; else 0.
    pub server_port: u16,
    /// The connection is older than the probe: the prefix may lie in the middle of something.
    pub late: bool,
}

/// What [`Wire::parse`] is handed.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Bytes, contiguous with what was consumed before. Never empty.
    Bytes(&'a [u8]),
    /// That many bytes moved unseen. Never zero.
    Gap(NonZeroU64),
}

/// What surrounds the input.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Which way it went.
    pub direction: Direction,
    /// Which end we are; never unknown: identification settled it.
    pub role: Role,
    /// What carries it. For datagrams the input is one whole datagram (or its captured beginning, then a gap).
    pub transport: Transport,
    /// When the first byte of the input moved.
    pub start: Nanos,
    /// When the last one did.
    pub at: Nanos,
}

impl Context {
    /// True if requests travel this way.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.role.request_direction() == Some(self.direction)
    }
}

/// What a parser did with its input. "Consumed nothing, call again" cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// That many bytes (of the input or the gap) are done with. At most what was handed in.
    Consumed(NonZeroU64),
    /// Decided only with at least that many bytes more. The caller keeps what it has and calls again with more; a gap instead
    /// of more bytes means [`Wire::lost`].
    NeedMore(NonZeroU64),
    /// Not this protocol, or broken: nothing of this turn can be read any more.
    Malformed(Malformed),
    /// The framing is lost (a gap over a boundary): as `Malformed`, but nobody's fault.
    Lost,
    /// What follows in both directions is another protocol (an upgrade was accepted). Nothing of the input was read.
    HandOver(Successor),
}

/// Who takes a connection over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// Nobody that can be read.
    Foreign,
    /// TLS: encrypted from here on (STARTTLS and the like).
    Tls,
    /// That protocol, from the input at hand on, in both directions (h2c).
    Protocol(Protocol),
}

/// What was wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {field}: {kind}")]
pub struct Malformed {
    /// The field, as its specification calls it.
    pub field: &'static str,
    /// What is wrong with it.
    pub kind: &'static str,
}

/// Takes messages from a parser.
pub trait Sink {
    /// One message, in order.
    fn message(&mut self, message: Message);
}

/// One protocol. All functions are pure in (state, input) and total: any bytes, any cut, no panic, bounded state.
pub trait Wire {
    /// What the stages want to know of it.
    const TRAITS: Traits;
    /// Which one.
    const PROTOCOL: Protocol = Self::TRAITS.protocol;
    /// What it remembers of a connection, both directions. Its size is bounded by a constant in its module.
    type State: Default + Send;

    /// A fresh state of a connection that another protocol has handed over: both directions begin with their next bytes. Who has
    /// nothing to learn from that leaves it as it is.
    fn follow(_state: &mut Self::State) {}

    /// How much of a turn of responses is enough by what they were lately, as a power of two: their heads were shorter, and said how
    /// long the rest is. None: nobody knows, or all that the budget allows.
    fn enough(_state: &Self::State) -> Option<u8> {
        None
    }

    /// Does `prefix`, the first bytes of `direction`, look like this protocol? Stateless and monotonic: more bytes never
    /// change a `Match` or a `NoMatch`.
    fn probe(prefix: &[u8], context: ProbeContext) -> Probe;

    /// A turn begins in `context.direction`; the other direction has paused. Called before its bytes. Here a message whose
    /// end cannot be seen (cut, or of unknown length) may be known to be over.
    fn turn(state: &mut Self::State, context: Context, sink: &mut dyn Sink);

    /// Reads from the input what can be read: at most one message (or one part of it) a call.
    fn parse(state: &mut Self::State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step;

    /// Framing of `context.direction` is lost: forget what was begun there. The next bytes handed in start a turn (and so, very
    /// likely, a message); `parse` resynchronises on them.
    fn lost(state: &mut Self::State, context: Context, sink: &mut dyn Sink);

    /// Whole turns of `context.direction` went by unseen, and were counted by who knows how many: what was begun there, and
    /// what waits for an answer from there, is void. Nothing is made up for them. The next bytes handed in start a turn.
    fn missed(state: &mut Self::State, context: Context, sink: &mut dyn Sink);

    /// `context.direction` has ended. A message that ends with its connection ends here.
    fn end(state: &mut Self::State, context: Context, sink: &mut dyn Sink);
}
