//! Two threads on one socket, one that reads and one that writes, pipelined: everything is counted exactly once, from
//! the kernel's programs to `pair`, however the records overtake each other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

#[path = "live/harness.rs"]
mod harness;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use harness::{RUNGS, Watch, skipped};
use redtap_kernel::ring::Ring;
use redtap_kernel::slots::{Shard, Slots, progress_event};
use redtap_stages::decode::{Decode, DecodeSettings, Reject};
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::identify::Identify;
use redtap_stages::pair::{Account, Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::stage::{Batch as _, Stage as _};
use redtap_stages::time::Nanos;
use zerocopy::IntoBytes as _;

/// Requests of one run.
const REQUESTS: u64 = 30_000;
/// Requests sent ahead of their answers.
const WINDOW: u64 = 8;
const ANSWER: &[u8] = b"+OK\r\n";
/// Where the copy of this test that plays an end finds what to do: `server` or `client`, and the port.
const PART: &str = "REDTAP_TEST_DUPLEX";

fn request() -> Vec<u8> {
    [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300\r\n"[..], &[b'v'; 300], b"\r\n"].concat()
}

/// Reads `n` messages of `len` bytes; counts them as they come.
fn read(mut from: TcpStream, n: u64, len: usize, count: &AtomicU64) {
    let mut message = vec![0; len];
    for _ in 0..n {
        from.read_exact(&mut message).unwrap();
        count.fetch_add(1, Ordering::Release);
    }
}

/// Plays both threads of one end.
fn play(stream: &TcpStream, server: bool) {
    stream.set_nodelay(true).unwrap();
    let read_so_far = Arc::new(AtomicU64::new(0));
    let reader = {
        let (stream, count) = (stream.try_clone().unwrap(), Arc::clone(&read_so_far));
        let len = if server { request().len() } else { ANSWER.len() };
        thread::spawn(move || read(stream, REQUESTS, len, &count))
    };
    let (mut to, text) = (stream, if server { ANSWER.to_vec() } else { request() });
    for sent in 0..REQUESTS {
        let may_send = |read: u64| if server { read > sent } else { sent < read + WINDOW };
        while !may_send(read_so_far.load(Ordering::Acquire)) {
            thread::yield_now();
        }
        to.write_all(&text).unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn an_end_of_the_connection() {
    let Ok(part) = std::env::var(PART) else { return };
    if part == "server" {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        println!("port {}", listener.local_addr().unwrap().port());
        play(&listener.accept().unwrap().0, true);
    } else {
        play(&TcpStream::connect(("127.0.0.1", part.parse::<u16>().unwrap())).unwrap(), false);
    }
}

/// The stages up to `pair`, fed as the drain feeds them.
struct Chain {
    decode: Decode<Vec<u8>>,
    identify: Identify<Vec<u8>>,
    parse: Parse<Vec<u8>>,
    pair: Pair,
    out: Vec<Exchange>,
    paired: u64,
}

impl Chain {
    fn new() -> Self {
        Self {
            decode: Decode::new(DecodeSettings::default()),
            identify: Identify::new(),
            parse: Parse::new(),
            pair: Pair::new(PairSettings::default()),
            out: Vec::new(),
            paired: 0,
        }
    }

    /// What is new: slots first, the ring up to where it is then, then what the slots said.
    fn drain(&mut self, slots: &Slots, ring: &mut Ring) {
        let (mut news, mut spans) = (Vec::new(), Vec::new());
        slots.take_dirty_of(Shard::ONLY, &mut news, usize::MAX);
        let until = ring.producer_position();
        let mut batch = EventBatch::default();
        while ring.position() < until {
            let Some(lease) = ring.lease(64, &mut spans) else { break };
            for span in &spans {
                put(&mut batch, lease.record(*span).unwrap());
            }
        }
        for slot in &news {
            put(&mut batch, progress_event(slot).as_bytes());
        }
        self.give(&mut batch);
    }

    fn give(&mut self, batch: &mut EventBatch<Vec<u8>>) {
        let now = Nanos(1);
        let (mut segments, mut identified) = (SegmentBatch::default(), SegmentBatch::default());
        let mut messages = MessageBatch::default();
        self.decode.process(now, batch, &mut segments);
        self.identify.process(now, &mut segments, &mut identified);
        self.parse.process(now, &mut identified, &mut messages);
        self.pair.process(now, &mut messages, &mut self.out);
        messages.recycle();
        self.paired += self.out.iter().filter(|exchange| exchange.answered.is_some()).count() as u64;
        self.out.clear();
    }

    fn account(&self) -> Account {
        self.pair.account()
    }
}

fn put(batch: &mut EventBatch<Vec<u8>>, record: &[u8]) {
    let memory = batch.memory.get_or_insert_default();
    let start = u32::try_from(memory.len()).unwrap();
    memory.extend_from_slice(record);
    batch.records.push(Span { start, len: u32::try_from(record.len()).unwrap() });
}

#[test]
fn two_threads_on_a_socket_lose_nothing() {
    if skipped("two_threads_on_a_socket_lose_nothing") {
        return;
    }
    for rung in RUNGS {
        let watch = Watch::with(rung, |options, _| options.ring_bytes = 32 << 20);
        let probe = &watch.probe;
        let slots = Slots::map(probe.slots_fd(), probe.dirty_fd(), probe.verdict_fd(), probe.slot_count()).unwrap();
        let mut ring = Ring::map(probe.ring_fd(0).unwrap(), probe.ring_bytes()).unwrap();
        let done = AtomicBool::new(false);
        let chain = thread::scope(|scope| {
            let drain = scope.spawn(|| {
                let mut chain = Chain::new();
                loop {
                    // Looked at before draining: what was said before it was set is drained below.
                    let last = done.load(Ordering::Acquire);
                    chain.drain(&slots, &mut ring);
                    if last {
                        return chain;
                    }
                    thread::yield_now();
                }
            });
            talk(&watch);
            done.store(true, Ordering::Release);
            drain.join().unwrap()
        });
        let losses = watch.probe.losses();
        assert_eq!((losses.refused_full, losses.missed, losses.no_storage), (0, 0, 0), "{rung:?} {losses:?}");
        let ledger = chain.decode.ledger();
        let account = chain.account();
        assert_eq!(ledger.rejected_for(Reject::Stale), 0, "{rung:?} {ledger:?}");
        assert_eq!((account.missed, account.missed_unidentified), (0, 0), "{rung:?} {account:?}");
        assert_eq!(account.reported, 2 * REQUESTS, "both ends: {rung:?} {account:?}");
        println!("{rung:?}: {account:?}, paired {}, {ledger:?}", chain.paired);
    }
}

/// Both ends in processes of their own, in the cgroup.
fn talk(watch: &Watch) {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Stdio};
    let start = |part: &str| -> Child {
        let this = std::env::current_exe().unwrap();
        let args = ["--exact", "an_end_of_the_connection", "--nocapture"];
        let mut command = watch.cgroup.command(this.to_str().unwrap(), &args);
        command.env(PART, part).stdout(Stdio::piped()).spawn().expect("this test again")
    };
    let mut server = start("server");
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| line.unwrap().split_once("port ").map(|(_, port)| port.to_owned()));
    let mut client = start(&port.expect("the server says its port"));
    let mut said = String::new();
    client.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(client.wait().unwrap().success(), "{said}");
    lines.for_each(drop);
    assert!(server.wait().unwrap().success());
}
