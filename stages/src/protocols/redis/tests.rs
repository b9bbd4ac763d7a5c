//! Tests of the protocol `redis`: recordings of a real server, the shared laws, the two counts, and an oracle.

mod cut;
mod oracle;

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};

macro_rules! recording {
    ($name:literal) => {
        Conversation::read(
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/redis/", $name, ".rec")),
            Transport::Tcp,
        )
    };
}
use recording;

fn read(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<Redis>::new(Transport::Tcp).conversation(conversation);
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0)
}

/// What a pair stage would make of it: requests in order, each with the next reply.
fn paired(messages: &[Message]) -> Vec<(String, String, Status, String)> {
    let mut out = Vec::new();
    let mut waiting = std::collections::VecDeque::new();
    for message in messages {
        match message.kind {
            MessageKind::Request if message.no_reply => {
                out.push((message.method.to_string(), message.target.to_string(), Status::Unknown, "no reply".into()));
            }
            MessageKind::Request => waiting.push_back(message),
            MessageKind::Response => {
                let request = waiting.pop_front().expect("a reply has its request before it");
                let target = request.target.to_string();
                out.push((request.method.to_string(), target, message.status, message.code.to_string()));
            }
            MessageKind::OneWay => out.push(("push".into(), String::new(), message.status, String::new())),
            MessageKind::Interim => panic!("Redis has none"),
        }
    }
    assert!(waiting.is_empty(), "unanswered: {waiting:?}");
    out
}

fn shown(conversation: &Conversation) -> Vec<String> {
    paired(&read(conversation))
        .iter()
        .map(|(method, target, status, code)| format!("{method} {target} {status:?} {code}").trim().to_owned())
        .collect()
}

fn context(port: u16) -> ProbeContext {
    ProbeContext { transport: Transport::Tcp, server_port: port, late: false }
}

#[test]
fn reads_what_a_client_asked_and_how_the_server_answered() {
    assert_eq!(
        shown(&recording!("basic")),
        [
            "SET greeting Ok",
            "GET greeting Ok",
            "GET absent Ok",
            "INCR counter Ok",
            "INCR greeting Error ERR",
            "LPUSH list Ok",
            "LRANGE list Ok",
            "LPOP greeting Error WRONGTYPE",
            "NOSUCHCOMMAND x Error ERR",
            "SET schlüssel € Ok",
            "GET schlüssel € Ok",
            "EVAL greeting Ok",
            "EVAL  Ok",
            "XADD stream Ok",
            "XREAD stream Ok",
            "OBJECT greeting Ok",
            "CONFIG  Ok",
            "MULTI  Ok",
            "SET in-multi Ok",
            "GET in-multi Ok",
            "EXEC  Ok",
            "MULTI  Ok",
            "NOSUCH  Error ERR",
            "EXEC  Error EXECABORT",
            "AUTH  Error ERR",
        ]
    );
}

#[test]
fn reads_every_type_of_resp3() {
    let shown = shown(&recording!("resp3"));
    assert_eq!(shown.first().map(String::as_str), Some("HELLO  Ok"));
    assert_eq!(shown.iter().filter(|line| *line == "push  Ok").count() + 18, shown.len(), "{shown:?}");
    assert_eq!(shown.iter().filter(|line| line.starts_with("DEBUG") && line.ends_with("Ok")).count(), 9);
    assert_eq!(shown.last().map(String::as_str), Some("LPUSH hash Error WRONGTYPE"));
}

#[test]
fn confirms_each_subscription_once_and_takes_the_rest_as_pushes() {
    let expected = [
        "SUBSCRIBE  Ok",
        "push Ok", // the second channel
        "PSUBSCRIBE  Ok",
        "push Ok", // message news
        "push Ok", // pmessage n*
        "push Ok", // message sport
        "PING  Ok",
        "UNSUBSCRIBE  Ok",
        "UNSUBSCRIBE  Ok",
        "PUNSUBSCRIBE  Ok",
        "GET greeting Ok",
    ]
    .map(|line| line.replace("push Ok", "push  Ok"));
    assert_eq!(shown(&recording!("pubsub2")), expected);
    assert_eq!(shown(&recording!("pubsub3"))[1..], expected);
}

