//! Stage `decode`: raw records in ring memory become segments of connections.
//!
//! Checks each record against the ABI, finds its connection, and makes explicit what did not arrive: bytes that moved
//! unseen become gap segments, turns whose first record the kernel refused become [`What::Missed`]. The kernel counts
//! these; a record that overtook one of another thread in the same socket misses nothing. Before a record's
//! own data come, in this order: (1) a gap in the other direction, up to where the record says it stands, so that the
//! end of a body that was only counted is known; (2) missed turns; (3) a gap in its own direction. On streams the bytes
//! of each direction are contiguous in what comes out. Datagrams have no gaps between them, only missed turns.
//!
//! Payload is not touched: segments point into the memory of the batch, whose lease goes along.
//!
//! Life cycle: a connection is opened by its first record; it ends by a close, by [`DecodeSettings::idle`] without a
//! record ([`DecodeSettings::datagram_idle`] for datagram sockets, whose end is not always seen), or by being the one
//! nearest to that when the table is full. One that speaks again after it was forgotten goes on where it stood, or, where
//! that is forgotten too, begins at what it says.
//!
//! Absent: protocols, and any look at payload. Cost per record is constant; nothing is allocated but for a new
//! connection, or news of one while others hold the former ones.

mod header;
mod info;
pub mod listeners;
mod past;
mod table;
mod turns;

pub use info::MAX_POOLED;
pub use listeners::ListeningPorts;
pub use past::MAX_PAST;

use crate::flow::conn::{About, CloseReason, ConnInfo, ConnKey, Direction, Role, What};
use crate::flow::event::{EventBatch, Memory, Span};
use crate::flow::segment::{Segment, SegmentBatch};
use crate::limits;
use crate::reasons;
use crate::stage::{Ledger, Stage};
use crate::time::Nanos;
use header::{Kind, Record};
use info::Heard;
use past::Past;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use table::{Class, Conn, Table};
use turns::{Missed, Place, Progress};

reasons! {
    /// Why a record went no further.
    pub enum Reject {
        /// Too short, or with a field out of its range.
        Malformed => "malformed",
        /// Of another version of the ABI.
        Version => "version",
        /// Of a kind that is not known.
        Kind => "kind",
        /// Of bytes that others had already told of, or a further part of a datagram.
        Stale => "stale",
        /// Progress of which everything was known.
        NothingNew => "nothing_new",
        /// Of a connection that is closed.
        AfterClose => "after_close",
    }
}

/// A datagram socket without a record for this long is forgotten: a resolver opens one for each look-up.
pub const DATAGRAM_IDLE: Nanos = Nanos::from_secs(30);

/// Which connection is idle longest is known to within this part of the shortest time after which one is forgotten.
const IDLE_STEPS: u64 = 64;

/// Bounds of the stage.
#[derive(Debug, Clone)]
pub struct DecodeSettings {
    /// Connections followed at a time; at least 1.
    pub connections: usize,
    /// A stream without a record for this long is forgotten.
    pub idle: Nanos,
    /// A datagram socket without a record for this long is forgotten.
    pub datagram_idle: Nanos,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        Self { connections: limits::MAX_CONNECTIONS, idle: limits::CONNECTION_IDLE, datagram_idle: DATAGRAM_IDLE }
    }
}

/// How many connections came and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Opened, ever.
    pub opened: u64,
    /// Followed now.
    pub open: u64,
    /// Forgotten because they were idle.
    pub idle: u64,
    /// Forgotten because the table was full.
    pub crowded_out: u64,
    /// Remembered as closed or forgotten no longer ([`MAX_PAST`]).
    pub displaced: u64,
    /// Of the opened, those that had spoken before and of which nothing was remembered: what they missed while forgotten is
    /// not known.
    pub resumed: u64,
}

