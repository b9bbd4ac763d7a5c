//! One connection in parse: what is unfinished in each direction, and the way of one segment through its parser.

use super::Reject;
use super::capture::CaptureBudget;
use super::state::{Collect, Held, State};
use super::work::Work;
use crate::flow::conn::{ConnInfo, ConnKey, Direction, What};
use crate::flow::message::{Message, MessageKind, Part};
use crate::flow::segment::Segment;
use crate::limits;
use crate::protocols::{Context, Input, Pairing, Protocol, Sink, Step, Successor};
use crate::time::Nanos;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Turns in a row that are malformed, without a message between them, after which a stream is given up.
const MAX_MALFORMED_TURNS: u8 = 8;

/// A connection.
pub(super) struct Connection {
    pub(super) generation: u32,
    info: Arc<ConnInfo>,
    wire: State,
    /// What identify said it is; an upgrade may have made another of it.
    identified: Protocol,
    lanes: [Lane; 2],
    /// Why nothing more of it is parsed.
    over: Option<Reject>,
    malformed_turns: u8,
    capture: CaptureBudget,
    /// Requests that began in this turn.
    asked: u32,
    depth: Depth,
}

/// One direction.
#[derive(Default)]
struct Lane {
    /// Unfinished bytes.
    carry: Vec<u8>,
    /// Length of `carry` that the parser asked for.
    wanted: usize,
    /// When the first byte of `carry` moved.
    start: Nanos,
    /// When the last byte of this direction moved.
    last: Nanos,
    /// Some of this turn moved unseen.
    gapped: bool,
    /// Bytes captured of this turn.
    captured: u64,
    /// Skipped until the next turn begins.
    lost: bool,
    ended: bool,
}

/// How many requests a turn holds: more than one in a pipeline. What was in a turn that nobody read is told by the others.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    turns: u32,
    requests: u32,
    /// What was left over when turns of requests, and of answers, were last told: most are missed one at a time, and rounding each
    /// would add up.
    rest: [i16; 2],
}

impl Depth {
    /// Turns after which what was before counts half: a connection may change its ways.
    const MEMORY: u32 = 64;

    fn turn(&mut self, requests: u32) {
        if requests == 0 {
            return;
        }
        if self.turns >= Self::MEMORY {
            (self.turns, self.requests) = (self.turns / 2, self.requests / 2);
            self.rest = self.rest.map(|rest| rest / 2);
        }
        self.turns += 1;
        self.requests = self.requests.saturating_add(requests);
    }

    /// How many requests, and answers, so many turns of each held.
    fn of(&mut self, turns: [u32; 2]) -> [u32; 2] {
        if self.turns == 0 {
            return turns;
        }
        let (count, requests) = (i64::from(self.turns), i64::from(self.requests));
        let mut held = turns;
        for ((held, turns), rest) in held.iter_mut().zip(turns).zip(&mut self.rest).filter(|((_, turns), _)| *turns > 0)
        {
            let exact = i64::from(turns).saturating_mul(requests).saturating_add(i64::from(*rest));
            let told = exact.saturating_add(count / 2).div_euclid(count);
            // At most half of `count`, which is at most [`Self::MEMORY`].
            *rest = i16::try_from(exact - told * count).unwrap_or(0);
            *held = u32::try_from(told).unwrap_or(u32::MAX).max(turns);
        }
        held
    }
}

/// Why the way of a segment ended early.
type Stopped = Reject;

impl Connection {
    pub(super) fn new(generation: u32, info: Arc<ConnInfo>) -> Self {
        Self {
            generation,
            info,
            wire: State::unknown(),
            identified: Protocol::Unknown,
            lanes: [Lane::default(), Lane::default()],
            over: None,
            malformed_turns: 0,
            capture: CaptureBudget::default(),
            asked: 0,
            depth: Depth::default(),
        }
    }

    /// True if the news is of this connection. (Another number in the same place: decode was restarted and counts anew.)
    pub(super) fn is(&self, conn: ConnKey, info: &ConnInfo) -> bool {
        self.generation == conn.generation && self.info.id == info.id
    }

    /// New news of the same connection.
    pub(super) fn learn(&mut self, info: Arc<ConnInfo>) {
        self.info = info;
    }

