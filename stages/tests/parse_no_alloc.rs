//! No allocation a segment in steady state, from identify to parse, also where messages are cut into pieces.
#![expect(clippy::unwrap_used, reason = "test support outside of tests")]

use redtap_stages::flow::conn::{About, Address, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::identify::Identify;
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::sync::Arc;

const CONNECTIONS: u32 = 16;
const REQUEST: &[u8] = b"GET /orders/12345?page=2 HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

fn memory() -> &'static [u8] {
    static MEMORY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    MEMORY.get_or_init(|| [REQUEST, ANSWER].concat())
}

fn opened(slot: u32) -> About<Segment> {
    let info = ConnInfo {
        id: u64::from(slot) + 1,
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
    About { conn: ConnKey { slot, generation: 1 }, at: Nanos(0), what: What::Opened(Arc::new(info)) }
}

/// One exchange on each connection; request and answer in two pieces each, cut at `cut`.
fn fill(batch: &mut SegmentBatch<&'static [u8]>, cut: u32, round: u32) {
    batch.memory = Some(memory());
    let request = u32::try_from(REQUEST.len()).unwrap();
    let answer = u32::try_from(ANSWER.len()).unwrap();
    for (direction, from, len) in [(Direction::Ingress, 0, request), (Direction::Egress, request, answer)] {
        for slot in 0..CONNECTIONS {
            for (start, len, turn_start) in [(from, cut, true), (from + cut, len - cut, false)] {
                let what = What::Item(Segment {
                    direction,
                    offset: 0,
                    captured: Span { start, len },
                    gap: 0,
                    turn_start,
                    turn: round * 2 + u32::from(direction == Direction::Egress),
                    tid: 0,
                    end: false,
                    protocol: Protocol::Unknown,
                });
                let conn = ConnKey { slot, generation: 1 };
                batch.items.push(About { conn, at: Nanos(u64::from(round)), what });
            }
        }
    }
}

#[test]
fn steady_state_allocates_nothing() {
    let (mut identify, mut parse) = (Identify::new(), Parse::new());
    let (mut input, mut segments, mut out) =
        (SegmentBatch::default(), SegmentBatch::default(), MessageBatch::default());
    input.items.extend((0..CONNECTIONS).map(opened));
    let mut messages = 0;
    let mut turn = |round: u32| {
        fill(&mut input, 5 + round % 40, round);
        identify.process(Nanos(0), &mut input, &mut segments);
        parse.process(Nanos(0), &mut segments, &mut out);
        messages += out.items.len();
        input.recycle();
        segments.recycle();
        out.recycle();
    };
    (0..100).for_each(&mut turn);
    let allocated = allocation_counter::measure(|| (100..200).for_each(&mut turn)).count_total;
    let heads_and_ends = messages - CONNECTIONS as usize;
    assert!(heads_and_ends >= 200 * 2 * CONNECTIONS as usize, "all was read: {messages}");
    assert_eq!(parse.ledger().rejected.iter().sum::<u64>(), 0);
    assert_eq!(allocated, 0, "over {} segments", 100 * 4 * CONNECTIONS);
}
