//! What the agent shows holds nothing that the traffic keeps to itself: secrets are planted in headers, bodies, queries, literals
//! and values of real traffic, and every output is searched for them. And who may ask.
//!
//! A new output belongs into [`outputs`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use redtap_e2e::agent::{Agent, binary};
use redtap_e2e::cli::{Tail, redtap};
use redtap_e2e::clients::Kit;
use redtap_e2e::clients::sql::PASSWORD;
use redtap_e2e::sandbox::{Sandbox, free_port, get};
use redtap_e2e::servers::mariadb::Mariadb;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::otel_collector::OtelCollector;
use redtap_e2e::servers::redis::Redis;
use redtap_e2e::servers::store::{Product, Store};
use redtap_e2e::servers::webhook::Webhook;
use redtap_e2e::{can_run, can_run_with};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// What must not be found, by where it is planted.
const SECRETS: [(&str, &str); 13] = [
    ("an HTTP header", "hush-header-7f3a"),
    ("a cookie", "hush-cookie-7f3a"),
    ("a bearer token", "hush-bearer-7f3a"),
    // user:hush-basic-7f3a
    ("basic credentials", "dXNlcjpodXNoLWJhc2ljLTdmM2E"),
    ("a body", "hush-body-7f3a"),
    ("a query string", "hush-query-7f3a"),
    ("an SQL literal", "hush-literal-7f3a"),
    ("a number in SQL", "7730418841"),
    ("a Redis value", "hush-value-7f3a"),
    ("a Redis password", "hush-auth-7f3a"),
    ("a header of the configuration", "hush-config-7f3a"),
    ("the address of a webhook", "hush-hook-7f3a"),
    ("the query of an address of the configuration", "hush-url-7f3a"),
];

/// Everything that the agent sends to, and two who watch: none of it is watched itself.
struct Beside {
    sandbox: Sandbox,
    store: Store,
    collector: OtelCollector,
    hook: Webhook,
}

impl Beside {
    fn start() -> Self {
        let sandbox = Sandbox::new("surface-beside").unwrap();
        let store = Store::start(&sandbox, Product::Prometheus).unwrap();
        let collector = OtelCollector::start(&sandbox).unwrap();
        Self { sandbox, store, collector, hook: Webhook::start(0).unwrap() }
    }

    /// A configuration that sends everything there is, at once, and alarms of every error.
    fn config(&self) -> String {
        format!(
            "[log]\nlevel = \"trace\"\n[history]\npath = \"history\"\n\
             [remote_write]\nurl = \"{}?key=hush-url-7f3a\"\ninterval = \"1s\"\nspool = \"spool\"\n\
             [otlp]\nprotocol = \"grpc\"\nendpoint = \"http://127.0.0.1:{}\"\ninterval = \"1s\"\ntraces_ratio = \"100%\"\n\
             [otlp.headers]\nx-key = \"hush-config-7f3a\"\n\
             [alarms]\ninterval = \"1s\"\nstate = \"alarms.json\"\nwebhooks = [\"http://127.0.0.1:{}/hush-hook-7f3a\"]\n\
             [alarms.rules.Failing]\nkind = \"error_ratio\"\nper = \"endpoint\"\nthreshold = \"1%\"\nmin_requests = 1\nfor = \"0s\"\n",
            self.store.write_url(),
            self.collector.grpc_port,
            self.hook.port
        )
    }

    /// What they have by now; none until all of them have something of the traffic that was planted.
    fn received(&self) -> Option<BTreeMap<String, String>> {
        let series = self.store.query("{__name__=~\".+\"}").unwrap();
        let series = series.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let otlp = std::fs::read_to_string(&self.collector.file).unwrap_or_default();
        let told = self.hook.requests().into_iter().map(|(_, body)| body).collect::<Vec<_>>().join("\n");
        let there = series.contains("INSERT item")
            && ["/users/{id}", "INSERT item", "resourceSpans", "resourceMetrics"].iter().all(|one| otlp.contains(one))
            && ["/broken", "mariadbd", "redis-server"].iter().all(|one| told.contains(one));
        let all = [("remote write", series), ("OTLP", otlp), ("the webhook's bodies", told)];
        there.then(|| all.map(|(name, text)| (name.to_owned(), text)).into())
    }
}

