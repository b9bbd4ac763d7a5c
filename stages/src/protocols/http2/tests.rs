//! HTTP/2 and gRPC against recordings of real servers and clients, and against what may be missing.

mod cut;
mod late;

use super::*;
use crate::flow::conn::{Direction, Role, Transport};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::http1::Http1;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use crate::protocols::{Protocol, Speaker, Successor};
use crate::time::Nanos;
use Direction::{Egress, Ingress};

macro_rules! recordings {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../tests/fixtures/http2/", $name, ".rec")))),*]
    };
}

/// All that begin with a preface.
const CLEAN: &[(&str, &[u8])] = recordings![
    "nghttp_get",
    "nghttp_push",
    "nghttp_padding",
    "nghttp_trailer",
    "nghttp_continuation",
    "nghttp_small_table",
    "nghttpd_no_table",
    "h2load",
    "nginx_curl",
    "nginx_nghttp",
    "nginx_post",
    "nginx_h2load",
    "curl_long_headers",
    "node",
    "go_h2c",
    "grpc_unary",
    "grpc_errors",
    "grpc_streams",
    "grpc_cancel",
    "grpc_parallel",
    "grpc_go",
    "grpc_web_h2",
];

fn conversation(name: &str) -> Conversation {
    let (_, bytes) = CLEAN.iter().find(|(have, _)| *have == name).expect("a recording of that name");
    Conversation::read(bytes, Transport::Tcp)
}

/// An exchange as the pair stage would make it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    id: u64,
    protocol: Protocol,
    method: String,
    target: String,
    answer: Option<(Status, String)>,
    messages: (u32, u32),
    aborted: bool,
}

fn paired(messages: &[Message]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for message in messages {
        let known = calls.iter_mut().rev().find(|call| call.id == message.id && call.answer.is_none());
        match (message.kind, known) {
            (MessageKind::Request, _) => calls.push(Call {
                id: message.id,
                protocol: message.protocol,
                method: message.method.to_string(),
                target: message.target.to_string(),
                answer: None,
                messages: (message.messages, 0),
                aborted: false,
            }),
            (MessageKind::Response, Some(call)) => {
                if let Some(over) = message.protocol.inside(call.protocol) {
                    let (mut method, mut target) = (call.method.as_str().into(), call.target.as_str().into());
                    (over.renamed)(&mut method, &mut target);
                    (call.protocol, call.method, call.target) =
                        (message.protocol, method.to_string(), target.to_string());
                }
                call.answer = Some((message.status, message.code.to_string()));
                call.messages.1 = message.messages;
                call.aborted = message.aborted;
            }
            _ => {}
        }
    }
    calls
}

fn read(conversation: &Conversation) -> Vec<Message> {
    let mut drive = Drive::<Http2>::new(Transport::Tcp);
    drive.converse(conversation);
    assert_eq!(drive.refusals, 0, "a clean conversation is read without loss");
    drive.end(Egress);
    drive.end(Ingress);
    folded(&drive.out.0)
}

fn said(name: &str) -> Vec<String> {
    paired(&read(&conversation(name))).iter().map(short).collect()
}

fn short(call: &Call) -> String {
    let answer = call.answer.as_ref().map_or("-".to_owned(), |(status, code)| format!("{status:?} {code}"));
    let messages = if call.messages == (0, 0) { String::new() } else { format!(" {:?}", call.messages) };
    let aborted = if call.aborted { " aborted" } else { "" };
    let head = if call.target.len() > 60 { "long" } else { &call.target };
    format!("{} {} {head} {answer}{messages}{aborted}", call.protocol.name(), call.method)
}

#[test]
fn reads_what_nghttp_and_nghttpd_said() {
    assert_eq!(
        said("nghttp_get"),
        ["http2 GET / Ok 200", "http2 GET /style.css Ok 200", "http2 GET /absent?q=1 Error 404"]
    );
    let (root, style) = ("http2 GET / Ok 200", "http2 GET /style.css Ok 200");
    assert_eq!(said("nghttp_continuation"), [root, style]);
    assert_eq!(said("nghttp_small_table"), [root, style, "http2 GET /absent Error 404"]);
    assert_eq!(
        said("nghttp_padding"),
        ["http2 POST /large.txt Ok 200", "http2 POST / Ok 200"],
        "padding is no content: the lengths fit"
    );
    assert_eq!(said("nghttp_trailer").len(), 2);
    let load = said("h2load");
    assert_eq!((load.len(), load.iter().filter(|line| line.ends_with("404")).count()), (60, 20));
    let six: Vec<_> = (0..6).map(|n| format!("http2 GET /{n} Error 404")).collect();
    assert_eq!(said("nghttpd_no_table"), six);
}

