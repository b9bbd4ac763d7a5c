//! What a client sends, and which requests it makes.

use super::due::Due;
use super::frame::{Frame, Frames, Header, UNTYPED};
use super::startup::{self, Opening};
use super::statements::{Name, Serial, Statements};
use super::{MAX_KEPT, Shared, malformed, sql};
use crate::flow::message::{Message, MessageKind, Part};
use crate::protocols::wire::consumed;
use crate::protocols::{Context, Protocol, Sink, Step};
use crate::text::{Text, Token};
use crate::time::Nanos;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Longest beginning of a `Bind` in which its two names are looked for, bytes.
const NAMES: usize = 256;

/// The direction of requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    frames: Frames,
    unit: Unit,
    /// Since the last `Sync` something went out that the next one does not ask anew.
    in_batch: bool,
    /// The client has copied in, and a `Sync` behind it may be the second of its kind.
    copied: bool,
    statements: Statements,
    /// The framing was lost: the rest of this turn only counts.
    unframed: bool,
    /// The next bytes may be no beginning; take only what looks like one.
    resync: bool,
}

/// Messages of an extended query that belong to one request.
#[derive(Debug, Default)]
struct Unit {
    start: Option<Nanos>,
    bytes: u64,
    cut: bool,
    /// Confirmations that they are answered with.
    replies: u16,
    parse: bool,
    bind: bool,
    describe: bool,
    statement: Option<Serial>,
}

impl Unit {
    /// True for messages that ask for more than to close something.
    fn asks(&self) -> bool {
        self.parse || self.bind || self.describe
    }

    fn name(&self) -> &'static str {
        match self {
            Self { parse: true, .. } => "PREPARE",
            Self { bind: true, .. } => "BIND",
            Self { describe: true, .. } => "DESCRIBE",
            _ => "CLOSE",
        }
    }
}

/// How much of a body matters.
fn keep(tag: u8) -> usize {
    match tag {
        UNTYPED | b'Q' | b'P' => MAX_KEPT,
        b'B' | b'D' | b'C' | b'E' => NAMES,
        _ => 0,
    }
}

/// Is there a message of this kind and length ("Message Formats")? `len` is that of the body.
pub(super) fn plausible(tag: u8, len: u64) -> bool {
    match tag {
        UNTYPED => (4..=u64::from(startup::MAX_PACKET)).contains(&len),
        b'S' | b'H' | b'X' | b'c' => len == 0,
        b'Q' | b'f' => len >= 1,
        b'D' | b'C' => len >= 2,
        b'P' => len >= 4,
        b'E' => len >= 5,
        b'B' => len >= 8,
        b'F' => len >= 10,
        b'd' | b'p' => true,
        _ => false,
    }
}

/// Up to the zero byte, and what is behind it. Without one: all there is.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(0, bytes).and_then(|end| bytes.split_at_checked(end)) {
        Some((text, rest)) => (text, rest.get(1..).unwrap_or(&[])),
        None => (bytes, &[]),
    }
}

/// The name at the beginning, if its end is there, and what is behind it.
fn name(bytes: &[u8]) -> (Option<Name>, &[u8]) {
    let (text, rest) = string(bytes);
    ((text.len() < bytes.len()).then(|| Name::of(text)), rest)
}

impl Requests {
    /// A turn begins.
    pub(super) fn turn(&mut self) {
        if std::mem::take(&mut self.unframed) {
            self.frames.reset();
            self.resync = true;
        }
    }

    pub(super) fn bytes(&mut self, shared: &mut Shared, context: Context, bytes: &[u8], sink: &mut dyn Sink) -> Step {
        if self.unframed {
            return consumed(bytes.len());
        }
        let mut taken = 0;
        if self.frames.open().is_none() {
            let (n, header) = self.frames.header(bytes, context.start, keep);
            taken = n;
            self.unit.bytes = self.unit.bytes.saturating_add(n as u64);
            match header {
                Header::Short => return consumed(taken),
                Header::Whole(frame) if plausible(frame.tag, frame.len) => self.resync = false,
                Header::Whole(_) if !self.resync => return malformed("message", "no such message from a client"),
                Header::Bad(kind) if !self.resync => return malformed("message length", kind),
                Header::Whole(_) | Header::Bad(_) => {
                    self.resync = false;
                    self.cut(shared, context, sink);
                    return consumed(bytes.len());
                }
            }
        }
        let rest = bytes.get(taken..).unwrap_or(&[]);
        let mut frames = std::mem::take(&mut self.frames);
        let (n, whole) = frames.body(rest);
        self.unit.bytes = self.unit.bytes.saturating_add(n as u64);
        let read = whole.is_none_or(|(frame, body)| self.message(shared, context, frame, body, sink));
        self.frames = frames;
        if !read {
            return malformed("start-up packet", "unknown code");
        }
        consumed(taken + n)
    }

