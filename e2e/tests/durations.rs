//! Claim 3: durations are what the client measured, within 1 ms or 2 %.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::apps::{App, Language};

fn close(seen: f64, measured: f64) -> bool {
    (seen - measured).abs() <= f64::max(0.001, measured * 0.02)
}

/// What one side's histograms gained between two scrapes, seconds.
fn gained(side: &str, before: &Metrics, after: &Metrics) -> f64 {
    let of = |metrics: &Metrics| -> f64 {
        let name = format!("http_{side}_request_duration_seconds_sum");
        metrics.samples.iter().filter(|s| s.name == name).map(|s| s.value).sum()
    };
    of(after) - of(before)
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
        for (path, at_least) in [("/sleep/5", 0.005), ("/sleep/50", 0.05), ("/sleep/500", 0.5), ("/trickle", 1.0)] {
            let mut rounds = Vec::new();
            // Both processes wait for a processor now and then, the client after the kernel handed it the last byte: that is
            // in curl's time and not in the socket's. One undisturbed round of five shows what the agent measures.
            for _ in 0..5 {
                let count = |metrics: &Metrics| metrics.sum("http_client_request_duration_seconds_count", &[]);
                let before = agent.metrics().unwrap();
                // From the first byte sent (pretransfer) to the last byte received, as curl's own clock has it.
                let format = "%{time_pretransfer} %{time_total}";
                let text = sandbox.run("curl", &["-s", "-o", "/dev/null", "-w", format, &app.url(path)]).unwrap();
                let times: Vec<f64> = text.split(' ').map(|time| time.parse().unwrap()).collect();
                let measured = times[1] - times[0];
                let after = agent.metrics_until(|metrics| count(metrics) > count(&before)).unwrap();
                let (client, server) = (gained("client", &before, &after), gained("server", &before, &after));
                // Whatever the noise: the server worked that long, and nobody waited longer than the client.
                assert!(server >= at_least - 0.000_5, "{rung}: {path}: the server worked {at_least} s, saw {server} s");
                assert!(
                    server <= measured + 0.001 && client <= measured + 0.001,
                    "{rung}: {path}: {client} {server} {measured}"
                );
                rounds.push((client, server, measured));
                if close(client, measured) && close(server, measured) {
                    break;
                }
            }
            let (client, server, measured) = *rounds.last().unwrap();
            assert!(
                close(client, measured) && close(server, measured),
                "{rung}: {path}: client, server, curl: {rounds:?}"
            );
        }
        agent.stop().unwrap();
    }
}
