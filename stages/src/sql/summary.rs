//! `{operation} {target} {operation} {target} ...`, in the order of the text, from tokens alone.
//!
//! One pass and a few bits for each depth of parentheses: is a list of tables open here, is a FROM still to come, may a
//! statement begin. A name is a target where only a table (or what the statement is about) can stand; names that a WITH
//! introduces are none, and neither is what is called like a function. What CREATE and its kind are about is named, what they
//! hold is not.
//!
//! Names go in as they are, quotes and case kept. With operations that only name what the program makes up as it runs
//! (savepoints, prepared statements, cursors) the name is left out, as the conventions want a summary of few values.

use super::Dialect;
use super::bits::{Depths, Words};
use super::key::{Change, Key, Object, Statement};
use super::lexer::{Kind, Lexer, Token};
use crate::limits::{SQL_SUMMARY, SQL_WITHS};

/// What a text does to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary<'b, 'a> {
    /// `db.query.summary`; at most [`SQL_SUMMARY`] bytes, cut between words. Empty: nothing in it is known as SQL.
    pub text: &'b [u8],
    /// First keyword, as written. Empty: not known as one.
    pub operation: &'a [u8],
    /// The only collection of the only statement, as written; empty if there are more, or none.
    pub collection: &'a [u8],
    /// Statements that were begun.
    pub statements: u32,
}

/// Summarises `sql` into `room`. With `cut`, text is missing at its end: a name that the cut may have shortened is left out.
pub fn summarize<'b, 'a>(
    dialect: Dialect,
    sql: &'a [u8],
    cut: bool,
    room: &'b mut [u8; SQL_SUMMARY],
) -> Summary<'b, 'a> {
    let mut reader = Reader::new(dialect, sql, cut, room);
    for token in Lexer::new(dialect, sql) {
        match token.kind {
            Kind::Comment => continue,
            Kind::Word => reader.word(token),
            Kind::Quoted => reader.name(token),
            Kind::Punct(byte) => reader.punct(byte, token),
            Kind::Literal | Kind::Placeholder => reader.value(token),
        }
        if reader.done {
            break;
        }
    }
    reader.finish()
}

/// What kind of name is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Nothing,
    /// A table, or a query in parentheses.
    Table,
    /// The same, but parentheses hold columns.
    Using,
    /// A collection; parentheses behind it are columns.
    Collection,
    /// A name that is no collection.
    Thing,
    /// The same, and the rest is not read.
    Routine,
    /// A kind of object.
    Object,
    /// A kind of object, or a collection.
    MaybeObject,
    /// What a WITH introduces.
    With,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    start: usize,
    end: usize,
    expect: Expect,
    /// Ends in a dot: another part follows.
    open: bool,
}

#[derive(Debug)]
struct Reader<'b, 'a> {
    dialect: Dialect,
    sql: &'a [u8],
    cut: bool,
    words: Words<'b>,
    operation: &'a [u8],
    collection: &'a [u8],
    several: bool,
    statements: u32,
    /// The next word begins a statement.
    start: bool,
    /// No query of this statement counts.
    quiet: bool,
    /// Commas separate objects of the statement.
    list: bool,
    /// Nothing further counts.
    done: bool,
    depth: u32,
    /// A list of tables is open.
    tables: Depths,
    /// A FROM is still to come.
    awaits_from: Depths,
    /// A WITH is open.
    with: Depths,
    /// A statement may begin.
    open: Depths,
    set_operator: bool,
    /// DELETE or MERGE, LOAD.
    using: bool,
    load: bool,
    expect: Expect,
    name: Option<Name>,
    /// Behind the last dot.
    dot: Option<usize>,
    last: Key,
    withs: [&'a [u8]; SQL_WITHS],
    with_count: usize,
}

impl<'b, 'a> Reader<'b, 'a> {
    fn new(dialect: Dialect, sql: &'a [u8], cut: bool, room: &'b mut [u8; SQL_SUMMARY]) -> Self {
        Self {
            dialect,
            sql,
            cut,
            words: Words { room, len: 0, full: false },
            operation: &[],
            collection: &[],
            several: false,
            statements: 0,
            start: true,
            quiet: false,
            list: false,
            done: false,
            depth: 0,
            tables: Depths::default(),
            awaits_from: Depths::default(),
            with: Depths::default(),
            open: Depths::default(),
            set_operator: false,
            using: false,
            load: false,
            expect: Expect::Nothing,
            name: None,
            dot: None,
            last: Key::Other,
            withs: [&[]; SQL_WITHS],
            with_count: 0,
        }
    }

