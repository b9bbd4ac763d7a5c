//! A cursor over bytes from strangers: every step checked, nothing indexed.

use super::Step;
use std::num::NonZeroU64;

/// [`Step::Consumed`] of `n` bytes of a slice; a parser that consumed none has lost its way.
#[must_use]
pub fn consumed(n: usize) -> Step {
    NonZeroU64::new(n as u64).map_or(Step::Lost, Step::Consumed)
}

/// Reads forward over a slice. `None` means: not enough bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    consumed: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, consumed: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        self.consumed += n;
        Some(head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The next two bytes, big-endian.
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Up to the next CR LF, which is read but not returned. `None` if there is none.
    pub fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.take(end)?;
        self.take(2)?;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_no_further_than_the_end() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u16(), Some(0x0102));
        assert_eq!(cursor.u16(), None);
        assert_eq!(cursor.u8(), Some(3), "a failed read consumes nothing");
        assert_eq!(cursor.consumed(), 3);
    }

    #[test]
    fn finds_lines() {
        let mut cursor = Cursor::new(b"a\rb\r\n\r\nx");
        assert_eq!(cursor.line(), Some(&b"a\rb"[..]));
        assert_eq!(cursor.line(), Some(&b""[..]));
        assert_eq!(cursor.line(), None);
        assert_eq!(cursor.rest(), b"x");
    }
}
