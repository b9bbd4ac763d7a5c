//! What the fuzz targets share: an input is a script, so that no corpus is needed to get past the first byte of a protocol.
//!
//! Each step of a script takes a few bytes of the input and makes bytes move, be missing, or end. Pieces of real
//! recordings are among what can be said. After each step the invariants of the stages are asserted: ledgers balance, buffers
//! stay under their bound, messages are no more than bytes.

use redtap_stages::abi::{self, EventHeader};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::flow::conn::{
    About, Address, CloseReason, ConnInfo, ConnKey, Direction, Owner, Role, Transport, What,
};
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::identify::Identify;
use redtap_stages::limits;
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::protocols::Protocol;
use redtap_stages::protocols::http2::hpack::{Decoder, Fields, Name};
use redtap_stages::stage::{Batch, Ledger, Stage};
use redtap_stages::time::Nanos;
use std::sync::Arc;

pub mod capture;

/// Words that the grammars turn on.
const WORDS: &[&[u8]] = &[
    b"\r\n\r\n",
    b"\r\n",
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"POST /b HTTP/1.1\r\nContent-Length: 12\r\n\r\n",
    b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 C\r\n\r\n",
    b"HTTP/1.1 101 S\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$",
    b"*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
    b"CLIENT REPLY SKIP\r\n",
    b"+OK\r\n",
    b"-ERR no\r\n",
    b"$-1\r\n",
    b"%2\r\n",
    b">3\r\n",
    b"|1\r\n",
    b"*?\r\n",
    b"*999999999999\r\n",
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01",
    b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\x7f\x00\x00\x01",
    b"\x00\x15",
    b"\xc0\x0c",
    b"\xc0\xff",
    b"\0\0\0\x11\0\x12\0\0\0\0\0\x01\0\x07rdkafka",
    b"\0\0\0\x11\0\x11\0\0\0\0\0\x02\0\x07rdkafka",
    b"\0\0\0\x25\0\x03\0\x0c\0\0\0\x01\0\x07rdkafka\0\x02",
    b"\0\0\0\x40\0\x01\0\x0d\0\0\0\x01\0\x07rdkafka\0",
    b"\0\0\0\x40\0\0\0\x08\0\0\0\x01\0\x07rdkafka\xff\xff\0\0",
    b"\0\0\0\x40\0\0\0\x01\0\0\0\0\0",
    b"\0\0\x40\0\0\0\0\x01",
    b"\x02\x07orders",
    b"\0\0\0\x02\0\x06orders",
    b"\xff\xff\xff\xff\x7f",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
    b"\0\0\0\x1a\0\x03\0\0user\0a\0database\0b\0\0",
    b"Q\0\0\0\x0dselect 1\0",
    b"P\0\0\0\x11s\0select 1\0\0\0",
    b"P\0\0\0\x10\0select 2\0\0\0",
    b"B\0\0\0\x0ep\0s\0\0\0\0\0\0\0",
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0",
    b"D\0\0\0\x07Ss\0",
    b"E\0\0\0\x0ap\0\0\0\0\x02",
    b"E\0\0\0\x09\0\0\0\0\0",
    b"C\0\0\0\x07Ss\0",
    b"S\0\0\0\x04",
    b"H\0\0\0\x04",
    b"d\0\0\0\x081\tx\n",
    b"c\0\0\0\x04",
    b"X\0\0\0\x04",
    b"S",
    b"N",
    b"R\0\0\0\x08\0\0\0\0",
    b"1\0\0\0\x042\0\0\0\x04n\0\0\0\x04",
    b"C\0\0\0\x0dSELECT 1\0",
    b"s\0\0\0\x04",
    b"E\0\0\0\x1bSERROR\0C42601\0Msyntax\0\0",
    b"A\0\0\0\x0c\0\0\0\x01n\0p\0",
    b"Z\0\0\0\x05I",
    b"\x01\x00\x00\x00\x0e",
    b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00",
    b"\x07\x00\x00\x01\x00\x00\x00\x0a\x00\x00\x00",
    b"\x09\x00\x00\x00\x03SELECT 1",
    b"\x09\x00\x00\x00\x16SELECT ?",
    b"\x0c\x00\x00\x01\x00\x01\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00",
    b"\x0a\x00\x00\x00\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00",
    b"\x01\x00\x00\x01\x01",
    b"\x04\x00\x00\x02\x03def",
    b"\x05\x00\x00\x03\xfe\x00\x00\x02\x00",
    b"\x09\x00\x00\x02\xff\x15\x04#28000",
    b"\x02\x00\x00\x01\xfbx",
    b"\x00\x00\x00\x03",
    b"\xff\xff\xff\x00\x03",
    b"\x0d\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x03SELECT 1",
    b"\x0b\x00\x00\x01\x40\x00\x00\x78\x9c",
    b"\x09\x00\x00\x00\x3c\x00\x00\x28\xb5\x2f\xfd",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86",
    b"\0\0\x01\x01\x04\0\0\0\x01\x88",
    b"\0\0\x02\x01\0\0\0\0\x03\x83\x44",
    b"\0\0\x04\x09\x04\0\0\0\x03\x03/a/",
    b"\0\0\x15\x01\x04\0\0\0\x05\x83\x44\x04/s/m\x5f\x10application/grpc",
    b"\0\0\x05\0\x01\0\0\0\x05\0\0\0\0\0",
    b"\0\0\x0f\x01\x05\0\0\0\x05\x40\x0bgrpc-status\x01\x35",
    b"\0\0\x05\0\x09\0\0\0\x01\x02ab\0\0",
    b"\0\0\x04\x03\0\0\0\0\x05\0\0\0\x08",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x82",
    b"Upgrade: h2c\r\n",
    b"POST /a.b/c HTTP/1.1\r\nContent-Type: application/grpc-web-text\r\nContent-Length: 8\r\n\r\nAAAAAAA=",
];

