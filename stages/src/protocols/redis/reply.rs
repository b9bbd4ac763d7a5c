//! Replies: any RESP value ("RESP protocol description"), read only as far as status and code, then skipped by counting.
//!
//! Nested values need no stack: an aggregate of n elements adds n to the elements still to come. Streamed strings and
//! aggregates of RESP3 (which no server sends) lose the framing.
//!
//! When the framing of a turn is lost, this half does not say so to the caller: it goes on taking bytes and gaps up to the next turn,
//! because the time of the last of them is the end of the replies that were not seen.

use super::ledger::Ledger;
use super::line::{Line, count, line, line_end, number_line};
use super::request::{consumed, malformed, need};
use super::{MAX_ELEMENTS, MAX_LINE};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::limits::MAX_TOKEN;
use crate::protocols::{Context, Input, Malformed, Protocol, Sink, Step};
use crate::text::Token;
use crate::time::Nanos;
use std::num::NonZeroU64;

/// Longest word that tells a pushed message of RESP2 from an array.
const MAX_PUSH_WORD: usize = 16;

/// What part of a value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The type byte of an element.
    Element,
    /// That many bytes of a bulk string, CR LF included.
    Bulk(u64),
    /// The rest of a long line; `true` after a CR.
    Line(bool),
}

/// A reply that is being read.
#[derive(Debug)]
struct Open {
    kind: MessageKind,
    status: Status,
    code: Token,
    start: Nanos,
    end: Nanos,
    bytes: u64,
    /// Elements still to come.
    elements: u64,
    next: Next,
    /// The value itself (not an attribute before it) was reached.
    known: bool,
    /// It confirms a subscription.
    confirmation: bool,
    /// The last integer was 0.
    zero: bool,
    headed: bool,
    cut: bool,
}

/// Replies of one connection.
#[derive(Debug, Default)]
pub(super) struct Replies {
    open: Option<Open>,
    /// Framing was lost in this turn: only take what comes.
    lost: bool,
    /// Framing was lost before this turn, and nothing was read since.
    searching: bool,
    /// The last of the replies that were made up in this turn: its end is not known yet.
    tail: Option<Tail>,
}

/// A made-up reply whose end is the end of its turn.
#[derive(Debug, Clone, Copy)]
struct Tail {
    end: Nanos,
    bytes: u64,
}

/// Why reading stopped.
enum Stop {
    Complete,
    Short(u64),
    Malformed(Malformed),
}

const fn refuse(field: &'static str, kind: &'static str) -> Stop {
    Stop::Malformed(Malformed { field, kind })
}

