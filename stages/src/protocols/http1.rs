//! Protocol `http1`: HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! Start lines are read whole (`start`, `line`), header fields piece by piece (`head`), bodies only measured (`body`); the answer's
//! length depends on the question, so the kinds of unanswered requests are remembered (`asked`). A `lane` is one direction.
//!
//! What is captured of a turn is a prefix, so heads and bodies are cut all the time. A gap in a body of known length, or inside
//! one chunk, is walked over. Any other gap loses the framing: what is known goes out with `cut`, everything up to the next
//! turn only counts as bytes, and the answer's [`Part::End`] comes when the other side speaks again, with the time of the last
//! byte seen. Requests of a pipeline that nobody could read are made up for when their answers come; answers that nobody
//! could read, when the next request does or none can: so first in, first out stays true.
//!
//! Absent: HTTP/0.9 (it has neither version nor status), upgrades (what follows a 101 or a CONNECT is handed over, to HTTP/2 where
//! that was agreed: `h2c`), content but for the messages of gRPC-Web (`web_call`).

use super::traits::Traits;
use super::wire::consumed;
use super::{Context, Input, Malformed, Probe, ProbeContext, Protocol, Sink, Step, Successor, Wire};
use crate::flow::conn::Direction;
use crate::flow::message::{Message, MessageKind, Part};
use crate::time::Nanos;
use asked::{Asked, Queue};
use body::{Body, Chunked, Reach};
use h2c::Offer;
use head::{Fields, Lines};
use lane::{Lane, Open, Phase};
use start::{read_start_line, status_code};
use std::num::NonZeroU64;
use web_call::{Call, Numbers};

mod asked;
mod body;
mod h2c;
mod head;
mod lane;
mod line;
mod probe;
mod start;
mod traits;
mod web_call;

/// Of an answer whose head is as short, and tells the length of its body, nothing else is needed: a power of two.
const SHORT_HEAD: u8 = 8;
/// So many in a row make it likely of the next one.
const SHORT_ANSWERS: u8 = 8;

/// HTTP/1.
#[derive(Debug, Clone, Copy)]
pub struct Http1;

/// What is remembered of a connection. Bounded: no part of it grows but the target of the request being read, up to
/// [`MAX_TARGET`](crate::limits::MAX_TARGET).
#[derive(Debug, Default)]
pub struct State {
    /// Of requests and of responses.
    lanes: [Lane; 2],
    asked: Queue,
    /// Since when requests of this turn may have gone by unread.
    requests_unread: Option<Nanos>,
    /// Since when responses may have gone by unread.
    responses_unread: Option<Nanos>,
    /// The connection speaks something else now.
    tunnel: Option<Successor>,
    /// HTTP/2 was offered, and the answer is due.
    offer: Option<Box<Offer>>,
    calls: Numbers,
    /// Answers in a row of which [`SHORT_HEAD`] bytes would have been enough.
    short_answers: u8,
}

/// What the fields and the question say of the body.
enum Framing {
    None,
    Body(Body),
    /// Not to be known.
    Unknown,
}

impl Wire for Http1 {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        // What looks like it in datagrams is SSDP (UPnP Device Architecture 2.0, section 1): nobody answers there in order.
        if context.transport.is_datagram() { Probe::NoMatch } else { probe::probe(prefix) }
    }

    fn enough(state: &State) -> Option<u8> {
        (state.short_answers >= SHORT_ANSWERS).then_some(SHORT_HEAD)
    }

    fn turn(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.next_requests(context, sink);
        } else {
            let lane = state.response();
            // The answer to a HEAD that was not seen: what it says of its length is not true.
            lane.resync |= lane.open.is_some_and(|open| open.orphan);
        }
        let lane = state.lane(context);
        if lane.phase == Phase::Unframed {
            lane.finish(context.direction, sink);
            let torn = lane.torn;
            lane.restart();
            (lane.torn, lane.resync) = (torn, torn);
        }
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        if let Some(successor) = state.tunnel {
            return Step::HandOver(successor);
        }
        let step = match input {
            Input::Bytes(bytes) => state.bytes(context, bytes, sink),
            Input::Gap(gap) => state.gap(context, gap, sink),
        };
        if matches!(step, Step::Consumed(_)) {
            state.lane(context).last = context.at;
        }
        step
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        state.lost(context, sink);
        // After bytes that are no HTTP nothing is in the middle of anything: more of them must be refused as well.
        let lane = state.lane(context);
        lane.torn = !std::mem::take(&mut lane.strange);
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.requests_unread = None;
        } else {
            // Whoever counts the missed answers lets everything that waited go.
            state.responses_unread = None;
            state.asked = Queue::default();
            state.calls.reset();
        }
        let lane = state.lane(context);
        lane.cut();
        lane.finish(context.direction, sink);
        lane.forget();
        lane.restart();
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let request = context.is_request();
        let lane = state.lane(context);
        let at = Context { start: lane.last, at: lane.last, ..context };
        match lane.phase {
            // A status is worth reporting even if the rest of the head never came; an unfinished request is none.
            Phase::Head | Phase::StartLine if !request => state.lost(at, sink),
            Phase::Body(Body::Length(_) | Body::Chunked(_)) => lane.cut(),
            _ => {}
        }
        let lane = state.lane(context);
        lane.finish(context.direction, sink);
        lane.forget();
        lane.restart();
        if !request {
            state.make_up_answers(context.direction, sink);
        }
    }
}

