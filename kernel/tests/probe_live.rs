//! The probe on the running kernel, both rungs, with real sockets of real processes in a cgroup of their own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, outside of any test function")]

#[cfg(test)]
#[path = "live/harness.rs"]
mod harness;
#[cfg(test)]
#[path = "live/py.rs"]
mod py;

use std::collections::HashMap;

use harness::{EGRESS, INGRESS, RUNGS, Record, Script, Watch, flow, skipped, stream};
use py::{PAIR, VECTORS};
use redtap_kernel::probe::{Probe, ProbeOptions, RungChoice};
use redtap_stages::abi::{Capture, Verdict, flag, kind, reason};

#[test]
fn sees_curl_fetch_from_a_python_server_whole() {
    if skipped("sees_curl_fetch_from_a_python_server_whole") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut server = watch.python(
            "import http.server, threading, sys
class H(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '5'); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', 0), H)
print(s.server_port, flush=True)
s.handle_request()",
        );
        let port: u16 = server.line().parse().unwrap();
        let url = format!("http://127.0.0.1:{port}/planted?q=1");
        let body = watch.cgroup.command("curl", &["-s", &url]).output().unwrap();
        assert_eq!(body.stdout, b"hello");
        server.finish();
        let records = watch.drain();
        let served: Vec<_> = records.iter().filter(|r| r.head.lport == port).cloned().collect();
        let fetched: Vec<_> = records.iter().filter(|r| r.head.rport == port).cloned().collect();
        let client_port = fetched.first().unwrap_or_else(|| panic!("{records:?}")).head.lport;
        assert_eq!(served.len(), flow(&records, port, client_port).len());
        assert!(stream(&served, INGRESS).starts_with(b"GET /planted?q=1 HTTP/1.1\r\n"), "{served:?}");
        assert!(stream(&served, EGRESS).ends_with(b"\r\n\r\nhello"), "{served:?}");
        assert_eq!(stream(&served, INGRESS), stream(&fetched, EGRESS));
        assert_eq!(stream(&served, EGRESS), stream(&fetched, INGRESS));
        for (side, role, comm) in [(&served, 2, &b"python3"[..]), (&fetched, 1, b"curl")] {
            for r in side {
                assert_eq!((r.head.role, r.head.transport, r.head.family), (role, 1, 2), "{r:?}");
                assert_eq!(r.head.laddr[..4], [127, 0, 0, 1]);
                assert_eq!(r.head.raddr[..4], [127, 0, 0, 1]);
                assert!(r.head.comm.starts_with(comm), "{r:?}");
                assert_eq!(r.head.cgroup_id, watch.cgroup.id());
                assert_eq!(r.head.flags & (flag::LATE | flag::CUT | flag::FAULT | flag::NO_BUFFER), 0, "{r:?}");
            }
            assert_eq!(side.iter().filter(|r| r.head.kind == kind::CLOSE).count(), 1, "{side:?}");
            assert_eq!(side.last().unwrap().head.detail, reason::FIN, "{side:?}");
            let firsts: Vec<bool> = side.iter().map(|r| r.head.flags & flag::FIRST != 0).collect();
            assert_eq!(firsts, [&[true][..], &vec![false; side.len() - 1]].concat());
            assert!(side.iter().all(|r| r.head.unseen == 0));
        }
        assert_eq!(watch.probe.losses().attempted, records.len() as u64);
    }
}

fn ports(line: &str) -> (u16, u16) {
    let (client, server) = line.split_once(' ').expect("two ports");
    (client.parse().unwrap(), server.parse().unwrap())
}

fn payloads(records: &[Record], dir: u8) -> Vec<String> {
    let of_dir = records.iter().filter(|r| r.is_data() && r.head.dir == dir);
    of_dir.map(|r| String::from_utf8_lossy(&r.payload).into_owned()).collect()
}

fn kinds(records: &[Record]) -> Vec<(u8, u8, u8)> {
    let marks = records.iter().filter(|r| !r.is_data());
    marks.map(|r| (r.head.kind, r.head.dir, r.head.detail)).collect()
}

