//! Protocol `http2`: HTTP/2 (RFC 9113) in the clear, and what is spoken inside of it (gRPC, see [`super::grpc`]).
//!
//! Frames are walked one by one (`frame`); header blocks are decoded as they come (`hpack`), because each is needed to read
//! the later ones; bodies are only measured, but for the prefixes of gRPC messages. What a stream says becomes messages with
//! the stream's number as id (`streams`); whether it is a call of gRPC may only show with its answer (`nature`). A pushed request (PUSH_PROMISE) is the server's, but counts as one of the client:
//! it is reported once, with the promised stream as id, as if the client had sent it when the promise came.
//!
//! A connection may be joined late, and bytes may be missing. A gap inside a frame of known length is walked over; one in a
//! header block makes the dynamic table unknown. Any other gap loses the framing: a direction is found again where what follows,
//! or a later turn, begins with what looks like a frame. What the decoder cannot know stays empty and is never guessed.
//!
//! Absent: flow control, priorities, content, TLS (`h2` by ALPN), the SETTINGS of an h2c upgrade's request.

mod fields;
mod frame;
pub mod hpack;
mod nature;
mod probe;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod traits;

pub use streams::MAX_STREAMS;

use super::traits::Traits;
use super::wire::consumed;
use super::{Context, Input, Malformed, Probe, ProbeContext, Sink, Step, Wire};
use fields::Block;
use frame::{Header, Kind, Setting};
use std::num::NonZeroU64;
use stream::{Headers, Way};
use streams::Streams;

/// A SETTINGS frame longer than this is not looked at, bytes.
const MAX_SETTINGS: u32 = 6 * 64;

/// HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Http2;

/// What is remembered of a connection: [`MAX_STREAMS`] streams, and for each direction a header block's fields of interest
/// and a decoder with its table ([`hpack::MAX_TABLE`]).
#[derive(Debug, Default)]
pub struct State {
    /// Of requests and of responses.
    lanes: [Lane; 2],
    streams: Streams,
    /// The connection was seen from its beginning.
    whole: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    phase: Phase,
    hpack: hpack::Decoder,
    draft: Option<Draft>,
    /// A header block was read.
    decoded: bool,
    /// A turn begins with the next bytes.
    turns: bool,
    /// Largest frame that the other side allows, as far as it said.
    largest: u32,
}

#[derive(Debug, Clone, Copy, Default)]
enum Phase {
    /// Somewhere: the next bytes may begin with a frame.
    #[default]
    Apart,
    /// Before a frame.
    Between,
    /// In one.
    Inside(Frame),
}

/// The rest of a frame.
#[derive(Debug, Clone, Copy)]
struct Frame {
    payload: Payload,
    stream: u32,
    /// Bytes of it still to come, then bytes of padding.
    left: u32,
    padding: u32,
    /// The stream (of a body) or the block ends with it.
    ends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Body,
    Block,
    /// Of no interest.
    Rest,
}

/// A header block being read.
#[derive(Debug)]
struct Draft {
    headers: Headers,
    /// The stream that carries it; another one than that of `headers` for a promise.
    carrier: u32,
    promise: bool,
    /// Some of it was missing: what follows cannot be read.
    broken: bool,
}

impl Wire for Http2 {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    /// Behind an upgrade the server may begin at once, with its SETTINGS or less; the client's preface is still to come.
    fn follow(state: &mut State) {
        for lane in &mut state.lanes {
            lane.phase = Phase::Between;
            lane.hpack.begin();
        }
    }

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        probe::probe(prefix, context)
    }

    fn turn(state: &mut State, context: Context, _sink: &mut dyn Sink) {
        state.lane(context).turns = true;
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        let way = &mut Way { context, sink };
        match (input, state.lane(context).phase) {
            (Input::Bytes(bytes), Phase::Inside(frame)) => state.inside(frame, bytes, way),
            (Input::Bytes(bytes), Phase::Between) => state.between(bytes, way),
            (Input::Bytes(bytes), Phase::Apart) => state.apart(bytes, way),
            (Input::Gap(gap), Phase::Inside(frame)) => state.gap(frame, gap, way),
            (Input::Gap(gap), Phase::Between | Phase::Apart) => {
                // What follows may begin with a frame: operations and packets mostly do.
                state.lost(false, way);
                state.lane(context).turns = false;
                Step::Consumed(gap)
            }
        }
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        state.lost(false, &mut Way { context, sink });
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        state.lost(true, &mut Way { context, sink });
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let way = &mut Way { context, sink };
        // What is due is not in doubt: it did not come.
        state.lost(true, way);
        if !context.is_request() {
            state.streams.close(way);
        }
    }
}

