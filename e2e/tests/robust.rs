//! Traffic that is not well behaved, and sockets that are not TCP over IPv4: hostile bytes to and from real servers, unix
//! sockets, IPv6, inherited listeners, pipelines, large bodies, connections that fall silent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{Sandbox, free_port};
use redtap_e2e::servers::apps::{App, Language};
use redtap_e2e::servers::dnsmasq::Dnsmasq;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";

fn on_both_rungs(needs: &[&str], proof: impl Fn(&str)) {
    if can_run(needs) {
        for rung in ["socket", "syscall"] {
            proof(rung);
        }
    }
}

fn until(agent: &Agent, server: u64, client: u64) -> Metrics {
    agent
        .metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= server && metrics.sum(HTTP_CLIENT, &[]) >= client)
        .unwrap()
}

/// Every stage passed on, holds, or counts with a reason what it took; none of them fell.
fn check_conservation(agent: &Agent, case: &str) {
    let status = agent.status().unwrap();
    assert_eq!(status["conservation"]["balanced"], true, "{case}: {}", status["conservation"]);
    for stage in status["shards"].as_array().unwrap().iter().flat_map(|shard| shard["stages"].as_array().unwrap()) {
        assert_eq!((&stage["faults"], &stage["lost"]), (&0.into(), &0.into()), "{case}: {stage}");
    }
}

