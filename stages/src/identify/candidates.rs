//! Who is asked: the protocols and what else can be told from a prefix alone.

use crate::flow::conn::{Address, ConnInfo, Direction, Role};
use crate::protocols::{Probe, ProbeContext, Protocol, Speaker};

/// What a prefix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// This protocol, and which end we are.
    Is(Protocol, Role),
    /// None that is known, whatever follows.
    Foreign,
    /// TLS: nothing readable follows.
    Tls,
    /// None matches here.
    Nothing,
    /// More bytes decide.
    NeedMore,
}

/// Asks all candidates about the first bytes of a turn in `direction`.
pub(super) fn ask(prefix: &[u8], direction: Direction, info: &ConnInfo) -> Answer {
    if !info.transport.is_datagram() && is_tls(prefix) {
        return Answer::Tls;
    }
    let context = ProbeContext {
        transport: info.transport,
        server_port: server_address(info).map_or(0, |address| address.port()),
        late: info.late,
    };
    let mut best: Option<(Protocol, Role, bool)> = None;
    let mut need_more = false;
    for traits in Protocol::ALL.iter().filter_map(|protocol| protocol.traits()) {
        let ports = traits.ports;
        match (traits.probe)(prefix, context) {
            Probe::NoMatch => {}
            Probe::NeedMore => need_more = true,
            Probe::Match(speaker) => {
                let Some(role) = role(speaker, direction, info, ports) else { continue };
                let usual = ports.contains(&context.server_port);
                if best.is_none_or(|(.., before)| usual && !before) {
                    best = Some((traits.protocol, role, usual));
                }
            }
        }
    }
    match best {
        Some((protocol, role, _)) => Answer::Is(protocol, role),
        None if need_more => Answer::NeedMore,
        None => Answer::Nothing,
    }
}

/// Which end we are if `speaker` sent in `direction`. `None`: it cannot be, the kernel says otherwise. (On datagrams the
/// kernel cannot know who asks.)
fn role(speaker: Speaker, direction: Direction, info: &ConnInfo, ports: &[u16]) -> Option<Role> {
    let told = match (speaker, direction) {
        (Speaker::Client, Direction::Egress) | (Speaker::Server, Direction::Ingress) => Role::Client,
        (Speaker::Client, Direction::Ingress) | (Speaker::Server, Direction::Egress) => Role::Server,
        (Speaker::Either, _) if info.role != Role::Unknown => info.role,
        (Speaker::Either, _) => by_ports(info.local, info.remote, ports),
    };
    let known = info.role != Role::Unknown && !info.transport.is_datagram();
    (!known || told == info.role).then_some(told)
}

/// The end with a usual port is the server; else the one with the lower port.
fn by_ports(local: Address, remote: Address, ports: &[u16]) -> Role {
    match (ports.contains(&local.port()), ports.contains(&remote.port())) {
        (true, false) => Role::Server,
        (false, true) => Role::Client,
        _ if local.port() != 0 && local.port() < remote.port() => Role::Server,
        _ => Role::Client,
    }
}

/// The end that was connected to; with an unknown role, the one with the lower port.
fn server_address(info: &ConnInfo) -> Option<Address> {
    match info.role {
        Role::Client => Some(info.remote),
        Role::Server => Some(info.local),
        Role::Unknown => [info.local, info.remote].into_iter().filter(|a| a.port() != 0).min_by_key(Address::port),
    }
}

/// A TLS record of any type (RFC 8446, section 5.1): type 20..=24, version 3.0..=3.4. Nothing readable follows.
fn is_tls(prefix: &[u8]) -> bool {
    matches!(prefix, [0x14..=0x18, 0x03, 0x00..=0x04, ..])
}
