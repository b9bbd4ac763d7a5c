//! HTTP/2 and gRPC against recordings of real servers and clients, and against what may be missing.

mod cut;

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Status};
use crate::protocols::Protocol;
use crate::protocols::laws::{self, Conversation, Drive, folded};
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
fn show() {
    for (name, _) in CLEAN {
        eprintln!("{name}");
        for line in said(name) {
            eprintln!("   {line}");
        }
    }
}
