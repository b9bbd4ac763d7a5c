//! Segments as decode makes them, out of what two ends say: for the tests of identify and parse.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use redtap_stages::flow::conn::{
    About, Address, CloseReason, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What,
};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::message::{Message, MessageBatch, Part};
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::protocols::Protocol;
use redtap_stages::time::Nanos;
use std::sync::Arc;

pub(crate) type Bytes = Vec<u8>;

/// One connection's traffic, gathered into batches.
pub(crate) struct Traffic {
    pub(crate) conn: ConnKey,
    pub(crate) info: ConnInfo,
    memory: Bytes,
    items: Vec<About<Segment>>,
    offsets: [u64; 2],
    turn: u32,
    speaker: Option<Direction>,
    pub(crate) clock: u64,
    pub(crate) protocol: Protocol,
}

impl Traffic {
    /// An opened connection on slot `slot`.
    pub(crate) fn open(slot: u32, role: Role) -> Self {
        Self::of(slot, ConnInfo { role, ..info(u64::from(slot) + 1) })
    }

    pub(crate) fn of(slot: u32, info: ConnInfo) -> Self {
        let conn = ConnKey { slot, generation: 1 };
        let opened = About { conn, at: Nanos(0), what: What::Opened(Arc::new(info.clone())) };
        Self {
            conn,
            info,
            memory: Vec::new(),
            items: vec![opened],
            offsets: [0; 2],
            turn: 0,
            speaker: None,
            clock: 0,
            protocol: Protocol::Unknown,
        }
    }

    /// Captured bytes, then uncaptured ones.
    pub(crate) fn say(&mut self, direction: Direction, bytes: &[u8], gap: u64) -> &mut Self {
        let turn_start = self.speaker != Some(direction) || self.info.transport.is_datagram();
        if turn_start && self.speaker.is_some() {
            self.turn += 1;
        }
        self.speaker = Some(direction);
        let start = u32::try_from(self.memory.len()).unwrap();
        self.memory.extend_from_slice(bytes);
        let segment = Segment {
            direction,
            offset: self.offsets[direction.index()],
            captured: Span { start, len: u32::try_from(bytes.len()).unwrap() },
            gap,
            turn_start,
            turn: self.turn,
            tid: 0,
            end: false,
            protocol: self.protocol,
        };
        self.offsets[direction.index()] += bytes.len() as u64 + gap;
        self.push(What::Item(segment))
    }

    /// Bytes that moved in turns that were missed: in no turn that is known.
    pub(crate) fn unseen(&mut self, direction: Direction, gap: u64) -> &mut Self {
        let speaker = self.speaker.replace(direction);
        self.say(direction, &[], gap);
        self.speaker = speaker;
        self
    }

    pub(crate) fn end(&mut self, direction: Direction) -> &mut Self {
        self.say(direction, &[], 0);
        if let Some(About { what: What::Item(segment), .. }) = self.items.last_mut() {
            segment.end = true;
        }
        self
    }

    pub(crate) fn missed(&mut self, requests: u32, responses: u32) -> &mut Self {
        self.turn += requests + responses;
        self.speaker = None;
        self.push(What::Missed { requests, responses })
    }

    pub(crate) fn close(&mut self) -> &mut Self {
        self.push(What::Closed(CloseReason::Fin))
    }

    pub(crate) fn push(&mut self, what: What<Segment>) -> &mut Self {
        self.clock += 1000;
        self.items.push(About { conn: self.conn, at: Nanos(self.clock), what });
        self
    }

    /// What was said since the last batch.
    pub(crate) fn batch(&mut self) -> SegmentBatch<Bytes> {
        SegmentBatch {
            memory: Some(std::mem::take(&mut self.memory)),
            items: std::mem::take(&mut self.items),
            verdicts: Vec::new(),
        }
    }
}

/// A TCP connection between two ports that mean nothing.
pub(crate) fn info(id: u64) -> ConnInfo {
    let host = std::net::IpAddr::from([10, 0, 0, 1]);
    ConnInfo {
        id,
        transport: Transport::Tcp,
        role: Role::Client,
        local: Address::Inet(host, 40_000),
        remote: Address::Inet(host, 41_000),
        owner: Owner::default(),
        netns: 0,
        sock_ino: 0,
        late: false,
        sampling: 0,
    }
}

/// The messages of a batch.
pub(crate) fn messages(batch: &MessageBatch) -> Vec<Message> {
    let item = |about: &About<Message>| match &about.what {
        What::Item(message) => Some(message.clone()),
        _ => None,
    };
    batch.items.iter().filter_map(item).collect()
}

/// Messages without times, each end folded into its head: what must not depend on how bytes were cut.
pub(crate) fn folded(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::new();
    for message in messages {
        if message.part == Part::End {
            let head = out
                .iter_mut()
                .find(|m| m.part == Part::Head && m.direction == message.direction && m.kind == message.kind)
                .expect("an end follows its head");
            (head.part, head.bytes) = (Part::Whole, message.bytes);
            head.cut |= message.cut;
        } else {
            out.push(Message { start: Nanos::ZERO, end: Nanos::ZERO, ..message.clone() });
        }
    }
    out
}

/// `METHOD target`, `code`, in order.
pub(crate) fn said(messages: &[Message]) -> Vec<String> {
    folded(messages).iter().map(|m| format!("{} {}{}", m.method, m.target, m.code).trim().to_owned()).collect()
}

/// The records of a recording: direction seen from the client, bytes.
pub(crate) fn recording(mut file: &[u8]) -> Vec<(Direction, Bytes)> {
    let mut records = Vec::new();
    while let Some((head, rest)) = file.split_at_checked(5) {
        let direction = if head[0] == b'>' { Direction::Egress } else { Direction::Ingress };
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (bytes, rest) = rest.split_at(len);
        records.push((direction, bytes.to_vec()));
        file = rest;
    }
    records
}
