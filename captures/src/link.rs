//! From a captured frame to the part of a TCP stream, or the datagram, in it.
//!
//! Link types: Ethernet (with any number of VLAN tags that etherparse follows), Linux cooked v1 and v2, BSD loopback, raw
//! IP. Then IPv4 or IPv6 with their extension headers. A frame that was cut by the capture's snap length gives what is
//! there, and says how much is missing.
//!
//! Absent: reassembly of IP fragments. The first fragment of a UDP datagram is a datagram that is cut; others are counted.

use etherparse::{EtherType, IpNumber, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice};
use std::net::{IpAddr, SocketAddr};

redtap_stages::reasons! {
    /// Why a packet went no further.
    pub enum Reject {
        /// Its link type is not known.
        LinkType => "link_type",
        /// Neither IPv4 nor IPv6.
        NotIp => "not_ip",
        /// Neither TCP nor UDP.
        Transport => "transport",
        /// A fragment of a datagram, not the first.
        Fragment => "fragment",
        /// Its headers are cut off or make no sense.
        Malformed => "malformed",
    }
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The captured bytes of the payload.
    pub bytes: &'a [u8],
    /// Bytes of the payload behind these that were not captured.
    pub missing: u32,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A segment.
    Tcp(Tcp),
    /// A datagram.
    Udp,
}

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Sequence number of its first byte (or of SYN).
    pub seq: u32,
    /// What it acknowledges.
    pub ack: Option<u32>,
    /// It begins its direction.
    pub syn: bool,
    /// It ends its direction.
    pub fin: bool,
    /// It ends the connection.
    pub rst: bool,
}

/// Link types (<https://www.tcpdump.org/linktypes.html>).
mod linktype {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const RAW_OF_BSD: u16 = 12;
    pub(super) const RAW_OF_OPENBSD: u16 = 14;
    pub(super) const RAW: u16 = 101;
    pub(super) const LOOP: u16 = 108;
    pub(super) const LINUX_SLL: u16 = 113;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const LINUX_SLL2: u16 = 276;
}

const UDP_HEADER: usize = 8;

/// Looks into a frame of link type `link`.
///
/// # Errors
/// When there is no stream or datagram in it that could be read.
pub fn carried(link: Option<u16>, frame: &[u8]) -> Result<Carried<'_>, Reject> {
    let packet = match link.ok_or(Reject::LinkType)? {
        // Two addresses and the type.
        linktype::ETHERNET => behind_type(frame, 12, 14),
        // draft-ietf-opsawg-pcaplinktype: the protocol is the last field of SLL, the first of SLL2.
        linktype::LINUX_SLL => behind_type(frame, 14, 16),
        linktype::LINUX_SLL2 => behind_type(frame, 0, 20),
        // An address family in the byte order of whoever wrote it: the version of the packet says the same.
        linktype::NULL | linktype::LOOP => ip(frame.get(4..).unwrap_or_default()),
        linktype::RAW | linktype::RAW_OF_BSD | linktype::RAW_OF_OPENBSD | linktype::IPV4 | linktype::IPV6 => ip(frame),
        _ => Err(Reject::LinkType),
    }?;
    let (from, to, payload, missing) = match packet.net.as_ref().ok_or(Reject::NotIp)? {
        LaxNetSlice::Ipv4(slice) => {
            let header = slice.header();
            let auth = slice.extensions().auth.map_or(0, |auth| auth.slice().len());
            let captured = header.slice().len() + auth + slice.payload().payload.len();
            let missing = usize::from(header.total_len()).saturating_sub(captured);
            if header.fragments_offset().value() != 0 {
                return Err(Reject::Fragment);
            }
            (IpAddr::from(header.source()), IpAddr::from(header.destination()), slice.payload(), missing)
        }
        LaxNetSlice::Ipv6(slice) => {
            let header = slice.header();
            let captured = slice.extensions().slice().len() + slice.payload().payload.len();
            let missing = usize::from(header.payload_length()).saturating_sub(captured);
            let later = slice.extensions().clone().into_iter().any(|extension| {
                matches!(extension, etherparse::Ipv6ExtensionSlice::Fragment(part) if part.fragment_offset().value() != 0)
            });
            if later {
                return Err(Reject::Fragment);
            }
            (IpAddr::from(header.source()), IpAddr::from(header.destination()), slice.payload(), missing)
        }
        LaxNetSlice::Arp(_) => return Err(Reject::NotIp),
    };
    transport(from, to, payload, missing)
}

