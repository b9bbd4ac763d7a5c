//! How byte streams are cut into operations, as a process's system calls might have: the same bytes in other pieces must give
//! the same exchanges.
//!
//! | mode | what one operation is |
//! |---|---|
//! | `packets` | what one packet brought |
//! | `rechunk[:seed]` | pieces of a turn cut at random places, down to one byte |
//! | `glue` | what came of a turn within [`JOIN`], up to [`MAX_GLUED`] |
//! | `head:N` | what one packet brought; of a turn only the first N bytes are captured, as by a probe with that budget (which captures HTTP/2 in full) |
//!
//! A piece has the time of its last byte, and joins only what came within [`JOIN`]: a request that is told to have begun later, or
//! an answer to have ended later, than it did would not be the same exchange. What is held back goes out when the other side
//! speaks, when the direction ends, and when the caller finds it has waited for [`HOLD`].
//!
//! Absent: datagrams, which are never joined and only cut by `head`.

use super::events::{Conn, Queue};
use redtap_stages::time::Nanos;
use std::str::FromStr;

/// Bytes of a turn that `glue` joins.
pub const MAX_GLUED: usize = 1024 * 1024;
/// Bytes of the longest piece of `rechunk`.
pub const MAX_PIECE: usize = 8_192;
/// Bytes that came within this time are joined: less than what durations are compared to.
pub const JOIN: Nanos = Nanos(50_000);
/// How long bytes are held back, in the time of the capture.
pub const HOLD: Nanos = Nanos::from_millis(500);

/// How streams are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As packets came.
    #[default]
    Packets,
    /// At random places.
    Rechunk {
        /// Where these are.
        seed: u64,
    },
    /// Not at all.
    Glue,
    /// As packets came, the first bytes of each turn captured.
    Head(u64),
}

/// A mode that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: packets, rechunk, rechunk:SEED, glue or head:BYTES")]
pub struct ModeError(String);

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<u64>().map_err(|_| ModeError(text.to_owned()))?)),
            None => (text, None),
        };
        match (name, number) {
            ("packets", None) => Ok(Self::Packets),
            ("rechunk", seed) => Ok(Self::Rechunk { seed: seed.unwrap_or(1) }),
            ("glue", None) => Ok(Self::Glue),
            ("head", Some(bytes)) => Ok(Self::Head(bytes)),
            _ => Err(ModeError(text.to_owned())),
        }
    }
}

/// What is held back of one direction.
#[derive(Debug, Default)]
pub struct Cutter {
    held: Vec<u8>,
    /// When the first and the last of it came.
    first: Nanos,
    at: Nanos,
    /// Length of the piece being made.
    piece: usize,
    /// Bytes of this turn so far.
    turn: u64,
}

/// A source of numbers that are the same every time (splitmix64, Steele et al. 2014).
#[derive(Debug, Clone, Copy)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of `seed` for connection `conn`.
    pub fn new(mode: Mode, conn: u64) -> Self {
        let seed = if let Mode::Rechunk { seed } = mode { seed } else { 0 };
        Self(seed ^ conn.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Few bytes as often as many.
    fn piece(&mut self) -> usize {
        let bound = [1, 4, 16, 128, 1_024, MAX_PIECE as u64];
        let bound = bound.get(self.roll() as usize % bound.len()).copied().unwrap_or(1);
        1 + (self.roll() % bound) as usize
    }
}

impl Cutter {
    /// True if something is held back.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// When the last of what is held back came.
    pub fn since(&self) -> Nanos {
        self.at
    }

    /// `bytes` came in `dir`.
    pub fn bytes(&mut self, mode: Mode, dice: &mut Dice, to: &mut Way<'_>, bytes: &[u8], at: Nanos) {
        if self.holds() && at.since(self.first) > JOIN {
            self.flush(to, 0);
        }
        if !self.holds() {
            self.first = at;
        }
        match mode {
            Mode::Packets => to.data(bytes, 0, at),
            Mode::Head(_) if to.conn.is_full(bytes) => to.data(bytes, 0, at),
            Mode::Head(budget) => {
                let spent = self.spend(to, bytes.len() as u64);
                let left = usize::try_from(budget.saturating_sub(spent)).unwrap_or(usize::MAX);
                let captured = bytes.get(..left).unwrap_or(bytes);
                to.data(captured, (bytes.len() - captured.len()) as u64, at);
            }
            Mode::Glue => {
                self.held.extend_from_slice(bytes);
                self.at = at;
                if self.held.len() >= MAX_GLUED {
                    self.flush(to, 0);
                }
            }
            Mode::Rechunk { .. } => self.recut(dice, to, bytes, at),
        }
    }

    /// `bytes` of `dir` are missing.
    pub fn lost(&mut self, to: &mut Way<'_>, bytes: u64, at: Nanos) {
        self.spend(to, bytes);
        if self.holds() {
            self.flush(to, bytes);
        } else {
            to.data(&[], bytes, at);
        }
    }

    /// Nothing is held back any longer; behind it `missing` bytes are not there.
    pub fn flush(&mut self, to: &mut Way<'_>, missing: u64) {
        to.data(&self.held, missing, self.at);
        self.held.clear();
        self.piece = 0;
    }

    /// Counts bytes of the turn; returns how many there were before.
    fn spend(&mut self, to: &Way<'_>, bytes: u64) -> u64 {
        if to.conn.begins_turn(to.dir) {
            self.turn = 0;
        }
        let spent = self.turn;
        self.turn = spent.saturating_add(bytes);
        spent
    }

    fn recut(&mut self, dice: &mut Dice, to: &mut Way<'_>, bytes: &[u8], at: Nanos) {
        let mut rest = bytes;
        self.at = at;
        while !rest.is_empty() {
            if self.piece == 0 {
                self.piece = dice.piece();
            }
            let wanted = self.piece.saturating_sub(self.held.len());
            let (now, later) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
            self.held.extend_from_slice(now);
            rest = later;
            if self.held.len() >= self.piece {
                self.flush(to, 0);
                self.first = at;
            }
        }
    }
}

/// Where what one direction says goes.
pub struct Way<'a> {
    /// The connection.
    pub conn: &'a mut Conn,
    /// The direction.
    pub dir: usize,
    /// The records made of it.
    pub out: &'a mut Queue,
}

impl Way<'_> {
    fn data(&mut self, bytes: &[u8], missing: u64, at: Nanos) {
        self.conn.data(self.dir, bytes, missing, at, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_what_they_are_called() {
        for (text, mode) in [
            ("packets", Mode::Packets),
            ("rechunk", Mode::Rechunk { seed: 1 }),
            ("rechunk:42", Mode::Rechunk { seed: 42 }),
            ("glue", Mode::Glue),
            ("head:512", Mode::Head(512)),
        ] {
            assert_eq!(text.parse(), Ok(mode));
        }
        for text in ["", "head", "head:-1", "glue:2", "packets:", "Rechunk"] {
            assert_eq!(text.parse::<Mode>(), Err(ModeError(text.to_owned())));
        }
    }

    #[test]
    fn pieces_are_of_every_size() {
        let mut dice = Dice::new(Mode::Rechunk { seed: 1 }, 1);
        let pieces: Vec<usize> = (0..10_000).map(|_| dice.piece()).collect();
        assert!(pieces.iter().all(|piece| (1..=MAX_PIECE).contains(piece)));
        let few = pieces.iter().filter(|piece| **piece == 1).count();
        assert!((1_500..3_500).contains(&few), "{few} of one byte");
        assert!(pieces.iter().any(|piece| *piece > 4_096));
    }
}
