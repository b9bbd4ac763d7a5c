//! Claims 4 and 5: the agent may be killed and started again in the middle of load without the application noticing or
//! anything staying behind; connections older than the agent are counted from their next request.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::sandbox::{Sandbox, find};
use redtap_e2e::servers::nginx::Nginx;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";

/// The BPF programs and maps that a process holds, as `prog 12` and `map 34` (by the descriptors that it has open).
fn held(pid: u32) -> BTreeSet<String> {
    let mut objects = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let Ok(info) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        for line in info.lines() {
            for (key, kind) in [("map_id:", "map"), ("prog_id:", "prog")] {
                if let Some(id) = line.strip_prefix(key) {
                    objects.insert(format!("{kind} {}", id.trim()));
                }
            }
        }
    }
    objects
}

/// All BPF programs and maps of the machine, likewise; other agents' too.
fn existing() -> BTreeSet<String> {
    let mut objects = BTreeSet::new();
    for kind in ["prog", "map"] {
        let output = std::process::Command::new(find("bpftool").unwrap()).args(["-j", kind, "list"]).output().unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        objects.extend(list.as_array().unwrap().iter().map(|object| format!("{kind} {}", object["id"])));
    }
    objects
}

/// What the kernel goes on with while the rest is drained must not spoil the sums.
#[test]
fn stopped_in_the_middle_of_load_its_sums_add_up() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let sandbox = Sandbox::new("lifecycle").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let url = nginx.url("/static/a.html");
        let mut load = sandbox
            .command("wrk", &["-t", "1", "-c", "20", "-d", "20s", &url])
            .unwrap()
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        agent.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) > 1_000).unwrap();
        // Fails unless what the kernel attempted is what it refused and what was received.
        agent.stop().unwrap();
        assert!(load.try_wait().unwrap().is_none(), "{rung}: the load was to go on");
        load.kill().unwrap();
        load.wait().unwrap();
    }
}

#[test]
fn killed_in_the_middle_of_load_and_started_again() {
    if !can_run(&["nginx", "wrk", "bpftool"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let sandbox = Sandbox::new("lifecycle").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let objects = held(agent.pid());
        assert!(objects.len() > 10 && objects.is_subset(&existing()), "{rung}: the agent has objects of its own");
        let load = sandbox
            .command("wrk", &["-t", "1", "-c", "20", "-d", "20s", &nginx.url("/static/a.html")])
            .unwrap()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        agent.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) > 1_000).unwrap();
        agent.kill9().unwrap();
        // Programs go with their last reference; the kernel frees them a moment later.
        for _ in 0..100 {
            if existing().is_disjoint(&objects) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let left: Vec<_> = existing().intersection(&objects).cloned().collect();
        assert!(left.is_empty(), "{rung}: left behind: {left:?}");
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let metrics = agent.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) > 1_000).unwrap();
        assert!(metrics.sum(HTTP_SERVER, &[]) > 1_000, "{rung}: counts go on, on connections older than the agent");
        let output = load.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            !text.contains("Socket errors") && !text.contains("Non-2xx"),
            "{rung}: the application saw errors:\n{text}"
        );
        agent.stop().unwrap();
    }
}

const KEEPALIVE: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
def ask(n):
    for at in range(n):
        connection.request("GET", "/users/%d" % at); connection.getresponse().read()
ask(3)
print("warm", flush=True)
sys.stdin.readline()
ask(11)
print("done", flush=True)
sys.stdin.readline()
"#;

#[test]
fn a_connection_older_than_the_agent() {
    if !can_run(&["nginx", "python3"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let sandbox = Sandbox::new("lifecycle").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        sandbox.write("patient.py", KEEPALIVE).unwrap();
        let mut client = sandbox
            .command("python3", &["patient.py", &nginx.port.to_string()])
            .unwrap()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "warm");
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        client.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "done");
        let metrics = agent
            .metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= 11 && metrics.sum(HTTP_CLIENT, &[]) >= 11)
            .unwrap();
        // Right role, right process, from the first whole exchange on.
        let labels = [("http_route", "/users/{id}"), ("http_response_status_code", "200")];
        assert_eq!(
            metrics.sum(HTTP_SERVER, &[&[("service_name", "nginx")], &labels[..]].concat()),
            11,
            "{rung}, server"
        );
        assert_eq!(
            metrics.sum(HTTP_CLIENT, &[&[("service_name", "patient.py")], &labels[..]].concat()),
            11,
            "{rung}, client"
        );
        assert_eq!(metrics.sum(HTTP_SERVER, &[]), 11, "{rung}: and nothing else");
        drop(client.stdin.take());
        client.wait().unwrap();
        agent.stop().unwrap();
    }
}
