//! A start line becomes the beginning of a message.

use super::super::{Malformed, Probe, Speaker};
use super::{line, probe};
use crate::flow::message::{Message, MessageKind, Status};
use crate::limits;
use crate::text::{Text, Token};

/// A start line longer than this is read without waiting for its end (method, then as much of the target as is kept).
const MAX_START_LINE: usize = limits::MAX_TARGET + limits::MAX_TOKEN + 16;

/// Reads a start line into the message that it begins: how many bytes were read, and whether the line was whole. `None`: more
/// bytes decide. `doubtful`: these bytes may begin anywhere, also within a line.
pub(super) fn read_start_line(
    message: &mut Message,
    doubtful: bool,
    input: &[u8],
) -> Result<Option<(usize, bool)>, Malformed> {
    let request = message.kind == MessageKind::Request;
    if request && doubtful {
        // The end of a method is a token as well.
        match probe::probe(input) {
            Probe::Match(Speaker::Client) => {}
            Probe::NeedMore => return Ok(None),
            _ => return Err(Malformed { field: "method", kind: "is not known" }),
        }
    }
    let end = memchr::memchr(b'\n', input);
    let whole = end.and_then(|end| input.get(..end)).map(line::trim_cr);
    let len = end.map_or(input.len(), |end| end + 1);
    match (request, whole) {
        (true, Some(text)) => {
            let text = if doubtful {
                line::request(text)
            } else {
                line::request(text).or_else(|why| line::careless(text).ok_or(why))
            }?;
            message.method = Token::from_wire(text.method);
            message.target = Text::from_wire(text.target);
        }
        (true, None) => {
            // Too long to wait for: the method and the beginning of the target are all that would be kept anyway.
            let Some((method, target)) = line::method(input)? else { return Ok(None) };
            if input.len() < MAX_START_LINE {
                return Ok(None);
            }
            message.method = Token::from_wire(method);
            message.target = Text::from_wire(target.trim_ascii_start());
        }
        (false, whole) => {
            let text = match whole {
                Some(text) => text,
                None if input.len() < 16 => return early_status(input),
                // The reason phrase has no bound and no meaning.
                None => input,
            };
            let text = line::status(text)?;
            message.code = Token::from_wire(text.digits);
            message.status = if text.code < 400 { Status::Ok } else { Status::Error };
            if text.code < 200 && text.code != 101 {
                message.kind = MessageKind::Interim;
            }
        }
    }
    Ok(Some((len, whole.is_some())))
}

/// Refuses what cannot become a status line without waiting for a line end that may never come.
fn early_status(input: &[u8]) -> Result<Option<(usize, bool)>, Malformed> {
    let agree = input.iter().zip(probe::VERSION).all(|(have, want)| have == want);
    if agree { Ok(None) } else { Err(Malformed { field: "HTTP-version", kind: "is not HTTP/1.x" }) }
}

pub(super) fn status_code(message: &Message) -> u16 {
    message
        .code
        .as_bytes()
        .iter()
        .fold(0, |code: u16, digit| code.wrapping_mul(10).wrapping_add(u16::from(digit.wrapping_sub(b'0'))))
}
