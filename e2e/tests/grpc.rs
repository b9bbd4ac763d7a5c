//! HTTP/2 and gRPC: by service, method, route and status, what redtap counts at both ends is what servers and clients count
//! themselves, however many streams a connection has; on connections older than the agent nothing is guessed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::clients::Kit;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{Sandbox, free_port};
use redtap_e2e::servers::apache::Apache;
use redtap_e2e::servers::go_web::GoWeb;
use redtap_e2e::servers::grpc::{Customer, Ended, Shop, Stack};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::{can_run, can_run_with};
use std::collections::BTreeMap;

const RPC_SERVER: &str = "rpc_server_call_duration_seconds_count";
const RPC_CLIENT: &str = "rpc_client_call_duration_seconds_count";
const HTTP_SERVER: &str = "http_server_request_duration_seconds_count";
const HTTP_CLIENT: &str = "http_client_request_duration_seconds_count";
const RUNGS: [&str; 2] = ["socket", "syscall"];

/// Each with its own, and one pair across: server, client.
const PAIRS: [(Stack, Stack); 4] =
    [(Stack::Python, Stack::Python), (Stack::Go, Stack::Go), (Stack::Rust, Stack::Rust), (Stack::Rust, Stack::Python)];

/// On rung `syscall` two pairs, in which each of the three is a server or a client: what calls are read from is the same bytes.
fn rungs(server: Stack, client: Stack) -> &'static [&'static str] {
    match (server, client) {
        (Stack::Go, Stack::Go) | (Stack::Rust, Stack::Python) => &RUNGS,
        _ => &["socket"],
    }
}

/// Every kind of call and of end.
const PLAN: &str = "20 Get:OK:40 Get:NOT_FOUND:11 Get:INTERNAL:5 List:OK:7 List:INTERNAL:6 Upload:OK:8 Upload:NOT_FOUND:2 \
                    Chat:OK:10 Chat:INTERNAL:3 Get:cancel:3 List:cancel:2 Chat:cancel:4 Get:deadline:5 List:deadline:1 Missing:OK:9";

type Counts = BTreeMap<Vec<String>, u64>;

/// Calls by method and status, as the agent counts them.
fn calls(metrics: &Metrics, name: &str, service: &str) -> Counts {
    let rows =
        metrics.by(name, &[("service_name", service), ("rpc_system_name", "grpc")], &["rpc_method", "rpc_status_code"]);
    given_up(rows)
}

/// The same of what servers and clients say.
fn said(ended: &Ended) -> Counts {
    let mut rows = Counts::new();
    for ((method, status), count) in ended {
        *rows.entry(vec![method.trim_start_matches('/').to_owned(), status.clone()]).or_default() += count;
    }
    given_up(rows)
}

/// Whether a client gave up or its time was over is one: at the end of a deadline it is a race whether the client resets the
/// stream first or the server sends its status.
fn given_up(rows: Counts) -> Counts {
    let mut merged = Counts::new();
    for (mut key, count) in rows {
        if key[1] == "DEADLINE_EXCEEDED" {
            key[1] = "CANCELLED".to_owned();
        }
        *merged.entry(key).or_default() += count;
    }
    merged
}

fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// What a server counts of what its client sees: calls of methods that it does not have it leaves to its library.
fn of_the_shop(rows: &Counts) -> Counts {
    rows.iter().filter(|(key, _)| key[1] != "UNIMPLEMENTED").map(|(key, count)| (key.clone(), *count)).collect()
}

