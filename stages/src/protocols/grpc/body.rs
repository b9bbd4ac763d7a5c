//! Bodies of calls: how many messages, and, in gRPC-Web, the trailers at their end.
//!
//! A message has a prefix of five bytes: flags and its length, which may lie in several pieces. Absent: content. Bounded:
//! `MAX_LINE` bytes of a line of the trailers are kept, in place.

use super::Flavor;

/// The trailer that is looked for, in lower case as all are.
const NAME: &[u8] = b"grpc-status:";
/// Bytes kept of a line of trailers.
const MAX_LINE: usize = NAME.len() + 8;
/// The flag of the trailer frame (PROTOCOL-WEB.md).
const TRAILERS: u8 = 0x80;
/// That of what is compressed (PROTOCOL-HTTP2.md); there are no others.
const COMPRESSED: u8 = 0x01;
const PREFIX: u8 = 5;

/// One body, as it comes.
#[derive(Debug, Clone)]
pub struct Body {
    flavor: Flavor,
    messages: u32,
    /// Some of it was missing: nothing that follows can be told.
    torn: bool,
    /// Of the prefix, bytes read and their value so far.
    have: u8,
    flags: u8,
    /// Length of the message, then bytes of it still to come.
    left: u32,
    base64: Base64,
    trailers: Trailers,
}

impl Body {
    /// The beginning of one.
    #[must_use]
    pub fn new(flavor: Flavor) -> Self {
        Self {
            flavor,
            messages: 0,
            torn: false,
            have: 0,
            flags: 0,
            left: 0,
            base64: Base64::default(),
            trailers: Trailers::default(),
        }
    }

    /// Messages that began so far; 0 where that cannot be known.
    #[must_use]
    pub fn messages(&self) -> u32 {
        if self.torn { 0 } else { self.messages }
    }

    /// The status in its trailers, if they were there.
    #[must_use]
    pub fn status(&self) -> Option<u32> {
        if self.torn { None } else { self.trailers.status() }
    }

    /// Some of it went by unseen.
    pub fn gap(&mut self) {
        self.torn = true;
    }

    /// The next bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.torn {
            return;
        }
        if self.flavor != Flavor::WebText {
            self.content(bytes);
            return;
        }
        for byte in bytes {
            let (group, len) = self.base64.push(*byte);
            self.content(group.get(..len).unwrap_or(&[]));
        }
    }

    fn content(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.have < PREFIX {
                bytes = rest;
                self.prefix(byte);
                continue;
            }
            let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (content, rest) = bytes.split_at_checked(take).unwrap_or((bytes, &[]));
            bytes = rest;
            if self.flags & TRAILERS != 0 && self.flavor != Flavor::Native {
                self.trailers.push(content);
            }
            self.left = self.left.saturating_sub(u32::try_from(take).unwrap_or(u32::MAX));
            if self.left == 0 {
                self.have = 0;
            }
        }
    }

    fn prefix(&mut self, byte: u8) {
        if self.have == 0 {
            self.flags = byte;
            self.left = 0;
            // These are no messages, or are written otherwise than was believed.
            self.torn |= byte & !(TRAILERS | COMPRESSED) != 0;
        } else {
            self.left = self.left << 8 | u32::from(byte);
        }
        self.have += 1;
        if self.have == PREFIX {
            let trailers = self.flags & TRAILERS != 0 && self.flavor != Flavor::Native;
            self.messages = self.messages.saturating_add(u32::from(!trailers));
            if self.left == 0 {
                self.have = 0;
            }
        }
    }
}

/// Base64 (RFC 4648, section 4), in groups of four; each message may be padded by itself.
#[derive(Debug, Clone, Default)]
struct Base64 {
    bits: u32,
    digits: u8,
    padding: u8,
}

impl Base64 {
    /// The bytes that a digit completes, and how many.
    fn push(&mut self, digit: u8) -> ([u8; 3], usize) {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                self.padding += 1;
                0
            }
            _ => return ([0; 3], 0),
        };
        self.bits = self.bits << 6 | u32::from(value);
        self.digits += 1;
        if self.digits < 4 {
            return ([0; 3], 0);
        }
        let [_, a, b, c] = self.bits.to_be_bytes();
        let len = 3_usize.saturating_sub(usize::from(self.padding));
        *self = Self::default();
        ([a, b, c], len)
    }
}

/// The trailers: lines as in HTTP/1, of which the beginning of the present one is kept.
#[derive(Debug, Clone, Default)]
struct Trailers {
    line: [u8; MAX_LINE],
    len: usize,
    status: Option<u32>,
}

impl Trailers {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.line_ended();
            } else if let Some(place) = self.line.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    fn line_ended(&mut self) {
        let line = self.line.get(..std::mem::take(&mut self.len)).unwrap_or(&[]);
        let Some((name, value)) = line.split_at_checked(NAME.len()) else { return };
        if name.eq_ignore_ascii_case(NAME) {
            self.status = std::str::from_utf8(value.trim_ascii()).ok().and_then(|code| code.parse().ok());
        }
    }

    /// The last line may come without its end.
    fn status(&self) -> Option<u32> {
        let mut all = self.clone();
        all.line_ended();
        all.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two messages, one of them empty, and trailers.
    const WEB: &[u8] =
        b"\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x80\x00\x00\x00\x21grpc-message:no\r\ngrpc-status: 5\r\n";

    fn in_pieces(flavor: Flavor, bytes: &[u8], size: usize) -> Body {
        let mut body = Body::new(flavor);
        bytes.chunks(size).for_each(|piece| body.bytes(piece));
        body
    }

    #[test]
    fn counts_messages_and_reads_trailers_however_they_are_cut() {
        for size in 1..WEB.len() {
            let body = in_pieces(Flavor::Web, WEB, size);
            assert_eq!((body.messages(), body.status()), (2, Some(5)), "in pieces of {size}");
        }
        let native = in_pieces(Flavor::Native, &WEB[..13], 4);
        assert_eq!((native.messages(), native.status()), (2, None));
    }

    #[test]
    fn reads_base64_of_parts_that_are_padded_each() {
        // "\0\0\0\0\x03abc" and "\x80\0\0\0\x0fgrpc-status:12\n", encoded one by one.
        let text = b"AAAAAANhYmM=gAAAAA9ncnBjLXN0YXR1czoxMgo=";
        for size in 1..text.len() {
            let body = in_pieces(Flavor::WebText, text, size);
            assert_eq!((body.messages(), body.status()), (1, Some(12)), "in pieces of {size}");
        }
    }

    #[test]
    fn says_nothing_of_what_are_no_messages() {
        for bytes in [&b"AAAAAANhYm0="[..], b"{\"id\": 7}", b"\0\0\0\0\x01a<html>"] {
            assert_eq!(in_pieces(Flavor::Web, bytes, 5).messages(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn says_nothing_where_something_was_missing() {
        let mut body = Body::new(Flavor::Web);
        body.bytes(&WEB[..6]);
        body.gap();
        body.bytes(&WEB[7..]);
        assert_eq!((body.messages(), body.status()), (0, None));
    }
}
