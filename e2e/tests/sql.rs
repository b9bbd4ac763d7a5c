//! Databases: per service, operation, statement and code, what redtap counts is what MariaDB and PostgreSQL themselves count and
//! what clients in six languages send, on both rungs, on the server's side and on the clients'; and sessions whose statements
//! were prepared before redtap came.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::clients::sql::{Client, Requests, Row, sum};
use redtap_e2e::clients::{mysql, postgres};
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::mariadb::Mariadb;
use redtap_e2e::servers::postgres::Postgres;
use std::collections::{BTreeMap, BTreeSet};

const SERVER: &str = "db_server_operation_duration_seconds_count";
const CLIENT: &str = "db_client_operation_duration_seconds_count";

/// Runs `proof` once a rung.
fn on_both_rungs(proof: impl Fn(&str)) {
    for rung in ["socket", "syscall"] {
        proof(rung);
    }
}

fn seen(metrics: &Metrics, name: &str, service: &str) -> Requests {
    metrics
        .by(name, &[("service_name", service)], &["db_operation_name", "db_response_status_code"])
        .into_iter()
        .map(|(key, count)| ((key[0].clone(), key[1].clone()), count))
        .collect()
}

/// Scrapes until both sides have counted as many as are due.
fn scrape(agent: &Agent, due: &Requests) -> Metrics {
    let due: u64 = due.values().sum();
    agent.metrics_until(|metrics| metrics.sum(SERVER, &[]) >= due && metrics.sum(CLIENT, &[]) >= due).unwrap()
}

/// A client's rows as redtap names them: an execute by what it executes; what is no keyword is `_OTHER`, what has none goes by
/// its message.
fn rows(client: &Client, logins: u64, login: &'static str, empty: &'static str) -> Vec<Row> {
    let name = |operation| match operation {
        "SELEC" => "_OTHER",
        "" => empty,
        other => other,
    };
    let named = client.requests.iter().filter(|row| client.executes.is_empty() || row.0 != "EXECUTE");
    let requests = named.map(|(operation, code, count)| (name(*operation), *code, *count));
    requests
        .chain(client.executes.iter().copied())
        .chain(client.besides.iter().copied())
        .chain([(login, "", logins)])
        .collect()
}

/// What the server's side shows of statements that begin with that word, asked as text or executed, by the summary of their
/// text: how many of them.
fn of_text(metrics: &Metrics, service: &str, word: &str) -> u64 {
    metrics
        .by(SERVER, &[("service_name", service)], &["db_operation_name", "db_query_summary"])
        .into_iter()
        .filter(|(key, _)| [word, "EXECUTE"].contains(&key[0].as_str()) && key[1].split(' ').next() == Some(word))
        .map(|(_, count)| count)
        .sum()
}

/// A client's requests of one operation by the summary of their text.
fn summaries(metrics: &Metrics, name: &str, service: &str, operation: &str) -> BTreeMap<String, u64> {
    let labels = [("service_name", service), ("db_operation_name", operation)];
    let rows = metrics.by(name, &labels, &["db_query_summary"]);
    rows.into_iter().map(|(key, count)| (key[0].clone(), count)).collect()
}

/// Where what is seen of a service differs from what is due.
fn differences(metrics: &Metrics, name: &str, service: &str, due: &Requests) -> Vec<String> {
    let seen = seen(metrics, name, service);
    let keys: BTreeSet<_> = seen.keys().chain(due.keys()).collect();
    let of = |counts: &Requests, key| counts.get(key).copied().unwrap_or(0);
    keys.into_iter()
        .filter(|key| of(&seen, key) != of(due, key))
        .map(|key| format!("{service}: {key:?}: {} seen, {} due", of(&seen, key), of(due, key)))
        .collect()
}

fn both_sides_see(rung: &str, metrics: &Metrics, server: &str, clients: &[(&str, Vec<Row>)]) {
    let all = sum(clients.iter().flat_map(|(_, rows)| rows));
    let mut wrong = differences(metrics, SERVER, server, &all);
    for (name, rows) in clients {
        wrong.extend(differences(metrics, CLIENT, name, &sum(rows)));
    }
    // A name that nobody expects explains what the expected one lacks.
    let named = metrics.by(CLIENT, &[], &["service_name"]);
    assert!(wrong.is_empty(), "{rung}:\n{}\nclients by name: {named:?}", wrong.join("\n"));
}