    pub(super) fn gap(&mut self, shared: &mut Shared, context: Context, gap: NonZeroU64, sink: &mut dyn Sink) -> Step {
        if self.unframed {
            return Step::Consumed(gap);
        }
        let mut frames = std::mem::take(&mut self.frames);
        let (n, whole) = frames.gap(gap.get());
        self.unit.bytes = self.unit.bytes.saturating_add(n);
        self.unit.cut |= n > 0;
        if let Some((frame, body)) = whole {
            self.message(shared, context, frame, body, sink);
        }
        self.frames = frames;
        NonZeroU64::new(n).map_or_else(
            || {
                self.cut(shared, context, sink);
                Step::Consumed(gap)
            },
            Step::Consumed,
        )
    }

    /// The framing is lost: what was begun goes out as it is.
    pub(super) fn cut(&mut self, shared: &mut Shared, context: Context, sink: &mut dyn Sink) {
        let frames = std::mem::take(&mut self.frames);
        self.unit.cut = true;
        let had = self.unit.start;
        if let Some((frame, body)) = frames.begun() {
            let at = Context { start: frame.start, ..context };
            match frame.tag {
                b'Q' => self.query(shared, at, frame, body, sink),
                b'P' | b'B' | b'D' => {
                    self.message(shared, at, frame, body, sink);
                }
                _ => {}
            }
        }
        if self.unit.asks() {
            self.request(shared, context, Due::Cut, None, sink);
        }
        self.unit = Unit::default();
        self.statements.doubt();
        self.frames = frames;
        self.frames.reset();
        self.unframed = true;
        self.in_batch = true;
        shared.unread = Some(had.unwrap_or(context.start));
    }

    /// Whole turns went by unseen.
    pub(super) fn missed(&mut self) {
        self.unit = Unit::default();
        self.in_batch = false;
        self.statements.doubt();
        self.frames.reset();
        self.unframed = false;
        self.resync = true;
    }

    /// Nothing more comes: what is unfinished was never asked.
    pub(super) fn ended(&mut self) {
        self.unit = Unit::default();
        self.frames.reset();
    }

    /// A message is whole, or as whole as it gets. False if there is no such message.
    fn message(
        &mut self,
        shared: &mut Shared,
        context: Context,
        frame: Frame,
        body: &[u8],
        sink: &mut dyn Sink,
    ) -> bool {
        self.unit.cut |= frame.cut;
        if !matches!(frame.tag, b'd' | b'c' | b'f' | b'S' | b'H') {
            self.copied = false;
        }
        match frame.tag {
            UNTYPED => {
                let known = self.opening(shared, context, frame, body, sink);
                self.unit = Unit::default();
                return known || frame.cut;
            }
            b'Q' => self.query(shared, context, frame, body, sink),
            b'F' => self.single(shared, context, frame, "FUNCTION_CALL", Some(Due::Ready), sink),
            b'X' => self.single(shared, context, frame, "TERMINATE", None, sink),
            b'P' => self.parse(shared, context, frame, body, sink),
            b'B' => {
                let (portal, rest) = name(body);
                let (statement, _) = name(rest);
                let bound = portal.and_then(|portal| self.statements.bind(portal, statement));
                let unit = self.extend(frame);
                unit.bind = true;
                unit.statement = bound;
            }
            b'D' => {
                let named = self.described(body);
                let unit = self.extend(frame);
                unit.describe = true;
                unit.statement = unit.statement.or(named);
            }
            b'C' => {
                match body.split_first() {
                    Some((b'S', rest)) => _ = name(rest).0.map(|name| self.statements.close_statement(name)),
                    Some((b'P', rest)) => _ = name(rest).0.map(|name| self.statements.close_portal(name)),
                    _ => {}
                }
                self.extend(frame);
            }
            b'E' => {
                let statement = name(body).0.and_then(|portal| self.statements.of_portal(portal));
                let unit = self.extend(frame);
                unit.statement = statement;
                self.request(shared, context, Due::Execute, Some("EXECUTE"), sink);
            }
            b'S' => self.sync(shared, context, frame, sink),
            b'H' if self.unit.asks() => {
                let due = Due::Unit(self.unit.replies);
                self.request(shared, context, due, None, sink);
            }
            b'c' | b'f' => self.copied = true,
            // Copied data, what proves who the client is, a `Flush` of nothing.
            _ => {}
        }
        if self.unit.start.is_none() {
            self.unit = Unit::default();
        }
        true
    }

    /// One more message of the unit, which is answered with one confirmation.
    fn extend(&mut self, frame: Frame) -> &mut Unit {
        let unit = &mut self.unit;
        unit.start.get_or_insert(frame.start);
        if frame.tag != b'E' {
            unit.replies = unit.replies.saturating_add(1);
        }
        unit
    }

    fn described(&mut self, body: &[u8]) -> Option<Serial> {
        let (kind, rest) = body.split_first()?;
        let name = name(rest).0?;
        if *kind == b'S' { self.statements.named(name) } else { self.statements.of_portal(name) }
    }

