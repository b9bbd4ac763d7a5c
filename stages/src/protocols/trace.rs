//! Trace contexts in header fields: W3C Trace Context, B3, `SkyWalking`.
//!
//! HTTP/1 and HTTP/2 (and so gRPC, whose metadata are header fields) hand every field here that [`Header::of`] names, in any order
//! and any number; [`Found::finish`] says what the request is part of. Where it speaks several formats, `traceparent` counts
//! before B3, and B3 before `sw8`; of one format the first valid one counts. What is malformed is ignored, as the specifications ask.
//!
//! Absent: `tracestate`, `baggage`, B3's parent span (it is the caller's parent, not ours), and anything that names the caller (`sw8` has
//! its service, instance and endpoint).

use crate::flow::trace::{SpanId, TraceContext, TraceFormat, TraceId};

/// A header field of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `traceparent` (W3C Trace Context, section 3.2).
    Traceparent,
    /// `b3` (openzipkin/b3-propagation, "Single Header").
    B3,
    /// `x-b3-traceid` (the same, "Multiple Headers").
    B3Trace,
    /// `x-b3-spanid`.
    B3Span,
    /// `x-b3-sampled`.
    B3Sampled,
    /// `x-b3-flags`.
    B3Flags,
    /// `sw8` (`SkyWalking` Cross Process Propagation Headers Protocol v3).
    Sw8,
}

impl Header {
    /// By its name, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let found: (&[u8], Self) = match name.len() {
            2 => (b"b3", Self::B3),
            3 => (b"sw8", Self::Sw8),
            10 => (b"x-b3-flags", Self::B3Flags),
            11 if matches!(name.first(), Some(b'x' | b'X')) => (b"x-b3-spanid", Self::B3Span),
            11 => (b"traceparent", Self::Traceparent),
            12 if matches!(name.get(5), Some(b't' | b'T')) => (b"x-b3-traceid", Self::B3Trace),
            12 => (b"x-b3-sampled", Self::B3Sampled),
            _ => return None,
        };
        name.eq_ignore_ascii_case(found.0).then_some(found.1)
    }

    /// Bytes of a value that are enough; what is longer is not read to its end.
    #[must_use]
    pub fn kept(self) -> usize {
        match self {
            // Versions to come may be longer (section 3.2.4).
            Self::Traceparent => 80,
            Self::B3 => 68,
            Self::B3Trace => 32,
            Self::B3Span => 16,
            Self::B3Sampled | Self::B3Flags => 5,
            Self::Sw8 => MAX_SW8,
        }
    }
}

/// Bytes of an `sw8` that are read: its first four fields, whose ids agents make of a UUID, a thread number and a time, in base64.
const MAX_SW8: usize = 180;

/// B3 in several headers, as far as they came.
#[derive(Debug, Clone, Default)]
struct Parts {
    trace: Option<TraceId>,
    span: Option<SpanId>,
    sampled: Option<bool>,
}

/// What the fields of one request said so far.
#[derive(Debug, Clone, Default)]
pub struct Found {
    context: Option<Box<TraceContext>>,
    parts: Option<Box<Parts>>,
}

impl Found {
    /// One more field; `whole`: its value is all there.
    #[cold]
    pub fn field(&mut self, header: Header, value: &[u8], whole: bool) {
        let value = value.trim_ascii();
        let context = match header {
            Header::Sw8 => sw8(value, whole),
            _ if !whole => return,
            Header::Traceparent => traceparent(value),
            Header::B3 => b3(value),
            Header::B3Trace | Header::B3Span | Header::B3Sampled | Header::B3Flags => {
                self.part(header, value);
                return;
            }
        };
        if let Some(context) = context
            && self.context.as_ref().is_none_or(|known| rank(context.format) < rank(known.format))
        {
            self.context = Some(Box::new(context));
        }
    }

