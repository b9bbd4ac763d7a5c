//! Mode full on the running kernel: header frames come whole, of large DATA frames only the beginning, over any cut.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

#[path = "live/harness.rs"]
mod harness;
#[path = "live/py.rs"]
mod py;

use harness::{EGRESS, INGRESS, RUNGS, Record, Watch, flow, skipped};
use py::PAIR;
use redtap_stages::abi::{Capture, Verdict};

/// Bytes that must be captured of a large DATA frame, and up to which one is captured whole.
const HEAD: usize = 64;
const WHOLE: usize = 1024;

const FRAMES: &str = "
def frame(kind, stream, payload, flags=0):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload
def word(n): return (b'%06d.' % n) * 3000
def call(stream):
    return (frame(1, stream, word(stream)[:50], 4) + frame(0, stream, word(1)[:500]) + frame(0, stream, word(2)[:16384])
        + frame(0, stream, word(3)[:16384]) + frame(1, stream, word(4)[:20], 5))
";

/// The frames that `call` of the script makes: offset and length of what is to be captured, in a stream that begins at `at`.
fn wanted(mut at: usize) -> (Vec<(usize, usize)>, usize) {
    let mut ranges = Vec::new();
    for (data, len) in [(false, 50), (true, 500), (true, 16384), (true, 16384), (false, 20)] {
        let kept = if data && len > WHOLE { HEAD } else { len };
        ranges.push((at, 9 + kept));
        at += 9 + len;
    }
    (ranges, at)
}

/// The captured bytes of a direction by offset; `None`: not captured. Offsets must be contiguous but for what slots say.
fn captured(records: &[Record], dir: u8, len: usize) -> Vec<Option<u8>> {
    let mut bytes = vec![None; len];
    for r in records.iter().filter(|r| r.is_data() && r.head.dir == dir) {
        assert!(r.head.cap_len <= r.head.len, "{r:?}");
        let at = usize::try_from(r.head.offset).unwrap();
        for (place, byte) in bytes[at..].iter_mut().zip(&r.payload) {
            assert_eq!(*place, None, "captured twice: {r:?}");
            *place = Some(*byte);
        }
    }
    bytes
}

fn check(
    rung: impl std::fmt::Debug,
    records: &[Record],
    dir: u8,
    truth: &[u8],
    begin: usize,
    calls: usize,
    most: usize,
) {
    let got = captured(records, dir, truth.len());
    let mut at = begin;
    for call in 0..calls {
        let (ranges, end) = wanted(at);
        for (from, len) in ranges {
            let want: Vec<_> = truth[from..from + len].iter().copied().map(Some).collect();
            assert_eq!(got[from..from + len], want, "{rung:?} direction {dir} call {call}, frame at {from}");
        }
        at = end;
    }
    let total = got[begin..].iter().flatten().count();
    assert!(total <= most, "{rung:?} direction {dir}: {total} bytes captured of {}", truth.len() - begin);
}

/// Both ends of a connection on which the client has said `hello`, captured like this from then on.
fn begin(watch: &mut Watch, capture: Capture, body: &str) -> (u16, u16, harness::Script, Vec<Record>) {
    let mut script = watch.python(&format!(
        "{PAIR}{FRAMES}
c.sendall(b'hello'); exactly(s, 5); s.sendall(b'world'); exactly(c, 5); print('ready', flush=True); input()
{body}
"
    ));
    let line = script.line();
    let (client, server) = line.split_once(' ').map(|(c, s)| (c.parse().unwrap(), s.parse().unwrap())).unwrap();
    assert_eq!(script.line(), "ready");
    let records = watch.drain();
    for (local, remote) in [(client, server), (server, client)] {
        let conn_id = flow(&records, local, remote).first().expect("a record").head.conn_id;
        watch.set_verdict(Verdict { conn_id, capture, ingress_class: 8, egress_class: 8, role: 0 });
    }
    script.say("go");
    (client, server, script, records)
}

/// What the scripts send: `hello`, then `calls` calls.
fn truth(calls: usize) -> Vec<u8> {
    let mut bytes = b"hello".to_vec();
    for n in 0..calls {
        let stream = 1 + 2 * n;
        let frame = |kind: u8, flags: u8, number: usize, len: usize| {
            let payload: Vec<u8> = format!("{number:06}.").bytes().cycle().take(len).collect();
            let mut head = u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
            head.extend([kind, flags]);
            head.extend(u32::try_from(stream).unwrap().to_be_bytes());
            [head, payload].concat()
        };
        for (kind, flags, number, len) in
            [(1, 4, stream, 50), (0, 0, 1, 500), (0, 0, 2, 16384), (0, 0, 3, 16384), (1, 5, 4, 20)]
        {
            bytes.extend(frame(kind, flags, number, len));
        }
    }
    bytes
}

