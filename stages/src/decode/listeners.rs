//! Which local ports listen: how the role of a socket older than the probe is told.
//!
//! Absent: finding them out. The runner hands a new set to [`super::Decode::set_listeners`].

use crate::flow::conn::{Address, Role};
use hashbrown::HashSet;
use std::net::IpAddr;

/// Most (address, port) pairs kept; what comes past that is not told apart from a port that does not listen, and counted.
pub const MAX_LISTENERS: usize = 16_384;

/// The ports on which something on this host listens (TCP) or is bound without a peer (UDP).
#[derive(Debug, Clone, Default)]
pub struct ListeningPorts {
    any: HashSet<u16, foldhash::fast::RandomState>,
    on: HashSet<(IpAddr, u16), foldhash::fast::RandomState>,
    refused: u64,
}

impl ListeningPorts {
    /// Adds a port that listens on `ip`; an unspecified address means all of them.
    pub fn insert(&mut self, ip: IpAddr, port: u16) {
        if self.any.len() + self.on.len() >= MAX_LISTENERS {
            self.refused += 1;
        } else if ip.is_unspecified() {
            self.any.insert(port);
        } else {
            self.on.insert((ip, port));
        }
    }

    /// Ports for which there was no room ([`MAX_LISTENERS`]).
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// True if something listens there.
    #[must_use]
    pub fn listens(&self, address: &Address) -> bool {
        match address {
            Address::Inet(ip, port) => *port != 0 && (self.any.contains(port) || self.on.contains(&(*ip, *port))),
            Address::Unix(..) => false,
        }
    }

    /// The role of a socket between `local` and `remote`. A remote port says something only where the remote end is on
    /// this host too: on loopback, or at the address of the local end.
    #[must_use]
    pub fn role(&self, local: &Address, remote: &Address) -> Role {
        if self.listens(local) {
            return Role::Server;
        }
        let here = remote.ip().is_some_and(|ip| ip.is_loopback() || local.ip() == Some(ip));
        if here && self.listens(remote) { Role::Client } else { Role::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    #[test]
    fn a_listening_port_makes_a_server_here_and_a_client_there() {
        let mut ports = ListeningPorts::default();
        ports.insert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);
        ports.insert(HERE, 6379);
        let at = |ip, port| Address::Inet(ip, port);
        assert_eq!(ports.role(&at(AWAY, 80), &at(AWAY, 50_000)), Role::Server);
        assert_eq!(ports.role(&at(HERE, 50_000), &at(HERE, 6379)), Role::Client);
        assert_eq!(ports.role(&at(HERE, 50_000), &at(HERE, 6380)), Role::Unknown);
        assert_eq!(ports.role(&at(HERE, 50_000), &at(AWAY, 80)), Role::Unknown, "another host's port says nothing");
        assert_eq!(ports.role(&at(AWAY, 6379), &at(AWAY, 5)), Role::Unknown, "listens on loopback only");
    }
}
