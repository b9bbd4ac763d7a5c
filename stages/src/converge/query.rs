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
        let mut method = self.words.method(traits, &exchange.method);
        let mut room = [0; SQL_SUMMARY];
        let text = exchange.target.as_bytes();
        // The longest character has four bytes: nearer to the bound a text may have been cut there.
        let cut = text.len() + 4 > MAX_TARGET;
        let summary = sql::summarize(dialect, text, cut, &mut room);
        if summary.text.is_empty() || !is_statement(exchange, summary.operation) {
            return Query { endpoint: method.clone(), method, collection: self.words.none() };
        }
        if RUNS.contains(&exchange.method.as_str()) && !summary.operation.is_empty() {
            method = self.words.method(traits, &Token::from_wire_upper(summary.operation));
        }
        let endpoint = self.budgeted(now, exchange, utf8(summary.text));
        let full = endpoint.key() == self.symbols.overflow().key();
        // It is a part of the summary: there are no more of them than of summaries.
        let collection = utf8(summary.collection);
        let collection =
            if full || collection.is_empty() { self.words.none() } else { self.symbols.intern(collection) };
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
mod tests {
    //! Statements as exchanges. Which protocol carries them does not matter here: the dialect is given.

    use super::*;
    use crate::converge::ConvergeRules;
    use crate::flow::conn::{Address, ConnInfo, Owner, Role, Transport};
    use crate::flow::message::{Addresses, Session, Status};
    use crate::limits::DATABASES_PER_SERVICE;
    use crate::protocols::Protocol;
    use crate::symbol::OVERFLOW;
    use crate::text::Text;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    fn exchange(method: &str, target: &str) -> Exchange {
        let address = |port| Address::Inet(Ipv4Addr::LOCALHOST.into(), port);
        let conn = ConnInfo {
            id: 1,
            transport: Transport::Tcp,
            role: Role::Server,
            local: address(5432),
            remote: address(40_000),
            owner: Owner { pid: 1, cgroup_id: 1, comm: [0; 16] },
            netns: 1,
            sock_ino: 1,
            late: false,
            sampling: 0,
        };
        Exchange {
            conn: Arc::new(conn),
            protocol: Protocol::Redis,
            side: Role::Server,
            start: Nanos::ZERO,
            answered: None,
            end: None,
            method: Token::from(method),
            target: Text::from(target),
            status: Status::Ok,
            code: Token::new(),
            addresses: Addresses::new(),
            no_answer: None,
            session: None,
            trace: None,
            number: 1,
            id: 0,
            asked_by: 0,
            answered_by: 0,
            request_messages: 0,
            response_messages: 0,
            request_bytes: 0,
            response_bytes: 0,
            one_way: false,
            sampling: 0,
        }
    }

    fn said(stage: &mut Converge, dialect: Dialect, method: &str, target: &str) -> [String; 3] {
        // SELECT, SET, PING and QUIT are in its table of methods, EXECUTE is not.
        let traits = Protocol::Redis.traits().unwrap();
        let query = stage.query(Nanos::ZERO, traits, &exchange(method, target), dialect);
        [query.method, query.endpoint, query.collection].map(|symbol| symbol.as_str().to_owned())
    }

    fn stage(endpoints: usize) -> Converge {
        Converge::new(ConvergeRules { endpoints, ..ConvergeRules::default() })
    }

    #[test]
    fn a_statement_is_counted_as_its_summary() {
        let mut stage = stage(100);
        for (dialect, method, target, expected) in [
            (Dialect::Mysql, "SELECT", "SELECT * FROM `t` WHERE a = 'secret'", ["SELECT", "SELECT `t`", "`t`"]),
            (Dialect::Mysql, "EXECUTE", "SELECT a FROM t, u", ["SELECT", "SELECT t u", ""]),
            (Dialect::Mysql, "EXECUTE", "EXECUTE s1", ["_OTHER", "EXECUTE", ""]),
            (Dialect::Postgres, "SELECT", "select 1 from \"T\";", ["SELECT", "select \"T\"", "\"T\""]),
            (Dialect::Postgres, "SELECT", "SELECT 1", ["SELECT", "SELECT", ""]),
            (Dialect::Postgres, "SET", "SET", ["SET", "SET", ""]),
            (Dialect::Mysql, "PING", "", ["PING", "PING", ""]),
            // The name of a database, or a table.
            (Dialect::Mysql, "QUIT", "cache", ["QUIT", "QUIT", ""]),
            (Dialect::Mysql, "FROBNICATE", "frobnicate secret", ["_OTHER", "_OTHER", ""]),
        ] {
            assert_eq!(said(&mut stage, dialect, method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_text_that_was_cut_loses_the_name_at_its_end() {
        let mut stage = stage(100);
        let long = format!("SELECT 1 FROM t, {}", "u".repeat(2 * MAX_TARGET));
        assert_eq!(said(&mut stage, Dialect::Mysql, "SELECT", &long), ["SELECT", "SELECT t", "t"]);
        let wide = format!("SELECT 1 FROM t, a{}", "ü".repeat(MAX_TARGET));
        assert_eq!(said(&mut stage, Dialect::Mysql, "SELECT", &wide)[1], "SELECT t");
    }

    #[test]
    fn made_up_names_end_at_the_budget() {
        let mut stage = stage(10);
        for n in 0..50 {
            let [_, endpoint, collection] =
                said(&mut stage, Dialect::Mysql, "SELECT", &format!("SELECT 1 FROM table_{n}"));
            let expected = if n < 10 {
                (format!("SELECT table_{n}"), format!("table_{n}"))
            } else {
                (OVERFLOW.into(), String::new())
            };
            assert_eq!((endpoint, collection), expected);
        }
        assert_eq!(stage.overflowed(), 40);
        let long = format!("SELECT 1 FROM {}", "x".repeat(300));
        assert_eq!(said(&mut stage, Dialect::Mysql, "SELECT", &long)[2], "", "no collection that no summary holds");
    }

    #[test]
    fn databases_have_a_budget_of_their_own() {
        let mut stage = stage(10);
        let mut of = |name: &str| {
            let mut exchange = exchange("GET", "");
            exchange.session = Some(Arc::new(Session { user: Text::new(), namespace: Text::from(name) }));
            stage.namespace(Nanos::ZERO, &exchange).as_str().to_owned()
        };
        for n in 0..DATABASES_PER_SERVICE {
            assert_eq!(of(&format!("db{n}")), format!("db{n}"));
        }
        assert_eq!(of("one more"), OVERFLOW);
        assert_eq!(of("db0"), "db0");
        assert_eq!(of(""), "");
        assert_eq!(said(&mut stage, Dialect::Mysql, "SELECT", "SELECT 1 FROM t")[1], "SELECT t");
    }
}