/// Runs a script that begins with [`PAIR`]; the records of the client's and of the server's end.
fn run_pair(watch: &mut Watch, body: &str) -> (Vec<Record>, Vec<Record>) {
    let mut script = watch.python(&format!("{PAIR}{VECTORS}{body}"));
    let (client, server) = ports(&script.line());
    script.finish();
    let records = watch.drain();
    (flow(&records, client, server), flow(&records, server, client))
}

#[test]
fn decodes_every_family_of_system_calls() {
    if skipped("decodes_every_family_of_system_calls") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server) = run_pair(
            &mut watch,
            "
os.write(c.fileno(), b'write-1'); os.read(s.fileno(), 100)
c.send(b'sendto-2'); s.recv(100)
os.writev(c.fileno(), [b'wr', b'', b'itev', b'-3']); a, b = bytearray(3), bytearray(50); os.readv(s.fileno(), [a, b])
c.sendmsg([b'send', b'msg', b'-4']); a, b = bytearray(2), bytearray(50); s.recvmsg_into([a, b])
send_many(c.fileno(), [b'mm-5', b'second-6']); exactly(s, 12)
c.sendall(b'into-7'); recv_many(s.fileno(), 1, 64)
with open('/proc/self/exe', 'rb') as f: os.sendfile(c.fileno(), f.fileno(), 0, 1000)
exactly(s, 1000)
c.close(); assert s.recv(10) == b''; s.close()
",
        );
        // What sendfile added to the turn has no bytes to show: the slot says it, and so does the next record (the end, below).
        let sent = ["write-1", "sendto-2", "writev-3", "sendmsg-4", "mm-5", "second-6", "into-7"];
        assert_eq!(payloads(&client, EGRESS), sent, "{rung:?} {client:?}");
        let received = payloads(&server, INGRESS);
        assert_eq!(received[..4], sent[..4], "{rung:?}");
        assert!(received.concat().starts_with("write-1sendto-2writev-3sendmsg-4mm-5second-6into-7"), "{received:?}");
        stream(&client, EGRESS);
        assert_eq!(stream(&server, INGRESS).len(), 50 + 1000);
        assert_eq!(client.iter().filter(|r| r.head.flags & flag::TURN_START != 0).count(), 1, "one turn: {client:?}");
        assert_eq!(kinds(&client), [(kind::EOF, EGRESS, 0), (kind::CLOSE, EGRESS, reason::FIN)]);
        let both = [(kind::EOF, INGRESS, 0), (kind::EOF, EGRESS, 0), (kind::CLOSE, INGRESS, reason::FIN)];
        assert_eq!(kinds(&server), both);
        for r in &client[client.len() - 2..] {
            assert_eq!(if r.head.dir == EGRESS { r.head.offset } else { r.head.other_offset }, 1050);
        }
    }
}

#[test]
fn does_not_count_peeks_failures_and_empty_reads() {
    if skipped("does_not_count_peeks_failures_and_empty_reads") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server) = run_pair(
            &mut watch,
            "
s.setblocking(False)
for _ in range(3):
    try: s.recv(10); raise SystemExit('data from nowhere')
    except BlockingIOError: pass
s.setblocking(True)
c.sendall(b'once')
assert s.recv(10, socket.MSG_PEEK) == b'once'
assert s.recv(0) == b''
assert os.read(s.fileno(), 0) == b''
assert s.recv(10) == b'once'
s.sendall(b'done'); exactly(c, 4)
c.close(); assert s.recv(10, socket.MSG_PEEK) == b''; assert s.recv(10) == b''
assert s.recv(10) == b''
",
        );
        assert_eq!(payloads(&client, EGRESS), ["once"]);
        assert_eq!(payloads(&server, INGRESS), ["once"], "{rung:?} {server:?}");
        assert_eq!(payloads(&server, EGRESS), ["done"]);
        let ends = server.iter().filter(|r| r.head.kind == kind::EOF && r.head.dir == INGRESS).count();
        assert_eq!(ends, 1, "the end is said once: {server:?}");
        let turns: Vec<u32> = server.iter().filter(|r| r.is_data()).map(|r| r.head.turn).collect();
        assert_eq!(turns, [0, 1]);
    }
}