impl Replies {
    /// A turn begins, of requests or replies: what was made up in the turn before is over.
    pub(super) fn turn(&mut self, ledger: &mut Ledger, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            if self.lost {
                self.make_up(ledger, context, sink);
            }
            self.close_tail(context, sink);
        }
        self.searching |= self.lost;
        if !context.is_request() {
            self.lost = false;
        }
    }

    pub(super) fn parse(
        &mut self,
        ledger: &mut Ledger,
        context: Context,
        input: Input<'_>,
        sink: &mut dyn Sink,
    ) -> Step {
        if self.lost {
            return self.take(context, input);
        }
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Gap(len) => return self.gap(ledger, context, len, sink),
        };
        let open = self.open.take().unwrap_or_else(|| Open::new(context));
        match self.read(open, ledger, context, bytes, sink) {
            Step::Malformed(_) if self.searching => {
                self.lose(ledger, context, sink);
                self.take(context, input)
            }
            step => step,
        }
    }

    /// Framing is lost: in the middle of a turn of replies, or because turns went by unseen.
    pub(super) fn lost(&mut self, ledger: &mut Ledger, context: Context, sink: &mut dyn Sink) {
        if ledger.in_turn_of(false) {
            self.lose(ledger, context, sink);
        } else {
            self.finish_cut(context, sink);
            self.close_tail(context, sink);
            self.searching = true;
            ledger.settle();
        }
    }

    /// No reply follows.
    pub(super) fn end(&mut self, context: Context, sink: &mut dyn Sink) {
        self.finish_cut(context, sink);
        self.close_tail(context, sink);
    }

    fn lose(&mut self, ledger: &mut Ledger, context: Context, sink: &mut dyn Sink) {
        self.finish_cut(context, sink);
        self.lost = true;
        self.make_up(ledger, context, sink);
    }

    /// Each request that is still open is answered in the part of the turn that was not seen. All but the last are over as far as
    /// anyone can tell; the last is over when the turn is.
    fn make_up(&mut self, ledger: &mut Ledger, context: Context, sink: &mut dyn Sink) {
        let Some(direction) = context.role.request_direction().map(|direction| direction.reverse()) else { return };
        let due = ledger.settle();
        for n in 0..due {
            let last = n + 1 == due && self.tail.is_none();
            let part = if last { Part::Head } else { Part::Whole };
            let mut message = Message::new(MessageKind::Response, part, Protocol::Redis, direction, context.at);
            message.cut = true;
            sink.message(message);
            if last {
                self.tail = Some(Tail { end: context.at, bytes: 0 });
            }
        }
    }

    fn close_tail(&mut self, context: Context, sink: &mut dyn Sink) {
        let Some(direction) = context.role.request_direction().map(|direction| direction.reverse()) else { return };
        if let Some(tail) = self.tail.take() {
            let mut message = Message::new(MessageKind::Response, Part::End, Protocol::Redis, direction, tail.end);
            message.bytes = tail.bytes;
            message.cut = true;
            sink.message(message);
        }
    }

    fn finish_cut(&mut self, context: Context, sink: &mut dyn Sink) {
        if let Some(mut open) = self.open.take() {
            open.cut = true;
            if open.headed {
                sink.message(open.message(Part::End, context));
            } else if open.known {
                sink.message(open.message(Part::Whole, context));
            }
        }
    }

    /// Takes what cannot be read.
    fn take(&mut self, context: Context, input: Input<'_>) -> Step {
        let len = match input {
            Input::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Input::Gap(len) => len.get(),
        };
        if let Some(tail) = self.tail.as_mut() {
            tail.end = context.at;
            tail.bytes = tail.bytes.saturating_add(len);
        }
        NonZeroU64::new(len).map_or(need(1), Step::Consumed)
    }

    /// In a gap only the inside of a bulk string is known.
    fn gap(&mut self, ledger: &mut Ledger, context: Context, len: NonZeroU64, sink: &mut dyn Sink) -> Step {
        let Some(Open { next: Next::Bulk(left), .. }) = self.open.as_ref() else {
            if ledger.in_turn_of(false) {
                self.lose(ledger, context, sink);
                return self.take(context, Input::Gap(len));
            }
            return Step::Lost;
        };
        let n = len.get().min(*left);
        if let Some(open) = self.open.as_mut() {
            open.skip_bulk(n);
            open.bytes = open.bytes.saturating_add(n);
            open.end = context.at;
            open.cut = true;
            if open.complete() {
                ledger.reply_done(open.status == Status::Ok);
                self.finish_cut(context, sink);
            }
        }
        NonZeroU64::new(n).map_or(Step::Lost, Step::Consumed)
    }

    fn read(
        &mut self,
        mut open: Open,
        ledger: &mut Ledger,
        context: Context,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Step {
        let mut at = 0;
        let stop = loop {
            if open.complete() {
                break Stop::Complete;
            }
            match open.step(ledger, bytes.get(at..).unwrap_or(&[])) {
                Ok(n) => at += n,
                Err(stop) => break stop,
            }
        };
        open.bytes = open.bytes.saturating_add(u64::try_from(at).unwrap_or(0));
        if at > 0 {
            open.end = context.at;
            self.searching = false;
        }
        // The reply begins, for whoever waits for it, when what it is is known.
        if open.known && !open.headed && open.kind == MessageKind::Response {
            ledger.answered(context, sink);
            let part = if matches!(stop, Stop::Complete) { Part::Whole } else { Part::Head };
            sink.message(open.message(part, context));
            open.headed = part == Part::Head;
        } else if matches!(stop, Stop::Complete) {
            let part = if open.headed { Part::End } else { Part::Whole };
            sink.message(open.message(part, context));
        }
        match stop {
            Stop::Complete => {
                open.done(ledger);
                consumed(at).unwrap_or(need(1))
            }
            Stop::Short(more) => {
                if at > 0 || open.bytes > 0 {
                    self.open = Some(open);
                }
                consumed(at).unwrap_or(need(more))
            }
            Stop::Malformed(Malformed { field, kind }) => {
                if open.headed {
                    self.open = Some(open);
                }
                malformed(field, kind)
            }
        }
    }
}

impl Open {
    fn new(context: Context) -> Self {
        Self {
            kind: MessageKind::Response,
            status: Status::Ok,
            code: Token::new(),
            start: context.start,
            end: context.at,
            bytes: 0,
            elements: 1,
            next: Next::Element,
            known: false,
            confirmation: false,
            zero: false,
            headed: false,
            cut: false,
        }
    }

