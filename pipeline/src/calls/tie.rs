//! Ties calls together: what caused which.
//!
//! What a request says of its trace counts first. Without that, the call that a process makes is tied to the request that it was
//! answering, if only one can be meant ([`super::process`]), and a request to the call at the other end of its connection
//! ([`super::sockets`]). Whatever may be wrong is not tied.
//!
//! A call is over before the request that caused it is: it is held until the cause is known, or surely unknown, or for
//! [`HOLD`]; below one that is held, for as long as that is ([`HOLD_BELOW`] at most). Life cycle of a call: [`Tie::take`] -> held
//! (`held`) -> out of [`Tie::settle`] with its names, once. A held call is looked at again only when something has changed that its
//! fate depends on.
//!
//! Bounds: [`MAX_HELD`] calls (past that the oldest goes out as it is, counted), [`MAX_PROCESSES`] processes, and those of both rooms.
//! Absent: a clock, threads, any guess.

pub use super::held::{HOLD, HOLD_BELOW, OTHER_END};
use super::held::{Held, On, Waiting};
use super::ids::{Ids, Link, Names};
use super::process::{Process, Served, Threads};
use super::sockets::{self, Sockets};
use hashbrown::{HashMap, HashSet};
use redtap_stages::flow::conn::Role;
use redtap_stages::flow::joined::Joined;
use redtap_stages::flow::trace::{SpanId, TraceId};
use redtap_stages::pair::OpenRequest;
use redtap_stages::time::Nanos;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Calls held at a time.
pub const MAX_HELD: usize = 8_192;
/// Calls whose names are remembered for those that they caused.
pub const MAX_KNOWN: usize = 16_384;
/// Processes that are remembered.
pub const MAX_PROCESSES: usize = 1_024;
/// Lists of what is open that may wait.
const MAX_COMING: usize = 8;
/// A process that is not heard of for so long may have ended, and its number may be another's.
const SILENT: Nanos = Nanos::SECOND;
/// How long an exchange may be on its way from `pair` to here, and an event from the kernel to `pair`: `join` alone may hold one for
/// [`redtap_stages::limits::JOIN_HOLD`].
pub const LAG: Nanos = Nanos::from_millis(400);

/// A call with its names.
#[derive(Debug, Clone)]
pub struct Call {
    /// The call.
    pub joined: Joined,
    /// Its names.
    pub ids: Ids,
    /// When it was taken in: by then one without an answer was known to have none.
    pub known: Nanos,
}

/// What was being answered at one moment, in all shards.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// When it was asked for.
    pub at: Nanos,
    /// All of them are listed.
    pub complete: bool,
    /// Which.
    pub requests: Vec<OpenRequest>,
    /// How much the kernel could not tell so far: grows with each loss.
    pub lost: u64,
}

/// What became of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TieCounts {
    /// Taken in.
    pub taken: u64,
    /// Tied by what the request said.
    pub said: u64,
    /// Tied by thread.
    pub thread: u64,
    /// Tied by socket.
    pub socket: u64,
    /// Calls of which more than one request might have been the cause.
    pub ambiguous: u64,
    /// Gone out because too many were held, before their cause was known.
    pub crowded_out: u64,
}

/// What is to be done with a call.
enum Fate {
    /// It is known.
    Out(Ids),
    /// It waits; with its cause, if that is known.
    Wait(Option<(SpanId, Link)>),
}

/// Who caused a call, by its thread.
enum Cause {
    One(SpanId),
    Nobody,
    Ambiguous,
    NotYet,
}

/// Ties.
pub struct Tie {
    names: Names,
    held: Waiting,
    /// Names of those held.
    waiting: HashSet<SpanId, foldhash::fast::RandomState>,
    known: HashMap<SpanId, TraceId, foldhash::fast::RandomState>,
    known_order: VecDeque<SpanId>,
    processes: HashMap<u32, Process, foldhash::fast::RandomState>,
    sockets: Sockets,
    /// What was open, last that everything from before is here.
    open: Open,
    /// Later lists: something from before them may still be on its way.
    coming: VecDeque<Open>,
    /// Exchanges were left out before this moment, nobody knows which.
    missed: Nanos,
    /// As [`Open::lost`], last that was heard.
    lost: u64,
    /// Up to then a request may be open that nothing tells of, because its beginning was lost.
    blind: Nanos,
    /// A process was forgotten: others that are new may be old ones.
    made_room: bool,
    wants_open: bool,
    forgot: Nanos,
    counts: TieCounts,
}

