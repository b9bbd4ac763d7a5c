//! No literal survives: a word is planted in every place where data can stand, and is looked for in everything that comes out.

use super::Dialect::{Mysql, Postgres};
use super::{BOTH, Dialect, mask, summarize, text, vectors};
use crate::limits::SQL_SUMMARY;
use proptest::collection::vec;
use proptest::prelude::*;

/// Is `secret` in the summary, the collection or the masked text of `sql`, cut anywhere?
fn leak(dialect: Dialect, sql: &str, secret: &str) -> Option<String> {
    (0..=sql.len()).filter(|&at| sql.is_char_boundary(at)).find_map(|at| {
        let sql = &sql.as_bytes()[..at];
        let mut room = [0; SQL_SUMMARY];
        let summary = summarize(dialect, sql, at % 2 == 0, &mut room);
        let collection = text(summary.collection);
        let operation = text(summary.operation);
        let mut room = vec![0; sql.len() + 16];
        let masked = text(mask(dialect, sql, &mut room));
        let mut narrow = [0; 48];
        let short = text(mask(dialect, sql, &mut narrow));
        [text(summary.text), collection, operation, masked, short].into_iter().find(|out| out.contains(secret))
    })
}

/// Literals that hold `@`, where the secret goes. No letter stands beside it, so that it is whole when found.
const STRINGS: &[&str] =
    &["'@'", "'a''@'", "'@''b'", "N'@'", "x'@'", "B'@'", "'-- @ /* '", "'a \" ` $$ @'", "'\n@\n'", "'@\\\\'"];
const MYSQL: &[&str] =
    &["\"@\"", "\"it's @\"", "'it\\'s @'", "\"a\\\"b\" '@'", "'@\\'', '@'", "'\\', @'", "_utf8mb4'@'", "'\\\\', '@'"];
const POSTGRES: &[&str] =
    &["E'it\\'s @'", "e'\\'@'", "$$@$$", "$t$ '@ $$ $t$", "U&'@'", "'it\\', @'", "$_1$@$_1$", "'a' \n '@'"];
/// Comments go, whatever they hold.
const COMMENTS: &[&str] = &["/* @ */", "/* ' @ */", "-- @\n", "-- it's @\n"];
const MYSQL_COMMENTS: &[&str] =
    &["# @\n", "# ' @\n", "/*! '@' */", "/*!50000 1, '@' */", "/*!99999 it's '@' */ '@'", "-- \r @\n"];
const POSTGRES_COMMENTS: &[&str] = &["/* /* */ @ */", "--@\r", "/*! @ */"];

/// Statements in which `{}` is an expression.
const PLACES: &[&str] = &[
    "SELECT {} FROM t",
    "SELECT a FROM t WHERE b={} AND c = 1",
    "SELECT a FROM t WHERE b IN ({}, {}) ORDER BY {}, d",
    "SELECT a FROM t, u WHERE b BETWEEN {} AND {} LIMIT {}",
    "INSERT INTO t (a, b) VALUES ({},{}), (1,{})",
    "INSERT INTO t SET a={}, b = {} ON DUPLICATE KEY UPDATE c={}",
    "UPDATE t SET a = {}, b = f({}) WHERE c <> {}",
    "DELETE FROM t WHERE a = {} RETURNING {}",
    "CALL p({}, {})",
    "WITH x AS (SELECT {}) SELECT * FROM x WHERE a = {}",
    "CREATE TABLE t (a text DEFAULT {})",
    "CREATE USER u IDENTIFIED BY {}",
    "SET x = {}; SELECT {}",
    "SELECT a FROM {} WHERE {}",
    "USE {}",
    "{}",
    "EXECUTE s ({}); COPY t FROM {}",
];

fn literals(dialect: Dialect) -> Vec<&'static str> {
    let (own, comments) = if dialect == Mysql { (MYSQL, MYSQL_COMMENTS) } else { (POSTGRES, POSTGRES_COMMENTS) };
    [STRINGS, own, COMMENTS, comments].concat()
}

