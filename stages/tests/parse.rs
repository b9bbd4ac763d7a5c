//! The parse stage behind identify: real recordings cut anywhere, things missing anywhere, and its bounds.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support outside of tests")]

#[path = "parse/traffic.rs"]
mod traffic;

use proptest::prelude::*;
use redtap_stages::abi::Capture;
use redtap_stages::flow::conn::{ConnInfo, Direction::*, Role, Transport, What};
use redtap_stages::flow::message::{Message, MessageBatch, MessageKind, Part};
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::identify::Identify;
use redtap_stages::limits;
use redtap_stages::parse::{Parse, Reject};
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use traffic::{Bytes, Traffic, folded, info, messages, recording, said};

const RECORDINGS: &[&[u8]] = &[
    include_bytes!("fixtures/http1/nginx_keepalive.bin"),
    include_bytes!("fixtures/http1/nginx_gzip_chunked.bin"),
    include_bytes!("fixtures/http1/nginx_pipeline.bin"),
    include_bytes!("fixtures/http1/node_trailers.bin"),
    include_bytes!("fixtures/http1/node_early_hints.bin"),
    include_bytes!("fixtures/http1/node_chunked_upload.bin"),
    include_bytes!("fixtures/http1/python_until_close.bin"),
];
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const NO: &[u8] = b"HTTP/1.1 204 No\r\n\r\n";

/// Both stages, as they run.
struct Both {
    identify: Identify<Bytes>,
    parse: Parse<Bytes>,
    out: MessageBatch,
}

impl Both {
    fn new() -> Self {
        Self { identify: Identify::new(), parse: Parse::new(), out: MessageBatch::default() }
    }

    fn run(&mut self, traffic: &mut Traffic) -> &mut Self {
        let mut segments = SegmentBatch::default();
        self.identify.process(Nanos(0), &mut traffic.batch(), &mut segments);
        self.parse.process(Nanos(0), &mut segments, &mut self.out);
        assert!(segments.memory.is_none(), "the lease ends in parse");
        self.checked()
    }

    fn checked(&mut self) -> &mut Self {
        let ledger = self.parse.ledger();
        assert!(ledger.balances(), "{ledger:?}");
        assert!(self.parse.buffered() <= limits::PARSE_BUFFERS_TOTAL);
        assert_eq!(ledger.emitted, self.out.items.len() as u64);
        self
    }

    fn drain(&mut self) -> &mut Self {
        self.parse.drain(Nanos(u64::MAX), &mut self.out);
        assert_eq!(self.parse.ledger().held, 0);
        self.checked()
    }

    fn messages(&self) -> Vec<Message> {
        messages(&self.out)
    }

    fn rejected(&self, why: Reject) -> u64 {
        self.parse.ledger().rejected_for(why)
    }
}

