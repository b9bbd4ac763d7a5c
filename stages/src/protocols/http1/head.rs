//! Header fields, as far as they say how long the message is (RFC 9112, sections 5 and 6).
//!
//! Lines may come in pieces: the unfinished one is kept here, cut at a bound, so that a head never has to be buffered.
//! Absent: every field but Content-Length and Transfer-Encoding, those that say what else is spoken here: Upgrade (h2c),
//! Content-Type and grpc-status (gRPC-Web), and those that carry a trace context. What to do on `Connection` and `Expect` is told by what then happens: the end of the
//! stream, a 100.

use super::h2c;
use super::line::trim_cr;
use crate::protocols::grpc::Flavor;
use crate::protocols::trace;

/// Bytes kept of an unfinished header line; enough for every line that matters.
pub(super) const MAX_PARTIAL: usize = 192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Field {
    #[default]
    Other,
    ContentLength,
    TransferEncoding,
    Upgrade,
    ContentType,
    GrpcStatus,
}

/// What a line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A field; more follow.
    Field,
    /// One that carries a trace context: what it says is not kept here, because most connections have none.
    Trace(trace::Header),
    /// The empty line that ends the head.
    Last,
}

/// What the fields read so far say.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// RFC 9112, section 6.3: no two different lengths.
    pub(super) content_length: Option<u64>,
    /// A Transfer-Encoding was there; true if `chunked` was its last coding.
    pub(super) chunked: Option<bool>,
    /// A length that is none, or two that differ.
    pub(super) bad: bool,
    /// An upgrade to HTTP/2 is offered, or accepted.
    pub(super) h2c: bool,
    /// The body is one of gRPC-Web.
    pub(super) flavor: Option<Flavor>,
    /// The status of a call that has no body.
    pub(super) grpc_status: Option<u32>,
    /// For obsolete line folding (section 5.2).
    last: Field,
}

/// A line that is not whole yet.
#[derive(Debug)]
pub(super) struct Partial {
    bytes: [u8; MAX_PARTIAL],
    len: usize,
    total: usize,
}

impl Default for Partial {
    fn default() -> Self {
        Self { bytes: [0; MAX_PARTIAL], len: 0, total: 0 }
    }
}

impl Partial {
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.total = 0;
    }

    /// Appends; what does not fit is dropped, which [`Partial::whole`] then tells.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len());
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = *from;
        }
        self.len = self.total.min(MAX_PARTIAL);
    }

    /// What was kept.
    pub(super) fn line(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    pub(super) fn whole(&self) -> bool {
        self.total == self.len
    }
}

/// The whole lines at the beginning of some bytes, without their LF. Eight bytes at a time: lines of a head are short, and a
/// vectorised search for the end of each takes longer to begin than to find it.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    at: usize,
    words: std::slice::Iter<'a, [u8; 8]>,
    /// Behind the last whole word.
    tail: &'a [u8],
    /// Where the word at hand ends.
    end: usize,
    /// The high bit of each byte of it that is an LF, as far as it was not given yet.
    ends: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (words, tail) = bytes.as_chunks();
        Self { bytes, at: 0, words: words.iter(), tail, end: 0, ends: 0 }
    }

    /// Bytes of the lines given so far, with their ends.
    pub(super) fn passed(&self) -> usize {
        self.at
    }

    /// The next eight bytes, zeros behind the end.
    #[inline]
    fn word(&mut self) -> Option<u64> {
        if let Some(word) = self.words.next() {
            return Some(u64::from_le_bytes(*word));
        }
        let tail = std::mem::take(&mut self.tail);
        let word = tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        (!tail.is_empty()).then_some(word)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        const ONES: u64 = u64::MAX / 0xff;
        const HIGH: u64 = ONES << 7;
        while self.ends == 0 {
            let others = self.word()? ^ (ONES * b'\n' as u64);
            // Exactly the bytes that are zero in it; no carry from one into the next.
            self.ends = !(((others & !HIGH) + !HIGH) | others | !HIGH);
            self.end += 8;
        }
        let end = self.end - 8 + usize::try_from(self.ends.trailing_zeros() / 8).unwrap_or(0);
        self.ends &= self.ends - 1;
        let line = self.bytes.get(self.at..end);
        self.at = end + 1;
        line
    }
}

