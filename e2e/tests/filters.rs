//! What is not selected is not seen: words planted in its requests, headers, bodies and answers are neither in what `record`
//! wrote (which is what came out of the ring) nor in `/metrics`. The same words of the selected are in both, so that a test
//! without any traffic, or without any capture, fails. And the agent does not count itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::cli::Recorder;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";
const NEEDS: [&str; 4] = ["nginx", "curl", "redis-server", "redis-cli"];
/// In the traffic of the selected, and of the others.
const MELON: &str = "melonmelon";
const THISTLE: &str = "thistlethistle";

/// What came of it.
struct Seen {
    recording: Vec<u8>,
    text: String,
    metrics: Metrics,
}

impl Seen {
    fn holds(&self, word: &str) -> (bool, bool) {
        let recorded = self.recording.windows(word.len()).any(|window| window == word.as_bytes());
        (recorded, self.text.contains(word))
    }

    /// The melon is in both, the thistle in neither.
    fn check(&self, case: &str) {
        assert_eq!(self.holds(MELON), (true, true), "{case}: the selected are recorded and counted");
        assert_eq!(self.holds(THISTLE), (false, false), "{case}: the others are neither");
    }
}

/// Five requests that carry the word everywhere: path, query, header, body, answer.
fn ask(from: &Sandbox, nginx: &Nginx, word: &str) {
    let (header, body) = (format!("X-Word: {word}"), format!("word={word}"));
    for at in 0..5 {
        let url = nginx.url(&format!("/{word}?again={word}&at={at}"));
        from.run("curl", &["-s", "-o", "/dev/null", "-H", &header, "-d", &body, &url]).unwrap();
    }
}

/// An nginx whose answers carry the word as well.
fn serve(sandbox: &Sandbox, word: &str) -> Nginx {
    let nginx = Nginx::start(sandbox, 1).unwrap();
    sandbox.write(&format!("www/{word}"), word).unwrap();
    nginx
}

/// Records and counts `traffic` under a selection; waits for so many exchanges on the server's side.
fn watch(sandbox: &Sandbox, arguments: &[&str], expected: u64, name: &str, traffic: impl Fn()) -> Seen {
    let agent = Agent::start(sandbox, arguments).unwrap();
    let recorder = Recorder::start(sandbox, arguments).unwrap();
    traffic();
    let metrics = agent.metrics_until(|metrics| metrics.sum(name, &[]) >= expected).unwrap();
    let (_, text) = redtap_e2e::sandbox::get(agent.port(), "/metrics", "*/*").unwrap();
    agent.stop().unwrap();
    let (file, _) = recorder.stop().unwrap();
    Seen { recording: std::fs::read(file).unwrap(), text, metrics }
}

fn on_both_rungs(proof: impl Fn(&str)) {
    if can_run(&NEEDS) {
        for rung in ["socket", "syscall"] {
            proof(rung);
        }
    }
}

#[test]
fn only_its_own_cgroup() {
    on_both_rungs(|rung| {
        let (own, other) = (Sandbox::new("filters").unwrap(), Sandbox::new("filters").unwrap());
        let (selected, unselected) = (serve(&own, MELON), serve(&other, THISTLE));
        let redis = Redis::start(&other).unwrap();
        let seen = watch(&own, &["--rung", rung], 5, HTTP_SERVER, || {
            ask(&other, &unselected, THISTLE);
            let port = redis.port.to_string();
            other.run("redis-cli", &["-p", &port, "SET", THISTLE, THISTLE]).unwrap();
            ask(&own, &selected, MELON);
        });
        seen.check(rung);
        assert_eq!(seen.metrics.sum(HTTP_SERVER, &[]), 5, "{rung}");
        assert_eq!(seen.metrics.sum(HTTP_CLIENT, &[]), 5, "{rung}");
        assert_eq!(seen.metrics.sum("db_server_operation_duration_seconds_count", &[]), 0, "{rung}");
        assert!(seen.metrics.sum("redtap_kernel_not_selected_total", &[]) > 0, "{rung}: the kernel passed over them");
    });
}

#[test]
fn not_a_denied_cgroup_below_an_allowed_one() {
    on_both_rungs(|rung| {
        let own = Sandbox::new("filters").unwrap();
        let denied = own.below("denied").unwrap();
        let (selected, unselected) = (serve(&own, MELON), serve(&denied, THISTLE));
        let path = denied.cgroup().to_str().unwrap();
        for spelling in [&["--deny-cgroup".to_owned(), path.to_owned()], &["--cgroup".to_owned(), format!("!{path}")]] {
            let seen = watch(&own, &["--rung", rung, &spelling[0], &spelling[1]], 5, HTTP_SERVER, || {
                ask(&denied, &unselected, THISTLE);
                ask(&own, &selected, MELON);
            });
            seen.check(rung);
            assert_eq!(seen.metrics.sum(HTTP_SERVER, &[]), 5, "{rung} {spelling:?}");
            assert_eq!(seen.metrics.sum(HTTP_CLIENT, &[]), 5, "{rung} {spelling:?}");
        }
    });
}