    fn text(&self, start: usize, end: usize) -> &'a [u8] {
        self.sql.get(start..end).unwrap_or_default()
    }

    fn is_cut(&self, end: usize) -> bool {
        self.cut && end == self.sql.len()
    }

    fn operation(&mut self, token: Token) {
        self.words.push(self.text(token.start, token.end));
        self.start = false;
        self.open.put(self.depth, false);
        self.with.put(self.depth, false);
    }

    fn word(&mut self, token: Token) {
        if self.continues_name(token) {
            return;
        }
        self.settle();
        let word = self.text(token.start, token.end);
        let is_part = self.is_cut(token.end) || self.dot == Some(token.start);
        let key = if is_part { Key::Other } else { Key::of(word) };
        if self.start {
            self.begin(key, token, word);
        } else if !self.expected(key, token) {
            self.keyword(key, token);
        }
        self.last = key;
    }

    /// A name in quotes is never a keyword.
    fn name(&mut self, token: Token) {
        if self.continues_name(token) {
            return;
        }
        self.settle();
        self.start = false;
        self.last = Key::Other;
        self.take_name(token);
    }

    /// `a.b`, without white space.
    fn continues_name(&mut self, token: Token) -> bool {
        match &mut self.name {
            Some(name) if name.open && name.end == token.start => {
                name.end = token.end;
                name.open = false;
                true
            }
            _ => false,
        }
    }

    fn value(&mut self, token: Token) {
        if self.name.is_some_and(|name| name.end == token.start) {
            self.name = None; // half a name
        }
        self.settle();
        self.start = false;
        self.break_off();
    }

    /// What follows is not what was waited for, but the kind of object may come behind anything.
    fn break_off(&mut self) {
        if self.expect != Expect::Object {
            self.expect = Expect::Nothing;
        }
        self.last = Key::Other;
    }

    /// The first word of a statement.
    fn begin(&mut self, key: Key, token: Token, word: &'a [u8]) {
        self.start = false;
        self.statements = self.statements.saturating_add(1);
        self.open.put(self.depth, true);
        match key {
            Key::Select | Key::Change(_) | Key::With => self.keyword(key, token),
            Key::Statement(statement) => self.statement(statement, token),
            Key::Set | Key::Values => self.statement(Statement::Bare, token),
            Key::Object(Object::Table) if word.eq_ignore_ascii_case(b"TABLE") => self.statement(Statement::Copy, token),
            _ => {
                self.open.put(self.depth, false);
                return;
            }
        }
        if self.statements == 1 {
            self.operation = word;
        }
    }

    fn statement(&mut self, statement: Statement, token: Token) {
        self.operation(token);
        self.quiet =
            matches!(statement, Statement::Define | Statement::DefineList | Statement::MaybeDefine | Statement::Quiet);
        self.list = matches!(statement, Statement::DefineList | Statement::MaybeDefine);
        self.load = statement == Statement::Load;
        self.open.put(self.depth, matches!(statement, Statement::Prefix | Statement::Copy));
        self.expect = match statement {
            Statement::Define | Statement::DefineList => Expect::Object,
            Statement::MaybeDefine => Expect::MaybeObject,
            Statement::Call => Expect::Thing,
            Statement::Copy => Expect::Collection,
            Statement::Prefix | Statement::Load | Statement::Bare | Statement::Quiet => Expect::Nothing,
        };
    }

