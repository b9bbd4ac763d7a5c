//! The smallest protocol: a turn is a message. It stands where `identify` and `parse` do.

use redtap_stages::flow::conn::{About, ConnInfo, ConnKey, Direction, What};
use redtap_stages::flow::message::{Message, MessageBatch, MessageKind, Part, Status};
use redtap_stages::flow::segment::{Segment, SegmentBatch};
use redtap_stages::protocols::Protocol;
use redtap_stages::time::Nanos;
use std::collections::HashMap;
use std::sync::Arc;

use super::records::Bytes;

#[derive(Debug, Default)]
struct State {
    info: Option<Arc<ConnInfo>>,
    /// Messages begun and not ended: their size so far.
    open: [Option<u64>; 2],
    last: [Nanos; 2],
    /// Directions of which something was seen: a connection that was forgotten begins where it stands.
    begun: [bool; 2],
}

/// The parser; it also checks that what it is given is in order.
#[derive(Debug, Default)]
pub(crate) struct Toy {
    states: HashMap<ConnKey, State>,
    /// Bytes accounted for, by connection and direction.
    pub(crate) bytes: HashMap<u64, [u64; 2]>,
    /// Turns said to be missed: requests, responses.
    pub(crate) missed: [u64; 2],
    /// Turns of which the beginning was seen.
    pub(crate) begun: u64,
}

impl Toy {
    pub(crate) fn parse(&mut self, input: &mut SegmentBatch<Bytes>, out: &mut MessageBatch) {
        for item in input.items.drain(..) {
            let About { conn, at, what } = item;
            let what = match what {
                What::Opened(info) => {
                    self.states.entry(conn).or_default().info = Some(Arc::clone(&info));
                    What::Opened(info)
                }
                What::Item(segment) => {
                    self.segment(conn, at, segment, out);
                    continue;
                }
                What::Missed { requests, responses } => {
                    self.missed[0] += u64::from(requests);
                    self.missed[1] += u64::from(responses);
                    self.end_all(conn, out);
                    What::Missed { requests, responses }
                }
                What::Closed(why) => {
                    self.end_all(conn, out);
                    self.states.remove(&conn).expect("opened before it is closed");
                    What::Closed(why)
                }
            };
            out.items.push(About { conn, at, what });
        }
        input.memory = None;
    }

    fn segment(&mut self, conn: ConnKey, at: Nanos, segment: Segment, out: &mut MessageBatch) {
        let state = self.states.get_mut(&conn).expect("opened first");
        let info = state.info.as_ref().expect("opened first");
        let index = segment.direction.index();
        let len = u64::from(segment.captured.len) + segment.gap;
        let known = &mut self.bytes.entry(info.id).or_default()[index];
        if info.late && !std::mem::replace(&mut state.begun[index], true) {
            *known = segment.offset;
        }
        if !info.transport.is_datagram() {
            assert_eq!(segment.offset, *known, "the bytes of a direction are contiguous");
        }
        *known = segment.offset + len;
        assert!(len > 0 || segment.end || info.transport.is_datagram(), "a segment says something");
        if segment.turn_start {
            self.begun += 1;
            self.end_all(conn, out);
            self.head(conn, at, segment.direction, out);
        }
        let state = self.states.get_mut(&conn).expect("opened first");
        if let Some(size) = &mut state.open[index] {
            *size += len;
            if len > 0 {
                state.last[index] = at;
            }
        }
    }

    fn message(&self, conn: ConnKey, direction: Direction, part: Part, at: Nanos) -> Message {
        let info = self.states[&conn].info.as_ref().expect("opened first");
        let asks = info.role.request_direction() == Some(direction);
        let kind = if asks { MessageKind::Request } else { MessageKind::Response };
        let mut message = Message::new(kind, part, Protocol::Http1, direction, at);
        message.status = Status::Ok;
        message.method = "TURN".into();
        message
    }

    fn head(&mut self, conn: ConnKey, at: Nanos, direction: Direction, out: &mut MessageBatch) {
        let message = self.message(conn, direction, Part::Head, at);
        out.items.push(About { conn, at, what: What::Item(message) });
        let state = self.states.get_mut(&conn).expect("opened first");
        state.open[direction.index()] = Some(0);
        state.last[direction.index()] = at;
    }

    fn end_all(&mut self, conn: ConnKey, out: &mut MessageBatch) {
        for direction in [Direction::Ingress, Direction::Egress] {
            let Some(state) = self.states.get_mut(&conn) else { return };
            let at = state.last[direction.index()];
            let Some(size) = state.open[direction.index()].take() else { continue };
            let mut message = self.message(conn, direction, Part::End, at);
            message.bytes = size;
            out.items.push(About { conn, at, what: What::Item(message) });
        }
    }
}
