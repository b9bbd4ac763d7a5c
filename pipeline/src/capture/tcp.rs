//! One direction of a TCP stream, put together from segments that come in any order, twice, overlapping, or not at all.
//!
//! Sequence numbers become stream offsets at once, counted from the first byte seen, so that nothing below this thinks in
//! wrapping numbers. Of bytes that come twice the first ones count. A hole is waited for; it is *lost* when the peer has
//! acknowledged beyond it (it had the bytes, the capture has not), when what waits behind it is too much or has waited too
//! long (the caller says so), and at the end of the direction. What is lost is put out as a gap of exactly its length.
//!
//! **Bounds:** [`MAX_AHEAD`] bytes and [`MAX_PIECES`] pieces wait behind a hole. Absent: the other direction, and time.

use redtap_stages::time::Nanos;
use std::collections::BTreeMap;

/// Bytes that wait behind a hole of one direction.
pub const MAX_AHEAD: usize = 1024 * 1024;
/// Pieces that wait behind a hole of one direction.
pub const MAX_PIECES: usize = 4_096;
/// A segment further than this from where its direction stands is not of this stream.
pub const MAX_JUMP: i64 = 1 << 30;

/// What comes out, in the order of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, and when they could be read.
    Bytes(&'a [u8], Nanos),
    /// So many bytes are missing; the time is when that was known.
    Lost(u64, Nanos),
    /// The direction has ended.
    End(Nanos),
}

/// A segment, as far as its direction is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Bytes behind these that were not captured.
    pub missing: u32,
    /// It is the last one.
    pub fin: bool,
    /// When it was captured.
    pub at: Nanos,
}

/// Where a direction stands.
#[derive(Debug, Default)]
pub struct Lane {
    /// Sequence number of the byte at `next`; `None` before the first is known.
    seq: Option<u32>,
    /// Stream offset of the next byte to put out.
    next: u64,
    /// What came too early, by stream offset. No two overlap, and none begins at or before `next`.
    ahead: BTreeMap<u64, Ahead>,
    /// Bytes in `ahead`.
    waiting: usize,
    /// Up to where the peer has it.
    acked: u64,
    /// Where the direction ends.
    fin: Option<u64>,
    ended: bool,
}

#[derive(Debug)]
struct Ahead {
    bytes: Vec<u8>,
    missing: u64,
    at: Nanos,
}

impl Ahead {
    fn len(&self) -> u64 {
        self.bytes.len() as u64 + self.missing
    }
}

impl Lane {
    /// The stream begins with the byte numbered `seq`, if that is not known yet.
    pub fn begins(&mut self, seq: u32) {
        self.seq.get_or_insert(seq);
    }

    /// True if the stream begins with the byte numbered `seq`, or that is not known yet.
    pub fn is_first(&self, seq: u32) -> bool {
        // Offsets above 2^32 have wrapped as often as the numbers.
        self.seq.is_none_or(|next| next.wrapping_sub(self.next as u32) == seq)
    }

    /// True if `seq` is a number of this stream, as far as can be told.
    pub fn could_be(&self, seq: u32) -> bool {
        self.seq.is_none() || self.offset(seq).is_some()
    }

    /// True if something waits behind a hole.
    pub fn has_hole(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Bytes that wait behind a hole.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// True when its end was put out.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// A segment. False if it cannot be of this stream.
    pub fn segment(&mut self, segment: Segment<'_>, out: &mut dyn FnMut(Piece<'_>)) -> bool {
        self.begins(segment.seq);
        let Some(start) = self.offset(segment.seq) else { return false };
        if self.ended {
            return true;
        }
        let length = segment.bytes.len() as i64 + i64::from(segment.missing);
        let end = u64::try_from(start + length).unwrap_or(0);
        if segment.fin {
            self.fin.get_or_insert(end.max(self.next));
        }
        if end > self.next {
            self.fresh(start, end, segment, out);
        }
        if self.waiting > MAX_AHEAD || self.ahead.len() > MAX_PIECES {
            self.pass_hole(segment.at, out);
        }
        self.settle(segment.at, out);
        true
    }

