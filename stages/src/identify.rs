//! Stage `identify`: finds the protocol of each connection, by content, once.
//!
//! A connection is *undecided* until the first bytes of one of its turns match a protocol; ports only break ties. Then it is
//! decided for good: every later segment carries the protocol, the kernel is told how much of a turn is worth capturing, and a
//! role that was unknown follows from who speaks. One of which the first turns on both sides match nothing (or that is TLS, or
//! undecided for too long) is *foreign*: its segments, and the turns that nobody read of it, are rejected and the kernel is
//! told to be silent about it (again, at most once in [`limits::VERDICT_AGAIN`], if it is not). A connection older than the
//! probe, or than this stage, may begin in the middle of something: it is asked again at each turn, up to
//! [`limits::IDENTIFY_SEGMENTS`] of them in one direction.
//!
//! A datagram socket has many peers, and what some of them send says nothing of the others: it is foreign for
//! [`limits::IDENTIFY_ASLEEP`] only, and then looked at anew.
//!
//! In haste ([`Identify::set_hasty`]) a connection of which the beginning was seen, or a datagram socket, is foreign as soon
//! as one turn matches nothing. Those that were given up in haste are looked at anew when there is time again.
//!
//! Segments are never held: undecided ones go on as [`Protocol::Unknown`], and parse keeps them. Here only short prefixes are
//! copied, and only when one segment does not decide. Absent: a way back from a decision.

use crate::flow::conn::{About, ConnInfo, ConnKey, Direction, Role, What};
use crate::flow::event::Memory;
use crate::flow::segment::{Segment, SegmentBatch};
use crate::limits;
use crate::protocols::{Budget, Protocol};
use crate::stage::{Ledger, Stage};
use crate::time::Nanos;
use candidates::Answer;
use prefix::{Prefix, Prefixes};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

mod candidates;
mod prefix;

crate::reasons! {
    /// Why identify did not pass a segment on.
    pub enum Reject {
        /// Nothing was said of its connection before.
        UnknownConnection => "unknown_connection",
        /// None of the protocols that are known.
        Foreign => "foreign",
    }
}

/// Connections by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// A protocol was found.
    pub identified: u64,
    /// Given up.
    pub foreign: u64,
    /// Of these, encrypted from the beginning.
    pub tls: u64,
    /// Times a datagram socket, or a connection given up in haste, was looked at anew.
    pub woken: u64,
    /// Of these, times it was too early because [`limits::IDENTIFY_SLEEPERS`] was reached.
    pub woken_early: u64,
    /// Of the foreign, given up in haste.
    pub hurried: u64,
    /// Times a prefix could not be kept ([`limits::IDENTIFY_PREFIXES`]).
    pub prefixes_full: u64,
}

/// The stage.
pub struct Identify<M> {
    slots: Vec<Option<Tracked>>,
    prefixes: Prefixes,
    /// Foreign datagram sockets, the one to be woken first at the front. At most [`limits::IDENTIFY_SLEEPERS`].
    asleep: VecDeque<Asleep>,
    hasty: bool,
    /// The haste is over: those that were given up in it are to be woken.
    relieved: bool,
    ledger: Ledger,
    counts: Counts,
    memory: PhantomData<fn() -> M>,
}

/// A datagram socket that the kernel is silent about until then.
#[derive(Debug, Clone, Copy)]
struct Asleep {
    until: Nanos,
    conn: ConnKey,
    id: u64,
}

/// What is captured of a socket that is looked at anew: as of a new one by default.
const ANEW: Budget = Budget::head(12, 12);

/// A connection.
#[derive(Debug)]
struct Tracked {
    generation: u32,
    info: Arc<ConnInfo>,
    protocol: Protocol,
    /// What is seen may begin anywhere (older than the probe or this stage, or turns were missed): asked again at each turn.
    rough: bool,
    /// Given up in haste.
    hurried: bool,
    /// When the kernel was told last to be silent about it.
    told: Nanos,
    lanes: [Lane; 2],
}

