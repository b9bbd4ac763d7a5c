//! HTTP/1 against recordings of real servers and clients, against `httparse`, and against what may be missing.

use super::*;
use crate::flow::conn::{Role, Transport};
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};
use proptest::prelude::*;

macro_rules! recordings {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../tests/fixtures/http1/", $name, ".bin")))),*]
    };
}

/// All of which every byte can be read.
const CLEAN: &[(&str, &[u8])] = recordings![
    "nginx_keepalive",
    "nginx_gzip_chunked",
    "nginx_pipeline",
    "node_trailers",
    "node_early_hints",
    "node_chunked_upload",
    "node_upgrade",
    "node_connect",
    "php_close",
    "python_until_close",
];

fn conversation(name: &str) -> Conversation {
    let (_, bytes) = CLEAN.iter().find(|(have, _)| *have == name).expect("a recording of that name");
    Conversation::read(bytes, Transport::Tcp)
}

fn read(conversation: &Conversation) -> Vec<Message> {
    let mut drive = Drive::<Http1>::new(Transport::Tcp);
    drive.converse(conversation);
    drive.end(Egress);
    drive.end(Ingress);
    folded(&drive.out.0)
}

fn said(name: &str) -> Vec<String> {
    read(&conversation(name)).iter().map(short).collect()
}

fn short(message: &Message) -> String {
    let cut = if message.cut { " cut" } else { "" };
    match message.kind {
        MessageKind::Request => format!("{} {} {}{cut}", message.method, message.target, message.bytes),
        MessageKind::Interim => format!("({}) {}{cut}", message.code, message.bytes),
        _ => format!("{} {:?} {}{cut}", message.code, message.status, message.bytes),
    }
}

#[test]
fn reads_what_nginx_and_curl_said() {
    assert_eq!(
        said("nginx_keepalive"),
        [
            "GET /small.txt 88",
            "200 Ok 241",
            "HEAD /large.txt 89",
            "200 Ok 241",
            "GET /absent?x=1 89",
            "404 Error 308",
            "POST /small.txt 160",
            "405 Error 314",
            "GET /moved 84",
            "302 Ok 352",
            "GET /none 83",
            "204 Ok 110",
            "GET /small.txt 138",
            "200 Ok 241",
            "GET /small.txt 106",
            "206 Ok 257",
        ]
    );
    assert_eq!(said("nginx_gzip_chunked"), ["GET /large.txt 130", "200 Ok 1969", "GET /large.txt 88", "200 Ok 8231"]);
}

#[test]
fn reads_a_pipeline_with_head_and_no_content_in_it() {
    let said = said("nginx_pipeline");
    assert_eq!(said.len(), 12);
    let codes = said[6..].iter().map(|line| &line[..3]).collect::<Vec<_>>();
    assert_eq!(codes, ["200", "200", "404", "404", "204", "200"]);
    assert_eq!(said[3], "HEAD /absent 34");
}

#[test]
fn reads_chunks_trailers_interim_answers_and_expectations() {
    assert_eq!(
        said("node_trailers"),
        ["GET /trailer 86", "200 Ok 210", "GET /trailer/2 88", "200 Ok 210", "GET /error 84", "503 Error 141"]
    );
    assert_eq!(said("node_early_hints")[..3], ["GET /hints 84", "(103) 61", "200 Ok 128"]);
    assert_eq!(
        said("node_chunked_upload"),
        ["POST /upload 475", "200 Ok 129", "POST /expect 2179", "(100) 25", "200 Ok 130"]
    );
}

#[test]
fn hands_over_after_an_upgrade_and_a_tunnel() {
    for (name, answer) in [("node_upgrade", "101 Ok 72"), ("node_connect", "200 Ok 39")] {
        let messages = read(&conversation(name));
        assert_eq!(messages.len(), 2, "{name}: nothing behind the answer is ours");
        assert_eq!(short(&messages[1]), answer);
        assert!(messages[1].upgrade, "{name}");
    }
}