    /// The peer has acknowledged everything before the byte numbered `ack`; `speaks`: it has also said something, so that it
    /// will not be said later than what it answers.
    pub fn acknowledged(&mut self, ack: u32, speaks: bool, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        self.begins(ack);
        let Some(offset) = self.offset(ack).and_then(|offset| u64::try_from(offset).ok()) else { return };
        let offset = self.fin.map_or(offset, |fin| offset.min(fin));
        self.acked = self.acked.max(offset);
        if speaks && self.ahead.is_empty() && self.acked > self.next && !self.ended {
            // One byte more than there was: a FIN that the capture has not.
            if self.acked > self.next + 1 {
                self.lose(self.acked - self.next, at, out);
            }
        }
        self.settle(at, out);
    }

    /// No longer waits: every hole is lost.
    pub fn give_up(&mut self, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        while !self.ahead.is_empty() {
            self.pass_hole(at, out);
        }
        if let Some(fin) = self.fin.filter(|fin| *fin > self.next && !self.ended) {
            self.lose(fin - self.next, at, out);
        }
        self.settle(at, out);
    }

    /// The stream offset of a sequence number, as near as possible to where the stream stands; negative before its beginning.
    fn offset(&self, seq: u32) -> Option<i64> {
        let distance = i64::from(seq.wrapping_sub(self.seq?).cast_signed());
        (distance.abs() <= MAX_JUMP).then_some(i64::try_from(self.next).ok()?.checked_add(distance)?)
    }

    /// A segment with something new: `start..end`, of which the captured bytes come first.
    fn fresh(&mut self, start: i64, end: u64, segment: Segment<'_>, out: &mut dyn FnMut(Piece<'_>)) {
        let known = (self.next as i64).saturating_sub(start).max(0) as u64;
        let from = start.max(self.next as i64) as u64;
        let bytes = segment.bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        if from == self.next && self.ahead.is_empty() {
            self.put(bytes, end - from - bytes.len() as u64, segment.at, out);
            return;
        }
        self.keep(from, end, bytes, segment.at);
        self.ready(Some(segment.at), out);
    }

    /// Keeps of `from..end` what is not kept already.
    fn keep(&mut self, from: u64, end: u64, bytes: &[u8], at: Nanos) {
        let mut cursor = from;
        while cursor < end {
            if let Some((&begin, before)) = self.ahead.range(..=cursor).next_back()
                && begin + before.len() > cursor
            {
                cursor = begin + before.len();
                continue;
            }
            let upto = self.ahead.range(cursor..).next().map_or(end, |(&begin, _)| begin.min(end));
            let part = |offset: u64| usize::try_from(offset - from).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(part(cursor)..part(upto)).unwrap_or_default().to_vec();
            self.waiting += bytes.len();
            let missing = upto - cursor - bytes.len() as u64;
            self.ahead.insert(cursor, Ahead { bytes, missing, at });
            cursor = upto;
        }
    }

    /// Puts out what is next; at `filled`, or at the time of each if it was not late.
    fn ready(&mut self, filled: Option<Nanos>, out: &mut dyn FnMut(Piece<'_>)) {
        while let Some(first) = self.ahead.first_entry().filter(|first| *first.key() == self.next) {
            let piece = first.remove();
            self.waiting -= piece.bytes.len();
            self.put(&piece.bytes, piece.missing, filled.unwrap_or(piece.at), out);
        }
    }

    /// The hole that the first waiting piece is behind is lost.
    fn pass_hole(&mut self, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        let Some((&begin, first)) = self.ahead.first_key_value() else { return };
        let known = at.min(first.at);
        self.lose(begin - self.next, known, out);
        self.ready(None, out);
    }

    /// What the acknowledgements and the end say.
    fn settle(&mut self, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        while let Some((&begin, _)) = self.ahead.first_key_value()
            && begin <= self.acked
        {
            self.pass_hole(at, out);
        }
        if self.fin.is_some_and(|fin| fin <= self.next) && !self.ended {
            self.ended = true;
            self.ahead.clear();
            self.waiting = 0;
            out(Piece::End(at));
        }
    }

    fn put(&mut self, bytes: &[u8], missing: u64, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        if !bytes.is_empty() {
            self.advance(bytes.len() as u64);
            out(Piece::Bytes(bytes, at));
        }
        self.lose(missing, at, out);
    }

    fn lose(&mut self, bytes: u64, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        if bytes > 0 {
            self.advance(bytes);
            out(Piece::Lost(bytes, at));
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.next += bytes;
        // Wraps, as the numbers of the protocol do.
        self.seq = self.seq.map(|seq| seq.wrapping_add(bytes as u32));
    }
}
