//! One direction of a connection: from bytes to messages.
//!
//! A message begins with its header, which is gathered here; behind it a [`Walk`] looks for what is of interest, and the rest is
//! counted down by its length, seen or not. It is told when that is known: as a whole if it ends in the same piece of input,
//! else as a head, and its end apart. Responses are told when an error is found or when all is read.

use super::apis::{Call, key};
use super::header::{self, LENGTH, REQUEST, RESPONSE, RequestHeader, is_client_id};
use super::layout::{Field, Walk, Walked};
use super::memory::{Requests, Topics};
use super::{LONG_POLL, MAX_ORPHAN};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::wire::{Cursor, consumed};
use crate::protocols::{Context, Malformed, Protocol, Sink, Step};
use crate::text::{Text, Token};
use crate::time::Nanos;

/// What both directions know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) requests: Requests,
    pub(super) topics: Topics,
    /// Between `SaslHandshake` version 0 and the next request both sides send bare tokens behind their length (KIP-43).
    pub(super) tokens: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Lane {
    header: [u8; REQUEST],
    filled: usize,
    start: Nanos,
    /// Bytes of the message still to come.
    left: u64,
    /// What is being read behind its header; `None` with bytes left: a token.
    open: Option<Open>,
    walk: Walk,
    /// The last message ended where the next begins, and was one for certain.
    in_step: bool,
}

/// A message whose header was read.
#[derive(Debug)]
struct Open {
    /// What is still to be told of it.
    message: Message,
    call: Option<Call>,
    /// Its head was told.
    told: bool,
    /// Its request was seen. If not, it may be no message at all.
    certain: bool,
    /// Response: its error codes, as far as they were seen, are 0.
    fine: bool,
    /// Request: a resource that is no topic comes next.
    no_topic: bool,
    /// Request: it names a topic by an id that is not known.
    unknown_topic: bool,
    /// Request: epoch of the fetch session.
    epoch: Option<i32>,
    learnt: Text,
}

impl Lane {
    /// A turn begins: what may have been no message at all is given up.
    pub(super) fn turn(&mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        if self.open.as_ref().is_some_and(|open| !open.certain) {
            self.reset(shared, sink);
        }
    }

    /// Framing is lost: what is known of the open message is all there will be.
    pub(super) fn reset(&mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        if let Some(mut open) = self.open.take() {
            open.message.cut = true;
            open.end(shared, sink);
        }
        (self.filled, self.left, self.in_step) = (0, 0, false);
    }

    /// So many bytes moved unseen; returns how many of them belong to the open message.
    pub(super) fn gap(&mut self, context: Context, unseen: u64, shared: &mut Shared, sink: &mut dyn Sink) -> u64 {
        let n = self.left.min(unseen);
        if n == 0 {
            return 0;
        }
        self.left -= n;
        if let Some(open) = self.open.as_mut() {
            open.message.cut = true;
            open.message.bytes = open.message.bytes.saturating_add(n);
            open.message.end = context.at;
            self.walk.pass(n);
        }
        self.go_on(shared, sink);
        n
    }

    /// At most one message, or a part of one.
    pub(super) fn bytes(&mut self, context: Context, input: &[u8], shared: &mut Shared, sink: &mut dyn Sink) -> Step {
        let mut cursor = Cursor::new(input);
        if self.left == 0 {
            match self.begin(context, &mut cursor, shared) {
                Ok(true) => {}
                Ok(false) => return consumed(cursor.consumed()),
                // What begins out of step need not be a message: nobody's fault.
                Err(why) if self.in_step => return Step::Malformed(why),
                Err(_) => return Step::Lost,
            }
        }
        let here = cursor.rest().len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let body = cursor.take(here).unwrap_or(&[]);
        let here = u64::try_from(here).unwrap_or(0);
        self.left -= here;
        if let Some(open) = self.open.as_mut() {
            open.message.bytes = open.message.bytes.saturating_add(here);
            open.message.end = context.at;
            if let Err(why) = open.read(&mut self.walk, body, shared) {
                self.open = None;
                return if self.in_step { Step::Malformed(why) } else { Step::Lost };
            }
        }
        self.go_on(shared, sink);
        consumed(cursor.consumed())
    }

