//! Recorded conversations of real programs (`stages/tests/fixtures/`) as segments of one connection.
//!
//! A file is one connection: `>` (client to server) or `<`, four bytes big-endian length, the bytes of one read; repeated.

use anyhow::{Context as _, Result, ensure};
use redtap_stages::flow::conn::{
    About, Address, CloseReason, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What,
};
use redtap_stages::flow::event::Span;
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::protocols::Protocol;
use redtap_stages::time::Nanos;
use std::path::Path;
use std::sync::Arc;

/// What the segments of a recording point into.
pub type Memory = Arc<[u8]>;

/// Time between two reads; what it is does not matter.
const STEP: Nanos = Nanos::from_millis(1);

/// One connection, seen from its server.
pub struct Recording {
    memory: Memory,
    segments: Vec<(Nanos, Segment)>,
    info: Arc<ConnInfo>,
}

impl Recording {
    /// Reads `file`, whose protocol and transport are known.
    ///
    /// # Errors
    /// When it cannot be read or is no recording.
    pub fn load(file: &Path, protocol: Protocol, transport: Transport) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut segments: Vec<(Nanos, Segment)> = Vec::new();
        let (mut at, mut offsets, mut turn, mut now) = (0_usize, [0_u64; 2], 0_u32, Nanos::ZERO);
        while let Some(head) = bytes.get(at..at + 5) {
            let direction = if head.first() == Some(&b'>') { Direction::Ingress } else { Direction::Egress };
            let len = head.iter().skip(1).fold(0_u32, |len, byte| len << 8 | u32::from(*byte));
            let before = segments.last().map(|(_, segment)| segment.direction);
            let turn_start = before != Some(direction) || transport.is_datagram();
            turn += u32::from(turn_start && before.is_some());
            now = now + STEP;
            let [ingress, egress] = &mut offsets;
            let offset = if direction == Direction::Ingress { ingress } else { egress };
            let segment = Segment {
                direction,
                offset: *offset,
                captured: Span { start: u32::try_from(at + 5)?, len },
                gap: 0,
                turn_start,
                turn,
                tid: 0,
                end: false,
                protocol,
            };
            *offset += u64::from(len);
            segments.push((now, segment));
            at += 5 + usize::try_from(len)?;
        }
        ensure!(at == bytes.len() && !segments.is_empty(), "{} is no recording", file.display());
        let info = ConnInfo {
            id: 1,
            transport,
            role: Role::Server,
            local: Address::UNKNOWN,
            remote: Address::UNKNOWN,
            owner: Owner::default(),
            netns: 0,
            sock_ino: 0,
            late: false,
            sampling: 0,
        };
        Ok(Self { memory: bytes.into(), segments, info: Arc::new(info) })
    }

    /// Bytes of both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, segment)| u64::from(segment.captured.len)).sum()
    }

    /// Appends the whole connection, as the one numbered `generation`, and gives the time of its end.
    pub fn fill(&self, generation: u32, from: Nanos, batch: &mut SegmentBatch<Memory>) -> Nanos {
        let conn = ConnKey { slot: 0, generation };
        batch.memory = Some(Arc::clone(&self.memory));
        batch.items.push(About { conn, at: from, what: What::Opened(Arc::clone(&self.info)) });
        let items = self.segments.iter();
        batch.items.extend(items.map(|(at, segment)| About { conn, at: from + *at, what: What::Item(*segment) }));
        let end = from + self.segments.last().map_or(Nanos::ZERO, |(at, _)| *at);
        batch.items.push(About { conn, at: end, what: What::Closed(CloseReason::Fin) });
        end
    }
}
