//! The text without literals and comments.
//!
//! Literals become `?`, a list of nothing else behind IN one `?`; comments leave only the white space around them; everything
//! else stays byte by byte, placeholders, too. TRUE and FALSE are literals but behind IS and NOT; NULL tells nothing and stays.

use super::Dialect;
use super::lexer::{Kind, Lexer, Token};

/// Masks `sql` into `room`; what does not fit is cut off.
pub fn mask<'b>(dialect: Dialect, sql: &[u8], room: &'b mut [u8]) -> &'b [u8] {
    let mut masker = Masker { sql, room, len: 0, list: List::No };
    let (mut from, mut test) = (0, false);
    for token in Lexer::new(dialect, sql) {
        masker.copy(from, token.start);
        from = token.end;
        if token.kind == Kind::Comment {
            continue;
        }
        test = masker.token(token, test);
        // In a list further text matters: it may fit once it is one `?`.
        if masker.is_full() && !matches!(masker.list, List::Open { .. }) {
            return masker.finish();
        }
    }
    masker.copy(from, sql.len()); // white space
    masker.finish()
}

/// Where in `IN (?, ?)` the text is.
#[derive(Debug, Clone, Copy)]
enum List {
    No,
    /// Behind IN.
    In,
    /// Behind its parenthesis; nothing but literals since. `one` is the length of the text up to the first of them.
    Open {
        one: Option<usize>,
    },
}

struct Masker<'b, 'a> {
    sql: &'a [u8],
    room: &'b mut [u8],
    len: usize,
    list: List,
}

impl<'b> Masker<'b, '_> {
    fn finish(self) -> &'b [u8] {
        let Self { room, len, .. } = self;
        room.get(..len).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.len == self.room.len()
    }

    fn copy(&mut self, start: usize, end: usize) {
        let bytes = self.sql.get(start..end).unwrap_or_default();
        put(self.room, &mut self.len, bytes);
    }

    /// True if the token makes a truth value behind it part of a predicate.
    fn token(&mut self, token: Token, test: bool) -> bool {
        let mut tests = false;
        let word = self.sql.get(token.start..token.end).unwrap_or_default();
        match token.kind {
            Kind::Literal => self.literal(),
            Kind::Word if !test && is_any(word, &[b"TRUE", b"FALSE"]) => self.literal(),
            Kind::Word => {
                tests = is_any(word, &[b"IS", b"NOT"]);
                self.list = if is_any(word, &[b"IN"]) { List::In } else { List::No };
                self.copy(token.start, token.end);
            }
            Kind::Punct(byte) => self.punct(byte, token),
            Kind::Quoted | Kind::Placeholder | Kind::Comment => {
                self.list = List::No;
                self.copy(token.start, token.end);
            }
        }
        tests
    }

    fn literal(&mut self) {
        put(self.room, &mut self.len, b"?");
        match &mut self.list {
            List::Open { one } => *one = one.or(Some(self.len)),
            list => *list = List::No,
        }
    }

    fn punct(&mut self, byte: u8, token: Token) {
        self.list = match (self.list, byte) {
            (List::In, b'(') => List::Open { one: None },
            (List::Open { one: Some(one) }, b',') => List::Open { one: Some(one) },
            (List::Open { one: Some(one) }, b')') => {
                self.len = one;
                List::No
            }
            _ => List::No,
        };
        self.copy(token.start, token.end);
    }
}

fn is_any(word: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Appends what fits.
fn put(room: &mut [u8], len: &mut usize, bytes: &[u8]) {
    let free = room.get_mut(*len..).unwrap_or_default();
    let bytes = bytes.get(..free.len()).unwrap_or(bytes);
    if let Some(place) = free.get_mut(..bytes.len()) {
        place.copy_from_slice(bytes);
        *len += bytes.len();
    }
}
