//! What may be cut, missing, hostile or joined late.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// Small enough for laws that read them some thousand times.
fn small() -> impl Iterator<Item = (&'static str, Conversation)> {
    CLEAN.iter().filter(|(_, bytes)| bytes.len() < 2_600).map(|(name, _)| (*name, conversation(name)))
}

#[test]
fn every_prefix_gives_a_prefix_of_the_messages() {
    for (name, conversation) in small() {
        eprintln!("{name}");
        laws::keeps_prefixes::<Http2>(&conversation);
    }
}

#[test]
fn every_cut_gives_the_same_messages() {
    for (name, conversation) in small() {
        eprintln!("{name}");
        laws::keeps_splits::<Http2>(&conversation);
    }
}

#[test]
fn large_recordings_are_read_alike_whole_and_in_pieces() {
    for (name, _) in CLEAN {
        let whole = conversation(name);
        for size in [1, 7, 1_000, 4_096] {
            let mut pieces = whole.clone();
            pieces.turns = Vec::new();
            for (direction, bytes) in &whole.turns {
                pieces.turns.extend(bytes.chunks(size).map(|piece| (*direction, piece.to_vec())));
            }
            assert_eq!(read(&pieces), read(&whole), "{name} in pieces of {size}");
        }
    }
}

#[test]
fn gaps_never_panic_and_the_next_connection_is_read_as_ever() {
    for (name, conversation) in
        small().filter(|(_, held)| held.turns.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 1_050)
    {
        eprintln!("{name}");
        laws::keeps_gaps::<Http2>(&conversation, true);
    }
}

#[test]
fn hostile_bytes_never_panic() {
    for (name, conversation) in small() {
        eprintln!("{name}");
        laws::keeps_hostile::<Http2>(&conversation, 60);
    }
}

/// All that is known of `got` is so in `truth`.
fn is_part_of(got: &Call, truth: &[Call]) -> bool {
    truth.iter().any(|truth| {
        let same = |got: &str, truth: &str| got.is_empty() || got == truth;
        // Where nothing tells that it is gRPC, it is HTTP/2.
        let carried = got.protocol == Protocol::Http2 && truth.protocol == Protocol::Grpc;
        let target = if carried { got.target.trim_start_matches('/') } else { &got.target };
        got.id == truth.id
            && (carried || got.protocol == truth.protocol)
            && same(&got.method, &truth.method)
            && same(target, &truth.target)
            && match (&got.answer, &truth.answer) {
                (None, _) => true,
                (Some((Status::Unknown, code)), _) => code.is_empty(),
                // What HTTP says of a call that was not known to be one is never that a failed one went well.
                (Some((Status::Ok, code)), Some((truth, _))) if carried => code == "200" && *truth == Status::Ok,
                (Some((Status::Error, code)), Some((Status::Error, _))) if carried => code == "404",
                // A call that the client broke off, and where that went by unseen: the server said what it made of it.
                (Some((Status::Error, got)), Some((Status::Error, truth))) if truth == "1" => got == "1" || got == "4",
                (Some(got), Some(truth)) => got == truth,
                (Some(_), None) => false,
            }
    })
}

#[test]
fn joined_late_what_is_reported_is_right_and_the_rest_unknown() {
    let mut known = HashMap::<&str, (usize, usize)>::new();
    for (name, _) in CLEAN {
        let whole = conversation(name);
        let truth = paired(&read(&whole));
        for from in 1..whole.turns.len() {
            let mut drive = Drive::<Http2>::new(Transport::Tcp);
            let rest = Conversation { turns: whole.turns[from..].to_vec(), ..whole.clone() };
            drive.converse(&rest);
            drive.end(Egress);
            drive.end(Ingress);
            for call in paired(&folded(&drive.out.0)) {
                assert!(is_part_of(&call, &truth), "{name} from {from}: {call:?} is not in {truth:#?}");
                let (told, all) = known.entry(name).or_default();
                *all += 1;
                *told += usize::from(!call.target.is_empty());
            }
        }
    }
    eprintln!("targets known: {known:?}");
    let (told, all) = known["go_h2c"];
    assert!(told * 10 > all * 8, "the table refills: {told} of {all}");
}

#[test]
fn missing_bytes_make_fields_unknown_and_never_wrong() {
    for (name, conversation) in small() {
        let truth = paired(&read(&conversation));
        for (index, (_, bytes)) in conversation.turns.iter().enumerate() {
            for from in (0..bytes.len()).step_by(1 + bytes.len() / 97) {
                for len in [1, 9, 40, 700] {
                    let mut drive = Drive::<Http2>::new(Transport::Tcp);
                    laws::converse_with_gap(&mut drive, &conversation, index, from..(from + len).min(bytes.len()));
                    drive.end(Egress);
                    drive.end(Ingress);
                    for call in paired(&folded(&drive.out.0)) {
                        assert!(
                            is_part_of(&call, &truth),
                            "{name}, entry {index}, {len} missing at {from}: {call:?} is not in {truth:#?}"
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_frames_in_any_pieces_never_panic(
        frames in proptest::collection::vec((0_u8..12, any::<u8>(), 0_u32..6, proptest::collection::vec(any::<u8>(), 0..40)), 1..40),
        size in 1_usize..50,
        requests in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in frames {
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[kind, flags & 0x2d]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&payload);
        }
        let mut drive = Drive::<Http2>::new(Transport::Tcp);
        let direction = if requests { Egress } else { Ingress };
        for piece in bytes.chunks(size) {
            drive.turn(direction);
            drive.bytes(direction, piece);
        }
        drive.end(Egress);
        drive.end(Ingress);
        prop_assert!(drive.out.0.len() <= bytes.len() + 16);
    }
}