    /// Is the word what was waited for?
    fn expected(&mut self, key: Key, token: Token) -> bool {
        match (self.expect, key) {
            (Expect::Nothing, _) => false,
            (Expect::Object | Expect::MaybeObject, Key::Object(object)) => {
                self.words.push(self.text(token.start, token.end));
                self.expect = match object {
                    Object::Table => Expect::Collection,
                    Object::Thing => Expect::Thing,
                    Object::Routine => Expect::Routine,
                };
                true
            }
            (Expect::Object, Key::Preposition | Key::For | Key::As) => {
                self.expect = Expect::Nothing;
                true
            }
            (Expect::Object, _) | (_, Key::Noise) => true,
            (Expect::Collection, Key::Into) => true,
            (Expect::Collection, Key::Object(_) | Key::Temporary) if self.load || self.awaits_from() => true,
            (_, Key::Select | Key::Change(_) | Key::From | Key::Clause | Key::Join | Key::Using | Key::Preposition)
            | (_, Key::SetOperator | Key::With | Key::As | Key::Into | Key::For | Key::Set | Key::Values) => {
                self.expect = Expect::Nothing;
                false
            }
            _ => {
                self.take_name(token);
                true
            }
        }
    }

    fn awaits_from(&self) -> bool {
        self.awaits_from.has(self.depth)
    }

    fn take_name(&mut self, token: Token) {
        let expect = match self.expect {
            Expect::Nothing | Expect::Object => return,
            Expect::MaybeObject => Expect::Collection,
            expect => expect,
        };
        self.expect = Expect::Nothing;
        self.name = Some(Name { start: token.start, end: token.end, expect, open: false });
    }

    fn keyword(&mut self, key: Key, token: Token) {
        let depth = self.depth;
        match key {
            Key::Select if !self.quiet => {
                if self.set_operator {
                    self.start = false;
                } else {
                    self.operation(token);
                }
                self.set_operator = false;
                self.open.put(depth, false);
                self.with.put(depth, false);
                self.tables.put(depth, false);
                self.awaits_from.put(depth, true);
            }
            Key::Change(change) if self.open.has(depth) && !self.quiet && !self.is_call(token.end) => {
                self.operation(token);
                self.change(change);
            }
            Key::With if self.open.has(depth) || self.last_opened(token) => {
                self.with.put(depth, true);
                self.open.put(depth, true);
                self.expect = Expect::With;
            }
            Key::From if self.awaits_from() && self.last != Key::Distinct => {
                self.awaits_from.put(depth, false);
                self.tables.put(depth, true);
                self.expect = Expect::Table;
            }
            Key::Join if self.tables.has(depth) => self.expect = Expect::Table,
            Key::Using if self.using && self.tables.has(depth) => self.expect = Expect::Using,
            Key::Into if self.load => self.expect = Expect::Collection,
            Key::Into if self.awaits_from() && self.dialect == Dialect::Postgres => self.expect = Expect::Collection,
            Key::SetOperator => {
                self.set_operator = true;
                self.tables.put(depth, false);
            }
            Key::Clause | Key::For | Key::Set | Key::Values => self.tables.put(depth, false),
            _ => {}
        }
    }

    fn change(&mut self, change: Change) {
        self.using = matches!(change, Change::Delete | Change::Merge);
        self.tables.put(self.depth, matches!(change, Change::Update | Change::Merge));
        self.awaits_from.put(self.depth, matches!(change, Change::Update | Change::Delete));
        self.expect = match change {
            Change::Insert | Change::Merge => Expect::Collection,
            Change::Update => Expect::Table,
            Change::Delete => Expect::Nothing,
        };
    }

