//! A chain of services in five languages with PostgreSQL, Redis and Kafka behind them: the topology is the one that is there, each edge with the
//! count of who was asked; calls are tied as the services say themselves, or not at all, and how many are, by kind of server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run_with;
use redtap_e2e::cli::{Record, Tail};
use redtap_e2e::sandbox::{Sandbox, get};
use redtap_e2e::servers::kafka::Counts;
use redtap_e2e::servers::polyglot::{Behind, KITS, Link, NEEDS, Polyglot};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// Calls of a service: tied, of how many.
type Shares = BTreeMap<Link, (usize, usize)>;
/// Requests by who asked whom.
type Edges = BTreeMap<(String, String), u64>;

fn ask(chain: &Polyglot, numbers: Range<u64>) {
    for number in numbers {
        let (status, body) = get(chain.front, &format!("/php/{number}"), "*/*").unwrap();
        assert_eq!((status, body.as_str()), (200, "answer\n"), "{number}");
    }
}

/// Waits until nothing comes any more and all is put out; at most 20 s.
fn quiet(agent: &Agent) -> u64 {
    let mut counts = Value::Null;
    for _ in 0..50 {
        let now = agent.status().unwrap()["calls"].clone();
        if now["taken"] == counts["taken"] && now["held"] == 0 {
            break;
        }
        counts = now;
        std::thread::sleep(Duration::from_millis(400));
    }
    counts["taken"].as_u64().unwrap()
}

/// The share of a service is at least that, in percent. What it is beyond that is in docs/calls.md.
fn at_least(shares: &Shares, link: Link, percent: usize) {
    let (tied, of) = shares[&link];
    assert!(of > 0 && tied * 100 >= of * percent, "{link:?}: {tied} of {of} are less than {percent} %");
}

/// What is shown of those requests, all of it.
fn watched(sandbox: &Sandbox, agent: &Agent, name: &str, work: impl FnOnce()) -> Vec<Record> {
    let before = quiet(agent);
    let tail = Tail::start(sandbox, agent, name, &["--json"]).unwrap();
    work();
    let calls = usize::try_from(quiet(agent) - before).unwrap();
    tail.wait_lines(calls).unwrap();
    let all = tail.records().unwrap();
    assert_eq!(all.len(), calls, "every call is shown, and nothing was left out");
    all
}

/// The service and the number in `/go/7`.
fn place(record: &Record) -> Option<(Link, u64)> {
    let mut parts = record.text("target").strip_prefix('/')?.split('/');
    let path = parts.next()?;
    let link = Link::ALL.into_iter().find(|link| link.path() == path)?;
    Some((link, parts.next()?.parse().ok()?))
}

fn of(service: &str) -> Option<Link> {
    Link::ALL.into_iter().find(|link| link.service() == service)
}

/// How many calls of each service are tied. None of them to another request than the service says, and no end to another call's.
fn ties(chain: &Polyglot, all: &[Record], requests: Range<u64>) -> (Shares, usize, usize) {
    let spans: BTreeMap<&str, &Record> = all.iter().map(|record| (record.text("span_id"), record)).collect();
    let asked: BTreeMap<Link, _> = Link::ALL.into_iter().map(|link| (link, chain.asked(link))).collect();
    let mut served: BTreeMap<(Link, u64), &Record> = BTreeMap::new();
    for record in all.iter().filter(|record| record.text("role") == "server") {
        if let Some(place) = place(record) {
            assert_eq!(record.text("service"), place.0.service());
            assert!(served.insert(place, record).is_none(), "{place:?} was answered twice");
        }
    }
    let due = Link::ALL.len() * requests.clone().count();
    assert!(served.len() == due && served.keys().all(|(_, number)| requests.contains(number)), "of {due}: {served:?}");

    let (mut shares, mut ends, mut paired) = (Shares::new(), 0, 0);
    for record in all {
        let parent = record.text("parent_span_id");
        if record.text("role") == "server" {
            // Who asked is watched as well, but for the one who asks PHP.
            let first = place(record).is_some_and(|(link, _)| link == Link::Php);
            ends += usize::from(!first);
            if parent.is_empty() {
                continue;
            }
            let client = spans[parent];
            assert!(!first && record.text("link") == "socket", "{record:?}");
            for field in ["client", "server", "protocol", "method", "target", "trace_id"] {
                assert_eq!(
                    record.text(field),
                    client.text(field),
                    "{field}: {record:?} is not the other end of {client:?}"
                );
            }
            paired += 1;
            continue;
        }
        let Some(link) = of(record.text("service")) else { continue };
        if record.text("protocol") == "kafka" {
            assert!(link == Link::Java && parent.is_empty(), "the producer's own thread sends: {record:?}");
            continue;
        }
        let numbers: Vec<u64> = match place(record) {
            Some((_, number)) => vec![number],
            None => {
                let port = record.text("client").rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
                asked[&link]
                    .get(&port.unwrap())
                    .unwrap_or_else(|| panic!("nobody says so: {record:?}"))
                    .iter()
                    .copied()
                    .collect()
            }
        };
        let share = shares.entry(link).or_default();
        share.1 += 1;
        if parent.is_empty() {
            assert_eq!(record.text("link"), "", "{record:?}");
            continue;
        }
        let cause =
            numbers.iter().filter_map(|number| served.get(&(link, *number))).find(|one| one.text("span_id") == parent);
        let cause = cause.unwrap_or_else(|| panic!("tied to another request than {numbers:?}: {record:?}"));
        assert_eq!((record.text("link"), record.text("trace_id")), ("thread", cause.text("trace_id")));
        share.0 += 1;
    }
    (shares, paired, ends)
}