#[test]
fn reads_bodies_that_end_with_the_connection() {
    assert_eq!(said("python_until_close"), ["GET /x 80", "200 Ok 758"]);
    assert_eq!(said("php_close"), ["GET /index.php?c=500 94", "500 Error 186"]);
}

#[test]
fn makes_up_the_request_that_a_server_refused_to_read() {
    let recording = include_bytes!("../../../tests/fixtures/http1/nginx_bad_request.bin");
    let drive = Drive::<Http1>::new(Transport::Tcp).conversation(&Conversation::read(recording, Transport::Tcp));
    let said = drive.out.0.iter().map(short).collect::<Vec<_>>();
    assert_eq!(said, ["GET /small.txt 36", "200 Ok 241", "  0 cut", "400 Error 309"]);
}

#[test]
fn keeps_the_laws() {
    for (name, _) in CLEAN {
        let conversation = conversation(name);
        laws::keeps_prefixes::<Http1>(&conversation);
        laws::keeps_splits::<Http1>(&conversation);
        let lasts = ["node_upgrade", "node_connect", "php_close", "python_until_close"].contains(name);
        laws::keeps_gaps::<Http1>(&conversation, !lasts);
        laws::keeps_hostile::<Http1>(&conversation, 300);
    }
}

#[test]
fn probes_keep_the_law() {
    let context = ProbeContext { transport: Transport::Tcp, server_port: 80, late: false };
    for (name, _) in CLEAN {
        for (direction, bytes) in &conversation(name).turns {
            let wanted = match (direction, bytes.first()) {
                (Egress, Some(b'C'..=b'P')) => Probe::Match(Speaker::Client),
                (Ingress, Some(b'H')) => Probe::Match(Speaker::Server),
                _ => continue,
            };
            laws::keeps_probe::<Http1>(bytes, context, wanted);
        }
    }
}

/// A connection fed by hand, seen from the client.
struct Talk(Drive<Http1>);

impl Talk {
    fn new() -> Self {
        Self(Drive::new(Transport::Tcp))
    }

    fn ask(&mut self, text: &str) -> &mut Self {
        self.0.turn(Egress);
        self.0.bytes(Egress, text.as_bytes());
        self
    }

    fn answer(&mut self, text: &str) -> &mut Self {
        self.0.turn(Ingress);
        self.0.bytes(Ingress, text.as_bytes());
        self
    }

    fn gap(&mut self, direction: Direction, len: u64) -> &mut Self {
        self.0.gap(direction, len);
        self
    }

