//! Bytes to tokens: where names, words, literals and comments begin and end.
//!
//! A token borrows nothing and never fails: what is cut off ends with the text, a byte that means nothing is punctuation.
//! White space is what lies between tokens. MySQL 8.4 reference manual, chapter 11 ("Language Structure"); PostgreSQL 17
//! documentation, section 4.1 ("Lexical Structure").

use super::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Quoted,
    /// A string, a number, or anything else that may hold data.
    Literal,
    /// `?`, `$1` or `:name`.
    Placeholder,
    /// A comment, or a mark of MySQL's around text that it executes though it looks like one.
    Comment,
    /// One byte of anything else.
    Punct(u8),
}

/// A stretch of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Walks the text.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    dialect: Dialect,
    at: usize,
    /// The token before, comments left out.
    before: Option<(Kind, usize)>,
    /// Open `/*!`, whose text is executed.
    hints: u32,
    /// The text has shown that backslashes escape quotes.
    escapes: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(dialect: Dialect, sql: &'a [u8]) -> Self {
        Self { sql, dialect, at: 0, before: None, hints: 0, escapes: false }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.get(at).copied()
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.sql.get(at..).unwrap_or_default()
    }

    /// Where the run of bytes that `keep` ends, from `at`.
    fn run(&self, at: usize, keep: impl Fn(u8) -> bool) -> usize {
        let rest = self.rest(at);
        at + rest.iter().position(|&byte| !keep(byte)).unwrap_or(rest.len())
    }

    fn scan(&mut self, start: usize, first: u8) -> (Kind, usize) {
        match first {
            b'0'..=b'9' => (Kind::Literal, self.number(start)),
            _ if is_word(first) && first != b'$' => self.word(start),
            b'\'' => (Kind::Literal, self.string(start + 1, b'\'', self.dialect == Dialect::Mysql)),
            b'"' if self.dialect == Dialect::Mysql => (Kind::Literal, self.string(start + 1, b'"', true)),
            b'"' => self.quoted(start + 1, b'"'),
            b'`' if self.dialect == Dialect::Mysql => self.quoted(start + 1, b'`'),
            b'$' => self.dollar(start),
            b'?' => (Kind::Placeholder, start + 1),
            b':' => self.colon(start),
            b'.' if self.is_digit(start + 1) => (Kind::Literal, self.number(start)),
            b'+' | b'-' if self.is_signed(start) => (Kind::Literal, self.number(start + 1)),
            b'-' | b'/' | b'#' | b'*' => self.comment(start, first),
            _ => (Kind::Punct(first), start + 1),
        }
    }

    fn word(&mut self, start: usize) -> (Kind, usize) {
        let end = self.run(start, is_word);
        let quote = self.byte(end);
        let postgres = self.dialect == Dialect::Postgres;
        match (self.sql.get(start..end), quote) {
            // An escape string, whose backslashes escape whatever the server's mode.
            (Some(b"e" | b"E"), Some(b'\'')) if postgres => (Kind::Literal, self.escaped(end + 1)),
            (Some(b"n" | b"N" | b"x" | b"X" | b"b" | b"B"), Some(b'\'')) => {
                (Kind::Literal, self.string(end + 1, b'\'', !postgres))
            }
            (Some(b"u" | b"U"), Some(b'&')) if postgres => match self.byte(end + 1) {
                Some(b'\'') => (Kind::Literal, self.string(end + 2, b'\'', false)),
                Some(b'"') => self.quoted(end + 2, b'"'),
                _ => (Kind::Word, end),
            },
            _ => (Kind::Word, end),
        }
    }

    /// Greedy: what hangs on a number without a gap is masked with it.
    fn number(&self, start: usize) -> usize {
        let hex = matches!(self.rest(start), [b'0', b'x' | b'X', ..]);
        let mut end = start;
        loop {
            end = self.run(end, |byte| is_word(byte) || byte == b'.');
            let exponent = !hex && matches!(self.byte(end.wrapping_sub(1)), Some(b'e' | b'E'));
            if exponent && matches!(self.byte(end), Some(b'+' | b'-')) && self.is_digit(end + 1) {
                end += 1;
            } else {
                return end;
            }
        }
    }

    fn is_digit(&self, at: usize) -> bool {
        self.byte(at).is_some_and(|byte| byte.is_ascii_digit())
    }

    /// A sign belongs to the number behind it, if no operand that is no literal stands right before it.
    fn is_signed(&self, start: usize) -> bool {
        let number = self.is_digit(start + 1) || self.byte(start + 1) == Some(b'.') && self.is_digit(start + 2);
        let operand = match self.before {
            Some((Kind::Word | Kind::Quoted | Kind::Placeholder | Kind::Punct(b')' | b']'), end)) => end == start,
            _ => false,
        };
        number && !operand
    }

    /// The end of a string whose first quote lies before `at`. Two quotes are one. With `escapes` a backslash escapes, by default.
    fn string(&mut self, mut at: usize, quote: u8, escapes: bool) -> usize {
        while let Some(found) = memchr::memchr2(quote, b'\\', self.rest(at)) {
            at += found;
            let next = self.byte(at + 1);
            if self.byte(at) == Some(quote) && next != Some(quote) {
                return at + 1;
            }
            if self.byte(at) == Some(b'\\') && next == Some(quote) && !self.is_escaped(at + 2, escapes) {
                return self.sql.len();
            }
            at += 2; // `\\`, too, is the same in all modes: what follows is not escaped
        }
        self.sql.len()
    }

    /// Before `at` stand a backslash and a quote. By another mode of the server the string would end there, or not. In the
    /// middle of a word it does not, and once is enough: a session has one mode.
    fn is_escaped(&mut self, at: usize, escapes: bool) -> bool {
        self.escapes |= escapes && self.byte(at).is_some_and(|byte| is_word(byte) || byte == b'\\');
        self.escapes
    }

    /// The end of a string in which backslashes escape in any mode.
    fn escaped(&self, mut at: usize) -> usize {
        while let Some(found) = memchr::memchr2(b'\'', b'\\', self.rest(at)) {
            at += found;
            if self.byte(at) == Some(b'\'') && self.byte(at + 1) != Some(b'\'') {
                return at + 1;
            }
            at += 2;
        }
        self.sql.len()
    }

    /// A name in quotes; two of them are one. Without an end, or with what may be the quote of a string in it, a quote is
    /// missing: nothing tells names from data from there on.
    fn quoted(&self, start: usize, quote: u8) -> (Kind, usize) {
        let mut at = start;
        while let Some(found) = memchr::memchr(quote, self.rest(at)) {
            at += found + 1;
            if self.byte(at) != Some(quote) {
                let name = self.sql.get(start..at).unwrap_or_default();
                let other = if self.dialect == Dialect::Mysql { b'"' } else { b'\'' };
                if memchr::memchr2(b'\'', other, name).is_some() {
                    break;
                }
                return (Kind::Quoted, at);
            }
            at += 1;
        }
        (Kind::Literal, self.sql.len())
    }

    /// `$1`, or `$tag$ ... $tag$` (PostgreSQL, section 4.1.2.4); in MySQL a dollar is part of names.
    fn dollar(&self, start: usize) -> (Kind, usize) {
        if self.is_digit(start + 1) {
            return (Kind::Placeholder, self.run(start + 1, |byte| byte.is_ascii_digit()));
        }
        if self.dialect == Dialect::Mysql {
            return (Kind::Word, self.run(start, is_word));
        }
        let end = self.run(start + 1, is_letter);
        if self.byte(end) != Some(b'$') {
            return (Kind::Punct(b'$'), start + 1);
        }
        let tag = self.sql.get(start..=end).unwrap_or_default();
        let body = self.rest(end + 1);
        let close = memchr::memmem::find(body, tag).map_or(self.sql.len(), |at| end + 1 + at + tag.len());
        (Kind::Literal, close)
    }

    /// `:name` is a placeholder, `::` a cast, `:=` an assignment.
    fn colon(&self, start: usize) -> (Kind, usize) {
        match self.byte(start + 1) {
            Some(b':') => (Kind::Punct(b':'), start + 2),
            Some(byte) if is_letter(byte) && !byte.is_ascii_digit() => {
                (Kind::Placeholder, self.run(start + 1, is_letter))
            }
            _ => (Kind::Punct(b':'), start + 1),
        }
    }

    fn comment(&mut self, start: usize, first: u8) -> (Kind, usize) {
        let mysql = self.dialect == Dialect::Mysql;
        let next = self.byte(start + 1);
        match (first, next) {
            (b'#', _) if mysql => (Kind::Comment, self.line(start)),
            // In MySQL `--` needs white space behind it (manual, section 11.7), as `5--1` is an expression.
            (b'-', Some(b'-')) if !mysql || self.byte(start + 2).is_none_or(|byte| byte <= b' ') => {
                (Kind::Comment, self.line(start))
            }
            (b'/', Some(b'*')) if mysql => match self.rest(start + 2) {
                [b'!', ..] => self.hint(start + 3),
                [b'M', b'!', ..] => self.hint(start + 4),
                _ => (Kind::Comment, self.block(start + 2)),
            },
            (b'/', Some(b'*')) => (Kind::Comment, self.nested(start + 2)),
            (b'*', Some(b'/')) if self.hints > 0 => {
                self.hints -= 1;
                (Kind::Comment, start + 2)
            }
            _ => (Kind::Punct(first), start + 1),
        }
    }

    /// To PostgreSQL a carriage return ends a line, too.
    fn line(&self, start: usize) -> usize {
        let other = if self.dialect == Dialect::Postgres { b'\r' } else { b'\n' };
        memchr::memchr2(b'\n', other, self.rest(start)).map_or(self.sql.len(), |at| start + at)
    }

    fn block(&self, at: usize) -> usize {
        memchr::memmem::find(self.rest(at), b"*/").map_or(self.sql.len(), |found| at + found + 2)
    }

    /// PostgreSQL's comments nest.
    fn nested(&self, mut at: usize) -> usize {
        let mut depth = 1_u32;
        while let Some(found) = memchr::memchr2(b'*', b'/', self.rest(at)) {
            at += found;
            match self.rest(at) {
                [b'*', b'/', ..] => depth -= 1,
                [b'/', b'*', ..] => depth += 1,
                _ => {
                    at += 1;
                    continue;
                }
            }
            at += 2;
            if depth == 0 {
                return at;
            }
        }
        self.sql.len()
    }

    /// All of the rest is a literal.
    fn hide(&mut self, start: usize) -> Option<Token> {
        self.at = self.sql.len();
        self.before = Some((Kind::Literal, self.at));
        Some(Token { kind: Kind::Literal, start, end: self.at })
    }

    /// `/*!80000 code */`: the mark and the version it may ask for. Where it has no end, or quotes
    /// without partners, it cannot be told whether it is code.
    fn hint(&mut self, at: usize) -> (Kind, usize) {
        let Some(len) = memchr::memmem::find(self.rest(at), b"*/") else { return (Kind::Literal, self.sql.len()) };
        let inside = self.rest(at).get(..len).unwrap_or_default();
        let quotes = |quote| memchr::memchr_iter(quote, inside).count();
        if [b'\'', b'"', b'`'].into_iter().any(|quote| quotes(quote) % 2 == 1) {
            return (Kind::Literal, self.sql.len());
        }
        self.hints += 1;
        (Kind::Comment, self.run(at, |byte| byte.is_ascii_digit()))
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.run(self.at, |byte| byte <= b' ');
        let first = self.byte(start)?;
        let (kind, end) = self.scan(start, first);
        // A server that passes over a `/*!` (its version) may end it inside of what is a literal to us.
        if self.hints > 0 && matches!(kind, Kind::Literal | Kind::Quoted) {
            let text = self.sql.get(start..end).unwrap_or_default();
            if memchr::memmem::find(text, b"*/").is_some() {
                return self.hide(start);
            }
        }
        self.at = end;
        if kind != Kind::Comment {
            self.before = Some((kind, end));
        }
        Some(Token { kind, start, end })
    }
}

/// Letters of placeholders and of the tags of strings.
fn is_letter(byte: u8) -> bool {
    is_word(byte) && byte != b'$'
}

/// Letters of names. What is not ASCII counts as letters, as in both servers.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}
