//! Frame headers (RFC 9113, sections 4.1 and 6): what they say, and which cannot be.

use crate::protocols::Malformed;

/// Bytes of a frame header.
pub(super) const HEADER: usize = 9;
/// What a client sends first (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest frame without a word of the peer (section 6.5.2, SETTINGS_MAX_FRAME_SIZE).
pub(super) const USUAL_SIZE: u32 = 16_384;
/// Largest that the length field can say.
pub(super) const LARGEST: u32 = (1 << 24) - 1;

/// END_STREAM, of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
/// ACK, of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
/// END_HEADERS, of HEADERS, PUSH_PROMISE and CONTINUATION.
pub(super) const END_HEADERS: u8 = 0x4;
/// PADDED, of DATA, HEADERS and PUSH_PROMISE.
pub(super) const PADDED: u8 = 0x8;
/// PRIORITY, of HEADERS.
pub(super) const PRIORITY: u8 = 0x20;

/// Type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Push,
    Ping,
    GoAway,
    Window,
    Continuation,
    /// An extension: to be ignored (section 4.1).
    Other,
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    reserved: bool,
}

impl Header {
    /// From the first bytes of a frame. `None`: more are needed.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, code, flags, d, e, f, g, ..] = bytes else { return None };
        let kind = match code {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::Push,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::Window,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        Some(Self { len: u32::from_be_bytes([0, a, b, c]), kind, flags, stream, reserved: d & 0x80 != 0 })
    }

    /// Bytes of the whole frame.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX).saturating_add(HEADER)
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Padding follows, and its length comes first.
    pub(super) fn is_padded(&self) -> bool {
        self.has(PADDED) && matches!(self.kind, Kind::Data | Kind::Headers | Kind::Push)
    }

    /// Bytes before the payload's variable part: pad length, priority, promised stream; and the whole of what is short and
    /// fixed.
    pub(super) fn fixed(&self) -> u32 {
        let pad = u32::from(self.is_padded());
        match self.kind {
            Kind::Data => pad,
            Kind::Headers => pad + if self.has(PRIORITY) { 5 } else { 0 },
            Kind::Push => pad + 4,
            Kind::Reset => 4,
            Kind::GoAway => 8,
            _ => 0,
        }
    }

    /// Sections 6.1 to 6.10: lengths and streams that each type must have.
    pub(super) fn check(&self, largest: u32) -> Result<(), Malformed> {
        let of_stream = match self.kind {
            Kind::Data | Kind::Headers | Kind::Priority | Kind::Reset | Kind::Push | Kind::Continuation => Some(true),
            Kind::Settings | Kind::Ping | Kind::GoAway => Some(false),
            Kind::Window | Kind::Other => None,
        };
        if of_stream.is_some_and(|wanted| wanted != (self.stream != 0)) {
            return Err(Malformed { field: "stream identifier", kind: "is not one of this type of frame" });
        }
        let fits = match self.kind {
            Kind::Priority => self.len == 5,
            Kind::Reset | Kind::Window => self.len == 4,
            Kind::Ping => self.len == 8,
            Kind::Settings if self.has(ACK) => self.len == 0,
            Kind::Settings => self.len.is_multiple_of(6),
            _ => self.len >= self.fixed(),
        };
        if !fits || self.len > largest {
            return Err(Malformed { field: "length", kind: "is not one of this type of frame" });
        }
        Ok(())
    }

    /// Could bytes at a random place look like this? Stricter than [`Header::check`]: no unknown types, no undefined flags,
    /// no reserved bit, no frame larger than usual.
    pub(super) fn is_plausible(&self) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Push => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Priority | Kind::Reset | Kind::GoAway | Kind::Window => 0,
            Kind::Other => return false,
        };
        let no_less = match self.kind {
            Kind::Headers | Kind::Push => self.fixed() + 1,
            Kind::Settings => return self.len <= 6 * 64 && self.flags & !flags == 0 && self.sound(),
            _ => 0,
        };
        self.flags & !flags == 0 && self.len >= no_less && self.sound()
    }

    fn sound(&self) -> bool {
        !self.reserved && self.check(USUAL_SIZE).is_ok()
    }
}

/// How many whole and plausible frames `bytes` begins with, and whether they end where it ends. None if what follows them is
/// no frame.
pub(super) fn chain(mut bytes: &[u8]) -> (usize, bool) {
    let mut frames = 0;
    while let Some(header) = Header::read(bytes) {
        if !header.is_plausible() {
            return (0, false);
        }
        let Some(rest) = bytes.get(header.size()..) else { return (frames, false) };
        bytes = rest;
        frames += 1;
    }
    (frames, bytes.is_empty())
}

/// A setting of a SETTINGS frame that matters (section 6.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    HeaderTableSize(u32),
    MaxFrameSize(u32),
}

/// The settings of a payload, in order; those without interest are left out.
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = Setting> {
    payload.chunks_exact(6).filter_map(|entry| {
        let &[a, b, c, d, e, f] = entry else { return None };
        let value = u32::from_be_bytes([c, d, e, f]);
        match u16::from_be_bytes([a, b]) {
            1 => Some(Setting::HeaderTableSize(value)),
            5 => Some(Setting::MaxFrameSize(value)),
            _ => None,
        }
    })
}
