//! The endpoint, over real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use redtap::export::client::ClientSettings;
use redtap::fleet::{Fleet, FleetSettings, REPORT_WITHIN};
use redtap::history::History;
use redtap::http::{Access, Backend, HttpServer, MAX_CONNECTIONS, Surface, Tls, guard::MAX_REQUEST_BYTES};
use redtap::registry::Format;
use redtap::reports::Reports;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[derive(Default)]
struct Shown {
    ready: AtomicBool,
    large: AtomicBool,
    history: AtomicBool,
    fleet: OnceLock<Arc<Fleet>>,
}

impl Backend for Shown {
    fn metrics(&self, format: Format, out: &mut String) {
        match format {
            Format::Text => out.push_str("up 1\n"),
            Format::OpenMetrics => out.push_str("up 1\n# EOF\n"),
        }
        if self.large.load(Ordering::Relaxed) {
            out.push_str(&"#".repeat(64 << 20));
        }
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "rung": "socket" })
    }

    fn reports(&self) -> Option<Arc<dyn Reports>> {
        if let Some(fleet) = self.fleet.get() {
            return Some(fleet.clone());
        }
        let history = || Arc::new(History::new(1 << 20)) as Arc<dyn Reports>;
        self.history.load(Ordering::Relaxed).then(history)
    }
}

fn start() -> (HttpServer, Arc<Shown>) {
    start_with(Surface { access: Access::new(&[], None, false), tls: None })
}

fn start_with(surface: Surface) -> (HttpServer, Arc<Shown>) {
    let shown = Arc::new(Shown::default());
    let server = HttpServer::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), surface, shown.clone()).unwrap();
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
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
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
    let answer =
        ask(&server, "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(body(&answer), "{\"error\":\"only GET and HEAD are answered here\",\"status\":405}\n");
    assert_eq!(server.counters().errors.load(Ordering::Relaxed), 2);
    server.stop();
}

#[test]
fn a_port_that_is_taken_is_named_with_a_remedy() {
    let (server, shown) = start();
    let error = HttpServer::start(server.address(), Surface::default(), shown).unwrap_err().to_string();
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

/// A server with all places taken by connections that were answered, and how long that took.
fn held() -> (HttpServer, Vec<TcpStream>, Duration) {
    let (server, _) = start();
    let begun = redtap::clock::monotonic();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    (server, held, Duration::from_nanos(redtap::clock::monotonic().since(begun).0))
}

#[test]
fn connections_past_the_bound_wait_and_are_served_when_there_is_room() {
    // On a machine that is busy it may take so long to open all that the first make room already: then once more.
    let (server, held) = std::iter::repeat_with(held)
        .take(20)
        .find_map(|(server, held, took)| (took < redtap::http::guard::PATIENCE / 2).then_some((server, held)))
        .unwrap();
    assert_eq!(server.counters().connections.open.load(Ordering::Relaxed), MAX_CONNECTIONS as u64);
    let mut late = TcpStream::connect(server.address()).unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
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
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
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

/// Asks for `/metrics` and reads the beginning of the answer.
fn begin_scrape(server: &HttpServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    // What the kernel takes for a client counts as taken: little of it, so that the test is short.
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 16 << 10).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[test]
fn who_takes_an_answer_too_slowly_loses_the_place_of_a_scrape() {
    let (server, shown) = start();
    shown.large.store(true, Ordering::Relaxed);
    let begun = redtap::clock::monotonic();
    let mut slow: Vec<TcpStream> = (1..redtap::http::MAX_SCRAPES).map(|_| begin_scrape(&server)).collect();
    let mut steady = begin_scrape(&server);
    assert_eq!(status(&get(&server, "/metrics", "")), "503", "all places are taken");
    let done = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&done);
    // Ten times as fast as it must be.
    let steady = std::thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        let mut taken = 0;
        while !until.load(Ordering::Relaxed) {
            taken += steady.read(&mut chunk).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        taken
    });
    let closed = || server.counters().connections.slow.load(Ordering::Relaxed);
    let most = redtap::http::guard::ANSWER_WITHIN * 4;
    let waited = || Duration::from_nanos(redtap::clock::monotonic().since(begun).0);
    // Each takes 4 KiB a second: never idle, never done.
    while closed() < slow.len() as u64 {
        for stream in &mut slow {
            let _ = stream.read(&mut [0; 1024]);
        }
        std::thread::sleep(Duration::from_millis(250));
        assert!(waited() < most, "{} of {} are closed after {:?}", closed(), slow.len(), waited());
    }
    assert!(waited() >= redtap::http::guard::ANSWER_WITHIN, "not before its time: {:?}", waited());
    shown.large.store(false, Ordering::Relaxed);
    assert_eq!(status(&get(&server, "/metrics", "")), "200", "their places are free");
    done.store(true, Ordering::Relaxed);
    assert!(steady.join().unwrap() > 1 << 20, "who takes it steadily is not disturbed");
    assert_eq!(server.counters().connections.timed_out.load(Ordering::Relaxed), 0);
    server.stop();
}

