//! Bounded pieces of the summary's state: where parentheses stand, and the words written so far.

use crate::limits::SQL_SUMMARY;

/// One bit a depth of parentheses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Depths(u64);

impl Depths {
    pub(super) fn has(self, depth: u32) -> bool {
        self.0 & bit(depth) != 0
    }

    pub(super) fn put(&mut self, depth: u32, on: bool) {
        if on {
            self.0 |= bit(depth);
        } else {
            self.0 &= !bit(depth);
        }
    }
}

/// Depths past the width of the word have no bit: nothing is known there.
fn bit(depth: u32) -> u64 {
    1_u64.checked_shl(depth).unwrap_or(0)
}

/// The summary as it grows.
#[derive(Debug)]
pub(super) struct Words<'b> {
    pub(super) room: &'b mut [u8; SQL_SUMMARY],
    pub(super) len: usize,
    pub(super) full: bool,
}

impl<'b> Words<'b> {
    /// Appends a word; once one has not fitted, none does.
    pub(super) fn push(&mut self, word: &[u8]) {
        let from = self.len + usize::from(self.len > 0);
        let end = from + word.len();
        match self.room.get_mut(from..end) {
            Some(place) if !self.full => {
                place.copy_from_slice(word);
                if let Some(space) = self.room.get_mut(self.len..from) {
                    space.fill(b' ');
                }
                self.len = end;
            }
            _ => self.full = true,
        }
    }

    pub(super) fn text(self) -> &'b [u8] {
        let Self { room, len, .. } = self;
        room.get(..len).unwrap_or_default()
    }
}
