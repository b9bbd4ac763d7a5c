//! Against an independent parser: for statements that the `sqlparser` crate reads, the operation and the tables are the same.
//! Statements of applications, generated ones, and those that real clients sent in the recordings of the protocols.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use proptest::collection::vec;
use proptest::prelude::*;
use redtap_stages::flow::conn::{Direction, Role, Transport};
use redtap_stages::flow::message::{Message, MessageKind};
use redtap_stages::limits::SQL_SUMMARY;
use redtap_stages::protocols::mysql::Mysql as MysqlWire;
use redtap_stages::protocols::postgres::Postgres as PostgresWire;
use redtap_stages::protocols::{Context, Input, Sink, Step, Wire};
use redtap_stages::sql::Dialect::{self, Mysql, Postgres};
use redtap_stages::sql::{mask, summarize};
use redtap_stages::time::Nanos;
use sqlparser::ast::{Query, SetExpr, Statement, TableFactor, Visit, Visitor};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect};
use sqlparser::parser::Parser;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Tables of a statement, but for the names of its WITHs.
#[derive(Default)]
struct Tables {
    tables: BTreeSet<String>,
    withs: BTreeSet<String>,
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.withs.extend(with.cte_tables.iter().map(|cte| cte.alias.name.to_string()));
        }
        if let SetExpr::Table(table) = &*query.body {
            self.tables.extend(table.table_name.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            self.tables.insert(name.to_string());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if let Statement::Insert(insert) = statement {
            self.tables.insert(insert.table.to_string().trim_start_matches("TABLE ").to_owned());
        }
        ControlFlow::Continue(())
    }
}

fn parse(dialect: Dialect, sql: &str) -> Option<Vec<Statement>> {
    match dialect {
        Mysql => Parser::parse_sql(&MySqlDialect {}, sql).ok(),
        Postgres => Parser::parse_sql(&PostgreSqlDialect {}, sql).ok(),
    }
}

/// Panics if the two disagree; false if the other parser does not read the statement.
fn agree(dialect: Dialect, sql: &str) -> bool {
    let Some(statements) = parse(dialect, sql) else { return false };
    let [statement] = statements.as_slice() else { return false };
    let mut tables = Tables::default();
    let _ = statement.visit(&mut tables);
    let theirs: BTreeSet<String> = tables.tables.difference(&tables.withs).cloned().collect();
    let mut room = [0; SQL_SUMMARY];
    let ours = summarize(dialect, sql.as_bytes(), false, &mut room);
    let summary = std::str::from_utf8(ours.text).unwrap();
    let operations = ["SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE"];
    let named: BTreeSet<String> = summary
        .split_ascii_whitespace()
        .filter(|word| !operations.contains(&word.to_ascii_uppercase().as_str()))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, theirs, "{dialect:?} {sql}\n{summary}");
    let single = if theirs.len() == 1 { theirs.first().unwrap() } else { "" };
    assert_eq!(std::str::from_utf8(ours.collection).unwrap(), single, "{dialect:?} {sql}");
    assert_eq!(ours.statements, 1, "{sql}");
    true
}

