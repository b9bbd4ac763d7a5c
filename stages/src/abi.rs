//! What crosses from the kernel programs to user space: the twin of `kernel/bpf/abi.h`.
//!
//! It lives here, and not beside the programs, because `decode` reads it and `stages` depends on nothing above it.
//! Sizes and offsets are pinned on both sides; [`VERSION`] moves when anything here does.
//!
//! Absent: unsafe code, pointers, anything that owns memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the layout, the first byte of every record.
pub const VERSION: u8 = 2;
/// Most shards (rings) that one probe can have.
pub const MAX_SHARDS: usize = 8;
/// Largest payload of one record, bytes; a larger operation is cut into several records.
pub const MAX_CHUNK: usize = 4096;
/// Bytes of [`EventHeader`].
pub const HEADER_LEN: usize = size_of::<EventHeader>();

/// Values of [`EventHeader::kind`].
pub mod kind {
    /// Bytes moved; the payload holds the captured part.
    pub const DATA: u8 = 1;
    /// Made in user space from a dirty slot: offsets and turn moved on, no payload.
    pub const PROGRESS: u8 = 2;
    /// One direction ended.
    pub const EOF: u8 = 3;
    /// The socket is gone.
    pub const CLOSE: u8 = 4;
}

/// Values of [`EventHeader::flags`].
pub mod flag {
    /// First record of a turn.
    pub const TURN_START: u8 = 0x01;
    /// Fewer bytes captured than moved: the budget of the turn is spent.
    pub const CUT: u8 = 0x02;
    /// No user buffer to read (sendfile, splice, `io_uring`, 32-bit task).
    pub const NO_BUFFER: u8 = 0x04;
    /// The user buffer could not be read.
    pub const FAULT: u8 = 0x08;
    /// The socket is older than the probe: offsets count from when it was first seen.
    pub const LATE: u8 = 0x10;
    /// Further records of the same operation follow.
    pub const MORE: u8 = 0x20;
    /// No record of this connection had entered a ring when this one was made.
    pub const FIRST: u8 = 0x40;
}

/// Highest sampling level: of so many connections, two to this power, one is followed.
pub const MAX_SAMPLING: u8 = 4;

/// Values of [`EventHeader::detail`], set with [`kind::CLOSE`].
pub mod reason {
    /// Both sides closed in order.
    pub const FIN: u8 = 1;
    /// RST received.
    pub const RESET: u8 = 2;
    /// Our side aborted: RST sent.
    pub const ABORT: u8 = 3;
    /// The kernel gave up on the peer.
    pub const TIMEOUT: u8 = 4;
    /// The connection was never established.
    pub const REFUSED: u8 = 5;
    /// It goes on, and sampling leaves it out.
    pub const SAMPLED: u8 = 6;
}

/// One record of a ring (`struct rt_event`), followed by `cap_len` bytes of payload. Host byte order, 8-byte aligned
/// in the ring; read unaligned, because a recording need not be.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventHeader {
    /// [`VERSION`].
    pub version: u8,
    /// See [`kind`].
    pub kind: u8,
    /// 0 ingress (the watched process received), 1 egress (it sent).
    pub dir: u8,
    /// 0 unknown, 1 client, 2 server.
    pub role: u8,
    /// 1 TCP, 2 UDP, 3 unix stream, 4 unix datagram.
    pub transport: u8,
    /// `AF_INET` 2, `AF_INET6` 10, `AF_UNIX` 1. v4-mapped IPv6 is written as `AF_INET`.
    pub family: u8,
    /// See [`flag`].
    pub flags: u8,
    /// Of a CLOSE see [`reason`]; of DATA the sampling level that its connection is followed at, at most [`MAX_SAMPLING`].
    pub detail: u8,
    /// Bytes of payload behind this header.
    pub cap_len: u32,
    /// Bytes that the operation (or this chunk of it) moved.
    pub len: u32,
    /// Unique while the probe runs, sequential from 1.
    pub conn_id: u64,
    /// `CLOCK_MONOTONIC` at the end of the operation, ns.
    pub ts_ns: u64,
    /// Stream offset, in `dir`, of the first byte of this record.
    pub offset: u64,
    /// Bytes of the other direction that are settled: in a record, refused, or not captured.
    pub other_offset: u64,
    /// End of the last settled operation in the other direction, ns; 0 if there was none.
    pub other_ts_ns: u64,
    /// Turns of the connection so far that no record begins: refused, or beyond the budget. Those while it is muted do not
    /// count. Wraps.
    pub unseen: u32,
    /// Number of this turn on the connection, from 0.
    pub turn: u32,
    /// Thread group id, in the agent's pid namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Cgroup v2 id: the inode number of its directory.
    pub cgroup_id: u64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Local port, host order.
    pub lport: u16,
    /// Remote port, host order.
    pub rport: u16,
    /// Local address: IPv4 in the first four bytes; unix: inode number in bytes 0..8, hash of the path in 8..16 (0: none).
    pub laddr: [u8; 16],
    /// Remote address, likewise.
    pub raddr: [u8; 16],
    /// Name of the process (of its thread group's leader), NUL padded.
    pub comm: [u8; 16],
    /// Inode number of the socket, as in `/proc/PID/fd`.
    pub sock_ino: u64,
}

