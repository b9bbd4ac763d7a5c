//! The streams of a connection (RFC 9113, section 5): which are open, and what happens to them.
//!
//! Life cycle of a stream: it begins with its request (or, joined late, with the first of its answer), and is let go when both
//! sides have ended, when it is reset, when the server says that it will not be served, with the connection, or when
//! [`MAX_STREAMS`] others are open. What is let go before its end is reported as it stands.
//!
//! Absent: what one stream makes of what it hears; that is in `stream`, and what makes it a call of gRPC in `nature`.

use super::fields::Block;
use super::nature::{Carried, Nature};
use super::stream::{Headers, Side, Stage, Stream, Way};
use crate::flow::message::{MessageKind, Part};
use crate::protocols::grpc;
use crate::text::Token;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// Streams that are followed on one connection; past that, the one opened first is let go.
pub const MAX_STREAMS: usize = 1_024;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u32, Stream, foldhash::fast::RandomState>,
    carried: Carried,
    /// The first request seen since some may have been missed, and the last: a stream between them that is not open is over.
    first: Option<u32>,
    last: u32,
}

impl Streams {
    /// The client begins; `again`: after a connection that was whole. (Its first stream may be there before, by an upgrade.)
    pub(super) fn begin(&mut self, again: bool) {
        *self = Self { open: std::mem::take(&mut self.open), ..Self::default() };
        if again {
            self.open.clear();
        }
    }

    /// A stream is over and forgotten.
    fn is_past(&self, id: u32) -> bool {
        !self.open.contains_key(&id) && id % 2 == 1 && id <= self.last && self.first.is_some_and(|first| id >= first)
    }

    /// A header block that the client sent.
    pub(super) fn requested(&mut self, headers: Headers, way: &mut Way<'_>) {
        let id = headers.stream;
        if let Some(stream) = self.open.get_mut(&id).filter(|stream| stream.request.stage != Stage::Due) {
            stream.request.bytes += headers.bytes;
            if headers.end_stream {
                self.ended(id, true, None, way);
            }
            return;
        }
        if headers.fields.trailers || self.is_past(id) {
            return;
        }
        self.first.get_or_insert(id);
        self.last = self.last.max(id);
        self.request(headers, way);
    }

    /// A request that the server makes for the client (PUSH_PROMISE, section 8.4). It is whole.
    pub(super) fn pushed(&mut self, headers: Headers, way: &mut Way<'_>) {
        self.request(Headers { end_stream: true, ..headers }, way);
    }

    fn request(&mut self, headers: Headers, way: &mut Way<'_>) {
        let Headers { mut fields, stream: id, end_stream, start, bytes } = headers;
        self.make_room(way);
        let part = if end_stream { Part::Whole } else { Part::Head };
        let mut message = way.message(MessageKind::Request, part, id, start);
        message.cut = fields.unknown && (fields.method.is_empty() || fields.path.is_empty());
        message.bytes = bytes;
        let mut stream = Stream { nature: Nature::of_request(&fields), ..Stream::default() };
        self.carried.note(stream.nature);
        let side = &mut stream.request;
        (side.start, side.bytes, side.cut) = (start, bytes, message.cut);
        side.stage = if end_stream { Stage::Over } else { Stage::Open };
        message.method = fields.method;
        message.target = fields.path;
        message.trace = fields.trace.finish();
        if let Nature::Call(Some(flavor)) = stream.nature {
            stream.call(flavor, &mut message);
        }
        way.sink.message(message);
        self.open.insert(id, stream);
    }

    /// A header block that the server sent: an answer, an interim one, or trailers.
    pub(super) fn answered(&mut self, headers: Headers, way: &mut Way<'_>) {
        let Headers { fields, stream: id, end_stream, start, bytes } = headers;
        if !self.open.contains_key(&id) {
            let mut nature = Nature::Unclear;
            nature.learn(&fields, !fields.trailers);
            match nature {
                Nature::Call(_) => self.carried.note(nature),
                Nature::Plain | Nature::Unclear => nature = Nature::Plain,
            }
            if self.is_past(id) || fields.trailers {
                return;
            }
            // Its request is not known: joined late, or told by who was here before (h2c).
            self.make_room(way);
            let mut stream = Stream { nature, ..Stream::default() };
            stream.request.stage = Stage::Over;
            self.open.insert(id, stream);
        }
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.doubtful = false;
        stream.response.bytes += bytes;
        let interim = fields.status.is_some_and(|code| code < 200) && !end_stream;
        if interim {
            let mut message = way.message(MessageKind::Interim, Part::Whole, id, start);
            (message.bytes, message.code) = (bytes, Token::from_number(fields.status.unwrap_or(0).into()));
            way.sink.message(message);
            return;
        }
        stream.nature.learn(&fields, stream.response.stage == Stage::Due);
        if let Nature::Call(_) = stream.nature {
            self.carried.note(stream.nature);
        }
        if stream.response.stage == Stage::Due {
            stream.response.start = start;
            stream.http = fields.status;
            stream.early = fields.grpc_status;
            stream.response.cut |= fields.status.is_none() && fields.unknown;
            stream.response.stage = if end_stream { Stage::Headless } else { Stage::Open };
            if !end_stream {
                stream.head(id, way);
            }
        }
        if end_stream {
            self.ended(id, false, Some(&fields), way);
        }
    }

