//! Differential test against the crate `kafka-protocol`: each request and response of every API and version that it knows.
//!
//! A message is made up by the layout that we read by, and zeros behind it. Its decoder must take it, and the error codes and
//! topics that it then prints, whose fields are in the order of the wire, must be those that we read.

use super::*;
use crate::protocols::kafka::apis::Call;
use crate::protocols::laws::Random;
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use std::collections::BTreeMap;

/// Messages that are made up of each version.
const EACH: usize = 60;
/// Endings that are tried for each.
const TRIES: usize = 4_000;

/// Makes up messages by a layout.
struct Maker<'a> {
    random: &'a mut Random,
    flexible: bool,
    out: Vec<u8>,
}

impl Maker<'_> {
    fn length(&mut self, len: usize, wide: bool) {
        match (self.flexible, wide) {
            (true, _) => self.out.push(len as u8 + 1),
            (false, true) => self.out.extend((len as u32).to_be_bytes()),
            (false, false) => self.out.extend((len as u16).to_be_bytes()),
        }
    }

    fn text(&mut self, least: usize, wide: bool) {
        let len = least + self.random.below(9);
        self.length(len, wide);
        self.out.extend((0..len).map(|at| b'a' + (at as u8 * 7 + len as u8) % 26));
    }

    fn tags(&mut self) {
        if self.flexible && self.random.below(3) == 0 {
            self.out.extend([1, 99, 2, 0xff, 0xff]); // number 99, of two bytes
        } else if self.flexible {
            self.out.push(0);
        }
    }

    /// What the layout says up to the bracket that closes it; returns what is left of the layout.
    fn make<'l>(&mut self, mut layout: &'l [u8]) -> &'l [u8] {
        while let Some((letter, mut rest)) = layout.split_first() {
            match letter {
                b'0'..=b'9' => {
                    let digits = layout.iter().take_while(|digit| digit.is_ascii_digit()).count();
                    let n: usize = std::str::from_utf8(&layout[..digits]).unwrap().parse().unwrap();
                    (0..n).for_each(|_| self.out.push(self.random.below(2) as u8));
                    rest = &layout[digits..];
                }
                b'e' => {
                    let code = [0, 0, 0, 1, 3, 87, -1][self.random.below(7)];
                    self.out.extend(i16::to_be_bytes(code));
                }
                b'a' => self.out.extend([[0, 0], [0, 1], [0xff, 0xff]][self.random.below(3)]),
                b'w' | b'o' => self.out.extend([0, 0, 0, self.random.below(100) as u8]),
                b'r' => self.out.push([2, 4][self.random.below(2)]),
                b'U' | b'i' => self.out.extend([7; 16]),
                b's' | b't' => self.text(0, false),
                b'T' => self.text(1, false),
                b'b' => self.text(0, true),
                b'[' | b'*' => rest = self.array(*letter, rest),
                b'?' => self.out.push(1),
                b'{' => {
                    rest = self.make(rest);
                    self.tags();
                }
                b']' | b'}' => return rest,
                _ => {}
            }
            layout = rest;
        }
        layout
    }

    fn array<'l>(&mut self, letter: u8, rest: &'l [u8]) -> &'l [u8] {
        let (element, behind) = if letter == b'[' {
            let mut depth = 1;
            let end = rest.iter().position(|letter| {
                depth += i32::from(matches!(letter, b'[' | b'{')) - i32::from(matches!(letter, b']' | b'}'));
                depth == 0
            });
            let end = end.unwrap_or(rest.len());
            (&rest[..end], rest.get(end + 1..).unwrap_or(&[]))
        } else {
            rest.split_at(rest.iter().position(|letter| !letter.is_ascii_digit()).unwrap_or(rest.len()).max(1))
        };
        // An array that ends with its layout has more in its element than we know of: one, and zeros behind.
        let whole = letter == b'*' || rest.len() > element.len();
        let len = self.random.below(if whole { 3 } else { 2 });
        self.length(len, true);
        for _ in 0..len {
            self.make(element);
            if letter == b'[' && whole {
                self.tags();
            }
        }
        behind
    }
}

/// A body, and how the crate prints it.
fn made<T: std::fmt::Debug>(
    random: &mut Random,
    (layout, flexible): (&str, bool),
    decode: impl Fn(&mut Bytes) -> Result<T, String>,
) -> Option<(Vec<u8>, String)> {
    let mut maker = Maker { random: &mut *random, flexible, out: Vec::new() };
    maker.make(layout.as_bytes());
    let known = maker.out;
    let mut refused = String::new();
    for attempt in 0..TRIES {
        // Behind the layout: nothing, of whatever there is. A compact string that may not be null is 1 and not 0.
        let ones = if flexible && attempt > 0 { 2 } else { 1 };
        let all: Vec<u8> = known.iter().copied().chain((0..200).map(|_| random.below(ones) as u8)).collect();
        let mut rest = Bytes::from(all.clone());
        match decode(&mut rest) {
            Ok(message) => return Some((all[..all.len() - rest.len()].to_vec(), format!("{message:?}"))),
            Err(why) if why.contains("not supported") => return None,
            Err(why) => refused = why,
        }
    }
    panic!("{layout}: {refused} in {known:?}");
}