impl State {
    fn lane(&mut self, context: Context) -> &mut Lane {
        let [request, response] = &mut self.lanes;
        if context.is_request() { request } else { response }
    }

    fn other_lane(&mut self, context: Context) -> &mut Lane {
        let [request, response] = &mut self.lanes;
        if context.is_request() { response } else { request }
    }

    /// At the beginning of a turn, or behind a gap, not knowing where in a frame that is.
    fn apart(&mut self, bytes: &[u8], way: &mut Way<'_>) -> Step {
        if way.context.is_request() && agrees(bytes, frame::PREFACE) {
            return self.preface(bytes);
        }
        let turns = self.lane(way.context).turns;
        let Some(header) = Header::read(bytes) else {
            return if turns { need(frame::HEADER, bytes) } else { Step::Lost };
        };
        let (frames, exact) = frame::chain(bytes);
        let begins = if turns {
            frames > 0 || bytes.len() < header.size()
        } else {
            // Behind a gap bytes may be anything: all of them must be frames, the first a head that can be read.
            exact && frames > 1 && probe::speaks(header, bytes).is_some()
        };
        if !header.is_plausible() || !begins {
            return Step::Lost;
        }
        self.lane(way.context).phase = Phase::Between;
        self.between(bytes, way)
    }

    /// The client's first words. Where they come a second time, it all begins anew.
    fn preface(&mut self, bytes: &[u8]) -> Step {
        if bytes.len() < frame::PREFACE.len() {
            return need(frame::PREFACE.len(), bytes);
        }
        self.streams.begin(std::mem::replace(&mut self.whole, true));
        let [request, response] = &mut self.lanes;
        request.phase = Phase::Between;
        request.draft = None;
        request.hpack.begin();
        if !response.decoded {
            response.hpack.begin();
        }
        consumed(frame::PREFACE.len())
    }

    /// A frame begins.
    fn between(&mut self, bytes: &[u8], way: &mut Way<'_>) -> Step {
        if way.context.is_request() && bytes.first() == frame::PREFACE.first() && agrees(bytes, frame::PREFACE) {
            return self.preface(bytes);
        }
        let Some(header) = Header::read(bytes) else { return need(frame::HEADER, bytes) };
        let whole = self.whole;
        let lane = self.lane(way.context);
        let largest = if whole { lane.largest.max(frame::USUAL_SIZE) } else { frame::LARGEST };
        let in_order = lane.draft.as_ref().is_none_or(|draft| draft.goes_on(header));
        if let Err(malformed) = header.check(largest) {
            return Step::Malformed(malformed);
        }
        if !in_order {
            return Step::Malformed(OUT_OF_ORDER);
        }
        let fixed = match header.kind {
            Kind::Settings if header.len <= MAX_SETTINGS => header.len,
            _ => header.fixed(),
        };
        let until = frame::HEADER + usize::try_from(fixed).unwrap_or(0);
        let Some(fixed) = bytes.get(frame::HEADER..until) else { return need(until, bytes) };
        match self.frame(header, fixed, way) {
            Ok(frame) => {
                self.lane(way.context).phase = Phase::Inside(frame);
                if frame.left == 0 && frame.padding == 0 {
                    self.frame_ended(frame, until, way)
                } else {
                    consumed(until)
                }
            }
            Err(malformed) => Step::Malformed(malformed),
        }
    }

