//! Frames: where a message begins and ends ("Message Formats": one byte of type, four of length that counts itself; the packets
//! that open a connection have no type).
//!
//! Everything that comes is taken at once: of an unfinished message the header and as much of the body as matters are kept
//! here, so that a gap never swallows what was read. Absent: what a message means.

use super::{MAX_KEPT, MAX_LENGTH};
use crate::time::Nanos;

/// The tag of a packet without type.
pub(super) const UNTYPED: u8 = 0;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 5],
    have: usize,
    /// When the first byte of the header moved.
    began: Nanos,
    open: Option<Frame>,
    kept: Vec<u8>,
}

/// A message of which the header was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Its type; [`UNTYPED`] for the packets without one.
    pub(super) tag: u8,
    /// When its first byte moved.
    pub(super) start: Nanos,
    /// Some of its body moved unseen.
    pub(super) cut: bool,
    /// Bytes of body.
    pub(super) len: u64,
    left: u64,
    /// Bytes of body worth keeping.
    keep: usize,
}

/// What came of the bytes of a header.
pub(super) enum Header {
    /// It is not whole yet.
    Short,
    /// It is.
    Whole(Frame),
    /// No message has such a header.
    Bad(&'static str),
}

impl Frames {
    /// Between two messages?
    pub(super) fn at_boundary(&self) -> bool {
        self.open.is_none() && self.have == 0
    }

    /// The message that is being read.
    pub(super) fn open(&self) -> Option<Frame> {
        self.open
    }

    /// Bytes of a header that is not whole.
    pub(super) fn pending(&self) -> u64 {
        self.have as u64
    }

    /// Forgets what was begun.
    pub(super) fn reset(&mut self) {
        self.open = None;
        self.have = 0;
        self.kept.clear();
    }

    /// Reads a header, or more of it. `keep` says how much of a body matters. Gives how many bytes it took.
    pub(super) fn header(&mut self, bytes: &[u8], at: Nanos, keep: fn(u8) -> usize) -> (usize, Header) {
        if self.have == 0 {
            self.began = at;
        }
        let mut taken = 0;
        for byte in bytes {
            if self.have >= self.size() {
                break;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            taken += 1;
        }
        if self.have < self.size() {
            return (taken, Header::Short);
        }
        let [first, b, c, d, e] = self.head;
        let (tag, length) = match first {
            UNTYPED => (UNTYPED, u32::from_be_bytes([first, b, c, d])),
            tag => (tag, u32::from_be_bytes([b, c, d, e])),
        };
        self.have = 0;
        let Some(len) = length.checked_sub(4).filter(|_| length <= MAX_LENGTH) else {
            return (taken, Header::Bad("out of range"));
        };
        let len = u64::from(len);
        let frame = Frame { tag, start: self.began, cut: false, len, left: len, keep: keep(tag).min(MAX_KEPT) };
        self.kept.clear();
        self.open = Some(frame);
        (taken, Header::Whole(frame))
    }

    fn size(&self) -> usize {
        match self.head {
            [UNTYPED, ..] if self.have > 0 => 4,
            _ => 5,
        }
    }

    /// Reads as much of the open message's body as there is. Gives how many bytes that were, and whether it is whole; if so,
    /// what was worth keeping of it is put in `body`.
    pub(super) fn body<'a>(&'a mut self, bytes: &'a [u8]) -> (usize, Option<(Frame, &'a [u8])>) {
        let Some(mut frame) = self.open else { return (0, None) };
        let n = bytes.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        let here = bytes.get(..n).unwrap_or(bytes);
        let whole = frame.left == n as u64;
        frame.left = frame.left.saturating_sub(n as u64);
        if whole {
            self.open = None;
            if frame.left == 0 && frame.len == n as u64 {
                return (n, Some((frame, here)));
            }
        } else {
            self.open = Some(frame);
        }
        if !frame.cut {
            let room = frame.keep.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(here.get(..room).unwrap_or(here));
        }
        (n, whole.then_some((frame, self.kept.as_slice())))
    }

    /// Walks over as much of a gap as lies in the open message. As [`Self::body`].
    pub(super) fn gap(&mut self, gap: u64) -> (u64, Option<(Frame, &[u8])>) {
        let Some(frame) = self.open.as_mut() else { return (0, None) };
        let n = gap.min(frame.left);
        frame.left -= n;
        frame.cut |= n > 0;
        let frame = *frame;
        if frame.left > 0 {
            return (n, None);
        }
        self.open = None;
        (n, Some((frame, self.kept.as_slice())))
    }

    /// What was kept so far of the open message.
    pub(super) fn begun(&self) -> Option<(Frame, &[u8])> {
        self.open.map(|frame| (Frame { cut: true, ..frame }, self.kept.as_slice()))
    }
}