    fn complete(&self) -> bool {
        self.elements == 0 && self.next == Next::Element
    }

    fn done(&self, ledger: &mut Ledger) {
        if self.confirmation && self.zero {
            ledger.unsubscribed();
        }
        if self.kind == MessageKind::Response {
            ledger.reply_done(self.status == Status::Ok);
        }
    }

    /// The reply, or its beginning or end. Takes its code.
    fn message(&mut self, part: Part, context: Context) -> Message {
        let mut message = Message::new(self.kind, part, Protocol::Redis, context.direction, self.start);
        message.end = self.end;
        message.bytes = self.bytes;
        message.cut = self.cut;
        if part != Part::End {
            message.status = self.status;
            message.code = std::mem::take(&mut self.code);
        }
        message
    }

    /// Reads one piece at the beginning of `rest`.
    fn step(&mut self, ledger: &mut Ledger, rest: &[u8]) -> Result<usize, Stop> {
        match self.next {
            Next::Element => self.element(ledger, rest),
            Next::Bulk(left) => {
                let here = rest.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(rest);
                if here.is_empty() {
                    return Err(Stop::Short(1));
                }
                check_marks(left, here)?;
                self.skip_bulk(u64::try_from(here.len()).unwrap_or(left));
                Ok(here.len())
            }
            Next::Line(after_cr) => {
                let Some(first) = rest.first() else { return Err(Stop::Short(1)) };
                if after_cr && *first == b'\n' {
                    self.next = Next::Element;
                    return Ok(1);
                }
                match line_end(rest) {
                    Some(at) => {
                        self.next = Next::Element;
                        Ok(at + 2)
                    }
                    None => {
                        self.next = Next::Line(rest.ends_with(b"\r"));
                        Ok(rest.len())
                    }
                }
            }
        }
    }

    fn skip_bulk(&mut self, n: u64) {
        if let Next::Bulk(left) = self.next {
            self.next = if n >= left { Next::Element } else { Next::Bulk(left - n) };
        }
    }

    /// The next element: its type, and its length or all of it.
    fn element(&mut self, ledger: &mut Ledger, rest: &[u8]) -> Result<usize, Stop> {
        let Some(&kind) = rest.first() else { return Err(Stop::Short(1)) };
        // "Attributes": pairs before the value they belong to. They count as no element.
        let top = !self.known && self.elements == 1 && kind != b'|';
        match kind {
            b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => {
                let (text, n) = match line(rest, MAX_LINE) {
                    Line::Whole(text) => (text, text.len() + 2),
                    Line::Short => return Err(Stop::Short(1)),
                    Line::Long => {
                        self.next = Next::Line(false);
                        // A CR at the very end must be seen again together with its LF.
                        let n = MAX_LINE + 1;
                        (rest.get(..n).unwrap_or(rest), n)
                    }
                };
                let text = text.get(1..).unwrap_or(&[]);
                check_scalar(kind, text)?;
                if top {
                    self.know_line(ledger, kind, text);
                }
                self.zero = kind == b':' && text == b"0";
                self.elements -= 1;
                Ok(n)
            }
            b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => {
                let head = match number_line(rest) {
                    Line::Whole(head) => head,
                    Line::Short => return Err(Stop::Short(1)),
                    Line::Long => return Err(refuse("length", "too long")),
                };
                let Some(n) = head.get(1..).and_then(count) else {
                    return Err(refuse("length", "not a number in range"));
                };
                let after = rest.get(head.len() + 2..).unwrap_or(&[]);
                if matches!(kind, b'$' | b'=' | b'!') {
                    self.bulk(top, kind, n, after)?;
                } else {
                    self.aggregate(ledger, top, kind, n, after)?;
                }
                Ok(head.len() + 2)
            }
            _ => Err(refuse("type", "none of RESP")),
        }
    }

    /// "Simple strings", "Simple errors", "Integers" and the one-line types of RESP3, as the whole reply.
    fn know_line(&mut self, ledger: &Ledger, kind: u8, text: &[u8]) {
        self.known = true;
        if kind == b'-' {
            self.fail(text);
        } else if kind == b'+' && ledger.expects_monitored() && is_monitored(text) {
            self.kind = MessageKind::OneWay;
        }
    }