#[test]
fn cuts_a_turn_at_its_budget_and_then_only_moves_the_slot() {
    if skipped("cuts_a_turn_at_its_budget_and_then_only_moves_the_slot") {
        return;
    }
    for rung in RUNGS {
        // 64 bytes: of requests, 16 times as many are captured.
        let mut watch = Watch::with(rung, |options, _| options.egress_class = 2);
        let (client, server) = run_pair(
            &mut watch,
            "
for i in range(4): c.sendall(b'%d' % i * 40)
exactly(s, 160); s.sendall(b'!'); exactly(c, 1)
c.sendall(b'next')
exactly(s, 4)
",
        );
        let out: Vec<_> = client.iter().filter(|r| r.is_data() && r.head.dir == EGRESS).collect();
        let seen: Vec<_> = out.iter().map(|r| (r.head.offset, r.head.len, r.head.cap_len, r.head.flags)).collect();
        let begin = flag::TURN_START;
        assert_eq!(seen, [(0, 40, 40, begin | flag::FIRST), (40, 40, 24, flag::CUT), (160, 4, 4, begin)], "{rung:?}");
        assert_eq!(out[2].head.turn, 2);
        assert_eq!(server.iter().find(|r| r.head.dir == EGRESS).unwrap().head.other_offset, 160);
        let slot = watch.slot(out[0].head.conn_id);
        // Written by the last operation that was not recorded: 160 bytes out, none in, turn 0, which was told of.
        assert_eq!(
            (slot.conn_id, slot.offset, slot.turn, slot.unseen, slot.first),
            (out[0].head.conn_id, [0, 160], u64::from(EGRESS), 0, 0)
        );
        assert!(watch.is_dirty(out[0].head.conn_id));
        assert_eq!(watch.probe.losses().turns, 6, "three turns at each end");
    }
}

#[test]
fn obeys_verdicts_full_and_mute() {
    if skipped("obeys_verdicts_full_and_mute") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(&format!(
            "{PAIR}
c.sendall(b'first'); exactly(s, 5); print('ready', flush=True); input()
big = bytes(range(250)) * 80
c.sendall(big); exactly(s, len(big)); print('ready', flush=True); input()
c.sendall(b'quiet-planted'); exactly(s, 13)
c.close(); s.close()
"
        ));
        let (client, server) = ports(&script.line());
        assert_eq!(script.line(), "ready");
        let first = flow(&watch.drain(), client, server);
        let conn_id = first[0].head.conn_id;
        let verdict = |capture| Verdict { conn_id, capture, ingress_class: 12, egress_class: 12, role: 0 };
        watch.set_verdict(verdict(Capture::Full));
        script.say("go");
        assert_eq!(script.line(), "ready");
        let full = flow(&watch.drain(), client, server);
        let want: Vec<u8> = (0..250).cycle().take(20_000).collect();
        assert_eq!(stream(&full, EGRESS), want, "{rung:?}");
        let more: Vec<_> = full.iter().map(|r| (r.head.cap_len, r.head.flags & flag::MORE != 0)).collect();
        assert_eq!(more, [(4096, true), (4096, true), (4096, true), (4096, true), (3616, false)]);
        watch.set_verdict(verdict(Capture::Mute));
        script.say("go");
        script.finish();
        let muted = flow(&watch.drain(), client, server);
        assert_eq!(payloads(&muted, EGRESS), [""; 0], "{muted:?}");
        assert_eq!(kinds(&muted), [(kind::CLOSE, EGRESS, reason::FIN)]);
        assert_eq!(watch.probe.losses().muted, 1);
    }
}

#[test]
fn one_operation_is_captured_up_to_sixteen_chunks() {
    if skipped("one_operation_is_captured_up_to_sixteen_chunks") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::with(rung, |options, _| options.egress_class = 16);
        let (client, _) = run_pair(
            &mut watch,
            "
import threading
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20); c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
t = threading.Thread(target=exactly, args=(s, 100000)); t.start()
parts = [bytes([65 + i]) * 12500 for i in range(8)]
assert os.writev(c.fileno(), parts) == 100000
t.join()
",
        );
        let out: Vec<_> = client.iter().filter(|r| r.is_data()).collect();
        assert_eq!(out.len(), 16, "{rung:?}");
        assert!(out[..15].iter().all(|r| r.head.len == 4096 && r.head.flags & flag::MORE != 0));
        assert_eq!((out[15].head.cap_len, out[15].head.len), (4096, 100_000 - 15 * 4096));
        assert_eq!(out[15].head.flags & (flag::MORE | flag::CUT), flag::CUT);
        let want: Vec<u8> = (0..65536).map(|i| b'A' + u8::try_from(i / 12500).unwrap()).collect();
        assert_eq!(stream(&client, EGRESS), want);
    }
}

