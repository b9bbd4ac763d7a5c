//! Start lines: what a request asks for, what a response says (RFC 9112, sections 3 and 4).
//!
//! Both are read from a whole line without its end. Absent: any judgement on the target, which is kept as on the wire.

use crate::limits;
use crate::protocols::Malformed;

/// A request line in pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
}

/// A status line as far as it matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusLine<'a> {
    /// 100..=999.
    pub(super) code: u16,
    /// The same as three digits.
    pub(super) digits: &'a [u8],
}

/// A method and what follows its space.
type Split<'a> = (&'a [u8], &'a [u8]);

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn malformed<T>(field: &'static str, kind: &'static str) -> Result<T, Malformed> {
    Err(Malformed { field, kind })
}

/// Method and what follows its space. `None`: the method may go on behind the end of `line`.
pub(super) fn method(line: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    let window = line.get(..=limits::MAX_TOKEN).unwrap_or(line);
    match window.iter().position(|&byte| !is_token(byte)) {
        Some(0) => malformed("method", "is empty"),
        Some(end) => {
            let (method, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
            match rest.split_first() {
                Some((b' ', rest)) => Ok(Some((method, rest))),
                _ => malformed("method", "holds what is not a token"),
            }
        }
        None if window.len() > limits::MAX_TOKEN => malformed("method", "is longer than 64 bytes"),
        None => Ok(None),
    }
}

/// `method SP request-target SP HTTP-version`. The target is all between the first and the last space: some clients leave spaces
/// unescaped, and their servers answer.
pub(super) fn request(line: &[u8]) -> Result<RequestLine<'_>, Malformed> {
    let Some((method, rest)) = method(line)? else {
        return malformed("request-line", "has no target");
    };
    let rest = rest.trim_ascii_end();
    let Some(space) = memchr::memrchr(b' ', rest) else {
        return malformed("HTTP-version", "is missing");
    };
    let (target, version) = rest.split_at_checked(space).unwrap_or((rest, &[]));
    if !is_version(version.trim_ascii_start()) {
        return malformed("HTTP-version", "is not HTTP/1.x");
    }
    let target = target.trim_ascii();
    if target.is_empty() {
        return malformed("request-target", "is empty");
    }
    if target.iter().any(|&byte| byte < b' ' || byte == 0x7f) {
        return malformed("request-target", "holds a control character");
    }
    Ok(RequestLine { method, target })
}

/// A request line that breaks the grammar and that servers answer all the same, if only with a 400: the minor version is
/// missing, or the version, or the target as well. The method must be in capitals, and what is there must look like a target.
pub(super) fn careless(line: &[u8]) -> Option<RequestLine<'_>> {
    let line = line.trim_ascii_end();
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let (method, rest) = line.split_at_checked(end)?;
    let capital = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    if method.len() < 3 || method.len() > limits::MAX_TOKEN || !method.iter().all(capital) {
        return None;
    }
    let rest = rest.trim_ascii();
    let (target, version) = match memchr::memrchr(b' ', rest) {
        Some(space) => rest.split_at_checked(space)?,
        None => (rest, &[][..]),
    };
    let rest_of_version = version.trim_ascii().strip_prefix(b"HTTP/1").unwrap_or(b"x");
    let said = version.is_empty() || rest_of_version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let target = target.trim_ascii();
    let plain = target.iter().all(u8::is_ascii_graphic);
    let like_one = matches!(target.first(), None | Some(b'/' | b'*')) || target.starts_with(b"HTTP/1");
    (said && plain && like_one).then_some(RequestLine { method, target })
}

/// `HTTP-version SP status-code SP [reason-phrase]`; the space before an absent reason is often left out.
pub(super) fn status(line: &[u8]) -> Result<StatusLine<'_>, Malformed> {
    let Some((version, rest)) = line.split_at_checked(8) else {
        return malformed("status-line", "is too short");
    };
    if !is_version(version) {
        return malformed("HTTP-version", "is not HTTP/1.x");
    }
    let Some((b' ', rest)) = rest.split_first() else {
        return malformed("status-line", "has no space behind the version");
    };
    let Some((digits, rest)) = rest.split_at_checked(3) else {
        return malformed("status-code", "has fewer than three digits");
    };
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), None | Some(b' ' | b'\t')) {
        return malformed("status-code", "is not three digits");
    }
    let code = digits.iter().fold(0_u16, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    if code < 100 {
        return malformed("status-code", "is below 100");
    }
    Ok(StatusLine { code, digits })
}

/// RFC 9112, section 2.3, of this major version only.
fn is_version(bytes: &[u8]) -> bool {
    matches!(bytes, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit())
}

/// A line without the CR that ended it. A bare LF is an end as well (RFC 9112, section 2.2).
pub(super) fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_forms_of_target() {
        for target in ["/a?b=c", "*", "http://h:1/x", "h:443", "/with space"] {
            let line = format!("M-SEARCH {target} HTTP/1.1");
            let want = RequestLine { method: b"M-SEARCH", target: target.as_bytes() };
            assert_eq!(request(line.as_bytes()), Ok(want));
        }
    }

    #[test]
    fn rejects_what_is_no_request_line() {
        for (line, field) in [
            ("", "request-line"),
            (" / HTTP/1.1", "method"),
            ("G\u{1}T / HTTP/1.1", "method"),
            ("GET /", "HTTP-version"),
            ("GET / HTTP/2.0", "HTTP-version"),
            ("GET  HTTP/1.1", "request-target"),
            ("GET /\u{1} HTTP/1.1", "request-target"),
            ("GET", "request-line"),
        ] {
            assert_eq!(request(line.as_bytes()).unwrap_err().field, field, "{line:?}");
        }
    }

    #[test]
    fn reads_what_careless_clients_send_and_nothing_else() {
        for (line, method, target) in [
            ("GET / HTTP/1.", "GET", "/"),
            ("CCM_POST /HTTP/1.1", "CCM_POST", "/HTTP/1.1"),
            ("OPTIONS HTTP/1.1", "OPTIONS", "HTTP/1.1"),
            ("OPTIONS", "OPTIONS", ""),
            ("GET /index.html", "GET", "/index.html"),
        ] {
            let want = RequestLine { method: method.as_bytes(), target: target.as_bytes() };
            assert_eq!(careless(line.as_bytes()), Some(want), "{line}");
            assert!(request(line.as_bytes()).is_err(), "{line}");
        }
        for line in
            ["PRI * HTTP/2.0", "get /", "GET key", "SET key value", "{\"a\": 1}", "", "GO", "GET /a b", "GET /\u{1}"]
        {
            assert_eq!(careless(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn reads_a_status_line_without_reason() {
        assert_eq!(status(b"HTTP/1.1 204").unwrap().code, 204);
        assert_eq!(status(b"HTTP/1.0 404 ").unwrap().digits, b"404");
        for line in
            ["HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1 099 x", "HTTP/2.0 200", "HTTP/1.1  200", "HTTP/1.1\t200 x"]
        {
            assert!(status(line.as_bytes()).is_err(), "{line}");
        }
    }
}