#[test]
fn a_report_whose_engine_is_silent_is_given_up_before_its_connection_and_leaves_its_place() {
    let (server, shown) = start();
    // An engine that hangs: the kernel takes connections for it, and nobody answers.
    let engine = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", engine.local_addr().unwrap());
    let client = ClientSettings::new(url.parse().unwrap(), REPORT_WITHIN - Duration::from_secs(1));
    let fleet = Fleet::new(FleetSettings { client, interval: 15, labels: std::collections::BTreeMap::new() }).unwrap();
    assert!(shown.fleet.set(Arc::new(fleet)).is_ok());
    let ask = || {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /api/v1/services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // Told at once that all places are taken, or in a place.
    let is_refused = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let refused = stream.peek(&mut [0; 1]).is_ok();
        stream.set_read_timeout(None).unwrap();
        refused
    };
    let (first, leaves) = (ask(), ask());
    assert!(!is_refused(&first) && !is_refused(&leaves));
    assert_eq!(status(&get(&server, "/api/v1/topology", "")), "503", "both places are taken");
    // Who goes away leaves the place, long before the report would be given up.
    drop(leaves);
    let second = (0..5).map(|_| ask()).find(|stream| !is_refused(stream)).unwrap();
    let (first, second) = (answer(first), answer(second));
    for (answer, code, word) in [(&first, "502", "no answer in time"), (&second, "504", "within 9 s")] {
        assert_eq!(status(answer), code, "{answer}");
        let said: serde_json::Value = serde_json::from_str(body(answer)).unwrap();
        let said = said["error"].as_str().unwrap();
        for word in [word, &url, "ui.query_labels"] {
            assert!(said.contains(word), "{said}");
        }
    }
    assert_eq!(server.counters().connections.timed_out.load(Ordering::Relaxed), 0);
    // Both places are free: two more are taken in, and not refused at once.
    let again = [ask(), ask()];
    assert!(!again.iter().any(is_refused));
    drop(again);
    server.stop();
}

