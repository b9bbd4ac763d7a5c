//! Identification on conversations of real programs, on foreign ones, and on connections that are older than the probe.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support outside of tests")]

#[path = "parse/traffic.rs"]
mod traffic;

use redtap_stages::abi::Capture;
use redtap_stages::flow::conn::{ConnInfo, Direction, Direction::*, Role, Transport, What};
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::identify::{Identify, Reject};
use redtap_stages::limits;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use traffic::{Bytes, Traffic, info, recording};

const KEEPALIVE: &[u8] = include_bytes!("fixtures/http1/nginx_keepalive.bin");
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn run(stage: &mut Identify<Bytes>, traffic: &mut Traffic) -> SegmentBatch<Bytes> {
    let mut out = SegmentBatch::default();
    stage.process(Nanos(0), &mut traffic.batch(), &mut out);
    let ledger = stage.ledger();
    assert!(ledger.balances() && ledger.held == 0, "{ledger:?}");
    out
}

fn segments(out: &SegmentBatch<Bytes>) -> Vec<Segment> {
    out.items.iter().filter_map(|about| if let What::Item(s) = &about.what { Some(*s) } else { None }).collect()
}

fn roles(out: &SegmentBatch<Bytes>) -> Vec<Role> {
    out.items.iter().filter_map(|about| if let What::Opened(i) = &about.what { Some(i.role) } else { None }).collect()
}

/// The protocol that a connection of these turns ends up with.
fn protocol_of(info: ConnInfo, turns: &[(Direction, &[u8])]) -> Protocol {
    let mut stage = Identify::new();
    let mut traffic = Traffic::of(0, info);
    for (direction, bytes) in turns {
        traffic.say(*direction, bytes, 0);
    }
    let out = run(&mut stage, &mut traffic);
    if stage.counts().foreign > 0 {
        assert!(out.verdicts.iter().all(|verdict| verdict.capture == Capture::Mute));
        return Protocol::Foreign;
    }
    segments(&out).last().map_or(Protocol::Unknown, |segment| segment.protocol)
}

#[test]
fn decides_on_the_first_segment_and_stays_with_it() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::open(7, Role::Client);
    for (direction, bytes) in recording(KEEPALIVE) {
        traffic.say(direction, &bytes, 0);
    }
    traffic.say(Egress, b"*1\r\n$4\r\nPING\r\n", 0);
    let out = run(&mut stage, &mut traffic);
    assert!(segments(&out).iter().all(|segment| segment.protocol == Protocol::Http1));
    assert_eq!(segments(&out).len(), 17);
    assert_eq!(out.verdicts.len(), 1, "one verdict a connection");
    let verdict = out.verdicts[0];
    assert_eq!((verdict.conn_id, verdict.capture), (8, Capture::Head));
    assert_eq!((verdict.egress_class, verdict.ingress_class), (12, 12), "heads of either side fit");
    assert_eq!(roles(&out), [Role::Client], "nothing new was learned of the role");
}

#[test]
fn settles_an_unknown_role_from_who_speaks_and_keeps_it() {
    for (direction, bytes, role) in
        [(Ingress, GET, Role::Server), (Egress, GET, Role::Client), (Egress, OK, Role::Server)]
    {
        let mut stage = Identify::new();
        let mut traffic = Traffic::open(0, Role::Unknown);
        traffic.say(direction, bytes, 0);
        let unknown = std::sync::Arc::new(traffic.info.clone());
        traffic.push(What::Opened(unknown));
        let out = run(&mut stage, &mut traffic);
        assert_eq!(roles(&out), [Role::Unknown, role, role]);
        assert!(matches!(out.items[1].what, What::Opened(_)), "the news comes before the segment");
    }
}

#[test]
fn collects_a_prefix_that_comes_byte_by_byte() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::open(0, Role::Client);
    for byte in GET {
        traffic.say(Egress, &[*byte], 0);
    }
    let out = run(&mut stage, &mut traffic);
    let unknown = segments(&out).iter().take_while(|segment| segment.protocol == Protocol::Unknown).count();
    assert_eq!(unknown, "GET ".len(), "the first byte of the target decides");
}

