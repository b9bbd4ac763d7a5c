//! Claim 1: per service, method, route, status and command, what redtap counts is what the servers themselves count,
//! exactly, on both rungs, on the server's side and on the client's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::apps::{App, Language};
use redtap_e2e::servers::dnsmasq::Dnsmasq;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use std::collections::BTreeMap;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";
const DB_SERVER: &str = "db_server_operation_duration_seconds_count";
const DB_CLIENT: &str = "db_client_operation_duration_seconds_count";
const DNS_SERVER: &str = "dns_server_lookup_duration_seconds_count";
const DNS_CLIENT: &str = "dns_lookup_duration_seconds_count";

/// Runs `proof` once a rung.
fn on_both_rungs(proof: impl Fn(&str)) {
    for rung in ["socket", "syscall"] {
        proof(rung);
    }
}

type Counts = BTreeMap<Vec<String>, u64>;

fn http(metrics: &Metrics, name: &str, service: &str) -> Counts {
    metrics.by(name, &[("service_name", service)], &["http_request_method", "http_route", "http_response_status_code"])
}

fn expected(rows: &[(&str, &str, &str, u64)]) -> Counts {
    rows.iter()
        .map(|(method, route, status, n)| (vec![(*method).into(), (*route).into(), (*status).into()], *n))
        .collect()
}

#[test]
fn nginx_and_curl() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("counts").unwrap();
        let nginx = Nginx::start(&sandbox, 2).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let curl = |arguments: &[&str], path: &str| {
            let url = nginx.url(path);
            let mut all = vec!["-s", "-o", "/dev/null"];
            all.extend(arguments);
            all.push(&url);
            sandbox.run("curl", &all).unwrap();
        };
        for id in 1..=20 {
            curl(&[], &format!("/users/{id}?page={id}"));
        }
        for _ in 0..3 {
            curl(&[], "/");
            curl(&["-I"], "/static/a.html");
            curl(&["-X", "POST", "-d", "x=1"], "/broken");
            curl(&[], "/missing");
            curl(&[], "/moved");
            curl(&[], "/big");
        }
        let logged = nginx.wait_answered(38).unwrap();
        assert_eq!(logged.values().sum::<u64>(), 38);
        let metrics = agent
            .metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= 38 && metrics.sum(HTTP_CLIENT, &[]) >= 38)
            .unwrap();
        let rows = expected(&[
            ("GET", "/users/{id}", "200", 20),
            ("GET", "/", "200", 3),
            ("HEAD", "/static/a.html", "200", 3),
            ("POST", "/broken", "500", 3),
            ("GET", "/missing", "404", 3),
            ("GET", "/moved", "301", 3),
            ("GET", "/big", "200", 3),
        ]);
        assert_eq!(http(&metrics, HTTP_SERVER, "nginx"), rows, "{rung}, server");
        assert_eq!(http(&metrics, HTTP_CLIENT, "curl"), rows, "{rung}, client");
        // By the conventions: a 4xx is the caller's error, a 5xx both sides'.
        assert_eq!(metrics.sum(HTTP_SERVER, &[("error_type", "500")]), 3);
        assert_eq!(metrics.sum(HTTP_SERVER, &[("error_type", "404")]), 0);
        assert_eq!(metrics.sum(HTTP_CLIENT, &[("error_type", "404")]), 3);
        assert_eq!(metrics.sum("traces_service_graph_request_total", &[("client", "curl"), ("server", "nginx")]), 38);
        agent.stop().unwrap();
    });
}

#[test]
fn nginx_and_wrk() {
    if !can_run(&["nginx", "wrk"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("counts").unwrap();
        let nginx = Nginx::start(&sandbox, 2).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        sandbox.run("wrk", &["-t", "1", "-c", "8", "-d", "2s", &nginx.url("/static/a.html")]).unwrap();
        let before = nginx.answered().unwrap().values().sum::<u64>();
        let metrics = agent.metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= before).unwrap();
        let logged: u64 = nginx.answered().unwrap().values().sum();
        assert_eq!(metrics.sum(HTTP_SERVER, &[("service_name", "nginx")]), logged, "{rung}, server");
        // wrk leaves without reading the last answers: nginx logs them all the same, and so the client asked for them.
        assert_eq!(metrics.sum(HTTP_CLIENT, &[("service_name", "wrk")]), logged, "{rung}, client");
        agent.stop().unwrap();
    });
}

