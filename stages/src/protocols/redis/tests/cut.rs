//! What comes out when turns are cut: the counts stay right where they can be known.

use super::*;
use crate::time::Nanos;

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n";
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
const VALUE: &[u8] = b"$10\r\n0123456789\r\n";

/// Requests and replies that come out, each request having come out before its reply.
fn counts(messages: &[Message]) -> (usize, usize) {
    let mut requests = 0;
    let mut replies = 0;
    for message in folded(messages) {
        match message.kind {
            MessageKind::Request => requests += 1,
            MessageKind::Response => {
                replies += 1;
                assert!(replies <= requests, "a reply without its request");
            }
            MessageKind::OneWay | MessageKind::Interim => panic!("neither pushed nor interim"),
        }
    }
    (requests, replies)
}

fn captured(drive: &mut Drive<Redis>, direction: Direction, bytes: &[u8], budget: usize) {
    drive.turn(direction);
    let (head, tail) = bytes.split_at(budget.min(bytes.len()));
    if !head.is_empty() {
        drive.bytes(direction, head);
    }
    // The kernel only counts from here, and reports progress now and then.
    let (first, second) = (tail.len() / 2, tail.len() - tail.len() / 2);
    for len in [first, second].into_iter().filter(|len| *len > 0) {
        drive.gap(direction, len as u64);
    }
}

#[test]
fn a_value_in_a_gap_leaves_the_stream_in_step() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    drive.turn(Egress);
    drive.bytes(Egress, &SET[..30]);
    drive.gap(Egress, SET.len() as u64 - 30);
    drive.bytes(Egress, GET);
    captured(&mut drive, Ingress, b"+OK\r\n$10\r\n0123456789\r\n", 1000);
    let messages = folded(&drive.out.0);
    assert_eq!(drive.refusals, 0);
    assert!(messages[0].cut && messages[0].bytes == SET.len() as u64);
    assert_eq!((messages[0].method.as_str(), messages[0].target.as_str()), ("SET", "a"));
    assert!(!messages[1].cut);
    assert_eq!(counts(&drive.out.0), (2, 2));
}

#[test]
fn replies_tell_how_many_requests_a_cut_turn_held() {
    for budget in 0..SET.len() * 3 {
        let mut drive = Drive::<Redis>::new(Transport::Tcp);
        for _ in 0..3 {
            captured(&mut drive, Egress, &SET.repeat(64), budget);
            captured(&mut drive, Ingress, &b"+OK\r\n".repeat(64), 4096);
        }
        assert_eq!(counts(&drive.out.0), (192, 192), "budget {budget}");
        let hidden: Vec<_> =
            drive.out.0.iter().filter(|m| m.kind == MessageKind::Request && m.method.is_empty()).collect();
        assert!(hidden.iter().all(|m| m.cut));
        let known = budget / SET.len();
        assert!(hidden.len() <= 3 * (64 - known) && hidden.len() >= 3 * (63 - known), "{} at {budget}", hidden.len());
    }
}

#[test]
fn requests_tell_how_many_replies_a_cut_turn_held() {
    for budget in 0..VALUE.len() * 3 {
        let mut drive = Drive::<Redis>::new(Transport::Tcp);
        for _ in 0..3 {
            captured(&mut drive, Egress, &GET.repeat(64), 4096);
            captured(&mut drive, Ingress, &VALUE.repeat(64), budget);
        }
        drive.end(Egress);
        drive.end(Ingress);
        assert_eq!(counts(&drive.out.0), (192, 192), "budget {budget}");
        let unknown =
            drive.out.0.iter().filter(|m| {
                m.kind == MessageKind::Response && m.part != Part::End && m.cut && m.status == Status::Unknown
            });
        let known = budget / VALUE.len();
        let unknown = unknown.count();
        assert!(unknown <= 3 * (64 - known) && unknown >= 3 * (63 - known), "{unknown} at {budget}");
    }
}

#[test]
fn the_last_made_up_reply_ends_with_its_turn() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, &GET.repeat(4), 4096);
    captured(&mut drive, Ingress, &VALUE.repeat(4), 6);
    let quiet = drive.out.0.len();
    captured(&mut drive, Egress, GET, 4096);
    let end = &drive.out.0[quiet];
    assert_eq!((end.kind, end.part, end.cut), (MessageKind::Response, Part::End, true));
    assert_eq!(end.end, Nanos(4000), "four pieces moved up to then, a microsecond each");
}

#[test]
fn when_both_are_cut_the_larger_count_is_reported() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, &SET.repeat(64), SET.len() * 2);
    captured(&mut drive, Ingress, &b"+OK\r\n".repeat(64), 5 * 10);
    captured(&mut drive, Egress, GET, 100);
    captured(&mut drive, Ingress, VALUE, 100);
    assert_eq!(counts(&drive.out.0), (11, 11));
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, &SET.repeat(64), SET.len() * 10);
    captured(&mut drive, Ingress, &b"+OK\r\n".repeat(64), 5 * 2);
    captured(&mut drive, Egress, GET, 100);
    captured(&mut drive, Ingress, VALUE, 100);
    assert_eq!(counts(&drive.out.0), (11, 11));
}