/// What applications send: of common frameworks, tools and benchmarks.
const COLLECTED: &[(Dialect, &str)] = &[
    (
        Mysql,
        "SELECT `auth_user`.`id`, `auth_user`.`password` FROM `auth_user` WHERE `auth_user`.`username` = 'bob' LIMIT 21",
    ),
    (
        Mysql,
        "SELECT wp_posts.ID FROM wp_posts LEFT JOIN wp_term_relationships ON (wp_posts.ID = wp_term_relationships.object_id) WHERE 1=1 AND (wp_term_relationships.term_taxonomy_id IN (1)) GROUP BY wp_posts.ID ORDER BY wp_posts.post_date DESC LIMIT 0, 10",
    ),
    (
        Mysql,
        "INSERT INTO `wp_options` (`option_name`, `option_value`, `autoload`) VALUES ('a', 'b', 'no') ON DUPLICATE KEY UPDATE `option_name` = VALUES(`option_name`), `option_value` = VALUES(`option_value`)",
    ),
    (Mysql, "SELECT c FROM sbtest1 WHERE id BETWEEN 4992 AND 5091 ORDER BY c"),
    (Mysql, "UPDATE sbtest1 SET k=k+1 WHERE id=5013"),
    (Mysql, "DELETE a, b FROM orders a INNER JOIN items b ON a.id = b.order_id WHERE a.id = 1"),
    (Mysql, "REPLACE INTO t (a) VALUES (1)"),
    (
        Mysql,
        "SELECT i.TABLE_NAME FROM information_schema.TABLES i, (SELECT 1 AS x FROM dual) d WHERE i.TABLE_SCHEMA = DATABASE()",
    ),
    (
        Postgres,
        r#"SELECT "auth_user"."id" FROM "auth_user" INNER JOIN "auth_group" ON ("auth_user"."id" = "auth_group"."user_id") WHERE "auth_user"."username" = $1 LIMIT 21"#,
    ),
    (Postgres, "UPDATE pgbench_accounts SET abalance = abalance + -4431 WHERE aid = 73921"),
    (Postgres, "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, 2, 3, CURRENT_TIMESTAMP)"),
    (
        Postgres,
        "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = $1",
    ),
    (
        Postgres,
        "SELECT c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','') AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1",
    ),
    (Postgres, "INSERT INTO t (id, v) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v RETURNING id"),
    (
        Postgres,
        "WITH moved AS (DELETE FROM queue USING (SELECT id FROM queue ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 10) q WHERE q.id = queue.id RETURNING queue.*) SELECT * FROM moved",
    ),
    (
        Postgres,
        "SELECT date_trunc('day', o.at), count(*) FILTER (WHERE o.ok) FROM orders o, LATERAL (SELECT 1 FROM items i WHERE i.o = o.id) x GROUP BY 1 HAVING count(*) > 3",
    ),
    (
        Postgres,
        "SELECT EXTRACT(EPOCH FROM now() - a.at)::int, substring(b from 2 for 3) FROM a CROSS JOIN b WHERE a.x IS NOT DISTINCT FROM b.x",
    ),
    (Postgres, "SELECT * FROM unnest(ARRAY[1,2]) WITH ORDINALITY u(x, n) JOIN t ON t.x = u.x"),
    (
        Postgres,
        "SELECT 1 FROM a TABLESAMPLE SYSTEM (10) WHERE EXISTS (SELECT 1 FROM b WHERE b.x = a.x) UNION (SELECT 2 FROM c EXCEPT SELECT 3 FROM d)",
    ),
];

#[test]
fn agrees_on_what_applications_send() {
    for (dialect, sql) in COLLECTED {
        assert!(agree(*dialect, sql), "the oracle does not read {sql}");
    }
}

/// A table, and how it is joined to others.
fn from() -> impl Strategy<Value = String> {
    let table = prop_oneof![
        prop::sample::select(vec!["a", "b2", "s.c", "table_2024_11", "orders", "Users", "lines"])
            .prop_map(str::to_owned),
        Just("(SELECT 1 AS z FROM d WHERE y IN (SELECT 2 FROM e)) v".to_owned()),
        Just("a AS x".to_owned()),
        Just("(b2 JOIN g ON b2.i = g.i)".to_owned()),
    ];
    let join = prop::sample::select(vec![", ", " JOIN ", " LEFT OUTER JOIN ", " CROSS JOIN ", " NATURAL JOIN "]);
    vec((join, table), 1..5).prop_map(|tables| {
        let mut text = String::new();
        for (n, (join, table)) in tables.into_iter().enumerate() {
            match (n, join) {
                (0, _) => text += &table,
                (_, " JOIN " | " LEFT OUTER JOIN ") => text += &format!("{join}{table} ON 1 = f(2, 3)"),
                _ => text += &format!("{join}{table}"),
            }
        }
        text
    })
}

fn expression() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "1",
        "'x'",
        "q",
        "q.r",
        "count(*)",
        "(SELECT max(i) FROM h WHERE i < 3)",
        "CASE WHEN a = 1 THEN 'b' ELSE c END",
        "coalesce(a, 'b', 3)",
        "a IN (1, 2)",
        "NOT EXISTS (SELECT 1 FROM k)",
        "cast(a AS char(3))",
        "-1 + b * 2",
        "extract(year FROM at)",
        "replace(a, 'b', 'c')",
        "a IS NULL",
        "a BETWEEN 1 AND 2",
    ])
    .prop_map(str::to_owned)
}

