//! What `pair` makes of messages, one rule a test.

use redtap_stages::flow::conn::{
    About, Address, CloseReason, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What,
};
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::message::{Message, MessageBatch, MessageKind, Part, Status};
use redtap_stages::limits;
use redtap_stages::pair::{Pair, PairSettings, Reject};
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::text::{Text, Token};
use redtap_stages::time::Nanos;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const KEY: ConnKey = ConnKey { slot: 3, generation: 1 };

struct Bench {
    pair: Pair,
    now: Nanos,
    protocol: Protocol,
    out: Vec<Exchange>,
}

impl Bench {
    fn new(protocol: Protocol, settings: PairSettings) -> Self {
        let mut bench = Self { pair: Pair::new(settings), now: Nanos(1_000), protocol, out: Vec::new() };
        bench.give(What::Opened(info(Role::Server, 0)));
        bench
    }

    fn http() -> Self {
        Self::new(Protocol::Http1, PairSettings::default())
    }

    fn give(&mut self, what: What<Message>) {
        let mut batch = MessageBatch::default();
        batch.items.push(About { conn: KEY, at: self.now, what });
        self.pair.process(self.now, &mut batch, &mut self.out);
        self.check();
    }

    fn tick(&mut self, now: Nanos) {
        self.now = now;
        self.pair.tick(now, &mut self.out);
        self.check();
    }

    fn check(&self) {
        assert!(self.pair.ledger().balances(), "{:?}", self.pair.ledger());
        assert!(self.pair.account().balances(), "{:?}", self.pair.account());
    }

    fn message(&mut self, kind: MessageKind, part: Part, at: u64) -> Message {
        let requests = kind == MessageKind::Request;
        let direction = if requests { Direction::Ingress } else { Direction::Egress };
        Message::new(kind, part, self.protocol, direction, Nanos(at))
    }

    fn request(&mut self, target: &str, at: u64) {
        self.request_by(target, at, |_| {});
    }

    fn request_by(&mut self, target: &str, at: u64, change: impl FnOnce(&mut Message)) {
        let mut message = self.message(MessageKind::Request, Part::Whole, at);
        message.method = Token::from("GET");
        message.target = Text::from(target);
        message.bytes = 50;
        change(&mut message);
        self.give(What::Item(message));
    }

    fn response(&mut self, code: &str, at: u64) {
        self.response_by(code, at, |_| {});
    }

    fn response_by(&mut self, code: &str, at: u64, change: impl FnOnce(&mut Message)) {
        let mut message = self.message(MessageKind::Response, Part::Whole, at);
        message.end = Nanos(at + 5);
        message.code = Token::from(code);
        message.status = Status::Ok;
        message.bytes = 70;
        change(&mut message);
        self.give(What::Item(message));
    }

    fn end(&mut self, kind: MessageKind, at: u64, bytes: u64) {
        let mut message = self.message(kind, Part::End, at);
        message.bytes = bytes;
        self.give(What::Item(message));
    }

    /// `/a 200 10-25` (target, code, first and last time), or the lack of an answer in its place.
    fn said(&mut self) -> Vec<String> {
        let words = |exchange: Exchange| {
            let outcome = exchange.no_answer.map_or(exchange.code.to_string(), |why| format!("{why:?}"));
            let end = exchange.end.map_or(String::new(), |end| end.0.to_string());
            format!("{} {outcome} {}-{end}", exchange.target, exchange.start.0)
        };
        self.out.drain(..).map(words).collect()
    }

    fn rejected(&self, reason: Reject) -> u64 {
        self.pair.ledger().rejected_for(reason)
    }
}

