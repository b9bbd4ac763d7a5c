//! Turn and offset accounts of one connection: what a record proves to have moved before it.
//!
//! On a stream turns alternate in direction, so the parity of a turn's number tells its direction, and a jump of the
//! number tells exactly how many turns were refused. On datagrams every operation is a turn of its own and several
//! threads may use one socket: there a window of the last [`WINDOW`] turns waits for those that overtook each other.

use crate::flow::conn::Direction;

/// Datagram turns that may overtake each other before one that has not come counts as missed.
pub const WINDOW: u32 = 64;

/// Turns of which the first record was refused, by direction (0 ingress, 1 egress).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Missed(pub(super) [u32; 2]);

impl Missed {
    pub(super) fn is_none(self) -> bool {
        self.0 == [0, 0]
    }

    fn add(&mut self, direction: Direction, n: u32) {
        let [ingress, egress] = &mut self.0;
        match direction {
            Direction::Ingress => *ingress = ingress.saturating_add(n),
            Direction::Egress => *egress = egress.saturating_add(n),
        }
    }
}

/// How far a connection is known to have come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Bytes known to have moved, by direction.
    known: [u64; 2],
    /// Datagrams: bytes of these that a record or a miss explained.
    explained: [u64; 2],
    /// Turns below this number are settled or in the window.
    next: u32,
    /// Direction of turn 0 of a stream.
    first: Option<Direction>,
    /// Datagrams: bit n is set if turn `next - 1 - n` was seen or settled.
    window: u64,
}

/// What a data record is to its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its first record.
    Start,
    /// A later one (or the first one was refused).
    Within,
    /// Of a turn that was settled before.
    Stale,
}

impl Progress {
    pub(super) fn known(&self, direction: Direction) -> u64 {
        let [ingress, egress] = self.known;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    /// Number of the newest turn known of.
    pub(super) fn turn(&self) -> u32 {
        self.next.saturating_sub(1)
    }

    /// Moves what is known of `direction` on to `end`; says by how much.
    pub(super) fn reach(&mut self, direction: Direction, end: u64) -> u64 {
        let [ingress, egress] = &mut self.known;
        let known = match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        };
        let more = end.saturating_sub(*known);
        *known = (*known).max(end);
        more
    }

    /// A data record of a stream: of turn `turn`, flagged as its first or not.
    pub(super) fn stream_data(&mut self, direction: Direction, turn: u32, begins: bool) -> (Place, Missed) {
        if self.next > 0 && turn < self.turn() {
            return (Place::Stale, Missed::default());
        }
        self.first = Some(direction_of(turn, direction));
        if turn < self.next {
            return (Place::Within, Missed::default());
        }
        let upto = if begins { turn } else { turn.saturating_add(1) };
        let missed = self.miss(turn, direction, upto);
        self.next = turn.saturating_add(1);
        (if begins { Place::Start } else { Place::Within }, missed)
    }

    /// A stream is known to be in turn `turn` without a record of it; `direction` is the turn's where that is known. Where no
    /// record told and both directions moved, `guess` is who spoke first.
    pub(super) fn stream_at(&mut self, direction: Option<Direction>, turn: u32, guess: Direction) -> Missed {
        if turn < self.next || self.known == [0, 0] {
            return Missed::default();
        }
        if let Some(direction) = direction {
            self.first = Some(direction_of(turn, direction));
        }
        let first = *self.first.get_or_insert(match self.known {
            [0, _] => Direction::Egress,
            [_, 0] => Direction::Ingress,
            _ => guess,
        });
        let missed = self.miss(turn, direction_of(turn, first), turn.saturating_add(1));
        self.next = turn.saturating_add(1);
        missed
    }

    /// Counts the turns from `next` up to `upto` (not included), where `turn` goes in `direction`.
    fn miss(&self, turn: u32, direction: Direction, upto: u32) -> Missed {
        let mut missed = Missed::default();
        let n = upto.saturating_sub(self.next);
        if n > 0 {
            // Of n numbers in a row, those with the parity of the first are the larger half.
            let first = direction_of(turn.abs_diff(self.next), direction);
            missed.add(first, n.div_ceil(2));
            missed.add(first.reverse(), n / 2);
        }
        missed
    }

    /// A datagram of `len` bytes in turn `turn`; what is known was moved on to it before.
    pub(super) fn datagram(&mut self, direction: Direction, turn: u32, len: u32) -> (Place, Missed) {
        let overtaken = turn < self.next;
        let back = self.turn().saturating_sub(turn);
        if overtaken && (back >= WINDOW || self.window >> back & 1 == 1) {
            return (Place::Stale, Missed::default());
        }
        self.explain(direction, u64::from(len));
        let missed = if overtaken { Missed::default() } else { self.slide(turn) };
        self.window |= 1 << back;
        (Place::Start, missed)
    }

    /// All datagrams up to turn `turn` were either seen or refused: nothing is on its way any more.
    pub(super) fn settle_datagrams(&mut self, turn: u32) -> Missed {
        if self.known == [0, 0] {
            return Missed::default();
        }
        let missed = if turn >= self.next { self.slide(turn) } else { Missed::default() };
        let open = (!self.window & mask(self.next)).count_ones();
        self.window = u64::MAX;
        let [ingress, egress] = self.attribute(open).0;
        self.explained = self.known;
        let mut all = missed;
        all.add(Direction::Ingress, ingress);
        all.add(Direction::Egress, egress);
        all
    }

    /// Makes `turn` the newest one of the window; what falls out of it unseen is missed.
    fn slide(&mut self, turn: u32) -> Missed {
        let next = turn.saturating_add(1);
        let by = next - self.next;
        let unseen = !self.window & mask(self.next);
        let fallen = if by >= WINDOW {
            // Everything in the window falls out, and so do the turns that only passed through it.
            unseen.count_ones() + (by - WINDOW)
        } else {
            unseen.checked_shr(WINDOW - by).unwrap_or(0).count_ones()
        };
        self.window = self.window.checked_shl(by).unwrap_or(0);
        self.next = next;
        self.attribute(fallen)
    }

    /// Datagrams do not say which way a missed one went: the direction whose offset has an unexplained hole is it; with
    /// holes both ways, half each.
    fn attribute(&self, n: u32) -> Missed {
        let mut missed = Missed::default();
        if n == 0 {
            return missed;
        }
        let [known_in, known_out] = self.known;
        let [told_in, told_out] = self.explained;
        match (known_in > told_in, known_out > told_out) {
            (true, false) => missed.add(Direction::Ingress, n),
            (false, true) => missed.add(Direction::Egress, n),
            _ => {
                missed.add(Direction::Ingress, n.div_ceil(2));
                missed.add(Direction::Egress, n / 2);
            }
        }
        missed
    }

    fn explain(&mut self, direction: Direction, len: u64) {
        let [ingress, egress] = &mut self.explained;
        let told = match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        };
        *told = told.saturating_add(len);
    }
}

/// Window bits of turns that exist: all below `next`.
fn mask(next: u32) -> u64 {
    if next >= WINDOW { u64::MAX } else { (1 << next) - 1 }
}

/// Direction of turn 0 (or of the turn that many before), where turn `distance` goes in `direction`.
fn direction_of(distance: u32, direction: Direction) -> Direction {
    if distance.is_multiple_of(2) { direction } else { direction.reverse() }
}
