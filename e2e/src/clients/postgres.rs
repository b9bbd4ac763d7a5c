//! Clients of PostgreSQL, and what each sends over the wire, request by request: a simple query is one, and each Execute of
//! the extended protocol. The drivers' versions are pinned, so what they send of their own accord (settings, what they close)
//! is known as well.
//!
//! An operation is the first keyword of a statement's text; for an Execute, of the statement that it executes. What is prepared
//! by itself is PREPARE.

use super::sql::{Client, Language, Requests};
use std::collections::BTreeMap;

/// All that run to their end. The last logs in by MD5.
pub const CLIENTS: &[Client] = &[
    // What `clients/sql/psql.sql` makes it send. `\gdesc` has a SELECT parsed and described, and another one executed.
    Client {
        name: "psql",
        language: Language::Psql,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 1),
            ("INSERT", "23505", 1),
            ("SELECT", "", 5),
            ("SELEC", "42601", 1),
            ("SELECT", "42P01", 1),
            ("BEGIN", "", 2),
            ("UPDATE", "", 1),
            ("COMMIT", "", 1),
            ("DELETE", "", 1),
            ("ROLLBACK", "", 1),
            ("CREATE", "", 1),
            ("DROP", "", 1),
            // Prepared by SQL, not by the protocol.
            ("PREPARE", "", 1),
            ("EXECUTE", "", 2),
            ("DEALLOCATE", "", 1),
            ("COPY", "", 2),
            ("DO", "", 1),
            ("EXPLAIN", "", 1),
            ("SHOW", "", 1),
        ],
        further: &[("SELECT", 1), ("DELETE", 1)],
        again: &[],
        logins: 1,
        besides: &[("SSL_REQUEST", "", 1), ("PREPARE", "", 1), ("DESCRIBE", "", 1), ("TERMINATE", "", 1)],
    },
    PSYCOPG,
    // Everything with values is prepared under a name; a batch of executes under one Sync.
    Client {
        name: "asyncpg",
        language: Language::Python,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 10),
            ("INSERT", "23505", 1),
            ("SELECT", "", 26),
            // Cancelled over a connection of its own.
            ("SELECT", "57014", 1),
            ("UPDATE", "", 8),
            ("COPY", "", 1),
            ("BEGIN", "", 1),
            ("DELETE", "", 1),
            ("COMMIT", "", 1),
        ],
        further: &[],
        again: &[],
        logins: 1,
        besides: &[("SSL_REQUEST", "", 2), ("PREPARE", "", 6), ("CANCEL_REQUEST", "", 1), ("TERMINATE", "", 1)],
    },
    Client {
        name: "pg",
        language: Language::Node,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 20),
            ("INSERT", "23505", 2),
            // Three of them through one portal.
            ("SELECT", "", 60),
            ("SELECT", "42601", 1),
            ("SELECT", "42P01", 1),
            ("UPDATE", "", 10),
            ("BEGIN", "", 2),
            ("DELETE", "", 2),
            ("ROLLBACK", "", 1),
            ("COMMIT", "", 1),
            // An empty query.
            ("", "", 1),
        ],
        further: &[("UPDATE", 1), ("SELECT", 1)],
        again: &[("SELECT", 2)],
        logins: 1,
        besides: &[("TERMINATE", "", 1)],
    },
    Client {
        name: "pdo_pgsql",
        language: Language::Php,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 20),
            ("INSERT", "23505", 2),
            ("SELECT", "", 55),
            ("SELECT", "42601", 1),
            ("SELECT", "42P01", 1),
            ("PREPARE", "42P01", 1),
            ("UPDATE", "", 1),
            ("BEGIN", "", 2),
            ("DELETE", "", 2),
            ("ROLLBACK", "", 1),
            ("COMMIT", "", 1),
            ("DEALLOCATE", "", 2),
            ("COPY", "", 2),
        ],
        further: &[],
        again: &[],
        logins: 2,
        besides: &[("SSL_REQUEST", "", 2), ("PREPARE", "", 2), ("TERMINATE", "", 2)],
    },
    // By turns prepared under a name, without a name, and by the simple protocol; a batch under one Sync.
    Client {
        name: "pgx",
        language: Language::Go,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 20),
            ("INSERT", "23505", 1),
            ("SELECT", "", 38),
            ("SELECT", "42601", 1),
            ("PREPARE", "42P01", 1),
            ("UPDATE", "", 30),
            ("DELETE", "", 14),
            ("BEGIN", "", 2),
            ("COMMIT", "", 1),
            ("ROLLBACK", "", 1),
            ("COPY", "", 1),
            // Its ping is a comment.
            ("", "", 1),
        ],
        further: &[],
        again: &[],
        logins: 1,
        // Statements with a name, those that are described each time, and what is asked about the columns of a COPY.
        besides: &[("PREPARE", "", 16), ("TERMINATE", "", 1)],
    },
    Client {
        name: "jdbc_postgres",
        language: Language::Java,
        requests: &[
            ("TRUNCATE", "", 1),
            ("SET", "", 1),
            ("INSERT", "", 10),
            ("INSERT", "23505", 1),
            // Three of them through one portal.
            ("SELECT", "", 30),
            ("SELECT", "42601", 1),
            ("SELECT", "42P01", 1),
            ("UPDATE", "", 41),
            ("BEGIN", "", 3),
            ("DELETE", "", 2),
            ("ROLLBACK", "", 1),
            ("COMMIT", "", 2),
            ("COPY", "", 1),
        ],
        further: &[],
        // Its COMMIT has a name: pg_stat_statements counts such a statement once each time that it is parsed.
        again: &[("SELECT", 2), ("COMMIT", 1)],
        logins: 1,
        besides: &[("TERMINATE", "", 1)],
    },
];

