//! What a statement is counted as: its summary, within the budget of its service, and what belongs to that.

use super::Converge;
use crate::flow::exchange::Exchange;
use crate::limits::{MAX_TARGET, SQL_SUMMARY};
use crate::protocols::traits::Traits;
use crate::sql::{self, Dialect};
use crate::symbol::Symbol;
use crate::text::Token;
use crate::time::Nanos;

/// The commands that run a prepared statement. They are counted as what they run.
const RUNS: [&str; 2] = ["EXECUTE", "BULK_EXECUTE"];

/// The names of a statement.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) method: Symbol,
    pub(super) endpoint: Symbol,
    pub(super) collection: Symbol,
}

impl Converge {
    /// The names of an exchange whose target is a statement. If it is none, its endpoint is its method.
    pub(super) fn query(&mut self, now: Nanos, traits: &Traits, exchange: &Exchange, dialect: Dialect) -> Query {
        let mut method = self.names.method(traits, &exchange.method);
        let mut room = [0; SQL_SUMMARY];
        let text = exchange.target.as_bytes();
        // The longest character has four bytes: nearer to the bound a text may have been cut there.
        let cut = text.len() + 4 > MAX_TARGET;
        let summary = sql::summarize(dialect, text, cut, &mut room);
        if summary.text.is_empty() || !is_statement(exchange, summary.operation) {
            return Query { endpoint: method.clone(), method, collection: self.names.none() };
        }
        if RUNS.contains(&exchange.method.as_str()) && !summary.operation.is_empty() {
            method = self.names.method(traits, &Token::from_wire_upper(summary.operation));
        }
        let endpoint = self.budgeted(now, exchange, utf8(summary.text));
        let full = endpoint.key() == self.symbols.overflow().key();
        // It is a part of the summary: there are no more of them than of summaries.
        let collection = utf8(summary.collection);
        let collection =
            if full || collection.is_empty() { self.names.none() } else { self.symbols.intern(collection) };
        Query { method, endpoint, collection }
    }
}

/// The target of a few commands is a single name, which may be a keyword by chance.
fn is_statement(exchange: &Exchange, operation: &[u8]) -> bool {
    exchange.method.as_bytes().eq_ignore_ascii_case(operation)
        || exchange.target.as_bytes().iter().any(u8::is_ascii_whitespace)
}

/// Words of a target, which is text.
fn utf8(words: &[u8]) -> &str {
    std::str::from_utf8(words).unwrap_or_default()
}

#[cfg(test)]
mod tests;