#[test]
fn redis_and_its_benchmark() {
    if !can_run(&["redis-server", "redis-benchmark", "redis-cli"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("counts").unwrap();
        let redis = Redis::start(&sandbox).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let port = redis.port.to_string();
        let bench = |arguments: &[&str]| {
            let mut all = vec!["-h", "127.0.0.1", "-p", &port, "-q", "-c", "4"];
            all.extend(arguments);
            sandbox.run("redis-benchmark", &all).unwrap();
        };
        bench(&["-t", "set,get,incr,lpush", "-n", "2000", "-P", "1"]);
        bench(&["-t", "set,get", "-n", "6400", "-P", "64"]);
        for command in [&["SET", "a", "1"][..], &["GET", "a"], &["LPUSH", "a", "1"], &["HSET", "h", "k", "v"]] {
            let mut all = vec!["-p", &port];
            all.extend(command);
            sandbox.run("redis-cli", &all).unwrap();
        }
        let calls = redis.calls().unwrap();
        // The last question (INFO) counts itself only after it was answered.
        let total: u64 = calls.values().sum::<u64>() + 1;
        let metrics = agent.metrics_until(|metrics| metrics.sum(DB_SERVER, &[]) >= total).unwrap();
        let seen = metrics.by(DB_SERVER, &[("db_system_name", "redis")], &["db_operation_name"]);
        for (command, count) in &calls {
            assert_eq!(
                seen.get(&vec![command.clone()]).copied().unwrap_or(0),
                *count,
                "{rung}: {command}: {seen:?} {calls:?}"
            );
        }
        // The client's side: everything but what was asked from outside of the sandbox (one INFO).
        let client = metrics.by(DB_CLIENT, &[("db_system_name", "redis")], &["db_operation_name"]);
        for (command, count) in calls.iter().filter(|(command, _)| command.as_str() != "INFO") {
            assert_eq!(client.get(&vec![command.clone()]).copied().unwrap_or(0), *count, "{rung}, client: {command}");
        }
        assert!(metrics.sum(DB_SERVER, &[("error_type", "WRONGTYPE")]) == 1, "{rung}: the LPUSH on a string");
        agent.stop().unwrap();
    });
}

#[test]
fn redis_deep_pipelines_of_large_values() {
    if !can_run(&["redis-server", "redis-benchmark", "redis-cli"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("counts").unwrap();
        let redis = Redis::start(&sandbox).unwrap();
        // What is too long to be captured is the question here, not what a busy machine has no time to read.
        let agent = Agent::start(&sandbox, &["--rung", rung, "--ring-bytes", "64MiB"]).unwrap();
        let port = redis.port.to_string();
        let arguments =
            ["-h", "127.0.0.1", "-p", &port, "-q", "-c", "2", "-t", "set,get", "-n", "6400", "-P", "64", "-d", "10240"];
        sandbox.run("redis-benchmark", &arguments).unwrap();
        let calls = redis.calls().unwrap();
        let total: u64 = calls.values().sum::<u64>() + 1;
        let metrics = agent.metrics_until(|metrics| metrics.sum(DB_SERVER, &[]) >= total).unwrap();
        assert_eq!(
            metrics.sum(DB_SERVER, &[]),
            total,
            "{rung}, server: {calls:?} {:?} {}",
            metrics.by(DB_SERVER, &[], &["db_operation_name", "db_response_status_code"]),
            agent.status().unwrap()["conservation"]
        );
        assert_eq!(
            metrics.sum(DB_CLIENT, &[]),
            total - 1,
            "{rung}, client: all but INFO, which is asked from outside of the sandbox"
        );
        agent.stop().unwrap();
    });
}