#[test]
fn confirmations_of_pipelined_subscriptions_go_to_their_own_command() {
    let confirmation = |channel: &str, n: u32| format!("*3\r\n$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:{n}\r\n");
    let answers = [confirmation("a", 1), confirmation("b", 2), confirmation("c", 3)].concat();
    let messages =
        read(&Conversation::of(&[(Egress, b"SUBSCRIBE a b\r\nSUBSCRIBE c\r\n"), (Ingress, answers.as_bytes())]));
    let kinds: Vec<_> = messages.iter().skip(2).map(|message| message.kind).collect();
    assert_eq!(kinds, [MessageKind::Response, MessageKind::OneWay, MessageKind::Response]);
}

#[test]
fn what_monitor_shows_is_no_reply() {
    let shown = shown(&recording!("monitor"));
    assert_eq!(shown[0], "MONITOR  Ok");
    assert!(shown.len() >= 3 && shown[1..].iter().all(|line| line == "push  Ok"), "{shown:?}");
}

#[test]
fn reads_inline_commands() {
    let expected = ["PING  Ok", "SET inline Ok", "GET inline Ok", "ECHO  Ok", "QUIT  Ok"];
    assert_eq!(shown(&recording!("inline")), expected);
}

#[test]
fn knows_which_requests_are_not_answered() {
    assert_eq!(
        shown(&recording!("reply_modes")),
        [
            "CLIENT  Unknown no reply",
            "SET a Unknown no reply",
            "CLIENT  Ok",
            "GET a Ok",
            "CLIENT  Unknown no reply",
            "SET a Unknown no reply",
            "GET a Ok",
            "CLIENT  Ok",
        ]
        .map(|line| line.to_owned())
        .to_vec()
    );
}

#[test]
fn reads_pipelines_of_a_benchmark() {
    for (conversation, method, count) in [
        (recording!("benchmark_set"), "SET", 32),
        (recording!("benchmark_get"), "GET", 32),
        (recording!("benchmark_set_10k"), "SET", 16),
        (recording!("benchmark_get_10k"), "GET", 16),
    ] {
        let messages = read(&conversation);
        let requests: Vec<_> = messages.iter().filter(|m| m.kind == MessageKind::Request).collect();
        assert_eq!(requests.len(), count);
        assert!(requests.iter().all(|m| m.method == method && !m.cut));
        assert_eq!(messages.len(), 2 * count);
        let bytes: u64 = messages.iter().map(|m| m.bytes).sum();
        let moved: usize = conversation.turns.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(bytes, moved as u64, "every byte belongs to a message");
    }
}

#[test]
fn a_value_that_looks_like_resp_is_a_value() {
    let shown = shown(&recording!("large"));
    assert_eq!(shown.len(), 7, "{shown:?}");
    assert_eq!(
        shown[5].len(),
        "GET ".len() + crate::limits::MAX_TARGET + " Ok".len(),
        "a long key is cut at its bound"
    );
    assert_eq!(shown[6], "ECHO  Ok");
}

#[test]
fn keeps_the_laws() {
    for conversation in [
        recording!("basic"),
        recording!("resp3"),
        recording!("inline"),
        recording!("pipeline"),
        recording!("benchmark_set"),
        recording!("cli"),
    ] {
        laws::keeps_prefixes::<Redis>(&conversation);
        laws::keeps_splits::<Redis>(&conversation);
        laws::keeps_gaps::<Redis>(&conversation, true);
        laws::keeps_hostile::<Redis>(&conversation, 200);
    }
    // A gap may swallow what changes the connection for good.
    for conversation in [recording!("pubsub2"), recording!("pubsub3"), recording!("monitor"), recording!("reply_modes")]
    {
        laws::keeps_prefixes::<Redis>(&conversation);
        laws::keeps_splits::<Redis>(&conversation);
        laws::keeps_gaps::<Redis>(&conversation, false);
        laws::keeps_hostile::<Redis>(&conversation, 200);
    }
}

