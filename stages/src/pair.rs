//! Stage `pair`: messages become exchanges, each a request with its answer or with the lack of one.
//!
//! Answers find their requests in order or by id, as the protocol says. An exchange is put out when its answer is
//! complete; when no answer came in time ([`PairSettings`]); when the connection ended; or when the kernel refused the
//! turn that the answer was in. What became of every exchange is in [`Pair::account`], exactly.
//!
//! - An answer whose request is not known is an orphan: rejected and counted. Where it shows that a request went by unread
//!   (HTTP/1; neither older than the probe nor counted as missed before), that one is counted as missed.
//! - An interim answer keeps its request waiting.
//! - An answer may show that its request was one of a protocol spoken inside of the request's (gRPC in HTTP/2): the exchange is
//!   of that protocol then.
//! - A push that answers nothing is no exchange: rejected as `push`.
//! - A request past a bound is not taken in, and counted by which bound it was; those that wait are kept.
//! - Where the beginning of an answer came, its end is waited for much longer, because this stage does not see the bytes
//!   in between; then what is known is put out. An end that comes later is a `stray_end`.
//! - Refused answer turns: where answers come in order, all that waited were answered unseen ([`NoAnswer::Lost`]); where
//!   they go by id, as many as were refused are put out as lost instead of timed out.
//! - Where answers come in order, the answer to a request that is waited for no longer (timed out) or never was (dropped)
//!   is an orphan in its place, and takes no other's.
//! - A request whose answer may wait for something to happen, and those in line behind it, are waited for much longer too; then
//!   they are put out without an error, because nobody was to answer sooner.
//! - After an upgrade what follows is not ours, and neither are turns missed from then on.
//!
//! Absent: bytes, parsing, and any look at what method or target say.

mod account;
mod connection;
mod turn;
mod waiting;

pub use account::Account;

use crate::flow::conn::{About, CloseReason, ConnInfo, ConnKey, Role, What};
use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::message::{Message, MessageBatch};
use crate::limits;
use crate::protocols::Pairing;
use crate::reasons;
use crate::stage::{Ledger, Stage};
use crate::time::Nanos;
use connection::Connection;
use std::sync::Arc;
use turn::{BLOCKING, BODY, Taken, Turn};
use waiting::{Slab, TIMERS};

reasons! {
    /// Why a message went no further.
    pub enum Reject {
        /// Of a connection that was not opened, or is no more.
        UnknownConnection => "unknown_connection",
        /// An answer without a request.
        Orphan => "orphan",
        /// An end without a beginning.
        StrayEnd => "stray_end",
        /// Answers nothing and expects nothing.
        Push => "push",
        /// Of a connection that another protocol has taken over.
        HandedOver => "handed_over",
        /// A request inferred from an answer, whose turn was counted as missed already.
        CountedMissed => "counted_missed",
        /// A request past the bound of its connection.
        ConnectionFull => "pending_full_connection",
        /// A request past the bound of all.
        Full => "pending_full",
    }
}

/// Time-outs and bounds.
#[derive(Debug, Clone)]
pub struct PairSettings {
    /// A request without an answer for this long is reported as timed out.
    pub timeout: Nanos,
    /// The same for DNS, whose clients give up sooner.
    pub dns_timeout: Nanos,
    /// An answer that has begun and does not end for this long is reported as it stands.
    pub body_timeout: Nanos,
    /// A request that may block without an answer for this long is reported as it stands.
    pub blocking_timeout: Nanos,
    /// Unanswered requests of one connection.
    pub pending_per_connection: usize,
    /// Unanswered requests in all.
    pub pending: usize,
}

impl Default for PairSettings {
    fn default() -> Self {
        Self {
            timeout: limits::REQUEST_TIMEOUT,
            dns_timeout: Nanos::from_secs(5),
            body_timeout: limits::CONNECTION_IDLE,
            blocking_timeout: limits::CONNECTION_IDLE,
            pending_per_connection: limits::MAX_PENDING_PER_CONNECTION,
            pending: limits::MAX_PENDING,
        }
    }
}

