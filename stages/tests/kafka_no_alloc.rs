//! No allocation a segment in steady state where Kafka is parsed: the same recorded conversations over and over on one connection.
//! (Names of APIs longer than a `Token` keeps in place, such as `ConsumerGroupDescribe`, take one each: none is among them.)
#![expect(clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use redtap_stages::flow::conn::{About, Address, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::sync::Arc;

const RECORDINGS: [&[u8]; 4] = [
    include_bytes!("fixtures/kafka/pipelined.rec"),
    include_bytes!("fixtures/kafka/fetch_by_id.rec"),
    include_bytes!("fixtures/kafka/group_11.rec"),
    include_bytes!("fixtures/kafka/java_consume_1.rec"),
];

const CONN: ConnKey = ConnKey { slot: 0, generation: 1 };

fn opened() -> About<Segment> {
    let info = ConnInfo {
        id: 1,
        transport: Transport::Tcp,
        role: Role::Client,
        local: Address::UNKNOWN,
        remote: Address::UNKNOWN,
        owner: Owner::default(),
        netns: 0,
        sock_ino: 0,
        late: false,
        sampling: 0,
    };
    About { conn: CONN, at: Nanos(0), what: What::Opened(Arc::new(info)) }
}

/// One segment a record of the recording: each read, or each read in two pieces.
fn fill(batch: &mut SegmentBatch<&'static [u8]>, recording: &'static [u8], in_two: bool) {
    batch.memory = Some(recording);
    let (mut at, mut turn, mut before) = (0, 0, None);
    while let Some(head) = recording.get(at..at + 5) {
        let direction = if head[0] == b'>' { Direction::Egress } else { Direction::Ingress };
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let start = at as u32 + 5;
        let first = if in_two && len > 7 { 7 } else { len };
        for (start, len) in [(start, first), (start + first, len - first)].into_iter().filter(|(_, len)| *len > 0) {
            let turn_start = before.replace(direction) != Some(direction);
            turn += u32::from(turn_start);
            let captured = Span { start, len };
            let segment = Segment {
                direction,
                offset: 0,
                captured,
                gap: 0,
                turn_start,
                turn,
                tid: 0,
                end: false,
                protocol: Protocol::Kafka,
            };
            batch.items.push(About { conn: CONN, at: Nanos(u64::from(turn)), what: What::Item(segment) });
        }
        at += 5 + len as usize;
    }
}

#[test]
fn steady_state_allocates_nothing() {
    let mut parse = Parse::new();
    let (mut input, mut out) = (SegmentBatch::default(), MessageBatch::default());
    input.items.push(opened());
    parse.process(Nanos(0), &mut input, &mut out);
    out.recycle();
    let mut messages = 0;
    let mut round = |round: usize| {
        for recording in RECORDINGS {
            fill(&mut input, recording, round % 2 == 1);
            parse.process(Nanos(0), &mut input, &mut out);
            messages += out.items.len();
            input.recycle();
            out.recycle();
        }
    };
    (0..10).for_each(&mut round);
    let allocated = allocation_counter::measure(|| (10..30).for_each(&mut round)).count_total;
    assert!(messages >= 30 * 100, "all was read: {messages}");
    assert_eq!(parse.ledger().rejected.iter().sum::<u64>(), 0);
    assert_eq!(allocated, 0);
}
