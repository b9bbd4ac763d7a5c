//! What a beginning of Redis looks like.
//!
//! Requests tell by themselves: an array whose first bulk string is a command. Replies and inline commands are short words that other
//! protocols use, too (NATS and POP3 say `+OK`, memcached takes `get`): away from the ports of Redis only forms that no
//! other protocol has are accepted.

use super::MAX_LINE;
use super::command::is_known;
use super::line::{Line, count, number_line};
use crate::protocols::{Probe, ProbeContext, Speaker};

/// Ports that redis-server, its sentinel and its usual second instances listen on.
const PORTS: [u16; 4] = [6379, 6380, 6381, 26379];
/// Longest command name that is believed.
const MAX_COMMAND: usize = 32;
/// Arguments of the first request, at most.
const MAX_ARGUMENTS: u64 = 1 << 20;
/// Longest bulk reply that is looked through to its end.
const MAX_BULK: u64 = 256;

/// Does something begin here?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Yes,
    No,
    Perhaps,
}

/// As [`crate::protocols::Wire::probe`].
pub(super) fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
    if context.transport.is_datagram() {
        return Probe::NoMatch;
    }
    let home = PORTS.contains(&context.server_port);
    match prefix.first() {
        None => Probe::NeedMore,
        Some(b'*') => array(prefix, home),
        Some(b'>' | b'%' | b'~' | b'$' | b':') => value(prefix, home),
        Some(b'+' | b'-') => line_reply(prefix, home),
        Some(byte) if byte.is_ascii_alphabetic() => inline(prefix, home),
        Some(_) => Probe::NoMatch,
    }
}

/// Does a request begin here? For finding the way back into a stream that is known to be Redis.
pub(super) fn begins_request(bytes: &[u8]) -> Begins {
    match bytes.first() {
        None => Begins::Perhaps,
        Some(b'*') => match number_line(bytes) {
            Line::Short => Begins::Perhaps,
            Line::Long => Begins::No,
            Line::Whole(line) => {
                let counts = line.get(1..).and_then(count).is_some();
                match bytes.get(line.len() + 2) {
                    _ if !counts => Begins::No,
                    None => Begins::Perhaps,
                    Some(b'$') => Begins::Yes,
                    Some(_) => Begins::No,
                }
            }
        },
        Some(byte) if byte.is_ascii_alphabetic() => match word(bytes) {
            None if bytes.len() < MAX_COMMAND => Begins::Perhaps,
            Some(word) if is_known(word) => match bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
                Some(_) => Begins::Yes,
                None if bytes.len() < MAX_LINE => Begins::Perhaps,
                None => Begins::No,
            },
            _ => Begins::No,
        },
        Some(_) => Begins::No,
    }
}

/// An array: a request if a command stands in it, else perhaps a reply.
fn array(prefix: &[u8], home: bool) -> Probe {
    let Line::Whole(head) = number_line(prefix) else {
        return unfinished(prefix);
    };
    let args = match head.get(1..).and_then(count) {
        Some(Some(args @ 1..=MAX_ARGUMENTS)) => args,
        Some(_) if home => return Probe::Match(Speaker::Either),
        _ => return Probe::NoMatch,
    };
    let rest = prefix.get(head.len() + 2..).unwrap_or(&[]);
    match rest.first() {
        None => return Probe::NeedMore,
        Some(b'$') => {}
        Some(b':' | b'*' | b'+' | b'-' | b'_' | b'#' | b',' | b'%' | b'~') if home => {
            return Probe::Match(Speaker::Server);
        }
        Some(_) => return Probe::NoMatch,
    }
    let Line::Whole(head) = number_line(rest) else {
        return unfinished(rest);
    };
    let Some(len) = head.get(1..).and_then(count).flatten().and_then(|len| usize::try_from(len).ok()) else {
        return if home { Probe::Match(Speaker::Server) } else { Probe::NoMatch };
    };
    if len > MAX_COMMAND {
        return if home { Probe::Match(Speaker::Server) } else { Probe::NoMatch };
    }
    let rest = rest.get(head.len() + 2..).unwrap_or(&[]);
    let Some((word, marks)) = rest.split_at_checked(len) else {
        return Probe::NeedMore;
    };
    if !b"\r\n".starts_with(marks.get(..2).unwrap_or(marks)) {
        return Probe::NoMatch;
    }
    if marks.len() < 2 {
        return Probe::NeedMore;
    }
    match word {
        b"message" if args == 3 => Probe::Match(Speaker::Server),
        b"pmessage" if args == 4 => Probe::Match(Speaker::Server),
        // The same word confirms (in lower case, with two more elements).
        b"subscribe" | b"psubscribe" | b"unsubscribe" | b"punsubscribe" if args == 3 => Probe::Match(Speaker::Either),
        word if is_known(word) => Probe::Match(Speaker::Client),
        _ if home => Probe::Match(Speaker::Either),
        word if is_command_like(word) => Probe::Match(Speaker::Either),
        _ => Probe::NoMatch,
    }
}