    fn said(&self) -> Vec<String> {
        self.0.out.0.iter().map(|m| format!("{:?} {}", m.part, short(m))).collect()
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_body_of_known_length_may_be_missing() {
    let mut talk = Talk::new();
    talk.ask(GET).answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab").gap(Ingress, 98);
    talk.ask(GET).answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let want = ["Whole GET /a 28", "Head 200 Ok 40", "End  Unknown 140 cut", "Whole GET /a 28", "Whole 404 Error 38"];
    assert_eq!(talk.said(), want);
    assert_eq!(talk.0.refusals, 0);
}

#[test]
fn a_pipelined_answer_behind_a_missing_body_is_read_in_place() {
    let mut talk = Talk::new();
    talk.ask(&GET.repeat(2)).answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").gap(Ingress, 100);
    talk.0.bytes(Ingress, b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(talk.said()[3..], ["End  Unknown 140 cut", "Whole 500 Error 39"]);
}

#[test]
fn a_cut_chunked_answer_ends_when_the_next_request_begins_at_its_last_byte() {
    let mut talk = Talk::new();
    talk.ask(GET).answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
    talk.gap(Ingress, 5000).gap(Ingress, 700);
    let last = talk.0.out.0.len();
    assert_eq!(last, 2, "its end is not known yet");
    talk.ask(GET);
    assert_eq!(talk.said()[2..], ["End  Unknown 5752 cut", "Whole GET /a 28"]);
    assert_eq!(talk.0.out.0[2].end, Nanos(4000), "the second gap's time, not the request's");
    talk.answer("HTTP/1.1 204 No\r\n\r\n");
    assert_eq!(talk.said()[4], "Whole 204 Ok 19");
}

#[test]
fn a_cut_head_still_tells_method_and_target() {
    let mut talk = Talk::new();
    talk.ask("GET /long HTTP/1.1\r\nCookie: abc")
        .gap(Egress, 9000)
        .answer("HTTP/1.1 200 OK\r\nSet-Cookie: x")
        .gap(Ingress, 9000);
    talk.ask(GET).answer("HTTP/1.1 204 No\r\n\r\n");
    let want = [
        "Head GET /long 31 cut",
        "Head 200 Ok 30 cut",
        "End  Unknown 9030 cut",
        "End   9031 cut",
        "Whole GET /a 28",
        "Whole 204 Ok 19",
    ];
    assert_eq!(talk.said(), want);
    assert_eq!(talk.0.refusals, 0);
}

#[test]
fn a_target_longer_than_a_capture_is_kept_as_far_as_it_goes() {
    let mut talk = Talk::new();
    let target = format!("/{}", "x".repeat(4000));
    talk.ask(&format!("POST {target}")).gap(Egress, 600).answer("HTTP/1.1 414 Too Long\r\nContent-Length: 0\r\n\r\n");
    let request = &talk.0.out.0[0];
    assert_eq!((request.method.as_str(), request.part), ("POST", Part::Head));
    assert_eq!(request.target.as_str(), &target[..crate::limits::MAX_TARGET]);
}

#[test]
fn requests_of_a_pipeline_that_were_not_captured_are_made_up_as_they_are_answered() {
    let mut talk = Talk::new();
    talk.ask(GET).gap(Egress, 56).answer(&"HTTP/1.1 204 No\r\n\r\n".repeat(3));
    let requests = talk.0.out.0.iter().filter(|m| m.kind == MessageKind::Request).count();
    assert_eq!(requests, 3);
    assert_eq!(talk.said()[1..4], ["Whole 204 Ok 19", "Whole   0 cut", "Whole 204 Ok 19"]);
    assert_eq!(talk.0.out.0[2].start, Nanos(2000), "as old as the gap");
}

#[test]
fn answers_of_a_pipeline_that_were_not_captured_are_made_up_when_the_next_request_comes() {
    let mut talk = Talk::new();
    talk.ask(&GET.repeat(3))
        .answer("HTTP/1.1 204 No\r\n\r\n")
        .gap(Ingress, 38)
        .ask(GET)
        .answer("HTTP/1.1 500 E\r\n\r\n");
    assert_eq!(
        talk.said()[4..],
        ["Whole  Unknown 0 cut", "Whole  Unknown 0 cut", "Whole GET /a 28", "Head 500 Error 18"]
    );
}

#[test]
fn an_answer_to_a_head_request_that_was_not_seen_does_not_swallow_the_next() {
    let mut talk = Talk::new();
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    talk.ask(GET).answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.said()[1..], ["Whole GET /a 28", "End  Unknown 41 cut", "Whole 404 Error 38"]);
}

#[test]
fn an_early_answer_leaves_the_request_in_its_body() {
    let mut talk = Talk::new();
    talk.ask("POST /u HTTP/1.1\r\nContent-Length: 10\r\n\r\nabcd");
    talk.answer("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    talk.ask("efghij").ask(GET);
    assert_eq!(talk.said()[1..], ["Whole 413 Error 45", "End   50", "Whole GET /a 28"]);
}

#[test]
fn no_body_follows_not_modified_whatever_it_says() {
    let mut talk = Talk::new();
    talk.ask(&GET.repeat(2)).answer("HTTP/1.1 304 Not\r\nContent-Length: 7\r\n\r\nHTTP/1.1 204 No\r\n\r\n");
    assert_eq!(talk.said()[2..], ["Whole 304 Ok 39", "Whole 204 Ok 19"]);
}

#[test]
fn a_broken_chunk_ends_the_answer_cut() {
    let mut talk = Talk::new();
    talk.ask(GET).answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(talk.0.refusals, 1);
    talk.ask(GET);
    assert_eq!(talk.said()[2], "End  Unknown 47 cut");
}

#[test]
fn different_lengths_are_reported_and_not_believed() {
    let mut talk = Talk::new();
    talk.ask("POST /s HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
    talk.answer("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.said(), ["Head POST /s 58 cut", "Whole 400 Error 39"]);
}

#[test]
fn what_is_left_of_a_cut_pipeline_is_not_taken_for_a_method() {
    let mut talk = Talk::new();
    talk.ask("GET /a HTTP/1.1\r\n\r\nGET /b").gap(Egress, 700);
    talk.answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    talk.ask("T /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\n");
    assert_eq!(talk.said(), ["Whole GET /a 19", "Whole 404 Error 38"], "the end of GET is a token as well");
}

#[test]
fn what_a_careless_client_sends_is_a_request() {
    let mut talk = Talk::new();
    talk.ask("OPTIONS HTTP/1.1\r\nHost: h\r\n\r\n").answer("HTTP/1.0 400 Bad\r\nContent-Length: 0\r\n\r\n");
    talk.ask("GET / HTTP/1.\r\n\r\n").answer("HTTP/1.1 204 No\r\n\r\n");
    let said = ["Whole OPTIONS HTTP/1.1 29", "Whole 400 Error 39", "Whole GET / 17", "Whole 204 Ok 19"];
    assert_eq!(talk.said(), said);
}

#[test]
fn datagrams_are_not_http() {
    let context = ProbeContext { transport: Transport::Udp, server_port: 1900, late: false };
    for text in ["NOTIFY * HTTP/1.1\r\n", "M-SEARCH * HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"] {
        assert_eq!(Http1::probe(text.as_bytes(), context), Probe::NoMatch, "SSDP: {text}");
    }
}

#[test]
fn tolerates_bare_line_feeds_folds_and_empty_lines() {
    let mut talk = Talk::new();
    talk.ask("\r\n\r\nPOST /a HTTP/1.0\nX: a\n b\nContent-Length:\n 3\n\nabc")
        .answer("HTTP/1.0 200\nContent-Length: 0\n\n");
    assert_eq!(talk.said(), ["Whole POST /a 48", "Whole 200 Ok 32"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where both this scanner and httparse accept a request head, they agree on what it asks.
    #[test]
    fn agrees_with_httparse_on_requests(
        method in "[A-Z!#$%&'*+.^_`|~-]{1,12}",
        target in "[/a-z0-9?=&%.:*\\[\\]~-]{1,40}",
        minor in 0..2_u8,
        headers in proptest::collection::vec("[A-Za-z-]{1,20}: ?[ -~]{0,30}", 0..8),
        noise in proptest::option::of((0..120_usize, any::<u8>())),
    ) {
        let mut text = format!("{method} {target} HTTP/1.{minor}\r\n{}\r\n",
            headers.iter().map(|h| format!("{h}\r\n")).collect::<String>()).into_bytes();
        if let Some((at, byte)) = noise && let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut oracle = httparse::Request::new(&mut fields);
        let theirs = oracle.parse(&text);
        let mut drive = Drive::<Http1>::new(Transport::Tcp);
        drive.turn(Egress);
        drive.bytes(Egress, &text);
        if let (Ok(httparse::Status::Complete(len)), Some(ours)) = (theirs, drive.out.0.first()) {
            prop_assert_eq!(Some(ours.method.as_str()), oracle.method);
            prop_assert_eq!(Some(ours.target.as_str()), oracle.path);
            if ours.part == Part::Whole && !text.windows(14).any(|w| w.eq_ignore_ascii_case(b"content-length")) {
                let lead = text.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                prop_assert_eq!(ours.bytes, (len - lead) as u64);
            }
        } else if noise.is_none() {
            prop_assert!(!drive.out.0.is_empty(), "refused {:?}, httparse says {:?}", String::from_utf8_lossy(&text), theirs);
        }
    }

    /// The same for answers.
    #[test]
    fn agrees_with_httparse_on_responses(
        code in 200..600_u16,
        reason in "[A-Za-z ]{0,20}",
        length in proptest::option::of(0..50_usize),
        noise in proptest::option::of((0..60_usize, any::<u8>())),
    ) {
        let body = length.map(|n| format!("Content-Length: {n}\r\n\r\n{}", "b".repeat(n))).unwrap_or("\r\n".into());
        let mut text = format!("HTTP/1.1 {code} {reason}\r\nServer: x\r\n{body}").into_bytes();
        if let Some((at, byte)) = noise && let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut oracle = httparse::Response::new(&mut fields);
        let theirs = oracle.parse(&text);
        let mut drive = Drive::<Http1>::new(Transport::Tcp);
        drive.turn(Ingress);
        drive.bytes(Ingress, &text);
        let ours = drive.out.0.first().map(|m| m.code.as_str().to_owned());
        if let (Ok(httparse::Status::Complete(_)), Some(ours)) = (theirs, &ours) {
            prop_assert_eq!(Some(ours.clone()), oracle.code.map(|c| c.to_string()));
        } else if noise.is_none() {
            prop_assert_eq!(ours, Some(code.to_string()));
        }
    }

    /// Bytes of any kind, both ways, in any role: no panic, no more messages than bytes.
    #[test]
    fn survives_anything(pieces in proptest::collection::vec((any::<bool>(), any::<bool>(), "[\\x00-\\x7f]{0,60}"), 0..20)) {
        let mut state = State::default();
        let mut out = laws::Collected::default();
        let mut total = 0;
        for (ingress, gap, text) in &pieces {
            let direction = if *ingress { Ingress } else { Egress };
            let at = Nanos(total as u64);
            let context = Context { direction, role: Role::Server, transport: Transport::Tcp, start: at, at };
            Http1::turn(&mut state, context, &mut out);
            let mut rest = text.as_bytes();
            total += rest.len() + 2;
            while !rest.is_empty() {
                let input = match NonZeroU64::new(rest.len() as u64) {
                    Some(len) if *gap => Input::Gap(len),
                    _ => Input::Bytes(rest),
                };
                let Step::Consumed(n) = Http1::parse(&mut state, context, input, &mut out) else {
                    Http1::lost(&mut state, context, &mut out);
                    break;
                };
                rest = &rest[usize::try_from(n.get()).unwrap()..];
            }
        }
        prop_assert!(out.0.len() <= 2 * total + 2);
    }
}

#[test]
fn a_request_says_what_trace_it_is_part_of_however_it_is_cut() {
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let traced = format!("GET /a HTTP/1.1\r\nHost: x\r\n{parent}Accept: */*\r\n\r\n");
    let bytes = [traced.as_bytes(), b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
    for cut in 1..bytes.len() {
        let mut drive = Drive::<Http1>::new(Transport::Tcp);
        drive.turn(Egress);
        drive.bytes(Egress, &bytes[..cut]);
        drive.bytes(Egress, &bytes[cut..]);
        let parents: Vec<_> = drive.out.0.iter().map(|message| Some(message.trace.as_ref()?.parent.get())).collect();
        assert_eq!(parents, [Some(0x00f0_67aa_0ba9_02b7), None], "cut at {cut}");
    }
}
