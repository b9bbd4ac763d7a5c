//! The pipeline on a real kernel, with real servers and clients in a cgroup of their own: what the kernel attempted is
//! refused or received, to the record, also when nobody read the ring for a while.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in tests a panic is a failure, and a skip says why"
)]

use redtap::blueprint::{Blueprint, ThreadPlan};
use redtap::chain::Remote;
use redtap::conservation::{Conservation, KernelCounts};
use redtap::source::rings::HURRY;
use redtap::source::{BATCH_RECORDS, Filled, RingSource, Source};
use redtap::topology::{PublicationSink, Running, Sinks, Topology};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::{Probe, ProbeOptions};
use redtap_stages::flow::delta::Publication;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::stage::{Batch as _, Stage};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

/// Only for what must end and would hang forever if it did not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests whose records, at least 4 of more than 144 bytes each, are more than what may wait in a ring of 1 MiB.
const MANY: usize = 200;

struct Discard;

impl PublicationSink for Discard {
    fn publish(&self, _: usize, _: Publication) {}
}

/// A cgroup with a redis-server in it.
struct Ground {
    cgroup: PathBuf,
    port: u16,
    server: Child,
}

impl Ground {
    /// `None`, with the reason on the terminal, where this cannot be tried; in CI that is a failure.
    fn new(name: &str) -> Option<Self> {
        let skip = |why: &str| {
            assert!(std::env::var_os("CI").is_none(), "cannot run: {why}");
            eprintln!("SKIPPED: {why}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("not root");
        }
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let Some(root) = roots.into_iter().find(|root| PathBuf::from(root).join("cgroup.procs").exists()) else {
            return skip("no cgroup v2");
        };
        let cgroup = PathBuf::from(root).join(format!("rt-pipe-{name}-{}", std::process::id()));
        std::fs::create_dir(&cgroup).unwrap();
        let port = free_port();
        let arguments = format!("exec redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no");
        let server = inside(&cgroup, &arguments).spawn().unwrap();
        let ground = Self { cgroup, port, server };
        ground.run("until redis-cli -p $PORT ping | grep -q PONG; do :; done");
        Some(ground)
    }

    fn run(&self, script: &str) {
        let status = inside(&self.cgroup, script).env("PORT", self.port.to_string()).status().unwrap();
        assert!(status.success(), "{script}: {status}");
    }

    fn probe(&self, options: ProbeOptions) -> Probe {
        let path = self.cgroup.to_str().unwrap();
        let filters = Filters::default().with(Verb::Allow, Filter::cgroup(path).unwrap()).unwrap();
        Probe::attach(&ProbeOptions { filters, ..options }).unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
        let removed = std::fs::remove_dir(&self.cgroup);
        assert!(removed.is_ok() || thread::panicking(), "somebody is left in {}", self.cgroup.display());
    }
}

fn inside(cgroup: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("echo $$ > {}/cgroup.procs; {script}", cgroup.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// One that is free now, given to one test only.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(21_610);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 21_700, "no port is free");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn start(probe: &Probe, threads: ThreadPlan) -> Running {
    let plan = Blueprint { shards: probe.shards(), threads, ..Blueprint::default() }.check().unwrap();
    let (sources, verdicts) = RingSource::of(probe).unwrap();
    let sources = sources.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect();
    let sinks = Sinks { publications: Arc::new(Discard), verdicts, tap: Arc::default() };
    Topology::start(plan, sources, sinks).unwrap()
}

fn kernel(probe: &Probe) -> KernelCounts {
    let losses = probe.losses();
    KernelCounts { attempted: losses.attempted, refused: losses.refused_full, refused_turns: losses.refused_turns }
}

/// Waits for what is on its way: quiet, everything attempted comes in without any further event.
fn settle(probe: &Probe, running: &Running) {
    let arrived = || {
        let kernel = kernel(probe);
        running.conservation(Some(kernel)).received + kernel.refused == kernel.attempted
    };
    while !arrived() {
        thread::yield_now();
    }
}

fn assert_exact(sums: &Conservation) {
    assert!(sums.settled, "{sums:#?}");
    assert!(sums.balanced, "{sums:#?}");
    let kernel = sums.kernel.unwrap();
    assert_eq!(kernel.attempted, sums.received + kernel.refused);
    assert_eq!(sums.decoded, sums.received + sums.progress);
    assert_eq!((sums.in_flight, sums.held, sums.ring_bytes, sums.lost), (0, 0, 0, 0));
}

#[test]
fn everything_attempted_is_received_while_there_is_room() {
    let Some(ground) = Ground::new("room") else { return };
    let probe = ground.probe(ProbeOptions::default());
    let running = start(&probe, ThreadPlan::split());
    ground.run("redis-benchmark -p $PORT -n 5000 -c 8 -t get -q");
    settle(&probe, &running);
    let stopped = running.stop(PATIENCE);
    assert!(stopped.clean);
    let sums = stopped.conservation(Some(kernel(&probe)));
    assert_exact(&sums);
    assert_eq!(sums.kernel.unwrap().refused, 0);
    // 5,000 requests, each sent, received, answered and the answer received.
    assert!(sums.received >= 20_000, "{sums:#?}");
}

#[test]
fn what_comes_within_one_wait_comes_together() {
    let Some(ground) = Ground::new("clock") else { return };
    let probe = ground.probe(ProbeOptions { ring_bytes: 1 << 20, ..ProbeOptions::default() });
    let (mut sources, _) = RingSource::of(&probe).unwrap();
    let source = &mut sources[0];
    let mut batch = EventBatch::default();
    ground.run("redis-cli -p $PORT ping");
    assert!(matches!(source.fill(&mut batch), Filled::Records(_)), "the first round waits for nothing");
    let first = batch.len();
    assert!(first >= 4, "a request and its answer, sent and received");
    batch.recycle();
    while matches!(source.fill(&mut batch), Filled::Records(_)) {
        batch.recycle();
    }
    for _ in 0..3 {
        ground.run("redis-cli -p $PORT ping");
        assert!(matches!(source.fill(&mut batch), Filled::Nothing(_)), "a few records are not worth a batch");
    }
    source.wait(Duration::from_millis(1));
    assert!(matches!(source.fill(&mut batch), Filled::Records(_)));
    assert!(batch.len() >= 3 * 4, "{} after {first}", batch.len());
    batch.recycle();
    // Much is read without a wait, and so is what is left at the end.
    ground.run(&format!("redis-cli -p $PORT -r {MANY} ping"));
    assert!(source.totals().ring_unread >= source.totals().ring_capacity / HURRY as u64);
    assert!(matches!(source.fill(&mut batch), Filled::Records(_)));
    assert_eq!(batch.len(), BATCH_RECORDS);
    source.stop();
    while !matches!(source.fill(&mut batch), Filled::End(_)) {
        batch.recycle();
    }
    assert_eq!(source.totals().ring_unread, 0);
}

#[test]
fn a_ring_that_nobody_reads_costs_records_and_each_is_counted() {
    let Some(ground) = Ground::new("full") else { return };
    let probe = ground.probe(ProbeOptions { ring_bytes: 64 << 10, ..ProbeOptions::default() });
    // Far more than 64 KiB before anybody reads.
    ground.run("redis-benchmark -p $PORT -n 2000 -c 8 -t get -q");
    let running = start(&probe, ThreadPlan::one());
    ground.run("redis-benchmark -p $PORT -n 2000 -c 8 -t get -q");
    settle(&probe, &running);
    let stopped = running.stop(PATIENCE);
    let sums = stopped.conservation(Some(kernel(&probe)));
    assert_exact(&sums);
    assert!(sums.kernel.unwrap().refused > 4_000, "{sums:#?}");
    assert!(sums.progress > 0, "connections whose records were refused are told of by their slots: {sums:#?}");
}

#[test]
fn shards_share_the_connections_and_lose_none() {
    let Some(ground) = Ground::new("shards") else { return };
    let probe = ground.probe(ProbeOptions { shards: 3, ring_bytes: 256 << 10, ..ProbeOptions::default() });
    let running = start(&probe, ThreadPlan { per_shard: true, cuts: Vec::new() });
    ground.run("redis-benchmark -p $PORT -n 6000 -c 12 -P 4 -t set -q");
    settle(&probe, &running);
    let stopped = running.stop(PATIENCE);
    assert_exact(&stopped.conservation(Some(kernel(&probe))));
    for shard in &stopped.shards {
        assert!(shard.stages[0].totals.taken > 0, "{shard:#?}");
    }
}

fn break_stage<S: Stage>(remote: &Remote<S>) {
    remote.apply(|_| panic!("as asked by a test")).unwrap();
}

#[test]
fn after_a_panic_in_any_stage_open_connections_are_seen_again_and_the_loss_is_counted() {
    let Some(ground) = Ground::new("fault") else { return };
    let probe = ground.probe(ProbeOptions::default());
    let running = start(&probe, ThreadPlan::one());
    // A few connections that stay open for all of it.
    let script = "exec redis-benchmark -p $PORT -n 3000000 -c 4 -t get -q";
    let mut load = inside(&ground.cgroup, script).env("PORT", ground.port.to_string()).spawn().unwrap();
    let mut grow = |by: u64| {
        let until = running.report()[0].delivered.exchanges + by;
        while running.report()[0].delivered.exchanges < until {
            assert!(load.try_wait().unwrap().is_none(), "nothing is reported any more");
            thread::yield_now();
        }
    };
    grow(1);
    let opened = || running.report()[0].stages[0].totals.passed;
    let controls = running.controls(0).unwrap();
    let breaks: [&dyn Fn(); 9] = [
        &|| break_stage(&controls.decode),
        &|| break_stage(&controls.identify),
        &|| break_stage(&controls.parse),
        &|| break_stage(&controls.pair),
        &|| break_stage(&controls.filter),
        &|| break_stage(&controls.converge),
        &|| break_stage(&controls.join),
        &|| break_stage(&controls.aggregate),
        &|| break_stage(&controls.flush),
    ];
    for (place, break_it) in breaks.iter().enumerate() {
        let before = opened();
        break_it();
        while running.report()[0].stages[place].totals.faults == 0 {
            thread::yield_now();
        }
        // What was under way is over; then come exchanges of connections that the stage has to be told of again.
        while opened() < before + 20_000 {
            thread::yield_now();
        }
        grow(1_000);
    }
    let stopped = running.stop(PATIENCE);
    drop(load.kill());
    drop(load.wait());
    assert!(stopped.clean, "{:?}", stopped.unfinished);
    let sums = stopped.conservation(None);
    assert!(sums.settled && sums.balanced, "{sums:#?}");
    let shard = &stopped.shards[0];
    assert!(shard.stages.iter().all(|stage| stage.totals.faults == 1), "{shard:#?}");
    assert!(sums.unread > 0 && sums.capture_ratio < 1.0, "{sums:#?}");
    assert!(sums.capture_ratio > 0.5, "{sums:#?}");
    assert_eq!(sums.exchanges.reported - sums.undelivered, shard.delivered.exchanges);
}

#[test]
fn stopping_under_load_gives_what_happened_before_and_ends() {
    let Some(ground) = Ground::new("stop") else { return };
    let probe = ground.probe(ProbeOptions::default());
    let running = start(&probe, ThreadPlan::one());
    // Replaces the shell, so that ending the child ends the load; bounded, should the test end first.
    let script = "exec redis-benchmark -p $PORT -n 20000000 -c 8 -t get -q";
    let mut load = inside(&ground.cgroup, script).env("PORT", ground.port.to_string()).spawn().unwrap();
    while running.report()[0].drain.fed < 20_000 {
        assert!(load.try_wait().unwrap().is_none(), "the load ended early");
        thread::yield_now();
    }
    let stopped = running.stop(PATIENCE);
    drop(load.kill());
    drop(load.wait());
    assert!(stopped.clean, "{:?}", stopped.unfinished);
    // The kernel went on after the end, so its side is left out.
    let sums = stopped.conservation(None);
    assert!(sums.settled && sums.balanced, "{sums:#?}");
    assert!(sums.received >= 20_000);
}
