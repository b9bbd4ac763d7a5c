//! `aggregate` and `flush`: every exchange in one series, every gain published once.

use crate::sample::{NOW, all, conn, count, drain, exchange, exchanges, get, lookup, owner, run, tick, unanswered};
use proptest::prelude::*;
use redtap_stages::aggregate::{Aggregate, AggregateReject, AggregateSettings};
use redtap_stages::converge::{Converge, ConvergeRules};
use redtap_stages::flow::conn::{ConnInfo, Role};
use redtap_stages::flow::delta::{Delta, Gain};
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::joined::Joined;
use redtap_stages::flow::message::Session;
use redtap_stages::flush::{Flush, FlushSettings};
use redtap_stages::join::{Join, JoinSettings};
use redtap_stages::limits;
use redtap_stages::metric::Metric;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::sync::Arc;

struct Chain {
    converge: Converge,
    join: Join,
}

impl Chain {
    fn new() -> Self {
        let settings = JoinSettings { lookups: false, wait_for_peer: false, ..JoinSettings::default() };
        Self { converge: Converge::new(ConvergeRules::default()), join: Join::new(settings) }
    }

    fn joined(&mut self, input: Vec<Exchange>) -> Vec<Joined> {
        let converged = run(&mut self.converge, NOW, input);
        run(&mut self.join, NOW, converged)
    }
}

fn counted(settings: AggregateSettings, input: Vec<Exchange>) -> (Aggregate, Vec<Delta>) {
    let mut stage = Aggregate::with(settings);
    assert!(run(&mut stage, NOW + Nanos::from_millis(40), Chain::new().joined(input)).is_empty());
    let deltas = drain(&mut stage, NOW + Nanos::SECOND);
    (stage, deltas)
}

fn deltas(input: Vec<Exchange>) -> Vec<(String, u64)> {
    all(&counted(AggregateSettings::default(), input).1)
}

fn server() -> Arc<ConnInfo> {
    conn(1, owner(10, "nginx"), Role::Server, "10.0.0.1:80", "192.0.2.9:40000")
}

fn client(port: u16) -> Arc<ConnInfo> {
    conn(2, owner(11, "app"), Role::Client, "10.0.0.1:50000", &format!("192.0.2.1:{port}"))
}

#[test]
fn queries_calls_and_operations_of_brokers_have_the_labels_of_the_conventions() {
    let mut select =
        exchange(&client(5432), Protocol::Postgres, "SELECT", "SELECT a FROM t WHERE b = 'secret'", "42P01");
    select.session = Some(Arc::new(Session { user: "ann".into(), namespace: "shop".into() }));
    let run = exchange(&client(3306), Protocol::Mysql, "EXECUTE", "INSERT INTO t SELECT * FROM u", "");
    let ping = exchange(&client(3306), Protocol::Mysql, "PING", "", "");
    let send = exchange(&client(9092), Protocol::Kafka, "Produce", "orders", "");
    let call = exchange(&client(50051), Protocol::Grpc, "POST", "shop.v1.Cart/Add", "14");
    let fine = exchange(&client(50051), Protocol::Grpc, "POST", "shop.v1.Cart/Add", "0");
    let page = exchange(&client(80), Protocol::Http2, "GET", "/a?b=c", "200");
    let got = deltas(vec![select, run, ping, send, call, fine, page]);
    let got: Vec<_> = got.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("traces_")).collect();
    let expected = [
        "db_client_operation_duration_seconds{app,db.system.name=mysql,db.operation.name=PING,server.address=192.0.2.1,server.port=3306}",
        "db_client_operation_duration_seconds{app,db.system.name=mysql,db.query.summary=INSERT t SELECT u,db.operation.name=INSERT,server.address=192.0.2.1,server.port=3306}",
        "db_client_operation_duration_seconds{app,db.system.name=postgresql,db.namespace=shop,db.query.summary=SELECT t,db.collection.name=t,db.operation.name=SELECT,db.response.status_code=42P01,server.address=192.0.2.1,server.port=5432,error.type=42P01}",
        "http_client_request_duration_seconds{app,http.request.method=GET,http.route=/a,http.response.status_code=200,network.protocol.version=2,server.address=192.0.2.1,server.port=80}",
        "messaging_client_operation_duration_seconds{app,messaging.system=kafka,messaging.operation.name=Produce,messaging.operation.type=send,messaging.destination.name=orders,server.address=192.0.2.1,server.port=9092}",
        "rpc_client_call_duration_seconds{app,rpc.system.name=grpc,rpc.method=shop.v1.Cart/Add,rpc.status_code=OK,server.address=192.0.2.1,server.port=50051}",
        "rpc_client_call_duration_seconds{app,rpc.system.name=grpc,rpc.method=shop.v1.Cart/Add,rpc.status_code=UNAVAILABLE,server.address=192.0.2.1,server.port=50051,error.type=UNAVAILABLE}",
    ];
    assert_eq!(got, expected);
}