/// Recordings of conversations.
const RECORDINGS: &[&[u8]] = &[
    include_bytes!("../../stages/tests/fixtures/http1/nginx_pipeline.bin"),
    include_bytes!("../../stages/tests/fixtures/http1/node_trailers.bin"),
    include_bytes!("../../stages/tests/fixtures/http2/nghttp_get.rec"),
    include_bytes!("../../stages/tests/fixtures/http2/grpc_errors.rec"),
    include_bytes!("../../stages/tests/fixtures/http2/curl_upgrade.rec"),
    include_bytes!("../../stages/tests/fixtures/http1/node_chunked_upload.bin"),
    include_bytes!("../../stages/tests/fixtures/kafka/group_11.rec"),
    include_bytes!("../../stages/tests/fixtures/kafka/fetch_by_id.rec"),
    include_bytes!("../../stages/tests/fixtures/postgres/pgbench_pipeline.rec"),
    include_bytes!("../../stages/tests/fixtures/postgres/jdbc.rec"),
    include_bytes!("../../stages/tests/fixtures/mysql/c_connector.rec"),
    include_bytes!("../../stages/tests/fixtures/mysql/mysqlclient_compressed.rec"),
];

/// Longest piece of one step, bytes.
const MAX_PIECE: usize = 4096;

/// Reads a script.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> u64 {
        let shift = u32::from(self.byte().unwrap_or(0) % 64);
        (u64::from(self.byte().unwrap_or(0)) << 8 | u64::from(self.byte().unwrap_or(1))).rotate_left(shift)
    }

    /// A piece of bytes: raw, a word, a piece of a recording, or a long run.
    fn piece(&mut self) -> Vec<u8> {
        let Some(kind) = self.byte() else { return Vec::new() };
        match kind % 4 {
            0 => {
                let (raw, rest) = self.0.split_at(usize::from(kind / 4).min(self.0.len()));
                self.0 = rest;
                raw.to_vec()
            }
            1 => WORDS[usize::from(kind / 4) % WORDS.len()].to_vec(),
            2 => {
                let whole = RECORDINGS[usize::from(kind / 4) % RECORDINGS.len()];
                let from = usize::try_from(self.number()).unwrap_or(0) % whole.len();
                let len = usize::from(self.byte().unwrap_or(0)) * 8;
                whole[from..].iter().take(len).copied().collect()
            }
            _ => vec![self.byte().unwrap_or(b'x'); usize::from(kind) * 17 % MAX_PIECE],
        }
    }
}

fn check(ledger: Ledger, parse_bytes: usize) {
    assert!(ledger.balances(), "{ledger:?}");
    assert!(parse_bytes <= limits::PARSE_BUFFERS_TOTAL);
}

