//! Kafka that is seen in part: cut turns, late beginnings, gaps in batches of records, more than is remembered.

use super::*;
use crate::text::Token;

/// Each turn, but only so many bytes of it.
fn cut(conversation: &Conversation, most: usize) -> Vec<Message> {
    let mut drive = Drive::<Kafka>::new(Transport::Tcp);
    let (mut left, mut before) = (most, None);
    for (direction, bytes) in &conversation.turns {
        if before != Some(*direction) {
            (left, before) = (most, Some(*direction));
            drive.turn(*direction);
        }
        let (seen, unseen) = bytes.split_at(bytes.len().min(left));
        left -= seen.len();
        drive.bytes(*direction, seen);
        drive.gap(*direction, unseen.len() as u64);
    }
    folded(&drive.out.0)
}

#[test]
fn turns_cut_short_keep_api_topic_and_status() {
    let mut compared = 0;
    for (name, conversation) in recordings() {
        if conversation.turns.iter().any(|(_, bytes)| bytes.len() > 512 && frames(bytes).len() > 1) {
            continue; // whole messages lie behind the cut
        }
        assert_eq!(lines(&cut(&conversation, 512)), shown(&conversation), "{name}");
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
}

/// The messages in some bytes.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(len) = bytes.first_chunk() {
        let (frame, behind) = bytes.split_at(bytes.len().min(4 + u32::from_be_bytes(*len) as usize));
        frames.push(frame.to_vec());
        bytes = behind;
    }
    frames
}

#[test]
fn a_turn_cut_in_its_header_keeps_the_api() {
    let conversation = recording!("produce");
    let messages = cut(&conversation, 40);
    let methods: Vec<_> = messages.iter().map(|message| message.method.as_str()).collect();
    assert!(methods.contains(&"Produce") && methods.contains(&"Metadata"), "{methods:?}");
}

#[test]
fn a_client_that_reads_the_length_by_itself_changes_nothing() {
    for (name, conversation) in recordings() {
        let mut drive = Drive::<Kafka>::new(Transport::Tcp);
        let mut before = None;
        for (direction, bytes) in &conversation.turns {
            if before.replace(*direction) != Some(*direction) {
                drive.turn(*direction);
            }
            let (length, rest) = bytes.split_at(4.min(bytes.len()));
            drive.bytes(*direction, length);
            drive.bytes(*direction, rest);
        }
        assert_eq!(drive.refusals, 0, "{name}");
        assert_eq!(folded(&drive.out.0), read(&conversation), "{name}");
    }
}

/// The recorded response with the most bytes, its request, and where the error code of the partition behind the large one lies.
fn large_fetch() -> (Vec<u8>, Vec<u8>, usize) {
    let turns = recording!("fetch_large").turns;
    let streams = [Egress, Ingress].map(|way| {
        turns.iter().filter(|(direction, _)| *direction == way).flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
    });
    let frames = streams.map(|stream| frames(&stream));
    let response = frames[1].iter().max_by_key(|frame| frame.len()).unwrap().clone();
    let request = frames[0].iter().find(|request| request[8..12] == response[4..8]).unwrap().clone();
    assert_eq!(request[4..8], [0, 1, 0, 11], "Fetch, version 11");
    // Length, correlation id, throttle_time_ms, error_code, session_id, responses, topic ("large"), partitions; then of a
    // partition: index, error_code, high_watermark, last_stable_offset, log_start_offset, aborted_transactions,
    // preferred_read_replica, and records behind their length. The first has none: it goes to the end.
    let (before, partitions) = response.split_at(8 + 4 + 2 + 4 + 4 + 7 + 4);
    let (empty, full) = partitions.split_at(4 + 2 + 24 + 4 + 4 + 4);
    assert_eq!((&empty[..4], &full[..4]), (&[0, 0, 0, 0][..], &[0, 0, 0, 1][..]));
    assert!(empty.ends_with(&[0; 4]) && full.len() > 16 * 1024);
    let code = before.len() + full.len() + 4;
    (request, [before, full, empty].concat(), code)
}