/// A client and a server that mean harm, in bounded amounts, from a fixed seed.
const HOSTILE: &str = r#"
import random, socket, struct, sys, threading
http, redis, dns, seed = map(int, sys.argv[1:5])
rng = random.Random(seed)
def noise(n): return bytes(rng.getrandbits(8) for _ in range(n))
GOOD = {
  http: [b"GET /users/1 HTTP/1.1\r\nHost: a\r\n\r\n",
         b"POST /broken HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
         b"PUT /users/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n0123456789"],
  redis: [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nxyz\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"*1\r\n$4\r\nPING\r\n",
          b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"],
  dns: [struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"\3www\7example\4test\0\0\1\0\1"],
}
ODD = {
  http: [b"GET  /  HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
         b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
         b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\nHost: a\n\n" * 50,
         b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"\0" * 4096,
         b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(300), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise(100)],
  redis: [b"*1000000\r\n", b"*-1\r\n", b"*3\r\n$-5\r\n", b"*1\r\n$536870913\r\n", b"*" + b"9" * 40 + b"\r\n",
          b"$5\r\nhello\r\n", b"PING" * 5000 + b"\r\n", b"\r\n" * 100, b"*2\r\n$3\r\nGET\r\n", b"+OK\r\n-ERR\r\n:1\r\n"],
  dns: [struct.pack(">HHHHHH", 7, 256, 65535, 65535, 65535, 65535), b"\0" * 12,
        struct.pack(">HHHHHH", 8, 256, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        struct.pack(">HHHHHH", 9, 256, 1, 0, 0, 0) + b"\x3f" + b"a" * 63 + b"\0\0\1\0\1", b"", b"x"],
}
def mutated(text):
    text = bytearray(text)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(text))
        kind = rng.randrange(3)
        if kind == 0: text[at] = rng.getrandbits(8)
        elif kind == 1: del text[at:at + rng.randrange(1, 4)]
        else: text[at:at] = noise(rng.randrange(1, 9))
        if not text: break
    return bytes(text)
def attack(port):
    kind = rng.randrange(5)
    if kind == 0: return noise(rng.randrange(1, 3000))
    if kind == 1: return rng.choice(ODD[port])
    good = rng.choice(GOOD[port])
    if kind == 2: return good[:rng.randrange(len(good))]
    if kind == 3: return mutated(good * rng.randrange(1, 20))
    return good * 3 + noise(200) + good * 3
def tcp(port, text):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.settimeout(0.05)
        try:
            cut = rng.randrange(len(text) + 1)
            s.sendall(text[:cut]); s.sendall(text[cut:])
            if rng.randrange(2): s.shutdown(socket.SHUT_WR)
            while s.recv(65536): pass
        except OSError: pass
        if rng.randrange(3) == 0: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
for _ in range(120):
    tcp(http, attack(http)); tcp(redis, attack(redis))
    question = attack(dns)
    tcp(dns, struct.pack(">H", rng.choice([len(question) & 65535, 0, 65535])) + question)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", dns)); s.send(attack(dns)[:1400])
# The other way round: a decent question, and an answer that is none.
ANSWERS = [b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
           b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000, b"-" * 70000, b"*2147483647\r\n" * 10,
           b"$-2\r\n", b"*1\r\n" * 3000, b"%1\r\n~1\r\n|1\r\n" * 500, b""]
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(16)
def bad_server(rounds):
    for at in range(rounds):
        peer, _ = listener.accept()
        with peer:
            try:
                peer.recv(65536)
                peer.sendall(ANSWERS[at % len(ANSWERS)] if at % 3 else noise(2000))
                if at % 5 == 0: peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError: pass
rounds = 66
server = threading.Thread(target=bad_server, args=(rounds,)); server.start()
for at in range(rounds):
    with socket.create_connection(listener.getsockname(), 5) as s:
        s.settimeout(0.05)
        try:
            s.sendall(GOOD[http][0] if at % 2 else GOOD[redis][1])
            while s.recv(65536): pass
        except OSError: pass
server.join()
print("done")
"#;

#[test]
fn hostile_bytes_do_no_harm_and_what_follows_is_exact() {
    on_both_rungs(&["nginx", "redis-server", "dnsmasq", "python3", "curl"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let redis = Redis::start(&sandbox).unwrap();
        let dns = Dnsmasq::start(&sandbox).unwrap();
        sandbox.write("hostile.py", HOSTILE).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let ports = [nginx.port, redis.port, dns.port].map(|port| port.to_string());
        for seed in ["1", "2"] {
            let said = sandbox.run("python3", &["hostile.py", &ports[0], &ports[1], &ports[2], seed]).unwrap();
            assert_eq!(said, "done\n");
        }
        let path = [("http_route", "/static/after.html")];
        let count = |metrics: &Metrics| metrics.sum(HTTP_SERVER, &path).min(metrics.sum(HTTP_CLIENT, &path));
        let url = nginx.url("/static/after.html?n=[1-30]");
        sandbox.run("curl", &["-s", "-o", "/dev/null", &url]).unwrap();
        let metrics = agent.metrics_until(|metrics| count(metrics) >= 30).unwrap();
        assert_eq!(metrics.sum(HTTP_SERVER, &path), 30, "{rung}");
        assert_eq!(metrics.sum(HTTP_CLIENT, &path), 30, "{rung}");
        // Something of it was looked at, and refused.
        let parse = [("stage", "parse")];
        assert!(metrics.sum("redtap_stage_taken_total", &parse) > 500, "{rung}");
        check_conservation(&agent, rung);
        let log = agent.stop().unwrap();
        assert!(!log.contains("panicked"), "{rung}: {log}");
    });
}

#[test]
fn unix_sockets_are_sockets() {
    on_both_rungs(&["nginx", "curl"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let path = sandbox.folder().join("nginx.sock");
        let path = path.to_str().unwrap();
        let nginx = Nginx::start_on(&sandbox, 1, &[&format!("unix:{path}")]).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        for _ in 0..5 {
            sandbox.run("curl", &["-s", "-o", "/dev/null", "--unix-socket", path, "http://shop/users/[1-4]"]).unwrap();
        }
        sandbox.run("curl", &["-s", "-o", "/dev/null", "--unix-socket", path, "http://shop/missing"]).unwrap();
        nginx.wait_answered(21).unwrap();
        let metrics = until(&agent, 21, 21);
        for (name, service) in [(HTTP_SERVER, "nginx"), (HTTP_CLIENT, "curl")] {
            let labels = |route, status| {
                [("service_name", service), ("http_route", route), ("http_response_status_code", status)]
            };
            assert_eq!(metrics.sum(name, &labels("/users/{id}", "200")), 20, "{rung}, {name}");
            assert_eq!(metrics.sum(name, &labels("/missing", "404")), 1, "{rung}, {name}");
            assert_eq!(metrics.sum(name, &[]), 21, "{rung}, {name}");
        }
        agent.stop().unwrap();
    });
}

#[test]
fn ipv6_and_ipv4_in_ipv6() {
    on_both_rungs(&["nginx", "curl"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let (six, mapped) = (free_port().unwrap(), free_port().unwrap());
        let listen = [format!("[::1]:{six}"), format!("[::ffff:127.0.0.1]:{mapped} ipv6only=off")];
        let nginx = Nginx::start_on(&sandbox, 1, &[&listen[0], &listen[1]]).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        // An IPv6 socket at both ends; IPv6 sockets that speak IPv4, at one end or both.
        for (url, count) in [
            (format!("http://[::1]:{six}/users/[1-7]"), 7),
            (format!("http://127.0.0.1:{mapped}/users/[1-5]"), 5),
            (format!("http://[::ffff:127.0.0.1]:{mapped}/users/[1-3]"), 3),
            (format!("http://[::ffff:127.0.0.1]:{}/users/[1-2]", nginx.port), 2),
        ] {
            let said = sandbox.run("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}\n", &url]).unwrap();
            assert_eq!(said, "200\n".repeat(count), "{url}");
        }
        let metrics = until(&agent, 17, 17);
        let want: BTreeMap<Vec<String>, u64> =
            [("::1", six, 7), ("127.0.0.1", mapped, 8), ("127.0.0.1", nginx.port, 2)]
                .map(|(address, port, count)| (vec![address.to_owned(), port.to_string()], count))
                .into();
        let by_port = |keys: &[&str]| -> BTreeMap<Vec<String>, u64> { metrics.by(HTTP_CLIENT, &[], keys) };
        let ports: BTreeMap<Vec<String>, u64> =
            want.into_iter().map(|(key, count)| (vec![key[1].clone()], count)).collect();
        assert_eq!(by_port(&["server_port"]), ports, "{rung}, client");
        assert_eq!(metrics.sum(HTTP_SERVER, &[("service_name", "nginx"), ("http_route", "/users/{id}")]), 17, "{rung}");
        assert_eq!(metrics.sum(HTTP_SERVER, &[]), 17, "{rung}");
        // Both ends were recognised as one: the edge knows who answers.
        let edge = [("client", "curl"), ("server", "nginx")];
        assert_eq!(metrics.sum("traces_service_graph_request_total", &edge), 17, "{rung}");
        agent.stop().unwrap();
    });
}

