//! Protocol `dns`: RFC 1035 over UDP and TCP, with EDNS (RFC 6891), `NOTIFY` (RFC 1996) and `UPDATE` (RFC 2136).
//!
//! A message is read from its header and question; of an answer also the addresses, as far as they were captured. What pairs
//! question and answer is the id of the header mixed with a hash of the question, because one UDP socket talks with many peers that choose
//! their ids independently. An answer that repeats no question (some servers refuse so) gets the mixed id of the oldest open
//! question with its id.
//!
//! Over TCP a zone transfer answers one question with many messages: the first is the answer, the rest pair with nothing.
//!
//! Absent: record data other than addresses, DNSSEC, dynamic state of any resolver, multicast DNS and LLMNR (questions to everyone
//! that nobody has to answer).

mod message;
mod names;
mod probe;
#[cfg(test)]
mod tests;
mod traits;

use super::traits::Traits;
use super::{Context, Input, Malformed, Probe, ProbeContext, Protocol, Sink, Step, Wire};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::text::Token;
use crate::time::Nanos;
use message::{Failure, Parsed};
use smallvec::SmallVec;
use std::num::NonZeroU64;

/// Bytes of a message over TCP that are waited for before it is read; what lies behind is skipped.
pub const MAX_HEAD: usize = 4_096;
/// Open questions of one connection that an answer without a question is compared with; the oldest makes room.
pub const MAX_ASKED: usize = 64;
/// Pointers followed in one name (RFC 1035 4.1.4); more is malformed.
pub const MAX_HOPS: usize = 16;

/// The protocol.
#[derive(Debug)]
pub struct Dns;

/// What is remembered of a connection: the ids of open questions, and one begun message a direction. At most
/// [`State::MAX_BYTES`].
#[derive(Debug, Default)]
pub struct State {
    asked: SmallVec<[Asked; 2]>,
    lanes: [Lane; 2],
}

impl State {
    /// Bound of its memory: itself, the open questions, and two begun messages with their names and addresses.
    pub const MAX_BYTES: usize = size_of::<Self>() + 2 * MAX_ASKED * size_of::<Asked>() + 2 * (256 + 512);
}

/// A question whose answer was not seen.
#[derive(Debug, Clone, Copy)]
struct Asked {
    raw: u16,
    mixed: u64,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// A message whose end was not seen yet.
    open: Option<Open>,
    /// What is known of a message over TCP of which more is waited for.
    begun: Option<Message>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    id: u64,
    kind: MessageKind,
    start: Nanos,
    end: Nanos,
    bytes: u64,
    /// Bytes still to come (TCP).
    left: u64,
    cut: bool,
}

impl Wire for Dns {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        probe::probe(prefix, context)
    }

    fn turn(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.transport.is_datagram() {
            state.lane(context).close(context, sink);
        }
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        match (context.transport.is_datagram(), input) {
            (true, Input::Bytes(bytes)) => state.datagram(context, bytes, sink),
            (true, Input::Gap(len)) => {
                let lane = state.lane(context);
                lane.pass(context, len.get(), true);
                lane.close(context, sink);
                Step::Consumed(len)
            }
            (false, Input::Bytes(bytes)) => state.stream(context, bytes, sink),
            (false, Input::Gap(len)) => {
                let lane = state.lane(context);
                let n = lane.open.map_or(0, |open| open.left).min(len.get());
                lane.pass(context, n, true);
                lane.close_if_over(context, sink);
                NonZeroU64::new(n).map_or(Step::Lost, Step::Consumed)
            }
        }
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let lane = state.lane(context);
        if let Some(open) = lane.open.as_mut() {
            open.cut = true;
        }
        lane.close(context, sink);
        if let Some(message) = lane.begun.take() {
            state.remember(&message);
            sink.message(message);
        }
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        Self::lost(state, context, sink);
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        Self::lost(state, context, sink);
    }
}

impl Lane {
    /// That many bytes of the open message went by.
    fn pass(&mut self, context: Context, n: u64, unseen: bool) {
        if let Some(open) = self.open.as_mut()
            && n > 0
        {
            open.left = open.left.saturating_sub(n);
            open.bytes = open.bytes.saturating_add(n);
            open.end = context.at;
            open.cut |= unseen;
        }
    }

    fn close_if_over(&mut self, context: Context, sink: &mut dyn Sink) {
        if self.open.is_some_and(|open| open.left == 0) {
            self.close(context, sink);
        }
    }

    fn close(&mut self, context: Context, sink: &mut dyn Sink) {
        if let Some(open) = self.open.take() {
            let mut message = Message::new(open.kind, Part::End, Protocol::Dns, context.direction, open.start);
            message.id = open.id;
            message.end = open.end;
            message.bytes = open.bytes;
            message.cut = open.cut;
            sink.message(message);
        }
    }
}

impl State {
    fn lane(&mut self, context: Context) -> &mut Lane {
        let [ingress, egress] = &mut self.lanes;
        if context.direction.index() == 0 { ingress } else { egress }
    }

