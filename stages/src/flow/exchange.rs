//! Exchanges: a request with its answer, or with the lack of one.

use super::conn::{ConnInfo, Role};
use super::message::{Addresses, Session, Status};
use super::trace::TraceContext;
use crate::protocols::Protocol;
use crate::text::{Text, Token};
use crate::time::Nanos;
use std::sync::Arc;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoAnswer {
    /// The connection was reset.
    Reset,
    /// The connection was closed in order before the answer.
    Closed,
    /// None came in time.
    Timeout,
    /// The answer moved, but the kernel refused its record: it went somehow, we do not know how.
    Lost,
    /// redtap stopped before it came.
    Shutdown,
}

impl NoAnswer {
    /// The value of `error.type`; `None` where nothing went wrong that we know of.
    #[must_use]
    pub fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Reset => Some("reset"),
            Self::Closed => Some("closed"),
            Self::Timeout => Some("timeout"),
            Self::Lost | Self::Shutdown => None,
        }
    }
}

/// One request and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// On which connection.
    pub conn: Arc<ConnInfo>,
    /// In which protocol: that of the request, or one spoken inside of it that the answer showed.
    pub protocol: Protocol,
    /// Which end the watched process was: `Server` answered, `Client` asked. Never `Unknown`.
    pub side: Role,
    /// First byte of the request.
    pub start: Nanos,
    /// First byte of the answer.
    pub answered: Option<Nanos>,
    /// Last byte of the answer; `None` without one.
    pub end: Option<Nanos>,
    /// As in [`super::message::Message::method`].
    pub method: Token,
    /// As in [`super::message::Message::target`].
    pub target: Text,
    /// How it went; `Unknown` where the bytes that tell were not captured.
    pub status: Status,
    /// Status code or error name; empty: none.
    pub code: Token,
    /// DNS: the addresses that the name was resolved to.
    pub addresses: Addresses,
    /// Why there is no answer, if there is none and one was due.
    pub no_answer: Option<NoAnswer>,
    /// As in [`super::message::Message::session`].
    pub session: Option<Arc<Session>>,
    /// The trace that the request says it is part of.
    pub trace: Option<Box<TraceContext>>,
    /// Its number on its connection: of those that were followed, from 1. With the connection's it names the exchange.
    pub number: u32,
    /// The lower half of what pairs it, where its protocol pairs by id (HTTP/2: the stream); else 0.
    pub id: u32,
    /// The thread that took the request in (a server's) or sent it (a client's); 0: not known. As in
    /// [`super::message::Message::tid`].
    pub asked_by: u32,
    /// The thread that sent the answer, or took it in: its beginning, where that was seen; 0: not known.
    pub answered_by: u32,
    /// Messages in the request; 0: not known, or no such thing.
    pub request_messages: u32,
    /// Messages in the answer; 0: not known, or no such thing.
    pub response_messages: u32,
    /// Bytes of the request on the wire.
    pub request_bytes: u64,
    /// Bytes of the answer on the wire.
    pub response_bytes: u64,
    /// No answer was due.
    pub one_way: bool,
    /// The sampling level that its connection was followed at when it began ([`ConnInfo::sampling`]): what the connection says by the time
    /// it ends may be of another.
    pub sampling: u8,
}

impl Exchange {
    /// How many exchanges this one stands for: itself, and those on connections that sampling left out.
    #[must_use]
    pub fn weight(&self) -> u64 {
        1 << u32::from(self.sampling.min(crate::abi::MAX_SAMPLING))
    }

    /// From the first byte of the request to the last byte of the answer.
    #[must_use]
    pub fn duration(&self) -> Option<Nanos> {
        self.end.map(|end| end.since(self.start))
    }

    /// The verdict of the conventions: an HTTP server's 4xx is the caller's fault and no error of the server.
    #[must_use]
    pub fn is_error(&self) -> bool {
        if self.no_answer.is_some_and(|why| why.error_type().is_some()) {
            return true;
        }
        match (self.status, self.side, self.protocol.traits()) {
            (Status::Error, Role::Server, Some(traits)) => (traits.is_server_error)(self.code.as_bytes()),
            (Status::Error, ..) => true,
            (Status::Ok | Status::Unknown, ..) => false,
        }
    }
}