#[test]
fn stops_although_a_client_keeps_its_connection_open() {
    let (server, _) = start();
    let mut idle = TcpStream::connect(server.address()).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    let address = server.address();
    server.stop();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

const TOKEN: &str = "0123456789abcdef-test";

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.split_once("\r\n\r\n")?.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn the_interface_comes_with_its_policy_and_is_not_sent_twice() {
    let (server, _) = start();
    let page = get(&server, "/", "");
    assert_eq!(header(&page, "content-security-policy"), Some(redtap::http::POLICY));
    assert_eq!(header(&page, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&page, "referrer-policy"), Some("no-referrer"));
    assert_eq!(header(&page, "content-type"), Some("text/html; charset=utf-8"));
    assert!(body(&page).starts_with("<!doctype html>"), "{page}");
    let tag = header(&page, "etag").unwrap();
    let again = get(&server, "/index.html", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((status(&again), body(&again)), ("304", ""));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut packed = Vec::new();
    stream.read_to_end(&mut packed).unwrap();
    let at = packed.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&packed[at..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, body(&page));
    server.stop();
}

#[test]
fn no_path_leads_to_a_file_of_the_disk() {
    let (server, _) = start();
    for path in [
        "/etc/passwd",
        "//etc/passwd",
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..\\..\\etc\\passwd",
        "/index.html%00.png",
        "/proc/self/environ",
        "/Cargo.toml",
    ] {
        let answer = get(&server, path, "");
        assert_eq!(status(&answer), "404", "{path}");
    }
    server.stop();
}

#[test]
fn a_request_meant_for_another_host_is_not_answered() {
    let (server, _) = start();
    for host in ["evil.example", "evil.example:9464", "localhost.evil.example"] {
        let answer = ask(&server, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        assert_eq!(status(&answer), "421", "{host}");
        assert!(body(&answer).contains("http.hosts"), "{answer}");
    }
    let answer = ask(&server, "GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(status(&answer), "200");
    server.stop();
}

#[test]
fn without_the_token_nothing_but_its_health_is_told() {
    let (server, _) = start_with(Surface { access: Access::new(&[], Some(TOKEN), false), tls: None });
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/services", "/nothing"] {
        let answer = get(&server, path, "");
        assert_eq!(status(&answer), "401", "{path}");
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer realm=\"redtap\""));
        assert_eq!(status(&get(&server, path, "Authorization: Bearer 0123456789abcdef-tesu\r\n")), "401", "{path}");
    }
    assert_eq!(status(&get(&server, "/healthz", "")), "200");
    assert_eq!(status(&get(&server, "/readyz", "")), "503");
    assert_eq!(status(&get(&server, "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"))), "200");
    let entered = get(&server, &format!("/?token={TOKEN}"), "");
    assert_eq!((status(&entered), header(&entered, "location")), ("303", Some("/")));
    let cookie = header(&entered, "set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(status(&get(&server, "/", &format!("Cookie: {cookie}\r\n"))), "200");
    server.stop();
}

#[test]
fn reports_say_what_is_wrong_with_a_question() {
    let (server, shown) = start();
    assert_eq!(status(&get(&server, "/api/v1/services", "")), "503", "there is no history");
    shown.history.store(true, Ordering::Relaxed);
    let services = get(&server, "/api/v1/services?last=5m", "");
    assert_eq!(status(&services), "200", "{services}");
    let report: serde_json::Value = serde_json::from_str(body(&services)).unwrap();
    assert_eq!(report["range"]["step"], 5);
    assert_eq!(report["services"], serde_json::json!([]));
    assert_eq!(status(&get(&server, "/api/v1/topology", "")), "200");
    for (path, wanted, word) in [
        ("/api/v1/services/shop", "404", "shop"),
        ("/api/v1/services/a%2Fb", "404", "a/b"),
        ("/api/v1/services/%ff", "400", "UTF-8"),
        ("/api/v1/services?last=5", "400", "last=5"),
        ("/api/v1/services?last=2d", "400", "24h"),
        ("/api/v1/services?until=1", "400", "last day"),
        ("/api/v1/topology?from=1", "400", "from"),
    ] {
        let answer = get(&server, path, "");
        assert_eq!(status(&answer), wanted, "{path}: {answer}");
        assert!(body(&answer).contains(word), "{path}: {answer}");
    }
    server.stop();
}

/// Certificate and key of a server of that name, as files.
fn certificate(folder: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key, made.cert.der().to_vec())
}

fn tls_client(server: &HttpServer, root: &[u8]) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.to_vec().into()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    rustls::StreamOwned::new(client, TcpStream::connect(server.address()).unwrap())
}