/// A recording as segments, each cut at `cuts(len)`, a batch now and then.
fn play(role: Role, file: &[u8], mut cuts: impl FnMut(usize) -> Vec<usize>, every: usize) -> Vec<Message> {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, role);
    let mut said = 0;
    for (direction, bytes) in recording(file) {
        let direction = if role == Role::Server { direction.reverse() } else { direction };
        let mut from = 0;
        for cut in cuts(bytes.len()).into_iter().chain([bytes.len()]) {
            if cut > from {
                traffic.say(direction, &bytes[from..cut], 0);
                from = cut;
                said += 1;
                if said % every == 0 {
                    both.run(&mut traffic);
                }
            }
        }
    }
    traffic.end(Egress).end(Ingress).close();
    both.run(&mut traffic);
    assert_eq!(both.parse.ledger().rejected.iter().sum::<u64>(), 0, "all of a clean recording is read");
    assert!(matches!(both.out.items.last().unwrap().what, What::Closed(_)), "the closing is the last word");
    both.messages()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_into_segments_and_batches_gives_the_same_messages(
        which in 0..RECORDINGS.len(),
        server in any::<bool>(),
        places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        every in 1..9_usize,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let whole = folded(&play(role, RECORDINGS[which], |_| Vec::new(), 1000));
        let mut cuts = |len: usize| {
            let mut cuts = places.iter().map(|place| place.index(len + 1)).collect::<Vec<_>>();
            cuts.sort_unstable();
            cuts
        };
        prop_assert_eq!(folded(&play(role, RECORDINGS[which], &mut cuts, every)), whole);
    }

    #[test]
    fn whatever_is_missing_the_ledger_balances_and_the_next_turn_is_read(
        which in 0..RECORDINGS.len() - 1,
        plan in proptest::collection::vec((0..10_u8, any::<proptest::sample::Index>(), 0..5000_u64), 1..40),
    ) {
        let mut both = Both::new();
        let mut traffic = Traffic::open(0, Role::Client);
        traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
        let records = recording(RECORDINGS[which]);
        for ((kind, place, gap), (direction, bytes)) in plan.iter().zip(records.iter().cycle()) {
            let (head, tail) = bytes.split_at(place.index(bytes.len()));
            match kind {
                0 => traffic.say(*direction, head, tail.len() as u64),
                1 => traffic.say(*direction, head, 0).say(*direction, &[], *gap).say(*direction, tail, 0),
                2 => traffic.missed(1, u32::from(*kind)),
                3 => traffic.say(*direction, tail, 0),
                4 => traffic.say(*direction, &[], *gap),
                _ => traffic.say(*direction, head, 0).say(*direction, tail, 0),
            };
            both.run(&mut traffic);
        }
        // An end to whatever is left of bodies, then one exchange in the open.
        traffic.missed(1, 1).say(Egress, GET, 0).say(Ingress, NO, 0);
        both.run(&mut traffic);
        let all = said(&both.messages());
        prop_assert_eq!(&all[all.len() - 2..], ["GET /a", "204"]);
        traffic.close();
        both.run(&mut traffic).drain();
    }
}

#[test]
fn byte_by_byte_is_no_different() {
    for file in RECORDINGS {
        let whole = folded(&play(Role::Client, file, |_| Vec::new(), 1000));
        assert_eq!(folded(&play(Role::Client, file, |len| (1..len).collect(), 100)), whole);
    }
}

#[test]
fn replays_what_came_before_the_protocol_was_known_with_its_times() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Unknown);
    traffic.say(Ingress, b"BREW /pot", 0).say(Ingress, b" HTTP/1.1\r\n\r\n", 0);
    both.run(&mut traffic);
    assert_eq!((both.parse.ledger().held, both.messages().len()), (2, 0));
    traffic.say(Egress, NO, 0);
    both.run(&mut traffic);
    let messages = both.messages();
    assert_eq!(said(&messages), ["BREW /pot", "204"]);
    assert_eq!((messages[0].start, messages[0].end), (Nanos(1000), Nanos(2000)));
    assert_eq!(both.parse.ledger().held, 0);
}

#[test]
fn takes_the_start_of_a_message_from_its_first_byte() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, b"GET /1 HT", 0).say(Egress, b"TP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", 0);
    both.run(&mut traffic);
    let starts = both.messages().iter().map(|message| message.start).collect::<Vec<_>>();
    assert_eq!(starts, [Nanos(1000), Nanos(2000)]);
}

#[test]
fn mutes_what_an_upgrade_handed_over() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(4, Role::Client);
    for (direction, bytes) in recording(include_bytes!("fixtures/http1/node_upgrade.bin")) {
        traffic.say(direction, &bytes, 0);
    }
    both.run(&mut traffic);
    assert_eq!(both.messages().len(), 2);
    assert_eq!(both.rejected(Reject::HandedOver), 4);
    let verdict = both.out.verdicts.first().copied().expect("a verdict");
    assert_eq!((verdict.conn_id, verdict.capture, both.out.verdicts.len()), (5, Capture::Mute, 1));
}

