//! Streams of which the request's content type goes by a number that was given before anybody listened.

use super::*;
use Status::{Error, Ok, Unknown};

/// A field of the dynamic table far behind what was seen.
const UNSEEN: u8 = 0xfd;
/// `:status: 200`.
const OK: u8 = 0x88;

/// A literal that is not inserted, its name spelt out.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, name.len() as u8];
    field.extend_from_slice(name.as_bytes());
    field.push(value.len() as u8);
    field.extend_from_slice(value.as_bytes());
    field
}

fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A connection that was joined late.
struct Late(Drive<Http2>);

impl Late {
    fn new() -> Self {
        Self(Drive::new(Transport::Tcp))
    }

    /// A request of `POST` with these fields behind its path, and a message as its body.
    fn asks(&mut self, stream: u32, rest: &[u8]) -> &mut Self {
        self.asks_with(stream, 0x83, rest)
    }

    fn asks_with(&mut self, stream: u32, method: u8, rest: &[u8]) -> &mut Self {
        let head = [&[method, 0x86][..], &field(":path", "/shop.Orders/Get?a=b"), rest].concat();
        self.0.turn(Egress);
        self.0.bytes(Egress, &frame_of(1, 0x4, stream, &head));
        self.0.bytes(Egress, &frame_of(0, 0x1, stream, b"\0\0\0\0\x01q"));
        self
    }

    /// Its answer: a head; a body of two messages, which may be the end; and trailers.
    fn says(&mut self, stream: u32, head: &[u8], body: bool, trailers: Option<&[u8]>) -> &mut Self {
        let end = |last: bool| u8::from(last);
        self.0.turn(Ingress);
        self.0.bytes(Ingress, &frame_of(1, 0x4 | end(!body && trailers.is_none()), stream, head));
        if body {
            self.0.bytes(Ingress, &frame_of(0, end(trailers.is_none()), stream, b"\0\0\0\0\x01a\0\0\0\0\x01b"));
        }
        if let Some(trailers) = trailers {
            self.0.bytes(Ingress, &frame_of(1, 0x5, stream, trailers));
        }
        self
    }

    fn resets(&mut self, stream: u32) -> &mut Self {
        self.0.bytes(Egress, &frame_of(3, 0, stream, &[0, 0, 0, 8]));
        self
    }

    fn calls(&self) -> Vec<Call> {
        assert_eq!(self.0.refusals, 0);
        paired(&folded(&self.0.out.0))
    }

    /// Protocol, target, how it went and messages of the answer of one stream, which is reported once.
    fn told(&self, stream: u32) -> (&'static str, String, Option<(Status, String)>, u32) {
        let calls = self.calls();
        let mut of_stream = calls.iter().filter(|call| call.id == u64::from(stream));
        let call = of_stream.next().expect("it is reported");
        assert!(of_stream.next().is_none(), "once: {calls:?}");
        (call.protocol.name(), call.target.clone(), call.answer.clone(), call.messages.1)
    }
}

fn grpc(status: Status, code: &str, messages: u32) -> (&'static str, String, Option<(Status, String)>, u32) {
    ("grpc", "shop.Orders/Get".to_owned(), Some((status, code.to_owned())), messages)
}

fn http2(status: Status, code: &str) -> (&'static str, String, Option<(Status, String)>, u32) {
    ("http2", "/shop.Orders/Get?a=b".to_owned(), Some((status, code.to_owned())), 0)
}

#[test]
fn an_answer_that_shows_a_call_makes_it_one_with_its_own_status() {
    let seven = fields(&[("grpc-status", "7")]);
    let message = [&[UNSEEN][..], &field("grpc-message", "no")].concat();
    let typed = [&[OK, UNSEEN][..], &field("content-type", "application/grpc+proto")].concat();
    let unread = [OK, UNSEEN];
    for (head, body, trailers, want) in [
        // At its end.
        (&unread[..], true, Some(&seven[..]), grpc(Error, "7", 2)),
        (&unread, true, Some(&fields(&[("grpc-status", "0")])), grpc(Ok, "0", 2)),
        (&unread, false, Some(&seven), grpc(Error, "7", 0)),
        (&unread, true, Some(&message), grpc(Unknown, "", 2)),
        // With its head.
        (&typed, true, Some(&[UNSEEN]), grpc(Unknown, "", 2)),
        (&typed, true, Some(&seven), grpc(Error, "7", 2)),
        ([&unread[..], &field("grpc-encoding", "gzip")].concat().as_slice(), true, Some(&seven), grpc(Error, "7", 2)),
        // With its head, which is its end.
        ([&unread[..], &seven].concat().as_slice(), false, None, grpc(Error, "7", 0)),
        ([&unread[..], &message].concat().as_slice(), false, None, grpc(Unknown, "", 0)),
        (&typed, false, None, grpc(Unknown, "", 0)),
    ] {
        let mut late = Late::new();
        late.asks(1, &[UNSEEN, UNSEEN]).says(1, head, body, trailers);
        assert_eq!(late.told(1), want, "{head:?} {body} {trailers:?}");
    }
}

