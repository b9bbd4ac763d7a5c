//! Claim: the agent keeps its own budget of processor time. An overload drives it down all steps in their order, each of which
//! is said; what it counts then is an estimate that says so and is close; and when the load is gone it comes back up, step by
//! step, to exact counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::nginx::Nginx;
use std::time::Duration;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";
/// As it is shipped. Any load below takes several times as much (15 % and more at the last step, on two slow processors), and what the agent
/// uses on its own while it is asked for its steps every second (0.3 to 0.9 %) is well below the four fifths at which it comes back up.
const BUDGET: &str = "2%";
/// A sample of one connection in 16, of at least 10,000 connections, is off by 3.9 % of a standard deviation at most; five of
/// these and more are granted.
const TOLERANCE: f64 = 0.2;
const STEPS: [&str; 7] = ["full", "short_capture", "mute_unknown", "sample_2", "sample_4", "sample_8", "sample_16"];

fn step(agent: &Agent) -> usize {
    let status = agent.status().unwrap();
    let step = usize::try_from(status["governor"]["step"].as_u64().unwrap()).unwrap();
    assert_eq!(status["governor"]["step_name"], STEPS[step], "{status}");
    step
}

/// Watches the steps until `last` is reached, at most `seconds`; all that were seen, in order.
fn steps_until(agent: &Agent, last: usize, seconds: u64) -> Vec<usize> {
    let mut seen = vec![step(agent)];
    for _ in 0..seconds {
        let now = step(agent);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if now == last {
            return seen;
        }
        // A step is taken every three seconds at most; what is asked for is part of what the agent uses.
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("not at step {last} after {seconds} s, but went {seen:?}: {}", agent.status().unwrap()["governor"]);
}

/// Requests on a connection each, until dropped.
struct Load {
    client: std::process::Child,
}

impl Load {
    /// From inside of the sandbox both ends are watched.
    fn start(sandbox: &Sandbox, inside: bool, url: &str, more: &[&str]) -> Self {
        let mut arguments = vec!["-t", "1", "-c", "64", "-d", "100s"];
        arguments.extend(more);
        arguments.push(url);
        let mut command = if inside {
            sandbox.command("wrk", &arguments).unwrap()
        } else {
            let mut command = std::process::Command::new(redtap_e2e::sandbox::find("wrk").unwrap());
            command.args(arguments).current_dir(sandbox.folder());
            command
        };
        Self { client: command.stdout(std::process::Stdio::null()).spawn().unwrap() }
    }

    fn stop(mut self) {
        self.client.kill().unwrap();
        self.client.wait().unwrap();
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test")]
fn off_by(estimate: u64, truth: u64) -> f64 {
    (estimate as f64 - truth as f64).abs() / truth as f64
}

#[test]
fn an_overload_drives_it_down_all_steps_and_its_end_lets_it_come_back() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    let sandbox = Sandbox::new("governor").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let agent = Agent::start(&sandbox, &["--rung", "socket", "--governor-cpu", BUDGET]).unwrap();
    let load = Load::start(&sandbox, false, &nginx.url("/static/a.html"), &["-H", "Connection: close"]);
    assert_eq!(steps_until(&agent, 6, 60), [0, 1, 2, 3, 4, 5, 6]);
    let before = nginx.answered().unwrap().values().sum::<u64>();
    // Sampled at one in 16, until there are connections enough for the tolerance.
    let mut answered = before;
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(100));
        answered = nginx.answered().unwrap().values().sum();
        if answered >= before + 10_000 {
            break;
        }
    }
    let sampled = agent.metrics().unwrap();
    assert_eq!(sampled.sum("redtap_governor_step", &[]), 6);
    assert_eq!(sampled.matching("redtap_sampling_ratio", &[]).next().unwrap().value, 1.0 / 16.0);
    load.stop();
    assert!(answered >= before + 10_000, "{before} before and {answered} in all are too few connections");

    // A last publication, then everything adds up: what the series hold was seen, or stands for what was not.
    std::thread::sleep(Duration::from_secs(3));
    let answered: u64 = nginx.answered().unwrap().values().sum();
    let metrics = agent.metrics().unwrap();
    let status = agent.status().unwrap();
    let counted = metrics.sum(HTTP_SERVER, &[]);
    let scaled = &status["scaled"];
    eprintln!(
        "nginx {answered}, counted {counted}, off by {:.2} %: {scaled} {}",
        100.0 * off_by(counted, answered),
        status["governor"]
    );
    assert_eq!(counted, scaled["delivered"].as_u64().unwrap() + scaled["extrapolated"].as_u64().unwrap());
    assert_eq!(metrics.sum("redtap_extrapolated_exchanges_total", &[]), scaled["extrapolated"].as_u64().unwrap());
    assert!(metrics.sum("redtap_scaled_exchanges_total", &[]) > 500, "{scaled}");
    assert!(metrics.sum("redtap_kernel_sampled_turns_total", &[]) > answered / 2, "most turns went by unseen");
    assert_eq!(status["conservation"]["balanced"], true, "{status}");
    assert!(off_by(counted, answered) < TOLERANCE, "nginx answered {answered}, counted {counted}: {scaled}");
    let exchanges = &status["conservation"]["exchanges"];
    assert_eq!(exchanges["missed"], 0, "what is left out is not missed: {exchanges}");
    // Clients that were ended in the middle of a request are the only ones without an answer.
    let failed = metrics.sum(HTTP_SERVER, &[("error_type", "timeout")]);
    assert_eq!(failed, 0, "what is left out does not look like a failure");

    // Back up, one step after the other.
    assert_eq!(steps_until(&agent, 0, 150), [6, 5, 4, 3, 2, 1, 0]);
    let log = agent.log();
    let up = agent.metrics().unwrap();
    assert_eq!(up.matching("redtap_sampling_ratio", &[]).next().unwrap().value, 1.0);
    for (direction, count) in [("down", 6), ("up", 6)] {
        assert_eq!(up.sum("redtap_governor_steps_total", &[("direction", direction)]), count);
    }
    // Exact again.
    let before = up.sum(HTTP_SERVER, &[]);
    for _ in 0..200 {
        redtap_e2e::sandbox::get(nginx.port, "/users/7", "*/*").unwrap();
    }
    let after = agent.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= before + 200).unwrap();
    assert_eq!(after.sum(HTTP_SERVER, &[]), before + 200);

    let end = agent.stop().unwrap();
    assert!(end.contains("balanced=true"), "{end}");
    let said = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((said("one step down"), said("one step up")), (6, 6), "{log}");
    for pair in STEPS.windows(2) {
        let (upper, lower) = (pair[0], pair[1]);
        assert_eq!(said(&format!("from=\"{upper}\" to=\"{lower}\"")), 1, "{log}");
        assert_eq!(said(&format!("from=\"{lower}\" to=\"{upper}\"")), 1, "{log}");
    }
}

