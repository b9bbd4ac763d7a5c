//! Alarms reach a real Alertmanager and a webhook: once each, also over a restart of the agent and a receiver that is down;
//! the same rules hold in Prometheus (promtool).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::certificates::Certificates;
use redtap_e2e::cli::redtap;
use redtap_e2e::sandbox::{Proc, Sandbox, free_port, get};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::webhook::Webhook;
use serde_json::Value;
use std::time::Duration;

/// Status of every alarm that a webhook was told of, in order.
fn told(hook: &Webhook) -> Vec<String> {
    let bodies = hook.bodies().unwrap();
    let alarms = bodies.iter().flat_map(|body| body["alarms"].as_array().unwrap().clone());
    alarms.map(|alarm| alarm["status"].as_str().unwrap().to_owned()).collect()
}

fn alertmanager(sandbox: &Sandbox, port: u16) -> Proc {
    alertmanager_with(sandbox, port, &[])
}

fn alertmanager_with(sandbox: &Sandbox, port: u16, more: &[&str]) -> Proc {
    let config = "route: {receiver: none, group_wait: 1s}\nreceivers: [{name: none}]\n";
    let config = sandbox.write("am.yml", config).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", sandbox.folder().join("am").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
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
    let am = free_port().unwrap();
    let manager = alertmanager(&apart, am);
    // The first two tries fail: it is sent again.
    let (hook, slack) = (Webhook::start(2).unwrap(), Webhook::start(0).unwrap());
    let (hook_port, slack_port) = (hook.port, slack.port);
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
    ask_until(&sandbox, &nginx, "/broken", 10, || told(&hook) == ["firing"]);
    let took = ask_until(&sandbox, &nginx, "/", 40, || active(am).is_empty());
    // The window of 10 s and a third of a second, `keep_firing_for`, interval, registry.
    assert!(took <= 25, "resolved after {took} s");
    ask_until(&sandbox, &nginx, "/", 10, || told(&hook) == ["firing", "resolved"]);
    let bodies = slack.bodies().unwrap();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(bodies[0]["attachments"][0]["title"], "[firing] Failing nginx");

    // Again; with another agent in the middle of it.
    ask_until(&sandbox, &nginx, "/broken", 20, || active(am).len() == 1 && told(&hook).len() == 3);
    let before = alarms(&agent)["firing"][0].clone();
    agent.stop().unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    ask_until(&sandbox, &nginx, "/broken", 10, || alarms(&agent)["firing"].as_array().unwrap().len() == 1);
    let after = &alarms(&agent)["firing"][0];
    assert_eq!((&after["since"], &after["labels"]), (&before["since"], &before["labels"]));
    assert_eq!(told(&hook), ["firing", "resolved", "firing"], "nothing is told twice");
    assert_eq!(active(am).len(), 1);

    // It ends while Alertmanager is down.
    manager.stop().unwrap();
    ask_until(&sandbox, &nginx, "/", 40, || alarms(&agent)["history"].as_array().unwrap().len() == 2);
    ask_until(&sandbox, &nginx, "/", 10, || told(&hook).len() == 4);
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
    assert_eq!(told(&hook), ["firing", "resolved", "firing", "resolved"]);
    let log = agent.stop().unwrap();
    assert!(!log.contains("/secret"), "an address of Slack is a secret: {log}");
    drop(manager);
}

/// `hush-alarm` as Alertmanager keeps it (bcrypt).
const BCRYPT: &str = "$2b$04$HmqeMctY0WTFUpxeqH8HKuLqieaLH.HMvquCZb2/qUwdhqTr7ITQe";

#[test]
fn receivers_are_told_over_tls_with_what_they_want_to_see() {
    if !can_run(&["nginx", "curl", "timeout", "openssl", "prometheus-alertmanager"]) {
        return;
    }
    let (sandbox, apart) = (Sandbox::new("alarms").unwrap(), Sandbox::new("alertmanager").unwrap());
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let tls = Certificates::make(&apart).unwrap();
    let (ca, certificate, key) =
        (tls.ca.display().to_string(), tls.certificate.display().to_string(), tls.key.display().to_string());
    let web = format!(
        "tls_server_config: {{cert_file: '{certificate}', key_file: '{key}', client_auth_type: RequireAndVerifyClientCert, \
         client_ca_file: '{ca}'}}\nbasic_auth_users: {{agent: '{BCRYPT}'}}\n"
    );
    let web = format!("--web.config.file={}", apart.write("web.yml", &web).unwrap().display());
    let am = free_port().unwrap();
    let manager = alertmanager_with(&apart, am, &[&web]);
    let hook = Webhook::start(0).unwrap();
    let identity = |kind: &str| {
        format!(
            "{kind}_tls_ca_file = \"{ca}\"\n{kind}_tls_cert_file = \"{certificate}\"\n{kind}_tls_key_file = \"{key}\"\n"
        )
    };
    // What Slack's form is sent to takes our certificate, but wants a password that it does not get.
    let config = format!(
        "[alarms]\ninterval = \"1s\"\nalertmanagers = [\"https://127.0.0.1:{am}\"]\n\
         webhooks = [\"http://127.0.0.1:{port}/hush-hook\"]\nslack = [\"https://127.0.0.1:{am}/hush-slack-path\"]\n{}{}\
         alertmanager_tls_server_name = \"localhost\"\n\
         alertmanager_basic_user = \"agent\"\nalertmanager_basic_password = \"hush-alarm\"\n\
         webhook_bearer_token = \"hush-token\"\noff = [\"RedtapNewError\"]\n[alarms.webhook_headers]\nX-Tenant = \"hush-tenant\"\n\
         [alarms.rules.Failing]\nkind = \"error_ratio\"\nwindow = \"10s\"\nmin_requests = 5\nfor = \"0s\"\n",
        identity("alertmanager"),
        identity("slack"),
        port = hook.port
    );
    let file = sandbox.write("redtap.toml", &config).unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let sum = |what: &str, exporter: &str| {
        agent.metrics().unwrap().sum(&format!("redtap_export_{what}_total"), &[("exporter", exporter)])
    };
    ask_until(&sandbox, &nginx, "/broken", 20, || {
        sum("delivered", "alertmanager") > 0 && sum("delivered", "webhook") > 0 && sum("undelivered", "slack") > 0
    });
    let alerts = format!("https://localhost:{am}/api/v2/alerts?active=true");
    let ask = ["-s", "--cacert", &ca, "--cert", &certificate, "--key", &key, "-u", "agent:hush-alarm", &alerts];
    let alerts: Value = serde_json::from_str(&apart.run_outside("curl", &ask).unwrap()).unwrap();
    assert_eq!(alerts[0]["labels"]["alertname"], "Failing", "{alerts}");
    let head = hook.requests()[0].0.to_ascii_lowercase();
    assert!(head.starts_with("post /hush-hook http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer hush-token") && head.contains("x-tenant: hush-tenant"), "{head}");
    let shown = redtap(sandbox.folder(), &["config", "--config", file.to_str().unwrap()]).unwrap();
    assert!(shown.out.contains("# alertmanager_basic_password = (hidden)"), "{}", shown.out);
    let log = agent.stop().unwrap();
    assert!(log.contains("this receiver refuses alarms"), "{log}");
    assert!(!log.contains("hush") && !shown.out.contains("hush"), "{log}{}", shown.out);
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