    fn part(&mut self, header: Header, value: &[u8]) {
        let parts = self.parts.get_or_insert_default();
        match header {
            Header::B3Trace => parts.trace = parts.trace.or_else(|| b3_trace(value)),
            Header::B3Span => parts.span = parts.span.or_else(|| span(value)),
            Header::B3Sampled => parts.sampled = parts.sampled.or_else(|| b3_sampled(value)),
            // Debug implies an accept decision ("Multiple Headers", debug flag).
            Header::B3Flags if value == b"1" => parts.sampled = Some(true),
            _ => {}
        }
    }

    /// What they say together. Nothing is left.
    pub fn finish(&mut self) -> Option<Box<TraceContext>> {
        let context = self.context.take();
        let Some(parts) = self.parts.take() else { return context };
        match (context, parts.trace.zip(parts.span)) {
            (Some(context), _) if rank(context.format) <= rank(TraceFormat::B3) => Some(context),
            (context, None) => context,
            (_, Some((trace, parent))) => {
                Some(Box::new(TraceContext { trace, parent, sampled: parts.sampled, format: TraceFormat::B3 }))
            }
        }
    }
}

/// Which format counts before which.
fn rank(format: TraceFormat) -> u8 {
    match format {
        TraceFormat::Traceparent => 0,
        TraceFormat::B3 => 1,
        TraceFormat::Sw8 => 2,
    }
}

/// W3C Trace Context, sections 3.2.2 and 3.2.4: `version-trace-parent-flags`; later versions may have more behind a dash.
fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let (known, more) = value.split_at_checked(55)?;
    let mut fields = known.split(|byte| *byte == b'-');
    let version = hex(fields.next()?, 2)?;
    if version == 0xff || !(more.is_empty() || (version > 0 && more.starts_with(b"-"))) {
        return None;
    }
    let trace = TraceId::new(hex(fields.next()?, 32)?)?;
    let parent = span(fields.next()?)?;
    let flags = hex(fields.next()?, 2)?;
    fields.next().is_none().then_some(TraceContext {
        trace,
        parent,
        sampled: Some(flags & 1 == 1),
        format: TraceFormat::Traceparent,
    })
}

/// `trace-span[-sampled[-parent]]`; a lone sampling decision names no trace.
fn b3(value: &[u8]) -> Option<TraceContext> {
    let mut fields = value.split(|byte| *byte == b'-');
    let (trace, parent) = (b3_trace(fields.next()?)?, span(fields.next()?)?);
    let sampled = match fields.next() {
        None => None,
        Some(state) => Some(b3_sampled(state)?),
    };
    if let Some(grandparent) = fields.next() {
        hex(grandparent, 16)?;
    }
    fields.next().is_none().then_some(TraceContext { trace, parent, sampled, format: TraceFormat::B3 })
}

/// 64 or 128 bits.
fn b3_trace(digits: &[u8]) -> Option<TraceId> {
    TraceId::new(hex(digits, 32).or_else(|| hex(digits, 16))?)
}