#[test]
fn gives_up_after_eight_malformed_turns_in_a_row_and_not_before() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    for _ in 0..7 {
        traffic.say(Egress, b"?\r\n", 0).say(Ingress, &[], 1);
    }
    traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    both.run(&mut traffic);
    assert_eq!((both.rejected(Reject::Malformed), both.rejected(Reject::GivenUp)), (7, 0));
    for _ in 0..8 {
        traffic.say(Egress, b"?\r\n", 0).say(Ingress, &[], 1);
    }
    traffic.say(Egress, GET, 0);
    both.run(&mut traffic);
    assert_eq!((both.rejected(Reject::Malformed), both.rejected(Reject::GivenUp)), (15, 2));
    assert_eq!(both.out.verdicts.last().map(|verdict| verdict.capture), Some(Capture::Mute));
}

#[test]
fn a_missed_turn_ends_what_was_open_and_makes_nothing_up() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, &GET.repeat(2), 0);
    traffic.say(Ingress, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 0);
    // As decode says it: what moved unseen, then what was missed.
    traffic.unseen(Ingress, 100).missed(1, 1).unseen(Egress, 50).say(Egress, GET, 0).say(Ingress, NO, 0);
    both.run(&mut traffic);
    let messages = both.messages();
    assert_eq!(said(&messages), ["GET /a", "GET /a", "200", "GET /a", "204"]);
    let missed = both.out.items.iter().position(|about| matches!(about.what, What::Missed { .. })).unwrap();
    let end = both.out.items.iter().position(|about| matches!(&about.what, What::Item(m) if m.part == Part::End));
    assert!(end.unwrap() < missed, "first what is known, then that something was missed");
}

#[test]
fn an_answer_cut_by_the_budget_ends_at_its_last_byte() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", 1000);
    traffic.clock = 50_000_000;
    traffic.say(Ingress, &[], 4000);
    both.run(&mut traffic);
    let end = both.messages().pop().unwrap();
    assert_eq!((end.part, end.kind, end.end, end.bytes), (Part::End, MessageKind::Response, Nanos(50_001_000), 5041));
}

#[test]
fn an_answer_whose_end_was_not_captured_is_over_when_both_sides_are_quiet() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff", 4000);
    both.run(&mut traffic);
    let last = Nanos(traffic.clock);
    both.parse.tick(last + limits::PARSE_QUIET - Nanos(1), &mut both.out);
    assert_eq!(both.messages().len(), 2, "not yet");
    both.parse.tick(last + limits::PARSE_QUIET + Nanos::SECOND, &mut both.out);
    let end = both.messages().pop().unwrap();
    assert_eq!((end.part, end.end, end.cut, end.bytes), (Part::End, last, true, 4049));
    both.checked();
    both.parse.tick(last + Nanos::from_secs(60), &mut both.out);
    traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    assert_eq!(said(&both.run(&mut traffic).messages()), ["GET /a", "200", "GET /a", "204"]);
}

#[test]
fn a_slow_answer_is_not_over_because_it_has_not_begun() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, b"HTTP/1.1 200 OK\r\nX: ", 4000).say(Egress, GET, 0);
    both.run(&mut traffic);
    let said = both.messages().len();
    both.parse.tick(Nanos::from_secs(3600), &mut both.out);
    assert_eq!(both.messages().len(), said);
}

#[test]
fn memory_for_unfinished_bytes_is_bounded_in_all_and_given_back() {
    let mut both = Both::new();
    let most = u32::try_from(limits::PARSE_BUFFERS_TOTAL / limits::PARSE_BUFFER).unwrap();
    let unknown = vec![b'?'; limits::PARSE_BUFFER + 100];
    let mut all = (0..most + 50).map(|slot| Traffic::open(slot, Role::Client)).collect::<Vec<_>>();
    for traffic in &mut all {
        both.run(traffic.say(Egress, &unknown, 0));
    }
    assert_eq!(both.parse.buffered(), limits::PARSE_BUFFERS_TOTAL);
    assert_eq!(both.parse.counts().buffer_full, u64::from(most + 50));
    for traffic in &mut all {
        both.run(traffic.close());
    }
    assert!(both.parse.buffered() <= 256 * limits::PARSE_BUFFER, "only a few are kept for later");
    assert_eq!(both.rejected(Reject::Unidentified), u64::from(most + 50));
    let mut traffic = Traffic::open(0, Role::Client);
    both.run(traffic.say(Egress, b"GET /a HTT", 0)).run(traffic.say(Egress, b"P/1.1\r\n\r\n", 0));
    assert_eq!(said(&both.messages()), ["GET /a"], "and there is room again");
}

