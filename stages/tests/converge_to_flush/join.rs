//! `join`: the right names, in order, and never late.

use crate::sample::{NOW, conn, drain, exchange, get, lookup, owner, run, tick};
use proptest::prelude::*;
use redtap_stages::converge::{Converge, ConvergeRules};
use redtap_stages::flow::conn::{Address, ConnInfo, Role, Transport};
use redtap_stages::flow::converged::Converged;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::joined::{Identity, Joined};
use redtap_stages::join::{Fact, Join, JoinSettings, Wanted};
use redtap_stages::limits;
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::sync::Arc;

const FAR: &str = "192.0.2.9:40000";

fn converged(input: Vec<Exchange>) -> Vec<Converged> {
    run(&mut Converge::new(ConvergeRules::default()), NOW, input)
}

fn feed(stage: &mut Join, now: Nanos, input: Vec<Exchange>) -> Vec<Joined> {
    run(stage, now, converged(input))
}

fn is(pid: u32, service: &str) -> Fact {
    let identity = Identity { service: service.into(), process: "x".into(), ..Identity::default() };
    Fact::Process { pid, identity: Arc::new(identity) }
}

fn wanted(stage: &mut Join) -> Vec<Wanted> {
    let mut out = Vec::new();
    stage.wanted(&mut out);
    out
}

fn names(out: &[Joined]) -> Vec<(&str, &str, bool)> {
    out.iter()
        .map(|joined| (joined.parties.service.as_str(), joined.parties.peer.as_str(), joined.parties.peer_watched))
        .collect()
}

fn targets(out: &[Joined]) -> Vec<&str> {
    out.iter().map(|joined| joined.converged.exchange.target.as_str()).collect()
}

/// Nobody is looked up, nothing waits for a peer: for tests of names alone.
fn blind() -> Join {
    Join::new(JoinSettings { lookups: false, wait_for_peer: false, ..JoinSettings::default() })
}

fn ms(n: u64) -> Nanos {
    NOW + Nanos::from_millis(n)
}

fn far_server(id: u64, pid: u32) -> Arc<ConnInfo> {
    conn(id, owner(pid, "worker"), Role::Server, "10.0.0.1:80", FAR)
}

#[test]
fn an_exchange_waits_for_the_name_of_its_process_and_goes_on_in_order() {
    let mut stage = Join::new(JoinSettings::default());
    let conn = far_server(1, 10);
    assert!(feed(&mut stage, NOW, vec![get(&conn, "/a", "200"), get(&conn, "/b", "200")]).is_empty());
    let asked = Wanted { pid: 10, cgroup_id: 7, comm: owner(10, "worker").comm };
    assert_eq!(wanted(&mut stage), [asked], "asked once");
    stage.learn(is(10, "shop"));
    let out = feed(&mut stage, ms(1), vec![get(&conn, "/c", "200")]);
    assert_eq!(targets(&out), ["/a", "/b", "/c"]);
    assert_eq!(names(&out), [("shop", "", false); 3]);
    assert_eq!(stage.identities()[out[0].parties.identity as usize - 1].service.as_ref(), "shop");
    assert!(wanted(&mut stage).is_empty());
}

#[test]
fn without_an_answer_it_goes_on_by_its_thread_name_and_a_late_answer_still_counts() {
    let mut stage = Join::new(JoinSettings::default());
    let conn = far_server(1, 10);
    feed(&mut stage, NOW, vec![get(&conn, "/a", "200")]);
    assert!(tick(&mut stage, ms(249)).is_empty());
    let out = tick(&mut stage, ms(250));
    assert_eq!((names(&out), out[0].parties.identity), (vec![("worker", "", false)], 0));
    assert_eq!(stage.expired(), 1);
    assert_eq!(names(&feed(&mut stage, ms(251), vec![get(&conn, "/b", "200")])), [("worker", "", false)]);
    stage.learn(is(10, "shop"));
    assert_eq!(names(&feed(&mut stage, ms(252), vec![get(&conn, "/c", "200")])), [("shop", "", false)]);
}

#[test]
fn a_process_that_is_gone_when_looked_at_goes_by_its_thread_name_at_once() {
    let mut stage = Join::new(JoinSettings::default());
    feed(&mut stage, NOW, vec![get(&far_server(1, 10), "/", "200")]);
    stage.learn(Fact::ProcessGone { pid: 10 });
    assert_eq!(names(&tick(&mut stage, ms(1))), [("worker", "", false)]);
}

