//! The table of connections: from packets, in the order of the capture, to records.
//!
//! A TCP connection begins with a SYN (or, where that is not in the capture, with whatever comes first) and ends with both
//! FINs or a RST; its ports may be used again by a new SYN. The end that got the SYN, or sent the SYN-ACK, is the local one;
//! without either it is the one with the lower port, and the stages find out who asks. UDP: what two ends say to each other
//! is one conversation.
//!
//! Time is that of the packets: a hole is waited for [`HOLE_WAIT`], and a connection that is needed for its place in the
//! table is the one that was silent longest. A RST closes only after [`RESET_WAIT`]: what the other end sent before it heard of
//! it may be captured later, and one that its receiver had no reason to believe (RFC 5961, RFC 2385, RFC 5925) changes nothing.
//!
//! **Bounds:** [`MAX_FLOWS`], [`MAX_AHEAD_TOTAL`]; those of [`super::tcp`] and [`super::modes`] each connection.

use super::events::{Beginning, Conn, EGRESS, INGRESS, Queue, Transport};
use super::link::{Carried, Tcp};
use super::modes::{Cutter, Dice, HOLD, Mode, Way};
use super::tcp::{Lane, Piece, Segment};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use redtap_stages::abi::reason;
use redtap_stages::time::Nanos;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Connections and conversations followed at a time.
pub const MAX_FLOWS: usize = 65_536;
/// Bytes that wait behind holes in all.
pub const MAX_AHEAD_TOTAL: usize = 256 * 1024 * 1024;
/// How long a hole is waited for, in the time of the capture.
pub const HOLE_WAIT: Nanos = Nanos::from_secs(3);
/// How long after a RST its connection may show that it goes on.
pub const RESET_WAIT: Nanos = Nanos::SECOND;

/// What became of packets and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounts {
    /// Connections and conversations seen.
    pub flows: u64,
    /// Forgotten to make room for others.
    pub crowded_out: u64,
    /// Holes that were lost.
    pub gaps: u64,
    /// Bytes in them, and those that the capture's snap length cut.
    pub gap_bytes: u64,
    /// Segments that cannot be of the stream they name.
    pub strays: u64,
}

/// The table.
#[derive(Debug)]
pub struct Flows {
    mode: Mode,
    flows: HashMap<Key, Flow, RandomState>,
    /// Connections where something is held back or waited for, by when to look at them.
    due: [VecDeque<(Nanos, Key)>; 3],
    waiting: usize,
    last_id: u64,
    counts: FlowCounts,
}

/// Both ends, the smaller first, and whether it is TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(SocketAddr, SocketAddr, bool);

impl Key {
    fn of(packet: &Carried<'_>, tcp: bool) -> Self {
        Self(packet.from.min(packet.to), packet.from.max(packet.to), tcp)
    }
}

#[derive(Debug)]
struct Flow {
    conn: Conn,
    local: SocketAddr,
    lanes: [Lane; 2],
    cutters: [Cutter; 2],
    dice: Dice,
    /// In which lists of `due` it is.
    listed: [bool; 3],
    hole_since: Nanos,
    /// When a RST came, from which end.
    reset: Option<(Nanos, usize)>,
    closed: bool,
    seen: Nanos,
}

/// Which list of `due`.
const HELD: usize = 0;
const HOLE: usize = 1;
const RESET: usize = 2;

