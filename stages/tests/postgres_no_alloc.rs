//! In steady state the parser of PostgreSQL allocates nothing: neither for simple queries, nor for statements that are parsed,
//! bound and executed each time, nor for prepared ones, also where messages are cut into pieces.
#![expect(clippy::unwrap_used, reason = "test support outside of tests")]

use redtap_stages::flow::conn::{Direction, Role, Transport};
use redtap_stages::flow::message::{Message, MessageKind, Part};
use redtap_stages::protocols::postgres::{Postgres, State};
use redtap_stages::protocols::{Context, Input, Sink, Step, Wire};
use redtap_stages::time::Nanos;

/// Records of one byte `>` (client to server) or `<`, four bytes big-endian length, the bytes.
fn records(mut file: &'static [u8]) -> Vec<(Direction, &'static [u8])> {
    let mut out = Vec::new();
    while let Some((head, rest)) = file.split_first_chunk::<5>() {
        let [mark, length @ ..] = *head;
        let direction = if mark == b'>' { Direction::Egress } else { Direction::Ingress };
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(length)).unwrap()).unwrap();
        out.push((direction, bytes));
        file = rest;
    }
    out
}

#[derive(Default)]
struct Counted {
    requests: u64,
    answers: u64,
    refused: u64,
}

impl Sink for Counted {
    fn message(&mut self, message: Message) {
        let begins = message.part != Part::End;
        self.requests += u64::from(message.kind == MessageKind::Request && begins);
        self.answers += u64::from(message.kind == MessageKind::Response && begins);
    }
}

fn converse(state: &mut State, records: &[(Direction, &[u8])], piece: usize, sink: &mut Counted) {
    let mut before = None;
    for (direction, bytes) in records {
        let at = Nanos(1);
        let context = Context { direction: *direction, role: Role::Client, transport: Transport::Tcp, start: at, at };
        if before != Some(*direction) {
            Postgres::turn(state, context, sink);
            before = Some(*direction);
        }
        for mut part in bytes.chunks(piece) {
            while !part.is_empty() {
                let step = Postgres::parse(state, context, Input::Bytes(part), sink);
                let Step::Consumed(n) = step else {
                    sink.refused += 1;
                    break;
                };
                part = part.get(usize::try_from(n.get()).unwrap()..).unwrap();
            }
        }
    }
}

/// Without the log-in: its session is made once a connection.
fn body(records: Vec<(Direction, &'static [u8])>) -> Vec<(Direction, &'static [u8])> {
    let login = records.iter().position(|(_, bytes)| matches!(bytes.first(), Some(b'Q' | b'P'))).unwrap();
    records.get(login..records.len() - 1).unwrap().to_vec()
}

#[test]
fn steady_state_allocates_nothing() {
    for file in [
        &include_bytes!("fixtures/postgres/pgbench_simple.rec")[..],
        include_bytes!("fixtures/postgres/pgbench_extended.rec"),
        include_bytes!("fixtures/postgres/pgbench_prepared.rec"),
        include_bytes!("fixtures/postgres/pgbench_pipeline.rec"),
    ] {
        let records = body(records(file));
        for piece in [usize::MAX, 7] {
            let (mut state, mut sink) = (State::default(), Counted::default());
            for _ in 0..10 {
                converse(&mut state, &records, piece, &mut sink);
            }
            let before = sink.answers;
            let allocated = allocation_counter::measure(|| {
                for _ in 0..100 {
                    converse(&mut state, &records, piece, &mut sink);
                }
            });
            assert!(
                sink.answers - before >= 1_200 && sink.requests == sink.answers && sink.refused == 0,
                "all was read"
            );
            assert_eq!(allocated.count_total, 0, "in pieces of {piece}");
        }
    }
}