#[test]
fn follows_a_socket_through_dup_and_fork() {
    if skipped("follows_a_socket_through_dup_and_fork") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (_, server) = run_pair(
            &mut watch,
            "
d = os.dup(s.fileno())
s.sendall(b'own,'); os.write(d, b'dup,')
if os.fork() == 0:
    s.sendall(b'child'); os._exit(0)
os.wait()
s.close(); os.write(d, b',after'); os.close(d)
exactly(c, 19)
",
        );
        assert_eq!(stream(&server, EGRESS), b"own,dup,child,after", "{rung:?}");
        let pids: Vec<u32> = server.iter().filter(|r| r.is_data()).map(|r| r.head.pid).collect();
        assert_eq!((pids[0], pids[0]), (pids[1], pids[3]));
        assert_ne!(pids[0], pids[2], "the child has a number of its own");
        let ends: Vec<_> = kinds(&server).into_iter().filter(|mark| mark.1 == EGRESS && mark.0 == kind::EOF).collect();
        assert_eq!(ends.len(), 1, "closing one of two descriptors ends nothing: {server:?}");
        assert!(server.iter().all(|r| r.head.sock_ino == server[0].head.sock_ino && r.head.sock_ino != 0));
    }
}

#[test]
fn tells_how_connections_end() {
    if skipped("tells_how_connections_end") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let linger = "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))";
        let (client, server) = run_pair(
            &mut watch,
            &format!(
                "
c.sendall(b'x'); exactly(s, 1); {linger}; c.close()
try: s.recv(1)
except ConnectionResetError: pass
"
            ),
        );
        assert_eq!(client.last().unwrap().head.detail, reason::ABORT, "{rung:?} {client:?}");
        assert_eq!(server.last().unwrap().head.detail, reason::RESET, "{rung:?} {server:?}");
        let (client, server) = run_pair(
            &mut watch,
            "c.sendall(b'xy'); exactly(s, 1); s.close()
try: c.recv(1)
except ConnectionResetError: pass",
        );
        assert_eq!(server.last().unwrap().head.detail, reason::ABORT, "unread data: {server:?}");
        assert_eq!(client.last().unwrap().head.detail, reason::RESET, "{client:?}");
        let records = watch.run(
            "
import socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); at = l.getsockname(); l.close()
c = socket.socket()
try: c.connect(at); raise SystemExit('connected to nobody')
except ConnectionRefusedError: pass
",
        );
        assert_eq!(kinds(&records), [(kind::CLOSE, EGRESS, reason::REFUSED)], "{records:?}");
        assert_eq!((records[0].head.role, records[0].head.unseen), (1, 0));
        assert!(records[0].head.comm.starts_with(b"python3"));
    }
}

/// The record of a call is made when the call is over, and the peer's reset may end it.
#[test]
fn what_is_being_sent_when_the_reset_comes_belongs_to_the_connection() {
    if skipped("what_is_being_sent_when_the_reset_comes_belongs_to_the_connection") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (_, server) = run_pair(
            &mut watch,
            "
import threading
c.sendall(b'ask'); exactly(s, 3)
t = threading.Thread(target=lambda: s.send(b'x' * 100_000_000)); t.start()
exactly(c, 1000); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close(); t.join(); s.close()
",
        );
        let kinds: Vec<_> = server.iter().map(|r| (r.head.kind, r.head.dir)).collect();
        let (data, close) = (kind::DATA, kind::CLOSE);
        assert_eq!(kinds.first(), Some(&(data, INGRESS)), "{rung:?} {server:?}");
        assert!(
            kinds[1..].contains(&(data, EGRESS)) && kinds[1..].iter().any(|(kind, _)| *kind == close),
            "{server:?}"
        );
        assert!(
            server.iter().all(|r| r.head.conn_id == server[0].head.conn_id),
            "{rung:?}: one connection: {server:?}"
        );
    }
}