#[test]
fn a_datagram_carries_nothing_over_to_the_next() {
    let mut both = Both::new();
    let mut traffic = Traffic::of(0, ConnInfo { transport: Transport::Udp, ..info(1) });
    let question: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";
    let (begin, rest) = question.split_at(8);
    traffic.protocol = Protocol::Dns;
    traffic.say(Egress, question, 0).say(Egress, begin, 0).say(Egress, rest, 0).say(Egress, question, 0);
    both.run(&mut traffic);
    assert_eq!(said(&both.messages()), ["A a.bc", "A a.bc"]);
}

#[test]
fn knows_only_connections_it_was_told_of() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    drop(traffic.batch());
    traffic.protocol = Protocol::Http1;
    let mut segments = traffic.say(Egress, GET, 0).batch();
    both.parse.process(Nanos(0), &mut segments, &mut both.out);
    assert_eq!(both.rejected(Reject::UnknownConnection), 1);
    both.checked();
}

#[test]
fn raises_the_budget_of_a_pipeline_that_keeps_being_cut() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    let mut classes = Vec::new();
    for _ in 0..12 {
        traffic.say(Egress, set, 40_000).say(Ingress, b"+OK\r\n", 0);
        both.run(&mut traffic);
        classes.extend(both.out.verdicts.drain(..).map(|verdict| verdict.egress_class));
    }
    assert_eq!(classes, [15, 16], "in steps, up to 64 KiB");
    assert_eq!(both.parse.counts().raised, 2);
}

/// Who was refused a turn of a pipeline knows how many turns, not how many requests: the others tell.
#[test]
fn missed_turns_of_a_pipeline_count_as_its_others_held() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let missed = |both: &Both| {
        both.out.items.iter().rev().find_map(|about| match about.what {
            What::Missed { requests, responses } => Some((requests, responses)),
            _ => None,
        })
    };
    traffic.say(Egress, get, 0).say(Ingress, b"$1\r\nv\r\n", 0);
    traffic.missed(3, 2);
    both.run(&mut traffic);
    assert_eq!(missed(&both), Some((3, 2)), "no pipeline: turns are requests");
    for _ in 0..300 {
        traffic.say(Egress, &get.repeat(10), 0).say(Ingress, &b"$1\r\nv\r\n".repeat(10), 0);
        both.run(&mut traffic);
    }
    traffic.missed(4, 4);
    both.run(&mut traffic);
    assert_eq!(missed(&both), Some((40, 40)));
}

/// Most turns are missed one at a time, of requests and answers together: what rounding leaves over is kept for each.
#[test]
fn what_missed_turns_held_adds_up() {
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    // Three requests in two turns, then five in four.
    for (sizes, turns, held) in [(&[1, 2][..], 100_u32, 150_u32), (&[1, 1, 1, 2][..], 100, 125)] {
        let mut both = Both::new();
        let mut traffic = Traffic::open(0, Role::Client);
        for size in sizes {
            traffic.say(Egress, &get.repeat(*size), 0).say(Ingress, &b"$1\r\nv\r\n".repeat(*size), 0);
        }
        for _ in 0..turns {
            traffic.missed(1, 1);
        }
        both.run(&mut traffic);
        let missed = both.out.items.iter().filter_map(|about| match about.what {
            What::Missed { requests, responses } => Some((requests, responses)),
            _ => None,
        });
        let sum = missed.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(sum.0.abs_diff(held) <= 1 && sum.1.abs_diff(held) <= 1, "{sum:?} of {held}");
    }
}

