//! Tests of the protocol `dns`: recordings of dig and dnsmasq, the shared laws, hostile names, and an oracle.

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::limits::MAX_ANSWERS;
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};
use proptest::prelude::*;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE, rdata};
use std::net::IpAddr;

macro_rules! recording {
    ($name:literal, $transport:expr) => {
        Conversation::read(
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dns/", $name, ".rec")),
            $transport,
        )
    };
}

fn read(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<Dns>::new(conversation.transport).conversation(conversation);
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0)
}

/// Each answer with the question of its id.
fn shown(conversation: &Conversation) -> Vec<String> {
    let mut open: Vec<Message> = Vec::new();
    let mut out = Vec::new();
    for message in read(conversation) {
        if message.kind == MessageKind::Request {
            open.push(message);
            continue;
        }
        let at = open.iter().position(|question| question.id == message.id).expect("the question of the answer");
        let question = open.remove(at);
        let outcome = if message.code.is_empty() { format!("{:?}", message.status) } else { message.code.to_string() };
        out.push(format!("{} {} {outcome} {:?}", question.method, question.target, message.addresses.as_slice()));
    }
    assert!(open.is_empty(), "unanswered: {open:?}");
    out
}

const LOOKUPS: [&str; 10] = [
    "A www.example.test Ok [192.0.2.10]",
    "AAAA www.example.test Ok [2001:db8::10]",
    "A alias.example.test Ok [192.0.2.20]",
    "MX example.test Ok []",
    "TXT example.test Ok []",
    "SRV _sip._tcp.example.test Ok []",
    "PTR 10.2.0.192.in-addr.arpa Ok []",
    "A absent.example.test NXDOMAIN []",
    "HTTPS www.example.test NXDOMAIN []",
    "TYPE999 www.example.test NXDOMAIN []",
];

#[test]
fn reads_questions_and_answers_over_udp() {
    let shown = shown(&recording!("udp", Transport::Udp));
    assert_eq!(shown[..10], LOOKUPS);
    assert_eq!(
        shown[10..14],
        ["ANY example.test Ok []", "NS . REFUSED []", "A elsewhere.invalid REFUSED []", LOOKUPS[0]]
    );
    assert!(shown[14].starts_with("A many.example.test Ok [192.0.2.1"), "{}", shown[14]);
    assert_eq!(shown[14].matches("192.0.2.").count(), MAX_ANSWERS, "addresses are bounded");
    assert_eq!(shown.len(), 15);
}

#[test]
fn reads_questions_and_answers_over_tcp() {
    let shown = shown(&recording!("tcp", Transport::Tcp));
    assert_eq!(shown[..10], LOOKUPS);
    assert_eq!(shown.len(), 11);
    let pipelined = self::shown(&recording!("tcp_pipelined", Transport::Tcp));
    assert_eq!(pipelined, [LOOKUPS[0]; 3], "three questions in one segment");
}

#[test]
fn keeps_the_laws() {
    for conversation in [
        recording!("udp", Transport::Udp),
        recording!("tcp", Transport::Tcp),
        recording!("tcp_pipelined", Transport::Tcp),
    ] {
        laws::keeps_prefixes::<Dns>(&conversation);
        laws::keeps_splits::<Dns>(&conversation);
        // Random ids of dig: a question asked again on the same connection is still its own.
        laws::keeps_gaps::<Dns>(&conversation, true);
        laws::keeps_hostile::<Dns>(&conversation, 500);
    }
}

#[test]
fn every_byte_belongs_to_a_message() {
    for conversation in [recording!("udp", Transport::Udp), recording!("tcp", Transport::Tcp)] {
        let moved: usize = conversation.turns.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(read(&conversation).iter().map(|message| message.bytes).sum::<u64>(), moved as u64);
    }
}