    /// What a frame is, from its header and the fixed part of its payload; the rest is to come.
    fn frame(&mut self, header: Header, fixed: &[u8], way: &mut Way<'_>) -> Result<Frame, Malformed> {
        let Header { len, kind, stream, .. } = header;
        let (padding, fields) = match fixed.split_first() {
            Some((pad, rest)) if header.is_padded() => (u32::from(*pad), rest),
            _ => (0, fixed),
        };
        let read = u32::try_from(fixed.len()).unwrap_or(u32::MAX);
        let left = len.checked_sub(read).and_then(|left| left.checked_sub(padding));
        let Some(left) = left else {
            return Err(Malformed { field: "pad length", kind: "is longer than the frame" });
        };
        let bytes = u64::from(read) + frame::HEADER as u64;
        let frame = |payload, ends| Frame { payload, stream, left, padding, ends };
        Ok(match kind {
            Kind::Data => {
                self.streams.framed(stream, bytes, way);
                frame(Payload::Body, header.has(frame::END_STREAM))
            }
            Kind::Headers | Kind::Push => {
                self.block(header, fields, bytes, way)?;
                frame(Payload::Block, header.has(frame::END_HEADERS))
            }
            Kind::Continuation => {
                let lane = self.lane(way.context);
                let Some(draft) = &mut lane.draft else {
                    // Joined in the middle of a block.
                    lane.hpack.forget();
                    return Ok(frame(Payload::Rest, false));
                };
                draft.headers.bytes += bytes;
                frame(Payload::Block, header.has(frame::END_HEADERS))
            }
            Kind::Reset => {
                self.streams.reset(stream, number(fields), way);
                frame(Payload::Rest, false)
            }
            Kind::GoAway => {
                if !way.context.is_request() {
                    self.streams.go_away(number(fields) & 0x7fff_ffff, way);
                }
                frame(Payload::Rest, false)
            }
            Kind::Settings => {
                self.settings(fixed, way.context);
                frame(Payload::Rest, false)
            }
            Kind::Priority | Kind::Ping | Kind::Window | Kind::Other => frame(Payload::Rest, false),
        })
    }

    /// A header block begins.
    fn block(&mut self, header: Header, fields: &[u8], bytes: u64, way: &mut Way<'_>) -> Result<(), Malformed> {
        let promise = header.kind == Kind::Push;
        if promise && way.context.is_request() {
            return Err(Malformed { field: "type", kind: "is PUSH_PROMISE, from a client" });
        }
        let headers = Headers {
            fields: Block::default(),
            stream: if promise { number(fields) & 0x7fff_ffff } else { header.stream },
            end_stream: !promise && header.has(frame::END_STREAM),
            start: way.context.start,
            bytes,
        };
        self.lane(way.context).draft = Some(Draft { headers, carrier: header.stream, promise, broken: false });
        Ok(())
    }

    /// What one side says that it accepts holds for the other.
    fn settings(&mut self, payload: &[u8], context: Context) {
        let lane = self.other_lane(context);
        for setting in frame::settings(payload) {
            match setting {
                Setting::HeaderTableSize(size) => lane.hpack.allow(size),
                Setting::MaxFrameSize(size) => lane.largest = lane.largest.max(size.min(frame::LARGEST)),
            }
        }
    }

    /// In a frame.
    fn inside(&mut self, mut frame: Frame, bytes: &[u8], way: &mut Way<'_>) -> Step {
        let take = bytes.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        let (content, rest) = bytes.split_at_checked(take).unwrap_or((bytes, &[]));
        let padding = rest.len().min(usize::try_from(frame.padding).unwrap_or(usize::MAX));
        frame.left -= u32::try_from(take).unwrap_or(frame.left).min(frame.left);
        frame.padding -= u32::try_from(padding).unwrap_or(frame.padding).min(frame.padding);
        match frame.payload {
            Payload::Body => {
                let request = way.context.is_request();
                self.streams.content(frame.stream, content, request);
                self.streams.unread(frame.stream, padding as u64, false, request);
            }
            Payload::Block => {
                let lane = self.lane(way.context);
                if let Some(draft) = &mut lane.draft {
                    draft.headers.bytes += (take + padding) as u64;
                    if !draft.broken
                        && let Err(malformed) = lane.hpack.feed(content, &mut draft.headers.fields)
                    {
                        return Step::Malformed(malformed);
                    }
                }
            }
            Payload::Rest => {}
        }
        self.lane(way.context).phase = Phase::Inside(frame);
        if frame.left == 0 && frame.padding == 0 {
            return self.frame_ended(frame, take + padding, way);
        }
        consumed(take + padding)
    }

