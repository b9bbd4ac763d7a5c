//! Does a prefix look like HTTP/1? Stateless and monotonic.
//!
//! Strict on purpose: a client is known by a registered method and the beginning of a target, a server by `HTTP/1.`. A client
//! with a method of its own is found by what the server answers.

use crate::protocols::{Probe, Speaker};

/// RFC 9110, section 9.3, RFC 5789 and the methods of RFC 4918 (WebDAV) and UPnP that are met in practice.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"PURGE",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"M-SEARCH",
];

/// Beginning of every status line of this version (RFC 9112, section 4).
pub(super) const VERSION: &[u8] = b"HTTP/1.";

/// Empty lines before a request line that are skipped (RFC 9112, section 2.2 asks for one at least).
const LEADING: usize = 8;

pub(super) fn probe(prefix: &[u8]) -> Probe {
    let lead = prefix.iter().take(LEADING).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = prefix.get(lead..).unwrap_or(&[]);
    if text.is_empty() {
        return Probe::NeedMore;
    }
    if text.starts_with(VERSION) {
        return Probe::Match(Speaker::Server);
    }
    let mut undecided = VERSION.starts_with(text);
    for method in METHODS {
        match after_method(text, method) {
            Probe::NoMatch => {}
            Probe::NeedMore => undecided = true,
            Probe::Match(speaker) => return Probe::Match(speaker),
        }
    }
    if undecided { Probe::NeedMore } else { Probe::NoMatch }
}

fn after_method(text: &[u8], method: &[u8]) -> Probe {
    if text.len() <= method.len() {
        return if method.starts_with(text) { Probe::NeedMore } else { Probe::NoMatch };
    }
    let Some((b' ', target)) = text.strip_prefix(method).and_then(|rest| rest.split_first()) else {
        return Probe::NoMatch;
    };
    match target.first() {
        None => Probe::NeedMore,
        // RFC 9112, section 3.2: origin-form, asterisk-form; absolute-form and authority-form begin with a scheme or a host.
        Some(b'/' | b'*' | b'[') => Probe::Match(Speaker::Client),
        Some(byte) if byte.is_ascii_alphanumeric() => form_with_colon(target),
        Some(_) => Probe::NoMatch,
    }
}

/// Absolute-form and authority-form: letters, digits and `+-._` (of a scheme or a host), then a colon. Without it, a word after
/// a word is not a request line (`GET key` of other text protocols).
fn form_with_colon(target: &[u8]) -> Probe {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'+' | b'_');
    match target.iter().take(256).find(|&&byte| !is_host(byte)) {
        Some(b':') => Probe::Match(Speaker::Client),
        Some(_) => Probe::NoMatch,
        None if target.len() < 256 => Probe::NeedMore,
        None => Probe::NoMatch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_clients_and_servers() {
        for line in
            ["GET / HTTP/1.1", "\r\nPOST /x", "OPTIONS * H", "CONNECT a.b:443 ", "GET http://h/", "CONNECT [::1]:1"]
        {
            assert_eq!(probe(line.as_bytes()), Probe::Match(Speaker::Client), "{line}");
        }
        assert_eq!(probe(b"HTTP/1.1 200 OK"), Probe::Match(Speaker::Server));
        assert_eq!(probe(b"HTTP/1."), Probe::Match(Speaker::Server));
    }

    #[test]
    fn refuses_the_neighbours() {
        for line in [
            "PRI * HTTP/2.0\r\n",
            "*1\r\n$4\r\nPING\r\n",
            "GET key\r\n",
            "get /",
            "SSH-2.0-x",
            "HTTP/2 200",
            "GETX /",
            "PUT !",
        ] {
            assert_eq!(probe(line.as_bytes()), Probe::NoMatch, "{line}");
        }
    }

    #[test]
    fn never_changes_a_decision() {
        for text in ["GET http://host/ HTTP/1.1", "HTTP/1.0 200", "PRI * HTTP/2.0", "\r\n\r\nHEAD /", "SUBSCRIBE x y"] {
            let mut decided = None;
            for len in 0..=text.len() {
                let now = probe(&text.as_bytes()[..len]);
                match decided {
                    Some(before) => assert_eq!(now, before, "{text} at {len}"),
                    None if now == Probe::NeedMore => {}
                    None => decided = Some(now),
                }
            }
            assert!(decided.is_some(), "{text}");
        }
    }
}
