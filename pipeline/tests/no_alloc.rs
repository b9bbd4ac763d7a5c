//! In steady state no event costs an allocation, from decode to aggregate, through edges and runners.
//!
//! Real keep-alive connections (wrk on nginx, redis-benchmark on redis-server, both ends of each), whose recorded
//! conversation is carried on: the same bytes again, at the offsets, turns and numbers that follow. New connections and new
//! series may allocate, and what is made once a second; so the measured part has neither.
#![expect(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a counting allocator can only be written so; in tests a panic is a failure"
)]

use redtap::chain::{Chain, Place};
use redtap::edge::{EdgeCapacity, Inlet, Outlet};
use redtap::recording::RecordingReader;
use redtap::runner::{NoVerdicts, StageStats, Turn, Turns};
use redtap::source::{BATCH_RECORDS, Lease};
use redtap_captures::records::{Next, Records};
use redtap_stages::abi::{EventHeader, HEADER_LEN, flag, kind};
use redtap_stages::aggregate::Aggregate;
use redtap_stages::converge::Converge;
use redtap_stages::decode::Decode;
use redtap_stages::filter::Filter;
use redtap_stages::flow::delta::Delta;
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::identify::Identify;
use redtap_stages::join::Join;
use redtap_stages::pair::Pair;
use redtap_stages::parse::Parse;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, IntoBytes};

/// Real events of nginx under wrk and curl, and of redis-server under redis-benchmark.
const RECORDING: &[u8] = include_bytes!("../../benches/data/mixed.redtapev");
/// Events from which on a connection counts as kept alive.
const LONG: usize = 60;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One recorded event.
#[derive(Clone)]
struct Event {
    header: EventHeader,
    payload: Vec<u8>,
}

/// What a connection's recorded conversation comes to.
#[derive(Default, Clone, Copy)]
struct Sums {
    offset: [u64; 2],
    turns: u32,
}

/// The conversations of the long connections, each from its first request to the end of a response, in recorded order.
fn conversations() -> (Vec<Event>, BTreeMap<u64, Sums>) {
    let mut reader = RecordingReader::new(Cursor::new(RECORDING)).unwrap();
    let (mut record, mut connections) = (Vec::new(), BTreeMap::<u64, Vec<Event>>::new());
    while reader.next_record(&mut record) == Next::Record {
        let (header, payload) = EventHeader::read_from_prefix(&record).unwrap();
        if header.kind == kind::DATA {
            connections.entry(header.conn_id).or_default().push(Event { header, payload: payload.to_vec() });
        }
        record.clear();
    }
    connections.retain(|_, events| events.len() >= LONG && events[0].header.flags & flag::FIRST != 0);
    let (mut events, mut sums) = (Vec::new(), BTreeMap::new());
    for (id, mut conversation) in connections {
        // A server (2) answers by egress (1), a client (1) is answered by ingress (0).
        while conversation.last().is_some_and(|event| event.header.dir != u8::from(event.header.role == 2)) {
            conversation.pop();
        }
        let mut sum = Sums::default();
        for Event { header, .. } in &conversation {
            let end = &mut sum.offset[usize::from(header.dir)];
            *end = (*end).max(header.offset + u64::from(header.len));
            sum.turns = sum.turns.max(header.turn + 1);
        }
        sums.insert(id, sum);
        events.extend(conversation);
    }
    events.sort_by_key(|event| event.header.ts_ns);
    (events, sums)
}

/// The conversations, carried on for the `round`th time, as batches.
fn carry_on(events: &[Event], sums: &BTreeMap<u64, Sums>, round: u32) -> Vec<(Arc<[u8]>, Vec<Span>)> {
    let times = u64::from(round);
    let chunk = |events: &[Event]| {
        let (mut memory, mut spans) = (Vec::new(), Vec::new());
        for event in events {
            let (mut header, sum) = (event.header, sums[&event.header.conn_id]);
            let dir = usize::from(header.dir);
            header.offset += times * sum.offset[dir];
            header.other_offset += times * sum.offset[1 - dir];
            header.turn += round * sum.turns;
            if round > 0 {
                header.flags &= !flag::FIRST;
            }
            spans.push(Span { start: memory.len() as u32, len: (HEADER_LEN + event.payload.len()) as u32 });
            memory.extend_from_slice(header.as_bytes());
            memory.extend_from_slice(&event.payload);
        }
        (Arc::from(memory), spans)
    };
    events.chunks(BATCH_RECORDS).map(chunk).collect()
}