#[test]
fn a_datagram_is_a_turn_and_knows_its_other_end() {
    if skipped("a_datagram_is_a_turn_and_knows_its_other_end") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(&format!(
            "import socket, os, ctypes
{VECTORS}
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.connect(s.getsockname())
print(c.getsockname()[1], s.getsockname()[1], flush=True)
for _ in range(2):
    send_many(c.fileno(), [b'A?', b'AAAA?'])
    for _ in range(2):
        q, a = s.recvfrom(100); s.sendto(b're:' + q, a)
    got = recv_many(c.fileno(), 2, 64)
    assert got == [b're:A?', b're:AAAA?'], got
"
        ));
        let (client, server) = ports(&script.line());
        script.finish();
        let records = watch.drain();
        let asked = flow(&records, client, server);
        let answers = ["re:A?", "re:AAAA?", "re:A?", "re:AAAA?"];
        assert_eq!(payloads(&asked, EGRESS), ["A?", "AAAA?", "A?", "AAAA?"], "{rung:?} {asked:?}");
        assert_eq!(payloads(&asked, INGRESS), answers, "{rung:?} {asked:?}");
        let turns: Vec<u32> = asked.iter().map(|r| r.head.turn).collect();
        assert_eq!(turns, (0..8).collect::<Vec<_>>());
        assert!(asked.iter().all(|r| r.head.flags & !flag::FIRST == flag::TURN_START && r.head.transport == 2));
        let served: Vec<_> = records.iter().filter(|r| r.head.lport == server).cloned().collect();
        assert_eq!(payloads(&served, EGRESS), answers);
        for r in served.iter().filter(|r| r.head.dir == EGRESS || rung == RungChoice::Syscall) {
            assert_eq!((r.head.rport, &r.head.raddr[..4]), (client, &[127, 0, 0, 1][..]), "{r:?}");
        }
        for r in served.iter().filter(|r| r.head.dir == INGRESS && rung == RungChoice::Socket) {
            assert_eq!(r.head.rport, 0, "not known at this hook: {r:?}");
        }
    }
}

#[test]
fn unix_sockets_are_named_by_inode_and_path() {
    if skipped("unix_sockets_are_named_by_inode_and_path") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(
            "import socket, os
path = '/tmp/redtap-live-%d' % os.getpid()
l = socket.socket(socket.AF_UNIX); l.bind(path); l.listen(1)
c = socket.socket(socket.AF_UNIX); c.connect(path); s, _ = l.accept(); os.unlink(path)
print(path, os.fstat(c.fileno()).st_ino, os.fstat(s.fileno()).st_ino, flush=True)
c.sendall(b'ping'); s.recv(10); s.sendall(b'pong'); c.recv(10); c.close(); assert s.recv(1) == b''; s.close()
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.send(b'gram'); b.recv(10)
",
        );
        let line = script.line();
        let [path, client_ino, server_ino] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        script.finish();
        let records = watch.drain();
        let of = |ino: &str| -> Vec<Record> {
            let ino: u64 = ino.parse().unwrap();
            records.iter().filter(|r| r.head.sock_ino == ino).cloned().collect()
        };
        let (client, server) = (of(client_ino), of(server_ino));
        assert_eq!((payloads(&client, EGRESS), payloads(&client, INGRESS)), (vec!["ping".into()], vec!["pong".into()]));
        assert_eq!((payloads(&server, INGRESS), payloads(&server, EGRESS)), (vec!["ping".into()], vec!["pong".into()]));
        let hash =
            path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let words = |bytes: [u8; 16]| {
            let (low, high) = bytes.split_at(8);
            [low, high].map(|half| u64::from_ne_bytes(half.try_into().unwrap()))
        };
        let (c_ino, s_ino): (u64, u64) = (client_ino.parse().unwrap(), server_ino.parse().unwrap());
        for r in client.iter().filter(|r| r.is_data()) {
            assert_eq!((r.head.family, r.head.transport, r.head.role), (1, 3, 1), "{rung:?} {r:?}");
            assert_eq!((words(r.head.laddr), words(r.head.raddr)), ([c_ino, 0], [s_ino, hash]));
        }
        for r in server.iter().filter(|r| r.is_data()) {
            assert_eq!(
                (r.head.role, words(r.head.laddr), words(r.head.raddr)),
                (2, [s_ino, hash], [c_ino, 0]),
                "{r:?}"
            );
        }
        assert!(kinds(&server).contains(&(kind::EOF, INGRESS, 0)), "{server:?}");
        let grams: Vec<_> = records.iter().filter(|r| r.head.transport == 4).collect();
        assert_eq!(grams.len(), 2, "{records:?}");
        assert!(grams.iter().all(|r| r.payload == b"gram"));
    }
}

