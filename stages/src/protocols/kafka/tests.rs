//! Tests of the protocol `kafka`: recordings of real brokers and clients, the shared laws, and an oracle.

mod oracle;

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};

fn read(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<Kafka>::new(Transport::Tcp).conversation(conversation);
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0)
}

macro_rules! recording {
    ($name:literal) => {
        Conversation::read(
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kafka/", $name, ".rec")),
            Transport::Tcp,
        )
    };
}

/// What a pair stage would make of it: each request with the response of its id, in the order of the requests.
fn paired(messages: &[Message]) -> Vec<(&Message, Option<&Message>)> {
    let mut out: Vec<(&Message, Option<&Message>)> = Vec::new();
    for message in messages {
        if message.kind == MessageKind::Request {
            out.push((message, None));
            continue;
        }
        let waits = |(request, response): &&mut (&Message, Option<&Message>)| {
            request.id == message.id && response.is_none() && !request.no_reply
        };
        out.iter_mut().find(waits).expect("the request of a response").1 = Some(message);
    }
    out
}

/// Each exchange in a line.
fn shown(conversation: &Conversation) -> Vec<String> {
    lines(&read(conversation))
}

fn lines(messages: &[Message]) -> Vec<String> {
    let line = |(request, response): (&Message, Option<&Message>)| {
        let outcome = match response {
            None if request.no_reply => "no reply".to_owned(),
            None => "unanswered".to_owned(),
            Some(response) => format!("{:?} {}", response.status, response.code),
        };
        format!("{} {} {outcome}", request.method, request.target).trim().to_owned()
    };
    paired(messages).into_iter().map(line).collect()
}

fn context(port: u16) -> ProbeContext {
    ProbeContext { transport: Transport::Tcp, server_port: port, late: false }
}
#[test]
fn zz_show() {
    for entry in std::fs::read_dir("/tmp/kfk/out").unwrap() {
        let path = entry.unwrap().path();
        let c = Conversation::read(&std::fs::read(&path).unwrap(), Transport::Tcp);
        println!("== {}", path.display());
        let drive = Drive::<Kafka>::new(Transport::Tcp).conversation(&c);
        println!("refusals {}", drive.refusals);
        for line in lines(&folded(&drive.out.0)) {
            println!("  {line}");
        }
    }
}
