use super::*;
use serde_json::json;

fn rows(values: &[serde_json::Value]) -> Vec<Row> {
    values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
}

/// A count of the service graph: (instance, service, client, server, count).
fn graph(counts: &[(&str, &str, &str, &str, u64)]) -> Vec<Row> {
    let row = |&(instance, service, client, server, count): &(&str, &str, &str, &str, u64)| {
        json!({"metric": {"job": "redtap", "instance": instance, "service_name": service, "client": client, "server": server},
               "value": [1, count.to_string()]})
    };
    rows(&counts.iter().map(row).collect::<Vec<_>>())
}

fn target(instance: &str, service: &str, namespace: &str, host: &str) -> serde_json::Value {
    json!({"metric": {"job": "redtap", "instance": instance, "service_name": service, "service_namespace": namespace,
                      "host_name": host}, "value": [1, "1"]})
}

/// Client, server, requests and failed ones of each edge.
fn shown(
    targets: &[serde_json::Value],
    requests: &[Row],
    failed: &[Row],
    at_server: &[Row],
) -> Vec<(String, u64, u64)> {
    let targets = rows(targets);
    of(&Answers { targets: &targets, requests, failed, at_server, ends: [&[], &[]] })
}

fn of(answers: &Answers<'_>) -> Vec<(String, u64, u64)> {
    let edges = Fleet::new(answers).edges(&Buckets::default(), &Buckets::default());
    let one = |(edge, sums): (Edge, Sums)| (format!("{} {}", edge.0, edge.1), sums.requests, sums.failed);
    edges.into_iter().map(one).collect()
}

fn edge(edge: &str, requests: u64, failed: u64) -> (String, u64, u64) {
    (edge.to_owned(), requests, failed)
}

#[test]
fn what_two_agents_saw_is_counted_once() {
    let requests = graph(&[("a:1", "web", "web", "orders", 100), ("b:1", "orders", "user", "orders", 100)]);
    let failed = graph(&[("a:1", "web", "web", "orders", 7), ("b:1", "orders", "user", "orders", 7)]);
    assert_eq!(shown(&[], &requests, &failed, &[]), [edge("web orders", 100, 7)]);
}

#[test]
fn what_is_left_are_other_callers() {
    let requests = graph(&[("a:1", "web", "web", "orders", 100), ("b:1", "orders", "user", "orders", 140)]);
    let failed = graph(&[("a:1", "web", "web", "orders", 7), ("b:1", "orders", "user", "orders", 10)]);
    assert_eq!(shown(&[], &requests, &failed, &[]), [edge("user orders", 40, 3), edge("web orders", 100, 7)]);
}

#[test]
fn a_remainder_that_moments_explain_is_none() {
    let requests = graph(&[("a:1", "web", "web", "orders", 1_000), ("b:1", "orders", "user", "orders", 1_030)]);
    let (end, beginning) =
        (graph(&[("b:1", "orders", "user", "orders", 20)]), graph(&[("b:1", "orders", "user", "orders", 10)]));
    let all = |ends: [&[Row]; 2]| of(&Answers { targets: &[], requests: &requests, failed: &[], at_server: &[], ends });
    assert_eq!(all([&end, &beginning]), [edge("web orders", 1_000, 0)]);
    assert_eq!(all([&end, &[]]), [edge("user orders", 30, 0), edge("web orders", 1_000, 0)]);
    // Nothing was taken: a small edge is an edge.
    let requests = graph(&[("b:1", "orders", "user", "orders", 1)]);
    let answers = Answers { targets: &[], requests: &requests, failed: &[], at_server: &[], ends: [&requests, &[]] };
    assert_eq!(of(&answers), [edge("user orders", 1, 0)]);
}

#[test]
fn calls_within_a_host_take_nothing_from_strangers() {
    // web and orders are both on a; orders also runs on b, where web of a calls it 30 times, and strangers 50 times.
    let requests = graph(&[
        ("a:1", "web", "web", "orders", 100),
        ("a:1", "orders", "user", "orders", 20),
        ("b:1", "orders", "user", "orders", 80),
    ]);
    let at_server = graph(&[
        ("a:1", "orders", "web", "orders", 70),
        ("a:1", "orders", "user", "orders", 20),
        ("b:1", "orders", "user", "orders", 80),
    ]);
    let both = |at_server| shown(&[], &requests, &[], at_server);
    assert_eq!(both(&at_server), [edge("user orders", 70, 0), edge("web orders", 100, 0)]);
}

#[test]
fn the_callers_host_goes_before_nobody() {
    let requests = graph(&[
        ("10.0.0.1:9464", "web", "web", "orders", 100),
        ("10.0.0.2:9464", "orders", "10.0.0.1", "orders", 100),
        ("10.0.0.2:9464", "orders", "10.0.0.9", "orders", 60),
        ("10.0.0.2:9464", "orders", "user", "orders", 50),
    ]);
    let wanted = [edge("10.0.0.9 orders", 60, 0), edge("user orders", 50, 0), edge("web orders", 100, 0)];
    assert_eq!(shown(&[], &requests, &[], &[]), wanted);
    // By the name of the host, which targets tell.
    let requests = graph(&[
        ("a", "web", "web", "orders", 100),
        ("b", "orders", "node-1.example.org", "orders", 100),
        ("b", "orders", "user", "orders", 50),
    ]);
    let targets = [target("a", "web", "", "node-1.example.org")];
    assert_eq!(shown(&targets, &requests, &[], &[]), [edge("user orders", 50, 0), edge("web orders", 100, 0)]);
}