/// A request that a watched process is answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRequest {
    /// The process.
    pub pid: u32,
    /// The thread that took the request in; 0: not known.
    pub tid: u32,
    /// Its first byte.
    pub start: Nanos,
    /// Number of its connection ([`ConnInfo::id`]).
    pub conn: u64,
    /// Its number on that ([`Exchange::number`]).
    pub number: u32,
}

/// The stage.
#[derive(Debug)]
pub struct Pair {
    settings: PairSettings,
    /// By slot.
    connections: Vec<Option<Connection>>,
    slab: Slab,
    account: Account,
    ledger: Ledger,
}

impl Pair {
    /// An empty stage.
    #[must_use]
    pub fn new(settings: PairSettings) -> Self {
        Self {
            settings,
            connections: Vec::new(),
            slab: Slab::default(),
            account: Account::default(),
            ledger: Ledger::new::<Reject>(),
        }
    }

    /// What became of the exchanges seen so far.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }

    /// The requests that watched processes are answering, and whether these are all. At most `limit` of those that wait are looked
    /// at, of which a client's are none.
    #[must_use]
    pub fn open_requests(&self, limit: usize) -> (Vec<OpenRequest>, bool) {
        let served = self.slab.all().take(limit).filter(|exchange| exchange.side == Role::Server);
        let requests = served.map(|exchange| OpenRequest {
            pid: exchange.conn.owner.pid,
            tid: exchange.asked_by,
            start: exchange.start,
            conn: exchange.conn.id,
            number: exchange.number,
        });
        (requests.collect(), self.slab.len() <= limit)
    }

    fn item(&mut self, now: Nanos, item: &mut About<Message>, out: &mut Vec<Exchange>) -> Result<Taken, Reject> {
        if let What::Opened(info) = &item.what {
            self.opened(now, item.conn, info, out);
            return Ok(Taken::Passed);
        }
        let key = item.conn;
        let Some(conn) = usize::try_from(key.slot)
            .ok()
            .and_then(|slot| self.connections.get_mut(slot))
            .filter(|conn| conn.as_ref().is_some_and(|conn| conn.generation == key.generation))
        else {
            return self.nobodys(item);
        };
        let mut turn = Turn {
            settings: &self.settings,
            slab: &mut self.slab,
            account: &mut self.account,
            ledger: &mut self.ledger,
            slot: key.slot,
            now,
            out,
        };
        match (&mut item.what, conn.as_mut()) {
            (What::Closed(reason), Some(open)) => {
                turn.closed(open, *reason);
                *conn = None;
            }
            (What::Missed { requests, responses }, Some(conn)) => turn.missed(conn, *requests, *responses),
            (What::Item(message), Some(conn)) => return turn.message(conn, message),
            (What::Opened(_), _) | (_, None) => {}
        }
        Ok(Taken::Passed)
    }

    fn opened(&mut self, now: Nanos, key: ConnKey, info: &Arc<ConnInfo>, out: &mut Vec<Exchange>) {
        let Ok(slot) = usize::try_from(key.slot) else { return };
        if slot >= limits::MAX_CONNECTIONS {
            return;
        }
        if self.connections.len() <= slot {
            self.connections.resize_with(slot + 1, || None);
        }
        let Some(place) = self.connections.get_mut(slot) else { return };
        match place {
            Some(conn) if conn.generation == key.generation && conn.info.id == info.id => {
                conn.info = Arc::clone(info);
                return;
            }
            Some(former) => {
                // Its close was lost on the way: a stage before this one was restarted (and numbers slots anew).
                let mut turn = Turn {
                    settings: &self.settings,
                    slab: &mut self.slab,
                    account: &mut self.account,
                    ledger: &mut self.ledger,
                    slot: key.slot,
                    now,
                    out,
                };
                turn.closed(former, CloseReason::Forgotten);
            }
            None => {}
        }
        *place = Some(Connection::new(key.generation, Arc::clone(info)));
    }