/// Everything that the agent shows, by name.
fn outputs(agent: &Agent, sandbox: &Sandbox) -> BTreeMap<String, String> {
    let fetch = |path: &str, accept: &str| {
        let (status, body) = get(agent.port(), path, accept).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let mut all = BTreeMap::new();
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/services", "/api/v1/topology"] {
        all.insert(path.to_owned(), fetch(path, "*/*"));
    }
    all.insert("OpenMetrics".to_owned(), fetch("/metrics", "application/openmetrics-text;version=1.0.0"));
    let services: serde_json::Value = serde_json::from_str(&all["/api/v1/services"]).unwrap();
    for row in services["services"].as_array().unwrap() {
        let path = format!("/api/v1/services/{}", row["service"].as_str().unwrap());
        let body = fetch(&path, "*/*");
        all.insert(path, body);
    }
    all.insert("the log".to_owned(), agent.log());
    let history = std::fs::read(sandbox.folder().join("history")).unwrap_or_default();
    all.insert("the history's file".to_owned(), String::from_utf8_lossy(&history).into_owned());
    all
}

fn plant(sandbox: &Sandbox, nginx: &Nginx, redis: &Redis, mariadb: &Mariadb) {
    let curl = |arguments: &[&str], path: &str| {
        let url = nginx.url(path);
        let mut all = vec!["-s", "-o", "/dev/null"];
        all.extend(arguments);
        all.push(&url);
        sandbox.run("curl", &all).unwrap();
    };
    curl(&["-H", "X-Api-Key: hush-header-7f3a", "-b", "session=hush-cookie-7f3a"], "/users/1");
    curl(&["-H", "Authorization: Bearer hush-bearer-7f3a"], "/users/1");
    curl(&["-u", "user:hush-basic-7f3a"], "/users/1");
    curl(&["-d", "password=hush-body-7f3a"], "/broken");
    curl(&[], "/users/1?token=hush-query-7f3a");
    let port = redis.port.to_string();
    let said = |command: &[&str]| {
        let mut all = vec!["-p", port.as_str()];
        all.extend(command);
        sandbox.run_any("redis-cli", &all).unwrap();
    };
    said(&["SET", "planted", "hush-value-7f3a"]);
    said(&["AUTH", "hush-auth-7f3a"]);
    said(&["EVAL", "return redis.call('SET', KEYS[1], 'hush-value-7f3a')", "1", "planted"]);
    // An error that quotes what was sent.
    said(&["hush-value-7f3a", "x"]);
    let (port, pass) = (mariadb.port.to_string(), format!("-p{PASSWORD}"));
    for (works, sql) in [
        (true, "INSERT INTO item (id, name, body) VALUES (1, 'hush-literal-7f3a', \"hush-literal-7f3a\")"),
        (true, "SELECT * FROM item WHERE name = 'hush-literal-7f3a' AND id < 7730418841"),
        (false, "SELECT 'hush-literal-7f3a' FROM nowhere"),
        (false, "SELECT FROM 'hush-literal-7f3a'"),
    ] {
        let login = ["--no-defaults", "--skip-ssl", "-h127.0.0.1", "-P", &port, "-uapp", &pass];
        let done = sandbox.run_any("mariadb", &[&login[..], &["shop", "-e", sql]].concat()).unwrap();
        assert_eq!(done.status.success(), works, "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn no_secret_of_the_traffic_is_in_any_output() {
    let needs = ["nginx", "curl", "redis-server", "redis-cli", "mariadbd", "mariadb"];
    if !can_run_with(&needs, &[Kit::Prometheus, Kit::OtelCollector]) {
        return;
    }
    let sandbox = Sandbox::new("surface").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    let mariadb = Mariadb::start(&sandbox, &["app"]).unwrap();
    let beside = Beside::start();
    let config = sandbox.write("redtap.toml", &beside.config()).unwrap();
    let agent = Agent::start(&sandbox, &["--config", config.to_str().unwrap()]).unwrap();
    let tails = [("text", &[][..]), ("json", &["--json"])]
        .map(|(name, arguments)| (name, Tail::start(&beside.sandbox, &agent, name, arguments).unwrap()));
    plant(&sandbox, &nginx, &redis, &mariadb);
    let metrics = agent
        .metrics_until(|metrics| {
            metrics.sum("http_server_request_duration_seconds_count", &[]) >= 5
                && metrics.sum("db_server_operation_duration_seconds_count", &[("db_system_name", "redis")]) >= 4
                && metrics.sum("db_server_operation_duration_seconds_count", &[("db_operation_name", "SELECT")]) >= 2
        })
        .unwrap();
    // What is not secret is there: it was this traffic that was looked at.
    assert_eq!(metrics.sum("http_server_request_duration_seconds_count", &[("http_route", "/users/{id}")]), 4);
    assert!(metrics.sum("db_server_operation_duration_seconds_count", &[("db_query_summary", "INSERT item")]) >= 1);
    let outputs = (0..50)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(200));
            outputs(&agent, &sandbox)
        })
        .find(|outputs| outputs.contains_key("/api/v1/services/nginx"))
        .expect("the history has what was planted");
    assert!(outputs["/api/v1/services/nginx"].contains("/users/{id}"));
    search(&outputs);
    let received = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(200));
        beside.received()
    });
    let mut received = received.expect("all were sent what was planted");
    for (name, tail) in tails {
        tail.wait_lines(20).unwrap();
        let (_, text) = tail.interrupt().unwrap();
        assert!(text.contains("/users/1") && text.contains("INSERT"), "{text}");
        received.insert(format!("tail as {name}"), text);
    }
    let shown = redtap(sandbox.folder(), &["config", "--config", config.to_str().unwrap()]).unwrap();
    assert!(shown.out.contains("/api/v1/write?(hidden)"), "{}{}", shown.out, shown.err);
    received.insert("redtap config".to_owned(), format!("{}{}", shown.out, shown.err));
    search(&received);
    let folder = sandbox.folder().join("history");
    let log = agent.stop().unwrap();
    let state = std::fs::read_to_string(sandbox.folder().join("alarms.json")).unwrap();
    search(&BTreeMap::from([("the log to its end".to_owned(), log), ("the state of alarms".to_owned(), state)]));
    let history = std::fs::read(folder).unwrap();
    let history = String::from_utf8_lossy(&history).into_owned();
    assert!(history.contains("/users/{id}"), "the history was saved");
    search(&BTreeMap::from([("the history's file".to_owned(), history)]));
}