#[test]
fn finds_a_server_by_its_answer_to_a_method_nobody_knows() {
    let turns: &[(Direction, &[u8])] = &[(Egress, b"BREW /pot HTTP/1.1\r\n\r\n"), (Ingress, OK)];
    assert_eq!(protocol_of(info(1), turns), Protocol::Http1);
}

#[test]
fn is_silent_about_what_it_does_not_know() {
    let foreign: &[&[(Direction, &[u8])]] = &[
        &[(Egress, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")],
        &[(Ingress, b"SSH-2.0-OpenSSH_9.2\r\n"), (Egress, b"SSH-2.0-x\r\n")],
        &[(Egress, b"AMQP\0\0\x09\x01"), (Ingress, b"\x01\0\0\0\0\x01\xfd\0\x0a\0\x0a\0\x09")],
        &[(Ingress, b"220 mail.example.org ESMTP\r\n"), (Egress, b"EHLO client.example.org\r\n")],
    ];
    for turns in foreign {
        assert_eq!(protocol_of(info(1), turns), Protocol::Foreign, "{turns:?}");
    }
}

#[test]
fn counts_every_segment_of_a_foreign_connection_after_the_decision() {
    let mut stage = Identify::<Bytes>::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, b"\x16\x03\x03\0\x05hello", 0).say(Ingress, GET, 0).say(Egress, GET, 0).close();
    let out = run(&mut stage, &mut traffic);
    assert_eq!(stage.ledger().rejected_for(Reject::Foreign), 3);
    assert_eq!(out.items.len(), 2, "opening and closing are passed on");
    assert_eq!(out.verdicts.len(), 1);
}

#[test]
fn gives_up_after_a_bounded_number_of_segments() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::open(0, Role::Client);
    for _ in 0..limits::IDENTIFY_SEGMENTS {
        assert_eq!(stage.counts().foreign, 0);
        traffic.say(Egress, b"nothing that anybody knows", 0);
        run(&mut stage, &mut traffic);
    }
    assert_eq!(stage.counts().foreign, 1, "even if the other side never speaks");
}

#[test]
fn waits_for_a_turn_to_begin_on_a_connection_older_than_the_probe() {
    let late = ConnInfo { late: true, role: Role::Unknown, ..info(1) };
    let turns: &[(Direction, &[u8])] = &[
        (Ingress, b"<the middle of a body>"),
        (Ingress, GET),
        (Egress, b"more of a body"),
        (Ingress, GET),
        (Egress, OK),
    ];
    assert_eq!(protocol_of(late.clone(), turns), Protocol::Http1);
    let mut long = vec![(Ingress, &b"?"[..])];
    for _ in 0..limits::IDENTIFY_SEGMENTS {
        long.extend([(Egress, &b"!"[..]), (Ingress, &b"?"[..])]);
    }
    assert_eq!(protocol_of(late, &long), Protocol::Foreign, "but not for ever");
}

#[test]
fn does_not_count_what_follows_a_turns_beginning_on_an_old_connection() {
    let late = ConnInfo { late: true, ..info(1) };
    let mut turns = vec![(Ingress, &b"a long body"[..]); 100];
    turns.extend([(Egress, GET), (Ingress, OK)]);
    assert_eq!(protocol_of(late, &turns), Protocol::Http1);
}

#[test]
fn treats_a_connection_whose_first_turns_were_missed_as_an_old_one() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.missed(1, 0).say(Ingress, b"the end of an answer", 0).say(Egress, b"rest", 0);
    traffic.say(Ingress, b"more", 0).say(Egress, GET, 0);
    let out = run(&mut stage, &mut traffic);
    assert_eq!(segments(&out).last().unwrap().protocol, Protocol::Http1);
}

#[test]
fn does_not_believe_content_against_the_kernel() {
    // A server that sends what looks like a request is not a client.
    assert_eq!(protocol_of(ConnInfo { role: Role::Server, ..info(1) }, &[(Egress, GET)]), Protocol::Unknown);
}

#[test]
fn a_prefix_cut_by_a_gap_decides_nothing() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, b"GE", 5).say(Egress, b"T / HTTP/1.1\r\n", 0).say(Ingress, OK, 0);
    let out = run(&mut stage, &mut traffic);
    let protocols = segments(&out).iter().map(|segment| segment.protocol).collect::<Vec<_>>();
    assert_eq!(protocols, [Protocol::Unknown, Protocol::Unknown, Protocol::Http1]);
}

