//! Single calls of a chain of real services are tied as those services say themselves, or not at all; `redtap tail` and
//! `/api/v1/calls` show them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::cli::{Record, Tail, records, redtap};
use redtap_e2e::sandbox::{Sandbox, get};
use redtap_e2e::servers::chain::Chain;
use redtap_e2e::servers::nginx::Nginx;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const NEEDS: [&str; 6] = ["python3", "node", "redis-server", "redis-cli", "redis-benchmark", "curl"];
/// Records of one request: Python answers and calls, Node answers and calls, Redis answers.
const CALLS: usize = 5;

/// The number in `/front/7` or `/back/7`.
fn number(record: &Record) -> Option<u64> {
    record.text("target").rsplit('/').next()?.parse().ok()
}

/// The records of each request, by what its services say belongs to it: front answered, front's call, back answered, back's
/// call, Redis.
fn by_request(chain: &Chain, all: &[Record]) -> BTreeMap<u64, [Option<Record>; CALLS]> {
    let ports: BTreeMap<u16, u64> = chain.asked().iter().map(|(number, asked)| (asked.port, *number)).collect();
    let mut requests: BTreeMap<u64, [Option<Record>; CALLS]> = BTreeMap::new();
    for record in all {
        let (role, target) = (record.text("role"), record.text("target"));
        let place = match (record.text("protocol"), role) {
            ("http", "server") if target.starts_with("/front/") => 0,
            ("http", "client") if target.starts_with("/back/") => 1,
            ("http", "server") if target.starts_with("/back/") => 2,
            ("redis", "client") => 3,
            ("redis", "server") => 4,
            _ => continue,
        };
        let port = record.text("client").rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let number = if place < 3 { number(record) } else { port.and_then(|port| ports.get(&port).copied()) };
        if let Some(number) = number {
            let before = requests.entry(number).or_default()[place].replace(record.clone());
            assert!(before.is_none(), "{number} has two of {place}");
        }
    }
    requests
}

/// How many calls of Python and of Node are tied, of how many. None of them wrongly, and both ends of all connections are.
fn ties(chain: &Chain, all: &[Record], expected: usize) -> ([usize; 2], usize) {
    let requests = by_request(chain, all);
    assert_eq!(requests.len(), expected);
    let mut tied = [0; 2];
    for (number, calls) in &requests {
        let [Some(front), Some(to_back), Some(back), Some(to_redis), Some(redis)] = calls else {
            panic!("{number} is not complete: {calls:?}");
        };
        for (place, cause, call) in [(0, front, to_back), (1, back, to_redis)] {
            let parent = call.text("parent_span_id");
            if parent.is_empty() {
                assert_eq!(call.text("link"), "", "{number}");
                continue;
            }
            assert_eq!(parent, cause.text("span_id"), "{number}: tied to another request: {call:?}");
            assert_eq!(call.text("trace_id"), cause.text("trace_id"), "{number}");
            tied[place] += 1;
        }
        for (client, server) in [(to_back, back), (to_redis, redis)] {
            assert_eq!(server.text("parent_span_id"), client.text("span_id"), "{number}: {server:?} {client:?}");
            assert_eq!(server.text("trace_id"), client.text("trace_id"), "{number}");
        }
    }
    (tied, requests.len())
}

fn front(chain: &Chain, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(get(chain.front, &format!("/front/{number}"), "*/*").unwrap().0, 200);
    }
}

/// What the agent counts of calls, once no more come and none is held; at most 20 s from now.
fn quiet(agent: &Agent) -> serde_json::Value {
    let mut counts = agent.status().unwrap()["calls"].clone();
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(400));
        let now = agent.status().unwrap()["calls"].clone();
        let same = now["taken"] == counts["taken"] && now["held"] == 0;
        counts = now;
        if same {
            break;
        }
    }
    counts
}

fn followed_so_far(agent: &Agent) -> u64 {
    agent.status().unwrap()["calls"]["followed"].as_u64().unwrap()
}