#[test]
fn a_promise_is_a_request_of_the_client_and_counts_once() {
    assert_eq!(said("nghttp_push"), ["http2 GET /index.html Ok 200", "http2 GET /style.css Ok 200"]);
    let messages = read(&conversation("nghttp_push"));
    let pushed: Vec<_> = messages.iter().filter(|message| message.id == 2).collect();
    assert_eq!(
        pushed.iter().map(|message| (message.kind, message.direction)).collect::<Vec<_>>(),
        [(MessageKind::Request, Egress), (MessageKind::Response, Ingress)]
    );
}

#[test]
fn reads_what_nginx_node_go_and_curl_said() {
    let nginx =
        ["/ Ok 200", "/style.css Ok 200", "/absent?q=1 Error 404", "/none Ok 204", "/moved Ok 302", "/busy Error 503"];
    assert_eq!(said("nginx_nghttp"), nginx.map(|line| format!("http2 GET {line}")));
    assert_eq!(said("nginx_curl"), ["http2 GET /style.css Ok 200"]);
    assert_eq!(said("nginx_post"), ["http2 POST /style.css Error 405"]);
    assert_eq!(said("nginx_h2load").len(), 40);
    assert_eq!(said("curl_long_headers"), ["http2 GET /long Ok 200"]);
    assert_eq!(
        said("node")[..9],
        [
            "http2 GET /early Ok 200",
            "http2 GET /trailers Ok 200",
            "http2 GET /status/204 Ok 204",
            "http2 GET /status/404 Error 404",
            "http2 GET /status/503 Error 503",
            // It ends the stream, and resets it then.
            "http2 GET /half Ok 200",
            "http2 GET /refuse Unknown  aborted",
            "http2 POST /upload Ok 200",
            "http2 PUT /never Unknown  aborted"
        ]
    );
    let go = said("go_h2c");
    assert_eq!((go.len(), go.iter().filter(|line| line.ends_with("404")).count()), (21, 4));
    let interim = read(&conversation("node")).into_iter().find(|message| message.kind == MessageKind::Interim);
    assert_eq!(interim.unwrap().code, "103");
}

#[test]
fn measures_bodies_and_heads() {
    let messages = read(&conversation("node"));
    let upload = messages.iter().find(|message| message.target == "/upload").unwrap();
    assert!((40_000..40_200).contains(&upload.bytes), "{}", upload.bytes);
    let long = read(&conversation("curl_long_headers"));
    assert!((55_000..58_000).contains(&long[0].bytes), "a head of many frames: {}", long[0].bytes);
}

#[test]
fn a_call_ends_with_its_trailers() {
    assert_eq!(said("grpc_unary"), ["grpc POST shop.Orders/Echo Ok 0 (1, 1)"; 12]);
    assert_eq!(
        said("grpc_errors"),
        [
            "grpc POST shop.Orders/Fail Error 5 (1, 0)",
            "grpc POST shop.Orders/Missing Error 12 (1, 0)",
            "grpc POST shop.Orders/Echo Ok 0 (1, 1)",
            "grpc POST shop.Orders/LateFail Error 15 (1, 1)"
        ]
    );
    let go = said("grpc_go");
    assert_eq!(
        go[..2],
        ["grpc POST grpc.health.v1.Health/Check Ok 0 (1, 1)", "grpc POST grpc.health.v1.Health/Check Error 5 (1, 0)"]
    );
    assert_eq!(go[5], "grpc POST grpc.health.v1.Health/Watch Error 12 (1, 0)");
}

#[test]
fn messages_of_streams_are_counted_and_what_was_broken_off_has_a_status() {
    assert_eq!(
        said("grpc_streams"),
        [
            "grpc POST shop.Orders/Count Ok 0 (1, 7)",
            "grpc POST shop.Orders/Total Ok 0 (5, 1)",
            "grpc POST shop.Orders/Chat Ok 0 (3, 3)"
        ]
    );
    assert_eq!(
        said("grpc_cancel"),
        [
            "grpc POST shop.Orders/Slow Error 1 (1, 0)",
            "grpc POST shop.Orders/Slow Error 1 (1, 0)",
            "grpc POST shop.Orders/Feed Error 1 (1, 1)",
            "grpc POST shop.Orders/Echo Ok 0 (1, 1)"
        ]
    );
    let parallel = said("grpc_parallel");
    assert_eq!((parallel.len(), parallel.iter().filter(|line| line.contains("Fail Error 5")).count()), (20, 7));
}

