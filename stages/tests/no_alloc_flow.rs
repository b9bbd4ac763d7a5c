//! In steady state `decode`, `pair` and `filter` allocate nothing: not for a record, not for an exchange, not for a server
//! on an unconnected datagram socket whose peer is another one each time.
#![expect(unsafe_code, reason = "a counting allocator can be written in no other way")]
#![expect(clippy::unwrap_used, reason = "a test's own arithmetic")]

#[path = "flow/records.rs"]
mod records;

use records::{Bytes, SERVER, TCP, UDP, header, put};
use redtap_stages::abi::{flag, kind};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::filter::{Filter, FilterRules};
use redtap_stages::flow::conn::{About, Direction, What};
use redtap_stages::flow::event::EventBatch;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::message::{Message, MessageBatch, MessageKind, Part};
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::text::{Text, Token};
use redtap_stages::time::Nanos;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // While a thread ends its counter is gone: nothing of interest happens there.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: all calls go to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: u64 = 32;
const PER_TURN: u64 = 3;

/// The stages and the batches between them, used again and again.
struct Chain {
    protocol: Protocol,
    decode: Decode<Bytes>,
    pair: Pair,
    filter: Filter,
    events: EventBatch<Bytes>,
    segments: SegmentBatch<Bytes>,
    messages: MessageBatch,
    exchanges: Vec<Exchange>,
    kept: Vec<Exchange>,
    reported: u64,
}

impl Chain {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            decode: Decode::new(DecodeSettings::default()),
            pair: Pair::new(PairSettings::default()),
            filter: Filter::new(FilterRules { own_pid: Some(1), ..FilterRules::default() }),
            events: EventBatch::default(),
            segments: SegmentBatch::default(),
            messages: MessageBatch::default(),
            exchanges: Vec::new(),
            kept: Vec::new(),
            reported: 0,
        }
    }

    /// One request turn and one answer turn on each connection.
    fn round(&mut self, round: u32) {
        let transport = if self.protocol == Protocol::Dns { UDP } else { TCP };
        for id in 1..=CONNECTIONS {
            for (direction, turn) in [(Direction::Ingress, 2 * round), (Direction::Egress, 2 * round + 1)] {
                let mut record = header(id, kind::DATA, direction, turn);
                (record.role, record.transport, record.flags) = (SERVER, transport, flag::TURN_START);
                (record.len, record.cap_len) = (60, 40);
                record.offset = u64::from(round) * 60;
                record.other_offset = u64::from(turn.div_ceil(2)) * 60;
                if transport == UDP {
                    record.rport = 1_000 + u16::try_from(turn % 5_000).unwrap();
                }
                put(&mut self.events, &record, &[b'x'; 40]);
            }
        }
        let now = Nanos(u64::from(round));
        self.decode.process(now, &mut self.events, &mut self.segments);
        self.events.recycle();
        for item in self.segments.items.drain(..) {
            parse(self.protocol, item, &mut self.messages);
        }
        // The memory goes back to where records are written.
        self.events.memory = self.segments.memory.take().map(|mut memory| {
            memory.clear();
            memory
        });
        self.pair.process(now, &mut self.messages, &mut self.exchanges);
        self.messages.recycle();
        self.pair.tick(now, &mut self.exchanges);
        self.filter.process(now, &mut self.exchanges, &mut self.kept);
        self.reported += u64::try_from(self.kept.len()).unwrap();
        self.kept.clear();
    }
}

/// Each turn is a few messages.
fn parse(protocol: Protocol, item: About<Segment>, out: &mut MessageBatch) {
    let About { conn, at, what } = item;
    match what {
        What::Opened(info) => out.items.push(About { conn, at, what: What::Opened(info) }),
        What::Item(segment) => {
            let asks = segment.direction == Direction::Ingress;
            let kind = if asks { MessageKind::Request } else { MessageKind::Response };
            for id in 0..PER_TURN {
                let mut message = Message::new(kind, Part::Whole, protocol, segment.direction, at);
                (message.id, message.method) = (id, Token::from("GET"));
                message.target = Text::from("/a/path/that/is/as/long/as/most/of/them");
                message.code = Token::from("200");
                out.items.push(About { conn, at, what: What::Item(message) });
            }
        }
        What::Missed { .. } | What::Closed(_) => unreachable!("nothing is refused here"),
    }
}

fn allocations_in_steady_state(protocol: Protocol) -> u64 {
    let mut chain = Chain::new(protocol);
    for round in 0..200 {
        chain.round(round);
    }
    let before = ALLOCATIONS.get();
    for round in 200..700 {
        chain.round(round);
    }
    let after = ALLOCATIONS.get();
    assert_eq!(chain.reported, 700 * CONNECTIONS * PER_TURN, "all of it was real work");
    after - before
}

#[test]
fn exchanges_on_connections_allocate_nothing() {
    assert_eq!(allocations_in_steady_state(Protocol::Http1), 0);
}

#[test]
fn exchanges_by_id_with_ever_new_peers_allocate_nothing() {
    assert_eq!(allocations_in_steady_state(Protocol::Dns), 0);
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1_u8)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
