//! `converge`: names of low cardinality, whatever comes.

use crate::sample::{NOW, conn, exchange, get, owner, run, tick, unanswered};
use proptest::prelude::*;
use redtap_stages::converge::{Converge, ConvergeReject, ConvergeRules};
use redtap_stages::flow::conn::{ConnInfo, Role};
use redtap_stages::flow::converged::Converged;
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::message::Status;
use redtap_stages::limits;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::collections::HashSet;
use std::sync::Arc;

fn server() -> Arc<ConnInfo> {
    conn(1, owner(10, "nginx"), Role::Server, "10.0.0.1:80", "10.0.0.9:40000")
}

fn stage() -> Converge {
    Converge::new(ConvergeRules::default())
}

fn one(stage: &mut Converge, exchange: Exchange) -> Converged {
    run(stage, NOW, vec![exchange]).pop().unwrap()
}

fn route(stage: &mut Converge, target: &str) -> String {
    one(stage, get(&server(), target, "200")).names.endpoint.as_str().to_owned()
}

#[test]
fn a_route_has_no_query_and_no_values() {
    let mut stage = stage();
    for (target, expected) in [
        ("/", "/"),
        ("/users/42?token=secret", "/users/{id}"),
        ("http://shop.example.org/orders/2026-11-23#top", "/orders/{date}"),
        ("/o/550e8400-e29b-41d4-a716-446655440000/items", "/o/{uuid}/items"),
        ("/blobs/d41d8cd98f00b204e9800998ecf8427e", "/blobs/{hash}"),
        ("/mail/ann@example.org", "/mail/{email}"),
        ("*", "*"),
        ("example.org:443", ""),
        ("", ""),
    ] {
        assert_eq!(route(&mut stage, target), expected, "{target}");
        assert_eq!(route(&mut stage, target), expected, "{target}, remembered");
    }
}

#[test]
fn patterns_of_the_user_come_first_and_in_order() {
    let patterns = ["/users/{name}", "/users/**", "/static/**"].map(|text| text.parse().unwrap()).to_vec();
    let mut stage = Converge::new(ConvergeRules { patterns, ..ConvergeRules::default() });
    assert_eq!(route(&mut stage, "/users/42"), "/users/{name}");
    assert_eq!(route(&mut stage, "/users/42/posts"), "/users/**");
    assert_eq!(route(&mut stage, "/static/js/app.js"), "/static/**");
    assert_eq!(route(&mut stage, "/other/42"), "/other/{id}");
}

#[test]
fn the_twenty_first_name_at_a_place_makes_it_a_variable() {
    let mut stage = stage();
    for n in 0..limits::ROUTE_LEARNED {
        assert_eq!(route(&mut stage, &format!("/u/name-{n}-x/posts")), format!("/u/name-{n}-x/posts"));
    }
    assert_eq!(route(&mut stage, "/u/one-more/posts"), "/u/{var}/posts");
    assert_eq!(route(&mut stage, "/u/name-0-x/posts"), "/u/{var}/posts", "what was remembered is looked at again");
}

#[test]
fn a_busy_name_is_kept_even_when_its_exchanges_came_from_memory() {
    let mut stage = stage();
    for _ in 0..40 {
        route(&mut stage, "/u/search");
    }
    for n in 0..40 {
        route(&mut stage, &format!("/u/name-{n}-x"));
    }
    assert_eq!(route(&mut stage, "/u/search"), "/u/search");
    assert_eq!(route(&mut stage, "/u/name-1-x"), "/u/{var}");
}

#[test]
fn services_learn_apart() {
    let mut stage = stage();
    let other = conn(2, owner(11, "api"), Role::Server, "10.0.0.1:81", "10.0.0.9:40001");
    for n in 0..30 {
        route(&mut stage, &format!("/u/name-{n}-x"));
    }
    assert_eq!(one(&mut stage, get(&other, "/u/name-1-x", "200")).names.endpoint.as_str(), "/u/name-1-x");
    assert_eq!(stage.services(), 2);
}

#[test]
fn past_the_budget_an_endpoint_is_the_overflow_symbol_and_every_exchange_is_counted() {
    let rules = ConvergeRules { endpoints: 5, learned: 100, ..ConvergeRules::default() };
    let mut stage = Converge::new(rules);
    for n in 0..8 {
        let expected = if n < 5 { format!("/name-{n}-x") } else { "_overflow".to_owned() };
        assert_eq!(route(&mut stage, &format!("/name-{n}-x")), expected);
    }
    route(&mut stage, "/name-7-x");
    assert_eq!(stage.overflowed(), 4);
}

#[test]
fn redis_has_its_command_and_never_a_key() {
    let mut stage = stage();
    let redis = conn(3, owner(12, "redis-server"), Role::Server, "127.0.0.1:6379", "127.0.0.1:50000");
    let known = one(&mut stage, exchange(&redis, Protocol::Redis, "HSET", "user:42", ""));
    assert_eq!(
        (known.names.method.as_str(), known.names.endpoint.as_str(), known.names.code.as_str()),
        ("HSET", "HSET", "")
    );
    let wrong = one(&mut stage, exchange(&redis, Protocol::Redis, "PASSWORD123", "", "ERR"));
    assert_eq!(
        (wrong.names.method.as_str(), wrong.names.endpoint.as_str(), wrong.names.code.as_str()),
        ("_OTHER", "_OTHER", "ERR")
    );
    let unseen = one(&mut stage, exchange(&redis, Protocol::Redis, "", "", ""));
    assert_eq!(unseen.names.method.as_str(), "unknown");
}

