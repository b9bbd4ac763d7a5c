//! Tests of the protocol `mysql`: recordings of a real server with real clients, the shared laws, and what is cut.

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};

macro_rules! recording {
    ($name:literal) => {
        Conversation::read(
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mysql/", $name, ".rec")),
            Transport::Tcp,
        )
    };
}
use recording;

fn read(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<Mysql>::new(Transport::Tcp).conversation(conversation);
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0)
}

/// What a pair stage would make of it: requests in order, each with the next answer.
fn paired(messages: &[Message]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut waiting = std::collections::VecDeque::new();
    for message in messages {
        let asked = format!("{} {}", message.method, message.target);
        match message.kind {
            MessageKind::Request if message.no_reply => out.push(format!("{} -", asked.trim_end())),
            MessageKind::Request => {
                waiting.push_back(out.len());
                out.push(asked.trim_end().to_owned());
            }
            MessageKind::Response => {
                let at = waiting.pop_front().expect("an answer has its request before it");
                let how = match message.status {
                    Status::Ok => "ok",
                    Status::Error => "error",
                    Status::Unknown => "unknown",
                };
                out[at] = format!("{} {how} {}", out[at], message.code).trim_end().to_owned();
            }
            MessageKind::OneWay => out.push(format!("pushed {}", message.code)),
            MessageKind::Interim => panic!("MySQL has none"),
        }
    }
    assert!(waiting.is_empty(), "unanswered: {waiting:?} of {out:?}");
    out
}

fn shown(conversation: &Conversation) -> Vec<String> {
    paired(&read(conversation))
}

#[test]
fn dump() {
    for (name, c) in [
        ("cli", recording!("cli")),
        ("cli_compressed", recording!("cli_compressed")),
        ("pymysql", recording!("pymysql")),
        ("multi", recording!("multi")),
        ("error_in_rows", recording!("error_in_rows")),
        ("infile", recording!("infile")),
        ("large", recording!("large")),
        ("connector", recording!("connector")),
        ("mysqlclient", recording!("mysqlclient")),
        ("mysqlclient_compressed", recording!("mysqlclient_compressed")),
        ("wrong", recording!("wrong_password")),
        ("auth_switch", recording!("auth_switch")),
        ("c_connector", recording!("c_connector")),
        ("too_many", recording!("too_many")),
        ("killed", recording!("killed")),
        ("encrypted", recording!("encrypted")),
        ("node", recording!("node")),
        ("node_compressed", recording!("node_compressed")),
        ("go", recording!("go")),
        ("go_compressed", recording!("go_compressed")),
    ] {
        let drive = Drive::<Mysql>::new(Transport::Tcp).conversation(&c);
        println!("== {name} refusals {}", drive.refusals);
        for m in std::panic::catch_unwind(|| paired(&folded(&drive.out.0))).unwrap_or_default() {
            println!("   {:.150}", m);
        }
    }
}