#[test]
fn by_port_allowed_and_denied() {
    on_both_rungs(|rung| {
        let own = Sandbox::new("filters").unwrap();
        let (selected, unselected) = (serve(&own, MELON), {
            let other = own.below("second").unwrap();
            (serve(&other, THISTLE), other)
        });
        for port in [selected.port.to_string(), format!("!{}", unselected.0.port)] {
            let seen = watch(&own, &["--rung", rung, "--port", &port], 5, HTTP_SERVER, || {
                ask(&own, &unselected.0, THISTLE);
                ask(&own, &selected, MELON);
            });
            seen.check(rung);
            assert_eq!(seen.metrics.sum(HTTP_SERVER, &[]), 5, "{rung} --port {port}");
            assert_eq!(seen.metrics.sum(HTTP_CLIENT, &[]), 5, "{rung} --port {port}");
        }
    });
}

#[test]
fn by_process_allowed_and_denied() {
    on_both_rungs(|rung| {
        let own = Sandbox::new("filters").unwrap();
        let nginx = serve(&own, MELON);
        let redis = Redis::start(&own).unwrap();
        let port = redis.port.to_string();
        let plant = || {
            own.run("redis-cli", &["-p", &port, "SET", THISTLE, THISTLE]).unwrap();
            own.run("redis-cli", &["-p", &port, "GET", THISTLE]).unwrap();
        };
        let seen = watch(&own, &["--rung", rung, "--process", "nginx"], 5, HTTP_SERVER, || {
            plant();
            ask(&own, &nginx, MELON);
        });
        seen.check(rung);
        assert_eq!(seen.metrics.sum(HTTP_SERVER, &[]), 5, "{rung}");
        assert_eq!(seen.metrics.sum(HTTP_CLIENT, &[]), 0, "{rung}: curl is not nginx");

        let denied = ["--rung", rung, "--process", "!redis-server", "--process", "!redis-cli"];
        let seen = watch(&own, &denied, 5, HTTP_SERVER, || {
            plant();
            ask(&own, &nginx, MELON);
        });
        seen.check(rung);
        assert_eq!(seen.metrics.sum(HTTP_CLIENT, &[]), 5, "{rung}: curl is not denied");
        assert_eq!(seen.metrics.sum("db_client_operation_duration_seconds_count", &[]), 0, "{rung}");

        // By number: one server, not the processes that ask it.
        let pid = redis.pid().to_string();
        let name = "db_server_operation_duration_seconds_count";
        let seen = watch(&own, &["--rung", rung, "--process", &pid], 1, name, || {
            ask(&own, &nginx, THISTLE);
            own.run("redis-cli", &["-p", &port, "SET", MELON, MELON]).unwrap();
        });
        assert_eq!(seen.holds(THISTLE), (false, false), "{rung}");
        // A key is payload: recorded, and not in the metrics.
        assert_eq!(seen.holds(MELON), (true, false), "{rung}");
        assert_eq!(seen.metrics.by(name, &[], &["db_operation_name"]).get(&vec!["SET".to_owned()]), Some(&1), "{rung}");
        assert_eq!(seen.metrics.sum("db_client_operation_duration_seconds_count", &[]), 0, "{rung}");
    });
}

#[test]
fn the_agent_does_not_count_itself() {
    on_both_rungs(|rung| {
        let own = Sandbox::new("filters").unwrap();
        let agent = Agent::start_inside(&own, &["--rung", rung]).unwrap();
        for _ in 0..10 {
            agent.metrics().unwrap();
        }
        // The caller is another process of the cgroup, and counted as such.
        let url = format!("http://127.0.0.1:{}/metrics?of=[1-7]", agent.port());
        own.run("curl", &["-s", "-o", "/dev/null", &url]).unwrap();
        let metrics = agent.metrics_until(|metrics| metrics.sum(HTTP_CLIENT, &[]) >= 7).unwrap();
        assert_eq!(metrics.sum(HTTP_CLIENT, &[("service_name", "curl"), ("http_route", "/metrics")]), 7, "{rung}");
        assert_eq!(metrics.sum(HTTP_CLIENT, &[]), 7, "{rung}");
        assert_eq!(metrics.sum(HTTP_SERVER, &[]), 0, "{rung}: its answers");
        agent.stop().unwrap();
    });
}
