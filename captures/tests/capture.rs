//! Captures of real traffic as the stages get them: every byte once, in any mode; and what is left of a file that is cut.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use etherparse::PacketBuilder;
use proptest::prelude::*;
use redtap_captures::file::{CaptureError, Damage};
use redtap_captures::flows::{HOLE_WAIT, MAX_FLOWS, RESET_WAIT};
use redtap_captures::modes::Mode;
use redtap_captures::records::{MAX_RECORD, Next, Records};
use redtap_captures::{Capture, Outcome};
use redtap_stages::abi::{EventHeader, HEADER_LEN, flag, kind, reason};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::flow::conn::What;
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::flow::segment::SegmentBatch;
use redtap_stages::stage::Stage;
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;
use std::io::Cursor;
use zerocopy::FromBytes;

/// What nginx, redis-server and dnsmasq said with curl, redis-cli, dig and plain sockets (`data/captures/record.py`).
const MIXED: &[u8] = include_bytes!("data/captures/mixed.pcap");
const COOKED: &[u8] = include_bytes!("data/captures/cooked.pcap");

type Event = (EventHeader, Vec<u8>);

fn read(file: &[u8], mode: Mode) -> (Vec<Event>, Outcome) {
    let mut capture = Capture::new(Cursor::new(file.to_vec()), mode);
    let outcome = capture.outcome();
    let mut events = Vec::new();
    let mut memory = Vec::new();
    while capture.next_record(&mut memory) == Next::Record {
        assert!((HEADER_LEN..=MAX_RECORD).contains(&memory.len()));
        let (header, payload) = EventHeader::read_from_prefix(&memory).unwrap();
        events.push((header, payload.to_vec()));
        memory.clear();
    }
    drop(capture);
    (events, std::sync::Arc::into_inner(outcome).unwrap().into_inner())
}

/// All bytes of each direction of each connection; `_` for what is missing.
fn streams(events: &[Event]) -> BTreeMap<(u64, u8), Vec<u8>> {
    let mut streams: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for (header, payload) in events.iter().filter(|(header, _)| header.kind == kind::DATA) {
        let stream = streams.entry((header.conn_id, header.dir)).or_default();
        assert_eq!(stream.len() as u64, header.offset, "no byte twice, none left out");
        stream.extend(payload);
        stream.resize(stream.len() + (header.len - header.cap_len) as usize, b'_');
    }
    streams
}

#[test]
fn real_traffic_decodes_without_a_gap_or_a_missed_turn() {
    for (file, mode) in [MIXED, COOKED]
        .into_iter()
        .flat_map(|file| [Mode::Packets, Mode::Glue, Mode::Rechunk { seed: 3 }].map(|mode| (file, mode)))
    {
        let (events, outcome) = read(file, mode);
        assert!(outcome.failure.is_none() && outcome.flows.gaps == 0, "{mode:?}");
        assert_eq!(outcome.packets.taken, outcome.packets.passed);
        let mut decode = Decode::<Vec<u8>>::new(DecodeSettings::default());
        let mut out = SegmentBatch::default();
        for (header, payload) in &events {
            let memory = [zerocopy::IntoBytes::as_bytes(header), payload].concat();
            let span = Span { start: 0, len: u32::try_from(memory.len()).unwrap() };
            let mut batch = EventBatch { memory: Some(memory), records: vec![span] };
            out.memory = None;
            decode.process(Nanos(header.ts_ns), &mut batch, &mut out);
        }
        assert_eq!(decode.ledger().taken, decode.ledger().passed, "{:?}", decode.ledger());
        let mut turn_starts = 0;
        for item in &out.items {
            match &item.what {
                What::Item(segment) => {
                    assert_eq!(segment.gap, 0);
                    turn_starts += u32::from(segment.turn_start);
                }
                What::Missed { .. } => panic!("nothing was missed"),
                What::Opened(info) => assert!(!info.late),
                What::Closed(_) => {}
            }
        }
        let flagged = events.iter().filter(|(header, _)| header.flags & flag::TURN_START != 0).count();
        assert_eq!(turn_starts as usize, flagged);
    }
}