#[test]
fn ipv6_is_itself_and_v4_mapped_is_ipv4() {
    if skipped("ipv6_is_itself_and_v4_mapped_is_ipv4") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(
            "import socket
def pair(bound, to, family):
    l = socket.socket(socket.AF_INET6); l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    l.bind((bound, 0)); l.listen(1)
    c = socket.socket(family); c.connect((to, l.getsockname()[1])); s, _ = l.accept()
    c.sendall(b'hi'); s.recv(2)
    return str(l.getsockname()[1])
print(pair('::ffff:127.0.0.1', '127.0.0.1', socket.AF_INET), pair('::1', '::1', socket.AF_INET6), flush=True)",
        );
        let (mapped, own) = ports(&script.line());
        script.finish();
        let records = watch.drain();
        let at =
            |port: u16| records.iter().find(|r| r.head.lport == port).unwrap_or_else(|| panic!("{records:?}")).head;
        let (mapped, own) = (at(mapped), at(own));
        assert_eq!(
            (mapped.family, &mapped.laddr[..5], &mapped.raddr[..5]),
            (2, &[127, 0, 0, 1, 0][..], &[127, 0, 0, 1, 0][..])
        );
        let one = 1_u128.to_be_bytes();
        assert_eq!((own.family, own.laddr, own.raddr), (10, one, one));
    }
}

#[test]
fn picks_up_a_connection_older_than_itself() {
    if skipped("picks_up_a_connection_older_than_itself") {
        return;
    }
    for rung in RUNGS {
        let mut script = None;
        let mut line = String::new();
        let mut watch = Watch::with(rung, |_, cgroup| {
            let source = format!(
                "{PAIR}c.sendall(b'before'); exactly(s, 6); print('ready', flush=True); input()\nc.sendall(b'after' * 4000); exactly(s, 20000)\n"
            );
            let mut started = Script::start(cgroup, &source);
            line = started.line();
            assert_eq!(started.line(), "ready");
            script = Some(started);
        });
        let mut script = script.unwrap();
        script.say("go");
        script.finish();
        let (client, server) = ports(&line);
        let late = flow(&watch.drain(), client, server);
        // More than the budget of a new connection: who is at work asks much at once.
        assert_eq!(stream(&late, EGRESS), b"after".repeat(4_000), "{rung:?}");
        assert_eq!((late[0].head.offset, late[0].head.role), (0, 0));
        assert_eq!(late[0].head.flags, flag::LATE | flag::TURN_START | flag::FIRST | flag::MORE);
    }
}

#[test]
fn every_refused_record_and_turn_is_counted() {
    if skipped("every_refused_record_and_turn_is_counted") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::with(rung, |options, _| options.ring_bytes = 65536);
        let mut script = watch.python(&format!(
            "{PAIR}
for i in range(2000):
    c.sendall(b'?' * 100); exactly(s, 100); s.sendall(b'!' * 300); exactly(c, 300)
print('ready', flush=True); input()
c.sendall(b'last'); exactly(s, 4)
"
        ));
        let (client, server) = ports(&script.line());
        assert_eq!(script.line(), "ready");
        let early = watch.drain();
        let full = watch.probe.losses();
        script.say("go");
        script.finish();
        let mut records = early;
        records.extend(watch.drain());
        let losses = watch.probe.losses();
        assert_eq!(full.operations, 8000, "{rung:?} {full:?}");
        assert_eq!(full.turns, 8000);
        assert!(full.refused_full > 7000, "{full:?}");
        assert_eq!(losses.attempted, records.len() as u64 + losses.refused_full);
        let begun = records.iter().filter(|r| r.head.flags & flag::TURN_START != 0).count() as u64;
        assert_eq!(losses.turns, begun + losses.refused_turns);
        let last = flow(&records, client, server).into_iter().rfind(Record::is_data).unwrap();
        let unseen = flow(&records, client, server).iter().filter(|r| r.head.flags & flag::TURN_START != 0).count();
        let unseen = 4001 - u32::try_from(unseen).unwrap();
        assert_eq!((&last.payload[..], last.head.turn, last.head.unseen), (&b"last"[..], 4000, unseen));
        assert_eq!((last.head.offset, last.head.other_offset), (200_000, 600_000));
        assert_eq!((losses.missed, losses.fault, losses.no_storage), (0, 0, 0));
    }
}

