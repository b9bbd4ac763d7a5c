//! Does a prefix look like HTTP/2? Stateless and monotonic.
//!
//! A client begins with its preface, a server with SETTINGS that have entries that are defined. Everything else is the middle of a
//! connection: a header block that begins with a pseudo-header of the static table, or two frames in a row that hold
//! to everything that their types demand. One small frame alone could be anything.

use super::frame::{HEADER, Header, Kind, PREFACE};
use super::{agrees, frame};
use crate::protocols::{Probe, ProbeContext, Speaker};

pub(super) fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
    if context.transport.is_datagram() {
        return Probe::NoMatch;
    }
    if agrees(prefix, PREFACE) {
        return if prefix.len() < PREFACE.len() { Probe::NeedMore } else { Probe::Match(Speaker::Client) };
    }
    let Some(first) = Header::read(prefix) else { return early(prefix) };
    if !first.is_plausible() {
        return Probe::NoMatch;
    }
    let payload = prefix.get(HEADER..).unwrap_or(&[]);
    let alone = match first.kind {
        Kind::Headers if first.stream % 2 == 1 => headers(first, payload),
        Kind::Settings if first.len > 0 => settings(payload, context),
        _ => Told::Nothing,
    };
    match alone {
        Told::Is(speaker) => return Probe::Match(speaker),
        Told::Wait => return Probe::NeedMore,
        Told::Not => return Probe::NoMatch,
        Told::Nothing => {}
    }
    let next = usize::try_from(first.len).ok().and_then(|len| payload.get(len..)).unwrap_or(&[]);
    match Header::read(next) {
        // Two of nothing but zeros and a type are too little to go by.
        Some(next) if next.is_plausible() && (first.len > 0 || next.len > 0) => {
            Probe::Match(speaker_of_two(first, context))
        }
        Some(_) => Probe::NoMatch,
        None => Probe::NeedMore,
    }
}

/// What one frame tells.
enum Told {
    Is(Speaker),
    Not,
    Wait,
    /// A second frame has to tell.
    Nothing,
}

/// Before nine bytes are there: most protocols differ in the first four.
fn early(prefix: &[u8]) -> Probe {
    let (len, kind) = (prefix.get(..3.min(prefix.len())).unwrap_or(&[]), prefix.get(3));
    let size = len.iter().fold(0_u32, |size, byte| size << 8 | u32::from(*byte));
    let too_large = match len.len() {
        3 => size > frame::USUAL_SIZE,
        2 => size > frame::USUAL_SIZE >> 8,
        1 => size > 0,
        _ => false,
    };
    if too_large || kind.is_some_and(|kind| *kind > 9) { Probe::NoMatch } else { Probe::NeedMore }
}

/// The first byte of the block: `:method` and its values, `:status` and its values or a literal one, of the static table
/// (RFC 7541, appendix A).
fn headers(header: Header, payload: &[u8]) -> Told {
    if !header.has(frame::END_HEADERS) || header.stream >= 1 << 24 {
        return Told::Nothing;
    }
    let at = usize::try_from(header.fixed()).unwrap_or(usize::MAX);
    match payload.get(at) {
        Some(0x82 | 0x83) => Told::Is(Speaker::Client),
        Some(0x88..=0x8e) => Told::Is(Speaker::Server),
        Some(_) => Told::Nothing,
        None => Told::Wait,
    }
}

/// The first entry: an identifier and a value that it may have (RFC 9113, section 6.5.2). The identifiers that came later, and
/// those that are for trying things out, need a second frame.
fn settings(payload: &[u8], context: ProbeContext) -> Told {
    let Some(&[a, b, c, d, e, f]) = payload.first_chunk() else { return Told::Wait };
    let value = u32::from_be_bytes([c, d, e, f]);
    let sound = match u16::from_be_bytes([a, b]) {
        1 => value <= 1 << 24,
        2 | 8 | 9 => value <= 1,
        3 => value > 0,
        4 => (1_024..1 << 31).contains(&value),
        5 => (1 << 14..1 << 24).contains(&value),
        6 => value >= 256,
        _ => return Told::Nothing,
    };
    // A client sends them behind its preface, unless that was before the probe.
    let speaker = if context.late { Speaker::Either } else { Speaker::Server };
    if sound { Told::Is(speaker) } else { Told::Not }
}

fn speaker_of_two(first: Header, context: ProbeContext) -> Speaker {
    if first.kind == Kind::Settings && !context.late && !first.has(frame::ACK) {
        Speaker::Server
    } else {
        Speaker::Either
    }
}