/// One direction of an undecided connection.
#[derive(Debug, Default)]
struct Lane {
    prefix: Option<Box<Prefix>>,
    /// Segments (of an old connection or datagrams: turns) that were looked at.
    looked: u32,
    state: LaneState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum LaneState {
    /// At the beginning of a turn, or of what may be one.
    #[default]
    Begin,
    /// More bytes decide.
    NeedMore,
    /// This turn matched nothing.
    Nothing,
}

impl<M: Memory> Identify<M> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            prefixes: Prefixes::default(),
            asleep: VecDeque::new(),
            hasty: false,
            relieved: false,
            ledger: Ledger::new::<Reject>(),
            counts: Counts::default(),
            memory: PhantomData,
        }
    }

    /// Connections by what became of them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether connections that begin with nothing known are given up at once. What was given up in haste is looked at anew
    /// with the next tick after it.
    pub fn set_hasty(&mut self, hasty: bool) {
        self.relieved |= self.hasty && !hasty;
        self.hasty = hasty;
    }

    fn about(&mut self, mut about: About<Segment>, memory: &[u8], out: &mut SegmentBatch<M>) {
        self.ledger.taken += 1;
        match &mut about.what {
            What::Opened(info) => {
                if let Some(settled) = self.opened(about.conn, info) {
                    *info = settled;
                }
            }
            What::Item(segment) => match self.segment(about.conn, about.at, segment, memory, out) {
                Ok(protocol) => segment.protocol = protocol,
                Err(why) => {
                    self.ledger.reject(why, 1);
                    return;
                }
            },
            What::Missed { .. } => {
                if let Err(why) = self.missed(about.conn) {
                    self.ledger.reject(why, 1);
                    return;
                }
            }
            What::Closed(_) => self.closed(about.conn),
        }
        self.ledger.passed += 1;
        out.items.push(about);
    }

    fn tracked(&mut self, conn: ConnKey) -> Option<&mut Tracked> {
        let index = usize::try_from(conn.slot).ok()?;
        self.slots.get_mut(index)?.as_mut().filter(|tracked| tracked.generation == conn.generation)
    }

    /// News of a connection; returns them with the role that the content settled, where the kernel does not know it.
    fn opened(&mut self, conn: ConnKey, info: &Arc<ConnInfo>) -> Option<Arc<ConnInfo>> {
        // Another number in the same place: decode was restarted and counts anew.
        if let Some(tracked) = self.tracked(conn).filter(|tracked| tracked.info.id == info.id) {
            let role = tracked.info.role;
            let decided = !matches!(tracked.protocol, Protocol::Unknown | Protocol::Foreign);
            tracked.info = info.clone();
            tracked.rough |= info.late;
            if decided && info.role != role {
                tracked.info = with_role(info, role);
                return Some(tracked.info.clone());
            }
            return None;
        }
        let index = usize::try_from(conn.slot).ok().filter(|&index| index < limits::MAX_CONNECTIONS)?;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let slot = self.slots.get_mut(index)?;
        let tracked = Tracked {
            generation: conn.generation,
            info: info.clone(),
            protocol: Protocol::Unknown,
            rough: info.late,
            hurried: false,
            told: Nanos::ZERO,
            lanes: [Lane::default(), Lane::default()],
        };
        if let Some(mut gone) = slot.replace(tracked) {
            gone.forget(&mut self.prefixes);
        }
        None
    }

    fn segment(
        &mut self,
        conn: ConnKey,
        at: Nanos,
        segment: &Segment,
        memory: &[u8],
        out: &mut SegmentBatch<M>,
    ) -> Result<Protocol, Reject> {
        let index = usize::try_from(conn.slot).unwrap_or(usize::MAX);
        let slot = self.slots.get_mut(index).and_then(Option::as_mut);
        let Some(tracked) = slot.filter(|tracked| tracked.generation == conn.generation) else {
            return Err(Reject::UnknownConnection);
        };
        match tracked.protocol {
            Protocol::Unknown => {}
            Protocol::Foreign => {
                // The kernel has one place for the verdicts of many connections: it may have forgotten this one.
                if at.since(tracked.told) >= limits::VERDICT_AGAIN {
                    tracked.told = at;
                    out.verdicts.push(Budget::mute(tracked.info.id));
                }
                return Err(Reject::Foreign);
            }
            known => return Ok(known),
        }
        let mut answer = tracked.look(segment, memory, &mut self.prefixes, &mut self.counts);
        if self.hasty && answer == Answer::Nothing && tracked.is_strange() {
            self.counts.hurried += 1;
            tracked.hurried = true;
            answer = Answer::Foreign;
        }
        match answer {
            Answer::Is(protocol, role) => {
                self.counts.identified += 1;
                tracked.protocol = protocol;
                tracked.forget(&mut self.prefixes);
                if let Some(budget) = protocol.budget() {
                    out.verdicts.push(budget.verdict(tracked.info.id, role));
                }
                if tracked.info.role != role {
                    tracked.info = with_role(&tracked.info, role);
                    self.ledger.emitted += 1;
                    out.items.push(About { conn, at, what: What::Opened(tracked.info.clone()) });
                }
                Ok(protocol)
            }
            Answer::Foreign | Answer::Tls => {
                self.counts.foreign += 1;
                self.counts.tls += u64::from(answer == Answer::Tls);
                tracked.protocol = Protocol::Foreign;
                tracked.told = at;
                tracked.forget(&mut self.prefixes);
                let id = tracked.info.id;
                out.verdicts.push(Budget::mute(id));
                if tracked.info.transport.is_datagram() {
                    self.sleep(Asleep { until: at + limits::IDENTIFY_ASLEEP, conn, id }, out);
                }
                Err(Reject::Foreign)
            }
            Answer::Nothing | Answer::NeedMore => Ok(Protocol::Unknown),
        }
    }

    /// The kernel is silent about a datagram socket for a while.
    fn sleep(&mut self, asleep: Asleep, out: &mut SegmentBatch<M>) {
        if self.asleep.len() >= limits::IDENTIFY_SLEEPERS
            && let Some(first) = self.asleep.pop_front()
        {
            self.counts.woken_early += 1;
            self.wake(first, out);
        }
        self.asleep.push_back(asleep);
    }

    /// Looks anew at what was given up in haste. Datagram sockets wake by themselves.
    fn relieve(&mut self, out: &mut SegmentBatch<M>) {
        for tracked in self.slots.iter_mut().flatten() {
            let hurried = std::mem::take(&mut tracked.hurried);
            if !hurried || tracked.protocol != Protocol::Foreign || tracked.info.transport.is_datagram() {
                continue;
            }
            tracked.protocol = Protocol::Unknown;
            // What is seen of it next may begin anywhere.
            tracked.rough = true;
            tracked.lanes = [Lane::default(), Lane::default()];
            out.verdicts.push(ANEW.verdict(tracked.info.id, tracked.info.role));
            self.counts.woken += 1;
        }
    }

    fn wake(&mut self, Asleep { conn, id, .. }: Asleep, out: &mut SegmentBatch<M>) {
        let Some(tracked) = self.tracked(conn) else { return };
        if tracked.info.id != id || tracked.protocol != Protocol::Foreign {
            return;
        }
        tracked.protocol = Protocol::Unknown;
        tracked.lanes = [Lane::default(), Lane::default()];
        out.verdicts.push(ANEW.verdict(id, tracked.info.role));
        self.counts.woken += 1;
    }

    /// Turns went by unread: what follows may begin anywhere, as on a connection older than the probe. Those of a foreign
    /// connection are nobody's; the kernel does not count those that went by in the silence that was asked for.
    fn missed(&mut self, conn: ConnKey) -> Result<(), Reject> {
        let index = usize::try_from(conn.slot).unwrap_or(usize::MAX);
        let slot = self.slots.get_mut(index).and_then(Option::as_mut);
        let Some(tracked) = slot.filter(|tracked| tracked.generation == conn.generation) else { return Ok(()) };
        if tracked.protocol == Protocol::Foreign {
            return Err(Reject::Foreign);
        }
        if tracked.protocol == Protocol::Unknown {
            tracked.forget(&mut self.prefixes);
            tracked.rough = true;
        }
        Ok(())
    }

    fn closed(&mut self, conn: ConnKey) {
        let index = usize::try_from(conn.slot).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.as_ref().is_some_and(|tracked| tracked.generation == conn.generation)
            && let Some(mut gone) = slot.take()
        {
            gone.forget(&mut self.prefixes);
        }
    }
}