#[test]
fn an_error_behind_a_batch_that_nobody_saw_is_found() {
    let (request, mut response, code) = large_fetch();
    response[code..code + 2].copy_from_slice(&[0, 6]);
    for seen_from in [code - 4, code - 1_000, 4_000] {
        let mut drive = Drive::<Kafka>::new(Transport::Tcp);
        drive.turn(Egress);
        drive.bytes(Egress, &request);
        drive.turn(Ingress);
        drive.bytes(Ingress, &response[..512]);
        drive.gap(Ingress, (seen_from - 512) as u64);
        drive.bytes(Ingress, &response[seen_from..]);
        let messages = folded(&drive.out.0);
        assert_eq!((messages[1].status, messages[1].code.as_str()), (Status::Error, "6"), "seen from {seen_from}");
        assert!(messages[1].cut && messages[1].bytes == response.len() as u64);
    }
    // If the gap reaches over the code, what was seen was well.
    let mut drive = Drive::<Kafka>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, &request);
    drive.turn(Ingress);
    drive.bytes(Ingress, &response[..512]);
    drive.gap(Ingress, (response.len() - 512) as u64);
    let messages = folded(&drive.out.0);
    assert_eq!((messages[1].status, &messages[1].code), (Status::Ok, &Token::new()));
    // Where no code was seen, nothing is known.
    let mut drive = Drive::<Kafka>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, &request);
    drive.turn(Ingress);
    drive.bytes(Ingress, &response[..12]);
    drive.gap(Ingress, (response.len() - 12) as u64);
    assert_eq!(folded(&drive.out.0)[1].status, Status::Unknown);
}

#[test]
fn a_response_without_its_request_is_an_orphan_of_unknown_status() {
    let conversation = recording!("group_11");
    let late = Conversation { turns: conversation.turns[1..].to_vec(), ..conversation.clone() };
    let drive = Drive::<Kafka>::new(Transport::Tcp).conversation(&late);
    assert_eq!(drive.refusals, 0);
    let messages = folded(&drive.out.0);
    assert_eq!((messages[0].kind, messages[0].status), (MessageKind::Response, Status::Unknown));
    assert_eq!(messages[1..], read(&conversation)[2..], "all that follows is as ever");
}

#[test]
fn a_late_beginning_in_the_middle_of_a_message_ends_with_its_turn() {
    let conversation = recording!("fetch_large");
    for from in [1, 5, 100, 20_000] {
        let mut drive = Drive::<Kafka>::new(Transport::Tcp);
        let (_, response, _) = large_fetch();
        drive.turn(Ingress);
        drive.bytes(Ingress, &response[from..]);
        drive.converse(&conversation);
        let got = folded(&drive.out.0);
        let whole = read(&conversation);
        assert_eq!(got[got.len() - whole.len()..], whole, "from {from}");
    }
}

#[test]
fn apis_and_versions_to_come_keep_their_number_and_say_nothing_else() {
    let (newer, unknown) =
        (b"\0\0\0\x13\0\x03\0\x20\0\0\0\x07\0\x07rdkafka\0\0", b"\0\0\0\x13\0\x78\0\0\0\0\0\x08\0\x07rdkafka\0\0");
    let answers = b"\0\0\0\x06\0\0\0\x07\0\x03\0\0\0\x06\0\0\0\x08\0\x03";
    let conversation = Conversation::of(&[(Egress, &[&newer[..], unknown].concat()), (Ingress, answers)]);
    assert_eq!(shown(&conversation), ["Metadata  Unknown", "120  Unknown"]);
}

#[test]
fn nonsense_in_the_place_of_a_request_is_malformed_and_the_next_turn_is_read() {
    let conversation = recording!("produce");
    let mut drive = Drive::<Kafka>::new(Transport::Tcp).conversation(&conversation);
    drive.turn(Egress);
    drive.bytes(Egress, b"\0\0\0\x20\x60\x82\x01\x02nonsense that goes on and on and on");
    assert_eq!(drive.refusals, 1);
    drive.converse(&conversation);
    let got = folded(&drive.out.0);
    assert_eq!(got[got.len() / 2..], read(&conversation));
}

#[test]
fn what_is_remembered_is_bounded() {
    let request = &recording!("pipelined").turns[0].1.clone();
    let mut drive = Drive::<Kafka>::new(Transport::Tcp);
    drive.turn(Egress);
    for n in 0..3 * MAX_ASKED as u32 {
        let mut request = request.clone();
        request[8..12].copy_from_slice(&n.to_be_bytes());
        drive.bytes(Egress, &request);
    }
    assert_eq!(drive.state.0.shared.requests.len(), MAX_ASKED);
    for n in 0..3 * MAX_TOPICS as u32 {
        let mut id = [1; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        drive.state.0.shared.topics.learn(id, &"orders".into());
    }
    assert_eq!(drive.state.0.shared.topics.len(), MAX_TOPICS);
    assert!(State::MAX_BYTES < 256 * 1024, "{}", State::MAX_BYTES);
}
