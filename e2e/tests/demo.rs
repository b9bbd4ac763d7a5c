//! `redtap demo` shows what it promises, and leaves nothing behind: not after Ctrl-C, not after SIGKILL.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::binary;
use redtap_e2e::can_run;
use redtap_e2e::cli::{records, redtap_as_nobody};
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{cgroup_root, free_port, get};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const GRAPH: &str = "traces_service_graph_request_total";
/// Calls of one trace, with a context from the beginning: service, role, endpoint, and how each was tied.
const BROWSED: [[&str; 4]; 4] = [
    ["visitors", "client", "/products/{id}", "traceparent"],
    ["shop", "server", "/products/{id}", "traceparent"],
    ["shop", "client", "stock.v1.Stock/Check", "traceparent"],
    ["stock", "server", "stock.v1.Stock/Check", "traceparent"],
];
/// The same without any.
const ORDERED: [[&str; 4]; 5] = [
    ["shop", "server", "/orders", "socket"],
    ["shop", "client", "/charges", "thread"],
    ["payment", "server", "/charges", "socket"],
    ["payment", "client", "SET", "thread"],
    ["cache", "server", "SET", "socket"],
];
const FAILED: &str = "traces_service_graph_request_failed_total";

/// A running demo, and who belongs to it.
struct Demo {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        Self::start_as(&mut Command::new(binary()))
    }

    fn start_as(command: &mut Command) -> Self {
        let port = free_port().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command
            .args(["demo", "--listen", &format!("127.0.0.1:{port}")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, port, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The services and the keeper.
    fn family(&self) -> Vec<Pid> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(children).unwrap();
        text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    fn cgroup(&self) -> std::path::PathBuf {
        cgroup_root().unwrap().join(format!("redtap-demo-{}", self.child.id()))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Scrapes until `done`, at most 60 s; the last scrape either way.
    fn metrics_until(&mut self, done: impl Fn(&Metrics) -> bool) -> Metrics {
        let mut last = Metrics::parse("");
        for _ in 0..600 {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.log());
            if let Ok((200, body)) = get(self.port, "/metrics", "text/plain") {
                last = Metrics::parse(&body);
                if done(&last) {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        last
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Who of them is there after at most 10 s of waiting for their end.
fn left(family: &[Pid]) -> Vec<Pid> {
    let there = || family.iter().copied().filter(|pid| test_kill_process(*pid).is_ok()).collect::<Vec<_>>();
    for _ in 0..500 {
        if there().is_empty() {
            return Vec::new();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    there()
}

fn edge(metrics: &Metrics, name: &str, client: &str, server: &str) -> u64 {
    metrics.sum(name, &[("client", client), ("server", server)])
}

/// Whether some trace that is kept holds all of these.
fn trace_of(port: u16, calls: &[[&str; 4]]) -> bool {
    let Ok((200, body)) = get(port, "/api/v1/calls?limit=5000", "application/x-ndjson") else { return false };
    let mut traces = BTreeMap::<String, BTreeSet<[String; 4]>>::new();
    for record in records(&body).unwrap() {
        let call = record.texts(["service", "role", "endpoint", "link"]);
        traces.entry(record.text("trace_id").to_owned()).or_default().insert(call);
    }
    traces.values().any(|trace| calls.iter().all(|call| trace.contains(&call.map(str::to_owned))))
}

#[test]
fn shows_every_service_and_edge_and_leaves_nothing_after_ctrl_c() {
    if !can_run(&["timeout"]) {
        return;
    }
    let mut demo = Demo::start();
    let edges = [("visitors", "shop"), ("shop", "payment"), ("shop", "stock"), ("shop", "cache"), ("payment", "cache")];
    let dns = |metrics: &Metrics| metrics.sum("dns_lookup_duration_seconds_count", &[("service_name", "shop")]);
    let metrics = demo.metrics_until(|metrics| {
        edges.iter().all(|(client, server)| edge(metrics, GRAPH, client, server) >= 20)
            && edge(metrics, FAILED, "shop", "payment") > 0
            && dns(metrics) >= 20
    });
    for (client, server) in edges {
        assert!(edge(&metrics, GRAPH, client, server) >= 20, "{client} -> {server}");
    }
    assert!(edge(&metrics, FAILED, "shop", "payment") > 0, "payment fails at times");
    assert!(dns(&metrics) >= 20);
    // Of each kind, on both sides; what is served is what was asked, but for what is on its way.
    for (metric, client, server) in [
        ("http_{}_request_duration_seconds_count", "visitors", "shop"),
        ("http_{}_request_duration_seconds_count", "shop", "payment"),
        ("rpc_{}_call_duration_seconds_count", "shop", "stock"),
    ] {
        let asked = metrics.sum(&metric.replace("{}", "client"), &[("service_name", client)]);
        let served = metrics.sum(&metric.replace("{}", "server"), &[("service_name", server)]);
        assert!(served > 0 && asked.abs_diff(served) <= 8, "{client} asked {asked}, {server} served {served}");
    }
    let served = |name: &str, service: &str| metrics.sum(name, &[("service_name", service)]);
    assert!(served("db_server_operation_duration_seconds_count", "cache") >= 20);
    assert!(served("dns_server_lookup_duration_seconds_count", "names") >= 20);
    // Slow on purpose: no search within 100 ms.
    let route = [("service_name", "shop"), ("http_route", "/search")];
    let fast = [&route[..], &[("le", "0.1")]].concat();
    assert!(metrics.sum("http_server_request_duration_seconds_count", &route) > 0);
    assert_eq!(metrics.sum("http_server_request_duration_seconds_bucket", &fast), 0);
    assert_eq!(metrics.sum("redtap_capture_ratio", &[]), 1);
    // Nobody else is watched.
    let services = metrics.by("http_client_request_duration_seconds_count", &[], &["service_name"]);
    assert_eq!(services.keys().flatten().collect::<Vec<_>>(), ["shop", "visitors"]);

    // Calls are tied by their trace context where there is one, and without.
    let told = |port| (trace_of(port, &BROWSED), trace_of(port, &ORDERED));
    for _ in 0..100 {
        if told(demo.port) == (true, true) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(told(demo.port), (true, true), "traces of products and of orders");

    let (family, cgroup, log) = (demo.family(), demo.cgroup(), demo.log());
    assert!(log.contains(&format!("http://127.0.0.1:{}/ ", demo.port)), "{log}");
    assert!(family.len() == 7 && cgroup.is_dir(), "{family:?}");
    demo.signal(Signal::INT);
    let status = demo.child.wait().unwrap();
    assert!(status.success(), "{status}: {}", demo.log());
    assert_eq!(left(&family), []);
    assert!(!cgroup.exists());
    assert_eq!(demo.log(), log, "no warning, no error");
}

#[test]
fn leaves_nothing_after_sigkill_either() {
    if !can_run(&["timeout"]) {
        return;
    }
    let mut demo = Demo::start();
    demo.metrics_until(|metrics| edge(metrics, GRAPH, "visitors", "shop") > 0);
    let (family, cgroup) = (demo.family(), demo.cgroup());
    assert!(family.len() == 7 && cgroup.is_dir(), "{family:?}");
    demo.signal(Signal::KILL);
    demo.child.wait().unwrap();
    assert_eq!(left(&family), []);
    assert!(!cgroup.exists(), "the keeper removes it");
}

#[test]
fn ends_with_an_error_when_a_service_ends() {
    if !can_run(&["timeout"]) {
        return;
    }
    let mut demo = Demo::start();
    demo.metrics_until(|metrics| edge(metrics, GRAPH, "visitors", "shop") > 0);
    let (family, cgroup) = (demo.family(), demo.cgroup());
    let named = |pid: &&Pid| {
        let words = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap();
        words.split('\0').nth(2) == Some("stock")
    };
    kill_process(*family.iter().find(named).unwrap(), Signal::KILL).unwrap();
    assert_eq!(demo.child.wait().unwrap().code(), Some(1));
    assert!(demo.log().contains("the service stock of the demo has ended"), "{}", demo.log());
    assert_eq!(left(&family), []);
    assert!(!cgroup.exists());
}

#[test]
fn selects_its_processes_where_there_is_no_cgroup() {
    if !can_run(&["unshare", "umount"]) {
        return;
    }
    // Of this process and its children alone the hierarchy is taken away.
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", "umount -l \"$0\" && exec \"$@\""]);
    let mut demo = Demo::start_as(command.arg(cgroup_root().unwrap()).arg(binary()));
    let metrics = demo.metrics_until(|metrics| edge(metrics, GRAPH, "payment", "cache") > 0);
    assert!(edge(&metrics, GRAPH, "payment", "cache") > 0);
    let family = demo.family();
    assert_eq!((family.len(), demo.cgroup().exists()), (6, false));
    demo.signal(Signal::TERM);
    assert!(demo.child.wait().unwrap().success(), "{}", demo.log());
    assert_eq!(left(&family), []);
}

#[test]
fn says_what_to_do_without_privileges() {
    if !can_run(&["timeout", "setpriv"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let port = free_port().unwrap();
    let said = redtap_as_nobody(folder.path(), &["demo", "--listen", &format!("127.0.0.1:{port}")]).unwrap();
    assert_eq!(said.code, Some(1));
    for words in ["sudo redtap demo", "redtap doctor", "redtap replay"] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert_eq!(said.out, "");
}