/// A connection that was reset. The peer's word comes in the middle of an operation of ours, whose record is made when it is
/// over: an answer may be on its way.
#[derive(Debug, Clone, Copy)]
struct Reset {
    id: u64,
    when: Nanos,
    until: Nanos,
}

/// The stage. `M` is what the records lie in.
#[derive(Debug)]
pub struct Decode<M> {
    settings: DecodeSettings,
    table: Table,
    past: past::Memory,
    pool: info::Pool,
    listeners: Arc<ListeningPorts>,
    /// Moves with each new set of listeners.
    listeners_epoch: u32,
    /// The connections are to be said again.
    reopen: bool,
    /// Reset, the one to be closed first at the front. At most one a connection of the table.
    resets: VecDeque<Reset>,
    connections: Connections,
    ledger: Ledger,
    memory: PhantomData<fn() -> M>,
}

impl<M> Decode<M> {
    /// An empty stage.
    #[must_use]
    pub fn new(settings: DecodeSettings) -> Self {
        Self {
            table: Table::new(
                settings.connections.min(limits::MAX_CONNECTIONS),
                Nanos(settings.idle.min(settings.datagram_idle).0 / IDLE_STEPS),
            ),
            settings,
            past: past::Memory::default(),
            pool: info::Pool::default(),
            listeners: Arc::default(),
            listeners_epoch: 0,
            reopen: false,
            resets: VecDeque::new(),
            connections: Connections::default(),
            ledger: Ledger::new::<Reject>(),
            memory: PhantomData,
        }
    }

    /// The ports that listen now. Connections whose role is not known are judged anew when they next speak.
    pub fn set_listeners(&mut self, listeners: Arc<ListeningPorts>) {
        self.listeners = listeners;
        self.listeners_epoch = self.listeners_epoch.wrapping_add(1);
    }

    /// Says every connection that it follows again, before the next record: a stage after this one was started anew and
    /// knows none. To that one they begin in the middle, so they are [late](ConnInfo::late) from now on.
    pub fn reopen(&mut self) {
        self.reopen = true;
    }

    fn say_again(&mut self, now: Nanos, out: &mut Outbox<'_>) {
        if !std::mem::take(&mut self.reopen) {
            return;
        }
        for conn in self.table.all() {
            if !conn.info.late {
                Arc::make_mut(&mut conn.info).late = true;
            }
            out.push(conn.key, now, What::Opened(Arc::clone(&conn.info)));
        }
    }

