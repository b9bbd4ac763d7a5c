//! HTTP/2 from segments to exchanges: identify, parse and pair together, over recordings.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support outside of tests")]

use redtap_stages::flow::conn::{
    About, Address, CloseReason, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What,
};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::message::{MessageBatch, Status};
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::identify::Identify;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::sync::Arc;

const KEY: ConnKey = ConnKey { slot: 0, generation: 1 };

/// What a recording holds: who spoke (the client's bytes are `Egress`), and what.
fn turns(mut file: &[u8]) -> Vec<(Direction, Vec<u8>)> {
    let mut turns = Vec::new();
    while let Some((head, rest)) = file.split_at_checked(5) {
        let len = usize::try_from(u32::from_be_bytes(head[1..].try_into().unwrap())).unwrap();
        let direction = if head[0] == b'>' { Direction::Egress } else { Direction::Ingress };
        turns.push((direction, rest[..len].to_vec()));
        file = &rest[len..];
    }
    turns
}

/// The exchanges of a connection; one that is older than the probe has only the turns from `from` on.
fn exchanges(file: &[u8], from: usize) -> Vec<Exchange> {
    exchanges_of(turns(file).into_iter().skip(from), from > 0)
}

/// The exchanges of a connection of which each item is what one operation moved.
fn exchanges_of(operations: impl IntoIterator<Item = (Direction, Vec<u8>)>, late: bool) -> Vec<Exchange> {
    let (mut identify, mut parse) = (Identify::<Vec<u8>>::new(), Parse::<Vec<u8>>::new());
    let mut pair = Pair::new(PairSettings::default());
    let mut out = Vec::new();
    let mut feed = |at: u64, what: What<Segment>, memory: Vec<u8>| {
        let items = vec![About { conn: KEY, at: Nanos(at), what }];
        let mut segments = SegmentBatch { memory: Some(memory), items, verdicts: vec![] };
        let (mut known, mut messages) = (SegmentBatch::default(), MessageBatch::default());
        identify.process(Nanos(at), &mut segments, &mut known);
        parse.process(Nanos(at), &mut known, &mut messages);
        pair.process(Nanos(at), &mut messages, &mut out);
    };
    let info = ConnInfo {
        id: 1,
        transport: Transport::Tcp,
        role: Role::Client,
        local: Address::UNKNOWN,
        remote: Address::UNKNOWN,
        owner: Owner::default(),
        netns: 0,
        sock_ino: 0,
        late,
        sampling: 0,
    };
    feed(0, What::Opened(Arc::new(info)), Vec::new());
    let mut before = None;
    let mut turn = 0_u32;
    for (at, (direction, bytes)) in (1_u64..).zip(operations) {
        let captured = Span { start: 0, len: u32::try_from(bytes.len()).unwrap() };
        let turn_start = before.replace(direction) != Some(direction);
        turn += u32::from(turn_start);
        let protocol = Protocol::Unknown;
        let segment =
            Segment { direction, offset: 0, captured, gap: 0, turn_start, turn, tid: 0, end: false, protocol };
        feed(at * 1_000, What::Item(segment), bytes);
    }
    feed(1_000_000, What::Closed(CloseReason::Fin), Vec::new());
    out
}

fn short(exchange: &Exchange) -> String {
    let Exchange { protocol, method, target, status, code, .. } = exchange;
    format!("{} {method} {target} {status:?} {code}", protocol.name())
}

#[test]
fn an_upgraded_connection_goes_on_in_its_new_protocol() {
    let got = exchanges(include_bytes!("fixtures/http2/curl_upgrade.rec"), 0);
    assert_eq!(
        got.iter().map(short).collect::<Vec<_>>(),
        ["http GET /first?a=b Ok 101", "http2 GET /first?a=b Ok 200", "http2 GET /second Ok 200"]
    );
    assert!(got[1].duration() > got[0].duration(), "the answer itself comes behind the one that accepts the upgrade");
}