#[test]
fn calls_by_method_and_status() {
    for (server, client) in PAIRS {
        if !can_run_with(&["python3"], &[server.kit(), client.kit()]) {
            continue;
        }
        for rung in rungs(server, client) {
            let sandbox = Sandbox::new("grpc").unwrap();
            let shop = Shop::start(&sandbox, server).unwrap();
            let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
            let mut customer = Customer::start(&sandbox, client, shop.port).unwrap();
            let truth = said(&customer.make(PLAN).unwrap());
            let counted = said(&shop.wait_ended(total(&of_the_shop(&truth))).unwrap());
            assert_eq!(counted, of_the_shop(&truth), "{server:?} and {client:?} agree");
            let sum = total(&truth);
            let metrics = agent
                .metrics_until(|metrics| metrics.sum(RPC_SERVER, &[]) >= sum && metrics.sum(RPC_CLIENT, &[]) >= sum)
                .unwrap();
            let (server_name, client_name) = (server.service("server"), client.service("client"));
            assert_eq!(calls(&metrics, RPC_SERVER, &server_name), truth, "{rung}, {server:?}, server");
            assert_eq!(calls(&metrics, RPC_CLIENT, &client_name), truth, "{rung}, {client:?}, client");
            let edge = [("client", client_name.as_str()), ("server", server_name.as_str())];
            assert_eq!(metrics.sum("traces_service_graph_request_total", &edge), sum, "{rung}");
            assert_eq!(metrics.sum(HTTP_SERVER, &[]) + metrics.sum(HTTP_CLIENT, &[]), 0, "{rung}: no call twice");
            // By the conventions: to a server, NOT_FOUND and CANCELLED are no errors of its own.
            assert_eq!(metrics.sum(RPC_SERVER, &[("error_type", "NOT_FOUND")]), 0, "{rung}");
            assert_eq!(metrics.sum(RPC_SERVER, &[("error_type", "INTERNAL")]), 14, "{rung}");
            assert_eq!(metrics.sum(RPC_CLIENT, &[("error_type", "NOT_FOUND")]), 13, "{rung}");
            customer.leave().unwrap();
            agent.stop().unwrap();
        }
    }
}

#[test]
fn a_hundred_calls_at_once_on_one_connection() {
    for (server, client) in PAIRS {
        if !can_run_with(&["python3"], &[server.kit(), client.kit()]) {
            continue;
        }
        for rung in rungs(server, client) {
            let sandbox = Sandbox::new("grpc").unwrap();
            let shop = Shop::start(&sandbox, server).unwrap();
            let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
            let mut customer = Customer::start(&sandbox, client, shop.port).unwrap();
            customer.make("100 Get:OK:100:1500").unwrap();
            assert_eq!(shop.peak(), 100, "{server:?} with {client:?}");
            customer
                .make("100 Get:OK:500 List:OK:300 Get:NOT_FOUND:100 Upload:OK:200 Chat:OK:300 Chat:INTERNAL:50")
                .unwrap();
            let truth = said(&shop.wait_ended(1_550).unwrap());
            assert_eq!(total(&truth), 1_550, "{server:?}: {truth:?}");
            let metrics = agent
                .metrics_until(|metrics| metrics.sum(RPC_SERVER, &[]) >= 1_550 && metrics.sum(RPC_CLIENT, &[]) >= 1_550)
                .unwrap();
            assert_eq!(calls(&metrics, RPC_SERVER, &server.service("server")), truth, "{rung}, {server:?}, server");
            assert_eq!(calls(&metrics, RPC_CLIENT, &client.service("client")), truth, "{rung}, {client:?}, client");
            customer.leave().unwrap();
            agent.stop().unwrap();
        }
    }
}

/// Calls of methods that nobody has, each another: what both ends then remember of the connection's requests is new.
fn strangers(names: std::ops::Range<u32>) -> String {
    names.map(|name| format!(" StrangerOfTheShopNumber{name}:OK:1")).collect()
}

/// What is said of calls. Where nothing shows that the connection carries gRPC, a call is a request of HTTP/2; to say of that one
/// that it was answered with 200 is to say that it went well.
fn joined_late(metrics: &Metrics, rpc: &str, plain: &str, service: &str) -> Counts {
    let mut rows = calls(metrics, rpc, service);
    for (key, count) in http(metrics, plain, service) {
        let status = match key[2].as_str() {
            "200" => "OK",
            "unknown" => "unknown",
            _ => panic!("{service}, {plain}: {key:?}"),
        };
        *rows.entry(vec![key[1].trim_start_matches('/').to_owned(), status.to_owned()]).or_default() += count;
    }
    rows
}