    /// Bytes of a frame that nobody saw.
    fn gap(&mut self, mut frame: Frame, gap: NonZeroU64, way: &mut Way<'_>) -> Step {
        let take = u32::try_from(gap.get()).unwrap_or(u32::MAX).min(frame.left);
        let behind = gap.get().saturating_sub(u64::from(take));
        let padding = u32::try_from(behind).unwrap_or(u32::MAX).min(frame.padding);
        frame.left -= take;
        frame.padding -= padding;
        let bytes = u64::from(take) + u64::from(padding);
        match frame.payload {
            Payload::Body => self.streams.unread(frame.stream, bytes, take > 0, way.context.is_request()),
            Payload::Block => {
                let lane = self.lane(way.context);
                if let Some(draft) = &mut lane.draft {
                    draft.headers.bytes += bytes;
                    if take > 0 {
                        draft.broken = true;
                        lane.hpack.forget();
                    }
                }
            }
            Payload::Rest => {}
        }
        self.lane(way.context).phase = Phase::Inside(frame);
        if frame.left == 0 && frame.padding == 0 {
            // What it says of the bytes of its own is of no use here.
            self.frame_ended(frame, 1, way);
        }
        NonZeroU64::new(bytes).map_or(Step::Lost, Step::Consumed)
    }

    /// All of a frame has moved, the last `read` bytes of it with this input.
    fn frame_ended(&mut self, frame: Frame, read: usize, way: &mut Way<'_>) -> Step {
        self.lane(way.context).phase = Phase::Between;
        match frame.payload {
            Payload::Body => self.streams.frame_ended(frame.stream, frame.ends, way),
            Payload::Block if frame.ends => {
                if let Err(malformed) = self.block_ended(way) {
                    return Step::Malformed(malformed);
                }
            }
            Payload::Block | Payload::Rest => {}
        }
        consumed(read)
    }

    /// A header block is whole, or as whole as it will be.
    fn block_ended(&mut self, way: &mut Way<'_>) -> Result<(), Malformed> {
        let lane = self.lane(way.context);
        let Some(Draft { mut headers, promise, broken, .. }) = lane.draft.take() else { return Ok(()) };
        lane.decoded = true;
        if !lane.hpack.end() && !broken {
            return Err(Malformed { field: "header block", kind: "ends within a field" });
        }
        if broken {
            headers.fields.tear();
        }
        match (promise, way.context.is_request()) {
            (true, _) => self.streams.pushed(headers, way),
            (false, true) => self.streams.requested(headers, way),
            (false, false) => self.streams.answered(headers, way),
        }
        Ok(())
    }

    /// The framing of a direction is lost; `counted`: whoever noticed it counts what was missed.
    fn lost(&mut self, counted: bool, way: &mut Way<'_>) {
        let lane = self.lane(way.context);
        lane.phase = Phase::Apart;
        lane.hpack.forget();
        if let Some(draft) = &mut lane.draft {
            draft.broken = true;
            // It cannot be refused: it is broken already.
            let _ = self.block_ended(way);
        }
        self.streams.lost(way.context.is_request(), counted);
    }
}

const OUT_OF_ORDER: Malformed = Malformed { field: "type", kind: "is not CONTINUATION, within a header block" };

impl Draft {
    /// RFC 9113, section 6.10: nothing may come between the frames of a block.
    fn goes_on(&self, header: Header) -> bool {
        header.kind == Kind::Continuation && header.stream == self.carrier
    }
}

/// So many bytes are needed.
fn need(wanted: usize, have: &[u8]) -> Step {
    NonZeroU64::new(wanted.saturating_sub(have.len()) as u64).map_or(Step::Lost, Step::NeedMore)
}

/// The one begins like the other, as far as it goes.
fn agrees(bytes: &[u8], text: &[u8]) -> bool {
    bytes.iter().zip(text).all(|(have, want)| have == want)
}

/// The first four bytes, big-endian.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
