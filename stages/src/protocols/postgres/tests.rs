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
            "SELECT | select id, name from goods where id < 3; | ok",
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
            "SELECT | (SELECT 1) UNION (SELECT 2); | ok",
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

/// Recordings that stand for the others where a law is costly.
fn some() -> Vec<(&'static str, Conversation)> {
    let names =
        ["pgbench_pipeline", "deferred", "raw_extended", "auth_scram", "no_database", "jdbc", "node", "notifications"];
    all().into_iter().filter(|(name, _)| names.contains(name)).collect()
}

#[test]
fn every_prefix_gives_a_prefix_of_the_messages() {
    all().iter().for_each(|(_, conversation)| laws::keeps_prefixes::<Postgres>(conversation));
}

#[test]
fn every_cut_gives_the_same_messages() {
    all().iter().for_each(|(_, conversation)| laws::keeps_splits::<Postgres>(conversation));
}

#[test]
fn nothing_hostile_gets_through() {
    all().iter().for_each(|(_, conversation)| laws::keeps_hostile::<Postgres>(conversation, 100));
}

#[test]
fn gaps_leave_the_next_conversation_in_step() {
    some().iter().for_each(|(_, conversation)| laws::keeps_gaps::<Postgres>(conversation, true));
    // Encrypted from some byte on, or not: a gap may hide which.
    let granted = [recording!("ssl_accepted"), recording!("gssenc_accepted"), recording!("cancel")];
    granted.iter().for_each(|conversation| laws::keeps_gaps::<Postgres>(conversation, false));
}

#[test]
fn reads_extended_queries_of_every_client() {
    let prepared = "SELECT | select name from goods where id = $1 | ok";
    assert_eq!(
        asked(&recording!("psycopg")),
        [
            &["SELECT | select id, name from goods where id = $1 | ok"; 3][..],
            &["PREPARE | select name from goods where id = $1 | ok", prepared, prepared, prepared],
            &["SELECT | select 1/$1 | error 22012", "SELECT | select * from nowhere where x = $1 | error 42P01"],
            &["BEGIN | BEGIN | ok", "INSERT | insert into goods values ($1, $2) | ok"],
            &["DELETE | delete from goods where id = $1 | ok", "COMMIT | COMMIT | ok"],
            &["CREATE | create temp table c (id int, name text) | ok"],
            &["COPY | copy c from stdin | ok", "COPY | copy c to stdout | ok"],
            &["INSERT | insert into c values ($1, $2) | ok"; 5],
        ]
        .concat()
    );
    assert_eq!(
        asked(&recording!("node")),
        [
            &["SELECT | select 1 | ok", "SELECT | select id, name from goods where id < $1 | ok"][..],
            &[prepared; 3],
            &["SELECT | select * from nowhere where id = $1 | error 42P01"],
            &["SELECT | select name from goods where id = $1 | error 22P02"],
            &["PREPARE | select id from goods where id < $1 | ok"],
            &["SELECT | select id from goods where id < $1 | ok"; 3],
            &["SELECT | select 2 | ok"],
        ]
        .concat()
    );
    let jdbc = asked(&recording!("jdbc"));
    assert_eq!(
        jdbc.iter().filter(|line| line.as_str() == "SELECT | select id from goods where id < $1 | ok").count(),
        3
    );
    assert_eq!(
        jdbc.iter().filter(|line| line.as_str() == "INSERT | insert into goods values ($1, $2) | ok").count(),
        10
    );
    assert_eq!(jdbc.len(), 22, "{jdbc:?}");
    for (conversation, requests, prepares) in
        [(recording!("asyncpg"), 23, 6), (recording!("pgx"), 22, 7), (recording!("lib_pq"), 13, 4)]
    {
        let asked = asked(&conversation);
        assert_eq!(asked.len(), requests, "{asked:?}");
        assert_eq!(asked.iter().filter(|line| line.starts_with("PREPARE")).count(), prepares);
        assert!(asked.iter().all(|line| line.ends_with(" ok") || line.contains(" error ")), "{asked:?}");
    }
}

#[test]
fn reads_every_mode_of_pgbench() {
    let transaction = [
        "BEGIN | BEGIN; | ok",
        "UPDATE | UPDATE accounts SET balance = balance + 1 WHERE id = $1; | ok",
        "SELECT | SELECT balance FROM accounts WHERE id = $1; | ok",
        "END | END; | ok",
    ];
    assert_eq!(asked(&recording!("pgbench_extended")), transaction.repeat(4));
    let prepared = asked(&recording!("pgbench_prepared"));
    let executed: Vec<_> = prepared.iter().filter(|line| !line.starts_with("PREPARE")).cloned().collect();
    assert_eq!(executed, transaction.repeat(4));
    assert_eq!(prepared.len() - executed.len(), 4);
    let simple = asked(&recording!("pgbench_simple"));
    assert_eq!(simple.len(), 16);
    assert!(simple.iter().all(|line| line.ends_with(" | ok") && !line.contains('$')), "{simple:?}");
    for recording in [recording!("pgbench_pipeline"), recording!("pgbench_pipeline_prepared")] {
        let asked = asked(&recording);
        assert_eq!(asked.iter().filter(|line| line.starts_with("SELECT") && line.ends_with(" ok")).count(), 12);
    }
}

#[test]
fn what_an_aborted_pipeline_skipped_is_answered_by_its_error() {
    let asked = asked(&recording!("pipeline"));
    assert_eq!(
        asked.get(10..),
        Some(
            &[
                "SELECT | select $1::int | ok",
                "SELECT | select 1/$1 | error 22012",
                "INSERT | insert into goods values ($1, 'never') | error 22012",
                "SELECT | select $1::text | error 22012",
                "SYNC |  | ok",
                "SELECT | select name from goods where id = $1 | ok",
            ]
            .map(str::to_owned)[..]
        )
    );
}

