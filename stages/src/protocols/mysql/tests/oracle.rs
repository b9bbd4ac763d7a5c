//! Against an independent reader: what the crate `mysql_common` makes of both sides of a conversation, we make of it, too.
//!
//! Conversations: the recordings; the recordings with bytes changed, and in compressed frames; log-ins, long packets and farewells that the
//! crate wrote. What the reader refuses is not compared, but may be no recording, and only some of what was changed.

mod reader;
mod side;

use super::*;
use crate::protocols::laws::Random;
use crate::text::Text;
use bytes::BytesMut;
use mysql_common::constants::{CapabilityFlags, ColumnType, Command, MAX_PAYLOAD_LEN, StatusFlags};
use mysql_common::io::BufMutExt;
use mysql_common::packets::{AuthPlugin, Column, ErrPacket, HandshakePacket, HandshakeResponse, ServerError, SqlState};
use mysql_common::proto::MySerialize;
use mysql_common::proto::codec::{self, Compression, packet_to_chunks};
use proptest::prelude::*;
use reader::{Answered, Asked, Oracle, Seen};

/// What we read.
fn ours(conversation: &Conversation) -> Seen {
    let drive = Drive::<Mysql>::new(Transport::Tcp).conversation(conversation);
    let mut seen = Seen { refusals: drive.refusals, ..Seen::default() };
    for message in folded(&drive.out.0) {
        let bytes = message.bytes;
        if message.kind == MessageKind::Request {
            let session = message.session.map(|session| (session.user.clone(), session.namespace.clone()));
            let (method, target) = (Some(message.method.to_string()), message.target);
            seen.asked.push(Asked { method, target, session, no_reply: message.no_reply, bytes });
        } else {
            let (kind, status, error) = (message.kind, message.status, message.code.as_str().parse().ok());
            seen.answered.push(Answered { kind, status, error, bytes });
        }
    }
    seen
}

/// Both read the same.
fn check(name: &str, theirs: &Seen, conversation: &Conversation) {
    let mut ours = ours(conversation);
    for (ours, theirs) in ours.asked.iter_mut().zip(&theirs.asked) {
        if theirs.method.is_none() {
            ours.method = None;
        }
    }
    assert_eq!(ours, *theirs, "{name}");
}

/// What the reader, who must understand it, and we read.
fn check_clean(name: &str, conversation: &Conversation) -> Seen {
    let theirs = Oracle::read(conversation).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    check(name, &theirs, conversation);
    theirs
}

fn recordings() -> Vec<(&'static str, Conversation)> {
    let others = [
        ("large", recording!("large")),
        ("error_in_rows", recording!("error_in_rows")),
        ("killed", recording!("killed")),
        ("encrypted", recording!("encrypted")),
    ];
    clean().into_iter().chain(compressed()).chain(others).collect()
}

#[test]
fn an_independent_reader_sees_the_same_in_every_recording() {
    let requests = recordings().into_iter().map(|(name, conversation)| check_clean(name, &conversation).asked.len());
    assert_eq!(requests.sum::<usize>(), 265, "all of them were read to the end");
}