fn search(outputs: &BTreeMap<String, String>) {
    for (name, text) in outputs {
        for (place, secret) in SECRETS {
            assert!(!text.contains(secret), "{place} is in {name}");
        }
        assert!(!text.contains("7f3a"), "a part of a secret is in {name}");
    }
}

/// The status that curl is answered with.
fn curl(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let mut all = vec!["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"];
    all.extend(arguments);
    sandbox.run_outside("curl", &all).unwrap()
}

/// What `redtap tail` says until the first call, and what it complains of; nginx is asked meanwhile.
fn tail(sandbox: &Sandbox, nginx: &Nginx, arguments: &[&str]) -> (String, String) {
    let mut tail = Command::new("timeout")
        .arg("30")
        .arg(binary())
        .args(["tail", "--json", "--limit", "1"])
        .args(arguments)
        .current_dir(sandbox.folder())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while tail.try_wait().unwrap().is_none() {
        sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url("/")]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = tail.wait_with_output().unwrap();
    (String::from_utf8_lossy(&said.stdout).into_owned(), String::from_utf8_lossy(&said.stderr).into_owned())
}

#[test]
fn listens_on_loopback_unless_told_and_then_asks_for_its_token_over_tls() {
    if !can_run(&["curl", "openssl", "nginx", "script", "stty"]) {
        return;
    }
    let sandbox = Sandbox::new("surface").unwrap();
    let refused = Command::new("timeout")
        .arg("20")
        .arg(binary())
        .args(["run", "--listen", "0.0.0.0:0", "--cgroup", sandbox.cgroup().to_str().unwrap()])
        .current_dir(sandbox.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("http.listen = \"0.0.0.0:0\"") && said.contains("http.allow_remote = true"), "{said}");

    let (cert, key) = (sandbox.folder().join("cert.pem"), sandbox.folder().join("key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    sandbox
        .run_outside(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                // As docs/surface.md says: one that is its own authority may not be a server's (RFC 5280, section 4.2.1.9).
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                key,
                "-out",
                cert,
            ],
        )
        .unwrap();
    sandbox.write("token", "e2e-token-0123456789\n").unwrap();
    sandbox.write("wrong", "e2e-token-0123456788\n").unwrap();
    let config = format!(
        "[http]\nallow_remote = true\ntoken_file = \"token\"\ntls_cert = \"{cert}\"\ntls_key = \"{key}\"\nhosts = [\"redtap.example\"]\n"
    );
    let config = sandbox.write("remote.toml", &config).unwrap();
    let port = free_port().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let log = sandbox.folder().join("remote.log");
    // Ended by the signal below, or by timeout(1), which hands the signal on.
    let mut child = Command::new("timeout")
        .arg("60")
        .arg(binary())
        .args(["run", "--config", config.to_str().unwrap(), "--listen", &listen, "--cgroup"])
        .arg(sandbox.cgroup())
        .current_dir(sandbox.folder())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let log = || std::fs::read_to_string(&log).unwrap();
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let ready = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        Command::new("curl")
            .args(["-s", "-o", "/dev/null", "--fail", "--max-time", "5", "--cacert", cert, &url("/readyz")])
            .status()
            .unwrap()
            .success()
    });
    assert!(ready, "{}", log());
    let bearer = "Authorization: Bearer e2e-token-0123456789";
    let jar = sandbox.folder().join("cookies");
    let jar = jar.to_str().unwrap();
    for (wanted, arguments) in [
        ("200", vec![url("/healthz")]),
        ("401", vec![url("/metrics")]),
        ("401", vec!["-H".into(), "Authorization: Bearer e2e-token-0123456788".into(), url("/metrics")]),
        ("200", vec!["-H".into(), bearer.into(), url("/metrics")]),
        ("200", vec!["-H".into(), bearer.into(), "-H".into(), "Host: redtap.example".into(), url("/metrics")]),
        ("421", vec!["-H".into(), bearer.into(), "-H".into(), "Host: evil.example".into(), url("/metrics")]),
        (
            "200",
            vec!["-L".into(), "-c".into(), jar.into(), "-b".into(), jar.into(), url("/?token=e2e-token-0123456789")],
        ),
        ("200", vec!["-b".into(), jar.into(), url("/api/v1/services")]),
        ("404", vec!["-H".into(), bearer.into(), "--path-as-is".into(), url("/../../etc/passwd")]),
    ] {
        let mut all = vec!["--cacert", cert];
        all.extend(arguments.iter().map(String::as_str));
        assert_eq!(curl(&sandbox, &all), wanted, "{arguments:?}\n{}", log());
    }
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    for (trust, token, wanted) in [
        (cert, "token", Ok("GET")),
        (cert, "wrong", Err("a token is needed")),
        ("/etc/ssl/certs/ca-certificates.crt", "token", Err("its certificate trusted (--ca FILE)")),
    ] {
        let arguments = ["--url", &url(""), "--ca", trust, "--token-file", token];
        let (said, complaint) = tail(&sandbox, &nginx, &arguments);
        match wanted {
            Ok(word) => assert!(said.contains(word), "{said}{complaint}\n{}", log()),
            Err(word) => assert!(said.is_empty() && complaint.contains(word), "{said}{complaint}"),
        }
        assert!(!complaint.contains("e2e-token"), "{complaint}");
    }
    let top = format!("{} top --url {} --ca {cert} --token-file token", binary().display(), url(""));
    let screen = sandbox.folder().join("screen");
    let mut terminal = Command::new("timeout")
        .args(["30", "script", "-qec", &format!("stty rows 24 cols 80; exec {top}"), "/dev/null"])
        .current_dir(sandbox.folder())
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::piped())
        .stdout(std::fs::File::create(&screen).unwrap())
        .spawn()
        .unwrap();
    let shown = || String::from_utf8_lossy(&std::fs::read(&screen).unwrap()).into_owned();
    let seen = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        shown().contains("nginx")
    });
    assert!(seen && shown().contains(&url("")), "{}", shown());
    terminal.stdin.take().unwrap().write_all(b"q").unwrap();
    assert!(terminal.wait().unwrap().success());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success(), "{}", log());
    assert!(!log().contains("e2e-token"), "{}", log());
}
