//! Tests of the protocol `kafka`: recordings of real brokers and clients, the shared laws, and an oracle.

mod cut;
mod oracle;

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Status};
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
use recording;

/// All recordings, with their names.
fn recordings() -> Vec<(&'static str, Conversation)> {
    macro_rules! all {
        ($($name:literal),* $(,)?) => { vec![$(($name, recording!($name))),*] };
    }
    all![
        "admin",
        "fetch",
        "fetch_by_id",
        "fetch_large",
        "group_1",
        "group_11",
        "idempotent",
        "java_admin",
        "java_consume_1",
        "java_consume_11",
        "java_consumer_protocol_1",
        "java_consumer_protocol_68",
        "java_produce",
        "metadata",
        "pipelined",
        "produce",
        "produce_acks0",
        "produce_oldest",
        "sasl",
        "sasl_refused",
        "sasl_tokens",
        "too_large",
        "transaction_0",
        "transaction_22",
        "unknown_topic",
    ]
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
fn reads_what_an_administrator_asked_and_how_the_broker_answered() {
    assert_eq!(
        shown(&recording!("admin")),
        [
            "ApiVersions  Ok",
            "Metadata  Ok",
            "Metadata  Ok",
            "CreateTopics orders Ok",
            "CreateTopics orders Error 36",
            "CreateTopics many Error 38",
            "DescribeConfigs orders Ok",
            "DescribeConfigs  Ok", // of a broker
            "CreatePartitions orders Error 37",
            "DeleteTopics absent Error 3",
            "ListGroups  Ok",
            "FindCoordinator  Error 15",
            "FindCoordinator  Ok",
            "ConsumerGroupDescribe  Error 35",
            "DescribeGroups  Error 16",
            "DeleteGroups  Error 16",
        ]
    );
    assert_eq!(
        shown(&recording!("java_admin")),
        [
            "ApiVersions  Ok",
            "CreateTopics orders Ok",
            "DescribeCluster  Ok",
            "DescribeTopicPartitions orders Ok",
            "DeleteTopics absent Error 3",
        ]
    );
    assert_eq!(
        shown(&recording!("unknown_topic")),
        ["ApiVersions  Ok", "Metadata absent Error 3", "Metadata absent Error 3"]
    );
    assert_eq!(shown(&recording!("metadata")), ["ApiVersions  Ok", "Metadata  Ok", "Metadata  Ok"]);
}

#[test]
fn reads_producers_of_every_kind() {
    let produce = |outcome: &str| ["ApiVersions  Ok", "Metadata orders Ok", outcome].map(str::to_owned);
    assert_eq!(shown(&recording!("produce")), produce("Produce orders Ok"));
    assert_eq!(shown(&recording!("produce_acks0")), produce("Produce orders no reply"));
    assert_eq!(
        shown(&recording!("produce_oldest")),
        ["Metadata  Ok", "Metadata orders Ok", "Produce orders Ok"],
        "version 0 of everything"
    );
    assert_eq!(shown(&recording!("too_large")), ["ApiVersions  Ok", "Metadata small Ok", "Produce small Error 10"]);
    assert_eq!(
        shown(&recording!("idempotent")),
        ["ApiVersions  Ok", "InitProducerId  Error 14", "InitProducerId  Ok", "Produce orders Ok", "Produce orders Ok"]
    );
    let pipelined = shown(&recording!("pipelined"));
    assert_eq!(pipelined[0], "ApiVersions  Ok");
    assert_eq!(pipelined[1..], vec!["Produce orders Ok"; 24]);
    let mut transaction = shown(&recording!("transaction_22"));
    transaction.dedup(); // asked again while the one before is being committed
    assert_eq!(
        transaction,
        [
            "ApiVersions  Ok",
            "Metadata  Ok",
            "InitProducerId  Ok",
            "AddPartitionsToTxn orders Ok",
            "EndTxn  Ok",
            "AddPartitionsToTxn orders Error 51",
            "AddPartitionsToTxn orders Ok",
            "EndTxn  Ok",
        ]
    );
}

#[test]
fn reads_consumers_with_and_without_a_group() {
    assert_eq!(
        shown(&recording!("group_11")),
        [
            "ApiVersions  Ok",
            "Metadata  Ok",
            "JoinGroup  Error 79",
            "JoinGroup  Ok",
            "Metadata orders Ok",
            "SyncGroup  Ok",
            "Heartbeat  Ok",
            "OffsetFetch orders Ok",
            "OffsetCommit orders Ok",
            "LeaveGroup  Ok",
        ]
    );
    assert_eq!(
        shown(&recording!("java_consumer_protocol_68")),
        [
            "ApiVersions  Ok",
            "ConsumerGroupHeartbeat orders Ok",
            "ConsumerGroupHeartbeat  Ok",
            "OffsetFetch orders Ok",
            "OffsetCommit orders Ok",
            "OffsetCommit orders Ok",
            "ConsumerGroupHeartbeat  Ok",
        ]
    );
    let fetch = shown(&recording!("fetch"));
    assert_eq!(
        fetch[3..],
        [
            "ListOffsets orders Ok",
            "ListOffsets orders Ok",
            "Fetch orders Ok",
            "Fetch orders Ok",
            "Fetch orders Ok",
            "Fetch orders unanswered"
        ],
        "the client went while it waited"
    );
}

#[test]
fn only_groups_that_gather_may_block() {
    let messages = read(&recording!("group_11"));
    let blocks: Vec<_> = messages.iter().filter(|message| message.may_block).map(|m| m.method.as_str()).collect();
    assert_eq!(blocks, ["JoinGroup", "JoinGroup", "SyncGroup"]);
    assert!(read(&recording!("fetch")).iter().all(|message| !message.may_block), "half a second is no long poll");
}

#[test]
fn topic_ids_go_by_the_names_that_were_told_on_the_connection() {
    let by_id = shown(&recording!("fetch_by_id"));
    assert_eq!(by_id[7..], ["Fetch orders Ok", "Fetch orders Ok", "Fetch orders unanswered"]);
    // The Java client asks for metadata elsewhere: what was not told is not guessed.
    let untold = shown(&recording!("java_produce"));
    assert_eq!(untold[2..], vec!["Produce  Ok"; 6]);
    assert_eq!(shown(&recording!("java_consumer_protocol_1"))[2..], vec!["Fetch  Ok"; 3]);
}

#[test]
fn fetches_of_a_session_go_by_its_first_topic() {
    let consume = shown(&recording!("java_consume_1"));
    assert_eq!(consume[4..], vec!["Fetch orders Ok"; 5], "only the first names it; the last ends the session");
}

#[test]
fn tokens_of_sasl_are_no_messages() {
    assert_eq!(shown(&recording!("sasl_tokens"))[..2], ["SaslHandshake  Ok", "Metadata orders Ok"]);
    assert_eq!(
        shown(&recording!("sasl"))[..4],
        ["ApiVersions  Ok", "SaslHandshake  Ok", "SaslAuthenticate  Ok", "Metadata  Ok"]
    );
    assert_eq!(shown(&recording!("sasl_refused"))[2], "SaslAuthenticate  Error 58");
}

#[test]
fn every_byte_belongs_to_a_message() {
    for (name, conversation) in recordings() {
        let moved: usize = conversation.turns.iter().map(|(_, bytes)| bytes.len()).sum();
        let read: u64 = read(&conversation).iter().map(|message| message.bytes).sum();
        let tokens = if name == "sasl_tokens" { TOKENS } else { 0 };
        assert_eq!(read + tokens, moved as u64, "{name}");
    }
}

/// The length and `reader NUL reader NUL open`, and the length of nothing that answers it.
const TOKENS: u64 = 4 + 18 + 4;

#[test]
fn keeps_prefixes_and_gaps() {
    for (conversation, resyncs) in [
        (recording!("produce"), true),
        (recording!("produce_acks0"), true),
        (recording!("produce_oldest"), true),
        (recording!("sasl_tokens"), true),
        (recording!("java_admin"), true),
        (recording!("group_11"), true),
        // A name that was told before the gap is known behind it.
        (recording!("java_consume_1"), false),
    ] {
        laws::keeps_prefixes::<Kafka>(&conversation);
        laws::keeps_gaps::<Kafka>(&conversation, resyncs);
    }
}

#[test]
fn keeps_splits() {
    for (_, conversation) in recordings() {
        laws::keeps_splits::<Kafka>(&conversation);
    }
}

#[test]
fn keeps_hostile_bytes() {
    for (_, conversation) in recordings() {
        laws::keeps_hostile::<Kafka>(&conversation, 60);
    }
}

#[test]
fn recognises_every_first_request_on_any_port() {
    for (name, conversation) in recordings() {
        for port in [9092, 0, 5432] {
            let request = &conversation.turns[0].1;
            laws::keeps_probe::<Kafka>(request, context(port), Probe::Match(Speaker::Client));
            assert_eq!(Kafka::probe(&request[..4], context(port)), Probe::NeedMore, "{name}: the length alone");
        }
        for (direction, bytes) in &conversation.turns {
            let matches = Kafka::probe(bytes, context(9092)) == Probe::Match(Speaker::Client);
            assert!(!matches || *direction == Egress, "{name}: a response says nothing");
            let late = Kafka::probe(bytes, ProbeContext { late: true, ..context(9092) });
            let token = name == "sasl_tokens" && bytes.get(4..10) == Some(b"reader");
            // A token, or the rest of a request that came in two pieces, is none.
            let begins =
                bytes.get(4) == Some(&0) && bytes.first_chunk() == Some(&(bytes.len() as u32 - 4).to_be_bytes());
            assert!(*direction == Ingress || token || !begins || late == Probe::Match(Speaker::Client), "{name}");
        }
    }
}

#[test]
fn recognises_clients_without_a_name() {
    let versions = b"\0\0\0\x0a\0\x12\0\0\0\0\0\0\xff\xff";
    laws::keeps_probe::<Kafka>(versions, context(0), Probe::Match(Speaker::Client));
    let metadata = b"\0\0\0\x0e\0\x03\0\0\0\0\0\x01\0\0\0\0\0\0";
    laws::keeps_probe::<Kafka>(metadata, context(0), Probe::Match(Speaker::Client));
    let produce = b"\0\0\0\x40\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\x75\x30\0\0\0\x01\0\x06orders\0\0";
    laws::keeps_probe::<Kafka>(produce, context(0), Probe::Match(Speaker::Client));
}

#[test]
fn refuses_what_only_looks_like_it() {
    for (what, bytes) in [
        ("PostgreSQL", &b"\0\0\0\x23\0\x03\0\0user\0postgres\0database\0shop\0\0"[..]),
        ("SSLRequest of PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("ZooKeeper, connect", b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10"),
        ("ZooKeeper, exists", b"\0\0\0\x16\0\0\0\x01\0\0\0\x03\0\0\0\x09/brokers/"),
        ("HTTP/2, SETTINGS", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff"),
        ("HTTP", b"GET / HTTP/1.1\r\n"),
        ("Thrift", b"\0\0\0\x20\x80\x01\0\x01\0\0\0\x04ping"),
        ("RocketMQ", b"\0\0\x01\x0a\0\0\0\xf0{\"code\":310"),
        ("zeros", &[0; 64]),
        ("a length and zeros", b"\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("a version to come", b"\0\0\0\x20\0\x03\0\x20\0\0\0\0\0\x07rdkafka\0\0\0"),
        ("an API to come", b"\0\0\0\x20\0\x7f\0\0\0\0\0\0\0\x07rdkafka\0\0\0"),
    ] {
        laws::keeps_probe::<Kafka>(bytes, context(9092), Probe::NoMatch);
        assert_eq!(Kafka::probe(bytes, context(9092)), Probe::NoMatch, "{what}");
    }
    let datagram = ProbeContext { transport: Transport::Udp, ..context(9092) };
    assert_eq!(Kafka::probe(&recording!("produce").turns[0].1, datagram), Probe::NoMatch);
}
