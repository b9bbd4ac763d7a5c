//! Words that mean something to the summary.

/// Longest of them.
const LONGEST: usize = 13;

/// What a word may mean. Which of its meanings counts depends on where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Begins a query, anywhere.
    Select,
    /// Begins a statement that changes rows.
    Change(Change),
    /// Begins a statement of another kind.
    Statement(Statement),
    /// An object that CREATE and its kind are about.
    Object(Object),
    /// Names that are not collections come first.
    With,
    /// Tables follow.
    From,
    /// A table follows, in a list of tables.
    Join,
    /// A table follows, in some statements.
    Into,
    /// Tables follow, in DELETE and MERGE.
    Using,
    /// UNION and its kind: the SELECT behind it is the same operation.
    SetOperator,
    /// `IS DISTINCT FROM` is no FROM.
    Distinct,
    /// A statement may follow in parentheses.
    As,
    /// The same, and a kind of view.
    Materialized,
    /// A list of changes follows; a statement, too.
    Set,
    /// Rows follow; a statement, too.
    Values,
    /// Ends a list of tables.
    Clause,
    /// Stands between a keyword and the name that belongs to it.
    Noise,
    /// Ends the search for an object.
    Preposition,
    /// The same, and ends a list of tables.
    For,
    /// A table that lives shortly.
    Temporary,
    /// Anything else.
    Other,
}

/// Statements that change rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// INSERT, REPLACE.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
}

/// Statements by what is worth saying of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statement {
    /// Another statement may follow (EXPLAIN).
    Prefix,
    /// A kind of object and its name follow (CREATE).
    Define,
    /// A list of objects follows (DROP).
    DefineList,
    /// The same, and the kind may be left out (TRUNCATE).
    MaybeDefine,
    /// A name follows that is no collection (CALL).
    Call,
    /// A collection follows (COPY).
    Copy,
    /// A collection follows behind INTO (LOAD).
    Load,
    /// Only itself; names in it are made up as the program runs (SAVEPOINT), or say little (SET).
    Bare,
    /// The same, and a SELECT in it is no query (GRANT).
    Quiet,
}

/// Objects by what is worth saying of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// A table or view: a collection.
    Table,
    /// A definition that may hold statements, to the end of the text.
    Routine,
    /// Anything else.
    Thing,
}

impl Key {
    /// The meaning of a word, whatever its case.
    pub(super) fn of(word: &[u8]) -> Self {
        let mut upper = [0; LONGEST];
        let Some(room) = upper.get_mut(..word.len()) else { return Self::Other };
        room.copy_from_slice(word);
        room.make_ascii_uppercase();
        match &*room {
            b"SELECT" => Self::Select,
            b"INSERT" | b"REPLACE" => Self::Change(Change::Insert),
            b"UPDATE" => Self::Change(Change::Update),
            b"DELETE" => Self::Change(Change::Delete),
            b"MERGE" => Self::Change(Change::Merge),
            b"WITH" => Self::With,
            b"FROM" => Self::From,
            b"JOIN" | b"STRAIGHT_JOIN" => Self::Join,
            b"INTO" => Self::Into,
            b"USING" => Self::Using,
            b"AS" => Self::As,
            b"SET" => Self::Set,
            b"VALUES" => Self::Values,
            b"DISTINCT" => Self::Distinct,
            b"UNION" | b"EXCEPT" | b"INTERSECT" => Self::SetOperator,
            b"WHERE" | b"GROUP" | b"ORDER" | b"HAVING" | b"LIMIT" | b"RETURNING" | b"WINDOW" | b"OFFSET" | b"WHEN"
            | b"DUPLICATE" | b"CONFLICT" => Self::Clause,
            b"IF" | b"NOT" | b"EXISTS" | b"ONLY" | b"LATERAL" | b"IGNORE" | b"LOW_PRIORITY" | b"HIGH_PRIORITY"
            | b"DELAYED" | b"CONCURRENTLY" | b"RECURSIVE" => Self::Noise,
            b"ON" | b"IN" | b"TO" => Self::Preposition,
            b"FOR" => Self::For,
            other => Self::rarer(other),
        }
    }

    fn rarer(word: &[u8]) -> Self {
        match word {
            b"MATERIALIZED" => Self::Materialized,
            b"TEMP" | b"TEMPORARY" | b"UNLOGGED" => Self::Temporary,
            b"TABLE" | b"TABLES" | b"VIEW" => Self::Object(Object::Table),
            b"PROCEDURE" | b"FUNCTION" | b"TRIGGER" | b"EVENT" | b"PACKAGE" | b"RULE" => Self::Object(Object::Routine),
            b"INDEX" | b"DATABASE" | b"SCHEMA" | b"SEQUENCE" | b"USER" | b"ROLE" | b"TYPE" | b"DOMAIN"
            | b"EXTENSION" | b"SERVER" | b"TABLESPACE" | b"POLICY" | b"PUBLICATION" | b"SUBSCRIPTION"
            | b"COLLATION" | b"STATISTICS" => Self::Object(Object::Thing),
            other => Self::statement(other).map_or(Self::Other, Self::Statement),
        }
    }

    fn statement(word: &[u8]) -> Option<Statement> {
        Some(match word {
            b"EXPLAIN" | b"PREPARE" | b"DECLARE" => Statement::Prefix,
            b"CREATE" | b"ALTER" | b"RENAME" | b"REFRESH" | b"ANALYZE" | b"ANALYSE" | b"OPTIMIZE" | b"REPAIR"
            | b"CHECK" | b"CHECKSUM" | b"REINDEX" => Statement::Define,
            b"DROP" => Statement::DefineList,
            b"TRUNCATE" | b"LOCK" => Statement::MaybeDefine,
            b"CALL" | b"EXEC" | b"USE" => Statement::Call,
            b"COPY" | b"DESCRIBE" | b"DESC" => Statement::Copy,
            b"LOAD" => Statement::Load,
            b"GRANT" | b"REVOKE" | b"COMMENT" | b"SECURITY" | b"IMPORT" | b"REASSIGN" => Statement::Quiet,
            b"SHOW" | b"BEGIN" | b"START" | b"COMMIT" | b"ROLLBACK" | b"END" | b"ABORT" | b"SAVEPOINT" | b"RELEASE"
            | b"EXECUTE" | b"DEALLOCATE" | b"FETCH" | b"MOVE" | b"OPEN" | b"CLOSE" | b"LISTEN" | b"NOTIFY"
            | b"UNLISTEN" | b"RESET" | b"DISCARD" | b"VACUUM" | b"CLUSTER" | b"CHECKPOINT" | b"DO" | b"KILL"
            | b"FLUSH" | b"XA" | b"HANDLER" | b"UNLOCK" | b"HELP" | b"PURGE" | b"CHANGE" | b"STOP" | b"BINLOG"
            | b"CACHE" | b"INSTALL" | b"UNINSTALL" | b"SIGNAL" | b"RESIGNAL" | b"GET" | b"SHUTDOWN" | b"RESTART"
            | b"CLONE" => Statement::Bare,
            _ => return None,
        })
    }
}
