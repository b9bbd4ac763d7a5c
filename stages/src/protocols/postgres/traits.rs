//! What the stages want to know of PostgreSQL.

use super::Postgres;
use crate::metric::Metric;
use crate::protocols::traits::{Dialect, EdgeKind, Endpoint, Growth, Methods, Patience, Traits, Unlisted};
use crate::protocols::{Budget, Pairing, Protocol, Wire};

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Postgres,
    over: None,
    name: "postgresql",
    probe: Postgres::probe,
    // The server, and PgBouncer.
    ports: &[5432, 6432],
    // Statements are long, and pipelines hold many; how they went stands at the end of what they give.
    budget: Budget::head(14, 13),
    growth: Growth::Responses,
    pairing: Pairing::Fifo,
    patience: Patience::Usual,
    // Drivers pipeline.
    asks_again_unanswered: true,
    // The parser makes up for requests that it could not read.
    orphans_tell: false,
    methods: Methods::Table { words: METHODS, unlisted: |_| Unlisted::Other },
    is_code: is_sqlstate,
    endpoint: Endpoint::Query(Dialect::Postgres),
    server_metric: Metric::DbServerOperationDuration,
    client_metric: Metric::DbClientOperationDuration,
    system: Some("postgresql"),
    edge: EdgeKind::Database,
    is_server_error: |_| true,
};

/// First words of statements (PostgreSQL documentation, "SQL Commands", and "Streaming Replication Protocol"), and names of
/// messages.
const METHODS: &str = "\
    ABORT ALTER ANALYZE ANALYSE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE DISCARD \
    DO DROP END EXECUTE EXPLAIN FETCH GRANT IMPORT INSERT LISTEN LOAD LOCK MERGE MOVE NOTIFY PREPARE REASSIGN REFRESH \
    REINDEX RELEASE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW START TABLE TRUNCATE UNLISTEN UPDATE VACUUM VALUES \
    WITH IDENTIFY_SYSTEM READ_REPLICATION_SLOT CREATE_REPLICATION_SLOT DROP_REPLICATION_SLOT ALTER_REPLICATION_SLOT \
    START_REPLICATION TIMELINE_HISTORY BASE_BACKUP UPLOAD_MANIFEST \
    STARTUP SSL_REQUEST GSSENC_REQUEST CANCEL_REQUEST QUERY BIND DESCRIBE SYNC FUNCTION_CALL TERMINATE";

/// "PostgreSQL Error Codes": five digits or upper-case letters.
fn is_sqlstate(code: &[u8]) -> bool {
    code.len() == 5 && code.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sqlstates() {
        assert!(is_sqlstate(b"42601") && is_sqlstate(b"25P02") && is_sqlstate(b"XX000"));
        assert!(!is_sqlstate(b"4260") && !is_sqlstate(b"426011") && !is_sqlstate(b"4260a") && !is_sqlstate(b""));
    }
}
