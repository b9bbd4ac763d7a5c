//! The endpoint, over real sockets.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use redtap::http::{Backend, HttpServer, MAX_CONNECTIONS, guard::MAX_REQUEST_BYTES};
use redtap::registry::Format;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
struct Shown {
    ready: AtomicBool,
    large: AtomicBool,
}

impl Backend for Shown {
    fn metrics(&self, format: Format, out: &mut String) {
        match format {
            Format::Text => out.push_str("up 1\n"),
            Format::OpenMetrics => out.push_str("up 1\n# EOF\n"),
        }
        if self.large.load(Ordering::Relaxed) {
            out.extend(std::iter::repeat_n('#', 64 << 20));
        }
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "rung": "socket" })
    }
}

fn start() -> (HttpServer, Arc<Shown>) {
    let shown = Arc::new(Shown::default());
    let server = HttpServer::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), shown.clone()).unwrap();
    (server, shown)
}

fn ask(server: &HttpServer, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(server: &HttpServer, path: &str, headers: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}Connection: close\r\n\r\n"))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn answers_metrics_in_the_format_asked_for() {
    let (server, _) = start();
    let answer = get(&server, "/metrics", "");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert_eq!(body(&answer), "up 1\n");
    let answer = get(&server, "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    assert_eq!(body(&answer), "up 1\n# EOF\n");
    assert_eq!(server.counters().requests.load(Ordering::Relaxed), 2);
    server.stop();
}

#[test]
fn is_ready_only_once_the_backend_is() {
    let (server, shown) = start();
    let answer = get(&server, "/readyz", "");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(body(&answer), "{\"error\":\"the probe is not attached yet\",\"status\":503}\n");
    assert!(get(&server, "/healthz", "").starts_with("HTTP/1.1 200 "));
    shown.ready.store(true, Ordering::Relaxed);
    assert!(get(&server, "/readyz", "").starts_with("HTTP/1.1 200 "));
    assert_eq!(body(&get(&server, "/api/v1/status", "")), "{\"rung\":\"socket\"}\n");
    assert!(get(&server, "/", "").contains("/api/v1/status"));
    server.stop();
}

#[test]
fn errors_are_json() {
    let (server, _) = start();
    let answer = get(&server, "/nothing", "");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(body(&answer), "{\"error\":\"there is nothing at /nothing; / lists what there is\",\"status\":404}\n");
    let answer = ask(&server, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(body(&answer), "{\"error\":\"only GET and HEAD are answered here\",\"status\":405}\n");
    assert_eq!(server.counters().errors.load(Ordering::Relaxed), 2);
    server.stop();
}

#[test]
fn a_port_that_is_taken_is_named_with_a_remedy() {
    let (server, shown) = start();
    let error = HttpServer::start(server.address(), shown).unwrap_err().to_string();
    let wanted = format!(
        "cannot listen on {}: Address already in use (os error 98); another program has this port (another redtap?): \
         choose one with --listen ADDR or http.listen",
        server.address()
    );
    assert_eq!(error, wanted);
    server.stop();
}

#[test]
fn a_request_larger_than_the_bound_ends_its_connection() {
    let (server, _) = start();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let mut sent = stream.write_all(b"GET / HTTP/1.1\r\nX: ");
    let chunk = [b'a'; 1024];
    // The server stops reading; the client notices when its writes or its read fail.
    for _ in 0..(4 * MAX_REQUEST_BYTES / chunk.len()) {
        sent = sent.and_then(|()| stream.write_all(&chunk));
    }
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    assert!(sent.is_err() || read.is_err() || rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert!(get(&server, "/healthz", "").starts_with("HTTP/1.1 200 "), "others are served");
    assert_eq!(server.counters().connections.oversized.load(Ordering::Relaxed), 1);
    server.stop();
}

#[test]
fn connections_past_the_bound_wait_and_are_served_when_there_is_room() {
    let (server, _) = start();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert_eq!(server.counters().connections.open.load(Ordering::Relaxed), MAX_CONNECTIONS as u64);
    let mut late = TcpStream::connect(server.address()).unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    late.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    let mut answer = String::new();
    let early = late.read_to_string(&mut answer).unwrap_err();
    assert!(matches!(early.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{early} {answer}");
    assert_eq!(server.counters().connections.accepted.load(Ordering::Relaxed), MAX_CONNECTIONS as u64);
    drop(held);
    late.set_read_timeout(None).unwrap();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop();
}

#[test]
fn scrapes_past_the_bound_are_refused_while_the_others_are_being_sent() {
    let (server, shown) = start();
    shown.large.store(true, Ordering::Relaxed);
    let slow: Vec<TcpStream> = (0..redtap::http::MAX_SCRAPES)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let answer = get(&server, "/metrics", "");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{}", &answer[..200.min(answer.len())]);
    assert!(answer.contains("retry-after: 1\r\n"));
    drop(slow);
    server.stop();
}

#[test]
fn stops_although_a_client_keeps_its_connection_open() {
    let (server, _) = start();
    let mut idle = TcpStream::connect(server.address()).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    let address = server.address();
    server.stop();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
