//! Clients of MariaDB, and what each sends over the wire, request by request. The drivers' versions are pinned, so what they
//! send of their own accord (settings, pings, resets) is known as well.
//!
//! An operation is the first keyword of a query's text, or the name of the command.

use super::sql::{Client, Language};
use crate::servers::mariadb::Event;
use std::collections::BTreeMap;

/// What `clients/sql/mariadb.sql` makes the command line client send. `USE` makes it ask `SELECT DATABASE()` too.
const SCRIPT: &[(&str, &str, u64)] = &[
    ("TRUNCATE", "", 1),
    ("INSERT", "", 1),
    ("INSERT", "1062", 1),
    ("SELECT", "", 6),
    ("SELEC", "1064", 1),
    ("SELECT", "1146", 1),
    ("INIT_DB", "", 2),
    ("BEGIN", "", 2),
    ("UPDATE", "", 1),
    ("COMMIT", "", 1),
    ("DELETE", "", 1),
    ("ROLLBACK", "", 1),
    ("SHOW", "", 1),
    ("CREATE", "", 1),
    ("DROP", "", 1),
    // Prepared by SQL, not by the command.
    ("PREPARE", "", 1),
    ("SET", "", 1),
    ("EXECUTE", "", 2),
    ("DEALLOCATE", "", 1),
    ("LOAD", "", 1),
    ("QUIT", "", 1),
];
const SCRIPT_FURTHER: &[(&str, u64)] = &[("SELECT", 1), ("DELETE", 1)];

