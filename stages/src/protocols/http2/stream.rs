//! One stream: what it has said so far, and the messages that it makes of that (RFC 9113, section 8.1).
//!
//! An answer whose status is in its trailers (gRPC), or may be there, has no status in its head. Absent: which streams there are; that is in
//! `streams`.

use super::fields::Block;
use super::nature::{Carried, Nature, Outcome};
use crate::flow::conn::Direction;
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::grpc::{self, Flavor};
use crate::protocols::{Context, Protocol, Sink};
use crate::text::Token;
use crate::time::Nanos;

/// A header block that has ended.
#[derive(Debug)]
pub(super) struct Headers {
    pub(super) fields: Block,
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) start: Nanos,
    pub(super) bytes: u64,
}

/// Reads bodies of gRPC as well: trailers have a flag there that no message has.
const UNKNOWN_FLAVOR: Flavor = Flavor::Web;

/// How far a side of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
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
pub(super) struct Side {
    pub(super) stage: Stage,
    pub(super) start: Nanos,
    pub(super) bytes: u64,
    pub(super) cut: bool,
    /// Some of a body came.
    pub(super) bodied: bool,
    pub(super) body: Option<grpc::Body>,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) nature: Nature,
    /// Status of the answer's head, of HTTP and, where that one has it already, of gRPC.
    pub(super) http: Option<u16>,
    pub(super) early: Option<u32>,
    pub(super) request: Side,
    pub(super) response: Side,
    /// Something of the answer's direction was lost while it was due.
    pub(super) doubtful: bool,
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

    pub(super) fn message(&self, kind: MessageKind, part: Part, id: u32, start: Nanos) -> Message {
        let direction = if kind == MessageKind::Request { self.requests() } else { self.requests().reverse() };
        let mut message = Message::new(kind, part, Protocol::Http2, direction, start);
        message.end = self.context.at.max(start);
        message.id = u64::from(id);
        message
    }
}

impl Stream {
    /// It is a call: the request says so.
    pub(super) fn call(&mut self, flavor: Flavor, message: &mut Message) {
        self.request.body = Some(grpc::Body::new(flavor));
        message.protocol = Protocol::Grpc;
        grpc::renamed(&mut message.method, &mut message.target);
    }

    fn protocol(&self) -> Protocol {
        match self.nature {
            Nature::Call(_) => Protocol::Grpc,
            Nature::Plain | Nature::Unclear => Protocol::Http2,
        }
    }

    /// How the answer went that ended with the block `last` or with its body.
    pub(super) fn ended(&self, last: Option<&Block>, carried: Carried) -> Outcome {
        match self.nature {
            Nature::Call(flavor) => Outcome::Call(self.status(flavor, last)),
            Nature::Unclear if self.may_be_a_calls() => Outcome::of_unclear_ended(last, !self.response.bodied, carried),
            Nature::Plain | Nature::Unclear => Outcome::Http,
        }
    }

    /// How the answer went that is waited for no longer.
    pub(super) fn let_go(&self, carried: Carried) -> Outcome {
        match self.nature {
            Nature::Call(_) => Outcome::Call(None),
            Nature::Unclear if self.may_be_a_calls() => Outcome::of_unclear(carried),
            Nature::Plain | Nature::Unclear => Outcome::Http,
        }
    }

    /// Servers of gRPC answer with 200; what else comes is from in front of them, and HTTP's word on how it went.
    fn may_be_a_calls(&self) -> bool {
        self.http.is_none_or(|code| code == 200)
    }

    /// The status of a call at its end; `None`: not known.
    fn status(&self, flavor: Option<Flavor>, trailers: Option<&Block>) -> Option<u32> {
        if let Some(status) = trailers.and_then(|block| block.grpc_status).or(self.early) {
            return Some(status);
        }
        let in_body = self.response.body.as_ref().and_then(grpc::Body::status);
        let in_doubt = trailers.is_some_and(|block| block.unknown) || self.response.cut;
        let web = flavor != Some(Flavor::Native);
        match self.http {
            _ if in_body.is_some() => in_body,
            Some(200) if web => None,
            Some(code) if !in_doubt => Some(grpc::status::of_http(code)),
            _ => None,
        }
    }

    /// The head of an answer goes out.
    pub(super) fn head(&mut self, id: u32, way: &mut Way<'_>) {
        let messages = self.may_be_a_calls();
        let side = &mut self.response;
        let mut message = way.message(MessageKind::Response, Part::Head, id, side.start);
        (message.bytes, message.cut) = (side.bytes, side.cut);
        match self.nature {
            Nature::Call(flavor) => {
                // What HTTP says that went wrong has a body of its own.
                side.body = messages.then(|| grpc::Body::new(flavor.unwrap_or(UNKNOWN_FLAVOR)));
                grpc::ended(&mut message, None);
            }
            Nature::Unclear if messages => side.body = Some(grpc::Body::new(UNKNOWN_FLAVOR)),
            Nature::Plain | Nature::Unclear => http(&mut message, self.http),
        }
        way.sink.message(message);
    }

    pub(super) fn request_ended(&mut self, id: u32, way: &mut Way<'_>) {
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

    pub(super) fn response_ended(&mut self, id: u32, outcome: Outcome, way: &mut Way<'_>) {
        let side = &mut self.response;
        let part = if side.stage == Stage::Open { Part::End } else { Part::Whole };
        if side.stage == Stage::Due {
            side.start = way.context.at;
        }
        side.stage = Stage::Over;
        let mut message = way.message(MessageKind::Response, part, id, side.start);
        (message.bytes, message.cut) = (side.bytes, side.cut);
        match outcome {
            Outcome::Call(status) => {
                message.messages = side.body.as_ref().map_or(0, grpc::Body::messages);
                grpc::ended(&mut message, status);
            }
            Outcome::Http if part == Part::Whole || self.nature == Nature::Unclear => http(&mut message, self.http),
            Outcome::Http | Outcome::Untold => {}
        }
        way.sink.message(message);
    }

    /// It was broken off by one of both sides: what a call has for that is a status.
    pub(super) fn broken_off(&mut self, id: u32, status: u32, carried: Carried, way: &mut Way<'_>) {
        if self.request.stage == Stage::Open {
            self.request.cut = true;
            self.request_ended(id, way);
        }
        let call = match self.nature {
            Nature::Call(_) => true,
            Nature::Unclear => self.may_be_a_calls() && carried.only_calls(),
            Nature::Plain => false,
        };
        match self.response.stage {
            Stage::Over => {}
            _ if call => {
                // Who is told by HTTP already that it failed does not wait for the rest.
                let failed = self.http.filter(|code| *code != 200).map(grpc::status::of_http);
                self.response_ended(id, Outcome::Call(Some(failed.or(self.early).unwrap_or(status))), way);
            }
            _ => self.aborted(id, way),
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