#[test]
fn recognises_each_recorded_message_on_any_port() {
    for port in [53, 0, 21310] {
        let context = ProbeContext { transport: Transport::Udp, server_port: port, late: false };
        for (direction, bytes) in &recording!("udp", Transport::Udp).turns {
            let speaker = if *direction == Egress { Speaker::Client } else { Speaker::Server };
            let odd = shown_type(bytes) == 999 || bytes[12] == 0;
            let expected = if odd && port != 53 { None } else { Some(Probe::Match(speaker)) };
            if let Some(expected) = expected {
                assert_eq!(Dns::probe(bytes, context), expected, "port {port}: {bytes:?}");
            }
        }
        let context = ProbeContext { transport: Transport::Tcp, ..context };
        let conversation = recording!("tcp", Transport::Tcp);
        laws::keeps_probe::<Dns>(&conversation.turns[0].1, context, Probe::Match(Speaker::Client));
        laws::keeps_probe::<Dns>(&conversation.turns[1].1, context, Probe::Match(Speaker::Server));
    }
}

fn shown_type(message: &[u8]) -> u16 {
    message::read(message).ok().and_then(|parsed| parsed.question).map_or(0, |question| question.kind)
}

fn packet(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    let name = Name::new_unchecked(name).into_owned();
    packet.questions.push(Question::new(name, TYPE::A.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

#[test]
fn refuses_what_only_looks_alike() {
    let context = |transport, port| ProbeContext { transport, server_port: port, late: false };
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ] {
        assert_eq!(Dns::probe(bytes, context(Transport::Udp, 53)), Probe::NoMatch);
        assert_ne!(Dns::probe(bytes, context(Transport::Tcp, 53)), Probe::Match(Speaker::Client));
    }
    for bytes in [&b"SSH-2.0-x"[..], b"HELO x", b"220 mail", b"{\"id\""] {
        assert_eq!(Dns::probe(bytes, context(Transport::Tcp, 53)), Probe::NoMatch, "refused at the first wrong byte");
    }
    let question = packet(0, "printer.local");
    assert_eq!(Dns::probe(&question, context(Transport::Udp, 5353)), Probe::NoMatch, "multicast");
    assert_eq!(Dns::probe(&question, context(Transport::Udp, 53)), Probe::Match(Speaker::Client));
    assert_eq!(Dns::probe(&packet(9, "x.test"), context(Transport::Udp, 5353)), Probe::Match(Speaker::Client));
    let mut reserved = packet(9, "x.test");
    reserved[3] |= 0x40;
    assert_eq!(Dns::probe(&reserved, context(Transport::Udp, 53)), Probe::NoMatch, "Z is zero");
}

fn one(bytes: &[u8]) -> (usize, Vec<Message>) {
    let drive = Drive::<Dns>::new(Transport::Udp)
        .conversation(&Conversation { turns: vec![(Ingress, bytes.to_vec())], transport: Transport::Udp });
    (drive.refusals, drive.out.0)
}

#[test]
fn a_name_never_loops_and_never_grows_past_its_bound() {
    let head = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let with = |name: &[u8]| [&head[..], name, &[0, 1, 0, 1]].concat();
    assert_eq!(one(&with(&[0xc0, 12])).0, 1, "a pointer to itself");
    assert_eq!(one(&with(&[1, b'a', 0xc0, 12])).0, 1, "a pointer to its own name");
    assert_eq!(one(&with(&[0xc0, 200])).0, 1, "a pointer past the end");
    assert_eq!(one(&with(&[0x80, 1, 0])).0, 1, "a reserved label type");
    let label = [&[63][..], &[b'x'; 63]].concat();
    let longest = [label.repeat(3), vec![61], vec![b'y'; 61], vec![0]].concat();
    assert_eq!(longest.len(), 255);
    let (refusals, messages) = one(&with(&longest));
    assert_eq!((refusals, messages[0].target.as_bytes().len()), (0, 253));
    let longer = [label.repeat(3), vec![62], vec![b'y'; 62], vec![0]].concat();
    assert_eq!(one(&with(&longer)).0, 1, "256 bytes");
}

#[test]
fn the_same_id_for_another_question_is_another_exchange() {
    let mut drive = Drive::<Dns>::new(Transport::Udp);
    for name in ["a.test", "b.test", "A.TEST"] {
        drive.turn(Egress);
        drive.bytes(Egress, &packet(7, name));
    }
    let ids: Vec<u64> = drive.out.0.iter().map(|message| message.id).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2], "case makes no difference");
    assert!(ids.iter().all(|id| id & 0xffff == 7));
}