impl Tie {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self {
            names,
            held: Waiting::default(),
            waiting: HashSet::default(),
            known: HashMap::default(),
            known_order: VecDeque::new(),
            processes: HashMap::default(),
            sockets: Sockets::default(),
            open: Open::default(),
            coming: VecDeque::new(),
            missed: Nanos::ZERO,
            lost: 0,
            blind: Nanos::ZERO,
            made_room: false,
            wants_open: false,
            forgot: Nanos::ZERO,
            counts: TieCounts::default(),
        }
    }

    /// What became of calls so far.
    #[must_use]
    pub fn counts(&self) -> TieCounts {
        self.counts
    }

    /// Calls that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// To decide, it must know what is being answered.
    #[must_use]
    pub fn wants_open(&self) -> bool {
        self.wants_open
    }

    /// What was being answered at some moment.
    pub fn opened(&mut self, open: Open) {
        if open.lost > self.lost {
            self.lost = open.lost;
            // What began unseen may be open for as long as anything is waited for.
            self.blind = open.at + HOLD;
        }
        if self.coming.len() < MAX_COMING {
            self.coming.push_back(open);
        }
    }

    /// Some exchanges did not come here.
    pub fn missed(&mut self, now: Nanos) {
        self.missed = now;
    }

    /// This process may be another one than the last time: [`Self::born`] is to be told, if it can be found out. Not while it is heard of
    /// all the time: a number is not given to another before its owner is gone.
    #[must_use]
    pub fn wants_birth(&self, pid: u32, now: Nanos) -> bool {
        pid != 0 && self.processes.get(&pid).is_none_or(|process| now.since(process.last) >= SILENT)
    }

    /// When this process was started, in any unit: if that is not what was said the last time, it is another one, of which nothing is
    /// known.
    pub fn born(&mut self, pid: u32, at: u64, now: Nanos) {
        self.process(pid, now).born(at);
        self.tell_all_of(pid);
    }

    fn process(&mut self, pid: u32, now: Nanos) -> &mut Process {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            let oldest = self.processes.iter().min_by_key(|(_, process)| process.last).map(|(pid, _)| *pid);
            if let Some(oldest) = oldest {
                self.processes.remove(&oldest);
                self.tell_all_of(oldest);
            }
            self.made_room = true;
        }
        let unknown_before = if self.made_room { now } else { Nanos::ZERO };
        self.processes.entry(pid).or_insert_with(|| Process::new(unknown_before))
    }

    /// One exchange that is over.
    pub fn take(&mut self, joined: Joined, now: Nanos, out: &mut Vec<Call>) {
        self.counts.taken += 1;
        let exchange = &joined.converged.exchange;
        let span = self.names.span(exchange);
        let pid = exchange.conn.owner.pid;
        let process = self.process(pid, now);
        process.heard(now);
        let threads = process.threads();
        if exchange.side == Role::Server {
            process.serves(exchange, span, now);
        } else {
            process.asks(exchange);
        }
        let other = process.threads() != threads;
        if exchange.side == Role::Server {
            // Clocks of processors may differ a little: an end is never before its beginning.
            let end = exchange.end.or(exchange.answered).unwrap_or(now).max(exchange.start);
            let (start, tid) = (exchange.start, exchange.asked_by);
            self.held.tell(On::Request(pid, start)..=On::Request(pid, end));
            self.held.tell(On::Thread(pid, tid, start)..=On::Thread(pid, tid, end));
        } else {
            self.sockets.asked(exchange, span, now);
            self.held.tell(only(On::End(sockets::place(exchange))));
        }
        if other {
            self.tell_all_of(pid);
        }
        if self.held.len() >= MAX_HELD
            && let Some(oldest) = self.held.pop_oldest()
        {
            self.counts.crowded_out += 1;
            let ids = self.alone(&oldest);
            self.out(oldest, ids, out);
        }
        self.waiting.insert(span);
        self.held.push(Held::new(joined, span, now));
    }

    /// Puts out what is known by now.
    pub fn settle(&mut self, now: Nanos, out: &mut Vec<Call>) {
        while let Some(mut open) = self.coming.pop_front_if(|open| now >= open.at + LAG) {
            open.requests.sort_unstable_by_key(|request| request.pid);
            self.open = open;
            // Who still wants a later list says so when it is looked at.
            self.wants_open = false;
            self.held.tell_list();
        }
        self.tell_processes(now);
        self.held.tell_late(now);
        self.held.oldest_first();
        // Connections on which an exchange has found its other end: what others may have is one fewer.
        let mut fewer = Vec::new();
        while let Some((number, mut held)) = self.held.pop() {
            let others_want = std::mem::take(&mut self.wants_open);
            match self.fate(&held, now, &mut fewer) {
                Fate::Out(ids) => self.out(held, ids, out),
                Fate::Wait(cause) => {
                    held.cause = cause;
                    let on = self.waits_for(&held);
                    self.held.put_back(number, held, on, self.wants_open);
                }
            }
            self.wants_open |= others_want;
        }
        fewer.into_iter().for_each(|place| self.held.tell(only(On::End(place))));
        if now.since(self.forgot) >= Nanos::SECOND {
            self.forget(now);
        }
    }

    /// What a call waits for whose fate is not known yet.
    fn waits_for(&self, held: &Held) -> On {
        let exchange = &held.joined.converged.exchange;
        let (pid, tid, at) = (exchange.conn.owner.pid, exchange.asked_by, exchange.start);
        let by_thread = || self.processes.get(&pid).is_some_and(|process| process.threads() == Threads::Exclusive);
        match (held.cause, exchange.side) {
            (Some((cause, _)), _) => On::Cause(cause),
            (None, Role::Server) => On::End(sockets::place(exchange)),
            // What was told to any thread may be handed on.
            (None, Role::Client | Role::Unknown) if exchange.trace.is_none() && by_thread() => On::Thread(pid, tid, at),
            (None, Role::Client | Role::Unknown) => On::Request(pid, at),
        }
    }

    /// Something has changed for all calls of a process that wait for what it answered.
    fn tell_all_of(&mut self, pid: u32) {
        let end = Nanos(u64::MAX);
        self.held.tell(On::Request(pid, Nanos::ZERO)..=On::Request(pid, end));
        self.held.tell(On::Thread(pid, 0, Nanos::ZERO)..=On::Thread(pid, u32::MAX, end));
    }

    /// What has become known of processes by what they did not do: that they only ask, or that something of theirs is missing.
    fn tell_processes(&mut self, now: Nanos) {
        let mut at_least = 0;
        while let Some((pid, at)) = self.held.first_of(at_least) {
            match self.processes.get(&pid) {
                None => self.tell_all_of(pid),
                Some(process) if process.only_asks(now) => self.tell_all_of(pid),
                // That does not depend on what is missing.
                Some(process) if process.threads() == Threads::Exclusive => {}
                Some(process) if self.missed.max(self.blind) >= at || !process.is_complete_since(at) => {
                    // By time, so those that are made later are asked about next.
                    self.held.tell(On::Request(pid, at)..=On::Request(pid, at));
                    continue;
                }
                Some(_) => {}
            }
            let Some(next) = pid.checked_add(1) else { break };
            at_least = next;
        }
    }

    /// Puts out all, with what is known by now.
    pub fn drain(&mut self, now: Nanos, out: &mut Vec<Call>) {
        self.settle(now, out);
        while let Some(held) = self.held.pop_oldest() {
            let ids = self.alone(&held);
            self.out(held, ids, out);
        }
    }

    fn forget(&mut self, now: Nanos) {
        self.forgot = now;
        let before = Nanos(now.0.saturating_sub(2 * HOLD.0));
        self.processes.values_mut().for_each(|process| process.forget(before));
        self.processes.retain(|_, process| now.since(process.last) < Nanos::from_secs(600));
        self.sockets.forget(before);
    }

    fn out(&mut self, held: Held, ids: Ids, out: &mut Vec<Call>) {
        self.waiting.remove(&held.span);
        if self.known.len() >= MAX_KNOWN
            && let Some(oldest) = self.known_order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(held.span, ids.trace).is_none() {
            self.known_order.push_back(held.span);
        }
        self.held.tell(only(On::Cause(held.span)));
        match ids.link {
            Link::None => {}
            Link::Said(_) => self.counts.said += 1,
            Link::Thread => self.counts.thread += 1,
            Link::Socket => self.counts.socket += 1,
        }
        out.push(Call { joined: held.joined, ids, known: held.since });
    }

    /// With what the request says, or as the first of its trace.
    fn alone(&self, held: &Held) -> Ids {
        match held.joined.converged.exchange.trace.as_deref() {
            Some(said) => {
                Ids { trace: said.trace, span: held.span, parent: Some(said.parent), link: Link::Said(said.format) }
            }
            None => Ids { trace: self.names.trace(held.span), span: held.span, parent: None, link: Link::None },
        }
    }

    fn fate(&mut self, held: &Held, now: Nanos, fewer: &mut Vec<u64>) -> Fate {
        let waited = now.since(held.since);
        if let Some((cause, link)) = held.cause {
            return self.below(held, cause, link, waited);
        }
        match held.joined.converged.exchange.side {
            Role::Server => self.served(held, waited, fewer),
            Role::Client | Role::Unknown => self.asked(held, waited),
        }
    }

    /// The cause is known: its trace is the call's, unless the call says otherwise.
    fn below(&self, held: &Held, cause: SpanId, link: Link, waited: Nanos) -> Fate {
        let ids = |trace, link| Ids { trace, span: held.span, parent: Some(cause), link };
        if let Some(said) = held.joined.converged.exchange.trace.as_deref() {
            return Fate::Out(ids(said.trace, Link::Said(said.format)));
        }
        if let Some(trace) = self.known.get(&cause) {
            return Fate::Out(ids(*trace, link));
        }
        // It is held itself, for its own cause perhaps: what waits for another may have to wait for longer than that.
        if waited < HOLD_BELOW && self.waiting.contains(&cause) {
            return Fate::Wait(Some((cause, link)));
        }
        Fate::Out(self.alone(held))
    }

    fn served(&mut self, held: &Held, waited: Nanos, fewer: &mut Vec<u64>) -> Fate {
        let exchange = &held.joined.converged.exchange;
        if let Some(client) = self.sockets.client_of(exchange, held.span) {
            fewer.push(sockets::place(exchange));
            return self.below(held, client, Link::Socket, waited);
        }
        let here = held.joined.parties.peer_watched
            || exchange.conn.remote.ip().is_none_or(|ip| ip.is_loopback())
            || self.sockets.knows(exchange);
        if here && waited < OTHER_END { Fate::Wait(None) } else { Fate::Out(self.alone(held)) }
    }

    fn asked(&mut self, held: &Held, waited: Nanos) -> Fate {
        let exchange = &held.joined.converged.exchange;
        if exchange.trace.is_some() {
            return self.forwarded(held, waited);
        }
        match self.cause(held, held.since + waited) {
            Cause::One(span) => {
                if let Some(process) = self.processes.get_mut(&exchange.conn.owner.pid) {
                    process.caused(exchange, span);
                }
                self.below(held, span, Link::Thread, waited)
            }
            Cause::NotYet if waited < HOLD => Fate::Wait(None),
            Cause::Ambiguous => {
                self.counts.ambiguous += 1;
                Fate::Out(self.alone(held))
            }
            Cause::Nobody | Cause::NotYet => Fate::Out(self.alone(held)),
        }
    }

    /// A call that says what caused it. A service that only hands on what it was told names its own caller: then the request that it
    /// was told with is between the two.
    fn forwarded(&self, held: &Held, waited: Nanos) -> Fate {
        let exchange = &held.joined.converged.exchange;
        let (Some(process), Some(said)) = (self.processes.get(&exchange.conn.owner.pid), exchange.trace.as_deref())
        else {
            return Fate::Out(self.alone(held));
        };
        let told = |served: &&Served| {
            served.context.is_some_and(|told| (told.trace, told.parent) == (said.trace, said.parent))
        };
        let mut found = process.covering(exchange.start).filter(told);
        match (found.next(), found.next()) {
            (Some(one), None) => self.below(held, one.span, Link::Said(said.format), waited),
            (None, _) if waited < OTHER_END && !process.only_asks(held.since + waited) => Fate::Wait(None),
            _ => Fate::Out(self.alone(held)),
        }
    }

    /// The request that the process was answering when it made this call, if only one can be meant.
    fn cause(&mut self, held: &Held, now: Nanos) -> Cause {
        let exchange = &held.joined.converged.exchange;
        let (at, tid, pid) = (exchange.start, exchange.asked_by, exchange.conn.owner.pid);
        let Some(process) = self.processes.get(&pid).filter(|process| tid != 0 && !process.only_asks(now)) else {
            return Cause::Nobody;
        };
        if process.threads() == Threads::Exclusive {
            let mut own = process.covering(at).filter(|served| served.tid == tid).copied();
            let (first, second) = (own.next(), own.next());
            drop(own);
            return match (first, second) {
                (Some(one), None) if one.answered => Cause::One(one.span),
                // Nobody knows until when its thread was at it, and what took its place may have been lost.
                (Some(one), None) if self.blind < at => self.has_list(at, Cause::One(one.span)),
                (Some(_), None) => Cause::Nobody,
                (Some(_), Some(_)) => Cause::Ambiguous,
                // Its request may be open still, for long.
                (None, _) => self.open_on(tid, pid, at),
            };
        }
        let sampled = exchange.sampling > 0;
        if sampled || self.missed.max(self.blind) >= at || !process.is_complete_since(at) {
            return Cause::Nobody;
        }
        let mut over = process.covering(at);
        let one = over.next();
        if over.next().is_some() {
            return Cause::Ambiguous;
        }
        if !self.is_listed(at) {
            self.wants_open = true;
            return Cause::NotYet;
        }
        let names = self.names;
        let open = open_of(&self.open.requests, pid).iter().filter(|open| {
            let span = names.numbered(open.conn, open.number);
            open.start <= at && one.is_none_or(|one| one.span != span)
        });
        match (one, open.clone().next(), open.clone().nth(1)) {
            (None, None, _) => Cause::Nobody,
            (Some(one), None, _) if one.tid == tid || process.went_on(one.span, tid, at) => Cause::One(one.span),
            // By another thread: known once those are on which its other calls were answered.
            (None, Some(open), None) if open.tid == tid || process.threads() == Threads::Shared => Cause::NotYet,
            (Some(_), None, _) | (None, Some(_), None) => Cause::Nobody,
            _ => Cause::Ambiguous,
        }
    }

    /// Where a thread answers one request at a time: it is waited for while that is open.
    fn open_on(&mut self, tid: u32, pid: u32, at: Nanos) -> Cause {
        let mut open = open_of(&self.open.requests, pid).iter();
        let is_open = open.any(|open| open.tid == tid && open.start <= at);
        self.has_list(at, if is_open { Cause::NotYet } else { Cause::Nobody })
    }

    /// That cause, once a list of what was open after that moment is here, and all from before it.
    fn has_list(&mut self, at: Nanos, cause: Cause) -> Cause {
        if self.is_listed(at) {
            return cause;
        }
        self.wants_open = true;
        Cause::NotYet
    }

    fn is_listed(&self, at: Nanos) -> bool {
        self.open.complete && self.open.at > at + LAG
    }
}

fn only(what: On) -> RangeInclusive<On> {
    what..=what
}

/// Those of one process, of a list that is ordered by processes.
fn open_of(all: &[OpenRequest], pid: u32) -> &[OpenRequest] {
    let from = all.partition_point(|open| open.pid < pid);
    let to = all.partition_point(|open| open.pid <= pid);
    all.get(from..to).unwrap_or_default()
}

impl std::fmt::Debug for Tie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tie").field("held", &self.held.len()).field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