#[test]
fn speaks_tls_alone_where_it_has_a_certificate_and_the_bounds_hold_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key, root) = certificate(folder.path());
    let tls = Tls::read(&certificate, &key).unwrap();
    let access = Access::new(&[], None, true);
    let (server, _) = start_with(Surface { access, tls: Some(tls) });
    let mut client = tls_client(&server, &root);
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!((status(&answer), body(&answer)), ("200", "up 1\n"));
    // Without TLS there is an alert or an end, and no answer.
    let mut plain = TcpStream::connect(server.address()).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    drop(plain.read_to_end(&mut rest));
    assert!(!rest.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&rest));
    // A request without an end.
    let mut large = tls_client(&server, &root);
    let mut sent = large.write_all(b"GET / HTTP/1.1\r\nX: ");
    for _ in 0..64 {
        sent = sent.and_then(|()| large.write_all(&[b'a'; 1024]));
    }
    rest.clear();
    let read = large.read_to_end(&mut rest);
    assert!(sent.is_err() || read.is_err() || rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(server.counters().connections.oversized.load(Ordering::Relaxed), 1);
    server.stop();
}

#[test]
fn a_certificate_that_is_none_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key, _) = certificate(folder.path());
    let other = tempfile::tempdir().unwrap();
    let (_, other, _) = self::certificate(other.path());
    let missing = folder.path().join("missing");
    for (cert, key, word) in [
        (&missing, &key, "http.tls_cert = "),
        (&certificate, &missing, "http.tls_key = "),
        (&key, &key, "http.tls_cert = "),
        (&certificate, &certificate, "http.tls_key = "),
        (&certificate, &other, "http.tls_cert and http.tls_key"),
    ] {
        let error = Tls::read(cert, key).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// The beginning of a request that has no end soon.
const REQUEST: &[u8] =
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// The same of a TLS handshake: a record of 512 bytes with a ClientHello of 508 (RFC 8446, sections 4 and 5.1).
const HELLO: &[u8] =
    &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Opens so many connections that each send a byte of `bytes` a second, for as long as `until` is not set.
fn trickle(
    address: SocketAddr,
    count: usize,
    bytes: &'static [u8],
    until: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<usize> {
    let until = Arc::clone(until);
    let mut all: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::thread::spawn(move || {
        let mut closed = 0;
        for byte in bytes {
            for stream in &mut all {
                if stream.write_all(&[*byte]).is_err() {
                    closed += 1;
                    // One that is thrown out comes back.
                    if let Ok(again) = TcpStream::connect(address) {
                        *stream = again;
                    }
                }
            }
            for _ in 0..10 {
                if until.load(Ordering::Relaxed) {
                    return closed;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        closed
    })
}

#[test]
fn hundreds_of_slow_clients_do_not_keep_a_scraper_out() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key, root) = certificate(folder.path());
    for secured in [false, true] {
        let tls = secured.then(|| Tls::read(&certificate, &key).unwrap());
        let (server, _) = start_with(Surface { access: Access::new(&[], None, secured), tls });
        let done = Arc::new(AtomicBool::new(false));
        let bytes = if secured { HELLO } else { REQUEST };
        let slow = trickle(server.address(), 4 * MAX_CONNECTIONS, bytes, &done);
        for _ in 0..2 {
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            // The bound of a request, which is also how long a scraper waits by default.
            let within = Some(redtap::http::guard::REQUEST_WITHIN);
            if secured {
                let mut client = tls_client(&server, &root);
                client.sock.set_read_timeout(within).unwrap();
                client.write_all(request).unwrap();
                client.read_to_string(&mut answer).unwrap();
            } else {
                let mut client = TcpStream::connect(server.address()).unwrap();
                client.set_read_timeout(within).unwrap();
                client.write_all(request).unwrap();
                client.read_to_string(&mut answer).unwrap();
            }
            assert_eq!((status(&answer), body(&answer)), ("200", "up 1\n"));
        }
        let connections = &server.counters().connections;
        assert!(connections.crowded.load(Ordering::Relaxed) > 0);
        assert!(connections.open.load(Ordering::Relaxed) <= MAX_CONNECTIONS as u64);
        done.store(true, Ordering::Relaxed);
        slow.join().unwrap();
        server.stop();
    }
}
