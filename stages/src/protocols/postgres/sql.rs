//! The first keyword of a statement (lexical rules: PostgreSQL documentation, "SQL Syntax").

use crate::text::Token;

/// Upper case; `None` if there is none in what is there of the text.
pub(super) fn keyword(text: &[u8]) -> Option<Token> {
    let rest = begin(text);
    let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len());
    let word = rest.get(..end).filter(|word| word.first().is_some_and(|byte| !byte.is_ascii_digit()))?;
    Some(Token::from_wire_upper(word))
}

/// Past white space, comments (`--` to the end of the line; `/* */`, which nest), brackets and empty statements.
fn begin(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [b'-', b'-', rest @ ..] => {
                let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                rest.get(end..).unwrap_or(&[])
            }
            [b'/', b'*', rest @ ..] => behind_comment(rest),
            [b'(' | b';', rest @ ..] => rest,
            [byte, rest @ ..] if byte.is_ascii_whitespace() || *byte == 0x0b => rest,
            _ => return text,
        }
    }
}

fn behind_comment(mut text: &[u8]) -> &[u8] {
    let mut depth = 1_usize;
    while depth > 0 {
        text = match text {
            [b'/', b'*', rest @ ..] => {
                depth += 1;
                rest
            }
            [b'*', b'/', rest @ ..] => {
                depth -= 1;
                rest
            }
            [_, rest @ ..] => rest,
            [] => return text,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_keyword() {
        let is = |text: &str, word: Option<&str>| assert_eq!(keyword(text.as_bytes()), word.map(Token::from), "{text}");
        is("select 1", Some("SELECT"));
        is("  \n\t-- a comment\n /* one /* in */ another */ (with x as (select 1) select 2)", Some("WITH"));
        is("BEGIN;", Some("BEGIN"));
        is("asdsdfdsf;", Some("ASDSDFDSF"));
        is("start_replication slot", Some("START_REPLICATION"));
        is(";;commit", Some("COMMIT"));
        is("", None);
        is("-- ping", None);
        is("/* unfinished", None);
        is("42", None);
        is("\"select\"", None);
    }
}
