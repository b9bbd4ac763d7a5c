//! Statements as applications, drivers and tools send them.

use super::Dialect::{Mysql, Postgres};
use super::{BOTH, masked, read, summary_of};
use crate::limits::SQL_SUMMARY;

fn summaries(cases: &[(&str, &str)]) {
    for dialect in BOTH {
        for (sql, expected) in cases {
            assert_eq!(summary_of(dialect, sql), *expected, "{dialect:?}: {sql}");
        }
    }
}

#[test]
fn names_tables_of_every_kind_of_list() {
    summaries(&[
        ("SELECT 1 FROM a, b.c AS x, d y JOIN e ON x.i = y.i LEFT OUTER JOIN f USING (i), g", "SELECT a b.c d e f g"),
        ("SELECT 1 FROM (a JOIN b ON a.x = b.x), ((c))", "SELECT a b c"),
        ("SELECT a FROM t WHERE i IN (SELECT i FROM u WHERE j = 1) ORDER BY a, b", "SELECT t SELECT u"),
        ("SELECT (SELECT max(x) FROM t), y FROM u GROUP BY y, z", "SELECT SELECT t u"),
        ("(SELECT a FROM t) UNION ALL (SELECT b FROM u) LIMIT 1, 2", "SELECT t u"),
        ("SELECT a FROM t FOR UPDATE OF t, u", "SELECT t"),
        ("SELECT extract(year FROM x), trim(both ' ' from y), substring(z from 2) FROM t", "SELECT t"),
        ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t"),
        ("SELECT * FROM generate_series(1, 2) g, t", "SELECT t"),
        ("SELECT * FROM a NATURAL JOIN b CROSS JOIN LATERAL (SELECT 1 FROM c) d", "SELECT a b SELECT c"),
        ("DELETE FROM t USING u, v WHERE t.i = u.i", "DELETE t u v"),
        ("UPDATE t SET a = (SELECT 1 FROM u), b = 2 WHERE c", "UPDATE t SELECT u"),
        ("MERGE INTO t USING u ON t.i = u.i WHEN MATCHED THEN UPDATE SET a = 1", "MERGE t u"),
        ("SELECT 1 FROM cache, change, comment, user", "SELECT cache change comment user"),
        ("SELECT 1 FROM table_2024_11", "SELECT table_2024_11"),
        ("VALUES (1), (2)", "VALUES"),
        ("TABLE t", "TABLE t"),
    ]);
}

#[test]
fn names_of_a_with_are_no_tables() {
    summaries(&[
        (
            "WITH x AS (SELECT 1 FROM t), y (a, b) AS (SELECT 2 FROM u) SELECT 1 FROM x, Y, v",
            "SELECT t SELECT u SELECT v",
        ),
        ("WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r", "SELECT SELECT"),
        ("WITH x AS (SELECT 1 FROM t) INSERT INTO u SELECT * FROM x", "SELECT t INSERT u SELECT"),
        ("WITH d AS (DELETE FROM t RETURNING *) UPDATE u SET a = 1", "DELETE t UPDATE u"),
    ]);
    assert_eq!(read(Postgres, b"WITH x AS (SELECT 1 FROM t) SELECT 1 FROM x", false).collection, "t");
}

