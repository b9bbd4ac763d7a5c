//! What `decode` makes of records, one rule a test.
#![expect(clippy::unwrap_used, reason = "a test's own arithmetic")]

#[path = "flow/records.rs"]
mod records;

use records::{Bytes, UDP, header, put};
use redtap_stages::abi::{EventHeader, flag, kind, reason};
use redtap_stages::decode::{Decode, DecodeSettings, ListeningPorts, MAX_PAST, Reject};
use redtap_stages::flow::conn::Direction::{Egress, Ingress};
use redtap_stages::flow::conn::{About, Address, Direction, Role, Transport, What};
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::limits;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A data record of `len` bytes at `offset`, all captured.
fn data(conn_id: u64, direction: Direction, turn: u32, offset: u64, other: u64, len: u32) -> EventHeader {
    let mut header = header(conn_id, kind::DATA, direction, turn);
    header.flags = flag::TURN_START;
    (header.offset, header.other_offset) = (offset, other);
    (header.len, header.cap_len) = (len, len);
    header.ts_ns = 1_000 * (u64::from(turn) + 1);
    header.other_ts_ns = header.ts_ns - 500;
    header
}

fn payload(header: &EventHeader) -> Vec<u8> {
    vec![b'x'; usize::try_from(header.cap_len).unwrap()]
}

/// The same record, where the kernel counts `n` turns that no record begins.
fn unseen(n: u32, header: &EventHeader) -> EventHeader {
    EventHeader { unseen: n, ..*header }
}

/// The same record, the first one that the ring took of its connection.
fn first(header: &EventHeader) -> EventHeader {
    EventHeader { flags: header.flags | flag::FIRST, ..*header }
}

/// A decode stage and what it says of single records.
struct Bench {
    decode: Decode<Bytes>,
    now: Nanos,
}

impl Bench {
    fn new(settings: DecodeSettings) -> Self {
        Self { decode: Decode::new(settings), now: Nanos(1) }
    }

    /// Everything that one record gives.
    fn give(&mut self, header: &EventHeader) -> Vec<About<Segment>> {
        let mut batch = EventBatch::default();
        put(&mut batch, header, &payload(header));
        self.give_batch(&mut batch)
    }

    fn give_batch(&mut self, batch: &mut EventBatch<Bytes>) -> Vec<About<Segment>> {
        let mut out = SegmentBatch::default();
        self.decode.process(self.now, batch, &mut out);
        batch.recycle();
        assert!(self.decode.ledger().balances());
        out.items
    }

    /// The same in words: `opened`, `in 0+5`, `out 7+0~100` (offset, captured, gap), `!` begins a turn, `end`,
    /// `missed 1/0`, `closed Fin`.
    fn say(&mut self, header: &EventHeader) -> Vec<String> {
        self.give(header).iter().map(words).collect()
    }
}

fn words(item: &About<Segment>) -> String {
    match &item.what {
        What::Opened(_) => "opened".to_owned(),
        What::Missed { requests, responses } => format!("missed {requests}/{responses}"),
        What::Closed(why) => format!("closed {why:?}"),
        What::Item(segment) => {
            let way = if segment.direction == Direction::Ingress { "in" } else { "out" };
            let gap = if segment.gap == 0 { String::new() } else { format!("~{}", segment.gap) };
            let turn = if segment.turn_start { "!" } else { "" };
            let end = if segment.end { " end" } else { "" };
            format!("{way} {}+{}{gap}{turn}{end}", segment.offset, segment.captured.len)
        }
    }
}

fn bench() -> Bench {
    Bench::new(DecodeSettings::default())
}

#[test]
fn opens_a_connection_before_its_first_bytes() {
    let items = bench().give(&data(9, Ingress, 0, 0, 0, 5));
    let What::Opened(info) = &items[0].what else { panic!("{items:?}") };
    assert_eq!((info.id, info.role, info.transport), (9, Role::Server, Transport::Tcp));
    assert_eq!(info.local, Address::Inet(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080));
    assert_eq!(info.remote, Address::Inet(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000));
    assert_eq!((info.owner.pid, info.owner.name(), info.owner.cgroup_id), (77, "nginx", 5));
    let What::Item(segment) = &items[1].what else { panic!("{items:?}") };
    assert_eq!((segment.captured, segment.turn_start), (Span { start: 144, len: 5 }, true));
    assert_eq!(items[1].at, Nanos(1_000));
}