/// Waits until one more follows than then.
fn wait_followed(agent: &Agent, then: u64) {
    for _ in 0..1_000 {
        if followed_so_far(agent) > then {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody follows");
}

#[test]
fn calls_are_tied_as_the_services_say_or_not_at_all() {
    if !can_run(&NEEDS) {
        return;
    }
    let sandbox = Sandbox::new("calls").unwrap();
    let chain = Chain::start(&sandbox).unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();

    // One at a time: everything is clear.
    let tail = Tail::start(&sandbox, &agent, "one", &["--json"]).unwrap();
    front(&chain, 0..20);
    tail.wait_lines(20 * CALLS).unwrap();
    let (code, text) = tail.interrupt().unwrap();
    assert_eq!(code, Some(0), "Ctrl-C is no failure");
    let (tied, of) = ties(&chain, &records(&text).unwrap(), 20);
    println!("one at a time: {tied:?} of {of} (Python, Node)");
    assert_eq!(tied, [20, 20]);

    // Many at a time: right, or not at all.
    let tail = Tail::start(&sandbox, &agent, "many", &["--json"]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let chain = &chain;
            scope.spawn(move || front(chain, 1_000 + thread * 25..1_000 + thread * 25 + 25));
        }
    });
    tail.wait_lines(200 * CALLS).unwrap();
    let (tied, of) = ties(&chain, &tail.records().unwrap(), 200);
    println!("eight at a time: {tied:?} of {of} (Python, Node)");
    assert!(tied[0] >= 150, "threads are trusted soon: {tied:?} of {of}");
    drop(tail);

    // With a context that the first service hands on.
    let tail =
        Tail::start(&sandbox, &agent, "said", &["--json", "--trace", "4bf92f3577b34da6a3ce929d0e0e4736"]).unwrap();
    let said = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let url = format!("http://127.0.0.1:{}/front/5000", chain.front);
    sandbox.run("curl", &["-s", "-H", &format!("traceparent: {said}"), &url]).unwrap();
    // curl's own call is the sixth.
    tail.wait_lines(CALLS + 1).unwrap();
    let all = tail.records().unwrap();
    assert_eq!(chain.asked()[&5_000].traceparent.as_deref(), Some(said), "Node was told");
    let requests = by_request(&chain, &all);
    let links: Vec<&str> = requests[&5_000].iter().map(|one| one.as_ref().unwrap().text("link")).collect();
    assert_eq!(links, ["traceparent", "traceparent", "traceparent", "thread", "socket"]);
    assert_eq!(ties(&chain, &all, 1), ([1, 1], 1));
    let curl = all.iter().find(|one| one.text("comm") == "curl").unwrap();
    assert_eq!(curl.text("parent_span_id"), "00f067aa0ba902b7");

    // One in detail, with its tree.
    let (status, body) = get(agent.port(), &format!("/api/v1/calls/{}", all[0].text("span_id")), "*/*").unwrap();
    let detail: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, detail["trace"].as_array().unwrap().len()), (200, CALLS + 1), "{body}");
    assert_eq!(detail["call"]["span_id"], all[0].text("span_id"));
    assert_eq!(get(agent.port(), "/api/v1/calls/0123456789abcdef", "*/*").unwrap().0, 404);
    agent.stop().unwrap();
}