impl Flows {
    /// An empty table.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            flows: HashMap::default(),
            due: Default::default(),
            waiting: 0,
            last_id: 0,
            counts: FlowCounts::default(),
        }
    }

    /// What became of packets and connections.
    pub fn counts(&self) -> FlowCounts {
        self.counts
    }

    /// A datagram.
    pub fn udp(&mut self, packet: &Carried<'_>, at: Nanos, out: &mut Queue) {
        self.pass_time(at, out);
        let key = Key::of(packet, false);
        if !self.flows.contains_key(&key) {
            self.open(key, packet.to, Transport::Udp, Beginning::None, at, out);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.seen = at;
        let dir = flow.direction(packet);
        let captured = match self.mode {
            Mode::Head(budget) => packet.bytes.get(..usize::try_from(budget).unwrap_or(usize::MAX)),
            _ => None,
        };
        let captured = captured.unwrap_or(packet.bytes);
        let missing = u64::from(packet.missing) + (packet.bytes.len() - captured.len()) as u64;
        flow.conn.datagram(dir, captured, missing, at, out);
    }

    /// A segment.
    pub fn tcp(&mut self, packet: &Carried<'_>, tcp: Tcp, at: Nanos, out: &mut Queue) {
        self.pass_time(at, out);
        let key = Key::of(packet, true);
        let known = self.flows.get(&key);
        if known.is_none_or(|flow| flow.is_of_former(packet, tcp)) {
            if let Some(mut former) = self.flows.remove(&key) {
                self.waiting -= former.waiting();
                former.settle_reset(self.mode, &mut self.counts, out);
                former.finish(reason::ABORT, at, self.mode, &mut self.counts, out);
            }
            // Nothing can follow.
            if tcp.rst {
                return;
            }
            let (local, beginning) = match (tcp.syn, tcp.ack) {
                (true, None) => (packet.to, Beginning::Seen),
                (true, Some(_)) => (packet.from, Beginning::Seen),
                (false, _) if packet.from.port() < packet.to.port() => (packet.from, Beginning::Late),
                (false, _) => (packet.to, Beginning::Late),
            };
            self.open(key, local, Transport::Tcp, beginning, at, out);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        let before = flow.waiting();
        flow.seen = at;
        if !flow.closed {
            flow.segment(packet, tcp, at, self.mode, &mut self.counts, out);
        }
        self.waiting = self.waiting - before + flow.waiting();
        self.list(key, at);
        if self.waiting > MAX_AHEAD_TOTAL {
            self.give_up_all(at, out);
        }
    }

    /// The capture is over.
    pub fn finish(&mut self, out: &mut Queue) {
        let mut flows: Vec<_> = self.flows.drain().map(|(_, flow)| flow).collect();
        flows.sort_by_key(|flow| flow.seen);
        for flow in &mut flows {
            flow.settle_reset(self.mode, &mut self.counts, out);
            flow.give_up(flow.seen, self.mode, &mut self.counts, out);
            flow.flush(out);
        }
        self.waiting = 0;
    }

    /// Looks at connections where something has waited for long enough.
    pub fn pass_time(&mut self, now: Nanos, out: &mut Queue) {
        for (which, wait) in [(HELD, HOLD), (HOLE, HOLE_WAIT), (RESET, RESET_WAIT)] {
            while let Some((_, key)) = self.due.get_mut(which).and_then(|due| due.pop_front_if(|(at, _)| *at <= now)) {
                let Some(flow) = self.flows.get_mut(&key) else { continue };
                if let Some(listed) = flow.listed.get_mut(which) {
                    *listed = false;
                }
                let before = flow.waiting();
                if which == HELD && flow.held_since().is_some_and(|since| since + wait <= now) {
                    flow.flush(out);
                } else if which == HOLE && flow.hole_since + wait <= now {
                    flow.give_up(now, self.mode, &mut self.counts, out);
                } else if which == RESET && flow.reset.is_some_and(|(since, _)| since + wait <= now) {
                    flow.settle_reset(self.mode, &mut self.counts, out);
                }
                self.waiting = self.waiting - before + flow.waiting();
                self.list(key, now);
            }
        }
    }

    /// Lists a connection to be looked at later, if there will be something to look at.
    fn list(&mut self, key: Key, now: Nanos) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        let [held, hole, reset] = &mut flow.listed;
        let [held_due, hole_due, reset_due] = &mut self.due;
        let holds = flow.cutters.iter().any(Cutter::holds);
        if holds && !std::mem::replace(held, holds) {
            held_due.push_back((now + HOLD, key));
        }
        if flow.lanes.iter().any(Lane::has_hole) && !std::mem::replace(hole, true) {
            flow.hole_since = now;
            hole_due.push_back((now + HOLE_WAIT, key));
        }
        if flow.reset.is_some() && !std::mem::replace(reset, true) {
            reset_due.push_back((now + RESET_WAIT, key));
        }
    }

    fn open(
        &mut self,
        key: Key,
        local: SocketAddr,
        transport: Transport,
        beginning: Beginning,
        at: Nanos,
        out: &mut Queue,
    ) {
        if self.flows.len() >= MAX_FLOWS {
            self.make_room(at, out);
        }
        self.last_id += 1;
        self.counts.flows += 1;
        let remote = if key.0 == local { key.1 } else { key.0 };
        let flow = Flow {
            conn: Conn::new(self.last_id, transport, local, remote, beginning),
            local,
            lanes: [Lane::default(), Lane::default()],
            cutters: [Cutter::default(), Cutter::default()],
            dice: Dice::new(self.mode, self.last_id),
            listed: [false; 3],
            hole_since: Nanos::ZERO,
            reset: None,
            closed: false,
            seen: at,
        };
        self.flows.insert(key, flow);
    }

    /// Forgets the eighth of the connections that was silent longest, when what waits in them has gone out.
    fn make_room(&mut self, now: Nanos, out: &mut Queue) {
        let mut seen: Vec<Nanos> = self.flows.values().map(|flow| flow.seen).collect();
        let (_, bound, _) = seen.select_nth_unstable(MAX_FLOWS / 8);
        let bound = *bound;
        // Of many that were silent equally long not all.
        let gone = self.flows.extract_if(|_, flow| flow.seen <= bound).take(MAX_FLOWS / 8 + 1);
        for (_, mut flow) in gone {
            self.waiting -= flow.waiting();
            self.counts.crowded_out += 1;
            flow.settle_reset(self.mode, &mut self.counts, out);
            flow.give_up(now, self.mode, &mut self.counts, out);
            flow.flush(out);
        }
    }

    /// Too much waits: no hole is waited for any longer.
    fn give_up_all(&mut self, at: Nanos, out: &mut Queue) {
        for flow in self.flows.values_mut() {
            flow.give_up(at, self.mode, &mut self.counts, out);
        }
        self.waiting = 0;
    }
}

