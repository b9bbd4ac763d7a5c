//! Words that mean something to the summary.
//!
//! Found by a hash made at compile time: most words of a statement are names, and must be known as such at once.

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

/// Every word once.
#[rustfmt::skip]
const WORDS: &[(&str, Key)] = &[
    ("SELECT", Key::Select),
    ("INSERT", Key::Change(Change::Insert)),
    ("REPLACE", Key::Change(Change::Insert)),
    ("UPDATE", Key::Change(Change::Update)),
    ("DELETE", Key::Change(Change::Delete)),
    ("MERGE", Key::Change(Change::Merge)),
    ("WITH", Key::With),
    ("FROM", Key::From),
    ("JOIN", Key::Join),
    ("STRAIGHT_JOIN", Key::Join),
    ("INTO", Key::Into),
    ("USING", Key::Using),
    ("AS", Key::As),
    ("SET", Key::Set),
    ("VALUES", Key::Values),
    ("DISTINCT", Key::Distinct),
    ("UNION", Key::SetOperator),
    ("EXCEPT", Key::SetOperator),
    ("INTERSECT", Key::SetOperator),
    ("WHERE", Key::Clause),
    ("GROUP", Key::Clause),
    ("ORDER", Key::Clause),
    ("HAVING", Key::Clause),
    ("LIMIT", Key::Clause),
    ("RETURNING", Key::Clause),
    ("WINDOW", Key::Clause),
    ("OFFSET", Key::Clause),
    ("WHEN", Key::Clause),
    ("DUPLICATE", Key::Clause),
    ("CONFLICT", Key::Clause),
    ("IF", Key::Noise),
    ("NOT", Key::Noise),
    ("EXISTS", Key::Noise),
    ("ONLY", Key::Noise),
    ("LATERAL", Key::Noise),
    ("IGNORE", Key::Noise),
    ("LOW_PRIORITY", Key::Noise),
    ("HIGH_PRIORITY", Key::Noise),
    ("DELAYED", Key::Noise),
    ("CONCURRENTLY", Key::Noise),
    ("RECURSIVE", Key::Noise),
    ("ON", Key::Preposition),
    ("IN", Key::Preposition),
    ("TO", Key::Preposition),
    ("FOR", Key::For),
    ("MATERIALIZED", Key::Materialized),
    ("TEMP", Key::Temporary),
    ("TEMPORARY", Key::Temporary),
    ("UNLOGGED", Key::Temporary),
    ("TABLE", Key::Object(Object::Table)),
    ("TABLES", Key::Object(Object::Table)),
    ("VIEW", Key::Object(Object::Table)),
    ("PROCEDURE", Key::Object(Object::Routine)),
    ("FUNCTION", Key::Object(Object::Routine)),
    ("TRIGGER", Key::Object(Object::Routine)),
    ("EVENT", Key::Object(Object::Routine)),
    ("PACKAGE", Key::Object(Object::Routine)),
    ("RULE", Key::Object(Object::Routine)),
    ("INDEX", Key::Object(Object::Thing)),
    ("DATABASE", Key::Object(Object::Thing)),
    ("SCHEMA", Key::Object(Object::Thing)),
    ("SEQUENCE", Key::Object(Object::Thing)),
    ("USER", Key::Object(Object::Thing)),
    ("ROLE", Key::Object(Object::Thing)),
    ("TYPE", Key::Object(Object::Thing)),
    ("DOMAIN", Key::Object(Object::Thing)),
    ("EXTENSION", Key::Object(Object::Thing)),
    ("SERVER", Key::Object(Object::Thing)),
    ("TABLESPACE", Key::Object(Object::Thing)),
    ("POLICY", Key::Object(Object::Thing)),
    ("PUBLICATION", Key::Object(Object::Thing)),
    ("SUBSCRIPTION", Key::Object(Object::Thing)),
    ("COLLATION", Key::Object(Object::Thing)),
    ("STATISTICS", Key::Object(Object::Thing)),
    ("EXPLAIN", Key::Statement(Statement::Prefix)),
    ("PREPARE", Key::Statement(Statement::Prefix)),
    ("DECLARE", Key::Statement(Statement::Prefix)),
    ("CREATE", Key::Statement(Statement::Define)),
    ("ALTER", Key::Statement(Statement::Define)),
    ("RENAME", Key::Statement(Statement::Define)),
    ("REFRESH", Key::Statement(Statement::Define)),
    ("ANALYZE", Key::Statement(Statement::Define)),
    ("ANALYSE", Key::Statement(Statement::Define)),
    ("OPTIMIZE", Key::Statement(Statement::Define)),
    ("REPAIR", Key::Statement(Statement::Define)),
    ("CHECK", Key::Statement(Statement::Define)),
    ("CHECKSUM", Key::Statement(Statement::Define)),
    ("REINDEX", Key::Statement(Statement::Define)),
    ("DROP", Key::Statement(Statement::DefineList)),
    ("TRUNCATE", Key::Statement(Statement::MaybeDefine)),
    ("LOCK", Key::Statement(Statement::MaybeDefine)),
    ("CALL", Key::Statement(Statement::Call)),
    ("EXEC", Key::Statement(Statement::Call)),
    ("USE", Key::Statement(Statement::Call)),
    ("COPY", Key::Statement(Statement::Copy)),
    ("DESCRIBE", Key::Statement(Statement::Copy)),
    ("DESC", Key::Statement(Statement::Copy)),
    ("LOAD", Key::Statement(Statement::Load)),
    ("GRANT", Key::Statement(Statement::Quiet)),
    ("REVOKE", Key::Statement(Statement::Quiet)),
    ("COMMENT", Key::Statement(Statement::Quiet)),
    ("SECURITY", Key::Statement(Statement::Quiet)),
    ("IMPORT", Key::Statement(Statement::Quiet)),
    ("REASSIGN", Key::Statement(Statement::Quiet)),
    ("SHOW", Key::Statement(Statement::Bare)),
    ("BEGIN", Key::Statement(Statement::Bare)),
    ("START", Key::Statement(Statement::Bare)),
    ("COMMIT", Key::Statement(Statement::Bare)),
    ("ROLLBACK", Key::Statement(Statement::Bare)),
    ("END", Key::Statement(Statement::Bare)),
    ("ABORT", Key::Statement(Statement::Bare)),
    ("SAVEPOINT", Key::Statement(Statement::Bare)),
    ("RELEASE", Key::Statement(Statement::Bare)),
    ("EXECUTE", Key::Statement(Statement::Bare)),
    ("DEALLOCATE", Key::Statement(Statement::Bare)),
    ("FETCH", Key::Statement(Statement::Bare)),
    ("MOVE", Key::Statement(Statement::Bare)),
    ("OPEN", Key::Statement(Statement::Bare)),
    ("CLOSE", Key::Statement(Statement::Bare)),
    ("LISTEN", Key::Statement(Statement::Bare)),
    ("NOTIFY", Key::Statement(Statement::Bare)),
    ("UNLISTEN", Key::Statement(Statement::Bare)),
    ("RESET", Key::Statement(Statement::Bare)),
    ("DISCARD", Key::Statement(Statement::Bare)),
    ("VACUUM", Key::Statement(Statement::Bare)),
    ("CLUSTER", Key::Statement(Statement::Bare)),
    ("CHECKPOINT", Key::Statement(Statement::Bare)),
    ("DO", Key::Statement(Statement::Bare)),
    ("KILL", Key::Statement(Statement::Bare)),
    ("FLUSH", Key::Statement(Statement::Bare)),
    ("XA", Key::Statement(Statement::Bare)),
    ("HANDLER", Key::Statement(Statement::Bare)),
    ("UNLOCK", Key::Statement(Statement::Bare)),
    ("HELP", Key::Statement(Statement::Bare)),
    ("PURGE", Key::Statement(Statement::Bare)),
    ("CHANGE", Key::Statement(Statement::Bare)),
    ("STOP", Key::Statement(Statement::Bare)),
    ("BINLOG", Key::Statement(Statement::Bare)),
    ("CACHE", Key::Statement(Statement::Bare)),
    ("INSTALL", Key::Statement(Statement::Bare)),
    ("UNINSTALL", Key::Statement(Statement::Bare)),
    ("SIGNAL", Key::Statement(Statement::Bare)),
    ("RESIGNAL", Key::Statement(Statement::Bare)),
    ("GET", Key::Statement(Statement::Bare)),
    ("SHUTDOWN", Key::Statement(Statement::Bare)),
    ("RESTART", Key::Statement(Statement::Bare)),
    ("CLONE", Key::Statement(Statement::Bare)),
];

