//! Redis through the real stages: recorded conversations as the kernel would tell of them under a capture budget, from either
//! side, come out as exactly the exchanges that the recording holds.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a wrong index is a failed test"
)]

use redtap_stages::abi::{EventHeader, MAX_CHUNK, VERSION, flag, kind, reason};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::message::{MessageBatch, Status};
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::identify::Identify;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use zerocopy::IntoBytes;

type Bytes = Vec<u8>;

/// One byte `>` or `<`, four of length, the bytes.
fn recording(mut file: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some((head, rest)) = file.split_at_checked(5) {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (bytes, rest) = rest.split_at(len);
        out.push((head[0] == b'>', bytes.to_vec()));
        file = rest;
    }
    out
}

macro_rules! recorded {
    ($name:literal) => {
        recording(include_bytes!(concat!("fixtures/redis/", $name, ".rec")))
    };
}

/// What the kernel programs say of one connection.
struct Kernel {
    server: bool,
    budgets: [usize; 2],
    clock: u64,
    offset: [u64; 2],
    ts: [u64; 2],
    turn: Option<(u8, u32)>,
    spent: usize,
    batch: EventBatch<Bytes>,
}

impl Kernel {
    fn new(server: bool, requests: usize, replies: usize) -> Self {
        let budgets = if server { [requests, replies] } else { [replies, requests] };
        Self {
            server,
            budgets,
            clock: 1_000_000,
            offset: [0; 2],
            ts: [0; 2],
            turn: None,
            spent: 0,
            batch: EventBatch::default(),
        }
    }

    fn operation(&mut self, from_client: bool, bytes: &[u8]) {
        let dir = u8::from(from_client != self.server);
        let at = usize::from(dir);
        self.clock += 10_000;
        let begins = self.turn.is_none_or(|(speaker, _)| speaker != dir);
        if begins {
            self.turn = Some((dir, self.turn.map_or(0, |(_, turn)| turn + 1)));
            self.spent = 0;
        }
        let mut captured = bytes.len().min(self.budgets[at].saturating_sub(self.spent));
        self.spent += bytes.len();
        self.ts[at] = self.clock;
        let mut rest = bytes;
        while captured > 0 {
            let cap = captured.min(MAX_CHUNK);
            captured -= cap;
            let len = if captured == 0 { rest.len() } else { cap };
            let (piece, after) = rest.split_at(len);
            let first = begins && rest.len() == bytes.len();
            let flags = if first { flag::TURN_START } else { 0 };
            self.record(kind::DATA, dir, flags, len, &piece[..cap]);
            self.offset[at] += len as u64;
            rest = after;
        }
        self.offset[at] += rest.len() as u64;
    }

    fn close(&mut self) {
        self.clock += 10_000;
        let dir = self.turn.map_or(0, |(dir, _)| dir);
        self.record(kind::CLOSE, dir, 0, 0, &[]);
    }

    fn record(&mut self, kind: u8, dir: u8, flags: u8, len: usize, payload: &[u8]) {
        let (at, other) = (usize::from(dir), usize::from(1 - dir));
        let header = EventHeader {
            version: VERSION,
            kind,
            dir,
            role: if self.server { 2 } else { 1 },
            transport: 1,
            family: 2,
            flags,
            detail: if kind == kind::CLOSE { reason::FIN } else { 0 },
            cap_len: payload.len() as u32,
            len: len as u32,
            conn_id: 7,
            ts_ns: self.clock,
            offset: self.offset[at],
            other_offset: self.offset[other],
            other_ts_ns: self.ts[other],
            unseen: 0,
            turn: self.turn.map_or(0, |(_, turn)| turn),
            pid: 1,
            tid: 1,
            cgroup_id: 1,
            netns: 1,
            lport: if self.server { 21300 } else { 40000 },
            rport: if self.server { 40000 } else { 21300 },
            laddr: [127; 16],
            raddr: [127; 16],
            comm: *b"redis-trial\0\0\0\0\0",
            sock_ino: 5,
        };
        let memory = self.batch.memory.get_or_insert_default();
        let start = memory.len() as u32;
        memory.extend_from_slice(header.as_bytes());
        memory.extend_from_slice(payload);
        self.batch.records.push(Span { start, len: memory.len() as u32 - start });
    }
}