    /// Gathers a header. False: more bytes are needed, all that were there are kept. True: a message is open.
    fn begin(&mut self, context: Context, cursor: &mut Cursor<'_>, shared: &mut Shared) -> Result<bool, Malformed> {
        if self.filled == 0 {
            self.start = context.start;
        }
        if !self.gather(LENGTH, cursor) {
            return Ok(false);
        }
        let len = self.header.first_chunk().map_or(0, |len| u32::from_be_bytes(*len));
        let needed = if context.is_request() { REQUEST } else { RESPONSE };
        let least = u32::try_from(needed - LENGTH).unwrap_or(0);
        if len < least && shared.tokens {
            self.token(len, LENGTH);
            return Ok(true);
        }
        if len < least || len > i32::MAX.unsigned_abs() {
            return Err(Malformed { field: "length", kind: "of no message" });
        }
        if !self.gather(needed, cursor) {
            return Ok(false);
        }
        if context.is_request() {
            self.begin_request(context, len, shared)
        } else {
            self.begin_response(context, len, shared)
        }?;
        Ok(true)
    }

    fn begin_request(&mut self, context: Context, len: u32, shared: &mut Shared) -> Result<(), Malformed> {
        let header = match RequestHeader::read(&self.header) {
            Ok(header) => header,
            Err(_) if shared.tokens => {
                self.token(len, REQUEST);
                return Ok(());
            }
            Err(why) => return Err(why),
        };
        shared.tokens = false;
        let call = header.call();
        let mut message = self.message(MessageKind::Request, context, header.correlation);
        message.method = header::method(&header);
        message.may_block = call.is_some_and(Call::waits_for_others);
        let (layout, client_id) = call.map_or(("", true), |call| (call.request(), call.has_client_id()));
        self.walk.request(layout, client_id, call.is_some_and(Call::is_flexible));
        // The length of the client id was gathered with the header.
        let mut gathered = Cursor::new(self.header.get(REQUEST - 2..).unwrap_or(&[]));
        let _ = self.walk.on(&mut gathered);
        self.left = u64::from(len).saturating_sub(10);
        self.filled = 0;
        self.open = Some(Open::new(message, call, true));
        Ok(())
    }

    fn begin_response(&mut self, context: Context, len: u32, shared: &mut Shared) -> Result<(), Malformed> {
        let correlation =
            Cursor::new(self.header.get(LENGTH..RESPONSE).unwrap_or(&[])).u32().map_or(-1, u32::cast_signed);
        let asked = shared.requests.answered(correlation);
        if asked.is_none() && shared.tokens {
            self.token(len, RESPONSE);
            return Ok(());
        }
        if asked.is_none() && (len > MAX_ORPHAN || correlation < 0) {
            return Err(Malformed { field: "correlation_id", kind: "of no request" });
        }
        let call = asked.flatten();
        match call {
            Some(call) => {
                self.walk.response(call.response(), call.is_flexible(), call.response_header_is_flexible());
            }
            None => self.walk.stop(),
        }
        let message = self.message(MessageKind::Response, context, correlation);
        self.left = u64::from(len).saturating_sub(4);
        self.filled = 0;
        self.open = Some(Open::new(message, call, asked.is_some()));
        Ok(())
    }

    fn message(&self, kind: MessageKind, context: Context, correlation: i32) -> Message {
        let mut message = Message::new(kind, Part::Whole, Protocol::Kafka, context.direction, self.start);
        message.id = u64::from(correlation.cast_unsigned());
        message.end = context.at;
        message.bytes = u64::try_from(self.filled).unwrap_or(0);
        message
    }

    /// What begins here is no message, but has a length.
    fn token(&mut self, len: u32, gathered: usize) {
        self.left = (u64::from(len) + LENGTH as u64).saturating_sub(gathered as u64);
        self.filled = 0;
    }

    /// The first `n` bytes of a header. False: they are not all there yet.
    fn gather(&mut self, n: usize, cursor: &mut Cursor<'_>) -> bool {
        let here = n.saturating_sub(self.filled).min(cursor.rest().len());
        for (to, from) in self.header.iter_mut().skip(self.filled).zip(cursor.take(here).unwrap_or(&[])) {
            *to = *from;
        }
        self.filled += here;
        self.filled >= n
    }

    /// Tells what there is to tell.
    fn go_on(&mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        if self.left > 0 {
            // What nobody answers is told when its size is known.
            let told = self.open.as_mut().filter(|open| !open.told && !open.message.no_reply);
            if let Some(open) = told.filter(|_| self.walk.is_over()) {
                open.tell(Part::Head, shared, sink);
            }
            return;
        }
        if let Some(open) = self.open.take() {
            self.in_step = open.certain;
            open.end(shared, sink);
        }
    }
}