#[test]
fn words_that_look_like_statements_are_none() {
    summaries(&[
        ("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 2, b = 3", "INSERT t"),
        ("INSERT INTO t SELECT a FROM u ON DUPLICATE KEY UPDATE a = 2, b = 3", "INSERT t SELECT u"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2", "INSERT t"),
        ("SELECT replace(a, 'x', 'y'), insert(b, 1, 2, 'z') FROM t", "SELECT t"),
        ("CREATE TABLE t (i int REFERENCES u ON DELETE CASCADE ON UPDATE SET NULL)", "CREATE TABLE t"),
        ("GRANT SELECT, INSERT ON t TO u", "GRANT"),
        ("SELECT t.select, t.from FROM t", "SELECT t"),
    ]);
}

#[test]
fn names_what_a_definition_is_about() {
    summaries(&[
        ("DROP TABLE IF EXISTS a, b.c CASCADE", "DROP TABLE a b.c"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1 FROM t", "CREATE VIEW v"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 FROM t", "CREATE VIEW v"),
        ("CREATE TEMPORARY TABLE x AS SELECT 1 FROM t", "CREATE TABLE x"),
        ("CREATE DEFINER='a'@'b' PROCEDURE p() BEGIN SELECT 1 FROM t; END", "CREATE PROCEDURE p"),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", "CREATE INDEX i"),
        ("CREATE INDEX ON t (a)", "CREATE INDEX"),
        ("TRUNCATE t", "TRUNCATE t"),
        ("TRUNCATE TABLE t", "TRUNCATE TABLE t"),
        ("LOCK TABLES a READ, b WRITE", "LOCK TABLES a b"),
        ("CALL p(1, 'x')", "CALL p"),
        ("USE shop", "USE shop"),
        ("CREATE USER 'bob'@'%' IDENTIFIED BY 'x'", "CREATE USER"),
        ("COPY t (a, b) FROM STDIN", "COPY t"),
        ("COPY (SELECT 1 FROM t) TO STDOUT", "COPY SELECT t"),
        ("LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE t FIELDS TERMINATED BY ','", "LOAD t"),
    ]);
}

#[test]
fn names_that_programs_make_up_are_left_out() {
    summaries(&[
        ("SAVEPOINT sp_7f3a", "SAVEPOINT"),
        ("ROLLBACK TO SAVEPOINT sp_7f3a", "ROLLBACK"),
        ("EXECUTE s1 (1)", "EXECUTE"),
        ("DEALLOCATE PREPARE s1", "DEALLOCATE"),
        ("DECLARE c_1 CURSOR FOR SELECT 1 FROM t", "DECLARE SELECT t"),
        ("FETCH ALL FROM c_1", "FETCH"),
        ("PREPARE s1 AS INSERT INTO t VALUES ($1)", "PREPARE INSERT t"),
        ("EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 1", "EXPLAIN UPDATE t"),
        ("SET NAMES utf8mb4", "SET"),
        ("SHOW FULL COLUMNS FROM t", "SHOW"),
        ("BEGIN", "BEGIN"),
        ("frobnicate the table", ""),
        ("", ""),
    ]);
}

#[test]
fn several_statements_have_no_collection() {
    for dialect in BOTH {
        let several = read(dialect, b"SELECT 1 FROM a; UPDATE b SET c = 1;", false);
        assert_eq!((several.summary.as_str(), several.statements), ("SELECT a UPDATE b", 2));
        assert_eq!((several.operation.as_str(), several.collection.as_str()), ("SELECT", ""));
        let one = read(dialect, b" ; insert into S.a values (1) ;", false);
        assert_eq!((one.operation.as_str(), one.collection.as_str(), one.statements), ("insert", "S.a", 1));
        assert_eq!(read(dialect, b"SELECT 1 FROM a, b", false).collection, "");
        assert_eq!(read(dialect, b"SELECT 1 FROM a x JOIN a y ON x.i = y.j", false).collection, "a");
        assert_eq!(read(dialect, b"CREATE INDEX i ON t (a)", false).collection, "", "an index is none");
    }
}

#[test]
fn quotes_belong_to_the_dialect() {
    assert_eq!(summary_of(Postgres, r#"SELECT * FROM "song list", s."a""b""#), r#"SELECT "song list" s."a""b""#);
    assert_eq!(summary_of(Mysql, "SELECT * FROM `song list`, `s`.`t`, u"), "SELECT `song list` `s`.`t` u");
    assert_eq!(summary_of(Mysql, r#"SELECT * FROM "secret", t"#), "SELECT t");
    assert_eq!(summary_of(Postgres, r#"SELECT 1 FROM t "FROM" "x""#), "SELECT t", "a name in quotes is no keyword");
    assert_eq!(masked(Mysql, r#"SELECT "a", `b` # c"#), "SELECT ?, `b` ");
    assert_eq!(masked(Postgres, r#"SELECT "a" #> '{b}' # c"#), r#"SELECT "a" #> ? # c"#);
}

#[test]
fn masks_every_kind_of_literal() {
    for (sql, expected) in [
        (r"SELECT E'it\'s', e'\\', x", "SELECT ?, ?, x"),
        ("SELECT N'a', X'1f', b'01', U&'d!0061' UESCAPE '!'", "SELECT ?, ?, ?, ? UESCAPE ?"),
        ("DO $$ BEGIN 'x' $y$ $$, $t$ a $$ b $t$", "DO ?, ?"),
        (
            "SELECT $1, $2::int, a$b$c FROM t WHERE x = :name AND y ? 'k'",
            "SELECT $1, $2::int, a$b$c FROM t WHERE x = :name AND y ? ?",
        ),
        ("SELECT 1_000, 0o17, 0b11, 1e-5, 5., a[1:2], d->-1", "SELECT ?, ?, ?, ?, ?, a[?:?], d->?"),
        ("SELECT /* a /* b */ c */ 1 -- 'x\r, 2", "SELECT  ? \r, ?"),
        ("SELECT a-1, (b)-1, $1-1, c -1", "SELECT a-?, (b)-?, $1-?, c ?"),
    ] {
        assert_eq!(masked(Postgres, sql), expected, "{sql}");
    }
    for (sql, expected) in [
        (r#"SELECT 'it\'s', "say \"no\"", 'a''b', x"#, "SELECT ?, ?, ?, x"),
        (r"SELECT 'a\\', b", "SELECT ?, b"),
        ("SELECT _utf8mb4'x', DATE '2024-01-01', 5--1", "SELECT _utf8mb4?, DATE ?, ?-?"),
        ("SELECT /*!80000 a, 'b' */ c /* d */ -- e", "SELECT  a, ?  c  "),
        ("/*!40101 SET NAMES 'utf8' */", " SET NAMES ? "),
    ] {
        assert_eq!(masked(Mysql, sql), expected, "{sql}");
    }
    for dialect in BOTH {
        let sql = "SELECT TRUE, false, NULL WHERE a IS NOT TRUE AND b IS NULL AND c = false";
        assert_eq!(masked(dialect, sql), "SELECT ?, ?, NULL WHERE a IS NOT TRUE AND b IS NULL AND c = ?");
    }
    assert_eq!(summary_of(Mysql, "/*!40101 SET NAMES 'utf8' */"), "SET");
}

#[test]
fn what_the_servers_mode_decides_is_masked_to_the_end() {
    // By default the string ends behind `x`; with NO_BACKSLASH_ESCAPES before it, and `y` is a literal.
    assert_eq!(masked(Mysql, r"SELECT 'a\', x, 'y"), "SELECT ?");
    // By default the string ends before `x`; without standard_conforming_strings behind it.
    assert_eq!(masked(Postgres, r"SELECT 'a\', x, 'y"), "SELECT ?");
    assert_eq!(masked(Postgres, r"SELECT 'it\'s', x"), "SELECT ?");
    // A server that passes over the code of a version that is not its own ends it at the star.
    assert_eq!(masked(Mysql, "SELECT /*!99999 it's */ 'a', b"), "SELECT ?");
    assert_eq!(masked(Mysql, r"SELECT 'C:\\dir\\', b"), "SELECT ?, b");
}

#[test]
fn collapses_lists_behind_in_even_those_that_do_not_fit() {
    let long = format!("SELECT 1 FROM t WHERE i IN ({}) AND b = 1", vec!["'abcdef'"; 1000].join(", "));
    let mut room = [0; 64];
    let text = super::text(super::mask(Mysql, long.as_bytes(), &mut room));
    assert_eq!(text, "SELECT ? FROM t WHERE i IN (?) AND b = ?");
    for dialect in BOTH {
        assert_eq!(masked(dialect, "a IN ( 1 , 2 ) or b not in (1,x,2)"), "a IN ( ?) or b not in (?,x,?)");
        assert_eq!(masked(dialect, "a IN (?, ?, ?)"), "a IN (?, ?, ?)", "placeholders are left as they are");
        assert_eq!(masked(dialect, "a IN (1, 2 + 3)"), "a IN (?, ? + ?)");
    }
}

#[test]
fn a_name_that_the_cut_may_have_shortened_is_left_out() {
    for dialect in BOTH {
        assert_eq!(read(dialect, b"SELECT a FROM ord", true).summary, "SELECT");
        assert_eq!(read(dialect, b"SELECT a FROM ord ", true).summary, "SELECT ord");
        assert_eq!(read(dialect, b"SELECT a FROM ord", false).summary, "SELECT ord");
        assert_eq!(read(dialect, b"SELECT a FROM t, `u", true).summary, "SELECT t");
        assert_eq!(read(dialect, b"SELEC", true).operation, "");
    }
}

#[test]
fn the_summary_is_cut_between_words() {
    let many: Vec<String> = (0..100).map(|n| format!("table_{n}")).collect();
    let summary = summary_of(Mysql, &format!("SELECT 1 FROM {}", many.join(", ")));
    assert!(summary.len() <= SQL_SUMMARY && summary.len() > SQL_SUMMARY - 10, "{}", summary.len());
    let last = summary.rsplit(' ').next().unwrap();
    assert!(many.iter().any(|name| name == last), "{last}");
}

#[test]
fn depth_and_number_of_names_are_bounded() {
    for dialect in BOTH {
        let deep = format!("SELECT 1 FROM {} t {} , u", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(summary_of(dialect, &deep), "SELECT t u");
        let names: Vec<String> = (0..50).map(|n| format!("w{n} AS (SELECT 1)")).collect();
        let with = format!("WITH {} SELECT 1 FROM w0, w7", names.join(", "));
        assert!(summary_of(dialect, &with).ends_with("SELECT SELECT"));
    }
}
