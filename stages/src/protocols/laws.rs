//! The laws that every protocol keeps, as tests that a protocol feeds with its fixtures. Test code only.
//!
//! A [`Conversation`] is what a recording holds: turns of bytes. [`Drive`] hands them to a [`Wire`] the way the parse
//! stage does: it carries what is unfinished, turns a gap after unfinished bytes into `lost`, and skips a lost direction up
//! to its next turn. On top of it:
//!
//! - [`keeps_prefixes`]: every prefix gives a prefix of the messages, never a refusal.
//! - [`keeps_splits`]: wherever the bytes are cut, the same messages come out.
//! - [`keeps_gaps`]: whatever is missing, nothing panics, and the next clean conversation is read as ever.
//! - [`keeps_hostile`]: random and mutated bytes never panic, never loop.
//! - [`keeps_probe`]: an answer of `probe` other than `NeedMore` is final.

use super::{Context, Input, Probe, ProbeContext, Sink, Step, Wire};
use crate::flow::conn::{Direction, Role, Transport};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::limits::PARSE_BUFFER;
use crate::text::Token;
use crate::time::Nanos;
use std::num::NonZeroU64;

/// Turns of bytes between a client (who is watched: its bytes are `Egress`) and a server.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    /// Who spoke, and what.
    pub(crate) turns: Vec<(Direction, Vec<u8>)>,
    /// What carried it. On datagrams each entry of `turns` is one datagram, and is never split.
    pub(crate) transport: Transport,
}

impl Conversation {
    /// From pairs; two in a row of one direction are two inputs of one turn.
    pub(crate) fn of(turns: &[(Direction, &[u8])]) -> Self {
        let turns = turns.iter().map(|(direction, bytes)| (*direction, bytes.to_vec())).collect();
        Self { turns, transport: Transport::Tcp }
    }

    /// From a recording: records of one byte `>` (client to server) or `<`, four bytes big-endian length, the bytes.
    pub(crate) fn read(mut file: &[u8], transport: Transport) -> Self {
        let mut turns = Vec::new();
        while let Some((head, rest)) = file.split_at_checked(5) {
            let direction = if head[0] == b'>' { Direction::Egress } else { Direction::Ingress };
            let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let (bytes, rest) = rest.split_at_checked(len).expect("a whole recording");
            turns.push((direction, bytes.to_vec()));
            file = rest;
        }
        assert!(!turns.is_empty(), "an empty recording");
        Self { turns, transport }
    }

    fn starts_turn(&self, index: usize) -> bool {
        self.transport.is_datagram() || index == 0 || self.turns[index - 1].0 != self.turns[index].0
    }
}

#[derive(Default)]
struct Lane {
    carry: Vec<u8>,
    wanted: usize,
    start: Option<Nanos>,
    lost: bool,
}

/// Collects messages.
#[derive(Default)]
pub(crate) struct Collected(pub(crate) Vec<Message>);

impl Sink for Collected {
    fn message(&mut self, message: Message) {
        self.0.push(message);
    }
}

/// Hands bytes to a protocol as the parse stage does.
pub(crate) struct Drive<W: Wire> {
    /// The protocol's state.
    pub(crate) state: W::State,
    /// What came out.
    pub(crate) out: Collected,
    /// Times a direction was malformed or lost.
    pub(crate) refusals: usize,
    lanes: [Lane; 2],
    role: Role,
    transport: Transport,
    clock: u64,
    handed_over: bool,
}

