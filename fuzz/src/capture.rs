//! A capture file out of the input: its bytes as they are behind a header, or a script of packets between two ends.

use crate::Script;
use redtap_captures::Capture;
use redtap_captures::modes::Mode;
use redtap_captures::records::{MAX_RECORD, Next, Records};
use redtap_stages::abi::{EventHeader, HEADER_LEN, kind};
use std::collections::HashMap;
use std::io::Cursor;
use zerocopy::FromBytes;

/// Most packets of a script.
const MAX_PACKETS: usize = 400;
/// A pcap header, little-endian, microseconds, raw IP.
const HEADER: [u8; 24] = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0];
/// A section header of pcapng and an interface of link type raw IP.
const SECTION: [u8; 48] = [
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
    28, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0,
];

/// Reads the file that `data` stands for; what comes out follows on itself.
pub fn file(data: &[u8]) {
    let Some(([how, number], rest)) = data.split_first_chunk() else { return };
    let mode = match how & 3 {
        0 => Mode::Packets,
        1 => Mode::Rechunk { seed: u64::from(*number) },
        2 => Mode::Glue,
        _ => Mode::Head(u64::from(*number)),
    };
    let file = match how >> 2 & 3 {
        0 => rest.to_vec(),
        1 => [&SECTION[..], rest].concat(),
        _ => packets(Script(rest), how & 0x80 != 0),
    };
    let bound = file.len() as u64;
    let mut capture = Capture::new(Cursor::new(file), mode);
    let outcome = capture.outcome();
    let mut offsets: HashMap<(u64, u8), u64> = HashMap::new();
    let (mut memory, mut captured) = (Vec::new(), 0);
    while capture.next_record(&mut memory) == Next::Record {
        assert!((HEADER_LEN..=MAX_RECORD).contains(&memory.len()));
        let (header, payload) = EventHeader::read_from_prefix(&memory).expect("a record has a header");
        assert_eq!(payload.len(), header.cap_len as usize);
        assert!(header.cap_len <= header.len);
        let offset = offsets.entry((header.conn_id, header.dir)).or_default();
        assert_eq!(*offset, header.offset, "no byte twice, none left out");
        if header.kind == kind::DATA {
            *offset += u64::from(header.len);
            captured += u64::from(header.cap_len);
        }
        memory.clear();
    }
    assert!(captured <= bound, "no byte is made up");
    let packets = outcome.lock().packets;
    assert!(packets.balances());
}

/// A capture of scripted packets between one client and one server.
fn packets(mut script: Script<'_>, udp: bool) -> Vec<u8> {
    let mut file = HEADER.to_vec();
    let (mut micros, mut at) = (0_u64, [0_u32; 2]);
    for _ in 0..MAX_PACKETS {
        let Some(what) = script.byte() else { break };
        let client = usize::from(what & 1);
        let flags = script.byte().unwrap_or(0);
        let step = u32::from(script.byte().unwrap_or(0));
        let payload: Vec<u8> = (0..what >> 1 & 0x1f).collect();
        // Mostly near to where the stream stands, before or behind it.
        let seq =
            if flags & 0x80 != 0 { script.number() as u32 } else { at[client].wrapping_add(step).wrapping_sub(64) };
        let ack = at[1 - client].wrapping_add(u32::from(flags >> 6 & 1) * step);
        at[client] = at[client].wrapping_add(payload.len() as u32);
        micros += if what & 0x80 != 0 { script.number() % 5_000_000 } else { 10 };
        let packet = packet(client == 1, udp, seq, ack, flags & 0x17, &payload);
        let cut = if what & 0x40 != 0 { packet.len().saturating_sub((step % 24) as usize) } else { packet.len() };
        for word in [micros / 1_000_000, micros % 1_000_000, cut as u64, packet.len() as u64] {
            file.extend((word as u32).to_le_bytes());
        }
        file.extend(&packet[..cut]);
    }
    file
}

fn packet(client: bool, udp: bool, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let head = if udp { 8 } else { 20 };
    let length = (20 + head + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 9, if udp { 17 } else { 6 }, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let ends = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let ports = [40_000_u16, 80].map(u16::to_be_bytes);
    let (from, to) = if client { (0, 1) } else { (1, 0) };
    packet.extend([ends[from], ends[to]].concat());
    packet.extend([ports[from], ports[to]].concat());
    if udp {
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
    } else {
        packet.extend(seq.to_be_bytes());
        packet.extend(ack.to_be_bytes());
        packet.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    }
    packet.extend(payload);
    packet
}
