//! What one item does to the exchanges of its connection: a message, a miss or the end.

use super::account::Account;
use super::connection::{Connection, Due};
use super::waiting::{Slab, TIMERS, Waiting};
use super::{PairSettings, Reject};
use crate::flow::conn::{Address, CloseReason, Role};
use crate::flow::exchange::{Exchange, NoAnswer};
use crate::flow::message::{Addresses, Message, MessageKind, Part, Status};
use crate::limits;
use crate::protocols::traits::Patience;
use crate::protocols::{Pairing, Protocol};
use crate::stage::Ledger;
use crate::text::Token;
use crate::time::Nanos;
use std::sync::Arc;

/// The time-out list of answers that have begun; those of requests are numbered by [`Patience`].
pub(super) const BODY: usize = TIMERS - 1;

/// The time-out list of requests that may block.
pub(super) const BLOCKING: usize = TIMERS - 2;

fn timer_of(protocol: Protocol) -> usize {
    match protocol.traits().map_or(Patience::Usual, |traits| traits.patience) {
        Patience::Usual => 0,
        Patience::Short => 1,
    }
}

/// What became of an item that was not rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Its content is in an exchange, or needs none.
    Passed,
    /// It waits for its answer.
    Held,
}

/// All but the connection that one item needs.
pub(super) struct Turn<'a> {
    pub(super) settings: &'a PairSettings,
    pub(super) slab: &'a mut Slab,
    pub(super) account: &'a mut Account,
    pub(super) ledger: &'a mut Ledger,
    pub(super) slot: u32,
    pub(super) now: Nanos,
    pub(super) out: &'a mut Vec<Exchange>,
}