#[test]
fn http_has_the_labels_of_the_conventions_on_both_sides() {
    let got = deltas(vec![
        get(&server(), "/a", "200"),
        get(&server(), "/a", "404"),
        get(&server(), "/a", "503"),
        get(&client(80), "/b", "404"),
    ]);
    let expected = [
        (
            "http_client_request_duration_seconds{app,http.request.method=GET,http.route=/b,http.response.status_code=404,server.address=192.0.2.1,server.port=80,error.type=404}",
            1,
        ),
        (
            "http_server_request_duration_seconds{nginx,http.request.method=GET,http.route=/a,http.response.status_code=200,url.scheme=http}",
            1,
        ),
        (
            "http_server_request_duration_seconds{nginx,http.request.method=GET,http.route=/a,http.response.status_code=404,url.scheme=http}",
            1,
        ),
        (
            "http_server_request_duration_seconds{nginx,http.request.method=GET,http.route=/a,http.response.status_code=503,url.scheme=http,error.type=503}",
            1,
        ),
        ("traces_service_graph_request_client_seconds{app,client=app,server=192.0.2.1}", 1),
        ("traces_service_graph_request_failed_total{app,client=app,server=192.0.2.1}", 1),
        ("traces_service_graph_request_failed_total{nginx,client=user,server=nginx}", 1),
        ("traces_service_graph_request_server_seconds{nginx,client=user,server=nginx}", 3),
        ("traces_service_graph_request_total{app,client=app,server=192.0.2.1}", 1),
        ("traces_service_graph_request_total{nginx,client=user,server=nginx}", 3),
    ];
    assert_eq!(got, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn redis_is_a_database_and_dns_is_no_edge() {
    let redis = conn(3, owner(12, "redis-server"), Role::Server, "10.0.0.1:6379", "192.0.2.9:40000");
    let dns = conn(4, owner(11, "app"), Role::Client, "10.0.0.1:5353", "192.0.2.53:53");
    let got = deltas(vec![
        exchange(&redis, Protocol::Redis, "GET", "k", ""),
        exchange(&client(6379), Protocol::Redis, "INCR", "k", "WRONGTYPE"),
        lookup(&dns, "example.org", &["192.0.2.1"]),
        exchange(&dns, Protocol::Dns, "A", "nowhere.example.org", "NXDOMAIN"),
    ]);
    let expected = [
        (
            "db_client_operation_duration_seconds{app,db.system.name=redis,db.operation.name=INCR,db.response.status_code=WRONGTYPE,server.address=192.0.2.1,server.port=6379,error.type=WRONGTYPE}",
            1,
        ),
        (
            "db_server_operation_duration_seconds{redis-server,db.system.name=redis,db.operation.name=GET,server.port=6379}",
            1,
        ),
        (
            "dns_lookup_duration_seconds{app,dns.question.type=A,dns.response.code=NXDOMAIN,server.address=192.0.2.53,error.type=NXDOMAIN}",
            1,
        ),
        ("dns_lookup_duration_seconds{app,dns.question.type=A,server.address=192.0.2.53}", 1),
        ("traces_service_graph_request_client_seconds{app,client=app,server=192.0.2.1,connection_type=database}", 1),
        ("traces_service_graph_request_failed_total{app,client=app,server=192.0.2.1,connection_type=database}", 1),
        (
            "traces_service_graph_request_server_seconds{redis-server,client=user,server=redis-server,connection_type=database}",
            1,
        ),
        ("traces_service_graph_request_total{app,client=app,server=192.0.2.1,connection_type=database}", 1),
        (
            "traces_service_graph_request_total{redis-server,client=user,server=redis-server,connection_type=database}",
            1,
        ),
    ];
    assert_eq!(got, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn no_answer_is_an_error_with_its_type_and_lasts_until_it_was_known() {
    let input = vec![unanswered(&server(), NoAnswer::Reset), unanswered(&server(), NoAnswer::Lost)];
    let (_, deltas) = counted(AggregateSettings::default(), input);
    let reset = deltas.iter().find(|delta| delta.series.labels.iter().any(|(_, value)| value.as_str() == "reset"));
    let Some(Gain::Histogram(gain)) = reset.map(|delta| delta.gain.clone()) else { panic!("no such series") };
    assert_eq!((gain.count, gain.sum), (1, 40_000_000));
    let lost = deltas.iter().find(|delta| delta.series.labels.iter().any(|(_, value)| value.as_str() == "unknown"));
    let lost = lost.unwrap();
    assert!(lost.series.labels.iter().all(|&(name, _)| name != "error.type"), "nothing went wrong that we know of");
}

#[test]
fn an_edge_with_both_ends_watched_is_counted_once() {
    let near_client = conn(5, owner(20, "app"), Role::Client, "127.0.0.1:50000", "127.0.0.1:80");
    let near_server = conn(6, owner(21, "nginx"), Role::Server, "127.0.0.1:80", "127.0.0.1:50000");
    let mut join = Join::new(JoinSettings { lookups: false, ..JoinSettings::default() });
    let input = vec![get(&near_server, "/", "200"), get(&near_client, "/", "200")];
    let converged = run(&mut Converge::new(ConvergeRules::default()), NOW, input);
    let mut stage = Aggregate::new();
    run(&mut stage, NOW, run(&mut join, NOW, converged));
    let graph: Vec<_> =
        all(&drain(&mut stage, NOW)).into_iter().filter(|(name, _)| name.starts_with("traces")).collect();
    let expected = [
        ("traces_service_graph_request_client_seconds{app,client=app,server=nginx}", 1),
        ("traces_service_graph_request_server_seconds{nginx,client=app,server=nginx}", 1),
        ("traces_service_graph_request_total{app,client=app,server=nginx}", 1),
    ];
    assert_eq!(graph, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn a_service_that_calls_itself_is_an_edge_only_if_asked_for() {
    let own = conn(5, owner(20, "app"), Role::Client, "127.0.0.1:50000", "127.0.0.1:80");
    let too = conn(6, owner(20, "app"), Role::Server, "127.0.0.1:80", "127.0.0.1:50000");
    let input = || vec![get(&too, "/", "200"), get(&own, "/", "200")];
    let edges = |self_edges| {
        let (_, deltas) = counted(AggregateSettings { self_edges, ..AggregateSettings::default() }, input());
        deltas.iter().filter(|delta| delta.series.metric == Metric::ServiceGraphRequests).map(count).sum::<u64>()
    };
    // The server's exchange came before its peer was seen, so it counts with a caller of no name.
    assert_eq!((edges(false), edges(true)), (1, 2));
}

#[test]
fn past_the_budget_of_a_service_everything_is_in_its_overflow_series_and_counted() {
    let settings = AggregateSettings { series_per_service: 3, ..AggregateSettings::default() };
    let input = (0..10).map(|n| get(&server(), &format!("/name-{n}-x"), "500")).collect();
    let (stage, deltas) = counted(settings, input);
    assert_eq!((stage.overflowed(), exchanges(&deltas)), (7, 10));
    let all = all(&deltas);
    let overflow = "http_server_request_duration_seconds{nginx,http.request.method=_overflow,http.route=_overflow,http.response.status_code=_overflow,url.scheme=_overflow}";
    assert!(all.contains(&(overflow.to_owned(), 7)));
}

#[test]
fn past_the_bound_of_the_table_services_still_have_their_own_overflow_series() {
    let settings = AggregateSettings { max_series: 2, ..AggregateSettings::default() };
    let input = (0..2_000_u16).map(|n| {
        let comm = format!("s{n}");
        get(&conn(u64::from(n), owner(u32::from(n) + 1, &comm), Role::Server, "10.0.0.1:80", "192.0.2.9:1"), "/", "200")
    });
    let (stage, deltas) = counted(settings, input.collect());
    assert_eq!((stage.overflowed(), exchanges(&deltas)), (1_998, 2_000));
    let series = deltas.iter().filter(|delta| delta.series.metric == Metric::HttpServerRequestDuration).count();
    assert_eq!(series, 2 + limits::MAX_OVERFLOW_SERIES + 1, "those of the shard's bound share one");
}

#[test]
fn a_gain_is_emitted_once_and_only_by_what_gained() {
    let mut chain = Chain::new();
    let mut stage = Aggregate::new();
    run(&mut stage, NOW, chain.joined(vec![get(&server(), "/a", "200"), get(&server(), "/b", "200")]));
    assert_eq!(stage.ledger().held, 2);
    assert_eq!(exchanges(&tick(&mut stage, NOW + Nanos::SECOND)), 2);
    assert_eq!((stage.ledger().held, stage.ledger().passed), (0, 2));
    run(&mut stage, NOW + Nanos::SECOND, chain.joined(vec![get(&server(), "/a", "200")]));
    assert!(tick(&mut stage, NOW + Nanos::from_millis(1_100)).is_empty(), "not so soon after the last time");
    assert_eq!(exchanges(&tick(&mut stage, NOW + Nanos::from_secs(2))), 1);
    assert!(tick(&mut stage, NOW + Nanos::from_secs(3)).is_empty());
}

#[test]
fn an_idle_series_gives_its_place_back() {
    let settings = AggregateSettings { series_per_service: 1, ..AggregateSettings::default() };
    let mut stage = Aggregate::with(settings);
    let mut chain = Chain::new();
    run(&mut stage, NOW, chain.joined(vec![get(&server(), "/a", "200"), get(&server(), "/b", "200")]));
    tick(&mut stage, NOW + Nanos::SECOND);
    assert!(stage.series() > 0);
    let later = NOW + limits::SERIES_IDLE + Nanos::from_secs(61);
    tick(&mut stage, later);
    assert_eq!(stage.series(), 0);
    run(&mut stage, later, chain.joined(vec![get(&server(), "/b", "200")]));
    assert_eq!(stage.overflowed(), 1, "only the one from before");
}

#[test]
fn exchanges_of_a_restarted_stage_upstream_do_not_mix_with_earlier_ones() {
    let mut stage = Aggregate::new();
    run(&mut stage, NOW, Chain::new().joined(vec![get(&server(), "/a", "200")]));
    run(&mut stage, NOW, Chain::new().joined(vec![get(&server(), "/b", "200")]));
    let routes = all(&drain(&mut stage, NOW)).into_iter().filter(|(name, _)| name.starts_with("http")).count();
    assert_eq!(routes, 2, "the numbers of their symbols are the same, their texts are not");
}

#[test]
fn an_exchange_of_no_protocol_is_rejected() {
    let mut stage = Aggregate::new();
    let mut joined = Chain::new().joined(vec![get(&server(), "/", "200")]);
    joined[0].converged.exchange.protocol = Protocol::Unknown;
    run(&mut stage, NOW, joined);
    assert_eq!(stage.ledger().rejected_for(AggregateReject::Protocol), 1);
    assert!(drain(&mut stage, NOW).is_empty());
}

#[test]
fn an_exchange_of_a_sampled_connection_counts_for_those_left_out_and_says_so() {
    let mut chain = Chain::new();
    let (mut aggregate, mut flush) = (Aggregate::new(), Flush::new(FlushSettings::default()));
    // In two gains of one publication.
    for sampling in [0, 3] {
        let get = || Exchange { sampling, ..get(&server(), "/a", "500") };
        run(&mut aggregate, NOW, chain.joined(vec![get(), get()]));
        assert!(run(&mut flush, NOW, drain(&mut aggregate, NOW)).is_empty());
    }
    let published = drain(&mut flush, NOW + Nanos::SECOND);
    assert_eq!(exchanges(&published[0].deltas), 18);
    for delta in &published[0].deltas {
        match &delta.gain {
            Gain::Histogram(gain) => {
                assert_eq!(
                    (gain.count, gain.seen, gain.scaled),
                    (18, 4, 2),
                    "{}",
                    delta.series.metric.entry().prometheus
                );
                assert_eq!(gain.buckets.iter().sum::<u64>(), 18);
                assert_eq!(gain.sum, 18 * 3_000_000);
            }
            Gain::Count(count) => assert_eq!(*count, 18, "{}", delta.series.metric.entry().prometheus),
        }
    }
}

#[test]
fn flush_publishes_once_a_second_and_everything_on_drain() {
    let mut chain = Chain::new();
    let mut aggregate = Aggregate::new();
    let mut flush = Flush::new(FlushSettings::default());
    assert!(tick(&mut flush, NOW).is_empty(), "nothing gained, nothing published");
    for n in 0..3 {
        let now = NOW + Nanos::from_millis(n * 10);
        run(&mut aggregate, now, chain.joined(vec![get(&server(), "/a", "200")]));
        assert!(run(&mut flush, now, drain(&mut aggregate, now)).is_empty());
        assert!(tick(&mut flush, now).is_empty());
    }
    let published = tick(&mut flush, NOW + Nanos::SECOND);
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].at, NOW + Nanos::SECOND);
    assert_eq!(exchanges(&published[0].deltas), 3);
    assert_eq!(published[0].deltas.len(), 3, "three series gained, each thrice");
    run(&mut aggregate, NOW, chain.joined(vec![get(&server(), "/a", "200")]));
    run(&mut flush, NOW, drain(&mut aggregate, NOW));
    assert_eq!(exchanges(&drain(&mut flush, NOW)[0].deltas), 1);
    assert_eq!((flush.ledger().taken, flush.ledger().emitted), (12, 2));
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    let why = prop_oneof![
        Just(None),
        Just(Some(NoAnswer::Reset)),
        Just(Some(NoAnswer::Timeout)),
        Just(Some(NoAnswer::Lost)),
        Just(Some(NoAnswer::Shutdown)),
    ];
    let protocol = prop_oneof![Just(Protocol::Http1), Just(Protocol::Redis), Just(Protocol::Dns)];
    (0_u64..20, any::<bool>(), protocol, "[A-Z]{0,3}", "/[a-z]{0,2}", "[1-5][0-9]{2}|", why, any::<bool>()).prop_map(
        |(id, is_server, protocol, method, target, code, why, one_way)| {
            let (role, port) = if is_server { (Role::Server, 80) } else { (Role::Client, 50_000) };
            let remote = format!("192.0.2.{id}:{}", 7_000 + id);
            let conn = conn(id, owner(id as u32 % 4, "p"), role, &format!("10.0.0.1:{port}"), &remote);
            let mut exchange = exchange(&conn, protocol, &method, &target, &code);
            exchange.one_way = one_way;
            if why.is_some() || one_way {
                (exchange.answered, exchange.end, exchange.no_answer) = (None, None, why);
            }
            exchange
        },
    )
}

proptest! {
    #![proptest_config(crate::sample::laws())]

    #[test]
    fn the_sum_over_all_series_is_the_number_of_exchanges(
        batches in prop::collection::vec(prop::collection::vec(any_exchange(), 0..60), 1..8),
        series_per_service in 1_usize..40,
        max_series in 1_usize..60,
    ) {
        let settings = AggregateSettings { series_per_service, max_series, ..AggregateSettings::default() };
        let (mut chain, mut aggregate, mut flush) =
            (Chain::new(), Aggregate::with(settings), Flush::new(FlushSettings::default()));
        let (mut now, mut published, mut fed) = (NOW, Vec::new(), 0);
        for batch in batches {
            fed += batch.len() as u64;
            run(&mut aggregate, now, chain.joined(batch));
            now = now + Nanos::from_millis(400);
            let gained = tick(&mut aggregate, now);
            published.extend(run(&mut flush, now, gained));
            published.extend(tick(&mut flush, now));
        }
        let gained = drain(&mut aggregate, now);
        published.extend(run(&mut flush, now, gained));
        published.extend(drain(&mut flush, now));
        let sum: u64 = published.iter().map(|publication| exchanges(&publication.deltas)).sum();
        prop_assert_eq!(sum, fed);
        for publication in &published {
            for delta in &publication.deltas {
                if let Gain::Histogram(gain) = &delta.gain {
                    prop_assert_eq!(gain.buckets.iter().sum::<u64>(), gain.count);
                }
            }
        }
    }
}
