//! No allocation a statement in steady state in the parser of MySQL, plain and compressed, prepared and not. (Texts longer than the
//! 64 bytes that a `Text` keeps in place take one each message, executes of prepared ones too: none is among these.)
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support outside of tests")]

use redtap_stages::flow::conn::{About, Address, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::sync::Arc;

const CONN: ConnKey = ConnKey { slot: 0, generation: 1 };

/// A recording's bytes, in one piece, and where its reads lie in it.
fn load(file: &'static [u8]) -> (&'static [u8], Vec<(Direction, Span)>) {
    let (mut at, mut reads) = (0, Vec::new());
    while let Some(head) = file.get(at..at + 5) {
        let direction = if head[0] == b'>' { Direction::Ingress } else { Direction::Egress };
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        reads.push((direction, Span { start: u32::try_from(at + 5).unwrap(), len }));
        at += 5 + usize::try_from(len).unwrap();
    }
    (file, reads)
}

fn feed(
    parse: &mut Parse<&'static [u8]>,
    memory: &'static [u8],
    what: What<Segment>,
    out: &mut MessageBatch,
    batch: &mut SegmentBatch<&'static [u8]>,
) -> usize {
    batch.memory = Some(memory);
    batch.items.push(About { conn: CONN, at: Nanos(1), what });
    parse.process(Nanos(1), batch, out);
    let made = out.items.len();
    batch.recycle();
    out.recycle();
    made
}

/// Allocations while the reads from `from` to `to` are read again and again, after the whole was read up to there once.
fn allocations(file: &'static [u8], from: usize, to: usize) -> u64 {
    let (memory, reads) = load(file);
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
    let (mut parse, mut out, mut batch) = (Parse::new(), MessageBatch::default(), SegmentBatch::default());
    feed(&mut parse, memory, What::Opened(Arc::new(info)), &mut out, &mut batch);
    let mut turn = 0;
    let mut before = None;
    let mut read = |(direction, captured): (Direction, Span)| {
        let turn_start = before != Some(direction);
        turn += u32::from(turn_start);
        before = Some(direction);
        let segment = Segment {
            direction,
            offset: 0,
            captured,
            gap: 0,
            turn_start,
            turn,
            tid: 0,
            end: false,
            protocol: Protocol::Mysql,
        };
        feed(&mut parse, memory, What::Item(segment), &mut out, &mut batch)
    };
    reads[..to].iter().for_each(|one| {
        read(*one);
    });
    let mut again =
        |rounds: u32| (0..rounds).map(|_| reads[from..to].iter().map(|one| read(*one)).sum::<usize>()).sum::<usize>();
    again(20);
    let mut made = 0;
    let allocated = allocation_counter::measure(|| made = again(100)).count_total;
    assert!(made >= 200, "statements were read: {made}");
    allocated
}

#[test]
fn plain_statements_allocate_nothing() {
    // The first SELECT and its rows.
    assert_eq!(allocations(include_bytes!("fixtures/mysql/node.rec"), 3, 5), 0);
}

#[test]
fn prepared_statements_allocate_nothing() {
    // EXECUTE and its rows, its text known.
    let (_, reads) = load(include_bytes!("fixtures/mysql/node.rec"));
    let file = include_bytes!("fixtures/mysql/node.rec");
    let execute = |(direction, span): &(Direction, Span)| {
        *direction == Direction::Ingress && file.get(span.start as usize + 4) == Some(&0x17)
    };
    let at = reads.iter().position(execute).unwrap();
    assert_eq!(allocations(file, at, at + 2), 0);
}

#[test]
fn compressed_statements_allocate_nothing() {
    assert_eq!(allocations(include_bytes!("fixtures/mysql/node_compressed.rec"), 3, 6), 0);
}