    /// How many connections came and went.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let open = u64::try_from(self.table.len()).unwrap_or(u64::MAX);
        Connections { open, displaced: self.past.displaced(), ..self.connections }
    }

    fn record(&mut self, now: Nanos, record: &Record, out: &mut Outbox<'_>) -> Result<(), Reject> {
        let at = match self.table.find(record.header.conn_id) {
            Some(at) => at,
            None => self.open(now, record, out)?,
        };
        let Some(conn) = self.table.touch(at, now) else { return Err(Reject::Malformed) };
        let role_due = conn.info.role == Role::Unknown && conn.listeners != self.listeners_epoch;
        let heard = Heard::of(&record.header);
        if role_due || (conn.heard != Some(heard) && info::is_news(&conn.info, record)) {
            conn.listeners = self.listeners_epoch;
            let new = info::updated(&conn.info, record, &self.listeners);
            if new != *conn.info {
                let old = std::mem::replace(&mut conn.info, self.pool.share(new));
                self.pool.retire(old);
                out.opened(conn, record);
            }
        }
        if record.kind != Kind::Progress {
            // Of those only the role was looked at.
            conn.heard = Some(heard);
        }
        let done = if conn.info.transport.is_datagram() {
            datagram_record(conn, record, out)
        } else {
            stream_record(conn, record, out)
        };
        match record.kind {
            Kind::Close(CloseReason::Reset) => {
                let (id, when) = (record.header.conn_id, Nanos(record.header.ts_ns));
                self.resets.push_back(Reset { id, when, until: now + limits::RESET_LINGER });
            }
            Kind::Close(reason) => {
                self.close(at, Nanos(record.header.ts_ns), reason, out);
                self.past.closed(record.header.conn_id);
            }
            Kind::Data(_) | Kind::End | Kind::Progress => {}
        }
        done
    }

    /// Closes what was reset and has lingered long enough at `now`.
    fn close_reset(&mut self, now: Nanos, out: &mut Outbox<'_>) {
        while let Some(&Reset { id, when, until }) = self.resets.front()
            && until <= now
        {
            self.resets.pop_front();
            if let Some(at) = self.table.find(id) {
                self.close(at, when, CloseReason::Reset, out);
                self.past.closed(id);
            }
        }
    }

    fn open(&mut self, now: Nanos, record: &Record, out: &mut Outbox<'_>) -> Result<u32, Reject> {
        let mut info = info::first(record, &self.listeners);
        let progress = match self.past.of(info.id) {
            Past::Unknown if record.first => Progress::default(),
            Past::Unknown => {
                info.late = true;
                self.connections.resumed += 1;
                Progress::resumed(record)
            }
            Past::Closed => return Err(Reject::AfterClose),
            Past::Forgotten(stood) => {
                info.late = true;
                stood
            }
        };
        if self.table.is_full()
            && let Some(idlest) = self.idlest(now)
        {
            self.connections.crowded_out += 1;
            self.forget(idlest, now, CloseReason::Forgotten, out);
        }
        let info = self.pool.share(info);
        let at = self.table.insert(info, progress, self.listeners_epoch, now);
        if let Some(conn) = self.table.touch(at, now) {
            out.opened(conn, record);
        }
        self.connections.opened += 1;
        Ok(at)
    }

    /// Of the connection idle longest in each class, the one nearest to its expiry.
    fn idlest(&self, now: Nanos) -> Option<u32> {
        let idle = |class| self.table.idlest(class).map(|(at, spoke)| (at, u128::from(now.since(spoke).0)));
        let limit = |class| u128::from(self.limit(class).0.max(1));
        match (idle(Class::Stream), idle(Class::Datagram)) {
            (Some((stream, quiet)), Some((datagram, silent))) => {
                let sooner = silent * limit(Class::Stream) >= quiet * limit(Class::Datagram);
                Some(if sooner { datagram } else { stream })
            }
            (stream, datagram) => stream.or(datagram).map(|(at, _)| at),
        }
    }

    fn limit(&self, class: Class) -> Nanos {
        match class {
            Class::Stream => self.settings.idle,
            Class::Datagram => self.settings.datagram_idle,
        }
    }

    /// Lets go of a connection that is still open.
    fn forget(&mut self, at: u32, now: Nanos, why: CloseReason, out: &mut Outbox<'_>) {
        if let Some((id, stood)) = self.close(at, now, why, out) {
            self.past.forgotten(id, stood);
        }
    }

    fn close(&mut self, at: u32, when: Nanos, why: CloseReason, out: &mut Outbox<'_>) -> Option<(u64, Progress)> {
        let conn = self.table.remove(at)?;
        out.push(conn.key, when, What::Closed(why));
        let left = (conn.info.id, conn.progress);
        self.pool.retire(conn.info);
        Some(left)
    }

    /// Lets go of every connection that was idle for `limit` of its class; says how many.
    fn forget_idle(
        &mut self,
        now: Nanos,
        why: CloseReason,
        out: &mut Outbox<'_>,
        limit: impl Fn(&Self, Class) -> Nanos,
    ) -> u64 {
        let mut n = 0;
        for class in [Class::Stream, Class::Datagram] {
            let limit = limit(self, class);
            while let Some((at, spoke)) = self.table.idlest(class)
                && now.since(spoke) >= limit
            {
                self.forget(at, now, why, out);
                n += 1;
            }
        }
        n
    }
}

