//! Turn and offset accounts of one connection: what a record proves to have moved before it.
//!
//! How many turns have no record is not guessed from turn numbers: the kernel counts them, and every record says the
//! count. A jump of the number tells which turns these can be. Two threads on one socket overtake each other: a turn that
//! is jumped over and not in the count is still on its way into the ring (or its connection was muted then). Its record is
//! waited for, without bound in time and with one number a direction: a thread is in one turn at a time.
//!
//! On a stream turns alternate in direction, so the parity of a turn's number tells its direction. On datagrams every
//! operation is a turn of its own, and the bytes that no record explains tell which way a missed one went.

use super::header::{Kind, Record};
use crate::flow::conn::Direction;

/// Turns of which the first record was refused, by direction (0 ingress, 1 egress).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Missed(pub(super) [u32; 2]);

impl Missed {
    pub(super) fn is_none(self) -> bool {
        self.0 == [0, 0]
    }

    fn add(&mut self, direction: Direction, n: u32) {
        let count = of_mut(&mut self.0, direction);
        *count = count.saturating_add(n);
    }
}

/// How far a connection is known to have come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Bytes known to have moved, by direction.
    known: [u64; 2],
    /// Datagrams: bytes of these that a record or a miss explained.
    explained: [u64; 2],
    /// Turns below this number are settled or pending.
    next: u32,
    /// How many of the turns that the kernel counts as unseen were said to be missed.
    unseen: u32,
    /// Direction of turn 0 of a stream.
    first: Option<Direction>,
    /// Streams: the newest turn jumped over that may still be on its way, by direction.
    pending: [Option<u32>; 2],
}

/// What a data record is to its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its first record.
    Start,
    /// A later one (or the first one was refused).
    Within,
}

impl Progress {
    /// Where a connection stands of which a record is not the first one, and of which nothing is remembered: at that
    /// record. What was missed before it was said then, or cannot be told from what was.
    pub(super) fn resumed(record: &Record) -> Self {
        let header = &record.header;
        let mut progress = Self { unseen: header.unseen, next: header.turn, ..Self::default() };
        progress.reach(record.direction, header.offset);
        progress.reach(record.direction.reverse(), header.other_offset);
        progress.explained = progress.known;
        if !record.begins_turn {
            progress.next = header.turn.saturating_add(1);
        }
        if record.kind != Kind::End {
            progress.first = Some(direction_of(header.turn, record.direction));
        }
        progress
    }

    pub(super) fn known(&self, direction: Direction) -> u64 {
        of(self.known, direction)
    }

    /// Moves what is known of `direction` on to `end`; says by how much.
    pub(super) fn reach(&mut self, direction: Direction, end: u64) -> u64 {
        let known = of_mut(&mut self.known, direction);
        let more = end.saturating_sub(*known);
        *known = (*known).max(end);
        more
    }

    /// A data record of a stream: of turn `turn`, flagged as its first or not; `unseen` is the kernel's count.
    pub(super) fn stream_data(
        &mut self,
        direction: Direction,
        turn: u32,
        begins: bool,
        unseen: u32,
    ) -> (Place, Missed) {
        if turn < self.next {
            let pending = of_mut(&mut self.pending, direction);
            let overtaken = begins && *pending == Some(turn);
            if overtaken {
                *pending = None;
            }
            let missed = self.account(direction, [0, 0], unseen);
            return (if overtaken { Place::Start } else { Place::Within }, missed);
        }
        self.first = Some(direction_of(turn, direction));
        if begins && turn == self.next && unseen == self.unseen {
            // Nearly always: nothing was jumped over, and nothing is to be told.
            self.next = turn.saturating_add(1);
            return (Place::Start, Missed::default());
        }
        let upto = if begins { turn } else { turn.saturating_add(1) };
        let missed = self.pass(direction, upto, unseen);
        self.next = turn.saturating_add(1);
        (if begins { Place::Start } else { Place::Within }, missed)
    }

