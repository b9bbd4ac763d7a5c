//! Raw records as the kernel programs write them, for tests of the stages up to `filter`.

use redtap_stages::abi::{self, EventHeader};
use redtap_stages::flow::conn::Direction;
use redtap_stages::flow::event::{EventBatch, Span};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const SERVER: u8 = 2;
pub(crate) const TCP: u8 = 1;
pub(crate) const UDP: u8 = 2;

/// The memory type of the tests.
pub(crate) type Bytes = Vec<u8>;

/// A header with an IPv4 server at 127.0.0.1:8080 and a client at 127.0.0.1:40000, run by process 77.
pub(crate) fn header(conn_id: u64, kind: u8, direction: Direction, turn: u32) -> EventHeader {
    let mut header = EventHeader::new_zeroed();
    header.version = abi::VERSION;
    header.kind = kind;
    header.dir = u8::try_from(direction.index()).unwrap();
    header.role = SERVER;
    header.transport = TCP;
    header.family = 2;
    header.conn_id = conn_id;
    header.turn = turn;
    header.pid = 77;
    header.cgroup_id = 5;
    header.lport = 8080;
    header.rport = 40_000;
    header.laddr[..4].copy_from_slice(&[127, 0, 0, 1]);
    header.raddr[..4].copy_from_slice(&[127, 0, 0, 1]);
    header.comm[..5].copy_from_slice(b"nginx");
    header
}

/// Puts a record with its payload into a batch.
pub(crate) fn put(batch: &mut EventBatch<Bytes>, header: &EventHeader, payload: &[u8]) {
    let memory = batch.memory.get_or_insert_default();
    let start = memory.len();
    memory.extend_from_slice(header.as_bytes());
    memory.extend_from_slice(payload);
    let len = memory.len() - start;
    batch.records.push(Span { start: u32::try_from(start).unwrap(), len: u32::try_from(len).unwrap() });
}