const _: () = assert!(size_of::<EventHeader>() == 144);
const _: () = assert!(std::mem::offset_of!(EventHeader, conn_id) == 16);
const _: () = assert!(std::mem::offset_of!(EventHeader, unseen) == 56);
const _: () = assert!(std::mem::offset_of!(EventHeader, cgroup_id) == 72);
const _: () = assert!(std::mem::offset_of!(EventHeader, laddr) == 88);
const _: () = assert!(std::mem::offset_of!(EventHeader, sock_ino) == 136);

/// A shared slot (`struct rt_slot`): what the kernel programs know of a connection when they do not emit a record.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Slot {
    /// Which connection; 0 while the slot changes hands.
    pub conn_id: u64,
    /// Settled bytes, ingress and egress; see [`EventHeader::other_offset`].
    pub offset: [u64; 2],
    /// End of the last settled operation, ns, by direction.
    pub ts_ns: [u64; 2],
    /// `number << 1 | direction` of the turn that the slot was written in.
    pub turn: u64,
    /// As in [`EventHeader::unseen`].
    pub unseen: u32,
    /// `unseen` when a record of the connection last entered the ring.
    pub told: u32,
    /// See [`reason`]; 0 while open.
    pub closed: u8,
    /// As in [`EventHeader::role`].
    pub role: u8,
    /// As in [`EventHeader::transport`].
    pub transport: u8,
    /// Whose ring the connection's records go to.
    pub shard: u8,
    /// 1: no record of the connection has entered a ring.
    pub first: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<Slot>() == 64);

/// What user space asks of the kernel for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capture {
    /// Capture the first bytes of each turn, then only count.
    Head,
    /// Capture everything (header blocks that are state).
    Full,
    /// Nothing of interest: no records but the close.
    Mute,
}

/// One verdict: how to capture a connection from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The connection.
    pub conn_id: u64,
    /// How to capture.
    pub capture: Capture,
    /// Budget of an ingress turn as a power of two of bytes, 0..=16; 0 captures nothing.
    pub ingress_class: u8,
    /// The same for egress.
    pub egress_class: u8,
    /// Which end it is ([`EventHeader::role`]), for where the kernel programs have not seen it begin; 0: not known.
    pub role: u8,
}

impl Verdict {
    /// The word that the kernel programs read: `conn_id << 16 | role << 14 | mode << 12 | ingress << 6 | egress`.
    #[must_use]
    pub fn word(self) -> u64 {
        let mode = match self.capture {
            Capture::Head => 0_u64,
            Capture::Full => 1,
            Capture::Mute => 2,
        };
        (self.conn_id << 16)
            | ((u64::from(self.role) & 3) << 14)
            | (mode << 12)
            | ((u64::from(self.ingress_class) & 0x3f) << 6)
            | (u64::from(self.egress_class) & 0x3f)
    }
}
