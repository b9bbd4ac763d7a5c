//! What the programs do when all connections are tuned at once: answers are cut shorter, requests are not; a sample of the
//! connections is followed, the same at both ends, and who was left out comes back as another.

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

use harness::{Cgroup, EGRESS, INGRESS, RUNGS, Record, Script, Watch, skipped};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::Tuning;
use redtap_stages::abi::{flag, reason};
use redtap_stages::flow::conn::Role;
use redtap_stages::protocols::Budget;
use std::collections::{BTreeMap, BTreeSet};

const PAIRS: usize = 64;
/// Connections of which each asks 1000 bytes and is answered 2000, again and again.
const CONVERSATIONS: &str = "
import socket, sys
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(128)
pairs = []
for _ in range(64):
    c = socket.create_connection(l.getsockname()); s, _ = l.accept(); pairs.append((c, s))
def exactly(sock, n):
    while n: n -= len(sock.recv(n))
print(l.getsockname()[1], flush=True)
while sys.stdin.readline():
    for c, s in pairs:
        c.sendall(b'a' * 1000); exactly(s, 1000); s.sendall(b'b' * 2000); exactly(c, 2000)
    print('done', flush=True)
";

/// One end of a connection in one round: its number, sampling level, flags of its first record, captured bytes by direction.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    id: u64,
    level: u8,
    flags: u8,
    captured: [u32; 2],
    moved: [u32; 2],
}

/// A round; what was seen of clients and of servers, by the client's port.
fn round(watch: &mut Watch, script: &mut Script, port: u16) -> [BTreeMap<u16, End>; 2] {
    watch.drain();
    script.say("go");
    assert_eq!(script.line(), "done");
    let mut ends = [BTreeMap::new(), BTreeMap::new()];
    for Record { head, .. } in watch.drain().iter().filter(|record| record.is_data()) {
        let server = head.lport == port;
        let client_port = if server { head.rport } else { head.lport };
        let end = ends[usize::from(server)].entry(client_port).or_insert(End {
            id: head.conn_id,
            level: head.detail,
            flags: head.flags,
            captured: [0; 2],
            moved: [0; 2],
        });
        assert_eq!((end.id, end.level), (head.conn_id, head.detail), "one connection is one in a round");
        end.captured[usize::from(head.dir)] += head.cap_len;
        end.moved[usize::from(head.dir)] += head.len;
    }
    ends
}

fn ports(ends: &BTreeMap<u16, End>) -> BTreeSet<u16> {
    ends.keys().copied().collect()
}

#[test]
fn answers_are_cut_and_requests_are_not() {
    if skipped("answers_are_cut_and_requests_are_not") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(CONVERSATIONS);
        let port = script.line().parse().unwrap();
        for (class, most) in [(0, 2_000), (9, 512), (0, 2_000)] {
            watch.probe.tune(Tuning { answer_class: class, sampling: 0 }).unwrap();
            let [clients, servers] = round(&mut watch, &mut script, port);
            assert_eq!((clients.len(), servers.len()), (PAIRS, PAIRS), "{rung:?}");
            for (ends, requests, answers) in [(clients, EGRESS, INGRESS), (servers, INGRESS, EGRESS)] {
                for end in ends.values() {
                    assert_eq!(end.captured[usize::from(requests)], 1_000, "{rung:?} {end:?}");
                    assert_eq!(end.captured[usize::from(answers)], most, "{rung:?} {end:?}");
                    assert_eq!(end.level, 0);
                }
            }
        }
        script.finish();
    }
}

/// Of a connection older than the probe the programs do not know who asks. Until they are told, nothing of it is cut or left out.
#[test]
fn an_older_connection_is_tuned_once_user_space_says_who_asks() {
    if skipped("an_older_connection_is_tuned_once_user_space_says_who_asks") {
        return;
    }
    for rung in RUNGS {
        let cgroup = Cgroup::new();
        let mut script = Script::start(&cgroup, CONVERSATIONS);
        let port = script.line().parse().unwrap();
        script.say("go");
        assert_eq!(script.line(), "done");
        let mut watch = Watch::with(rung, |options, _| {
            options.filters = Filters::default().with(Verb::Allow, Filter::Cgroup(cgroup.id())).unwrap();
        });
        watch.probe.tune(Tuning { answer_class: 9, sampling: 4 }).unwrap();
        let [clients, servers] = round(&mut watch, &mut script, port);
        assert_eq!((clients.len(), servers.len()), (PAIRS, PAIRS), "{rung:?}: all are followed");
        for (ends, answers, role) in [(&clients, INGRESS, Role::Client), (&servers, EGRESS, Role::Server)] {
            for end in ends.values() {
                assert_eq!((end.level, end.captured[usize::from(answers)]), (0, 2_000), "{rung:?} {end:?}");
                watch.set_verdict(Budget::head(12, 12).verdict(end.id, role));
            }
        }
        let [clients, servers] = round(&mut watch, &mut script, port);
        let sample = ports(&clients);
        assert_eq!(sample, ports(&servers), "{rung:?}");
        assert!(sample.len() < PAIRS / 2, "{rung:?}: {} of {PAIRS}, where a sixteenth is expected", sample.len());
        for (ends, requests, answers) in [(clients, EGRESS, INGRESS), (servers, INGRESS, EGRESS)] {
            for end in ends.values() {
                let captured = (end.captured[usize::from(requests)], end.captured[usize::from(answers)]);
                assert_eq!((end.level, captured), (4, (1_000, 512)), "{rung:?} {end:?}");
            }
        }
        script.finish();
    }
}