    /// INSERT() and REPLACE() are functions, too.
    fn is_call(&self, end: usize) -> bool {
        let rest = self.sql.get(end..).unwrap_or_default();
        rest.iter().find(|&&byte| byte > b' ') == Some(&b'(')
    }

    /// Stands right behind a parenthesis: a WITH of a query in parentheses.
    fn last_opened(&self, token: Token) -> bool {
        let before = self.sql.get(..token.start).unwrap_or_default();
        before.iter().rev().find(|&&byte| byte > b' ') == Some(&b'(')
    }

    fn punct(&mut self, byte: u8, token: Token) {
        match byte {
            b'.' => {
                self.dot = Some(token.end);
                if let Some(name) = &mut self.name
                    && name.end == token.start
                    && !name.open
                {
                    name.end = token.end;
                    name.open = true;
                }
                return;
            }
            b'(' => self.open_parenthesis(),
            b')' => {
                self.settle();
                self.clear(self.depth);
                self.depth = self.depth.saturating_sub(1);
                self.expect = Expect::Nothing;
            }
            b',' => {
                self.settle();
                self.expect = if self.with.has(self.depth) {
                    Expect::With
                } else if self.tables.has(self.depth) {
                    Expect::Table
                } else if self.list && self.depth == 0 {
                    Expect::Collection
                } else {
                    Expect::Nothing
                };
            }
            b';' => {
                self.settle();
                self.end_statement();
            }
            _ => {
                self.settle();
                self.start = false;
                self.break_off();
            }
        }
        self.last = Key::Other;
    }

    fn open_parenthesis(&mut self) {
        if self.name.is_some_and(|name| matches!(name.expect, Expect::Table | Expect::Using)) {
            self.name = None; // a function
        }
        self.settle();
        let tables = self.expect == Expect::Table;
        let statement = self.start || matches!(self.last, Key::As | Key::Materialized);
        let depth = self.depth.saturating_add(1);
        self.depth = depth;
        self.clear(depth);
        self.tables.put(depth, tables);
        self.open.put(depth, statement);
        if !tables && self.expect != Expect::Object {
            self.expect = Expect::Nothing;
        }
    }

    fn clear(&mut self, depth: u32) {
        self.tables.put(depth, false);
        self.awaits_from.put(depth, false);
        self.with.put(depth, false);
        self.open.put(depth, false);
    }

    fn end_statement(&mut self) {
        (self.tables, self.awaits_from) = (Depths::default(), Depths::default());
        (self.with, self.open) = (Depths::default(), Depths::default());
        (self.depth, self.with_count) = (0, 0);
        (self.quiet, self.list, self.using, self.load, self.set_operator) = (false, false, false, false, false);
        self.expect = Expect::Nothing;
        self.start = true;
    }

    /// The name that was read is whole: it counts, if it does.
    fn settle(&mut self) {
        let Some(name) = self.name.take() else { return };
        if self.is_cut(name.end) {
            return;
        }
        let text = self.text(name.start, name.end);
        match name.expect {
            Expect::With => {
                if let Some(place) = self.withs.get_mut(self.with_count) {
                    *place = text;
                    self.with_count += 1;
                }
                return;
            }
            Expect::Table | Expect::Using | Expect::Collection => {
                let mut withs = self.withs.iter().take(self.with_count);
                if withs.any(|with| with.eq_ignore_ascii_case(text)) {
                    return;
                }
                self.several |= !self.collection.is_empty() && self.collection != text;
                self.collection = text;
            }
            Expect::Routine => self.done = true,
            _ => {}
        }
        self.words.push(text);
    }

    fn finish(mut self) -> Summary<'b, 'a> {
        self.settle();
        let Self { words, operation, collection, several, statements, .. } = self;
        // One that did not fit is not in the summary, and so within no bound that holds for summaries.
        let alone = !several && statements == 1 && !words.full;
        Summary { text: words.text(), operation, collection: if alone { collection } else { &[] }, statements }
    }
}