#[test]
fn bytes_that_were_not_captured_are_a_gap_behind_the_captured_ones() {
    let mut record = data(1, Ingress, 0, 0, 0, 5);
    record.len = 100;
    assert_eq!(bench().say(&record), ["opened", "in 0+5~95!"]);
}

#[test]
fn tells_the_end_of_a_body_that_was_only_counted_before_the_next_turn() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 20));
    let mut next = data(1, Ingress, 2, 10, 5_000, 10);
    next.other_ts_ns = 2_750;
    let items = bench.give(&next);
    assert_eq!(items.iter().map(words).collect::<Vec<_>>(), ["out 20+0~4980", "in 10+10!"]);
    assert_eq!(items[0].at, Nanos(2_750));
}

#[test]
fn refused_turns_go_the_way_that_their_numbers_say() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    // Turns 1 (answer), 2 (request), 3 (answer) were refused.
    let items = bench.give(&unseen(3, &data(1, Ingress, 4, 30, 50, 10)));
    let said: Vec<_> = items.iter().map(words).collect();
    assert_eq!(said, ["out 0+0~50", "missed 1/2", "in 10+0~20", "in 30+10!"]);
    assert_eq!(items[2].at, Nanos(4_500), "over when the other side had spoken last, not when turn 4 began");
}

#[test]
fn a_first_record_in_a_later_turn_means_that_the_turns_before_were_refused() {
    assert_eq!(
        bench().say(&unseen(3, &first(&data(1, Egress, 3, 0, 10, 7)))),
        ["opened", "in 0+0~10", "missed 2/1", "out 0+7!"]
    );
}

#[test]
fn a_turn_whose_first_record_was_refused_is_missed_and_its_rest_begins_none() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    let mut rest = data(1, Egress, 1, 100, 10, 7);
    (rest.flags, rest.unseen) = (0, 1);
    assert_eq!(bench.say(&rest), ["missed 0/1", "out 0+0~100", "out 100+7"]);
    let mut more = data(1, Egress, 1, 107, 10, 7);
    (more.flags, more.unseen) = (0, 1);
    assert_eq!(bench.say(&more), ["out 107+7"], "counted once");
}

#[test]
fn progress_tells_of_bytes_and_turns_without_records() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 7));
    let mut progress = header(1, kind::PROGRESS, Egress, 3);
    (progress.offset, progress.other_offset, progress.ts_ns, progress.other_ts_ns) = (500, 20, 9_000, 8_000);
    (progress.family, progress.pid, progress.unseen) = (0, 0, 2);
    let items = bench.give(&progress);
    assert_eq!(items.iter().map(words).collect::<Vec<_>>(), ["in 10+0~10", "missed 1/1", "out 7+0~493"]);
    assert_eq!((items[0].at, items[2].at), (Nanos(8_000), Nanos(9_000)));
    assert_eq!(bench.say(&progress), Vec::<String>::new());
    assert_eq!(bench.decode.ledger().rejected_for(Reject::NothingNew), 1);
}

#[test]
fn what_a_client_missed_is_named_from_its_side() {
    let mut late = first(&unseen(2, &data(1, Egress, 2, 10, 10, 5)));
    late.role = 1;
    assert_eq!(bench().say(&late), ["opened", "in 0+0~10", "missed 1/1", "out 0+0~10", "out 10+5!"]);
    let mut rest = unseen(1, &data(2, Egress, 0, 10, 0, 5));
    (rest.role, rest.flags) = (1, flag::FIRST);
    assert_eq!(bench().say(&rest), ["opened", "missed 1/0", "out 0+0~10", "out 10+5"]);
}