#[test]
fn large_payloads_are_counted_and_headers_are_captured_over_any_cut() {
    if skipped("large_payloads_are_counted_and_headers_are_captured_over_any_cut") {
        return;
    }
    const CALLS: usize = 6;
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        // Sent in pieces that cut headers and payloads anywhere, received in others.
        let (client, server, script, mut records) = begin(
            &mut watch,
            Capture::Full,
            "
whole = b''.join(call(1 + 2 * n) for n in range(6))
import threading
def receive():
    sizes, n, got = [4, 5, 9, 3, 700, 20000, 11, 2, 4096, 33000, 1], 0, 0
    while got < len(whole):
        got += len(s.recv(sizes[n % len(sizes)])); n += 1
t = threading.Thread(target=receive); t.start()
sizes, n, at = [len(call(1)), 3, 40000, 7, 1, 12, 25000, 5000], 0, 0
while at < len(whole):
    at += c.send(whole[at:at + sizes[n % len(sizes)]]); n += 1
t.join()
",
        );
        script.finish();
        records.extend(watch.drain());
        let truth = truth(CALLS);
        // Of each call 700 bytes must be there; a piece in which a frame ends and the next begins is captured as it is.
        check(rung, &flow(&records, client, server), EGRESS, &truth, 5, CALLS, CALLS * 9000);
        check(rung, &flow(&records, server, client), INGRESS, &truth, 5, CALLS, CALLS * 9000);
        let losses = watch.probe.losses();
        assert_eq!(losses.refused_full, 0, "{losses:?}");
    }
}

/// What is needed of a payload may come in several operations, or lie behind what is copied at once.
#[test]
fn the_head_of_a_large_payload_is_captured_wherever_it_is_cut() {
    if skipped("the_head_of_a_large_payload_is_captured_wherever_it_is_cut") {
        return;
    }
    const CUTS: [usize; 12] = [0, 1, 4, 5, 8, 9, 10, 17, 72, 73, 74, 4096];
    let frame =
        |len: usize| [&u32::try_from(len).unwrap().to_be_bytes()[1..], &[0, 0, 0, 0, 0, 1], &vec![b'p'; len]].concat();
    // Of a copy of 4096 bytes, 51 are of the payload.
    let (large, before) = (frame(9000), frame(1000).repeat(4));
    let truth = [b"hello".to_vec(), large.repeat(2 * CUTS.len()), before.clone(), large.clone()].concat();
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server, script, mut records) = begin(
            &mut watch,
            Capture::Full,
            &format!(
                "
def over(bytes): c.sendall(bytes); exactly(s, len(bytes))
large, before = frame(0, 1, b'p' * 9000), frame(0, 1, b'p' * 1000) * 4
for cut in {CUTS:?}:
    if cut: over(large[:cut])
    over(large[cut:])
    for at in range(0, cut, 7): over(large[at:min(at + 7, cut)])
    over(large[cut:])
over(before + large)
"
            ),
        );
        script.finish();
        records.extend(watch.drain());
        for (from, to, out) in [(client, server, EGRESS), (server, client, INGRESS)] {
            let got = captured(&flow(&records, from, to), out, truth.len());
            let headed = |at: usize| {
                let want: Vec<_> = truth[at..at + 9 + HEAD].iter().copied().map(Some).collect();
                assert_eq!(got[at..at + 9 + HEAD], want, "{rung:?} direction {out}, frame at {at}");
            };
            for (n, cut) in CUTS.iter().flat_map(|cut| [cut; 2]).enumerate() {
                let at = 5 + n * large.len();
                headed(at);
                let kept = got[at..at + large.len()].iter().flatten().count();
                assert_eq!(kept, 9 + HEAD, "{rung:?} direction {out}, cut at {cut}");
            }
            headed(truth.len() - large.len());
        }
    }
}

/// A header in a call of its own, the payload by sendfile, as servers of files do: nothing of it can be read, and the walk goes on behind it.
#[test]
fn a_payload_without_a_buffer_is_counted_and_the_walk_stays_in_step() {
    if skipped("a_payload_without_a_buffer_is_counted_and_the_walk_stays_in_step") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server, script, mut records) = begin(
            &mut watch,
            Capture::Full,
            "
import tempfile
file = tempfile.TemporaryFile(); file.write(b'p' * 9000); file.flush()
def over(bytes): c.sendall(bytes); exactly(s, len(bytes))
over(frame(0, 1, b'p' * 9000)[:9])
assert os.sendfile(c.fileno(), file.fileno(), 0, 9000) == 9000; exactly(s, 9000)
over(frame(0, 1, b'q' * 16384))
",
        );
        script.finish();
        records.extend(watch.drain());
        let sent = flow(&records, client, server);
        let got = captured(&sent, EGRESS, 5 + 9 + 9_000 + 9 + 16_384);
        let kept = |from: usize, len: usize| got[from..from + len].iter().flatten().count();
        assert_eq!((kept(5, 9), kept(14, 9_000), kept(9_014, 9 + 16_384)), (9, 0, 9 + HEAD), "{rung:?}");
        // The slot says what no record needs to.
        let silent = sent.iter().find(|r| r.is_data() && r.head.dir == EGRESS && (14..9_014).contains(&r.head.offset));
        assert!(silent.is_none(), "{rung:?}: {silent:?}");
    }
}