impl<W: Wire> Drive<W> {
    /// A new connection, seen from the client.
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            state: W::State::default(),
            out: Collected::default(),
            refusals: 0,
            lanes: Default::default(),
            role: Role::Client,
            transport,
            clock: 0,
            handed_over: false,
        }
    }

    /// A whole conversation, one input an entry.
    pub(crate) fn conversation(mut self, conversation: &Conversation) -> Self {
        self.converse(conversation);
        self
    }

    /// A whole conversation on a connection already in use.
    pub(crate) fn converse(&mut self, conversation: &Conversation) {
        for (index, (direction, bytes)) in conversation.turns.iter().enumerate() {
            if conversation.starts_turn(index) {
                self.turn(*direction);
            }
            self.bytes(*direction, bytes);
        }
    }

    /// A turn begins.
    pub(crate) fn turn(&mut self, direction: Direction) {
        let context = self.context(direction);
        if !self.handed_over {
            self.lanes[direction.index()].lost = false;
            W::turn(&mut self.state, context, &mut self.out);
        }
    }

    /// Bytes move.
    pub(crate) fn bytes(&mut self, direction: Direction, bytes: &[u8]) {
        self.clock += 1000;
        let now = Nanos(self.clock);
        let mut lane = std::mem::take(&mut self.lanes[direction.index()]);
        lane.carry.extend_from_slice(bytes);
        lane.start.get_or_insert(now);
        let budget = lane.carry.len() + 1;
        let mut calls = 0;
        while !lane.lost && !self.handed_over && !lane.carry.is_empty() && lane.carry.len() >= lane.wanted {
            calls += 1;
            assert!(calls <= budget, "the parser loops");
            let context = Context { start: lane.start.unwrap_or(now), ..self.context(direction) };
            match W::parse(&mut self.state, context, Input::Bytes(&lane.carry), &mut self.out) {
                Step::Consumed(n) => {
                    let n = usize::try_from(n.get()).unwrap();
                    assert!(n <= lane.carry.len(), "consumed {n} of {}", lane.carry.len());
                    lane.carry.drain(..n);
                    lane.wanted = 0;
                    lane.start = Some(now);
                }
                Step::NeedMore(n) => {
                    lane.wanted = lane.carry.len().saturating_add(usize::try_from(n.get()).unwrap());
                    if lane.carry.len() > PARSE_BUFFER || self.transport.is_datagram() {
                        self.lose(direction, &mut lane);
                    }
                }
                Step::Malformed(_) | Step::Lost => self.lose(direction, &mut lane),
                Step::HandOver(_) => self.handed_over = true,
            }
        }
        if lane.lost || lane.carry.is_empty() {
            lane = Lane { lost: lane.lost, ..Lane::default() };
        }
        self.lanes[direction.index()] = lane;
    }

    /// Bytes move unseen.
    pub(crate) fn gap(&mut self, direction: Direction, len: u64) {
        self.clock += 1000;
        let mut lane = std::mem::take(&mut self.lanes[direction.index()]);
        let mut left = len;
        if !lane.lost && !lane.carry.is_empty() && left > 0 {
            self.lose(direction, &mut lane);
        }
        while let Some(gap) = NonZeroU64::new(left) {
            if lane.lost || self.handed_over {
                break;
            }
            let context = self.context(direction);
            match W::parse(&mut self.state, context, Input::Gap(gap), &mut self.out) {
                Step::Consumed(n) => {
                    assert!(n.get() <= left, "consumed {n} of a gap of {left}");
                    left -= n.get();
                }
                Step::HandOver(_) => self.handed_over = true,
                Step::NeedMore(_) | Step::Malformed(_) | Step::Lost => self.lose(direction, &mut lane),
            }
        }
        self.lanes[direction.index()] = lane;
    }

    /// A direction has ended.
    pub(crate) fn end(&mut self, direction: Direction) {
        let context = self.context(direction);
        if !self.handed_over {
            W::end(&mut self.state, context, &mut self.out);
        }
    }

    /// Turns went by unseen.
    pub(crate) fn missed(&mut self, direction: Direction) {
        let context = self.context(direction);
        if !self.handed_over {
            W::missed(&mut self.state, context, &mut self.out);
        }
        self.lanes[direction.index()] = Lane { lost: true, ..Lane::default() };
    }

    fn lose(&mut self, direction: Direction, lane: &mut Lane) {
        let context = self.context(direction);
        W::lost(&mut self.state, context, &mut self.out);
        self.refusals += 1;
        *lane = Lane { lost: true, ..Lane::default() };
    }

    fn context(&self, direction: Direction) -> Context {
        let now = Nanos(self.clock);
        Context { direction, role: self.role, transport: self.transport, start: now, at: now }
    }
}

/// The messages with each `End` folded into its `Head`, and without times: what must not depend on how bytes were cut.
pub(crate) fn folded(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::new();
    for message in messages {
        if message.part == Part::End {
            let head = out
                .iter_mut()
                .rfind(|m| {
                    m.part == Part::Head && (m.direction, m.kind, m.id) == (message.direction, message.kind, message.id)
                })
                .expect("an end follows its head");
            if message.kind == MessageKind::Response && message.protocol != head.protocol {
                (head.protocol, head.status, head.code) = (message.protocol, Status::Unknown, Token::new());
            }
            if message.status != Status::Unknown {
                (head.status, head.code) = (message.status, message.code.clone());
            }
            (head.messages, head.aborted) = (message.messages, message.aborted);
            head.part = Part::Whole;
            head.bytes = message.bytes;
            head.cut |= message.cut;
        } else {
            out.push(Message { start: Nanos::ZERO, end: Nanos::ZERO, ..message.clone() });
        }
    }
    out
}