#[test]
fn calls_are_shown_filtered_to_who_asks_and_left_out_for_who_is_slow() {
    if !can_run(&NEEDS) {
        return;
    }
    let sandbox = Sandbox::new("calls").unwrap();
    let chain = Chain::start(&sandbox).unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let address = format!("127.0.0.1:{}", agent.port());

    // Filters, in the stream and of what is kept; text for people.
    let tail =
        Tail::start(&sandbox, &agent, "text", &["--side", "server", "--protocol", "http", "--endpoint", "/front/{id}"]);
    let tail = tail.unwrap();
    front(&chain, 0..5);
    tail.wait_lines(6).unwrap();
    let (_, text) = tail.interrupt().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("TIME (UTC)") && lines.len() == 6, "{text}");
    let what = lines[0].find("WHAT").unwrap();
    for line in &lines[1..] {
        assert!(line.contains(" <- ") && line.contains(" 200 ") && line.contains("ms "), "{line}");
        assert!(line[what..].starts_with("GET /front/"), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours in a file: {line}");
    }
    let kept = |query: &str| {
        let (status, body) = get(agent.port(), &format!("/api/v1/calls?{query}"), "*/*").unwrap();
        assert_eq!(status, 200, "{body}");
        records(&body).unwrap()
    };
    // Calls are kept once their cause is known: none is held any more.
    quiet(&agent);
    assert_eq!(kept("service=front.py&side=server").len(), 5);
    assert_eq!(kept("protocol=redis&side=client&limit=3").len(), 3);
    assert_eq!(kept("status=error").len(), 0);
    assert_eq!(kept("slower=60m").len() + kept("code=500").len(), 0);
    for bad in ["status=fine", "colour=red", "limit=0"] {
        assert_eq!(get(agent.port(), &format!("/api/v1/calls?{bad}"), "*/*").unwrap().0, 400, "{bad}");
    }

    // Who reads no further ends it, and who asks nobody is told what to do.
    let command =
        format!("{} tail --address {address} --json --side client | head -n 2", redtap_e2e::agent::binary().display());
    let followed = followed_so_far(&agent);
    let mut head = Command::new("timeout")
        .args(["30", "sh", "-c", &command])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_followed(&agent, followed);
    front(&chain, 10..16);
    let mut text = String::new();
    // No call comes any more: that nobody reads is noticed all the same.
    head.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let status = head.wait().unwrap();
    assert!(status.success(), "{status}: {text}");
    assert_eq!(records(&text).unwrap().len(), 2);
    let nobody = redtap(sandbox.folder(), &["tail", "--address", "127.0.0.1:9"]).unwrap();
    assert!(nobody.code == Some(1) && nobody.err.contains("redtap run"), "{}", nobody.err);

    // One that does not read, while many calls come.
    let before = quiet(&agent)["taken"].as_u64().unwrap();
    let followed = followed_so_far(&agent);
    let mut slow = TcpStream::connect(&address).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(slow, "GET /api/v1/calls?follow=true&protocol=redis HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    wait_followed(&agent, followed);
    let port = chain.redis.port.to_string();
    sandbox.run("redis-benchmark", &["-p", &port, "-n", "40000", "-c", "4", "-t", "get", "-q"]).unwrap();
    let counts = quiet(&agent);
    let taken = counts["taken"].as_u64().unwrap() - before;
    slow.set_read_timeout(Some(Duration::from_millis(1_500))).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), [0; 65_536]);
    // Taken in sips for longer than an answer with an end may be kept waiting (10 s): who follows is not cut off for that.
    for _ in 0..65 {
        let read = slow.read(&mut piece[..512]).unwrap();
        assert!(read > 0, "cut off");
        bytes.extend_from_slice(&piece[..read]);
        std::thread::sleep(Duration::from_millis(200));
    }
    while let Ok(read @ 1..) = slow.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let (shown, left_out) = text.lines().fold((0_u64, 0_u64), |(shown, left_out), line| {
        match line.strip_prefix("{\"left_out\":").and_then(|rest| rest.strip_suffix('}')) {
            Some(count) => (shown, left_out + count.parse::<u64>().unwrap()),
            None => (shown + u64::from(line.starts_with("{\"start_ns\"")), left_out),
        }
    });
    println!("taken {taken}, shown {shown}, left out {left_out}; {counts}");
    assert!(left_out > 0, "it was told what it missed");
    assert_eq!(shown + left_out, taken);
    drop(slow);

    // A bound on followers; those that are gone make room.
    let follow = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /api/v1/calls?follow=true HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head).ends_with("200"))
    };
    let mut all: Vec<_> = (0..20).map(|_| follow()).collect();
    assert!(!all.iter().all(|(_, taken)| *taken), "bounded");
    all.clear();
    front(&chain, 20..22);
    assert!((0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        follow().1
    }));
    agent.stop().unwrap();
}

