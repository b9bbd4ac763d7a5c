//! Stage `pair`: messages become exchanges, each a request with its answer or with the lack of one.
//!
//! Answers find their requests in order or by id, as the protocol says. An exchange is put out when its answer is
//! complete; when no answer came in time ([`PairSettings`]); when the connection ended; or when the kernel refused the
//! turn that the answer was in. What became of every exchange is in [`Pair::account`], exactly.
//!
//! - An answer whose request is not known is an orphan: rejected and counted, no exchange.
//! - An interim answer keeps its request waiting.
//! - A push that answers nothing is no exchange: rejected as `push`.
//! - A request past a bound is not taken in, and counted by which bound it was; those that wait are kept.
//! - Where the beginning of an answer came, its end is waited for much longer, because this stage does not see the bytes
//!   in between; then what is known is put out. An end that comes later is a `stray_end`.
//! - Refused answer turns: where answers come in order, all that waited were answered unseen ([`NoAnswer::Lost`]); where
//!   they go by id, as many as were refused are put out as lost instead of timed out.
//! - Where answers come in order, the answer to a request that is waited for no longer (timed out) or never was (dropped)
//!   is an orphan in its place, and takes no other's.
//! - After an upgrade what follows is not ours, and neither are turns missed from then on.
//!
//! Absent: bytes, parsing, and any look at what method or target say.

mod account;
mod connection;
mod waiting;

pub use account::Account;

use crate::flow::conn::{About, CloseReason, ConnInfo, ConnKey, Role, What};
use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::message::{Message, MessageBatch, MessageKind, Part, Status};
use crate::limits;
use crate::protocols::{Pairing, Protocol};
use crate::reasons;
use crate::stage::{Ledger, Stage};
use crate::text::Token;
use crate::time::Nanos;
use connection::{Connection, Due};
use std::sync::Arc;
use waiting::{Slab, TIMERS, Waiting};

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
            pending_per_connection: limits::MAX_PENDING_PER_CONNECTION,
            pending: limits::MAX_PENDING,
        }
    }
}

/// The time-out list of answers that have begun; those of requests are numbered by protocol.
const BODY: usize = TIMERS - 1;

fn timer_of(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Dns => 1,
        Protocol::Unknown | Protocol::Http1 | Protocol::Redis | Protocol::Foreign => 0,
    }
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
                1 => self.settings.dns_timeout,
                _ => self.settings.timeout,
            };
            while let Some((at, since)) = self.slab.oldest(timer)
                && now.since(since) >= limit
            {
                if !self.expired(now, at, out) {
                    break;
                }
            }
        }
    }

    /// True if the request was there and is gone.
    fn expired(&mut self, now: Nanos, at: u32, out: &mut Vec<Exchange>) -> bool {
        let Some(slot) = self.slab.waiting(at).map(|waiting| waiting.flow) else { return false };
        let Some(conn) = usize::try_from(slot).ok().and_then(|slot| self.connections.get_mut(slot)) else {
            return false;
        };
        let Some(conn) = conn.as_mut() else { return false };
        let why = if conn.lost_answers > 0 {
            conn.lost_answers -= 1;
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

/// What became of an item that was not rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// Its content is in an exchange, or needs none.
    Passed,
    /// It waits for its answer.
    Held,
}

/// All but the connection that one item needs.
struct Turn<'a> {
    settings: &'a PairSettings,
    slab: &'a mut Slab,
    account: &'a mut Account,
    ledger: &'a mut Ledger,
    slot: u32,
    now: Nanos,
    out: &'a mut Vec<Exchange>,
}