#[test]
fn a_pid_given_again_is_asked_about_again() {
    let mut stage = Join::new(JoinSettings::default());
    feed(&mut stage, NOW, vec![get(&far_server(1, 10), "/", "200")]);
    stage.learn(is(10, "shop"));
    assert_eq!(tick(&mut stage, ms(1)).len(), 1);
    wanted(&mut stage);

    let curl = conn(2, owner(10, "curl"), Role::Server, "10.0.0.1:80", FAR);
    assert!(feed(&mut stage, ms(2), vec![get(&curl, "/", "200")]).is_empty(), "another thread name");
    assert_eq!(wanted(&mut stage).len(), 1);
    stage.learn(is(10, "curl"));
    assert_eq!(names(&tick(&mut stage, ms(3))), [("curl", "", false)]);

    stage.learn(Fact::ProcessGone { pid: 10 });
    let mut before = get(&curl, "/", "200");
    before.start = ms(1);
    assert_eq!(names(&feed(&mut stage, ms(4), vec![before])), [("curl", "", false)], "begun before it ended");
    let mut after = get(&conn(3, owner(10, "curl"), Role::Server, "10.0.0.1:80", FAR), "/", "200");
    after.start = ms(5);
    assert!(feed(&mut stage, ms(6), vec![after]).is_empty());
    assert_eq!(wanted(&mut stage).len(), 1);
}

#[test]
fn thread_names_without_end_lead_to_few_questions() {
    let mut stage = Join::new(JoinSettings::default());
    for n in 0..100 {
        let conn = conn(n, owner(10, &format!("t{n}")), Role::Server, "10.0.0.1:80", FAR);
        feed(&mut stage, NOW, vec![get(&conn, "/", "200")]);
    }
    assert_eq!(wanted(&mut stage).len(), limits::MAX_PROCESS_COMMS);
    assert_eq!(stage.processes(), 1);
}

#[test]
fn both_ends_on_one_host_are_an_edge_between_two_services() {
    let client = conn(1, owner(20, "app"), Role::Client, "127.0.0.1:50000", "127.0.0.1:80");
    let server = conn(2, owner(21, "nginx"), Role::Server, "127.0.0.1:80", "127.0.0.1:50000");
    for server_first in [true, false] {
        let mut stage = Join::new(JoinSettings::default());
        let mut input = vec![get(&server, "/", "200"), get(&client, "/", "200")];
        if !server_first {
            input.reverse();
        }
        assert!(feed(&mut stage, NOW, input).is_empty());
        stage.learn(is(20, "shop"));
        stage.learn(is(21, "web"));
        let out = tick(&mut stage, ms(1));
        let mut names = names(&out);
        names.sort_unstable();
        assert_eq!(names, [("shop", "web", true), ("web", "shop", true)]);
    }
}

#[test]
fn the_first_exchanges_of_a_connection_within_the_host_wait_for_the_other_end_but_not_for_ever() {
    let mut stage = Join::new(JoinSettings { lookups: false, ..JoinSettings::default() });
    let server = conn(2, owner(21, "nginx"), Role::Server, "127.0.0.1:80", "127.0.0.1:50000");
    assert!(feed(&mut stage, NOW, vec![get(&server, "/a", "200"), get(&server, "/b", "200")]).is_empty());
    assert!(feed(&mut stage, ms(100), vec![get(&server, "/c", "200")]).is_empty());
    assert_eq!(targets(&tick(&mut stage, ms(250))), ["/a", "/b", "/c"]);
    let out = feed(&mut stage, ms(251), vec![get(&server, "/d", "200")]);
    assert_eq!(names(&out), [("nginx", "", false)], "the answer `nobody` is remembered");
}

#[test]
fn a_client_knows_the_service_behind_an_endpoint_seen_on_another_connection() {
    let mut stage = blind();
    let server = conn(2, owner(21, "redis-server"), Role::Server, "127.0.0.1:6379", "127.0.0.1:50000");
    feed(&mut stage, NOW, vec![exchange(&server, Protocol::Redis, "GET", "k", "")]);
    let client = conn(3, owner(20, "app"), Role::Client, "127.0.0.1:50001", "127.0.0.1:6379");
    let out = feed(&mut stage, NOW, vec![exchange(&client, Protocol::Redis, "GET", "k", "")]);
    assert_eq!(names(&out), [("app", "redis-server", true)]);

    let mut elsewhere = ConnInfo::clone(&client);
    (elsewhere.id, elsewhere.netns) = (4, 2);
    let out = feed(&mut stage, NOW, vec![exchange(&Arc::new(elsewhere), Protocol::Redis, "GET", "k", "")]);
    assert_eq!(names(&out), [("app", "127.0.0.1", false)], "loopback of another network namespace");
}