#[test]
fn spreads_connections_over_shards_and_keeps_both_ends_in_one() {
    if skipped("spreads_connections_over_shards_and_keeps_both_ends_in_one") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::with(rung, |options, _| options.shards = 3);
        let body = "for i in range(19):
    c = socket.create_connection(l.getsockname()); s, _ = l.accept()
    c.sendall(b'a'); exactly(s, 1); s.sendall(b'b'); exactly(c, 1)
";
        watch.python(&format!("{PAIR}c.sendall(b'a'); exactly(s, 1)\n{body}")).finish();
        let by_shard = watch.drain_by_shard();
        let mut of_pair = HashMap::new();
        for (shard, record) in by_shard.iter().enumerate().flat_map(|(at, all)| all.iter().map(move |r| (at, r))) {
            let ends = (record.head.lport.min(record.head.rport), record.head.lport.max(record.head.rport));
            assert_eq!(*of_pair.entry(ends).or_insert(shard), shard, "{rung:?}: one pair, two rings: {record:?}");
        }
        assert_eq!(of_pair.len(), 20);
        assert!(by_shard.iter().all(|records| !records.is_empty()), "twenty pairs, three rings");
    }
}

#[test]
fn counts_exactly_while_both_directions_move_at_once() {
    if skipped("counts_exactly_while_both_directions_move_at_once") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::with(rung, |options, _| options.ring_bytes = 8 << 20);
        let (client, server) = run_pair(
            &mut watch,
            "
import threading
def pour(sock, n):
    for i in range(500): sock.sendall(b'x' * n)
ts = [threading.Thread(target=f, args=a) for f, a in
      [(pour, (c, 90)), (pour, (s, 110)), (exactly, (c, 55000)), (exactly, (s, 45000))]]
[t.start() for t in ts]; [t.join() for t in ts]
c.close(); assert s.recv(1) == b''; s.close()
",
        );
        for (side, sent, received) in [(&client, 45_000, 55_000), (&server, 55_000, 45_000)] {
            let close = side.iter().find(|r| r.head.kind == kind::CLOSE).unwrap().head;
            let (mine, other) = (close.offset, close.other_offset);
            let (out, inn) = if close.dir == EGRESS { (mine, other) } else { (other, mine) };
            assert_eq!((out, inn), (sent, received), "{rung:?}");
            assert!(side.iter().all(|r| r.head.unseen == 0));
        }
        let losses = watch.probe.losses();
        assert_eq!((losses.refused_full, losses.missed, losses.no_storage), (0, 0, 0), "{losses:?}");
    }
}

#[test]
fn a_slot_taken_over_before_it_was_read_is_counted_with_its_turns() {
    if skipped("a_slot_taken_over_before_it_was_read_is_counted_with_its_turns") {
        return;
    }
    for rung in RUNGS {
        // No budget: nothing but slots. 100 pairs are 200 connections over 64 slots.
        let mut watch = Watch::with(rung, |options, _| {
            (options.slots, options.ingress_class, options.egress_class) = (64, 0, 0);
        });
        let records = watch.run(
            "
import socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(1); keep = []
for _ in range(100):
    c = socket.create_connection(l.getsockname()); s, _ = l.accept()
    c.sendall(b'abc'); s.recv(3); s.sendall(b'de'); c.recv(2)
    keep.append((c, s))
",
        );
        assert_eq!(records.iter().filter(|r| r.is_data()).count(), 0, "{rung:?}");
        let losses = watch.probe.losses();
        assert_eq!((losses.connections, losses.turns, losses.slot_lost), (200, 400, 136), "{losses:?}");
        assert_eq!(losses.slot_lost_turns, 0, "no connection was closed: each says itself what it missed");
    }
}

