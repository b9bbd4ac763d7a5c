//! Laws of `decode` and `pair` together: for all that the kernel can say of a connection, nothing is lost uncounted.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support outside of tests")]

#[path = "flow/kernel.rs"]
mod kernel;
#[path = "flow/records.rs"]
mod records;
#[path = "flow/toy.rs"]
mod toy;

use kernel::{Claim, Kernel, Turn};
use proptest::prelude::*;
use records::{Bytes, SERVER, TCP, UDP, put};
use redtap_stages::abi::{self, EventHeader};
use redtap_stages::decode::{Decode, DecodeSettings, Reject};
use redtap_stages::flow::conn::Direction;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use toy::Toy;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const CLIENT: u8 = 1;

/// decode, the toy parser and pair, in a row.
struct Chain {
    decode: Decode<Bytes>,
    toy: Toy,
    pair: Pair,
    out: Vec<Exchange>,
}

impl Chain {
    fn new() -> Self {
        let settings = DecodeSettings { connections: 8, ..DecodeSettings::default() };
        Self {
            decode: Decode::new(settings),
            toy: Toy::default(),
            pair: Pair::new(PairSettings::default()),
            out: Vec::new(),
        }
    }

    fn give(&mut self, mut batch: EventBatch<Bytes>) {
        let (mut segments, mut messages) = (SegmentBatch::default(), MessageBatch::default());
        self.decode.process(Nanos(1), &mut batch, &mut segments);
        self.rest(&mut segments, &mut messages);
    }

    fn rest(&mut self, segments: &mut SegmentBatch<Bytes>, messages: &mut MessageBatch) {
        self.toy.parse(segments, messages);
        self.pair.process(Nanos(1), messages, &mut self.out);
        messages.recycle();
        self.check();
    }

    fn drain(&mut self) {
        let (mut segments, mut messages) = (SegmentBatch::default(), MessageBatch::default());
        self.decode.drain(Nanos(1), &mut segments);
        self.rest(&mut segments, &mut messages);
        self.pair.drain(Nanos(1), &mut self.out);
        self.check();
        assert_eq!(self.pair.ledger().held, 0);
    }

