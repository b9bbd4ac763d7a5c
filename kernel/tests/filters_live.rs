//! Filters on the running kernel, both rungs: of a connection that is not selected, no byte enters a ring.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, outside of any test function")]

#[cfg(test)]
#[path = "live/harness.rs"]
mod harness;

use std::os::unix::fs::MetadataExt as _;

use harness::{Cgroup, RUNGS, Script, Watch, skipped};
use redtap_kernel::filters::{Filter, Filters, Verb};

/// A process that talks to itself over TCP once it is told to.
struct Side {
    script: Script,
    pid: u32,
    port: u16,
    pid_namespace: u32,
    cgroup: u64,
}

const WANTED: &str = "WANTED-word";
const PLANTED: &str = "PLANTED-word";
const PLANTED_NAME: &str = "rt-planted-name";
/// A process of this name does not say its word over a unix socket, which no port filter keeps out.
const UNIX_QUIET: &str = "rt-unix-quiet";

impl Side {
    /// `launcher` is put before the interpreter, for namespaces.
    fn start(cgroup: &Cgroup, word: &str, name: &str, launcher: &[&str]) -> Self {
        let unix_word = if name == UNIX_QUIET { "silence" } else { word };
        let source = format!(
            "import socket, os
open('/proc/self/comm', 'w').write('{name}')
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(1)
print(l.getsockname()[1], os.stat('/proc/self/ns/pid').st_ino, flush=True); input()
c = socket.create_connection(l.getsockname()); s, _ = l.accept()
for _ in range(3):
    c.sendall(b'{word}'); s.recv(100); s.sendall(b'{word}'); c.recv(100)
c.close(); s.close()
u = socket.socketpair(); u[0].sendall(b'{unix_word}'); u[1].recv(100)
"
        );
        let mut script = Script::start_under(cgroup, launcher, &source);
        let line = script.line();
        let (port, pid_namespace) = line.split_once(' ').expect("two numbers");
        Self {
            pid: script.child.id(),
            port: port.parse().unwrap(),
            pid_namespace: pid_namespace.parse().unwrap(),
            cgroup: cgroup.id(),
            script,
        }
    }

    fn talk(mut self) {
        self.script.say("go");
        self.script.finish();
    }
}

/// The probe sees both processes' cgroup; `choose` adds what should keep the second out.
fn keeps_out(test: &str, launcher: &[&str], choose: impl Fn(&mut Filters, &Side, &Side)) {
    keeps_out_named(test, PLANTED_NAME, launcher, choose);
}

fn keeps_out_named(test: &str, name: &str, launcher: &[&str], choose: impl Fn(&mut Filters, &Side, &Side)) {
    if skipped(test) {
        return;
    }
    for rung in RUNGS {
        let mut sides = None;
        let mut below = None;
        let mut watch = Watch::with(rung, |options, cgroup| {
            let inner = below.insert(cgroup.below("planted"));
            let wanted = Side::start(cgroup, WANTED, "rt-wanted", &[]);
            let planted = Side::start(inner, PLANTED, name, launcher);
            choose(&mut options.filters, &wanted, &planted);
            sides = Some((wanted, planted));
        });
        let (wanted, planted) = sides.unwrap();
        let port = planted.port;
        wanted.talk();
        planted.talk();
        drop(below); // before the cgroup that it is in
        let records = watch.drain();
        let holds =
            |word: &str| records.iter().any(|r| r.payload.windows(word.len()).any(|part| part == word.as_bytes()));
        assert!(holds(WANTED), "{test} {rung:?}: what is selected is seen");
        assert!(!holds(PLANTED), "{test} {rung:?}: {records:?}");
        assert!(records.iter().all(|r| r.head.lport != port && r.head.rport != port), "not even a header: {records:?}");
        assert!(watch.probe.losses().not_selected >= 12, "{test} {rung:?}: {:?}", watch.probe.losses());
    }
}

#[test]
fn a_denied_cgroup_below_an_allowed_one_stays_out() {
    keeps_out("a_denied_cgroup", &[], |filters, _, planted| {
        filters.push(Verb::Deny, Filter::Cgroup(planted.cgroup)).unwrap();
    });
}

#[test]
fn a_denied_process_number_stays_out() {
    keeps_out("a_denied_process_number", &[], |filters, _, planted| {
        filters.push(Verb::Deny, Filter::Pid(planted.pid)).unwrap();
    });
}

#[test]
fn only_allowed_process_numbers_and_names_come_in() {
    keeps_out("only_allowed_processes", &[], |filters, wanted, _| {
        filters.push(Verb::Allow, Filter::process("nobody-is-this").unwrap()).unwrap();
        filters.push(Verb::Allow, Filter::Pid(wanted.pid)).unwrap();
    });
}

#[test]
fn a_denied_process_name_stays_out() {
    keeps_out("a_denied_process_name", &[], |filters, _, _| {
        filters.push(Verb::Deny, Filter::process(PLANTED_NAME).unwrap()).unwrap();
    });
}

