//! What `join` is told from outside, and what it asks for.

use crate::flow::joined::Identity;
use std::net::IpAddr;
use std::sync::Arc;

/// Something found out off the data path. Told in any order, at any time.
#[derive(Debug, Clone)]
pub enum Fact {
    /// What a process is: the answer to [`Wanted`], or told ahead of it. A second one for a pid replaces the first.
    Process {
        /// Process id in the agent's pid namespace.
        pid: u32,
        /// Its identity.
        identity: Arc<Identity>,
    },
    /// A process ended, or is not there to be looked at. What it did until now keeps its name.
    ProcessGone {
        /// Process id.
        pid: u32,
    },
    /// The name of an address in a hosts file. Weaker than a DNS answer that was seen.
    Name {
        /// The address.
        ip: IpAddr,
        /// Its name; empty: none any more.
        name: Box<str>,
    },
    /// A service of this host listens there.
    Listener {
        /// Address; unspecified for all addresses of this host.
        ip: IpAddr,
        /// Port.
        port: u16,
        /// Name of the service; empty: nobody any more.
        service: Box<str>,
    },
    /// This host has that address.
    LocalAddress {
        /// The address.
        ip: IpAddr,
    },
}

/// A process that join wants to be told about ([`Fact::Process`] or [`Fact::ProcessGone`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Process id in the agent's pid namespace.
    pub pid: u32,
    /// Its cgroup v2 id as the kernel gave it with the event; 0 if not known.
    pub cgroup_id: u64,
    /// The name of the thread that was seen, NUL padded.
    pub comm: [u8; 16],
}
