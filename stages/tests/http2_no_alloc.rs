//! No allocation a message in steady state: many calls at a time over one HTTP/2 connection, cut anywhere.
#![expect(clippy::unwrap_used, reason = "test support outside of tests")]

use redtap_stages::flow::conn::{About, Address, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::sync::Arc;

const KEY: ConnKey = ConnKey { slot: 0, generation: 1 };
/// Streams that are open at a time.
const AT_ONCE: u32 = 50;
const ROUNDS: u32 = 4 * 60;

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// `:method: POST`, a path and the content type of gRPC, all of them put into the table anew.
fn request(out: &mut Vec<u8>, stream: u32) {
    let path = format!("/shop.Orders/Method{:03}", stream % 199);
    let mut block = vec![0x83, 0x44, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x5f\x10application/grpc");
    frame(out, 1, 0x4, stream, &block);
    frame(out, 0, 0x1, stream, b"\0\0\0\0\x03abc");
}

fn answer(out: &mut Vec<u8>, stream: u32) {
    frame(out, 1, 0x4, stream, b"\x88\x5f\x10application/grpc");
    frame(out, 0, 0, stream, b"\0\0\0\0\x02ab");
    frame(out, 1, 0x5, stream, b"\x40\x0bgrpc-status\x010");
}

fn segment(direction: Direction, start: usize, len: usize, turn_start: bool, turn: u32) -> About<Segment> {
    let captured = Span { start: u32::try_from(start).unwrap(), len: u32::try_from(len).unwrap() };
    let what = Segment {
        direction,
        offset: 0,
        captured,
        gap: 0,
        turn_start,
        turn,
        tid: 0,
        end: false,
        protocol: Protocol::Http2,
    };
    About { conn: KEY, at: Nanos(u64::from(turn)), what: What::Item(what) }
}

/// Where the requests of a round are, and where its answers.
type Places = [(usize, usize); 2];

/// All the bytes of all rounds, and for each round where its requests and answers are.
fn traffic() -> (&'static [u8], Vec<Places>) {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let from = if round == 0 { 0 } else { bytes.len() };
        let streams = || (0..AT_ONCE).map(|n| 2 * (round * AT_ONCE + n) + 1);
        streams().for_each(|stream| request(&mut bytes, stream));
        let middle = bytes.len();
        streams().for_each(|stream| answer(&mut bytes, stream));
        rounds.push([(from, middle), (middle, bytes.len())]);
    }
    (bytes.leak(), rounds)
}

#[test]
fn steady_state_allocates_nothing() {
    let (bytes, rounds) = traffic();
    let mut parse = Parse::<&'static [u8]>::new();
    let (mut input, mut out) = (SegmentBatch::default(), MessageBatch::default());
    let info = ConnInfo {
        id: 1,
        transport: Transport::Tcp,
        role: Role::Server,
        local: Address::UNKNOWN,
        remote: Address::UNKNOWN,
        owner: Owner::default(),
        netns: 0,
        sock_ino: 0,
        late: false,
        sampling: 0,
    };
    input.items.push(About { conn: KEY, at: Nanos(0), what: What::Opened(Arc::new(info)) });
    let mut messages = 0;
    let mut turn = |round: u32| {
        input.memory = Some(bytes);
        let [asked, answered] = rounds[usize::try_from(round).unwrap()];
        for (direction, (from, to)) in [(Direction::Ingress, asked), (Direction::Egress, answered)] {
            let turn = round * 2 + u32::from(direction == Direction::Egress);
            let mut at = from;
            while at < to {
                let len = (97 + usize::try_from(round % 7).unwrap()).min(to - at);
                input.items.push(segment(direction, at, len, at == from, turn));
                at += len;
            }
        }
        parse.process(Nanos(0), &mut input, &mut out);
        messages += out.items.len();
        input.recycle();
        out.recycle();
    };
    (0..ROUNDS / 2).for_each(&mut turn);
    let allocated = allocation_counter::measure(|| (ROUNDS / 2..ROUNDS).for_each(&mut turn)).count_total;
    let parts = usize::try_from(ROUNDS * AT_ONCE * 4).unwrap();
    assert_eq!(
        messages,
        parts + 1,
        "a head and an end of each request and each answer, and the news of the connection"
    );
    assert_eq!(parse.ledger().rejected.iter().sum::<u64>(), 0);
    assert_eq!(allocated, 0, "over {} calls", ROUNDS / 2 * AT_ONCE);
}
