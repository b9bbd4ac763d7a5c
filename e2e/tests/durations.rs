//! Claim 3: durations are what the client measured, within 1 ms or 2 %.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::apps::{App, Language};

/// Mean duration by the histogram's own sum and count, seconds.
fn mean(metrics: &Metrics, side: &str, route: &str) -> f64 {
    let value = |suffix: &str| -> f64 {
        let name = format!("http_{side}_request_duration_seconds_{suffix}");
        metrics.samples.iter().filter(|s| s.name == name && s.label("http_route") == route).map(|s| s.value).sum()
    };
    value("sum") / value("count")
}

fn close(seen: f64, measured: f64) -> bool {
    (seen - measured).abs() <= f64::max(0.001, measured * 0.02)
}

#[test]
fn sleeping_and_trickling_answers() {
    if !can_run(&["python3", "curl"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let sandbox = Sandbox::new("durations").unwrap();
        let app = App::start(&sandbox, Language::Python).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let mut measured = Vec::new();
        for (path, route) in [
            ("/sleep/5", "/sleep/{id}"),
            ("/sleep/50", "/sleep/{id}"),
            ("/sleep/500", "/sleep/{id}"),
            ("/trickle", "/trickle"),
        ] {
            let count = |metrics: &Metrics| metrics.sum("http_client_request_duration_seconds_count", &[]);
            let before = agent.metrics().unwrap();
            // From the first byte sent (pretransfer) to the last byte received, as curl's own clock has it.
            let text = sandbox
                .run("curl", &["-s", "-o", "/dev/null", "-w", "%{time_pretransfer} %{time_total}", &app.url(path)])
                .unwrap();
            let times: Vec<f64> = text.split(' ').map(|time| time.parse().unwrap()).collect();
            let seconds = times[1] - times[0];
            let after = agent.metrics_until(|metrics| count(metrics) > count(&before)).unwrap();
            let gained = |side: &str| {
                let of = |metrics: &Metrics, suffix: &str| -> f64 {
                    let name = format!("http_{side}_request_duration_seconds_{suffix}");
                    metrics.samples.iter().filter(|s| s.name == name).map(|s| s.value).sum()
                };
                of(&after, "sum") - of(&before, "sum")
            };
            for side in ["client", "server"] {
                let seen = gained(side);
                assert!(close(seen, seconds), "{rung}: {path}, {side}: saw {seen} s, curl measured {seconds} s");
            }
            measured.push((route, seconds));
        }
        let metrics = agent.metrics().unwrap();
        assert!(mean(&metrics, "server", "/trickle") > 0.99, "{rung}: the whole body counts");
        agent.stop().unwrap();
    }
}
