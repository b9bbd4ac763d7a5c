//! A model of what the kernel programs do for one connection: turns, budgets, refused records, the slot.
//!
//! It keeps what really happened beside what it says, so that a law can compare the two.

use super::records::{Bytes, header, put};
use redtap_stages::abi::{EventHeader, flag, kind};
use redtap_stages::flow::conn::Direction;
use redtap_stages::flow::event::EventBatch;

/// What really happened in one turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) direction: Direction,
    /// When its first and its last operation ended.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
    /// Its first record entered the ring.
    pub(crate) seen: bool,
}

/// An operation that has its place on the connection and is being copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    direction: Direction,
    turn: usize,
    begins: bool,
    offset: u64,
    len: u32,
    capture: u32,
    clock: u64,
    /// What its records say of the connection: taken when the copy begins.
    head: EventHeader,
}

/// One connection in the kernel.
pub(crate) struct Kernel {
    id: u64,
    role: u8,
    transport: u8,
    budget: u32,
    /// Largest payload of one record.
    chunk: u32,
    clock: u64,
    /// Claimed by operations, and settled: of these others may know.
    offset: [u64; 2],
    told: [u64; 2],
    ts: [u64; 2],
    spent: [u32; 2],
    /// What the slot says, if it was not read.
    slot: Option<EventHeader>,
    /// Turns that no record begins, and whether a record entered the ring.
    unseen: u32,
    heard: bool,
    /// What really happened.
    pub(crate) turns: Vec<Turn>,
    /// What was said and not yet drained.
    pub(crate) ring: Vec<(EventHeader, Vec<u8>)>,
}

impl Kernel {
    pub(crate) fn new(id: u64, role: u8, transport: u8, budget: u32, chunk: u32) -> Self {
        Self {
            id,
            role,
            transport,
            budget,
            chunk,
            clock: 1_000_000,
            offset: [0; 2],
            told: [0; 2],
            ts: [0; 2],
            spent: [0; 2],
            slot: None,
            unseen: 0,
            heard: false,
            turns: Vec::new(),
            ring: Vec::new(),
        }
    }

    /// One operation that moves `bytes`. Bit n of `refuse` refuses its nth record, which ends the operation's records.
    pub(crate) fn operation(&mut self, direction: Direction, bytes: &[u8], refuse: u8) {
        let claim = self.claim(direction, bytes.len());
        self.settle(claim, bytes, refuse);
    }

    /// The first half: a turn and an offset.
    pub(crate) fn claim(&mut self, direction: Direction, len: usize) -> Claim {
        let len = u32::try_from(len).unwrap();
        self.clock += 1_000;
        let index = direction.index();
        let datagram = self.transport == super::records::UDP;
        let begins = datagram || self.turns.last().is_none_or(|turn| turn.direction != direction);
        if begins {
            self.spent[index] = 0;
            self.turns.push(Turn { direction, first: self.clock, last: 0, bytes: 0, seen: false });
        }
        let offset = self.offset[index];
        self.offset[index] += u64::from(len);
        if let Some(turn) = self.turns.last_mut() {
            turn.last = self.clock;
            turn.bytes += u64::from(len);
        }
        let capture = len.min(self.budget.saturating_sub(self.spent[index]));
        self.spent[index] = self.spent[index].saturating_add(len);
        let turn = self.turns.len() - 1;
        let head = self.header(kind::DATA, direction);
        Claim { direction, turn, begins, offset, len, capture, clock: self.clock, head }
    }

    /// The second half: records, and the word that nothing more comes.
    pub(crate) fn settle(&mut self, claim: Claim, bytes: &[u8], refuse: u8) {
        let index = claim.direction.index();
        let all = self.records(claim, bytes, refuse);
        if claim.capture == 0 && claim.begins {
            self.unseen += 1;
        }
        self.told[index] = claim.offset + u64::from(claim.len);
        self.ts[index] = claim.clock;
        if !all || claim.capture == 0 {
            self.note(claim.direction, claim.turn, 0);
        }
    }

    /// Puts the records; false if one was refused.
    fn records(&mut self, claim: Claim, bytes: &[u8], refuse: u8) -> bool {
        let Claim { mut offset, mut capture, .. } = claim;
        let mut rest = claim.len;
        if capture == 0 {
            return true;
        }
        for nth in 0.. {
            let cap = capture.min(self.chunk);
            capture -= cap;
            let last = capture == 0;
            let mut record = claim.head;
            record.offset = offset;
            record.cap_len = cap;
            record.len = if last { rest } else { cap };
            if claim.begins && nth == 0 {
                record.flags |= flag::TURN_START;
            }
            let from = (claim.len - rest) as usize;
            let payload = bytes[from..from + cap as usize].to_vec();
            offset += u64::from(record.len);
            rest -= record.len;
            if !self.attempt(record, payload, refuse >> nth.min(7) & 1 == 1) {
                return false;
            }
            if last {
                break;
            }
        }
        true
    }

    /// What the slot says from now on: where the operation of turn `turn` left the connection.
    fn note(&mut self, direction: Direction, turn: usize, closed: u8) {
        let mut record = self.header(if closed == 0 { kind::PROGRESS } else { kind::CLOSE }, direction);
        record.turn = u32::try_from(turn).unwrap();
        record.ts_ns = self.ts[direction.index()];
        (record.detail, record.family, record.pid) = (closed, 0, 0);
        self.slot = Some(record);
    }

    pub(crate) fn end(&mut self, direction: Direction, refuse: bool) {
        self.clock += 1_000;
        let record = self.header(kind::EOF, direction);
        if !self.attempt(record, Vec::new(), refuse) {
            self.note(direction, self.turns.len().saturating_sub(1), 0);
        }
    }

    pub(crate) fn close(&mut self, reason: u8, refuse: bool) {
        self.clock += 1_000;
        let Some(direction) = self.turns.last().map(|turn| turn.direction) else { return };
        let mut record = self.header(kind::CLOSE, direction);
        record.detail = reason;
        if !self.attempt(record, Vec::new(), refuse) {
            self.note(direction, self.turns.len().saturating_sub(1), reason);
        }
    }

    /// Everything in the ring, then what the slot says.
    pub(crate) fn drain(&mut self, batch: &mut EventBatch<Bytes>) {
        for (record, payload) in self.ring.drain(..) {
            put(batch, &record, &payload);
        }
        if let Some(record) = self.slot.take() {
            put(batch, &record, &[]);
        }
    }

    fn header(&self, kind: u8, direction: Direction) -> EventHeader {
        let turn = u32::try_from(self.turns.len().saturating_sub(1)).unwrap();
        let mut record = header(self.id, kind, direction, turn);
        (record.role, record.transport, record.ts_ns) = (self.role, self.transport, self.clock);
        record.offset = self.told[direction.index()];
        record.other_offset = self.told[direction.reverse().index()];
        record.other_ts_ns = self.ts[direction.reverse().index()];
        record.unseen = self.unseen;
        record.flags = if self.heard { 0 } else { flag::FIRST };
        record
    }

    /// True if the record entered the ring.
    fn attempt(&mut self, record: EventHeader, payload: Vec<u8>, refuse: bool) -> bool {
        if refuse {
            self.unseen += u32::from(record.flags & flag::TURN_START != 0);
            return false;
        }
        if record.flags & flag::TURN_START != 0
            && let Some(turn) = self.turns.get_mut(record.turn as usize)
        {
            turn.seen = true;
        }
        self.heard = true;
        self.ring.push((record, payload));
        true
    }
}