#[test]
fn nothing_survives_from_any_literal_in_any_place_at_any_cut() {
    for dialect in BOTH {
        for literal in literals(dialect) {
            for place in PLACES {
                let sql = place.replace("{}", &literal.replace('@', "hunter2"));
                assert_eq!(leak(dialect, &sql, "hunter2"), None, "{dialect:?} {sql}");
            }
        }
        for number in ["31415926", "-31415926", "0x31415926", "1.31415926", "31415926e3", ".31415926", "31415926abc"] {
            for place in PLACES {
                let sql = place.replace("{}", number);
                assert_eq!(leak(dialect, &sql, "31415926"), None, "{dialect:?} {sql}");
            }
        }
    }
}

#[test]
fn modes_that_the_text_does_not_tell_leak_nothing() {
    // What a server in NO_BACKSLASH_ESCAPES mode, or without standard_conforming_strings, is sent.
    assert_eq!(leak(Mysql, r"INSERT INTO t VALUES ('C:\', 'hunter2', 'C:\', 'hunter2')", "hunter2"), None);
    assert_eq!(leak(Postgres, r"SELECT 'it\'s', 'hunter2', 'it\' hunter2'", "hunter2"), None);
    // ANSI_QUOTES: names are lost, not literals.
    assert_eq!(leak(Mysql, r#"SELECT "a" FROM "t" WHERE "b" = 'hunter2'"#, "hunter2"), None);
}

#[test]
fn masking_what_is_masked_changes_nothing() {
    for (_, sql, ..) in vectors::cases() {
        for dialect in BOTH {
            let once = super::masked(dialect, sql);
            assert_eq!(super::masked(dialect, &once), once);
        }
    }
}

fn fragment(dialect: Dialect) -> impl Strategy<Value = String> {
    let literals = literals(dialect);
    prop_oneof![
        4 => prop::sample::select(literals).prop_map(|literal| literal.replace('@', "zq7secret")),
        1 => Just("31415926".to_owned()),
        6 => prop::sample::select(vec![
            "SELECT", "FROM", "WHERE", "INSERT INTO", "VALUES", "IN", "UNION", "JOIN", "WITH", "AS", "UPDATE", "SET", "DELETE",
            "CREATE TABLE", "DROP", "(", ")", ",", ";", ".", "a", "t1", "`n`", "=", "-", "::", "?", "$1", ":v", "@x", "TRUE",
            "IS", "CALL", "USING", "*", "{", "[", "]", "\n", "|",
        ])
        .prop_map(str::to_owned),
    ]
}

fn statement(dialect: Dialect) -> impl Strategy<Value = String> {
    // White space around everything: glued together, `a` and `$t$` would be one name to the server, too.
    vec(fragment(dialect), 0..24).prop_map(|parts| parts.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_survives_in_mysql(sql in statement(Mysql)) {
        for secret in ["zq7secret", "31415926"] {
            prop_assert_eq!(leak(Mysql, &sql, secret), None);
        }
    }

    #[test]
    fn nothing_survives_in_postgresql(sql in statement(Postgres)) {
        for secret in ["zq7secret", "31415926"] {
            prop_assert_eq!(leak(Postgres, &sql, secret), None);
        }
    }

    #[test]
    fn any_bytes_are_read_within_bounds(sql in vec(any::<u8>(), 0..300), size in 0_usize..100, cut: bool) {
        for dialect in BOTH {
            let mut room = [0; SQL_SUMMARY];
            let summary = summarize(dialect, &sql, cut, &mut room);
            prop_assert!(summary.text.len() <= SQL_SUMMARY);
            let mut room = vec![0; size];
            prop_assert!(mask(dialect, &sql, &mut room).len() <= size);
        }
    }

    #[test]
    fn any_sql_like_text_masks_to_no_more_than_its_length(sql in "[-a-z0-9 '\"\\\\$`/*!#?.:,();\n]{0,80}") {
        for dialect in BOTH {
            let mut room = [0; 512];
            let masked = mask(dialect, sql.as_bytes(), &mut room);
            prop_assert!(masked.len() <= sql.len());
        }
    }
}