#[test]
fn reads_grpc_web_in_both_versions_of_http() {
    let check = "grpc POST grpc.health.v1.Health/Check";
    let want = [
        format!("{check} Ok 0 (1, 1)"),
        format!("{check} Error 5 (1, 0)"),
        format!("{check} Ok 0 (1, 1)"),
        // Its trailers are compressed.
        format!("{check} Unknown  (1, 1)"),
        "grpc POST grpc.health.v1.Health/Missing Error 12 (1, 0)".to_owned(),
    ];
    assert_eq!(said("grpc_web_h2"), want);
    let bytes = include_bytes!("../../../tests/fixtures/http2/grpc_web_h1.rec");
    let drive = Drive::<Http1>::new(Transport::Tcp).conversation(&Conversation::read(bytes, Transport::Tcp));
    assert_eq!(paired(&folded(&drive.out.0)).iter().map(short).collect::<Vec<_>>(), want);
    laws::keeps_splits::<Http1>(&Conversation::read(bytes, Transport::Tcp));
}

#[test]
fn an_upgraded_request_is_answered_on_the_first_stream() {
    let bytes = include_bytes!("../../../tests/fixtures/http2/curl_upgrade.rec");
    let whole = Conversation::read(bytes, Transport::Tcp);
    let (before, behind) = whole.turns.split_at(2);
    let mut drive = Drive::<Http1>::new(Transport::Tcp);
    drive.converse(&Conversation { turns: before.to_vec(), ..whole.clone() });
    let shown = |messages: &[Message]| {
        messages.iter().map(|m| format!("{} {} {}{}", m.protocol.name(), m.id, m.target, m.code)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&drive.out.0), ["http 0 /first?a=b", "http 0 101", "http2 1 /first?a=b"]);
    assert!(!drive.out.0[1].upgrade, "what follows is ours");
    let context =
        Context { direction: Egress, role: Role::Client, transport: Transport::Tcp, start: Nanos(9), at: Nanos(9) };
    let next = Http1::parse(&mut drive.state, context, Input::Bytes(&behind[0].1), &mut drive.out);
    assert_eq!(next, Step::HandOver(Successor::Protocol(Protocol::Http2)));
    let messages = read(&Conversation { turns: behind.to_vec(), ..whole });
    assert_eq!(shown(&messages), ["http2 1 200", "http2 3 /second", "http2 3 200"]);
}

fn context(late: bool) -> ProbeContext {
    ProbeContext { transport: Transport::Tcp, server_port: 0, late }
}

#[test]
fn is_known_by_its_first_bytes() {
    for (name, _) in CLEAN {
        for (direction, speaker) in [(Egress, Speaker::Client), (Ingress, Speaker::Server)] {
            let (_, first) = conversation(name).turns.into_iter().find(|(way, _)| *way == direction).unwrap();
            let first = &first[..first.len().min(512)];
            laws::keeps_probe::<Http2>(first, context(false), Probe::Match(speaker));
        }
    }
}

#[test]
fn is_known_in_the_middle_by_a_head_or_two_frames() {
    for (name, _) in CLEAN {
        for (_, bytes) in &conversation(name).turns {
            let bytes = &bytes[..bytes.len().min(512)];
            let answer = Http2::probe(bytes, context(true));
            laws::keeps_probe::<Http2>(bytes, context(true), answer);
        }
    }
    let head = b"\0\0\x03\x01\x05\0\0\0\x05\x82\x84\x86";
    laws::keeps_probe::<Http2>(head, context(true), Probe::Match(Speaker::Client));
    let answer = b"\0\0\x01\x01\x04\0\0\0\x05\x88";
    laws::keeps_probe::<Http2>(answer, context(true), Probe::Match(Speaker::Server));
    let two = b"\0\0\x04\x08\0\0\0\0\0\0\0\x0f\0\0\0\x08\x06\0\0\0\0\0abcdefgh";
    laws::keeps_probe::<Http2>(two, context(true), Probe::Match(Speaker::Either));
}

#[test]
fn is_not_seen_where_it_is_not() {
    for text in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/1.1\r\n",
        b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\0",
        b"\0\0\0\x22\0\x12\0\x03\0\0\0\x01\0\x07",
        b"\0\0\0\x01\x01\0\0\0\x01\0\0\0\0",
        b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\x01",
        b"\x16\x03\x01\x02\0\x01\0",
        b"\0\0\x08\x06\0\0\0\0\x01aaaaaaaa",
    ] {
        laws::keeps_probe::<Http2>(text, context(true), Probe::NoMatch);
    }
    let datagram = ProbeContext { transport: Transport::Udp, ..context(false) };
    assert_eq!(Http2::probe(frame::PREFACE, datagram), Probe::NoMatch);
}

