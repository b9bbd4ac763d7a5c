//! What time does to connections, with the real stages between: silence behind an answer, restarts of a stage in
//! mid-traffic, servers that stall, the end of a connection that was silenced.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support outside of tests")]

#[path = "flow/kernel.rs"]
mod kernel;
#[path = "flow/records.rs"]
mod records;

use kernel::Kernel;
use records::{Bytes, SERVER, TCP};
use redtap_stages::abi::{self, Verdict};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::flow::conn::{About, ConnKey, Direction::*, What};
use redtap_stages::flow::event::EventBatch;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::identify::Identify;
use redtap_stages::limits;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// decode, identify, parse, pair.
struct Chain {
    decode: Decode<Bytes>,
    identify: Identify<Bytes>,
    parse: Parse<Bytes>,
    pair: Pair,
    out: Vec<Exchange>,
    verdicts: Vec<Verdict>,
    now: Nanos,
    /// The last news of the connection, to be said again.
    opened: Option<About<redtap_stages::flow::segment::Segment>>,
}

impl Chain {
    fn new() -> Self {
        Self {
            decode: Decode::new(DecodeSettings::default()),
            identify: Identify::new(),
            parse: Parse::new(),
            pair: Pair::new(PairSettings::default()),
            out: Vec::new(),
            verdicts: Vec::new(),
            now: Nanos(1),
            opened: None,
        }
    }

    fn give(&mut self, kernel: &mut Kernel) {
        let (mut batch, mut decoded) = (EventBatch::default(), SegmentBatch::default());
        kernel.drain(&mut batch);
        self.decode.process(self.now, &mut batch, &mut decoded);
        let opened = decoded.items.iter().rfind(|about| matches!(about.what, What::Opened(_)));
        self.opened = opened.cloned().or(self.opened.take());
        self.rest(&mut decoded);
    }

    fn rest(&mut self, decoded: &mut SegmentBatch<Bytes>) {
        let (mut identified, mut messages) = (SegmentBatch::default(), MessageBatch::default());
        self.identify.process(self.now, decoded, &mut identified);
        self.verdicts.append(&mut identified.verdicts);
        self.parse.process(self.now, &mut identified, &mut messages);
        self.verdicts.append(&mut messages.verdicts);
        self.pair.process(self.now, &mut messages, &mut self.out);
        messages.recycle();
        assert!(self.pair.account().balances());
    }

    /// As decode does when a stage behind it was restarted.
    fn say_opened_again(&mut self) {
        let mut batch = SegmentBatch::default();
        batch.items.extend(self.opened.clone());
        self.rest(&mut batch);
    }

    fn tick(&mut self, now: Nanos) {
        self.now = now;
        let mut messages = MessageBatch::default();
        self.parse.tick(now, &mut messages);
        self.pair.process(now, &mut messages, &mut self.out);
        self.pair.tick(now, &mut self.out);
    }
}

fn server() -> Kernel {
    Kernel::new(1, SERVER, TCP, 4096, 4096)
}

fn talk(kernel: &mut Kernel, chain: &mut Chain, times: usize) {
    for _ in 0..times {
        kernel.operation(Ingress, GET, 0);
        kernel.operation(Egress, OK, 0);
        chain.give(kernel);
    }
}

#[test]
fn an_answer_whose_end_cannot_be_seen_is_over_after_a_second_of_silence() {
    let chunked =
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n", &[b'd'; 5000][..], b"\r\n0\r\n\r\n"]
            .concat();
    let policy = "x".repeat(4100);
    let long =
        format!("HTTP/1.1 200 OK\r\nContent-Security-Policy: {policy}\r\nContent-Length: 2\r\n\r\nhi").into_bytes();
    for answer in [chunked, long] {
        let (mut kernel, mut chain) = (server(), Chain::new());
        kernel.operation(Ingress, GET, 0);
        kernel.operation(Egress, &answer, 0);
        chain.give(&mut kernel);
        let last = Nanos(kernel.turns[1].last);
        chain.tick(last + limits::PARSE_QUIET - Nanos(1));
        assert!(chain.out.is_empty(), "more may come");
        chain.tick(last + limits::PARSE_QUIET + Nanos::SECOND);
        let exchange = chain.out.pop().unwrap();
        assert_eq!((exchange.code.as_str(), exchange.end, exchange.no_answer), ("200", Some(last), None));
        assert_eq!(exchange.response_bytes, answer.len() as u64);
        // The answer may go on after all, and so does the connection; it is not reported again.
        kernel.operation(Egress, &[b'd'; 3_000], 0);
        chain.give(&mut kernel);
        chain.tick(last + Nanos::from_secs(10));
        talk(&mut kernel, &mut chain, 3);
        assert_eq!(chain.out.len(), 3);
        assert_eq!((chain.pair.account().seen, chain.pair.account().missed), (4, 0));
    }
}

