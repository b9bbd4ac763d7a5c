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
    /// The capture joined late and only the peer's acknowledgement says where the stream stands: what lies before the first
    /// captured byte is not lost, it belongs to what was before.
    unseen: bool,
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
        self.unseen |= self.seq.is_none();
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
            self.unseen = false;
            self.advance(bytes.len() as u64);
            out(Piece::Bytes(bytes, at));
        }
        self.lose(missing, at, out);
    }

    fn lose(&mut self, bytes: u64, at: Nanos, out: &mut dyn FnMut(Piece<'_>)) {
        if bytes > 0 {
            self.advance(bytes);
            if !self.unseen {
                out(Piece::Lost(bytes, at));
            }
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.next += bytes;
        // Wraps, as the numbers of the protocol do.
        self.seq = self.seq.map(|seq| seq.wrapping_add(bytes as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What came out: bytes, with `None` for each that is missing, and whether the end was said.
    #[derive(Debug, Default, PartialEq)]
    struct Out {
        bytes: Vec<Option<u8>>,
        ended: bool,
    }

    impl Out {
        fn take(&mut self, piece: Piece<'_>) {
            assert!(!self.ended, "something behind the end");
            match piece {
                Piece::Bytes(bytes, _) => self.bytes.extend(bytes.iter().copied().map(Some)),
                Piece::Lost(n, _) => self.bytes.resize(self.bytes.len() + n as usize, None),
                Piece::End(_) => self.ended = true,
            }
        }

        fn text(&self) -> String {
            self.bytes.iter().map(|byte| byte.map_or('_', char::from)).collect()
        }
    }

    struct Stream {
        lane: Lane,
        out: Out,
        first: u32,
    }

    impl Stream {
        fn new(first: u32) -> Self {
            let mut lane = Lane::default();
            lane.begins(first);
            Self { lane, out: Out::default(), first }
        }

        fn put(&mut self, at: u32, bytes: &[u8], fin: bool) -> &mut Self {
            self.cut(at, bytes, 0, fin)
        }

        fn cut(&mut self, at: u32, bytes: &[u8], missing: u32, fin: bool) -> &mut Self {
            let seq = self.first.wrapping_add(at);
            let segment = Segment { seq, bytes, missing, fin, at: Nanos(1) };
            assert!(self.lane.segment(segment, &mut |piece| self.out.take(piece)));
            self
        }

        fn ack(&mut self, at: u32, speaks: bool) -> &mut Self {
            let ack = self.first.wrapping_add(at);
            self.lane.acknowledged(ack, speaks, Nanos(1), &mut |piece| self.out.take(piece));
            self
        }

        fn give_up(&mut self) -> &mut Self {
            self.lane.give_up(Nanos(1), &mut |piece| self.out.take(piece));
            self
        }

        fn text(&self) -> String {
            self.out.text()
        }
    }

    #[test]
    fn puts_segments_in_order_and_takes_the_first_of_what_comes_twice() {
        let mut stream = Stream::new(u32::MAX - 2);
        stream.put(3, b"def", false).put(4, b"XYghi", false);
        assert_eq!((stream.text().as_str(), stream.lane.waiting()), ("", 6));
        stream.put(0, b"abcZZ", false);
        assert_eq!(stream.text(), "abcdefghi", "over the wrap of the numbers");
        stream.put(0, b"????????", false).put(8, b"?j", false);
        assert_eq!(stream.text(), "abcdefghij");
        assert_eq!(stream.lane.waiting(), 0);
    }

    #[test]
    fn a_probe_for_life_is_not_data() {
        let mut stream = Stream::new(100);
        stream.put(0, b"abc", false).put(2, b"\0", false).put(2, b"", false).put(3, b"d", false);
        assert_eq!(stream.text(), "abcd");
    }

    #[test]
    fn a_hole_is_lost_when_the_peer_has_it_and_not_before() {
        let mut stream = Stream::new(0);
        stream.put(0, b"ab", false).put(4, b"ef", false).ack(2, false);
        assert_eq!(stream.text(), "ab");
        stream.ack(6, false);
        assert_eq!(stream.text(), "ab__ef");
        // Nothing behind: it is waited for until the peer answers it.
        stream.ack(9, false);
        assert_eq!(stream.text(), "ab__ef");
        stream.ack(9, true);
        assert_eq!(stream.text(), "ab__ef___");
    }

    #[test]
    fn what_lies_before_the_first_byte_of_a_late_joined_stream_is_not_lost() {
        let mut late = Stream { lane: Lane::default(), out: Out::default(), first: 1_000 };
        late.ack(0, true).put(47, b"frames", false).ack(53, true);
        assert_eq!(late.text(), "frames");
        late.put(60, b"more", false).ack(64, true);
        assert_eq!(late.text(), "frames_______more", "from then on it is");
        let mut whole = Stream::new(1_000);
        whole.ack(0, true).put(47, b"frames", false).ack(53, true);
        assert_eq!(whole.text(), format!("{}frames", "_".repeat(47)));
    }

    #[test]
    fn an_acknowledged_fin_that_is_not_in_the_capture_is_no_byte() {
        let mut stream = Stream::new(0);
        stream.put(0, b"ab", false).ack(3, true);
        assert_eq!(stream.text(), "ab");
        let mut stream = Stream::new(0);
        stream.put(0, b"ab", true).ack(3, true).give_up();
        assert_eq!((stream.text().as_str(), stream.out.ended), ("ab", true));
    }

    #[test]
    fn the_end_comes_behind_everything_and_once() {
        let mut stream = Stream::new(7);
        stream.put(2, b"cd", true).put(2, b"cd", true);
        assert!(!stream.out.ended);
        stream.put(0, b"ab", false).put(4, b"beyond", true);
        assert_eq!((stream.text().as_str(), stream.out.ended), ("abcd", true));
        let mut early = Stream::new(7);
        early.put(0, b"ab", false).put(4, b"", true).give_up();
        assert_eq!((early.text().as_str(), early.out.ended), ("ab__", true), "what the FIN says was there");
    }

    #[test]
    fn bytes_that_the_snap_length_cut_are_lost_where_they_were() {
        let mut stream = Stream::new(0);
        stream.cut(0, b"ab", 3, false).put(5, b"fg", false).cut(9, b"j", 2, false).put(7, b"hi", false);
        assert_eq!(stream.text(), "ab___fghij__");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stream = Stream::new(0);
        for n in 0..3_000_u32 {
            stream.put(1_000 + n * 1_000, &[b'x'; 999], false);
            assert!(stream.lane.waiting() <= MAX_AHEAD, "{n}");
        }
        let mut stream = Stream::new(0);
        for n in 0..2 * MAX_PIECES as u32 {
            stream.put(2 + n * 2, b"x", false);
            assert!(stream.lane.ahead.len() <= MAX_PIECES, "{n}");
        }
    }

    #[test]
    fn a_number_from_nowhere_is_not_of_this_stream() {
        let mut stream = Stream::new(0);
        stream.put(0, b"ab", false);
        let segment = Segment { seq: 1 << 31, bytes: b"x", missing: 0, fin: false, at: Nanos(1) };
        assert!(!stream.lane.segment(segment, &mut |_| panic!("nothing comes of it")));
        assert!(!stream.lane.could_be(1 << 31) && stream.lane.could_be(1 << 20));
        assert!(stream.lane.is_first(0) && !stream.lane.is_first(2));
    }

    /// A stream, and segments that together cover it.
    fn segments() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, usize)>)> {
        (1..400_usize, prop::collection::vec((0..400_usize, 1..60_usize), 0..60), any::<prop::sample::Index>())
            .prop_flat_map(|(len, extra, _)| {
                let stream: Vec<u8> = (0..len).map(|n| (n * 7 + n / 251) as u8).collect();
                let step = 1 + len / 17;
                let mut cover: Vec<(usize, usize)> =
                    (0..len).step_by(step).map(|at| (at, (at + step).min(len))).collect();
                cover.extend(extra.into_iter().map(|(at, n)| (at % len, (at % len + n).min(len))));
                (Just(stream), Just(cover).prop_shuffle())
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any order, repetition and overlap of segments that cover a stream gives the stream, and then its end.
        #[test]
        fn any_order_gives_the_stream((stream, cover) in segments(), first in any::<u32>(), fin in 0..20_usize) {
            let mut read = Stream::new(first);
            for (n, &(from, to)) in cover.iter().enumerate() {
                if n == fin {
                    read.put(stream.len() as u32, b"", true);
                }
                read.put(from as u32, &stream[from..to], to == stream.len());
            }
            let whole: Vec<_> = stream.iter().copied().map(Some).collect();
            prop_assert_eq!(&read.out, &Out { bytes: whole, ended: true });
            prop_assert_eq!(read.lane.waiting(), 0);
        }

        /// Of what is left out exactly the missing bytes are lost, whatever made the waiting end.
        #[test]
        fn what_is_missing_is_lost_and_no_more(
            (stream, cover) in segments(),
            kept in prop::collection::vec(any::<bool>(), 80),
            first in any::<u32>(),
            acked in any::<bool>(),
        ) {
            let mut read = Stream::new(first);
            let mut have = vec![false; stream.len()];
            for (&(from, to), _) in cover.iter().zip(&kept).filter(|(_, kept)| **kept) {
                have[from..to].fill(true);
                read.put(from as u32, &stream[from..to], false);
            }
            if acked {
                read.ack(stream.len() as u32, false);
            } else {
                read.give_up();
            }
            let upto = have.iter().rposition(|have| *have).map_or(0, |last| last + 1);
            let want: Vec<_> = stream.iter().zip(&have).take(upto).map(|(byte, have)| have.then_some(*byte)).collect();
            prop_assert_eq!(&read.out.bytes, &want);
            prop_assert_eq!(read.lane.waiting(), 0);
        }

        /// Segments of any kind: what comes out is no more than what the numbers span, and what waits is bounded.
        #[test]
        fn anything_ends(steps in prop::collection::vec(
            (any::<u32>(), 0..50_usize, 0..9_u32, any::<bool>(), 0..6_u8), 0..60)
        ) {
            let (mut lane, mut moved, mut ended) = (Lane::default(), 0_u64, 0);
            let bytes = [7; 50];
            let mut out = |piece: Piece<'_>| match piece {
                Piece::Bytes(bytes, _) => moved += bytes.len() as u64,
                Piece::Lost(n, _) => moved += n,
                Piece::End(_) => ended += 1,
            };
            for (seq, len, missing, fin, what) in steps {
                let at = Nanos(1);
                match what {
                    0 => lane.acknowledged(seq, fin, at, &mut out),
                    1 => lane.give_up(at, &mut out),
                    _ => {
                        let seq = if what > 3 { seq % 200 } else { seq };
                        lane.segment(Segment { seq, bytes: &bytes[..len], missing, fin: fin && what == 5, at }, &mut out);
                    }
                }
                prop_assert!(lane.waiting() <= 60 * 50);
            }
            prop_assert!(ended <= 1);
            prop_assert!(moved <= 61 * (MAX_JUMP as u64 + 60));
        }
    }
}