impl State {
    fn lane(&mut self, context: Context) -> &mut Lane {
        let [request, response] = &mut self.lanes;
        if context.is_request() { request } else { response }
    }

    fn response(&mut self) -> &mut Lane {
        let [_, response] = &mut self.lanes;
        response
    }

    /// A turn of requests begins: whatever could not be read of the answers to the last one is over.
    fn next_requests(&mut self, context: Context, sink: &mut dyn Sink) {
        let direction = context.direction.reverse();
        self.requests_unread = None;
        let lane = self.response();
        let until_close = lane.phase == Phase::Body(Body::UntilClose) && lane.open.is_some_and(|open| open.orphan);
        if until_close {
            lane.cut();
            lane.phase = Phase::Unframed;
        }
        if lane.phase == Phase::Unframed {
            lane.finish(direction, sink);
        }
        self.make_up_answers(direction, sink);
    }

    /// Answers went by unread, and no more can come: everything that waits was answered, nobody knows how.
    fn make_up_answers(&mut self, direction: Direction, sink: &mut dyn Sink) {
        let Some(start) = self.responses_unread.take() else { return };
        let last = self.response().last;
        while let Some(asked) = self.asked.pop() {
            let mut message = Message::new(MessageKind::Response, Part::Whole, Protocol::Http1, direction, start);
            message.end = last.max(start);
            message.cut = true;
            if asked == Asked::Call {
                Call::response(self.calls.answer(), 200, None, None, &mut message);
            }
            sink.message(message);
        }
    }

    fn bytes(&mut self, context: Context, input: &[u8], sink: &mut dyn Sink) -> Step {
        let lane = self.lane(context);
        if lane.resync && lane.phase != Phase::Start && input.starts_with(probe::VERSION) && !context.is_request() {
            // The doubtful answer is over: this begins the next one.
            lane.cut();
            lane.finish(context.direction, sink);
            lane.restart();
        }
        match lane.phase {
            Phase::Start => self.start(context, input, sink),
            Phase::StartLine | Phase::Head => {
                let Some(mut message) = lane.take_draft() else { return Step::Lost };
                self.head(context, input, 0, &mut message, sink)
            }
            Phase::Body(body) => self.body(context, body, input, sink),
            Phase::Unframed => {
                lane.count(input.len() as u64);
                consumed(input.len())
            }
        }
    }

    /// Before or in a start line.
    fn start(&mut self, context: Context, input: &[u8], sink: &mut dyn Sink) -> Step {
        // RFC 9112, section 2.2: empty lines before a request line are to be ignored.
        let lead = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if lead > 0 {
            return consumed(lead);
        }
        let request = context.is_request();
        let lane = self.lane(context);
        let kind = if request { MessageKind::Request } else { MessageKind::Response };
        let mut draft = Message::new(kind, Part::Head, Protocol::Http1, context.direction, context.start);
        match read_start_line(&mut draft, lane.resync, input) {
            Ok(Some((len, whole))) => {
                lane.resync = false;
                lane.torn = false;
                lane.fields = Fields::default();
                lane.clear_partial();
                lane.phase = if whole { Phase::Head } else { Phase::StartLine };
                self.head(context, input, len, &mut draft, sink)
            }
            Ok(None) => Step::NeedMore(NonZeroU64::MIN),
            Err(_) if lane.resync => {
                lane.phase = Phase::Unframed;
                lane.resync = false;
                self.unread(context);
                consumed(input.len())
            }
            Err(malformed) => {
                lane.strange = true;
                Step::Malformed(malformed)
            }
        }
    }