fn behind_type(frame: &[u8], at: usize, behind: usize) -> Result<LaxSlicedPacket<'_>, Reject> {
    let ether_type = frame.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(Reject::Malformed)?;
    let rest = frame.get(behind..).ok_or(Reject::Malformed)?;
    Ok(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*ether_type)), rest))
}

fn ip(packet: &[u8]) -> Result<LaxSlicedPacket<'_>, Reject> {
    LaxSlicedPacket::from_ip(packet).map_err(|_| Reject::NotIp)
}

fn transport<'a>(
    from: IpAddr,
    to: IpAddr,
    payload: &LaxIpPayloadSlice<'a>,
    missing: usize,
) -> Result<Carried<'a>, Reject> {
    let bytes = payload.payload;
    let (from_port, to_port, transport, bytes, missing) = match payload.ip_number {
        IpNumber::TCP => {
            let segment = TcpSlice::from_slice(bytes).map_err(|_| Reject::Malformed)?;
            let header = Tcp {
                seq: segment.sequence_number(),
                ack: segment.ack().then(|| segment.acknowledgment_number()),
                syn: segment.syn(),
                fin: segment.fin(),
                rst: segment.rst(),
            };
            (segment.source_port(), segment.destination_port(), Transport::Tcp(header), segment.payload(), missing)
        }
        IpNumber::UDP => {
            let Some(([f0, f1, t0, t1, l0, l1, _, _], data)) = bytes.split_first_chunk::<UDP_HEADER>() else {
                return Err(Reject::Malformed);
            };
            let said = usize::from(u16::from_be_bytes([*l0, *l1]));
            // A length of zero is a jumbogram (RFC 2675) or was left to the hardware: all that is there.
            let length = if said == 0 { data.len() + missing } else { said.saturating_sub(UDP_HEADER) };
            let data = data.get(..length).unwrap_or(data);
            let missing = length - data.len();
            (u16::from_be_bytes([*f0, *f1]), u16::from_be_bytes([*t0, *t1]), Transport::Udp, data, missing)
        }
        _ => return Err(Reject::Transport),
    };
    Ok(Carried {
        from: SocketAddr::new(from, from_port),
        to: SocketAddr::new(to, to_port),
        transport,
        bytes,
        missing: u32::try_from(missing).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const SEGMENT: Tcp = Tcp { seq: 7, ack: Some(9), syn: false, fin: false, rst: false };

    fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
        let (from, to) = if v6 { ("[fd00::1]:40000", "[fd00::2]:80") } else { ("10.0.0.1:40000", "10.0.0.2:80") };
        (from.parse().unwrap(), to.parse().unwrap())
    }

    /// An IP packet with `payload`.
    fn packet(v6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(_) | IpAddr::V6(_), mut bytes) = (ends(v6).0.ip(), Vec::new());
        let builder = match ends(v6) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 9),
            (SocketAddr::V6(from), SocketAddr::V6(to)) => PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 9),
            _ => panic!("both ends are of one family"),
        };
        if tcp {
            builder.tcp(40_000, 80, 7, 100).ack(9).write(&mut bytes, payload).unwrap();
        } else {
            builder.udp(40_000, 80).write(&mut bytes, payload).unwrap();
        }
        bytes
    }

    fn ether_type(v6: bool) -> [u8; 2] {
        if v6 { [0x86, 0xdd] } else { [0x08, 0x00] }
    }

    /// The same packet behind the headers of each link type.
    fn framed(v6: bool, ip: &[u8]) -> Vec<(&'static str, u16, Vec<u8>)> {
        let kind = ether_type(v6);
        let family = if v6 { [30, 0, 0, 0] } else { [2, 0, 0, 0] };
        [
            ("ethernet", 1, [&[0; 12][..], &kind].concat()),
            ("a tag", 1, [&[0; 12][..], &[0x81, 0, 0, 5], &kind].concat()),
            ("two tags", 1, [&[0; 12][..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &kind].concat()),
            ("null", 0, family.to_vec()),
            ("loop", 108, family.iter().rev().copied().collect()),
            ("raw", 101, vec![]),
            ("raw of BSD", 12, vec![]),
            ("cooked", 113, [&[0; 14][..], &kind].concat()),
            ("cooked, 2", 276, [&kind[..], &[0; 18]].concat()),
        ]
        .map(|(name, link, head)| (name, link, [&head, ip].concat()))
        .to_vec()
    }

    #[test]
    fn finds_segments_and_datagrams_behind_every_link() {
        for (v6, tcp) in [(false, true), (false, false), (true, true), (true, false)] {
            let (from, to) = ends(v6);
            let transport = if tcp { Transport::Tcp(SEGMENT) } else { Transport::Udp };
            for (name, link, frame) in framed(v6, &packet(v6, tcp, b"hello")) {
                let want = Carried { from, to, transport, bytes: b"hello", missing: 0 };
                assert_eq!(carried(Some(link), &frame), Ok(want), "{name}, IPv6 {v6}, TCP {tcp}");
                // The padding of short frames is not payload.
                let padded = [&frame[..], &[0; 9]].concat();
                assert_eq!(carried(Some(link), &padded), Ok(want), "{name}, padded");
            }
        }
    }

    #[test]
    fn what_the_snap_length_cut_is_missing_and_never_made_up() {
        for (v6, tcp) in [(false, true), (false, false), (true, true), (true, false)] {
            for (name, link, frame) in framed(v6, &packet(v6, tcp, b"hello world")) {
                for cut in 0..frame.len() {
                    let Ok(found) = carried(Some(link), &frame[..cut]) else { continue };
                    assert!(b"hello world".starts_with(found.bytes), "{name} at {cut}");
                    assert_eq!(found.bytes.len() + found.missing as usize, 11, "{name} at {cut}, IPv6 {v6}, TCP {tcp}");
                }
                let found = carried(Some(link), &frame[..frame.len() - 4]).unwrap();
                assert_eq!((found.bytes, found.missing), (&b"hello w"[..], 4), "{name}");
            }
        }
    }

    #[test]
    fn the_first_fragment_of_a_datagram_is_a_cut_datagram_and_the_others_are_counted() {
        let mut first = packet(false, false, &[b'x'; 100]);
        first.truncate(20 + 8 + 40);
        first[2..4].copy_from_slice(&68_u16.to_be_bytes());
        first[6] = 0x20;
        let found = carried(Some(101), &first).unwrap();
        assert_eq!((found.bytes.len(), found.missing), (40, 60));
        first[7] = 6;
        assert_eq!(carried(Some(101), &first), Err(Reject::Fragment));
    }

    #[test]
    fn extension_headers_are_walked_over() {
        let plain = packet(true, false, b"hello");
        let mut options = plain[..40].to_vec();
        options[6] = 0;
        options[4..6].copy_from_slice(&(8 + 5 + 8_u16).to_be_bytes());
        // Hop-by-hop options, one of padding (RFC 8200, section 4.3).
        options.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        options.extend(&plain[40..]);
        assert_eq!(carried(Some(101), &options).map(|found| (found.bytes, found.missing)), Ok((&b"hello"[..], 0)));
        let cut = carried(Some(101), &options[..options.len() - 2]).unwrap();
        assert_eq!((cut.bytes, cut.missing), (&b"hel"[..], 2));
        let mut later = options;
        later[6] = 44;
        later[40..48].copy_from_slice(&[17, 0, 0, 8, 0, 0, 0, 1]);
        assert_eq!(carried(Some(101), &later), Err(Reject::Fragment));
    }

    #[test]
    fn says_why_not() {
        let arp = [&[0xff; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        let mut icmp = packet(false, false, b"");
        icmp[9] = 1;
        let tcp = packet(false, true, b"");
        for (link, frame, why) in [
            (Some(1), &arp[..], Reject::NotIp),
            (Some(101), &icmp[..], Reject::Transport),
            (Some(101), &tcp[..30], Reject::Malformed),
            (Some(1), &tcp[..10], Reject::Malformed),
            (Some(101), &[][..], Reject::NotIp),
            (Some(147), &tcp[..], Reject::LinkType),
            (None, &tcp[..], Reject::LinkType),
        ] {
            assert_eq!(carried(link, frame), Err(why), "{link:?}");
        }
    }
}
