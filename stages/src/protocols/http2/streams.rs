//! Streams: what each has said so far, and the messages that it makes (RFC 9113, sections 5 and 8.1).
//!
//! Life cycle of a stream: it begins with its request (or, joined late, with the first of its answer), and is let go when both
//! sides have ended, when it is reset, when the server says that it will not be served, with the connection, or when
//! [`MAX_STREAMS`] others are open. What is let go before its end is reported as it stands.
//!
//! An answer whose status is in its trailers (gRPC) has no status in its head. A request of which only the content type
//! could tell whether it is gRPC, and that is unknown (joined late), waits for the first of its body or its answer to tell.

use super::fields::Block;
use crate::flow::conn::Direction;
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::grpc::{self, Flavor};
use crate::protocols::{Context, Protocol, Sink};
use crate::text::{Text, Token};
use crate::time::Nanos;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// Streams that are followed on one connection; past that, the one opened first is let go.
pub const MAX_STREAMS: usize = 1_024;

/// Of a call that only its body shows to be one: its trailers are looked for at both places, and none are made up.
const INFERRED: Flavor = Flavor::Web;

/// A header block that has ended.
#[derive(Debug)]
pub(super) struct Headers {
    pub(super) fields: Block,
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) start: Nanos,
    pub(super) bytes: u64,
}

/// How far a side of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing came.
    #[default]
    Due,
    /// Its head went out.
    Open,
    /// Its body came, its head was missing.
    Headless,
    Over,
}

/// One direction of a stream.
#[derive(Debug, Default)]
struct Side {
    stage: Stage,
    start: Nanos,
    bytes: u64,
    cut: bool,
    body: Option<grpc::Body>,
}

#[derive(Debug, Default)]
struct Stream {
    /// It is a call of gRPC.
    flavor: Option<Flavor>,
    /// Status of the answer's head, of HTTP and, where that one has it already, of gRPC.
    http: Option<u16>,
    early: Option<u32>,
    request: Side,
    response: Side,
    /// Something of the answer's direction was lost while it was due.
    doubtful: bool,
    /// It may be a call of gRPC: then 200 says nothing of how it went.
    perhaps: bool,
    /// The request, while it is not known whether it is a call of gRPC.
    held: Option<Box<Message>>,
}

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u32, Stream, foldhash::fast::RandomState>,
    /// The first request seen since some may have been missed, and the last: a stream between them that is not open is over.
    first: Option<u32>,
    last: u32,
    /// Calls of gRPC were seen.
    calls: bool,
}

/// Where messages go, and when and which way the input moved.
pub(super) struct Way<'a> {
    pub(super) context: Context,
    pub(super) sink: &'a mut dyn Sink,
}