/// A script of segments on one connection of a known protocol, through parse.
pub fn wire(protocol: Protocol, data: &[u8]) {
    let mut script = Script(data);
    let flags = script.byte().unwrap_or(0);
    let transport = if flags & 1 != 0 && protocol == Protocol::Dns { Transport::Udp } else { Transport::Tcp };
    let role = if flags & 2 != 0 { Role::Server } else { Role::Client };
    let info = ConnInfo {
        id: 1,
        transport,
        role,
        local: Address::UNKNOWN,
        remote: Address::UNKNOWN,
        owner: Owner::default(),
        netns: 0,
        sock_ino: 0,
        late: flags & 4 != 0,
        sampling: 0,
    };
    let conn = ConnKey { slot: 0, generation: 1 };
    let mut parse = Parse::<Vec<u8>>::new();
    let mut out = MessageBatch::default();
    let mut feed = |at: u64, what: What<Segment>, memory: Vec<u8>| {
        let mut batch =
            SegmentBatch { memory: Some(memory), items: vec![About { conn, at: Nanos(at), what }], verdicts: vec![] };
        parse.process(Nanos(at), &mut batch, &mut out);
        check(parse.ledger(), parse.buffered());
        let made = out.items.len();
        out.recycle();
        made
    };
    feed(0, What::Opened(Arc::new(info)), Vec::new());
    let (mut turn, mut at, mut moved, mut made) = (0, 0, 0, 0);
    while let Some(step) = script.byte() {
        at += 1000;
        let direction = if step & 1 == 0 { Direction::Egress } else { Direction::Ingress };
        let mut memory = Vec::new();
        let what = match step >> 4 {
            0 => What::Missed { requests: u32::from(step & 2), responses: u32::from(step & 1) },
            kind => {
                let gap = if kind == 1 || kind == 2 { script.number() } else { 0 };
                if kind != 1 {
                    memory = script.piece();
                }
                let turn_start = step & 2 != 0;
                turn += u32::from(turn_start);
                What::Item(Segment {
                    direction,
                    offset: 0,
                    captured: Span { start: 0, len: u32::try_from(memory.len()).unwrap_or(0) },
                    gap,
                    turn_start,
                    turn,
                    tid: 0,
                    end: kind == 3,
                    protocol,
                })
            }
        };
        moved += memory.len() + 4;
        made += feed(at, what, memory);
        assert!(made <= 4 * moved + 64, "{made} items of {moved} bytes");
    }
    feed(at, What::Closed(CloseReason::Fin), Vec::new());
}

/// Notes what comes out of a header block.
#[derive(Default, PartialEq, Debug)]
struct Noted(Vec<(Name, bool, Vec<u8>)>);

impl Fields for Noted {
    fn field(&mut self, name: Name, value: &[u8], whole: bool) {
        assert!(value.len() <= limits::MAX_TARGET);
        self.0.push((name, whole, value.to_vec()));
    }
}