#[test]
fn long_lines_keep_the_laws() {
    let long = format!("-ERR {}\r\n+{}\r\n", "x".repeat(3 * MAX_LINE), "y".repeat(MAX_LINE));
    let conversation =
        Conversation::of(&[(Egress, b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"), (Ingress, long.as_bytes())]);
    assert_eq!(shown(&conversation), ["PING  Error ERR", "PING  Ok"]);
    laws::keeps_prefixes::<Redis>(&conversation);
    laws::keeps_splits::<Redis>(&conversation);
}

#[test]
fn hands_the_connection_over_to_replication() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp).conversation(&Conversation::of(&[
        (Egress, b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n"),
        (Ingress, b"+FULLRESYNC 0123 0\r\n$100\r\nREDIS0010"),
    ]));
    let before = drive.out.0.len();
    assert_eq!(before, 2);
    drive.turn(Egress);
    drive.bytes(Egress, b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n");
    assert_eq!(drive.out.0.len(), before, "the stream is not ours");
}

#[test]
fn an_endless_or_absurd_reply_is_malformed() {
    for reply in [
        &b"*99999999999\r\n"[..],
        b"$-2\r\n",
        b":12x\r\n",
        b"#x\r\n",
        b"$3\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"*?\r\n",
    ] {
        let conversation = Conversation::of(&[(Egress, b"*1\r\n$4\r\nPING\r\n"), (Ingress, reply)]);
        let drive = Drive::<Redis>::new(Transport::Tcp).conversation(&conversation);
        assert_eq!(drive.refusals, 1, "{reply:?}");
    }
    let nested = b"*4294967296\r\n".repeat(300);
    let conversation = Conversation::of(&[(Egress, b"*1\r\n$4\r\nPING\r\n"), (Ingress, &nested)]);
    assert_eq!(Drive::<Redis>::new(Transport::Tcp).conversation(&conversation).refusals, 1, "elements are bounded");
}

#[test]
fn recognises_requests_by_content_on_any_port() {
    let request = |bytes: &[u8]| laws::keeps_probe::<Redis>(bytes, context(9000), Probe::Match(Speaker::Client));
    request(b"*1\r\n$4\r\nping\r\n");
    request(b"*2\r\n$8\r\nJSON.GET\r\n$1\r\nx\r\n");
    request(b"PING\r\n");
    for name in [recording!("basic"), recording!("pipeline"), recording!("pubsub2"), recording!("benchmark_get")] {
        request(&name.turns[0].1);
    }
}

#[test]
fn recognises_replies_by_strict_forms_and_weak_ones_at_home_only() {
    let says = |bytes: &[u8], port, probe| laws::keeps_probe::<Redis>(bytes, context(port), probe);
    says(b"-WRONGTYPE Operation against a key\r\n", 9000, Probe::Match(Speaker::Server));
    says(b"$5\r\nhello\r\n", 9000, Probe::Match(Speaker::Server));
    says(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n", 9000, Probe::Match(Speaker::Server));
    says(b"+OK\r\n", 6379, Probe::Match(Speaker::Server));
    says(b"+OK\r\n", 4222, Probe::NoMatch);
    says(b":1\r\n", 6379, Probe::Match(Speaker::Server));
    says(b":1\r\n", 9000, Probe::NoMatch);
    says(b"GET key\r\n", 6379, Probe::Match(Speaker::Client));
    says(b"GET key\r\n", 11211, Probe::NoMatch);
}

#[test]
fn refuses_what_only_looks_alike() {
    let refuses = |bytes: &[u8], port| laws::keeps_probe::<Redis>(bytes, context(port), Probe::NoMatch);
    refuses(b"GET / HTTP/1.1\r\n\r\n", 9000);
    refuses(b"GET / HTTP/1.1\r\n\r\n", 6379);
    refuses(b"+OK POP3 ready\r\n", 110);
    refuses(b"PONG\r\n", 4222);
    refuses(b"*** Welcome\r\n", 6379);
    refuses(b"$GPGGA,123519\r\n", 6379);
    refuses(b"*3\r\n+x\r\n", 9000);
    refuses(b"\x16\x03\x01\x02\x00", 6379);
    let datagram = ProbeContext { transport: Transport::Udp, server_port: 6379, late: false };
    assert_eq!(Redis::probe(b"*1\r\n$4\r\nPING\r\n", datagram), Probe::NoMatch);
}
