//! Calls of gRPC-Web: requests of which the body is messages, and answers with their status behind those.
//!
//! They go by number, because gRPC pairs by id: each is numbered as it is asked, and answered in order. What a body holds is
//! [`grpc::Body`]'s to know. Absent: calls behind more unanswered requests than are remembered; they are plain HTTP.

use crate::flow::message::{Message, MessageKind, Part};
use crate::protocols::grpc::{self, Body, Flavor};

/// Numbers of calls.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    asked: u64,
    answered: u64,
}

impl Numbers {
    pub(super) fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    pub(super) fn answer(&mut self) -> u64 {
        self.answered += 1;
        self.answered
    }

    /// What was asked will not be answered.
    pub(super) fn reset(&mut self) {
        self.answered = self.asked;
    }
}

/// A request of a call, or an answer to one, while its body is read.
#[derive(Debug)]
pub(super) struct Call {
    id: u64,
    /// Status of HTTP, of an answer.
    http: Option<u16>,
    /// The status of the call, where the head has it.
    status: Option<u32>,
    body: Option<Body>,
}

impl Call {
    /// Makes a request one of gRPC.
    pub(super) fn request(id: u64, flavor: Flavor, message: &mut Message) -> Self {
        grpc::renamed(&mut message.method, &mut message.target);
        let call = Self { id, http: None, status: None, body: Some(Body::new(flavor)) };
        call.name(message);
        call
    }

    /// Makes an answer one of gRPC; `flavor`: none if it is no body of messages.
    pub(super) fn response(
        id: u64,
        http: u16,
        flavor: Option<Flavor>,
        status: Option<u32>,
        message: &mut Message,
    ) -> Self {
        let call = Self { id, http: Some(http), status, body: flavor.map(Body::new) };
        call.name(message);
        call
    }

    pub(super) fn body(&mut self) -> Option<&mut Body> {
        self.body.as_mut()
    }

    pub(super) fn gap(&mut self) {
        self.body.iter_mut().for_each(Body::gap);
    }

    /// What a beginning says of itself: no status yet.
    fn name(&self, message: &mut Message) {
        message.id = self.id;
        grpc::ended(message, None);
    }

    /// What is known at the end of the body, in the message that ends it.
    pub(super) fn end(&self, message: &mut Message) {
        self.name(message);
        if message.part == Part::Head {
            return;
        }
        message.messages = self.body.as_ref().map_or(0, Body::messages);
        if message.kind == MessageKind::Response {
            // Without trailers there is no status, but where HTTP says that it went wrong (http-grpc-status-mapping.md).
            let of_http = self.http.filter(|code| *code != 200).map(grpc::status::of_http);
            let status = self.status.or_else(|| self.body.as_ref().and_then(Body::status)).or(of_http);
            grpc::ended(message, status);
        }
    }
}
