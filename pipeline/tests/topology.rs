//! The whole pipeline on a recording of real traffic: the same exchanges whatever turns the stages, everything accounted
//! for, everything delivered at the end.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use redtap::blueprint::{Blueprint, StageId, ThreadPlan};
use redtap::chain::Remote;
use redtap::conservation::{Conservation, KernelCounts, ShardReport};
use redtap::engine::Engines;
use redtap::metadata::feed::{Feed, FeedSettings};
use redtap::metadata::{Resolver, ResolverSettings};
use redtap::recording::RecordingReader;
use redtap::registry::{Registry, RegistrySettings};
use redtap::runner::NoVerdicts;
use redtap::source::Source;
use redtap::source::stream_time::{Iterated, StreamTime};
use redtap::tap::{Fullness, Tap};
use redtap::topology::{PublicationSink, Running, Sinks, StartError, Stopped, Topology};
use redtap_captures::records::{Next, Records};
use redtap_stages::abi::EventHeader;
use redtap_stages::flow::conn::Role;
use redtap_stages::flow::delta::{Gain, Publication};
use redtap_stages::flow::joined::Joined;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Real events of nginx, curl, redis-server, redis-cli, dnsmasq and dig.
const MIXED: &[u8] = include_bytes!("data/mixed.redtapev");
/// Only for what must end and would hang forever if it did not.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lines of nginx's own access log, sorted.
const HTTP: [&str; 8] = [
    "GET /a 200",
    "GET /b 200",
    "GET /boom 503",
    "GET /ready 200",
    "GET /users/1 200",
    "GET /users/2 200",
    "GET /users/3 200",
    "POST /users/9 200",
];
/// What redis-cli was told to ask, sorted; no key of a command that has none, no value of any.
const REDIS: [&str; 12] = [
    "CONFIG  ",
    "ECHO  ",
    "GET k ",
    "GET nothing ",
    "INCR n ",
    "INCR n ",
    "INFO  ",
    "LPUSH k WRONGTYPE",
    "PING  ",
    "PING  ",
    "SET k ",
    "SHUTDOWN  ",
];
/// What dig was told to ask, sorted; one of the good answers came by TCP.
const DNS: [&str; 3] = ["A none.example REFUSED", "A one.test ", "A one.test "];

#[derive(Default)]
struct Published(Mutex<BTreeMap<String, u64>>);

impl PublicationSink for Published {
    fn publish(&self, _: usize, publication: Publication) {
        let mut sums = self.0.lock().unwrap();
        for delta in publication.deltas {
            let labels: Vec<_> =
                delta.series.labels.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect();
            let key = format!("{:?} {} {}", delta.series.metric, delta.series.service.as_str(), labels.join(","));
            *sums.entry(key).or_default() += match delta.gain {
                Gain::Count(count) => count,
                Gain::Histogram(gain) => gain.count,
            };
        }
    }
}

struct Replay {
    records: Vec<String>,
    published: BTreeMap<String, u64>,
    stopped: Stopped,
}

fn mixed() -> Box<dyn Source> {
    Box::new(RecordingReader::new(Cursor::new(MIXED)).unwrap().into_source())
}

fn start(blueprint: Blueprint, sources: Vec<Box<dyn Source>>, tap: &Arc<Tap>) -> (Running, Arc<Published>) {
    let published = Arc::new(Published::default());
    let publications = Arc::clone(&published) as Arc<dyn PublicationSink>;
    let sinks = Sinks { publications, verdicts: Arc::new(NoVerdicts), tap: Arc::clone(tap) };
    (Topology::start(blueprint.check().unwrap(), sources, sinks).unwrap(), published)
}

/// The mixed recording through `blueprint`, every exchange watched through a queue of a single batch.
fn replay(blueprint: Blueprint) -> Replay {
    let tap = Arc::new(Tap::default());
    let watch = tap.subscribe(1, Fullness::Wait).unwrap();
    let (running, published) = start(blueprint, vec![mixed()], &tap);
    let watcher = thread::spawn(move || {
        let mut records = Vec::new();
        while let Ok(batch) = watch.next(PATIENCE) {
            records.extend(batch.iter().map(line));
        }
        assert_eq!(watch.lost(), 0);
        records
    });
    let stopped = running.wait();
    let mut records = watcher.join().unwrap();
    records.sort();
    let published = published.0.lock().unwrap().clone();
    Replay { records, published, stopped }
}