impl Fields {
    /// One line without its LF.
    #[inline]
    pub(super) fn line(&mut self, line: &[u8], whole: bool) -> Line {
        // Most lines begin like none of the fields that matter, nor like a folded or an empty line: their first letter tells of most,
        // eight bytes of the rest, and nobody has to know where their names end. Setting that bit makes capitals small, and no two
        // letters the same.
        const fn bit(first: u8) -> u32 {
            1 << (first & 31)
        }
        const FIRST: u32 =
            bit(b' ') | bit(b'\t') | bit(b'b') | bit(b'c') | bit(b'g') | bit(b's') | bit(b't') | bit(b'u') | bit(b'x');
        const SMALL: u64 = u64::from_le_bytes(*b"        ");
        const CONTENT: u64 = u64::from_le_bytes(*b"content-");
        const TRANSFER: u64 = u64::from_le_bytes(*b"transfer");
        const GRPC: u64 = u64::from_le_bytes(*b"grpc-sta");
        const UPGRADE: u64 = u64::from_le_bytes(*b"upgrade\0");
        const PARENT: u64 = u64::from_le_bytes(*b"tracepar");
        const X_B3: u64 = u64::from_le_bytes(*b"x-b3-\0\0\0");
        const B3: u64 = u64::from_le_bytes(*b"b3:\0\0\0\0\0");
        const SW8: u64 = u64::from_le_bytes(*b"sw8:\0\0\0\0");
        let matters = |word: u64| {
            let small = word | SMALL;
            matches!(small, CONTENT | TRANSFER | GRPC | PARENT)
                || small << 8 >> 8 == UPGRADE
                || small << 24 >> 24 == X_B3
                || small << 32 >> 32 == SW8
                || small << 40 >> 40 == B3
                || matches!(line.first(), Some(b' ' | b'\t'))
        };
        match line.first_chunk::<8>() {
            Some(word @ [first, ..]) if FIRST & bit(*first) == 0 || !matters(u64::from_le_bytes(*word)) => {
                self.last = Field::Other;
                Line::Field
            }
            _ => self.looked_at(line, whole),
        }
    }

    /// As [`Fields::line`], of any line.
    fn looked_at(&mut self, line: &[u8], whole: bool) -> Line {
        let line = trim_cr(line);
        let Some(&first) = line.first() else { return Line::Last };
        if matches!(first, b' ' | b'\t') {
            // obs-fold: the value goes on.
            self.value(self.last, line, whole);
            return Line::Field;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            // No field line; servers ignore it or refuse the whole request, which their answer then says.
            self.last = Field::Other;
            return Line::Field;
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
        // Whitespace before the colon is forbidden in requests and to be removed from responses (section 5.1).
        let name = name.trim_ascii_end();
        self.last = match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => Field::ContentLength,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => Field::TransferEncoding,
            7 if name.eq_ignore_ascii_case(b"upgrade") => Field::Upgrade,
            12 if name.eq_ignore_ascii_case(b"content-type") => Field::ContentType,
            11 if name.eq_ignore_ascii_case(b"grpc-status") => Field::GrpcStatus,
            _ => {
                self.last = Field::Other;
                return trace::Header::of(name).map_or(Line::Field, Line::Trace);
            }
        };
        self.value(self.last, value.get(1..).unwrap_or(&[]), whole);
        Line::Field
    }

    fn value(&mut self, field: Field, value: &[u8], whole: bool) {
        match field {
            Field::Other => {}
            Field::ContentLength | Field::TransferEncoding if !whole => self.bad = true,
            Field::ContentLength => self.content_length(value),
            Field::TransferEncoding => self.transfer_encoding(value),
            Field::Upgrade => self.h2c |= h2c::is_in(value),
            Field::ContentType => {
                self.flavor = Flavor::of(value.trim_ascii()).filter(|flavor| *flavor != Flavor::Native)
            }
            Field::GrpcStatus => {
                self.grpc_status = decimal(value.trim_ascii()).and_then(|code| u32::try_from(code).ok())
            }
        }
    }

    /// Section 6.3, rule 5: the same length several times, as fields or as a list, counts once.
    fn content_length(&mut self, value: &[u8]) {
        for element in value.split(|&byte| byte == b',') {
            let element = element.trim_ascii();
            if element.is_empty() {
                continue;
            }
            match (decimal(element), self.content_length) {
                (Some(length), None) => self.content_length = Some(length),
                (Some(length), Some(known)) if length == known => {}
                _ => self.bad = true,
            }
        }
    }