#[test]
fn both_ends_are_in_the_sample_or_neither_and_who_was_left_out_comes_back_as_another() {
    if skipped("both_ends_are_in_the_sample_or_neither_and_who_was_left_out_comes_back_as_another") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let mut script = watch.python(CONVERSATIONS);
        let port = script.line().parse().unwrap();
        let at_first = round(&mut watch, &mut script, port);
        let mut before: Option<BTreeSet<u16>> = None;
        for level in 1..=4_u8 {
            watch.probe.tune(Tuning { answer_class: 0, sampling: level }).unwrap();
            let losses = watch.probe.losses();
            let [clients, servers] = round(&mut watch, &mut script, port);
            let sample = ports(&clients);
            assert_eq!(sample, ports(&servers), "{rung:?} at level {level}");
            assert!(before.is_none_or(|before| sample.is_subset(&before)), "{rung:?}: each is part of the one before");
            assert!(clients.values().chain(servers.values()).all(|end| end.level == level), "{rung:?}");
            let left_out = u64::try_from(PAIRS - sample.len()).unwrap();
            let more = watch.probe.losses();
            assert_eq!(more.sampled_turns - losses.sampled_turns, 4 * left_out, "{rung:?}: two turns at two ends");
            assert_eq!(more.turns - losses.turns, 4 * u64::try_from(sample.len()).unwrap(), "{rung:?}");
            if level == 1 {
                // Of 64, 32 are expected; 12 more or less are three standard deviations.
                assert!((20..=44).contains(&sample.len()), "{rung:?}: {} of {PAIRS}", sample.len());
            }
            before = Some(sample);
        }
        let sample = before.unwrap();
        watch.probe.tune(Tuning::default()).unwrap();
        let at_last = round(&mut watch, &mut script, port);
        for (first, last) in at_first.iter().zip(&at_last) {
            assert_eq!(last.len(), PAIRS, "{rung:?}");
            for (client_port, end) in last {
                let was = &first[client_port];
                assert_eq!((end.level, end.moved.iter().sum::<u32>()), (0, 3_000), "{rung:?}");
                if sample.contains(client_port) {
                    assert_eq!(end.id, was.id, "{rung:?}");
                    continue;
                }
                assert!(end.id > was.id, "{rung:?}");
                assert_eq!(end.flags & (flag::LATE | flag::FIRST), flag::LATE, "{rung:?}");
                let slot = watch.slot(was.id);
                assert_eq!((slot.conn_id, slot.closed), (was.id, reason::SAMPLED), "{rung:?}");
                assert!(watch.is_dirty(was.id), "{rung:?}");
            }
        }
        script.finish();
    }
}

#[test]
fn what_measuring_adds_to_a_run_is_a_part_of_what_an_operation_takes() {
    if skipped("what_measuring_adds_to_a_run_is_a_part_of_what_an_operation_takes") {
        return;
    }
    let watch = Watch::new(RUNGS[0]);
    let mut script = watch.python(CONVERSATIONS);
    assert!(script.line().parse::<u16>().is_ok());
    let times = watch.probe.time_runs().unwrap();
    let measuring_ns = times.measuring_ns().unwrap();
    script.say("go");
    assert_eq!(script.line(), "done");
    let runs = times.so_far();
    drop(times);
    script.finish();
    eprintln!("{runs:?}, of each run {measuring_ns:.1} ns are measuring");
    let rest = runs.without(measuring_ns);
    assert!(measuring_ns > 0.0 && rest > 0.0 && rest < runs.without(0.0), "{runs:?} {measuring_ns}");
}