    /// "Extended Query": a `Parse` begins a request, unless nothing but a `Close` came before.
    fn parse(&mut self, shared: &mut Shared, context: Context, frame: Frame, body: &[u8], sink: &mut dyn Sink) {
        if self.unit.asks() {
            let own = frame.len.saturating_add(5);
            self.unit.bytes = self.unit.bytes.saturating_sub(own);
            let due = Due::Unit(self.unit.replies);
            self.request(shared, context, due, None, sink);
            self.unit.bytes = own;
            self.unit.cut = frame.cut;
        }
        let (name, rest) = name(body);
        let (text, _) = string(rest);
        let method = sql::keyword(text).unwrap_or(Token::from("EXECUTE"));
        let serial = name.map(|name| self.statements.define(Some(name), method, Text::from_wire(text)));
        let unit = self.extend(frame);
        unit.parse = true;
        unit.statement = serial;
    }

    fn sync(&mut self, shared: &mut Shared, context: Context, frame: Frame, sink: &mut dyn Sink) {
        let again = std::mem::take(&mut self.copied) && shared.due.back() == Some(Due::Ready);
        if again {
            // "COPY Operations": the server ignores a `Sync` while it copies in, so the client sent a second one.
        } else if self.unit.asks() || (self.unit.start.is_some() && !self.in_batch) {
            self.request(shared, context, Due::Ready, None, sink);
        } else if shared.due.back() == Some(Due::Execute) {
            shared.due.synced();
        } else if self.in_batch {
            shared.due.push(Due::Mark);
        } else {
            self.single(shared, context, frame, "SYNC", Some(Due::Ready), sink);
        }
        self.unit = Unit::default();
        self.in_batch = false;
    }

    /// "Simple Query".
    fn query(&mut self, shared: &mut Shared, context: Context, frame: Frame, body: &[u8], sink: &mut dyn Sink) {
        let (text, _) = string(body);
        let mut message = self.begun(shared, context, frame);
        message.method = sql::keyword(text).unwrap_or(Token::from("QUERY"));
        message.target = Text::from_wire(text);
        message.no_reply = !shared.due.push(Due::Ready);
        sink.message(message);
        self.unit = Unit::default();
        self.in_batch = false;
    }

    /// A request of one message. Without `due` none answers it.
    fn single(
        &mut self,
        shared: &mut Shared,
        context: Context,
        frame: Frame,
        name: &str,
        due: Option<Due>,
        sink: &mut dyn Sink,
    ) {
        let mut message = self.begun(shared, context, frame);
        message.method = Token::from(name);
        message.no_reply = due.is_none_or(|due| !shared.due.push(due));
        sink.message(message);
        self.unit = Unit::default();
    }

    /// The packets that open a connection. False if it is none of them.
    fn opening(
        &mut self,
        shared: &mut Shared,
        context: Context,
        frame: Frame,
        body: &[u8],
        sink: &mut dyn Sink,
    ) -> bool {
        let Some((code, parameters)) = body.split_first_chunk() else { return false };
        let length = u32::try_from(frame.len).unwrap_or(u32::MAX).saturating_add(4);
        match Opening::of(u32::from_be_bytes(*code), length) {
            Some(Opening::Startup) => {
                shared.session = Some(Arc::new(startup::session(parameters)));
                self.single(shared, context, frame, "STARTUP", Some(Due::Startup), sink);
            }
            Some(Opening::Ssl) => self.single(shared, context, frame, "SSL_REQUEST", Some(Due::Encryption), sink),
            Some(Opening::Gssenc) => {
                self.single(shared, context, frame, "GSSENC_REQUEST", Some(Due::Encryption), sink);
            }
            // The server closes the connection without a word.
            Some(Opening::Cancel) => self.single(shared, context, frame, "CANCEL_REQUEST", None, sink),
            None => return false,
        }
        true
    }

    fn begun(&self, shared: &Shared, context: Context, frame: Frame) -> Message {
        let mut message =
            Message::new(MessageKind::Request, Part::Whole, Protocol::Postgres, context.direction, frame.start);
        message.end = context.at;
        message.bytes = self.unit.bytes;
        message.cut = self.unit.cut || frame.cut;
        message.session.clone_from(&shared.session);
        message
    }

    /// The unit is a request. `unknown` names it where its statement is not known; a unit without `Execute` goes by its own name.
    fn request(&mut self, shared: &mut Shared, context: Context, due: Due, unknown: Option<&str>, sink: &mut dyn Sink) {
        let unit = std::mem::take(&mut self.unit);
        let start = unit.start.unwrap_or(context.start);
        let mut message = Message::new(MessageKind::Request, Part::Whole, Protocol::Postgres, context.direction, start);
        message.end = context.at;
        message.bytes = unit.bytes;
        message.cut = unit.cut;
        message.session.clone_from(&shared.session);
        let statement = unit.statement.and_then(|serial| self.statements.find(serial));
        if let Some(statement) = statement {
            message.target = statement.text.clone();
        }
        message.method = match (unknown, statement) {
            // Of a cut one the `Execute` is what was most likely cut.
            (None, Some(statement)) if due == Due::Cut => statement.method.clone(),
            (None, _) if due == Due::Cut => Token::from("EXECUTE"),
            (None, _) => Token::from(unit.name()),
            (Some(_), Some(statement)) => statement.method.clone(),
            (Some(unknown), None) => Token::from(unknown),
        };
        message.no_reply = !shared.due.push(due);
        sink.message(message);
        self.in_batch = true;
    }
}