/// How many are said to have gone well.
fn well(seen: &Counts) -> u64 {
    seen.iter().filter(|(key, _)| key[1] == "OK").map(|(_, count)| count).sum()
}

const LATE: [(&str, &str, &str); 2] = [(RPC_SERVER, HTTP_SERVER, "server"), (RPC_CLIENT, HTTP_CLIENT, "client")];

/// The client has made calls before the agent came, so that header fields go by numbers that only it and the server know.
#[test]
fn a_connection_older_than_the_agent() {
    for (server, client) in PAIRS {
        if !can_run_with(&["python3"], &[server.kit(), client.kit()]) {
            continue;
        }
        for rung in rungs(server, client) {
            let sandbox = Sandbox::new("grpc").unwrap();
            let shop = Shop::start(&sandbox, server).unwrap();
            let mut customer = Customer::start(&sandbox, client, shop.port).unwrap();
            customer.make("5 Get:OK:20 Get:NOT_FOUND:5 Upload:NOT_FOUND:3 Chat:OK:5").unwrap();
            let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
            let mut truth = said(&customer.make("5 Get:OK:30 Chat:OK:6").unwrap());
            let sum = total(&truth);
            let all = |metrics: &Metrics, sum: u64| {
                LATE.iter().all(|(rpc, plain, _)| metrics.sum(rpc, &[]) + metrics.sum(plain, &[]) >= sum)
            };
            let first = agent.metrics_until(|metrics| all(metrics, sum)).unwrap();
            let failed = said(&customer.make("5 Get:NOT_FOUND:4 Upload:NOT_FOUND:6 List:INTERNAL:3").unwrap());
            add(&mut truth, &failed);
            let sum = total(&truth);
            let before = agent.metrics_until(|metrics| all(metrics, sum)).unwrap();
            for (rpc, plain, end) in LATE {
                let service = if end == "server" { server.service(end) } else { client.service(end) };
                let what = format!("{rung}, {server:?} with {client:?}, {end}");
                let seen = joined_late(&before, rpc, plain, &service);
                right_or_unknown(&seen, &truth, &what);
                // Never called before, so spelt out.
                let list = seen.iter().filter(|(key, _)| key[0] == "shop.v1.Shop/List").map(|(_, count)| count);
                assert_eq!(list.sum::<u64>(), 3, "{what}: {seen:?}");
                if server == Stack::Python {
                    // gRPC's C core spells a field of gRPC out in its answers, so what the connection carries is known at once.
                    assert_eq!(total(&http(&before, plain, &service)), 0, "{what}");
                }
                let seen = gained(seen, &joined_late(&first, rpc, plain, &service));
                assert_eq!((total(&seen), well(&seen)), (13, 0), "{what}: all of these failed: {seen:?}");
            }
            // So many new methods that of the requests nothing old is left.
            let again = said(&customer.make(&format!("1{}", strangers(0..150))).unwrap());
            let fresh = said(&customer.make("5 Get:OK:25 Get:NOT_FOUND:7 Chat:OK:8 Get:INTERNAL:5").unwrap());
            add(&mut truth, &again);
            add(&mut truth, &fresh);
            let sum = total(&truth);
            let after = agent.metrics_until(|metrics| all(metrics, sum)).unwrap();
            for (rpc, plain, end) in LATE {
                let service = if end == "server" { server.service(end) } else { client.service(end) };
                let what = format!("{rung}, {server:?} with {client:?}, {end}");
                right_or_unknown(&joined_late(&after, rpc, plain, &service), &truth, &what);
                let known = |metrics: &Metrics| match client {
                    // It never numbers a path, so what was numbered before the agent came (the content type) stays a number, and
                    // its server's answers show nothing.
                    Stack::Rust => joined_late(metrics, rpc, plain, &service),
                    Stack::Python | Stack::Go => calls(metrics, rpc, &service),
                };
                renewed(server, client, &gained(known(&after), &known(&before)), &fresh, &what);
            }
            customer.leave().unwrap();
            agent.stop().unwrap();
        }
    }
}

fn add(rows: &mut Counts, more: &Counts) {
    for (key, count) in more {
        *rows.entry(key.clone()).or_default() += count;
    }
}