#[test]
fn every_mode_gives_the_same_bytes_in_other_pieces() {
    let (packets, _) = read(MIXED, Mode::Packets);
    let whole = streams(&packets);
    let (glued, _) = read(MIXED, Mode::Glue);
    let (cut, _) = read(MIXED, Mode::Rechunk { seed: 1 });
    assert_eq!(streams(&glued), whole);
    assert_eq!(streams(&cut), whole);
    assert!(glued.len() < packets.len() && packets.len() < cut.len());
    assert!(cut.iter().any(|(header, _)| header.len == 1));
    assert_eq!(read(MIXED, Mode::Rechunk { seed: 1 }).0.len(), cut.len(), "the same seed, the same places");
    assert_ne!(
        read(MIXED, Mode::Rechunk { seed: 2 }).0.iter().map(|(header, _)| header.len).collect::<Vec<_>>(),
        cut.iter().map(|(header, _)| header.len).collect::<Vec<_>>()
    );
    let (heads, _) = read(MIXED, Mode::Head(100));
    let mut turns: BTreeMap<_, u32> = BTreeMap::new();
    for (header, _) in heads.iter().filter(|(header, _)| header.kind == kind::DATA) {
        *turns.entry((header.conn_id, header.turn)).or_default() += header.cap_len;
    }
    assert_eq!(turns.values().max(), Some(&100));
    let lengths = |streams: BTreeMap<_, Vec<u8>>| streams.into_values().map(|s| s.len()).collect::<Vec<_>>();
    assert_eq!(lengths(streams(&heads)), lengths(whole), "what is not captured is still known to be there");
}