/// Listens, forks four times, and every child accepts from what it inherited and notes each answer.
const PREFORK: &str = r#"
import os, socket, sys
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1]))); listener.listen(128)
def serve():
    log = os.open("answered", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        peer, _ = listener.accept()
        with peer:
            pending = b""
            while True:
                data = peer.recv(65536)
                if not data: break
                pending += data
                while b"\r\n\r\n" in pending:
                    head, pending = pending.split(b"\r\n\r\n", 1)
                    os.write(log, b"%d\n" % os.getpid())
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0: serve()
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
"#;

#[test]
fn servers_that_fork_before_they_accept() {
    on_both_rungs(&["python3", "curl"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let port = free_port().unwrap();
        sandbox.write("prefork.py", PREFORK).unwrap();
        // Half of the time the listener is older than the agent.
        let agent_first = rung == "socket";
        let early = agent_first.then(|| Agent::start(&sandbox, &["--rung", rung]).unwrap());
        let server = sandbox.start("prefork", "python3", &["prefork.py", &port.to_string()]).unwrap();
        let _server = server.wait_port(port).unwrap();
        let agent = early.unwrap_or_else(|| Agent::start(&sandbox, &["--rung", rung]).unwrap());
        let url = format!("http://127.0.0.1:{port}/users/[1-5]");
        let clients: Vec<_> = (0..20)
            .map(|_| sandbox.command("curl", &["-s", "-o", "/dev/null", &url]).unwrap().spawn().unwrap())
            .collect();
        for mut client in clients {
            assert!(client.wait().unwrap().success());
        }
        let answered = std::fs::read_to_string(sandbox.folder().join("answered")).unwrap();
        assert_eq!(answered.lines().count(), 100);
        let metrics = until(&agent, 100, 100);
        let labels =
            [("service_name", "prefork.py"), ("http_route", "/users/{id}"), ("http_response_status_code", "200")];
        assert_eq!(metrics.sum(HTTP_SERVER, &labels), 100, "{rung}");
        assert_eq!(metrics.sum(HTTP_SERVER, &[]), 100, "{rung}");
        assert_eq!(metrics.sum(HTTP_CLIENT, &[]), 100, "{rung}");
        agent.stop().unwrap();
    });
}

/// Sends all requests of a round in one write, and reads all answers before the next round.
const PIPELINE: &str = r#"
import socket, sys
paths = [(b"GET", b"/users/%d"), (b"GET", b"/missing?%d"), (b"HEAD", b"/static/a.html?%d"), (b"POST", b"/broken?%d")]
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    file = s.makefile("rb")
    for round in range(int(sys.argv[2])):
        requests = [(paths[at % 4][0], paths[at % 4][1] % at) for at in range(int(sys.argv[3]))]
        s.sendall(b"".join(b"%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % request for request in requests))
        for method, _ in requests:
            length = 0
            while (line := file.readline()) != b"\r\n":
                assert line, "the server left"
                if line.lower().startswith(b"content-length:"): length = int(line.split(b":")[1])
            if method != b"HEAD": assert len(file.read(length)) == length
print("done")
"#;

#[test]
fn several_requests_in_one_write() {
    on_both_rungs(&["nginx", "python3"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        sandbox.write("pipeline.py", PIPELINE).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        // 20 requests of some 60 bytes each: a turn that is captured whole.
        let said = sandbox.run("python3", &["pipeline.py", &nginx.port.to_string(), "10", "20"]).unwrap();
        assert_eq!(said, "done\n");
        nginx.wait_answered(200).unwrap();
        let metrics = until(&agent, 200, 200);
        let keys = ["http_request_method", "http_route", "http_response_status_code"];
        let want: BTreeMap<Vec<String>, u64> = [
            ("GET", "/users/{id}", "200"),
            ("GET", "/missing", "404"),
            ("HEAD", "/static/a.html", "200"),
            ("POST", "/broken", "500"),
        ]
        .map(|(method, route, status)| (vec![method.into(), route.into(), status.into()], 50))
        .into();
        assert_eq!(metrics.by(HTTP_CLIENT, &[("service_name", "pipeline.py")], &keys), want, "{rung}, client");
        assert_eq!(metrics.by(HTTP_SERVER, &[("service_name", "nginx")], &keys), want, "{rung}, server");
        check_conservation(&agent, rung);
        agent.stop().unwrap();
    });
}

#[test]
fn connections_closed_after_each_answer() {
    on_both_rungs(&["nginx", "curl"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let nginx = Nginx::start(&sandbox, 2).unwrap();
        let app = App::start(&sandbox, Language::Python).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        // A curl for each: one that believes in a connection that is being closed asks a second time, and rightly is counted.
        for at in 0..40 {
            let version = if at % 2 == 0 { "--http1.1" } else { "--http1.0" };
            for url in [nginx.url(&format!("/users/{at}")), app.url(&format!("/ok/{at}"))] {
                let arguments = ["-s", "-o", "/dev/null", version, "-H", "Connection: close", &url];
                sandbox.run("curl", &arguments).unwrap();
            }
        }
        let metrics = until(&agent, 80, 80);
        for (service, count) in [("nginx", 40), ("shop.py", 40)] {
            let labels = [("service_name", service), ("http_response_status_code", "200")];
            assert_eq!(metrics.sum(HTTP_SERVER, &labels), count, "{rung}, {service}");
        }
        let ok = [("http_response_status_code", "200")];
        assert_eq!(metrics.sum(HTTP_CLIENT, &ok), 80, "{rung}");
        let all =
            metrics.by(HTTP_CLIENT, &[], &["service_name", "http_route", "http_response_status_code", "error_type"]);
        assert_eq!(metrics.sum(HTTP_CLIENT, &[]), 80, "{rung}: {all:?}");
        assert_eq!(metrics.sum(HTTP_SERVER, &[]), 80, "{rung}");
        agent.stop().unwrap();
    });
}

#[test]
fn large_bodies_on_one_connection() {
    on_both_rungs(&["nginx", "curl"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let format = "%{num_connects} %{time_pretransfer} %{time_starttransfer} %{time_total}\n";
        let url = nginx.url("/big?n=[1-20]");
        let text = sandbox.run("curl", &["-s", "-o", "/dev/null", "-w", format, &url]).unwrap();
        let (mut connections, mut least, mut most) = (0.0, 0.0, 0.0);
        for line in text.lines() {
            let times: Vec<f64> = line.split(' ').map(|time| time.parse().unwrap()).collect();
            connections += times[0];
            // Nothing ends before the first byte of the answer, nothing later than curl is done.
            least += times[2] - times[1];
            most += times[3];
        }
        assert!((connections - 1.0_f64).abs() < 0.5, "one connection: {text}");
        let metrics = until(&agent, 20, 20);
        for name in [HTTP_SERVER, HTTP_CLIENT] {
            let labels = [("http_route", "/big"), ("http_response_status_code", "200")];
            assert_eq!((metrics.sum(name, &labels), metrics.sum(name, &[])), (20, 20), "{rung}, {name}");
        }
        let sum: f64 =
            metrics.matching("http_client_request_duration_seconds_sum", &[]).map(|sample| sample.value).sum();
        // curl notices a byte a little later than the socket gives it.
        assert!(least - 0.02 <= sum && sum <= most + 0.02, "{rung}: {least} <= {sum} <= {most}");
        agent.stop().unwrap();
    });
}

/// Asks once, reads the whole answer, says so, and keeps the connection open and silent until told to leave.
const SILENT: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", sys.argv[2])
answer = connection.getresponse(); answer.read()
assert answer.status == 200
print("read", flush=True)
sys.stdin.readline()
"#;

#[test]
fn an_answer_is_counted_though_nothing_follows_it() {
    on_both_rungs(&["nginx", "python3"], |rung| {
        let sandbox = Sandbox::new("robust").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let app = App::start(&sandbox, Language::Python).unwrap();
        sandbox.write("silent.py", SILENT).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        // A length far beyond what is captured; chunks; a short answer.
        for (port, path, route) in
            [(nginx.port, "/big", "/big"), (app.port, "/trickle", "/trickle"), (nginx.port, "/users/1", "/users/{id}")]
        {
            let mut client = sandbox
                .command("python3", &["silent.py", &port.to_string(), path])
                .unwrap()
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "read");
            let labels = [("http_route", route), ("http_response_status_code", "200")];
            let counted = |metrics: &Metrics| (metrics.sum(HTTP_SERVER, &labels), metrics.sum(HTTP_CLIENT, &labels));
            // Three seconds of asking; the time-out that would end it anyway is thirty.
            let mut seen = (0, 0);
            for _ in 0..30 {
                seen = counted(&agent.metrics().unwrap());
                if seen == (1, 1) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            assert_eq!(seen, (1, 1), "{rung}: {path}: server, client");
            drop(client.stdin.take());
            assert!(client.wait().unwrap().success());
        }
        agent.stop().unwrap();
    });
}