#[test]
fn mariadb_and_its_clients() {
    if !can_run(&["mariadbd", "mariadb-install-db", "mariadb"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("sql").unwrap();
        let server = Mariadb::start(&sandbox, &mysql::users()).unwrap();
        let before = server.counters().unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let mut ran = Vec::new();
        for client in mysql::CLIENTS.iter().filter(|client| can_run(client.needs())) {
            client.run(&sandbox, server.port).unwrap();
            let mut rows = rows(client, client.logins, "LOGIN", "QUERY");
            if client.name == mysql::PYMYSQL.name {
                client.run_refused(&sandbox, server.port).unwrap();
                rows.push(("LOGIN", "1045", 1));
            }
            ran.push((client.name, rows));
        }
        let metrics = scrape(&agent, &sum(ran.iter().flat_map(|(_, rows)| rows)));
        agent.stop().unwrap();
        server.wait_idle().unwrap();
        for client in mysql::CLIENTS.iter().filter(|client| can_run(client.needs())) {
            let events = server.events(client.name).unwrap();
            assert_eq!(mysql::by_operation(&events), mysql::expected(client), "{}: {events:?}", client.name);
        }
        both_sides_see(rung, &metrics, "mariadbd", &ran);
        // Prepared or not, by what the statement does: the server counts it when it is executed.
        let after = server.counters().unwrap();
        for (word, counter) in [("INSERT", "Com_insert"), ("UPDATE", "Com_update"), ("DELETE", "Com_delete")] {
            let of = |counters: &BTreeMap<String, u64>| counters.get(counter).copied().unwrap_or(0);
            let ran = mysql::CLIENTS.iter().filter(|client| can_run(client.needs()));
            let further: u64 = ran.map(|client| client.further(word)).sum();
            assert_eq!(of_text(&metrics, "mariadbd", word), of(&after) - of(&before) - further, "{rung}: {word}");
        }
        // Digests know nothing of executes.
        let ran = mysql::CLIENTS.iter().filter(|client| can_run(client.needs()));
        let executes = ran.flat_map(|client| client.executes).filter(|row| row.0 == "INSERT").map(|row| row.2);
        let digests = server.digests("INSERT INTO `item`").unwrap();
        let inserts = summaries(&metrics, SERVER, "mariadbd", "INSERT");
        assert_eq!(inserts, BTreeMap::from([("INSERT item".to_owned(), digests + executes.sum::<u64>())]), "{rung}");
    });
}

#[test]
fn postgres_and_its_clients() {
    if !can_run(&["postgres", "initdb", "setpriv", "psql"]) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("sql").unwrap();
        let server = Postgres::start(&sandbox, &postgres::users()).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let mut ran = Vec::new();
        for client in postgres::CLIENTS.iter().filter(|client| can_run(client.needs())) {
            client.run(&sandbox, server.port).unwrap();
            let mut rows = rows(client, client.logins, "STARTUP", "QUERY");
            if client.name == postgres::PSYCOPG.name {
                client.run_refused(&sandbox, server.port).unwrap();
                rows.extend([("STARTUP", "28P01", 1), ("SSL_REQUEST", "", 1)]);
            }
            ran.push((client.name, rows));
        }
        let metrics = scrape(&agent, &sum(ran.iter().flat_map(|(_, rows)| rows)));
        agent.stop().unwrap();
        server.wait_idle().unwrap();
        for client in postgres::CLIENTS.iter().filter(|client| can_run(client.needs())) {
            assert_eq!(server.requests(client.name), postgres::logged(client), "{}: the log", client.name);
        }
        both_sides_see(rung, &metrics, "postgres", &ran);
        // pg_stat_statements leaves out what failed.
        let executed = |word: &str, client: &Client| {
            let failed = client.requests.iter().filter(|row| row.0 == word && !row.1.is_empty()).map(|row| row.2);
            let calls = server.calls(client.name).unwrap().get(word).copied().unwrap_or(0);
            calls + failed.sum::<u64>() - client.further(word)
        };
        for word in ["INSERT", "UPDATE", "DELETE"] {
            let ran = postgres::CLIENTS.iter().filter(|client| can_run(client.needs()));
            let due: u64 = ran.map(|client| executed(word, client)).sum();
            assert_eq!(of_text(&metrics, "postgres", word), due, "{rung}: {word}");
        }
    });
}