/// All that run to their end.
pub const CLIENTS: &[Client] = &[
    Client {
        name: "mariadb",
        language: Language::Mariadb(&[]),
        requests: SCRIPT,
        further: SCRIPT_FURTHER,
        again: &[],
        logins: 1,
        besides: &[],
    },
    // The same, compressed by zlib.
    Client {
        name: "mariadb_zlib",
        language: Language::Mariadb(&["--compress"]),
        requests: SCRIPT,
        further: SCRIPT_FURTHER,
        again: &[],
        logins: 1,
        besides: &[],
    },
    PYMYSQL,
    // Pure Python; sends a reset before each further execute, and asks after each cursor whether the server is there.
    Client {
        name: "connector",
        language: Language::Python,
        requests: &[
            ("TRUNCATE", "", 1),
            ("SET", "", 6),
            ("PING", "", 5),
            ("PREPARE", "", 2),
            ("PREPARE", "1146", 1),
            ("EXECUTE", "", 35),
            ("EXECUTE", "1062", 1),
            ("RESET", "", 36),
            ("CLOSE", "", 2),
            ("SELECT", "", 1),
            ("RESET_CONNECTION", "", 1),
            ("CHANGE_USER", "", 1),
            ("QUIT", "", 1),
        ],
        further: &[],
        again: &[],
        logins: 1,
        besides: &[],
    },
    Client {
        name: "mysql2",
        language: Language::Node,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 20),
            ("INSERT", "1062", 1),
            ("SELECT", "", 47),
            ("SELECT", "1064", 1),
            ("SELECT", "1146", 1),
            ("PREPARE", "", 4),
            ("PREPARE", "1146", 1),
            ("EXECUTE", "", 37),
            ("EXECUTE", "1062", 1),
            // One of the statements is closed twice: by the cache that it falls out of, and by the call.
            ("CLOSE", "", 5),
            ("START", "", 2),
            ("DELETE", "", 2),
            ("ROLLBACK", "", 1),
            ("COMMIT", "", 1),
            ("PING", "", 3),
            ("CHANGE_USER", "", 1),
            ("QUIT", "", 1),
        ],
        further: &[("UPDATE", 1), ("SELECT", 1)],
        again: &[],
        logins: 1,
        besides: &[],
    },
    // With values written into the text by the driver, then, on another connection, prepared by the server.
    Client {
        name: "pdo_mysql",
        language: Language::Php,
        requests: &[
            ("TRUNCATE", "", 1),
            ("INSERT", "", 10),
            ("INSERT", "1062", 1),
            ("SELECT", "", 30),
            ("SELECT", "1146", 1),
            ("SELECT", "1064", 1),
            ("UPDATE", "", 1),
            ("START", "", 2),
            ("DELETE", "", 2),
            ("ROLLBACK", "", 1),
            ("COMMIT", "", 1),
            ("PREPARE", "", 2),
            ("PREPARE", "1146", 1),
            ("EXECUTE", "", 35),
            ("EXECUTE", "1062", 1),
            ("CLOSE", "", 2),
            ("QUIT", "", 2),
        ],
        further: &[],
        again: &[],
        logins: 2,
        besides: &[],
    },
    Client {
        name: "mysqli",
        language: Language::Php,
        requests: &[
            ("TRUNCATE", "", 1),
            ("PREPARE", "", 3),
            ("SEND_LONG_DATA", "", 12),
            ("EXECUTE", "", 6),
            ("RESET", "", 1),
            ("FETCH", "", 11),
            ("CLOSE", "", 3),
            // Several statements a request: switched on and off.
            ("SET_OPTION", "", 2),
            ("SELECT", "", 1),
            ("SELECT", "1054", 1),
            ("INIT_DB", "", 1),
            ("STATISTICS", "", 1),
            ("CHANGE_USER", "", 1),
            ("QUIT", "", 1),
        ],
        further: &[("SELECT", 2)],
        again: &[],
        logins: 1,
        besides: &[],
    },
    Client {
        name: "gomysql",
        language: Language::Go,
        requests: &[
            ("TRUNCATE", "", 1),
            ("PREPARE", "", 24),
            ("PREPARE", "1146", 1),
            ("EXECUTE", "", 47),
            ("EXECUTE", "1062", 1),
            ("CLOSE", "", 24),
            ("INSERT", "1062", 1),
            ("SELECT", "", 1),
            ("SELECT", "1064", 1),
            ("UPDATE", "", 11),
            ("START", "", 2),
            ("COMMIT", "", 1),
            ("ROLLBACK", "", 1),
            ("PING", "", 3),
            ("QUIT", "", 1),
        ],
        further: &[("DELETE", 1)],
        again: &[],
        logins: 1,
        besides: &[],
    },
    // Its first SELECT asks for the server's variables.
    Client {
        name: "jdbc_mysql",
        language: Language::Java,
        requests: &[
            ("TRUNCATE", "", 1),
            ("PREPARE", "", 3),
            ("EXECUTE", "", 75),
            ("EXECUTE", "1062", 1),
            ("SELECT", "", 3),
            ("SELECT", "1064", 1),
            ("SELECT", "1146", 1),
            ("SET", "", 4),
            ("DELETE", "", 2),
            ("COMMIT", "", 1),
            ("ROLLBACK", "", 1),
            ("PING", "", 3),
            ("QUIT", "", 1),
        ],
        further: &[("SELECT", 1)],
        again: &[],
        logins: 1,
        besides: &[],
    },
    // Sends the executes of a batch before it reads the first answer.
    Client {
        name: "jdbc_mariadb",
        language: Language::Java,
        requests: &[
            ("TRUNCATE", "", 1),
            ("PREPARE", "", 3),
            ("EXECUTE", "", 75),
            ("EXECUTE", "1062", 1),
            ("SELECT", "", 2),
            ("SELECT", "1064", 1),
            ("SELECT", "1146", 1),
            ("SET", "", 3),
            ("DELETE", "", 2),
            ("COMMIT", "", 1),
            ("ROLLBACK", "", 1),
            ("PING", "", 3),
            ("QUIT", "", 1),
        ],
        further: &[("SELECT", 1)],
        again: &[],
        logins: 1,
        besides: &[],
    },
];

/// Two of the requests are 17 MiB long, one as a question and one as an answer.
pub const PYMYSQL: Client = Client {
    name: "pymysql",
    language: Language::Python,
    requests: &[
        ("TRUNCATE", "", 1),
        ("SET", "", 1),
        ("INSERT", "", 21),
        ("INSERT", "1062", 1),
        ("SELECT", "", 34),
        ("SELECT", "1064", 1),
        ("SELECT", "1146", 1),
        ("UPDATE", "", 10),
        ("DELETE", "", 6),
        ("BEGIN", "", 2),
        ("COMMIT", "", 1),
        ("ROLLBACK", "", 1),
        ("INIT_DB", "", 2),
        ("PING", "", 3),
        ("LOAD", "", 1),
        ("QUIT", "", 1),
    ],
    further: &[("UPDATE", 1), ("SELECT", 1)],
    again: &[],
    logins: 1,
    besides: &[],
};

/// Stops after it has prepared a SELECT and an INSERT and executed each once. Listed is what comes then: the SELECT 11 times
/// and the INSERT 7 times; a new UPDATE 5 times, and a SELECT that is not prepared 3 times.
pub const PATIENT: Client = Client {
    name: "connector_patient",
    language: Language::Python,
    requests: &[
        ("EXECUTE", "", 23),
        ("RESET", "", 23),
        ("PREPARE", "", 1),
        ("PING", "", 2),
        ("SELECT", "", 3),
        ("QUIT", "", 1),
    ],
    further: &[],
    again: &[],
    logins: 1,
    besides: &[],
};

