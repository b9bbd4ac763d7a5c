//! The statements and portals of a connection: what an `Execute` executes.
//!
//! Both are known by a hash of their name. A portal remembers the statement that it was bound to, also when another statement
//! takes that one's name. Bounded: the one used longest ago makes room.

use super::{MAX_PORTALS, MAX_STATEMENT_BYTES, MAX_STATEMENTS};
use crate::text::{Text, Token};

/// Number of a statement; never given twice on a connection (but for an overflow).
pub(super) type Serial = u32;

/// What became of a name: FNV-1a, so that nothing of it need be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u64);

impl Name {
    /// The name of what has none.
    pub(super) const UNNAMED: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(super) fn of(bytes: &[u8]) -> Self {
        let Self(basis) = Self::UNNAMED;
        Self(bytes.iter().fold(basis, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)))
    }
}

/// A statement.
#[derive(Debug)]
pub(super) struct Statement {
    /// `None`: closed or replaced, and kept for a portal.
    name: Option<Name>,
    serial: Serial,
    used: u32,
    pub(super) method: Token,
    pub(super) text: Text,
}

#[derive(Debug)]
struct Portal {
    name: Name,
    statement: Option<Serial>,
    used: u32,
}

/// Both tables.
#[derive(Debug, Default)]
pub(super) struct Statements {
    statements: Vec<Statement>,
    portals: Vec<Portal>,
    /// Bytes of all texts.
    bytes: usize,
    clock: u32,
    last: Serial,
}

impl Statements {
    /// `Parse`: a statement gets a name. `name` is not known where the message was cut before it.
    pub(super) fn define(&mut self, name: Option<Name>, method: Token, text: Text) -> Serial {
        self.last = self.last.wrapping_add(1);
        let serial = self.last;
        let used = self.tick();
        if let Some(name) = name {
            self.close_statement(name);
        }
        let len = text.as_bytes().len();
        while self.statements.len() >= MAX_STATEMENTS || self.bytes + len > MAX_STATEMENT_BYTES {
            let Some((at, _)) = self.statements.iter().enumerate().min_by_key(|(_, known)| known.used) else { break };
            self.remove(at);
        }
        self.bytes += len;
        self.statements.push(Statement { name, serial, used, method, text });
        serial
    }

    /// `Bind`: a portal is made of a statement. Gives which.
    pub(super) fn bind(&mut self, portal: Name, statement: Option<Name>) -> Option<Serial> {
        let serial = statement.and_then(|name| self.named(name));
        let used = self.tick();
        if let Some(known) = self.portals.iter_mut().find(|known| known.name == portal) {
            (known.statement, known.used) = (serial, used);
            return serial;
        }
        if self.portals.len() >= MAX_PORTALS
            && let Some((at, _)) = self.portals.iter().enumerate().min_by_key(|(_, known)| known.used)
        {
            self.portals.swap_remove(at);
        }
        self.portals.push(Portal { name: portal, statement: serial, used });
        serial
    }

    /// The statement of a portal.
    pub(super) fn of_portal(&mut self, name: Name) -> Option<Serial> {
        let used = self.tick();
        let portal = self.portals.iter_mut().find(|known| known.name == name)?;
        portal.used = used;
        portal.statement
    }

    /// The statement of that name.
    pub(super) fn named(&mut self, name: Name) -> Option<Serial> {
        let used = self.tick();
        let statement = self.statements.iter_mut().find(|known| known.name == Some(name))?;
        statement.used = used;
        Some(statement.serial)
    }

    pub(super) fn find(&self, serial: Serial) -> Option<&Statement> {
        self.statements.iter().find(|known| known.serial == serial)
    }

    /// `Close` of a statement, or its replacement. Named portals go on with it.
    pub(super) fn close_statement(&mut self, name: Name) {
        let Some(at) = self.statements.iter().position(|known| known.name == Some(name)) else { return };
        let serial = self.statements.get(at).map(|known| known.serial);
        if self.portals.iter().any(|portal| portal.name != Name::UNNAMED && portal.statement == serial) {
            if let Some(kept) = self.statements.get_mut(at) {
                kept.name = None;
            }
        } else {
            self.remove(at);
        }
    }

    pub(super) fn close_portal(&mut self, name: Name) {
        let Some(at) = self.portals.iter().position(|known| known.name == name) else { return };
        let portal = self.portals.swap_remove(at);
        let orphan = self
            .statements
            .iter()
            .position(|known| known.name.is_none() && Some(known.serial) == portal.statement)
            .filter(|_| !self.portals.iter().any(|other| other.statement == portal.statement));
        if let Some(at) = orphan {
            self.remove(at);
        }
    }

    /// Requests went by unseen: what has no name, and portals, may be others by now. (Names are not given twice: clients
    /// number their statements.)
    pub(super) fn doubt(&mut self) {
        self.portals.clear();
        while let Some(at) = self.statements.iter().position(|known| known.name.is_none_or(|n| n == Name::UNNAMED)) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        let gone = self.statements.swap_remove(at);
        self.bytes = self.bytes.saturating_sub(gone.text.as_bytes().len());
    }

    fn tick(&mut self) -> u32 {
        self.clock = self.clock.wrapping_add(1);
        self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn define(tables: &mut Statements, name: &str, text: &str) -> Serial {
        tables.define(Some(Name::of(name.as_bytes())), Token::from("SELECT"), Text::from(text))
    }

    fn text(tables: &mut Statements, portal: &str) -> Option<String> {
        let serial = tables.of_portal(Name::of(portal.as_bytes()))?;
        tables.find(serial).map(|statement| statement.text.to_string())
    }

    #[test]
    fn a_portal_keeps_its_statement_when_the_name_goes_to_another() {
        let mut tables = Statements::default();
        define(&mut tables, "", "select 1");
        tables.bind(Name::of(b"c1"), Some(Name::UNNAMED));
        define(&mut tables, "", "select 2");
        tables.bind(Name::UNNAMED, Some(Name::UNNAMED));
        assert_eq!(text(&mut tables, "c1").as_deref(), Some("select 1"));
        assert_eq!(text(&mut tables, "").as_deref(), Some("select 2"));
        tables.close_portal(Name::of(b"c1"));
        assert_eq!(tables.statements.len(), 1);
        assert_eq!(text(&mut tables, "c1"), None);
    }

    #[test]
    fn the_statement_used_longest_ago_makes_room() {
        let mut tables = Statements::default();
        for n in 0..MAX_STATEMENTS {
            define(&mut tables, &format!("s{n}"), "select 1");
        }
        assert!(tables.named(Name::of(b"s0")).is_some());
        define(&mut tables, "new", "select 1");
        assert_eq!(tables.statements.len(), MAX_STATEMENTS);
        assert!(tables.named(Name::of(b"s0")).is_some(), "used just now");
        assert!(tables.named(Name::of(b"s1")).is_none());
    }

    #[test]
    fn long_texts_stay_under_their_bound() {
        let mut tables = Statements::default();
        let long = "x".repeat(crate::limits::MAX_TARGET);
        for n in 0..MAX_STATEMENTS {
            define(&mut tables, &format!("s{n}"), &long);
            assert!(tables.bytes <= MAX_STATEMENT_BYTES);
        }
        let sum: usize = tables.statements.iter().map(|known| known.text.as_bytes().len()).sum();
        assert_eq!(sum, tables.bytes);
        assert!(tables.named(Name::of(format!("s{}", MAX_STATEMENTS - 1).as_bytes())).is_some());
    }
}