impl Way<'_> {
    fn requests(&self) -> Direction {
        if self.context.is_request() { self.context.direction } else { self.context.direction.reverse() }
    }

    fn message(&self, kind: MessageKind, part: Part, id: u32, start: Nanos) -> Message {
        let direction = if kind == MessageKind::Request { self.requests() } else { self.requests().reverse() };
        let mut message = Message::new(kind, part, Protocol::Http2, direction, start);
        message.end = self.context.at.max(start);
        message.id = u64::from(id);
        message
    }
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
        let Headers { fields, stream: id, end_stream, start, bytes } = headers;
        self.make_room(way);
        let part = if end_stream { Part::Whole } else { Part::Head };
        let mut message = way.message(MessageKind::Request, part, id, start);
        message.cut = fields.unknown && (fields.method.is_empty() || fields.path.is_empty());
        message.bytes = bytes;
        message.method = fields.method;
        message.target = fields.path;
        let mut stream = Stream::default();
        let side = &mut stream.request;
        (side.start, side.bytes, side.cut) = (start, bytes, message.cut);
        side.stage = if end_stream { Stage::Over } else { Stage::Open };
        let post = message.method.is_empty() || message.method == "POST";
        match fields.content_type {
            Some(Some(flavor)) => {
                stream.call(flavor, &mut message);
                self.calls = true;
                way.sink.message(message);
            }
            None if fields.unknown && post && !end_stream => {
                side.body = Some(grpc::Body::new(Flavor::Native));
                stream.held = Some(Box::new(message));
                stream.perhaps = true;
            }
            _ => way.sink.message(message),
        }
        self.open.insert(id, stream);
    }

    /// A header block that the server sent: an answer, an interim one, or trailers.
    pub(super) fn answered(&mut self, headers: Headers, way: &mut Way<'_>) {
        let Headers { fields, stream: id, end_stream, start, bytes } = headers;
        if !self.open.contains_key(&id) {
            if self.is_past(id) || fields.trailers {
                return;
            }
            // Its request is not known: joined late, or told by who was here before (h2c).
            self.make_room(way);
            let mut stream = Stream { flavor: fields.content_type.flatten(), ..Stream::default() };
            stream.request.stage = Stage::Over;
            self.open.insert(id, stream);
        }
        if let Some(flavor) = fields.content_type {
            self.decide(id, flavor, way);
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
        if stream.response.stage == Stage::Due {
            stream.response.start = start;
            stream.http = fields.status;
            stream.early = fields.grpc_status;
            stream.response.cut |= fields.status.is_none() && fields.unknown;
            stream.response.stage = if end_stream { Stage::Headless } else { Stage::Open };
            if !end_stream {
                self.undecided(id, way);
                self.head(id, way);
            }
        }
        if end_stream {
            self.ended(id, false, Some(&fields), way);
        }
    }

    /// The head of an answer goes out.
    fn head(&mut self, id: u32, way: &mut Way<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let side = &mut stream.response;
        let mut message = way.message(MessageKind::Response, Part::Head, id, side.start);
        (message.bytes, message.cut) = (side.bytes, side.cut);
        if let Some(flavor) = stream.flavor {
            side.body = Some(grpc::Body::new(flavor));
            grpc::ended(&mut message, None);
        } else {
            http(&mut message, stream.shown());
        }
        way.sink.message(message);
    }

    /// A frame of a body begins, `bytes` of it are header and the like.
    pub(super) fn framed(&mut self, id: u32, bytes: u64, way: &Way<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let request = way.context.is_request();
        let side = if request { &mut stream.request } else { &mut stream.response };
        side.bytes += bytes;
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
        if way.context.is_request() {
            let Some(stream) = self.open.get(&id) else { return };
            if stream.held.is_some() {
                let body = stream.request.body.as_ref();
                let call = body.is_some_and(|body| body.looks_native() && (self.calls || body.is_between()));
                self.decide(id, call.then_some(INFERRED), way);
            }
        }
        if end_stream {
            self.ended(id, way.context.is_request(), None, way);
        }
    }

    /// It is known whether a request that was held is a call of gRPC.
    fn decide(&mut self, id: u32, flavor: Option<Flavor>, way: &mut Way<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.perhaps = false;
        let Some(mut message) = stream.held.take() else { return };
        match flavor {
            Some(flavor) => {
                self.calls = true;
                stream.call(flavor, &mut message);
            }
            None => stream.request.body = None,
        }
        way.sink.message(*message);
    }

    /// Nothing more will tell: it is taken for what went before on the connection.
    fn undecided(&mut self, id: u32, way: &mut Way<'_>) {
        let perhaps = self.open.get(&id).is_some_and(|stream| stream.perhaps);
        if perhaps {
            self.decide(id, self.calls.then_some(INFERRED), way);
            if let Some(stream) = self.open.get_mut(&id) {
                stream.perhaps = !self.calls;
            }
        }
    }

    /// A side has ended, with trailers or without.
    fn ended(&mut self, id: u32, request: bool, trailers: Option<&Block>, way: &mut Way<'_>) {
        self.undecided(id, way);
        let Some(stream) = self.open.get_mut(&id) else { return };
        if request {
            stream.request_ended(id, way);
        } else {
            let status = stream.flavor.map(|_| stream.status(trailers));
            stream.response_ended(id, status, way);
        }
        if stream.request.stage == Stage::Over && stream.response.stage == Stage::Over {
            self.open.remove(&id);
        }
    }

    /// RST_STREAM (section 6.4).
    pub(super) fn reset(&mut self, id: u32, error: u32, way: &mut Way<'_>) {
        self.undecided(id, way);
        if let Some(mut stream) = self.open.remove(&id) {
            stream.broken_off(id, grpc::status::of_reset(error), way);
        }
    }

    /// GOAWAY (section 6.8): requests behind `last` are not served.
    pub(super) fn go_away(&mut self, last: u32, way: &mut Way<'_>) {
        for id in self.ids(|id, _| id % 2 == 1 && id > last) {
            self.undecided(id, way);
            if let Some(mut stream) = self.open.remove(&id) {
                stream.broken_off(id, grpc::status::UNAVAILABLE, way);
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
        self.undecided(id, way);
        let Some(mut stream) = self.open.remove(&id) else { return };
        if stream.request.stage == Stage::Open {
            stream.request.cut = true;
            stream.request_ended(id, way);
        }
        let begun = matches!(stream.response.stage, Stage::Open | Stage::Headless);
        if begun || (stream.doubtful && stream.response.stage == Stage::Due) {
            stream.response.cut = true;
            let status = stream.flavor.map(|_| None);
            stream.response_ended(id, status, way);
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

impl Stream {
    /// It is a call: the request says so.
    fn call(&mut self, flavor: Flavor, message: &mut Message) {
        self.flavor = Some(flavor);
        if self.request.body.is_none() {
            self.request.body = Some(grpc::Body::new(flavor));
        }
        message.protocol = Protocol::Grpc;
        message.method = Token::from("POST");
        message.target = Text::from_wire(grpc::target(message.target.as_bytes()));
    }

    fn protocol(&self) -> Protocol {
        if self.flavor.is_some() { Protocol::Grpc } else { Protocol::Http2 }
    }

    /// What is said of the status of HTTP.
    fn shown(&self) -> Option<u16> {
        self.http.filter(|code| !self.perhaps || *code != 200)
    }

    /// The status of a call at its end; `None`: not known.
    fn status(&self, trailers: Option<&Block>) -> Option<u32> {
        if let Some(status) = trailers.and_then(|block| block.grpc_status).or(self.early) {
            return Some(status);
        }
        let in_body = self.response.body.as_ref().and_then(grpc::Body::status);
        let in_doubt = trailers.is_some_and(|block| block.unknown) || self.response.cut;
        let web = self.flavor != Some(Flavor::Native);
        match self.http {
            _ if in_body.is_some() => in_body,
            Some(200) if web => None,
            Some(code) if !in_doubt => Some(grpc::status::of_http(code)),
            _ => None,
        }
    }

    fn request_ended(&mut self, id: u32, way: &mut Way<'_>) {
        let protocol = self.protocol();
        let side = &mut self.request;
        if side.stage == Stage::Over {
            return;
        }
        side.stage = Stage::Over;
        let mut message = way.message(MessageKind::Request, Part::End, id, side.start);
        message.protocol = protocol;
        (message.bytes, message.cut) = (side.bytes, side.cut);
        message.messages = side.body.as_ref().map_or(0, grpc::Body::messages);
        way.sink.message(message);
    }

    /// `status`: of a call, as far as it is known.
    fn response_ended(&mut self, id: u32, status: Option<Option<u32>>, way: &mut Way<'_>) {
        let (protocol, shown) = (self.protocol(), self.shown());
        let side = &mut self.response;
        let part = if side.stage == Stage::Open { Part::End } else { Part::Whole };
        if side.stage == Stage::Due {
            side.start = way.context.at;
        }
        side.stage = Stage::Over;
        let mut message = way.message(MessageKind::Response, part, id, side.start);
        message.protocol = protocol;
        (message.bytes, message.cut) = (side.bytes, side.cut);
        message.messages = side.body.as_ref().map_or(0, grpc::Body::messages);
        match status {
            Some(status) => grpc::ended(&mut message, status),
            None if part == Part::Whole => http(&mut message, shown),
            None => {}
        }
        way.sink.message(message);
    }

    /// It was broken off by one of both sides: what a call has for that is a status.
    fn broken_off(&mut self, id: u32, status: u32, way: &mut Way<'_>) {
        if self.request.stage == Stage::Open {
            self.request.cut = true;
            self.request_ended(id, way);
        }
        match (self.response.stage, self.flavor) {
            (Stage::Over, _) => {}
            (_, Some(_)) => {
                // Who is told by HTTP already that it failed does not wait for the rest.
                let failed = self.http.filter(|code| *code != 200).map(grpc::status::of_http);
                self.response_ended(id, Some(Some(failed.or(self.early).unwrap_or(status))), way);
            }
            (_, None) => self.aborted(id, way),
        }
    }

    fn aborted(&mut self, id: u32, way: &mut Way<'_>) {
        let side = &mut self.response;
        let part = if side.stage == Stage::Open { Part::End } else { Part::Whole };
        let start = if side.stage == Stage::Due { way.context.at } else { side.start };
        let mut message = way.message(MessageKind::Response, part, id, start);
        (message.bytes, message.cut, message.aborted) = (side.bytes, side.cut, true);
        way.sink.message(message);
    }
}

/// Writes a status code of HTTP into an answer.
fn http(message: &mut Message, code: Option<u16>) {
    let Some(code) = code else { return };
    message.code = Token::from_number(code.into());
    message.status = if code < 400 { Status::Ok } else { Status::Error };
}