#[test]
fn a_turn_missed_whole_is_not_made_up() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, GET, 100);
    captured(&mut drive, Ingress, VALUE, 100);
    // Its bytes show as a gap outside of any turn of requests, its number as missed.
    drive.gap(Egress, GET.len() as u64);
    drive.missed(Egress);
    captured(&mut drive, Ingress, VALUE, 100);
    let messages = folded(&drive.out.0);
    let requests = messages.iter().filter(|m| m.kind == MessageKind::Request).count();
    assert_eq!((requests, messages.len()), (1, 3), "the reply is an orphan, its request is counted as missed");
}

#[test]
fn a_missed_reply_is_not_made_up() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, GET, 100);
    drive.gap(Ingress, VALUE.len() as u64);
    drive.missed(Ingress);
    captured(&mut drive, Egress, GET, 100);
    captured(&mut drive, Ingress, VALUE, 100);
    let messages = folded(&drive.out.0);
    let replies = messages.iter().filter(|m| m.kind == MessageKind::Response).count();
    assert_eq!((replies, messages.len()), (1, 3));
}

#[test]
fn a_turn_that_begins_inside_a_request_finds_the_next_one() {
    // The server reads 16 KiB at a time and answers what is whole: its turns begin anywhere.
    let stream = SET.repeat(20);
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, &stream[..100], 60);
    captured(&mut drive, Ingress, &b"+OK\r\n".repeat(100 / SET.len()), 1000);
    captured(&mut drive, Egress, &stream[100..], 10_000);
    captured(&mut drive, Ingress, &b"+OK\r\n".repeat(20 - 100 / SET.len()), 1000);
    assert_eq!(counts(&drive.out.0), (20, 20));
}

#[test]
fn recorded_pipelines_of_large_values_are_counted_whole_under_a_budget() {
    for (conversation, budgets) in
        [(recording!("benchmark_set_10k"), [4096, 8192]), (recording!("benchmark_get_10k"), [4096, 8192])]
    {
        for budget in budgets {
            let mut drive = Drive::<Redis>::new(Transport::Tcp);
            let mut used = 0;
            let mut speaker = None;
            for (direction, bytes) in &conversation.turns {
                if speaker != Some(*direction) {
                    drive.turn(*direction);
                    speaker = Some(*direction);
                    used = 0;
                }
                let (head, tail) = bytes.split_at(bytes.len().min(budget - used));
                used += head.len();
                if !head.is_empty() {
                    drive.bytes(*direction, head);
                }
                if !tail.is_empty() {
                    drive.gap(*direction, tail.len() as u64);
                }
            }
            drive.end(Egress);
            drive.end(Ingress);
            assert_eq!(counts(&drive.out.0), (16, 16), "budget {budget}");
        }
    }
}

#[test]
fn bytes_of_requests_outside_of_their_turn_make_nothing_up() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, GET, 100);
    captured(&mut drive, Ingress, VALUE, 100);
    drive.gap(Egress, GET.len() as u64);
    captured(&mut drive, Ingress, VALUE, 100);
    let messages = folded(&drive.out.0);
    assert_eq!(messages.iter().filter(|m| m.kind == MessageKind::Request).count(), 1);
}

#[test]
fn nothing_is_made_up_once_a_turn_begins_in_step_again() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, &SET.repeat(4), SET.len());
    captured(&mut drive, Ingress, &b"+OK\r\n".repeat(4), 1000);
    captured(&mut drive, Egress, GET, 100);
    captured(&mut drive, Ingress, &VALUE.repeat(2), 1000);
    let messages = folded(&drive.out.0);
    let requests = messages.iter().filter(|m| m.kind == MessageKind::Request).count();
    assert_eq!((requests, messages.len()), (5, 11), "the second value answers nobody");
}

#[test]
fn a_turn_of_replies_that_begins_inside_a_value_is_nobodys_fault() {
    let mut drive = Drive::<Redis>::new(Transport::Tcp);
    captured(&mut drive, Egress, &GET.repeat(3), 1000);
    captured(&mut drive, Ingress, &VALUE.repeat(2), 6);
    captured(&mut drive, Egress, &GET.repeat(2), 1000);
    captured(&mut drive, Ingress, b"the rest of a value\r\n$10\r\n0123456789\r\n", 1000);
    captured(&mut drive, Egress, GET, 1000);
    captured(&mut drive, Ingress, VALUE, 1000);
    assert_eq!(drive.refusals, 0, "not malformed");
    assert_eq!(counts(&drive.out.0), (6, 6));
    assert_eq!(drive.out.0.last().map(|m| m.status), Some(Status::Ok), "in step again");
}
