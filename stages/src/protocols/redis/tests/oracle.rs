//! Frames encoded by another implementation are counted the same, however they are cut.

use super::*;
use proptest::prelude::*;
use redis_protocol::resp2::encode as encode2;
use redis_protocol::resp2::types::{OwnedFrame as Frame2, Resp2Frame};
use redis_protocol::resp3::encode as encode3;
use redis_protocol::resp3::types::{OwnedFrame as Frame3, Resp3Frame};

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 _-]{0,20}"
}

fn frame2() -> impl Strategy<Value = Frame2> {
    let leaf = prop_oneof![
        text().prop_map(|text| Frame2::SimpleString(text.into_bytes())),
        text().prop_map(|text| Frame2::Error(format!("ERR {text}"))),
        any::<i64>().prop_map(Frame2::Integer),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(Frame2::BulkString),
        Just(Frame2::Null),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Frame2::Array))
}

fn frame3() -> impl Strategy<Value = Frame3> {
    let leaf = prop_oneof![
        text().prop_map(|text| Frame3::SimpleString { data: text.into_bytes(), attributes: None }),
        text().prop_map(|text| Frame3::SimpleError { data: format!("ERR {text}"), attributes: None }),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|mut data| {
            data.splice(0..0, *b"ERR ");
            Frame3::BlobError { data, attributes: None }
        }),
        any::<i64>().prop_map(|data| Frame3::Number { data, attributes: None }),
        any::<f64>().prop_map(|data| Frame3::Double { data, attributes: None }),
        any::<bool>().prop_map(|data| Frame3::Boolean { data, attributes: None }),
        Just(Frame3::Null),
        "[1-9][0-9]{0,40}".prop_map(|text| Frame3::BigNumber { data: text.into_bytes(), attributes: None }),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|data| Frame3::BlobString { data, attributes: None }),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|data| Frame3::Array { data, attributes: None }),
            prop::collection::vec((text(), inner), 0..4).prop_map(|pairs| {
                let key = |text: String| Frame3::BlobString { data: text.into_bytes(), attributes: None };
                let data = pairs.into_iter().map(|(name, value)| (key(name), value)).collect();
                Frame3::Map { data, attributes: None }
            }),
        ]
    })
}

/// As many requests as there are replies to come, then the replies in pieces.
fn replies(encoded: &[Vec<u8>], cuts: &[usize]) -> Vec<Message> {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, &b"*1\r\n$4\r\nPING\r\n".repeat(encoded.len()));
    drive.turn(Ingress);
    let stream = encoded.concat();
    let mut rest = stream.as_slice();
    for cut in cuts {
        let (piece, after) = rest.split_at(cut % (rest.len() + 1));
        if !piece.is_empty() {
            drive.bytes(Ingress, piece);
        }
        rest = after;
    }
    if !rest.is_empty() {
        drive.bytes(Ingress, rest);
    }
    assert_eq!(drive.refusals, 0);
    folded(&drive.out.0).split_off(encoded.len())
}

fn check(encoded: &[Vec<u8>], errors: &[bool], cuts: &[usize]) {
    let got = replies(encoded, cuts);
    assert_eq!(got.len(), encoded.len());
    for ((message, error), bytes) in got.iter().zip(errors).zip(encoded) {
        assert_eq!(message.status, if *error { Status::Error } else { Status::Ok });
        assert_eq!(message.code.as_str(), if *error { "ERR" } else { "" });
        assert_eq!(message.bytes, bytes.len() as u64);
        assert_eq!(message.part, Part::Whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_resp2_as_its_encoder_does(
        frames in prop::collection::vec(frame2(), 1..12),
        cuts in prop::collection::vec(0_usize..100, 0..12),
    ) {
        let encode = |frame: &Frame2| {
            let mut buffer = vec![0; frame.encode_len(false)];
            let len = encode2::encode(&mut buffer, frame, false).unwrap();
            buffer.truncate(len);
            buffer
        };
        let encoded: Vec<_> = frames.iter().map(encode).collect();
        let errors: Vec<_> = frames.iter().map(|frame| matches!(frame, Frame2::Error(_))).collect();
        check(&encoded, &errors, &cuts);
    }

    #[test]
    fn counts_resp3_as_its_encoder_does(
        frames in prop::collection::vec(frame3(), 1..12),
        cuts in prop::collection::vec(0_usize..100, 0..12),
    ) {
        let encode = |frame: &Frame3| {
            let mut buffer = vec![0; frame.encode_len(false)];
            let len = encode3::complete::encode(&mut buffer, frame, false).unwrap();
            buffer.truncate(len);
            buffer
        };
        let encoded: Vec<_> = frames.iter().map(encode).collect();
        let errors: Vec<_> = frames
            .iter()
            .map(|frame| matches!(frame, Frame3::SimpleError { .. } | Frame3::BlobError { .. }))
            .collect();
        check(&encoded, &errors, &cuts);
    }

    #[test]
    fn reads_commands_as_they_were_encoded(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        key in "[a-z:0-9é€]{1,30}",
        cuts in prop::collection::vec(0_usize..60, 0..8),
    ) {
        let mut arguments = vec![Frame2::BulkString(b"hset".to_vec()), Frame2::BulkString(key.clone().into_bytes())];
        arguments.extend(words.into_iter().map(Frame2::BulkString));
        let frame = Frame2::Array(arguments);
        let mut bytes = vec![0; frame.encode_len(false)];
        let len = encode2::encode(&mut bytes, &frame, false).unwrap();
        bytes.truncate(len);
        let mut drive = Drive::<Redis>::new(Transport::Tcp);
        drive.turn(Egress);
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut % (rest.len() + 1));
            if !piece.is_empty() {
                drive.bytes(Egress, piece);
            }
            rest = after;
        }
        if !rest.is_empty() {
            drive.bytes(Egress, rest);
        }
        let got = folded(&drive.out.0);
        prop_assert_eq!(got.len(), 1);
        prop_assert_eq!(got[0].method.as_str(), "HSET");
        prop_assert_eq!(got[0].target.as_str(), key.as_str());
        prop_assert_eq!(got[0].bytes, bytes.len() as u64);
    }
}