fn gained(mut after: Counts, before: &Counts) -> Counts {
    for (key, count) in before {
        *after.entry(key.clone()).or_default() -= count;
    }
    after
}

/// What is known of calls once all that the requests refer to was said before the agent's ears: that they are calls, and their
/// methods. Of the answers grpc-go spells the names of unknown methods out as well. gRPC's C core and tonic say nothing new of a
/// stranger, so what they have numbered before stays a number for as long as the connection lasts: of C core, OK and NOT_FOUND
/// (INTERNAL came first when the agent was there); of tonic every status, because their name goes by a number.
fn renewed(server: Stack, client: Stack, seen: &Counts, fresh: &Counts, what: &str) {
    let count =
        |method: &str, status: &str| seen.get(&vec![method.to_owned(), status.to_owned()]).copied().unwrap_or(0);
    let mut unknown: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, want) in fresh {
        let known = count(&key[0], &key[1]);
        let answers = match server {
            Stack::Go => true,
            Stack::Python => key[1] == "INTERNAL",
            Stack::Rust => false,
        };
        if client != Stack::Rust && answers {
            assert_eq!(known, *want, "{what}: {key:?}: {seen:?}");
        }
        *unknown.entry(key[0].as_str()).or_default() += want.checked_sub(known).unwrap();
    }
    for (method, left) in unknown {
        assert_eq!(count(method, "unknown"), left, "{what}: {method}: {seen:?}");
    }
}

/// None is missing, and none has a method or a status that is not its own. A method that is unknown has no label, a status
/// that is unknown is `unknown`.
fn right_or_unknown(seen: &Counts, truth: &Counts, what: &str) {
    assert_eq!(total(seen), total(truth), "{what}: {seen:?}, not {truth:?}");
    for (key, count) in seen {
        let fits = |other: &&Vec<String>| {
            let alike = key[0] == "shop.v1.Shop/{token}" && other[0].contains("Stranger");
            (key[0].is_empty() || key[0] == other[0] || alike)
                && (key[1].is_empty() || key[1] == "unknown" || key[1] == other[1])
        };
        let most: u64 = truth.keys().filter(fits).map(|key| truth[key]).sum();
        assert!(*count <= most, "{what}: {count} of {key:?}: {seen:?}, not {truth:?}");
    }
}

fn http(metrics: &Metrics, name: &str, service: &str) -> Counts {
    metrics.by(name, &[("service_name", service)], &["http_request_method", "http_route", "http_response_status_code"])
}

fn rows(rows: &[(&str, &str, u64)]) -> Counts {
    let key = |route: &str, status: &str| vec!["GET".to_owned(), route.to_owned(), status.to_owned()];
    rows.iter().map(|(route, status, count)| (key(route, status), *count)).collect()
}

#[test]
fn nginx_and_h2load() {
    if !can_run(&["nginx", "h2load"]) {
        return;
    }
    for rung in RUNGS {
        let sandbox = Sandbox::new("grpc").unwrap();
        let port = free_port().unwrap();
        let nginx = Nginx::start_on(&sandbox, 2, &[&format!("127.0.0.1:{port} http2")]).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let urls = ["/static/a.html", "/users/7", "/missing"].map(|path| format!("http://127.0.0.1:{port}{path}"));
        let said = sandbox
            .run("h2load", &["-n", "3000", "-c", "4", "-m", "25", "-t", "1", &urls[0], &urls[1], &urls[2]])
            .unwrap();
        assert!(said.contains("status codes: 2000 2xx, 0 3xx, 1000 4xx, 0 5xx"), "{said}");
        let truth =
            rows(&[("/static/a.html", "200", 1_000), ("/users/{id}", "200", 1_000), ("/missing", "404", 1_000)]);
        assert_eq!(nginx.wait_answered(3_000).unwrap().values().sum::<u64>(), 3_000);
        let metrics = agent
            .metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= 3_000 && metrics.sum(HTTP_CLIENT, &[]) >= 3_000)
            .unwrap();
        assert_eq!(http(&metrics, HTTP_SERVER, "nginx"), truth, "{rung}, server");
        assert_eq!(http(&metrics, HTTP_CLIENT, "h2load"), truth, "{rung}, client");
        agent.stop().unwrap();
    }
}

