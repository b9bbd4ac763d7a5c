//! Tests of the protocol `postgres`: recordings of a real server, the shared laws, what is cut, and an oracle.

use super::*;
use crate::flow::conn::{Direction, Transport};
use crate::flow::message::{Message, MessageKind, Status};
use crate::protocols::Speaker;
use crate::protocols::laws::{self, Conversation, Drive, folded};
use Direction::{Egress, Ingress};

macro_rules! recording {
    ($name:literal) => {
        Conversation::read(
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/postgres/", $name, ".rec")),
            Transport::Tcp,
        )
    };
}
use recording;

macro_rules! recordings {
    ($($name:literal)*) => {
        vec![$(($name, recording!($name))),*]
    };
}

fn all() -> Vec<(&'static str, Conversation)> {
    recordings!["simple" "copy" "pgbench_simple" "pgbench_extended" "pgbench_prepared" "pgbench_pipeline"
        "pgbench_pipeline_prepared" "psycopg" "pipeline" "deferred" "long_query" "big_result" "notifications"
        "terminated" "cancelled" "cancel" "function_call" "asyncpg" "auth_scram" "auth_scram_failed" "auth_md5"
        "auth_md5_failed" "auth_clear" "auth_clear_failed" "no_database" "ssl_refused" "gssenc_accepted" "ssl_accepted"
        "raw_extended" "node" "pgx" "lib_pq" "jdbc"]
}

fn read(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<Postgres>::new(Transport::Tcp).conversation(conversation);
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0)
}

/// What a pair stage would make of it: requests in order, each with the next answer.
fn shown(conversation: &Conversation) -> Vec<String> {
    let mut out = Vec::new();
    let mut waiting = std::collections::VecDeque::new();
    let line = |message: &Message, status: &str, code: &str| {
        format!("{} | {} | {status} {code}", message.method, message.target).trim().to_owned()
    };
    for message in read(conversation) {
        match message.kind {
            MessageKind::Request if message.no_reply => out.push(line(&message, "no reply", "")),
            MessageKind::Request => waiting.push_back(message),
            MessageKind::Response => {
                let request = waiting.pop_front().expect("an answer has its request before it");
                let status = format!("{:?}", message.status).to_lowercase();
                out.push(line(&request, &status, message.code.as_str()));
            }
            MessageKind::OneWay => out.push(format!("aside {}", message.code).trim().to_owned()),
            MessageKind::Interim => panic!("there are none"),
        }
    }
    out.extend(waiting.iter().map(|request| line(request, "unanswered", "")));
    out
}

/// Without the log-in and the farewell.
fn asked(conversation: &Conversation) -> Vec<String> {
    let frame = |line: &String| !line.starts_with("STARTUP") && !line.starts_with("TERMINATE");
    shown(conversation).into_iter().filter(frame).collect()
}

fn context(port: u16) -> ProbeContext {
    ProbeContext { transport: Transport::Tcp, server_port: port, late: false }
}

#[test]
fn reads_simple_queries_of_many_shapes() {
    assert_eq!(
        shown(&recording!("simple")),
        [
            "STARTUP |  | ok",
            "SELECT | SELECT 1; | ok",
            "SELECT | -- a comment\n  select id, name from goods where id < 3; | ok",
            "INSERT | INSERT INTO goods VALUES (100, 'größe €'); | ok",
            "UPDATE | UPDATE goods SET name = 'x' WHERE id = 100; | ok",
            "DELETE | DELETE FROM goods WHERE id = 100; | ok",
            "BEGIN | BEGIN; | ok",
            "SELECT | SELECT 1/0; | error 22012",
            "SELECT | SELECT 1; | error 25P02",
            "ROLLBACK | ROLLBACK; | ok",
            "ASDSDFDSF | asdsdfdsf; | error 42601",
            "SELECT | SELECT * FROM nowhere; | error 42P01",
            "DO | DO $$ BEGIN RAISE NOTICE 'look'; RAISE WARNING 'again'; END $$; | ok",
            "SELECT | SELECT 1; SELECT 2; SELECT 3; | ok",
            "SELECT | SELECT 1; SELECT 1/0; SELECT 3; | error 22012",
            "QUERY | ; | ok",
            "SELECT | -- nothing\n(SELECT 1) UNION (SELECT 2); | ok",
            "WITH | WITH x AS (SELECT 1) SELECT * FROM x; | ok",
            "CREATE | CREATE TEMP TABLE t (i int); | ok",
            "VACUUM | VACUUM; | ok",
            "EXPLAIN | EXPLAIN SELECT 1; | ok",
            "SET | SET application_name = 'other'; | ok",
            "SHOW | SHOW server_version; | ok",
            "PREPARE | PREPARE p AS SELECT $1::int; | ok",
            "EXECUTE | EXECUTE p(1); | ok",
            "TERMINATE |  | no reply",
        ]
    );
}

#[test]
fn keeps_the_laws() {
    for (name, conversation) in all() {
        println!("{name}");
        laws::keeps_prefixes::<Postgres>(&conversation);
        laws::keeps_splits::<Postgres>(&conversation);
        laws::keeps_hostile::<Postgres>(&conversation, 100);
    }
}

#[test]
fn gaps_are_survived() {
    for (name, conversation) in all() {
        println!("{name}");
        let lasting = matches!(name, "ssl_accepted" | "gssenc_accepted" | "cancel");
        laws::keeps_gaps::<Postgres>(&conversation, !lasting);
    }
}
