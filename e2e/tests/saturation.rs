//! Claim 2: under saturation nothing is lost or every loss is counted, and with a ring that is far too small the sums still
//! hold exactly: what the server answered is what redtap reported plus what it says it missed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const DB_SERVER: &str = "db_server_operation_duration_seconds_count";

/// What the agent says of its own completeness.
struct Sums {
    reported: u64,
    missed: u64,
}

/// Request turns that the kernel refused. A connection that was refused all of its turns was never identified; here there is
/// only one protocol, so its turns are requests as well.
fn missed(metrics: &Metrics) -> u64 {
    metrics.sum("redtap_exchanges_missed_total", &[]) + metrics.sum("redtap_exchanges_missed_unidentified_total", &[])
}

/// Waits until the agent accounts for `total` exchanges at the servers (the clients are outside), or 20 s.
fn sums(agent: &Agent, name: &str, total: u64) -> Sums {
    let metrics = agent.metrics_until(|metrics| metrics.sum(name, &[]) + missed(metrics) >= total).unwrap();
    let status = agent.status().unwrap();
    assert_eq!(status["conservation"]["balanced"], true, "{status}");
    Sums { reported: metrics.sum(name, &[]), missed: missed(&metrics) }
}

fn http(rung: &str, extra: &[&str]) -> (Sums, u64) {
    let sandbox = Sandbox::new("saturation").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let mut arguments = vec!["--rung", rung];
    arguments.extend(extra);
    let agent = Agent::start(&sandbox, &arguments).unwrap();
    sandbox.run_outside("wrk", &["-t", "1", "-c", "100", "-d", "3s", &nginx.url("/static/a.html")]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let answered = nginx.answered().unwrap().values().sum();
    let sums = sums(&agent, HTTP_SERVER, answered);
    agent.stop().unwrap();
    (sums, answered)
}

fn redis(rung: &str, extra: &[&str], pipeline: &str) -> (Sums, u64) {
    let sandbox = Sandbox::new("saturation").unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    let mut arguments = vec!["--rung", rung];
    arguments.extend(extra);
    let agent = Agent::start(&sandbox, &arguments).unwrap();
    let port = redis.port.to_string();
    let load = ["-h", "127.0.0.1", "-p", &port, "-q", "-t", "set,get", "-n", "200000", "-c", "100", "-P", pipeline];
    sandbox.run_outside("redis-benchmark", &load).unwrap();
    let calls = redis.calls().unwrap().values().sum::<u64>() + 1;
    let sums = sums(&agent, DB_SERVER, calls);
    agent.stop().unwrap();
    (sums, calls)
}

#[test]
fn nginx_with_the_default_ring() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let (sums, answered) = http(rung, &[]);
        assert_eq!(sums.reported + sums.missed, answered, "{rung}: missed {}", sums.missed);
    }
}

#[test]
fn nginx_with_a_ring_of_64_kib() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let (sums, answered) = http(rung, &["--ring-bytes", "64KiB"]);
        assert!(sums.missed > 0, "{rung}: the ring was never full: the test shows nothing");
        assert_eq!(
            sums.missed,
            answered - sums.reported,
            "{rung}: missed turns are the difference to the server's count"
        );
    }
}

#[test]
fn redis_with_the_default_ring() {
    if !can_run(&["redis-server", "redis-benchmark"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let (sums, calls) = redis(rung, &[], "1");
        assert_eq!(sums.reported + sums.missed, calls, "{rung}: missed {}", sums.missed);
    }
}

#[test]
fn redis_with_a_ring_of_64_kib() {
    if !can_run(&["redis-server", "redis-benchmark"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let (sums, calls) = redis(rung, &["--ring-bytes", "64KiB"], "1");
        assert_eq!(sums.missed, calls - sums.reported, "{rung}: missed turns are the difference to the server's count");
    }
}

/// A refused turn of a pipeline is told as what the others held: not exact, but near. Of connections that were never identified only
/// the turns are known.
#[test]
fn a_pipeline_with_a_ring_of_64_kib() {
    if !can_run(&["redis-server", "redis-benchmark"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let (sums, calls) = redis(rung, &["--ring-bytes", "64KiB"], "16");
        assert!(sums.missed > 0, "{rung}: the ring was never full: the test shows nothing");
        let told = (sums.reported + sums.missed) as f64 / calls as f64;
        assert!((0.9..1.1).contains(&told), "{rung}: {} and {} missed of {calls}", sums.reported, sums.missed);
    }
}