/// A row of header blocks, each with a length of one byte before it and a size of pieces behind that, through two decoders.
pub fn header_blocks(data: &[u8]) {
    let (mut whole, mut pieces) = (Decoder::default(), Decoder::default());
    let mut rest = data;
    while let Some((&[len, size], after)) = rest.split_first_chunk() {
        let (block, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        let (mut one, mut many) = (Noted::default(), Noted::default());
        let a = whole.feed(block, &mut one).map(|()| whole.end());
        let fed = block.chunks(usize::from(size % 16) + 1).try_for_each(|piece| pieces.feed(piece, &mut many));
        let b = fed.map(|()| pieces.end());
        assert_eq!((a, &one), (b, &many));
        if a.is_err() {
            whole.forget();
            pieces.forget();
        }
    }
}

/// A script of ring records of a few connections, some of them nonsense, through the first four stages.
pub fn records(data: &[u8]) {
    let mut script = Script(data);
    let mut decode = Decode::<Vec<u8>>::new(DecodeSettings { connections: 3, ..DecodeSettings::default() });
    let (mut identify, mut parse) = (Identify::<Vec<u8>>::new(), Parse::<Vec<u8>>::new());
    let mut pair = Pair::new(PairSettings::default());
    let mut offsets = [[0_u64; 2]; 4];
    let mut turns = [0_u32; 4];
    let mut now = 1;
    while !script.0.is_empty() {
        let mut events = EventBatch { memory: None, records: Vec::new() };
        let mut memory = Vec::new();
        for _ in 0..script.byte().unwrap_or(0) % 8 + 1 {
            now += 1000;
            let record = record(&mut script, now, &mut offsets, &mut turns);
            let start = u32::try_from(memory.len()).unwrap_or(0);
            events.records.push(Span { start, len: u32::try_from(record.len()).unwrap_or(0) });
            memory.extend_from_slice(&record);
        }
        events.memory = Some(memory);
        let (mut a, mut b, mut messages, mut exchanges) =
            (SegmentBatch::default(), SegmentBatch::default(), MessageBatch::default(), Vec::new());
        decode.process(Nanos(now), &mut events, &mut a);
        identify.process(Nanos(now), &mut a, &mut b);
        parse.process(Nanos(now), &mut b, &mut messages);
        pair.process(Nanos(now), &mut messages, &mut exchanges);
        if script.byte().is_some_and(|byte| byte > 250) {
            now += Nanos::from_secs(40).0;
            decode.tick(Nanos(now), &mut a);
            pair.tick(Nanos(now), &mut exchanges);
        }
        for ledger in [decode.ledger(), identify.ledger(), parse.ledger(), pair.ledger()] {
            check(ledger, parse.buffered());
        }
    }
}

/// One record: mostly as the kernel would write it, now and then with a byte changed.
fn record(script: &mut Script<'_>, now: u64, offsets: &mut [[u64; 2]; 4], turns: &mut [u32; 4]) -> Vec<u8> {
    let kind = script.byte().unwrap_or(0);
    let conn = usize::from(kind % 4);
    let dir = usize::from(kind >> 2 & 1);
    let flags = script.byte().unwrap_or(0);
    let payload = if flags & 0x40 == 0 { script.piece() } else { Vec::new() };
    let payload = payload.get(..payload.len().min(abi::MAX_CHUNK)).unwrap_or(&[]).to_vec();
    let uncaptured = if flags & 0x20 != 0 { script.number() % 100_000 } else { 0 };
    let len = payload.len() as u64 + uncaptured;
    let skipped = if flags & 0x10 != 0 { script.number() % 10_000 } else { 0 };
    turns[conn] = turns[conn].wrapping_add(u32::from(flags & 1));
    offsets[conn][dir] = offsets[conn][dir].wrapping_add(skipped);
    let kinds =
        [abi::kind::DATA, abi::kind::DATA, abi::kind::DATA, abi::kind::PROGRESS, abi::kind::EOF, abi::kind::CLOSE];
    let header = EventHeader {
        version: abi::VERSION,
        kind: kinds[usize::from(kind >> 3) % kinds.len()],
        dir: dir as u8,
        role: (flags >> 1) % 3,
        transport: if conn == 3 { 2 } else { 1 },
        family: 2,
        flags: flags & 1,
        detail: 1,
        cap_len: payload.len() as u32,
        len: len as u32,
        conn_id: conn as u64 + 1 + (u64::from(kind >> 6) << 3),
        ts_ns: now,
        offset: offsets[conn][dir],
        other_offset: offsets[conn][1 - dir],
        other_ts_ns: now - 1,
        unseen: 0,
        turn: turns[conn],
        pid: 1,
        tid: 1,
        cgroup_id: 1,
        netns: 1,
        lport: 40_000,
        rport: 80,
        laddr: [1; 16],
        raddr: [2; 16],
        comm: [b'x'; 16],
        sock_ino: 1,
    };
    offsets[conn][dir] = offsets[conn][dir].wrapping_add(len);
    let mut record = zerocopy_bytes(&header);
    record.extend_from_slice(&payload);
    if flags & 0x80 != 0 {
        let at = usize::try_from(script.number()).unwrap_or(0) % record.len();
        record[at] = script.byte().unwrap_or(0);
        record.truncate(record.len() - usize::from(script.byte().unwrap_or(0) & 1));
    }
    record
}

fn zerocopy_bytes(header: &EventHeader) -> Vec<u8> {
    zerocopy::IntoBytes::as_bytes(header).to_vec()
}