/// Of the executes of a session that is older than the agent, 18 are of statements that were not seen.
fn only_what_was_seen_has_a_text(rung: &str, metrics: &Metrics, name: &str, service: &str) {
    for (operation, summary, count) in [("EXECUTE", "", 18), ("UPDATE", "UPDATE item", 5), ("SELECT", "SELECT item", 3)]
    {
        let due = BTreeMap::from([(summary.to_owned(), count)]);
        assert_eq!(summaries(metrics, name, service, operation), due, "{rung}: {service}: {operation}");
    }
}

#[test]
fn mariadb_statements_prepared_before_the_agent_came() {
    if !can_run(&[&["mariadbd", "mariadb-install-db", "mariadb"], mysql::PATIENT.needs()].concat()) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("sql").unwrap();
        let server = Mariadb::start(&sandbox, &mysql::users()).unwrap();
        let mut session = mysql::PATIENT.start(&sandbox, server.port).unwrap();
        session.expect("warm").unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        session.go_on().unwrap();
        session.expect("done").unwrap();
        session.end().unwrap();
        let rows = rows(&mysql::PATIENT, 0, "LOGIN", "QUERY");
        // A reset and its answer do not tell that this is MySQL; the execute behind it does. Until then one turn of each side is
        // kept. mariadbd reads the four bytes of a packet's head by themselves: with them, which do not tell either, the next
        // turn begins.
        let mut served = sum(&rows);
        *served.get_mut(&("RESET".to_owned(), String::new())).unwrap() -= 1;
        let metrics = scrape(&agent, &served);
        let mut wrong = differences(&metrics, CLIENT, mysql::PATIENT.name, &sum(&rows));
        wrong.extend(differences(&metrics, SERVER, "mariadbd", &served));
        assert!(wrong.is_empty(), "{rung}:\n{}", wrong.join("\n"));
        for (name, service) in [(SERVER, "mariadbd"), (CLIENT, mysql::PATIENT.name)] {
            only_what_was_seen_has_a_text(rung, &metrics, name, service);
        }
        agent.stop().unwrap();
    });
}

#[test]
fn postgres_statements_prepared_before_the_agent_came() {
    if !can_run(&[&["postgres", "initdb", "setpriv", "psql"], postgres::PATIENT.needs()].concat()) {
        return;
    }
    on_both_rungs(|rung| {
        let sandbox = Sandbox::new("sql").unwrap();
        let server = Postgres::start(&sandbox, &postgres::users()).unwrap();
        let name = postgres::PATIENT.name;
        let mut session = postgres::PATIENT.start(&sandbox, server.port).unwrap();
        session.expect("warm").unwrap();
        let before = server.requests(name);
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        session.go_on().unwrap();
        session.expect("done").unwrap();
        session.end().unwrap();
        // Eleven SELECTs and seven INSERTs by a name that was not seen; an UPDATE that was seen, and SELECTs without a name.
        let rows: Vec<Row> =
            vec![("EXECUTE", "", 18), ("PREPARE", "", 1), ("UPDATE", "", 5), ("SELECT", "", 3), ("TERMINATE", "", 1)];
        let metrics = scrape(&agent, &sum(&rows));
        let mut executed = server.requests(name);
        executed.iter_mut().for_each(|(key, count)| *count -= before.get(key).copied().unwrap_or(0));
        executed.retain(|_, count| *count > 0);
        assert_eq!(executed, postgres::PATIENT.requests(), "{rung}: the log");
        both_sides_see(rung, &metrics, "postgres", &[(name, rows)]);
        for (metric, service) in [(SERVER, "postgres"), (CLIENT, name)] {
            only_what_was_seen_has_a_text(rung, &metrics, metric, service);
        }
        agent.stop().unwrap();
    });
}
