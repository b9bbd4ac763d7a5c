//! What comes out when turns are cut, or begin in the middle.

use super::*;

/// Hands over the conversation with each turn cut to `budget` bytes, as the kernel does.
fn headed(conversation: &Conversation, budget: usize) -> Vec<Message> {
    let mut drive = Drive::<Postgres>::new(Transport::Tcp);
    let mut left = 0;
    for (index, (direction, bytes)) in conversation.turns.iter().enumerate() {
        if index == 0 || conversation.turns[index - 1].0 != *direction {
            drive.turn(*direction);
            left = budget;
        }
        let (head, tail) = bytes.split_at(left.min(bytes.len()));
        left -= head.len();
        if !head.is_empty() {
            drive.bytes(*direction, head);
        }
        drive.gap(*direction, tail.len() as u64);
    }
    drive.end(Egress);
    drive.end(Ingress);
    assert_eq!(drive.refusals, 0, "budget {budget}");
    folded(&drive.out.0)
}

/// Requests that are answered, and answers; no answer comes before its request.
fn counts(messages: &[Message]) -> (usize, usize) {
    let (mut requests, mut answers) = (0, 0);
    for message in messages {
        match message.kind {
            MessageKind::Request if !message.no_reply => requests += 1,
            MessageKind::Response => answers += 1,
            _ => {}
        }
        assert!(answers <= requests, "an answer without its request");
    }
    (requests, answers)
}

#[test]
fn a_cut_turn_keeps_method_text_and_status() {
    for (name, conversation) in all() {
        if name.contains("pipeline") || matches!(name, "raw_extended" | "jdbc" | "pgx" | "ssl_accepted") {
            continue;
        }
        let whole = read(&conversation);
        let cut = headed(&conversation, 512);
        assert_eq!(counts(&cut), counts(&whole), "{name}");
        let asked = |messages: &[Message]| {
            messages.iter().filter(|m| m.kind == MessageKind::Request).cloned().collect::<Vec<_>>()
        };
        for (cut, whole) in asked(&cut).iter().zip(asked(&whole)) {
            assert_eq!(cut.method, whole.method, "{name}");
            assert!(whole.target.as_str().starts_with(cut.target.as_str()), "{name}");
            assert!(cut.target.as_str().len() >= whole.target.as_str().len().min(480), "{name}");
        }
        let answered = |messages: &[Message]| {
            messages.iter().filter(|m| m.kind == MessageKind::Response).cloned().collect::<Vec<_>>()
        };
        for (cut, whole) in answered(&cut).iter().zip(answered(&whole)) {
            assert_eq!((cut.status, &cut.code, cut.bytes), (whole.status, &whole.code, whole.bytes), "{name}");
        }
    }
}

#[test]
fn any_budget_leaves_every_request_answered() {
    for name in ["simple", "pgbench_extended", "pgbench_prepared", "psycopg", "node", "asyncpg"] {
        let (_, conversation) = all().into_iter().find(|(other, _)| *other == name).expect("a recording");
        for budget in (0..200).chain([300, 400, 1000]) {
            let messages = headed(&conversation, budget);
            let (requests, answers) = counts(&messages);
            assert_eq!(requests, answers, "{name}, budget {budget}");
        }
    }
}

#[test]
fn answers_tell_how_many_requests_a_cut_pipeline_held() {
    let batch = |n: usize| {
        let parse = b"P\0\0\0\x10\0select 1\0\0\0B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0";
        let mut bytes = parse.repeat(n);
        bytes.extend_from_slice(b"S\0\0\0\x04");
        bytes
    };
    let answer = b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x0dSELECT 1\0".repeat(20);
    let answer = [&answer[..], b"Z\0\0\0\x05I"].concat();
    let batch = batch(20);
    for budget in 1..batch.len() {
        let mut drive = Drive::<Postgres>::new(Transport::Tcp);
        for _ in 0..2 {
            drive.turn(Egress);
            drive.bytes(Egress, &batch[..budget]);
            drive.gap(Egress, (batch.len() - budget) as u64);
            drive.turn(Ingress);
            drive.bytes(Ingress, &answer);
        }
        let messages = folded(&drive.out.0);
        assert_eq!(counts(&messages), (40, 40), "budget {budget}");
        assert!(messages.iter().filter(|m| m.kind == MessageKind::Response).all(|m| m.status == Status::Ok));
    }
}

#[test]
fn an_unknown_statement_has_no_text() {
    let (_, conversation) = all().into_iter().find(|(name, _)| *name == "pgbench_prepared").expect("a recording");
    let late = Conversation { turns: conversation.turns[conversation.turns.len() - 10..].to_vec(), ..conversation };
    let shown = asked(&late);
    assert!(shown.iter().any(|line| line == "EXECUTE |  | ok"), "{shown:?}");
    assert!(shown.iter().all(|line| line == "EXECUTE |  | ok"), "nothing is guessed: {shown:?}");
}

#[test]
fn a_stream_that_begins_in_the_middle_is_found_again_at_a_turn() {
    let (_, conversation) = all().into_iter().find(|(name, _)| *name == "simple").expect("a recording");
    let whole = asked(&conversation);
    let mut drive = Drive::<Postgres>::new(Transport::Tcp);
    drive.turn(Ingress);
    drive.bytes(Ingress, b"name 17\0\0\0\0\x07name 18");
    let late = Conversation { turns: conversation.turns[4..].to_vec(), ..conversation };
    drive.converse(&late);
    let (requests, answers) = counts(&folded(&drive.out.0));
    assert_eq!(requests, answers);
    assert!(requests + 2 >= whole.len(), "{requests} of {}", whole.len());
}
