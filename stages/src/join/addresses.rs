//! Names of addresses: told ones, and those learned from DNS answers that were seen.

use crate::limits;
use crate::recent::Recent;
use crate::symbol::{Interner, Symbol};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::net::IpAddr;

/// The tables.
#[derive(Debug)]
pub(super) struct Addresses {
    dns: Recent<IpAddr, Box<str>>,
    told: HashMap<IpAddr, Box<str>, RandomState>,
    local: HashSet<IpAddr, RandomState>,
    /// Addresses that were one end of a watched socket.
    own: Recent<IpAddr, ()>,
    refused: u64,
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self {
            dns: Recent::new(limits::MAX_DNS_NAMES),
            told: HashMap::default(),
            local: HashSet::default(),
            own: Recent::new(limits::MAX_TOLD_NAMES),
            refused: 0,
        }
    }

    /// Names forgotten, and facts refused, because of a bound.
    pub(super) fn overflowed(&self) -> u64 {
        self.dns.forgotten() + self.refused
    }

    /// An answer said that `name` is at `ip`. Of an address that means "here" or "nowhere" that says nothing about who is
    /// there (names are blocked by pointing them at such an address).
    pub(super) fn answered(&mut self, ip: IpAddr, name: &str) {
        let ip = ip.to_canonical();
        let name = name.trim_end_matches('.');
        if ip.is_loopback() || ip.is_unspecified() || name.is_empty() {
            return;
        }
        match self.dns.get(&ip) {
            Some(known) if **known == *name => {}
            Some(known) => *known = name.into(),
            None => {
                self.dns.put(ip, name.into());
            }
        }
    }

    /// A fact; the empty name takes an earlier one back.
    pub(super) fn told(&mut self, ip: IpAddr, name: Box<str>) {
        let key = ip.to_canonical();
        if name.is_empty() {
            self.told.remove(&key);
        } else if self.told.len() < limits::MAX_TOLD_NAMES || self.told.contains_key(&key) {
            self.told.insert(key, name);
        } else {
            self.refused += 1;
        }
    }

    /// This host has `ip`.
    pub(super) fn is_local_now(&mut self, ip: IpAddr) {
        if self.local.len() < limits::MAX_TOLD_NAMES {
            self.local.insert(ip.to_canonical());
        } else {
            self.refused += 1;
        }
    }

    /// A watched socket has `ip`.
    pub(super) fn seen(&mut self, ip: IpAddr) {
        self.own.put(ip.to_canonical(), ());
    }

    /// Is the other end on this host?
    pub(super) fn is_near(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || self.local.contains(&ip) || self.own.peek(&ip).is_some()
    }

    /// The name of `ip`.
    pub(super) fn name(&mut self, ip: IpAddr, symbols: &mut Interner) -> Option<Symbol> {
        let ip = ip.to_canonical();
        if let Some(name) = self.dns.get(&ip) {
            return Some(symbols.intern(name));
        }
        self.told.get(&ip).map(|name| symbols.intern(name))
    }
}
