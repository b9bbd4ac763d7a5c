//! The TCP sockets that listen in the agent's network namespace, asked of the kernel over netlink (sock_diag(7)).
//!
//! `/proc/net/tcp` holds the same, but to write it the kernel walks the table of all connections, whose size goes with the
//! memory of the machine: 5 ms of processor time with 24 GB, even if there is no connection. Asked for listening sockets
//! alone, the kernel looks only at those (`inet_diag_dump_icsk`, net/ipv4/inet_diag.c).
//!
//! Absent: other network namespaces, which would have to be entered, and UDP, whose table is small.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with, sockopt,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Most answers read to one question; each holds at least one socket.
const MAX_ANSWERS: usize = 16_384;
/// The kernel answers at once; should it not, the files are read instead.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// `struct nlmsghdr` (include/uapi/linux/netlink.h).
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg` (include/uapi/linux/inet_diag.h).
const REQUEST: usize = 56;
const SOCKET: usize = 72;
/// Message types.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;
/// `1 << TCP_LISTEN` (include/net/tcp_states.h).
const LISTENING: u32 = 1 << 10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A socket that waits for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Inode number of the socket, as in `/proc/PID/fd`.
    pub inode: u64,
}

/// Adds the listening sockets of both families to `found`.
///
/// # Errors
/// When the kernel does not answer such questions; `found` may then hold some.
pub(super) fn listening(found: &mut impl Extend<Listener>) -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WITHIN))?;
    // The kernel fills at most 32 KiB of an answer (netlink_dump, net/netlink/af_netlink.c).
    let mut answer = vec![0; 32 * 1024];
    for family in [AF_INET, AF_INET6] {
        send(&socket, &question(family), SendFlags::empty())?;
        let mut over = false;
        for _ in 0..MAX_ANSWERS {
            let (_, bytes) = recv(&socket, answer.as_mut_slice(), RecvFlags::TRUNC)?;
            over = read(answer.get(..bytes).ok_or(Errno::MSGSIZE)?, found)?;
            if over {
                break;
            }
        }
        if !over {
            return Err(Errno::TOOBIG);
        }
    }
    Ok(())
}

fn question(family: u8) -> [u8; HEADER + REQUEST] {
    let mut question = [0; HEADER + REQUEST];
    let length = (HEADER + REQUEST) as u32;
    let parts: [(usize, &[u8]); 5] = [
        (0, &length.to_ne_bytes()),
        (4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes()),
        (6, &DUMP.to_ne_bytes()),
        (HEADER, &[family, IPPROTO_TCP]),
        (HEADER + 4, &LISTENING.to_ne_bytes()),
    ];
    for (at, bytes) in parts {
        for (to, byte) in question.iter_mut().skip(at).zip(bytes) {
            *to = *byte;
        }
    }
    question
}

/// Reads the messages of one answer; true if the last one was among them.
fn read(mut answer: &[u8], found: &mut impl Extend<Listener>) -> Result<bool, Errno> {
    while let Some((header, _)) = answer.split_first_chunk::<HEADER>() {
        let [l0, l1, l2, l3, t0, t1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let message = answer.get(HEADER..length).ok_or(Errno::BADMSG)?;
        match u16::from_ne_bytes([t0, t1]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(Errno::OPNOTSUPP),
            SOCK_DIAG_BY_FAMILY => found.extend(socket(message)),
            _ => {}
        }
        // Messages begin at multiples of four bytes.
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// One `struct inet_diag_msg`: the family, its own port and address in network byte order, at the end the inode number.
fn socket(message: &[u8]) -> Option<Listener> {
    let message = message.first_chunk::<SOCKET>()?;
    let family = *message.first()?;
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?)),
        AF_INET6 => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?);
            ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
        }
        _ => return None,
    };
    let inode = u32::from_ne_bytes(message.get(SOCKET - 4..)?.try_into().ok()?);
    (port != 0).then(|| Listener { address: SocketAddr::new(ip, port), inode: inode.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    fn inode(socket: &impl std::os::fd::AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap()
    }

    #[test]
    fn finds_what_listens_and_nothing_that_is_connected() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(four.local_addr().unwrap()).unwrap();
        let mut found = BTreeSet::new();
        listening(&mut found).unwrap();
        assert!(found.contains(&Listener { address: four.local_addr().unwrap(), inode: inode(&four) }), "{found:?}");
        assert!(found.iter().all(|one| one.inode != inode(&connected)), "{found:?}");
        // Where the machine has IPv6.
        if let Ok(six) = TcpListener::bind("[::1]:0") {
            let mut found = BTreeSet::new();
            listening(&mut found).unwrap();
            assert!(found.contains(&Listener { address: six.local_addr().unwrap(), inode: inode(&six) }), "{found:?}");
        }
    }

    #[test]
    fn every_prefix_of_an_answer_is_refused_or_read() {
        let mut answer = Vec::new();
        let mut message = vec![AF_INET, 10, 0, 0, 0x1F, 0x90, 0, 0, 127, 0, 0, 1];
        message.resize(SOCKET - 4, 0);
        message.extend(4_711_u32.to_ne_bytes());
        for (kind, body) in [(SOCK_DIAG_BY_FAMILY, message.as_slice()), (NLMSG_DONE, &[0; 4])] {
            answer.extend(((HEADER + body.len()) as u32).to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend([0; 10]);
            answer.extend(body);
        }
        for end in 0..answer.len() {
            let mut found = Vec::new();
            assert_ne!(read(&answer[..end], &mut found), Ok(true), "{end}");
        }
        let mut found = Vec::new();
        assert_eq!(read(&answer, &mut found), Ok(true));
        assert_eq!(found, [Listener { address: "127.0.0.1:8080".parse().unwrap(), inode: 4_711 }]);
        // A length that does not move on ends the reading.
        answer[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(read(&answer, &mut found), Err(Errno::BADMSG));
    }
}
