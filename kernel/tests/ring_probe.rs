//! The ring consumer, the shared slots and the doctor on the real probe, with real sockets of real processes.

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

use std::collections::HashMap;

use harness::{Cgroup, RUNGS, Record, Watch, skipped};
use py::PAIR;
use redtap_kernel::features::{Availability, Report, Step};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::{Probe, ProbeOptions, RungChoice};
use redtap_kernel::ring::Ring;
use redtap_kernel::slots::{Shard, Slots, progress_event};
use redtap_stages::abi::{Capture, EventHeader, Slot, Verdict, flag, kind};

/// One connection, two messages each way, `rounds` times; then both ends close.
fn talk(connections: u32, rounds: u32) -> String {
    format!(
        "{PAIR}
for i in range({connections}):
    c = socket.create_connection(l.getsockname()); s, _ = l.accept()
    for j in range({rounds}):
        c.sendall(b'q' * 100); exactly(s, 100); s.sendall(b'a' * 300); exactly(c, 300)
    c.close(); s.close()
"
    )
}

fn tables(probe: &Probe) -> Slots {
    Slots::map(probe.slots_fd(), probe.dirty_fd(), probe.verdict_fd(), probe.slot_count()).unwrap()
}

fn ring(probe: &Probe, shard: usize) -> Ring {
    Ring::map(probe.ring_fd(shard).unwrap(), probe.ring_bytes()).unwrap()
}

/// What the drain does with a shard: slots first, then the ring up to the position it has by then, then the slots' events.
fn drain(slots: &Slots, ring: &mut Ring, shard: Shard) -> (Vec<Record>, Vec<EventHeader>) {
    let mut news: Vec<Slot> = Vec::new();
    slots.take_dirty_of(shard, &mut news, usize::MAX);
    let until = ring.producer_position();
    let (mut spans, mut records) = (Vec::new(), Vec::new());
    while ring.position() < until {
        let Some(lease) = ring.lease(64, &mut spans) else { break };
        records.extend(spans.iter().map(|span| Record::parse(lease.record(*span).unwrap())));
    }
    (records, news.iter().map(progress_event).collect())
}

#[test]
fn rings_and_slots_together_account_for_every_turn_however_small_the_ring() {
    if skipped("rings_and_slots_together_account_for_every_turn_however_small_the_ring") {
        return;
    }
    for rung in RUNGS {
        let watch = Watch::with(rung, |options, _| {
            options.ring_bytes = 16 << 10;
            options.shards = 3;
        });
        let slots = tables(&watch.probe);
        // Nobody reads meanwhile: both rings fill up, and what comes then is known from the slots alone.
        watch.python(&talk(20, 20)).finish();
        let (mut unseen, mut closed) = (HashMap::new(), HashMap::new());
        let (mut received, mut begun, mut from_slots) = (0, 0, 0);
        let mut shard_of = HashMap::new();
        for index in 0..3 {
            let shard = Shard::new(index, 3).unwrap();
            let (records, events) = drain(&slots, &mut ring(&watch.probe, index), shard);
            received += records.len() as u64;
            from_slots += events.len();
            begun += records.iter().filter(|r| r.head.flags & flag::TURN_START != 0).count() as u64;
            for head in records.iter().map(|r| r.head).chain(events) {
                assert_eq!(*shard_of.entry(head.conn_id).or_insert(index), index, "in two shards");
                let last = unseen.entry(head.conn_id).or_insert(0);
                *last = head.unseen.max(*last);
                *closed.entry(head.conn_id).or_insert(false) |= head.kind == kind::CLOSE;
            }
        }
        let losses = watch.probe.losses();
        assert!(losses.refused_full > 1000, "the rings were not too small: {losses:?}");
        assert!(from_slots > 10, "{from_slots}");
        assert_eq!(received + losses.refused_full, losses.attempted);
        assert_eq!(begun + unseen.values().map(|n| u64::from(*n)).sum::<u64>(), losses.turns);
        let talked = closed.len();
        assert_eq!(closed.values().filter(|closed| **closed).count(), talked, "a close went missing");
        assert!(talked >= 40, "both ends of twenty connections, seen {talked}");
    }
}