#[test]
fn connections_of_h2load_older_than_the_agent() {
    if !can_run(&["nginx", "h2load"]) {
        return;
    }
    for rung in RUNGS {
        let sandbox = Sandbox::new("grpc").unwrap();
        let port = free_port().unwrap();
        let nginx = Nginx::start_on(&sandbox, 1, &[&format!("127.0.0.1:{port} http2")]).unwrap();
        let urls = ["/static/a.html", "/users/7", "/missing"].map(|path| format!("http://127.0.0.1:{port}{path}"));
        let load = ["-D", "6", "-c", "3", "-m", "5", "-t", "1", "--rps", "200", &urls[0], &urls[1], &urls[2]];
        let mut load = sandbox.command("h2load", &load).unwrap().stdout(std::process::Stdio::null()).spawn().unwrap();
        nginx.wait_answered(300).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let before: u64 = nginx.answered().unwrap().values().sum();
        assert!(load.wait().unwrap().success());
        let answered: u64 = nginx.answered().unwrap().values().sum::<u64>() - before;
        assert!(answered > 500, "{rung}: {answered} answers after the agent was there");
        // It was ready a moment before `before` was read.
        let metrics = agent
            .metrics_until(|metrics| {
                metrics.sum(HTTP_SERVER, &[]) >= answered && metrics.sum(HTTP_CLIENT, &[]) >= answered
            })
            .unwrap();
        for (name, service) in [(HTTP_SERVER, "nginx"), (HTTP_CLIENT, "h2load")] {
            let seen = http(&metrics, name, service);
            assert!(total(&seen) >= answered, "{rung}, {name}: {answered} answered, {seen:?}");
            for key in seen.keys() {
                let status = if key[1] == "/missing" { ["404", "unknown"] } else { ["200", "unknown"] };
                let known = ["/static/a.html", "/users/{id}", "/missing"].contains(&key[1].as_str());
                let fits = if known { status.contains(&key[2].as_str()) } else { key[1].is_empty() };
                assert!(fits && (key[0] == "GET" || key[0].is_empty()), "{rung}, {name}: {key:?}");
            }
        }
        agent.stop().unwrap();
    }
}

/// An upgraded request is one request. Its answer comes in HTTP/2, on the first stream; that it was preceded by a 101 is how
/// it came there.
#[test]
fn by_upgrade_and_by_prior_knowledge() {
    if !can_run_with(&["curl", "nghttp"], &[Kit::GrpcGo]) {
        return;
    }
    for rung in RUNGS {
        let sandbox = Sandbox::new("grpc").unwrap();
        let web = GoWeb::start(&sandbox).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let [page, big, gone] = &["/index.html", "/big", "/gone"].map(|path| web.url(path));
        sandbox.run("nghttp", &["-n", page, big, gone]).unwrap();
        for url in [page, gone] {
            sandbox.run("curl", &["-s", "--http2-prior-knowledge", "-o", "/dev/null", url]).unwrap();
        }
        web.wait_answered(5).unwrap();
        let both =
            |metrics: &Metrics, sum: u64| metrics.sum(HTTP_SERVER, &[]) >= sum && metrics.sum(HTTP_CLIENT, &[]) >= sum;
        let metrics = agent.metrics_until(|metrics| both(metrics, 5)).unwrap();
        let known = rows(&[("/index.html", "200", 2), ("/big", "200", 1), ("/gone", "404", 2)]);
        all_but_what_came_behind_the_close(&metrics, &http(&metrics, HTTP_SERVER, "go-web"), &known, rung);
        let nghttp = rows(&[("/index.html", "200", 1), ("/big", "200", 1), ("/gone", "404", 1)]);
        assert_eq!(http(&metrics, HTTP_CLIENT, "nghttp"), nghttp, "{rung}, client");
        assert_eq!(
            http(&metrics, HTTP_CLIENT, "curl"),
            rows(&[("/index.html", "200", 1), ("/gone", "404", 1)]),
            "{rung}"
        );

        sandbox.run("nghttp", &["-n", "-u", page, big, gone]).unwrap();
        for url in [page, big, gone] {
            sandbox.run("curl", &["-s", "--http2", "-o", "/dev/null", url]).unwrap();
        }
        web.wait_answered(11).unwrap();
        let metrics = agent.metrics_until(|metrics| both(metrics, 11)).unwrap();
        let upgraded = |name, service| without_switches(http(&metrics, name, service));
        let answered = rows(&[("/index.html", "200", 4), ("/big", "200", 3), ("/gone", "404", 4)]);
        all_but_what_came_behind_the_close(&metrics, &upgraded(HTTP_SERVER, "go-web"), &answered, rung);
        for (client, asked) in [
            ("nghttp", rows(&[("/index.html", "200", 2), ("/big", "200", 2), ("/gone", "404", 2)])),
            ("curl", rows(&[("/index.html", "200", 2), ("/big", "200", 1), ("/gone", "404", 2)])),
        ] {
            assert_eq!(upgraded(HTTP_CLIENT, client), asked, "{rung}, {client}");
        }
        agent.stop().unwrap();
    }
}