#[test]
fn looks_at_each_datagram_alone() {
    let udp = ConnInfo { transport: Transport::Udp, ..info(1) };
    assert_eq!(protocol_of(udp.clone(), &[(Egress, b"G"), (Egress, b"ET / HTTP/1.1")]), Protocol::Unknown);
    let junk = vec![(Egress, &b"\xff\xff"[..]); limits::IDENTIFY_SEGMENTS as usize];
    assert_eq!(protocol_of(udp, &junk), Protocol::Foreign);
}

#[test]
fn forgets_with_the_connection_and_tells_tenants_of_a_slot_apart() {
    let mut stage = Identify::<Bytes>::new();
    let mut first = Traffic::open(3, Role::Client);
    first.say(Egress, GET, 0).close();
    run(&mut stage, &mut first);
    first.say(Egress, GET, 0);
    assert!(segments(&run(&mut stage, &mut first)).is_empty());
    assert_eq!(stage.ledger().rejected_for(Reject::UnknownConnection), 1);
    let mut second = Traffic::open(3, Role::Client);
    second.say(Egress, b"PUT", 0);
    second.conn.generation = 2;
    let mut batch = second.batch();
    batch.items.iter_mut().for_each(|about| about.conn.generation = 2);
    let mut out = SegmentBatch::default();
    stage.process(Nanos(0), &mut batch, &mut out);
    assert_eq!(segments(&out)[0].protocol, Protocol::Unknown, "nothing is inherited");
}

#[test]
fn says_which_way_the_budgets_go() {
    for (role, direction, classes) in [(Role::Client, Egress, (13, 14)), (Role::Server, Ingress, (14, 13))] {
        let mut stage = Identify::new();
        let mut traffic = Traffic::open(0, role);
        traffic.say(direction, b"*1\r\n$4\r\nPING\r\n", 0);
        let verdict = run(&mut stage, &mut traffic).verdicts[0];
        assert_eq!((verdict.ingress_class, verdict.egress_class), classes);
    }
}

#[test]
fn says_again_that_a_connection_is_foreign_but_not_often() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::open(0, Role::Client);
    let mut told = Vec::new();
    for _ in 0..50 {
        traffic.clock += 100_000_000;
        traffic.say(Egress, b"\x16\x03\x03\0\x05hello", 0);
        let at = traffic.clock;
        told.extend(run(&mut stage, &mut traffic).verdicts.iter().map(|verdict| (verdict.capture, at / 100_000_000)));
    }
    assert_eq!(told, [1, 11, 21, 31, 41].map(|at| (Capture::Mute, at)));
}

#[test]
fn turns_that_went_by_in_silence_are_not_missed() {
    let mut stage = Identify::<Bytes>::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, b"\x16\x03\x03\0\x05hello", 0).missed(2_500, 2_500).close();
    let out = run(&mut stage, &mut traffic);
    assert!(!out.items.iter().any(|about| matches!(about.what, What::Missed { .. })));
    assert_eq!(stage.ledger().rejected_for(Reject::Foreign), 2);
}

#[test]
fn looks_anew_at_a_datagram_socket_after_a_while() {
    let mut stage = Identify::new();
    let mut traffic = Traffic::of(0, ConnInfo { transport: Transport::Udp, role: Role::Unknown, ..info(1) });
    for _ in 0..limits::IDENTIFY_SEGMENTS {
        traffic.say(Ingress, b"\xff\xff", 0);
    }
    assert_eq!(run(&mut stage, &mut traffic).verdicts[0].capture, Capture::Mute);
    let mut out = SegmentBatch::default();
    stage.tick(limits::IDENTIFY_ASLEEP, &mut out);
    assert!(out.verdicts.is_empty(), "not yet");
    stage.tick(limits::IDENTIFY_ASLEEP + Nanos::SECOND, &mut out);
    assert_eq!(out.verdicts.iter().map(|verdict| verdict.capture).collect::<Vec<_>>(), [Capture::Head]);
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03aaa\0\0\x01\0\x01";
    traffic.say(Ingress, query, 0);
    let out = run(&mut stage, &mut traffic);
    assert_eq!(segments(&out)[0].protocol, Protocol::Dns);
    // What went by in silence is not counted by the kernel.
    traffic.missed(3, 0);
    let out = run(&mut stage, &mut traffic);
    assert!(matches!(out.items.last().unwrap().what, What::Missed { requests: 3, .. }), "but what follows counts");
    assert_eq!((stage.counts().foreign, stage.counts().woken), (1, 1));
}