/// httpd writes its 101, its SETTINGS and the answer apart, but all in one turn, before it has read the client's preface: what
/// follows the 101 begins wherever it does.
#[test]
fn what_follows_an_upgrade_may_come_in_any_pieces() {
    let mut whole = turns(include_bytes!("fixtures/http2/curl_upgrade.rec"));
    let want = exchanges_of(whole.clone(), false).iter().map(short).collect::<Vec<_>>();
    let at = whole.iter().position(|(_, bytes)| bytes.starts_with(b"PRI * HTTP/2.0")).unwrap();
    // Its SETTINGS, and the answer two operations later.
    let (settings, answer) = (whole.remove(at + 1), whole.remove(at + 2));
    whole.insert(at, (Direction::Ingress, [settings.1, answer.1].concat()));
    assert!(whole[at - 1].1.starts_with(b"HTTP/1.1 101") && whole[at].1.len() == 45 + 88);
    let (_, behind) = &whole[at];
    for first in 1..behind.len() {
        for second in [first + 1, first + 9, behind.len()] {
            let (a, b) = (first, second.min(behind.len()));
            let mut cut = whole.clone();
            let pieces = [&behind[..a], &behind[a..b], &behind[b..]].map(|piece| (Direction::Ingress, piece.to_vec()));
            cut.splice(at..=at, pieces.into_iter().filter(|(_, piece)| !piece.is_empty()));
            assert_eq!(exchanges_of(cut, false).iter().map(short).collect::<Vec<_>>(), want, "cut at {a} and {b}");
        }
    }
}

#[test]
fn calls_find_their_answers_among_many() {
    let got = exchanges(include_bytes!("fixtures/http2/grpc_parallel.rec"), 0);
    assert_eq!(got.len(), 20);
    for exchange in &got {
        let want = if exchange.target == "shop.Orders/Fail" { "5" } else { "0" };
        assert_eq!((exchange.code.as_str(), exchange.no_answer, exchange.request_messages), (want, None, 1));
    }
    let load = exchanges(include_bytes!("fixtures/http2/h2load.rec"), 0);
    assert_eq!((load.len(), load.iter().filter(|exchange| exchange.code == "404").count()), (60, 20));
}

#[test]
fn a_reset_is_no_answer_of_http_and_a_status_of_grpc() {
    let node = exchanges(include_bytes!("fixtures/http2/node.rec"), 0);
    let refused = node.iter().find(|exchange| exchange.target == "/refuse").unwrap();
    assert_eq!(refused.no_answer.and_then(|why| why.error_type()), Some("reset"));
    let calls = exchanges(include_bytes!("fixtures/http2/grpc_cancel.rec"), 0);
    assert_eq!(
        calls.iter().map(short).collect::<Vec<_>>(),
        [
            "grpc POST shop.Orders/Slow Error 1",
            "grpc POST shop.Orders/Slow Error 1",
            "grpc POST shop.Orders/Feed Error 1",
            "grpc POST shop.Orders/Echo Ok 0"
        ]
    );
}

/// Calls one behind the other, seen from each turn on: each is reported once, with the times that it has when all is seen, as a
/// call wherever its answer shows that, and never as what went well when it did not.
#[test]
fn calls_on_an_old_connection_are_right_or_unknown() {
    for file in [
        &include_bytes!("fixtures/http2/grpc_errors.rec")[..],
        include_bytes!("fixtures/http2/grpc_unary.rec"),
        include_bytes!("fixtures/http2/grpc_go.rec"),
    ] {
        let whole = exchanges(file, 0);
        for from in 1..turns(file).len() {
            let before = Nanos(u64::try_from(from).unwrap() * 1_000);
            let due: Vec<_> = whole.iter().filter(|call| call.start > before).collect();
            let got = exchanges(file, from);
            assert_eq!(got.len(), due.len(), "from {from}: {got:?}");
            for got in &got {
                let start = Nanos(got.start.0 + before.0);
                let mut same = due.iter().filter(|call| call.start == start);
                let truth = same.next().unwrap();
                assert!(same.next().is_none() && got.duration() == truth.duration(), "from {from}: {got:?}");
                match (got.protocol, got.status) {
                    (_, Status::Unknown) => assert_eq!(got.code, "", "from {from}: {got:?}"),
                    (Protocol::Grpc, _) => assert_eq!(got.code, truth.code, "from {from}: {got:?}"),
                    (_, status) => assert_eq!(status, truth.status, "from {from}: {got:?}"),
                }
            }
        }
    }
    // The first answer spells a field of gRPC out; all that refer to what was said before are taken for calls from then on.
    let go = exchanges(include_bytes!("fixtures/http2/grpc_go.rec"), 9);
    assert_eq!(
        go.iter().map(short).collect::<Vec<_>>(),
        [
            "grpc POST  Unknown ",
            "grpc POST  Unknown ",
            "grpc POST  Unknown ",
            "grpc POST  Unknown ",
            "grpc POST grpc.health.v1.Health/Watch Unknown "
        ]
    );
}

#[test]
fn an_old_connection_is_found_in_the_middle() {
    let got = exchanges(include_bytes!("fixtures/http2/h2load.rec"), 4);
    assert!(got.len() >= 30, "{}", got.len());
    assert!(got.iter().all(|exchange| exchange.protocol == Protocol::Http2 && !exchange.code.is_empty()));
}
