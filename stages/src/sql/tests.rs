//! Shared by the tests: the two functions with owned results.

mod privacy;
mod statements;
mod vectors;

use super::*;
use crate::limits::SQL_SUMMARY;

/// Of one text.
#[derive(Debug, PartialEq)]
struct Read {
    summary: String,
    operation: String,
    collection: String,
    statements: u32,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(dialect: Dialect, sql: &[u8], cut: bool) -> Read {
    let mut room = [0; SQL_SUMMARY];
    let summary = summarize(dialect, sql, cut, &mut room);
    Read {
        summary: text(summary.text),
        operation: text(summary.operation),
        collection: text(summary.collection),
        statements: summary.statements,
    }
}

fn summary_of(dialect: Dialect, sql: &str) -> String {
    read(dialect, sql.as_bytes(), false).summary
}

fn masked(dialect: Dialect, sql: &str) -> String {
    let mut room = vec![0; 2 * sql.len() + 16];
    text(mask(dialect, sql.as_bytes(), &mut room))
}

const BOTH: [Dialect; 2] = [Dialect::Mysql, Dialect::Postgres];