fn read<W: Wire>(conversation: &Conversation) -> Vec<Message> {
    let drive = Drive::<W>::new(conversation.transport).conversation(conversation);
    assert_eq!(drive.refusals, 0, "a clean conversation is read without loss");
    folded(&drive.out.0)
}

/// Every prefix of the conversation gives a prefix of its messages (the last perhaps without its end), and no refusal.
pub(crate) fn keeps_prefixes<W: Wire>(conversation: &Conversation) {
    let whole = read::<W>(conversation);
    if conversation.transport.is_datagram() {
        return prefixes_of_datagrams::<W>(conversation);
    }
    for (index, (direction, bytes)) in conversation.turns.iter().enumerate() {
        for cut in sampled(bytes.len()) {
            let mut drive = Drive::<W>::new(conversation.transport);
            let before = Conversation { turns: conversation.turns[..index].to_vec(), ..conversation.clone() };
            drive.converse(&before);
            if conversation.starts_turn(index) {
                drive.turn(*direction);
            }
            drive.bytes(*direction, &bytes[..cut]);
            assert_eq!(drive.refusals, 0, "entry {index}, prefix of {cut}: refused");
            let got = folded(&drive.out.0);
            assert!(got.len() <= whole.len(), "entry {index}, prefix of {cut}: more messages than the whole");
            for (got, whole) in got.iter().zip(&whole) {
                let same = if got.part == Part::Head {
                    // How it went may be known with its end only.
                    (got.kind, &got.method, &got.target) == (whole.kind, &whole.method, &whole.target)
                        && (got.status == whole.status || got.status == Status::Unknown)
                } else {
                    got == whole
                };
                assert!(same, "entry {index}, prefix of {cut}: {got:?} is not {whole:?}");
            }
        }
    }
}

fn prefixes_of_datagrams<W: Wire>(conversation: &Conversation) {
    for (direction, bytes) in &conversation.turns {
        for cut in 1..bytes.len() {
            let mut drive = Drive::<W>::new(conversation.transport);
            drive.turn(*direction);
            drive.bytes(*direction, &bytes[..cut]);
            drive.gap(*direction, (bytes.len() - cut) as u64);
            drive.turn(*direction);
            drive.bytes(*direction, bytes);
            let got = folded(&drive.out.0);
            let mut whole = Drive::<W>::new(conversation.transport);
            whole.turn(*direction);
            whole.bytes(*direction, bytes);
            assert_eq!(got.last(), folded(&whole.out.0).last(), "prefix of {cut}: the next datagram is read");
        }
    }
}

/// Every cut of every input, all of them byte by byte, and some random cuts give the same messages.
pub(crate) fn keeps_splits<W: Wire>(conversation: &Conversation) {
    if conversation.transport.is_datagram() {
        return;
    }
    let whole = read::<W>(conversation);
    for index in 0..conversation.turns.len() {
        for cut in sampled(conversation.turns[index].1.len()) {
            check_split::<W>(conversation, &whole, |at| if at == index { vec![cut] } else { Vec::new() });
        }
    }
    check_split::<W>(conversation, &whole, |at| (1..conversation.turns[at].1.len()).collect());
    let mut random = Random(7);
    for _ in 0..64 {
        check_split::<W>(conversation, &whole, |at| {
            let len = conversation.turns[at].1.len();
            let mut cuts: Vec<usize> = (0..random.below(6)).map(|_| random.below(len + 1)).collect();
            cuts.sort_unstable();
            cuts
        });
    }
}

fn check_split<W: Wire>(conversation: &Conversation, whole: &[Message], mut cuts: impl FnMut(usize) -> Vec<usize>) {
    let mut drive = Drive::<W>::new(conversation.transport);
    for (index, (direction, bytes)) in conversation.turns.iter().enumerate() {
        if conversation.starts_turn(index) {
            drive.turn(*direction);
        }
        let cuts = cuts(index);
        let mut from = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            if cut > from {
                drive.bytes(*direction, &bytes[from..cut]);
                from = cut;
            }
        }
        assert_eq!(drive.refusals, 0, "entry {index} cut at {cuts:?}: refused");
    }
    assert_eq!(folded(&drive.out.0), whole, "cut somewhere, the messages differ");
}

