//! One side of a conversation, packet by packet.

use super::super::*;
use bytes::BytesMut;
use mysql_common::io::ParseBuf;
use mysql_common::proto::MyDeserialize;
use mysql_common::proto::codec::{ChunkDecoder, ChunkInfo, CompDecoder};

/// Why a conversation is not taken.
pub(super) type Refusal = Box<dyn std::error::Error>;

/// One side's bytes.
#[derive(Default)]
pub(super) struct Side {
    /// In frames; empty where there are none.
    framed: BytesMut,
    plain: BytesMut,
}

/// A payload.
pub(super) struct Packet {
    pub(super) payload: Vec<u8>,
    /// Sequence ids of its first and last packet.
    pub(super) seq: (u8, u8),
    /// With headers.
    pub(super) bytes: u64,
}

impl Side {
    pub(super) fn of(conversation: &Conversation, side: Direction) -> Self {
        let mut plain = BytesMut::new();
        for (_, bytes) in conversation.turns.iter().filter(|(direction, _)| *direction == side) {
            plain.extend_from_slice(bytes);
        }
        Self { framed: BytesMut::new(), plain }
    }

    pub(super) fn is_over(&self) -> bool {
        self.framed.is_empty() && self.plain.is_empty()
    }

    /// What follows is in frames.
    pub(super) fn frame(&mut self) {
        self.framed = std::mem::take(&mut self.plain);
    }

    pub(super) fn packet(&mut self) -> Result<Packet, Refusal> {
        let mut decoder = ChunkDecoder::default();
        let (mut payload, mut first, mut headers) = (Vec::new(), None, 0);
        loop {
            let Some(chunk) = decoder.decode(&mut self.plain, &mut payload, usize::MAX)? else {
                let frame = CompDecoder::Idle.decode(&mut self.framed, &mut self.plain, usize::MAX)?;
                frame.ok_or("the end is missing")?;
                continue;
            };
            headers += 4;
            let (ChunkInfo::Middle(seq) | ChunkInfo::Last(seq)) = chunk;
            let first = *first.get_or_insert(seq);
            if matches!(chunk, ChunkInfo::Last(_)) {
                let bytes = payload.len() as u64 + headers;
                return Ok(Packet { payload, seq: (first, seq), bytes });
            }
        }
    }
}

/// Reads all of `payload`.
pub(super) fn parse<'a, T: MyDeserialize<'a>>(payload: &'a [u8], context: T::Ctx) -> Result<T, Refusal> {
    let mut buffer = ParseBuf(payload);
    let value = buffer.parse(context)?;
    if buffer.is_empty() { Ok(value) } else { Err("bytes are left over".into()) }
}