fn line(joined: &Joined) -> String {
    let exchange = &joined.converged.exchange;
    let side = if exchange.side == Role::Server { "server" } else { "client" };
    format!("{} {side} {} {} {}", exchange.protocol.name(), exchange.method, exchange.target, exchange.code)
}

fn assert_settled(stopped: &Stopped) {
    assert!(stopped.clean, "{:?}", stopped.unfinished);
    assert_eq!(stopped.unfinished, None);
    let sums = stopped.conservation(None);
    assert!(sums.settled && sums.balanced, "{sums:#?}");
    assert_eq!((sums.in_flight, sums.held), (0, 0));
}

#[test]
fn every_exchange_of_the_recording_comes_out_on_both_sides() {
    let replay = replay(Blueprint::default());
    assert_settled(&replay.stopped);
    for side in ["server", "client"] {
        let of = |protocol: &str| -> Vec<_> {
            let prefix = format!("{protocol} {side} ");
            replay.records.iter().filter_map(|record| record.strip_prefix(&prefix)).collect()
        };
        assert_eq!(of("http"), HTTP, "{side}");
        assert_eq!(of("redis"), REDIS, "{side}");
        assert_eq!(of("dns"), DNS, "{side}");
    }
    assert_eq!(replay.records.len(), 2 * (HTTP.len() + REDIS.len() + DNS.len()));
    let sums = replay.stopped.conservation(None);
    assert_eq!(sums.received, 170);
    assert_eq!(sums.lost, 0);
    assert_eq!(sums.exchanges.reported, replay.records.len() as u64);
    assert_eq!((sums.exchanges.pending, sums.exchanges.missed), (0, 0));
    assert!((sums.capture_ratio - 1.0).abs() < f64::EPSILON);
    let faults: u64 = replay.stopped.shards[0].stages.iter().map(|stage| stage.totals.faults).sum();
    assert_eq!(faults, 0);
}

#[test]
fn what_turns_the_stages_makes_no_difference() {
    let each = ThreadPlan { per_shard: true, cuts: StageId::ALL[1..].to_vec() };
    let reference = replay(Blueprint::default());
    for engine in [Engines::Actors, Engines::Fused] {
        for threads in [ThreadPlan::one(), ThreadPlan::split(), each.clone()] {
            for edge_batches in [1, 2, 8] {
                let blueprint = Blueprint { engine, threads: threads.clone(), edge_batches, ..Blueprint::default() };
                let other = replay(blueprint.clone());
                assert_settled(&other.stopped);
                assert_eq!(other.records, reference.records, "{blueprint:?}");
                assert_eq!(other.published, reference.published, "{blueprint:?}");
            }
        }
    }
}

#[test]
fn shards_publish_what_one_would() {
    let reference = replay(Blueprint::default());
    let (running, published) =
        start(Blueprint { shards: 3, ..Blueprint::default() }, vec![mixed(), mixed(), mixed()], &Arc::default());
    let stopped = running.wait();
    assert_settled(&stopped);
    assert_eq!(stopped.shards.len(), 3);
    let tripled: BTreeMap<_, _> = reference.published.into_iter().map(|(key, count)| (key, 3 * count)).collect();
    assert_eq!(*published.0.lock().unwrap(), tripled);
}

/// The mixed recording, over and over, without end: other connections each time, a minute later.
fn endless() -> Box<dyn Source> {
    let mut reader = RecordingReader::new(Cursor::new(MIXED)).unwrap();
    let (mut records, mut memory) = (Vec::new(), Vec::new());
    while reader.next_record(&mut memory) == Next::Record {
        records.push(std::mem::take(&mut memory));
    }
    let rounds = (0_u64..).flat_map(move |round| {
        let mut records = records.clone();
        for record in &mut records {
            shift(record, offset_of!(EventHeader, conn_id), round * 1_000_000);
            shift(record, offset_of!(EventHeader, ts_ns), round * 60_000_000_000);
            shift(record, offset_of!(EventHeader, other_ts_ns), round * 60_000_000_000);
            // Other processes too: pid and tid lie in one word, and one in the upper half is one in the tid.
            shift(record, offset_of!(EventHeader, pid), round % 50_000);
        }
        records
    });
    Box::new(StreamTime::new(Iterated(rounds)))
}

fn shift(record: &mut [u8], field: usize, by: u64) {
    let place = &mut record[field..field + 8];
    let value = u64::from_ne_bytes(place.try_into().unwrap());
    place.copy_from_slice(&(value + by).to_ne_bytes());
}

