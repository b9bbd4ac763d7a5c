//! The compressed protocol ("Compression"): frames of three bytes length, one byte sequence id and three bytes length before
//! compression (0: not compressed), around a stream of packets.
//!
//! Each zlib frame is a stream of its own. It is inflated piece by piece into one window, never as a whole, and no more than
//! [`MAX_INFLATED`] bytes of a turn: what is behind them counts as not captured. zstd is only recognised: its frames are opaque.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// Length of a frame's header.
pub(super) const HEADER: usize = 7;
/// The window of deflate (RFC 1951, section 2).
const WINDOW: usize = 32 * 1024;
/// Bytes inflated of one turn of one direction, at most: what a few bytes can be made to cost.
pub(super) const MAX_INFLATED: u64 = 1024 * 1024;

/// How a connection compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Compression {
    #[default]
    None,
    Zlib,
    Zstd,
}

/// One direction's frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    have: usize,
    body: Body,
    inflate: Option<Box<Inflate>>,
    /// Inflated in this turn.
    spent: u64,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Body {
    /// The header is being read.
    #[default]
    None,
    /// As it is.
    Plain(u64),
    /// Deflated; then how many bytes more it may inflate to.
    Zlib(u64, u64),
    /// Nobody knows.
    Opaque(u64),
}

/// What was found.
#[derive(Debug)]
pub(super) enum Chunk<'a> {
    /// More bytes are needed.
    Nothing,
    /// Bytes of packets.
    Bytes(&'a [u8]),
    /// A frame that cannot be read begins; its sequence id and length with the header.
    Opaque(u8, u64),
    /// The bound was reached.
    Spent,
    /// This is no zlib stream.
    Broken,
}

/// What became of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// So many bytes of packets are missing.
    Packets(u64),
    /// So many bytes are missing that could not have been read anyway.
    Opaque(u64),
    Lost,
}