#[test]
fn a_caller_whom_both_name_alike_is_one_edge() {
    let requests = graph(&[("a", "web", "web", "orders", 100), ("b", "orders", "web", "orders", 130)]);
    assert_eq!(shown(&[], &requests, &[], &[]), [edge("web orders", 130, 0)], "30 came from a web that is not watched");
}

#[test]
fn names_and_addresses_mean_services() {
    let requests = graph(&[
        ("a", "web", "web", "orders.shop.svc.cluster.local", 10),
        ("a", "web", "web", "orders.other.svc", 20),
        ("a", "web", "web", "10.0.0.2", 30),
        ("a", "web", "web", "127.0.0.1", 40),
        ("10.0.0.2:9464", "stock", "user", "stock", 30),
        ("b", "orders", "user", "orders", 10),
    ]);
    let targets = [target("b", "orders", "shop", "node-2")];
    let wanted = [
        edge("web 127.0.0.1", 40, 0),
        edge("web orders", 10, 0),
        edge("web orders.other.svc", 20, 0),
        edge("web stock", 30, 0),
    ];
    assert_eq!(shown(&targets, &requests, &[], &[]), wanted);
}

#[test]
fn an_address_of_two_services_means_neither() {
    let requests = graph(&[
        ("a", "web", "web", "10.0.0.2", 30),
        ("10.0.0.2:9464", "stock", "user", "stock", 30),
        ("10.0.0.2:9464", "orders", "user", "orders", 30),
    ]);
    let wanted = [edge("user orders", 30, 0), edge("user stock", 30, 0), edge("web 10.0.0.2", 30, 0)];
    assert_eq!(shown(&[], &requests, &[], &[]), wanted, "shown from both ends, and never too little");
}

#[test]
fn the_host_of_an_instance() {
    let all = ["10.0.0.1:9464", "[::2]:9464", "node-1", "::2", "node-1:9464"].map(host_of);
    assert_eq!(all, ["10.0.0.1", "::2", "node-1", "::2", "node-1"]);
    assert_eq!(names_of_host("Node-1.example.org").collect::<Vec<_>>(), ["node-1.example.org", "node-1"]);
    assert_eq!(names_of_host("10.0.0.1").collect::<Vec<_>>(), ["10.0.0.1"]);
    assert!(names_of_host("127.0.0.1").chain(names_of_host("")).chain(names_of_host("::1")).next().is_none());
}

/// So many clients of one service on as many hosts, half of them called by the name of a host; a server's agent that knows callers by their
/// address, and one that knows none. Returns the edges and the processor time that they took.
fn crowd(edges: usize) -> (Vec<(String, u64, u64)>, u64) {
    let half = edges / 2;
    let mut counts = Vec::new();
    for number in 0..half {
        let address = format!("10.{}.{}.{}:9464", 1 + number / 65_536, number / 256 % 256, number % 256);
        let client = format!("web-{number}");
        // 20 requests to a service, 10 of which came from elsewhere; and to a host on which one service answers.
        counts.push((address.clone(), client.clone(), client.clone(), "orders".to_owned(), 10));
        let host = address.trim_end_matches(":9464").to_owned();
        counts.push(("10.0.0.1:9464".to_owned(), "orders".to_owned(), host.clone(), "orders".to_owned(), 20));
        let neighbour = format!("10.{}.{}.{}", 1 + number / 65_536, number / 256 % 256, number % 256);
        counts.push(("10.0.0.1:9464".to_owned(), "orders".to_owned(), "orders".to_owned(), neighbour, 5));
        counts.push((address, format!("stock-{number}"), "user".to_owned(), format!("stock-{number}"), 5));
    }
    let counts: Vec<_> =
        counts.iter().map(|(a, b, c, d, count)| (a.as_str(), b.as_str(), c.as_str(), d.as_str(), *count)).collect();
    let requests = graph(&counts);
    let fleet =
        Fleet::new(&Answers { targets: &[], requests: &requests, failed: &[], at_server: &[], ends: [&[], &[]] });
    let begun = crate::clock::thread_cpu();
    let edges = fleet.edges(&Buckets::default(), &Buckets::default());
    let took = crate::clock::thread_cpu().since(begun).0;
    (
        edges.into_iter().map(|(edge, sums)| (format!("{} {}", edge.0, edge.1), sums.requests, sums.failed)).collect(),
        took,
    )
}

#[test]
fn ten_times_the_edges_are_about_ten_times_the_work() {
    let (edges, _) = crowd(20_000);
    // To the service, what is left of each host, and to each host's service.
    assert_eq!(edges.len(), 30_000);
    for (at, wanted) in [("web-7 orders", 10), ("10.1.0.7 orders", 10), ("orders stock-7", 5)] {
        assert!(edges.contains(&edge(at, wanted, 0)), "{at}");
    }
    // The best of several: what else runs here is no part of it. A square would be a hundred times the work.
    let best = |edges| (0..3).map(|_| crowd(edges).1).min().unwrap();
    let (few, many) = (best(2_000), best(20_000));
    let ratio = many as f64 / few as f64;
    println!("20 000 edges: {many} ns, {ratio:.1} times those of 2 000");
    assert!(ratio < 40.0, "{few} ns and {many} ns");
}