#[test]
fn a_close_accounts_for_everything_before_it_and_frees_the_slot() {
    let mut bench = bench();
    let first = bench.give(&data(1, Ingress, 0, 0, 0, 10));
    let mut close = header(1, kind::CLOSE, Egress, 1);
    (close.offset, close.other_offset, close.detail, close.unseen) = (30, 10, reason::ABORT, 1);
    assert_eq!(bench.say(&close), ["missed 0/1", "out 0+0~30", "closed Abort"]);
    assert_eq!(bench.say(&data(1, Ingress, 2, 10, 30, 10)), Vec::<String>::new());
    assert_eq!(bench.decode.ledger().rejected_for(Reject::AfterClose), 1);
    let second = bench.give(&data(2, Ingress, 0, 0, 0, 10));
    assert_eq!(second[0].conn.slot, first[0].conn.slot);
    assert_ne!(second[0].conn.generation, first[0].conn.generation);
}

/// The peer's reset comes in the middle of a call; the record of what that sent is made when it is over.
#[test]
fn a_connection_that_was_reset_is_closed_a_moment_later() {
    let mut bench = bench();
    bench.give(&data(1, Ingress, 0, 0, 0, 10));
    let mut close = header(1, kind::CLOSE, Ingress, 0);
    (close.offset, close.detail, close.ts_ns) = (10, reason::RESET, 1_500);
    assert_eq!(bench.say(&close), Vec::<String>::new());
    assert_eq!(bench.say(&data(1, Egress, 1, 0, 10, 20)), ["out 0+20!"]);
    let mut out = SegmentBatch::default();
    let last = bench.now + limits::RESET_LINGER;
    bench.decode.tick(last - Nanos(1), &mut out);
    assert_eq!(out.items.len(), 0);
    bench.decode.tick(last, &mut out);
    assert_eq!(out.items.iter().map(words).collect::<Vec<_>>(), ["closed Reset"]);
    assert_eq!(out.items[0].at, Nanos(1_500), "when it was reset");
    bench.give(&data(1, Egress, 2, 20, 10, 5));
    assert_eq!(bench.decode.ledger().rejected_for(Reject::AfterClose), 1);
}

/// Nothing is left to linger at the end.
#[test]
fn a_reset_is_said_when_the_stage_is_drained() {
    let mut bench = bench();
    bench.give(&data(1, Ingress, 0, 0, 0, 10));
    let mut close = header(1, kind::CLOSE, Ingress, 0);
    (close.offset, close.detail) = (10, reason::RESET);
    bench.give(&close);
    let mut out = SegmentBatch::default();
    bench.decode.drain(bench.now, &mut out);
    assert_eq!(out.items.iter().map(words).collect::<Vec<_>>(), ["closed Reset"]);
}

#[test]
fn a_failed_connect_opens_closes_and_misses_nothing() {
    let mut close = header(3, kind::CLOSE, Ingress, 0);
    (close.role, close.detail) = (1, reason::REFUSED);
    assert_eq!(bench().say(&close), ["opened", "closed Refused"]);
}

#[test]
fn the_end_of_a_direction_closes_its_gap_first() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 20));
    let mut end = header(1, kind::EOF, Egress, 1);
    (end.offset, end.other_offset) = (100, 10);
    assert_eq!(bench.say(&end), ["out 20+0~80", "out 100+0 end"]);
}

#[test]
fn the_end_of_the_other_direction_does_not_turn_the_turns_around() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 20));
    // The client has hung up: ingress ends while the last turn, 3, is the server's; 2 and 3 were refused.
    let mut end = header(1, kind::EOF, Ingress, 3);
    (end.offset, end.other_offset, end.unseen) = (15, 40, 2);
    assert_eq!(bench.say(&end), ["out 20+0~20", "missed 1/1", "in 10+0~5", "in 15+0 end"]);
}