    /// One segment. Its place in the ledger is kept here, but for `taken`.
    pub(super) fn segment(&mut self, segment: &Segment, memory: &[u8], work: &mut Work<'_>) {
        work.mover = (segment.tid, segment.direction);
        if self.over.is_none() {
            match segment.protocol {
                Protocol::Unknown if self.wire.protocol() == Protocol::Unknown => {
                    self.hold(segment, memory, work);
                    return;
                }
                Protocol::Foreign => self.stop(Reject::Foreign, work),
                protocol if protocol != Protocol::Unknown && protocol != self.identified => {
                    self.begin(protocol, work);
                }
                _ => {}
            }
        }
        match self.feed(segment, memory, work) {
            Ok(()) => work.ledger.passed += 1,
            Err(why) => work.ledger.reject(why, 1),
        }
    }

    /// Turns of this connection went by unread: what the parser knew of those directions is void. Returns how many requests, and
    /// answers, were in them, as far as other turns tell. After its end there is nothing to miss.
    pub(super) fn missed(&mut self, requests: u32, responses: u32, work: &mut Work<'_>) -> Result<(u32, u32), Stopped> {
        if let Some(why) = self.over {
            return Err(why);
        }
        let asks = self.info.role.request_direction().unwrap_or(Direction::Ingress);
        for (direction, named) in [(asks, requests > 0), (asks.reverse(), responses > 0)] {
            if named {
                self.let_go(direction, work);
                self.lane(direction).lost = true;
                let context = self.context(direction, work.at, work.at);
                self.wire.missed(context, &mut collect(self.wire.protocol(), work));
            }
        }
        // Where answers find their requests by number, a turn is no measure: streams outlive many turns, most of which begin none, and
        // pair would take a guessed number of answers for those of calls that are still open.
        match self.wire.protocol().pairing() {
            Pairing::Fifo => Ok(self.depth.of([requests, responses]).into()),
            Pairing::ById => Ok((requests, responses)),
        }
    }

    /// Time goes by: an answer of which the end could not be seen is over when nothing has moved for long enough.
    pub(super) fn quiet(&mut self, work: &mut Work<'_>) {
        let Some(asks) = self.info.role.request_direction() else { return };
        let asked = self.lane(asks).last;
        let lane = self.lane(asks.reverse());
        let over = lane.gapped && lane.last >= asked && work.at.since(lane.last) >= limits::PARSE_QUIET;
        if over && self.over.is_none() {
            self.lane(asks.reverse()).gapped = false;
            self.turn(asks, work);
        }
    }