    /// "Bulk strings", "Verbatim strings", "Bulk errors".
    fn bulk(&mut self, top: bool, kind: u8, len: Option<u64>, after: &[u8]) -> Result<(), Stop> {
        if let Some(len) = len {
            if top && kind == b'!' {
                let want = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_TOKEN);
                let Some(text) = after.get(..want) else {
                    return Err(Stop::Short(u64::try_from(want - after.len()).unwrap_or(1)));
                };
                self.fail(text);
            }
            self.next = Next::Bulk(len.saturating_add(2));
        }
        self.known |= top;
        self.elements -= 1;
        Ok(())
    }

    /// "Arrays", "Sets", "Pushes", "Maps", "Attributes".
    fn aggregate(
        &mut self,
        ledger: &mut Ledger,
        top: bool,
        kind: u8,
        n: Option<u64>,
        after: &[u8],
    ) -> Result<(), Stop> {
        if top {
            if kind == b'>' && n.is_none_or(|n| n == 0) {
                self.kind = MessageKind::OneWay;
            } else if n.is_some_and(|n| n > 0) && (kind == b'>' || (kind == b'*' && ledger.expects_push())) {
                self.know_push(ledger, kind, after)?;
            }
            self.known = true;
        }
        let n = n.unwrap_or(0).saturating_mul(if matches!(kind, b'%' | b'|') { 2 } else { 1 });
        self.elements = self.elements.saturating_add(n) - u64::from(kind != b'|');
        if self.elements > MAX_ELEMENTS {
            return Err(refuse("element count", "too large"));
        }
        Ok(())
    }

    /// Pub/sub messages and confirmations: arrays in RESP2, pushes in RESP3, told by their first word.
    fn know_push(&mut self, ledger: &mut Ledger, kind: u8, after: &[u8]) -> Result<(), Stop> {
        let word = first_word(after)?;
        match word {
            b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe" | b"sunsubscribe" => {
                self.kind = ledger.confirmation();
                self.confirmation = true;
            }
            b"message" | b"pmessage" | b"smessage" => self.kind = MessageKind::OneWay,
            _ if kind == b'>' => self.kind = MessageKind::OneWay,
            _ => {}
        }
        Ok(())
    }

    fn fail(&mut self, text: &[u8]) {
        self.status = Status::Error;
        self.code = Token::from_wire(text.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or(&[]));
    }
}

/// The short bulk string at the beginning, or nothing if something else stands there.
fn first_word(after: &[u8]) -> Result<&[u8], Stop> {
    match after.first() {
        None => return Err(Stop::Short(1)),
        Some(b'$') => {}
        Some(_) => return Ok(&[]),
    }
    let head = match number_line(after) {
        Line::Whole(head) => head,
        Line::Short => return Err(Stop::Short(1)),
        Line::Long => return Ok(&[]),
    };
    let len = head.get(1..).and_then(count).flatten().and_then(|len| usize::try_from(len).ok());
    let Some(len) = len.filter(|len| *len <= MAX_PUSH_WORD) else { return Ok(&[]) };
    let rest = after.get(head.len() + 2..).unwrap_or(&[]);
    rest.get(..len).ok_or(Stop::Short(u64::try_from(len.saturating_sub(rest.len())).unwrap_or(1)))
}

/// A line as `MONITOR` sends them: seconds, a point, microseconds, a blank, a bracket.
fn is_monitored(text: &[u8]) -> bool {
    let seconds = after_digits(text);
    seconds.len() < text.len()
        && seconds.strip_prefix(b".").is_some_and(|micros| after_digits(micros).starts_with(b" ["))
}

fn after_digits(text: &[u8]) -> &[u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.get(digits..).unwrap_or(&[])
}

/// One-line types hold what their type says.
fn check_scalar(kind: u8, text: &[u8]) -> Result<(), Stop> {
    let fits = match kind {
        b':' | b'(' => {
            let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        b'#' => matches!(text, b"t" | b"f"),
        b'_' => text.is_empty(),
        b',' => !text.is_empty() && text.iter().all(u8::is_ascii_graphic),
        _ => true,
    };
    if fits { Ok(()) } else { Err(refuse("value", "not of its type")) }
}

/// The end of a bulk string is CR LF. `left`: bytes up to behind it.
fn check_marks(left: u64, here: &[u8]) -> Result<(), Stop> {
    let text = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX).min(here.len());
    let marks = here.get(text..).unwrap_or(&[]);
    let expected: &[u8] = if left == 1 { b"\n" } else { b"\r\n" };
    if expected.starts_with(marks) { Ok(()) } else { Err(refuse("bulk string", "not ended by CR LF")) }
}
