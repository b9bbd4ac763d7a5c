//! Packets ("MySQL Packets"): three bytes length, one byte sequence id, the payload; a payload of 16 MB - 1 goes on in the next
//! packet.
//!
//! Bytes come in any cut. Of each payload the beginning is given out as [`Head`], from the input itself where it lies there in one
//! piece, and its end as [`Piece::End`]; what lies between is only counted, so it may be missing. Absent: meaning.

use crate::time::Nanos;

/// Length of a packet's header.
pub(super) const HEADER: usize = 4;
/// Length of a packet that another one continues.
pub(super) const LONG: u64 = 0xff_ffff;

/// Splits one direction into packets. Keeps at most `max_head` bytes.
#[derive(Debug)]
pub(super) struct Packets {
    at: At,
    header: [u8; HEADER],
    have: usize,
    /// Payload bytes of the packet still to come.
    left: u64,
    /// Payload bytes of the packet, as its header says.
    len: u64,
    seq: u8,
    /// When its first byte moved.
    start: Nanos,
    /// The beginning of the payload, as far as it came before.
    head: Vec<u8>,
    max_head: usize,
}

/// Where in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In its header; true: of one that continues the last.
    Header(bool),
    /// In what is given out.
    Head,
    /// Behind that.
    Rest,
}

/// The beginning of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    /// All of it, or as much as was asked for; less only where the rest went by unseen.
    pub(super) bytes: &'a [u8],
    /// Its length (of the first packet).
    pub(super) len: u64,
    pub(super) seq: u8,
    /// Nothing follows: no [`Piece::End`] comes.
    pub(super) whole: bool,
    /// The rest of it was not seen.
    pub(super) cut: bool,
    /// When the packet began.
    pub(super) start: Nanos,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// More bytes are needed.
    Nothing,
    Head(Head<'a>),
    /// The end of a payload whose head was not all of it.
    End,
}

/// What became of a gap.
#[derive(Debug)]
pub(super) enum Walk<'a> {
    /// Nothing yet: this was known of the payload that it cuts.
    Head(Head<'a>),
    /// So much of it lies inside of a payload; true: that is over.
    Over(u64, bool),
    /// It covers a boundary, or begins at one.
    Lost,
}

impl Packets {
    /// At a boundary. `max_head` bytes of each payload are given out.
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            at: At::Header(false),
            header: [0; HEADER],
            have: 0,
            left: 0,
            len: 0,
            seq: 0,
            start: Nanos::ZERO,
            head: Vec::new(),
            max_head,
        }
    }

    /// A packet begins with the next byte.
    pub(super) fn reset(&mut self) {
        self.at = At::Header(false);
        self.have = 0;
    }

    /// True if a packet begins with the next byte.
    pub(super) fn at_boundary(&self) -> bool {
        self.at == At::Header(false) && self.have == 0
    }

    /// Reads on, up to the next piece. Gives how many bytes of `input`, which began to move at `start`, that took.
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8], start: Nanos) -> (usize, Piece<'a>) {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or(&[]);
            match self.at {
                At::Header(continues) => {
                    if rest.is_empty() {
                        return (used, Piece::Nothing);
                    }
                    used += self.header(rest, continues, start);
                }
                At::Head => {
                    let want = self.wanted();
                    let missing = want - self.head.len().min(want);
                    if rest.len() < missing {
                        self.head.extend_from_slice(rest);
                        self.left = self.left.saturating_sub(rest.len() as u64);
                        return (input.len(), Piece::Nothing);
                    }
                    let here = rest.get(..missing).unwrap_or(rest);
                    self.left = self.left.saturating_sub(missing as u64);
                    let (whole, _) = self.after();
                    if self.head.is_empty() {
                        return (used + missing, Piece::Head(self.given(here, whole, false)));
                    }
                    self.head.extend_from_slice(here);
                    return (used + missing, Piece::Head(self.given(&self.head, whole, false)));
                }
                At::Rest => {
                    let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                    self.left -= n as u64;
                    used += n;
                    if self.left > 0 {
                        return (used, Piece::Nothing);
                    }
                    if self.after().0 {
                        return (used, Piece::End);
                    }
                }
            }
        }
    }

    /// Walks over `len` bytes that nobody saw.
    pub(super) fn gap(&mut self, len: u64) -> Walk<'_> {
        match self.at {
            At::Header(_) => Walk::Lost,
            At::Head => match self.abandon() {
                Some(head) => Walk::Head(head),
                None => Walk::Lost,
            },
            At::Rest => {
                let n = len.min(self.left);
                self.left -= n;
                let over = self.left == 0 && self.after().0;
                Walk::Over(n, over)
            }
        }
    }

    /// Gives out what came of a payload whose head is not complete.
    pub(super) fn abandon(&mut self) -> Option<Head<'_>> {
        if self.at != At::Head {
            return None;
        }
        self.at = At::Rest;
        Some(self.given(&self.head, false, true))
    }

    fn wanted(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX).min(self.max_head)
    }

    fn given<'a>(&self, bytes: &'a [u8], whole: bool, cut: bool) -> Head<'a> {
        Head { bytes, len: self.len, seq: self.seq, whole, cut, start: self.start }
    }

    fn header(&mut self, rest: &[u8], continues: bool, start: Nanos) -> usize {
        if self.have == 0 && !continues {
            self.start = start;
        }
        let mut used = 0;
        for (to, from) in self.header.iter_mut().skip(self.have).zip(rest) {
            *to = *from;
            used += 1;
        }
        self.have += used;
        if self.have == HEADER {
            let [a, b, c, seq] = self.header;
            self.have = 0;
            self.seq = seq;
            self.left = u64::from(u32::from_le_bytes([a, b, c, 0]));
            self.at = At::Rest;
            if !continues {
                self.len = self.left;
                self.at = At::Head;
                self.head.clear();
            } else if self.left > 0 {
                self.len = self.left;
            } else {
                // An empty packet ends a payload of a multiple of 16 MB - 1.
                self.len = 0;
            }
        }
        used
    }

    /// Where what is behind goes on: `(the payload is over, a next packet continues it)`.
    fn after(&mut self) -> (bool, bool) {
        let continues = self.left == 0 && self.len == LONG;
        self.at = match (self.left, continues) {
            (0, _) => At::Header(continues),
            _ => At::Rest,
        };
        (self.left == 0 && !continues, continues)
    }
}