#[test]
fn an_answer_without_a_question_is_paired_with_the_oldest_of_its_id() {
    let mut drive = Drive::<Dns>::new(Transport::Udp);
    for name in ["a.test", "b.test"] {
        drive.turn(Egress);
        drive.bytes(Egress, &packet(7, name));
    }
    for _ in 0..3 {
        drive.turn(Ingress);
        drive.bytes(Ingress, &[0, 7, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let ids: Vec<u64> = drive.out.0.iter().map(|message| message.id).collect();
    assert_eq!(ids, [ids[0], ids[1], ids[0], ids[1], 7]);
    assert_eq!(drive.out.0[2].code, "REFUSED");
}

#[test]
fn open_questions_are_bounded() {
    let mut drive = Drive::<Dns>::new(Transport::Udp);
    for id in 0..1000 {
        drive.turn(Egress);
        drive.bytes(Egress, &packet(id, "a.test"));
    }
    assert_eq!(drive.state.asked.len(), MAX_ASKED);
}

#[test]
fn a_cut_answer_over_udp_keeps_question_status_and_size() {
    let conversation = recording!("udp", Transport::Udp);
    let (_, answer) = conversation.turns.last().unwrap();
    let mut drive = Drive::<Dns>::new(Transport::Udp);
    drive.turn(Ingress);
    drive.bytes(Ingress, &answer[..100]);
    drive.gap(Ingress, answer.len() as u64 - 100);
    let messages = folded(&drive.out.0);
    assert_eq!((messages.len(), messages[0].status, messages[0].cut), (1, Status::Ok, true));
    assert_eq!(messages[0].bytes, answer.len() as u64);
    assert!(!messages[0].addresses.is_empty() && messages[0].addresses.len() < MAX_ANSWERS);
}

#[test]
fn a_cut_answer_over_tcp_is_still_reported() {
    let conversation = recording!("tcp", Transport::Tcp);
    let (_, answer) = conversation.turns.last().unwrap();
    let mut drive = Drive::<Dns>::new(Transport::Tcp);
    drive.turn(Ingress);
    drive.bytes(Ingress, &answer[..100]);
    drive.gap(Ingress, answer.len() as u64 - 100);
    assert_eq!((drive.out.0.len(), drive.out.0[0].status, drive.out.0[0].cut), (1, Status::Ok, true));
}

#[test]
fn a_long_message_over_tcp_ends_where_its_length_says_also_in_a_gap() {
    let mut message = packet(1, "a.test");
    message[7] = 1; // one answer, never to be found
    message.resize(20_000, 0xee);
    let framed = [&20_000_u16.to_be_bytes()[..], &message].concat();
    let next = packet(2, "b.test");
    let next = [&u16::try_from(next.len()).unwrap().to_be_bytes()[..], &next].concat();
    for seen in [MAX_HEAD + 2, MAX_HEAD + 500, framed.len()] {
        let mut drive = Drive::<Dns>::new(Transport::Tcp);
        drive.turn(Egress);
        drive.bytes(Egress, &framed[..seen]);
        drive.gap(Egress, (framed.len() - seen) as u64);
        drive.bytes(Egress, &next);
        assert_eq!(drive.refusals, 0);
        let messages = folded(&drive.out.0);
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].bytes, messages[0].cut), (20_002, seen < framed.len()));
        assert_eq!(messages[1].target, "b.test");
    }
}

