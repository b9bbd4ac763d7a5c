//! What a beginning of Kafka looks like: the header of a request for a known version of a known API, with a client id that is text.
//!
//! Where the client id is missing or too short to tell, the body must speak for it. Responses begin with a length and a number:
//! nothing to go by.

use super::apis::{Call, key};
use super::header::{LENGTH, REQUEST, is_client_id, is_topic};
use super::layout::{Field, Walk, Walked};
use crate::protocols::wire::Cursor;
use crate::protocols::{Probe, ProbeContext, Speaker};

/// `socket.request.max.bytes`, as brokers are configured by default.
const MAX_LEN: u32 = 100 << 20;
/// Client ids shorter than this may be chance.
const MIN_CLIENT_ID: usize = 3;
/// Longest client id of a first request that is believed.
const MAX_CLIENT_ID: usize = 255;

/// As [`crate::protocols::Wire::probe`].
pub(super) fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
    if context.transport.is_datagram() {
        return Probe::NoMatch;
    }
    judge(prefix).unwrap_or(Probe::NeedMore)
}

/// `None`: more bytes decide.
fn judge(prefix: &[u8]) -> Option<Probe> {
    let mut cursor = Cursor::new(prefix);
    let [most, ..] = MAX_LEN.to_be_bytes();
    if prefix.first().is_some_and(|first| *first > most) {
        return Some(Probe::NoMatch);
    }
    let len = cursor.u32()?;
    if !((REQUEST - LENGTH) as u32..=MAX_LEN).contains(&len) {
        return Some(Probe::NoMatch);
    }
    if cursor.rest().first().is_some_and(|first| *first != 0) {
        return Some(Probe::NoMatch);
    }
    let (key, version) = (cursor.u16()?, cursor.u16()?);
    let Some(call) = Call::find(key, version).filter(|call| call.has_client_id()) else {
        return Some(Probe::NoMatch);
    };
    if cursor.u32()?.cast_signed() < 0 {
        return Some(Probe::NoMatch);
    }
    let client_id = cursor.u16()?.cast_signed();
    let left = usize::try_from(len).unwrap_or(usize::MAX).saturating_sub(REQUEST - LENGTH);
    let client_id = usize::try_from(client_id).unwrap_or(if client_id == -1 { 0 } else { usize::MAX });
    if client_id > left.min(MAX_CLIENT_ID) {
        return Some(Probe::NoMatch);
    }
    let here = cursor.rest();
    let text = here.get(..client_id).unwrap_or(here);
    if !is_client_id(text) {
        return Some(Probe::NoMatch);
    }
    if client_id < MIN_CLIENT_ID {
        return body(prefix, call, len, false);
    }
    let behind = cursor.take(client_id).map(|_| cursor)?;
    if std::str::from_utf8(text).is_err() {
        return Some(Probe::NoMatch);
    }
    if call.key == key::PRODUCE {
        // Key 0 is also how the correlation id of a response begins, and the topic in it looks like a client id.
        return body(prefix, call, len, true);
    }
    if call.is_flexible() {
        // The number of tagged fields: none are known.
        return behind.rest().first().map(|tags| if *tags == 0 { MATCH } else { Probe::NoMatch });
    }
    Some(MATCH)
}

/// Where `ApiVersions` names the software of the client (KIP-511), which is as plain as a topic.
const SOFTWARE: &str = "T";
const MATCH: Probe = Probe::Match(Speaker::Client);

/// Judges by the body where the client id says little: the first request must be one that opens a conversation and holds
/// together, or name a topic.
fn body(prefix: &[u8], call: Call, len: u32, client_id: bool) -> Option<Probe> {
    let end = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(LENGTH);
    let message = prefix.get(..end).unwrap_or(prefix);
    let whole = message.len() == end;
    let layout = if call.key == key::API_VERSIONS && call.is_flexible() { SOFTWARE } else { call.request() };
    let mut walk = Walk::default();
    walk.request(layout, true, call.is_flexible());
    let mut cursor = Cursor::new(message.get(REQUEST - 2..).unwrap_or(&[]));
    loop {
        let sound = match walk.on(&mut cursor) {
            Walked::OutOfInput if whole => false,
            Walked::OutOfInput => return None,
            Walked::Broken => false,
            Walked::Done => {
                // Few bytes follow what was read: flags, and tagged fields.
                let left = end.saturating_sub(REQUEST - 2 + cursor.consumed());
                let few = match call.key {
                    key::API_VERSIONS => left == 0,
                    key::METADATA => left <= 4,
                    _ => false,
                };
                return Some(if few { MATCH } else { Probe::NoMatch });
            }
            Walked::To(Field::Topic) => {
                return Some(if is_topic(walk.text()) { MATCH } else { Probe::NoMatch });
            }
            Walked::To(Field::TopicId(_)) if client_id => return Some(MATCH),
            Walked::To(Field::Acks(acks)) => (-1..=1).contains(&acks),
            Walked::To(Field::MaxWait(millis)) => millis >= 0,
            Walked::To(Field::Epoch(epoch)) => epoch >= -1,
            Walked::To(_) => true,
        };
        if !sound {
            return Some(Probe::NoMatch);
        }
    }
}