#[test]
fn a_request_that_comes_byte_by_byte_begins_with_its_first_byte() {
    let (mut kernel, mut chain) = (server(), Chain::new());
    for byte in GET {
        kernel.operation(Ingress, &[*byte], 0);
        chain.give(&mut kernel);
    }
    kernel.operation(Egress, OK, 0);
    chain.give(&mut kernel);
    assert_eq!(chain.out[0].start.0, kernel.turns[0].first);
}

#[test]
fn turns_of_a_silenced_connection_are_not_missed() {
    let foreign: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0];
    for (speaks, garbage) in [(foreign, 0), (GET, 9)] {
        let (mut kernel, mut chain) = (server(), Chain::new());
        kernel.operation(Ingress, speaks, 0);
        chain.give(&mut kernel);
        for _ in 0..garbage {
            kernel.operation(Egress, b"\0\x01garbage", 0);
            kernel.operation(Ingress, b"\x01\x02garbage", 0);
            chain.give(&mut kernel);
        }
        assert_eq!(chain.verdicts.last().unwrap().capture, abi::Capture::Mute);
        for _ in 0..5_000 {
            kernel.operation(Egress, &[0x17; 100], 0);
            kernel.operation(Ingress, &[0x17; 100], 0);
            kernel.ring.clear();
        }
        kernel.end(Egress, false);
        kernel.close(abi::reason::FIN, false);
        chain.give(&mut kernel);
        let account = chain.pair.account();
        assert_eq!((account.missed, account.missed_unidentified), (0, 0), "{account:?}");
        // A request that was read before is reported, and its lack of an answer is nobody's fault.
        assert_eq!(chain.out.len() as u64, account.seen);
        assert!(chain.out.iter().all(|exchange| !exchange.is_error()), "{:?}", chain.out);
    }
}

#[test]
fn a_stalled_server_does_not_put_answers_out_of_step() {
    let (mut kernel, mut chain) = (server(), Chain::new());
    kernel.operation(Ingress, b"*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n", 0);
    chain.give(&mut kernel);
    chain.tick(Nanos::from_secs(31));
    kernel.operation(Ingress, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", 0);
    kernel.operation(Egress, b"-ERR slow\r\n", 0);
    kernel.operation(Egress, b"$1\r\n1\r\n", 0);
    chain.give(&mut kernel);
    let said = chain.out.iter().map(|e| format!("{} {:?} {}", e.method, e.no_answer, e.code)).collect::<Vec<_>>();
    assert_eq!(said, ["KEYS Some(Timeout) ", "GET None "]);
}

#[test]
fn a_blocking_command_takes_as_long_as_it_takes() {
    for (command, blocks) in [
        (&b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$2\r\n60\r\n"[..], true),
        (b"*6\r\n$5\r\nxread\r\n$5\r\nblock\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$1\r\ns\r\n$1\r\n$\r\n", true),
        (b"*4\r\n$5\r\nXREAD\r\n$7\r\nSTREAMS\r\n$1\r\ns\r\n$1\r\n0\r\n", false),
    ] {
        let (mut kernel, mut chain) = (server(), Chain::new());
        kernel.operation(Ingress, command, 0);
        chain.give(&mut kernel);
        chain.tick(Nanos::from_secs(60));
        kernel.operation(Egress, b"*-1\r\n", 0);
        chain.give(&mut kernel);
        assert_eq!(chain.out.len(), 1);
        assert_eq!(chain.out[0].is_error(), !blocks);
        assert_eq!(chain.out[0].end.is_some(), blocks);
    }
}

#[test]
fn a_stage_that_was_restarted_follows_connections_said_again() {
    for stage in 0..3 {
        let (mut kernel, mut chain) = (server(), Chain::new());
        talk(&mut kernel, &mut chain, 10);
        match stage {
            0 => chain.identify = Identify::new(),
            1 => chain.parse = Parse::new(),
            _ => chain.pair = Pair::new(PairSettings::default()),
        }
        chain.say_opened_again();
        let before = chain.pair.account();
        talk(&mut kernel, &mut chain, 1_000);
        let account = chain.pair.account();
        assert_eq!((chain.out.len(), account.reported - before.reported), (1_010, 1_000));
        assert_eq!((account.missed, account.pending, account.missed_unidentified), (0, 0, 0));
    }
}

#[test]
fn a_restarted_decode_gives_no_connection_the_past_of_another() {
    let (mut other, mut chain) = (server(), Chain::new());
    other.operation(Ingress, &[0x16, 3, 1, 0, 200, 1, 0, 0], 0);
    chain.give(&mut other);
    chain.decode = Decode::new(DecodeSettings::default());
    let mut kernel = Kernel::new(2, SERVER, TCP, 4096, 4096);
    talk(&mut kernel, &mut chain, 10);
    assert_eq!(chain.opened.as_ref().unwrap().conn, ConnKey { slot: 0, generation: 0 }, "the same place");
    assert_eq!((chain.out.len(), chain.pair.account().seen), (10, 10));
}