    /// One datagram, or its captured beginning.
    fn datagram(&mut self, context: Context, bytes: &[u8], sink: &mut dyn Sink) -> Step {
        self.lane(context).close(context, sink);
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let parsed = match message::read(bytes) {
            Ok(parsed) => parsed,
            Err(Failure::Short) => return Step::Lost,
            Err(Failure::Bad(what)) => return Step::Malformed(what),
        };
        let mut message = self.message(&parsed, context);
        message.bytes = len;
        if parsed.complete {
            sink.message(message);
        } else {
            // Either a gap follows, or records are missing that the header promises.
            message.part = Part::Head;
            self.lane(context).open = Some(Open::of(&message, 0));
            sink.message(message);
        }
        NonZeroU64::new(len).map_or(Step::Lost, Step::Consumed)
    }

    /// RFC 1035 4.2.2: each message behind its length in two bytes.
    fn stream(&mut self, context: Context, bytes: &[u8], sink: &mut dyn Sink) -> Step {
        let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let lane = self.lane(context);
        if let Some(open) = lane.open {
            let n = open.left.min(available);
            lane.pass(context, n, false);
            lane.close_if_over(context, sink);
            return NonZeroU64::new(n).map_or(Step::Lost, Step::Consumed);
        }
        let Some((prefix, rest)) = bytes.split_at_checked(2) else {
            return more(1);
        };
        let len = prefix.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
        if len < message::HEADER {
            return Step::Malformed(Malformed { field: "length", kind: "shorter than a header" });
        }
        let wanted = len.min(MAX_HEAD);
        let Some(head) = rest.get(..wanted) else {
            return self.wait(context, rest, wanted - rest.len());
        };
        let parsed = match message::read(head) {
            Ok(parsed) => parsed,
            Err(Failure::Short) => {
                return Step::Malformed(Malformed { field: "question", kind: "longer than its message" });
            }
            Err(Failure::Bad(what)) => return Step::Malformed(what),
        };
        let mut message = self.message(&parsed, context);
        let n = u64::try_from(wanted + 2).unwrap_or(0);
        message.bytes = n;
        let lane = self.lane(context);
        lane.begun = None;
        if len > wanted {
            message.part = Part::Head;
            lane.open = Some(Open::of(&message, u64::try_from(len - wanted).unwrap_or(0)));
        }
        sink.message(message);
        NonZeroU64::new(n).map_or(Step::Lost, Step::Consumed)
    }

    /// Asks for more, and keeps what is known already in case nothing more can be seen.
    fn wait(&mut self, context: Context, rest: &[u8], missing: usize) -> Step {
        let begun = message::read(rest).ok().map(|parsed| {
            let mut message = self.message_of(&parsed, context);
            message.cut = true;
            message.bytes = u64::try_from(rest.len() + 2).unwrap_or(0);
            message
        });
        self.lane(context).begun = begun;
        more(missing)
    }

    /// The message, its id entered or looked up among the open questions.
    fn message(&mut self, parsed: &Parsed, context: Context) -> Message {
        let message = self.message_of(parsed, context);
        self.remember(&message);
        message
    }

    fn message_of(&self, parsed: &Parsed, context: Context) -> Message {
        let kind = if parsed.response { MessageKind::Response } else { MessageKind::Request };
        let mut message = Message::new(kind, Part::Whole, Protocol::Dns, context.direction, context.start);
        message.end = context.at;
        message.id = match &parsed.question {
            Some(question) => question.hash & !0xffff | u64::from(parsed.id),
            None => self.oldest(parsed.id).map_or(u64::from(parsed.id), |asked| asked.mixed),
        };
        if parsed.response {
            message.status = if parsed.rcode == 0 { Status::Ok } else { Status::Error };
            if parsed.rcode != 0 {
                message.code = names::rcode(parsed.rcode);
            }
            message.addresses = parsed.addresses.clone();
        } else if let Some(question) = &parsed.question {
            message.target = question.name.clone();
            message.method = match parsed.opcode {
                message::opcode::NOTIFY => Token::from("NOTIFY"),
                message::opcode::UPDATE => Token::from("UPDATE"),
                _ => names::question_type(question.kind),
            };
        }
        message
    }

    fn oldest(&self, raw: u16) -> Option<Asked> {
        self.asked.iter().find(|asked| asked.raw == raw).copied()
    }

    /// Enters a question, or strikes out the one that is answered.
    fn remember(&mut self, message: &Message) {
        if message.kind == MessageKind::Response {
            if let Some(at) = self.asked.iter().position(|asked| asked.mixed == message.id) {
                self.asked.remove(at);
            }
            return;
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked.remove(0);
        }
        let [.., high, low] = message.id.to_be_bytes();
        self.asked.push(Asked { raw: u16::from_be_bytes([high, low]), mixed: message.id });
    }
}

impl Open {
    fn of(message: &Message, left: u64) -> Self {
        let Message { id, kind, start, end, bytes, cut, .. } = *message;
        Self { id, kind, start, end, bytes, left, cut }
    }
}

fn more(n: usize) -> Step {
    Step::NeedMore(u64::try_from(n).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN))
}