#[test]
fn where_no_record_told_who_spoke_first_the_only_one_who_spoke_did() {
    // A server that greets; its greeting was refused.
    let mut end = header(1, kind::EOF, Egress, 0);
    (end.offset, end.unseen, end.flags) = (30, 1, flag::FIRST);
    assert_eq!(bench().say(&end), ["opened", "missed 0/1", "out 0+0~30", "out 30+0 end"]);
    // Both have spoken: who asks began.
    (end.other_offset, end.turn, end.unseen) = (10, 2, 3);
    assert_eq!(bench().say(&end), ["opened", "in 0+0~10", "missed 2/1", "out 0+0~30", "out 30+0 end"]);
}

#[test]
fn bytes_already_told_of_are_stale_and_of_an_overlap_only_the_rest_counts() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    let mut again = data(1, Ingress, 0, 0, 0, 10);
    assert_eq!(bench.say(&again), Vec::<String>::new());
    assert_eq!(bench.decode.ledger().rejected_for(Reject::Stale), 1);
    (again.len, again.cap_len, again.offset) = (10, 6, 7);
    assert_eq!(bench.say(&again), ["in 10+3~4"]);
}

#[test]
fn listening_ports_tell_the_role_of_a_socket_older_than_the_probe() {
    let mut bench = bench();
    let mut late = data(1, Ingress, 0, 0, 0, 10);
    late.role = 0;
    late.flags |= flag::LATE;
    let items = bench.give(&late);
    let What::Opened(info) = &items[0].what else { panic!() };
    assert_eq!((info.role, info.late), (Role::Unknown, true));
    let mut ports = ListeningPorts::default();
    ports.insert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
    bench.decode.set_listeners(Arc::new(ports));
    (late.offset, late.turn, late.flags) = (10, 0, 0);
    let items = bench.give(&late);
    let What::Opened(info) = &items[0].what else { panic!("{items:?}") };
    assert_eq!(info.role, Role::Server);
}

#[test]
fn a_new_owner_is_told_and_a_softirq_record_without_one_is_not() {
    let mut bench = bench();
    let mut first = data(1, Ingress, 0, 0, 0, 10);
    first.pid = 0;
    bench.say(&first);
    assert_eq!(bench.say(&data(1, Ingress, 0, 10, 0, 10)), ["opened", "in 10+10"]);
    let mut anonymous = data(1, Ingress, 0, 20, 0, 10);
    anonymous.pid = 0;
    assert_eq!(bench.say(&anonymous), ["in 20+10"]);
    let mut worker = data(1, Ingress, 0, 30, 0, 10);
    worker.pid = 78;
    let items = bench.give(&worker);
    let What::Opened(info) = &items[0].what else { panic!("{items:?}") };
    assert_eq!(info.owner.pid, 78);
}

#[test]
fn ipv6_and_unix_addresses_are_read() {
    let mut v6 = data(1, Ingress, 0, 0, 0, 1);
    v6.family = 10;
    v6.laddr = Ipv4Addr::LOCALHOST.to_ipv6_compatible().octets();
    let items = bench().give(&v6);
    let What::Opened(info) = &items[0].what else { panic!() };
    assert_eq!(info.local.to_string(), "[::7f00:1]:8080");
    let mut unix = data(2, Ingress, 0, 0, 0, 1);
    (unix.family, unix.transport, unix.lport) = (1, 3, 0);
    unix.laddr[..8].copy_from_slice(&4_711_u64.to_ne_bytes());
    unix.laddr[8..].copy_from_slice(&99_u64.to_ne_bytes());
    let items = bench().give(&unix);
    let What::Opened(info) = &items[0].what else { panic!() };
    assert_eq!(info.local, Address::Unix(4_711, 99));
}

#[test]
fn an_idle_connection_is_forgotten_and_goes_on_where_it_stood() {
    let mut bench = Bench::new(DecodeSettings { idle: Nanos(100), ..DecodeSettings::default() });
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 10));
    let mut out = SegmentBatch::default();
    bench.decode.tick(Nanos(50), &mut out);
    assert!(out.items.is_empty());
    bench.decode.tick(Nanos(101), &mut out);
    assert_eq!(out.items.iter().map(words).collect::<Vec<_>>(), ["closed Forgotten"]);
    assert_eq!(bench.decode.connections().idle, 1);
    assert_eq!(bench.say(&data(1, Ingress, 2, 10, 10, 10)), ["opened", "in 10+10!"], "nothing was missed");
}