/// Until the stages of the first shard have taken that many records of the endless source.
fn run_until_taken(running: &Running, records: u64) {
    while running.report()[0].stages[0].totals.taken < records {
        thread::yield_now();
    }
}

#[test]
fn stopping_in_full_flow_drains_everything_that_was_fed() {
    for engine in [Engines::Actors, Engines::Fused] {
        let blueprint = Blueprint { engine, threads: ThreadPlan::split(), edge_batches: 2, ..Blueprint::default() };
        let (running, _) = start(blueprint, vec![endless()], &Arc::default());
        run_until_taken(&running, 2_000);
        assert!(!running.sources_ended());
        let stopped = running.stop(PATIENCE);
        assert_settled(&stopped);
        assert!(stopped.conservation(None).decoded >= 2_000);
        assert!(stopped.shards[0].stages.iter().all(|stage| stage.totals.finished));
    }
}

#[test]
fn a_dropped_topology_ends_its_threads() {
    let tap = Arc::new(Tap::default());
    let watch = tap.subscribe(1, Fullness::Lose).unwrap();
    let (running, _) = start(Blueprint::default(), vec![endless()], &tap);
    run_until_taken(&running, 500);
    drop(running);
    while watch.next(Duration::ZERO).is_ok() {}
    assert_eq!(tap.subscribers(), 0, "the exit of join is gone");
}

#[test]
fn a_slow_live_watcher_loses_and_is_told_how_much() {
    let tap = Arc::new(Tap::default());
    let watch = tap.subscribe(1, Fullness::Lose).unwrap();
    let (running, _) = start(Blueprint::default(), vec![endless()], &tap);
    run_until_taken(&running, 3_000);
    let stopped = running.stop(PATIENCE);
    assert_settled(&stopped);
    let mut seen = 0;
    while let Ok(batch) = watch.next(Duration::ZERO) {
        seen += batch.len() as u64;
    }
    assert!(watch.lost() > 0);
    assert_eq!(seen + watch.lost(), stopped.shards[0].stages[6].totals.sent);
}

fn break_stage<S: Stage>(remote: &Remote<S>) {
    remote.apply(|_| panic!("as asked by a test")).unwrap();
}

#[test]
fn a_stage_that_panics_is_replaced_and_the_sums_still_balance() {
    let (running, _) = start(Blueprint::default(), vec![endless()], &Arc::default());
    run_until_taken(&running, 1_000);
    let controls = running.controls(0).unwrap();
    break_stage(&controls.decode);
    break_stage(&controls.converge);
    break_stage(&controls.join);
    break_stage(&controls.aggregate);
    let taken = running.report()[0].stages[0].totals.taken;
    run_until_taken(&running, taken + 2_000);
    let stopped = running.stop(PATIENCE);
    assert_settled(&stopped);
    let faults: Vec<_> = stopped.shards[0].stages.iter().map(|stage| stage.totals.faults).collect();
    assert_eq!(faults, [1, 0, 0, 0, 0, 1, 1, 1, 0]);
}

/// Does not survive its first publication.
#[derive(Default)]
struct Clumsy(AtomicU64);

impl PublicationSink for Clumsy {
    fn publish(&self, _: usize, _: Publication) {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 0, "as asked by a test");
    }
}

#[test]
fn what_is_lost_after_pairing_is_not_part_of_the_share_that_was_reported() {
    let plan = Blueprint::default().check().unwrap();
    let sinks =
        Sinks { publications: Arc::new(Clumsy::default()), verdicts: Arc::new(NoVerdicts), tap: Arc::default() };
    let running = Topology::start(plan, vec![endless()], sinks).unwrap();
    run_until_taken(&running, 1_000);
    let controls = running.controls(0).unwrap();
    break_stage(&controls.converge);
    break_stage(&controls.aggregate);
    let taken = running.report()[0].stages[0].totals.taken;
    run_until_taken(&running, taken + 2_000);
    let stopped = running.stop(PATIENCE);
    assert_settled(&stopped);
    let sums = stopped.conservation(None);
    let shard = &stopped.shards[0];
    assert!(shard.delivered.lost > 0, "{shard:#?}");
    assert_eq!(sums.exchanges.reported - sums.undelivered, shard.delivered.exchanges);
    assert!(sums.undelivered >= shard.delivered.lost);
    let share = shard.delivered.exchanges as f64 / sums.exchanges.reported as f64;
    assert!((sums.capture_ratio - share).abs() < 1e-9, "{} is not {share}", sums.capture_ratio);
    let worse = sums.clone().with_refused(shard.delivered.exchanges);
    assert!(worse.capture_ratio.abs() < f64::EPSILON, "{}", worse.capture_ratio);
}

