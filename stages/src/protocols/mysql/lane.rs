//! One direction: from bytes in any cut, with gaps, compressed or not, to packets, and from them to whoever reads them.
//!
//! When the framing is lost, the lane takes what comes up to the next turn, for the time of the last byte is the end of what was not
//! seen. A turn then is taken for a beginning, if it looks like one.

use super::compress::{self, Chunk, Compression, Frames};
use super::packet::{Head, Packets, Piece, Walk};
use super::talk::Talk;
use crate::protocols::{Context, Input, Malformed, Sink, Step};
use crate::time::Nanos;
use std::num::NonZeroU64;

/// What reads the packets of a direction.
pub(super) trait Reader {
    /// Framing was lost: does something begin with `bytes`?
    fn begins(&mut self, talk: &mut Talk, bytes: &[u8]) -> Begins;

    /// The beginning of a packet. `moved`: bytes since that was taken last, this packet's among them.
    fn head(&mut self, talk: &mut Talk, head: Head<'_>, moved: &mut u64, context: Context, sink: &mut dyn Sink)
    -> Flow;

    /// Its end. `cut`: some of it went by unseen.
    fn over(&mut self, talk: &mut Talk, cut: bool, moved: &mut u64, context: Context, sink: &mut dyn Sink) -> Flow;

    /// A frame of `len` bytes that nobody can read begins.
    fn opaque(&mut self, talk: &mut Talk, seq: u8, len: u64, context: Context, sink: &mut dyn Sink);

    /// Framing is lost.
    fn lost(&mut self, talk: &mut Talk, moved: &mut u64, context: Context, sink: &mut dyn Sink);
}

/// Does something begin here?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Yes,
    /// So many bytes more decide.
    Perhaps(usize),
    /// No, and bytes that may stand here are not wrong.
    No,
    Wrong(Malformed),
}

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    /// A message went out.
    Spoke,
    /// This is no packet that can stand here.
    Astray,
    Wrong(Malformed),
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    frames: Frames,
    packets: Packets,
    /// The boundaries are known.
    sure: bool,
    /// They are not, up to the next turn.
    unframed: bool,
    /// Bytes of packets read since the last message.
    moved: u64,
    /// Some of the packet being read went by unseen.
    gapped: bool,
    /// When the last byte moved.
    last: Nanos,
}