fn topology(agent: &Agent) -> Value {
    let (status, body) = get(agent.port(), "/api/v1/topology?last=15m", "application/json").unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a test are small whole numbers")]
fn edges(topology: &Value) -> Edges {
    let edges = topology["edges"].as_array().unwrap().iter();
    let key = |edge: &Value| ["client", "server"].map(|end| edge[end].as_str().unwrap().to_owned());
    edges.map(|edge| (key(edge).into(), edge["red"]["requests"].as_f64().unwrap().round() as u64)).collect()
}

/// What those who were asked count themselves.
fn counted(chain: &Polyglot, behind: &Behind, before: &Counts) -> Edges {
    let mut edges: Vec<(&str, &str, u64)> = Vec::new();
    let answered = |link| (link, chain.answered(link));
    let mut client = "user";
    for (link, count) in Link::ALL.map(answered) {
        edges.push((client, link.service(), count));
        client = link.service();
    }
    for (link, user) in [(Link::Php, "php"), (Link::Go, "go")] {
        let postgres = &behind.postgres;
        let count = postgres.logins(user) + postgres.requests(user).values().sum::<u64>() + postgres.goodbyes(user);
        edges.push((link.service(), "postgres", count));
    }
    let redis = behind.redis.calls().unwrap();
    for (link, command) in [(Link::Python, "GET"), (Link::Node, "EXISTS"), (Link::Asyncio, "STRLEN")] {
        edges.push((link.service(), "redis-server", redis[command]));
    }
    let kafka = behind.kafka.wait_counts(|counts| !counts.since(before).is_empty()).unwrap().since(before);
    edges.push((Link::Java.service(), "Kafka", kafka.values().sum()));
    edges.into_iter().map(|(client, server, count)| ((client.to_owned(), server.to_owned()), count)).collect()
}

#[test]
fn a_chain_of_five_languages_is_shown_as_it_is() {
    if !can_run_with(&NEEDS, &KITS) {
        return;
    }
    let sandbox = Sandbox::new("chain").unwrap();
    let behind = Behind::start(&sandbox).unwrap();
    let before = behind.kafka.counts().unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let chain = Polyglot::start(&sandbox, &behind).unwrap();

    let all = watched(&sandbox, &agent, "one", || ask(&chain, 1_000..1_020));
    let (one, paired, ends) = ties(&chain, &all, 1_000..1_020);
    println!("one at a time: {one:?}; {paired} of {ends} other ends");
    for link in Link::ALL {
        // A goroutine goes on on any thread: whose call is another's than took the request in is not known.
        at_least(&one, link, if link == Link::Go { 1 } else { 100 });
    }
    let all = watched(&sandbox, &agent, "eight", || {
        std::thread::scope(|scope| {
            for at in 0..8 {
                let chain = &chain;
                scope.spawn(move || ask(chain, 2_000 + at * 25..2_000 + at * 25 + 25));
            }
        });
    });
    let (eight, paired_of_eight, ends_of_eight) = ties(&chain, &all, 2_000..2_200);
    println!("eight at a time: {eight:?}; {paired_of_eight} of {ends_of_eight} other ends");
    // One request a process, and threads once they are trusted. Event loops and goroutines: what was clear by chance.
    for (link, percent) in [(Link::Php, 95), (Link::Python, 70), (Link::Java, 70)] {
        at_least(&eight, link, percent);
    }

    for (paired, ends) in [(paired, ends), (paired_of_eight, ends_of_eight)] {
        // Of what no answer is due to (the goodbyes to PostgreSQL, an eighth) ends are not paired.
        assert!(paired * 4 >= ends * 3, "{paired} of {ends} other ends");
    }

    // A step of the history is 5 s. Those who are asked are asked afterwards: that is traffic as well.
    let total = |edges: &Edges| edges.values().sum::<u64>();
    let mut shown = Edges::new();
    for _ in 0..60 {
        let now = edges(&topology(&agent));
        let rests = total(&now) == total(&shown) && now.get(&("user".to_owned(), "front.php".to_owned())) == Some(&220);
        shown = now;
        if rests {
            break;
        }
        std::thread::sleep(Duration::from_millis(2_000));
    }
    let due = counted(&chain, &behind, &before);
    println!("{due:?}");
    assert_eq!(shown, due);
    agent.stop().unwrap();
}