impl Open {
    fn new(message: Message, call: Option<Call>, certain: bool) -> Self {
        let learnt = Text::new();
        Self {
            message,
            call,
            told: false,
            certain,
            fine: false,
            no_topic: false,
            unknown_topic: false,
            epoch: None,
            learnt,
        }
    }

    /// Reads what is there of the body.
    fn read(&mut self, walk: &mut Walk, body: &[u8], shared: &mut Shared) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(body);
        loop {
            match walk.on(&mut cursor) {
                Walked::To(field) => {
                    if !self.take(field, walk.text(), shared)? {
                        walk.stop();
                    }
                }
                Walked::Done => {
                    self.fine = true;
                    walk.stop();
                }
                Walked::OutOfInput | Walked::Broken => return Ok(()),
            }
        }
    }

    /// A field of interest. False: nothing more is wanted.
    fn take(&mut self, field: Field, text: &[u8], shared: &mut Shared) -> Result<bool, Malformed> {
        let message = &mut self.message;
        match field {
            Field::ClientId if !is_client_id(text) => {
                return Err(Malformed { field: "client_id", kind: "no text" });
            }
            Field::ClientId => {}
            Field::Error(0) => self.fine = true,
            Field::Error(code) => {
                message.status = Status::Error;
                message.code = decimal(code);
                return Ok(false);
            }
            Field::Topic if std::mem::take(&mut self.no_topic) => return Ok(false),
            Field::Topic => message.target = Text::from_wire(text),
            Field::TopicId(id) => match shared.topics.name(id) {
                Some(name) => message.target = name.clone(),
                None => self.unknown_topic |= id != [0; 16],
            },
            // ConfigResource.Type: 2 is a topic. ResourceType of access control lists, likewise.
            Field::Resource(kind) => self.no_topic = kind != 2,
            Field::Acks(acks) => message.no_reply = acks == 0,
            Field::MaxWait(millis) => message.may_block |= millis >= LONG_POLL,
            Field::Epoch(epoch) => self.epoch = Some(epoch),
            Field::LearntName => self.learnt = Text::from_wire(text),
            Field::LearntId(id) => shared.topics.learn(id, &self.learnt),
        }
        Ok(message.target.is_empty())
    }

    fn end(mut self, shared: &mut Shared, sink: &mut dyn Sink) {
        if self.told {
            sink.message(self.message);
        } else {
            self.tell(Part::Whole, shared, sink);
        }
    }

    /// Tells what is known; the end may be still to be told.
    fn tell(&mut self, part: Part, shared: &mut Shared, sink: &mut dyn Sink) {
        self.told = true;
        if self.message.kind == MessageKind::Request {
            self.asked(shared);
        } else if self.message.status == Status::Unknown && self.fine {
            self.message.status = Status::Ok;
        }
        let Message { kind, direction, start, id, bytes, cut, .. } = self.message;
        let mut end = Message::new(kind, Part::End, Protocol::Kafka, direction, start);
        (end.id, end.bytes, end.cut) = (id, bytes, cut);
        let mut message = std::mem::replace(&mut self.message, end);
        message.part = part;
        sink.message(message);
    }

    /// What a request means for what follows.
    fn asked(&mut self, shared: &mut Shared) {
        let message = &mut self.message;
        if !message.no_reply {
            let correlation = u32::try_from(message.id).unwrap_or(0).cast_signed();
            shared.requests.push(correlation, self.call);
        }
        shared.tokens |= self.call.is_some_and(|call| call.key == key::SASL_HANDSHAKE && call.version == 0);
        // KIP-227: epoch 0 begins with all that is fetched, later requests hold what has changed, often nothing.
        let session = &mut shared.topics.session;
        match self.epoch {
            None => {}
            Some(epoch) if epoch == 0 || session.is_empty() => session.clone_from(&message.target),
            Some(_) if message.target.is_empty() && !self.unknown_topic => message.target.clone_from(session),
            Some(_) => {}
        }
    }
}

/// An error code as text.
fn decimal(code: i16) -> Token {
    let digits = Token::from_number(u32::from(code.unsigned_abs()));
    if code >= 0 {
        return digits;
    }
    let mut text = Token::from("-");
    text.push_wire(digits.as_bytes());
    text
}
