//! The records that the kernel programs would have made of a connection: numbered turns, offsets of both directions, chunks.
//!
//! Local is the end that was connected to, so that the records read as the server's; ingress is what it received.
//!
//! Absent: processes, and the capture budget (a capture holds what it holds).

use redtap_stages::abi::{self, EventHeader, flag, kind};
use redtap_stages::time::Nanos;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Ingress and egress, as the ABI numbers them.
pub const INGRESS: usize = 0;
/// See [`INGRESS`].
pub const EGRESS: usize = 1;

/// Records that wait to be read.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: VecDeque<u8>,
    lengths: VecDeque<usize>,
}

impl Queue {
    /// Appends the oldest record to `memory`; false if there is none.
    pub fn pop(&mut self, memory: &mut Vec<u8>) -> bool {
        let Some(length) = self.lengths.pop_front() else { return false };
        memory.extend(self.bytes.drain(..length));
        true
    }

    fn push(&mut self, header: &EventHeader, payload: &[u8]) {
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(payload);
        self.lengths.push_back(abi::HEADER_LEN + payload.len());
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A stream.
    Tcp = 1,
    /// Datagrams.
    Udp = 2,
}

/// How a connection is known to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// It was connected to `local`, and all of it is in the capture.
    Seen,
    /// In its middle, for all that is known.
    Late,
    /// Datagrams have none.
    None,
}

/// A connection as its records tell of it.
#[derive(Debug)]
pub struct Conn {
    header: EventHeader,
    /// Number and direction of the turn it is in.
    turn: Option<(u32, usize)>,
    offsets: [u64; 2],
    times: [Nanos; 2],
    late: bool,
    heard: bool,
    /// It is one that a probe captures in full, whatever the budget.
    full: bool,
}

impl Conn {
    /// Connection number `id`, of which nothing was said yet.
    pub fn new(id: u64, transport: Transport, local: SocketAddr, remote: SocketAddr, beginning: Beginning) -> Self {
        const AF_INET: u8 = 2;
        const AF_INET6: u8 = 10;
        const SERVER: u8 = 2;
        let mut header = EventHeader::new_zeroed();
        header.version = abi::VERSION;
        header.conn_id = id;
        header.transport = transport as u8;
        header.role = if beginning == Beginning::Seen { SERVER } else { 0 };
        header.family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
        (header.laddr, header.lport) = (address(local.ip()), local.port());
        (header.raddr, header.rport) = (address(remote.ip()), remote.port());
        Self {
            header,
            turn: None,
            offsets: [0; 2],
            times: [Nanos::ZERO; 2],
            late: beginning == Beginning::Late,
            heard: false,
            full: false,
        }
    }

    /// True if a probe captures it in full: it begins with the preface of HTTP/2 (RFC 9113, section 3.4), whose header blocks are
    /// state. `bytes` are the next of one direction.
    pub fn is_full(&mut self, bytes: &[u8]) -> bool {
        self.full |= !self.heard && bytes.starts_with(b"PRI * HTTP/2.0\r\n");
        self.full
    }

    /// True if data of `dir` would begin a turn.
    pub fn begins_turn(&self, dir: usize) -> bool {
        self.turn.is_none_or(|(_, turned)| turned != dir)
    }

    /// One operation moved `bytes`, and `missing` more behind them that nobody has.
    pub fn data(&mut self, dir: usize, bytes: &[u8], missing: u64, at: Nanos, out: &mut Queue) {
        if bytes.is_empty() && missing == 0 {
            return;
        }
        let begins = self.enter(dir, false);
        let at = self.in_order(at);
        let mut chunks = bytes.chunks(abi::MAX_CHUNK).peekable();
        let mut flags = if begins { flag::TURN_START } else { 0 };
        let mut left = missing;
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let more = chunks.peek().is_some();
            // A record says how much moved in 32 bits.
            let room = u32::MAX as usize - chunk.len();
            let gap = if more { 0 } else { left.min(room as u64) };
            left -= gap;
            let mut header = self.header(kind::DATA, dir, at);
            header.cap_len = chunk.len() as u32;
            header.len = (chunk.len() as u64 + gap) as u32;
            header.flags |= flags | if more { flag::MORE } else { 0 } | if gap > 0 { flag::CUT } else { 0 };
            self.put(&header, chunk, out);
            self.offset(dir, header.len.into());
            flags = 0;
            if !more && left == 0 {
                break;
            }
        }
        self.moved(dir, at);
    }

    /// A datagram: `bytes`, and `missing` more behind them.
    pub fn datagram(&mut self, dir: usize, bytes: &[u8], missing: u64, at: Nanos, out: &mut Queue) {
        self.enter(dir, true);
        let mut header = self.header(kind::DATA, dir, at);
        let captured = bytes.get(..abi::MAX_CHUNK).unwrap_or(bytes);
        header.cap_len = captured.len() as u32;
        header.len = u32::try_from(bytes.len() as u64 + missing).unwrap_or(u32::MAX);
        header.flags |= flag::TURN_START | if header.len > header.cap_len { flag::CUT } else { 0 };
        self.put(&header, captured, out);
        self.offset(dir, header.len.into());
        self.moved(dir, at);
    }

    /// `dir` has ended.
    pub fn end(&mut self, dir: usize, at: Nanos, out: &mut Queue) {
        if self.heard {
            let header = self.header(kind::EOF, dir, self.in_order(at));
            self.put(&header, &[], out);
        }
    }

    /// The connection is over, for a reason of [`abi::reason`].
    pub fn close(&mut self, reason: u8, at: Nanos, out: &mut Queue) {
        if let Some((_, dir)) = self.turn {
            let mut header = self.header(kind::CLOSE, dir, self.in_order(at));
            header.detail = reason;
            self.put(&header, &[], out);
        }
    }

    /// Moves to the turn that an operation in `dir` belongs to; true when it begins one.
    fn enter(&mut self, dir: usize, datagram: bool) -> bool {
        let next = match self.turn {
            None => 0,
            Some((number, turned)) if datagram || turned != dir => number.wrapping_add(1),
            Some(_) => return false,
        };
        self.turn = Some((next, dir));
        true
    }

    fn header(&self, kind: u8, dir: usize, at: Nanos) -> EventHeader {
        let mut header = self.header;
        let [ingress, egress] = self.offsets;
        let [received, sent] = self.times;
        let (own, other, other_at) = if dir == INGRESS { (ingress, egress, sent) } else { (egress, ingress, received) };
        header.kind = kind;
        header.dir = dir as u8;
        header.ts_ns = at.0;
        (header.offset, header.other_offset, header.other_ts_ns) = (own, other, other_at.0);
        header.turn = self.turn.map_or(0, |(number, _)| number);
        header.flags = if self.late { flag::LATE } else { 0 } | if self.heard { 0 } else { flag::FIRST };
        header
    }

    fn put(&mut self, header: &EventHeader, payload: &[u8], out: &mut Queue) {
        out.push(header, payload);
        self.heard = true;
    }

    fn offset(&mut self, dir: usize, moved: u64) {
        if let Some(offset) = self.offsets.get_mut(dir) {
            *offset += moved;
        }
    }

    fn moved(&mut self, dir: usize, at: Nanos) {
        if let Some(time) = self.times.get_mut(dir) {
            *time = at;
        }
    }

    /// On a connection time does not go back, whatever the capture's clock did.
    fn in_order(&self, at: Nanos) -> Nanos {
        let [received, sent] = self.times;
        at.max(received).max(sent)
    }
}

fn address(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}