/// `1`, `0` or `d` (debug, which is sampled); `true` and `false` are what early writers of several headers sent.
fn b3_sampled(value: &[u8]) -> Option<bool> {
    match value {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// `sample-trace-segment-span-...`, texts in base64. What comes behind the fourth field names the caller, and is not read.
fn sw8(value: &[u8], whole: bool) -> Option<TraceContext> {
    let mut fields = value.splitn(5, |byte| *byte == b'-');
    let sampled = match fields.next()? {
        b"1" => true,
        b"0" => false,
        _ => return None,
    };
    let (trace, segment) = (base64(fields.next()?)?, base64(fields.next()?)?);
    let number = fields.next()?;
    let rest = fields.next();
    // Of a value that was cut, a field is only known to be whole when another follows.
    let ended = rest.is_some_and(|rest| !whole || rest.iter().filter(|byte| **byte == b'-').count() == 3);
    if !ended || number.is_empty() || number.len() > 6 || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let parent = fold(fold(FNV_64, segment), number);
    Some(TraceContext {
        trace: TraceId::new(fold_wide(trace))?,
        parent: SpanId::new(parent)?,
        sampled: Some(sampled),
        format: TraceFormat::Sw8,
    })
}

/// The text without its padding, if it is base64 (RFC 4648, section 4).
fn base64(text: &[u8]) -> Option<&[u8]> {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let (letters, _) = text.split_at_checked(text.len().checked_sub(padding)?)?;
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    (!letters.is_empty() && letters.len() % 4 != 1 && letters.iter().all(valid)).then_some(letters)
}

/// FNV-1a's beginning (RFC 9923): the hash must be the same in every process, and nobody gains by a collision.
const FNV_64: u64 = 0xcbf2_9ce4_8422_2325;

fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The same in 128 bits.
fn fold_wide(bytes: &[u8]) -> u128 {
    let begin = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    bytes
        .iter()
        .fold(begin, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b))
}

fn span(digits: &[u8]) -> Option<SpanId> {
    SpanId::new(u64::try_from(hex(digits, 16)?).ok()?)
}

/// Exactly so many lower-case digits, at most 32.
fn hex(digits: &[u8], len: usize) -> Option<u128> {
    if digits.len() != len {
        return None;
    }
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
    const SW8: &[u8] =
        b"1-MmE2OTA4MGQ5YzQxNDFlYjhkMS40NC4xNzAw-MmE2OTA4MGQ1YzQxLjQ0LjE3MDA=-3-c2hvcA==-aW5z-L2E=-MTI3LjAuMC4xOjgw";

    fn one(header: Header, value: &[u8]) -> Option<TraceContext> {
        let mut found = Found::default();
        found.field(header, value, true);
        found.finish().map(|context| *context)
    }

    fn ids(context: Option<TraceContext>) -> Option<(u128, u64, Option<bool>)> {
        context.map(|context| (context.trace.get(), context.parent.get(), context.sampled))
    }

    #[test]
    fn reads_traceparent_of_this_version_and_of_later_ones() {
        assert_eq!(ids(one(Header::Traceparent, PARENT)), Some((TRACE, SPAN, Some(true))));
        let later = [b"cc", PARENT.get(2..).unwrap(), b"-what-comes"].concat();
        assert_eq!(ids(one(Header::Traceparent, &later)), Some((TRACE, SPAN, Some(true))));
        let random = [PARENT.get(..53).unwrap(), b"02"].concat();
        assert_eq!(ids(one(Header::Traceparent, &random)), Some((TRACE, SPAN, Some(false))), "level 2's random flag");
    }

    #[test]
    fn ignores_malformed_traceparents() {
        let text = String::from_utf8(PARENT.to_vec()).unwrap();
        let zeros = |from: usize, len: usize| {
            let mut bytes = PARENT.to_vec();
            bytes[from..from + len].fill(b'0');
            bytes
        };
        for bad in [
            zeros(3, 32),
            zeros(36, 16),
            text.to_uppercase().into_bytes(),
            text.replacen("00", "ff", 1).into_bytes(),
            format!("{text}-more").into_bytes(),
            format!("{}.more", text.replacen("00", "01", 1)).into_bytes(),
            text.replace('-', "_").into_bytes(),
        ] {
            assert_eq!(one(Header::Traceparent, &bad), None, "{}", String::from_utf8_lossy(&bad));
        }
    }

    #[test]
    fn reads_b3_in_one_header_and_in_several() {
        let b3 = |text: &str| ids(one(Header::B3, text.as_bytes()));
        assert_eq!(b3("4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"), Some((TRACE, SPAN, None)));
        assert_eq!(b3("4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d-05e3ac9a4f6e3b90").unwrap().2, Some(true));
        assert_eq!(b3("a3ce929d0e0e4736-00f067aa0ba902b7-0"), Some((0xa3ce_929d_0e0e_4736, SPAN, Some(false))));
        for bad in
            ["0", "1", "a3ce929d0e0e4736", "0000000000000000-00f067aa0ba902b7", "a3ce929d0e0e4736-00f067aa0ba902b7-2"]
        {
            assert_eq!(b3(bad), None, "{bad}");
        }
        let mut found = Found::default();
        found.field(Header::B3Span, b"00f067aa0ba902b7", true);
        found.field(Header::B3Flags, b"1", true);
        found.field(Header::B3Trace, b"4bf92f3577b34da6a3ce929d0e0e4736", true);
        let context = found.finish().map(|context| *context);
        assert_eq!((ids(context), found.finish()), (Some((TRACE, SPAN, Some(true))), None));
    }

    #[test]
    fn a_trace_of_skywalking_is_known_again_by_its_hash_and_needs_no_caller() {
        let whole = one(Header::Sw8, SW8).unwrap();
        assert_eq!((whole.format, whole.sampled), (TraceFormat::Sw8, Some(true)));
        let mut found = Found::default();
        found.field(Header::Sw8, SW8.get(..80).unwrap(), false);
        assert_eq!(found.finish().map(|context| *context), Some(whole), "cut behind its fourth field");
        let other = String::from_utf8(SW8.to_vec()).unwrap().replace("=-3-", "=-4-");
        let other = one(Header::Sw8, other.as_bytes()).unwrap();
        assert_eq!(other.trace, whole.trace);
        assert_ne!(other.parent, whole.parent, "another span of the same segment");
    }

    #[test]
    fn the_better_format_counts_in_any_order() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut found = Found::default();
            for which in order {
                match which {
                    0 => found.field(Header::Traceparent, PARENT, true),
                    1 => found.field(Header::B3, b"a3ce929d0e0e4736-00f067aa0ba902b7", true),
                    _ => found.field(Header::Sw8, SW8, true),
                }
            }
            assert_eq!(found.finish().unwrap().format, TraceFormat::Traceparent);
        }
    }

    #[test]
    fn no_prefix_is_taken_for_the_whole() {
        for (header, value) in [(Header::Traceparent, PARENT), (Header::Sw8, SW8)] {
            for len in 0..value.len() {
                let prefix = value.get(..len).unwrap();
                // The last field of `sw8` is free: its beginning is one as well.
                let free = header == Header::Sw8 && prefix.iter().filter(|byte| **byte == b'-').count() == 7;
                assert!(free || one(header, prefix).is_none(), "{}", String::from_utf8_lossy(prefix));
                let mut found = Found::default();
                found.field(header, prefix, false);
                if let Some(context) = found.finish() {
                    assert_eq!(Some(*context), one(header, value), "{}", String::from_utf8_lossy(prefix));
                }
            }
        }
    }

    #[test]
    fn every_header_is_found_by_its_name() {
        for name in ["traceparent", "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled", "X-B3-Flags", "SW8"] {
            assert!(Header::of(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["", "sw8-x", "tracestate", "x-b3-parentspanid", "traceparenu", "x-b3-spanie", "b4"] {
            assert!(Header::of(name.as_bytes()).is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(
            values in prop::collection::vec((0_usize..7, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..8),
            cut in 0_usize..200, flip in 0_usize..55, byte in any::<u8>(),
        ) {
            let headers = [Header::Traceparent, Header::B3, Header::B3Trace, Header::B3Span, Header::B3Sampled, Header::B3Flags, Header::Sw8];
            let mut found = Found::default();
            for (which, value, whole) in &values {
                found.field(headers[*which], value, *whole);
            }
            let mut parent = PARENT.to_vec();
            parent[flip] = byte;
            for value in [&parent[..cut.min(55)], &SW8[..cut.min(SW8.len())]] {
                headers.iter().for_each(|header| found.field(*header, value, true));
            }
            if let Some(context) = found.finish() {
                prop_assert!(context.trace.get() != 0 && context.parent.get() != 0);
            }
        }

        #[test]
        fn what_is_written_is_read(trace in 1_u128.., parent in 1_u64.., flags in any::<u8>()) {
            let text = format!("00-{trace:032x}-{parent:016x}-{flags:02x}");
            let read = ids(one(Header::Traceparent, text.as_bytes()));
            prop_assert_eq!(read, Some((trace, parent, Some(flags & 1 == 1))));
            let read = ids(one(Header::B3, format!("{trace:032x}-{parent:016x}-1").as_bytes()));
            prop_assert_eq!(read, Some((trace, parent, Some(true))));
        }
    }
}