#[test]
fn says_its_open_connections_again_when_asked_once_and_before_the_next_record() {
    let mut bench = bench();
    for id in 1..=3 {
        bench.give(&data(id, Ingress, 0, 0, 0, 5));
    }
    bench.give(&header(2, kind::CLOSE, Ingress, 0));
    bench.decode.reopen();
    let items = bench.give(&data(3, Egress, 1, 0, 5, 7));
    assert_eq!(items.iter().map(words).collect::<Vec<_>>(), ["opened", "opened", "out 0+7!"]);
    let said = items.iter().filter_map(|item| match &item.what {
        What::Opened(info) => Some((info.id, info.late)),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(1, true), (3, true)], "to whom forgot them they begin in the middle");
    assert_eq!(items[1].conn, items[2].conn, "the same connection as before");
    assert_eq!(bench.say(&data(1, Egress, 1, 0, 5, 7)), ["out 0+7!"]);
}

#[test]
fn a_full_table_forgets_the_connection_idle_longest() {
    let mut bench = Bench::new(DecodeSettings { connections: 2, ..DecodeSettings::default() });
    for (now, id) in [(1, 1), (2, 2), (3, 1)] {
        bench.now = Nanos::from_secs(now);
        bench.say(&data(id, Ingress, 0, now * 10, 0, 10));
    }
    let items = bench.give(&data(3, Ingress, 0, 0, 0, 10));
    assert_eq!(items.iter().map(words).collect::<Vec<_>>(), ["closed Forgotten", "opened", "in 0+10!"]);
    let now = bench.decode.connections();
    assert_eq!((now.open, now.opened, now.crowded_out), (2, 3, 1));
    assert_eq!(bench.say(&data(1, Ingress, 0, 40, 0, 10)), ["in 40+10"], "the second one had to go, not the first");
}

#[test]
fn draining_closes_all() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(2, Ingress, 0, 0, 0, 10));
    let mut out = SegmentBatch::default();
    bench.decode.drain(Nanos(5), &mut out);
    assert_eq!(out.items.iter().map(words).collect::<Vec<_>>(), ["closed Shutdown", "closed Shutdown"]);
    assert_eq!(bench.decode.connections().open, 0);
}

#[test]
fn datagrams_may_overtake_each_other_and_have_no_gaps_between_them() {
    let mut bench = bench();
    let datagram = |turn, direction, offset, other, len| {
        let mut record = data(1, direction, turn, offset, other, len);
        record.transport = UDP;
        record
    };
    assert_eq!(bench.say(&datagram(0, Ingress, 0, 0, 30)), ["opened", "in 0+30!"]);
    assert_eq!(bench.say(&datagram(2, Egress, 0, 70, 50)), ["out 0+50!"]);
    assert_eq!(bench.say(&datagram(1, Ingress, 30, 50, 40)), ["in 30+40!"], "overtaken, not missed");
    // Turn 3, ingress, is refused.
    let mut progress = header(1, kind::PROGRESS, Ingress, 3);
    (progress.transport, progress.offset, progress.other_offset, progress.unseen) = (UDP, 100, 50, 1);
    assert_eq!(bench.say(&progress), ["missed 1/0"]);
    assert_eq!(bench.say(&progress), Vec::<String>::new(), "but only once");
    let mut rest = datagram(4, Ingress, 100, 50, 30);
    (rest.flags, rest.unseen) = (0, 1);
    assert_eq!(bench.say(&rest), Vec::<String>::new(), "a further part of a long datagram is none by itself");
}