/// All exchanges of a conversation whose operations move at most `chunk` bytes.
fn exchanges(conversation: &[(bool, Vec<u8>)], server: bool, budgets: [usize; 2], chunk: usize) -> Vec<Exchange> {
    let mut kernel = Kernel::new(server, budgets[0], budgets[1]);
    for (from_client, bytes) in conversation {
        for piece in bytes.chunks(chunk) {
            kernel.operation(*from_client, piece);
        }
    }
    kernel.close();
    let mut decode = Decode::<Bytes>::new(DecodeSettings::default());
    let (mut identify, mut parse) = (Identify::<Bytes>::new(), Parse::<Bytes>::new());
    let mut pair = Pair::new(PairSettings::default());
    let (mut segments, mut known) = (SegmentBatch::default(), SegmentBatch::default());
    let (mut messages, mut out) = (MessageBatch::default(), Vec::new());
    let now = Nanos(kernel.clock);
    decode.process(now, &mut kernel.batch, &mut segments);
    identify.process(now, &mut segments, &mut known);
    parse.process(now, &mut known, &mut messages);
    pair.process(now, &mut messages, &mut out);
    messages.recycle();
    let account = pair.account();
    assert!(account.balances());
    assert_eq!((account.missed, account.pending, account.dropped()), (0, 0, 0), "{account:?}");
    assert_eq!(account.reported, out.len() as u64);
    out
}

fn named(exchanges: &[Exchange]) -> Vec<(String, String, Status)> {
    let name = |e: &Exchange| (e.method.to_string(), e.target.to_string(), e.status);
    exchanges.iter().map(name).collect()
}

#[test]
fn every_exchange_is_reported_the_same_from_either_side_in_whatever_pieces() {
    for (conversation, count) in [
        (recorded!("basic"), 25),
        (recorded!("resp3"), 18),
        (recorded!("pipeline"), 81),
        (recorded!("benchmark_set"), 32),
        (recorded!("benchmark_get"), 32),
        (recorded!("large"), 7),
        (recorded!("reply_modes"), 8),
        (recorded!("pubsub2"), 7),
        (recorded!("pubsub3"), 8),
    ] {
        let whole = named(&exchanges(&conversation, true, [1 << 20; 2], 1 << 20));
        assert_eq!(whole.len(), count);
        for (server, chunk) in [(true, 1000), (true, 7), (false, 1 << 20), (false, 333), (false, 2)] {
            let got = exchanges(&conversation, server, [1 << 20; 2], chunk);
            assert_eq!(named(&got), whole, "server {server}, pieces of {chunk}");
            assert!(got.iter().all(|exchange| exchange.no_answer.is_none()));
        }
    }
}

#[test]
fn pipelines_of_large_values_are_counted_whole_under_any_budget() {
    for (conversation, method) in [(recorded!("benchmark_set_10k"), "SET"), (recorded!("benchmark_get_10k"), "GET")] {
        for budgets in [[512, 512], [4096, 4096], [16384, 8192], [4096, 256], [10_100, 20_100]] {
            for (server, chunk) in [(true, 1 << 20), (true, 16384), (false, 1 << 20), (false, 16384)] {
                let got = exchanges(&conversation, server, budgets, chunk);
                assert_eq!(got.len(), 16, "budgets {budgets:?}, server {server}, pieces of {chunk}");
                assert!(got.iter().all(|exchange| exchange.no_answer.is_none() && exchange.end.is_some()));
                assert!(got.iter().all(|exchange| exchange.method.is_empty() || exchange.method == method));
                assert!(got.iter().all(|exchange| exchange.status != Status::Error));
                // Where one direction is read whole, what it tells is known of every exchange.
                let unknown = got.iter().filter(|exchange| exchange.status == Status::Unknown).count();
                let unnamed = got.iter().filter(|exchange| exchange.method.is_empty()).count();
                if method == "SET" {
                    assert_eq!(unknown, 0);
                } else {
                    assert_eq!(unnamed, 0);
                    assert!(unknown > 0);
                }
            }
        }
    }
}