#[test]
fn another_number_in_the_same_place_is_another_connection() {
    let mut stage = Identify::new();
    let mut tls = Traffic::open(0, Role::Client);
    tls.say(Egress, b"\x16\x03\x03\0\x05hello", 0);
    run(&mut stage, &mut tls);
    let mut web = Traffic::of(0, info(77));
    web.say(Egress, GET, 0);
    let out = run(&mut stage, &mut web);
    assert_eq!(segments(&out)[0].protocol, Protocol::Http1);
    assert_eq!(out.verdicts[0].conn_id, 77);
}

#[test]
fn joins_a_connection_that_a_former_run_had_followed() {
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, OK, 0);
    run(&mut Identify::new(), &mut traffic);
    let mut stage = Identify::new();
    let opened = What::Opened(std::sync::Arc::new(traffic.info.clone()));
    traffic.push(opened).say(Ingress, b"the rest of a body", 0).say(Egress, b"of another", 0);
    traffic.say(Ingress, b"and one more", 0).say(Egress, GET, 0);
    let out = run(&mut stage, &mut traffic);
    assert_eq!(segments(&out).last().unwrap().protocol, Protocol::Http1);
}

const STRANGE: &[u8] = b"nothing that anybody knows";

fn hasty() -> Identify<Bytes> {
    let mut stage = Identify::new();
    stage.set_hasty(true);
    stage
}

#[test]
fn in_haste_one_turn_of_nothing_known_is_enough() {
    let mut stage = hasty();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, STRANGE, 0);
    let out = run(&mut stage, &mut traffic);
    assert_eq!((stage.counts().foreign, stage.counts().hurried), (1, 1));
    assert_eq!(out.verdicts.iter().map(|verdict| verdict.capture).collect::<Vec<_>>(), [Capture::Mute]);
    // What is known is known in haste too, also by its second piece.
    let mut web = Traffic::of(1, info(2));
    web.say(Egress, &GET[..2], 0).say(Egress, &GET[2..], 0);
    let out = run(&mut stage, &mut web);
    assert_eq!(segments(&out).last().unwrap().protocol, Protocol::Http1);
    assert_eq!(stage.counts().hurried, 1);
}

#[test]
fn in_haste_a_connection_seen_from_its_middle_keeps_its_chance() {
    let mut stage = hasty();
    let mut traffic = Traffic::of(0, ConnInfo { late: true, ..info(1) });
    traffic.say(Ingress, b"the rest of a body", 0).say(Egress, GET, 0);
    let out = run(&mut stage, &mut traffic);
    assert_eq!(segments(&out).last().unwrap().protocol, Protocol::Http1);
    assert_eq!(stage.counts().hurried, 0);
}

#[test]
fn what_was_given_up_in_haste_is_looked_at_anew_when_there_is_time() {
    let mut stage = hasty();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, STRANGE, 0);
    run(&mut stage, &mut traffic);
    let mut tls = Traffic::of(1, info(9));
    tls.say(Egress, b"\x16\x03\x03\0\x05hello", 0);
    run(&mut stage, &mut tls);
    stage.set_hasty(true);
    let mut out = SegmentBatch::default();
    stage.tick(Nanos::SECOND, &mut out);
    assert!(out.verdicts.is_empty(), "still in haste");
    stage.set_hasty(false);
    stage.tick(Nanos::from_secs(2), &mut out);
    let told: Vec<_> = out.verdicts.iter().map(|verdict| (verdict.conn_id, verdict.capture)).collect();
    assert_eq!(told, [(1, Capture::Head)], "TLS stays what it is");
    stage.tick(Nanos::from_secs(3), &mut out);
    assert_eq!((out.verdicts.len(), stage.counts().woken), (1, 1), "once");
    traffic.say(Ingress, STRANGE, 0).say(Egress, GET, 0);
    let out = run(&mut stage, &mut traffic);
    assert_eq!(segments(&out).last().unwrap().protocol, Protocol::Http1);
}