#[test]
fn reads_the_extended_response_code() {
    let head = [0, 7, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let question = [1, b'a', 0, 0, 1, 0, 1];
    let opt = [0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0];
    let (_, messages) = one(&[&head[..], &question, &opt].concat());
    assert_eq!((messages[0].status, messages[0].code.as_str()), (Status::Error, "BADVERS"));
}

#[test]
fn names_notify_and_update() {
    for (opcode, method) in [(4, "NOTIFY"), (5, "UPDATE")] {
        let (_, messages) =
            one(&[&[0, 7, opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[1, b'Z', 0, 0, 6, 0, 1]].concat());
        assert_eq!((messages[0].method.as_str(), messages[0].target.as_str()), (method, "z"));
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,20}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_another_implementation_writes(
        id in any::<u16>(),
        labels in prop::collection::vec(label(), 1..6),
        kind in prop::sample::select(vec![(TYPE::A, "A"), (TYPE::AAAA, "AAAA"), (TYPE::MX, "MX"), (TYPE::TXT, "TXT"), (TYPE::SRV, "SRV")]),
        v4 in prop::collection::vec(any::<u32>(), 0..20),
        v6 in prop::collection::vec(any::<u128>(), 0..20),
        refused in any::<bool>(),
        compressed in any::<bool>(),
    ) {
        let name = Name::new(&labels.join(".")).unwrap().into_owned();
        let question = Question::new(name.clone(), QTYPE::TYPE(kind.0), QCLASS::CLASS(CLASS::IN), false);
        let mut query = Packet::new_query(id);
        query.questions.push(question.clone());
        let mut reply = Packet::new_reply(id);
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
        reply.questions.push(question);
        if refused {
            *reply.rcode_mut() = RCODE::Refused;
        }
        let record = |data| ResourceRecord::new(name.clone(), CLASS::IN, 60, data);
        reply.answers.extend(v4.iter().map(|address| record(rdata::RData::A(rdata::A { address: *address }))));
        reply.answers.extend(v6.iter().map(|address| record(rdata::RData::AAAA(rdata::AAAA { address: *address }))));
        let build = |packet: &Packet<'_>| if compressed { packet.build_bytes_vec_compressed() } else { packet.build_bytes_vec() }.unwrap();
        let turns = vec![(Egress, build(&query)), (Ingress, build(&reply))];
        let got = read(&Conversation { turns, transport: Transport::Udp });
        prop_assert_eq!(got.len(), 2);
        prop_assert_eq!(got[0].id, got[1].id);
        prop_assert_eq!(got[0].method.as_str(), kind.1);
        prop_assert_eq!(got[0].target.as_str(), labels.join(".").to_lowercase());
        prop_assert_eq!(got[1].code.as_str(), if refused { "REFUSED" } else { "" });
        let v4 = v4.iter().map(|address| IpAddr::V4((*address).into()));
        let v6 = v6.iter().map(|address| IpAddr::V6((*address).into()));
        prop_assert_eq!(got[1].addresses.to_vec(), v4.chain(v6).take(MAX_ANSWERS).collect::<Vec<_>>());
    }

    #[test]
    fn where_the_other_implementation_reads_a_changed_message_the_questions_agree(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let conversation = recording!("udp", Transport::Udp);
        let mut bytes = conversation.turns[which.index(conversation.turns.len())].1.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let (Ok(theirs), Ok(ours)) = (Packet::parse(&bytes), message::read(&bytes))
            && let (Some(theirs), Some(ours)) = (theirs.questions.first(), ours.question)
        {
            let name = theirs.qname.to_string().to_lowercase();
            let name = if name.is_empty() { ".".to_owned() } else { name };
            if name.is_ascii() && !name.contains('\\') {
                prop_assert_eq!(ours.name.as_str(), name);
            }
        }
    }
}

#[test]
fn an_address_is_one_of_the_internet() {
    let head = [0, 7, 0x80, 0, 0, 1, 0, 2, 0, 0, 0, 0];
    let question = [1, b'a', 0, 0, 1, 0, 1];
    let record = |class| [0xc0, 12, 0, 1, 0, class, 0, 0, 0, 60, 0, 4, 192, 0, 2, class];
    let (_, messages) = one(&[&head[..], &question, &record(3), &record(1)].concat());
    assert_eq!(messages[0].addresses.as_slice(), [IpAddr::from([192, 0, 2, 1])]);
}
