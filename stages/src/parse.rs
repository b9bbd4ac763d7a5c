//! Stage `parse`: segments to messages.
//!
//! Bytes are parsed where the kernel wrote them; only what is unfinished at the end of a segment is copied, into a buffer
//! of its connection ([`limits::PARSE_BUFFER`] each, [`limits::PARSE_BUFFERS_TOTAL`] in all). This is the last stage that
//! sees payload: it drops the lease of the batch before it returns.
//!
//! A direction that cannot be read (malformed, a gap over a boundary, a full buffer) is skipped up to its next turn. A
//! stream that is malformed eight turns in a row, or that an accepted upgrade handed over to another
//! protocol, is muted: the rest of it, and turns of it that nobody read, are counted as rejected. A datagram socket is never
//! given up: what one peer sends says nothing of the others.
//!
//! A segment is *passed* when its bytes went into the parser (messages come when they are whole), *held* while its
//! protocol is not known, else *rejected*. Absent: any knowledge of a protocol; that is in [`crate::protocols`].

use crate::flow::conn::{About, ConnKey, Direction, What};
use crate::flow::event::Memory;
use crate::flow::message::MessageBatch;
use crate::flow::segment::{Segment, SegmentBatch};
use crate::limits;
use crate::stage::{Ledger, Stage};
use crate::time::Nanos;
use buffers::Buffers;
use connection::Connection;
use std::marker::PhantomData;
use work::Work;

mod buffers;
mod capture;
mod connection;
mod state;
mod work;

crate::reasons! {
    /// Why parse did not pass a segment on.
    pub enum Reject {
        /// Nothing was said of its connection before.
        UnknownConnection => "unknown_connection",
        /// Another protocol than those known.
        Foreign => "foreign",
        /// Its connection speaks another protocol since an upgrade.
        HandedOver => "handed_over",
        /// Its connection was given up: malformed too often in a row.
        GivenUp => "given_up",
        /// Not what its protocol allows.
        Malformed => "malformed",
        /// Behind something lost, before the next turn.
        OutOfStep => "out_of_step",
        /// An unfinished message longer than its buffer, or no memory for one.
        BufferFull => "buffer_full",
        /// Its connection's protocol was not found out in time.
        Unidentified => "unidentified",
    }
}

/// What happened besides the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Times a direction lost its framing to bytes that were not captured.
    pub lost: u64,
    /// Times a buffer's bound, or that of all, was reached.
    pub buffer_full: u64,
    /// Times a capture budget was raised.
    pub raised: u64,
    /// Connections of whose responses less is captured, because less was enough.
    pub spared: u64,
    /// Times a capture budget was given again because the kernel had captured less.
    pub recalled: u64,
    /// Connections that went on encrypted (STARTTLS and the like).
    pub handed_to_tls: u64,
    /// Connections that went on in another protocol that is known (h2c).
    pub succeeded: u64,
}

/// Nothing moves.
const NOBODY: (u32, Direction) = (0, Direction::Ingress);

/// The stage.
pub struct Parse<M> {
    slots: Vec<Option<Box<Connection>>>,
    buffers: Buffers,
    ledger: Ledger,
    counts: Counts,
    /// When `tick` last went over the connections.
    looked: Nanos,
    memory: PhantomData<fn() -> M>,
}

