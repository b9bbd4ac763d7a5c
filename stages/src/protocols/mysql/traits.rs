//! What the stages want to know of MySQL.

use super::Mysql;
use crate::metric::Metric;
use crate::protocols::traits::{Dialect, EdgeKind, Endpoint, Growth, Methods, Patience, Traits, Unlisted};
use crate::protocols::{Budget, Pairing, Protocol, Wire};
use crate::text::Token;

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Mysql,
    over: None,
    name: "mysql",
    probe: Mysql::probe,
    ports: &[3306, 3307],
    // Of a statement 1 KiB is kept; an execute needs 10 bytes. Most answers end within 8 KiB; of longer ones the first packet says
    // how they went, and progress when they end.
    budget: Budget::head(12, 13),
    // Connectors that pipeline have many answers in a turn, each to be read.
    growth: Growth::Responses,
    pairing: Pairing::Fifo,
    patience: Patience::Usual,
    // But for those, a connection asks when it was answered.
    asks_again_unanswered: false,
    // The parser makes up for requests that it could not read.
    orphans_tell: false,
    methods: Methods::Table { words: METHODS, unlisted },
    is_code: |code| (1..=5).contains(&code.len()) && code.iter().all(u8::is_ascii_digit),
    endpoint: Endpoint::Query(Dialect::Mysql),
    server_metric: Metric::DbServerOperationDuration,
    client_metric: Metric::DbClientOperationDuration,
    system: Some("mysql"),
    edge: EdgeKind::Database,
    is_server_error: |_| true,
};

macro_rules! verbs {
    () => {
        "ALTER ANALYZE BACKUP BEGIN BINLOG CACHE CALL CHANGE CHECK CHECKSUM COMMIT CREATE DEALLOCATE DELETE DESC DESCRIBE \
         DO DROP EXECUTE EXPLAIN FLUSH GET GRANT HANDLER HELP IMPORT INSERT INSTALL KILL LOAD LOCK OPTIMIZE PREPARE PURGE \
         RELEASE RENAME REPAIR REPLACE RESET RESIGNAL RESTART REVOKE ROLLBACK SAVEPOINT SELECT SET SHOW SHUTDOWN SIGNAL \
         START STOP TABLE TRUNCATE UNINSTALL UNLOCK UPDATE USE VALUES WITH XA"
    };
}

/// First words of statements (MySQL 8.4 manual, chapter 15; MariaDB's `BACKUP`).
pub(super) const VERBS: &str = verbs!();

/// And the names of commands that hold none.
const METHODS: &str = concat!(
    verbs!(),
    " LOGIN SSL_REQUEST QUIT INIT_DB QUERY FIELD_LIST CREATE_DB DROP_DB REFRESH STATISTICS PROCESS_INFO PROCESS_KILL DEBUG PING \
     CHANGE_USER BINLOG_DUMP TABLE_DUMP REGISTER_SLAVE SEND_LONG_DATA CLOSE SET_OPTION FETCH BINLOG_DUMP_GTID \
     RESET_CONNECTION BULK_EXECUTE"
);

/// Words are the same in any case; one that is not in the table may be anything.
fn unlisted(method: &str) -> Unlisted {
    Unlisted::Known(Token::from_wire_upper(method.as_bytes()))
}