#[test]
fn what_is_no_call_stays_what_it_is_whatever_the_answer_holds() {
    let status = fields(&[("grpc-status", "7")]);
    let json = field("content-type", "application/json");
    let head = [&[OK, UNSEEN][..], &status].concat();
    for (method, request, head) in [
        // What Envoy makes of a call for a client of JSON.
        (0x83, [&[UNSEEN][..], &json].concat(), &head),
        (0x82, vec![UNSEEN], &head),
        // All of it is known: there is no content type.
        (0x83, field("te", "trailers"), &head),
        (0x83, vec![UNSEEN], &[&json[..], &head].concat()),
    ] {
        let mut late = Late::new();
        // `:status` comes first.
        let head = [&[OK][..], &head.iter().copied().filter(|byte| *byte != OK).collect::<Vec<_>>()].concat();
        late.asks_with(1, method, &request).says(1, &head, true, Some(&status));
        assert_eq!(late.told(1), http2(Ok, "200"), "{method:#x} {request:?} {head:?}");
    }
}

#[test]
fn neither_te_nor_the_form_of_path_and_body_are_proof() {
    let mut late = Late::new();
    late.asks(1, &[&field("te", "trailers"), &[UNSEEN][..]].concat()).says(1, &[OK, UNSEEN], true, Some(&[UNSEEN]));
    assert_eq!(late.told(1), http2(Ok, "200"));
}

#[test]
fn without_any_proof_a_200_is_unknown_where_a_call_that_failed_looks_like_it() {
    // The name goes by a number, its value is new.
    let news = [0x0f, 0x70, 1, b'5'];
    for (head, body, trailers, want) in [
        (&[OK, UNSEEN][..], false, None, http2(Unknown, "")),
        (&[OK, UNSEEN], false, Some(&[UNSEEN][..]), http2(Unknown, "")),
        (&[OK, UNSEEN], true, Some(&news), http2(Unknown, "")),
        (&[OK, UNSEEN], true, Some(&[UNSEEN]), http2(Ok, "200")),
        (&[OK, UNSEEN], true, None, http2(Ok, "200")),
        (&[OK], false, None, http2(Ok, "200")),
        (&[0x8d, UNSEEN], false, None, http2(Error, "404")),
    ] {
        let mut late = Late::new();
        late.asks(1, &[UNSEEN]).says(1, head, body, trailers);
        assert_eq!(late.told(1), want, "{head:?} {body} {trailers:?}");
    }
}

/// Stream 3, on a connection of which stream 1 was a call.
fn behind_a_call(then: impl Fn(&mut Late)) -> Late {
    let mut late = Late::new();
    late.asks(1, &[UNSEEN]).says(1, &[OK, UNSEEN], true, Some(&fields(&[("grpc-status", "0")])));
    then(&mut late);
    late
}

#[test]
fn on_a_connection_of_calls_what_cannot_be_read_is_a_call_of_unknown_status() {
    for (head, body, trailers, want) in [
        (&[OK, UNSEEN][..], true, Some(&[UNSEEN][..]), grpc(Unknown, "", 2)),
        (&[OK, UNSEEN], false, None, grpc(Unknown, "", 0)),
        (&[UNSEEN, UNSEEN], false, None, grpc(Unknown, "", 0)),
        // No call of gRPC ends so, and this one's status is HTTP's.
        (&[OK, UNSEEN], true, None, http2(Ok, "200")),
        (&[OK], true, Some(&field("etag", "7")), http2(Ok, "200")),
        (&[0x8e, UNSEEN], true, None, http2(Error, "500")),
    ] {
        let late = behind_a_call(|late| {
            late.asks(3, &[UNSEEN]).says(3, head, body, trailers);
        });
        assert_eq!(late.told(3), want, "{head:?} {body} {trailers:?}");
    }
    let late = behind_a_call(|late| {
        late.asks(3, &[UNSEEN]).resets(3);
    });
    assert_eq!(late.told(3), grpc(Error, "1", 0));
}

#[test]
fn on_a_connection_of_both_what_cannot_be_read_is_not_taken_for_a_call_nor_for_a_success() {
    for (trailers, want) in [(Some(&[UNSEEN][..]), http2(Unknown, "")), (None, http2(Ok, "200"))] {
        let late = behind_a_call(|late| {
            late.asks_with(3, 0x82, &[UNSEEN]).says(3, &[OK, UNSEEN], true, None);
            late.asks(5, &[UNSEEN]).says(5, &[OK, UNSEEN], true, trailers);
        });
        assert_eq!(late.told(3), http2(Ok, "200"));
        assert_eq!(late.told(5), want);
    }
}

#[test]
fn a_call_whose_request_was_never_seen_tells_of_its_connection() {
    let mut late = Late::new();
    late.0.turn(Ingress);
    late.0.bytes(Ingress, &frame_of(1, 0x5, 1, &fields(&[("grpc-status", "0")])));
    late.asks(3, &[UNSEEN]).says(3, &[OK, UNSEEN], true, Some(&[UNSEEN]));
    assert_eq!(late.told(3), grpc(Unknown, "", 2));
}

#[test]
fn what_a_late_joiner_closes_is_told_as_far_as_it_is_known() {
    let open = |late: &mut Late, stream| {
        late.asks(stream, &[UNSEEN]);
        late.0.turn(Ingress);
        late.0.bytes(Ingress, &frame_of(1, 0x4, stream, &[OK, UNSEEN]));
        late.0.end(Egress);
        late.0.end(Ingress);
    };
    let mut late = Late::new();
    open(&mut late, 1);
    assert_eq!(late.told(1), http2(Ok, "200"));
    let late = behind_a_call(|late| open(late, 3));
    assert_eq!(late.told(3), grpc(Unknown, "", 0));
}