/// A frame.
fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn opened() -> Drive<Http2> {
    let mut drive = Drive::<Http2>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, frame::PREFACE);
    drive.bytes(Egress, &frame_of(1, 0x5, 1, &[0x82, 0x84]));
    assert_eq!((drive.out.0.len(), drive.refusals), (1, 0));
    drive
}

#[test]
fn malformed_frames_are_refused_and_unknown_ones_are_not() {
    for bad in [
        frame_of(0, 0, 0, b"x"),
        frame_of(4, 0, 3, b""),
        frame_of(4, 0, 0, b"12345"),
        frame_of(6, 0, 0, b"1234567"),
        frame_of(3, 0, 1, b"123"),
        frame_of(0, 0x8, 1, b"\x09abc"),
        frame_of(9, 0x4, 3, b"\x82"),
        frame_of(1, 0x4, 3, b"\x80"),
        frame_of(1, 0x4, 3, b"\x44"),
        frame_of(5, 0x4, 1, b"\0\0\0\x02\x82"),
    ] {
        let mut drive = opened();
        let open = frame_of(1, 0, 3, b"\x82");
        if bad[3] == 9 {
            drive.bytes(Egress, &open[..8]);
            drive.bytes(Egress, &[5, 0x82]);
        }
        drive.bytes(Egress, &bad);
        assert_eq!(drive.refusals, 1, "{bad:?}");
    }
    let mut drive = opened();
    drive.bytes(Egress, &frame_of(0x42, 0xff, 7, b"whatever"));
    drive.bytes(Egress, &frame_of(1, 0x5, 3, &[0x82, 0x84]));
    assert_eq!((drive.out.0.len(), drive.refusals), (2, 0));
}

#[test]
fn no_more_streams_are_followed_than_the_bound_and_the_oldest_is_let_go() {
    let mut drive = opened();
    for n in 1..=MAX_STREAMS as u32 {
        drive.bytes(Egress, &frame_of(1, 0x5, 2 * n + 1, &[0x82, 0x84]));
    }
    let answers: Vec<_> = drive.out.0.iter().filter(|message| message.kind == MessageKind::Response).collect();
    assert_eq!(answers.iter().map(|message| (message.id, message.status)).collect::<Vec<_>>(), [(1, Status::Unknown)]);
    assert_eq!(drive.out.0.len(), MAX_STREAMS + 2);
}

#[test]
fn what_a_server_will_not_serve_is_broken_off() {
    let mut drive = opened();
    drive.bytes(Egress, &frame_of(1, 0x5, 3, &[0x82, 0x84]));
    drive.turn(Ingress);
    drive.bytes(Ingress, &frame_of(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let last = drive.out.0.last().unwrap();
    assert_eq!((last.kind, last.id, last.aborted), (MessageKind::Response, 3, true));
    drive.bytes(Ingress, &frame_of(1, 0x5, 1, &[0x88]));
    assert_eq!(drive.out.0.last().unwrap().code, "200");
}

#[test]
fn what_comes_behind_a_gap_is_read_if_it_begins_with_a_frame() {
    let mut drive = opened();
    drive.turn(Ingress);
    drive.gap(Ingress, 47);
    drive.bytes(Ingress, &[frame_of(1, 0x4, 1, &[0x88]), frame_of(0, 0x1, 1, b"abc")].concat());
    let said: Vec<_> = drive.out.0.iter().map(|message| (message.kind, message.part, message.status)).collect();
    assert_eq!(
        said[1..],
        [(MessageKind::Response, Part::Head, Status::Ok), (MessageKind::Response, Part::End, Status::Unknown)]
    );
}

#[test]
fn what_was_not_answered_at_the_end_stays_so() {
    let mut drive = opened();
    drive.end(Egress);
    drive.end(Ingress);
    assert_eq!(drive.out.0.len(), 1, "no answer is made up");
}

#[test]
fn a_request_says_what_trace_it_is_part_of_also_by_the_index_of_what_was_said_before() {
    let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    // With incremental indexing, a new name (RFC 7541, section 6.2.1); then the entry that it made.
    let block = [&[0x82, 0x84, 0x40, 11][..], b"traceparent", &[55], parent].concat();
    let mut drive = opened();
    drive.bytes(Egress, &frame_of(1, 0x5, 3, &block));
    drive.bytes(Egress, &frame_of(1, 0x5, 5, &[0x82, 0x84, 0xbe]));
    drive.bytes(Egress, &frame_of(1, 0x5, 7, &[0x82, 0x84]));
    let parents: Vec<_> = drive.out.0.iter().map(|message| Some(message.trace.as_ref()?.parent.get())).collect();
    assert_eq!(parents, [None, Some(0x00f0_67aa_0ba9_02b7), Some(0x00f0_67aa_0ba9_02b7), None]);
}