#[test]
fn dns_has_a_type_and_a_suffix_only_if_asked_for() {
    let dns = conn(4, owner(13, "app"), Role::Client, "10.0.0.1:40000", "10.0.0.53:53");
    let ask = |name| exchange(&dns, Protocol::Dns, "AAAA", name, "NXDOMAIN");
    let plain = one(&mut stage(), ask("www.example.org"));
    assert_eq!(
        (plain.names.method.as_str(), plain.names.endpoint.as_str(), plain.names.code.as_str()),
        ("AAAA", "", "NXDOMAIN")
    );
    let mut stage = Converge::new(ConvergeRules { dns_labels: 2, endpoints: 2, ..ConvergeRules::default() });
    for (name, expected) in [
        ("www.example.org", "example.org"),
        ("a.b.example.org", "example.org"),
        ("localhost", "localhost"),
        ("example.net", "_overflow"),
        (".", ""),
    ] {
        assert_eq!(one(&mut stage, ask(name)).names.endpoint.as_str(), expected, "{name}");
    }
    assert_eq!(stage.overflowed(), 1);
}

#[test]
fn a_code_is_unknown_when_it_was_not_captured_and_empty_without_an_answer() {
    let mut stage = stage();
    let mut unseen = get(&server(), "/", "");
    unseen.status = Status::Unknown;
    assert_eq!(one(&mut stage, unseen).names.code.as_str(), "unknown");
    assert_eq!(one(&mut stage, unanswered(&server(), NoAnswer::Timeout)).names.code.as_str(), "");
    assert_eq!(one(&mut stage, unanswered(&server(), NoAnswer::Lost)).names.code.as_str(), "unknown");
    assert_eq!(one(&mut stage, get(&server(), "/", "2x0")).names.code.as_str(), "_OTHER");
    assert_eq!(one(&mut stage, get(&server(), "/", "200")).names.code.as_str(), "200");
}

#[test]
fn an_exchange_of_no_protocol_is_rejected() {
    let mut stage = stage();
    assert!(run(&mut stage, NOW, vec![exchange(&server(), Protocol::Foreign, "", "", "")]).is_empty());
    assert_eq!(stage.ledger().rejected_for(ConvergeReject::Protocol), 1);
}

#[test]
fn an_idle_service_is_forgotten_with_its_routes() {
    let mut stage = stage();
    let empty = stage.route_nodes();
    route(&mut stage, "/a/b/c");
    assert_eq!(stage.route_nodes(), empty + 4);
    tick(&mut stage, NOW + Nanos::from_secs(1_800));
    assert_eq!(stage.services(), 1);
    tick(&mut stage, NOW + Nanos::from_secs(3_700));
    assert_eq!((stage.services(), stage.route_nodes()), (0, empty));
    assert_eq!(route(&mut stage, "/a/b/c"), "/a/b/c");
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof!["(/[a-z]{1,3}){0,8}", "/[a-z]{1,6}/[0-9]{1,9}", "(/[!-~]{0,12}){0,20}", "\\PC{0,40}", "/[a-z]{60,90}",]
}

proptest! {
    #![proptest_config(crate::sample::laws())]

    #[test]
    fn no_path_breaks_a_bound(targets in prop::collection::vec(target(), 1..400), learned in 1_usize..30) {
        let rules = ConvergeRules { learned, endpoints: 50, ..ConvergeRules::default() };
        let mut stage = Converge::new(rules);
        let input: Vec<_> = targets.iter().map(|target| get(&server(), target, "200")).collect();
        let n = input.len();
        let out = run(&mut stage, NOW, input);
        prop_assert_eq!(out.len(), n);
        prop_assert!(stage.route_nodes() <= limits::MAX_ROUTE_NODES + 2);
        for converged in &out {
            prop_assert!(converged.names.endpoint.as_str().len() <= limits::MAX_SYMBOL);
            prop_assert!(!converged.names.endpoint.as_str().contains('?'));
        }
        // A place opens once, so that after a pass for each level of the tree all answers are settled, and few.
        let mut pass = || targets.iter().map(|target| route(&mut stage, target)).collect::<Vec<_>>();
        let mut settled = pass();
        for _ in 0..limits::MAX_ROUTE_SEGMENTS {
            let next = pass();
            if next == settled {
                break;
            }
            settled = next;
        }
        let again = pass();
        prop_assert_eq!(&settled, &again);
        let distinct: HashSet<_> = again.iter().collect();
        prop_assert!(distinct.len() <= 50 + 3, "the budget, the overflow, `*` and none");
    }
}

#[test]
fn random_paths_fill_the_route_tables_to_their_bound_and_no_further() {
    let rules = ConvergeRules { learned: limits::MAX_ROUTE_LEARNED, ..ConvergeRules::default() };
    let mut stage = Converge::new(rules);
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 40
    };
    for port in 0..30_u16 {
        let local = format!("10.0.0.1:{}", 1_000 + port);
        let conn = conn(u64::from(port), owner(1, "web"), Role::Server, &local, "10.0.0.9:40000");
        for _ in 0..4_000 {
            let name = |n: u64| ["x", "y", "z"].map(|c| c.repeat((n % 16 + 1) as usize)).concat();
            let target = format!("/{}/{}/{}", name(next()), name(next()), name(next()));
            run(&mut stage, NOW, vec![get(&conn, &target, "200")]);
        }
    }
    let nodes = stage.route_nodes();
    assert!(
        (limits::MAX_ROUTE_NODES_TOTAL..=limits::MAX_ROUTE_NODES_TOTAL + stage.services()).contains(&nodes),
        "{nodes}"
    );
    assert!(stage.overflowed() > 0);
}
