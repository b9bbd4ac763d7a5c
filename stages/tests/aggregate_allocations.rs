//! No allocation an exchange from converge to aggregate, once everything it touches was seen before.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

#[path = "converge_to_flush/sample.rs"]
#[expect(dead_code, reason = "shared with the other tests of these stages")]
mod sample;

use redtap_stages::aggregate::Aggregate;
use redtap_stages::converge::{Converge, ConvergeRules};
use redtap_stages::flow::conn::{ConnInfo, Role};
use redtap_stages::flow::exchange::{Exchange, NoAnswer};
use redtap_stages::flow::joined::Identity;
use redtap_stages::flow::message::Session;
use redtap_stages::join::{Fact, Join, JoinSettings};
use redtap_stages::protocols::Protocol;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use sample::{NOW, conn, exchange, get, lookup, owner, unanswered};
use std::sync::Arc;

struct Chain {
    converge: Converge,
    join: Join,
    aggregate: Aggregate,
    converged: Vec<redtap_stages::flow::converged::Converged>,
    joined: Vec<redtap_stages::flow::joined::Joined>,
    deltas: Vec<redtap_stages::flow::delta::Delta>,
}

impl Chain {
    fn turn(&mut self, now: Nanos, input: &mut Vec<Exchange>) {
        self.converge.process(now, input, &mut self.converged);
        self.join.process(now, &mut self.converged, &mut self.joined);
        self.aggregate.process(now, &mut self.joined, &mut self.deltas);
    }
}

/// What one batch holds: both sides of HTTP on one host, databases, a broker, remote calls, DNS, errors, values in paths and
/// statements that are new each time.
fn batch(conns: &[Arc<ConnInfo>], session: &Arc<Session>, round: u64) -> Vec<Exchange> {
    let mut batch = Vec::new();
    for (n, conn) in conns.iter().enumerate() {
        batch.push(get(conn, &format!("/users/{}/posts?page=2", round * 100 + n as u64), "200"));
        batch.push(get(conn, "/static/app.css", "404"));
        batch.push(unanswered(conn, NoAnswer::Timeout));
        batch.push(exchange(conn, Protocol::Redis, "HSET", "user:1", ""));
        let sql = format!("SELECT a FROM orders JOIN items i ON i.o = orders.id WHERE id = {round} AND name = 'x{n}'");
        let mut query = exchange(conn, Protocol::Postgres, "SELECT", &sql, "");
        query.session = Some(Arc::clone(session));
        batch.push(query);
        batch.push(exchange(conn, Protocol::Mysql, "EXECUTE", "INSERT INTO t VALUES (?)", "1062"));
        batch.push(exchange(conn, Protocol::Kafka, "Produce", "orders", ""));
        batch.push(exchange(conn, Protocol::Grpc, "POST", "shop.v1.Cart/Add", "14"));
        batch.push(lookup(conn, "api.example.org", &["192.0.2.1"]));
    }
    batch
}

#[test]
fn an_exchange_in_steady_state_allocates_nothing() {
    let mut conns = Vec::new();
    for n in 0..8_u16 {
        let (here, there) = (format!("127.0.0.1:{}", 5_000 + n), "127.0.0.1:80");
        conns.push(conn(u64::from(n) * 2, owner(10, "app"), Role::Client, &here, there));
        conns.push(conn(u64::from(n) * 2 + 1, owner(11, "nginx"), Role::Server, there, &here));
    }
    conns.push(conn(100, owner(10, "app"), Role::Client, "10.0.0.1:5000", "192.0.2.1:80"));
    let mut chain = Chain {
        converge: Converge::new(ConvergeRules::default()),
        join: Join::new(JoinSettings::default()),
        aggregate: Aggregate::new(),
        converged: Vec::with_capacity(4_096),
        joined: Vec::with_capacity(4_096),
        deltas: Vec::with_capacity(4_096),
    };
    let session = Arc::new(Session { user: "ann".into(), namespace: "shop".into() });
    chain.turn(NOW, &mut batch(&conns, &session, 0));
    for (pid, service) in [(10, "shop"), (11, "web")] {
        let identity = Identity { service: service.into(), ..Identity::default() };
        chain.join.learn(Fact::Process { pid, identity: Arc::new(identity) });
    }
    for round in 1..20 {
        chain.turn(NOW + Nanos::from_millis(round), &mut batch(&conns, &session, round));
    }
    let before = chain.aggregate.ledger().taken;
    let mut rounds: Vec<_> = (20..220).map(|round| batch(&conns, &session, round)).collect();
    let counted = allocation_counter::measure(|| {
        for (at, input) in rounds.iter_mut().enumerate() {
            chain.turn(NOW + Nanos::from_millis(20 + at as u64), input);
        }
    });
    assert_eq!(chain.aggregate.ledger().taken - before, 200 * 9 * conns.len() as u64, "all of them arrived");
    assert_eq!(chain.aggregate.ledger().held, chain.aggregate.ledger().taken);
    assert_eq!(counted.count_total, 0, "{counted:?}");
    let control = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8])));
    assert_eq!(control.count_total, 1, "the counter counts");
}