/// Connections that last are left out while they last, and both ends of one are followed or none is.
#[test]
fn both_ends_of_a_connection_that_lasts_are_in_the_same_sample() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let sandbox = Sandbox::new("governor").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung, "--governor-cpu", BUDGET]).unwrap();
        let load = Load::start(&sandbox, true, &nginx.url("/static/a.html"), &[]);
        steps_until(&agent, 5, 60);
        // From here on only what the sample holds is counted.
        std::thread::sleep(Duration::from_secs(2));
        let before = agent.metrics().unwrap();
        std::thread::sleep(Duration::from_secs(10));
        load.stop();
        std::thread::sleep(Duration::from_secs(3));
        let after = agent.metrics().unwrap();
        let gained = |name| after.sum(name, &[]) - before.sum(name, &[]);
        let (server, client) = (gained(HTTP_SERVER), gained(HTTP_CLIENT));
        eprintln!("{rung}: server {server}, client {client}");
        assert!(server > 0, "{rung}: of 64 connections none is in the sample");
        assert!(off_by(client, server) < 0.05, "{rung}: server {server}, client {client}");
        let status = agent.status().unwrap();
        assert_eq!(status["conservation"]["balanced"], true, "{status}");
        for name in [HTTP_SERVER, HTTP_CLIENT] {
            assert_eq!(after.sum(name, &[("error_type", "timeout")]), 0, "{rung}");
        }
        agent.stop().unwrap();
    }
}

#[test]
fn without_a_budget_it_never_steps() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    for off in ["0", "off"] {
        let sandbox = Sandbox::new("governor").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let agent = Agent::start(&sandbox, &["--governor-cpu", off]).unwrap();
        sandbox.run_outside("wrk", &["-t", "1", "-c", "64", "-d", "8s", &nginx.url("/static/a.html")]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let answered: u64 = nginx.answered().unwrap().values().sum();
        let missed = |metrics: &redtap_e2e::prometheus::Metrics| metrics.sum("redtap_exchanges_missed_total", &[]);
        let metrics =
            agent.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) + missed(metrics) >= answered).unwrap();
        assert_eq!(metrics.sum(HTTP_SERVER, &[]) + missed(&metrics), answered);
        assert_eq!(metrics.sum("redtap_governor_steps_total", &[]), 0);
        assert_eq!(metrics.sum("redtap_extrapolated_exchanges_total", &[]), 0);
        let status = agent.status().unwrap();
        assert_eq!((&status["governor"]["enabled"], &status["governor"]["step"]), (&false.into(), &0.into()));
        assert!(!agent.stop().unwrap().contains("one step"));
    }
}