/// Streams outlive turns, and a turn that begins none is the usual: neither says how many requests, or answers, were in another.
#[test]
fn missed_turns_of_streams_count_as_turns() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.protocol = Protocol::Http2;
    // The preface, SETTINGS, and ten requests: :method GET, :scheme http, :path / of the static table (RFC 7541, appendix A).
    let mut asks = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1..20).step_by(2) {
        asks.extend_from_slice(&[0, 0, 3, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x84]);
    }
    traffic.say(Egress, &asks, 0).say(Ingress, b"\0\0\0\x04\0\0\0\0\0", 0);
    traffic.missed(7, 3);
    both.run(&mut traffic);
    let requests =
        both.out.items.iter().filter(|about| matches!(&about.what, What::Item(m) if m.kind == MessageKind::Request));
    assert_eq!(requests.count(), 10, "in one turn");
    let missed = both.out.items.iter().find_map(|about| match about.what {
        What::Missed { requests, responses } => Some((requests, responses)),
        _ => None,
    });
    assert_eq!(missed, Some((7, 3)));
}

/// A head of 256 bytes that says how long the body is: no more is captured, until one does not fit.
#[test]
fn spares_what_short_answers_do_not_need() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
    let mut classes = Vec::new();
    let mut asked = |both: &mut Both, traffic: &mut Traffic, answer: &[u8], gap: u64| {
        traffic.say(Egress, GET, 0).say(Ingress, answer, gap);
        both.run(traffic);
        classes.extend(both.out.verdicts.drain(..).map(|verdict| verdict.ingress_class));
        classes.clone()
    };
    for _ in 0..8 {
        assert_eq!(asked(&mut both, &mut traffic, short, 10_000), []);
    }
    assert_eq!(asked(&mut both, &mut traffic, short, 10_000), [8], "told with the next request");
    // Its length is not known from what was captured, so it is over with the next turn: nothing but that is lost.
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n";
    assert_eq!(asked(&mut both, &mut traffic, chunked, 300), [8]);
    for _ in 0..20 {
        assert_eq!(asked(&mut both, &mut traffic, short, 10_000), [8, 12], "once and for all");
    }
    let counts = both.parse.counts();
    assert_eq!((counts.spared, counts.raised), (1, 1));
    let codes = both.messages().iter().filter(|message| message.code == "200").count();
    assert_eq!(codes, 30, "every status is read");
}

#[test]
fn drains_what_is_open() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, b"HTTP/1.0 200 OK\r\n\r\nbody", 0);
    both.run(&mut traffic);
    assert_eq!(both.messages().last().unwrap().part, Part::Head);
    both.drain();
    let end = both.messages().pop().unwrap();
    assert_eq!((end.part, end.bytes, end.cut), (Part::End, 23, false));
}

#[test]
fn a_request_that_comes_byte_by_byte_begins_with_its_first_byte() {
    for (bytes, name) in [(GET, "GET /a"), (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "GET k")] {
        let mut both = Both::new();
        let mut traffic = Traffic::open(0, Role::Client);
        traffic.clock = 9_000;
        for byte in bytes {
            traffic.say(Egress, &[*byte], 0);
            both.run(&mut traffic);
        }
        both.drain();
        assert_eq!(said(&both.messages()), [name]);
        assert_eq!(both.messages()[0].start, Nanos(10_000), "{name}");
    }
}

#[test]
fn a_datagram_socket_is_never_given_up() {
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03aaa\0\0\x01\0\x01";
    let mut bad = *query;
    bad[2] = 0x78;
    let mut both = Both::new();
    let mut traffic = Traffic::of(0, ConnInfo { transport: Transport::Udp, role: Role::Server, ..info(1) });
    traffic.say(Ingress, query, 0);
    for _ in 0..1_000 {
        traffic.say(Ingress, &bad, 0);
    }
    traffic.say(Ingress, query, 0);
    both.run(&mut traffic);
    assert_eq!(both.messages().len(), 2);
    assert_eq!(both.rejected(Reject::Malformed), 1_000);
    assert!(both.out.verdicts.is_empty());
}