/// Every request is counted, with its status. Go writes an answer in one thread while another closes the connection: when the kernel
/// tells of the close first, the answer is not read; its request is counted with status `unknown`, and the record as
/// `after_close`. Nothing else may be unknown.
fn all_but_what_came_behind_the_close(metrics: &Metrics, got: &Counts, want: &Counts, rung: &str) {
    let of_path =
        |counts: &Counts, path: &str| counts.iter().filter(|(key, _)| key[1] == path).map(|(_, n)| n).sum::<u64>();
    for key in want.keys() {
        assert_eq!(of_path(got, &key[1]), of_path(want, &key[1]), "{rung}, server: {got:?} is not {want:?}");
    }
    assert_eq!(total(got), total(want), "{rung}, server: {got:?} is not {want:?}");
    let unknown: u64 = got.iter().filter(|(key, _)| key[2] == "unknown").map(|(_, n)| n).sum();
    for (key, count) in got.iter().filter(|(key, _)| key[2] != "unknown") {
        assert!(want.get(key).is_some_and(|want| count <= want), "{rung}, server: {got:?} is not {want:?}");
    }
    let behind = metrics.sum("redtap_stage_rejected_total", &[("stage", "decode"), ("reason", "after_close")]);
    assert!(unknown <= behind, "{rung}, server: {unknown} unknown, {behind} records behind a close: {got:?}");
}

fn without_switches(counts: Counts) -> Counts {
    counts.into_iter().filter(|(key, _)| key[2] != "101").collect()
}

#[test]
fn httpd_by_upgrade() {
    if !can_run(&["apache2", "curl"]) {
        return;
    }
    for rung in RUNGS {
        let sandbox = Sandbox::new("grpc").unwrap();
        let apache = Apache::start(&sandbox).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        for way in ["--http1.1", "--http2", "--http2-prior-knowledge"] {
            for path in ["/index.html", "/gone", "/gone"] {
                sandbox.run("curl", &["-s", way, "-o", "/dev/null", &apache.url(path)]).unwrap();
            }
        }
        // Upgraded ones are logged twice: as the 101 and as what was asked for.
        let logged = apache.wait_answered(12).unwrap();
        assert_eq!(logged.values().sum::<u64>(), 12, "{logged:?}");
        let metrics = agent
            .metrics_until(|metrics| metrics.sum(HTTP_SERVER, &[]) >= 9 && metrics.sum(HTTP_CLIENT, &[]) >= 9)
            .unwrap();
        let truth = rows(&[("/index.html", "200", 3), ("/gone", "404", 6)]);
        for (name, service) in [(HTTP_SERVER, "apache2"), (HTTP_CLIENT, "curl")] {
            assert_eq!(without_switches(http(&metrics, name, service)), truth, "{rung}, {service}");
        }
        agent.stop().unwrap();
    }
}
