//! Alarms reach a real Alertmanager and a webhook: once each, also over a restart of the agent and a receiver that is down;
//! the same rules hold in Prometheus (promtool).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::cli::redtap;
use redtap_e2e::sandbox::{Proc, Sandbox, free_port, get};
use redtap_e2e::servers::nginx::Nginx;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a webhook was sent.
#[derive(Clone, Default)]
struct Hook(Arc<Mutex<Vec<Value>>>);

impl Hook {
    /// Listens; the first `busy` requests are answered 503.
    fn start(port: u16, mut busy: u32) -> Self {
        let hook = Self::default();
        let told = hook.clone();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
                let body = loop {
                    let Ok(read @ 1..) = stream.read(&mut chunk) else { break None };
                    request.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let head = head.to_ascii_lowercase();
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                    if body.len() >= length.unwrap_or(0) {
                        break Some(body.to_owned());
                    }
                };
                let status = if busy > 0 { "503 Busy" } else { "200 OK" };
                if let (0, Some(body)) = (busy, body) {
                    told.0.lock().unwrap().push(serde_json::from_str(&body).unwrap());
                }
                busy = busy.saturating_sub(1);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        hook
    }

    fn bodies(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }

    /// Status of every alarm that it was told of, in order.
    fn told(&self) -> Vec<String> {
        let bodies = self.bodies();
        let alarms = bodies.iter().flat_map(|body| body["alarms"].as_array().unwrap().clone());
        alarms.map(|alarm| alarm["status"].as_str().unwrap().to_owned()).collect()
    }
}

fn alertmanager(sandbox: &Sandbox, port: u16) -> Proc {
    let config = "route: {receiver: none, group_wait: 1s}\nreceivers: [{name: none}]\n";
    let config = sandbox.write("am.yml", config).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", sandbox.folder().join("am").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    sandbox.start("alertmanager", "prometheus-alertmanager", &arguments).unwrap().wait_port(port).unwrap()
}

