//! One raw record, checked: after this nothing of its layout can surprise.
//!
//! Absent: anything that depends on what came before; that is [`super::turns`].

use super::Reject;
use crate::abi::{self, EventHeader};
use crate::flow::conn::{CloseReason, Direction, Role, Transport};
use crate::flow::event::Span;
use zerocopy::FromBytes;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes moved; the captured ones lie at the span.
    Data(Span),
    /// Offsets and turn moved on unseen.
    Progress,
    /// One direction ended.
    End,
    /// The socket is gone.
    Close(CloseReason),
}

/// A record whose fields are in range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) direction: Direction,
    pub(super) transport: Transport,
    /// As the kernel knows it.
    pub(super) role: Role,
    /// First record of its turn.
    pub(super) begins_turn: bool,
    /// Nothing of its connection can have come before it.
    pub(super) first: bool,
    /// Sampling level; only data tells it.
    pub(super) sampling: Option<u8>,
    /// Stream offset behind the record.
    pub(super) end: u64,
    pub(super) header: EventHeader,
}

impl Record {
    /// Reads the record at `span` of `memory`.
    pub(super) fn read(memory: &[u8], span: Span) -> Result<Self, Reject> {
        let bytes = span.of(memory);
        if *bytes.first().ok_or(Reject::Malformed)? != abi::VERSION {
            return Err(Reject::Version);
        }
        let Ok((header, payload)) = EventHeader::read_from_prefix(bytes) else {
            return Err(Reject::Malformed);
        };
        let captured = usize::try_from(header.cap_len).map_err(|_| Reject::Malformed)?;
        let end = header.offset.checked_add(u64::from(header.len)).ok_or(Reject::Malformed)?;
        let fits = captured <= payload.len() && captured <= abi::MAX_CHUNK && header.cap_len <= header.len;
        let sampling = (header.kind == abi::kind::DATA).then_some(header.detail);
        let fits = fits && sampling.is_none_or(|level| level <= abi::MAX_SAMPLING);
        if !fits || header.conn_id == 0 {
            return Err(Reject::Malformed);
        }
        Ok(Self {
            kind: kind(&header, span)?,
            direction: match header.dir {
                0 => Direction::Ingress,
                1 => Direction::Egress,
                _ => return Err(Reject::Malformed),
            },
            transport: transport(header.transport)?,
            role: match header.role {
                1 => Role::Client,
                2 => Role::Server,
                _ => Role::Unknown,
            },
            begins_turn: header.flags & abi::flag::TURN_START != 0,
            first: header.flags & abi::flag::FIRST != 0
                || (header.turn, header.offset, header.other_offset, header.unseen) == (0, 0, 0, 0),
            sampling,
            end,
            header,
        })
    }
}

fn kind(header: &EventHeader, span: Span) -> Result<Kind, Reject> {
    match header.kind {
        abi::kind::DATA => {
            let head = u32::try_from(abi::HEADER_LEN).map_err(|_| Reject::Malformed)?;
            let start = span.start.checked_add(head).ok_or(Reject::Malformed)?;
            Ok(Kind::Data(Span { start, len: header.cap_len }))
        }
        // These carry no bytes of their own: an offset is where their direction ends.
        _ if header.len != 0 => Err(Reject::Malformed),
        abi::kind::PROGRESS => Ok(Kind::Progress),
        abi::kind::EOF => Ok(Kind::End),
        abi::kind::CLOSE => Ok(Kind::Close(match header.detail {
            abi::reason::RESET => CloseReason::Reset,
            abi::reason::ABORT => CloseReason::Abort,
            abi::reason::TIMEOUT => CloseReason::Timeout,
            abi::reason::REFUSED => CloseReason::Refused,
            abi::reason::SAMPLED => CloseReason::Forgotten,
            _ => CloseReason::Fin,
        })),
        _ => Err(Reject::Kind),
    }
}

fn transport(value: u8) -> Result<Transport, Reject> {
    match value {
        1 => Ok(Transport::Tcp),
        2 => Ok(Transport::Udp),
        3 => Ok(Transport::UnixStream),
        4 => Ok(Transport::UnixDatagram),
        _ => Err(Reject::Malformed),
    }
}
