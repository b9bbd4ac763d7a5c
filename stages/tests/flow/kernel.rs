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

/// One connection in the kernel.
pub(crate) struct Kernel {
    id: u64,
    role: u8,
    transport: u8,
    budget: u32,
    /// Largest payload of one record.
    chunk: u32,
    clock: u64,
    offset: [u64; 2],
    ts: [u64; 2],
    spent: u32,
    dirty: bool,
    closed: u8,
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
            ts: [0; 2],
            spent: 0,
            dirty: false,
            closed: 0,
            unseen: 0,
            heard: false,
            turns: Vec::new(),
            ring: Vec::new(),
        }
    }

    /// One operation that moves `bytes`. Bit n of `refuse` refuses its nth record, which ends the operation's records.
    pub(crate) fn operation(&mut self, direction: Direction, bytes: &[u8], refuse: u8) {
        let len = u32::try_from(bytes.len()).unwrap();
        self.clock += 1_000;
        let index = direction.index();
        let datagram = self.transport == super::records::UDP;
        let begins = datagram || self.turns.last().is_none_or(|turn| turn.direction != direction);
        if begins {
            self.spent = 0;
            self.turns.push(Turn { direction, first: self.clock, last: 0, bytes: 0, seen: false });
        }
        let mut offset = self.offset[index];
        self.offset[index] += u64::from(len);
        self.ts[index] = self.clock;
        if let Some(turn) = self.turns.last_mut() {
            turn.last = self.clock;
            turn.bytes += u64::from(len);
        }
        let mut capture = len.min(self.budget.saturating_sub(self.spent));
        self.spent = self.spent.saturating_add(len);
        let mut rest = len;
        if capture == 0 {
            self.dirty = true;
            self.unseen += u32::from(begins);
            return;
        }
        for nth in 0.. {
            let cap = capture.min(self.chunk);
            capture -= cap;
            let last = capture == 0;
            let mut record = self.header(kind::DATA, direction);
            record.offset = offset;
            record.cap_len = cap;
            record.len = if last { rest } else { cap };
            if begins && nth == 0 {
                record.flags |= flag::TURN_START;
            }
            let from = (len - rest) as usize;
            let payload = bytes[from..from + cap as usize].to_vec();
            offset += u64::from(record.len);
            rest -= record.len;
            if !self.attempt(record, payload, refuse >> nth.min(7) & 1 == 1) || last {
                return;
            }
        }
    }

    pub(crate) fn end(&mut self, direction: Direction, refuse: bool) {
        self.clock += 1_000;
        let record = self.header(kind::EOF, direction);
        self.attempt(record, Vec::new(), refuse);
    }

    pub(crate) fn close(&mut self, reason: u8, refuse: bool) {
        self.clock += 1_000;
        let Some(direction) = self.turns.last().map(|turn| turn.direction) else { return };
        let mut record = self.header(kind::CLOSE, direction);
        record.reason = reason;
        if !self.attempt(record, Vec::new(), refuse) {
            self.closed = reason;
        }
    }

    /// Everything in the ring, then what the slot says.
    pub(crate) fn drain(&mut self, batch: &mut EventBatch<Bytes>) {
        for (record, payload) in self.ring.drain(..) {
            put(batch, &record, &payload);
        }
        let Some(direction) = self.turns.last().map(|turn| turn.direction) else { return };
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let mut record = self.header(if self.closed == 0 { kind::PROGRESS } else { kind::CLOSE }, direction);
        record.ts_ns = self.ts[direction.index()];
        (record.reason, record.family, record.pid) = (self.closed, 0, 0);
        put(batch, &record, &[]);
    }

    fn header(&self, kind: u8, direction: Direction) -> EventHeader {
        let turn = u32::try_from(self.turns.len().saturating_sub(1)).unwrap();
        let mut record = header(self.id, kind, direction, turn);
        (record.role, record.transport, record.ts_ns) = (self.role, self.transport, self.clock);
        record.offset = self.offset[direction.index()];
        record.other_offset = self.offset[direction.reverse().index()];
        record.other_ts_ns = self.ts[direction.reverse().index()];
        record.unseen = self.unseen;
        record.flags = if self.heard { 0 } else { flag::FIRST };
        record
    }

    /// True if the record entered the ring.
    fn attempt(&mut self, record: EventHeader, payload: Vec<u8>, refuse: bool) -> bool {
        if refuse {
            self.dirty = true;
            self.unseen += u32::from(record.flags & flag::TURN_START != 0);
            return false;
        }
        if record.flags & flag::TURN_START != 0
            && let Some(turn) = self.turns.last_mut()
        {
            turn.seen = true;
        }
        self.heard = true;
        self.ring.push((record, payload));
        true
    }
}