    /// In the head of `message`; `from` bytes of the input are read already. (Messages are large: they are handed on by
    /// reference until they go out.)
    fn head(
        &mut self,
        context: Context,
        input: &[u8],
        from: usize,
        message: &mut Message,
        sink: &mut dyn Sink,
    ) -> Step {
        let lane = self.lane(context);
        let rest = input.get(from..).unwrap_or(&[]);
        let mut lines = Lines::new(rest);
        let over = loop {
            let Some(line) = lines.next() else { break false };
            if lane.phase == Phase::StartLine {
                lane.phase = Phase::Head;
            } else if !lane.field(line) {
                break true;
            }
        };
        let at = from + lines.passed();
        if !over {
            message.bytes = message.bytes.saturating_add(input.len() as u64);
            let in_fields = lane.phase == Phase::Head;
            let aside = lane.aside.get_or_insert_default();
            if in_fields {
                aside.partial.push(input.get(at..).unwrap_or(&[]));
            }
            aside.draft = Some(message.take());
            return consumed(input.len());
        }
        message.bytes = message.bytes.saturating_add(at as u64);
        self.headed(context, input, at, message, sink)
    }

    /// The head of `message` is read: `input` from `at` on is body, or the next message.
    fn headed(
        &mut self,
        context: Context,
        input: &[u8],
        at: usize,
        message: &mut Message,
        sink: &mut dyn Sink,
    ) -> Step {
        message.end = context.at;
        let (framing, orphan) = self.framing(context, message, sink);
        if message.kind == MessageKind::Response {
            let short =
                message.bytes <= 1 << SHORT_HEAD && matches!(framing, Framing::None | Framing::Body(Body::Length(_)));
            let alone = self.asked.is_empty() && self.response().call().is_none();
            self.short_answers = if short && alone { self.short_answers.saturating_add(1) } else { 0 };
        }
        let lane = self.lane(context);
        let mut open = Open { kind: message.kind, start: message.start, bytes: message.bytes, cut: false, orphan };
        let rest = input.get(at..).unwrap_or(&[]);
        let mut body = match framing {
            Framing::None => {
                lane.whole_out(message, sink);
                self.upgraded(context, sink);
                return consumed(at);
            }
            Framing::Unknown => {
                message.cut = true;
                open.cut = true;
                open.bytes = open.bytes.saturating_add(rest.len() as u64);
                lane.head_out(message, open, Phase::Unframed, sink);
                lane.torn = true;
                self.unread(context);
                return consumed(input.len());
            }
            Framing::Body(body) => body,
        };
        match body.bytes(rest, lane.call().and_then(Call::body)) {
            Reach::Ends(len) => {
                message.bytes = message.bytes.saturating_add(len as u64);
                lane.whole_out(message, sink);
                consumed(at + len)
            }
            Reach::Further => {
                open.bytes = open.bytes.saturating_add(rest.len() as u64);
                lane.head_out(message, open, Phase::Body(body), sink);
                consumed(input.len())
            }
            Reach::Broken(kind) => {
                lane.head_out(message, open, Phase::Body(body), sink);
                Step::Malformed(Malformed { field: "chunk-size", kind })
            }
        }
    }

    /// An answer accepted HTTP/2: the request is one of that as well.
    fn upgraded(&mut self, context: Context, sink: &mut dyn Sink) {
        if self.tunnel == Some(Successor::Protocol(Protocol::Http2))
            && let Some(offer) = self.offer.take()
        {
            sink.message(offer.accepted(context.direction.reverse()));
        }
    }

    /// RFC 9112, section 6.3, in its order; and whether an answer came without a question.
    fn framing(&mut self, context: Context, message: &mut Message, sink: &mut dyn Sink) -> (Framing, bool) {
        if context.is_request() {
            let has_room = self.asked.has_room();
            let flavor = self.lane(context).fields.flavor.filter(|_| has_room);
            let asked = match (message.method.as_bytes(), flavor) {
                (b"HEAD", _) => Asked::Head,
                (b"CONNECT", _) => Asked::Connect,
                (b"POST", Some(_)) => Asked::Call,
                _ => Asked::Plain,
            };
            self.asked.push(asked);
            if let (Asked::Call, Some(flavor)) = (asked, flavor) {
                let call = Call::request(self.calls.ask(), flavor, message);
                self.lane(context).aside.get_or_insert_default().call = Some(call);
            }
            message.trace = self.lane(context).aside.as_mut().and_then(|aside| aside.trace.finish());
            self.offer = self.lane(context).fields.h2c.then(|| Box::new(Offer::of(message)));
            let fields = &self.lane(context).fields;
            let framing = match (fields.bad, fields.chunked, fields.content_length) {
                // What a client sends behind a CONNECT is for the tunnel, if there will be one.
                _ if asked == Asked::Connect => Framing::None,
                (true, ..) | (_, Some(false), _) => Framing::Unknown,
                (_, Some(true), _) => Framing::Body(Body::Chunked(Chunked::START)),
                (_, None, Some(length)) if length > 0 => Framing::Body(Body::Length(length)),
                (_, None, _) => Framing::None,
            };
            return (framing, false);
        }
        let code = status_code(message);
        if message.kind == MessageKind::Interim {
            return (Framing::None, false);
        }
        let asked = self.asked.pop();
        if asked.is_none() {
            self.make_up_request(context, sink);
        }
        if asked == Some(Asked::Call) {
            let id = self.calls.answer();
            let lane = self.lane(context);
            let Fields { flavor, grpc_status, .. } = lane.fields;
            lane.aside.get_or_insert_default().call = Some(Call::response(id, code, flavor, grpc_status, message));
        }
        let h2c = code == 101 && self.offer.is_some() && self.lane(context).fields.h2c;
        let fields = &self.lane(context).fields;
        let tunnel = code == 101 || (asked == Some(Asked::Connect) && (200..300).contains(&code));
        let framing = match (fields.bad, fields.chunked, fields.content_length) {
            _ if tunnel || asked == Some(Asked::Head) || code == 204 || code == 304 => Framing::None,
            (true, ..) => Framing::Unknown,
            (_, Some(true), _) => Framing::Body(Body::Chunked(Chunked::START)),
            (_, Some(false), _) => Framing::Body(Body::UntilClose),
            (_, None, Some(0)) => Framing::None,
            (_, None, Some(length)) => Framing::Body(Body::Length(length)),
            (_, None, None) => Framing::Body(Body::UntilClose),
        };
        let successor = if h2c { Successor::Protocol(Protocol::Http2) } else { Successor::Foreign };
        self.tunnel = tunnel.then_some(successor);
        message.upgrade = tunnel && !h2c;
        (framing, asked.is_none())
    }

