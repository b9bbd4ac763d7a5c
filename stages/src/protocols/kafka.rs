//! Protocol `kafka`: every API of Apache Kafka 3.9 and 4.1 in every version, flexible ones included (KIP-482).
//!
//! Of a request, what its header says and its first topic is read; of a response, which only its request tells how to read, the first
//! error code that is not 0. Both are found by layouts (`apis`), and what lies between (batches of records, above all) is skipped
//! by its length whether it was captured or not. Topic ids (KIP-516) go by the names that the broker told on the same connection,
//! and requests of a fetch session that name no topic (KIP-227) by the first one of the session; else the target is empty.
//!
//! What pairs request and response is the correlation id. A response of which the request was not seen pairs with nothing and its
//! status is unknown; so is the status of a response whose error codes were not captured. Where some of them were and are 0, it
//! is taken to be well.
//!
//! Absent: records themselves, groups and transactions by name (they would make series without end), Kafka over TLS, and what SASL
//! tokens say.

mod apis;
mod header;
mod lane;
mod layout;
mod memory;
mod probe;
#[cfg(test)]
mod tests;
mod traits;

use super::traits::Traits;
use super::{Context, Input, Probe, ProbeContext, Sink, Step, Wire};
use lane::{Lane, Shared};
use std::num::NonZeroU64;

/// Requests of one connection that wait for their answers; past that, the oldest makes room, and its answer is nobody's.
pub const MAX_ASKED: usize = 1_024;
/// Topics of one connection whose names are known by id; past that, the one learnt first makes room.
pub const MAX_TOPICS: usize = 256;
/// Longest message, in bytes, that is believed to be the response to a request that was not seen.
pub const MAX_ORPHAN: u32 = 100 << 20;
/// A request that lets the broker wait this long, in milliseconds, may block: fetches of half a second are not worth it.
pub const LONG_POLL: i32 = 10_000;

/// The protocol.
#[derive(Debug)]
pub struct Kafka;

/// What is remembered of a connection: requests without their answers, names of topics, and one begun message a direction. At most
/// [`State::MAX_BYTES`].
#[derive(Debug, Default)]
pub struct State(Box<Connection>);

#[derive(Debug, Default)]
struct Connection {
    lanes: [Lane; 2],
    shared: Shared,
}

impl State {
    /// Bound of its memory: itself, waiting requests, and names of at most 249 bytes.
    pub const MAX_BYTES: usize = size_of::<Connection>() + MAX_ASKED * 32 + MAX_TOPICS * (128 + 256) * 2;

    fn lane(&mut self, context: Context) -> (&mut Lane, &mut Shared) {
        let Connection { lanes: [ingress, egress], shared } = &mut *self.0;
        (if context.direction.index() == 0 { ingress } else { egress }, shared)
    }
}

impl Wire for Kafka {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        probe::probe(prefix, context)
    }

    fn turn(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let (lane, shared) = state.lane(context);
        lane.turn(shared, sink);
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        let (lane, shared) = state.lane(context);
        match input {
            Input::Bytes(bytes) => lane.bytes(context, bytes, shared, sink),
            Input::Gap(len) => {
                let passed = lane.gap(context, len.get(), shared, sink);
                NonZeroU64::new(passed).map_or(Step::Lost, Step::Consumed)
            }
        }
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let (lane, shared) = state.lane(context);
        lane.reset(shared, sink);
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        Self::lost(state, context, sink);
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        Self::lost(state, context, sink);
    }
}
