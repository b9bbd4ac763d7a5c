//! Messages: protocol units, small and owned.

use super::conn::{About, Direction};
use super::trace::TraceContext;
use crate::abi::Verdict;
use crate::protocols::Protocol;
use crate::stage::{Batch, clear};
use crate::text::{Text, Token};
use crate::time::Nanos;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses in a DNS answer: one in place, at most [`crate::limits::MAX_ANSWERS`].
pub type Addresses = SmallVec<[IpAddr; 1]>;

/// What a message is in the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Asks.
    Request,
    /// Answers.
    Response,
    /// Answers, but the real answer is still to come (HTTP 1xx).
    Interim,
    /// Expects no answer and is none (pub/sub push, notifications).
    OneWay,
}

/// How much of the message this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning: everything but size and end is known.
    Head,
    /// Its end; follows a `Head` of the same kind and direction: in order or, where the protocol pairs by id, with the same id.
    /// Only `id`, `end`, `bytes`, `messages`, `aborted` and `cut` count, `status` and `code` where the head did not know them (gRPC: they are in
    /// the trailers), and `protocol` where the end is what shows it.
    End,
}

/// How an exchange went, as the protocol says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// The bytes that would tell were not captured.
    #[default]
    Unknown,
    /// Well.
    Ok,
    /// The answer says that it went wrong.
    Error,
}

/// What a connection was opened for, as its log-in says. Made once a connection (and again when it changes), shared by its
/// messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Session {
    /// Who logged in. Empty: not known.
    pub user: Text,
    /// The database (`db.namespace`). Empty: none, or not known.
    pub namespace: Text,
}

/// One protocol unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageKind,
    /// How much of it.
    pub part: Part,
    /// Of which protocol. That of an answer, or of its end, may be one that is spoken inside of its request's
    /// ([`crate::protocols::traits::Traits::over`]): then only the answer has shown it, and the exchange is of that one, with what this message says of
    /// how it went and nothing of what was said before.
    pub protocol: Protocol,
    /// The protocol whose parser read it: `protocol`, or what that is spoken inside of on this connection (gRPC-Web: any HTTP). It says how
    /// answers find their requests.
    pub carrier: Protocol,
    /// Which way it went.
    pub direction: Direction,
    /// Its first byte.
    pub start: Nanos,
    /// Its last byte known so far.
    pub end: Nanos,
    /// What pairs it, where the protocol pairs by id; else 0.
    pub id: u64,
    /// Request: method, command or question type. Empty: not known.
    pub method: Token,
    /// Request: path, key or name, as on the wire.
    pub target: Text,
    /// Response: how it went.
    pub status: Status,
    /// Response: status code or error name. Empty: none.
    pub code: Token,
    /// DNS response: the addresses that the name was resolved to.
    pub addresses: Addresses,
    /// Request: the log-in that it came under, where the protocol has one and it was seen.
    pub session: Option<Arc<Session>>,
    /// Request: the trace that it says it is part of.
    pub trace: Option<Box<TraceContext>>,
    /// The thread that moved what made the message (of its beginning, where that goes out by itself) whole; 0: not known.
    pub tid: u32,
    /// Messages in it, where the protocol has calls of many (gRPC streams); 0: not known, or no such thing.
    pub messages: u32,
    /// Response: it was broken off (a stream reset), so what is known of it is all there will be.
    pub aborted: bool,
    /// Bytes on the wire, captured or not (`Whole` and `End`).
    pub bytes: u64,
    /// Something of it was not captured.
    pub cut: bool,
    /// Request: no answer will come.
    pub no_reply: bool,
    /// Request: its answer may wait for something to happen (a blocking pop), for as long as it takes.
    pub may_block: bool,
    /// Response to it hands the connection over to another protocol (101, CONNECT, STARTTLS): what follows is not ours. One-way: the same without
    /// any response; parse has given the connection up.
    pub upgrade: bool,
}

impl Message {
    /// A message of which only place and time are known yet.
    #[must_use]
    pub fn new(kind: MessageKind, part: Part, protocol: Protocol, direction: Direction, at: Nanos) -> Self {
        Self {
            kind,
            part,
            protocol,
            carrier: protocol.carrier(),
            direction,
            start: at,
            end: at,
            id: 0,
            method: Token::new(),
            target: Text::new(),
            status: Status::Unknown,
            code: Token::new(),
            addresses: Addresses::new(),
            session: None,
            trace: None,
            tid: 0,
            messages: 0,
            aborted: false,
            bytes: 0,
            cut: false,
            no_reply: false,
            may_block: false,
            upgrade: false,
        }
    }

    /// Moves it out. What is left has its place and time, and nothing else.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let blank = Self::new(self.kind, self.part, self.protocol, self.direction, self.start);
        std::mem::replace(self, blank)
    }
}

/// Messages, and what the kernel should know of their connections.
#[derive(Debug, Default)]
pub struct MessageBatch {
    /// In the order of the segments.
    pub items: Vec<About<Message>>,
    /// As in [`super::segment::SegmentBatch::verdicts`].
    pub verdicts: Vec<Verdict>,
}

impl Batch for MessageBatch {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn recycle(&mut self) {
        clear(&mut self.items);
        clear(&mut self.verdicts);
    }

    fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }
}