    /// Section 6.1: only the last coding tells the framing.
    fn transfer_encoding(&mut self, value: &[u8]) {
        let last = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).rfind(|coding| !coding.is_empty());
        if let Some(coding) = last {
            self.chunked = Some(coding.eq_ignore_ascii_case(b"chunked"));
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit.wrapping_sub(b'0')))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for line in lines {
            assert_ne!(fields.line(line.as_bytes(), true), Line::Last, "{line:?} is not the end");
        }
        fields
    }

    #[test]
    fn takes_equal_lengths_and_refuses_different_ones() {
        let fields = read(&["Content-Length: 5, 5", "CONTENT-LENGTH:5\r"]);
        assert_eq!((fields.content_length, fields.bad), (Some(5), false));
        assert!(read(&["Content-Length: 5", "Content-Length: 6"]).bad);
        assert!(read(&["Content-Length: 5x"]).bad);
        assert!(read(&["Content-Length: -1"]).bad);
        assert!(read(&["Content-Length: 18446744073709551616"]).bad, "one more than fits");
    }

    #[test]
    fn only_the_last_coding_frames() {
        assert_eq!(read(&["Transfer-Encoding: gzip, chunked"]).chunked, Some(true));
        assert_eq!(read(&["Transfer-Encoding: chunked", "transfer-encoding: gzip"]).chunked, Some(false));
        assert_eq!(read(&["Transfer-Encoding:", "\tchunked"]).chunked, Some(true), "folded");
        assert_eq!(read(&["X-Transfer-Encoding: chunked"]).chunked, None);
    }

    #[test]
    fn finds_the_fields_of_trace_contexts_in_any_case_and_no_others() {
        use trace::Header;
        for (line, header) in [
            ("traceparent:00-4b", Some(Header::Traceparent)),
            ("TraceParent: 00-4b", Some(Header::Traceparent)),
            ("b3: 1", Some(Header::B3)),
            ("B3: a3ce929d0e0e4736-00f067aa0ba902b7-1", Some(Header::B3)),
            ("X-B3-TraceId: a3ce929d0e0e4736", Some(Header::B3Trace)),
            ("x-b3-spanid: 00f067aa0ba902b7", Some(Header::B3Span)),
            ("sw8: 1-YQ==-YQ==-3-c2hvcA==-aW5z-L2E=-MTI3", Some(Header::Sw8)),
            ("tracestate: a=b", None),
            ("x-b3-parentspanid: 00f067aa0ba902b7", None),
            ("Host: traceparent:80", None),
        ] {
            let expected = header.map_or(Line::Field, Line::Trace);
            assert_eq!(Fields::default().line(line.as_bytes(), true), expected, "{line}");
        }
    }

    #[test]
    fn does_not_take_a_cut_line_for_a_length() {
        let mut partial = Partial::default();
        partial.push(b"Content-Length:");
        partial.push(&[b' '; MAX_PARTIAL]);
        partial.push(b"12");
        let mut fields = Fields::default();
        assert_eq!(fields.line(partial.line(), partial.whole()), Line::Field);
        assert!(fields.bad && fields.content_length.is_none());
    }

    #[test]
    fn finds_the_same_lines_as_a_search_byte_by_byte() {
        let text = b"a\n\n\x0b\x8a\n0123456\n01234567\n012345678\r\n\n\n\n\n\n\n\n\n\xff\n\0\0\0\0\0\0\0\0\0\n\x0a\x0a1234567890123";
        for from in 0..text.len() {
            for to in from..=text.len() {
                let bytes = &text[from..to];
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let mut expected: Vec<&[u8]> = bytes[..whole].split(|byte| *byte == b'\n').collect();
                expected.pop();
                let mut lines = Lines::new(bytes);
                assert_eq!(lines.by_ref().collect::<Vec<_>>(), expected, "{from}..{to}");
                assert_eq!(lines.passed(), whole);
            }
        }
    }

    #[test]
    fn knows_the_end_of_the_head() {
        assert_eq!(Fields::default().line(b"\r", true), Line::Last);
        assert_eq!(Fields::default().line(b"", true), Line::Last);
    }
}