impl Lane {
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            frames: Frames::default(),
            packets: Packets::new(max_head),
            sure: false,
            unframed: false,
            moved: 0,
            gapped: false,
            last: Nanos::ZERO,
        }
    }

    /// True if the framing was lost in the last turn.
    pub(super) fn is_unframed(&self) -> bool {
        self.unframed
    }

    /// When its last byte moved.
    pub(super) fn last(&self) -> Nanos {
        self.last
    }

    /// Bytes since the last message.
    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// A turn begins.
    pub(super) fn turn(&mut self) {
        self.frames.turn();
        if self.unframed {
            self.sure = false;
            self.unframed = false;
        }
        if !self.sure {
            self.forget();
        }
    }

    /// A packet begins with the next byte, wherever that is.
    pub(super) fn forget(&mut self) {
        self.sure = false;
        self.frames.reset();
        self.packets.reset();
        self.moved = 0;
        self.gapped = false;
    }

    pub(super) fn read(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        input: Input<'_>,
        sink: &mut dyn Sink,
    ) -> Step {
        self.last = context.at;
        let len = match input {
            Input::Bytes(bytes) => bytes.len() as u64,
            Input::Gap(len) => len.get(),
        };
        if self.unframed {
            self.moved = self.moved.saturating_add(len);
            return consumed(len);
        }
        match input {
            Input::Gap(len) => self.gap(reader, talk, context, len.get(), sink),
            Input::Bytes(bytes) => {
                if !self.sure && self.frames.at_boundary() && self.packets.at_boundary() {
                    match reader.begins(talk, bytes) {
                        Begins::Yes => self.sure = true,
                        Begins::Perhaps(more) => return need(more),
                        Begins::No => return self.astray(reader, talk, context, len, sink),
                        Begins::Wrong(malformed) => return Step::Malformed(malformed),
                    }
                }
                if talk.compression == Compression::None {
                    self.plain(reader, talk, context, bytes, sink)
                } else {
                    self.framed(reader, talk, context, bytes, sink)
                }
            }
        }
    }

    /// Framing is lost: what is known of the packet being read is all there will be.
    pub(super) fn lose(&mut self, reader: &mut impl Reader, talk: &mut Talk, context: Context, sink: &mut dyn Sink) {
        if self.unframed {
            return;
        }
        let Self { packets, moved, .. } = self;
        if let Some(head) = packets.abandon() {
            reader.head(talk, head, moved, context, sink);
        }
        reader.lost(talk, moved, context, sink);
        self.unframed = true;
        self.sure = false;
    }

    fn astray(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        len: u64,
        sink: &mut dyn Sink,
    ) -> Step {
        self.lose(reader, talk, context, sink);
        self.moved = self.moved.saturating_add(len);
        consumed(len)
    }

    /// Packets as they are.
    fn plain(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Step {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let (n, flow) = self.packet(reader, talk, context, rest, sink);
            used += n;
            match flow {
                Some(Flow::On) => {}
                // Messages go out one by one: what follows moved later, as far as anyone knows.
                Some(Flow::Spoke) => break,
                Some(Flow::Astray) => {
                    return self.astray(reader, talk, context, bytes.len() as u64, sink);
                }
                Some(Flow::Wrong(malformed)) => return Step::Malformed(malformed),
                None => break,
            }
        }
        consumed(used as u64)
    }

    /// One piece of a packet. `None`: all bytes were taken, and that was no whole one.
    fn packet(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> (usize, Option<Flow>) {
        let Self { packets, moved, gapped, .. } = self;
        let (n, piece) = packets.next(bytes, context.start);
        *moved = moved.saturating_add(n as u64);
        let flow = match piece {
            Piece::Nothing => None,
            Piece::Head(head) => {
                *gapped = false;
                Some(reader.head(talk, head, moved, context, sink))
            }
            Piece::End => Some(reader.over(talk, *gapped, moved, context, sink)),
        };
        (n, flow)
    }

    /// Packets in frames.
    fn framed(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Step {
        let all = bytes.len() as u64;
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or(&[]);
            let mut frames = std::mem::take(&mut self.frames);
            let (n, chunk) = frames.next(rest, talk.compression);
            used += n;
            let go_on = match chunk {
                Chunk::Nothing => Some(false),
                Chunk::Bytes(inner) => self.inner(reader, talk, context, inner, sink).then_some(true),
                Chunk::Opaque(seq, len) => {
                    reader.opaque(talk, seq, len, context, sink);
                    self.unframed = true;
                    self.sure = false;
                    Some(false)
                }
                Chunk::Spent | Chunk::Broken => None,
            };
            self.frames = frames;
            match go_on {
                Some(true) => {}
                Some(false) => return consumed(all),
                None => return self.astray(reader, talk, context, all, sink),
            }
        }
    }

    /// Bytes of packets out of a frame. False: astray.
    fn inner(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> bool {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let (n, flow) = self.packet(reader, talk, context, rest, sink);
            used += n;
            match flow {
                Some(Flow::On | Flow::Spoke) => {}
                Some(Flow::Astray | Flow::Wrong(_)) => return false,
                None => break,
            }
        }
        true
    }

    fn gap(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        len: u64,
        sink: &mut dyn Sink,
    ) -> Step {
        if talk.compression == Compression::None {
            return match self.walk(reader, talk, context, len, sink) {
                0 => self.astray(reader, talk, context, len, sink),
                n => consumed(n),
            };
        }
        match self.frames.gap(len) {
            compress::Walk::Opaque(n) => consumed(n),
            compress::Walk::Packets(n) => {
                let mut left = n;
                while left > 0 && !self.unframed {
                    match self.walk(reader, talk, context, left, sink) {
                        0 => self.lose(reader, talk, context, sink),
                        walked => left = left.saturating_sub(walked),
                    }
                }
                consumed(n)
            }
            compress::Walk::Lost => self.astray(reader, talk, context, len, sink),
        }
    }

    /// Walks over missing bytes inside of a packet. 0: they are not inside of one.
    fn walk(
        &mut self,
        reader: &mut impl Reader,
        talk: &mut Talk,
        context: Context,
        len: u64,
        sink: &mut dyn Sink,
    ) -> u64 {
        let Self { packets, moved, gapped, .. } = self;
        loop {
            match packets.gap(len) {
                Walk::Head(head) => {
                    if !matches!(reader.head(talk, head, moved, context, sink), Flow::On | Flow::Spoke) {
                        return 0;
                    }
                }
                Walk::Over(n, over) => {
                    *gapped = true;
                    *moved = moved.saturating_add(n);
                    if over {
                        reader.over(talk, true, moved, context, sink);
                    }
                    return n;
                }
                Walk::Lost => return 0,
            }
        }
    }
}

fn consumed(n: u64) -> Step {
    NonZeroU64::new(n).map_or(Step::Lost, Step::Consumed)
}

fn need(n: usize) -> Step {
    Step::NeedMore(NonZeroU64::new(n as u64).unwrap_or(NonZeroU64::MIN))
}