#[test]
fn dnsmasq_dig_and_getaddrinfo() {
    if !can_run(&["dnsmasq", "dig", "python3"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("counts").unwrap();
        let dns = Dnsmasq::start(&sandbox).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let port = dns.port.to_string();
        for (transport, name, kind) in [
            ("+notcp", "www.example.test", "A"),
            ("+notcp", "www.example.test", "AAAA"),
            ("+tcp", "www.example.test", "A"),
            ("+notcp", "gone.example.test", "A"),
            ("+tcp", "gone.example.test", "MX"),
        ] {
            sandbox.run("dig", &["@127.0.0.1", "-p", &port, "+tries=1", transport, name, kind]).unwrap();
        }
        dns.wait_asked(5).unwrap();
        let metrics = agent
            .metrics_until(|metrics| metrics.sum(DNS_SERVER, &[]) >= 5 && metrics.sum(DNS_CLIENT, &[]) >= 5)
            .unwrap();
        let mut logged: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for ((kind, _), count) in dns.asked() {
            *logged.entry(vec![kind]).or_default() += count;
        }
        assert_eq!(
            metrics.by(DNS_SERVER, &[("service_name", "dnsmasq")], &["dns_question_type"]),
            logged,
            "{rung}, server"
        );
        assert_eq!(
            metrics.by(DNS_CLIENT, &[("service_name", "dig")], &["dns_question_type"]),
            logged,
            "{rung}, client"
        );
        assert_eq!(metrics.sum(DNS_CLIENT, &[("error_type", "NXDOMAIN")]), 2, "{rung}");
        agent.stop().unwrap();
    });
}

/// glibc's resolver sends A and AAAA with one sendmmsg. It asks port 53 alone, so this runs in namespaces of its own: mounts
/// (for `/etc/resolv.conf`) and network (for port 53 on a loopback of its own).
#[test]
fn getaddrinfo_asks_twice_with_one_system_call() {
    if !can_run(&["dnsmasq", "python3", "unshare", "ip"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("counts").unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        sandbox.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n").unwrap();
        let lookups =
            "import socket\nfor _ in range(10): socket.getaddrinfo('www.example.test', 80, type=socket.SOCK_STREAM)\n";
        sandbox.write("lookups.py", lookups).unwrap();
        let script = "ip link set lo up && mount --bind resolv.conf /etc/resolv.conf && \
             { dnsmasq -k --conf-file=/dev/null --no-resolv --no-hosts --listen-address=127.0.0.1 --bind-interfaces --pid-file= \
             --user=root --host-record=www.example.test,192.0.2.10,2001:db8::10 & } && pid=$! && sleep 0.5 && \
             python3 lookups.py; status=$?; kill $pid; exit $status";
        sandbox.run("unshare", &["--net", "--mount", "sh", "-c", script]).unwrap();
        let metrics = agent
            .metrics_until(|metrics| metrics.sum(DNS_SERVER, &[]) >= 20 && metrics.sum(DNS_CLIENT, &[]) >= 20)
            .unwrap();
        let want: BTreeMap<Vec<String>, u64> = [(vec!["A".to_owned()], 10), (vec!["AAAA".to_owned()], 10)].into();
        assert_eq!(metrics.by(DNS_CLIENT, &[], &["dns_question_type"]), want, "{rung}, client");
        assert_eq!(metrics.by(DNS_SERVER, &[], &["dns_question_type"]), want, "{rung}, server");
        agent.stop().unwrap();
    });
}

#[test]
fn every_language() {
    on_both_rungs(|rung| {
        for language in Language::ALL {
            if !can_run(&[language.program(), "curl"]) {
                continue;
            }
            let sandbox = Sandbox::new("counts").unwrap();
            let app = App::start(&sandbox, language).unwrap();
            let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
            // One connection for all (where the server keeps it), and some alone.
            let urls = [app.url("/ok/[1-50]"), app.url("/gone/[1-5]"), app.url("/fail/[1-7]")];
            sandbox
                .run(
                    "curl",
                    &["-s", "-o", "/dev/null", &urls[0], "-o", "/dev/null", &urls[1], "-o", "/dev/null", &urls[2]],
                )
                .unwrap();
            for at in 0..5 {
                sandbox.run("curl", &["-s", "-o", "/dev/null", &app.url(&format!("/ok/{}", 100 + at))]).unwrap();
            }
            assert_eq!(app.answered().unwrap(), 67, "{language:?}");
            // The 68th is the question for the count.
            let metrics = agent
                .metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= 68 && metrics.sum(HTTP_CLIENT, &[]) >= 67)
                .unwrap();
            let mut rows = expected(&[
                ("GET", "/ok/{id}", "200", 55),
                ("GET", "/gone/{id}", "404", 5),
                ("GET", "/fail/{id}", "500", 7),
            ]);
            assert_eq!(http(&metrics, HTTP_CLIENT, "curl"), rows, "{rung}, {language:?}, client");
            rows.extend(expected(&[("GET", "/count", "200", 1)]));
            assert_eq!(http(&metrics, HTTP_SERVER, language.service()), rows, "{rung}, {language:?}, server");
            agent.stop().unwrap();
        }
    });
}