impl Flow {
    fn direction(&self, packet: &Carried<'_>) -> usize {
        if packet.from == self.local && packet.to != self.local { EGRESS } else { INGRESS }
    }

    fn waiting(&self) -> usize {
        self.lanes.iter().map(Lane::waiting).sum()
    }

    fn held_since(&self) -> Option<Nanos> {
        self.cutters.iter().filter(|cutter| cutter.holds()).map(Cutter::since).min()
    }

    /// True if a packet begins a new connection between the ends of this one.
    fn is_of_former(&self, packet: &Carried<'_>, tcp: Tcp) -> bool {
        if !tcp.syn {
            return false;
        }
        let first = tcp.seq.wrapping_add(1);
        let lane = self.lanes.get(self.direction(packet));
        // The same number again is a retransmission.
        lane.is_some_and(|lane| !lane.is_first(first))
    }

    fn segment(
        &mut self,
        packet: &Carried<'_>,
        tcp: Tcp,
        at: Nanos,
        mode: Mode,
        counts: &mut FlowCounts,
        out: &mut Queue,
    ) {
        let dir = self.direction(packet);
        let mut seq = tcp.seq;
        if tcp.syn {
            seq = seq.wrapping_add(1);
            self.lane(dir).begins(seq);
        }
        if let Some(ack) = tcp.ack {
            let speaks = !packet.bytes.is_empty();
            self.pieces(dir ^ 1, mode, counts, out, |lane, put| lane.acknowledged(ack, speaks, at, put));
        }
        if tcp.rst {
            if self.lane(dir).could_be(seq) {
                self.reset.get_or_insert((at, dir));
            } else {
                counts.strays += 1;
            }
            return;
        }
        // Who goes on speaking has not sent it.
        self.reset = self.reset.filter(|(_, sender)| *sender != dir || packet.bytes.is_empty());
        if packet.bytes.is_empty() && packet.missing == 0 && !tcp.fin {
            // Says where the stream stands, unless it is a probe for life (one before it).
            self.lane(dir).begins(seq);
            return;
        }
        let segment = Segment { seq, bytes: packet.bytes, missing: packet.missing, fin: tcp.fin, at };
        let mut own = true;
        self.pieces(dir, mode, counts, out, |lane, put| own = lane.segment(segment, put));
        counts.strays += u64::from(!own);
        if self.reset.is_none() && self.lanes.iter().all(Lane::has_ended) {
            self.finish(reason::FIN, at, mode, counts, out);
        }
    }

    fn lane(&mut self, dir: usize) -> &mut Lane {
        let [ingress, egress] = &mut self.lanes;
        if dir == INGRESS { ingress } else { egress }
    }

    /// What `step` puts out of the stream of `dir` goes through the cutter.
    fn pieces(
        &mut self,
        dir: usize,
        mode: Mode,
        counts: &mut FlowCounts,
        out: &mut Queue,
        step: impl FnOnce(&mut Lane, &mut dyn FnMut(Piece<'_>)),
    ) {
        let Self { conn, lanes: [ingress, egress], cutters: [received, sent], dice, .. } = self;
        let (lane, cutter, other) = if dir == INGRESS { (ingress, received, sent) } else { (egress, sent, received) };
        step(lane, &mut |piece| {
            if other.holds() {
                other.flush(&mut Way { conn, dir: dir ^ 1, out }, 0);
            }
            let mut way = Way { conn, dir, out };
            match piece {
                Piece::Bytes(bytes, at) => cutter.bytes(mode, dice, &mut way, bytes, at),
                Piece::Lost(bytes, at) => {
                    counts.gaps += 1;
                    counts.gap_bytes += bytes;
                    cutter.lost(&mut way, bytes, at);
                }
                Piece::End(at) => {
                    if cutter.holds() {
                        cutter.flush(&mut way, 0);
                    }
                    conn.end(dir, at, out);
                }
            }
        });
    }

    fn give_up(&mut self, at: Nanos, mode: Mode, counts: &mut FlowCounts, out: &mut Queue) {
        for dir in [INGRESS, EGRESS] {
            self.pieces(dir, mode, counts, out, |lane, put| lane.give_up(at, put));
        }
    }

    /// What is held back goes out.
    fn flush(&mut self, out: &mut Queue) {
        let Self { conn, cutters, .. } = self;
        for (dir, cutter) in cutters.iter_mut().enumerate() {
            if cutter.holds() {
                cutter.flush(&mut Way { conn, dir, out }, 0);
            }
        }
    }

    /// A RST that nothing spoke against closes the connection.
    fn settle_reset(&mut self, mode: Mode, counts: &mut FlowCounts, out: &mut Queue) {
        if let Some((at, dir)) = self.reset.take() {
            let why = if dir == INGRESS { reason::RESET } else { reason::ABORT };
            self.finish(why, at, mode, counts, out);
        }
    }

    fn finish(&mut self, why: u8, at: Nanos, mode: Mode, counts: &mut FlowCounts, out: &mut Queue) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.give_up(at, mode, counts, out);
        self.flush(out);
        self.conn.close(why, at, out);
    }
}