    /// A stream is known to be in turn `turn` without a record of it, and `direction` speaks; `turned` is the turn's
    /// direction where that is known. Where no record told and both directions moved, `guess` is who spoke first.
    pub(super) fn stream_at(
        &mut self,
        direction: Direction,
        turned: Option<Direction>,
        turn: u32,
        unseen: u32,
        guess: Direction,
    ) -> Missed {
        if turn < self.next || self.known == [0, 0] {
            return self.account(direction, [0, 0], unseen);
        }
        if let Some(turned) = turned {
            self.first = Some(direction_of(turn, turned));
        }
        if self.first.is_none() {
            self.first = Some(match self.known {
                [0, _] => Direction::Egress,
                [_, 0] => Direction::Ingress,
                _ => guess,
            });
        }
        self.pass(direction, turn.saturating_add(1), unseen)
    }

    /// Jumps over the turns from `next` up to `upto` (not included), on the word of `speaker`.
    fn pass(&mut self, speaker: Direction, upto: u32, unseen: u32) -> Missed {
        let from = self.next;
        self.next = upto.max(from);
        let n = upto.saturating_sub(from);
        // Of n numbers in a row, those with the parity of the first are the larger half.
        let way = |turn| direction_of(turn, self.first.unwrap_or(speaker));
        let mut holes = [0; 2];
        *of_mut(&mut holes, way(from)) = n.div_ceil(2);
        *of_mut(&mut holes, way(from).reverse()) = n / 2;
        let newest = [upto.checked_sub(1), upto.checked_sub(2)];
        let newest = newest.map(|turn| turn.filter(|turn| *turn >= from).map(|turn| (turn, way(turn))));
        let missed = self.account(speaker, holes, unseen);
        for (turn, direction) in newest.into_iter().flatten() {
            let left = of(holes, direction) > of(missed.0, direction);
            *of_mut(&mut self.pending, direction) = left.then_some(turn);
        }
        missed
    }

    /// Attributes what the kernel counts as unseen, and was not said yet, to the turns jumped over. All those of the
    /// speaker's direction are settled; of the other direction the newest may be on its way; what is in the count and not
    /// among these is a turn of the other direction whose place is not known yet.
    fn account(&mut self, speaker: Direction, holes: [u32; 2], unseen: u32) -> Missed {
        let mut missed = Missed::default();
        let n = self.counted(unseen);
        if n == 0 {
            return missed;
        }
        let mut left = n;
        for direction in [speaker, speaker.reverse()] {
            let pending = of_mut(&mut self.pending, direction);
            let open = of(holes, direction).saturating_add(u32::from(pending.is_some()));
            let told = left.min(open);
            if told == open {
                *pending = None;
            }
            missed.add(direction, told);
            left -= told;
        }
        missed.add(speaker.reverse(), left);
        missed
    }

    /// How many more the kernel counts than it did. A record that was overtaken knows of fewer.
    fn counted(&mut self, unseen: u32) -> u32 {
        let more = unseen.wrapping_sub(self.unseen);
        if more > u32::MAX / 2 {
            return 0;
        }
        self.unseen = unseen;
        more
    }

    /// A datagram of `len` bytes (0: another kind of record); what is known was moved on to it before.
    pub(super) fn datagram(&mut self, direction: Direction, len: u32, unseen: u32) -> Missed {
        let told = of_mut(&mut self.explained, direction);
        *told = told.saturating_add(u64::from(len));
        let n = self.counted(unseen);
        self.attribute(n)
    }

    /// Datagrams do not say which way a missed one went: the direction whose offset has an unexplained hole is it; with
    /// holes both ways, half each.
    fn attribute(&mut self, n: u32) -> Missed {
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
        self.explained = self.known;
        missed
    }
}

fn of<T: Copy>([ingress, egress]: [T; 2], direction: Direction) -> T {
    match direction {
        Direction::Ingress => ingress,
        Direction::Egress => egress,
    }
}

fn of_mut<T>([ingress, egress]: &mut [T; 2], direction: Direction) -> &mut T {
    match direction {
        Direction::Ingress => ingress,
        Direction::Egress => egress,
    }
}

/// Direction of the turn `distance` before or after one that goes in `direction`.
fn direction_of(distance: u32, direction: Direction) -> Direction {
    if distance.is_multiple_of(2) { direction } else { direction.reverse() }
}