/// Alerts that are active there.
fn active(port: u16) -> Vec<Value> {
    let (status, body) = get(port, "/api/v2/alerts?active=true", "application/json").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn alarms(agent: &Agent) -> Value {
    let (status, body) = get(agent.port(), "/api/v1/alarms", "application/json").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Asks nginx ten times a second until `done`, at most for so many rounds of a little over a second; how many it took.
fn ask_until(sandbox: &Sandbox, nginx: &Nginx, path: &str, most: u32, done: impl Fn() -> bool) -> u32 {
    let url = nginx.url(path);
    let mut arguments = vec!["-s"];
    arguments.extend(["-o", "/dev/null", &url].repeat(10));
    for second in 0..most {
        if done() {
            return second;
        }
        sandbox.run("curl", &arguments).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("not within {most} s of {path}");
}

#[test]
fn a_failing_endpoint_is_told_once_and_so_is_its_end() {
    if !can_run(&["nginx", "curl", "timeout", "prometheus-alertmanager"]) {
        return;
    }
    let (sandbox, apart) = (Sandbox::new("alarms").unwrap(), Sandbox::new("alertmanager").unwrap());
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let [am, hook_port, slack_port] = [(); 3].map(|()| free_port().unwrap());
    let manager = alertmanager(&apart, am);
    // The first two tries fail: it is sent again.
    let (hook, slack) = (Hook::start(hook_port, 2), Hook::start(slack_port, 0));
    sandbox
        .write(
            "redtap.toml",
            &format!(
                "[alarms]\ninterval = \"1s\"\nresend = \"10s\"\nstate = \"{}\"\nalertmanagers = [\"http://127.0.0.1:{am}\"]\n\
                 webhooks = [\"http://127.0.0.1:{hook_port}/\"]\nslack = [\"http://127.0.0.1:{slack_port}/secret\"]\n\
                 off = [\"RedtapNewError\", \"RedtapErrorBudgetBurnFast\", \"RedtapErrorBudgetBurnSlow\", \"RedtapRequestsStopped\"]\n\
                 [alarms.rules.Failing]\nkind = \"error_ratio\"\nthreshold = \"20%\"\nwindow = \"10s\"\nmin_requests = 5\n\
                 for = \"2s\"\nkeep_firing_for = \"2s\"\nper = \"endpoint\"\nservice = \"nginx\"\n",
                sandbox.folder().join("alarms.json").display()
            ),
        )
        .unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();

    let took = ask_until(&sandbox, &nginx, "/broken", 20, || !active(am).is_empty());
    // Two seconds of `for`, one of the interval, one of the registry, and what the loop itself takes.
    assert!(took <= 12, "fired after {took} s");
    let alert = active(am)[0].clone();
    assert_eq!(alert["labels"]["alertname"], "Failing");
    assert_eq!(alert["labels"]["endpoint"], "/broken");
    assert_eq!(alert["annotations"]["summary"], "Too many requests fail.");
    ask_until(&sandbox, &nginx, "/broken", 10, || hook.told() == ["firing"]);
    let took = ask_until(&sandbox, &nginx, "/", 40, || active(am).is_empty());
    // The window of 10 s and a third of a second, `keep_firing_for`, interval, registry.
    assert!(took <= 25, "resolved after {took} s");
    ask_until(&sandbox, &nginx, "/", 10, || hook.told() == ["firing", "resolved"]);
    assert_eq!(slack.bodies().len(), 2, "{:?}", slack.bodies());
    assert_eq!(slack.bodies()[0]["attachments"][0]["title"], "[firing] Failing nginx");

    // Again; with another agent in the middle of it.
    ask_until(&sandbox, &nginx, "/broken", 20, || active(am).len() == 1 && hook.told().len() == 3);
    let before = alarms(&agent)["firing"][0].clone();
    agent.stop().unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    ask_until(&sandbox, &nginx, "/broken", 10, || alarms(&agent)["firing"].as_array().unwrap().len() == 1);
    let after = &alarms(&agent)["firing"][0];
    assert_eq!((&after["since"], &after["labels"]), (&before["since"], &before["labels"]));
    assert_eq!(hook.told(), ["firing", "resolved", "firing"], "nothing is told twice");
    assert_eq!(active(am).len(), 1);

    // It ends while Alertmanager is down.
    manager.stop().unwrap();
    ask_until(&sandbox, &nginx, "/", 40, || alarms(&agent)["history"].as_array().unwrap().len() == 2);
    ask_until(&sandbox, &nginx, "/", 10, || hook.told().len() == 4);
    let pending =
        |agent: &Agent| agent.metrics().unwrap().sum("redtap_export_pending", &[("exporter", "alertmanager")]);
    assert_eq!(pending(&agent), 1);
    let manager = alertmanager(&apart, am);
    ask_until(&sandbox, &nginx, "/", 60, || pending(&agent) == 0);
    let (_, counts) = get(am, "/metrics", "text/plain").unwrap();
    let received = redtap_e2e::prometheus::Metrics::parse(&counts);
    assert!(received.sum("alertmanager_alerts_received_total", &[("status", "resolved")]) >= 1);
    let metrics = agent.metrics().unwrap();
    assert_eq!(metrics.sum("redtap_export_undelivered_total", &[]), 0);
    assert!(metrics.sum("redtap_export_retries_total", &[("exporter", "alertmanager")]) >= 1);
    assert_eq!(hook.told(), ["firing", "resolved", "firing", "resolved"]);
    let log = agent.stop().unwrap();
    assert!(!log.contains("/secret"), "an address of Slack is a secret: {log}");
    drop(manager);
}

#[test]
fn prometheus_fires_when_our_own_evaluator_does() {
    if !can_run(&["promtool", "timeout"]) {
        return;
    }
    let sandbox = Sandbox::new("rules").unwrap();
    let config = "[alarms.rules.Calls]\nkind = \"burn\"\nside = \"called\"\nper = \"endpoint\"\nobjective = \"99%\"\nfactor = 10\n\
                  service = \"sh.p*\"\nlabels = {team = \"web\"}\nannotations = {runbook_url = \"http://x/{{ service }}\"}\n\
                  [alarms.rules.RedtapHighLatency]\nper = \"endpoint\"\nthreshold = \"250ms\"\nquantile = 0.9\n";
    for config in ["", config] {
        let file = sandbox.write("redtap.toml", config).unwrap();
        let rules = |format: &str| {
            let said =
                redtap(sandbox.folder(), &["rules", "--format", format, "--config", file.to_str().unwrap()]).unwrap();
            assert_eq!(said.code, Some(0), "{}", said.err);
            said.out
        };
        sandbox.write("redtap.rules.yml", &rules("prometheus")).unwrap();
        let test = rules("promtool-test");
        // Every rule is asked about: before, when it fires, until it ends, after.
        for rule in rules("prometheus").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            let (_, own) = test.split_once(&format!("    name: \"{rule}\"\n")).unwrap();
            let own = own.split("    name: ").next().unwrap();
            assert_eq!((own.matches("- expr:").count(), own.matches("exp_alerts").count()), (4, 1), "{rule}");
        }
        sandbox.write("test.yml", &test).unwrap();
        sandbox.run_outside("promtool", &["check", "rules", "redtap.rules.yml"]).unwrap();
        sandbox.run_outside("promtool", &["test", "rules", "test.yml"]).unwrap();
        // The check can fail: with another threshold the same test does.
        let changed = rules("prometheus").replace("> 0.05)", "> 1.5)");
        sandbox.write("redtap.rules.yml", &changed).unwrap();
        assert!(sandbox.run_outside("promtool", &["test", "rules", "test.yml"]).is_err());
        assert!(rules("prometheusrule").contains("kind: PrometheusRule\n"));
    }
}
