//! The ground itself: the servers' own counts are what clients sent. What the agent is held against must hold by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::clients::Kit;
use redtap_e2e::sandbox::{Sandbox, free_port};
use redtap_e2e::servers::apache::Apache;
use redtap_e2e::servers::apps::{App, Language};
use redtap_e2e::servers::dnsmasq::Dnsmasq;
use redtap_e2e::servers::go_web::GoWeb;
use redtap_e2e::servers::grpc::{Customer, Ended, Shop, Stack};
use redtap_e2e::servers::kafka::{Client, Kafka, Library};
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use redtap_e2e::{can_run, can_run_with};
use std::collections::BTreeMap;

#[test]
fn nginx_logs_what_curl_asked() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let nginx = Nginx::start(&sandbox, 2).unwrap();
    for path in ["/", "/missing", "/broken", "/users/7"] {
        sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url(path)]).unwrap();
    }
    let answered = nginx.wait_answered(4).unwrap();
    assert_eq!(answered.values().sum::<u64>(), 4, "{answered:?}");
    assert_eq!(answered[&("GET".into(), "/broken".into(), "500".into())], 1);
}

#[test]
fn redis_counts_calls() {
    if !can_run(&["redis-server", "redis-benchmark"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    let port = redis.port.to_string();
    sandbox.run("redis-benchmark", &["-p", &port, "-q", "-t", "set", "-n", "640", "-c", "2", "-P", "64"]).unwrap();
    assert_eq!(redis.calls().unwrap()["SET"], 640);
}

#[test]
fn dnsmasq_logs_questions() {
    if !can_run(&["dnsmasq", "dig"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let dns = Dnsmasq::start(&sandbox).unwrap();
    let port = dns.port.to_string();
    let answer = sandbox.run("dig", &["@127.0.0.1", "-p", &port, "+short", "www.example.test", "A"]).unwrap();
    assert_eq!(answer.trim(), "192.0.2.10");
    sandbox.run("dig", &["@127.0.0.1", "-p", &port, "+tcp", "nothing.example.test", "AAAA"]).unwrap();
    dns.wait_asked(2).unwrap();
}

#[test]
fn every_language_answers_and_counts() {
    for language in Language::ALL {
        if !can_run(&[language.program(), "curl"]) {
            continue;
        }
        let sandbox = Sandbox::new("ground").unwrap();
        let app = App::start(&sandbox, language).unwrap();
        let urls = ["/ok/1", "/gone/1", "/fail/1"].map(|path| app.url(path));
        let mut arguments = vec!["-s", "-w", "%{http_code} ", "-o", "/dev/null"];
        for (at, url) in urls.iter().enumerate() {
            if at > 0 {
                arguments.extend(["-o", "/dev/null"]);
            }
            arguments.push(url);
        }
        assert_eq!(sandbox.run("curl", &arguments).unwrap().trim(), "200 404 500", "{language:?}");
        assert_eq!(app.answered().map_err(|error| format!("{language:?}: {error:#}")), Ok(3));
    }
}

/// What a server cannot tell apart: whether its client gave up by itself or because its time was over. Which of the two it
/// hears of first is a race between the ends.
fn given_up(mut ended: Ended) -> Ended {
    let late: Vec<_> = ended.keys().filter(|(_, status)| status == "DEADLINE_EXCEEDED").cloned().collect();
    for key in late {
        let count = ended.remove(&key).unwrap_or(0);
        *ended.entry((key.0, "CANCELLED".to_owned())).or_default() += count;
    }
    ended
}

fn ended(rows: &[(&str, &str, u64)]) -> Ended {
    rows.iter().map(|(method, status, n)| ((format!("/shop.v1.Shop/{method}"), (*status).to_owned()), *n)).collect()
}

#[test]
fn grpc_servers_and_clients_agree_on_how_calls_ended() {
    // Each with its own, and one pair across.
    for (server, client) in [
        (Stack::Python, Stack::Python),
        (Stack::Go, Stack::Go),
        (Stack::Rust, Stack::Rust),
        (Stack::Rust, Stack::Python),
    ] {
        if !can_run_with(&["python3"], &[server.kit(), client.kit()]) {
            continue;
        }
        let sandbox = Sandbox::new("ground").unwrap();
        let shop = Shop::start(&sandbox, server).unwrap();
        let mut customer = Customer::start(&sandbox, client, shop.port).unwrap();
        let all_at_once = customer.make("100 Get:OK:100:1500").unwrap();
        assert_eq!(all_at_once, ended(&[("Get", "OK", 100)]), "{client:?}");
        assert_eq!(shop.peak(), 100, "{server:?}: 100 calls at once on one connection");
        let plan = "20 Get:OK:40 Get:NOT_FOUND:11 Get:INTERNAL:5 List:OK:7 List:INTERNAL:6 Upload:OK:8 Upload:NOT_FOUND:2 \
                    Chat:OK:10 Chat:INTERNAL:3 Get:cancel:3 List:cancel:2 Chat:cancel:4 Get:deadline:5 List:deadline:1 Missing:OK:9";
        let mut seen = given_up(customer.make(plan).unwrap());
        let mut rows = ended(&[
            ("Get", "OK", 40),
            ("Get", "NOT_FOUND", 11),
            ("Get", "INTERNAL", 5),
            ("Get", "CANCELLED", 8),
            ("List", "OK", 7),
            ("List", "INTERNAL", 6),
            ("List", "CANCELLED", 3),
            ("Upload", "OK", 8),
            ("Upload", "NOT_FOUND", 2),
            ("Chat", "OK", 10),
            ("Chat", "INTERNAL", 3),
            ("Chat", "CANCELLED", 4),
            ("Missing", "UNIMPLEMENTED", 9),
        ]);
        assert_eq!(seen, rows, "{client:?} at {server:?}");
        // What is no method of its own the server leaves to its library.
        let missing = ("/shop.v1.Shop/Missing".to_owned(), "UNIMPLEMENTED".to_owned());
        rows.remove(&missing);
        seen.remove(&missing);
        *rows.get_mut(&("/shop.v1.Shop/Get".to_owned(), "OK".to_owned())).unwrap() += 100;
        let total = rows.values().sum();
        assert_eq!(given_up(shop.wait_ended(total).unwrap()), rows, "{server:?} with {client:?}");
        customer.leave().unwrap();
    }
}

#[test]
fn nginx_logs_what_h2load_asked() {
    if !can_run(&["nginx", "h2load"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let port = free_port().unwrap();
    let nginx = Nginx::start_on(&sandbox, 2, &[&format!("127.0.0.1:{port} http2")]).unwrap();
    let urls = ["/static/a.html", "/users/7", "/missing"].map(|path| format!("http://127.0.0.1:{port}{path}"));
    let arguments = ["-n", "3000", "-c", "4", "-m", "25", "-t", "1", &urls[0], &urls[1], &urls[2]];
    let said = sandbox.run("h2load", &arguments).unwrap();
    assert!(said.contains("3000 total, 3000 started, 3000 done"), "{said}");
    assert!(said.contains("status codes: 2000 2xx, 0 3xx, 1000 4xx, 0 5xx"), "{said}");
    let answered = nginx.wait_answered(3_000).unwrap();
    let rows = [("/static/a.html", "200"), ("/users/7", "200"), ("/missing", "404")];
    let rows: BTreeMap<_, u64> =
        rows.iter().map(|(path, status)| (("GET".into(), (*path).into(), (*status).into()), 1_000)).collect();
    assert_eq!(answered, rows);
}

#[test]
fn httpd_logs_what_curl_asked_by_upgrade_and_by_prior_knowledge() {
    if !can_run(&["apache2", "curl", "nghttp"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let apache = Apache::start(&sandbox).unwrap();
    let urls = ["/index.html", "/big", "/gone"].map(|path| apache.url(path));
    // The curl of Debian 12 fails at a second request on a connection without TLS, and httpd often closes an upgraded one during
    // the first if that takes long: one small request each. nghttp makes all of its own at once.
    for way in ["--http2", "--http2-prior-knowledge"] {
        for (url, says) in [(&urls[0], "2 200"), (&urls[2], "2 404")] {
            let said = sandbox.run("curl", &["-s", way, "-w", "%{http_version} %{http_code}", "-o", "/dev/null", url]);
            assert_eq!(said.unwrap(), says, "{way} {url}");
        }
    }
    let [page, big, gone] = &urls;
    sandbox.run("nghttp", &["-n", page, big, gone]).unwrap();
    sandbox.run("curl", &["-s", "--http1.1", "-o", "/dev/null", gone]).unwrap();
    let answered = apache.wait_answered(10).unwrap();
    let row = |fields: [&str; 4], count: u64| (fields.map(str::to_owned), count);
    // A request that is upgraded is logged twice: as the 101 and, on the first stream, as what was asked for.
    let rows = BTreeMap::from([
        row(["HTTP/1.1", "GET", "/index.html", "101"], 1),
        row(["HTTP/1.1", "GET", "/gone", "101"], 1),
        row(["HTTP/2.0", "GET", "/index.html", "200"], 3),
        row(["HTTP/2.0", "GET", "/big", "200"], 1),
        row(["HTTP/2.0", "GET", "/gone", "404"], 3),
        row(["HTTP/1.1", "GET", "/gone", "404"], 1),
    ]);
    assert_eq!(answered, rows);
}

#[test]
fn go_logs_what_nghttp_asked_by_upgrade_and_by_prior_knowledge() {
    if !can_run_with(&["nghttp", "curl"], &[Kit::GrpcGo]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let web = GoWeb::start(&sandbox).unwrap();
    let [page, big, gone] = &["/index.html", "/big", "/gone"].map(|path| web.url(path));
    sandbox.run("nghttp", &["-n", "-u", page, big, gone]).unwrap();
    sandbox.run("nghttp", &["-n", page, big, gone]).unwrap();
    sandbox.run("curl", &["-s", "--http2", "-o", "/dev/null", big]).unwrap();
    let row = |fields: [&str; 4], count: u64| (fields.map(str::to_owned), count);
    // One that is upgraded it knows as what it came as.
    let rows = BTreeMap::from([
        row(["HTTP/1.1", "GET", "/index.html", "200"], 1),
        row(["HTTP/1.1", "GET", "/big", "200"], 1),
        row(["HTTP/2.0", "GET", "/index.html", "200"], 1),
        row(["HTTP/2.0", "GET", "/big", "200"], 2),
        row(["HTTP/2.0", "GET", "/gone", "404"], 2),
    ]);
    assert_eq!(web.wait_answered(7).unwrap(), rows);
}

#[test]
fn kafka_counts_what_its_clients_sent() {
    if !can_run_with(&["java", "python3", "kcat"], &[Kit::Kafka, Kit::Python]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let kafka = Kafka::start(&sandbox).unwrap();
    let mut native = Client::start(&sandbox, Library::Librdkafka, kafka.port).unwrap();
    native.ask("create orders").unwrap();
    native.ask("create small max.message.bytes=1000").unwrap();
    // The first group of a broker makes it create the topic for all groups; clients ask again until it is there.
    native.ask("produce orders 10 all 100").unwrap();
    native.ask("consume orders first 10").unwrap();
    native.leave().unwrap();

    let before = kafka.counts().unwrap();
    let mut native = Client::start(&sandbox, Library::Librdkafka, kafka.port).unwrap();
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    let mut add =
        |said: BTreeMap<String, u64>| said.into_iter().for_each(|(api, n)| *sent.entry(api).or_default() += n);
    native.ask("produce orders 100 all 100").unwrap();
    let said = native.ask("produce small 3 all 5000").unwrap();
    assert_eq!((said["Produce"], said["failed"]), (103, 3));
    add(said);
    add(native.ask("produce orders 50 0 100").unwrap());
    let said = native.ask("consume orders second 160").unwrap();
    assert!(said["taken"] >= 160, "{said:?}");
    add(said);
    let counted = kafka.wait_counts(|counts| counts.since(&before)["Fetch"] == sent["Fetch"]).unwrap();
    let requests = counted.since(&before);
    for api in ["Produce", "Fetch", "ListOffsets", "JoinGroup", "SyncGroup", "OffsetFetch", "OffsetCommit", "Heartbeat"]
    {
        assert_eq!(requests.get(api), sent.get(api), "librdkafka: {api}: {requests:?} {sent:?}");
    }
    // These it also sends to the broker by its bootstrap address, whose counts it forgets once it knows the broker by number.
    for (theirs, ours) in
        [("ApiVersion", "ApiVersions"), ("Metadata", "Metadata"), ("FindCoordinator", "FindCoordinator")]
    {
        assert!(requests[ours] >= sent[theirs], "librdkafka: {ours}: {requests:?} {sent:?}");
    }
    let results = |api: &str, error: &str| counted.results.get(&(api.to_owned(), error.to_owned())).copied();
    assert_eq!(results("Produce", "MESSAGE_TOO_LARGE"), Some(3));
    assert_eq!((counted.produced["orders"], counted.produced["small"]), (160, 3));
    native.leave().unwrap();

    let before = kafka.counts().unwrap();
    let mut java = Client::start(&sandbox, Library::Java, kafka.port).unwrap();
    java.ask("produce orders 70 all 100").unwrap();
    let mut said = vec![java.ask("produce small 2 all 5000").unwrap()];
    said.push(java.ask("produce orders 30 0 100").unwrap());
    said.push(java.ask("consume orders third 260").unwrap());
    let sum = |word: &str| said.iter().filter_map(|said| said.get(word)).sum::<u64>();
    let total = sum("requests");
    let counted =
        kafka.wait_counts(|counts| counts.since(&before).values().sum::<u64>() >= total).unwrap().since(&before);
    assert_eq!(counted.values().sum::<u64>(), total, "Java: {counted:?} {said:?}");
    for api in ["Produce", "Fetch", "OffsetCommit"] {
        assert_eq!(counted[api], sum(api), "Java: {api}: {counted:?} {said:?}");
    }
    assert_eq!((counted["Produce"], sum("taken"), sum("failed")), (102, 260, 2));
    java.leave().unwrap();

    let before = kafka.counts().unwrap();
    sandbox.write("lines", &"one line\n".repeat(40)).unwrap();
    let broker = format!("127.0.0.1:{}", kafka.port);
    let each_alone = ["-X", "batch.num.messages=1", "-X", "linger.ms=0"];
    sandbox.run("kcat", &[&["-b", &broker, "-t", "orders", "-P", "-l", "lines"], &each_alone[..]].concat()).unwrap();
    let read = sandbox.run("kcat", &["-b", &broker, "-t", "orders", "-C", "-o", "-40", "-e", "-q"]).unwrap();
    assert_eq!(read, "one line\n".repeat(40));
    let counted = kafka.wait_counts(|counts| counts.since(&before).get("Produce") == Some(&40)).unwrap();
    assert_eq!(counted.since(&before)["Produce"], 40, "kcat");
}