impl<M: Memory> Default for Identify<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracked {
    /// Looks at a segment of an undecided connection.
    fn look(&mut self, segment: &Segment, memory: &[u8], prefixes: &mut Prefixes, counts: &mut Counts) -> Answer {
        let datagram = self.info.transport.is_datagram();
        let Self { info, rough, lanes: [ingress, egress], .. } = self;
        let (lane, other) = match segment.direction {
            Direction::Ingress => (ingress, egress),
            Direction::Egress => (egress, ingress),
        };
        // What came before went to a former run of this stage.
        *rough |= !datagram && segment.offset > 0 && lane.looked == 0 && lane.state == LaneState::Begin;
        let again = datagram || *rough;
        if (segment.turn_start && again) || datagram {
            prefixes.give_back(lane.prefix.take());
            lane.state = LaneState::Begin;
        }
        let bytes = segment.captured.of(memory);
        if !bytes.is_empty() && (!again || lane.state != LaneState::Nothing) {
            lane.looked += 1;
        }
        let mut answer = Answer::Nothing;
        if lane.state != LaneState::Nothing && !bytes.is_empty() {
            answer = lane.ask(bytes, segment.direction, info, prefixes, counts);
        }
        if answer == Answer::NeedMore && (segment.gap > 0 || datagram) {
            // What was needed was not captured.
            answer = lane.nothing(prefixes);
        } else if segment.gap > 0 && bytes.is_empty() && lane.state != LaneState::Nothing {
            answer = lane.nothing(prefixes);
        }
        if matches!(answer, Answer::Nothing | Answer::NeedMore) {
            let strange = lane.state == LaneState::Nothing && other.state == LaneState::Nothing;
            if lane.looked >= limits::IDENTIFY_SEGMENTS || (strange && !again) {
                return Answer::Foreign;
            }
        }
        answer
    }

