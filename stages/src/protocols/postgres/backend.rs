//! What a server sends, and which answers it makes.

use super::due::Due;
use super::frame::{Frame, Frames, Header};
use super::{Shared, malformed};
use crate::flow::conn::Direction;
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::wire::consumed;
use crate::protocols::{Context, Protocol, Sink, Step};
use crate::text::Token;
use crate::time::Nanos;
use std::num::NonZeroU64;

/// Bytes of an `ErrorResponse` in which its code is looked for: it stands behind two words of severity.
const ERROR_HEAD: usize = 128;

/// The direction of answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    frames: Frames,
    open: Option<Open>,
    /// An error was answered, and the server skips what comes before the next `Sync` ("Extended Query").
    skipping: Option<Skipping>,
    /// When the last byte of this direction moved.
    last: Nanos,
    unframed: bool,
    resync: bool,
}

/// An answer that has begun.
#[derive(Debug)]
struct Open {
    start: Nanos,
    end: Nanos,
    bytes: u64,
    status: Status,
    code: Token,
    cut: bool,
    /// All of it was seen, but what follows may still belong to it.
    done: bool,
    head_out: bool,
}

#[derive(Debug)]
struct Skipping {
    code: Token,
    since: Nanos,
}

fn keep(tag: u8) -> usize {
    match tag {
        b'E' | b'N' => ERROR_HEAD,
        b'R' => 4,
        _ => 0,
    }
}

/// Is there a message of this kind and length ("Message Formats")? `len` is that of the body.
pub(super) fn plausible(tag: u8, len: u64) -> bool {
    match tag {
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => len == 0,
        b'Z' => len == 1,
        b'K' => (8..=260).contains(&len),
        b'R' | b'V' => len >= 4,
        b'T' | b't' | b'D' | b'C' | b'E' | b'N' | b'S' => len >= 2 || (tag != b'S' && len >= 1),
        b'A' => len >= 6,
        b'G' | b'H' | b'W' => len >= 3,
        b'v' => len >= 8,
        b'd' => true,
        _ => false,
    }
}

/// The code in the fields of an `ErrorResponse` ("Error and Notice Message Fields"): each a byte of type and a string.
fn sqlstate(mut fields: &[u8]) -> Option<Token> {
    while let Some((kind, rest)) = fields.split_first() {
        if *kind == b'C' {
            let code = rest.get(..5)?;
            return code.iter().all(u8::is_ascii_alphanumeric).then(|| Token::from_wire(code));
        }
        let end = memchr::memchr(0, rest)?;
        fields = rest.get(end + 1..)?;
    }
    None
}

impl Answers {
    /// A turn of answers begins.
    pub(super) fn turn(&mut self) {
        if std::mem::take(&mut self.unframed) {
            self.frames.reset();
            self.resync = true;
        }
    }

    /// The client speaks again: an answer that could not be read to its end is over, and so are those behind it.
    pub(super) fn overtaken(&mut self, shared: &mut Shared, context: Context, sink: &mut dyn Sink) {
        if !self.unframed {
            return;
        }
        if self.open.is_some() {
            self.finish(shared, context.direction, sink);
        }
        while shared.due.front().is_some() {
            self.settle(shared, context.direction, sink);
        }
        self.skipping = None;
    }

    pub(super) fn bytes(&mut self, shared: &mut Shared, context: Context, bytes: &[u8], sink: &mut dyn Sink) -> Step {
        self.last = context.at;
        if self.unframed {
            self.count(bytes.len() as u64, context.at);
            return consumed(bytes.len());
        }
        if self.frames.at_boundary()
            && shared.due.front() == Some(Due::Encryption)
            && let Some(byte @ (b'S' | b'N' | b'G')) = bytes.first()
        {
            self.encryption(shared, context, *byte, sink);
            return consumed(1);
        }
        let mut taken = 0;
        if self.frames.open().is_none() {
            let (n, header) = self.frames.header(bytes, context.start, keep);
            taken = n;
            match header {
                Header::Short => return consumed(taken),
                Header::Whole(frame) if plausible(frame.tag, frame.len) => {
                    self.resync = false;
                    self.begin(shared, context, frame, sink);
                    self.count(5, context.at);
                }
                Header::Whole(_) if !self.resync => return malformed("message", "no such message from a server"),
                Header::Bad(kind) if !self.resync => return malformed("message length", kind),
                Header::Whole(_) | Header::Bad(_) => {
                    self.resync = false;
                    self.cut();
                    return consumed(bytes.len());
                }
            }
        }
        let rest = bytes.get(taken..).unwrap_or(&[]);
        let mut frames = std::mem::take(&mut self.frames);
        let (n, whole) = frames.body(rest);
        self.count(n as u64, context.at);
        if let Some((frame, body)) = whole {
            self.message(shared, context, frame, body, sink);
        }
        self.frames = frames;
        if taken + n == bytes.len() {
            self.show(context, sink);
        }
        consumed(taken + n)
    }