    fn check(&self) {
        assert!(self.decode.ledger().balances());
        assert!(self.pair.ledger().balances());
        assert!(self.pair.account().balances());
        let reported = u64::try_from(self.out.len()).unwrap();
        assert_eq!((self.pair.account().reported, self.pair.ledger().emitted), (reported, reported));
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Direction, length, which of its records are refused.
    Move(bool, u32, u8),
    End(bool, bool),
    Drain,
}

fn step(refusals: bool) -> impl Strategy<Value = Step> {
    let refuse =
        if refusals { prop_oneof![2 => Just(0_u8), 1 => Just(1), 1 => any::<u8>()].boxed() } else { Just(0).boxed() };
    prop_oneof![
        8 => (any::<bool>(), 1_u32..300, refuse).prop_map(|(out, len, refuse)| Step::Move(out, len, refuse)),
        2 => Just(Step::Drain),
    ]
}

fn steps(refusals: bool) -> impl Strategy<Value = Vec<Step>> {
    (prop::collection::vec(step(refusals), 1..60), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        move |(mut steps, ended, out, refused)| {
            if ended {
                steps.push(Step::End(out, refusals && refused));
            }
            steps
        },
    )
}

fn way(out: bool) -> Direction {
    if out { Direction::Egress } else { Direction::Ingress }
}

/// Plays the steps through the kernel's model and the chain, and closes the connection.
fn play(kernel: &mut Kernel, requests: Direction, steps: &[Step], close_refused: bool) -> Chain {
    let mut chain = Chain::new();
    for step in steps {
        match *step {
            // Who asks speaks first: an answer to nothing would be taken for that to a request which nobody read.
            Step::Move(out, ..) if kernel.turns.is_empty() && way(out) != requests => {}
            Step::Move(out, len, refuse) => kernel.operation(way(out), &vec![b'x'; len as usize], refuse),
            Step::End(out, refuse) => kernel.end(way(out), refuse),
            Step::Drain => drain(kernel, &mut chain),
        }
    }
    kernel.close(abi::reason::FIN, close_refused);
    drain(kernel, &mut chain);
    chain
}

fn drain(kernel: &mut Kernel, chain: &mut Chain) {
    let mut batch = EventBatch::default();
    kernel.drain(&mut batch);
    chain.give(batch);
}

/// The turns that ask, each with the turn after it.
fn asked(turns: &[Turn], requests: Direction) -> Vec<(Turn, Option<Turn>)> {
    let after = |at: usize| turns.get(at + 1).copied();
    let all = turns.iter().enumerate().map(|(at, turn)| (*turn, after(at)));
    all.filter(|(turn, _)| turn.direction == requests).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the kernel refuses, each exchange is reported once or missed once, with its own answer or none.
    #[test]
    fn reported_and_missed_are_all_there_were(
        steps in steps(true), client in any::<bool>(), budget in 0_u32..400, chunk in 1_u32..200, close_refused in any::<bool>(),
    ) {
        let (role, requests) = if client { (CLIENT, Direction::Egress) } else { (SERVER, Direction::Ingress) };
        let mut kernel = Kernel::new(1, role, TCP, budget, chunk.max(50));
        let chain = play(&mut kernel, requests, &steps, close_refused);
        let asked = asked(&kernel.turns, requests);
        let account = chain.pair.account();
        prop_assert_eq!(account.reported + account.missed + account.missed_unidentified, asked.len() as u64);
        prop_assert_eq!((account.pending, account.dropped()), (0, 0));
        let unseen = |direction| kernel.turns.iter().filter(|turn| turn.direction == direction && !turn.seen).count() as u64;
        prop_assert_eq!(chain.toy.missed, [unseen(requests), unseen(requests.reverse())]);
        if let Some(turn) = kernel.turns.first() {
            let moved = |direction| kernel.turns.iter().filter(|t| t.direction == direction).map(|t| t.bytes).sum::<u64>();
            prop_assert_eq!(chain.toy.bytes.get(&1).copied().unwrap_or_default(), [moved(Direction::Ingress), moved(Direction::Egress)], "{:?}", turn);
        }
        let mut seen = asked.iter().filter(|(turn, _)| turn.seen);
        for exchange in &chain.out {
            let (request, response) = seen.next().unwrap();
            prop_assert_eq!(exchange.start.0, request.first);
            let answered = response.filter(|turn| turn.seen).map(|turn| turn.first);
            prop_assert_eq!(exchange.answered.map(|at| at.0), answered);
            let why = match response {
                Some(turn) if turn.seen => None,
                Some(_) => Some(NoAnswer::Lost),
                None => Some(NoAnswer::Closed),
            };
            prop_assert_eq!(exchange.no_answer, why);
        }
        prop_assert!(seen.next().is_none());
    }

    /// Without refusals, times and sizes are exact however little was captured.
    #[test]
    fn times_and_sizes_are_exact_where_nothing_was_refused(steps in steps(false), budget in 1_u32..400) {
        let mut kernel = Kernel::new(1, SERVER, TCP, budget, 100);
        let chain = play(&mut kernel, Direction::Ingress, &steps, false);
        let asked = asked(&kernel.turns, Direction::Ingress);
        prop_assert_eq!(chain.pair.account().missed, 0);
        prop_assert_eq!(chain.out.len(), asked.len());
        for (exchange, (request, response)) in chain.out.iter().zip(&asked) {
            prop_assert_eq!((exchange.start.0, exchange.request_bytes), (request.first, request.bytes));
            if let Some(response) = response {
                prop_assert_eq!(exchange.answered.map(|at| at.0), Some(response.first));
                prop_assert_eq!(exchange.response_bytes, response.bytes);
                // The last turn's end is known from the close, which may come later.
                if response.first != kernel.turns.last().unwrap().first {
                    prop_assert_eq!(exchange.end.map(|at| at.0), Some(response.last));
                }
            }
        }
    }

    /// Two threads, one a direction: an operation may be copied while the other one's are told of. Every byte arrives or
    /// is a gap, and as many turns are missed as were refused.
    #[test]
    fn threads_that_overtake_each_other_lose_nothing(
        steps in prop::collection::vec((step(true), any::<bool>()), 1..60), budget in 0_u32..400, chunk in 50_u32..200,
    ) {
        let mut kernel = Kernel::new(1, SERVER, TCP, budget, chunk);
        let mut chain = Chain::new();
        let mut copied: Option<(Claim, bool, u32, u8)> = None;
        for (step, overtaken) in &steps {
            match *step {
                Step::Move(out, len, refuse) => {
                    let bytes = vec![b'x'; len as usize];
                    // A thread ends its own operation before its next one.
                    if let Some((claim, _, len, refuse)) = copied.take_if(|(_, own, ..)| *own == out || *overtaken) {
                        kernel.settle(claim, &vec![b'x'; len as usize], refuse);
                    }
                    if *overtaken && copied.is_none() {
                        copied = Some((kernel.claim(way(out), bytes.len()), out, len, refuse));
                    } else {
                        kernel.operation(way(out), &bytes, refuse);
                    }
                }
                Step::End(..) => {}
                Step::Drain => drain(&mut kernel, &mut chain),
            }
        }
        if let Some((claim, _, len, refuse)) = copied {
            kernel.settle(claim, &vec![b'x'; len as usize], refuse);
        }
        kernel.close(abi::reason::FIN, false);
        drain(&mut kernel, &mut chain);
        let unseen = kernel.turns.iter().filter(|turn| !turn.seen).count() as u64;
        prop_assert_eq!(chain.toy.missed[0] + chain.toy.missed[1], unseen);
        prop_assert_eq!(chain.decode.ledger().rejected_for(Reject::Stale), 0);
        if !kernel.turns.is_empty() {
            let moved = |direction| kernel.turns.iter().filter(|t| t.direction == direction).map(|t| t.bytes).sum::<u64>();
            let bytes = chain.toy.bytes.get(&1).copied().unwrap_or_default();
            prop_assert_eq!(bytes, [moved(Direction::Ingress), moved(Direction::Egress)]);
        }
        if unseen == 0 {
            let begun = kernel.turns.iter().filter(|turn| turn.seen).count() as u64;
            prop_assert_eq!(chain.toy.begun, begun);
        }
    }

    /// Datagrams may overtake each other; as many turns are said to be missed as were refused.
    #[test]
    fn as_many_datagrams_are_missed_as_were_refused(steps in steps(true), swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let mut kernel = Kernel::new(1, SERVER, UDP, 400, 400);
        let mut chain = Chain::new();
        for step in &steps {
            match *step {
                Step::Move(out, len, refuse) => kernel.operation(way(out), &vec![b'x'; len as usize], refuse),
                Step::End(..) => {}
                Step::Drain => {
                    for swap in &swaps {
                        if kernel.ring.len() > 1 {
                            let at = swap.index(kernel.ring.len() - 1);
                            // A record that is not the first one was made after that was in the ring.
                            if kernel.ring[at].0.flags & abi::flag::FIRST == 0 {
                                kernel.ring.swap(at, at + 1);
                            }
                        }
                    }
                    drain(&mut kernel, &mut chain);
                }
            }
        }
        drain(&mut kernel, &mut chain);
        chain.drain();
        let refused = kernel.turns.iter().filter(|turn| !turn.seen).count() as u64;
        prop_assert_eq!(chain.toy.missed[0] + chain.toy.missed[1], refused);
        prop_assert_eq!(chain.decode.ledger().rejected_for(Reject::Stale), 0);
    }

    /// Any records at all: no panic, every ledger balances, the bytes of a direction stay contiguous, nothing stays held.
    #[test]
    fn hostile_records_are_counted_and_do_no_harm(records in prop::collection::vec(hostile(), 1..80)) {
        let mut chain = Chain::new();
        let mut batch = EventBatch::default();
        for (record, payload) in &records {
            put(&mut batch, record, payload);
        }
        let taken = records.len() as u64;
        chain.give(batch);
        chain.drain();
        prop_assert_eq!(chain.decode.ledger().taken, taken);
        prop_assert!(chain.decode.connections().open == 0);
    }

    /// Any bytes at all.
    #[test]
    fn hostile_bytes_are_counted(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in any::<prop::sample::Index>()) {
        let mut chain = Chain::new();
        let mut batch = EventBatch::default();
        let mut record = EventHeader::new_zeroed();
        if bytes.len() >= abi::HEADER_LEN {
            record = EventHeader::read_from_prefix(&bytes).unwrap().0;
            record.version = abi::VERSION;
        }
        put(&mut batch, &record, &bytes);
        batch.records[0].len = u32::try_from(cut.index(record.as_bytes().len() + bytes.len() + 1)).unwrap();
        chain.give(batch);
        chain.drain();
        let ledger = chain.decode.ledger();
        prop_assert_eq!((ledger.taken, ledger.held), (1, 0));
    }
}

/// Records of few connections with fields in and out of range, near and far from each other.
fn hostile() -> impl Strategy<Value = (EventHeader, Vec<u8>)> {
    let number = || prop_oneof![8 => 0_u64..500, 1 => Just(u64::MAX), 1 => any::<u64>()];
    let turn = prop_oneof![8 => 0_u32..20, 1 => Just(u32::MAX), 1 => any::<u32>()];
    let kinds = (0_u8..6, 0_u8..3, 0_u8..4, prop_oneof![6 => 1_u8..5, 1 => any::<u8>()], any::<u8>(), any::<u8>());
    let places = (number(), number(), turn, 0_u64..12);
    let sizes = (0_u32..100, prop_oneof![4 => 0_u32..200, 1 => any::<u32>()], 0_usize..120);
    (kinds, places, sizes, any::<[u8; 16]>()).prop_map(|(kinds, places, sizes, address)| {
        let mut record = EventHeader::new_zeroed();
        record.version = abi::VERSION;
        (record.kind, record.dir, record.role, record.transport, record.flags, record.detail) = kinds;
        (record.offset, record.other_offset, record.turn, record.conn_id) = places;
        let (cap_len, len, payload) = sizes;
        (record.cap_len, record.len) = (cap_len, if record.kind == abi::kind::DATA { len } else { len % 2 });
        record.family = address[0] % 12;
        (record.laddr, record.raddr, record.rport) = (address, address, u16::from(address[1]));
        (record, vec![0; payload])
    })
}