    /// A frame of a body begins, `bytes` of it are header and the like.
    pub(super) fn framed(&mut self, id: u32, bytes: u64, way: &Way<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let request = way.context.is_request();
        let side = if request { &mut stream.request } else { &mut stream.response };
        side.bytes += bytes;
        side.bodied = true;
        if !request && side.stage == Stage::Due {
            (side.stage, side.start, side.cut) = (Stage::Headless, way.context.start, true);
            stream.doubtful = false;
        }
    }

    /// Content of a body.
    pub(super) fn content(&mut self, id: u32, bytes: &[u8], request: bool) {
        let Some(side) = self.side(id, request) else { return };
        side.bytes += bytes.len() as u64;
        if let Some(body) = &mut side.body {
            body.bytes(bytes);
        }
    }

    /// Padding, or content that was not captured.
    pub(super) fn unread(&mut self, id: u32, bytes: u64, content: bool, request: bool) {
        let Some(side) = self.side(id, request) else { return };
        side.bytes = side.bytes.saturating_add(bytes);
        if content {
            side.cut = true;
            side.body.iter_mut().for_each(grpc::Body::gap);
        }
    }

    fn side(&mut self, id: u32, request: bool) -> Option<&mut Side> {
        let stream = self.open.get_mut(&id)?;
        Some(if request { &mut stream.request } else { &mut stream.response })
    }

    /// A frame of a body ends.
    pub(super) fn frame_ended(&mut self, id: u32, end_stream: bool, way: &mut Way<'_>) {
        if end_stream {
            self.ended(id, way.context.is_request(), None, way);
        }
    }

    /// A side has ended, with the block `last` or with its body.
    fn ended(&mut self, id: u32, request: bool, last: Option<&Block>, way: &mut Way<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        if request {
            stream.request_ended(id, way);
        } else {
            if last.is_none() && stream.nature == Nature::Call(None) {
                self.carried.ended_with_body();
            }
            let outcome = stream.ended(last, self.carried);
            stream.response_ended(id, outcome, way);
        }
        if stream.request.stage == Stage::Over && stream.response.stage == Stage::Over {
            self.open.remove(&id);
        }
    }

    /// RST_STREAM (section 6.4).
    pub(super) fn reset(&mut self, id: u32, error: u32, way: &mut Way<'_>) {
        if let Some(mut stream) = self.open.remove(&id) {
            stream.broken_off(id, grpc::status::of_reset(error), self.carried, way);
        }
    }

    /// GOAWAY (section 6.8): requests behind `last` are not served.
    pub(super) fn go_away(&mut self, last: u32, way: &mut Way<'_>) {
        for id in self.ids(|id, _| id % 2 == 1 && id > last) {
            if let Some(mut stream) = self.open.remove(&id) {
                stream.broken_off(id, grpc::status::UNAVAILABLE, self.carried, way);
            }
        }
    }

    /// Something of a direction went by unseen.
    pub(super) fn lost(&mut self, request: bool, counted: bool) {
        if request {
            self.first = None;
        }
        for stream in self.open.values_mut() {
            let side = if request { &mut stream.request } else { &mut stream.response };
            match side.stage {
                Stage::Over => continue,
                Stage::Due => stream.doubtful |= !request && !counted,
                Stage::Open | Stage::Headless => {}
            }
            side.cut = true;
            side.body.iter_mut().for_each(grpc::Body::gap);
        }
    }

    /// The direction of the answers has ended: what is open is reported as it stands.
    pub(super) fn close(&mut self, way: &mut Way<'_>) {
        for id in self.ids(|_, _| true) {
            self.let_go(id, way);
        }
    }

    /// Room for one more.
    fn make_room(&mut self, way: &mut Way<'_>) {
        if self.open.len() >= MAX_STREAMS
            && let Some(oldest) = self.open.keys().min().copied()
        {
            if let Some(stream) = self.open.get_mut(&oldest) {
                stream.doubtful = true;
            }
            self.let_go(oldest, way);
        }
    }

    fn let_go(&mut self, id: u32, way: &mut Way<'_>) {
        let Some(mut stream) = self.open.remove(&id) else { return };
        if stream.request.stage == Stage::Open {
            stream.request.cut = true;
            stream.request_ended(id, way);
        }
        let begun = matches!(stream.response.stage, Stage::Open | Stage::Headless);
        if begun || (stream.doubtful && stream.response.stage == Stage::Due) {
            stream.response.cut = true;
            let outcome = stream.let_go(self.carried);
            stream.response_ended(id, outcome, way);
        }
    }

    /// In order, those that are wanted.
    fn ids(&self, wanted: impl Fn(u32, &Stream) -> bool) -> SmallVec<[u32; 32]> {
        let mut ids: SmallVec<[u32; 32]> =
            self.open.iter().filter(|(id, stream)| wanted(**id, stream)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}