    pub(super) fn gap(&mut self, shared: &mut Shared, context: Context, gap: NonZeroU64, sink: &mut dyn Sink) -> Step {
        self.last = context.at;
        if !self.unframed {
            let mut frames = std::mem::take(&mut self.frames);
            let (n, whole) = frames.gap(gap.get());
            self.count(n, context.at);
            if let Some(open) = self.open.as_mut() {
                open.cut |= n > 0;
            }
            if let Some((frame, body)) = whole {
                self.message(shared, context, frame, body, sink);
            }
            self.frames = frames;
            if let Some(n) = NonZeroU64::new(n) {
                return Step::Consumed(n);
            }
            self.cut();
        }
        self.count(gap.get(), context.at);
        Step::Consumed(gap)
    }

    /// The framing is lost: what was seen of the open answer stands.
    pub(super) fn cut(&mut self) {
        if let Some((_, body)) = self.frames.begun().filter(|(frame, _)| frame.tag == b'E') {
            let code = sqlstate(body);
            if let (Some(open), Some(code)) = (self.open.as_mut(), code) {
                open.code = code;
            }
        }
        if let Some(open) = self.open.as_mut() {
            open.cut = true;
            open.bytes = open.bytes.saturating_add(if open.done { 0 } else { self.frames.pending() });
        }
        self.frames.reset();
        self.unframed = true;
    }

    /// Whole turns went by unseen. Whoever counts them lets everything that waited go.
    pub(super) fn missed(&mut self, shared: &mut Shared, context: Context, sink: &mut dyn Sink) {
        match self.open.as_mut() {
            Some(open) if open.head_out => {
                open.cut = true;
                self.finish(shared, context.direction, sink);
            }
            _ => self.open = None,
        }
        shared.due.clear();
        self.skipping = None;
        self.frames.reset();
        self.unframed = false;
        self.resync = true;
    }

    /// Nothing more comes.
    pub(super) fn ended(&mut self, shared: &mut Shared, context: Context, sink: &mut dyn Sink) {
        if !self.frames.at_boundary() {
            self.cut();
        }
        self.unframed = false;
        if self.open.is_some() {
            self.finish(shared, context.direction, sink);
        }
        self.frames.reset();
    }

    /// Bytes of the open answer.
    fn count(&mut self, n: u64, at: Nanos) {
        if let Some(open) = self.open.as_mut()
            && !open.done
        {
            open.bytes = open.bytes.saturating_add(n);
            open.end = at;
        }
    }

    /// A message begins: does an answer?
    fn begin(&mut self, shared: &mut Shared, context: Context, frame: Frame, sink: &mut dyn Sink) {
        let aside = matches!(frame.tag, b'N' | b'S' | b'A');
        if self.open.as_ref().is_some_and(|open| open.done) && !aside {
            if frame.tag == b'Z' {
                if let Some(open) = self.open.as_mut() {
                    open.done = false;
                }
            } else {
                self.finish(shared, context.direction, sink);
            }
        }
        if self.open.is_none() && self.skipping.is_none() && frame.tag != b'A' {
            match (shared.due.front(), shared.unread, context.role.request_direction()) {
                (None, Some(at), Some(requests)) if !aside && frame.tag != b'Z' => {
                    let mut request = Message::new(MessageKind::Request, Part::Whole, Protocol::Postgres, requests, at);
                    request.cut = true;
                    request.session.clone_from(&shared.session);
                    sink.message(request);
                    shared.due.push(Due::Cut);
                }
                (None | Some(Due::Mark), ..) => return,
                _ => {}
            }
            self.open = Some(Open {
                start: frame.start,
                end: context.at,
                bytes: 0,
                status: Status::Unknown,
                code: Token::new(),
                cut: false,
                done: false,
                head_out: false,
            });
        }
        let Some(open) = self.open.as_mut() else { return };
        match frame.tag {
            b'E' => open.status = Status::Error,
            // What says nothing of how the request went.
            b'N' | b'S' | b'A' | b'R' | b'v' => {}
            _ if open.status == Status::Unknown => open.status = Status::Ok,
            _ => {}
        }
    }