    /// The connection is over, or redtap is: everything held goes.
    pub(super) fn close(&mut self, work: &mut Work<'_>) {
        if self.over.is_none() && self.wire.protocol() != Protocol::Unknown {
            let request = self.info.role.request_direction().unwrap_or(Direction::Ingress);
            for direction in [request, request.reverse()] {
                self.end(direction, work);
            }
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            self.let_go(direction, work);
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        let [ingress, egress] = &mut self.lanes;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    fn context(&self, direction: Direction, start: Nanos, at: Nanos) -> Context {
        Context { direction, role: self.info.role, transport: self.info.transport, start, at }
    }

    /// The protocol is known: what waited for it is read, turn by turn.
    fn begin(&mut self, protocol: Protocol, work: &mut Work<'_>) {
        let former = std::mem::replace(&mut self.wire, State::of(protocol));
        self.identified = protocol;
        self.capture.begin(protocol, work.at);
        let State::Unknown([ingress, egress]) = former else { return };
        let order = if egress.segments > 0 && egress.turn < ingress.turn {
            [(Direction::Egress, egress), (Direction::Ingress, ingress)]
        } else {
            [(Direction::Ingress, ingress), (Direction::Egress, egress)]
        };
        let (now, mover) = (work.at, work.mover);
        for (direction, held) in order {
            if held.segments == 0 {
                continue;
            }
            work.mover = (held.tid, direction);
            if self.over.is_some() {
                // What the other direction said ended it.
                unidentified(&held, work);
                continue;
            }
            let lane = self.lane(direction);
            let mut bytes = std::mem::take(&mut lane.carry);
            lane.last = held.last;
            lane.gapped = held.gap > 0;
            lane.captured = bytes.len() as u64;
            work.ledger.held -= held.segments;
            let start = lane.start;
            work.at = start;
            if held.turn_start {
                self.turn(direction, work);
            }
            work.at = held.last;
            let fed = self.bytes(direction, &bytes, start, work);
            let fed = fed.and_then(|()| self.gap(direction, held.gap, work));
            if held.end {
                self.end(direction, work);
            }
            work.buffers.release(&mut bytes);
            match fed {
                Ok(()) => work.ledger.passed += held.segments,
                Err(why) => work.ledger.reject(why, held.segments),
            }
        }
        (work.at, work.mover) = (now, mover);
    }

    /// The protocol is not known yet: keeps the last turn of each direction, up to the bound; bytes beyond become a gap.
    fn hold(&mut self, segment: &Segment, memory: &[u8], work: &mut Work<'_>) {
        if segment.turn_start || self.info.transport.is_datagram() {
            self.let_go(segment.direction, work);
            self.lane(segment.direction).lost = false;
        }
        let Self { wire: State::Unknown(held), lanes, .. } = self else { return };
        let ([ingress, egress], [ingress_held, egress_held]) = (lanes, held);
        let (lane, held) = match segment.direction {
            Direction::Ingress => (ingress, ingress_held),
            Direction::Egress => (egress, egress_held),
        };
        if lane.lost {
            work.ledger.reject(Reject::OutOfStep, 1);
            return;
        }
        let bytes = segment.captured.of(memory);
        if held.segments == 0 {
            lane.start = work.at;
            held.turn = segment.turn;
            held.turn_start = segment.turn_start;
        }
        let mut kept = 0;
        if held.gap == 0 && !bytes.is_empty() {
            kept = work.buffers.append(&mut lane.carry, bytes).unwrap_or(0);
            if kept < bytes.len() {
                work.counts.buffer_full += 1;
            }
        }
        held.segments += 1;
        held.tid = segment.tid;
        held.last = work.at;
        held.gap = held.gap.saturating_add(gap_of(segment, kept));
        held.end |= segment.end;
        work.ledger.held += 1;
    }

    fn feed(&mut self, segment: &Segment, memory: &[u8], work: &mut Work<'_>) -> Result<(), Stopped> {
        if let Some(why) = self.over {
            // The kernel has one place for the verdicts of many connections: it may have forgotten this one. What is foreign is
            // identify's to silence.
            if why != Reject::Foreign && self.capture.is_due(work.at) {
                self.capture.mute(&self.info, work);
            }
            return Err(why);
        }
        self.recall(segment, work);
        let direction = segment.direction;
        if segment.turn_start {
            self.lane(direction).gapped = false;
            self.turn(direction, work);
            if self.asks(direction) {
                self.capture.spare(self.wire.protocol(), self.wire.enough(), &self.info, work);
            }
        }
        let datagram = self.info.transport.is_datagram();
        let lane = self.lane(direction);
        lane.lost &= !datagram;
        lane.last = work.at;
        lane.gapped |= segment.gap > 0;
        let mut fed = Err(Reject::OutOfStep);
        if !lane.lost {
            let bytes = segment.captured.of(memory);
            fed = self.bytes(direction, bytes, work.at, work);
            let gap = gap_of(segment, bytes.len());
            fed = fed.and_then(|()| self.gap(direction, gap, work));
            if gap > 0 && self.asks(direction) {
                self.capture.adapt(self.wire.protocol(), segment.turn, &self.info, work);
            }
            if datagram && !self.lane(direction).carry.is_empty() {
                self.lose(direction, work);
                fed = Err(Reject::OutOfStep);
            }
        }
        if segment.end {
            self.end(direction, work);
            // The end itself has been passed on, whatever became of bytes before it.
            if gap_of(segment, 0) == 0 {
                return Ok(());
            }
        }
        fed
    }

    /// Says that nothing more of this connection will be read, so that nobody waits for answers.
    fn farewell(&mut self, direction: Direction, work: &mut Work<'_>) {
        let protocol = self.wire.protocol();
        let mut message = Message::new(MessageKind::OneWay, Part::Whole, protocol, direction, work.at);
        message.upgrade = true;
        collect(self.wire.protocol(), work).message(message);
    }

    /// Notes what was captured of the turn; too little of it is for the capture budget to mend.
    fn recall(&mut self, segment: &Segment, work: &mut Work<'_>) {
        if self.wire.protocol() == Protocol::Unknown {
            return;
        }
        let asks = self.asks(segment.direction);
        let lane = self.lane(segment.direction);
        let before = if segment.turn_start { 0 } else { lane.captured };
        lane.captured = before.saturating_add(u64::from(segment.captured.len));
        let captured = lane.captured;
        if segment.gap > 0 && segment.captured.len > 0 {
            self.capture.recall(asks, captured, &self.info, work);
        }
    }

    /// Requests travel that way.
    fn asks(&self, direction: Direction) -> bool {
        self.info.role.request_direction() == Some(direction)
    }

    fn turn(&mut self, direction: Direction, work: &mut Work<'_>) {
        self.depth.turn(std::mem::take(&mut self.asked));
        self.lane(direction).lost = false;
        let context = self.context(direction, work.at, work.at);
        self.wire.turn(context, &mut collect(self.wire.protocol(), work));
    }

    /// Bytes behind what is carried; the first of them moved at `start`.
    fn bytes(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        start: Nanos,
        work: &mut Work<'_>,
    ) -> Result<(), Stopped> {
        while !bytes.is_empty() && !self.lane(direction).carry.is_empty() {
            bytes = self.behind_carry(direction, bytes, work)?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let (used, wanted) = self.drive(direction, bytes, bytes.len(), start, work)?;
        let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) else {
            return Ok(());
        };
        let lane = self.lane(direction);
        lane.start = start;
        lane.wanted = wanted;
        match work.buffers.append(&mut lane.carry, rest) {
            Some(n) if n == rest.len() => Ok(()),
            _ => Err(self.full(direction, work)),
        }
    }

    /// Puts bytes behind the carried ones and parses them together. Returns the bytes that are still to be parsed.
    fn behind_carry<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        work: &mut Work<'_>,
    ) -> Result<&'a [u8], Stopped> {
        let lane = self.lane(direction);
        let old = lane.carry.len();
        let taken = match work.buffers.append(&mut lane.carry, bytes) {
            Some(taken) if taken > 0 => taken,
            _ => return Err(self.full(direction, work)),
        };
        let behind = bytes.get(taken..).unwrap_or(&[]);
        if lane.carry.len() < lane.wanted {
            return Ok(behind);
        }
        let start = lane.start;
        let mut carry = std::mem::take(&mut lane.carry);
        let driven = self.drive(direction, &carry, old, start, work);
        let lane = self.lane(direction);
        match driven {
            Ok((used, wanted)) if used < old => {
                carry.drain(..used);
                lane.wanted = wanted;
                lane.carry = carry;
                Ok(behind)
            }
            Ok((used, _)) => {
                work.buffers.release(&mut carry);
                Ok(bytes.get(used - old..).unwrap_or(&[]))
            }
            Err(why) => {
                work.buffers.release(&mut carry);
                Err(why)
            }
        }
    }

