//! Protocol `redis`: RESP2, RESP3 and inline commands, as the Redis serialization protocol specification (section names
//! cited below) and redis-server 7 speak them.
//!
//! A request is an array of bulk strings (or an inline line); its method is the command, its target the first key. A reply
//! is any RESP value; errors give their first word as code. Values are never looked at, only skipped, by counting: a value
//! of known length may lie in a gap and the message stays in step.
//!
//! **Cut turns.** Redis answers in order and answers everything, so what one direction shows tells how many messages the other
//! held; `ledger` keeps the two counts:
//! - requests cut, replies whole: replies past the known requests of the turn get a made-up request (empty method) right before them.
//! - requests whole, replies cut: requests still open when the reply framing is lost get a made-up reply (status unknown).
//! - both cut: the larger of what each direction showed is reported; the rest cannot be known.
//!
//! Absent: keys beyond the first, values, any buffer (the caller carries unfinished bytes), the databases of `SELECT`, cluster
//! topology, and the replication stream (after `PSYNC` the connection is handed over).

mod command;
mod ledger;
mod line;
mod probe;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod traits;

use super::traits::Traits;
use super::{Context, Input, Probe, ProbeContext, Sink, Step, Successor, Wire};
use ledger::Ledger;
use reply::Replies;
use request::Requests;

/// Longest simple string, error or inline line that is waited for before it is read as far as it goes, bytes.
pub const MAX_LINE: usize = 2_048;
/// Largest length or element count that is believed.
pub const MAX_COUNT: u64 = 1 << 32;
/// Elements of one (nested) reply still to come, at most; more is malformed.
pub const MAX_ELEMENTS: u64 = 1 << 40;
/// Subscriptions on one connection whose confirmations are waited for; more are reported as one-way.
pub const MAX_CONFIRMATIONS: usize = 256;

/// The protocol.
#[derive(Debug)]
pub struct Redis;

/// What is remembered of a connection: one begun message a direction, and counts. At most [`State::MAX_BYTES`].
#[derive(Debug, Default)]
pub struct State {
    requests: Requests,
    replies: Replies,
    ledger: Ledger,
}

impl State {
    /// Bound of its memory: itself, one target, and the counts of subscriptions.
    pub const MAX_BYTES: usize = size_of::<Self>() + crate::limits::MAX_TARGET + 2 * 4 * MAX_CONFIRMATIONS;
}

impl Wire for Redis {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        probe::probe(prefix, context)
    }

    fn turn(state: &mut State, context: Context, sink: &mut dyn Sink) {
        state.replies.turn(&mut state.ledger, context, sink);
        state.ledger.turn(context);
        if context.is_request() {
            state.requests.turn();
        }
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        if state.ledger.handed_over {
            return Step::HandOver(Successor::Foreign);
        }
        if context.is_request() {
            state.requests.parse(&mut state.ledger, context, input, sink)
        } else {
            state.replies.parse(&mut state.ledger, context, input, sink)
        }
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.requests.lost(&mut state.ledger, context, sink);
        } else {
            state.replies.lost(&mut state.ledger, context, sink);
        }
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        Self::lost(state, context, sink);
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.requests.end(context, sink);
        } else {
            state.replies.end(context, sink);
        }
    }
}