#[test]
fn a_denied_port_stays_out_at_both_ends() {
    keeps_out_named("a_denied_port", UNIX_QUIET, &[], |filters, _, planted| {
        filters.push(Verb::Deny, Filter::Port(planted.port)).unwrap();
    });
}

#[test]
fn only_an_allowed_port_comes_in() {
    keeps_out("only_an_allowed_port", &[], |filters, wanted, _| {
        filters.push(Verb::Allow, Filter::Port(wanted.port)).unwrap();
    });
}

#[test]
fn a_denied_pid_namespace_stays_out() {
    keeps_out("a_denied_pid_namespace", &["unshare", "--pid", "--fork"], |filters, wanted, planted| {
        assert_ne!(wanted.pid_namespace, planted.pid_namespace);
        filters.push(Verb::Deny, Filter::PidNamespace(planted.pid_namespace)).unwrap();
    });
}

#[test]
fn a_process_in_a_pid_namespace_of_its_own_has_the_number_that_the_agent_sees() {
    if skipped("a_process_in_a_pid_namespace_of_its_own") {
        return;
    }
    for rung in RUNGS {
        let mut watch = Watch::new(rung);
        let side = Side::start(&watch.cgroup, WANTED, "rt-wanted", &["unshare", "--pid", "--fork"]);
        let own = std::fs::metadata("/proc/self/ns/pid").unwrap().ino();
        assert_ne!(u64::from(side.pid_namespace), own);
        let launcher = side.pid;
        side.talk();
        let records = watch.drain();
        assert!(!records.is_empty());
        assert!(records.iter().all(|r| r.head.pid > 1 && r.head.pid != launcher), "{rung:?} {records:?}");
    }
}

#[test]
fn the_agent_never_sees_itself() {
    if skipped("the_agent_never_sees_itself") {
        return;
    }
    use std::io::{Read as _, Write as _};
    for rung in RUNGS {
        // Allowed by number, so that nothing but the rule about the agent can keep it out.
        let mut watch = Watch::with(rung, |options, _| {
            options.filters = Filters::default().with(Verb::Allow, Filter::Pid(std::process::id())).unwrap();
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(PLANTED.as_bytes()).unwrap();
        let mut got = [0; PLANTED.len()];
        server.read_exact(&mut got).unwrap();
        assert_eq!(got, PLANTED.as_bytes());
        assert_eq!(watch.drain().len(), 0, "{rung:?}");
        assert!(watch.probe.losses().not_selected >= 2);
    }
}

#[test]
fn reads_a_cgroup_path_as_users_write_it() {
    if skipped("reads_a_cgroup_path_as_users_write_it") {
        return;
    }
    let cgroup = Cgroup::new();
    let absolute = cgroup.path().to_str().unwrap();
    let below_mount = format!("/{}", cgroup.path().file_name().unwrap().to_str().unwrap());
    assert_eq!(Filter::cgroup(absolute).unwrap(), Filter::Cgroup(cgroup.id()));
    assert_eq!(Filter::cgroup(&below_mount).unwrap(), Filter::Cgroup(cgroup.id()));
    assert!(Filter::cgroup("/no-such-cgroup").is_err());
}

#[test]
fn full_lists_of_every_kind_still_load_and_still_match() {
    if skipped("full_lists_of_every_kind") {
        return;
    }
    for rung in RUNGS {
        let mut side = None;
        let mut watch = Watch::with(rung, |options, cgroup| {
            let wanted = Side::start(cgroup, WANTED, "rt-wanted", &[]);
            let other = |verb: u16| if verb.is_multiple_of(2) { Verb::Allow } else { Verb::Deny };
            for i in 0..15 {
                let n = 4_000_000_000 + u32::from(i);
                options.filters.push(other(i), Filter::Cgroup(u64::from(n))).unwrap();
                options.filters.push(other(i), Filter::PidNamespace(n - 1_000_000_000)).unwrap();
                options.filters.push(other(i), Filter::Pid(n)).unwrap();
                options.filters.push(other(i), Filter::process(&format!("nobody-{i}")).unwrap()).unwrap();
                options.filters.push(other(i), Filter::Port(i + 1)).unwrap();
            }
            options.filters.push(Verb::Allow, Filter::PidNamespace(wanted.pid_namespace)).unwrap();
            options.filters.push(Verb::Allow, Filter::Pid(1)).unwrap();
            options.filters.push(Verb::Allow, Filter::process("rt-wanted").unwrap()).unwrap();
            options.filters.push(Verb::Allow, Filter::Port(wanted.port)).unwrap();
            side = Some(wanted);
        });
        side.unwrap().talk();
        let records = watch.drain();
        assert!(records.iter().any(|r| r.payload == WANTED.as_bytes()), "{rung:?} {:?}", watch.probe.losses());
        assert!(records.iter().all(|r| r.head.comm.starts_with(b"rt-wanted")));
    }
}