    /// A turn was whole enough to be looked at, and was nothing that is known.
    fn is_strange(&self) -> bool {
        let nothing = self.lanes.iter().any(|lane| lane.state == LaneState::Nothing);
        nothing && (!self.rough || self.info.transport.is_datagram())
    }

    fn forget(&mut self, prefixes: &mut Prefixes) {
        for lane in &mut self.lanes {
            prefixes.give_back(lane.prefix.take());
            lane.state = LaneState::Begin;
        }
    }
}

impl Lane {
    fn ask(
        &mut self,
        bytes: &[u8],
        direction: Direction,
        info: &ConnInfo,
        prefixes: &mut Prefixes,
        counts: &mut Counts,
    ) -> Answer {
        let answer = match &mut self.prefix {
            None => candidates::ask(bytes, direction, info),
            Some(prefix) => {
                prefix.push(bytes);
                candidates::ask(prefix.bytes(), direction, info)
            }
        };
        match answer {
            Answer::Nothing => self.nothing(prefixes),
            Answer::NeedMore if self.prefix.is_none() => {
                self.state = LaneState::NeedMore;
                let Some(mut prefix) = prefixes.take() else {
                    counts.prefixes_full += 1;
                    return self.nothing(prefixes);
                };
                prefix.push(bytes);
                let full = prefix.is_full();
                self.prefix = Some(prefix);
                if full { self.nothing(prefixes) } else { answer }
            }
            Answer::NeedMore if self.prefix.as_ref().is_some_and(|prefix| prefix.is_full()) => self.nothing(prefixes),
            Answer::NeedMore | Answer::Is(..) | Answer::Foreign | Answer::Tls => answer,
        }
    }

    fn nothing(&mut self, prefixes: &mut Prefixes) -> Answer {
        prefixes.give_back(self.prefix.take());
        self.state = LaneState::Nothing;
        Answer::Nothing
    }
}

fn with_role(info: &ConnInfo, role: Role) -> Arc<ConnInfo> {
    let mut info = info.clone();
    info.role = role;
    Arc::new(info)
}

impl<M: Memory> Stage for Identify<M> {
    type In = SegmentBatch<M>;
    type Out = SegmentBatch<M>;

    const NAME: &'static str = "identify";

    fn process(&mut self, _now: Nanos, input: &mut SegmentBatch<M>, out: &mut SegmentBatch<M>) {
        let before = self.ledger.passed;
        // Looked at here, and moved on unread: the lease goes with the segments.
        let memory = input.memory.take();
        let bytes = memory.as_ref().map_or(&[][..], AsRef::as_ref);
        for about in input.items.drain(..) {
            self.about(about, bytes, out);
        }
        self.ledger.emitted += self.ledger.passed - before;
        out.memory = memory;
        debug_assert!(self.ledger.balances(), "{:?}", self.ledger);
    }

    fn tick(&mut self, now: Nanos, out: &mut SegmentBatch<M>) {
        if std::mem::take(&mut self.relieved) && !self.hasty {
            self.relieve(out);
        }
        while let Some(&first) = self.asleep.front()
            && first.until <= now
        {
            self.asleep.pop_front();
            self.wake(first, out);
        }
    }

    fn drain(&mut self, _now: Nanos, _out: &mut SegmentBatch<M>) {}

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}