#[test]
fn splice_moves_the_offset_without_bytes() {
    if skipped("splice_moves_the_offset_without_bytes") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let (client, server) = run_pair(
            &mut watch,
            "
r, w = os.pipe()
os.write(w, b'through-a-pipe'); assert os.splice(r, c.fileno(), 14) == 14
assert os.splice(s.fileno(), w, 14) == 14; assert os.read(r, 20) == b'through-a-pipe'
c.sendall(b'plain'); exactly(s, 5)
",
        );
        for (side, dir) in [(&client, EGRESS), (&server, INGRESS)] {
            let data = side.iter().filter(|r| r.is_data());
            let seen: Vec<_> = data.map(|r| (r.head.dir, r.head.len, r.head.cap_len)).collect();
            // net/socket.c sock_splice_read goes past the socket rung's hook: what is received so is not seen there.
            let unseen = rung == RungChoice::Socket && dir == INGRESS;
            let want = if unseen { &[(dir, 5, 5)][..] } else { &[(dir, 14, 0), (dir, 5, 5)] };
            assert_eq!(seen, want, "{rung:?}");
            assert_eq!(side[0].head.flags & flag::NO_BUFFER != 0, !unseen);
        }
    }
}

#[test]
fn tells_network_namespaces_apart() {
    if skipped("tells_network_namespaces_apart") {
        return;
    }
    use std::os::unix::fs::MetadataExt as _;
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let talk = "
import socket, os
print(os.stat('/proc/self/ns/net').st_ino, flush=True)
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0))
a.sendto(b'here', a.getsockname()); a.recv(10)
";
        // A fresh namespace has its loopback down; SIOCSIFFLAGS (0x8914) with IFF_UP brings it up.
        let up = "
import socket, fcntl, struct
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack('16sh14x', b'lo', 1))
";
        let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        for (launcher, source) in [(&[][..], talk.to_owned()), (&["unshare", "--net"][..], format!("{up}{talk}"))] {
            let mut script = Script::start_under(&watch.cgroup, launcher, &source);
            let netns: u64 = script.line().parse().unwrap();
            script.finish();
            assert_eq!(netns == own, launcher.is_empty());
            let records = watch.drain();
            assert_eq!(records.len(), 2, "{rung:?} {records:?}");
            assert!(records.iter().all(|r| u64::from(r.head.netns) == netns));
        }
    }
}

#[test]
fn says_who_refused_when_privileges_are_missing() {
    if std::env::var_os("REDTAP_TEST_UNPRIVILEGED").is_some() {
        println!("{}", Probe::attach(&ProbeOptions::default()).unwrap_err());
        return;
    }
    if skipped("says_who_refused_when_privileges_are_missing") {
        return;
    }
    // The same test again in a process without any capability.
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "says_who_refused_when_privileges_are_missing", "--nocapture"])
        .env("REDTAP_TEST_UNPRIVILEGED", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for rung in ["socket", "syscall"] {
        let words = format!("rung {rung}: making maps: refused by the kernel or a security module");
        assert!(text.contains(&words), "{text} {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(text.contains("CAP_BPF"), "{text}");
}

/// Older kernels' verifiers take more steps for the same program, and the limit is a million: keep far from it.
#[test]
fn the_verifier_needs_less_than_a_third_of_its_limit() {
    if skipped("the_verifier_needs_less_than_a_third_of_its_limit") {
        return;
    }
    for rung in RUNGS {
        let watch = Watch::with(rung, |options, _| options.shards = 8);
        let names: Vec<&str> = watch.probe.program_names().collect();
        let mut seen = 0;
        for info in aya::programs::loaded_programs().filter_map(Result::ok) {
            if info.name_as_str().is_some_and(|name| names.contains(&name)) {
                let steps = info.verified_instruction_count().unwrap_or(0);
                eprintln!("{rung:?} {:?}: {steps} instructions verified", info.name_as_str());
                assert!(steps < 333_000, "{rung:?} {:?}: {steps}", info.name_as_str());
                seen += 1;
            }
        }
        assert!(seen >= names.len(), "{names:?}");
    }
}
