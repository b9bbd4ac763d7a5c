//! Claim: what a real Prometheus and a real VictoriaMetrics hold after remote write is what the agent itself shows: over
//! kills of both, nothing lost, nothing twice, in order, and ended series are known to have ended.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::{Agent, binary};
use redtap_e2e::can_run_with;
use redtap_e2e::certificates::Certificates;
use redtap_e2e::clients::Kit;
use redtap_e2e::prometheus::{Metrics, Sample};
use redtap_e2e::sandbox::{Proc, Sandbox, free_port};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::otel_collector::OtelCollector;
use redtap_e2e::servers::store::{Product, Store};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const COUNT: &str = "http_server_request_duration_seconds_count";
/// Cases of the compliance suite with their steps: fewer, and some were not run.
const CASES: usize = 34;
const TRAFFIC: &str = "{__name__=~\"(http_server|http_client|traces).+(_count|_sum|_bucket|_total)\"}";

/// nginx in a cgroup that is watched, a store in one that is not.
struct Ground {
    watched: Sandbox,
    beside: Sandbox,
    nginx: Nginx,
    store: Store,
}

impl Ground {
    fn new(product: Product) -> Self {
        let (watched, beside) = (Sandbox::new("write").unwrap(), Sandbox::new("store").unwrap());
        let nginx = Nginx::start(&watched, 1).unwrap();
        let store = Store::start(&beside, product).unwrap();
        Self { watched, beside, nginx, store }
    }

    /// Starts the agent with these further lines in its section.
    fn agent(&self, lines: &str) -> Agent {
        let url = self.store.write_url();
        let config = format!("[remote_write]\nurl = \"{url}\"\ninterval = \"1s\"\ntimeout = \"5s\"\n{lines}\n");
        self.watched.write("redtap.toml", &config).unwrap();
        Agent::start(&self.watched, &[]).unwrap()
    }

    fn load(&self) {
        self.watched.run("wrk", &["-t", "1", "-c", "4", "-d", "1s", &self.nginx.url("/static/a.html")]).unwrap();
    }

    /// What the agent shows once it has counted everything that nginx answered since `before`.
    fn counted(&self, agent: &Agent, before: u64) -> (Metrics, u64) {
        let answered = || self.nginx.answered().unwrap().values().sum::<u64>();
        let metrics = agent.metrics_until(|metrics| metrics.sum(COUNT, &[]) >= answered() - before).unwrap();
        // The last lines are written after their answers.
        let all = answered();
        assert_eq!(metrics.sum(COUNT, &[]), all - before);
        (metrics, all)
    }

    /// Waits until the store holds what the agent shows, at most 40 s.
    fn wait_stored(&self, wanted: u64) {
        wait(
            || self.store.value(&format!("sum({COUNT})")).unwrap() == Some(wanted as f64),
            || format!("{:?} instead of {wanted}", self.store.value(&format!("sum({COUNT})"))),
        );
    }

    /// Waits until each traffic series that the agent shows is stored with that value and those labels, and no other is.
    fn compare(&self, shown: &Metrics) {
        let all: Vec<_> = shown.samples.iter().filter(|sample| is_traffic(sample)).collect();
        assert!(all.len() > 20, "{all:?}");
        let differing = || {
            let stored = self.store.query(TRAFFIC).unwrap();
            let is_stored = |sample: &&&Sample| {
                let found: Vec<_> = stored.iter().filter(|one| is_of(one, sample)).collect();
                let value = |one: &Value| one["value"][1].as_str().unwrap().parse::<f64>().unwrap();
                found.len() == 1 && (value(found[0]) - sample.value).abs() <= sample.value * 1e-12
            };
            let missing: Vec<_> = all.iter().filter(|sample| !is_stored(sample)).collect();
            (missing.len(), stored.len(), format!("{missing:?} in {stored:?}"))
        };
        wait(|| matches!(differing(), (0, stored, _) if stored == all.len()), || differing().2);
    }
}

fn is_traffic(sample: &Sample) -> bool {
    ["http_server", "http_client", "traces"].iter().any(|start| sample.name.starts_with(start))
        && ["_count", "_sum", "_bucket", "_total"].iter().any(|end| sample.name.ends_with(end))
}