#[test]
fn a_record_that_overtook_one_of_the_other_direction_misses_nothing() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 7));
    // Turn 2 has begun and is still being copied: its bytes are not settled.
    assert_eq!(bench.say(&data(1, Egress, 3, 7, 10, 7)), ["out 7+7!"]);
    assert_eq!(bench.say(&data(1, Ingress, 2, 10, 7, 10)), ["in 10+10!"]);
    // The rest of an older turn, behind the beginning of a newer one.
    let mut rest = data(1, Ingress, 2, 20, 14, 5);
    rest.flags = 0;
    assert_eq!(bench.say(&data(1, Egress, 5, 14, 20, 7)), ["out 14+7!"]);
    assert_eq!(bench.say(&rest), ["in 20+5"]);
    assert_eq!(bench.decode.ledger().rejected_for(Reject::Stale), 0);
}

#[test]
fn an_overtaken_turn_that_is_refused_after_all_is_missed_once() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    bench.say(&data(1, Egress, 1, 0, 10, 7));
    assert_eq!(bench.say(&data(1, Egress, 3, 7, 10, 7)), ["out 7+7!"]);
    let mut progress = header(1, kind::PROGRESS, Ingress, 2);
    (progress.offset, progress.other_offset, progress.unseen) = (20, 14, 1);
    assert_eq!(bench.say(&progress), ["missed 1/0", "in 10+0~10"]);
    assert_eq!(bench.say(&unseen(1, &data(1, Ingress, 4, 20, 14, 7))), ["in 20+7!"]);
}

#[test]
fn turns_of_a_muted_connection_are_not_missed() {
    let mut bench = bench();
    bench.say(&data(1, Ingress, 0, 0, 0, 10));
    let mut close = header(1, kind::CLOSE, Egress, 5_001);
    (close.offset, close.other_offset, close.detail) = (9_000, 8_000, reason::FIN);
    assert_eq!(bench.say(&close), ["in 10+0~7990", "out 0+0~9000", "closed Fin"]);
}

#[test]
fn a_connection_that_nobody_remembers_begins_at_its_next_record() {
    let mut bench = bench();
    let said = bench.say(&unseen(17, &data(1, Ingress, 2_000, 10_000, 90_000, 10)));
    assert_eq!(said, ["opened", "in 10000+10!"], "what was missed before was said before");
    assert_eq!(
        bench.say(&unseen(18, &data(1, Ingress, 2_002, 10_010, 90_050, 10))),
        ["out 90000+0~50", "missed 0/1", "in 10010+10!"]
    );
    assert_eq!(bench.decode.connections().resumed, 1);
    // In the middle of a turn, and on a datagram socket.
    let mut middle = unseen(3, &data(2, Egress, 7, 500, 100, 10));
    middle.flags = 0;
    assert_eq!(bench.say(&middle), ["opened", "out 500+10"]);
    let mut datagram = unseen(3, &data(3, Egress, 70, 500, 100, 10));
    datagram.transport = UDP;
    assert_eq!(bench.say(&datagram), ["opened", "out 500+10!"]);
    assert_eq!(bench.decode.connections().resumed, 3);
}

#[test]
fn datagram_sockets_expire_sooner_and_give_way_first() {
    let second = Nanos::from_secs(1).0;
    let mut bench = Bench::new(DecodeSettings { connections: 2, ..DecodeSettings::default() });
    let socket = |id, transport| {
        let mut record = data(id, Egress, 0, 0, 0, 10);
        record.transport = transport;
        record
    };
    bench.say(&socket(1, 1));
    bench.now = Nanos(20 * second);
    bench.say(&socket(2, UDP));
    bench.now = Nanos(25 * second);
    assert_eq!(bench.say(&socket(3, UDP)), ["closed Forgotten", "opened", "out 0+10!"], "2 and not the stream");
    let mut out = SegmentBatch::default();
    bench.decode.tick(Nanos(56 * second), &mut out);
    assert_eq!(out.items.iter().map(words).collect::<Vec<_>>(), ["closed Forgotten"]);
    assert_eq!(bench.decode.connections().open, 1);
    bench.now = Nanos(57 * second);
    assert_eq!(bench.say(&data(1, Egress, 0, 10, 0, 5)), ["out 10+5!"].map(|s| s.trim_end_matches('!')));
}