impl<M: Memory> Parse<M> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            buffers: Buffers::new(limits::PARSE_BUFFERS_TOTAL),
            ledger: Ledger::new::<Reject>(),
            counts: Counts::default(),
            looked: Nanos::ZERO,
            memory: PhantomData,
        }
    }

    /// What happened besides the ledger.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of buffer memory in use or kept for use; at most [`limits::PARSE_BUFFERS_TOTAL`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffers.total()
    }

    fn about(&mut self, about: About<Segment>, memory: &[u8], out: &mut MessageBatch) {
        let About { conn, at, what } = about;
        let Self { slots, buffers, ledger, counts, .. } = self;
        ledger.taken += 1;
        let index = usize::try_from(conn.slot).unwrap_or(usize::MAX);
        if let What::Opened(info) = &what {
            if index < limits::MAX_CONNECTIONS && slots.len() <= index {
                slots.resize_with(index + 1, || None);
            }
            if let Some(slot) = slots.get_mut(index) {
                match slot {
                    Some(known) if known.is(conn, info) => known.learn(info.clone()),
                    other => {
                        if let Some(mut gone) = other.take() {
                            let conn = ConnKey { generation: gone.generation, ..conn };
                            gone.close(&mut Work { conn, at, mover: NOBODY, buffers, ledger, counts, out });
                        }
                        *other = Some(Box::new(Connection::new(conn.generation, info.clone())));
                    }
                }
            }
        }
        let known = slots.get_mut(index).filter(|slot| slot.as_ref().is_some_and(|c| c.generation == conn.generation));
        let Some(slot) = known else {
            if matches!(what, What::Item(_)) {
                ledger.reject(Reject::UnknownConnection, 1);
                return;
            }
            ledger.passed += 1;
            push(out, conn, at, what);
            return;
        };
        let mut work = Work { conn, at, mover: NOBODY, buffers, ledger, counts, out };
        let Some(connection) = slot.as_mut() else { return };
        let mut what = what;
        match &mut what {
            What::Item(segment) => {
                connection.segment(segment, memory, &mut work);
                return;
            }
            What::Opened(_) => {}
            What::Missed { requests, responses } => match connection.missed(*requests, *responses, &mut work) {
                Ok(number) => (*requests, *responses) = number,
                Err(why) => {
                    work.ledger.reject(why, 1);
                    return;
                }
            },
            What::Closed(_) => {
                connection.close(&mut work);
                *slot = None;
            }
        }
        work.ledger.passed += 1;
        push(work.out, conn, at, what);
    }
}

impl<M: Memory> Default for Parse<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// News of a connection goes on as it came.
fn push(out: &mut MessageBatch, conn: ConnKey, at: Nanos, what: What<Segment>) {
    let what = match what {
        What::Opened(info) => What::Opened(info),
        What::Missed { requests, responses } => What::Missed { requests, responses },
        What::Closed(reason) => What::Closed(reason),
        What::Item(_) => return,
    };
    out.items.push(About { conn, at, what });
}

impl<M: Memory> Stage for Parse<M> {
    type In = SegmentBatch<M>;
    type Out = MessageBatch;

    const NAME: &'static str = "parse";

    fn process(&mut self, _now: Nanos, input: &mut SegmentBatch<M>, out: &mut MessageBatch) {
        let before = out.items.len();
        let memory = input.memory.take();
        let bytes = memory.as_ref().map_or(&[][..], AsRef::as_ref);
        for about in input.items.drain(..) {
            self.about(about, bytes, out);
        }
        self.ledger.emitted += (out.items.len() - before) as u64;
        debug_assert!(self.ledger.balances(), "{:?}", self.ledger);
        // The lease ends here: the kernel may write over the bytes.
        drop(memory);
    }

    fn tick(&mut self, now: Nanos, out: &mut MessageBatch) {
        if now.since(self.looked) < Nanos::SECOND {
            return;
        }
        self.looked = now;
        let before = out.items.len();
        let Self { slots, buffers, ledger, counts, .. } = self;
        for (slot, entry) in (0_u32..).zip(slots.iter_mut()) {
            if let Some(connection) = entry {
                let conn = ConnKey { slot, generation: connection.generation };
                connection.quiet(&mut Work { conn, at: now, mover: NOBODY, buffers, ledger, counts, out });
            }
        }
        self.ledger.emitted += (out.items.len() - before) as u64;
    }

    fn drain(&mut self, now: Nanos, out: &mut MessageBatch) {
        let before = out.items.len();
        let Self { slots, buffers, ledger, counts, .. } = self;
        for (slot, entry) in (0_u32..).zip(slots.iter_mut()) {
            if let Some(mut connection) = entry.take() {
                let conn = ConnKey { slot, generation: connection.generation };
                connection.close(&mut Work { conn, at: now, mover: NOBODY, buffers, ledger, counts, out });
            }
        }
        self.ledger.emitted += (out.items.len() - before) as u64;
        debug_assert!(self.ledger.balances() && self.ledger.held == 0, "{:?}", self.ledger);
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}
