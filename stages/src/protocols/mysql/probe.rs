//! What a beginning of MySQL looks like.
//!
//! A server's greeting, a log-in, SQL in a command, an error with its SQLSTATE and the head of a set of rows tell by themselves. Commands
//! of a few bytes and OK packets look like anything: only the usual port makes them MySQL.

use super::command::{self, EXECUTE, PREPARE, QUERY};
use super::compress::{self, Compression};
use super::fields::Fields;
use super::handshake;
use super::packet::HEADER;
use super::sql;
use super::traits::VERBS;
use crate::protocols::{Probe, ProbeContext, Speaker};

/// The port of mysqld.
const PORTS: [u16; 2] = [3306, 3307];
/// Bytes of a text that are looked through for its first keyword.
const MAX_TEXT: usize = 256;
/// The error numbers that servers send ("Server Error Message Reference"; MariaDB's own go to 5000).
const ERRORS: std::ops::RangeInclusive<u16> = 1_000..=5_999;

/// What a client's turn begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// A command in a packet.
    Plain,
    /// The same in a frame.
    Framed(Compression),
    Login,
    None,
    /// So many bytes more decide.
    Short(usize),
}

/// Does a request begin here? For finding the way back into a stream that is known to be MySQL. `compression`: what was agreed
/// on, if that is known.
pub(super) fn command(bytes: &[u8], compression: Option<Compression>) -> Command {
    let [a, b, c, seq, kind, ..] = *bytes else { return Command::Short((HEADER + 1).saturating_sub(bytes.len())) };
    let len = u64::from(u32::from_le_bytes([a, b, c, 0]));
    match (seq, compression) {
        (0, Some(by @ (Compression::Zlib | Compression::Zstd))) => Command::Framed(by),
        (0, Some(Compression::None)) => plain(kind, len),
        (0, None) => match framed(bytes, len) {
            Command::None => plain(kind, len),
            found => found,
        },
        (1, _) => {
            let want = usize::try_from(len).unwrap_or(usize::MAX).min(handshake::FIXED);
            let payload = bytes.get(HEADER..).unwrap_or(&[]);
            if payload.len() < want {
                return Command::Short(want - payload.len());
            }
            if handshake::looks_like_login(payload, len) { Command::Login } else { Command::None }
        }
        _ => Command::None,
    }
}

fn plain(code: u8, len: u64) -> Command {
    if command::known(code, len).is_some() { Command::Plain } else { Command::None }
}

/// A compressed frame: the packet in it fits and has sequence id 0, or its content has the mark of zlib (RFC 1950, section 2.2) or zstd
/// (RFC 8878, section 3.1.1).
fn framed(bytes: &[u8], len: u64) -> Command {
    const WHOLE: usize = compress::HEADER + HEADER;
    if len <= HEADER as u64 {
        return Command::None;
    }
    let Some(head) = bytes.get(..WHOLE) else {
        return if known_by_now(bytes, len) { Command::None } else { Command::Short(WHOLE - bytes.len()) };
    };
    match *head {
        [_, _, _, _, 0, 0, 0, a, b, c, 0] => {
            let inner = u64::from(u32::from_le_bytes([a, b, c, 0]));
            if inner > 0 && inner + 4 <= len { Command::Framed(Compression::Zlib) } else { Command::None }
        }
        [_, _, _, _, _, _, _, 0x28, 0xb5, 0x2f, 0xfd] => Command::Framed(Compression::Zstd),
        [_, _, _, _, _, _, _, 0x78, flags, ..] if (0x7800 | u16::from(flags)).is_multiple_of(31) => {
            Command::Framed(Compression::Zlib)
        }
        _ => Command::None,
    }
}

/// True if a frame is out of the question before all of its head is here: the packet is over, or holds no frame's bytes.
fn known_by_now(bytes: &[u8], len: u64) -> bool {
    bytes.len() as u64 >= len + HEADER as u64
}

