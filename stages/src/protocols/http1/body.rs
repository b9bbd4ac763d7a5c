//! Bodies: how far they reach (RFC 9112, sections 6 and 7). Content is skipped, or handed to who reads messages in it.

use crate::protocols::grpc;

/// Where in a body the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// That many bytes to go; never zero.
    Length(u64),
    /// In the chunked coding.
    Chunked(Chunked),
    /// As long as the connection.
    UntilClose,
}

/// Where in the chunked coding (section 7.1) the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    /// In a size of so many digits so far.
    Size { value: u64, digits: u8 },
    /// Behind the size: an extension, or the end of the line.
    Rest { value: u64 },
    /// In the data of a chunk; never zero.
    Data(u64),
    /// Behind the data: CR LF.
    DataEnd,
    /// In the trailer section; `empty` while the line holds nothing.
    Trailer { empty: bool },
}

/// What [`Body::bytes`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The body goes on behind the input.
    Further,
    /// It ends after that many bytes of the input.
    Ends(usize),
    /// It is not in the chunked coding.
    Broken(&'static str),
}

impl Chunked {
    pub(super) const START: Self = Self::Size { value: 0, digits: 0 };
}

impl Body {
    /// Walks over captured bytes; hands the content to `reader`, if there is one.
    pub(super) fn bytes(&mut self, input: &[u8], reader: Option<&mut grpc::Body>) -> Reach {
        let length = match self {
            Self::Chunked(at) => return at.walk(input, reader),
            Self::UntilClose => u64::MAX,
            Self::Length(left) => *left,
        };
        let end = usize::try_from(length).ok().filter(|end| *end <= input.len());
        if let Some(reader) = reader {
            reader.bytes(input.get(..end.unwrap_or(input.len())).unwrap_or(input));
        }
        match (self, end) {
            (Self::Length(_), Some(end)) => return Reach::Ends(end),
            (Self::Length(left), None) => *left = left.saturating_sub(input.len() as u64),
            _ => {}
        }
        Reach::Further
    }

    /// Walks over bytes that were not captured, as far as the framing can be known there. Returns how many of them, and
    /// whether the body ends there; `None`: the framing is lost.
    pub(super) fn gap(&mut self, gap: u64) -> Option<(u64, bool)> {
        match self {
            Self::UntilClose => Some((gap, false)),
            Self::Length(left) if *left <= gap => Some((*left, true)),
            Self::Length(left) => {
                *left -= gap;
                Some((gap, false))
            }
            Self::Chunked(Chunked::Data(left)) if gap <= *left => {
                *left -= gap;
                if *left == 0 {
                    *self = Self::Chunked(Chunked::DataEnd);
                }
                Some((gap, false))
            }
            Self::Chunked(_) => None,
        }
    }
}

impl Chunked {
    fn walk(&mut self, input: &[u8], mut reader: Option<&mut grpc::Body>) -> Reach {
        let mut at = 0_usize;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            at += match *self {
                Self::Data(left) => {
                    let len = self.data(left, rest.len());
                    if let Some(reader) = &mut reader {
                        reader.bytes(rest.get(..len).unwrap_or(rest));
                    }
                    len
                }
                // Extensions and trailers hold nothing of use: to the end of the line at once.
                Self::Rest { .. } | Self::Trailer { empty: false } => {
                    let Some(end) = memchr::memchr(b'\n', rest) else { return Reach::Further };
                    if let Self::Rest { value } = *self {
                        *self = if value == 0 { Self::Trailer { empty: true } } else { Self::Data(value) };
                    } else {
                        *self = Self::Trailer { empty: true };
                    }
                    end + 1
                }
                Self::Size { .. } | Self::DataEnd | Self::Trailer { empty: true } => {
                    let Some(&byte) = rest.first() else { return Reach::Further };
                    match self.byte(byte) {
                        Ok(false) => 1,
                        Ok(true) => return Reach::Ends(at + 1),
                        Err(why) => return Reach::Broken(why),
                    }
                }
            };
        }
        Reach::Further
    }

    fn data(&mut self, left: u64, have: usize) -> usize {
        match usize::try_from(left) {
            Ok(left) if left <= have => {
                *self = Self::DataEnd;
                left
            }
            _ => {
                *self = Self::Data(left.saturating_sub(have as u64));
                have
            }
        }
    }

    /// One byte of what frames. True: the body ends with it.
    fn byte(&mut self, byte: u8) -> Result<bool, &'static str> {
        *self = match (*self, byte) {
            (Self::Size { digits: 0, .. }, b'\n') => return Err("has no digits"),
            (Self::Size { value: 0, .. }, b'\n') => Self::Trailer { empty: true },
            (Self::Size { value, .. }, b'\n') => Self::Data(value),
            // Behind a size: its CR, an extension, or the padding that some servers write.
            (Self::Size { value, digits: 1.. }, b'\r' | b';' | b' ' | b'\t') => Self::Rest { value },
            (Self::Size { value, digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or("holds what is not a hexadecimal digit")?;
                if digits == 16 {
                    return Err("has more than 16 digits");
                }
                Self::Size { value: (value << 4) | u64::from(digit), digits: digits + 1 }
            }
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::START,
            (Self::DataEnd, _) => return Err("is shorter than the chunk"),
            (Self::Trailer { empty: true }, b'\n') => return Ok(true),
            (Self::Trailer { empty: true }, b'\r') => Self::Trailer { empty: true },
            (Self::Trailer { .. }, _) => Self::Trailer { empty: false },
            // Not reached: `walk` skips these in stretches.
            (other @ (Self::Rest { .. } | Self::Data(_)), _) => other,
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"5;x=y\r\nhello\r\n00a \r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n";

    #[test]
    fn finds_the_end_of_a_chunked_body_at_every_cut() {
        for cut in 0..=BODY.len() {
            let mut body = Body::Chunked(Chunked::START);
            let (a, b) = BODY.split_at(cut);
            match body.bytes(a, None) {
                Reach::Further => assert_eq!(body.bytes(b, None), Reach::Ends(b.len()), "cut at {cut}"),
                other => assert_eq!((other, cut), (Reach::Ends(BODY.len()), BODY.len())),
            }
        }
    }

    #[test]
    fn stops_at_the_end() {
        let mut more = BODY.to_vec();
        more.extend_from_slice(b"GET / HTTP/1.1");
        assert_eq!(Body::Chunked(Chunked::START).bytes(&more, None), Reach::Ends(BODY.len()));
        assert_eq!(Body::Length(3).bytes(b"abcd", None), Reach::Ends(3));
    }

    #[test]
    fn refuses_what_is_no_chunk() {
        for bad in ["\r\n", "x\r\n", "11111111111111111\r\n", "1\r\nab\r\n"] {
            assert!(matches!(Body::Chunked(Chunked::START).bytes(bad.as_bytes(), None), Reach::Broken(_)), "{bad:?}");
        }
    }

    #[test]
    fn follows_a_gap_inside_a_chunk_and_loses_it_over_a_boundary() {
        let mut body = Body::Chunked(Chunked::START);
        assert_eq!(body.bytes(b"10\r\nab", None), Reach::Further);
        assert_eq!(body.gap(14), Some((14, false)));
        assert_eq!(body.bytes(b"\r\n0\r\n\r\n", None), Reach::Ends(7));
        let mut body = Body::Chunked(Chunked::Data(3));
        assert_eq!(body.gap(4), None);
    }

    #[test]
    fn counts_a_known_length_through_gaps() {
        let mut body = Body::Length(10);
        assert_eq!(body.gap(4), Some((4, false)));
        assert_eq!(body.gap(100), Some((6, true)));
    }
}