/// Names of all users.
#[must_use]
pub fn users() -> Vec<&'static str> {
    CLIENTS.iter().chain([&PATIENT]).map(|client| client.name).collect()
}

/// What the server must have counted for a client: the events of the performance schema, by the operation that they stand
/// for. What it cannot parse it counts under no operation.
#[must_use]
pub fn expected(client: &Client) -> BTreeMap<&'static str, Event> {
    let mut events: BTreeMap<&'static str, Event> = BTreeMap::new();
    for (operation, code, count) in client.requests {
        let operation = match (*operation, *code) {
            (_, "1064") => "",
            ("START", _) => "BEGIN",
            (other, _) => other,
        };
        let event = events.entry(operation).or_default();
        event.count += count;
        event.errors += if code.is_empty() { 0 } else { *count };
    }
    for (operation, count) in client.further {
        events.entry(operation).or_default().count += count;
    }
    events
}

/// The same names for what the server says.
#[must_use]
pub fn by_operation(events: &BTreeMap<String, Event>) -> BTreeMap<&str, Event> {
    let mut sums: BTreeMap<&str, Event> = BTreeMap::new();
    for (name, event) in events {
        let sum =
            sums.entry(OPERATIONS.iter().find(|(known, _)| known == name).map_or(name, |(_, to)| to)).or_default();
        sum.count += event.count;
        sum.errors += event.errors;
    }
    sums
}

/// The global counters (`SHOW GLOBAL STATUS`) that an event of the performance schema goes into, but for those of `SELECT` and
/// the like, which count what is executed by its command as well, and that of closes, which leaves out what is not there.
pub fn counters(event: &str) -> impl Iterator<Item = &'static str> {
    COUNTERS.iter().filter(move |(name, _)| *name == event).map(|(_, counter)| *counter)
}

const COUNTERS: &[(&str, &str)] = &[
    ("statement/com/Execute", "Com_stmt_execute"),
    ("statement/com/Prepare", "Com_stmt_prepare"),
    ("statement/com/Reset stmt", "Com_stmt_reset"),
    ("statement/com/Long Data", "Com_stmt_send_long_data"),
    ("statement/com/Fetch", "Com_stmt_fetch"),
    ("statement/com/Init DB", "Com_change_db"),
    ("statement/sql/load", "Com_load"),
    ("statement/sql/begin", "Com_begin"),
    ("statement/sql/commit", "Com_commit"),
    ("statement/sql/rollback", "Com_rollback"),
    ("statement/sql/prepare_sql", "Com_prepare_sql"),
    ("statement/sql/prepare_sql", "Com_stmt_prepare"),
    ("statement/sql/execute_sql", "Com_execute_sql"),
    ("statement/sql/execute_sql", "Com_stmt_execute"),
];

const OPERATIONS: &[(&str, &str)] = &[
    ("statement/sql/select", "SELECT"),
    ("statement/sql/insert", "INSERT"),
    ("statement/sql/update", "UPDATE"),
    ("statement/sql/delete", "DELETE"),
    ("statement/sql/begin", "BEGIN"),
    ("statement/sql/commit", "COMMIT"),
    ("statement/sql/rollback", "ROLLBACK"),
    ("statement/sql/set_option", "SET"),
    ("statement/sql/show_tables", "SHOW"),
    ("statement/sql/create_table", "CREATE"),
    ("statement/sql/drop_table", "DROP"),
    ("statement/sql/truncate", "TRUNCATE"),
    ("statement/sql/load", "LOAD"),
    ("statement/sql/prepare_sql", "PREPARE"),
    ("statement/sql/execute_sql", "EXECUTE"),
    ("statement/sql/dealloc_sql", "DEALLOCATE"),
    ("statement/sql/error", ""),
    ("statement/com/Init DB", "INIT_DB"),
    ("statement/com/Ping", "PING"),
    ("statement/com/Statistics", "STATISTICS"),
    ("statement/com/Change user", "CHANGE_USER"),
    ("statement/com/Reset connection", "RESET_CONNECTION"),
    ("statement/com/Set option", "SET_OPTION"),
    ("statement/com/Prepare", "PREPARE"),
    ("statement/com/Execute", "EXECUTE"),
    ("statement/com/Long Data", "SEND_LONG_DATA"),
    ("statement/com/Reset stmt", "RESET"),
    ("statement/com/Fetch", "FETCH"),
    ("statement/com/Close stmt", "CLOSE"),
    ("statement/com/Quit", "QUIT"),
];