/// As [`crate::protocols::Wire::probe`].
pub(super) fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
    if context.transport.is_datagram() {
        return Probe::NoMatch;
    }
    let home = PORTS.contains(&context.server_port);
    let [a, b, c, seq, rest @ ..] = prefix else { return Probe::NeedMore };
    let len = u64::from(u32::from_le_bytes([*a, *b, *c, 0]));
    if len == 0 {
        return Probe::NoMatch;
    }
    let Some(&kind) = rest.first() else {
        return if *seq <= 1 { Probe::NeedMore } else { Probe::NoMatch };
    };
    match (seq, kind) {
        (0, 0x0a) => greeting(rest, len),
        (0, 0xff) if home => error(rest, len, false),
        (0, _) => request(prefix, rest, kind, len, home),
        (1, 0xff) => error(rest, len, true),
        (1, _) => first_of_either(rest, kind, len, home),
        _ => Probe::NoMatch,
    }
}

/// "Protocol::HandshakeV10".
fn greeting(payload: &[u8], len: u64) -> Probe {
    if !(30..=512).contains(&len) {
        return Probe::NoMatch;
    }
    let text = payload.get(1..).unwrap_or(&[]);
    let end = memchr::memchr(0, text);
    let name = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    let printable = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if !name.first().is_none_or(u8::is_ascii_digit) || !printable || name.len() > 96 {
        return Probe::NoMatch;
    }
    let Some(end) = end else { return Probe::NeedMore };
    if !handshake::is_version(name) {
        return Probe::NoMatch;
    }
    // Connection id, eight bytes of the challenge, and a zero byte.
    match text.get(end + 13) {
        None => Probe::NeedMore,
        Some(0) => Probe::Match(Speaker::Server),
        Some(_) => Probe::NoMatch,
    }
}

/// "ERR_Packet"; with a SQLSTATE once the capabilities are known.
fn error(payload: &[u8], len: u64, with_state: bool) -> Probe {
    if !(3..=1_024).contains(&len) {
        return Probe::NoMatch;
    }
    let mut fields = Fields(payload.get(1..).unwrap_or(&[]));
    let Some(number) = fields.u16() else { return Probe::NeedMore };
    if !ERRORS.contains(&number) {
        return Probe::NoMatch;
    }
    if !with_state {
        return match fields.u8() {
            None => Probe::NeedMore,
            Some(byte) if byte.is_ascii_graphic() => Probe::Match(Speaker::Server),
            Some(_) => Probe::NoMatch,
        };
    }
    let state = fields.0;
    let alike = |(at, byte): (usize, &u8)| {
        if at == 0 { *byte == b'#' } else { byte.is_ascii_digit() || byte.is_ascii_uppercase() }
    };
    if !state.iter().take(6).enumerate().all(alike) {
        return Probe::NoMatch;
    }
    if state.len() < 6 { Probe::NeedMore } else { Probe::Match(Speaker::Server) }
}

/// Sequence id 0: a command, perhaps in a frame.
fn request(prefix: &[u8], payload: &[u8], kind: u8, len: u64, home: bool) -> Probe {
    match framed(prefix, len) {
        Command::Framed(Compression::Zlib) if payload.get(..3) == Some(&[0, 0, 0]) => {
            let inner = prefix.get(compress::HEADER..).unwrap_or(&[]);
            let Some((head, payload)) = inner.split_at_checked(HEADER) else { return Probe::NeedMore };
            let Some(&kind) = payload.first() else { return Probe::NeedMore };
            let len = head.iter().take(3).rev().fold(0, |len, byte| len << 8 | u64::from(*byte));
            commanded(payload, kind, len, home)
        }
        Command::Framed(_) if home => Probe::Match(Speaker::Client),
        Command::Short(_) if kind == 0 => Probe::NeedMore,
        // What follows is a packet unless the mark of a compressor comes.
        Command::Short(_) if home => Probe::NeedMore,
        _ => commanded(payload, kind, len, home),
    }
}