fn info(role: Role, port: u16) -> Arc<ConnInfo> {
    Arc::new(ConnInfo {
        id: 1,
        transport: Transport::Tcp,
        role,
        local: Address::Inet(IpAddr::V4(Ipv4Addr::LOCALHOST), 80),
        remote: Address::Inet(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        owner: Owner::default(),
        netns: 0,
        sock_ino: 0,
        late: false,
        sampling: 0,
    })
}

#[test]
fn an_answer_completes_its_request() {
    let mut bench = Bench::http();
    bench.request("/a", 10);
    assert_eq!(bench.pair.ledger().held, 1);
    bench.response("200", 20);
    let exchange = bench.out.pop().unwrap();
    assert_eq!((exchange.start, exchange.answered, exchange.end), (Nanos(10), Some(Nanos(20)), Some(Nanos(25))));
    assert_eq!((exchange.side, exchange.method.as_str(), exchange.status), (Role::Server, "GET", Status::Ok));
    assert_eq!((exchange.request_bytes, exchange.response_bytes, exchange.no_answer), (50, 70, None));
    assert_eq!(exchange.duration(), Some(Nanos(15)));
}

#[test]
fn an_answer_may_show_the_protocol_inside_of_its_requests() {
    for part in [Part::Whole, Part::End] {
        let mut bench = Bench::new(Protocol::Http2, PairSettings::default());
        bench.request("/shop.Orders/Get?a=b", 10);
        if part == Part::End {
            bench.response_by("200", 20, |head| head.part = Part::Head);
        }
        bench.response_by("", 20, |last| {
            (last.part, last.protocol, last.status) = (part, Protocol::Grpc, Status::Unknown)
        });
        let exchange = bench.out.pop().unwrap();
        assert!(bench.out.is_empty(), "once");
        assert_eq!((exchange.protocol, exchange.method.as_str()), (Protocol::Grpc, "POST"), "{part:?}");
        assert_eq!((exchange.target.as_str(), exchange.duration()), ("shop.Orders/Get", Some(Nanos(15))), "{part:?}");
        assert_eq!((exchange.status, exchange.code.as_str()), (Status::Unknown, ""), "{part:?}: 200 is the carrier's");
    }
}

#[test]
fn an_answer_in_the_protocol_around_its_requests_changes_nothing() {
    let mut bench = Bench::new(Protocol::Grpc, PairSettings::default());
    bench.request("a.B/C", 10);
    bench.response_by("5", 20, |answer| answer.protocol = Protocol::Http2);
    assert_eq!((bench.out[0].protocol, bench.out[0].target.as_str()), (Protocol::Grpc, "a.B/C"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut bench = Bench::http();
    for (target, at) in [("/a", 1), ("/b", 2), ("/c", 3)] {
        bench.request(target, at);
    }
    for (code, at) in [("200", 10), ("201", 20), ("404", 30)] {
        bench.response(code, at);
    }
    assert_eq!(bench.said(), ["/a 200 1-15", "/b 201 2-25", "/c 404 3-35"]);
}

#[test]
fn answers_find_their_requests_by_id_and_the_oldest_of_the_same_id_first() {
    let mut bench = Bench::new(Protocol::Dns, PairSettings::default());
    for (name, id) in [("a", 7), ("b", 8), ("c", 7), ("d", 9)] {
        bench.request_by(name, id, |message| message.id = id);
    }
    for id in [9, 7, 7, 7, 8] {
        bench.response_by("", 20, |message| message.id = id);
    }
    assert_eq!(bench.said(), ["d  9-25", "a  7-25", "c  7-25", "b  8-25"]);
    assert_eq!(bench.rejected(Reject::Orphan), 1);
}

#[test]
fn an_exchange_ends_with_the_last_byte_of_its_answer_and_knows_both_sizes() {
    let mut bench = Bench::http();
    bench.request_by("/up", 10, |message| message.part = Part::Head);
    bench.end(MessageKind::Request, 12, 5_000);
    bench.response_by("200", 20, |message| message.part = Part::Head);
    assert!(bench.out.is_empty());
    bench.end(MessageKind::Response, 90, 9_000);
    let exchange = bench.out.pop().unwrap();
    assert_eq!((exchange.answered, exchange.end), (Some(Nanos(20)), Some(Nanos(90))));
    assert_eq!((exchange.request_bytes, exchange.response_bytes), (5_000, 9_000));
}

#[test]
fn an_answer_may_come_before_the_whole_request_was_read() {
    let mut bench = Bench::http();
    bench.request_by("/up", 10, |message| message.part = Part::Head);
    bench.response("413", 20);
    assert_eq!(bench.said(), ["/up 413 10-25"]);
    bench.end(MessageKind::Request, 30, 5_000);
    assert_eq!(bench.rejected(Reject::StrayEnd), 0);
    bench.end(MessageKind::Request, 30, 5_000);
    assert_eq!(bench.rejected(Reject::StrayEnd), 1, "a second end belongs to nothing");
}

#[test]
fn an_interim_answer_keeps_its_request_waiting() {
    let mut bench = Bench::http();
    bench.request("/a", 1);
    let interim = bench.message(MessageKind::Interim, Part::Whole, 5);
    bench.give(What::Item(interim));
    bench.response("200", 10);
    assert_eq!(bench.said(), ["/a 200 1-15"]);
}

#[test]
fn requests_that_want_no_answer_are_exchanges_and_pushes_are_none() {
    let mut bench = Bench::new(Protocol::Redis, PairSettings::default());
    bench.request_by("k", 1, |message| message.no_reply = true);
    let exchange = bench.out.pop().unwrap();
    assert!(exchange.one_way && exchange.duration().is_none() && exchange.no_answer.is_none());
    let push = bench.message(MessageKind::OneWay, Part::Whole, 5);
    bench.give(What::Item(push));
    assert_eq!((bench.out.len(), bench.rejected(Reject::Push)), (0, 1));
}

#[test]
fn a_connection_that_ends_answers_for_what_waits() {
    for (reason, said) in [
        (CloseReason::Fin, "Closed"),
        (CloseReason::Reset, "Reset"),
        (CloseReason::Abort, "Reset"),
        (CloseReason::Timeout, "Timeout"),
        (CloseReason::Forgotten, "Lost"),
        (CloseReason::Shutdown, "Shutdown"),
    ] {
        let mut bench = Bench::http();
        bench.request("/a", 1);
        bench.response_by("200", 10, |message| message.part = Part::Head);
        bench.request("/b", 2);
        bench.give(What::Closed(reason));
        assert_eq!(bench.said(), ["/a 200 1-15".to_owned(), format!("/b {said} 2-")]);
        bench.request("/c", 3);
        assert_eq!(bench.rejected(Reject::UnknownConnection), 1);
    }
}

#[test]
fn a_request_without_an_answer_times_out_and_a_late_answer_is_an_orphan_that_takes_no_others_place() {
    let mut bench = Bench::http();
    bench.request("/slow", 1);
    bench.tick(Nanos(1_000 + 29_999_999_999));
    assert!(bench.out.is_empty());
    bench.request("/next", 2);
    bench.tick(Nanos(1_000 + 30_000_000_000));
    assert_eq!(bench.said(), ["/slow Timeout 1-"]);
    bench.response("200", 50);
    assert_eq!((bench.said().len(), bench.rejected(Reject::Orphan)), (0, 1));
    bench.response("201", 60);
    assert_eq!(bench.said(), ["/next 201 2-65"]);
}

#[test]
fn an_answer_that_never_came_does_not_shift_those_of_later_requests() {
    let mut bench = Bench::http();
    bench.request("/gone", 1);
    bench.tick(Nanos::from_secs(40));
    bench.said();
    bench.request("/next", 2);
    bench.response("200", 50);
    assert_eq!(bench.said(), ["/next 200 2-55"]);
}

#[test]
fn an_answer_that_has_begun_is_waited_for_longer() {
    let mut bench = Bench::http();
    bench.request("/stream", 1);
    bench.response_by("200", 10, |message| message.part = Part::Head);
    bench.tick(Nanos::from_secs(800));
    assert!(bench.out.is_empty());
    bench.tick(Nanos::from_secs(901));
    assert_eq!(bench.said(), ["/stream 200 1-15"]);
    bench.end(MessageKind::Response, 90, 9_000);
    assert_eq!(bench.rejected(Reject::Orphan), 1);
}

#[test]
fn dns_gives_up_sooner() {
    let mut bench = Bench::new(Protocol::Dns, PairSettings::default());
    bench.request("example.org", 1);
    bench.tick(Nanos(1_000 + 5_000_000_000));
    assert_eq!(bench.said(), ["example.org Timeout 1-"]);
}

#[test]
fn refused_answers_make_their_exchanges_lost_and_not_failed() {
    let mut bench = Bench::http();
    bench.request("/a", 1);
    bench.request("/b", 2);
    bench.give(What::Missed { requests: 1, responses: 1 });
    assert!(bench.out.iter().all(|exchange| !exchange.is_error() && exchange.status == Status::Unknown));
    assert_eq!(bench.said(), ["/a Lost 1-", "/b Lost 2-"]);
    bench.response("200", 9);
    let account = bench.pair.account();
    assert_eq!((account.seen, account.reported, account.missed), (3, 2, 1));
    assert_eq!(bench.rejected(Reject::Orphan), 1, "the answer to the request that was missed");
}

#[test]
fn refused_answers_by_id_are_lost_instead_of_timed_out() {
    let mut bench = Bench::new(Protocol::Dns, PairSettings::default());
    for id in 1..=3 {
        bench.request_by("n", id, |message| message.id = id);
    }
    bench.give(What::Missed { requests: 0, responses: 1 });
    assert!(bench.out.is_empty(), "whose answer it was is not known yet");
    bench.response_by("", 9, |message| message.id = 1);
    bench.tick(Nanos::from_secs(10));
    assert_eq!(bench.said(), ["n  1-14", "n Lost 2-", "n Timeout 3-"]);
}

#[test]
fn turns_missed_before_the_protocol_is_known_count_when_it_becomes_known() {
    let mut bench = Bench::http();
    bench.give(What::Missed { requests: 2, responses: 1 });
    assert_eq!(bench.pair.account().seen, 0);
    bench.response("200", 5);
    let account = bench.pair.account();
    assert_eq!((account.seen, account.missed, account.missed_unidentified), (2, 2, 0));
}

#[test]
fn turns_missed_on_a_connection_never_identified_are_kept_apart() {
    let mut bench = Bench::http();
    bench.give(What::Missed { requests: 2, responses: 1 });
    bench.give(What::Closed(CloseReason::Fin));
    let account = bench.pair.account();
    assert_eq!((account.seen, account.missed_unidentified), (0, 2));
}

#[test]
fn turns_missed_while_the_role_was_unknown_are_read_by_the_role_found() {
    let mut bench = Bench::http();
    bench.give(What::Opened(info(Role::Unknown, 1)));
    bench.give(What::Missed { requests: 1, responses: 3 });
    bench.give(What::Opened(info(Role::Client, 1)));
    let mut message = bench.message(MessageKind::Request, Part::Whole, 5);
    message.direction = Direction::Egress;
    bench.give(What::Item(message));
    assert_eq!(bench.pair.account().missed, 3, "egress is where a client's requests go");
}

#[test]
fn a_request_inferred_for_a_turn_counted_as_missed_is_not_counted_twice() {
    let mut bench = Bench::new(Protocol::Redis, PairSettings::default());
    bench.request("k", 1);
    bench.response("", 2);
    bench.said();
    bench.give(What::Missed { requests: 1, responses: 0 });
    let inferred = |message: &mut Message| {
        message.method = Token::new();
        message.cut = true;
    };
    for _ in 0..3 {
        bench.request_by("", 3, inferred);
        bench.response("", 4);
    }
    let account = bench.pair.account();
    assert_eq!((account.seen, account.reported, account.missed), (4, 3, 1));
    assert_eq!(bench.rejected(Reject::CountedMissed), 1);
}

#[test]
fn an_answer_to_a_request_that_nobody_read_is_a_missed_exchange() {
    let mut bench = Bench::http();
    bench.response("200", 5);
    assert_eq!((bench.pair.account().seen, bench.pair.account().missed), (1, 1));
    bench.give(What::Missed { requests: 0, responses: 1 });
    assert_eq!(bench.pair.account().missed, 2, "and so is a refused one");
    bench.give(What::Missed { requests: 1, responses: 0 });
    bench.response("200", 5);
    assert_eq!(bench.pair.account().missed, 3, "one and the same: its turn was counted");
    assert_eq!(bench.rejected(Reject::Orphan), 2);
}

#[test]
fn an_answer_to_a_request_older_than_the_probe_is_not_missed() {
    let mut bench = Bench::http();
    let mut late = (*info(Role::Server, 0)).clone();
    late.late = true;
    bench.give(What::Opened(Arc::new(late)));
    bench.response("200", 5);
    assert_eq!(bench.pair.account().seen, 0);
    bench.request("/a", 6);
    bench.response("200", 7);
    bench.response("200", 8);
    assert_eq!(bench.pair.account().missed, 1, "from its first request on it is like any other");
}

#[test]
fn past_its_bound_a_connection_takes_no_request_and_the_answers_keep_their_places() {
    let settings = PairSettings { pending_per_connection: 2, ..PairSettings::default() };
    let mut bench = Bench::new(Protocol::Redis, settings);
    for target in ["a", "b", "dropped"] {
        bench.request(target, 1);
    }
    bench.response("A", 5);
    bench.request("c", 2);
    for code in ["B", "nobody's", "C"] {
        bench.response(code, 5);
    }
    assert_eq!(bench.said(), ["a A 1-10", "b B 1-10", "c C 2-10"]);
    assert_eq!(bench.pair.account().dropped_connection_full, 1);
    assert_eq!((bench.rejected(Reject::ConnectionFull), bench.rejected(Reject::Orphan)), (1, 1));
}

#[test]
fn past_the_bound_of_all_no_request_is_taken() {
    let mut bench = Bench::new(Protocol::Redis, PairSettings { pending: 1, ..PairSettings::default() });
    bench.request("a", 1);
    bench.request("b", 1);
    assert_eq!(bench.pair.account().dropped_full, 1);
    bench.response("A", 5);
    bench.response("B", 5);
    bench.request("c", 1);
    bench.response("C", 5);
    assert_eq!(bench.said(), ["a A 1-10", "c C 1-10"]);
}

#[test]
fn after_an_upgrade_the_connection_is_anothers() {
    let mut bench = Bench::http();
    bench.request("/ws", 1);
    bench.response_by("101", 5, |message| {
        message.part = Part::Head;
        message.upgrade = true;
    });
    assert_eq!(bench.said(), ["/ws 101 1-10"]);
    bench.request("/x", 6);
    bench.give(What::Missed { requests: 9, responses: 9 });
    assert_eq!((bench.rejected(Reject::HandedOver), bench.pair.account().missed), (1, 0));
}

#[test]
fn a_server_without_a_connected_socket_learns_the_peer_with_the_answer() {
    let mut bench = Bench::new(Protocol::Dns, PairSettings::default());
    bench.request("n", 1);
    bench.give(What::Opened(info(Role::Server, 5_353)));
    bench.response("", 5);
    assert_eq!(bench.out[0].conn.remote.port(), 5_353);
}

#[test]
fn a_slot_with_a_new_tenant_lets_go_of_what_the_former_left() {
    let mut bench = Bench::http();
    bench.request("/a", 1);
    let mut batch = MessageBatch::default();
    let conn = ConnKey { generation: 2, ..KEY };
    batch.items.push(About { conn, at: Nanos(2), what: What::Opened(info(Role::Server, 0)) });
    bench.pair.process(Nanos(2), &mut batch, &mut bench.out);
    bench.check();
    assert_eq!(bench.out[0].no_answer, Some(NoAnswer::Lost));
}

#[test]
fn draining_leaves_nothing_held() {
    let mut bench = Bench::http();
    bench.request("/a", 1);
    bench.request("/b", 2);
    let mut out = Vec::new();
    bench.pair.drain(Nanos(5), &mut out);
    bench.check();
    assert_eq!(bench.pair.ledger().held, 0);
    assert!(out.iter().all(|exchange| exchange.no_answer == Some(NoAnswer::Shutdown)));
    assert_eq!(out.len(), 2);
}

#[test]
fn on_a_shared_connection_the_answer_to_a_request_that_timed_out_is_nobodys() {
    let mut bench = Bench::new(Protocol::Redis, PairSettings::default());
    bench.request("keys", 10);
    bench.tick(Nanos::from_secs(31));
    bench.request("get", 20);
    bench.response("slow", 30);
    assert_eq!(bench.rejected(Reject::Orphan), 1);
    bench.response("got", 40);
    assert_eq!(bench.said(), ["keys Timeout 10-", "get got 20-45"]);
}

#[test]
fn a_request_that_may_block_and_those_behind_it_are_waited_for() {
    let mut bench = Bench::new(Protocol::Redis, PairSettings::default());
    bench.request_by("queue", 10, |message| message.may_block = true);
    bench.request("behind", 11);
    bench.tick(Nanos::from_secs(60));
    bench.response("popped", 20);
    bench.response("B", 30);
    bench.request("after", 40);
    bench.tick(Nanos::from_secs(91));
    assert_eq!(bench.said(), ["queue popped 10-25", "behind B 11-35", "after Timeout 40-"]);
    bench.request_by("queue", 50, |message| message.may_block = true);
    bench.tick(Nanos::from_secs(91) + PairSettings::default().blocking_timeout);
    assert_eq!(bench.out[0].no_answer, Some(NoAnswer::Lost));
    assert!(!bench.out[0].is_error(), "nobody was to answer sooner");
}

#[test]
fn a_datagram_that_is_not_answered_stays_with_its_own_peer() {
    let of = |port| Arc::new(ConnInfo { transport: Transport::Udp, ..(*info(Role::Server, port)).clone() });
    let mut bench = Bench::new(Protocol::Dns, PairSettings::default());
    for (port, name, id) in [(1001, "a", 7), (1002, "b", 8)] {
        bench.give(What::Opened(of(port)));
        bench.request_by(name, 10, |message| message.id = id);
    }
    bench.response_by("ok", 20, |message| message.id = 8);
    bench.tick(Nanos::from_secs(6));
    let peers = bench.out.iter().map(|exchange| (exchange.target.as_str(), exchange.conn.remote.port()));
    assert_eq!(peers.collect::<Vec<_>>(), [("b", 1002), ("a", 1001)]);
}

#[test]
fn only_so_many_blocking_requests_are_waited_for_longer() {
    let settings = PairSettings { pending_per_connection: usize::MAX, ..PairSettings::default() };
    let mut bench = Bench::new(Protocol::Redis, settings);
    for _ in 0..=limits::MAX_PENDING_BLOCKING {
        bench.request_by("q", 10, |message| message.may_block = true);
    }
    assert_eq!(bench.pair.account().blocking_full, 1);
    bench.tick(Nanos::from_secs(31));
    assert_eq!(bench.said(), ["q Timeout 10-"]);
    bench.tick(Nanos::from_secs(2_000));
    assert_eq!(bench.out.len(), limits::MAX_PENDING_BLOCKING);
}

#[test]
fn nobody_waits_for_answers_on_a_connection_that_was_given_up() {
    let mut bench = Bench::http();
    bench.request("/a", 10);
    let mut farewell = bench.message(MessageKind::OneWay, Part::Whole, 20);
    farewell.upgrade = true;
    bench.give(What::Item(farewell));
    bench.give(What::Missed { requests: 5, responses: 5 });
    assert_eq!(bench.said(), ["/a Lost 10-"]);
    assert_eq!(bench.pair.account().missed, 0);
}

/// The governor takes a step while a server writes a long answer: what was asked before stands for as many as it did then, as it does at
/// the client's end.
#[test]
fn an_exchange_stands_for_as_many_as_its_connection_did_when_it_began() {
    let mut bench = Bench::http();
    let at = |level| {
        let mut info = (*info(Role::Server, 0)).clone();
        info.sampling = level;
        What::Opened(Arc::new(info))
    };
    bench.give(at(1));
    bench.request("/before", 10);
    bench.give(at(2));
    bench.response("200", 20);
    bench.request("/after", 30);
    bench.response("200", 40);
    let stands_for: Vec<_> =
        bench.out.iter().map(|exchange| (exchange.target.to_string(), exchange.weight())).collect();
    assert_eq!(stands_for, [("/before".to_owned(), 2), ("/after".to_owned(), 4)]);
}