/// A capture that ends anywhere: what came before is given, and the place is said.
#[test]
fn every_prefix_of_a_file_is_read_up_to_its_end() {
    let mut ends = vec![24];
    while let Some(length) = MIXED.get(ends.last().unwrap() + 8..).and_then(|rest| rest.first_chunk::<4>()) {
        ends.push(ends.last().unwrap() + 16 + u32::from_le_bytes(*length) as usize);
    }
    assert_eq!(*ends.last().unwrap(), MIXED.len());
    for cut in 0..2_000 {
        let (_, outcome) = read(&MIXED[..cut], Mode::Packets);
        let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        assert_eq!(outcome.packets.taken, whole as u64, "cut at {cut}");
        match outcome.failure {
            None => assert!(ends.contains(&cut), "cut at {cut}"),
            Some(CaptureError::NotACapture) => assert!(cut < 4, "cut at {cut}"),
            Some(CaptureError::Truncated { offset }) => {
                let begin = ends.iter().rev().find(|end| **end < cut).copied().unwrap_or(0);
                assert_eq!(offset, begin as u64, "cut at {cut}");
            }
            Some(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn a_length_that_no_packet_has_is_damage_where_it_stands() {
    let mut file = MIXED.to_vec();
    let second = 24 + 16 + u32::from_le_bytes(*file[32..].first_chunk().unwrap()) as usize;
    file[second + 8..second + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let (_, outcome) = read(&file, Mode::Packets);
    assert_eq!(outcome.packets.taken, 1);
    let Some(CaptureError::Damaged { offset, what: Damage::Length(length) }) = outcome.failure else {
        panic!("{:?}", outcome.failure)
    };
    assert_eq!((offset, length), (second as u64, 0x7fff_ffff + 16));
}

/// The packets of a pcap file: seconds, microseconds, bytes.
fn packets(file: &[u8]) -> Vec<(u32, u32, &[u8])> {
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
    let (mut at, mut found) = (24, Vec::new());
    while at < file.len() {
        let length = word(at + 8) as usize;
        found.push((word(at), word(at + 4), &file[at + 16..at + 16 + length]));
        at += 16 + length;
    }
    found
}

/// The same packets as pcapng: two sections, the second of two interfaces and of the other byte order.
fn pcapng(file: &[u8]) -> Vec<u8> {
    let packets = packets(file);
    let (first, second) = packets.split_at(packets.len() / 2);
    let link = u16::from_le_bytes([file[20], file[21]]);
    let mut out = Vec::new();
    for (big, packets) in [(false, first), (true, second)] {
        let two = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let four = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut block = |kind: u32, body: &[u8]| {
            let padded = body.len().next_multiple_of(4);
            let length = four(u32::try_from(padded + 12).unwrap());
            out.extend([&four(kind)[..], &length, body, &vec![0; padded - body.len()], &length].concat());
        };
        block(0x0a0d_0d0a, &[&four(0x1a2b_3c4d)[..], &two(1), &two(0), &[0xff; 8]].concat());
        // if_tsresol (option 9): nanoseconds.
        let resolution = [&two(9)[..], &two(1), &[9, 0, 0, 0], &[0; 4]].concat();
        if big {
            block(1, &[&two(147)[..], &two(0), &four(0)].concat());
        }
        block(1, &[&two(link)[..], &two(0), &four(0), &resolution].concat());
        block(4, &[0; 4]);
        for (seconds, micros, bytes) in packets {
            let time = u64::from(*seconds) * 1_000_000_000 + u64::from(*micros) * 1_000;
            let length = four(u32::try_from(bytes.len()).unwrap());
            let time = [four((time >> 32) as u32), four(time as u32)].concat();
            block(6, &[&four(u32::from(big))[..], &time, &length, &length, bytes].concat());
        }
    }
    out
}

#[test]
fn the_same_packets_in_either_format_are_the_same_events() {
    for file in [MIXED, COOKED] {
        let (want, _) = read(file, Mode::Packets);
        let (found, outcome) = read(&pcapng(file), Mode::Packets);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
        let plain =
            |events: Vec<Event>| events.into_iter().map(|(h, p)| (h.ts_ns, h.conn_id, h.kind, p)).collect::<Vec<_>>();
        assert_eq!(plain(found), plain(want));
    }
}

/// A capture made packet by packet.
struct Made {
    file: Vec<u8>,
    micros: u32,
}

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 80);
const SYN: u8 = 2;
const FIN: u8 = 1;
const RST: u8 = 4;

impl Made {
    fn new() -> Self {
        let mut file = MIXED[..24].to_vec();
        file[20] = 101;
        Self { file, micros: 0 }
    }

    /// A segment `from` the client or the server, 10 us after the last.
    fn put(&mut self, client: bool, seq: u32, ack: Option<u32>, flags: u8, payload: &[u8]) -> &mut Self {
        let (from, to) = if client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let mut builder = PacketBuilder::ipv4(from.0, to.0, 9).tcp(from.1, to.1, seq, 1_000);
        for (bit, set) in [(SYN, true), (FIN, true), (RST, true)].map(|(bit, _)| (bit, flags & bit != 0)) {
            builder = match (bit, set) {
                (SYN, true) => builder.syn(),
                (FIN, true) => builder.fin(),
                (RST, true) => builder.rst(),
                _ => builder,
            };
        }
        if let Some(ack) = ack {
            builder = builder.ack(ack);
        }
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        self.micros += 10;
        let length = u32::try_from(packet.len()).unwrap();
        for word in [self.micros / 1_000_000, self.micros % 1_000_000, length, length] {
            self.file.extend(word.to_le_bytes());
        }
        self.file.extend(packet);
        self
    }

    fn shake(&mut self, client: u32, server: u32) -> &mut Self {
        self.put(true, client, None, SYN, b"").put(false, server, Some(client.wrapping_add(1)), SYN, b"")
    }

    fn later(&mut self, time: Nanos) -> &mut Self {
        self.micros += u32::try_from(time.0 / 1_000).unwrap();
        self
    }

    /// One line an event: number, direction, bytes or what else it says.
    fn told(&self) -> Vec<String> {
        let (events, outcome) = read(&self.file, Mode::Packets);
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
        let line = |(header, payload): &Event| {
            let way = if header.dir == 0 { '>' } else { '<' };
            let late = if header.flags & flag::LATE == 0 { "" } else { " late" };
            let missing = header.len - header.cap_len;
            let missing = if missing > 0 { format!(" -{missing}") } else { String::new() };
            let what = match header.kind {
                kind::DATA => String::from_utf8(payload.clone()).unwrap() + &missing,
                kind::EOF => "end".to_owned(),
                _ => format!("close {}", header.detail),
            };
            format!("{}{way} {what}{late}", header.conn_id)
        };
        events.iter().map(line).collect()
    }
}

#[test]
fn a_connection_is_told_from_the_server_s_side_with_its_ends() {
    let mut made = Made::new();
    made.shake(100, 900).put(true, 101, Some(901), 0, b"ask").put(false, 901, Some(104), 0, b"answer");
    made.put(false, 907, Some(104), FIN, b"").put(true, 104, Some(908), FIN, b"").put(true, 999, None, RST, b"");
    let close = format!("1< close {}", reason::FIN);
    assert_eq!(made.told(), ["1> ask", "1< answer", "1< end", "1> end", &close]);
    let (events, _) = read(&made.file, Mode::Packets);
    let (header, _) = &events[1];
    assert_eq!((header.role, header.lport, header.rport), (2, SERVER.1, CLIENT.1));
    assert_eq!((header.turn, header.other_offset, header.other_ts_ns), (1, 3, 30_000));
}

#[test]
fn one_without_a_beginning_is_late_and_has_no_role() {
    let mut made = Made::new();
    made.put(false, 901, Some(104), 0, b"answer").put(true, 104, Some(907), 0, b"ask");
    assert_eq!(made.told(), ["1< answer late", "1> ask late"]);
    assert_eq!(read(&made.file, Mode::Packets).0[0].0.role, 0);
}

#[test]
fn ports_are_used_again_by_a_new_syn_and_not_by_a_repeated_one() {
    let mut made = Made::new();
    made.shake(100, 900).put(true, 101, Some(901), 0, b"a").put(true, 100, None, SYN, b"");
    made.shake(5_000, 70).put(true, 5_001, Some(71), 0, b"b").put(false, 71, Some(5_002), 0, b"c");
    let close = format!("1> close {}", reason::ABORT);
    assert_eq!(made.told(), ["1> a", &close, "2> b", "2< c"]);
}

#[test]
fn what_the_capture_lost_is_a_gap_before_what_answers_it() {
    let mut made = Made::new();
    made.shake(100, 900).put(true, 101, Some(901), 0, b"one").put(false, 901, Some(110), 0, b"answer");
    made.put(true, 113, Some(907), 0, b"three").put(false, 907, Some(118), 0, b"more");
    assert_eq!(made.told(), ["1> one", "1>  -6", "1< answer", "1>  -3", "1> three", "1< more"]);
}

#[test]
fn a_hole_that_nobody_acknowledges_is_waited_for_and_then_lost() {
    let mut made = Made::new();
    made.shake(100, 900).put(true, 104, None, 0, b"def").put(true, 101, None, 0, b"abc");
    assert_eq!(made.told(), ["1> abc", "1> def"]);
    let mut made = Made::new();
    made.shake(100, 900).put(true, 104, None, 0, b"def").later(HOLE_WAIT).put(true, 107, None, 0, b"g");
    assert_eq!(made.told(), ["1>  -3", "1> def", "1> g"]);
}

#[test]
fn a_reset_ends_a_connection_unless_who_sent_it_speaks_on() {
    let mut made = Made::new();
    made.shake(100, 900).put(true, 101, Some(901), 0, b"ask").put(true, 104, None, RST, b"");
    // On its way when the RST was sent.
    made.put(false, 901, Some(104), 0, b"answer").later(RESET_WAIT).put(false, 907, Some(104), 0, b"too late");
    let close = format!("1< close {}", reason::RESET);
    assert_eq!(made.told(), ["1> ask", "1< answer", &close]);
    let mut forged = Made::new();
    forged.shake(100, 900).put(true, 101, Some(901), RST, b"").put(true, 101, Some(901), 0, b"ask");
    forged.later(RESET_WAIT).put(false, 901, Some(104), 0, b"answer");
    assert_eq!(forged.told(), ["1> ask", "1< answer"]);
}

/// More conversations than are followed, all in one microsecond: those that make room lose nothing, and it is said.
#[test]
fn the_table_of_connections_is_bounded() {
    let mut made = Made::new();
    let count = u32::try_from(MAX_FLOWS).unwrap() + 10;
    for n in 0..count {
        let [_, a, b, c] = n.to_be_bytes();
        let mut packet = Vec::new();
        let to = [10, a, b, c];
        PacketBuilder::ipv4([10, 255, 0, 1], to, 9).udp(9, 9).write(&mut packet, &n.to_be_bytes()).unwrap();
        let length = u32::try_from(packet.len()).unwrap();
        for word in [1, 1, length, length] {
            made.file.extend(word.to_le_bytes());
        }
        made.file.extend(packet);
    }
    let (events, outcome) = read(&made.file, Mode::Packets);
    assert_eq!((events.len(), outcome.flows.flows), (count as usize, count.into()));
    assert_eq!(outcome.flows.crowded_out, MAX_FLOWS as u64 / 8 + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a file: reading it ends, and what comes out are records of connections whose bytes follow each other.
    #[test]
    fn any_file_ends(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        at in 0..MIXED.len(),
        changes in prop::collection::vec((0..MIXED.len(), any::<u8>()), 0..30),
        section in any::<bool>(),
    ) {
        let mut file = if section { pcapng(MIXED) } else { MIXED.to_vec() };
        for (place, byte) in changes {
            file[place] = byte;
        }
        let at = at.min(file.len());
        file.splice(at..(at + bytes.len() / 2).min(file.len()), bytes);
        for mode in [Mode::Packets, Mode::Rechunk { seed: 5 }, Mode::Head(9)] {
            streams(&read(&file, mode).0);
        }
    }

    /// Segments of a conversation in any order, some twice: the same bytes reach the stages.
    #[test]
    fn order_does_not_matter_within_a_turn(
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in prop::collection::vec(0..12_usize, 0..6),
        first in any::<u32>(),
    ) {
        let text: Vec<u8> = (0..120).map(|n| b'a' + n % 26).collect();
        let mut made = Made::new();
        made.shake(first, 900);
        for n in order.into_iter().chain(twice) {
            made.put(true, first.wrapping_add(1 + n as u32 * 10), None, 0, &text[n * 10..n * 10 + 10]);
        }
        made.put(false, 901, Some(first.wrapping_add(121)), 0, b"answer");
        let streams = streams(&read(&made.file, Mode::Packets).0);
        prop_assert_eq!(&streams[&(1, 0)], &text);
        prop_assert_eq!(&streams[&(1, 1)], b"answer");
    }
}