    /// An answer came, no request is known, and some may have gone by unread: it was one of them.
    fn make_up_request(&mut self, context: Context, sink: &mut dyn Sink) {
        if let Some(start) = self.requests_unread {
            let direction = context.direction.reverse();
            let mut message = Message::new(MessageKind::Request, Part::Whole, Protocol::Http1, direction, start);
            message.cut = true;
            sink.message(message);
        }
    }

    fn body(&mut self, context: Context, mut body: Body, input: &[u8], sink: &mut dyn Sink) -> Step {
        let lane = self.lane(context);
        let reach = body.bytes(input, lane.call().and_then(Call::body));
        lane.phase = Phase::Body(body);
        match reach {
            Reach::Further => {
                lane.count(input.len() as u64);
                consumed(input.len())
            }
            Reach::Ends(len) => {
                lane.count(len as u64);
                lane.last = context.at;
                lane.finish(context.direction, sink);
                lane.restart();
                consumed(len)
            }
            Reach::Broken(kind) => Step::Malformed(Malformed { field: "chunk-size", kind }),
        }
    }

    fn gap(&mut self, context: Context, gap: NonZeroU64, sink: &mut dyn Sink) -> Step {
        let lane = self.lane(context);
        let body = match &mut lane.phase {
            Phase::Body(body) => Some(body.gap(gap.get())),
            _ => None,
        };
        match body {
            Some(Some((walked, over))) => {
                lane.cut();
                lane.call().into_iter().for_each(Call::gap);
                lane.count(walked);
                if over {
                    lane.last = context.at;
                    lane.finish(context.direction, sink);
                    lane.restart();
                }
                NonZeroU64::new(walked).map_or(Step::Lost, Step::Consumed)
            }
            Some(None) | None => {
                self.lost(context, sink);
                let lane = self.lane(context);
                lane.torn = true;
                lane.last = context.at;
                lane.count(gap.get());
                Step::Consumed(gap)
            }
        }
    }

    /// The framing is lost. What is known of the message goes out; its end is due at a turn.
    fn lost(&mut self, context: Context, sink: &mut dyn Sink) {
        self.unread(context);
        if !context.is_request() {
            self.short_answers = 0;
        }
        let lane = self.lane(context);
        lane.cut();
        lane.call().into_iter().for_each(Call::gap);
        let Some(mut message) = lane.take_draft() else {
            lane.phase = Phase::Unframed;
            return;
        };
        message.cut = true;
        message.end = message.end.max(lane.last);
        // The question's place in the queue is taken, or freed, as if the head had been read.
        let (_, orphan) = self.framing(context, &mut message, sink);
        let open = Open { kind: message.kind, start: message.start, bytes: message.bytes, cut: true, orphan };
        let lane = self.lane(context);
        lane.call().into_iter().for_each(Call::gap);
        if message.kind == MessageKind::Interim {
            message.part = Part::Whole;
            sink.message(message);
            lane.phase = Phase::Unframed;
        } else {
            lane.head_out(&mut message, open, Phase::Unframed, sink);
        }
    }

    /// From here on messages of this direction may go by unread.
    fn unread(&mut self, context: Context) {
        let since = if context.is_request() { &mut self.requests_unread } else { &mut self.responses_unread };
        since.get_or_insert(context.start);
    }
}

#[cfg(test)]
mod tests;
