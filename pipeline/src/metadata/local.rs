//! What this host has: its addresses, and the sockets that listen in its network namespaces.

use super::diag;
pub use super::diag::Listener;
use super::process::read_text;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Most network namespaces looked at.
pub const MAX_NAMESPACES: usize = 64;
/// Most listening sockets kept.
pub const MAX_LISTENERS: usize = 16_384;
/// Most descriptors of a process looked at.
pub const MAX_DESCRIPTORS: usize = 1_024;
/// Most local addresses kept.
pub const MAX_ADDRESSES: usize = 1_024;

/// The sockets that listen in the agent's network namespace and in those of `pids`: TCP sockets in state LISTEN, and UDP
/// sockets without a peer below the ephemeral ports (above, they are more likely clients).
#[must_use]
pub fn listeners(proc: &Path, pids: impl Iterator<Item = u32>) -> BTreeSet<Listener> {
    let ephemeral = read_text(&proc.join("sys/net/ipv4/ip_local_port_range"))
        .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(32_768);
    let mut found = BTreeSet::new();
    // The agent's own namespace comes first, and the kernel tells of that one for less.
    let mut asked = proc == Path::new("/proc") && diag::listening(&mut found).is_ok();
    for folder in namespaces(proc, pids) {
        let told = std::mem::take(&mut asked);
        for (file, state, below) in [
            ("tcp", LISTEN, u16::MAX),
            ("tcp6", LISTEN, u16::MAX),
            ("udp", UNCONNECTED, ephemeral),
            ("udp6", UNCONNECTED, ephemeral),
        ] {
            if told && state == LISTEN {
                continue;
            }
            let text = read_all(&folder.join("net").join(file));
            let sockets = text.lines().skip(1).filter_map(|line| socket(line, state));
            found.extend(
                sockets.filter(|one| one.address.port() != 0 && one.address.port() <= below).take(MAX_LISTENERS),
            );
        }
        if found.len() >= MAX_LISTENERS {
            break;
        }
    }
    while found.len() > MAX_LISTENERS {
        found.pop_last();
    }
    found
}

/// States as `/proc/net/tcp` writes them (`include/net/tcp_states.h`): 0A TCP_LISTEN, 07 TCP_CLOSE (an unconnected UDP
/// socket).
const LISTEN: &str = "0A";
const UNCONNECTED: &str = "07";

/// One folder under proc for each network namespace: the agent's own first.
fn namespaces(proc: &Path, pids: impl Iterator<Item = u32>) -> Vec<PathBuf> {
    let own = proc.join("self");
    let mut seen: BTreeSet<PathBuf> = std::fs::read_link(own.join("ns/net")).into_iter().collect();
    let mut folders = vec![own];
    for pid in pids {
        let folder = proc.join(pid.to_string());
        if let Ok(namespace) = std::fs::read_link(folder.join("ns/net"))
            && seen.insert(namespace)
        {
            folders.push(folder);
            if folders.len() >= MAX_NAMESPACES {
                break;
            }
        }
    }
    folders
}

/// These tables may be long; they are still bounded.
fn read_all(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A table cut at the bound ends in half a line, which does not parse.
        drop(file.take(16 << 20).read_to_string(&mut text));
    }
    text
}

/// A line such as `0: 0100007F:1F90 00000000:0000 0A ... inode ...`.
fn socket(line: &str, state: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let remote = fields.next()?;
    if fields.next()? != state || !remote.ends_with(":0000") {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let address = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { address, inode })
}

/// Hexadecimal words in host byte order, each of which holds four bytes of the address in network byte order.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (chunk, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                chunk.copy_from_slice(&word(at)?);
            }
            let ip = Ipv6Addr::from(bytes);
            Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4))
        }
        _ => None,
    }
}

/// The inode numbers of the sockets that a process holds, out of `/proc/PID/fd`; of its first [`MAX_DESCRIPTORS`]
/// descriptors.
#[must_use]
pub fn sockets(proc: &Path, pid: u32) -> Vec<u64> {
    let Ok(folder) = std::fs::read_dir(proc.join(pid.to_string()).join("fd")) else { return Vec::new() };
    folder
        .take(MAX_DESCRIPTORS)
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// The addresses of this host in the agent's network namespace.
#[must_use]
pub fn addresses(proc: &Path) -> BTreeSet<IpAddr> {
    let mut found: BTreeSet<IpAddr> = trie(&read_all(&proc.join("self/net/fib_trie"))).map(IpAddr::V4).collect();
    found.extend(inet6(&read_all(&proc.join("self/net/if_inet6"))).map(IpAddr::V6));
    while found.len() > MAX_ADDRESSES {
        found.pop_last();
    }
    found
}

/// In `fib_trie` a line with an address is followed by what it is; `/32 host LOCAL` are our own.
fn trie(text: &str) -> impl Iterator<Item = Ipv4Addr> + '_ {
    let mut last = None;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("|-- ") {
            last = rest.trim().parse().ok();
            None
        } else if line.starts_with("/32 host LOCAL") {
            last
        } else {
            None
        }
    })
}

fn inet6(text: &str) -> impl Iterator<Item = Ipv6Addr> + '_ {
    text.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_lines_of_the_socket_tables() {
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let found = socket(tcp, LISTEN).unwrap();
        assert_eq!((found.address.to_string().as_str(), found.inode), ("127.0.0.1:8080", 4711));
        assert_eq!(socket(tcp, UNCONNECTED), None, "another state");
        let six =
            "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 9 1";
        assert_eq!(socket(six, LISTEN).unwrap().address.to_string(), "[::1]:80");
        let mapped =
            "   1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 9 1";
        assert_eq!(socket(mapped, LISTEN).unwrap().address.to_string(), "127.0.0.1:80");
        for bad in [
            "",
            "0:",
            "0: 0100007F:1F90",
            "0: xx:yy 00000000:0000 0A 0 0 0 0 0 1",
            "0: 01007F:1F90 0:0000 0A 0 0 0 0 0 1",
        ] {
            assert_eq!(socket(bad, LISTEN), None, "{bad}");
        }
    }

    #[test]
    fn reads_local_addresses() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n\
                    \x20    |-- 10.1.2.255\n        /32 link BROADCAST\nLocal:\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(trie(text).map(|ip| ip.to_string()).collect::<Vec<_>>(), ["10.1.2.3", "127.0.0.1"]);
        let six = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000000000000000abcd 02 40 20 80 eth0\nbad\n";
        assert_eq!(inet6(six).map(|ip| ip.to_string()).collect::<Vec<_>>(), ["::1", "fe80::abcd"]);
    }
}
