//! One direction of a connection: where in a message it is, and what is known of that message so far.

use super::super::trace::{self, Found};
use super::super::{Protocol, Sink};
use super::body::Body;
use super::head::{Fields, Line, Partial};
use super::web_call::Call;
use crate::flow::conn::Direction;
use crate::flow::message::{Message, MessageKind, Part};
use crate::time::Nanos;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// What most messages do without. Once there it stays, for the next that needs it.
    pub(super) aside: Option<Box<Aside>>,
    /// Of which the head went out and the end is due.
    pub(super) open: Option<Open>,
    pub(super) fields: Fields,
    /// Last byte seen.
    pub(super) last: Nanos,
    /// The framing was lost to a gap: the next turn may begin in the middle of something.
    pub(super) torn: bool,
    /// A turn began with what is no start line.
    pub(super) strange: bool,
    /// The next bytes may be no beginning; take only what looks like one.
    pub(super) resync: bool,
}

/// What is apart from its lane because most connections never need it, and there are many of them.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// A head that began in bytes that are gone.
    pub(super) draft: Option<Message>,
    /// Its last line, as far as it came.
    pub(super) partial: Partial,
    /// The message is one of gRPC-Web.
    pub(super) call: Option<Call>,
    /// What the head said so far of the trace that the request is part of.
    pub(super) trace: Found,
}

/// Where in a message a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// Before a start line.
    #[default]
    Start,
    /// In the rest of a start line whose beginning is read already.
    StartLine,
    /// In the header fields.
    Head,
    /// In the body.
    Body(Body),
    /// Somewhere: bytes count, and nothing else is known of them.
    Unframed,
}

/// A message between its head and its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) kind: MessageKind,
    pub(super) start: Nanos,
    pub(super) bytes: u64,
    pub(super) cut: bool,
    /// No request for it was seen: its framing may be another than it says (the answer to a HEAD).
    pub(super) orphan: bool,
}

impl Lane {
    /// One header line without its LF; false at the end of the head.
    pub(super) fn field(&mut self, line: &[u8]) -> bool {
        let Self { aside, fields, .. } = self;
        let Some(Aside { partial, trace, .. }) = aside.as_deref_mut().filter(|aside| !aside.partial.is_empty()) else {
            return match fields.line(line, true) {
                Line::Field => true,
                Line::Trace(header) => {
                    told(&mut aside.get_or_insert_default().trace, header, line, true);
                    true
                }
                Line::Last => false,
            };
        };
        partial.push(line);
        let read = fields.line(partial.line(), partial.whole());
        if let Line::Trace(header) = read {
            told(trace, header, partial.line(), partial.whole());
        }
        partial.clear();
        read != Line::Last
    }

    pub(super) fn take_draft(&mut self) -> Option<Message> {
        self.aside.as_deref_mut()?.draft.take()
    }

    pub(super) fn call(&mut self) -> Option<&mut Call> {
        self.aside.as_deref_mut()?.call.as_mut()
    }

    pub(super) fn take_call(&mut self) -> Option<Call> {
        self.aside.as_deref_mut()?.call.take()
    }

    pub(super) fn clear_partial(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.partial.clear();
        }
    }

    /// The head that began is not read to its end.
    pub(super) fn forget(&mut self) {
        self.take_draft();
        if let Some(aside) = &mut self.aside {
            aside.trace = Found::default();
        }
    }

    pub(super) fn count(&mut self, n: u64) {
        if let Some(open) = &mut self.open {
            open.bytes = open.bytes.saturating_add(n);
        }
    }

    pub(super) fn cut(&mut self) {
        if let Some(open) = &mut self.open {
            open.cut = true;
        }
    }

    pub(super) fn head_out(&mut self, message: &mut Message, open: Open, phase: Phase, sink: &mut dyn Sink) {
        message.part = Part::Head;
        self.open = Some(open);
        self.phase = phase;
        self.last = message.end;
        sink.message(message.take());
    }

    /// A message of which everything is there.
    pub(super) fn whole_out(&mut self, message: &mut Message, sink: &mut dyn Sink) {
        message.part = Part::Whole;
        if let Some(call) = self.take_call() {
            call.end(message);
        }
        self.restart();
        sink.message(message.take());
    }

    /// Sends the end that is due, if one is.
    pub(super) fn finish(&mut self, direction: Direction, sink: &mut dyn Sink) {
        if let Some(open) = self.open.take() {
            let mut message = Message::new(open.kind, Part::End, Protocol::Http1, direction, open.start);
            message.end = self.last.max(open.start);
            message.bytes = open.bytes;
            message.cut = open.cut;
            if let Some(call) = self.take_call() {
                call.end(&mut message);
            }
            sink.message(message);
        }
    }

    pub(super) fn restart(&mut self) {
        self.phase = Phase::Start;
        self.take_call();
        self.clear_partial();
        self.resync = false;
        self.torn = false;
    }
}

/// A line of a head that carries a trace context.
#[cold]
fn told(found: &mut Found, header: trace::Header, line: &[u8], whole: bool) {
    let value = memchr::memchr(b':', line).and_then(|colon| line.get(colon + 1..));
    found.field(header, value.unwrap_or(&[]), whole);
}