#[test]
fn unix_sockets_are_paired_by_their_inodes() {
    let mut stage = blind();
    let end = |id, comm, role, local, remote| {
        let mut conn = ConnInfo::clone(&conn(id, owner(id as u32, comm), role, FAR, FAR));
        (conn.transport, conn.local, conn.remote) = (Transport::UnixStream, local, remote);
        Arc::new(conn)
    };
    let path = 0xfeed;
    let client = end(1, "nginx", Role::Client, Address::Unix(100, 0), Address::Unix(200, path));
    let server = end(2, "php-fpm", Role::Server, Address::Unix(200, path), Address::Unix(100, 0));
    let out = feed(&mut stage, NOW, vec![get(&server, "/", "200"), get(&client, "/", "200"), get(&server, "/", "200")]);
    assert_eq!(names(&out)[1], ("nginx", "php-fpm", true));
    let again = end(3, "nginx", Role::Client, Address::Unix(101, 0), Address::Unix(201, path));
    assert_eq!(
        names(&feed(&mut stage, NOW, vec![get(&again, "/", "200")])),
        [("nginx", "php-fpm", true)],
        "by its path"
    );
}

#[test]
fn names_of_addresses_come_from_answers_then_hosts_then_the_address() {
    let mut stage = blind();
    let dns = conn(1, owner(20, "app"), Role::Client, "10.0.0.1:5353", "10.0.0.53:53");
    let to = |id, remote| get(&conn(id, owner(20, "app"), Role::Client, "10.0.0.1:50000", remote), "/", "200");
    stage.learn(Fact::Name { ip: "192.0.2.1".parse().unwrap(), name: "one.hosts".into() });
    stage.learn(Fact::Name { ip: "192.0.2.2".parse().unwrap(), name: "two.hosts".into() });
    let answers = ["192.0.2.1", "127.0.0.9", "0.0.0.0"];
    feed(&mut stage, NOW, vec![lookup(&dns, "api.example.org", &answers)]);
    let out = feed(
        &mut stage,
        NOW,
        vec![
            to(2, "192.0.2.1:443"),
            to(3, "192.0.2.2:443"),
            to(4, "192.0.2.3:443"),
            to(6, "127.0.0.9:443"),
            to(7, "[::ffff:192.0.2.1]:443"),
        ],
    );
    let peers: Vec<_> = out.iter().map(|joined| joined.parties.peer.as_str()).collect();
    assert_eq!(peers, ["api.example.org", "two.hosts", "192.0.2.3", "127.0.0.9", "api.example.org"]);
}

#[test]
fn a_listener_that_was_told_names_the_other_end_without_being_watched() {
    let mut stage = Join::new(JoinSettings { lookups: false, ..JoinSettings::default() });
    stage.learn(Fact::Listener { ip: "0.0.0.0".parse().unwrap(), port: 5432, service: "postgres".into() });
    stage.learn(Fact::LocalAddress { ip: "192.0.2.7".parse().unwrap() });
    let to = |id, remote| get(&conn(id, owner(20, "app"), Role::Client, "10.0.0.1:50000", remote), "/", "200");
    let out = feed(&mut stage, NOW, vec![to(1, "127.0.0.1:5432"), to(2, "192.0.2.7:5432"), to(3, "192.0.2.8:5432")]);
    assert_eq!(names(&out), [("app", "postgres", false), ("app", "postgres", false), ("app", "192.0.2.8", false)]);
}

#[test]
fn a_process_that_was_told_before_it_was_seen_never_goes_by_its_thread_name() {
    let mut stage = Join::new(JoinSettings::default());
    stage.learn(is(10, "shop"));
    assert!(
        feed(&mut stage, NOW, vec![get(&far_server(1, 10), "/", "200")]).is_empty(),
        "it is asked about all the same"
    );
    assert_eq!(wanted(&mut stage).len(), 1);
    let out = tick(&mut stage, ms(250));
    assert_eq!(
        out.iter().map(|joined| joined.parties.service.as_str()).collect::<Vec<_>>(),
        ["shop"],
        "nobody answered in time"
    );
    let mut other = ConnInfo::clone(&far_server(2, 10));
    other.owner.cgroup_id += 1;
    feed(&mut stage, ms(600), vec![get(&Arc::new(other), "/", "200")]);
    let out = tick(&mut stage, ms(900));
    assert_ne!(out[0].parties.service.as_str(), "shop", "the number was given to a process of another cgroup");
}