#[test]
fn what_is_remembered_of_former_connections_is_bounded_and_counted() {
    let mut bench = bench();
    let far = 1 + u64::try_from(MAX_PAST).unwrap();
    for id in [1, far] {
        bench.say(&data(id, Ingress, 0, 0, 0, 10));
        bench.say(&header(id, kind::CLOSE, Ingress, 0));
    }
    assert_eq!(bench.decode.connections().displaced, 1);
    assert_eq!(bench.say(&data(far, Ingress, 0, 10, 0, 10)), Vec::<String>::new());
    assert_eq!(bench.say(&data(1, Ingress, 0, 0, 0, 10)), ["opened", "in 0+10!"], "opened anew by a belated record");
}

#[test]
fn refuses_what_is_not_a_record() {
    let mut bench = bench();
    let good = data(1, Ingress, 0, 0, 0, 5);
    let mut version = good;
    version.version = 9;
    let mut unknown_kind = good;
    (unknown_kind.kind, unknown_kind.len, unknown_kind.cap_len) = (7, 0, 0);
    let mut direction = good;
    direction.dir = 2;
    let mut more_captured_than_moved = good;
    more_captured_than_moved.len = 4;
    let mut wraps = good;
    wraps.offset = u64::MAX;
    let mut nobody = good;
    nobody.conn_id = 0;
    for record in [version, unknown_kind, direction, more_captured_than_moved, wraps, nobody] {
        assert_eq!(bench.say(&record), Vec::<String>::new());
    }
    let mut batch = EventBatch::default();
    put(&mut batch, &good, &payload(&good));
    batch.records = vec![Span { start: 0, len: 100 }, Span { start: 10_000, len: 144 }, Span { start: 0, len: 148 }];
    assert!(bench.give_batch(&mut batch).is_empty());
    let ledger = bench.decode.ledger();
    let counts: Vec<_> = ledger.reasons().filter(|&(_, n)| n > 0).collect();
    assert_eq!(counts, [("malformed", 7), ("version", 1), ("kind", 1)]);
}

#[test]
fn a_connection_is_followed_at_the_level_that_its_last_data_told() {
    let mut bench = bench();
    let levels = |items: Vec<About<Segment>>| -> Vec<u8> {
        let told = |item: About<Segment>| match item.what {
            What::Opened(info) => Some(info.sampling),
            _ => None,
        };
        items.into_iter().filter_map(told).collect()
    };
    assert_eq!(levels(bench.give(&data(1, Ingress, 0, 0, 0, 5))), [0]);
    let sampled = EventHeader { detail: 3, ..data(1, Ingress, 2, 5, 0, 5) };
    assert_eq!(levels(bench.give(&sampled)), [3], "news before the bytes");
    assert_eq!(levels(bench.give(&EventHeader { turn: 4, offset: 10, ..sampled })), [], "no news");
    // Only data tells: an end is written with no level.
    let mut end = header(1, kind::EOF, Ingress, 4);
    end.offset = 15;
    assert_eq!(levels(bench.give(&end)), []);
    assert_eq!(levels(bench.give(&data(1, Ingress, 6, 15, 0, 5))), [0]);
}

#[test]
fn a_level_that_no_program_asks_for_is_malformed() {
    let mut bench = bench();
    assert!(bench.give(&EventHeader { detail: 5, ..data(1, Ingress, 0, 0, 0, 5) }).is_empty());
    assert_eq!(bench.decode.ledger().rejected_for(Reject::Malformed), 1);
}

#[test]
fn a_connection_that_sampling_leaves_out_is_forgotten() {
    let mut bench = bench();
    bench.give(&data(1, Ingress, 0, 0, 0, 5));
    let mut close = header(1, kind::CLOSE, Ingress, 2);
    (close.offset, close.detail) = (5, reason::SAMPLED);
    assert_eq!(bench.say(&close), ["closed Forgotten"]);
}
