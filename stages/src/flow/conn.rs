//! Connections as the stages know them: which one, between whom, run by whom.

use crate::time::Nanos;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Which way bytes went, seen from the watched process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It received them.
    Ingress,
    /// It sent them.
    Egress,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// 0 ingress, 1 egress.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Ingress => 0,
            Self::Egress => 1,
        }
    }
}

/// Which end of the connection the watched process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// Not known yet.
    #[default]
    Unknown,
    /// It connected, or asks.
    Client,
    /// It accepted, or answers.
    Server,
}

impl Role {
    /// As in [`crate::abi::EventHeader::role`].
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Client => 1,
            Self::Server => 2,
        }
    }

    /// The direction in which requests travel at this end; `None` while unknown.
    #[must_use]
    pub fn request_direction(self) -> Option<Direction> {
        match self {
            Self::Unknown => None,
            Self::Client => Some(Direction::Egress),
            Self::Server => Some(Direction::Ingress),
        }
    }
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
    /// `AF_UNIX`, `SOCK_STREAM`.
    UnixStream,
    /// `AF_UNIX`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
    UnixDatagram,
}

impl Transport {
    /// True where each operation moves one message and nothing keeps order.
    #[must_use]
    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::UnixDatagram)
    }
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// Internet address and port. Unspecified with port 0 where the kernel could not tell.
    Inet(IpAddr, u16),
    /// Unix socket: its inode number and the hash of its path (0: no path).
    Unix(u64, u64),
}

impl Address {
    /// Not known.
    pub const UNKNOWN: Self = Self::Inet(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    /// The port; 0 for unix sockets.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Inet(_, port) => *port,
            Self::Unix(..) => 0,
        }
    }

    /// The internet address, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(ip, _) => Some(*ip),
            Self::Unix(..) => None,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(IpAddr::V6(ip), port) => write!(f, "[{ip}]:{port}"),
            Self::Inet(ip, port) => write!(f, "{ip}:{port}"),
            Self::Unix(inode, _) => write!(f, "unix:{inode}"),
        }
    }
}

/// Who did the last operation on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// Process (thread group) id in the agent's pid namespace; 0 if not known.
    pub pid: u32,
    /// Cgroup v2 id; 0 if not known.
    pub cgroup_id: u64,
    /// Name of the process, NUL padded.
    pub comm: [u8; 16],
}

impl Owner {
    /// `comm` as text, as far as it is UTF-8.
    #[must_use]
    pub fn name(&self) -> &str {
        let bytes = self.comm.split(|&byte| byte == 0).next().unwrap_or(&[]);
        match std::str::from_utf8(bytes) {
            Ok(name) => name,
            Err(error) => bytes.get(..error.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or(""),
        }
    }
}

/// Which connection: a slot in the tables of the stages, and the generation that tells its tenants apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnKey {
    /// Index into the tables of every stage of the shard; below [`crate::limits::MAX_CONNECTIONS`].
    pub slot: u32,
    /// Moves when the slot gets a new tenant.
    pub generation: u32,
}

/// All that is known of a connection from its events. Replaced as a whole when something becomes known or changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// The kernel's number for it ([`crate::abi::EventHeader::conn_id`]).
    pub id: u64,
    /// What carries it.
    pub transport: Transport,
    /// Which end the watched process is.
    pub role: Role,
    /// The watched process's end.
    pub local: Address,
    /// The other end.
    pub remote: Address,
    /// Who runs it.
    pub owner: Owner,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Inode number of the socket.
    pub sock_ino: u64,
    /// Open before the probe: its beginning was not seen.
    pub late: bool,
    /// The sampling level that it is followed at ([`crate::abi::MAX_SAMPLING`]); 0: all are.
    pub sampling: u8,
}

impl ConnInfo {
    /// Client and server address, when the role is known; else local and remote.
    #[must_use]
    pub fn client_and_server(&self) -> (Address, Address) {
        match self.role {
            Role::Client | Role::Unknown => (self.local, self.remote),
            Role::Server => (self.remote, self.local),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Both sides closed in order.
    Fin,
    /// The peer reset it.
    Reset,
    /// Our side reset it.
    Abort,
    /// The kernel gave up on the peer.
    Timeout,
    /// It was never established.
    Refused,
    /// No event for [`crate::limits::CONNECTION_IDLE`], the table was full, or sampling leaves it out from now
    /// on: forgotten, not closed.
    Forgotten,
    /// redtap stops.
    Shutdown,
}

/// Something about one connection, in its place in time.
#[derive(Debug, Clone)]
pub struct About<T> {
    /// Which connection.
    pub conn: ConnKey,
    /// When it happened in the kernel.
    pub at: Nanos,
    /// What.
    pub what: What<T>,
}

/// What can be said about a connection between the stages up to `pair`.
#[derive(Debug, Clone)]
pub enum What<T> {
    /// First news of it (or new news: role or owner changed). Always the first thing said of a [`ConnKey`].
    Opened(Arc<ConnInfo>),
    /// Data.
    Item(T),
    /// Turns of which nothing that could be read arrived: the kernel refused their first record. Counted exactly from the
    /// connection's turn numbers. What parse knew of that direction is void until the next turn begins. Behind parse it is the
    /// messages in them that are told: as many as the connection's other turns held on average, exactly one without pipelines.
    Missed {
        /// Turns (behind parse: messages) in the direction of requests (or, with an unknown role, ingress).
        requests: u32,
        /// The same in the other direction.
        responses: u32,
    },
    /// The last thing said of a [`ConnKey`].
    Closed(CloseReason),
}
