//! What is known of a connection, out of its records; and the memory it is kept in, used again.
//!
//! A server on an unconnected datagram socket has a new remote end with every answer: the [`Pool`] lets that go without
//! an allocation once those who held the former news have let go of it.

use super::header::{Kind, Record};
use super::listeners::ListeningPorts;
use crate::abi::{self, EventHeader};
use crate::flow::conn::{Address, ConnInfo, Owner, Role};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Replaced news kept for use again; past that they are freed.
pub const MAX_POOLED: usize = 1_024;

/// What a first record tells.
pub(super) fn first(record: &Record, listeners: &ListeningPorts) -> ConnInfo {
    let header = &record.header;
    let mut info = ConnInfo {
        id: header.conn_id,
        transport: record.transport,
        role: record.role,
        local: address(header, &header.laddr, header.lport),
        remote: address(header, &header.raddr, header.rport),
        owner: owner(header),
        netns: header.netns,
        sock_ino: header.sock_ino,
        late: header.flags & abi::flag::LATE != 0,
        sampling: record.sampling.unwrap_or(0),
    };
    settle_role(&mut info, listeners);
    info
}

/// What a header says of its connection, as it stands there: while that stays the same there are no news, and nothing has
/// to be taken apart to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    laddr: u128,
    raddr: u128,
    pid: u32,
    lport: u16,
    rport: u16,
    family: u8,
    role: u8,
    /// Of data, the level at which its connection is sampled; no other record tells.
    sampling: Option<u8>,
}

impl Heard {
    pub(super) fn of(header: &EventHeader) -> Self {
        Self {
            laddr: u128::from_ne_bytes(header.laddr),
            raddr: u128::from_ne_bytes(header.raddr),
            pid: header.pid,
            lport: header.lport,
            rport: header.rport,
            family: header.family,
            role: header.role,
            sampling: (header.kind == abi::kind::DATA).then_some(header.detail),
        }
    }
}

/// True if the record knows better than `info`.
pub(super) fn is_news(info: &ConnInfo, record: &Record) -> bool {
    if record.role != Role::Unknown && record.role != info.role {
        return true;
    }
    if record.sampling.is_some_and(|level| level != info.sampling) {
        return true;
    }
    let header = &record.header;
    if header.family == 0 || record.kind == Kind::Progress {
        return false;
    }
    (header.pid != 0 && header.pid != info.owner.pid)
        || differs(&info.remote, header, &header.raddr, header.rport)
        || differs(&info.local, header, &header.laddr, header.lport)
}

/// `info` with what the record knows better.
pub(super) fn updated(info: &ConnInfo, record: &Record, listeners: &ListeningPorts) -> ConnInfo {
    let header = &record.header;
    let mut new = info.clone();
    if record.role != Role::Unknown {
        new.role = record.role;
    }
    new.sampling = record.sampling.unwrap_or(info.sampling);
    if header.family != 0 {
        if header.pid != 0 {
            new.owner = owner(header);
        }
        if differs(&info.remote, header, &header.raddr, header.rport) {
            new.remote = address(header, &header.raddr, header.rport);
        }
        if differs(&info.local, header, &header.laddr, header.lport) {
            new.local = address(header, &header.laddr, header.lport);
        }
        new.netns = header.netns;
        new.sock_ino = header.sock_ino;
    }
    settle_role(&mut new, listeners);
    new
}

/// An unknown role is told from the listening ports, as far as these tell it.
pub(super) fn settle_role(info: &mut ConnInfo, listeners: &ListeningPorts) {
    if info.role == Role::Unknown {
        info.role = listeners.role(&info.local, &info.remote);
    }
}

fn owner(header: &EventHeader) -> Owner {
    Owner { pid: header.pid, cgroup_id: header.cgroup_id, comm: header.comm }
}

/// True if the header names an address, and it is another one.
fn differs(known: &Address, header: &EventHeader, raw: &[u8; 16], port: u16) -> bool {
    (port != 0 || *raw != [0; 16]) && address(header, raw, port) != *known
}

fn address(header: &EventHeader, raw: &[u8; 16], port: u16) -> Address {
    const AF_UNIX: u8 = 1;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    match header.family {
        AF_INET => {
            let [a, b, c, d, ..] = *raw;
            Address::Inet(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
        }
        AF_INET6 => Address::Inet(IpAddr::V6(Ipv6Addr::from(*raw)), port),
        AF_UNIX => {
            let both = u128::from_ne_bytes(*raw);
            let (low, high) = ((both & u128::from(u64::MAX)) as u64, (both >> 64) as u64);
            if cfg!(target_endian = "little") { Address::Unix(low, high) } else { Address::Unix(high, low) }
        }
        _ => Address::UNKNOWN,
    }
}

/// Memory of replaced news.
#[derive(Debug, Default)]
pub(super) struct Pool {
    retired: VecDeque<Arc<ConnInfo>>,
}

impl Pool {
    /// `info`, shared; in memory used before if any is free.
    pub(super) fn share(&mut self, info: ConnInfo) -> Arc<ConnInfo> {
        if let Some(mut old) = self.retired.pop_front() {
            if let Some(place) = Arc::get_mut(&mut old) {
                *place = info;
                return old;
            }
            self.retire(old);
        }
        Arc::new(info)
    }

    /// Takes what was replaced, or whose connection is gone.
    pub(super) fn retire(&mut self, info: Arc<ConnInfo>) {
        if self.retired.len() < MAX_POOLED {
            self.retired.push_back(info);
        }
    }
}