impl<M: Memory> Stage for Decode<M> {
    type In = EventBatch<M>;
    type Out = SegmentBatch<M>;

    const NAME: &'static str = "decode";

    fn process(&mut self, now: Nanos, input: &mut Self::In, out: &mut Self::Out) {
        debug_assert!(out.memory.is_none(), "a batch has one memory");
        let before = out.items.len();
        self.say_again(now, &mut Outbox(&mut out.items));
        self.close_reset(now, &mut Outbox(&mut out.items));
        let memory = input.memory.take();
        let bytes = memory.as_ref().map_or(&[][..], M::as_ref);
        for &span in &input.records {
            self.ledger.taken += 1;
            let done =
                Record::read(bytes, span).and_then(|record| self.record(now, &record, &mut Outbox(&mut out.items)));
            match done {
                Ok(()) => self.ledger.passed += 1,
                Err(reason) => self.ledger.reject(reason, 1),
            }
        }
        out.memory = memory;
        self.ledger.emitted += count(before, out.items.len());
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, now: Nanos, out: &mut Self::Out) {
        let before = out.items.len();
        self.close_reset(now, &mut Outbox(&mut out.items));
        self.connections.idle +=
            self.forget_idle(now, CloseReason::Forgotten, &mut Outbox(&mut out.items), Self::limit);
        self.ledger.emitted += count(before, out.items.len());
    }

    fn drain(&mut self, now: Nanos, out: &mut Self::Out) {
        let before = out.items.len();
        self.close_reset(Nanos(u64::MAX), &mut Outbox(&mut out.items));
        self.forget_idle(now, CloseReason::Shutdown, &mut Outbox(&mut out.items), |_, _| Nanos::ZERO);
        self.ledger.emitted += count(before, out.items.len());
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}

fn count(before: usize, after: usize) -> u64 {
    u64::try_from(after.saturating_sub(before)).unwrap_or(0)
}

/// A record of a stream: the accounts in the stated order, then its own bytes.
fn stream_record(conn: &mut Conn, record: &Record, out: &mut Outbox<'_>) -> Result<(), Reject> {
    let (header, direction) = (&record.header, record.direction);
    let at = Nanos(header.ts_ns);
    let had = out.0.len();
    let is_data = matches!(record.kind, Kind::Data(_));
    if is_data && (header.len == 0 || record.end <= conn.progress.known(direction)) {
        return Err(Reject::Stale);
    }
    let moved = conn.progress.reach(direction.reverse(), header.other_offset);
    let other_at = if header.other_ts_ns == 0 { at } else { Nanos(header.other_ts_ns) };
    out.gap(conn, direction.reverse(), moved, header.turn.saturating_sub(1), other_at);

    let known = conn.progress.known(direction);
    let gap = conn.progress.reach(direction, header.offset);
    let (place, missed) = if is_data {
        conn.progress.stream_data(direction, header.turn, record.begins_turn, header.unseen)
    } else {
        // The end of a direction may come in a turn of the other one.
        let turned = if record.kind == Kind::End { None } else { Some(direction) };
        let guess = conn.info.role.request_direction().unwrap_or(Direction::Ingress);
        (Place::Within, conn.progress.stream_at(direction, turned, header.turn, header.unseen, guess))
    };
    out.missed(conn, missed, at);
    // What moved before a turn began was over when the other side had spoken.
    let gap_at = if place == Place::Start { other_at.min(at) } else { at };
    out.gap(conn, direction, gap, header.turn, gap_at);

    match record.kind {
        Kind::Data(span) => {
            // Of a record that overlaps what is known, only the rest is new.
            let old = known.saturating_sub(header.offset);
            let span = skip(span, old);
            let offset = header.offset.max(known);
            let new = record.end.saturating_sub(offset);
            conn.progress.reach(direction, record.end);
            out.push(
                conn.key,
                at,
                What::Item(Segment {
                    direction,
                    offset,
                    captured: span,
                    gap: new.saturating_sub(u64::from(span.len)),
                    turn_start: place == Place::Start,
                    turn: header.turn,
                    tid: header.tid,
                    end: false,
                    protocol: crate::protocols::Protocol::Unknown,
                }),
            );
        }
        Kind::End => out.end(conn, direction, header.turn, at),
        Kind::Progress if out.0.len() == had => return Err(Reject::NothingNew),
        Kind::Progress | Kind::Close(_) => {}
    }
    Ok(())
}

/// A record of a datagram socket: each is whole in itself.
fn datagram_record(conn: &mut Conn, record: &Record, out: &mut Outbox<'_>) -> Result<(), Reject> {
    let (header, direction) = (&record.header, record.direction);
    let at = Nanos(header.ts_ns);
    conn.progress.reach(direction.reverse(), header.other_offset);
    conn.progress.reach(direction, record.end);
    let missed = conn.progress.datagram(direction, header.len, header.unseen);
    out.missed(conn, missed, at);
    let Kind::Data(span) = record.kind else {
        let nothing = missed.is_none() && record.kind == Kind::Progress;
        return if nothing { Err(Reject::NothingNew) } else { Ok(()) };
    };
    if !record.begins_turn {
        return Err(Reject::Stale);
    }
    out.push(
        conn.key,
        at,
        What::Item(Segment {
            direction,
            offset: header.offset,
            captured: span,
            gap: u64::from(header.len.saturating_sub(span.len)),
            turn_start: true,
            turn: header.turn,
            tid: header.tid,
            end: false,
            protocol: crate::protocols::Protocol::Unknown,
        }),
    );
    Ok(())
}

/// The span without its first `n` bytes.
fn skip(span: Span, n: u64) -> Span {
    let n = u32::try_from(n).unwrap_or(u32::MAX).min(span.len);
    Span { start: span.start.saturating_add(n), len: span.len - n }
}

/// What is put out, in order.
struct Outbox<'a>(&'a mut Vec<About<Segment>>);