/// Places of the table: a power of two, most of them empty.
const PLACES: usize = 1024;
/// By hash, from there on: the number of a word in [`WORDS`], from 1; 0: none.
static TABLE: [u8; PLACES] = table();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated at compile time")]
const fn table() -> [u8; PLACES] {
    assert!(WORDS.len() < u8::MAX as usize);
    let mut table = [0; PLACES];
    let mut n = 0;
    while n < WORDS.len() {
        let word = WORDS[n].0.as_bytes();
        let mut at = place(word.len(), word[0], word[word.len() / 2], word[word.len() - 1]);
        while table[at] != 0 {
            at = (at + 1) % PLACES;
        }
        table[at] = n as u8 + 1;
        n += 1;
    }
    table
}

/// Where the search for a word begins: by its length and three of its letters, whatever their case.
const fn place(len: usize, first: u8, middle: u8, last: u8) -> usize {
    let (first, middle, last) = ((first & 0x1f) as usize, (middle & 0x1f) as usize, (last & 0x1f) as usize);
    (first.wrapping_mul(33) ^ middle.wrapping_mul(181) ^ last.wrapping_mul(5) ^ len.wrapping_mul(449)) % PLACES
}

impl Key {
    /// The meaning of a word, whatever its case.
    pub(super) fn of(word: &[u8]) -> Self {
        let (Some(&first), Some(&middle), Some(&last)) = (word.first(), word.get(word.len() / 2), word.last()) else {
            return Self::Other;
        };
        let mut at = place(word.len(), first, middle, last);
        // Ends: there are more places than words.
        while let Some(n) = TABLE.get(at).and_then(|&n| usize::from(n).checked_sub(1)) {
            match WORDS.get(n) {
                Some((known, key)) if known.as_bytes().eq_ignore_ascii_case(word) => return *key,
                _ => at = (at + 1) % PLACES,
            }
        }
        Self::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_any_case_and_no_other() {
        for (word, key) in WORDS {
            assert_eq!(Key::of(word.as_bytes()), *key, "{word}");
            assert_eq!(Key::of(word.to_ascii_lowercase().as_bytes()), *key, "{word}");
            assert_eq!(Key::of(format!("{word}x").as_bytes()), Key::Other, "{word}");
        }
        assert_eq!(Key::of(b""), Key::Other);
    }
}