fn is_command_like(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_alphabetic)
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn unfinished(prefix: &[u8]) -> Probe {
    let digits = prefix.get(1..).unwrap_or(&[]);
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    let digits = digits.strip_prefix(b"-").unwrap_or(digits);
    if digits.len() <= 10 && digits.iter().all(u8::is_ascii_digit) { Probe::NeedMore } else { Probe::NoMatch }
}

/// A bulk string, integer, map, set or push from a server.
fn value(prefix: &[u8], home: bool) -> Probe {
    let Line::Whole(head) = number_line(prefix) else {
        return unfinished(prefix);
    };
    let Some(len) = head.get(1..).and_then(count) else {
        return Probe::NoMatch;
    };
    if home {
        return Probe::Match(Speaker::Server);
    }
    let (Some(b'$'), Some(len @ 1..=MAX_BULK)) = (prefix.first(), len) else {
        return Probe::NoMatch;
    };
    let rest = prefix.get(head.len() + 2..).unwrap_or(&[]);
    let Some(marks) = usize::try_from(len).ok().and_then(|len| rest.get(len..)) else {
        return Probe::NeedMore;
    };
    match marks {
        [b'\r', b'\n', ..] => Probe::Match(Speaker::Server),
        [] | [b'\r'] => Probe::NeedMore,
        _ => Probe::NoMatch,
    }
}

/// A simple string or error from a server. Off its ports only errors that no one else words so.
fn line_reply(prefix: &[u8], home: bool) -> Probe {
    const STRANGE: [&[u8]; 8] = [
        b"-WRONGTYPE ",
        b"-NOAUTH ",
        b"-WRONGPASS ",
        b"-NOSCRIPT ",
        b"-MOVED ",
        b"-ERR unknown command ",
        b"-READONLY ",
        b"-MISCONF ",
    ];
    const HOMELY: [&[u8]; 12] = [
        b"+OK\r\n",
        b"+PONG\r\n",
        b"+QUEUED\r\n",
        b"-ERR ",
        b"-LOADING ",
        b"-BUSY ",
        b"-OOM ",
        b"-NOPERM ",
        b"-ASK ",
        b"-CLUSTERDOWN ",
        b"-EXECABORT ",
        b"-MASTERDOWN ",
    ];
    let begins = |forms: &[&[u8]]| forms.iter().any(|form| prefix.starts_with(form));
    let may_become = |forms: &[&[u8]]| forms.iter().any(|form| form.starts_with(prefix));
    if begins(&STRANGE) || (home && begins(&HOMELY)) {
        Probe::Match(Speaker::Server)
    } else if may_become(&STRANGE) || (home && may_become(&HOMELY)) {
        Probe::NeedMore
    } else {
        Probe::NoMatch
    }
}

/// An inline command: a known one at home, and no HTTP; elsewhere only what nobody else says.
fn inline(prefix: &[u8], home: bool) -> Probe {
    const STRANGE: [&[u8]; 6] =
        [b"PING\r\n", b"HELLO 2\r\n", b"HELLO 3\r\n", b"CONFIG GET ", b"CLIENT SETNAME ", b"FLUSHALL\r\n"];
    if STRANGE.iter().any(|form| prefix.starts_with(form)) {
        return Probe::Match(Speaker::Client);
    }
    let perhaps = STRANGE.iter().any(|form| form.starts_with(prefix));
    if !home {
        return if perhaps { Probe::NeedMore } else { Probe::NoMatch };
    }
    match word(prefix) {
        None if prefix.len() < MAX_COMMAND => Probe::NeedMore,
        Some(name) if is_known(name) => match prefix.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
            Some(end) if prefix.get(..end).is_some_and(is_http) => Probe::NoMatch,
            Some(_) => Probe::Match(Speaker::Client),
            None if prefix.len() < MAX_LINE => Probe::NeedMore,
            None => Probe::NoMatch,
        },
        _ => Probe::NoMatch,
    }
}

/// The first word, if its end is there.
fn word(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().take(MAX_COMMAND).position(u8::is_ascii_whitespace)?;
    bytes.get(..end)
}

fn is_http(line: &[u8]) -> bool {
    line.windows(6).any(|window| window == b" HTTP/")
}
