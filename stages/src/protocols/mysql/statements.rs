//! The texts of prepared statements, by their numbers: at most [`MAX_STATEMENTS`] of a connection, the one used longest ago makes
//! room.

use crate::text::Text;
use hashbrown::HashMap;

/// Statements of one connection whose text is kept.
pub(super) const MAX_STATEMENTS: usize = 256;
/// MariaDB: "the statement prepared last", in place of a number (COM_STMT_EXECUTE, "Statement id -1").
const LAST: u32 = u32::MAX;

#[derive(Debug)]
struct Statement {
    text: Text,
    used: u64,
}

/// The statements of a connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    known: HashMap<u32, Statement, foldhash::fast::RandomState>,
    /// The text prepared last.
    last: Text,
    uses: u64,
}

impl Statements {
    /// Bytes of one entry of the table, its place included.
    pub(super) const ENTRY_BYTES: usize = size_of::<(u32, Statement)>() + 1;

    /// A text is being prepared.
    pub(super) fn preparing(&mut self, text: &Text) {
        self.last.clone_from(text);
    }

    /// It got its number.
    pub(super) fn prepared(&mut self, number: u32, text: Text) {
        if self.known.len() >= MAX_STATEMENTS
            && !self.known.contains_key(&number)
            && let Some(oldest) =
                self.known.iter().min_by_key(|(_, statement)| statement.used).map(|(number, _)| *number)
        {
            self.known.remove(&oldest);
        }
        self.uses += 1;
        self.known.insert(number, Statement { text, used: self.uses });
    }

    /// The text of a statement; empty if it is not known.
    pub(super) fn text(&mut self, number: u32) -> Text {
        if number == LAST {
            return self.last.clone();
        }
        self.uses += 1;
        match self.known.get_mut(&number) {
            Some(statement) => {
                statement.used = self.uses;
                statement.text.clone()
            }
            None => Text::new(),
        }
    }

    /// A statement is no more.
    pub(super) fn closed(&mut self, number: u32) {
        self.known.remove(&number);
    }

    /// All of them are no more.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.last = Text::new();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_used_longest_ago_makes_room() {
        let mut statements = Statements::default();
        for number in 0..MAX_STATEMENTS {
            statements.prepared(number as u32, Text::from("SELECT ?"));
        }
        assert_eq!(statements.text(0), "SELECT ?");
        statements.prepared(9_999, Text::from("DELETE"));
        assert_eq!(statements.len(), MAX_STATEMENTS);
        assert_eq!(statements.text(1), "", "used longest ago");
        assert_eq!(statements.text(0), "SELECT ?");
        statements.closed(0);
        assert_eq!(statements.text(0), "");
    }

    #[test]
    fn a_pipelined_execute_means_what_is_being_prepared() {
        let mut statements = Statements::default();
        statements.preparing(&Text::from("SELECT 7"));
        assert_eq!(statements.text(LAST), "SELECT 7");
    }
}