/// Gaps of sampled lengths at sampled places never panic. If `resyncs`, the same conversation held again, whole, on
/// the same connection gives its messages as ever (leave that out where the gap may swallow a lasting change of state).
pub(crate) fn keeps_gaps<W: Wire>(conversation: &Conversation, resyncs: bool) {
    let whole = read::<W>(conversation);
    for (index, (_, bytes)) in conversation.turns.iter().enumerate() {
        for from in sampled(bytes.len()) {
            for len in [1, 2, 7, 64, 1000, bytes.len()] {
                let mut drive = Drive::<W>::new(conversation.transport);
                converse_with_gap(&mut drive, conversation, index, from..(from + len).min(bytes.len()));
                if resyncs {
                    drive.converse(conversation);
                    let got = folded(&drive.out.0);
                    let tail = &got[got.len().saturating_sub(whole.len())..];
                    assert_eq!(tail, whole, "entry {index}, gap of {len} at {from}: out of step afterwards");
                }
                drive.end(Direction::Egress);
                drive.end(Direction::Ingress);
            }
        }
    }
}

/// Hands over a conversation of which `range` of entry `index` is missing.
pub(crate) fn converse_with_gap<W: Wire>(
    drive: &mut Drive<W>,
    conversation: &Conversation,
    index: usize,
    range: std::ops::Range<usize>,
) {
    for (at, (direction, bytes)) in conversation.turns.iter().enumerate() {
        if conversation.starts_turn(at) {
            drive.turn(*direction);
        }
        if at == index {
            if range.start > 0 {
                drive.bytes(*direction, &bytes[..range.start]);
            }
            drive.gap(*direction, range.len() as u64);
            if range.end < bytes.len() {
                drive.bytes(*direction, &bytes[range.end..]);
            }
        } else {
            drive.bytes(*direction, bytes);
        }
    }
}

/// Random bytes, and the conversation with bytes changed, in random pieces, with gaps and ends between them.
pub(crate) fn keeps_hostile<W: Wire>(conversation: &Conversation, rounds: usize) {
    let mut random = Random(0x9e37_79b9);
    for round in 0..rounds {
        let mut drive = Drive::<W>::new(conversation.transport);
        for (direction, bytes) in &conversation.turns {
            let mut bytes = bytes.clone();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.byte(round);
                }
            }
            if random.below(8) == 0 {
                bytes = (0..random.below(200)).map(|_| random.byte(round)).collect();
            }
            feed_hostile(&mut drive, &mut random, *direction, &bytes);
        }
        drive.end(Direction::Egress);
        drive.end(Direction::Ingress);
        let bound = conversation.turns.iter().map(|(_, bytes)| bytes.len().max(200)).sum::<usize>() * 4 + 64;
        assert!(drive.out.0.len() <= bound, "{} messages out of at most {bound} bytes", drive.out.0.len());
    }
}

fn feed_hostile<W: Wire>(drive: &mut Drive<W>, random: &mut Random, direction: Direction, bytes: &[u8]) {
    if random.below(4) != 0 {
        drive.turn(direction);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + random.below(rest.len()));
        match random.below(12) {
            0 => drive.gap(direction, random.next() >> random.below(64)),
            1 => drive.missed(direction),
            _ => drive.bytes(direction, piece),
        }
        rest = after;
    }
}

/// `probe` never takes back an answer as a prefix grows, and says `wanted` of the whole.
pub(crate) fn keeps_probe<W: Wire>(prefix: &[u8], context: ProbeContext, wanted: Probe) {
    let mut settled = None;
    for len in 1..=prefix.len() {
        let answer = W::probe(&prefix[..len], context);
        if let Some((at, before)) = settled {
            assert_eq!(answer, before, "answer at {at} taken back at {len}");
        } else if answer != Probe::NeedMore {
            settled = Some((len, answer));
        }
    }
    assert_eq!(W::probe(prefix, context), wanted);
}

/// All of `0..len`, or some hundred of them spread out where that is more.
fn sampled(len: usize) -> impl Iterator<Item = usize> {
    let step = len / 150 + 1;
    (0..len).filter(move |at| *at < 60 || at % step == 0 || at + 40 > len)
}

/// xorshift: the same hostile bytes on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `n`; 0 for 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    fn byte(&mut self, round: usize) -> u8 {
        let palette = b"\r\n*$:+-_>|~%#,(!=;.?0123456789 \0\xff\xc0GETPOST/HTTP1.";
        if round.is_multiple_of(2) { palette[self.below(palette.len())] } else { self.next() as u8 }
    }
}