impl Turn<'_> {
    fn message(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        if conn.handed_over {
            return Err(Reject::HandedOver);
        }
        if conn.protocol == Protocol::Unknown {
            conn.protocol = message.protocol;
            let missed = conn.requests_aside();
            conn.aside = [0; 2];
            self.account.seen += missed;
            self.account.missed += missed;
        }
        match (message.kind, message.part) {
            (MessageKind::OneWay, _) => Err(Reject::Push),
            (MessageKind::Interim, _) => Ok(Taken::Passed),
            (MessageKind::Request, Part::End) => self.request_end(conn, message),
            (MessageKind::Request, Part::Whole | Part::Head) => self.request(conn, message),
            (MessageKind::Response, Part::End) => self.response_end(conn, message),
            (MessageKind::Response, Part::Whole | Part::Head) => self.response(conn, message),
        }
    }

    fn request(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        let head = message.part == Part::Head;
        if head {
            conn.request_due = Due::OfNobody;
        }
        // Without a method a request was not read but inferred, by the parser, from an answer that had none.
        let inferred = message.cut && message.method.is_empty();
        if std::mem::take(&mut conn.counted_missed) && inferred {
            return Err(Reject::CountedMissed);
        }
        self.account.seen += 1;
        let exchange = begun(conn, message);
        if message.no_reply {
            self.report(Exchange { one_way: true, ..exchange });
            return Ok(Taken::Passed);
        }
        if conn.line.first().is_none() {
            // Nobody asks again without an answer to what went before: if one was due still, it went by unread.
            conn.nobodys_answers = 0;
        }
        if conn.waiting >= self.settings.pending_per_connection {
            self.account.dropped_connection_full += 1;
            self.dropped(conn);
            return Err(Reject::ConnectionFull);
        }
        if self.slab.len() >= self.settings.pending {
            self.account.dropped_full += 1;
            self.dropped(conn);
            return Err(Reject::Full);
        }
        let id = match message.protocol.pairing() {
            Pairing::ById => Some(message.id),
            Pairing::Fifo => None,
        };
        let timer = timer_of(message.protocol);
        let at = self.slab.push(&mut conn.line, self.slot, id, exchange, timer, self.now);
        conn.waiting += 1;
        if head {
            conn.request_due = Due::Of(at);
        }
        Ok(Taken::Held)
    }

    /// A request was not taken in: its answer, when it comes, must not go to another one.
    fn dropped(&mut self, conn: &mut Connection) {
        match conn.line.last().and_then(|at| self.slab.waiting(at)) {
            Some(before) => before.dropped_behind = before.dropped_behind.saturating_add(1),
            None => conn.nobodys_answers = conn.nobodys_answers.saturating_add(1),
        }
    }

    fn request_end(&mut self, conn: &mut Connection, message: &Message) -> Result<Taken, Reject> {
        match std::mem::take(&mut conn.request_due) {
            Due::Nothing => return Err(Reject::StrayEnd),
            Due::OfNobody => {}
            Due::Of(at) => {
                if let Some(waiting) = self.slab.waiting(at) {
                    waiting.exchange.request_bytes = message.bytes;
                }
            }
        }
        Ok(Taken::Passed)
    }

    fn response(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        // One answer has to end before the next begins: the end of the former was not seen.
        if let Due::Of(unfinished) = std::mem::take(&mut conn.response_due) {
            self.finish(conn, unfinished, None);
        }
        let head = message.part == Part::Head;
        let found = match message.protocol.pairing() {
            Pairing::Fifo if conn.nobodys_answers > 0 => {
                conn.nobodys_answers -= 1;
                None
            }
            Pairing::Fifo => conn.line.first(),
            Pairing::ById => self.slab.by_id(self.slot, message.id),
        };
        let Some(at) = found else {
            if head {
                conn.response_due = Due::OfNobody;
            }
            return Err(Reject::Orphan);
        };
        if let Some(waiting) = self.slab.waiting(at) {
            answer(waiting, message);
        }
        conn.handed_over |= message.upgrade;
        if head && !message.upgrade {
            conn.response_due = Due::Of(at);
            self.slab.restart_timer(at, BODY, self.now);
        } else {
            self.finish(conn, at, None);
        }
        Ok(Taken::Passed)
    }

    fn response_end(&mut self, conn: &mut Connection, message: &Message) -> Result<Taken, Reject> {
        match std::mem::take(&mut conn.response_due) {
            Due::Nothing => return Err(Reject::StrayEnd),
            Due::OfNobody => return Err(Reject::Orphan),
            Due::Of(at) => {
                if let Some(waiting) = self.slab.waiting(at) {
                    waiting.exchange.end = Some(message.end);
                    waiting.exchange.response_bytes = message.bytes;
                }
                self.finish(conn, at, None);
            }
        }
        Ok(Taken::Passed)
    }

    fn missed(&mut self, conn: &mut Connection, requests: u32, responses: u32) {
        if conn.handed_over {
            return;
        }
        if conn.protocol == Protocol::Unknown {
            conn.put_aside(requests, responses);
            return;
        }
        self.account.seen += u64::from(requests);
        self.account.missed += u64::from(requests);
        if responses > 0 {
            self.answered_unseen(conn, responses);
        }
        conn.counted_missed |= requests > 0 && conn.protocol.pairing() == Pairing::Fifo;
    }

    /// The kernel refused the turns that `responses` answers began.
    fn answered_unseen(&mut self, conn: &mut Connection, responses: u32) {
        let by_id = conn.protocol.pairing() == Pairing::ById;
        if by_id && conn.waiting > usize::try_from(responses).unwrap_or(usize::MAX) {
            // Whose answers they were will be known when no other ones come.
            conn.lost_answers = conn.lost_answers.saturating_add(responses);
            return;
        }
        self.finish_all(conn, NoAnswer::Lost);
        conn.nobodys_answers = 0;
    }

    fn closed(&mut self, conn: &mut Connection, reason: CloseReason) {
        self.account.missed_unidentified += conn.requests_aside();
        conn.aside = [0; 2];
        let why = match reason {
            CloseReason::Fin | CloseReason::Refused => NoAnswer::Closed,
            CloseReason::Reset | CloseReason::Abort => NoAnswer::Reset,
            CloseReason::Timeout => NoAnswer::Timeout,
            CloseReason::Forgotten => NoAnswer::Lost,
            CloseReason::Shutdown => NoAnswer::Shutdown,
        };
        while conn.lost_answers > 0
            && let Some(at) = conn.line.first()
        {
            conn.lost_answers -= 1;
            self.finish(conn, at, Some(NoAnswer::Lost));
        }
        self.finish_all(conn, why);
    }

    fn finish_all(&mut self, conn: &mut Connection, why: NoAnswer) {
        while let Some(at) = conn.line.first() {
            if !self.finish(conn, at, Some(why)) {
                break;
            }
        }
    }

    /// Puts an exchange out. `why` counts where no answer has begun. True if it was there.
    fn finish(&mut self, conn: &mut Connection, at: u32, why: Option<NoAnswer>) -> bool {
        let Some(waiting) = self.slab.remove(&mut conn.line, at) else { return false };
        conn.waiting = conn.waiting.saturating_sub(1);
        for due in [&mut conn.request_due, &mut conn.response_due] {
            if *due == Due::Of(at) {
                *due = Due::OfNobody;
            }
        }
        conn.nobodys_answers = conn.nobodys_answers.saturating_add(waiting.dropped_behind);
        let mut exchange = waiting.exchange;
        if !waiting.answering {
            exchange.no_answer = why;
        }
        // A server on an unconnected socket learns the peer's address only with its answer.
        let unknown = exchange.conn.remote == crate::flow::conn::Address::UNKNOWN;
        let newer = exchange.side == Role::Server || unknown;
        if newer && !Arc::ptr_eq(&exchange.conn, &conn.info) {
            exchange.conn = Arc::clone(&conn.info);
        }
        self.ledger.passed += 1;
        self.report(exchange);
        true
    }

    fn report(&mut self, exchange: Exchange) {
        self.account.reported += 1;
        self.ledger.emitted += 1;
        self.out.push(exchange);
    }
}

/// The exchange that a request begins. Takes the request's texts.
fn begun(conn: &Connection, message: &mut Message) -> Exchange {
    Exchange {
        conn: Arc::clone(&conn.info),
        protocol: message.protocol,
        side: conn.side(message.direction),
        start: message.start,
        answered: None,
        end: None,
        method: std::mem::take(&mut message.method),
        target: std::mem::take(&mut message.target),
        status: Status::Unknown,
        code: Token::new(),
        addresses: crate::flow::message::Addresses::new(),
        no_answer: None,
        request_bytes: message.bytes,
        response_bytes: 0,
        one_way: false,
    }
}

/// Notes an answer (or its beginning). Takes the answer's texts.
fn answer(waiting: &mut Waiting, message: &mut Message) {
    waiting.answering = true;
    let exchange = &mut waiting.exchange;
    exchange.answered = Some(message.start);
    exchange.end = Some(message.end);
    exchange.status = message.status;
    exchange.code = std::mem::take(&mut message.code);
    exchange.addresses = std::mem::take(&mut message.addresses);
    exchange.response_bytes = message.bytes;
}
