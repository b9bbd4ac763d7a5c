//! SQL, read by its bytes alone: what a statement does to what ([`summarize`]), and its text without literals ([`mask`]).
//!
//! The summary is `db.query.summary` of the OpenTelemetry semantic conventions (database spans, "Generating a summary of the
//! query"), the masked text their sanitised `db.query.text`. Both work on text that is cut anywhere, holds several
//! statements, or is no SQL at all. The text has to begin where a statement begins: a literal whose first quote is missing
//! cannot be told from code.
//!
//! Server modes that the text does not tell are met on the safe side. With `ANSI_QUOTES`, MySQL's double-quoted names are
//! masked like the literals that they are by default. A quote behind a backslash ends a literal or not, by
//! `NO_BACKSLASH_ESCAPES` and `standard_conforming_strings`: where the text leaves it open, all of the rest counts as literal.
//!
//! Absent: a grammar, a tree, allocation, a copy of anything but what goes into the caller's buffers.

mod bits;
mod key;
mod lexer;
mod mask;
mod summary;

pub use mask::mask;
pub use summary::{Summary, summarize};

/// How a statement is read where the products differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// MySQL and MariaDB: `"` begins a string, `` ` `` a name, `#` a comment.
    Mysql,
    /// PostgreSQL: `"` begins a name, `$tag$` a string.
    Postgres,
}

#[cfg(test)]
mod tests;