/// Decode to aggregate, turned by hand.
struct Bench {
    source: Outlet<EventBatch<Lease>>,
    runners: Vec<Box<dyn Turns>>,
    stats: Vec<Arc<StageStats>>,
    deltas: Inlet<Vec<Delta>>,
}

fn place<S: Stage>(fresh: impl FnMut() -> S + Send + 'static) -> Place<S> {
    Place { fresh: Box::new(fresh), tick_every: Nanos::SECOND, hook: None }
}

impl Bench {
    fn new() -> Self {
        let mut chain = Chain::new(EdgeCapacity::DEFAULT, Arc::new(NoVerdicts));
        let (source, next) = chain.edge();
        let (next, _) = chain.link(next, place(|| Decode::<Lease>::new(Default::default())));
        let (next, _) = chain.link(next, place(Identify::<Lease>::new));
        let (next, _) = chain.link(next, place(Parse::<Lease>::new));
        let (next, _) = chain.link(next, place(|| Pair::new(Default::default())));
        let (next, _) = chain.link(next, place(|| Filter::new(Default::default())));
        let (next, _) = chain.link(next, place(|| Converge::new(Default::default())));
        let (next, _) = chain.link(next, place(|| Join::new(Default::default())));
        let (deltas, _) = chain.link(next, place(Aggregate::new));
        let (runners, stats) = chain.into_parts();
        Self { source, runners, stats, deltas }
    }

    /// All of `batches`, at one time, to the end of the chain.
    fn run(&mut self, at: Nanos, batches: &[(Arc<[u8]>, Vec<Span>)]) {
        for (memory, spans) in batches {
            let mut batch = self.source.blank();
            batch.memory = Some(Lease::Shared(Arc::clone(memory)));
            batch.records.extend_from_slice(spans);
            self.source.send(at, batch).unwrap();
            for runner in &mut self.runners {
                while runner.turn() == Turn::Worked {}
            }
            while let Some((_, deltas)) = self.deltas.take() {
                self.deltas.give_back(deltas);
            }
        }
    }

    fn exchanges(&self) -> u64 {
        self.stats.last().unwrap().totals().taken
    }
}

#[test]
fn no_event_allocates_in_steady_state() {
    let (events, sums) = conversations();
    assert!(sums.len() >= 8 && events.len() > 1_000, "{} connections, {} events", sums.len(), events.len());
    let mut bench = Bench::new();
    let (mut round, mut at) = (0, Nanos(events.last().unwrap().header.ts_ns));
    let mut next_round = |bench: &mut Bench, at: Nanos| {
        let batches = carry_on(&events, &sums, round);
        round += 1;
        let (exchanges, allocations) = (bench.exchanges(), ALLOCATIONS.load(Ordering::Relaxed));
        bench.run(at, &batches);
        (bench.exchanges() - exchanges, ALLOCATIONS.load(Ordering::Relaxed) - allocations)
    };
    // Connections open, series are made, join stops waiting for names, memory grows to what a second needs.
    let (_, opening) = next_round(&mut bench, at);
    assert!(opening > 0, "the counter counts");
    let mut each = 0;
    for _ in 0..5 {
        at = at + Nanos::SECOND;
        each = next_round(&mut bench, at).0;
    }
    assert!(each > 500, "{each} exchanges a round");
    for _ in 0..5 {
        let (exchanges, allocations) = next_round(&mut bench, at);
        assert_eq!(exchanges, each, "the conversations go on without a break");
        assert_eq!(allocations, 0, "for {} events", events.len());
    }
    for stats in &bench.stats {
        let totals = stats.totals();
        assert_eq!((totals.faults, totals.rejected_total()), (0, 0), "{}: {:?}", stats.name(), stats.rejected());
    }
}