impl Turn<'_> {
    pub(super) fn message(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        if conn.handed_over {
            return Err(Reject::HandedOver);
        }
        if conn.protocol != message.carrier {
            let first = conn.protocol == Protocol::Unknown;
            conn.protocol = message.carrier;
            if first {
                self.first_of(conn);
            }
        }
        match (message.kind, message.part) {
            (MessageKind::OneWay, _) if message.upgrade => {
                // Answers may come or not: nobody reads them.
                self.finish_all(conn, NoAnswer::Lost);
                conn.handed_over = true;
                Ok(Taken::Passed)
            }
            (MessageKind::OneWay, _) => Err(Reject::Push),
            (MessageKind::Interim, _) => Ok(Taken::Passed),
            (MessageKind::Request, Part::End) => self.request_end(conn, message),
            (MessageKind::Request, Part::Whole | Part::Head) => self.request(conn, message),
            (MessageKind::Response, Part::End) => self.response_end(conn, message),
            (MessageKind::Response, Part::Whole | Part::Head) => self.response(conn, message),
        }
    }

    /// The protocol of a connection is known: so is what was missed before.
    fn first_of(&mut self, conn: &mut Connection) {
        let missed = conn.requests_aside();
        conn.aside = [0; 2];
        self.miss(missed);
        conn.counted_missed = missed > 0 && conn.protocol.pairing() == Pairing::Fifo;
    }

    fn request(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        let head = message.part == Part::Head;
        let by_id = message.carrier.pairing() == Pairing::ById;
        if head && !by_id {
            conn.request_due = Due::OfNobody;
        }
        // Without a method a request was not read but inferred, by the parser, from an answer that had none.
        let inferred = message.cut && message.method.is_empty();
        if std::mem::take(&mut conn.counted_missed) && inferred {
            return Err(Reject::CountedMissed);
        }
        conn.asked = true;
        conn.requests = conn.requests.wrapping_add(1);
        self.account.seen += 1;
        let exchange = begun(conn, message);
        if message.no_reply {
            self.report(Exchange { one_way: true, ..exchange });
            return Ok(Taken::Passed);
        }
        if conn.line.first().is_none() && !message.carrier.asks_again_unanswered() {
            // If an answer to what went before was due still, it went by unread.
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
        let id = by_id.then_some(message.id);
        let behind = id.is_none() && conn.line.last().is_some_and(|before| self.slab.is_on(before, BLOCKING));
        let timer = match message.may_block || behind {
            true if self.slab.listed(BLOCKING) < limits::MAX_PENDING_BLOCKING => BLOCKING,
            // Nobody answers what is still being asked.
            false if head && by_id => BODY,
            blocks => {
                self.account.blocking_full += u64::from(blocks);
                timer_of(message.protocol)
            }
        };
        let at = self.slab.push(&mut conn.line, self.slot, id, exchange, timer, self.now);
        conn.waiting += 1;
        if head && !by_id {
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
        let by_id = message.carrier.pairing() == Pairing::ById;
        let at = match std::mem::take(&mut conn.request_due) {
            // None: it was answered before it ended.
            _ if by_id => self.slab.by_id(self.slot, message.id),
            Due::Nothing => return Err(Reject::StrayEnd),
            Due::OfNobody => None,
            Due::Of(at) => Some(at),
        };
        let Some((at, waiting)) = at.and_then(|at| Some((at, self.slab.waiting(at)?))) else {
            return Ok(Taken::Passed);
        };
        waiting.exchange.request_bytes = message.bytes;
        waiting.exchange.request_messages = message.messages;
        if by_id && !waiting.answering {
            self.slab.restart_timer(at, timer_of(message.protocol), self.now);
        }
        Ok(Taken::Passed)
    }

    fn response(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        let by_id = message.carrier.pairing() == Pairing::ById;
        // In order, one answer has to end before the next begins: the end of the former was not seen.
        if !by_id && let Due::Of(unfinished) = std::mem::take(&mut conn.response_due) {
            self.finish(conn, unfinished, None);
        }
        let head = message.part == Part::Head;
        let nobodys = conn.nobodys_answers > 0;
        let found = match message.carrier.pairing() {
            Pairing::Fifo if nobodys => {
                conn.nobodys_answers -= 1;
                None
            }
            Pairing::Fifo => conn.line.first(),
            Pairing::ById => self.slab.by_id(self.slot, message.id),
        };
        let Some(at) = found else {
            if head && !by_id {
                conn.response_due = Due::OfNobody;
            }
            if !nobodys && !std::mem::take(&mut conn.counted_missed) && conn.shows_unread() {
                self.miss(1);
            }
            return Err(Reject::Orphan);
        };
        if message.aborted && !head {
            self.finish(conn, at, Some(NoAnswer::Reset));
            return Ok(Taken::Passed);
        }
        if let Some(waiting) = self.slab.waiting(at) {
            shown(&mut waiting.exchange, message);
            answer(waiting, message);
        }
        conn.handed_over |= message.upgrade;
        if head && !message.upgrade {
            if !by_id {
                conn.response_due = Due::Of(at);
            }
            self.slab.restart_timer(at, BODY, self.now);
        } else {
            self.finish(conn, at, None);
        }
        Ok(Taken::Passed)
    }

    fn response_end(&mut self, conn: &mut Connection, message: &mut Message) -> Result<Taken, Reject> {
        let at = match message.carrier.pairing() {
            Pairing::ById => self.slab.by_id(self.slot, message.id).ok_or(Reject::Orphan)?,
            Pairing::Fifo => match std::mem::take(&mut conn.response_due) {
                Due::Nothing => return Err(Reject::StrayEnd),
                Due::OfNobody => return Err(Reject::Orphan),
                Due::Of(at) => at,
            },
        };
        if let Some(waiting) = self.slab.waiting(at) {
            if !waiting.answering {
                return Err(Reject::StrayEnd);
            }
            shown(&mut waiting.exchange, message);
            answer_ended(&mut waiting.exchange, message);
        }
        self.finish(conn, at, None);
        Ok(Taken::Passed)
    }

    pub(super) fn missed(&mut self, conn: &mut Connection, requests: u32, responses: u32) {
        if conn.handed_over {
            return;
        }
        if conn.protocol == Protocol::Unknown {
            conn.put_aside(requests, responses);
            return;
        }
        let explained = conn.counted_missed || conn.line.first().is_some();
        self.miss(u64::from(requests));
        if responses > 0 {
            if responses > requests && !explained && conn.shows_unread() {
                self.miss(1);
            }
            conn.counted_missed = false;
            self.answered_unseen(conn, responses);
        }
        conn.counted_missed |= requests > 0 && conn.protocol.pairing() == Pairing::Fifo;
    }

    fn miss(&mut self, requests: u64) {
        self.account.seen += requests;
        self.account.missed += requests;
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

    pub(super) fn closed(&mut self, conn: &mut Connection, reason: CloseReason) {
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

    /// Puts an exchange out. `why` counts where no answer has begun. True if it was there. It is finished where it lies, because it
    /// is large.
    pub(super) fn finish(&mut self, conn: &mut Connection, at: u32, why: Option<NoAnswer>) -> bool {
        let Some(waiting) = self.slab.waiting(at) else { return false };
        conn.waiting = conn.waiting.saturating_sub(1);
        for due in [&mut conn.request_due, &mut conn.response_due] {
            if *due == Due::Of(at) {
                *due = Due::OfNobody;
            }
        }
        conn.nobodys_answers = conn.nobodys_answers.saturating_add(waiting.dropped_behind);
        let exchange = &mut waiting.exchange;
        if !waiting.answering {
            exchange.no_answer = why;
        }
        // A server on an unconnected socket learns the peer's address only with its answer; without one, what is known last
        // of such a socket may be of another peer.
        let same_peer = waiting.answering || !exchange.conn.transport.is_datagram();
        let newer = match exchange.side {
            Role::Server => same_peer,
            Role::Client | Role::Unknown => exchange.conn.remote == Address::UNKNOWN,
        };
        if newer && !Arc::ptr_eq(&exchange.conn, &conn.info) {
            exchange.conn = Arc::clone(&conn.info);
        }
        self.ledger.passed += 1;
        self.account.reported += 1;
        self.ledger.emitted += 1;
        self.slab.remove(&mut conn.line, at, self.out);
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
        addresses: Addresses::new(),
        no_answer: None,
        session: message.session.take(),
        trace: message.trace.take(),
        number: conn.requests,
        id: u32::try_from(message.id & u64::from(u32::MAX)).unwrap_or(0),
        asked_by: message.tid,
        answered_by: 0,
        request_messages: message.messages,
        response_messages: 0,
        request_bytes: message.bytes,
        response_bytes: 0,
        one_way: false,
        sampling: conn.info.sampling,
    }
}

/// Makes an exchange one of the protocol inside of its own that an answer (or its end) shows. What was known of how it went
/// was the carrier's word.
fn shown(exchange: &mut Exchange, message: &Message) {
    if message.protocol == exchange.protocol {
        return;
    }
    if let Some(over) = message.protocol.inside(exchange.protocol) {
        exchange.protocol = message.protocol;
        (over.renamed)(&mut exchange.method, &mut exchange.target);
        (exchange.status, exchange.code) = (Status::Unknown, Token::new());
    }
}

/// Notes the end of an answer. Takes its code, if it has one.
fn answer_ended(exchange: &mut Exchange, message: &mut Message) {
    exchange.end = Some(message.end);
    exchange.response_bytes = message.bytes;
    exchange.response_messages = message.messages;
    if message.status != Status::Unknown {
        exchange.status = message.status;
    }
    if !message.code.is_empty() {
        exchange.code = std::mem::take(&mut message.code);
    }
    if message.aborted {
        exchange.no_answer = Some(NoAnswer::Reset);
    }
}

/// Notes an answer (or its beginning). Takes the answer's texts.
fn answer(waiting: &mut Waiting, message: &mut Message) {
    waiting.answering = true;
    let exchange = &mut waiting.exchange;
    exchange.answered = Some(message.start);
    exchange.answered_by = message.tid;
    exchange.end = Some(message.end);
    exchange.status = message.status;
    exchange.code = std::mem::take(&mut message.code);
    exchange.addresses = std::mem::take(&mut message.addresses);
    exchange.response_messages = message.messages;
    exchange.response_bytes = message.bytes;
}