    /// A message is whole, or as whole as it gets.
    fn message(&mut self, shared: &mut Shared, context: Context, frame: Frame, body: &[u8], sink: &mut dyn Sink) {
        let front = shared.due.front();
        match frame.tag {
            // "Asynchronous Operations". Amid an answer it only counts as bytes of that.
            b'A' if self.open.is_none() => self.aside(context, frame, Status::Ok, Token::new(), sink),
            b'Z' => self.ready(shared, context, sink),
            b'E' => self.error(shared, context, frame, body, sink),
            b'N' if self.open.is_none() && self.skipping.is_none() => {
                self.aside(context, frame, Status::Ok, sqlstate(body).unwrap_or_default(), sink);
            }
            // "AuthenticationOk": the log-in is as good as done.
            b'R' if body.iter().all(|byte| *byte == 0) => {
                if let Some(open) = self.open.as_mut() {
                    open.status = Status::Ok;
                }
            }
            b'C' | b'I' | b's' => match front {
                Some(Due::Execute) if self.open.is_some() => self.finish(shared, context.direction, sink),
                Some(Due::Cut) => {
                    if let Some(open) = self.open.as_mut() {
                        open.done = true;
                    }
                }
                _ => {}
            },
            b'1' | b'2' | b'3' | b'T' | b'n'
                if matches!(front, Some(Due::Unit(_))) && self.open.is_some() && shared.due.confirmed() =>
            {
                self.finish(shared, context.direction, sink);
            }
            _ => {}
        }
    }

    /// `ErrorResponse`.
    fn error(&mut self, shared: &mut Shared, context: Context, frame: Frame, body: &[u8], sink: &mut dyn Sink) {
        let code = sqlstate(body).unwrap_or_default();
        let Some(open) = self.open.as_mut() else {
            // Of nobody's request: the server is shut down, the connection was idle for too long.
            if self.skipping.is_none() {
                self.aside(context, frame, Status::Error, code, sink);
            }
            return;
        };
        if open.code.is_empty() {
            open.code = code.clone();
        }
        match shared.due.front() {
            Some(Due::Startup | Due::Encryption) => self.finish(shared, context.direction, sink),
            Some(Due::Execute | Due::Unit(_)) => {
                self.finish(shared, context.direction, sink);
                self.skipping = Some(Skipping { code, since: frame.start });
            }
            Some(Due::Cut) => open.done = true,
            Some(Due::Ready | Due::Mark) | None => {}
        }
    }

    /// `ReadyForQuery`: everything up to the `Sync` or query that it answers is over.
    fn ready(&mut self, shared: &mut Shared, context: Context, sink: &mut dyn Sink) {
        while let Some(front) = shared.due.front() {
            if self.open.is_some() {
                self.finish(shared, context.direction, sink);
            } else {
                self.settle(shared, context.direction, sink);
            }
            if front.ends_batch() {
                break;
            }
        }
        self.open = None;
        self.skipping = None;
    }

    /// The answer to a wish for encryption. `S` and `G`: it is granted.
    fn encryption(&mut self, shared: &mut Shared, context: Context, byte: u8, sink: &mut dyn Sink) {
        shared.due.pop();
        shared.encrypted = byte != b'N';
        let mut message =
            Message::new(MessageKind::Response, Part::Whole, Protocol::Postgres, context.direction, context.start);
        message.end = context.at;
        message.status = Status::Ok;
        message.bytes = 1;
        message.upgrade = shared.encrypted;
        sink.message(message);
    }

    /// What came answers nothing.
    fn aside(&self, context: Context, frame: Frame, status: Status, code: Token, sink: &mut dyn Sink) {
        let mut message =
            Message::new(MessageKind::OneWay, Part::Whole, Protocol::Postgres, context.direction, frame.start);
        message.end = context.at;
        message.bytes = frame.len.saturating_add(5);
        message.cut = frame.cut;
        (message.status, message.code) = (status, code);
        sink.message(message);
    }

    /// There is no more input for now: that the answer has begun is worth knowing.
    fn show(&mut self, context: Context, sink: &mut dyn Sink) {
        let Some(open) = self.open.as_mut().filter(|open| !open.head_out) else { return };
        open.head_out = true;
        let mut message =
            Message::new(MessageKind::Response, Part::Head, Protocol::Postgres, context.direction, open.start);
        message.end = open.end;
        sink.message(message);
    }

    /// The open answer is over.
    fn finish(&mut self, shared: &mut Shared, direction: Direction, sink: &mut dyn Sink) {
        shared.due.pop();
        let Some(open) = self.open.take() else { return };
        let part = if open.head_out { Part::End } else { Part::Whole };
        let mut message = Message::new(MessageKind::Response, part, Protocol::Postgres, direction, open.start);
        message.end = open.end;
        message.bytes = open.bytes;
        (message.status, message.code) = (open.status, open.code);
        message.cut = open.cut;
        sink.message(message);
    }

    /// The request in front was answered without an answer of its own: skipped after an error, or unseen.
    fn settle(&mut self, shared: &mut Shared, direction: Direction, sink: &mut dyn Sink) {
        let due = shared.due.pop();
        if matches!(due, None | Some(Due::Mark)) {
            return;
        }
        let start = self.skipping.as_ref().map_or(self.last, |skipping| skipping.since);
        let mut message = Message::new(MessageKind::Response, Part::Whole, Protocol::Postgres, direction, start);
        message.end = self.last.max(start);
        match &self.skipping {
            Some(skipping) => (message.status, message.code) = (Status::Error, skipping.code.clone()),
            None => message.cut = true,
        }
        sink.message(message);
    }
}