/// Inflates one frame after the other.
struct Inflate {
    state: DecompressorOxide,
    window: [u8; WINDOW],
    at: usize,
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Frames {
    /// Bytes of one direction, at most: its window and the state of inflate.
    pub(super) const MAX_BYTES: usize = size_of::<Inflate>();

    /// A frame begins with the next byte.
    pub(super) fn reset(&mut self) {
        self.body = Body::None;
        self.have = 0;
    }

    /// A turn begins.
    pub(super) fn turn(&mut self) {
        self.spent = 0;
    }

    /// True if a frame begins with the next byte.
    pub(super) fn at_boundary(&self) -> bool {
        self.body == Body::None && self.have == 0
    }

    /// Reads on, up to the next chunk. Gives how many bytes of `input` that took.
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8], by: Compression) -> (usize, Chunk<'a>) {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or(&[]);
            match self.body {
                Body::None => {
                    if rest.is_empty() {
                        return (used, Chunk::Nothing);
                    }
                    used += self.header(rest, by);
                    if let Body::Opaque(len) = self.body {
                        let [.., seq, _, _, _] = self.header;
                        return (used, Chunk::Opaque(seq, len + HEADER as u64));
                    }
                }
                Body::Plain(left) => {
                    let (n, body) = part(left, rest.len());
                    self.body = body.map_or(Body::None, Body::Plain);
                    if n == 0 {
                        return (used, Chunk::Nothing);
                    }
                    return (used + n, Chunk::Bytes(rest.get(..n).unwrap_or(rest)));
                }
                Body::Opaque(left) => {
                    let (n, body) = part(left, rest.len());
                    self.body = body.map_or(Body::None, Body::Opaque);
                    used += n;
                    if n == 0 {
                        return (used, Chunk::Nothing);
                    }
                }
                Body::Zlib(left, out) => {
                    let (n, end) = self.inflate(left, out, rest);
                    used += n;
                    match end {
                        Inflated::Nothing => return (used, Chunk::Nothing),
                        Inflated::Over => {}
                        Inflated::Spent => return (used, Chunk::Spent),
                        Inflated::Broken => return (used, Chunk::Broken),
                        Inflated::Bytes(from, len) => {
                            let window = self.inflate.as_ref().map_or(&[][..], |inflate| &inflate.window);
                            return (used, Chunk::Bytes(window.get(from..from + len).unwrap_or(&[])));
                        }
                    }
                }
            }
        }
    }

    /// Walks over `len` bytes that nobody saw.
    pub(super) fn gap(&mut self, len: u64) -> Walk {
        match self.body {
            Body::Plain(left) => {
                let n = len.min(left);
                self.body = if n == left { Body::None } else { Body::Plain(left - n) };
                Walk::Packets(n)
            }
            Body::Opaque(left) => {
                let n = len.min(left);
                self.body = if n == left { Body::None } else { Body::Opaque(left - n) };
                Walk::Opaque(n)
            }
            Body::None | Body::Zlib(..) => Walk::Lost,
        }
    }

    fn header(&mut self, rest: &[u8], by: Compression) -> usize {
        let mut used = 0;
        for (to, from) in self.header.iter_mut().skip(self.have).zip(rest) {
            *to = *from;
            used += 1;
        }
        self.have += used;
        if self.have == HEADER {
            self.have = 0;
            let [a, b, c, _, d, e, f] = self.header;
            let len = u64::from(u32::from_le_bytes([a, b, c, 0]));
            let before = u64::from(u32::from_le_bytes([d, e, f, 0]));
            self.body = match (len, before, by) {
                (0, ..) => Body::None,
                (_, 0, _) => Body::Plain(len),
                (.., Compression::Zlib) => {
                    let inflate = self.inflate.get_or_insert_with(Inflate::new);
                    inflate.state.init();
                    inflate.at = 0;
                    Body::Zlib(len, before)
                }
                _ => Body::Opaque(len),
            };
        }
        used
    }

    fn inflate(&mut self, left: u64, out: u64, rest: &[u8]) -> (usize, Inflated) {
        const FLAGS: u32 = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
            | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
            | inflate_flags::TINFL_FLAG_IGNORE_ADLER32;
        let here = rest.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(rest);
        if left == 0 && out == 0 {
            self.body = Body::None;
            return (0, Inflated::Over);
        }
        if out == 0 {
            // All of it is out; what is left is the check sum.
            let (n, body) = part(left, here.len());
            self.body = body.map_or(Body::None, |left| Body::Zlib(left, 0));
            return (n, if self.body == Body::None { Inflated::Over } else { Inflated::Nothing });
        }
        if self.spent >= MAX_INFLATED {
            return (0, Inflated::Spent);
        }
        let Some(inflate) = self.inflate.as_deref_mut() else { return (0, Inflated::Broken) };
        let from = inflate.at;
        let (status, n, made) = decompress(&mut inflate.state, here, &mut inflate.window, from, FLAGS);
        inflate.at = (from + made) % WINDOW;
        let (n64, made64) = (n as u64, made as u64);
        let (Some(left), Some(out)) = (left.checked_sub(n64), out.checked_sub(made64)) else {
            return (n, Inflated::Broken);
        };
        self.spent = self.spent.saturating_add(made64);
        self.body = Body::Zlib(left, out);
        let failed = !matches!(status, TINFLStatus::Done | TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput);
        let short = (status == TINFLStatus::Done || (left == 0 && made == 0)) && out > 0;
        match (made, failed || (short && made == 0)) {
            (_, true) => (n, Inflated::Broken),
            (0, false) => (n, Inflated::Nothing),
            (made, false) => (n, Inflated::Bytes(from, made)),
        }
    }
}

/// What one step of inflating gave.
enum Inflated {
    Nothing,
    /// From there in the window, so many.
    Bytes(usize, usize),
    /// The frame is over.
    Over,
    Spent,
    Broken,
}

impl Inflate {
    fn new() -> Box<Self> {
        Box::new(Self { state: DecompressorOxide::new(), window: [0; WINDOW], at: 0 })
    }
}

/// How much of `left` is among `here` bytes, and what is left then.
fn part(left: u64, here: usize) -> (usize, Option<u64>) {
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(here);
    let left = left - n as u64;
    (n, (left > 0).then_some(left))
}
