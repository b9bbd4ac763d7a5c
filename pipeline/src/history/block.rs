//! One step of the history as bytes: which series gained what.
//!
//! An entry is, as little-endian base-128 numbers: how far its series is from the one before, which buckets gained (a
//! mask), and what each of them gained. Series are in ascending order; one that gained nothing is not there, so an idle
//! series costs nothing. A counter is a histogram with one bucket.
//!
//! Absent: names (see [`super::series`]), sums of durations (nothing shows a mean), clocks.

use redtap_stages::metric::MAX_BUCKETS;
use std::sync::Arc;

/// Buckets of a gain; the last used one of a histogram is +Inf.
pub(crate) const BUCKETS: usize = MAX_BUCKETS + 1;
/// What a series gained in a step, by bucket.
pub(crate) type Gain = [u64; BUCKETS];

/// What all series gained in one step. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Beginning of the step, seconds since the epoch; a multiple of the step.
    pub(crate) start: i64,
    /// The entries.
    pub(crate) bytes: Arc<[u8]>,
}

/// Bytes that a block takes besides its entries: itself in its queue, and the counts in front of shared bytes.
pub(crate) const BLOCK_OVERHEAD: usize = size_of::<Block>() + 2 * size_of::<usize>();

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A number goes on after the end, or beyond 64 bits.
    #[error("a number of a step is cut or too large")]
    Number,
    /// A mask names no bucket, or one that there is not.
    #[error("a step names buckets that there are not")]
    Buckets,
    /// A series beyond those that there are, or one twice.
    #[error("a step names a series that there is not, or one twice")]
    Series,
}

impl Block {
    /// Of entries whose series ascend. An entry that gained nothing is left out.
    pub(crate) fn of(start: i64, entries: impl IntoIterator<Item = (u32, Gain)>) -> Self {
        let mut bytes = Vec::new();
        let mut next = 0_u32;
        for (series, gain) in entries {
            let mask = gain.iter().rev().fold(0_u64, |mask, &n| mask << 1 | u64::from(n > 0));
            if mask == 0 {
                continue;
            }
            debug_assert!(series >= next, "series ascend");
            write(&mut bytes, u64::from(series.saturating_sub(next)));
            write(&mut bytes, mask);
            gain.iter().filter(|&&n| n > 0).for_each(|&n| write(&mut bytes, n));
            next = series.saturating_add(1);
        }
        Self { start, bytes: bytes.into() }
    }

    /// Bytes that it takes.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + BLOCK_OVERHEAD
    }

    /// Its entries. Ends early where the bytes are none; [`Self::check`] tells.
    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries { bytes: &self.bytes, next: 0 }
    }

    /// Looks at every byte: for blocks that come from a file.
    pub(crate) fn check(&self, series: u32) -> Result<(), BlockError> {
        let mut entries = self.entries();
        while let Some((id, _)) = entries.read()? {
            if id >= series {
                return Err(BlockError::Series);
            }
        }
        Ok(())
    }

    /// The entries of several steps as one, which begins at `start`.
    pub(crate) fn merged(start: i64, blocks: &[Self]) -> Self {
        let mut sources: Vec<_> = blocks.iter().map(|block| block.entries().peekable()).collect();
        let mut merged: Vec<(u32, Gain)> = Vec::new();
        while let Some(least) = sources.iter_mut().filter_map(|source| source.peek().map(|entry| entry.0)).min() {
            let mut total: Gain = [0; BUCKETS];
            for source in &mut sources {
                if let Some((_, gain)) = source.next_if(|entry| entry.0 == least) {
                    add(&mut total, &gain);
                }
            }
            merged.push((least, total));
        }
        Self::of(start, merged)
    }
}

/// Adds what was gained.
pub(crate) fn add(total: &mut Gain, gain: &Gain) {
    for (total, n) in total.iter_mut().zip(gain) {
        *total = total.saturating_add(*n);
    }
}

/// Reads a block.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    bytes: &'a [u8],
    next: u32,
}

impl Entries<'_> {
    fn read(&mut self) -> Result<Option<(u32, Gain)>, BlockError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let skipped = u32::try_from(read(&mut self.bytes)?).map_err(|_| BlockError::Series)?;
        let id = self.next.checked_add(skipped).ok_or(BlockError::Series)?;
        let mut mask = read(&mut self.bytes)?;
        if mask == 0 || mask >> BUCKETS != 0 {
            return Err(BlockError::Buckets);
        }
        let mut gain: Gain = [0; BUCKETS];
        for place in &mut gain {
            if mask & 1 == 1 {
                *place = read(&mut self.bytes)?;
            }
            mask >>= 1;
        }
        self.next = id.checked_add(1).ok_or(BlockError::Series)?;
        Ok(Some((id, gain)))
    }
}

impl Iterator for Entries<'_> {
    type Item = (u32, Gain);

    fn next(&mut self) -> Option<(u32, Gain)> {
        let entry = self.read();
        debug_assert!(entry.is_ok(), "blocks are made here, or checked");
        entry.ok().flatten()
    }
}

/// Appends a number: seven bits a byte, the lowest first; the highest bit says that more follows.
pub(crate) fn write(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or(0));
}

/// Reads such a number off the front.
pub(crate) fn read(bytes: &mut &[u8]) -> Result<u64, BlockError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(BlockError::Number)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return Err(BlockError::Number);
        }
        value |= part << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BlockError::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn gains() -> impl Strategy<Value = BTreeMap<u32, Gain>> {
        let count = prop_oneof![4 => Just(0), 4 => 1..200_u64, 1 => any::<u64>()];
        prop::collection::btree_map(0..5_000_u32, prop::array::uniform15(count), 0..40)
    }

    fn without_idle(gains: &BTreeMap<u32, Gain>) -> Vec<(u32, Gain)> {
        gains.iter().filter(|(_, gain)| gain.iter().any(|&n| n > 0)).map(|(&id, &gain)| (id, gain)).collect()
    }

    #[test]
    fn an_entry_of_one_bucket_takes_three_bytes() {
        let mut gain: Gain = [0; BUCKETS];
        gain[2] = 5;
        assert_eq!(&*Block::of(0, [(3, gain), (4, gain)]).bytes, [3, 4, 5, 0, 4, 5]);
    }

    proptest! {
        #[test]
        fn gives_back_what_was_put_in(gains in gains()) {
            let block = Block::of(60, gains.clone());
            prop_assert_eq!(block.entries().collect::<Vec<_>>(), without_idle(&gains));
            prop_assert_eq!(block.check(5_000), Ok(()));
        }

        #[test]
        fn a_merged_block_holds_the_sums(all in prop::collection::vec(gains(), 0..5)) {
            let blocks: Vec<_> = all.iter().map(|gains| Block::of(0, gains.clone())).collect();
            let mut wanted: BTreeMap<u32, Gain> = BTreeMap::new();
            for (id, gain) in all.iter().flatten() {
                add(wanted.entry(*id).or_insert([0; BUCKETS]), gain);
            }
            prop_assert_eq!(Block::merged(0, &blocks).entries().collect::<Vec<_>>(), without_idle(&wanted));
        }

        #[test]
        fn any_bytes_are_a_block_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let block = Block { start: 0, bytes: bytes.into() };
            if block.check(1_000).is_ok() {
                prop_assert!(block.entries().all(|(id, _)| id < 1_000));
            }
        }

        #[test]
        fn a_cut_number_is_an_error(value in any::<u64>()) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            prop_assert_eq!(read(&mut &bytes[..]), Ok(value));
            bytes.pop();
            prop_assert_eq!(read(&mut &bytes[..]), Err(BlockError::Number));
        }
    }
}