    /// Parses as far as it goes. The first `old` bytes began to move at `start`, the others now. Returns how many bytes are
    /// done with, and how long what is left must get.
    fn drive(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        old: usize,
        start: Nanos,
        work: &mut Work<'_>,
    ) -> Result<(usize, usize), Stopped> {
        let mut used = 0_usize;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let context = self.context(direction, if used < old { start } else { work.at }, work.at);
            let before = work.out.items.len();
            let step = self.wire.parse(context, Input::Bytes(rest), &mut collect(self.wire.protocol(), work));
            if work.out.items.len() > before {
                self.malformed_turns = 0;
                self.expect(direction, before, work);
            }
            match step {
                Step::Consumed(n) => {
                    let n = usize::try_from(n.get()).unwrap_or(usize::MAX).min(rest.len());
                    used += n;
                }
                Step::NeedMore(n) => {
                    let wanted = rest.len().saturating_add(usize::try_from(n.get()).unwrap_or(usize::MAX));
                    if wanted > limits::PARSE_BUFFER {
                        return Err(self.full(direction, work));
                    }
                    return Ok((used, wanted));
                }
                Step::HandOver(Successor::Protocol(protocol)) if self.succeed(protocol, work) => {}
                other => return Err(self.refuse(direction, other, work)),
            }
        }
        Ok((used, 0))
    }

    /// Bytes that moved unseen, behind everything carried.
    fn gap(&mut self, direction: Direction, gap: u64, work: &mut Work<'_>) -> Result<(), Stopped> {
        let Some(mut left) = NonZeroU64::new(gap) else { return Ok(()) };
        if !self.lane(direction).carry.is_empty() {
            work.counts.lost += 1;
            self.lose(direction, work);
            return Ok(());
        }
        loop {
            let context = self.context(direction, work.at, work.at);
            match self.wire.parse(context, Input::Gap(left), &mut collect(self.wire.protocol(), work)) {
                Step::Consumed(n) => match left.get().checked_sub(n.get()).and_then(NonZeroU64::new) {
                    Some(rest) => left = rest,
                    None => return Ok(()),
                },
                Step::HandOver(Successor::Protocol(protocol)) if self.succeed(protocol, work) => {}
                step @ Step::HandOver(_) => return Err(self.refuse(direction, step, work)),
                // Whatever else it says of bytes that nobody saw: they are nobody's fault.
                Step::NeedMore(_) | Step::Lost | Step::Malformed(_) => {
                    work.counts.lost += 1;
                    self.lose(direction, work);
                    return Ok(());
                }
            }
        }
    }

    fn refuse(&mut self, direction: Direction, step: Step, work: &mut Work<'_>) -> Stopped {
        match step {
            Step::HandOver(to) => {
                work.counts.handed_to_tls += u64::from(to == Successor::Tls);
                self.stop(Reject::HandedOver, work);
                self.capture.mute(&self.info, work);
                Reject::HandedOver
            }
            Step::Malformed(_) => {
                self.lose(direction, work);
                self.malformed_turns = self.malformed_turns.saturating_add(1);
                if self.malformed_turns >= MAX_MALFORMED_TURNS && !self.info.transport.is_datagram() {
                    self.stop(Reject::GivenUp, work);
                    self.farewell(direction, work);
                    self.capture.mute(&self.info, work);
                }
                Reject::Malformed
            }
            Step::Consumed(_) | Step::NeedMore(_) | Step::Lost => {
                work.counts.lost += 1;
                self.lose(direction, work);
                Reject::OutOfStep
            }
        }
    }

    /// Another protocol follows on this connection. False if it is none that can follow the present one.
    fn succeed(&mut self, protocol: Protocol, work: &mut Work<'_>) -> bool {
        let next = State::following(protocol);
        if next.protocol() != protocol || protocol == self.wire.protocol() {
            return false;
        }
        self.wire = next;
        work.counts.succeeded += 1;
        self.capture.succeed(protocol, &self.info, work);
        true
    }

    fn full(&mut self, direction: Direction, work: &mut Work<'_>) -> Stopped {
        work.counts.buffer_full += 1;
        self.lose(direction, work);
        Reject::BufferFull
    }

    /// The framing of a direction is lost up to its next turn.
    fn lose(&mut self, direction: Direction, work: &mut Work<'_>) {
        let context = self.context(direction, work.at, work.at);
        self.wire.lost(context, &mut collect(self.wire.protocol(), work));
        self.capture.lost(&self.info, work);
        let lane = self.lane(direction);
        lane.lost = true;
        lane.wanted = 0;
        work.buffers.release(&mut lane.carry);
    }

    fn end(&mut self, direction: Direction, work: &mut Work<'_>) {
        let lane = self.lane(direction);
        if std::mem::replace(&mut lane.ended, true) {
            return;
        }
        if !lane.carry.is_empty() {
            self.lose(direction, work);
        }
        let context = self.context(direction, work.at, work.at);
        self.wire.end(context, &mut collect(self.wire.protocol(), work));
    }

    /// Nothing more of this connection is parsed.
    fn stop(&mut self, why: Reject, work: &mut Work<'_>) {
        self.over = Some(why);
        for direction in [Direction::Ingress, Direction::Egress] {
            self.let_go(direction, work);
        }
    }

    /// Drops what a direction keeps; what waited for a protocol is counted.
    fn let_go(&mut self, direction: Direction, work: &mut Work<'_>) {
        if let State::Unknown(held) = &mut self.wire {
            let [ingress, egress] = held;
            let held = if direction == Direction::Ingress { ingress } else { egress };
            unidentified(&std::mem::take(held), work);
        }
        let lane = self.lane(direction);
        lane.wanted = 0;
        work.buffers.release(&mut lane.carry);
    }

    /// Counts the requests of the turn. `from`: the first message that is new.
    fn expect(&mut self, direction: Direction, from: usize, work: &mut Work<'_>) {
        if !self.asks(direction) {
            return;
        }
        let new = work.out.items.get(from..).unwrap_or_default().iter();
        let asked = new.filter(|item| {
            matches!(&item.what, What::Item(message) if message.kind == MessageKind::Request && message.part != Part::End)
        });
        self.asked = self.asked.saturating_add(u32::try_from(asked.count()).unwrap_or(u32::MAX));
        if self.asked > 1 {
            self.capture.expect(self.wire.protocol(), &self.info, work);
        }
    }
}

/// What waited for a protocol waited in vain.
fn unidentified(held: &Held, work: &mut Work<'_>) {
    work.ledger.held -= held.segments;
    work.ledger.reject(Reject::Unidentified, held.segments);
}

/// Bytes of the segment of which no more than `kept` captured ones can be read.
fn gap_of(segment: &Segment, kept: usize) -> u64 {
    u64::from(segment.captured.len).saturating_sub(kept as u64).saturating_add(segment.gap)
}

fn collect<'a>(carrier: Protocol, work: &'a mut Work<'_>) -> Collect<'a> {
    Collect { items: &mut work.out.items, conn: work.conn, at: work.at, carrier, mover: work.mover }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        // What is larger belongs in a box of its own: there are tens of thousands of them.
        assert!(size_of::<Connection>() <= 480, "{} bytes", size_of::<Connection>());
        assert!(size_of::<State>() <= 304, "{} bytes", size_of::<State>());
    }
}
