//! What of a statement the protocol itself needs: its first keyword, and the name in a `USE`. Everything else about SQL is
//! converge's.

use std::ops::Range;

/// Longest keyword.
const MAX_KEYWORD: usize = 32;

/// The first keyword. White space, comments and opening brackets before it are passed over; the content of a comment that MySQL
/// executes (`/*! ... */`, "Comments") is code. Empty: there is none.
pub(super) fn first_keyword(text: &[u8]) -> &[u8] {
    keyword(text).and_then(|place| text.get(place)).unwrap_or(&[])
}

/// Where it stands. `None`: a word that is too long for one.
pub(super) fn keyword(text: &[u8]) -> Option<Range<usize>> {
    let code = code(text);
    let start = text.len() - code.len();
    let end = code.iter().take(MAX_KEYWORD + 1).position(|byte| !(byte.is_ascii_alphabetic() || *byte == b'_'));
    let len = end.unwrap_or(code.len());
    (len <= MAX_KEYWORD).then_some(start..start + len)
}

/// The database that a `USE` names.
pub(super) fn used_database(text: &[u8]) -> Option<&[u8]> {
    let keyword = first_keyword(text);
    if !keyword.eq_ignore_ascii_case(b"use") {
        return None;
    }
    let rest = code(text).get(keyword.len()..)?.trim_ascii_start();
    let name = match rest.split_first()? {
        (quote @ (b'`' | b'"'), rest) => rest.split(|byte| byte == quote).next()?,
        _ => rest.split(|byte| byte.is_ascii_whitespace() || *byte == b';').next()?,
    };
    (!name.is_empty()).then_some(name)
}

/// What follows white space, comments and opening brackets.
fn code(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = match text {
            [b'(' | b';', rest @ ..] => rest,
            [b'#', rest @ ..] | [b'-', b'-', rest @ ..] => behind(rest, b"\n"),
            [b'/', b'*', b'!', rest @ ..] | [b'/', b'*', b'M', b'!', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest.get(digits..).unwrap_or(&[])
            }
            [b'/', b'*', rest @ ..] => behind(rest, b"*/"),
            // The end of a comment that was executed and had nothing to say.
            [b'*', b'/', rest @ ..] => rest,
            _ => return text,
        };
    }
}

fn behind<'a>(text: &'a [u8], mark: &[u8]) -> &'a [u8] {
    let at = memchr::memmem::find(text, mark).map_or(text.len(), |at| at + mark.len());
    text.get(at..).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_keyword_behind_what_means_nothing() {
        for (text, keyword) in [
            ("select 1", "select"),
            ("\n\t (SELECT 1) UNION (SELECT 2)", "SELECT"),
            ("/* app:shop */ -- why\n# so\nUPDATE t SET a=1", "UPDATE"),
            ("/*!40101 SET NAMES utf8 */", "SET"),
            ("/*M!100100 SET a=1 */", "SET"),
            ("/*!999999 */ COMMIT", "COMMIT"),
            ("rollback", "rollback"),
            ("/* cut", ""),
            ("?", ""),
            ("", ""),
        ] {
            assert_eq!(first_keyword(text.as_bytes()), keyword.as_bytes(), "{text}");
        }
    }

    #[test]
    fn finds_the_database_of_use_however_it_is_quoted() {
        assert_eq!(used_database(b"USE shop"), Some(&b"shop"[..]));
        assert_eq!(used_database(b" use `my shop`;"), Some(&b"my shop"[..]));
        assert_eq!(used_database(b"use shop; select 1"), Some(&b"shop"[..]));
        assert_eq!(used_database(b"use"), None);
        assert_eq!(used_database(b"user x"), None);
    }
}