#[test]
fn an_error_at_commit_is_that_of_the_last_statement() {
    assert_eq!(
        asked(&recording!("deferred")),
        [
            "CREATE | create temp table u (id int unique deferrable initially deferred) | ok",
            "INSERT | insert into u values ($1), ($2) | error 23505",
            "SELECT | select $1::int | ok",
        ]
    );
}

#[test]
fn copies_are_one_request_each() {
    assert_eq!(
        asked(&recording!("copy")),
        [
            "COPY | COPY goods TO STDOUT; | ok",
            "COPY | COPY (SELECT 1) TO STDOUT (FORMAT binary); | ok",
            "CREATE | CREATE TEMP TABLE c (id int, name text); | ok",
            "COPY | COPY c FROM STDIN; | ok",
            "COPY | COPY c FROM STDIN; | error 22P02",
            "SELECT | SELECT count(*) FROM c; | ok",
        ]
    );
}

#[test]
fn portals_flushes_and_syncs_of_nothing() {
    let step = "SELECT | select generate_series(1, 5) | ok";
    assert_eq!(
        asked(&recording!("raw_extended")),
        [
            "PREPARE | select generate_series(1, 5) | ok",
            "SYNC |  | ok",
            step,
            step,
            step,
            "SELECT | select generate_series(1, 5) | error 42P05",
            "CLOSE |  | ok",
            "COPY | copy copied from stdin | ok",
            "SELECT | select 1 | ok",
        ]
    );
}

#[test]
fn a_log_in_is_one_request_and_names_who_came() {
    for (conversation, user, status, code) in [
        (recording!("auth_scram"), "scram", Status::Ok, ""),
        (recording!("auth_scram_failed"), "scram", Status::Error, "28P01"),
        (recording!("auth_md5"), "md5", Status::Ok, ""),
        (recording!("auth_md5_failed"), "md5", Status::Error, "28P01"),
        (recording!("auth_clear"), "clear", Status::Ok, ""),
        (recording!("auth_clear_failed"), "clear", Status::Error, "28P01"),
        (recording!("ssl_refused"), "postgres", Status::Ok, ""),
        (recording!("pgx"), "postgres", Status::Ok, ""),
    ] {
        let messages: Vec<_> =
            read(&conversation).into_iter().filter(|message| message.method != "SSL_REQUEST").collect();
        let startup = messages.iter().find(|message| message.method == "STARTUP").expect("a log-in");
        let session = startup.session.as_ref().expect("a session");
        assert_eq!((session.user.as_str(), session.namespace.as_str()), (user, "shop"));
        let answers: Vec<_> = messages.iter().filter(|message| message.kind == MessageKind::Response).collect();
        let answer = answers[usize::from(answers[0].bytes == 1)];
        assert_eq!((answer.status, answer.code.as_str()), (status, code), "{user}");
        for message in messages.iter().filter(|message| message.kind == MessageKind::Request) {
            assert!(message.session.as_ref().is_some_and(|other| Arc::ptr_eq(other, session)), "{message:?}");
        }
    }
    assert_eq!(shown(&recording!("no_database")), ["STARTUP |  | error 3D000"]);
}

#[test]
fn encryption_is_handed_over_where_it_is_granted() {
    assert_eq!(shown(&recording!("ssl_accepted")), ["SSL_REQUEST |  | ok"]);
    assert_eq!(shown(&recording!("gssenc_accepted")), ["GSSENC_REQUEST |  | ok"]);
    assert_eq!(asked(&recording!("ssl_refused")), ["SSL_REQUEST |  | ok", "SELECT | SELECT 1; | ok"]);
    let messages = read(&recording!("ssl_accepted"));
    assert!(messages.last().is_some_and(|message| message.upgrade && message.kind == MessageKind::Response));
    let mut state = State::default();
    state.shared.encrypted = true;
    let at = Context {
        direction: Egress,
        role: crate::flow::conn::Role::Client,
        transport: Transport::Tcp,
        start: Nanos::ZERO,
        at: Nanos::ZERO,
    };
    let step = Postgres::parse(&mut state, at, Input::Bytes(b"\x16\x03\x01"), &mut laws::Collected::default());
    assert_eq!(step, Step::HandOver(Successor::Tls));
}

#[test]
fn what_nobody_asked_for_is_set_aside() {
    let asides = |conversation| {
        asked(&conversation).iter().filter(|line| line.starts_with("aside")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(asides(recording!("notifications")), ["aside", "aside"]);
    assert_eq!(asides(recording!("terminated")), ["aside 57P01"]);
    assert_eq!(shown(&recording!("cancel")), ["CANCEL_REQUEST |  | no reply"]);
    assert_eq!(asked(&recording!("cancelled")), ["SELECT | select pg_sleep(20) | error 57014"]);
}

#[test]
fn every_byte_of_an_answer_is_counted_once() {
    for name in ["simple", "big_result", "psycopg", "copy"] {
        let (_, conversation) = all().into_iter().find(|(other, _)| *other == name).expect("a recording");
        let answered: u64 =
            read(&conversation).iter().filter(|m| m.kind == MessageKind::Response).map(|m| m.bytes).sum();
        let moved: usize = conversation.turns.iter().filter(|(d, _)| *d == Ingress).map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(answered, moved as u64, "{name}");
    }
}

#[test]
fn calls_of_functions_are_told_by_their_message() {
    let calls = asked(&recording!("function_call"));
    assert_eq!(calls.iter().filter(|line| line.as_str() == "FUNCTION_CALL |  | ok").count(), 4, "{calls:?}");
}

mod cut;
mod oracle;
mod recognised;