#[test]
fn what_is_no_frame_is_captured_whole() {
    if skipped("what_is_no_frame_is_captured_whole") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server, script, mut records) = begin(
            &mut watch,
            Capture::Full,
            "
c.sendall(b'x' * 30000); exactly(s, 30000); s.sendall(b'y' * 10); exactly(c, 10)
# In step, then out of it: from there to the next turn everything.
c.sendall(frame(1, 1, b'h' * 30) + b'z' * 20000); exactly(s, 20039)
",
        );
        script.finish();
        records.extend(watch.drain());
        let records = flow(&records, client, server);
        let got = captured(&records, EGRESS, 5 + 30_000 + 20_039);
        assert_eq!(got.iter().flatten().count(), got.len(), "{rung:?}");
    }
}

#[test]
fn a_turn_in_the_middle_of_a_payload_is_told() {
    if skipped("a_turn_in_the_middle_of_a_payload_is_told") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server, script, mut records) = begin(
            &mut watch,
            Capture::Full,
            "
one = call(1)
c.sendall(one[:10000]); exactly(s, 10000)
s.sendall(frame(8, 0, b'1234')); exactly(c, 13)
c.sendall(one[10000:12000]); exactly(s, 2000)
s.sendall(frame(8, 0, b'1234')); exactly(c, 13)
c.sendall(one[12000:]); exactly(s, len(one) - 12000)
",
        );
        script.finish();
        records.extend(watch.drain());
        let records = flow(&records, client, server);
        check(rung, &records, EGRESS, &truth(1), 5, 1, 9000);
        let turns: Vec<_> = records.iter().filter(|r| r.is_data()).map(|r| r.head.turn).collect();
        assert!(turns.is_sorted() && turns.last() == Some(&6), "{rung:?} {turns:?}");
        let unseen = records.last().unwrap().head.unseen;
        assert_eq!(unseen, 0, "{rung:?}: every turn begins with a record: {records:?}");
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Calls that follow a preface, each way.
const AT_ONCE: usize = 3;

/// The client says the preface and its calls in one go, and the server answers likewise.
const SCRIPT_AT_ONCE: &str = "
whole = b''.join(call(1 + 2 * n) for n in range(3))
preface = b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'
import threading
def over(a, b, bytes):
    t = threading.Thread(target=exactly, args=(b, len(bytes))); t.start(); a.sendall(bytes); t.join()
over(c, s, preface + whole)
over(s, c, whole)
";

/// Both ends are captured in full behind the preface; `before`: what went each way before it.
fn check_at_once(rung: impl std::fmt::Debug + Copy, records: &[Record], (client, server): (u16, u16), before: &[u8]) {
    let calls = &truth(AT_ONCE)[5..];
    let (questions, answers) = ([before, PREFACE, calls].concat(), [before, calls].concat());
    let most = AT_ONCE * 9000;
    for (from, to, out) in [(client, server, EGRESS), (server, client, INGRESS)] {
        let records = flow(records, from, to);
        check(rung, &records, out, &questions, before.len() + PREFACE.len(), AT_ONCE, most);
        check(rung, &records, 1 - out, &answers, before.len(), AT_ONCE, most);
    }
}

/// Nobody gave a verdict: what a client asks at once, and what it is answered, is more than a budget.
#[test]
fn a_connection_that_begins_with_the_preface_is_captured_in_full() {
    if skipped("a_connection_that_begins_with_the_preface_is_captured_in_full") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(&format!("{PAIR}{FRAMES}{SCRIPT_AT_ONCE}"));
        let line = script.line();
        let ends = line.split_once(' ').map(|(c, s)| (c.parse().unwrap(), s.parse().unwrap())).unwrap();
        script.finish();
        check_at_once(rung, &watch.drain(), ends, b"");
    }
}

/// HTTP/1 was spoken, and its verdict given: the preface behind an upgrade counts for more.
#[test]
fn a_preface_behind_an_upgrade_outdoes_the_verdict() {
    if skipped("a_preface_behind_an_upgrade_outdoes_the_verdict") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server, script, before) = begin(&mut watch, Capture::Head, SCRIPT_AT_ONCE);
        script.finish();
        // Five bytes went each way before; only what is behind them is compared.
        check_at_once(rung, &[before, watch.drain()].concat(), (client, server), b"hello");
    }
}