    /// A message of a connection that is not known: this stage was restarted.
    fn nobodys(&mut self, item: &About<Message>) -> Result<Taken, Reject> {
        match &item.what {
            What::Item(_) => Err(Reject::UnknownConnection),
            What::Opened(_) | What::Missed { .. } | What::Closed(_) => Ok(Taken::Passed),
        }
    }

    fn expire(&mut self, now: Nanos, out: &mut Vec<Exchange>) {
        for timer in 0..TIMERS {
            let limit = match timer {
                BODY => self.settings.body_timeout,
                BLOCKING => self.settings.blocking_timeout,
                1 => self.settings.dns_timeout,
                _ => self.settings.timeout,
            };
            while let Some((at, since)) = self.slab.oldest(timer)
                && now.since(since) >= limit
            {
                if !self.expired(now, timer, at, out) {
                    break;
                }
            }
        }
    }

    /// True if the request was there and is gone.
    fn expired(&mut self, now: Nanos, timer: usize, at: u32, out: &mut Vec<Exchange>) -> bool {
        let Some(slot) = self.slab.waiting(at).map(|waiting| waiting.flow) else { return false };
        let Some(conn) = usize::try_from(slot).ok().and_then(|slot| self.connections.get_mut(slot)) else {
            return false;
        };
        let Some(conn) = conn.as_mut() else { return false };
        let why = if conn.lost_answers > 0 {
            conn.lost_answers -= 1;
            NoAnswer::Lost
        } else if timer == BLOCKING {
            NoAnswer::Lost
        } else {
            NoAnswer::Timeout
        };
        let mut turn = Turn {
            settings: &self.settings,
            slab: &mut self.slab,
            account: &mut self.account,
            ledger: &mut self.ledger,
            slot,
            now,
            out,
        };
        if conn.protocol.pairing() == Pairing::Fifo && turn.slab.waiting(at).is_some_and(|waiting| !waiting.answering) {
            conn.nobodys_answers = conn.nobodys_answers.saturating_add(1);
        }
        turn.finish(conn, at, Some(why))
    }

    fn balance(&mut self) {
        let pending = u64::try_from(self.slab.len()).unwrap_or(u64::MAX);
        self.account.pending = pending;
        self.ledger.held = pending;
        debug_assert!(self.account.balances(), "{:?}", self.account);
        debug_assert!(self.ledger.balances(), "{:?}", self.ledger);
    }
}

impl Stage for Pair {
    type In = MessageBatch;
    type Out = Vec<Exchange>;

    const NAME: &'static str = "pair";

    fn process(&mut self, now: Nanos, input: &mut Self::In, out: &mut Self::Out) {
        for item in &mut input.items {
            self.ledger.taken += 1;
            match self.item(now, item, out) {
                Ok(Taken::Passed) => self.ledger.passed += 1,
                Ok(Taken::Held) => {}
                Err(reason) => self.ledger.reject(reason, 1),
            }
        }
        self.balance();
    }

    fn tick(&mut self, now: Nanos, out: &mut Self::Out) {
        self.expire(now, out);
        self.balance();
    }

    fn drain(&mut self, now: Nanos, out: &mut Self::Out) {
        for slot in 0..self.connections.len() {
            let Some(place) = self.connections.get_mut(slot) else { break };
            let Some(mut conn) = place.take() else { continue };
            let mut turn = Turn {
                settings: &self.settings,
                slab: &mut self.slab,
                account: &mut self.account,
                ledger: &mut self.ledger,
                slot: u32::try_from(slot).unwrap_or(u32::MAX),
                now,
                out,
            };
            turn.closed(&mut conn, CloseReason::Shutdown);
        }
        self.balance();
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}