/// True if a stored series has the name and labels of what is shown, and `job` and `instance` besides.
fn is_of(stored: &Value, shown: &Sample) -> bool {
    let metric = stored["metric"].as_object().unwrap();
    metric["__name__"] == shown.name.as_str()
        && metric["job"] == "redtap"
        && !metric["instance"].as_str().unwrap().is_empty()
        && metric.len() == shown.labels.len() + 3
        && shown.labels.iter().all(|(name, value)| match (name.as_str(), metric.get(name)) {
            ("le", Some(stored)) => stored.as_str().unwrap().parse::<f64>() == value.parse::<f64>(),
            (_, stored) => stored.is_some_and(|stored| stored == value.as_str()),
        })
}

fn wait(done: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    for _ in 0..400 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{}", otherwise());
}

fn ready(kits: &[Kit]) -> bool {
    can_run_with(&["nginx", "wrk"], kits)
}

/// The account of the exporter adds up, and nothing was given up.
fn assert_nothing_lost(metrics: &Metrics) {
    let sum = |name: &str| metrics.sum(name, &[("exporter", "remote_write")]);
    let undelivered = sum("redtap_export_undelivered_total");
    assert_eq!(
        sum("redtap_export_gathered_total"),
        sum("redtap_export_delivered_total") + undelivered + sum("redtap_export_pending")
    );
    assert_eq!(undelivered, 0);
    assert!(sum("redtap_export_delivered_total") > 0);
}

