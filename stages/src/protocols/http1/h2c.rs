//! The upgrade to HTTP/2 in the clear (RFC 7540, section 3.2; not in RFC 9113 any more, but in use).
//!
//! A client offers it with a request; a server that accepts it answers 101, and then once more, in HTTP/2, on stream 1. So
//! there are two exchanges: the one in HTTP/1 ends with the 101, and the request counts a second time as the first one of
//! HTTP/2. Absent: HTTP2-Settings; the client sends them again behind its preface.

use crate::flow::conn::Direction;
use crate::flow::message::{Message, MessageKind, Part};
use crate::flow::trace::TraceContext;
use crate::protocols::Protocol;
use crate::text::{Text, Token};
use crate::time::Nanos;

/// The stream of the request that was upgraded.
const STREAM: u64 = 1;

/// The request that offered it.
#[derive(Debug)]
pub(super) struct Offer {
    start: Nanos,
    end: Nanos,
    method: Token,
    target: Text,
    bytes: u64,
    trace: Option<Box<TraceContext>>,
}

impl Offer {
    pub(super) fn of(request: &Message) -> Self {
        Self {
            start: request.start,
            end: request.end,
            method: request.method.clone(),
            target: request.target.clone(),
            bytes: request.bytes,
            trace: request.trace.clone(),
        }
    }

    /// The request in HTTP/2, when it was accepted; requests go in `direction`.
    pub(super) fn accepted(self, direction: Direction) -> Message {
        let mut message = Message::new(MessageKind::Request, Part::Whole, Protocol::Http2, direction, self.start);
        (message.end, message.id, message.trace) = (self.end, STREAM, self.trace);
        (message.method, message.target, message.bytes) = (self.method, self.target, self.bytes);
        message
    }
}

/// True if the value of an Upgrade field names it.
pub(super) fn is_in(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}
