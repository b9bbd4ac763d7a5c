//! Protocol `postgres`: PostgreSQL's frontend/backend protocol 3.0 and 3.2 (PostgreSQL documentation, chapter "Frontend/Backend
//! Protocol"; section names cited below).
//!
//! What is a request (`frontend`), and when its answer is over (`backend`, by what `due` says of it):
//! - the log-in, from the start-up packet to the first `ReadyForQuery` or `ErrorResponse`: `STARTUP`;
//! - a simple query: its first keyword and its text, to `ReadyForQuery`, however many statements it holds and with whatever is copied in or out;
//! - an `Execute` with the `Parse`, `Bind` and `Describe` before it: first keyword and text of the statement of its portal, to
//!   `CommandComplete` and the like; the last before a `Sync` to `ReadyForQuery`, because that is when it is committed;
//! - such messages without an `Execute`, up to `Sync` or `Flush` or the next `Parse`: `PREPARE` with the text, else `BIND`, `DESCRIBE`, `CLOSE`;
//! - a lone `Sync`, a function call, a wish for encryption or to cancel, the farewell.
//!
//! After an error the server skips everything up to the next `Sync`. What waited in between was not executed: it is answered by that
//! same error. An `Execute` of a statement that was not seen (prepared before redtap came) is `EXECUTE` without text.
//!
//! **Cut turns.** A gap inside a message is walked over. One over a boundary hides the rest of its turn:
//! - requests: what was begun goes out as it is; answers past the known requests of the turn get a made-up request (empty
//!   method) right before them;
//! - answers: what was seen stands (an error behind the cut is not known: the status is what the first messages say), the end is
//!   that of the last byte, and comes when the client speaks again; what else waited was answered, with unknown status.
//!
//! Absent: values (parameters, rows, copied data), passwords, any buffer beyond the beginning of one message a direction, encrypted
//! connections (handed over as TLS), TLS without a wish before it, protocol 2.

mod backend;
mod due;
mod frame;
mod frontend;
mod probe;
mod sql;
mod startup;
mod statements;
#[cfg(test)]
mod tests;
mod traits;

use super::traits::Traits;
use super::{Context, Input, Malformed, Probe, ProbeContext, Sink, Step, Successor, Wire};
use crate::flow::message::Session;
use crate::limits;
use crate::time::Nanos;
use backend::Answers;
use due::Queue;
use frontend::Requests;
use std::sync::Arc;

/// Longest message that is believed, bytes (PostgreSQL's own bound of an allocation).
pub const MAX_LENGTH: u32 = 0x3fff_ffff;
/// Bytes of a message that are kept while it is not whole.
pub const MAX_KEPT: usize = 2 * limits::MAX_TARGET;
/// Statements remembered of a connection; the one used longest ago makes room.
pub const MAX_STATEMENTS: usize = 256;
/// Bytes of their texts, in all.
pub const MAX_STATEMENT_BYTES: usize = 64 * 1024;
/// Portals remembered of a connection; the one used longest ago makes room.
pub const MAX_PORTALS: usize = 64;
/// Runs of like requests that wait for their answers; what comes beyond is reported as one-way.
pub const MAX_DUE: usize = 512;

/// The protocol.
#[derive(Debug)]
pub struct Postgres;

/// What is remembered of a connection: a begun message a direction, statements, what is due. At most [`State::MAX_BYTES`].
#[derive(Debug, Default)]
pub struct State {
    requests: Requests,
    answers: Answers,
    shared: Shared,
}

impl State {
    /// Bound of its memory, to the next power of two of each table.
    pub const MAX_BYTES: usize = size_of::<Self>()
        + 2 * MAX_KEPT
        + MAX_STATEMENT_BYTES
        + MAX_STATEMENTS * size_of::<statements::Statement>()
        + MAX_PORTALS * 32
        + MAX_DUE * size_of::<(due::Due, u32)>()
        + size_of::<Session>()
        + 2 * limits::MAX_TARGET;
}

/// What one direction tells the other.
#[derive(Debug, Default)]
struct Shared {
    due: Queue,
    session: Option<Arc<Session>>,
    /// Since when requests of this turn may have gone by unread.
    unread: Option<Nanos>,
    /// TLS follows.
    encrypted: bool,
}

impl Wire for Postgres {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        probe::probe(prefix, context)
    }

    fn turn(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            let answers = Context { direction: context.direction.reverse(), ..context };
            state.answers.overtaken(&mut state.shared, answers, sink);
            state.shared.unread = None;
            state.requests.turn();
        } else {
            state.answers.turn();
        }
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        if state.shared.encrypted {
            return Step::HandOver(Successor::Tls);
        }
        match (context.is_request(), input) {
            (true, Input::Bytes(bytes)) => state.requests.bytes(&mut state.shared, context, bytes, sink),
            (true, Input::Gap(gap)) => state.requests.gap(&mut state.shared, context, gap, sink),
            (false, Input::Bytes(bytes)) => state.answers.bytes(&mut state.shared, context, bytes, sink),
            (false, Input::Gap(gap)) => state.answers.gap(&mut state.shared, context, gap, sink),
        }
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.requests.cut(&mut state.shared, context, sink);
        } else {
            state.answers.cut();
        }
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.requests.missed();
            state.shared.unread = None;
        } else {
            state.answers.missed(&mut state.shared, context, sink);
        }
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        if context.is_request() {
            state.requests.ended();
        } else {
            state.answers.ended(&mut state.shared, context, sink);
        }
    }
}

fn malformed(field: &'static str, kind: &'static str) -> Step {
    Step::Malformed(Malformed { field, kind })
}
