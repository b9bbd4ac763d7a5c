//! What a beginning of PostgreSQL looks like.
//!
//! The packets that open a connection tell by themselves, and so does a statement. Other messages are a letter and a length,
//! which prove little: their bodies are read too, each gives points, and only several in a row are enough (fewer at the usual ports).
//! The one-byte answers to a wish for encryption prove nothing.
//!
//! Everything is judged from left to right, by bytes whose number does not depend on how many there are: so more bytes never change
//! an answer.

use super::startup::Opening;
use super::{backend, frontend, sql};
use crate::protocols::wire::Cursor;
use crate::protocols::{Probe, ProbeContext, Speaker};

/// Ports of the server and of PgBouncer.
const PORTS: [u16; 2] = [5432, 6432];
/// Longest message that is believed, bytes.
const MAX_LENGTH: u32 = 1 << 24;
/// Bytes of a long text that are looked at.
const HEAD: usize = 64;
/// Longest statement without a known verb that is waited for.
const MAX_STRANGE: usize = 480;
/// Columns of a table, at most.
const MAX_COLUMNS: u16 = 1_664;
/// Points that are enough.
const ENOUGH: u8 = 4;
/// Points that are enough at the usual ports.
const ENOUGH_AT_HOME: u8 = 3;

/// What a body is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It is none.
    Nothing,
    /// More bytes tell.
    Short,
    /// So much.
    Points(u8),
}

/// As [`crate::protocols::Wire::probe`].
pub(super) fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
    if context.transport.is_datagram() {
        return Probe::NoMatch;
    }
    let home = PORTS.contains(&context.server_port);
    match prefix.first() {
        None => Probe::NeedMore,
        Some(0) => opening(prefix),
        Some(_) => {
            let client = walk(prefix, home, |tag, len| frontend::plausible(tag, len) && tag != b'p', of_client);
            let server = walk(prefix, home, backend::plausible, of_server);
            match (client, server) {
                (Walk::Found(a), Walk::Found(b)) if a > b => Probe::Match(Speaker::Server),
                (Walk::Found(_), _) => Probe::Match(Speaker::Client),
                (_, Walk::Found(_)) => Probe::Match(Speaker::Server),
                (Walk::Wrong, Walk::Wrong) => Probe::NoMatch,
                _ => Probe::NeedMore,
            }
        }
    }
}

/// A packet without type: length, code, and for a start-up the first name.
fn opening(prefix: &[u8]) -> Probe {
    let mut cursor = Cursor::new(prefix);
    // No length of a packet begins otherwise.
    if prefix.get(1).is_some_and(|byte| *byte > 0) || prefix.get(2).is_some_and(|byte| *byte > 0x27) {
        return Probe::NoMatch;
    }
    let (Some(length), Some(code)) = (cursor.u32(), cursor.u32()) else { return Probe::NeedMore };
    match Opening::of(code, length) {
        None => return Probe::NoMatch,
        Some(Opening::Startup) => {}
        Some(_) => return Probe::Match(Speaker::Client),
    }
    let name = cursor.rest().get(..HEAD).unwrap_or(cursor.rest());
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    match name.iter().position(|byte| !letters(byte)) {
        None if name.len() < HEAD => Probe::NeedMore,
        Some(end @ 2..) if name.get(end) == Some(&0) => Probe::Match(Speaker::Client),
        _ => Probe::NoMatch,
    }
}

enum Walk {
    Wrong,
    Open,
    /// After so many bytes.
    Found(usize),
}