#[test]
fn turns_of_a_connection_that_was_given_up_are_not_missed() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    for _ in 0..5 {
        traffic.say(Egress, b"\x01\x02garbage", 0).say(Ingress, b"\0\x01garbage", 0);
    }
    traffic.missed(2_500, 2_500).close();
    both.run(&mut traffic);
    assert!(!both.out.items.iter().any(|about| matches!(about.what, What::Missed { .. })));
    assert_eq!(both.rejected(Reject::GivenUp), 3, "two segments and the news of missed turns");
}

#[test]
fn gives_a_verdict_again_that_seems_forgotten() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    let mut told = Vec::new();
    for _ in 0..25 {
        traffic.clock += 100_000_000;
        traffic.say(Egress, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000\r\n", 4_979).say(Ingress, b"+OK\r\n", 0);
        both.run(&mut traffic);
        told.append(&mut both.out.verdicts);
    }
    assert!(both.parse.counts().recalled > 0);
    assert!(told.len() <= 5, "{told:?}");
    assert!(told.iter().all(|verdict| verdict.capture == Capture::Head && verdict.egress_class >= 14));
}

#[test]
fn says_again_that_a_connection_is_of_no_interest() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    for _ in 0..8 {
        traffic.say(Egress, b"\x01\x02garbage", 0).say(Ingress, b"\0\x01garbage", 0);
    }
    both.run(&mut traffic);
    assert_eq!(both.out.verdicts.len(), 1);
    traffic.clock += 1_000_000_000;
    traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    both.run(&mut traffic);
    assert_eq!(both.out.verdicts.iter().map(|verdict| verdict.capture).collect::<Vec<_>>(), [Capture::Mute; 2]);
}

#[test]
fn another_number_in_the_same_place_is_another_connection() {
    let mut both = Both::new();
    let mut first = Traffic::open(0, Role::Client);
    first.say(Egress, GET, 0).say(Ingress, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0);
    both.run(&mut first);
    let mut other = Traffic::of(0, info(77));
    other.say(Egress, b"*1\r\n$4\r\nPING\r\n", 0);
    both.run(&mut other);
    let last = both.messages().pop().unwrap();
    assert_eq!((last.protocol, last.method.as_str()), (Protocol::Redis, "PING"));
    let end = both.messages().into_iter().rfind(|message| message.part == Part::End).unwrap();
    assert_eq!((end.protocol, end.cut), (Protocol::Http1, true), "what was open there ended first");
}

#[test]
fn asks_for_the_answers_to_a_pipeline_and_to_nothing_else() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    for _ in 0..5 {
        traffic.say(Egress, GET, 0).say(Ingress, NO, 0);
    }
    both.run(&mut traffic);
    assert_eq!(both.out.verdicts, [], "one question a turn");
    traffic.say(Egress, &GET.repeat(3), 0).say(Ingress, &NO.repeat(3), 0).say(Egress, &GET.repeat(9), 0);
    both.run(&mut traffic);
    let told: Vec<_> = both.out.verdicts.iter().map(|verdict| (verdict.ingress_class, verdict.egress_class)).collect();
    assert_eq!(told, [(16, 12)], "once, and in the direction of the answers");
}

#[test]
fn answers_to_a_pipeline_that_were_not_captured_are_answers_when_the_connection_ends() {
    let mut both = Both::new();
    let mut traffic = Traffic::open(0, Role::Client);
    traffic.say(Egress, &GET.repeat(4), 0).say(Ingress, NO, 57).close();
    both.run(&mut traffic);
    let answers: Vec<_> = both
        .messages()
        .into_iter()
        .filter(|message| message.kind == MessageKind::Response)
        .map(|message| (message.part, message.code.as_str().to_owned(), message.cut))
        .collect();
    let unknown = (Part::Whole, String::new(), true);
    assert_eq!(answers, [(Part::Whole, "204".to_owned(), false), unknown.clone(), unknown.clone(), unknown]);
}