/// Headers of a request, how its record says that it is tied, its trace, and what it is below. The ids of `sw8` are hashes
/// (FNV-1a) of the texts without their padding.
const SAID: [(&str, &[&str], &str, &str, &str); 4] = [
    (
        "w3c",
        &["traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        "traceparent",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "00f067aa0ba902b7",
    ),
    (
        "single",
        &["b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90"],
        "b3",
        "80f198ee56343ba864fe8b2a57d3eff7",
        "e457b5a2e4d86bd1",
    ),
    (
        "several",
        &["X-B3-TraceId: 64fe8b2a57d3eff8", "X-B3-SpanId: a457b5a2e4d86bd2", "X-B3-Sampled: 1"],
        "b3",
        "000000000000000064fe8b2a57d3eff8",
        "a457b5a2e4d86bd2",
    ),
    (
        "skywalking",
        &[concat!(
            "sw8: 1-YTEyZmY2MGItNTgwNy00NjNiLWExZjgtZmIxYzg2MDgyMTll-MWYyZDRiZjQ3YmY3MTFlYWI3OTRhY2RlNDgwMDExMjI=-3",
            "-d2Vi-d2Vi-d2Vi-d2Vi"
        )],
        "sw8",
        "4b83fe02e675c3ea2fca84d444f10fc8",
        "8b4c9658f2ae9b92",
    ),
];

/// The traces that buckets name on `/metrics`.
fn exemplars(agent: &Agent) -> BTreeSet<String> {
    let (_, text) = get(agent.port(), "/metrics", "application/openmetrics-text; version=1.0.0").unwrap();
    let traces = text.lines().filter_map(|line| line.split_once(" # {trace_id=\"")?.1.split('"').next());
    traces.map(str::to_owned).collect()
}

#[test]
fn requests_say_their_trace_in_each_format_and_exemplars_are_those_that_are_wanted() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    for wanted in ["all", "said", "off"] {
        let sandbox = Sandbox::new("calls").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        sandbox.write("redtap.toml", &format!("[calls]\nexemplars = \"{wanted}\"\n")).unwrap();
        let agent = Agent::start(&sandbox, &[]).unwrap();
        let ask = |path: &str, headers: &[&str]| {
            let mut words = vec!["-s", "-o", "/dev/null"];
            headers.iter().for_each(|header| words.extend(["-H", header]));
            let url = nginx.url(&format!("/{path}"));
            words.push(&url);
            sandbox.run("curl", &words).unwrap();
        };
        for (path, headers, ..) in SAID {
            ask(path, headers);
        }
        ask("plain", &[]);
        assert_eq!(quiet(&agent)["held"], 0);
        let (_, body) = get(agent.port(), "/api/v1/calls", "*/*").unwrap();
        let all = records(&body).unwrap();
        let of = |path: &str, role: &str| {
            let target = format!("/{path}");
            let mut found = all.iter().filter(|one| one.text("target") == target && one.text("role") == role);
            let one = found.next().unwrap_or_else(|| panic!("no {role} of {target}: {body}"));
            assert!(found.next().is_none(), "{body}");
            one
        };
        for (path, _, link, trace, parent) in SAID {
            let (client, server) = (of(path, "client"), of(path, "server"));
            assert_eq!(client.texts(["link", "trace_id", "parent_span_id"]), [link, trace, parent], "{path}");
            assert_eq!(server.text("trace_id"), trace, "{path}");
            assert_eq!(server.text("parent_span_id"), client.text("span_id"), "{path}: the client's call lies between");
        }
        let own = of("plain", "server").text("trace_id").to_owned();
        assert_eq!(of("plain", "client").text("trace_id"), own);
        let said = SAID.iter().map(|(.., trace, _)| (*trace).to_owned());
        let due: BTreeSet<String> = match wanted {
            "all" => said.chain([own]).collect(),
            "said" => said.collect(),
            _ => BTreeSet::new(),
        };
        // A call is offered once its series is published, 2 s after it was out; what is not wanted does not come later either.
        let mut shown = exemplars(&agent);
        for _ in 0..40 {
            if wanted == "all" && shown == due {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            shown = exemplars(&agent);
        }
        assert_eq!(shown, due, "{wanted}");
        agent.stop().unwrap();
    }
}

#[test]
fn tail_watches_with_a_probe_of_its_own() {
    if !can_run(&NEEDS) {
        return;
    }
    let sandbox = Sandbox::new("calls").unwrap();
    let chain = Chain::start(&sandbox).unwrap();
    let cgroup = sandbox.cgroup().to_str().unwrap().to_owned();
    let folder = sandbox.folder().to_owned();
    let tail = std::thread::spawn(move || {
        let arguments =
            ["tail", "--own", "--cgroup", &cgroup, "--json", "--limit", "3", "--protocol", "redis", "--side", "client"];
        redtap(&folder, &arguments).unwrap()
    });
    for at in 0..200 {
        if tail.is_finished() {
            break;
        }
        front(&chain, at..at + 1);
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = tail.join().unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(records(&said.out).unwrap().len(), 3);
}