/// Each byte behind the greeting, one at a time.
#[test]
fn changed_bytes_are_read_alike_where_the_reader_takes_them() {
    let mut random = Random(0x5eed);
    let (mut taken, mut refused) = (0_u32, 0_u32);
    for (name, conversation) in clean() {
        for turn in 1..conversation.turns.len() {
            for at in 0..conversation.turns[turn].1.len().min(MOST_CHANGED) {
                let mut changed = conversation.clone();
                let byte = &mut changed.turns[turn].1[at];
                *byte = if random.below(2) == 0 { byte.wrapping_add(1) } else { random.next() as u8 };
                match Oracle::read(&changed) {
                    Ok(theirs) => {
                        taken += 1;
                        let place = format!("{name}, byte {at} of turn {turn} is {}", changed.turns[turn].1[at]);
                        check(&place, &theirs, &changed);
                        // In frames no sequence ids help to find the end of an answer.
                        if turn > 1 && taken.is_multiple_of(4) {
                            check(&format!("{place}, in frames"), &theirs, &in_frames(&changed, 49));
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(taken > refused, "{taken} taken, {refused} refused");
}

/// Bytes of a turn that are changed.
const MOST_CHANGED: usize = 250;

/// The conversation as it would have been with compression: its commands and answers in frames of at most `len` bytes, which the crate
/// makes.
fn in_frames(conversation: &Conversation, len: usize) -> Conversation {
    let mut framed = conversation.clone();
    let commands = framed.turns.iter().position(|(direction, bytes)| *direction == Egress && bytes.get(3) == Some(&0));
    let Some(commands) = commands else { return framed };
    framed.turns[1].1[4] |= CapabilityFlags::CLIENT_COMPRESS.bits() as u8;
    let mut seq = 0;
    for (direction, bytes) in &mut framed.turns[commands..] {
        // With room: where there is none, the crate cuts off what deflate makes longer.
        let (mut plain, mut frames) = (BytesMut::from(bytes.as_slice()), BytesMut::with_capacity(64 + 4 * bytes.len()));
        seq = if *direction == Egress { 0 } else { seq };
        seq = codec::compress(seq, Compression::default(), len, &mut plain, &mut frames).expect("frames");
        *bytes = frames.to_vec();
    }
    framed
}

#[test]
fn frames_of_any_length_that_the_crate_made_hold_what_was_recorded() {
    for (name, conversation) in clean().into_iter().chain([("large", recording!("large"))]) {
        let plain = check_clean(name, &conversation);
        // Shorter than a header; between packets and across them, as they are and deflated; a turn in one.
        for len in [3, 49, 64, 1_000, MAX_PAYLOAD_LEN] {
            let framed = in_frames(&conversation, len);
            assert_eq!(check_clean(name, &framed), plain, "{name} in frames of {len}");
        }
    }
}

#[test]
fn rows_of_a_cursor_are_all_of_their_answer_whatever_the_flags_say() {
    let mut conversation = recording!("c_connector");
    let fetch = |(_, bytes): &(Direction, Vec<u8>)| bytes.get(4) == Some(&(Command::COM_STMT_FETCH as u8));
    let at = conversation.turns.iter().position(fetch).expect("a cursor") + 1;
    let [.., flags, _] = conversation.turns[at].1.as_mut_slice() else { panic!("EOF") };
    *flags |= StatusFlags::SERVER_MORE_RESULTS_EXISTS.bits() as u8;
    check_clean("as it is", &conversation);
    check_clean("in frames", &in_frames(&conversation, MAX_PAYLOAD_LEN));
}

/// Payloads as packets, numbered on from `seq`.
fn packets(mut seq: u8, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for payload in payloads {
        seq = packet_to_chunks(seq, &mut payload.as_slice(), &mut out);
    }
    out.to_vec()
}

fn written(packet: &impl MySerialize) -> Vec<u8> {
    let mut out = Vec::new();
    packet.serialize(&mut out);
    out
}

/// One result of a query.
#[derive(Debug, Clone)]
enum Outcome {
    /// A set of rows of text: column names, cells.
    Rows(Vec<String>, Vec<Vec<Option<Vec<u8>>>>),
    /// OK: rows that it affected, and the number of the last that it made.
    Changed(u64, u64),
}

/// A server's answer to a query: results, and at last OK or an error.
fn answer(
    capabilities: CapabilityFlags,
    cache_metadata: bool,
    outcomes: &[Outcome],
    error: Option<u16>,
) -> Vec<Vec<u8>> {
    let more = (StatusFlags::SERVER_STATUS_AUTOCOMMIT | StatusFlags::SERVER_MORE_RESULTS_EXISTS).bits().to_le_bytes();
    let deprecates_eof = capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);
    let eof = [&[0xfe, 0, 0], &more[..]].concat();
    let mut out = Vec::new();
    for outcome in outcomes {
        let (columns, rows) = match outcome {
            Outcome::Rows(columns, rows) => (columns, rows),
            Outcome::Changed(affected, made) => {
                let mut ok = vec![0];
                ok.put_lenenc_int(*affected);
                ok.put_lenenc_int(*made);
                out.push([&ok, &more[..], &[0, 0]].concat());
                continue;
            }
        };
        let mut count = Vec::new();
        count.put_lenenc_int(columns.len() as u64);
        count.extend(cache_metadata.then_some(1));
        out.push(count);
        out.extend(
            columns
                .iter()
                .map(|name| written(&Column::new(ColumnType::MYSQL_TYPE_VAR_STRING).with_name(name.as_bytes()))),
        );
        out.extend((!deprecates_eof).then(|| eof.clone()));
        for row in rows {
            let mut cells = Vec::new();
            for cell in row {
                match cell {
                    Some(cell) => cells.put_lenenc_str(cell),
                    None => cells.push(0xfb),
                }
            }
            out.push(cells);
        }
        out.push(if deprecates_eof { [&[0xfe, 0, 0], &more[..], &[0, 0]].concat() } else { eof.clone() });
    }
    out.push(match error {
        Some(number) => {
            written(&ErrPacket::Error(ServerError::new(number, Some(SqlState::new(*b"42S02")), &b"no"[..])))
        }
        None => b"\0\0\0\x02\0\0\0".to_vec(),
    });
    out
}

/// A log-in as that recording has it, then a query and its answer.
fn asks(recorded: &Conversation, query: &[u8], answer: &[Vec<u8>]) -> Conversation {
    let query = [&[Command::COM_QUERY as u8], query].concat();
    let next = query.len() / MAX_PAYLOAD_LEN + 1;
    let mut turns = recorded.turns[..3].to_vec();
    turns.push((Egress, packets(0, &[query])));
    turns.push((Ingress, packets(next as u8, answer)));
    Conversation { turns, transport: Transport::Tcp }
}

#[test]
fn payloads_around_16_mib_are_one_command_and_one_row() {
    // EOF behind rows, and OK in its place: a cell of 16 MiB begins with the byte of both.
    for (recorded, capabilities, cache_metadata) in [
        (recording!("pymysql"), CapabilityFlags::empty(), false),
        (recording!("go"), CapabilityFlags::CLIENT_DEPRECATE_EOF, true),
    ] {
        for len in [MAX_PAYLOAD_LEN - 1, MAX_PAYLOAD_LEN, MAX_PAYLOAD_LEN + 1, (1 << 24) + 9, 2 * MAX_PAYLOAD_LEN] {
            let mut text = b"INSERT INTO word VALUES (1)".to_vec();
            text.resize(len - 1, b' ');
            // Behind its length, in 4 bytes or 9.
            let cell = vec![b'x'; if len < 1 << 24 { len - 4 } else { len - 9 }];
            let outcomes = [
                Outcome::Rows(vec!["a".into()], vec![vec![None], vec![Some(cell)], vec![None]]),
                Outcome::Rows(vec!["b".into()], vec![]),
            ];
            let conversation = asks(&recorded, &text, &answer(capabilities, cache_metadata, &outcomes, Some(1_146)));
            let seen = check_clean(&format!("payloads of {len}"), &conversation);
            let long = len as u64 + 4 * (len / MAX_PAYLOAD_LEN + 1) as u64;
            assert_eq!((seen.asked[1].bytes, seen.answered[1].error), (long, Some(1_146)));
        }
    }
}

#[test]
fn an_error_that_nobody_asked_for_is_told() {
    let mut conversation = recording!("killed");
    conversation.turns.pop();
    let error = ServerError::new(4_031, Some(SqlState::new(*b"HY000")), &b"disconnected by the server"[..]);
    conversation.turns.push((Ingress, packets(0, &[written(&ErrPacket::Error(error))])));
    let last = check_clean("killed", &conversation).answered.pop().expect("an error");
    assert_eq!((last.kind, last.error), (MessageKind::OneWay, Some(4_031)));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let rows = prop::collection::vec("[a-z]{0,300}", 1..6).prop_flat_map(|columns| {
        let cell = prop::option::weighted(0.9, prop::collection::vec(any::<u8>(), 0..400));
        let row = prop::collection::vec(cell, columns.len());
        prop::collection::vec(row, 0..5).prop_map(move |rows| Outcome::Rows(columns.clone(), rows))
    });
    // Of each length that a length-encoded integer has.
    let number = || (any::<u64>(), 0_u32..64).prop_map(|(number, shift)| number >> shift);
    prop_oneof![rows, (number(), number()).prop_map(|(affected, made)| Outcome::Changed(affected, made))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn log_ins_and_answers_that_the_crate_wrote_are_read_as_it_meant_them(
        user in prop::collection::vec(1_u8.., 0..40),
        database in prop::option::of("[a-zé]{0,30}"),
        password in prop::option::of(prop::collection::vec(any::<u8>(), 0..250)),
        with_plugin: bool,
        attributes in prop::option::of(prop::collection::hash_map("[a-z_]{1,20}", "[ -~]{0,300}", 0..6)),
        chosen: u32,
        outcomes in prop::collection::vec(outcome(), 0..5),
        error in prop::option::of(1_000_u16..5_000),
    ) {
        let offered = CapabilityFlags::all()
            - CapabilityFlags::CLIENT_SSL
            - CapabilityFlags::CLIENT_COMPRESS
            - CapabilityFlags::CLIENT_OPTIONAL_RESULTSET_METADATA
            - CapabilityFlags::CLIENT_ZSTD_COMPRESSION_ALGORITHM
            - CapabilityFlags::CLIENT_QUERY_ATTRIBUTES;
        let wanted = CapabilityFlags::from_bits_truncate(chosen) & offered | CapabilityFlags::CLIENT_PROTOCOL_41;
        let plugin = with_plugin.then_some(AuthPlugin::MysqlNativePassword);
        let greeting = HandshakePacket::new(
            10, &b"9.1.0"[..], 7, [b'a'; 8], Some(vec![b'b'; 13]), offered, 45, StatusFlags::empty(), Some(&b"mysql_native_password"[..]),
        );
        let database = database.map(String::into_bytes);
        let login = HandshakeResponse::new(password, (9, 1, 0), Some(user.clone()), database.clone(), plugin, wanted, attributes, 1 << 24);
        let answer = answer(wanted, false, &outcomes, error);
        let conversation = Conversation::of(&[
            (Ingress, &packets(0, &[written(&greeting)])),
            (Egress, &packets(1, &[written(&login)])),
            (Ingress, &packets(2, &[b"\0\0\0\x02\0\0\0".to_vec()])),
            (Egress, &packets(0, &[b"\x03SELECT 1".to_vec()])),
            (Ingress, &packets(1, &answer)),
        ]);
        let seen = check_clean("written", &conversation);
        let session = (Text::from_wire(&user), Text::from_wire(&database.unwrap_or_default()));
        prop_assert_eq!(seen.asked[1].session.clone(), Some(session));
        prop_assert_eq!(seen.answered[1].error, error);
    }
}