impl Outbox<'_> {
    fn push(&mut self, conn: ConnKey, at: Nanos, what: What<Segment>) {
        self.0.push(About { conn, at, what });
    }

    fn opened(&mut self, conn: &Conn, record: &Record) {
        let info: Arc<ConnInfo> = Arc::clone(&conn.info);
        self.push(conn.key, Nanos(record.header.ts_ns), What::Opened(info));
    }

    fn missed(&mut self, conn: &Conn, missed: Missed, at: Nanos) {
        if missed.is_none() {
            return;
        }
        let Missed([ingress, egress]) = missed;
        let (requests, responses) = match conn.info.role {
            Role::Client => (egress, ingress),
            Role::Server | Role::Unknown => (ingress, egress),
        };
        self.push(conn.key, at, What::Missed { requests, responses });
    }

    /// `bytes` of `direction`, up to where it stands now, moved unseen.
    fn gap(&mut self, conn: &Conn, direction: Direction, bytes: u64, turn: u32, at: Nanos) {
        if bytes == 0 {
            return;
        }
        let offset = conn.progress.known(direction).saturating_sub(bytes);
        let segment = unseen(direction, offset, turn);
        self.push(conn.key, at, What::Item(Segment { gap: bytes, ..segment }));
    }

    fn end(&mut self, conn: &Conn, direction: Direction, turn: u32, at: Nanos) {
        let segment = unseen(direction, conn.progress.known(direction), turn);
        self.push(conn.key, at, What::Item(Segment { end: true, ..segment }));
    }
}

fn unseen(direction: Direction, offset: u64, turn: u32) -> Segment {
    Segment {
        direction,
        offset,
        captured: Span::default(),
        gap: 0,
        turn_start: false,
        turn,
        tid: 0,
        end: false,
        protocol: crate::protocols::Protocol::Unknown,
    }
}