#[test]
fn prometheus_and_the_agent_are_killed_and_nothing_is_lost_or_twice() {
    if !ready(&[Kit::Prometheus]) {
        return;
    }
    let mut ground = Ground::new(Product::Prometheus);
    let lines = "spool = \"spool\"\nshards = 2\nmax_samples = 200";
    let agent = ground.agent(lines);
    ground.load();
    let (shown, _) = ground.counted(&agent, 0);
    ground.wait_stored(shown.sum(COUNT, &[]));
    ground.compare(&shown);
    // 2.0 was spoken: only it can say when counters began.
    assert!(!agent.log().contains("knows only version 1.0"), "{}", agent.log());

    // The receiver dies under load, and comes back.
    ground.store.kill9().unwrap();
    ground.load();
    let (shown, first) = ground.counted(&agent, 0);
    wait(|| agent.metrics().unwrap().sum("redtap_export_retries_total", &[]) > 2, || agent.log());
    ground.store.again(&ground.beside).unwrap();
    ground.wait_stored(shown.sum(COUNT, &[]));
    ground.compare(&shown);
    let last_of_first = agent.metrics().unwrap();
    assert_nothing_lost(&last_of_first);

    // Receiver and agent die, with samples on disk that nobody has.
    ground.store.kill9().unwrap();
    ground.load();
    let (shown, second) = ground.counted(&agent, 0);
    assert!(second > first);
    let gathered = agent.metrics().unwrap().sum("redtap_export_gathered_total", &[]);
    wait(|| agent.metrics().unwrap().sum("redtap_export_gathered_total", &[]) > gathered, || agent.log());
    agent.kill9().unwrap();
    ground.store.again(&ground.beside).unwrap();
    let agent = ground.agent(lines);
    ground.load();
    let (again, _) = ground.counted(&agent, second);
    ground.wait_stored(again.sum(COUNT, &[]));
    let points = ground.store.points(&format!("{COUNT}{{service_name=\"nginx\"}}")).unwrap();
    assert_eq!(points.len(), 1, "one series over both lives: {points:?}");
    let points = points.into_values().next().unwrap();
    assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{points:?}");
    // The last of the first life, then the second from its beginning.
    let resets: Vec<usize> = (1..points.len()).filter(|&at| points[at].1 < points[at - 1].1).collect();
    assert_eq!(resets.len(), 1, "{points:?}");
    assert_eq!(points[resets[0] - 1].1, shown.sum(COUNT, &[("service_name", "nginx")]) as f64);
    assert_eq!(points.last().unwrap().1, again.sum(COUNT, &[("service_name", "nginx")]) as f64);
    // About one sample a second, over all that happened.
    let longest = points.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(0.0, f64::max);
    assert!(longest < 10.0, "a hole of {longest} s: {points:?}");
    let store = ground.store.metrics().unwrap();
    assert_eq!(store.sum("prometheus_tsdb_out_of_order_samples_total", &[]), 0);
    assert_nothing_lost(&agent.metrics().unwrap());

    // A clean stop ends all series of this life at once. Of the life that was killed, those that did not come again are
    // still looked back at.
    let last = agent.metrics().unwrap();
    agent.stop().unwrap();
    let left = ground.store.query("{job=\"redtap\"}").unwrap();
    let is_shown = |one: &Value| last.samples.iter().any(|sample| is_of(one, sample));
    let wrong: Vec<_> = left.iter().filter(|one| is_shown(one)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(ground.store.query(&format!("{COUNT}{{service_name=\"nginx\"}}")).unwrap().is_empty());
}

#[test]
fn receivers_of_1_0_hold_the_same() {
    if !ready(&[Kit::Prometheus, Kit::VictoriaMetrics]) {
        return;
    }
    for (product, lines, falls_back) in
        [(Product::Prometheus, "protocol = \"1.0\"", false), (Product::VictoriaMetrics, "", true)]
    {
        let ground = Ground::new(product);
        let agent = ground.agent(lines);
        ground.load();
        let (shown, _) = ground.counted(&agent, 0);
        ground.wait_stored(shown.sum(COUNT, &[]));
        ground.compare(&shown);
        assert_nothing_lost(&agent.metrics().unwrap());
        let log = agent.stop().unwrap();
        assert_eq!(log.contains("knows only version 1.0"), falls_back, "{log}");
        // Long before queries would no longer look back at the last samples, which is after five minutes.
        let left = || ground.store.query("{job=\"redtap\"}").unwrap();
        wait(|| left().is_empty(), || format!("{product:?}: {:?}", left()));
    }
}

#[test]
fn native_histograms_hold_the_same() {
    if !ready(&[Kit::Prometheus]) {
        return;
    }
    let ground = Ground::new(Product::Prometheus);
    let agent = ground.agent("native_histograms = true\nprotocol = \"2.0\"");
    ground.load();
    let (shown, _) = ground.counted(&agent, 0);
    let wanted = shown.sum(COUNT, &[]) as f64;
    let name = COUNT.trim_end_matches("_count");
    wait(|| ground.store.value(&format!("sum(histogram_count({name}))")).unwrap() == Some(wanted), || agent.log());
    let sum = ground.store.value(&format!("sum(histogram_sum({name}))")).unwrap().unwrap();
    let shown_sum: f64 = shown.matching(&format!("{name}_sum"), &[]).map(|sample| sample.value).sum();
    assert!((sum - shown_sum).abs() <= shown_sum * 1e-12, "{sum} instead of {shown_sum}");
    // Custom buckets have our very bounds: the share below one of them is exact.
    let below = shown.sum(&format!("{name}_bucket"), &[("le", "0.005")]) as f64 / wanted;
    let stored = ground.store.value(&format!("histogram_fraction(-Inf, 0.005, sum({name}))")).unwrap().unwrap();
    assert!((stored - below).abs() < 1e-9, "{stored} instead of {below}");
    assert!(ground.store.query(COUNT).unwrap().is_empty(), "no classic series besides");
    assert_nothing_lost(&agent.metrics().unwrap());
    agent.stop().unwrap();
    assert!(ground.store.query("{job=\"redtap\"}").unwrap().is_empty());
}

#[test]
fn exemplars_carry_the_trace_that_the_request_named() {
    if !ready(&[Kit::Prometheus]) {
        return;
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01");
    for lines in ["protocol = \"2.0\"", "protocol = \"1.0\"", "protocol = \"2.0\"\nnative_histograms = true"] {
        let mut ground = Ground::new(Product::Prometheus);
        let agent = ground.agent(lines);
        ground.store.scrape(&ground.beside, agent.port()).unwrap();
        ground.watched.run("curl", &["-s", "-H", &header, &ground.nginx.url("/users/7")]).unwrap();
        let name = COUNT.trim_end_matches("_count");
        let metric = if lines.contains("native") { name.to_owned() } else { format!("{name}_bucket") };
        let stored = |metric: &str, job| ground.store.exemplars(&format!("{metric}{{job=\"{job}\"}}")).unwrap();
        wait(|| !stored(&metric, "redtap").is_empty(), || agent.log());
        let scraped = || stored(&format!("{name}_bucket"), "scraped");
        wait(|| !scraped().is_empty(), || agent.log());
        let (stored, scraped) = (stored(&metric, "redtap"), scraped());
        assert_eq!(scraped[0]["exemplars"], stored[0]["exemplars"], "the same by scraping: {scraped:?} {stored:?}");
        assert_eq!(stored.len(), 1, "{stored:?}");
        let told = stored[0]["exemplars"].as_array().unwrap();
        assert_eq!(told.len(), 1, "once, and not with each sample: {told:?}");
        assert_eq!(told[0]["labels"]["trace_id"], trace);
        let value: f64 = told[0]["value"].as_str().unwrap().parse().unwrap();
        if let Some(bound) = stored[0]["seriesLabels"]["le"].as_str() {
            assert!(value > 0.0 && value <= bound.parse().unwrap_or(f64::INFINITY), "{stored:?}");
        }
        // The same on /metrics, for who asks for OpenMetrics; and the ids are those of the record.
        let open = "application/openmetrics-text; version=1.0.0";
        let (_, text) = redtap_e2e::sandbox::get(agent.port(), "/metrics", open).unwrap();
        let span = told[0]["labels"]["span_id"].as_str().unwrap();
        let shown = format!("# {{trace_id=\"{trace}\",span_id=\"{span}\"}} ");
        assert!(text.lines().any(|line| line.starts_with(name) && line.contains(&shown)), "{text}");
        let (status, call) = redtap_e2e::sandbox::get(agent.port(), &format!("/api/v1/calls/{span}"), "*/*").unwrap();
        assert_eq!(status, 200, "{call}");
        assert!(call.contains(trace), "{call}");
        assert_nothing_lost(&agent.metrics().unwrap());
        agent.stop().unwrap();
    }
}

/// nginx before the store: it takes only who shows a certificate of the authority, a password and a tenant, and writes down who that was.
fn gateway(ground: &Ground, tls: &Certificates) -> (Proc, u16) {
    let (port, store, folder) = (free_port().unwrap(), ground.store.port(), ground.beside.folder().display());
    ground.beside.write("passwords", "agent:{PLAIN}hush-write\n").unwrap();
    let config = format!(
        "user root; daemon off; pid {folder}/gateway.pid; error_log {folder}/gateway-error.log; events {{ worker_connections 64; }}
         http {{
           log_format who '$status $remote_user $ssl_client_s_dn $http_x_scope_orgid $request_uri';
           access_log {folder}/gateway.log who;
           client_body_temp_path {folder}/g1; proxy_temp_path {folder}/g2; fastcgi_temp_path {folder}/g3; uwsgi_temp_path {folder}/g4;
           scgi_temp_path {folder}/g5; client_max_body_size 16m;
           server {{
             listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
             ssl_client_certificate {ca}; ssl_verify_client on;
             auth_basic writers; auth_basic_user_file {folder}/passwords;
             location / {{ if ($http_x_scope_orgid != shop) {{ return 403; }} proxy_pass http://127.0.0.1:{store}; }}
           }}
         }}",
        certificate = tls.certificate.display(),
        key = tls.key.display(),
        ca = tls.ca.display(),
    );
    let config = ground.beside.write("gateway.conf", &config).unwrap();
    let gateway = ground.beside.start("gateway", "nginx", &["-c", config.to_str().unwrap()]).unwrap();
    (gateway.wait_port(port).unwrap(), port)
}

/// A proxy that tunnels to any port of this machine.
fn proxy(sandbox: &Sandbox) -> (Proc, u16) {
    let port = free_port().unwrap();
    let log = sandbox.folder().join("proxy.log");
    let config = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 60\nLogFile \"{}\"\nLogLevel Connect\nMaxClients 10\n",
        log.display()
    );
    let config = sandbox.write("tinyproxy.conf", &config).unwrap();
    let proxy = sandbox.start("proxy", "tinyproxy", &["-d", "-c", config.to_str().unwrap()]).unwrap();
    (proxy.wait_port(port).unwrap(), port)
}

#[test]
fn a_receiver_behind_tls_a_password_and_a_proxy_holds_the_same() {
    if !can_run_with(&["nginx", "wrk", "openssl", "tinyproxy"], &[Kit::Prometheus]) {
        return;
    }
    let ground = Ground::new(Product::Prometheus);
    let tls = Certificates::make(&ground.beside).unwrap();
    let (_gateway, port) = gateway(&ground, &tls);
    let (_proxy, through) = proxy(&ground.beside);
    let (ca, certificate, key) = (tls.ca.display(), tls.certificate.display(), tls.key.display());
    let agent = |ca: &str, identity: &str, password: &str| {
        let config = format!(
            "[remote_write]\nurl = \"https://127.0.0.1:{port}/api/v1/write\"\ninterval = \"1s\"\nproxy = \"http://127.0.0.1:{through}\"\n\
             basic_user = \"agent\"\nbasic_password = \"{password}\"\n{ca}{identity}[remote_write.headers]\nX-Scope-OrgID = \"shop\"\n"
        );
        ground.watched.write("redtap.toml", &config).unwrap();
        Agent::start(&ground.watched, &[]).unwrap()
    };
    let trusting = format!("tls_ca_file = \"{ca}\"\n");
    let identity = format!("tls_cert_file = \"{certificate}\"\ntls_key_file = \"{key}\"\n");
    let sum = |agent: &Agent, what: &str| {
        agent.metrics().unwrap().sum(&format!("redtap_export_{what}"), &[("exporter", "remote_write")])
    };

    let one = agent(&trusting, &identity, "hush-write");
    ground.load();
    let (metrics, all) = ground.counted(&one, 0);
    ground.wait_stored(all);
    ground.compare(&metrics);
    assert_nothing_lost(&one.metrics().unwrap());
    one.stop().unwrap();
    let told = std::fs::read_to_string(ground.beside.folder().join("gateway.log")).unwrap();
    assert!(told.lines().all(|line| line.ends_with(" agent CN=leaf shop /api/v1/write")), "{told}");
    let tunnels = std::fs::read_to_string(ground.beside.folder().join("proxy.log")).unwrap();
    assert!(tunnels.contains(&format!("CONNECT 127.0.0.1:{port}")), "{tunnels}");

    // A receiver that nobody vouches for may be vouched for later: what is for it waits.
    let two = agent("", &identity, "hush-write");
    wait(|| sum(&two, "retries_total") > 0, || two.log());
    assert_eq!((sum(&two, "delivered_total"), sum(&two, "undelivered_total")), (0, 0));
    assert!(sum(&two, "pending") > 0);
    let log = two.stop().unwrap();
    assert!(log.contains("certificate") && !log.contains("hush"), "{log}");
    // One that does not take this agent will not take it the next time.
    for (identity, password) in [("", "hush-write"), (identity.as_str(), "hush-wrong")] {
        let three = agent(&trusting, identity, password);
        wait(|| sum(&three, "undelivered_total") > 0, || three.log());
        assert_eq!(sum(&three, "delivered_total"), 0);
        let log = three.stop().unwrap();
        let status = if identity.is_empty() { "status=400" } else { "status=401" };
        assert!(log.contains("refused samples") && log.contains(status) && !log.contains("hush"), "{log}");
    }
}

#[test]
fn prometheus_s_own_compliance_suite_finds_nothing() {
    if !can_run_with(&["nginx", "curl"], &[Kit::RemoteWriteSender]) {
        return;
    }
    let (watched, beside) = (Sandbox::new("write").unwrap(), Sandbox::new("suite").unwrap());
    let nginx = Nginx::start(&watched, 1).unwrap();
    // Each of the suite's agents sees traffic, with traces that make exemplars.
    let traffic = format!(
        "n=0; while :; do n=$((n + 1)); curl -s -o /dev/null \
         -H \"traceparent: 00-$(printf %032x $n)-00f067aa0ba902b7-01\" '{}'; sleep 0.1; done",
        nginx.url("/users/7")
    );
    let traffic = watched.start("traffic", "sh", &["-c", &traffic]).unwrap();
    let (agent, cgroup) = (binary().canonicalize().unwrap(), watched.cgroup().display().to_string());
    let environment = [
        ("REDTAP_BIN", agent.to_str().unwrap()),
        ("TMPDIR", beside.folder().to_str().unwrap()),
        (
            "REDTAP_ARGUMENTS",
            &format!("--listen 127.0.0.1:{} --governor-cpu 0 --cgroup {cgroup}", free_port().unwrap()),
        ),
    ];
    let program = Kit::RemoteWriteSender.folder().join("remote-write-sender").display().to_string();
    // One agent at a time: they listen on the same port.
    let arguments = ["-test.v", "-test.parallel", "1", "-test.timeout", "5m"];
    let mut suite = beside.start_with("suite", &program, &arguments, &environment).unwrap();
    let status = suite.wait(Duration::from_secs(310)).unwrap();
    let told = suite.log();
    assert!(status.success(), "{told}");
    // All of them were run: one of the suite's own, and ours.
    let passed = told.lines().filter(|line| line.trim_start().starts_with("--- PASS")).count();
    assert!(passed >= CASES && !told.contains("--- SKIP"), "{passed}: {told}");
    drop(traffic);
}

/// A disk of its own, in a file, that can be frozen: who writes to it then waits, as on a disk that hangs.
struct Disk<'a> {
    beside: &'a Sandbox,
    folder: String,
}

impl<'a> Disk<'a> {
    fn new(beside: &'a Sandbox) -> Self {
        let (image, folder) = (beside.folder().join("image"), beside.folder().join("disk"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        beside.run_outside("mkfs.ext4", &["-q", image.to_str().unwrap()]).unwrap();
        let folder = folder.display().to_string();
        beside.run_outside("mount", &["-o", "loop", image.to_str().unwrap(), &folder]).unwrap();
        Self { beside, folder }
    }

    /// Freezes it until what is given is dropped, which must be before an agent is ended that writes there: one that waits for a frozen disk
    /// cannot even be killed. It thaws also when this process is killed: whoever froze it then reads the end of its input.
    fn freeze(&self) -> Frozen {
        let script = "fsfreeze -f \"$0\" && echo frozen; read -r _; fsfreeze -u \"$0\"";
        let mut shell = Command::new("sh")
            .args(["-c", script, &self.folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "frozen\n");
        Frozen(shell)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        drop(self.beside.run_outside("umount", &["--lazy", &self.folder]));
    }
}

struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn while_the_disk_of_the_spool_hangs_other_exporters_go_on_and_nothing_is_lost() {
    let needs = ["nginx", "wrk", "mkfs.ext4", "mount", "umount", "fsfreeze"];
    if !can_run_with(&needs, &[Kit::Prometheus, Kit::OtelCollector]) {
        return;
    }
    let ground = Ground::new(Product::Prometheus);
    let collector = OtelCollector::start(&ground.beside).unwrap();
    let disk = Disk::new(&ground.beside);
    let lines = format!(
        "spool = \"{}/spool\"\nshards = 4\n[otlp]\nendpoint = \"{}\"\ninterval = \"1s\"",
        disk.folder,
        collector.endpoint()
    );
    let agent = ground.agent(&lines);
    ground.load();
    ground.counted(&agent, 0);
    let sum = |exporter: &str, what: &str| {
        agent.metrics().unwrap().sum(&format!("redtap_export_{what}"), &[("exporter", exporter)])
    };
    wait(|| sum("remote_write", "delivered_total") > 0 && sum("otlp_metrics", "delivered_total") > 0, || agent.log());

    let frozen = disk.freeze();
    // What is on its way may still be decided; then nothing moves for five times the interval.
    let mut stuck = sum("remote_write", "gathered_total");
    let stands = |stuck: &mut u64| {
        std::thread::sleep(Duration::from_secs(5));
        *stuck == std::mem::replace(stuck, sum("remote_write", "gathered_total"))
    };
    assert!((0..6).any(|_| stands(&mut stuck)), "it does not hang: {}", agent.log());
    ground.load();
    for _ in 0..5 {
        let before = sum("otlp_metrics", "delivered_total");
        wait(|| sum("otlp_metrics", "delivered_total") > before, || agent.log());
    }
    assert_eq!(sum("otlp_metrics", "undelivered_total"), 0);
    assert_eq!(sum("remote_write", "gathered_total"), stuck, "it does not hang: this shows nothing");
    drop(frozen);

    let (shown, _) = ground.counted(&agent, 0);
    ground.wait_stored(shown.sum(COUNT, &[]));
    ground.compare(&shown);
    assert_nothing_lost(&agent.metrics().unwrap());
    agent.stop().unwrap();
}