fn framed(header: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let message = [&header.concat(), body].concat();
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

fn request_header(key: i16, version: i16, correlation: i32) -> Vec<u8> {
    let call = Call::find(key as u16, version as u16).unwrap();
    let mut header =
        [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation.to_be_bytes(), b"\0\x06oracle"].concat();
    if call.is_flexible() {
        header.extend([1, 9, 2, 0xff, 0xff]); // one tagged field, number 9, of two bytes
    }
    header
}

/// The first error code that is not 0, out of `error_code: 3` and the like.
fn first_error(printed: &str) -> String {
    printed
        .split("error_code: ")
        .skip(1)
        .filter_map(|rest| rest.split([',', ' ', '}']).next())
        .find(|code| *code != "0")
        .unwrap_or_default()
        .to_owned()
}

/// The first topic that a request names, in a field of whichever name.
fn first_topic(printed: &str) -> String {
    if printed.split("resource_type: ").nth(1).is_some_and(|rest| !rest.starts_with('2')) {
        return String::new();
    }
    let fields = ["name: \"", "topic: \"", "name: Some(\"", "topic_names: [\"", "topic_names: Some([\"", "topics: [\""];
    let first = fields.iter().filter_map(|field| Some((printed.find(field)?, field.len()))).min();
    let name = first.and_then(|(at, len)| printed[at + len..].split('"').next());
    name.unwrap_or_default().to_owned()
}

fn versions() -> Vec<(ApiKey, i16)> {
    ApiKey::iter()
        .flat_map(|key| {
            let range = key.valid_versions();
            (range.min..=range.max).map(move |version| (key, version))
        })
        .collect()
}

#[test]
fn agrees_on_flexible_headers() {
    for (key, version) in versions() {
        let Some(call) = Call::find(key as u16, version as u16) else { continue };
        assert_eq!(call.is_flexible(), key.request_header_version(version) == 2, "{key:?} {version}");
        assert_eq!(call.response_header_is_flexible(), key.response_header_version(version) == 1, "{key:?} {version}");
    }
}

#[test]
fn agrees_on_the_error_codes_of_every_response() {
    let mut random = Random(11);
    let mut seen = BTreeMap::new();
    for (key, version) in versions() {
        let Some(call) = Call::find(key as u16, version as u16) else { continue };
        for _ in 0..EACH {
            let decode = |rest: &mut Bytes| {
                ResponseKind::decode(key, rest, version).map_err(|why| format!("{key:?} {version}: {why:#}"))
            };
            let Some((body, printed)) = made(&mut random, (call.response(), call.is_flexible()), decode) else { break };
            let correlation = random.below(1 << 20) as i32;
            let request = framed(&[&request_header(key as i16, version, correlation)], &[]);
            let tags: &[u8] = if call.response_header_is_flexible() { &[0] } else { &[] };
            let response = framed(&[&correlation.to_be_bytes(), tags], &body);
            let messages = read(&Conversation::of(&[(Egress, &request), (Ingress, &response)]));
            let expected = first_error(&printed);
            let shown = format!("{key:?} {version}: {printed} {body:?}");
            assert_eq!(messages.len(), 2, "{shown}");
            assert_eq!(messages[1].id, u64::from(correlation as u32));
            assert_eq!(messages[1].code.as_str(), expected, "{shown}");
            let status = if expected.is_empty() { Status::Ok } else { Status::Error };
            assert_eq!(messages[1].status, status, "{shown}");
            let (all, errors) = seen.entry(key as i16).or_insert((0, 0));
            *all += 1;
            *errors += i32::from(status == Status::Error);
        }
    }
    assert!(seen.len() >= 60, "{seen:?}");
    assert!(seen.values().filter(|(_, errors)| *errors > 0).count() >= 55, "{seen:?}");
}

#[test]
fn agrees_on_the_topic_of_every_request() {
    let mut random = Random(13);
    let mut named = BTreeMap::new();
    for (key, version) in versions() {
        let Some(call) = Call::find(key as u16, version as u16) else { continue };
        for _ in 0..EACH {
            let decode = |rest: &mut Bytes| {
                RequestKind::decode(key, rest, version).map_err(|why| format!("{key:?} {version}: {why:#}"))
            };
            let Some((body, printed)) = made(&mut random, (call.request(), call.is_flexible()), decode) else { break };
            let correlation = random.below(1 << 20) as i32;
            let request = framed(&[&request_header(key as i16, version, correlation)], &body);
            let messages = read(&Conversation::of(&[(Egress, &request)]));
            let shown = format!("{key:?} {version}: {printed} {body:?}");
            assert_eq!(messages.len(), 1, "{shown}");
            assert_eq!(messages[0].method.as_str(), format!("{key:?}"), "{shown}");
            assert_eq!(messages[0].no_reply, printed.contains("acks: 0,"), "{shown}");
            let expected = if call.request().contains('T') { first_topic(&printed) } else { String::new() };
            assert_eq!(messages[0].target.as_str(), expected, "{shown}");
            *named.entry(key as i16).or_insert(0) += i32::from(!expected.is_empty());
        }
    }
    assert!(named.values().filter(|named| **named > 0).count() >= 18, "{named:?}");
}
