//! Who is at the other end, where that is this host too.
//!
//! Both ends of a connection that are watched are seen as two connections with their addresses swapped; a pair of addresses
//! knows who is at each end. An end that answered once is also known as an endpoint, for connections of which the other
//! end was not seen yet.

use crate::flow::conn::{Address, ConnInfo, Owner, Role};
use crate::flow::exchange::Exchange;
use crate::limits;
use crate::recent::Recent;
use crate::symbol::Symbol;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Client's and server's address.
pub(super) type Pair = (Address, Address);

#[derive(Debug, Default)]
struct Ends {
    client: Option<Arc<Owner>>,
    server: Option<Arc<Owner>>,
}

/// The tables.
#[derive(Debug)]
pub(super) struct Peers {
    pairs: Recent<Pair, Ends>,
    /// By network namespace (0 where the address is enough) and address.
    endpoints: Recent<(u32, Address), Arc<Owner>>,
    told: HashMap<(IpAddr, u16), Symbol, RandomState>,
    refused: u64,
}

impl Peers {
    pub(super) fn new() -> Self {
        Self {
            pairs: Recent::new(limits::MAX_PEERS),
            endpoints: Recent::new(limits::MAX_PEERS),
            told: HashMap::default(),
            refused: 0,
        }
    }

    /// Entries forgotten, and facts refused, because of a bound.
    pub(super) fn overflowed(&self) -> u64 {
        self.pairs.forgotten() + self.endpoints.forgotten() + self.refused
    }

    /// Notes `owner` at this end of the connection of `exchange`.
    pub(super) fn see(&mut self, exchange: &Exchange, owner: Arc<Owner>) {
        let conn = &*exchange.conn;
        let ends = self.pairs.get_or_put(pair(exchange), Ends::default);
        match exchange.side {
            Role::Server => {
                ends.server = Some(Arc::clone(&owner));
                if let Some(any) = any(conn.local) {
                    self.endpoints.put((conn.netns, any), Arc::clone(&owner));
                }
                self.endpoints.put((scope(conn, conn.local), bare(conn.local)), owner);
            }
            Role::Client | Role::Unknown => ends.client = Some(owner),
        }
    }

    /// A service listens at `ip` (unspecified: everywhere on this host).
    pub(super) fn told(&mut self, ip: IpAddr, port: u16, service: Option<Symbol>) {
        let key = (ip.to_canonical(), port);
        match service {
            None => {
                self.told.remove(&key);
            }
            Some(service) if self.told.len() < limits::MAX_TOLD_NAMES || self.told.contains_key(&key) => {
                self.told.insert(key, service);
            }
            Some(_) => self.refused += 1,
        }
    }

    /// Who is at the other end of the connection of `exchange`, if that was seen.
    pub(super) fn other(&self, exchange: &Exchange, near: bool) -> Option<Arc<Owner>> {
        let conn = &*exchange.conn;
        let ends = self.pairs.peek(&pair(exchange));
        if exchange.side == Role::Server {
            return ends.and_then(|ends| ends.client.clone());
        }
        if let Some(owner) = ends.and_then(|ends| ends.server.clone()) {
            return Some(owner);
        }
        let endpoint = bare(conn.remote);
        if endpoint == Address::Unix(0, 0) {
            return None;
        }
        let exact = self.endpoints.peek(&(scope(conn, conn.remote), endpoint)).cloned();
        let at_any = || any(conn.remote).and_then(|any| self.endpoints.peek(&(conn.netns, any)).cloned());
        if near { exact.or_else(at_any) } else { exact }
    }

    /// The service that was told to listen at the other end.
    pub(super) fn listener(&self, exchange: &Exchange, near: bool) -> Option<Symbol> {
        let Address::Inet(ip, port) = exchange.conn.remote else { return None };
        let exact = self.told.get(&(ip.to_canonical(), port));
        let wild = || {
            let any = if ip.is_ipv6() { IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) } else { UNSPECIFIED };
            self.told.get(&(any, port)).or_else(|| self.told.get(&(UNSPECIFIED, port)))
        };
        if near { exact.or_else(wild) } else { exact }.cloned()
    }
}

const UNSPECIFIED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The pair of addresses of an exchange, the same seen from either end. A unix socket is its inode number.
pub(super) fn pair(exchange: &Exchange) -> Pair {
    let conn = &*exchange.conn;
    let (local, remote) = (end(conn.local), end(conn.remote));
    if exchange.side == Role::Server { (remote, local) } else { (local, remote) }
}

fn end(address: Address) -> Address {
    match address {
        Address::Inet(ip, port) => Address::Inet(ip.to_canonical(), port),
        Address::Unix(inode, _) => Address::Unix(inode, 0),
    }
}

/// What stays the same over the connections of a listening end: for a unix socket the path.
fn bare(address: Address) -> Address {
    match address {
        Address::Inet(..) => end(address),
        Address::Unix(_, path) => Address::Unix(0, path),
    }
}

/// The same port on any address.
fn any(address: Address) -> Option<Address> {
    match address {
        Address::Inet(_, port) if port != 0 => Some(Address::Inet(UNSPECIFIED, port)),
        Address::Inet(..) | Address::Unix(..) => None,
    }
}

/// A loopback address means something in its network namespace only.
fn scope(conn: &ConnInfo, address: Address) -> u32 {
    if address.ip().is_some_and(|ip| ip.to_canonical().is_loopback()) { conn.netns } else { 0 }
}
