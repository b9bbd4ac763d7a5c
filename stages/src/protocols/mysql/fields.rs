//! Reads the field types of the protocol ("Protocol::FixedLengthInteger", "Protocol::LengthEncodedInteger", strings): little
//! endian, every step checked. `None` means: not that many bytes here.

/// Reads forward over a packet's payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// A fixed-length integer of `n` bytes, at most 8.
    pub(super) fn number(&mut self, n: usize) -> Option<u64> {
        let bytes = self.take(n)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Two bytes.
    pub(super) fn u16(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    /// Four bytes.
    pub(super) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.number(4)?).ok()
    }

    /// A length-encoded integer. 0xfb (NULL) and 0xff are none.
    pub(super) fn encoded(&mut self) -> Option<u64> {
        match self.u8()? {
            small @ 0..=0xfa => Some(u64::from(small)),
            0xfc => self.number(2),
            0xfd => self.number(3),
            0xfe => self.number(8),
            0xfb | 0xff => None,
        }
    }

    /// A string that its length precedes, as a length-encoded integer.
    pub(super) fn encoded_text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.encoded()?).ok()?;
        self.take(len)
    }

    /// A string up to a zero byte, which is read but not returned.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// As [`Fields::text`]; up to the end where there is no zero byte any more (what is cut, and old clients).
    pub(super) fn text_or_rest(&mut self) -> &'a [u8] {
        self.text().unwrap_or_else(|| std::mem::take(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_length_encoded_integers_as_the_specification_gives_them() {
        let read = |bytes: &[u8]| Fields(bytes).encoded();
        assert_eq!(read(&[0xfa]), Some(250));
        assert_eq!(read(&[0xfb]), None, "NULL is no number");
        assert_eq!(read(&[0xfc, 0xfb, 0x00]), Some(251));
        assert_eq!(read(&[0xfd, 0x00, 0x00, 0x01]), Some(65_536));
        assert_eq!(read(&[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]), Some(16_777_216));
        assert_eq!(read(&[0xfc, 0xfb]), None, "cut");
    }

    #[test]
    fn a_text_ends_at_its_zero_byte() {
        let mut fields = Fields(b"root\0test");
        assert_eq!(fields.text(), Some(&b"root"[..]));
        assert_eq!(fields.text(), None);
        assert_eq!(fields.text_or_rest(), b"test");
        assert!(fields.0.is_empty());
    }
}