/// Reads message after message until there are points enough.
fn walk(
    prefix: &[u8],
    home: bool,
    plausible: impl Fn(u8, u64) -> bool,
    worth: fn(u8, usize, &[u8], bool) -> Worth,
) -> Walk {
    let enough = if home { ENOUGH_AT_HOME } else { ENOUGH };
    let mut cursor = Cursor::new(prefix);
    let mut points = 0_u8;
    loop {
        let rest = cursor.rest();
        let (Some(tag), Some(length)) = (cursor.u8(), cursor.u32()) else {
            let begins = rest.first().is_none_or(|tag| (0..9).any(|len| plausible(*tag, len)));
            return if begins && rest.get(1).is_none_or(|byte| *byte == 0) { Walk::Open } else { Walk::Wrong };
        };
        let Some(len) = length.checked_sub(4).filter(|_| length <= MAX_LENGTH) else { return Walk::Wrong };
        if tag == 0 || !plausible(tag, u64::from(len)) {
            return Walk::Wrong;
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let body = cursor.rest();
        let body = body.get(..len).unwrap_or(body);
        match worth(tag, len, body, home) {
            Worth::Nothing => return Walk::Wrong,
            Worth::Short => return Walk::Open,
            Worth::Points(more) => points = points.saturating_add(more),
        }
        if points >= enough {
            return Walk::Found(cursor.consumed());
        }
        if cursor.take(len).is_none() {
            return Walk::Open;
        }
    }
}

fn of_client(tag: u8, len: usize, body: &[u8], home: bool) -> Worth {
    let whole = body.len() == len;
    match tag {
        b'Q' => statement(body, len, home, |behind| behind == 0),
        b'P' => match name(body) {
            Name::Bad => Worth::Nothing,
            Name::Short => Worth::Short,
            // Behind the text: the number of parameter types, and they.
            Name::Of(n) => statement(body.get(n..).unwrap_or(&[]), len.saturating_sub(n), home, |behind| {
                behind >= 2 && behind % 4 == 2
            }),
        },
        b'B' if home && len > HEAD => match body.get(..HEAD) {
            None => Worth::Short,
            Some(head) => if_true(bind_names(head).is_some(), ENOUGH),
        },
        b'B' | b'E' | b'D' | b'C' if !whole => Worth::Short,
        b'B' => if_true(is_bind(body), 2),
        b'E' => match name(body) {
            Name::Of(n) => if_true(body.len() == n + 4 && body.get(n).is_some_and(|byte| *byte < 0x80), 2),
            _ => Worth::Nothing,
        },
        b'D' | b'C' => match body.split_first() {
            Some((b'S' | b'P', rest)) => if_true(matches!(name(rest), Name::Of(n) if n == rest.len()), 2),
            _ => Worth::Nothing,
        },
        b'S' | b'H' | b'c' | b'X' => Worth::Points(1),
        _ => Worth::Points(0),
    }
}

fn of_server(tag: u8, len: usize, body: &[u8], _home: bool) -> Worth {
    let whole = body.len() == len;
    match tag {
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => Worth::Points(1),
        b'T' => row_description(len, body),
        b'd' | b'V' | b'v' => Worth::Points(0),
        _ if !whole => Worth::Short,
        b'Z' => if_true(matches!(body, [b'I' | b'T' | b'E']), 2),
        b'R' => authentication(body),
        b'S' => if_true(strings(body) == Some(2), 2),
        b'A' => if_true(body.get(4..).and_then(strings) == Some(2), 2),
        b'C' => {
            let word = body.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
            if_true(word >= 2 && strings(body) == Some(1), 2)
        }
        b'E' | b'N' => if_true(is_error(body), ENOUGH),
        b'D' => if_true(is_row(body), 2),
        b't' => {
            let count = Cursor::new(body).u16().map(usize::from);
            if_true(count.is_some_and(|count| body.len() == 2 + 4 * count), 1)
        }
        b'G' | b'H' | b'W' => {
            let mut cursor = Cursor::new(body);
            let (format, count) = (cursor.u8(), cursor.u16());
            let fits = count.is_some_and(|count| cursor.rest().len() == 2 * usize::from(count));
            if_true(fits && format.is_some_and(|format| format <= 1), 1)
        }
        _ => Worth::Points(0),
    }
}

fn if_true(right: bool, points: u8) -> Worth {
    if right { Worth::Points(points) } else { Worth::Nothing }
}

/// A byte that text may hold.
fn is_clean(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r')
}

/// Text up to a zero byte. `fits`: may so many bytes follow it in its message?
fn statement(body: &[u8], len: usize, home: bool, fits: fn(usize) -> bool) -> Worth {
    let head = body.get(..HEAD).unwrap_or(body);
    let enough_seen = head.len() == HEAD.min(len);
    if let Some(end) = head.iter().position(|byte| !is_clean(*byte)) {
        let right = head.get(end) == Some(&0) && fits(len - end - 1);
        let strange = !is_verb(head.get(..end).unwrap_or(head)) && end < 3;
        return if_true(right && (home || !strange), ENOUGH);
    }
    if !enough_seen {
        return Worth::Short;
    }
    if len <= HEAD {
        // Its end is missing.
        return Worth::Nothing;
    }
    if home || is_verb(head) {
        return Worth::Points(ENOUGH);
    }
    if len > MAX_STRANGE {
        return Worth::Nothing;
    }
    match body.iter().position(|byte| !is_clean(*byte)) {
        Some(end) => if_true(body.get(end) == Some(&0) && fits(len - end - 1), ENOUGH),
        None if body.len() < len => Worth::Short,
        None => Worth::Nothing,
    }
}

fn is_verb(text: &[u8]) -> bool {
    let crate::protocols::traits::Methods::Table { words, .. } = super::traits::TRAITS.methods else { return false };
    sql::keyword(text).is_some_and(|verb| words.split_ascii_whitespace().any(|word| word == verb.as_str()))
}

enum Name {
    Bad,
    Short,
    /// So many bytes with its zero byte.
    Of(usize),
}

/// A clean name, and a zero byte.
fn name(bytes: &[u8]) -> Name {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    match head.iter().position(|byte| !is_clean(*byte)) {
        Some(end) if head.get(end) == Some(&0) => Name::Of(end + 1),
        None if head.len() < HEAD => Name::Short,
        _ => Name::Bad,
    }
}

/// The names of portal and statement; what is behind them.
fn bind_names(body: &[u8]) -> Option<&[u8]> {
    let Name::Of(portal) = name(body) else { return None };
    let rest = body.get(portal..)?;
    let Name::Of(statement) = name(rest) else { return None };
    let rest = rest.get(statement..)?;
    let formats = Cursor::new(rest).u16()?;
    (formats <= MAX_COLUMNS).then_some(rest)
}

fn is_bind(body: &[u8]) -> bool {
    let read = || {
        let mut cursor = Cursor::new(bind_names(body)?);
        let formats = cursor.u16()?;
        cursor.take(2 * usize::from(formats))?;
        for _ in 0..cursor.u16()? {
            value(&mut cursor)?;
        }
        let formats = cursor.u16()?;
        cursor.take(2 * usize::from(formats))?;
        Some(cursor.rest().is_empty())
    };
    read().unwrap_or(false)
}

/// A value behind its length; none for NULL.
fn value(cursor: &mut Cursor<'_>) -> Option<()> {
    match cursor.u32()? {
        u32::MAX => {}
        len => _ = cursor.take(usize::try_from(len).ok()?)?,
    }
    Some(())
}

fn is_row(body: &[u8]) -> bool {
    let read = || {
        let mut cursor = Cursor::new(body);
        let columns = cursor.u16().filter(|columns| *columns <= MAX_COLUMNS)?;
        for _ in 0..columns {
            value(&mut cursor)?;
        }
        Some(cursor.rest().is_empty())
    };
    read().unwrap_or(false)
}

/// The first column: a name, 16 bytes of where it comes from, and whether it is text or binary.
fn row_description(len: usize, body: &[u8]) -> Worth {
    let mut cursor = Cursor::new(body);
    let Some(columns) = cursor.u16() else { return Worth::Short };
    if columns == 0 {
        return if_true(len == 2, 1);
    }
    if columns > MAX_COLUMNS || len < 2 + usize::from(columns) * 19 {
        return Worth::Nothing;
    }
    match name(cursor.rest()) {
        Name::Bad => Worth::Nothing,
        Name::Short => Worth::Short,
        Name::Of(n) => {
            let format = cursor.take(n + 16).and_then(|_| cursor.u16());
            format.map_or(Worth::Short, |format| if_true(format <= 1, 3))
        }
    }
}

/// The kinds of authentication that there are, with their lengths.
fn authentication(body: &[u8]) -> Worth {
    let mut cursor = Cursor::new(body);
    match (cursor.u32(), cursor.rest()) {
        (Some(0 | 2 | 3 | 7 | 9), []) => Worth::Points(2),
        (Some(5), [_, _, _, _]) => Worth::Points(2),
        (Some(10), list) => if_true(list.starts_with(b"SCRAM-SHA-256") || list.starts_with(b"OAUTHBEARER"), ENOUGH),
        (Some(8 | 11 | 12), _) => Worth::Points(1),
        _ => Worth::Nothing,
    }
}

/// How many clean strings there are, one behind the other.
fn strings(bytes: &[u8]) -> Option<usize> {
    let (last, text) = bytes.split_last()?;
    let clean = text.iter().all(|byte| *byte == 0 || is_clean(*byte));
    (*last == 0 && clean).then(|| bytes.iter().filter(|byte| **byte == 0).count())
}

/// Fields of an error or notice: severity first, a code among them, a zero byte behind the last.
fn is_error(body: &[u8]) -> bool {
    let Some(fields) = body.strip_suffix(&[0]).filter(|fields| fields.first() == Some(&b'S')) else { return false };
    let mut coded = false;
    for field in fields.split(|byte| *byte == 0).take_while(|field| !field.is_empty()) {
        match field {
            [b'C', code @ ..] => coded = code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric),
            [kind, ..] if kind.is_ascii_alphabetic() => {}
            _ => return false,
        }
    }
    coded
}