#[test]
fn control_functions_reach_their_stages() {
    let (running, _) = start(Blueprint::default(), vec![endless()], &Arc::default());
    let (tell, told) = crossbeam_channel::bounded(1);
    let join = running.controls(0).unwrap().join;
    join.apply(move |join| tell.send(join.processes()).unwrap()).unwrap();
    told.recv_timeout(PATIENCE).expect("the function runs although nobody else rings");
    let wanted = running.wanted().recv_timeout(PATIENCE).expect("join wants to know about processes");
    assert_eq!(wanted.shard, 0);
    assert!(!wanted.processes.is_empty());
    assert_settled(&running.stop(PATIENCE));
}

#[test]
fn questions_are_answered_while_a_round_takes_long() {
    let (running, _) = start(Blueprint::default(), vec![endless()], &Arc::default());
    let proc = tempfile::tempdir().unwrap();
    let tcp = proc.path().join("self/net/tcp");
    std::fs::create_dir_all(tcp.parent().unwrap()).unwrap();
    let settings =
        FeedSettings { proc: proc.path().into(), hosts: proc.path().join("hosts"), expiry: Nanos::from_secs(900) };
    let resolver = Resolver::new(ResolverSettings::default());
    let feed = Feed::start(&running, resolver, Arc::new(Registry::new(RegistrySettings::default())), settings).unwrap();
    // From now on the table of sockets is one that is never read to its end.
    assert!(std::process::Command::new("mkfifo").arg(&tcp).status().unwrap().success());
    let endless_table = std::fs::OpenOptions::new().write(true).open(&tcp).unwrap();
    // Opened, so a round is in the middle of it.
    let before = feed.stats().looked_up;
    while feed.stats().looked_up < before + 10 {
        assert!(!running.sources_ended());
        thread::yield_now();
    }
    drop(endless_table);
    std::fs::remove_file(&tcp).unwrap();
    assert_settled(&running.stop(PATIENCE));
    feed.stop();
}

#[test]
fn a_record_more_or_less_anywhere_is_noticed() {
    let (running, _) = start(Blueprint::default(), vec![mixed()], &Arc::default());
    let shards = running.wait().shards;
    let noticed = |spoil: &dyn Fn(&mut ShardReport)| {
        let mut shards = shards.clone();
        spoil(&mut shards[0]);
        !Conservation::of(None, &shards).balanced
    };
    assert!(!noticed(&|_| {}));
    assert!(noticed(&|shard| shard.drain.source.records += 1), "given but not fed");
    assert!(noticed(&|shard| shard.drain.fed -= 1), "fed less than given");
    assert!(noticed(&|shard| shard.exchanges.seen += 1), "an exchange without a fate");
    assert!(noticed(&|shard| shard.delivered.exchanges -= 1), "an exchange that was reported and not delivered");
    for place in 0..9 {
        assert!(noticed(&|shard| shard.stages[place].totals.passed += 1), "{place}: passed on what it did not take");
        assert!(
            noticed(&|shard| shard.stages[place].totals.rejected[0] += 1),
            "{place}: rejected what it did not take"
        );
        assert!(noticed(&|shard| shard.stages[place].inlet.records_taken -= 1), "{place}: left in the edge");
        // What the last stage sends are publications, and nobody counts those again.
        assert!(place == 8 || noticed(&|shard| shard.stages[place].totals.sent += 1), "{place}: lost on the edge");
    }
    let kernel = |attempted, refused| Some(KernelCounts { attempted, refused, refused_turns: 0 });
    assert!(Conservation::of(kernel(180, 10), &shards).balanced);
    assert!(!Conservation::of(kernel(181, 10), &shards).balanced, "neither refused nor received");
}

#[test]
fn there_must_be_a_source_for_each_shard() {
    let plan = Blueprint { shards: 2, ..Blueprint::default() }.check().unwrap();
    let sinks =
        Sinks { publications: Arc::new(Published::default()), verdicts: Arc::new(NoVerdicts), tap: Arc::default() };
    let error = Topology::start(plan, vec![mixed()], sinks).unwrap_err();
    assert!(matches!(error, StartError::Sources { sources: 1, shards: 2 }));
}