#[test]
fn news_of_one_process_reaches_its_own_connections_and_those_to_it() {
    let mut stage = Join::new(JoinSettings::default());
    let server = conn(2, owner(21, "nginx"), Role::Server, "127.0.0.1:80", "127.0.0.1:50000");
    let client = conn(1, owner(20, "app"), Role::Client, "127.0.0.1:50000", "127.0.0.1:80");
    feed(&mut stage, NOW, vec![get(&server, "/", "200"), get(&client, "/", "200")]);
    stage.learn(is(20, "shop"));
    stage.learn(is(21, "web"));
    assert_eq!(tick(&mut stage, ms(1)).len(), 2);
    let both = |stage: &mut Join, at| {
        let out = feed(stage, at, vec![get(&server, "/", "200"), get(&client, "/", "200")]);
        names(&out).iter().map(|name| (name.0.to_owned(), name.1.to_owned())).collect::<Vec<_>>()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    // Of others: nothing changes.
    stage.learn(is(99, "else"));
    assert_eq!(both(&mut stage, ms(2)), [pair("web", "shop"), pair("shop", "web")]);
    stage.learn(is(20, "till"));
    assert_eq!(both(&mut stage, ms(3)), [pair("web", "till"), pair("till", "web")]);
    stage.learn(is(21, "edge"));
    assert_eq!(both(&mut stage, ms(4)), [pair("edge", "till"), pair("till", "edge")]);
}

#[test]
fn no_more_wait_than_allowed_and_the_oldest_go_first() {
    let mut stage = Join::new(JoinSettings { max_held: 10, ..JoinSettings::default() });
    let input = (0..25).map(|n| get(&far_server(n, 10), &format!("/{n}"), "200")).collect();
    let out = feed(&mut stage, NOW, input);
    assert_eq!(targets(&out), (0..15).map(|n| format!("/{n}")).collect::<Vec<_>>());
    assert_eq!((stage.hurried(), stage.ledger().held), (15, 10));
    assert_eq!(drain(&mut stage, ms(1)).len(), 10);
}

#[test]
fn names_from_answers_are_bounded_and_the_forgotten_ones_counted() {
    let mut stage = blind();
    let dns = conn(1, owner(20, "app"), Role::Client, "10.0.0.1:5353", "10.0.0.53:53");
    let input = (0..40_000_u32).map(|n| {
        let ip = std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string();
        lookup(&dns, &format!("h{n}.example.org"), &[&ip])
    });
    feed(&mut stage, NOW, input.collect());
    assert!(stage.overflowed() >= 40_000 - limits::MAX_DNS_NAMES as u64);
}

proptest! {
    #![proptest_config(crate::sample::laws())]

    #[test]
    fn every_exchange_goes_on_once_and_a_connection_keeps_its_order(
        steps in prop::collection::vec((0_u64..6, 0_u32..3, 0_u64..200, any::<bool>()), 1..80),
        max_held in 1_usize..20,
    ) {
        let mut stage = Join::new(JoinSettings { max_held, ..JoinSettings::default() });
        let (mut out, mut now) = (Vec::new(), NOW);
        for (n, &(id, pid, wait, server)) in steps.iter().enumerate() {
            now = now + Nanos::from_millis(wait);
            let (role, local, remote) = if server {
                (Role::Server, "127.0.0.1:80".to_owned(), format!("127.0.0.1:{}", 5_000 + id))
            } else {
                (Role::Client, format!("127.0.0.1:{}", 5_000 + id), "127.0.0.1:80".to_owned())
            };
            let conn = conn(id * 2 + u64::from(server), owner(pid + 1, "p"), role, &local, &remote);
            out.extend(feed(&mut stage, now, vec![get(&conn, &format!("/{n}"), "200")]));
            prop_assert!(stage.ledger().held <= max_held as u64);
            match n % 5 {
                0 => stage.learn(is(pid + 1, "shop")),
                1 => stage.learn(Fact::ProcessGone { pid: pid + 1 }),
                2 => out.extend(tick(&mut stage, now)),
                _ => {}
            }
        }
        out.extend(drain(&mut stage, now));
        prop_assert_eq!(out.len(), steps.len());
        for id in 0..12 {
            let of_one = out.iter().filter(|joined| joined.converged.exchange.conn.id == id);
            let numbers = of_one.map(|joined| joined.converged.exchange.target.as_str()[1..].parse::<usize>().unwrap());
            prop_assert!(numbers.is_sorted());
        }
    }
}