fn commanded(payload: &[u8], kind: u8, len: u64, home: bool) -> Probe {
    if command::known(kind, len).is_none() {
        return Probe::NoMatch;
    }
    match kind {
        QUERY | PREPARE => statement(payload.get(1..).unwrap_or(&[]), kind, len, home),
        EXECUTE => {
            // Flags of a cursor, and an iteration count that is always 1.
            let mut fields = Fields(payload.get(5..).unwrap_or(&[]));
            match (fields.u8(), fields.u32()) {
                (Some(flags), _) if flags > 0x0f => Probe::NoMatch,
                (_, Some(1)) => Probe::Match(Speaker::Client),
                (_, Some(_)) => Probe::NoMatch,
                _ => Probe::NeedMore,
            }
        }
        _ if home => Probe::Match(Speaker::Client),
        _ => Probe::NoMatch,
    }
}

/// A text that begins with a word of SQL.
fn statement(text: &[u8], kind: u8, len: u64, home: bool) -> Probe {
    let whole = text.len() as u64 >= len.saturating_sub(1);
    let text = text.get(..usize::try_from(len.saturating_sub(1)).unwrap_or(usize::MAX)).unwrap_or(text);
    let looked = text.get(..MAX_TEXT).unwrap_or(text);
    let done = whole || looked.len() == MAX_TEXT;
    let sql = if kind == QUERY && matches!(looked, [count, 1, ..] if *count < 0x80) {
        if !done && looked.len() < 3 {
            return Probe::NeedMore;
        }
        command::query(looked, None)
    } else {
        if looked.len() < 2 && !done {
            return Probe::NeedMore;
        }
        looked
    };
    if looked.iter().take(2).any(|byte| *byte == 0) && !matches!(looked, [0, 1, ..]) {
        return Probe::NoMatch;
    }
    let Some(place) = sql::keyword(sql) else { return Probe::NoMatch };
    let ends = place.end < sql.len() || done;
    let word = sql.get(place).unwrap_or(&[]);
    let known = word.len() > 1 && VERBS.split_ascii_whitespace().any(|verb| verb.as_bytes().eq_ignore_ascii_case(word));
    match (ends, known) {
        (true, true) => Probe::Match(Speaker::Client),
        (true, false) if home && sql.first().is_some_and(|byte| byte.is_ascii_graphic()) && !word.is_empty() => {
            Probe::Match(Speaker::Client)
        }
        (true, false) if word.is_empty() && !done => Probe::NeedMore,
        (true, false) => Probe::NoMatch,
        (false, _) => Probe::NeedMore,
    }
}

/// Sequence id 1: a log-in, or the first packet of an answer.
fn first_of_either(payload: &[u8], kind: u8, len: u64, home: bool) -> Probe {
    if len >= handshake::FIXED as u64 && len <= 4_096 {
        let Some(head) = payload.get(..handshake::FIXED) else {
            // The zeroes of a log-in stand at 9.
            let zeroes = payload.get(9..).unwrap_or(&[]);
            let alike = zeroes.iter().take(19).all(|byte| *byte == 0);
            return if alike { Probe::NeedMore } else { Probe::NoMatch };
        };
        let with_charset = head.get(8).is_some_and(|charset| *charset != 0);
        let new = head.get(1).is_some_and(|flags| flags & 0x02 != 0);
        if new && with_charset && handshake::looks_like_login(head, len) {
            return Probe::Match(Speaker::Client);
        }
        return Probe::NoMatch;
    }
    match (kind, len) {
        // The number of columns, then the definition of the first: catalog "def".
        (1..=0xfa, 1) => {
            const DEFINITION: [u8; 5] = [2, 3, b'd', b'e', b'f'];
            let second = payload.get(1 + 3..).unwrap_or(&[]);
            if !DEFINITION.starts_with(second.get(..5).unwrap_or(second)) {
                return Probe::NoMatch;
            }
            if second.len() < 5 { Probe::NeedMore } else { Probe::Match(Speaker::Server) }
        }
        (0, 7..) if home => Probe::Match(Speaker::Server),
        _ => Probe::NoMatch,
    }
}
