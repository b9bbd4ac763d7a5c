//! What a connection end costs while it is idle: live heap bytes, stage by stage.
//!
//! Both ends of many connections on loopback, one exchange of HTTP/1 each, then seconds in which nothing happens. What a stage's
//! calls left allocated is that stage's; batches are let go before it is counted. News of a connection ([`ConnInfo`]) are
//! shared, and counted where they are made.
//!
//! [`ConnInfo`]: redtap_stages::flow::conn::ConnInfo
#![expect(unsafe_code, reason = "a counting allocator can be written in no other way")]
#![expect(clippy::unwrap_used, reason = "a test's own arithmetic")]

#[path = "flow/records.rs"]
#[expect(dead_code, reason = "of datagrams there are none here")]
mod records;

use records::{Bytes, SERVER, TCP, header, put};
use redtap_stages::abi::{flag, kind};
use redtap_stages::aggregate::Aggregate;
use redtap_stages::converge::{Converge, ConvergeRules};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::filter::{Filter, FilterRules};
use redtap_stages::flow::conn::Direction;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::identify::Identify;
use redtap_stages::join::{Join, JoinSettings};
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::stage::{Batch as _, Stage};
use redtap_stages::time::Nanos;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// The role of a client, in a header.
const CLIENT: u8 = 1;
/// Connections, of two ends each. A power of two and a half, so that tables that double are neither full nor just grown.
const CONNECTIONS: u32 = 12_288;
/// Bytes of an end in all stages. What is measured is below it by a tenth.
const MOST: i64 = 1_450;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: usize, sign: i64) {
    // While a thread ends its counter is gone: nothing of interest happens there.
    let _ = LIVE.try_with(|live| live.set(live.get() + sign * i64::try_from(bytes).unwrap_or(0)));
}

// SAFETY: all calls go to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A stage, what comes out of it, and what its calls left allocated.
struct Step<S: Stage> {
    stage: S,
    out: S::Out,
    left: i64,
}

impl<S: Stage> Step<S> {
    fn new(stage: S) -> Self {
        Self { stage, out: S::Out::default(), left: 0 }
    }

    fn take(&mut self, now: Nanos, input: &mut S::In) -> &mut S::Out {
        let before = LIVE.get();
        if !input.is_empty() {
            self.stage.process(now, input, &mut self.out);
        }
        self.stage.tick(now, &mut self.out);
        self.left += LIVE.get() - before;
        &mut self.out
    }

    /// Lets the batch go, so that only what the stage itself keeps is counted.
    fn let_go(&mut self) {
        let before = LIVE.get();
        self.out = S::Out::default();
        self.left += LIVE.get() - before;
    }
}

/// Both ends of connection `n`: a request and its answer.
fn exchange(n: u32, batch: &mut EventBatch<Bytes>) {
    let port = u16::try_from(20_000 + n).unwrap();
    let request = b"GET /a/path HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (asked, answered) = (u32::try_from(request.len()).unwrap(), u32::try_from(answer.len()).unwrap());
    for (end, role) in [(0, CLIENT), (1, SERVER)] {
        let id = u64::from(2 * n + end + 1);
        let asks = if role == CLIENT { Direction::Egress } else { Direction::Ingress };
        for (turn, direction, payload) in [(0, asks, &request[..]), (1, asks.reverse(), &answer[..])] {
            let mut record = header(id, kind::DATA, direction, turn);
            (record.role, record.transport) = (role, TCP);
            record.flags = flag::TURN_START | if turn == 0 { flag::FIRST } else { 0 };
            (record.offset, record.other_offset) = (0, u64::from(if turn == 0 { 0 } else { asked }));
            record.len = if turn == 0 { asked } else { answered };
            record.cap_len = record.len;
            record.pid = 100 + end;
            (record.lport, record.rport) = if role == CLIENT { (port, 80) } else { (80, port) };
            put(batch, &record, payload);
        }
    }
}

#[test]
fn an_idle_connection_end_is_small() {
    let mut decode = Step::new(Decode::<Arc<[u8]>>::new(DecodeSettings::default()));
    let mut identify = Step::new(Identify::<Arc<[u8]>>::new());
    let mut parse = Step::new(Parse::<Arc<[u8]>>::new());
    let mut pair = Step::new(Pair::new(PairSettings::default()));
    let mut filter = Step::new(Filter::new(FilterRules::default()));
    let mut converge = Step::new(Converge::new(ConvergeRules::default()));
    let mut join = Step::new(Join::new(JoinSettings::default()));
    let mut aggregate = Step::new(Aggregate::new());
    let mut exchanges = 0;
    let mut now = Nanos::from_secs(1);
    let quiet = (0..8).map(|_| None);
    for n in (0..CONNECTIONS).step_by(32).map(Some).chain(quiet) {
        let mut records = EventBatch::default();
        match n {
            Some(n) => (n..n + 32).for_each(|n| exchange(n, &mut records)),
            None => now = now + Nanos::SECOND,
        }
        now = now + Nanos::from_millis(1);
        // Held here as well, so that no stage is credited with letting it go.
        let memory: Arc<[u8]> = records.memory.take().unwrap_or_default().into();
        let mut events =
            EventBatch { memory: Some(Arc::clone(&memory)), records: std::mem::take(&mut records.records) };
        let out = decode.take(now, &mut events);
        let out = identify.take(now, out);
        let out = parse.take(now, out);
        let out = pair.take(now, out);
        let out = filter.take(now, out);
        let out = converge.take(now, out);
        let out = join.take(now, out);
        aggregate.take(now, out);
        exchanges = aggregate.stage.ledger().taken;
        decode.let_go();
        identify.let_go();
        parse.let_go();
        pair.let_go();
        filter.let_go();
        converge.let_go();
        join.let_go();
        aggregate.let_go();
        drop((events, memory));
    }
    let ends = u64::from(2 * CONNECTIONS);
    assert_eq!(exchanges, ends, "all of it was real work");
    let left = [
        ("decode", decode.left),
        ("identify", identify.left),
        ("parse", parse.left),
        // `filter` passes the very batch on that `pair` filled.
        ("pair and filter", pair.left + filter.left),
        ("converge", converge.left),
        ("join", join.left),
        ("aggregate", aggregate.left),
    ];
    let each = left.map(|(name, bytes)| (name, bytes / i64::try_from(ends).unwrap()));
    let sum: i64 = each.iter().map(|(_, bytes)| bytes).sum();
    println!("bytes an end: {sum}, {each:?}");
    assert!(sum > 0 && sum <= MOST, "{sum} bytes an end: {each:?}");
}