fn select() -> impl Strategy<Value = String> {
    let tail = prop::sample::select(vec![
        "",
        " GROUP BY a, b",
        " ORDER BY a, b DESC",
        " LIMIT 5",
        " GROUP BY a HAVING count(*) > 1 ORDER BY 1, 2",
    ]);
    (vec(expression(), 1..4), from(), prop::option::of(expression()), tail).prop_map(|(columns, from, filter, tail)| {
        let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        format!("SELECT {} FROM {from}{filter}{tail}", columns.join(", "))
    })
}

fn statement() -> impl Strategy<Value = String> {
    prop_oneof![
        select(),
        select(),
        (select(), select()).prop_map(|(one, two)| format!("({one}) UNION ALL ({two})")),
        (select(), select())
            .prop_map(|(one, two)| format!("WITH lines AS ({one}), w AS ({two}) SELECT 1 FROM w, lines, z")),
        select().prop_map(|select| format!("INSERT INTO s.t (a, b) {select}")),
        vec(expression(), 1..4).prop_map(|values| format!("INSERT INTO t VALUES ({})", values.join(", "))),
        (expression(), expression())
            .prop_map(|(value, filter)| format!("UPDATE t SET a = {value}, b = 2 WHERE {filter}")),
        expression().prop_map(|filter| format!("DELETE FROM t WHERE {filter}")),
    ]
}

#[test]
fn agrees_on_generated_statements() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1500));
    let read = std::cell::Cell::new(0_u32);
    let result = runner.run(&statement(), |sql| {
        for dialect in [Mysql, Postgres] {
            read.set(read.get() + u32::from(agree(dialect, &sql)));
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
    assert!(read.get() > 2500, "the oracle read only {} of 3000", read.get());
}

#[derive(Default)]
struct Targets(Vec<String>);

impl Sink for Targets {
    fn message(&mut self, message: Message) {
        if message.kind == MessageKind::Request && message.target.as_bytes().contains(&b' ') {
            self.0.push(message.target.as_str().to_owned());
        }
    }
}

/// The statements in a recording: records of one byte `>` (client to server) or `<`, four bytes big-endian length, the bytes.
fn statements<W: Wire>(mut file: &[u8], sink: &mut Targets) {
    let mut state = W::State::default();
    let mut carries: [Vec<u8>; 2] = Default::default();
    let mut before = None;
    while let Some((head, rest)) = file.split_first_chunk::<5>() {
        let [mark, length @ ..] = *head;
        let [asked, told] = &mut carries;
        let (direction, carry) = if mark == b'>' { (Direction::Egress, asked) } else { (Direction::Ingress, told) };
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(length)).unwrap()).unwrap();
        file = rest;
        let at = Nanos(1);
        let context = Context { direction, role: Role::Client, transport: Transport::Tcp, start: at, at };
        if before.replace(direction) != Some(direction) {
            W::turn(&mut state, context, sink);
        }
        carry.extend_from_slice(bytes);
        while !carry.is_empty() {
            let Step::Consumed(n) = W::parse(&mut state, context, Input::Bytes(carry), sink) else { break };
            carry.drain(..usize::try_from(n.get()).unwrap());
        }
    }
}

/// Every recording of a room.
fn recorded<W: Wire>(room: &str) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(room);
    let mut targets = Targets::default();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rec") {
            statements::<W>(&std::fs::read(path).unwrap(), &mut targets);
        }
    }
    targets.0.sort();
    targets.0.dedup();
    targets.0
}

/// Begins with what is compared; of definitions only the object is named, and a text may hold several statements.
fn is_compared(sql: &str) -> bool {
    let first = sql.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "REPLACE"].contains(&first.as_str())
}

#[test]
fn agrees_on_what_was_recorded_and_masks_it() {
    for (dialect, all) in [(Mysql, recorded::<MysqlWire>("mysql")), (Postgres, recorded::<PostgresWire>("postgres"))] {
        assert!(all.len() > 20, "{dialect:?}: {} statements", all.len());
        let compared = all.iter().filter(|sql| is_compared(sql) && agree(dialect, sql)).count();
        assert!(compared > 15, "{dialect:?}: only {compared} of {}", all.len());
        for sql in &all {
            let mut room = vec![0; sql.len()];
            let masked = String::from_utf8_lossy(mask(dialect, sql.as_bytes(), &mut room)).into_owned();
            assert!(!masked.contains('\''), "{masked}");
            let words = masked.split(|c: char| !c.is_ascii_alphanumeric() && !"_$@".contains(c));
            for word in words {
                assert!(!word.starts_with(|c: char| c.is_ascii_digit()), "{word} in {masked}");
            }
        }
    }
}
