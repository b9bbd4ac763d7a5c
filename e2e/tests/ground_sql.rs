//! The ground of the proofs on databases: what mariadbd and PostgreSQL say they did is, request by request, what the clients'
//! programs say they send.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::clients::{mysql, postgres};
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::mariadb::Mariadb;
use redtap_e2e::servers::postgres::Postgres;
use redtap_e2e::{can_run, can_run_with};
use std::collections::BTreeMap;

#[test]
fn mariadb_counts_what_its_clients_send() {
    if !can_run(&["mariadbd", "mariadb-install-db", "mariadb"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let server = Mariadb::start(&sandbox, &mysql::users()).unwrap();
    let before = server.counters().unwrap();
    let (mut sent, mut inserts): (BTreeMap<&str, u64>, u64) = (BTreeMap::new(), 0);
    for client in mysql::CLIENTS.iter().filter(|client| can_run_with(client.needs(), client.kits())) {
        client.run(&sandbox, server.port).unwrap();
        server.wait_idle().unwrap();
        let events = server.events(client.name).unwrap();
        assert_eq!(mysql::by_operation(&events), mysql::expected(client), "{}: {events:?}", client.name);
        assert_eq!(server.logins(client.name).unwrap(), client.logins, "{}", client.name);
        inserts += events.get("statement/sql/insert").map_or(0, |event| event.count);
        for (name, event) in events {
            for counter in mysql::counters(&name) {
                *sent.entry(counter).or_default() += event.count;
            }
        }
    }
    // The older counters say the same of all together; those that root's questions leave alone.
    let after = server.counters().unwrap();
    for (counter, count) in sent {
        let of = |counters: &BTreeMap<String, u64>| counters.get(counter).copied().unwrap_or(0);
        assert_eq!(of(&after) - of(&before), count, "{counter}");
    }
    assert_eq!(server.digests("INSERT INTO `item`").unwrap(), inserts, "digests, which know nothing of executes");
    if can_run_with(mysql::PYMYSQL.needs(), mysql::PYMYSQL.kits()) {
        mysql::PYMYSQL.run_refused(&sandbox, server.port).unwrap();
        assert_eq!(server.counters().unwrap()["Access_denied_errors"], 1);
    }
}

#[test]
fn postgres_counts_what_its_clients_send() {
    if !can_run(&["postgres", "initdb", "setpriv", "psql"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let server = Postgres::start(&sandbox, &postgres::users()).unwrap();
    for client in postgres::CLIENTS.iter().filter(|client| can_run_with(client.needs(), client.kits())) {
        let before = server.rollbacks().unwrap();
        client.run(&sandbox, server.port).unwrap();
        server.wait_idle().unwrap();
        assert_eq!(server.logins(client.name), client.logins, "{}", client.name);
        assert_eq!(server.requests(client.name), postgres::logged(client), "{}: the log", client.name);
        assert_eq!(server.calls(client.name).unwrap(), postgres::calls(client), "{}: pg_stat_statements", client.name);
        assert_eq!(server.rollbacks().unwrap() - before, postgres::rollbacks(client), "{}: transactions", client.name);
    }
    if can_run_with(postgres::PSYCOPG.needs(), postgres::PSYCOPG.kits()) {
        postgres::PSYCOPG.run_refused(&sandbox, server.port).unwrap();
        assert_eq!(server.refused(postgres::PSYCOPG.name, "28P01"), 1);
    }
}