/// What goes on with a turn and has no bytes to show makes no record. The slot says it at once: an answer by sendfile must not wait for
/// the next request to be over.
#[test]
fn what_sendfile_adds_to_a_turn_is_in_the_slot() {
    if skipped("what_sendfile_adds_to_a_turn_is_in_the_slot") {
        return;
    }
    for rung in RUNGS {
        let watch = Watch::new(rung);
        let (slots, mut ring) = (tables(&watch.probe), ring(&watch.probe, 0));
        let mut script = watch.python(&format!(
            "{PAIR}
c.sendall(b'ask'); exactly(s, 3); s.sendall(b'head')
with open('/proc/self/exe', 'rb') as f: assert os.sendfile(s.fileno(), f.fileno(), 0, 1000) == 1000
print('sent', flush=True); input()
"
        ));
        let ports: Vec<u16> = script.line().split(' ').map(|port| port.parse().unwrap()).collect();
        assert_eq!(script.line(), "sent");
        let (records, events) = drain(&slots, &mut ring, Shard::ONLY);
        let head = records.iter().rfind(|r| r.is_data() && r.head.lport == ports[1]).unwrap().head;
        assert_eq!((head.dir, head.len, head.turn), (1, 4, 1), "{rung:?}: the record of the head is the last");
        let slot = events.iter().find(|event| event.conn_id == head.conn_id).unwrap();
        assert_eq!((slot.dir, slot.offset, slot.turn, slot.unseen), (1, 1_004, 1, 0), "{rung:?}");
        script.say("end");
        script.finish();
    }
}

#[test]
fn a_drained_ring_goes_on_taking_records() {
    if skipped("a_drained_ring_goes_on_taking_records") {
        return;
    }
    for rung in RUNGS {
        let watch = Watch::with(rung, |options, _| options.ring_bytes = 64 << 10);
        let (slots, mut ring) = (tables(&watch.probe), ring(&watch.probe, 0));
        let mut received = 0;
        for _ in 0..8 {
            watch.python(&talk(1, 40)).finish();
            received += drain(&slots, &mut ring, Shard::ONLY).0.len() as u64;
        }
        let losses = watch.probe.losses();
        assert!(ring.position() > 2 * ring.capacity() as u64, "{}", ring.position());
        assert_eq!((losses.refused_full, received), (0, losses.attempted));
        assert_eq!(ring.fill(), 0);
    }
}

#[test]
fn a_verdict_reaches_the_programs() {
    if skipped("a_verdict_reaches_the_programs") {
        return;
    }
    for rung in RUNGS {
        let watch = Watch::new(rung);
        let (slots, mut ring) = (tables(&watch.probe), ring(&watch.probe, 0));
        let body = "\nc.sendall(b'heard'); exactly(s, 5); print('said', flush=True)\nsys.stdin.readline()\nc.sendall(b'muted'); exactly(s, 5)\n";
        let mut script = watch.python(&format!("{PAIR}{body}"));
        script.line();
        assert_eq!(script.line(), "said");
        let (records, _) = drain(&slots, &mut ring, Shard::ONLY);
        assert!(records.iter().any(|r| r.payload == b"heard"), "{records:?}");
        for record in &records {
            let conn_id = record.head.conn_id;
            slots.set_verdict(Verdict { conn_id, capture: Capture::Mute, ingress_class: 0, egress_class: 0, role: 0 });
        }
        script.say("go");
        script.finish();
        let (records, _) = drain(&slots, &mut ring, Shard::ONLY);
        assert!(records.iter().all(|r| !r.is_data()), "{records:?}");
        assert!(watch.probe.losses().muted > 0);
    }
}

#[test]
fn the_doctor_and_the_probe_agree() {
    if skipped("the_doctor_and_the_probe_agree") {
        return;
    }
    let report = Report::gather();
    for (step, rung) in [(Step::Socket, RungChoice::Socket), (Step::Syscall, RungChoice::Syscall)] {
        // An empty cgroup: nothing is watched.
        let cgroup = Cgroup::new();
        let filters = Filters::default().with(Verb::Allow, Filter::Cgroup(cgroup.id())).unwrap();
        let attached = Probe::attach(&ProbeOptions { rung, filters, ..ProbeOptions::default() });
        let said = report.availability(step);
        assert_eq!(attached.is_ok(), said == Availability::Yes, "{}: {said}, {:?}", step.name(), attached.err());
    }
}
