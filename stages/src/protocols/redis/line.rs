//! Lines of RESP: up to CR LF, bounded, and the numbers in them.

use super::MAX_COUNT;

/// Longest line that holds one number, without CR LF.
const MAX_NUMBER: usize = 32;

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line, without its CR LF.
    Whole(&'a [u8]),
    /// Not ended yet.
    Short,
    /// Longer than asked for.
    Long,
}

/// The line at the beginning of `bytes`, of at most `max` bytes.
pub(super) fn line(bytes: &[u8], max: usize) -> Line<'_> {
    let window = bytes.get(..max.saturating_add(2)).unwrap_or(bytes);
    match line_end(window).and_then(|end| window.get(..end)) {
        Some(line) => Line::Whole(line),
        None if window.len() == max.saturating_add(2) => Line::Long,
        None => Line::Short,
    }
}

/// Where the first CR LF is.
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let cr = rest.iter().position(|byte| *byte == b'\r')?;
        if rest.get(cr + 1) == Some(&b'\n') {
            return Some(from + cr);
        }
        from += cr + 1;
    }
}

/// The line of a length or a count.
pub(super) fn number_line(bytes: &[u8]) -> Line<'_> {
    line(bytes, MAX_NUMBER)
}

/// A type and a number of one or two digits, with CR LF, as most lengths and counts are: the number, and the bytes of all that.
/// `None`: something else, or not all there.
#[inline]
pub(super) fn short_count(bytes: &[u8]) -> Option<(u8, usize)> {
    match *bytes {
        [_, ones @ b'0'..=b'9', b'\r', b'\n', ..] => Some((ones - b'0', 4)),
        [_, tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => Some((10 * (tens - b'0') + (ones - b'0'), 5)),
        _ => None,
    }
}

/// A length or count (`None` inside: null, written as -1).
pub(super) fn count(digits: &[u8]) -> Option<Option<u64>> {
    if digits == b"-1" {
        return Some(None);
    }
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    let mut n = 0_u64;
    for digit in digits {
        n = n * 10 + u64::from(digit.checked_sub(b'0').filter(|d| *d <= 9)?);
    }
    (n <= MAX_COUNT).then_some(Some(n))
}

/// Bytes of `bytes` that end on a character: what is left out is the beginning of one (at most three bytes).
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    for (back, &byte) in bytes.iter().rev().take(3).enumerate() {
        let need = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            0x80..=0xbf => continue,
            _ => break,
        };
        return if back + 1 < need { bytes.len() - back - 1 } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_short_or_long() {
        assert_eq!(line(b"OK\r\nx", 2), Line::Whole(b"OK"));
        assert_eq!(line(b"OK\r", 2), Line::Short);
        assert_eq!(line(b"OKO\r\n", 2), Line::Long);
    }

    #[test]
    fn counts_are_digits_within_the_bound() {
        assert_eq!(count(b"10"), Some(Some(10)));
        assert_eq!(count(b"-1"), Some(None));
        assert_eq!(count(b"+1"), None);
        assert_eq!(count(b""), None);
        assert_eq!(count(b"4294967296"), Some(Some(MAX_COUNT)));
        assert_eq!(count(b"4294967297"), None);
        assert_eq!(count(b"99999999999999999999"), None);
    }

    #[test]
    fn short_counts_are_counts() {
        for n in 0..=99_u8 {
            let text = format!("${n}\r\nx");
            assert_eq!(short_count(text.as_bytes()), Some((n, text.len() - 1)));
        }
        for other in ["$-1\r\n", "$100\r\n", "$1\r", "$1\n\n", "$\r\n", "$a\r\n", ""] {
            assert_eq!(short_count(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn a_begun_character_is_left_for_later() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"a€".as_bytes()[..3]), 1);
        assert_eq!(whole_characters(b"\x80\x80\x80\x80"), 4, "never a character: nothing to wait for");
    }
}
