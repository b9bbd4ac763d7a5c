//! What happens at the bounds of the programs: long vectors of messages, verdict words shared by many connections, a full
//! table.

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

use harness::{INGRESS, RUNGS, Watch, flow, skipped};
use py::{PAIR, VECTORS};
use redtap_kernel::probe::RungChoice;
use redtap_stages::abi::{Capture, Verdict, kind};

fn ports(line: &str) -> (u16, u16) {
    let (client, server) = line.split_once(' ').expect("two ports");
    (client.parse().unwrap(), server.parse().unwrap())
}

#[test]
fn messages_beyond_the_sixteenth_of_a_vector_are_counted() {
    if skipped("messages_beyond_the_sixteenth_of_a_vector_are_counted") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        // Forty of five bytes on a stream, then as datagrams.
        let mut script = watch.python(&format!(
            "{PAIR}{VECTORS}
send_many(c.fileno(), [b'%05d' % i for i in range(40)]); exactly(s, 200)
s.sendall(b'!'); exactly(c, 1)
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.connect(a.getsockname())
print(b.getsockname()[1], a.getsockname()[1], flush=True)
send_many(b.fileno(), [b'%05d' % i for i in range(40)]); b.send(b'last')
"
        ));
        let (client, server) = ports(&script.line());
        let (sender, receiver) = ports(&script.line());
        script.finish();
        let records = watch.drain();
        let stream = flow(&records, client, server);
        let answer = stream.iter().rfind(|r| r.is_data() && r.head.dir == INGRESS).unwrap();
        assert_eq!(answer.head.other_offset, 200, "sent before it, {rung:?} {stream:?}");
        let datagrams = flow(&records, sender, receiver);
        let last = datagrams.iter().rfind(|r| r.is_data()).unwrap();
        let unseen = if rung == RungChoice::Syscall { 24 } else { 0 };
        let said = (last.head.turn, last.head.offset, last.head.unseen, datagrams.len());
        assert_eq!(said, (40, 200, unseen, 41 - unseen as usize), "{rung:?} {datagrams:?}");
        assert_eq!(&last.payload, b"last");
    }
}

#[test]
fn a_verdict_outlives_its_word() {
    if skipped("a_verdict_outlives_its_word") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(&format!(
            "{PAIR}
for _ in range(3):
    c.sendall(b'said'); exactly(s, 4); print('ready', flush=True); input()
c.close(); s.close()
"
        ));
        let (client, server) = ports(&script.line());
        assert_eq!(script.line(), "ready");
        let conn_id = flow(&watch.drain(), client, server).first().unwrap().head.conn_id;
        let mute = Verdict { conn_id, capture: Capture::Mute, ingress_class: 0, egress_class: 0, role: 0 };
        watch.set_verdict(mute);
        script.say("go");
        assert_eq!(script.line(), "ready");
        // A newer connection takes the word.
        let newer = conn_id + watch.probe.slot_count() as u64;
        watch.set_verdict(Verdict { conn_id: newer, capture: Capture::Full, ..mute });
        script.say("go");
        assert_eq!(script.line(), "ready");
        script.say("go");
        script.finish();
        let said = flow(&watch.drain(), client, server);
        assert!(said.iter().all(|r| !r.is_data()), "{rung:?} {said:?}");
        assert_eq!(said.last().map(|r| (r.head.kind, r.head.unseen)), Some((kind::CLOSE, 0)), "muted is not missed");
    }
}

#[test]
fn connections_that_a_full_table_gives_up_are_counted() {
    if skipped("connections_that_a_full_table_gives_up_are_counted") {
        return;
    }
    let watch = Watch::with(RungChoice::Syscall, |options, _| options.connections = 1024);
    watch
        .python(
            "
import socket
keep = []
for i in range(900):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    a.send(b'x'); b.recv(1); keep.append((a, b))
",
        )
        .finish();
    let losses = watch.probe.losses();
    // 1800 sockets in a table of 1024; other processes' sockets may be in it too.
    assert!(losses.evicted >= 1800 - 1024, "{losses:?}");
    assert_eq!(losses.no_storage, 0);
}