/// Unnamed, named and pipelined statements, COPY both ways, a cursor, a notification.
pub const PSYCOPG: Client = Client {
    name: "psycopg",
    language: Language::Python,
    requests: &[
        ("TRUNCATE", "", 1),
        ("INSERT", "", 21),
        ("INSERT", "23505", 1),
        ("SELECT", "", 48),
        ("SELECT", "42601", 1),
        ("SELECT", "42P01", 1),
        ("SELECT", "22012", 1),
        ("UPDATE", "", 10),
        ("DELETE", "", 6),
        ("BEGIN", "", 3),
        ("COMMIT", "", 2),
        ("ROLLBACK", "", 1),
        ("DEALLOCATE", "", 1),
        ("COPY", "", 2),
        ("LISTEN", "", 1),
        ("NOTIFY", "", 1),
        ("DECLARE", "", 1),
        ("FETCH", "", 4),
        ("CLOSE", "", 1),
    ],
    further: &[("UPDATE", 1), ("SELECT", 1)],
    again: &[],
    logins: 1,
    // Two statements get a name; the cursor's portal is described. Each pipeline ends with a Sync that follows another one.
    // Of the second pipeline, a SELECT is skipped because of the error before it.
    besides: &[
        ("SSL_REQUEST", "", 1),
        ("PREPARE", "", 2),
        ("DESCRIBE", "", 1),
        ("SYNC", "", 2),
        ("SELECT", "22012", 1),
        ("TERMINATE", "", 1),
    ],
};

/// Stops after it has prepared a SELECT and an INSERT and executed each once. Listed is what comes then: the SELECT 11 times
/// and the INSERT 7 times; a new UPDATE 5 times, and a SELECT without a name 3 times.
pub const PATIENT: Client = Client {
    name: "psycopg_patient",
    language: Language::Python,
    requests: &[("SELECT", "", 14), ("INSERT", "", 7), ("UPDATE", "", 5)],
    further: &[],
    again: &[],
    logins: 1,
    besides: &[("TERMINATE", "", 1)],
};

/// Names of all users.
#[must_use]
pub fn users() -> Vec<&'static str> {
    CLIENTS.iter().chain([&PATIENT]).map(|client| client.name).collect()
}

/// What the server's log must show of a client: a statement that is refused when it is prepared is there under its own first
/// word, and those here are SELECTs.
#[must_use]
pub fn logged(client: &Client) -> Requests {
    let mut requests = client.requests();
    if let Some(count) = requests.remove(&("PREPARE".to_owned(), "42P01".to_owned())) {
        *requests.entry(("SELECT".to_owned(), "42P01".to_owned())).or_default() += count;
    }
    requests
}

/// What `pg_stat_statements` must have counted for a client. It leaves out what failed, what is empty, and the statements of
/// SQL that prepare, execute and forget: what EXECUTE executes it counts under the text that begins with PREPARE.
#[must_use]
pub fn calls(client: &Client) -> BTreeMap<String, u64> {
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    let well = client.requests.iter().filter(|(_, code, _)| code.is_empty()).map(|(name, _, count)| (*name, *count));
    for (operation, count) in well.chain(client.further.iter().copied()) {
        let operation = match operation {
            "" | "PREPARE" | "DEALLOCATE" => continue,
            "EXECUTE" => "PREPARE",
            other => other,
        };
        *calls.entry(operation.to_owned()).or_default() += count;
    }
    for (operation, count) in client.again {
        calls.entry((*operation).to_owned()).and_modify(|calls| *calls -= count);
    }
    calls
}

/// Transactions that the client makes the server roll back: asked for, or by an error.
#[must_use]
pub fn rollbacks(client: &Client) -> u64 {
    let counts = client.requests.iter().filter(|(name, code, _)| *name == "ROLLBACK" || !code.is_empty());
    counts.map(|(_, _, count)| count).sum()
}
